//! How many connections all probes may hold, and who waits for one.
//!
//! In: a probe that is due. Out: a [`Share`] of the budget, given back when dropped. Endpoints that did not answer
//! lately hold theirs for a whole timeout each; so a part of the budget is out of their reach. However many hang,
//! those that answer are asked in time.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError};
use tracing::warn;

use super::fault::Rarely;

/// Calm probes start at multiples of this.
const TOGETHER: Duration = Duration::from_millis(20);

/// The connections of all probes together.
///
/// Bounded by what the process may open beside its other sockets: see the daemon.
#[derive(Debug)]
pub struct Budget {
    began: tokio::time::Instant,
    connections: u32,
    all: Arc<Semaphore>,
    /// As many of them as endpoints may take of which no answer is expected.
    silent: Arc<Semaphore>,
    waiting: AtomicU32,
    delayed: AtomicU64,
    told: Mutex<Rarely>,
}

/// What an operator sees of the budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BudgetCounts {
    /// 1 or more.
    pub connections: u32,
    /// Of these, held by probes.
    pub held: u32,
    /// Probes that are due and wait.
    pub waiting: u32,
    /// Probes that had to wait, since the start.
    pub delayed: u64,
}

/// How soon a probe is likely to give back what it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expected {
    /// Its endpoint answered the last probe, be it with a refusal.
    Answer,
    /// It did not, or has never been asked.
    Silence,
}

/// What one probe holds of the budget.
pub(super) struct Share {
    _silent: Option<OwnedSemaphorePermit>,
    _all: OwnedSemaphorePermit,
}

/// The part of the budget that is for endpoints that answer: a quarter. These hold a connection for a fiftieth of the
/// time that silent ones do.
const ANSWERING: u32 = 4;

impl Budget {
    /// Of so many connections: 1 to 65,536.
    pub fn new(connections: u32) -> Budget {
        let connections = connections.clamp(1, 65_536);
        let semaphore = |places: u32| Arc::new(Semaphore::new(places as usize));
        Budget {
            began: tokio::time::Instant::now(),
            connections,
            all: semaphore(connections),
            silent: semaphore(Budget::of_silent(connections)),
            waiting: AtomicU32::new(0),
            delayed: AtomicU64::new(0),
            told: Mutex::default(),
        }
    }

    fn of_silent(connections: u32) -> u32 {
        (connections - connections / ANSWERING).max(1)
    }

    /// The last moment up to this one at which probes start together: a thread that wakes for one of thousands finds
    /// others to start, and sleeps longer after.
    pub(super) fn together(&self, at: tokio::time::Instant) -> tokio::time::Instant {
        let since = at.saturating_duration_since(self.began);
        let after = Duration::from_nanos((since.as_nanos() % TOGETHER.as_nanos()) as u64);
        at.checked_sub(after).unwrap_or(at)
    }

    pub fn counts(&self) -> BudgetCounts {
        let free = u32::try_from(self.all.available_permits()).unwrap_or(u32::MAX);
        BudgetCounts {
            connections: self.connections,
            held: self.connections.saturating_sub(free),
            waiting: self.waiting.load(Ordering::Relaxed),
            delayed: self.delayed.load(Ordering::Relaxed),
        }
    }

    /// Takes so many connections, at most all there may be; waits until they are free. `None` never happens: the
    /// semaphores stay open.
    pub(super) async fn take(&self, connections: u32, expected: Expected) -> Option<Share> {
        let silent = match expected {
            Expected::Answer => None,
            Expected::Silence => {
                Some(self.permits(&self.silent, connections.min(Budget::of_silent(self.connections))).await?)
            }
        };
        let all = self.permits(&self.all, connections.min(self.connections)).await?;
        Some(Share { _silent: silent, _all: all })
    }

    async fn permits(&self, from: &Arc<Semaphore>, count: u32) -> Option<OwnedSemaphorePermit> {
        match from.clone().try_acquire_many_owned(count) {
            Ok(permits) => return Some(permits),
            Err(TryAcquireError::Closed) => return None,
            Err(TryAcquireError::NoPermits) => self.tell(),
        }
        let waiting = Waiting::new(&self.waiting);
        let permits = from.clone().acquire_many_owned(count).await.ok();
        drop(waiting);
        self.delayed.fetch_add(1, Ordering::Relaxed);
        permits
    }

    fn tell(&self) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(untold) = told.now(Instant::now()) {
            let connections = self.connections;
            warn!(
                untold,
                "probes wait for others to end: {connections} connections are all they may have at once, by \
                 `limits.probes` or by the files this process may open"
            );
        }
    }
}

/// Counts one that waits, also where it stops waiting half-way.
struct Waiting<'a>(&'a AtomicU32);

impl<'a> Waiting<'a> {
    fn new(count: &'a AtomicU32) -> Waiting<'a> {
        count.fetch_add(1, Ordering::Relaxed);
        Waiting(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::timeout;

    #[tokio::test(start_paused = true)]
    async fn silent_endpoints_leave_a_quarter_to_those_that_answer() {
        let budget = Budget::new(8);
        let mut held = Vec::new();
        for _ in 0..6 {
            held.push(budget.take(1, Expected::Silence).await.expect("open"));
        }
        assert_eq!(budget.counts().delayed, 0);
        assert!(timeout(Duration::from_secs(9), budget.take(1, Expected::Silence)).await.is_err());
        held.push(budget.take(2, Expected::Answer).await.expect("open"));
        assert_eq!(budget.counts(), BudgetCounts { connections: 8, held: 8, waiting: 0, delayed: 0 });
        let (late, ()) = tokio::join!(budget.take(1, Expected::Silence), async { drop(held.remove(0)) });
        assert_eq!((late.is_some(), budget.counts().delayed), (true, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn who_needs_more_than_there_is_takes_all_of_it() {
        for connections in [0, 1, 3] {
            let budget = Budget::new(connections);
            for expected in [Expected::Silence, Expected::Answer] {
                let taken = timeout(Duration::from_secs(9), budget.take(64, expected)).await;
                drop(taken.expect("in time").expect("open"));
            }
            assert_eq!(budget.counts().held, 0);
        }
    }
}
