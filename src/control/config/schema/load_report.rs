//! The settings of a load report: where a region's balancer says how loaded it is.

use schemars::JsonSchema;

use super::values::{Duration, OrOff, Pointer};

/// Exactly one of them. What to turn on at each balancer, what its figures mean and what follows when they stop is
/// in [load reports](load-reports.md).
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, title = "load_report")]
pub struct LoadReport {
    /// HAProxy's statistics.
    pub haproxy: Option<Haproxy>,
    /// nginx's stub_status.
    pub nginx: Option<Nginx>,
    /// The API of NGINX Plus.
    pub nginx_plus: Option<NginxPlus>,
    /// Envoy's admin interface.
    pub envoy: Option<Envoy>,
    /// A page of metrics.
    pub prometheus: Option<Prometheus>,
    /// A JSON document.
    pub json: Option<Json>,
    /// Load objects of two tiers.
    pub load_object: Option<LoadObject>,
    /// Reports that are sent to this server.
    pub push: Option<PushedReport>,
}

/// How often and how patiently a report is fetched.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, title = "pace")]
pub struct Pace {
    /// From scrape to scrape; for push, how often one comes.
    ///
    /// Range: 100 ms to 1 h.
    #[schemars(extend("default" = "10s"))]
    pub interval: Option<Duration>,
    /// A figure that is older is stale.
    ///
    /// Default: three intervals, [as seen](load-reports.md#when-reports-stop-lie-or-come-late). Range: `interval`
    /// to 24 h.
    pub max_age: Option<Duration>,
    /// For the whole scrape.
    ///
    /// Range: 10 ms to 60 s.
    #[schemars(extend("default" = "3s"))]
    pub timeout: Option<Duration>,
}

/// [What the balancer says of its servers and errors](load-reports.md#health) takes part of the region's capacity.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, title = "load_report.*.health")]
pub struct HealthRule {
    /// The part that it takes at the worst.
    ///
    /// Range: above 0, up to 1.
    #[schemars(extend("default" = 0.5))]
    pub weight: Option<f64>,
    /// Whether servers that are not up count.
    #[schemars(extend("default" = true))]
    pub servers: Option<bool>,
    /// The part of answers that are errors (5xx): none of the weight up to `low`, all of it from `high` on.
    ///
    /// Range: 0 to 1, `low` below `high`.
    #[schemars(extend("default" = { "low": 0.02, "high": 0.2 }))]
    pub errors: Option<OrOff<Errors>>,
    /// What follows where the balancer says that all is down: nothing more, all of the weight, or after two reports
    /// that the region is down.
    #[schemars(extend("default" = "degrade", "enum" = ["ignore", "degrade", "withdraw"]))]
    pub down: Option<String>,
}

/// The part of answers that are errors.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, title = "load_report.*.health.errors")]
pub struct Errors {
    /// None of the weight up to here.
    #[schemars(extend("default" = 0.02), range(min = 0, max = 1))]
    pub low: Option<f64>,
    /// All of the weight from here on; above `low`.
    #[schemars(extend("default" = 0.2), range(min = 0, max = 1))]
    pub high: Option<f64>,
}

/// What HAProxy says of its servers and errors.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, title = "load_report.haproxy.health")]
pub struct HaproxyHealth {
    #[schemars(flatten)]
    pub rule: HealthRule,
    /// The backend whose servers and answers are meant.
    ///
    /// Default: `proxy`.
    pub backend: Option<String>,
}

/// What the document says of servers and errors. At least one of `up_share` and `error_share`.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, title = "load_report.json.health")]
pub struct JsonHealth {
    #[schemars(flatten)]
    pub rule: HealthRule,
    /// Where the part of servers that are up is, 0 to 1.
    ///
    /// Default: this or `error_share`.
    pub up_share: Option<Pointer>,
    /// Where the part of answers that are errors is, 0 to 1.
    ///
    /// Default: this or `up_share`.
    pub error_share: Option<Pointer>,
}

/// HAProxy's statistics, over HTTP or its stats socket.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, title = "load_report.haproxy")]
pub struct Haproxy {
    /// Where the report is; `{address}` stands for the first endpoint's first address.
    ///
    /// Range: http or https, `unix:/PATH` or `tcp://HOST:PORT`.
    pub url: String,
    /// The frontend or backend to read (`pxname` in the statistics).
    pub proxy: String,
    /// Which figure is the load: `scur` (capacity `slim`), `rate` (capacity `rate_lim`), `req_rate`.
    #[schemars(extend("default" = "sessions", "enum" = ["sessions", "session_rate", "request_rate"]))]
    pub field: Option<String>,
    /// [What the balancer says of its servers and errors](load-reports.md#health) takes part of the region's
    /// capacity.
    ///
    /// Default: not asked for; `{}` asks with the defaults.
    pub health: Option<HaproxyHealth>,
    #[schemars(flatten)]
    pub pace: Pace,
}

/// nginx's stub_status. It tells nothing of health.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, title = "load_report.nginx")]
pub struct Nginx {
    /// Where the report is; `{address}` stands for the first endpoint's first address.
    ///
    /// Range: http or https.
    pub url: String,
    /// Active connections, those reading or writing, or requests per second; no capacity.
    #[schemars(extend("default" = "connections", "enum" = ["connections", "busy", "request_rate"]))]
    pub field: Option<String>,
    /// Refused: stub_status tells neither of servers nor of errors.
    pub health: Option<HealthRule>,
    #[schemars(flatten)]
    pub pace: Pace,
}

/// The API of NGINX Plus. `health` takes a `server_zone` or an `upstream`.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, title = "load_report.nginx_plus")]
pub struct NginxPlus {
    /// Where the report is; `{address}` stands for the first endpoint's first address.
    ///
    /// Range: http or https.
    pub url: String,
    /// The server zone to read: requests being processed; no capacity.
    ///
    /// Default: this, `upstream`, or all connections.
    pub server_zone: Option<String>,
    /// The upstream to read: active connections; capacity `max_conns` of the peers that are up.
    ///
    /// Default: this, `server_zone`, or all connections.
    pub upstream: Option<String>,
    /// What is under way, or requests per second (no capacity).
    #[schemars(extend("default" = "active", "enum" = ["active", "request_rate"]))]
    pub field: Option<String>,
    /// [What the balancer says of its servers and errors](load-reports.md#health) takes part of the region's
    /// capacity.
    ///
    /// Default: not asked for; `{}` asks with the defaults.
    pub health: Option<HealthRule>,
    #[schemars(flatten)]
    pub pace: Pace,
}

/// Envoy's admin interface.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, title = "load_report.envoy")]
pub struct Envoy {
    /// Where the report is; `{address}` stands for the first endpoint's first address.
    ///
    /// Range: http or https.
    pub url: String,
    /// The cluster to read.
    pub cluster: String,
    /// Active ones; the capacity is the circuit breaker's limit of them.
    #[schemars(extend("default" = "requests", "enum" = ["requests", "connections"]))]
    pub field: Option<String>,
    /// [What the balancer says of its servers and errors](load-reports.md#health) takes part of the region's
    /// capacity.
    ///
    /// Default: not asked for; `{}` asks with the defaults.
    pub health: Option<HealthRule>,
    #[schemars(flatten)]
    pub pace: Pace,
}

/// A page of metrics. It tells nothing of health.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, title = "load_report.prometheus")]
pub struct Prometheus {
    /// Where the report is; `{address}` stands for the first endpoint's first address.
    ///
    /// Range: http or https.
    pub url: String,
    /// The metric that is the load; samples that match are added up.
    ///
    /// Range: such as `http_in_flight{job="web"}`; labels with `=` and `!=`.
    pub load: String,
    /// The metric that is the current capacity.
    ///
    /// Range: as `load`.
    pub capacity: Option<String>,
    /// `load` is a counter: what it grows by in a second is the load.
    #[schemars(extend("default" = false))]
    pub rate: Option<bool>,
    /// Refused: single metrics do not tell.
    pub health: Option<HealthRule>,
    #[schemars(flatten)]
    pub pace: Pace,
}

/// A JSON document.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, title = "load_report.json")]
pub struct Json {
    /// Where the report is; `{address}` stands for the first endpoint's first address.
    ///
    /// Range: http or https.
    pub url: String,
    /// Where the load is in the document, such as `"/load"`.
    pub load: Pointer,
    /// Where the current capacity is.
    pub capacity: Option<Pointer>,
    /// Where the figures' age in seconds is.
    ///
    /// Default: this, `timestamp`, or as of the scrape.
    pub age: Option<Pointer>,
    /// Where the figures' time is: RFC 3339, or seconds or milliseconds since 1970.
    ///
    /// Default: this, `age`, or as of the scrape.
    pub timestamp: Option<Pointer>,
    /// [What the balancer says of its servers and errors](load-reports.md#health) takes part of the region's
    /// capacity.
    ///
    /// Default: not asked for; `{}` asks with the defaults.
    pub health: Option<JsonHealth>,
    #[schemars(flatten)]
    pub pace: Pace,
}

/// Load objects of [two tiers](two-tiers.md).
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, title = "load_report.load_object")]
pub struct LoadObject {
    /// Where the report is; `{address}` stands for the first endpoint's first address.
    ///
    /// Range: http or https.
    pub url: String,
    /// Name or number of the datacenter to read.
    ///
    /// Default: the only one.
    pub datacenter: Option<String>,
    /// Name of the resource to read.
    ///
    /// Default: the only one.
    pub resource: Option<String>,
    /// Which limit is the capacity: `max-load` (or `capacity`), or `target-load`; the other where that one is
    /// missing.
    #[schemars(extend("default" = "max", "enum" = ["max", "target"]))]
    pub capacity: Option<String>,
    /// [What the balancer says of its servers and errors](load-reports.md#health) takes part of the region's
    /// capacity.
    ///
    /// Default: not asked for; `{}` asks with the defaults.
    pub health: Option<HealthRule>,
    #[schemars(flatten)]
    pub pace: Pace,
}

/// Reports that are sent to this server's admin API.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, title = "load_report.push")]
pub struct PushedReport {
    /// From scrape to scrape; for push, how often one comes.
    ///
    /// Range: 100 ms to 1 h.
    #[schemars(extend("default" = "10s"))]
    pub interval: Option<Duration>,
    /// A figure that is older is stale.
    ///
    /// Default: three intervals, [as seen](load-reports.md#when-reports-stop-lie-or-come-late). Range: `interval`
    /// to 24 h.
    pub max_age: Option<Duration>,
    /// [What the balancer says of its servers and errors](load-reports.md#health) takes part of the region's
    /// capacity.
    ///
    /// Default: not asked for; `{}` asks with the defaults.
    pub health: Option<HealthRule>,
}
