//! A cluster's node in this process: opened before anything is answered, driven beside it.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tracing::error;

use crate::control::clock;
use crate::control::cluster::duty::Duty;
use crate::control::cluster::etcd::client::Etcd;
use crate::control::cluster::message_limit;
use crate::control::cluster::node::{Identity, Node, model_hash};
use crate::control::cluster::peers::{PeerClient, PeerServer};
use crate::control::cluster::run::{Asked, ClusterHandle, Driven, run};
use crate::control::cluster::settings::ClusterSettings;
use crate::control::cluster::words::InForce;
use crate::control::cluster::words_file::WordsFile;
use crate::control::readiness::Readiness;
use crate::control::switches::SwitchStore;
use crate::control::troubles::Troubles;
use crate::control::writer::Command;
use crate::state::{Publisher, SharedSnapshot};
use crate::steer::health::effective::Override;

/// Messages of other nodes that wait.
const RECEIVED: usize = 64;

/// What a node of a cluster needs that can fail at the start.
pub struct OpenedCluster {
    settings: ClusterSettings,
    server: PeerServer,
    client: PeerClient,
    handle: ClusterHandle,
    asked: Asked,
    duty: Arc<Duty>,
    held: InForce,
    words: WordsFile,
}

/// This server's status as JSON, once there is one.
pub type OwnStatus = Arc<OnceLock<Box<dyn Fn() -> Vec<u8> + Send + Sync>>>;

/// Whom the node tells.
pub struct Told {
    pub shared: SharedSnapshot,
    pub commands: mpsc::Sender<Command>,
    pub readiness: Arc<Readiness>,
    pub own_status: OwnStatus,
}

impl OpenedCluster {
    /// `held`: what operators said of regions and services before.
    pub fn open(
        settings: &ClusterSettings,
        held: InForce,
        state: &Path,
        troubles: &Arc<Troubles>,
    ) -> Result<OpenedCluster, String> {
        let (handle, asked) = ClusterHandle::new();
        Ok(OpenedCluster {
            settings: settings.clone(),
            server: PeerServer::bind(&settings.peers)?,
            client: PeerClient::new(&settings.peers, &settings.name, &settings.node)?,
            handle,
            asked,
            duty: Arc::default(),
            held,
            words: WordsFile::new(state, troubles.clone()),
        })
    }

    pub fn handle(&self) -> ClusterHandle {
        self.handle.clone()
    }

    /// Which load reports this node fetches.
    pub fn duty(&self) -> Arc<Duty> {
        self.duty.clone()
    }

    pub fn start(self, told: Told, tasks: &mut Vec<JoinHandle<()>>) {
        let OpenedCluster { settings, server, client, asked, duty, held, words, .. } = self;
        let (to, received) = mpsc::channel(RECEIVED);
        let (cluster, name) = (settings.name.clone(), settings.node.clone());
        tasks.push(tokio::spawn(async move {
            if let Err(error) = server.run(&cluster, &name, message_limit, to).await {
                error!("other nodes cannot reach this one any more: {error}; answers go on");
            }
        }));
        let snapshot = told.shared.load_full();
        let identity = Identity {
            cluster: settings.name.clone(),
            node: settings.node.clone(),
            address: settings.peers.address.to_string(),
            boot: fastrand::u64(1..),
            version: env!("CARGO_PKG_VERSION").into(),
        };
        let node = Node::new(identity, model_hash(&snapshot.model, snapshot.seed));
        let own_status = told.own_status;
        let driven = Driven {
            cluster: settings.name,
            etcd: Arc::new(Etcd::new(settings.etcd)),
            peers: Arc::new(client),
            received,
            commands: told.commands,
            words,
            own_status: Arc::new(move || own_status.get().map(|status| status()).unwrap_or_default()),
            readiness: told.readiness,
            anycast: settings.anycast,
            shared: told.shared,
            duty,
        };
        tasks.push(tokio::spawn(run(node, driven, asked, held)));
    }
}

/// What operators said before, by the publisher and the file beside it. A file that cannot be read says nothing here:
/// the writer tells.
pub fn held(publisher: &Publisher, switches: &SwitchStore) -> InForce {
    let drains = publisher.drains(None, clock::read());
    let of = |(region, said): (&String, &Override)| (region.clone(), (*said, drains.get(region).copied()));
    let overrides = publisher.overrides().iter().map(of).collect();
    InForce { overrides, switches: switches.load().unwrap_or_default() }
}
