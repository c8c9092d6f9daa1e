//! The single writer: takes what was observed and said, and makes the next snapshot of it.
//!
//! Holds no clock and no channel; time is an argument, whoever drives it brings the news. Facts
//! are kept by name (region `seoul@gslb.example`, endpoint `203.0.113.10`), so that they outlive
//! a reload that renumbers regions, and news of a region that is gone meanwhile is forgotten.

mod kept;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use arc_swap::ArcSwap;

use crate::atlas::Atlas;
use crate::model::{Endpoint, GroupId, Model, Prefix, Region, RegionId, ServiceId};
use crate::steer::choice::endpoint_set::handouts;
use crate::steer::decide::View;
use crate::steer::health::shed::{is_over, shed};
use crate::steer::health::stability::DrainBegin;
use crate::steer::health::standing::{EndpointState, Override, RegionState, region_verdict, standing};
use crate::steer::health::verdict::Verdict;
use crate::steer::latency::rtt::Measured;
use crate::steer::load::state::LoadFigure;
use crate::steer::plan::precomputed::Settled;
use crate::steer::plan::{Inputs, next_expiry, plan};
use crate::steer::planner::demand::DemandSample;

use super::lookup::endpoints::EndpointRecords;
use super::memory::damping;
use super::memory::damping::Calm;
use super::memory::followers::Followers;
use super::memory::planning::Planning;
use super::memory::reported::{FADING_STEP, Reported};
use super::memory::switches::{Switches, in_force};
use super::{NameTable, Shared, Snapshot};

/// What a probe found out about one endpoint.
#[derive(Clone, Debug)]
pub struct EndpointNews {
    /// Qualified name.
    pub region: Arc<str>,
    /// `Endpoint::label`.
    pub endpoint: Arc<str>,
    pub verdict: Verdict,
    /// For people: what was seen.
    pub seen: String,
    pub connect_ms: Option<f64>,
}

/// What a load report says of one region.
#[derive(Clone, Debug)]
pub struct LoadNews {
    /// Qualified name.
    pub region: Arc<str>,
    /// Load (0 or more, finite) and, where it was said, capacity (above 0, finite); or why not.
    pub outcome: Result<(f64, Option<f64>), String>,
}

/// The state behind the snapshots.
pub struct Publisher {
    shared: Shared,
    followers: Arc<Followers>,
    model: Arc<Model>,
    names: Arc<NameTable>,
    endpoints: Arc<EndpointRecords>,
    atlas: Arc<Atlas>,
    measured: Arc<Measured>,
    nsid: Box<[u8]>,
    seed: u64,
    reloads: u64,
    /// Of the model, by qualified name.
    ids: HashMap<String, RegionId>,
    /// By qualified region name.
    regions: HashMap<String, RegionFacts>,
    /// By qualified region name too.
    calm: Calm,
    planning: Planning,
    overrides: BTreeMap<String, Override>,
    switches: Switches,
    /// Of the model: the stages that follow from them.
    switched: BTreeMap<ServiceId, GroupId>,
    /// Why what operators said before could not be read.
    overrides_error: Option<Arc<str>>,
}

#[derive(Default)]
struct RegionFacts {
    endpoints: HashMap<String, EndpointState>,
    reported: Reported,
    /// Its load is at its limit, or was and has not fallen well below since.
    over_limit: bool,
    /// The part of new clients it sheds.
    shed: f64,
}

impl RegionFacts {
    /// Forgets what nobody asks for any more. A price without reports would stay for ever, and an
    /// old verdict would pass for a proof should the check come back.
    fn forget_unasked(&mut self, region: &Region) {
        if region.check.is_none() {
            self.endpoints.clear();
        }
        if region.load_report.is_none() {
            self.reported = Reported::default();
            (self.over_limit, self.shed) = (false, 0.0);
        }
    }
}

impl Publisher {
    /// A publisher whose first snapshot is made at once: nothing probed, nothing reported.
    pub fn new(
        model: Model,
        atlas: Atlas,
        nsid: &str,
        seed: u64,
        overrides: BTreeMap<String, Override>,
        now: Instant,
    ) -> Publisher {
        let names = Arc::new(NameTable::build(&model));
        let endpoints = Arc::new(EndpointRecords::build(&model));
        let atlas = match model.named_networks() {
            none if none.is_empty() => atlas,
            networks => atlas.refined(&networks),
        };
        let first_model = Arc::new(model);
        let first = Snapshot {
            generation: 0,
            reloads: 0,
            model: first_model.clone(),
            names: names.clone(),
            atlas: Arc::new(atlas),
            states: Vec::new(),
            handouts: Vec::new(),
            plan: Default::default(),
            settled: Default::default(),
            endpoints: endpoints.clone(),
            measured: Arc::default(),
            nsid: nsid.as_bytes().into(),
            overrides_error: None,
            planning: None,
            made_at: now,
            made_at_wall: SystemTime::now(),
        };
        let mut publisher = Publisher {
            model: first_model.clone(),
            atlas: first.atlas.clone(),
            measured: first.measured.clone(),
            nsid: first.nsid.clone(),
            shared: Arc::new(ArcSwap::from_pointee(first)),
            followers: Arc::default(),
            names,
            endpoints,
            seed,
            reloads: 0,
            ids: region_ids(&first_model),
            regions: HashMap::new(),
            calm: Calm::default(),
            planning: Planning::new(),
            overrides,
            switches: Switches::new(),
            switched: BTreeMap::new(),
            overrides_error: None,
        };
        publisher.publish(now);
        publisher
    }

    /// The pointer this publisher swaps.
    pub fn shared(&self) -> Shared {
        self.shared.clone()
    }

    /// Who is told of every swap.
    pub fn followers(&self) -> Arc<Followers> {
        self.followers.clone()
    }

    /// Takes a new model and atlas, whole. What is known of regions and endpoints that are still
    /// there is kept. Call [`Publisher::publish`] after.
    pub fn reload(&mut self, model: Model, atlas: Atlas, nsid: &str, seed: u64) {
        self.names = Arc::new(NameTable::build(&model));
        self.endpoints = Arc::new(EndpointRecords::build(&model));
        self.model = Arc::new(model);
        self.atlas = self.refined(atlas);
        self.nsid = nsid.as_bytes().into();
        self.seed = seed;
        self.reloads += 1;
        self.ids = region_ids(&self.model);
        self.switched = in_force(&self.model, &self.switches);
        let (ids, model) = (&self.ids, &self.model);
        self.regions.retain(|name, facts| {
            let Some(&id) = ids.get(name) else { return false };
            let labels: Vec<String> = model.region(id).endpoints.iter().map(Endpoint::label).collect();
            facts.endpoints.retain(|label, _| labels.contains(label));
            facts.forget_unasked(model.region(id));
            true
        });
        self.calm.retain(|name| ids.contains_key(name));
    }

    /// Takes a new atlas; all else stays. Call [`Publisher::publish`] after.
    pub fn replace_atlas(&mut self, atlas: Atlas) {
        self.atlas = self.refined(atlas);
    }

    /// Takes what was measured of round trips, in place of all that was before. Where other networks
    /// have estimates than before, the atlas is renewed to tell those apart. Call
    /// [`Publisher::publish`] after.
    pub fn replace_measured(&mut self, measured: Arc<Measured>) {
        let renews = measured.networks() != self.measured.networks();
        self.measured = measured;
        if renews {
            self.atlas = Arc::new(self.atlas.refined(&self.networks()));
        }
    }

    /// An atlas as built, with the networks told apart that matter.
    fn refined(&self, atlas: Atlas) -> Arc<Atlas> {
        match self.networks() {
            none if none.is_empty() => Arc::new(atlas),
            networks => Arc::new(atlas.refined(&networks)),
        }
    }

    /// Those that were measured, and those that services' rules and lists name.
    fn networks(&self) -> Vec<Prefix> {
        [self.measured.networks(), self.model.named_networks()].concat()
    }

    /// Takes every endpoint that nobody probed as up, for answers worked out from files alone.
    pub fn assume_up(&mut self, now: Instant) {
        let model = self.model.clone();
        for id in model.region_ids() {
            for endpoint in &model.region(id).endpoints {
                self.endpoint_news(
                    EndpointNews {
                        region: model.qualified_region_name(id).into(),
                        endpoint: endpoint.label().into(),
                        verdict: Verdict::Up,
                        seen: "assumed up: not probed".into(),
                        connect_ms: None,
                    },
                    now,
                );
            }
        }
        self.publish(now);
    }

    /// Takes a probe's news. Says whether it changes what is answered, so that it should be
    /// published at once.
    pub fn endpoint_news(&mut self, news: EndpointNews, now: Instant) -> bool {
        let Some(&id) = self.ids.get(&*news.region) else { return false };
        let facts = self.regions.entry(news.region.to_string()).or_default();
        let known = self.model.region(id).endpoints.iter().any(|endpoint| endpoint.label() == *news.endpoint);
        if !known {
            return false;
        }
        let seen = facts.endpoints.entry(news.endpoint.to_string()).or_default();
        let changed = seen.verdict != Some(news.verdict);
        if changed {
            seen.verdict = Some(news.verdict);
            seen.since = Some(now);
        }
        seen.probed_at = Some(now);
        seen.last_probe = news.seen;
        seen.connect_ms = news.connect_ms.or(seen.connect_ms);
        changed
    }

    /// [`Publisher::load_news_of`] for a figure as of now.
    pub fn load_news(&mut self, news: LoadNews, now: Instant) -> bool {
        self.load_news_of(news, now, now)
    }

    /// Takes a load report whose figure is as of `at`. A report moves the region's price and trim, unless it is
    /// doubted; a failed one moves nothing, nor does one that is stale already. A figure older than the one that is
    /// known tells nothing. Says whether it is news that is acted on.
    pub fn load_news_of(&mut self, news: LoadNews, at: Instant, now: Instant) -> bool {
        let Some(&id) = self.ids.get(&*news.region) else { return false };
        let region = self.model.region(id);
        let Some(report) = &region.load_report else { return false };
        let facts = self.regions.entry(news.region.to_string()).or_default();
        let (load, capacity) = match news.outcome {
            Ok(figures) => figures,
            Err(why) => {
                facts.reported.fail(why);
                return false;
            }
        };
        let figure = LoadFigure { load, capacity: capacity.or(region.capacity), at };
        if !facts.reported.take(figure, report, now) {
            return false;
        }
        let limits = region.load_limits;
        facts.over_limit = limits.limit.is_some_and(|limit| is_over(limit, figure.load, facts.over_limit));
        facts.shed = limits.shed.zip(figure.utilisation()).map_or(0.0, |(watermarks, used)| shed(watermarks, used));
        self.planning.report(id);
        true
    }

    /// Takes answers that were given. Their ids are of the current snapshot.
    pub fn demand_news(&mut self, samples: &[DemandSample], now: Instant) {
        let current = self.shared.load();
        if let Some(sites) = &current.plan.sites
            && Arc::ptr_eq(&current.model, &self.model)
        {
            self.planning.count(samples, &self.model, sites, now);
        }
    }

    /// Sets what the operator says of a region, by qualified name. `Auto` forgets.
    pub fn say(&mut self, region: &str, said: Override) {
        self.calm.said(region, said);
        match said {
            Override::Auto => self.overrides.remove(region),
            said => self.overrides.insert(region.to_owned(), said),
        };
    }

    /// Takes which stages services are on, in place of all that was said before. Call
    /// [`Publisher::publish`] after.
    pub fn replace_switches(&mut self, switches: Switches) {
        self.switched = in_force(&self.model, &switches);
        self.switches = switches;
    }

    /// What operators switched: what must survive a restart.
    pub fn switches(&self) -> &Switches {
        &self.switches
    }

    /// All overrides but `auto`, by qualified region name: what must survive a restart.
    pub fn overrides(&self) -> &BTreeMap<String, Override> {
        &self.overrides
    }

    /// What operators said before could not be read: all regions stand on `auto` until it can. Call
    /// [`Publisher::publish`] after.
    pub fn lose_overrides(&mut self, why: &str) {
        self.overrides_error = Some(why.into());
    }

    /// Takes the begin of a drain as it was kept. Call it before the [`Publisher::publish`] that follows `say`.
    pub fn drain_began(&mut self, region: &str, begin: &DrainBegin) {
        self.calm.began(region, begin);
    }

    /// Takes what operators said before, and how drains began; forgets that it could not be read. Call
    /// [`Publisher::publish`] after.
    pub fn restore_overrides(
        &mut self,
        overrides: BTreeMap<String, Override>,
        drains: BTreeMap<String, DrainBegin>,
        now: Instant,
    ) {
        (self.overrides, self.overrides_error) = (overrides, None);
        self.calm.restore_drains(drains, now, SystemTime::now());
    }

    /// All drains under way, and one of `also` that begins now, by qualified region name: what must survive a
    /// restart beside the overrides.
    pub fn drains(&self, also: Option<&str>, now: Instant) -> BTreeMap<String, DrainBegin> {
        self.calm.drains(also, &self.shared.load(), now, SystemTime::now())
    }

    /// Why what operators said before could not be read, if so.
    pub fn overrides_error(&self) -> Option<&str> {
        self.overrides_error.as_deref()
    }

    /// When something changes after `now` by the passing of time alone: a TTL calms down, a report goes stale, a
    /// price fades.
    pub fn next_change(&self, now: Instant) -> Option<Instant> {
        let current = self.shared.load();
        let stale = self.model.region_ids().filter_map(|id| {
            let at = self.stale_at(id)?;
            (at > now).then_some(at)
        });
        let calm = damping::next_change(&self.model, &current.states, now);
        // What the planner has to do may be due already: first what was lost is done without.
        let planning = self.planning.next();
        let fades = self.planning.planned_for(&self.model).is_none()
            && self.regions.values().any(|facts| facts.reported.fades());
        let fading = fades.then(|| current.made_at + FADING_STEP);
        next_expiry(&current.states, now).into_iter().chain(stale).chain(calm).chain(planning).chain(fading).min()
    }

    /// Makes the next snapshot and swaps it in.
    pub fn publish(&mut self, now: Instant) {
        let made_at_wall = SystemTime::now();
        let mut states: Vec<RegionState> = self.model.region_ids().map(|id| self.state_of(id, now)).collect();
        let before = self.shared.load_full();
        self.calm.settle(&self.model, &before, &mut states, now, made_at_wall);
        let comparable = Arc::ptr_eq(&before.model, &self.model) && Arc::ptr_eq(&before.atlas, &self.atlas);
        let previous = comparable.then_some((&before.plan, before.states.as_slice()));
        self.planning.advance(&self.model, previous.map(|(plan, _)| plan), &states, now);
        self.weigh(&mut states, now);
        let planned = self.planning.planned_for(&self.model);
        let inputs = Inputs {
            model: &self.model,
            atlas: &self.atlas,
            states: &states,
            measured: &self.measured,
            switched: &self.switched,
            seed: self.seed,
            planned,
            previous,
            now,
        };
        let plan = plan(&inputs);
        let handouts = handouts(&self.model, &states, self.seed);
        let view = View { model: &self.model, atlas: &self.atlas, handouts: &handouts, plan: &plan };
        let settled = Settled::of(&view);
        let next = Arc::new(Snapshot {
            generation: before.generation + 1,
            reloads: self.reloads,
            model: self.model.clone(),
            names: self.names.clone(),
            atlas: self.atlas.clone(),
            handouts,
            states,
            plan,
            settled,
            endpoints: self.endpoints.clone(),
            measured: self.measured.clone(),
            nsid: self.nsid.clone(),
            overrides_error: self.overrides_error.clone(),
            planning: self.planning.basis().cloned(),
            made_at: now,
            made_at_wall,
        });
        self.followers.tell(next.generation, || self.shared.store(next.clone()));
    }

    /// Gives states what is made of their load reports, and their prices.
    fn weigh(&mut self, states: &mut [RegionState], now: Instant) {
        let planned = self.planning.planned_for(&self.model).cloned();
        for (id, state) in self.model.region_ids().zip(states) {
            let reported = &mut self.regions.entry(self.model.qualified_region_name(id)).or_default().reported;
            // Just after a reload nothing is weighed yet: what was known before holds on.
            if let Some(feed) = self.planning.feed(&self.model, id) {
                reported.weigh(feed);
            }
            reported.note(now);
            state.load = reported.load.clone();
            let planned_ms = planned.as_ref().and_then(|planned| planned.prices_ms.get(id.index()).copied());
            state.price_ms = reported.price(planned_ms, now);
        }
    }

    fn stale_at(&self, id: RegionId) -> Option<Instant> {
        let facts = self.regions.get(&self.model.qualified_region_name(id))?;
        facts.reported.stale_at(self.model.region(id).load_report.as_ref()?)
    }

    /// By what is observed and said alone: [`Calm`] has the last word on the standing.
    fn state_of(&mut self, id: RegionId, now: Instant) -> RegionState {
        let name = self.model.qualified_region_name(id);
        let region = self.model.region(id);
        let said = self.overrides.get(&name).copied().unwrap_or_default();
        let facts = self.regions.entry(name).or_default();
        let endpoints: Vec<EndpointState> = region
            .endpoints
            .iter()
            .map(|endpoint| match region.check {
                Some(_) => facts.endpoints.get(&endpoint.label()).cloned().unwrap_or_default(),
                None => EndpointState::default(),
            })
            .collect();
        // Nothing unproven is served: what is checked and not yet probed counts as down.
        let checked = region.check.is_some();
        let proven = |endpoint: &EndpointState| match endpoint.verdict {
            None if checked => Some(Verdict::Down),
            verdict => verdict,
        };
        let verdict = region_verdict(endpoints.iter().map(proven), region.min_healthy);
        facts.reported.settle_stale(region.load_report.as_ref(), now);
        RegionState {
            standing: standing(verdict, said),
            verdict,
            said,
            endpoints,
            load: facts.reported.load.clone(),
            price_ms: 0.0, // follows once its reports are weighed
            // By the last report that made sense: a feed that went silent sheds as much as before.
            shed: if region.load_limits.shed.is_some() { facts.shed } else { 0.0 },
            over_limit: facts.over_limit && region.load_limits.limit.is_some(),
            changed_at: None,
            offered: 1.0,
            stability: Default::default(),
        }
    }
}

fn region_ids(model: &Model) -> HashMap<String, RegionId> {
    model.region_ids().map(|id| (model.qualified_region_name(id), id)).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::{
        Check, CheckKind, Coordinates, EndpointTarget, Layer, LoadReport, Location, Name, Policy, Service, Zone, ZoneId,
    };
    use crate::steer::health::standing::Standing;
    use crate::steer::load::feed::Doubt;
    use crate::steer::load::state::Heard;
    use crate::steer::plan::AFTERMATH;
    use crate::steer::policy::eligible::Footing;
    use crate::steer::testing::World;

    const SEOUL: &str = "seoul@gslb.example";
    const VIRGINIA: &str = "virginia@gslb.example";

    fn model(regions: &[(&str, &str)]) -> Model {
        let origin = Name::parse_absolute("gslb.example").expect("a name");
        let region = |&(name, address): &(&str, &str)| Region {
            name: name.into(),
            zone: ZoneId(0),
            location: Location::default(),
            coordinates: Coordinates::new(0.0, 0.0).expect("coordinates"),
            capacity: Some(100.0),
            cost: 0.0,
            endpoints: vec![Endpoint {
                target: EndpointTarget::Addresses(vec![address.parse().expect("an address")]),
                weight: 1,
                layer: Layer::L7,
            }],
            check: Some(Check {
                kind: CheckKind::Tcp { port: 80 },
                interval: Duration::from_secs(5),
                timeout: Duration::from_secs(2),
                fall: 3,
                rise: 3,
            }),
            rum_url: None,
            load_report: Some(LoadReport::pushed(Duration::from_secs(10))),
            load_limits: Default::default(),
            min_healthy: 1,
            slow_start: Region::SLOW_START,
        };
        let regions: Vec<Region> = regions.iter().map(region).collect();
        let ids = (0..regions.len()).map(|index| RegionId(index as u16)).collect();
        let service = Service::flat(Name::parse("www", &origin).expect("a name"), ZoneId(0), Policy::Failover, ids);
        Model {
            zones: vec![Zone { origin, nodes: BTreeMap::new() }],
            regions,
            services: vec![service],
            ..Model::default()
        }
    }

    fn two() -> Model {
        model(&[("seoul", "192.0.2.1"), ("virginia", "192.0.2.2")])
    }

    fn publisher(now: Instant) -> Publisher {
        Publisher::new(two(), Atlas::empty(), "", 0, BTreeMap::new(), now)
    }

    fn probed(region: &str, endpoint: &str, verdict: Verdict) -> EndpointNews {
        EndpointNews {
            region: region.into(),
            endpoint: endpoint.into(),
            verdict,
            seen: String::new(),
            connect_ms: None,
        }
    }

    fn loaded(region: &str, outcome: Result<(f64, Option<f64>), String>) -> LoadNews {
        LoadNews { region: region.into(), outcome }
    }

    fn standings(publisher: &Publisher) -> Vec<Standing> {
        publisher.shared().load().states.iter().map(|state| state.standing).collect()
    }

    #[test]
    fn what_is_checked_and_not_yet_probed_is_not_served() {
        let now = Instant::now();
        let mut publisher = publisher(now);
        assert_eq!(standings(&publisher), [Standing::Down, Standing::Down]);
        assert!(publisher.endpoint_news(probed(VIRGINIA, "192.0.2.2", Verdict::Up), now));
        publisher.publish(now);
        assert_eq!(standings(&publisher), [Standing::Down, Standing::Up]);
        // Proving itself is not coming back: nothing changed that a cache could remember.
        assert_eq!(publisher.shared().load().states[1].changed_at, None);
        assert!(!publisher.endpoint_news(probed(VIRGINIA, "192.0.2.2", Verdict::Up), now));
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
        publisher.replace_measured(Arc::new(Measured::of([(group, SEOUL, estimate)])));
        publisher.publish(now);
        assert_eq!(told_apart(&publisher), Some(network));
        publisher.reload(model(&[("seoul", "192.0.2.1")]), Atlas::empty(), "", 0);
        publisher.publish(now);
        assert_eq!(told_apart(&publisher), Some(network));
        publisher.replace_measured(Arc::default());
        publisher.publish(now);
        assert_eq!(told_apart(&publisher), None);
    }

    #[test]
    fn every_swap_is_a_generation_and_going_down_is_remembered() {
        let now = Instant::now();
        let mut publisher = publisher(now);
        publisher.assume_up(now);
        let before = publisher.shared().load_full();
        let later = now + Duration::from_secs(7);
        assert!(publisher.endpoint_news(probed(SEOUL, "192.0.2.1", Verdict::Down), later));
        publisher.publish(later);
        let after = publisher.shared().load_full();
        assert_eq!(after.generation, before.generation + 1);
        assert_eq!(after.states[0].changed_at, Some(later));
        assert!(after.plan.services[0].aftermath);
        assert_eq!(publisher.next_change(later), Some(later + AFTERMATH));
        publisher.publish(later + AFTERMATH);
        assert!(!publisher.shared().load().plan.services[0].aftermath);
    }

    #[test]
    fn a_silent_feed_is_stale_and_its_price_fades() {
        let began = Instant::now();
        let at = |second: u64| began + Duration::from_secs(second);
        let mut publisher = publisher(began);
        publisher.assume_up(began);
        let mut step = |second: u64, outcome: Option<Result<(f64, Option<f64>), String>>| {
            outcome.into_iter().for_each(|outcome| _ = publisher.load_news(loaded(SEOUL, outcome), at(second)));
            publisher.publish(at(second));
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
        publisher.assume_up(began);
        let now = began + Duration::from_secs(300);
        let ago = |seconds| now - Duration::from_secs(seconds);
        let mut report = |load: f64, at: Instant| {
            let changed = publisher.load_news_of(loaded(SEOUL, Ok((load, None))), at, now);
            publisher.publish(now);
            let stale_at = publisher.stale_at(RegionId(0));
            (changed, publisher.shared().load().states[0].load.clone(), stale_at)
        };
        // Nothing else is known: it is kept, and not acted on.
        let (changed, load, _) = report(150.0, ago(120));
        assert!(!changed && load.stale && load.last.is_some_and(|figure| figure.at == ago(120)));
        let (changed, load, stale_at) = report(150.0, ago(20));
        assert!(changed && !load.stale);
        assert_eq!(stale_at, Some(now + Duration::from_secs(10)), "by its own age");
        let (changed, load, _) = report(1.0, ago(25));
        assert!(!changed && load.last.is_some_and(|figure| figure.load == 150.0 && figure.at == ago(20)));
        assert_eq!(report(140.0, ago(20)).1.last.map(|figure| figure.load), Some(140.0));
    }

    #[test]
    fn a_load_beyond_four_times_the_capacity_is_believed_no_further_and_told() {
        let now = Instant::now();
        let mut publisher = publisher(now);
        publisher.load_news(loaded(SEOUL, Ok((1e9, None))), now);
        publisher.publish(now);
        let load = publisher.shared().load().states[0].load.clone();
        assert_eq!(load.heard(), Heard::Doubted(Doubt::Units));
        assert_eq!(load.last.map(|figure| (figure.load, figure.capacity)), Some((400.0, Some(100.0))));
        let error = load.error.expect("told");
        assert!(error.contains("1000000000") && error.contains("400 is believed"), "{error}");
        publisher.load_news(loaded(SEOUL, Ok((400.0, None))), now);
        publisher.publish(now);
        assert_eq!(publisher.shared().load().states[0].load.error, None);
    }

    #[test]
    fn a_reload_keeps_what_is_known_by_name() {
        let now = Instant::now();
        let mut publisher = publisher(now);
        publisher.assume_up(now);
        publisher.endpoint_news(probed(VIRGINIA, "192.0.2.2", Verdict::Down), now);
        publisher.say(SEOUL, Override::Drain);
        publisher.load_news(loaded(VIRGINIA, Ok((50.0, None))), now);
        publisher.publish(now);
        // Renumbered, and one more.
        let next = model(&[("tokyo", "192.0.2.3"), ("virginia", "192.0.2.2"), ("seoul", "192.0.2.1")]);
        publisher.reload(next, Atlas::empty(), "", 0);
        publisher.publish(now);
        assert_eq!(standings(&publisher), [Standing::Down, Standing::Down, Standing::Drain]);
        let snapshot = publisher.shared().load_full();
        assert_eq!(snapshot.states[1].load.last.map(|figure| figure.load), Some(50.0));
        assert_eq!(snapshot.reloads, 1);
        // An endpoint whose address changed has to prove itself.
        publisher.reload(model(&[("seoul", "192.0.2.9")]), Atlas::empty(), "", 0);
        publisher.publish(now);
        assert_eq!(publisher.shared().load().states[0].endpoints[0].verdict, None);
    }

    #[test]
    fn a_region_that_reports_no_load_any_more_charges_nothing() {
        let now = Instant::now();
        let mut publisher = publisher(now);
        publisher.assume_up(now);
        publisher.load_news(loaded(SEOUL, Ok((900.0, None))), now);
        publisher.publish(now);
        assert!(publisher.shared().load().states[0].price_ms > 0.0);
        let mut silent = two();
        silent.regions[0].load_report = None;
        publisher.reload(silent, Atlas::empty(), "", 0);
        assert!(!publisher.load_news(loaded(SEOUL, Ok((900.0, None))), now), "a scrape that was still under way");
        publisher.publish(now);
        let snapshot = publisher.shared().load_full();
        assert_eq!((snapshot.states[0].price_ms, snapshot.states[0].load.last), (0.0, None));
        assert!(!snapshot.handouts[0].busy);
    }

    #[test]
    fn a_new_endpoint_is_not_handed_out_before_its_first_probe() {
        let now = Instant::now();
        let mut publisher = publisher(now);
        publisher.assume_up(now);
        let mut grown = two();
        let mut another = grown.regions[0].endpoints[0].clone();
        another.target = EndpointTarget::Addresses(vec!["192.0.2.9".parse().expect("an address")]);
        grown.regions[0].endpoints.push(another);
        publisher.reload(grown, Atlas::empty(), "", 0);
        let handed_out = |publisher: &Publisher| {
            publisher.shared().load().handouts[0].endpoints.iter().map(|choice| choice.index).collect::<Vec<_>>()
        };
        publisher.publish(now);
        assert_eq!(handed_out(&publisher), [0]);
        publisher.endpoint_news(probed(SEOUL, "192.0.2.9", Verdict::Up), now);
        publisher.publish(now);
        assert_eq!(handed_out(&publisher), [0, 1]);
    }

    #[test]
    fn a_check_or_load_report_that_is_gone_takes_its_facts_along() {
        let now = Instant::now();
        let mut publisher = publisher(now);
        publisher.assume_up(now);
        publisher.load_news(loaded(SEOUL, Ok((500.0, None))), now);
        publisher.publish(now);
        assert!(publisher.shared().load().states[0].price_ms > 0.0);
        let mut bare = two();
        bare.regions.iter_mut().for_each(|region| (region.check, region.load_report) = (None, None));
        publisher.reload(bare, Atlas::empty(), "", 0);
        publisher.publish(now);
        let state = publisher.shared().load().states[0].clone();
        assert_eq!((state.price_ms, state.load.last, state.standing), (0.0, None, Standing::Up));
        // Back, the check has to prove itself anew.
        publisher.reload(two(), Atlas::empty(), "", 0);
        publisher.publish(now);
        assert_eq!(publisher.shared().load().states[0].endpoints[0].verdict, None);
    }

    #[test]
    fn a_price_that_creeps_makes_no_new_plan_until_it_has_moved_half_a_millisecond() {
        let now = Instant::now();
        let mut publisher = publisher(now);
        publisher.assume_up(now);
        let mut at = now;
        let mut report = |load: f64| {
            publisher.load_news(loaded(SEOUL, Ok((load, Some(100.0)))), at);
            publisher.publish(at);
            at += Duration::from_secs(10);
            publisher.shared().load_full()
        };
        let first = report(95.0); // 1.2 ms
        let crept = report(86.0); // 1.32 ms
        assert!((first.states[0].price_ms - 1.2).abs() < 1e-9 && crept.states[0].price_ms == first.states[0].price_ms);
        assert!(Arc::ptr_eq(&first.plan.services[0].cells, &crept.plan.services[0].cells));
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
        publisher.reload(model, Atlas::empty(), "", 0);
        let mut prices = Vec::new();
        for _ in 0..50 {
            publisher.publish(now);
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
        assert!(
            heard(&publisher).reading.is_some_and(|reading| reading.unit > 0.0 && (0.8..1.2).contains(&reading.gain))
        );
        let later = now + Duration::from_secs(10);
        publisher.load_news(loaded("west@gslb.example", Ok((9.0, None))), later);
        publisher.publish(later);
        let doubted = heard(&publisher);
        assert_eq!((doubted.heard(), doubted.since), (Heard::Doubted(Doubt::Fell), Some(later)));
        // A reload with regions under other numbers: it is still this region's.
        let mut model = Model::clone(&publisher.shared().load().model);
        model.regions.swap(0, 1);
        publisher.reload(model, Atlas::empty(), "", 0);
        publisher.publish(later);
        let snapshot = publisher.shared().load_full();
        let heard = snapshot.states.iter().map(|state| state.load.heard()).collect::<Vec<_>>();
        assert_eq!(heard, [Heard::Believed, Heard::Doubted(Doubt::Fell)]);
        assert_eq!(snapshot.states[1].load.since, Some(later));
    }

    #[test]
    fn news_of_what_is_gone_is_forgotten() {
        let now = Instant::now();
        let mut publisher = publisher(now);
        assert!(!publisher.endpoint_news(probed("paris@gslb.example", "192.0.2.1", Verdict::Up), now));
        assert!(!publisher.endpoint_news(probed(SEOUL, "192.0.2.77", Verdict::Up), now));
        assert!(!publisher.load_news(loaded("paris@gslb.example", Ok((1.0, None))), now));
    }

    #[test]
    fn an_override_beats_probes_and_auto_takes_it_back() {
        let now = Instant::now();
        let mut publisher = publisher(now);
        publisher.assume_up(now);
        publisher.say(SEOUL, Override::Down);
        publisher.publish(now);
        assert_eq!(standings(&publisher), [Standing::Down, Standing::Up]);
        publisher.say(VIRGINIA, Override::Down);
        publisher.publish(now);
        assert_eq!(publisher.shared().load().plan.services[0].footing, Footing::AllWithdrawn);
        publisher.say(SEOUL, Override::Auto);
        publisher.publish(now);
        assert_eq!(standings(&publisher), [Standing::Up, Standing::Down]);
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
        let mut publisher = Publisher::new(world.model, world.atlas, "", 0, BTreeMap::new(), now);
        let mut loads = [60.0, 60.0];
        for _ in 0..60 {
            publisher.publish(now);
            let snapshot = publisher.shared().load_full();
            let place = snapshot.atlas.locate([10, 0, 0, 1].into()).place;
            let cell = snapshot.plan.services[0].cells.cell(place).expect("a cell");
            let kept = loads.map(|load| 0.7 * load);
            loads = kept;
            for (region, part) in cell.fractions() {
                loads[region.index()] += 0.3 * 130.0 * part;
                let (service, weight) = (ServiceId(0), (1000.0 * part * 30.0) as f32);
                publisher.demand_news(&[DemandSample { service, place, region, weight, ttl_s: 30.0 }], now);
            }
            for (name, load) in ["west@gslb.example", "east@gslb.example"].into_iter().zip(loads) {
                publisher.load_news(loaded(name, Ok((load, None))), now);
            }
            now += Duration::from_secs(10);
        }
        publisher.publish(now);
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
        model.regions.iter_mut().for_each(|region| region.check = None);
        model.regions[1].coordinates = Coordinates::new(0.0, apart_km / 111.195).expect("coordinates");
        let here = Location { coordinates: Coordinates::new(0.0, 0.0), ..Location::default() };
        model.default_location = Some(here);
        let mut publisher = Publisher::new(model, Atlas::empty(), "", 0, BTreeMap::new(), began);
        let mut loads = [demand, 0.0];
        let period = |number: u32| {
            let now = began + Duration::from_secs(10) * number;
            let snapshot = publisher.shared().load_full();
            let cell = snapshot.plan.services[0].cells.cell(crate::atlas::PlaceId::UNKNOWN).expect("a cell");
            for (name, load) in [SEOUL, VIRGINIA].into_iter().zip(loads) {
                publisher.load_news(loaded(name, Ok((load, None))), now);
            }
            loads = loads.map(|load| kept * load);
            cell.fractions().for_each(|(region, share)| loads[region.index()] += (1.0 - kept) * share * demand);
            publisher.publish(now);
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
}
