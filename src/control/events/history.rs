//! The latest events: in memory for whoever asks, on disk for after a restart.
//!
//! Whoever adds events waits for nothing: what is not on disk yet is taken from memory by a task of its own, which alone
//! waits for the disk. A kill loses what was not on disk; how far that is, is told with every answer.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, watch};
use tracing::warn;

use crate::steer::kept::Clock;

use super::super::save::told_if_slow;
use super::super::troubles::{StateName, TroubleKind, Troubles};
use super::event::{Change, Event, timestamp};
use super::journal::{Journal, Kept, MOST_ID};

/// So many events are kept in memory: the oldest make room.
pub const MOST_EVENTS: usize = 10_000;
/// So many are written at once, some 2 MiB at most, so that a file is never passed by.
const BATCH: usize = 200;
/// From a failed write to the next.
const AGAIN: Duration = Duration::from_secs(5);

/// The history of one server.
#[derive(Debug)]
pub struct Events {
    known: Mutex<Known>,
    /// `None`: in memory alone.
    journal: Option<Arc<Mutex<Journal>>>,
    troubles: Arc<Troubles>,
    news: Notify,
    /// The number of the last event that is on disk; 0: none is.
    on_disk: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Known {
    /// By number.
    events: VecDeque<Arc<Event>>,
    last_id: u64,
}

/// The events that somebody asks for.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Not before this time.
    pub since: Option<Timestamp>,
    /// Only those after this number: the oldest of them where there are more than `limit`, otherwise the newest.
    pub after: Option<u64>,
    /// Of this region alone, by bare or qualified name.
    pub region: Option<String>,
    pub limit: usize,
}

/// The events that were found.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Found {
    /// Oldest first.
    pub events: Vec<Event>,
    /// So many more fit, but not within the limit.
    pub left_out: usize,
    /// The number of the last event of all, whatever was asked for; 0: none yet.
    pub last_id: u64,
    /// Events up to this number are on disk, and survive a kill; 0: none.
    pub on_disk_id: u64,
}

impl Default for Events {
    /// In memory alone.
    fn default() -> Events {
        Events::with(Vec::new(), None, Arc::default())
    }
}

impl Events {
    /// Takes up what was kept in this state directory before. Blocks.
    pub fn open(directory: &Path, troubles: Arc<Troubles>) -> Events {
        let journal = Journal::new(directory);
        let Kept { events, skipped } = journal.read().unwrap_or_else(|error| {
            let error = format!("cannot read {}: {error}", directory.join(StateName::Events.as_str()).display());
            troubles.begin(StateName::Events, TroubleKind::Unreadable, &error, "events begin with this start");
            Kept::default()
        });
        if skipped > 0 {
            warn!(lines = skipped, "some lines of events.jsonl are torn or corrupt, and are left out");
        }
        Events::with(events, Some(Arc::new(Mutex::new(journal))), troubles)
    }

    fn with(mut events: Vec<Event>, journal: Option<Arc<Mutex<Journal>>>, troubles: Arc<Troubles>) -> Events {
        events.drain(..events.len().saturating_sub(MOST_EVENTS));
        let last_id = events.last().map_or(0, |last| last.id);
        let events = events.into_iter().map(Arc::new).collect();
        let known = Mutex::new(Known { events, last_id });
        Events { known, journal, troubles, news: Notify::new(), on_disk: watch::Sender::new(last_id) }
    }

    /// Adds what has changed at this time.
    pub fn add(&self, clock: &Clock, changes: Vec<Change>) {
        if changes.is_empty() {
            return;
        }
        let unix_ms = clock.unix_ms();
        let at = timestamp(unix_ms);
        let mut known = self.known();
        for change in changes {
            // By the clock, so that a number is not given twice where a kill lost the last ones.
            let id = (known.last_id + 1).max(unix_ms).min(MOST_ID);
            known.last_id = id;
            known.events.push_back(Arc::new(Event { id, at, change }));
        }
        let excess = known.events.len().saturating_sub(MOST_EVENTS);
        known.events.drain(..excess);
        drop(known);
        self.news.notify_one();
    }

    pub fn find(&self, wanted: &Wanted) -> Found {
        let known = self.known();
        let fits = |event: &&Arc<Event>| {
            wanted.after.is_none_or(|after| event.id > after)
                && wanted.since.is_none_or(|since| event.at >= since)
                && wanted.region.as_ref().is_none_or(|region| event.change.is_of_region(region))
        };
        let mut events: Vec<Arc<Event>> = known.events.iter().filter(fits).cloned().collect();
        let left_out = events.len().saturating_sub(wanted.limit);
        match wanted.after {
            Some(_) => events.truncate(wanted.limit),
            None => _ = events.drain(..left_out),
        }
        let last_id = known.last_id;
        // The writer waits for this lock: copying takes longer than finding.
        drop(known);
        let events = events.iter().map(|event| Event::clone(event)).collect();
        Found { events, left_out, last_id, on_disk_id: *self.on_disk.borrow() }
    }

    /// Writes events to disk for as long as the server runs.
    pub async fn keep(self: Arc<Events>) {
        let Some(journal) = self.journal.clone() else { return };
        loop {
            let unwritten = self.unwritten();
            let Some(last) = unwritten.last().map(|event| event.id) else {
                self.news.notified().await;
                continue;
            };
            let journal = journal.clone();
            let work = move || journal.lock().unwrap_or_else(PoisonError::into_inner).append(&unwritten);
            let job = tokio::task::spawn_blocking(work);
            match told_if_slow(job, StateName::Events, &self.troubles).await {
                Some(Ok(())) => {
                    self.troubles.end(StateName::Events, TroubleKind::Unwritable);
                    self.on_disk.send_replace(last);
                }
                Some(Err(error)) => {
                    let (error, instead) = (format!("cannot append to events.jsonl: {error}"), "events are in memory");
                    self.troubles.begin(StateName::Events, TroubleKind::Unwritable, &error, instead);
                    tokio::time::sleep(AGAIN).await;
                }
                None => return,
            }
        }
    }

    /// Waits until all events of now are on disk; for ever where [`Events::keep`] does not run.
    pub async fn kept(&self) {
        let last = self.known().last_id;
        // An error cannot be: the sender is held here.
        let _ = self.on_disk.subscribe().wait_for(|on_disk| *on_disk >= last).await;
    }

    fn unwritten(&self) -> Vec<Arc<Event>> {
        let on_disk = *self.on_disk.borrow();
        let known = self.known();
        let from = known.events.partition_point(|event| event.id <= on_disk);
        known.events.range(from..).take(BATCH).cloned().collect()
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::control::events::event::tests::down;

    const NOW_MS: u64 = 1_795_000_000_000;

    fn clock(unix_ms: u64) -> Clock {
        Clock::new(Instant::now(), unix_ms)
    }

    fn changes(regions: &[&str]) -> Vec<Change> {
        let change =
            |region: &&str| Change::Region(super::super::event::RegionChange { region: region.to_string(), ..down() });
        regions.iter().map(change).collect()
    }

    fn ids(found: &Found) -> Vec<u64> {
        found.events.iter().map(|event| event.id - NOW_MS).collect()
    }

    #[test]
    fn the_newest_events_are_kept_and_no_more() {
        let events = Events::default();
        for _ in 0..21 {
            events.add(&clock(NOW_MS), changes(&["seoul@gslb.example"; 500]));
        }
        let found = events.find(&Wanted { limit: usize::MAX, ..Wanted::default() });
        assert_eq!(found.events.len(), MOST_EVENTS);
        assert_eq!((found.events[0].id, found.last_id), (NOW_MS + 500, NOW_MS + 10_499));
    }

    #[test]
    fn events_are_found_by_time_region_and_number() {
        let events = Events::default();
        events.add(&clock(NOW_MS), changes(&["seoul@a.example", "tokyo@a.example"]));
        events.add(&clock(NOW_MS + 10), changes(&["Seoul@b.example", "tokyo@a.example"]));
        events.add(&clock(NOW_MS - 5_000), changes(&["paris@a.example"])); // the clock was set back
        let all = Wanted { limit: 100, ..Wanted::default() };
        let region = |name: &str| Wanted { region: Some(name.into()), ..all.clone() };
        let since = |ms: i64| Wanted { since: Timestamp::from_millisecond(NOW_MS as i64 + ms).ok(), ..all.clone() };
        for (wanted, expected, left_out) in [
            (all.clone(), vec![0, 1, 10, 11, 12], 0),
            (region("seoul"), vec![0, 10], 0),
            (region("SEOUL@a.example"), vec![0], 0),
            (region("seo"), vec![], 0),
            (since(5), vec![10, 11], 0),
            (Wanted { limit: 2, ..all.clone() }, vec![11, 12], 3),
            (Wanted { limit: 2, after: Some(NOW_MS), ..all.clone() }, vec![1, 10], 2),
            (Wanted { after: Some(NOW_MS + 12), ..all.clone() }, vec![], 0),
        ] {
            let found = events.find(&wanted);
            assert_eq!((ids(&found), found.left_out), (expected, left_out), "{wanted:?}");
            assert_eq!((found.last_id, found.on_disk_id), (NOW_MS + 12, 0));
        }
    }

    #[tokio::test]
    async fn events_survive_a_restart_and_numbers_go_on() {
        let (state, troubles) = (tempfile::tempdir().expect("a directory"), Arc::new(Troubles::default()));
        let all = Wanted { limit: MOST_EVENTS, ..Wanted::default() };
        for start in 0..3 {
            let events = Arc::new(Events::open(state.path(), troubles.clone()));
            let before = events.find(&all);
            assert_eq!((before.events.len(), before.on_disk_id), (start * 450, before.last_id));
            let keeping = tokio::spawn(events.clone().keep());
            events.add(&clock(NOW_MS), changes(&["seoul@a.example"; 450]));
            events.kept().await;
            let found = events.find(&all);
            assert_eq!(found.on_disk_id, found.last_id);
            assert_eq!(ids(&found), (0..(start as u64 + 1) * 450).collect::<Vec<_>>());
            keeping.abort();
        }
        assert!(troubles.all().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_disk_that_hangs_blocks_nobody_and_is_caught_up_with() {
        let (state, troubles) = (tempfile::tempdir().expect("a directory"), Arc::new(Troubles::default()));
        let events = Arc::new(Events::open(state.path(), troubles.clone()));
        // Opening a pipe waits for the other end, as a network file system waits for its server.
        let pipe = state.path().join("events.jsonl");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().expect("mkfifo").success());
        tokio::spawn(events.clone().keep());
        for _ in 0..30 {
            events.add(&clock(NOW_MS), changes(&["seoul@a.example"; 500]));
            tokio::task::yield_now().await;
        }
        let found = events.find(&Wanted { limit: 1, ..Wanted::default() });
        assert_eq!((found.last_id, found.on_disk_id), (NOW_MS + 14_999, 0));
        // With the other end the open returns: a pipe cannot be synced, and what failed is written again, to a file.
        let other_end = pipe.clone();
        tokio::task::spawn_blocking(move || std::fs::read(other_end)).await.expect("joined").expect("read");
        while !troubles.has(StateName::Events, TroubleKind::Unwritable) {
            tokio::time::sleep(Duration::from_millis(1)).await; // a failure is a test that never ends
        }
        std::fs::remove_file(&pipe).expect("it was there");
        events.kept().await;
        let again = Events::open(state.path(), troubles).find(&Wanted { limit: MOST_EVENTS, ..Wanted::default() });
        assert_eq!((again.events.len(), again.last_id), (MOST_EVENTS, NOW_MS + 14_999));
    }

    #[tokio::test(start_paused = true)]
    async fn a_failing_disk_is_told_until_it_takes_events() {
        let (state, troubles) = (tempfile::tempdir().expect("a directory"), Arc::new(Troubles::default()));
        let in_its_place = state.path().join("events.jsonl");
        let events = Arc::new(Events::open(state.path(), troubles.clone()));
        std::fs::create_dir(&in_its_place).expect("a directory");
        tokio::spawn(events.clone().keep());
        events.add(&clock(NOW_MS), changes(&["seoul@a.example"]));
        while !troubles.has(StateName::Events, TroubleKind::Unwritable) {
            tokio::time::sleep(Duration::from_millis(1)).await; // a failure is a test that never ends
        }
        std::fs::remove_dir(&in_its_place).expect("removed");
        events.kept().await;
        assert!(troubles.all().is_empty(), "{troubles:?}");
        assert_eq!(
            Events::open(state.path(), troubles).find(&Wanted { limit: 9, ..Wanted::default() }).events.len(),
            1
        );
    }
}
