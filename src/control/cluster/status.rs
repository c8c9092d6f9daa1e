//! A cluster as people read it: who is there, who leads, what each has.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::state::memory::planning::role::Role;
use crate::steer::kept::Clock;

use super::etcd::client::EtcdHealth;
use super::keys::{OVERRIDES, SWITCHES};
use super::node::{Node, SeenProbe};
use super::words::{self, Word};

/// As of one moment, from one node.
///
/// The server writes it and the command line reads it, also from servers of before: what those left out has a default.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ClusterStatus {
    /// What the cluster is called.
    pub cluster: String,
    /// This node.
    pub node: String,
    /// What plans go by here: nodes with the same model follow one plan.
    pub model: String,
    /// `leader`, `follower` or `alone`.
    pub role: String,
    /// How long it has been that, in seconds.
    pub role_s: f64,
    /// The node that plans for this model; `None`: none does.
    pub leader: Option<String>,
    /// How long nobody has, in seconds; `None`: somebody does.
    pub leaderless_s: Option<f64>,
    pub plan: Option<PlanStatus>,
    /// Why the last plan was not taken.
    pub plan_error: Option<String>,
    pub etcd: EtcdStatus,
    /// By name; this one is always among them.
    pub nodes: Vec<NodeStatus>,
    /// Nodes that were there within the last hour and are not any more, by name.
    pub gone: Vec<GoneStatus>,
    /// What was said at this node alone.
    pub here: Vec<HereStatus>,
    /// Values in the store that make no sense, and why.
    pub corrupt: Vec<String>,
    pub counts: Counts,
}

/// What has come and gone since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Counts {
    /// Transactions that the store was asked for.
    pub writes: u64,
    /// Octets of messages to other nodes and of replies to theirs, without their envelopes.
    pub sent_bytes: u64,
    /// Of messages of other nodes, and of their replies.
    pub received_bytes: u64,
    /// How often a plan began to be refused.
    pub refused_plans: u64,
    /// Operators' words that did not come to hold.
    pub refused_words: u64,
}

/// The plan in force among nodes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PlanStatus {
    pub epoch: i64,
    pub number: u64,
    pub node: String,
    pub bytes: usize,
    pub made_unix_ms: u64,
    /// Seconds since then by this node's clock: off by what it differs from that of the node that made it.
    #[serde(default)]
    pub age_s: f64,
    /// It is in force at this node.
    pub taken: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EtcdStatus {
    pub there: bool,
    pub endpoint: Option<String>,
    pub version: Option<String>,
    /// How long it has not been there, in seconds; from the start on where it never was. `None`: it is.
    pub away_s: Option<f64>,
    /// Why not; `None`: it is there, or nothing was heard yet.
    pub error: Option<String>,
    /// Why it does not take what this node says, though it is there.
    #[serde(default)]
    pub refused: Option<String>,
    pub revision: i64,
    /// The number of the store: another one after it was made anew.
    #[serde(default)]
    pub store: u64,
}

/// A node, as this one sees it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "ClusterNodeStatus")]
pub struct NodeStatus {
    pub name: String,
    pub address: String,
    pub version: String,
    pub model: String,
    pub reloads: u64,
    pub ready: bool,
    /// Seconds since it was last heard of by itself; `None`: never, or it is this node.
    pub heard_s: Option<f64>,
    /// Seconds in which nothing was heard of it: where it was never heard, since it is known. `None`: it is this node.
    #[serde(default)]
    pub silent_s: Option<f64>,
    pub generation: Option<u64>,
    /// Epoch and number of the plan in force there.
    pub plan: Option<(i64, u64)>,
    /// How long connections from there take, in milliseconds, by region.
    pub connects: Vec<(String, f32)>,
    /// What was said at that node alone.
    pub here: Vec<HereStatus>,
    /// What its probes do not call up, by region; at most [`MOST_SEEN`]. Left empty where it is not asked for.
    #[serde(default)]
    pub sees: Vec<SeenProbe>,
    /// So many more there are.
    #[serde(default)]
    pub sees_more: usize,
}

/// More of a node's verdicts are not listed.
pub const MOST_SEEN: usize = 256;
/// More values that make no sense are not listed.
const MOST_CORRUPT: usize = 64;

/// A node that is not there any more.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct GoneStatus {
    pub name: String,
    /// Seconds since the store let go of it.
    pub gone_s: f64,
}

/// A word that does not hold at all nodes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct HereStatus {
    /// Such as `overrides/seoul@gslb.example`.
    pub key: String,
    /// For people.
    pub said: String,
    pub unix_ms: u64,
}

impl ClusterStatus {
    /// As it is now. Since when is not known here. `before`: the status told last, whose list of values that make no
    /// sense is taken as long as the store says the same.
    pub fn of(node: &Node, health: &EtcdHealth, before: &ClusterStatus, now: &Clock) -> ClusterStatus {
        let view = node.view();
        let as_before = (before.etcd.revision, before.etcd.store) == (view.revision(), view.store());
        let corrupt = if as_before { before.corrupt.clone() } else { corrupt(node) };
        let role = match node.role() {
            Role::Alone => "alone",
            Role::Leader => "leader",
            Role::Follower => "follower",
        };
        let in_force = node.plans().in_force();
        let names: BTreeSet<&str> = view.members().keys().map(String::as_str).chain([node.name()]).collect();
        ClusterStatus {
            cluster: node.cluster().to_owned(),
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
                age_s: now.unix_ms().saturating_sub(pointed.pointer.made_unix_ms) as f64 / 1e3,
                taken: in_force == Some(pointed.pointer.order()),
            }),
            plan_error: node.plans().refused().map(str::to_owned),
            etcd: EtcdStatus {
                there: view.is_there(),
                endpoint: health.endpoint.clone(),
                version: health.version.clone(),
                away_s: None,
                error: health
                    .last_error
                    .clone()
                    .or_else(|| view.last_trouble().map(str::to_owned))
                    .filter(|_| !view.is_there()),
                refused: None,
                revision: view.revision(),
                store: view.store(),
            },
            nodes: names.into_iter().map(|name| NodeStatus::of(node, name, now)).collect(),
            gone: Vec::new(),
            here: node.words().here().map(|(key, word)| HereStatus::of(key, word)).collect(),
            corrupt,
            ..ClusterStatus::default()
        }
    }

    /// With what each node sees of the regions, which takes its time.
    pub fn with_sights(mut self, node: &Node) -> ClusterStatus {
        for of in &mut self.nodes {
            (of.sees, of.sees_more) = node.seen_by(&of.name, MOST_SEEN);
        }
        self
    }
}

impl NodeStatus {
    fn of(node: &Node, name: &str, now: &Clock) -> NodeStatus {
        let (heard, own) = (node.peers().get(name), name == node.name());
        let member = node.view().members().get(name).cloned().filter(|_| !own);
        let member = member.unwrap_or_else(|| node.member());
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
            heard_s: heard.map(|heard| now.now().saturating_duration_since(heard.at).as_secs_f64()),
            silent_s: None,
            generation: if own { Some(node.generation()) } else { heard.map(|heard| heard.generation) },
            plan: if own { node.plans().in_force() } else { heard.and_then(|heard| heard.plan) },
            connects: match own {
                true => node.connects().clone().into_iter().collect(),
                false => heard.iter().flat_map(|heard| heard.connects.clone()).collect(),
            },
            here,
            sees: Vec::new(),
            sees_more: 0,
        }
    }
}

/// Values of the store that make no sense, each with the reason.
fn corrupt(node: &Node) -> Vec<String> {
    let view = node.view();
    let read = view.corrupt().iter().map(|(key, corrupt)| format!("{key}: {}", corrupt.why));
    let words = [OVERRIDES, SWITCHES].into_iter().flat_map(|of| view.below(of).map(move |entry| (of, entry)));
    let words = words.filter(|(of, (_, entry))| words::read(of, &entry.value).is_none());
    let words = words.map(|(of, (name, _))| format!("{of}{name}: no word of an operator: it changes nothing"));
    let verdicts = node.corrupt_verdicts().map(|key| format!("{key}: no verdicts: the region counts as up there"));
    read.chain(words).chain(verdicts).take(MOST_CORRUPT).collect()
}

impl HereStatus {
    fn of(key: &str, word: &Word) -> HereStatus {
        HereStatus { key: key.to_owned(), said: word.said.told(), unix_ms: word.unix_ms }
    }
}
