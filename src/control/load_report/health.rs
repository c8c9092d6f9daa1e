//! The word of a balancer on what is behind it: servers that are up, answers that are errors. What a
//! format has comes in as a [`HealthSample`], a [`BalancerHealth`] goes out; of counts that only grow, [`ErrorShare`] makes
//! a share.

use tokio::time::Instant;

use crate::steer::health::degraded::BalancerHealth;

use super::{LoadError, figure};

/// One report's word on health.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct HealthSample {
    /// Servers that are up, and all of them. `None`: it does not say, or there are none.
    pub servers: Option<(u32, u32)>,
    /// The part of servers that are up, 0 to 1, where they are not counted.
    pub up: Option<f64>,
    pub errors: Errors,
    /// It says that all behind it is down.
    pub down: bool,
}

/// Errors of the servers, as a report tells them.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Errors {
    #[default]
    Unknown,
    /// Counts since the balancer began; 0 to 1e15 each.
    Counts { errors: f64, answers: f64 },
    /// A part of answers, 0 to 1.
    Share(f64),
}

impl HealthSample {
    /// Of servers that are each up or not.
    pub(super) fn of_servers(up: impl IntoIterator<Item = bool>) -> HealthSample {
        let (mut ups, mut all) = (0, 0);
        for up in up {
            (ups, all) = (ups + u32::from(up), all + 1);
        }
        HealthSample { servers: (all > 0).then_some((ups, all)), ..HealthSample::default() }
    }

    /// Of shares, by the names the report gives them.
    pub(super) fn of_shares(up: Option<(&str, f64)>, errors: Option<(&str, f64)>) -> Result<HealthSample, LoadError> {
        let part = |(what, share): (&str, f64)| figure::share(what, share);
        let errors = errors.map(part).transpose()?.map_or(Errors::Unknown, Errors::Share);
        Ok(HealthSample { up: up.map(part).transpose()?, errors, ..HealthSample::default() })
    }

    /// The balancer's word, where its errors have this share.
    pub fn told(&self, errors: Option<f64>) -> BalancerHealth {
        let counted = self.servers.map(|(up, all)| f64::from(up) / f64::from(all));
        BalancerHealth { up: counted.or(self.up), servers: self.servers.map(|(_, all)| all), errors, down: self.down }
    }
}

/// The share of errors lately, of counts that only grow.
///
/// The last half a minute counts most, and a few answers prove little: with [`ErrorShare::FEW`] of them a share is half
/// of what they alone would say. Where no answers come any more, it fades.
#[derive(Default)]
pub struct ErrorShare {
    before: Option<(f64, f64, Instant)>,
    errors: f64,
    answers: f64,
}

impl ErrorShare {
    const HALF_LIFE_S: f64 = 20.0;
    const FEW: f64 = 10.0;

    /// The share after these counts, asked for then; `None` before there are two to compare. Counts that fell began anew.
    pub fn next(&mut self, errors: f64, answers: f64, asked: Instant) -> Option<f64> {
        let (errors_before, answers_before, at) = self.before.replace((errors, answers, asked))?;
        let kept = (-asked.saturating_duration_since(at).as_secs_f64() / ErrorShare::HALF_LIFE_S).exp2();
        let began_anew = errors < errors_before || answers < answers_before;
        let grown = if began_anew { (0.0, 0.0) } else { (errors - errors_before, answers - answers_before) };
        self.errors = self.errors * kept + grown.0.min(grown.1);
        self.answers = self.answers * kept + grown.1;
        Some((self.errors / (self.answers + ErrorShare::FEW)).clamp(0.0, 1.0))
    }

    /// What a sample says, with its errors as a share.
    pub fn told(&mut self, sample: &HealthSample, asked: Instant) -> BalancerHealth {
        let errors = match sample.errors {
            Errors::Unknown => None,
            Errors::Share(share) => Some(share),
            Errors::Counts { errors, answers } => self.next(errors, answers, asked),
        };
        sample.told(errors)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    /// The shares of counts that come every 10 s, in percent.
    fn shares(counts: &[(f64, f64)]) -> Vec<Option<f64>> {
        let (mut share, began) = (ErrorShare::default(), Instant::now());
        let next = |(index, &(errors, answers)): (usize, &(f64, f64))| {
            let asked = began + Duration::from_secs(10) * index as u32;
            share.next(errors, answers, asked).map(|share| (share * 100.0).round())
        };
        counts.iter().enumerate().map(next).collect()
    }

    #[test]
    fn errors_are_a_share_of_the_answers_lately() {
        let steady: Vec<_> = (0..12).map(|n| (f64::from(n) * 120.0, f64::from(n) * 1000.0)).collect();
        assert_eq!(shares(&steady)[..2], [None, Some(12.0)]);
        assert_eq!(shares(&steady)[11], Some(12.0));
        let mut burst: Vec<_> = (0..6).map(|n| (0.0, f64::from(n) * 1000.0)).collect();
        burst.extend((1..8).map(|n| (f64::from(n) * 500.0, 5000.0 + f64::from(n) * 1000.0)));
        let seen = shares(&burst);
        assert_eq!(seen[5], Some(0.0));
        assert!(seen[6] > Some(14.0) && seen[8] > Some(30.0) && seen[12] > Some(42.0), "{seen:?}");
    }

    #[test]
    fn a_few_answers_prove_little_and_none_at_all_fade() {
        assert_eq!(shares(&[(0.0, 0.0), (2.0, 2.0)]), [None, Some(17.0)]);
        let mut quiet = vec![(0.0, 0.0), (500.0, 1000.0)];
        quiet.extend([(500.0, 1000.0); 30]);
        let seen = shares(&quiet);
        assert_eq!(seen[1], Some(50.0));
        assert!(seen[31] < Some(2.0), "{seen:?}");
    }

    #[test]
    fn counts_that_fell_began_anew() {
        let seen = shares(&[(900.0, 1000.0), (910.0, 2000.0), (0.0, 5.0), (0.0, 1005.0)]);
        assert_eq!(
            seen,
            [None, Some(1.0), Some(1.0), Some(0.0)],
            "a restart is no wave of errors, nor of good answers"
        );
    }
}
