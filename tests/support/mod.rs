//! What tests on the wire share: a whole server in this process, questions and replies, and
//! programs that others wrote.
//!
//! - [`server`]: zone files in, a running server out
//! - [`dns`]: a question as octets, a reply as text
//! - [`packets`]: UDP packets as they come from cards
//! - [`tools`]: programs that may or may not be installed, started and ended by their id

#![allow(dead_code)] // each test takes what it needs

pub mod dns;
pub mod packets;
pub mod server;
pub mod tools;
