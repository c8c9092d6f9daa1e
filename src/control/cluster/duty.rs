//! Which load reports this node fetches: two nodes fetch each region's, the nearest first, and tell the others. Who hears
//! nothing of a region's report for a while fetches it, whoever should have.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;

use crate::steer::choice::pick::Identity;

/// Nodes that fetch each region's report.
const FETCHERS: usize = 2;
/// A report of another node is waited for so many times as long as one's own would take to come again.
const PATIENCE: f64 = 1.5;

/// What others do, as they told. Without a word of it, this node fetches everything.
#[derive(Debug, Default)]
pub struct Duty {
    /// Regions, by qualified name, whose reports this node has to fetch; `None`: all.
    own: ArcSwapOption<HashSet<String>>,
    /// When a report of a region last came from another node.
    heard: Mutex<HashMap<Arc<str>, Instant>>,
}

impl Duty {
    /// Tells whether this node fetches a region's report now, which it would each `interval`.
    pub fn fetches(&self, region: &str, interval: Duration, now: Instant) -> bool {
        let own = self.own.load();
        if own.as_ref().is_none_or(|own| own.contains(region)) {
            return true;
        }
        let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        heard.get(region).is_none_or(|at| now.saturating_duration_since(*at) > interval.mul_f64(PATIENCE))
    }

    /// Another node has told of a region's report.
    pub fn hear(&self, region: &Arc<str>, now: Instant) {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).insert(region.clone(), now);
    }

    /// Takes over the regions that are this node's; forgets those that are none's any more.
    pub fn take(&self, own: HashSet<String>, all: &HashSet<String>) {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).retain(|region, _| all.contains(&**region));
        self.own.store(Some(Arc::new(own)));
    }
}

/// The regions that a node fetches: those for which it is one of the nearest. `connects`: by node, by region, how long a
/// connection takes, in milliseconds; nodes that do not know count as far. Near is told by factors of two, and among
/// nodes that are as near each region has others.
pub fn own_regions(
    node: &str,
    regions: &HashSet<String>,
    connects: &BTreeMap<String, BTreeMap<String, f32>>,
) -> HashSet<String> {
    let is_own = |region: &&String| {
        let mut nearest: Vec<(i32, u64, &str)> = connects
            .iter()
            .map(|(name, of)| {
                let distance = of.get(*region).map_or(i32::MAX, |ms| ms.max(1.0).log2().round() as i32);
                (distance, Identity::of(0, &format!("{name} {region}")).number(), name.as_str())
            })
            .collect();
        nearest.sort_unstable();
        nearest.iter().take(FETCHERS).any(|(_, _, name)| *name == node)
    };
    regions.iter().filter(is_own).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(10);

    fn connects(of: &[(&str, &[(&str, f32)])]) -> BTreeMap<String, BTreeMap<String, f32>> {
        let regions = |of: &[(&str, f32)]| of.iter().map(|&(region, ms)| (region.to_owned(), ms)).collect();
        of.iter().map(|&(node, of)| (node.to_owned(), regions(of))).collect()
    }

    #[test]
    fn the_two_nearest_fetch_and_all_nodes_come_to_the_same() {
        let regions: HashSet<String> = ["seoul@x".to_owned(), "paris@x".to_owned()].into();
        let all = connects(&[
            ("a", &[("seoul@x", 1.0), ("paris@x", 200.0)]),
            ("b", &[("seoul@x", 40.0), ("paris@x", 180.0)]),
            ("c", &[("seoul@x", 200.0), ("paris@x", 9.0)]),
            ("d", &[]),
        ]);
        let own = |node: &str| own_regions(node, &regions, &all);
        assert!(own("a").contains("seoul@x") && own("b").contains("seoul@x") && !own("c").contains("seoul@x"));
        assert!(own("c").contains("paris@x") && own("d").is_empty());
        let fetch = |region: &str| ["a", "b", "c", "d"].iter().filter(|node| own(node).contains(region)).count();
        assert_eq!((fetch("seoul@x"), fetch("paris@x")), (2, 2));
    }

    #[test]
    fn among_nodes_as_near_each_region_has_others() {
        let regions: HashSet<String> = (0..60).map(|n| format!("r{n}@x")).collect();
        let names = ["a", "b", "c", "d", "e", "f"];
        let all = names.iter().map(|name| ((*name).to_owned(), BTreeMap::new())).collect();
        for name in names {
            let own = own_regions(name, &regions, &all).len();
            assert!((10..=30).contains(&own), "{name}: {own} of 60");
        }
    }

    #[test]
    fn a_report_that_nobody_tells_of_is_fetched() {
        let (duty, began) = (Duty::default(), Instant::now());
        let after = |seconds| began + Duration::from_secs(seconds);
        assert!(duty.fetches("seoul@x", INTERVAL, began), "alone");
        let all: HashSet<String> = ["seoul@x".to_owned()].into();
        duty.take(HashSet::new(), &all);
        assert!(duty.fetches("seoul@x", INTERVAL, began), "nobody told of it yet");
        duty.hear(&"seoul@x".into(), began);
        assert!(!duty.fetches("seoul@x", INTERVAL, after(14)));
        assert!(duty.fetches("seoul@x", INTERVAL, after(16)), "they have fallen silent");
        duty.take(all.clone(), &all);
        assert!(duty.fetches("seoul@x", INTERVAL, after(1)), "it is this node's own");
    }
}
