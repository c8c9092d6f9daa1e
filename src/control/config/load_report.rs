//! `load_report.haproxy`, `load_report.json`: where a region's balancer says how loaded it is. A
//! [`Value`] comes in, a [`LoadReport`] goes out.

use std::net::IpAddr;
use std::time::Duration;

use super::check::{INTERVALS, TIMEOUTS, pointer};
use super::reader::{Table, Value};
use crate::model::{Endpoint, EndpointTarget, HaproxyField, LoadReport, LoadReportKind};

const FIELDS: [(&str, HaproxyField); 3] = [
    ("sessions", HaproxyField::Sessions),
    ("session_rate", HaproxyField::SessionRate),
    ("request_rate", HaproxyField::RequestRate),
];

/// `endpoints` are the region's, for `{address}`; `None` where they are wrong.
pub fn read(value: Value<'_>, endpoints: Option<&[Endpoint]>) -> Option<LoadReport> {
    value.table("`load_report`", |table| {
        let source = table.one_of(&["haproxy", "json"])?;
        source.table(format!("`load_report.{}`", source.name), |t| {
            let url = t.require("url", "url = \"http://10.0.1.5:8404/stats;csv\"").and_then(|v| url(v, endpoints));
            let interval = t.or("interval", Duration::from_secs(10), |v| v.duration(INTERVALS));
            let timeout = t.or("timeout", Duration::from_secs(3), |v| v.duration(TIMEOUTS));
            let kind = if source.name == "haproxy" { haproxy(t) } else { json(t) };
            Some(LoadReport { kind: kind?, url: url?, interval, timeout })
        })
    })
}

fn haproxy(table: &Table<'_>) -> Option<LoadReportKind> {
    let field = table.or("field", HaproxyField::default(), |v| v.choice(&FIELDS));
    let proxy = table.require("proxy", "proxy = \"web\"")?.text("the name of a frontend or backend", |text| {
        if text.is_empty() { Err("the name is empty") } else { Ok(text.to_owned()) }
    })?;
    Some(LoadReportKind::Haproxy { proxy, field })
}

fn json(table: &Table<'_>) -> Option<LoadReportKind> {
    const POINTER: &str = "a JSON pointer such as \"/load\"";
    let capacity = table.get("capacity").and_then(|v| v.text(POINTER, pointer));
    let load = table.require("load", "load = \"/load\"")?.text(POINTER, pointer)?;
    Some(LoadReportKind::Json { load, capacity })
}

/// The URL with `{address}` replaced by the first address of the first endpoint.
fn url(value: Value<'_>, endpoints: Option<&[Endpoint]>) -> Option<String> {
    value.text("a URL such as \"http://{address}:8404/stats;csv\"", |text| {
        let url = match (text.contains("{address}"), endpoints.map(first_address)) {
            (false, _) => text.to_owned(),
            (true, Some(Some(IpAddr::V6(address)))) => text.replace("{address}", &format!("[{address}]")),
            (true, Some(Some(address))) => text.replace("{address}", &address.to_string()),
            (true, Some(None)) => return Err("{address} needs a first endpoint with an address".to_owned()),
            // The endpoints are wrong, which is said already: any address will do to go on.
            (true, None) => text.replace("{address}", "192.0.2.1"),
        };
        match reqwest::Url::parse(&url) {
            Ok(parsed) if matches!(parsed.scheme(), "http" | "https") && parsed.has_host() => Ok(url),
            Ok(_) => Err("the URL does not begin with http:// or https://".to_owned()),
            Err(error) => Err(format!("not a URL: {error}")),
        }
    })
}

fn first_address(endpoints: &[Endpoint]) -> Option<IpAddr> {
    match &endpoints.first()?.target {
        EndpointTarget::Addresses(addresses) => addresses.first().copied(),
        EndpointTarget::Host(_) => None,
    }
}
