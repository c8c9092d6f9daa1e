//! `[region.NAME]`: a place where the service runs. A [`Value`] comes in, a [`Region`] goes out.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use super::dependencies::Named;
use super::files::Sources;
use super::known_regions::{NAME, unfit_name};
use super::reader::{Entry, Table, Value};
use super::{check, load_report, location, rum};
use crate::control::diagnostic::{Diagnostic, Span};
use crate::model::{
    Dependencies, Endpoint, EndpointTarget, Layer, LoadLimits, Name, NameError, Region, Resume, SlowProbes, Watermarks,
    ZoneId,
};

/// Endpoints of a region at most: more than fit an answer.
const MAX_ENDPOINTS: usize = 64;

const HOUR: Duration = Duration::from_secs(3_600);

const ENDPOINTS: &str = "an array such as [{ address = \"192.0.2.1\" }]";

/// Reads one region, and the names of what it depends on. `None` where it is too wrong to be one, which is reported.
pub fn read(entry: &Entry<'_>, zone: ZoneId, origin: &Name, sources: &Sources<'_>) -> (Option<Region>, Vec<Named>) {
    let value = entry.value;
    let name = region_name(entry);
    let mut depends_on = Vec::new();
    let region = value.table(format!("region `{}`", value.name), |table| {
        let location = table.require("location", location::EXAMPLE).and_then(location::read);
        let capacity =
            table.get("capacity").and_then(|v| v.number("a number above 0, up to 1e15", |n| n > 0.0 && n <= 1e15));
        let cost = table
            .or("cost", 0.0, |v| v.number("dollars per million requests, 0 to 1000000", |n| (0.0..=1e6).contains(&n)));
        let endpoints =
            table.require("endpoints", "endpoints = [{ address = \"192.0.2.1\" }]").and_then(|v| endpoints(v, origin));
        let checked = table.get("check");
        let checks = checked.and_then(|v| check::read(v, sources));
        let slow_probes = table.get("degraded").and_then(|v| slow_probes(v, checked.is_some()));
        let report = table.get("load_report");
        let load_report = report.and_then(|v| load_report::read(v, endpoints.as_deref()));
        let load_limits = load_limits(table, report.is_some());
        let rum_url = table.get("rum").and_then(|v| rum::region_url(v, endpoints.as_deref()));
        let most = endpoints.as_ref().map_or(MAX_ENDPOINTS, Vec::len) as u64;
        let min_healthy = table.or("min_healthy", 1, |v| v.small(1..=most));
        let slow_start = table.or("slow_start", Region::SLOW_START, |v| v.duration(Duration::ZERO..=HOUR));
        depends_on = table.get("depends_on").and_then(names).unwrap_or_default();
        let (resume, failback_delay) = failback(table, checks.is_some() || !depends_on.is_empty());
        let location = location?;
        Some(Region {
            name: name?,
            zone,
            coordinates: location.coordinates?,
            location,
            capacity,
            cost,
            endpoints: endpoints?,
            checks,
            load_report,
            load_limits,
            rum_url,
            min_healthy,
            slow_start,
            failback_delay,
            resume,
            slow_probes,
        })
    });
    (region, depends_on)
}

/// `depends_on = ["auth", "db@gslb.example"]`.
fn names(value: Value<'_>) -> Option<Vec<Named>> {
    let items = value.array("an array of names of services or regions", Dependencies::MOST)?;
    let named = |item: Value<'_>| {
        Some(Named { name: item.string("the name of a service or region")?.to_owned(), span: item.span() })
    };
    Some(items.into_iter().filter_map(named).collect())
}

fn region_name(entry: &Entry<'_>) -> Option<Box<str>> {
    let name = entry.value.name;
    let Some(unfit) = unfit_name("region", name) else { return Some(name.into()) };
    entry.value.report().push(unfit.at(entry.span(), NAME));
    None
}

/// `resume` and `failback_delay`, which follow what takes the region down.
fn failback(table: &Table<'_>, falls: bool) -> (Resume, Duration) {
    let (resume, delay) = (table.get("resume"), table.get("failback_delay"));
    if let Some(value) = resume.or(delay).filter(|_| !falls) {
        let idle = Diagnostic::warning(format!("`{}` has no effect", value.name));
        value.report().push(idle.at(value.span(), "without `check` or `depends_on` nothing takes the region down"));
    }
    let resume = resume.and_then(|v| v.choice(&[("auto", Resume::Auto), ("manual", Resume::Manual)]));
    (resume.unwrap_or_default(), delay.and_then(|v| v.duration(Duration::ZERO..=24 * HOUR)).unwrap_or_default())
}

/// `shed = { low = 0.8, high = 0.95 }` and `limit`, which follow the load report.
fn load_limits(table: &Table<'_>, has_report: bool) -> LoadLimits {
    let (shed, limit) = (table.get("shed"), table.get("limit"));
    if let Some(value) = shed.or(limit).filter(|_| !has_report) {
        let idle = Diagnostic::warning(format!("`{}` has no effect", value.name));
        value.report().push(idle.at(value.span(), "without `load_report` nothing is known of the load"));
    }
    LoadLimits {
        shed: shed.and_then(watermarks),
        limit: limit.and_then(|v| v.number("a load above 0, up to 1e15", |n| n > 0.0 && n <= 1e15)),
    }
}

/// `degraded = { above = "300ms", offer = 0.5 }`, which follows the check.
fn slow_probes(value: Value<'_>, has_check: bool) -> Option<SlowProbes> {
    const ABOVE: std::ops::RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(60);
    if !has_check {
        let idle = Diagnostic::warning("`degraded` has no effect");
        value.report().push(idle.at(value.span(), "without `check` nothing is known of how long probes take"));
    }
    value.table_like("`degraded`", "a table such as { above = \"300ms\", offer = 0.5 }", |table| {
        let above = table.require("above", "above = \"300ms\"").and_then(|v| v.duration(ABOVE));
        let offer = table.or("offer", SlowProbes::OFFER, |v| v.number("0.1 to 1", |n| (0.1..=1.0).contains(&n)));
        Some(SlowProbes { above: above?, offer })
    })
}

fn watermarks(value: Value<'_>) -> Option<Watermarks> {
    value.table_like("`shed`", "a table such as { low = 0.8, high = 0.95 }", |table| {
        let utilisation = |key: &'static str, example: &str| {
            let value = table.require(key, example)?;
            value.number("load over capacity, above 0 and up to 10", |n| n > 0.0 && n <= 10.0)
        };
        let (low, high) = (utilisation("low", "low = 0.8"), utilisation("high", "high = 0.95"));
        let (low, high) = (low?, high?);
        if low >= high {
            return value.error("`shed.low` is not below `shed.high`", format!("{low} and {high}"));
        }
        Some(Watermarks { low, high })
    })
}

fn endpoints(value: Value<'_>, origin: &Name) -> Option<Vec<Endpoint>> {
    let items = value.array(ENDPOINTS, MAX_ENDPOINTS)?;
    if items.is_empty() {
        return value.error("a region needs at least one endpoint", "no endpoint here");
    }
    let mut seen = HashMap::new();
    // All are read before the first failure counts: each reports its own mistakes.
    let read: Vec<_> = items.into_iter().map(|item| endpoint(item, origin, &mut seen)).collect();
    read.into_iter().collect()
}

fn endpoint(value: Value<'_>, origin: &Name, seen: &mut HashMap<IpAddr, Span>) -> Option<Endpoint> {
    value.table_like("an endpoint", "a table such as { address = \"192.0.2.1\" }", |table| {
        let target = target(table, origin, seen);
        let weight = table.or("weight", 1, |v| v.small(1..=1_000_000));
        let layer = table.or("layer", Layer::default(), |v| v.choice(&[("l4", Layer::L4), ("l7", Layer::L7)]));
        Some(Endpoint { target: target?, weight, layer })
    })
}

fn target(table: &Table<'_>, origin: &Name, seen: &mut HashMap<IpAddr, Span>) -> Option<EndpointTarget> {
    let key = table.one_of(&["address", "host"])?;
    if key.name == "host" {
        return host(key, origin).map(EndpointTarget::Host);
    }
    let mut addresses = Vec::new();
    let items = key.one_or_many("an address or an array of addresses", MAX_ENDPOINTS)?;
    if items.is_empty() {
        return key.error("an endpoint needs at least one address", "no address here");
    }
    for item in items {
        let Some(address) = item.text("an IPv4 or IPv6 address", host_address) else { continue };
        if let Some(first) = seen.get(&address) {
            let twice = Diagnostic::error(format!("the address {address} is there twice in one region"));
            item.report().push(twice.at(item.span(), "again here").related(first.clone(), "first here"));
        }
        seen.entry(address).or_insert_with(|| item.span());
        addresses.push(address);
    }
    (!addresses.is_empty()).then_some(EndpointTarget::Addresses(addresses))
}

/// An address that a client can connect to.
fn host_address(text: &str) -> Result<IpAddr, String> {
    let address: IpAddr = text.parse().map_err(|_| "not an address".to_owned())?;
    if address.is_unspecified() || address.is_multicast() || address == IpAddr::from([255, 255, 255, 255]) {
        return Err("no client can connect to this address".to_owned());
    }
    if address.to_canonical() != address {
        return Err(format!("an IPv4 address in IPv6 form: write {}", address.to_canonical()));
    }
    Ok(address)
}

/// A host name. As in zone records, one without a dot at its end is relative to the origin; with
/// several labels that is hardly ever meant, so it is refused.
fn host(value: Value<'_>, origin: &Name) -> Option<Name> {
    value.text("a host name such as \"lb.example.net.\"", |text| {
        if text.contains('.') && !text.ends_with('.') {
            return Err(format!("end the name with a dot: \"{text}.\" (or, in this zone, \"{text}.{origin}\")"));
        }
        Name::parse(text, origin).map_err(|error: NameError| error.to_string())
    })
}
