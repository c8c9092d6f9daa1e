//! Regions that depend on others: each is down while something it depends on does not serve. States by override and
//! verdict come in, and go out with verdicts that know of dependencies; pure.
//!
//! A region serves while it is eligible (up or suspect), a service while some region of it is. What is not proven either
//! way has not failed: no evidence takes nothing down. An override beats a dependency as it beats the probes.

use std::collections::HashMap;

use crate::model::{Dependency, GroupId, Model, RegionId, ServiceId};

use super::effective::{EffectiveState, RegionState, effective_state};
use super::verdict::Verdict;

/// Takes the verdict from regions of which a dependency does not serve: for all that follows it is as if their own probes
/// said so. `states` are indexed by [`RegionId`]; `switched_to` tells the stage that a service's clients are sent to.
pub fn apply(model: &Model, switched_to: impl Fn(ServiceId) -> Option<GroupId>, states: &mut [RegionState]) {
    let mut known: HashMap<ServiceId, bool> = HashMap::new();
    for (region, depends_on) in model.dependencies.in_order() {
        let is_out = |region: &RegionId| states.get(region.index()).is_some_and(is_out);
        let mut has_failed = |on: &Dependency| match *on {
            Dependency::Region(on) => is_out(&on),
            // All its regions are settled by now, for whoever asks next too.
            Dependency::Service(on) => {
                *known.entry(on).or_insert_with(|| model.service(on).regions_in_use(switched_to(on)).iter().all(is_out))
            }
        };
        let failed = depends_on.iter().find(|on| has_failed(on)).copied();
        let Some(state) = states.get_mut(region.index()).filter(|state| state.verdict != Verdict::Down) else {
            continue;
        };
        if failed.is_some() {
            state.stability.failed_dependency = failed;
            state.verdict = Verdict::Down;
            state.effective = effective_state(state.verdict, state.operator_override);
        }
    }
}

/// Draining counts as out: new clients of those that depend on it would be sent where it sends none.
fn is_out(state: &RegionState) -> bool {
    match state.effective {
        EffectiveState::Up | EffectiveState::Suspect | EffectiveState::Unknown => false,
        EffectiveState::Drain | EffectiveState::Down => true,
    }
}

/// Why a region is down whose dependency of this name has failed: `depends on auth.gslb.example, which has no region up`.
pub fn reason(name: &str) -> String {
    // Regions alone have the sign in their names.
    let failed = if name.contains('@') { "is not up" } else { "has no region up" };
    format!("depends on {name}, which {failed}")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::model::{Dependencies, Policy, Service};
    use crate::steer::health::effective::Override;
    use crate::steer::testing::{World, at};

    const NAMES: [&str; 8] = ["a", "b", "c", "d", "e", "f", "g", "h"];

    /// Eight regions, and services over these.
    fn model(services: &[Vec<u16>], of: BTreeMap<RegionId, Vec<Dependency>>) -> Option<Model> {
        let mut model = World::new(Policy::Failover, &NAMES.map(|name| (name, at(0.0, 0.0)))).model;
        let flat = |regions: &Vec<u16>| {
            let regions = regions.iter().map(|&region| RegionId(region)).collect();
            Service::flat(model.services[0].name.clone(), model.services[0].zone, Policy::Failover, regions)
        };
        model.services = services.iter().map(flat).collect();
        model.dependencies = Dependencies::new(of, &model.services).ok()?;
        Some(model)
    }

    fn state(verdict: Verdict, operator_override: Override) -> RegionState {
        let effective = effective_state(verdict, operator_override);
        RegionState { verdict, operator_override, effective, ..RegionState::unprobed(1) }
    }

    fn applied(model: &Model, said: &[(Verdict, Override)]) -> Vec<RegionState> {
        let mut states: Vec<RegionState> = said.iter().map(|&(verdict, said)| state(verdict, said)).collect();
        apply(model, |_| None, &mut states);
        states
    }

    /// The first region depends on this; the second is so, all others are up.
    fn first(on: Dependency, second: (Verdict, Override)) -> (Verdict, Option<Dependency>) {
        let of = BTreeMap::from([(RegionId(0), vec![on])]);
        let model = model(&[vec![1], vec![1, 2]], of).expect("no circle");
        let mut said = [(Verdict::Up, Override::Auto); 8];
        said[1] = second;
        let states = applied(&model, &said);
        (states[0].verdict, states[0].stability.failed_dependency)
    }

    #[test]
    fn a_region_is_down_while_what_it_depends_on_does_not_serve() {
        use Verdict::{Down, Suspect, Unknown, Up};
        let (auto, region) = (Override::Auto, Dependency::Region(RegionId(1)));
        let (alone, among) = (Dependency::Service(ServiceId(0)), Dependency::Service(ServiceId(1)));
        for on in [region, alone] {
            for second in [(Down, auto), (Up, Override::Down), (Up, Override::Drain)] {
                assert_eq!(first(on, second), (Down, Some(on)), "{second:?}");
            }
            // What is not proven is no evidence, and an operator's word is one.
            for second in [(Up, auto), (Suspect, auto), (Unknown, auto), (Down, Override::Up)] {
                assert_eq!(first(on, second), (Up, None), "{second:?}");
            }
        }
        assert_eq!(first(among, (Down, auto)), (Up, None), "it has another region");
    }

    #[test]
    fn an_override_beats_a_dependency_and_its_own_probes_are_told_first() {
        let of = (0..4).map(|region| (RegionId(region), vec![Dependency::Region(RegionId(7))])).collect();
        let model = model(&[], of).expect("no circle");
        let mut said = [(Verdict::Up, Override::Auto); 8];
        said[..4].copy_from_slice(&[
            (Verdict::Up, Override::Up),
            (Verdict::Up, Override::Drain),
            (Verdict::Down, Override::Auto),
            (Verdict::Unknown, Override::Auto),
        ]);
        said[7] = (Verdict::Down, Override::Auto);
        let states = applied(&model, &said);
        let told: Vec<_> = states[..4].iter().map(|s| (s.effective, s.stability.failed_dependency.is_some())).collect();
        let (up, drain, down) = (EffectiveState::Up, EffectiveState::Drain, EffectiveState::Down);
        assert_eq!(told, [(up, true), (drain, true), (down, false), (down, true)]);
    }

    #[test]
    fn the_reason_names_what_has_failed() {
        assert_eq!(reason("auth.gslb.example"), "depends on auth.gslb.example, which has no region up");
        assert_eq!(reason("db@gslb.example"), "depends on db@gslb.example, which is not up");
    }

    const VERDICTS: [Verdict; 4] = [Verdict::Up, Verdict::Suspect, Verdict::Down, Verdict::Unknown];
    const OVERRIDES: [Override; 4] = [Override::Auto, Override::Auto, Override::Drain, Override::Up];

    /// The definition: of this region, whether it is out.
    fn is_out_by_definition(model: &Model, own: &[RegionState], region: RegionId) -> bool {
        let out = |region: &RegionId| is_out_by_definition(model, own, *region);
        let of = model.dependencies.in_order().iter().find(|(of, _)| *of == region);
        let failed = of.is_some_and(|(_, on)| {
            on.iter().any(|on| match on {
                Dependency::Region(on) => out(on),
                Dependency::Service(on) => model.service(*on).regions.iter().all(out),
            })
        });
        let own = &own[region.index()];
        is_out(&state(if failed { Verdict::Down } else { own.verdict }, own.operator_override))
    }

    proptest! {
        #[test]
        fn however_regions_are_numbered_it_is_the_definition(
            edges in prop::collection::vec((0u16..8, 0u16..11), 0..12),
            numbers in Just((0u16..8).collect::<Vec<u16>>()).prop_shuffle(),
            said in prop::collection::vec((0usize..4, 0usize..4), 8),
        ) {
            let services = [vec![0, 1], vec![2, 7], vec![5, 6, 4]];
            let of = |number: &dyn Fn(u16) -> u16| {
                let mut of: BTreeMap<RegionId, Vec<Dependency>> = BTreeMap::new();
                for &(from, to) in &edges {
                    let on = match to {
                        0..8 => Dependency::Region(RegionId(number(to))),
                        _ => Dependency::Service(ServiceId(u32::from(to) - 8)),
                    };
                    of.entry(RegionId(number(from))).or_default().push(on);
                }
                let services = services.iter().map(|of| of.iter().map(|&region| number(region)).collect::<Vec<_>>());
                model(&services.collect::<Vec<_>>(), of)
            };
            let plain = of(&|region| region);
            let other = of(&|region| numbers[usize::from(region)]);
            prop_assert_eq!(plain.is_some(), other.is_some());
            let (Some(plain), Some(other)) = (plain, other) else { return Ok(()) };
            let said: Vec<_> = said.iter().map(|&(verdict, said)| (VERDICTS[verdict], OVERRIDES[said])).collect();
            let mut shuffled = said.clone();
            (0..8).for_each(|region| shuffled[usize::from(numbers[region])] = said[region]);
            let own: Vec<RegionState> = said.iter().map(|&(verdict, said)| state(verdict, said)).collect();
            let (states, others) = (applied(&plain, &said), applied(&other, &shuffled));
            for region in 0..8 {
                let id = RegionId(region as u16);
                prop_assert_eq!(is_out(&states[region]), is_out_by_definition(&plain, &own, id));
                prop_assert_eq!(states[region].effective, others[usize::from(numbers[region])].effective);
            }
        }
    }
}
