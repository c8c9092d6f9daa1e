//! How the rest of the process speaks with its node: what may be asked, over a bounded channel, and what is shown.

use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::{mpsc, oneshot};

use crate::control::load_report::LoadUpdate;
use crate::state::memory::planning::role::{Proposal, SiteSample};
use crate::steer::health::vote::Vantage;

use super::node::SayError;
use super::status::ClusterStatus;
use super::words::Word;

/// Messages that wait for the node.
const QUEUE: usize = 1024;

/// What is asked of this node, from within its process.
pub enum Ask {
    /// An operator says something: see [`Node::say`](super::node::Node::say).
    Say {
        key: String,
        word: Word,
        here: bool,
        reply: oneshot::Sender<Result<(), SayError>>,
    },
    /// The publisher has planned for all.
    Proposal(Box<Proposal>),
    /// Answers that were given here.
    Demand(Vec<SiteSample>),
    Load(LoadUpdate),
    /// What is served now.
    Model {
        hash: String,
        reloads: u64,
    },
    Generation(u64),
    /// What this node's probes say.
    Verdicts(Vantage),
    Ready(bool),
    /// This server is about to end: all are told.
    Leave {
        reply: oneshot::Sender<()>,
    },
    /// The cluster, with what each node sees of the regions.
    Sights(oneshot::Sender<ClusterStatus>),
    /// The other nodes' own statuses.
    Statuses(oneshot::Sender<Vec<StatusOf>>),
}

/// A node's own status: JSON, or why it did not come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusOf {
    pub node: String,
    pub status: Result<Vec<u8>, String>,
}

/// Where to ask: bounded. Whoever finds it full goes on without.
#[derive(Clone)]
pub struct ClusterHandle {
    asks: mpsc::Sender<Ask>,
    status: Arc<ArcSwap<ClusterStatus>>,
}

/// The other end of a [`ClusterHandle`].
pub struct Asked {
    pub(super) asks: mpsc::Receiver<Ask>,
    pub(super) status: Arc<ArcSwap<ClusterStatus>>,
}

impl ClusterHandle {
    pub fn new() -> (ClusterHandle, Asked) {
        let ((to, asks), status) = (mpsc::channel(QUEUE), Arc::<ArcSwap<ClusterStatus>>::default());
        (ClusterHandle { asks: to, status: status.clone() }, Asked { asks, status })
    }

    /// Tells without waiting: what does not fit is dropped, and comes again with the next.
    pub fn tell(&self, ask: Ask) -> bool {
        self.asks.try_send(ask).is_ok()
    }

    /// An operator says something.
    ///
    /// # Errors
    /// Why it does not hold.
    pub async fn say(&self, key: String, word: Word, here: bool) -> Result<(), SayError> {
        let (reply, done) = oneshot::channel();
        let stopping = || SayError::Refused("the server is stopping".into());
        self.asks.send(Ask::Say { key, word, here, reply }).await.map_err(|_| stopping())?;
        done.await.map_err(|_| stopping())?
    }

    /// Tells all that this node is about to end, and waits for that.
    pub async fn leave(&self) {
        let (reply, done) = oneshot::channel();
        if self.asks.send(Ask::Leave { reply }).await.is_ok() {
            let _ = done.await;
        }
    }

    pub fn status(&self) -> Arc<ClusterStatus> {
        self.status.load_full()
    }

    /// [`ClusterHandle::status`] of this moment, with what each node sees; `None`: the server is stopping.
    pub async fn sights(&self) -> Option<ClusterStatus> {
        let (reply, done) = oneshot::channel();
        self.asks.send(Ask::Sights(reply)).await.ok()?;
        done.await.ok()
    }

    /// The other nodes' own statuses, by name, each within 3 s; `None`: the server is stopping.
    pub async fn statuses(&self) -> Option<Vec<StatusOf>> {
        let (reply, done) = oneshot::channel();
        self.asks.send(Ask::Statuses(reply)).await.ok()?;
        done.await.ok()
    }
}

impl Asked {
    /// The next that is asked; `None`: nobody asks any more.
    pub async fn next(&mut self) -> Option<Ask> {
        self.asks.recv().await
    }

    /// The status to be shown from now on.
    pub fn show(&self, status: ClusterStatus) {
        self.status.store(Arc::new(status));
    }
}
