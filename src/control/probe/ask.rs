//! One probe of one endpoint: is it asked, does it answer as expected, how long does it take?
//!
//! ```text
//!   host name ─▶ resolve ─┐
//!                         ├─▶ connect ─▶ TLS ─▶ GET ─▶ header ─▶ body ─▶ judge
//!   every address ────────┘      └── TCP checks end here
//! ```
//!
//! Each step is bounded by one deadline for the whole probe. Redirects are not followed: a 3xx
//! is a status like any other. The connection is always a new one, to the endpoint's own
//! address, whatever Host and SNI say.

use std::error::Error;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, Uri, header};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;

use crate::model::{Check, CheckKind, EndpointTarget, HttpCheck};

use super::fault::own_fault;
use super::judge::{MOST_BODY, judge_body, judge_status, seen_enough, wants_body};
use super::outcome::{Phase, ProbeError, Timings, chain, excerpt};
use super::resolve::Resolver;
use super::tls::{Trust, client_config};

/// What is asked of one endpoint, with all that can be prepared.
pub(super) struct Question {
    target: EndpointTarget,
    kind: CheckKind,
    /// `None` without TLS; the error is that of unusable trusted certificates.
    tls: Option<Result<Arc<ClientConfig>, String>>,
    timeout: Duration,
    resolver: Resolver,
}

/// The longest header of an answer, in octets; hyper's least is 8,192.
const MOST_HEADER: usize = 64 * 1024;

impl Question {
    pub(super) fn new(target: EndpointTarget, check: &Check, resolver: Resolver) -> Question {
        Question { target, kind: check.kind.clone(), tls: tls_config(&check.kind), timeout: check.timeout, resolver }
    }

    /// How many connections one probe opens at once; at least 1.
    pub(super) fn connections(&self) -> usize {
        match &self.target {
            EndpointTarget::Addresses(addresses) => addresses.len().max(1),
            EndpointTarget::Host(_) => 1,
        }
    }

    /// Probes every address of the endpoint, or the first one its host name resolves to. All
    /// must answer as expected; the first failure is the outcome.
    pub(super) async fn ask(self: Arc<Self>) -> Result<Timings, ProbeError> {
        let clock = Clock { started: Instant::now(), timeout: self.timeout };
        match &self.target {
            EndpointTarget::Host(host) => {
                let host = host.to_string();
                let host = host.strip_suffix('.').unwrap_or(&host);
                let turn = clock.within(Phase::Dns, self.resolver.turn()).await;
                // Others' names hold all threads: that is no fault of this one.
                let turn = turn.map_err(|_| ProbeError::Own("no thread was free to resolve the name".into()))?;
                let lookup = turn.map_err(not_resolved)?.lookup(host.to_owned(), self.port());
                let found = clock.within(Phase::Dns, lookup).await?.map_err(not_resolved)?;
                let dns = Some(clock.started.elapsed());
                let address = found.first().ok_or_else(|| ProbeError::Dns(format!("{host} has no address")))?;
                Ok(Timings { dns, ..self.ask_one(*address, host, clock).await? })
            }
            EndpointTarget::Addresses(addresses) => match addresses[..] {
                [] => Err(ProbeError::Check("the endpoint has no address".into())),
                [address] => self.ask_address(address, clock).await,
                _ => self.clone().ask_all(addresses, clock).await,
            },
        }
    }

    async fn ask_all(self: Arc<Self>, addresses: &[IpAddr], clock: Clock) -> Result<Timings, ProbeError> {
        let mut asked = JoinSet::new();
        for &address in addresses {
            let question = self.clone();
            asked.spawn(async move {
                let outcome = question.ask_address(address, clock).await;
                outcome.map_err(|error| ProbeError::At { address, error: Box::new(error) })
            });
        }
        let (mut slowest, mut own) = (Timings::default(), None);
        while let Some(outcome) = asked.join_next().await {
            match outcome.unwrap_or_else(|e| Err(ProbeError::Check(e.to_string()))) {
                Ok(timings) if timings.total > slowest.total => slowest = timings,
                Ok(_) => {}
                // Another address may have failed by itself: that is evidence.
                Err(ProbeError::At { error, .. }) if matches!(*error, ProbeError::Own(_)) => own = Some(*error),
                Err(error) => return Err(error),
            }
        }
        own.map_or(Ok(slowest), Err)
    }

    async fn ask_address(&self, address: IpAddr, clock: Clock) -> Result<Timings, ProbeError> {
        self.ask_one(SocketAddr::new(address, self.port()), &bracketed(address), clock).await
    }

    /// `called`: what stands in the Host header where the check does not say.
    async fn ask_one(&self, address: SocketAddr, called: &str, clock: Clock) -> Result<Timings, ProbeError> {
        let began = Instant::now();
        let stream = clock.within(Phase::Connect, TcpStream::connect(address)).await?.map_err(not_connected)?;
        let mut timings = Timings { connect: began.elapsed(), ..Timings::default() };
        if let CheckKind::Http(check) = &self.kind {
            let host = host_header(check, called);
            match &self.tls {
                None => timings.first_byte = Some(exchange(stream, check, &host, clock).await?),
                Some(Err(error)) => return Err(ProbeError::Tls(error.clone())),
                Some(Ok(config)) => {
                    let began = Instant::now();
                    let connector = TlsConnector::from(config.clone());
                    let handshake = connector.connect(server_name(check, &host)?, stream);
                    let stream = clock.within(Phase::Tls, handshake).await?;
                    let stream =
                        stream.map_err(|error| own_or(&error, |error| ProbeError::Tls(with_cure(chain(error)))))?;
                    timings.tls = Some(began.elapsed());
                    timings.first_byte = Some(exchange(stream, check, &host, clock).await?);
                }
            }
        }
        timings.total = clock.started.elapsed();
        Ok(timings)
    }

    fn port(&self) -> u16 {
        match &self.kind {
            CheckKind::Tcp { port } => *port,
            CheckKind::Http(check) => check.port,
        }
    }
}

/// When a probe began and how long all of it may take.
#[derive(Clone, Copy)]
struct Clock {
    started: Instant,
    timeout: Duration,
}

impl Clock {
    async fn within<T>(&self, phase: Phase, work: impl Future<Output = T>) -> Result<T, ProbeError> {
        let late = ProbeError::Timeout { phase, after: self.timeout };
        tokio::time::timeout_at(self.started + self.timeout, work).await.map_err(|_| late)
    }
}

/// Sends the request and judges the answer. Returns the time from the request to its header.
async fn exchange<S>(stream: S, check: &HttpCheck, host: &str, clock: Clock) -> Result<Duration, ProbeError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let began = Instant::now();
    let request = request(check, host)?;
    let handshake = http1::Builder::new().max_buf_size(MOST_HEADER).handshake(TokioIo::new(stream));
    let (mut sender, connection) = handshake.await.map_err(not_http)?;
    let answer = async {
        let response = clock.within(Phase::Header, sender.send_request(request)).await?.map_err(not_http)?;
        let first_byte = began.elapsed();
        judge(check, response, clock).await.map(|()| first_byte)
    };
    let mut answer = pin!(answer);
    // The connection moves the octets. Where it ends first, what it has read is still there.
    tokio::select! {
        biased;
        outcome = &mut answer => outcome,
        _ = connection => answer.await,
    }
}

fn request(check: &HttpCheck, host: &str) -> Result<Request<Empty<Bytes>>, ProbeError> {
    let not_askable = |error: http::Error| ProbeError::Check(error.to_string());
    let uri = Uri::builder().path_and_query(check.path.as_str()).build().map_err(not_askable)?;
    Request::get(uri)
        .header(header::HOST, host)
        .header(header::USER_AGENT, concat!("meridian-probe/", env!("CARGO_PKG_VERSION")))
        .header(header::ACCEPT, "*/*")
        .header(header::CONNECTION, "close")
        .body(Empty::new())
        .map_err(not_askable)
}

async fn judge(check: &HttpCheck, response: Response<Incoming>, clock: Clock) -> Result<(), ProbeError> {
    judge_status(check, response.status().as_u16())?;
    if !wants_body(check) {
        return Ok(());
    }
    let mut incoming = response.into_body();
    let mut body = Vec::new();
    while let Some(frame) = clock.within(Phase::Body, incoming.frame()).await? {
        let Ok(data) = frame.map_err(not_http)?.into_data() else { continue };
        let (old, room) = (body.len(), MOST_BODY - body.len());
        body.extend_from_slice(&data[..data.len().min(room)]);
        if seen_enough(check, &body, old) {
            return Ok(());
        }
        if data.len() > room {
            return judge_body(check, &body, false);
        }
    }
    judge_body(check, &body, true)
}

/// The configured Host, else what the endpoint is called, with the port where it is not the
/// scheme's own (RFC 9110 section 7.2).
fn host_header(check: &HttpCheck, called: &str) -> String {
    let usual_port = if check.tls.is_some() { 443 } else { 80 };
    match &check.host {
        Some(host) => host.clone(),
        None if check.port == usual_port => called.to_owned(),
        None => format!("{called}:{}", check.port),
    }
}

/// SNI and the name to verify: as configured, else the host of the Host header.
fn server_name(check: &HttpCheck, host: &str) -> Result<ServerName<'static>, ProbeError> {
    let configured = check.tls.as_ref().and_then(|tls| tls.server_name.as_deref());
    let name = configured.unwrap_or_else(|| without_port(host));
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    ServerName::try_from(bare.to_owned())
        .map_err(|_| ProbeError::Check(format!("`{}` is no name a certificate could have", excerpt(name))))
}

/// `host:port` and `[v6]:port` without the port.
fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port))
            if port.bytes().all(|b| b.is_ascii_digit()) && (!name.contains(':') || name.ends_with(']')) =>
        {
            name
        }
        _ => host,
    }
}

fn bracketed(address: IpAddr) -> String {
    match address {
        IpAddr::V4(v4) => v4.to_string(),
        IpAddr::V6(v6) => format!("[{v6}]"),
    }
}

fn tls_config(kind: &CheckKind) -> Option<Result<Arc<ClientConfig>, String>> {
    let CheckKind::Http(HttpCheck { tls: Some(tls), .. }) = kind else { return None };
    let trust = match (&tls.ca_pem, tls.verify) {
        (_, false) => Trust::Anything,
        (Some(pem), true) => Trust::Pem(pem),
        (None, true) => Trust::System,
    };
    Some(client_config(trust).map(Arc::new))
}

/// A fault of this machine, or else as `other` says.
fn own_or<E: Error + 'static>(error: &E, other: impl FnOnce(&E) -> ProbeError) -> ProbeError {
    own_fault(error).map_or_else(|| other(error), ProbeError::Own)
}

/// The system's resolver does not say that it could open no file or socket: but then nobody else here can.
fn not_resolved(error: io::Error) -> ProbeError {
    if let Err(ours) = std::net::UdpSocket::bind((IpAddr::from([0, 0, 0, 0]), 0))
        && let Some(fault) = own_fault(&ours)
    {
        return ProbeError::Own(fault);
    }
    own_or(&error, |error| ProbeError::Dns(chain(error)))
}

/// What to do about it, where the error alone does not tell: `openssl req -x509` makes certificates that are
/// authorities, and those are not taken from servers (RFC 5280 section 4.2.1.9), though `ca_file` names them.
fn with_cure(error: String) -> String {
    if !error.contains("CaUsedAsEndEntity") {
        return error;
    }
    "the server's certificate is an authority's own, which no server may show, even if `ca_file` names it: make it anew with \
     `-addext basicConstraints=critical,CA:FALSE`, or sign another one with it"
        .to_owned()
}

fn not_connected(error: io::Error) -> ProbeError {
    own_or(&error, refused_or_so)
}

fn refused_or_so(error: &io::Error) -> ProbeError {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => ProbeError::Refused,
        io::ErrorKind::NetworkUnreachable | io::ErrorKind::HostUnreachable => {
            ProbeError::Unreachable(error.to_string())
        }
        _ => ProbeError::Connect(error.to_string()),
    }
}

fn not_http(error: hyper::Error) -> ProbeError {
    own_or(&error, |error| ProbeError::Protocol(chain(error)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::TlsCheck;
    use tokio::time::sleep;

    fn check(port: u16, tls: bool, host: Option<&str>, server_name: Option<&str>) -> HttpCheck {
        let tls = tls.then(|| TlsCheck { server_name: server_name.map(Into::into), verify: true, ca_pem: None });
        HttpCheck { tls, host: host.map(Into::into), ..HttpCheck::new(port) }
    }

    #[tokio::test(start_paused = true)]
    async fn one_deadline_holds_for_all_steps_together() {
        let clock = Clock { started: Instant::now(), timeout: Duration::from_millis(150) };
        let step = Duration::from_millis(100);
        assert_eq!(clock.within(Phase::Connect, sleep(step)).await, Ok(()));
        let late = ProbeError::Timeout { phase: Phase::Header, after: clock.timeout };
        assert_eq!(clock.within(Phase::Header, sleep(step)).await, Err(late));
    }

    #[test]
    fn an_address_without_a_route_fails_and_says_so() {
        let error = not_connected(io::Error::from_raw_os_error(libc::ENETUNREACH));
        assert!(error.to_string().starts_with("no route to the endpoint: "), "{error}");
        assert_eq!(not_connected(io::Error::from_raw_os_error(libc::ECONNREFUSED)), ProbeError::Refused);
        assert!(matches!(not_connected(io::Error::from_raw_os_error(libc::ETIMEDOUT)), ProbeError::Connect(_)));
    }

    #[test]
    fn a_machine_at_its_own_limits_blames_no_endpoint() {
        for code in [libc::EMFILE, libc::ENFILE, libc::ENOBUFS, libc::ENOMEM, libc::EADDRNOTAVAIL, libc::EPERM] {
            assert!(matches!(not_connected(io::Error::from_raw_os_error(code)), ProbeError::Own(_)), "{code}");
        }
    }

    #[test]
    fn rfc9110_section_7_2_host_has_the_port_unless_it_is_the_usual_one() {
        let v6 = bracketed("2001:db8::1".parse().expect("an address"));
        assert_eq!(host_header(&check(80, false, None, None), &v6), "[2001:db8::1]");
        assert_eq!(host_header(&check(443, true, None, None), "192.0.2.1"), "192.0.2.1");
        assert_eq!(host_header(&check(443, false, None, None), "192.0.2.1"), "192.0.2.1:443");
        assert_eq!(host_header(&check(8080, false, None, None), &v6), "[2001:db8::1]:8080");
        assert_eq!(host_header(&check(8080, false, Some("www.example"), None), &v6), "www.example");
    }

    #[test]
    fn the_name_to_verify_is_the_configured_one_else_the_host_without_its_port() {
        for (configured, host, expected) in [
            (Some("a.example"), "b.example", "a.example"),
            (None, "b.example:8443", "b.example"),
            (None, "[2001:db8::1]:8443", "2001:db8::1"),
            (None, "[2001:db8::1]", "2001:db8::1"),
            (Some("2001:db8::1"), "b.example", "2001:db8::1"),
            (None, "192.0.2.1:8443", "192.0.2.1"),
        ] {
            let name = server_name(&check(443, true, None, configured), host).expect("a name");
            assert_eq!(name.to_str(), expected);
        }
        for host in ["", ":80", "a b", "[", "é"] {
            assert!(server_name(&check(443, true, None, None), host).is_err(), "{host:?}");
        }
    }
}
