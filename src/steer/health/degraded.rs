//! What makes a region worse without taking it down: its balancer's word on the servers behind it, and slow probes.
//! Reports and times of probes come in, the part of its capacity that the region offers goes out.
//!
//! ```text
//!   servers up, errors, "down" ─▶ badness ─▶ steps of a tenth: down at once, up slowly ─┐
//!   times of successful probes ─▶ slow or not, endpoint by endpoint ────────────────────┴─▶ the part it offers, and why
//! ```
//!
//! Errors fall where clients leave, whether or not anything was mended: a region that took them back at once would go
//! up and down for ever. So it takes them back step by step, and ever more slowly where it fell again.

use std::fmt;
use std::time::{Duration, Instant};

use crate::model::{ErrorRates, HealthRule, SaidDown, SlowProbes};

/// The least that a region offers for all of this together: what is not down gets some clients, and shows how it bears them.
pub const LEAST: f64 = 0.1;
/// So much is offered more or less at a time: every step takes a new plan.
const STEPS: f64 = 10.0;
/// The part of a step by which what is offered must be wrong before it moves.
const HYSTERESIS: f64 = 0.75;
/// From one step up to the next, at least: answers of before must have run out, and show in what is reported.
const RISE_EVERY: Duration = Duration::from_secs(30);
/// The longest time between steps up, of a region that fell again and again.
const MOST_RISE_EVERY: Duration = Duration::from_secs(600);
/// Falls further apart than this, and than the whole way up takes, have nothing to do with one another.
const RELAPSE: Duration = Duration::from_secs(1_800);
/// So many reports in a row make a balancer's word that it is down, or is no more, a verdict.
const DOWN_REPORTS: u32 = 2;
/// A slow endpoint is quick again below this part of the bound.
const QUICK_BELOW: f64 = 0.8;

/// The word of a balancer on what is behind it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct BalancerHealth {
    /// The part of its servers that are up, 0 to 1. `None`: it does not say.
    pub up: Option<f64>,
    /// The number of its servers, where it counts them.
    pub servers: Option<u32>,
    /// The part of answers lately that were errors of the servers, 0 to 1. `None`: it does not say, or not yet.
    pub errors: Option<f64>,
    /// It says that all behind it is down.
    pub down: bool,
}

/// As people read it: `3 of 4 servers up, 12 % errors`.
impl fmt::Display for BalancerHealth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = |part: f64| format!("{:.0} %", part * 100.0);
        let servers = self.up.map(|up| match self.servers {
            Some(servers) => format!("{:.0} of {servers} servers up", up * f64::from(servers)),
            None => format!("{} of servers up", percent(up)),
        });
        let down = self.down.then(|| "says it is down".to_owned());
        let errors = self.errors.map(|errors| format!("{} errors", percent(errors)));
        f.write_str(&[down, servers, errors].into_iter().flatten().collect::<Vec<_>>().join(", "))
    }
}

/// How bad that is by the rule: 0 (all is well) to 1.
pub fn badness(rule: &HealthRule, health: &BalancerHealth) -> f64 {
    let servers = health.up.filter(|_| rule.servers).map_or(0.0, |up| 1.0 - up);
    let error = |ErrorRates { low, high }| Some((health.errors? - low) / (high - low));
    let errors = rule.errors.and_then(error).unwrap_or(0.0);
    let down = if health.down && rule.down != SaidDown::Ignore { 1.0 } else { 0.0 };
    servers.max(errors).max(down).clamp(0.0, 1.0)
}

/// The memory of what a region's balancer says, and the part of its capacity that the region offers for it.
#[derive(Clone, Debug)]
pub struct HeardHealth {
    last: Option<(BalancerHealth, Instant)>,
    /// In steps of a tenth, [`LEAST`] to 1.
    offered: f64,
    /// The time of the last step in either direction.
    stepped_at: Option<Instant>,
    fell_at: Option<Instant>,
    rise_every: Duration,
    /// Down by two reports in a row, and not yet up by as many.
    is_down: bool,
    /// So many in a row have said the contrary of that.
    contrary: u32,
}

impl Default for HeardHealth {
    fn default() -> HeardHealth {
        HeardHealth {
            last: None,
            offered: 1.0,
            stepped_at: None,
            fell_at: None,
            rise_every: RISE_EVERY,
            is_down: false,
            contrary: 0,
        }
    }
}

impl HeardHealth {
    /// Takes a report of that time. One that is not newer than the last says nothing.
    pub fn take(&mut self, rule: &HealthRule, health: BalancerHealth, at: Instant) {
        if self.last.is_some_and(|(_, before)| at <= before) {
            return;
        }
        self.last = Some((health, at));
        self.contrary = if health.down == self.is_down { 0 } else { self.contrary + 1 };
        if self.contrary >= DOWN_REPORTS {
            (self.is_down, self.contrary) = (!self.is_down, 0);
        }
        self.step((1.0 - rule.weight * badness(rule, &health)).max(LEAST), at);
    }

    /// Down to the target at once, up by a step where the last one was long enough ago.
    fn step(&mut self, target: f64, at: Instant) {
        if (target - self.offered).abs() * STEPS <= HYSTERESIS {
            return;
        }
        let passed = |since: Option<Instant>| since.map(|since| at.saturating_duration_since(since));
        if target < self.offered {
            let lately = RELAPSE + self.rise_every * STEPS as u32;
            let again = passed(self.fell_at).is_some_and(|passed| passed < lately);
            // A fall right after a fall is still the same one.
            let rose = self.fell_at != self.stepped_at;
            self.rise_every = match (again, rose) {
                (false, _) => RISE_EVERY,
                (true, true) => (self.rise_every * 2).min(MOST_RISE_EVERY),
                (true, false) => self.rise_every,
            };
            self.offered = (target * STEPS).round() / STEPS;
            (self.stepped_at, self.fell_at) = (Some(at), Some(at));
        } else if passed(self.stepped_at).is_none_or(|passed| passed >= self.rise_every) {
            self.offered = ((self.offered * STEPS).round() + 1.0).min(STEPS) / STEPS;
            self.stepped_at = Some(at);
        }
    }

    /// What was last said, unless that is older than `stale_after`.
    pub fn fresh(&self, stale_after: Duration, now: Instant) -> Option<BalancerHealth> {
        let (health, at) = self.last?;
        (now.saturating_duration_since(at) < stale_after).then_some(health)
    }

    /// The time when it is too old to have a say; `None` before the first report.
    pub fn stale_at(&self, stale_after: Duration) -> Option<Instant> {
        self.last?.1.checked_add(stale_after)
    }

    /// The part of its capacity that the region offers, while what was said is fresh.
    pub fn offered(&self) -> f64 {
        self.offered
    }

    /// True where all is well again, and less is offered still.
    pub fn is_recovering(&self, rule: &HealthRule) -> bool {
        self.offered < 1.0 && self.last.is_some_and(|(health, _)| badness(rule, &health) == 0.0)
    }

    /// True where the region is down by it, while what was said is fresh.
    pub fn withdraws(&self, rule: &HealthRule) -> bool {
        rule.down == SaidDown::Withdraw && self.is_down
    }
}

/// The pace of an endpoint's successful probes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Pace {
    pub is_slow: bool,
    /// The time that the last one took, in milliseconds.
    pub last_ms: f64,
    /// So many in a row have said the contrary of [`Pace::is_slow`].
    contrary: u32,
}

impl Pace {
    /// The pace after another successful probe, which took that long: slow after `fall` in a row above the bound, quick
    /// again after `rise` in a row well below it.
    pub fn after(self, last_ms: f64, slow: &SlowProbes, fall: u32, rise: u32) -> Pace {
        let above_ms = slow.above.as_secs_f64() * 1e3;
        let (is_contrary, enough) = match self.is_slow {
            true => (last_ms < QUICK_BELOW * above_ms, rise),
            false => (last_ms > above_ms, fall),
        };
        let contrary = if is_contrary { self.contrary.saturating_add(1) } else { 0 };
        match contrary >= enough {
            true => Pace { is_slow: !self.is_slow, last_ms, contrary: 0 },
            false => Pace { last_ms, contrary, ..self },
        }
    }
}

/// The part that a region offers whose serving endpoints have these paces: each slow one counts as `offer`.
pub fn by_pace(paces: &[Pace], slow: &SlowProbes) -> f64 {
    let of = |pace: &Pace| if pace.is_slow { slow.offer } else { 1.0 };
    match paces.len() {
        0 => 1.0,
        serving => paces.iter().map(of).sum::<f64>() / serving as f64,
    }
}

/// The part of its capacity that a region offers for its condition, and why.
#[derive(Clone, Debug, PartialEq)]
pub struct Degraded {
    /// [`LEAST`] to 1; 1: it is not degraded.
    pub factor: f64,
    /// For people, the gravest first. May be there with a factor of 1, where health is asked for and not heard.
    pub why: Vec<DegradedBy>,
    /// Its balancer says that it is down, and is believed.
    pub withdrawn: bool,
}

impl Default for Degraded {
    fn default() -> Degraded {
        Degraded { factor: 1.0, why: Vec::new(), withdrawn: false }
    }
}

/// A reason why a region is degraded.
#[derive(Clone, Debug, PartialEq)]
pub enum DegradedBy {
    /// Its balancer's word; `recovering`: all is well again, and clients come back step by step.
    Balancer { health: BalancerHealth, recovering: bool },
    /// So many of its serving endpoints answer slowly; the times are of the slowest one.
    Slow { endpoints: usize, serving: usize, last_ms: f64, above_ms: f64 },
    /// Its balancer's health is asked for, and cannot be read.
    Unread(String),
}

impl fmt::Display for DegradedBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DegradedBy::Balancer { health, recovering: false } => write!(f, "{health}"),
            DegradedBy::Balancer { health, recovering: true } => write!(f, "recovering: {health}"),
            DegradedBy::Slow { endpoints, serving, last_ms, above_ms } => {
                if serving > &1 {
                    write!(f, "{endpoints} of {serving} ")?;
                }
                write!(f, "slow: {last_ms:.0} ms above {above_ms:.0} ms")
            }
            DegradedBy::Unread(why) => write!(f, "health not read: {why}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;

    const S: Duration = Duration::from_secs(1);

    fn errors(errors: f64) -> BalancerHealth {
        BalancerHealth { errors: Some(errors), ..BalancerHealth::default() }
    }

    fn servers(up: f64, of: u32) -> BalancerHealth {
        BalancerHealth { up: Some(up / f64::from(of)), servers: Some(of), ..BalancerHealth::default() }
    }

    fn down() -> BalancerHealth {
        BalancerHealth { down: true, ..BalancerHealth::default() }
    }

    /// What is offered after each of these reports, every 10 s, in tenths.
    fn offered(rule: &HealthRule, reports: &[BalancerHealth]) -> Vec<u32> {
        let (mut heard, began) = (HeardHealth::default(), Instant::now());
        let after = |(index, &health): (usize, &BalancerHealth)| {
            heard.take(rule, health, began + 10 * S * index as u32);
            (heard.offered() * 10.0).round() as u32
        };
        reports.iter().enumerate().map(after).collect()
    }

    #[test]
    fn the_worst_of_servers_errors_and_down_is_the_badness() {
        let rule = HealthRule::default();
        let close = |health: BalancerHealth, expected: f64| {
            let is = badness(&rule, &health);
            assert!((is - expected).abs() < 1e-9, "{health:?}: {is}");
        };
        close(BalancerHealth::default(), 0.0);
        close(servers(3.0, 4), 0.25);
        close(errors(0.02), 0.0);
        close(errors(0.11), 0.5);
        close(errors(0.9), 1.0);
        close(BalancerHealth { errors: Some(0.11), ..servers(1.0, 4) }, 0.75);
        close(down(), 1.0);
        let deaf = HealthRule { servers: false, errors: None, down: SaidDown::Ignore, ..rule };
        assert_eq!(badness(&deaf, &BalancerHealth { errors: Some(1.0), down: true, ..servers(0.0, 4) }), 0.0);
    }

    #[test]
    fn it_falls_at_once_and_rises_by_a_tenth_every_half_minute() {
        let rule = HealthRule::default();
        let mut reports = vec![servers(4.0, 4), servers(2.0, 4)];
        reports.extend([servers(4.0, 4); 12]);
        assert_eq!(offered(&rule, &reports), [10, 8, 8, 8, 9, 9, 9, 10, 10, 10, 10, 10, 10, 10]);
        assert_eq!(offered(&HealthRule { weight: 1.0, ..rule }, &[servers(0.0, 4), errors(1.0)]), [1, 1], "never none");
    }

    #[test]
    fn what_hovers_about_a_step_makes_no_steps() {
        let rule = HealthRule { weight: 1.0, ..HealthRule::default() };
        let hovering: Vec<_> = (0..60).map(|n| errors(0.02 + 0.18 * (0.25 + 0.02 * f64::from(n % 3)))).collect();
        let seen = offered(&rule, &hovering);
        assert!(seen[3..].iter().all(|tenths| *tenths == seen[3]), "{seen:?}");
    }

    #[test]
    fn down_is_a_verdict_after_two_reports_and_so_is_its_end() {
        let rule = HealthRule { down: SaidDown::Withdraw, ..HealthRule::default() };
        let (mut heard, began) = (HeardHealth::default(), Instant::now());
        let mut says = |rule: &HealthRule, second: u32, health| {
            heard.take(rule, health, began + S * second);
            heard.withdraws(rule)
        };
        assert!(!says(&rule, 0, down()));
        assert!(!says(&rule, 0, down()), "the same report again");
        assert!(!says(&rule, 10, servers(1.0, 2)) && !says(&rule, 20, down()), "not in a row");
        assert!(says(&rule, 30, down()));
        assert!(says(&rule, 40, servers(2.0, 2)) && says(&rule, 50, down()) && says(&rule, 60, servers(2.0, 2)));
        assert!(!says(&rule, 70, servers(2.0, 2)));
        let kind = HealthRule::default();
        assert!(!says(&kind, 80, down()) && !says(&kind, 90, down()), "only where the rule says so");
    }

    #[test]
    fn a_word_that_is_too_old_is_none() {
        let (mut heard, now) = (HeardHealth::default(), Instant::now());
        assert_eq!((heard.fresh(30 * S, now), heard.stale_at(30 * S)), (None, None));
        heard.take(&HealthRule::default(), servers(1.0, 4), now);
        assert!(heard.fresh(30 * S, now + 29 * S).is_some() && heard.fresh(30 * S, now + 30 * S).is_none());
        assert_eq!(heard.stale_at(30 * S), Some(now + 30 * S));
    }

    /// A region that says it can take 100 and really can take less, among others that take the rest. Clients follow
    /// within a minute or two. What is over the true capacity is answered with errors.
    struct Loop {
        heard: HeardHealth,
        rule: HealthRule,
        began: Instant,
        /// What was offered, report by report, the latest last: clients come by that of three reports ago.
        offers: VecDeque<f64>,
        load: f64,
        report: u32,
    }

    impl Loop {
        fn begin(rule: HealthRule) -> Loop {
            let (heard, began) = (HeardHealth::default(), Instant::now());
            Loop { heard, rule, began, offers: VecDeque::from([1.0; 4]), load: 100.0, report: 0 }
        }

        /// What is offered after each of so many reports, one every 10 s.
        fn run(&mut self, reports: u32, can_take: impl Fn(u32) -> f64) -> Vec<f64> {
            let report = |_| {
                self.report += 1;
                let sent = 100.0 * self.offers.pop_front().unwrap_or(1.0);
                self.load += (sent - self.load) * 0.3;
                let health = errors(((self.load - can_take(self.report)) / self.load).clamp(0.0, 1.0));
                self.heard.take(&self.rule, health, self.began + 10 * S * self.report);
                self.offers.push_back(self.heard.offered());
                self.heard.offered()
            };
            (0..reports).map(report).collect()
        }
    }

    fn moves(offered: &[f64]) -> usize {
        offered.windows(2).filter(|pair| pair[0] != pair[1]).count()
    }

    #[test]
    fn closed_loop_a_region_that_can_take_less_settles_below_that_and_hardly_moves() {
        for can_take in [90.0, 80.0, 65.0, 55.0] {
            for weight in [0.5, 1.0] {
                let mut closed = Loop::begin(HealthRule { weight, ..HealthRule::default() });
                closed.run(360, |_| can_take);
                let second_hour = closed.run(360, |_| can_take);
                let (least, most) = second_hour
                    .iter()
                    .fold((1.0, 0.0), |(least, most): (f64, f64), offered| (least.min(*offered), most.max(*offered)));
                let moves = moves(&second_hour);
                assert!(moves <= 12, "{can_take} {weight}: {moves} moves in an hour, {least} to {most}");
                assert!(most <= can_take / 100.0 + 0.2, "{can_take} {weight}: {least} to {most}");
                let mean = second_hour.iter().sum::<f64>() / second_hour.len() as f64;
                assert!(mean > can_take / 100.0 - 0.2, "{can_take} {weight}: {mean}");
            }
        }
    }

    #[test]
    fn closed_loop_a_fault_that_ends_is_followed_by_a_calm_recovery() {
        let mut closed = Loop::begin(HealthRule::default());
        let fault = closed.run(30, |_| 20.0);
        assert_eq!(fault.last(), Some(&0.5));
        let after = closed.run(60, |_| 100.0);
        assert!(after.is_sorted(), "{after:?}");
        assert_eq!(
            (moves(&after), after.last()),
            (4, Some(&1.0)),
            "the first of five steps comes with the first report"
        );
    }

    #[test]
    fn closed_loop_errors_that_come_and_go_by_chance_are_taken_calmly() {
        let mut closed = Loop::begin(HealthRule::default());
        let rng = |report: u32| f64::from(report.wrapping_mul(2_654_435_761) >> 16) / 65_536.0;
        let offered = closed.run(720, |report| 100.0 - 12.0 * rng(report));
        assert!(moves(&offered[360..]) <= 24, "{}", moves(&offered[360..]));
    }

    #[test]
    fn an_endpoint_is_slow_after_fall_in_a_row_and_quick_after_rise_well_below() {
        let slow = SlowProbes { above: 300 * Duration::from_millis(1), offer: 0.5 };
        let mut pace = Pace::default();
        let mut is_slow = |ms: f64| {
            pace = pace.after(ms, &slow, 3, 2);
            pace.is_slow
        };
        let seen = [301.0, 400.0, 300.0, 301.0, 301.0, 301.0].map(&mut is_slow);
        assert_eq!(seen, [false, false, false, false, false, true], "300 is not above 300");
        let seen = [239.0, 250.0, 239.0, 239.0, 10.0].map(&mut is_slow);
        assert_eq!(seen, [true, true, true, false, false], "250 is not below 0.8 × 300");
    }

    #[test]
    fn a_region_offers_the_mean_of_its_endpoints() {
        let bound = SlowProbes { above: S, offer: 0.4 };
        let (slow, quick) = (Pace { is_slow: true, ..Pace::default() }, Pace::default());
        for (paces, expected) in [(vec![], 1.0), (vec![quick], 1.0), (vec![slow], 0.4), (vec![slow, quick], 0.7)] {
            assert!((by_pace(&paces, &bound) - expected).abs() < 1e-9, "{paces:?}");
        }
    }

    #[test]
    fn reasons_are_short() {
        let balancer = |health, recovering| DegradedBy::Balancer { health, recovering }.to_string();
        assert_eq!(
            balancer(BalancerHealth { errors: Some(0.12), ..servers(3.0, 4) }, false),
            "3 of 4 servers up, 12 % errors"
        );
        assert_eq!(balancer(BalancerHealth { up: Some(0.5), ..down() }, false), "says it is down, 50 % of servers up");
        assert_eq!(balancer(servers(4.0, 4), true), "recovering: 4 of 4 servers up");
        let slow = |serving| DegradedBy::Slow { endpoints: 1, serving, last_ms: 412.3, above_ms: 300.0 }.to_string();
        assert_eq!([slow(1), slow(3)], ["slow: 412 ms above 300 ms", "1 of 3 slow: 412 ms above 300 ms"]);
        assert_eq!(DegradedBy::Unread("no backend `x`".into()).to_string(), "health not read: no backend `x`");
    }
}
