//! Networks told apart that the databases put at one place: a compiled atlas and prefixes in, an
//! atlas out, in which what lies in a network is at places of its own.
//!
//! ```text
//!   base     │ DE              │ FR        │            places 1, 2
//!   networks      │ 10.1.0.0/16    │
//!   refined  │ DE │ DE*        │ FR* │ FR  │            places 1, 3, 4, 2
//! ```
//!
//! Works on the compiled tables, so no database need be at hand. They are shared: what is made is what lies over them
//! ([`super::layers`]), and the base can be had back.

use std::collections::HashMap;

use super::layers::{ASK_V4, SILENT};
use super::lookup::{Atlas, Over, Refined};
use super::packed::Packed;
use super::steps::{Address, Bounds, MAPPED_RANGE, Steps, bounds};
use crate::model::Prefix;

/// See [`Atlas::refined`].
pub fn refine(atlas: &Atlas, networks: &[Prefix]) -> Atlas {
    let networks = distinct(networks);
    let (own_v4, own_v6) = steps_of(&networks);
    let mut numbers =
        Numbers { networks: &networks, first: atlas.places.len(), known: HashMap::new(), refined: vec![] };
    let tables = &atlas.tables;
    let v4 = over(&tables.v4, &own_v4, |place, network| numbers.of(place, network));
    let mut v6 = over(&tables.v6, &own_v6, |place, network| numbers.of(place, network));
    // All of IPv4 may have been one place, and is no more.
    let (first, last) = MAPPED_RANGE;
    if v4.ranges().len() > 1 || v4.ranges().iter().any(|range| range.1 != SILENT) {
        v6.set(first, last, ASK_V4);
    }
    atlas.with(Over { v4, v6, refined: numbers.refined.into() })
}

/// Each once, in ascending order.
fn distinct(networks: &[Prefix]) -> Vec<Prefix> {
    let mut networks: Vec<Prefix> = networks.iter().map(|network| network.unmapped()).collect();
    networks.sort_unstable();
    networks.dedup();
    networks
}

/// The index of the longest network around every address; [`SILENT`] where there is none.
fn steps_of(networks: &[Prefix]) -> (Steps<u32>, Steps<u128>) {
    let (mapped_first, mapped_last) = MAPPED_RANGE;
    let (mut v4, mut v6) = (Vec::new(), vec![(mapped_first, mapped_last, SILENT)]);
    for (network, index) in networks.iter().zip(0..) {
        match bounds(*network) {
            Bounds::V4(first, last) => v4.push((first, last, index)),
            Bounds::V6(first, last) => v6.push((first, last, index)),
        }
    }
    (Steps::of_prefixes(v4, SILENT), Steps::of_prefixes(v6, SILENT))
}

/// The places that `number` gives for each base place and network, wherever there is a network.
fn over<A: Address>(base: &Packed<A>, networks: &Steps<A>, mut number: impl FnMut(u32, u32) -> u32) -> Steps<A> {
    let mut over = Steps::constant(SILENT);
    let mut rest = networks.ranges();
    while let Some((&(first, network), after)) = rest.split_first() {
        rest = after;
        if network == SILENT {
            over.push(first, SILENT);
            continue;
        }
        let end = after.first().map(|next| next.0);
        let ranges = base.blocks_from(first).flat_map(|(_, ranges)| ranges);
        let mut ranges = ranges.take_while(|range| end.is_none_or(|end| range.0 < end)).peekable();
        while let Some((start, place)) = ranges.next() {
            // Those of the block before the first address are passed over.
            if ranges.peek().is_none_or(|next| next.0 > first) {
                over.push(start.max(first), number(place, network));
            }
        }
    }
    over
}

/// Numbers places of networks in the order in which addresses first show them.
struct Numbers<'a> {
    networks: &'a [Prefix],
    /// The first number that is not a base place.
    first: usize,
    /// By base place and network.
    known: HashMap<(u32, u32), u32>,
    refined: Vec<Refined>,
}

impl Numbers<'_> {
    fn of(&mut self, base: u32, network: u32) -> u32 {
        let Some(&prefix) = self.networks.get(network as usize) else { return base };
        *self.known.entry((base, network)).or_insert_with(|| {
            self.refined.push(Refined { base, network: prefix });
            // No more than ranges, which are bounded far below 2^31.
            (self.first + self.refined.len() - 1) as u32
        })
    }
}
