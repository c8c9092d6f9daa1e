//! What one probe found: how long its phases took, or why it failed.

use std::error::Error;
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

/// How long the phases of a successful probe took. Of an endpoint with several addresses:
/// those of the address that took longest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timings {
    /// From the first SYN to the established TCP connection; without TCP, from the question to its answer.
    pub connect: Duration,
    /// The TLS handshake; `None` without TLS.
    pub tls: Option<Duration>,
    /// From sending the request to the whole header of its answer, or its first octets; `None` where nothing is sent.
    pub first_byte: Option<Duration>,
    /// Resolving the host name; `None` for addresses.
    pub dns: Option<Duration>,
    /// All of it, the body included where it is looked at.
    pub total: Duration,
    /// What should be looked after though all is well.
    pub warning: Option<Warning>,
}

/// As people read it: `ok in 12.3 ms`.
impl fmt::Display for Timings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ok in {:.1} ms", self.total.as_secs_f64() * 1e3)?;
        match self.warning {
            Some(warning) => write!(f, ", but {warning}"),
            None => Ok(()),
        }
    }
}

/// Something about an endpoint that is still well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Warning {
    /// Its certificate, in so many whole days; 0 also where it has expired, and is not verified.
    Expires { days: u32 },
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Warning::Expires { days } => write!(f, "the certificate expires in {days} days"),
        }
    }
}

/// What a probe was waiting for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    Dns,
    Connect,
    Tls,
    Header,
    Body,
    Reply,
    Exit,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Phase::Dns => "the name to be resolved",
            Phase::Connect => "the TCP connection",
            Phase::Tls => "the TLS handshake",
            Phase::Header => "the header of the answer",
            Phase::Body => "the body of the answer",
            Phase::Reply => "the answer",
            Phase::Exit => "the program to end",
        })
    }
}

/// Why a probe failed. The text says what was seen and what was expected; parts that came from
/// the endpoint are cut to a bounded length.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProbeError {
    /// Nothing listens on the port, or a firewall rejects.
    #[error("connection refused")]
    Refused,
    /// No route: a network down, or an address family this machine does not have.
    #[error("no route to the endpoint: {0}")]
    Unreachable(String),
    /// Any other way a connection did not come about.
    #[error("cannot connect: {0}")]
    Connect(String),
    #[error("waited {} ms in all, at last for {phase}", .after.as_millis())]
    Timeout { phase: Phase, after: Duration },
    /// Not yet late by its timeout, but by what this endpoint's answers usually take. Should the answer come
    /// in time after all, it counts as well.
    #[error("no answer for {} ms, where {} ms were the longest lately", .after.as_millis(), .slowest.as_millis())]
    Silent { after: Duration, slowest: Duration },
    /// The certificate is not trusted, not for this name or expired, or the handshake failed.
    #[error("TLS: {0}")]
    Tls(String),
    #[error("status {got}, expected {expected}")]
    Status { got: u16, expected: String },
    #[error("the first {read} octets of the body do not contain {expected:?}")]
    BodyMissing { expected: String, read: usize },
    #[error("the first {read} octets of the body do not match {expected:?}")]
    BodyUnmatched { expected: String, read: usize },
    /// The body should be JSON.
    #[error("the body is not JSON: {0}")]
    NotJson(String),
    /// `got` is `None` where the pointer leads nowhere.
    #[error("JSON at `{pointer}` is {}, expected {expected}", .got.as_deref().unwrap_or("missing"))]
    JsonMismatch { pointer: String, expected: String, got: Option<String> },
    /// An answer other than expected, by a check that is not HTTP.
    #[error("{0}")]
    Answer(String),
    #[error("cannot resolve: {0}")]
    Dns(String),
    /// The answer is not HTTP, or the connection ended before it was whole.
    #[error("not a whole HTTP answer: {0}")]
    Protocol(String),
    /// The check cannot be asked as it is configured.
    #[error("the check cannot be asked: {0}")]
    Check(String),
    /// This machine could not ask: says nothing of the endpoint, and is never reported of it.
    #[error("not asked, for a fault of this machine: {0}")]
    Own(String),
    /// Too soon after the start to miss what must come by itself: says nothing of the endpoint, and is never reported
    /// of it.
    #[error("no heartbeat yet, and it is too soon to miss one")]
    NotYet,
    /// Of an endpoint with several addresses: which one failed.
    #[error("{address}: {error}")]
    At { address: IpAddr, error: Box<ProbeError> },
}

impl ProbeError {
    /// Whether it failed before the endpoint itself said anything: it may as well be this server's own network.
    pub fn is_on_the_way(&self) -> bool {
        match self {
            ProbeError::Refused
            | ProbeError::Unreachable(_)
            | ProbeError::Connect(_)
            | ProbeError::Timeout { .. }
            | ProbeError::Silent { .. }
            | ProbeError::Dns(_) => true,
            ProbeError::At { error, .. } => error.is_on_the_way(),
            _ => false,
        }
    }

    /// Whether there was no route.
    pub fn is_unreachable(&self) -> bool {
        match self {
            ProbeError::Unreachable(_) => true,
            ProbeError::At { error, .. } => error.is_unreachable(),
            _ => false,
        }
    }

    /// Whether something came back, be it a refusal: what failed is not the network between.
    pub fn is_heard(&self) -> bool {
        match self {
            ProbeError::Timeout { phase, .. } => matches!(phase, Phase::Tls | Phase::Header | Phase::Body),
            ProbeError::Silent { .. }
            | ProbeError::Unreachable(_)
            | ProbeError::Connect(_)
            | ProbeError::Dns(_)
            | ProbeError::Check(_)
            | ProbeError::Own(_) => false,
            ProbeError::At { error, .. } => error.is_heard(),
            _ => true,
        }
    }

    /// Whether the endpoint said nothing at all in time.
    pub fn is_silence(&self) -> bool {
        match self {
            ProbeError::Timeout { .. } | ProbeError::Silent { .. } => true,
            ProbeError::At { error, .. } => error.is_silence(),
            _ => false,
        }
    }
}

/// The longest piece of foreign text kept in an error, in characters: reports stay small.
const EXCERPT_CHARS: usize = 200;

/// The text, cut to a bounded length with `…` where it is longer.
pub(crate) fn excerpt(text: &str) -> String {
    match text.char_indices().nth(EXCERPT_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// An error with its causes, `outer: inner`, bounded.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let said = inner.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        cause = inner.source();
    }
    excerpt(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_say_what_was_seen_and_what_was_expected() {
        let cases = [
            (ProbeError::Status { got: 503, expected: "200-399".into() }, "status 503, expected 200-399"),
            (
                ProbeError::Timeout { phase: Phase::Header, after: Duration::from_secs(2) },
                "waited 2000 ms in all, at last for the header of the answer",
            ),
            (
                ProbeError::BodyMissing { expected: "ok".into(), read: 12 },
                "the first 12 octets of the body do not contain \"ok\"",
            ),
            (
                ProbeError::JsonMismatch { pointer: "/status".into(), expected: "\"up\"".into(), got: None },
                "JSON at `/status` is missing, expected \"up\"",
            ),
            (
                ProbeError::At { address: IpAddr::from([192, 0, 2, 1]), error: Box::new(ProbeError::Refused) },
                "192.0.2.1: connection refused",
            ),
        ];
        for (error, text) in cases {
            assert_eq!(error.to_string(), text);
        }
    }

    #[test]
    fn excerpts_are_cut_between_characters() {
        assert_eq!(excerpt("short"), "short");
        let long = excerpt(&"é".repeat(1000));
        assert_eq!(long.chars().count(), EXCERPT_CHARS + 1);
    }
}
