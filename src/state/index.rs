//! Finds names by hash: a name in lower case in, the number kept for it out.
//!
//! Numbers stand in one open-addressed table beside 32 bits of their names' hash, eight to a cache
//! line, so that a lookup waits for memory once here and once where the name itself is compared.
//!
//! Names are hashed from their ends, eight octets at a step, so that hashing a name hashes what it
//! ends in on the way, and so its closest encloser.

use crate::model::Name;
use crate::model::name::{MAX_LABEL_OCTETS, MAX_NAME_OCTETS};

use super::huge_pages;
use super::prefetch::prefetch;

/// A name in lower case, with what it takes to hash it. Large: made in place, and lent.
#[derive(Clone, Debug)]
pub struct LowerName {
    /// Behind the name there is anything; room enough to read eight octets at its last one.
    octets: [u8; ROOM],
    /// Where labels begin, the leftmost first.
    starts: [u8; MAX_NAME_OCTETS / 2 + 1],
    len: u8,
    labels: u8,
}

/// The hash of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NameHash(u64);

/// Hashes what a name ends in, the shorter first.
#[derive(Clone, Copy, Debug)]
pub struct Hashing<'n> {
    name: &'n LowerName,
    state: u64,
    /// From here on all is in `state`.
    at: usize,
}

/// A multiple of sixteen.
const ROOM: usize = 272;

impl LowerName {
    /// The root.
    pub fn new() -> LowerName {
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

    /// How many labels there are before the root.
    #[inline]
    pub fn labels(&self) -> usize {
        usize::from(self.labels)
    }

    /// Where the last so many labels begin.
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

    /// The hash of the whole name.
    #[inline]
    pub fn hash(&self) -> NameHash {
        Hashing::of(self).from(0)
    }

    /// Eight octets.
    #[inline]
    fn word(&self, at: usize) -> u64 {
        let at = at & 0xff; // as is every octet of a name; so the compiler sees that eight are there
        self.octets[at..at + 8].first_chunk().map_or(0, |word| u64::from_le_bytes(*word))
    }
}

impl<'n> Hashing<'n> {
    #[inline]
    pub fn of(name: &'n LowerName) -> Hashing<'n> {
        Hashing { name, state: 0, at: usize::from(name.len) }
    }

    /// The hash of what begins at this octet, not behind where the one before began.
    #[inline]
    pub fn from(&mut self, start: usize) -> NameHash {
        while self.at >= start + 8 {
            self.at -= 8;
            self.state = mixed(self.state, self.name.word(self.at));
        }
        let left = self.at.saturating_sub(start); // below 8: the highest octet says how many
        let word = self.name.word(start) & ((1 << (8 * left)) - 1) | (left as u64) << 56;
        NameHash(mixed(self.state, word))
    }
}

impl Default for LowerName {
    fn default() -> LowerName {
        LowerName::new()
    }
}

/// Both halves of a product: every bit of the word reaches bits all over the hash. The names in the
/// table are the operator's, so nobody can aim at it.
#[inline]
fn mixed(hash: u64, word: u64) -> u64 {
    let product = u128::from(hash ^ word ^ 0x9e37_79b9_7f4a_7c15) * 0xd6e8_feb8_6659_fd93;
    product as u64 ^ (product >> 64) as u64
}

impl NameHash {
    /// The bits that are kept.
    #[inline]
    fn tag(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

/// Numbers by the hash of their names. Grows as they are put in.
#[derive(Debug)]
pub struct Index {
    /// Ascending by tag, but for those that had to move on; at least one is free.
    slots: Box<[Slot]>,
    len: usize,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    tag: u32,
    /// [`FREE`]: nothing is here.
    number: u32,
}

/// No number.
const FREE: u32 = u32::MAX;

impl Index {
    pub fn new() -> Index {
        Index { slots: Box::new([Slot { tag: 0, number: FREE }; 8]), len: 0 }
    }

    /// What `of` makes of the first number kept for this hash of which it makes something. Numbers are
    /// below `u32::MAX`.
    #[inline]
    pub fn find<T>(&self, hash: NameHash, mut of: impl FnMut(u32) -> Option<T>) -> Option<T> {
        let tag = hash.tag();
        let mut at = self.home(tag);
        loop {
            let slot = self.slots.get(at)?;
            if slot.number == FREE {
                return None;
            }
            if slot.tag == tag
                && let Some(found) = of(slot.number)
            {
                return Some(found);
            }
            at = if at + 1 == self.slots.len() { 0 } else { at + 1 };
        }
    }

    /// Has the processor fetch where a search for this hash begins.
    #[inline]
    pub fn fetch(&self, hash: NameHash) {
        if let Some(slot) = self.slots.get(self.home(hash.tag())) {
            prefetch(slot);
        }
    }

    /// Puts a number in, whether there is one for this hash or not.
    pub fn insert(&mut self, hash: NameHash, number: u32) {
        if (self.len + 1) * 2 > self.slots.len() {
            self.resize(self.slots.len() * 2);
        }
        self.put(Slot { tag: hash.tag(), number });
    }

    /// Gives every number another, and gives back memory that was kept for growth.
    pub fn finish(&mut self, number_of: impl Fn(u32) -> u32) {
        for slot in self.slots.iter_mut().filter(|slot| slot.number != FREE) {
            slot.number = number_of(slot.number);
        }
        self.resize(self.len * 3 / 2 + 8);
        huge_pages::gather(&self.slots);
    }

    pub fn memory_bytes(&self) -> usize {
        size_of_val(&*self.slots)
    }

    fn resize(&mut self, slots: usize) {
        let empty = vec![Slot { tag: 0, number: FREE }; slots].into_boxed_slice();
        let old = std::mem::replace(&mut self.slots, empty);
        self.len = 0;
        for slot in old.iter().filter(|slot| slot.number != FREE) {
            self.put(*slot);
        }
    }

    fn put(&mut self, slot: Slot) {
        let mut at = self.home(slot.tag);
        while self.slots[at].number != FREE {
            at = (at + 1) % self.slots.len();
        }
        self.slots[at] = slot;
        self.len += 1;
    }

    /// Where the search for a tag begins: tags are spread evenly over any number of slots.
    #[inline]
    fn home(&self, tag: u32) -> usize {
        ((u64::from(tag) * self.slots.len() as u64) >> 32) as usize
    }
}

impl Default for Index {
    fn default() -> Index {
        Index::new()
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

    #[test]
    fn a_name_is_hashed_with_all_that_it_ends_in() {
        let name = lower("a.much-longer-label-than-eight.some.example");
        let mut hashing = Hashing::of(&name);
        for labels in 0..=4 {
            let alone = LowerName::of(&Name::from_wire(name.last(labels)).expect("a name"));
            assert_eq!(hashing.from(name.start_of_last(labels)), alone.hash(), "{labels}");
        }
        let mut seen: Vec<NameHash> = Vec::new();
        for other in [".", "a", "a.a", "aa", "a.a.a", "b.example", "a.example", "a.exampl", "a.e.xample", "aexample"] {
            let hash = lower(other).hash();
            assert!(!seen.contains(&hash), "{other}");
            seen.push(hash);
        }
    }

    #[test]
    fn every_number_is_found_and_no_other() {
        let mut index = Index::new();
        let names: Vec<LowerName> = (0..5_000).map(|n| lower(&format!("host-{n}.example"))).collect();
        for (number, name) in (0..).zip(&names) {
            index.insert(name.hash(), number);
        }
        index.finish(|number| number + 7);
        let mut compared = 0;
        for (number, name) in (0u32..).zip(&names) {
            let is = |found: u32| {
                compared += 1;
                (found == number + 7).then_some(found)
            };
            assert_eq!(index.find(name.hash(), is), Some(number + 7));
            assert_eq!(index.find(lower(&format!("other-{number}.example")).hash(), Some), None);
        }
        assert!(compared < 5_010, "{compared} names compared for 5,000");
    }
}
