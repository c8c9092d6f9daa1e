//! A cluster's node in this process: opened before anything is answered, driven beside it.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tracing::error;

use crate::admin::{Context, status_json};
use crate::control::clock;
use crate::control::cluster::duty::Duty;
use crate::control::cluster::etcd::client::Etcd;
use crate::control::cluster::handle::{Asked, ClusterHandle};
use crate::control::cluster::message_limit;
use crate::control::cluster::node::{Identity, Node, model_hash};
use crate::control::cluster::peers::{PeerClient, PeerServer};
use crate::control::cluster::run::{Driven, run};
use crate::control::cluster::settings::ClusterSettings;
use crate::control::cluster::words::InForce;
use crate::control::cluster::words_file::WordsFile;
use crate::control::config::Config;
use crate::control::switches::SwitchStore;
use crate::control::troubles::Troubles;
use crate::state::Publisher;
use crate::steer::health::effective::Override;

/// Messages of other nodes that wait.
const RECEIVED: usize = 64;

/// The cluster that this server is of, if it is of one.
pub struct Joined(Option<Opened>);

/// What a node of a cluster needs that can fail at the start.
struct Opened {
    settings: ClusterSettings,
    server: PeerServer,
    client: PeerClient,
    handle: ClusterHandle,
    asked: Asked,
    duty: Arc<Duty>,
    held: InForce,
    words: WordsFile,
}

impl Joined {
    /// `publisher`: with what operators said of regions before.
    ///
    /// # Errors
    /// Other nodes could not reach this one, or it could not prove who it is.
    pub fn open(config: &Config, publisher: &Publisher, troubles: &Arc<Troubles>) -> Result<Joined, String> {
        let Some(settings) = &config.cluster else { return Ok(Joined(None)) };
        let (handle, asked) = ClusterHandle::new();
        Ok(Joined(Some(Opened {
            settings: settings.clone(),
            server: PeerServer::bind(&settings.peers)?,
            client: PeerClient::new(&settings.peers, &settings.name, &settings.node)?,
            handle,
            asked,
            duty: Arc::default(),
            held: held(publisher, &SwitchStore::new(&config.state)),
            words: WordsFile::new(&config.state, troubles.clone()),
        })))
    }

    pub fn handle(&self) -> Option<ClusterHandle> {
        Some(self.0.as_ref()?.handle.clone())
    }

    /// Which load reports this node fetches: all, where it is alone.
    pub fn duty(&self) -> Arc<Duty> {
        self.0.as_ref().map(|opened| opened.duty.clone()).unwrap_or_default()
    }

    pub fn start(self, context: &Arc<Context>, tasks: &mut Vec<JoinHandle<()>>) {
        let Some(Opened { settings, server, client, asked, duty, held, words, .. }) = self.0 else { return };
        let (to, received) = mpsc::channel(RECEIVED);
        let (cluster, name) = (settings.name.clone(), settings.node.clone());
        tasks.push(tokio::spawn(async move {
            if let Err(error) = server.run(&cluster, &name, message_limit, to).await {
                error!("other nodes cannot reach this one any more: {error}; answers go on");
            }
        }));
        let snapshot = context.shared.load_full();
        let identity = Identity {
            cluster: settings.name.clone(),
            node: settings.node.clone(),
            address: settings.peers.address.to_string(),
            boot: fastrand::u64(1..),
            version: env!("CARGO_PKG_VERSION").into(),
        };
        let node = Node::new(identity, model_hash(&snapshot.model, snapshot.seed));
        let own = context.clone();
        let driven = Driven {
            cluster: settings.name,
            etcd: Arc::new(Etcd::new(settings.etcd)),
            peers: Arc::new(client),
            received,
            commands: context.commands.clone(),
            words,
            own_status: Arc::new(move || status_json(&own)),
            readiness: context.node.readiness.clone(),
            anycast: settings.anycast,
            shared: context.shared.clone(),
            duty,
        };
        tasks.push(tokio::spawn(run(node, driven, asked, held)));
    }
}

/// What operators said before, by the publisher and the file beside it. A file that cannot be read says nothing here:
/// the writer tells.
fn held(publisher: &Publisher, switches: &SwitchStore) -> InForce {
    let drains = publisher.drains(None, clock::read());
    let of = |(region, said): (&String, &Override)| (region.clone(), (*said, drains.get(region).copied()));
    let overrides = publisher.overrides().iter().map(of).collect();
    InForce { overrides, switches: switches.load().unwrap_or_default() }
}
