//! Servers that want to know who asks, and gRPC with TLS: real handshakes on loopback.

use rcgen::{BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion, version};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::*;
use crate::model::ClientIdentity;

/// A private authority, and certificates it signs.
pub(super) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub pem: String,
    certificate: CertificateDer<'static>,
}

impl Authority {
    pub(super) fn new(name: &str) -> Authority {
        let mut params = CertificateParams::new(vec![]).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("a certificate");
        Authority { pem: certificate.pem(), certificate: certificate.der().clone(), issuer: Issuer::new(params, key) }
    }

    pub(super) fn sign(&self, params: &CertificateParams) -> (rcgen::Certificate, KeyPair) {
        let key = KeyPair::generate().expect("a key");
        (params.signed_by(&key, &self.issuer).expect("a certificate"), key)
    }

    pub(super) fn client(&self) -> ClientIdentity {
        let (certificate, key) = self.sign(&CertificateParams::new(vec!["probe".into()]).expect("parameters"));
        ClientIdentity { certificates: certificate.pem(), key: key.serialize_pem() }
    }

    /// A server's configuration with a certificate for `www.example.com`. `clients`: the authority of those it lets in.
    pub(super) fn server(
        &self,
        clients: Option<&Authority>,
        versions: &[&'static SupportedProtocolVersion],
    ) -> ServerConfig {
        self.serve(&CertificateParams::new(vec!["www.example.com".into()]).expect("parameters"), clients, versions)
    }

    pub(super) fn serve(
        &self,
        params: &CertificateParams,
        clients: Option<&Authority>,
        versions: &[&'static SupportedProtocolVersion],
    ) -> ServerConfig {
        let (certificate, key) = self.sign(params);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone()).with_protocol_versions(versions);
        let builder = builder.expect("versions");
        let builder = match clients {
            None => builder.with_no_client_auth(),
            Some(clients) => {
                let mut roots = RootCertStore::empty();
                roots.add(clients.certificate.clone()).expect("an authority");
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
                builder.with_client_cert_verifier(verifier.expect("roots"))
            }
        };
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        builder.with_single_cert(vec![certificate.der().clone()], key).expect("a usable certificate")
    }
}

/// A server whose connections are handed to `answer` when their handshake is done.
pub(super) async fn accept_tls<F>(
    config: ServerConfig,
    answer: impl Fn(TlsStream<TcpStream>) -> F + Send + 'static,
) -> u16
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind((LOCALHOST, 0)).await.expect("a port");
    let port = listener.local_addr().expect("bound").port();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // One after the other: a check is one connection.
            if let Ok(stream) = acceptor.accept(stream).await {
                tokio::spawn(answer(stream));
            }
        }
    });
    port
}

pub(super) async fn say_fine(stream: TlsStream<TcpStream>) {
    respond(stream, ok("fine")).await;
}

/// Trusts the authority for `www.example.com`.
pub(super) fn trusting(authority: &Authority, client: Option<ClientIdentity>) -> TlsCheck {
    let (server_name, ca_pem) = (Some("www.example.com".into()), Some(authority.pem.clone()));
    TlsCheck { server_name, ca_pem, client, ..TlsCheck::default() }
}

/// Each kind of check that speaks HTTP/1.1 or nothing over TLS.
fn kinds(port: u16, tls: &TlsCheck) -> [CheckKind; 2] {
    let https = HttpCheck { tls: Some(tls.clone()), ..http(port) };
    [CheckKind::Tls { port, tls: tls.clone() }, CheckKind::Http(https)]
}

#[tokio::test]
async fn a_server_that_asks_for_a_client_certificate_is_shown_it() {
    let (authority, clients) = (Authority::new("servers"), Authority::new("clients"));
    for versions in [&[&version::TLS13], &[&version::TLS12]] {
        for tickets in [2, 0] {
            let mut config = authority.server(Some(&clients), versions);
            config.send_tls13_tickets = tickets;
            let port = accept_tls(config, say_fine).await;
            for kind in kinds(port, &trusting(&authority, Some(clients.client()))) {
                ask_local(check(kind)).await.expect("let in");
            }
        }
    }
}

#[tokio::test]
async fn without_a_client_certificate_or_with_a_strangers_the_refusal_is_told() {
    let (authority, clients) = (Authority::new("servers"), Authority::new("clients"));
    let wanted = "TLS: the server asks for a client certificate, see `client_cert_file`: received fatal alert: CertificateRequired";
    for versions in [&[&version::TLS13], &[&version::TLS12]] {
        let port = accept_tls(authority.server(Some(&clients), versions), say_fine).await;
        for kind in kinds(port, &trusting(&authority, None)) {
            let error = ask_local(check(kind)).await.expect_err("refused").to_string();
            assert_eq!(error, wanted);
        }
        for kind in kinds(port, &trusting(&authority, Some(Authority::new("strangers").client()))) {
            let error = ask_local(check(kind)).await.expect_err("refused").to_string();
            assert!(error.starts_with("TLS: received fatal alert: "), "{error}");
        }
    }
}

#[tokio::test]
async fn a_key_that_is_not_the_certificates_fails_every_probe_and_says_so() {
    let (authority, clients) = (Authority::new("servers"), Authority::new("clients"));
    let port = accept_tls(authority.server(Some(&clients), &[&version::TLS13]), say_fine).await;
    let mixed = ClientIdentity { key: clients.client().key, ..clients.client() };
    assert!(!format!("{mixed:?}").contains("PRIVATE"), "a key is in no log");
    for kind in kinds(port, &trusting(&authority, Some(mixed))) {
        let error = ask_local(check(kind)).await.expect_err("unusable").to_string();
        assert_eq!(error, "TLS: the key is not that of the certificate");
    }
}
