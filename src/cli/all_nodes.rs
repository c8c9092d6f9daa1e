//! `meridian status --all`: every node of a cluster by its own word, and where the words differ.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde::Deserialize;
use serde_json::Value;

use crate::admin::cluster::short;
use crate::admin::nodes::NodeStatuses;
use crate::admin::status::{RegionStatus, ServiceStatus, Status};
use crate::admin::summary::Level;
use crate::model::shown::printable;

use super::live::Server;
use super::output::{self, Align, Outcome, Table, duration};
use super::verdict;
use super::view::{View, understood};

/// More lines of differences are left to `--json`.
const MOST: usize = 100;

/// A node with its status, or why there is none.
type Told = (String, Result<Status, String>);

pub fn run(server: &Server, view: &View) -> Outcome {
    let text = |answer: &Value| {
        let (cluster, told) = told(answer)?;
        Ok(render(&cluster, &told))
    };
    let answer = view.show(server, async |server| server.statuses().await, text)?;
    answer.map_or(Ok(()), |answer| verdict::ends(worst(&told(&answer)?.1)))
}

/// The cluster's name, and what each node says.
fn told(answer: &Value) -> Outcome<(String, Vec<Told>)> {
    let other = |error: &dyn std::fmt::Display| format!("the answer is of another version of meridian: {error}");
    let NodeStatuses { cluster, nodes } = understood(answer)?;
    let told = nodes.into_iter().map(|of| {
        let status = of.status.ok_or_else(|| of.error.unwrap_or_default());
        (of.node, status.and_then(|status| Status::deserialize(status).map_err(|error| other(&error))))
    });
    Ok((cluster, told.collect()))
}

/// A node that does not answer is a trouble; so are differences.
fn worst(told: &[Told]) -> Level {
    let level = |(_, status): &Told| match status {
        Ok(status) => status.summary.as_ref().map(|summary| summary.state).unwrap_or_default(),
        Err(_) => Level::Degraded,
    };
    let differ = if differences(told).is_empty() { Level::Ok } else { Level::Degraded };
    told.iter().map(level).chain([differ]).max().unwrap_or_default()
}

// Writing to a String cannot fail: what `writeln!` returns is dropped.

fn render(cluster: &str, told: &[Told]) -> String {
    let mut text = format!("cluster {}: {}\n\n", printable(cluster), output::count(told.len(), "node"));
    text.push_str(&table(told));
    let differences = differences(told);
    match differences.is_empty() {
        true => text.push_str("\nAll that answer say the same of regions, services and overrides.\n"),
        false => text.push_str("\nWhere they differ:\n"),
    }
    for line in differences.iter().take(MOST) {
        let _ = writeln!(text, "  {}", printable(line));
    }
    if differences.len() > MOST {
        let _ = writeln!(text, "  and {} more: see --json", differences.len() - MOST);
    }
    text
}

fn table(told: &[Told]) -> String {
    let mut table = Table::new([
        ("node", Align::Left),
        ("state", Align::Left),
        ("version", Align::Left),
        ("up", Align::Right),
        ("reloads", Align::Right),
        ("worst", Align::Left),
    ]);
    for (node, status) in told {
        let [state, version, up, reloads, worst] = match status {
            Ok(status) => row(status),
            Err(why) => ["NO ANSWER".to_owned(), "-".to_owned(), "-".to_owned(), "-".to_owned(), why.clone()],
        };
        table.row([node.clone(), state, version, up, reloads, worst]);
    }
    table.render()
}

fn row(status: &Status) -> [String; 5] {
    let summary = status.summary.clone().unwrap_or_default();
    let since = summary.since_s.map_or(String::new(), |since| format!(" for {}", duration(since)));
    let first = summary.troubles.iter().find(|trouble| trouble.level > Level::Ok);
    let more = summary.troubles.iter().filter(|trouble| trouble.level > Level::Ok).count().saturating_sub(1);
    let more = if more > 0 { format!(" (and {more} more)") } else { String::new() };
    [
        format!("{}{since}", summary.state.as_str().to_uppercase()),
        status.version.to_string(),
        duration(status.uptime_s),
        status.reloads.to_string(),
        first.map_or(String::new(), |trouble| format!("{}: {}{more}", trouble.of, trouble.what)),
    ]
}

/// What not all that answer say alike, a line for each.
fn differences(told: &[Told]) -> Vec<String> {
    let answered: Vec<(&str, &Status)> =
        told.iter().filter_map(|(node, status)| Some((node.as_str(), status.as_ref().ok()?))).collect();
    let mut lines = Vec::new();
    let model = |status: &Status| status.cluster.as_ref().map(|cluster| short(&cluster.model).to_owned());
    lines.extend(differ("model", answered.iter().map(|(node, status)| (*node, model(status)))));
    lines.extend(differ("version", answered.iter().map(|(node, status)| (*node, Some(status.version.to_string())))));
    for region in names(&answered, |status| status.regions.iter().map(|region| region.name.as_str()).collect()) {
        let found = |status: &Status, of: fn(&RegionStatus) -> String| {
            status.regions.iter().find(|known| known.name == region).map(of)
        };
        let each =
            |of: fn(&RegionStatus) -> String| answered.iter().map(move |(node, status)| (*node, found(status, of)));
        lines.extend(differ(region, each(|region| region.effective.as_str().to_owned())));
        let said = |region: &RegionStatus| region.operator_override.as_str().to_owned();
        lines.extend(differ(&format!("{region}, override"), each(said)));
    }
    for service in names(&answered, |status| status.services.iter().map(|service| service.name.as_str()).collect()) {
        let found = |status: &Status, of: fn(&ServiceStatus) -> String| {
            status.services.iter().find(|known| known.name == service).map(of)
        };
        let each =
            |of: fn(&ServiceStatus) -> String| answered.iter().map(move |(node, status)| (*node, found(status, of)));
        lines.extend(differ(service, each(|service| service.condition.as_str().to_owned())));
        let stage = |service: &ServiceStatus| service.stage.clone().unwrap_or_else(|| "none".to_owned());
        lines.extend(differ(&format!("{service}, stage"), each(stage)));
    }
    lines
}

fn names<'a>(answered: &[(&str, &'a Status)], of: fn(&'a Status) -> Vec<&'a str>) -> BTreeSet<&'a str> {
    answered.iter().flat_map(|(_, status)| of(status)).collect()
}

/// `seoul@gslb.example: down at n1; up at n2, n3`.
fn differ<'a>(of: &str, said: impl Iterator<Item = (&'a str, Option<String>)>) -> Option<String> {
    let mut words: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for (node, word) in said {
        words.entry(word.unwrap_or_else(|| "unknown".to_owned())).or_default().push(node);
    }
    let each = words.iter().map(|(word, nodes)| format!("{word} at {}", nodes.join(", ")));
    (words.len() > 1).then(|| format!("{of}: {}", each.collect::<Vec<_>>().join("; ")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn status(state: &str, said: &str, model: &str) -> Status {
        let region = json!({
            "name": "seoul@gslb.example", "location": "KR", "state": state, "verdict": "up", "override": said,
            "endpoints": [], "load": { "load": null, "capacity": null, "utilisation": null, "age_s": null, "stale": false },
            "price_ms": 0.0,
        });
        let service = json!({
            "name": "www.gslb.example.", "policy": "score", "switched": false, "condition": "normal", "ttl_s": 30,
            "failover_ttl_s": 5, "regions": [],
        });
        serde_json::from_value(json!({
            "summary": { "state": "ok", "since_s": null, "troubles": [] },
            "version": "0.1.0", "uptime_s": 60.0, "generation": 7, "reloads": 1, "snapshot_age_s": 0.5,
            "last_load": { "ok": true, "age_s": 1.0, "at_unix_s": 0, "mistakes": [] },
            "atlas": { "places": 1, "ranges_ipv4": 0, "ranges_ipv6": 0, "memory_bytes": 0, "databases": [] },
            "cluster": { "cluster": "prod", "model": model },
            "zones": [], "regions": [region], "services": [service], "node": Value::Null,
        }))
        .expect("a status")
    }

    #[test]
    fn nodes_that_agree_say_so() {
        let told = ["n1", "n2"].map(|node| (node.to_owned(), Ok(status("up", "auto", "a"))));
        assert_eq!((differences(&told), worst(&told)), (Vec::new(), Level::Ok));
        let text = render("prod", &told);
        assert!(text.starts_with("cluster prod: 2 nodes\n") && text.contains("  n2    OK     0.1.0    60 s"), "{text}");
        assert!(text.ends_with("All that answer say the same of regions, services and overrides.\n"), "{text}");
    }

    #[test]
    fn what_differs_is_told_with_who_says_what() {
        let told = [
            ("n1".to_owned(), Ok(status("down", "auto", "aaaaaaaabbbb"))),
            ("n2".to_owned(), Ok(status("up", "auto", "aaaaaaaabbbb"))),
            ("n3".to_owned(), Ok(status("up", "up", "ccccccccbbbb"))),
            ("n4".to_owned(), Err("n4 does not answer".to_owned())),
        ];
        assert_eq!(worst(&told), Level::Degraded);
        assert_eq!(
            differences(&told),
            [
                "model: aaaaaaaa at n1, n2; cccccccc at n3",
                "seoul@gslb.example: down at n1; up at n2, n3",
                "seoul@gslb.example, override: auto at n1, n2; up at n3",
            ]
        );
        let text = render("prod", &told);
        assert!(text.contains("  n4    NO ANSWER  -           -        -  n4 does not answer\n"), "{text}");
        assert_eq!(worst(&told[3..]), Level::Degraded, "a node that does not answer");
    }
}
