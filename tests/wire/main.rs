//! Answers on the wire, RFC by RFC: one server with a few zones, asked over UDP and TCP, and its
//! replies decoded by hickory-proto or by dig.
//!
//! - [`data`]: what zones hold: answers, referrals, aliases, wildcards (RFC 1034, 2308, 4592, 6672)
//! - [`message`]: what every reply must be: headers, sizes, EDNS (RFC 1035, 2181, 6891, 7871)
//! - [`steering`]: services: families agree, scopes are true
//! - [`strangers`]: random and mutated packets; dig and kdig as readers

#[path = "../support/mod.rs"]
mod support;

mod data;
mod message;
mod steering;
mod strangers;

use std::sync::OnceLock;

use support::dns::Reply;
use support::server::Server;
use support::zones;

/// One server for all tests here; it ends with the process.
fn server() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(|| Server::start("nsid = \"here\"\nlimits.tcp_per_network = 1000", zones::ALL))
}

/// Asks over UDP and TCP.
fn query(name: &str, qtype: &str) -> Reply {
    server().query(name, qtype)
}
