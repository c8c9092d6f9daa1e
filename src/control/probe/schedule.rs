//! When an endpoint is probed next: a pure function, so that failover times can be proven.
//!
//! In calm weather probes start one interval apart, shortened by up to a tenth so that
//! endpoints do not march in step. The first such wait of an endpoint ends at any time within the interval: those asked
//! at once, at a start or after a reload, are spread over all of it from then on. From the first doubt (a failure, or an answer that is late)
//! they start [`FAST`] apart or sooner, overlapping if need be, until the doubt is settled. An
//! endpoint that is down is asked at the calm pace: that is its protection against flapping.
//!
//! **Refusal.** With an interval of 5 s and `fall` 3, an endpoint that refuses is down at most
//! 5 + 0.9 + 0.9 = 6.8 s after its death.
//!
//! **Silence.** Waiting for `fall` timeouts of 2 s would take 8.8 s. But an endpoint that has
//! always answered in milliseconds is known to be in trouble long before its timeout: [`patience`]
//! says when a probe counts as failed though it is still waiting. Its answer, should it come within
//! the timeout, counts as a success all the same, and teaches patience. So an endpoint that used to
//! answer within 0.4 s is down 6.8 s after its death too, and only after [`SILENCE`] without a
//! single answer to `fall` probes; a slower one, or one not known yet, up to a timeout later.

use std::collections::VecDeque;
use std::time::Duration;

use crate::steer::health::verdict::Verdict;

/// Between the starts of probes of an endpoint in doubt, and how long an answer may take
/// before it is in doubt. A little under a second: two such steps and an interval of 5 s are
/// to stay under 7 s with room for the probe itself.
pub const FAST: Duration = Duration::from_millis(900);

/// How long an endpoint must be silent to be down, at least: as long as one that refuses is
/// given. Pauses of a second, such as those of garbage collectors, pass.
pub const SILENCE: Duration = Duration::from_millis(1800);

/// No probe counts as failed sooner, and no doubt arises: a lost packet is sent again after 200 ms
/// or more.
const LEAST_PATIENCE: Duration = Duration::from_millis(300);

/// The shortest calm distance between starts, as a part of the interval.
const SHORTEST: f64 = 0.9;

/// How long an endpoint that answers its probes is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// From the start of a probe until it counts as failed; at most its timeout.
    pub answer: Duration,
    /// From the start of a probe until the next one starts, where it has not been answered.
    pub next: Duration,
}

/// The patience with an endpoint whose slowest recent answer took so long; `None`: too few are known.
///
/// [`SILENCE`] is shared out among `fall` probes, but each is given twice the slowest answer, and
/// none starts while the one before may well be answered yet.
pub fn patience(timeout: Duration, fall: u32, slowest: Option<Duration>) -> Patience {
    let Some(slowest) = slowest else { return Patience { answer: timeout, next: FAST } };
    let answer = (SILENCE / fall.max(1)).max(LEAST_PATIENCE).max(slowest.saturating_mul(2)).min(timeout);
    let others = fall.saturating_sub(1).max(1);
    let next = (SILENCE.saturating_sub(answer) / others).max(LEAST_PATIENCE).max(slowest.saturating_mul(5) / 4);
    Patience { answer, next: next.min(FAST) }
}

/// How long the latest answers took.
#[derive(Clone, Debug, Default)]
pub struct Recent(VecDeque<Duration>);

impl Recent {
    /// As many are remembered: some minutes at the usual interval.
    const MOST: usize = 20;
    /// As few tell nothing yet.
    const FEW: usize = 5;

    /// Takes how long one more answer took.
    pub fn add(&mut self, took: Duration) {
        self.0.truncate(Recent::MOST - 1);
        self.0.push_front(took);
    }

    /// The slowest; `None` where too few are known.
    pub fn slowest(&self) -> Option<Duration> {
        if self.0.len() < Recent::FEW { None } else { self.0.iter().max().copied() }
    }
}

/// How long the first probes of so many endpoints are spread, at an interval: briefly, since a start waits for them.
///
/// From [`FIRST_RATE`] probes a second on, a burst would cost more than the wait.
pub fn first_spread(endpoints: usize, interval: Duration) -> Duration {
    let paced = Duration::from_secs_f64(endpoints as f64 / FIRST_RATE);
    FIRST_SPREAD.max(paced.min(LONGEST_FIRST_SPREAD)).min(interval.max(FIRST_SPREAD))
}

/// First probes of a few endpoints.
const FIRST_SPREAD: Duration = Duration::from_millis(200);
/// First probes in a second.
const FIRST_RATE: f64 = 10_000.0;
/// A start waits for its first probes no longer than a second, their answers included.
const LONGEST_FIRST_SPREAD: Duration = Duration::from_millis(500);

/// What the next start depends on.
#[derive(Clone, Copy, Debug)]
pub struct Facts {
    pub interval: Duration,
    /// `None` before the first answer or failure.
    pub verdict: Option<Verdict>,
    /// Probes started and not yet answered.
    pub in_flight: usize,
    /// No more than this many at once; `fall`, because more could not settle anything sooner.
    pub most_in_flight: usize,
    /// The latest probe is in flight, and none has succeeded since it started.
    pub unanswered: bool,
    /// [`Patience::next`].
    pub late_after: Duration,
    /// No calm wait has ended since the watch began: it may be in step with others that began then.
    pub in_step: bool,
    /// Chance, drawn once per start; 0 to 1.
    pub chance: f64,
}

/// How long after the start of the latest probe the next one starts; `None`: not before one of
/// those in flight is answered. A time that has passed means now.
pub fn next_start(facts: &Facts) -> Option<Duration> {
    if facts.in_flight >= facts.most_in_flight.max(1) {
        return None;
    }
    let is_calm = is_calm(facts.verdict, facts.unanswered);
    let shortest = if facts.in_step && is_calm { 0.0 } else { SHORTEST };
    let calm = facts.interval.mul_f64(shortest + (1.0 - shortest) * facts.chance.clamp(0.0, 1.0));
    Some(match (is_calm, facts.unanswered) {
        (true, _) => calm,
        (false, true) => calm.min(FAST).min(facts.late_after),
        (false, false) => calm.min(FAST),
    })
}

/// Whether there is no doubt to settle: an endpoint that is up and has answered, or is known to be down.
pub fn is_calm(verdict: Option<Verdict>, unanswered: bool) -> bool {
    match verdict {
        Some(Verdict::Down) => true,
        Some(Verdict::Up) | None => !unanswered,
        Some(Verdict::Suspect | Verdict::Unknown) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::steer::health::verdict::History;

    const CALM: Facts = Facts {
        interval: Duration::from_secs(5),
        verdict: Some(Verdict::Up),
        in_flight: 0,
        most_in_flight: 3,
        unanswered: false,
        late_after: FAST,
        in_step: false,
        chance: 1.0,
    };

    #[test]
    fn calm_probes_start_an_interval_apart_and_never_later() {
        assert_eq!(next_start(&CALM), Some(Duration::from_secs(5)));
        assert_eq!(next_start(&Facts { chance: 0.0, ..CALM }), Some(Duration::from_millis(4500)));
        assert_eq!(next_start(&Facts { chance: 9.0, ..CALM }), Some(Duration::from_secs(5)));
    }

    #[test]
    fn the_first_calm_wait_ends_anywhere_within_the_interval() {
        let second = |chance, unanswered| next_start(&Facts { in_step: true, chance, unanswered, ..CALM });
        assert_eq!((second(0.0, false), second(1.0, false)), (Some(Duration::ZERO), Some(Duration::from_secs(5))));
        // But not on top of a first one that is still in flight.
        assert_eq!(second(0.0, true), Some(FAST));
    }

    #[test]
    fn first_probes_of_many_are_no_burst_and_no_long_wait() {
        let spread = |endpoints| first_spread(endpoints, CALM.interval);
        assert_eq!([spread(0), spread(2_000), spread(4_000)], [200 * MS, 200 * MS, 400 * MS]);
        assert_eq!(spread(1_000_000), LONGEST_FIRST_SPREAD);
        assert_eq!(first_spread(1_000_000, 250 * MS), 250 * MS);
    }

    #[test]
    fn doubt_quickens_the_pace() {
        let suspect = Facts { verdict: Some(Verdict::Suspect), ..CALM };
        assert_eq!(next_start(&suspect), Some(FAST));
        assert_eq!(next_start(&Facts { verdict: Some(Verdict::Unknown), ..CALM }), Some(FAST));
        let late = Facts { in_flight: 1, unanswered: true, ..CALM };
        assert_eq!(next_start(&late), Some(FAST));
        assert_eq!(next_start(&Facts { verdict: None, ..late }), Some(FAST));
        // A shorter interval is not stretched.
        let quick = Facts { interval: Duration::from_millis(200), ..suspect };
        assert_eq!(next_start(&quick), Some(Duration::from_millis(200)));
    }

    #[test]
    fn the_dead_are_asked_at_the_calm_pace() {
        let down = Facts { verdict: Some(Verdict::Down), in_flight: 1, unanswered: true, ..CALM };
        assert_eq!(next_start(&down), Some(Duration::from_secs(5)));
    }

    #[test]
    fn a_slow_answer_that_came_does_not_quicken() {
        let slow = Facts { in_flight: 1, unanswered: false, ..CALM };
        assert_eq!(next_start(&slow), Some(Duration::from_secs(5)));
    }

    #[test]
    fn no_more_than_fall_in_flight() {
        assert_eq!(next_start(&Facts { in_flight: 3, unanswered: true, ..CALM }), None);
        assert_eq!(next_start(&Facts { in_flight: 1, most_in_flight: 0, ..CALM }), None);
    }

    const MS: Duration = Duration::from_millis(1);

    /// An endpoint that dies right after a successful probe began at 0; each later probe fails `answer_after` its
    /// start, at `timeout` the latest. `slowest` is what is known of it. Returns when the verdict is down.
    fn down_after(answer_after: Duration, timeout: Duration, slowest: Option<Duration>, fall: u32) -> Duration {
        let mut history = History::new(3, fall);
        history.record(true);
        let Patience { answer, next } = patience(timeout, fall, slowest);
        let lands_after = answer_after.min(timeout);
        // Every probe's start; the first `counted` of them have failed.
        let (mut starts, mut counted) = (Vec::<Duration>::new(), 0);
        let (mut now, mut last_start) = (Duration::ZERO, Duration::ZERO);
        for _ in 0..1000 {
            let flies = |start: &&Duration| **start + lands_after > now;
            let facts = Facts {
                verdict: history.verdict(),
                in_flight: starts.iter().filter(flies).count(),
                most_in_flight: fall as usize,
                unanswered: starts.last().as_ref().is_some_and(flies),
                late_after: next,
                ..CALM
            };
            let start = next_start(&facts).map(|wait| now.max(last_start + wait));
            let failure = starts.get(counted).map(|&start| start + lands_after.min(answer));
            match (start, failure) {
                (Some(start), failure) if failure.is_none_or(|failure| start < failure) => {
                    (now, last_start) = (start, start);
                    starts.push(start);
                }
                (_, Some(failure)) => {
                    (now, counted) = (failure, counted + 1);
                    history.record(false);
                    if history.verdict() == Some(Verdict::Down) {
                        return now;
                    }
                }
                (_, None) => unreachable!("nothing in flight and nothing to start"),
            }
        }
        panic!("never down");
    }

    #[test]
    fn a_refusing_endpoint_is_down_within_seven_seconds_at_interval_5_s_and_fall_3() {
        for slowest in [None, Some(20 * MS), Some(700 * MS)] {
            assert_eq!(down_after(5 * MS, 2000 * MS, slowest, 3), 6805 * MS, "{slowest:?}");
        }
        assert!(down_after(5 * MS, 2000 * MS, None, 1) <= 5005 * MS);
    }

    const NEVER: Duration = Duration::from_secs(3600);

    #[test]
    fn a_silent_endpoint_that_used_to_answer_soon_is_down_as_early() {
        let down = |slowest_ms: u32, fall| down_after(NEVER, 2000 * MS, Some(slowest_ms * MS), fall);
        for slowest_ms in [0, 5, 100, 300, 400] {
            for fall in [1, 2, 3] {
                assert_eq!(down(slowest_ms, fall), 6800 * MS, "{slowest_ms} ms, fall {fall}");
            }
        }
        // Those that are slower are given more, up to what they were given before.
        assert_eq!((down(500, 3), down(700, 3), down(1_000, 3)), (7250 * MS, 8150 * MS, 8800 * MS));
        assert_eq!(down(1_900, 3), 8800 * MS);
    }

    #[test]
    fn a_silent_endpoint_of_which_little_is_known_is_down_one_timeout_later() {
        assert_eq!(down_after(NEVER, 2000 * MS, None, 3), 8800 * MS);
        // Without overlap it would be 5 + 3 × 10 s.
        assert_eq!(down_after(NEVER, 10_000 * MS, None, 3), 16_800 * MS);
    }

    #[test]
    fn only_recent_answers_count_and_a_few_must_be_known() {
        let mut recent = Recent::default();
        (0..4).for_each(|_| recent.add(900 * MS));
        assert_eq!(recent.slowest(), None);
        recent.add(MS);
        assert_eq!(recent.slowest(), Some(900 * MS));
        (0..20).for_each(|_| recent.add(2 * MS));
        assert_eq!(recent.slowest(), Some(2 * MS));
    }

    #[test]
    fn no_endpoint_is_down_by_silence_before_1_8_s_unless_its_timeout_says_so() {
        for fall in 1..=20 {
            for slowest_ms in [0, 1, 50, 250, 400, 900, 1_500, 5_000] {
                let Patience { answer, next } = patience(2000 * MS, fall, Some(slowest_ms * MS));
                assert!(answer + next * (fall - 1) + MS >= SILENCE, "{fall} {slowest_ms}: {answer:?} {next:?}");
                assert!(answer >= (slowest_ms * 2).min(2000) * MS && next <= FAST);
            }
        }
        assert_eq!(patience(100 * MS, 3, Some(MS)).answer, 100 * MS, "never longer than the timeout");
        assert_eq!(patience(2000 * MS, 0, Some(Duration::MAX)).answer, 2000 * MS);
    }
}
