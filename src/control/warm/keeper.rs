//! When what is known is written: all of it every [`PERIOD`](super::PERIOD), regions' health as soon as it has changed; on
//! another thread, one at a time. While the disk hangs nobody waits for it, and nothing piles up.

use std::future::pending;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;

use crate::control::save::{PATIENCE, tell_hanging};
use crate::control::troubles::{StateName, TroubleKind, Troubles};
use crate::state::memory::kept::Kept;

use super::{Part, WarmError, WarmStore};

/// From the start to the first save: soon, so that a directory nobody may write to is known, and a server that is killed
/// over and over does not end with what is too old.
const FIRST: Duration = Duration::from_secs(1);

/// Between saves of regions' health: a burst of changes makes few.
const REST: Duration = Duration::from_millis(100);
/// And at least this many times as long as the last save took: a slow disk is not kept busy.
const REST_FACTOR: u32 = 4;

/// Writes what it is given, now and then.
pub struct Keeper {
    store: WarmStore,
    period: Duration,
    next: Instant,
    /// Regions' health has changed since it was last saved.
    changed: bool,
    /// No earlier than this is it saved for a change alone.
    rested: Instant,
    /// When the save that is under way began.
    began: Instant,
    saving: Option<JoinHandle<Result<(), WarmError>>>,
    troubles: Arc<Troubles>,
}

impl Keeper {
    pub fn new(store: WarmStore, period: Duration, now: Instant, troubles: Arc<Troubles>) -> Keeper {
        let next = now + FIRST.min(period);
        Keeper { store, period, next, changed: false, rested: now, began: now, saving: None, troubles }
    }

    /// When it wants to be given something; `None`: not before the save that is under way has ended.
    pub fn due(&self) -> Option<Instant> {
        let health = self.changed.then_some(self.rested);
        (!self.is_saving()).then(|| health.map_or(self.next, |at| at.min(self.next)))
    }

    /// What it wants to be given.
    pub fn part(&self, now: Instant) -> Part {
        if self.changed && now < self.next { Part::Health } else { Part::Whole }
    }

    /// Regions' health has changed: that must not be lost with a crash.
    pub fn hurry(&mut self) {
        self.changed = true;
    }

    pub fn is_saving(&self) -> bool {
        self.saving.is_some()
    }

    /// Begins to save this, as of `unix_ms`, in its file. Does nothing while another save is under way.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn begin(&mut self, part: Part, kept: Kept, unix_ms: u64, now: Instant) {
        if self.is_saving() {
            return;
        }
        if part == Part::Whole {
            self.next = now + self.period;
        }
        (self.changed, self.began) = (false, now);
        let store = self.store.clone();
        self.saving = Some(tokio::task::spawn_blocking(move || store.save(part, &kept, unix_ms)));
    }

    /// Waits for the end of the save that is under way, for ever where there is none. Tells when saves begin to fail or
    /// to hang, and when they work again. Nothing is lost where this is dropped while it waits.
    pub async fn end(&mut self) {
        let Some(saving) = &mut self.saving else { return pending().await };
        let hanging = self.troubles.has(StateName::Steering, TroubleKind::Hanging);
        let outcome = tokio::select! {
            biased;
            outcome = saving => outcome.unwrap_or_else(|error| Err(WarmError::Stopped(error.to_string()))),
            () = tokio::time::sleep_until((self.began + PATIENCE).into()), if !hanging => {
                return tell_hanging(StateName::Steering, &self.troubles);
            }
        };
        self.saving = None;
        self.rested = Instant::now() + REST.max(self.began.elapsed() * REST_FACTOR);
        self.troubles.end(StateName::Steering, TroubleKind::Hanging);
        match outcome {
            Ok(()) => self.troubles.end(StateName::Steering, TroubleKind::Unwritable),
            Err(error) => {
                let (error, instead) = (error.to_string(), "a restart would be a cold one");
                self.troubles.begin(StateName::Steering, TroubleKind::Unwritable, &error, instead);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_save_at_a_time_and_a_failure_is_remembered_until_it_works_again() {
        let directory = tempfile::tempdir().expect("a directory");
        let state = directory.path().join("state");
        std::fs::write(&state, "in the way").expect("a file");
        let now = Instant::now();
        let mut keeper = Keeper::new(WarmStore::new(&state), 10 * FIRST, now, Arc::default());
        assert_eq!(keeper.due(), Some(now + FIRST));
        for (works, failing) in [(false, true), (false, true), (true, false), (true, false)] {
            if works && state.is_file() {
                std::fs::remove_file(&state).expect("out of the way");
            }
            keeper.begin(Part::Whole, Kept::default(), 5, now);
            assert!(keeper.due().is_none() && keeper.is_saving(), "not another one");
            keeper.begin(Part::Whole, Kept::default(), 6, now);
            keeper.end().await;
            assert_eq!(
                (keeper.troubles.has(StateName::Steering, TroubleKind::Unwritable), keeper.due()),
                (failing, Some(now + 10 * FIRST))
            );
        }
        assert!(WarmStore::new(&state).load(Part::Whole, 5).expect("kept").is_some());
    }

    #[tokio::test]
    async fn a_change_of_health_is_saved_at_once_and_the_next_after_a_rest() {
        let state = tempfile::tempdir().expect("a directory");
        let now = Instant::now();
        let mut keeper = Keeper::new(WarmStore::new(state.path()), 100 * FIRST, now, Arc::default());
        assert_eq!(keeper.part(now), Part::Whole);
        keeper.hurry();
        assert_eq!((keeper.due(), keeper.part(now)), (Some(now), Part::Health));
        keeper.begin(Part::Health, Kept::default(), 5, now);
        keeper.hurry();
        assert_eq!(keeper.due(), None, "one at a time");
        keeper.end().await;
        let next = keeper.due().expect("the change that came meanwhile");
        assert!(next >= now + REST && next < now + FIRST, "{:?}", next - now);
        assert_eq!(keeper.part(now + FIRST), Part::Whole, "which has everything");
        let store = WarmStore::new(state.path());
        assert!(
            store.load(Part::Health, 5).expect("kept").is_some() && store.load(Part::Whole, 5).expect("no").is_none()
        );
    }
}
