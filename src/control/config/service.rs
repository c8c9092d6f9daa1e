//! `[service.NAME]`: a name steered across regions. A table's [`Entry`] and the regions of its
//! zone come in, a [`Service`] goes out.

use std::cell::Cell;
use std::collections::{BTreeMap, HashMap};

use super::geo;
use super::reader::{Entry, Table, Value, list};
use crate::control::diagnostic::{Diagnostic, Span, nearest};
use crate::model::{GeoRules, HttpsHint, Name, Policy, RegionId, Service, Ttl, Weights, ZoneId};

/// Regions of a service at most: all there may be.
const MAX_REGIONS: usize = super::MAX_REGIONS;

const REGIONS: &str = "an array of regions such as [\"seoul\", \"virginia\"]";

/// What a zone's services may know of one of its regions.
pub struct KnownRegion<'a> {
    pub name: &'a str,
    /// Its name in the file.
    pub span: Span,
    pub id: RegionId,
    pub has_check: bool,
    /// Whether a service uses it.
    pub used: Cell<bool>,
}

/// The regions of a zone by name.
pub type KnownRegions<'a> = BTreeMap<&'a str, KnownRegion<'a>>;

/// Reads one service. `None` where it is too wrong to be one, which is reported.
pub fn read(entry: &Entry<'_>, zone: ZoneId, origin: &Name, known: &KnownRegions<'_>) -> Option<Service> {
    let value = entry.value;
    let name = service_name(entry, origin);
    value.table(format!("service `{}`", value.name), |table| {
        let choices = Policy::ALL.map(|policy| (policy.as_str(), policy));
        let policy = table.or("policy", Policy::Score, |v| v.choice(&choices));
        let regions = table.require("regions", "regions = [\"seoul\", \"virginia\"]");
        let regions = regions.and_then(|v| regions_and_shares(v, policy, known));
        let geo = table.get("geo");
        let weights = table.or("weights", Weights::default(), |v| weights(v, policy));
        let (ttl, failover_ttl) = ttls(table);
        let ecs = table.or("ecs", true, |v| v.boolean());
        let https = table.get("https").and_then(https);
        let regions = regions?;
        if policy == Policy::Score {
            warn_of_unchecked(entry, &regions);
        }
        let geo = geo_rules(entry, geo, policy, &regions);
        let (regions, region_weights) = regions.iter().map(|(region, share)| (region.id, *share)).unzip();
        let name = name?;
        Some(Service { name, zone, policy, regions, region_weights, geo, weights, ttl, failover_ttl, ecs, https })
    })
}

fn service_name(entry: &Entry<'_>, origin: &Name) -> Option<Name> {
    let report = entry.value.report();
    let text = entry.value.name;
    match Name::parse(text, origin) {
        Ok(name) if name.is_at_or_below(origin) => {
            warn_of_twice_the_origin(entry, &name, origin);
            return Some(name);
        }
        Ok(name) => report.push(
            Diagnostic::error(format!("the service {name} is outside the zone {origin}"))
                .at(entry.span(), "expected a name relative to the origin, such as `www`, or \"@\""),
        ),
        Err(error) => report.push(
            Diagnostic::error(format!("{text:?} cannot be the name of a service")).at(entry.span(), error.to_string()),
        ),
    }
    None
}

/// `www.example.com` in the zone `example.com` lacks its dot at the end.
fn warn_of_twice_the_origin(entry: &Entry<'_>, name: &Name, origin: &Name) {
    let text = entry.value.name;
    let unnamed = *origin == Name::root(); // or the zone did not say which it is
    if unnamed
        || text.ends_with('.')
        || !Name::parse_absolute(text).is_ok_and(|absolute| absolute.is_at_or_below(origin))
    {
        return;
    }
    let twice = Diagnostic::warning("a service's name ends in the origin")
        .at(entry.span(), format!("is {name}"))
        .help(format!("names are relative to the origin: write what comes before it, or \"{text}.\""));
    entry.value.report().push(twice);
}

/// `regions = ["a", "b"]`, all alike; or, for `weighted`, `regions = { a = 3, b = 1 }`.
fn regions_and_shares<'k>(
    value: Value<'_>,
    policy: Policy,
    known: &'k KnownRegions<'_>,
) -> Option<Vec<(&'k KnownRegion<'k>, f64)>> {
    let mut named = Vec::new();
    if value.is_empty() {
        return value.error("a service needs at least one region", format!("expected {REGIONS}"));
    }
    if value.is_table() {
        if policy != Policy::Weighted {
            let label = format!("found a table, expected {REGIONS}");
            value.error::<()>("regions have shares only under `policy = \"weighted\"`", label);
        }
        for entry in value.entries(REGIONS)? {
            let share = entry.value.number("a share from 0 to 1000000", |n| (0.0..=1e6).contains(&n));
            named.push((entry.value.name, entry.span(), share.unwrap_or(0.0)));
        }
    } else {
        for item in value.array(REGIONS, MAX_REGIONS)? {
            let Some(name) = item.string("the name of a region") else { continue };
            named.push((name, item.span(), 1.0));
        }
    }
    Some(resolve(value, named, known))
}

/// The named regions, each once. Marks them as used.
fn resolve<'k>(
    value: Value<'_>,
    named: Vec<(&str, Span, f64)>,
    known: &'k KnownRegions<'_>,
) -> Vec<(&'k KnownRegion<'k>, f64)> {
    let mut regions = Vec::new();
    let mut seen: HashMap<&str, Span> = HashMap::new();
    for (name, span, share) in named {
        let Some(region) = known.get(name) else {
            value.report().push_missing(unknown_region(name, span, known));
            continue;
        };
        if let Some(first) = seen.insert(name, span.clone()) {
            let twice = Diagnostic::error(format!("region `{name}` is there twice"));
            value.report().push(twice.at(span, "again here").related(first, "first here"));
            continue;
        }
        region.used.set(true);
        regions.push((region, share));
    }
    regions
}

fn unknown_region(name: &str, span: Span, known: &KnownRegions<'_>) -> Diagnostic {
    /// Regions named in a message at most.
    const SHOWN: usize = 8;
    let unknown =
        Diagnostic::error(format!("unknown region `{name}`")).at(span, "no [region] of this file is so called");
    if let Some(meant) = nearest(name, known.keys().copied()) {
        return unknown.help(format!("did you mean `{meant}`?"));
    }
    let names = known.keys().take(SHOWN).map(|name| format!("`{name}`"));
    unknown.help(format!("regions of this file: {}", list(names)))
}

/// `geo`, which the policy `geo` needs and no other reads.
fn geo_rules(
    entry: &Entry<'_>,
    geo: Option<Value<'_>>,
    policy: Policy,
    regions: &[(&KnownRegion<'_>, f64)],
) -> GeoRules {
    match (geo, policy) {
        (Some(value), Policy::Geo) => geo::read(value, regions).unwrap_or_default(),
        (Some(value), _) => {
            let label = format!("policy `{}` does not look at it", policy.as_str());
            value.report().push(Diagnostic::warning("`geo` has no effect").at(value.span(), label));
            GeoRules::default()
        }
        (None, Policy::Geo) => {
            let missing = Diagnostic::error("the policy `geo` needs to know whom to send where");
            entry
                .value
                .report()
                .push_missing(missing.at(entry.span(), format!("`geo` is missing, such as {}", geo::EXAMPLE)));
            GeoRules::default()
        }
        (None, _) => GeoRules::default(),
    }
}

fn weights(value: Value<'_>, policy: Policy) -> Option<Weights> {
    let weights = value.table("`weights`", |table| {
        let weight = |key, default| table.or(key, default, |v| v.number("0 to 100", |n| (0.0..=100.0).contains(&n)));
        let defaults = Weights::default();
        Some(Weights {
            latency: weight("latency", defaults.latency),
            load: weight("load", defaults.load),
            cost: weight("cost", defaults.cost),
        })
    })?;
    let warn = |message: &str, label: &str| {
        value.report().push(Diagnostic::warning(message).at(value.span(), label));
    };
    if policy != Policy::Score {
        warn("`weights` has no effect", &format!("policy `{}` looks at none of them", policy.as_str()));
    } else if weights.latency + weights.load + weights.cost == 0.0 {
        warn("all weights are 0", "all regions score alike");
    }
    Some(weights)
}

/// `ttl` (default 30 s) and `failover_ttl` (default 5 s, or `ttl` where that is less).
fn ttls(table: &Table<'_>) -> (Ttl, Ttl) {
    let ttl_key = table.get("ttl");
    let ttl = ttl_key.and_then(|v| v.ttl()).unwrap_or(Ttl::saturating(30));
    let Some(failover_key) = table.get("failover_ttl") else { return (ttl, ttl.min(Ttl::saturating(5))) };
    let failover = failover_key.ttl().unwrap_or(ttl);
    if failover > ttl {
        let mut above = Diagnostic::error("`failover_ttl` is above `ttl`")
            .at(failover_key.span(), format!("{failover} s, expected at most {ttl} s"));
        above = match ttl_key {
            Some(key) => above.related(key.span(), "`ttl`"),
            None => above.help("`ttl` is 30 s unless the service says otherwise"),
        };
        table.report().push(above);
    }
    (ttl, failover)
}

fn https(value: Value<'_>) -> Option<HttpsHint> {
    /// As many as an answer can reasonably hold.
    const MAX_ALPN: usize = 16;
    value.table("`https`", |table| {
        let alpn = table.or("alpn", Vec::new(), |v| {
            let items = v.array("an array of protocols such as [\"h2\"]", MAX_ALPN)?;
            Some(items.into_iter().filter_map(|item| item.text("a protocol such as \"h2\"", alpn)).collect())
        });
        Some(HttpsHint { alpn, port: table.get("port").and_then(|v| v.small(1..=65_535)) })
    })
}

/// RFC 7301 section 3.1: 1 to 255 octets.
fn alpn(text: &str) -> Result<String, &'static str> {
    match text.len() {
        1..=255 => Ok(text.to_owned()),
        _ => Err("not 1 to 255 octets"),
    }
}

/// A score steers around regions that are down only where something looks.
fn warn_of_unchecked(entry: &Entry<'_>, regions: &[(&KnownRegion<'_>, f64)]) {
    let unchecked = regions.iter().filter(|(region, _)| !region.has_check);
    let names: Vec<_> = unchecked.map(|(region, _)| format!("`{}`", region.name)).collect();
    if names.is_empty() {
        return;
    }
    let warning = Diagnostic::warning(format!("service `{}` has regions that are never checked", entry.value.name))
        .at(entry.span(), format!("always taken to be up: {}", names.join(", ")))
        .help("add `check.http`, `check.https` or `check.tcp` to the region");
    entry.value.report().push(warning);
}
