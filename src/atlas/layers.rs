//! Places as the databases have them, and above them those of networks that are told apart.
//!
//! ```text
//!   over     │        3│  4│          silent elsewhere
//!   base     │ 1           │ 2        shared by all atlases that tell other networks apart
//!   found    │ 1      │ 3  │ 4 │ 2
//! ```
//!
//! The base has millions of ranges, and what is over it as many as networks are measured: so another atlas for other
//! networks is made without the base being copied, and little is asked twice.

use super::packed::{Packed, scope_within};
use super::steps::{Address, Steps};

/// Stands where no network says anything: what is below holds.
pub const SILENT: u32 = u32::MAX;

/// In IPv6: the table of IPv4 has to be asked. No place has this number.
pub const ASK_V4: u32 = u32::MAX - 1;

/// A base, and what is over it.
#[derive(Clone, Copy)]
pub struct Layers<'a, A> {
    pub base: &'a Packed<A>,
    /// Places; [`SILENT`] where the base holds.
    pub over: &'a Steps<A>,
    /// The place by which the base says that IPv4 has to be asked.
    pub mapped: u32,
}

impl<A: Address> Layers<'_, A> {
    /// The place of an address, and the widest prefix length around it within which every address has the same.
    pub fn find(&self, address: A) -> (u32, u8) {
        let ranges = self.over.ranges();
        let at = self.over.position(address);
        let (start, place) = ranges.get(at).copied().unwrap_or((A::default(), SILENT));
        let scope = scope_within(address, start, ranges.get(at + 1).map(|next| next.0));
        if place != SILENT {
            return (place, scope);
        }
        let (place, own) = self.base.find(address);
        (self.of_base(place), own.max(scope))
    }

    /// The steps from one place to another everywhere, with values given by place.
    pub fn steps(&self, mut value_of: impl FnMut(u32) -> u32) -> Steps<A> {
        let mut steps = Steps::constant(0);
        let mut over = Cursor { ranges: self.over.ranges(), at: 0 };
        let mut blocks = self.base.blocks_from(A::default()).peekable();
        while let Some((begin, ranges)) = blocks.next() {
            let end = blocks.peek().map(|(begin, _)| *begin);
            over.go_to(begin);
            if over.is_silent_until(end) {
                ranges.for_each(|(start, place)| steps.push(start, value_of(self.of_base(place))));
                continue;
            }
            let mut ranges = ranges.peekable();
            while let Some((mut start, place)) = ranges.next() {
                let end = ranges.peek().map(|range| range.0).or(end);
                let value = value_of(self.of_base(place));
                loop {
                    over.go_to(start);
                    steps.push(start, over.value().map_or(value, &mut value_of));
                    match over.next_start().filter(|&next| end.is_none_or(|end| next < end)) {
                        Some(next) => start = next,
                        None => break,
                    }
                }
            }
        }
        steps
    }

    /// The number of ranges; both together have a start wherever either has one.
    pub fn len(&self) -> usize {
        let begins = |start: A| {
            let in_block = self.base.blocks_from(start).next();
            in_block.is_some_and(|(_, mut ranges)| ranges.any(|range| range.0 == start))
        };
        let more = self.over.ranges().iter().filter(|range| !begins(range.0)).count();
        self.base.len() + more
    }

    fn of_base(&self, place: u32) -> u32 {
        if place == self.mapped { ASK_V4 } else { place }
    }
}

/// A place among what is over a base, that goes up alone.
struct Cursor<'a, A> {
    ranges: &'a [(A, u32)],
    at: usize,
}

impl<A: Address> Cursor<'_, A> {
    fn go_to(&mut self, address: A) {
        while self.next_start().is_some_and(|next| next <= address) {
            self.at += 1;
        }
    }

    fn next_start(&self) -> Option<A> {
        self.ranges.get(self.at + 1).map(|range| range.0)
    }

    /// `None` where the base holds.
    fn value(&self) -> Option<u32> {
        self.ranges.get(self.at).map(|range| range.1).filter(|&value| value != SILENT)
    }

    /// Tells whether the base holds from here to before `end`; without one to the end.
    fn is_silent_until(&self, end: Option<A>) -> bool {
        let next = self.next_start();
        self.value().is_none() && next.is_none_or(|next| end.is_some_and(|end| next >= end))
    }
}
