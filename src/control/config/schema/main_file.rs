//! The settings of the main file, `meridian.toml`.

use schemars::JsonSchema;

use super::check::Check;
use super::values::{Address, AddressPort, All, Duration, Location, Network, OneOrMany, OrOff, Path, Url};

/// The main file: where to listen, what to read, which limits hold. Everything has a default: the file may be
/// empty. Paths are relative to the directory of this file.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, title = "meridian.toml")]
pub struct MainFile {
    /// Where to listen.
    pub listen: Option<Listen>,
    /// Who may use the admin API.
    pub admin: Option<Admin>,
    /// The directory whose `*.toml` files, other than hidden ones, are zones.
    ///
    /// Range: 1 to 10,000 zone files.
    #[schemars(extend("default" = "zones"))]
    pub zones: Option<Path>,
    /// The directory of what is kept over restarts: `overrides.json`, what operators said of regions;
    /// `switches.json`, of stages and canaries; `node.json`, of [this node](anycast.md); `latency.json`, [measured round
    /// trips](latency.md); `steering.kept`, demand, loads, health and the plan as of at most 30 s before, and
    /// `health.kept`, regions' health as of now, for a [warm start](configuration.md#warm-starts); `databases/`,
    /// [copies of databases](configuration.md#databases); `events.jsonl` and `events.jsonl.1`, [events](events.md);
    /// `audit.jsonl` and `audit.jsonl.1` to `.4`, [who asked for changes](api.md#the-record-of-changes);
    /// `receivers.json`, how far their receivers have come; `rum.key`; `lock`; `replace.sock`, for
    /// [upgrades](configuration.md#upgrades). [One server](configuration.md#the-state-directory) at a time. Whoever
    /// changes one of the JSON files by hand takes its `sha256` out.
    #[schemars(extend("default" = "state"))]
    pub state: Option<Path>,
    /// MaxMind-format databases, read as closely as the services' policies need; a replaced file is picked up while
    /// serving.
    ///
    /// Range: up to 64.
    pub geoip: Option<Geoip>,
    /// Whether a start is refused where a [bad database](configuration.md#databases) has no good copy.
    #[schemars(extend("default" = false))]
    pub geoip_required: Option<bool>,
    /// `"watch"`: files that change are loaded [by themselves](configuration.md#reloads).
    #[schemars(extend("default" = "asked", "enum" = ["asked", "watch"]))]
    pub reload: Option<String>,
    /// Where clients count as being that no network and no database knows; without it they are equally far from all
    /// regions.
    pub default_location: Option<Location>,
    /// Your own networks; they win over databases.
    ///
    /// Range: up to 100,000.
    pub network: Option<Vec<OwnNetwork>>,
    /// Whether programs may be run: by zone files, with [`check.exec`](health-checks.md#exec), and by
    /// `[[events.command]]`.
    #[schemars(extend("default" = false))]
    pub allow_exec: Option<bool>,
    /// What the server [gives up](configuration.md#confinement) once it has started.
    ///
    /// Default: on.
    pub confinement: Option<OrOff<Confinement>>,
    /// Seeds the choice among equals; the same on all nodes, so that they agree.
    ///
    /// Range: 0 to 18446744073709551615.
    #[schemars(extend("default" = 0))]
    pub seed: Option<u64>,
    /// Threads that answer UDP, for each address of `listen.dns`, and as many that answer TCP.
    ///
    /// Default: as many as `cpus`, else one per core.
    #[schemars(range(min = 1, max = 1024))]
    pub threads: Option<u64>,
    /// The CPUs these threads run on: the first of each address, and of each interface of `listen.xdp`, on the
    /// first CPU alone, and so on in turn; without it they run wherever the system puts them.
    ///
    /// Range: 0 to 1,023, none twice.
    pub cpus: Option<OneOrMany<u64>>,
    /// How UDP sockets are read and written.
    pub udp: Option<UdpSockets>,
    /// The server's own log. A change takes a restart.
    pub log: Option<Log>,
    /// A line for each query, or for some: the [query log](logs.md#the-query-log). A change takes a restart.
    pub query_log: Option<QueryLog>,
    /// Queries and responses as [dnstap](logs.md#dnstap) has them. A change takes a restart.
    pub dnstap: Option<Dnstap>,
    /// Who is told of events.
    pub events: Option<Events>,
    /// How long the [writer may be silent](configuration.md#when-the-writer-stands-still) before the process ends,
    /// for a supervisor to start it again.
    ///
    /// Range: 15 s to 1 h.
    #[schemars(extend("default" = "off"))]
    pub watchdog: Option<OrOff<Duration>>,
    /// How long answers go on after SIGTERM or SIGINT while [`/ready`](anycast.md) says no, so that routers
    /// withdraw first; a second signal ends the wait.
    ///
    /// Range: 0 s to 5 min.
    #[schemars(extend("default" = "0s"))]
    pub stop_delay: Option<Duration>,
    /// Name server identifier, sent to who asks (RFC 5001).
    ///
    /// Range: 1 to 128 octets.
    #[schemars(length(min = 1, max = 128))]
    pub nsid: Option<String>,
    /// What is known of this server's own health, and of its peers' verdicts.
    pub health: Option<Health>,
    /// What keeps answers from changing more than they must.
    pub steering: Option<Steering>,
    /// Round trips that browsers measure.
    pub rum: Option<Rum>,
    /// What there may be at most.
    pub limits: Option<Limits>,
    /// The other nodes.
    pub cluster: Option<Cluster>,
}

/// Where to listen. A change takes a restart.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, title = "[listen]")]
pub struct Listen {
    /// Where DNS is answered, over UDP and TCP.
    ///
    /// Range: 1 to 64, none twice.
    #[schemars(extend("default" = ["0.0.0.0:53", "[::]:53"]))]
    pub dns: Option<OneOrMany<AddressPort>>,
    /// HTTP API, metrics and [dashboard](dashboard.md); beyond loopback it takes `admin.token_file` or
    /// `admin.tokens_file`: [api.md](api.md#who-may-ask); at 64 connections, one that waits for its client closes
    /// for a newcomer.
    #[schemars(extend("default" = "127.0.0.1:8053"))]
    pub admin: Option<OrOff<AddressPort>>,
    /// Where browsers get plans and report round trips, over plain HTTP: see [latency.md](latency.md).
    #[schemars(extend("default" = "off"))]
    pub rum: Option<OrOff<AddressPort>>,
    /// Interfaces on which UDP queries to `listen.dns` pass the kernel's stack by: [xdp.md](xdp.md).
    ///
    /// Range: up to 16, no interface twice.
    #[schemars(extend("default" = []))]
    pub xdp: Option<Vec<Xdp>>,
}

/// An interface on which UDP queries pass the kernel's stack by: [xdp.md](xdp.md).
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, title = "[[listen.xdp]]")]
pub struct Xdp {
    /// Its name, such as `"eth0"`; one that is not there is said in the log, and the sockets serve.
    ///
    /// Range: 1 to 15 octets.
    pub interface: String,
    /// Receive queues that get a thread each; packets of others go to the sockets.
    ///
    /// Range: 0 to 255, none twice.
    #[schemars(extend("default" = "all"))]
    pub queues: Option<Queues>,
    /// Whether plain questions are answered in the kernel: [kernel-answers.md](kernel-answers.md).
    #[schemars(extend("default" = false))]
    pub kernel_answers: Option<bool>,
}

/// Who may use the admin API: [api.md](api.md#who-may-ask).
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, title = "[admin]")]
pub struct Admin {
    /// A file with the secret that the admin API asks for; a regular one of at most 4 KiB, and only its owner
    /// should be able to read it.
    ///
    /// Range: the token: 16 characters or more.
    pub token_file: Option<Path>,
    /// A file of [tokens with names and roles](api.md#who-may-ask), which hold beside `admin.token_file`; read with
    /// each reload.
    ///
    /// Range: up to 256 tokens, 256 KiB.
    pub tokens_file: Option<Path>,
    /// The admin API [speaks HTTPS](api.md#tls) with this certificate and all that lead to it.
    ///
    /// Range: PEM, with `admin.key`.
    pub certificate: Option<Path>,
    /// Its key.
    ///
    /// Range: PEM, with `admin.certificate`.
    pub key: Option<Path>,
    /// Those who ask have to show a certificate that leads to one of these.
    ///
    /// Range: PEM, with both.
    pub client_ca: Option<Path>,
    /// A Unix socket where the admin API listens, too; whoever may write to it may do everything.
    pub socket: Option<Path>,
    /// Its permissions, in octal.
    ///
    /// Range: `"000"` to `"777"`.
    #[schemars(extend("default" = "600"))]
    pub socket_mode: Option<String>,
}

/// What the server [gives up](configuration.md#confinement) once it has started. A change takes a restart.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, title = "[confinement]")]
pub struct Confinement {
    /// Directories and files that programs may write, beside `state`, `/tmp`, `/var/tmp` and `/dev/null`.
    ///
    /// Range: up to 64.
    #[schemars(extend("default" = []))]
    pub writes: Option<OneOrMany<Path>>,
}

/// The same as `geoip = […]`, for who writes a table.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, title = "[geoip]")]
pub struct GeoipTable {
    /// MaxMind-format databases.
    pub databases: OneOrMany<Path>,
}

/// One of your own networks, which win over databases.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, title = "[[network]]")]
pub struct OwnNetwork {
    /// Such as `"10.0.0.0/8"` or `"2001:db8::/32"`; the longest prefix wins.
    ///
    /// Range: no host bits, none twice.
    pub cidr: Network,
    /// Where that network is.
    pub location: Location,
}

/// How UDP sockets are read and written.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, title = "[udp]")]
pub struct UdpSockets {
    /// Datagrams that one system call takes or sends at most.
    #[schemars(extend("default" = 32), range(min = 1, max = 1024))]
    pub batch: Option<u64>,
    /// Octets that may wait in each UDP socket; beyond `net.core.rmem_max` it takes CAP_NET_ADMIN.
    ///
    /// Default: 4194304, or what the system gives.
    #[schemars(range(min = 4096, max = 1073741824))]
    pub receive_buffer: Option<u64>,
    /// Octets that may wait in each UDP socket on the way out; beyond `net.core.wmem_max` it takes CAP_NET_ADMIN.
    ///
    /// Default: 4194304, or what the system gives.
    #[schemars(range(min = 4096, max = 1073741824))]
    pub send_buffer: Option<u64>,
    /// How long a thread looks for packets at the interface itself before it sleeps; shorter waits for a core that
    /// is never idle; beyond `net.core.busy_read` it takes CAP_NET_ADMIN.
    ///
    /// Range: 1 us to 10 ms.
    #[schemars(extend("default" = "off"))]
    pub busy_poll: Option<OrOff<Duration>>,
}

/// [The server's own log](logs.md#the-servers-own-log).
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, title = "[log]")]
pub struct Log {
    /// What goes to it; `--log` and `MERIDIAN_LOG` go before this.
    #[schemars(extend("default" = "info"))]
    pub level: Option<String>,
    /// How its lines look; `--log-format` goes before this.
    #[schemars(extend("default" = "text", "enum" = ["text", "json"]))]
    pub format: Option<String>,
}

/// A line for each query: the [query log](logs.md#the-query-log). It goes to `file`, or to `stdout`, or to both.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, title = "[query_log]")]
pub struct QueryLog {
    /// Where lines go. Without it `stdout` has to be true.
    pub file: Option<Path>,
    /// Octets of that file at most; then it becomes `FILE.1`, and so on.
    #[schemars(extend("default" = 100_000_000), range(min = 1_000_000, max = 1_000_000_000_000_u64))]
    pub file_octets: Option<u64>,
    /// Full files that are kept beside it.
    #[schemars(extend("default" = 4), range(min = 0, max = 100))]
    pub files: Option<u64>,
    /// Whether lines go to standard output.
    #[schemars(extend("default" = false))]
    pub stdout: Option<bool>,
    /// One query in so many, by chance.
    #[schemars(extend("default" = 1), range(min = 1, max = 1_000_000))]
    pub one_in: Option<u64>,
    /// Lines in a second at most.
    #[schemars(extend("default" = 1000), range(min = 1, max = 1_000_000))]
    pub per_second: Option<u64>,
    /// `"network"`: of clients' addresses and subnets only the /24 or /48 is written.
    #[schemars(extend("default" = "whole", "enum" = ["whole", "network"]))]
    pub clients: Option<String>,
}

/// Queries and responses as [dnstap](logs.md#dnstap) has them.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, title = "[dnstap]")]
pub struct Dnstap {
    /// Where the reader listens: `"unix:PATH"` or `"tcp:ADDRESS:PORT"`.
    pub to: String,
    /// What this server is called there.
    ///
    /// Default: `nsid`, or the machine's name. Range: 1 to 255 octets.
    pub identity: Option<String>,
    /// The version that is told there.
    ///
    /// Default: `meridian` and its version. Range: 1 to 255 octets.
    pub version: Option<String>,
    /// One query in so many, with its response.
    #[schemars(extend("default" = 1), range(min = 1, max = 1_000_000))]
    pub one_in: Option<u64>,
}

/// Who is told of [events](events.md#receivers).
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, title = "[events]")]
pub struct Events {
    /// Who is told of [events](events.md#receivers) by HTTP; taken at a reload.
    ///
    /// Range: up to 16.
    pub webhook: Option<Vec<Webhook>>,
    /// Programs that are given [events](events.md#receivers).
    ///
    /// Range: up to 16, refused without `allow_exec`.
    pub command: Option<Vec<EventCommand>>,
}

/// A receiver of events by HTTP.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, title = "[[events.webhook]]")]
pub struct Webhook {
    /// Where; its path is kept a secret.
    ///
    /// Range: http or https.
    pub url: Url,
    /// What it is called in the log, the status and the state directory.
    ///
    /// Default: scheme and host of the URL. Range: up to 64 octets, none twice.
    pub name: Option<String>,
    /// The [form](events.md#receivers) of what is sent.
    #[schemars(extend("default" = "generic", "enum" = ["generic", "slack"]))]
    pub format: Option<String>,
    /// A file with the secret that bodies are signed with; read for each of them.
    ///
    /// Range: the secret: 16 characters or more.
    pub secret_file: Option<Path>,
    /// The certificates that an https URL's must lead to.
    ///
    /// Default: the system's roots. Range: PEM.
    pub ca_file: Option<Path>,
    /// Events of these regions alone, `NAME` or `NAME@ZONE`.
    ///
    /// Default: all events. Range: up to 100.
    pub regions: Option<OneOrMany<String>>,
    /// Events at least as severe, [as the log has it](events.md#the-log).
    #[schemars(extend("default" = "info", "enum" = ["info", "warning", "error"]))]
    pub least: Option<String>,
}

/// A program that is given events.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, title = "[[events.command]]")]
pub struct EventCommand {
    /// The program and its arguments.
    ///
    /// Range: up to 64, an absolute path first.
    pub command: Vec<String>,
    /// How long it may take.
    ///
    /// Range: 100 ms to 5 min.
    #[schemars(extend("default" = "10s"))]
    pub timeout: Option<Duration>,
    /// What it is called in the log, the status and the state directory.
    ///
    /// Default: the program's path.
    pub name: Option<String>,
    /// Events of these regions alone, `NAME` or `NAME@ZONE`.
    ///
    /// Default: all events. Range: up to 100.
    pub regions: Option<OneOrMany<String>>,
    /// Events at least as severe, [as the log has it](events.md#the-log).
    #[schemars(extend("default" = "info", "enum" = ["info", "warning", "error"]))]
    pub least: Option<String>,
}

/// What tells whether this server itself is cut off, and how the verdicts of several become one.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, title = "[health]")]
pub struct Health {
    /// What tells whether [this server itself is cut off](health-checks.md#when-this-server-is-cut-off):
    /// `"192.0.2.1:443"`, which must accept a connection, or a table.
    ///
    /// Range: up to 16.
    #[schemars(extend("default" = []))]
    pub reference: Option<Vec<Reference>>,
    /// How the verdicts of [several vantages](health-checks.md#several-vantages) become one; means nothing where
    /// there is one node.
    #[schemars(extend("default" = "majority", "enum" = ["majority", "any", "own"]))]
    pub vote: Option<String>,
}

/// Who is asked, and what.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, title = "a reference")]
pub struct ReferenceTable {
    /// Who is asked.
    ///
    /// Range: IPv4 or IPv6 address.
    pub address: Address,
    /// What is asked; its pace and thresholds are not used, and it waits for 1 s at most.
    ///
    /// Range: one [check](configuration.md#check).
    pub check: Check,
}

/// What keeps answers from changing more often, or more of them at once, than they must:
/// [steering](configuration.md#steering).
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, title = "[steering]")]
pub struct Steering {
    /// A region that goes down again and again [stays out](configuration.md#steering) for a while.
    #[schemars(extend("default" = {}))]
    pub damping: Option<OrOff<Damping>>,
    /// How much of a zone [probes may withdraw](configuration.md#steering) at once.
    #[schemars(extend("default" = { "share": 0.5 }))]
    pub max_withdrawn: Option<OrOff<MaxWithdrawn>>,
    /// How much farther than the nearest region clients may be sent [without believed
    /// evidence](configuration.md#steering); `"0s"`: any distance.
    ///
    /// Range: 0 ms to 10 s.
    #[schemars(extend("default" = "60ms"))]
    pub max_detour: Option<Duration>,
    /// The part of one core that [plans](configuration.md#steering) may take on average.
    #[schemars(extend("default" = 0.3), range(min = 0.05, max = 1))]
    pub planning_cpu: Option<f64>,
    /// How much longer than their TTL answers are taken to be used, where a drain is waited for.
    ///
    /// Range: 0 ms to 1 h.
    #[schemars(extend("default" = "1m"))]
    pub drain_allowance: Option<Duration>,
}

/// How long a region that goes down again and again stays out.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, title = "steering.damping")]
pub struct Damping {
    /// How soon half of its falls are forgiven.
    ///
    /// Range: 1 s to 1 h.
    #[schemars(extend("default" = "5m"))]
    pub half_life: Option<Duration>,
    /// It stays out while its falls, so forgiven, add up to more.
    #[schemars(extend("default" = 1.6), range(min = 0.1, max = 100))]
    pub limit: Option<f64>,
}

/// How much of a zone probes may withdraw at once. One of `share` and `regions`.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, title = "steering.max_withdrawn")]
pub struct MaxWithdrawn {
    /// How much may be withdrawn at once, as a part of the zone's regions, rounded up.
    ///
    /// Default: this or `regions`. Range: above 0, up to 1.
    pub share: Option<f64>,
    /// How much may be withdrawn at once, as a number of regions.
    ///
    /// Default: this or `share`.
    #[schemars(range(min = 1, max = 1024))]
    pub regions: Option<u64>,
    /// What counts as at once.
    ///
    /// Range: 1 s to 1 h.
    #[schemars(extend("default" = "1m"))]
    pub window: Option<Duration>,
}

/// Round trips that browsers measure: [latency.md](latency.md).
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, title = "[rum]")]
pub struct Rum {
    /// A file with the secret that signs tokens, read as `admin.token_file` is; the same on all nodes that hand out
    /// plans.
    ///
    /// Default: one is made in `state`. Range: the key: 32 characters or more.
    pub key_file: Option<Path>,
    /// Whose `X-Forwarded-For` is believed.
    ///
    /// Range: up to 1,000.
    pub trusted_proxies: Option<OneOrMany<Network>>,
    /// After how long a sample counts half.
    ///
    /// Range: 1 h to 720 h.
    #[schemars(extend("default" = "24h"))]
    pub half_life: Option<Duration>,
    /// How many samples it takes for a figure.
    pub min_samples: Option<MinSamples>,
    /// Plans and reports per second from one /24 or /48.
    #[schemars(extend("default" = 5), range(min = 1, max = 10000))]
    pub per_network: Option<u64>,
    /// Plans and reports per second in all.
    #[schemars(extend("default" = 500), range(min = 1, max = 100000))]
    pub per_second: Option<u64>,
}

/// How many samples it takes for a figure.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, title = "rum.min_samples")]
pub struct MinSamples {
    /// Samples per region it takes for a figure of a /24 or /48.
    #[schemars(extend("default" = 20), range(min = 1, max = 1000000))]
    pub network: Option<u64>,
    /// Samples per region it takes for a figure of an operator (ASN) in a country.
    #[schemars(extend("default" = 50), range(min = 1, max = 1000000))]
    pub operator: Option<u64>,
    /// Samples per region it takes for a figure of a country.
    #[schemars(extend("default" = 100), range(min = 1, max = 1000000))]
    pub country: Option<u64>,
}

/// What there may be at most. A change takes a restart.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, title = "[limits]")]
pub struct Limits {
    /// Responses a second over UDP to one /24 or /56; a second's worth may come at once. Those beyond are truncated
    /// or left out, so that who forges sources gains nothing by this server. While it is set, nothing is [answered
    /// in the kernel](kernel-answers.md).
    ///
    /// Default: any number.
    #[schemars(range(min = 1, max = 1000000))]
    pub udp_per_network: Option<u64>,
    /// Of the messages beyond `udp_per_network`, one in so many gets an empty response with TC, so that a real
    /// resolver comes again over TCP; 0: none.
    #[schemars(extend("default" = 2), range(min = 0, max = 100))]
    pub udp_truncated: Option<u64>,
    /// Networks that `udp_per_network` does not hold for.
    ///
    /// Range: 0 to 1,000.
    pub udp_trusted: Option<OneOrMany<Network>>,
    /// TCP connections in all; for one more, the one that has waited longest without a whole message closes.
    #[schemars(extend("default" = 1000), range(min = 1, max = 1000000))]
    pub tcp_connections: Option<u64>,
    /// TCP connections from one /24 or /56, and four times as many from one /48; for one more, another of that
    /// network closes.
    #[schemars(extend("default" = 50), range(min = 1, max = 1000000))]
    pub tcp_per_network: Option<u64>,
    /// How long a TCP connection may be idle; shrinks to 1 s while `tcp_connections` fill up from half to all.
    ///
    /// Range: 100 ms to 10 min.
    #[schemars(extend("default" = "10s"))]
    pub tcp_idle: Option<Duration>,
    /// How long one message may take to arrive over TCP; shrinks as `tcp_idle` does.
    ///
    /// Range: 100 ms to 10 min.
    #[schemars(extend("default" = "5s"))]
    pub tcp_message: Option<Duration>,
    /// Connections of all probes at once, [taken as they are needed](configuration.md#checks-and-silence).
    ///
    /// Default: `10000`, or as many as this process may open files beside everything else.
    #[schemars(range(min = 1, max = 10000))]
    pub probes: Option<u64>,
}

/// The other nodes: [cluster](configuration.md#cluster).
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, title = "[cluster]")]
pub struct Cluster {
    /// The cluster's name: its keys in etcd are below `/meridian/NAME/`, so that several clusters can share one
    /// etcd.
    ///
    /// Range: 1 to 63 letters, digits, `-` and `_`.
    pub name: String,
    /// This node's name, another one on each; where the host name does not fit, it must be given.
    ///
    /// Default: the first label of the host name. Range: 1 to 63 letters, digits, `-` and `_`.
    pub node: Option<String>,
    /// The members of etcd, without a path; those that do not answer are passed over.
    ///
    /// Range: 1 to 16, `http` or `https`, none twice.
    pub etcd: OneOrMany<Url>,
    /// The certificates that etcd's must lead to.
    ///
    /// Default: the system's roots. Range: PEM; `https` only.
    pub etcd_ca: Option<Path>,
    /// The certificate that this node shows to etcd.
    ///
    /// Range: PEM; with `etcd_key`, `https` only.
    pub etcd_certificate: Option<Path>,
    /// Its private key.
    ///
    /// Range: PEM; with `etcd_certificate`.
    pub etcd_key: Option<Path>,
    /// The user that this node is to etcd.
    ///
    /// Range: 1 to 256 octets; with `etcd_password_file`.
    pub etcd_user: Option<String>,
    /// A file with that user's password: the configuration itself may be read by more people.
    ///
    /// Range: with `etcd_user`.
    pub etcd_password_file: Option<Path>,
    /// How nodes send each other messages.
    ///
    /// Range: a token or certificates.
    pub peers: Peers,
    /// Whether all nodes answer at the same addresses, and the network decides which of them a resolver reaches.
    #[schemars(extend("default" = false))]
    pub anycast: Option<bool>,
}

/// How nodes send each other messages: with `token_file`, or with `ca`, `certificate` and `key`.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, title = "[cluster.peers]")]
pub struct Peers {
    /// Where messages of other nodes are taken; no default, since it should be reached by nodes alone.
    pub listen: AddressPort,
    /// Where other nodes reach this one; required where `listen` is every address, `0.0.0.0` or `::`.
    ///
    /// Default: that of `listen`.
    pub address: Option<AddressPort>,
    /// A file with a secret that all nodes have, read as `admin.token_file` is.
    ///
    /// Default: this or certificates. Range: the token: 16 characters or more.
    pub token_file: Option<Path>,
    /// The certificates that those of nodes must lead to.
    ///
    /// Default: these three or a token. Range: PEM.
    pub ca: Option<Path>,
    /// This node's certificate.
    ///
    /// Range: PEM.
    pub certificate: Option<Path>,
    /// Its private key.
    ///
    /// Range: PEM.
    pub key: Option<Path>,
}

/// A database's path, several of them, or a table.
#[derive(JsonSchema)]
#[schemars(untagged, inline)]
pub enum Geoip {
    Paths(OneOrMany<Path>),
    Table(GeoipTable),
}

/// `"all"`, a number, or several.
#[derive(JsonSchema)]
#[schemars(untagged, inline)]
pub enum Queues {
    All(All),
    Some(OneOrMany<u64>),
}

/// An address and port, or a table.
#[derive(JsonSchema)]
#[schemars(untagged, inline)]
pub enum Reference {
    At(AddressPort),
    Table(Box<ReferenceTable>),
}
