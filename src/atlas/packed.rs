//! All ranges of an atlas in some four octets each: small rather than fast, since queries are answered
//! from a table of what is decided, and only people, planners and samples ask for places.
//!
//! Ranges stand in blocks, and a lookup reads one block from its start:
//!
//! ```text
//!   first starts ─▶ one block │ range │ range │ …        range: shape, [length], [place]
//! ```
//!
//! Most ranges are one prefix, so the shape says their length in six bits; lengths that are no power
//! of two add the odd factor. An unknown place takes no octets, others as many as the largest.

use super::steps::{Address, Steps};

/// A place for every address of a family.
pub struct Packed<A> {
    count: usize,
    /// Octets of a place, 1 to 4.
    width: usize,
    /// The first start of each block, ascending from 0.
    firsts: Box<[A]>,
    /// The offsets where the blocks begin in `bytes`.
    offsets: Box<[usize]>,
    /// Ranges, and last [`PADDING`].
    bytes: Box<[u8]>,
}

/// Ranges in a block: some hundred nanoseconds of reading.
const BLOCK: usize = 64;

/// Zeros after the last range, so that four octets can be read of any place.
const PADDING: usize = 4;

/// In a shape: the place is unknown and takes no octets.
const UNKNOWN: u8 = 1 << 7;
/// In a shape: an odd factor follows.
const FACTOR: u8 = 1 << 6;
/// In a shape, where the bits of the prefix are: they are in an octet of their own.
const LONG: u8 = FACTOR - 1;

impl<A: Address> Packed<A> {
    pub fn new(steps: &Steps<A>) -> Packed<A> {
        let ranges = steps.ranges();
        let most = ranges.iter().map(|range| range.1).max().unwrap_or(0);
        let width = (4 - most.leading_zeros() as usize / 8).max(1);
        let blocks = ranges.len().div_ceil(BLOCK);
        let (mut firsts, mut offsets) = (Vec::with_capacity(blocks), Vec::with_capacity(blocks));
        let mut bytes = Vec::with_capacity(ranges.len() * (width + 1) + PADDING);
        let mut rest = ranges;
        while let Some((&(start, place), after)) = rest.split_first() {
            if (ranges.len() - rest.len()).is_multiple_of(BLOCK) {
                firsts.push(start);
                offsets.push(bytes.len());
            }
            let length = after.first().map(|&(next, _)| next.to_u128() - start.to_u128());
            write_shape::<A>(length, place, &mut bytes);
            if place != 0 {
                bytes.extend_from_slice(&place.to_le_bytes()[..width]);
            }
            rest = after;
        }
        bytes.extend_from_slice(&[0; PADDING]);
        Packed { count: ranges.len(), width, firsts: firsts.into(), offsets: offsets.into(), bytes: bytes.into() }
    }

    /// The place of an address, and the widest prefix length around it within which every address has
    /// the same.
    pub fn find(&self, address: A) -> (u32, u8) {
        let block = self.firsts.partition_point(|&first| first <= address).saturating_sub(1);
        let mut ranges = self.ranges_of(block);
        let end = self.firsts.get(block + 1).copied();
        let mut found = ranges.next();
        loop {
            let next = ranges.next();
            match next {
                Some((start, _)) if start <= address => found = next,
                _ => {
                    let (start, place) = found.unwrap_or_default();
                    return (place, scope_within(address, start, next.map(|range| range.0).or(end)));
                }
            }
        }
    }

    /// Ranges by blocks, from that on in which this address lies: each block with where it begins.
    pub fn blocks_from(&self, address: A) -> impl Iterator<Item = (A, Ranges<'_, A>)> {
        let first = self.firsts.partition_point(|&first| first <= address).saturating_sub(1);
        self.firsts.iter().enumerate().skip(first).map(|(block, &start)| (start, self.ranges_of(block)))
    }

    /// The number of ranges.
    pub fn len(&self) -> usize {
        self.count
    }

    pub fn memory_bytes(&self) -> usize {
        self.bytes.len() + size_of_val(&*self.firsts) + size_of_val(&*self.offsets)
    }

    fn ranges_of(&self, block: usize) -> Ranges<'_, A> {
        Ranges {
            bytes: &self.bytes,
            at: self.offsets.get(block).copied().unwrap_or(self.bytes.len()),
            mask: u32::MAX >> (32 - 8 * self.width),
            width: self.width,
            start: self.firsts.get(block).copied().unwrap_or_default(),
            left: self.count.saturating_sub(block * BLOCK).min(BLOCK),
        }
    }
}

/// The ranges of one block: starts and places.
pub struct Ranges<'a, A> {
    bytes: &'a [u8],
    at: usize,
    width: usize,
    mask: u32,
    start: A,
    left: usize,
}

impl<A: Address> Iterator for Ranges<'_, A> {
    type Item = (A, u32);

    fn next(&mut self) -> Option<(A, u32)> {
        self.left = self.left.checked_sub(1)?;
        let shape = self.octet()?;
        let bits = if shape & LONG == LONG { self.octet()? } else { shape & LONG };
        let factor = if shape & FACTOR != 0 { self.odd()? } else { 1 };
        let range = (self.start, if shape & UNKNOWN != 0 { 0 } else { self.place()? });
        let length = factor.checked_shl(u32::from((A::BITS - 1).saturating_sub(bits))).unwrap_or_default();
        self.start = A::from_u128(self.start.to_u128().wrapping_add(length));
        Some(range)
    }
}

impl<A> Ranges<'_, A> {
    fn octet(&mut self) -> Option<u8> {
        let octet = self.bytes.get(self.at).copied();
        self.at += 1;
        octet
    }

    /// An odd number without its last bit, the lowest seven bits first; all octets but the last have
    /// the highest bit set.
    fn odd(&mut self) -> Option<u128> {
        let (mut number, mut shift) = (0_u128, 0);
        loop {
            let octet = self.octet()?;
            number |= u128::from(octet & 0x7f).checked_shl(shift)?;
            shift += 7;
            if octet & 0x80 == 0 {
                return Some(number << 1 | 1);
            }
        }
    }

    fn place(&mut self) -> Option<u32> {
        let octets = self.bytes.get(self.at..)?.first_chunk()?;
        self.at += self.width;
        Some(u32::from_le_bytes(*octets) & self.mask)
    }
}

/// `length`: `None` for the last range, which goes to the end.
fn write_shape<A: Address>(length: Option<u128>, place: u32, bytes: &mut Vec<u8>) {
    let zeros = length.map_or(u32::from(A::BITS) - 1, u128::trailing_zeros);
    let prefix_bits = A::BITS - 1 - zeros as u8; // a length is above 0, and below that of a family
    let odd = length.map_or(1, |length| length >> zeros);
    let unknown = if place == 0 { UNKNOWN } else { 0 };
    let factor = if odd > 1 { FACTOR } else { 0 };
    bytes.push(unknown | factor | prefix_bits.min(LONG));
    if prefix_bits >= LONG {
        bytes.push(prefix_bits);
    }
    if factor != 0 {
        write_odd(odd, bytes);
    }
}

/// See [`Ranges::odd`].
fn write_odd(odd: u128, bytes: &mut Vec<u8>) {
    let mut rest = odd >> 1;
    while rest > 0x7f {
        bytes.push(rest as u8 & 0x7f | 0x80);
        rest >>= 7;
    }
    bytes.push(rest as u8);
}

/// The shortest prefix length around `address` that stays inside the range from `start` to before
/// `next`: it reaches neither the address before the range nor the one after it.
pub fn scope_within<A: Address>(address: A, start: A, next: Option<A>) -> u8 {
    let beyond = |outside: u128| {
        let common = (address.to_u128() ^ outside).leading_zeros() as u8 - (128 - A::BITS);
        common + 1
    };
    let before = start.to_u128().checked_sub(1).map_or(0, beyond);
    before.max(next.map_or(0, |next| beyond(next.to_u128())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check<A: Address + std::fmt::Debug>(steps: &Steps<A>) {
        let packed = Packed::new(steps);
        assert_eq!(packed.len(), steps.ranges().len());
        let ranges = packed.blocks_from(A::default()).flat_map(|(_, ranges)| ranges);
        assert_eq!(ranges.collect::<Vec<_>>(), steps.ranges());
        for (at, &(start, place)) in steps.ranges().iter().enumerate() {
            let last = match steps.ranges().get(at + 1) {
                Some(&(next, _)) => next.to_u128() - 1,
                None => A::from_u128(u128::MAX).to_u128(),
            };
            for address in [start.to_u128(), start.to_u128().midpoint(last), last] {
                let (found, scope) = packed.find(A::from_u128(address));
                assert_eq!(found, place);
                let (block, within) =
                    ((128 - A::BITS) + scope, |other: u128| start.to_u128() <= other && other <= last);
                let host = u128::MAX.checked_shr(block.into()).unwrap_or(0);
                assert!(within(address & !host) && within(address | host & A::from_u128(u128::MAX).to_u128()));
            }
        }
    }

    #[test]
    fn ranges_of_every_length_and_place_come_back() {
        let mut rng = fastrand::Rng::with_seed(3);
        for most in [1, 0xff, 0x100, 0xffff, 0x1_0000, 0xff_ffff, 0x100_0000, u32::MAX] {
            let (mut v4, mut v6) = (Steps::<u32>::constant(0), Steps::<u128>::constant(0));
            let mut starts: Vec<u128> = (0..400).map(|_| rng.u128(..) >> rng.u32(..128) << rng.u32(..128)).collect();
            starts.sort_unstable();
            for start in starts {
                v6.push(start, if rng.bool() { 0 } else { rng.u32(..=most) });
            }
            let mut starts: Vec<u32> = (0..400).map(|_| rng.u32(..) >> rng.u32(..32) << rng.u32(..32)).collect();
            starts.sort_unstable();
            for start in starts {
                v4.push(start, if rng.bool() { 0 } else { rng.u32(..=most) });
            }
            check(&v4);
            check(&v6);
        }
        check(&Steps::<u32>::constant(7));
        check(&Steps::<u128>::constant(0));
    }

    #[test]
    fn a_prefix_of_one_of_many_places_takes_four_octets() {
        let mut steps = Steps::<u32>::constant(0);
        (0..6400_u32).for_each(|n| steps.push(n << 8, 70_000 + n));
        let packed = Packed::new(&steps);
        assert!(packed.memory_bytes() < 6400 * 4 + 100 * 12 + 100, "{}", packed.memory_bytes());
    }
}
