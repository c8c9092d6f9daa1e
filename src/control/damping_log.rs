//! Says in the log when a region is held, damped or starts slowly, when a service or one of its fences has nothing
//! eligible left, and when that ends: each is a reason why answers are not what the probes alone would make them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use tracing::{error, info, warn};

use crate::model::ServiceId;
use crate::state::Snapshot;
use crate::steer::health::effective::RegionState;
use crate::steer::policy::eligible::ServiceCondition;

/// Tells what differs between two snapshots, region by region.
pub fn tell_changes(before: &Snapshot, after: &Snapshot, now: Instant) {
    // A reload renumbers; what holds on over it was told before.
    if !std::sync::Arc::ptr_eq(&before.model, &after.model) {
        return;
    }
    for (id, (old, new)) in after.model.region_ids().zip(before.states.iter().zip(&after.states)) {
        let region = || after.model.qualified_region_name(id);
        tell_held(region, old, new, now);
        tell_damped(region, old, new, now);
        let (was_back, back) = (old.stability.back_since, new.stability.back_since);
        if back.is_some() && back != was_back && new.offered < 1.0 {
            info!(region = %region(), "a region is back: it starts slowly");
        }
    }
    tell_footings(&footing_changes(before, after));
}

/// Clients of a service whose regions have run out, or are back.
#[derive(Debug, PartialEq)]
struct FootingChange {
    service: String,
    /// The fence they are in; `None`: clients that no rule is for.
    fence: Option<String>,
    /// `None`: some region was eligible, or not proven yet.
    before: Option<ServiceCondition>,
    after: Option<ServiceCondition>,
}

/// In the order of the services. Of one model.
fn footing_changes(before: &Snapshot, after: &Snapshot) -> Vec<FootingChange> {
    let (model, mut changes) = (&after.model, Vec::new());
    for id in model.service_ids() {
        let (old, new) = (last_resorts(before, id), last_resorts(after, id));
        let rules: BTreeSet<Option<u16>> = old.keys().chain(new.keys()).copied().collect();
        let service = model.service(id);
        for rule in rules.into_iter().filter(|rule| old.get(rule) != new.get(rule)) {
            changes.push(FootingChange {
                service: service.name.to_string(),
                fence: rule.map(|rule| service.policies.rule_name(rule)),
                before: old.get(&rule).copied(),
                after: new.get(&rule).copied(),
            });
        }
    }
    changes
}

/// The conditions of a service's clients by fence, where regions are answered for want of others.
fn last_resorts(snapshot: &Snapshot, id: ServiceId) -> BTreeMap<Option<u16>, ServiceCondition> {
    let Some(plan) = snapshot.plan.services.get(id.index()) else { return BTreeMap::new() };
    let fences = plan.fences_out.iter().map(|fence| (Some(fence.rule), fence.condition));
    // That nothing is proven yet is nobody's trouble: it passes with the first probes.
    let is_told = |condition: ServiceCondition| condition.is_last_resort() && condition != ServiceCondition::Unproven;
    fences.chain([(None, plan.condition)]).filter(|(_, condition)| is_told(*condition)).collect()
}

/// So many services are told of at once, and of the others how many they are.
const MOST_TOLD: usize = 20;

fn tell_footings(changes: &[FootingChange]) {
    for FootingChange { service, fence, before, after } in changes.iter().take(MOST_TOLD) {
        let (fence, was) = (fence.as_deref(), before.map(ServiceCondition::as_str));
        match after {
            Some(ServiceCondition::Panic) => error!(
                service,
                fence,
                was,
                "PANIC: all regions these clients may get are down by their probes, so all are answered as if up. \
                 Are the probes right?"
            ),
            Some(ServiceCondition::AllWithdrawn) => {
                error!(service, fence, was, "all regions for these clients are down by override, and still answered");
            }
            Some(_) => warn!(service, fence, was, "only draining regions are left for these clients, and answered"),
            None => info!(service, fence, was, "regions are eligible again for these clients"),
        }
    }
    if let Some(more @ 1..) = changes.len().checked_sub(MOST_TOLD) {
        warn!(services = more, "as many more services have run out of eligible regions or have some again");
    }
}

fn tell_held(region: impl Fn() -> String, old: &RegionState, new: &RegionState, now: Instant) {
    match (old.stability.held_until, new.stability.held_until) {
        (None, Some(until)) => error!(
            region = %region(),
            for_s = seconds(until, now),
            "HELD: its probes say down, but too many regions of its zone have gone at once; it is still answered. \
             Are the probes right? `meridian region down` takes it out, `auto` believes its probes"
        ),
        (Some(_), None) => warn!(region = %region(), state = new.effective.as_str(), "a region is held no more"),
        _ => {}
    }
}

fn tell_damped(region: impl Fn() -> String, old: &RegionState, new: &RegionState, now: Instant) {
    match (old.stability.damped_until, new.stability.damped_until) {
        (None, Some(until)) => warn!(
            region = %region(),
            for_s = seconds(until, now),
            "damped: its probes say up, but it has gone down too often; `meridian region auto` forgives it"
        ),
        (Some(_), None) => info!(region = %region(), state = new.effective.as_str(), "a region is damped no more"),
        _ => {}
    }
}

fn seconds(until: Instant, now: Instant) -> u64 {
    until.saturating_duration_since(now).as_secs()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::model::{Check, CheckKind, Child, GeoPlace, Group, GroupId, Model, Policy, RegionId, Rule};
    use crate::state::{EndpointNews, News, Publisher};
    use crate::steer::health::effective::Override;
    use crate::steer::health::verdict::Verdict;
    use crate::steer::testing::{World, moment};

    /// Two regions with checks; some clients never leave the first.
    fn fenced() -> World {
        let mut world = World::two_coasts(Policy::Failover);
        let second = std::time::Duration::from_secs(1);
        for region in &mut world.model.regions {
            let kind = CheckKind::Tcp { port: 80 };
            region.check = Some(Check { kind, interval: second, timeout: second, fall: 3, rise: 3 });
        }
        let tree = &mut world.service().policies;
        let clients = [GeoPlace::Network("10.0.0.0/9".parse().expect("a prefix"))].into();
        tree.rules = vec![Rule { clients, group: GroupId(1), fence: true }];
        let children = vec![Child::Region(RegionId(0))];
        tree.groups.push(Group { name: "rule 1".into(), policy: Policy::Failover, children });
        world
    }

    struct WatchedPublisher {
        publisher: Publisher,
        before: Arc<Snapshot>,
    }

    impl WatchedPublisher {
        fn begin(model: Model, world_atlas: crate::atlas::Atlas) -> WatchedPublisher {
            let publisher = Publisher::new(model, world_atlas, "", 0, BTreeMap::new(), moment(Instant::now()));
            let before = publisher.shared().load_full();
            WatchedPublisher { publisher, before }
        }

        fn probe(
            &mut self,
            region: usize,
            verdict: Verdict,
        ) -> Vec<(Option<String>, Option<ServiceCondition>, Option<ServiceCondition>)> {
            let name = self.before.model.qualified_region_name(RegionId(region as u16));
            let endpoint = format!("192.0.2.{region}");
            let (region, endpoint, seen) = (name.into(), endpoint.into(), String::new());
            let news = EndpointNews { region, endpoint, verdict, seen, connect_ms: None };
            self.publisher.apply(News::Probe(news), moment(Instant::now()));
            self.changes()
        }

        /// What differs from the last time: fence, condition before, condition after.
        fn changes(&mut self) -> Vec<(Option<String>, Option<ServiceCondition>, Option<ServiceCondition>)> {
            self.publisher.publish(moment(Instant::now()));
            let after = self.publisher.shared().load_full();
            let before = std::mem::replace(&mut self.before, after.clone());
            let changes = footing_changes(&before, &after);
            changes.into_iter().map(|one| (one.fence, one.before, one.after)).collect()
        }
    }

    #[test]
    fn a_service_and_its_fence_are_told_of_once_each_when_they_run_out_and_once_when_that_ends() {
        let world = fenced();
        let mut told = WatchedPublisher::begin(world.model, world.atlas);
        assert_eq!(told.probe(0, Verdict::Up), [], "not probed yet is no panic");
        assert_eq!(told.probe(1, Verdict::Up), []);
        let (panic, fence) = (Some(ServiceCondition::Panic), || Some("rule 1".to_owned()));
        assert_eq!(told.probe(0, Verdict::Down), [(fence(), None, panic)], "the fence's clients alone");
        assert_eq!(told.changes(), [], "once");
        assert_eq!(told.probe(1, Verdict::Down), [(None, None, panic)]);
        assert_eq!(told.probe(0, Verdict::Up), [(None, panic, None), (fence(), panic, None)]);
        told.publisher.apply(News::set_override("west@gslb.example", Override::Drain), moment(Instant::now()));
        let draining = Some(ServiceCondition::OnlyDraining);
        assert_eq!(told.changes(), [(None, None, draining), (fence(), None, draining)]);
    }
}
