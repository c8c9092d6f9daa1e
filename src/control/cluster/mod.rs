//! Nodes that share what they see: one leader plans for all, and what operators say holds everywhere.
//!
//! - [`settings`]: what the cluster and this node are called, and how others are reached
//! - [`store`]: the words spoken with etcd
//! - [`etcd`]: the store itself
//! - [`peers`]: messages from node to node

pub mod etcd;
pub mod peers;
pub mod settings;
pub mod store;
