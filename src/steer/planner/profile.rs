//! The demand that stands behind a resolver at each hour of the day, told from those who are heard of.
//!
//! Around the globe it is every hour at once: what is heard of at one place tells of others at the same local
//! time, now or later. So regions that report nothing are followed by the sun.

pub mod kept;

const HOURS: usize = 24;
/// The evidence that an hour is known from fades by half in ten minutes, where it is heard of; otherwise it stays.
const HALF_LIFE_S: f64 = 600.0;
/// Neighbouring hours count for each other: as a bell of this width, in hours.
const WIDTH_H: f64 = 1.2;
/// All hours together count for this part of one that nothing near is known of.
const REST: f64 = 0.02;

/// Demand per resolver, by local solar time.
#[derive(Clone, Debug, Default)]
pub struct Profile {
    /// By hour: demand that was heard of, and resolvers it came by.
    heard: [(f64, f64); HOURS],
    /// By hour: demand per resolver; empty: nothing was heard.
    level: Option<[f64; HOURS]>,
}

impl Profile {
    /// Takes what is heard of now, after this long: by hour, demand and resolvers.
    pub fn hear(&mut self, now: &[(f64, f64); HOURS], elapsed_s: f64) {
        let new = 1.0 - 0.5f64.powf(elapsed_s / HALF_LIFE_S);
        for (heard, &(demand, resolvers)) in self.heard.iter_mut().zip(now) {
            if resolvers > 0.0 && demand.is_finite() {
                let part = if heard.1 > 0.0 { new } else { 1.0 };
                *heard = (heard.0 + part * (demand - heard.0), heard.1 + part * (resolvers - heard.1));
            }
        }
        self.level = self.levels();
    }

    /// Demand per resolver at this hour, 0 to 24; `None`: nothing was heard at all.
    pub fn at(&self, hour: Option<f64>) -> Option<f64> {
        let level = self.level.as_ref()?;
        let Some(hour) = hour else { return Some(level.iter().sum::<f64>() / HOURS as f64) };
        let hour = hour.rem_euclid(HOURS as f64) - 0.5;
        let (before, part) = (hour.floor(), hour - hour.floor());
        let of = |hour: f64| level[hour.rem_euclid(HOURS as f64) as usize % HOURS];
        Some(of(before) * (1.0 - part) + of(before + 1.0) * part)
    }

    /// The hour that this time of the day falls in.
    pub fn index(hour: f64) -> usize {
        hour.rem_euclid(HOURS as f64) as usize % HOURS
    }

    fn levels(&self) -> Option<[f64; HOURS]> {
        let (demand, resolvers) = self.heard.iter().fold((0.0, 0.0), |(d, r), heard| (d + heard.0, r + heard.1));
        if resolvers <= 0.0 {
            return None;
        }
        let rest = (REST * demand / HOURS as f64, REST * resolvers / HOURS as f64);
        Some(std::array::from_fn(|hour| {
            let (mut demand, mut resolvers) = rest;
            for (other, heard) in self.heard.iter().enumerate() {
                let apart = hour.abs_diff(other).min(HOURS - hour.abs_diff(other)) as f64 / WIDTH_H;
                let weight = (-0.5 * apart * apart).exp();
                (demand, resolvers) = (demand + weight * heard.0, resolvers + weight * heard.1);
            }
            demand / resolvers
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hours_that_are_not_heard_of_are_as_their_neighbours() {
        let mut profile = Profile::default();
        assert_eq!(profile.at(Some(3.0)), None);
        let mut now = [(0.0, 0.0); HOURS];
        (now[3], now[15]) = ((100.0, 10.0), (900.0, 30.0));
        profile.hear(&now, 10.0);
        let at = |hour: f64| profile.at(Some(hour)).expect("known");
        assert!((at(3.5) - 10.0).abs() < 0.2 && (at(15.5) - 30.0).abs() < 0.2, "{} {}", at(3.5), at(15.5));
        assert!((at(27.5) - at(3.5)).abs() < 1e-9 && (10.0..30.0).contains(&at(9.5)), "{}", at(9.5));
        assert!(profile.at(None).is_some_and(|level| (10.0..30.0).contains(&level)));
    }

    #[test]
    fn what_was_heard_of_an_hour_stays_while_nothing_else_is() {
        let mut profile = Profile::default();
        let mut now = [(0.0, 0.0); HOURS];
        now[3] = (100.0, 10.0);
        profile.hear(&now, 10.0);
        let before = profile.at(Some(3.5));
        profile.hear(&[(0.0, 0.0); HOURS], 86_400.0);
        assert_eq!(profile.at(Some(3.5)), before);
        now[3] = (200.0, 10.0);
        profile.hear(&now, HALF_LIFE_S);
        assert!(profile.at(Some(3.5)).is_some_and(|level| (level - 15.0).abs() < 0.1));
    }
}
