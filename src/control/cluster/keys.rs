//! The keys of a cluster in the store, and the values below them: JSON, so that `etcdctl get --prefix /meridian` shows
//! what is going on.
//!
//! ```text
//!   /meridian/NAME/nodes/NODE            who is there                    goes with the node's lease
//!   /meridian/NAME/leader/MODEL          who plans for that model        goes with the node's lease
//!   /meridian/NAME/plan/MODEL            which plan is in force
//!   /meridian/NAME/judges/NODE           what its probes look after     goes with the node's lease
//!   /meridian/NAME/verdicts/NODE/REGION  what its probes do not call up  goes with the node's lease
//!   /meridian/NAME/overrides/REGION      what operators said
//!   /meridian/NAME/switches/SERVICE      which stage and canary of a service
//!   /meridian/NAME/audit/TIME-NODE       who said what, when             the latest 1,000 stay
//! ```

use serde::{Deserialize, Serialize};

use super::store::Revision;

/// All keys of a cluster are below this.
pub fn prefix(cluster: &str) -> String {
    format!("/meridian/{cluster}/")
}

/// Keys below a cluster's prefix, by what they say.
pub const NODES: &str = "nodes/";
pub const LEADER: &str = "leader/";
pub const PLAN: &str = "plan/";
pub const JUDGES: &str = "judges/";
pub const VERDICTS: &str = "verdicts/";
pub const OVERRIDES: &str = "overrides/";
pub const SWITCHES: &str = "switches/";
pub const AUDIT: &str = "audit/";

/// A node that is there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Where other nodes reach it.
    pub address: String,
    /// Another number with each start.
    pub boot: u64,
    /// Of the program.
    pub version: String,
    /// [`super::node::model_hash`].
    pub model: String,
    /// Reloads since its start.
    pub reloads: u64,
    /// It is announced as long as `/ready` says so, and it does now.
    #[serde(default)]
    pub ready: bool,
}

/// The node that plans for a model. Its epoch is the revision that made the key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leader {
    pub node: String,
    pub boot: u64,
}

/// The plan in force for a model. Its octets go from node to node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pointer {
    pub epoch: Revision,
    /// Of the epoch, from 1.
    pub number: u64,
    /// SHA-256 of the octets, in hexadecimal digits.
    pub hash: String,
    pub bytes: usize,
    /// The node that made it.
    pub node: String,
    pub made_unix_ms: u64,
}

impl Pointer {
    /// Only what is greater is taken.
    pub fn order(&self) -> (Revision, u64) {
        (self.epoch, self.number)
    }
}
