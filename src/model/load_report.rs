//! Load reports: where a region's balancer says how loaded it is, and in which of its words.
//!
//! Only what is configured; fetching, reading and believing are `control::load_report`'s.

use std::path::PathBuf;
use std::time::Duration;

/// The source that says how loaded a region is.
#[derive(Clone, Debug, PartialEq)]
pub struct LoadReport {
    pub source: LoadSource,
    /// From report to report. Default 10 s; 100 ms to 1 h.
    pub interval: Duration,
    /// A figure that is older is stale. Default three intervals; at least one.
    pub max_age: Duration,
    /// How its word on what is behind it counts. Default `None`: it is not asked for.
    pub health: Option<HealthRule>,
}

impl LoadReport {
    /// A report is stale when it is older than this many of its intervals, unless `max_age` says otherwise.
    pub const STALE_INTERVALS: u32 = 3;

    /// A report that comes by itself, every `interval`.
    pub fn pushed(interval: Duration) -> LoadReport {
        let max_age = interval * LoadReport::STALE_INTERVALS;
        LoadReport { source: LoadSource::Pushed, interval, max_age, health: None }
    }

    /// A report that is fetched every `interval`.
    pub fn scraped(scrape: Scrape, interval: Duration) -> LoadReport {
        LoadReport { source: LoadSource::Scraped(scrape), ..LoadReport::pushed(interval) }
    }
}

/// The consequences of what a balancer says of the servers behind it and of their answers.
///
/// The badness of a region is the worst of: the part of its servers that is not up; its part of errors, from 0 at
/// [`ErrorRates::low`] to 1 at [`ErrorRates::high`]; and 1 while the balancer says that it is down.
#[derive(Clone, Debug, PartialEq)]
pub struct HealthRule {
    /// The part of its capacity that a region does not offer at the worst; above 0, up to 1. Default 0.5.
    pub weight: f64,
    /// True where servers that are not up count. Default true.
    pub servers: bool,
    /// From which part of errors on these count; `None`: they do not. Default 0.02 and 0.2.
    pub errors: Option<ErrorRates>,
    /// Default [`SaidDown::Degrade`].
    pub down: SaidDown,
    pub place: HealthPlace,
}

/// The place in the report where its health is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum HealthPlace {
    /// Where the format has it, beside the load.
    #[default]
    Usual,
    /// HAProxy's backend of that name, where it is not the proxy's whose load is read.
    Backend(String),
    /// Two JSON pointers, of which one may be missing: to the part of servers that are up, and of answers that are
    /// errors; both 0 to 1.
    Pointers { up: Option<String>, errors: Option<String> },
}

impl Default for HealthRule {
    fn default() -> HealthRule {
        let (errors, down) = (Some(ErrorRates::default()), SaidDown::default());
        HealthRule { weight: 0.5, servers: true, errors, down, place: HealthPlace::Usual }
    }
}

/// Parts of answers that are errors of the servers (5xx); `0 <= low < high <= 1`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ErrorRates {
    /// Up to here all is well.
    pub low: f64,
    /// From here on it is as bad as can be.
    pub high: f64,
}

impl Default for ErrorRates {
    fn default() -> ErrorRates {
        ErrorRates { low: 0.02, high: 0.2 }
    }
}

/// What follows where a balancer says of itself that it is down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SaidDown {
    /// Nothing: its servers and errors alone count.
    Ignore,
    /// The region is as bad as can be.
    #[default]
    Degrade,
    /// After two such reports in a row the region is down, as if by its probes.
    Withdraw,
}

#[derive(Clone, Debug, PartialEq)]
pub enum LoadSource {
    /// Someone at the region tells it to the admin API: `POST /v1/regions/NAME/load`.
    Pushed,
    /// Meridian fetches it.
    Scraped(Scrape),
}

/// One fetch of a load report.
#[derive(Clone, Debug, PartialEq)]
pub struct Scrape {
    pub from: ScrapeAddress,
    pub format: LoadFormat,
    /// For the whole scrape. Default 3 s; 10 ms to 60 s.
    pub timeout: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScrapeAddress {
    /// An http or https URL, valid.
    Http(String),
    /// HAProxy's stats socket at a TCP port.
    Tcp { host: String, port: u16 },
    /// HAProxy's stats socket at an absolute path.
    Unix(PathBuf),
}

/// The format of the report, and which of its figures count.
#[derive(Clone, Debug, PartialEq)]
pub enum LoadFormat {
    /// HAProxy's statistics as CSV; `proxy` is the frontend or backend to read (`pxname`).
    Haproxy { proxy: String, field: HaproxyField },
    /// nginx's `stub_status` page.
    Nginx { field: NginxField },
    /// JSON as nginx Plus' API has it.
    NginxPlus { part: NginxPlusPart, field: NginxPlusField },
    /// Envoy's admin pages `/clusters` and `/stats`, as text or JSON.
    Envoy { cluster: String, field: EnvoyField },
    /// Prometheus' text format; samples that match are added up. With `rate`, the load counts up
    /// for ever, and what it grows by in a second is the figure.
    Prometheus { load: MetricSelector, capacity: Option<MetricSelector>, rate: bool },
    /// JSON with pointers (RFC 6901) to the load and, where they are there, the current capacity
    /// and the time of both.
    Json { load: String, capacity: Option<String>, time: Option<JsonTime> },
    /// A load object in Akamai's XML. `None`: the only datacenter or resource there is.
    LoadObject { datacenter: Option<String>, resource: Option<String>, capacity: LoadObjectCapacity },
}

impl LoadFormat {
    /// Tells whether the load read is a count that only grows: two scrapes make a figure.
    pub fn is_counter(&self) -> bool {
        match self {
            LoadFormat::Nginx { field } => *field == NginxField::RequestRate,
            LoadFormat::NginxPlus { field, .. } => *field == NginxPlusField::RequestRate,
            LoadFormat::Prometheus { rate, .. } => *rate,
            _ => false,
        }
    }

    /// Tells whether such a report can say anything of what is behind the balancer.
    pub fn tells_health(&self) -> bool {
        match self {
            LoadFormat::Haproxy { .. } | LoadFormat::Envoy { .. } | LoadFormat::LoadObject { .. } => true,
            LoadFormat::NginxPlus { part, .. } => *part != NginxPlusPart::Connections,
            LoadFormat::Json { .. } => true,
            LoadFormat::Nginx { .. } | LoadFormat::Prometheus { .. } => false,
        }
    }
}

/// The figure of HAProxy's that is the load.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HaproxyField {
    /// `scur`: current sessions, with `slim` as the capacity.
    #[default]
    Sessions,
    /// `rate`: new sessions in the last second, with `rate_lim` as the capacity.
    SessionRate,
    /// `req_rate`: HTTP requests in the last second (frontends).
    RequestRate,
}

/// The figure of `stub_status` that is the load. None of them has a capacity beside it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NginxField {
    /// `Active connections`, idle ones included.
    #[default]
    Connections,
    /// `Reading` and `Writing`: connections at work.
    Busy,
    /// The growth of `requests` in a second.
    RequestRate,
}

/// The object of nginx Plus' API that is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NginxPlusPart {
    /// Client connections of all of nginx.
    Connections,
    ServerZone(String),
    Upstream(String),
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NginxPlusField {
    /// The work under way: `active` connections, or `processing` requests of a server zone. The
    /// capacity of an upstream is the sum of `max_conns` of the peers that are up.
    #[default]
    Active,
    /// The growth of `requests` in a second.
    RequestRate,
}

/// The figure of an Envoy cluster that is the load; the capacity is the circuit breaker's limit of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EnvoyField {
    /// Active requests, with `max_requests` as the capacity.
    #[default]
    Requests,
    /// Active connections, with `max_connections` as the capacity.
    Connections,
}

/// The place where a JSON document says of when its figures are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JsonTime {
    /// Pointer to an age in seconds.
    Age(String),
    /// Pointer to a time: RFC 3339, or seconds or milliseconds since 1970.
    Timestamp(String),
}

/// The one of a load object's two limits that is the capacity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LoadObjectCapacity {
    /// `max-load` (or `capacity`): what it can bear. Load is priced from 80 % of it.
    #[default]
    Max,
    /// `target-load`: what it should bear.
    Target,
}

/// Samples of one metric: `name{label="value", other!="value"}`, as PromQL has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetricSelector {
    pub metric: String,
    pub labels: Vec<LabelMatch>,
}

/// The value that a label must have, or must not have. A label that is not there is empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelMatch {
    pub label: String,
    pub value: String,
    pub equal: bool,
}

impl MetricSelector {
    /// Reads `name`, or `name{label="value", …}` with `=` and `!=`; `\\`, `\"` and `\n` in values.
    ///
    /// # Errors
    /// What is wrong, for people.
    pub fn parse(text: &str) -> Result<MetricSelector, &'static str> {
        let text = text.trim();
        let (metric, labels) = match text.split_once('{') {
            Some((metric, rest)) => (metric.trim(), Some(rest)),
            None => (text, None),
        };
        if !is_name(metric, true) {
            return Err("a metric's name is letters, digits, `_` and `:`, with no digit first");
        }
        let labels = labels.map_or(Ok(Vec::new()), label_matches)?;
        Ok(MetricSelector { metric: metric.to_owned(), labels })
    }

    /// Tells whether a sample with these labels is meant.
    pub fn matches(&self, labels: &[(&str, String)]) -> bool {
        self.labels.iter().all(|wanted| {
            let found = labels.iter().find(|(label, _)| *label == wanted.label);
            (found.map_or("", |(_, value)| value) == wanted.value) == wanted.equal
        })
    }
}

/// Reads what stands after `{`: matchers with commas between, then `}` and nothing more.
fn label_matches(mut rest: &str) -> Result<Vec<LabelMatch>, &'static str> {
    let mut matches = Vec::new();
    loop {
        rest = rest.trim_start();
        if let Some(end) = rest.strip_prefix('}') {
            return if end.trim().is_empty() { Ok(matches) } else { Err("nothing may follow the `}`") };
        }
        let (one, after) = label_match(rest)?;
        matches.push(one);
        rest = after.trim_start();
        rest = match rest.strip_prefix(',') {
            Some(more) => more,
            None if rest.starts_with('}') => rest,
            None => return Err("after a label's value comes `,` or `}`"),
        };
    }
}

fn label_match(text: &str) -> Result<(LabelMatch, &str), &'static str> {
    let (label, rest) = text.split_at(text.find(['=', '!']).ok_or("a label is followed by `=` or `!=`")?);
    let label = label.trim_end();
    if !is_name(label, false) {
        return Err("a label's name is letters, digits and `_`, with no digit first");
    }
    let (equal, rest) = match (rest.strip_prefix("!="), rest.strip_prefix('=')) {
        (Some(rest), _) => (false, rest),
        (None, Some(rest)) if !rest.starts_with('~') => (true, rest),
        _ => return Err("labels are compared with `=` and `!=` only; samples that match are added up"),
    };
    let (value, rest) = quoted(rest.trim_start()).ok_or("a label's value stands in double quotes")?;
    Ok((LabelMatch { label: label.to_owned(), value, equal }, rest))
}

/// Reads a value in double quotes with the escapes `\\`, `\"` and `\n`; gives what follows it too.
pub fn quoted(text: &str) -> Option<(String, &str)> {
    let rest = text.strip_prefix('"')?;
    let mut value = String::new();
    let mut chars = rest.char_indices();
    while let Some((at, char)) = chars.next() {
        match char {
            '"' => return Some((value, rest.get(at + 1..)?)),
            '\\' => match chars.next()?.1 {
                'n' => value.push('\n'),
                escaped @ ('\\' | '"') => value.push(escaped),
                // Not an escape of the format: both characters stand for themselves.
                other => value.extend(['\\', other]),
            },
            plain => value.push(plain),
        }
    }
    None
}

fn is_name(text: &str, colons: bool) -> bool {
    let fits = |char: char| char.is_ascii_alphanumeric() || char == '_' || (colons && char == ':');
    !text.is_empty() && text.chars().all(fits) && !text.starts_with(|first: char| first.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_are_read_as_promql_writes_them() {
        let selector = MetricSelector::parse(r#" up { a = "x", b!="y\"\\\nz" , } "#).expect("a selector");
        assert_eq!(selector.metric, "up");
        let labels: Vec<_> = selector.labels.iter().map(|l| (&*l.label, &*l.value, l.equal)).collect();
        assert_eq!(labels, [("a", "x", true), ("b", "y\"\\\nz", false)]);
        for whole in ["up", "node:up:rate5m", "up{}", "_x1"] {
            assert_eq!(MetricSelector::parse(whole).expect("a selector").labels, [], "{whole}");
        }
    }

    #[test]
    fn what_is_no_selector_is_refused() {
        for (text, why) in [
            ("", "a metric's name"),
            ("1up", "a metric's name"),
            ("{a=\"x\"}", "a metric's name"),
            ("up{a=\"x\"", "`,` or `}`"),
            ("up{a=\"x\"} 5", "nothing may follow"),
            ("up{a=x}", "double quotes"),
            ("up{a=\"x}", "double quotes"),
            ("up{a~\"x\"}", "followed by `=`"),
            ("up{a=~\"x\"}", "`=` and `!=` only"),
            ("up{a!~\"x\"}", "`=` and `!=` only"),
            ("up{a:b=\"x\"}", "a label's name"),
            ("up{", "followed by `=`"),
        ] {
            let error = MetricSelector::parse(text).expect_err(text);
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    #[test]
    fn a_label_that_is_not_there_is_empty() {
        let matches = |selector: &str| {
            let selector = MetricSelector::parse(selector).expect("a selector");
            selector.matches(&[("a", "x".to_owned())])
        };
        assert!(matches("up{a=\"x\"}") && matches("up{b=\"\"}") && matches("up{b!=\"y\"}"));
        assert!(!matches("up{a!=\"x\"}") && !matches("up{b!=\"\"}") && !matches("up{a=\"x\", b=\"y\"}"));
    }
}
