//! The server's own settings, as the main file gives them, and their defaults.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use super::events::Receiver;
use super::logs::{Dnstap, Log, QueryLog};
use super::rum::RumSettings;
use crate::control::access::Tokens;
use crate::control::cluster::settings::ClusterSettings;
use crate::model::ResponseRate;
use crate::model::xdp::XdpInterface;

/// The settings that the main file gives. Paths are resolved against the directory of that file.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    pub listen: Listen,
    /// The directory of zone files. Default `zones`.
    pub zones: PathBuf,
    /// The directory for what must survive a restart. Default `state`.
    pub state: PathBuf,
    pub geoip: Geoip,
    /// The occasions when files are loaded afresh without being asked. Default [`ReloadWhen::Asked`].
    pub reload: ReloadWhen,
    /// A file with the secret that the admin API asks for (`admin.token_file`). Default none,
    /// which is refused where the admin address is no loopback address.
    pub admin_token_file: Option<PathBuf>,
    /// Those who may ask the admin API (`admin.tokens_file`), as read with the configuration. Default `None`: no such file.
    pub admin_tokens: Option<Tokens>,
    /// Certificates of the admin API (`admin.certificate`). Default none: it speaks HTTP.
    pub admin_tls: Option<AdminTls>,
    /// A socket of this machine where the admin API listens, too (`admin.socket`). Default none.
    pub admin_socket: Option<AdminSocket>,
    /// Threads that answer UDP, per address, and TCP, 1 to 1,024. Default `None`: as many as `cpus`, else one per core.
    pub threads: Option<usize>,
    /// The CPUs these threads run on in turn, each on one alone. Default none: wherever the system puts them.
    pub cpus: Vec<usize>,
    pub udp: Udp,
    pub limits: Limits,
    pub rum: RumSettings,
    /// Who is told of events (`events.webhook`). Default none.
    pub receivers: Vec<Receiver>,
    /// The server's own log.
    pub log: Log,
    /// Which queries are written down. Default `None`: none.
    pub query_log: Option<QueryLog>,
    /// Who is told of queries. Default `None`: nobody.
    pub dnstap: Option<Dnstap>,
    /// The other nodes. Default `None`: there are none.
    pub cluster: Option<ClusterSettings>,
    /// How long the writer may be stalled before the process ends, 15 s to 1 h. Default `None`, `"off"`: never.
    pub watchdog: Option<Duration>,
    /// How long answers go on after the word to stop, while `/ready` says no, 0 s to 5 min. Default 0 s: nobody asks it.
    pub stop_delay: Duration,
    /// True where programs may be run: by zone files, and for events. Default false.
    pub allow_exec: bool,
    /// What this process gives up when it has started. `None`, `"off"`: nothing.
    pub confinement: Option<Confinement>,
    /// The name server identifier (RFC 5001), 1 to 128 octets. Default `None`: none is sent.
    pub nsid: Option<String>,
    /// Seeds the choice among equals. Default 0. All nodes that serve the same zones must have
    /// the same one, or a client's region depends on the node asked.
    pub seed: u64,
}

/// The bounds of a process that answers strangers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Confinement {
    /// Directories and files that programs of the operator's may write, too. Default none.
    pub writes: Vec<PathBuf>,
}

/// The files by which the admin API speaks HTTPS, in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminTls {
    /// With all that lead to it.
    pub certificate: PathBuf,
    pub key: PathBuf,
    /// Those who ask have to show a certificate that leads to one of these. Default none: they need not.
    pub client_ca: Option<PathBuf>,
}

/// A Unix socket of the admin API. Whoever may write to it may do everything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminSocket {
    pub path: PathBuf,
    /// Permissions, 0 to 0o777 (`admin.socket_mode`). Default 0o600: the server's own user.
    pub mode: u32,
}

/// The addresses to listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// UDP and TCP; at least one. Default `0.0.0.0:53` and `[::]:53`.
    pub dns: Vec<SocketAddr>,
    /// HTTP API and metrics. Default `127.0.0.1:8053`; `None` where the file says `"off"`.
    pub admin: Option<SocketAddr>,
    /// The address where browsers get plans of what to measure, and report it. Default `None`, `"off"`.
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

/// The settings by which UDP sockets are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Udp {
    /// Datagrams moved by one system call at most, 1 to 1,024. Default 32: more gain nothing, and let
    /// the first reply of a batch wait for the others.
    pub batch: usize,
    /// The most that the kernel may hold for a socket, in octets, 4 KiB to 1 GiB. Default `None`: 4 MiB, or as
    /// much of it as the system gives.
    pub receive_buffer: Option<usize>,
    pub send_buffer: Option<usize>,
    /// The time that threads look for packets at the interface before they sleep, 1 µs to 10 ms.
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
    /// True where a start without one of them, or a good copy of it, is refused (`geoip_required`). Default false:
    /// no answers are worse than those that go by less.
    pub required: bool,
}

/// The occasions when the configuration is loaded afresh.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReloadWhen {
    /// On SIGHUP, or through the admin API.
    #[default]
    Asked,
    /// Also when its files have changed, and were then left alone for half a second.
    Watch,
}

/// The most that the server lends to strangers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Responses over UDP to one /24 or /56; default `None`: any number.
    pub udp_rate: Option<ResponseRate>,
    /// TCP connections in all, 1 to 1,000,000. Default 1,000.
    pub tcp_connections: usize,
    /// TCP connections from one /24 or /56, and four times as many from one /48, 1 to 1,000,000. Default 50.
    pub tcp_per_network: usize,
    /// The time that a TCP connection may be idle, 100 ms to 10 min. Default 10 s.
    pub tcp_idle: Duration,
    /// The time that one message may take to arrive over TCP, 100 ms to 10 min. Default 5 s.
    pub tcp_message: Duration,
    /// Connections of all probes at once, 1 to 10,000, and within the files this process may open. Default 10,000: a
    /// connection is only taken when it is needed.
    pub probes: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            udp_rate: None,
            tcp_connections: 1_000,
            tcp_per_network: 50,
            tcp_idle: Duration::from_secs(10),
            tcp_message: Duration::from_secs(5),
            probes: 10_000,
        }
    }
}
