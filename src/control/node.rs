//! An operator's word on this node as a whole, kept over restarts: `node.json` in the state directory.
//!
//! In: drained or not. Out: [`Readiness`], at once; an event; and the file, as soon as the disk takes it. A disk in
//! trouble may be the very reason for a drain, so the word holds without it, and whoever said it is told.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::clock;
use super::events::event::{Change, NodeChange};
use super::events::history::Events;
use super::readiness::Readiness;
use super::save::PATIENCE;
use super::state_file::{Content, StateFile, StateFileError};
use super::troubles::{StateName, TroubleKind, Troubles};

/// Until a word that could not be kept is tried again, and until what was set aside is looked for again.
const AGAIN: Duration = Duration::from_secs(5);

/// What is said of this node, and who is told.
pub struct Node {
    pub readiness: Arc<Readiness>,
    file: StateFile<Stored>,
    events: Arc<Events>,
    troubles: Arc<Troubles>,
    said: watch::Sender<Said>,
    tried: watch::Sender<Tried>,
}

/// The last word that was written, and whether the disk took it.
#[derive(Clone, Copy, Debug)]
struct Tried {
    number: u64,
    kept: bool,
}

/// The last word, and how many there were before it.
#[derive(Clone, Copy, Debug, Default)]
struct Said {
    number: u64,
    drained: bool,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    /// [`StateFile`]'s.
    #[serde(default, skip_serializing, rename = "sha256")]
    _sha256: IgnoredAny,
    version: u32,
    drained: bool,
}

impl Content for Stored {
    const NAME: StateName = StateName::Node;
    const VERSION: u32 = 1;
    const MAX_BYTES: u64 = 4 << 10;
    const INDENTED: bool = true;
    const OF: &'static str = "this node";
    const WITHOUT: &'static str = "start without a drain";
    const INSTEAD: &'static str = "the node is not drained, but for what was said since";
    const TOO_LARGE: &'static str = "";

    fn version(&self) -> u32 {
        self.version
    }
}

impl Node {
    /// With the word that was kept; without one, or with one that cannot be read, the node is not drained.
    pub fn open(directory: &Path, readiness: Arc<Readiness>, events: Arc<Events>, troubles: Arc<Troubles>) -> Node {
        let file = StateFile::<Stored>::new(directory);
        // What is wrong with the file has been told.
        let drained = file.load_at_start(&troubles).ok().flatten().is_some_and(|stored| stored.drained);
        readiness.set_drained(drained);
        let said = watch::Sender::new(Said { number: 0, drained });
        Node { readiness, file, events, troubles, said, tried: watch::Sender::new(Tried { number: 0, kept: true }) }
    }

    /// Takes the operator's word at once, and waits for the disk a while.
    ///
    /// `Ok`: it outlives a restart, and whether it is another one than before.
    ///
    /// # Errors
    /// Why it is not kept yet, in a clause; it holds all the same, and is kept as soon as that can be.
    pub async fn say(&self, drained: bool) -> Result<bool, String> {
        let changed = self.readiness.set_drained(drained);
        let mut number = 0;
        self.said.send_modify(|said| {
            number = said.number + 1;
            *said = Said { number, drained };
        });
        if changed {
            let changes = vec![Change::Node(NodeChange { drained })];
            super::events::told::tell(&changes);
            self.events.add(&clock::read(), changes);
        }
        let mut tried = self.tried.subscribe();
        let tried = timeout(PATIENCE, tried.wait_for(|tried| tried.number >= number)).await;
        match tried.is_ok_and(|tried| tried.is_ok_and(|tried| tried.kept)) {
            true => Ok(changed),
            false => Err(self.why_not()),
        }
    }

    fn why_not(&self) -> String {
        let told = self.troubles.all().into_iter().find(|(name, ..)| *name == StateName::Node);
        told.map_or_else(|| "the disk does not answer".to_owned(), |(.., trouble)| trouble.error)
    }

    /// Keeps every word that is said, again and again until the disk takes it. Never ends.
    pub async fn keep(self: Arc<Node>) {
        let mut news = self.said.subscribe();
        loop {
            let (said, tried) = (*news.borrow_and_update(), *self.tried.borrow());
            if said.number > tried.number || !tried.kept {
                let kept = self.save(said).await;
                self.tried.send_replace(Tried { number: said.number, kept });
            }
            let again = !self.tried.borrow().kept || self.troubles.has(StateName::Node, TroubleKind::SetAside);
            tokio::select! {
                changed = news.changed() => if changed.is_err() { return },
                () = sleep(AGAIN), if again => self.look_aside().await,
            }
        }
    }

    /// Tells whether the disk has taken it.
    async fn save(&self, said: Said) -> bool {
        let (file, path) = (self.file.clone(), self.file.path().display().to_string());
        let stored = Stored { _sha256: IgnoredAny, version: Stored::VERSION, drained: said.drained };
        let mut job = tokio::task::spawn_blocking(move || file.save(&stored));
        let joined = match timeout(PATIENCE, &mut job).await {
            Ok(joined) => joined,
            Err(_) => {
                let error = format!("the disk has not answered for {} s: {path}", PATIENCE.as_secs());
                self.troubles.begin(StateName::Node, TroubleKind::Hanging, &error, HOLDS);
                let joined = job.await;
                self.troubles.end(StateName::Node, TroubleKind::Hanging);
                joined
            }
        };
        match joined.unwrap_or_else(|error| Err(StateFileError::Stopped(error.to_string()))) {
            Ok(()) => {
                for kind in [TroubleKind::Unwritable, TroubleKind::Unreadable] {
                    self.troubles.end(StateName::Node, kind);
                }
                true
            }
            Err(error) => {
                self.troubles.begin(StateName::Node, TroubleKind::Unwritable, &error.to_string(), HOLDS);
                false
            }
        }
    }

    /// Tells of a file that was set aside, for as long as it lies there.
    async fn look_aside(&self) {
        if self.troubles.has(StateName::Node, TroubleKind::SetAside) {
            let (file, troubles) = (self.file.clone(), self.troubles.clone());
            // An error is a panic, which has been told.
            let _ = tokio::task::spawn_blocking(move || file.look_aside(&troubles)).await;
        }
    }
}

/// What holds while the file cannot be written.
const HOLDS: &str = "what was said of this node holds until a restart, and is written again every 5 s";

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::events::history::Wanted;
    use super::*;

    fn node(directory: &Path) -> (Arc<Node>, Arc<Troubles>) {
        let (troubles, events) = (Arc::new(Troubles::default()), Arc::new(Events::default()));
        (Arc::new(Node::open(directory, Arc::default(), events, troubles.clone())), troubles)
    }

    #[tokio::test]
    async fn a_drain_is_kept_and_told_once() {
        let directory = tempfile::tempdir().expect("a directory");
        let state = directory.path().join("made/when/needed");
        let (first, troubles) = node(&state);
        let keeping = tokio::spawn(first.clone().keep());
        assert_eq!(first.say(true).await, Ok(true));
        assert_eq!(first.say(true).await, Ok(false));
        let all = Wanted { limit: 10, ..Wanted::default() };
        let told: Vec<_> = first.events.find(&all).events.into_iter().map(|event| event.change).collect();
        assert_eq!(told, [Change::Node(NodeChange { drained: true })]);
        let (second, _) = node(&state);
        assert!(second.readiness.is_drained());
        assert_eq!(first.say(false).await, Ok(true));
        assert!(!node(&state).0.readiness.is_drained() && troubles.all().is_empty());
        keeping.abort();
    }

    #[tokio::test]
    async fn a_word_that_cannot_be_kept_holds_and_is_kept_later() {
        let directory = tempfile::tempdir().expect("a directory");
        let state = directory.path().join("state");
        let (node, troubles) = node(&state);
        fs::write(&state, "in the way of the directory").expect("written");
        let keeping = tokio::spawn(node.clone().keep());
        let refused = node.say(true).await.expect_err("no directory");
        assert!(node.readiness.is_drained() && refused.contains("node.json"), "{refused}");
        assert!(troubles.has(StateName::Node, TroubleKind::Unwritable));
        fs::remove_file(&state).expect("out of the way");
        let mut tried = node.tried.subscribe();
        timeout(6 * AGAIN, tried.wait_for(|tried| tried.kept)).await.expect("kept in time").expect("there");
        assert!(troubles.all().is_empty());
        keeping.abort();
    }

    #[tokio::test]
    async fn a_file_that_cannot_be_used_drains_nobody_and_is_told() {
        let directory = tempfile::tempdir().expect("a directory");
        fs::write(directory.path().join("node.json"), "{\"version\":1,\"drained\":1}").expect("written");
        let (node, troubles) = node(directory.path());
        assert!(!node.readiness.is_drained() && troubles.has(StateName::Node, TroubleKind::SetAside));
    }
}
