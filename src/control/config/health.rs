//! `[health]` of the main file: what tells whether this server itself is cut off, and how several judge together. A
//! [`Value`] comes in, [`Health`] goes out.

use std::net::{IpAddr, SocketAddr};

use super::check;
use super::files::Sources;
use super::reader::Value;
use crate::model::{Check, CheckKind, Reference, VoteRule};

const EXPECTED: &str = "an array such as [\"192.0.2.1:443\"]";

/// The contents of the table.
#[derive(Default)]
pub struct Health {
    pub references: Vec<Reference>,
    pub vote: VoteRule,
}

/// Reads the table.
pub fn read(value: Value<'_>, sources: &Sources<'_>) -> Option<Health> {
    value.table("`[health]`", |table| {
        let vote = table.get("vote");
        // A table that says nothing is a mistake.
        let references = match &vote {
            Some(_) => table.or("reference", Vec::new(), |v| references(v, sources)),
            None => references(table.require("reference", "reference = [\"192.0.2.1:443\"]")?, sources)?,
        };
        Some(Health { references, vote: vote.and_then(|v| v.choice(&VOTE)).unwrap_or_default() })
    })
}

const VOTE: [(&str, VoteRule); 3] = [
    (VoteRule::Majority.as_str(), VoteRule::Majority),
    (VoteRule::Any.as_str(), VoteRule::Any),
    (VoteRule::Own.as_str(), VoteRule::Own),
];

fn references(value: Value<'_>, sources: &Sources<'_>) -> Option<Vec<Reference>> {
    let items = value.array(EXPECTED, Reference::MOST)?;
    // All are read before the first failure counts: each reports its own mistakes.
    let read: Vec<_> = items.into_iter().map(|item| reference(item, sources)).collect();
    read.into_iter().collect()
}

/// `"192.0.2.1:443"`, which must accept a connection, or an address and a check.
fn reference(value: Value<'_>, sources: &Sources<'_>) -> Option<Reference> {
    if !value.is_table() {
        let at = value.text("an address and a port, such as \"192.0.2.1:443\"", str::parse::<SocketAddr>)?;
        return Some(Reference { address: at.ip(), check: Check::new(CheckKind::Tcp { port: at.port() }) });
    }
    value.table("a reference", |table| {
        let address = table.require("address", "address = \"192.0.2.1\"");
        let address = address.and_then(|v| v.text("an IPv4 or IPv6 address", str::parse::<IpAddr>));
        let check = table.require("check", "check.tcp = { port = 443 }").and_then(|v| check::read_one(v, sources));
        let check = check?;
        if matches!(check.kind, CheckKind::Push { .. }) {
            return value.error("a reference cannot send heartbeats", "it is asked: take another check");
        }
        Some(Reference { address: address?, check })
    })
}
