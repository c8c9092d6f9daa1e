//! The profile of the day as it is kept over a restart. Its hours count from where they did: whoever keeps it, keeps
//! that too.

use serde::{Deserialize, Serialize};

use crate::steer::kept::sound;

use super::{HOURS, Profile};

/// See [`Profile::kept`]. By hour: demand and resolvers that were heard of.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct KeptProfile([(f64, f64); HOURS]);

/// No sum of demand or resolvers is above this, in whatever unit.
const MOST: f64 = 1e18;
/// Fewer resolvers than this are none.
const LEAST_RESOLVERS: f64 = 1e-9;

impl Profile {
    /// The evidence it was told from, as plain data.
    pub fn kept(&self) -> KeptProfile {
        KeptProfile(self.heard)
    }

    /// The profile as it was; hours that make no sense were not heard of.
    pub fn restored(kept: &KeptProfile) -> Profile {
        let hour = |&(demand, resolvers): &(f64, f64)| {
            Some((sound(demand, 0.0..=MOST)?, sound(resolvers, LEAST_RESOLVERS..=MOST)?))
        };
        let heard = kept.0.each_ref().map(|kept| hour(kept).unwrap_or_default());
        let mut profile = Profile { heard, level: None };
        profile.level = profile.levels();
        profile
    }
}

#[cfg(test)]
impl KeptProfile {
    /// One with a value in every place.
    pub fn sample() -> KeptProfile {
        KeptProfile(std::array::from_fn(|hour| (1.0 + hour as f64, 2.0 + hour as f64)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_the_same_of_every_hour_again() {
        let mut profile = Profile::default();
        let mut now = [(0.0, 0.0); HOURS];
        (now[3], now[15]) = ((100.0, 10.0), (900.0, 30.0));
        profile.hear(&now, 10.0);
        let restored = Profile::restored(&profile.kept());
        (0..24).for_each(|hour| assert_eq!(restored.at(Some(hour.into())), profile.at(Some(hour.into()))));
        assert_eq!(Profile::restored(&KeptProfile::default()).at(None), None);
    }

    #[test]
    fn hours_that_make_no_sense_were_not_heard_of() {
        let mut kept = KeptProfile::default();
        kept.0[3] = (100.0, 10.0);
        let right = Profile::restored(&kept).at(Some(3.5));
        for (hour, wrong) in (4..).zip([(f64::NAN, 1.0), (1.0, 0.0), (-1.0, 1.0), (1e300, 1.0), (1.0, f64::NAN)]) {
            kept.0[hour] = wrong;
        }
        assert_eq!(Profile::restored(&kept).at(Some(3.5)), right);
    }
}
