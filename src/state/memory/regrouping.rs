//! Round trips that were measured and are not gone by yet: from the news of them to the snapshot that goes by them.
//!
//! ```text
//!   News::Measured ─▶ want ─▶ a job ─▶ settle ─▶ take, with the next snapshot
//!                      ▲                  └─ others are wanted by now: begun anew
//!                      └─ the latest alone
//! ```

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::state::regroup::Regrouped;
use crate::steer::latency::rtt::Measured;

/// Measurements that come faster than jobs come back are gone by after this long, though others are wanted by then.
const PATIENCE: Duration = Duration::from_secs(60);

/// The measurements on their way into answers.
#[derive(Debug, Default)]
pub struct Regrouping {
    /// The latest.
    wanted: Option<Arc<Measured>>,
    /// The time of the oldest news that nothing goes by.
    since: Option<Instant>,
    /// For the next snapshot.
    ready: Option<Box<Regrouped>>,
}

impl Regrouping {
    /// These are to be gone by, in place of all that were to be before.
    pub fn want(&mut self, measured: Arc<Measured>, now: Instant) {
        self.since.get_or_insert(now);
        self.wanted = Some(measured);
    }

    /// The measurements to make a [`Regrouped`] of.
    pub fn wanted(&self) -> Option<&Arc<Measured>> {
        self.wanted.as_ref()
    }

    /// The time of the oldest news that nothing goes by; `None`: all is gone by.
    pub fn since(&self) -> Option<Instant> {
        self.since
    }

    /// Takes what a job has made, which fits, for the next snapshot: false where others are wanted by now.
    pub fn settle(&mut self, made: Box<Regrouped>, now: Instant) -> bool {
        let is_latest = self.wanted.as_ref().is_some_and(|wanted| Arc::ptr_eq(wanted, &made.measured));
        let is_late = self.since.is_some_and(|since| now.saturating_duration_since(since) >= PATIENCE);
        if is_latest {
            (self.wanted, self.since) = (None, None);
        } else if is_late {
            self.since = Some(now);
        } else {
            return false;
        }
        self.ready = Some(made);
        true
    }

    /// The outcome for the next snapshot, once.
    pub fn take(&mut self) -> Option<Box<Regrouped>> {
        self.ready.take()
    }

    /// What was ready for the next snapshot does not fit it: it is to be made anew, unless others are wanted by now.
    pub fn lose(&mut self, made: Regrouped, now: Instant) {
        self.since.get_or_insert(now);
        self.wanted.get_or_insert(made.measured);
    }
}
