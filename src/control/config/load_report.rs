//! `load_report.haproxy`, `load_report.nginx`, …: where a region's balancer says how loaded it is.
//! A [`Value`] comes in, a [`LoadReport`] goes out.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::check::{INTERVALS, TIMEOUTS, pointer};
use super::reader::{Table, Value};
use crate::control::diagnostic::Diagnostic;
use crate::model::{
    Endpoint, EndpointTarget, EnvoyField, ErrorRates, HaproxyField, HealthPlace, HealthRule, JsonTime, LoadFormat,
    LoadObjectCapacity, LoadReport, LoadSource, MetricSelector, NginxField, NginxPlusField, NginxPlusPart, SaidDown,
    Scrape, ScrapeAddress,
};

/// Every kind of report, as the zone file calls it.
const KINDS: [&str; 8] = ["haproxy", "nginx", "nginx_plus", "envoy", "prometheus", "json", "load_object", "push"];

/// 100 ms to 24 h.
const MAX_AGES: std::ops::RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(86_400);

/// The longest path of a Unix socket, in octets, that the kernel takes.
const MAX_SOCKET_PATH: usize = 107;

/// `endpoints` are the region's, for `{address}`; `None` where they are wrong.
pub fn read(value: Value<'_>, endpoints: Option<&[Endpoint]>) -> Option<LoadReport> {
    value.table("`load_report`", |table| {
        let kind = table.one_of(&KINDS)?;
        kind.table(format!("`load_report.{}`", kind.name), |t| {
            let interval = t.or("interval", Duration::from_secs(10), |v| v.duration(INTERVALS));
            let max_age = max_age(t, interval);
            let source = match kind.name {
                "push" => Some(LoadSource::Pushed),
                name => scrape(t, name, endpoints).map(LoadSource::Scraped),
            };
            let rule = t.get("health");
            let health = rule.zip(source.as_ref()).and_then(|(v, source)| health(v, kind.name, source));
            Some(LoadReport { source: source?, interval, max_age, health })
        })
    })
}

fn max_age(table: &Table<'_>, interval: Duration) -> Duration {
    let default = interval * LoadReport::STALE_INTERVALS;
    let Some(key) = table.get("max_age") else { return default };
    let Some(max_age) = key.duration(MAX_AGES) else { return default };
    if max_age < interval {
        let error = Diagnostic::error("`max_age` is shorter than `interval`: every report would be stale");
        table.report().push(error.at(key.span(), format!("found {max_age:?}, expected {interval:?} or more")));
    }
    max_age
}

const HEALTH: &str = "a table such as { weight = 0.5 }, or {}";

/// `health = { weight = 0.5, … }`: what follows from what the report says of servers and errors.
fn health(value: Value<'_>, kind: &str, source: &LoadSource) -> Option<HealthRule> {
    const SAID: [(&str, SaidDown); 3] =
        [("ignore", SaidDown::Ignore), ("degrade", SaidDown::Degrade), ("withdraw", SaidDown::Withdraw)];
    let silent = matches!(source, LoadSource::Scraped(scrape) if !scrape.format.tells_health());
    if silent {
        let label = match kind {
            "nginx" => "stub_status tells neither of servers nor of errors: `nginx_plus`, `json` and `push` can",
            "nginx_plus" => "name an `upstream` or a `server_zone`: all connections say nothing of it",
            _ => "single metrics do not tell: `json` and `push` can",
        };
        return value.error(format!("`load_report.{kind}` says nothing of health"), label);
    }
    let defaults = HealthRule::default();
    value.table_like("`health`", HEALTH, |t| {
        let weight = t.or("weight", defaults.weight, |v| v.number("above 0, up to 1", |n| n > 0.0 && n <= 1.0));
        let servers = t.or("servers", defaults.servers, |v| v.boolean());
        let errors = t.or("errors", defaults.errors, errors);
        let down = t.or("down", defaults.down, |v| v.choice(&SAID));
        Some(HealthRule { weight, servers, errors, down, place: place(t, kind)? })
    })
}

/// `None` in the inner option: turned off.
fn errors(value: Value<'_>) -> Option<Option<ErrorRates>> {
    if value.as_str() == Some("off") {
        return Some(None);
    }
    value.table_like("`errors`", "a table such as { low = 0.02, high = 0.2 }, or \"off\"", |t| {
        let part = |v: Value<'_>| v.number("a part of answers, 0 to 1", |n| (0.0..=1.0).contains(&n));
        let defaults = ErrorRates::default();
        let (low, high) = (t.or("low", defaults.low, part), t.or("high", defaults.high, part));
        match low < high {
            true => Some(Some(ErrorRates { low, high })),
            false => value.error("`errors.low` is not below `errors.high`", format!("{low} and {high}")),
        }
    })
}

fn place(table: &Table<'_>, kind: &str) -> Option<HealthPlace> {
    match kind {
        "haproxy" => Some(match table.get("backend") {
            Some(backend) => HealthPlace::Backend(name(backend, "the name of a backend")?),
            None => HealthPlace::Usual,
        }),
        "json" => {
            let to = |v: Value<'_>| v.text("a JSON pointer such as \"/healthy\"", pointer);
            let (up, errors) = (table.get("up_share"), table.get("error_share"));
            if up.or(errors).is_none() {
                table.require("up_share", "up_share = \"/healthy\"");
                return None;
            }
            Some(HealthPlace::Pointers { up: up.and_then(to), errors: errors.and_then(to) })
        }
        _ => Some(HealthPlace::Usual),
    }
}

fn scrape(table: &Table<'_>, kind: &str, endpoints: Option<&[Endpoint]>) -> Option<Scrape> {
    let from = table.require("url", example(kind)).and_then(|v| address(v, kind, endpoints));
    let timeout = table.or("timeout", Duration::from_secs(3), |v| v.duration(TIMEOUTS));
    let format = match kind {
        "haproxy" => haproxy(table),
        "nginx" => Some(nginx(table)),
        "nginx_plus" => nginx_plus(table),
        "envoy" => envoy(table),
        "prometheus" => prometheus(table),
        "json" => json(table),
        _ => load_object(table),
    };
    Some(Scrape { from: from?, format: format?, timeout })
}

fn example(kind: &str) -> &'static str {
    match kind {
        "haproxy" => "url = \"http://10.0.1.5:8404/stats;csv\"",
        "nginx" => "url = \"http://10.0.1.5:8080/stub_status\"",
        "nginx_plus" => "url = \"http://10.0.1.5:8080/api/9/http/upstreams\"",
        "envoy" => "url = \"http://10.0.1.5:9901/clusters\"",
        "prometheus" => "url = \"http://10.0.1.5:9100/metrics\"",
        _ => "url = \"http://10.0.1.5:8080/load\"",
    }
}

fn haproxy(table: &Table<'_>) -> Option<LoadFormat> {
    const FIELDS: [(&str, HaproxyField); 3] = [
        ("sessions", HaproxyField::Sessions),
        ("session_rate", HaproxyField::SessionRate),
        ("request_rate", HaproxyField::RequestRate),
    ];
    let field = table.or("field", HaproxyField::default(), |v| v.choice(&FIELDS));
    let proxy = name(table.require("proxy", "proxy = \"web\"")?, "the name of a frontend or backend")?;
    Some(LoadFormat::Haproxy { proxy, field })
}

fn nginx(table: &Table<'_>) -> LoadFormat {
    const FIELDS: [(&str, NginxField); 3] = [
        ("connections", NginxField::Connections),
        ("busy", NginxField::Busy),
        ("request_rate", NginxField::RequestRate),
    ];
    LoadFormat::Nginx { field: table.or("field", NginxField::default(), |v| v.choice(&FIELDS)) }
}

fn nginx_plus(table: &Table<'_>) -> Option<LoadFormat> {
    const FIELDS: [(&str, NginxPlusField); 2] =
        [("active", NginxPlusField::Active), ("request_rate", NginxPlusField::RequestRate)];
    let rate = table.get("field");
    let field = rate.and_then(|v| v.choice(&FIELDS)).unwrap_or_default();
    let part = match (table.get("server_zone"), table.get("upstream")) {
        (None, None) => Some(NginxPlusPart::Connections),
        (Some(zone), None) => name(zone, "the name of a server zone").map(NginxPlusPart::ServerZone),
        (None, Some(upstream)) => name(upstream, "the name of an upstream").map(NginxPlusPart::Upstream),
        (Some(_), Some(_)) => table.one_of(&["server_zone", "upstream"]).and(None),
    };
    if let (Some(rate), Some(NginxPlusPart::Connections), NginxPlusField::RequestRate) = (rate, &part, field) {
        let label = "name a `server_zone` or an `upstream`";
        return rate.error("all of nginx's connections have no request rate", label);
    }
    Some(LoadFormat::NginxPlus { part: part?, field })
}

fn envoy(table: &Table<'_>) -> Option<LoadFormat> {
    const FIELDS: [(&str, EnvoyField); 2] =
        [("requests", EnvoyField::Requests), ("connections", EnvoyField::Connections)];
    let field = table.or("field", EnvoyField::default(), |v| v.choice(&FIELDS));
    let cluster = name(table.require("cluster", "cluster = \"web\"")?, "the name of a cluster")?;
    Some(LoadFormat::Envoy { cluster, field })
}

fn prometheus(table: &Table<'_>) -> Option<LoadFormat> {
    const SELECTOR: &str = "a metric such as \"http_requests_in_flight{job=\\\"web\\\"}\"";
    let selector = |value: Value<'_>| value.text(SELECTOR, MetricSelector::parse);
    let capacity = table.get("capacity").map(selector);
    let rate = table.or("rate", false, |v| v.boolean());
    let load = table.require("load", "load = \"http_requests_in_flight\"").and_then(selector);
    Some(LoadFormat::Prometheus { load: load?, capacity: capacity.map_or(Some(None), |read| read.map(Some))?, rate })
}

fn json(table: &Table<'_>) -> Option<LoadFormat> {
    const POINTER: &str = "a JSON pointer such as \"/load\"";
    let read = |value: Value<'_>| value.text(POINTER, pointer);
    let capacity = table.get("capacity").and_then(read);
    let time = match (table.get("age"), table.get("timestamp")) {
        (None, None) => None,
        (Some(age), None) => read(age).map(JsonTime::Age),
        (None, Some(timestamp)) => read(timestamp).map(JsonTime::Timestamp),
        (Some(_), Some(_)) => table.one_of(&["age", "timestamp"]).and(None),
    };
    let load = read(table.require("load", "load = \"/load\"")?)?;
    Some(LoadFormat::Json { load, capacity, time })
}

fn load_object(table: &Table<'_>) -> Option<LoadFormat> {
    const LIMITS: [(&str, LoadObjectCapacity); 2] =
        [("max", LoadObjectCapacity::Max), ("target", LoadObjectCapacity::Target)];
    let capacity = table.or("capacity", LoadObjectCapacity::default(), |v| v.choice(&LIMITS));
    let datacenter = table.get("datacenter").and_then(|v| name(v, "the name or number of a datacenter"));
    let resource = table.get("resource").and_then(|v| name(v, "the name of a resource"));
    Some(LoadFormat::LoadObject { datacenter, resource, capacity })
}

fn name(value: Value<'_>, expected: &str) -> Option<String> {
    value.text(expected, |text| if text.is_empty() { Err("the name is empty") } else { Ok(text.to_owned()) })
}

/// Reads where the report is; `{address}` is the first address of the first endpoint.
fn address(value: Value<'_>, kind: &str, endpoints: Option<&[Endpoint]>) -> Option<ScrapeAddress> {
    let expected = match kind {
        "haproxy" => "an http, https or tcp URL, or a socket such as \"unix:/run/haproxy.sock\"",
        _ => "a URL such as \"http://{address}:8404/stats;csv\"",
    };
    value.text(expected, |text| {
        let text = with_address(text, endpoints)?;
        match (kind, text.split_once(':')) {
            ("haproxy", Some(("unix", path))) => unix(path),
            ("haproxy", Some(("tcp", _))) => tcp(&text),
            (_, Some(("unix" | "tcp", _))) => {
                Err("only HAProxy has a stats socket: this one is asked over HTTP".into())
            }
            _ => http(text),
        }
    })
}

fn with_address(text: &str, endpoints: Option<&[Endpoint]>) -> Result<String, String> {
    match (text.contains("{address}"), endpoints.map(first_address)) {
        (false, _) => Ok(text.to_owned()),
        (true, Some(Some(IpAddr::V6(address)))) => Ok(text.replace("{address}", &format!("[{address}]"))),
        (true, Some(Some(address))) => Ok(text.replace("{address}", &address.to_string())),
        (true, Some(None)) => Err("{address} needs a first endpoint with an address".to_owned()),
        // The endpoints are wrong, which is said already: any address will do to go on.
        (true, None) => Ok(text.replace("{address}", "192.0.2.1")),
    }
}

fn http(url: String) -> Result<ScrapeAddress, String> {
    match reqwest::Url::parse(&url) {
        Ok(parsed) if matches!(parsed.scheme(), "http" | "https") && parsed.has_host() => Ok(ScrapeAddress::Http(url)),
        Ok(_) => Err("the URL does not begin with http:// or https://".to_owned()),
        Err(error) => Err(format!("not a URL: {error}")),
    }
}

/// `tcp://HOST:PORT`, and nothing more.
fn tcp(text: &str) -> Result<ScrapeAddress, String> {
    const SHAPE: &str = "a TCP socket is written tcp://HOST:PORT";
    let url = reqwest::Url::parse(text).map_err(|error| format!("not a URL: {error}"))?;
    let bare = url.path().is_empty() && url.query().is_none() && url.fragment().is_none() && url.username().is_empty();
    match (url.host_str(), url.port()) {
        (Some(host), Some(port)) if bare && port > 0 && text.starts_with("tcp://") => {
            Ok(ScrapeAddress::Tcp { host: host.trim_matches(['[', ']']).to_owned(), port })
        }
        _ => Err(SHAPE.to_owned()),
    }
}

fn unix(path: &str) -> Result<ScrapeAddress, String> {
    // `unix:///run/x.sock` means the same.
    let path = path.strip_prefix("//").unwrap_or(path);
    match path.len() {
        _ if !path.starts_with('/') => Err("the path of a socket is absolute: unix:/run/haproxy.sock".into()),
        _ if path.contains('\0') => Err("a path has no NUL in it".into()),
        length if length > MAX_SOCKET_PATH => Err(format!("a socket's path has at most {MAX_SOCKET_PATH} octets")),
        _ => Ok(ScrapeAddress::Unix(PathBuf::from(path))),
    }
}

fn first_address(endpoints: &[Endpoint]) -> Option<IpAddr> {
    match &endpoints.first()?.target {
        EndpointTarget::Addresses(addresses) => addresses.first().copied(),
        EndpointTarget::Host(_) => None,
    }
}
