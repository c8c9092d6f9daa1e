//! The facts known of one region by its probes and load reports, and the state that follows from that alone.
//!
//! Facts are kept by name (endpoint `203.0.113.10`), so that they outlive a reload that renumbers regions.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Instant;

use crate::model::{AddressPart, CheckRole, Endpoint, ProbeId, Probed, Region};
use crate::state::memory::degrading::Degrading;
use crate::state::memory::reported::Reported;
use crate::state::news::{EndpointNews, LoadNews};
use crate::steer::health::combine::combined;
use crate::steer::health::effective::{EndpointState, Override, ProbeState, RegionState, effective_state};
use crate::steer::health::family::region_verdicts;
use crate::steer::health::shed::{is_over, shed};
use crate::steer::health::verdict::Verdict;
use crate::steer::health::vote::{Exceptions, OwnFinding};
use crate::steer::load::state::LoadFigure;

use super::ballot::RegionBallot;

#[derive(Default)]
pub struct RegionFacts {
    /// By [`Endpoint::label`].
    pub endpoints: HashMap<String, HashMap<ProbeId, ProbeState>>,
    /// The common verdict of several vantages and since when, of those probes that these once had to vote on.
    pub voted: HashMap<Arc<str>, HashMap<ProbeId, (Verdict, Instant)>>,
    pub reported: Reported,
    pub degrading: Degrading,
    /// Its load is at its limit, or was and has not fallen well below since.
    pub over_limit: bool,
    /// The part of new clients it sheds.
    pub shed: f64,
}

impl RegionFacts {
    /// Takes what a probe of an endpoint found. Says whether the verdict by that probe is another one now.
    pub fn take_probe(&mut self, news: EndpointNews, now: Instant) -> bool {
        let seen = self.endpoints.entry(news.endpoint.to_string()).or_default().entry(news.probe).or_default();
        let changed = seen.verdict != Some(news.verdict);
        if changed {
            seen.verdict = Some(news.verdict);
            seen.since = Some(now);
        }
        seen.failures = match news.verdict {
            Verdict::Suspect | Verdict::Unknown => seen.failures.saturating_add(1),
            Verdict::Up | Verdict::Down => 0,
        };
        (seen.probed_at, seen.restored, seen.heard) = (Some(now), false, news.heard);
        seen.last_probe = news.seen.into();
        seen.connect_ms = news.connect_ms.or(seen.connect_ms);
        changed
    }

    /// Takes a load report. Says whether it is acted on: not one that failed, is stale, or was not asked for.
    pub fn take_load(&mut self, region: &Region, news: LoadNews, now: Instant) -> bool {
        let Some(report) = &region.load_report else { return false };
        let (load, capacity) = match news.outcome {
            Ok(figures) => figures,
            Err(why) => {
                self.reported.fail(why);
                return false;
            }
        };
        let figure = LoadFigure { load, capacity: capacity.or(region.capacity), at: news.at };
        if !self.reported.take(figure, report, now) {
            return false;
        }
        let limits = region.load_limits;
        self.over_limit = limits.limit.is_some_and(|limit| is_over(limit, figure.load, self.over_limit));
        self.shed = limits.shed.zip(figure.utilisation()).map_or(0.0, |(watermarks, used)| shed(watermarks, used));
        true
    }

    /// The region's state by what is observed and said alone: [`Damping`](crate::state::memory::damping::Damping) has
    /// the last word on the effective state, and the price follows once its reports are weighed.
    pub fn state(
        &mut self,
        region: &Region,
        operator_override: Override,
        ballot: Option<&RegionBallot>,
        now: Instant,
    ) -> RegionState {
        self.take_votes(ballot, now);
        let endpoints: Vec<EndpointState> =
            region.endpoints.iter().map(|endpoint| self.endpoint(region, endpoint, ballot)).collect();
        let (by_probes, ipv6) = region_verdicts(region, &endpoints);
        self.reported.settle_stale(region.load_report.as_ref(), now);
        let stale_after = self.reported.load.stale_after.unwrap_or_default();
        let serves = |(_, seen): &(&Endpoint, &EndpointState)| seen.verdict.is_none_or(Verdict::serves);
        let serving = region.endpoints.iter().zip(&endpoints).filter(serves).map(|(endpoint, _)| endpoint);
        let degraded = self.degrading.degraded(region, serving, stale_after, now);
        let verdict = if degraded.withdrawn { Verdict::Down } else { by_probes };
        RegionState {
            effective: effective_state(verdict, operator_override),
            verdict,
            ipv6,
            ipv6_doubted: false,
            operator_override,
            endpoints,
            load: self.reported.load.clone(),
            price_ms: 0.0,
            // By the last report that made sense: a feed that went silent sheds as much as before.
            shed: if region.load_limits.shed.is_some() { self.shed } else { 0.0 },
            over_limit: self.over_limit && region.load_limits.limit.is_some(),
            changed_at: None,
            offered: 1.0,
            degraded,
            stability: Default::default(),
            vote: ballot.and_then(|ballot| ballot.count),
        }
    }

    fn endpoint(&self, region: &Region, endpoint: &Endpoint, ballot: Option<&RegionBallot>) -> EndpointState {
        let label = endpoint.label();
        let known = self.endpoints.get(&label);
        let probe = |probed: Probed<'_>| {
            let own = known.and_then(|known| known.get(&probed.id)).cloned().unwrap_or_default();
            let seen = match ballot {
                Some(ballot) => self.voted(&label, &probed.id, own, ballot),
                None => own,
            };
            (probed.member.role, probed.id, seen)
        };
        let probes: Vec<(CheckRole, ProbeId, ProbeState)> = region.probes_of(endpoint).map(probe).collect();
        let needed = region.checks.as_ref().map_or(0, |checks| checks.needed);
        let of = |part| judge(probes.iter().filter(|(_, id, _)| id.part == part), needed);
        let main = of(AddressPart::Main);
        let ipv6 = of(AddressPart::Ipv6).verdict;
        EndpointState { ipv6, probes: probes.into_iter().map(|(_, id, seen)| (id, seen)).collect(), ..main }
    }

    /// The verdicts that are not up, of so many probes in all. Those of probes that have none yet are unknown.
    pub fn exceptions(&self, region: &Region, probes: usize) -> Exceptions {
        let mut found = Exceptions::new();
        for (label, known) in &self.endpoints {
            let verdicts = known.iter().map(|(id, seen)| (id, seen.verdict.unwrap_or(Verdict::Unknown)));
            let listed: BTreeMap<ProbeId, Verdict> =
                verdicts.filter(|(_, said)| *said != Verdict::Up).map(|(id, said)| (id.clone(), said)).collect();
            if !listed.is_empty() {
                found.insert(label.as_str().into(), listed);
            }
        }
        if self.endpoints.values().map(HashMap::len).sum::<usize>() < probes {
            self.add_unprobed(region, &mut found);
        }
        found
    }

    fn add_unprobed(&self, region: &Region, found: &mut Exceptions) {
        for endpoint in &region.endpoints {
            let label = endpoint.label();
            let known = self.endpoints.get(&label);
            let is_known = |id: &ProbeId| known.is_some_and(|known| known.contains_key(id));
            for probed in region.probes_of(endpoint).filter(|probed| !is_known(&probed.id)) {
                found.entry(label.as_str().into()).or_default().insert(probed.id, Verdict::Unknown);
            }
        }
    }

    /// Remembers since when the common verdicts are what they are.
    fn take_votes(&mut self, ballot: Option<&RegionBallot>, now: Instant) {
        let Some(ballot) = ballot else { return self.voted.clear() };
        for (label, votes) in &mut self.voted {
            // Whoever is not voted on is up at all vantages.
            let calm =
                votes.iter_mut().filter(|(id, (verdict, _))| *verdict != Verdict::Up && ballot.of(label, id).is_none());
            calm.for_each(|(_, known)| *known = (Verdict::Up, now));
        }
        for (label, votes) in &ballot.votes {
            for (id, verdict) in votes.iter().filter_map(|(id, vote)| Some((id, vote.verdict?))) {
                let own = self.endpoints.get(&**label).and_then(|known| known.get(id));
                let same = own.filter(|own| own.verdict == Some(verdict)).and_then(|own| own.since);
                let of_endpoint = self.voted.entry(label.clone()).or_default();
                let known = of_endpoint.entry(id.clone()).or_insert((verdict, same.unwrap_or(now)));
                if known.0 != verdict {
                    *known = (verdict, now);
                }
            }
        }
    }

    /// A probe's state by the common verdict, which says why.
    fn voted(&self, label: &str, id: &ProbeId, own: ProbeState, ballot: &RegionBallot) -> ProbeState {
        let since = self.voted.get(label).and_then(|known| known.get(id)).map(|(_, since)| *since);
        let Some(vote) = ballot.of(label, id) else {
            return ProbeState { since: since.or(own.since), ..own };
        };
        let Some(verdict) = vote.verdict else { return own };
        let seen = if own.last_probe.is_empty() { "not probed yet" } else { &own.last_probe };
        let here = if vote.is_cut_off { "here, cut off" } else { "here" };
        let last_probe = match (verdict, own.verdict) {
            // Nothing to wonder at.
            (Verdict::Up, Some(Verdict::Up)) => own.last_probe.clone(),
            _ => format!("{}; {here}: {seen}", vote.tally.told(verdict)).into(),
        };
        ProbeState {
            verdict: Some(verdict),
            since: since.or(own.since),
            last_probe,
            // Where it fails elsewhere as well, this node's own network is not the matter.
            heard: own.heard || vote.down_elsewhere,
            restored: own.restored && vote.tally.judging() == 1 && !vote.is_cut_off,
            own: Some(Box::new(OwnFinding { verdict: own.verdict, since: own.since, tally: vote.tally })),
            ..own
        }
    }

    /// Forgets endpoints and probes that are gone, and what nobody asks for any more.
    pub fn fit(&mut self, region: &Region) {
        let probes = |endpoint: &Endpoint| region.probes_of(endpoint).map(|probed| probed.id).collect();
        let asked: HashMap<String, HashSet<ProbeId>> =
            region.endpoints.iter().map(|endpoint| (endpoint.label(), probes(endpoint))).collect();
        self.endpoints.retain(|label, known| {
            let Some(asked) = asked.get(label) else { return false };
            known.retain(|id, _| asked.contains(id));
            true
        });
        self.voted.retain(|label, known| {
            known.retain(|id, _| asked.get(&**label).is_some_and(|asked| asked.contains(id)));
            !known.is_empty()
        });
        self.degrading.fit(region);
        self.forget_unasked(region);
    }

    /// Forgets what nobody asks for any more. A price without reports would stay for ever, and an
    /// old verdict would pass for a proof should the check come back.
    pub fn forget_unasked(&mut self, region: &Region) {
        if region.checks.is_none() {
            self.endpoints.clear();
        }
        if region.load_report.is_none() {
            self.reported = Reported::default();
            (self.over_limit, self.shed) = (false, 0.0);
        }
    }
}

/// What all probes of a part of an endpoint's addresses say together, told by the one that decides it: of those with the
/// common verdict, the one that has had it longest is told of, for it is what ails or holds the rest.
fn judge<'a>(
    probes: impl Iterator<Item = &'a (CheckRole, ProbeId, ProbeState)> + Clone,
    needed: usize,
) -> EndpointState {
    let verdict = combined(probes.clone().map(|(role, _, seen)| (*role, seen.verdict)), needed);
    let has_say = |(role, ..): &&(CheckRole, ProbeId, ProbeState)| *role != CheckRole::WatchOnly;
    let voices = probes.clone().filter(has_say).count();
    let deciding = probes.clone().filter(has_say).filter(|(_, _, seen)| seen.verdict == verdict);
    let told = deciding.min_by_key(|(_, _, seen)| seen.since);
    // Where none has a say, what they see is shown all the same.
    let Some((_, id, seen)) = told.or_else(|| probes.clone().next()) else { return EndpointState::default() };
    let last_probe = match voices > 1 && !seen.last_probe.is_empty() {
        true => format!("{}: {}", id.check, seen.last_probe),
        false => seen.last_probe.to_string(),
    };
    EndpointState {
        // One that nobody has probed yet has none.
        verdict: verdict.filter(|_| probes.clone().any(|(_, _, seen)| seen.verdict.is_some())),
        since: seen.since,
        probed_at: probes.clone().filter_map(|(_, _, seen)| seen.probed_at).max(),
        last_probe,
        connect_ms: probes.clone().find_map(|(_, _, seen)| seen.connect_ms),
        failures: seen.failures,
        restored: seen.restored,
        ..EndpointState::default()
    }
}
