//! `geo = { default = ["eu"], country = { MX = ["na"] } }`: whom the policy `geo` sends where. A
//! [`Value`] and the service's regions come in, [`GeoRules`] go out.

use std::collections::BTreeMap;
use std::fmt::Display;

use super::reader::Value;
use super::service::KnownRegion;
use crate::control::diagnostic::{Diagnostic, nearest};
use crate::model::{Continent, CountryCode, GeoPlace, GeoRules, RegionId};

/// How to write one.
pub const EXAMPLE: &str =
    "geo = { default = [\"eu\"], continent = { AS = [\"as\", \"eu\"] }, country = { RU = [\"as\"] } }";

const LIST: &str = "regions in the order to try them, such as [\"eu\", \"na\"]";

/// The service's regions, as its file names them.
type Regions<'a> = [(&'a KnownRegion<'a>, f64)];

/// Reads the rules. `None` where nothing of them can be read, which is reported.
pub fn read(value: Value<'_>, regions: &Regions<'_>) -> Option<GeoRules> {
    value.table("`geo`", |table| {
        let default = table.or("default", Vec::new(), |v| list(v, regions));
        let mut geo = GeoRules { default, ..GeoRules::default() };
        let mut add = |key, expected, place: fn(&str) -> Result<GeoPlace, String>| {
            if let Some(value) = table.get(key) {
                rules(value, expected, place, regions, &mut geo.rules);
            }
        };
        add("asn", "AS numbers with regions, such as { 64500 = [\"eu\"] }", asn);
        add("subdivision", "ISO 3166-2 codes with regions, such as { US-WA = [\"na\"] }", subdivision);
        add("country", "country codes with regions, such as { MX = [\"na\"] }", country);
        add("continent", "continent codes with regions, such as { EU = [\"eu\"] }", continent);
        if geo.rules.is_empty() && geo.default.is_empty() {
            let empty = Diagnostic::error("`geo` sends nobody anywhere");
            table.report().push_missing(empty.at(table.span(), format!("expected such as {EXAMPLE}")));
        }
        Some(geo)
    })
}

fn rules(
    value: Value<'_>,
    expected: &str,
    place: fn(&str) -> Result<GeoPlace, String>,
    regions: &Regions<'_>,
    into: &mut BTreeMap<GeoPlace, Vec<RegionId>>,
) {
    for entry in value.entries(expected).unwrap_or_default() {
        let place = match place(entry.value.name) {
            Ok(place) => place,
            Err(why) => {
                let wrong = Diagnostic::error(format!("`{}` is no place to make a rule for", entry.value.name));
                value.report().push(wrong.at(entry.span(), why));
                continue;
            }
        };
        let Some(list) = list(entry.value, regions) else { continue };
        if into.insert(place, list).is_some() {
            let twice = Diagnostic::error(format!("`{}` has two rules", entry.value.name));
            value.report().push(twice.at(entry.span(), "again here, in another spelling"));
        }
    }
}

/// Regions of the service, at least one, none twice.
fn list(value: Value<'_>, regions: &Regions<'_>) -> Option<Vec<RegionId>> {
    let mut ids = Vec::new();
    for item in value.one_or_many(LIST, super::MAX_REGIONS)? {
        let Some(name) = item.string("the name of a region") else { continue };
        match regions.iter().find(|(region, _)| region.name == name) {
            Some((region, _)) if ids.contains(&region.id) => {
                item.error::<()>(format!("region `{name}` is there twice"), "again here");
            }
            Some((region, _)) => ids.push(region.id),
            None => value.report().push_missing(unknown(item, name, regions)),
        }
    }
    if ids.is_empty() && value.is_empty() {
        return value.error("a list of no regions answers nobody", format!("expected {LIST}"));
    }
    (!ids.is_empty()).then_some(ids)
}

fn unknown(item: Value<'_>, name: &str, regions: &Regions<'_>) -> Diagnostic {
    let unknown = Diagnostic::error(format!("`{name}` is none of the service's `regions`"));
    let unknown = unknown.at(item.span(), "not listed there");
    match nearest(name, regions.iter().map(|(region, _)| region.name)) {
        Some(meant) => unknown.help(format!("did you mean `{meant}`?")),
        None => unknown.help("add it to `regions`, or take it out here"),
    }
}

fn asn(text: &str) -> Result<GeoPlace, String> {
    let digits = text.strip_prefix("AS").unwrap_or(text);
    match digits.parse() {
        Ok(number @ 1..) if digits.bytes().all(|b| b.is_ascii_digit()) => Ok(GeoPlace::Asn(number)),
        _ => Err("expected an AS number from 1 to 4294967295".to_owned()),
    }
}

fn subdivision(text: &str) -> Result<GeoPlace, String> {
    const EXPECTED: &str = "expected an ISO 3166-2 code such as \"US-WA\"";
    let (country, code) = text.split_once('-').ok_or(EXPECTED)?;
    if !(1..=3).contains(&code.len()) || !code.bytes().all(|b| b.is_ascii_alphanumeric()) {
        return Err(EXPECTED.to_owned());
    }
    let country = country.parse::<CountryCode>().map_err(|_| EXPECTED)?;
    Ok(GeoPlace::Subdivision(country, code.to_ascii_uppercase().into()))
}

fn country(text: &str) -> Result<GeoPlace, String> {
    text.parse().map(GeoPlace::Country).map_err(shown)
}

fn continent(text: &str) -> Result<GeoPlace, String> {
    text.parse::<Continent>().map(GeoPlace::Continent).map_err(shown)
}

fn shown(error: impl Display) -> String {
    error.to_string()
}
