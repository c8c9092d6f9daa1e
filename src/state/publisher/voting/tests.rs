//! Stories of several vantages: what one node makes of its own probes and of the others' words.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::atlas::Atlas;
use crate::model::{Check, Coordinates, Name, Zone, ZoneId};
use crate::model::{CheckKind, Endpoint, Model, Region};
use crate::state::{EndpointNews, News, Replacement, Snapshot};
use crate::steer::health::effective::ProbeState;
use crate::steer::health::vote::RegionVote;
use crate::steer::testing::moment;
use Verdict::{Down, Suspect, Unknown, Up};

const REGIONS: usize = 4;

fn name(region: usize) -> String {
    format!("r{region}@gslb.example")
}

fn label(region: usize) -> String {
    format!("192.0.2.{region}")
}

/// Regions of one endpoint each, with these addresses beside IPv4.
fn model(kind: CheckKind, rule: VoteRule, ipv6: bool) -> Model {
    let region = |at: usize| {
        let addresses = [label(at), format!("2001:db8::{at}")];
        let addresses = addresses.iter().take(1 + usize::from(ipv6)).map(|text| text.parse().expect("an address"));
        let target = crate::model::EndpointTarget::Addresses(addresses.collect());
        let endpoint = Endpoint { target, weight: 1, layer: Default::default() };
        let place = Coordinates::new(0.0, 0.0).expect("coordinates");
        let region = Region::new(format!("r{at}"), ZoneId(0), place, vec![endpoint]);
        Region { checks: Some(Check::new(kind.clone()).into()), ..region }
    };
    let origin = Name::parse_absolute("gslb.example").expect("a name");
    Model {
        zones: vec![Zone { origin, nodes: Default::default() }],
        regions: (0..REGIONS).map(region).collect(),
        vote: rule,
        ..Model::default()
    }
}

/// A node among others.
struct Node {
    publisher: Publisher,
    now: Instant,
}

impl Node {
    fn new(model: Model) -> Node {
        let now = Instant::now();
        Node { publisher: Publisher::new(model, Atlas::empty(), "", 0, BTreeMap::new(), moment(now)), now }
    }

    fn tcp() -> Node {
        Node::new(model(CheckKind::Tcp { port: 80 }, VoteRule::Majority, false))
    }

    fn probes_part(&mut self, part: AddressPart, region: usize, verdict: Verdict) -> Urgency {
        let seen = if verdict == Up { "connected" } else { "no answer in time" };
        let news = EndpointNews {
            seen: seen.into(),
            probe: ProbeId { part, ..ProbeId::default() },
            heard: verdict == Up,
            ..EndpointNews::of_only_probe(&name(region), &label(region), verdict)
        };
        self.publisher.apply(News::Probe(news), moment(self.now))
    }

    fn probes(mut self, verdicts: &[Verdict]) -> Node {
        for (region, verdict) in verdicts.iter().enumerate() {
            self.probes_part(AddressPart::Main, region, *verdict);
        }
        self
    }

    fn hears(&mut self, others: &[(&str, Vantage)]) -> Urgency {
        let others = others.iter().map(|(name, vantage)| ((*name).to_owned(), vantage.clone())).collect();
        self.publisher.apply(News::Vantages(others), moment(self.now))
    }

    fn publishes(&mut self) -> Arc<Snapshot> {
        self.publisher.publish(moment(self.now));
        self.publisher.shared().load_full()
    }

    fn sees(&mut self) -> Vec<Verdict> {
        self.publishes().states.iter().map(|state| state.verdict).collect()
    }
}

/// The words of another node whose probes say this.
fn vantage(verdicts: &[Verdict]) -> Vantage {
    Node::tcp().probes(verdicts).publisher.own_verdicts()
}

fn probe(snapshot: &Snapshot, region: usize) -> ProbeState {
    snapshot.states[region].endpoints[0].probes[0].1.clone()
}

#[test]
fn a_majority_decides_and_says_why() {
    let mut node = Node::tcp().probes(&[Down, Up, Down, Up]);
    assert_eq!(node.sees(), [Down, Up, Down, Up]);
    let others = [("ber1", vantage(&[Down, Down, Up, Up])), ("fra1", vantage(&[Up, Down, Up, Up]))];
    assert_eq!(node.hears(&others), Urgency::Now);
    let snapshot = node.publishes();
    let verdicts: Vec<Verdict> = snapshot.states.iter().map(|state| state.verdict).collect();
    assert_eq!(verdicts, [Down, Down, Suspect, Up]);
    let told = |region| probe(&snapshot, region).last_probe.to_string();
    assert_eq!(told(0), "2 of 3 vantages say down; here: no answer in time");
    assert_eq!(told(1), "2 of 3 vantages say down; here: connected");
    assert_eq!(told(2), "1 of 3 vantages says down; here: no answer in time");
    assert_eq!(told(3), "connected", "all is well");
    assert_eq!(snapshot.states[1].endpoints[0].last_probe, told(1));
    let count = |judging, down| Some(RegionVote { judging, down });
    let counts: Vec<_> = snapshot.states.iter().map(|state| state.vote).collect();
    assert_eq!(counts, [count(3, 2), count(3, 2), count(3, 1), count(3, 0)]);
    let vantages = snapshot.vantages.clone().expect("others");
    assert_eq!(vantages.others, ["ber1".into(), "fra1".into()]);
    assert!(vantages.cut_off.is_empty() && vantages.others_cut_off.is_empty());
}

#[test]
fn one_alone_is_as_if_there_had_never_been_others() {
    let mut node = Node::tcp().probes(&[Down, Up, Suspect]);
    let before = node.publishes();
    node.hears(&[("ber1", vantage(&[Up; REGIONS]))]);
    assert_eq!(node.sees(), [Suspect, Up, Suspect, Up]);
    assert_eq!(node.hears(&[]), Urgency::Now);
    let after = node.publishes();
    // Damping remembers that regions came and went.
    let endpoints =
        |snapshot: &Snapshot| snapshot.states.iter().map(|of| format!("{:?}", of.endpoints)).collect::<Vec<_>>();
    assert_eq!(endpoints(&before), endpoints(&after));
    assert!(after.states.iter().all(|state| state.vote.is_none()));
    assert!(after.vantages.is_none());
    assert_eq!(node.hears(&[]), Urgency::None);
}

#[test]
fn even_splits_stay_answered_and_any_goes_down() {
    let others = [("ber1", vantage(&[Up; REGIONS]))];
    for (rule, expected) in [(VoteRule::Majority, Suspect), (VoteRule::Any, Down), (VoteRule::Own, Down)] {
        let mut node = Node::new(model(CheckKind::Tcp { port: 80 }, rule, false)).probes(&[Down, Up, Up, Up]);
        node.hears(&others);
        assert_eq!(node.sees()[0], expected, "{rule:?}");
    }
    let mut own = Node::new(model(CheckKind::Tcp { port: 80 }, VoteRule::Own, false)).probes(&[Up; REGIONS]);
    assert_eq!(own.hears(&[("ber1", vantage(&[Down, Up, Up, Up]))]), Urgency::Soon);
    assert!(own.publishes().vantages.is_none());
}

#[test]
fn what_changes_no_verdict_is_not_urgent() {
    let mut node = Node::tcp().probes(&[Down, Up, Up, Up]);
    let down = vantage(&[Down, Up, Up, Up]);
    assert_eq!(node.hears(&[("ber1", down.clone())]), Urgency::Soon, "down as before");
    assert_eq!(node.hears(&[("ber1", down.clone())]), Urgency::None, "the same words");
    assert_eq!(node.hears(&[("ber1", down), ("fra1", vantage(&[Up; REGIONS]))]), Urgency::Soon, "two of three");
}

#[test]
fn a_common_verdict_has_an_age_of_its_own() {
    let mut node = Node::tcp().probes(&[Down, Up, Up, Up]);
    let began = node.now;
    node.now += Duration::from_secs(60);
    let later = node.now;
    let since = |node: &mut Node| {
        let probe = probe(&node.publishes(), 0);
        (probe.verdict, probe.since)
    };
    node.hears(&[("ber1", vantage(&[Down, Up, Up, Up]))]);
    assert_eq!(since(&mut node), (Some(Down), Some(began)));
    node.hears(&[("ber1", vantage(&[Up; REGIONS]))]);
    assert_eq!(since(&mut node), (Some(Suspect), Some(later)));
    node.now += Duration::from_secs(60);
    assert_eq!(since(&mut node), (Some(Suspect), Some(later)), "as before");
}

#[test]
fn a_node_that_knows_nothing_goes_by_the_others_and_one_that_is_new_to_them_by_itself() {
    let mut node = Node::tcp();
    node.hears(&[("ber1", vantage(&[Down, Up, Up]))]);
    assert_eq!(node.sees(), [Down, Up, Up, Unknown], "nobody can judge the last");
    let snapshot = node.publishes();
    assert_eq!(&*probe(&snapshot, 0).last_probe, "1 of 1 vantage says down; here: not probed yet");
    // They have other endpoints there, or do not know the region.
    let mut other = model(CheckKind::Tcp { port: 80 }, VoteRule::Majority, false);
    other.regions[0].endpoints.push(Endpoint::at("198.51.100.1".parse().expect("an address")));
    let mut node = Node::new(other).probes(&[Up; REGIONS]);
    node.hears(&[("ber1", vantage(&[Down, Up, Up, Up])), ("fra1", vantage(&[Down, Up, Up, Up]))]);
    assert_eq!(node.sees()[0], Up);
}

#[test]
fn whoever_hears_the_heartbeats_decides_and_the_others_are_not_cut_off() {
    let push = CheckKind::Push { max_age: Duration::from_secs(30) };
    let of = |verdicts: &[Verdict]| Node::new(model(push.clone(), VoteRule::Majority, false)).probes(verdicts);
    let deaf = of(&[Down; REGIONS]).publisher.own_verdicts();
    let mut node = of(&[Down; REGIONS]);
    node.hears(&[("ber1", deaf.clone()), ("fra1", of(&[Up, Up, Up, Down]).publisher.own_verdicts())]);
    assert_eq!(node.sees(), [Up, Up, Up, Down]);
    let snapshot = node.publishes();
    assert_eq!(&*probe(&snapshot, 0).last_probe, "up by 1 of 3 vantages; here: no answer in time");
    let vantages = snapshot.vantages.clone().expect("others");
    assert!(vantages.cut_off.is_empty() && vantages.others_cut_off.is_empty(), "{vantages:?}");
}

#[test]
fn a_node_that_lost_its_network_does_not_vote_and_knows() {
    let up = vantage(&[Up; REGIONS]);
    let mut node = Node::tcp().probes(&[Down, Down, Down, Up]);
    node.hears(&[("ber1", up.clone()), ("fra1", up.clone())]);
    assert_eq!(node.sees(), [Up; REGIONS]);
    let snapshot = node.publishes();
    assert_eq!(&*probe(&snapshot, 0).last_probe, "up by 2 of 2 vantages; here, cut off: no answer in time");
    let vantages = snapshot.vantages.clone().expect("others");
    let [own] = &*vantages.cut_off else { panic!("{vantages:?}") };
    assert_eq!((own.family(), own.since), ("IPv4", node.now));
    assert_eq!(own.why.told(), "it sees 3 of 4 endpoints down that 2 others see up");
    // The others come to the same.
    let lost = node.publisher.own_verdicts();
    let mut other = Node::tcp().probes(&[Up; REGIONS]);
    other.hears(&[("ber1", up), ("ams1", lost)]);
    assert_eq!(other.sees(), [Up; REGIONS]);
    let vantages = other.publishes().vantages.clone().expect("others");
    assert_eq!((vantages.cut_off.len(), &*vantages.others_cut_off), (0, &["ams1".into()][..]));
}

#[test]
fn a_node_without_ipv6_still_judges_ipv4() {
    let dual = || Node::new(model(CheckKind::Tcp { port: 80 }, VoteRule::Majority, true));
    let all = |mut node: Node, ipv4: [Verdict; REGIONS], ipv6: [Verdict; REGIONS]| {
        for region in 0..REGIONS {
            node.probes_part(AddressPart::Main, region, ipv4[region]);
            node.probes_part(AddressPart::Ipv6, region, ipv6[region]);
        }
        node
    };
    let up = all(dual(), [Up; REGIONS], [Up; REGIONS]).publisher.own_verdicts();
    let agrees = all(dual(), [Down, Up, Up, Up], [Up; REGIONS]).publisher.own_verdicts();
    let mut node = all(dual(), [Down, Up, Up, Up], [Down; REGIONS]);
    node.hears(&[("ber1", up), ("fra1", agrees)]);
    let snapshot = node.publishes();
    let cut_off = snapshot.vantages.clone().expect("others").cut_off.clone();
    assert_eq!(cut_off.iter().map(OwnCutOff::family).collect::<Vec<_>>(), ["IPv6"]);
    assert_eq!(snapshot.states[0].verdict, Down, "its word on IPv4 counts: two of three");
    assert!(snapshot.states.iter().all(|state| state.ipv6 == Some(Up) && !state.ipv6_doubted));
}

#[test]
fn ipv6_that_is_down_for_others_as_well_is_not_doubted() {
    let dual = || {
        let mut node = Node::new(model(CheckKind::Tcp { port: 80 }, VoteRule::Majority, true)).probes(&[Up; REGIONS]);
        (0..REGIONS).for_each(|region| _ = node.probes_part(AddressPart::Ipv6, region, Down));
        node
    };
    let mut node = dual();
    assert!(node.publishes().states[0].ipv6_doubted);
    node.hears(&[("ber1", dual().publisher.own_verdicts())]);
    let state = node.publishes().states[0].clone();
    assert_eq!((state.ipv6, state.ipv6_doubted), (Some(Down), false));
}

#[test]
fn own_verdicts_are_exceptions_alone_and_stay_apart_from_the_vote() {
    let mut node = Node::tcp();
    let verdicts =
        |vantage: &Vantage, region| vantage.exceptions.get(&*name(region)).map(|of| of[&*label(region)].clone());
    let listed = |verdict| Some(BTreeMap::from([(ProbeId::default(), verdict)]));
    assert_eq!(verdicts(&node.publisher.own_verdicts(), 0), listed(Unknown), "not probed yet");
    node = node.probes(&[Up, Down, Up, Suspect]);
    let before = node.publisher.own_verdicts();
    assert_eq!((verdicts(&before, 0), verdicts(&before, 1)), (None, listed(Down)));
    assert_eq!(before.exceptions.len(), 2);
    let kept = node.publisher.kept_health(&moment(node.now)).taken_down();
    let endpoints = |node: &Node| {
        let kept = node.publisher.kept_health(&moment(node.now));
        kept.regions.iter().map(|of| of.endpoints.clone()).collect::<Vec<_>>()
    };
    let own = endpoints(&node);
    node.hears(&[("ber1", vantage(&[Down, Up, Down, Up])), ("fra1", vantage(&[Down, Up, Up, Up]))]);
    assert_eq!(node.sees(), [Down, Suspect, Suspect, Suspect]);
    assert_eq!(node.publisher.own_verdicts(), before);
    assert_eq!(endpoints(&node), own, "a restart knows what its own probes said");
    assert!(kept.regions.is_empty());
    let snapshot = node.publishes();
    assert_eq!(probe(&snapshot, 1).own_verdict(), (Some(Down), Some(node.now)));
    assert!(Arc::ptr_eq(&node.publisher.own_verdicts().judges, &before.judges));
}

#[test]
fn a_reload_goes_on_with_the_votes_on_what_is_still_there() {
    let mut node = Node::tcp().probes(&[Up; REGIONS]);
    node.hears(&[("ber1", vantage(&[Down, Up, Up, Up])), ("fra1", vantage(&[Down, Up, Up, Up]))]);
    assert_eq!(node.sees()[0], Down);
    let mut fewer = model(CheckKind::Tcp { port: 80 }, VoteRule::Majority, false);
    fewer.regions.pop();
    let reload = Replacement { model: fewer, atlas: Some(Atlas::empty()), nsid: String::new(), seed: 0 };
    node.publisher.apply(News::Reload(Box::new(reload)), moment(node.now));
    assert_eq!(node.sees(), [Down, Up, Up]);
}

fn any_verdicts() -> impl Strategy<Value = Vec<Verdict>> {
    prop::collection::vec(prop_oneof![Just(Up), Just(Suspect), Just(Unknown), Just(Down)], REGIONS)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn one_that_lies_among_three_takes_nothing_down_and_brings_nothing_back(agreed in any_verdicts(), lie in any_verdicts()) {
        let mut node = Node::tcp().probes(&agreed);
        node.hears(&[("honest", vantage(&agreed)), ("liar", vantage(&lie))]);
        for (seen, agreed) in node.sees().into_iter().zip(agreed).filter(|(_, agreed)| *agreed != Unknown) {
            prop_assert_eq!(seen.serves(), agreed.serves());
        }
    }

    #[test]
    fn every_node_comes_to_the_same(of in prop::collection::vec(any_verdicts(), 3)) {
        let seen = |own: usize| {
            let mut node = Node::tcp().probes(&of[own]);
            let others: Vec<_> = ["a", "b", "c"].into_iter().enumerate().filter(|(at, _)| *at != own).collect();
            let others: Vec<_> = others.into_iter().map(|(at, name)| (name, vantage(&of[at]))).collect();
            node.hears(&others);
            node.sees()
        };
        let first = seen(0);
        for (own, at) in [1, 2].into_iter().flat_map(|own| (0..REGIONS).map(move |at| (own, at))) {
            // Where nobody can judge, each has its own word.
            if of.iter().any(|verdicts| verdicts[at] != Unknown) && first[at] != Unknown {
                let seen = seen(own)[at];
                prop_assert!(seen == first[at] || seen == Unknown, "{:?} {:?}", seen, first[at]);
            }
        }
    }

    #[test]
    fn one_that_is_cut_off_changes_nothing(
        lost in prop::collection::vec(prop_oneof![5 => Just(Down), 1 => Just(Up), 1 => Just(Unknown)], REGIONS),
        others in prop::collection::vec(prop_oneof![5 => Just(Up), 1 => Just(Down), 1 => Just(Suspect)], REGIONS),
    ) {
        let (first, second) = (vantage(&others), vantage(&others));
        let mut node = Node::tcp().probes(&lost);
        node.hears(&[("ber1", first.clone()), ("fra1", second)]);
        let with = node.publishes();
        prop_assume!(!with.vantages.as_ref().expect("others").cut_off.is_empty());
        let mut without = Node::tcp().probes(&others);
        without.hears(&[("ber1", first)]);
        let with: Vec<Verdict> = with.states.iter().map(|state| state.verdict).collect();
        for (at, seen) in without.sees().into_iter().enumerate().filter(|(at, _)| others[*at] != Unknown) {
            prop_assert_eq!(seen, with[at]);
        }
    }
}
