//! The settings of a service: how it picks among its regions.

use std::collections::BTreeMap;

use schemars::JsonSchema;

use super::values::{OneOrMany, Ttl};

/// A name that is steered across regions. With stages it has no `policy`, `regions`, `geo` and `answers` of its
/// own; else `regions` is required.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, title = "[service.NAME]")]
pub struct Service {
    #[schemars(flatten)]
    pub own: Group,
    /// `policy`, `regions`, `geo`, `answers` of a group that `regions` may name.
    ///
    /// Range: 1,024, up to 4 deep, no circles; GROUP as a region's name, and none's.
    pub group: Option<BTreeMap<String, NamedGroup>>,
    /// Groups of which one is [active](policies.md#stages-blue-and-green); then the service has no `policy` and
    /// `regions` of its own.
    ///
    /// Range: as groups.
    pub stage: Option<BTreeMap<String, NamedGroup>>,
    /// Which of them, until an operator switches.
    ///
    /// Required with stages. Range: a stage.
    pub active: Option<String>,
    /// [Rules for certain clients](policies.md#rules-for-certain-clients), the first that fits.
    ///
    /// Range: up to 1,024.
    pub rule: Option<Vec<Rule>>,
    /// A [part of clients](policies.md#canary) that is sent elsewhere, before all others.
    pub canary: Option<Canary>,
    /// Counts as added to a region's round-trip time, for `score`, `nearest` and `latency`.
    ///
    /// Range: `"-1000ms"` to `"1000ms"`.
    pub bias: Option<BTreeMap<String, String>>,
    /// What counts how much; policy `score` alone.
    pub weights: Option<Weights>,
    /// When calm; half of it from a region above 85 % of its capacity, and while another of the service is down or
    /// drains.
    #[schemars(extend("default" = "30s"))]
    pub ttl: Option<Ttl>,
    /// Near a failure, for 300 s after one, and from a region above 95 % of its capacity.
    ///
    /// Default: `"5s"`, or `ttl` if less. Range: at most `ttl`.
    pub failover_ttl: Option<Ttl>,
    /// Whether EDNS Client Subnet is believed (RFC 7871).
    #[schemars(extend("default" = true))]
    pub ecs: Option<bool>,
    /// HTTPS records are answered besides addresses (RFC 9460); may be `{}`.
    ///
    /// Default: no HTTPS records.
    pub https: Option<Https>,
}

/// How is picked, among which regions.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, title = "a group")]
pub struct Group {
    /// How it picks among its regions: [policies](policies.md).
    #[schemars(extend("default" = "score", "enum" = ["score", "nearest", "latency", "geo", "weighted", "failover", "sticky", "multi"]))]
    pub policy: Option<String>,
    /// Regions of this file, and groups of this service; `failover` takes them in this order; all shares 0 means
    /// all alike.
    ///
    /// Range: 1 to 1,024, none twice; shares 0 to 1,000,000.
    pub regions: Option<Shares>,
    /// Policy `geo` alone: whom to send where.
    pub geo: Option<Geo>,
    /// Policy `multi` alone: regions in one answer at most.
    #[schemars(extend("default" = 2), range(min = 1, max = 8))]
    pub answers: Option<u64>,
}

/// A group that `regions` may name, or a stage that is `active` or not. `regions` is required.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, title = "[service.NAME.group.GROUP], [service.NAME.stage.STAGE]")]
pub struct NamedGroup {
    #[schemars(flatten)]
    pub own: Group,
}

/// Whom to send where. The closest list that fits is taken: the longest network, then ASN, subdivision, country,
/// continent.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, title = "geo")]
pub struct Geo {
    /// Tried in this order, after the list that fits and for clients no list fits; then the order of `regions`.
    pub default: Option<OneOrMany<String>>,
    /// Lists of regions by network, quoted: `"192.0.2.0/24"`.
    pub network: Option<BTreeMap<String, OneOrMany<String>>>,
    /// Lists of regions by AS number, with or without `AS`.
    pub asn: Option<BTreeMap<String, OneOrMany<String>>>,
    /// Lists of regions by ISO 3166-2 code, such as `US-WA`.
    pub subdivision: Option<BTreeMap<String, OneOrMany<String>>>,
    /// Lists of regions by country code, such as `KR`.
    pub country: Option<BTreeMap<String, OneOrMany<String>>>,
    /// Lists of regions by continent code: AF, AN, AS, EU, NA, OC, SA.
    pub continent: Option<BTreeMap<String, OneOrMany<String>>>,
}

/// A [rule for certain clients](policies.md#rules-for-certain-clients); the first that fits is taken. One of
/// `regions` and `group`.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, title = "[[service.NAME.rule]]")]
pub struct Rule {
    /// Whom it is for: clients in any of these.
    ///
    /// Range: `network`, `asn`, `subdivision`, `country`, `continent`; at least one item.
    pub clients: Clients,
    #[schemars(flatten)]
    pub own: Group,
    /// Where they are sent.
    ///
    /// Default: this or `regions`. Range: a group or stage.
    pub group: Option<String>,
    /// Whether they never leave these regions, even if all are down.
    #[schemars(extend("default" = false))]
    pub fence: Option<bool>,
}

/// Whom a rule is for: clients in any of these. At least one item.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, title = "rule.clients")]
pub struct Clients {
    /// Networks such as `"192.0.2.0/24"`.
    pub network: Option<OneOrMany<String>>,
    /// AS numbers.
    pub asn: Option<OneOrMany<Asn>>,
    /// ISO 3166-2 codes such as `"US-WA"`.
    pub subdivision: Option<OneOrMany<String>>,
    /// Country codes such as `"KR"`.
    pub country: Option<OneOrMany<String>>,
    /// Continent codes: AF, AN, AS, EU, NA, OC, SA.
    pub continent: Option<OneOrMany<String>>,
}

/// A [part of clients](policies.md#canary) that is sent elsewhere. One of `regions` and `group`.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, title = "canary")]
pub struct Canary {
    /// The [part of clients](policies.md#canary) a canary gets, until an operator shifts it.
    #[schemars(range(min = 0, max = 1))]
    pub share: f64,
    #[schemars(flatten)]
    pub own: Group,
    /// Where they are sent.
    ///
    /// Default: this or `regions`. Range: a group or stage.
    pub group: Option<String>,
}

/// What counts how much; policy `score` alone.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, title = "weights")]
pub struct Weights {
    /// What a millisecond of round-trip time counts for.
    #[schemars(extend("default" = 0.5), range(min = 0, max = 100))]
    pub latency: Option<f64>,
    /// What the price of load counts for.
    #[schemars(extend("default" = 0.3), range(min = 0, max = 100))]
    pub load: Option<f64>,
    /// What `cost` counts for.
    #[schemars(extend("default" = 0.2), range(min = 0, max = 100))]
    pub cost: Option<f64>,
}

/// HTTPS records that are answered besides addresses (RFC 9460). It may be empty.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, title = "https")]
pub struct Https {
    /// Protocols, such as `["h2"]`.
    ///
    /// Range: up to 16 of 1 to 255 octets.
    #[schemars(extend("default" = []))]
    pub alpn: Option<Vec<String>>,
    /// The port, where it is another.
    #[schemars(extend("default" = 443), range(min = 1, max = 65535))]
    pub port: Option<u64>,
}

/// An AS number, with or without `AS`.
#[derive(JsonSchema)]
#[schemars(untagged, inline)]
pub enum Asn {
    Number(#[schemars(range(min = 1, max = 4_294_967_295_u64))] u64),
    Text(String),
}

/// Regions and groups by name; where there are shares, a table of them.
#[derive(JsonSchema)]
#[schemars(untagged, inline)]
pub enum Shares {
    Names(#[schemars(length(min = 1))] Vec<String>),
    Table(BTreeMap<String, f64>),
}
