//! Networks told apart that the databases put at one place: a compiled atlas and prefixes in, an
//! atlas out, in which what lies in a network is at places of its own.
//!
//! ```text
//!   base     │ DE              │ FR        │            places 1, 2
//!   networks      │ 10.1.0.0/16    │
//!   refined  │ DE │ DE*        │ FR* │ FR  │            places 1, 3, 4, 2
//! ```
//!
//! Works on the compiled tables, so no database need be at hand. The base can be had back from a
//! refined atlas, since every refined place knows what it was; so nothing is kept twice.

use std::collections::HashMap;

use super::assemble::{SILENT, assemble};
use super::located::PlaceId;
use super::lookup::{Atlas, Refined};
use super::steps::{Bounds, MAPPED_RANGE, Steps, bounds};
use crate::model::Prefix;

/// See [`Atlas::refined`].
pub fn refine(atlas: &Atlas, networks: &[Prefix]) -> Atlas {
    let networks = distinct(networks);
    let (own_v4, own_v6) = steps_of(&networks);
    let mut numbers =
        Numbers { networks: &networks, first: atlas.places.len(), known: HashMap::new(), refined: vec![] };
    let base = |place: u32| atlas.unrefined(PlaceId(place));
    let v4 = atlas.v4.steps(base).zip(&own_v4, |place, network| numbers.of(place, network));
    let v6 = atlas.v6.steps(base).zip(&own_v6, |place, network| numbers.of(place, network));
    assemble(v4, v6, atlas.places.clone(), numbers.refined.into(), atlas.summary.clone())
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
        // Silence is an index beyond all networks, too.
        let Some(&prefix) = self.networks.get(network as usize) else { return base };
        *self.known.entry((base, network)).or_insert_with(|| {
            self.refined.push(Refined { base, network: prefix });
            // No more than ranges, which are bounded far below 2^31.
            (self.first + self.refined.len() - 1) as u32
        })
    }
}
