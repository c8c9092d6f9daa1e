//! The single writer: takes what was observed and said, and makes the next snapshot of it.
//!
//! Holds no clock and no channel; time is an argument, whoever drives it brings the news. Facts
//! are kept by name (region `seoul@gslb.example`, endpoint `203.0.113.10`), so that they outlive
//! a reload that renumbers regions, and news of a region that is gone meanwhile is forgotten.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use arc_swap::ArcSwap;

use crate::atlas::Atlas;
use crate::model::{Endpoint, Model, RegionId};
use crate::steer::handout::handouts;
use crate::steer::health::Verdict;
use crate::steer::plan::{next_expiry, plan};
use crate::steer::price::next_price;
use crate::steer::standing::{
    EndpointState, LoadFigure, LoadState, Override, RegionState, Standing, region_verdict, standing,
};

use super::{NameTable, Shared, Snapshot};

/// A load report is stale when it is older than this many of its intervals.
const STALE_INTERVALS: u32 = 3;

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

/// What a scrape found out about one region.
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
    model: Arc<Model>,
    names: Arc<NameTable>,
    atlas: Arc<Atlas>,
    nsid: Box<[u8]>,
    seed: u64,
    reloads: u64,
    /// Of the model, by qualified name.
    ids: HashMap<String, RegionId>,
    /// By qualified region name.
    regions: HashMap<String, RegionFacts>,
    overrides: BTreeMap<String, Override>,
}

#[derive(Default)]
struct RegionFacts {
    endpoints: HashMap<String, EndpointState>,
    load: LoadState,
    price_ms: f64,
    changed_at: Option<Instant>,
    /// As last published; `None`: not yet.
    standing: Option<Standing>,
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
            nsid: nsid.as_bytes().into(),
            made_at: now,
            made_at_wall: SystemTime::now(),
        };
        let mut publisher = Publisher {
            model: first_model.clone(),
            atlas: first.atlas.clone(),
            nsid: first.nsid.clone(),
            shared: Arc::new(ArcSwap::from_pointee(first)),
            names,
            seed,
            reloads: 0,
            ids: region_ids(&first_model),
            regions: HashMap::new(),
            overrides,
        };
        publisher.publish(now);
        publisher
    }

    /// The pointer this publisher swaps.
    pub fn shared(&self) -> Shared {
        self.shared.clone()
    }

    /// Takes a new model and atlas, whole. What is known of regions and endpoints that are still
    /// there is kept. Call [`Publisher::publish`] after.
    pub fn reload(&mut self, model: Model, atlas: Atlas, nsid: &str, seed: u64) {
        self.names = Arc::new(NameTable::build(&model));
        self.model = Arc::new(model);
        self.atlas = Arc::new(atlas);
        self.nsid = nsid.as_bytes().into();
        self.seed = seed;
        self.reloads += 1;
        self.ids = region_ids(&self.model);
        let (ids, model) = (&self.ids, &self.model);
        self.regions.retain(|name, facts| {
            let Some(&id) = ids.get(name) else { return false };
            let labels: Vec<String> = model.region(id).endpoints.iter().map(Endpoint::label).collect();
            facts.endpoints.retain(|label, _| labels.contains(label));
            true
        });
    }

    /// Takes a new atlas; all else stays. Call [`Publisher::publish`] after.
    pub fn replace_atlas(&mut self, atlas: Atlas) {
        self.atlas = Arc::new(atlas);
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

    /// Takes a load report. A report moves the region's price; a failed scrape moves nothing.
    /// Says whether the price changed.
    pub fn load_news(&mut self, news: LoadNews, now: Instant) -> bool {
        let Some(&id) = self.ids.get(&*news.region) else { return false };
        let configured = self.model.region(id).capacity;
        let facts = self.regions.entry(news.region.to_string()).or_default();
        match news.outcome {
            Ok((load, capacity)) => {
                let figure = LoadFigure { load, capacity: capacity.or(configured), at: now };
                facts.load = LoadState { last: Some(figure), stale: false, error: None };
                let price_ms = figure.utilisation().map_or(facts.price_ms, |u| next_price(facts.price_ms, u));
                let changed = price_ms != facts.price_ms;
                facts.price_ms = price_ms;
                changed
            }
            Err(why) => {
                facts.load.error = Some(why);
                false
            }
        }
    }

    /// Sets what the operator says of a region, by qualified name. `Auto` forgets.
    pub fn say(&mut self, region: &str, said: Override) {
        match said {
            Override::Auto => self.overrides.remove(region),
            said => self.overrides.insert(region.to_owned(), said),
        };
    }

    /// All overrides but `auto`, by qualified region name: what must survive a restart.
    pub fn overrides(&self) -> &BTreeMap<String, Override> {
        &self.overrides
    }

    /// When something changes by the passing of time alone: a TTL calms down, a report goes stale.
    pub fn next_change(&self, now: Instant) -> Option<Instant> {
        let current = self.shared.load();
        let stale = self.model.region_ids().filter_map(|id| {
            let at = self.stale_at(id)?;
            (at > now).then_some(at)
        });
        next_expiry(&current.states, now).into_iter().chain(stale).min()
    }

    /// Makes the next snapshot and swaps it in.
    pub fn publish(&mut self, now: Instant) {
        let states: Vec<RegionState> = self.model.region_ids().map(|id| self.state_of(id, now)).collect();
        let before = self.shared.load_full();
        let comparable = Arc::ptr_eq(&before.model, &self.model) && Arc::ptr_eq(&before.atlas, &self.atlas);
        let previous = comparable.then_some((&before.plan, before.states.as_slice()));
        let plan = plan(&self.model, &self.atlas, &states, previous, now);
        self.shared.store(Arc::new(Snapshot {
            generation: before.generation + 1,
            reloads: self.reloads,
            model: self.model.clone(),
            names: self.names.clone(),
            atlas: self.atlas.clone(),
            handouts: handouts(&self.model, &states, self.seed),
            states,
            plan,
            nsid: self.nsid.clone(),
            made_at: now,
            made_at_wall: SystemTime::now(),
        }));
    }

    fn stale_at(&self, id: RegionId) -> Option<Instant> {
        let facts = self.regions.get(&self.model.qualified_region_name(id))?;
        Some(facts.load.last?.at + stale_after(&self.model, id)?)
    }

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
        let standing = standing(verdict, said);
        if facts.standing.is_some_and(|before| before.is_eligible() != standing.is_eligible()) {
            facts.changed_at = Some(now);
        }
        if !checked || endpoints.iter().all(|endpoint| endpoint.verdict.is_some()) {
            facts.standing = Some(standing);
        }
        let age = facts.load.last.map(|figure| now.saturating_duration_since(figure.at));
        facts.load.stale = age.zip(stale_after(&self.model, id)).is_some_and(|(age, limit)| age >= limit);
        RegionState {
            standing,
            verdict,
            said,
            endpoints,
            load: facts.load.clone(),
            price_ms: facts.price_ms,
            changed_at: facts.changed_at,
        }
    }
}

fn region_ids(model: &Model) -> HashMap<String, RegionId> {
    model.region_ids().map(|id| (model.qualified_region_name(id), id)).collect()
}

fn stale_after(model: &Model, id: RegionId) -> Option<Duration> {
    model.region(id).load_report.as_ref().map(|report| report.interval * STALE_INTERVALS)
}
