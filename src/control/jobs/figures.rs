//! Figures of jobs, for status and metrics: written by the writer, read by whoever asks.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::state::Publisher;
use crate::state::work::{Kind, Tally};

/// A plan in force that has not heeded news for this long is in trouble.
pub const LAGGING: Duration = Duration::from_secs(60);

/// What is told of jobs.
#[derive(Debug, Default)]
pub struct JobFigures {
    told: Mutex<Told>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Told {
    unheeded_since: Option<Instant>,
    cpu: Duration,
    tallies: [Tally; Kind::ALL.len()],
}

impl JobFigures {
    /// Takes what has become of jobs so far.
    pub fn note(&self, publisher: &Publisher) {
        let mut told = self.told();
        let since = [publisher.unheeded_since(), publisher.behind_since(), publisher.ungrouped_since()];
        told.unheeded_since = since.into_iter().flatten().min();
        told.tallies = publisher.work().tallies();
    }

    /// A job has taken so much CPU time.
    pub fn spent(&self, cpu: Duration) {
        self.told().cpu += cpu;
    }

    /// The age of the oldest news that the plan in force, some table of cells or any answer does not heed; 0: all is heeded.
    pub fn lag(&self, now: Instant) -> Duration {
        self.told().unheeded_since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }

    /// Of all jobs that are back.
    pub fn cpu(&self) -> Duration {
        self.told().cpu
    }

    /// The jobs so far, by kind.
    pub fn tallies(&self) -> [(Kind, Tally); Kind::ALL.len()] {
        let tallies = self.told().tallies;
        Kind::ALL.map(|kind| (kind, tallies[kind as usize]))
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
