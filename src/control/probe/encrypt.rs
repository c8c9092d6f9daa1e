//! TLS of one probe: which certificates are trusted, for which name, and how long the handshake takes.
//!
//! In: an open connection and a [`TlsCheck`]. Out: the encrypted stream.
//!
//! Over TLS 1.3 a client is done before the server has looked at its certificate (RFC 8446 section 4.4.2). Where one was
//! asked for, the handshake therefore lasts until the server says more: a session ticket, or that it refuses.

use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::{Duration, SystemTime};

use rustls::client::ResolvesClientCert;
use rustls::pki_types::ServerName;
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, ProtocolVersion, SignatureScheme};
use tokio::io::AsyncBufRead;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::model::TlsCheck;

use super::certificate::judge_expiry;
use super::outcome::{Phase, ProbeError, Timings, Warning, chain, excerpt};
use super::step::{Clock, connect, own_or};
use super::tls::{Trust, client_config, identity};

/// What a handshake needs, prepared once; the error is that of unusable certificates.
#[derive(Clone)]
pub(super) struct Encryption {
    tls: TlsCheck,
    config: Result<ClientConfig, String>,
    shown: Option<Arc<CertifiedKey>>,
}

/// A server that has asked for a client certificate and says no more for so long beyond the time of the handshake has
/// accepted it: not all send tickets.
const NO_REFUSAL: Duration = Duration::from_millis(250);

impl Encryption {
    /// `protocols`: what is offered by ALPN (RFC 7301); none where empty.
    pub(super) fn new(tls: &TlsCheck, protocols: &[&[u8]]) -> Encryption {
        let trust = match (&tls.ca_pem, tls.verify) {
            (_, false) => Trust::Anything,
            (Some(pem), true) => Trust::Pem(pem),
            (None, true) => Trust::System,
        };
        let shown = tls.client.as_ref().map(|client| identity(&client.certificates, &client.key).map(Arc::new));
        let (shown, unusable) = match shown.transpose() {
            Ok(shown) => (shown, None),
            Err(error) => (None, Some(error)),
        };
        let config = client_config(trust).and_then(|mut config| {
            config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
            unusable.map_or(Ok(config), Err)
        });
        Encryption { tls: tls.clone(), config, shown }
    }

    /// `host`: the name to verify where none is configured, with or without a port.
    pub(super) async fn start(&self, stream: TcpStream, host: &str, clock: Clock) -> Result<Encrypted, ProbeError> {
        let mut config = self.config.clone().map_err(ProbeError::Tls)?;
        let shown = Arc::new(Shown { certificate: self.shown.clone(), wanted: AtomicBool::new(false) });
        config.client_auth_cert_resolver = shown.clone();
        let name = server_name(self.tls.server_name.as_deref(), host)?;
        let began = Instant::now();
        let failed = |error| own_or(&error, |error| ProbeError::Tls(shown.with_cure(chain(error))));
        let handshake = TlsConnector::from(Arc::new(config)).connect(name, stream);
        let mut stream = clock.within(Phase::Tls, handshake).await?.map_err(failed)?;
        if shown.is_wanted() && stream.get_ref().1.protocol_version() == Some(ProtocolVersion::TLSv1_3) {
            let heard = timeout(began.elapsed() + NO_REFUSAL, accepted(&mut stream));
            clock.within(Phase::Tls, heard).await?.unwrap_or(Ok(())).map_err(failed)?;
        }
        let certificate = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
        let warning = judge_expiry(&self.tls, certificate.map(AsRef::as_ref), SystemTime::now())?;
        Ok(Encrypted { stream, took: began.elapsed(), warning })
    }

    /// A check of the handshake alone.
    pub(super) async fn ask(&self, address: SocketAddr, called: &str, clock: Clock) -> Result<Timings, ProbeError> {
        let (stream, connect) = connect(address, clock).await?;
        let Encrypted { took, warning, .. } = self.start(stream, called, clock).await?;
        Ok(Timings { connect, tls: Some(took), warning, ..Timings::default() })
    }
}

/// An open connection, how long its handshake took, and what should be known of its certificate.
pub(super) struct Encrypted {
    pub stream: TlsStream<TcpStream>,
    pub took: Duration,
    pub warning: Option<Warning>,
}

/// What is shown to a server that asks for a certificate, and whether one did.
#[derive(Debug)]
struct Shown {
    certificate: Option<Arc<CertifiedKey>>,
    wanted: AtomicBool,
}

impl ResolvesClientCert for Shown {
    /// Whoever the server says it trusts: it names the reason best itself.
    fn resolve(&self, _issuers: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.wanted.store(true, Ordering::Relaxed);
        self.certificate.clone()
    }

    fn has_certs(&self) -> bool {
        self.certificate.is_some()
    }
}

impl Shown {
    fn is_wanted(&self) -> bool {
        self.wanted.load(Ordering::Relaxed)
    }

    fn with_cure(&self, error: String) -> String {
        match self.is_wanted() && self.certificate.is_none() {
            true => format!("the server asks for a client certificate, see `client_cert_file`: {error}"),
            false => with_cure(error),
        }
    }
}

/// Waits until the server has said anything after the handshake, and takes nothing of it.
async fn accepted(stream: &mut TlsStream<TcpStream>) -> io::Result<()> {
    poll_fn(|cx| {
        let said = match Pin::new(&mut *stream).poll_fill_buf(cx) {
            Poll::Ready(Ok([])) => Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
            said => said.map_ok(|_| ()),
        };
        let has_ticket = stream.get_ref().1.tls13_tickets_received() > 0;
        if said.is_pending() && has_ticket { Poll::Ready(Ok(())) } else { said }
    })
    .await
}

/// SNI and the name to verify: as configured, else the host of the Host header.
fn server_name(configured: Option<&str>, host: &str) -> Result<ServerName<'static>, ProbeError> {
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

/// An address as it stands in URLs and the Host header.
pub(super) fn bracketed(address: IpAddr) -> String {
    match address {
        IpAddr::V4(v4) => v4.to_string(),
        IpAddr::V6(v6) => format!("[{v6}]"),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

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
            let name = server_name(configured, host).expect("a name");
            assert_eq!(name.to_str(), expected);
        }
        for host in ["", ":80", "a b", "[", "é"] {
            assert!(server_name(None, host).is_err(), "{host:?}");
        }
    }
}
