//! How much of a region's clients it sheds for its load. Watermarks and figures come in, a part of
//! clients goes out.

use crate::model::Watermarks;

/// What is shed moves in such steps: each takes a new plan.
const STEPS: f64 = 20.0;
/// A region at its limit is handed out again below this part of it.
const BACK_BELOW: f64 = 0.9;

/// The part of new clients, 0 to 1, that is sent elsewhere at this utilisation: none up to the low
/// watermark, all from the high one on.
pub fn shed(watermarks: Watermarks, utilisation: f64) -> f64 {
    let Watermarks { low, high } = watermarks;
    if utilisation >= high {
        return 1.0;
    }
    let part = (utilisation - low) / (high - low);
    ((part * STEPS).ceil() / STEPS).clamp(0.0, 1.0 - 1.0 / STEPS)
}

/// Whether a region is not to be handed out for its hard limit. Once it is, its load must fall well
/// below the limit, or it would be in and out with every report.
pub fn is_over(limit: f64, load: f64, was_over: bool) -> bool {
    load >= if was_over { BACK_BELOW * limit } else { limit }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_up_to_the_low_watermark_all_from_the_high_one() {
        let marks = Watermarks { low: 0.8, high: 0.95 };
        let parts = [0.0, 0.8, 0.801, 0.875, 0.949, 0.95, 7.0].map(|utilisation| shed(marks, utilisation));
        assert_eq!(parts, [0.0, 0.0, 0.05, 0.5, 0.95, 1.0, 1.0]);
    }

    #[test]
    fn more_load_never_sheds_less() {
        let marks = Watermarks { low: 0.5, high: 0.51 };
        let parts: Vec<f64> = (0..2_000).map(|n| shed(marks, f64::from(n) / 1_000.0)).collect();
        assert!(parts.is_sorted(), "{parts:?}");
    }

    #[test]
    fn what_is_over_its_limit_is_back_well_below_it() {
        assert!(!is_over(100.0, 99.9, false) && is_over(100.0, 100.0, false));
        assert!(is_over(100.0, 90.0, true) && !is_over(100.0, 89.9, true));
        assert!(!is_over(100.0, 95.0, false));
    }
}
