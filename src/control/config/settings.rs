//! The main file, `meridian.toml`: where to listen, what to read, which limits hold.
//!
//! Its root [`Table`] comes in; a [`Config`] and the operator's networks go out.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use super::files::{Sources, path};
use super::health::Health;
use super::logs::Log;
use super::reader::{Table, Value};
use super::rum::RumSettings;
use super::server::{AdminSocket, AdminTls, Config, Confinement, Geoip, Limits, Listen, ReloadWhen, Udp};
use super::{cluster, events, health, location, logs, network, rum, steering, xdp};
use crate::control::access::{self, Tokens};
use crate::control::diagnostic::Diagnostic;
use crate::model::{Location, Prefix, ResponseRate, Steering};

/// Items of the short lists: addresses to listen on, databases.
const MAX_ITEMS: usize = 64;
const MAX_CPUS: usize = 1_024;
const MAX_TRUSTED: usize = 1_000;

/// The contents of the main file: the server's own affairs, and those of the model.
pub struct Settings {
    pub config: Config,
    /// The operator's networks.
    pub networks: Vec<(Prefix, Location)>,
    /// The location of clients that nothing is known of.
    pub default_location: Option<Location>,
    pub steering: Steering,
    pub health: Health,
}

/// Reads what the main file says.
pub fn read(root: &Table<'_>, sources: &Sources<'_>) -> Settings {
    let path = |value: Value<'_>| path(value, sources);
    let allow_exec = root.or("allow_exec", false, |v| v.boolean());
    if allow_exec {
        sources.let_run_programs();
    }
    let admin = root.get("admin").and_then(|v| v.table("`admin`", |t| Some(admin(t, sources))));
    let Admin { token_file, tokens, tls, socket } = admin.unwrap_or_default();
    let asks_for_certificates = tls.as_ref().is_some_and(|tls| tls.client_ca.is_some());
    let is_guarded = token_file.is_some() || tokens.is_some() || asks_for_certificates;
    let config = Config {
        listen: root
            .or("listen", Listen::default(), |v| v.table_like("`listen`", LISTEN, |t| Some(listen(t, is_guarded)))),
        zones: root.get("zones").and_then(path).unwrap_or_else(|| sources.resolve("zones")),
        state: root.get("state").and_then(path).unwrap_or_else(|| sources.resolve("state")),
        geoip: Geoip {
            databases: root.or("geoip", Vec::new(), |v| databases(v, sources)),
            required: root.or("geoip_required", false, |v| v.boolean()),
        },
        reload: root.or("reload", ReloadWhen::default(), |v| v.choice(&RELOAD)),
        admin_token_file: token_file.flatten(),
        admin_tokens: tokens.flatten(),
        admin_tls: tls,
        admin_socket: socket,
        threads: root.get("threads").and_then(|v| v.small(1..=1_024)),
        cpus: root.or("cpus", Vec::new(), cpus),
        udp: root.or("udp", Udp::default(), |v| v.table("`udp`", |t| Some(udp(t)))),
        limits: root.or("limits", Limits::default(), |v| v.table("`limits`", |t| Some(limits(t)))),
        watchdog: root.get("watchdog").and_then(watchdog),
        stop_delay: root.or("stop_delay", Duration::ZERO, |v| v.duration(Duration::ZERO..=Duration::from_secs(300))),
        allow_exec,
        confinement: root.or("confinement", Some(Confinement::default()), |v| confinement(v, sources)),
        nsid: root.get("nsid").and_then(nsid),
        receivers: root.or("events", Vec::new(), |v| events::read(v, sources)),
        log: root.or("log", Log::default(), logs::log),
        query_log: root.get("query_log").and_then(|v| logs::query_log(v, sources)),
        dnstap: root.get("dnstap").and_then(|v| logs::dnstap(v, sources)),
        cluster: root.get("cluster").and_then(|v| cluster::read(v, sources)),
        rum: root.or("rum", RumSettings::default(), |v| rum::read(v, sources)),
        seed: root.or("seed", 0, |v| v.integer(0..=u64::MAX)),
    };
    Settings {
        config,
        networks: root.or("network", Vec::new(), network::read),
        default_location: root.get("default_location").and_then(location::read),
        steering: root.or("steering", Steering::default(), steering::read),
        health: root.or("health", Health::default(), |v| health::read(v, sources)),
    }
}

const LISTEN: &str = "keys of it: `listen.dns = [\"192.0.2.1:53\"]` and `listen.admin = \"127.0.0.1:8053\"`";
const RELOAD: [(&str, ReloadWhen); 2] = [("asked", ReloadWhen::Asked), ("watch", ReloadWhen::Watch)];

/// What `[admin]` says; of a file that cannot be read, that it is there.
#[derive(Default)]
struct Admin {
    token_file: Option<Option<PathBuf>>,
    tokens: Option<Option<Tokens>>,
    tls: Option<AdminTls>,
    socket: Option<AdminSocket>,
}

fn admin(table: &Table<'_>, sources: &Sources<'_>) -> Admin {
    let mode = table.or("socket_mode", 0o600, |v| v.text("permissions in octal such as \"660\"", socket_mode));
    Admin {
        token_file: table.get("token_file").map(|v| path(v, sources)),
        tokens: table.get("tokens_file").map(|v| tokens(v, sources)),
        tls: admin_tls(table, sources),
        socket: table.get("socket").and_then(|v| path(v, sources)).map(|path| AdminSocket { path, mode }),
    }
}

/// A certificate and its key; neither goes without the other.
fn admin_tls(table: &Table<'_>, sources: &Sources<'_>) -> Option<AdminTls> {
    let file = |key| table.get(key).map(|v| (v, path(v, sources)));
    let (certificate, key, client_ca) = (file("certificate"), file("key"), file("client_ca"));
    let all = [&certificate, &key, &client_ca];
    let first = all.into_iter().flatten().map(|(value, _)| *value).next()?;
    let both = |name: &str, found: Option<(Value<'_>, Option<PathBuf>)>| match found {
        Some((_, path)) => path,
        None => first.error(format!("`{}` without `{name}`", first.name), "`certificate` and `key` go together"),
    };
    let (certificate, key) = (both("certificate", certificate), both("key", key));
    Some(AdminTls { certificate: certificate?, key: key?, client_ca: client_ca.and_then(|(_, path)| path) })
}

fn socket_mode(text: &str) -> Result<u32, String> {
    let mode = u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o777);
    mode.ok_or_else(|| "they are 000 to 777".to_owned())
}

fn tokens(value: Value<'_>, sources: &Sources<'_>) -> Option<Tokens> {
    let path = path(value, sources)?;
    let read = || {
        let file = sources.open(&path)?;
        if file.text.len() as u64 > access::MAX_OCTETS {
            return Err(format!("{} is larger than {} KiB", file.path, access::MAX_OCTETS >> 10));
        }
        Tokens::parse(&file.text).map_err(|error| format!("{}: {error}", file.path))
    };
    let found = value.text("a file of tokens", |_| read())?;
    let mode = std::fs::metadata(&path).map_or(0, |metadata| metadata.permissions().mode() & 0o777);
    if mode & 0o077 != 0 {
        let shown = path.display();
        value.report().push(
            Diagnostic::warning(format!("{shown} can be used by other users of this machine (mode {mode:04o})"))
                .at(value.span(), "who may change it may ask for everything")
                .help(format!("chmod 600 {shown}")),
        );
    }
    Some(found)
}

fn listen(table: &Table<'_>, is_guarded: bool) -> Listen {
    let defaults = Listen::default();
    Listen {
        dns: table.or("dns", defaults.dns, dns_addresses),
        admin: table.or("admin", defaults.admin, |value| admin_address(value, is_guarded)),
        rum: table.or("rum", defaults.rum, rum_address),
        xdp: table.or("xdp", defaults.xdp, xdp::read),
    }
}

fn dns_addresses(value: Value<'_>) -> Option<Vec<SocketAddr>> {
    let mut addresses = Vec::new();
    let items = value.one_or_many("an array of addresses such as [\"0.0.0.0:53\"]", MAX_ITEMS)?;
    if items.is_empty() {
        return value.error("`dns` holds no address to listen on", "expected at least one such as \"0.0.0.0:53\"");
    }
    for item in items {
        let Some(address) = item.text(SOCKET_ADDRESS, str::parse::<SocketAddr>) else { continue };
        if addresses.contains(&address) {
            item.error::<()>(format!("`dns` names {address} twice"), "again here");
        }
        addresses.push(address);
    }
    Some(addresses)
}

const SOCKET_ADDRESS: &str = "an address and port such as \"192.0.2.1:53\" or \"[2001:db8::1]:53\"";

/// Whoever reaches the admin address may drain regions: beyond this machine that takes a token.
fn admin_address(value: Value<'_>, is_guarded: bool) -> Option<Option<SocketAddr>> {
    if value.as_str() == Some("off") {
        return Some(None);
    }
    let address = value.text("an address and port such as \"127.0.0.1:8053\", or \"off\"", str::parse::<SocketAddr>)?;
    if !address.ip().to_canonical().is_loopback() && !is_guarded {
        value.report().push(
            Diagnostic::error("the admin address can be reached from other machines, and no token protects it")
                .at(value.span(), "not a loopback address")
                .help("name a file with a secret: `admin.token_file = \"admin.token\"`; or listen on 127.0.0.1"),
        );
    }
    Some(Some(address))
}

fn rum_address(value: Value<'_>) -> Option<Option<SocketAddr>> {
    if value.as_str() == Some("off") {
        return Some(None);
    }
    value.text("an address and port such as \"0.0.0.0:8054\", or \"off\"", str::parse::<SocketAddr>).map(Some)
}

/// `geoip = ["a.mmdb"]`, or `geoip.databases = ["a.mmdb"]`.
fn databases(value: Value<'_>, sources: &Sources<'_>) -> Option<Vec<PathBuf>> {
    const EXPECTED: &str = "an array of paths such as [\"geoip/GeoLite2-City.mmdb\"]";
    let paths = |list: Value<'_>| {
        let items = list.one_or_many(EXPECTED, MAX_ITEMS)?;
        Some(items.into_iter().filter_map(|item| path(item, sources)).collect())
    };
    if value.is_table() {
        value.table("`geoip`", |t| t.require("databases", EXPECTED).and_then(paths))
    } else {
        paths(value)
    }
}

/// `confinement = "off"`, or `confinement.writes = ["/var/tmp"]`.
fn confinement(value: Value<'_>, sources: &Sources<'_>) -> Option<Option<Confinement>> {
    if value.as_str() == Some("off") {
        return Some(None);
    }
    let paths = |list: Value<'_>| {
        let items = list.one_or_many("an array of directories such as [\"/var/lib/checks\"]", MAX_ITEMS)?;
        Some(items.into_iter().filter_map(|item| path(item, sources)).collect())
    };
    value.table_like("`confinement`", "`confinement.writes`, or \"off\"", |t| {
        Some(Some(Confinement { writes: t.or("writes", Vec::new(), paths) }))
    })
}

fn limits(table: &Table<'_>) -> Limits {
    let defaults = Limits::default();
    let tcp_time = Duration::from_millis(100)..=Duration::from_secs(600);
    // All are read, so that a mistake is told whatever else there is.
    let per_second = table.get("udp_per_network").and_then(|v| v.small(1..=1_000_000));
    let truncated_one_in = table.or("udp_truncated", 2, |v| v.small(0..=100));
    let trusted = table.or("udp_trusted", Vec::new(), |v| rum::networks(v, MAX_TRUSTED));
    Limits {
        udp_rate: per_second.map(|per_second| ResponseRate { per_second, truncated_one_in, trusted }),
        tcp_connections: table.or("tcp_connections", defaults.tcp_connections, |v| v.small(1..=1_000_000)),
        tcp_per_network: table.or("tcp_per_network", defaults.tcp_per_network, |v| v.small(1..=1_000_000)),
        tcp_idle: table.or("tcp_idle", defaults.tcp_idle, |v| v.duration(tcp_time.clone())),
        tcp_message: table.or("tcp_message", defaults.tcp_message, |v| v.duration(tcp_time.clone())),
        probes: table.or("probes", defaults.probes, |v| v.small(1..=10_000)),
    }
}

/// The kernel numbers CPUs from 0, and its sets of them have room for 1,024.
fn cpus(value: Value<'_>) -> Option<Vec<usize>> {
    let mut cpus = Vec::new();
    for item in value.one_or_many("an array of CPU numbers such as [0, 2]", MAX_CPUS)? {
        let Some(cpu) = item.small(0..=MAX_CPUS as u64 - 1) else { continue };
        if cpus.contains(&cpu) {
            item.error::<()>(format!("`cpus` names CPU {cpu} twice"), "again here");
        }
        cpus.push(cpu);
    }
    Some(cpus)
}

fn udp(table: &Table<'_>) -> Udp {
    let buffer = |key| table.get(key).and_then(|v: Value<'_>| v.small(4 << 10..=1 << 30));
    let busy_poll = |v: Value<'_>| match v.as_str() {
        Some("off") => None,
        _ => v.duration(Duration::from_micros(1)..=Duration::from_millis(10)),
    };
    Udp {
        batch: table.or("batch", Udp::default().batch, |v| v.small(1..=1_024)),
        receive_buffer: buffer("receive_buffer"),
        send_buffer: buffer("send_buffer"),
        busy_poll: table.get("busy_poll").and_then(busy_poll),
    }
}

/// Not before a stall is one, and is told.
fn watchdog(value: Value<'_>) -> Option<Duration> {
    match value.as_str() {
        Some("off") => None,
        _ => value.duration(Duration::from_secs(15)..=Duration::from_secs(3600)),
    }
}

/// RFC 5001 lets an identifier be any octets; text is what operators read.
fn nsid(value: Value<'_>) -> Option<String> {
    value.text("1 to 128 octets of text", |text| match text.len() {
        1..=128 => Ok(text.to_owned()),
        0 => Err("the text is empty"),
        _ => Err("the text is longer than 128 octets"),
    })
}
