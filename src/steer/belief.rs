//! Whether a load report that makes sense is believed: what a region says of its load must go
//! with what was answered.
//!
//! Two lies can be told from the truth. A load that falls by a lot from one report to the next,
//! while as many clients as before were sent there: they have not left, it has stopped counting
//! them. And a load that is the same to the last digit, report after report: nothing that lives
//! is. Either way the region counts as one that reports nothing, until it makes sense again:
//! doubting costs some milliseconds, believing that a full region is idle costs its clients.

use serde::{Deserialize, Serialize};

/// What part of the last report the next one is at least, while clients stay.
const LEAST_LEFT: f64 = 0.6;
/// What part of the expected load at least must be left for clients to count as still there.
const STILL_EXPECTED: f64 = 0.8;
/// Equal reports in a row that are chance.
const MOST_ALIKE: u32 = 5;
/// Smaller loads are often alike: few connections that stay.
const FROZEN_FROM: f64 = 100.0;
/// A balancer that counts what it took says no more than its capacity, over and over, when full.
const FULL: f64 = 0.95;

/// What a region said before.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Belief {
    last: Option<(f64, f64)>,
    alike: u32,
    doubt: Option<Doubt>,
}

/// Why a region is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Doubt {
    #[error("not believed: its load fell though its clients stayed")]
    Fell,
    #[error("not believed: it says the same load over and over")]
    Frozen,
}

impl Belief {
    /// Takes a report of `load`, where `expected` was expected from what was answered. Both are 0
    /// or more and finite.
    pub fn hear(&mut self, load: f64, expected: f64, capacity: Option<f64>) {
        let before = self.last.replace((load, expected));
        self.alike = if before.is_some_and(|(last, _)| last == load) { self.alike.saturating_add(1) } else { 0 };
        let fell = before.is_some_and(|(last, was_expected)| {
            load < LEAST_LEFT * last && expected > STILL_EXPECTED * was_expected && was_expected > 0.0
        });
        let full = capacity.is_some_and(|capacity| load >= FULL * capacity);
        let frozen = self.alike >= MOST_ALIKE && load >= FROZEN_FROM && !full;
        let makes_sense = load >= LEAST_LEFT * expected;
        self.doubt = match self.doubt {
            _ if frozen => Some(Doubt::Frozen),
            _ if fell => Some(Doubt::Fell),
            Some(Doubt::Fell) if !makes_sense => Some(Doubt::Fell),
            _ => None,
        };
    }

    /// Forgets: the region went down or came back, and what it said before says nothing any more.
    pub fn forget(&mut self) {
        *self = Belief::default();
    }

    pub fn doubt(&self) -> Option<Doubt> {
        self.doubt
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(reports: &[(f64, f64)]) -> Option<Doubt> {
        let mut belief = Belief::default();
        reports.iter().for_each(|&(load, expected)| belief.hear(load, expected, Some(1000.0)));
        belief.doubt()
    }

    #[test]
    fn a_load_that_falls_while_its_clients_stay_is_doubted_until_it_is_back() {
        assert_eq!(after(&[(500.0, 500.0), (480.0, 500.0)]), None);
        assert_eq!(after(&[(500.0, 500.0), (100.0, 500.0)]), Some(Doubt::Fell));
        assert_eq!(after(&[(500.0, 500.0), (100.0, 500.0), (101.0, 490.0)]), Some(Doubt::Fell));
        assert_eq!(after(&[(500.0, 500.0), (100.0, 500.0), (101.0, 490.0), (450.0, 480.0)]), None);
    }

    #[test]
    fn a_load_that_falls_with_its_clients_is_believed() {
        assert_eq!(after(&[(500.0, 500.0), (250.0, 300.0), (100.0, 150.0)]), None);
    }

    #[test]
    fn a_load_that_never_changes_is_doubted_unless_it_is_small_or_all_there_is() {
        let reports = |load: f64, count: usize| vec![(load, 500.0); count];
        assert_eq!(after(&reports(500.0, 5)), None);
        assert_eq!(after(&reports(500.0, 6)), Some(Doubt::Frozen));
        assert_eq!(after(&reports(3.0, 60)), None);
        assert_eq!(after(&reports(1000.0, 60)), None);
        let mut moved = reports(500.0, 9);
        moved.push((499.0, 500.0));
        assert_eq!(after(&moved), None);
    }

    #[test]
    fn the_first_reports_are_believed_whatever_was_expected() {
        assert_eq!(after(&[(100.0, 900.0)]), None);
        assert_eq!(after(&[(0.0, 0.0), (0.0, 0.0)]), None);
    }

    #[test]
    fn what_was_said_before_a_fall_of_the_region_is_forgotten() {
        let mut belief = Belief::default();
        belief.hear(500.0, 500.0, None);
        belief.forget();
        belief.hear(50.0, 500.0, None);
        assert_eq!(belief.doubt(), None);
    }
}
