//! Numbers from outside become a [`LoadSample`] here, once, or are refused.

use super::{LoadError, LoadSample};

/// No counter of a balancer gets this far in its lifetime: beyond it, the feed lies.
pub(super) const MOST: f64 = 1e15;

/// A load and its capacity, by the names the feed gives them.
pub(super) fn sample(load: (&str, f64), capacity: Option<(&str, f64)>) -> Result<LoadSample, LoadError> {
    let (what, value) = load;
    if !(0.0..=MOST).contains(&value) {
        return Err(absurd(what, value, "0 to 1e15"));
    }
    match capacity {
        Some((what, capacity)) if !(capacity > 0.0 && capacity <= MOST) => {
            Err(absurd(what, capacity, "above 0, to 1e15"))
        }
        // Not -0.0, which is equal to 0 but prints as `-0`.
        _ => Ok(LoadSample { load: value.abs(), capacity: capacity.map(|(_, capacity)| capacity) }),
    }
}

fn absurd(what: &str, value: f64, expected: &'static str) -> LoadError {
    LoadError::Absurd { what: what.to_owned(), got: value.to_string(), expected }
}
