//! How near the optimum steering is: plays a day of a made-up world through `meridian simulate
//! --stdio` and scores it, beside simpler ways to steer.
//!
//! 240 cities, 4,700 resolvers, 8 regions; total capacity 1.4 × the peak, two regions below their
//! local peak. `day`: a brown-out, a dead region that comes back cold, a ×2.5 flash crowd, a
//! flapping region. `feeds`: two feeds killed, one that lies, one 120 s old (`feeds-silent`, `-lie`,
//! `-frozen`, `-late`: these alone). `steady`: nothing.
//!
//! ```text
//! cargo bench --bench steering -- --seed 1 --scenario day
//! cargo bench --bench steering -- --seeds 5 --check
//!   --hours H            of the 24
//!   --rtt ERROR|none     how far RTT estimates are off (0.1), or none given
//!   --capped             overloaded regions report their capacity as their load
//!   --baselines          also by the nearest region and by the greedy score
//!   --minutes FILE       every minute as CSV
//!   --binary PATH        another meridian;  --in-process: this one, without pipes
//! ```

use std::io::{self, BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitCode, Stdio};
use std::time::Instant;

use meridian::model::Coordinates;
use meridian::simulate::baselines::{Baseline, Way};
use meridian::simulate::day::{Course, Minute, Record, Second, Steering, play};
use meridian::simulate::globe::{Drawing, Globe};
use meridian::simulate::incident::{Incident, What};
use meridian::simulate::summary::{OfLoss, Summary};
use meridian::simulate::{Answer, Simulation, Site, report};

const WARM_UP_S: u64 = 900;
const PEAK_DEMAND: f64 = 1_000_000.0;

fn main() -> ExitCode {
    let options = match Options::parse() {
        Ok(options) => options,
        Err(mistake) => {
            eprintln!("error: {mistake}");
            return ExitCode::from(2);
        }
    };
    let mut missed = 0;
    let mut days = Vec::new();
    for seed in options.seed..options.seed + options.seeds {
        match one_day(seed, &options) {
            Ok((summary, of_day)) => {
                missed += of_day;
                days.push(summary);
            }
            Err(error) => {
                eprintln!("error: {error}");
                return ExitCode::FAILURE;
            }
        }
    }
    if days.len() > 1 {
        print_together(&days);
    }
    if options.check && missed > 0 {
        eprintln!("{missed} targets missed");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// What came of it, and how many targets were missed.
fn one_day(seed: u64, options: &Options) -> io::Result<(Summary, usize)> {
    let globe = draw(seed, options);
    let course = course(&globe, seed, options);
    println!("seed {seed}, {}: {}", options.scenario, told(&globe, &course));
    let began = Instant::now();
    let record = if options.in_process {
        play(&globe, &course, &mut in_process(&globe))?
    } else {
        play(&globe, &course, &mut Process::start(&options.binary, &globe)?)?
    };
    let summary = Summary::of(&globe.world, &record, WARM_UP_S);
    println!("  {} queries in {:.1} s", summary.queries, began.elapsed().as_secs_f64());
    let missed = print(&summary, "meridian", &options.scenario);
    print_causes(&record, &course);
    if let Some(path) = &options.minutes {
        write_minutes(path, &record)?;
    }
    if options.baselines {
        for (name, way) in [("nearest", Way::Nearest), ("greedy score", Way::GreedyScore)] {
            let record = play(&globe, &course, &mut Baseline::new(way, &globe))?;
            print(&Summary::of(&globe.world, &record, WARM_UP_S), name, &options.scenario);
        }
    }
    Ok((summary, missed))
}

struct Options {
    seed: u64,
    seeds: u64,
    hours: f64,
    scenario: String,
    estimate_error: Option<f64>,
    capped: bool,
    check: bool,
    baselines: bool,
    minutes: Option<String>,
    binary: String,
    in_process: bool,
    resolvers: usize,
}

impl Options {
    fn parse() -> Result<Options, String> {
        let mut options = Options {
            seed: 1,
            seeds: 1,
            hours: 24.0,
            scenario: "day".into(),
            estimate_error: Some(0.1),
            capped: false,
            check: false,
            baselines: false,
            minutes: None,
            binary: env!("CARGO_BIN_EXE_meridian").into(),
            in_process: false,
            resolvers: 4700,
        };
        let mut words = std::env::args().skip(1);
        let mut bench = false;
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or(format!("{word} needs a value"));
            match word.as_str() {
                "--bench" => bench = true,
                "--seed" => options.seed = number(&value()?)?,
                "--seeds" => options.seeds = number(&value()?)?,
                "--hours" => options.hours = number(&value()?)?,
                "--scenario" => options.scenario = value()?,
                "--rtt" => {
                    let value = value()?;
                    options.estimate_error = if value == "none" { None } else { Some(number(&value)?) };
                }
                "--capped" => options.capped = true,
                "--check" => options.check = true,
                "--baselines" => options.baselines = true,
                "--minutes" => options.minutes = Some(value()?),
                "--binary" => options.binary = value()?,
                "--in-process" => options.in_process = true,
                "--resolvers" => options.resolvers = number(&value()?)?,
                _ => return Err(format!("`{word}` is not known: see benches/steering.rs")),
            }
        }
        if !SCENARIOS.contains(&options.scenario.as_str()) {
            return Err(format!("`{}` is none of {}", options.scenario, SCENARIOS.join(", ")));
        }
        if !bench {
            // `cargo test --benches`, which says no `--bench`, only wants to know that this runs.
            (options.hours, options.resolvers, options.scenario) = (0.2, 300, "steady".into());
        }
        Ok(options)
    }
}

const SCENARIOS: [&str; 7] = ["day", "feeds", "feeds-silent", "feeds-lie", "feeds-frozen", "feeds-late", "steady"];

fn number<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("`{text}` is no number that fits"))
}

// ---------------------------------------------------------------------------------------------
// The world

/// One of each row is drawn.
const CANDIDATES: [&[(&str, f64, f64)]; 8] = [
    &[("tokyo", 35.68, 139.69), ("seoul", 37.57, 126.98), ("osaka", 34.69, 135.5)],
    &[("singapore", 1.35, 103.82), ("hongkong", 22.32, 114.17), ("jakarta", -6.21, 106.85)],
    &[("mumbai", 19.08, 72.88), ("bahrain", 26.23, 50.59), ("chennai", 13.08, 80.27)],
    &[("frankfurt", 50.11, 8.68), ("london", 51.51, -0.13), ("paris", 48.86, 2.35)],
    &[("virginia", 38.95, -77.45), ("ohio", 39.96, -83.0), ("montreal", 45.5, -73.57)],
    &[("oregon", 45.84, -119.7), ("california", 37.35, -121.95), ("dallas", 32.78, -96.8)],
    &[("saopaulo", -23.55, -46.63), ("santiago", -33.45, -70.67)],
    &[("sydney", -33.87, 151.21), ("johannesburg", -26.2, 28.05), ("stockholm", 59.33, 18.07)],
];

fn draw(seed: u64, options: &Options) -> Globe {
    let mut chance = fastrand::Rng::with_seed(seed ^ 0x0064_7269_7665);
    let site = |row: &&[(&str, f64, f64)]| {
        let (name, latitude, longitude) = row[chance.usize(0..row.len())];
        let at = Coordinates::new(latitude, longitude).expect("coordinates");
        Site { name: name.into(), at, cost: (30 + chance.u32(0..=90)) as f64 / 100.0, capacity: 1.0 }
    };
    let mut globe = Globe::draw(&Drawing {
        seed,
        regions: CANDIDATES.iter().map(site).collect(),
        cities: 240,
        resolvers: options.resolvers,
        peak_demand: PEAK_DEMAND,
        trough: 0.38,
        estimate_error: options.estimate_error,
        ttl_s: 30,
    });
    size_regions(&mut globe, &mut chance);
    globe
}

/// Two regions get less than their own clients need at their peak; all together 1.4 × the world's.
fn size_regions(globe: &mut Globe, chance: &mut fastrand::Rng) {
    let regions = globe.world.regions.len();
    let peaks: Vec<f64> = (0..regions).map(|region| globe.peak_of(&globe.local_cities(region))).collect();
    let mut large: Vec<usize> = (0..regions).filter(|&region| peaks[region] > 0.06 * PEAK_DEMAND).collect();
    chance.shuffle(&mut large);
    let small: Vec<usize> = large.into_iter().take(2).collect();
    let mut rest = 1.4 * PEAK_DEMAND;
    for &region in &small {
        globe.world.regions[region].capacity = peaks[region] * (0.72 + 0.16 * chance.f64());
        rest -= globe.world.regions[region].capacity;
    }
    let others: Vec<usize> = (0..regions).filter(|region| !small.contains(region)).collect();
    // Nobody runs a region of almost no capacity.
    let sizes: Vec<f64> =
        others.iter().map(|&r| peaks[r].max(0.03 * PEAK_DEMAND) * (0.85 + 0.3 * chance.f64())).collect();
    let total: f64 = sizes.iter().sum();
    for (&region, size) in others.iter().zip(sizes) {
        globe.world.regions[region].capacity = rest * size / total;
    }
}

fn course(globe: &Globe, seed: u64, options: &Options) -> Course {
    let mut chance = fastrand::Rng::with_seed(seed ^ 0x6461_7973);
    let incidents = match options.scenario.as_str() {
        "day" => day(globe, seed, &mut chance),
        "steady" => Vec::new(),
        other => feeds(globe, other.strip_prefix("feeds-"), &mut chance),
    };
    Course {
        warm_up_s: WARM_UP_S,
        length_s: (options.hours * 3600.0) as u64,
        begins_h: 0.0,
        incidents,
        capped_reports: options.capped,
        optimum: true,
    }
}

fn day(globe: &Globe, seed: u64, chance: &mut fastrand::Rng) -> Vec<Incident> {
    let mut large: Vec<usize> = (0..globe.world.regions.len()).collect();
    large.sort_by(|&a, &b| globe.world.regions[b].capacity.total_cmp(&globe.world.regions[a].capacity));
    large.truncate(6);
    let mut between = |from_h: u64, until_h: u64| WARM_UP_S + chance.u64(from_h * 3600..until_h * 3600);
    let [brown, dead, crowd, flapping] = [between(2, 5), between(7, 10), between(12, 15), between(18, 21)];
    let during = |from_s: u64, length_s: u64, what: What| Incident { from_s, until_s: from_s + length_s, what };
    let (dead, lost) = loss(globe, seed, dead, &large, chance);
    vec![
        during(brown, 2400, What::BrownOut { region: busy_region(globe, brown, &large, chance), part: 0.5 }),
        during(dead, 1800, What::Dead { region: lost, cold_s: 180 }),
        during(crowd, 1200, What::FlashCrowd { cities: cluster(globe, chance), factor: 2.5, ramp_s: 90 }),
        during(
            flapping,
            600,
            What::Flapping {
                region: busy_region(globe, flapping, &large, chance),
                up_s: chance.u64(8..30),
                down_s: chance.u64(12..25),
            },
        ),
    ]
}

/// Which region dies, and when: for odd seeds one whose clients the others have ample room for.
fn loss(globe: &Globe, seed: u64, at_s: u64, large: &[usize], chance: &mut fastrand::Rng) -> (u64, usize) {
    let mut drawn = (at_s, large[chance.usize(0..large.len())]);
    for _ in 0..200 {
        if seed.is_multiple_of(2) || is_ample(globe, drawn.1, drawn.0) {
            break;
        }
        drawn = (WARM_UP_S + chance.u64(6 * 3600..10 * 3600), large[chance.usize(0..large.len())]);
    }
    drawn
}

/// By region: demand over capacity if everybody went where it costs least, but to `without`.
fn utilisation(globe: &Globe, without: Option<usize>, at_s: u64) -> Vec<f64> {
    let regions = &globe.world.regions;
    let mut loads = vec![0.0; regions.len()];
    for city in 0..globe.city_peaks.len() {
        let cost = |region: &usize| globe.rtts_of(city)[*region] + 5.0 * regions[*region].cost;
        let others = (0..regions.len()).filter(|&region| Some(region) != without);
        let best = others.min_by(|a, b| cost(a).total_cmp(&cost(b))).expect("a region");
        loads[best] += globe.demand(city, at_s as f64);
    }
    loads.iter().zip(regions).map(|(load, region)| load / region.capacity).collect()
}

fn is_ample(globe: &Globe, lost: usize, at_s: u64) -> bool {
    let (before, after) = (utilisation(globe, None, at_s), utilisation(globe, Some(lost), at_s));
    before.iter().zip(after).all(|(before, after)| after <= *before || after < 0.8)
}

/// One that has something to lose, where there is.
fn busy_region(globe: &Globe, at_s: u64, among: &[usize], chance: &mut fastrand::Rng) -> usize {
    let utilisation = utilisation(globe, None, at_s);
    let busy: Vec<usize> = among.iter().copied().filter(|&region| utilisation[region] > 0.6).collect();
    let among = if busy.is_empty() { among } else { &busy };
    among[chance.usize(0..among.len())]
}

/// Cities around a large one, with 3 to 9 % of the demand.
fn cluster(globe: &Globe, chance: &mut fastrand::Rng) -> Vec<usize> {
    let total: f64 = globe.city_peaks.iter().sum();
    let centre = globe.world.locations[chance.usize(0..40)].at;
    let part = total * (0.03 + 0.06 * chance.f64());
    let mut near: Vec<usize> = (0..globe.city_peaks.len()).collect();
    let km = |city: usize| globe.world.locations[city].at.distance_km(centre);
    near.sort_by(|&a, &b| km(a).total_cmp(&km(b)));
    let mut before = 0.0;
    let wanted = |&city: &usize| {
        let wanted = before + globe.city_peaks[city] / 2.0 < part;
        before += globe.city_peaks[city];
        wanted
    };
    near.into_iter().take_while(wanted).collect()
}

/// All four troubles, or one of them: `silent`, `lie`, `frozen`, `late`.
fn feeds(globe: &Globe, only: Option<&str>, chance: &mut fastrand::Rng) -> Vec<Incident> {
    let mut regions: Vec<usize> = (0..globe.world.regions.len()).collect();
    chance.shuffle(&mut regions);
    let lies = if only.map_or_else(|| chance.bool(), |only| only == "lie") { "lie" } else { "frozen" };
    let troubles = [
        ("silent", 1, What::FeedSilent { region: regions[0] }),
        ("silent", 3, What::FeedSilent { region: regions[1] }),
        ("lie", 2, What::FeedLies { region: regions[2], factor: 0.2 }),
        ("frozen", 2, What::FeedFrozen { region: regions[2] }),
        ("late", 0, What::FeedLate { region: regions[3], late_s: 120 }),
    ];
    let wanted = |name: &str| match only {
        Some(only) => name == only,
        None => !["lie", "frozen"].contains(&name) || name == lies,
    };
    let troubles = troubles.into_iter().filter(|(name, ..)| wanted(name));
    let begins = |hour: u64| WARM_UP_S + hour * 3600;
    troubles.map(|(_, hour, what)| Incident { from_s: begins(hour), until_s: u64::MAX / 2, what }).collect()
}

fn told(globe: &Globe, course: &Course) -> String {
    let regions: Vec<String> = globe
        .world
        .regions
        .iter()
        .enumerate()
        .map(|(index, region)| {
            let local = globe.peak_of(&globe.local_cities(index));
            format!("{} {:.0}k (local peak {:.0}k)", region.name, region.capacity / 1e3, local / 1e3)
        })
        .collect();
    let what = |incident: &Incident| {
        let of = match &incident.what {
            What::FlashCrowd { cities, .. } => {
                let part: f64 = cities.iter().map(|&city| globe.city_peaks[city]).sum();
                format!(" ({:.1} %)", 100.0 * part / globe.city_peaks.iter().sum::<f64>())
            }
            _ => String::new(),
        };
        format!("{} {}{of}", report::clock(course, incident.from_s), report::told(&globe.world, incident))
    };
    let incidents: Vec<String> = course.incidents.iter().map(what).collect();
    format!("{}\n  {}", regions.join(", "), incidents.join("; "))
}

// ---------------------------------------------------------------------------------------------
// Scores

/// Prints a row per target; how many were missed.
fn print(summary: &Summary, name: &str, scenario: &str) -> usize {
    let Summary { rtt_ms, dollars, failed, best_ms, .. } = summary;
    let (cost, failed) = (5.0 * dollars, 1000.0 * failed);
    println!("  {name}: RTT {rtt_ms:.2} + cost {cost:.2} + failed {failed:.2} ms; optimum {best_ms:.2}");
    let (most_overload, overload_target) =
        if scenario.starts_with("feeds") { (5.0, "≤ 5 s") } else { (1.0, "≤ 1 s") };
    let mut missed = 0;
    let mut row = |what: &str, figure: String, target: &str, met: bool| {
        missed += usize::from(!met);
        println!("    {what:24} {figure:>14}   {target:24} {}", if met { "ok" } else { "MISSED" });
    };
    let ratio = summary.ratio();
    row("J / optimum", format!("{ratio:.4}"), "≤ 1.05", ratio <= 1.05);
    let overload_s = summary.overload_s;
    row("overload", format!("{overload_s:.2} s"), overload_target, overload_s <= most_overload);
    if let Some(moved) = summary.moved_per_minute {
        row("moved when steady", format!("{:.3} %/min", 100.0 * moved), "≤ 0.15 %/min", moved <= 0.0015);
    }
    for OfLoss { last_answer_s, moved, ample, .. } in &summary.losses {
        let last = last_answer_s.unwrap_or(0);
        row("last answer after death", format!("{last} s"), "≤ 7 s", last <= 7);
        let target = if *ample { "≤ 1.05 × lost" } else { "(capacity is not ample)" };
        row("moved after loss", format!("{moved:.3} × lost"), target, *moved <= 1.05 || !ample);
    }
    missed
}

/// One figure of a day.
type Figure = fn(&Summary) -> f64;

const FIGURES: [(&str, Figure); 5] = [
    ("J / optimum", |s| s.ratio()),
    ("overload, s", |s| s.overload_s),
    ("moved when steady, %/min", |s| 100.0 * s.moved_per_minute.unwrap_or(0.0)),
    ("last answer, s", |s| s.losses.iter().filter_map(|loss| loss.last_answer_s).max().unwrap_or(0) as f64),
    ("moved after ample loss, × lost", |s| {
        s.losses.iter().filter(|loss| loss.ample).map(|loss| loss.moved).fold(1.0, f64::max)
    }),
];

fn print_together(days: &[Summary]) {
    println!("{} seeds, mean and worst:", days.len());
    for (what, of) in FIGURES {
        let mean = days.iter().map(of).sum::<f64>() / days.len() as f64;
        let worst = days.iter().map(of).fold(0.0, f64::max);
        println!("    {what:32} {mean:>8.4} {worst:>8.4}");
    }
}

/// In which hours it was overloaded and dearer than it need have been.
fn print_causes(record: &Record, course: &Course) {
    let all: f64 = record.minutes.iter().map(|minute| minute.demand).sum();
    let row = |name: &str, minutes: &dyn Fn(&Minute) -> bool| {
        let minutes: Vec<&Minute> = record.minutes.iter().filter(|minute| minutes(minute)).collect();
        let overload: f64 = minutes.iter().map(|minute| minute.overload_s).sum();
        let dearer: f64 = minutes.iter().map(|m| (m.cost_ms - m.best_ms) * m.demand).sum::<f64>() / all;
        println!("      {name:24} overload {overload:>6.3} s   J - optimum {dearer:>7.3} ms");
    };
    println!("    where:");
    let within = |incident: &Incident, minute: &Minute| {
        let until = incident.until_s.min(course.warm_up_s + course.length_s);
        (incident.from_s..until.saturating_add(600)).contains(&(minute.at_s + 30))
    };
    for incident in course.incidents.iter().filter(|incident| incident.until_s < u64::MAX / 2) {
        let name = match incident.what {
            What::Dead { .. } => "dead, back cold",
            What::BrownOut { .. } => "brown-out",
            What::Flapping { .. } => "flapping",
            What::FlashCrowd { .. } => "flash crowd",
            _ => "feed",
        };
        row(name, &|minute| within(incident, minute));
    }
    row("else", &|minute| {
        !course.incidents.iter().any(|incident| incident.until_s < u64::MAX / 2 && within(incident, minute))
    });
}

fn write_minutes(path: &str, record: &Record) -> io::Result<()> {
    let mut file = io::BufWriter::new(std::fs::File::create(path)?);
    writeln!(file, "at_s,demand,rtt_ms,dollars,failed,overload_s,cost_ms,best_ms,moved,steady,queries,utilisation…")?;
    for m in &record.minutes {
        let utilisation: Vec<String> = m.utilisation.iter().map(|u| format!("{u:.4}")).collect();
        writeln!(
            file,
            "{},{:.0},{:.3},{:.4},{:.6},{:.4},{:.3},{:.3},{:.6},{},{},{}",
            m.at_s,
            m.demand,
            m.rtt_ms,
            m.dollars,
            m.failed,
            m.overload_s,
            m.cost_ms,
            m.best_ms,
            m.moved,
            u8::from(m.steady),
            m.queries,
            utilisation.join(",")
        )?;
    }
    file.flush()
}

// ---------------------------------------------------------------------------------------------
// What steers

fn in_process(globe: &Globe) -> Simulation {
    let mut simulation = Simulation::start(&globe.world).expect("a simulation");
    for (location, region, ms) in estimates(globe) {
        simulation.measure_rtt(location, region, ms);
    }
    simulation
}

fn estimates(globe: &Globe) -> impl Iterator<Item = (usize, usize, f64)> {
    let regions = globe.world.regions.len();
    globe.estimates_ms.iter().enumerate().map(move |(at, &ms)| (at / regions, at % regions, ms))
}

/// `meridian simulate --stdio`.
struct Process {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    text: Vec<u8>,
    line: Vec<u8>,
}

impl Process {
    fn start(binary: &str, globe: &Globe) -> io::Result<Process> {
        let mut command = Command::new(binary);
        command.args(["simulate", "--stdio"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn()?;
        let missing = || io::Error::other("no pipe");
        let mut input = child.stdin.take().ok_or_else(missing)?;
        let output = BufReader::with_capacity(1 << 20, child.stdout.take().ok_or_else(missing)?);
        input.write_all(opening(globe)?.as_slice())?;
        Ok(Process { child, input, output, text: Vec::new(), line: Vec::new() })
    }

    fn answer(&mut self) -> io::Result<Answer> {
        self.line.clear();
        self.output.read_until(b'\n', &mut self.line)?;
        let mut words = self.line.trim_ascii_end().split(|byte| *byte == b' ');
        let word = words.next();
        let mut number = || {
            let digit = |number: u32, byte: &u8| number * 10 + u32::from(byte.wrapping_sub(b'0'));
            words.next().map(|word| word.iter().fold(0, digit))
        };
        match (word, number(), number()) {
            (Some(b"A"), Some(region), Some(ttl_s)) => Ok(Answer { region: region as usize, ttl_s }),
            _ => Err(io::Error::other(format!("not an answer: {:?}", String::from_utf8_lossy(&self.line)))),
        }
    }
}

fn opening(globe: &Globe) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    for (index, region) in globe.world.regions.iter().enumerate() {
        let (name, at, cost, capacity) = (&region.name, region.at, region.cost, region.capacity);
        writeln!(text, "REGION {index} {name} {} {} {cost} {capacity}", at.latitude(), at.longitude())?;
    }
    for (index, place) in globe.world.locations.iter().enumerate() {
        let country = place.country.as_ref().map_or("-", |country| country.as_str());
        writeln!(text, "LOC {index} {country} {} {} {}", place.at.latitude(), place.at.longitude(), place.name)?;
    }
    for (location, region, ms) in estimates(globe) {
        writeln!(text, "R {location} {region} {ms:.2}")?;
    }
    writeln!(text, "TTL {}\nSEED {}\nSTART", globe.world.ttl.as_secs(), globe.world.seed)?;
    Ok(text)
}

impl Steering for Process {
    fn second(&mut self, second: &Second<'_>, answers: &mut Vec<Answer>) -> io::Result<()> {
        self.text.clear();
        writeln!(self.text, "T {}", second.t)?;
        for (region, alive) in second.alive.iter().enumerate() {
            writeln!(self.text, "P {region} {}", u8::from(*alive))?;
        }
        for report in second.reports {
            match report.load.is_nan() {
                true => writeln!(self.text, "L {} nan nan", report.region)?,
                false => writeln!(self.text, "L {} {:.1} {:.1}", report.region, report.load, report.capacity)?,
            }
        }
        for query in second.queries {
            writeln!(self.text, "Q {} {:016x} {}", query.location, query.key, u8::from(query.by_subnet))?;
        }
        self.text.extend_from_slice(b"END\n");
        self.input.write_all(&self.text)?;
        for _ in second.queries {
            answers.push(self.answer()?);
        }
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
