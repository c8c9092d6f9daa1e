//! The thread for work that may wait, beside the writer: so that no verdict waits for a plan.
//!
//! ```text
//!   writer ─▶ may_begin ─▶ Publisher::next_job ─▶ begin ─▶ thread: run, CPU time measured
//!     ▲                                                      │
//!     └────────────── News::Done ◀── back ◀─────────────────┘
//! ```
//!
//! Of low priority, and held to a part of one core ([`budget`]). One job at a time; a panic costs that job alone, and the
//! next waits longer each time. Nobody waits for the thread: it ends with its last job once the writer has gone.

pub mod budget;
pub mod figures;

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tracing::error;

use crate::state::Publisher;
use crate::state::work::{Done, Job};
use crate::steer::haste::Haste;

use super::supervise::{FIRST_PAUSE, LONGEST_PAUSE};
use super::vitals::{TaskKind, Vitals};
use budget::Budget;

/// Added to the niceness of the process: on a busy machine answers and probes come first.
const NICER_BY: libc::c_int = 10;

/// The writer's hold on the thread.
pub struct JobThread {
    jobs: SyncSender<Job>,
    backs: mpsc::Receiver<Back>,
    /// The part of a core that the job under way may take on average; `None`: none is under way.
    under_way: Option<f64>,
    budget: Budget,
    /// After a panic, until then.
    paused_until: Option<Instant>,
    pause: Duration,
    /// When more may begin than by the last word of [`JobThread::may_begin`].
    look_at: Option<Instant>,
    vitals: Arc<Vitals>,
}

/// A job that was run.
struct Back {
    done: Done,
    began: Instant,
    cpu: Duration,
}

impl JobThread {
    /// # Errors
    /// The thread cannot be started.
    pub fn start(vitals: Arc<Vitals>) -> io::Result<JobThread> {
        JobThread::start_with(vitals, Job::run, thread_cpu)
    }

    /// [`JobThread::start`], where jobs are run by `run`, and `cpu` is the CPU time that the thread has taken.
    pub(super) fn start_with(
        vitals: Arc<Vitals>,
        run: impl Fn(Job) -> Done + Send + 'static,
        cpu: impl Fn() -> Duration + Send + 'static,
    ) -> io::Result<JobThread> {
        let (jobs, begun) = sync_channel(1);
        let (told, backs) = mpsc::channel(1);
        thread::Builder::new().name("jobs".into()).spawn(move || serve(&begun, &told, run, cpu))?;
        let (budget, pause) = (Budget::default(), FIRST_PAUSE);
        Ok(JobThread { jobs, backs, under_way: None, budget, paused_until: None, pause, look_at: None, vitals })
    }

    /// The least pressing job that may begin now; `None`: none may.
    pub fn may_begin(&mut self, now: Instant) -> Option<Haste> {
        self.look_at = None;
        if self.under_way.is_some() {
            return None;
        }
        let at = |haste| self.paused_until.max(self.budget.free_at(haste)).filter(|&at| at > now);
        match (at(Haste::Unhurried), at(Haste::Pressing)) {
            (None, _) => Some(Haste::Unhurried),
            (unhurried, None) => {
                self.look_at = unhurried;
                Some(Haste::Pressing)
            }
            (_, pressing) => {
                self.look_at = pressing;
                None
            }
        }
    }

    /// The time when to ask again what may begin, as far as the thread has to rest until then.
    pub fn look_at(&self) -> Option<Instant> {
        self.look_at
    }

    /// Has a job run. `share`: the part of a core that jobs may take on average, above 0.
    pub fn begin(&mut self, job: Job, share: f64) {
        self.under_way = Some(share);
        if self.jobs.try_send(job).is_err() {
            error!("the thread for jobs has ended, which is a bug: plans stay as they are until a restart");
        }
    }

    /// The job that is back next. Nothing is lost where this is dropped while it waits.
    pub async fn back(&mut self) -> Done {
        let Some(Back { done, began, cpu }) = self.backs.recv().await else { return std::future::pending().await };
        let share = self.under_way.take().unwrap_or(1.0);
        self.budget.spend(began, cpu, share);
        self.vitals.jobs().spent(cpu);
        if done.is_failed() {
            self.failed(&done);
        } else {
            (self.paused_until, self.pause) = (None, FIRST_PAUSE);
        }
        done
    }

    /// Tells how jobs go.
    pub fn tell(&self, publisher: &Publisher) {
        self.vitals.jobs().note(publisher);
    }

    fn failed(&mut self, done: &Done) {
        let (kind, after_s) = (done.ticket().kind.as_str(), self.pause.as_secs());
        error!(job = kind, "a job panicked, which is a bug: it is tried again in {after_s} s");
        self.vitals.restarted(TaskKind::Job);
        self.paused_until = Some(Instant::now() + self.pause);
        self.pause = LONGEST_PAUSE.min(2 * self.pause);
    }
}

fn serve(jobs: &Receiver<Job>, told: &mpsc::Sender<Back>, run: impl Fn(Job) -> Done, cpu: impl Fn() -> Duration) {
    be_nice();
    while let Ok(job) = jobs.recv() {
        let (ticket, began, before) = (job.ticket(), Instant::now(), cpu());
        // What it has touched goes with it.
        let done = catch_unwind(AssertUnwindSafe(|| run(job))).unwrap_or_else(|_| ticket.failed());
        let cpu = cpu().saturating_sub(before);
        if told.blocking_send(Back { done, began, cpu }).is_err() {
            return;
        }
    }
}

/// Lets others on this machine go first. Where the system does not let it, the budget still holds.
pub fn be_nice() {
    // SAFETY: both calls take and return numbers alone; 0 is the calling thread.
    unsafe {
        let now = libc::getpriority(libc::PRIO_PROCESS, 0);
        libc::setpriority(libc::PRIO_PROCESS, 0, now + NICER_BY);
    }
}

/// The CPU time of the calling thread; nothing where the system does not say.
fn thread_cpu() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the call writes the one struct it is given, which outlives it.
    let known = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) } == 0;
    if known { Duration::new(time.tv_sec as u64, time.tv_nsec as u32) } else { Duration::ZERO }
}

#[cfg(test)]
mod tests;
