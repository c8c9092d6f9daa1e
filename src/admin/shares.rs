//! How a service's clients are shared over regions, summed over all places.
//!
//! Counting walks every place of the atlas, so what was counted is kept for as long as the plan
//! behind it stays the same.

use std::sync::{Arc, Mutex, PoisonError};

use crate::model::{RegionId, ServiceId};
use crate::state::Snapshot;
use crate::steer::decide::cell_at_place;
use crate::steer::plan::ServicePlan;
use crate::steer::plan::table::{Follows, Table};
use crate::steer::policy::shape::Standing;

/// No service is begun after this many places were counted for one report: the others follow with
/// later reports. Counting took 0.6 µs a place unoptimised, so below a second.
const BUDGET: usize = 1_000_000;

/// What one region of a service gets.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RegionShare {
    pub region: RegionId,
    /// Places of which it gets the largest part.
    pub places: usize,
    /// 0 to 1: its share of clients, all places counted alike.
    pub mean: f64,
}

/// Remembers what was counted, by service.
#[derive(Default)]
pub struct ShareCounts(Mutex<Vec<Option<Counted>>>);

struct Counted {
    /// Held, so that no others can have their addresses.
    table: Arc<Table>,
    standing: Arc<Standing>,
    shares: Arc<[RegionShare]>,
}

impl ShareCounts {
    /// The shares of every service, in the order of their ids; `None` for those there was no time
    /// to count.
    pub fn of(&self, snapshot: &Snapshot) -> Vec<Option<Arc<[RegionShare]>>> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.resize_with(snapshot.model.services.len(), || None);
        let mut budget = BUDGET;
        snapshot
            .model
            .service_ids()
            .zip(known.iter_mut())
            .map(|(id, slot)| {
                let plan = snapshot.plan.services.get(id.index())?;
                if let Some(counted) = slot.as_ref().filter(|counted| counted.is_of(plan)) {
                    return Some(counted.shares.clone());
                }
                if budget == 0 {
                    return None;
                }
                budget = budget.saturating_sub(cost(snapshot, id, plan));
                let shares: Arc<[RegionShare]> = count(snapshot, id).into();
                let (table, standing) = (plan.table.clone(), plan.standing.clone());
                *slot = Some(Counted { table, standing, shares: shares.clone() });
                Some(shares)
            })
            .collect()
    }
}

impl Counted {
    fn is_of(&self, plan: &ServicePlan) -> bool {
        Arc::ptr_eq(&self.table, &plan.table) && Arc::ptr_eq(&self.standing, &plan.standing)
    }
}

/// The places to look at; each counts more where the table does not hold, or leaves it open: then it has to be worked out.
fn cost(snapshot: &Snapshot, id: ServiceId, plan: &ServicePlan) -> usize {
    let places = if snapshot.model.service(id).policies.depends_on_place() { snapshot.atlas.place_count() } else { 1 };
    if plan.follows == Follows::All && !plan.table.has_open() { places } else { 4 * places }
}

/// Region by region in the order of the service.
fn count(snapshot: &Snapshot, id: ServiceId) -> Vec<RegionShare> {
    let view = snapshot.view();
    let regions = &snapshot.model.service(id).regions;
    let mut shares: Vec<RegionShare> =
        regions.iter().map(|&region| RegionShare { region, places: 0, mean: 0.0 }).collect();
    let mut places = 0;
    for cell in snapshot.atlas.places().filter_map(|place| cell_at_place(&view, id, place)) {
        places += 1;
        let largest = cell.fractions().max_by(|(_, a), (_, b)| a.total_cmp(b)).map(|(region, _)| region);
        for (region, fraction) in cell.fractions() {
            let Some(share) = shares.iter_mut().find(|share| share.region == region) else { continue };
            share.mean += fraction;
            share.places += usize::from(largest == Some(region));
        }
    }
    for share in &mut shares {
        share.mean /= places.max(1) as f64;
    }
    shares
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Instant;

    use super::*;
    use crate::atlas::Atlas;
    use crate::model::Model;
    use crate::state::{News, Publisher};
    use crate::steer::health::effective::Override;
    use crate::steer::testing::moment;

    #[test]
    fn nothing_configured_is_nothing_counted() {
        let publisher =
            Publisher::new(Model::default(), Atlas::empty(), "", 0, BTreeMap::new(), moment(Instant::now()));
        assert!(ShareCounts::default().of(&publisher.shared().load()).is_empty());
    }

    #[test]
    fn what_was_counted_is_kept_until_the_plan_changes() {
        let example = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/config/meridian.toml");
        let model = crate::control::config::load(example.as_ref()).expect("the example").model;
        let atlas = Atlas::build(&[], &model.networks).expect("an atlas");
        let now = Instant::now();
        let mut publisher = Publisher::new(model, atlas, "", 0, BTreeMap::new(), moment(now));
        publisher.assume_up(moment(now));
        let counts = ShareCounts::default();
        let counted = || counts.of(&publisher.shared().load())[0].clone().expect("counted");
        let first = counted();
        assert!((first.iter().map(|share| share.mean).sum::<f64>() - 1.0).abs() < 1e-9);
        assert!(Arc::ptr_eq(&first, &counted()));
        let leading = first.iter().max_by_key(|share| share.places).expect("a region").region;
        let name = publisher.shared().load().model.qualified_region_name(leading);
        publisher.apply(News::set_override(name.as_str(), Override::Down), moment(now));
        publisher.publish(moment(now));
        let after = counts.of(&publisher.shared().load())[0].clone().expect("counted");
        let left = after.iter().find(|share| share.region == leading).expect("still one of its regions");
        assert_eq!((left.places, left.mean), (0, 0.0), "{name} has no clients now: {after:?}");
    }
}
