//! The CPU time that jobs may take: a part of one core, on average over the time from one job to the next.
//!
//! After a job that took 3 s, with a part of 0.3, the next begins 10 s after that one began at the earliest. One that is
//! pressing may begin at once, and is rested for afterwards; but not without end.

use std::time::{Duration, Instant};

use crate::steer::haste::Haste;

/// Pressing jobs begin as long as no more rest than this is owed: a region that comes and goes for hours must not take a
/// core for all of them.
pub const MOST_OWED: Duration = Duration::from_secs(60);

/// The rest that is owed for jobs so far.
#[derive(Debug, Default)]
pub struct Budget {
    /// Until then; `None`: nothing was run yet.
    rests_until: Option<Instant>,
}

impl Budget {
    /// A job that began at that time took so much of a core, of which `share` is allowed: above 0, to 1.
    pub fn spend(&mut self, began: Instant, cpu: Duration, share: f64) {
        let from = self.rests_until.map_or(began, |until| until.max(began));
        let rest = Duration::try_from_secs_f64(cpu.as_secs_f64() / share).unwrap_or_default();
        self.rests_until = from.checked_add(rest);
    }

    /// The time from which a job may begin; `None`: from the start.
    pub fn free_at(&self, haste: Haste) -> Option<Instant> {
        let until = self.rests_until?;
        match haste {
            Haste::Unhurried => Some(until),
            Haste::Pressing => until.checked_sub(MOST_OWED),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    /// Plays an hour in which a job of so many seconds is wanted at all times, and the part of a core it took.
    fn taken(cost: Duration, share: f64, haste: Haste) -> f64 {
        let (mut budget, began) = (Budget::default(), Instant::now());
        let (mut now, mut cpu) = (began, Duration::ZERO);
        while now < began + 3600 * S {
            budget.spend(now, cost, share);
            cpu += cost;
            now = (now + cost).max(budget.free_at(haste).unwrap_or(now));
        }
        cpu.as_secs_f64() / (now - began).as_secs_f64()
    }

    #[test]
    fn jobs_take_their_part_of_a_core_however_long_each_is() {
        for share in [0.05, 0.3, 1.0] {
            for cost in [S / 100, S, 7 * S] {
                let taken = taken(cost, share, Haste::Unhurried);
                assert!((taken - share).abs() < 0.01 * share, "{cost:?} each: {taken}");
            }
        }
    }

    #[test]
    fn what_is_pressing_begins_at_once_and_is_rested_for() {
        let (mut budget, began) = (Budget::default(), Instant::now());
        assert_eq!([Haste::Unhurried, Haste::Pressing].map(|haste| budget.free_at(haste)), [None, None]);
        budget.spend(began, 3 * S, 0.3);
        assert!(budget.free_at(Haste::Pressing).is_none_or(|at| at <= began + 3 * S));
        budget.spend(began + 3 * S, 3 * S, 0.3);
        assert_eq!(budget.free_at(Haste::Unhurried), Some(began + 20 * S));
        let taken = taken(3 * S, 0.3, Haste::Pressing);
        assert!((0.3..0.31).contains(&taken), "over an hour that is no way round it: {taken}");
    }
}
