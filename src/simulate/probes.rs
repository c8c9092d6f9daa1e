//! The times when each region is looked at, and what that makes of it: the probers' own schedule and
//! history, with probes that are answered at once.

use std::time::Duration;

use crate::control::probe::resumed;
use crate::control::probe::schedule::{FAST, Facts, next_start};
use crate::model::Check;
use crate::steer::health::verdict::{History, Verdict};

/// First probes are spread over this long, as the server spreads them.
const FIRST_SPREAD: Duration = Duration::from_millis(200);

/// Looks that were missed while the clock leapt are made up for this many intervals back.
const MOST_MISSED: u32 = 16;

/// One region's probes.
pub(super) struct Watch {
    history: History,
    interval: Duration,
    fall: u32,
    /// The time when the next probe starts.
    due: Option<Duration>,
}

impl Watch {
    pub(super) fn new(check: &Check) -> Watch {
        Watch { history: History::new(check.rise, check.fall), interval: check.interval, fall: check.fall, due: None }
    }

    /// Goes on, before its first look, from what was found before a restart, so long ago.
    pub(super) fn resume(&mut self, check: &Check, verdict: Verdict, failures: u32, age: Duration) {
        self.history = resumed(check, verdict, failures, age);
    }

    /// Probes as often as has fallen due since the last call, each finding what is there now.
    /// The verdict, where there was a look. The first call looks in any case: what is not
    /// proven is answered only where nothing is up.
    pub(super) fn look(&mut self, now: Duration, alive: bool, chance: &mut fastrand::Rng) -> Option<Verdict> {
        let first = now + FIRST_SPREAD.mul_f64(chance.f64());
        let earliest = now.saturating_sub(self.interval * MOST_MISSED);
        let mut start = self.due.map_or(first, |due| due.max(earliest));
        let mut looked = false;
        while start <= now || self.due.is_none() {
            self.history.record(alive);
            looked = true;
            start += self.wait(chance.f64());
            self.due = Some(start);
        }
        looked.then(|| self.history.verdict()).flatten()
    }

    fn wait(&self, chance: f64) -> Duration {
        let facts = Facts {
            interval: self.interval,
            verdict: self.history.verdict(),
            in_flight: 0,
            most_in_flight: self.fall as usize,
            unanswered: false,
            late_after: FAST,
            // A region was watched before its simulation begins.
            in_step: false,
            chance,
        };
        // With none in flight there is always a next.
        next_start(&facts).unwrap_or(self.interval).max(SHORTEST_WAIT)
    }
}

/// So that time passes, whatever the schedule says.
const SHORTEST_WAIT: Duration = Duration::from_millis(10);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::CheckKind;

    fn watch() -> Watch {
        Watch::new(&Check::new(CheckKind::Tcp { port: 443 }))
    }

    const fn second(t: u64) -> Duration {
        Duration::from_secs(t)
    }

    #[test]
    fn the_first_look_is_at_once_and_a_success_decides() {
        for alive in [true, false] {
            let verdict = watch().look(second(7), alive, &mut fastrand::Rng::with_seed(1));
            assert_eq!(verdict, Some(if alive { Verdict::Up } else { Verdict::Unknown }));
        }
    }

    #[test]
    fn a_region_that_dies_is_down_within_seven_seconds_at_whatever_moment() {
        for seed in 0..200 {
            let mut chance = fastrand::Rng::with_seed(seed);
            let mut watch = watch();
            let death = 20 + seed % 7;
            (0..death).for_each(|t| _ = watch.look(second(t), true, &mut chance));
            let down = (death..).find(|&t| watch.look(second(t), false, &mut chance) == Some(Verdict::Down));
            let after = down.expect("a verdict") - death;
            assert!((1..=6).contains(&after), "seed {seed}: {after} s");
            let up = (death + after..).find(|&t| watch.look(second(t), true, &mut chance) == Some(Verdict::Up));
            let back = up.expect("a verdict") - death - after;
            assert!((10..=15).contains(&back), "seed {seed}: back after {back} s");
        }
    }

    #[test]
    fn looks_are_about_an_interval_apart_and_a_leap_makes_few() {
        let mut chance = fastrand::Rng::with_seed(3);
        let mut watch = watch();
        let looks = (0..1000).filter(|&t| watch.look(second(t), true, &mut chance).is_some()).count();
        assert!((200..=223).contains(&looks), "{looks}");
        watch.look(second(3_000_000_000), false, &mut chance);
        assert_eq!(watch.history.verdict(), Some(Verdict::Down));
        assert!(watch.history.streak() <= 100);
    }
}
