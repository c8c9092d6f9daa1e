//! A name as a query has it, read in lower case.

use crate::model::Name;
use crate::model::name::{MAX_LABEL_OCTETS, MAX_NAME_OCTETS};

/// A name in lower case, with where its labels begin. Large: made in place, and lent.
#[derive(Clone, Debug)]
pub struct LowerName {
    /// Behind the name there is anything; room enough to read eight octets at its last one.
    octets: [u8; ROOM],
    /// The offsets where labels begin, the leftmost first.
    starts: [u8; MAX_NAME_OCTETS / 2 + 1],
    len: u8,
    labels: u8,
}

/// A multiple of sixteen.
const ROOM: usize = 272;

impl LowerName {
    /// The root.
    pub const fn new() -> LowerName {
        LowerName { octets: [0; ROOM], starts: [0; MAX_NAME_OCTETS / 2 + 1], len: 1, labels: 0 }
    }

    pub fn of(name: &Name) -> LowerName {
        let mut lower = LowerName::new();
        lower.read(name.as_wire());
        lower
    }

    /// Becomes the uncompressed name that `wire` begins with, and gives its length. `None` where there
    /// is none: then this is no name any more.
    #[inline]
    pub fn read(&mut self, wire: &[u8]) -> Option<usize> {
        // With its root label a name is within 255 octets (RFC 1035 section 2.3.4): whatever is longer
        // does not end here.
        let within = wire.get(..MAX_NAME_OCTETS).unwrap_or(wire);
        let (mut at, mut labels) = (0, 0);
        loop {
            let len = usize::from(*within.get(at)?);
            if len == 0 {
                break;
            }
            if len > MAX_LABEL_OCTETS {
                return None; // a pointer, or nothing there is
            }
            *self.starts.get_mut(labels)? = at as u8;
            labels += 1;
            at += 1 + len;
        }
        self.copy_in_lower_case(wire, at + 1)?;
        (self.len, self.labels) = (at as u8 + 1, labels as u8);
        Some(at + 1)
    }

    /// Sixteen octets at a step, some of what is behind the name too. Lengths of labels are below any
    /// letter.
    #[inline]
    fn copy_in_lower_case(&mut self, wire: &[u8], len: usize) -> Option<()> {
        let (blocks, _) = self.octets.as_chunks_mut::<16>();
        if let Some(wire) = wire.get(..len.next_multiple_of(16)) {
            let (from, _) = wire.as_chunks::<16>();
            for (to, from) in blocks.iter_mut().zip(from) {
                *to = *from;
                to.make_ascii_lowercase();
            }
            return Some(());
        }
        let octets = blocks.as_flattened_mut().get_mut(..len)?;
        octets.copy_from_slice(wire.get(..len)?);
        octets.make_ascii_lowercase();
        Some(())
    }

    /// All octets, with the root label.
    #[inline]
    pub fn as_wire(&self) -> &[u8] {
        &self.octets[..usize::from(self.len)]
    }

    /// The number of labels before the root.
    #[inline]
    pub fn labels(&self) -> usize {
        usize::from(self.labels)
    }

    /// The offset where the last so many labels begin.
    #[inline]
    pub fn start_of_last(&self, labels: usize) -> usize {
        if labels == 0 {
            return usize::from(self.len).saturating_sub(1);
        }
        let first = usize::from(self.labels).saturating_sub(labels);
        self.starts.get(first).map_or(0, |&start| usize::from(start))
    }

    /// The last so many labels, as a name.
    #[inline]
    pub fn last(&self, labels: usize) -> &[u8] {
        self.as_wire().get(self.start_of_last(labels)..).unwrap_or_default()
    }

    /// The label in front of the last so many, with its length; empty where there is none.
    #[inline]
    pub fn label_before(&self, labels: usize) -> &[u8] {
        if labels >= self.labels() {
            return &[];
        }
        let (start, end) = (self.start_of_last(labels + 1), self.start_of_last(labels));
        self.as_wire().get(start..end).unwrap_or_default()
    }

    /// Eight octets from this one on: behind the name's end they are anything.
    #[inline]
    pub fn word(&self, at: usize) -> u64 {
        let at = at & 0xff; // as is every octet of a name; so the compiler sees that eight are there
        self.octets[at..at + 8].first_chunk().map_or(0, |word| u64::from_le_bytes(*word))
    }
}

impl Default for LowerName {
    fn default() -> LowerName {
        LowerName::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lower(text: &str) -> LowerName {
        LowerName::of(&Name::parse_absolute(text).expect("a name"))
    }

    #[test]
    fn rfc4343_names_are_read_in_lower_case() {
        let mut name = lower("some.other.much.longer.name.that.was.here.before");
        assert_eq!(name.read(b"\x03WwW\x07eXample\0\0\x01\0\x01"), Some(13));
        assert_eq!((name.as_wire(), name.labels()), (&b"\x03www\x07example\0"[..], 2));
        assert_eq!((name.last(1), name.last(0)), (&b"\x07example\0"[..], &b"\0"[..]));
        assert_eq!((name.label_before(1), name.label_before(2)), (&b"\x03www"[..], &b""[..]));
        assert_eq!(name.read(b"\0"), Some(1));
        assert_eq!((name.as_wire(), name.labels(), name.label_before(0)), (&b"\0"[..], 0, &b""[..]));
    }

    #[test]
    fn rfc1035_2_3_4_what_is_no_name_is_not_read() {
        let longest = [&b"\x01a".repeat(127)[..], b"\0"].concat();
        assert_eq!(LowerName::new().read(&longest), Some(255));
        let too_long = [&b"\x01a".repeat(126)[..], b"\x02ab\0"].concat();
        for wire in [&b""[..], b"\x01", b"\x01a", b"\xc0\x0c", b"\x40a", &too_long, &b"\x01a".repeat(200)] {
            assert_eq!(LowerName::new().read(wire), None, "{wire:?}");
        }
    }
}
