//! Finds names by hash: a name in lower case in, the number kept for it out.
//!
//! Numbers stand in one open-addressed table beside 32 bits of their names' hash, eight to a cache
//! line, so that a lookup waits for memory once here and once where the name itself is compared.
//!
//! Names are hashed from their ends, eight octets at a step, so that hashing a name hashes what it
//! ends in on the way, and so its closest encloser.

use crate::wire::name::LowerName;

use super::huge_pages;
use super::prefetch::prefetch;

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

impl<'n> Hashing<'n> {
    #[inline]
    pub fn new(name: &'n LowerName) -> Hashing<'n> {
        Hashing { name, state: 0, at: name.as_wire().len() }
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

/// Both halves of a product: every bit of the word reaches bits all over the hash. The names in the
/// table are the operator's, so nobody can aim at it.
#[inline]
fn mixed(hash: u64, word: u64) -> u64 {
    let product = u128::from(hash ^ word ^ 0x9e37_79b9_7f4a_7c15) * 0xd6e8_feb8_6659_fd93;
    product as u64 ^ (product >> 64) as u64
}

impl NameHash {
    /// The hash of a whole name.
    #[inline]
    pub fn new(name: &LowerName) -> NameHash {
        Hashing::new(name).from(0)
    }

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
    slots: Box<[IndexSlot]>,
    len: usize,
}

#[derive(Clone, Copy, Debug)]
struct IndexSlot {
    tag: u32,
    /// [`FREE`]: nothing is here.
    number: u32,
}

/// So few numbers stand far apart, so that a search rarely meets another's.
const FEW: usize = 1_000;

/// The slots for so many numbers: more than half of many are taken, a quarter of few.
fn slots_for(numbers: usize) -> usize {
    if numbers <= FEW { 4 * numbers + 8 } else { (numbers + 1) * 3 / 2 + 8 }
}

/// No number.
const FREE: u32 = u32::MAX;
/// A number that was taken out: no place of anything, and no end of a search.
const TAKEN_OUT: u32 = u32::MAX - 1;

impl Index {
    pub fn new() -> Index {
        Index { slots: Box::new([IndexSlot { tag: 0, number: FREE }; 8]), len: 0 }
    }

    /// With room for so many numbers.
    pub fn with_room_for(numbers: usize) -> Index {
        let slots = slots_for(numbers);
        Index { slots: huge_pages::filled(IndexSlot { tag: 0, number: FREE }, slots), len: 0 }
    }

    /// The result that `of` makes of the first number kept for this hash of which it makes something. Numbers are
    /// below `u32::MAX - 1`; of the latter `of` makes nothing.
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
        if (self.len + 1) * 4 > self.slots.len() * 3 {
            self.resize(self.slots.len() * 2);
        }
        self.put(IndexSlot { tag: hash.tag(), number });
    }

    /// Another number takes the place of one that was put in for this hash; without one it is taken out.
    pub fn change(&mut self, hash: NameHash, number: u32, to: Option<u32>) {
        let mut at = self.home(hash.tag());
        while let Some(slot) = self.slots.get_mut(at)
            && slot.number != FREE
        {
            if slot.number == number {
                slot.number = to.unwrap_or(TAKEN_OUT);
                return;
            }
            at = if at + 1 == self.slots.len() { 0 } else { at + 1 };
        }
    }

    /// Gives every number another, and gives back memory that was kept for growth.
    pub fn finish(&mut self, number_of: impl Fn(u32) -> u32) {
        for slot in self.slots.iter_mut().filter(|slot| slot.number < TAKEN_OUT) {
            slot.number = number_of(slot.number);
        }
        let slots = slots_for(self.len);
        if self.slots.len() < slots || slots + slots / 6 < self.slots.len() {
            self.resize(slots);
        }
    }

    pub fn memory_bytes(&self) -> usize {
        size_of_val(&*self.slots)
    }

    fn resize(&mut self, slots: usize) {
        let empty = huge_pages::filled(IndexSlot { tag: 0, number: FREE }, slots);
        let old = std::mem::replace(&mut self.slots, empty);
        self.len = 0;
        for slot in old.iter().filter(|slot| slot.number < TAKEN_OUT) {
            self.put(*slot);
        }
    }

    fn put(&mut self, slot: IndexSlot) {
        let mut at = self.home(slot.tag);
        while self.slots[at].number != FREE {
            at = (at + 1) % self.slots.len();
        }
        self.slots[at] = slot;
        self.len += 1;
    }

    /// The slot where the search for a tag begins: tags are spread evenly over any number of slots.
    #[inline]
    fn home(&self, tag: u32) -> usize {
        ((u64::from(tag) * self.slots.len() as u64) >> 32) as usize
    }
}

impl Clone for Index {
    fn clone(&self) -> Index {
        Index { slots: huge_pages::copied(&self.slots), len: self.len }
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
    use crate::model::Name;

    fn lower(text: &str) -> LowerName {
        LowerName::of(&Name::parse_absolute(text).expect("a name"))
    }

    #[test]
    fn a_name_is_hashed_with_all_that_it_ends_in() {
        let name = lower("a.much-longer-label-than-eight.some.example");
        let mut hashing = Hashing::new(&name);
        for labels in 0..=4 {
            let alone = LowerName::of(&Name::from_wire(name.last(labels)).expect("a name"));
            assert_eq!(hashing.from(name.start_of_last(labels)), NameHash::new(&alone), "{labels}");
        }
        let mut seen: Vec<NameHash> = Vec::new();
        for other in [".", "a", "a.a", "aa", "a.a.a", "b.example", "a.example", "a.exampl", "a.e.xample", "aexample"] {
            let hash = NameHash::new(&lower(other));
            assert!(!seen.contains(&hash), "{other}");
            seen.push(hash);
        }
    }

    #[test]
    fn every_number_is_found_and_no_other() {
        let mut index = Index::new();
        let names: Vec<LowerName> = (0..5_000).map(|n| lower(&format!("host-{n}.example"))).collect();
        for (number, name) in (0..).zip(&names) {
            index.insert(NameHash::new(name), number);
        }
        index.finish(|number| number + 7);
        let mut compared = 0;
        for (number, name) in (0u32..).zip(&names) {
            let is = |found: u32| {
                compared += 1;
                (found == number + 7).then_some(found)
            };
            assert_eq!(index.find(NameHash::new(name), is), Some(number + 7));
            assert_eq!(index.find(NameHash::new(&lower(&format!("other-{number}.example"))), Some), None);
        }
        assert!(compared < 5_010, "{compared} names compared for 5,000");
    }
}
