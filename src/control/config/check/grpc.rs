//! `check.grpc`: whose health a server is asked for, and how it is reached.

use super::{http, tls};
use crate::control::config::files::Sources;
use crate::control::config::reader::Table;
use crate::model::GrpcCheck;

/// Octets of a service's name at most.
const MAX_SERVICE: usize = 255;

pub fn read(table: &Table<'_>, sources: &Sources<'_>) -> Option<GrpcCheck> {
    let port = table.require("port", "port = 50051").and_then(|v| v.small(1..=65_535));
    let service = table.or("service", String::new(), |v| v.text("the name of a service", service));
    let host = table.get("host").and_then(http::host);
    let encrypted = table.or("tls", false, |v| v.boolean());
    let tls = tls::read(table, (!encrypted).then_some(("TLS", "`tls = true` is not there")), sources);
    Some(GrpcCheck { tls: tls.filter(|_| encrypted), port: port?, service, host })
}

fn service(text: &str) -> Result<String, String> {
    match text.len() {
        0..=MAX_SERVICE => Ok(text.to_owned()),
        length => Err(format!("{length} octets, expected at most {MAX_SERVICE}")),
    }
}
