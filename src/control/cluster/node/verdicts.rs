//! What nodes' probes say, by the store: each node tells what it judges once, and then only what is not up.
//!
//! Others' words count while their node is there and is heard. Where the store falls silent they count for as long as a
//! lease would, so that no moment without it hands all to one node's probes; then this node judges alone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::control::cluster::keys::{JUDGES, VERDICTS};
use crate::control::cluster::store::{MOST_OPERATIONS, Operation, Outcome, Revision};
use crate::model::ProbeId;
use crate::state::News;
use crate::steer::health::verdict::Verdict;
use crate::steer::health::vote::{Exceptions, Vantage};
use crate::steer::kept::Clock;

use super::{LEASE, Node, Output, Ticket};

/// A node that told its beats, and is silent for so long, does not count.
const SILENT: Duration = Duration::from_secs(5);

#[derive(Debug, Default)]
pub(super) struct Verdicts {
    own: Option<Vantage>,
    /// As the store has it under this lease.
    told: Option<Vantage>,
    /// The store has it since this revision.
    told_at: Option<Revision>,
    /// What it will have when the transaction under way has taken.
    telling: Option<Vantage>,
    /// What the publisher was told of the others, and from which state of the store, and of whom.
    heard: Option<(u64, BTreeSet<String>)>,
}

impl Verdicts {
    /// The transaction under way has taken, or not.
    pub fn put(&mut self, outcome: Option<Outcome>) {
        let telling = self.telling.take();
        if let Some(Outcome::Done(revision)) = outcome {
            (self.told, self.told_at) = (telling, Some(revision));
        }
    }

    pub fn forget_told(&mut self) {
        (self.told, self.told_at, self.telling) = (None, None, None);
    }
}

impl Node {
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
