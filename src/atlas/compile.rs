//! Databases and operator networks in, the tables of an atlas out.
//!
//! ```text
//!   City   ─┐
//!   Country ├─ fill gaps, closest first ─┐
//!   ASN    ─┘                            ├─ places in use, numbered ─▶ tables
//!   operator networks ── win wholly ─────┘
//! ```

use std::collections::HashMap;
use std::sync::Arc;

use super::assemble::assemble;
use super::database::{AtlasError, Contents, Database, MAX_PLACES, read_contents};
use super::layers::SILENT;
use super::lookup::Atlas;
use super::places::Collector;
use super::sources::{AtlasSummary, DatabaseSummary, Detail};
use super::steps::{Address, Bounds, Steps, bounds};
use crate::model::{Location, Prefix};

/// See [`Atlas::build_for`].
pub fn compile(databases: &[Database], networks: &[(Prefix, Location)], detail: Detail) -> Result<Atlas, AtlasError> {
    let mut collector = Collector::new();
    let mut read = Vec::with_capacity(databases.len());
    for database in databases {
        read.push((database.path.clone(), read_contents(database, detail, &mut collector)?));
    }
    let summaries = read.iter().map(|(path, contents)| summary_of(path, contents)).collect();
    // The closest first, whatever the order they were named in; the sort is stable.
    read.sort_by_key(|(_, contents)| contents.closeness);

    let (mut v4, mut v6) = (Steps::constant(0), Steps::constant(0));
    for (path, contents) in read {
        v4 = fill(v4, contents.v4, &mut collector);
        v6 = fill(v6, contents.v6, &mut collector);
        if collector.len() as u64 > MAX_PLACES {
            return Err(AtlasError::TooLarge { path, what: "the number of places with it", limit: MAX_PLACES });
        }
    }
    if !networks.is_empty() {
        let (own_v4, own_v6) = own_networks(networks, &mut collector);
        v4 = v4.zip(&own_v4, |place, own| if own == SILENT { place } else { own });
        v6 = v6.zip(&own_v6, |place, own| if own == SILENT { place } else { own });
    }
    let kept = number_places_in_use(&mut v4, &mut v6, collector.len());
    let places = Arc::new(collector.finish(&kept));
    Ok(assemble(v4, v6, places, AtlasSummary { detail, databases: summaries, ..Default::default() }))
}

fn summary_of(path: &str, contents: &Contents) -> DatabaseSummary {
    DatabaseSummary {
        path: path.to_owned(),
        kind: contents.kind.clone(),
        build_epoch: contents.build_epoch,
        networks: contents.networks,
    }
}

/// The values of `first`, filled where it is silent by what `second` says.
fn fill<A: Address>(first: Steps<A>, second: Steps<A>, collector: &mut Collector) -> Steps<A> {
    if first == Steps::constant(0) {
        return second;
    }
    let mut known: HashMap<(u32, u32), u32> = HashMap::new();
    first.zip(&second, |a, b| match (a, b) {
        (place, 0) | (0, place) => place,
        pair => *known.entry(pair).or_insert_with(|| collector.fill(a, b)),
    })
}

/// The operator's networks, the longest prefix first; [`SILENT`] elsewhere.
fn own_networks(networks: &[(Prefix, Location)], collector: &mut Collector) -> (Steps<u32>, Steps<u128>) {
    let (mut v4, mut v6) = (Vec::new(), Vec::new());
    for (prefix, location) in networks {
        let place = collector.add(location);
        match bounds(*prefix) {
            Bounds::V4(first, last) => v4.push((first, last, place)),
            Bounds::V6(first, last) => v6.push((first, last, place)),
        }
    }
    (Steps::of_prefixes(v4, SILENT), Steps::of_prefixes(v6, SILENT))
}

/// Renumbers both densely in the order of addresses, unknown first. Returns the old numbers in
/// the new order.
///
/// The order makes numbers independent of the order of files and networks.
fn number_places_in_use(v4: &mut Steps<u32>, v6: &mut Steps<u128>, count: usize) -> Vec<u32> {
    let mut new_numbers = vec![SILENT; count];
    let mut kept = vec![0];
    new_numbers[0] = 0;
    let mut renumber = |place: u32| {
        let new = &mut new_numbers[place as usize];
        if *new == SILENT {
            *new = kept.len() as u32;
            kept.push(place);
        }
        *new
    };
    v4.renumber(&mut renumber);
    v6.renumber(&mut renumber);
    kept
}
