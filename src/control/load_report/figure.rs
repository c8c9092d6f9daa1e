//! Numbers from outside become a [`LoadSample`] here, once, or are refused.

use crate::control::diagnostic::nearest;
use crate::control::probe::outcome::excerpt;

use super::{LoadError, LoadSample};

/// No counter of a balancer gets this far in its lifetime: beyond it, the feed lies.
pub(super) const MOST: f64 = 1e15;
/// The most names that an error lists.
const MOST_NAMES: usize = 8;
/// Among how many the likeliest is looked for, and how long they may be, in octets: comparing takes
/// the product of both.
const MOST_COMPARED: usize = 1_000;
const LONGEST_COMPARED: usize = 256;

/// A load and its capacity, by the names the feed gives them.
pub(super) fn sample(load: (&str, f64), capacity: Option<(&str, f64)>) -> Result<LoadSample, LoadError> {
    let load = amount(load.0, load.1)?;
    match capacity {
        Some((what, capacity)) if !(capacity > 0.0 && capacity <= MOST) => {
            Err(absurd(what, capacity, "above 0, to 1e15"))
        }
        _ => Ok(LoadSample { load, capacity: capacity.map(|(_, capacity)| capacity), at: None }),
    }
}

/// A load, or a part of one that is added up.
pub(super) fn amount(what: &str, value: f64) -> Result<f64, LoadError> {
    match (0.0..=MOST).contains(&value) {
        // Not -0.0, which is equal to 0 but prints as `-0`.
        true => Ok(value.abs()),
        false => Err(absurd(what, value, "0 to 1e15")),
    }
}

/// A part of a whole.
pub(super) fn share(what: &str, value: f64) -> Result<f64, LoadError> {
    match (0.0..=1.0).contains(&value) {
        true => Ok(value.abs()),
        false => Err(absurd(what, value, "0 to 1")),
    }
}

/// A number in text.
pub(super) fn number(what: &str, text: &str) -> Result<f64, LoadError> {
    let text = text.trim();
    text.parse().map_err(|_| LoadError::NotANumber { what: excerpt(what), got: excerpt(text) })
}

/// `name` is not among what the report tells of.
pub(super) fn no_such<'a>(what: &'static str, name: &str, known: impl IntoIterator<Item = &'a str>) -> LoadError {
    let mut names: Vec<&str> = Vec::new();
    for known in known.into_iter().filter(|known| known.len() <= LONGEST_COMPARED) {
        if names.len() == MOST_COMPARED {
            break;
        }
        if !names.contains(&known) {
            names.push(known);
        }
    }
    let likeliest = nearest(name, names.iter().copied());
    // Stable: the likeliest first, the others in the order of the report.
    names.sort_by_key(|&known| Some(known) != likeliest);
    let known = names.into_iter().take(MOST_NAMES).map(excerpt).collect();
    LoadError::NoSuch { what, name: name.to_owned(), known }
}

/// The error about what came instead of `expected`.
pub(super) fn unreadable(expected: &'static str, body: &str) -> LoadError {
    let begin: String = body.chars().take(40).collect();
    LoadError::Unreadable { expected, why: format!("it begins with {begin:?}") }
}

fn absurd(what: &str, value: f64, expected: &'static str) -> LoadError {
    LoadError::Absurd { what: excerpt(what), got: value.to_string(), expected }
}
