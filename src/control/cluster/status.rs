//! A cluster as people read it: who is there, who leads, what each has.

use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::state::memory::planning::shared::Role;

use super::etcd::client::EtcdHealth;
use super::node::Node;
use super::words::Word;

/// As of one moment, from one node.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ClusterStatus {
    /// This node.
    pub node: String,
    /// What plans go by here: nodes with the same model follow one plan.
    pub model: String,
    /// `leader`, `follower` or `alone`.
    pub role: String,
    /// The node that plans for this model; `None`: none does.
    pub leader: Option<String>,
    pub plan: Option<PlanStatus>,
    /// Why the last plan was not taken.
    pub plan_error: Option<String>,
    pub etcd: EtcdStatus,
    /// By name.
    pub nodes: Vec<NodeStatus>,
    /// What was said at this node alone.
    pub here: Vec<HereStatus>,
    /// Values in the store that make no sense, and why.
    pub corrupt: Vec<String>,
}

/// The plan in force among nodes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PlanStatus {
    pub epoch: i64,
    pub number: u64,
    pub node: String,
    pub bytes: usize,
    pub made_unix_ms: u64,
    /// It is in force at this node.
    pub taken: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct EtcdStatus {
    pub there: bool,
    pub endpoint: Option<String>,
    pub version: Option<String>,
    pub away_s: Option<f64>,
    pub error: Option<String>,
    pub revision: i64,
}

/// A node, as this one sees it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct NodeStatus {
    pub name: String,
    pub address: String,
    pub version: String,
    pub model: String,
    pub reloads: u64,
    pub ready: bool,
    /// Seconds since it was last heard of by itself; `None`: never, or it is this node.
    pub heard_s: Option<f64>,
    pub generation: Option<u64>,
    /// Epoch and number of the plan in force there.
    pub plan: Option<(i64, u64)>,
    /// How long connections from there take, in milliseconds, by region.
    pub connects: Vec<(String, f32)>,
    /// What was said at that node alone.
    pub here: Vec<HereStatus>,
}

/// A word that does not hold at all nodes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct HereStatus {
    /// Such as `overrides/seoul@gslb.example`.
    pub key: String,
    /// For people.
    pub said: String,
    pub unix_ms: u64,
}

impl ClusterStatus {
    pub fn of(node: &Node, health: &EtcdHealth, now: Instant) -> ClusterStatus {
        let view = node.view();
        let role = match node.role() {
            Role::Alone => "alone",
            Role::Leader => "leader",
            Role::Follower => "follower",
        };
        let in_force = node.plans().in_force();
        ClusterStatus {
            node: node.name().to_owned(),
            model: node.model().to_owned(),
            role: role.to_owned(),
            leader: view.leader(node.model()).map(|(leader, _)| leader.node.clone()),
            plan: view.plan(node.model()).map(|pointed| PlanStatus {
                epoch: pointed.pointer.epoch,
                number: pointed.pointer.number,
                node: pointed.pointer.node.clone(),
                bytes: pointed.pointer.bytes,
                made_unix_ms: pointed.pointer.made_unix_ms,
                taken: in_force == Some(pointed.pointer.order()),
            }),
            plan_error: node.plans().refused().map(str::to_owned),
            etcd: EtcdStatus {
                there: view.is_there(),
                endpoint: health.endpoint.clone(),
                version: health.version.clone(),
                away_s: health.away_for.map(|away| away.as_secs_f64()),
                error: health.last_error.clone().filter(|_| !view.is_there()),
                revision: view.revision(),
            },
            nodes: view.members().keys().map(|name| NodeStatus::of(node, name, now)).collect(),
            here: node.words().here().map(|(key, word)| HereStatus::of(key, word)).collect(),
            corrupt: view.corrupt().iter().map(|(key, corrupt)| format!("{key}: {}", corrupt.why)).collect(),
        }
    }
}

impl NodeStatus {
    fn of(node: &Node, name: &str, now: Instant) -> NodeStatus {
        let member = node.view().members().get(name).cloned().unwrap_or_default();
        let (heard, own) = (node.peers().get(name), name == node.name());
        let here = match own {
            true => node.words().here().map(|(key, word)| HereStatus::of(key, word)).collect(),
            false => heard.iter().flat_map(|heard| &heard.here).map(|(key, word)| HereStatus::of(key, word)).collect(),
        };
        NodeStatus {
            name: name.to_owned(),
            address: member.address,
            version: member.version,
            model: member.model,
            reloads: member.reloads,
            ready: member.ready,
            heard_s: heard.map(|heard| now.saturating_duration_since(heard.at).as_secs_f64()),
            generation: if own { Some(node.generation()) } else { heard.map(|heard| heard.generation) },
            plan: if own { node.plans().in_force() } else { heard.and_then(|heard| heard.plan) },
            connects: heard.iter().flat_map(|heard| heard.connects.clone()).collect(),
            here,
        }
    }
}

impl HereStatus {
    fn of(key: &str, word: &Word) -> HereStatus {
        HereStatus { key: key.to_owned(), said: word.said.told(), unix_ms: word.unix_ms }
    }
}
