//! The latest events: in memory for whoever asks, on disk for after a restart.
//!
//! Whoever adds events waits for nothing: what is not on disk yet is taken from memory by a task of its own, which alone
//! waits for the disk. A kill loses what was not on disk; how far that is, is told with every answer. What was kept before
//! is read by the same task: until it is joined, events are in memory alone.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};
use tracing::warn;

use crate::steer::kept::Clock;

use super::super::save::{PATIENCE, told_if_slow};
use super::super::troubles::{StateName, TroubleKind, Troubles};
use super::cursors::{Cursors, Filter};
use super::event::{Change, Event, ServiceChange, timestamp};
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
    /// The number of the last event of all; 0: none yet.
    news: watch::Sender<u64>,
    /// The number of the last event that is on disk; 0: none is.
    on_disk: watch::Sender<u64>,
    /// What was kept before has been read, or cannot be.
    joined: watch::Sender<bool>,
    /// Nobody waits longer for that.
    joined_by: Instant,
}

#[derive(Debug, Default)]
struct Known {
    /// By number.
    events: VecDeque<Arc<Event>>,
    last_id: u64,
    /// Events up to this number are from before the start; 0: none is known to be.
    before_start: u64,
    cursors: Cursors,
}

/// Events for one receiver.
#[derive(Clone, Debug)]
pub struct Batch {
    /// Oldest first; may be empty where some are left out.
    pub events: Vec<Arc<Event>>,
    /// So many more were for it, and fell out of the history before these.
    pub left_out: usize,
    /// Once these are told, all up to this number is done with.
    up_to: u64,
}

#[cfg(test)]
impl Batch {
    pub fn of(events: Vec<Arc<Event>>, left_out: usize) -> Batch {
        let up_to = events.last().map_or(0, |last| last.id);
        Batch { events, left_out, up_to }
    }
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
#[derive(Clone, Debug, Serialize, Deserialize, schemars::JsonSchema)]
pub struct FoundEvents {
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
        Events {
            known: Mutex::default(),
            journal: None,
            troubles: Arc::default(),
            news: watch::Sender::new(0),
            on_disk: watch::Sender::new(0),
            joined: watch::Sender::new(true),
            joined_by: Instant::now() + PATIENCE,
        }
    }
}

impl Events {
    /// Of this state directory. What was kept there before is read by [`Events::keep`].
    pub fn open(directory: &Path, troubles: Arc<Troubles>) -> Events {
        let journal = Arc::new(Mutex::new(Journal::new(directory)));
        Events { journal: Some(journal), joined: watch::Sender::new(false), troubles, ..Events::default() }
    }

    /// Puts what was kept before in front of what has come since.
    fn join(&self, kept: Vec<Event>) {
        let mut known = self.known();
        let mut last = kept.last().map_or(0, |last| last.id);
        self.on_disk.send_replace(last);
        for event in &mut known.events {
            // The clock was set back since: a number is never given twice, and they only grow.
            if event.id <= last {
                *event = Arc::new(Event { id: (last + 1).min(MOST_ID), ..Event::clone(event) });
            }
            last = event.id;
        }
        known.last_id = last.max(known.last_id);
        let room = MOST_EVENTS - known.events.len();
        known.before_start = *self.on_disk.borrow();
        let excess = kept.len().saturating_sub(room);
        for (index, event) in kept.into_iter().enumerate().rev() {
            if index < excess { known.cursors.leaves(&event) } else { known.events.push_front(Arc::new(event)) }
        }
        let last_id = known.last_id;
        drop(known);
        self.joined.send_replace(true);
        self.news.send_replace(last_id);
    }

    /// Waits until what was kept before is there, a few seconds after the start at most.
    pub async fn joined(&self) {
        // An error means that the disk hangs: it goes on without.
        let _ = timeout_at(self.joined_by, self.joined.subscribe().wait_for(|joined| *joined)).await;
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
        let Known { events, cursors, .. } = &mut *known;
        let excess = events.len().saturating_sub(MOST_EVENTS);
        events.drain(..excess).for_each(|event| cursors.leaves(&event));
        let last_id = known.last_id;
        drop(known);
        self.news.send_replace(last_id);
    }

    pub fn find(&self, wanted: &Wanted) -> FoundEvents {
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
        FoundEvents { events, left_out, last_id, on_disk_id: *self.on_disk.borrow() }
    }

    /// The number of the last event of all, and of further ones.
    pub fn news(&self) -> watch::Receiver<u64> {
        self.news.subscribe()
    }

    /// The number of the last event from before the start; 0: there was none, or the disk has not said yet.
    pub fn before_start(&self) -> u64 {
        self.known().before_start
    }

    /// Keeps a place for this receiver, behind the event of this number; `None`: behind all there are. One that has a
    /// place keeps it. Returns the number it is behind.
    pub fn follow(&self, name: &str, filter: Filter, after: Option<u64>) -> u64 {
        let mut known = self.known();
        let at = after.unwrap_or(known.last_id);
        known.cursors.follow(name, filter, at)
    }

    pub fn forget(&self, name: &str) {
        self.known().cursors.forget(name);
    }

    /// The next events for this receiver, `most` at most, above 0; `None`: there are none now.
    pub fn next_for(&self, name: &str, most: usize) -> Option<Batch> {
        let mut known = self.known();
        let Known { events, last_id, cursors, .. } = &mut *known;
        let cursor = cursors.get_mut(name)?;
        let from = events.partition_point(|event| event.id <= cursor.at);
        let fits = events.range(from..).filter(|event| cursor.filter.takes(&event.change));
        let events: Vec<Arc<Event>> = fits.take(most).cloned().collect();
        let up_to = events.last().filter(|_| events.len() == most).map_or(*last_id, |last| last.id);
        if events.is_empty() && cursor.left_out == 0 {
            cursor.at = cursor.at.max(up_to);
            return None;
        }
        Some(Batch { events, left_out: cursor.left_out, up_to })
    }

    /// This receiver has been told of these, or never will be. The number that it has come to.
    pub fn done(&self, name: &str, batch: &Batch) -> u64 {
        let mut known = self.known();
        let first = known.events.front().map_or(u64::MAX, |first| first.id);
        if let Some(cursor) = known.cursors.get_mut(name) {
            // Some of these left the history while they were being told: they are not left out.
            let left_meanwhile = batch.events.iter().filter(|event| event.id > cursor.at && event.id < first).count();
            cursor.left_out = cursor.left_out.saturating_sub(batch.left_out + left_meanwhile);
            cursor.at = cursor.at.max(batch.up_to);
        }
        batch.up_to
    }

    /// So many events wait for this receiver, and so many were left out that it was not told of.
    pub fn waiting_for(&self, name: &str) -> (usize, usize) {
        let known = self.known();
        let Some(cursor) = known.cursors.get(name) else { return (0, 0) };
        let (filter, left_out) = (cursor.filter.clone(), cursor.left_out);
        let from = known.events.partition_point(|event| event.id <= cursor.at);
        let events: Vec<Arc<Event>> = known.events.range(from..).cloned().collect();
        // As in `find`: looking takes longer than this.
        drop(known);
        (events.iter().filter(|event| filter.takes(&event.change)).count(), left_out)
    }

    /// Reads what was kept before, then writes events to disk for as long as the server runs.
    pub async fn keep(self: Arc<Events>) {
        let Some(journal) = self.journal.clone() else { return };
        self.read(journal.clone()).await;
        let mut news = self.news.subscribe();
        loop {
            news.borrow_and_update();
            let unwritten = self.unwritten();
            let Some(last) = unwritten.last().map(|event| event.id) else {
                // An error cannot be: the sender is held here.
                let _ = news.changed().await;
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

    /// A disk that hangs holds up this alone, and is told.
    async fn read(&self, journal: Arc<Mutex<Journal>>) {
        let work = move || {
            let journal = journal.lock().unwrap_or_else(PoisonError::into_inner);
            journal.read().map_err(|error| format!("cannot read {}: {error}", journal.path().display()))
        };
        let read = told_if_slow(tokio::task::spawn_blocking(work), StateName::Events, &self.troubles).await;
        let Kept { events, skipped } = read.unwrap_or_else(|| Ok(Kept::default())).unwrap_or_else(|error| {
            self.troubles.begin(StateName::Events, TroubleKind::Unreadable, &error, "events begin with this start");
            Kept::default()
        });
        if skipped > 0 {
            warn!(lines = skipped, "some lines of events.jsonl are torn or corrupt, and are left out");
        }
        self.join(events);
    }

    /// Waits until all events of now are on disk; for ever where [`Events::keep`] does not run.
    pub async fn kept(&self) {
        // Errors cannot be: the senders are held here.
        let _ = self.joined.subscribe().wait_for(|joined| *joined).await;
        let last = self.known().last_id;
        let _ = self.on_disk.subscribe().wait_for(|on_disk| *on_disk >= last).await;
    }

    fn unwritten(&self) -> Vec<Arc<Event>> {
        let on_disk = *self.on_disk.borrow();
        let known = self.known();
        let from = known.events.partition_point(|event| event.id <= on_disk);
        known.events.range(from..).take(BATCH).cloned().collect()
    }

    /// The time of the last change of a service, or of a fence of it; `None`: it is not remembered.
    pub fn latest_of_service(&self, name: &str, rule: Option<&str>) -> Option<Timestamp> {
        let known = self.known();
        let is_about = |change: &Change| match change {
            Change::Service(ServiceChange { service, fence, .. }) => service == name && fence.as_deref() == rule,
            _ => false,
        };
        known.events.iter().rev().find(|event| is_about(&event.change)).map(|event| event.at)
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

    /// With what was kept before, and kept.
    async fn opened(state: &Path, troubles: &Arc<Troubles>) -> (Arc<Events>, tokio::task::JoinHandle<()>) {
        let events = Arc::new(Events::open(state, troubles.clone()));
        let keeping = tokio::spawn(events.clone().keep());
        events.joined().await;
        (events, keeping)
    }

    fn ids(found: &FoundEvents) -> Vec<u64> {
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
            let (events, keeping) = opened(state.path(), &troubles).await;
            let before = events.find(&all);
            assert_eq!((before.events.len(), before.on_disk_id), (start * 450, before.last_id));
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
        let (events, _) = opened(state.path(), &troubles).await;
        // Opening a pipe waits for the other end, as a network file system waits for its server.
        let pipe = state.path().join("events.jsonl");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().expect("mkfifo").success());
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
        let (again, _) = opened(state.path(), &troubles).await;
        let again = again.find(&Wanted { limit: MOST_EVENTS, ..Wanted::default() });
        assert_eq!((again.events.len(), again.last_id), (MOST_EVENTS, NOW_MS + 14_999));
    }

    #[tokio::test(start_paused = true)]
    async fn a_failing_disk_is_told_until_it_takes_events() {
        let (state, troubles) = (tempfile::tempdir().expect("a directory"), Arc::new(Troubles::default()));
        let in_its_place = state.path().join("events.jsonl");
        let (events, _) = opened(state.path(), &troubles).await;
        std::fs::create_dir(&in_its_place).expect("a directory");
        events.add(&clock(NOW_MS), changes(&["seoul@a.example"]));
        while !troubles.has(StateName::Events, TroubleKind::Unwritable) {
            tokio::time::sleep(Duration::from_millis(1)).await; // a failure is a test that never ends
        }
        std::fs::remove_dir(&in_its_place).expect("removed");
        events.kept().await;
        assert!(troubles.all().is_empty(), "{troubles:?}");
        let (again, _) = opened(state.path(), &troubles).await;
        assert_eq!(again.find(&Wanted { limit: 9, ..Wanted::default() }).events.len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_disk_that_hangs_at_the_start_delays_nothing_and_is_joined_later() {
        let (state, troubles) = (tempfile::tempdir().expect("a directory"), Arc::new(Troubles::default()));
        let (before, keeping) = opened(state.path(), &troubles).await;
        before.add(&clock(NOW_MS), changes(&["seoul@a.example"; 3]));
        before.kept().await;
        keeping.abort();
        let events = Arc::new(Events::open(state.path(), troubles.clone()));
        let (go, gone) = std::sync::mpsc::channel::<()>();
        let (held, holds) = std::sync::mpsc::channel();
        let journal = events.journal.clone().expect("a journal");
        let disk = std::thread::spawn(move || {
            let _hung = journal.lock().expect("a lock");
            held.send(()).expect("told");
            gone.recv().expect("let go");
        });
        holds.recv().expect("hung");
        tokio::spawn(events.clone().keep());
        tokio::task::yield_now().await;
        let all = Wanted { limit: 100, ..Wanted::default() };
        events.add(&clock(NOW_MS - 5_000), changes(&["paris@a.example", "oslo@a.example"])); // the clock was set back
        assert_eq!(events.find(&all).events.len(), 2, "in memory");
        tokio::time::advance(PATIENCE + Duration::from_millis(1)).await;
        events.joined().await; // not any longer
        while !troubles.has(StateName::Events, TroubleKind::Hanging) {
            tokio::task::yield_now().await; // a failure is a test that never ends
        }
        go.send(()).expect("let go");
        disk.join().expect("ended");
        events.kept().await;
        let found = events.find(&all);
        assert_eq!(ids(&found), [0, 1, 2, 3, 4], "numbers only grow");
        assert!(found.events[3].change.is_of_region("paris") && found.on_disk_id == found.last_id);
        assert!(troubles.all().is_empty(), "{troubles:?}");
        let (again, _) = opened(state.path(), &troubles).await;
        assert_eq!(ids(&again.find(&all)), [0, 1, 2, 3, 4]);
    }
}
