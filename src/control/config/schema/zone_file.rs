//! The settings of a zone file: its records, and its regions.

use std::collections::BTreeMap;

use schemars::JsonSchema;

use super::check::Checks;
use super::load_report::LoadReport;
use super::service::Service;
use super::values::{Address, Duration, Location, Name, OneOrMany, Path, Ttl, Url};

/// One zone: static records, regions and services under one origin. One of `records` and `records_file`.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, title = "Zone files")]
pub struct ZoneFile {
    /// The zone, absolute with or without its dot at the end.
    ///
    /// Range: none in two files.
    pub origin: Name,
    /// Of static records that name none, until a `$TTL`.
    ///
    /// Default: that of the record before it, else the last field of the SOA.
    pub ttl: Option<Ttl>,
    /// The static records in master-file syntax (RFC 1035).
    ///
    /// Default: this or `records_file`.
    pub records: Option<String>,
    /// A master file, relative to the zone file; so is what it `$INCLUDE`s.
    ///
    /// Default: this or `records`. Range: below the main file's directory.
    pub records_file: Option<Path>,
    /// `false` takes [zones that other servers take](configuration.md#what-strict--false-takes): broken rules that
    /// leave something to answer are warnings.
    #[schemars(extend("default" = true))]
    pub strict: Option<bool>,
    /// The regions of this zone. NAME: 1 to 63 ASCII letters, digits, `-`, `_` and `.` (a dot wants
    /// quotes).
    ///
    /// Range: 1,024 over all zones.
    pub region: Option<BTreeMap<String, Region>>,
    /// The services of this zone. NAME: a name below the origin, `"@"` for the origin itself,
    /// `"*.apps"` for a wildcard.
    ///
    /// Range: 10,000 over all zones.
    pub service: Option<BTreeMap<String, Service>>,
}

/// A place where the service runs.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, title = "[region.NAME]")]
pub struct Region {
    /// Where it is.
    pub location: Location,
    /// What the DNS hands out.
    ///
    /// Range: 1 to 64.
    pub endpoints: Vec<Endpoint>,
    /// What it can carry, in the unit of its load report; a report's own figure wins.
    ///
    /// Default: unlimited, until a report says. Range: above 0, up to 1e15.
    pub capacity: Option<f64>,
    /// Dollars per million requests.
    #[schemars(extend("default" = 0), range(min = 0, max = 1000000))]
    pub cost: Option<f64>,
    /// The region is up while at least so many endpoints are.
    ///
    /// Range: 1 to the number of endpoints.
    #[schemars(extend("default" = 1))]
    pub min_healthy: Option<u64>,
    /// How long it takes, once it is back, [from a tenth of its capacity to all of it](configuration.md#steering);
    /// `"0s"`: at once.
    ///
    /// Range: 0 ms to 1 h.
    #[schemars(extend("default" = "3m"))]
    pub slow_start: Option<Duration>,
    /// [What brings it back](configuration.md#coming-back) after its probes took it down: themselves, or an
    /// operator's word.
    #[schemars(extend("default" = "auto", "enum" = ["auto", "manual"]))]
    pub resume: Option<String>,
    /// How long its probes must say up without a break [before it is back](configuration.md#coming-back) after they
    /// took it down.
    ///
    /// Range: 0 ms to 24 h.
    #[schemars(extend("default" = "0s"))]
    pub failback_delay: Option<Duration>,
    /// Services and regions without which it [is down](configuration.md#dependencies).
    ///
    /// Range: up to 16.
    pub depends_on: Option<Vec<String>>,
    /// How each endpoint is probed.
    ///
    /// Default: always up.
    pub check: Option<Checks>,
    /// From when on [slow probes](health-checks.md#slow-probes) take part of its capacity.
    pub degraded: Option<Degraded>,
    /// From which utilisation on its clients are [sent elsewhere](policies.md#regions-that-are-full).
    pub shed: Option<Shed>,
    /// Load from which it is not handed out, until below 0.9 of it.
    ///
    /// Range: above 0, up to 1e15.
    pub limit: Option<f64>,
    /// Where its balancer says how loaded it is.
    ///
    /// Default: price 0.
    pub load_report: Option<LoadReport>,
    /// Where browsers measure how far it is.
    pub rum: Option<RegionRum>,
}

/// One balancer, by its addresses or by a host name. One of `address` and `host`.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, title = "endpoints")]
pub struct Endpoint {
    /// IPv4 and IPv6 addresses of one balancer.
    ///
    /// Default: this or `host`. Range: up to 64, none twice in a region.
    pub address: Option<OneOrMany<Address>>,
    /// Handed out as a CNAME; several labels want a dot at the end.
    ///
    /// Default: this or `address`.
    pub host: Option<Name>,
    /// Relative share of the region's clients.
    #[schemars(extend("default" = 1), range(min = 1, max = 1000000))]
    pub weight: Option<u64>,
    /// What kind of balancer it is; shown in reports, changes nothing else.
    #[schemars(extend("default" = "l7", "enum" = ["l4", "l7"]))]
    pub layer: Option<String>,
}

/// From when on [slow probes](health-checks.md#slow-probes) take part of its capacity.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, title = "region.NAME.degraded")]
pub struct Degraded {
    /// An endpoint whose last `fall` successful probes took longer is [slow](health-checks.md#slow-probes), until
    /// `rise` of them took less than 0.8 of it.
    ///
    /// Range: 1 ms to 60 s.
    pub above: Duration,
    /// The part of its capacity that the region offers while all its endpoints are slow.
    #[schemars(extend("default" = 0.5), range(min = 0.1, max = 1))]
    pub offer: Option<f64>,
}

/// From which utilisation on its clients are [sent elsewhere](policies.md#regions-that-are-full).
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, title = "region.NAME.shed")]
pub struct Shed {
    /// Utilisation from which a growing part of its clients is [sent elsewhere](policies.md#regions-that-are-full).
    ///
    /// Range: above 0, below `shed.high`.
    pub low: f64,
    /// Utilisation from which it gets no new clients.
    ///
    /// Range: up to 10.
    pub high: f64,
}

/// Where browsers measure how far it is: [latency.md](latency.md).
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, title = "region.NAME.rum")]
pub struct RegionRum {
    /// What browsers fetch to measure how far the region is; `{address}` stands for its first endpoint's first
    /// address, `{host}` for that endpoint's host name.
    ///
    /// Range: http or https.
    pub url: Url,
}
