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
//!   --nodes K            so many that share what they see, in this process; 1
//!   --split WAY          which of them is asked: resolver (its own each), random, longitude (each a part of the world)
//! ```

use std::io::{self, BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitCode, Stdio};
use std::time::Instant;

use meridian::simulate::baselines::{Baseline, Way};
use meridian::simulate::day::{Course, Minute, Record, Second, Steering, play};
use meridian::simulate::globe::Globe;
use meridian::simulate::incident::{Feed, Incident, What};
use meridian::simulate::nodes::{Nodes, Split, SplitNodes};
use meridian::simulate::summary::{OfLoss, Summary};
use meridian::simulate::{SimulatedAnswer, report};

#[path = "support/globe.rs"]
mod world;

use world::{WARM_UP_S, estimates, in_process};

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
    let globe = world::draw(
        seed,
        &world::Drawn { resolvers: options.resolvers, estimate_error: options.estimate_error, ..Default::default() },
    );
    let course = course(&globe, seed, options);
    println!("seed {seed}, {}: {}", options.scenario, told(&globe, &course));
    let began = Instant::now();
    let record = if options.nodes > 1 {
        let nodes = Nodes::start(&globe.world, options.nodes).map_err(io::Error::other)?;
        let mut nodes = SplitNodes::new(nodes, options.split, &globe.world);
        for (location, region, ms) in estimates(&globe) {
            nodes.nodes().each(|simulation| simulation.measure_rtt(location, region, ms));
        }
        play(&globe, &course, &mut nodes)?
    } else if options.in_process {
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
    nodes: usize,
    split: Split,
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
            nodes: 1,
            split: Split::ByResolver,
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
                "--nodes" => options.nodes = number(&value()?)?,
                "--split" => {
                    options.split = match value()?.as_str() {
                        "resolver" => Split::ByResolver,
                        "random" => Split::AtRandom,
                        "longitude" => Split::ByLongitude,
                        other => return Err(format!("`{other}` is none of resolver, random, longitude")),
                    };
                }
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

fn course(globe: &Globe, seed: u64, options: &Options) -> Course {
    let mut chance = fastrand::Rng::with_seed(seed ^ 0x6461_7973);
    let incidents = match options.scenario.as_str() {
        "day" => world::day(globe, seed, &mut chance),
        "steady" => Vec::new(),
        other => feeds(globe, other.strip_prefix("feeds-"), &mut chance),
    };
    Course {
        warm_up_s: WARM_UP_S,
        length_s: (options.hours * 3600.0) as u64,
        incidents,
        capped_reports: options.capped,
        ..Course::default()
    }
}

/// All four troubles, or one of them: `silent`, `lie`, `frozen`, `late`.
fn feeds(globe: &Globe, only: Option<&str>, chance: &mut fastrand::Rng) -> Vec<Incident> {
    let mut regions: Vec<usize> = (0..globe.world.regions.len()).collect();
    chance.shuffle(&mut regions);
    let lies = if only.map_or_else(|| chance.bool(), |only| only == "lie") { "lie" } else { "frozen" };
    let troubles = [
        ("silent", 1, regions[0], Feed::Silent),
        ("silent", 3, regions[1], Feed::Silent),
        ("lie", 2, regions[2], Feed::Lies { factor: 0.2 }),
        ("frozen", 2, regions[2], Feed::Frozen),
        ("late", 0, regions[3], Feed::Late { late_s: 120 }),
    ];
    let wanted = |name: &str| match only {
        Some(only) => name == only,
        None => !["lie", "frozen"].contains(&name) || name == lies,
    };
    let troubles = troubles.into_iter().filter(|(name, ..)| wanted(name));
    let begins = |hour: u64| WARM_UP_S + hour * 3600;
    let what = |region, trouble| What::Feed { region: Some(region), trouble };
    troubles
        .map(|(_, hour, region, trouble)| Incident {
            from_s: begins(hour),
            until_s: u64::MAX / 2,
            what: what(region, trouble),
        })
        .collect()
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

    fn answer(&mut self) -> io::Result<SimulatedAnswer> {
        self.line.clear();
        self.output.read_until(b'\n', &mut self.line)?;
        let mut words = self.line.trim_ascii_end().split(|byte| *byte == b' ');
        let word = words.next();
        let mut number = || {
            let digit = |number: u32, byte: &u8| number * 10 + u32::from(byte.wrapping_sub(b'0'));
            words.next().map(|word| word.iter().fold(0, digit))
        };
        match (word, number(), number()) {
            (Some(b"A"), Some(region), Some(ttl_s)) => Ok(SimulatedAnswer { region: region as usize, ttl_s }),
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
    fn second(&mut self, second: &Second<'_>, answers: &mut Vec<SimulatedAnswer>) -> io::Result<()> {
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
