//! Which of some regions may be answered now, and on what footing that is.
//!
//! Regions and their states come in; never nothing goes out. What is best has a rung of its own:
//! the first rung that any region stands on is taken.

use serde::{Deserialize, Serialize};

use crate::model::RegionId;

use crate::steer::health::standing::{Override, RegionState, Standing};

/// What clients of a service are on when regions are picked for them. The greater the worse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Footing {
    /// Some region is eligible.
    Firm,
    /// All that are eligible are above their high watermark or their limit: answered as if none were.
    Full,
    /// All are draining or down: those draining still serve, the ones up by their probes first.
    OnlyDraining,
    /// All are down by their probes, or withdrawn: those that are down by their probes alone are
    /// answered as if up, since the prober may be what is broken, and an empty answer helps nobody.
    Panic,
    /// The operator has taken all of them down. Still answered: a name without addresses would be
    /// cached as such.
    AllWithdrawn,
}

impl Footing {
    pub fn as_str(self) -> &'static str {
        match self {
            Footing::Firm => "firm",
            Footing::Full => "full",
            Footing::OnlyDraining => "only_draining",
            Footing::Panic => "panic",
            Footing::AllWithdrawn => "all_withdrawn",
        }
    }

    /// Whether regions are answered that are withdrawn, for want of others.
    pub fn is_last_resort(self) -> bool {
        match self {
            Footing::Firm | Footing::Full => false,
            Footing::OnlyDraining | Footing::Panic | Footing::AllWithdrawn => true,
        }
    }
}

/// A fence whose regions have run out: a matter of its own clients, not of the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FenceOut {
    /// Into the service's rules.
    pub rule: u16,
    /// Never [`Footing::Firm`].
    pub footing: Footing,
}

/// The regions of a set that may be answered.
#[derive(Clone, Debug)]
pub struct Eligible {
    /// Indexed by [`RegionId`].
    flags: Vec<bool>,
    pub footing: Footing,
}

impl Eligible {
    /// Those of `regions` that may be answered: at least one, unless there are none at all.
    pub fn of(regions: &[RegionId], states: &[RegionState]) -> Eligible {
        let rung_of = |region: &RegionId| states.get(region.index()).map_or(Rung::Firm, Rung::of);
        let first = regions.iter().map(rung_of).min().unwrap_or(Rung::AllWithdrawn);
        let mut flags = vec![false; states.len()];
        for region in regions {
            if let Some(flag) = flags.get_mut(region.index()) {
                *flag = rung_of(region) == first;
            }
        }
        Eligible { flags, footing: first.footing() }
    }

    pub fn has(&self, region: RegionId) -> bool {
        self.flags.get(region.index()).is_some_and(|&flag| flag)
    }

    /// All of them, in the order of their ids.
    pub fn regions(&self) -> impl Iterator<Item = RegionId> {
        let flags = self.flags.iter().zip(0..);
        flags.filter(|(flag, _)| **flag).map(|(_, index)| RegionId(index))
    }
}

/// What a region is at best, the best first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rung {
    Firm,
    AboveWatermark,
    AboveLimit,
    /// A region that answers its probes says that the prober works: better than one that does not.
    DrainingAndUp,
    DownByProbes,
    Draining,
    AllWithdrawn,
}

impl Rung {
    fn of(state: &RegionState) -> Rung {
        match (state.standing, state.said) {
            (Standing::Up | Standing::Suspect, _) if state.over_limit => Rung::AboveLimit,
            (Standing::Up | Standing::Suspect, _) if state.shed >= 1.0 => Rung::AboveWatermark,
            (Standing::Up | Standing::Suspect, _) => Rung::Firm,
            (Standing::Drain, _) if state.verdict.serves() => Rung::DrainingAndUp,
            (Standing::Down, Override::Auto) => Rung::DownByProbes,
            (Standing::Drain, _) => Rung::Draining,
            (Standing::Down, _) => Rung::AllWithdrawn,
        }
    }

    fn footing(self) -> Footing {
        match self {
            Rung::Firm => Footing::Firm,
            Rung::AboveWatermark | Rung::AboveLimit => Footing::Full,
            Rung::DrainingAndUp | Rung::Draining => Footing::OnlyDraining,
            Rung::DownByProbes => Footing::Panic,
            Rung::AllWithdrawn => Footing::AllWithdrawn,
        }
    }
}
