//! Demand, trims and the plan in force as they are kept over a restart, and back.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::model::Model;
use crate::steer::kept::{Clock, Ids, Names, SiteFinder};
use crate::steer::latency::locations::{Locations, MOST_LOCATIONS};
use crate::steer::latency::sites::Sites;
use crate::steer::load::feed::Feed;
use crate::steer::planner::demand::{Demand, STEP};
use crate::steer::planner::{PERIOD, Planned};

use super::kept_form::{KeptPlanned, KeptPlanning};
use super::{Basis, LEAST_TRIM, Planning};

/// So long after a start plans are as they were, whatever regions say: most report every 10 s.
const HEARD_AFTER: Duration = Duration::from_secs(10);

impl Planning {
    /// All of it as plain data; `None`: nobody has asked yet.
    pub fn kept(&self, clock: &Clock) -> Option<KeptPlanning> {
        let (model, sites) = self.numbered_by.as_ref()?;
        self.next_step?;
        let ms = |at: Option<Instant>| at.map(|at| clock.kept(at));
        let region = |index: usize| KeptPlanned {
            trim: self.trims.get(index).copied(),
            feed: self.feeds.get(index).map(|feed| feed.kept(clock)),
            unheard_since_ms: ms(self.unheard_since.get(index).copied().flatten()),
            eligible: self.eligible.get(index).copied().unwrap_or(false),
            capacity: self.capacities.get(index).copied().flatten(),
        };
        Some(KeptPlanning {
            names: Names::of(model),
            demand: self.demand.kept(sites),
            plan: self.planned.as_ref().map(|planned| planned.kept(clock)),
            regions: (0..model.regions.len()).map(region).collect(),
            common: self.common.clone(),
            first_report_ms: ms(self.first_report),
            began_ms: ms(self.began),
            faded_ms: ms(self.faded),
            last_plan_ms: ms(self.last_plan),
        })
    }

    /// Takes that up, under the numbers of this model and these sites. The next plan is made a whole period from now,
    /// or as soon as most were heard where regions have come or gone meanwhile: not before they have reported, since a
    /// plan that knows of no load leaves more room than is needed. How many flows and places it tells of.
    pub fn restore(
        &mut self,
        kept: &KeptPlanning,
        model: &Arc<Model>,
        sites: &Arc<Sites>,
        clock: &Clock,
    ) -> (usize, usize) {
        let (ids, finder, now) = (kept.names.ids(model), SiteFinder::of(sites), clock.now());
        let past = |ms: Option<u64>| clock.instant(ms?).map(|at| at.min(now));
        let locations = Arc::new(Locations::of(sites, model, MOST_LOCATIONS, None));
        let plan = kept.plan.as_ref();
        let faded = past(kept.faded_ms).unwrap_or(now);
        let planned = plan.and_then(|plan| Planned::restored(plan, model, &ids, &locations, &finder, clock));
        *self = Planning {
            demand: Demand::restored(&kept.demand, &ids, &finder, now.saturating_duration_since(faded)),
            numbered_by: Some((model.clone(), sites.clone())),
            locations: Some(locations),
            next_plan: Some(now + if planned.is_some() { PERIOD } else { HEARD_AFTER }),
            planned: planned.map(Arc::new),
            common: kept.common.restored().unwrap_or_default(),
            first_report: past(kept.first_report_ms),
            faded: Some(now),
            began: past(kept.began_ms),
            next_step: Some(now + STEP),
            last_plan: past(kept.last_plan_ms),
            heard_from: Some(now + HEARD_AFTER),
            ..Planning::new()
        };
        self.restore_regions(&kept.regions, model, &ids, clock);
        self.basis = self.basis_of_restored(clock);
        (self.demand.flows().count(), self.planned.as_ref().map_or(0, |planned| planned.places()))
    }

    fn restore_regions(&mut self, kept: &[KeptPlanned], model: &Model, ids: &Ids, clock: &Clock) {
        let past = |ms: Option<u64>| clock.instant(ms?).map(|at| at.min(clock.now()));
        let feed = |region: &KeptPlanned| Feed::restored(region.feed.as_ref()?, clock);
        let regions = ids.by_region(kept, model, KeptPlanned::default());
        let trim = |region: &KeptPlanned| region.trim.filter(|trim| (LEAST_TRIM..=1.0).contains(trim)).unwrap_or(1.0);
        self.trims = regions.iter().map(trim).collect();
        self.unheard_since = regions.iter().map(|region| past(region.unheard_since_ms)).collect();
        self.eligible = regions.iter().map(|region| region.eligible).collect();
        self.capacities = regions.iter().map(|region| region.capacity.filter(|capacity| *capacity > 0.0)).collect();
        self.feeds = regions.iter().map(|region| feed(region).unwrap_or_default()).collect();
    }

    /// For those who ask before the next plan. The demand is not quite what the plan was made from, but what it has
    /// become.
    fn basis_of_restored(&self, clock: &Clock) -> Option<Arc<Basis>> {
        let (model, _) = self.numbered_by.as_ref()?;
        Some(Arc::new(Basis {
            demand: Arc::new(self.demand.clone()),
            locations: self.locations.clone()?,
            eligible: self.eligible.clone(),
            capacities: self.capacities.clone(),
            planned_with: model.region_ids().map(|id| self.planned_with(model, id, clock.now())).collect(),
            planned: self.planned.clone(),
            feeds: self.feeds.clone(),
            evidence: self.evidence(model),
            error: None,
            made_at: self.last_plan?,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{LoadReport, Policy};
    use crate::steer::health::effective::RegionState;
    use crate::steer::load::feed::kept::KeptFeed;
    use crate::steer::testing::{World, at};

    const S: Duration = Duration::from_secs(1);
    const HOUR: Duration = Duration::from_secs(3600);
    const NOW_MS: u64 = 1_790_000_000_000;

    fn world(regions: [&str; 2]) -> (Arc<Model>, Arc<Sites>) {
        let regions = regions.map(|name| (name, at(0.0, if name == "west" { -90.0 } else { 90.0 })));
        let mut world = World::new(Policy::Score, &regions).clients(&[("10.0.0.0/16", at(0.0, 0.0))]);
        for region in &mut world.model.regions {
            region.load_report = Some(LoadReport::pushed(10 * S));
        }
        let sites = world.plan(Instant::now()).plan.sites.expect("sites");
        (Arc::new(world.model), sites)
    }

    /// Since 30 hours, with two feeds of which one has not been heard for ten minutes.
    fn planning(now: Instant) -> Planning {
        let (model, sites) = world(["west", "east"]);
        let at = Clock::new(now, 20);
        let feed = |kept| Feed::restored(kept, &at).expect("a feed");
        Planning {
            numbered_by: Some((model, sites)),
            trims: vec![0.8, 1.0],
            feeds: vec![feed(&KeptFeed::sample()), Feed::default()],
            unheard_since: vec![Some(now - 600 * S), None],
            eligible: vec![true, false],
            capacities: vec![Some(5.0), None],
            first_report: Some(now - 29 * HOUR),
            began: Some(now - 30 * HOUR),
            faded: Some(now - 3 * S),
            next_step: Some(now),
            last_plan: Some(now - 10 * S),
            ..Planning::new()
        }
    }

    #[test]
    fn hours_count_from_where_they_did_and_feeds_are_their_regions() {
        let now = Instant::now();
        let before = planning(now);
        let kept = before.kept(&Clock::new(now, NOW_MS)).expect("something");
        let (model, sites) = world(["east", "west"]);
        let clock = Clock::new(Instant::now() + 5000 * S, NOW_MS + 60_000);
        let mut after = Planning::new();
        after.restore(&kept, &model, &sites, &clock);
        let age = |at: Option<Instant>| clock.now() - at.expect("a time");
        assert_eq!(age(after.began), 30 * HOUR + 60 * S);
        assert_eq!(age(after.first_report), 29 * HOUR + 60 * S);
        assert_eq!((age(after.faded), age(after.last_plan)), (Duration::ZERO, 70 * S));
        assert_eq!((&after.trims[..], &after.eligible[..]), (&[1.0, 0.8][..], &[false, true][..]));
        assert_eq!((after.unheard_since[0], age(after.unheard_since[1])), (None, 660 * S));
        assert_eq!(after.capacities, [None, Some(5.0)]);
        let known = |feed: &Feed| (feed.is_calibrated(), feed.unit(), feed.others(), feed.gain(), feed.doubt());
        assert_eq!(known(&after.feeds[1]), known(&before.feeds[0]));
        assert!(after.feeds[1].is_calibrated() && !after.feeds[0].is_calibrated());
    }

    #[test]
    fn what_all_feeds_say_too_little_is_known_to_each_before_its_first_report() {
        let now = Instant::now();
        let mut before = planning(now);
        before.common.take_back(&[-0.5, -0.5], &[true, true]);
        let kept = before.kept(&Clock::new(now, NOW_MS)).expect("something");
        let (model, sites) = world(["west", "east"]);
        let mut after = Planning::new();
        after.restore(&kept, &model, &sites, &Clock::new(now, NOW_MS));
        after.listen(&[], &[RegionState::unprobed(1), RegionState::unprobed(1)], now);
        let (all, one) = (before.common.factor(), before.feeds[0].gain());
        assert!(all < 0.7 && (after.feeds[0].gain() - one * all).abs() < 1e-9, "{all} {one}");
    }

    #[test]
    fn nobody_having_asked_there_is_nothing_to_keep() {
        let now = Instant::now();
        let unasked = Planning { next_step: None, ..planning(now) };
        assert!(unasked.kept(&Clock::new(now, NOW_MS)).is_none());
    }
}
