//! A thread that runs one job after the other, and the clock of the CPU time that it gets.

use std::io;
use std::os::unix::thread::JoinHandleExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::state::work::{Done, Job};

use super::priority::Manner;

/// How jobs are run, and their CPU time is read.
#[derive(Clone)]
pub(super) struct Ways {
    pub run: Arc<dyn Fn(Job) -> Done + Send + Sync>,
    pub cpu: Arc<dyn Fn(ThreadClock) -> Duration + Send + Sync>,
}

/// The hold on the thread, which ends with its last job once this has gone.
pub(super) struct Worker {
    jobs: SyncSender<Job>,
    pub backs: mpsc::Receiver<Back>,
    pub clock: ThreadClock,
    is_idle: Arc<AtomicBool>,
}

/// A job that was run.
pub(super) struct Back {
    pub done: Done,
    pub cpu: Duration,
}

impl Worker {
    /// # Errors
    /// The thread cannot be started.
    pub fn start(manner: Manner, ways: &Ways) -> io::Result<Worker> {
        let (jobs, begun) = sync_channel(1);
        let (told, backs) = mpsc::channel(1);
        let (is_idle, ways) = (Arc::<AtomicBool>::default(), ways.clone());
        let its = is_idle.clone();
        let thread = thread::Builder::new().name("jobs".into()).spawn(move || {
            its.store(manner.take_on() == Manner::Idle, Ordering::Relaxed);
            serve(&begun, &told, &ways);
        })?;
        Ok(Worker { jobs, backs, clock: ThreadClock::of(&thread), is_idle })
    }

    /// # Errors
    /// The thread has ended, or has a job: a bug.
    pub fn begin(&self, job: Job) -> Result<(), TrySendError<Job>> {
        self.jobs.try_send(job)
    }

    /// The system has taken it for one that gets what is left over.
    pub fn is_idle(&self) -> bool {
        self.is_idle.load(Ordering::Relaxed)
    }
}

fn serve(jobs: &Receiver<Job>, told: &mpsc::Sender<Back>, ways: &Ways) {
    while let Ok(job) = jobs.recv() {
        let (ticket, before) = (job.ticket(), (ways.cpu)(ThreadClock::OWN));
        // What it has touched goes with it.
        let done = catch_unwind(AssertUnwindSafe(|| (ways.run)(job))).unwrap_or_else(|_| ticket.failed());
        let cpu = (ways.cpu)(ThreadClock::OWN).saturating_sub(before);
        if told.blocking_send(Back { done, cpu }).is_err() {
            return;
        }
    }
}

/// The clock of a thread's CPU time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ThreadClock(libc::clockid_t);

impl ThreadClock {
    /// Of the thread that reads it.
    pub(super) const OWN: ThreadClock = ThreadClock(libc::CLOCK_THREAD_CPUTIME_ID);

    /// Of a thread that may be read by others while it lives.
    fn of<T>(thread: &thread::JoinHandle<T>) -> ThreadClock {
        let mut clock = libc::CLOCK_THREAD_CPUTIME_ID;
        // SAFETY: the thread was not joined, so that its handle holds; the call writes the one number it is given.
        let known = unsafe { libc::pthread_getcpuclockid(thread.as_pthread_t(), &mut clock) } == 0;
        debug_assert!(known, "it has such a clock");
        ThreadClock(clock)
    }

    /// Such that threads get all that they want, and `own` is what they have taken by their own word.
    #[cfg(test)]
    pub fn as_if_alone(own: impl Fn() -> Duration) -> impl Fn(ThreadClock) -> Duration {
        let began = std::time::Instant::now();
        move |clock| if clock == ThreadClock::OWN { own() } else { began.elapsed() }
    }

    /// So far; nothing where the system does not say.
    pub fn read(self) -> Duration {
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: the call writes the one struct it is given, which outlives it.
        let known = unsafe { libc::clock_gettime(self.0, &mut time) } == 0;
        if known { Duration::new(time.tv_sec as u64, time.tv_nsec as u32) } else { Duration::ZERO }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_a_thread_is_known_to_it_and_to_others() {
        let (going, gone) = sync_channel::<()>(0);
        let least = Duration::from_millis(1);
        let thread = thread::spawn(move || {
            let (began, mut sum) = (ThreadClock::OWN.read(), 0_u64);
            while ThreadClock::OWN.read() < began + least {
                sum = std::hint::black_box(sum + 1); // a failure is a test that never ends
            }
            let _ = gone.recv(); // an error: the test is over
        });
        let clock = ThreadClock::of(&thread);
        while clock.read() < least {
            thread::yield_now(); // as above
        }
        let before = clock.read();
        assert!(before < Duration::from_secs(1), "not that of the process: {before:?}");
        drop(going);
        thread.join().expect("it ends");
    }
}
