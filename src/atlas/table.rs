//! The compiled tables: an address in; its place and the widest prefix of that place out.
//!
//! Both families keep the first addresses of maximal ranges, ascending, and beside them the
//! places. IPv4 narrows the search by its upper 16 bits; IPv6, whose addresses crowd in a few
//! corners, by every 16th start. IPv6 ranges are kept by their upper 64 bits alone:
//!
//! ```text
//!   starts (u64)  places
//!   2001:db8::    17
//!   2001:db8:1::  FINE | 3  ──▶  fine /64 number 3:  lower 64 bits ──▶ places
//!   2001:db8:2::  0
//! ```
//!
//! A /64 is fine only where it holds more than one place, so no prefix up to /64 around any
//! other address ends inside one: scopes never need both levels.

use super::steps::Steps;
use super::{Found, PlaceId};

/// Marks an entry of [`Table6::places`] as the number of a fine /64.
const FINE: u32 = 1 << 31;

/// Places and fine numbers are below this.
pub const MAX_PLACES: u32 = FINE - 1;

/// How many IPv6 starts share an entry of the upper level: two cache lines of them.
const BLOCK: usize = 16;

/// IPv4 addresses.
pub struct Table4 {
    starts: Box<[u32]>,
    /// As long as `starts`.
    places: Box<[u32]>,
    /// The range that holds the first address of each /16, and last the last range: 65,537.
    index: Box<[u32]>,
}

impl Table4 {
    /// Values of `steps` are places, at most [`MAX_PLACES`] of them.
    pub fn new(steps: &Steps<u32>) -> Table4 {
        let (starts, places): (Vec<u32>, Vec<u32>) = steps.ranges().iter().copied().unzip();
        let mut index = Vec::with_capacity(65_537);
        let mut range = 0;
        for upper in 0..=u16::MAX {
            while starts.get(range + 1).is_some_and(|&start| start <= u32::from(upper) << 16) {
                range += 1;
            }
            index.push(range as u32);
        }
        index.push(starts.len().saturating_sub(1) as u32);
        Table4 { starts: starts.into(), places: places.into(), index: index.into() }
    }

    pub fn find(&self, address: u32) -> Found {
        let upper = (address >> 16) as usize;
        let (first, last) = (self.index[upper] as usize, self.index[upper + 1] as usize);
        let at = first + self.starts[first + 1..=last].partition_point(|&start| start <= address);
        let before = self.starts[at].checked_sub(1).map_or(0, |outside| past_common_bits_u32(address, outside));
        let after = self.starts.get(at + 1).map_or(0, |&outside| past_common_bits_u32(address, outside));
        Found { place: PlaceId(self.places[at]), scope: before.max(after) }
    }

    pub fn ranges(&self) -> usize {
        self.starts.len()
    }

    pub fn memory_bytes(&self) -> usize {
        size_of_val(&*self.starts) + size_of_val(&*self.places) + size_of_val(&*self.index)
    }
}

/// IPv6 addresses.
pub struct Table6 {
    /// Upper 64 bits.
    starts: Box<[u64]>,
    /// A place, or [`FINE`] and the number of a fine /64. As long as `starts`.
    places: Box<[u32]>,
    /// Every [`BLOCK`]th of `starts`.
    blocks: Box<[u64]>,
    /// Where each fine /64 begins in `fine_starts`, and last its length.
    fine: Box<[u32]>,
    /// Lower 64 bits; the first of each fine /64 is 0.
    fine_starts: Box<[u64]>,
    /// As long as `fine_starts`.
    fine_places: Box<[u32]>,
}

impl Table6 {
    /// Values of `steps` are places, at most [`MAX_PLACES`] of them.
    pub fn new(steps: &Steps<u128>) -> Table6 {
        let mut build = Build6::default();
        let mut around = 0;
        let mut rest = steps.ranges();
        while let Some(&(start, _)) = rest.first() {
            let upper = (start >> 64) as u64;
            let same = rest.iter().take_while(|range| (range.0 >> 64) as u64 == upper).count();
            let (group, tail) = rest.split_at(same);
            around = build.add(upper, group, around);
            if tail.first().is_none_or(|next| upper.checked_add(1) != Some((next.0 >> 64) as u64)) {
                build.leave(upper, around);
            }
            rest = tail;
        }
        build.finish()
    }

    pub fn find(&self, address: u128) -> Found {
        let upper = (address >> 64) as u64;
        let block = self.blocks.partition_point(|&start| start <= upper).saturating_sub(1) * BLOCK;
        let end = (block + BLOCK).min(self.starts.len());
        let at = block + self.starts[block + 1..end].partition_point(|&start| start <= upper);
        let place = self.places[at];
        if place & FINE == 0 {
            return Found { place: PlaceId(place), scope: scope_within(&self.starts, at, upper) };
        }
        let number = (place & !FINE) as usize;
        let (first, last) = (self.fine[number] as usize, self.fine[number + 1] as usize);
        let starts = &self.fine_starts[first..last];
        let lower = address as u64;
        let at = starts.partition_point(|&start| start <= lower).saturating_sub(1);
        Found { place: PlaceId(self.fine_places[first + at]), scope: 64 + scope_within(starts, at, lower) }
    }

    pub fn ranges(&self) -> usize {
        self.starts.len() + self.fine_starts.len()
    }

    pub fn memory_bytes(&self) -> usize {
        size_of_val(&*self.starts)
            + size_of_val(&*self.places)
            + size_of_val(&*self.blocks)
            + size_of_val(&*self.fine)
            + size_of_val(&*self.fine_starts)
            + size_of_val(&*self.fine_places)
    }
}

#[derive(Default)]
struct Build6 {
    starts: Vec<u64>,
    places: Vec<u32>,
    fine: Vec<u32>,
    fine_starts: Vec<u64>,
    fine_places: Vec<u32>,
}

impl Build6 {
    /// Adds the ranges that start in one /64; `around` is the place before them. Returns the
    /// place they end with.
    fn add(&mut self, upper: u64, group: &[(u128, u32)], around: u32) -> u32 {
        if let &[(start, place)] = group
            && start as u64 == 0
        {
            self.push(upper, place);
            return place;
        }
        self.push(upper, FINE | self.fine.len() as u32);
        self.fine.push(self.fine_starts.len() as u32);
        if group.first().is_some_and(|range| range.0 as u64 != 0) {
            self.fine_starts.push(0);
            self.fine_places.push(around);
        }
        for &(start, place) in group {
            self.fine_starts.push(start as u64);
            self.fine_places.push(place);
        }
        group.last().map_or(around, |range| range.1)
    }

    /// After a fine /64, its last place goes on in the next /64.
    fn leave(&mut self, upper: u64, place: u32) {
        let fine = self.places.last().is_some_and(|last| last & FINE != 0);
        if let (true, Some(next)) = (fine, upper.checked_add(1)) {
            self.push(next, place);
        }
    }

    fn push(&mut self, start: u64, place: u32) {
        self.starts.push(start);
        self.places.push(place);
    }

    fn finish(mut self) -> Table6 {
        self.fine.push(self.fine_starts.len() as u32);
        Table6 {
            blocks: self.starts.iter().copied().step_by(BLOCK).collect(),
            starts: self.starts.into(),
            places: self.places.into(),
            fine: self.fine.into(),
            fine_starts: self.fine_starts.into(),
            fine_places: self.fine_places.into(),
        }
    }
}

/// The shortest prefix length around `address` that stays inside range `at` of `starts`.
///
/// A block around `address` lies inside the range exactly if it reaches neither the address
/// before the range nor the one after it.
fn scope_within(starts: &[u64], at: usize, address: u64) -> u8 {
    let past_common_bits = |outside: u64| (address ^ outside).leading_zeros() as u8 + 1;
    let before = starts[at].checked_sub(1).map_or(0, past_common_bits);
    let after = starts.get(at + 1).map_or(0, |&start| past_common_bits(start));
    before.max(after)
}

fn past_common_bits_u32(address: u32, outside: u32) -> u8 {
    (address ^ outside).leading_zeros() as u8 + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_and_the_last_address_are_found() {
        let table = Table4::new(&Steps::of_prefixes(vec![(0u32, 0, 1), (u32::MAX, u32::MAX, 2)], 0));
        assert_eq!(table.find(0), Found { place: PlaceId(1), scope: 32 });
        assert_eq!(table.find(1), Found { place: PlaceId(0), scope: 32 });
        assert_eq!(table.find(1 << 31), Found { place: PlaceId(0), scope: 2 });
        assert_eq!(table.find(u32::MAX), Found { place: PlaceId(2), scope: 32 });

        let table = Table6::new(&Steps::of_prefixes(vec![(0u128, 0, 1), (u128::MAX, u128::MAX, 2)], 0));
        assert_eq!(table.find(0), Found { place: PlaceId(1), scope: 128 });
        assert_eq!(table.find(1), Found { place: PlaceId(0), scope: 128 });
        assert_eq!(table.find(1 << 64), Found { place: PlaceId(0), scope: 64 });
        assert_eq!(table.find(u128::MAX), Found { place: PlaceId(2), scope: 128 });
    }

    #[test]
    fn a_fine_64_ends_no_scope_but_its_own() {
        let net = |text: &str| u128::from(text.parse::<std::net::Ipv6Addr>().expect("an address"));
        let first = net("2001:db8::8000:0:0:0");
        // Half of one /64 and all of the next: the second /64's scope is its own.
        let table = Table6::new(&Steps::of_prefixes(vec![(first, net("2001:db8:0:1:ffff:ffff:ffff:ffff"), 1)], 0));
        assert_eq!(table.find(first), Found { place: PlaceId(1), scope: 65 });
        assert_eq!(table.find(first - 1), Found { place: PlaceId(0), scope: 65 });
        assert_eq!(table.find(net("2001:db8:0:1::")), Found { place: PlaceId(1), scope: 64 });
        assert_eq!(table.find(net("2001:db8:0:2::")), Found { place: PlaceId(0), scope: 63 });
    }

    #[test]
    fn without_any_range_the_scope_is_everything() {
        assert_eq!(Table4::new(&Steps::constant(3)).find(77), Found { place: PlaceId(3), scope: 0 });
        assert_eq!(Table6::new(&Steps::constant(3)).find(77), Found { place: PlaceId(3), scope: 0 });
    }
}
