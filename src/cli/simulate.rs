//! `meridian simulate`: the real steering under a virtual clock, without sockets.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use clap::Args;

use crate::simulate::day::{Minute, play};
use crate::simulate::report;
use crate::simulate::scenario::Scenario;
use crate::simulate::stdio::{self, State, StdioError};
use crate::simulate::summary::Summary;
use crate::steer::figure::{percent, rounded};

use super::output::{self, Align, Failure, Outcome, Table};

/// Run planner, health and picking under a virtual clock, without sockets
///
/// With --scenario a file says what the world is like and what goes wrong in it. With --stdio the
/// world and its events are read from standard input line by line, and answers are written to
/// standard output: anyone can drive it and score it against other policies.
#[derive(Args)]
#[command(after_help = "\
Examples:
  meridian simulate --scenario examples/scenarios/region-failure.toml
  meridian simulate --scenario brown-out.toml --report brown-out.html

The protocol of --stdio:
  once         REGION i name lat lon cost capacity      a region, i from 0
               LOC j country lat lon name               a client location, j from 0
               R j i ms                                 an RTT estimate (may also come later)
               TTL seconds    SEED n    START
  each second  T t                                      virtual seconds
               P i 0|1                                  what a probe of region i would find now
               L i load capacity                        a load report arrives (nan: it failed)
               Q j key ecs                              a query: location, 16 hex digits, 0|1
               END                                      asks for the answers
  answer       A i ttl                                  one line per Q, in order

With --nodes, Q is asked of the node whose number, from 0, stands at its end (else of node 0), and what P
and L say is seen by that node alone (else by all).

With --state, T is the wall clock too: whatever ends a simulation, the next one with that directory goes on
from its last save, at most 30 virtual seconds before, as a server does that was killed.

Exit code: 0 when it has been played, 1 where a file cannot be, 2 at a mistake on standard input.")]
pub struct Simulate {
    /// Read the world and its events from standard input
    #[arg(long, required_unless_present = "scenario", conflicts_with = "scenario")]
    stdio: bool,
    /// Keep here what a server keeps over a restart, and take up what is here
    #[arg(long, value_name = "DIR", requires = "stdio")]
    state: Option<PathBuf>,
    /// Play so many nodes, which share what they see: Q, P and L may end with a node's number
    #[arg(long, value_name = "COUNT", requires = "stdio", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=64))]
    nodes: u8,
    /// Play this file
    #[arg(long, value_name = "FILE")]
    scenario: Option<PathBuf>,
    /// Write a page with charts
    #[arg(long, value_name = "FILE", requires = "scenario")]
    report: Option<PathBuf>,
    /// Print JSON: the summary, and every minute
    #[arg(long, requires = "scenario")]
    json: bool,
}

impl Simulate {
    pub fn run(&self) -> Outcome {
        match &self.scenario {
            Some(path) => self.play(path),
            None => drive(self.state.as_deref(), self.nodes.into()),
        }
    }

    fn play(&self, path: &Path) -> Outcome {
        let scenario = Scenario::load(path).map_err(|mistakes| Failure::of_files(&mistakes))?;
        let globe = scenario.globe();
        let failed = |error: &dyn std::fmt::Display| Failure::new(format!("{}: {error}", path.display()));
        let mut simulation = scenario.simulation(&globe).map_err(|error| failed(&error))?;
        let record = play(&globe, &scenario.course, &mut simulation).map_err(|error| failed(&error))?;
        let summary = Summary::of(&globe.world, &record, scenario.course.warm_up_s);
        if let Some(path) = &self.report {
            let page = report::page(&scenario.title, &globe.world, &scenario.course, &record, &summary);
            std::fs::write(path, page)
                .map_err(|error| Failure::new(format!("cannot write {}: {error}", path.display())))?;
        }
        if self.json {
            output::print_json(&Played { title: &scenario.title, summary: &summary, minutes: &record.minutes })
        } else {
            output::print(&told(&scenario.title, &summary))
        }
    }
}

/// The content that `--json` prints.
#[derive(serde::Serialize)]
struct Played<'a> {
    title: &'a str,
    summary: &'a Summary,
    minutes: &'a [Minute],
}

fn drive(state: Option<&Path>, nodes: usize) -> Outcome {
    let mut tell = |notice: &str| eprintln!("note: {notice}");
    let state = state.map(|directory| State { directory, tell: &mut tell });
    match stdio::run_with(io::stdin().lock(), io::stdout().lock(), nodes, state) {
        Ok(()) => Ok(()),
        // Whoever drove it has seen enough.
        Err(StdioError::Output(error)) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        Err(error @ StdioError::Output(_)) => Err(Failure::new(error.to_string())),
        Err(error) => Err(Failure::new(error.to_string()).mistyped()),
    }
}

fn told(title: &str, summary: &Summary) -> String {
    let mut regions = Table::new([
        ("region", Align::Left),
        ("capacity", Align::Right),
        ("mean use", Align::Right),
        ("highest", Align::Right),
        ("minutes above", Align::Right),
    ]);
    for region in &summary.regions {
        regions.row([
            region.name.clone(),
            rounded(region.capacity, 0),
            percent(region.utilisation, 0),
            percent(region.peak_utilisation, 0),
            region.overloaded_minutes.to_string(),
        ]);
    }
    let mut figures = Table::new([("figure", Align::Left), ("", Align::Right), ("", Align::Left)]);
    let mut figure = |name: &str, value: String, what: &str| figures.row([name.into(), value, what.into()]);
    figure("round-trip time", format!("{} ms", rounded(summary.rtt_ms, 1)), "mean over all demand");
    figure("price", format!("{} $", rounded(summary.dollars, 3)), "per million requests");
    figure("failed", percent(summary.failed, 4), "of all demand");
    figure("overload", format!("{} s", rounded(summary.overload_s, 2)), "of the whole world's demand");
    figure("cost", format!("{} ms", rounded(summary.cost_ms, 1)), "round trip + 5 per dollar + 1000 per failure");
    figure("the optimum's", format!("{} ms", rounded(summary.best_ms, 1)), "who knows everything, every minute");
    figure("ratio", rounded(summary.ratio(), 3), "");
    if let Some(moved) = summary.moved_per_minute {
        figure("moved", percent(moved, 3), "of all demand per minute, when steady");
    }
    for loss in &summary.losses {
        let last = loss.last_answer_s.map_or("none".into(), |seconds| format!("{seconds} s"));
        figure("last answer", last, &format!("that named {} after its death", loss.region));
        let ample = if loss.ample { "" } else { "; the others had too little room" };
        figure(
            "moved then",
            format!("{} ×", rounded(loss.moved, 3)),
            &format!("its clients, within two minutes{ample}"),
        );
    }
    format!(
        "{title}: {} minutes, {} queries\n\n{}\n{}",
        summary.minutes,
        summary.queries,
        regions.render(),
        figures.render()
    )
}
