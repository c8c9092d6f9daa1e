//! The clients kept near by `steering.max_detour`, and said to be.

use std::sync::Arc;
use std::time::Instant;

use super::demand::Demand;
use super::*;
use crate::model::RegionId;
use crate::model::{Policy, ServiceId};
use crate::steer::choice::cell::Share;
use crate::steer::latency::locations::Locations;
use crate::steer::testing::{World, at};

/// Clients of one place beside the first of two regions that are an ocean apart: they are `demand`, each region
/// takes 100, and what is known of the first one's load is believed or not.
fn planned(demand: f64, believed: bool, max_detour: Option<Duration>) -> (Planned, ScoreGroup, usize) {
    let regions = [("west", at(0.0, 0.0)), ("east", at(0.0, 90.0))];
    let mut world = World::new(Policy::Score, &regions).clients(&[("10.0.0.0/8", at(0.0, 1.0))]);
    world.model.steering.max_detour = max_detour;
    let now = Instant::now();
    let moment = world.plan(now);
    let sites = moment.plan.sites.clone().expect("sites");
    let site = sites.of_place(world.atlas.locate([10, 0, 0, 1].into()).place).expect("a site");
    let flow = (ServiceId(0), site as u32, demand, [(RegionId(0), 1.0)]);
    let made = make(&Situation {
        model: &world.model,
        locations: &Arc::new(Locations::of(&sites, &world.model, 100, None)),
        demand: &Demand::of_flows([(flow.0, flow.1, flow.2, &flow.3[..])]),
        parts: &moment.plan.services.iter().map(|service| service.parts.clone()).collect::<Vec<_>>(),
        eligible: &[true, true],
        capacities: &[Some(100.0), Some(100.0)],
        evidence: &[believed, true],
        previous: None,
        now,
    });
    let service = &world.model.services[0];
    (made.expect("a plan"), ScoreGroup::of(service, service.policies.main()).expect("a score group"), site)
}

const OCEAN: Option<Duration> = Some(Duration::from_millis(60));

#[test]
fn who_would_be_sent_over_an_ocean_for_a_load_that_is_not_believed_is_kept_and_counted() {
    let (planned, group, site) = planned(150.0, false, OCEAN);
    assert_eq!(planned.kept_near, KeptNear { places: 1, part: 1.0, regions: vec![RegionId(0)] });
    assert_eq!(planned.kept_near(&group, site), Some(RegionId(0)));
    assert_eq!(planned.shares(&group, site).map(<[Share]>::len), Some(1), "all stay");
}

#[test]
fn who_would_stay_or_may_go_is_not_kept() {
    for (demand, believed, max_detour, regions) in
        [(50.0, false, OCEAN, 1), (150.0, true, OCEAN, 2), (150.0, false, None, 2)]
    {
        let (planned, group, site) = planned(demand, believed, max_detour);
        let found = (planned.kept_near.clone(), planned.kept_near(&group, site));
        assert_eq!(found, (KeptNear::default(), None), "{demand} {believed}");
        assert_eq!(planned.shares(&group, site).map(<[Share]>::len), Some(regions), "{demand} {believed}");
    }
}
