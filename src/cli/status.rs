//! `meridian status`: a running server at a glance.

use std::fmt::Write as _;

use clap::Args;
use serde_json::Value;

use crate::admin::status::{
    self as api, AnsweredTtl, DatabaseStatus, EndpointStatus, LoadStatus, ProbeStatus, RegionStatus, ServiceRegion,
    ServiceStatus, VantagesStatus, VoteStatus,
};
use crate::model::shown::printable;
use crate::steer::figure::{percent, rounded, whole_percent};
use crate::steer::health::dependency;

use super::live::Server;
use super::output::{self, Align, Outcome, Table, duration};
use super::view::{View, understood};
use super::{all_nodes, nodes, verdict};

/// Show a running server's regions and services
#[derive(Args)]
#[command(after_help = "\
Exit status: 0 ok, 3 degraded, 4 panic, 5 no server answers.

Examples:
  meridian status
  meridian status --all              every node of the cluster, and where they differ
  meridian status --json | jq '.regions[] | {name, state}'
  meridian status --admin 127.0.0.1:8054 --token-file /etc/meridian/admin.token")]
pub struct Status {
    #[command(flatten)]
    view: View,
    /// Of every node of the cluster, and what differs between them
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    server: Server,
}

impl Status {
    pub fn run(&self) -> Outcome {
        if self.all {
            return all_nodes::run(&self.server, &self.view);
        }
        let text = |answer: &Value| Ok(render(&understood(answer)?));
        let shown = self.view.show(&self.server, async |server| server.status().await, text)?;
        let Some(shown) = shown else { return Ok(()) };
        let shown: api::Status = understood(&shown)?;
        verdict::ends(shown.summary.map(|summary| summary.state).unwrap_or_default())
    }
}

// Writing to a String cannot fail: what `writeln!` returns is dropped.

fn render(status: &api::Status) -> String {
    let mut text = status.summary.as_ref().map_or(String::new(), verdict::summed_up);
    let _ = writeln!(
        text,
        "meridian {}, up {}, zones {}; snapshot {}, {}",
        status.version,
        duration(status.uptime_s),
        status.zones.join(" "),
        status.generation,
        output::count(status.reloads as usize, "reload"),
    );
    if !status.last_load.mistakes.is_empty() {
        let ago = duration(status.last_load.age_s);
        let _ = writeln!(text, "\nThe last reload, {ago} ago, was refused; the configuration before it is served:");
        for mistake in &status.last_load.mistakes {
            let _ = writeln!(text, "  {mistake}");
        }
    }
    for database in &status.atlas.databases {
        let Some(error) = &database.error else { continue };
        let _ = writeln!(text, "\nThe database {} is BAD; {}:\n  {error}", database.path, instead(database));
    }
    if let Some(planning) = &status.planning {
        let _ = writeln!(text, "clients are shared out {}", planning.told());
        if let Some(kept) = planning.kept_near() {
            let _ = writeln!(text, "{kept}");
        }
    }
    if let Some(VantagesStatus { rule, others, .. }) = &status.vantages {
        let _ = writeln!(text, "health is judged with {} (vote: {rule})", printable(&others.join(", ")));
    }
    if let Some(cluster) = &status.cluster {
        let _ = writeln!(text, "{}", printable(&nodes::in_short(cluster)));
    }
    render_feeds(&mut text, &status.regions);
    let _ = write!(text, "\n{}\n{}", region_table(&status.regions), service_table(&status.services));
    text
}

/// What answers go by where a database is bad.
fn instead(database: &DatabaseStatus) -> String {
    let age = duration(database.age_s);
    match &*database.serves {
        "copy" => format!("the copy of its last good contents is used, built {age} ago"),
        "before" => format!("what was read of it before is used, built {age} ago"),
        _ => "answers do WITHOUT it".to_owned(),
    }
}

/// Load reports that are not believed as they stand, or not at all.
fn render_feeds(text: &mut String, regions: &[RegionStatus]) {
    /// Beyond these, `--json` tells all.
    const MOST: usize = 20;
    let told = |region: &RegionStatus| {
        let load = &region.load;
        let told = load.heard.told(load.load, load.capacity).filter(|_| load.configured)?;
        Some(format!("{}: {told}", region.name))
    };
    let told: Vec<String> = regions.iter().filter_map(told).collect();
    if !told.is_empty() {
        text.push_str("\nLoad reports:\n");
    }
    for line in told.iter().take(MOST) {
        let _ = writeln!(text, "  {}", printable(line));
    }
    if told.len() > MOST {
        let _ = writeln!(text, "  and {} more regions: see --json", told.len() - MOST);
    }
}

pub fn region_table<'a>(regions: impl IntoIterator<Item = &'a RegionStatus>) -> String {
    let mut table = Table::new([
        ("region", Align::Left),
        ("state", Align::Left),
        ("override", Align::Left),
        ("location", Align::Left),
        ("load", Align::Right),
        ("of", Align::Right),
        ("used", Align::Right),
        ("price ms", Align::Right),
        ("endpoints", Align::Left),
    ]);
    for region in regions {
        let whole = |known: Option<f64>| known.map_or("-".to_owned(), |known| rounded(known, 0));
        table.row([
            region.name.clone(),
            effective(region),
            region.operator_override.as_str().to_owned(),
            region.location.clone(),
            whole(region.load.load),
            whole(region.load.capacity),
            used(&region.load),
            rounded(region.price_ms, 1),
            region.endpoints.iter().map(endpoint).collect::<Vec<_>>().join("; "),
        ]);
    }
    table.render()
}

/// `up`, `down, damped 96 s`, `down, back in 7 min`, `down, awaits resume`, `up at 40 %`, `up at 50 %, slow: 412 ms above 300 ms`, `drain, safe in 42 s`.
pub fn effective(region: &RegionStatus) -> String {
    let mut text = region.effective.as_str().to_owned();
    let ipv6_lost = region.ipv6.as_deref() == Some("down");
    let more = [
        ipv6_lost.then(|| if region.ipv6_doubted { ", IPv6 DOUBTED" } else { ", IPv6 down" }.to_owned()),
        region.vote.filter(|vote| vote.down > 0).map(|vote| format!(", {}", said_down(vote))),
        region.failed_dependency.as_ref().map(|on| format!(": {}", dependency::reason(on))),
        region.held_s.map(|left| format!(", HELD {}", duration(left))),
        region.damped_s.map(|left| format!(", damped {}", duration(left))),
        region.delayed_s.map(|left| format!(", back in {}", duration(left))),
        region.awaits_resume_s.map(|_| ", awaits resume".to_owned()),
        (region.offered < 1.0).then(|| format!(" at {}", percent(region.offered, 0))),
        region.degraded.as_ref().map(|degraded| format!(", {}", degraded.why.join("; "))),
        region.drain.as_ref().map(|drain| match drain.safe_in_s {
            _ if drain.safe => ", safe".to_owned(),
            Some(seconds) => format!(", safe in {}", duration(seconds)),
            None => ", still answered".to_owned(),
        }),
    ];
    text.extend(more.into_iter().flatten());
    text
}

/// `2 of 3 vantages say down`.
fn said_down(VoteStatus { judging, down }: VoteStatus) -> String {
    format!("{down} of {} {} down", output::count(judging, "vantage"), if down == 1 { "says" } else { "say" })
}

pub fn used(load: &LoadStatus) -> String {
    match (load.utilisation, load.age_s, &load.heard.error) {
        (Some(used), Some(age), _) if load.stale => format!("{}, {} old", percent(used, 0), duration(age)),
        (Some(used), _, _) => match load.heard.word() {
            Some(word) => format!("{}, {word}", percent(used, 0)),
            None => percent(used, 0),
        },
        (None, _, Some(error)) => error.clone(),
        (None, _, None) => "-".to_owned(),
    }
}

fn endpoint(endpoint: &EndpointStatus) -> String {
    match &endpoint.verdict {
        Some(verdict) if endpoint.restored => {
            let age = duration(endpoint.probe_age_s.unwrap_or_default());
            format!("{} {verdict} as of {age} ago, {}", endpoint.label, endpoint.last_probe)
        }
        Some(verdict) => {
            let lacking = endpoint.probes.iter().filter_map(|probe| lacking(probe, verdict)).collect::<String>();
            format!("{} {verdict}: {}{lacking}", endpoint.label, endpoint.last_probe)
        }
        None => format!("{} not probed", endpoint.label),
    }
}

/// `, IPv6 down: connection refused`: of a probe that says another thing than the endpoint's verdict.
fn lacking(probe: &ProbeStatus, verdict: &str) -> Option<String> {
    let said = probe.verdict.as_deref().filter(|said| *said != verdict)?;
    let of = [if probe.ipv6 { "IPv6" } else { "" }, &probe.check];
    let of = of.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ");
    let watched = if probe.role == "watch_only" { " (only watched)" } else { "" };
    Some(format!(", {of} {said}{watched}: {}", probe.last_probe))
}

pub fn service_table<'a>(services: impl IntoIterator<Item = &'a ServiceStatus>) -> String {
    let mut table = Table::new([
        ("service", Align::Left),
        ("policy", Align::Left),
        ("condition", Align::Left),
        ("TTL now", Align::Right),
        ("shares of places", Align::Left),
    ]);
    for service in services {
        let share = |region: &ServiceRegion| {
            let share = region.mean_share.map_or("-".to_owned(), |share| percent(share, 0));
            let name = region.name.split('@').next().unwrap_or_default();
            format!("{name} {share}")
        };
        table.row([
            service.name.clone(),
            policy(service),
            condition(service),
            ttl(service),
            service.regions.iter().map(share).collect::<Vec<_>>().join(", "),
        ]);
    }
    table.render()
}

/// `30 s`; `5–30 s` where it is not the same for all clients.
pub fn ttl(service: &ServiceStatus) -> String {
    match service.answered_ttl_s {
        Some(AnsweredTtl { least, most }) if least < most => format!("{least}–{most} s"),
        Some(AnsweredTtl { least, .. }) => format!("{least} s"),
        None => format!("{} s", service.ttl_s),
    }
}

/// `normal`, `normal; rule 2: panic`.
pub fn condition(service: &ServiceStatus) -> String {
    let fences = service.fences_out.iter().map(|fence| format!("; {}: {}", fence.rule, fence.condition.as_str()));
    format!("{}{}", service.condition.as_str(), fences.collect::<String>())
}

/// `score`, `stage blue`, `stage green, switched`, `score; canary 25 %, shifted`.
pub fn policy(service: &ServiceStatus) -> String {
    let policy = match &service.stage {
        Some(stage) if service.switched => format!("stage {stage}, switched"),
        Some(stage) => format!("stage {stage}"),
        None => service.policy.to_string(),
    };
    match &service.canary {
        Some(canary) if canary.shifted.is_some() => {
            format!("{policy}; canary {}, shifted", whole_percent(canary.share))
        }
        Some(canary) => format!("{policy}; canary {}", whole_percent(canary.share)),
        None => policy,
    }
}
