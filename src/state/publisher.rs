//! The single writer: takes what was observed and said, and makes the next snapshot of it.
//!
//! ```text
//!   News ─▶ apply ─▶ facts, damping, planning, overrides ─▶ publish ─▶ Snapshot
//!     ▲       └─▶ Urgency: when whoever brings the news publishes
//!     └─ Done ◀─ a job, run elsewhere ◀─ next_job
//! ```
//!
//! Holds no clock and no channel; time is an argument, by both clocks. Facts are kept by name (region
//! `seoul@gslb.example`), so that they outlive a reload that renumbers regions, and news of a region
//! that is gone meanwhile is forgotten.
//!
//! - [`facts`]: what is known of one region
//! - [`working`]: what may wait
//! - [`kept`]: all of it over a restart
//! - [`ballot`], [`voting`]: the votes of several vantages

mod ballot;
mod facts;
mod kept;
mod voting;
mod working;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;

use crate::atlas::Atlas;
use crate::model::{AddressPart, Checks, Model, Prefix, RegionId, ServiceId, Switched};
use crate::steer::choice::endpoint_set::endpoint_sets;
use crate::steer::decide::View;
use crate::steer::health::dependency;
use crate::steer::health::effective::{Override, RegionState};
use crate::steer::health::family::is_ipv6_doubtful;
use crate::steer::health::stability::DrainBegin;
use crate::steer::health::verdict::Verdict;
use crate::steer::kept::Clock;
use crate::steer::latency::rtt::Measured;
use crate::steer::plan::precomputed::Precomputed;
use crate::steer::plan::{Inputs, PartMade, next_expiry};
use crate::steer::planner::demand::DemandSample;

use super::configured::Configured;
use super::memory::damping;
use super::memory::damping::Damping;
use super::memory::followers::Followers;
use super::memory::planning::Planning;
use super::memory::planning::kept_form::KeptPlanning;
use super::memory::planning::role::SiteSample;
use super::memory::regrouping::Regrouping;
use super::memory::reported::FADING_STEP;
use super::memory::switches::{Switches, in_force, next_end_ms};
use super::news::{EndpointNews, HealthNews, LoadNews, News, Replacement, Urgency};
use super::regroup::told_apart;
use super::work::Ledger;
use super::{SharedSnapshot, Snapshot};
use ballot::{Asked, Ballot, Voting};
use facts::RegionFacts;

/// The state behind the snapshots.
pub struct Publisher {
    shared: SharedSnapshot,
    followers: Arc<Followers>,
    configured: Arc<Configured>,
    atlas: Arc<Atlas>,
    measured: Arc<Measured>,
    /// By qualified region name.
    regions: HashMap<String, RegionFacts>,
    /// By qualified region name too.
    damping: Damping,
    planning: Planning,
    work: Ledger,
    /// Jobs are left to who drives this.
    leaves_work: bool,
    regrouping: Regrouping,
    /// Tables that were made anew, for the next snapshot.
    made: Vec<PartMade>,
    /// The time since when some tables would come out otherwise if they were made anew.
    behind_since: Option<Instant>,
    overrides: BTreeMap<String, Override>,
    switches: Arc<Switches>,
    /// Of the model: what follows from them now.
    switched: BTreeMap<ServiceId, Switched>,
    /// When the next shift of a canary runs out.
    shift_ends: Option<Instant>,
    /// The reason why what operators said before could not be read.
    overrides_error: Option<Arc<str>>,
    voting: Voting,
    /// Of the model, once somebody wants to know.
    asked: OnceLock<Asked>,
}

impl Publisher {
    /// A publisher whose first snapshot is made at once: nothing probed, nothing reported.
    pub fn new(
        model: Model,
        atlas: Atlas,
        nsid: &str,
        seed: u64,
        overrides: BTreeMap<String, Override>,
        now: Clock,
    ) -> Publisher {
        let configured = Arc::new(Configured::new(model, nsid, seed, 0));
        let (measured, atlas) =
            (Arc::<Measured>::default(), refined(atlas, &told_apart(&Measured::default(), &configured.model)));
        let first = Snapshot {
            generation: 0,
            configured: configured.clone(),
            atlas: atlas.clone(),
            states: Vec::new(),
            endpoint_sets: Vec::new(),
            plan: Default::default(),
            precomputed: Default::default(),
            measured: measured.clone(),
            overrides_error: None,
            switches: Arc::default(),
            planning: None,
            vantages: None,
            made_at: now.now(),
        };
        let mut publisher = Publisher {
            shared: Arc::new(ArcSwap::from_pointee(first)),
            followers: Arc::default(),
            configured,
            atlas,
            measured,
            regions: HashMap::new(),
            damping: Damping::default(),
            planning: Planning::new(),
            work: Ledger::default(),
            regrouping: Regrouping::default(),
            // What the first parts do not decide is worked out for whoever asks, until somebody has the time for it.
            leaves_work: true,
            made: Vec::new(),
            behind_since: None,
            overrides,
            switches: Arc::default(),
            switched: BTreeMap::new(),
            shift_ends: None,
            overrides_error: None,
            voting: Voting::default(),
            asked: OnceLock::new(),
        };
        publisher.publish(now);
        publisher.leaves_work = false;
        publisher
    }

    /// The pointer this publisher swaps.
    pub fn shared(&self) -> SharedSnapshot {
        self.shared.clone()
    }

    /// The followers that are told of every swap.
    pub fn followers(&self) -> Arc<Followers> {
        self.followers.clone()
    }

    /// Takes news, for the next [`Publisher::publish`], and says how soon that has to be.
    pub fn apply(&mut self, news: News, now: Clock) -> Urgency {
        match news {
            News::Probe(news) => return self.take_probe(news, now.now()),
            News::Load(news) => return self.take_load(news, now.now()),
            News::Health(news) => return self.take_health(news),
            News::Demand(samples) => return self.take_demand(&samples, now.now()),
            News::DemandOfOthers(samples) => return self.take_demand_of_others(&samples, now.now()),
            News::Role(role) => self.planning.set_role(role, now.now()),
            News::Adopted(planning, clock) => return self.adopt(planning, &clock),
            News::Agreed(number) => return if self.planning.agree(number) { Urgency::Now } else { Urgency::None },
            News::Done(done) => return self.take_done(done, now.now()),
            News::Override { region, operator_override, drain } => self.take_override(region, operator_override, drain),
            News::Overrides { overrides, drains } => {
                (self.overrides, self.overrides_error) = (overrides, None);
                self.damping.restore_drains(drains, &now);
            }
            News::OverridesLost(why) => self.overrides_error = Some(why.into()),
            News::Switches(switches) => self.switches = Arc::new(switches),
            News::Vantages(others) => return self.take_vantages(others),
            News::Measured(measured) => return self.take_measured(measured, now.now()),
            News::Atlas(atlas) => self.atlas = refined(*atlas, &told_apart(&self.measured, &self.configured.model)),
            News::Reload(replacement) => self.reload(*replacement),
        }
        Urgency::Now
    }

    /// Makes the next snapshot and swaps it in.
    pub fn publish(&mut self, now: Clock) {
        let (before, clock, now) = (self.shared.load_full(), now, now.now());
        self.heed_switches(clock);
        let Configured { model, seed, .. } = &*self.configured.clone();
        let ballot = self.ballot(now);
        let mut states: Vec<RegionState> =
            model.region_ids().map(|id| self.state_of(id, ballot.as_ref(), now)).collect();
        let ipv6_doubted = is_ipv6_doubtful(model.regions.iter().zip(&states));
        states.iter_mut().for_each(|state| state.ipv6_doubted = ipv6_doubted && state.ipv6.is_some());
        let stage = |service| self.switched.get(&service).and_then(|switched| switched.stage);
        dependency::apply(model, stage, &mut states);
        self.damping.settle(model, &before, &mut states, &clock);
        let regrouped = self.regrouped(now);
        let comparable = before.model.steers_as(model) && Arc::ptr_eq(&before.atlas, &self.atlas);
        let previous = regrouped.as_ref().map(|made| &made.plan).or(comparable.then_some(&before.plan));
        let plan_is_due = self.planning.advance(model, previous, &states, now);
        if plan_is_due && !self.leaves_work {
            self.work_at_once(&before.plan, &states, now);
        }
        self.weigh(&mut states, now);
        let planned = self.planning.planned_for(model).cloned();
        let (atlas, measured, switched) = (self.atlas.clone(), self.measured.clone(), self.switched.clone());
        let plan = self.plan_for(&Inputs {
            model,
            atlas: &atlas,
            states: &states,
            measured: &measured,
            switched: &switched,
            seed: *seed,
            planned: planned.as_ref(),
            previous,
            now,
        });
        let endpoint_sets = endpoint_sets(model, &states, *seed);
        let precomputed = Precomputed::of(&View {
            model,
            atlas: &self.atlas,
            states: &states,
            endpoint_sets: &endpoint_sets,
            plan: &plan,
        });
        let next = Arc::new(Snapshot {
            generation: before.generation + 1,
            configured: self.configured.clone(),
            atlas: self.atlas.clone(),
            endpoint_sets,
            states,
            plan,
            precomputed,
            measured: self.measured.clone(),
            overrides_error: self.overrides_error.clone(),
            switches: self.switches.clone(),
            planning: self.planning.basis().cloned(),
            vantages: ballot.map(|ballot| Arc::new(ballot.vantages)),
            made_at: now,
        });
        self.followers.tell(next.generation, || self.shared.store(next.clone()));
    }

    /// Takes up what operators said of services, as far as it holds at this time.
    fn heed_switches(&mut self, clock: Clock) {
        let unix_ms = clock.unix_ms();
        self.switched = in_force(&self.configured.model, &self.switches, unix_ms);
        let left_ms = next_end_ms(&self.switches, unix_ms).map(|end| end.saturating_sub(unix_ms));
        // So far away that this clock cannot say it: a restart comes before.
        self.shift_ends = left_ms.and_then(|left| clock.now().checked_add(Duration::from_millis(left)));
    }

    /// The time when something changes after `now` by the passing of time alone: a TTL calms down, a report goes stale,
    /// a price fades.
    pub fn next_change(&self, now: Instant) -> Option<Instant> {
        let (current, model) = (self.shared.load(), &self.configured.model);
        let stale = model.region_ids().flat_map(|id| self.stale_at(id)).flatten().filter(|&at| at > now);
        let damped = damping::next_change(model, &current.states, now);
        let planning = self.planning.next().into_iter().chain(self.next_work(now)).min();
        let fades =
            self.planning.planned_for(model).is_none() && self.regions.values().any(|facts| facts.reported.fades());
        let fading = fades.then(|| current.made_at + FADING_STEP);
        let shifts = self.shift_ends.filter(|&at| at > now);
        let health = next_expiry(&current.states, now).into_iter().chain(stale).chain(damped);
        health.chain(planning).chain(fading).chain(shifts).min()
    }

    /// Takes every endpoint as up, and publishes that: for answers worked out from files alone.
    pub fn assume_up(&mut self, now: Clock) {
        let model = self.configured.model.clone();
        for id in model.region_ids() {
            for endpoint in &model.region(id).endpoints {
                for probed in model.region(id).probes_of(endpoint) {
                    let (region, endpoint) = (model.qualified_region_name(id), endpoint.label());
                    let news = EndpointNews {
                        probe: probed.id,
                        seen: "assumed up: not probed".into(),
                        ..EndpointNews::of_only_probe(&region, &endpoint, Verdict::Up)
                    };
                    self.apply(News::Probe(news), now);
                }
            }
        }
        self.publish(now);
    }

    /// The switches of operators: what must survive a restart.
    pub fn switches(&self) -> &Switches {
        &self.switches
    }

    /// All overrides but `auto`, by qualified region name: what must survive a restart.
    pub fn overrides(&self) -> &BTreeMap<String, Override> {
        &self.overrides
    }

    /// Who makes the plans that hold here, and what has to be told for that.
    pub fn planning(&mut self) -> &mut Planning {
        &mut self.planning
    }

    /// The reason why what operators said before could not be read, if so.
    pub fn overrides_error(&self) -> Option<&str> {
        self.overrides_error.as_deref()
    }

    /// All drains under way, and one of `also` that begins now, by qualified region name: what must survive a
    /// restart beside the overrides.
    pub fn drains(&self, also: Option<&str>, now: Clock) -> BTreeMap<String, DrainBegin> {
        self.damping.drains(also, &self.shared.load(), &now)
    }

    fn take_probe(&mut self, news: EndpointNews, now: Instant) -> Urgency {
        let Some(id) = self.configured.region_id(&news.region) else { return Urgency::None };
        let region = self.configured.model.region(id);
        let endpoint = region.endpoints.iter().find(|endpoint| endpoint.label() == *news.endpoint);
        if !endpoint.is_some_and(|endpoint| region.probes_of(endpoint).any(|probed| probed.id == news.probe)) {
            return Urgency::None;
        }
        let facts = self.regions.entry(news.region.to_string()).or_default();
        // By its foremost check alone, and its IPv4 where it has both: another is another pace.
        let foremost = region.checks.as_ref().and_then(Checks::foremost);
        if let Some(total_ms) = news.total_ms
            && news.probe.part == AddressPart::Main
            && foremost.is_some_and(|member| member.name == news.probe.check)
        {
            facts.degrading.take_pace(region, &news.endpoint, total_ms);
        }
        match facts.take_probe(news, now) {
            true => Urgency::Now,
            false => Urgency::Soon,
        }
    }

    /// Prices move answers, but not by much in a second: no report is urgent.
    fn take_load(&mut self, news: LoadNews, now: Instant) -> Urgency {
        let Some(id) = self.configured.region_id(&news.region) else { return Urgency::None };
        let facts = self.regions.entry(news.region.to_string()).or_default();
        if facts.take_load(self.configured.model.region(id), news, now) {
            self.planning.report(id);
        }
        Urgency::Soon
    }

    /// More or less clients in a second: no hurry, but where it takes the region down or brings it back.
    fn take_health(&mut self, news: HealthNews) -> Urgency {
        let Some(id) = self.configured.region_id(&news.region) else { return Urgency::None };
        let facts = self.regions.entry(news.region.to_string()).or_default();
        match facts.degrading.take_health(self.configured.model.region(id), news.outcome, news.at) {
            true => Urgency::Now,
            false => Urgency::Soon,
        }
    }

    fn take_demand(&mut self, samples: &[DemandSample], now: Instant) -> Urgency {
        let (current, model) = (self.shared.load(), &self.configured.model);
        if let Some(sites) = &current.plan.sites
            && Arc::ptr_eq(&current.model, model)
        {
            self.planning.count(samples, model, sites, now);
        }
        Urgency::None
    }

    fn take_demand_of_others(&mut self, samples: &[SiteSample], now: Instant) -> Urgency {
        let (current, model) = (self.shared.load(), &self.configured.model);
        if let Some(sites) = &current.plan.sites
            && Arc::ptr_eq(&current.model, model)
        {
            self.planning.count_of_others(samples, model, sites, now);
        }
        Urgency::None
    }

    fn adopt(&mut self, planning: Arc<KeptPlanning>, clock: &Clock) -> Urgency {
        let (current, model) = (self.shared.load(), &self.configured.model);
        match &current.plan.sites {
            Some(sites) if Arc::ptr_eq(&current.model, model) && self.planning.adopt(planning, model, sites, clock) => {
                Urgency::Now
            }
            _ => Urgency::None,
        }
    }

    fn take_override(&mut self, region: String, operator_override: Override, drain: Option<DrainBegin>) {
        self.damping.operator_override(&region, operator_override);
        if let Some(begin) = drain {
            self.damping.began(&region, &begin);
        }
        match operator_override {
            Override::Auto => self.overrides.remove(&region),
            operator_override => self.overrides.insert(region, operator_override),
        };
    }

    /// Takes round trips as measured. Where other networks have estimates than before, the atlas is renewed to tell
    /// those apart. Where work is left to others, all that was before holds until that is done.
    fn take_measured(&mut self, measured: Arc<Measured>, now: Instant) -> Urgency {
        if self.leaves_work {
            self.regrouping.want(measured, now);
            return Urgency::None;
        }
        let renews = measured.networks() != self.measured.networks();
        self.measured = measured;
        if renews {
            self.atlas = Arc::new(self.atlas.refined(&told_apart(&self.measured, &self.configured.model)));
        }
        Urgency::Now
    }

    fn reload(&mut self, Replacement { model, atlas, nsid, seed }: Replacement) {
        let before = told_apart(&self.measured, &self.configured.model);
        self.configured = Arc::new(self.configured.replaced(model, &nsid, seed));
        self.asked = OnceLock::new();
        let configured = &self.configured;
        let networks = told_apart(&self.measured, &configured.model);
        match atlas {
            Some(atlas) => self.atlas = refined(atlas, &networks),
            None if networks == before => {}
            None => self.atlas = Arc::new(self.atlas.refined(&networks)),
        }
        self.regions.retain(|name, facts| {
            let Some(id) = configured.region_id(name) else { return false };
            facts.fit(configured.model.region(id));
            true
        });
        self.damping.retain(|name| configured.region_id(name).is_some());
    }

    fn state_of(&mut self, id: RegionId, ballot: Option<&Ballot>, now: Instant) -> RegionState {
        let model = &self.configured.model;
        let name = model.qualified_region_name(id);
        let operator_override = self.overrides.get(&name).copied().unwrap_or_default();
        let ballot = ballot.and_then(|ballot| ballot.regions.get(id.index()));
        self.regions.entry(name).or_default().state(model.region(id), operator_override, ballot, now)
    }

    /// Gives states what is made of their load reports, and their prices.
    fn weigh(&mut self, states: &mut [RegionState], now: Instant) {
        let model = &self.configured.model;
        let planned = self.planning.planned_for(model);
        for (id, state) in model.region_ids().zip(states) {
            let reported = &mut self.regions.entry(model.qualified_region_name(id)).or_default().reported;
            // Just after a reload nothing is weighed yet: what was known before holds on.
            if let Some(feed) = self.planning.feed(model, id) {
                reported.weigh(feed);
            }
            reported.note(now);
            state.load = reported.load.clone();
            let planned_ms = planned.and_then(|planned| planned.prices_ms.get(id.index()).copied());
            state.price_ms = reported.price(planned_ms, now);
        }
    }

    /// When its last load, and its balancer's last word, are too old.
    fn stale_at(&self, id: RegionId) -> [Option<Instant>; 2] {
        let model = &self.configured.model;
        let facts = self.regions.get(&model.qualified_region_name(id));
        let Some((facts, report)) = facts.zip(model.region(id).load_report.as_ref()) else { return [None; 2] };
        let word = facts.reported.load.stale_after.and_then(|after| facts.degrading.stale_at(after));
        [facts.reported.stale_at(report), word]
    }
}

/// An atlas as built, with the networks told apart that matter.
fn refined(atlas: Atlas, networks: &[Prefix]) -> Arc<Atlas> {
    Arc::new(if networks.is_empty() { atlas } else { atlas.refined(networks) })
}

#[cfg(test)]
pub mod testing;
#[cfg(test)]
mod tests;
