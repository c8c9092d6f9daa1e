//! `check.http`, `check.https`: the request, and what its answer must look like.

use http::{HeaderName, HeaderValue, header};

use super::tls;
use crate::control::config::files::Sources;
use crate::control::config::reader::{Entry, Table, Value};
use crate::control::diagnostic::Diagnostic;
use crate::control::probe::judge::pattern;
use crate::model::{HttpCheck, HttpMethod, HttpVersion};

/// Items of a check's lists at most.
const MAX_ITEMS: usize = 64;
/// Header fields of a check at most, and octets of one value.
const MAX_HEADERS: usize = 32;
const MAX_HEADER_VALUE: usize = 4_096;
/// Octets of a regular expression at most.
const MAX_REGEX: usize = 1_024;

const URL: &str = "url = \"http://{address}/health\"";

const METHODS: [(&str, HttpMethod); 4] = [
    ("GET", HttpMethod::Get),
    ("HEAD", HttpMethod::Head),
    ("OPTIONS", HttpMethod::Options),
    ("POST", HttpMethod::Post),
];

const VERSIONS: [(&str, HttpVersion); 2] = [("1.1", HttpVersion::Http1), ("2", HttpVersion::Http2)];

/// `https`: whether the URL must say so.
pub fn read(table: &Table<'_>, https: bool, sources: &Sources<'_>) -> Option<HttpCheck> {
    let url = table
        .require("url", URL)
        .and_then(|v| v.text("a URL such as \"https://{address}:8443/health\"", |text| url(text, https)));
    let version = table.or("version", HttpVersion::default(), |v| v.choice(&VERSIONS));
    let method = table.or("method", HttpMethod::default(), |v| v.choice(&METHODS));
    let host = table.get("host").and_then(host);
    let headers = table.or("headers", Vec::new(), headers);
    let plain = url.as_ref().is_some_and(|url| !url.tls);
    let tls = tls::read(table, plain.then_some(("https", "the URL says http")), sources);
    let status = table.or("status", vec![HttpCheck::STATUS], status);
    refuse_body_of_head(table, method);
    let body = table.get("body").and_then(|v| v.string("a text the body must contain")).map(str::to_owned);
    let body_regex = table.get("body_regex").and_then(regex);
    let body_limit = table.or("body_limit", HttpCheck::BODY_LIMIT, |v| v.small(1..=HttpCheck::BODY_LIMIT as u64));
    let json = table.or("json", Vec::new(), json);
    let Url { tls: encrypted, port, path } = url?;
    let tls = tls.filter(|_| encrypted);
    Some(HttpCheck { tls, port, version, method, path, host, headers, status, body, body_regex, body_limit, json })
}

/// RFC 9110 section 9.3.2: "the server MUST NOT send content in the response" to HEAD.
fn refuse_body_of_head(table: &Table<'_>, method: HttpMethod) {
    let keys = ["body", "body_regex", "json"].into_iter().filter_map(|key| table.get(key));
    for key in keys.filter(|_| method == HttpMethod::Head) {
        key.error::<()>(format!("`{}` cannot be with `method = \"HEAD\"`", key.name), "an answer to HEAD has no body");
    }
}

fn regex(value: Value<'_>) -> Option<String> {
    value.text("a regular expression such as \"version: [0-9]+\"", |text| match text.len() {
        0..=MAX_REGEX => pattern(text).map(|_| text.to_owned()),
        length => Err(format!("{length} octets, expected at most {MAX_REGEX}")),
    })
}

/// Header fields beside those every request has.
fn headers(value: Value<'_>) -> Option<Vec<(String, String)>> {
    let entries = value.entries("a table such as { \"X-Probe\" = \"1\" }")?;
    if entries.len() > MAX_HEADERS {
        let label = format!("found {}, expected at most {MAX_HEADERS}", entries.len());
        return value.error("`headers` has too many entries", label);
    }
    let read: Vec<_> = entries.iter().map(header_field).collect();
    read.into_iter().collect()
}

fn header_field(entry: &Entry<'_>) -> Option<(String, String)> {
    /// What the probe sets itself, or would mean a body.
    const OWN: [header::HeaderName; 7] = [
        header::HOST,
        header::CONNECTION,
        header::CONTENT_LENGTH,
        header::TRANSFER_ENCODING,
        header::TE,
        header::UPGRADE,
        header::EXPECT,
    ];
    let name = entry.value.name;
    let unfit = match HeaderName::try_from(name) {
        Err(_) => Some("not the name of a header field"),
        Ok(header::HOST) => Some("write the name in `host`"),
        Ok(name) if OWN.contains(&name) => Some("the probe sets it itself"),
        Ok(_) => None,
    };
    if let Some(why) = unfit {
        let error = Diagnostic::error(format!("`headers` cannot hold {name:?}"));
        entry.value.report().push(error.at(entry.span(), why));
    }
    let text = entry.value.string("the value of a header field")?;
    if text.len() > MAX_HEADER_VALUE || HeaderValue::try_from(text).is_err() {
        let expected = format!("expected up to {MAX_HEADER_VALUE} octets without line breaks and control characters");
        return entry.value.error(format!("`{name}` cannot have this value"), expected);
    }
    Some((name.to_owned(), text.to_owned()))
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

pub fn host(value: Value<'_>) -> Option<String> {
    value.text("a host name such as \"www.example.com\"", |text| match text.parse::<http::uri::Authority>() {
        Ok(authority) if !text.contains('@') && !authority.host().is_empty() => Ok(text.to_owned()),
        _ => Err("not a host, with or without a port"),
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
