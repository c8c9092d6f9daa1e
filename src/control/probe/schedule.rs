//! When an endpoint is probed next: a pure function, so that failover times can be proven.
//!
//! In calm weather probes start one interval apart, shortened by up to a tenth so that
//! endpoints do not march in step. From the first doubt (a failure, or an answer that is late)
//! they start [`FAST`] apart, overlapping if need be, until the doubt is settled. An endpoint
//! that is down is asked at the calm pace: that is its protection against flapping.
//!
//! With an interval of 5 s and `fall` 3, an endpoint that refuses is down at most
//! 5 + 0.9 + 0.9 = 6.8 s after its death; one that is silent, `timeout` later than that.

use std::time::Duration;

use crate::steer::health::Verdict;

/// Between the starts of probes of an endpoint in doubt, and how long an answer may take
/// before it is in doubt. A little under a second: two such steps and an interval of 5 s are
/// to stay under 7 s with room for the probe itself.
pub const FAST: Duration = Duration::from_millis(900);

/// The shortest calm distance between starts, as a part of the interval.
const SHORTEST: f64 = 0.9;

/// What the next start depends on.
#[derive(Clone, Copy, Debug)]
pub struct Facts {
    pub interval: Duration,
    /// `None` before the first answer.
    pub verdict: Option<Verdict>,
    /// Probes started and not yet answered.
    pub in_flight: usize,
    /// No more than this many at once; `fall`, because more could not settle anything sooner.
    pub most_in_flight: usize,
    /// The latest probe is in flight, and none has succeeded since it started.
    pub unanswered: bool,
    /// Chance, drawn once per start; 0 to 1.
    pub chance: f64,
}

/// How long after the start of the latest probe the next one starts; `None`: not before one of
/// those in flight is answered. A time that has passed means now.
pub fn next_start(facts: &Facts) -> Option<Duration> {
    if facts.in_flight >= facts.most_in_flight.max(1) {
        return None;
    }
    let calm = facts.interval.mul_f64(SHORTEST + (1.0 - SHORTEST) * facts.chance.clamp(0.0, 1.0));
    let doubt = match facts.verdict {
        Some(Verdict::Suspect) => true,
        Some(Verdict::Up) | None => facts.unanswered,
        Some(Verdict::Down) => false,
    };
    Some(if doubt { calm.min(FAST) } else { calm })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::steer::health::History;

    const CALM: Facts = Facts {
        interval: Duration::from_secs(5),
        verdict: Some(Verdict::Up),
        in_flight: 0,
        most_in_flight: 3,
        unanswered: false,
        chance: 1.0,
    };

    #[test]
    fn calm_probes_start_an_interval_apart_and_never_later() {
        assert_eq!(next_start(&CALM), Some(Duration::from_secs(5)));
        assert_eq!(next_start(&Facts { chance: 0.0, ..CALM }), Some(Duration::from_millis(4500)));
        assert_eq!(next_start(&Facts { chance: 9.0, ..CALM }), Some(Duration::from_secs(5)));
    }

    #[test]
    fn doubt_quickens_the_pace() {
        let suspect = Facts { verdict: Some(Verdict::Suspect), ..CALM };
        assert_eq!(next_start(&suspect), Some(FAST));
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

    /// Plays an endpoint that dies right after a successful probe began at 0; each later probe
    /// fails `answer_after` its start. Returns when the verdict is down.
    fn down_after(answer_after: Duration, fall: u32) -> Duration {
        let mut history = History::new(3, fall);
        history.record(true);
        let mut flying = std::collections::VecDeque::new();
        let (mut now, mut last_start) = (Duration::ZERO, Duration::ZERO);
        for _ in 0..1000 {
            let facts = Facts {
                verdict: history.verdict(),
                in_flight: flying.len(),
                most_in_flight: fall as usize,
                unanswered: !flying.is_empty(),
                ..CALM
            };
            let start = next_start(&facts).map(|wait| now.max(last_start + wait));
            match (start, flying.front().copied()) {
                (Some(start), answer) if answer.is_none_or(|answer| start < answer) => {
                    (now, last_start) = (start, start);
                    flying.push_back(start + answer_after);
                }
                (_, Some(answer)) => {
                    now = answer;
                    flying.pop_front();
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
        assert_eq!(down_after(Duration::from_millis(5), 3), Duration::from_millis(6805));
        assert!(down_after(Duration::from_millis(5), 1) <= Duration::from_millis(5005));
    }

    #[test]
    fn a_silent_endpoint_is_down_one_timeout_later() {
        assert_eq!(down_after(Duration::from_secs(2), 3), Duration::from_millis(8800));
        // Without overlap it would be 5 + 3 × 10 s.
        assert_eq!(down_after(Duration::from_secs(10), 3), Duration::from_millis(16_800));
    }
}
