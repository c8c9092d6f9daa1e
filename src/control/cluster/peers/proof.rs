//! How a node proves to another which it is: a token that signs messages, or certificates of mutual TLS.

use std::path::PathBuf;
use std::sync::Arc;

use ring::hmac;
use rustls::client::Resumption;
use rustls::client::verify_server_name;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::{NoServerSessionStorage, ParsedCertificate, WebPkiClientVerifier};
use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, ServerConfig};
use tracing::warn;

use crate::control::bounded_file;
use crate::control::cluster::settings::{PeerSettings, Proof};
use crate::control::probe::tls::{identity, roots_from_pem};
use crate::control::renewed::{Reading, Renewed, certificates};

/// A token has at least so many octets.
const LEAST_TOKEN: usize = 16;

/// The proof of one end, read anew as its files change.
pub(super) enum Prover {
    Token(Renewed<hmac::Key>),
    Certificates(Renewed<Tls>),
}

/// TLS 1.3 as both ends speak it.
pub(super) struct Tls {
    pub(super) server: Arc<ServerConfig>,
    pub(super) client: Arc<ClientConfig>,
}

impl Prover {
    /// # Errors
    /// A file cannot be read or used; the text names it.
    pub(super) fn new(settings: &PeerSettings) -> Result<Prover, String> {
        match &settings.proof {
            Proof::Token { file } => {
                let reading = Reading { read: read_token, make: key };
                Renewed::new(vec![file.clone()], reading).map(Prover::Token)
            }
            Proof::Certificates { ca, certificate, key } => {
                let files = vec![ca.clone(), certificate.clone(), key.clone()];
                certificates("nodes", files, tls).map(Prover::Certificates)
            }
        }
    }
}

fn read_token(files: &[PathBuf]) -> Result<Vec<String>, String> {
    let secret = |file: &PathBuf| {
        let secret = bounded_file::read_secret(file, "the token of the cluster's nodes", LEAST_TOKEN)?;
        if let Some(warning) = secret.warning {
            warn!("{warning}");
        }
        Ok(secret.text)
    };
    files.iter().map(secret).collect()
}

fn key(texts: &[String]) -> Result<hmac::Key, String> {
    let token = texts.first().ok_or("no token")?;
    Ok(hmac::Key::new(hmac::HMAC_SHA256, token.as_bytes()))
}

/// Sessions are never resumed: a resumed one skips the certificate, and its end is to be noticed.
fn tls(texts: &[String]) -> Result<Tls, String> {
    let [ca, certificate, key] = texts else { return Err("expected three files".into()) };
    let (roots, provider) = (Arc::new(roots_from_pem(ca)?), Arc::new(rustls::crypto::ring::default_provider()));
    let shown = Arc::new(SingleCertAndKey::from(identity(certificate, key)?));
    let versions = &[&rustls::version::TLS13];
    let failed = |error: rustls::Error| error.to_string();
    let client = ClientConfig::builder_with_provider(provider.clone()).with_protocol_versions(versions);
    let mut client =
        client.map_err(failed)?.with_root_certificates(roots.clone()).with_client_cert_resolver(shown.clone());
    client.resumption = Resumption::disabled();
    let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider.clone()).build();
    let verifier = verifier.map_err(|error| error.to_string())?;
    let server = ServerConfig::builder_with_provider(provider).with_protocol_versions(versions).map_err(failed)?;
    let mut server = server.with_client_cert_verifier(verifier).with_cert_resolver(shown);
    server.session_storage = Arc::new(NoServerSessionStorage {});
    server.send_tls13_tickets = 0;
    Ok(Tls { server: Arc::new(server), client: Arc::new(client) })
}

/// Tells whether a certificate, which is trusted already, is of the node of this name.
pub(super) fn is_of(certificate: &CertificateDer<'_>, node: &str) -> bool {
    let Ok(name) = ServerName::try_from(node) else { return false };
    ParsedCertificate::try_from(certificate).is_ok_and(|parsed| verify_server_name(&parsed, &name).is_ok())
}
