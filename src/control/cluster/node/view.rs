//! What the store says, as last heard: values that make no sense count as not there, and are told.

use std::collections::BTreeMap;
use std::time::Instant;

use serde::de::DeserializeOwned;

use crate::control::cluster::keys::{
    AUDIT, JUDGES, LEADER, Leader, Member, NODES, OVERRIDES, PLAN, Pointer, SWITCHES, VERDICTS,
};
use crate::control::cluster::store::{Change, Entry, Listing, Revision};

/// The cluster's keys, read.
#[derive(Debug, Default)]
pub struct View {
    /// The store answers, and all it says is known.
    there: bool,
    revision: Revision,
    store: u64,
    members: BTreeMap<String, Member>,
    /// By model, and the revision that made it.
    leaders: BTreeMap<String, (Leader, Revision)>,
    /// By model.
    plans: BTreeMap<String, Pointed>,
    /// By what is behind the prefix: values that are read by whoever needs them.
    others: BTreeMap<String, Entry>,
    /// Values that make no sense, by key.
    corrupt: BTreeMap<String, Corrupt>,
    /// Why the store does not answer, or what it refused last.
    trouble: Option<String>,
    /// Since when it does not answer, though it did.
    away_since: Option<Instant>,
    /// Grows with each change of what nodes' probes say.
    verdicts: u64,
}

/// A value that makes no sense.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Corrupt {
    pub why: String,
    /// The revision that put it: who puts it right names that.
    pub modified: Revision,
}

/// A pointer, and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pointed {
    pub pointer: Pointer,
    pub modified: Revision,
}

impl View {
    /// Whether the store answers, and all it says is known.
    pub fn is_there(&self) -> bool {
        self.there
    }

    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// The store's own number; 0: it was never heard.
    pub fn store(&self) -> u64 {
        self.store
    }

    /// By name; as last heard where the store does not answer.
    pub fn members(&self) -> &BTreeMap<String, Member> {
        &self.members
    }

    /// Who plans for a model, and the revision since when.
    pub fn leader(&self, model: &str) -> Option<(&Leader, Revision)> {
        self.leaders.get(model).map(|(leader, created)| (leader, *created))
    }

    pub fn plan(&self, model: &str) -> Option<&Pointed> {
        self.plans.get(model)
    }

    /// The values of keys that begin so, by the rest of the key.
    pub fn below<'a>(&'a self, of: &'a str) -> impl Iterator<Item = (&'a str, &'a Entry)> {
        let from = self.others.range(of.to_owned()..);
        from.map_while(move |(key, entry)| Some((key.strip_prefix(of)?, entry)))
    }

    /// Values that make no sense, by key.
    pub fn corrupt(&self) -> &BTreeMap<String, Corrupt> {
        &self.corrupt
    }

    /// A value that whoever reads it finds to make no sense.
    pub fn is_corrupt(&mut self, key: String, why: String, modified: Revision) {
        self.corrupt.insert(key, Corrupt { why, modified });
    }

    /// Who plans, by model, and the revision since when.
    pub fn leaders(&self) -> impl Iterator<Item = (&String, &Leader, Revision)> {
        self.leaders.iter().map(|(model, (leader, created))| (model, leader, *created))
    }

    /// The revision that put the pointer of a model, whether it makes sense or not; `None`: there is none.
    pub fn plan_modified(&self, model: &str) -> Option<Revision> {
        let corrupt = self.corrupt.get(&format!("{PLAN}{model}")).map(|corrupt| corrupt.modified);
        corrupt.or_else(|| self.plan(model).map(|pointed| pointed.modified))
    }

    pub fn last_trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }

    pub fn list(&mut self, listing: Listing, prefix: &str) {
        let (revision, store) = (listing.revision, listing.store);
        *self = View { there: true, revision, store, verdicts: self.verdicts + 1, ..View::default() };
        listing.entries.into_iter().for_each(|entry| self.put(entry, prefix));
    }

    pub fn change(&mut self, changes: Vec<Change>, prefix: &str) {
        for change in changes {
            match change {
                Change::Put(entry) => {
                    self.revision = self.revision.max(entry.modified);
                    self.put(entry, prefix);
                }
                Change::Deleted { key, revision } => {
                    self.revision = self.revision.max(revision);
                    self.remove(&key, prefix);
                }
            }
        }
    }

    /// Nothing is heard of it any more. What it said last is known on.
    pub fn away(&mut self, why: String, now: Instant) {
        if self.there {
            self.away_since = Some(now);
        }
        (self.there, self.trouble) = (false, Some(why));
    }

    /// Since when the store does not answer; `None`: it does, or never did.
    pub fn away_since(&self) -> Option<Instant> {
        self.away_since.filter(|_| !self.there)
    }

    /// Another number with each change of what nodes' probes say.
    pub fn verdicts(&self) -> u64 {
        self.verdicts
    }

    pub fn trouble(&mut self, why: String) {
        self.trouble = Some(why);
    }

    fn put(&mut self, entry: Entry, prefix: &str) {
        let Some(key) = entry.key.strip_prefix(prefix).map(str::to_owned) else { return };
        self.note(&key);
        self.corrupt.remove(&key);
        if let Some(node) = key.strip_prefix(NODES) {
            if let Some(member) = self.read(&key, &entry) {
                self.members.insert(node.to_owned(), member);
            }
        } else if let Some(model) = key.strip_prefix(LEADER) {
            // Whoever made no sense of it leads nobody, and is in the way of others.
            let leader = self.read(&key, &entry).unwrap_or(Leader { node: String::new(), boot: 0 });
            self.leaders.insert(model.to_owned(), (leader, entry.created));
        } else if let Some(model) = key.strip_prefix(PLAN) {
            let read = self.read(&key, &entry);
            if read.as_ref().is_some_and(|pointer: &Pointer| pointer.epoch > entry.modified) {
                self.is_corrupt(key, "an epoch that has not come yet".into(), entry.modified);
            } else if let Some(pointer) = read {
                self.plans.insert(model.to_owned(), Pointed { pointer, modified: entry.modified });
            }
        } else if [JUDGES, VERDICTS, OVERRIDES, SWITCHES, AUDIT].iter().any(|of| key.starts_with(of)) {
            self.others.insert(key, entry);
        }
    }

    fn note(&mut self, key: &str) {
        self.verdicts += u64::from([NODES, JUDGES, VERDICTS].iter().any(|of| key.starts_with(of)));
    }

    fn read<T: DeserializeOwned>(&mut self, key: &str, entry: &Entry) -> Option<T> {
        let read = serde_json::from_slice(&entry.value);
        read.inspect_err(|error| {
            self.is_corrupt(key.to_owned(), error.to_string(), entry.modified);
        })
        .ok()
    }

    fn remove(&mut self, key: &str, prefix: &str) {
        let Some(key) = key.strip_prefix(prefix) else { return };
        self.note(key);
        self.corrupt.remove(key);
        self.others.remove(key);
        if let Some(node) = key.strip_prefix(NODES) {
            self.members.remove(node);
        } else if let Some(model) = key.strip_prefix(LEADER) {
            self.leaders.remove(model);
        } else if let Some(model) = key.strip_prefix(PLAN) {
            self.plans.remove(model);
        }
    }
}
