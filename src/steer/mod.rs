//! Which region: pure functions of facts, with time and chance as arguments.
//!
//! - [`health`]: what a history of probes says of an endpoint

pub mod health;
