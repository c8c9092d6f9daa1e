//! The detail in which decisions need to know where clients are.
//!
//! A model comes in; a [`Detail`] goes out, for the atlas to be built by. What no policy asks for is
//! not kept: an atlas of countries is a hundredth of one of cities, and answers the same.

use crate::atlas::Detail;
use crate::model::{GeoPlace, Model, Policy, PolicyTree};

/// The details that any policy, rule or list of the model's services may ask of a client's place.
pub fn detail_of(model: &Model) -> Detail {
    model.services.iter().fold(Detail::COUNTRIES, |known, service| {
        let asked = asked_by(&service.policies);
        Detail {
            subdivisions: known.subdivisions || asked.subdivisions,
            positions: known.positions || asked.positions,
            operators: known.operators || asked.operators,
        }
    })
}

/// Measured round trips go by network operator, too, and may come at any time.
fn asked_by(policies: &PolicyTree) -> Detail {
    if policies.measures() {
        return Detail::ALL;
    }
    let lists = policies.groups.iter().filter_map(|group| match &group.policy {
        Policy::Geo(geo) => Some(geo.rules.keys()),
        _ => None,
    });
    let named = lists.flatten().chain(policies.rules.iter().flat_map(|rule| &rule.clients));
    named.fold(Detail::COUNTRIES, |known, place| match place {
        GeoPlace::Asn(_) => Detail { operators: true, ..known },
        GeoPlace::Subdivision(..) => Detail { subdivisions: true, ..known },
        GeoPlace::Network(_) | GeoPlace::Country(_) | GeoPlace::Continent(_) => known,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Instant;

    use super::super::testing::{World, at};
    use super::*;
    use crate::atlas::build::{COLUMNS, build_mmdb};
    use crate::atlas::{Atlas, Database};
    use crate::model::{Continent, GeoRules, GroupId, Rule};

    fn geo(places: &[GeoPlace]) -> Policy {
        let rules: BTreeMap<_, _> = places.iter().cloned().zip([vec![1], vec![0, 1], vec![1, 0]]).collect();
        Policy::Geo(GeoRules { rules, default: vec![0] })
    }

    fn detail(policy: Policy, clients: &[GeoPlace]) -> Detail {
        let mut world = World::new(policy, &[("a", at(0.0, 0.0)), ("b", at(1.0, 1.0))]);
        let rule = Rule { clients: clients.iter().cloned().collect(), group: GroupId(0), fence: false };
        world.service().policies.rules = vec![rule];
        detail_of(&world.model)
    }

    #[test]
    fn only_what_policies_ask_for_is_needed() {
        let kr = || GeoPlace::Country("KR".parse().expect("a country"));
        let washington = || GeoPlace::Subdivision("US".parse().expect("a country"), "WA".into());
        let network = || GeoPlace::Network("10.0.0.0/8".parse().expect("a network"));
        assert_eq!(detail_of(&Model::default()), Detail::COUNTRIES);
        assert_eq!(detail(Policy::Failover, &[]), Detail::COUNTRIES);
        assert_eq!(detail(geo(&[kr(), network()]), &[kr()]), Detail::COUNTRIES);
        let subdivisions = Detail { subdivisions: true, ..Detail::COUNTRIES };
        assert_eq!(detail(geo(&[kr(), washington()]), &[]), subdivisions);
        assert_eq!(detail(geo(&[kr()]), &[washington()]), subdivisions);
        let operators = Detail { operators: true, ..Detail::COUNTRIES };
        assert_eq!(detail(Policy::Failover, &[GeoPlace::Asn(64500)]), operators);
        let both = Detail { operators: true, subdivisions: true, ..Detail::COUNTRIES };
        assert_eq!(detail(geo(&[washington(), GeoPlace::Asn(64500)]), &[]), both);
        for policy in [Policy::Score, Policy::Nearest, Policy::Latency] {
            assert_eq!(detail(policy, &[kr()]), Detail::ALL);
        }
    }

    /// Networks all over IPv4, one after the other at random places.
    fn clients() -> Database {
        let rng = &mut fastrand::Rng::with_seed(11);
        let mut csv = COLUMNS.join(",");
        for network in 1..200 {
            let (country, subdivision) = [("US", ["WA", "NY"]), ("DE", ["BE", ""]), ("KR", ["11", ""])][rng.usize(..3)];
            let (subdivision, city) = (subdivision[rng.usize(..2)], ["A", "B", ""][rng.usize(..3)]);
            let (latitude, asn) = (rng.i32(-80..80), 64_500 + rng.u32(..2));
            csv += &format!("\n{network}.0.0.0/8,,{country},{subdivision},{city},{latitude},10,{asn}");
        }
        Database { path: "test.mmdb".into(), bytes: build_mmdb(&csv, 1).expect("a database") }
    }

    #[test]
    fn whatever_the_policy_asks_for_less_detail_decides_the_same() {
        let country = |code: &str| GeoPlace::Country(code.parse().expect("a country"));
        let washington = GeoPlace::Subdivision("US".parse().expect("a country"), "WA".into());
        let database = [clients()];
        for policy in [
            Policy::Failover,
            Policy::Nearest,
            Policy::Score,
            geo(&[country("US")]),
            geo(&[country("US"), washington.clone()]),
            geo(&[washington, country("DE"), GeoPlace::Asn(64_501)]),
            geo(&[GeoPlace::Continent(Continent::Asia), GeoPlace::Network("8.0.0.0/7".parse().expect("a network"))]),
        ] {
            let regions = [("a", at(0.0, 0.0)), ("b", at(40.0, 10.0)), ("c", at(-40.0, 10.0))];
            let world = |detail: &dyn Fn(&Model) -> Detail| {
                let mut world = World::new(policy.clone(), &regions);
                let atlas = Atlas::build_for(detail(&world.model), &database, &[]).expect("an atlas");
                world.atlas = atlas.refined(&world.model.named_networks());
                world
            };
            let (whole, needed) = (world(&|_| Detail::ALL), world(&detail_of));
            let now = Instant::now();
            let (by_all, by_need) = (whole.plan(now), needed.plan(now));
            for first in 0..=255 {
                let address = format!("{first}.1.2.3");
                assert_eq!(by_need.by_ecs(&address), by_all.by_ecs(&address), "{address} by {policy:?}");
            }
            assert!(needed.atlas.place_count() <= whole.atlas.place_count());
        }
    }
}
