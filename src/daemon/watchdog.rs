//! Looks after the writer from a thread of its own, which needs neither the runtime nor the writer: says when it is
//! stalled, tells systemd that it is not, and as the last resort ends the process.
//!
//! ```text
//!   writer ─▶ beats ─▶ Vitals ─▶ watchdog, every second ─┬─▶ log
//!                                                        ├─▶ WATCHDOG=1, while it beats
//!                                                        └─▶ `watchdog` in the settings: the end of the process
//! ```

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tracing::{error, info};

use crate::control::vitals::{Pulse, Vitals};

use super::systemd::Systemd;

/// How often it looks.
const PERIOD: Duration = Duration::from_secs(1);
/// How often a stall that goes on is told.
const AGAIN: Duration = Duration::from_secs(60);

/// The thread; it ends when this goes.
pub struct Watchdog {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Watchdog {
    /// Looks after the writer; calls `expired` once it has been silent for `limit`.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn start(
        vitals: Arc<Vitals>,
        limit: Option<Duration>,
        systemd: Arc<Systemd>,
        expired: impl Fn() + Send + 'static,
    ) -> io::Result<Watchdog> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopping = stop.clone();
        let thread = thread::Builder::new().name("watchdog".into()).spawn(move || {
            let mut watch = Watch { limit, told: None };
            while !stopping.load(Ordering::Acquire) {
                let pulse = vitals.pulse();
                if pulse == Pulse::Beating {
                    systemd.alive();
                }
                if watch.look(pulse, Instant::now()) == Verdict::Expired {
                    expired();
                }
                thread::park_timeout(systemd.period().map_or(PERIOD, |period| period.min(PERIOD)));
            }
        })?;
        Ok(Watchdog { stop, thread: Some(thread) })
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            let _ = thread.join(); // a panic there has been told by itself
        }
    }
}

/// What was told so far.
struct Watch {
    limit: Option<Duration>,
    /// That it is stalled, last.
    told: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Alive,
    Silent,
    Expired,
}

impl Watch {
    fn look(&mut self, pulse: Pulse, now: Instant) -> Verdict {
        let silent = match pulse {
            Pulse::Beating => {
                if self.told.take().is_some() {
                    info!("the writer is heard of again");
                }
                return Verdict::Alive;
            }
            Pulse::Stalled(silent) | Pulse::Failed(silent) => silent,
        };
        let expired = self.limit.filter(|&limit| silent >= limit);
        if expired.is_some() || self.told.is_none_or(|told| now.saturating_duration_since(told) >= AGAIN) {
            self.told = Some(now);
            error!("{}", pulse.told().unwrap_or_default());
        }
        match expired {
            Some(limit) => {
                error!("that is the {} s of `watchdog`: the process ends", limit.as_secs());
                Verdict::Expired
            }
            None => Verdict::Silent,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_expires_where_there_is_a_limit_alone() {
        let now = Instant::now();
        let seconds = Duration::from_secs;
        for (limit, expired) in [(None, Verdict::Silent), (Some(seconds(60)), Verdict::Expired)] {
            let mut watch = Watch { limit, told: None };
            assert_eq!(watch.look(Pulse::Beating, now), Verdict::Alive);
            assert_eq!(watch.look(Pulse::Stalled(seconds(59)), now), Verdict::Silent);
            assert!(watch.told.is_some());
            assert_eq!(watch.look(Pulse::Beating, now), Verdict::Alive);
            assert!(watch.told.is_none());
            assert_eq!(watch.look(Pulse::Failed(seconds(60)), now), expired);
        }
    }

    #[test]
    fn the_thread_tells_that_the_limit_has_come_and_ends() {
        let (tell, told) = std::sync::mpsc::channel();
        let expired = move || _ = tell.send(());
        let vitals = Arc::new(Vitals::default());
        // Never beats: in a test nobody waits for a stall, and a panic counts at once.
        let theirs = vitals.clone();
        let panicking = thread::spawn(move || {
            let _told = theirs.on_panic();
            panic!("a test's panic");
        });
        assert!(panicking.join().is_err());
        let watchdog = Watchdog::start(vitals, Some(Duration::ZERO), Arc::default(), expired).expect("a thread");
        told.recv_timeout(Duration::from_secs(10)).expect("expired");
        drop(watchdog);
    }
}
