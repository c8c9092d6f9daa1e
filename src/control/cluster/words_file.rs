//! Words on disk: `cluster.json` in the state directory, for a start while the store is away.

use std::path::Path;
use std::sync::Arc;

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use tokio::task::JoinHandle;

use crate::control::save::PATIENCE;
use crate::control::state_file::{Content, StateFile};
use crate::control::troubles::{StateName, TroubleKind, Troubles};

use super::words::Words;

/// The file of words in a state directory.
#[derive(Clone)]
pub struct WordsFile {
    file: StateFile<Stored>,
    troubles: Arc<Troubles>,
    /// A save that the disk has not answered yet.
    hanging: Arc<tokio::sync::Mutex<Option<JoinHandle<()>>>>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    /// [`StateFile`]'s.
    #[serde(default, skip_serializing, rename = "sha256")]
    _sha256: IgnoredAny,
    version: u32,
    words: Words,
}

impl Content for Stored {
    const NAME: StateName = StateName::Cluster;
    const VERSION: u32 = 1;
    /// All regions and services there may be, with long names.
    const MAX_BYTES: u64 = 32 << 20;
    const INDENTED: bool = true;
    const OF: &'static str = "what was said to the cluster";
    const WITHOUT: &'static str = "start with what the other files and etcd say";
    const INSTEAD: &'static str = "what etcd says holds; what was said at this node alone may be forgotten";
    const TOO_LARGE: &'static str = "";

    fn version(&self) -> u32 {
        self.version
    }
}

impl WordsFile {
    pub fn new(state_directory: &Path, troubles: Arc<Troubles>) -> WordsFile {
        WordsFile { file: StateFile::new(state_directory), troubles, hanging: Arc::default() }
    }

    /// What was kept; nothing where nothing was, or it cannot be read: that is told.
    pub fn load(&self) -> Words {
        let stored = self.file.load_at_start(&self.troubles).ok().flatten();
        stored.map(|stored| stored.words).unwrap_or_default()
    }

    /// Keeps these, on another thread. A failure is told, and a disk that hangs: it is waited for once, and holds up no
    /// word after that.
    pub async fn save(&self, words: Words) {
        let mut hanging = self.hanging.lock().await;
        if hanging.as_ref().is_some_and(|job| !job.is_finished()) {
            return; // the next words are all words
        }
        let (file, troubles) = (self.file.clone(), self.troubles.clone());
        let mut job = tokio::task::spawn_blocking(move || {
            let stored = Stored { _sha256: IgnoredAny, version: Stored::VERSION, words };
            match file.save_unless(&stored, &Default::default()) {
                Ok(()) => troubles.end(StateName::Cluster, TroubleKind::Unwritable),
                Err(error) => troubles.begin(StateName::Cluster, TroubleKind::Unwritable, &error.to_string(), UNKEPT),
            }
            troubles.end(StateName::Cluster, TroubleKind::Hanging);
        });
        *hanging = None;
        if tokio::time::timeout(PATIENCE, &mut job).await.is_err() {
            self.troubles.begin(StateName::Cluster, TroubleKind::Hanging, "the disk does not answer", UNKEPT);
            *hanging = Some(job);
        }
    }
}

/// What holds while words cannot be kept.
const UNKEPT: &str = "what was said holds, but for a restart while etcd is away";
