//! TLS as probes and scrapes speak it: what is trusted, what is shown, and what is not remembered.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use crate::control::renewed::read_pem_file;

/// How a server's certificate is judged.
pub(crate) enum Trust<'a> {
    /// By the system's roots.
    System,
    /// By these certificates alone, as PEM text.
    Pem(&'a str),
    /// Not at all.
    Anything,
}

/// A certificate with its key as PEM texts, to be shown to servers that ask for one. The error says which of the two is
/// unusable, or that they do not belong together.
pub(crate) fn identity(certificates: &str, key: &str) -> Result<CertifiedKey, String> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(certificates.as_bytes()).collect();
    let chain = chain.map_err(|_| "the certificate is not PEM")?;
    if chain.is_empty() {
        return Err("the certificate's file holds none".into());
    }
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|error| match error {
        pem::Error::NoItemsFound => "the key's file holds no private key in the clear",
        _ => "the key is not PEM",
    })?;
    CertifiedKey::from_der(chain, key, &rustls::crypto::ring::default_provider()).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => "the key is not that of the certificate".to_owned(),
        error => format!("the certificate and its key cannot be used: {error}"),
    })
}

/// Files of PEM by which a client knows a server, and the server a client.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// Whom to trust. Default none: the system's roots.
    pub ca: Option<PathBuf>,
    /// What to show to a server that asks for it, with `key`. Default none.
    pub certificate: Option<PathBuf>,
    pub key: Option<PathBuf>,
}

/// [`client_config`] by files.
pub(crate) fn client_config_of(files: &TlsFiles) -> Result<ClientConfig, String> {
    let ca = files.ca.as_deref().map(read_pem_file).transpose()?;
    let mut config = client_config(ca.as_deref().map_or(Trust::System, Trust::Pem))?;
    match (&files.certificate, &files.key) {
        (Some(certificate), Some(key)) => {
            let shown = identity(&read_pem_file(certificate)?, &read_pem_file(key)?)?;
            config.client_auth_cert_resolver = Arc::new(SingleCertAndKey::from(shown));
        }
        (None, None) => {}
        _ => return Err("a client certificate and its key go together".into()),
    }
    Ok(config)
}

/// A client configuration for HTTP/1.1.
///
/// Sessions are never resumed: a resumed one skips the certificate, and a probe is to notice
/// when it expires. Fails where `Trust::Pem` holds no certificate that can be used.
pub(crate) fn client_config(trust: Trust) -> Result<ClientConfig, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    let mut config = match trust {
        Trust::System => builder.with_root_certificates(system_roots()).with_no_client_auth(),
        Trust::Pem(pem) => builder.with_root_certificates(roots_from_pem(pem)?).with_no_client_auth(),
        Trust::Anything => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
            .with_no_client_auth(),
    };
    config.resumption = Resumption::disabled();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// The system's roots, read at the first need and kept: a change needs a restart.
fn system_roots() -> Arc<RootCertStore> {
    static ROOTS: OnceLock<Arc<RootCertStore>> = OnceLock::new();
    ROOTS.get_or_init(|| Arc::new(read_system_roots())).clone()
}

fn read_system_roots() -> RootCertStore {
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::warn!(%error, "cannot read some of the system's certificates");
    }
    let mut roots = RootCertStore::empty();
    let (usable, _) = roots.add_parsable_certificates(found.certs);
    if usable == 0 {
        tracing::warn!("this system has no root certificates; HTTPS checks need `ca` or will fail");
    }
    roots
}

pub(crate) fn roots_from_pem(pem: &str) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        let certificate = certificate.map_err(|error| format!("the trusted certificates are not PEM: {error}"))?;
        roots.add(certificate).map_err(|error| format!("a trusted certificate cannot be used: {error}"))?;
    }
    if roots.is_empty() {
        return Err("the trusted certificates' file holds none".into());
    }
    Ok(roots)
}

/// Believes any certificate (`verify = false`). The handshake's signature must still be by it.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_usable_certificates_is_an_error_not_an_empty_trust() {
        for pem in ["", "hello", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
            assert!(client_config(Trust::Pem(pem)).is_err(), "{pem:?}");
        }
    }
}
