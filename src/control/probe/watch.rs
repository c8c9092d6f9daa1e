//! The life of one endpoint's checks: starts probes when due, records outcomes in the order
//! they come, reports each.
//!
//! What a probe asks is left to the caller, so that this can be tested against a paused clock.

use std::collections::VecDeque;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::{mpsc, watch};
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{Instant, sleep_until};

use crate::model::EndpointTarget;
use crate::steer::health::verdict::{History, Verdict};

use super::budget::{Budget, Expected, Share};
use super::fault::OwnFaults;
use super::outcome::{ProbeError, Timings};
use super::reachability::Reachability;
use super::report::{EndpointKey, EndpointReport};
use super::schedule::{FAST, Facts, Patience, Recent, is_calm, next_start, patience};

/// Who is watched and how often.
#[derive(Clone, Debug)]
pub(super) struct Watched {
    pub key: EndpointKey,
    pub target: EndpointTarget,
    pub interval: Duration,
    pub fall: u32,
    /// [`Check::grace`](crate::model::Check::grace).
    pub grace: Duration,
    pub timeout: Duration,
    /// Connections one probe needs.
    pub connections: u32,
    /// From now to the first probe.
    pub first_wait: Duration,
}

/// What an endpoint is remembered by, over reloads too.
#[derive(Clone, Debug)]
pub(super) struct Memory {
    pub history: History,
    since: SystemTime,
    recent: Recent,
    watched_since: Instant,
}

impl Memory {
    pub(super) fn new(history: History) -> Memory {
        Memory::since(history, SystemTime::UNIX_EPOCH)
    }

    /// With the time since when the history's verdict is what it is.
    pub(super) fn since(history: History, since: SystemTime) -> Memory {
        Memory { history, since, recent: Recent::default(), watched_since: Instant::now() }
    }
}

/// What a watch shares with its prober.
#[derive(Clone)]
pub(super) struct Shared {
    pub memory: Arc<Mutex<Memory>>,
    pub budget: Arc<Budget>,
    pub faults: Arc<OwnFaults>,
    pub reachability: Arc<Reachability>,
    pub sink: mpsc::Sender<EndpointReport>,
    /// Becomes true with the first outcome.
    pub probed: watch::Sender<bool>,
}

/// Runs until it is dropped or nobody reads the reports any more.
pub(super) async fn watch<F>(watched: Watched, shared: Shared, mut ask: impl FnMut() -> F)
where
    F: Future<Output = Result<Timings, ProbeError>> + Send + 'static,
{
    let mut flights = Flights::new(watched.first_wait);
    // The latest report that found the sink full. A newer one replaces it: a reader that is
    // stuck costs one report per endpoint and never holds up the probes.
    let mut unsent: Option<EndpointReport> = None;
    loop {
        let known = Known::of(&shared.memory, &watched);
        let due = flights.due(&watched, &known, &shared.budget);
        let (silent_at, expected) = (flights.silent_at(&known), flights.expected(&known));
        let outcome = tokio::select! {
            biased;
            Some(landed) = flights.tasks.join_next_with_id() => flights.land(landed, &shared.memory),
            () = sleep_until(silent_at.unwrap_or_else(Instant::now)), if silent_at.is_some() => flights.silent(&known),
            slot = shared.sink.reserve(), if unsent.is_some() => {
                let Ok(slot) = slot else { return };
                if let Some(report) = unsent.take() {
                    slot.send(report);
                }
                None
            }
            share = start(due, &shared.budget, watched.connections, expected), if due.is_some() => {
                let Some(share) = share else { return };
                flights.take_off(&known, ask(), share);
                None
            }
        };
        let Some(Landed { started, outcome }) = outcome else { continue };
        let is_own = matches!(outcome, Err(ProbeError::Own(_)));
        // One that is down stays so, whoever is cut off.
        let outcome = match known.verdict {
            Some(Verdict::Down) => outcome,
            _ => excused(&watched.target, &shared.reachability, started, outcome).await,
        };
        if let Err(ProbeError::Own(why)) = &outcome {
            // That it is or was cut off has been said.
            if is_own && !shared.reachability.is_cut_off() {
                shared.faults.happened(why);
            }
            flights.unlearnt += 1;
            // It may last: the first round does not wait for the end of it.
            let may_last = flights.unlearnt >= MOST_OWN_FAULTS;
            shared.probed.send_if_modified(|probed| may_last && !std::mem::replace(probed, true));
            continue;
        }
        if outcome == Err(ProbeError::NotYet) {
            shared.probed.send_replace(true);
            continue;
        }
        flights.unlearnt = 0;
        unsent = match shared.sink.try_send(record(&watched, &shared.memory, outcome)) {
            Ok(()) => None,
            Err(mpsc::error::TrySendError::Full(report)) => Some(report),
            Err(mpsc::error::TrySendError::Closed(_)) => return,
        };
        shared.probed.send_replace(true);
    }
}

/// A failure that says nothing of the endpoint, because it is this server that is cut off, is a fault of its own.
async fn excused(
    target: &EndpointTarget,
    reachability: &Reachability,
    started: Instant,
    outcome: Result<Timings, ProbeError>,
) -> Result<Timings, ProbeError> {
    match outcome {
        Ok(timings) => {
            reachability.heard(target);
            Ok(timings)
        }
        Err(error) => match reachability.excuse(target, &error, started).await {
            Some(why) => Err(ProbeError::Own(why.to_string())),
            None => Err(error),
        },
    }
}

/// So many faults of this machine in a row, [`FAST`] apart, are not worth waiting for at the start.
const MOST_OWN_FAULTS: u32 = 2;

/// What is known of an endpoint before the next step.
struct Known {
    verdict: Option<Verdict>,
    /// The slowest of its recent answers; `None`: too few are known.
    slowest: Option<Duration>,
    patience: Patience,
}

impl Known {
    fn of(memory: &Mutex<Memory>, watched: &Watched) -> Known {
        let memory = memory.lock().unwrap_or_else(PoisonError::into_inner);
        let slowest = memory.recent.slowest();
        Known { verdict: memory.history.verdict(), slowest, patience: patience(watched.timeout, watched.fall, slowest) }
    }
}

/// The probes in flight, and what the schedule must know of them.
struct Flights {
    tasks: JoinSet<Result<Timings, ProbeError>>,
    /// What `tasks` are at, in the order of their starts.
    waiting: VecDeque<Flight>,
    first: Instant,
    last_start: Option<Instant>,
    /// [`Facts::in_step`].
    in_step: bool,
    latest_landed: bool,
    success_since_start: bool,
    chance: f64,
    /// Whether the last probe to land had an answer of any kind; `None` before the first.
    answered: Option<bool>,
    /// Probes in a row that this machine could not make.
    own_faults: u32,
    /// Probes in a row that taught nothing: these, and those that failed while it was cut off.
    unlearnt: u32,
}

struct Flight {
    task: Id,
    started: Instant,
    /// It has counted as a failure already, for being silent.
    counted: bool,
}

/// What a probe that started then has come to.
struct Landed {
    started: Instant,
    outcome: Result<Timings, ProbeError>,
}

impl Flights {
    fn new(first_wait: Duration) -> Flights {
        Flights {
            tasks: JoinSet::new(),
            waiting: VecDeque::new(),
            first: Instant::now() + first_wait,
            last_start: None,
            in_step: true,
            latest_landed: true,
            success_since_start: false,
            chance: 0.0,
            answered: None,
            own_faults: 0,
            unlearnt: 0,
        }
    }

    /// When the next probe starts; `None`: after one has landed.
    fn due(&self, watched: &Watched, known: &Known, budget: &Budget) -> Option<Instant> {
        let Some(last_start) = self.last_start else { return Some(self.first) };
        let facts = Facts {
            interval: watched.interval,
            verdict: known.verdict,
            in_flight: self.tasks.len(),
            most_in_flight: watched.fall as usize,
            unanswered: self.is_unanswered(),
            late_after: known.patience.next,
            in_step: self.in_step,
            chance: self.chance,
        };
        let wait = next_start(&facts)?;
        // Nothing was learnt by a probe that could not be made.
        let soon = self.own_faults > 0 && known.verdict != Some(Verdict::Down);
        if soon {
            return Some(last_start + wait.min(FAST));
        }
        let due = last_start + wait;
        // Earlier by a little, never later.
        Some(if is_calm(known.verdict, facts.unanswered) { budget.together(due) } else { due })
    }

    fn is_unanswered(&self) -> bool {
        !self.latest_landed && !self.success_since_start
    }

    /// What the next probe is likely to find.
    fn expected(&self, known: &Known) -> Expected {
        let answers = self.answered.unwrap_or(known.verdict.is_some_and(Verdict::serves));
        if answers && self.tasks.is_empty() { Expected::Answer } else { Expected::Silence }
    }

    fn take_off<F>(&mut self, known: &Known, probe: F, share: Share)
    where
        F: Future<Output = Result<Timings, ProbeError>> + Send + 'static,
    {
        self.in_step &= self.last_start.is_none() || !is_calm(known.verdict, self.is_unanswered());
        (self.latest_landed, self.success_since_start) = (false, false);
        let started = Instant::now();
        (self.last_start, self.chance) = (Some(started), fastrand::f64());
        let task = self.tasks.spawn(async move {
            let outcome = probe.await;
            drop(share);
            outcome
        });
        self.waiting.push_back(Flight { task: task.id(), started, counted: false });
    }

    /// When the next probe counts as failed, though it may be answered yet. Never for an endpoint that is down:
    /// it may come back slowly.
    fn silent_at(&self, known: &Known) -> Option<Instant> {
        let serves = known.verdict.is_some_and(Verdict::serves) && known.slowest.is_some();
        let next = self.waiting.iter().find(|flight| serves && !flight.counted)?;
        Some(next.started + known.patience.answer)
    }

    /// Counts that probe.
    fn silent(&mut self, known: &Known) -> Option<Landed> {
        let flight = self.waiting.iter_mut().find(|flight| !flight.counted)?;
        flight.counted = true;
        let outcome = Err(ProbeError::Silent { after: known.patience.answer, slowest: known.slowest? });
        Some(Landed { started: flight.started, outcome })
    }

    /// What there is to record: nothing for a failure that has counted already, nor where the runtime is
    /// shutting down.
    fn land(
        &mut self,
        landed: Result<(Id, Result<Timings, ProbeError>), JoinError>,
        memory: &Mutex<Memory>,
    ) -> Option<Landed> {
        let (task, outcome) = match landed {
            Ok(landed) => landed,
            Err(error) if error.is_panic() => {
                let fault = "the probe itself broke off; this is a fault in Meridian".into();
                (error.id(), Err(ProbeError::Check(fault)))
            }
            Err(_) => return None,
        };
        let index = self.waiting.iter().position(|flight| flight.task == task)?;
        let flight = self.waiting.remove(index)?;
        self.latest_landed |= index == self.waiting.len();
        if matches!(outcome, Err(ProbeError::Own(_))) {
            self.own_faults = self.own_faults.saturating_add(1);
            return Some(Landed { started: flight.started, outcome });
        }
        self.own_faults = 0;
        self.answered = Some(!outcome.as_ref().is_err_and(ProbeError::is_silence));
        self.success_since_start |= outcome.is_ok();
        if outcome.is_ok() {
            let took = flight.started.elapsed();
            memory.lock().unwrap_or_else(PoisonError::into_inner).recent.add(took);
        }
        let has_counted = flight.counted && outcome.is_err();
        (!has_counted).then_some(Landed { started: flight.started, outcome })
    }
}

/// Waits for the time, then for room in the budget. `None` where there is neither any more.
async fn start(due: Option<Instant>, budget: &Budget, connections: u32, expected: Expected) -> Option<Share> {
    sleep_until(due?).await;
    budget.take(connections, expected).await
}

fn record(watched: &Watched, memory: &Mutex<Memory>, outcome: Result<Timings, ProbeError>) -> EndpointReport {
    let mut memory = memory.lock().unwrap_or_else(PoisonError::into_inner);
    let now = SystemTime::now();
    let before = memory.history.verdict();
    let is_graced = matches!(before, None | Some(Verdict::Unknown)) && memory.watched_since.elapsed() < watched.grace;
    if outcome.is_ok() || !is_graced {
        memory.history.record(outcome.is_ok());
    }
    // There is a verdict once an outcome is recorded.
    let verdict = memory.history.verdict().unwrap_or(Verdict::Unknown);
    if before != Some(verdict) {
        memory.since = now;
    }
    let streak = memory.history.streak().max(1);
    EndpointReport { key: watched.key.clone(), verdict, since: memory.since, probed_at: now, outcome, streak }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use tokio::time::{sleep, timeout};

    const OK: Result<Timings, ProbeError> = Ok(Timings {
        connect: Duration::ZERO,
        tls: None,
        first_byte: None,
        dns: None,
        total: Duration::ZERO,
        warning: None,
    });

    struct Stage {
        reports: mpsc::Receiver<EndpointReport>,
        probed: watch::Receiver<bool>,
        faults: Arc<OwnFaults>,
        begun: Instant,
        _task: JoinSet<()>,
    }

    impl Stage {
        /// The next report, and how long after the beginning it came.
        async fn next(&mut self) -> (Duration, Verdict, u32) {
            let report = timeout(Duration::from_secs(3600), self.reports.recv()).await;
            let report = report.expect("a report in an hour").expect("a watch");
            (self.begun.elapsed(), report.verdict, report.streak)
        }
    }

    /// Watches an endpoint at interval 5 s, fall 3, rise 3 whose probe number n (from 0) is
    /// answered as `ask(n)` says.
    fn stage<F>(sink_room: usize, ask: impl Fn(usize) -> F + Send + 'static) -> Stage
    where
        F: Future<Output = Result<Timings, ProbeError>> + Send + 'static,
    {
        let (sink, reports) = mpsc::channel(sink_room);
        let (sender, probed) = watch::channel(false);
        let memory = Arc::new(Mutex::new(Memory::new(History::new(3, 3))));
        let key = EndpointKey::only("seoul@gslb.example", "192.0.2.1");
        let watched = Watched {
            key,
            target: EndpointTarget::Addresses(Vec::new()),
            interval: 5000 * MS,
            fall: 3,
            grace: Duration::ZERO,
            timeout: 2000 * MS,
            connections: 1,
            first_wait: Duration::ZERO,
        };
        let (budget, faults) = (Arc::new(Budget::new(12)), Arc::new(OwnFaults::new("a probe")));
        let shared =
            Shared { memory, budget, faults: faults.clone(), reachability: Arc::default(), sink, probed: sender };
        let asked = AtomicUsize::new(0);
        let mut task = JoinSet::new();
        task.spawn(watch(watched, shared, move || ask(asked.fetch_add(1, Ordering::Relaxed))));
        Stage { reports, probed, faults, begun: Instant::now(), _task: task }
    }

    async fn after(wait: Duration, outcome: Result<Timings, ProbeError>) -> Result<Timings, ProbeError> {
        sleep(wait).await;
        outcome
    }

    const MS: Duration = Duration::from_millis(1);

    #[tokio::test(start_paused = true)]
    async fn a_refusing_endpoint_is_down_within_seven_seconds_of_its_death() {
        // It dies right after its first probe.
        let mut stage = stage(9, |n| after(10 * MS, if n == 0 { OK } else { Err(ProbeError::Refused) }));
        assert_eq!(stage.next().await.1, Verdict::Up);
        let (suspect_at, verdict, _) = stage.next().await;
        assert_eq!(verdict, Verdict::Suspect);
        assert!(suspect_at <= 5030 * MS, "{suspect_at:?}");
        assert_eq!(stage.next().await.1, Verdict::Suspect);
        let (down_at, verdict, streak) = stage.next().await;
        assert_eq!((verdict, streak), (Verdict::Down, 3));
        assert!(down_at <= 6900 * MS, "{down_at:?}");
        // Then the calm pace again.
        let (again, verdict, _) = stage.next().await;
        assert_eq!(verdict, Verdict::Down);
        assert!(again - down_at >= 4400 * MS, "{again:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_endpoint_is_probed_ahead_of_its_timeouts() {
        let mut stage = stage(9, |n| {
            after(if n == 0 { MS } else { 2000 * MS }, if n == 0 { OK } else { Err(ProbeError::Refused) })
        });
        let verdicts = [stage.next().await, stage.next().await, stage.next().await, stage.next().await];
        assert_eq!(verdicts.map(|v| v.1), [Verdict::Up, Verdict::Suspect, Verdict::Suspect, Verdict::Down]);
        // One interval, two fast steps, one timeout: little is known of it.
        assert!(verdicts[3].0 <= 8830 * MS, "{:?}", verdicts[3]);
    }

    /// Answers `many` probes in `took`, and returns when the last was answered.
    async fn answered(stage: &mut Stage, many: usize, took: Duration) -> Duration {
        let mut last = Duration::ZERO;
        for _ in 0..many {
            let (at, verdict, _) = stage.next().await;
            assert_eq!(verdict, Verdict::Up);
            last = at;
        }
        last - took
    }

    #[tokio::test(start_paused = true)]
    async fn an_endpoint_that_falls_silent_is_down_within_seven_seconds_of_its_last_answer() {
        for took in [Duration::ZERO, 20 * MS, 400 * MS] {
            let mut stage = stage(9, move |n| {
                let lives = n < 8;
                after(if lives { took } else { 2000 * MS }, if lives { OK } else { Err(ProbeError::Refused) })
            });
            let died = answered(&mut stage, 8, took).await;
            let next = [stage.next().await, stage.next().await, stage.next().await];
            assert_eq!(next.map(|v| v.1), [Verdict::Suspect, Verdict::Suspect, Verdict::Down]);
            let silent_for = next[2].0 - died;
            assert!(silent_for <= 6850 * MS, "{took:?}: {silent_for:?}");
            // The timeouts that follow have counted already: the next report is of a later probe.
            let (at, verdict, streak) = stage.next().await;
            assert_eq!((verdict, streak), (Verdict::Down, 4));
            assert!(at - next[2].0 >= 4000 * MS, "{at:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_of_a_second_and_a_half_takes_nothing_down() {
        // As many probes as are asked in the pause are answered at its end.
        let pause = 40_000 * MS..41_500 * MS;
        let begun = Instant::now();
        let mut stage = stage(9, move |_| {
            let at = begun.elapsed();
            let wait = if pause.contains(&at) { pause.end - at } else { 10 * MS };
            after(wait, OK)
        });
        let (mut at, mut seen) = (Duration::ZERO, Vec::new());
        while at < Duration::from_secs(60) {
            let verdict;
            (at, verdict, _) = stage.next().await;
            seen.push(verdict);
        }
        assert!(!seen.contains(&Verdict::Down), "{seen:?}");
        assert_eq!(seen.last(), Some(&Verdict::Up));
    }

    #[tokio::test(start_paused = true)]
    async fn an_endpoint_that_turns_slow_within_its_timeout_is_doubted_and_stays_up() {
        let mut stage = stage(9, |n| after(if n < 8 { 10 * MS } else { 1800 * MS }, OK));
        answered(&mut stage, 8, 10 * MS).await;
        let mut verdicts = Vec::new();
        for _ in 0..30 {
            verdicts.push(stage.next().await.1);
        }
        let settled = verdicts.iter().rposition(|&verdict| verdict != Verdict::Up).expect("doubt");
        assert!(settled < 8, "it is known to be slow by then: {verdicts:?}");
        assert!(!verdicts.contains(&Verdict::Down), "{verdicts:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn an_endpoint_that_comes_back_slowly_is_given_its_whole_timeout() {
        let mut stage = stage(9, |n| match n {
            0..8 => after(10 * MS, OK),
            8..13 => after(10 * MS, Err(ProbeError::Refused)),
            _ => after(1500 * MS, OK),
        });
        answered(&mut stage, 8, 10 * MS).await;
        let mut verdicts = Vec::new();
        for _ in 0..9 {
            verdicts.push(stage.next().await.1);
        }
        use Verdict::{Down, Suspect, Up};
        assert_eq!(verdicts[..8], [Suspect, Suspect, Down, Down, Down, Down, Down, Up], "{verdicts:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_than_fall_probes_are_in_flight() {
        let flying = Arc::new(AtomicUsize::new(0));
        let most = Arc::new(AtomicUsize::new(0));
        let (f, m) = (flying.clone(), most.clone());
        let mut stage = stage(9, move |_| {
            let (flying, most) = (f.clone(), m.clone());
            async move {
                most.fetch_max(flying.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                sleep(Duration::from_secs(60)).await;
                flying.fetch_sub(1, Ordering::SeqCst);
                Err(ProbeError::Refused)
            }
        });
        for probe in 0..10 {
            let expected = if probe < 2 { Verdict::Unknown } else { Verdict::Down };
            assert_eq!(stage.next().await.1, expected);
        }
        assert_eq!(most.load(Ordering::SeqCst), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_steadily_slow_endpoint_stays_up_and_is_asked_at_most_twice_an_interval() {
        let mut stage = stage(9, |_| after(1200 * MS, OK));
        let mut last = Duration::ZERO;
        for _ in 0..20 {
            let (at, verdict, _) = stage.next().await;
            assert_eq!(verdict, Verdict::Up);
            last = at;
        }
        assert!(last >= 45 * Duration::from_secs(1), "{last:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_stuck_reader_finds_the_latest_report_and_holds_up_nothing() {
        let mut stage = stage(1, |_| after(MS, OK));
        sleep(Duration::from_secs(500)).await;
        assert!(*stage.probed.borrow());
        assert_eq!(stage.next().await.2, 1);
        let (at, _, streak) = stage.next().await;
        assert!(streak >= 99, "{streak}");
        assert!(at <= 501 * Duration::from_secs(1), "it was waiting: {at:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_watch_ends_with_its_reader() {
        let Stage { reports, mut probed, _task, .. } = stage(1, |_| after(MS, OK));
        drop(reports);
        timeout(Duration::from_secs(60), probed.wait_for(|_| false)).await.expect("ends").expect_err("sender is gone");
    }

    #[tokio::test(start_paused = true)]
    async fn a_probe_that_panics_is_a_failure_and_the_watch_goes_on() {
        let mut stage = stage(9, |n| async move { if n == 0 { panic!("a fault") } else { OK } });
        assert_eq!(stage.next().await.1, Verdict::Unknown);
        assert_eq!(stage.next().await.1, Verdict::Up);
    }

    #[tokio::test(start_paused = true)]
    async fn faults_of_this_machine_change_no_verdict_and_are_counted() {
        let own = || Err(ProbeError::Own("Too many open files".into()));
        let mut stage = stage(9, move |n| after(MS, if (1..40).contains(&n) { own() } else { OK }));
        assert_eq!(stage.next().await.1, Verdict::Up);
        let (at, verdict, streak) = stage.next().await;
        assert_eq!((verdict, streak), (Verdict::Up, 2), "nothing was reported in between");
        assert_eq!(stage.faults.count(), 39);
        assert!(at <= 5000 * MS + FAST * 40, "asked again sooner than after an interval: {at:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_machine_that_cannot_ask_holds_up_no_start_and_proves_nothing() {
        let mut stage = stage(9, |_| after(MS, Err(ProbeError::Own("Operation not permitted".into()))));
        timeout(FAST + 10 * MS, stage.probed.wait_for(|&probed| probed)).await.expect("in time").expect("a watch");
        sleep(Duration::from_secs(60)).await;
        assert!(stage.reports.try_recv().is_err());
    }

    /// Watches half of so many endpoints that hang since ever, and half that answer until the 30th second and then
    /// refuse. Returns when the last of these was down, counted from then.
    async fn good_ones_down(endpoints: usize, connections: u32) -> (Duration, u64) {
        let (budget, faults) = (Arc::new(Budget::new(connections)), Arc::new(OwnFaults::new("a probe")));
        let (sink, mut reports) = mpsc::channel(100_000);
        let (begun, death) = (Instant::now(), 30_000 * MS);
        let mut tasks = JoinSet::new();
        for number in 0..endpoints {
            let hangs = number % 2 == 0;
            let key = EndpointKey::only(if hangs { "hung" } else { "good" }, &number.to_string());
            let first_wait = 200 * MS * number as u32 / endpoints as u32;
            let watched = Watched {
                key,
                target: EndpointTarget::Addresses(Vec::new()),
                interval: 5000 * MS,
                fall: 3,
                grace: Duration::ZERO,
                timeout: 2000 * MS,
                connections: 1,
                first_wait,
            };
            let memory = Arc::new(Mutex::new(Memory::new(History::new(3, 3))));
            let (budget, faults, sink) = (budget.clone(), faults.clone(), sink.clone());
            let (reachability, probed) = (Arc::default(), watch::Sender::new(false));
            let shared = Shared { memory, budget, faults, reachability, sink, probed };
            let timed_out = ProbeError::Timeout { phase: super::super::Phase::Header, after: 2000 * MS };
            tasks.spawn(watch(watched, shared, move || match (hangs, begun.elapsed() < death) {
                (true, _) => after(2000 * MS, Err(timed_out.clone())),
                (false, true) => after(5 * MS, OK),
                (false, false) => after(5 * MS, Err(ProbeError::Refused)),
            }));
        }
        let mut down = std::collections::HashSet::new();
        while down.len() < endpoints / 2 {
            let report = reports.recv().await.expect("a watch");
            if &*report.key.region == "good" && begun.elapsed() >= death && report.verdict == Verdict::Down {
                down.insert(report.key.endpoint);
            }
        }
        (begun.elapsed() - death, budget.counts().delayed)
    }

    #[tokio::test(start_paused = true)]
    async fn of_2000_endpoints_half_of_them_hung_the_others_are_down_within_seven_seconds() {
        let (after, delayed) = good_ones_down(2000, 10_000).await;
        assert!(after <= 6900 * MS, "{after:?}");
        assert_eq!(delayed, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn hung_endpoints_starve_no_others_where_connections_are_few() {
        let (after, delayed) = good_ones_down(2000, 256).await;
        assert!(after <= 6900 * MS, "{after:?}");
        assert!(delayed > 0, "the hung ones waited for each other");
    }
}
