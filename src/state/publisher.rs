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
use crate::steer::decide::View;
use crate::steer::demand::DemandSample;
use crate::steer::handout::handouts;
use crate::steer::health::Verdict;
use crate::steer::plan::{Inputs, next_expiry, plan};
use crate::steer::rtt::Measured;
use crate::steer::settled::Settled;
use crate::steer::shed::{is_over, shed};
use crate::steer::stability::DrainBegin;
use crate::steer::standing::{EndpointState, LoadFigure, Override, RegionState, region_verdict, standing};

use super::calm::{self, Calm};
use super::configured::Configured;
use super::followers::Followers;
use super::planning::Planning;
use super::reported::{FADING_STEP, Reported};
use super::switches::{Switches, in_force};
use super::{Shared, Snapshot};

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
    configured: Arc<Configured>,
    atlas: Arc<Atlas>,
    measured: Arc<Measured>,
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
        let configured = Arc::new(Configured::new(model, nsid, seed, 0));
        let (measured, atlas) = (Arc::<Measured>::default(), refined(atlas, &Measured::default(), &configured.model));
        let first = Snapshot {
            generation: 0,
            configured: configured.clone(),
            atlas: atlas.clone(),
            states: Vec::new(),
            handouts: Vec::new(),
            plan: Default::default(),
            settled: Default::default(),
            measured: measured.clone(),
            overrides_error: None,
            planning: None,
            made_at: now,
        };
        let mut publisher = Publisher {
            shared: Arc::new(ArcSwap::from_pointee(first)),
            followers: Arc::default(),
            configured,
            atlas,
            measured,
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
        let reloads = self.configured.reloads + 1;
        self.configured = Arc::new(Configured::new(model, nsid, seed, reloads));
        let configured = &self.configured;
        self.atlas = refined(atlas, &self.measured, &configured.model);
        self.switched = in_force(&configured.model, &self.switches);
        self.regions.retain(|name, facts| {
            let Some(id) = configured.region_id(name) else { return false };
            let region = configured.model.region(id);
            let labels: Vec<String> = region.endpoints.iter().map(Endpoint::label).collect();
            facts.endpoints.retain(|label, _| labels.contains(label));
            facts.forget_unasked(region);
            true
        });
        self.calm.retain(|name| configured.region_id(name).is_some());
    }

    /// Takes a new atlas; all else stays. Call [`Publisher::publish`] after.
    pub fn replace_atlas(&mut self, atlas: Atlas) {
        self.atlas = refined(atlas, &self.measured, &self.configured.model);
    }

    /// Takes what was measured of round trips, in place of all that was before. Where other networks
    /// have estimates than before, the atlas is renewed to tell those apart. Call
    /// [`Publisher::publish`] after.
    pub fn replace_measured(&mut self, measured: Arc<Measured>) {
        let renews = measured.networks() != self.measured.networks();
        self.measured = measured;
        if renews {
            self.atlas = Arc::new(self.atlas.refined(&networks(&self.measured, &self.configured.model)));
        }
    }

    /// Takes every endpoint that nobody probed as up, for answers worked out from files alone.
    pub fn assume_up(&mut self, now: Instant) {
        let model = self.configured.model.clone();
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
        let Some(id) = self.configured.region_id(&news.region) else { return false };
        let facts = self.regions.entry(news.region.to_string()).or_default();
        let known =
            self.configured.model.region(id).endpoints.iter().any(|endpoint| endpoint.label() == *news.endpoint);
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
        let Some(id) = self.configured.region_id(&news.region) else { return false };
        let region = self.configured.model.region(id);
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
            && Arc::ptr_eq(&current.model, &self.configured.model)
        {
            self.planning.count(samples, &self.configured.model, sites, now);
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
        self.switched = in_force(&self.configured.model, &switches);
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
        let stale = self.configured.model.region_ids().filter_map(|id| {
            let at = self.stale_at(id)?;
            (at > now).then_some(at)
        });
        let calm = calm::next_change(&self.configured.model, &current.states, now);
        // What the planner has to do may be due already: first what was lost is done without.
        let planning = self.planning.next();
        let fades = self.planning.planned_for(&self.configured.model).is_none()
            && self.regions.values().any(|facts| facts.reported.fades());
        let fading = fades.then(|| current.made_at + FADING_STEP);
        next_expiry(&current.states, now).into_iter().chain(stale).chain(calm).chain(planning).chain(fading).min()
    }

    /// Makes the next snapshot and swaps it in.
    pub fn publish(&mut self, now: Instant) {
        let made_at_wall = SystemTime::now();
        let mut states: Vec<RegionState> =
            self.configured.model.region_ids().map(|id| self.state_of(id, now)).collect();
        let before = self.shared.load_full();
        self.calm.settle(&self.configured.model, &before, &mut states, now, made_at_wall);
        let comparable = Arc::ptr_eq(&before.model, &self.configured.model) && Arc::ptr_eq(&before.atlas, &self.atlas);
        let previous = comparable.then_some((&before.plan, before.states.as_slice()));
        self.planning.advance(&self.configured.model, previous.map(|(plan, _)| plan), &states, now);
        self.weigh(&mut states, now);
        let planned = self.planning.planned_for(&self.configured.model);
        let inputs = Inputs {
            model: &self.configured.model,
            atlas: &self.atlas,
            states: &states,
            measured: &self.measured,
            switched: &self.switched,
            seed: self.configured.seed,
            planned,
            previous,
            now,
        };
        let plan = plan(&inputs);
        let handouts = handouts(&self.configured.model, &states, self.configured.seed);
        let view = View { model: &self.configured.model, atlas: &self.atlas, handouts: &handouts, plan: &plan };
        let settled = Settled::of(&view);
        let next = Arc::new(Snapshot {
            generation: before.generation + 1,
            configured: self.configured.clone(),
            atlas: self.atlas.clone(),
            handouts,
            states,
            plan,
            settled,
            measured: self.measured.clone(),
            overrides_error: self.overrides_error.clone(),
            planning: self.planning.basis().cloned(),
            made_at: now,
        });
        self.followers.tell(next.generation, || self.shared.store(next.clone()));
    }

    /// Gives states what is made of their load reports, and their prices.
    fn weigh(&mut self, states: &mut [RegionState], now: Instant) {
        let planned = self.planning.planned_for(&self.configured.model).cloned();
        for (id, state) in self.configured.model.region_ids().zip(states) {
            let reported =
                &mut self.regions.entry(self.configured.model.qualified_region_name(id)).or_default().reported;
            // Just after a reload nothing is weighed yet: what was known before holds on.
            if let Some(feed) = self.planning.feed(&self.configured.model, id) {
                reported.weigh(feed);
            }
            reported.note(now);
            state.load = reported.load.clone();
            let planned_ms = planned.as_ref().and_then(|planned| planned.prices_ms.get(id.index()).copied());
            state.price_ms = reported.price(planned_ms, now);
        }
    }

    fn stale_at(&self, id: RegionId) -> Option<Instant> {
        let facts = self.regions.get(&self.configured.model.qualified_region_name(id))?;
        facts.reported.stale_at(self.configured.model.region(id).load_report.as_ref()?)
    }

    /// By what is observed and said alone: [`Calm`] has the last word on the standing.
    fn state_of(&mut self, id: RegionId, now: Instant) -> RegionState {
        let name = self.configured.model.qualified_region_name(id);
        let region = self.configured.model.region(id);
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

/// An atlas as built, with the networks told apart that matter.
fn refined(atlas: Atlas, measured: &Measured, model: &Model) -> Arc<Atlas> {
    match networks(measured, model) {
        none if none.is_empty() => Arc::new(atlas),
        networks => Arc::new(atlas.refined(&networks)),
    }
}

/// Those that were measured, and those that services' rules and lists name.
fn networks(measured: &Measured, model: &Model) -> Vec<Prefix> {
    [measured.networks(), model.named_networks()].concat()
}

#[cfg(test)]
mod tests;
