//! The score of a region for a place: latency + priced load + cost, in milliseconds, unclamped.
//!
//! `S = 200 · (w_latency · RTT/100 ms + w_load · π/60 ms + w_cost · λ·cost/40 ms)`. With the
//! default weights 0.5, 0.3 and 0.2 that is exactly `RTT + π + λ·cost`: plain milliseconds.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::Weights;

use super::rtt::Rtt;

/// Milliseconds a dollar per million requests counts for.
pub const LAMBDA_MS_PER_DOLLAR: f64 = 5.0;
/// Round-trip times count in steps of this, far below what any estimate of them is worth: some 15 km.
/// Clients whose times differ by less share an answer, and a plan has hundreds of cells instead of tens of
/// thousands.
const RTT_STEP_MS: f64 = 0.25;

/// The three terms of a score and their sum, all in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Score {
    pub rtt: Rtt,
    /// The milliseconds that the operator adds to the round-trip time; in `latency_ms`.
    pub bias_ms: f64,
    pub latency_ms: f64,
    pub load_ms: f64,
    pub cost_ms: f64,
    pub total_ms: f64,
}

/// The score of a region that is `rtt` away and `bias_ms` more by the operator's word, charges `price_ms` for its load
/// and costs `cost` dollars per million requests.
pub fn score(weights: Weights, rtt: Rtt, bias_ms: f64, price_ms: f64, cost: f64) -> Score {
    let [latency_ms, load_ms, cost_ms] = terms(weights, rtt.ms + bias_ms, price_ms, cost);
    Score { rtt, bias_ms, latency_ms, load_ms, cost_ms, total_ms: latency_ms + load_ms + cost_ms }
}

/// [`Score::total_ms`] alone, of a round-trip time in milliseconds.
pub fn total_ms(weights: Weights, rtt_ms: f64, price_ms: f64, cost: f64) -> f64 {
    let [latency_ms, load_ms, cost_ms] = terms(weights, rtt_ms, price_ms, cost);
    latency_ms + load_ms + cost_ms
}

fn terms(weights: Weights, rtt_ms: f64, price_ms: f64, cost: f64) -> [f64; 3] {
    [latency_ms(weights, rtt_ms), load_ms(weights, price_ms), cost_ms(weights, cost)]
}

/// The term of a round-trip time, the operator's milliseconds included. [`total_ms`] is the sum of the three, in the
/// order in which they stand here.
#[inline]
pub fn latency_ms(weights: Weights, rtt_ms: f64) -> f64 {
    let rtt_ms = rounded(rtt_ms / RTT_STEP_MS) * RTT_STEP_MS;
    2.0 * weights.latency * rtt_ms
}

/// The term of a price.
#[inline]
pub fn load_ms(weights: Weights, price_ms: f64) -> f64 {
    // Most regions have none, and a query asks for this once for each of them.
    if price_ms == 0.0 { 0.0 } else { 200.0 * weights.load * price_ms / 60.0 }
}

/// The term of a cost in dollars.
#[inline]
pub fn cost_ms(weights: Weights, cost: f64) -> f64 {
    if cost == 0.0 { 0.0 } else { 200.0 * weights.cost * LAMBDA_MS_PER_DOLLAR * cost / 40.0 }
}

/// To the nearest whole number, halves to even ones: by letting go of what lies below the point, which a processor does
/// for several numbers at a time.
#[inline]
fn rounded(steps: f64) -> f64 {
    const NO_FRACTIONS: f64 = (3u64 << 51) as f64; // numbers near it are whole
    const MOST: f64 = (1u64 << 51) as f64; // beyond, there is nothing that counts
    let rounded = (steps + NO_FRACTIONS) - NO_FRACTIONS;
    if steps.abs() < MOST { rounded } else { steps }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::steer::latency::rtt::RttSource;

    #[test]
    fn default_weights_count_plain_milliseconds() {
        let rtt = Rtt { ms: 42.0, shift_ms: 0.0, source: RttSource::Unknown };
        let score = score(Weights::default(), rtt, 0.0, 7.0, 0.9);
        assert!((score.total_ms - (42.0 + 7.0 + 4.5)).abs() < 1e-9, "{score:?}");
    }
}
