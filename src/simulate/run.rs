//! One second after the other: what is observed goes to the real publisher, queries to the real
//! decision.
//!
//! The caller sets the clock, tells what probes and load reports find, then asks; what was told is
//! published before the first question of the second, as the server's writer would: verdicts at
//! once, load reports at most once a second, changes by the passing of time when they fall due.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, UNIX_EPOCH};

use crate::atlas::PlaceId;
use crate::control::load_report::{LoadSample, LoadUpdate};
use crate::model::{Model, RegionId, ServiceId};
use crate::state::{EndpointNews, LoadNews, News, Publisher, Snapshot, Urgency};
use crate::steer::choice::pick::ClientKey;
use crate::steer::decide::{Seen, decide_by_key};
use crate::steer::kept::Clock;
use crate::steer::latency::rtt::{ClientGroup, Estimate, Measured};
use crate::steer::planner::demand::DemandSample;

use super::kept::Keeping;
use super::probes::Watch;
use super::world::{Deployment, World, WorldError, address_of, network_of};

/// A deployment that runs as far as it is driven.
pub struct Simulation {
    publisher: Publisher,
    /// As last published: what queries are answered from.
    snapshot: Arc<Snapshot>,
    service: ServiceId,
    /// Of the service, in its order.
    regions: Vec<Observed>,
    chance: fastrand::Rng,
    /// Virtual time 0.
    base: Instant,
    /// The virtual wall clock then, since 1970.
    wall: Duration,
    now: Duration,
    /// Something was observed, or time passed, since the last answer.
    unsettled: bool,
    /// News waits for the next snapshot.
    pending: bool,
    /// The time when what was published changes by the passing of time alone.
    due: Option<Instant>,
    /// Answers of this second.
    demand: Vec<DemandSample>,
    places: Vec<PlaceId>,
    /// The round trips that were measured, by location and region.
    rtts: BTreeMap<(usize, usize), f64>,
    /// Something was measured since it was last published.
    measured: bool,
    /// `None`: nothing outlives this.
    keeping: Option<Keeping>,
    /// The reports that came before that was taken up, the last of each region: it is newer.
    early: Vec<LoadNews>,
}

/// Snapshots of one moment, at most.
const MOST_AT_ONCE: usize = 4;

/// A region, and what a probe of it would find.
struct Observed {
    id: RegionId,
    name: Arc<str>,
    /// By label: dead or alive together.
    endpoints: Vec<Arc<str>>,
    alive: bool,
    watch: Option<Watch>,
}

/// The answer that a client is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SimulatedAnswer {
    /// Into `World::regions`.
    pub region: usize,
    pub ttl_s: u32,
}

impl Simulation {
    /// Nothing is probed and the clock stands at 0. Regions count as alive until something else is
    /// said of them.
    pub fn start(world: &World) -> Result<Simulation, WorldError> {
        Simulation::of(world.deployment()?, world)
    }

    /// As [`Simulation::start`], of a configured service, whose regions are the world's in its order.
    pub fn of(Deployment { model, service }: Deployment, world: &World) -> Result<Simulation, WorldError> {
        world.check()?;
        let atlas = world.atlas()?;
        let base = Instant::now();
        let of_service = model.services.get(service.index()).map(|service| service.regions.as_slice());
        let regions: Vec<Observed> =
            of_service.unwrap_or_default().iter().map(|&id| Observed::of(&model, id)).collect();
        let places = (0..world.locations.len()).map(|location| atlas.locate(address_of(location)).place).collect();
        let publisher = Publisher::new(model, atlas, "", world.seed, BTreeMap::new(), Clock::new(base, 0));
        Ok(Simulation {
            snapshot: publisher.shared().load_full(),
            due: publisher.next_change(base),
            publisher,
            service,
            regions,
            chance: fastrand::Rng::with_seed(world.seed),
            base,
            wall: Duration::ZERO,
            now: Duration::ZERO,
            unsettled: true,
            pending: false,
            demand: Vec::new(),
            places,
            rtts: BTreeMap::new(),
            measured: false,
            keeping: None,
            early: Vec::new(),
        })
    }

    /// Keeps what a server keeps for its next start in this directory, and takes up what is there before the first
    /// answer. `wall` is what the wall clock says at virtual time 0, since 1970. Call it before anything is played.
    pub fn keep_in(&mut self, state: &Path, wall: Duration) {
        (self.keeping, self.wall) = (Some(Keeping::new(state)), wall);
    }

    /// The notices there are of that since the last call: how the start went, a save that failed.
    pub fn take_notices(&mut self) -> Vec<String> {
        self.keeping.as_mut().map(Keeping::take_notices).unwrap_or_default()
    }

    /// The time since the start. Time that goes back stands still instead.
    pub fn set_time(&mut self, now: Duration) {
        self.now = self.now.max(now);
        self.unsettled = true;
    }

    /// Sets what a probe of this region sent now, or later, would find.
    pub fn set_alive(&mut self, region: usize, alive: bool) {
        if let Some(region) = self.regions.get_mut(region) {
            region.alive = alive;
        }
    }

    /// A load report came: load and current capacity, in the region's unit. Believed as a feed is:
    /// a load that is no number, negative or beyond all reason is a failed scrape; so is a capacity
    /// of 0 or less. `None`: the feed does not say.
    pub fn report_load(&mut self, region: usize, load: f64, capacity: Option<f64>) {
        let Some(region) = self.regions.get(region) else { return };
        let outcome =
            if is_sane(load, capacity) { Ok((load, capacity)) } else { Err("no figure that makes sense".to_owned()) };
        let now = self.clock();
        let news = LoadNews { region: region.name.clone(), at: now.now(), outcome };
        if self.is_to_take_up() {
            self.early.retain(|early| early.region != news.region);
            self.early.push(news);
        } else {
            self.publisher.apply(News::Load(news), now);
        }
        (self.pending, self.unsettled) = (true, true);
    }

    /// A round-trip time was measured between a location and a region, in milliseconds. What is not
    /// above 0 and finite says nothing.
    pub fn measure_rtt(&mut self, location: usize, region: usize, ms: f64) {
        if location < self.places.len() && region < self.regions.len() {
            self.rtts.insert((location, region), ms);
            (self.measured, self.unsettled) = (true, true);
        }
    }

    /// Answers a client of a location, hashed by `key` (of its prefix, or of its resolver).
    /// `None`: there is no such location.
    pub fn query(&mut self, location: usize, key: u64, by_subnet: bool) -> Option<SimulatedAnswer> {
        let place = *self.places.get(location)?;
        if self.unsettled {
            self.settle();
        }
        let address = address_of(location);
        let seen = if by_subnet { Seen::Subnet(address) } else { Seen::Source(address) };
        let decision = decide_by_key(&self.snapshot.view(), self.service, seen, ClientKey::from_bits(key))?;
        let ttl_s = decision.ttl.as_secs();
        // A resolver asks again after a second at the earliest here.
        let weight = ttl_s.max(1) as f32;
        self.demand.push(DemandSample { service: self.service, place, region: decision.region, weight, ttl_s: weight });
        let region = self.regions.iter().position(|region| region.id == decision.region)?;
        Some(SimulatedAnswer { region, ttl_s })
    }

    /// The same for whoever looks on: the answer is given to nobody, and no demand.
    #[cfg(test)]
    pub(super) fn glance(&mut self, location: usize, key: u64, by_subnet: bool) -> Option<SimulatedAnswer> {
        let answer = self.query(location, key, by_subnet)?;
        self.demand.pop();
        Some(answer)
    }

    /// The second is over: what was answered becomes known demand.
    pub fn end_second(&mut self) {
        if self.unsettled {
            self.settle();
        }
        let now = self.clock();
        self.publisher.apply(News::Demand(std::mem::take(&mut self.demand)), now);
        self.due = self.publisher.next_change(now.now());
        if let Some(keeping) = &mut self.keeping {
            keeping.keep(&self.publisher, self.now, &now);
        }
    }

    /// Since the start.
    pub fn time(&self) -> Duration {
        self.now
    }

    /// The number of regions.
    pub fn regions(&self) -> usize {
        self.regions.len()
    }

    /// The number of locations.
    pub fn locations(&self) -> usize {
        self.places.len()
    }

    /// The snapshot that is answered from, for those who look on.
    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// Takes news of other nodes.
    pub(super) fn tell(&mut self, news: News) {
        let now = self.clock();
        let urgency = self.publisher.apply(news, now);
        self.due = self.publisher.next_change(now.now());
        (self.pending, self.unsettled) = (self.pending || urgency > Urgency::None, true);
    }

    /// A load report that another node had.
    pub(super) fn take_load(&mut self, update: LoadUpdate) {
        let Ok(sample) = update.outcome else { return };
        let at = update.at.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64;
        if let Some(at) = self.clock().instant(at) {
            let outcome = Ok((sample.load, sample.capacity));
            self.tell(News::Load(LoadNews { region: update.region, at, outcome }));
        }
    }

    /// A report that came here, as other nodes are told; `None`: it is a failed scrape.
    pub(super) fn load_update(&self, region: usize, load: f64, capacity: Option<f64>) -> Option<LoadUpdate> {
        let region = self.regions.get(region).filter(|_| is_sane(load, capacity))?;
        let at = UNIX_EPOCH + Duration::from_millis(self.clock().unix_ms());
        let outcome = Ok(LoadSample { load, capacity, at: None });
        Some(LoadUpdate { region: region.name.clone(), at, outcome, health: None })
    }

    pub(super) fn publisher(&mut self) -> &mut Publisher {
        &mut self.publisher
    }

    /// Takes all that came until now, and publishes what follows from it.
    pub(super) fn settle(&mut self) {
        if !self.unsettled {
            return;
        }
        self.unsettled = false;
        let now = self.clock();
        self.take_up(now);
        let mut urgency = self.measure(now);
        for region in &mut self.regions {
            urgency = urgency.max(region.look(self.now, now, &mut self.chance, &mut self.publisher));
        }
        // Nobody reads the figures of a probe that changed nothing: it waits for other news.
        let mut due = urgency == Urgency::Now || self.pending || self.is_due(now);
        // What is due at once comes after what could not wait for it: a plan after a loss.
        for _ in 0..MOST_AT_ONCE {
            if !due {
                break;
            }
            self.publisher.publish(now);
            self.due = self.publisher.next_change(now.now());
            due = self.is_due(now);
        }
        self.snapshot = self.publisher.shared().load_full();
        self.pending = false;
    }

    /// Takes up what was kept before a restart, once. What was measured so far comes first, since it decides which
    /// clients are told apart.
    fn take_up(&mut self, now: Clock) {
        if !self.is_to_take_up() {
            return;
        }
        if self.measure(now) == Urgency::Now {
            self.publisher.publish(now);
        }
        let time = self.now;
        if self.keeping.as_mut().is_some_and(|keeping| keeping.start(&mut self.publisher, time, now)) {
            let snapshot = self.publisher.shared().load_full();
            self.regions.iter_mut().for_each(|region| region.resume(&snapshot, now.now()));
        }
        for news in std::mem::take(&mut self.early) {
            self.publisher.apply(News::Load(news), now);
        }
        self.due = self.publisher.next_change(now.now());
    }

    /// Tells what was measured since the last time.
    fn measure(&mut self, now: Clock) -> Urgency {
        if !std::mem::take(&mut self.measured) {
            return Urgency::None;
        }
        let measured = Arc::new(self.measurements());
        self.publisher.apply(News::Measured(measured), now)
    }

    fn is_due(&self, now: Clock) -> bool {
        self.due.is_some_and(|due| due <= now.now())
    }

    /// Virtual time by both clocks.
    pub(super) fn clock(&self) -> Clock {
        Clock::new(self.base + self.now, (self.wall + self.now).as_millis() as u64)
    }

    fn is_to_take_up(&self) -> bool {
        self.keeping.as_ref().is_some_and(Keeping::is_to_start)
    }

    fn measurements(&self) -> Measured {
        let estimate = |(&(location, region), &ms): (&(usize, usize), &f64)| {
            (ClientGroup::Network(network_of(location)), self.regions[region].name.clone(), Estimate::given(ms))
        };
        Measured::of(self.rtts.iter().map(estimate))
    }
}

impl Observed {
    fn of(model: &Model, id: RegionId) -> Observed {
        let region = model.region(id);
        Observed {
            id,
            name: model.qualified_region_name(id).into(),
            endpoints: region.endpoints.iter().map(|endpoint| endpoint.label().into()).collect(),
            alive: true,
            watch: region.check().map(Watch::new),
        }
    }

    /// Goes on from what was found of it before a restart.
    fn resume(&mut self, snapshot: &Snapshot, now: Instant) {
        let known = snapshot.states.get(self.id.index()).and_then(|state| state.endpoints.first());
        let known = known.and_then(|seen| Some((seen.verdict?, seen.failures, seen.probed_at?)));
        let check = snapshot.model.region(self.id).check();
        if let (Some(watch), Some(check), Some((verdict, failures, probed_at))) = (&mut self.watch, check, known) {
            watch.resume(check, verdict, failures, now.saturating_duration_since(probed_at));
        }
    }

    /// Probes it where that is due, and says how soon that has to be published.
    fn look(&mut self, time: Duration, now: Clock, chance: &mut fastrand::Rng, publisher: &mut Publisher) -> Urgency {
        let verdict = self.watch.as_mut().and_then(|watch| watch.look(time, self.alive, chance));
        let Some(verdict) = verdict else { return Urgency::None };
        let mut urgency = Urgency::None;
        for endpoint in &self.endpoints {
            let news = EndpointNews::of_only_probe(&self.name, endpoint, verdict);
            urgency = urgency.max(publisher.apply(News::Probe(news), now));
        }
        urgency
    }
}

fn is_sane(load: f64, capacity: Option<f64>) -> bool {
    (0.0..=MOST).contains(&load) && capacity.is_none_or(|capacity| capacity > 0.0 && capacity <= MOST)
}

/// No counter of a balancer gets this far in its lifetime: beyond it, the feed lies.
const MOST: f64 = 1e15;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Coordinates;
    use crate::simulate::{ClientLocation, Site};

    const SECOND: Duration = Duration::from_secs(1);

    fn at(latitude: f64, longitude: f64) -> Coordinates {
        Coordinates::new(latitude, longitude).expect("coordinates")
    }

    /// Seoul and Virginia, with a location beside each.
    fn two() -> Simulation {
        let region = |name: &str, at| Site { name: name.into(), at, cost: 0.5, capacity: 100.0 };
        let place = |name: &str, at| ClientLocation { country: None, at, name: name.into() };
        let (east, west) = (at(37.5, 127.0), at(38.0, -78.0));
        let regions = vec![region("seoul", east), region("virginia", west)];
        let locations = vec![place("Seoul", east), place("Washington", west)];
        Simulation::start(&World { regions, locations, ..World::default() }).expect("a simulation")
    }

    fn second(simulation: &mut Simulation, t: u32) {
        simulation.end_second();
        simulation.set_time(SECOND * t);
    }

    #[test]
    fn clients_go_to_the_region_beside_them() {
        let mut simulation = two();
        assert_eq!(simulation.query(0, 1, true), Some(SimulatedAnswer { region: 0, ttl_s: 30 }));
        assert_eq!(simulation.query(1, 1, false), Some(SimulatedAnswer { region: 1, ttl_s: 30 }));
        assert_eq!(simulation.query(2, 1, true), None);
    }

    #[test]
    fn a_dead_region_is_answered_for_less_than_seven_seconds_and_with_a_short_ttl() {
        let mut simulation = two();
        (0..20).for_each(|t| second(&mut simulation, t));
        simulation.set_alive(0, false);
        let answers = (20..40).map(|t| {
            second(&mut simulation, t);
            simulation.query(0, 7, true).expect("an answer")
        });
        let answers: Vec<SimulatedAnswer> = answers.collect();
        let last = answers.iter().rposition(|answer| answer.region == 0).expect("one before it is noticed");
        assert!(last <= 6, "{answers:?}");
        assert_eq!(answers[last].ttl_s, 5, "suspect by then");
        assert_eq!(answers[19], SimulatedAnswer { region: 1, ttl_s: 5 });
    }

    #[test]
    fn a_region_that_is_dead_at_the_start_is_never_answered() {
        let mut simulation = two();
        simulation.set_alive(0, false);
        assert_eq!(simulation.query(0, 1, true).map(|answer| answer.region), Some(1));
    }

    #[test]
    fn reports_that_make_no_sense_change_nothing() {
        let mut simulation = two();
        simulation.report_load(0, 50.0, Some(100.0));
        second(&mut simulation, 1);
        simulation.query(0, 1, true);
        let load = |simulation: &Simulation| simulation.snapshot().states[0].load.last.map(|figure| figure.load);
        for (figure, capacity) in
            [(f64::NAN, Some(1.0)), (-1.0, None), (f64::INFINITY, None), (5.0, Some(0.0)), (5.0, Some(f64::NAN))]
        {
            simulation.report_load(0, figure, capacity);
            simulation.report_load(9, figure, capacity);
        }
        second(&mut simulation, 2);
        simulation.query(0, 1, true);
        assert_eq!(load(&simulation), Some(50.0));
        simulation.report_load(0, 70.0, None);
        second(&mut simulation, 3);
        simulation.query(0, 1, true);
        assert_eq!(load(&simulation), Some(70.0));
    }
}
