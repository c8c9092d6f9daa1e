//! Nodes that share what they see: one leader plans for all, and what operators say holds everywhere.
//!
//! - [`store`]: the words spoken with etcd
//! - [`memory`]: a store in memory, for simulations and tests
//! - [`keys`]: what stands there
//! - [`messages`]: what nodes tell each other
//! - [`node`]: one node, as a state machine

pub mod keys;
pub mod memory;
pub mod messages;
pub mod node;
pub mod store;
