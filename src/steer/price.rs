//! The price of a region's load: milliseconds added to its score, moved by each load report.
//!
//! The controller rises while a region is above its target utilisation and falls, more slowly,
//! while it is below. Slow falling is what keeps two regions from trading their clients back
//! and forth on figures that are a report old.

/// The utilisation at which a price neither rises nor falls.
pub const TARGET_UTILISATION: f64 = 0.85;
/// Milliseconds a price rises per report and unit of utilisation above the target.
const GAIN_MS: f64 = 12.0;
/// How much slower a price falls than it rises.
const FALLING: f64 = 0.4;
/// The highest utilisation believed: a single report, however wild, raises a price by 38 ms at
/// most, which ten reports of an idle region take back.
pub const MAX_UTILISATION: f64 = 4.0;
/// The dearest a region can be.
pub const MAX_PRICE_MS: f64 = 250.0;

/// The next price after one report, within 0 to [`MAX_PRICE_MS`].
///
/// `utilisation` is load over current capacity, 0 or more. Anything that is not a number
/// leaves the price alone.
pub fn next_price(price_ms: f64, utilisation: f64) -> f64 {
    if !utilisation.is_finite() {
        return price_ms;
    }
    let step = GAIN_MS * (utilisation.min(MAX_UTILISATION) - TARGET_UTILISATION);
    let step = if step < 0.0 { step * FALLING } else { step };
    (price_ms + step).clamp(0.0, MAX_PRICE_MS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rises_above_the_target_and_falls_more_slowly_below() {
        assert!((next_price(10.0, 1.85) - 22.0).abs() < 1e-9);
        assert!((next_price(10.0, 0.35) - 7.6).abs() < 1e-9);
        assert_eq!(next_price(10.0, TARGET_UTILISATION), 10.0);
    }

    #[test]
    fn one_wild_report_is_no_sentence() {
        let mut price = next_price(0.0, 1e9);
        assert!(price < 40.0, "{price}");
        for _ in 0..10 {
            price = next_price(price, 0.0);
        }
        assert_eq!(price, 0.0);
    }

    #[test]
    fn stays_within_bounds_whatever_is_reported() {
        assert_eq!(next_price(0.0, 0.0), 0.0);
        assert_eq!(next_price(249.0, 1e12), MAX_PRICE_MS);
        assert_eq!(next_price(7.0, f64::NAN), 7.0);
        assert_eq!(next_price(7.0, f64::INFINITY), 7.0);
    }
}
