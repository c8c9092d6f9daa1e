//! Nodes that share what they see: one leader plans for all, and what operators say holds everywhere.
//!
//! - [`store`]: the words spoken with etcd
//! - [`memory`]: a store in memory, for simulations and tests
//! - [`etcd`]: the real one, over HTTP

pub mod etcd;
pub mod memory;
pub mod store;
