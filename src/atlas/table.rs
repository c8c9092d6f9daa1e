//! The compiled tables: an address in; its place and the widest prefix of that place out.
//!
//! Both families keep the first addresses of maximal ranges, ascending, and beside them the
//! places. An index narrows the search: by the upper 16 bits of IPv4, by up to 18 bits below
//! the unicast 2000::/3 of IPv6, where all but few IPv6 addresses lie. IPv6 ranges stand in blocks
//! with their places, so that cold memory is waited for once, and by their upper 64 bits alone:
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

/// Marks a place of [`Block`] as the number of a fine /64.
const FINE: u32 = 1 << 31;

/// Places and fine numbers are below this.
pub const MAX_PLACES: u32 = FINE - 1;

/// IPv6 ranges in a block: as many as two cache lines hold.
const PER_BLOCK: usize = 10;

/// Most bits of an IPv6 address that its index goes by, after the three of 2000::/3: 1 MB.
const MAX_INDEX_BITS: u32 = 18;

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
    ranges: usize,
    blocks: Box<[Block]>,
    /// The first start of each block.
    firsts: Box<[u64]>,
    /// The block that holds the first address of each bucket of 2000::/3, and last of 4000::.
    index: Box<[u32]>,
    /// A bucket has two to the power of this /64s.
    bucket_bits: u32,
    /// Where each fine /64 begins in `fine_starts`, and last its length.
    fine: Box<[u32]>,
    /// Lower 64 bits; the first of each fine /64 is 0.
    fine_starts: Box<[u64]>,
    /// As long as `fine_starts`.
    fine_places: Box<[u32]>,
}

/// Neighbouring ranges. The last block repeats its last range to the end.
#[derive(Clone)]
#[repr(align(128))]
struct Block {
    /// Upper 64 bits.
    starts: [u64; PER_BLOCK],
    /// A place, or [`FINE`] and the number of a fine /64.
    places: [u32; PER_BLOCK],
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
        let (first, last) = self.blocks_around(upper);
        let number = first + self.firsts[first + 1..=last].partition_point(|&start| start <= upper);
        let block = &self.blocks[number];
        let used = PER_BLOCK.min(self.ranges - number * PER_BLOCK);
        let at = last_up_to(&block.starts[..used], upper);
        let place = block.places[at];
        if place & FINE != 0 {
            return self.find_fine((place & !FINE) as usize, address as u64);
        }
        let next = block.starts[..used].get(at + 1).or_else(|| self.firsts.get(number + 1));
        Found { place: PlaceId(place), scope: scope_within(upper, block.starts[at], next) }
    }

    /// The first and the last block in which the range of an address may stand.
    fn blocks_around(&self, upper: u64) -> (usize, usize) {
        let buckets = self.index.len() - 1;
        match upper >> 61 {
            0 => (0, self.index[0] as usize),
            1 => {
                let bucket = (upper >> self.bucket_bits) as usize & (buckets - 1);
                (self.index[bucket] as usize, self.index[bucket + 1] as usize)
            }
            _ => (self.index[buckets] as usize, self.blocks.len() - 1),
        }
    }

    fn find_fine(&self, number: usize, lower: u64) -> Found {
        let (first, last) = (self.fine[number] as usize, self.fine[number + 1] as usize);
        let starts = &self.fine_starts[first..last];
        let at = last_up_to(starts, lower);
        let scope = 64 + scope_within(lower, starts[at], starts.get(at + 1));
        Found { place: PlaceId(self.fine_places[first + at]), scope }
    }

    pub fn ranges(&self) -> usize {
        self.ranges + self.fine_starts.len()
    }

    pub fn memory_bytes(&self) -> usize {
        size_of_val(&*self.blocks)
            + size_of_val(&*self.firsts)
            + size_of_val(&*self.index)
            + size_of_val(&*self.fine)
            + size_of_val(&*self.fine_starts)
            + size_of_val(&*self.fine_places)
    }
}

/// Where the last start at or below `address` is; 0 if there is none.
fn last_up_to(starts: &[u64], address: u64) -> usize {
    starts.partition_point(|&start| start <= address).saturating_sub(1)
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
        let firsts: Vec<u64> = self.starts.iter().copied().step_by(PER_BLOCK).collect();
        // About as many buckets as blocks.
        let bucket_bits = 61 - firsts.len().ilog2().saturating_add(1).min(MAX_INDEX_BITS);
        Table6 {
            ranges: self.starts.len(),
            blocks: self.starts.chunks(PER_BLOCK).zip(self.places.chunks(PER_BLOCK)).map(block_of).collect(),
            index: index_of(&firsts, bucket_bits),
            bucket_bits,
            firsts: firsts.into(),
            fine: self.fine.into(),
            fine_starts: self.fine_starts.into(),
            fine_places: self.fine_places.into(),
        }
    }
}

/// See [`Table6::index`].
fn index_of(firsts: &[u64], bucket_bits: u32) -> Box<[u32]> {
    let mut block = 0;
    let holds = |bucket: u64| {
        let start = (1 << 61) + (bucket << bucket_bits);
        while firsts.get(block + 1).is_some_and(|&first| first <= start) {
            block += 1;
        }
        block as u32
    };
    (0..=1 << (61 - bucket_bits)).map(holds).collect()
}

fn block_of((starts, places): (&[u64], &[u32])) -> Block {
    // Chunks are never empty.
    let last = starts.len() - 1;
    Block {
        starts: std::array::from_fn(|at| starts[at.min(last)]),
        places: std::array::from_fn(|at| places[at.min(last)]),
    }
}

/// The shortest prefix length around `address` that stays inside the range from `start` to
/// before `next`.
///
/// A block around `address` lies inside the range exactly if it reaches neither the address
/// before the range nor the one after it.
fn scope_within(address: u64, start: u64, next: Option<&u64>) -> u8 {
    let past_common_bits = |outside: u64| (address ^ outside).leading_zeros() as u8 + 1;
    let before = start.checked_sub(1).map_or(0, past_common_bits);
    let after = next.map_or(0, |&outside| past_common_bits(outside));
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
