//! What is wrong with the files of the state directory: since when, why, and what holds instead.
//!
//! Whoever reads or writes one of them tells it here; status, readiness and metrics show it until it is over. Beginning
//! and end are logged, and only these: a disk that stays full is not told with every attempt.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use tracing::{error, info};

/// All that is wrong at the moment.
#[derive(Debug, Default)]
pub struct Troubles(Mutex<BTreeMap<(StateName, TroubleKind), Trouble>>);

/// A file of the state directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum StateName {
    Overrides,
    Switches,
    Node,
    Measurements,
    Steering,
    RumKey,
    Events,
    Receivers,
    Audit,
    Cluster,
    Lock,
}

/// What is wrong with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TroubleKind {
    /// It cannot be read, and stays where it is.
    Unreadable,
    /// It was not as it was written, and lies beside under another name.
    SetAside,
    /// The last attempt to write it failed.
    Unwritable,
    /// The disk does not answer.
    Hanging,
    /// It may hold what was refused.
    Undecided,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    pub since: SystemTime,
    /// With the file's path.
    pub error: String,
    /// What holds while it lasts, in a clause.
    pub instead: String,
}

impl Troubles {
    /// Tells of something that is wrong. Again and again is once, with the latest error.
    pub fn begin(&self, file: StateName, kind: TroubleKind, error: &str, instead: &str) {
        let (error, instead) = (error.to_owned(), instead.to_owned());
        let mut all = self.lock();
        match all.get_mut(&(file, kind)) {
            Some(known) => (known.error, known.instead) = (error, instead),
            None => {
                error!(file = file.as_str(), "{error}; {instead}");
                all.insert((file, kind), Trouble { since: SystemTime::now(), error, instead });
            }
        }
    }

    /// Tells that it is over, if it was.
    pub fn end(&self, file: StateName, kind: TroubleKind) {
        if self.lock().remove(&(file, kind)).is_some() {
            info!(file = file.as_str(), was = kind.as_str(), "trouble with a state file is over");
        }
    }

    pub fn has(&self, file: StateName, kind: TroubleKind) -> bool {
        self.lock().contains_key(&(file, kind))
    }

    /// By file.
    pub fn all(&self) -> Vec<(StateName, TroubleKind, Trouble)> {
        self.lock().iter().map(|(&(file, kind), trouble)| (file, kind, trouble.clone())).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<(StateName, TroubleKind), Trouble>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl StateName {
    pub const ALL: [StateName; 11] = [
        StateName::Overrides,
        StateName::Switches,
        StateName::Node,
        StateName::Measurements,
        StateName::Steering,
        StateName::RumKey,
        StateName::Events,
        StateName::Receivers,
        StateName::Audit,
        StateName::Cluster,
        StateName::Lock,
    ];

    /// Its name in the state directory.
    pub const fn as_str(self) -> &'static str {
        match self {
            StateName::Overrides => "overrides.json",
            StateName::Switches => "switches.json",
            StateName::Node => "node.json",
            StateName::Measurements => "latency.json",
            StateName::Steering => "steering.kept",
            StateName::RumKey => "rum.key",
            StateName::Events => "events.jsonl",
            StateName::Receivers => "receivers.json",
            StateName::Audit => "audit.jsonl",
            StateName::Cluster => "cluster.json",
            StateName::Lock => "lock",
        }
    }
}

impl TroubleKind {
    pub const ALL: [TroubleKind; 5] = [
        TroubleKind::Unreadable,
        TroubleKind::SetAside,
        TroubleKind::Unwritable,
        TroubleKind::Hanging,
        TroubleKind::Undecided,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            TroubleKind::Unreadable => "unreadable",
            TroubleKind::SetAside => "set_aside",
            TroubleKind::Unwritable => "unwritable",
            TroubleKind::Hanging => "hanging",
            TroubleKind::Undecided => "undecided",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lasts_keeps_its_beginning_and_ends_once() {
        let troubles = Troubles::default();
        troubles.begin(StateName::Overrides, TroubleKind::Unwritable, "full", "nothing new");
        let since = troubles.all()[0].2.since;
        troubles.begin(StateName::Overrides, TroubleKind::Unwritable, "read-only", "nothing new");
        let trouble = Trouble { since, error: "read-only".into(), instead: "nothing new".into() };
        assert_eq!(troubles.all(), [(StateName::Overrides, TroubleKind::Unwritable, trouble)]);
        assert!(!troubles.has(StateName::Overrides, TroubleKind::Hanging));
        troubles.end(StateName::Overrides, TroubleKind::Hanging);
        assert!(troubles.has(StateName::Overrides, TroubleKind::Unwritable));
        troubles.end(StateName::Overrides, TroubleKind::Unwritable);
        assert!(troubles.all().is_empty());
    }
}
