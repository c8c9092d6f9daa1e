//! `[[incident]]`: what goes wrong in a scenario, and when.
//!
//! Times in the file count from the end of the warm-up; here from its beginning.

use std::time::Duration;

use crate::control::config::reader::{Table, Value};
use crate::control::diagnostic::{Diagnostic, nearest};
use crate::model::{Coordinates, CountryCode};
use crate::simulate::Site;
use crate::simulate::cities::{CITIES, City};
use crate::simulate::incident::{Feed, Incident, What};

/// Incidents of a scenario, at most.
const MAX_INCIDENTS: usize = 1000;

const SECOND: Duration = Duration::from_secs(1);
const DAYS: Duration = Duration::from_secs(7 * 86_400);

const KINDS: &[&str] = &["failure", "brown_out", "flapping", "flash_crowd", "feed_loss", "feed_lie", "feed_delay"];

/// All of them; `None` where one is wrong, which is reported.
pub fn read(value: Value<'_>, regions: &[Site], warm_up_s: u64) -> Option<Vec<Incident>> {
    let items = value.array("tables: [[incident]] failure = { region = \"seoul\" }", MAX_INCIDENTS)?;
    let read: Vec<Option<Incident>> = items.into_iter().map(|item| incident(item, regions, warm_up_s)).collect();
    read.into_iter().collect()
}

fn incident(value: Value<'_>, regions: &[Site], warm_up_s: u64) -> Option<Incident> {
    value.table("`[[incident]]`", |table| {
        let at = table.require("at", "at = \"30m\"").and_then(|v| v.duration(Duration::ZERO..=DAYS));
        let lasts = table.or("lasts", DAYS, |v| v.duration(SECOND..=DAYS));
        let what = table.one_of(KINDS).and_then(|v| v.table(format!("`{}`", v.name), |t| what(v.name, t, regions)));
        let from_s = warm_up_s + at?.as_secs();
        Some(Incident { from_s, until_s: from_s + lasts.as_secs(), what: what? })
    })
}

fn what(kind: &str, table: &Table<'_>, regions: &[Site]) -> Option<What> {
    if kind == "flash_crowd" {
        return flash_crowd(table);
    }
    let region = table.require("region", "region = \"seoul\"").and_then(|v| region(v, regions));
    let seconds = |key, default: u64| {
        let span = table.or(key, Duration::from_secs(default), |v| v.duration(Duration::ZERO..=DAYS));
        span.as_secs()
    };
    Some(match kind {
        "failure" => {
            let cold_s = seconds("cold", 180);
            What::Dead { region: region?, cold_s }
        }
        "brown_out" => {
            let part = table.or("capacity", 0.5, |v| v.number("a part, above 0 to 1", |n| n > 0.0 && n <= 1.0));
            What::BrownOut { region: region?, part }
        }
        "flapping" => {
            let (up_s, down_s) = (seconds("up", 20).max(1), seconds("down", 20).max(1));
            What::Flapping { region: region?, up_s, down_s }
        }
        "feed_lie" => {
            let factor = table.get("factor").map(|v| v.number("0 to 1000", |n| (0.0..=1000.0).contains(&n)));
            match factor {
                Some(factor) => feed(region?, Feed::Lies { factor: factor? }),
                None => feed(region?, Feed::Frozen),
            }
        }
        "feed_delay" => {
            let late_s = seconds("by", 120);
            feed(region?, Feed::Late { late_s })
        }
        _ => feed(region?, Feed::Silent),
    })
}

fn feed(region: usize, trouble: Feed) -> What {
    What::Feed { region: Some(region), trouble }
}

fn region(value: Value<'_>, regions: &[Site]) -> Option<usize> {
    let name = value.string("the name of a region")?;
    if let Some(index) = regions.iter().position(|region| region.name == name) {
        return Some(index);
    }
    let mut unknown = Diagnostic::error(format!("no region is called {name:?}")).at(value.span(), "not known here");
    if let Some(near) = nearest(name, regions.iter().map(|region| region.name.as_str())) {
        unknown = unknown.help(format!("did you mean {near:?}?"));
    }
    value.report().push(unknown);
    None
}

/// Everybody in a country, or around a city.
fn flash_crowd(table: &Table<'_>) -> Option<What> {
    let factor = table.or("factor", 2.5, |v| v.number("above 0, to 100", |n| n > 0.0 && n <= 100.0));
    let ramp = table.or("ramp", Duration::from_secs(90), |v| v.duration(Duration::ZERO..=DAYS));
    let radius_km = table.or("radius_km", 500.0, |v| v.number("0 to 20000 km", |n| (0.0..=20_000.0).contains(&n)));
    let around = table.one_of(&["country", "city"])?;
    let cities = match around.name {
        "country" => in_country(around.text("a country code such as \"KR\"", str::parse::<CountryCode>)?),
        _ => near(city(around)?, radius_km),
    };
    if cities.is_empty() {
        return around.error("there is no city of the simulated world", "expected a country with large cities");
    }
    Some(What::FlashCrowd { cities, factor, ramp_s: ramp.as_secs() })
}

fn in_country(country: CountryCode) -> Vec<usize> {
    (0..CITIES.len()).filter(|&city| CITIES[city].country == country.as_str()).collect()
}

fn city(value: Value<'_>) -> Option<&'static City> {
    let name = value.string("the English name of a large city")?;
    let found = CITIES.iter().find(|city| city.name == name);
    if found.is_none() {
        let mut unknown = Diagnostic::error(format!("the simulated world has no city {name:?}"))
            .at(value.span(), format!("it has the {} largest", CITIES.len()));
        if let Some(near) = nearest(name, CITIES.iter().map(|city| city.name)) {
            unknown = unknown.help(format!("did you mean {near:?}?"));
        }
        value.report().push(unknown);
    }
    found
}

fn near(centre: &City, radius_km: f64) -> Vec<usize> {
    let at = |city: &City| Coordinates::new(city.latitude, city.longitude);
    let within =
        |city: &City| at(city).zip(at(centre)).is_some_and(|(city, centre)| city.distance_km(centre) <= radius_km);
    (0..CITIES.len()).filter(|&city| within(&CITIES[city])).collect()
}
