//! The TLS keys of checks: which certificates are trusted, and for which name.

use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};

use crate::control::config::files::{Sources, beside};
use crate::control::config::reader::{Table, Value};
use crate::model::TlsCheck;

/// The keys of an encrypted check. They are refused where nothing is encrypted.
pub fn read(table: &Table<'_>, encrypted: bool, sources: &Sources<'_>) -> Option<TlsCheck> {
    let (name, verify, ca) = (table.get("server_name"), table.get("verify"), table.get("ca_file"));
    for key in [name, verify, ca].into_iter().flatten().filter(|_| !encrypted) {
        key.error::<()>(format!("`{}` is for https only", key.name), "the URL says http");
    }
    Some(TlsCheck {
        server_name: name.and_then(server_name),
        verify: verify.and_then(|v| v.boolean()).unwrap_or(true),
        ca_pem: ca.and_then(|v| ca_pem(v, sources)),
    })
}

fn server_name(value: Value<'_>) -> Option<String> {
    value.text("a host name such as \"www.example.com\"", |text| {
        ServerName::try_from(text).map(|_| text.to_owned()).map_err(|_| "not a host name or address")
    })
}

fn ca_pem(value: Value<'_>, sources: &Sources<'_>) -> Option<String> {
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
