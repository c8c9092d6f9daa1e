//! Stories of degraded regions, told to a publisher as balancers and probes tell it, in virtual time.

use std::collections::BTreeMap;

use super::*;
use crate::atlas::Atlas;
use crate::model::{
    Check, CheckKind, Coordinates, LoadReport, Model, Name, Policy, RegionId, SaidDown, Service, SlowProbes, Zone,
    ZoneId,
};
use crate::state::{EndpointNews, HealthNews, News, Publisher, Replacement, Urgency};
use crate::steer::health::effective::{EffectiveState, RegionState};
use crate::steer::health::verdict::Verdict;
use crate::steer::testing::moment;

const S: Duration = Duration::from_secs(1);

/// Regions `r0`, `r1`, … of two endpoints each, all up; time is told in seconds since the begin.
struct Story {
    publisher: Publisher,
    began: Instant,
}

fn model(regions: u8, rule: Option<HealthRule>) -> Model {
    let origin = Name::parse_absolute("gslb.example").expect("a name");
    let region = |index: u8| {
        let endpoint = |host: u8| Endpoint::at([192, 0, index, host].into());
        let at = Coordinates::new(0.0, 0.0).expect("coordinates");
        Region {
            capacity: Some(100.0),
            checks: Some(Check::new(CheckKind::Tcp { port: 80 }).into()),
            load_report: Some(LoadReport { health: rule.clone(), ..LoadReport::pushed(10 * S) }),
            slow_probes: Some(SlowProbes { above: Duration::from_millis(300), offer: 0.5 }),
            ..Region::new(format!("r{index}"), ZoneId(0), at, vec![endpoint(1), endpoint(2)])
        }
    };
    let name = Name::parse("www", &origin).expect("a name");
    let all = (0..u16::from(regions)).map(RegionId).collect();
    Model {
        regions: (0..regions).map(region).collect(),
        services: vec![Service::flat(name, ZoneId(0), Policy::Failover, all)],
        zones: vec![Zone { origin, nodes: Default::default() }],
        ..Model::default()
    }
}

fn withdrawing() -> HealthRule {
    HealthRule { down: SaidDown::Withdraw, ..HealthRule::default() }
}

fn servers(up: f64) -> BalancerHealth {
    BalancerHealth { up: Some(up), servers: Some(4), ..BalancerHealth::default() }
}

fn down() -> BalancerHealth {
    BalancerHealth { down: true, ..servers(0.0) }
}

impl Story {
    fn begin(regions: u8, rule: HealthRule) -> Story {
        let began = Instant::now();
        let model = model(regions, Some(rule));
        let mut publisher = Publisher::new(model, Atlas::empty(), "", 0, BTreeMap::new(), moment(began));
        publisher.assume_up(moment(began));
        Story { publisher, began }
    }

    fn says(&mut self, second: u32, region: usize, outcome: Result<BalancerHealth, String>) -> Urgency {
        let at = self.began + S * second;
        let news = HealthNews { region: format!("r{region}@gslb.example").into(), at, outcome };
        let urgency = self.publisher.apply(News::Health(news), moment(at));
        self.publisher.publish(moment(at));
        urgency
    }

    fn probe(&mut self, second: u32, endpoint: &str, verdict: Verdict, total_ms: Option<f64>) {
        let at = self.began + S * second;
        let news = EndpointNews { total_ms, ..EndpointNews::of_only_probe("r0@gslb.example", endpoint, verdict) };
        self.publisher.apply(News::Probe(news), moment(at));
        self.publisher.publish(moment(at));
    }

    fn passes(&mut self, second: u32) {
        self.publisher.publish(moment(self.began + S * second));
    }

    fn states(&self) -> Vec<RegionState> {
        self.publisher.shared().load().states.clone()
    }

    fn effective(&self) -> Vec<EffectiveState> {
        self.states().iter().map(|state| state.effective).collect()
    }

    /// What the first region offers, and why.
    fn offered(&self) -> (f64, Vec<String>) {
        let state = &self.states()[0];
        (state.offered, state.degraded.why.iter().map(ToString::to_string).collect())
    }
}

#[test]
fn what_a_balancer_says_of_its_servers_takes_capacity_and_not_the_region() {
    let mut story = Story::begin(1, HealthRule::default());
    assert_eq!(story.offered(), (1.0, vec![]));
    assert_eq!(story.says(10, 0, Ok(servers(0.5))), Urgency::Soon);
    assert_eq!(story.offered(), (0.8, vec!["2 of 4 servers up".to_owned()]));
    story.says(20, 0, Ok(down()));
    story.says(30, 0, Ok(down()));
    assert_eq!(story.offered(), (0.5, vec!["says it is down, 0 of 4 servers up".to_owned()]));
    assert_eq!((story.effective(), story.states()[0].verdict), (vec![EffectiveState::Up], Verdict::Up));
}

#[test]
fn a_word_that_went_stale_has_no_say_and_silence_takes_no_region_down() {
    let mut story = Story::begin(2, withdrawing());
    story.says(10, 0, Ok(down()));
    assert_eq!(story.effective(), [EffectiveState::Up; 2], "once is not enough");
    assert_eq!(story.says(20, 0, Ok(down())), Urgency::Now);
    assert_eq!(story.effective(), [EffectiveState::Down, EffectiveState::Up]);
    assert_eq!(story.publisher.next_change(story.began + 21 * S), Some(story.began + 50 * S), "it is looked at again");
    story.passes(50);
    assert_eq!(story.effective(), [EffectiveState::Up; 2]);
    let state = &story.states()[0];
    assert_eq!((state.degraded.factor, state.offered), (1.0, 0.1), "it comes back as any other");
}

#[test]
fn a_report_that_cannot_be_read_leaves_the_last_word_and_says_so() {
    let mut story = Story::begin(1, HealthRule::default());
    story.says(10, 0, Ok(servers(0.5)));
    story.says(20, 0, Err("no backend `web` in the report".to_owned()));
    let why = vec!["2 of 4 servers up".to_owned(), "health not read: no backend `web` in the report".to_owned()];
    assert_eq!(story.offered(), (0.8, why.clone()));
    story.passes(40);
    assert_eq!(story.offered(), (1.0, why[1..].to_vec()));
}

#[test]
fn regions_that_balancers_withdraw_at_once_are_held_as_those_by_probes() {
    let mut story = Story::begin(4, withdrawing());
    for (second, region) in [(10, 1), (11, 2), (12, 3), (20, 1), (21, 2), (22, 3)] {
        story.says(second, region, Ok(down()));
    }
    use EffectiveState::{Down, Suspect, Up};
    assert_eq!(story.effective(), [Up, Down, Down, Suspect], "half of a zone's regions in a minute");
    assert!(story.states()[3].stability.held_until.is_some());
}

#[test]
fn slow_probes_take_capacity_while_the_region_is_up() {
    let mut story = Story::begin(1, HealthRule::default());
    for second in 1..=3 {
        story.probe(second, "192.0.0.1", Verdict::Up, Some(412.0));
        story.probe(second, "192.0.0.1", Verdict::Up, None);
    }
    assert_eq!(
        story.offered(),
        (0.75, vec!["1 of 2 slow: 412 ms above 300 ms".to_owned()]),
        "one of two, failures aside"
    );
    story.probe(4, "192.0.0.2", Verdict::Down, None);
    assert_eq!(story.offered(), (0.5, vec!["slow: 412 ms above 300 ms".to_owned()]), "the one that serves");
    story.says(10, 0, Ok(servers(0.5)));
    assert_eq!(story.offered().0, 0.4, "both together");
    (11..=13).for_each(|second| story.probe(second, "192.0.0.1", Verdict::Up, Some(200.0)));
    assert_eq!((story.offered().0, story.effective()), (0.8, vec![EffectiveState::Up]));
}

#[test]
fn a_reload_that_asks_no_more_forgets() {
    let mut story = Story::begin(1, withdrawing());
    (1..=3).for_each(|second| story.probe(second, "192.0.0.1", Verdict::Up, Some(412.0)));
    story.says(10, 0, Ok(down()));
    story.says(20, 0, Ok(down()));
    assert!(story.states()[0].verdict == Verdict::Down && story.states()[0].degraded.why.len() == 2);
    let mut without = model(1, None);
    without.regions[0].slow_probes = None;
    let replacement = Replacement { model: without, atlas: Some(Atlas::empty()), nsid: String::new(), seed: 0 };
    story.publisher.apply(News::Reload(Box::new(replacement)), moment(story.began + 21 * S));
    story.passes(21);
    let state = &story.states()[0];
    assert_eq!((state.verdict, &state.degraded), (Verdict::Up, &Degraded::default()));
    let again =
        Replacement { model: model(1, Some(withdrawing())), atlas: Some(Atlas::empty()), nsid: String::new(), seed: 0 };
    story.publisher.apply(News::Reload(Box::new(again)), moment(story.began + 22 * S));
    story.passes(22);
    assert_eq!(story.states()[0].degraded, Degraded::default());
}
