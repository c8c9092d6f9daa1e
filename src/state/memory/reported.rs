//! The memory of one region's load reports: the last figure, how often they come, what is made of them,
//! and the price that follows from them.
//!
//! ```text
//!   report ─▶ figure, interval ─▶ stale? ──┐
//!   feed, as the planner weighs it ─▶ doubt ┼─▶ how it is heard, since when
//!   plan in force, else the figure ─────────┴─▶ price
//! ```
//!
//! While a plan is in force its prices are the region's, so that nothing leaps where the plan is lost. Without one
//! each report that is believed moves the price, and where none is, the price of long ago fades.

use std::time::{Duration, Instant};

use crate::model::LoadReport;
use crate::steer::load::feed::{Feed, Implausible};
use crate::steer::load::price::{MAX_PRICE_MS, MAX_UTILISATION, faded, next_price};
use crate::steer::load::state::{LoadFigure, LoadState};

/// Prices are published in steps of at least this, in milliseconds: a smaller one moves hardly a
/// client, and every step takes a new plan.
const PRICE_STEP_MS: f64 = 0.5;
/// A price that fades is published so often.
pub const FADING_STEP: Duration = Duration::from_secs(10);
/// The weight of a gap between reports in their mean: the last ten tell.
const GAP_PART: f64 = 0.2;
/// A longer gap is an outage, and tells nothing of how often reports come.
const MOST_GAP: Duration = Duration::from_secs(600);
/// However rarely reports are seen to come, older ones are stale, unless `max_age` allows for them.
const MOST_STALE_AFTER: Duration = Duration::from_secs(600);

/// The memory.
#[derive(Default)]
pub struct Reported {
    pub load: LoadState,
    /// The time when the last report came, which may be well after its figure.
    came_at: Option<Instant>,
    /// From report to report, as observed, in seconds; `None`: not more than one has come.
    interval_s: Option<f64>,
    /// The feed is doubted, as it is weighed: its figures move no price.
    doubt: Option<Implausible>,
    /// Its figures were weighed, and neither made sense of nor steady: nor do they.
    unsure: bool,
    /// More was said than [`MAX_UTILISATION`] times the capacity.
    is_beyond: bool,
    /// The way it was heard when that was last looked at.
    noted: Option<&'static str>,
    /// The last report, which has moved no price yet.
    unpriced: Option<Unpriced>,
    price_ms: f64,
    priced_at: Option<Instant>,
    /// As last published: the plan and whoever explains it use this one.
    published_price_ms: f64,
}

#[derive(Clone, Copy)]
struct Unpriced {
    utilisation: f64,
    /// Since the figure before it.
    elapsed_s: f64,
}

impl Reported {
    /// As it was kept over a restart: the last figure, how often they come, and the prices in force, in milliseconds.
    pub fn restored(
        last: Option<LoadFigure>,
        interval_s: Option<f64>,
        (price_ms, published_price_ms): (f64, f64),
        now: Instant,
    ) -> Reported {
        let load = LoadState { last, ..LoadState::default() };
        let interval_s = interval_s.filter(|interval_s| (1e-3..=MOST_GAP.as_secs_f64()).contains(interval_s));
        Reported { load, interval_s, price_ms, published_price_ms, priced_at: Some(now), ..Reported::default() }
    }

    /// From report to report, as observed, in seconds; `None`: not more than one has come.
    pub fn interval_s(&self) -> Option<f64> {
        self.interval_s
    }

    /// The price the controller holds, and the one that was last published.
    pub fn prices_ms(&self) -> (f64, f64) {
        (self.price_ms, self.published_price_ms)
    }

    /// Takes a figure; whether it is news that can be acted on.
    pub fn take(&mut self, figure: LoadFigure, report: &LoadReport, now: Instant) -> bool {
        self.load.error = None;
        let before = self.load.last.map(|last| last.at);
        if before.is_some_and(|before| figure.at < before) {
            return false;
        }
        let gap = before.map(|before| figure.at.saturating_duration_since(before));
        if let Some(came_at) = self.came_at.replace(now) {
            self.observe(now.saturating_duration_since(came_at).max(report.interval));
        }
        let (figure, error) = believed(figure);
        (self.is_beyond, self.load.error, self.load.last) = (error.is_some(), error, Some(figure));
        self.settle_stale(Some(report), now);
        if self.load.stale {
            return false;
        }
        // Reports that come faster than snapshots are made are taken together.
        let waited_s = self.unpriced.map_or(0.0, |unpriced| unpriced.elapsed_s);
        let elapsed_s = waited_s + gap.unwrap_or(report.interval).as_secs_f64();
        self.unpriced = figure.utilisation().map(|utilisation| Unpriced { utilisation, elapsed_s });
        true
    }

    /// A report came to nothing: the last one stays.
    pub fn fail(&mut self, why: String) {
        self.load.error = Some(why);
    }

    /// The time when the last figure goes stale; `None` before the first.
    pub fn stale_at(&self, report: &LoadReport) -> Option<Instant> {
        Some(self.load.last?.at + self.stale_after(report))
    }

    /// Time has passed: the last figure may be too old to act on.
    pub fn settle_stale(&mut self, report: Option<&LoadReport>, now: Instant) {
        self.load.stale_after = report.map(|report| self.stale_after(report));
        let age = self.load.last.map(|figure| now.saturating_duration_since(figure.at));
        self.load.stale = age.zip(self.load.stale_after).is_some_and(|(age, limit)| age >= limit);
    }

    /// Takes what is made of its figures now. Before [`Reported::price`] and [`Reported::note`].
    pub fn weigh(&mut self, feed: &Feed) {
        (self.doubt, self.load.reading) = (feed.doubt(), feed.reading());
        self.unsure = self.load.reading.is_none() && !feed.is_steady();
    }

    /// Takes note of how it is heard now, and since when.
    pub fn note(&mut self, now: Instant) {
        self.load.doubt = if self.is_beyond { Some(Implausible::Units) } else { self.doubt };
        let heard = self.load.heard().as_str();
        if self.noted.replace(heard) != Some(heard) {
            self.load.since = Some(now);
        }
    }

    /// The price from here on, in milliseconds; `planned_ms`: that of the plan in force.
    pub fn price(&mut self, planned_ms: Option<f64>, now: Instant) -> f64 {
        let unpriced = self.unpriced.take();
        let passed = self.priced_at.replace(now).map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        if let Some(planned_ms) = planned_ms {
            self.price_ms = planned_ms.clamp(0.0, MAX_PRICE_MS);
            self.published_price_ms = self.price_ms;
            return planned_ms;
        }
        self.price_ms = match unpriced {
            _ if self.rests() => faded(self.price_ms, passed),
            Some(Unpriced { utilisation, elapsed_s }) => next_price(self.price_ms, utilisation, elapsed_s),
            None => self.price_ms,
        };
        if (self.price_ms - self.published_price_ms).abs() >= PRICE_STEP_MS || self.price_ms == 0.0 {
            self.published_price_ms = self.price_ms;
        }
        self.published_price_ms
    }

    /// Tells whether its price changes by the passing of time, where no plan is in force.
    pub fn fades(&self) -> bool {
        self.rests() && self.price_ms > 0.0
    }

    /// Nothing that can be acted on comes from there.
    fn rests(&self) -> bool {
        self.load.stale || self.doubt.is_some() || self.unsure
    }

    /// As configured; where that is the default, three of the intervals at which reports are seen to come, should
    /// these be longer.
    fn stale_after(&self, report: &LoadReport) -> Duration {
        if report.max_age != report.interval * LoadReport::STALE_INTERVALS {
            return report.max_age;
        }
        let observed_s = self.interval_s.unwrap_or(0.0) * f64::from(LoadReport::STALE_INTERVALS);
        report.max_age.max(Duration::from_secs_f64(observed_s).min(MOST_STALE_AFTER))
    }

    /// Takes a gap between reports, above 0: as logarithms, so that one outage does not pass for a habit.
    fn observe(&mut self, gap: Duration) {
        if gap > MOST_GAP {
            return;
        }
        let gap_s = gap.as_secs_f64();
        self.interval_s = Some(self.interval_s.map_or(gap_s, |mean_s| mean_s * (gap_s / mean_s).powf(GAP_PART)));
    }
}

/// No more load than [`MAX_UTILISATION`] times the capacity is believed: load or capacity is wrong,
/// or they are in different units. What was said is told as an error.
fn believed(figure: LoadFigure) -> (LoadFigure, Option<String>) {
    let (said, most) = (figure.load, figure.capacity.map_or(f64::INFINITY, |capacity| capacity * MAX_UTILISATION));
    if said <= most {
        return (figure, None);
    }
    let times = format!("a load of {said} is more than {MAX_UTILISATION} times the capacity");
    (LoadFigure { load: most, ..figure }, Some(format!("{times}: {most} is believed; are both in the same unit?")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    /// The time when a feed that reports at these seconds and is looked at every second was stale, up to `until`.
    fn stale_at(report: &LoadReport, reports: &[u64], until: u64) -> Vec<u64> {
        let began = Instant::now();
        let mut reported = Reported::default();
        let stale = |&second: &u64| {
            let now = began + Duration::from_secs(second);
            if reports.contains(&second) {
                reported.take(LoadFigure { load: 50.0, capacity: Some(100.0), at: now }, report, now);
            }
            reported.settle_stale(Some(report), now);
            reported.load.stale
        };
        (0..=until).filter(stale).collect()
    }

    #[test]
    fn a_feed_that_comes_every_45_s_is_not_stale_in_between_and_is_135_s_after_the_last() {
        let report = LoadReport::pushed(10 * S);
        let every_45_s: Vec<u64> = (0..10).map(|n| 100 + n * 45).collect();
        let last = *every_45_s.last().expect("ten");
        let stale = stale_at(&report, &every_45_s, 800);
        let (first_gap, later): (Vec<u64>, Vec<u64>) = stale.into_iter().partition(|&second| second < every_45_s[1]);
        assert_eq!(first_gap, (130..145).collect::<Vec<_>>(), "how often it comes is not known yet");
        assert_eq!(later.first(), Some(&(last + 135)));
    }

    #[test]
    fn how_often_a_feed_comes_is_known_after_a_restart() {
        let (report, now) = (LoadReport::pushed(10 * S), Instant::now());
        let last = Some(LoadFigure { load: 50.0, capacity: Some(100.0), at: now });
        let stale_after = |interval_s| {
            let mut reported = Reported::restored(last, interval_s, (0.0, 0.0), now);
            reported.settle_stale(Some(&report), now);
            reported.load.stale_after.map(|after| after.as_secs())
        };
        assert_eq!([Some(45.0), None].map(stale_after), [Some(135), Some(30)]);
        assert_eq!([f64::NAN, -1.0, 0.0, 1e300].map(Some).map(stale_after), [Some(30); 4], "no sense, not known");
    }

    #[test]
    fn reports_between_40_and_60_s_apart_are_never_stale_once_they_are_known() {
        let gaps = (0..40u64).map(|n| 40 + n * 7 % 21);
        let reports: Vec<u64> = gaps.scan(0, |at, gap| Some(std::mem::replace(at, *at + gap))).collect();
        let last = *reports.last().expect("forty");
        let stale = stale_at(&LoadReport::pushed(10 * S), &reports, last + 120);
        assert!(stale.iter().all(|&second| second < reports[1]), "{stale:?}");
    }

    #[test]
    fn an_outage_is_no_habit_and_a_configured_age_holds() {
        let report = LoadReport::pushed(10 * S);
        let outage: Vec<u64> = (0..30).map(|n| n * 10).chain((0..12).map(|n| 800 + n * 10)).collect();
        let stale = stale_at(&report, &outage, 1200);
        assert!(stale.contains(&320) && stale.contains(&799), "{stale:?}");
        let again = stale.iter().find(|&&second| second > 800).copied().expect("stale again");
        assert!((940..960).contains(&again), "{again}");
        let longer: Vec<u64> = (0..4).map(|n| n * 601).collect();
        assert_eq!(stale_at(&report, &longer, 1900).iter().filter(|&&second| second == 1833).count(), 1, "30 s still");
        let given = LoadReport { max_age: 20 * S, ..LoadReport::pushed(10 * S) };
        assert!(stale_at(&given, &[0, 45, 90, 135], 200).contains(&156));
        let rare = LoadReport::pushed(Duration::from_secs(3600));
        assert_eq!(
            stale_at(&rare, &[0, 500], 11_300),
            (11_300..=11_300).collect::<Vec<_>>(),
            "three hours, as configured"
        );
    }

    #[test]
    fn a_figure_that_is_stale_or_older_than_the_last_is_not_acted_on() {
        let (report, now) = (LoadReport::pushed(10 * S), Instant::now());
        let mut reported = Reported::default();
        let mut take = |load: f64, age: Duration| {
            reported.take(LoadFigure { load, capacity: Some(100.0), at: now - age }, &report, now)
        };
        assert!(!take(150.0, 120 * S), "stale");
        assert!(take(150.0, 20 * S));
        assert!(!take(1.0, 25 * S), "older");
        assert!(take(140.0, 20 * S), "the same once more");
    }

    #[test]
    fn a_price_follows_the_plan_then_reports_and_fades_without_them() {
        let (report, began) = (LoadReport::pushed(10 * S), Instant::now());
        let mut reported = Reported::default();
        let mut step = |second: u64, load: Option<f64>, planned: Option<f64>| {
            let now = began + Duration::from_secs(second);
            if let Some(load) = load {
                reported.take(LoadFigure { load, capacity: Some(100.0), at: now }, &report, now);
            }
            reported.settle_stale(Some(&report), now);
            reported.note(now);
            reported.price(planned, now)
        };
        assert!((step(0, Some(185.0), None) - 12.0).abs() < 1e-9, "an interval is all that is known of the first");
        assert_eq!(step(10, Some(185.0), Some(300.0)), 300.0, "the plan's");
        assert_eq!(step(11, None, Some(40.0)), 40.0);
        assert_eq!(step(12, None, None), 40.0, "as the plan left it");
        assert!((step(20, Some(95.0), None) - 41.2).abs() < 1e-9, "from there on");
        assert!((step(30, Some(35.0), None) - 38.8).abs() < 1e-9);
        assert_eq!(step(59, None, None).round(), 39.0, "one late report is none of its doing");
        let faded = step(89, None, None);
        assert!(faded < 38.8 && faded > 19.0, "{faded}");
        assert!((step(149, None, None) - faded / 2.0).abs() < 1e-9, "half in a minute");
        assert_eq!(step(600, None, None), 0.0);
    }

    #[test]
    fn a_doubted_figure_moves_no_price() {
        let (report, now) = (LoadReport::pushed(10 * S), Instant::now());
        let mut reported = Reported { doubt: Some(Implausible::Rose), ..Reported::default() };
        reported.take(LoadFigure { load: 300.0, capacity: Some(100.0), at: now }, &report, now);
        assert_eq!(reported.price(None, now), 0.0);
        reported.doubt = None;
        assert_eq!(reported.price(None, now + S), 0.0, "nor does it later");
    }
}
