//! The memory that stability of steering needs of each region: how often each fell, when it came back, when it was
//! withdrawn, whether it has been let back, how long answers that name it live.
//!
//! ```text
//!   states by override and verdict ─▶ fallen? ─▶ keep out ─▶ guard: hold, pass over ─▶ conclude ─▶ states as they are published
//! ```
//!
//! The rules themselves are pure and in [`crate::steer::health::stability`]. Facts are kept by qualified region name,
//! as the publisher's are, and for the same reason.

pub mod kept;

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant, UNIX_EPOCH};

use crate::model::{Model, Region, RegionId, Resume, ZoneId};
use crate::steer::health::effective::{EffectiveState, Override, RegionState};
use crate::steer::health::stability::{Drain, DrainBegin, Flaps, next_step, slow_start, wait_until};
use crate::steer::health::verdict::Verdict;
use crate::steer::kept::{Clock, MAX_UNIX_MS};
use crate::steer::load::state::LoadState;

use crate::state::Snapshot;

/// The memory.
#[derive(Default)]
pub struct Damping {
    regions: HashMap<String, Facts>,
}

#[derive(Clone, Debug, Default)]
struct Facts {
    /// True where its probes said that it serves, once they had proven it either way.
    serves: Option<bool>,
    /// They said that it serves before they said that it does not, which they still say.
    fell: bool,
    /// Since when they have said without a break that it serves.
    serves_since: Option<Instant>,
    /// When a fall took it out of the answers; `None` once it has been let back.
    taken_down: Option<Instant>,
    flaps: Flaps,
    /// As last published, once its probes had proven it either way, or it was answered before they had.
    effective: Option<EffectiveState>,
    changed_at: Option<Instant>,
    back_since: Option<Instant>,
    /// While it is out.
    out: Option<Out>,
    /// The time when automation took it out, or passed it over because it was not proven; `None` once it is back.
    withdrawn_at: Option<Instant>,
    /// A reload brought it: nobody was sent there before, so that it withdraws nothing to wait for its proof.
    joined: bool,
    /// The operator said to believe its probes: it is not held, until it serves again.
    released: bool,
    named: Option<Named>,
    drain: Option<Begin>,
}

/// A region that is not eligible, since it was.
#[derive(Clone, Copy, Debug)]
struct Out {
    /// For how long it had been back when it went; `None`: it had not been away before.
    was_back_for: Option<Duration>,
    /// An operator alone took it out: its probes have said all along that it serves.
    by_operator: bool,
}

/// What keeps a region out that answers its probes; neither: it awaits an operator's word.
struct WhyOut {
    damped_until: Option<Instant>,
    delayed_until: Option<Instant>,
}

/// Answers that name a region.
#[derive(Clone, Copy, Debug)]
struct Named {
    /// The time when the last was given.
    until: Instant,
    /// The time when the last one runs out by its TTL.
    cached_until: Instant,
}

#[derive(Clone, Copy, Debug)]
struct Begin {
    /// By the wall clock, in milliseconds since 1970.
    since_ms: u64,
    load: Option<f64>,
}

impl Facts {
    /// True where the region was there at the start, and has not been proven either way nor answered since.
    fn is_of_the_start(&self) -> bool {
        self.effective.is_none() && !self.joined
    }
}

/// The facts that a round of [`Damping::settle`] looks at.
struct Round<'a> {
    model: &'a Model,
    /// The snapshot that was published last.
    before: &'a Snapshot,
    now: Instant,
    /// The same by the wall clock, in milliseconds since 1970.
    now_ms: u64,
}

impl Damping {
    /// Makes of effective states by override and verdict alone those that are published, with all of
    /// [`RegionState::stability`], the offer and the time of the last change. `states` are indexed by [`RegionId`].
    pub fn settle(&mut self, model: &Model, before: &Snapshot, states: &mut [RegionState], clock: &Clock) {
        let round = Round { model, before, now: clock.now(), now_ms: clock.unix_ms() };
        let names: Vec<String> = model.region_ids().map(|id| model.qualified_region_name(id)).collect();
        let new = || Facts { joined: !self.regions.is_empty(), ..Facts::default() };
        let known = |name: &String| self.regions.get(name).cloned().unwrap_or_else(new);
        let mut facts: Vec<Facts> = names.iter().map(known).collect();
        for ((region, state), facts) in model.regions.iter().zip(states.iter()).zip(&mut facts) {
            round.see_fall(region, state, facts);
        }
        round.keep_out(&facts, states);
        round.guard(&mut facts, states);
        let ids_before = round.ids_before(&names);
        for (((id, state), facts), id_before) in model.region_ids().zip(states).zip(&mut facts).zip(ids_before) {
            round.conclude(id, id_before, state, facts);
        }
        self.regions.extend(names.into_iter().zip(facts));
    }

    /// An operator has looked at the region, whatever came of it: what it did before is forgiven, its probes are
    /// believed at once, and bring it back.
    pub fn operator_override(&mut self, region: &str, operator_override: Override) {
        let facts = self.regions.entry(region.to_owned()).or_default();
        (facts.flaps, facts.released) = (Flaps::default(), true);
        (facts.fell, facts.taken_down) = (false, None);
        if operator_override != Override::Drain {
            facts.drain = None;
        }
    }

    /// Forgets regions that are not `kept`.
    pub fn retain(&mut self, kept: impl Fn(&str) -> bool) {
        self.regions.retain(|name, _| kept(name));
    }

    /// All drains under way, and one of `also` that begins now, for keeping.
    pub fn drains(&self, also: Option<&str>, current: &Snapshot, clock: &Clock) -> BTreeMap<String, DrainBegin> {
        let begun = self.regions.iter().filter_map(|(name, facts)| {
            let (begin, named) = facts.drain.zip(facts.named)?;
            Some((name.clone(), kept(begin, named.cached_until, clock)))
        });
        let mut all: BTreeMap<String, DrainBegin> = begun.collect();
        if let Some(name) = also.filter(|name| !all.contains_key(*name)) {
            let id = current.model.find_regions(name).first().copied();
            let load = id.and_then(|id| fresh_load(&current.states.get(id.index())?.load));
            let cached_until = clock.now() + id.map_or(Duration::ZERO, |id| longest_ttl(&current.model, id));
            all.insert(name.to_owned(), kept(Begin { since_ms: clock.unix_ms(), load }, cached_until, clock));
        }
        all
    }

    /// Takes the begin of a drain as it was kept, where none is known yet: so that both say the same.
    pub fn began(&mut self, region: &str, begin: &DrainBegin) {
        self.regions.entry(region.to_owned()).or_default().drain.get_or_insert(begin_of(begin));
    }

    /// Takes drains that began before a restart.
    pub fn restore_drains(&mut self, drains: BTreeMap<String, DrainBegin>, clock: &Clock) {
        // Longer ago than this process's clock can say: until now, to be safe.
        let instant = |unix_ms: u64| clock.instant(unix_ms).unwrap_or(clock.now());
        for (name, begin) in drains {
            let facts = self.regions.entry(name).or_default();
            let known = begin_of(&begin);
            let cached_until = instant(begin.cached_until_unix_ms);
            facts.named = Some(Named { until: instant(known.since_ms), cached_until });
            facts.drain = Some(known);
        }
    }
}

/// The time when what was published changes by the passing of time alone.
pub fn next_change(model: &Model, states: &[RegionState], now: Instant) -> Option<Instant> {
    let of_region = |(id, state): (RegionId, &RegionState)| {
        let stability = &state.stability;
        let step = stability.back_since.and_then(|since| next_step(since, model.region(id).slow_start, now));
        [stability.damped_until, stability.delayed_until, stability.held_until, step]
            .into_iter()
            .flatten()
            .filter(|&at| at > now)
            .min()
    };
    model.region_ids().zip(states).filter_map(of_region).min()
}

impl Round<'_> {
    /// Counts a fall: its probes said that it serves, and now do not. Lets a region back whose probes have said for long
    /// enough that it serves again, where no operator has to.
    fn see_fall(&self, region: &Region, state: &RegionState, facts: &mut Facts) {
        let serves = state.verdict.serves();
        facts.serves_since = serves.then(|| facts.serves_since.unwrap_or(self.now));
        if state.verdict == Verdict::Unknown {
            return;
        }
        if facts.serves == Some(true) && !serves {
            facts.fell = true;
            if let Some(damping) = self.model.steering.damping {
                facts.flaps.fell(damping, self.now);
            }
        }
        facts.serves = Some(serves);
        facts.released &= !serves;
        facts.fell &= !serves;
        let is_over = facts.serves_since.is_some_and(|since| since + region.failback_delay <= self.now);
        if is_over && region.resume == Resume::Auto {
            facts.taken_down = None;
        }
    }

    /// Keeps regions out though their probes say up: those that fell too often, those that have not been up for long
    /// enough since they went down, and those that wait for an operator. But none of a service that has no other.
    fn keep_out(&self, facts: &[Facts], states: &mut [RegionState]) {
        let why = |((region, state), facts)| self.why_out(region, state, facts);
        let regions = self.model.regions.iter().zip(states.iter()).zip(facts);
        let mut out: Vec<Option<WhyOut>> = regions.map(why).collect();
        if out.iter().all(Option::is_none) {
            return;
        }
        for service in &self.model.services {
            let stays = |r: &RegionId| states[r.index()].effective.is_eligible() && out[r.index()].is_none();
            if !service.regions.iter().any(stays) {
                // One that answers its probes beats one that does not, and beats panic.
                service.regions.iter().for_each(|r| out[r.index()] = None);
            }
        }
        for (state, out) in states.iter_mut().zip(out) {
            let Some(WhyOut { damped_until, delayed_until }) = out else { continue };
            state.effective = EffectiveState::Down;
            (state.stability.damped_until, state.stability.delayed_until) = (damped_until, delayed_until);
        }
    }

    /// `None`: nothing keeps the region out.
    fn why_out(&self, region: &Region, state: &RegionState, facts: &Facts) -> Option<WhyOut> {
        if state.operator_override != Override::Auto || !state.effective.is_eligible() {
            return None;
        }
        let damped_until = self.model.steering.damping.and_then(|damping| facts.flaps.damped_until(damping));
        let damped_until = damped_until.filter(|&until| until > self.now);
        let (awaits_resume, delayed_until) = match region.resume {
            Resume::Manual => (facts.taken_down.is_some(), None),
            Resume::Auto => {
                let since = facts.serves_since.filter(|_| facts.taken_down.is_some());
                (false, since.map(|since| since + region.failback_delay))
            }
        };
        let is_out = awaits_resume || damped_until.is_some() || delayed_until.is_some();
        is_out.then_some(WhyOut { damped_until, delayed_until })
    }

    /// Bounds how many regions of a zone lose their clients at once: by their probes, or for want of them.
    fn guard(&self, facts: &mut [Facts], states: &mut [RegionState]) {
        let is = |by: fn(&RegionState, &Facts) -> bool| -> Vec<usize> {
            let auto = |index: &usize| states[*index].operator_override == Override::Auto;
            (0..states.len()).filter(auto).filter(|&index| by(&states[index], &facts[index])).collect()
        };
        let (mut falling, unproven) = (is(is_falling), is(|state, _| is_open(state)));
        // What has failed itself goes before what only depends on it.
        falling.sort_by_key(|&index| states[index].stability.failed_dependency.is_some());
        if falling.is_empty() && unproven.is_empty() {
            return;
        }
        let beside = Beside::of(self.model, states);
        self.hold(&falling, &beside, facts, states);
        self.pass_over(&unproven, &beside, facts, states);
    }

    /// Holds back regions that their probes would withdraw, where too many of their zone have just gone.
    ///
    /// Where no other of its services answers its probes, all of them are about to be answered in panic: holding this
    /// one would send it the others' clients. Beside regions that are not proven yet, it counts as one of these.
    fn hold(&self, falling: &[usize], beside: &Beside, facts: &mut [Facts], states: &mut [RegionState]) {
        for &index in falling {
            let held = match (beside.proven[index], beside.unproven[index]) {
                (true, _) => Some(EffectiveState::Suspect),
                (false, true) => Some(EffectiveState::Unknown),
                (false, false) => None,
            };
            let until = held.filter(|_| !facts[index].released).zip(self.held_until(index, facts, states));
            match until {
                Some((held, until)) => {
                    (states[index].effective, states[index].stability.held_until) = (held, Some(until))
                }
                None => facts[index].withdrawn_at = Some(self.now),
            }
        }
    }

    fn held_until(&self, index: usize, facts: &[Facts], states: &[RegionState]) -> Option<Instant> {
        let guard = self.model.steering.max_withdrawn?;
        let of_zone = self.of_zone(index, states.len());
        let out = |other: &usize| self.out_since(&states[*other], &facts[*other], guard.window);
        let mut out: Vec<Instant> = of_zone.iter().filter_map(out).collect();
        wait_until(&mut out, guard.regions.of(of_zone.len()), guard.window)
    }

    /// Passes over regions that are not proven yet, while others are up. One that was answered before goes on to be.
    /// And so are all where more of a zone would lose their clients at once than may: that says more of the start, or of
    /// this server's own network, than of them.
    fn pass_over(&self, unproven: &[usize], beside: &Beside, facts: &mut [Facts], states: &mut [RegionState]) {
        let mut too_many: HashMap<ZoneId, bool> = HashMap::new();
        for &index in unproven {
            let mut too_many = || {
                let zone = self.model.regions[index].zone;
                *too_many.entry(zone).or_insert_with(|| self.are_too_many(index, facts, states))
            };
            let goes_on = facts[index].effective.is_some_and(EffectiveState::is_eligible);
            let would_go = beside.proven[index] && facts[index].is_of_the_start();
            if goes_on || would_go && too_many() {
                states[index].effective = EffectiveState::Suspect;
            } else if would_go {
                facts[index].withdrawn_at.get_or_insert(self.now);
            }
        }
    }

    /// Whether the regions of this one's zone that are not proven yet, with those that have just gone, are more than may
    /// go at once.
    fn are_too_many(&self, index: usize, facts: &[Facts], states: &[RegionState]) -> bool {
        let Some(guard) = self.model.steering.max_withdrawn else { return false };
        let of_zone = self.of_zone(index, states.len());
        let is_out = |other: &usize| match is_open(&states[*other]) {
            true => facts[*other].is_of_the_start(),
            false => self.out_since(&states[*other], &facts[*other], guard.window).is_some(),
        };
        of_zone.iter().filter(|other| is_out(other)).count() > guard.regions.of(of_zone.len())
    }

    fn of_zone(&self, index: usize, regions: usize) -> Vec<usize> {
        let zone = self.model.regions[index].zone;
        (0..regions).filter(|&other| self.model.regions[other].zone == zone).collect()
    }

    /// When a region that is not eligible was withdrawn, if lately.
    fn out_since(&self, state: &RegionState, facts: &Facts, window: Duration) -> Option<Instant> {
        facts.withdrawn_at.filter(|&at| !state.effective.is_eligible() && at + window > self.now)
    }

    /// Remembers what follows, and tells it.
    fn conclude(&self, id: RegionId, id_before: Option<RegionId>, state: &mut RegionState, facts: &mut Facts) {
        self.see_taken_down(id, state, facts);
        let eligible = state.effective.is_eligible();
        let was_eligible = facts.effective.map(EffectiveState::is_eligible);
        let is_open = state.effective == EffectiveState::Unknown;
        if !is_open && was_eligible.is_some_and(|was| was != eligible) {
            facts.changed_at = Some(self.now);
        }
        let needed = id_before.is_some_and(|id| self.was_needed(id));
        if eligible {
            facts.withdrawn_at = None;
            if was_eligible == Some(false) && !needed {
                facts.back_since = self.back_since(facts);
            }
            facts.out = None;
        } else {
            self.see_out(state, facts);
            self.see_names(id, id_before, needed, facts);
        }
        let is_answered = state.operator_override == Override::Auto && eligible;
        if !is_open && (state.verdict != Verdict::Unknown || is_answered) {
            facts.effective = Some(state.effective);
        }
        self.see_drain(id, state, facts);
        let elapsed = facts.back_since.map(|since| self.now.saturating_duration_since(since));
        state.changed_at = facts.changed_at;
        let started = elapsed.map_or(1.0, |elapsed| slow_start(elapsed, self.model.region(id).slow_start));
        state.offered = started * state.degraded.factor;
        (state.stability.flaps, state.stability.back_since) = (facts.flaps, facts.back_since);
    }

    /// A fall has taken it out, unless it was held. It awaits an operator's word then, where it takes one.
    fn see_taken_down(&self, id: RegionId, state: &mut RegionState, facts: &mut Facts) {
        let is_auto = state.operator_override == Override::Auto;
        if is_auto && facts.fell && state.verdict == Verdict::Down && state.effective == EffectiveState::Down {
            facts.taken_down.get_or_insert(self.now);
        }
        let awaits = is_auto && self.model.region(id).resume == Resume::Manual;
        state.stability.awaits_resume = facts.taken_down.filter(|_| awaits);
    }

    /// Of a region that is not eligible: since when, and whose doing it is.
    fn see_out(&self, state: &RegionState, facts: &mut Facts) {
        let was_back_for = facts.back_since.take().map(|since| self.now.saturating_duration_since(since));
        let out = facts.out.get_or_insert(Out { was_back_for, by_operator: true });
        if state.verdict != Verdict::Unknown {
            out.by_operator &= state.operator_override != Override::Auto && state.verdict.serves();
        }
    }

    /// Since when a region that is eligible again counts as back; `None`: as if it had never been away.
    ///
    /// While answers that name it live, an operator's word has taken neither its clients nor its warmth: a slow
    /// start that was under way goes on from where it was. What its probes took down has lost its connections.
    fn back_since(&self, facts: &Facts) -> Option<Instant> {
        let is_named = facts.named.is_some_and(|named| self.now < named.cached_until);
        match facts.out.filter(|out| out.by_operator && is_named) {
            Some(out) => out.was_back_for.map(|so_far| self.now.checked_sub(so_far).unwrap_or(self.now)),
            None => Some(self.now),
        }
    }

    /// Of a region that is not eligible: until when it has been named, if by what was published last.
    fn see_names(&self, id: RegionId, id_before: Option<RegionId>, needed: bool, facts: &mut Facts) {
        let was_named = needed || id_before.is_some_and(|id| self.state_before(id).is_some_and(eligible));
        if was_named {
            let model = if id_before.is_some() { &self.before.model } else { self.model };
            let ttl = longest_ttl(model, id_before.unwrap_or(id));
            let known = facts.named.map_or(self.now, |named| named.cached_until);
            facts.named = Some(Named { until: self.now, cached_until: known.max(self.now + ttl) });
        }
    }

    fn see_drain(&self, id: RegionId, state: &mut RegionState, facts: &mut Facts) {
        if state.operator_override != Override::Drain {
            facts.drain = None;
            return;
        }
        let begin = *facts.drain.get_or_insert_with(|| Begin { since_ms: self.now_ms, load: fresh_load(&state.load) });
        // Nothing is known of a region that was drained before this began: it may have been named until now.
        let unknown = || Named { until: self.now, cached_until: self.now + longest_ttl(self.model, id) };
        let named = *facts.named.get_or_insert_with(unknown);
        state.stability.drain = Some(Drain {
            since: UNIX_EPOCH + Duration::from_millis(begin.since_ms),
            named_until: named.until,
            cached_until: named.cached_until,
            load: begin.load,
        });
    }

    /// Tells whether a region that was not eligible was answered all the same, for want of others.
    fn was_needed(&self, id: RegionId) -> bool {
        self.state_before(id).is_some_and(|state| !eligible(state))
            && self.before.plan.services.iter().any(|service| service.standing.last_resort.contains(&id))
    }

    fn state_before(&self, id: RegionId) -> Option<&RegionState> {
        self.before.states.get(id.index())
    }

    /// The regions' ids in what was published last, in the order of the names.
    fn ids_before(&self, names: &[String]) -> Vec<Option<RegionId>> {
        if std::ptr::eq(&*self.before.model, self.model) {
            return self.model.region_ids().map(Some).collect();
        }
        let model = &self.before.model;
        let ids: HashMap<String, RegionId> =
            model.region_ids().map(|id| (model.qualified_region_name(id), id)).collect();
        names.iter().map(|name| ids.get(name).copied()).collect()
    }
}

/// Whether its probes would take out a region that has not been out. At a start all count as answered so far, but for
/// those that were passed over: these are out already.
fn is_falling(state: &RegionState, facts: &Facts) -> bool {
    let was_answered = match facts.effective {
        Some(effective) => effective.is_eligible(),
        None => facts.is_of_the_start() && facts.withdrawn_at.is_none(),
    };
    state.verdict == Verdict::Down && was_answered
}

/// Whether nothing says yet if it is up.
fn is_open(state: &RegionState) -> bool {
    state.operator_override == Override::Auto && state.verdict == Verdict::Unknown
}

/// Which regions have another one in some service of theirs.
struct Beside {
    /// One that answers its probes, or that the operator says to be up.
    proven: Vec<bool>,
    /// One that is not proven either way.
    unproven: Vec<bool>,
}

impl Beside {
    fn of(model: &Model, states: &[RegionState]) -> Beside {
        Beside {
            proven: beside(model, states, |state| state.effective.is_eligible()),
            unproven: beside(model, states, is_open),
        }
    }
}

/// Whether each region has, in some service, another one that is so.
fn beside(model: &Model, states: &[RegionState], is: impl Fn(&RegionState) -> bool) -> Vec<bool> {
    let mut found = vec![false; states.len()];
    for service in &model.services {
        let those = service.regions.iter().filter(|r| is(&states[r.index()])).count();
        for region in &service.regions {
            found[region.index()] |= those > usize::from(is(&states[region.index()]));
        }
    }
    found
}

fn eligible(state: &RegionState) -> bool {
    state.effective.is_eligible()
}

fn fresh_load(load: &LoadState) -> Option<f64> {
    load.last.filter(|_| !load.stale).map(|figure| figure.load)
}

/// The longest lifetime of answers that name the region.
fn longest_ttl(model: &Model, id: RegionId) -> Duration {
    let of_region = model.services.iter().filter(|service| service.regions.contains(&id));
    Duration::from_secs(of_region.map(|service| u64::from(service.ttl.as_secs())).max().unwrap_or(0))
}

fn begin_of(kept: &DrainBegin) -> Begin {
    Begin { since_ms: kept.since_unix_ms.min(MAX_UNIX_MS), load: kept.load.filter(|load| load.is_finite()) }
}

fn kept(begin: Begin, cached_until: Instant, clock: &Clock) -> DrainBegin {
    let cached_until_unix_ms = clock.kept(cached_until);
    DrainBegin { since_unix_ms: begin.since_ms, cached_until_unix_ms, load: begin.load }
}

#[cfg(test)]
mod tests;
