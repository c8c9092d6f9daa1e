//! Nodes that share what they see: one leader plans for all, and what operators say holds everywhere.
//!
//! - [`store`]: the words spoken with etcd

pub mod store;
