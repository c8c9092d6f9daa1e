//! The behaviour of each policy, alone and nested; and what all of them hold to, whatever the tree.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use proptest::prelude::*;

use super::eligible::FenceOut;
use super::*;
use crate::atlas::Atlas;
use crate::model::{GeoPlace, GeoRules, Location, PolicyTree, Rule, ServiceId, Switched, Weights};
use crate::steer::decide::{Decision, Seen, cell_at_place, decide, decide_for};
use crate::steer::health::effective::{EffectiveState, Override};
use crate::steer::plan::precomputed::{Precomputed, PrecomputedChoice};
use crate::steer::testing::{Moment, SERVICE, World, at};

const SEOUL: u16 = 0;
const TOKYO: u16 = 1;
const FRANKFURT: u16 = 2;
const VIRGINIA: u16 = 3;

fn region(index: u16) -> Child {
    Child::Region(RegionId(index))
}

fn group(index: u16) -> Child {
    Child::Group(GroupId(index))
}

fn weights(numbers: &[f64]) -> Vec<Weight> {
    numbers.iter().map(|&number| Weight::new(number).expect("a weight")).collect()
}

/// Groups in the order of their ids; the last is the root.
fn tree(groups: Vec<(Policy, Vec<Child>)>) -> PolicyTree {
    let root = GroupId(groups.len() as u16 - 1);
    let named = |(index, (policy, children)): (usize, (Policy, Vec<Child>))| {
        let name = if index == root.index() { String::new() } else { format!("group{index}") };
        Group { name: name.into(), policy, children }
    };
    PolicyTree { groups: groups.into_iter().enumerate().map(named).collect(), root, rules: Vec::new() }
}

/// Four regions; 10.82/16 is in Seoul, 10.49/16 in Frankfurt, 10.1/16 in Virginia.
fn world(policies: PolicyTree) -> World {
    let places =
        [("seoul", 37.57, 126.98), ("tokyo", 35.68, 139.69), ("frankfurt", 50.11, 8.68), ("virginia", 39.04, -77.49)];
    let regions = places.map(|(name, latitude, longitude)| (name, at(latitude, longitude)));
    let mut world = World::new(Policy::Score, &regions).clients(&[
        ("10.82.0.0/16", regions[0].1),
        ("10.49.0.0/16", regions[2].1),
        ("10.1.0.0/16", regions[3].1),
    ]);
    let service = &mut world.model.services[0];
    service.regions = (0..4).map(RegionId).collect();
    service.policies = policies;
    world
}

/// `network` of 65,536 /24s, of which each is another client.
fn client(network: u32) -> IpAddr {
    IpAddr::V4((0x0a00_0000 | network << 8).into())
}

/// The part of a /16's clients that each region gets.
fn parts(moment: &Moment<'_>, second_octet: u32) -> [f64; 4] {
    let mut parts = [0.0; 4];
    for third in 0..=255 {
        let decision = moment.decide(Seen::Subnet(client(second_octet << 8 | third)));
        parts[decision.region.index()] += 1.0 / 256.0;
    }
    parts
}

/// The only region that a /16's clients get.
fn only(world: &World, second_octet: u32) -> &'static str {
    let parts = parts(&world.plan(Instant::now()), second_octet);
    let names = ["seoul", "tokyo", "frankfurt", "virginia"];
    let all = parts.iter().position(|part| (part - 1.0).abs() < 1e-9);
    all.map_or("several", |index| names[index])
}

fn anywhere(world: &World) -> [f64; 4] {
    let moment = world.plan(Instant::now());
    let mut sums = [0.0; 4];
    for octet in 100..120 {
        for (sum, part) in sums.iter_mut().zip(parts(&moment, octet)) {
            *sum += part / 20.0;
        }
    }
    sums
}

fn close(parts: [f64; 4], expected: [f64; 4]) -> bool {
    parts.iter().zip(expected).all(|(part, expected)| (part - expected).abs() < 0.02)
}

fn all() -> Vec<Child> {
    (0..4).map(region).collect()
}

#[test]
fn nearest_is_by_distance_alone() {
    let mut world = world(tree(vec![(Policy::Nearest, all())]));
    world.states[0].price_ms = 250.0;
    assert_eq!([only(&world, 82), only(&world, 49), only(&world, 1)], ["seoul", "frankfurt", "virginia"]);
    world.down(0);
    assert_eq!(only(&world, 82), "tokyo");
    assert!(close(anywhere(&world), [0.0, 1.0 / 3.0, 1.0 / 3.0, 1.0 / 3.0]), "who is nowhere is as near to all");
}

#[test]
fn latency_is_as_measured_where_it_was() {
    use crate::steer::latency::rtt::{ClientGroup, Estimate, Measured};
    let mut by_latency = world(tree(vec![(Policy::Latency, all())]));
    assert_eq!(only(&by_latency, 82), "seoul");
    let network = ClientGroup::Network("10.82.0.0/16".parse().expect("a prefix"));
    let figures = [
        (network, "frankfurt@gslb.example", Estimate::given(1.5)),
        (network, "seoul@gslb.example", Estimate::given(90.0)),
    ];
    by_latency.measured = std::sync::Arc::new(Measured::of(figures));
    by_latency.atlas = by_latency.atlas.refined(&by_latency.measured.networks());
    assert_eq!(only(&by_latency, 82), "frankfurt");
    by_latency.service().policies = tree(vec![(Policy::Nearest, all())]);
    assert_eq!(only(&by_latency, 82), "seoul", "nearest does not look at what was measured");
}

#[test]
fn a_bias_moves_the_border() {
    for policy in [Policy::Nearest, Policy::Latency, Policy::Score] {
        let mut world = world(tree(vec![(policy.clone(), all())]));
        assert_ne!(only(&world, 82), "virginia");
        world.service().bias_ms = BTreeMap::from([(RegionId(VIRGINIA), -300)]);
        assert_eq!(only(&world, 82), "virginia", "{policy:?}");
    }
}

#[test]
fn groups_fail_over_as_a_whole_and_within() {
    let mut world = world(tree(vec![
        (Policy::Weighted(weights(&[3.0, 1.0])), vec![region(SEOUL), region(TOKYO)]),
        (Policy::Nearest, vec![region(FRANKFURT), region(VIRGINIA)]),
        (Policy::Failover, vec![group(0), group(1)]),
    ]));
    assert!(close(anywhere(&world), [0.75, 0.25, 0.0, 0.0]));
    world.down(0);
    assert_eq!(only(&world, 49), "tokyo");
    world.say(1, Override::Drain);
    assert_eq!([only(&world, 49), only(&world, 1)], ["frankfurt", "virginia"]);
}

#[test]
fn shares_within_a_group_do_not_follow_from_those_above_it() {
    // Tokyo stands beside its group and in it: who did not win it above must not be the less likely to within.
    let world = world(tree(vec![
        (Policy::Weighted(weights(&[1.0, 1.0])), vec![region(SEOUL), region(TOKYO)]),
        (Policy::Weighted(weights(&[1.0, 1.0])), vec![group(0), region(TOKYO)]),
    ]));
    assert!(close(anywhere(&world), [0.25, 0.75, 0.0, 0.0]), "{:?}", anywhere(&world));
}

#[test]
fn a_score_counts_a_group_as_its_best_region() {
    let mut world = world(tree(vec![
        (Policy::Failover, vec![region(VIRGINIA), region(SEOUL)]),
        (Policy::Score, vec![group(0), region(FRANKFURT)]),
    ]));
    assert_eq!(only(&world, 49), "frankfurt");
    assert_eq!(only(&world, 82), "virginia", "seoul draws them to the group, which fails over in its own order");
    world.down(SEOUL.into());
    assert_eq!(only(&world, 82), "frankfurt", "nearer than virginia");
}

#[test]
fn sticky_keeps_a_network_together_and_weighted_only_what_is_asked_by() {
    let of = |policy| {
        let world = world(tree(vec![(policy, all())]));
        let moment = world.plan(Instant::now());
        let answers = |third: u8| (0..64).map(move |last| IpAddr::from([198, 51, third, last]));
        let regions = |third| answers(third).map(|a| moment.decide(Seen::Source(a)).region).collect::<BTreeSet<_>>();
        (0..8).map(|third| regions(third).len()).max().expect("eight")
    };
    assert_eq!(of(Policy::Sticky(weights(&[1.0; 4]))), 1);
    assert_eq!(of(Policy::Weighted(weights(&[1.0; 4]))), 4);
}

#[test]
fn a_sticky_client_stays_whatever_load_and_price_say() {
    let mut world = world(tree(vec![(Policy::Sticky(weights(&[1.0; 4])), all())]));
    let before = anywhere(&world);
    for (index, state) in world.states.iter_mut().enumerate() {
        state.price_ms = 60.0 * index as f64;
    }
    assert_eq!(anywhere(&world), before);
}

#[test]
fn multi_answers_several_healthy_regions_once_each() {
    let mut world = world(tree(vec![(Policy::Multi { answers: 3, weights: weights(&[1.0; 4]) }, all())]));
    let sets = |world: &World| -> Vec<Vec<RegionId>> {
        let moment = world.plan(Instant::now());
        (0..256).map(|n| moment.decide(Seen::Subnet(client(n))).regions.as_slice().to_vec()).collect()
    };
    let before = sets(&world);
    for regions in &before {
        assert_eq!(regions.iter().collect::<BTreeSet<_>>().len(), 3, "{regions:?}");
    }
    world.down(1);
    for (before, after) in before.iter().zip(sets(&world)) {
        let stay = before.iter().filter(|region| region.0 != 1);
        assert!(stay.clone().all(|region| after.contains(region)) && after.len() == 3, "{before:?} {after:?}");
        assert!(!after.contains(&RegionId(1)));
    }
    for down in [0, 2, 3] {
        world.down(down);
    }
    assert!(sets(&world).iter().all(|regions| regions.len() == 3), "panic: as if all were up");
    world.states[2].effective = EffectiveState::Up;
    assert!(sets(&world).iter().all(|regions| *regions == [RegionId(2)]));
}

#[test]
fn multi_names_a_region_once_that_several_groups_lead_to() {
    let world = world(tree(vec![
        (Policy::Failover, vec![region(SEOUL), region(TOKYO)]),
        (Policy::Failover, vec![region(SEOUL), region(FRANKFURT)]),
        (Policy::Multi { answers: 8, weights: weights(&[1.0; 3]) }, vec![group(0), group(1), region(VIRGINIA)]),
    ]));
    let moment = world.plan(Instant::now());
    for network in 0..256 {
        let regions = moment.decide(Seen::Subnet(client(network))).regions;
        let mut sorted = regions.as_slice().to_vec();
        sorted.sort();
        assert_eq!(sorted, [RegionId(SEOUL), RegionId(VIRGINIA)]);
    }
}

#[test]
fn of_several_with_one_left_its_own_policy_holds() {
    let mut world = world(tree(vec![
        (Policy::Weighted(Vec::new()), vec![region(SEOUL), region(TOKYO)]),
        (Policy::Multi { answers: 2, weights: Vec::new() }, vec![group(0), region(VIRGINIA)]),
    ]));
    world.down(VIRGINIA.into());
    let moment = world.plan(Instant::now());
    assert!((0..64).all(|n| moment.decide(Seen::Subnet(client(n))).regions.as_slice().len() == 1));
}

fn rule(clients: &[&str], group: u16, fence: bool) -> Rule {
    let network = |text: &&str| GeoPlace::Network(text.parse().expect("a prefix"));
    Rule { clients: clients.iter().map(network).collect(), group: GroupId(group), fence }
}

/// Everyone by failover to Virginia, but 10.82/17 to Seoul and Tokyo.
fn with_rule(fence: bool) -> World {
    let mut policies =
        tree(vec![(Policy::Failover, vec![region(SEOUL), region(TOKYO)]), (Policy::Failover, vec![region(VIRGINIA)])]);
    policies.rules = vec![rule(&["10.82.0.0/17"], 0, fence)];
    let mut world = world(policies);
    world.atlas = world.atlas.refined(&world.model.named_networks());
    world
}

fn of(world: &World, address: [u8; 4]) -> String {
    world.plan(Instant::now()).region_of(address.into()).to_owned()
}

#[test]
fn a_rule_is_for_its_clients_alone() {
    for fence in [true, false] {
        let world = with_rule(fence);
        assert_eq!(of(&world, [10, 82, 127, 0]), "seoul");
        assert_eq!(of(&world, [10, 82, 128, 0]), "virginia");
        assert_eq!(of(&world, [10, 49, 0, 0]), "virginia");
        let moment = world.plan(Instant::now());
        assert_eq!(moment.by_ecs("10.82.0.0").scope, 17, "as wide as the rule, and no wider");
    }
}

#[test]
fn a_fence_holds_even_where_all_of_it_is_down() {
    let mut world = with_rule(true);
    world.down(SEOUL.into());
    assert_eq!(of(&world, [10, 82, 0, 0]), "tokyo");
    world.down(TOKYO.into());
    assert_eq!(of(&world, [10, 82, 0, 0]), "seoul", "panic inside of the fence");
    let plan = world.plan(Instant::now());
    let ttl = |address: &str| plan.by_ecs(address).ttl_reason;
    assert_eq!(ttl("10.82.0.0"), crate::steer::decide::TtlReason::Panic);
    assert_ne!(ttl("10.49.0.0"), crate::steer::decide::TtlReason::Panic, "others are none the worse");
    let service = &plan.plan.services[0];
    assert_eq!(service.standing.condition, ServiceCondition::Normal, "which the service itself stands on");
    assert_eq!(
        service.standing.fences_out,
        [FenceOut { rule: 0, condition: ServiceCondition::Panic }],
        "and the fence is shown"
    );
    assert_eq!(service.standing.last_resort, [RegionId(SEOUL), RegionId(TOKYO)]);
}

#[test]
fn a_fence_and_its_service_are_told_apart() {
    let told = |world: &World| {
        let service = world.plan(Instant::now()).plan.services[0].clone();
        (service.standing.condition, service.standing.fences_out.clone(), service.standing.last_resort.clone())
    };
    let out = |condition| vec![FenceOut { rule: 0, condition }];
    let regions = |list: &[u16]| list.iter().map(|&index| RegionId(index)).collect::<Vec<_>>();
    let mut world = with_rule(true);
    assert_eq!(told(&world), (ServiceCondition::Normal, vec![], vec![]));
    world.say(SEOUL.into(), Override::Down);
    world.say(TOKYO.into(), Override::Down);
    assert_eq!(told(&world), (ServiceCondition::Normal, out(ServiceCondition::AllWithdrawn), regions(&[SEOUL, TOKYO])));
    world.say(TOKYO.into(), Override::Drain);
    assert_eq!(told(&world), (ServiceCondition::Normal, out(ServiceCondition::OnlyDraining), regions(&[TOKYO])));
    let explained = |address: [u8; 4]| world.plan(Instant::now()).explain(Seen::Subnet(address.into()));
    assert_eq!(explained([10, 82, 0, 0]).fence.as_deref(), Some("rule 1 (group0)"));
    assert_eq!(
        (explained([10, 49, 0, 0]).fence, explained([10, 49, 0, 0]).condition),
        (None, ServiceCondition::Normal)
    );
    // The others' regions may run out where the fence's do not.
    world.say(TOKYO.into(), Override::Auto);
    world.down(VIRGINIA.into());
    assert_eq!(told(&world), (ServiceCondition::Panic, vec![], regions(&[VIRGINIA])));
    // A rule that is no fence never runs out before its service.
    let mut open = with_rule(false);
    open.say(SEOUL.into(), Override::Down);
    open.say(TOKYO.into(), Override::Down);
    assert_eq!(told(&open), (ServiceCondition::Normal, vec![], vec![]));
}

#[test]
fn a_rule_without_a_fence_gives_way_to_the_services_own_policy() {
    let mut world = with_rule(false);
    world.down(SEOUL.into());
    world.down(TOKYO.into());
    assert_eq!(of(&world, [10, 82, 0, 0]), "virginia");
    world.down(VIRGINIA.into());
    assert_eq!(of(&world, [10, 82, 0, 0]), "seoul", "all down: as if all were up");
    assert_eq!(of(&world, [10, 49, 0, 0]), "virginia", "which is no reason to leave the service's regions");
}

#[test]
fn geo_tells_networks_apart() {
    let lists = GeoRules {
        rules: BTreeMap::from([(GeoPlace::Network("10.82.4.0/22".parse().expect("a prefix")), vec![0])]),
        default: vec![1],
    };
    let mut world = world(tree(vec![(Policy::Geo(lists), vec![region(TOKYO), region(FRANKFURT)])]));
    world.atlas = world.atlas.refined(&world.model.named_networks());
    assert_eq!(of(&world, [10, 82, 7, 0]), "tokyo");
    assert_eq!(of(&world, [10, 82, 8, 0]), "frankfurt");
}

/// A canary in Virginia of this share, beside Seoul.
fn canary(share: f64) -> World {
    world(tree(vec![
        (Policy::Failover, vec![region(VIRGINIA)]),
        (Policy::Failover, vec![region(SEOUL)]),
        (Policy::Canary { share: Weight::new(share).expect("a share") }, vec![group(0), group(1)]),
    ]))
}

#[test]
fn a_growing_canary_moves_nobody_back() {
    let chosen = |share: f64| -> BTreeSet<u32> {
        let world = canary(share);
        let moment = world.plan(Instant::now());
        (0..4096).filter(|&n| moment.region_of(client(n)) == "virginia").collect()
    };
    let mut before = BTreeSet::new();
    for share in [0.0, 0.01, 0.1, 0.5, 0.99, 1.0] {
        let now = chosen(share);
        assert!(now.is_superset(&before), "{share}");
        assert!((now.len() as f64 / 4096.0 - share).abs() < 0.03, "{share}: {}", now.len());
        before = now;
    }
}

#[test]
fn a_canary_that_an_operator_shifts_moves_as_one_of_the_file_does() {
    let chosen = |world: &World| -> BTreeSet<u32> {
        let moment = world.plan(Instant::now());
        (0..4096).filter(|&n| moment.region_of(client(n)) == "virginia").collect()
    };
    let mut shifted = canary(0.05);
    for share in [0.0, 0.01, 0.05, 0.25, 1.0] {
        let said = Switched { stage: None, canary: Weight::new(share) };
        shifted.switched.insert(ServiceId(0), said);
        assert_eq!(chosen(&shifted), chosen(&canary(share)), "{share}");
    }
    shifted.switched.clear();
    assert_eq!(chosen(&shifted), chosen(&canary(0.05)), "taken back, the file's holds");
}

#[test]
fn a_canary_that_dies_gives_its_clients_back() {
    let mut world = canary(0.3);
    world.down(VIRGINIA.into());
    assert_eq!(only(&world, 100), "seoul");
    world.states[3].effective = EffectiveState::Up;
    world.down(SEOUL.into());
    assert_eq!(only(&world, 100), "virginia");
}

#[test]
fn a_stage_is_all_there_is_until_another_is_switched_to() {
    let mut world = world(tree(vec![
        (Policy::Failover, vec![region(SEOUL)]),
        (Policy::Failover, vec![region(VIRGINIA)]),
        (Policy::Stage { active: 0 }, vec![group(0), group(1)]),
    ]));
    assert_eq!(only(&world, 100), "seoul");
    world.down(SEOUL.into());
    assert_eq!(only(&world, 100), "seoul", "the other stage may not be fit for clients");
    world.switched.insert(ServiceId(0), Switched { stage: Some(GroupId(1)), canary: None });
    assert_eq!(only(&world, 100), "virginia");
    let plan = world.plan(Instant::now()).plan;
    assert!(!plan.services[0].reduced, "what is down of the other stage is nobody's business");
}

#[test]
fn a_busy_region_sheds_more_clients_as_load_grows_and_takes_the_same_ones_back() {
    for policies in [
        tree(vec![(Policy::Failover, vec![region(SEOUL), region(TOKYO)])]),
        tree(vec![(
            Policy::Geo(GeoRules { default: vec![0], ..Default::default() }),
            vec![region(SEOUL), region(TOKYO)],
        )]),
        tree(vec![(Policy::Nearest, vec![region(SEOUL), region(FRANKFURT)])]),
        tree(vec![(Policy::Score, vec![region(SEOUL), region(FRANKFURT)])]),
    ] {
        let mut world = world(policies.clone());
        let shed = |world: &mut World, part: f64| -> BTreeSet<u32> {
            world.states[0].shed = part;
            let moment = world.plan(Instant::now());
            (0..256).filter(|n| moment.region_of(client(82 << 8 | n)) != "seoul").collect()
        };
        let mut before = BTreeSet::new();
        for part in [0.0, 0.2, 0.5, 0.95, 1.0] {
            let now = shed(&mut world, part);
            assert!(now.is_superset(&before), "{policies:?}: {part}");
            assert!((now.len() as f64 / 256.0 - part).abs() < 0.1, "{policies:?}: {part}, {}", now.len());
            before = now;
        }
    }
}

#[test]
fn what_sheds_is_taken_where_nothing_else_is_left() {
    let mut world = world(tree(vec![(Policy::Weighted(weights(&[1.0, 1.0])), vec![region(SEOUL), region(TOKYO)])]));
    for state in &mut world.states {
        state.shed = 0.95;
    }
    let parts = anywhere(&world);
    assert!(close(parts, [0.5, 0.5, 0.0, 0.0]), "{parts:?}");
    (world.states[0].shed, world.states[1].shed) = (1.0, 0.0);
    assert_eq!(only(&world, 100), "tokyo");
    world.states[1].over_limit = true;
    assert_eq!(only(&world, 100), "seoul", "above its watermark, but not at its hard limit");
    world.states[0].over_limit = true;
    assert!(close(anywhere(&world), [0.5, 0.5, 0.0, 0.0]), "all at their limits: as if there were none");
    let condition = |world: &World| world.plan(Instant::now()).plan.services[0].standing.condition;
    assert_eq!(condition(&world), ServiceCondition::Full);
    world.down(0);
    world.down(1);
    assert_eq!(condition(&world), ServiceCondition::Panic);
}

#[test]
fn the_planner_hears_which_decisions_by_score_clients_come_to() {
    let mut policies = tree(vec![
        (Policy::Score, vec![region(SEOUL), region(TOKYO)]),
        (Policy::Score, vec![region(FRANKFURT), region(VIRGINIA)]),
        (Policy::Canary { share: Weight::new(0.25).expect("a share") }, vec![group(0), group(1)]),
    ]);
    policies.rules = vec![rule(&["10.82.0.0/17"], 0, true)];
    let mut world = world(policies);
    world.atlas = world.atlas.refined(&world.model.named_networks());
    let parts = |world: &World, address: [u8; 4]| -> HashMap<Vec<u16>, f64> {
        let plan = world.plan(Instant::now()).plan;
        let place = world.atlas.locate(address.into()).place;
        let site = plan.sites.as_ref().and_then(|sites| sites.of_place(place)).expect("a site");
        let parts = &plan.services[0].parts;
        let score_group = |score_group: u32| {
            parts.score_groups()[score_group as usize].regions.iter().map(|region| region.0).collect()
        };
        parts.at(site).iter().map(|&(of, part)| (score_group(of), part)).collect()
    };
    // Two places are in Seoul: one of them comes to the first alone.
    assert_eq!(parts(&world, [10, 82, 0, 0]), HashMap::from([(vec![0, 1], 0.625), (vec![2, 3], 0.375)]));
    assert_eq!(parts(&world, [10, 49, 0, 0]), HashMap::from([(vec![0, 1], 0.25), (vec![2, 3], 0.75)]));
    world.down(FRANKFURT.into());
    world.down(VIRGINIA.into());
    assert_eq!(parts(&world, [10, 49, 0, 0]), HashMap::from([(vec![0, 1], 1.0)]));
}

/// Six policies that move nobody but a lost region's clients, and three that look at distance.
const MOVING_NOBODY: usize = 6;
const ALL_KINDS: usize = 9;

/// Trees of up to three levels over six regions.
fn any_tree(kinds: usize) -> impl Strategy<Value = PolicyTree> {
    let kind = (0..kinds, prop::collection::vec(0.0f64..4.0, 6), 0.0f64..1.0);
    (prop::collection::vec(kind, 4), any::<bool>(), any::<bool>()).prop_map(|(kinds, fence, canary)| {
        let policy = |at: usize, children: usize| {
            let (kind, numbers, _) = &kinds[at];
            let weights = weights(&numbers[..children]);
            match kind {
                0 => Policy::Failover,
                1 => Policy::Weighted(weights),
                2 => Policy::Sticky(weights),
                3 => Policy::Multi { answers: 2, weights },
                4 => Policy::Geo(GeoRules { default: vec![0], ..Default::default() }),
                5 => Policy::Weighted(Vec::new()),
                6 => Policy::Score,
                7 => Policy::Nearest,
                _ => Policy::Latency,
            }
        };
        let mut groups = vec![
            (policy(0, 2), vec![region(0), region(1)]),
            (policy(1, 3), vec![region(2), group(0), region(3)]),
            (policy(2, 2), vec![region(4), region(5)]),
            (policy(3, 2), vec![group(1), group(2)]),
        ];
        if canary {
            let share = Weight::new(kinds[3].2).expect("a share");
            groups.push((Policy::Canary { share }, vec![group(2), group(3)]));
        }
        let mut tree = tree(groups);
        tree.rules = vec![rule(&["10.0.0.0/11"], 2, fence)];
        tree
    })
}

fn six(policies: PolicyTree) -> World {
    let names: Vec<String> = (0..6).map(|index| format!("region{index}")).collect();
    let placed: Vec<_> =
        names.iter().zip(0..).map(|(name, n)| (name.as_str(), at(10.0, f64::from(n) * 30.0))).collect();
    let mut world = World::new(Policy::Score, &placed);
    world.model.services[0].policies = policies;
    let anywhere = Location { coordinates: Some(at(0.0, 0.0)), ..Location::default() };
    let networks = [("10.0.0.0/9".parse().expect("a prefix"), anywhere)];
    world.atlas = Atlas::build(&[], &networks).expect("an atlas").refined(&world.model.named_networks());
    world
}

fn dotted(bits: u16) -> String {
    format!("{}.{}", bits >> 8, bits & 0xff)
}

/// The regions that the packet path answers with: what is precomputed, else what is decided then.
fn answered<'w>(world: &'w World, moment: &Moment<'_>, seen: Seen) -> Vec<&'w str> {
    let view = moment.view();
    let precomputed = Precomputed::of(&view);
    let service = precomputed.service(SERVICE).expect("a service");
    let regions = match precomputed.find(service, seen.address()).expect("a choice") {
        PrecomputedChoice::Fixed(choice, _) => vec![choice.region],
        PrecomputedChoice::Open(found) => {
            let decision = decide_for(&view, SERVICE, seen, found).expect("a decision");
            decision.regions.as_slice().to_vec()
        }
    };
    regions.into_iter().map(|region| &*world.model.region(region).name).collect()
}

/// Something may be the matter with a region; 5 and above: nothing is.
fn befall(world: &mut World, index: usize, kind: u8, shed: f64) {
    world.states[index] = RegionState::unprobed(1);
    match kind {
        0 => world.down(index),
        1 => world.say(index, Override::Down),
        2 => world.say(index, Override::Drain),
        3 => world.states[index].over_limit = true,
        4 => world.states[index].effective = EffectiveState::Unknown,
        5 => world.states[index].shed = shed.min(1.0),
        _ => {}
    }
}

proptest! {
    /// Whatever befalls regions: tables that were made before are answered from as if they had been made then.
    #[test]
    fn what_follows_at_once_is_what_a_new_plan_would_say(
        policies in any_tree(ALL_KINDS),
        stories in prop::collection::vec(prop::collection::vec((0usize..6, 0u8..12, 0.0f64..1.2), 1..4), 1..5),
        clients in prop::collection::vec(prop_oneof![any::<u32>(), (10u32 << 24..11 << 24)], 24),
    ) {
        let mut world = six(policies);
        let now = Instant::now();
        let mut before = world.plan(now).plan;
        for story in stories {
            for (region, kind, shed) in story {
                befall(&mut world, region, kind, shed);
            }
            let at_once = world.follow_after(&before, now);
            let anew = world.plan(now);
            for &bits in &clients {
                for seen in [Seen::Subnet(IpAddr::V4(bits.into())), Seen::Source(IpAddr::V4(bits.into()))] {
                    let (one, other) = (at_once.decide(seen), anew.decide(seen));
                    prop_assert!(one.scope >= other.scope, "{:?}: {} wider than {}", seen, one.scope, other.scope);
                    prop_assert_eq!(Decision { scope: other.scope, ..one }, other);
                    prop_assert_eq!(answered(&world, &at_once, seen), answered(&world, &anew, seen));
                }
            }
            before = at_once.plan;
        }
    }

    /// Of many services unlike one another, those that keep no classes of their own get what each would get alone.
    #[test]
    fn services_that_share_no_classes_are_answered_as_if_each_were_alone(
        networks in prop::collection::vec((any::<u16>(), -60.0f64..60.0, -180.0f64..180.0), 1..20),
        story in prop::collection::vec((0usize..6, 0u8..12, 0.0f64..1.2), 0..4),
        later in prop::collection::vec((0usize..6, 0u8..12, 0.0f64..1.2), 1..4),
        prices in prop::array::uniform6(0.0f64..60.0),
        clients in prop::collection::vec(any::<u16>(), 12),
    ) {
        let named: Vec<(String, _)> =
            networks.iter().map(|(bits, north, east)| (format!("10.{}.0/24", dotted(*bits)), at(*north, *east))).collect();
        let named: Vec<_> = named.iter().map(|(prefix, at)| (prefix.as_str(), *at)).collect();
        let world = |services: std::ops::Range<usize>| {
            let names: Vec<String> = (0..6).map(|index| format!("region{index}")).collect();
            let placed: Vec<_> =
                names.iter().zip(0..).map(|(name, n)| (name.as_str(), at(10.0, f64::from(n) * 30.0))).collect();
            let mut world = World::new(Policy::Score, &placed).clients(&named);
            let service = world.model.services[0].clone();
            let unlike = |n: usize| Weights { latency: 0.2 + n as f64 / 50.0, ..service.weights };
            world.model.services = services.map(|n| Service { weights: unlike(n), ..service.clone() }).collect();
            world
        };
        let befall_all = |world: &mut World, story: &[(usize, u8, f64)]| {
            story.iter().for_each(|&(region, kind, shed)| befall(world, region, kind, shed));
            world.states.iter_mut().zip(prices).for_each(|(state, price)| state.price_ms = price);
        };
        let now = Instant::now();
        let mut all = world(0..20);
        befall_all(&mut all, &story);
        let before = all.plan(now).plan;
        let (first, last) = (before.services[0].table.classes(), before.services[19].table.classes());
        prop_assert!(!Arc::ptr_eq(first.expect("classes"), last.expect("classes")));
        befall_all(&mut all, &later);
        for n in [0, 9, 15, 16, 19] {
            let mut alone = world(n..n + 1);
            befall_all(&mut alone, &story);
            befall_all(&mut alone, &later);
            let alone = alone.plan(now);
            for moment in [all.follow_after(&before, now), all.plan(now)] {
                for bits in clients.iter().chain(networks.iter().map(|(bits, ..)| bits)) {
                    let address = IpAddr::V4((10 << 24 | u32::from(*bits) << 8).into());
                    for seen in [Seen::Subnet(address), Seen::Source(address)] {
                        let one = decide(&moment.view(), ServiceId(n as u32), seen).expect("a decision");
                        let other = decide(&alone.view(), SERVICE, seen).expect("a decision");
                        prop_assert!(one.scope >= other.scope, "{:?}: {} wider than {}", seen, one.scope, other.scope);
                        prop_assert_eq!(Decision { scope: other.scope, ..one }, other);
                    }
                }
            }
        }
    }

    /// Never nothing, never a region twice, and none that the operator withdrew while others are up.
    #[test]
    fn every_client_gets_something_good(
        policies in any_tree(ALL_KINDS),
        states in prop::collection::vec((0u8..6, 0.0f64..1.2), 6),
        clients in prop::collection::vec(any::<u32>(), 24),
    ) {
        let mut world = six(policies);
        for (index, (kind, shed)) in states.iter().enumerate() {
            befall(&mut world, index, *kind, *shed);
        }
        let moment = world.plan(Instant::now());
        for bits in clients {
            for seen in [Seen::Subnet(IpAddr::V4(bits.into())), Seen::Source(IpAddr::V4(bits.into()))] {
                let decision = moment.decide(seen);
                let regions = decision.regions.as_slice();
                prop_assert!(!regions.is_empty() && regions[0] == decision.region);
                prop_assert_eq!(regions.iter().collect::<BTreeSet<_>>().len(), regions.len());
                let place = world.atlas.locate(seen.address()).place;
                let condition = cell_at_place(&moment.view(), SERVICE, place).expect("a cell").condition;
                for region in regions {
                    let state = &world.states[region.index()];
                    match condition {
                        ServiceCondition::Normal => prop_assert!(state.effective.is_eligible() && !state.over_limit),
                        ServiceCondition::Full => prop_assert!(state.effective.is_eligible()),
                        ServiceCondition::Unproven => prop_assert_eq!(state.effective, EffectiveState::Unknown),
                        ServiceCondition::OnlyDraining => prop_assert_eq!(state.effective, EffectiveState::Drain),
                        ServiceCondition::Panic => prop_assert_eq!(state.operator_override, Override::Auto),
                        ServiceCondition::AllWithdrawn => {}
                    }
                }
            }
        }
    }

    /// People are shown what packets are answered with.
    #[test]
    fn the_way_that_is_explained_leads_to_the_regions_that_are_answered(
        policies in any_tree(ALL_KINDS),
        states in prop::collection::vec((0u8..6, 0.0f64..1.2), 6),
        clients in prop::collection::vec(prop_oneof![any::<u32>(), (10u32 << 24..11 << 24)], 12),
    ) {
        let mut world = six(policies);
        for (index, (kind, shed)) in states.iter().enumerate() {
            match kind {
                0 => world.down(index),
                1 => world.states[index].over_limit = true,
                _ => world.states[index].shed = shed.min(1.0),
            }
        }
        let moment = world.plan(Instant::now());
        for bits in clients {
            for seen in [Seen::Subnet(IpAddr::V4(bits.into())), Seen::Source(IpAddr::V4(bits.into()))] {
                let explanation = moment.explain(seen);
                let chosen = [&explanation.chosen.region].into_iter().chain(&explanation.chosen.others);
                prop_assert_eq!(chosen.clone().map(String::as_str).collect::<Vec<_>>(), answered(&world, &moment, seen));
                let chosen: BTreeSet<String> = chosen.cloned().collect();
                let passed = explanation.walk.iter().flat_map(|step| &step.children);
                let taken = passed.filter(|passed| passed.taken && passed.name.starts_with("region"));
                let taken: BTreeSet<String> = taken.map(|passed| passed.name.clone()).collect();
                prop_assert!(chosen.is_subset(&taken), "{:?} of {:#?}", chosen, explanation.walk);
                // Of a multi within a multi only the foremost counts, though it has several to give.
                let several = explanation.walk.iter().filter(|step| step.policy == "multi").count();
                if several < 2 {
                    prop_assert_eq!(&chosen, &taken, "{:#?}", explanation.walk);
                }
            }
        }
    }

    /// A region that is lost moves nobody but those who had it.
    #[test]
    fn a_lost_region_moves_only_its_own_clients_however_policies_nest(
        policies in any_tree(MOVING_NOBODY), lost in 0usize..6, clients in prop::collection::vec(any::<u32>(), 48),
    ) {
        let mut world = six(policies);
        let answers = |world: &World| -> Vec<Vec<RegionId>> {
            let moment = world.plan(Instant::now());
            let of = |&bits: &u32| moment.decide(Seen::Subnet(IpAddr::V4(bits.into()))).regions.as_slice().to_vec();
            clients.iter().map(of).collect()
        };
        let before = answers(&world);
        world.down(lost);
        let lost = RegionId(lost as u16);
        for (before, after) in before.iter().zip(answers(&world)) {
            if before.contains(&lost) {
                let kept = before.iter().filter(|region| **region != lost);
                prop_assert!(kept.clone().all(|region| after.contains(region)), "{:?} to {:?}", before, after);
            } else {
                prop_assert_eq!(before, &after);
            }
        }
    }

    /// The order of children matters where the policy says so, and nowhere else.
    #[test]
    fn the_order_of_weighted_children_is_irrelevant(
        numbers in prop::collection::vec(0.1f64..4.0, 4), turn in 0usize..4, kind in 0usize..3,
        clients in prop::collection::vec(any::<u32>(), 32),
    ) {
        let policy = |numbers: &[f64]| match kind {
            0 => Policy::Weighted(weights(numbers)),
            1 => Policy::Sticky(weights(numbers)),
            _ => Policy::Multi { answers: 2, weights: weights(numbers) },
        };
        let mut children = vec![group(0), region(1), region(2), region(3)];
        let inner = || (Policy::Failover, vec![region(0)]);
        let straight = world(tree(vec![inner(), (policy(&numbers), children.clone())]));
        children.rotate_left(turn);
        let mut turned = numbers.clone();
        turned.rotate_left(turn);
        let turned = world(tree(vec![inner(), (policy(&turned), children)]));
        let (one, other) = (straight.plan(Instant::now()), turned.plan(Instant::now()));
        for bits in clients {
            let seen = Seen::Subnet(IpAddr::V4(bits.into()));
            prop_assert_eq!(one.decide(seen).regions, other.decide(seen).regions);
        }
    }
}
