//! The cheapest moves from one region to another, as far as prices may ask for them.
//!
//! Sources number hundreds of thousands and regions dozens, but a search asks only for moves that nearly pay. So those
//! alone are gathered that cost less than a window at the prices of the time; of the rest, the cheapest is known, which
//! says when the window was too narrow.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::problem::{FORBIDDEN, Problem};

/// More than any move costs, and little enough to be added to.
pub const NEVER: i64 = i64::MAX / 4;

/// By two regions, from and to: what moving a source costs, `cost(to) − cost(from)`, its sources' own least first.
#[derive(Debug)]
pub struct Moves {
    regions: usize,
    heaps: Vec<BinaryHeap<Reverse<u64>>>,
    /// The cheapest move, or, where its source is [`UNKNOWN`], less than any costs; [`NEVER`]: there is none.
    least: Vec<i64>,
    sources: Vec<u32>,
    /// Moves up to this are in `heaps`.
    within: Vec<i64>,
    /// The least of those that are not.
    beyond: Vec<i64>,
}

/// The cheapest move is not among those that were gathered.
const UNKNOWN: u32 = u32::MAX;

impl Moves {
    /// Moves that cost up to `window` at these prices. `homes`: each source with each region it is in.
    pub fn gather(
        problem: &Problem,
        prices: &[i64],
        window: i64,
        homes: impl Iterator<Item = (usize, usize)>,
    ) -> Moves {
        let regions = problem.regions;
        let within: Vec<i64> = (0..regions * regions)
            .map(|pair| window.saturating_add(prices[pair / regions] - prices[pair % regions]))
            .collect();
        // Moves are compared in 32 bits, several at a time.
        let within_32: Vec<i32> =
            within.iter().map(|&key| key.clamp(i32::MIN.into(), i32::MAX.into()) as i32).collect();
        let mut beyond = vec![i32::MAX; regions * regions];
        let mut gathered: Vec<Vec<Reverse<u64>>> = vec![Vec::new(); regions * regions];
        for (source, from) in homes {
            let costs = problem.costs_of(source);
            let row = from * regions..(from + 1) * regions;
            let (within, beyond, own) = (&within_32[row.clone()], &mut beyond[row.clone()], costs[from]);
            let mut any = false;
            for ((&cost, &within), beyond) in costs.iter().zip(within).zip(beyond) {
                let is_near = cost - own <= within;
                any |= is_near;
                let key = if is_near || cost == FORBIDDEN { i32::MAX } else { cost - own };
                *beyond = key.min(*beyond);
            }
            if any {
                for (to, (&cost, &within)) in costs.iter().zip(within).enumerate() {
                    if cost - own <= within && cost != FORBIDDEN && to != from {
                        gathered[row.start + to].push(Reverse(pack(cost - own, source)));
                    }
                }
            }
        }
        let never = |key: i32| if key == i32::MAX { NEVER } else { i64::from(key) };
        let mut moves = Moves {
            regions,
            heaps: gathered.into_iter().map(BinaryHeap::from).collect(),
            least: vec![NEVER; regions * regions],
            sources: vec![UNKNOWN; regions * regions],
            within,
            beyond: beyond.into_iter().map(never).collect(),
        };
        for pair in 0..regions * regions {
            moves.renew(pair, |_, _| true);
        }
        moves
    }

    /// What the cheapest moves out of a region cost, by region moved to: no less than this, and just this where
    /// [`Moves::source`] knows whose move it is.
    pub fn out_of(&self, from: usize) -> &[i64] {
        &self.least[from * self.regions..][..self.regions]
    }

    pub fn source(&self, from: usize, to: usize) -> Option<usize> {
        let source = self.sources[from * self.regions + to];
        (source != UNKNOWN).then_some(source as usize)
    }

    /// A source has come to a region.
    pub fn come(&mut self, problem: &Problem, source: usize, from: usize) {
        let costs = problem.costs_of(source);
        let row = from * self.regions;
        for (to, &cost) in costs.iter().enumerate().filter(|&(to, &cost)| to != from && cost != FORBIDDEN) {
            let (key, pair) = (cost - costs[from], row + to);
            if i64::from(key) > self.within[pair] {
                self.beyond[pair] = self.beyond[pair].min(key.into());
            } else {
                self.heaps[pair].push(Reverse(pack(key, source)));
            }
            if i64::from(key) < self.least[pair] {
                self.least[pair] = key.into();
                self.sources[pair] = if i64::from(key) > self.within[pair] { UNKNOWN } else { source as u32 };
            }
        }
    }

    /// A source is in a region no more. `is_in` tells of any source and region.
    pub fn go(&mut self, source: usize, from: usize, is_in: impl Fn(usize, usize) -> bool) {
        for pair in from * self.regions..(from + 1) * self.regions {
            if self.sources[pair] as usize == source {
                self.renew(pair, &is_in);
            }
        }
    }

    fn renew(&mut self, pair: usize, is_in: impl Fn(usize, usize) -> bool) {
        let from = pair / self.regions;
        (self.least[pair], self.sources[pair]) = (self.beyond[pair], UNKNOWN);
        while let Some(&Reverse(packed)) = self.heaps[pair].peek() {
            let (key, source) = unpack(packed);
            if is_in(source, from) {
                (self.least[pair], self.sources[pair]) = (key, source as u32);
                return;
            }
            self.heaps[pair].pop(); // it has left since
        }
    }
}

/// A move as a number that orders by cost, then by source.
pub fn pack(key: i32, source: usize) -> u64 {
    u64::from(key as u32 ^ 1 << 31) << 32 | source as u64
}

pub fn unpack(packed: u64) -> (i64, usize) {
    let key = ((packed >> 32) as u32 ^ 1 << 31) as i32;
    (i64::from(key), packed as u32 as usize)
}
