//! How long probes take, by kind of check and by what came of it: for the metrics.
//!
//! Added to by every probe, in a few atomic words; read by whoever scrapes.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use crate::model::CheckKind;

use super::outcome::ProbeError;

/// The times of probes are told apart by, in seconds: each is a bucket's greatest.
pub const PROBE_BOUNDS_S: [f64; 12] = [1e-3, 2.5e-3, 5e-3, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0];
const BUCKETS: usize = PROBE_BOUNDS_S.len() + 1;

/// The kinds of checks that ask somebody.
const KINDS: [&str; 8] = ["tcp", "udp", "tls", "dns", "grpc", "icmp", "exec", "http"];
const RESULTS: [&str; 2] = ["failed", "ok"];

/// All probes so far.
#[derive(Debug, Default)]
pub struct ProbeTimes([[Cells; RESULTS.len()]; KINDS.len()]);

/// Those of one kind and result.
#[derive(Debug, Default)]
struct Cells {
    buckets: [AtomicU64; BUCKETS],
    sum_us: AtomicU64,
}

/// The same at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Times {
    /// By [`PROBE_BOUNDS_S`], the last those that took longer than all of them.
    pub buckets: [u64; BUCKETS],
    pub sum_s: f64,
}

/// A kind of check, as its place in [`KINDS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimedKind(usize);

impl TimedKind {
    /// `None`: a kind that asks nobody.
    pub fn of(kind: &CheckKind) -> Option<TimedKind> {
        Some(TimedKind(match kind {
            CheckKind::Tcp { .. } | CheckKind::TcpExchange(_) => 0,
            CheckKind::Udp(_) => 1,
            CheckKind::Tls { .. } => 2,
            CheckKind::Dns(_) => 3,
            CheckKind::Grpc(_) => 4,
            CheckKind::Icmp => 5,
            CheckKind::Exec(_) => 6,
            CheckKind::Http(_) => 7,
            CheckKind::Push { .. } => return None,
        }))
    }
}

impl ProbeTimes {
    /// Gives what `probe` gives, and adds the time it took, unless this machine could not ask.
    pub async fn timed<T>(
        &self,
        kind: Option<TimedKind>,
        probe: impl Future<Output = Result<T, ProbeError>>,
    ) -> Result<T, ProbeError> {
        let began = Instant::now();
        let outcome = probe.await;
        match (kind, &outcome) {
            (None, _) | (_, Err(ProbeError::Own(_) | ProbeError::NotYet)) => {}
            (Some(kind), outcome) => self.add(kind, outcome.is_ok(), began.elapsed()),
        }
        outcome
    }

    /// Of each kind that was asked: its name, `ok` or `failed`, and the times.
    pub fn all(&self) -> Vec<(&'static str, &'static str, Times)> {
        let of_kind = |(kind, cells): (&&'static str, &[Cells; RESULTS.len()])| {
            let all = RESULTS.iter().zip(cells).map(|(result, cells)| (*kind, *result, cells.times()));
            let all: Vec<_> = all.collect();
            if all.iter().any(|(_, _, times)| *times != Times::default()) { all } else { Vec::new() }
        };
        KINDS.iter().zip(&self.0).flat_map(of_kind).collect()
    }

    fn add(&self, TimedKind(kind): TimedKind, is_ok: bool, time: Duration) {
        let Some(cells) = self.0.get(kind).and_then(|of| of.get(usize::from(is_ok))) else { return };
        let seconds = time.as_secs_f64();
        let bucket = PROBE_BOUNDS_S.iter().position(|&bound| seconds <= bound).unwrap_or(PROBE_BOUNDS_S.len());
        if let Some(cell) = cells.buckets.get(bucket) {
            cell.fetch_add(1, Ordering::Relaxed);
        }
        cells.sum_us.fetch_add(u64::try_from(time.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

impl Cells {
    fn times(&self) -> Times {
        let buckets = self.buckets.each_ref().map(|bucket| bucket.load(Ordering::Relaxed));
        Times { buckets, sum_s: self.sum_us.load(Ordering::Relaxed) as f64 / 1e6 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn probes_are_timed_by_kind_and_result_and_what_nobody_was_asked_is_not() {
        let times = ProbeTimes::default();
        let tcp = TimedKind::of(&CheckKind::Tcp { port: 80 });
        let probe = |ms: u64, outcome: Result<(), ProbeError>| async move {
            tokio::time::sleep(Duration::from_millis(ms)).await;
            outcome
        };
        for (ms, outcome) in [(0, Ok(())), (30, Ok(())), (2_000, Err(ProbeError::Refused)), (9_000, Ok(()))] {
            assert_eq!(times.timed(tcp, probe(ms, outcome.clone())).await, outcome);
        }
        times.timed(tcp, probe(1, Err(ProbeError::Own("none".into())))).await.expect_err("own");
        let push = TimedKind::of(&CheckKind::Push { max_age: Duration::from_secs(9) });
        times.timed(push, probe(1, Ok(()))).await.expect("a heartbeat");
        let all = times.all();
        assert_eq!(
            all.iter().map(|(kind, result, _)| (*kind, *result)).collect::<Vec<_>>(),
            [("tcp", "failed"), ("tcp", "ok")]
        );
        let [failed, ok] = [0, 1].map(|at| all[at].2);
        let filled = |times: Times| (0..BUCKETS).filter(|at| times.buckets[*at] > 0).collect::<Vec<_>>();
        assert_eq!((filled(failed), filled(ok)), (vec![10], vec![0, 5, 12]));
        assert!((2.0..2.1).contains(&failed.sum_s) && (9.03..9.2).contains(&ok.sum_s), "{all:?}");
    }
}
