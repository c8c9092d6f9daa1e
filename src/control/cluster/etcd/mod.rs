//! The store of a cluster as it really is: etcd.
//!
//! - [`settings`]: where it is, and how it knows this node

pub mod settings;
