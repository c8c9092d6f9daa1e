//! Whether the control plane lives: the writer's heartbeat, how often its tasks had to be started again, how far behind
//! the work is that is done beside the writer, and how long probes take.
//!
//! Written by those it is about, by one store each; read by readiness, status, metrics and the watchdog, which need
//! neither the runtime nor the writer for it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::jobs::figures::JobFigures;
use super::probe::times::ProbeTimes;

/// A writer that has been silent for this long is stalled. It beats every second; the largest snapshots, between two
/// beats, take a few.
pub const STALLED: Duration = Duration::from_secs(10);
/// How often it beats at least.
pub const BEAT: Duration = Duration::from_secs(1);

/// What is known of the control plane's life.
#[derive(Debug)]
pub struct Vitals {
    began: Instant,
    /// The writer's last beat, in milliseconds since then.
    beat_ms: AtomicU64,
    failed: AtomicBool,
    restarts: [AtomicU64; TaskKind::ALL.len()],
    jobs: JobFigures,
    probes: ProbeTimes,
}

/// How the writer does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pulse {
    Beating,
    /// Nothing was heard of it for this long, [`STALLED`] or more: it works at something, or waits for ever.
    Stalled(Duration),
    /// It panicked, this long ago. Answers stay as they were.
    Failed(Duration),
}

/// Tasks that are started again where they panic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskKind {
    /// The probes of one endpoint.
    Probes,
    /// The load report of one region.
    LoadReport,
    /// What carries demand to the writer.
    Demand,
    /// What carries measured round trips to it.
    Measurements,
    /// What tells one receiver of events.
    Receiver,
    /// Work that may wait, such as a plan.
    Job,
}

impl Default for Vitals {
    fn default() -> Vitals {
        let (beat_ms, failed, restarts, jobs, probes) = Default::default();
        Vitals { began: Instant::now(), beat_ms, failed, restarts, jobs, probes }
    }
}

impl Vitals {
    /// The writer is alive.
    pub fn beat(&self) {
        self.beat_ms.store(self.began.elapsed().as_millis() as u64, Ordering::Relaxed);
    }

    /// Tells of a panic of the thread it is made on, when it goes.
    pub fn on_panic(&self) -> impl Drop + '_ {
        OnPanic(self)
    }

    /// Since the last beat.
    pub fn silent_for(&self) -> Duration {
        let beat = Duration::from_millis(self.beat_ms.load(Ordering::Relaxed));
        self.began.elapsed().saturating_sub(beat)
    }

    pub fn pulse(&self) -> Pulse {
        match self.silent_for() {
            silent if self.failed.load(Ordering::Relaxed) => Pulse::Failed(silent),
            silent if silent >= STALLED => Pulse::Stalled(silent),
            _ => Pulse::Beating,
        }
    }

    /// How the work goes that is done beside the writer.
    pub fn jobs(&self) -> &JobFigures {
        &self.jobs
    }

    /// How long probes take.
    pub fn probes(&self) -> &ProbeTimes {
        &self.probes
    }

    pub fn restarted(&self, task: TaskKind) {
        if let Some(count) = self.restarts.get(task as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How often tasks of this kind were started again.
    pub fn restarts(&self, task: TaskKind) -> u64 {
        self.restarts.get(task as usize).map_or(0, |count| count.load(Ordering::Relaxed))
    }
}

struct OnPanic<'a>(&'a Vitals);

impl Drop for OnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.failed.store(true, Ordering::Relaxed);
        }
    }
}

impl Pulse {
    pub const WORDS: [&str; 3] = ["beating", "stalled", "failed"];

    pub fn as_str(self) -> &'static str {
        let [beating, stalled, failed] = Pulse::WORDS;
        match self {
            Pulse::Beating => beating,
            Pulse::Stalled(_) => stalled,
            Pulse::Failed(_) => failed,
        }
    }

    /// What is wrong, in a sentence.
    pub fn told(self) -> Option<String> {
        match self {
            Pulse::Beating => None,
            Pulse::Stalled(silent) => Some(format!(
                "the writer has not been heard of for {} s: answers stay as they were then",
                silent.as_secs()
            )),
            Pulse::Failed(silent) => Some(format!(
                "the writer failed {} s ago, which is a bug: answers stay as they were then, until a restart",
                silent.as_secs()
            )),
        }
    }
}

impl TaskKind {
    pub const ALL: [TaskKind; 6] = [
        TaskKind::Probes,
        TaskKind::LoadReport,
        TaskKind::Demand,
        TaskKind::Measurements,
        TaskKind::Receiver,
        TaskKind::Job,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            TaskKind::Probes => "probes",
            TaskKind::LoadReport => "load_report",
            TaskKind::Demand => "demand",
            TaskKind::Measurements => "measurements",
            TaskKind::Receiver => "event_receiver",
            TaskKind::Job => "job",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_is_a_stall_and_a_panic_is_told_for_good() {
        let vitals = Vitals { began: Instant::now() - 2 * STALLED, ..Vitals::default() };
        assert!(matches!(vitals.pulse(), Pulse::Stalled(silent) if silent >= 2 * STALLED));
        vitals.beat();
        assert_eq!((vitals.pulse(), vitals.pulse().told()), (Pulse::Beating, None));
        drop(vitals.on_panic());
        assert_eq!(vitals.pulse(), Pulse::Beating, "an end is no panic");
        std::thread::scope(|scope| {
            let panicking = scope.spawn(|| {
                let _told = vitals.on_panic();
                panic!("a test's panic");
            });
            assert!(panicking.join().is_err());
        });
        vitals.beat();
        assert!(matches!(vitals.pulse(), Pulse::Failed(_)) && vitals.pulse().told().is_some());
    }
}
