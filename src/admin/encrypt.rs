//! The admin API over TLS: certificates of its own, and, where it asks for them, of those who ask.
//!
//! A handshake is a connection's own time, not the listener's. Files are read anew as they change.

use std::io;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::CertificateDer;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::sign::SingleCertAndKey;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::guard::{Certified, Peer};
use super::server::{Arrival, Door};
use crate::control::config::AdminTls;
use crate::control::probe::tls::{identity, roots_from_pem};
use crate::control::renewed::{Renewed, certificates};

/// What the listener speaks, as its files have it now.
pub type Encryption = Arc<Renewed<ServerConfig>>;

/// # Errors
/// A file cannot be read or used; the text names them.
pub fn encryption(settings: &AdminTls) -> Result<Encryption, String> {
    let files = [Some(&settings.certificate), Some(&settings.key), settings.client_ca.as_ref()];
    let files: Vec<_> = files.into_iter().flatten().cloned().collect();
    certificates("the admin API", files, make).map(Arc::new)
}

fn make(texts: &[String]) -> Result<ServerConfig, String> {
    let [certificate, key, others @ ..] = texts else { return Err("expected a certificate and a key".into()) };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let own = Arc::new(SingleCertAndKey::from(identity(certificate, key)?));
    let config = ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions();
    let config = config.map_err(|error| error.to_string())?;
    let mut config = match others.first() {
        None => config.with_no_client_auth(),
        Some(ca) => {
            let roots = Arc::new(roots_from_pem(ca)?);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider).build();
            config.with_client_cert_verifier(verifier.map_err(|error| error.to_string())?)
        }
    }
    .with_cert_resolver(own);
    // A resumed session skips the certificate, and a connection carries one request.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// A listener whose connections are encrypted.
pub(super) struct Encrypted {
    pub(super) listener: TcpListener,
    pub(super) encryption: Encryption,
}

/// A connection that has not been encrypted yet.
pub(super) struct Unopened(TcpStream, Encryption);

impl Door for Encrypted {
    type Arrival = Unopened;

    async fn accept(&self) -> io::Result<(Unopened, Peer)> {
        let (stream, peer) = Door::accept(&self.listener).await?;
        Ok((Unopened(stream, self.encryption.clone()), peer))
    }
}

impl Arrival for Unopened {
    type Stream = TlsStream<TcpStream>;

    async fn open(self) -> io::Result<(TlsStream<TcpStream>, Option<Certified>)> {
        let Unopened(stream, encryption) = self;
        let stream = TlsAcceptor::from(encryption.current().await).accept(stream).await?;
        let shown = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
        let certified = shown.map(|certificate| Certified(name(certificate).into()));
        Ok((stream, certified))
    }
}

/// The first DNS name of a certificate that is trusted already; where it has none, what its digest begins with.
fn name(certificate: &CertificateDer<'_>) -> String {
    let parsed = webpki::EndEntityCert::try_from(certificate).ok();
    let name = parsed.as_ref().and_then(|parsed| parsed.valid_dns_names().next());
    name.map_or_else(
        || {
            let digest = ring::digest::digest(&ring::digest::SHA256, certificate);
            let digits: String = digest.as_ref().iter().take(8).map(|octet| format!("{octet:02x}")).collect();
            format!("certificate {digits}")
        },
        str::to_owned,
    )
}
