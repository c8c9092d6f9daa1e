//! What this node has told the store of its own verdicts, and its publisher of the others'.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::control::cluster::store::{Outcome, Revision};
use crate::steer::health::vote::Vantage;

#[derive(Debug, Default)]
pub struct Verdicts {
    pub own: Option<Vantage>,
    /// As the store has it under this lease.
    pub told: Option<Vantage>,
    /// The store has it since this revision.
    pub told_at: Option<Revision>,
    /// What it will have when the transaction under way has taken.
    pub telling: Option<Vantage>,
    /// What the publisher was told of the others, and from which state of the store, and of whom.
    pub heard: Option<(u64, BTreeSet<String>)>,
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

/// A probe that a node does not call up.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct SeenProbe {
    /// Qualified.
    pub region: String,
    pub endpoint: String,
    /// Empty where the endpoint has one.
    pub probe: String,
    /// `suspect` or `down`.
    pub verdict: String,
}
