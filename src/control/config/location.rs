//! `location = { country = "KR", latitude = 37.57, longitude = 126.98 }`: a [`Value`] comes in, a
//! [`Location`] with coordinates goes out.

use super::reader::{Table, Value};
use crate::atlas::centroid::{centroid, continent_of};
use crate::control::diagnostic::Diagnostic;
use crate::model::{Continent, Coordinates, CountryCode, Location};

/// An example of one, for messages.
pub const EXAMPLE: &str = "location = { country = \"KR\", latitude = 37.57, longitude = 126.98 }";

/// A location that always has coordinates: those given, or the centroid of the country. The
/// continent, too, follows from the country where it is not given.
pub fn read(value: Value<'_>) -> Option<Location> {
    value.table_like("`location`", "a table such as { country = \"KR\" }", |table| {
        let continent =
            table.get("continent").and_then(|v| v.text("a continent code such as \"AS\"", str::parse::<Continent>));
        let country_key = table.get("country");
        let country = country_key.and_then(|v| v.text("a country code such as \"KR\"", str::parse::<CountryCode>));
        let subdivision = table.get("subdivision").and_then(|v| subdivision(v, country));
        let city = table.get("city").and_then(|v| v.string("a city's English name")).map(Box::from);
        let given = coordinates(table)?;
        let coordinates = given.or_else(|| country.and_then(centroid));
        if coordinates.is_none() && (country.is_some() || country_key.is_none()) {
            let lost = Diagnostic::error("a location needs coordinates, or a country whose middle is known");
            table.report().push_missing(lost.at(table.span(), "expected `latitude` and `longitude`"));
            return None;
        }
        let continent = continent.or_else(|| country.and_then(continent_of));
        Some(Location { continent, country, subdivision, city, coordinates, asn: None })
    })
}

/// Latitude and longitude: both, or neither. `None` where they are wrong, which is reported.
fn coordinates(table: &Table<'_>) -> Option<Option<Coordinates>> {
    let latitude = table.get("latitude").map(|v| v.number("degrees from -90 to 90", |n| (-90.0..=90.0).contains(&n)));
    let longitude =
        table.get("longitude").map(|v| v.number("degrees from -180 to 180", |n| (-180.0..=180.0).contains(&n)));
    match (latitude, longitude) {
        (None, None) => Some(None),
        (Some(latitude), Some(longitude)) => Some(Coordinates::new(latitude?, longitude?)),
        (latitude, _) => {
            let missing = if latitude.is_some() { "longitude" } else { "latitude" };
            let half = Diagnostic::error(format!("`{missing}` is missing in `location`"));
            table.report().push_missing(half.at(table.span(), "expected both `latitude` and `longitude`"));
            None
        }
    }
}

/// The part of an ISO 3166-2 code after the country.
fn subdivision(value: Value<'_>, country: Option<CountryCode>) -> Option<Box<str>> {
    value.text("the part of its ISO 3166-2 code after the country, such as \"WA\"", |text| {
        if (1..=3).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return Ok(text.to_ascii_uppercase().into());
        }
        match (text.split_once('-'), country) {
            (Some((prefix, rest)), Some(country)) if prefix.eq_ignore_ascii_case(country.as_str()) => {
                Err(format!("write {rest:?}, the country is already there"))
            }
            _ => Err("not one to three letters and digits".to_owned()),
        }
    })
}
