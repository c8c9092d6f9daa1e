//! gdnsd's configuration and zone files, as far as they map.
//!
//! ```text
//!   config ─ vscf ─▶ options ─────────▶ main file
//!                    service_types ───▶ checks ──┐
//!                    plugins ──▶ resources ◀─────┘
//!   zones ─▶ records, and names with DYNA or DYNC ─▶ services of those resources
//! ```
//!
//! - [`checks`]: what is asked of addresses
//! - [`resources`]: what names are answered with; [`maps`]: whom the geoip plugin sends where
//! - [`zone`]: zone files

mod checks;
mod maps;
mod resources;
mod zone;

use std::path::{Path, PathBuf};

use super::draft::{Draft, ZoneDraft};
use super::left::Leftovers;
use super::vscf::{self, Kind, Value};
use crate::control::config::Files;
use resources::Resources;

/// Options without which nothing is answered otherwise: how the program runs on its machine.
const OF_THE_MACHINE: &[&str] = &[
    "udp_threads",
    "tcp_threads",
    "udp_rcvbuf",
    "udp_sndbuf",
    "tcp_backlog",
    "tcp_fastopen",
    "run_dir",
    "state_dir",
    "priority",
    "username",
    "lock_mem",
    "weaker_security",
    "log_stats",
    "zones_rfc1035_threads",
    "zones_rfc1035_auto",
    "realtime_stats",
    "http_listen",
    "http_port",
];

/// What is made of a configuration and zone files. Without `zones`: of those in `zones` beside the configuration.
///
/// # Errors
/// A file that cannot be read, as a line.
pub fn import(files: &dyn Files, config: &Path, zones: &[PathBuf]) -> Result<(Draft, Leftovers), String> {
    let root = vscf::read(files, config)?;
    let (mut draft, mut left) = (Draft::default(), Leftovers::default());
    for entry in
        root.entries().iter().filter(|entry| !["options", "service_types", "plugins"].contains(&entry.key.as_str()))
    {
        left.push(&entry.at.file, entry.at.line, &entry.key, "gdnsd knows no such key either");
    }
    let options = read_options(root.get("options"), &mut draft, &mut left);
    let folder = config.parent().unwrap_or(Path::new(""));
    let zones = if zones.is_empty() { zone_files(files, &folder.join("zones"))? } else { zones.to_vec() };
    let mut resources = Resources::new(&root, files, folder, &mut left);
    for path in &zones {
        let text = files.read(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
        let mut zone = ZoneDraft { origin: zone_name(path), ttl: options.ttl, ..ZoneDraft::default() };
        zone::read(&text, path, options.ecs, &mut zone, &mut resources);
        zone.leave_nowhere(&path.display().to_string(), resources.left);
        draft.zones.push(zone);
    }
    draft.geoip = resources.databases();
    draft.allow_exec = resources.runs_programs();
    Ok((draft, left))
}

/// What options say of all zones.
struct Options {
    ttl: u32,
    ecs: bool,
}

fn read_options(options: Option<&Value>, draft: &mut Draft, left: &mut Leftovers) -> Options {
    let mut read = Options { ttl: 86_400, ecs: true };
    let port = options.and_then(|options| options.get("dns_port")?.text()).unwrap_or("53");
    for entry in options.map(Value::entries).unwrap_or_default() {
        let text = entry.value.text().unwrap_or_default();
        match entry.key.as_str() {
            "dns_port" => {}
            "listen" => draft.listen = listen(&entry.value, port, left),
            "zones_default_ttl" => read.ttl = text.parse().unwrap_or(read.ttl),
            "edns_client_subnet" => read.ecs = !text.eq_ignore_ascii_case("false"),
            "nsid" | "nsid_ascii" => draft.nsid = Some(text.to_owned()).filter(|text| (1..=128).contains(&text.len())),
            key if OF_THE_MACHINE.contains(&key) => {}
            key => left.push(&entry.at.file, entry.at.line, format!("options.{key}"), "has no counterpart"),
        }
    }
    read
}

/// Addresses and ports; those that are no addresses are left.
fn listen(value: &Value, port: &str, left: &mut Leftovers) -> Vec<String> {
    let named: Vec<(&str, &vscf::Place)> = match &value.kind {
        Kind::Hash(entries) => entries.iter().map(|entry| (entry.key.as_str(), &entry.at)).collect(),
        _ => value.items().iter().filter_map(|item| Some((item.text()?, &item.at))).collect(),
    };
    let mut listen = Vec::new();
    for (text, at) in named {
        let bare = text.trim_start_matches('[').trim_end_matches(']');
        let address = match bare.parse::<std::net::IpAddr>() {
            Ok(address) => port.parse().ok().map(|port| std::net::SocketAddr::new(address, port)),
            Err(_) => text.parse().ok(),
        };
        match address {
            Some(address) => listen.push(address.to_string()),
            None if text.eq_ignore_ascii_case("any") => {}
            None => left.push(&at.file, at.line, format!("options.listen {text}"), "is no address with a port"),
        }
    }
    listen
}

/// The zone files of a directory, by name.
fn zone_files(files: &dyn Files, folder: &Path) -> Result<Vec<PathBuf>, String> {
    let mut paths =
        files.list(folder).map_err(|error| format!("no zone file is named, and {}: {error}", folder.display()))?;
    paths.retain(|path| path.file_name().is_some_and(|name| !name.to_string_lossy().starts_with('.')));
    paths.sort();
    Ok(paths)
}

/// The zone that a file is for: gdnsd goes by its name, in which `@` stands for `/`.
fn zone_name(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    match name.trim_end_matches('.') {
        "ROOT_ZONE" => ".".to_owned(),
        name => name.replace('@', "/").to_lowercase(),
    }
}
