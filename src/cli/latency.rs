//! `meridian latency`: round trips that were measured, to and from a running server.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::{Args, Subcommand};

use crate::admin::latency::{Count, FigureRow, LatencyReport};
use crate::control::bounded_file;
use crate::control::rum::import;
use crate::steer::figure::rounded;

use super::live::Server;
use super::output::{self, Align, Failure, Outcome, Table, age, count};
use super::view::View;

/// See how far clients are from regions, as measured, or import measurements
#[derive(Args)]
#[command(after_help = "\
Examples:
  meridian latency show
  meridian latency show --region seoul --country KR
  meridian latency show --network 192.0.2.7      its network's, and what it falls back on
  meridian latency import measured.csv           in place of what it names; the rest stays
  meridian latency import measured.json --replace

A table has the columns network, or asn and country, or country; region; rtt_ms; and if known, samples
and at. CSV begins with a line of their names; JSON is an array of objects, or an object per line.
Networks come before operators in a country, those before countries, and all before distances.")]
pub struct Latency {
    #[command(subcommand)]
    action: Action,
    #[command(flatten)]
    server: Server,
}

#[derive(Subcommand)]
enum Action {
    /// Show what was measured
    Show(Show),
    /// Take a table of measurements, whole or not at all
    Import(Import),
}

#[derive(Args)]
struct Show {
    /// To this region: NAME, or NAME@ZONE
    #[arg(long)]
    region: Option<String>,
    /// Of this network or address, and what its clients fall back on
    #[arg(long, conflicts_with = "country")]
    network: Option<String>,
    /// Of this country and its operators
    #[arg(long)]
    country: Option<String>,
    /// Show at most so many
    #[arg(long, default_value_t = 1000)]
    limit: usize,
    #[command(flatten)]
    view: View,
}

#[derive(Args)]
struct Import {
    /// The table: a file whose name ends in .csv, .json or .jsonl
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Forget all that was imported before; with an empty file that is all
    #[arg(long)]
    replace: bool,
    /// Print the answer as JSON
    #[arg(long)]
    json: bool,
}

impl Latency {
    pub fn run(&self) -> Outcome {
        match &self.action {
            Action::Show(show) => show.run(&self.server),
            Action::Import(import) => import.run(&self.server),
        }
    }
}

impl Import {
    fn run(&self, server: &Server) -> Outcome {
        let shown = self.file.display();
        let json = match self.file.extension().and_then(|extension| extension.to_str()) {
            Some("csv") => false,
            Some("json" | "jsonl" | "ndjson") => true,
            _ => return Err(Failure::new(format!("{shown}: the name must end in .csv, .json or .jsonl"))),
        };
        let text = bounded_file::read_text(&self.file, import::MAX_OCTETS as u64)
            .map_err(|error| Failure::new(format!("cannot read {shown}: {error}")))?;
        let imported = server.ask(async |server| server.import_latency(text.clone(), json, self.replace).await)?;
        if self.json {
            return output::print_json(&imported);
        }
        let (figures, in_all) = (count(imported.figures, "figure"), imported.in_all);
        output::print(&format!("{figures} taken from {shown}; {in_all} are imported in all\n"))
    }
}

impl Show {
    fn run(&self, server: &Server) -> Outcome {
        let limit = self.limit.to_string();
        let wanted = [
            ("region", self.region.as_deref()),
            ("network", self.network.as_deref()),
            ("country", self.country.as_deref()),
            ("limit", Some(limit.as_str())),
        ];
        let query: Vec<_> = wanted.into_iter().filter_map(|(key, value)| Some((key, value?))).collect();
        self.view.show_as(server, async |server| server.latency(&query).await, render)
    }
}

// Writing to a String cannot fail: what `writeln!` returns is dropped.

fn render(LatencyReport { figures, found, counts, trouble }: &LatencyReport) -> String {
    let mut text = String::new();
    if let Some(trouble) = trouble {
        let _ = writeln!(text, "  trouble: {trouble}\n");
    }
    if figures.is_empty() {
        text.push_str("  nothing was measured: distances decide\n");
    } else {
        text.push_str(&table(figures));
    }
    if *found > figures.len() {
        let _ = writeln!(text, "  and {} more: --limit {found} shows all", found - figures.len());
    }
    let seen: Vec<String> = counts
        .iter()
        .filter(|count| count.count > 0)
        .map(|Count { of, outcome, count }| format!("{of} {} {count}", outcome.replace('_', " ")))
        .collect();
    if !seen.is_empty() {
        let _ = writeln!(text, "\n  from browsers since the start: {}", seen.join(", "));
    }
    text
}

fn table(figures: &[FigureRow]) -> String {
    let mut table = Table::new([
        ("clients", Align::Left),
        ("region", Align::Left),
        ("RTT ms", Align::Right),
        ("±", Align::Right),
        ("samples", Align::Right),
        ("by", Align::Left),
        ("last", Align::Right),
        ("used", Align::Left),
    ]);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    for figure in figures {
        let known = figure.uncertainty_ms > 0.0;
        table.row([
            figure.group.clone(),
            figure.region.clone(),
            rounded(figure.ms, 1),
            if known { rounded(figure.uncertainty_ms, 1) } else { "?".to_owned() },
            figure.samples.to_string(),
            figure.by.to_string(),
            format!("{} ago", age(now.saturating_sub(figure.measured_at))),
            if figure.used { "yes" } else { "no" }.to_owned(),
        ]);
    }
    table.render()
}
