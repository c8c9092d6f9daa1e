//! How an operator's word comes to hold everywhere: one transaction of the store, with an entry of the audit beside it.

use crate::control::cluster::keys::{AUDIT, OVERRIDES, SWITCHES};
use crate::control::cluster::store::{Condition, Operation, Outcome, StoreError};
use crate::control::cluster::words::{Word, Words, read};
use crate::steer::kept::Clock;

use super::{Node, Output, Ticket};

/// Entries of the audit that are kept; as many more are there before the oldest go.
const MOST_AUDIT: usize = 1000;
const TRIMMED_AT_ONCE: usize = 100;

/// Why a word does not hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SayError {
    #[error("the cluster's store does not answer ({0}); with --here it holds at this node alone until it does")]
    Away(String),
    #[error("whether it holds is not known: {0}; look at the status before you say it again")]
    Unknown(String),
    #[error("{said} was said to node {by} meanwhile: look, and say it again")]
    Overtaken { said: String, by: String },
    #[error("{0}")]
    Refused(String),
    #[error("the cluster's store answers: what is said holds at all nodes, and not here alone; leave out --here")]
    NotHere,
}

impl Node {
    /// Takes up what was kept on disk.
    pub fn restore_words(&mut self, words: Words) {
        self.words = words;
        self.tell_words();
    }

    pub fn words(&self) -> &Words {
        &self.words
    }

    /// An operator says something, of one region or service: the outcome comes as [`Output::Said`]. `here`: at this node
    /// alone, where the store is away.
    pub fn say(&mut self, ask: u64, key: String, mut word: Word, here: bool, now: &Clock) {
        (word.by, word.unix_ms) = (self.identity.node.clone(), now.unix_ms());
        let refused = match (here, self.view.is_there()) {
            (true, true) => Some(SayError::NotHere),
            (false, false) => Some(SayError::Away(self.view.last_trouble().unwrap_or("it was not heard yet").into())),
            _ => None,
        };
        if let Some(error) = refused {
            return self.outputs.push(Output::Said { ask, result: Err(error) });
        }
        if here {
            self.words.say_here(key, word);
            self.tell_words();
            return self.outputs.push(Output::Said { ask, result: Ok(()) });
        }
        let full = self.key(&key, "");
        let condition = match self.view.corrupt().get(&key) {
            Some(corrupt) => Condition::Unmodified(full, corrupt.modified),
            None => self.words.unchanged(&key, full),
        };
        self.put_word(Ticket::Say { ask, key: key.clone(), word: word.clone() }, &key, &word, condition, now.unix_ms());
    }

    fn put_word(&mut self, of: Ticket, key: &str, word: &Word, condition: Condition, unix_ms: u64) {
        let audit = format!("{unix_ms:013}-{}", self.identity.node);
        let told = serde_json::json!({ "key": key, "word": word, "node": self.identity.node });
        let operations = vec![
            Operation::Put { key: self.key(key, ""), value: serde_json::to_vec(word).unwrap_or_default(), lease: None },
            Operation::Put { key: self.key(AUDIT, &audit), value: told.to_string().into_bytes(), lease: None },
        ];
        self.commit(of, vec![condition], operations);
    }

    pub(super) fn answered(&mut self, ask: u64, key: &str, word: Word, result: Result<Outcome, StoreError>) {
        let result = match result {
            Ok(Outcome::Done(revision)) => {
                self.words.took(key, word, revision);
                self.tell_words();
                Ok(())
            }
            Ok(Outcome::Refused { found, .. }) => {
                let found = found.into_iter().flatten().next();
                let other = found.and_then(|entry| serde_json::from_slice::<Word>(&entry.value).ok());
                let (said, by) = other.map_or(("something".into(), "?".into()), |other| (other.said.told(), other.by));
                Err(SayError::Overtaken { said, by })
            }
            Err(StoreError::Away(why)) => Err(SayError::Unknown(why)),
            Err(error) => Err(SayError::Refused(error.to_string())),
        };
        self.outputs.push(Output::Said { ask, result });
    }

    /// Takes what the store says of words.
    pub(super) fn hear_words(&mut self, listed: bool) {
        let unread = |of: &'static str| {
            let unread = self.view.below(of).filter(move |(_, entry)| read(of, &entry.value).is_none());
            unread.map(move |(name, entry)| (format!("{of}{name}"), entry.modified))
        };
        let unread: Vec<_> = [OVERRIDES, SWITCHES].into_iter().flat_map(unread).collect();
        for (key, modified) in unread {
            self.view.is_corrupt(key, "no word of an operator".into(), modified);
        }
        let before = self.words.clone();
        let overtaken = self.words.hear(&self.view, self.view.store(), listed);
        self.outputs.extend(overtaken.into_iter().map(Output::Overtaken));
        if self.words != before {
            self.tell_words();
        }
    }

    fn tell_words(&mut self) {
        self.outputs.push(Output::Words(Box::new(self.words.clone())));
    }

    /// Has the store say what was said here.
    pub(super) fn merge_words(&mut self) {
        if !self.view.is_there() || self.retry.is_some() {
            return;
        }
        for (key, word, condition) in self.words.to_merge(|key| self.key(key, "")) {
            if self.merging.insert(key.clone()) {
                let (of, unix_ms) = (Ticket::Merge { key: key.clone(), word: word.clone() }, word.unix_ms);
                self.put_word(of, &key, &word, condition, unix_ms);
            }
        }
    }

    /// Where the store has a newer word, it is told by that.
    pub(super) fn merged(&mut self, key: &str, word: Word, result: Result<Outcome, StoreError>) {
        self.merging.remove(key);
        if let Ok(Outcome::Done(revision)) = result {
            self.words.took(key, word, revision);
            self.tell_words();
        }
    }

    /// The leader keeps the audit short.
    pub(super) fn trim_audit(&mut self) {
        let may = self.epoch().is_some() && self.view.is_there() && self.retry.is_none() && !self.trimming;
        // What was trimmed last is heard to be gone before more is.
        let many = || self.view.below(AUDIT).nth(MOST_AUDIT + TRIMMED_AT_ONCE).is_some();
        if !may || self.view.revision() < self.trimmed || !many() {
            return;
        }
        self.trimming = true;
        let oldest: Vec<String> =
            self.view.below(AUDIT).take(TRIMMED_AT_ONCE).map(|(name, _)| name.to_owned()).collect();
        let delete = |name: String| Operation::Delete { key: self.key(AUDIT, &name) };
        let operations = oldest.into_iter().map(delete).collect();
        self.commit(Ticket::Trim, Vec::new(), operations);
    }
}
