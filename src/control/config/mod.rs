//! The configuration: TOML files become a validated [`Model`] and the settings beside it.
//!
//! ```text
//!    meridian.toml ──▶ settings ─▶ Config, networks ─┐
//!    zones/*.toml ──▶ zone ─┬▶ region, service ──────┼─▶ Loaded, or every mistake in all files
//!                           └▶ zonefile: records ────┘
//! ```
//!
//! A path comes in; [`Loaded`] or a list of [`Diagnostic`]s goes out. Loading is whole or not at
//! all: one error anywhere and there is no model. `meridian check` is this and nothing more.
//! Sockets, databases and the writing of state are left to others.
//!
//! In the order text meets them:
//!
//! - [`files`]: where text comes from
//! - [`reader`], [`duration`], [`text`]: TOML with typed values and exact places
//! - [`settings`], [`location`], [`steering`], [`rum`], [`xdp`]: the main file
//! - [`zone`], [`region`], [`check`], [`load_report`], [`service`], [`policy`], [`geo`]: a zone file

mod check;
pub mod duration;
mod files;
mod geo;
mod load_report;
pub mod location;
mod policy;
pub mod reader;
mod region;
mod rum;
mod service;
mod settings;
mod steering;
mod text;
mod xdp;
mod zone;

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use files::{Disk, Files, MAX_FILE_BYTES};
pub use rum::RumSettings;

use crate::control::diagnostic::{Diagnostic, Span};
use crate::model::xdp::XdpInterface;
use crate::model::{Model, Name, Service, ZoneId};
use files::Sources;
use settings::Settings;
use zone::ZoneParts;
pub use zone::is_zone_file;

/// Regions of all zones together at most; a [`crate::model::RegionId`] has 16 bits.
pub const MAX_REGIONS: usize = 1_024;
/// Services of all zones together at most.
pub const MAX_SERVICES: usize = 10_000;
/// Zones at most.
pub const MAX_ZONES: usize = 10_000;

/// Mistakes told before the remaining zone files are left unread: thousands of wrong files, most
/// likely generated ones, share the same few mistakes.
const MAX_TOLD: usize = 10_000;
/// Warnings told of all zone files together; the rest are counted. Ten thousand right files may deserve one each.
const MAX_WARNINGS: usize = 2_000;

/// What the main file says. Paths are resolved against the directory of that file.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    pub listen: Listen,
    /// The directory of zone files. Default `zones`.
    pub zones: PathBuf,
    /// The directory for what must survive a restart. Default `state`.
    pub state: PathBuf,
    pub geoip: Geoip,
    /// When files are loaded afresh without being asked. Default [`ReloadWhen::Asked`].
    pub reload: ReloadWhen,
    /// A file with the secret that the admin API asks for (`admin.token_file`). Default none,
    /// which is refused where the admin address is no loopback address.
    pub admin_token_file: Option<PathBuf>,
    /// Threads that answer UDP, per address, and TCP, 1 to 1,024. Default `None`: as many as `cpus`, else one per core.
    pub threads: Option<usize>,
    /// The CPUs these threads run on in turn, each on one alone. Default none: wherever the system puts them.
    pub cpus: Vec<usize>,
    pub udp: Udp,
    pub limits: Limits,
    pub rum: RumSettings,
    /// How long the writer may be stalled before the process ends, 15 s to 1 h. Default `None`, `"off"`: never.
    pub watchdog: Option<Duration>,
    /// The name server identifier (RFC 5001), 1 to 128 octets. Default `None`: none is sent.
    pub nsid: Option<String>,
    /// Seeds the choice among equals. Default 0. All nodes that serve the same zones must have
    /// the same one, or a client's region depends on the node asked.
    pub seed: u64,
}

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// UDP and TCP; at least one. Default `0.0.0.0:53` and `[::]:53`.
    pub dns: Vec<SocketAddr>,
    /// HTTP API and metrics. Default `127.0.0.1:8053`; `None` where the file says `"off"`.
    pub admin: Option<SocketAddr>,
    /// Where browsers get plans of what to measure, and report it. Default `None`, `"off"`.
    pub rum: Option<SocketAddr>,
    /// Interfaces on which UDP queries to `dns` pass the kernel's stack by. Default none.
    pub xdp: Vec<XdpInterface>,
}

impl Default for Listen {
    fn default() -> Listen {
        Listen {
            dns: vec![(Ipv4Addr::UNSPECIFIED, 53).into(), (Ipv6Addr::UNSPECIFIED, 53).into()],
            admin: Some((IpAddr::from(Ipv4Addr::LOCALHOST), 8053).into()),
            rum: None,
            xdp: Vec::new(),
        }
    }
}

/// How UDP sockets are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Udp {
    /// Datagrams moved by one system call at most, 1 to 1,024. Default 32: more gain nothing, and let
    /// the first reply of a batch wait for the others.
    pub batch: usize,
    /// What the kernel may hold for a socket, in octets, 4 KiB to 1 GiB. Default `None`: 4 MiB, or as
    /// much of it as the system gives.
    pub receive_buffer: Option<usize>,
    pub send_buffer: Option<usize>,
    /// How long threads look for packets at the interface before they sleep, 1 µs to 10 ms.
    /// Default `None`, `"off"`: it shortens waits and takes a whole core.
    pub busy_poll: Option<Duration>,
}

impl Default for Udp {
    fn default() -> Udp {
        Udp { batch: 32, receive_buffer: None, send_buffer: None, busy_poll: None }
    }
}

/// Databases of where clients are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Geoip {
    /// MaxMind-format files, in the order of the file. Default none.
    pub databases: Vec<PathBuf>,
    /// Whether a start without one of them, or a good copy of it, is refused (`geoip_required`). Default false:
    /// no answers are worse than those that go by less.
    pub required: bool,
}

/// When the configuration is loaded afresh.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReloadWhen {
    /// On SIGHUP, or through the admin API.
    #[default]
    Asked,
    /// Also when its files have changed, and were then left alone for half a second.
    Watch,
}

/// What the server lends to strangers at most.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// TCP connections in all, 1 to 1,000,000. Default 1,000.
    pub tcp_connections: usize,
    /// TCP connections from one /24 or /56, and four times as many from one /48, 1 to 1,000,000. Default 50.
    pub tcp_per_network: usize,
    /// How long a TCP connection may be idle, 100 ms to 10 min. Default 10 s.
    pub tcp_idle: Duration,
    /// How long one message may take to arrive over TCP, 100 ms to 10 min. Default 5 s.
    pub tcp_message: Duration,
    /// Connections of all probes at once, 1 to 10,000, and within the files this process may open. Default 10,000: a
    /// connection is only taken when it is needed.
    pub probes: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            tcp_connections: 1_000,
            tcp_per_network: 50,
            tcp_idle: Duration::from_secs(10),
            tcp_message: Duration::from_secs(5),
            probes: 10_000,
        }
    }
}

/// A configuration without errors.
#[derive(Clone, Debug)]
pub struct Loaded {
    pub config: Config,
    pub model: Model,
    /// Warnings only.
    pub diagnostics: Vec<Diagnostic>,
    /// Every file that was read, the main file first, each once.
    pub files: Vec<PathBuf>,
}

/// Loads the main file at `path` and everything it leads to.
///
/// # Errors
/// All mistakes of all files, and the warnings beside them, in the order the files were read.
pub fn load(path: &Path) -> Result<Loaded, Vec<Diagnostic>> {
    load_from(&Disk, path)
}

/// [`load`], with text from anywhere.
///
/// # Errors
/// As [`load`].
pub fn load_from(files: &dyn Files, path: &Path) -> Result<Loaded, Vec<Diagnostic>> {
    let sources = Sources::new(files, path);
    let main = sources.open(path).map_err(|error| vec![unreadable(error, path)])?;
    let (settings, mut diagnostics) =
        reader::read_document(&main, "the configuration", |root| settings::read(root, &sources));
    let Settings { config, networks, default_location, steering } = settings;
    let mut model = Model { networks, default_location, steering, ..Model::default() };
    read_zones(&sources, &config.zones, &mut model, &mut diagnostics);
    let files = sources.into_read();
    in_order_of_files(&mut diagnostics, &files);
    if diagnostics.iter().any(Diagnostic::is_error) {
        return Err(diagnostics);
    }
    Ok(Loaded { config, model, diagnostics, files })
}

const NAME_A_FILE: &str = "name the main file, for example: meridian check --config /etc/meridian/meridian.toml";

/// Where there is no such file, another may be meant.
fn unreadable(error: String, path: &Path) -> Diagnostic {
    match path.is_file() {
        true => Diagnostic::error(error),
        false => Diagnostic::error(error).help(NAME_A_FILE),
    }
}

fn read_zones(sources: &Sources<'_>, directory: &Path, model: &mut Model, diagnostics: &mut Vec<Diagnostic>) {
    let mut origins: HashMap<Name, Span> = HashMap::new();
    let mut service_spans = Vec::new();
    let paths = zone_files(sources, directory, diagnostics);
    let (mut errors, mut warnings) = (0, 0);
    for (index, path) in paths.iter().enumerate() {
        if errors >= MAX_TOLD {
            let unread = paths.len() - index;
            diagnostics.push(Diagnostic::error(format!("too many mistakes: {unread} zone files were not looked at")));
            break;
        }
        let file = match sources.open(path) {
            Ok(file) => file,
            Err(error) => {
                diagnostics.push(Diagnostic::error(error));
                errors += 1;
                continue;
            }
        };
        let id = ZoneId(u32::try_from(model.zones.len()).unwrap_or(u32::MAX));
        let ZoneParts { zone, regions, services, diagnostics: found } =
            zone::read(&file, id, model.regions.len(), sources);
        diagnostics.extend(found.into_iter().filter(|diagnostic| {
            let count = if diagnostic.is_error() { &mut errors } else { &mut warnings };
            *count += 1;
            diagnostic.is_error() || *count <= MAX_WARNINGS
        }));
        model.regions.extend(regions);
        for (service, span) in services {
            model.services.push(service);
            service_spans.push(span);
        }
        let Some((zone, span)) = zone else { continue };
        if let Some(first) = origins.insert(zone.origin.clone(), span.clone()) {
            let twice = Diagnostic::error(format!("two files are for the zone {}", zone.origin));
            diagnostics.push(twice.at(span, "again here").related(first, "first here"));
        }
        model.zones.push(zone);
    }
    if warnings > MAX_WARNINGS {
        let more = warnings - MAX_WARNINGS;
        diagnostics.push(Diagnostic::warning(format!("and {more} more warnings in all zone files")));
    }
    for (service, span) in model.services.iter().zip(service_spans) {
        diagnostics.extend(in_another_zone(service, span, model, &origins));
    }
    report_too_many(model, diagnostics);
}

/// A service whose name belongs to a zone inside its own: that zone answers there.
fn in_another_zone(service: &Service, span: Span, model: &Model, origins: &HashMap<Name, Span>) -> Option<Diagnostic> {
    let own = &model.zones.get(service.zone.index())?.origin;
    let above = std::iter::successors(Some(service.name.clone()), Name::parent);
    let inner = above.take_while(|name| name != own).find_map(|name| origins.get_key_value(&name));
    let (origin, place) = inner.filter(|_| service.name.is_at_or_below(own))?;
    let error = Diagnostic::error(format!("the service {} is in the zone {origin}", service.name));
    let label = "would never be answered: define it in that zone's file";
    Some(error.at(span, label).related(place.clone(), "that zone"))
}

/// The zone files by name. Reports a directory that is not there, or holds none.
fn zone_files(sources: &Sources<'_>, directory: &Path, diagnostics: &mut Vec<Diagnostic>) -> Vec<PathBuf> {
    let shown = directory.display();
    let help = format!("write a zone file such as {}", directory.join("gslb.example.com.toml").display());
    let mut paths = match sources.list(directory) {
        Ok(paths) => paths,
        Err(error) => {
            let missing = error.kind() == io::ErrorKind::NotFound;
            let why = if missing { "it does not exist".to_owned() } else { error.to_string() };
            let error = Diagnostic::error(format!("cannot read the zones directory {shown}: {why}"));
            diagnostics.push(match missing {
                true => error.help(format!("create it and {help}, or set `zones` in the main file")),
                false => error,
            });
            return Vec::new();
        }
    };
    paths.retain(|path| zone::is_zone_file(path));
    paths.sort();
    if paths.is_empty() {
        diagnostics.push(Diagnostic::error(format!("the zones directory {shown} holds no *.toml file")).help(help));
    }
    if paths.len() > MAX_ZONES {
        let found = paths.len();
        diagnostics.push(Diagnostic::error(format!("{shown} holds {found} zones, expected at most {MAX_ZONES}")));
        paths.truncate(MAX_ZONES);
    }
    paths
}

fn report_too_many(model: &Model, diagnostics: &mut Vec<Diagnostic>) {
    for (what, found, most) in
        [("regions", model.regions.len(), MAX_REGIONS), ("services", model.services.len(), MAX_SERVICES)]
    {
        if found > most {
            diagnostics.push(Diagnostic::error(format!("the zones have {found} {what}, expected at most {most}")));
        }
    }
}

/// Sorts by file as read, then by place; what has no place comes last.
fn in_order_of_files(diagnostics: &mut [Diagnostic], files: &[PathBuf]) {
    let order: HashMap<String, usize> =
        files.iter().enumerate().map(|(index, path)| (path.display().to_string(), index)).collect();
    diagnostics.sort_by_key(|diagnostic| match &diagnostic.span {
        Some(span) => (order.get(&span.file.path).copied().unwrap_or(usize::MAX), span.range.start),
        None => (usize::MAX, usize::MAX),
    });
}
