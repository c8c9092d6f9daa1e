//! Tells when a file was replaced or changed, so that the caller can load it anew.
//!
//! ```text
//!   directories ─ events ─▶ wait until quiet ─┐
//!                                             ├─▶ did a file really change? ─▶ Receiver<()>
//!   every 30 s ───────────────────────────────┘
//! ```
//!
//! The directories are watched, not the files: a file renamed into place is a new one. Events
//! only hurry what the look every 30 s finds anyway, so that a missed event, a network file
//! system without events, or a directory that vanished and came back delays a reload and loses
//! none. A directory among the files stands for the names of the zone files in it. Reading and judging the files is
//! left to the caller.

use std::collections::BTreeMap;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::event::{AccessKind, AccessMode};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout_at};
use tracing::{debug, warn};

use super::config::{self, Facts, is_zone_file, mark_of};

/// Keeps watching until it is dropped.
pub struct Watch {
    task: JoinHandle<()>,
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Files as they are now, to be told later what changed since.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    paths: Vec<PathBuf>,
    stamps: Vec<Option<Stamp>>,
}

impl Seen {
    /// Take this *before* reading the files: what changes while they are read is then told.
    pub fn now(paths: &[PathBuf]) -> Seen {
        Seen { paths: paths.to_vec(), stamps: paths.iter().map(|path| Stamp::of(path)).collect() }
    }

    /// Files as a load found them, then the directory of zones.
    pub fn by(files: Vec<PathBuf>, directory: PathBuf, facts: &Facts) -> Seen {
        let stamps = facts.files.iter().map(|stamp| stamp.as_ref().map(Stamp::of_file));
        let zones = facts.zones.map(|(stamp, names)| Stamp { modified: None, bytes: names, ..Stamp::of_file(&stamp) });
        Seen { paths: files.into_iter().chain([directory]).collect(), stamps: stamps.chain([zones]).collect() }
    }

    /// The same files, those that `before` knows too as they were then.
    #[must_use]
    pub fn since(mut self, before: &Seen) -> Seen {
        let known: BTreeMap<&PathBuf, &Option<Stamp>> = before.paths.iter().zip(&before.stamps).collect();
        for (path, stamp) in self.paths.iter().zip(&mut self.stamps) {
            if let Some(then) = known.get(path) {
                stamp.clone_from(then);
            }
        }
        self
    }

    pub fn paths(&self) -> &[PathBuf] {
        &self.paths
    }

    pub fn is_empty(&self) -> bool {
        self.paths.is_empty()
    }
}

/// Watches these files. Each message means that at least one of them was replaced or written since
/// it was seen, and has been left alone for half a second.
///
/// Call it within a tokio runtime. A file that is missing is not news; its return is. At most one
/// message waits.
pub fn watch(seen: Seen) -> (Watch, mpsc::Receiver<()>) {
    watch_with(seen, Timing::default())
}

fn watch_with(seen: Seen, timing: Timing) -> (Watch, mpsc::Receiver<()>) {
    let (changed, receiver) = mpsc::channel(1);
    let task = tokio::spawn(run(seen.paths, seen.stamps, timing, changed));
    (Watch { task }, receiver)
}

#[derive(Clone, Copy)]
struct Timing {
    /// This long without events, and the files are taken as written.
    quiet: Duration,
    /// Look after this long even if events never cease.
    most: Duration,
    /// Look this often without any event.
    poll: Duration,
}

impl Default for Timing {
    fn default() -> Timing {
        Timing { quiet: Duration::from_millis(500), most: Duration::from_secs(5), poll: Duration::from_secs(30) }
    }
}

async fn run(paths: Vec<PathBuf>, mut seen: Vec<Option<Stamp>>, timing: Timing, changed: mpsc::Sender<()>) {
    let stirred = Arc::new(Notify::new());
    let mut directories = Directories::new(&paths, &stirred);
    // What changed before the directories were watched is found at once.
    stirred.notify_one();
    loop {
        tokio::select! {
            () = stirred.notified() => until_quiet(&stirred, timing).await,
            () = sleep(timing.poll) => {}
            () = changed.closed() => return,
        }
        let looking = paths.clone();
        let Ok((now, armed)) = tokio::task::spawn_blocking(move || {
            // First watch, then look: what happens in between is seen twice rather than not at all.
            directories.arm();
            (looking.iter().map(|path| Stamp::of(path)).collect::<Vec<_>>(), directories)
        })
        .await
        else {
            return; // the runtime is shutting down
        };
        directories = armed;
        if take_news(&mut seen, now) {
            // A full channel already holds the news.
            let _ = changed.try_send(());
        }
    }
}

async fn until_quiet(stirred: &Notify, timing: Timing) {
    let latest = Instant::now() + timing.most;
    while timeout_at(latest.min(Instant::now() + timing.quiet), stirred.notified()).await.is_ok() {}
}

/// Whether any file is there and differs from what was last seen of it.
fn take_news(seen: &mut [Option<Stamp>], now: Vec<Option<Stamp>>) -> bool {
    let mut news = false;
    for (seen, now) in seen.iter_mut().zip(now) {
        // One that goes is seen to go, so that even the same file is news when it is back: without
        // it, the others could not be read meanwhile.
        news |= now.is_some() && *seen != now;
        *seen = now;
    }
    news
}

/// What tells one content of a file from another without reading it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Stamp {
    /// Seconds and nanoseconds.
    modified: Option<(i64, i64)>,
    bytes: u64,
    identity: (u64, u64),
}

impl Stamp {
    /// `None` where there is no such file. Follows symbolic links.
    fn of(path: &Path) -> Option<Stamp> {
        let metadata = std::fs::metadata(path).ok()?;
        let stamp = Stamp::of_file(&config::Stamp::of(&metadata));
        if metadata.is_dir() {
            return Some(Stamp { modified: None, bytes: names_in(path), ..stamp });
        }
        Some(stamp)
    }

    fn of_file(file: &config::Stamp) -> Stamp {
        let (identity, bytes, written) = file.facts();
        Stamp { modified: Some(written), bytes, identity }
    }
}

/// A mark of the names of the zone files in a directory: they come and go, whatever else is written there.
fn names_in(directory: &Path) -> u64 {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut names: Vec<PathBuf> = entries.filter(|path| is_zone_file(path)).collect();
    names.sort_unstable_by(|a, b| a.as_os_str().cmp(b.as_os_str()));
    mark_of(&names)
}

/// Device and inode.
fn identity(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

/// The directories of the files, and which of them are watched.
struct Directories {
    /// `None` where the system has no watcher to give: then only time tells.
    watcher: Option<RecommendedWatcher>,
    /// The identity of the directory that is watched; `None` while it is not.
    watched: BTreeMap<PathBuf, Option<(u64, u64)>>,
}

impl Directories {
    fn new(paths: &[PathBuf], stirred: &Arc<Notify>) -> Directories {
        let stirred = stirred.clone();
        let watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            if event.map_or(true, |event| may_change(&event.kind)) {
                stirred.notify_one();
            }
        });
        if let Err(error) = &watcher {
            warn!(%error, "cannot watch directories for files that change; looking every 30 s instead");
        }
        let own = paths.iter().filter(|path| path.is_dir()).cloned();
        let watched =
            paths.iter().map(|path| directory_of(path)).chain(own).map(|directory| (directory, None)).collect();
        Directories { watcher: watcher.ok(), watched }
    }

    /// Watches the directories that are there and not watched yet, or not the same any more.
    fn arm(&mut self) {
        let Some(watcher) = &mut self.watcher else { return };
        for (directory, watched) in &mut self.watched {
            let now = std::fs::metadata(directory).ok().map(|metadata| identity(&metadata));
            if now.is_some() && *watched == now {
                continue;
            }
            if watched.take().is_some() {
                let _ = watcher.unwatch(directory);
            }
            match watcher.watch(directory, RecursiveMode::NonRecursive) {
                Ok(()) => *watched = now,
                Err(error) => debug!(directory = %directory.display(), %error, "cannot watch yet"),
            }
        }
    }
}

fn directory_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// Opening and reading a file, as a reload itself does, changes nothing.
fn may_change(kind: &EventKind) -> bool {
    !matches!(kind, EventKind::Access(access) if *access != AccessKind::Close(AccessMode::Write))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use tokio::time::timeout;

    /// Events tell at once; time alone would take longer than any test waits.
    const BY_EVENTS: Timing =
        Timing { quiet: Duration::from_millis(40), most: Duration::from_millis(400), poll: Duration::from_secs(3600) };

    async fn told(receiver: &mut mpsc::Receiver<()>) -> bool {
        timeout(Duration::from_secs(10), receiver.recv()).await.is_ok_and(|message| message.is_some())
    }

    /// Long enough for [`BY_EVENTS`] to have told.
    async fn silent(receiver: &mut mpsc::Receiver<()>) -> bool {
        timeout(Duration::from_millis(250), receiver.recv()).await.is_err()
    }

    fn directory_with(names: &[&str]) -> (tempfile::TempDir, Vec<PathBuf>) {
        let directory = tempfile::tempdir().expect("a directory");
        let paths: Vec<_> = names.iter().map(|name| directory.path().join(name)).collect();
        for path in &paths {
            fs::write(path, "old").expect("written");
        }
        (directory, paths)
    }

    #[tokio::test]
    async fn a_file_renamed_into_place_is_told_once() {
        let (directory, paths) = directory_with(&["a.mmdb", "b.mmdb"]);
        let (_watch, mut receiver) = watch_with(Seen::now(&paths), BY_EVENTS);
        assert!(silent(&mut receiver).await, "nothing happened yet");
        let fresh = directory.path().join("fresh");
        fs::write(&fresh, "new").expect("written");
        fs::rename(&fresh, &paths[1]).expect("renamed");
        assert!(told(&mut receiver).await);
        assert!(silent(&mut receiver).await);
    }

    #[tokio::test]
    async fn other_files_and_reading_are_no_news() {
        let (directory, paths) = directory_with(&["a.mmdb"]);
        let (_watch, mut receiver) = watch_with(Seen::now(&paths), BY_EVENTS);
        fs::write(directory.path().join("other"), "x").expect("written");
        fs::read(&paths[0]).expect("read");
        assert!(silent(&mut receiver).await);
    }

    #[tokio::test]
    async fn zone_files_that_come_and_go_are_told_and_others_are_not() {
        let (directory, paths) = directory_with(&["a.toml"]);
        let watched = [paths[0].clone(), directory.path().to_owned()];
        let (_watch, mut receiver) = watch_with(Seen::now(&watched), BY_EVENTS);
        for other in [".a.toml.swp", "4913", "notes.txt"] {
            fs::write(directory.path().join(other), "x").expect("written");
        }
        assert!(silent(&mut receiver).await);
        fs::write(directory.path().join("b.toml"), "x").expect("written");
        assert!(told(&mut receiver).await);
        fs::remove_file(directory.path().join("b.toml")).expect("gone");
        assert!(told(&mut receiver).await);
    }

    #[tokio::test]
    async fn a_link_that_is_swapped_above_a_file_is_told() {
        // As Kubernetes mounts configuration: a.toml → ..data/a.toml, ..data → a directory of its own for each version.
        let directory = tempfile::tempdir().expect("a directory");
        let at = |name: &str| directory.path().join(name);
        for version in ["..1", "..2"] {
            fs::create_dir(at(version)).expect("made");
            fs::write(at(version).join("a.toml"), "same length").expect("written");
        }
        let link = |to: &str, name: &str| std::os::unix::fs::symlink(to, at(name)).expect("linked");
        link("..1", "..data");
        link("..data/a.toml", "a.toml");
        let (_watch, mut receiver) = watch_with(Seen::now(&[at("a.toml")]), BY_EVENTS);
        assert!(silent(&mut receiver).await);
        link("..2", "..data_tmp");
        fs::rename(at("..data_tmp"), at("..data")).expect("swapped");
        assert!(told(&mut receiver).await);
    }

    #[tokio::test]
    async fn a_file_that_goes_is_told_when_it_is_back() {
        let (_directory, paths) = directory_with(&["a.mmdb"]);
        let (_watch, mut receiver) = watch_with(Seen::now(&paths), BY_EVENTS);
        fs::remove_file(&paths[0]).expect("removed");
        assert!(silent(&mut receiver).await);
        fs::write(&paths[0], "newer").expect("written");
        assert!(told(&mut receiver).await);
    }

    #[tokio::test]
    async fn what_changes_between_being_seen_and_being_watched_is_told() {
        let (_directory, paths) = directory_with(&["a.mmdb"]);
        let seen = Seen::now(&paths);
        fs::write(&paths[0], "newer").expect("written"); // as while the files are being read
        let (_watch, mut receiver) = watch_with(seen, BY_EVENTS);
        assert!(told(&mut receiver).await);
    }

    #[tokio::test]
    async fn even_the_same_file_is_news_when_it_is_back() {
        let (directory, paths) = directory_with(&["a.mmdb"]);
        let (_watch, mut receiver) = watch_with(Seen::now(&paths), BY_EVENTS);
        let aside = directory.path().join("aside");
        fs::rename(&paths[0], &aside).expect("moved away");
        assert!(silent(&mut receiver).await);
        fs::rename(&aside, &paths[0]).expect("moved back");
        assert!(told(&mut receiver).await);
    }

    #[tokio::test]
    async fn a_directory_that_vanishes_is_watched_again_when_it_is_back() {
        let parent = tempfile::tempdir().expect("a directory");
        let directory = parent.path().join("geoip");
        let path = directory.join("a.mmdb");
        let timing = Timing { poll: Duration::from_millis(100), ..BY_EVENTS };
        let (_watch, mut receiver) = watch_with(Seen::now(std::slice::from_ref(&path)), timing);
        for content in ["first", "second one"] {
            assert!(silent(&mut receiver).await);
            fs::create_dir(&directory).expect("created");
            fs::write(&path, content).expect("written");
            assert!(told(&mut receiver).await, "{content}");
            fs::remove_dir_all(&directory).expect("removed");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn without_events_time_tells() {
        let (_directory, paths) = directory_with(&["a.mmdb"]);
        let mut seen = vec![Stamp::of(&paths[0])];
        assert!(!take_news(&mut seen, vec![Stamp::of(&paths[0])]));
        let (changed, mut receiver) = mpsc::channel(1);
        // As if the watcher lost everything: its directory is another one.
        let elsewhere = tempfile::tempdir().expect("a directory");
        let link = elsewhere.path().join("a.mmdb");
        std::os::unix::fs::symlink(&paths[0], &link).expect("linked");
        let task = tokio::spawn(run(vec![link], seen, Timing::default(), changed));
        sleep(Duration::from_secs(1)).await;
        fs::write(&paths[0], "much newer").expect("written");
        let before = Instant::now();
        assert!(receiver.recv().await.is_some());
        assert!(before.elapsed() <= Duration::from_secs(31));
        task.abort();
    }

    #[tokio::test]
    async fn a_dropped_watch_closes_its_channel() {
        let (_directory, paths) = directory_with(&["a.mmdb"]);
        let (watch, mut receiver) = watch_with(Seen::now(&paths), BY_EVENTS);
        drop(watch);
        assert_eq!(receiver.recv().await, None);
    }
}
