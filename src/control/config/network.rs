//! `[[network]]`: the operator's own networks, and where they are.
//!
//! A [`Value`] comes in; prefixes with their locations go out.

use std::collections::HashMap;
use std::net::IpAddr;

use super::location;
use super::reader::Value;
use crate::control::diagnostic::{Diagnostic, Span};
use crate::model::prefix::PrefixError;
use crate::model::{Location, Prefix};

/// The operator's own networks at most: as many as a large intranet has.
const MAX_NETWORKS: usize = 100_000;

/// The networks, each once; those with mistakes are reported and left out.
pub fn read(value: Value<'_>) -> Option<Vec<(Prefix, Location)>> {
    let mut networks = Vec::new();
    let mut seen: HashMap<Prefix, Span> = HashMap::new();
    for item in value.array("tables: [[network]] cidr = \"10.0.0.0/8\", location = { … }", MAX_NETWORKS)? {
        let network = item.table("`[[network]]`", |table| {
            let cidr = table.require("cidr", "cidr = \"10.0.0.0/8\"");
            let location = table.require("location", location::EXAMPLE).and_then(location::read);
            let cidr = cidr?;
            let prefix = cidr.text("a network such as \"10.0.0.0/8\" or \"2001:db8::/32\"", prefix)?;
            if let Some(first) = seen.insert(prefix, cidr.span()) {
                let twice = Diagnostic::error(format!("the network {prefix} is there twice"));
                cidr.report().push(twice.at(cidr.span(), "again here").related(first, "first here"));
            }
            Some((prefix, location?))
        });
        networks.extend(network);
    }
    Some(networks)
}

/// A prefix, with what it was meant to be where host bits are set.
pub fn prefix(text: &str) -> Result<Prefix, String> {
    text.parse().map_err(|error: PrefixError| {
        let meant = text
            .split_once('/')
            .and_then(|(address, len)| Some(Prefix::containing(address.parse::<IpAddr>().ok()?, len.parse().ok()?)));
        match meant {
            Some(meant) if error == PrefixError::HostBits => {
                format!("{error}; the network is {meant}")
            }
            _ => error.to_string(),
        }
    })
}
