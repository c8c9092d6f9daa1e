//! `[rum]`: round trips measured by real users' browsers; and each region's `rum`, where to.
//!
//! A [`Value`] comes in; [`RumSettings`], or a region's URL, goes out.

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use super::files::{Sources, path};
use super::network::prefix;
use super::reader::{Table, Value};
use crate::model::{Endpoint, EndpointTarget, Prefix};

/// Proxies in front of the listener at most.
const MAX_PROXIES: usize = 1_000;
/// A path may change within hours; after a month nobody knows.
const HALF_LIVES: RangeInclusive<Duration> = Duration::from_secs(3_600)..=Duration::from_secs(30 * 86_400);
const EXAMPLE: &str = "rum = { url = \"https://{host}/pixel\" }";

/// The settings by which round trips are measured by real users.
#[derive(Clone, Debug, PartialEq)]
pub struct RumSettings {
    /// The file with the secret that signs tokens, the same on all nodes that hand out plans. Default
    /// `None`: one is made and kept in the state directory.
    pub key_file: Option<PathBuf>,
    /// The proxies whose `X-Forwarded-For` is believed. Default none.
    pub trusted_proxies: Vec<Prefix>,
    /// After how long a time counts half, 1 h to 720 h. Default 24 h.
    pub half_life: Duration,
    /// Times it takes for an estimate of a network, of an operator in a country, of a country; each
    /// 1 to 1,000,000. Default 20, 50, 100.
    pub min_samples: [u32; 3],
    /// Plans and reports per second from one /24 or /48, 1 to 10,000. Default 5.
    pub per_network: u32,
    /// Plans and reports per second in all, 1 to 100,000. Default 500.
    pub per_second: u32,
}

impl Default for RumSettings {
    fn default() -> RumSettings {
        RumSettings {
            key_file: None,
            trusted_proxies: Vec::new(),
            half_life: Duration::from_secs(86_400),
            min_samples: [20, 50, 100],
            per_network: 5,
            per_second: 500,
        }
    }
}

pub fn read(value: Value<'_>, sources: &Sources<'_>) -> Option<RumSettings> {
    let defaults = RumSettings::default();
    value.table("`rum`", |t| {
        Some(RumSettings {
            key_file: t.get("key_file").and_then(|v| path(v, sources)),
            trusted_proxies: t.or("trusted_proxies", Vec::new(), |v| networks(v, MAX_PROXIES)),
            half_life: t.or("half_life", defaults.half_life, |v| v.duration(HALF_LIVES)),
            min_samples: t.or("min_samples", defaults.min_samples, |v| {
                v.table("`rum.min_samples`", |t| Some(min_samples(t, defaults.min_samples)))
            }),
            per_network: t.or("per_network", defaults.per_network, |v| v.small(1..=10_000)),
            per_second: t.or("per_second", defaults.per_second, |v| v.small(1..=100_000)),
        })
    })
}

/// Networks, so many at most.
pub fn networks(value: Value<'_>, most: usize) -> Option<Vec<Prefix>> {
    let items = value.one_or_many("an array of networks such as [\"10.0.0.0/8\"]", most)?;
    Some(items.into_iter().filter_map(|v| v.text("an address or a network such as \"10.0.0.0/8\"", prefix)).collect())
}

fn min_samples(table: &Table<'_>, [network, operator, country]: [u32; 3]) -> [u32; 3] {
    [
        table.or("network", network, |v| v.small(1..=1_000_000)),
        table.or("operator", operator, |v| v.small(1..=1_000_000)),
        table.or("country", country, |v| v.small(1..=1_000_000)),
    ]
}

/// The URL that browsers fetch from a region, with `{address}` replaced by the first address of its first
/// endpoint, and `{host}` by that endpoint's host name. `endpoints` is `None` where they are wrong.
pub fn region_url(value: Value<'_>, endpoints: Option<&[Endpoint]>) -> Option<String> {
    value.table_like("a region's `rum`", EXAMPLE, |table| {
        table.require("url", EXAMPLE)?.text("a URL such as \"https://{host}/pixel\"", |text| {
            let url = match endpoints {
                Some(endpoints) => filled_in(text, endpoints.first())?,
                // The endpoints are wrong, which is said already: any will do to go on.
                None => text.replace("{address}", "192.0.2.1").replace("{host}", "example.com"),
            };
            match reqwest::Url::parse(&url) {
                Ok(parsed) if matches!(parsed.scheme(), "http" | "https") && parsed.has_host() => Ok(url),
                Ok(_) => Err("the URL does not begin with http:// or https://".to_owned()),
                Err(error) => Err(format!("not a URL: {error}")),
            }
        })
    })
}

fn filled_in(text: &str, first: Option<&Endpoint>) -> Result<String, String> {
    let (address, host) = match first.map(|endpoint| &endpoint.target) {
        Some(EndpointTarget::Addresses(addresses)) => (addresses.first().copied(), None),
        Some(EndpointTarget::Host(host)) => (None, Some(host.to_string())),
        None => (None, None),
    };
    let address = address.map(|address| match address {
        IpAddr::V6(v6) => format!("[{v6}]"),
        v4 => v4.to_string(),
    });
    let host = host.map(|host| host.trim_end_matches('.').to_owned());
    let mut url = text.to_owned();
    for (placeholder, value, needed) in
        [("{address}", address, "an address"), ("{host}", host, "a host name, not an address")]
    {
        if url.contains(placeholder) {
            let value = value.ok_or_else(|| format!("{placeholder} needs a first endpoint with {needed}"))?;
            url = url.replace(placeholder, &value);
        }
    }
    Ok(url)
}
