//! How long jobs are left to a thread that gets what nobody else wants: while that is enough.
//!
//! ```text
//!   idle ── under a tenth of a core, over 1 s with something to do ──▶ nice
//!     ▲                                                                 │
//!     └──── 30 s later, once the job that was given up is back ◀────────┘
//! ```
//!
//! A nice thread gets a tenth of a core beside a busy one: as long as the idle one gets that much, nothing is won by
//! another. Below it, work that would take seconds takes hours, and may never end.

use std::time::Duration;

/// Judged over so much time that jobs were under way.
const LOOK: Duration = Duration::from_secs(1);
/// The least part of a core that is worth waiting for.
const LEAST: f64 = 0.1;
/// Jobs are done nicely for so long then: many short ones would each be too short to tell, and a job is given up at most
/// so often.
pub(super) const NICE_FOR: Duration = Duration::from_secs(30);

/// What jobs got so far, since it was judged last.
#[derive(Debug, Default)]
pub(super) struct Patience {
    wall: Duration,
    cpu: Duration,
}

impl Patience {
    /// The time under way until it can be judged.
    pub fn left(&self) -> Duration {
        LOOK.saturating_sub(self.wall)
    }

    /// Jobs were under way for so long, and got so much. Whether that is too little.
    pub fn is_over(&mut self, wall: Duration, cpu: Duration) -> bool {
        (self.wall, self.cpu) = (self.wall + wall, self.cpu + cpu);
        if self.wall < LOOK {
            return false;
        }
        let seen = std::mem::take(self);
        seen.cpu.as_secs_f64() < LEAST * seen.wall.as_secs_f64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_long_job_and_many_short_ones_are_judged_alike() {
        for times in [1, 100] {
            for (cpu, is_over) in [(0, true), (3, true), (95, true), (105, false), (1000, false)] {
                let (wall, cpu, mut patience) = (LOOK / times, cpu * MS / times, Patience::default());
                for _ in 1..times {
                    assert!(!patience.is_over(wall, cpu), "too early to tell");
                }
                assert_eq!(patience.left(), wall);
                assert_eq!(patience.is_over(wall, cpu), is_over, "{cpu:?}, {times} times");
                assert_eq!(patience.left(), LOOK, "from then on anew");
            }
        }
    }
}
