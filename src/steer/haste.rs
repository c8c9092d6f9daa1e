//! The haste of a job: whether whoever has the time for it may keep it waiting.

/// How soon a job has to be done, the least pressing first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Haste {
    /// When there is time for it: what holds is a little out of date.
    Unhurried,
    /// At once: a region has come or gone, or has far more than was planned.
    Pressing,
}
