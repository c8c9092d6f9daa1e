//! `meridian what-if`: who would move where, before anything is changed.
//!
//! ```text
//!   --kill and such ─▶ POST /v1/what-if ────────────────────────────┐
//!   --config NEW ────▶ GET /v1/demand ─▶ the same code, here, with ─┴─▶ Outcome ─▶ tables
//!                                        the new files
//! ```

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;

use crate::control::what_if::outcome::{self, RegionMoment, RegionOutcome, Totals};
use crate::control::what_if::placed::{Counted, Placed};
use crate::control::what_if::{Change, MOST_FACTOR, what_if_moved};
use crate::steer::figure::{self, rounded};
use crate::steer::policy::eligible::ServiceCondition;

use super::live::Server;
use super::output::{self, Align, Failure, Outcome, Table};
use super::source::{FileSource, snapshot};

/// Show what would follow if regions, demand or the files were other than they are
///
/// Asks a running server, which plans and decides as it would then, from the demand it knows now.
/// Nothing is changed by asking.
#[derive(Args)]
#[command(after_help = "\
Examples:
  meridian what-if --kill seoul
  meridian what-if --drain seoul --demand 1.5
  meridian what-if --capacity seoul=5000 --capacity tokyo=8000
  meridian what-if --canary www=25%
  meridian what-if --config new/meridian.toml
  meridian what-if --config new/meridian.toml --kill seoul --json

With --config, the new files are read here, and the server is asked for its demand alone. Where it
knows none, for want of load reports or of queries, places are counted instead, and it is said so.")]
pub struct WhatIf {
    /// This region is down; may be said several times, as may the others
    #[arg(long, value_name = "REGION")]
    kill: Vec<String>,
    /// This region is drained
    #[arg(long, value_name = "REGION")]
    drain: Vec<String>,
    /// This region is up, whatever is known of it
    #[arg(long, value_name = "REGION")]
    up: Vec<String>,
    /// What this region can take, in the unit of its load reports
    #[arg(long, value_name = "REGION=CAPACITY", value_parser = capacity)]
    capacity: Vec<(String, f64)>,
    /// Demand everywhere is this many times as much: above 0, 1000 at most
    #[arg(long, value_name = "TIMES", value_parser = demand, allow_negative_numbers = true)]
    demand: Option<f64>,
    /// This service's clients are sent to this of its stages
    #[arg(long, value_name = "SERVICE=STAGE", value_parser = stage)]
    switch: Vec<(String, String)>,
    /// This service's canary gets this part of clients, such as 25%
    #[arg(long, value_name = "SERVICE=PART", value_parser = canary)]
    canary: Vec<(String, f64)>,
    /// These files were served instead
    #[arg(long, short, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print all of it as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: Server,
}

fn demand(text: &str) -> Result<f64, String> {
    let expected = || format!("expected a number above 0, {MOST_FACTOR} at most, such as 1.5");
    text.parse().ok().filter(|factor| *factor > 0.0 && *factor <= MOST_FACTOR).ok_or_else(expected)
}

fn capacity(text: &str) -> Result<(String, f64), String> {
    let expected = || format!("`{text}` is not a region and what it can take, such as seoul=5000");
    let (name, number) = text.rsplit_once('=').ok_or_else(expected)?;
    let number: f64 = number.trim().parse().map_err(|_| expected())?;
    if name.is_empty() || !(number.is_finite() && number > 0.0) {
        return Err(expected());
    }
    Ok((name.to_owned(), number))
}

fn stage(text: &str) -> Result<(String, String), String> {
    let expected = || format!("`{text}` is not a service and a stage of it, such as www=green");
    let (service, stage) = text
        .split_once('=')
        .filter(|(service, stage)| !service.is_empty() && !stage.is_empty())
        .ok_or_else(expected)?;
    Ok((service.to_owned(), stage.to_owned()))
}

fn canary(text: &str) -> Result<(String, f64), String> {
    let expected = || format!("`{text}` is not a service and a part of its clients, such as www=25%");
    let (service, part) = text.split_once('=').filter(|(service, _)| !service.is_empty()).ok_or_else(expected)?;
    Ok((service.to_owned(), super::canary::part(part)?))
}

impl WhatIf {
    pub fn run(&self) -> Outcome {
        let change = Change {
            kill: self.kill.clone(),
            drain: self.drain.clone(),
            up: self.up.clone(),
            capacity: self.capacity.iter().cloned().collect::<BTreeMap<_, _>>(),
            demand: self.demand,
            switch: self.switch.iter().cloned().collect::<BTreeMap<_, _>>(),
            canary: self.canary.iter().cloned().collect::<BTreeMap<_, _>>(),
        };
        let outcome = match &self.config {
            Some(config) => moved(&self.server.ask(async |server| server.demand().await)?, config, &change)?,
            None if change == Change::default() => {
                let failure = Failure::new("nothing is asked").mistyped();
                return Err(failure.help("say what to change, such as --kill REGION or --config FILE"));
            }
            None => self.server.ask(async |server| server.what_if(&change).await)?,
        };
        if self.json { output::print_json(&outcome) } else { output::print(&render(&outcome)) }
    }
}

/// The outcome for those whom `live` tells of, with these files.
pub fn moved(live: &Placed, config: &Path, change: &Change) -> Outcome<outcome::Outcome> {
    let snapshot = snapshot(FileSource::new(config).prepare()?)?;
    what_if_moved(live, snapshot, change, Instant::now()).map_err(Failure::all)
}

// Writing to a String cannot fail: what `writeln!` returns is dropped.

/// All of it, for people.
pub fn render(outcome: &outcome::Outcome) -> String {
    let unit = if outcome.counted == Counted::Demand { "demand" } else { "places" };
    let mut text = String::new();
    let _ = writeln!(text, "{} of {unit} would move: {}", percent(outcome.moved_ratio), amount(outcome.moved));
    for note in &outcome.notes {
        let _ = writeln!(text, "  note       {note}");
    }
    let _ = writeln!(text, "  shared out {} now, then {}", outcome.before.by, outcome.after.by);
    if !outcome.moves.is_empty() {
        let _ = write!(text, "\n{}", move_table(outcome, unit));
    }
    let _ = write!(text, "\n{}\n{}", region_table(&outcome.regions, unit), total_table(outcome, unit));
    render_warnings(&mut text, outcome, unit);
    text
}

fn render_warnings(text: &mut String, outcome: &outcome::Outcome, unit: &str) {
    let mut warnings = Vec::new();
    if !outcome.over_capacity.is_empty() {
        warnings.push(format!("over capacity: {}", outcome.over_capacity.join(", ")));
    }
    if outcome.unanswered > 0.0 {
        warnings.push(format!("unanswered: {} of {unit}", amount(outcome.unanswered)));
    }
    for service in &outcome.services {
        let word = |condition: Option<ServiceCondition>| condition.map_or("not there", ServiceCondition::as_str);
        let fence = service.fence.as_ref().map_or(String::new(), |rule| format!(", for the clients of {rule} alone"));
        warnings.push(format!("{}{fence}: {}, now {}", service.name, word(service.after), word(service.before)));
    }
    if !warnings.is_empty() {
        text.push('\n');
    }
    for warning in warnings {
        let _ = writeln!(text, "  warning    {warning}");
    }
}

fn move_table(outcome: &outcome::Outcome, unit: &'static str) -> String {
    /// Beyond these, `--json` tells all.
    const MOST: usize = 30;
    let mut table =
        Table::new([("from", Align::Left), ("to", Align::Left), (unit, Align::Right), ("of all", Align::Right)]);
    let name = |name: &Option<String>| name.clone().unwrap_or_else(|| "nobody".to_owned());
    for one in outcome.moves.iter().take(MOST) {
        let part = if outcome.after.amount > 0.0 { one.amount / outcome.after.amount } else { 0.0 };
        table.row([name(&one.from), name(&one.to), amount(one.amount), percent(part)]);
    }
    table.render()
}

fn region_table(regions: &[RegionOutcome], unit: &'static str) -> String {
    let mut table = Table::new([
        ("region", Align::Left),
        ("state", Align::Left),
        (unit, Align::Right),
        ("then", Align::Right),
        ("capacity", Align::Right),
        ("used", Align::Right),
        ("then", Align::Right),
        ("price ms", Align::Right),
        ("then", Align::Right),
    ]);
    for region in regions {
        let of = |moment: &Option<RegionMoment>, figure: &dyn Fn(&RegionMoment) -> Option<String>| {
            moment.as_ref().and_then(figure).unwrap_or_else(|| "-".to_owned())
        };
        let load = |moment: &RegionMoment| Some(amount(moment.load));
        let used = |moment: &RegionMoment| moment.utilisation.map(percent);
        let price = |moment: &RegionMoment| Some(rounded(moment.price_ms, 1));
        table.row([
            region.name.clone(),
            effective_states(region),
            of(&region.before, &load),
            of(&region.after, &load),
            of(if region.after.is_some() { &region.after } else { &region.before }, &|m| m.capacity.map(amount)),
            of(&region.before, &used),
            of(&region.after, &used),
            of(&region.before, &price),
            of(&region.after, &price),
        ]);
    }
    table.render()
}

/// `up`, `up → down`, `new, up`, `up → gone`.
fn effective_states(region: &RegionOutcome) -> String {
    match (&region.before, &region.after) {
        (Some(before), Some(after)) if before.effective == after.effective => after.effective.as_str().to_owned(),
        (Some(before), Some(after)) => format!("{} → {}", before.effective.as_str(), after.effective.as_str()),
        (Some(before), None) => format!("{} → gone", before.effective.as_str()),
        (None, Some(after)) => format!("new, {}", after.effective.as_str()),
        (None, None) => String::new(),
    }
}

fn total_table(outcome: &outcome::Outcome, unit: &'static str) -> String {
    let mut table = Table::new([
        ("all", Align::Left),
        (unit, Align::Right),
        ("mean RTT ms", Align::Right),
        ("$ per million", Align::Right),
        ("beyond capacity", Align::Right),
    ]);
    let mut row = |word: &str, totals: &Totals| {
        let mean = |mean: Option<f64>, digits| mean.map_or("-".to_owned(), |mean| rounded(mean, digits));
        let (rtt, cost) = (mean(totals.rtt_ms, 1), mean(totals.cost, 3));
        table.row([word.to_owned(), amount(totals.amount), rtt, cost, amount(totals.beyond_capacity)]);
    };
    row("now", &outcome.before);
    row("then", &outcome.after);
    table.render()
}

fn percent(part: f64) -> String {
    figure::percent(part, 1)
}

fn amount(amount: f64) -> String {
    rounded(amount, if amount >= 100.0 || amount == 0.0 { 0 } else { 2 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_never_less_than_nothing() {
        let nobody = || Placed {
            generation: 0,
            counted: Counted::Demand,
            by: "by plan".to_owned(),
            asked: true,
            left_out: 0,
            notes: Vec::new(),
            regions: Vec::new(),
            services: Vec::new(),
            clients: Vec::new(),
        };
        let outcome = outcome::compare(&nobody(), &nobody());
        let json = serde_json::to_string(&outcome).expect("JSON");
        for text in [render(&outcome), json] {
            assert!(!text.contains("-0"), "{text}");
        }
    }

    #[test]
    fn capacities_are_a_region_and_a_number_above_0() {
        assert_eq!(capacity("seoul=5000"), Ok(("seoul".to_owned(), 5000.0)));
        assert_eq!(capacity("seoul@gslb.example=0.5"), Ok(("seoul@gslb.example".to_owned(), 0.5)));
        for text in ["", "seoul", "seoul=", "=5", "seoul=0", "seoul=-1", "seoul=nan", "seoul=inf", "seoul=many"] {
            assert!(capacity(text).is_err(), "{text}");
        }
    }
}
