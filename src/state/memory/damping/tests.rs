//! Stories of regions that fall, come back and are drained, told to a publisher in virtual time.

use std::collections::BTreeSet;

use super::*;
use crate::atlas::Atlas;
use crate::model::{
    Check, CheckKind, Child, Coordinates, Dependencies, Dependency, Endpoint, GeoPlace, Group, GroupId, LoadReport,
    MaxWithdrawn, Most, Name, Policy, Region, Resume, Rule, Service, ServiceId, Zone, ZoneId,
};
use crate::state::{EndpointNews, LoadNews, News, Publisher, Replacement};
use crate::steer::health::verdict::Verdict;
use crate::steer::policy::eligible::ServiceCondition;
use crate::steer::testing::moment;

const S: Duration = Duration::from_secs(1);

/// Regions `r0`, `r1`, … of the zone `gslb.example`, all up; time is told in seconds since the begin.
struct Story {
    publisher: Publisher,
    began: Instant,
}

fn name(region: usize) -> String {
    format!("r{region}@gslb.example")
}

fn region(index: usize) -> Region {
    let address = format!("192.0.2.{index}").parse().expect("an address");
    let at = Coordinates::new(0.0, 0.0).expect("coordinates");
    Region {
        capacity: Some(100.0),
        checks: Some(Check::new(CheckKind::Tcp { port: 80 }).into()),
        load_report: Some(LoadReport::pushed(10 * S)),
        ..Region::new(format!("r{index}"), ZoneId(0), at, vec![Endpoint::at(address)])
    }
}

/// A service over each list of regions.
fn model(services: &[&[usize]]) -> Model {
    let origin = Name::parse_absolute("gslb.example").expect("a name");
    let regions = services.iter().copied().flatten().max().map_or(0, |most| most + 1);
    let service = |(number, of): (usize, &&[usize])| {
        let name = Name::parse(&format!("www{number}"), &origin).expect("a name");
        let regions = of.iter().map(|&index| RegionId(index as u16)).collect();
        Service::flat(name, ZoneId(0), Policy::Failover, regions)
    };
    Model {
        regions: (0..regions).map(region).collect(),
        services: services.iter().enumerate().map(service).collect(),
        zones: vec![Zone { origin, nodes: Default::default() }],
        ..Model::default()
    }
}

fn reload(model: Model) -> News {
    News::Reload(Box::new(Replacement { model, atlas: Some(Atlas::empty()), nsid: String::new(), seed: 0 }))
}

impl Story {
    fn of(services: &[&[usize]]) -> Story {
        Story::begin(model(services), BTreeMap::new())
    }

    fn begin(model: Model, overrides: BTreeMap<String, Override>) -> Story {
        let began = Instant::now();
        let mut publisher = Publisher::new(model, Atlas::empty(), "", 0, overrides, moment(began));
        publisher.assume_up(moment(began));
        Story { publisher, began }
    }

    fn at(&self, seconds: f64) -> Instant {
        self.began + Duration::from_secs_f64(seconds)
    }

    fn probe(&mut self, seconds: f64, region: usize, verdict: Verdict) -> &mut Story {
        self.hear(seconds, region, verdict);
        self.publish(seconds)
    }

    fn hear(&mut self, seconds: f64, region: usize, verdict: Verdict) {
        let news = EndpointNews::of_only_probe(&name(region), &format!("192.0.2.{region}"), verdict);
        self.publisher.apply(News::Probe(news), moment(self.at(seconds)));
    }

    fn down(&mut self, seconds: f64, region: usize) -> &mut Story {
        self.probe(seconds, region, Verdict::Down)
    }

    fn up(&mut self, seconds: f64, region: usize) -> &mut Story {
        self.probe(seconds, region, Verdict::Up)
    }

    fn say(&mut self, seconds: f64, region: usize, operator_override: Override) -> &mut Story {
        self.publisher.apply(News::set_override(name(region), operator_override), moment(self.at(seconds)));
        self.publish(seconds)
    }

    fn report(&mut self, seconds: f64, region: usize, load: f64) -> &mut Story {
        let news = LoadNews { region: name(region).into(), at: self.at(seconds), outcome: Ok((load, None)) };
        self.publisher.apply(News::Load(news), moment(self.at(seconds)));
        self.publish(seconds)
    }

    fn publish(&mut self, seconds: f64) -> &mut Story {
        self.publisher.publish(moment(self.at(seconds)));
        self
    }

    fn snapshot(&self) -> std::sync::Arc<Snapshot> {
        self.publisher.shared().load_full()
    }

    fn state(&self, region: usize) -> RegionState {
        self.snapshot().states[region].clone()
    }

    fn effective_states(&self) -> Vec<&'static str> {
        self.snapshot().states.iter().map(|state| state.effective.as_str()).collect()
    }

    /// The offer in tenths.
    fn offer(&self, region: usize) -> f64 {
        (self.state(region).offered * 10.0).round()
    }

    /// Publishes whenever something is due, until then; says when.
    fn run(&mut self, from: f64, until: f64) -> Vec<f64> {
        let mut at = from;
        let mut woken = Vec::new();
        while let Some(next) = self.publisher.next_change(self.at(at)).filter(|&next| next <= self.at(until)) {
            at = (next - self.began).as_secs_f64();
            self.publisher.publish(moment(next));
            woken.push(at);
            assert!(woken.len() < 1_000, "it never rests: {woken:?}");
        }
        woken
    }

    fn seconds(&self, at: Option<Instant>) -> Option<f64> {
        Some((at?.duration_since(self.began).as_secs_f64() * 10.0).round() / 10.0)
    }
}

// ---------------------------------------------------------------------------------------------
// Slow start

#[test]
fn a_region_that_comes_back_is_given_its_clients_step_by_step() {
    let mut story = Story::of(&[&[0, 1]]);
    assert_eq!(story.state(0).offered, 1.0, "what is up with the first round was never away");
    story.down(100.0, 0);
    assert_eq!(story.state(0).offered, 1.0);
    story.up(200.0, 0);
    assert_eq!(story.offer(0), 1.0);
    let woken = story.run(200.0, 390.0);
    assert_eq!(woken, (1..=9).map(|n| 200.0 + 20.0 * f64::from(n)).collect::<Vec<_>>());
    assert_eq!(story.state(0).offered, 1.0);
    assert_eq!(story.state(1).offered, 1.0);
}

#[test]
fn falling_again_begins_the_slow_start_anew() {
    let mut story = Story::of(&[&[0, 1]]);
    story.publisher.apply(News::set_override(name(0), Override::Auto), moment(story.began));
    story.down(0.0, 0).up(100.0, 0).publish(250.0);
    assert_eq!(story.offer(0), 8.0);
    story.down(400.0, 0).up(700.0, 0);
    assert_eq!(story.offer(0), 1.0);
}

#[test]
fn a_suspicion_that_passes_changes_no_offer() {
    let mut story = Story::of(&[&[0, 1]]);
    story.probe(1.0, 0, Verdict::Suspect).up(2.0, 0);
    assert_eq!(story.state(0).offered, 1.0);
    story.down(10.0, 0).up(20.0, 0).probe(60.0, 0, Verdict::Suspect);
    assert_eq!(story.offer(0), 3.0);
}

#[test]
fn back_from_an_override_is_back_too() {
    for said in [Override::Down, Override::Drain] {
        let mut story = Story::of(&[&[0, 1]]);
        story.say(1.0, 0, said).say(50.0, 0, Override::Auto);
        assert_eq!(story.offer(0), 1.0, "{said:?}");
        assert_eq!(story.seconds(story.state(0).stability.back_since), Some(50.0));
    }
}

#[test]
fn out_for_less_than_its_answers_live_is_hardly_out() {
    for said in [Override::Down, Override::Drain] {
        let mut story = Story::of(&[&[0, 1]]);
        story.say(1.0, 0, said).probe(5.0, 0, Verdict::Suspect).up(6.0, 0).say(30.0, 0, Override::Auto);
        assert_eq!(story.state(0).offered, 1.0, "{said:?}: answers that name it still live");
        story.say(100.0, 0, said).say(130.0, 0, Override::Auto);
        assert_eq!(story.offer(0), 1.0, "{said:?}: the last has run out");
    }
}

#[test]
fn a_slow_start_goes_on_after_a_short_word_of_the_operator() {
    let mut story = Story::of(&[&[0, 1]]);
    story.down(0.0, 0).up(100.0, 0).publish(145.0);
    assert_eq!(story.offer(0), 3.0);
    story.say(145.0, 0, Override::Drain).say(165.0, 0, Override::Auto);
    assert_eq!(story.offer(0), 3.0, "from where it was");
    let woken = story.run(165.0, 310.0);
    assert_eq!(woken, [180.0, 200.0, 220.0, 240.0, 260.0, 280.0, 300.0], "as much later as it was out");
    assert_eq!(story.state(0).offered, 1.0);
    story.say(310.0, 0, Override::Drain).say(315.0, 0, Override::Auto);
    assert_eq!(story.state(0).offered, 1.0, "over is over");
}

#[test]
fn what_its_probes_took_down_has_lost_its_clients_however_short_it_was() {
    let mut story = Story::of(&[&[0, 1]]);
    story.down(1.0, 0).up(5.0, 0);
    assert_eq!(story.offer(0), 1.0);
    // Also under an operator's word.
    let mut story = Story::of(&[&[0, 1]]);
    story.say(1.0, 0, Override::Drain).down(5.0, 0).up(10.0, 0).say(15.0, 0, Override::Auto);
    assert_eq!(story.offer(0), 1.0);
}

#[test]
fn what_was_answered_all_along_has_no_slow_start() {
    // In panic, and for want of others that are not drained.
    let mut story = Story::of(&[&[0, 1]]);
    story.down(1.0, 0).down(1.0, 1);
    assert_eq!(story.snapshot().plan.services[0].standing.condition, ServiceCondition::Panic);
    story.up(9.0, 0);
    assert_eq!(story.state(0).offered, 1.0);
    story.up(9.1, 1);
    assert_eq!(story.offer(1), 1.0, "out since the first was back");
    let mut story = Story::of(&[&[0]]);
    story.say(1.0, 0, Override::Drain).say(9.0, 0, Override::Auto);
    assert_eq!(story.state(0).offered, 1.0);
}

/// Some clients never leave the first region.
fn fenced() -> Model {
    let mut model = model(&[&[0, 1, 2]]);
    let tree = &mut model.services[0].policies;
    let clients = BTreeSet::from([GeoPlace::Network("10.82.0.0/17".parse().expect("a prefix"))]);
    tree.rules = vec![Rule { clients, group: GroupId(tree.groups.len() as u16), fence: true }];
    let children = vec![Child::Region(RegionId(0))];
    tree.groups.push(Group { name: "rule 1".into(), policy: Policy::Failover, children });
    model
}

#[test]
fn a_fence_that_has_run_out_needs_its_own_regions_and_no_others() {
    let mut story = Story::begin(fenced(), BTreeMap::new());
    story.down(1.0, 0).down(2.0, 1);
    let plan = &story.snapshot().plan.services[0];
    assert_eq!((plan.standing.condition, plan.standing.fences_out.len()), (ServiceCondition::Normal, 1));
    story.up(50.0, 0).up(51.0, 1);
    assert_eq!(story.state(0).offered, 1.0, "the fence's clients had it all along");
    assert_eq!(story.offer(1), 1.0, "nobody had this one");
}

#[test]
fn no_slow_start_is_a_setting() {
    let mut at_once = model(&[&[0, 1]]);
    at_once.regions[0].slow_start = Duration::ZERO;
    let mut story = Story::begin(at_once, BTreeMap::new());
    story.down(1.0, 0).up(20.0, 0);
    assert_eq!(story.state(0).offered, 1.0);
}

#[test]
fn every_step_is_a_plan_and_nothing_else_is() {
    let mut story = Story::of(&[&[0, 1]]);
    story.down(0.0, 0).up(100.0, 0);
    let table = |story: &Story| story.snapshot().plan.services[0].table.clone();
    let (first, offered) = (table(&story), story.state(0).offered);
    story.publish(110.0);
    assert_eq!(story.state(0).offered, offered);
    story.publish(120.0);
    assert!(story.state(0).offered > offered, "more of it is planned with");
    assert!(std::sync::Arc::ptr_eq(&first, &table(&story)), "and whoever had it has it still");
}

// ---------------------------------------------------------------------------------------------
// Damping

#[test]
fn a_flapping_region_stays_out_until_it_has_been_quiet() {
    let mut story = Story::of(&[&[0, 1]]);
    story.down(0.0, 0).up(20.0, 0);
    assert_eq!(story.effective_states(), ["up", "up"], "once is no flapping");
    story.down(60.0, 0).up(80.0, 0);
    let state = story.state(0);
    assert_eq!((state.effective, state.verdict), (EffectiveState::Down, Verdict::Up));
    // A penalty of 1 + 2^(-60/300) = 1.87: 300 s × log2(1.87 / 1.6) after the second fall.
    assert_eq!(story.seconds(state.stability.damped_until), Some(127.6));
    story.run(80.0, 127.0);
    assert_eq!(story.effective_states(), ["down", "up"]);
    story.run(127.0, 128.0);
    assert_eq!((story.effective_states(), story.offer(0)), (vec!["up", "up"], 1.0));
    assert_eq!(story.state(0).stability.damped_until, None);
}

#[test]
fn falls_while_damped_keep_it_out_longer() {
    let mut story = Story::of(&[&[0, 1]]);
    story.down(0.0, 0).up(20.0, 0).down(40.0, 0).up(60.0, 0).down(80.0, 0).up(100.0, 0);
    assert_eq!(story.effective_states(), ["down", "up"]);
    assert!(story.seconds(story.state(0).stability.damped_until) > Some(300.0));
}

#[test]
fn damping_never_takes_the_only_region_that_answers() {
    let mut story = Story::of(&[&[0, 1]]);
    story.down(0.0, 0).up(20.0, 0).down(40.0, 0).up(60.0, 0);
    assert_eq!(story.effective_states(), ["down", "up"]);
    story.down(70.0, 1);
    assert_eq!(story.effective_states(), ["up", "down"], "the damped one answers its probes");
    assert_eq!(story.snapshot().plan.services[0].standing.condition, ServiceCondition::Normal);
    story.up(90.0, 1);
    assert_eq!(story.effective_states(), ["down", "up"]);
    // Nor beside one that drains.
    story.say(95.0, 1, Override::Drain);
    assert_eq!(story.effective_states(), ["up", "drain"]);
}

#[test]
fn an_operator_who_has_looked_ends_the_damping() {
    let mut story = Story::of(&[&[0, 1]]);
    story.down(0.0, 0).up(20.0, 0).down(40.0, 0).up(60.0, 0);
    story.say(61.0, 0, Override::Up);
    assert_eq!(story.effective_states(), ["up", "up"]);
    story.say(62.0, 0, Override::Auto);
    assert_eq!(story.effective_states(), ["up", "up"], "forgiven");
}

#[test]
fn damping_can_be_turned_off() {
    let mut undamped = model(&[&[0, 1]]);
    undamped.steering.damping = None;
    let mut story = Story::begin(undamped, BTreeMap::new());
    for n in 0..10 {
        story.down(f64::from(n) * 10.0, 0).up(f64::from(n) * 10.0 + 5.0, 0);
        assert_eq!(story.effective_states(), ["up", "up"]);
    }
}

#[test]
fn the_past_survives_a_reload_that_renumbers() {
    let mut story = Story::of(&[&[0, 1]]);
    story.down(0.0, 0).up(20.0, 0).down(40.0, 0).up(60.0, 0);
    let mut turned = model(&[&[0, 1]]);
    turned.regions.reverse();
    story.publisher.apply(reload(turned), moment(story.at(61.0)));
    story.publish(61.0);
    assert_eq!(story.effective_states(), ["up", "down"]);
    story.publisher.apply(reload(model(&[&[0]])), moment(story.at(62.0)));
    story.publisher.apply(reload(model(&[&[0, 1]])), moment(story.at(62.0)));
    story.publish(62.0);
    assert_eq!(story.state(1).stability.flaps, Flaps::default(), "what was gone is forgotten");
}

// ---------------------------------------------------------------------------------------------
// Manual resume and failback delay

fn with(services: &[&[usize]], region: usize, change: impl Fn(&mut Region)) -> Model {
    let mut model = model(services);
    change(&mut model.regions[region]);
    model
}

/// Of these services, the first region is let back by an operator alone.
fn manual(services: &[&[usize]]) -> Story {
    Story::begin(with(services, 0, |region| region.resume = Resume::Manual), BTreeMap::new())
}

/// The first region is back ten minutes after its probes say so.
fn delayed(services: &[&[usize]]) -> Story {
    Story::begin(with(services, 0, |region| region.failback_delay = 600 * S), BTreeMap::new())
}

#[test]
fn a_region_with_manual_resume_stays_out_until_an_operator_says_something() {
    for said in [Override::Auto, Override::Up] {
        let mut story = manual(&[&[0, 1]]);
        assert_eq!(story.effective_states(), ["up", "up"], "its first success is no return");
        story.down(10.0, 0);
        assert!(story.state(0).stability.awaits_resume.is_some() && !story.state(0).waits_for_resume());
        story.up(20.0, 0);
        let state = story.state(0);
        assert_eq!((state.effective, state.verdict), (EffectiveState::Down, Verdict::Up));
        assert_eq!(story.seconds(state.stability.awaits_resume), Some(10.0));
        assert!(state.waits_for_resume());
        story.run(20.0, 100_000.0);
        assert_eq!(story.effective_states(), ["down", "up"], "it does not end by itself");
        story.say(100_000.0, 0, said);
        assert_eq!((story.effective_states(), story.offer(0)), (vec!["up", "up"], 1.0), "it starts slowly");
        assert_eq!(story.state(0).stability.awaits_resume, None);
        story.say(100_001.0, 0, Override::Auto).publish(100_002.0);
        assert_eq!(story.effective_states(), ["up", "up"]);
        story.down(200_000.0, 0).up(200_010.0, 0);
        assert_eq!(story.effective_states(), ["down", "up"], "the next fall is another");
    }
}

#[test]
fn an_operator_may_say_it_before_the_region_is_up_again() {
    let mut story = manual(&[&[0, 1]]);
    story.down(10.0, 0).say(15.0, 0, Override::Auto);
    assert_eq!(story.effective_states(), ["down", "up"]);
    story.up(20.0, 0);
    assert_eq!(story.effective_states(), ["up", "up"]);
}

#[test]
fn a_region_that_never_served_awaits_nobody() {
    let manual = with(&[&[0, 1]], 0, |region| region.resume = Resume::Manual);
    let began = Instant::now();
    let publisher = Publisher::new(manual, Atlas::empty(), "", 0, BTreeMap::new(), moment(began));
    let mut story = Story { publisher, began };
    story.up(1.0, 1).down(2.0, 0).up(10.0, 0);
    assert_eq!(story.effective_states(), ["up", "up"]);
    // Nor one that an operator took out.
    story.say(20.0, 0, Override::Down).say(30.0, 0, Override::Auto);
    assert_eq!(story.effective_states(), ["up", "up"]);
}

#[test]
fn manual_resume_never_takes_the_only_region_that_answers() {
    let mut story = manual(&[&[0, 1]]);
    story.down(10.0, 0).up(20.0, 0);
    assert_eq!(story.effective_states(), ["down", "up"]);
    story.down(30.0, 1);
    assert_eq!(story.effective_states(), ["up", "down"], "it answers its probes");
    assert_eq!(story.snapshot().plan.services[0].standing.condition, ServiceCondition::Normal);
    assert!(story.state(0).stability.awaits_resume.is_some() && !story.state(0).waits_for_resume());
    // As long as there is nothing else: no doubt nor drain changes that.
    story.probe(31.0, 0, Verdict::Suspect).up(32.0, 0).say(33.0, 1, Override::Drain).say(34.0, 1, Override::Auto);
    assert_eq!(story.effective_states(), ["up", "down"]);
    story.up(40.0, 1);
    assert_eq!(story.effective_states(), ["down", "up"], "another is back, and it still awaits");
    story.down(500.0, 1).say(510.0, 0, Override::Auto).up(520.0, 1);
    assert_eq!(story.effective_states(), ["up", "up"], "an operator has looked meanwhile");
}

#[test]
fn where_all_that_are_up_await_resume_all_are_answered() {
    let both = |model: &mut Model| model.regions.iter_mut().for_each(|region| region.resume = Resume::Manual);
    let mut model = model(&[&[0, 1]]);
    both(&mut model);
    let mut story = Story::begin(model, BTreeMap::new());
    story.down(10.0, 0).down(10.0, 1);
    assert_eq!(story.snapshot().plan.services[0].standing.condition, ServiceCondition::Panic);
    story.up(20.0, 0);
    assert_eq!(story.effective_states(), ["up", "down"]);
    story.up(30.0, 1);
    assert_eq!(story.effective_states(), ["up", "up"]);
    story.say(40.0, 1, Override::Auto);
    assert_eq!(story.effective_states(), ["down", "up"], "the other still awaits");
}

#[test]
fn a_held_region_that_answers_again_awaits_nobody() {
    let mut story = manual(&[&[0, 1, 2, 3]]);
    story.down(0.0, 3).down(2.0, 2).down(4.0, 0);
    assert_eq!(story.effective_states(), ["suspect", "up", "down", "down"]);
    story.up(20.0, 0);
    assert_eq!(story.effective_states()[0], "up", "it was never away");
    // Where the hold ended first, it was.
    story.down(100.0, 3).down(102.0, 2).down(104.0, 0).run(104.0, 170.0);
    story.up(180.0, 0);
    assert_eq!(story.effective_states()[0], "down");
}

#[test]
fn a_region_with_a_failback_delay_is_back_after_it_has_been_up_for_so_long() {
    let mut story = delayed(&[&[0, 1]]);
    assert_eq!(story.effective_states(), ["up", "up"], "its first success is no return");
    story.down(10.0, 0).up(300.0, 0);
    let state = story.state(0);
    assert_eq!((state.effective, story.seconds(state.stability.delayed_until)), (EffectiveState::Down, Some(900.0)));
    // A failure that is not confirmed is no interruption, a fall is one.
    story.probe(400.0, 0, Verdict::Suspect).up(401.0, 0);
    assert_eq!(story.seconds(story.state(0).stability.delayed_until), Some(900.0));
    story.down(700.0, 0).up(710.0, 0);
    assert_eq!(story.seconds(story.state(0).stability.delayed_until), Some(1310.0));
    story.run(710.0, 1309.0);
    assert_eq!(story.effective_states(), ["down", "up"]);
    story.run(1309.0, 1310.0);
    assert_eq!((story.effective_states(), story.offer(0)), (vec!["up", "up"], 1.0), "and starts slowly");
    assert_eq!(story.state(0).stability.delayed_until, None);
}

#[test]
fn another_question_of_the_probes_begins_the_delay_anew() {
    let mut story = delayed(&[&[0, 1]]);
    story.down(10.0, 0).up(300.0, 0).probe(400.0, 0, Verdict::Unknown).up(410.0, 0);
    assert_eq!(story.seconds(story.state(0).stability.delayed_until), Some(1010.0));
}

#[test]
fn a_failback_delay_never_takes_the_only_region_that_answers_and_an_operator_ends_it() {
    let mut story = delayed(&[&[0, 1]]);
    story.down(10.0, 0).up(20.0, 0).down(30.0, 1);
    assert_eq!(story.effective_states(), ["up", "down"]);
    story.up(40.0, 1);
    assert_eq!(story.effective_states(), ["down", "up"], "the delay is not over");
    story.down(600.0, 1).run(600.0, 640.0);
    story.up(650.0, 1);
    assert_eq!(story.effective_states()[0], "up", "it is, though nobody saw its end");
    let mut story = delayed(&[&[0, 1]]);
    story.down(10.0, 0).up(20.0, 0).say(25.0, 0, Override::Auto);
    assert_eq!((story.effective_states(), story.offer(0)), (vec!["up", "up"], 1.0));
}

#[test]
fn damped_and_delayed_at_once_it_is_out_for_the_longer() {
    let mut story = Story::begin(with(&[&[0, 1]], 0, |region| region.failback_delay = 30 * S), BTreeMap::new());
    story.down(0.0, 0).up(20.0, 0).down(60.0, 0).up(80.0, 0);
    let stability = story.state(0).stability;
    let damped = story.seconds(stability.damped_until);
    assert_eq!((damped, story.seconds(stability.delayed_until)), (Some(127.6), Some(110.0)));
    story.run(80.0, 111.0);
    let stability = story.state(0).stability;
    assert_eq!((story.effective_states()[0], stability.delayed_until), ("down", None));
    assert!(stability.damped_until.is_some());
    story.run(111.0, 600.0);
    assert_eq!(story.effective_states(), ["up", "up"]);
}

/// What a story has kept, taken up by a server of this model `after` so many seconds, which is the begin of the new one.
fn restarted(story: &Story, seconds: f64, model: Model, after: Duration) -> Story {
    let clock = moment(story.at(seconds));
    let kept = story.publisher.kept(&clock);
    let began = clock.now() + after;
    let clock = Clock::new(began, clock.unix_ms() + after.as_millis() as u64);
    let mut publisher = Publisher::new(model, Atlas::empty(), "", 0, BTreeMap::new(), clock);
    publisher.restore(&kept, &clock);
    Story { publisher, began }
}

#[test]
fn no_restart_lets_a_region_back() {
    let model = || with(&[&[0, 1]], 0, |region| region.resume = Resume::Manual);
    let mut story = Story::begin(model(), BTreeMap::new());
    story.down(10.0, 0).up(20.0, 0);
    let mut again = restarted(&story, 25.0, model(), 7 * S);
    assert_eq!(again.effective_states(), ["down", "up"]);
    again.up(1.0, 0).up(1.0, 1);
    assert!(again.state(0).waits_for_resume());
    // Also where its verdict is too old to be taken up, and where it was down until then.
    let mut again = restarted(&story, 25.0, model(), 5_000 * S);
    again.up(1.0, 1).up(1.0, 0);
    assert_eq!(again.effective_states(), ["down", "up"]);
    story.down(30.0, 0);
    let mut again = restarted(&story, 35.0, model(), 7 * S);
    again.up(1.0, 0);
    assert_eq!(again.effective_states(), ["down", "up"]);
    again.say(2.0, 0, Override::Auto);
    assert_eq!(again.effective_states(), ["up", "up"]);
    let again = restarted(&again, 3.0, model(), 7 * S);
    assert_eq!(again.effective_states(), ["up", "up"], "nor takes one out that was let back");
}

#[test]
fn a_failback_delay_goes_on_over_a_restart() {
    let model = || with(&[&[0, 1]], 0, |region| region.failback_delay = 600 * S);
    let mut story = Story::begin(model(), BTreeMap::new());
    story.down(10.0, 0).up(20.0, 0);
    let again = restarted(&story, 100.0, model(), 20 * S);
    assert_eq!(again.effective_states(), ["down", "up"]);
    assert_eq!(again.seconds(again.state(0).stability.delayed_until), Some(500.0));
}

// ---------------------------------------------------------------------------------------------
// Dependencies

/// Regions of `model` depend on others and on services, by number.
fn dependent(mut model: Model, of: &[(u16, Dependency)]) -> Story {
    let of = of.iter().map(|&(region, on)| (RegionId(region), vec![on])).collect();
    model.dependencies = Dependencies::new(of, &model.services).expect("no circle");
    Story::begin(model, BTreeMap::new())
}

#[test]
fn a_region_falls_and_comes_back_with_what_it_depends_on() {
    // The region 0 depends on the service of 2 and 3.
    let on = Dependency::Service(ServiceId(1));
    let mut story = dependent(model(&[&[0, 1], &[2, 3]]), &[(0, on)]);
    story.down(10.0, 2);
    assert_eq!(story.effective_states(), ["up", "up", "down", "up"]);
    story.down(100.0, 3);
    assert_eq!(story.effective_states(), ["down", "up", "down", "down"]);
    let state = story.state(0);
    assert_eq!((state.verdict, state.stability.failed_dependency), (Verdict::Down, Some(on)));
    story.up(200.0, 3);
    assert_eq!((story.effective_states()[0], story.offer(0)), ("up", 1.0), "it starts slowly");
    assert_eq!(story.state(0).stability.failed_dependency, None);
    story.down(210.0, 3).up(220.0, 3);
    assert!(story.state(0).stability.damped_until.is_some(), "it has fallen too often, too");
    // An operator who drains what it depends on takes it out as well.
    story.run(220.0, 900.0);
    story.say(1000.0, 2, Override::Drain).say(1000.0, 3, Override::Drain);
    assert_eq!(story.effective_states(), ["down", "up", "drain", "drain"]);
    story.say(1001.0, 0, Override::Up);
    assert_eq!(story.effective_states()[0], "up", "an override beats what it depends on");
}

#[test]
fn where_all_are_down_for_what_they_depend_on_it_is_panic() {
    let on = Dependency::Region(RegionId(2));
    let mut story = dependent(model(&[&[0, 1], &[2, 3]]), &[(0, on), (1, on)]);
    story.down(10.0, 2);
    assert_eq!(story.effective_states(), ["down", "down", "down", "up"]);
    let snapshot = story.snapshot();
    assert_eq!(snapshot.plan.services[0].standing.condition, ServiceCondition::Panic);
    assert!(snapshot.plan.answers(RegionId(0)), "as if all were up");
}

#[test]
fn the_guard_holds_what_falls_with_a_dependency() {
    let on = Dependency::Region(RegionId(4));
    let mut story = dependent(model(&[&[0, 1, 2, 3], &[4]]), &[(1, on), (2, on), (3, on)]);
    story.down(10.0, 4);
    assert_eq!(story.effective_states(), ["up", "down", "down", "suspect", "down"], "3 of 5 at once, not one more");
    let mut story = dependent(model(&[&[0, 1, 2, 3], &[4, 5]]), &[(0, on), (1, on), (2, on)]);
    story.down(10.0, 4);
    assert_eq!(
        story.effective_states(),
        ["down", "down", "suspect", "up", "down", "up"],
        "3 of 6 at once, and those first that are down themselves"
    );
    assert_eq!(story.state(2).stability.failed_dependency, Some(on));
}

#[test]
fn manual_resume_holds_for_dependencies_and_what_is_not_proven_takes_nothing_down() {
    let on = Dependency::Region(RegionId(2));
    let mut story = dependent(with(&[&[0, 1], &[2, 3]], 0, |region| region.resume = Resume::Manual), &[(0, on)]);
    story.down(10.0, 2).up(20.0, 2);
    assert!(story.state(0).waits_for_resume());
    let mut unproven = dependent(model(&[&[0, 1], &[2, 3]]), &[(0, on)]);
    unproven.probe(10.0, 2, Verdict::Unknown);
    assert_eq!(unproven.effective_states()[0], "up");
}

// ---------------------------------------------------------------------------------------------
// The guard

#[test]
fn a_single_failure_is_never_held_up() {
    for regions in 2..6 {
        let all: Vec<usize> = (0..regions).collect();
        let mut story = Story::of(&[&all]);
        story.down(7.0, 0);
        assert_eq!(story.effective_states()[0], "down", "of {regions}");
    }
}

#[test]
fn more_than_half_of_a_zone_at_once_is_held_and_answered_briefly() {
    let mut story = Story::of(&[&[0, 1, 2, 3]]);
    story.down(0.0, 3).down(2.0, 2).down(4.0, 1);
    assert_eq!(story.effective_states(), ["up", "suspect", "down", "down"]);
    let held = story.state(1);
    assert_eq!((held.verdict, story.seconds(held.stability.held_until)), (Verdict::Down, Some(60.0)));
    assert!(story.snapshot().endpoint_sets[1].suspect, "its answers are short-lived");
    story.run(4.0, 59.0);
    assert_eq!(story.effective_states(), ["up", "suspect", "down", "down"]);
    story.run(59.0, 60.0);
    assert_eq!(story.effective_states(), ["up", "down", "down", "down"], "the window of the first has passed");
}

#[test]
fn regions_that_fall_in_one_burst_are_counted_one_by_one() {
    let mut story = Story::of(&[&[0, 1, 2, 3]]);
    [1, 2, 3].into_iter().for_each(|region| story.hear(5.0, region, Verdict::Down));
    story.publish(5.0);
    assert_eq!(story.effective_states(), ["up", "down", "down", "suspect"]);
}

#[test]
fn a_held_region_that_answers_again_was_never_away() {
    let mut story = Story::of(&[&[0, 1, 2, 3]]);
    story.down(0.0, 3).down(2.0, 2).down(4.0, 1).up(20.0, 1);
    let state = story.state(1);
    assert_eq!((state.effective, state.offered, state.stability.held_until), (EffectiveState::Up, 1.0, None));
    assert_eq!(state.changed_at, None);
}

#[test]
fn one_that_is_back_makes_room() {
    let mut story = Story::of(&[&[0, 1, 2, 3]]);
    story.down(0.0, 3).down(2.0, 2).up(20.0, 3).down(25.0, 1);
    assert_eq!(story.effective_states(), ["up", "down", "down", "up"]);
}

#[test]
fn when_nobody_answers_it_is_panic_at_once() {
    let mut story = Story::of(&[&[0, 1, 2, 3]]);
    story.down(0.0, 3).down(1.0, 2).down(2.0, 1).down(3.0, 0);
    assert_eq!(story.snapshot().plan.services[0].standing.condition, ServiceCondition::Panic);
    assert_eq!(story.effective_states(), ["down"; 4], "and all are answered, not the two that were held");
    story.up(30.0, 2);
    assert_eq!(story.effective_states(), ["down", "down", "up", "down"]);
}

#[test]
fn of_two_regions_the_second_is_not_held_alone() {
    let mut story = Story::of(&[&[0, 1]]);
    story.down(0.0, 0).down(1.0, 1);
    assert_eq!(story.snapshot().plan.services[0].standing.condition, ServiceCondition::Panic);
}

#[test]
fn the_operator_beats_the_guard() {
    let mut story = Story::of(&[&[0, 1, 2, 3]]);
    story.down(0.0, 3).down(2.0, 2).down(4.0, 1).say(5.0, 1, Override::Down);
    assert_eq!(story.effective_states(), ["up", "down", "down", "down"]);
    let mut story = Story::of(&[&[0, 1, 2, 3]]);
    story.down(0.0, 3).down(2.0, 2).down(4.0, 1).say(5.0, 1, Override::Auto);
    assert_eq!(story.effective_states(), ["up", "down", "down", "down"], "`auto`: believe the probes");
    // Withdrawals by operators are not counted.
    let mut story = Story::of(&[&[0, 1, 2, 3]]);
    story.say(0.0, 3, Override::Down).say(1.0, 2, Override::Drain).down(4.0, 1);
    assert_eq!(story.effective_states()[1], "down");
    // Nor of what was withdrawn by probes, and came back, before the operator did it.
    let mut story = Story::of(&[&[0, 1, 2, 3]]);
    story.down(0.0, 3).up(10.0, 3).say(15.0, 3, Override::Drain).down(20.0, 2).down(21.0, 1);
    assert_eq!(story.effective_states(), ["up", "down", "down", "drain"]);
    // A word of long ago releases nothing.
    let mut story = Story::of(&[&[0, 1, 2, 3]]);
    story.say(0.0, 1, Override::Auto).down(100.0, 3).down(102.0, 2).down(104.0, 1);
    assert_eq!(story.effective_states(), ["up", "suspect", "down", "down"]);
}

#[test]
fn zones_are_counted_apart() {
    let mut two = model(&[&[0, 1, 2, 3]]);
    two.zones.push(Zone { origin: Name::parse_absolute("other.example").expect("a name"), nodes: Default::default() });
    two.regions[2].zone = ZoneId(1);
    two.regions[3].zone = ZoneId(1);
    let mut story = Story::begin(two, BTreeMap::new());
    story.publisher.assume_up(moment(story.began));
    story.down(0.0, 1);
    assert_eq!(story.effective_states(), ["up", "down", "up", "up"]);
    let news = EndpointNews::of_only_probe("r3@other.example", "192.0.2.3", Verdict::Down);
    story.publisher.apply(News::Probe(news), moment(story.at(1.0)));
    story.publish(1.0);
    assert_eq!(story.effective_states(), ["up", "down", "up", "down"]);
}

#[test]
fn the_guard_can_be_set_and_turned_off() {
    let mut one = model(&[&[0, 1, 2, 3]]);
    one.steering.max_withdrawn = Some(MaxWithdrawn { regions: Most::Regions(1), window: 10 * S });
    let mut story = Story::begin(one.clone(), BTreeMap::new());
    story.down(0.0, 3).down(2.0, 2);
    assert_eq!(story.effective_states(), ["up", "up", "suspect", "down"]);
    story.run(2.0, 10.0);
    assert_eq!(story.effective_states(), ["up", "up", "down", "down"]);
    one.steering.max_withdrawn = None;
    let mut story = Story::begin(one, BTreeMap::new());
    story.down(0.0, 3).down(2.0, 2).down(2.0, 1);
    assert_eq!(story.effective_states(), ["up", "down", "down", "down"]);
}

/// A start of which nothing is known, before the first snapshot that anybody is answered from.
fn cold(regions: usize) -> Story {
    let all: Vec<usize> = (0..regions).collect();
    let began = Instant::now();
    let publisher = Publisher::new(model(&[&all]), Atlas::empty(), "", 0, BTreeMap::new(), moment(began));
    Story { publisher, began }
}

/// Of regions, what is heard in a first round; then it is published.
fn first_round(regions: usize, heard: &[(usize, Verdict)]) -> Story {
    let mut story = cold(regions);
    heard.iter().for_each(|&(region, verdict)| story.hear(0.2, region, verdict));
    story.publish(0.3);
    story
}

#[test]
fn at_a_start_all_are_answered_until_one_is_up_and_then_those_that_are_not_proven_come_after() {
    let mut story = cold(3);
    assert_eq!(story.effective_states(), ["unknown"; 3]);
    assert_eq!(story.snapshot().plan.services[0].standing.condition, ServiceCondition::Unproven);
    assert!(story.snapshot().endpoint_sets.iter().all(|set| set.suspect), "answers are short-lived");
    story.hear(0.2, 0, Verdict::Up);
    story.hear(0.2, 1, Verdict::Up);
    story.publish(0.3);
    assert_eq!(story.effective_states(), ["up", "up", "unknown"]);
    let standing = story.snapshot().plan.services[0].standing.clone();
    assert_eq!((standing.condition, &standing.last_resort[..]), (ServiceCondition::Normal, &[][..]));
    assert!(!story.snapshot().plan.answers(RegionId(2)));
    story.up(2.0, 2);
    let state = story.state(2);
    assert_eq!((state.effective, state.offered, state.changed_at), (EffectiveState::Up, 1.0, None), "was never away");
}

#[test]
fn at_a_start_one_failed_probe_of_most_regions_takes_none_of_them_out() {
    let failed = [0, 1, 2, 3].map(|region| (region, Verdict::Unknown));
    let mut story = first_round(5, &[failed.as_slice(), &[(4, Verdict::Up)]].concat());
    assert_eq!(story.effective_states(), ["suspect", "suspect", "suspect", "suspect", "up"]);
    for region in 0..4 {
        story.up(1.0 + region as f64 / 10.0, region);
        let out = story.effective_states().iter().filter(|state| !["up", "suspect"].contains(state)).count();
        assert_eq!(out, 0, "who was answered goes on to be: {:?}", story.effective_states());
    }
    assert!(story.snapshot().states.iter().all(|state| state.changed_at.is_none() && state.offered == 1.0));
}

#[test]
fn at_a_start_the_guard_holds_what_is_down_beyond_its_share() {
    let mut story = first_round(5, &[(4, Verdict::Up)]);
    (0..4).for_each(|region| story.hear(2.0, region, Verdict::Down));
    story.publish(2.0);
    assert_eq!(story.effective_states(), ["down", "down", "down", "suspect", "up"]);
    // Also where they are found down before any other is found up.
    let mut story = cold(4);
    story.down(0.1, 1).down(0.2, 2).down(0.3, 3);
    assert_eq!(story.effective_states(), ["unknown", "down", "down", "unknown"]);
    story.up(0.4, 0);
    assert_eq!(story.effective_states(), ["up", "down", "down", "suspect"]);
    story.run(0.4, 60.2);
    assert_eq!(story.effective_states(), ["up", "down", "down", "down"]);
}

#[test]
fn those_passed_over_at_a_start_count_as_withdrawn() {
    let mut story = first_round(4, &[(2, Verdict::Up), (3, Verdict::Up)]);
    assert_eq!(story.effective_states(), ["unknown", "unknown", "up", "up"]);
    story.down(5.0, 2);
    assert_eq!(story.effective_states(), ["unknown", "unknown", "suspect", "up"], "held");
    story.down(6.0, 0).down(6.0, 1);
    assert_eq!(story.effective_states(), ["down", "down", "suspect", "up"], "they were out already");
    let mut unguarded = model(&[&[0, 1, 2]]);
    unguarded.steering.max_withdrawn = None;
    let began = Instant::now();
    let publisher = Publisher::new(unguarded, Atlas::empty(), "", 0, BTreeMap::new(), moment(began));
    let mut story = Story { publisher, began };
    story.up(0.3, 0);
    assert_eq!(story.effective_states(), ["up", "unknown", "unknown"], "nothing is guarded");
}

#[test]
fn nobody_waits_for_regions_that_a_reload_brings() {
    let mut story = Story::of(&[&[0]]);
    story.publisher.apply(reload(model(&[&[0, 1, 2, 3]])), moment(story.at(5.0)));
    story.publish(5.0);
    assert_eq!(story.effective_states(), ["up", "unknown", "unknown", "unknown"]);
    story.down(6.0, 1).down(6.0, 2).down(6.0, 3);
    assert_eq!(story.effective_states(), ["up", "down", "down", "down"], "they were never answered");
}

#[test]
fn a_region_whose_check_is_another_one_is_answered_until_that_has_failed_often_enough() {
    let mut story = Story::of(&[&[0, 1, 2]]);
    story.probe(10.0, 0, Verdict::Unknown);
    assert_eq!(story.effective_states(), ["suspect", "up", "up"]);
    story.down(12.0, 0);
    assert_eq!(story.effective_states(), ["down", "up", "up"]);
    // Those that were out come after the others, however many they are: nobody loses them now.
    let mut story = Story::of(&[&[0, 1, 2, 3]]);
    story.down(0.0, 0).down(70.0, 1).down(140.0, 2);
    (0..3).for_each(|region| story.hear(300.0, region, Verdict::Unknown));
    story.publish(300.0);
    assert_eq!(story.effective_states(), ["unknown", "unknown", "unknown", "up"]);
}

// ---------------------------------------------------------------------------------------------
// Drains

/// The time when it is safe, which part of clients may still come, and its load as a part of that at the begin.
fn progress(story: &Story, region: usize, seconds: f64) -> (Option<f64>, f64, Option<f64>) {
    let state = story.state(region);
    let drain = state.stability.drain.expect("a drain");
    let answered = story.snapshot().plan.answers(RegionId(region as u16));
    let progress = drain.progress(answered, &state.load, 60 * S, story.at(seconds));
    (story.seconds(progress.safe_at), progress.may_come, progress.load_ratio)
}

#[test]
fn a_drain_is_safe_when_the_last_answer_has_run_out() {
    let mut story = Story::of(&[&[0, 1]]);
    story.say(100.0, 0, Override::Drain);
    assert_eq!(progress(&story, 0, 100.0), (Some(190.0), 1.0, None));
    story.publish(130.0);
    let (safe_at, left, _) = progress(&story, 0, 145.0);
    assert_eq!(safe_at, Some(190.0));
    assert!((left - 0.5).abs() < 1e-9);
    story.say(150.0, 0, Override::Drain);
    assert_eq!(progress(&story, 0, 150.0).0, Some(190.0), "said again, it goes on");
}

#[test]
fn a_drain_tells_what_is_left_of_its_load() {
    let mut story = Story::of(&[&[0, 1]]);
    story.report(95.0, 0, 80.0).say(100.0, 0, Override::Drain).report(105.0, 0, 20.0);
    assert_eq!(progress(&story, 0, 145.0), (Some(190.0), 0.5, Some(0.25)), "beside who may still come");
    story.run(106.0, 140.0);
    assert_eq!(progress(&story, 0, 145.0).2, None, "that report is stale");
}

#[test]
fn what_was_out_before_it_was_drained_is_safe_sooner() {
    let mut story = Story::of(&[&[0, 1]]);
    story.down(10.0, 0).say(60.0, 0, Override::Drain);
    assert_eq!(progress(&story, 0, 60.0).0, Some(100.0));
}

#[test]
fn a_draining_region_that_is_needed_is_not_safe() {
    let mut story = Story::of(&[&[0, 1]]);
    story.say(100.0, 0, Override::Drain).say(200.0, 1, Override::Drain).publish(300.0);
    assert_eq!(progress(&story, 0, 300.0), (None, 1.0, None));
    story.say(310.0, 1, Override::Auto);
    assert_eq!(progress(&story, 0, 310.0).0, Some(400.0), "from the last answer that named it");
    assert!(!story.snapshot().plan.answers(RegionId(0)));
}

#[test]
fn a_drain_goes_on_over_a_restart() {
    let mut story = Story::of(&[&[0, 1]]);
    story.report(95.0, 0, 80.0);
    // Kept before it is said, and as it will be.
    let kept = story.publisher.drains(Some(&name(0)), moment(story.at(100.0)));
    story.say(100.0, 0, Override::Drain);
    let again = story.publisher.drains(None, moment(story.at(100.0)));
    assert_eq!(kept.keys().collect::<Vec<_>>(), [&name(0)]);
    assert_eq!((kept[&name(0)].load, again[&name(0)].load), (Some(80.0), Some(80.0)));
    let apart = |a: u64, b: u64| a.abs_diff(b) < 1_000;
    assert!(apart(kept[&name(0)].cached_until_unix_ms, again[&name(0)].cached_until_unix_ms), "{kept:?} {again:?}");

    let mut next = Story::begin(model(&[&[0, 1]]), BTreeMap::from([(name(0), Override::Drain)]));
    assert_eq!(progress(&next, 0, 0.0).0, Some(90.0), "nothing known: it may have been named until now");
    let began = kept[&name(0)];
    let sooner = DrainBegin { cached_until_unix_ms: began.cached_until_unix_ms - 20_000, ..began };
    let drained = BTreeMap::from([(name(0), Override::Drain)]);
    next.publisher
        .apply(News::Overrides { overrides: drained, drains: BTreeMap::from([(name(0), sooner)]) }, moment(next.began));
    next.publish(0.0);
    let (safe_at, ..) = progress(&next, 0, 0.0);
    assert!(safe_at.is_some_and(|at| (69.0..71.0).contains(&at)), "{safe_at:?}");
    next.report(1.0, 0, 8.0);
    assert_eq!(progress(&next, 0, 1.0).2, Some(0.1), "of the load at the begin");
}

#[test]
fn nonsense_that_was_kept_drains_no_longer_than_a_week() {
    let mut story = Story::begin(model(&[&[0, 1]]), BTreeMap::from([(name(0), Override::Drain)]));
    let nonsense = DrainBegin { since_unix_ms: u64::MAX, cached_until_unix_ms: u64::MAX, load: Some(f64::NAN) };
    let drained = BTreeMap::from([(name(0), Override::Drain)]);
    story.publisher.apply(
        News::Overrides { overrides: drained, drains: BTreeMap::from([(name(0), nonsense)]) },
        moment(story.began),
    );
    story.publish(0.0);
    assert_eq!(progress(&story, 0, 0.0), (Some(7.0 * 86_400.0 + 60.0), 1.0, None));
}

#[test]
fn a_drain_ends_with_any_other_word() {
    let mut story = Story::of(&[&[0, 1]]);
    for said in [Override::Auto, Override::Up, Override::Down] {
        story.say(1.0, 0, Override::Drain);
        assert!(story.state(0).stability.drain.is_some());
        story.say(2.0, 0, said);
        assert!(story.state(0).stability.drain.is_none());
        assert!(story.publisher.drains(None, moment(story.at(2.0))).is_empty());
    }
}
