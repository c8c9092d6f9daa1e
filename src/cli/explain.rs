//! `meridian explain`: why a client gets the answer it gets, from files or from a running server.
//!
//! ```text
//!   files, embedded demo ─▶ snapshot ─▶ explain_client ─┐
//!                                                       ├─▶ the same JSON ─▶ table
//!   running server ─▶ GET /v1/explain ──────────────────┘
//! ```

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use clap::Args;
use serde_json::Value;

use crate::admin::client::AdminClient;
use crate::admin::explain::{AskedBy, DecodedAnswer, ExplainError, ExplainReport, explain_client};
use crate::admin::planning::{KeptNearStatus, PlanningStatus};
use crate::control::reload::prepare;
use crate::control::what_if::{Change, World};
use crate::demo::DemoSource;
use crate::model::{Name, RecordType};
use crate::state::Snapshot;
use crate::steer::decide::{ScopeReason, TtlReason};
use crate::steer::explain::{Explanation, KeptNearRow, LoadRow, RegionRow};
use crate::steer::figure::{percent, rounded, signed};
use crate::steer::health::effective::Override;
use crate::steer::latency::rtt::{MeasuredBy, RttSource};
use crate::steer::policy::eligible::ServiceCondition;
use crate::steer::policy::{Passed, Step};

use super::arguments::ConfigFile;
use super::live::Server;
use super::output::{self, Align, Failure, Outcome, Table};
use super::source::{self, FileSource};
use super::view::{View, understood};
use super::{explain_diff, what_if};

/// Show why a client gets the answer it gets
///
/// From the files: overrides hold as they were kept; regions nobody probed are taken as up, and loads as
/// not reported. With --live, a running server tells what it sees now.
#[derive(Args)]
#[command(after_help = "\
Examples:
  meridian explain www.gslb.example --client 127.82.0.1 --demo
  meridian explain www.gslb.example.com --client 192.0.2.0/20 --config meridian.toml
  meridian explain www.gslb.example.com --client 2001:db8::1 --type AAAA --live
  meridian explain www.gslb.example.com --client 192.0.2.7 --by-source --live --json
  meridian explain www.gslb.example.com --client 192.0.2.7 --live --json > before.json
  meridian explain www.gslb.example.com --client 192.0.2.7 --live --diff before.json
  meridian explain www.gslb.example.com --client 192.0.2.7 --config meridian.toml --diff new.toml
  meridian explain www.gslb.example.com --config meridian.toml --diff new.toml

The client is seen as a resolver with EDNS Client Subnet tells of it, by its /24 or /48, unless the
length is given. With --by-source the query comes from that very address.

With --diff, what changed is shown, term by term: from a moment kept with --json to now, or to other
files. Without --client, how many places, or with --live how much demand, would change region with
those files. Exit code then: 0 where nothing differs, 1 where something does, or it failed.")]
pub struct Explain {
    /// The name asked for, such as www.gslb.example.com
    name: String,
    /// The client: an address, or a network such as 192.0.2.0/20
    #[arg(long, value_name = "ADDRESS", required_unless_present = "diff")]
    client: Option<String>,
    /// Show what differs: from this kept explanation, or with this other configuration
    #[arg(long, value_name = "FILE")]
    diff: Option<PathBuf>,
    /// The record type asked for
    #[arg(long = "type", value_name = "TYPE", default_value = "A")]
    qtype: RecordType,
    /// The query comes from the client's own address, without EDNS Client Subnet
    #[arg(long)]
    by_source: bool,
    #[command(flatten)]
    view: View,
    #[command(flatten)]
    file: ConfigFile,
    /// Explain the built-in demo
    #[arg(long, conflicts_with_all = ["config", "live"])]
    demo: bool,
    /// Ask a running server
    #[arg(long, conflicts_with = "config")]
    live: bool,
    #[command(flatten)]
    server: Server,
}

impl Explain {
    pub fn run(&self) -> Outcome {
        let name = Name::parse_absolute(&self.name)
            .map_err(|error| Failure::new(format!("`{}` is not a name: {error}", self.name)))?;
        if self.view.is_watched() && (!self.live || self.diff.is_some()) {
            return Err(Failure::new("--watch is for what a running server tells: --live, without --diff").mistyped());
        }
        match (&self.client, &self.diff) {
            (Some(client), Some(diff)) => self.diff_client(&name, client, diff),
            (None, Some(config)) => self.diff_everywhere(&name, config),
            (Some(client), None) => self.explain(&name, client),
            (None, None) => Err(Failure::new("whose answer? say --client ADDRESS").mistyped()),
        }
    }

    fn explain(&self, name: &Name, client: &str) -> Outcome {
        let text = |report: &Value| render(report, self.live);
        if self.live {
            let (qtype, by) = (self.qtype.to_string(), self.by());
            AskedBy::parse(client, Some(by)).map_err(Failure::new)?;
            let ask = async |server: &AdminClient| server.explain(&self.name, client, &qtype, Some(by)).await;
            return self.view.show(&self.server, ask, text).map(drop);
        }
        output::print_styled(&self.view.page(&self.report(name, client)?, text)?)
    }

    /// From the kept explanation to the present one, or from the present one to that of other files.
    fn diff_client(&self, name: &Name, client: &str, diff: &Path) -> Outcome {
        let (before, after) = match explain_diff::kept(diff)? {
            Some(before) => (before, self.report(name, client)?),
            None => {
                let other = source::snapshot(FileSource::new(diff).prepare()?)?;
                (self.report(name, client)?, self.report_from(&other, name, client)?)
            }
        };
        let differences = explain_diff::differences(&before, &after);
        if self.view.json {
            output::print_json(&differences)?;
        } else {
            output::print(&explain_diff::render(&differences))?;
        }
        if differences.is_empty() { Ok(()) } else { Err(Failure::told()) }
    }

    /// The number of clients of the service that would change region with other files.
    fn diff_everywhere(&self, name: &Name, config: &Path) -> Outcome {
        if explain_diff::kept(config)?.is_some() {
            return Err(Failure::new("a kept explanation is of one client: say which with --client ADDRESS").mistyped());
        }
        let mut before = match self.live {
            true => self.server.ask(async |server| server.demand().await)?,
            false => World::of(self.snapshot()?).placed(),
        };
        let key = name.to_lowercase().to_string();
        let key = key.strip_suffix('.').unwrap_or(&key);
        if !before.services.iter().any(|service| service.name == key) {
            return Err(Failure::new(format!("{name} is no service")));
        }
        before.only(key);
        let outcome = what_if::moved(&before, config, &Change::default())?;
        if self.view.json {
            output::print_json(&outcome)?;
        } else {
            output::print(&what_if::render(&outcome))?;
        }
        if outcome.moves.is_empty() { Ok(()) } else { Err(Failure::told()) }
    }

    fn report(&self, name: &Name, client: &str) -> Outcome<Value> {
        let by = self.by();
        AskedBy::parse(client, Some(by)).map_err(Failure::new)?;
        if self.live {
            let qtype = self.qtype.to_string();
            return self.server.ask(async |server| server.explain(&self.name, client, &qtype, Some(by)).await);
        }
        self.report_from(&*self.snapshot()?, name, client)
    }

    fn report_from(&self, snapshot: &Snapshot, name: &Name, client: &str) -> Outcome<Value> {
        let client = AskedBy::parse(client, Some(self.by())).map_err(Failure::new)?;
        let report = explain_client(snapshot, name, self.qtype, client, Instant::now()).map_err(not_explained)?;
        serde_json::to_value(report).map_err(|error| Failure::new(error.to_string()))
    }

    fn by(&self) -> &'static str {
        if self.by_source { "source" } else { "ecs" }
    }

    fn snapshot(&self) -> Outcome<Arc<Snapshot>> {
        let prepared = if self.demo {
            prepare(&DemoSource::new(Default::default(), Path::new(NOWHERE))).map_err(Failure::all)?
        } else {
            let prepared = FileSource::new(&self.file.config).prepare();
            prepared.map_err(|failure| failure.help("or explain another source: --config FILE, --live, --demo"))?
        };
        source::snapshot(prepared)
    }
}

/// A state directory that is not there: the demo keeps no overrides beyond its run.
const NOWHERE: &str = "/nonexistent";

fn not_explained(error: ExplainError) -> Failure {
    let failure = Failure::new(error.to_string());
    match error {
        ExplainError::Unknown { nearest, .. } if !nearest.is_empty() => {
            failure.help(format!("services there are: {}", nearest.join(", ")))
        }
        _ => failure,
    }
}

impl PlanningStatus {
    /// The clients kept near for want of believed loads, in words.
    pub fn kept_near(&self) -> Option<String> {
        let KeptNearStatus { places, part, regions } = self.kept_near.as_ref()?;
        let (places, part) = (output::count(*places, "place"), percent(*part, 1));
        let whose = regions.join(", ");
        Some(format!(
            "{places}, {part} of demand, kept near: the load of {whose} is not believed, so nobody is sent far for it"
        ))
    }

    /// In words: by plan, how old, or by price, and why.
    pub fn told(&self) -> String {
        let age = self.age_s.map_or(String::new(), |age| format!(", made {} s ago", rounded(age, 0)));
        let demand = self.demand.map_or(String::new(), |demand| format!(", for a demand of {}", rounded(demand, 0)));
        let error = self.error.as_ref().map_or(String::new(), |error| format!("; no newer plan: {error}"));
        match &*self.by {
            "plan" => match &self.of_node {
                Some(node) => format!("by the plan of {node}{age}{demand}{error}"),
                None => format!("by plan{age}{demand}{error}"),
            },
            _ => format!("by price, without a plan{}", self.error.as_ref().map_or(String::new(), |e| format!(": {e}"))),
        }
    }
}

fn render(report: &Value, live: bool) -> Outcome<String> {
    let ExplainReport { name, qtype, note, planning, explanation, answer, .. } = understood(report)?;
    let mut text = format!("{name} {qtype}\n");
    if let Some(note) = note {
        let _ = writeln!(text, "  note       {note}");
    }
    if explanation.is_some() && live {
        let _ = writeln!(text, "  shared out {}", planning.told());
    }
    if let Some(reasons) = &explanation {
        render_reasons(&mut text, reasons, live);
    }
    render_answer(&mut text, &answer);
    Ok(text)
}

// Writing to a String cannot fail: what `writeln!` returns is dropped.

fn render_reasons(text: &mut String, reasons: &Explanation, live: bool) {
    let Explanation { service, policy, client, walk, regions, condition, fence, kept_near, chosen } = reasons;
    let seen_by = if client.seen_by == "ecs" { "told by EDNS Client Subnet" } else { "the query's source" };
    let _ = writeln!(text, "  client     {} ({seen_by}), at {}", client.address, client.location);
    let _ = writeln!(text, "  service    {service}, policy {policy}");
    if !live {
        text.push_str("  evidence   files alone: regions are taken as up, loads as not reported\n");
    }
    if let Some(meaning) = condition_in_words(*condition) {
        let whose = fence.as_ref().map_or(String::new(), |rule| format!("of the fence of {rule}, "));
        let _ = writeln!(text, "  condition  {}: {whose}{meaning}", condition.as_str());
    }
    if let Some(KeptNearRow { region, max_detour_ms }) = kept_near {
        let far = rounded(*max_detour_ms, 0);
        let _ = writeln!(
            text,
            "  kept near  the load of {region} is not believed: nobody here is sent {far} ms farther for it"
        );
    }
    render_walk(text, walk);
    let _ = write!(text, "\n{}\n", region_table(regions));
    let told = |region: &RegionRow| {
        let load = region.load.as_ref()?;
        Some((region.region.clone(), load.heard.told(Some(load.load), load.capacity)?))
    };
    for (region, told) in regions.iter().filter_map(told) {
        let _ = writeln!(text, "  load       {region}: {told}");
    }
    let _ = write!(text, "  region     {}, endpoint {}", chosen.region, chosen.endpoint);
    if !chosen.others.is_empty() {
        let _ = write!(text, "; with {}", chosen.others.join(", "));
    }
    for (family, endpoint) in [("IPv4", &chosen.ipv4_endpoint), ("IPv6", &chosen.ipv6_endpoint)] {
        if let Some(endpoint) = endpoint {
            let _ = write!(text, "; for {family} {endpoint}");
        }
    }
    let _ = writeln!(text, "\n  TTL        {} s: {}", chosen.ttl_s, ttl_in_words(chosen.ttl_reason));
    let scope = chosen.scope.map_or("not said".to_owned(), |scope| format!("/{scope}"));
    let _ = writeln!(text, "  scope      {scope}: {}", scope_in_words(chosen.scope_reason));
}

/// The groups a client came through, where there are any but the service itself.
fn render_walk(text: &mut String, walk: &[Step]) {
    if walk.len() < 2 && walk.iter().all(|step| step.because.is_none()) {
        return;
    }
    for Step { depth, group, policy, because, children } in walk {
        let heading = if *depth == 0 { "  way        " } else { "             " };
        let indent = "  ".repeat(*depth);
        let group = group.as_ref().map_or("the service".to_owned(), |name| format!("group {name}"));
        let because = because.as_ref().map_or(String::new(), |because| format!(" ({because})"));
        let _ = writeln!(text, "{heading}{indent}{group}, {policy}{because}");
        for Passed { name, taken, why } in children {
            let mark = if *taken { "→" } else { "-" };
            let _ = writeln!(text, "             {indent}{mark} {name}: {why}");
        }
    }
}

fn region_table(regions: &[RegionRow]) -> String {
    let mut table = Table::new([
        ("region", Align::Left),
        ("state", Align::Left),
        ("RTT ms", Align::Right),
        ("from", Align::Left),
        ("used", Align::Right),
        ("latency", Align::Right),
        ("+ price", Align::Right),
        ("+ cost", Align::Right),
        ("+ bias", Align::Right),
        ("- stays", Align::Right),
        ("= total ms", Align::Right),
        ("tier", Align::Right),
        ("planned", Align::Right),
        ("share", Align::Right),
        ("why none", Align::Left),
    ]);
    for region in regions {
        let score = &region.score;
        let said = if region.operator_override == Override::Auto { "" } else { " (override)" };
        table.row([
            region.region.clone(),
            format!("{}{said}{}", region.effective.as_str(), stability(region)),
            match score.bias_ms {
                0.0 => rounded(score.rtt.ms, 1),
                bias => format!("{} {}", rounded(score.rtt.ms, 1), signed(bias, 0)),
            },
            rtt_source(&score.rtt.source),
            region.load.as_ref().map_or("-".into(), used),
            rounded(score.latency_ms, 1),
            rounded(score.load_ms, 1),
            rounded(score.cost_ms, 1),
            rounded(region.bias_ms, 1),
            rounded(region.stays_ms, 1),
            rounded(region.total_ms, 1),
            region.tier.map_or("-".into(), |tier| tier.to_string()),
            region.planned_share.map_or("-".into(), |share| percent(share, 1)),
            percent(region.share, 1),
            region.excluded.as_deref().unwrap_or_default().to_owned(),
        ]);
    }
    table.render()
}

fn stability(region: &RegionRow) -> String {
    let held = if region.held_s.is_some() { " (held)" } else { "" };
    let offered = if region.offered < 1.0 { format!(" at {}", percent(region.offered, 0)) } else { String::new() };
    let degraded = region.degraded.iter().map(|why| format!(", {why}")).collect::<String>();
    let shed = if region.shed > 0.0 { format!(", sheds {}", percent(region.shed, 0)) } else { String::new() };
    let restored = if region.restored { ", by probes of before the restart" } else { "" };
    let vote = region.vote.filter(|vote| vote.down > 0);
    let vote = vote.map_or(String::new(), |vote| format!(", down to {} of {} vantages", vote.down, vote.judging));
    format!("{held}{offered}{degraded}{shed}{restored}{vote}")
}

fn used(load: &LoadRow) -> String {
    let used = load.utilisation.map_or("?".to_owned(), |used| percent(used, 0));
    match load.heard.word() {
        _ if load.stale => format!("{used} {:.0} s ago", load.age_s),
        Some(word) => format!("{used}, {word}"),
        None => used,
    }
}

fn rtt_source(source: &RttSource) -> String {
    match *source {
        RttSource::Distance { km } => format!("{km:.0} km"),
        RttSource::Unknown => "place unknown".to_owned(),
        RttSource::Measured { group, by, samples, measured_at, .. } => {
            let by = if by == MeasuredBy::Import { " (imported)" } else { "" };
            format!("{group}{by}{}{}", samples_in_words(samples), age_in_words(measured_at))
        }
    }
}

/// `, 12 samples`; nothing where it is not known how many.
fn samples_in_words(samples: u32) -> String {
    if samples == 0 { String::new() } else { format!(", {}", output::count(samples as usize, "sample")) }
}

/// `, 3 h ago`, of seconds since 1970; nothing of 0.
fn age_in_words(measured_at: u64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    if measured_at == 0 { String::new() } else { format!(", {} ago", output::age(now.saturating_sub(measured_at))) }
}

fn condition_in_words(condition: ServiceCondition) -> Option<&'static str> {
    match condition {
        ServiceCondition::Normal => None,
        ServiceCondition::Full => Some("all regions that are up are above their limits; these are not heeded"),
        ServiceCondition::Unproven => {
            Some("no region is known to be up; those are answered that no probe has proven to be down")
        }
        ServiceCondition::Panic => Some("all regions are down by their probes; all are answered as if up"),
        ServiceCondition::OnlyDraining => Some("all regions are draining or down; those draining still serve"),
        ServiceCondition::AllWithdrawn => {
            Some("all regions were taken down by override; they are answered all the same")
        }
    }
}

fn ttl_in_words(reason: TtlReason) -> &'static str {
    match reason {
        TtlReason::Calm => "all is calm",
        TtlReason::Suspect => "the chosen region may be about to go down",
        TtlReason::Aftermath => "a region went down, began to drain or came back in the last 300 s",
        TtlReason::Panic => "all regions there are for this client are down or withdrawn",
        TtlReason::Full => "the chosen region is above 95 % of its capacity",
        TtlReason::Busy => "the chosen region is above 85 % of its capacity",
        TtlReason::Reduced => "another region is down or draining",
    }
}

fn scope_in_words(reason: ScopeReason) -> &'static str {
    match reason {
        ScopeReason::IgnoresLocation => "all clients are answered alike",
        ScopeReason::Place => "the widest network that is all answered alike",
        ScopeReason::Split => "clients of this place are shared out among regions or endpoints",
    }
}

fn render_answer(text: &mut String, answer: &DecodedAnswer) {
    let authority = if answer.authoritative { "authoritative" } else { "not authoritative" };
    let truncated = if answer.truncated { ", truncated" } else { "" };
    let _ = writeln!(text, "  answer     {}, {authority}{truncated}, {} octets\n", answer.rcode, answer.octets);
    for (section, records) in
        [("", &answer.answer), ("authority", &answer.authority), ("additional", &answer.additional)]
    {
        if !section.is_empty() && !records.is_empty() {
            let _ = writeln!(text, "  ; {section}");
        }
        for record in records {
            let _ = writeln!(text, "  {record}");
        }
    }
}
