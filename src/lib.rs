//! Meridian: an authoritative DNS server that steers each client to the region it should use now.
//!
//! Two planes and one hinge. `query` reads `state`; `control` writes it; neither knows the other.
//!
//! ```text
//!    packet ─▶ query: parse ─▶ look up ─▶ locate ─▶ pick ─▶ respond ─▶ packet
//!                                  │         │        │
//!                         ┌────────┴─────────┴────────┴───────┐
//!                         │ state: one Arc<Snapshot>          │
//!                         └────────────────▲──────────────────┘
//!                                          │ one writer, coalesced
//!    control: config+zones · geoip refresh · probes · load reports · demand · overrides
//!                                          │
//!    admin: API, metrics, status page, CLI: read the snapshot; may only say an override to the writer
//! ```
//!
//! In the order a packet meets them, then those that packets do not meet:
//!
//! - [`query`]: a packet in, a packet out; sockets under `query::transport`
//! - [`wire`]: DNS messages as octets: names, queries, records, EDNS, TSIG, read and written
//! - [`state`]: the snapshot that queries are answered from; the single publisher, which plans ahead
//! - [`atlas`]: the place of a client's address
//! - [`steer`]: the region that client should use; pure functions
//! - [`model`]: the configuration all of them share: validated, immutable
//! - [`control`]: all that is slow or can fail
//! - [`admin`]: API, metrics, page
//! - [`simulate`]: steering under a virtual clock
//! - [`logs`]: what is written down of queries
//! - [`daemon`], [`demo`], [`cli`]: where the planes meet; the demo; one file per subcommand
//!
//! Imports go one way: `model ← {wire, atlas} ← steer ← state ← {query, control} ← {admin, simulate} ← logs ← daemon ← cli`.
//! `tests/tidy.rs` holds that rule.

// The documentation is for whoever works on Meridian, and is built with private items.
#![allow(rustdoc::private_intra_doc_links)]

pub mod admin;
pub mod atlas;
pub mod cli;
pub mod control;
pub mod daemon;
pub mod demo;
pub mod logs;
pub mod model;
pub mod query;
pub mod simulate;
pub mod state;
pub mod steer;
pub mod wire;
