//! What operators said, among nodes: overrides and switches, by their keys in the store.
//!
//! ```text
//!   said anywhere ─▶ the store, if nobody said otherwise meanwhile ─▶ all nodes
//!   said `here` while the store is away ─▶ this node alone ─▶ the store, unless somebody said something newer there
//! ```
//!
//! No word is ever deleted in the store: `auto` stands there like any other, so that what was taken back is told from
//! what was never said. Pure; whoever holds it keeps it on disk, for a start without the store.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::state::memory::switches::{Switch, Switches};
use crate::steer::health::effective::Override;
use crate::steer::health::stability::DrainBegin;

use super::keys::{OVERRIDES, SWITCHES};
use super::node::View;
use super::store::{Condition, Revision};

/// What was said of one region or service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Word {
    pub said: Said,
    /// How its drain began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain: Option<DrainBegin>,
    /// The node it was said to.
    pub by: String,
    pub unix_ms: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Said {
    Override(Override),
    /// `None`: the stage of the file.
    Switch(Option<Switch>),
}

impl Word {
    /// Said to this node; when, and to which, is filled in where it is taken.
    pub fn new(said: Said, drain: Option<DrainBegin>) -> Word {
        Word { said, drain, by: String::new(), unix_ms: 0 }
    }
}

impl Said {
    /// As people read it.
    pub fn told(&self) -> String {
        match self {
            Said::Override(said) => format!("`{}`", said.as_str()),
            Said::Switch(Some(switch)) => format!("stage `{}`", switch.stage),
            Said::Switch(None) => "the stage of the file".into(),
        }
    }
}

/// All words this node knows of.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Words {
    /// The store that the revisions are of.
    store: Option<u64>,
    /// By the key below the cluster's prefix, such as `overrides/seoul@gslb.example`.
    shared: BTreeMap<String, Shared>,
    /// Those that hold at this node alone.
    here: BTreeMap<String, Here>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Shared {
    word: Word,
    revision: Revision,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Here {
    word: Word,
    /// The revision of the word it goes against; 0: there was none.
    base: Revision,
}

/// All that holds at this node.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct InForce {
    /// By qualified region name; `auto` is left out.
    pub overrides: BTreeMap<String, (Override, Option<DrainBegin>)>,
    pub switches: Switches,
}

/// A word that was said at this node alone, and did not hold against a newer one.
#[derive(Clone, Debug, PartialEq)]
pub struct Overtaken {
    pub key: String,
    pub here: Word,
    pub shared: Word,
}

impl Words {
    /// Takes words that held before this node was of a cluster: said here, against nothing.
    pub fn add_local(&mut self, local: &InForce, node: &str) {
        let held = self.in_force();
        let word = |said, drain| Word { said, drain, by: node.to_owned(), unix_ms: 0 };
        for (region, (said, drain)) in &local.overrides {
            if held.overrides.get(region).map(|(said, _)| said) != Some(said) {
                let here = Here { word: word(Said::Override(*said), *drain), base: 0 };
                self.here.entry(format!("{OVERRIDES}{region}")).or_insert(here);
            }
        }
        for (service, switch) in &local.switches {
            if held.switches.get(service) != Some(switch) {
                let here = Here { word: word(Said::Switch(Some(switch.clone())), None), base: 0 };
                self.here.entry(format!("{SWITCHES}{service}")).or_insert(here);
            }
        }
    }

    /// What holds here: what was said here, else what all share.
    pub fn in_force(&self) -> InForce {
        let mut in_force = InForce::default();
        let here = self.here.iter().map(|(key, here)| (key, &here.word));
        for (key, word) in self.shared.iter().map(|(key, shared)| (key, &shared.word)).chain(here) {
            match (&word.said, key.split_once('/')) {
                (Said::Override(Override::Auto), Some((_, region))) => _ = in_force.overrides.remove(region),
                (Said::Override(said), Some((_, region))) => {
                    in_force.overrides.insert(region.to_owned(), (*said, word.drain));
                }
                (Said::Switch(None), Some((_, service))) => _ = in_force.switches.remove(service),
                (Said::Switch(Some(switch)), Some((_, service))) => {
                    in_force.switches.insert(service.to_owned(), switch.clone());
                }
                (_, None) => {}
            }
        }
        in_force
    }

    /// Words that hold at this node alone, by key.
    pub fn here(&self) -> impl Iterator<Item = (&str, &Word)> {
        self.here.iter().map(|(key, here)| (key.as_str(), &here.word))
    }

    /// Takes what the store says. A word that makes no sense there changes nothing. What was said here and is older
    /// than what the store says is dropped, and told.
    pub fn hear(&mut self, view: &View, store: u64) -> Vec<Overtaken> {
        if self.store.replace(store).is_some_and(|before| before != store) {
            // Its numbers mean nothing, and what it never heard is not taken back by its silence.
            for (key, Shared { word, .. }) in std::mem::take(&mut self.shared) {
                self.here.entry(key).or_insert(Here { word, base: 0 });
            }
            self.here.values_mut().for_each(|here| here.base = 0);
        }
        for of in [OVERRIDES, SWITCHES] {
            for (name, entry) in view.below(of) {
                let key = format!("{of}{name}");
                let known = self.shared.get(&key).is_some_and(|shared| shared.revision >= entry.modified);
                if let (false, Some(word)) = (known, read(of, &entry.value)) {
                    self.shared.insert(key, Shared { word, revision: entry.modified });
                }
            }
        }
        self.overtaken()
    }

    fn overtaken(&mut self) -> Vec<Overtaken> {
        let mut overtaken = Vec::new();
        self.here.retain(|key, here| {
            let Some(shared) = self.shared.get(key).filter(|shared| shared.revision > here.base) else { return true };
            if shared.word.said != here.word.said {
                let (here, shared) = (here.word.clone(), shared.word.clone());
                overtaken.push(Overtaken { key: key.clone(), here, shared });
            }
            false
        });
        overtaken
    }

    /// Says something at this node alone.
    pub fn say_here(&mut self, key: String, word: Word) {
        let base = self.shared.get(&key).map_or(0, |shared| shared.revision);
        self.here.insert(key, Here { word, base });
    }

    /// What was said here, for the store to say: with the condition that nothing newer is there.
    pub fn to_merge(&self, full_key: impl Fn(&str) -> String) -> Vec<(String, Word, Condition)> {
        let merge = |(key, here): (&String, &Here)| {
            let full = full_key(key);
            let condition = match here.base {
                0 => Condition::Absent(full),
                base => Condition::Unmodified(full, base),
            };
            (key.clone(), here.word.clone(), condition)
        };
        self.here.iter().map(merge).collect()
    }

    /// The condition that nobody has said something else of it since this node heard.
    pub fn unchanged(&self, key: &str, full_key: String) -> Condition {
        match self.shared.get(key) {
            Some(shared) => Condition::Unmodified(full_key, shared.revision),
            None => Condition::Absent(full_key),
        }
    }

    /// The store has taken a word, at this revision.
    pub fn took(&mut self, key: &str, word: Word, revision: Revision) {
        if self.here.get(key).is_some_and(|here| here.word == word) {
            self.here.remove(key);
        }
        if self.shared.get(key).is_none_or(|shared| shared.revision < revision) {
            self.shared.insert(key.to_owned(), Shared { word, revision });
        }
    }
}

/// A word of that kind of key; `None`: it makes no sense.
pub fn read(of: &str, value: &[u8]) -> Option<Word> {
    let word: Word = serde_json::from_slice(value).ok()?;
    let fits = matches!(word.said, Said::Override(_)) == (of == OVERRIDES);
    fits.then_some(word)
}
