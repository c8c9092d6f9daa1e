//! Record sets as Route 53 writes them, each with the line where it stands.

use serde::Deserialize;

use super::places;
use crate::control::import::draft::Place;

/// A file's name and text.
pub struct Text<'t> {
    pub name: &'t str,
    pub text: &'t str,
}

/// A record set that is understood.
#[derive(Debug)]
pub struct RecordSet {
    /// In lower case, absolute, with its dot; escapes as in master files.
    pub name: String,
    pub rtype: String,
    pub ttl: Option<u32>,
    pub values: Vec<String>,
    /// The name that it stands for, likewise.
    pub alias: Option<String>,
    /// Of the alias's target: whether AWS looks at its health.
    pub evaluates: bool,
    pub identifier: String,
    pub routing: Routing,
    pub health_check: Option<String>,
    pub line: usize,
}

/// How a set is picked.
#[derive(Debug, PartialEq)]
pub enum Routing {
    Simple,
    Weighted(u32),
    /// Where it is, as far as that is known.
    Latency(Option<Place>),
    Failover {
        primary: bool,
    },
    /// `None`: the default; else the kind of place, and which.
    Geo(Option<(&'static str, String)>),
    Near {
        place: Option<Place>,
        bias: i64,
    },
    Several,
    /// By a list of networks that is elsewhere.
    Networks,
}

impl Routing {
    /// What it is called here.
    pub fn policy(&self) -> &'static str {
        match self {
            Routing::Simple | Routing::Failover { .. } => "failover",
            Routing::Weighted(_) => "weighted",
            Routing::Latency(_) => "latency",
            Routing::Geo(_) => "geo",
            Routing::Near { .. } => "nearest",
            Routing::Several => "multi",
            Routing::Networks => "unknown",
        }
    }

    pub fn place(&self) -> Option<Place> {
        match self {
            Routing::Latency(place) | Routing::Near { place, .. } => *place,
            _ => None,
        }
    }
}

impl RecordSet {
    /// For messages.
    pub fn shown(&self) -> String {
        match self.identifier.as_str() {
            "" => format!("{} {}", self.name, self.rtype),
            identifier => format!("{} {} ({identifier})", self.name, self.rtype),
        }
    }

    pub fn is_address(&self) -> bool {
        ["A", "AAAA", "CNAME"].contains(&self.rtype.as_str())
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Listed {
    resource_record_sets: Vec<Set>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Set {
    name: String,
    r#type: String,
    #[serde(rename = "TTL")]
    ttl: Option<u32>,
    #[serde(default)]
    resource_records: Vec<Record>,
    alias_target: Option<AliasTarget>,
    #[serde(default)]
    set_identifier: String,
    weight: Option<u32>,
    region: Option<String>,
    failover: Option<String>,
    geo_location: Option<GeoLocation>,
    geo_proximity_location: Option<Proximity>,
    multi_value_answer: Option<bool>,
    cidr_routing_config: Option<serde_json::Value>,
    health_check_id: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Record {
    value: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct AliasTarget {
    #[serde(rename = "DNSName")]
    dns_name: String,
    #[serde(default)]
    evaluate_target_health: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct GeoLocation {
    continent_code: Option<String>,
    country_code: Option<String>,
    subdivision_code: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Proximity {
    #[serde(rename = "AWSRegion")]
    aws_region: Option<String>,
    coordinates: Option<Coordinates>,
    #[serde(default)]
    bias: i64,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Coordinates {
    latitude: String,
    longitude: String,
}

/// All of them, in their order.
pub fn read(file: &Text<'_>) -> Result<Vec<RecordSet>, String> {
    let listed: Listed = serde_json::from_str(file.text)
        .map_err(|error| format!("{}:{}:{}: {error}", file.name, error.line(), error.column()))?;
    let mut lines = lines_of(file.text, "Name");
    let sets = listed.resource_record_sets.into_iter();
    Ok(sets.map(|set| understood(set, lines.next().unwrap_or(1))).collect())
}

fn understood(set: Set, line: usize) -> RecordSet {
    let routing = routing(&set);
    RecordSet {
        name: name(&set.name),
        rtype: set.r#type,
        ttl: set.ttl,
        values: set.resource_records.into_iter().map(|record| record.value).collect(),
        evaluates: set.alias_target.as_ref().is_some_and(|alias| alias.evaluate_target_health),
        alias: set.alias_target.map(|alias| name(&alias.dns_name)),
        identifier: set.set_identifier,
        routing,
        health_check: set.health_check_id,
        line,
    }
}

fn routing(set: &Set) -> Routing {
    if let Some(weight) = set.weight {
        return Routing::Weighted(weight.min(1_000_000));
    }
    if let Some(region) = &set.region {
        return Routing::Latency(places::region(region));
    }
    if let Some(role) = &set.failover {
        return Routing::Failover { primary: role == "PRIMARY" };
    }
    if let Some(near) = &set.geo_proximity_location {
        let coordinates = near.coordinates.as_ref().and_then(|at| places::at(&at.latitude, &at.longitude));
        let place = coordinates.or_else(|| places::region(near.aws_region.as_deref()?));
        return Routing::Near { place, bias: near.bias };
    }
    match &set.geo_location {
        Some(GeoLocation { continent_code: Some(continent), .. }) => {
            Routing::Geo(Some(("continent", continent.clone())))
        }
        Some(GeoLocation { country_code: Some(country), .. }) if country == "*" => Routing::Geo(None),
        Some(GeoLocation { country_code: Some(country), subdivision_code: Some(code), .. }) => {
            Routing::Geo(Some(("subdivision", format!("{country}-{code}"))))
        }
        Some(GeoLocation { country_code: Some(country), .. }) => Routing::Geo(Some(("country", country.clone()))),
        _ if set.cidr_routing_config.is_some() => Routing::Networks,
        _ if set.multi_value_answer == Some(true) => Routing::Several,
        _ => Routing::Simple,
    }
}

/// In lower case. What Route 53 writes as octal `\ooo`, master files have as decimal `\DDD`.
fn name(text: &str) -> String {
    let mut name = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\\') {
        name.push_str(before);
        let octet = after.get(..3).and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match octet {
            Some(octet) if octet == b'*' || octet == b'_' || octet.is_ascii_alphanumeric() => {
                name.push(char::from(octet))
            }
            Some(octet) => name.push_str(&format!("\\{octet:03}")),
            None => name.push('\\'),
        }
        rest = if octet.is_some() { &after[3..] } else { after };
    }
    let name = (name + rest).to_lowercase();
    if name.ends_with('.') { name } else { name + "." }
}

/// The lines where a key stands, in the order of the text.
pub fn lines_of<'t>(text: &'t str, key: &str) -> impl Iterator<Item = usize> + use<'t> {
    let key = format!("\"{key}\"");
    let mut places = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let mut rest = line;
        while let Some((_, after)) = rest.split_once(&key) {
            if after.trim_start().starts_with(':') {
                places.push(number + 1);
            }
            rest = after;
        }
    }
    places.into_iter()
}
