//! A function of the address, constant on ranges: what databases and networks are merged as.
//!
//! [`Steps`] says for every address of a family one value. Each change of value is one step;
//! equal neighbours are one range, so the ranges are always the widest there are.
//!
//! ```text
//!   0.0.0.0       10.0.0.0        11.0.0.0
//!   │ 0           │ 7             │ 0               starts and values of three ranges
//! ```

use crate::model::Prefix;
use std::net::IpAddr;

/// An address as a number: `u32` for IPv4, `u128` for IPv6.
pub trait Address: Copy + Ord + Default {
    /// Bits of an address: 32 or 128.
    const BITS: u8;

    /// The next address; `None` after the last.
    fn next(self) -> Option<Self>;

    /// This address with the bit at `depth` set; 0 is the most significant. `depth < BITS`.
    fn with_bit(self, depth: u8) -> Self;

    fn to_u128(self) -> u128;

    /// The lowest [`Address::BITS`] bits of a number.
    fn from_u128(number: u128) -> Self;
}

impl Address for u32 {
    const BITS: u8 = 32;

    fn next(self) -> Option<u32> {
        self.checked_add(1)
    }

    fn with_bit(self, depth: u8) -> u32 {
        self | (1 << (31 - depth))
    }

    fn to_u128(self) -> u128 {
        self.into()
    }

    fn from_u128(number: u128) -> u32 {
        number as u32
    }
}

impl Address for u128 {
    const BITS: u8 = 128;

    fn next(self) -> Option<u128> {
        self.checked_add(1)
    }

    fn with_bit(self, depth: u8) -> u128 {
        self | (1 << (127 - depth))
    }

    fn to_u128(self) -> u128 {
        self
    }

    fn from_u128(number: u128) -> u128 {
        number
    }
}

/// One value for every address of a family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Steps<A> {
    /// First address and value of each range: ascending, the first at address 0, neighbours
    /// differ in value. Never empty.
    ranges: Vec<(A, u32)>,
}

impl<A: Address> Steps<A> {
    /// The same value everywhere.
    pub fn constant(value: u32) -> Steps<A> {
        Steps { ranges: vec![(A::default(), value)] }
    }

    /// From `start` on, the value is this. Starts must come in ascending order; of two with the
    /// same start the later holds.
    pub fn push(&mut self, start: A, value: u32) {
        if self.ranges.last().is_some_and(|&(last, _)| last == start) {
            self.ranges.pop();
        }
        if self.ranges.last().is_none_or(|&(_, before)| before != value) {
            self.ranges.push((start, value));
        }
    }

    /// First address and value of each range, ascending, neighbours differing in value.
    pub fn ranges(&self) -> &[(A, u32)] {
        &self.ranges
    }

    /// The place of an address among the ranges.
    pub fn position(&self, address: A) -> usize {
        self.ranges.partition_point(|range| range.0 <= address).saturating_sub(1)
    }

    /// Gives each value a number of its own: `number` must never give two values the same one.
    pub fn renumber(&mut self, mut number: impl FnMut(u32) -> u32) {
        self.ranges.iter_mut().for_each(|range| range.1 = number(range.1));
    }

    /// This value from `first` to `last`, whatever it was there.
    pub fn set(&mut self, first: A, last: A, value: u32) {
        let from = self.ranges.partition_point(|range| range.0 < first);
        let to = self.ranges.partition_point(|range| range.0 <= last);
        let after = last.next().zip(self.ranges[..to].last().map(|range| range.1));
        // What follows may begin there anyway, and goes on as it was.
        let after = after.filter(|&(start, _)| self.ranges.get(to).is_none_or(|range| range.0 != start));
        let mut tail = Steps { ranges: self.ranges[..from].last().copied().into_iter().collect() };
        let kept = from - tail.ranges.len();
        tail.push(first, value);
        after.into_iter().for_each(|(start, value)| tail.push(start, value));
        let mut to = to;
        // A neighbour that has become alike is one range with it.
        if after.is_none()
            && self.ranges.get(to).is_some_and(|next| tail.ranges.last().is_some_and(|last| last.1 == next.1))
        {
            to += 1;
        }
        self.ranges.splice(kept..to, tail.ranges);
    }

    /// The values that `combine` makes of those of both, everywhere.
    pub fn zip(&self, other: &Steps<A>, mut combine: impl FnMut(u32, u32) -> u32) -> Steps<A> {
        let mut zipped = Steps { ranges: Vec::with_capacity(self.ranges.len().max(other.ranges.len())) };
        let (mut left, mut right) = (self.ranges.iter().peekable(), other.ranges.iter().peekable());
        let (mut a, mut b) = (0, 0);
        while let Some(start) = [left.peek(), right.peek()].into_iter().flatten().map(|range| range.0).min() {
            if let Some(&(_, value)) = left.next_if(|range| range.0 == start) {
                a = value;
            }
            if let Some(&(_, value)) = right.next_if(|range| range.0 == start) {
                b = value;
            }
            zipped.push(start, combine(a, b));
        }
        zipped
    }

    /// The value of the longest prefix an address lies in, else `outside`.
    ///
    /// Prefixes are given as first and last address and value; of two equal ones the first holds.
    pub fn of_prefixes(mut prefixes: Vec<(A, A, u32)>, outside: u32) -> Steps<A> {
        // Wide before narrow where they start together; the sort is stable.
        prefixes.sort_by(|a, b| a.0.cmp(&b.0).then(b.1.cmp(&a.1)));
        prefixes.dedup_by(|later, first| (later.0, later.1) == (first.0, first.1));
        let mut steps = Steps::constant(outside);
        let mut open: Vec<(A, u32)> = Vec::new();
        for (first, last, value) in prefixes {
            while let Some((end, _)) = open.pop_if(|(end, _)| *end < first) {
                steps.close(end, open.last().map_or(outside, |&(_, around)| around));
            }
            steps.push(first, value);
            open.push((last, value));
        }
        while let Some((end, _)) = open.pop() {
            steps.close(end, open.last().map_or(outside, |&(_, around)| around));
        }
        steps
    }

    /// After `end`, the value is that of what lies around.
    fn close(&mut self, end: A, around: u32) {
        if let Some(start) = end.next() {
            self.push(start, around);
        }
    }
}

/// First and last address of a prefix, in its family.
pub enum Bounds {
    V4(u32, u32),
    V6(u128, u128),
}

/// A prefix inside `::ffff:0:0/96` is the IPv4 prefix it maps (RFC 4291 section 2.5.5.2).
pub fn bounds(prefix: Prefix) -> Bounds {
    let prefix = prefix.unmapped();
    match (prefix.address(), prefix.last()) {
        (IpAddr::V4(first), IpAddr::V4(last)) => Bounds::V4(first.into(), last.into()),
        (IpAddr::V6(first), IpAddr::V6(last)) => Bounds::V6(first.into(), last.into()),
        // A prefix ends in the family it began in.
        (IpAddr::V4(first), _) => Bounds::V4(first.into(), first.into()),
        (IpAddr::V6(first), _) => Bounds::V6(first.into(), first.into()),
    }
}

/// First and last of the addresses that stand for IPv4 (RFC 4291 section 2.5.5.2).
pub const MAPPED_RANGE: (u128, u128) = (0xffff << 32, 0xffff_ffff_ffff);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_neighbours_are_one_range() {
        let mut steps = Steps::<u32>::constant(0);
        for (start, value) in [(0, 0), (10, 5), (20, 5), (30, 0), (30, 5), (40, 1)] {
            steps.push(start, value);
        }
        assert_eq!(steps.ranges(), [(0, 0), (10, 5), (40, 1)]);
    }

    #[test]
    fn the_longest_prefix_holds_whatever_the_order() {
        let mut prefixes = vec![(0, 99, 1), (0, 9, 2), (5, 5, 3), (90, 99, 4), (200, u32::MAX, 5)];
        let expected = [(0, 2), (5, 3), (6, 2), (10, 1), (90, 4), (100, 0), (200, 5)];
        for _ in 0..prefixes.len() {
            prefixes.rotate_left(1);
            assert_eq!(Steps::of_prefixes(prefixes.clone(), 0).ranges(), expected);
        }
        assert_eq!(Steps::<u128>::of_prefixes(Vec::new(), 7).ranges(), [(0, 7)]);
    }

    #[test]
    fn setting_a_range_leaves_the_others_as_they_were() {
        let base = Steps::of_prefixes(vec![(10u32, 19, 1), (30, 39, 2)], 0);
        let set = |first, last, value| {
            let mut steps = base.clone();
            steps.set(first, last, value);
            let own = Steps::of_prefixes(vec![(first, last, value)], u32::MAX);
            assert_eq!(steps, base.zip(&own, |around, own| if own == u32::MAX { around } else { own }));
            steps.ranges().to_vec()
        };
        assert_eq!(set(12, 15, 5), [(0, 0), (10, 1), (12, 5), (16, 1), (20, 0), (30, 2), (40, 0)]);
        for first in [0, 5, 9, 10, 11, 19, 20, 29, 30, 39, 40, 41, u32::MAX] {
            for last in [0, 5, 9, 10, 11, 19, 20, 29, 30, 39, 40, 41, u32::MAX].into_iter().filter(|&l| l >= first) {
                (0..4).for_each(|value| drop(set(first, last, value)));
            }
        }
    }

    #[test]
    fn zipping_sees_every_pair() {
        let a = Steps::of_prefixes(vec![(0u32, 9, 1), (20, 29, 2)], 0);
        let b = Steps::of_prefixes(vec![(5u32, 24, 1)], 0);
        let sum = a.zip(&b, |a, b| 10 * a + b);
        assert_eq!(sum.ranges(), [(0, 10), (5, 11), (10, 1), (20, 21), (25, 20), (30, 0)]);
    }
}
