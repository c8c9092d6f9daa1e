//! `[service.NAME]`: a name steered across regions. A table's [`Entry`] and the regions of its
//! zone come in, a [`Service`] goes out. How it picks is read by [`super::policy`].

use std::collections::BTreeMap;

use super::known_regions::KnownRegions;
use super::reader::{Entry, Table, Value};
use super::{duration, policy};
use crate::control::diagnostic::{Diagnostic, nearest};
use crate::model::{HttpsHint, Name, Policy, PolicyTree, RegionId, Service, Ttl, Weights, ZoneId};

/// Reads one service. `None` where it is too wrong to be one, which is reported.
pub fn read(entry: &Entry<'_>, zone: ZoneId, origin: &Name, known: &KnownRegions<'_>) -> Option<Service> {
    let value = entry.value;
    let name = service_name(entry, origin);
    value.table(format!("service `{}`", value.name), |table| {
        let picked = policy::read(entry, table, known);
        let policies = picked.as_ref().map(|(policies, _)| policies);
        let weights = table.or("weights", Weights::default(), |v| weights(v, policies));
        let regions = picked.as_ref().map(|(_, regions)| regions.as_slice());
        let bias_ms = table.or("bias", BTreeMap::new(), |v| bias(v, policies, regions, known));
        let (ttl, failover_ttl) = ttls(table);
        let ecs = table.or("ecs", true, |v| v.boolean());
        let https = table.get("https").and_then(https);
        let (policies, regions) = picked?;
        Some(Service { name: name?, zone, policies, regions, weights, bias_ms, ttl, failover_ttl, ecs, https })
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

/// `policies`: `None` where they could not be read.
fn weights(value: Value<'_>, policies: Option<&PolicyTree>) -> Option<Weights> {
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
    if let Some(policies) = policies.filter(|tree| tree.groups.iter().all(|group| group.policy != Policy::Score)) {
        let policy = policies.main().policy.as_str();
        warn("`weights` has no effect", &format!("policy `{policy}` looks at none of them"));
    } else if weights.latency + weights.load + weights.cost == 0.0 {
        warn("all weights are 0", "all regions score alike");
    }
    Some(weights)
}

/// `bias = { seoul = "-20ms" }`: regions of the service, and what counts as added to their distance.
fn bias(
    value: Value<'_>,
    policies: Option<&PolicyTree>,
    regions: Option<&[RegionId]>,
    known: &KnownRegions<'_>,
) -> Option<BTreeMap<RegionId, i16>> {
    if let Some(policies) = policies.filter(|tree| !tree.measures()) {
        let label = format!("policy `{}` asks for no distance", policies.main().policy.as_str());
        value.report().push(Diagnostic::warning("`bias` has no effect").at(value.span(), label));
    }
    let mut bias_ms = BTreeMap::new();
    for entry in value.entries("a table such as { seoul = \"-20ms\" }")? {
        let ms = entry.value.text("milliseconds from \"-1000ms\" to \"1000ms\"", signed_ms);
        let region = known.get(entry.value.name).filter(|region| regions.is_none_or(|of| of.contains(&region.id)));
        match region {
            Some(region) => bias_ms.extend(ms.map(|ms| (region.id, ms))),
            None => {
                let unknown = Diagnostic::error(format!("`{}` is no region of this service", entry.value.name));
                let unknown = unknown.at(entry.span(), "not one it may be answered with");
                let named = known.values().filter(|region| regions.is_none_or(|of| of.contains(&region.id)));
                value.report().push_missing(match nearest(entry.value.name, named.map(|region| region.name)) {
                    Some(meant) => unknown.help(format!("did you mean `{meant}`?")),
                    None => unknown,
                });
            }
        }
    }
    Some(bias_ms)
}

fn signed_ms(text: &str) -> Result<i16, &'static str> {
    let (sign, rest) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let duration = duration::parse(rest).ok_or("not a duration")?;
    if !duration.subsec_micros().is_multiple_of(1000) {
        return Err("not whole milliseconds");
    }
    let ms = duration.as_millis();
    i16::try_from(ms).ok().filter(|ms| *ms <= 1000).map(|ms| sign * ms).ok_or("beyond a second")
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
