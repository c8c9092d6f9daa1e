use std::time::Duration;

use super::outcome::RegionMoment;
use super::*;
use crate::model::{Child, Dependencies, Dependency, Group, LoadReport, Policy};
use crate::state::{LoadNews, News, Publisher};
use crate::steer::decide::cell_at_place;
use crate::steer::planner::demand::DemandSample;
use crate::steer::policy::eligible::ServiceCondition;
use crate::steer::testing::{World as Small, at, moment};

const NAMES: [&str; 3] = ["west@gslb.example", "east@gslb.example", "far@gslb.example"];

fn small() -> Small {
    let networks: Vec<String> = (0..10).map(|n| format!("10.{n}.0.0/16")).collect();
    let placed: Vec<_> = (0u8..).zip(&networks).map(|(n, net)| (&**net, at(0.0, f64::from(n) * 5.0))).collect();
    let regions = [("west", at(0.0, 0.0)), ("east", at(0.0, 45.0)), ("far", at(0.0, 90.0))];
    let mut world = Small::new(Policy::Score, &regions).clients(&placed);
    for region in &mut world.model.regions {
        region.load_report = Some(LoadReport::pushed(Duration::from_secs(300)));
    }
    world
}

fn publisher(world: Small, now: Instant) -> Publisher {
    let mut publisher = Publisher::new(world.model, world.atlas, "", 0, BTreeMap::new(), moment(now));
    publisher.assume_up(moment(now));
    publisher
}

/// Ten places along a line, 80 of demand in each; a plan is in force. Also the time by then.
pub(crate) fn planned() -> (Publisher, Instant) {
    let mut now = Instant::now();
    let mut publisher = publisher(small(), now);
    for _ in 0..40 {
        let snapshot = publisher.shared().load_full();
        let mut loads = [0.0; 3];
        let mut samples = Vec::new();
        for place in (0..10u8).map(|n| snapshot.atlas.locate([10, n, 0, 0].into()).place) {
            let cell = cell_at_place(&snapshot.view(), ServiceId(0), place).expect("a cell");
            for (region, part) in cell.fractions() {
                loads[region.index()] += 80.0 * part;
                // Many resolvers: the load of a few would be taken for that of others.
                let (weight, ttl_s) = (part as f32 * 100.0 * 30.0, 30.0);
                samples.push(DemandSample { service: ServiceId(0), place, region, weight, ttl_s });
            }
        }
        publisher.apply(News::Demand(samples), moment(now));
        for (name, load) in NAMES.iter().zip(loads) {
            publisher.apply(
                News::Load(LoadNews { region: (*name).into(), at: now, outcome: Ok((load, Some(1000.0))) }),
                moment(now),
            );
        }
        now += Duration::from_secs(10);
        publisher.publish(moment(now));
    }
    let snapshot = publisher.shared().load_full();
    assert!(snapshot.plan.planned().is_some(), "{:?}", snapshot.planning);
    (publisher, now)
}

fn snapshot() -> Arc<Snapshot> {
    planned().0.shared().load_full()
}

fn asked(snapshot: &Arc<Snapshot>, change: &Change) -> Outcome {
    what_if(snapshot, change, Instant::now() + Duration::from_secs(400)).expect("an outcome")
}

fn kill(name: &str) -> Change {
    Change { kill: vec![name.into()], ..Change::default() }
}

fn after<'a>(outcome: &'a Outcome, name: &str) -> &'a RegionMoment {
    let of = |region: &&outcome::RegionOutcome| region.name.starts_with(name);
    outcome.regions.iter().find(of).and_then(|region| region.after.as_ref()).expect("a region")
}

fn near(one: f64, other: f64) -> bool {
    (one - other).abs() < 0.04 * other.abs().max(1.0)
}

#[test]
fn what_a_lost_region_had_goes_to_the_next_one() {
    let outcome = asked(&snapshot(), &kill("west"));
    assert_eq!(outcome.counted, Counted::Demand);
    let all = outcome.before.amount;
    assert!(all > 700.0 && near(outcome.after.amount, all), "{outcome:#?}");
    assert!(near(outcome.moved, all / 2.0) && (outcome.moved_ratio - 0.5).abs() < 0.02, "{outcome:#?}");
    assert_eq!(outcome.moves[0].from.as_deref(), Some(NAMES[0]));
    assert_eq!(outcome.moves[0].to.as_deref(), Some(NAMES[1]));
    let moved: f64 = outcome.moves.iter().map(|one| one.amount).sum();
    assert!(near(moved, outcome.moved));
    assert_eq!((after(&outcome, "west").effective, after(&outcome, "west").load), (EffectiveState::Down, 0.0));
    assert!(after(&outcome, "east").utilisation > Some(0.7), "{outcome:#?}");
    assert!(outcome.after.rtt_ms > outcome.before.rtt_ms, "it is further");
    assert!(outcome.over_capacity.is_empty() && outcome.services.is_empty() && outcome.unanswered == 0.0);
}

#[test]
fn what_depends_on_a_lost_region_is_lost_with_it_unless_it_is_said_to_be_up() {
    let mut world = small();
    let of = BTreeMap::from([(RegionId(2), vec![Dependency::Region(RegionId(1))])]);
    world.model.dependencies = Dependencies::new(of, &world.model.services).expect("no circle");
    let snapshot = publisher(world, Instant::now()).shared().load_full();
    let far = |change: &Change| after(&asked(&snapshot, change), "far").effective;
    assert_eq!(far(&kill("east")), EffectiveState::Down);
    assert_eq!(far(&kill("west")), EffectiveState::Up);
    assert_eq!(far(&Change { up: vec!["far".into()], ..kill("east") }), EffectiveState::Up);
}

#[test]
fn a_drain_moves_as_many_and_asking_changes_nothing() {
    let snapshot = snapshot();
    let drained = asked(&snapshot, &Change { drain: vec![NAMES[0].into()], ..Change::default() });
    assert!((drained.moved_ratio - 0.5).abs() < 0.02);
    assert_eq!(after(&drained, "west").effective, EffectiveState::Drain);
    assert_eq!(snapshot.states[0].effective, EffectiveState::Up);
    let same = asked(&snapshot, &Change { up: vec!["west".into()], ..Change::default() });
    assert!(same.moved_ratio < 0.01, "{same:#?}");
}

#[test]
fn more_demand_than_all_can_take_is_called_out() {
    let outcome = asked(&snapshot(), &Change { demand: Some(4.5), ..Change::default() });
    assert!(
        near(outcome.after.amount, outcome.before.amount * 4.5) && outcome.after.beyond_capacity > 400.0,
        "{outcome:#?}"
    );
    assert!(!outcome.over_capacity.is_empty());
    assert!(NAMES.iter().all(|name| after(&outcome, name).utilisation > Some(0.9)), "{outcome:#?}");
}

#[test]
fn less_capacity_sends_some_elsewhere() {
    let capacity = BTreeMap::from([("west".to_owned(), 300.0)]);
    let outcome = asked(&snapshot(), &Change { capacity, ..Change::default() });
    let west = after(&outcome, "west");
    assert!(west.capacity == Some(300.0) && west.utilisation.is_some_and(|used| used < 1.0), "{outcome:#?}");
    assert!(outcome.moved > 100.0 && west.price_ms > 0.0, "{outcome:#?}");
}

#[test]
fn with_all_regions_lost_services_go_to_panic() {
    let all = Change { kill: NAMES.map(str::to_owned).into(), ..Change::default() };
    let outcome = asked(&snapshot(), &all);
    let condition = &outcome.services[0];
    assert_eq!((condition.before, condition.after), (Some(ServiceCondition::Normal), Some(ServiceCondition::Panic)));
    assert_eq!(outcome.unanswered, 0.0, "an answer is never empty");
}

#[test]
fn a_fence_that_would_run_out_is_told_apart_from_its_service() {
    let mut world = small();
    let tree = &mut world.service().policies;
    let clients = [crate::model::GeoPlace::Network("10.0.0.0/16".parse().expect("a prefix"))].into();
    tree.rules = vec![crate::model::Rule { clients, group: crate::model::GroupId(1), fence: true }];
    let children = vec![crate::model::Child::Region(RegionId(0))];
    tree.groups.push(crate::model::Group { name: "home".into(), policy: Policy::Failover, children });
    let snapshot = publisher(world, Instant::now()).shared().load_full();
    let outcome = asked(&snapshot, &kill("west"));
    let [fence] = &outcome.services[..] else { panic!("{outcome:#?}") };
    assert_eq!(fence.fence.as_deref(), Some("rule 1 (home)"));
    assert_eq!((fence.before, fence.after), (Some(ServiceCondition::Normal), Some(ServiceCondition::Panic)));
}

#[test]
fn without_demand_places_are_counted_and_it_is_said_so() {
    let snapshot = publisher(small(), Instant::now()).shared().load_full();
    let outcome = asked(&snapshot, &kill("west"));
    assert_eq!(outcome.counted, Counted::Places);
    assert_eq!(outcome.before.amount, 11.0, "ten places, and the unknown one");
    assert!(outcome.moved >= 5.0 && outcome.notes[0].contains("places are counted"), "{outcome:#?}");
    assert!(outcome.regions.iter().all(|region| region.after.as_ref().is_some_and(|now| now.utilisation.is_none())));
}

#[test]
fn policies_without_distances_are_worked_out_too() {
    let mut world = small();
    world.service().policies = crate::model::PolicyTree::flat(Policy::Failover, &[RegionId(0), RegionId(1)]);
    let snapshot = publisher(world, Instant::now()).shared().load_full();
    let outcome = asked(&snapshot, &kill("west"));
    assert_eq!((outcome.moved_ratio, outcome.moves.len()), (1.0, 1));
}

#[test]
fn all_mistakes_are_told_at_once() {
    let snapshot = snapshot();
    let refused = |change: &Change| what_if(&snapshot, change, Instant::now()).expect_err("refused").join("\n");
    assert!(refused(&Change::default()).contains("nothing is asked"));
    let text = refused(&Change {
        kill: vec!["wset".into(), "east".into(), "atlantis".into()],
        drain: vec!["east@gslb.example".into()],
        up: Vec::new(),
        capacity: BTreeMap::from([("west".into(), f64::NAN), ("far".into(), -1.0)]),
        demand: Some(f64::INFINITY),
        switch: BTreeMap::from([("www".into(), "green".into()), ("shop".into(), "green".into())]),
        canary: BTreeMap::from([("www".into(), 0.5)]),
    });
    for part in ["`www` has no canary", "`www` has no stages", "no service is called `shop`"] {
        assert!(text.contains(part), "`{part}` is not in:\n{text}");
    }
    for part in ["did you mean `west`", "both `kill` and `drain`", "NaN", "-1", "inf", "`atlantis`; there are: west@"] {
        assert!(text.contains(part), "`{part}` is not in:\n{text}");
    }
    for demand in [0.0, -1.0, f64::NAN, 1e9] {
        assert!(refused(&Change { demand: Some(demand), ..Change::default() }).contains("demand times"));
    }
}

#[test]
fn a_switch_moves_whoever_the_other_stage_has() {
    let mut world = small();
    let stage = |name: &str, regions: &[u32]| Group {
        name: name.into(),
        policy: Policy::Nearest,
        children: regions.iter().map(|&region| Child::Region(RegionId(region as _))).collect(),
    };
    let stages = vec![Child::Group(GroupId(1)), Child::Group(GroupId(2))];
    let root = Group { name: "".into(), policy: Policy::Stage { active: 0 }, children: stages };
    let groups = vec![root, stage("blue", &[0]), stage("green", &[0, 1])];
    world.service().policies = crate::model::PolicyTree { groups, root: GroupId(0), rules: Vec::new() };
    let snapshot = publisher(world, Instant::now()).shared().load_full();
    let switch = |to: &str| Change { switch: BTreeMap::from([("www".into(), to.into())]), ..Change::default() };
    let outcome = asked(&snapshot, &switch("green"));
    assert!(outcome.moved_ratio > 0.3 && outcome.moves.len() == 1, "{outcome:#?}");
    assert_eq!(outcome.moves[0].to.as_deref(), Some("east@gslb.example"));
    assert_eq!(asked(&snapshot, &switch("blue")).moved, 0.0);
    let refused = what_if(&snapshot, &switch("red"), Instant::now()).expect_err("refused").join("\n");
    assert!(refused.contains("no stage `red`; there are: blue, green"), "{refused}");
}

#[test]
fn a_canary_that_grows_moves_its_part_of_clients() {
    let mut world = small();
    let group = |name: &str, policy, children| Group { name: name.into(), policy, children };
    let region = |region: u16| vec![Child::Region(RegionId(region as _))];
    let share = crate::model::Weight::new(0.0).expect("a share");
    let groups = vec![
        group("new", Policy::Nearest, region(1)),
        group("", Policy::Nearest, region(0)),
        group("the canary", Policy::Canary { share }, vec![Child::Group(GroupId(0)), Child::Group(GroupId(1))]),
    ];
    world.service().policies = crate::model::PolicyTree { groups, root: GroupId(2), rules: Vec::new() };
    let snapshot = publisher(world, Instant::now()).shared().load_full();
    let canary = |share: f64| Change { canary: BTreeMap::from([("www".into(), share)]), ..Change::default() };
    let moved = |share| asked(&snapshot, &canary(share)).moved_ratio;
    assert!(near(moved(0.0), 0.0) && near(moved(0.25), 0.25) && near(moved(1.0), 1.0), "{}", moved(0.25));
    for share in [-0.1, 1.1, f64::NAN] {
        let refused = what_if(&snapshot, &canary(share), Instant::now()).expect_err("refused").join("\n");
        assert!(refused.contains("expected 0 to 1"), "{refused}");
    }
}

#[test]
fn another_configuration_takes_the_demand_there_is() {
    let live = World::of(snapshot()).placed();
    let live: Placed = serde_json::from_str(&serde_json::to_string(&live).expect("JSON")).expect("the same");
    let moved = |world: Small| {
        let to = publisher(world, Instant::now()).shared().load_full();
        what_if_moved(&live, to, &Change::default(), Instant::now()).expect("an outcome")
    };
    let same = moved(small());
    assert!(same.moved_ratio < 0.01 && near(same.after.amount, same.before.amount), "{same:#?}");

    let mut without_west = small();
    without_west.model.regions.remove(0);
    let service = without_west.service();
    service.policies = crate::model::PolicyTree::flat(Policy::Score, &[RegionId(0), RegionId(1)]);
    service.regions = vec![RegionId(0), RegionId(1)];
    without_west.states.pop();
    let outcome = moved(without_west);
    assert!((outcome.moved_ratio - 0.5).abs() < 0.02, "{outcome:#?}");
    assert!(outcome.regions.iter().any(|region| region.name == NAMES[0] && region.after.is_none()));

    let mut renamed = small();
    renamed.service().name = crate::model::Name::parse_absolute("api.gslb.example").expect("a name");
    let outcome = moved(renamed);
    assert!(
        near(outcome.unanswered, outcome.before.amount) && outcome.moves.iter().all(|one| one.to.is_none()),
        "{outcome:#?}"
    );

    let mut dearer = small();
    dearer.model.regions[1].cost = 100.0;
    assert!(moved(dearer).moved > 300.0, "the far one is cheaper by far, if not near");
}

#[test]
fn clients_of_another_atlas_are_found_nearby_or_not_at_all() {
    let snapshot = publisher(small(), Instant::now()).shared().load_full();
    let finder = Spots::of(&snapshot).finder();
    let exact = finder.find(Some(at(0.0, 5.0)));
    assert!(exact.is_some() && finder.find(Some(at(0.1, 5.1))) == exact);
    assert_eq!(finder.find(Some(at(80.0, -170.0))), None);
    assert!(finder.find(None).is_some(), "the unknown place is everywhere");
}
