//! The record of changes that were asked for by the admin API: who, from where, what, before, after, and what came of it.
//!
//! Entries are remembered at once and written soon: a line of JSON each in `audit.jsonl`. When that is full it becomes
//! `audit.jsonl.1`, and so on up to [`FILES`]. Where it cannot be written, that is told, and tried again; nobody waits.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, watch};
use tracing::warn;

use super::atomic_file::make_directory;
use super::rotated_file::RotatedFile;
use super::troubles::{StateName, TroubleKind, Troubles};

/// A file is never larger, in octets: some 2,000 entries.
const MOST_OCTETS: u64 = 1024 * 1024;
/// Full files beside the one that is written.
const FILES: usize = 4;
/// Entries that are remembered, and that wait to be written.
const REMEMBERED: usize = 500;
/// After a failure it is tried again.
const AGAIN: Duration = Duration::from_secs(5);

/// A change that was asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "AuditEntry")]
pub struct Entry {
    /// Grows by one with each, also over restarts.
    pub id: u64,
    /// By the wall clock; RFC 3339 in UTC.
    #[schemars(extend("format" = "date-time"))]
    pub at: String,
    /// The token's name; `uid 1000` by the socket of this machine; `token` with the one token, `local` without any.
    pub who: String,
    pub role: String,
    /// An address, or `unix`.
    pub from: String,
    /// Such as `POST /v1/regions/seoul/override`.
    pub what: String,
    /// What was asked for in the body, cut to 1,000 octets.
    pub asked: Option<String>,
    /// What held before; `None`: not known, or nothing was changed.
    pub before: Option<String>,
    pub after: Option<String>,
    pub outcome: Outcome,
    /// As answered.
    pub status: u16,
    /// Why it was rejected.
    pub why: Option<String>,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "AuditOutcome")]
pub enum Outcome {
    Done,
    Rejected,
    /// It was not done in time, and may still be.
    Unknown,
}

/// Entries, and the files of them.
#[derive(Debug)]
pub struct Audit {
    known: Mutex<Known>,
    news: Notify,
    /// How many entries are still to be written.
    waiting: watch::Sender<usize>,
    path: PathBuf,
    troubles: Arc<Troubles>,
}

#[derive(Debug, Default)]
struct Known {
    /// Oldest first.
    entries: VecDeque<Arc<Entry>>,
    last_id: u64,
    unwritten: VecDeque<Arc<Entry>>,
    /// Dropped, because too many waited.
    lost: u64,
}

/// Entries that were found.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct FoundEntries {
    /// Oldest first.
    pub entries: Vec<Entry>,
    /// So many more are remembered, but not within the limit.
    pub left_out: usize,
    /// Of all; 0: none yet.
    pub last_id: u64,
}

impl Audit {
    /// With the entries that were written last. Blocks for milliseconds.
    pub fn open(directory: &Path, troubles: Arc<Troubles>) -> Audit {
        let path = directory.join(StateName::Audit.as_str());
        let entries = read(&path).unwrap_or_else(|error| {
            let error = format!("cannot read {}: {error}", path.display());
            troubles.begin(StateName::Audit, TroubleKind::Unreadable, &error, "changes from before are not shown");
            VecDeque::new()
        });
        let last_id = entries.back().map_or(0, |entry| entry.id);
        let known = Mutex::new(Known { entries, last_id, ..Known::default() });
        Audit { known, news: Notify::new(), waiting: watch::Sender::new(0), path, troubles }
    }

    /// Remembers an entry, numbers and dates it, and has it written.
    pub fn add(&self, entry: Entry, now: Timestamp) {
        let mut known = self.lock();
        known.last_id += 1;
        let entry = Arc::new(Entry { id: known.last_id, at: now.to_string(), ..entry });
        push(&mut known.entries, entry.clone());
        known.lost += u64::from(push(&mut known.unwritten, entry));
        self.waiting.send_replace(known.unwritten.len());
        drop(known);
        self.news.notify_one();
    }

    /// The newest `limit`; those after a number, the oldest of them first where that is said.
    pub fn find(&self, after: Option<u64>, limit: usize) -> FoundEntries {
        let known = self.lock();
        let mut found: Vec<Arc<Entry>> =
            known.entries.iter().filter(|entry| after.is_none_or(|after| entry.id > after)).cloned().collect();
        let last_id = known.last_id;
        drop(known);
        let left_out = found.len().saturating_sub(limit);
        match after {
            Some(_) => found.truncate(limit),
            None => _ = found.drain(..left_out),
        }
        FoundEntries { entries: found.iter().map(|entry| Entry::clone(entry)).collect(), left_out, last_id }
    }

    /// The last change that was rejected.
    pub fn last_rejected(&self) -> Option<Entry> {
        let known = self.lock();
        let found = known.entries.iter().rfind(|entry| entry.outcome == Outcome::Rejected);
        found.map(|entry| Entry::clone(entry))
    }

    /// Writes what comes, for ever.
    pub async fn keep(self: Arc<Audit>) {
        loop {
            self.news.notified().await;
            while !self.clone().write().await {
                tokio::time::sleep(AGAIN).await;
            }
        }
    }

    /// Completes once nothing waits to be written.
    pub async fn written(&self) {
        // An error cannot be: the sender is held here.
        _ = self.waiting.subscribe().wait_for(|waiting| *waiting == 0).await;
    }

    /// Writes what waits; false where that failed.
    async fn write(self: Arc<Audit>) -> bool {
        let waiting: Vec<Arc<Entry>> = self.lock().unwritten.iter().cloned().collect();
        let Some(last) = waiting.last().map(|entry| entry.id) else { return true };
        let audit = self.clone();
        let written = tokio::task::spawn_blocking(move || append(&audit.path, &waiting)).await;
        match written.unwrap_or_else(|error| Err(io::Error::other(error))) {
            Ok(()) => {
                let mut known = self.lock();
                known.unwritten.retain(|entry| entry.id > last);
                self.waiting.send_replace(known.unwritten.len());
                let lost = std::mem::take(&mut known.lost);
                drop(known);
                if lost > 0 {
                    warn!(
                        lost,
                        "changes that were asked for are in no audit log: it could not be written for too long"
                    );
                }
                self.troubles.end(StateName::Audit, TroubleKind::Unwritable);
                true
            }
            Err(error) => {
                let error = format!("cannot write {}: {error}", self.path.display());
                let instead = "changes are made all the same, and the last 500 are remembered until it can be";
                self.troubles.begin(StateName::Audit, TroubleKind::Unwritable, &error, instead);
                false
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Appends within the limit; says whether one was dropped for it.
fn push(entries: &mut VecDeque<Arc<Entry>>, entry: Arc<Entry>) -> bool {
    entries.push_back(entry);
    entries.len() > REMEMBERED && entries.pop_front().is_some()
}

/// The newest entries of the file that is written, and of the one before.
fn read(path: &Path) -> io::Result<VecDeque<Arc<Entry>>> {
    let mut entries = VecDeque::new();
    for path in [file(path).numbered(1), path.to_owned()] {
        let mut file = match fs::metadata(&path) {
            // A pipe would keep its reader waiting for ever.
            Ok(metadata) if !metadata.is_file() => return Err(io::Error::other("it is not a regular file")),
            Ok(_) => File::open(&path)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        file.seek(SeekFrom::Start(file.metadata()?.len().saturating_sub(2 * MOST_OCTETS)))?;
        let mut octets = Vec::new();
        file.take(2 * MOST_OCTETS).read_to_end(&mut octets)?;
        // A line that is torn, as by a kill, is left out.
        for entry in octets.split(|octet| *octet == b'\n').filter_map(|line| serde_json::from_slice(line).ok()) {
            push(&mut entries, Arc::new(entry));
        }
    }
    Ok(entries)
}

/// Appends lines, in a new file where they do not fit.
fn append(path: &Path, entries: &[Arc<Entry>]) -> io::Result<()> {
    // Begins with a line of its own, should the last one be torn.
    let mut lines = vec![b'\n'];
    for entry in entries {
        serde_json::to_writer(&mut lines, &**entry)?;
        lines.push(b'\n');
    }
    make_directory(path.parent().unwrap_or(Path::new(".")))?;
    file(path).append(&lines)?.sync_data()
}

fn file(path: &Path) -> RotatedFile {
    RotatedFile { path: path.to_owned(), most_octets: MOST_OCTETS, files: FILES }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(what: &str, outcome: Outcome) -> Entry {
        Entry {
            id: 0,
            at: String::new(),
            who: "alice".into(),
            role: "operate".into(),
            from: "192.0.2.1".into(),
            what: what.into(),
            asked: Some("x".repeat(1000)),
            before: None,
            after: None,
            outcome,
            status: 200,
            why: None,
        }
    }

    #[tokio::test]
    async fn entries_outlive_a_restart_and_files_stay_few_and_small() {
        let state = tempfile::tempdir().expect("a directory");
        let troubles = Arc::new(Troubles::default());
        let audit = Arc::new(Audit::open(state.path(), troubles.clone()));
        for round in 0..20 {
            for number in 0..400 {
                audit.add(entry(&format!("{round} {number}"), Outcome::Done), Timestamp::UNIX_EPOCH);
            }
            assert!(audit.clone().write().await);
        }
        let files: Vec<u64> = fs::read_dir(state.path())
            .expect("a directory")
            .map(|file| file.expect("a file").metadata().expect("there").len())
            .collect();
        assert!(files.len() == 1 + FILES && files.iter().all(|length| *length <= MOST_OCTETS), "{files:?}");
        let path = state.path().join("audit.jsonl");
        fs::write(&path, [fs::read(&path).expect("there"), b"{\"id\": 99".to_vec()].concat()).expect("torn");
        let audit = Arc::new(Audit::open(state.path(), troubles.clone()));
        let found = audit.find(None, 2);
        let whats: Vec<&str> = found.entries.iter().map(|entry| &*entry.what).collect();
        assert_eq!((whats, found.left_out, found.last_id), (vec!["19 398", "19 399"], REMEMBERED - 2, 8000));
        audit.add(entry("after", Outcome::Rejected), Timestamp::UNIX_EPOCH);
        assert!(tokio::time::timeout(Duration::from_millis(1), audit.written()).await.is_err());
        assert!(audit.clone().write().await);
        audit.written().await;
        let found = Audit::open(state.path(), troubles).find(Some(7999), 9);
        assert_eq!(found.entries.iter().map(|entry| entry.id).collect::<Vec<_>>(), [8000, 8001]);
        assert_eq!(found.entries[1].at, "1970-01-01T00:00:00Z");
    }

    #[tokio::test]
    async fn what_cannot_be_written_is_told_and_remembered() {
        let state = tempfile::tempdir().expect("a directory");
        let troubles = Arc::new(Troubles::default());
        let audit = Arc::new(Audit::open(state.path(), troubles.clone()));
        fs::create_dir(state.path().join("audit.jsonl")).expect("made");
        audit.add(entry("first", Outcome::Rejected), Timestamp::UNIX_EPOCH);
        assert!(!audit.clone().write().await);
        assert!(troubles.has(StateName::Audit, TroubleKind::Unwritable));
        assert_eq!(audit.last_rejected().map(|entry| entry.what), Some("first".into()));
        for number in 0..2 * REMEMBERED {
            audit.add(entry(&number.to_string(), Outcome::Done), Timestamp::UNIX_EPOCH);
        }
        assert_eq!(audit.lock().unwritten.len(), REMEMBERED, "bounded");
        fs::remove_dir(state.path().join("audit.jsonl")).expect("removed");
        assert!(audit.clone().write().await);
        assert!(!troubles.has(StateName::Audit, TroubleKind::Unwritable));
        assert_eq!(Audit::open(state.path(), troubles).find(None, 1).entries[0].what, "999");
    }
}
