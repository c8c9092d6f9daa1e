//! Regions: places where a service runs, with what to hand out, what to ask, what to believe.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::{Coordinates, LoadReport, Location, Name, RecordType, ZoneId};

/// A place where the service runs: location, capacity, cost, endpoints, checks, load report.
#[derive(Clone, Debug, PartialEq)]
pub struct Region {
    /// As written in the zone file; unique in its zone.
    pub name: Box<str>,
    /// The zone whose file defines it.
    pub zone: ZoneId,
    pub location: Location,
    /// Always known: from the file, or the centroid of its country.
    pub coordinates: Coordinates,
    /// In the unit its load report counts in; above 0. `None`: unlimited, until a report says.
    pub capacity: Option<f64>,
    /// Dollars per million requests; 0 or more.
    pub cost: f64,
    /// At least one.
    pub endpoints: Vec<Endpoint>,
    /// The way each endpoint is probed; `None`: always up.
    pub checks: Option<Checks>,
    pub load_report: Option<LoadReport>,
    pub load_limits: LoadLimits,
    /// The URL that browsers fetch to measure how far it is; an http or https URL. `None`: they do not.
    pub rum_url: Option<String>,
    /// The region is up while at least this many endpoints are; 1 to the number of endpoints.
    pub min_healthy: usize,
    /// The time it takes from a tenth of its capacity to all of it when it comes back. Default 180 s; 0 (none) to
    /// 1 h.
    pub slow_start: Duration,
    /// From when on probes are slow, and what follows. Default `None`: however long they take is well.
    pub slow_probes: Option<SlowProbes>,
    /// How it comes back once its probes took it down. Default by itself.
    pub resume: Resume,
    /// For how long its probes must say without a break that it serves before it is back, once they took it down.
    /// Default 0; up to 24 h.
    pub failback_delay: Duration,
}

/// The bound on how long successful probes of an endpoint may take, and what the region offers where they take longer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SlowProbes {
    /// A whole probe, from the name's resolution to the answer's end; 1 ms to 60 s.
    pub above: Duration,
    /// The part of its capacity that a region offers whose endpoints are all slow; 0.1 to 1. Default 0.5.
    pub offer: f64,
}

impl SlowProbes {
    /// The usual [`SlowProbes::offer`].
    pub const OFFER: f64 = 0.5;
}

/// What brings back a region that its probes took down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Resume {
    /// Its probes.
    #[default]
    Auto,
    /// An operator's word, once its probes say up again: for what must be looked at first, such as a database.
    Manual,
}

/// From which load on a region is handed out less, or no more, under every policy.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LoadLimits {
    /// Default `None`: nothing is shed.
    pub shed: Option<Watermarks>,
    /// In the unit of the load report, above 0: from there on it is not handed out, until its load
    /// has fallen below 0.9 of it. Default `None`.
    pub limit: Option<f64>,
}

/// Utilisations, load over capacity; `0 < low < high`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Watermarks {
    /// From here on it is handed out to fewer clients.
    pub low: f64,
    /// From here on to no new ones.
    pub high: f64,
}

impl Region {
    /// The usual [`Region::slow_start`].
    pub const SLOW_START: Duration = Duration::from_secs(180);

    /// A region of which nothing more is said: no capacity, never probed, without a load report, and all else by
    /// default.
    pub fn new(name: impl Into<Box<str>>, zone: ZoneId, coordinates: Coordinates, endpoints: Vec<Endpoint>) -> Region {
        Region {
            name: name.into(),
            zone,
            location: Location::default(),
            coordinates,
            capacity: None,
            cost: 0.0,
            endpoints,
            checks: None,
            load_report: None,
            load_limits: LoadLimits::default(),
            rum_url: None,
            min_healthy: 1,
            slow_start: Region::SLOW_START,
            slow_probes: None,
            resume: Resume::default(),
            failback_delay: Duration::ZERO,
        }
    }

    /// The name that finds this region whatever other zones hold: `seoul@gslb.example.com`.
    /// Overrides are stored under it.
    pub fn qualified_name(&self, origin: &Name) -> String {
        let origin = origin.to_lowercase().to_string();
        format!("{}@{}", self.name, origin.strip_suffix('.').unwrap_or(&origin))
    }
}

/// One address pair or host name of a region's L4 or L7 balancer: what the DNS hands out.
#[derive(Clone, Debug, PartialEq)]
pub struct Endpoint {
    pub target: EndpointTarget,
    /// Relative share of the region's clients; 1 to 1,000,000.
    pub weight: u32,
    pub layer: Layer,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EndpointTarget {
    /// At least one address; families may be mixed, and a family may have several.
    Addresses(Vec<IpAddr>),
    /// Handed out as a CNAME.
    Host(Name),
}

impl Endpoint {
    /// One address with the usual weight and layer.
    pub fn at(address: IpAddr) -> Endpoint {
        Endpoint { target: EndpointTarget::Addresses(vec![address]), weight: 1, layer: Layer::default() }
    }

    /// The name of this endpoint in reports: its first address or its host name.
    pub fn label(&self) -> String {
        match &self.target {
            EndpointTarget::Addresses(addresses) => addresses.first().map_or_else(String::new, IpAddr::to_string),
            EndpointTarget::Host(host) => host.to_string(),
        }
    }
}

/// The kind of balancer that answers at an endpoint. Meridian hands out both alike and reports it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Layer {
    L4,
    #[default]
    L7,
}

/// The checks that each endpoint of a region is put to.
#[derive(Clone, Debug, PartialEq)]
pub struct Checks {
    /// 1 to [`Checks::MOST`], each with a name of its own.
    pub members: Vec<MemberCheck>,
    /// So many of those that vote must pass; 1 to their number, 0 where none votes.
    pub needed: usize,
}

/// One of the checks.
#[derive(Clone, Debug, PartialEq)]
pub struct MemberCheck {
    /// Empty where it is the only one and was given none.
    pub name: Arc<str>,
    pub role: CheckRole,
    pub check: Check,
}

/// The say that a check has in the verdict of an endpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CheckRole {
    /// One of those of which so many must pass.
    #[default]
    Vote,
    /// Must pass whatever the others say.
    MustPass,
    /// None: it is asked and shown.
    WatchOnly,
}

impl CheckRole {
    pub const fn as_str(self) -> &'static str {
        match self {
            CheckRole::Vote => "vote",
            CheckRole::MustPass => "must_pass",
            CheckRole::WatchOnly => "watch_only",
        }
    }
}

impl Checks {
    /// Members at most.
    pub const MOST: usize = 16;

    /// The check that stands for all where only one can be told of: the first that has a say, else the first.
    pub fn foremost(&self) -> Option<&MemberCheck> {
        let counts = |member: &&MemberCheck| member.role != CheckRole::WatchOnly;
        self.members.iter().find(counts).or(self.members.first())
    }
}

/// One check, which must pass.
impl From<Check> for Checks {
    fn from(check: Check) -> Checks {
        Checks { members: vec![MemberCheck { name: "".into(), role: CheckRole::Vote, check }], needed: 1 }
    }
}

/// The question asked of each endpoint, how often, and how many answers make a verdict.
#[derive(Clone, Debug, PartialEq)]
pub struct Check {
    pub kind: CheckKind,
    /// From the start of one probe to the start of the next. Default 5 s; 100 ms to 1 h.
    pub interval: Duration,
    /// For the whole probe. Default 2 s; 10 ms to 60 s.
    pub timeout: Duration,
    /// Consecutive failures that take an endpoint down. Default 3; 1 to 100.
    pub fall: u32,
    /// Consecutive successes that bring it back. Default 3; 1 to 100.
    pub rise: u32,
    /// For so long after it is first watched, failures of an endpoint that has not succeeded yet are not counted: it
    /// may be starting. Default 0; up to 1 h.
    pub grace: Duration,
}

impl Check {
    /// This check at the usual pace.
    pub fn new(kind: CheckKind) -> Check {
        let (interval, timeout) = (Check::INTERVAL, Check::TIMEOUT);
        Check { kind, interval, timeout, fall: Check::FALL, rise: Check::RISE, grace: Duration::ZERO }
    }

    pub const INTERVAL: Duration = Duration::from_secs(5);
    pub const TIMEOUT: Duration = Duration::from_secs(2);
    pub const FALL: u32 = 3;
    pub const RISE: u32 = 3;
}

#[derive(Clone, Debug, PartialEq)]
pub enum CheckKind {
    /// A TCP connection to the endpoint's address is accepted.
    Tcp { port: u16 },
    /// What comes back over it is as expected, too.
    TcpExchange(ExchangeCheck),
    /// A datagram to the endpoint's address is answered by one as expected.
    Udp(ExchangeCheck),
    /// A TLS handshake over a TCP connection comes about.
    Tls { port: u16, tls: TlsCheck },
    /// A question over UDP, and TCP where it takes it, is answered as expected.
    Dns(DnsCheck),
    /// The health service of a gRPC server says SERVING.
    Grpc(GrpcCheck),
    /// An ICMP echo request to the endpoint's address is answered by its reply.
    Icmp,
    /// A heartbeat of the endpoint came within `max_age`, 1 s to 24 h: the only kind that asks nobody.
    Push { max_age: Duration },
    /// A program of the operator's ends with exit status 0.
    Exec(ExecCheck),
    /// An HTTP request to the endpoint's own address answers as expected.
    Http(HttpCheck),
}

/// A question to a name server, and what its response must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsCheck {
    /// Default 53.
    pub port: u16,
    pub name: Name,
    /// Default A.
    pub rtype: RecordType,
    /// One of [`DnsCheck::RCODES`]. Default 0, NOERROR.
    pub rcode: u16,
    /// True where the answer section must hold a record. Default: with NOERROR.
    pub wants_answer: bool,
    /// True where a resolver is asked: sets the bit RD (RFC 1035 section 4.1.1). Default false.
    pub recursive: bool,
}

impl DnsCheck {
    /// What responses to plain queries say (RFC 1035 section 4.1.1).
    pub const RCODES: [(&str, u16); 6] =
        [("NOERROR", 0), ("FORMERR", 1), ("SERVFAIL", 2), ("NXDOMAIN", 3), ("NOTIMP", 4), ("REFUSED", 5)];
}

/// A call of `grpc.health.v1.Health/Check`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrpcCheck {
    /// Verify and encrypt with TLS.
    pub tls: Option<TlsCheck>,
    pub port: u16,
    /// Whose health is asked for, up to 255 octets. Default empty: the whole server's.
    pub service: String,
    /// The authority. `None`: the endpoint's own address.
    pub host: Option<String>,
}

/// A program that is run for each address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecCheck {
    /// An absolute path.
    pub program: String,
    /// Up to 63; `{address}` in them stands for the endpoint's address.
    pub arguments: Vec<String>,
}

/// Octets to send, and those that must come back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExchangeCheck {
    pub port: u16,
    /// 1 to 1,024 octets over UDP; over TCP also none.
    pub send: Vec<u8>,
    /// They must stand in what comes back first, within its 4,096 octets. Up to 1,024 octets; over UDP none means
    /// that any datagram will do.
    pub expect: Vec<u8>,
}

/// One request and what its answer must look like.
#[derive(Clone, Debug, PartialEq)]
pub struct HttpCheck {
    /// Verify and encrypt with TLS.
    pub tls: Option<TlsCheck>,
    pub port: u16,
    /// Default HTTP/1.1.
    pub version: HttpVersion,
    /// Default GET.
    pub method: HttpMethod,
    /// Path and query, beginning with `/`.
    pub path: String,
    /// The Host header. `None`: the endpoint's own address.
    pub host: Option<String>,
    /// More header fields, up to 32, none of them Host or about the connection or the body.
    pub headers: Vec<(String, String)>,
    /// Status codes that count as healthy, inclusive ranges. Default 200-399.
    pub status: Vec<(u16, u16)>,
    /// A text the body must contain.
    pub body: Option<String>,
    /// A regular expression that must match somewhere in the body.
    pub body_regex: Option<String>,
    /// So many octets of the body are looked at; 1 to 65,536. Default 65,536.
    pub body_limit: usize,
    /// JSON pointers (RFC 6901) into the body, and the value each must have.
    pub json: Vec<(String, serde_json::Value)>,
}

impl HttpCheck {
    /// A plain GET of `/`, with all else by default.
    pub fn new(port: u16) -> HttpCheck {
        HttpCheck {
            tls: None,
            port,
            version: HttpVersion::default(),
            method: HttpMethod::default(),
            path: "/".into(),
            host: None,
            headers: Vec::new(),
            status: vec![HttpCheck::STATUS],
            body: None,
            body_regex: None,
            body_limit: HttpCheck::BODY_LIMIT,
            json: Vec::new(),
        }
    }

    /// The usual [`HttpCheck::status`].
    pub const STATUS: (u16, u16) = (200, 399);
    /// The most, and the usual, [`HttpCheck::body_limit`].
    pub const BODY_LIMIT: usize = 64 * 1024;
}

/// The protocol an HTTP check speaks; no other is fallen back to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HttpVersion {
    #[default]
    Http1,
    /// Over TLS negotiated by ALPN, else spoken by prior knowledge (RFC 9113 sections 3.2, 3.3).
    Http2,
}

/// Methods without a body of their own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HttpMethod {
    #[default]
    Get,
    Head,
    Options,
    Post,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsCheck {
    /// SNI and the name the certificate must be valid for. `None`: the Host, else the address.
    pub server_name: Option<String>,
    /// True where the certificate is verified. Default true.
    pub verify: bool,
    /// PEM text of certificates to trust instead of the system's; read when the model is built.
    pub ca_pem: Option<String>,
    /// The certificate shown to servers that ask for one. `None`: none is.
    pub client: Option<ClientIdentity>,
    /// A certificate that expires within so many days is warned of; 0: never. Default 14.
    pub warn_days: u32,
    /// One that expires within so many days fails the probe; 0: only when it has expired. Default 0.
    pub fail_days: u32,
}

impl Default for TlsCheck {
    fn default() -> TlsCheck {
        let warn_days = TlsCheck::WARN_DAYS;
        TlsCheck { server_name: None, verify: true, ca_pem: None, client: None, warn_days, fail_days: 0 }
    }
}

impl TlsCheck {
    /// The usual [`TlsCheck::warn_days`]: certificates of 90 days are usually renewed with 30 left.
    pub const WARN_DAYS: u32 = 14;
}

/// A client certificate with its key, as PEM texts; read when the model is built.
#[derive(Clone, PartialEq, Eq)]
pub struct ClientIdentity {
    /// The certificate, and those that lead to the authority the server trusts.
    pub certificates: String,
    /// The private key of the first certificate.
    pub key: String,
}

/// Without the key, which belongs in no log.
impl fmt::Debug for ClientIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientIdentity").field("certificates", &self.certificates).finish_non_exhaustive()
    }
}
