//! What the admin API reads, and whom it tells: all that the daemon hands it.

use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;
use tokio::sync::mpsc;

use crate::control::answered::Answered;
use crate::control::audit::Audit;
use crate::control::cluster::handle::ClusterHandle;
use crate::control::events::history::Events;
use crate::control::events::receivers::Receivers;
use crate::control::load_report::LoadUpdate;
use crate::control::node::Node;
use crate::control::probe::Heartbeats;
use crate::control::reload::{LoadStatus, ReloadRequest};
use crate::control::rum::Measurements;
use crate::control::troubles::Troubles;
use crate::control::vitals::Vitals;
use crate::control::writer::Command;
use crate::query::counters::CounterSet;
use crate::query::transport::xdp;
use crate::state::SharedSnapshot;

use super::guard::Access;
use super::places::Places;
use super::probing::Probing;

/// What the admin API reads, and whom it tells.
pub struct Context {
    pub shared: SharedSnapshot,
    pub counters: Arc<CounterSet>,
    /// Services' answers by service and region.
    pub answered: Arc<Answered>,
    pub commands: mpsc::Sender<Command>,
    /// Where load reports go that come by themselves: with those that are fetched.
    pub loads: mpsc::Sender<LoadUpdate>,
    /// Where heartbeats go.
    pub heartbeats: Arc<Heartbeats>,
    pub reloads: mpsc::Sender<ReloadRequest>,
    pub load_status: Arc<ArcSwap<LoadStatus>>,
    pub started: Instant,
    pub measurements: Arc<Measurements>,
    /// What is wrong with the files of the state directory.
    pub troubles: Arc<Troubles>,
    /// What changed, and why.
    pub events: Arc<Events>,
    /// Who is told of that elsewhere.
    pub receivers: Arc<Receivers>,
    /// Tells whether the writer lives.
    pub vitals: Arc<Vitals>,
    /// Whether this node should be announced, and what operators say of it.
    pub node: Arc<Node>,
    /// What is lost on the packet path past the sockets.
    pub xdp: xdp::Statistics,
    pub probing: Probing,
    /// The cluster this server is of; `None`: of none.
    pub cluster: Option<ClusterHandle>,
    /// Who is connected here.
    pub places: Arc<Places>,
    /// Who may ask.
    pub access: Arc<Access>,
    /// Who asked for changes.
    pub audit: Arc<Audit>,
}
