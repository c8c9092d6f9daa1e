//! The words that a node and the cluster's store speak: etcd v3's, whichever stands behind them.
//!
//! In: transactions of puts and deletions, each under conditions. Out: their outcome, and what others changed, in the
//! order of revisions. `memory` is one in memory for simulations and tests, `etcd` the real one.

use std::collections::BTreeSet;

/// Grows by one with every transaction that changed something; the whole store has one.
pub type Revision = i64;

/// A lease: keys put under it go when it is neither kept alive nor alive any more. Never 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LeaseId(pub i64);

/// A key with its value, as it stands in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub key: String,
    pub value: Vec<u8>,
    /// The revision that made the key: the same for as long as it is there.
    pub created: Revision,
    /// The revision that put this value.
    pub modified: Revision,
}

/// A condition of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// There is no such key.
    Absent(String),
    /// The key is there, and is the one that this revision made.
    Created(String, Revision),
    /// The key still has the value that this revision put.
    Unmodified(String, Revision),
}

/// A change that a transaction makes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    Put { key: String, value: Vec<u8>, lease: Option<LeaseId> },
    Delete { key: String },
}

/// All of its operations, or none where a condition does not hold. At most [`MOST_OPERATIONS`], each key once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Transaction {
    pub conditions: Vec<Condition>,
    pub operations: Vec<Operation>,
}

/// etcd's own limit, by default; for conditions too.
pub const MOST_OPERATIONS: usize = 128;

impl Condition {
    pub fn key(&self) -> &str {
        match self {
            Condition::Absent(key) | Condition::Created(key, _) | Condition::Unmodified(key, _) => key,
        }
    }
}

impl Operation {
    pub fn key(&self) -> &str {
        match self {
            Operation::Put { key, .. } | Operation::Delete { key } => key,
        }
    }
}

impl Transaction {
    /// Refuses what no store takes, before it is sent to one.
    ///
    /// # Errors
    /// [`StoreError::Refused`]: more than [`MOST_OPERATIONS`], an empty key, a key changed twice.
    pub fn check(&self) -> Result<(), StoreError> {
        let refused = |why: &str| Err(StoreError::Refused(why.to_owned()));
        if self.conditions.len().max(self.operations.len()) > MOST_OPERATIONS {
            return refused("too many operations in one transaction");
        }
        let keys = self.conditions.iter().map(Condition::key).chain(self.operations.iter().map(Operation::key));
        if keys.into_iter().any(str::is_empty) {
            return refused("an empty key");
        }
        let mut changed = BTreeSet::new();
        if self.operations.iter().any(|operation| !changed.insert(operation.key())) {
            return refused("a key is changed twice in one transaction");
        }
        Ok(())
    }
}

impl Change {
    pub fn key(&self) -> &str {
        match self {
            Change::Put(entry) => &entry.key,
            Change::Deleted { key, .. } => key,
        }
    }

    /// The revision that made it.
    pub fn revision(&self) -> Revision {
        match self {
            Change::Put(entry) => entry.modified,
            Change::Deleted { revision, .. } => *revision,
        }
    }
}

/// The outcome of a transaction that the store has decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It holds, as of this revision.
    Done(Revision),
    /// A condition does not hold; nothing was changed. The keys of its conditions as they are: `None`, not there.
    Refused { found: Vec<Option<Entry>>, revision: Revision },
}

/// A change that somebody made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    Put(Entry),
    /// By hand, or since its lease is over.
    Deleted {
        key: String,
        revision: Revision,
    },
}

/// All keys below a prefix, as of one revision: watching goes on with the one after.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// By key.
    pub entries: Vec<Entry>,
    pub revision: Revision,
    /// The store's own number: another one is another store, whose revisions mean nothing here.
    pub store: u64,
}

/// The reason why the store did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// No member answered in time, or none that has a quorum. Whether a transaction took is not known.
    #[error("etcd does not answer: {0}")]
    Away(String),
    /// It answered that it will not: not allowed, no space left, a request that is too large. Nothing was changed.
    #[error("etcd refused: {0}")]
    Refused(String),
    /// The lease is over.
    #[error("the lease is over")]
    LeaseOver,
    /// Changes since that revision are not told any more: read all anew.
    #[error("changes since revision {0} are compacted")]
    Compacted(Revision),
}
