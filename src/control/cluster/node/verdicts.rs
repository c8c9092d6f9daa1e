//! What nodes' probes say, by the store: each node tells what it judges once, and then only what is not up.
//!
//! Others' words count while their node is there and is heard. Where the store falls silent they count for as long as a
//! lease would, so that no moment without it hands all to one node's probes; then this node judges alone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::control::cluster::keys::{JUDGES, VERDICTS};
use crate::control::cluster::store::{MOST_OPERATIONS, Operation};
use crate::model::ProbeId;
use crate::state::News;
use crate::steer::health::verdict::Verdict;
use crate::steer::health::vote::{Exceptions, Vantage};
use crate::steer::kept::Clock;

use super::told::SeenProbe;
use super::{LEASE, Node, Output, Ticket};

/// A node that told its beats, and is silent for so long, does not count.
const SILENT: Duration = Duration::from_secs(5);

impl Node {
    /// The probes that a node does not call up, at most so many, and how many regions with more there are.
    pub fn seen_by(&self, node: &str, most: usize) -> (Vec<SeenProbe>, usize) {
        let own = self.verdicts.own.as_ref().filter(|_| node == self.identity.node);
        let (mut seen, mut more) = (Vec::new(), 0);
        let mut add = |region: &str, exceptions: Exceptions| {
            if seen.len() < most {
                seen.extend(seen_of(region, &exceptions));
            } else {
                more += 1;
            }
        };
        match own {
            Some(own) => own.exceptions.iter().for_each(|(region, of)| add(region, of.clone())),
            None => {
                let below = format!("{VERDICTS}{node}/");
                let told = self.view.below(&below);
                told.for_each(|(region, entry)| add(region, read(&entry.value).unwrap_or_default()));
            }
        }
        seen.truncate(most);
        (seen, more)
    }

    /// The keys of verdicts that make no sense.
    pub fn corrupt_verdicts(&self) -> impl Iterator<Item = String> {
        let judges = self.view.below(JUDGES);
        let judges = judges.filter(|(_, entry)| serde_json::from_slice::<BTreeMap<String, u64>>(&entry.value).is_err());
        let verdicts = self.view.below(VERDICTS).filter(|(_, entry)| read(&entry.value).is_none());
        let key = |of: &'static str| move |(name, _)| format!("{of}{name}");
        judges.map(key(JUDGES)).chain(verdicts.map(key(VERDICTS)))
    }

    /// The verdicts of this node's own probes.
    pub fn set_verdicts(&mut self, own: Vantage, now: &Clock) {
        self.verdicts.own = Some(own);
        self.tick(now);
    }

    /// The store has heard all that was told, and says something else. What it says, where that makes sense.
    pub(super) fn untrue_verdicts(&self) -> Option<Option<Vantage>> {
        let verdicts = &self.verdicts;
        let heard = verdicts.told_at.is_some_and(|at| at <= self.view.revision()) && verdicts.telling.is_none();
        let said = heard.then(|| self.vantage(&self.identity.node))?;
        (said != verdicts.told).then_some(said)
    }

    pub(super) fn tell_verdicts_again(&mut self, said: Option<Vantage>) {
        (self.verdicts.told, self.verdicts.told_at) = (said, None);
    }

    /// Has the store say what changed, in one transaction at a time.
    pub(super) fn tell_verdicts(&mut self) {
        let (Some(lease), Some(own)) = (self.lease, self.verdicts.own.clone()) else { return };
        let ready = self.view.is_there() && self.retry.is_none() && self.verdicts.telling.is_none();
        if !ready || self.verdicts.told.as_ref() == Some(&own) {
            return;
        }
        let (told, node) = (self.verdicts.told.clone(), self.identity.node.clone());
        let mut next = told.clone().unwrap_or_default();
        let mut operations = Vec::new();
        if told.as_ref().is_none_or(|told| told.judges != own.judges) {
            let judges: BTreeMap<&str, u64> = own.judges.iter().map(|(region, number)| (&**region, *number)).collect();
            let value = serde_json::to_vec(&judges).unwrap_or_default();
            operations.push(Operation::Put { key: self.key(JUDGES, &node), value, lease: Some(lease.id) });
            next.judges = own.judges.clone();
        }
        let regions: BTreeSet<&Arc<str>> = own.exceptions.keys().chain(next.exceptions.keys()).collect();
        let changed = |region: &&Arc<str>| own.exceptions.get(&***region) != next.exceptions.get(&***region);
        let changed: Vec<Arc<str>> = regions.into_iter().filter(changed).cloned().collect();
        for region in changed.into_iter().take(MOST_OPERATIONS - 1) {
            let key = self.key(VERDICTS, &format!("{node}/{region}"));
            match own.exceptions.get(&region) {
                Some(exceptions) => {
                    operations.push(Operation::Put { key, value: written(exceptions), lease: Some(lease.id) });
                    next.exceptions.insert(region, exceptions.clone());
                }
                None => {
                    operations.push(Operation::Delete { key });
                    next.exceptions.remove(&region);
                }
            }
        }
        self.verdicts.telling = Some(next);
        self.commit(Ticket::Verdicts, Vec::new(), operations);
    }

    /// Tells the publisher what the others say, where that is another than before.
    pub(super) fn hear_vantages(&mut self, now: Instant) {
        let fresh = self.fresh(now);
        let state = (self.view.verdicts(), fresh);
        if self.verdicts.heard.as_ref() == Some(&state) {
            return;
        }
        let vantage = |node: &String| Some((node.clone(), self.vantage(node)?));
        let vantages: BTreeMap<String, Vantage> = state.1.iter().filter_map(vantage).collect();
        if self.verdicts.heard.is_some() || !vantages.is_empty() {
            self.outputs.push(Output::News(News::Vantages(vantages)));
        }
        self.verdicts.heard = Some(state);
    }

    /// The other nodes whose words count now.
    fn fresh(&self, now: Instant) -> BTreeSet<String> {
        if !self.view.is_there() && self.view.away_since().is_none_or(|since| since + LEASE <= now) {
            return BTreeSet::new();
        }
        let heard = |name: &String| self.peers.get(name).is_none_or(|heard| now < heard.at + SILENT);
        self.others().map(|(name, _)| name).filter(|name| heard(name)).cloned().collect()
    }

    /// When the next of them may fall silent.
    pub(super) fn next_silence(&self) -> Option<Instant> {
        let heard = self.verdicts.heard.as_ref()?;
        let silent = heard.1.iter().filter_map(|name| Some(self.peers.get(name)?.at + SILENT));
        silent.chain(self.view.away_since().filter(|_| !heard.1.is_empty()).map(|since| since + LEASE)).min()
    }

    fn vantage(&self, node: &str) -> Option<Vantage> {
        let judges = self.view.below(JUDGES).find(|(name, _)| *name == node)?.1;
        let judges: BTreeMap<String, u64> = serde_json::from_slice(&judges.value).ok()?;
        let judges = judges.into_iter().map(|(region, number)| (region.into(), number)).collect();
        let below = format!("{VERDICTS}{node}/");
        let exceptions =
            self.view.below(&below).filter_map(|(region, entry)| Some((region.into(), read(&entry.value)?)));
        Some(Vantage { judges: Arc::new(judges), exceptions: exceptions.collect() })
    }
}

fn seen_of(region: &str, exceptions: &Exceptions) -> Vec<SeenProbe> {
    let each = |(endpoint, probes): (&Arc<str>, &BTreeMap<ProbeId, Verdict>)| {
        let of = |(probe, verdict): (&ProbeId, &Verdict)| SeenProbe {
            region: region.to_owned(),
            endpoint: endpoint.to_string(),
            probe: probe.to_string(),
            verdict: verdict.as_str().to_owned(),
        };
        probes.iter().map(of).collect::<Vec<_>>()
    };
    exceptions.iter().flat_map(each).collect()
}

/// `{"203.0.113.10": {"": "down"}}`
fn written(exceptions: &Exceptions) -> Vec<u8> {
    let of = |of: &BTreeMap<ProbeId, Verdict>| {
        of.iter().map(|(probe, verdict)| (probe.to_string(), *verdict)).collect::<BTreeMap<String, Verdict>>()
    };
    let plain: BTreeMap<&str, BTreeMap<String, Verdict>> =
        exceptions.iter().map(|(endpoint, probes)| (&**endpoint, of(probes))).collect();
    serde_json::to_vec(&plain).unwrap_or_default()
}

/// `None`: it makes no sense. Then the node counts as if it called the region up.
fn read(value: &[u8]) -> Option<Exceptions> {
    let plain: BTreeMap<String, BTreeMap<String, Verdict>> = serde_json::from_slice(value).ok()?;
    let of = |of: BTreeMap<String, Verdict>| {
        of.into_iter().map(|(probe, verdict)| (ProbeId::parse(&probe), verdict)).collect()
    };
    Some(plain.into_iter().map(|(endpoint, probes)| (endpoint.into(), of(probes))).collect())
}
