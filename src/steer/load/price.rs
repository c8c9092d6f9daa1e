//! The price of a region's load: milliseconds added to its score, moved by each load report.
//!
//! The controller rises while a region is above its target utilisation and falls, more slowly,
//! while it is below. Slow falling is what keeps two regions from trading their clients back
//! and forth on figures that are a report old. It goes by time, not by reports: a feed that comes
//! ten times as often moves its price no faster.

use std::time::Duration;

/// The utilisation at which a price neither rises nor falls.
pub const TARGET_UTILISATION: f64 = 0.85;
/// Milliseconds a price rises per second and unit of utilisation above the target: 12 in ten seconds.
const GAIN_MS_PER_S: f64 = 1.2;
/// The speed of a falling price, as a part of that of a rising one.
const FALLING: f64 = 0.4;
/// A figure speaks for so much of the time before it, in seconds: whoever was silent longer was not heard.
const MOST_ELAPSED_S: f64 = 60.0;
/// The highest utilisation believed.
pub const MAX_UTILISATION: f64 = 4.0;
/// A single report, however wild or late, raises a price by this at most, in milliseconds; two minutes of an idle
/// region take it back.
const MAX_RISE_MS: f64 = 40.0;
/// The dearest a region can be.
pub const MAX_PRICE_MS: f64 = 250.0;
/// A price that nothing is heard for halves in this time.
const HALF_LIFE: Duration = Duration::from_secs(60);
/// Less than this, in milliseconds, is nothing once it fades: the dearest price takes seven minutes.
const LEAST_FADED_MS: f64 = 2.0;

/// The next price after one report, within 0 to [`MAX_PRICE_MS`].
///
/// `utilisation` is load over current capacity, 0 or more; `elapsed_s` the time since the figure before it.
/// Anything that is not a number leaves the price alone.
pub fn next_price(price_ms: f64, utilisation: f64, elapsed_s: f64) -> f64 {
    if !utilisation.is_finite() || !elapsed_s.is_finite() {
        return price_ms;
    }
    let gain_ms = GAIN_MS_PER_S * elapsed_s.clamp(0.0, MOST_ELAPSED_S);
    let step = gain_ms * (utilisation.min(MAX_UTILISATION) - TARGET_UTILISATION);
    let step = if step < 0.0 { step * FALLING } else { step.min(MAX_RISE_MS) };
    (price_ms + step).clamp(0.0, MAX_PRICE_MS)
}

/// The rest of a price for whose region nothing was heard that can be believed. Regions that were dear long ago
/// must not stay so.
pub fn faded(price_ms: f64, passed: Duration) -> f64 {
    let left = price_ms * 0.5f64.powf(passed.as_secs_f64() / HALF_LIFE.as_secs_f64());
    if left < LEAST_FADED_MS { 0.0 } else { left }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rises_above_the_target_and_falls_more_slowly_below() {
        assert!((next_price(10.0, 1.85, 10.0) - 22.0).abs() < 1e-9);
        assert!((next_price(10.0, 0.35, 10.0) - 7.6).abs() < 1e-9);
        assert_eq!(next_price(10.0, TARGET_UTILISATION, 10.0), 10.0);
    }

    #[test]
    fn goes_by_time_and_not_by_how_often_reports_come() {
        let after_a_minute = |times: u32| {
            let elapsed_s = 60.0 / f64::from(times);
            (0..times).fold(5.0, |price, _| next_price(price, 1.1, elapsed_s))
        };
        assert!([1, 2, 6, 60, 600].map(after_a_minute).iter().all(|price| (price - 23.0).abs() < 1e-6));
        assert_eq!(
            next_price(0.0, 1.1, 3600.0),
            next_price(0.0, 1.1, 60.0),
            "an hour of silence is not one of overload"
        );
        assert_eq!([next_price(7.0, 1.1, 0.0), next_price(7.0, 1.1, -5.0)], [7.0, 7.0], "the same figure again");
    }

    #[test]
    fn one_wild_report_is_no_sentence() {
        let mut price = next_price(0.0, 1e9, 10.0).max(next_price(0.0, 1e9, 1e9));
        assert!(price <= 40.0, "{price}");
        for _ in 0..10 {
            price = next_price(price, 0.0, 10.0);
        }
        assert_eq!(price, 0.0);
    }

    #[test]
    fn stays_within_bounds_whatever_is_reported() {
        assert_eq!(next_price(0.0, 0.0, 10.0), 0.0);
        assert_eq!(next_price(249.0, 1e12, 10.0), MAX_PRICE_MS);
        assert_eq!(next_price(7.0, f64::NAN, 10.0), 7.0);
        assert_eq!(next_price(7.0, f64::INFINITY, 10.0), 7.0);
        assert_eq!(next_price(7.0, 1.0, f64::NAN), 7.0);
    }

    #[test]
    fn what_nothing_is_heard_for_halves_in_a_minute_and_ends() {
        assert_eq!(faded(80.0, Duration::ZERO), 80.0);
        assert!((faded(80.0, Duration::from_secs(60)) - 40.0).abs() < 1e-9);
        assert_eq!(faded(MAX_PRICE_MS, Duration::from_secs(420)), 0.0);
    }
}
