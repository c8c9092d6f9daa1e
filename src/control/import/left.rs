//! What an import leaves behind: a line each, with its place and why.

use std::fmt;

/// Leftovers told at most; the rest are counted.
const MAX_LEFT: usize = 1_000;

/// A setting or record that was not carried over, or not as it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Left {
    pub file: String,
    /// From 1.
    pub line: usize,
    /// Its name there.
    pub what: String,
    pub why: String,
}

impl fmt::Display for Left {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}: {}", self.file, self.line, self.what, self.why)
    }
}

/// All of them, as they are found.
#[derive(Debug, Default)]
pub struct Leftovers {
    pub told: Vec<Left>,
    /// So many more.
    pub untold: usize,
}

impl Leftovers {
    /// Notes one, once.
    pub fn push(&mut self, file: &str, line: usize, what: impl Into<String>, why: impl Into<String>) {
        let left = Left { file: file.to_owned(), line, what: what.into(), why: why.into() };
        match self.told.contains(&left) {
            true => {}
            false if self.told.len() < MAX_LEFT => self.told.push(left),
            false => self.untold += 1,
        }
    }
}
