//! `meridian nodes`: the cluster, as one of its nodes sees it.

use std::fmt::Write as _;

use clap::Args;
use serde_json::Value;

use crate::admin::cluster::{short, troubles};
use crate::admin::summary::{Level, Summary};
use crate::control::cluster::status::{ClusterStatus, NodeStatus, PlanStatus};
use crate::model::shown::printable;
use crate::steer::figure::rounded;

use super::live::Server;
use super::output::{self, Align, Outcome, Table, duration};
use super::verdict;
use super::view::{View, understood};

/// Show the nodes of a running server's cluster
#[derive(Args)]
#[command(after_help = "\
Exit status: 0 ok, 3 degraded, 5 no server answers; 1 where it is of no cluster.

Examples:
  meridian nodes
  meridian nodes --json | jq '.nodes[] | {name, heard_s, plan}'
  meridian status --all              what each node says of regions and services")]
pub struct Nodes {
    #[command(flatten)]
    view: View,
    #[command(flatten)]
    server: Server,
}

impl Nodes {
    pub fn run(&self) -> Outcome {
        let text = |answer: &Value| {
            let shown = understood(answer)?;
            Ok(format!("{}{}", verdict::summed_up(&summary(&shown)), render(&shown)))
        };
        let answer = self.view.show(&self.server, async |server| server.nodes().await, text)?;
        answer.map_or(Ok(()), |answer| verdict::ends(summary(&understood(&answer)?).state))
    }
}

fn summary(status: &ClusterStatus) -> Summary {
    let mut troubles = troubles(status);
    troubles.sort_by_key(|trouble| std::cmp::Reverse(trouble.level));
    let state = troubles.first().map_or(Level::Ok, |worst| worst.level);
    Summary { state, since_s: None, troubles }
}

// Writing to a String cannot fail: what `writeln!` returns is dropped.

fn render(status: &ClusterStatus) -> String {
    let mut text = format!("{}\n{}\n\n", printable(&in_short(status)), printable(&store(status)));
    text.push_str(&table(status));
    if status.nodes.iter().any(|node| !node.sees.is_empty()) {
        text.push_str("\nNot up, as nodes see it:\n");
        text.push_str(&sights(status));
    }
    if status.nodes.iter().any(|node| !node.connects.is_empty()) {
        text.push_str("\nConnections to regions take:\n");
    }
    for node in status.nodes.iter().filter(|node| !node.connects.is_empty()) {
        let of = |(region, ms): &(String, f32)| format!("{region} {} ms", rounded(f64::from(*ms), 1));
        let connects: Vec<String> = node.connects.iter().map(of).collect();
        let _ = writeln!(text, "  {}: {}", node.name, printable(&connects.join(", ")));
    }
    if status.corrupt.len() > 1 {
        text.push_str("\nValues in etcd that make no sense:\n");
    }
    for value in status.corrupt.iter().filter(|_| status.corrupt.len() > 1) {
        let _ = writeln!(text, "  {}", printable(value));
    }
    text
}

/// `cluster prod: 3 nodes, n3 leads, plan 12.4 of n3, 8 s old`.
pub fn in_short(status: &ClusterStatus) -> String {
    let ClusterStatus { cluster, leader, node, .. } = status;
    let leads = match leader {
        Some(leader) if leader == node => format!("{leader} leads (this node)"),
        Some(leader) => format!("{leader} leads"),
        None => "nobody leads".to_owned(),
    };
    let plan = match &status.plan {
        Some(PlanStatus { epoch, number, node, age_s, taken, .. }) => {
            let behind = if *taken { "" } else { ", NOT TAKEN here" };
            format!("plan {epoch}.{number} of {node}, {} old{behind}", duration(*age_s))
        }
        None => "no plan yet".to_owned(),
    };
    let away = if status.etcd.there { "" } else { "; etcd AWAY" };
    format!("cluster {cluster}: {}, {leads}, {plan}{away}", output::count(status.nodes.len(), "node"))
}

fn store(status: &ClusterStatus) -> String {
    let etcd = &status.etcd;
    match etcd.there {
        true => format!(
            "etcd {}: answers at {}, revision {}",
            etcd.version.as_deref().unwrap_or("of an unknown version"),
            etcd.endpoint.as_deref().unwrap_or("?"),
            etcd.revision
        ),
        false => format!(
            "etcd AWAY for {}: {}",
            duration(etcd.away_s.unwrap_or_default()),
            etcd.error.as_deref().unwrap_or("it was not heard yet")
        ),
    }
}

fn table(status: &ClusterStatus) -> String {
    let mut table = Table::new([
        ("node", Align::Left),
        ("address", Align::Left),
        ("version", Align::Left),
        ("ready", Align::Left),
        ("heard", Align::Left),
        ("generation", Align::Right),
        ("reloads", Align::Right),
        ("model", Align::Left),
        ("plan", Align::Left),
        ("said here alone", Align::Left),
    ]);
    for node in &status.nodes {
        let number = |known: Option<u64>| known.map_or("-".to_owned(), |known| known.to_string());
        let here = node.here.iter().map(|here| format!("{} {}", here.key, here.said));
        table.row([
            node.name.clone(),
            node.address.clone(),
            node.version.clone(),
            if node.ready { "yes" } else { "NO" }.to_owned(),
            heard(status, node),
            number(node.generation),
            node.reloads.to_string(),
            model(status, node),
            plan(status, node),
            here.collect::<Vec<_>>().join("; "),
        ]);
    }
    table.render()
}

fn heard(status: &ClusterStatus, node: &NodeStatus) -> String {
    match (node.name == status.node, node.heard_s) {
        (true, _) => "this node".to_owned(),
        (false, Some(ago)) => format!("{} s ago", rounded(ago, 1)),
        (false, None) => "never".to_owned(),
    }
}

fn model(status: &ClusterStatus, node: &NodeStatus) -> String {
    let other = if node.model == status.model { "" } else { " OTHER" };
    format!("{}{other}", short(&node.model))
}

/// `12.4`; `12.3, behind` where another is in force for its model.
fn plan(status: &ClusterStatus, node: &NodeStatus) -> String {
    let current = status.plan.as_ref().map(|plan| (plan.epoch, plan.number));
    let alike = node.model == status.model;
    match node.plan {
        None if current.is_some() && alike => "none, behind".to_owned(),
        None => "-".to_owned(),
        Some((epoch, number)) if alike && current.is_some_and(|current| (epoch, number) < current) => {
            format!("{epoch}.{number}, behind")
        }
        Some((epoch, number)) => format!("{epoch}.{number}"),
    }
}

fn sights(status: &ClusterStatus) -> String {
    let mut table = Table::new([
        ("node", Align::Left),
        ("region", Align::Left),
        ("endpoint", Align::Left),
        ("probe", Align::Left),
        ("verdict", Align::Left),
    ]);
    for node in &status.nodes {
        for seen in &node.sees {
            let (region, endpoint, probe) = (seen.region.clone(), seen.endpoint.clone(), seen.probe.clone());
            table.row([node.name.clone(), region, endpoint, probe, seen.verdict.clone()]);
        }
        if node.sees_more > 0 {
            let more = format!("and {} more", output::count(node.sees_more, "region"));
            table.row([node.name.clone(), more, String::new(), String::new(), String::new()]);
        }
    }
    table.render()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_cluster_is_told_in_a_line_and_a_table() {
        let node = |name: &str, model: &str, plan: serde_json::Value| {
            json!({ "name": name, "address": "10.0.0.1:8054", "version": "0.1.0", "model": model, "reloads": 2,
                "ready": name != "n2", "heard_s": if name == "n1" { None } else { Some(0.44) }, "generation": 17,
                "plan": plan, "connects": [["seoul@gslb.example", 12.25]], "here": [],
                "sees": [{ "region": "seoul@gslb.example", "endpoint": "192.0.2.1", "probe": "", "verdict": "down" }] })
        };
        let mut status: ClusterStatus = serde_json::from_value(json!({
            "cluster": "prod", "node": "n1", "model": "aaaaaaaabbbbbbbb", "role": "follower", "leader": "n3",
            "plan": { "epoch": 12, "number": 4, "node": "n3", "bytes": 1, "made_unix_ms": 0, "age_s": 8.0, "taken": true },
            "etcd": { "there": true, "endpoint": "http://127.0.0.1:2379", "version": "3.5.16", "away_s": null, "error": null,
                "revision": 99 },
            "nodes": [node("n1", "aaaaaaaabbbbbbbb", json!([12, 4])), node("n2", "aaaaaaaabbbbbbbb", json!([12, 3])),
                node("n3", "ccccccccbbbbbbbb", json!(null))],
        }))
        .expect("a status");
        assert_eq!(in_short(&status), "cluster prod: 3 nodes, n3 leads, plan 12.4 of n3, 8 s old");
        let text = render(&status);
        for part in [
            "etcd 3.5.16: answers at http://127.0.0.1:2379, revision 99",
            "  n1    10.0.0.1:8054  0.1.0    yes    this node          17        2  aaaaaaaa        12.4\n",
            "  n2    10.0.0.1:8054  0.1.0    NO     0.4 s ago          17        2  aaaaaaaa        12.3, behind\n",
            "cccccccc OTHER  -\n",
            "  n2    seoul@gslb.example  192.0.2.1         down\n",
            "  n3: seoul@gslb.example 12.2 ms\n",
        ] {
            assert!(text.contains(part), "`{part}` is not in:\n{text}");
        }
        (status.etcd.there, status.etcd.away_s) = (false, Some(30.0));
        status.plan = None;
        status.leader = Some("n1".into());
        let text = render(&status);
        assert!(text.starts_with("cluster prod: 3 nodes, n1 leads (this node), no plan yet; etcd AWAY\n"), "{text}");
        assert!(text.contains("etcd AWAY for 30 s: it was not heard yet\n"), "{text}");
    }
}
