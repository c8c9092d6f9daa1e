//! The settings that keep steering stable: how soon a flapping region is believed again, how much of a zone
//! automation may withdraw at once, how long drained clients are waited for. One setting for all zones.

use std::time::Duration;

/// `[steering]` of the main file.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Steering {
    /// `None`: a region that answers its probes is believed at once, however often it fell.
    pub damping: Option<Damping>,
    /// `None`: automation may withdraw any number of regions at once.
    pub max_withdrawn: Option<MaxWithdrawn>,
    /// The time beyond the TTL for which resolvers and clients are taken to keep an answer, where a drain is
    /// waited for. 0 to 1 h. Default 60 s: what browsers and some resolvers keep as a minimum.
    pub drain_allowance: Duration,
    /// The round-trip time farther than the nearest region that clients may be sent without believed evidence that this
    /// is full. 0 to 10 s of round-trip time. Default 60 ms: an ocean. `None`: any distance.
    pub max_detour: Option<Duration>,
    /// The part of one core that plans may take on average, over the time from one to the next. 0.05 to 1. Default 0.3:
    /// a plan of seconds still comes within half a minute, and cores are there for answers.
    pub planning_cpu: f64,
}

/// A region that goes down again and again stays down for a while.
///
/// Each time its probes take a region down, its penalty grows by 1; it halves with every `half_life`. While it
/// is above `limit`, the region stays down though its probes say up.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Damping {
    /// 1 s to 1 h. Default 300 s.
    pub half_life: Duration,
    /// 0.1 to 100. Default 1.6: twice down within 221 s is damped, once never is.
    pub limit: f64,
}

/// The number of regions of a zone that probes may withdraw within `window` and not have back: more than that is
/// likelier the prober's failure than the regions'.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MaxWithdrawn {
    pub regions: Most,
    /// 1 s to 1 h. Default 60 s.
    pub window: Duration,
}

/// A number, or a part of all.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Most {
    /// 1 to 1,024.
    Regions(u32),
    /// Of the zone's regions, rounded up; above 0, to 1. Default 0.5.
    Share(f64),
}

impl Most {
    /// The number of `regions` that is: at least 1, so that a single failure is never held up.
    pub fn of(self, regions: usize) -> usize {
        match self {
            Most::Regions(most) => (most as usize).max(1),
            // Not more than there are; a share of 1,024 regions is exact.
            Most::Share(share) => ((regions as f64 * share).ceil() as usize).clamp(1, regions.max(1)),
        }
    }
}

impl Default for Steering {
    fn default() -> Steering {
        Steering {
            damping: Some(Damping::default()),
            max_withdrawn: Some(MaxWithdrawn::default()),
            drain_allowance: Duration::from_secs(60),
            max_detour: Some(Duration::from_millis(60)),
            planning_cpu: 0.3,
        }
    }
}

impl Default for Damping {
    fn default() -> Damping {
        Damping { half_life: Duration::from_secs(300), limit: 1.6 }
    }
}

impl Default for MaxWithdrawn {
    fn default() -> MaxWithdrawn {
        MaxWithdrawn { regions: Most::Share(0.5), window: Duration::from_secs(60) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_a_zone_is_rounded_up_and_never_nothing() {
        let half = |regions| Most::Share(0.5).of(regions);
        assert_eq!([0, 1, 2, 3, 8].map(half), [1, 1, 1, 2, 4]);
        assert_eq!((Most::Share(0.01).of(3), Most::Share(1.0).of(3)), (1, 3));
        assert_eq!((Most::Regions(0).of(8), Most::Regions(3).of(8)), (1, 3));
    }
}
