//! The regions of a set that may be answered now, and the condition that leaves their service in.
//!
//! Regions and their states come in; never nothing goes out. What is best has a tier of its own:
//! the first tier that holds any region is taken.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::RegionId;

use crate::steer::health::effective::{EffectiveState, Override, RegionState};

/// The condition that a service's regions leave it in. The greater the worse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ServiceCondition {
    /// Some region is eligible.
    Normal,
    /// All that are eligible are above their high watermark or their limit: answered as if none were.
    Full,
    /// None is up, as far as is known, as at a first start: those that are not proven either way are answered.
    Unproven,
    /// All are draining or down: those draining still serve, the ones up by their probes first.
    OnlyDraining,
    /// All are down by their probes, or withdrawn: those that are down by their probes alone are
    /// answered as if up, since the prober may be what is broken, and an empty answer helps nobody.
    Panic,
    /// The operator has taken all of them down. Still answered: a name without addresses would be
    /// cached as such.
    AllWithdrawn,
}

impl ServiceCondition {
    pub fn as_str(self) -> &'static str {
        match self {
            ServiceCondition::Normal => "normal",
            ServiceCondition::Full => "full",
            ServiceCondition::Unproven => "unproven",
            ServiceCondition::OnlyDraining => "only_draining",
            ServiceCondition::Panic => "panic",
            ServiceCondition::AllWithdrawn => "all_withdrawn",
        }
    }

    /// Tells whether regions are answered that are withdrawn, for want of others.
    pub fn is_last_resort(self) -> bool {
        match self {
            ServiceCondition::Normal | ServiceCondition::Full => false,
            ServiceCondition::Unproven
            | ServiceCondition::OnlyDraining
            | ServiceCondition::Panic
            | ServiceCondition::AllWithdrawn => true,
        }
    }
}

/// A fence whose regions have run out: a matter of its own clients, not of the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FenceOut {
    /// Into the service's rules.
    pub rule: u16,
    /// Never [`ServiceCondition::Normal`].
    pub condition: ServiceCondition,
}

/// The regions of a set that may be answered.
#[derive(Clone, Debug, PartialEq)]
pub struct Eligible {
    /// A bit for each [`RegionId`], the lowest first.
    words: Box<[u64]>,
    pub condition: ServiceCondition,
}

impl Eligible {
    /// Those of `regions` that may be answered: at least one, unless there are none at all.
    pub fn of(regions: &[RegionId], states: &[RegionState]) -> Eligible {
        let tier_of =
            |region: &RegionId| states.get(region.index()).map_or(EligibilityTier::Eligible, EligibilityTier::of);
        let first = regions.iter().map(tier_of).min().unwrap_or(EligibilityTier::AllWithdrawn);
        let mut words = vec![0; states.len().div_ceil(64)];
        for region in regions.iter().filter(|region| tier_of(region) == first) {
            if let Some(word) = words.get_mut(region.index() / 64) {
                *word |= 1 << (region.index() % 64);
            }
        }
        Eligible { words: words.into(), condition: first.condition() }
    }

    pub fn has(&self, region: RegionId) -> bool {
        self.words.get(region.index() / 64).is_some_and(|word| word >> (region.index() % 64) & 1 == 1)
    }

    /// All of them, in the order of their ids.
    pub fn regions(&self) -> impl Iterator<Item = RegionId> {
        (0..self.words.len() as u16 * 64).map(RegionId).filter(|region| self.has(*region))
    }
}

/// The eligibility of a region, the best first. The first tier that holds any region is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum EligibilityTier {
    Eligible,
    AboveWatermark,
    AboveLimit,
    /// What may be up, before what the operator withdrew or the probes found dead.
    Unproven,
    /// A region that answers its probes says that the prober works: better than one that does not.
    DrainingAndUp,
    DownByProbes,
    Draining,
    AllWithdrawn,
}

impl EligibilityTier {
    pub fn of(state: &RegionState) -> EligibilityTier {
        match (state.effective, state.operator_override) {
            (EffectiveState::Up | EffectiveState::Suspect, _) if state.over_limit => EligibilityTier::AboveLimit,
            (EffectiveState::Up | EffectiveState::Suspect, _) if state.shed >= 1.0 => EligibilityTier::AboveWatermark,
            (EffectiveState::Up | EffectiveState::Suspect, _) => EligibilityTier::Eligible,
            (EffectiveState::Unknown, _) => EligibilityTier::Unproven,
            (EffectiveState::Drain, _) if state.verdict.serves() => EligibilityTier::DrainingAndUp,
            (EffectiveState::Down, Override::Auto) => EligibilityTier::DownByProbes,
            (EffectiveState::Drain, _) => EligibilityTier::Draining,
            (EffectiveState::Down, _) => EligibilityTier::AllWithdrawn,
        }
    }

    fn condition(self) -> ServiceCondition {
        match self {
            EligibilityTier::Eligible => ServiceCondition::Normal,
            EligibilityTier::AboveWatermark | EligibilityTier::AboveLimit => ServiceCondition::Full,
            EligibilityTier::Unproven => ServiceCondition::Unproven,
            EligibilityTier::DrainingAndUp | EligibilityTier::Draining => ServiceCondition::OnlyDraining,
            EligibilityTier::DownByProbes => ServiceCondition::Panic,
            EligibilityTier::AllWithdrawn => ServiceCondition::AllWithdrawn,
        }
    }
}
