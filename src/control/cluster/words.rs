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
use crate::steer::figure::whole_percent;
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
    // Never left out: words also go from node to node, in a form without names.
    #[serde(default)]
    pub drain: Option<DrainBegin>,
    /// The node it was said to.
    pub by: String,
    pub unix_ms: u64,
    /// Where it stood in a store that has lost it.
    #[serde(default)]
    pub was: Option<Was>,
}

/// A place in a store: of two words that it lost, the later one holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Was {
    pub store: u64,
    pub revision: Revision,
    /// Said at one node alone, against what stood there.
    pub here: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Said {
    Override(Override),
    /// `None`: what the file says.
    Switch(Option<Box<Switch>>),
}

impl Word {
    /// Said to this node; when, and to which, is filled in where it is taken.
    pub fn new(said: Said, drain: Option<DrainBegin>) -> Word {
        Word { said, drain, by: String::new(), unix_ms: 0, was: None }
    }
}

impl Word {
    /// Both come from a store that lost them, and this one was the later there.
    fn was_after(&self, other: &Word) -> bool {
        let place = |was: Was| (was.revision, was.here);
        let later = |(was, other): (Was, Was)| was.store == other.store && place(was) > place(other);
        self.was.zip(other.was).is_some_and(later)
    }
}

impl Here {
    /// What it goes against is in no store any more.
    fn is_lost(&mut self, store: Option<u64>) {
        if self.base > 0 {
            self.word.was = store.map(|store| Was { store, revision: self.base, here: true });
            self.base = 0;
        }
    }
}

impl Said {
    /// As people read it.
    pub fn told(&self) -> String {
        match self {
            Said::Override(said) => format!("`{}`", said.as_str()),
            Said::Switch(Some(switch)) => {
                let stage = switch.stage.as_ref().map(|stage| format!("stage `{stage}`"));
                let canary = switch.canary.as_ref().map(|shift| format!("a canary of {}", whole_percent(shift.share)));
                let said: Vec<String> = stage.into_iter().chain(canary).collect();
                if said.is_empty() { "what the file says".into() } else { said.join(" and ") }
            }
            Said::Switch(None) => "what the file says".into(),
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
        let word = |said, drain| Word { said, drain, by: node.to_owned(), unix_ms: 0, was: None };
        for (region, (said, drain)) in &local.overrides {
            if held.overrides.get(region).map(|(said, _)| said) != Some(said) {
                let here = Here { word: word(Said::Override(*said), *drain), base: 0 };
                self.here.entry(format!("{OVERRIDES}{region}")).or_insert(here);
            }
        }
        for (service, switch) in &local.switches {
            if held.switches.get(service) != Some(switch) {
                let here = Here { word: word(Said::Switch(Some(Box::new(switch.clone()))), None), base: 0 };
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
                    in_force.switches.insert(service.to_owned(), Switch::clone(switch));
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
    /// than what the store says is dropped, and told. `listed`: the store has just told all of it.
    pub fn hear(&mut self, view: &View, store: u64, listed: bool) -> Vec<Overtaken> {
        self.find_lost(view, store, listed);
        for of in [OVERRIDES, SWITCHES] {
            for (name, entry) in view.below(of) {
                let key = format!("{of}{name}");
                match (read(of, &entry.value), self.shared.get(&key)) {
                    (_, Some(shared)) if shared.revision >= entry.modified => {}
                    (Some(word), _) => {
                        self.shared.insert(key, Shared { word, revision: entry.modified });
                    }
                    // Whoever knows what stood there says it again.
                    (None, Some(shared)) => {
                        let here = Here { word: shared.word.clone(), base: entry.modified };
                        self.here.entry(key).or_insert(here).base = entry.modified;
                    }
                    (None, None) => {
                        if let Some(here) = self.here.get_mut(&key) {
                            here.base = entry.modified;
                        }
                    }
                }
            }
        }
        self.overtaken()
    }

    /// Another store, or one that began anew, or a key that somebody deleted: no word is taken back by silence. What the
    /// store never heard or has lost holds here, until it has it again.
    fn find_lost(&mut self, view: &View, store: u64, listed: bool) {
        let before = self.store.replace(store);
        // etcd that is set up anew with the same addresses has the same number.
        let rewound = || listed && self.shared.values().any(|shared| shared.revision > view.revision());
        let anew = before.is_some_and(|before| before != store) || rewound();
        let is_lost = |key: &str, shared: &Shared| {
            let entry = view.below(key).next().filter(|(rest, _)| rest.is_empty());
            let stands = entry.is_some_and(|(_, entry)| entry.modified >= shared.revision);
            anew || shared.revision <= view.revision() && !stands
        };
        let (lost, kept) = std::mem::take(&mut self.shared).into_iter().partition(|(key, shared)| is_lost(key, shared));
        self.shared = kept;
        let lost: BTreeMap<String, Shared> = lost;
        for (key, Shared { word, revision }) in lost {
            let was = before.map(|store| Was { store, revision, here: false });
            let word = Word { was, ..word };
            let stays = |here: &mut Here| here.is_lost(before);
            self.here.entry(key).and_modify(stays).or_insert(Here { word, base: 0 });
        }
        if anew {
            self.here.values_mut().for_each(|here| here.is_lost(before));
        }
    }

    fn overtaken(&mut self) -> Vec<Overtaken> {
        let mut overtaken = Vec::new();
        self.here.retain(|key, here| {
            let Some(shared) = self.shared.get(key).filter(|shared| shared.revision > here.base) else { return true };
            if shared.word.said != here.word.said {
                if here.word.was_after(&shared.word) {
                    here.base = shared.revision;
                    return true;
                }
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
