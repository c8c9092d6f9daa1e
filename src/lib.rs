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
//! Imports go one way: `model ← {wire, atlas} ← steer ← state ← {query, control} ← {admin, simulate} ← daemon ← cli`.
//! `tests/tidy.rs` holds that rule.

// The documentation is for whoever works on Meridian, and is built with private items.
#![allow(rustdoc::private_intra_doc_links)]

pub mod admin;
pub mod atlas;
pub mod cli;
pub mod control;
pub mod daemon;
pub mod demo;
pub mod model;
pub mod query;
pub mod simulate;
pub mod state;
pub mod steer;
pub mod wire;
