//! The settings of a check: what is asked of each endpoint.

use std::collections::BTreeMap;

use schemars::JsonSchema;

use super::values::{Duration, Name, OneOrMany, Path};

/// One of the kinds of check; or `all`, `any` or `of`, with several of them. What each outcome means is in [health
/// checks](health-checks.md).
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, title = "check")]
pub struct Checks {
    #[schemars(flatten)]
    pub kind: Kind,
    /// Checks of which all that vote must pass.
    ///
    /// Range: 1 to 16.
    pub all: Option<Vec<Member>>,
    /// One that votes must pass.
    ///
    /// Range: 1 to 16.
    pub any: Option<Vec<Member>>,
    /// `at_least` of those that vote must pass.
    ///
    /// Range: 1 to 16.
    pub of: Option<Vec<Member>>,
    /// With `of` only, and required there: so many must pass.
    ///
    /// Range: 1 to the number that vote.
    pub at_least: Option<u64>,
}

/// One of the kinds of check.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, title = "a check")]
pub struct Check {
    #[schemars(flatten)]
    pub kind: Kind,
}

/// One of the kinds of check, its name and its role.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, title = "one of several checks")]
pub struct Member {
    #[schemars(flatten)]
    pub kind: Kind,
    /// What it is called in status, log and events.
    ///
    /// Default: its kind, `http-2` for the second. Range: up to 32 of a to z, 0 to 9, `-`, `_`.
    pub name: Option<String>,
    /// Whether it is counted, must pass whatever the others say, or is asked and shown alone.
    #[schemars(extend("default" = "vote", "enum" = ["vote", "must_pass", "watch_only"]))]
    pub role: Option<String>,
}

/// Exactly one of them.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, title = "a kind of check")]
pub struct Kind {
    /// A request over HTTP, or HTTPS where the URL says so.
    pub http: Option<Http>,
    /// A request over HTTPS.
    pub https: Option<Http>,
    /// A connection, and what is said over it.
    pub tcp: Option<Tcp>,
    /// A datagram, and the one that comes back.
    pub udp: Option<Udp>,
    /// A TLS handshake.
    pub tls: Option<Tls>,
    /// A question to a DNS server.
    pub dns: Option<Dns>,
    /// The health service of gRPC.
    pub grpc: Option<Grpc>,
    /// An echo request.
    pub icmp: Option<Icmp>,
    /// Heartbeats that must arrive.
    pub push: Option<Push>,
    /// A program's exit code. Refused without `allow_exec` in the main file.
    pub exec: Option<Exec>,
}

/// How often and how patiently an endpoint is asked.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, title = "pace")]
pub struct Pace {
    /// From the start of one probe to the start of the next.
    ///
    /// Range: 100 ms to 1 h.
    #[schemars(extend("default" = "5s"))]
    pub interval: Option<Duration>,
    /// For the whole probe; [silence](configuration.md#checks-and-silence) is noticed sooner.
    ///
    /// Range: 10 ms to 60 s.
    #[schemars(extend("default" = "2s"))]
    pub timeout: Option<Duration>,
    #[schemars(flatten)]
    pub thresholds: Thresholds,
}

/// How many outcomes it takes to change a verdict.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, title = "thresholds")]
pub struct Thresholds {
    /// Failures in a row that take an endpoint down, also one that was never up.
    #[schemars(extend("default" = 3), range(min = 1, max = 100))]
    pub fall: Option<u64>,
    /// Successes in a row that bring it back.
    #[schemars(extend("default" = 3), range(min = 1, max = 100))]
    pub rise: Option<u64>,
    /// For so long after it is first asked, failures of an endpoint that has not succeeded yet are not counted: it
    /// may be starting.
    ///
    /// Range: 0 to 1 h.
    #[schemars(extend("default" = "0s"))]
    pub grace: Option<Duration>,
}

/// What is shown to and asked of the other side of TLS.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, title = "certificates")]
pub struct Certificates {
    /// SNI, and the name the certificate must be valid for.
    ///
    /// Default: `host`, else the endpoint.
    pub server_name: Option<String>,
    /// Whether the certificate is verified.
    #[schemars(extend("default" = true))]
    pub verify: Option<bool>,
    /// Certificates to trust instead; relative to the zone file.
    ///
    /// Default: the system's roots. Range: PEM.
    pub ca_file: Option<Path>,
    /// The certificate shown to servers that ask for one, first in the file, and those that lead to its authority.
    ///
    /// Range: PEM; with `client_key_file`.
    pub client_cert_file: Option<Path>,
    /// Its private key; may be the same file. Both are relative to the zone file and read when it is.
    ///
    /// Range: PEM, not encrypted.
    pub client_key_file: Option<Path>,
    /// A certificate that expires within so many days is warned of in the outcome; `0`: never.
    #[schemars(extend("default" = 14), range(min = 0, max = 3650))]
    pub warn_days: Option<u64>,
    /// One that expires within so many days fails the probe.
    #[schemars(extend("default" = 0), range(min = 0, max = 3650))]
    pub fail_days: Option<u64>,
}

/// A request, and what its answer must look like. TLS keys are for https URLs only.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, title = "check.http, check.https")]
pub struct Http {
    /// What is asked for; `{address}` is written so and stands for the endpoint; `check.https` takes https alone.
    ///
    /// Range: `SCHEME://{address}[:PORT][/PATH]`.
    pub url: String,
    /// The Host header; for grpc the authority.
    ///
    /// Default: the endpoint itself. Range: host, with or without port.
    pub host: Option<String>,
    /// Of HTTP; `"2"` must be negotiated by ALPN in https, and is spoken at once in http.
    #[schemars(extend("default" = "1.1", "enum" = ["1.1", "2"]))]
    pub version: Option<String>,
    /// The method; nothing is sent as a body.
    #[schemars(extend("default" = "GET", "enum" = ["GET", "HEAD", "OPTIONS", "POST"]))]
    pub method: Option<String>,
    /// More header fields: `{ "X-Probe" = "1" }`; instead of the usual `User-Agent` and `Accept`, too.
    ///
    /// Range: up to 32, values up to 4,096 octets.
    pub headers: Option<BTreeMap<String, String>>,
    /// Status codes that count as healthy: `200`, `"200-399"`, `[200, "300-399"]`.
    ///
    /// Range: 100 to 599, up to 64.
    #[schemars(extend("default" = "200-399"))]
    pub status: Option<OneOrMany<Status>>,
    /// A text the body must contain.
    pub body: Option<String>,
    /// A [regular expression](https://docs.rs/regex-lite/latest/regex_lite/#syntax) that must match somewhere in
    /// the body.
    ///
    /// Range: up to 1,024 octets.
    pub body_regex: Option<String>,
    /// So many octets of the body are looked at by `body`, `body_regex` and `json`; a longer document is no JSON.
    #[schemars(extend("default" = 65536), range(min = 1, max = 65536))]
    pub body_limit: Option<u64>,
    /// JSON pointers (RFC 6901) into the body and the value each must have: `{ "/status" = "healthy" }`.
    pub json: Option<BTreeMap<String, serde_json::Value>>,
    #[schemars(flatten)]
    pub certificates: Certificates,
    #[schemars(flatten)]
    pub pace: Pace,
}

/// A connection that must be accepted, and what is said over it.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, title = "check.tcp")]
pub struct Tcp {
    /// What is asked; over TCP a connection must be accepted.
    #[schemars(range(min = 1, max = 65535))]
    pub port: u64,
    /// What is sent.
    ///
    /// Range: 1 to 1,024 octets; with `expect`.
    pub send: Option<Octets>,
    /// Octets that must stand in the first 4,096 of the reply.
    ///
    /// Range: 1 to 1,024 octets; required with `send`.
    pub expect: Option<Octets>,
    #[schemars(flatten)]
    pub pace: Pace,
}

/// A datagram, and the one that must come back.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, title = "check.udp")]
pub struct Udp {
    /// What is asked; over TCP a connection must be accepted.
    #[schemars(range(min = 1, max = 65535))]
    pub port: u64,
    /// What is sent.
    ///
    /// Range: 1 to 1,024 octets.
    pub send: Octets,
    /// Octets that must stand in the first datagram of the reply.
    ///
    /// Default: any reply will do. Range: 1 to 1,024 octets.
    pub expect: Option<Octets>,
    #[schemars(flatten)]
    pub pace: Pace,
}

/// Octets in hexadecimal.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, title = "check.*.send, check.*.expect")]
pub struct Hex {
    /// Pairs of digits, with or without spaces: `"16 03 01"`.
    pub hex: String,
}

/// A TLS handshake and nothing more.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, title = "check.tls")]
pub struct Tls {
    /// What is asked; over TCP a connection must be accepted.
    #[schemars(extend("default" = 443), range(min = 1, max = 65535))]
    pub port: Option<u64>,
    #[schemars(flatten)]
    pub certificates: Certificates,
    #[schemars(flatten)]
    pub pace: Pace,
}

/// A question to a DNS server.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, title = "check.dns")]
pub struct Dns {
    /// What is asked; over TCP a connection must be accepted.
    #[schemars(extend("default" = 53), range(min = 1, max = 65535))]
    pub port: Option<u64>,
    /// What is asked for; absolute, with or without a dot at the end.
    pub name: Name,
    /// Of which type.
    ///
    /// Range: record types, `"ANY"`, `"TYPE65"`.
    #[schemars(extend("default" = "A"))]
    pub r#type: Option<String>,
    /// What the response must say.
    #[schemars(extend("default" = "NOERROR", "enum" = ["NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED"]))]
    pub rcode: Option<String>,
    /// Whether the answer section must hold a record.
    ///
    /// Default: `true` with NOERROR.
    pub answer: Option<bool>,
    /// Whether recursion is asked for: `true` for resolvers.
    #[schemars(extend("default" = false))]
    pub recursive: Option<bool>,
    #[schemars(flatten)]
    pub pace: Pace,
}

/// The health service of gRPC. TLS keys take `tls = true`.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, title = "check.grpc")]
pub struct Grpc {
    /// What is asked; over TCP a connection must be accepted.
    #[schemars(range(min = 1, max = 65535))]
    pub port: u64,
    /// Whose health is asked for.
    ///
    /// Default: the whole server. Range: up to 255 octets.
    pub service: Option<String>,
    /// The Host header; for grpc the authority.
    ///
    /// Default: the endpoint itself. Range: host, with or without port.
    pub host: Option<String>,
    /// Whether the connection is encrypted.
    #[schemars(extend("default" = false))]
    pub tls: Option<bool>,
    #[schemars(flatten)]
    pub certificates: Certificates,
    #[schemars(flatten)]
    pub pace: Pace,
}

/// An echo request that must be answered.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, title = "check.icmp")]
pub struct Icmp {
    #[schemars(flatten)]
    pub pace: Pace,
}

/// Heartbeats that must arrive.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, title = "check.push")]
pub struct Push {
    /// A heartbeat older than this fails.
    ///
    /// Range: 1 s to 24 h.
    pub max_age: Duration,
    /// How often the age of the last heartbeat is looked at.
    ///
    /// Range: 100 ms to 1 h.
    #[schemars(extend("default" = "1s"))]
    pub interval: Option<Duration>,
    #[schemars(flatten)]
    pub thresholds: Thresholds,
}

/// A program that says by its exit code how the endpoint is.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, title = "check.exec")]
pub struct Exec {
    /// The program and its arguments; `{address}` stands for the address; refused without
    /// [`allow_exec`](configuration.md#meridiantoml).
    ///
    /// Range: up to 64, an absolute path first.
    pub command: Vec<String>,
    #[schemars(flatten)]
    pub pace: Pace,
}

/// A text, or octets in hexadecimal.
#[derive(JsonSchema)]
#[schemars(untagged, inline)]
pub enum Octets {
    Text(String),
    Hex(Hex),
}

/// A code, or a range of them.
#[derive(JsonSchema)]
#[schemars(untagged, inline)]
pub enum Status {
    Code(#[schemars(range(min = 100, max = 599))] u64),
    Range(String),
}
