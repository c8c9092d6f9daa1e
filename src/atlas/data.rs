//! Values of a database's data section, read in place: the section's octets in, one value out.
//!
//! ```text
//!   control octet: kind, size │ payload          a pointer stands for a value elsewhere
//! ```
//!
//! Nothing is copied and what is not asked for is stepped over, so that a record costs what is
//! wanted of it. Every read is within the section, pointers lead to no pointers, and the values
//! looked at are counted: a corrupt file, or a crafted one, ends in [`Damage`] and not in a loop.
//!
//! Format: <https://maxmind.github.io/MaxMind-DB/>, section "Output Data Section".

use std::fmt;

/// The reason why a value cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damage {
    pub reason: &'static str,
    /// Octets from the start of the section.
    pub at: usize,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (at byte {} of the data)", self.reason, self.at)
    }
}

/// A data section.
pub struct Data<'a> {
    bytes: &'a [u8],
    /// Values that may still be looked at.
    left: u64,
}

/// A value, and where it stands.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    Text(&'a [u8]),
    /// Any number; those beyond 2^53 are rounded.
    Number(f64),
    Map(Entries),
    List(Entries),
    /// Octets or a boolean.
    Other,
}

/// The entries of a map or list: handed to [`Data::next_entry`] or [`Data::next_item`] until it is empty.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Entries {
    left: usize,
    /// The offset of the next key or item.
    at: usize,
    /// Where that is a value which was asked for and may be a map: only then is its end looked for.
    passed: bool,
}

impl<'a> Data<'a> {
    /// `budget`: how many values may be looked at in all.
    pub fn new(bytes: &'a [u8], budget: u64) -> Data<'a> {
        Data { bytes, left: budget }
    }

    /// Lets more values be looked at.
    pub fn allow(&mut self, more: u64) {
        self.left = self.left.saturating_add(more);
    }

    /// The value at an offset. A pointer is followed, once (pointers to pointers are not allowed).
    pub fn value(&mut self, at: usize) -> Result<Value<'a>, Damage> {
        let head = self.head(at)?;
        if head.kind != POINTER {
            return self.value_of(head);
        }
        let target = self.head(head.size)?;
        if target.kind == POINTER {
            return Err(Damage { reason: "a pointer leads to a pointer", at: head.size });
        }
        self.value_of(target)
    }

    /// The next key of a map, and where its value stands; `None` after the last. A key that is no text is an error.
    pub fn next_entry(&mut self, map: &mut Entries) -> Result<Option<(&'a [u8], usize)>, Damage> {
        if !self.step(map)? {
            return Ok(None);
        }
        let key = self.head(map.at)?;
        let text = if key.kind == POINTER { self.head(key.size)? } else { key };
        if text.kind != TEXT {
            return Err(Damage { reason: "a key that is no text", at: map.at });
        }
        map.at = key.end();
        map.passed = true;
        Ok(Some((self.octets(text.payload, text.size)?, map.at)))
    }

    /// The offset of the next item of a list; `None` after the last.
    pub fn next_item(&mut self, list: &mut Entries) -> Result<Option<usize>, Damage> {
        if !self.step(list)? {
            return Ok(None);
        }
        list.passed = true;
        Ok(Some(list.at))
    }

    /// Past the value handed out last. Whether there is more.
    fn step(&mut self, entries: &mut Entries) -> Result<bool, Damage> {
        if std::mem::take(&mut entries.passed) {
            entries.at = self.after(entries.at)?;
        }
        let more = entries.left > 0;
        entries.left = entries.left.saturating_sub(1);
        Ok(more)
    }

    fn value_of(&self, head: Head) -> Result<Value<'a>, Damage> {
        let Head { kind, size, payload } = head;
        let entries = Entries { left: size, at: payload, passed: false };
        match kind {
            MAP => return Ok(Value::Map(entries)),
            LIST => return Ok(Value::List(entries)),
            BOOLEAN => return Ok(Value::Other),
            _ => {}
        }
        let octets = self.octets(payload, size)?;
        let sized = Damage { reason: "a number of a wrong size", at: payload };
        Ok(match kind {
            TEXT => Value::Text(octets),
            DOUBLE => Value::Number(f64::from_be_bytes(octets.try_into().map_err(|_| sized)?)),
            FLOAT => Value::Number(f64::from(f32::from_be_bytes(octets.try_into().map_err(|_| sized)?))),
            I32 if size == 4 => Value::Number(f64::from(whole(octets) as u32 as i32)),
            U16 | U32 | I32 | U64 | U128 => Value::Number(whole(octets) as f64),
            _ => Value::Other,
        })
    }

    /// The end of the value at an offset; what a pointer leads to is elsewhere.
    fn after(&mut self, at: usize) -> Result<usize, Damage> {
        let (mut at, mut values) = (at, 1_u64);
        while values > 0 {
            let head = self.head(at)?;
            values = values - 1 + head.inside();
            at = head.end();
        }
        Ok(at)
    }

    fn head(&mut self, at: usize) -> Result<Head, Damage> {
        self.left =
            self.left.checked_sub(1).ok_or(Damage { reason: "its records are far larger than any real ones", at })?;
        let control = self.octet(at)?;
        let (kind, size_at) = match control >> 5 {
            POINTER => return self.pointer(control, at),
            EXTENDED => (self.octet(at + 1)?.checked_add(7).filter(|&kind| kind <= FLOAT), at + 2),
            kind => (Some(kind), at + 1),
        };
        let kind = kind.ok_or(Damage { reason: "a value of a kind that does not exist", at })?;
        let (size, payload) = match usize::from(control & 0x1f) {
            29 => (29 + self.number(size_at, 1)?, size_at + 1),
            30 => (285 + self.number(size_at, 2)?, size_at + 2),
            31 => (65_821 + self.number(size_at, 3)?, size_at + 3),
            small => (small, size_at),
        };
        let head = Head { kind, size, payload };
        let most = match kind {
            U16 => 2,
            U32 | I32 | FLOAT => 4,
            U64 | DOUBLE => 8,
            U128 => 16,
            BOOLEAN => 1,
            // Each takes an octet at least.
            _ => self.bytes.len().saturating_sub(payload),
        };
        if size > most || head.end() > self.bytes.len() {
            return Err(Damage { reason: "a value that is longer than it can be", at });
        }
        Ok(head)
    }

    /// Its size is where it leads to.
    fn pointer(&self, control: u8, at: usize) -> Result<Head, Damage> {
        let upper = usize::from(control & 7);
        let octets = usize::from(control >> 3 & 3) + 1;
        let rest = self.number(at + 1, octets)?;
        let size = match octets {
            1 => upper << 8 | rest,
            2 => (upper << 16 | rest) + 2_048,
            3 => (upper << 24 | rest) + 526_336,
            _ => rest,
        };
        Ok(Head { kind: POINTER, size, payload: at + 1 + octets })
    }

    fn octet(&self, at: usize) -> Result<u8, Damage> {
        self.bytes.get(at).copied().ok_or(Damage { reason: "a value reaches beyond the data", at })
    }

    fn octets(&self, at: usize, count: usize) -> Result<&'a [u8], Damage> {
        self.bytes.get(at..at.saturating_add(count)).ok_or(Damage { reason: "a value reaches beyond the data", at })
    }

    /// At most four octets.
    fn number(&self, at: usize, octets: usize) -> Result<usize, Damage> {
        Ok(self.octets(at, octets)?.iter().fold(0, |number, &octet| number << 8 | usize::from(octet)))
    }
}

#[derive(Clone, Copy)]
struct Head {
    kind: u8,
    /// Octets of the payload; of maps and lists, entries; of a pointer, where it leads to.
    size: usize,
    /// The offset where the payload begins.
    payload: usize,
}

impl Head {
    /// Values inside it, which follow it.
    fn inside(&self) -> u64 {
        match self.kind {
            MAP => 2 * self.size as u64,
            LIST => self.size as u64,
            _ => 0,
        }
    }

    /// The offset where it ends, or what is inside it begins.
    fn end(&self) -> usize {
        match self.kind {
            MAP | LIST | BOOLEAN | POINTER => self.payload,
            _ => self.payload.saturating_add(self.size),
        }
    }
}

fn whole(octets: &[u8]) -> u128 {
    octets.iter().fold(0, |number, &octet| number << 8 | u128::from(octet))
}

const EXTENDED: u8 = 0;
const POINTER: u8 = 1;
const TEXT: u8 = 2;
const DOUBLE: u8 = 3;
const U16: u8 = 5;
const U32: u8 = 6;
const MAP: u8 = 7;
const I32: u8 = 8;
const U64: u8 = 9;
const U128: u8 = 10;
const LIST: u8 = 11;
const BOOLEAN: u8 = 14;
const FLOAT: u8 = 15;

#[cfg(test)]
mod tests {
    use super::*;

    fn value(bytes: &[u8]) -> Result<Value<'_>, Damage> {
        Data::new(bytes, 100).value(0)
    }

    /// The keys of the map at the start, and what their values are.
    fn entries(bytes: &[u8]) -> Result<Vec<(&[u8], Value<'_>)>, Damage> {
        let mut data = Data::new(bytes, 100);
        let Value::Map(mut map) = data.value(0)? else { return Ok(Vec::new()) };
        let mut entries = Vec::new();
        while let Some((key, at)) = data.next_entry(&mut map)? {
            entries.push((key, data.value(at)?));
        }
        Ok(entries)
    }

    #[test]
    fn values_of_every_kind_are_read() {
        assert_eq!(value(b"\x42KR"), Ok(Value::Text(b"KR")));
        assert_eq!(value(&[3 << 5 | 8, 0x3f, 0xf8, 0, 0, 0, 0, 0, 0]), Ok(Value::Number(1.5)));
        assert_eq!(value(&[4, 15 - 7, 0x3f, 0xc0, 0, 0]), Ok(Value::Number(1.5)));
        assert_eq!(value(&[5 << 5 | 1, 7]), Ok(Value::Number(7.0)));
        assert_eq!(value(&[6 << 5 | 3, 1, 0, 0]), Ok(Value::Number(65_536.0)));
        assert_eq!(value(&[6 << 5]), Ok(Value::Number(0.0)));
        assert_eq!(value(&[4, 8 - 7, 0xff, 0xff, 0xff, 0xfe]), Ok(Value::Number(-2.0)));
        assert_eq!(value(&[2, 9 - 7, 1, 1]), Ok(Value::Number(257.0)));
        assert_eq!(value(&[1, 14 - 7]), Ok(Value::Other));
        assert_eq!(value(&[4 << 5 | 1, 9]), Ok(Value::Other));
        let long = [&[2 << 5 | 29, 1][..], &[b'x'; 30]].concat();
        assert_eq!(value(&long), Ok(Value::Text(&[b'x'; 30])));
        let longer = [&[2 << 5 | 30, 0, 1][..], &[b'x'; 286]].concat();
        assert_eq!(value(&longer), Ok(Value::Text(&[b'x'; 286])));
    }

    #[test]
    fn a_pointer_stands_for_a_value_elsewhere() {
        let bytes = [&[7 << 5 | 2][..], b"\x41a\x20\x09\x41b\x41c", b"\x42KR"].concat();
        let expected = [(&b"a"[..], Value::Text(&b"KR"[..])), (b"b", Value::Text(b"c"))];
        assert_eq!(entries(&bytes), Ok(expected.to_vec()));
        let mut far = vec![0; 600_000];
        far[..5].copy_from_slice(&[1 << 5 | 2 << 3, 0, 0, 9, 0]); // 526,336 + 9
        far[526_345..526_348].copy_from_slice(b"\x42KR");
        assert_eq!(value(&far), Ok(Value::Text(b"KR")));
        far[..5].copy_from_slice(&[1 << 5 | 3 << 3, 0, 8, 8, 9]); // the same, plainly
        assert_eq!(value(&far), Ok(Value::Text(b"KR")));
        far[..3].copy_from_slice(&[1 << 5 | 1 << 3, 0, 9]); // 2,048 + 9
        far[2_057..2_060].copy_from_slice(b"\x42DE");
        assert_eq!(value(&far), Ok(Value::Text(b"DE")));
    }

    #[test]
    fn what_is_not_looked_at_is_stepped_over() {
        let nested = [&[7 << 5 | 2][..], b"\x41a", &[7 << 5 | 1], b"\x41x", &[2, 11 - 7], b"\x41y\x41z\x41b\x41c"];
        let nested = nested.concat();
        let found = entries(&nested).expect("entries");
        assert!(matches!(found[0], (b"a", Value::Map(_))));
        assert_eq!(found[1], (&b"b"[..], Value::Text(b"c")));
    }

    #[test]
    fn damage_is_told_and_never_followed() {
        for damaged in [
            &[][..],
            b"\x42K",
            b"\x5f",
            &[7 << 5 | 31, 0xff, 0xff, 0xff],   // more entries than octets
            &[7 << 5 | 1, 6 << 5 | 1, 9, 0x40], // a number for a key
            &[1 << 5, 0],                       // a pointer to itself
            &[0, 200],                          // no such kind
            &[3 << 5 | 7, 0, 0, 0, 0, 0, 0, 0], // seven octets of a double
            &[6 << 5 | 5, 0, 0, 0, 0, 0],       // five of a u32
        ] {
            assert!(entries(damaged).is_err(), "{damaged:?}");
        }
        // Three lists in each other are more than two values.
        let nested = [1, 11 - 7, 1, 11 - 7, 0, 11 - 7];
        assert_eq!(Data::new(&nested, 3).after(0), Ok(6));
        assert_eq!(Data::new(&nested, 2).after(0).map_err(|damage| damage.at), Err(4));
    }
}
