//! The word of rules and lists on a place: which rule its clients fit, and which list of each `geo`
//! policy is theirs.
//!
//! A service's policies and what is known of places come in. A [`Route`] goes out: a few numbers,
//! alike for the many places that are sent alike, so that picks are made once for all of them.

use std::collections::BTreeMap;

use crate::atlas::{Atlas, PlaceId};
use crate::model::{GeoPlace, GeoRules, GroupId, Location, Policy, PolicyTree, Prefix};

/// The way that a place's clients are sent.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Route {
    /// Into the tree's rules; `None`: no rule is for them.
    pub rule: Option<u16>,
    /// By `geo` group, in the order of [`Router`]: which of its lists, in the order of its rules;
    /// `None`: no list but the default.
    lists: Vec<Option<u16>>,
}

/// The rules and lists of one tree, made ready to be asked.
#[derive(Debug)]
pub struct Router {
    /// The first rule for each thing a rule names.
    rules: BTreeMap<GeoPlace, u16>,
    /// The `geo` groups, in the order of their ids.
    geo: Vec<GroupId>,
    names_networks: bool,
}

/// Every tree that a method is given is the one the router is of.
impl Router {
    pub fn of(tree: &PolicyTree) -> Router {
        let mut rules = BTreeMap::new();
        for (index, rule) in tree.rules.iter().enumerate() {
            for place in &rule.clients {
                rules.entry(place.clone()).or_insert(index as u16); // the loader refuses so many rules
            }
        }
        let geo = (0..tree.groups.len()).map(|index| GroupId(index as u16)); // as many groups as ids
        let geo = geo.filter(|id| matches!(tree.group(*id).policy, Policy::Geo(_)));
        Router { rules, geo: geo.collect(), names_networks: tree.networks().next().is_some() }
    }

    /// The way that the clients of a place are sent.
    pub fn route(&self, tree: &PolicyTree, atlas: &Atlas, place: PlaceId) -> Route {
        if self.rules.is_empty() && self.geo.is_empty() {
            return self.route_of_all(tree);
        }
        let network = if self.names_networks { atlas.network(place) } else { None };
        self.of_location(tree, &atlas.location(place), network)
    }

    /// The way that all clients are sent, where neither rules nor lists look at them.
    pub fn route_of_all(&self, tree: &PolicyTree) -> Route {
        self.of_location(tree, &Location::default(), None)
    }

    fn of_location(&self, tree: &PolicyTree, location: &Location, network: Option<Prefix>) -> Route {
        let places: Vec<GeoPlace> = places_of(location, network).collect();
        let rule = places.iter().filter_map(|place| self.rules.get(place).copied()).min();
        let list = |group: &GroupId| {
            let geo = lists(tree, *group)?;
            let named = places.iter().find(|place| geo.rules.contains_key(place))?;
            geo.rules.keys().position(|place| place == named).map(|index| index as u16)
        };
        Route { rule, lists: self.geo.iter().map(list).collect() }
    }

    /// The children of a `geo` group, by their place in it, in the order they are tried: those of
    /// the closest list that fits (network, ASN, subdivision, country, continent), then the
    /// default's. May be empty.
    pub fn preferred<'t>(
        &self,
        tree: &'t PolicyTree,
        group: GroupId,
        route: &Route,
    ) -> impl Iterator<Item = u16> + use<'t> {
        let at = self.geo.iter().position(|of| *of == group);
        let geo = at.and_then(|_| lists(tree, group));
        let list = at.and_then(|at| *route.lists.get(at)?);
        let list = geo.zip(list).and_then(|(geo, list)| geo.rules.values().nth(usize::from(list)));
        list.into_iter().flatten().chain(geo.into_iter().flat_map(|geo| &geo.default)).copied()
    }
}

/// The lists of a `geo` group.
fn lists(tree: &PolicyTree, group: GroupId) -> Option<&GeoRules> {
    match &tree.group(group).policy {
        Policy::Geo(geo) => Some(geo),
        _ => None,
    }
}

/// The places that a rule may name of a client, the closest first.
pub fn places_of(location: &Location, network: Option<Prefix>) -> impl Iterator<Item = GeoPlace> + '_ {
    let around = network.into_iter().flat_map(|network| {
        (0..=network.len()).rev().map(move |len| GeoPlace::Network(Prefix::containing(network.address(), len)))
    });
    let subdivision = location.country.zip(location.subdivision.as_deref());
    let places = [
        location.asn.map(GeoPlace::Asn),
        subdivision.map(|(country, code)| GeoPlace::Subdivision(country, code.into())),
        location.country.map(GeoPlace::Country),
        location.continent.map(GeoPlace::Continent),
    ];
    around.chain(places.into_iter().flatten())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::model::{Child, Continent, Group, RegionId, Rule};

    fn country(code: &str) -> crate::model::CountryCode {
        code.parse().expect("a country")
    }

    fn prefix(text: &str) -> Prefix {
        text.parse().expect("a prefix")
    }

    #[test]
    fn the_closest_list_that_fits_comes_first_and_the_default_last() {
        let [eu, west, east, mexico, isp, office] = [0, 1, 2, 3, 4, 5];
        let rules = GeoRules {
            rules: BTreeMap::from([
                (GeoPlace::Continent(Continent::NorthAmerica), vec![east]),
                (GeoPlace::Country(country("MX")), vec![mexico]),
                (GeoPlace::Subdivision(country("US"), "WA".into()), vec![west, east]),
                (GeoPlace::Asn(64500), vec![isp]),
                (GeoPlace::Network(prefix("10.0.0.0/8")), vec![isp, office]),
                (GeoPlace::Network(prefix("10.1.0.0/16")), vec![office]),
            ]),
            default: vec![eu],
        };
        let children = (0..6).map(|index| Child::Region(RegionId(index))).collect();
        let root = Group { name: "".into(), policy: Policy::Geo(rules), children };
        let tree = PolicyTree { groups: vec![root], root: GroupId(0), rules: Vec::new() };
        let router = Router::of(&tree);
        let of = |continent, code: Option<&str>, subdivision: Option<&str>, asn, network: Option<&str>| {
            let location = Location {
                continent,
                country: code.map(country),
                subdivision: subdivision.map(Box::from),
                asn,
                ..Location::default()
            };
            let route = router.of_location(&tree, &location, network.map(prefix));
            router.preferred(&tree, GroupId(0), &route).collect::<Vec<_>>()
        };
        let america = Some(Continent::NorthAmerica);
        assert_eq!(of(america, Some("US"), Some("WA"), None, None), [west, east, eu]);
        assert_eq!(of(america, Some("US"), Some("NY"), None, None), [east, eu]);
        assert_eq!(of(america, Some("MX"), Some("WA"), None, None), [mexico, eu]);
        assert_eq!(of(america, Some("US"), Some("WA"), Some(64500), None), [isp, eu]);
        assert_eq!(of(Some(Continent::Africa), Some("EG"), None, None, None), [eu]);
        assert_eq!(of(None, None, None, None, None), [eu]);
        assert_eq!(of(america, None, None, None, Some("10.0.0.0/8")), [isp, office, eu]);
        assert_eq!(of(america, None, None, None, Some("10.1.0.0/16")), [office, eu]);
        assert_eq!(of(None, None, None, None, Some("10.1.2.0/24")), [office, eu]);
    }

    #[test]
    fn the_first_rule_that_fits_is_taken_however_close_another_is() {
        let rule =
            |clients: &[GeoPlace]| Rule { clients: clients.iter().cloned().collect(), group: GroupId(0), fence: false };
        let mut tree = PolicyTree::flat(Policy::Score, &[RegionId(0)]);
        let network = GeoPlace::Network(prefix("10.1.0.0/16"));
        tree.rules = vec![rule(&[GeoPlace::Asn(1)]), rule(&[GeoPlace::Country(country("KR"))]), rule(&[network])];
        let router = Router::of(&tree);
        let of = |asn, code: Option<&str>, network: Option<&str>| {
            let location = Location { asn, country: code.map(country), ..Location::default() };
            router.of_location(&tree, &location, network.map(prefix)).rule
        };
        assert_eq!(of(None, Some("KR"), Some("10.1.0.0/16")), Some(1));
        assert_eq!(of(Some(1), Some("KR"), None), Some(0));
        assert_eq!(of(Some(2), Some("JP"), Some("10.1.0.0/16")), Some(2));
        assert_eq!(of(Some(2), Some("JP"), Some("10.0.0.0/8")), None);
    }
}
