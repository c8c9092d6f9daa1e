//! The `geo` policy: whom the operator sends where, by ASN, subdivision, country or continent.

use crate::model::{GeoPlace, GeoRules, Location, RegionId};

/// The regions for a location, in the order they should be tried: those of the closest rule that
/// fits (ASN, then subdivision, country, continent), then the default's. May be empty.
pub fn preferred<'a>(rules: &'a GeoRules, location: &'a Location) -> impl Iterator<Item = RegionId> + 'a {
    let rule = places_of(location).find_map(|place| rules.rules.get(&place));
    rule.into_iter().chain([&rules.default]).flatten().copied()
}

/// What a rule may name of a location, the closest first.
fn places_of(location: &Location) -> impl Iterator<Item = GeoPlace> + '_ {
    let subdivision = location.country.zip(location.subdivision.as_deref());
    let places = [
        location.asn.map(GeoPlace::Asn),
        subdivision.map(|(country, code)| GeoPlace::Subdivision(country, code.into())),
        location.country.map(GeoPlace::Country),
        location.continent.map(GeoPlace::Continent),
    ];
    places.into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::model::Continent;

    #[test]
    fn the_closest_rule_that_fits_comes_first_and_the_default_last() {
        let country = |code: &str| code.parse().expect("a country");
        let (eu, west, east, mexico, isp) = (RegionId(0), RegionId(1), RegionId(2), RegionId(3), RegionId(4));
        let rules = GeoRules {
            rules: BTreeMap::from([
                (GeoPlace::Continent(Continent::NorthAmerica), vec![east]),
                (GeoPlace::Country(country("MX")), vec![mexico]),
                (GeoPlace::Subdivision(country("US"), "WA".into()), vec![west, east]),
                (GeoPlace::Asn(64500), vec![isp]),
            ]),
            default: vec![eu],
        };
        let of = |continent, code: Option<&str>, subdivision: Option<&str>, asn| {
            let location = Location {
                continent,
                country: code.map(country),
                subdivision: subdivision.map(Box::from),
                asn,
                ..Location::default()
            };
            preferred(&rules, &location).collect::<Vec<_>>()
        };
        let america = Some(Continent::NorthAmerica);
        assert_eq!(of(america, Some("US"), Some("WA"), None), [west, east, eu]);
        assert_eq!(of(america, Some("US"), Some("NY"), None), [east, eu]);
        assert_eq!(of(america, Some("MX"), Some("WA"), None), [mexico, eu]);
        assert_eq!(of(america, Some("US"), Some("WA"), Some(64500)), [isp, eu]);
        assert_eq!(of(Some(Continent::Africa), Some("EG"), None, None), [eu]);
        assert_eq!(of(None, None, None, None), [eu]);
    }
}
