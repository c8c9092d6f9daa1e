//! The changes between two snapshots. Pure: snapshots and the time in, changes out.
//!
//! Over a reload, which renumbers, regions and services are the same by name; those that only one of the two
//! snapshots has are new or gone, and counted.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Instant;

use crate::model::{Endpoint, Model, ProbeId, Region, RegionId, ServiceId};
use crate::state::Snapshot;
use crate::state::vantages::OwnCutOff;
use crate::steer::health::effective::{EffectiveState, EndpointState, Override, ProbeState, RegionState};
use crate::steer::health::verdict::Verdict;
use crate::steer::policy::eligible::ServiceCondition;

use super::event::{
    Cause, Change, MOST_PROBES, MOST_SERVICES, MOST_TEXT, ProbeSeen, Reach, RegionChange, ReloadChange, ServerChange,
    ServiceChange,
};
use super::moved::moves;
use super::ways::way_changes;

/// So many services, or fences of services, are told of in one snapshot: more would push all else out of the history.
pub const MOST_SERVICE_CHANGES: usize = 1000;

/// So many regions and services that are new or gone are told of in one snapshot; all are counted.
pub const MOST_REPLACED: usize = 1000;

/// All changes: this node's reach by the others' word, what a reload brought and took, what operators said of services, then
/// regions and services, each in the order of the configuration.
pub fn changes(before: &Snapshot, after: &Snapshot, now: Instant) -> Vec<Change> {
    let mut regions = region_changes(before, after, now);
    name_services(&after.model, &mut regions);
    say_moves(before, after, &mut regions);
    let regions = regions.into_iter().map(|(_, change)| Change::Region(change));
    let services = service_changes(before, after).into_iter().map(Change::Service);
    let server = reach_changes(before, after, now).into_iter().map(Change::Server);
    let ways = way_changes(before, after).into_iter().map(Change::Switch);
    server.chain(replaced(before, after, now)).chain(ways).chain(regions).chain(services).collect()
}

/// The families of which the other vantages say that this node has lost its network, or has it again.
fn reach_changes(before: &Snapshot, after: &Snapshot, now: Instant) -> Vec<ServerChange> {
    let of = |snapshot: &Snapshot| snapshot.vantages.as_ref().map(|of| of.cut_off.clone()).unwrap_or_default();
    let (was, is) = (of(before), of(after));
    let lacks = |of: &[OwnCutOff], one: &OwnCutOff| !of.iter().any(|other| other.part == one.part);
    let change = |of: &OwnCutOff, (before, after)| ServerChange {
        before,
        after,
        family: of.family().into(),
        why: None,
        for_s: None,
        by_others: true,
    };
    let begun = is
        .iter()
        .filter(|of| lacks(&was, of))
        .map(|of| ServerChange { why: Some(of.why.told()), ..change(of, (Reach::Connected, Reach::CutOff)) });
    let ended = was.iter().filter(|of| lacks(&is, of)).map(|of| ServerChange {
        for_s: Some(now.saturating_duration_since(of.since).as_secs()),
        ..change(of, (Reach::CutOff, Reach::Connected))
    });
    begun.chain(ended).collect()
}

fn same_model(before: &Snapshot, after: &Snapshot) -> bool {
    Arc::ptr_eq(&before.model, &after.model)
}

fn region_changes(before: &Snapshot, after: &Snapshot, now: Instant) -> Vec<(RegionId, RegionChange)> {
    let model = &after.model;
    let change = |id: RegionId, old: &RegionState, reloaded: bool| {
        let new = after.states.get(id.index())?;
        let (cause, lifted) = cause(old, new, reloaded)?;
        Some((id, region_change(model, id, (old, new), (cause, lifted), now)))
    };
    if same_model(before, after) {
        return model.region_ids().zip(&before.states).filter_map(|(id, old)| change(id, old, false)).collect();
    }
    let named = before.model.region_ids().map(|id| before.model.qualified_region_name(id));
    let known: HashMap<String, &RegionState> = named.zip(&before.states).collect();
    let old = |id: RegionId| known.get(&model.qualified_region_name(id)).copied();
    model.region_ids().filter_map(|id| change(id, old(id)?, true)).collect()
}

/// Why a region is not as it was, and what has ended; `None`: nothing has changed that is told.
fn cause(old: &RegionState, new: &RegionState, reloaded: bool) -> Option<(Cause, Option<Cause>)> {
    let begun = |old: Option<Instant>, new: Option<Instant>| old.is_none() && new.is_some();
    let (was, is) = (&old.stability, &new.stability);
    let (held, unheld) = (begun(was.held_until, is.held_until), begun(is.held_until, was.held_until));
    let (damped, undamped) = (begun(was.damped_until, is.damped_until), begun(is.damped_until, was.damped_until));
    let (delayed, undelayed) = (begun(was.delayed_until, is.delayed_until), begun(is.delayed_until, was.delayed_until));
    let (failed, failed_before) = (is.failed_dependency.is_some(), was.failed_dependency.is_some());
    let (waited, waits) = (old.waits_for_resume(), new.waits_for_resume());
    Some(match new.operator_override {
        Override::Auto if old.operator_override != Override::Auto => (Cause::Lifted, Some(Cause::Override)),
        said if said != old.operator_override => (Cause::Override, None),
        _ if held => (Cause::Held, None),
        _ if by_balancer(new) && !by_balancer(old) => (Cause::Balancer, None),
        _ if failed && !failed_before && new.operator_override == Override::Auto => (Cause::Dependency, None),
        _ if waits && !waited => (Cause::AwaitsResume, None),
        _ if damped => (Cause::Damped, None),
        _ if delayed => (Cause::Delayed, None),
        _ if unheld => (Cause::Lifted, Some(Cause::Held)),
        _ if undamped => (Cause::Lifted, Some(Cause::Damped)),
        // Its probes say down again: what it would wait for then is told when they say up.
        _ if (waited || undelayed) && !new.verdict.serves() => (Cause::Probes, None),
        _ if waited && !waits && is.awaits_resume.is_some() => (Cause::AwaitsResume, None),
        _ if waited && !waits => (Cause::Lifted, Some(Cause::AwaitsResume)),
        _ if undelayed => (Cause::Lifted, Some(Cause::Delayed)),
        _ if old.effective == new.effective && lost_ipv6(old) != lost_ipv6(new) => (Cause::Ipv6, None),
        _ if old.effective == new.effective && is_degraded(old) != is_degraded(new) => (Cause::Degraded, None),
        _ if old.effective == new.effective => return None,
        _ if by_balancer(old) && new.verdict != Verdict::Down => (Cause::Lifted, Some(Cause::Balancer)),
        _ if failed_before && new.verdict != Verdict::Down => (Cause::Lifted, Some(Cause::Dependency)),
        // It was held.
        _ if failed => (Cause::Dependency, None),
        _ if reloaded => (Cause::Reload, None),
        _ => (Cause::Probes, None),
    })
}

/// What makes it offer less, or takes it down by its balancer's word; empty where nothing does.
fn degraded(state: &RegionState) -> Vec<String> {
    if state.degraded.factor >= 1.0 && !state.degraded.withdrawn {
        return Vec::new();
    }
    state.degraded.why.iter().map(|why| why.to_string().chars().take(MOST_TEXT).collect()).collect()
}

/// Whether its balancer's word is what takes it down, and no operator's stands above it.
fn by_balancer(state: &RegionState) -> bool {
    state.degraded.withdrawn && state.effective == EffectiveState::Down && state.operator_override == Override::Auto
}

/// Whether it serves, and offers less than it could.
fn is_degraded(state: &RegionState) -> bool {
    state.effective.is_eligible() && state.degraded.factor < 1.0
}

/// Whether its AAAA answers are empty.
fn lost_ipv6(state: &RegionState) -> bool {
    state.ipv6 == Some(Verdict::Down) && !state.ipv6_doubted
}

fn region_change(
    model: &Model,
    id: RegionId,
    (old, new): (&RegionState, &RegionState),
    (cause, lifted): (Cause, Option<Cause>),
    now: Instant,
) -> RegionChange {
    let until = match cause {
        Cause::Held => new.stability.held_until,
        Cause::Damped => new.stability.damped_until,
        Cause::Delayed => new.stability.delayed_until,
        _ => None,
    };
    let back = new.stability.back_since;
    RegionChange {
        region: model.qualified_region_name(id),
        before: Some(old.effective),
        after: Some(new.effective),
        cause,
        lifted,
        operator_override: new.operator_override,
        failed_dependency: new.stability.failed_dependency.map(|on| model.dependency_name(on)),
        for_s: until.map(|until| until.saturating_duration_since(now).as_secs()),
        starts_slowly: back.is_some() && back != old.stability.back_since && new.offered < new.degraded.factor,
        degraded: degraded(new),
        ipv6_down: (cause == Cause::Ipv6).then(|| lost_ipv6(new)),
        endpoints: new.endpoints.len(),
        endpoints_down: new.endpoints.iter().filter(|seen| seen.verdict == Some(Verdict::Down)).count(),
        probes: probes(model.region(id), &new.endpoints, now),
        services: Vec::new(),
        services_in_all: 0,
        clients_go_to: Vec::new(),
        clients_come_from: Vec::new(),
    }
}

fn probes(region: &Region, endpoints: &[EndpointState], now: Instant) -> Vec<ProbeSeen> {
    let of_endpoint = |(of, seen): (&Endpoint, &EndpointState)| -> Vec<_> {
        let label = |id: &ProbeId| format!("{} {id}", of.label()).trim_end().to_owned();
        let probes = seen.probes.iter();
        probes.filter_map(|(id, seen)| Some((seen.verdict?, label(id), seen.clone()))).collect()
    };
    let mut probed: Vec<_> = region.endpoints.iter().zip(endpoints).flat_map(of_endpoint).collect();
    probed.sort_by_key(|(verdict, ..)| *verdict != Verdict::Down);
    let seen = |(verdict, endpoint, seen): (Verdict, String, ProbeState)| ProbeSeen {
        endpoint,
        verdict: verdict.to_string(),
        last_probe: seen.last_probe.chars().take(MOST_TEXT).collect(),
        age_s: seen.probed_at.map(|at| (now.saturating_duration_since(at).as_secs_f64() * 1e3).round() / 1e3),
        connect_ms: seen.connect_ms,
    };
    probed.into_iter().take(MOST_PROBES).map(seen).collect()
}

/// One pass over all services, whose regions are many.
fn name_services(model: &Model, changed: &mut [(RegionId, RegionChange)]) {
    if changed.is_empty() {
        return;
    }
    let at: HashMap<RegionId, usize> = changed.iter().enumerate().map(|(at, (id, _))| (*id, at)).collect();
    for id in model.service_ids() {
        for at in model.service(id).regions.iter().filter_map(|region| at.get(region)) {
            let Some((_, change)) = changed.get_mut(*at) else { continue };
            change.services_in_all += 1;
            if change.services.len() < MOST_SERVICES {
                change.services.push(model.service_key(id));
            }
        }
    }
}

/// Of regions that leave the answers, or are back. Over a reload, clients are not the same.
fn say_moves(before: &Snapshot, after: &Snapshot, changed: &mut [(RegionId, RegionChange)]) {
    if !same_model(before, after) || !Arc::ptr_eq(&before.atlas, &after.atlas) {
        return;
    }
    for gone in [true, false] {
        let eligible = |state: Option<EffectiveState>| state.is_some_and(EffectiveState::is_eligible);
        let turns = |change: &RegionChange| eligible(change.before) == gone && eligible(change.after) != gone;
        let turned: Vec<RegionId> = changed.iter().filter(|(_, change)| turns(change)).map(|(id, _)| *id).collect();
        if turned.is_empty() {
            continue;
        }
        let mut moves = moves(before, after, &turned, gone);
        for (id, change) in changed.iter_mut() {
            let Some(shares) = moves.remove(id) else { continue };
            if gone { change.clients_go_to = shares } else { change.clients_come_from = shares }
        }
    }
}

fn service_changes(before: &Snapshot, after: &Snapshot) -> Vec<ServiceChange> {
    let (model, mut changes) = (&after.model, Vec::new());
    let known: Option<HashMap<String, ServiceId>> = (!same_model(before, after)).then(|| {
        let ids = before.model.service_ids();
        ids.map(|id| (before.model.service_key(id), id)).collect()
    });
    for id in model.service_ids() {
        let old_id = match &known {
            None => id,
            Some(known) => match known.get(&model.service_key(id)) {
                Some(old_id) => *old_id,
                None => continue,
            },
        };
        let (old, new) = (conditions(before, old_id), conditions(after, id));
        let fences: BTreeSet<&Option<String>> = old.keys().chain(new.keys()).collect();
        for fence in fences {
            let of = |conditions: &Conditions| conditions.get(fence).copied().unwrap_or(ServiceCondition::Normal);
            let (before, after) = (of(&old), of(&new));
            if before != after && changes.len() < MOST_SERVICE_CHANGES {
                let (service, fence) = (model.service_key(id), fence.clone());
                changes.push(ServiceChange { service, fence, before: Some(before), after: Some(after) });
            }
        }
    }
    changes
}

/// What a reload brought and took: the numbers, then each by name.
fn replaced(before: &Snapshot, after: &Snapshot, now: Instant) -> Vec<Change> {
    if same_model(before, after) {
        return Vec::new();
    }
    let (regions_gone, services_gone) = only_in(before, after, now);
    let (regions_new, services_new) = only_in(after, before, now);
    let counts = ReloadChange {
        regions_new: regions_new.len(),
        regions_gone: regions_gone.len(),
        services_new: services_new.len(),
        services_gone: services_gone.len(),
    };
    if counts == ReloadChange::default() {
        return Vec::new();
    }
    let new = |change: RegionChange| RegionChange { after: change.before, before: None, ..change };
    let regions = regions_gone.into_iter().chain(regions_new.into_iter().map(new)).map(Change::Region);
    let new = |change: ServiceChange| ServiceChange { after: change.before, before: None, ..change };
    let services = services_gone.into_iter().chain(services_new.into_iter().map(new)).map(Change::Service);
    [Change::Reload(counts)].into_iter().chain(regions.chain(services).take(MOST_REPLACED)).collect()
}

/// The regions and services that the other has not, as if gone.
fn only_in(of: &Snapshot, other: &Snapshot, now: Instant) -> (Vec<RegionChange>, Vec<ServiceChange>) {
    let (model, known) = (&of.model, &other.model);
    let names: HashSet<String> = known.region_ids().map(|id| known.qualified_region_name(id)).collect();
    let lone = model.region_ids().filter(|id| !names.contains(&model.qualified_region_name(*id)));
    let mut regions: Vec<(RegionId, RegionChange)> = lone
        .filter_map(|id| Some((id, of.states.get(id.index())?)))
        .map(|(id, state)| (id, region_change(model, id, (state, state), (Cause::Reload, None), now)))
        .map(|(id, change)| (id, RegionChange { after: None, starts_slowly: false, ..change }))
        .collect();
    name_services(model, &mut regions);
    let names: HashSet<String> = known.service_ids().map(|id| known.service_key(id)).collect();
    let lone = model.service_ids().map(|id| (id, model.service_key(id))).filter(|(_, name)| !names.contains(name));
    let services = lone.map(|(id, service)| {
        let condition = conditions(of, id).get(&None).copied().unwrap_or(ServiceCondition::Normal);
        ServiceChange { service, fence: None, before: Some(condition), after: None }
    });
    (regions.into_iter().map(|(_, change)| change).collect(), services.collect())
}

/// By fence; `None` is for clients that no fence is for.
type Conditions = BTreeMap<Option<String>, ServiceCondition>;

/// What is not in there is normal.
fn conditions(snapshot: &Snapshot, id: ServiceId) -> Conditions {
    let Some(plan) = snapshot.plan.services.get(id.index()) else { return BTreeMap::new() };
    let policies = &snapshot.model.service(id).policies;
    let fences = plan.standing.fences_out.iter().map(|fence| (Some(policies.rule_name(fence.rule)), fence.condition));
    fences.chain([(None, plan.standing.condition)]).filter(|(_, of)| *of != ServiceCondition::Normal).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::{Check, CheckKind, Child, Dependency, GeoPlace, Group, GroupId, Policy, Rule, Weight};
    use crate::state::memory::switches::{Shift, Switch, Switches};
    use crate::state::{EndpointNews, News, Publisher, Replacement};
    use crate::steer::health::degraded::Degraded;
    use crate::steer::kept::Clock;
    use crate::steer::testing::{World, moment};

    /// Two regions with checks; some clients never leave the first.
    fn fenced() -> World {
        let mut world = World::two_coasts(Policy::Failover);
        let second = Duration::from_secs(1);
        for region in &mut world.model.regions {
            let kind = CheckKind::Tcp { port: 80 };
            region.checks = Some(Check { interval: second, timeout: second, ..Check::new(kind) }.into());
        }
        let tree = &mut world.service().policies;
        let clients = [GeoPlace::Network("10.0.0.0/9".parse().expect("a prefix"))].into();
        tree.rules = vec![Rule { clients, group: GroupId(1), fence: true }];
        let children = vec![Child::Region(RegionId(0))];
        tree.groups.push(Group { name: "rule 1".into(), policy: Policy::Failover, children });
        world
    }

    struct Watched {
        publisher: Publisher,
        before: Arc<Snapshot>,
    }

    impl Watched {
        fn begin() -> Watched {
            let World { model, atlas, .. } = fenced();
            let publisher = Publisher::new(model, atlas, "", 0, BTreeMap::new(), moment(Instant::now()));
            let before = publisher.shared().load_full();
            Watched { publisher, before }
        }

        fn probe(&mut self, region: usize, verdict: Verdict) -> Vec<Change> {
            let name = self.before.model.qualified_region_name(RegionId(region as u16));
            let news = EndpointNews::of_only_probe(&name, &format!("192.0.2.{region}"), verdict);
            let news = EndpointNews { seen: "connection refused".into(), ..news };
            self.apply(News::Probe(news))
        }

        fn apply(&mut self, news: News) -> Vec<Change> {
            self.publisher.apply(news, moment(Instant::now()));
            self.publisher.publish(moment(Instant::now()));
            let after = self.publisher.shared().load_full();
            let before = std::mem::replace(&mut self.before, after.clone());
            changes(&before, &after, Instant::now())
        }
    }

    /// Region, before, after, cause.
    fn regions(changes: &[Change]) -> Vec<(&str, EffectiveState, EffectiveState, Cause)> {
        let mut found = Vec::new();
        for change in changes {
            if let Change::Region(RegionChange { region, before, after, cause, .. }) = change {
                let (Some(before), Some(after)) = (*before, *after) else { continue };
                found.push((region.split('@').next().unwrap_or_default(), before, after, *cause));
            }
        }
        found
    }

    /// Fence, before, after.
    fn services(changes: &[Change]) -> Vec<(Option<&str>, ServiceCondition, ServiceCondition)> {
        let mut found = Vec::new();
        for change in changes {
            if let Change::Service(ServiceChange { fence, before, after, .. }) = change {
                let (Some(before), Some(after)) = (*before, *after) else { continue };
                found.push((fence.as_deref(), before, after));
            }
        }
        found
    }

    #[test]
    fn every_change_of_a_region_is_one_event_with_its_cause() {
        use EffectiveState::{Down, Drain, Unknown, Up};
        let mut watched = Watched::begin();
        assert_eq!(regions(&watched.probe(0, Verdict::Up)), [("west", Unknown, Up, Cause::Probes)]);
        assert_eq!(regions(&watched.probe(1, Verdict::Up)), [("east", Unknown, Up, Cause::Probes)]);
        assert_eq!(watched.probe(1, Verdict::Up), [], "nothing has changed");
        let drained = watched.apply(News::set_override("east@gslb.example", Override::Drain));
        assert_eq!(regions(&drained), [("east", Up, Drain, Cause::Override)]);
        assert_eq!(watched.probe(1, Verdict::Down), [], "the override stands above it");
        let lifted = watched.apply(News::set_override("east@gslb.example", Override::Auto));
        assert_eq!(regions(&lifted), [("east", Drain, Down, Cause::Lifted)]);
        let Some(Change::Region(east)) = lifted.first() else { panic!("{lifted:?}") };
        assert_eq!((east.lifted, east.operator_override), (Some(Cause::Override), Override::Auto));
        assert_eq!((east.endpoints, east.endpoints_down), (1, 1));
        assert_eq!((&*east.services, east.services_in_all), (&["www.gslb.example".to_owned()][..], 1));
        let [seen] = &*east.probes else { panic!("{east:?}") };
        assert_eq!((&*seen.verdict, &*seen.last_probe, seen.connect_ms), ("down", "connection refused", None));
        assert!(seen.age_s.is_some_and(|age| age < 60.0), "{seen:?}");
    }

    #[test]
    fn a_service_and_its_fence_make_one_event_each_when_they_run_out_and_one_when_that_ends() {
        use ServiceCondition::{Normal, OnlyDraining, Panic, Unproven};
        let mut watched = Watched::begin();
        let fence = Some("rule 1");
        assert_eq!(services(&watched.probe(0, Verdict::Up)), [(None, Unproven, Normal), (fence, Unproven, Normal)]);
        assert_eq!(services(&watched.probe(1, Verdict::Up)), []);
        assert_eq!(services(&watched.probe(0, Verdict::Down)), [(fence, Normal, Panic)], "the fence's clients alone");
        assert_eq!(services(&watched.probe(1, Verdict::Down)), [(None, Normal, Panic)]);
        assert_eq!(services(&watched.probe(0, Verdict::Up)), [(None, Panic, Normal), (fence, Panic, Normal)]);
        let drained = watched.apply(News::set_override("west@gslb.example", Override::Drain));
        assert_eq!(services(&drained), [(None, Normal, OnlyDraining), (fence, Normal, OnlyDraining)]);
    }

    #[test]
    fn holds_and_dampings_begin_and_end_with_an_event_even_where_the_state_stays() {
        let later = Some(Instant::now() + Duration::from_secs(60));
        let state = |effective, held_until, damped_until, operator_override| {
            let mut state = RegionState { effective, operator_override, ..RegionState::unprobed(1) };
            (state.stability.held_until, state.stability.damped_until) = (held_until, damped_until);
            state
        };
        let (up, suspect, down) = (EffectiveState::Up, EffectiveState::Suspect, EffectiveState::Down);
        let plain = |effective| state(effective, None, None, Override::Auto);
        let held = state(suspect, later, None, Override::Auto);
        let damped = state(down, None, later, Override::Auto);
        let said = state(down, None, None, Override::Down);
        for (old, new, expected) in [
            (plain(up), plain(up), None),
            (plain(up), plain(down), Some((Cause::Probes, None))),
            (plain(up), held.clone(), Some((Cause::Held, None))),
            (held.clone(), held.clone(), None),
            (plain(suspect), held.clone(), Some((Cause::Held, None))),
            (held.clone(), plain(down), Some((Cause::Lifted, Some(Cause::Held)))),
            (held.clone(), plain(suspect), Some((Cause::Lifted, Some(Cause::Held)))),
            (held.clone(), said.clone(), Some((Cause::Override, None))),
            (plain(down), damped.clone(), Some((Cause::Damped, None))),
            (damped, plain(up), Some((Cause::Lifted, Some(Cause::Damped)))),
            (plain(down), said.clone(), Some((Cause::Override, None))),
            (said.clone(), plain(down), Some((Cause::Lifted, Some(Cause::Override)))),
        ] {
            assert_eq!(cause(&old, &new, false), expected, "{old:?} {new:?}");
        }
        assert_eq!(cause(&plain(up), &plain(down), true), Some((Cause::Reload, None)));
    }

    #[test]
    fn a_balancers_word_and_less_capacity_begin_and_end_with_an_event() {
        use EffectiveState::{Down, Up};
        let state = |effective, verdict, factor, withdrawn| {
            let degraded = Degraded { factor, withdrawn, ..Degraded::default() };
            RegionState { effective, verdict, degraded, ..RegionState::unprobed(1) }
        };
        let (well, less) = (state(Up, Verdict::Up, 1.0, false), state(Up, Verdict::Up, 0.5, false));
        let (lesser, gone) = (state(Up, Verdict::Up, 0.3, false), state(Down, Verdict::Down, 0.1, true));
        for (old, new, expected) in [
            (&well, &less, Some((Cause::Degraded, None))),
            (&less, &lesser, None),
            (&less, &well, Some((Cause::Degraded, None))),
            (&less, &gone, Some((Cause::Balancer, None))),
            (&gone, &gone, None),
            (&gone, &less, Some((Cause::Lifted, Some(Cause::Balancer)))),
        ] {
            assert_eq!(cause(old, new, false), expected, "{old:?} {new:?}");
        }
    }

    #[test]
    fn delays_and_waits_for_an_operator_begin_and_end_with_an_event() {
        use EffectiveState::{Down, Up};
        let now = Some(Instant::now());
        let later = now.map(|now| now + Duration::from_secs(60));
        let state = |effective, verdict, delayed_until, awaits_resume| {
            let mut state = RegionState { effective, verdict, ..RegionState::unprobed(1) };
            (state.stability.delayed_until, state.stability.awaits_resume) = (delayed_until, awaits_resume);
            state
        };
        let (up, down) = (state(Up, Verdict::Up, None, None), state(Down, Verdict::Down, None, None));
        let (delayed, fallen) = (state(Down, Verdict::Up, later, None), state(Down, Verdict::Down, None, now));
        let (waits, needed) = (state(Down, Verdict::Up, None, now), state(Up, Verdict::Up, None, now));
        for (old, new, expected) in [
            (&down, &delayed, Some((Cause::Delayed, None))),
            (&delayed, &delayed, None),
            (&delayed, &down, Some((Cause::Probes, None))),
            (&delayed, &up, Some((Cause::Lifted, Some(Cause::Delayed)))),
            (&up, &fallen, Some((Cause::Probes, None))),
            (&fallen, &waits, Some((Cause::AwaitsResume, None))),
            (&waits, &waits, None),
            (&waits, &fallen, Some((Cause::Probes, None))),
            (&waits, &needed, Some((Cause::AwaitsResume, None))),
            (&needed, &waits, Some((Cause::AwaitsResume, None))),
            (&waits, &up, Some((Cause::Lifted, Some(Cause::AwaitsResume)))),
            (&fallen, &down, None),
        ] {
            assert_eq!(cause(old, new, false), expected, "{old:?} {new:?}");
        }
        let failed = |mut state: RegionState| {
            state.stability.failed_dependency = Some(Dependency::Region(RegionId(1)));
            state
        };
        let (dependent, overridden) = (failed(down.clone()), failed(state(Up, Verdict::Down, None, None)));
        let overridden = RegionState { operator_override: Override::Up, ..overridden };
        let said = RegionState { operator_override: Override::Up, ..up.clone() };
        for (old, new, expected) in [
            (&up, &dependent, Some((Cause::Dependency, None))),
            (&down, &dependent, Some((Cause::Dependency, None))),
            (&dependent, &dependent, None),
            (&dependent, &up, Some((Cause::Lifted, Some(Cause::Dependency)))),
            (&dependent, &delayed, Some((Cause::Delayed, None))),
            (&said, &overridden, None),
        ] {
            assert_eq!(cause(old, new, false), expected, "{old:?} {new:?}");
        }
    }

    /// The service with a canary, and what an operator said of it.
    fn with_canary(share: f64, until_unix_ms: Option<u64>) -> (World, News) {
        let mut world = fenced();
        let (part, tree) = (Weight::new(0.01).expect("a share"), &mut world.service().policies);
        let canary = GroupId(tree.groups.len() as u16);
        let (new, root) = (vec![Child::Region(RegionId(1))], vec![Child::Group(canary), Child::Group(tree.root)]);
        tree.groups.push(Group { name: "canary clients".into(), policy: Policy::Failover, children: new });
        tree.groups.push(Group { name: "the canary".into(), policy: Policy::Canary { share: part }, children: root });
        tree.root = GroupId(canary.0 + 1);
        let (of, by, note) = ("east".into(), "alice".into(), Some("release 7".into()));
        let shift = Shift { share, of, by, said_unix_ms: 0, note, until_unix_ms };
        let switch = Switch { canary: Some(shift), ..Switch::default() };
        (world, News::Switches(Switches::from([("www.gslb.example".to_owned(), switch)])))
    }

    fn reload(World { model, atlas, .. }: World) -> News {
        News::Reload(Box::new(Replacement { model, atlas: Some(atlas), nsid: String::new(), seed: 0 }))
    }

    #[test]
    fn a_shift_its_end_and_a_reload_that_drops_it_are_one_event_each() {
        let mut watched = Watched::begin();
        let told = |changes: Vec<Change>| -> Vec<String> {
            let switches = changes.iter().filter(|change| matches!(change, Change::Switch(_)));
            switches.map(ToString::to_string).collect()
        };
        assert_eq!(told(watched.apply(reload(with_canary(0.0, None).0))), [""; 0]);
        let shifted = "service www.gslb.example: canary 25 %, was 1 %; an operator says so (alice): release 7";
        assert_eq!(told(watched.apply(with_canary(0.25, None).1)), [shifted]);
        assert_eq!(told(watched.probe(0, Verdict::Up)), [""; 0]);
        assert_eq!(told(watched.apply(reload(with_canary(0.0, None).0))), [""; 0], "it holds over reloads");
        let dropped = "service www.gslb.example: canary none, was 25 %; what an operator said is dropped: the files are \
                       others";
        assert_eq!(told(watched.apply(reload(fenced()))), [dropped]);
        let soon = moment(Instant::now()).unix_ms() + 50;
        watched.apply(reload(with_canary(0.0, None).0));
        watched.apply(with_canary(0.5, Some(soon)).1);
        let ends = watched.publisher.next_change(Instant::now()).expect("it ends");
        assert!(ends <= Instant::now() + Duration::from_millis(50), "somebody looks then");
        let later = Instant::now() + Duration::from_millis(60);
        watched.publisher.publish(Clock::new(later, soon + 10));
        let after = watched.publisher.shared().load_full();
        let ended = "service www.gslb.example: canary 1 %, was 50 %; the time it was said for is over";
        assert_eq!(told(changes(&watched.before, &after, later)), [ended]);
    }

    #[test]
    fn over_a_reload_regions_are_the_same_by_name() {
        let mut watched = Watched::begin();
        watched.probe(0, Verdict::Up);
        watched.probe(1, Verdict::Down);
        let World { model, atlas, .. } = fenced();
        let again = Replacement { model, atlas: Some(atlas), nsid: String::new(), seed: 0 };
        let renumbered = watched.apply(News::Reload(Box::new(again)));
        assert_eq!(renumbered, [], "nothing has changed but the numbers");
        let World { mut model, atlas, .. } = fenced();
        model.regions[0].name = "other".into();
        let renamed = Replacement { model, atlas: Some(atlas), nsid: String::new(), seed: 0 };
        let changes = watched.apply(News::Reload(Box::new(renamed)));
        assert_eq!(regions(&changes), [], "one that was not there before has not changed: {changes:?}");
        let names = |of: &Change| match of {
            Change::Region(it) => {
                (it.region.clone(), it.before.is_some(), it.after.is_some(), it.cause == Cause::Reload)
            }
            other => panic!("{other:?}"),
        };
        let [Change::Reload(counts), gone, new] = &changes[..3] else { panic!("{changes:?}") };
        assert_eq!(*counts, ReloadChange { regions_new: 1, regions_gone: 1, ..ReloadChange::default() });
        assert_eq!(names(gone), ("west@gslb.example".to_owned(), true, false, true));
        assert_eq!(names(new), ("other@gslb.example".to_owned(), false, true, true));
    }

    #[test]
    fn a_reload_that_replaces_much_is_counted_whole_and_told_in_part() {
        let mut watched = Watched::begin();
        let World { mut model, atlas, .. } = fenced();
        let (service, zone) = (model.services[0].clone(), model.zones[0].origin.clone());
        for number in 0..1_500 {
            let name = crate::model::Name::parse(&format!("s{number}"), &zone).expect("a name");
            model.services.push(crate::model::Service { name, ..service.clone() });
        }
        let grown = Replacement { model, atlas: Some(atlas), nsid: String::new(), seed: 0 };
        let changes = watched.apply(News::Reload(Box::new(grown)));
        let counts = ReloadChange { services_new: 1_500, ..ReloadChange::default() };
        assert_eq!((changes.len(), &changes[0]), (1 + MOST_REPLACED, &Change::Reload(counts)));
        let Change::Service(first) = &changes[1] else { panic!("{:?}", changes[1]) };
        assert_eq!((&*first.service, first.before, first.fence.as_deref()), ("s0.gslb.example", None, None));
        assert_eq!(first.after, Some(ServiceCondition::Unproven));
        let World { model, atlas, .. } = fenced();
        let shrunk = Replacement { model, atlas: Some(atlas), nsid: String::new(), seed: 0 };
        let changes = watched.apply(News::Reload(Box::new(shrunk)));
        let counts = ReloadChange { services_gone: 1_500, ..ReloadChange::default() };
        assert_eq!((changes.len(), &changes[0]), (1 + MOST_REPLACED, &Change::Reload(counts)));
    }

    #[test]
    fn a_node_that_is_cut_off_by_the_others_word_says_so_and_when_it_votes_again() {
        let mut watched = Watched::begin();
        for region in [0, 1] {
            watched.probe(region, Verdict::Up);
        }
        let other = watched.publisher.own_verdicts();
        assert_eq!(watched.apply(News::Vantages(BTreeMap::from([("ber1".to_owned(), other)]))), []);
        assert_eq!(regions(&watched.probe(0, Verdict::Down)).len(), 1, "suspect: one of two");
        let told = |changes: &[Change]| changes.iter().map(ToString::to_string).collect::<Vec<_>>();
        let begun = watched.probe(1, Verdict::Down);
        let said = "this node is cut off by IPv4: it sees 2 of 2 endpoints down that 1 other sees up; it does not vote";
        assert_eq!(told(&begun).first().map(String::as_str), Some(said));
        assert!(matches!(&begun[0], Change::Server(change) if change.by_others && change.after == Reach::CutOff));
        assert_eq!(watched.apply(News::Measured(Arc::default())), [], "it is told once");
        let ended = watched.probe(0, Verdict::Up);
        assert_eq!(
            told(&ended).first().map(String::as_str),
            Some("this node is cut off by IPv4 no more, after 0 s: it votes again")
        );
    }
}
