//! A thread that runs one job after the other, and the clock of the CPU time that it gets.

use std::io;
use std::os::unix::thread::JoinHandleExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::state::Snapshot;
use crate::state::work::{Done, Job};

use super::priority::Manner;

/// How jobs are run, and their CPU time is read.
#[derive(Clone)]
pub(super) struct Ways {
    pub run: Arc<dyn Fn(Job) -> Done + Send + Sync>,
    pub cpu: Arc<dyn Fn(ThreadClock) -> Duration + Send + Sync>,
}

/// Snapshots that may wait to be let go: each keeps what no other has of its tables.
const MOST_WAITING: usize = 2;

/// What the thread is told to do.
enum Order {
    Run(Job),
    LetGo(Arc<Snapshot>),
}

/// The hold on the thread, which ends with its last job once this has gone.
pub(super) struct Worker {
    orders: SyncSender<Order>,
    /// Snapshots that it has not let go yet.
    waiting: Arc<AtomicUsize>,
    pub backs: mpsc::Receiver<Back>,
    pub clock: ThreadClock,
    is_idle: Arc<AtomicBool>,
}

/// The thread has ended, or has a job.
pub(super) struct Ended;

/// A job that was run.
pub(super) struct Back {
    pub done: Done,
    pub cpu: Duration,
}

impl Worker {
    /// # Errors
    /// The thread cannot be started.
    pub fn start(manner: Manner, ways: &Ways) -> io::Result<Worker> {
        let (orders, told) = sync_channel(1 + MOST_WAITING);
        let (back, backs) = mpsc::channel(1);
        let (is_idle, waiting, ways) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default(), ways.clone());
        let (its, left) = (is_idle.clone(), waiting.clone());
        let thread = thread::Builder::new().name("jobs".into()).spawn(move || {
            its.store(manner.take_on() == Manner::Idle, Ordering::Relaxed);
            serve(&told, &back, &left, &ways);
        })?;
        Ok(Worker { orders, waiting, backs, clock: ThreadClock::of(&thread), is_idle })
    }

    /// # Errors
    /// The thread has ended, or has a job: a bug.
    pub fn begin(&self, job: Job) -> Result<(), Ended> {
        self.orders.try_send(Order::Run(job)).map_err(|_| Ended)
    }

    /// Has the thread give back the memory of a snapshot that nobody else holds. Where several wait for that, it is given
    /// back here.
    pub fn let_go(&self, snapshot: Arc<Snapshot>) {
        if self.waiting.fetch_add(1, Ordering::Relaxed) >= MOST_WAITING
            || self.orders.try_send(Order::LetGo(snapshot)).is_err()
        {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// The system has taken it for one that gets what is left over.
    pub fn is_idle(&self) -> bool {
        self.is_idle.load(Ordering::Relaxed)
    }
}

fn serve(orders: &Receiver<Order>, told: &mpsc::Sender<Back>, waiting: &AtomicUsize, ways: &Ways) {
    while let Ok(order) = orders.recv() {
        let job = match order {
            Order::Run(job) => job,
            Order::LetGo(snapshot) => {
                drop(snapshot);
                waiting.fetch_sub(1, Ordering::Relaxed);
                continue;
            }
        };
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
