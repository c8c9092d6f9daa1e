//! The publisher's knowledge as it is kept over a restart, and back.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::model::{Endpoint, ProbeId, Probed, Region, RegionId};
use crate::state::memory::damping::kept::KeptDamping;
use crate::state::memory::degrading::Degrading;
use crate::state::memory::kept::{Kept, KeptEndpoint, KeptLoad, KeptRegion, Restored};
use crate::state::memory::reported::Reported;
use crate::state::snapshot::Snapshot;
use crate::steer::choice::pick::Identity;
use crate::steer::health::effective::ProbeState;
use crate::steer::health::verdict::Verdict;
use crate::steer::kept::Clock;
use crate::steer::load::price::MAX_PRICE_MS;
use crate::steer::load::state::LoadFigure;

use super::Publisher;
use super::facts::RegionFacts;

/// A verdict that was found longer ago than this, and than its check's interval on top, is none any more.
const MAX_VERDICT_AGE: Duration = Duration::from_secs(15 * 60);

/// Goes before what a probe saw, for people, until the next probe.
const BEFORE: &str = "before the restart: ";

impl Publisher {
    /// All that a restart would forget, as of now.
    pub fn kept(&self, clock: &Clock) -> Kept {
        Kept { planning: self.planning.kept(clock), ..self.kept_health(clock) }
    }

    /// What of it regions' health follows from: little enough to be kept with every change.
    pub fn kept_health(&self, clock: &Clock) -> Kept {
        let model = &self.configured.model;
        let region = |id: RegionId| {
            let name = model.qualified_region_name(id);
            let damping = self.damping.kept(&name, clock);
            Some(self.regions.get(&name)?.kept(name, model.region(id), damping, clock))
        };
        Kept { regions: model.region_ids().filter_map(region).collect(), planning: None }
    }

    /// Takes up what was kept before a restart, as old as it is by now, and publishes it; what is not configured any
    /// more is left out. Call it before anything is answered or observed, but after [`Publisher::publish`] made the
    /// snapshot with everything that was measured, and with the overrides.
    pub fn restore(&mut self, kept: &Kept, clock: &Clock) -> Restored {
        let mut restored = Restored::default();
        for kept in &kept.regions {
            let Some(id) = self.configured.region_id(&kept.name) else { continue };
            let facts = RegionFacts::restored(kept, self.configured.model.region(id), clock);
            // With an endpoint that is new to it, the region has to prove itself, and that is no change.
            let region = self.configured.model.region(id);
            let known = |endpoint: &Endpoint| {
                let known = facts.endpoints.get(&endpoint.label());
                region.probes_of(endpoint).all(|probed| known.is_some_and(|known| known.contains_key(&probed.id)))
            };
            let proven = region.endpoints.iter().all(known);
            self.regions.insert(kept.name.clone(), facts);
            self.damping.restore(&kept.name, &kept.damping, proven, clock);
            restored.regions += 1;
        }
        let before = self.shared.load_full();
        if let (Some(kept), Some(sites)) = (&kept.planning, &before.plan.sites) {
            (restored.flows, restored.places) = self.planning.restore(kept, &self.configured.model, sites, clock);
        }
        // Nobody was answered from the snapshots so far: nothing changes from them.
        self.shared.store(Arc::new(unanswered(&before)));
        self.publish(*clock);
        restored
    }
}

/// A snapshot as if it had been the very first, but for what may be lent to the next.
fn unanswered(snapshot: &Snapshot) -> Snapshot {
    Snapshot {
        generation: snapshot.generation,
        configured: snapshot.configured.clone(),
        atlas: snapshot.atlas.clone(),
        states: Vec::new(),
        endpoint_sets: Vec::new(),
        plan: snapshot.plan.without_services(),
        precomputed: Default::default(),
        measured: snapshot.measured.clone(),
        overrides_error: snapshot.overrides_error.clone(),
        switches: snapshot.switches.clone(),
        planning: None,
        vantages: snapshot.vantages.clone(),
        made_at: snapshot.made_at,
    }
}

impl RegionFacts {
    fn kept(&self, name: String, region: &Region, damping: KeptDamping, clock: &Clock) -> KeptRegion {
        let checks = checks_of(region);
        let endpoint = |label: &str, id: &ProbeId, state: &ProbeState| {
            let label = kept_label(label, id);
            Some(KeptEndpoint {
                check: checks.get(&label).copied(),
                label,
                // Not proven is not worth keeping.
                verdict: state.verdict.filter(|&verdict| verdict != Verdict::Unknown)?,
                failures: state.failures,
                since_ms: state.since.map(|at| clock.kept(at)),
                probed_at_ms: state.probed_at.map(|at| clock.kept(at)),
                last_probe: state.last_probe.to_string(),
                connect_ms: state.connect_ms,
            })
        };
        let probes =
            self.endpoints.iter().flat_map(|(label, known)| known.iter().map(move |(id, seen)| (label, id, seen)));
        let endpoints = probes.filter_map(|(label, id, seen)| endpoint(label, id, seen)).collect();
        let (price_ms, published_price_ms) = self.reported.prices_ms();
        let load = |figure: LoadFigure| KeptLoad {
            load: figure.load,
            capacity: figure.capacity,
            at_ms: clock.kept(figure.at),
        };
        KeptRegion {
            name,
            endpoints,
            load: self.reported.load.last.map(load),
            interval_s: self.reported.interval_s(),
            price_ms,
            published_price_ms,
            over_limit: self.over_limit,
            shed: self.shed,
            damping,
        }
    }

    fn restored(kept: &KeptRegion, region: &Region, clock: &Clock) -> RegionFacts {
        let price = |ms: f64| if ms.is_finite() { ms.clamp(0.0, MAX_PRICE_MS) } else { 0.0 };
        let checks = checks_of(region);
        let known = |kept: &KeptEndpoint| -> Option<(String, ProbeId, ProbeState)> {
            let check = *checks.get(&kept.label)?;
            let (label, id) = label_and_probe(&kept.label);
            let interval = region.checks.iter().flat_map(|checks| &checks.members).find(|of| of.name == id.check)?;
            let state = kept.restored(interval.check.interval, clock)?;
            kept.check.is_none_or(|before| before == check).then(|| (label.to_owned(), id, state))
        };
        let mut endpoints: HashMap<String, HashMap<ProbeId, ProbeState>> = HashMap::new();
        for (label, id, state) in kept.endpoints.iter().filter_map(known) {
            endpoints.entry(label).or_default().insert(id, state);
        }
        let last = kept.load.as_ref().and_then(|load| load.restored(clock));
        let prices_ms = (price(kept.price_ms), price(kept.published_price_ms));
        let mut facts = RegionFacts {
            endpoints,
            reported: Reported::restored(last, kept.interval_s, prices_ms, clock.now()),
            degrading: Degrading::default(),
            over_limit: kept.over_limit,
            shed: if kept.shed.is_finite() { kept.shed.clamp(0.0, 1.0) } else { 0.0 },
            ..RegionFacts::default()
        };
        facts.forget_unasked(region);
        facts
    }
}

/// An endpoint's label, and which of its probes where that is not the only one.
fn kept_label(label: &str, probe: &ProbeId) -> String {
    if *probe == ProbeId::default() { label.to_owned() } else { format!("{label} {probe}") }
}

/// No label has a space in it.
fn label_and_probe(kept: &str) -> (&str, ProbeId) {
    let (label, probe) = kept.split_once(' ').unwrap_or((kept, ""));
    (label, ProbeId::parse(probe))
}

/// Of each probe, by the label it is kept under, a number that stands for what its check asks and expects of whom. Another
/// form of these in another version of this program makes other numbers: then endpoints have to prove themselves, no more.
fn checks_of(region: &Region) -> HashMap<String, u64> {
    let number = |endpoint: &Endpoint, probed: &Probed<'_>| {
        let kind = Identity::of(0, &format!("{:?}", probed.member.check.kind));
        Identity::of(0, &format!("{:?}", endpoint.target_of(probed.id.part))).within(kind).number()
    };
    let probes = region.endpoints.iter().flat_map(|endpoint| {
        let label = endpoint.label();
        region.probes_of(endpoint).map(move |probed| (kept_label(&label, &probed.id), number(endpoint, &probed)))
    });
    probes.collect()
}

impl KeptEndpoint {
    /// `None`: too long ago to be told.
    fn restored(&self, interval: Duration, clock: &Clock) -> Option<ProbeState> {
        let seen = self.last_probe.strip_prefix(BEFORE).unwrap_or(&self.last_probe);
        let past = |ms: Option<u64>| clock.instant(ms?).map(|at| at.min(clock.now()));
        let probed_at = past(self.probed_at_ms)?;
        let is_known = clock.now().saturating_duration_since(probed_at) <= MAX_VERDICT_AGE + interval;
        is_known.then(|| ProbeState {
            verdict: Some(self.verdict),
            since: past(self.since_ms),
            probed_at: Some(probed_at),
            last_probe: format!("{BEFORE}{seen}").into(),
            connect_ms: self.connect_ms.filter(|ms| ms.is_finite()),
            failures: self.failures,
            restored: true,
            heard: true,
            own: None,
        })
    }
}

impl KeptLoad {
    /// `None`: no figure that makes sense, or too old to say how old.
    fn restored(&self, clock: &Clock) -> Option<LoadFigure> {
        let sane = (0.0..f64::INFINITY).contains(&self.load);
        let capacity = self.capacity.filter(|capacity| capacity.is_finite() && *capacity > 0.0);
        let at = clock.instant(self.at_ms)?.min(clock.now());
        sane.then_some(LoadFigure { load: self.load, capacity, at })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::{Duration, Instant};

    use proptest::prelude::*;

    use super::*;
    use crate::model::{Check, CheckKind, LoadReport, Model, Policy};
    use crate::state::{EndpointNews, LoadNews, News, Urgency};
    use crate::steer::health::effective::{EffectiveState, Override};
    use crate::steer::health::verdict::Verdict;
    use crate::steer::planner::demand::DemandSample;
    use crate::steer::testing::{World, at, endpoint, moment};

    const S: Duration = Duration::from_secs(1);
    const NOW_MS: u64 = 1_790_000_000_000;
    const REGIONS: [(&str, f64); 3] = [("west", -90.0), ("middle", 0.0), ("east", 90.0)];

    /// Regions along the equator with a check and a load report, and clients beside each.
    fn world(regions: &[(&str, f64)]) -> World {
        let placed: Vec<_> = regions.iter().map(|&(name, longitude)| (name, at(0.0, longitude))).collect();
        let clients = [("10.1.0.0/16", at(0.0, -80.0)), ("10.2.0.0/16", at(0.0, 5.0)), ("10.3.0.0/16", at(0.0, 95.0))];
        let mut world = World::new(Policy::Score, &placed).clients(&clients);
        for (region, (name, _)) in world.model.regions.iter_mut().zip(regions) {
            region.endpoints = vec![endpoint(address_of(name))];
            let (interval, timeout) = (5 * S, 2 * S);
            let kind = CheckKind::Tcp { port: 80 };
            region.checks = Some(Check { interval, timeout, ..Check::new(kind) }.into());
            region.load_report = Some(LoadReport::pushed(10 * S));
        }
        world
    }

    fn address_of(region: &str) -> &'static str {
        match region {
            "west" => "192.0.2.1",
            "middle" => "192.0.2.2",
            "east" => "192.0.2.3",
            _ => "192.0.2.9",
        }
    }

    fn publisher(world: World, now: Instant) -> Publisher {
        Publisher::new(world.model, world.atlas, "", 0, BTreeMap::new(), moment(now))
    }

    struct Story {
        publisher: Publisher,
        now: Instant,
    }

    impl Story {
        fn probe(&mut self, region: &str, verdict: Verdict) {
            let region_name = format!("{region}@gslb.example");
            let news = EndpointNews::of_only_probe(&region_name, address_of(region), verdict);
            let news = EndpointNews { seen: "seen".into(), connect_ms: Some(1.5), ..news };
            self.publisher.apply(News::Probe(news), moment(self.now));
        }

        fn report(&mut self, region: &str, load: f64) {
            let region = format!("{region}@gslb.example").into();
            self.publisher
                .apply(News::Load(LoadNews { region, at: self.now, outcome: Ok((load, None)) }), moment(self.now));
        }

        fn ask(&mut self) {
            let snapshot = self.publisher.shared().load_full();
            let samples: Vec<DemandSample> = ["10.1.0.1", "10.2.0.1", "10.3.0.1"]
                .into_iter()
                .map(|client| {
                    let address = client.parse().expect("an address");
                    let place = snapshot.atlas.locate(address).place;
                    let seen = crate::steer::decide::Seen::Subnet(address);
                    let service = crate::model::ServiceId(0);
                    let decision = crate::steer::decide::decide(&snapshot.view(), service, seen).expect("a decision");
                    DemandSample { service, place, region: decision.region, weight: 30.0, ttl_s: 30.0 }
                })
                .collect();
            self.publisher.apply(News::Demand(samples), moment(self.now));
        }

        /// Some minutes of it: the middle has fallen and is back, the east is down, the west has much.
        fn played() -> Story {
            let now = Instant::now();
            let mut story = Story { publisher: publisher(world(&REGIONS), now), now };
            REGIONS.iter().for_each(|(region, _)| story.probe(region, Verdict::Up));
            for second in 0..200 {
                story.now += S;
                match second {
                    100 | 140 => story.probe("middle", Verdict::Down),
                    120 => story.probe("middle", Verdict::Up),
                    150 => story.probe("east", Verdict::Down),
                    _ => {}
                }
                if second % 10 == 0 {
                    [("west", 940.0), ("middle", 300.0), ("east", 200.0)]
                        .iter()
                        .for_each(|&(region, load)| story.report(region, load));
                }
                story.ask();
                story.publisher.publish(moment(story.now));
            }
            story
        }

        fn kept(&self) -> Kept {
            self.publisher.kept(&Clock::new(self.now, NOW_MS))
        }
    }

    /// A publisher of the next process, so much later.
    fn restarted(kept: &Kept, world: World, later: Duration) -> (Publisher, Restored, Clock) {
        // Another process has another clock.
        let clock = Clock::new(Instant::now() + 5000 * S, NOW_MS + later.as_millis() as u64);
        let mut publisher = publisher(world, clock.now());
        let restored = publisher.restore(kept, &clock);
        (publisher, restored, clock)
    }

    fn state(publisher: &Publisher, region: &str) -> crate::steer::health::effective::RegionState {
        let snapshot = publisher.shared().load_full();
        let id = *snapshot.model.find_regions(region).first().expect("a region");
        snapshot.states[id.index()].clone()
    }

    #[test]
    fn all_of_it_comes_back_also_where_regions_are_renumbered() {
        let story = Story::played();
        let kept = story.kept();
        let written = postcard::to_stdvec(&kept).expect("octets");
        assert_eq!(postcard::from_bytes::<Kept>(&written).expect("read"), kept);
        for regions in [REGIONS, [REGIONS[2], REGIONS[0], REGIONS[1]]] {
            let (after, restored, clock) = restarted(&kept, world(&regions), 7 * S);
            assert_eq!(restored.regions, 3);
            assert!(restored.flows >= 3 && restored.places >= 3, "{restored:?}");
            for (region, _) in REGIONS {
                let (was, is) = (state(&story.publisher, region), state(&after, region));
                assert_eq!((is.effective, is.verdict), (was.effective, was.verdict), "{region}");
                assert_eq!((is.price_ms, is.shed), (was.price_ms, was.shed), "{region}");
                assert!((is.offered - was.offered).abs() < 0.11, "{region}: {} {}", was.offered, is.offered);
                let age = |at: Option<Instant>, now: Instant| at.map(|at| (now - at).as_millis());
                let older = age(was.changed_at, story.now).map(|ms| ms + 7000);
                assert_eq!(age(is.changed_at, clock.now()), older, "{region}");
                let (was, is) = (was.endpoints[0].clone(), is.endpoints[0].clone());
                assert!(is.restored && is.last_probe == "before the restart: seen");
                assert_eq!((is.connect_ms, is.verdict), (was.connect_ms, was.verdict));
                let older = age(was.probed_at, story.now).map(|ms| ms + 7000);
                assert_eq!(age(is.probed_at, clock.now()), older, "{region}");
            }
            assert_eq!(state(&after, "east").effective, EffectiveState::Down);
            assert!(state(&after, "west").load.last.is_some_and(|figure| figure.load == 940.0));
            assert!(after.shared().load().plan.planned().is_some(), "the plan is in force at once");
            assert!(after.shared().load().planning.is_some());
        }
    }

    #[test]
    fn a_region_that_has_flapped_stays_damped_and_what_probes_say_then_is_heard() {
        let mut story = Story::played();
        story.probe("middle", Verdict::Up);
        story.publisher.publish(moment(story.now));
        let left = |publisher: &Publisher, now: Instant| {
            state(publisher, "middle").stability.damped_until.map(|until| (until - now).as_secs_f64())
        };
        let was = left(&story.publisher, story.now).expect("damped");
        let (mut after, _, clock) = restarted(&story.kept(), world(&REGIONS), 7 * S);
        let is = left(&after, clock.now()).expect("damped still");
        assert!((was - is - 7.0).abs() < 0.1, "{was} {is}");
        let news = EndpointNews::of_only_probe("east@gslb.example", "192.0.2.3", Verdict::Up);
        let news = EndpointNews { seen: "ok".into(), ..news };
        assert_eq!(after.apply(News::Probe(news), clock), Urgency::Now, "a fresh probe wins");
        after.publish(clock);
        let east = state(&after, "east");
        assert_eq!((east.effective, east.endpoints[0].last_probe.as_str()), (EffectiveState::Up, "ok"));
        assert!(!east.endpoints[0].restored);
        assert!(east.offered < 0.2 && east.stability.back_since == Some(clock.now()));
    }

    #[test]
    fn a_drain_goes_on_from_where_it_was() {
        let mut story = Story::played();
        story.publisher.apply(News::set_override("west@gslb.example", Override::Drain), moment(story.now));
        story.publisher.publish(moment(story.now));
        story.now += 20 * S;
        story.publisher.publish(moment(story.now));
        let (overrides, drains) =
            (story.publisher.overrides().clone(), story.publisher.drains(None, moment(story.now)));
        let was = state(&story.publisher, "west").stability.drain.expect("a drain");
        let clock = Clock::new(Instant::now() + 5000 * S, NOW_MS + 7000);
        for checked in [true, false] {
            let mut world = world(&REGIONS);
            // Without a check, it is the only one that would serve before the others are probed.
            world.model.regions[0].checks = world.model.regions[0].checks.take().filter(|_| checked);
            let mut after = publisher(world, clock.now());
            let (overrides, drains) = (overrides.clone(), drains.clone());
            after.apply(News::Overrides { overrides, drains }, clock);
            after.publish(clock);
            after.restore(&story.kept(), &clock);
            let is = state(&after, "west").stability.drain.expect("a drain");
            let ms = |at: std::time::SystemTime| at.duration_since(std::time::UNIX_EPOCH).expect("a time").as_millis();
            assert_eq!((ms(is.since), is.load), (ms(was.since), was.load));
            assert_eq!(clock.now() - is.named_until, story.now - was.named_until + 7 * S);
        }
    }

    #[test]
    fn what_is_gone_is_left_out_and_what_is_new_has_to_prove_itself() {
        let kept = Story::played().kept();
        let mut moved = world(&[("new", 30.0), REGIONS[1], REGIONS[0]]);
        moved.model.regions[2].endpoints = vec![endpoint("192.0.2.77")];
        moved.model.regions[1].load_report = None;
        let (mut after, restored, clock) = restarted(&kept, moved, 7 * S);
        assert_eq!(restored.regions, 2);
        assert_eq!(state(&after, "new").endpoints[0].verdict, None);
        assert_eq!(state(&after, "west").endpoints[0].verdict, None);
        assert_eq!(state(&after, "middle").load.last, None);
        after.assume_up(clock);
        let west = state(&after, "west");
        assert_eq!(
            (west.effective, west.changed_at, west.offered),
            (EffectiveState::Up, None, 1.0),
            "it proves itself, no more"
        );
    }

    #[test]
    fn another_check_or_a_verdict_of_long_ago_is_not_inherited() {
        let mut story = Story::played();
        (0..2).for_each(|_| story.probe("west", Verdict::Suspect));
        let kept = story.kept();
        let known = |world: World, later: Duration| {
            let (after, ..) = restarted(&kept, world, later);
            REGIONS.map(|(region, _)| state(&after, region).endpoints[0].verdict)
        };
        let (up, down, doubted) = (Some(Verdict::Up), Some(Verdict::Down), Some(Verdict::Suspect));
        assert_eq!(known(world(&REGIONS), 7 * S), [doubted, down, down], "as it was");
        assert_ne!(known(world(&REGIONS), 7 * S)[0], up);
        let mut another = world(&REGIONS);
        another.model.regions[1].checks.as_mut().expect("a check").members[0].check.kind = CheckKind::Tcp { port: 81 };
        // Another pace of the same check keeps it.
        another.model.regions[2].checks.as_mut().expect("a check").members[0].check.interval = 7 * S;
        assert_eq!(known(another, 7 * S), [doubted, None, down]);
        // Probed at 0 s and 150 s, at 200 s kept.
        assert_eq!(known(world(&REGIONS), 860 * S), [doubted, None, None]);
        let (after, ..) = restarted(&kept, world(&REGIONS), 7 * S);
        assert_eq!(state(&after, "west").endpoints[0].failures, 2);
    }

    #[test]
    fn a_clock_that_was_set_back_makes_nothing_younger_than_it_was() {
        let story = Story::played();
        let clock = Clock::new(Instant::now(), NOW_MS - 600_000).not_before(NOW_MS);
        let mut after = publisher(world(&REGIONS), clock.now());
        after.restore(&story.kept(), &clock);
        let (was, is) = (state(&story.publisher, "east").changed_at, state(&after, "east").changed_at);
        assert_eq!(is.map(|at| (clock.now() - at).as_millis()), was.map(|at| (story.now - at).as_millis()));
    }

    fn model_of(name: &'static str) -> (Model, crate::atlas::Atlas) {
        let World { model, atlas, .. } = world(&[(name, -90.0), REGIONS[1], REGIONS[2]]);
        (model, atlas)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        /// As a file would have to be forged, since the checksum tells all others.
        #[test]
        fn nothing_that_can_be_read_does_harm(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..20)) {
            static WRITTEN: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();
            let written = WRITTEN.get_or_init(|| postcard::to_stdvec(&Story::played().kept()).expect("octets"));
            let mut octets = written.clone();
            changes.iter().for_each(|(at, octet)| octets[at.index(written.len())] = *octet);
            if let Ok(kept) = postcard::from_bytes::<Kept>(&octets) {
                let (model, atlas) = model_of("west");
                let now = Instant::now();
                let mut publisher = Publisher::new(model, atlas, "", 0, BTreeMap::new(), moment(now));
                publisher.restore(&kept, &Clock::new(now, NOW_MS));
                for later in [1, 10, 40] {
                    publisher.assume_up(moment(now + later * S));
                    let snapshot = publisher.shared().load_full();
                    prop_assert!(snapshot.states.iter().all(|state| state.price_ms.is_finite()));
                    prop_assert!(snapshot.plan.services[0].table.codes().count() > 0);
                }
            }
        }
    }
}
