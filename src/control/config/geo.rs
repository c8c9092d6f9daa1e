//! `geo = { default = ["eu"], country = { MX = ["na"] } }`: whom the policy `geo` sends where. A
//! [`Value`] and the names of the group's children come in, [`GeoRules`] go out.

use std::collections::BTreeMap;
use std::fmt::Display;

use super::known_regions::MAX_REGIONS;
use super::reader::{Table, Value};
use crate::control::diagnostic::{Diagnostic, Span, nearest};
use crate::model::{Continent, CountryCode, GeoPlace, GeoRules, Prefix};

/// Things of one kind at most that one list or rule may name.
pub const MAX_PLACES: usize = 100_000;

/// An example of one, for messages.
const EXAMPLE: &str =
    "geo = { default = [\"eu\"], continent = { AS = [\"as\", \"eu\"] }, country = { RU = [\"as\"] } }";

const LIST: &str = "regions in the order to try them, such as [\"eu\", \"na\"]";

/// Reads what one item of a kind says.
pub type ReadPlace = fn(&str) -> Result<GeoPlace, String>;

/// The things that clients can be told by: key, what is expected there, and how it is read; the closest first.
pub const KINDS: [(&str, &str, ReadPlace); 5] = [
    ("network", "networks such as \"192.0.2.0/24\"", network),
    ("asn", "AS numbers such as 64500", asn),
    ("subdivision", "ISO 3166-2 codes such as \"US-WA\"", subdivision),
    ("country", "country codes such as \"MX\"", country),
    ("continent", "continent codes such as \"EU\"", continent),
];

/// Reads the lists of a group, whose children are called so. `None` where nothing of them can be
/// read, which is reported.
pub fn read(value: Option<Value<'_>>, group: &Table<'_>, at: Span, children: &[&str]) -> Option<GeoRules> {
    let Some(value) = value else {
        let missing = Diagnostic::error("the policy `geo` needs to know whom to send where");
        group.report().push_missing(missing.at(at, format!("`geo` is missing, such as {EXAMPLE}")));
        return None;
    };
    value.table("`geo`", |table| {
        let default = table.or("default", Vec::new(), |v| list(v, children));
        let mut geo = GeoRules { default, ..GeoRules::default() };
        for (key, expected, place) in KINDS {
            if let Some(value) = table.get(key) {
                let expected = format!("a table of lists by {expected}");
                rules(value, &expected, place, children, &mut geo.rules);
            }
        }
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
    place: ReadPlace,
    children: &[&str],
    into: &mut BTreeMap<GeoPlace, Vec<u16>>,
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
        let Some(list) = list(entry.value, children) else { continue };
        if into.insert(place, list).is_some() {
            let twice = Diagnostic::error(format!("`{}` has two rules", entry.value.name));
            value.report().push(twice.at(entry.span(), "again here, in another spelling"));
        }
    }
}

/// Children by their place in the group, at least one, none twice.
fn list(value: Value<'_>, children: &[&str]) -> Option<Vec<u16>> {
    let mut places = Vec::new();
    for item in value.one_or_many(LIST, MAX_REGIONS)? {
        let Some(name) = item.string("the name of a region") else { continue };
        match children.iter().position(|child| *child == name).and_then(|at| u16::try_from(at).ok()) {
            Some(at) if places.contains(&at) => {
                item.error::<()>(format!("region `{name}` is there twice"), "again here");
            }
            Some(at) => places.push(at),
            None => value.report().push_missing(unknown(item, name, children)),
        }
    }
    if places.is_empty() && value.is_empty() {
        return value.error("a list of no regions answers nobody", format!("expected {LIST}"));
    }
    (!places.is_empty()).then_some(places)
}

fn unknown(item: Value<'_>, name: &str, children: &[&str]) -> Diagnostic {
    let unknown = Diagnostic::error(format!("`{name}` is none of the `regions` beside it"));
    let unknown = unknown.at(item.span(), "not listed there");
    match nearest(name, children.iter().copied()) {
        Some(meant) => unknown.help(format!("did you mean `{meant}`?")),
        None => unknown.help("add it to `regions`, or take it out here"),
    }
}

fn network(text: &str) -> Result<GeoPlace, String> {
    text.parse::<Prefix>().map(|prefix| GeoPlace::Network(prefix.unmapped())).map_err(shown)
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
