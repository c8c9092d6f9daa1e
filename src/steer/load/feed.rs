//! A region's feed of load reports, weighed: what of it is believed, and what it says of the clients who were
//! sent there.
//!
//! ```text
//!   demand expected there ─▶ past ─┐
//!                                  ├─▶ plausible? ─▶ credit for the clients there ─▶ demand
//!   report: load, capacity ────────┘        └─▶ doubt: held as it was, until it is borne out or gone
//! ```
//!
//! Feeds lie: they jump, freeze, count in other units, and count clients who never asked here. So each region has
//! a model of its own feed: `said = gain · (unit · demand + others)`. Whatever changes smoothly is the clients'
//! doing. A jump is nobody's until it has lasted for [`BORNE_OUT`]; then it is the feed's own (`gain`), or that of
//! clients who came otherwise (`others`), never that of those who were sent there: nothing they did explains it.
//! A steady figure is normal.

pub mod kept;
pub mod restless;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use restless::Restless;

/// The time for which a load that jumped must stay where it is before it is taken for more than a slip.
pub const BORNE_OUT: Duration = Duration::from_secs(75);
/// Reports that must agree for it, at least.
const AGREEING: u32 = 3;
/// The distance that those may lie apart, as a logarithm: 20 %.
const AGREEMENT: f64 = 0.18;
/// A report may differ from what was expected by so much, as a logarithm: 8 %; and more for each second since
/// the last one.
const SLACK: f64 = 0.12;
const SLACK_PER_S: f64 = 0.004;
const MOST_SLACK: f64 = 0.5;
/// A feed is new for so long after it was first made sense of: the first plans move many.
const NEW: Duration = Duration::from_secs(300);
/// Where this part of the demand has come or gone since the last report, a load that did so too tells how heavy
/// newcomers are; up to so many times as heavy as they were taken for, or as light.
const LEAST_MOVED: f64 = 0.15;
const MOST_UNIT_STEP: f64 = 100.0;
/// More by this part of what has come or gone by answers lately: how heavy newcomers are is not known.
const MOVERS: f64 = 0.7;
/// The same for the first report of a region that is back, whose clients are still on their way.
const FIRST_SLACK: f64 = 0.8;
/// Differences of this part of the capacity are always plausible: small loads leap.
const SMALL: f64 = 0.03;
/// Reports may be this late without saying so: what was expected then explains them as well.
const MOST_DELAY: Duration = Duration::from_secs(75);
/// A load that rises twice, the second time by at least and at most so much, as a logarithm, and by this part of the
/// first time or more, is that of a growing crowd.
const RAMP: f64 = 0.03;
const MOST_RAMP: f64 = 0.3;
const LIKE_BEFORE: f64 = 0.4;
/// A jump that was borne out is remembered for so long: a feed that returns is believed at once.
const REMEMBERED: Duration = Duration::from_secs(6 * 3600);
/// A feed that says less than this part of what was expected, while its clients stay, says nothing.
const LEAST_GAIN: f64 = 0.05;
/// The part of its clients that one feed can send away by a jump that nothing else explains.
pub const MOST_SENT_AWAY: f64 = 0.2;
/// Resolvers whose clients are taken for half of a region's load, where nothing else is known.
const HALF_BELIEVED: f64 = 4.0;
/// A correction counts for this at most, either way.
const MOST_RATIO: f64 = 2.0;
/// Added to both sides of a ratio, as a part of capacity or of the largest load: idle regions do not divide by
/// nothing.
const FLOOR: f64 = 1e-4;
/// Steps of what was expected that are kept.
const MOST_PAST: usize = 64;
/// Loads per client that differ by less are of the same unit: the time of the day and the habits of resolvers
/// explain them. As a logarithm.
const SAME_UNIT: f64 = 0.75;
/// The part of them, by resolvers, that must agree for it.
const MOST_AGREE: f64 = 0.7;
/// A load and a capacity further apart than this, compared with other regions, are in different units.
const MISTAKE: f64 = 2.3;
/// A capacity that changes by more, as a logarithm, must be said twice: more than half is lost.
const MOST_STEP: f64 = 0.85;
/// Feeds are made sense of once so many reports in a row were not further apart than this, as a logarithm.
const FIRST_ALIKE: u32 = 2;
const MOST_APART: f64 = 0.7;
/// A feed of whose reports more than this part leap says nothing; each counts for so much.
const ERRATIC: f64 = 0.35;
const LEAPS_PART: f64 = 0.06;
/// No region that has this load over capacity for longer than [`BORNE_OUT`] has it by `others`, if so many resolvers
/// are on it: its feed exaggerates.
const MOST_WITH_OTHERS: f64 = 1.3;
const MANY_RESOLVERS: f64 = 100.0;
/// Fewer say nothing of whose a load is that jumped: all may be sent away.
const FEW_RESOLVERS: f64 = 10.0;
/// Load over capacity that no region has for longer than [`BORNE_OUT`].
const MOST_UTILISATION: f64 = 3.9;

/// The reason why a region is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Implausible {
    #[error("not believed: its load fell though its clients stayed")]
    Fell,
    #[error("not believed yet: its load rose more than its clients explain")]
    Rose,
    #[error("not believed: its load and its capacity cannot be in the same unit")]
    Units,
    #[error("not believed: its capacity leaps from report to report")]
    Capacity,
    #[error("not believed: its figures leap from report to report")]
    Erratic,
}

impl Implausible {
    pub const WORDS: [&str; 5] = ["fell", "rose", "units", "capacity", "erratic"];

    pub fn as_str(self) -> &'static str {
        match self {
            Implausible::Fell => "fell",
            Implausible::Rose => "rose",
            Implausible::Units => "units",
            Implausible::Capacity => "capacity",
            Implausible::Erratic => "erratic",
        }
    }

    /// The thing that an operator may look for, where that is known.
    pub fn cure(self) -> Option<&'static str> {
        (self == Implausible::Units).then_some("is its load in per cent and its capacity in connections?")
    }
}

/// The model of one region's feed.
#[derive(Clone, Debug)]
pub struct Feed {
    capacity: Capacity,
    /// Reports in a row that go with the one before.
    alike: u32,
    /// The part of the last reports that did not.
    leaps: f64,
    restless: Restless,
    /// Demand there when it jumped.
    at_jump: f64,
    /// So few resolvers were there then that what is theirs is a guess.
    few_at_jump: bool,
    /// Load, as the region counts it, per unit of demand.
    unit: f64,
    /// Load that did not come by answers given here, in the region's unit.
    others: f64,
    /// The quotient of what the feed says and what there is.
    gain: f64,
    /// The quotient of what all feeds say and what is believed of them: see [`super::common_mode`].
    common: f64,
    calibrated: bool,
    last: Option<Heard>,
    doubt: Option<Doubted>,
    /// Load and demand of the last report that was believed.
    believed: Option<(f64, f64)>,
    /// The time when it was first made sense of.
    since: Option<Instant>,
    /// The last report that was believed over what was expected, as a logarithm.
    usual: f64,
    /// The rise of the last report over the one before it, as a logarithm, where a growing crowd does so; else 0.
    rise: f64,
    /// The state that held before a jump was borne out.
    before: Option<Before>,
    /// Demand expected on it, with its time: the oldest first.
    past: VecDeque<(Instant, f64)>,
    /// The excess of the last report over what was expected, as a part of that.
    surprise: f64,
    /// Load was beyond reason, compared with capacity, since then.
    unreasonable_since: Option<Instant>,
    /// The same beyond what others may account for.
    exaggerates_since: Option<Instant>,
}

/// The capacity a feed says, with leaps held back until they are said twice.
#[derive(Clone, Copy, Debug, Default)]
struct Capacity {
    /// The capacity that is acted on; `None`: none was said.
    held: Option<f64>,
    /// The last that leapt.
    leapt: Option<f64>,
}

impl Capacity {
    /// Takes what a report says; whether it can be acted on.
    fn hear(&mut self, said: Option<f64>, load: f64) -> bool {
        let Some(said) = said else { return true };
        let near = |other: Option<f64>, apart: f64| other.is_some_and(|other| (said / other).ln().abs() <= apart);
        // No region has many times what it can take: a capacity that would say so is in another unit.
        let possible = load < MOST_UTILISATION * said;
        if near(self.held, MOST_STEP) || possible && (self.held.is_none() || near(self.leapt, AGREEMENT)) {
            (self.held, self.leapt) = (Some(said), None);
            return true;
        }
        self.leapt = Some(said);
        false
    }
}

/// The reading of a region's figures, for people.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reading {
    /// Load, as the region counts it, per unit of demand.
    pub unit: f64,
    /// Load that did not come by answers given here, in the region's unit.
    pub others: f64,
    /// The factor by which the feed says more than there is.
    pub gain: f64,
    /// The time when the jump was borne out that `gain` is of, where it is remembered.
    pub jumped_at: Option<Instant>,
    /// The capacity that is acted on; `None`: none was said.
    pub capacity: Option<f64>,
    /// It rises and falls again and again: its load counts in the mean of twenty minutes only.
    pub restless: bool,
}

#[derive(Clone, Copy, Debug)]
struct Heard {
    at: Instant,
    load: f64,
}

#[derive(Clone, Copy, Debug)]
struct Doubted {
    why: Implausible,
    since: Instant,
    /// The level it says, as a logarithm.
    level: f64,
    reports: u32,
}

#[derive(Clone, Copy, Debug)]
struct Before {
    others: f64,
    gain: f64,
    /// The load that the feed said then.
    load: f64,
    at: Instant,
}

/// One report, and what was expected.
#[derive(Clone, Copy, Debug)]
pub struct FeedReport {
    /// 0 or more, finite.
    pub load: f64,
    /// Above 0, finite.
    pub capacity: Option<f64>,
    /// Demand expected on the region, from answers.
    pub demand: f64,
    /// Resolvers that hold an answer with it.
    pub resolvers: f64,
    pub now: Instant,
}

/// The credit that a believed report gives the clients who were sent there.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Credit {
    /// Load over what was expected.
    pub ratio: f64,
    /// Since the report before, in seconds.
    pub elapsed_s: f64,
    /// The feed jumps time and again: it counts in the mean only.
    pub restless: bool,
}

impl Default for Feed {
    fn default() -> Feed {
        Feed {
            capacity: Capacity::default(),
            alike: 0,
            leaps: 0.0,
            restless: Restless::default(),
            at_jump: 0.0,
            few_at_jump: false,
            unit: 1.0,
            others: 0.0,
            gain: 1.0,
            common: 1.0,
            calibrated: false,
            last: None,
            doubt: None,
            believed: None,
            since: None,
            usual: 0.0,
            rise: 0.0,
            before: None,
            past: VecDeque::new(),
            surprise: 0.0,
            unreasonable_since: None,
            exaggerates_since: None,
        }
    }
}

impl Feed {
    /// Takes a report; what it says of the clients there, where it is believed.
    pub fn hear(&mut self, report: &FeedReport) -> Option<Credit> {
        let report = &FeedReport { load: report.load / self.common, ..*report };
        let elapsed_s = self.note(report);
        let capacity_leaps = !self.capacity.hear(report.capacity, report.load);
        self.leaps += LEAPS_PART * (f64::from(u8::from(capacity_leaps || self.alike == 0)) - self.leaps);
        if self.is_erratic() {
            self.capacity = Capacity::default();
            self.hold_back(Implausible::Erratic, report);
            return None;
        }
        if capacity_leaps {
            self.hold_back(Implausible::Capacity, report);
            return None;
        }
        if self.is_beyond_reason(report) {
            self.hold_back(Implausible::Units, report);
            return None;
        }
        if !self.calibrated {
            return None;
        }
        self.note_exaggeration(report);
        let first = self.past.is_empty();
        self.note_expected(report.demand, report.now);
        if self.restless.is() {
            return Some(self.hear_restless(report, elapsed_s));
        }
        let (expected, difference) = self.compare(report.load, report.capacity);
        let new = self.since.is_none_or(|since| report.now.saturating_duration_since(since) < NEW);
        let slack = if first || new { FIRST_SLACK } else { (SLACK + SLACK_PER_S * elapsed_s).min(MOST_SLACK) };
        let slack = slack + MOVERS * self.moved();
        let small = SMALL * report.capacity.unwrap_or(0.0);
        // A jump is followed by more of the same; a crowd, by more.
        let grows = self.doubt() == Some(Implausible::Rose) && self.rise > LIKE_BEFORE * (difference - self.rise);
        let jumps = difference.abs() > slack && (difference - self.usual).abs() > slack;
        if jumps
            && (report.load - expected).abs() > small
            && !grows
            && !self.returns(report, slack)
            && !self.follows_movers(report)
        {
            let why = if difference > 0.0 { Implausible::Rose } else { Implausible::Fell };
            self.hold_back(why, report);
            return None;
        }
        self.doubt = None;
        let (_, difference) = self.compare(report.load, report.capacity);
        self.usual = difference;
        self.believed = Some((report.load / self.gain, report.demand));
        let ratio = difference.exp().clamp(1.0 / MOST_RATIO, MOST_RATIO);
        // Newcomers who are heavier than they were taken for are no crowd that grows.
        self.surprise = if ratio > 1.0 { (ratio - self.moved().exp()).max(0.0) } else { ratio - 1.0 };
        self.others *= 1.0 + (ratio - 1.0) * reach(ratio, elapsed_s);
        Some(Credit { ratio, elapsed_s, restless: false })
    }

    /// Takes a report of a feed that jumps time and again: no jump means anything, and all of it little.
    fn hear_restless(&mut self, report: &FeedReport, elapsed_s: f64) -> Credit {
        (self.gain, self.before, self.doubt, self.usual, self.surprise) = (1.0, None, None, 0.0, 0.0);
        self.believed = None;
        let (_, difference) = self.compare(report.load, report.capacity);
        let ratio = difference.exp().clamp(1.0 / MOST_RATIO, MOST_RATIO);
        self.others *= 1.0 + (ratio - 1.0) * restless::reach(elapsed_s);
        Credit { ratio, elapsed_s, restless: true }
    }

    /// Takes note of what is expected now, so that late reports find what they are of. There are none before the first.
    pub fn note_expected(&mut self, demand: f64, now: Instant) {
        if self.last.is_none() {
            return;
        }
        while self.past.front().is_some_and(|(at, _)| now.saturating_duration_since(*at) > MOST_DELAY)
            || self.past.len() >= MOST_PAST
        {
            self.past.pop_front();
        }
        self.past.push_back((now, demand));
    }

    /// The clients there have been credited: what was expected of them is so much more.
    pub fn scale_past(&mut self, factor: f64) {
        self.past.iter_mut().for_each(|(_, demand)| *demand *= factor);
    }

    /// All feeds say so many times more than is believed of them.
    pub fn set_common(&mut self, factor: f64) {
        self.common = factor;
    }

    /// All demand is taken for so many times what it was: so is what was expected, and the load of others.
    pub fn scale(&mut self, factor: f64) {
        self.scale_past(factor);
        self.others *= factor;
    }

    /// The region went down or came back: what was expected before says nothing any more.
    pub fn interrupt(&mut self) {
        (self.doubt, self.usual, self.surprise, self.unreasonable_since) = (None, 0.0, 0.0, None);
        self.believed = None;
        self.restless.interrupt();
        self.past.clear();
    }

    pub fn doubt(&self) -> Option<Implausible> {
        self.doubt.map(|doubt| doubt.why)
    }

    /// The capacity to go by, in the region's unit; `None`: none was said.
    pub fn capacity(&self) -> Option<f64> {
        self.capacity.held
    }

    /// Tells whether its figures leap too often to say anything.
    fn is_erratic(&self) -> bool {
        let limit = if self.doubt() == Some(Implausible::Erratic) { ERRATIC / 2.0 } else { ERRATIC };
        self.leaps > limit
    }

    /// Tells whether what is known of its load may be acted on: it was believed, and its unit is not in question.
    pub fn is_evidence(&self) -> bool {
        self.calibrated && self.doubt() != Some(Implausible::Units)
    }

    /// Tells whether it says about the same from report to report, so that it can be made sense of.
    pub fn is_steady(&self) -> bool {
        self.alike >= FIRST_ALIKE && self.capacity.leapt.is_none() && self.leaps < ERRATIC / 2.0
    }

    /// Tells whether what it says is known well enough to be acted on.
    pub fn is_calibrated(&self) -> bool {
        self.calibrated
    }

    /// Tells whether its last report came as expected.
    pub fn is_believed(&self) -> bool {
        self.calibrated && self.doubt.is_none()
    }

    /// Tells whether it jumps time and again, so that it counts in the mean only.
    pub fn is_restless(&self) -> bool {
        self.restless.is()
    }

    /// The excess of its last report over what was expected, as a part of that; below 0, less.
    pub fn surprise(&self) -> f64 {
        self.surprise
    }

    /// The rest of a capacity for clients who are sent there, as demand; `demand`: that of those
    /// who are there. A feed that jumped for no known reason takes no more than [`MOST_SENT_AWAY`] of them away, and
    /// none at all where others jumped alike: `usual_gain` is that of most.
    pub fn room(&self, capacity: f64, demand: f64, usual_gain: f64) -> f64 {
        let gain = (self.gain() / usual_gain.max(1.0)).max(1.0);
        let left = (capacity / gain - self.others) / self.unit;
        let kept = (1.0 - MOST_SENT_AWAY) * self.own_part(demand) * self.at_jump.max(demand);
        if gain > 1.0 && !self.few_at_jump { left.max(kept) } else { left }.max(0.0)
    }

    /// Load in the region's unit, of demand for it.
    pub fn load_of(&self, demand: f64) -> f64 {
        self.unit * demand + self.others
    }

    /// Load that did not come by answers given here, in the region's unit.
    pub fn others(&self) -> f64 {
        self.others
    }

    /// The quotient of what the feed says and what there is.
    pub fn gain(&self) -> f64 {
        self.gain * self.common
    }

    /// Load, as the region counts it, per unit of demand.
    pub fn unit(&self) -> f64 {
        self.unit
    }

    /// The reading of its figures; `None`: they were not made sense of yet.
    pub fn reading(&self) -> Option<Reading> {
        let (unit, others, gain) = (self.unit, self.others, self.gain());
        let jumped_at = self.before.map(|before| before.at).filter(|_| self.gain != 1.0);
        let (capacity, restless) = (self.capacity.held, self.restless.is());
        self.calibrated.then_some(Reading { unit, others, gain, jumped_at, capacity, restless })
    }

    fn own_part(&self, demand: f64) -> f64 {
        let own = self.unit * demand;
        if own > 0.0 { own / (own + self.others) } else { 0.0 }
    }

    /// Remembers the report; the seconds since the one before.
    fn note(&mut self, report: &FeedReport) -> f64 {
        let heard = Heard { at: report.now, load: report.load };
        let before = self.last.replace(heard);
        let apart = before.map(|before| ((report.load + 1.0) / (before.load + 1.0)).ln().abs());
        self.alike = if apart.is_some_and(|apart| apart <= MOST_APART) { self.alike.saturating_add(1) } else { 0 };
        let rise = before.map_or(0.0, |before| (report.load / before.load.max(f64::MIN_POSITIVE)).ln());
        self.rise = if (RAMP..MOST_RAMP).contains(&rise) { rise } else { 0.0 };
        let elapsed_s = before.map(|before| report.now.saturating_duration_since(before.at).as_secs_f64());
        let elapsed_s = elapsed_s.unwrap_or(10.0).clamp(0.1, 120.0);
        // Small loads leap.
        let small = SMALL * report.capacity.unwrap_or(0.0);
        self.restless.note(((report.load + small) / (report.resolvers + 1.0)).max(f64::MIN_POSITIVE).ln(), elapsed_s);
        elapsed_s
    }

    /// The expectation, of all that was within [`MOST_DELAY`] the likeliest; and by how much the load
    /// differs, as a logarithm.
    fn compare(&self, load: f64, capacity: Option<f64>) -> (f64, f64) {
        let (low, high) = self.loads_expected();
        let (low, high) = (self.gain * low, self.gain * high);
        let expected = load.clamp(low.min(high), high);
        let floor = FLOOR * capacity.unwrap_or(0.0).max(high).max(load).max(f64::MIN_POSITIVE);
        (expected, ((load + floor) / (expected + floor)).ln())
    }

    /// The least and the most load that was expected within [`MOST_DELAY`]; infinite and 0 where nothing was.
    fn loads_expected(&self) -> (f64, f64) {
        let all = self.past.iter().map(|(_, demand)| self.load_of(*demand));
        all.fold((f64::INFINITY, 0.0f64), |(low, high), load| (low.min(load), high.max(load)))
    }

    /// The demand that has come there or gone lately, as a logarithm.
    fn moved(&self) -> f64 {
        let (low, high) = self.loads_expected();
        if low > 0.0 && low.is_finite() { (high / low).ln() } else { 0.0 }
    }

    /// Tells whether it says again what it said before a jump. Then all is as it was.
    fn returns(&mut self, report: &FeedReport, slack: f64) -> bool {
        let Some(before) = self.before else { return false };
        if report.now.saturating_duration_since(before.at) > REMEMBERED {
            self.before = None;
            return false;
        }
        let now = (self.others, self.gain);
        (self.others, self.gain) = (before.others, before.gain);
        let (expected, difference) = self.compare(report.load, report.capacity);
        let small = SMALL * report.capacity.unwrap_or(0.0);
        if difference.abs() <= slack.max(2.0 * SLACK) || (report.load - expected).abs() <= small {
            self.before = None;
            return true;
        }
        // Its clients have gone meanwhile, and the load is what it was: then it was that of others.
        let of_others = self.own_part(report.demand) < 0.5;
        if of_others && before.load > 0.0 && (report.load / before.load).ln().abs() <= slack {
            self.others = (report.load / self.gain - self.unit * report.demand).max(0.0);
            self.before = None;
            return true;
        }
        (self.others, self.gain) = now;
        false
    }

    /// Tells whether the load came or went with those who were sent there or away: then their weight here was wrong,
    /// and so was what was taken for others.
    fn follows_movers(&mut self, report: &FeedReport) -> bool {
        let Some((load, demand)) = self.believed else { return false };
        let (more_load, more_demand) = (report.load / self.gain - load, report.demand - demand);
        if more_demand.abs() < LEAST_MOVED * demand.max(report.demand) {
            return false;
        }
        let unit = more_load / more_demand;
        let others = report.load / self.gain - unit * report.demand;
        let is_sane = unit > self.unit / MOST_UNIT_STEP && unit < self.unit * MOST_UNIT_STEP;
        if is_sane && others >= -SMALL * report.load {
            (self.unit, self.others) = (unit, others.max(0.0));
            return true;
        }
        false
    }

    fn is_beyond_reason(&mut self, report: &FeedReport) -> bool {
        let is = report.capacity.is_some_and(|capacity| report.load >= MOST_UTILISATION * capacity);
        if !is {
            self.unreasonable_since = None;
            if self.doubt() == Some(Implausible::Units) && self.calibrated {
                self.doubt = None;
            }
            return false;
        }
        let since = *self.unreasonable_since.get_or_insert(report.now);
        report.now.saturating_duration_since(since) >= BORNE_OUT && self.own_part(report.demand) > 0.5
    }

    /// Notes a feed that exaggerates. Where it says far too much for long, and many resolvers are there, others do not
    /// account for it: it is the feed's own way of counting, which sends few away.
    fn note_exaggeration(&mut self, report: &FeedReport) {
        let own = self.unit * report.demand;
        let much = report.capacity.is_some_and(|capacity| report.load > self.gain * MOST_WITH_OTHERS * capacity);
        if !much || report.resolvers < MANY_RESOLVERS || own <= 0.0 || self.others < own {
            self.exaggerates_since = None;
            return;
        }
        let since = *self.exaggerates_since.get_or_insert(report.now);
        if report.now.saturating_duration_since(since) >= BORNE_OUT {
            (self.gain, self.others, self.before) = (report.load / own, 0.0, None);
            (self.at_jump, self.exaggerates_since, self.usual, self.doubt) = (report.demand, None, 0.0, None);
        }
    }

    fn hold_back(&mut self, why: Implausible, report: &FeedReport) {
        let level = report.load.max(1e-300).ln();
        let doubted = match self.doubt {
            Some(doubt) if doubt.why == why && (level - doubt.level).abs() <= AGREEMENT => {
                Doubted { reports: doubt.reports.saturating_add(1), ..doubt }
            }
            _ => Doubted { why, since: report.now, level, reports: 1 },
        };
        self.doubt = Some(doubted);
        let lasted = report.now.saturating_duration_since(doubted.since) >= BORNE_OUT && doubted.reports >= AGREEING;
        if lasted && matches!(why, Implausible::Fell | Implausible::Rose) {
            self.bear_out(report);
        }
    }

    /// The jump is here to stay: others came or went, as far as others make up the load; the rest is the feed's
    /// own way of counting.
    fn bear_out(&mut self, report: &FeedReport) {
        let there = self.load_of(report.demand);
        let own = self.own_part(report.demand);
        let others = (self.others + (1.0 - own) * (report.load / self.gain - there)).max(0.0);
        let left = self.unit * report.demand + others;
        let gain = if left > 0.0 { report.load / left } else { 1.0 };
        if gain < LEAST_GAIN {
            return; // it says nothing, and goes on being doubted
        }
        if self.before.is_none() {
            let load = self.believed.map_or(report.load, |(load, _)| load * self.gain);
            self.before = Some(Before { others: self.others, gain: self.gain, load, at: report.now });
        }
        (self.others, self.gain, self.doubt) = (others, gain, None);
        (self.surprise, self.usual, self.at_jump) = (0.0, 0.0, report.demand);
        self.few_at_jump = report.resolvers < FEW_RESOLVERS;
    }
}

/// The part of the way that a correction goes towards what a report says, 0 to 1.
///
/// A third of the way in ten seconds, since reports and answers are both a little late; nearly all of it where
/// there is 5 % more than expected: a crowd does not wait to be believed.
pub fn reach(ratio: f64, elapsed_s: f64) -> f64 {
    const CALM_S: f64 = 23.0;
    const SURGE_S: f64 = 4.0;
    const SURGE: f64 = 0.05;
    let surge = (ratio.ln() / SURGE).clamp(0.0, 1.0);
    1.0 - (-elapsed_s / (CALM_S * (SURGE_S / CALM_S).powf(surge))).exp()
}

/// A region as it is first made sense of.
#[derive(Clone, Copy, Debug)]
pub struct FirstSight {
    /// As last reported.
    pub load: f64,
    pub capacity: Option<f64>,
    /// Resolvers that hold an answer with it.
    pub resolvers: f64,
    /// Demand expected of them, by those who were heard before; where nobody was, as many as there are.
    pub demand: f64,
}

/// Makes sense of feeds that were not heard before, by comparing them with one another: which count in the same
/// unit, which have load of their own. `known`: the usual capacity of regions whose unit is 1, where there are any.
/// Gives, by feed, the demand that its clients there are.
pub fn calibrate(feeds: &mut [(&mut Feed, FirstSight)], known: Option<f64>, now: Instant) -> Vec<Option<f64>> {
    let per_demand =
        |sight: &FirstSight| (sight.load > 0.0 && sight.resolvers >= 1.0).then(|| (sight.load / sight.demand).ln());
    let level = match known {
        Some(_) => Some(0.0),
        None => commonest(feeds.iter().filter_map(|(_, sight)| Some((per_demand(sight)?, sight.resolvers)))),
    };
    let like = |sight: &FirstSight| {
        let near = |of: f64| level.is_some_and(|level| (of - level).abs() <= SAME_UNIT);
        per_demand(sight).is_some_and(near)
    };
    let (agree, heard) =
        feeds.iter().filter(|(_, sight)| per_demand(sight).is_some()).fold((0.0, 0.0), |sums, (_, sight)| {
            (sums.0 + if like(sight) { sight.resolvers } else { 0.0 }, sums.1 + sight.resolvers)
        });
    let same = if known.is_some() || agree >= MOST_AGREE * heard { SAME_UNIT } else { 0.0 };
    let alike = || feeds.iter().filter(|(_, sight)| like(sight));
    let capacities: Vec<f64> = alike().filter_map(|(_, sight)| sight.capacity).map(f64::ln).collect();
    let usual = match known {
        Some(capacity) => Some(capacity.ln()),
        None if capacities.is_empty() => None,
        None => Some(capacities.iter().sum::<f64>() / capacities.len() as f64),
    };
    let (sum, demand) = alike().fold((0.0, 0.0), |(sum, of), (_, sight)| (sum + sight.load, of + sight.demand));
    let level = if known.is_none() && demand > 0.0 { Some((sum / demand).ln()) } else { level };
    let levels = feeds.iter_mut().map(|(feed, sight)| {
        feed.since = Some(now);
        feed.first_seen(sight, per_demand(sight).zip(level), level.is_some(), usual, same)
    });
    levels.collect()
}

/// The value that most of them lie around, each counting for its weight.
fn commonest(values: impl Iterator<Item = (f64, f64)>) -> Option<f64> {
    let values: Vec<(f64, f64)> = values.collect();
    let around = |of: f64| {
        values.iter().filter(|(value, _)| (value - of).abs() <= SAME_UNIT).map(|(_, weight)| weight).sum::<f64>()
    };
    values.iter().map(|(value, _)| *value).max_by(|a, b| around(*a).total_cmp(&around(*b)))
}

impl Feed {
    fn first_seen(
        &mut self,
        sight: &FirstSight,
        levels: Option<(f64, f64)>,
        any: bool,
        usual: Option<f64>,
        same: f64,
    ) -> Option<f64> {
        (self.unit, self.gain, self.doubt) = (1.0, 1.0, None);
        let Some((own, level)) = levels else {
            // Idle, or nobody was sent there: what it has came otherwise.
            (self.others, self.calibrated) = (sight.load, sight.load > 0.0 || sight.resolvers < 1.0 && any);
            return None;
        };
        let apart = own - level;
        let sizes = sight.capacity.zip(usual).map(|(capacity, usual)| capacity.ln() - usual);
        let mut believed = sight.load * sight.resolvers / (sight.resolvers + HALF_BELIEVED);
        if apart.abs() > same {
            let size = sizes.unwrap_or(0.0);
            if (apart - size).abs() < 0.6 * apart.abs() {
                self.unit = apart.exp();
            } else if apart > 0.0 {
                believed = believed.min(level.exp() * sight.demand);
            } else if apart < -MISTAKE {
                // Its capacity is of the usual size, its load is not: not both can be in one unit.
                self.doubt = self.last.map(|last| Doubted {
                    why: Implausible::Units,
                    since: last.at,
                    level: last.load.max(1e-300).ln(),
                    reports: 1,
                });
                self.calibrated = false;
                return None;
            }
        }
        (self.others, self.calibrated) = (sight.load - believed, true);
        Some(believed / self.unit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A feed beside clients, report by report.
    struct Fed {
        feed: Feed,
        now: Instant,
        demand: f64,
        every: Duration,
    }

    const S: Duration = Duration::from_secs(1);

    impl Fed {
        /// Long calibrated: a hundred resolvers with a demand of 500, and capacity for 1,000.
        fn new() -> Fed {
            let now = Instant::now();
            let mut fed = Fed { feed: Feed::default(), now, demand: 500.0, every: 10 * S };
            (0..3).for_each(|_| assert_eq!(fed.says(500.0), None));
            let sight = FirstSight { load: 500.0, capacity: Some(1000.0), resolvers: 1e6, demand: 500.0 };
            calibrate(&mut [(&mut fed.feed, sight)], None, fed.now);
            (0..40).for_each(|_| assert!(fed.says(500.0).is_some()));
            fed
        }

        fn says(&mut self, load: f64) -> Option<Credit> {
            self.says_of(load, 1000.0)
        }

        fn says_of(&mut self, load: f64, capacity: f64) -> Option<Credit> {
            self.now += self.every;
            let report =
                FeedReport { load, capacity: Some(capacity), demand: self.demand, resolvers: 100.0, now: self.now };
            let credit = self.feed.hear(&report);
            // Whoever is credited is as heavy as was told from then on.
            if let Some(credit) = credit {
                let factor = credit.ratio.powf(reach(credit.ratio, credit.elapsed_s));
                self.demand *= factor;
                self.feed.scale_past(factor);
            }
            credit
        }

        fn room(&self) -> f64 {
            self.feed.room(1000.0, self.demand, 1.0)
        }
    }

    #[test]
    fn a_steady_load_is_believed_for_ever() {
        let mut fed = Fed::new();
        (0..5000).for_each(|_| assert!(fed.says(500.0).is_some()));
        assert!((fed.demand - 500.0).abs() < 1.0 && fed.room() > 990.0, "{} {}", fed.demand, fed.room());
    }

    #[test]
    fn a_wild_report_changes_nothing_and_the_next_true_one_is_believed() {
        for factor in [0.0, 0.2, 0.6, 1.3, 2.0, 3.8, 10.0, 1e6] {
            for reports in [1, 6] {
                let mut fed = Fed::new();
                (0..reports).for_each(|_| assert_eq!(fed.says(500.0 * factor), None, "{factor}"));
                assert!((fed.demand - 500.0).abs() < 0.01 && fed.room() > 990.0, "{factor}");
                assert!(fed.says(505.0).is_some(), "{factor}");
            }
        }
    }

    #[test]
    fn a_load_that_grows_or_falls_smoothly_is_its_clients() {
        for step in [0.98f64, 1.02, 1.1] {
            let mut fed = Fed::new();
            let mut load = 500.0;
            for _ in 0..8 {
                load *= step;
                assert!(fed.says(load).is_some(), "{step}");
            }
            (0..30).for_each(|_| assert!(fed.says(load).is_some()));
            assert!((fed.demand / load - 1.0).abs() < 0.02, "{step}: {} of {load}", fed.demand);
        }
    }

    #[test]
    fn a_crowd_that_grows_fast_is_believed_at_its_second_step_and_a_jump_that_wavers_is_not() {
        let mut fed = Fed::new();
        assert_eq!(fed.says(600.0), None);
        assert!(fed.says(700.0).is_some() && fed.says(800.0).is_some());
        let mut fed = Fed::new();
        for load in [1000.0, 1035.0, 1000.0, 1050.0, 980.0, 1040.0] {
            assert_eq!(fed.says(load), None, "{load}");
        }
    }

    #[test]
    fn a_jump_that_lasts_sends_a_fifth_away_at_most_and_is_over_with_the_jump() {
        let mut fed = Fed::new();
        (0..60).for_each(|_| {
            fed.says(1600.0);
        });
        assert!(fed.feed.is_believed() && (fed.feed.gain() - 3.2).abs() < 0.1, "{}", fed.feed.gain());
        assert!((fed.demand - 500.0).abs() < 0.01, "its clients are not what grew: {}", fed.demand);
        let room = fed.room();
        assert!((399.0..450.0).contains(&room), "{room}");
        assert!(fed.says(500.0).is_some());
        assert!(fed.feed.gain() == 1.0 && fed.room() > 990.0);
    }

    #[test]
    fn a_jump_that_all_feeds_made_sends_nobody_away() {
        let mut fed = Fed::new();
        (0..60).for_each(|_| {
            fed.says(1600.0);
        });
        assert!(fed.feed.room(1000.0, fed.demand, 3.2) > 990.0);
    }

    #[test]
    fn a_load_that_falls_while_its_clients_stay_makes_no_room() {
        let mut fed = Fed::new();
        (0..600).for_each(|_| {
            fed.says(150.0);
        });
        let room = fed.room();
        assert!((fed.demand - 500.0).abs() < 10.0 && room < 1001.0, "{} {room}", fed.demand);
        let mut silent = Fed::new();
        (0..600).for_each(|_| assert_eq!(silent.says(0.0), None));
        assert_eq!(silent.feed.doubt(), Some(Implausible::Fell), "nothing is never believed of clients who are there");
    }

    #[test]
    fn late_reports_of_clients_who_were_sent_elsewhere_correct_nobody() {
        let mut fed = Fed::new();
        fed.demand = 300.0; // the others have just been sent elsewhere
        for _ in 0..5 {
            let credit = fed.says(500.0).expect("that was so a minute ago");
            assert!((credit.ratio - 1.0).abs() < 0.01, "{credit:?}");
        }
        assert!(fed.says(300.0).is_some());
        assert!((fed.demand - 300.0).abs() < 1.0);
    }

    #[test]
    fn corrections_go_by_time_and_not_by_reports() {
        for ratio in [0.95f64, 1.02, 1.2] {
            let (once, often) = (1.0 - reach(ratio, 10.0), (0..10).map(|_| 1.0 - reach(ratio, 1.0)).product::<f64>());
            assert!((once - often).abs() < 1e-9, "{ratio}: {once} {often}");
        }
        assert!(reach(1.02, 10.0) < 0.65 && reach(1.2, 10.0) > 0.9);
    }

    #[test]
    fn figures_that_leap_all_the_time_say_nothing_until_they_are_calm_again() {
        let mut fed = Fed::new();
        let mut chance = fastrand::Rng::with_seed(7);
        for _ in 0..500 {
            let mut any = || 10f64.powf(6.0 * chance.f64() - 3.0);
            let (load, capacity) = (500.0 * any(), 1000.0 * any());
            fed.says_of(load, capacity);
            assert!((250.0..1000.0).contains(&fed.demand), "{}", fed.demand);
        }
        assert_eq!(fed.feed.doubt(), Some(Implausible::Erratic));
        assert_eq!(fed.feed.capacity(), None, "what is configured holds");
        (0..60).for_each(|_| {
            fed.says(500.0);
        });
        assert!(fed.feed.is_believed() && fed.feed.capacity() == Some(1000.0));
    }

    #[test]
    fn half_of_a_capacity_is_lost_at_once_and_most_of_it_when_it_is_said_twice() {
        let mut fed = Fed::new();
        fed.says_of(500.0, 500.0);
        assert_eq!(fed.feed.capacity(), Some(500.0));
        let mut fed = Fed::new();
        fed.says_of(500.0, 200.0);
        assert_eq!((fed.feed.capacity(), fed.feed.doubt()), (Some(1000.0), Some(Implausible::Capacity)));
        fed.says_of(500.0, 200.0);
        assert_eq!((fed.feed.capacity(), fed.feed.doubt()), (Some(200.0), None));
        let mut fed = Fed::new();
        (0..20).for_each(|_| {
            fed.says_of(55.0, 10.0);
        });
        assert_eq!(fed.feed.capacity(), None, "what is configured holds");
    }

    fn made_out(sights: &[FirstSight]) -> (Vec<Feed>, Vec<Option<f64>>) {
        let mut feeds = vec![Feed::default(); sights.len()];
        let mut pairs: Vec<(&mut Feed, FirstSight)> = feeds.iter_mut().zip(sights.iter().copied()).collect();
        let levels = calibrate(&mut pairs, None, Instant::now());
        (feeds, levels)
    }

    fn sight(load: f64, capacity: f64, resolvers: f64) -> FirstSight {
        FirstSight { load, capacity: Some(capacity), resolvers, demand: resolvers }
    }

    #[test]
    fn a_region_in_another_unit_is_known_by_load_and_capacity_alike() {
        let usual = [sight(500.0, 1000.0, 500.0), sight(450.0, 900.0, 500.0), sight(600.0, 1000.0, 500.0)];
        for unit in [0.01, 0.05, 30.0, 100.0] {
            let (feeds, levels) = made_out(&[&usual[..], &[sight(500.0 * unit, 1000.0 * unit, 500.0)]].concat());
            assert!((feeds[3].unit() / unit).ln().abs() < 0.3, "{unit}: {}", feeds[3].unit());
            assert!((levels[3].expect("known") - 500.0).abs() < 60.0, "{unit}: {levels:?}");
            assert!(feeds[..3].iter().all(|feed| feed.unit() == 1.0));
        }
    }

    #[test]
    fn load_of_regions_that_hardly_anybody_was_sent_to_is_that_of_others() {
        let usual = [sight(500.0, 1000.0, 500.0), sight(450.0, 900.0, 500.0)];
        let (feeds, levels) = made_out(&[&usual[..], &[sight(500.0, 1000.0, 5.0), sight(400.0, 900.0, 0.0)]].concat());
        assert!(feeds[2].unit() == 1.0 && feeds[2].others() > 490.0, "{} {levels:?}", feeds[2].others());
        assert_eq!((feeds[3].others(), levels[3]), (400.0, None));
        let (few, _) = made_out(&[sight(7000.0, 20_000.0, 1.0)]);
        assert!(few[0].others() > 5000.0, "one resolver stands for few: {}", few[0].others());
    }

    #[test]
    fn a_load_in_per_cent_beside_a_capacity_in_connections_is_called_out() {
        let usual = [sight(500.0, 1000.0, 500.0), sight(450.0, 900.0, 500.0)];
        let mut feeds = vec![Feed::default(); 3];
        let now = Instant::now();
        for _ in 0..3 {
            feeds[2].hear(&FeedReport { load: 5.0, capacity: Some(1000.0), demand: 0.0, resolvers: 0.0, now });
        }
        let sights = [&usual[..], &[sight(5.0, 1000.0, 500.0)]].concat();
        let mut pairs: Vec<(&mut Feed, FirstSight)> = feeds.iter_mut().zip(sights).collect();
        calibrate(&mut pairs, None, now);
        assert_eq!(feeds[2].doubt(), Some(Implausible::Units));
        assert!(!feeds[2].is_calibrated());
    }
}
