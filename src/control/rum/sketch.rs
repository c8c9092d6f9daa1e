//! The figures that many round trips have in common: a histogram whose old entries fade, and its median.
//!
//! Times go into buckets each 5 % wider than the one before, so a median is within 2.5 % of the
//! true one whatever the times are, and a sketch has 175 buckets at most. Single absurd times do
//! not move a median. Entries lose half their weight with every half-life, so that a path that has
//! changed is known as it is now.

use serde::{Deserialize, Serialize};

/// The shortest and the longest time taken, in milliseconds. Shorter than 1 ms no browser tells
/// reliably; after 5 s something else than the path was slow.
pub const TIMES_MS: std::ops::RangeInclusive<f64> = 1.0..=5000.0;
/// The factor by which each bucket is wider than the one before.
const GROWTH: f64 = 1.05;
/// Buckets from 1 to 5,000 ms.
const BUCKETS: u8 = 175;
/// Entries that have faded to less than this are forgotten.
const FADED: f32 = 0.01;
/// A normal distribution's interquartile range, in standard deviations.
const NORMAL_IQR: f64 = 1.349;
/// The standard error of a median, in standard errors of a mean.
const MEDIAN_ERROR: f64 = 1.2533;

/// The part of a sketch's weight that one allocation may have.
const MOST_OF_ALLOCATION: f32 = 0.25;
/// Times of one allocation that count whatever its part is: the first must count while there are no others.
const FIRST_OF_ALLOCATION: f32 = 10.0;
/// Allocations told apart in one sketch, by the last bits of their hashes; others share a number.
const ALLOCATIONS: u64 = 64;

/// A time that a client measured.
#[derive(Clone, Copy, Debug)]
pub struct Time {
    /// Within [`TIMES_MS`].
    pub ms: f64,
    /// A hash of the client's network: networks are told apart by its last six bits.
    pub network: u64,
    /// A hash of the network's allocation, where allocations are bounded in what they say.
    pub allocation: Option<u64>,
}

/// Times of one group of clients to one region.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sketch {
    /// Bucket and weight, in ascending order, none twice, none without weight.
    buckets: Vec<(u8, f32)>,
    /// To when the weights have faded, in seconds since 1970.
    at: u64,
    /// The time when a time was last added, in seconds since 1970.
    pub last: u64,
    networks: Networks,
    /// Weight by allocation, as of `at`, in ascending order; empty where allocations are not bounded.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    allocations: Vec<(u8, f32)>,
}

/// The middle of a sketch, and how sure it is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Middle {
    pub median_ms: f64,
    /// One standard error.
    pub uncertainty_ms: f64,
    /// Times behind it, those that fade in part.
    pub weight: f64,
}

impl Sketch {
    /// Adds a time, unless its allocation has its part of all times already.
    pub fn add(&mut self, time: Time, now: u64, half_life_s: u64) {
        self.fade(now, half_life_s);
        if let Some(allocation) = time.allocation {
            let allocation = (allocation % ALLOCATIONS) as u8;
            let most = (MOST_OF_ALLOCATION * (self.sum() + 1.0)).max(FIRST_OF_ALLOCATION);
            if weight_of(&self.allocations, allocation) + 1.0 > most {
                return;
            }
            add_weight(&mut self.allocations, allocation);
        }
        self.last = self.last.max(now);
        self.networks.add(time.network, now, half_life_s);
        add_weight(&mut self.buckets, bucket_of(time.ms));
    }

    /// `None` where nothing is left.
    pub fn middle(&self, now: u64, half_life_s: u64) -> Option<Middle> {
        let [low, median, high] = [0.25, 0.5, 0.75].map(|part| self.quantile_ms(part));
        let weight = self.weight(now, half_life_s);
        let deviation = (high? - low?) / NORMAL_IQR;
        Some(Middle { median_ms: median?, uncertainty_ms: MEDIAN_ERROR * deviation / weight.max(1.0).sqrt(), weight })
    }

    /// The number of times it holds, those that fade in part.
    pub fn weight(&self, now: u64, half_life_s: u64) -> f64 {
        f64::from(self.sum()) * remaining(now.saturating_sub(self.at), half_life_s)
    }

    /// The number of networks its clients were in, of late; 64 at most, and too few rather than too many.
    pub fn networks(&self) -> u32 {
        self.networks.count()
    }

    /// Tells whether everything is as [`Sketch::add`] would have left it: for what comes from a file.
    pub fn is_sound(&self, now: u64) -> bool {
        let past = self.at <= now && self.last <= now && self.networks.since <= now;
        past && are_sound(&self.buckets, BUCKETS) && are_sound(&self.allocations, ALLOCATIONS as u8)
    }

    fn sum(&self) -> f32 {
        self.buckets.iter().map(|(_, weight)| weight).sum()
    }

    fn fade(&mut self, now: u64, half_life_s: u64) {
        let remaining = remaining(now.saturating_sub(self.at), half_life_s) as f32;
        self.at = self.at.max(now);
        if remaining < 1.0 {
            for weights in [&mut self.buckets, &mut self.allocations] {
                weights.iter_mut().for_each(|(_, weight)| *weight *= remaining);
                weights.retain(|(_, weight)| *weight >= FADED);
            }
        }
    }

    /// The time that this part (0 to 1) of the weight is below.
    fn quantile_ms(&self, part: f64) -> Option<f64> {
        let mut before = 0.0;
        let wanted = part * f64::from(self.sum());
        for (bucket, weight) in &self.buckets {
            let weight = f64::from(*weight);
            if before + weight >= wanted {
                let within = ((wanted - before) / weight).clamp(0.0, 1.0);
                return Some(GROWTH.powf(f64::from(*bucket) + within));
            }
            before += weight;
        }
        self.buckets.last().map(|(bucket, _)| GROWTH.powi(i32::from(*bucket) + 1))
    }
}

fn weight_of(weights: &[(u8, f32)], number: u8) -> f32 {
    let at = weights.binary_search_by_key(&number, |(number, _)| *number);
    at.map_or(0.0, |at| weights[at].1)
}

fn add_weight(weights: &mut Vec<(u8, f32)>, number: u8) {
    match weights.binary_search_by_key(&number, |(number, _)| *number) {
        Ok(at) => weights[at].1 += 1.0,
        Err(at) => weights.insert(at, (number, 1.0)),
    }
}

/// Tells whether numbers below `end` ascend, each with a weight.
fn are_sound(weights: &[(u8, f32)], end: u8) -> bool {
    let ascending = weights.windows(2).all(|pair| matches!(pair, [(a, _), (b, _)] if a < b));
    ascending && weights.iter().all(|(number, weight)| *number < end && *weight > 0.0 && *weight < 1e9)
}

fn bucket_of(ms: f64) -> u8 {
    let ms = ms.clamp(*TIMES_MS.start(), *TIMES_MS.end());
    (ms.ln() / GROWTH.ln()).floor().clamp(0.0, f64::from(BUCKETS - 1)) as u8
}

/// The part of a weight that is left after this long.
fn remaining(seconds: u64, half_life_s: u64) -> f64 {
    0.5f64.powf(seconds as f64 / half_life_s.max(1) as f64)
}

/// About how many different networks were seen, of late: one bit for each, in two generations, so
/// that those not seen for two half-lives are forgotten.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Networks {
    young: u64,
    old: u64,
    /// The time when the young ones began, in seconds since 1970.
    since: u64,
}

impl Networks {
    fn add(&mut self, network: u64, now: u64, half_life_s: u64) {
        let age = now.saturating_sub(self.since);
        if age >= half_life_s {
            self.old = if age < 2 * half_life_s { self.young } else { 0 };
            (self.young, self.since) = (0, now);
        }
        self.young |= 1 << (network % 64);
    }

    fn count(self) -> u32 {
        (self.young | self.old).count_ones()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 86_400;
    const NOW: u64 = 1_790_000_000;

    fn time(ms: f64, network: u64) -> Time {
        Time { ms, network, allocation: None }
    }

    fn of(times: impl IntoIterator<Item = f64>) -> Sketch {
        let mut sketch = Sketch::default();
        times.into_iter().zip(0..).for_each(|(ms, network)| sketch.add(time(ms, network), NOW, DAY));
        sketch
    }

    fn median(sketch: &Sketch) -> f64 {
        sketch.middle(NOW, DAY).expect("times").median_ms
    }

    #[test]
    fn a_median_is_within_the_width_of_a_bucket() {
        for ms in [1.0, 1.5, 13.0, 99.9, 250.0, 4999.0, 5000.0] {
            let found = median(&of(std::iter::repeat_n(ms, 9)));
            assert!((found / ms - 1.0).abs() < 0.05, "{ms}: {found}");
        }
        let uniform = median(&of((0..1000).map(|n| 50.0 + f64::from(n) / 10.0)));
        assert!((uniform - 100.0).abs() < 1.0, "{uniform}");
        assert_eq!(Sketch::default().middle(NOW, DAY), None);
    }

    #[test]
    fn a_third_of_lies_does_not_move_it_far() {
        let honest = (0..70).map(|n| 80.0 + f64::from(n % 10));
        for lie in [1.0, 5000.0] {
            let found = median(&of(honest.clone().chain(std::iter::repeat_n(lie, 30))));
            assert!((78.0..92.0).contains(&found), "{lie}: {found}");
        }
    }

    #[test]
    fn the_more_times_the_surer() {
        let spread = |count: u32| of((0..count).map(|n| 50.0 + f64::from(n % 50)));
        let few = spread(50).middle(NOW, DAY).expect("times").uncertainty_ms;
        let many = spread(5000).middle(NOW, DAY).expect("times").uncertainty_ms;
        assert!((few / many - 10.0).abs() < 0.5 && few > 2.0 && few < 6.0, "{few} {many}");
    }

    #[test]
    fn old_times_fade_and_new_ones_take_over() {
        let mut sketch = of(std::iter::repeat_n(200.0, 100));
        assert_eq!(sketch.weight(NOW + DAY, DAY), 50.0);
        for _ in 0..60 {
            sketch.add(time(50.0, 1), NOW + DAY, DAY);
        }
        assert!((sketch.middle(NOW + DAY, DAY).expect("times").median_ms - 50.0).abs() < 3.0);
        let long_after = NOW + 40 * DAY;
        sketch.add(time(70.0, 1), long_after, DAY);
        assert_eq!(sketch.buckets.len(), 1, "what has faded is forgotten");
        // A clock that was set back fades nothing.
        sketch.add(time(70.0, 1), NOW, DAY);
        assert_eq!(sketch.weight(long_after, DAY), 2.0);
    }

    #[test]
    fn networks_are_counted_while_they_are_seen() {
        let mut sketch = of(std::iter::repeat_n(50.0, 5));
        assert_eq!(sketch.networks(), 5);
        sketch.add(time(50.0, 4), NOW + DAY, DAY);
        assert_eq!(sketch.networks(), 5);
        sketch.add(time(50.0, 4), NOW + 2 * DAY, DAY);
        assert_eq!(sketch.networks(), 1);
    }

    #[test]
    fn what_a_file_says_is_checked() {
        assert!(of([1.0, 5000.0]).is_sound(NOW));
        for buckets in [vec![(3, 1.0), (3, 1.0)], vec![(175, 1.0)], vec![(1, -1.0)], vec![(1, f32::NAN)]] {
            assert!(!Sketch { buckets, ..Sketch::default() }.is_sound(NOW));
        }
        assert!(!of([1.0]).is_sound(NOW - 1), "from the future");
    }
}
