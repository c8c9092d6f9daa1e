//! The cluster this server is of: what of it is in every status, and what is wrong with it.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::control::cluster::status::{ClusterStatus, HereStatus, NodeStatus};

use super::context::Context;
use super::summary::{Level, Trouble};

/// As last told; `None`: this server is of no cluster.
pub fn cluster(context: &Context) -> Option<ClusterStatus> {
    context.cluster.as_ref().map(|handle| (*handle.status()).clone())
}

/// The node whose plan holds here, where it came by the cluster.
pub fn planned_by(status: &ClusterStatus) -> Option<String> {
    let plan = status.plan.as_ref().filter(|plan| plan.taken && status.role != "alone")?;
    Some(plan.node.clone())
}

/// A node that was not heard for so many seconds is told of.
const SILENT_S: f64 = 5.0;
/// Nobody leads for a moment at each start, and when a leader goes.
const LEADERLESS_S: f64 = 15.0;
/// A store that was not heard yet is told of after so many seconds.
const UNHEARD_S: f64 = 3.0;

/// What is wrong with a cluster, as this node sees it.
pub fn troubles(status: &ClusterStatus) -> Vec<Trouble> {
    let mut found = of_store(status);
    found.extend(of_plans(status));
    found.extend(status.nodes.iter().flat_map(|node| of_node(status, node)));
    found.extend(
        status.gone.iter().map(|gone| {
            degraded(&gone.name, "this node is gone: the cluster has let go of it".into(), Some(gone.gone_s))
        }),
    );
    found
}

fn trouble(level: Level, of: &str, what: String, since_s: Option<f64>) -> Trouble {
    Trouble { level, of: of.to_owned().into(), what, since_s, until_s: None }
}

fn degraded(of: &str, what: String, since_s: Option<f64>) -> Trouble {
    trouble(Level::Degraded, of, what, since_s)
}

fn of_store(status: &ClusterStatus) -> Vec<Trouble> {
    let etcd = &status.etcd;
    let mut found = Vec::new();
    let late = etcd.error.is_some() || etcd.away_s.is_some_and(|away| away >= UNHEARD_S);
    if !etcd.there && late {
        let why = etcd.error.as_deref().unwrap_or("it was not heard yet");
        let what =
            format!("does not answer: {why}; answers go on by what is known, and nothing can be said to all nodes");
        found.push(degraded("etcd", what, etcd.away_s));
    }
    found.extend(etcd.refused.iter().map(|why| degraded("etcd", format!("does not take what is said: {why}"), None)));
    if let Some(first) = status.corrupt.first() {
        let count = status.corrupt.len();
        let what = match count {
            1 => format!("a value in it makes no sense: {first}"),
            _ => format!("{count} values in it make no sense; the first: {first}"),
        };
        found.push(degraded("etcd", what, None));
    }
    found
}

fn of_plans(status: &ClusterStatus) -> Vec<Trouble> {
    let mut found = Vec::new();
    let leaderless = status.leaderless_s.filter(|since| *since > LEADERLESS_S && status.etcd.there);
    if let Some(since) = leaderless {
        found.push(degraded("planner", "no node plans for all that serve this model".into(), Some(since)));
    } else if status.role == "alone" && status.role_s > LEADERLESS_S {
        let what = "this node plans alone: the others' demand and plans are not known here".to_owned();
        found.push(degraded("planner", what, Some(status.role_s)));
    }
    found.extend(
        status
            .plan_error
            .iter()
            .map(|why| degraded("planner", format!("the cluster's last plan was not taken: {why}"), None)),
    );
    found
}

fn of_node(status: &ClusterStatus, node: &NodeStatus) -> Vec<Trouble> {
    let mut found = Vec::new();
    if node.model != status.model {
        let what = format!(
            "serves ANOTHER MODEL ({}, and {} here): each plans for its own until the configurations are alike",
            short(&node.model),
            short(&status.model)
        );
        found.push(degraded(&node.name, what, None));
    }
    if let Some(silent) = node.silent_s.filter(|silent| *silent > SILENT_S) {
        found.push(degraded(&node.name, "this node is not heard".into(), Some(silent)));
    }
    if !node.ready && node.name != status.node {
        let what = "this node is not ready: it should not be announced".to_owned();
        found.push(trouble(Level::Ok, &node.name, what, None));
    }
    let own = status.here.iter().filter(|_| node.name == status.node && node.here.is_empty());
    found.extend(node.here.iter().chain(own).map(|here| {
        let of = here.key.split_once('/').map_or(&*here.key, |(_, name)| name);
        let what = format!("{} of {of} was said here, and holds at this node ALONE", here.said);
        degraded(&node.name, what, since(here))
    }));
    found
}

/// Words from before a cluster have no time.
fn since(here: &HereStatus) -> Option<f64> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64;
    (here.unix_ms > 0).then(|| now.saturating_sub(here.unix_ms) as f64 / 1e3)
}

/// A model's hash as people tell it apart.
pub fn short(model: &str) -> &str {
    model.get(..8).unwrap_or(model)
}

#[cfg(test)]
mod tests {
    use crate::control::cluster::status::{EtcdStatus, GoneStatus, PlanStatus};

    use super::*;

    fn well() -> ClusterStatus {
        let node = |name: &str| NodeStatus {
            name: name.into(),
            model: "abcdef0123456789".into(),
            ready: true,
            silent_s: (name != "n1").then_some(0.5),
            ..NodeStatus::default()
        };
        ClusterStatus {
            cluster: "prod".into(),
            node: "n1".into(),
            model: "abcdef0123456789".into(),
            role: "follower".into(),
            leader: Some("n2".into()),
            plan: Some(PlanStatus { node: "n2".into(), taken: true, ..PlanStatus::default() }),
            etcd: EtcdStatus { there: true, ..EtcdStatus::default() },
            nodes: vec![node("n1"), node("n2")],
            ..ClusterStatus::default()
        }
    }

    #[track_caller]
    fn tells(change: impl FnOnce(&mut ClusterStatus), of: &str, what: &str, since_s: Option<f64>) {
        let mut status = well();
        change(&mut status);
        let [only] = &troubles(&status)[..] else { panic!("one: {:?}", troubles(&status)) };
        assert!(only.level == Level::Degraded && only.of == of && only.what.contains(what), "{only:?}");
        assert_eq!(only.since_s, since_s);
    }

    #[test]
    fn each_trouble_of_a_cluster_is_told_once() {
        assert_eq!(troubles(&well()), []);
        assert_eq!(planned_by(&well()).as_deref(), Some("n2"));
        let away = |status: &mut ClusterStatus| {
            status.etcd =
                EtcdStatus { error: Some("connection refused".into()), away_s: Some(7.0), ..EtcdStatus::default() };
        };
        tells(away, "etcd", "does not answer: connection refused; answers go on", Some(7.0));
        let unheard = |status: &mut ClusterStatus| {
            status.etcd = EtcdStatus { away_s: Some(4.0), ..EtcdStatus::default() };
        };
        tells(unheard, "etcd", "it was not heard yet", Some(4.0));
        tells(
            |status| status.etcd.refused = Some("no space".into()),
            "etcd",
            "does not take what is said: no space",
            None,
        );
        tells(
            |status| status.corrupt = vec!["nodes/x: expected".into()],
            "etcd",
            "a value in it makes no sense: nodes/x",
            None,
        );
        tells(
            |status| status.corrupt = vec!["a".into(); 3],
            "etcd",
            "3 values in it make no sense; the first: a",
            None,
        );
        tells(|status| status.leaderless_s = Some(16.0), "planner", "no node plans", Some(16.0));
        let alone = |status: &mut ClusterStatus| (status.role, status.role_s) = ("alone".into(), 16.0);
        tells(alone, "planner", "this node plans alone", Some(16.0));
        tells(|status| status.plan_error = Some("other octets".into()), "planner", "was not taken: other octets", None);
        tells(
            |status| status.nodes[1].model = "0000000011111111".into(),
            "n2",
            "ANOTHER MODEL (00000000, and abcdef01",
            None,
        );
        tells(|status| status.nodes[1].silent_s = Some(9.0), "n2", "not heard", Some(9.0));
        let gone = GoneStatus { name: "n3".into(), gone_s: 40.0 };
        tells(|status| status.gone = vec![gone], "n3", "gone", Some(40.0));
        let here = HereStatus { key: "overrides/seoul@gslb.example".into(), said: "`drain`".into(), unix_ms: 0 };
        let said = "`drain` of seoul@gslb.example was said here, and holds at this node ALONE";
        tells(|status| status.nodes[1].here = vec![here.clone()], "n2", said, None);
        tells(|status| status.here = vec![here.clone()], "n1", said, None);
    }

    #[test]
    fn moments_and_intentions_are_no_troubles() {
        let mut early = well();
        early.etcd = EtcdStatus { away_s: Some(2.0), ..EtcdStatus::default() };
        (early.leaderless_s, early.role, early.role_s) = (Some(14.0), "alone".into(), 14.0);
        early.nodes[1].silent_s = Some(4.0);
        assert_eq!(troubles(&early), []);
        let mut drained = well();
        drained.nodes[1].ready = false;
        let [only] = &troubles(&drained)[..] else { panic!("one") };
        assert_eq!((only.level, &*only.of), (Level::Ok, "n2"));
    }
}
