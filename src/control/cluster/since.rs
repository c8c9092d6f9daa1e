//! Since when a cluster is as it is: what one look at a node cannot tell, from one look to the next.
//!
//! Pure: each status comes in as it is now, and goes out with its times and counts.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::status::{ClusterStatus, Counts, GoneStatus};

/// Nodes that went are told for so long.
const GONE: Duration = Duration::from_secs(3600);
/// So many of them at most.
const MOST_GONE: usize = 64;
/// A store that refused something and was not asked for anything since is told of for so long.
const REFUSED: Duration = Duration::from_secs(60);

/// What was seen before.
#[derive(Debug)]
pub struct Since {
    role: (String, Instant),
    leaderless: Option<Instant>,
    away: Option<Instant>,
    /// When each node that is there was first seen.
    there: BTreeMap<String, Instant>,
    gone: BTreeMap<String, Instant>,
    refused: Option<(Instant, String)>,
    plan_error: Option<String>,
    refused_plans: u64,
    refused_words: u64,
}

impl Since {
    pub fn new(now: Instant) -> Since {
        Since {
            role: (String::new(), now),
            leaderless: Some(now),
            away: Some(now),
            there: BTreeMap::new(),
            gone: BTreeMap::new(),
            refused: None,
            plan_error: None,
            refused_plans: 0,
            refused_words: 0,
        }
    }

    /// The store has taken something, or says why not.
    pub fn asked(&mut self, refused: Option<String>, now: Instant) {
        self.refused = refused.map(|why| (now, why));
    }

    /// An operator's word did not come to hold.
    pub fn refused_word(&mut self) {
        self.refused_words += 1;
    }

    /// Fills in what a status cannot tell by itself.
    pub fn fill(&mut self, status: &mut ClusterStatus, now: Instant) {
        let age = |at: Instant| now.saturating_duration_since(at).as_secs_f64();
        if self.role.0 != status.role {
            self.role = (status.role.clone(), now);
        }
        status.role_s = age(self.role.1);
        status.leaderless_s = lasting(&mut self.leaderless, status.leader.is_none(), now).map(age);
        status.etcd.away_s = lasting(&mut self.away, !status.etcd.there, now).map(age);
        self.refused.take_if(|(at, _)| now.saturating_duration_since(*at) >= REFUSED);
        status.etcd.refused = self.refused.as_ref().filter(|_| status.etcd.there).map(|(_, why)| why.clone());
        self.come_and_go(status, now);
        if status.plan_error.is_some() && self.plan_error != status.plan_error {
            self.refused_plans += 1;
        }
        self.plan_error.clone_from(&status.plan_error);
        let (refused_plans, refused_words) = (self.refused_plans, self.refused_words);
        status.counts = Counts { refused_plans, refused_words, ..status.counts };
    }

    fn come_and_go(&mut self, status: &mut ClusterStatus, now: Instant) {
        let age = |at: Instant| now.saturating_duration_since(at).as_secs_f64();
        let before = std::mem::take(&mut self.there);
        for node in &mut status.nodes {
            let seen = before.get(&node.name).copied().unwrap_or(now);
            self.there.insert(node.name.clone(), seen);
            node.silent_s = (node.name != status.node).then(|| node.heard_s.unwrap_or_else(|| age(seen)));
        }
        let gone = before.into_keys().filter(|name| !self.there.contains_key(name) && *name != status.node);
        self.gone.extend(gone.map(|name| (name, now)));
        self.gone.retain(|name, at| !self.there.contains_key(name) && now.saturating_duration_since(*at) < GONE);
        let gone = self.gone.iter().take(MOST_GONE);
        status.gone = gone.map(|(name, at)| GoneStatus { name: name.clone(), gone_s: age(*at) }).collect();
    }
}

/// Keeps since when something holds; `None`: it does not.
fn lasting(since: &mut Option<Instant>, holds: bool, now: Instant) -> Option<Instant> {
    *since = holds.then(|| since.unwrap_or(now));
    *since
}

#[cfg(test)]
mod tests {
    use crate::control::cluster::status::{EtcdStatus, NodeStatus};

    use super::*;

    fn status(nodes: &[(&str, Option<f64>)], leader: Option<&str>, there: bool) -> ClusterStatus {
        let node = |(name, heard_s): &(&str, Option<f64>)| NodeStatus {
            name: (*name).into(),
            heard_s: *heard_s,
            ..NodeStatus::default()
        };
        ClusterStatus {
            node: "n1".into(),
            role: if there { "follower" } else { "alone" }.into(),
            leader: leader.map(str::to_owned),
            etcd: EtcdStatus { there, ..EtcdStatus::default() },
            nodes: nodes.iter().map(node).collect(),
            ..ClusterStatus::default()
        }
    }

    #[test]
    fn times_go_on_until_things_change() {
        let begin = Instant::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        let mut since = Since::new(begin);
        let mut first = status(&[("n1", None), ("n2", None)], None, false);
        since.fill(&mut first, at(2));
        assert_eq!((first.etcd.away_s, first.leaderless_s, first.role_s), (Some(2.0), Some(2.0), 0.0));
        assert_eq!((first.nodes[0].silent_s, first.nodes[1].silent_s), (None, Some(0.0)));
        let mut second = status(&[("n1", None), ("n2", None)], Some("n2"), true);
        since.fill(&mut second, at(9));
        assert_eq!((second.etcd.away_s, second.leaderless_s), (None, None));
        assert_eq!(second.nodes[1].silent_s, Some(7.0), "it was never heard");
        let mut third = status(&[("n1", None)], Some("n2"), true);
        since.fill(&mut third, at(20));
        since.fill(&mut third, at(25));
        assert_eq!(third.gone, [GoneStatus { name: "n2".into(), gone_s: 5.0 }]);
        assert_eq!(third.role_s, 16.0);
        let mut back = status(&[("n1", None), ("n2", Some(0.5))], Some("n2"), true);
        since.fill(&mut back, at(30));
        assert_eq!((back.gone.len(), back.nodes[1].silent_s), (0, Some(0.5)));
        let mut late = status(&[("n1", None)], None, true);
        since.fill(&mut late, at(31));
        since.fill(&mut late, at(31 + 3600));
        assert_eq!((late.gone.len(), late.leaderless_s), (0, Some(3600.0)));
    }

    #[test]
    fn what_is_refused_is_counted_when_it_begins() {
        let begin = Instant::now();
        let mut since = Since::new(begin);
        let mut refused = status(&[], None, true);
        refused.plan_error = Some("other octets came".into());
        since.asked(Some("etcd has no space left".into()), begin);
        since.refused_word();
        since.fill(&mut refused, begin);
        since.fill(&mut refused, begin);
        assert_eq!((refused.counts.refused_plans, refused.counts.refused_words), (1, 1));
        assert_eq!(refused.etcd.refused.as_deref(), Some("etcd has no space left"));
        since.fill(&mut refused, begin + REFUSED);
        assert_eq!(refused.etcd.refused, None);
        since.asked(Some("no space".into()), begin);
        since.asked(None, begin);
        since.fill(&mut refused, begin);
        assert_eq!(refused.etcd.refused, None);
    }
}
