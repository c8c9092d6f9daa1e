//! The lifetimes of a service's answers now, over all its clients: for people who look at the service as a whole.
//!
//! A plan comes in; for each service the least and the greatest TTL go out, worked out by the function that answers
//! packets. Which of them one client gets, `explain` tells.

use std::collections::HashMap;

use serde::Serialize;

use crate::model::{RegionId, Service};

use super::ServicePlan;
use super::code::{Answer, Code};
use super::table::{Follows, Table};
use crate::steer::choice::cell::Pick;
use crate::steer::decide::{View, span_of, time_to_live};
use crate::steer::policy::eligible::ServiceCondition;

/// In seconds. Alike for most services; where regions are busy or suspect, their answers live less long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Lives {
    pub least: u32,
    /// At least `least`.
    pub most: u32,
}

/// The facts that a service's lives follow from besides the regions: those alike in it share them.
type Recipe = (*const Table, u32, u32, bool, bool);

fn recipe(service: &Service, plan: &ServicePlan) -> Recipe {
    let (ttl, failover_ttl) = (service.ttl.as_secs(), service.failover_ttl.as_secs());
    (std::sync::Arc::as_ptr(&plan.table), ttl, failover_ttl, plan.aftermath, plan.reduced)
}

impl Lives {
    /// Of every service, in the order of their ids. Where a table does not hold or leaves it open, all regions that may
    /// be answered count.
    pub fn of(view: &View<'_>) -> Vec<Lives> {
        let mut known = HashMap::new();
        let services = view.model.services.iter().zip(&view.plan.services);
        services
            .map(|(service, plan)| {
                *known.entry(recipe(service, plan)).or_insert_with(|| Lives::of_service(view, service, plan))
            })
            .collect()
    }

    fn of_service(view: &View<'_>, service: &Service, plan: &ServicePlan) -> Lives {
        let ttl = |region: RegionId, condition| {
            let endpoint_set = view.endpoint_sets.get(region.index())?;
            Some(time_to_live(service, plan, condition, span_of(endpoint_set)).ttl.as_secs())
        };
        let of_code = |code: &Code| match code.read() {
            Answer::One(region) => Lives::of_pick(&Pick::One(region), &|region| ttl(region, ServiceCondition::Normal)),
            Answer::Cell(number) => {
                let cell = plan.table.cell(number)?;
                Lives::of_pick(&cell.pick, &|region| ttl(region, cell.condition))
            }
            Answer::Open { .. } => None,
        };
        let any = service.regions.iter().filter(|region| plan.standing.answers(**region));
        let any = || any.clone().filter_map(|region| ttl(*region, plan.standing.condition));
        let of_any = || any().map(|ttl| Lives { least: ttl, most: ttl }).reduce(Lives::widened);
        let lives = match plan.follows {
            Follows::All => {
                let open = plan.table.has_open().then(of_any).flatten();
                plan.table.distinct_codes().iter().filter_map(of_code).chain(open).reduce(Lives::widened)
            }
            Follows::Eligible | Follows::Nothing => of_any(),
        };
        lives.unwrap_or(Lives { least: service.ttl.as_secs(), most: service.ttl.as_secs() })
    }

    /// `None` only where it leads to regions that the view does not have.
    fn of_pick(pick: &Pick, ttl: &impl Fn(RegionId) -> Option<u32>) -> Option<Lives> {
        let of = |pick: &Pick| Lives::of_pick(pick, ttl);
        match pick {
            Pick::One(region) | Pick::Shedding { region, .. } => {
                ttl(*region).map(|ttl| Lives { least: ttl, most: ttl })
            }
            Pick::First(picks) => picks.iter().filter_map(of).reduce(Lives::widened),
            Pick::Split { branches, .. } => branches.iter().filter_map(|b| of(&b.pick)).reduce(Lives::widened),
            Pick::Cohort { of: halves, .. } => halves.iter().filter_map(of).reduce(Lives::widened),
            // An answer lives no longer than any of its regions' own: at best it has the longest-lived.
            Pick::Many { answers, branches } => {
                let mut all: Vec<Lives> = branches.iter().filter_map(|branch| of(&branch.pick)).collect();
                all.sort_unstable_by_key(|lives| std::cmp::Reverse(lives.most));
                let last = usize::from(*answers).clamp(1, all.len().max(1)) - 1;
                let most = all.get(last)?.most;
                all.into_iter().reduce(Lives::widened).map(|lives| Lives { most, ..lives })
            }
        }
    }

    fn widened(self, other: Lives) -> Lives {
        Lives { least: self.least.min(other.least), most: self.most.max(other.most) }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::time::Instant;

    use proptest::prelude::*;

    use super::*;
    use crate::model::Policy;
    use crate::steer::decide::{Seen, decide};
    use crate::steer::health::effective::EffectiveState;
    use crate::steer::load::state::LoadFigure;
    use crate::steer::testing::{SERVICE, World};

    /// Of clients of all places and keys.
    fn answered(world: &World) -> Lives {
        let planned = world.plan(Instant::now());
        let ttl = |bits: u32| {
            let client = Seen::Subnet(IpAddr::V4((10 << 24 | bits << 8).into()));
            decide(&planned.view(), SERVICE, client).expect("a decision").ttl.as_secs()
        };
        let all: Vec<u32> = (0..0x1_0000).step_by(97).chain(0x0506..0x0507).map(ttl).collect();
        Lives { least: *all.iter().min().expect("some"), most: *all.iter().max().expect("some") }
    }

    fn told(world: &World) -> Lives {
        Lives::of(&world.plan(Instant::now()).view())[0]
    }

    #[test]
    fn regions_that_differ_make_a_range() {
        let mut world = World::two_coasts(Policy::Score);
        assert_eq!(told(&world), Lives { least: 30, most: 30 });
        let figure = LoadFigure { load: 990.0, capacity: Some(1000.0), at: Instant::now() };
        world.states[0].load.last = Some(figure);
        assert_eq!(told(&world), Lives { least: 5, most: 30 }, "the west is full");
        world.states[0].effective = EffectiveState::Down;
        assert_eq!(told(&world), Lives { least: 15, most: 15 }, "only the east is left");
    }

    proptest! {
        #[test]
        fn what_is_told_is_what_is_answered(
            policy in prop_oneof![
                Just(Policy::Score),
                Just(Policy::Failover),
                Just(Policy::Weighted(Vec::new())),
                (1u8..3).prop_map(|answers| Policy::Multi { answers, weights: Vec::new() }),
            ],
            loads in prop::array::uniform2(0.0f64..1100.0),
            suspect in prop::option::of(0usize..2),
            down in prop::option::of(0usize..2),
            aftermath: bool,
        ) {
            let mut world = World::two_coasts(policy);
            let now = Instant::now();
            for (state, load) in world.states.iter_mut().zip(loads) {
                state.load.last = Some(LoadFigure { load, capacity: Some(1000.0), at: now });
                state.changed_at = aftermath.then_some(now);
            }
            for (region, effective) in [(suspect, EffectiveState::Suspect), (down, EffectiveState::Down)] {
                if let Some(region) = region {
                    world.states[region].effective = effective;
                }
            }
            prop_assert_eq!(told(&world), answered(&world));
        }
    }
}
