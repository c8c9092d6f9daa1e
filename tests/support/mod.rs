//! What tests on the wire share: a whole server in this process, questions and replies, and
//! programs that others wrote.
//!
//! - [`browser`]: a real browser, where one is installed
//! - [`server`]: zone files in, a running server out
//! - [`dns`]: a question as octets, a reply as text
//! - [`zones`]: zones of every kind of name and policy
//! - [`questions`]: packets without end about a model, from a seed
//! - [`exchange`]: many packets at once over one socket, and what ought to come back
//! - [`packets`]: packets of every kind over a configuration of every kind
//! - [`frames`]: UDP packets as they come from cards
//! - [`one_zone`]: a configuration of one zone, from its text
//! - [`tools`]: programs that may or may not be installed, started and ended by their id
//! - [`link`], [`raw`]: two machines with a cable between them, and frames put together by hand
//! - [`etcd`]: members of a store, started, stopped and ended
//! - [`networks`]: a server, a router, three regions and a reference, each on a machine of its own

#![allow(dead_code)] // each test takes what it needs

pub mod browser;
pub mod dns;
pub mod etcd;
pub mod exchange;
pub mod frames;
pub mod link;
pub mod networks;
pub mod one_zone;
pub mod packets;
pub mod questions;
pub mod raw;
pub mod server;
pub mod tools;
pub mod zones;
