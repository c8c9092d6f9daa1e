//! The tables queries ask: an address in; its place (or group of places) and the widest prefix of that out.
//!
//! Maximal ranges stand in blocks of one cache line, starts beside places. An index by the upper
//! bits narrows the search to a few blocks, the first starts of blocks to one; so a lookup waits
//! for cold memory about twice, whatever the size of the table:
//!
//! ```text
//!   upper bits ─▶ index ─▶ first starts of a few blocks ─▶ one block: starts, places
//! ```
//!
//! IPv6 ranges are kept by their upper 64 bits; a /64 that holds more than one place is *fine*:
//!
//! ```text
//!   starts (u64)  places
//!   2001:db8::    17
//!   2001:db8:1::  FINE | 3  ──▶  fine /64 number 3:  lower 64 bits ──▶ places
//!   2001:db8:2::  0
//! ```
//!
//! No prefix up to /64 around any other address ends inside a fine one: scopes never need both
//! levels. Where places are few, as groups of places are, they take an octet or two each, and more
//! ranges fit in a block.

use super::located::{Located, PlaceId};
use super::steps::Steps;

/// Marks a place of [`Table6`] as the number of a fine /64.
const FINE: u32 = 1 << 31;

/// Places and fine numbers are below this.
pub const MAX_PLACES: u32 = FINE - 1;

/// IPv4 addresses.
pub struct Table4 {
    ranges: Fitted<u32, 12, 10, 8>,
}

impl Table4 {
    /// Values of `steps` are places, at most [`MAX_PLACES`] of them.
    pub fn new(steps: &Steps<u32>) -> Table4 {
        Table4 { ranges: Fitted::new(steps.ranges()) }
    }

    pub fn find(&self, address: u32) -> Located {
        let (place, scope) = self.ranges.find(address);
        Located { place: PlaceId(place), scope }
    }

    pub fn ranges(&self) -> usize {
        self.ranges.count()
    }

    /// Every range's start and place, ascending.
    pub fn for_each(&self, visit: impl FnMut(u32, u32)) {
        self.ranges.for_each(visit);
    }

    pub fn memory_bytes(&self) -> usize {
        self.ranges.memory_bytes()
    }
}

/// IPv6 addresses.
pub struct Table6 {
    /// By the upper 64 bits; places may be [`FINE`].
    ranges: Fitted<u64, 7, 6, 5>,
    /// The offsets where the fine /64s begin in `fine_starts`, and last its length.
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

    pub fn find(&self, address: u128) -> Located {
        let (place, scope) = self.ranges.find((address >> 64) as u64);
        if place & FINE != 0 {
            return self.find_fine((place & !FINE) as usize, address as u64);
        }
        Located { place: PlaceId(place), scope }
    }

    fn find_fine(&self, number: usize, lower: u64) -> Located {
        let (first, last) = (self.fine[number] as usize, self.fine[number + 1] as usize);
        let starts = &self.fine_starts[first..last];
        let at = last_up_to(starts, lower);
        let scope = 64 + scope_within(lower, starts[at], starts.get(at + 1));
        Located { place: PlaceId(self.fine_places[first + at]), scope }
    }

    pub fn ranges(&self) -> usize {
        self.ranges.count() + self.fine_starts.len()
    }

    /// Every range's start and place by upper 64 bits, ascending; `None` for a fine /64.
    pub fn for_each(&self, mut visit: impl FnMut(u64, Option<u32>)) {
        self.ranges.for_each(|start, place| visit(start, (place & FINE == 0).then_some(place)));
    }

    pub fn memory_bytes(&self) -> usize {
        self.ranges.memory_bytes()
            + size_of_val(&*self.fine)
            + size_of_val(&*self.fine_starts)
            + size_of_val(&*self.fine_places)
    }
}

#[derive(Default)]
struct Build6 {
    /// Starts and places.
    ranges: Vec<(u64, u32)>,
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
        let fine = self.ranges.last().is_some_and(|last| last.1 & FINE != 0);
        if let (true, Some(next)) = (fine, upper.checked_add(1)) {
            self.push(next, place);
        }
    }

    fn push(&mut self, start: u64, place: u32) {
        self.ranges.push((start, place));
    }

    fn finish(mut self) -> Table6 {
        self.fine.push(self.fine_starts.len() as u32);
        Table6 {
            ranges: Fitted::new(&self.ranges),
            fine: self.fine.into(),
            fine_starts: self.fine_starts.into(),
            fine_places: self.fine_places.into(),
        }
    }
}

/// Ranges with places in as few octets as nearly all of them need: 1, 2 or 4; so many to a block.
enum Fitted<K, const ONE: usize, const TWO: usize, const FOUR: usize> {
    One(Ranges<K, u8, ONE>, Rare<K>),
    Two(Ranges<K, u16, TWO>, Rare<K>),
    Four(Ranges<K, u32, FOUR>),
}

/// Starts of ranges whose places do not fit, ascending, and their places: fine /64s, and what stands
/// for IPv4.
struct Rare<K>(Box<[(K, u32)]>);

impl<K: AddressKey, const ONE: usize, const TWO: usize, const FOUR: usize> Fitted<K, ONE, TWO, FOUR> {
    /// Starts ascend from 0, each with its place. At least one.
    fn new(ranges: &[(K, u32)]) -> Self {
        let most = ranges.iter().map(|range| range.1).filter(|&place| place < MAX_PLACES).max().unwrap_or(0);
        if most < u8::MAX.into() {
            Fitted::One(Ranges::new(ranges), Rare::of::<u8>(ranges))
        } else if most < u16::MAX.into() {
            Fitted::Two(Ranges::new(ranges), Rare::of::<u16>(ranges))
        } else {
            Fitted::Four(Ranges::new(ranges))
        }
    }

    /// The place of an address, and its scope among these keys.
    fn find(&self, key: K) -> (u32, u8) {
        match self {
            Fitted::One(ranges, rare) => rare.or(ranges.find(key), key),
            Fitted::Two(ranges, rare) => rare.or(ranges.find(key), key),
            Fitted::Four(ranges) => ranges.find(key),
        }
    }

    fn count(&self) -> usize {
        match self {
            Fitted::One(ranges, _) => ranges.count,
            Fitted::Two(ranges, _) => ranges.count,
            Fitted::Four(ranges) => ranges.count,
        }
    }

    /// Every range's start and place, ascending.
    fn for_each(&self, mut visit: impl FnMut(K, u32)) {
        match self {
            Fitted::One(ranges, rare) => ranges.for_each(|start, place| visit(start, rare.or((place, 0), start).0)),
            Fitted::Two(ranges, rare) => ranges.for_each(|start, place| visit(start, rare.or((place, 0), start).0)),
            Fitted::Four(ranges) => ranges.for_each(visit),
        }
    }

    fn memory_bytes(&self) -> usize {
        match self {
            Fitted::One(ranges, rare) => ranges.memory_bytes() + size_of_val(&*rare.0),
            Fitted::Two(ranges, rare) => ranges.memory_bytes() + size_of_val(&*rare.0),
            Fitted::Four(ranges) => ranges.memory_bytes(),
        }
    }
}

impl<K: AddressKey> Rare<K> {
    fn of<V: Short>(ranges: &[(K, u32)]) -> Rare<K> {
        Rare(ranges.iter().copied().filter(|&(_, place)| V::of(place) == V::ELSEWHERE).collect())
    }

    /// The value found for a key, with the place it stands for.
    fn or<V: Short>(&self, (found, scope): (V, u8), key: K) -> (u32, u8) {
        if found != V::ELSEWHERE {
            return (found.into(), scope);
        }
        let after = self.0.partition_point(|&(start, _)| start <= key);
        (self.0[..after].last().map_or(0, |&(_, place)| place), scope)
    }
}

/// A place in few octets.
trait Short: Copy + Eq + Into<u32> {
    /// The place is too large: it is kept in [`Rare`].
    const ELSEWHERE: Self;

    fn of(place: u32) -> Self;
}

impl Short for u8 {
    const ELSEWHERE: u8 = u8::MAX;

    fn of(place: u32) -> u8 {
        place.try_into().unwrap_or(u8::MAX)
    }
}

impl Short for u16 {
    const ELSEWHERE: u16 = u16::MAX;

    fn of(place: u32) -> u16 {
        place.try_into().unwrap_or(u16::MAX)
    }
}

/// All fit.
impl Short for u32 {
    const ELSEWHERE: u32 = u32::MAX;

    fn of(place: u32) -> u32 {
        place
    }
}

/// Ranges of addresses (or of their upper halves), `N` to a block.
struct Ranges<K, V, const N: usize> {
    count: usize,
    blocks: Box<[Block<K, V, N>]>,
    /// The first start of each block.
    firsts: Box<[K]>,
    /// The block that holds the first address of each bucket, and last of what follows them.
    index: Box<[u32]>,
    /// A bucket has two to the power of this keys.
    bucket_bits: u32,
}

/// Neighbouring ranges in one cache line. The last block repeats its last range to the end.
#[repr(align(64))]
struct Block<K, V, const N: usize> {
    starts: [K; N],
    places: [V; N],
}

impl<K: AddressKey, V: Short, const N: usize> Ranges<K, V, N> {
    /// Starts ascend from 0, each with its place. At least one.
    fn new(ranges: &[(K, u32)]) -> Ranges<K, V, N> {
        let firsts: Vec<K> = ranges.iter().map(|range| range.0).step_by(N).collect();
        // About as many buckets as blocks.
        let bucket_bits = K::INDEXED_BITS - (firsts.len().max(1).ilog2() + 1).min(MAX_INDEX_BITS);
        Ranges {
            count: ranges.len(),
            blocks: ranges.chunks(N).map(Block::of).collect(),
            index: index_of(&firsts, bucket_bits),
            firsts: firsts.into(),
            bucket_bits,
        }
    }

    /// The place of an address, and its scope among these keys.
    fn find(&self, key: K) -> (V, u8) {
        let (first, last) = self.blocks_around(key);
        let number = first + self.firsts[first + 1..=last].partition_point(|&start| start <= key);
        let block = &self.blocks[number];
        // All of a block at once, without a jump. Repeated ranges at the end do no harm: the last of
        // them is taken, behind which nothing begins.
        let at =
            block.starts.iter().map(|&start| usize::from(start <= key)).sum::<usize>().saturating_sub(1).min(N - 1);
        let next = block.starts.get(at + 1).or_else(|| self.firsts.get(number + 1));
        (block.places[at], scope_within(key, block.starts[at], next))
    }

    /// Every range's start and place, ascending.
    fn for_each(&self, mut visit: impl FnMut(K, V)) {
        for (number, block) in self.blocks.iter().enumerate() {
            let used = N.min(self.count - number * N);
            for (&start, &place) in block.starts[..used].iter().zip(&block.places) {
                visit(start, place);
            }
        }
    }

    /// The first and the last block in which the range of a key may stand.
    fn blocks_around(&self, key: K) -> (usize, usize) {
        let buckets = self.index.len() - 1;
        match key.bucket(self.bucket_bits) {
            Bucket::Before => (0, self.index[0] as usize),
            Bucket::At(bucket) => {
                let bucket = bucket & (buckets - 1);
                (self.index[bucket] as usize, self.index[bucket + 1] as usize)
            }
            Bucket::After => (self.index[buckets] as usize, self.blocks.len() - 1),
        }
    }

    fn memory_bytes(&self) -> usize {
        size_of_val(&*self.blocks) + size_of_val(&*self.firsts) + size_of_val(&*self.index)
    }
}

impl<K: Copy, V: Short, const N: usize> Block<K, V, N> {
    /// Of one to `N` starts and their places.
    fn of(ranges: &[(K, u32)]) -> Block<K, V, N> {
        let last = ranges.len() - 1;
        Block {
            starts: std::array::from_fn(|at| ranges[at.min(last)].0),
            places: std::array::from_fn(|at| V::of(ranges[at.min(last)].1)),
        }
    }
}

/// See [`Ranges::index`].
fn index_of<K: AddressKey>(firsts: &[K], bucket_bits: u32) -> Box<[u32]> {
    let mut block = 0;
    let holds = |bucket: u64| {
        while firsts.get(block + 1).is_some_and(|&first| first.into() <= K::INDEXED_FROM + (bucket << bucket_bits)) {
            block += 1;
        }
        block as u32
    };
    (0..=1 << (K::INDEXED_BITS - bucket_bits)).map(holds).collect()
}

/// Most bits of a key that an index goes by: 1 MB.
const MAX_INDEX_BITS: u32 = 18;

/// The key that ranges are kept by.
trait AddressKey: Copy + Ord + Into<u64> {
    /// The index begins at this key,
    const INDEXED_FROM: u64;
    /// and holds two to the power of this many.
    const INDEXED_BITS: u32;

    /// The bucket where the index keeps this key. Of the number of a bucket only as many bits count as the
    /// index has.
    fn bucket(self, bucket_bits: u32) -> Bucket;

    /// The number of leading bits that two keys have in common.
    fn common_bits(self, other: Self) -> u8;

    /// The key before; `None` before 0.
    fn before(self) -> Option<Self>;
}

enum Bucket {
    Before,
    At(usize),
    After,
}

/// IPv4 addresses: all are indexed.
impl AddressKey for u32 {
    const INDEXED_FROM: u64 = 0;
    const INDEXED_BITS: u32 = 32;

    fn bucket(self, bucket_bits: u32) -> Bucket {
        Bucket::At((self >> bucket_bits) as usize)
    }

    fn common_bits(self, other: u32) -> u8 {
        (self ^ other).leading_zeros() as u8
    }

    fn before(self) -> Option<u32> {
        self.checked_sub(1)
    }
}

/// Upper halves of IPv6 addresses: the unicast 2000::/3 is indexed, where nearly all lie (RFC
/// 4291 section 2.4).
impl AddressKey for u64 {
    const INDEXED_FROM: u64 = 1 << 61;
    const INDEXED_BITS: u32 = 61;

    fn bucket(self, bucket_bits: u32) -> Bucket {
        match self >> 61 {
            0 => Bucket::Before,
            1 => Bucket::At((self >> bucket_bits) as usize),
            _ => Bucket::After,
        }
    }

    fn common_bits(self, other: u64) -> u8 {
        (self ^ other).leading_zeros() as u8
    }

    fn before(self) -> Option<u64> {
        self.checked_sub(1)
    }
}

/// The index of the last start at or below `key`; 0 if there is none.
fn last_up_to<K: AddressKey>(starts: &[K], key: K) -> usize {
    starts.partition_point(|&start| start <= key).saturating_sub(1)
}

/// The shortest prefix length around `key` that stays inside the range from `start` to before
/// `next`.
///
/// A block of addresses around `key` lies inside the range exactly if it reaches neither the
/// address before the range nor the one after it.
fn scope_within<K: AddressKey>(key: K, start: K, next: Option<&K>) -> u8 {
    let before = start.before().map_or(0, |outside| key.common_bits(outside) + 1);
    let after = next.map_or(0, |&outside| key.common_bits(outside) + 1);
    before.max(after)
}

#[cfg(test)]
mod tests {
    use super::super::packed::Packed;
    use super::*;

    #[test]
    fn the_first_and_the_last_address_are_found() {
        let table = Table4::new(&Steps::of_prefixes(vec![(0u32, 0, 1), (u32::MAX, u32::MAX, 2)], 0));
        assert_eq!(table.find(0), Located { place: PlaceId(1), scope: 32 });
        assert_eq!(table.find(1), Located { place: PlaceId(0), scope: 32 });
        assert_eq!(table.find(1 << 31), Located { place: PlaceId(0), scope: 2 });
        assert_eq!(table.find(u32::MAX), Located { place: PlaceId(2), scope: 32 });

        let table = Table6::new(&Steps::of_prefixes(vec![(0u128, 0, 1), (u128::MAX, u128::MAX, 2)], 0));
        assert_eq!(table.find(0), Located { place: PlaceId(1), scope: 128 });
        assert_eq!(table.find(1), Located { place: PlaceId(0), scope: 128 });
        assert_eq!(table.find(1 << 64), Located { place: PlaceId(0), scope: 64 });
        assert_eq!(table.find(u128::MAX), Located { place: PlaceId(2), scope: 128 });
    }

    #[test]
    fn a_fine_64_ends_no_scope_but_its_own() {
        let net = |text: &str| u128::from(text.parse::<std::net::Ipv6Addr>().expect("an address"));
        let first = net("2001:db8::8000:0:0:0");
        // Half of one /64 and all of the next: the second /64's scope is its own.
        let table = Table6::new(&Steps::of_prefixes(vec![(first, net("2001:db8:0:1:ffff:ffff:ffff:ffff"), 1)], 0));
        assert_eq!(table.find(first), Located { place: PlaceId(1), scope: 65 });
        assert_eq!(table.find(first - 1), Located { place: PlaceId(0), scope: 65 });
        assert_eq!(table.find(net("2001:db8:0:1::")), Located { place: PlaceId(1), scope: 64 });
        assert_eq!(table.find(net("2001:db8:0:2::")), Located { place: PlaceId(0), scope: 63 });
    }

    /// Against the other table, which keeps everything alike.
    #[test]
    fn places_of_one_two_and_four_octets_are_found() {
        let mut rng = fastrand::Rng::with_seed(5);
        for most in [1, 253, 254, 255, 256, 65_533, 65_534, 65_535, 65_536, MAX_PLACES - 1] {
            let (mut v4, mut v6) = (Steps::<u32>::constant(0), Steps::<u128>::constant(0));
            let mut starts: Vec<u128> = (0..300).map(|_| rng.u128(..) >> rng.u32(..64) << rng.u32(..96)).collect();
            starts.extend((0..20).map(|n| 7 << 64 | n)); // in one /64
            starts.sort_unstable();
            starts.iter().for_each(|&start| v6.push(start, [most, rng.u32(..=most), MAX_PLACES][rng.usize(..3)]));
            starts.sort_unstable_by_key(|&start| (start >> 96) as u32);
            starts.iter().for_each(|&start| v4.push((start >> 96) as u32, [most, rng.u32(..=most)][rng.usize(..2)]));
            let (table4, table6) = (Table4::new(&v4), Table6::new(&v6));
            let mut ranges = Vec::new();
            table4.for_each(|start, place| ranges.push((start, place)));
            assert_eq!(ranges, v4.ranges());
            let (packed4, packed6) = (Packed::new(&v4), Packed::new(&v6));
            let expected = |(place, scope)| Located { place: PlaceId(place), scope };
            for address in v6.ranges().iter().flat_map(|range| [range.0, range.0.wrapping_sub(1)]) {
                assert_eq!(table6.find(address), expected(packed6.find(address)), "{address:x} of {most}");
            }
            for address in v4.ranges().iter().flat_map(|range| [range.0, range.0.wrapping_sub(1)]) {
                assert_eq!(table4.find(address), expected(packed4.find(address)), "{address:x} of {most}");
            }
        }
    }

    #[test]
    fn without_any_range_the_scope_is_everything() {
        assert_eq!(Table4::new(&Steps::constant(3)).find(77), Located { place: PlaceId(3), scope: 0 });
        assert_eq!(Table6::new(&Steps::constant(3)).find(77), Located { place: PlaceId(3), scope: 0 });
    }
}
