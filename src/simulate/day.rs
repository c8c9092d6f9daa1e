//! The closed loop: a world with its incidents, its clients, and something that steers them.
//!
//! ```text
//!   Globe, incidents ─▶ demand, capacity, who lives ─▶ probes, load reports ─▶ Steering
//!                                    ▲                                            │ answers
//!                                    └────────── clients go where they are told ◀─┘
//! ```
//!
//! In: those. Out: one [`Minute`] after the other, and each [`Loss`] of a region. Second by second,
//! with reports every 10 s; what failed and what it cost is counted with full knowledge.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use crate::steer::latency::score::LAMBDA_MS_PER_DOLLAR;

use super::clients::{Clients, NOWHERE, Query};
use super::globe::Globe;
use super::incident::{Feed, Incident, What};
use super::optimum::{FAILED_MS, Optimum};
use super::{SimulatedAnswer, Simulation};

/// Something that answers queries.
pub trait Steering {
    /// Plays one second; the answers to its queries are added, in order.
    fn second(&mut self, second: &Second<'_>, answers: &mut Vec<SimulatedAnswer>) -> io::Result<()>;
}

/// The facts that steering learns of in one second.
#[derive(Clone, Copy, Debug)]
pub struct Second<'a> {
    pub t: u64,
    /// By region: what a probe finds.
    pub alive: &'a [bool],
    pub reports: &'a [SimulatedReport],
    pub queries: &'a [Query],
}

/// A load report.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SimulatedReport {
    pub region: usize,
    /// NaN: the scrape failed.
    pub load: f64,
    pub capacity: f64,
}

/// The length of a run, and the part that is counted.
#[derive(Clone, Debug)]
pub struct Course {
    /// Not counted: in which caches fill and steering finds its feet.
    pub warm_up_s: u64,
    /// Counted.
    pub length_s: u64,
    /// The time when it begins, in hours of the day (UTC).
    pub begins_h: f64,
    pub incidents: Vec<Incident>,
    /// True where a region that is overloaded reports no more than its capacity, as a balancer does
    /// that counts what it has taken.
    pub capped_reports: bool,
    /// From report to report of each region, in seconds; 1 or more.
    pub report_interval_s: u64,
    /// By region: what load and capacity are multiplied by before they are told; empty: nothing.
    pub units: Vec<f64>,
    /// By city: whether its clients are counted; empty: all are. Overload always is that of all.
    pub counted: Vec<bool>,
    /// From then on [`Minute::away`] is counted against where clients are now, in seconds.
    pub mark_s: Option<u64>,
    /// True where the optimum is worked out too.
    pub optimum: bool,
}

impl Default for Course {
    fn default() -> Course {
        Course {
            warm_up_s: 900,
            length_s: 86_400,
            begins_h: 0.0,
            incidents: Vec::new(),
            capped_reports: false,
            report_interval_s: 10,
            units: Vec::new(),
            counted: Vec::new(),
            mark_s: None,
            optimum: true,
        }
    }
}

/// One minute, by all demand in it.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Minute {
    /// The time when it began, in seconds since the simulation did.
    pub at_s: u64,
    /// Mean.
    pub demand: f64,
    /// Mean of clients' round-trip time.
    pub rtt_ms: f64,
    /// Mean, per million requests.
    pub dollars: f64,
    /// Part of the demand that failed: sent to a dead region, or beyond a region's capacity.
    pub failed: f64,
    /// Demand beyond capacity, in seconds of the whole world's.
    pub overload_s: f64,
    /// RTT + 5·dollars + 1000·failed.
    pub cost_ms: f64,
    /// The least that could be.
    pub best_ms: f64,
    /// Part of the demand that is in another region than a minute before.
    pub moved: f64,
    /// Part of the demand that is in another region than at [`Course::mark_s`]; 0 before.
    pub away: f64,
    /// Nothing has gone wrong for half an hour.
    pub steady: bool,
    /// By region: load over the capacity it has at the end; infinite where that is none.
    pub utilisation: Vec<f64>,
    pub queries: u64,
}

/// A region that died.
#[derive(Clone, Debug)]
pub struct Loss {
    pub region: usize,
    pub at_s: u64,
    /// The time when it comes back.
    pub until_s: u64,
    /// The last answer that named it while it was dead, in seconds after its death; `None`: none did.
    pub last_answer_s: Option<u64>,
    /// Demand that was there.
    pub lost: f64,
    /// Demand that changed its region within two minutes.
    pub moved: f64,
    /// Its clients' second choices had room for them.
    pub ample: bool,
}

/// All that was counted.
#[derive(Clone, Debug, Default)]
pub struct Record {
    pub minutes: Vec<Minute>,
    pub losses: Vec<Loss>,
}

/// After an incident, before hours count as steady again.
pub const SETTLING_S: u64 = 1800;
/// The time after a loss in which its movers are counted.
const AFTER_LOSS_S: u64 = 120;
/// Room a region must have left for a loss to count as one that capacity is ample for.
const AMPLE: f64 = 0.9;

/// Plays it all.
pub fn play(globe: &Globe, course: &Course, steering: &mut dyn Steering) -> io::Result<Record> {
    let mut day = Day::new(globe, course);
    let mut answers = Vec::new();
    for t in 0..course.warm_up_s + course.length_s {
        day.set_out(t);
        answers.clear();
        let second = Second { t, alive: &day.alive, reports: &day.reports, queries: day.clients.ask(t) };
        let asked = second.queries.len();
        steering.second(&second, &mut answers)?;
        if answers.len() != asked || answers.iter().any(|answer| answer.region >= day.alive.len()) {
            return Err(io::Error::other(format!("second {t}: {} answers to {asked} queries", answers.len())));
        }
        day.note_answers(t, &answers);
        day.clients.take(t, &answers, &day.demand);
        day.count(t, asked as u64);
    }
    Ok(day.record)
}

/// The loop's state.
struct Day<'a> {
    globe: &'a Globe,
    course: &'a Course,
    clients: Clients<'a>,
    optimum: Optimum,
    /// By city.
    demand: Vec<f64>,
    /// By region: as it is, dead or alive.
    capacity: Vec<f64>,
    alive: Vec<bool>,
    loads: Vec<f64>,
    reports: Vec<SimulatedReport>,
    feeds: Vec<Gauge>,
    minute: Sums,
    marked: Vec<u8>,
    /// The regions that clients were in at [`Course::mark_s`]; empty before.
    reference: Vec<u8>,
    /// Losses whose movers are still to be counted: which, and where clients were.
    pending: Vec<(usize, Vec<u8>)>,
    record: Record,
}

/// A region's load as its balancer measures it.
#[derive(Default)]
struct Gauge {
    /// Since the last report.
    sum: f64,
    /// The latest reports, as they should have come, with their times.
    past: VecDeque<(u64, SimulatedReport)>,
}

/// The sums that a minute is made of.
#[derive(Default)]
struct Sums {
    demand: f64,
    rtt: f64,
    dollars: f64,
    failed: f64,
    overload_s: f64,
    queries: u64,
    by_city: Vec<f64>,
    capacity: Vec<f64>,
}

impl<'a> Day<'a> {
    fn new(globe: &'a Globe, course: &'a Course) -> Day<'a> {
        let (cities, regions) = (globe.city_peaks.len(), globe.world.regions.len());
        let clients = Clients::new(globe);
        Day {
            globe,
            course,
            optimum: Optimum::new(regions, costs(globe)),
            demand: vec![0.0; cities],
            capacity: vec![0.0; regions],
            alive: vec![true; regions],
            loads: vec![0.0; regions],
            reports: Vec::new(),
            feeds: (0..regions).map(|_| Gauge::default()).collect(),
            minute: Sums::new(cities, regions),
            marked: vec![NOWHERE; globe.caches.len()],
            reference: Vec::new(),
            clients,
            pending: Vec::new(),
            record: Record::default(),
        }
    }

    /// The world as it is in this second, and what is reported of it.
    fn set_out(&mut self, t: u64) {
        let of_day = self.course.begins_h * 3600.0 + t as f64;
        let incidents = &self.course.incidents;
        for (city, demand) in self.demand.iter_mut().enumerate() {
            // Waves are slow: a tenth of the cities in turn is enough per second.
            if t == 0 || (t as usize + city).is_multiple_of(10) || incidents.iter().any(|i| crowd(i, t)) {
                let crowds: f64 = incidents.iter().map(|incident| incident.demand(city, t)).product();
                *demand = self.globe.demand(city, of_day) * crowds;
            }
        }
        for region in 0..self.alive.len() {
            let alive = incidents.iter().all(|incident| incident.alive(region, t));
            let part: f64 = incidents.iter().map(|incident| incident.capacity(region, t)).product();
            self.alive[region] = alive;
            self.capacity[region] = if alive { self.globe.world.regions[region].capacity * part } else { 0.0 };
        }
        self.report(t);
        self.note_losses(t);
    }

    fn report(&mut self, t: u64) {
        self.reports.clear();
        for (region, gauge) in self.feeds.iter_mut().enumerate() {
            // Not all in the same second.
            let interval_s = self.course.report_interval_s.max(1);
            if !(t + region as u64 * 3).is_multiple_of(interval_s) || t < interval_s {
                continue;
            }
            let mean = std::mem::take(&mut gauge.sum) / interval_s as f64;
            let (load, capacity) = match self.alive[region] {
                true if self.course.capped_reports => (mean.min(self.capacity[region]), self.capacity[region]),
                true => (mean, self.capacity[region]),
                false => (f64::NAN, f64::NAN),
            };
            gauge.past.push_back((t, SimulatedReport { region, load, capacity }));
            let trouble = |incident: &Incident| Some((incident.feed(region, t)?, incident.from_s));
            let feed = self.course.incidents.iter().find_map(trouble);
            let unit = self.course.units.get(region).copied().unwrap_or(1.0);
            let SimulatedReport { load, capacity, .. } = gauge.told(region, t, feed);
            self.reports.push(SimulatedReport { region, load: load * unit, capacity: capacity * unit });
        }
    }

    fn note_losses(&mut self, t: u64) {
        for incident in &self.course.incidents {
            if let What::Dead { region, .. } = incident.what
                && incident.from_s == t
            {
                let ample = self.is_ample_without(region);
                let until_s = incident.until_s;
                let loss =
                    Loss { region, at_s: t, until_s, last_answer_s: None, lost: self.loads[region], moved: 0.0, ample };
                self.pending.push((self.record.losses.len(), self.clients.told().to_vec()));
                self.record.losses.push(loss);
            }
        }
    }

    /// Tells whether each of the region's clients could go where it costs least after it, and there would
    /// still be some room there.
    fn is_ample_without(&self, lost: usize) -> bool {
        let regions = self.alive.len();
        let mut added = vec![0.0; regions];
        for (city, shares) in self.clients.shares().chunks_exact(regions).enumerate() {
            let cost = |region: &usize| self.optimum.cost(city, *region);
            let others = (0..regions).filter(|&region| region != lost && self.alive[region]);
            if let Some(next) = others.min_by(|a, b| cost(a).total_cmp(&cost(b))) {
                added[next] += shares[lost] * self.demand[city];
            }
        }
        let has_room = |region: usize| self.loads[region] + added[region] <= AMPLE * self.capacity[region];
        (0..regions).all(|region| added[region] < 1e-6 * self.loads[region] || has_room(region))
    }

    fn note_answers(&mut self, t: u64, answers: &[SimulatedAnswer]) {
        for loss in self.record.losses.iter_mut().filter(|loss| t < loss.until_s) {
            if answers.iter().any(|answer| answer.region == loss.region) {
                loss.last_answer_s = Some(t - loss.at_s);
            }
        }
    }

    /// Counts how this second's demand fared.
    fn count(&mut self, t: u64, queries: u64) {
        let regions = self.alive.len();
        self.loads.fill(0.0);
        let (mut rtt, mut own) = (0.0, vec![0.0; regions]);
        for (city, shares) in self.clients.shares().chunks_exact(regions).enumerate() {
            let rtts = &self.globe.rtt_ms[city * regions..][..regions];
            let counted = self.course.counted.get(city).copied().unwrap_or(true);
            for region in 0..regions {
                let demand = shares[region] * self.demand[city];
                self.loads[region] += demand;
                if counted {
                    own[region] += demand;
                    rtt += demand * rtts[region];
                }
            }
        }
        for (gauge, load) in self.feeds.iter_mut().zip(&self.loads) {
            gauge.sum += load;
        }
        let world: f64 = own.iter().sum();
        let part = |region: usize| own[region] / self.loads[region].max(f64::MIN_POSITIVE);
        let excess = |region: &usize| (self.loads[*region] - self.capacity[*region]).max(0.0) * part(*region);
        let beyond = |alive: bool| (0..regions).filter(|&r| self.alive[r] == alive).map(|r| excess(&r)).sum::<f64>();
        let (overload, dead) = (beyond(true), beyond(false));
        let dollars: f64 = own.iter().zip(&self.globe.world.regions).map(|(load, r)| load * r.cost).sum();
        let left: Vec<f64> = (0..regions).map(|r| (self.capacity[r] - self.loads[r] + own[r]).max(0.0)).collect();
        self.minute.add(&self.demand, &left);
        self.minute.demand += world;
        self.minute.rtt += rtt;
        self.minute.dollars += dollars;
        self.minute.failed += overload + dead;
        self.minute.overload_s += overload / world.max(f64::MIN_POSITIVE);
        self.minute.queries += queries;
        self.note_movers(t);
        if self.course.mark_s == Some(t) {
            self.reference = self.clients.told().to_vec();
        }
        if (t + 1).is_multiple_of(60) {
            self.end_minute(t + 1 - 60);
        }
    }

    fn note_movers(&mut self, t: u64) {
        let (losses, clients, demand) = (&mut self.record.losses, &self.clients, &self.demand);
        self.pending.retain(|(loss, before)| {
            let Some(loss) = losses.get_mut(*loss) else { return false };
            let counting = t < loss.at_s + AFTER_LOSS_S;
            if !counting {
                loss.moved = clients.moved(before, demand);
            }
            counting
        });
    }

    fn end_minute(&mut self, at_s: u64) {
        let sums = std::mem::replace(&mut self.minute, Sums::new(self.demand.len(), self.alive.len()));
        let moved = self.clients.moved(&self.marked, &self.demand);
        let away = if self.reference.is_empty() { 0.0 } else { self.clients.moved(&self.reference, &self.demand) };
        let everybody: f64 = self.demand.iter().sum();
        self.marked.copy_from_slice(self.clients.told());
        if at_s < self.course.warm_up_s {
            return;
        }
        let total = sums.demand.max(f64::MIN_POSITIVE);
        let (rtt_ms, dollars, failed) = (sums.rtt / total, sums.dollars / total, sums.failed / total);
        let utilisation = self.loads.iter().zip(&self.capacity).map(|(load, capacity)| load / capacity).collect();
        let mean = |sum: &f64| sum / 60.0;
        let best_ms = if self.course.optimum {
            let counted = |city: usize| self.course.counted.get(city).copied().unwrap_or(true);
            let of_city = |(city, sum): (usize, &f64)| if counted(city) { mean(sum) } else { 0.0 };
            let demand: Vec<f64> = sums.by_city.iter().enumerate().map(of_city).collect();
            let capacity: Vec<f64> = sums.capacity.iter().map(mean).collect();
            let best = self.optimum.solve(&demand, &capacity);
            best.cost / demand.iter().sum::<f64>().max(f64::MIN_POSITIVE)
        } else {
            0.0
        };
        let settling = |i: &Incident| (i.from_s..i.over_s() + SETTLING_S).contains(&at_s) || i.from_s == at_s + 30;
        self.record.minutes.push(Minute {
            at_s,
            demand: total / 60.0,
            rtt_ms,
            dollars,
            failed,
            overload_s: sums.overload_s,
            cost_ms: rtt_ms + LAMBDA_MS_PER_DOLLAR * dollars + FAILED_MS * failed,
            best_ms,
            moved: moved / everybody.max(f64::MIN_POSITIVE),
            away: away / everybody.max(f64::MIN_POSITIVE),
            steady: !self.course.incidents.iter().any(settling),
            utilisation,
            queries: sums.queries,
        });
    }
}

/// Tells whether this second's demand differs from the one before by more than the waves.
fn crowd(incident: &Incident, t: u64) -> bool {
    matches!(incident.what, What::FlashCrowd { .. }) && (incident.from_s..=incident.over_s()).contains(&t)
}

/// The cost of a request from each city in each region, failures apart.
fn costs(globe: &Globe) -> Vec<f64> {
    let dollars = globe.world.regions.iter().map(|region| region.cost).cycle();
    globe.rtt_ms.iter().zip(dollars).map(|(rtt_ms, dollars)| rtt_ms + LAMBDA_MS_PER_DOLLAR * dollars).collect()
}

impl Sums {
    fn new(cities: usize, regions: usize) -> Sums {
        Sums { by_city: vec![0.0; cities], capacity: vec![0.0; regions], ..Sums::default() }
    }

    fn add(&mut self, demand: &[f64], capacity: &[f64]) {
        self.by_city.iter_mut().zip(demand).for_each(|(sum, demand)| *sum += demand);
        self.capacity.iter_mut().zip(capacity).for_each(|(sum, capacity)| *sum += capacity);
    }
}

/// Reports that are kept for feeds that tell old ones: an hour's.
const MOST_PAST: usize = 360;

impl Gauge {
    /// The report that a scrape gives, as the feed is.
    fn told(&mut self, region: usize, t: u64, feed: Option<(Feed, u64)>) -> SimulatedReport {
        let failed = SimulatedReport { region, load: f64::NAN, capacity: f64::NAN };
        let newest = self.past.back().map_or(failed, |(_, report)| *report);
        let told = match feed {
            None => newest,
            Some((Feed::Frozen, since_s)) => self.at(since_s).unwrap_or(newest),
            Some((Feed::Late { late_s }, _)) => self.at(t.saturating_sub(late_s)).unwrap_or(failed),
            Some((trouble, _)) => {
                let (load, capacity) = trouble.told(newest.load, newest.capacity, region, t);
                SimulatedReport { region, load, capacity }
            }
        };
        let frozen = matches!(feed, Some((Feed::Frozen, _)));
        while self.past.len() > MOST_PAST && !frozen {
            self.past.pop_front();
        }
        // What is frozen is what was told at first: nothing newer is needed.
        if frozen && self.past.len() > MOST_PAST {
            self.past.pop_back();
        }
        told
    }

    fn at(&self, t: u64) -> Option<SimulatedReport> {
        self.past.iter().rev().find(|(at, _)| *at <= t).map(|(_, report)| *report)
    }
}

impl Simulation {
    /// Takes what there is to see of a second.
    pub(super) fn hear(&mut self, second: &Second<'_>) {
        second.alive.iter().enumerate().for_each(|(region, &alive)| self.set_alive(region, alive));
        for report in second.reports {
            let capacity = (!report.capacity.is_nan()).then_some(report.capacity);
            self.report_load(report.region, report.load, capacity);
        }
    }
}

impl Steering for Simulation {
    fn second(&mut self, second: &Second<'_>, answers: &mut Vec<SimulatedAnswer>) -> io::Result<()> {
        self.set_time(Duration::from_secs(second.t));
        self.hear(second);
        for query in second.queries {
            answers.extend(self.query(query.location, query.key, query.by_subnet));
        }
        self.end_second();
        Ok(())
    }
}
