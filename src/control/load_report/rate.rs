//! The growth of a count in a second: two scrapes make a figure.

use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::{LoadError, LoadSample};

/// Makes rates of one region's counts.
#[derive(Default)]
pub(super) struct Rate {
    before: Option<Count>,
}

#[derive(Clone, Copy)]
struct Count {
    value: f64,
    /// The time when it was asked for.
    asked: Instant,
    /// The time that it is of, where the report says so.
    said: Option<SystemTime>,
}

impl Rate {
    /// The sample with its count turned into a rate, per second.
    ///
    /// Counts further apart than `longest` give none: a mean over so long says nothing of now. A
    /// count that fell began anew, and a count as of the same moment as the one before tells
    /// nothing; both are errors, never a rate of zero.
    pub(super) fn next(
        &mut self,
        sample: LoadSample,
        asked: Instant,
        longest: Duration,
    ) -> Result<LoadSample, LoadError> {
        let count = Count { value: sample.load, asked, said: sample.at };
        let before = self.before.replace(count).ok_or(LoadError::FirstCount)?;
        let apart = apart(before, count).filter(|apart| *apart <= longest).ok_or(LoadError::FirstCount)?;
        if count.value < before.value {
            return Err(LoadError::CountFell { before: before.value.to_string(), now: count.value.to_string() });
        }
        Ok(LoadSample { load: (count.value - before.value) / apart.as_secs_f64(), ..sample })
    }
}

/// By the reports' own clock where both say when they are of. `None`: not after one another.
fn apart(before: Count, count: Count) -> Option<Duration> {
    let apart = match (before.said, count.said) {
        (Some(before), Some(said)) => said.duration_since(before).ok()?,
        _ => count.asked.saturating_duration_since(before.asked),
    };
    // Shorter than any interval: a rate over it would be noise, or infinite.
    (apart >= Duration::from_millis(10)).then_some(apart)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::UNIX_EPOCH;

    const LONGEST: Duration = Duration::from_secs(30);

    fn count(load: f64) -> LoadSample {
        LoadSample { load, capacity: Some(50.0), at: None }
    }

    /// The rates of counts that come every 10 s.
    fn rates(counts: &[f64]) -> Vec<Result<f64, LoadError>> {
        let (mut rate, began) = (Rate::default(), Instant::now());
        let asked = |index: usize| began + Duration::from_secs(10) * index as u32;
        let next = |(index, &value)| rate.next(count(value), asked(index), LONGEST).map(|sample| sample.load);
        counts.iter().enumerate().map(next).collect()
    }

    #[test]
    fn two_counts_make_a_rate_and_the_first_is_none() {
        assert_eq!(rates(&[1000.0, 1200.0, 1200.0]), [Err(LoadError::FirstCount), Ok(20.0), Ok(0.0)]);
    }

    #[test]
    fn a_count_that_fell_is_an_error_and_the_next_one_counts_from_there() {
        let fell = LoadError::CountFell { before: "1000".into(), now: "5".into() };
        assert_eq!(rates(&[1000.0, 5.0, 105.0]), [Err(LoadError::FirstCount), Err(fell), Ok(10.0)]);
    }

    #[test]
    fn counts_too_far_apart_make_no_rate() {
        let (mut rate, began) = (Rate::default(), Instant::now());
        let mut next = |value, after| rate.next(count(value), began + Duration::from_secs(after), LONGEST);
        assert!(next(0.0, 0).is_err());
        assert_eq!(next(300.0, 31), Err(LoadError::FirstCount));
        assert_eq!(next(600.0, 61).map(|sample| (sample.load, sample.capacity)), Ok((10.0, Some(50.0))));
        assert_eq!(next(601.0, 61), Err(LoadError::FirstCount), "at the same moment");
    }

    #[test]
    fn the_reports_own_times_count_before_ours() {
        let (mut rate, asked) = (Rate::default(), Instant::now());
        let mut next = |load, at| {
            let at = Some(UNIX_EPOCH + Duration::from_secs(at));
            rate.next(LoadSample { at, ..count(load) }, asked, LONGEST).map(|sample| sample.load)
        };
        assert!(next(100.0, 100).is_err());
        assert_eq!(next(200.0, 120), Ok(5.0));
        assert_eq!(next(300.0, 110), Err(LoadError::FirstCount), "back in time");
    }
}
