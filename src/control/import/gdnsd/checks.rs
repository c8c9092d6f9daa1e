//! Service types: what gdnsd asks of addresses, as checks.

use std::collections::BTreeMap;

use crate::control::import::draft::{list, quoted};
use crate::control::import::left::Leftovers;
use crate::control::import::vscf::{Entry, Value};

/// Checks by the names of service types, as they are written; `None`: nothing is asked.
#[derive(Default)]
pub struct ServiceTypes {
    checks: BTreeMap<String, Option<String>>,
    pub run_programs: bool,
}

impl ServiceTypes {
    pub fn read(types: Option<&Value>, left: &mut Leftovers) -> ServiceTypes {
        let mut read = ServiceTypes::default();
        for entry in types.map(Value::entries).unwrap_or_default() {
            let check = check(entry, left);
            read.run_programs |= check.as_ref().is_some_and(|check| check.starts_with("exec"));
            read.checks.insert(entry.key.clone(), check);
        }
        read
    }

    /// The checks of these types; what is wrong with one is left.
    pub fn of(&self, types: &[Value], left: &mut Leftovers) -> Vec<String> {
        let mut checks = Vec::new();
        for value in types {
            let Some(name) = value.text() else { continue };
            match self.checks.get(name) {
                Some(check) => checks.extend(check.clone()),
                None if name == "up" => {}
                None if name == "down" => {
                    left.push(
                        &value.at.file,
                        value.at.line,
                        "service_types down",
                        "stays down there: here it has no check, and is up",
                    );
                }
                None => left.push(&value.at.file, value.at.line, format!("service_types {name}"), "is not defined"),
            }
        }
        checks
    }
}

/// Keys that each kind has, all of which are carried over.
const PACE: &[&str] = &["plugin", "up_thresh", "down_thresh", "interval", "timeout"];

fn check(entry: &Entry, left: &mut Leftovers) -> Option<String> {
    let hash = &entry.value;
    let plugin = hash.get("plugin").and_then(Value::text).unwrap_or_default();
    let (kind, keys, mut parts) = match plugin {
        "http_status" => ("http", &["port", "url_path", "vhost", "ok_codes"][..], http(hash)),
        "tcp_connect" => ("tcp", &["port"][..], vec![format!("port = {}", number(hash, "port", 1, 65_535, 80))]),
        "extmon" => ("exec", &["cmd"][..], command(hash)),
        other => {
            let why = "has no counterpart: addresses that it watches are without a check";
            left.push(&entry.at.file, entry.at.line, format!("service type {} ({other})", entry.key), why);
            return None;
        }
    };
    if kind == "exec" && parts.is_empty() {
        left.push(
            &entry.at.file,
            entry.at.line,
            format!("service type {}", entry.key),
            "its `cmd` does not begin with an absolute path",
        );
        return None;
    }
    for unread in hash.entries().iter().filter(|unread| !PACE.contains(&&*unread.key) && !keys.contains(&&*unread.key))
    {
        let why = if unread.key == "ok_thresh" {
            "failures count in a row here, so that any success resets them"
        } else {
            "has no counterpart"
        };
        left.push(&unread.at.file, unread.at.line, format!("service type {}: {}", entry.key, unread.key), why);
    }
    parts.extend(pace(hash));
    Some(format!("{kind} = {{ {} }}", parts.join(", ")))
}

fn http(hash: &Value) -> Vec<String> {
    let path = hash.get("url_path").and_then(Value::text).unwrap_or("/");
    let escaped: String = path
        .chars()
        .map(|c| if c.is_ascii_graphic() && !"{}#".contains(c) { c.to_string() } else { percent(c) })
        .collect();
    let mut parts = vec![format!(
        "url = {}",
        quoted(&format!("http://{{address}}:{}{escaped}", number(hash, "port", 1, 65_535, 80)))
    )];
    parts.extend(hash.get("vhost").and_then(Value::text).map(|host| format!("host = {}", quoted(host))));
    let codes: Vec<u64> = hash
        .get("ok_codes")
        .map(Value::items)
        .unwrap_or_default()
        .iter()
        .filter_map(|code| code.text()?.parse().ok())
        .collect();
    let codes: Vec<String> = codes.iter().filter(|code| (100..=599).contains(*code)).map(u64::to_string).collect();
    parts.push(format!("status = [{}]", if codes.is_empty() { "200".to_owned() } else { codes.join(", ") }));
    parts
}

fn percent(char: char) -> String {
    let mut octets = [0; 4];
    char.encode_utf8(&mut octets).bytes().map(|octet| format!("%{octet:02X}")).collect()
}

/// `%%ITEM%%` stands for the address there.
fn command(hash: &Value) -> Vec<String> {
    let items = hash.get("cmd").map(Value::items).unwrap_or_default();
    let words: Vec<String> =
        items.iter().filter_map(|item| Some(item.text()?.replace("%%ITEM%%", "{address}"))).collect();
    match words.first() {
        Some(program) if program.starts_with('/') => vec![format!("command = {}", list(&words))],
        _ => Vec::new(),
    }
}

/// With the defaults that gdnsd has.
fn pace(hash: &Value) -> Vec<String> {
    let interval = number(hash, "interval", 1, 255, 10);
    let timeout = number(hash, "timeout", 1, 60, (interval / 2).clamp(1, 60));
    vec![
        format!("interval = \"{interval}s\""),
        format!("timeout = \"{timeout}s\""),
        format!("fall = {}", number(hash, "down_thresh", 1, 100, 10)),
        format!("rise = {}", number(hash, "up_thresh", 1, 100, 20)),
    ]
}

fn number(hash: &Value, key: &str, least: u64, most: u64, default: u64) -> u64 {
    let read = hash.get(key).and_then(Value::text).and_then(|text| text.parse::<u64>().ok());
    read.map_or(default, |number| number.clamp(least, most))
}
