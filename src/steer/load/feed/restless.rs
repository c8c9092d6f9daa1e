//! Feeds that swing: a counter that is reset, a sum over balancers that come and go, a saw.
//!
//! One rise and fall is a crowd's. Once there have been several turns within an hour that answers do not explain, what
//! the feed says counts in the mean of twenty minutes only, until it has been steady for about as long.

use serde::{Deserialize, Serialize};

/// A load has turned when it comes back by this from where it was farthest, as a logarithm: 35 %.
const TURN: f64 = 0.3;
/// Turns are forgotten by and by, within so many seconds.
const FORGOTTEN_S: f64 = 3600.0;
/// So many turns lately make a feed restless, and with so few it is steady again.
const MANY: f64 = 2.5;
const FEW: f64 = 1.0;
/// The seconds over whose mean a restless feed counts.
const MEAN_OVER_S: f64 = 1200.0;

/// The turns of a feed lately.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Restless {
    turns: f64,
    is: bool,
    /// The range it has been in since it last turned, as a logarithm of load per resolver; `None`: nothing was heard
    /// yet.
    range: Option<Range>,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Range {
    low: f64,
    high: f64,
    /// The last turn was upwards: it falls below `high`, if at all, with the next.
    rises: Option<bool>,
}

impl Restless {
    /// Takes a report, `elapsed_s` after the one before it: load per resolver as a logarithm.
    pub fn note(&mut self, level: f64, elapsed_s: f64) {
        self.turns *= (-elapsed_s / FORGOTTEN_S).exp();
        let range = self.range.get_or_insert(Range { low: level, high: level, rises: None });
        (range.low, range.high) = (range.low.min(level), range.high.max(level));
        let turns_up = range.rises != Some(true) && level > range.low + TURN;
        let turns_down = range.rises != Some(false) && level < range.high - TURN;
        if turns_up || turns_down {
            // The first time it only sets out.
            self.turns += if range.rises.is_some() { 1.0 } else { 0.0 };
            *range = Range { low: level, high: level, rises: Some(turns_up) };
        }
        self.is = self.turns > if self.is { FEW } else { MANY };
    }

    /// Tells whether the feed counts in the mean only.
    pub fn is(self) -> bool {
        self.is
    }

    /// The region was away: what it says will be of others.
    pub fn interrupt(&mut self) {
        self.range = None;
    }

    /// As it was kept over a restart; `None`: it makes no sense.
    pub fn restored(self) -> Option<Restless> {
        (self.turns.is_finite() && self.turns >= 0.0).then_some(Restless { range: None, ..self })
    }
}

/// The part of the way that a correction goes towards what a restless feed says, 0 to 1.
pub fn reach(elapsed_s: f64) -> f64 {
    1.0 - (-elapsed_s / MEAN_OVER_S).exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The time when it was restless, of reports every 10 s that say this, in seconds.
    fn restless(level: impl Fn(u64) -> f64, seconds: u64) -> Vec<u64> {
        let mut feed = Restless::default();
        let note = |second: &u64| {
            feed.note(level(*second).ln(), 10.0);
            feed.is()
        };
        (0..seconds).step_by(10).filter(note).collect()
    }

    #[test]
    fn a_saw_and_waves_are_restless_after_their_second_period_and_calm_again_hours_later() {
        let saw = |second: u64| if second < 3600 { 0.5 + (second % 300) as f64 / 300.0 } else { 1.0 };
        let waves = |second: u64| 1.0 + if second < 3600 { 0.5 * (second as f64 / 48.0).sin() } else { 0.0 };
        for restless in [restless(saw, 20_000), restless(waves, 20_000)] {
            let (first, last) = (restless[0], *restless.last().expect("some"));
            assert!((300..=900).contains(&first) && (7200..=16_000).contains(&last), "{first} {last}");
        }
    }

    #[test]
    fn a_day_a_crowd_and_a_slip_are_not() {
        let day = |second: u64| {
            let crowd = if (20_000..22_000).contains(&second) { 2.0 } else { 1.0 };
            let slip = if second == 50_000 { 5.0 } else { 1.0 };
            (1.0 + 0.6 * (second as f64 * std::f64::consts::TAU / 86_400.0).sin()) * crowd * slip
        };
        assert_eq!(restless(day, 86_400), [0u64; 0]);
    }
}
