//! Services' answers by service and region, since the start: for whoever watches where clients go.
//!
//! Comes from the samples of answers that demand is estimated by, each of which stands for the answers before it: nothing is
//! counted on the packet path for this. Kept by name, since ids mean something else after a reload.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::model::{Model, RegionId, ServiceId};
use crate::state::Snapshot;

/// Pairs of a service and a region that are counted apart, at most: the first that are answered.
pub const MOST_PAIRS: usize = 2_000;

/// The answers so far.
#[derive(Debug, Default)]
pub struct Answered(Mutex<Counts>);

/// A service's name and a region's.
type Pair = (String, String);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Those of each pair, [`MOST_PAIRS`] at most.
    pub pairs: BTreeMap<Pair, u64>,
    /// Those of all other pairs.
    pub other: u64,
    /// The reload that the pairs are of.
    reloads: u64,
}

impl Answered {
    /// Adds up answers of a snapshot. Pairs that a reload left without their service or region are forgotten, and make room.
    pub fn add(&self, snapshot: &Snapshot, answers: &HashMap<(ServiceId, RegionId), u64>) {
        let mut counts = self.lock();
        if counts.reloads != snapshot.reloads {
            counts.reloads = snapshot.reloads;
            let (services, regions) = names(&snapshot.model);
            counts.pairs.retain(|(service, region), _| services.contains(service) && regions.contains(region));
        }
        let mut sorted: Vec<_> = answers.iter().collect();
        sorted.sort_unstable(); // so that which pairs come first is no matter of chance
        for (&(service, region), &answers) in sorted {
            let model = &snapshot.model;
            let (Some(service), true) = (model.services.get(service.index()), region.index() < model.regions.len())
            else {
                continue;
            };
            let pair = (service.name.to_string(), model.qualified_region_name(region));
            let has_room = counts.pairs.len() < MOST_PAIRS || counts.pairs.contains_key(&pair);
            let count = if has_room { counts.pairs.entry(pair).or_default() } else { &mut counts.other };
            *count = count.saturating_add(answers);
        }
    }

    /// The answers so far. Each number only ever grows.
    pub fn counts(&self) -> Counts {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn names(model: &Model) -> (HashSet<String>, HashSet<String>) {
    let services = model.services.iter().map(|service| service.name.to_string()).collect();
    (services, model.region_ids().map(|id| model.qualified_region_name(id)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Name, Policy, Service};
    use crate::state::Publisher;
    use crate::steer::testing::{World, at, moment};

    #[test]
    fn answers_add_up_by_name_and_the_rest_is_other() {
        let regions: Vec<String> = (0..250).map(|n| format!("r{n}")).collect();
        let placed: Vec<_> = regions.iter().map(|name| (name.as_str(), at(0.0, 0.0))).collect();
        let mut world = World::new(Policy::Failover, &placed);
        let service = world.model.services[0].clone();
        let name = |letter: char| Name::parse_absolute(&format!("{letter}.gslb.example")).expect("a name");
        world.model.services = ('a'..='j').map(|letter| Service { name: name(letter), ..service.clone() }).collect();
        let now = std::time::Instant::now();
        let publisher = Publisher::new(world.model, world.atlas, "", 0, Default::default(), moment(now));
        let snapshot = publisher.shared().load_full();
        let answered = Answered::default();
        let of = |service: u32, region: u16, answers: u64| ((ServiceId(service), RegionId(region)), answers);
        answered.add(&snapshot, &[of(0, 1, 5), of(1, 0, 7)].into());
        answered.add(&snapshot, &[of(0, 1, 2), of(99, 1, 1), of(0, 5_000, 1)].into());
        let pair = |service: &str, region: &str| (service.to_owned(), region.to_owned());
        let counts = answered.counts();
        let expected =
            [(pair("a.gslb.example.", "r1@gslb.example"), 7), (pair("b.gslb.example.", "r0@gslb.example"), 7)];
        assert_eq!((counts.pairs, counts.other), (expected.into(), 0), "what is not of the snapshot counts nowhere");

        answered.add(&snapshot, &(0..10).flat_map(|s| (0..250).map(move |r| of(s, r, 1))).collect());
        let counts = answered.counts();
        assert_eq!(counts.pairs.len(), MOST_PAIRS);
        assert_eq!(counts.pairs.values().sum::<u64>() + counts.other, 2_514);
        assert_eq!(counts.pairs[&pair("b.gslb.example.", "r0@gslb.example")], 8);
    }
}
