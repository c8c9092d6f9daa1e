//! The thread for work that may wait, beside the writer: so that no verdict waits for a plan.
//!
//! ```text
//!   writer ─▶ may_begin ─▶ Publisher::next_job ─▶ begin ─▶ thread: run, CPU time measured
//!     ▲                                                      │
//!     └────────────── News::Done ◀── back ◀─────────────────┘
//! ```
//!
//! It gets what nobody else wants of the cores, where that is too little ([`patience`]) a nice one beside it gets some
//! more, and it is held to a part of one core ([`budget`]). One job at a time; a panic costs that job alone, and the next
//! waits longer each time. Nobody waits for the thread: it ends with its last job once the writer has gone.

pub mod budget;
pub mod figures;
mod patience;
pub mod priority;
pub(super) mod worker;

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tracing::{error, info, warn};

use crate::state::work::{Done, Job, Ticket};
use crate::state::{Publisher, Snapshot};
use crate::steer::haste::Haste;

use super::clock::sleep_until;
use super::supervise::{FIRST_PAUSE, LONGEST_PAUSE};
use super::vitals::{TaskKind, Vitals};
use budget::Budget;
use patience::{NICE_FOR, Patience};
use priority::Manner;
use worker::{Back, ThreadClock, Ways, Worker};

/// The writer's hold on the thread.
pub struct JobThread {
    idle: Worker,
    /// Runs jobs in its place, while that gets too little.
    nice: Option<Worker>,
    /// At least until then.
    nice_until: Option<Instant>,
    patience: Patience,
    ways: Ways,
    under_way: Option<UnderWay>,
    /// The job that was given up and that the idle thread still has; only while there is a nice one.
    left_behind: Option<UnderWay>,
    budget: Budget,
    /// After a panic, until then.
    paused_until: Option<Instant>,
    pause: Duration,
    /// When more may begin than by the last word of [`JobThread::may_begin`].
    look_at: Option<Instant>,
    vitals: Arc<Vitals>,
}

/// A job that a thread has.
#[derive(Clone, Copy)]
struct UnderWay {
    ticket: Ticket,
    began: Instant,
    /// The part of a core that it may take on average.
    share: f64,
    /// When it was looked at last, and the thread's CPU time then.
    seen: (Instant, Duration),
}

/// What there is to hear of threads.
enum Heard {
    Back(Back),
    /// Of the job that was given up.
    LeftBehind(Back),
    /// Nothing so far: time to look after the one that is under way.
    Silence,
}

impl JobThread {
    /// # Errors
    /// The thread cannot be started.
    pub fn start(vitals: Arc<Vitals>) -> io::Result<JobThread> {
        JobThread::start_with(vitals, Job::run, ThreadClock::read)
    }

    /// [`JobThread::start`], where jobs are run by `run`, and `cpu` is the CPU time that a thread has taken.
    pub(super) fn start_with(
        vitals: Arc<Vitals>,
        run: impl Fn(Job) -> Done + Send + Sync + 'static,
        cpu: impl Fn(ThreadClock) -> Duration + Send + Sync + 'static,
    ) -> io::Result<JobThread> {
        let ways = Ways { run: Arc::new(run), cpu: Arc::new(cpu) };
        Ok(JobThread {
            idle: Worker::start(Manner::Idle, &ways)?,
            nice: None,
            nice_until: None,
            patience: Patience::default(),
            ways,
            under_way: None,
            left_behind: None,
            budget: Budget::default(),
            paused_until: None,
            pause: FIRST_PAUSE,
            look_at: None,
            vitals,
        })
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
        let began = now();
        if self.left_behind.is_none() && self.nice_until.is_none_or(|until| until <= began) {
            (self.nice, self.nice_until) = (None, None);
        }
        let thread = self.nice.as_ref().unwrap_or(&self.idle);
        let seen = (began, (self.ways.cpu)(thread.clock));
        self.under_way = Some(UnderWay { ticket: job.ticket(), began, share, seen });
        if thread.begin(job).is_err() {
            error!("the thread for jobs has ended, which is a bug: plans stay as they are until a restart");
        }
    }

    /// The job that is back next. Nothing is lost where this is dropped while it waits.
    pub async fn back(&mut self) -> Done {
        loop {
            match self.hear().await {
                Heard::Back(back) => return self.take(back),
                Heard::LeftBehind(back) => {
                    if let Some(left) = self.left_behind.take() {
                        self.spend(&left, back.cpu); // its result fits no more
                    }
                }
                Heard::Silence => {
                    if let Some(done) = self.look_after() {
                        return done;
                    }
                }
            }
        }
    }

    /// Gives back the memory of a snapshot that nobody else holds: on the thread for jobs, unless that is behind. A large
    /// one takes some milliseconds.
    pub fn let_go(&self, snapshot: Arc<Snapshot>) {
        if self.nice.is_none() {
            self.idle.let_go(snapshot);
        }
    }

    /// Tells how jobs go.
    pub fn tell(&self, publisher: &Publisher) {
        self.vitals.jobs().note(publisher);
    }

    async fn hear(&mut self) -> Heard {
        let look = self.under_way.filter(|_| self.nice.is_none()).map(|job| job.seen.0 + self.patience.left());
        let (backs, left_behind) = match &mut self.nice {
            Some(nice) => (&mut nice.backs, Some(&mut self.idle.backs)),
            None => (&mut self.idle.backs, None),
        };
        tokio::select! {
            biased;
            Some(back) = backs.recv() => Heard::Back(back),
            Some(back) = next(left_behind) => Heard::LeftBehind(back),
            () = sleep_until(look) => Heard::Silence,
        }
    }

    fn take(&mut self, Back { done, cpu }: Back) -> Done {
        if let Some(mut job) = self.under_way.take() {
            self.spend(&job, cpu);
            if self.gets_too_little(&mut job) {
                self.turn_nice();
            }
        }
        if done.is_failed() {
            self.failed(&done);
        } else {
            (self.paused_until, self.pause) = (None, FIRST_PAUSE);
        }
        done
    }

    /// Gives up the job under way where the idle thread gets too little for it.
    fn look_after(&mut self) -> Option<Done> {
        let mut job = self.under_way.take()?;
        if self.gets_too_little(&mut job) && self.turn_nice() {
            self.left_behind = Some(job);
            return Some(job.ticket.given_up());
        }
        self.under_way = Some(job);
        None
    }

    /// Judges what the idle thread got for this job since it was looked at last.
    fn gets_too_little(&mut self, job: &mut UnderWay) -> bool {
        if self.nice.is_some() {
            return false;
        }
        let seen = (now(), (self.ways.cpu)(self.idle.clock));
        let (then, cpu) = std::mem::replace(&mut job.seen, seen);
        let is_over = self.patience.is_over(seen.0 - then, seen.1.saturating_sub(cpu));
        is_over && self.idle.is_idle()
    }

    /// Has jobs done by a nice thread for a while, if one can be started.
    fn turn_nice(&mut self) -> bool {
        match Worker::start(Manner::Nice, &self.ways) {
            Ok(thread) => {
                info!("others keep all cores busy: plans are made beside them, not after them");
                (self.nice, self.nice_until) = (Some(thread), Some(now() + NICE_FOR));
                true
            }
            Err(error) => {
                warn!(%error, "others keep all cores busy: plans wait for them, as no thread can be started");
                false
            }
        }
    }

    fn spend(&mut self, job: &UnderWay, cpu: Duration) {
        self.budget.spend(job.began, cpu, job.share);
        self.vitals.jobs().spent(cpu);
    }

    fn failed(&mut self, done: &Done) {
        let (kind, after_s) = (done.ticket().kind.as_str(), self.pause.as_secs());
        error!(job = kind, "a job panicked, which is a bug: it is tried again in {after_s} s");
        self.vitals.restarted(TaskKind::Job);
        self.paused_until = Some(Instant::now() + self.pause);
        self.pause = LONGEST_PAUSE.min(2 * self.pause);
    }
}

/// By the clock that waiting goes by.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

async fn next(backs: Option<&mut mpsc::Receiver<Back>>) -> Option<Back> {
    match backs {
        Some(backs) => backs.recv().await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
