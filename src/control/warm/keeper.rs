//! When what is known is written: every [`PERIOD`](super::PERIOD), on another thread, one at a time. While the disk
//! hangs nobody waits for it, and nothing piles up.

use std::future::pending;
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;
use tracing::{info, warn};

use crate::state::memory::kept::Kept;

use super::{WarmError, WarmStore};

/// From the start to the first save: soon, so that a directory nobody may write to is known, and a server that is killed
/// over and over does not end with what is too old.
const FIRST: Duration = Duration::from_secs(1);

/// Writes what it is given, now and then.
pub struct Keeper {
    store: WarmStore,
    period: Duration,
    next: Instant,
    saving: Option<JoinHandle<Result<(), WarmError>>>,
    /// The last save failed, and that was told.
    failing: bool,
}

impl Keeper {
    pub fn new(store: WarmStore, period: Duration, now: Instant) -> Keeper {
        Keeper { store, period, next: now + FIRST.min(period), saving: None, failing: false }
    }

    /// When it wants to be given something; `None`: not before the save that is under way has ended.
    pub fn due(&self) -> Option<Instant> {
        (!self.is_saving()).then_some(self.next)
    }

    pub fn is_saving(&self) -> bool {
        self.saving.is_some()
    }

    /// Begins to save this, as of `unix_ms`. Does nothing while another save is under way.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn begin(&mut self, kept: Kept, unix_ms: u64, now: Instant) {
        if self.is_saving() {
            return;
        }
        self.next = now + self.period;
        let store = self.store.clone();
        self.saving = Some(tokio::task::spawn_blocking(move || store.save(&kept, unix_ms)));
    }

    /// Waits for the end of the save that is under way, for ever where there is none. Tells when saves begin to fail,
    /// and when they work again. Nothing is lost where this is dropped while it waits.
    pub async fn end(&mut self) {
        let Some(saving) = &mut self.saving else { return pending().await };
        let outcome = saving.await.unwrap_or_else(|error| Err(WarmError::Stopped(error.to_string())));
        self.saving = None;
        let failed = outcome.is_err();
        match outcome {
            Err(error) if !self.failing => warn!("a restart would be a cold one: {error}"),
            Ok(()) if self.failing => info!("what is known is kept again: a restart would be a warm one"),
            _ => {}
        }
        self.failing = failed;
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
        let mut keeper = Keeper::new(WarmStore::new(&state), 10 * FIRST, now);
        assert_eq!(keeper.due(), Some(now + FIRST));
        for (works, failing) in [(false, true), (false, true), (true, false), (true, false)] {
            if works && state.is_file() {
                std::fs::remove_file(&state).expect("out of the way");
            }
            keeper.begin(Kept::default(), 5, now);
            assert!(keeper.due().is_none() && keeper.is_saving(), "not another one");
            keeper.begin(Kept::default(), 6, now);
            keeper.end().await;
            assert_eq!((keeper.failing, keeper.due()), (failing, Some(now + 10 * FIRST)));
        }
        assert!(WarmStore::new(&state).load(5).expect("kept").is_some());
    }
}
