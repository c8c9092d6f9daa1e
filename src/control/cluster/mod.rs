//! Nodes that share what they see: one leader plans for all, and what operators say holds everywhere.
//!
//! ```text
//!   writer ─▶ sharing ─▶ run: Node ─▶ etcd, peers
//!     ▲                    │
//!     └────────────────────┘ plans, words, verdicts, loads
//! ```
//!
//! - [`settings`]: what the configuration says
//! - [`store`]: the words spoken with etcd
//! - [`memory`]: a store in memory, for simulations and tests
//! - [`etcd`]: the real one, over its JSON gateway
//! - [`peers`]: messages from node to node
//! - [`keys`]: what stands in the store
//! - [`messages`]: what nodes tell each other
//! - [`words`], [`words_file`]: what operators said, everywhere and here
//! - [`node`]: one node, as a state machine
//! - [`handle`]: how the rest of the process speaks with it
//! - [`run`]: which drives it
//! - [`duty`]: which load reports this node fetches for all
//! - [`sharing`]: what the writer tells it
//! - [`status`], [`since`]: how people read it

pub mod duty;
pub mod etcd;
pub mod handle;
pub mod keys;
pub mod memory;
pub mod messages;
pub mod node;
pub mod peers;
pub mod run;
pub mod settings;
pub mod sharing;
mod since;
pub mod status;
pub mod store;
pub mod words;
pub mod words_file;

/// The octets that a message of a kind may have; `None`: there is no such kind.
pub fn message_limit(kind: &str) -> Option<usize> {
    match kind {
        "beat" => Some(4 << 20),
        "demand" => Some(16 << 20),
        "plan" => Some(node::MOST_PLAN_BYTES),
        "fetch" | "status" => Some(1 << 10),
        _ => None,
    }
}
