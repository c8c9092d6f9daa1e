//! Stories of what a publisher is told, and the snapshots that follow.

use std::time::Duration;

use super::*;
use crate::model::{
    Check, CheckKind, Coordinates, Endpoint, EndpointTarget, LoadReport, Location, Name, Policy, Region, Service, Zone,
    ZoneId,
};
use crate::steer::decide::cell_at_place;
use crate::steer::health::effective::EffectiveState;
use crate::steer::load::feed::Implausible;
use crate::steer::load::state::Heard;
use crate::steer::plan::AFTERMATH;
use crate::steer::policy::eligible::ServiceCondition;
use crate::steer::testing::{World, moment};

const SEOUL: &str = "seoul@gslb.example";
const VIRGINIA: &str = "virginia@gslb.example";

fn model(regions: &[(&str, &str)]) -> Model {
    let origin = Name::parse_absolute("gslb.example").expect("a name");
    let region = |&(name, address): &(&str, &str)| {
        let at = Coordinates::new(0.0, 0.0).expect("coordinates");
        Region {
            capacity: Some(100.0),
            checks: Some(Check::new(CheckKind::Tcp { port: 80 }).into()),
            load_report: Some(LoadReport::pushed(Duration::from_secs(10))),
            ..Region::new(name, ZoneId(0), at, vec![Endpoint::at(address.parse().expect("an address"))])
        }
    };
    let regions: Vec<Region> = regions.iter().map(region).collect();
    let ids = (0..regions.len()).map(|index| RegionId(index as u16)).collect();
    let service = Service::flat(Name::parse("www", &origin).expect("a name"), ZoneId(0), Policy::Failover, ids);
    Model {
        zones: vec![Zone { origin, nodes: Default::default() }],
        regions,
        services: vec![service],
        ..Model::default()
    }
}

fn two() -> Model {
    model(&[("seoul", "192.0.2.1"), ("virginia", "192.0.2.2")])
}

fn publisher(now: Instant) -> Publisher {
    Publisher::new(two(), Atlas::empty(), "", 0, BTreeMap::new(), moment(now))
}

fn probed(region: &str, endpoint: &str, verdict: Verdict) -> News {
    News::Probe(EndpointNews::of_only_probe(region, endpoint, verdict))
}

fn loaded(region: &str, at: Instant, outcome: Result<(f64, Option<f64>), String>) -> News {
    News::Load(LoadNews { region: region.into(), at, outcome })
}

fn reload(model: Model) -> News {
    News::Reload(Box::new(Replacement { model, atlas: Some(Atlas::empty()), nsid: String::new(), seed: 0 }))
}

fn effective_states(publisher: &Publisher) -> Vec<EffectiveState> {
    publisher.shared().load().states.iter().map(|state| state.effective).collect()
}

#[test]
fn what_is_checked_and_not_yet_probed_is_unknown_and_comes_after_what_is_up() {
    let now = Instant::now();
    let mut publisher = publisher(now);
    assert_eq!(effective_states(&publisher), [EffectiveState::Unknown, EffectiveState::Unknown]);
    assert_eq!(publisher.apply(probed(VIRGINIA, "192.0.2.2", Verdict::Up), moment(now)), Urgency::Now);
    publisher.publish(moment(now));
    assert_eq!(effective_states(&publisher), [EffectiveState::Unknown, EffectiveState::Up]);
    assert!(!publisher.shared().load().plan.answers(RegionId(0)));
    // Proving itself is not coming back: nothing changed that a cache could remember.
    assert_eq!(publisher.shared().load().states[1].changed_at, None);
    assert_eq!(publisher.apply(probed(VIRGINIA, "192.0.2.2", Verdict::Up), moment(now)), Urgency::Soon);
}

#[test]
fn measured_networks_are_told_apart_also_after_a_reload() {
    let now = Instant::now();
    let mut publisher = publisher(now);
    let network: crate::model::Prefix = "192.0.2.0/24".parse().expect("a network");
    let told_apart = |publisher: &Publisher| {
        let atlas = publisher.shared().load().atlas.clone();
        atlas.network(atlas.locate(network.address()).place)
    };
    let estimate = crate::steer::latency::rtt::Estimate::given(20.0);
    let group = crate::steer::latency::rtt::ClientGroup::Network(network);
    publisher.apply(News::Measured(Arc::new(Measured::of([(group, SEOUL, estimate)]))), moment(now));
    publisher.publish(moment(now));
    assert_eq!(told_apart(&publisher), Some(network));
    publisher.apply(reload(model(&[("seoul", "192.0.2.1")])), moment(now));
    publisher.publish(moment(now));
    assert_eq!(told_apart(&publisher), Some(network));
    let before = publisher.shared().load().atlas.clone();
    let same = Replacement { model: two(), atlas: None, nsid: String::new(), seed: 0 };
    publisher.apply(News::Reload(Box::new(same)), moment(now));
    publisher.publish(moment(now));
    assert!(Arc::ptr_eq(&before, &publisher.shared().load().atlas), "the atlas that there is goes on");
    publisher.apply(News::Measured(Arc::default()), moment(now));
    publisher.publish(moment(now));
    assert_eq!(told_apart(&publisher), None);
}

#[test]
fn every_swap_is_a_generation_and_going_down_is_remembered() {
    let now = Instant::now();
    let mut publisher = publisher(now);
    publisher.assume_up(moment(now));
    let before = publisher.shared().load_full();
    let later = now + Duration::from_secs(7);
    assert_eq!(publisher.apply(probed(SEOUL, "192.0.2.1", Verdict::Down), moment(later)), Urgency::Now);
    publisher.publish(moment(later));
    let after = publisher.shared().load_full();
    assert_eq!(after.generation, before.generation + 1);
    assert_eq!(after.states[0].changed_at, Some(later));
    assert!(after.plan.services[0].aftermath);
    assert_eq!(publisher.next_change(later), Some(later + AFTERMATH));
    publisher.publish(moment(later + AFTERMATH));
    assert!(!publisher.shared().load().plan.services[0].aftermath);
}

#[test]
fn a_silent_feed_is_stale_and_its_price_fades() {
    let began = Instant::now();
    let at = |second: u64| began + Duration::from_secs(second);
    let mut publisher = publisher(began);
    publisher.assume_up(moment(began));
    let mut step = |second: u64, outcome: Option<Result<(f64, Option<f64>), String>>| {
        outcome
            .into_iter()
            .for_each(|outcome| _ = publisher.apply(loaded(SEOUL, at(second), outcome), moment(at(second))));
        publisher.publish(moment(at(second)));
        (publisher.shared().load().states[0].clone(), publisher.next_change(at(second)))
    };
    let (fresh, next) = step(0, Some(Ok((350.0, None))));
    assert!(fresh.price_ms > 30.0 && next == Some(at(30)));
    let (failing, _) = step(10, Some(Err("timed out".into())));
    assert_eq!((failing.load.heard(), failing.load.since), (Heard::Failing, Some(at(10))));
    assert_eq!(failing.price_ms, fresh.price_ms);
    let (stale, next) = step(30, None);
    assert_eq!((stale.load.heard(), stale.load.since), (Heard::Stale, Some(at(30))));
    assert_eq!(stale.load.last.map(|figure| figure.load), Some(350.0));
    assert_eq!(stale.load.error.as_deref(), Some("timed out"));
    assert_eq!(next, Some(at(40)), "a price that fades is published");
    let (faded, _) = step(90, None);
    assert!(faded.price_ms > 0.0 && faded.price_ms < 0.6 * fresh.price_ms, "{}", faded.price_ms);
    let (idle, _) = step(100, Some(Ok((10.0, Some(200.0)))));
    assert_eq!((idle.load.heard(), idle.load.error), (Heard::New, None), "nobody asks: it is not weighed");
    assert!(idle.price_ms < faded.price_ms);
}

#[test]
fn a_figure_is_as_old_as_it_says_and_an_older_one_tells_nothing() {
    let began = Instant::now();
    let mut publisher = publisher(began);
    publisher.assume_up(moment(began));
    let now = began + Duration::from_secs(300);
    let ago = |seconds| now - Duration::from_secs(seconds);
    let mut report = |load: f64, at: Instant| {
        assert_eq!(publisher.apply(loaded(SEOUL, at, Ok((load, None))), moment(now)), Urgency::Soon);
        publisher.publish(moment(now));
        let stale_at = publisher.stale_at(RegionId(0))[0];
        (publisher.shared().load().states[0].load.clone(), stale_at)
    };
    // Nothing else is known: it is kept, and not acted on.
    let (load, _) = report(150.0, ago(120));
    assert!(load.stale && load.last.is_some_and(|figure| figure.at == ago(120)));
    let (load, stale_at) = report(150.0, ago(20));
    assert!(!load.stale);
    assert_eq!(stale_at, Some(now + Duration::from_secs(10)), "by its own age");
    let (load, _) = report(1.0, ago(25));
    assert!(load.last.is_some_and(|figure| figure.load == 150.0 && figure.at == ago(20)));
    assert_eq!(report(140.0, ago(20)).0.last.map(|figure| figure.load), Some(140.0));
}

#[test]
fn a_load_beyond_four_times_the_capacity_is_believed_no_further_and_told() {
    let now = Instant::now();
    let mut publisher = publisher(now);
    publisher.apply(loaded(SEOUL, now, Ok((1e9, None))), moment(now));
    publisher.publish(moment(now));
    let load = publisher.shared().load().states[0].load.clone();
    assert_eq!(load.heard(), Heard::Doubted(Implausible::Units));
    assert_eq!(load.last.map(|figure| (figure.load, figure.capacity)), Some((400.0, Some(100.0))));
    let error = load.error.expect("told");
    assert!(error.contains("1000000000") && error.contains("400 is believed"), "{error}");
    publisher.apply(loaded(SEOUL, now, Ok((400.0, None))), moment(now));
    publisher.publish(moment(now));
    assert_eq!(publisher.shared().load().states[0].load.error, None);
}

#[test]
fn a_reload_keeps_what_is_known_by_name() {
    let now = Instant::now();
    let mut publisher = publisher(now);
    publisher.assume_up(moment(now));
    publisher.apply(probed(VIRGINIA, "192.0.2.2", Verdict::Down), moment(now));
    publisher.apply(News::set_override(SEOUL, Override::Drain), moment(now));
    publisher.apply(loaded(VIRGINIA, now, Ok((50.0, None))), moment(now));
    publisher.publish(moment(now));
    // Renumbered, and one more.
    let next = model(&[("tokyo", "192.0.2.3"), ("virginia", "192.0.2.2"), ("seoul", "192.0.2.1")]);
    publisher.apply(reload(next), moment(now));
    publisher.publish(moment(now));
    assert_eq!(effective_states(&publisher), [EffectiveState::Unknown, EffectiveState::Down, EffectiveState::Drain]);
    let snapshot = publisher.shared().load_full();
    assert_eq!(snapshot.states[1].load.last.map(|figure| figure.load), Some(50.0));
    assert_eq!(snapshot.reloads, 1);
    // An endpoint whose address changed has to prove itself.
    publisher.apply(reload(model(&[("seoul", "192.0.2.9")])), moment(now));
    publisher.publish(moment(now));
    assert_eq!(publisher.shared().load().states[0].endpoints[0].verdict, None);
}

#[test]
fn a_region_that_reports_no_load_any_more_charges_nothing() {
    let now = Instant::now();
    let mut publisher = publisher(now);
    publisher.assume_up(moment(now));
    publisher.apply(loaded(SEOUL, now, Ok((900.0, None))), moment(now));
    publisher.publish(moment(now));
    assert!(publisher.shared().load().states[0].price_ms > 0.0);
    let mut silent = two();
    silent.regions[0].load_report = None;
    publisher.apply(reload(silent), moment(now));
    publisher.apply(loaded(SEOUL, now, Ok((900.0, None))), moment(now)); // a scrape that was still under way
    publisher.publish(moment(now));
    let snapshot = publisher.shared().load_full();
    assert_eq!((snapshot.states[0].price_ms, snapshot.states[0].load.last), (0.0, None));
    assert!(!snapshot.endpoint_sets[0].busy);
}

#[test]
fn a_new_endpoint_is_not_handed_out_before_its_first_probe() {
    let now = Instant::now();
    let mut publisher = publisher(now);
    publisher.assume_up(moment(now));
    let mut grown = two();
    let mut another = grown.regions[0].endpoints[0].clone();
    another.target = EndpointTarget::Addresses(vec!["192.0.2.9".parse().expect("an address")]);
    grown.regions[0].endpoints.push(another);
    publisher.apply(reload(grown), moment(now));
    let handed_out = |publisher: &Publisher| {
        publisher.shared().load().endpoint_sets[0].endpoints.iter().map(|choice| choice.index).collect::<Vec<_>>()
    };
    publisher.publish(moment(now));
    assert_eq!(handed_out(&publisher), [0]);
    publisher.apply(probed(SEOUL, "192.0.2.9", Verdict::Up), moment(now));
    publisher.publish(moment(now));
    assert_eq!(handed_out(&publisher), [0, 1]);
}

#[test]
fn a_check_or_load_report_that_is_gone_takes_its_facts_along() {
    let now = Instant::now();
    let mut publisher = publisher(now);
    publisher.assume_up(moment(now));
    publisher.apply(loaded(SEOUL, now, Ok((500.0, None))), moment(now));
    publisher.publish(moment(now));
    assert!(publisher.shared().load().states[0].price_ms > 0.0);
    let mut bare = two();
    bare.regions.iter_mut().for_each(|region| (region.checks, region.load_report) = (None, None));
    publisher.apply(reload(bare), moment(now));
    publisher.publish(moment(now));
    let state = publisher.shared().load().states[0].clone();
    assert_eq!((state.price_ms, state.load.last, state.effective), (0.0, None, EffectiveState::Up));
    // Back, the check has to prove itself anew.
    publisher.apply(reload(two()), moment(now));
    publisher.publish(moment(now));
    assert_eq!(publisher.shared().load().states[0].endpoints[0].verdict, None);
}

#[test]
fn a_price_that_creeps_makes_no_new_plan_until_it_has_moved_half_a_millisecond() {
    let now = Instant::now();
    let mut publisher = publisher(now);
    publisher.assume_up(moment(now));
    let mut at = now;
    let mut report = |load: f64| {
        publisher.apply(loaded(SEOUL, at, Ok((load, Some(100.0)))), moment(at));
        publisher.publish(moment(at));
        at += Duration::from_secs(10);
        publisher.shared().load_full()
    };
    let first = report(95.0); // 1.2 ms
    let crept = report(86.0); // 1.32 ms
    assert!((first.states[0].price_ms - 1.2).abs() < 1e-9 && crept.states[0].price_ms == first.states[0].price_ms);
    assert!(Arc::ptr_eq(&first.plan.services[0].table, &crept.plan.services[0].table));
    let moved = (0..5).map(|_| report(86.0)).last().expect("five"); // 1.92 ms
    assert!(moved.states[0].price_ms > 1.7, "{}", moved.states[0].price_ms);
    let idle = (0..10).map(|_| report(0.0)).last().expect("ten");
    assert_eq!(idle.states[0].price_ms, 0.0, "what falls to nothing is nothing");
}

#[test]
fn after_a_reload_with_stale_reports_alone_prices_end_and_are_never_above_the_plans() {
    let (mut publisher, mut now) = crowded();
    let planned = publisher.shared().load().states.iter().map(|state| state.price_ms).collect::<Vec<_>>();
    assert!(planned[0] > 5.0, "{planned:?}");
    let model = Model::clone(&publisher.shared().load().model);
    publisher.apply(reload(model), moment(now));
    let mut prices = Vec::new();
    for _ in 0..50 {
        publisher.publish(moment(now));
        let snapshot = publisher.shared().load_full();
        assert!(snapshot.plan.planned().is_none(), "nobody asks, or tells");
        prices.push(snapshot.states.iter().map(|state| state.price_ms).collect::<Vec<_>>());
        now += Duration::from_secs(10);
    }
    let is_bound = |prices: &Vec<f64>| prices.iter().zip(&planned).all(|(price, most)| price <= most);
    assert!(prices.iter().all(is_bound), "{prices:.1?} after {planned:.1?}");
    assert!(prices[0][0] == planned[0].min(250.0), "no leap: {prices:.1?} after {planned:.1?}");
    assert!(prices[45..].iter().all(|prices| prices.iter().all(|&price| price == 0.0)), "{prices:.1?}");
}

#[test]
fn a_load_that_falls_for_no_reason_is_doubted_and_said_to_be_also_over_a_reload() {
    let (mut publisher, now) = crowded();
    let heard = |publisher: &Publisher| publisher.shared().load().states[0].load.clone();
    assert_eq!(heard(&publisher).heard(), Heard::Believed);
    assert!(heard(&publisher).reading.is_some_and(|reading| reading.unit > 0.0 && (0.8..1.2).contains(&reading.gain)));
    let later = now + Duration::from_secs(10);
    publisher.apply(loaded("west@gslb.example", later, Ok((9.0, None))), moment(later));
    publisher.publish(moment(later));
    let doubted = heard(&publisher);
    assert_eq!((doubted.heard(), doubted.since), (Heard::Doubted(Implausible::Fell), Some(later)));
    // A reload with regions under other numbers: it is still this region's.
    let mut model = Model::clone(&publisher.shared().load().model);
    model.regions.swap(0, 1);
    publisher.apply(reload(model), moment(later));
    publisher.publish(moment(later));
    let snapshot = publisher.shared().load_full();
    let heard = snapshot.states.iter().map(|state| state.load.heard()).collect::<Vec<_>>();
    assert_eq!(heard, [Heard::Believed, Heard::Doubted(Implausible::Fell)]);
    assert_eq!(snapshot.states[1].load.since, Some(later));
}

#[test]
fn news_of_what_is_gone_is_forgotten() {
    let now = Instant::now();
    let mut publisher = publisher(now);
    for news in [
        probed("paris@gslb.example", "192.0.2.1", Verdict::Up),
        probed(SEOUL, "192.0.2.77", Verdict::Up),
        loaded("paris@gslb.example", now, Ok((1.0, None))),
    ] {
        assert_eq!(publisher.apply(news, moment(now)), Urgency::None);
    }
}

#[test]
fn an_override_beats_probes_and_auto_takes_it_back() {
    let now = Instant::now();
    let mut publisher = publisher(now);
    publisher.assume_up(moment(now));
    publisher.apply(News::set_override(SEOUL, Override::Down), moment(now));
    publisher.publish(moment(now));
    assert_eq!(effective_states(&publisher), [EffectiveState::Down, EffectiveState::Up]);
    publisher.apply(News::set_override(VIRGINIA, Override::Down), moment(now));
    publisher.publish(moment(now));
    assert_eq!(publisher.shared().load().plan.services[0].standing.condition, ServiceCondition::AllWithdrawn);
    publisher.apply(News::set_override(SEOUL, Override::Auto), moment(now));
    publisher.publish(moment(now));
    assert_eq!(effective_states(&publisher), [EffectiveState::Up, EffectiveState::Down]);
    assert_eq!(publisher.overrides().len(), 1);
}

/// Two regions, of which all are near the first and more than it can take: a plan is in force that prices it.
fn crowded() -> (Publisher, Instant) {
    let mut now = Instant::now();
    let mut world = World::two_coasts(Policy::Score);
    for region in &mut world.model.regions {
        region.capacity = Some(100.0);
        region.load_report = Some(LoadReport::pushed(Duration::from_secs(10)));
    }
    let mut publisher = Publisher::new(world.model, world.atlas, "", 0, BTreeMap::new(), moment(now));
    let mut loads = [60.0, 60.0];
    for _ in 0..60 {
        publisher.publish(moment(now));
        let snapshot = publisher.shared().load_full();
        let place = snapshot.atlas.locate([10, 0, 0, 1].into()).place;
        let cell = cell_at_place(&snapshot.view(), ServiceId(0), place).expect("a cell");
        let kept = loads.map(|load| 0.7 * load);
        loads = kept;
        for (region, part) in cell.fractions() {
            loads[region.index()] += 0.3 * 130.0 * part;
            let (service, weight) = (ServiceId(0), (1000.0 * part * 30.0) as f32);
            publisher
                .apply(News::Demand(vec![DemandSample { service, place, region, weight, ttl_s: 30.0 }]), moment(now));
        }
        for (name, load) in ["west@gslb.example", "east@gslb.example"].into_iter().zip(loads) {
            publisher.apply(loaded(name, now, Ok((load, None))), moment(now));
        }
        now += Duration::from_secs(10);
    }
    publisher.publish(moment(now));
    assert!(publisher.shared().load().plan.planned().is_some(), "{:?}", publisher.shared().load().planning);
    (publisher, now)
}

/// The first of two regions' utilisation after each of `periods` of 10 s, with `demand` at its
/// door and the other so many km away, 100 of capacity each. Loads are reported a period late,
/// and the part `kept` of clients stays where it was, as resolvers' caches make it.
fn closed_loop(apart_km: f64, demand: f64, kept: f64, periods: u32) -> Vec<f64> {
    let began = Instant::now();
    let mut model = two();
    let regions = model.services[0].regions.clone();
    model.services[0].policies = crate::model::PolicyTree::flat(Policy::Score, &regions);
    model.regions.iter_mut().for_each(|region| region.checks = None);
    model.regions[1].coordinates = Coordinates::new(0.0, apart_km / 111.195).expect("coordinates");
    let here = Location { coordinates: Coordinates::new(0.0, 0.0), ..Location::default() };
    model.default_location = Some(here);
    let mut publisher = Publisher::new(model, Atlas::empty(), "", 0, BTreeMap::new(), moment(began));
    let mut loads = [demand, 0.0];
    let period = |number: u32| {
        let now = began + Duration::from_secs(10) * number;
        let snapshot = publisher.shared().load_full();
        let cell = cell_at_place(&snapshot.view(), ServiceId(0), crate::atlas::PlaceId::UNKNOWN).expect("a cell");
        for (name, load) in [SEOUL, VIRGINIA].into_iter().zip(loads) {
            publisher.apply(loaded(name, now, Ok((load, None))), moment(now));
        }
        loads = loads.map(|load| kept * load);
        cell.fractions().for_each(|(region, share)| loads[region.index()] += (1.0 - kept) * share * demand);
        publisher.publish(moment(now));
        loads[0] / 100.0
    };
    (0..periods).map(period).collect()
}

#[test]
fn demand_beyond_one_regions_capacity_settles_at_the_target() {
    // Near and far; no caches, and TTLs of 30 s. Beyond 80 % of all there is, it swings: the
    // controller falls more slowly than it rises, and ends at the dearest price everywhere.
    for (apart_km, demand) in [(600.0, 120.0), (600.0, 150.0), (3_000.0, 120.0), (3_000.0, 150.0)] {
        for kept in [0.0, 0.72] {
            let utilisation = closed_loop(apart_km, demand, kept, 240);
            let settled = utilisation[180..].iter().all(|u| (0.80..0.90).contains(u));
            assert!(settled, "{apart_km} km, {demand}, {kept}: {utilisation:.2?}");
            let relieved = utilisation.iter().position(|&u| u < 1.0).expect("relief");
            let limit = if apart_km < 1_000.0 { 8 } else { 25 };
            assert!(relieved <= limit, "{apart_km} km, {demand}, {kept}: overloaded for {relieved} reports");
        }
    }
}
