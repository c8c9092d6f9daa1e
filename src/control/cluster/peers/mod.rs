//! Messages from node to node: one of a kind goes out, and a reply or a refusal comes back.
//!
//! ```text
//!  send ─▶ client ─▶ POST /cluster/v1/KIND ─▶ server ─▶ Received ─▶ whoever handles that kind
//!             ▲      from, to, cluster, proof    │                        │
//!             └──────── reply, with its proof ◀──┴────────────────────────┘
//! ```
//!
//! The octets of a message are its sender's and its handler's affair, and so is that one may come twice or late.
//!
//! - [`message`]: the form of a message, and what is signed of it
//! - [`fault`]: why there is no reply
//! - [`proof`]: tokens and certificates
//! - `places`: connections, and how long each may take
//! - [`server`], [`client`]: the two ends

pub mod client;
pub mod fault;
pub mod message;
mod places;
pub mod proof;
pub mod server;
#[cfg(test)]
mod tests;

pub use client::PeerClient;
pub use fault::{PeerError, PeerFault};
pub use message::MOST_OCTETS;
pub use server::{PeerServer, Received};
