//! How far each receiver of events has come in the history. The history is the queue: what falls out of it unsent is
//! counted here.

use std::collections::BTreeMap;

use super::event::{Change, Event, Severity};

/// The events that a receiver is to be told of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Of these regions alone, by bare or qualified name; empty: all events.
    pub regions: Vec<String>,
    /// At least as severe.
    pub least: Severity,
}

impl Filter {
    pub fn takes(&self, change: &Change) -> bool {
        let is_named = || self.regions.iter().any(|region| change.is_of_region(region));
        change.severity() >= self.least && (self.regions.is_empty() || is_named())
    }
}

/// By receiver.
#[derive(Debug, Default)]
pub struct Cursors(BTreeMap<String, Cursor>);

/// One receiver's place in the history.
#[derive(Debug)]
pub struct Cursor {
    /// Events up to this number are done with.
    pub at: u64,
    pub filter: Filter,
    /// So many were for it and fell out of the history, and it was not told so yet.
    pub left_out: usize,
}

impl Cursors {
    /// Behind this number, unless it is followed already: then only the filter is another. Returns the number it is behind.
    pub fn follow(&mut self, name: &str, filter: Filter, at: u64) -> u64 {
        let begin = || Cursor { at, filter: Filter::default(), left_out: 0 };
        let cursor = self.0.entry(name.to_owned()).or_insert_with(begin);
        cursor.filter = filter;
        cursor.at
    }

    pub fn forget(&mut self, name: &str) {
        self.0.remove(name);
    }

    pub fn get_mut(&mut self, name: &str) -> Option<&mut Cursor> {
        self.0.get_mut(name)
    }

    pub fn get(&self, name: &str) -> Option<&Cursor> {
        self.0.get(name)
    }

    /// This event leaves the history.
    pub fn leaves(&mut self, event: &Event) {
        for cursor in self.0.values_mut() {
            if cursor.at < event.id && cursor.filter.takes(&event.change) {
                cursor.left_out += 1;
            }
        }
    }
}
