//! The model of a region's feed as it is kept over a restart. What was heard last is not: the first report after a
//! restart may differ by more than others, since clients were not followed meanwhile.

use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::steer::kept::{Clock, sound};

use super::restless::Restless;
use super::{Before, Capacity, Doubted, Feed, Implausible, LEAPS_PART, LEAST_GAIN};

/// See [`Feed::kept`]. Times are in milliseconds since 1970.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KeptFeed {
    capacity: Option<f64>,
    leaps: f64,
    at_jump: f64,
    few_at_jump: bool,
    unit: f64,
    others: f64,
    gain: f64,
    calibrated: bool,
    restless: Restless,
    doubt: Option<KeptImplausible>,
    since_ms: Option<u64>,
    usual: f64,
    before: Option<KeptBefore>,
    unreasonable_since_ms: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct KeptImplausible {
    why: Implausible,
    since_ms: u64,
    level: f64,
    reports: u32,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct KeptBefore {
    others: f64,
    gain: f64,
    load: f64,
    at_ms: u64,
}

/// No load and no capacity is above this, in whatever unit, and no factor between two of them.
const MOST: f64 = 1e18;
/// Loads as logarithms, either way: of any number there is.
const MOST_LEVEL: f64 = 750.0;

impl Feed {
    /// The model as plain data.
    pub fn kept(&self, clock: &Clock) -> KeptFeed {
        KeptFeed {
            capacity: self.capacity.held,
            leaps: self.leaps,
            at_jump: self.at_jump,
            few_at_jump: self.few_at_jump,
            unit: self.unit,
            others: self.others,
            gain: self.gain,
            calibrated: self.calibrated,
            restless: self.restless,
            doubt: self.doubt.map(|Doubted { why, since, level, reports }| KeptImplausible {
                why,
                since_ms: clock.kept(since),
                level,
                reports,
            }),
            since_ms: self.since.map(|at| clock.kept(at)),
            usual: self.usual,
            before: self.before.map(|Before { others, gain, load, at }| KeptBefore {
                others,
                gain,
                load,
                at_ms: clock.kept(at),
            }),
            unreasonable_since_ms: self.unreasonable_since.map(|at| clock.kept(at)),
        }
    }

    /// The model as it was; `None`: it makes no sense.
    pub fn restored(kept: &KeptFeed, clock: &Clock) -> Option<Feed> {
        let past = |ms: u64| clock.instant(ms).map(|at| at.min(clock.now()));
        let capacity = match kept.capacity {
            Some(capacity) => Some(sound(capacity, f64::MIN_POSITIVE..=MOST)?),
            None => None,
        };
        Some(Feed {
            capacity: Capacity { held: capacity, leapt: None },
            leaps: without_the_first(sound(kept.leaps, 0.0..=1.0)?),
            at_jump: sound(kept.at_jump, 0.0..=MOST)?,
            few_at_jump: kept.few_at_jump,
            unit: sound(kept.unit, 1.0 / MOST..=MOST)?,
            others: sound(kept.others, 0.0..=MOST)?,
            gain: sound(kept.gain, LEAST_GAIN..=MOST)?,
            calibrated: kept.calibrated,
            restless: kept.restless.restored()?,
            doubt: kept.doubt.as_ref().and_then(|doubt| doubt.restored(past)),
            since: kept.since_ms.and_then(past),
            usual: sound(kept.usual, -MOST_LEVEL..=MOST_LEVEL)?,
            before: kept.before.as_ref().and_then(|before| before.restored(past)),
            unreasonable_since: kept.unreasonable_since_ms.and_then(past),
            ..Feed::default()
        })
    }
}

/// The part of reports that leapt, less the next one: it has none before it and counts as a leap, whatever it says.
/// Otherwise a server that restarts over and over would take every feed for erratic.
fn without_the_first(leaps: f64) -> f64 {
    ((leaps - LEAPS_PART) / (1.0 - LEAPS_PART)).max(0.0)
}

impl KeptImplausible {
    fn restored(&self, past: impl Fn(u64) -> Option<Instant>) -> Option<Doubted> {
        let level = sound(self.level, -MOST_LEVEL..=MOST_LEVEL)?;
        Some(Doubted { why: self.why, since: past(self.since_ms)?, level, reports: self.reports })
    }
}

impl KeptBefore {
    fn restored(&self, past: impl Fn(u64) -> Option<Instant>) -> Option<Before> {
        let (others, gain) = (sound(self.others, 0.0..=MOST)?, sound(self.gain, LEAST_GAIN..=MOST)?);
        let load = sound(self.load, 0.0..=MOST)?;
        Some(Before { others, gain, load, at: past(self.at_ms)? })
    }
}

#[cfg(test)]
impl KeptFeed {
    /// One with a value in every place.
    pub fn sample() -> KeptFeed {
        KeptFeed {
            capacity: Some(1.0),
            leaps: 0.5,
            at_jump: 2.0,
            few_at_jump: false,
            unit: 3.0,
            others: 4.0,
            gain: 5.0,
            calibrated: true,
            restless: Restless::default(),
            doubt: Some(KeptImplausible { why: Implausible::Units, since_ms: 7, level: 8.0, reports: 9 }),
            since_ms: Some(10),
            usual: 11.0,
            before: Some(KeptBefore { others: 12.0, gain: 13.0, load: 17.0, at_ms: 14 }),
            unreasonable_since_ms: Some(15),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::steer::load::feed::FeedReport;

    const S: Duration = Duration::from_secs(1);
    const NOW_MS: u64 = 1_790_000_000_000;

    /// A feed that was made sense of as 300 of load for 100 of demand, and its time.
    fn calibrated() -> (Feed, Instant) {
        let now = Instant::now();
        let since = Some(now);
        let mut feed = Feed {
            unit: 2.0,
            others: 100.0,
            calibrated: true,
            since,
            capacity: Capacity { held: Some(1e3), leapt: None },
            ..Feed::default()
        };
        let now = now + 400 * S;
        (0..20).for_each(|n| hear(&mut feed, 300.0, now + n * 10 * S));
        assert_eq!(feed.doubt(), None);
        (feed, now + 200 * S)
    }

    fn hear(feed: &mut Feed, load: f64, now: Instant) {
        feed.hear(&FeedReport { load, capacity: Some(1e3), demand: 100.0, resolvers: 100.0, now });
    }

    /// In the next process, so much later.
    fn restarted(feed: &Feed, now: Instant, later: Duration) -> (Feed, Instant) {
        let kept = feed.kept(&Clock::new(now, NOW_MS));
        let after = Clock::new(Instant::now() + 5000 * S, NOW_MS + later.as_millis() as u64);
        (Feed::restored(&kept, &after).expect("a feed"), after.now())
    }

    #[test]
    fn a_feed_that_was_understood_stays_so() {
        let (before, now) = calibrated();
        let (mut feed, now) = restarted(&before, now, 30 * S);
        assert!(feed.is_calibrated() && feed.is_believed() && feed.is_evidence());
        assert_eq!((feed.unit(), feed.others(), feed.gain()), (before.unit(), before.others(), before.gain()));
        assert_eq!(feed.capacity(), Some(1e3));
        let age = |feed: &Feed, now: Instant| feed.since.map(|since| (now - since).as_secs());
        assert_eq!(age(&feed, now), Some(630));
        // Half as much again at first is no jump; later it is.
        feed.note_expected(100.0, now + 3 * S);
        hear(&mut feed, 450.0, now + 5 * S);
        assert_eq!(feed.doubt(), None);
        hear(&mut feed, 700.0, now + 15 * S);
        assert_eq!(feed.doubt(), Some(Implausible::Rose));
    }

    #[test]
    fn a_jump_that_is_not_borne_out_yet_is_neither_forgotten_nor_begun_anew() {
        let (mut feed, now) = calibrated();
        (0..3).for_each(|n| hear(&mut feed, 900.0, now + n * 10 * S));
        assert_eq!(feed.doubt(), Some(Implausible::Rose));
        let (mut feed, now) = restarted(&feed, now + 20 * S, 60 * S);
        assert_eq!(feed.doubt(), Some(Implausible::Rose));
        hear(&mut feed, 900.0, now);
        assert!(feed.doubt().is_none() && feed.gain() > 1.5, "80 s and four reports: {feed:?}");
        // And what held before is known.
        let (mut feed, now) = restarted(&feed, now, 60 * S);
        hear(&mut feed, 300.0, now);
        assert_eq!((feed.doubt(), feed.gain()), (None, 1.0));
    }

    #[test]
    fn no_number_of_restarts_makes_a_feed_erratic() {
        let (mut feed, mut now) = calibrated();
        for _ in 0..30 {
            (feed, now) = restarted(&feed, now, 10 * S);
            hear(&mut feed, 300.0, now);
            assert_eq!(feed.doubt(), None);
        }
    }

    #[test]
    fn numbers_that_make_no_sense_make_no_model() {
        let clock = Clock::new(Instant::now(), NOW_MS);
        assert!(Feed::restored(&KeptFeed::sample(), &clock).is_some());
        for wrong in [f64::NAN, f64::INFINITY, -1.0, 1e300] {
            let sample = KeptFeed::sample;
            for kept in [
                KeptFeed { capacity: Some(wrong), ..sample() },
                KeptFeed { leaps: wrong, ..sample() },
                KeptFeed { at_jump: wrong, ..sample() },
                KeptFeed { unit: wrong, ..sample() },
                KeptFeed { others: wrong, ..sample() },
                KeptFeed { gain: wrong, ..sample() },
                KeptFeed { usual: wrong * 1000.0, ..sample() },
            ] {
                assert!(Feed::restored(&kept, &clock).is_none(), "{kept:?}");
            }
        }
    }
}
