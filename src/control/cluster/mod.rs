//! Nodes that share what they see: one leader plans for all, and what operators say holds everywhere.
//!
//! - [`store`]: the words spoken with etcd
//! - [`memory`]: a store in memory, for simulations and tests
//! - [`etcd`]: the real one, over its JSON gateway
//! - [`keys`]: what stands there
//! - [`messages`]: what nodes tell each other
//! - [`words`], [`words_file`]: what operators said, everywhere and here
//! - [`node`]: one node, as a state machine

pub mod etcd;
pub mod keys;
pub mod memory;
pub mod messages;
pub mod node;
pub mod store;
