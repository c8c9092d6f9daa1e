//! `check.http`, `check.https`, `check.tcp`: what is asked of each endpoint. A [`Value`] comes in,
//! a [`Check`] goes out.

use std::time::Duration;

use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};

use super::files::{Sources, beside};
use super::reader::{Table, Value};
use crate::control::diagnostic::Diagnostic;
use crate::model::{Check, CheckKind, HttpCheck, TlsCheck};

/// Items of a check's lists at most.
const MAX_ITEMS: usize = 64;

const URL: &str = "url = \"http://{address}/health\"";

pub fn read(value: Value<'_>, sources: &Sources<'_>) -> Option<Check> {
    value.table("`check`", |table| {
        let probe = table.one_of(&["http", "https", "tcp"])?;
        probe.table(format!("`check.{}`", probe.name), |t| {
            let interval_key = t.get("interval");
            let interval = interval_key.and_then(|v| v.duration(INTERVALS)).unwrap_or(Check::INTERVAL);
            let timeout_key = t.get("timeout");
            let timeout = timeout_key.and_then(|v| v.duration(TIMEOUTS)).unwrap_or(Check::TIMEOUT);
            let fall = t.or("fall", Check::FALL, |v| v.small(1..=100));
            let rise = t.or("rise", Check::RISE, |v| v.small(1..=100));
            warn_of_slow_verdicts(t, timeout_key.or(interval_key), timeout, interval * fall);
            let kind = if probe.name == "tcp" { tcp(t) } else { http(t, probe.name == "https", sources) };
            Some(Check { kind: kind?, interval, timeout, fall, rise })
        })
    })
}

/// 100 ms to 1 h.
pub const INTERVALS: std::ops::RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(3_600);
/// 10 ms to 60 s.
pub const TIMEOUTS: std::ops::RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_secs(60);

fn warn_of_slow_verdicts(table: &Table<'_>, at: Option<Value<'_>>, timeout: Duration, verdict: Duration) {
    if timeout < verdict {
        return;
    }
    let span = at.map_or_else(|| table.span(), |value| value.span());
    let slow = Diagnostic::warning("a probe may take as long as `fall` of them should")
        .at(span, format!("a timeout of {timeout:?} against {verdict:?}, which is interval × fall"))
        .help("choose a timeout below the interval, so that an endpoint that hangs is found down in time");
    table.report().push(slow);
}

fn tcp(table: &Table<'_>) -> Option<CheckKind> {
    let port = table.require("port", "port = 443")?;
    Some(CheckKind::Tcp { port: port.small(1..=65_535)? })
}

fn http(table: &Table<'_>, https: bool, sources: &Sources<'_>) -> Option<CheckKind> {
    let url = table
        .require("url", URL)
        .and_then(|v| v.text("a URL such as \"https://{address}:8443/health\"", |text| url(text, https)));
    let host = table.get("host").and_then(host);
    let tls = tls(table, url.as_ref().is_none_or(|url| url.tls), sources);
    let status = table.or("status", vec![HttpCheck::STATUS], status);
    let body = table.get("body").and_then(|v| v.string("a text the body must contain")).map(str::to_owned);
    let json = table.or("json", Vec::new(), json);
    let Url { tls: encrypted, port, path } = url?;
    Some(CheckKind::Http(HttpCheck { tls: tls.filter(|_| encrypted), port, path, host, status, body, json }))
}

struct Url {
    tls: bool,
    port: u16,
    path: String,
}

/// Reads `SCHEME://{address}[:PORT][/PATH]`.
fn url(text: &str, https: bool) -> Result<Url, String> {
    let (tls, rest) = match text.split_once("://") {
        Some(("https", rest)) => (true, rest),
        Some(("http", _)) if https => return Err("`check.https` needs an https URL".into()),
        Some(("http", rest)) => (false, rest),
        _ => return Err("the URL does not begin with http:// or https://".into()),
    };
    let Some(rest) = rest.strip_prefix("{address}") else {
        return Err("a probe goes to the endpoint's own address: write {address} there, and the name in `host`".into());
    };
    let (port, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let port = match port.strip_prefix(':') {
        Some(digits) => digits.parse().ok().filter(|&port| port > 0).ok_or("the port is not 1 to 65535")?,
        None if port.is_empty() => {
            if tls {
                443
            } else {
                80
            }
        }
        None => return Err("after {address} comes `:` and a port, `/` and a path, or nothing".into()),
    };
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    if path.contains(['{', '}', '#']) || path.parse::<http::uri::PathAndQuery>().is_err() {
        return Err("the path holds a character that must be escaped with %".into());
    }
    Ok(Url { tls, port, path })
}

fn host(value: Value<'_>) -> Option<String> {
    value.text("a host name such as \"www.example.com\"", |text| match text.parse::<http::uri::Authority>() {
        Ok(authority) if !text.contains('@') && !authority.host().is_empty() => Ok(text.to_owned()),
        _ => Err("not a host, with or without a port"),
    })
}

/// The keys of an encrypted check. They are refused where nothing is encrypted.
fn tls(table: &Table<'_>, encrypted: bool, sources: &Sources<'_>) -> Option<TlsCheck> {
    let (name, verify, ca) = (table.get("server_name"), table.get("verify"), table.get("ca_file"));
    for key in [name, verify, ca].into_iter().flatten().filter(|_| !encrypted) {
        key.error::<()>(format!("`{}` is for https only", key.name), "the URL says http");
    }
    Some(TlsCheck {
        server_name: name.and_then(server_name),
        verify: verify.and_then(|v| v.boolean()).unwrap_or(true),
        ca_pem: ca.and_then(|v| ca_pem(v, sources)),
    })
}

fn server_name(value: Value<'_>) -> Option<String> {
    value.text("a host name such as \"www.example.com\"", |text| {
        ServerName::try_from(text).map(|_| text.to_owned()).map_err(|_| "not a host name or address")
    })
}

fn ca_pem(value: Value<'_>, sources: &Sources<'_>) -> Option<String> {
    value.text("a PEM file with certificates", |path| {
        let file = sources.open(&beside(path, value.report().file()))?;
        let mut certificates = CertificateDer::pem_slice_iter(file.text.as_bytes());
        match certificates.next() {
            Some(Ok(_)) if certificates.all(|each| each.is_ok()) => Ok(file.text.clone()),
            None => Err(format!("{} holds no certificate", file.path)),
            _ => Err(format!("{} is not PEM", file.path)),
        }
    })
}

/// `200`, `"200-399"`, or an array of such.
fn status(value: Value<'_>) -> Option<Vec<(u16, u16)>> {
    const EXPECTED: &str = "status codes such as 200, \"200-399\" or [200, \"300-399\"]";
    let items = value.one_or_many(EXPECTED, MAX_ITEMS)?;
    if items.is_empty() {
        return value.error("`status` holds no code", format!("expected {EXPECTED}"));
    }
    let read: Vec<_> = items.into_iter().map(status_range).collect();
    read.into_iter().collect()
}

fn status_range(value: Value<'_>) -> Option<(u16, u16)> {
    if value.as_str().is_none() {
        return value.small(100..=599).map(|code| (code, code));
    }
    value.text("a range of codes from 100 to 599, such as \"200-399\"", |text| {
        let (low, high) = text.split_once('-').unwrap_or((text, text));
        match (low.trim().parse(), high.trim().parse()) {
            (Ok(low), Ok(high)) if (100..=599).contains(&low) && (low..=599).contains(&high) => Ok((low, high)),
            _ => Err("not a range of status codes"),
        }
    })
}

/// JSON pointers and the value each must have.
fn json(value: Value<'_>) -> Option<Vec<(String, serde_json::Value)>> {
    let entries = value.entries("a table such as { \"/status\" = \"healthy\" }")?;
    let mut expected = Vec::new();
    for entry in entries {
        if let Err(error) = pointer(entry.value.name) {
            let unfit = Diagnostic::error(format!("`json`: {error}"));
            value.report().push(unfit.at(entry.span(), "expected a JSON pointer such as \"/status\""));
        }
        expected.extend(entry.value.json().map(|json| (entry.value.name.to_owned(), json)));
    }
    Some(expected)
}

/// RFC 6901 section 3: empty, or tokens each led by `/`, in which `~` is only `~0` or `~1`.
pub fn pointer(text: &str) -> Result<String, &'static str> {
    if !text.is_empty() && !text.starts_with('/') {
        return Err("a JSON pointer begins with `/`");
    }
    if text.split('~').skip(1).any(|after| !after.starts_with(['0', '1'])) {
        return Err("in a JSON pointer `~` is written `~0`");
    }
    Ok(text.to_owned())
}
