//! What wrong inputs do to steering: plays days in which feeds lie, units differ, resolvers ask unlike their load, and
//! prints a line for each: what it cost, what was overloaded, how many clients moved.
//!
//! ```text
//! cargo bench --bench faults -- --seeds 101..103 wild steady     (cases whose names begin so; none: all)
//!   --hours H   of the 24      --list   the cases      --luck N   clients fall to other regions by chance, all else alike:
//!                                                                 how much of a figure is luck
//! ```

use meridian::simulate::baselines::{Baseline, Way};
use meridian::simulate::day::{Course, Record, Second, Steering, play};
use meridian::simulate::globe::Globe;
use meridian::simulate::incident::{Feed, Incident, What};
use meridian::simulate::summary::Summary;
use meridian::simulate::{SimulatedAnswer, Simulation};

#[path = "support/globe.rs"]
mod world;

use world::{Drawn, WARM_UP_S, draw, in_process};

/// What happens in a seed's world.
type OfSeed = Box<dyn Fn(&Globe, u64) -> Course>;

/// A day with something wrong.
struct Case {
    name: String,
    drawn: Drawn,
    course: OfSeed,
    /// Whether half of the cities are steered by somebody else.
    half: bool,
}

fn main() {
    let mut words = std::env::args().skip(1).filter(|word| word != "--bench").peekable();
    let (mut seeds, mut hours, mut luck, mut wanted, mut list) = (1..2, 24.0, 0, Vec::new(), false);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--seeds" => {
                let text = words.next().expect("seeds such as 1..4");
                let (from, until) = text.split_once("..").expect("two numbers");
                seeds = from.parse().expect("a number")..until.parse::<u64>().expect("a number") + 1;
            }
            "--hours" => hours = words.next().and_then(|text| text.parse().ok()).expect("hours"),
            "--luck" => luck = words.next().and_then(|text| text.parse().ok()).expect("a number"),
            "--list" => list = true,
            _ => wanted.push(word),
        }
    }
    for case in cases() {
        if list {
            println!("{}", case.name);
            continue;
        }
        if !wanted.is_empty() && !wanted.iter().any(|name| case.name.starts_with(name.as_str())) {
            continue;
        }
        for seed in seeds.clone() {
            run(&case, seed, luck, hours);
        }
    }
}

fn run(case: &Case, seed: u64, luck: u64, hours: f64) {
    let mut globe = draw(seed, &case.drawn);
    globe.world.seed ^= luck << 32;
    let mut course = (case.course)(&globe, seed);
    course.length_s = course.length_s.min((hours * 3600.0) as u64);
    let record = if case.half {
        let own: Vec<bool> = (0..globe.city_peaks.len()).map(|city| is_own(city, seed)).collect();
        course.counted.clone_from(&own);
        let mut half = Half { own: in_process(&globe), other: Baseline::new(Way::Nearest, &globe), is_own: own };
        play(&globe, &course, &mut half)
    } else {
        play(&globe, &course, &mut in_process(&globe))
    };
    let record = record.expect("a day");
    let summary = Summary::of(&globe.world, &record, WARM_UP_S);
    println!(
        "{:28} {seed:>4}  J {:.4}  overload {:>8.2} s  moved {:>7.3} %/min  RTT {:>6.1} ms{}",
        case.name,
        summary.ratio(),
        summary.overload_s,
        100.0 * mean_moved(&record),
        summary.rtt_ms,
        told_away(&record, &course),
    );
}

fn is_own(city: usize, seed: u64) -> bool {
    (city as u64 * 7 + seed).is_multiple_of(2)
}

/// Over all minutes: steady or not.
fn mean_moved(record: &Record) -> f64 {
    record.minutes.iter().map(|minute| minute.moved).sum::<f64>() / record.minutes.len().max(1) as f64
}

/// The most that was away from where clients were, and what still was two minutes later.
fn told_away(record: &Record, course: &Course) -> String {
    let Some(mark_s) = course.mark_s else { return String::new() };
    let over_s = course.incidents.iter().map(|incident| incident.until_s).max().unwrap_or(mark_s);
    let after = |from_s: u64| record.minutes.iter().filter(move |minute| minute.at_s >= from_s);
    let most = after(mark_s).filter(|m| m.at_s <= over_s + 600).map(|m| m.away).fold(0.0, f64::max);
    let left = after(over_s + 120).next().map_or(0.0, |minute| minute.away);
    let later = after(over_s + 3600).next().map_or(0.0, |minute| minute.away);
    format!("  away {:.2} %, after 120 s {:.2} %, 1 h {:.2} %", 100.0 * most, 100.0 * left, 100.0 * later)
}

/// Two that steer, each its own cities.
struct Half {
    own: Simulation,
    other: Baseline,
    is_own: Vec<bool>,
}

impl Steering for Half {
    fn second(&mut self, second: &Second<'_>, answers: &mut Vec<SimulatedAnswer>) -> std::io::Result<()> {
        let (own, other): (Vec<_>, Vec<_>) = second.queries.iter().partition(|query| self.is_own[query.location]);
        let (mut of_own, mut of_other) = (Vec::new(), Vec::new());
        self.own.second(&Second { queries: &own, ..*second }, &mut of_own)?;
        self.other.second(&Second { queries: &other, ..*second }, &mut of_other)?;
        let (mut of_own, mut of_other) = (of_own.into_iter(), of_other.into_iter());
        answers.extend(second.queries.iter().filter_map(|query| match self.is_own[query.location] {
            true => of_own.next(),
            false => of_other.next(),
        }));
        Ok(())
    }
}

// ---------------------------------------------------------------------------------------------
// Cases

fn plain(name: &str) -> Case {
    Case { name: name.into(), drawn: Drawn::default(), course: Box::new(|_, _| Course::default()), half: false }
}

fn cases() -> Vec<Case> {
    let mut cases = vec![
        plain("quiet"),
        Case { course: Box::new(eventful), ..plain("day") },
        Case { half: true, ..plain("half") },
        Case { course: Box::new(never_heard), ..plain("never-heard") },
        Case { course: Box::new(never_heard_too_high), ..plain("never-heard-x1.5") },
        Case { drawn: Drawn { ttl_s: 300, ..Drawn::default() }, ..plain("ttl-300") },
        Case { drawn: Drawn { skew: 2.0, ..Drawn::default() }, ..plain("skew-2") },
        Case { drawn: Drawn { skew: 3.0, ..Drawn::default() }, ..plain("skew-3") },
        Case { course: Box::new(units), ..plain("units") },
        Case { course: Box::new(one_unit), ..plain("unit-one") },
        Case { course: Box::new(per_cent), ..plain("unit-per-cent") },
        Case { course: Box::new(per_cent_beside_counts), ..plain("unit-mistake") },
    ];
    for interval_s in [1, 5, 20, 40, 60] {
        let course = move |_: &Globe, _| Course { report_interval_s: interval_s, ..Course::default() };
        cases.push(Case { course: Box::new(course), ..plain(&format!("scrape-{interval_s}")) });
    }
    cases.push(Case { course: always(None, Feed::Late { late_s: 60 }), ..plain("delay-60") });
    for factor in [1.1, 1.25, 1.5, 2.0, 10.0, 1e6] {
        for (whose, one) in [("one", true), ("all", false)] {
            for lasts_s in [10, 60] {
                let name = format!("wild-{whose}-x{factor}-{lasts_s}s");
                let course = move |globe: &Globe, seed: u64| {
                    let region = one.then(|| any_region(globe, seed));
                    let what = What::Feed { region, trouble: Feed::Lies { factor } };
                    let from_s = WARM_UP_S + 7200;
                    Course {
                        incidents: vec![Incident { from_s, until_s: from_s + lasts_s, what }],
                        mark_s: Some(from_s - 1),
                        length_s: 4 * 3600,
                        begins_h: (seed * 5 % 24) as f64,
                        ..Course::default()
                    }
                };
                cases.push(Case { course: Box::new(course), ..plain(&name) });
            }
        }
    }
    let troubles = [
        ("steady", Feed::Constant { part: 0.5 }),
        ("rounded", Feed::Rounded { part: 0.05 }),
        ("capped", Feed::Capped),
        ("stepped", Feed::Rounded { part: 0.2 }),
        ("zero", Feed::Lies { factor: 0.0 }),
        ("sawtooth", Feed::Sawtooth { period_s: 300, low: 0.5, high: 1.5 }),
        ("sawtooth-60s", Feed::Sawtooth { period_s: 60, low: 0.5, high: 1.5 }),
        ("sawtooth-1200s", Feed::Sawtooth { period_s: 1200, low: 0.5, high: 1.5 }),
        ("waves-120s", Feed::Waves { period_s: 120, low: 0.5, high: 1.5 }),
        ("waves-300s", Feed::Waves { period_s: 300, low: 0.5, high: 1.5 }),
        ("waves-1200s", Feed::Waves { period_s: 1200, low: 0.5, high: 1.5 }),
        ("low", Feed::Lies { factor: 0.3 }),
        ("high", Feed::Lies { factor: 2.0 }),
        ("high-x1.4", Feed::Lies { factor: 1.4 }),
        ("high-x5", Feed::Lies { factor: 5.0 }),
        ("frozen", Feed::Frozen),
        ("silent", Feed::Silent),
        ("capacity-x3", Feed::Capacity { factor: 3.0 }),
        ("capacity-x0.3", Feed::Capacity { factor: 0.3 }),
        ("garbage", Feed::Garbage),
    ];
    for (name, trouble) in troubles {
        for (when, from_s) in [("start", 0), ("later", WARM_UP_S + 6 * 3600)] {
            for (whose, one) in [("one", true), ("all", false)] {
                let course = move |globe: &Globe, seed: u64| {
                    let region = one.then(|| any_region(globe, seed));
                    course_of(region, trouble, from_s)
                };
                cases.push(Case { course: Box::new(course), ..plain(&format!("{name}-{whose}-{when}")) });
            }
        }
    }
    cases
}

/// One of the larger ones.
fn any_region(globe: &Globe, seed: u64) -> usize {
    let mut large: Vec<usize> = (0..globe.world.regions.len()).collect();
    large.sort_by(|&a, &b| globe.world.regions[b].capacity.total_cmp(&globe.world.regions[a].capacity));
    large[seed as usize % 5]
}

fn always(region: Option<usize>, trouble: Feed) -> OfSeed {
    Box::new(move |_, _| course_of(region, trouble, 0))
}

fn course_of(region: Option<usize>, trouble: Feed, from_s: u64) -> Course {
    let what = What::Feed { region, trouble };
    Course { incidents: vec![Incident { from_s, until_s: u64::MAX / 2, what }], ..Course::default() }
}

fn eventful(globe: &Globe, seed: u64) -> Course {
    let mut chance = fastrand::Rng::with_seed(seed ^ 0x6461_7973);
    Course { incidents: world::day(globe, seed, &mut chance), ..Course::default() }
}

fn never_heard(globe: &Globe, seed: u64) -> Course {
    course_of(Some(seed as usize % globe.world.regions.len()), Feed::Silent, 0)
}

fn never_heard_too_high(globe: &Globe, seed: u64) -> Course {
    // What is configured is drawn as the truth here: the region truly has two thirds of it.
    let region = seed as usize % globe.world.regions.len();
    let mut course = course_of(Some(region), Feed::Silent, 0);
    let brown = What::BrownOut { region, part: 1.0 / 1.5 };
    course.incidents.push(Incident { from_s: 0, until_s: u64::MAX / 2, what: brown });
    course
}

fn units(globe: &Globe, seed: u64) -> Course {
    let mut chance = fastrand::Rng::with_seed(seed ^ 0x756e_6974);
    let unit = |_| 10f64.powf(4.0 * chance.f64() - 2.0);
    Course { units: (0..globe.world.regions.len()).map(unit).collect(), ..Course::default() }
}

fn one_unit(globe: &Globe, seed: u64) -> Course {
    let mut units = vec![1.0; globe.world.regions.len()];
    units[any_region(globe, seed)] = [0.01, 100.0, 0.3, 4.0][seed as usize % 4];
    Course { units, ..Course::default() }
}

/// Every region in per cent of its capacity.
fn per_cent(globe: &Globe, _: u64) -> Course {
    Course { units: globe.world.regions.iter().map(|region| 100.0 / region.capacity).collect(), ..Course::default() }
}

/// One region's load is in per cent, its capacity in connections.
fn per_cent_beside_counts(globe: &Globe, seed: u64) -> Course {
    let region = any_region(globe, seed);
    course_of(Some(region), Feed::Lies { factor: 100.0 / globe.world.regions[region].capacity }, 0)
}
