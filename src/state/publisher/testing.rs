//! A publisher that has planned, for tests of what may wait.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::model::{Check, CheckKind, Policy, ServiceId};
use crate::state::{EndpointNews, News, Publisher, Urgency};
use crate::steer::decide::{Seen, decide};
use crate::steer::health::verdict::Verdict;
use crate::steer::planner::demand::DemandSample;
use crate::steer::testing::{World, at, moment};

/// The age of the plan of [`planned`]; the next is due 30 s after it was made.
pub const AGE: Duration = Duration::from_secs(5);

const CLIENTS: [(&str, f64); 3] = [("10.1.0.0/16", -80.0), ("10.2.0.0/16", 5.0), ("10.3.0.0/16", 95.0)];
const REGIONS: [(&str, f64); 3] = [("west", -90.0), ("middle", 0.0), ("east", 90.0)];

/// Three regions along the equator that go by score.
pub fn world() -> World {
    let mut world = World::new(Policy::Score, &REGIONS.map(|(name, longitude)| (name, at(0.0, longitude))))
        .clients(&CLIENTS.map(|(network, longitude)| (network, at(0.0, longitude))));
    for region in &mut world.model.regions {
        region.checks = Some(Check::new(CheckKind::Tcp { port: 80 }).into());
    }
    world
}

/// All of them up, and a plan in force, after minutes in which clients asked.
pub fn planned(now: Instant) -> Publisher {
    let World { model, atlas, .. } = world();
    let began = now.checked_sub(Duration::from_secs(130)).expect("the machine has run for that long");
    let mut publisher = Publisher::new(model, atlas, "", 0, BTreeMap::new(), moment(began));
    publisher.assume_up(moment(began));
    for second in (0..=130).step_by(5) {
        let now = began + Duration::from_secs(second);
        ask(&mut publisher, now);
        publisher.publish(moment(now));
    }
    let made_at = publisher.shared().load().plan.planned().expect("a plan").made_at;
    assert_eq!(now - made_at, AGE);
    publisher
}

/// A client of each network asks.
pub fn ask(publisher: &mut Publisher, now: Instant) {
    let (snapshot, service) = (publisher.shared().load_full(), ServiceId(0));
    let sample = |(network, _): (&str, f64)| {
        let address = network.split('/').next().and_then(|address| address.parse().ok()).expect("an address");
        let place = snapshot.atlas.locate(address).place;
        let decision = decide(&snapshot.view(), service, Seen::Subnet(address)).expect("a decision");
        DemandSample { service, place, region: decision.region, weight: 300.0, ttl_s: 30.0 }
    };
    publisher.apply(News::Demand(CLIENTS.map(sample).to_vec()), moment(now));
}

/// A probe of a region was judged.
pub fn probe(publisher: &mut Publisher, region: &str, verdict: Verdict, now: Instant) -> Urgency {
    let (qualified, snapshot) = (format!("{region}@gslb.example"), publisher.shared().load_full());
    let id = *snapshot.model.find_regions(&qualified).first().expect("a region");
    let endpoint = snapshot.model.region(id).endpoints[0].label();
    publisher.apply(News::Probe(EndpointNews::of_only_probe(&qualified, &endpoint, verdict)), moment(now))
}
