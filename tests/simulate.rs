//! `meridian simulate` as people use it: `--stdio` by someone who drives and scores it, lines in and
//! lines out over pipes; `--scenario` with the example files.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Output, Stdio};

use meridian::simulate::scenario::Scenario;
use meridian::simulate::summary::Summary;
use meridian::simulate::{day, report};

const WORLD: &str = "\
REGION 0 seoul 37.57 126.98 0.9 1000
REGION 1 frankfurt 50.11 8.68 0.5 1000
REGION 2 virginia 38.9 -77.5 0.4 1000
LOC 0 KR 37.57 126.98 Seoul
LOC 1 DE 52.52 13.4 Berlin
LOC 2 US 40.71 -74.01 New York
TTL 30
SEED 7
START
";

/// A simulation that is driven second by second.
struct Driven {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Driven {
    fn start() -> Driven {
        Driven::of(simulate())
    }

    fn of(mut child: Child) -> Driven {
        let mut input = child.stdin.take().expect("its standard input");
        let output = BufReader::new(child.stdout.take().expect("its standard output"));
        input.write_all(WORLD.as_bytes()).expect("a reader");
        Driven { child, input, output }
    }

    /// One second with these lines and queries; each answer's region and TTL.
    fn second(&mut self, t: u32, events: &str, queries: &[&str]) -> Vec<(usize, u32)> {
        write!(self.input, "T {t}\n{events}{}END\n", queries.concat()).expect("a reader");
        queries.iter().map(|_| self.answer()).collect()
    }

    fn answer(&mut self) -> (usize, u32) {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("an answer");
        let words: Vec<&str> = line.split_whitespace().collect();
        let ["A", region, ttl] = words[..] else { panic!("not an answer: {line:?}") };
        (region.parse().expect("a region"), ttl.parse().expect("a TTL"))
    }

    fn finish(mut self) {
        drop(self.input);
        assert!(self.child.wait().expect("its end").success());
    }
}

fn simulate() -> Child {
    simulate_with(&[])
}

fn simulate_with(arguments: &[&str]) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_meridian"));
    command
        .args(["simulate", "--stdio"])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command.spawn().expect("the program runs")
}

/// Plays all of it at once.
fn play(text: &str) -> Output {
    let mut child = simulate();
    let mut input = child.stdin.take().expect("its standard input");
    // It may end before it has read all.
    let _ = input.write_all(text.as_bytes());
    drop(input);
    child.wait_with_output().expect("its end")
}

const FROM_EACH: [&str; 3] = ["Q 0 0000000000000001 1\n", "Q 1 0000000000000002 0\n", "Q 2 ffffffffffffffff 1\n"];

#[test]
fn everybody_is_answered_with_a_region_nearby_second_by_second() {
    let mut driven = Driven::start();
    for t in 0..30 {
        let reports = if t % 10 == 0 { "P 0 1\nP 1 1\nP 2 1\nL 0 10 1000\nL 1 10 1000\nL 2 10 1000\n" } else { "" };
        assert_eq!(driven.second(t, reports, &FROM_EACH), [(0, 30), (1, 30), (2, 30)], "second {t}");
    }
    assert_eq!(driven.second(30, "", &[]), []);
    driven.finish();
}

#[test]
fn the_last_answer_that_names_a_dead_region_is_no_more_than_seven_seconds_late() {
    let mut driven = Driven::start();
    (0..100).for_each(|t| assert_eq!(driven.second(t, "", &FROM_EACH)[0].0, 0));
    let answers: Vec<_> = (100..130).map(|t| driven.second(t, "P 0 0\nL 0 nan nan\n", &FROM_EACH)[0]).collect();
    let last = answers.iter().rposition(|&(region, _)| region == 0).expect("one before it is noticed");
    assert!(last < 7, "{answers:?}");
    assert_eq!(answers[last].1, 5, "near a verdict answers live for failover_ttl");
    // Back after three good probes.
    let back = (130..160).position(|t| driven.second(t, "P 0 1\nL 0 0 1000\n", &FROM_EACH)[0].0 == 0);
    assert!(back.is_some_and(|after| (8..=15).contains(&after)), "{back:?}");
    driven.finish();
}

/// Resolvers at the first location that keep their answers, and so much load for each where it was sent.
struct Crowd {
    queries: Vec<String>,
    /// By resolver: region, and until when.
    cached: Vec<Option<(usize, u32)>>,
    load: usize,
}

impl Crowd {
    fn of(resolvers: u64, load: usize) -> Crowd {
        let queries: Vec<String> = (0..resolvers).map(|key| format!("Q 0 {:016x} 1\n", key << 50 | key)).collect();
        Crowd { cached: vec![None; queries.len()], queries, load }
    }

    fn play(&mut self, driven: &mut Driven, seconds: std::ops::Range<u32>) {
        for t in seconds {
            let load = |region: usize| self.regions().iter().filter(|of| **of == region).count() * self.load;
            let reports = (0..3).map(|region| format!("L {region} {} 1000\n", load(region))).collect::<String>();
            let asks: Vec<usize> = (0..self.cached.len()).filter(|&n| self.cached[n].is_none_or(|(_, until)| until <= t)).collect();
            let queries: Vec<&str> = asks.iter().map(|&n| self.queries[n].as_str()).collect();
            let answers = driven.second(1_790_000_000 + t, if t % 10 == 0 { &reports } else { "" }, &queries);
            for (n, (region, ttl_s)) in asks.into_iter().zip(answers) {
                self.cached[n] = Some((region, t + ttl_s));
            }
        }
    }

    /// Where each was sent last.
    fn regions(&self) -> Vec<usize> {
        self.cached.iter().flatten().map(|(region, _)| *region).collect()
    }

    /// All answers run out.
    fn forget(&mut self) {
        self.cached.iter_mut().flatten().for_each(|(_, until)| *until = 0);
    }
}

#[test]
fn with_a_state_directory_a_killed_simulation_is_gone_on_with() {
    let state = tempfile::tempdir().expect("a directory");
    let arguments = ["--state", &*state.path().to_string_lossy()];
    // Seoul has more at its door than it can take: some of its clients are sent elsewhere by a plan.
    let mut crowd = Crowd::of(200, 8);
    let mut driven = Driven::of(simulate_with(&arguments));
    crowd.play(&mut driven, 0..900);
    let before = crowd.regions();
    assert!(before.iter().any(|region| *region != 0), "a plan splits");
    driven.child.kill().expect("killed");
    driven.child.wait().expect("its end");

    let mut driven = Driven::of(simulate_with(&arguments));
    crowd.forget();
    for (from, to) in (0..=10).map(|minute| (930 + 60 * minute, 931 + 60 * minute)) {
        crowd.play(&mut driven, from..to);
        let same = before.iter().zip(crowd.regions()).filter(|(before, after)| **before == *after).count();
        assert!(same >= 198, "{same} of 200 at {from} s");
        crowd.play(&mut driven, to..to + 59);
    }
    drop(driven.input);
    let mut told = String::new();
    let mut errors = driven.child.stderr.take().expect("its standard error");
    std::io::Read::read_to_string(&mut errors, &mut told).expect("text");
    assert!(told.starts_with("note: a warm start: took up 3 regions"), "{told}");
    driven.child.wait().expect("its end");
}

#[test]
fn load_reports_that_are_no_numbers_stop_nothing() {
    let mut driven = Driven::start();
    for (t, report) in ["L 0 nan nan\n", "L 0 -5 0\n", "L 0 inf inf\n", "L 0 1e300 nan\n"].into_iter().enumerate() {
        assert_eq!(driven.second(t as u32, report, &FROM_EACH)[0].0, 0, "{report}");
    }
    driven.finish();
}

#[test]
fn the_same_lines_get_the_same_answers() {
    let seconds =
        |t: u32| format!("T {t}\nP 0 {}\nL 1 {} 1000\n{}END\n", u32::from(t % 50 < 25), t * 9, FROM_EACH.concat());
    let text = WORLD.to_owned() + &(0..200).map(seconds).collect::<String>();
    let (first, second) = (play(&text), play(&text));
    assert_eq!(first.stdout.iter().filter(|&&byte| byte == b'\n').count(), 600);
    assert!(first.status.success() && first.stdout == second.stdout);
}

#[test]
fn mistakes_end_it_with_their_line_and_exit_code_2() {
    for (text, told) in [
        (String::new(), "error: the input ends after line 0, before `START`\n"),
        (
            WORLD.replace("LOC 1 DE", "LOC 1 Germany"),
            "error: line 5: `Germany`: not a two-letter country code (ISO 3166-1)\n",
        ),
        (format!("{WORLD}T 0\nQ 3 1 1\n"), "error: line 11: there is no location 3: they are 0 to 2\n"),
        (format!("{WORLD}T 0\nQ 0 1"), "error: line 11: 0 or 1 for ECS is missing\n"),
        (
            format!("{WORLD}T 0\nEND\nT 1\nQ 0 1 1\n"),
            "error: the input ends after line 13, with queries that no `END` asked the answers of\n",
        ),
    ] {
        let output = play(&text);
        assert_eq!(String::from_utf8_lossy(&output.stderr), told);
        assert_eq!(output.status.code(), Some(2), "{told}");
    }
}

/// The example of this name, small enough for a debug build.
fn example(name: &str) -> Scenario {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/scenarios").join(name);
    let mut scenario = Scenario::load(&path).expect("a scenario without mistakes");
    (scenario.drawing.cities, scenario.drawing.resolvers) = (60, 200);
    (scenario.course.warm_up_s, scenario.course.length_s) = (300, 1800);
    for incident in &mut scenario.course.incidents {
        (incident.from_s, incident.until_s) = (incident.from_s - 900, incident.until_s - 900);
    }
    scenario
}

fn played(scenario: &Scenario) -> (Summary, String) {
    let globe = scenario.globe();
    let mut simulation = scenario.simulation(&globe).expect("a simulation");
    let record = day::play(&globe, &scenario.course, &mut simulation).expect("answers");
    let summary = Summary::of(&globe.world, &record, scenario.course.warm_up_s);
    let page = report::page(&scenario.title, &globe.world, &scenario.course, &record, &summary);
    (summary, page)
}

#[test]
fn the_example_of_a_failing_region_shows_a_quick_failover() {
    let (summary, page) = played(&example("region-failure.toml"));
    assert_eq!(summary.minutes, 30);
    let loss = &summary.losses[0];
    assert_eq!((loss.region.as_str(), loss.at_s), ("frankfurt", 900));
    assert!(loss.last_answer_s.is_some_and(|seconds| seconds < 7), "{loss:?}");
    assert!(loss.moved > 0.95, "{loss:?}");
    assert!(summary.failed > 0.0 && summary.failed < 0.02, "{summary:?}");
    assert!(summary.ratio() > 1.0 && summary.ratio() < 1.2, "{summary:?}");
    assert_eq!(page.matches("<svg").count(), 6);
    assert!(!page.contains("NaN") && !page.contains("inf\""), "no figure is missing");
    assert!(!page.contains("http"), "the page needs no other");
}

#[test]
fn the_other_examples_can_be_played() {
    for name in ["flash-crowd.toml", "brown-out.toml", "flapping.toml"] {
        let (summary, page) = played(&example(name));
        assert!(summary.ratio() > 0.99 && summary.ratio() < 1.5, "{name}: {summary:?}");
        assert!(page.contains("What happened") && page.ends_with("</html>\n"), "{name}");
    }
}

#[test]
fn a_scenario_is_played_from_the_command_line() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("small.toml");
    let world = "title = \"<Small>\"\nlength = \"10m\"\nwarm_up = \"1m\"\ndemand = { peak = 1000, cities = 20, resolvers = 20 }\n\
                 region.a = { location = { country = \"DE\" }, capacity = 900 }\n\
                 region.b = { location = { country = \"JP\" }, capacity = 900, cost = 0.5 }\n";
    std::fs::write(&file, world).expect("written");
    let simulate = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_meridian"));
        command.args(["simulate", "--scenario"]).args(arguments).output().expect("the program runs")
    };
    let (path, page) = (file.to_string_lossy(), directory.path().join("page.html"));
    let output = simulate(&[&path, "--report", &page.to_string_lossy()]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.starts_with("<Small>: 10 minutes, "), "{text}");
    assert!(std::fs::read_to_string(page).expect("a page").contains("<h1>&lt;Small&gt;</h1>"));
    let output = simulate(&[&path, "--json"]);
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(json["minutes"].as_array().map(Vec::len), Some(10));
    assert_eq!(json["summary"]["regions"][1]["name"], "b");
    std::fs::write(&file, world.replace("capacity", "capacty")).expect("written");
    let output = simulate(&[&path]);
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(told.contains("did you mean `capacity`?") && told.matches("`capacity` is missing").count() == 2, "{told}");
}

#[test]
fn a_configured_service_is_played_with_its_own_policy() {
    let directory = tempfile::tempdir().expect("a directory");
    let write = |name: &str, text: &str| std::fs::write(directory.path().join(name), text).expect("written");
    std::fs::create_dir(directory.path().join("zones")).expect("a directory");
    write("meridian.toml", "");
    let region = |name: &str, country: &str, address: &str| {
        format!(
            "[region.{name}]\nlocation = {{ country = \"{country}\" }}\ncapacity = 900\n\
             endpoints = [{{ address = \"{address}\" }}]\ncheck.tcp = {{ port = 443 }}\n"
        )
    };
    let zone = "origin = \"gslb.example\"\nrecords = \"\"\"\n@ SOA ns1 hostmaster 1 1h 10m 1w 60\n@ 300 NS ns1\n\
                @ 300 NS ns2.example.net.\nns1 A 192.0.2.53\n\"\"\"\n";
    let service = "[service.www]\npolicy = \"failover\"\nregions = [\"near\", \"far\"]\n";
    let regions =
        [region("unused", "BR", "192.0.2.1"), region("far", "JP", "192.0.2.2"), region("near", "DE", "192.0.2.3")];
    write("zones/gslb.example.toml", &format!("{zone}{}{service}", regions.concat()));
    write(
        "scenario.toml",
        "config = \"meridian.toml\"\nservice = \"www.gslb.example\"\nlength = \"20m\"\nwarm_up = \"1m\"\n\
         demand = { peak = 500, cities = 20, resolvers = 50 }\n\
         [[incident]]\nat = \"10m\"\nfailure = { region = \"near\" }\n",
    );
    let scenario = Scenario::load(&directory.path().join("scenario.toml")).expect("no mistakes");
    let (summary, _) = played(&scenario);
    let uses: Vec<(&str, bool)> = summary.regions.iter().map(|r| (r.name.as_str(), r.peak_utilisation > 0.1)).collect();
    assert_eq!(uses, [("near", true), ("far", true)]);
    assert_eq!(summary.losses[0].region, "near");
    assert!(summary.losses[0].moved > 0.9, "all of them: {summary:?}");
}
