//! The TLS keys of checks: which certificates are trusted, and for which name.

use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};

use crate::control::config::files::{Sources, beside};
use crate::control::config::reader::{Table, Value};
use crate::control::probe::tls::identity;
use crate::model::{CheckKind, ClientIdentity, TlsCheck};

/// Days before a certificate expires: up to ten years.
const DAYS: std::ops::RangeInclusive<u64> = 0..=3_650;

/// `check.tls`: a handshake and nothing more.
pub fn handshake(table: &Table<'_>, sources: &Sources<'_>) -> Option<CheckKind> {
    let port = table.or("port", 443, |v| v.small(1..=65_535));
    Some(CheckKind::Tls { port, tls: read(table, None, sources)? })
}

/// The keys of an encrypted check. They are refused where nothing is encrypted: what they are for, and why not here.
pub fn read(table: &Table<'_>, not_encrypted: Option<(&str, &str)>, sources: &Sources<'_>) -> Option<TlsCheck> {
    let (name, verify, ca) = (table.get("server_name"), table.get("verify"), table.get("ca_file"));
    let (certificates, key) = (table.get("client_cert_file"), table.get("client_key_file"));
    let (warn, fail) = (table.get("warn_days"), table.get("fail_days"));
    if let Some((only, why)) = not_encrypted {
        for key in [name, verify, ca, certificates, key, warn, fail].into_iter().flatten() {
            key.error::<()>(format!("`{}` is for {only} only", key.name), why);
        }
    }
    Some(TlsCheck {
        server_name: name.and_then(server_name),
        verify: verify.and_then(|v| v.boolean()).unwrap_or(true),
        ca_pem: ca.and_then(|v| certificates_pem(v, sources)),
        client: not_encrypted.is_none().then(|| client(certificates, key, sources)).flatten(),
        warn_days: warn.and_then(|v| v.small(DAYS)).unwrap_or(TlsCheck::WARN_DAYS),
        fail_days: fail.and_then(|v| v.small(DAYS)).unwrap_or(0),
    })
}

fn server_name(value: Value<'_>) -> Option<String> {
    value.text("a host name such as \"www.example.com\"", |text| {
        ServerName::try_from(text).map(|_| text.to_owned()).map_err(|_| "not a host name or address")
    })
}

/// The certificate to show and its key, in files that may be one.
fn client(certificates: Option<Value<'_>>, key: Option<Value<'_>>, sources: &Sources<'_>) -> Option<ClientIdentity> {
    let alone = |value: Value<'_>, other| {
        value.error(format!("`{}` without `{other}`", value.name), "a certificate and its key go together")
    };
    let (at, key) = match (certificates, key) {
        (None, None) => return None,
        (Some(certificates), None) => return alone(certificates, "client_key_file"),
        (None, Some(key)) => return alone(key, "client_cert_file"),
        (Some(certificates), Some(key)) => (certificates, key),
    };
    let certificates = certificates_pem(at, sources);
    let key_pem = key.text("a PEM file with a private key", |path| {
        Ok::<_, String>(sources.open(&beside(path, key.report().file()))?.text.clone())
    });
    let read = ClientIdentity { certificates: certificates?, key: key_pem? };
    match identity(&read.certificates, &read.key) {
        Ok(_) => Some(read),
        Err(error) => key.error(format!("`{}`: {error}", key.name), "expected the key of `client_cert_file`"),
    }
}

fn certificates_pem(value: Value<'_>, sources: &Sources<'_>) -> Option<String> {
    value.text("a PEM file with certificates", |path| {
        let file = sources.open(&beside(path, value.report().file()))?;
        let mut certificates = CertificateDer::pem_slice_iter(file.text.as_bytes());
        match certificates.next() {
            Some(Ok(_)) if certificates.all(|each| each.is_ok()) => Ok(file.text.clone()),
            None => Err(format!("{} holds no certificate", file.path)),
            _ => Err(format!("{} is not PEM", file.path)),
        }
    })
}
