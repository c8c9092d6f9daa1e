//! Stability of steering: damping of regions that flap, a delay or an operator's word before those that went down come
//! back, a slow start then, a bound on how many probes may withdraw at once, and how far a drain has come.
//!
//! Pure: who remembers all this from one snapshot to the next is `state::memory::damping`. A region goes through it so:
//!
//! ```text
//!   verdict, override ─▶ damped, delayed, awaits resume? ─▶ held? ─▶ effective state ─▶ offered: a tenth of its capacity, then more
//!                                                     └▶ drain: who may still come, safe when?
//! ```

use std::time::{Duration, Instant, SystemTime};

use serde::{Deserialize, Serialize};

use crate::model::{Damping, Dependency};

use crate::steer::load::state::LoadState;

/// What a region that comes back offers at first, as a part of its capacity; then it grows by as much, step by step:
/// every step takes a new plan.
pub const SLOW_START_STEP: f64 = 0.1;
/// Steps from the first tenth to the whole.
const STEPS: u32 = 9;
/// A penalty never grows beyond this many times the limit: two half-lives after its last fall, any region is believed.
const MOST_PENALTY: f64 = 4.0;

/// Why a region's effective state is not what its probes say, and since when it is what it is.
#[derive(Clone, Debug, Default)]
pub struct Stability {
    /// What it depends on and does not serve: that alone makes its verdict down.
    pub failed_dependency: Option<Dependency>,
    /// How often its probes took it down lately.
    pub flaps: Flaps,
    /// Its probes say up, but it has gone down too often: not answered until then.
    pub damped_until: Option<Instant>,
    /// Its probes took it down and say up again, but not for long enough: not answered until then.
    pub delayed_until: Option<Instant>,
    /// When its probes took it down, where an operator's word alone brings it back. Also while they still say down, and
    /// while it is answered for want of others.
    pub awaits_resume: Option<Instant>,
    /// Its probes say down, but too many regions of its zone have gone at once: answered until then, with a short TTL.
    pub held_until: Option<Instant>,
    /// When it came back, which is when its slow start began, later by the time it was out in between for a short
    /// word of an operator; `None`: eligible since the start, or not eligible.
    pub back_since: Option<Instant>,
    /// While the operator drains it.
    pub drain: Option<Drain>,
}

/// A penalty that grows by 1 with every fall and halves with every half-life.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Flaps {
    penalty: f64,
    /// When the penalty was that.
    at: Option<Instant>,
}

impl Flaps {
    /// The penalty as it was at its last fall, and when that was.
    pub fn last(&self) -> Option<(f64, Instant)> {
        Some((self.penalty, self.at?))
    }

    /// What [`Flaps::last`] told; nothing, where the penalty is none that can be.
    pub fn restored(penalty: f64, at: Instant) -> Flaps {
        const MOST: f64 = 1e6;
        if (0.0..=MOST).contains(&penalty) { Flaps { penalty, at: Some(at) } } else { Flaps::default() }
    }

    /// Takes one more fall.
    pub fn fell(&mut self, damping: Damping, now: Instant) {
        let most = (damping.limit * MOST_PENALTY).max(1.0);
        *self = Flaps { penalty: (self.penalty(damping, now) + 1.0).min(most), at: Some(now) };
    }

    /// The penalty now, 0 or more.
    pub fn penalty(&self, damping: Damping, now: Instant) -> f64 {
        let Some(at) = self.at else { return 0.0 };
        let half_lives = now.saturating_duration_since(at).as_secs_f64() / damping.half_life.as_secs_f64();
        self.penalty * (-half_lives).exp2()
    }

    /// When the penalty has come down to the limit; `None` where it was not above at the last fall.
    pub fn damped_until(&self, damping: Damping) -> Option<Instant> {
        if self.penalty <= damping.limit {
            return None;
        }
        let half_lives = (self.penalty / damping.limit).log2();
        self.at?.checked_add(damping.half_life.mul_f64(half_lives))
    }
}

/// The part of its capacity that a region offers so long after it came back, 0.1 to 1, where a slow start takes
/// `period`; in steps of [`SLOW_START_STEP`].
pub fn slow_start(elapsed: Duration, period: Duration) -> f64 {
    let steps = (0..STEPS).filter(|&step| elapsed >= step_at(step, period)).count();
    SLOW_START_STEP + SLOW_START_STEP * steps as f64
}

/// When a slow start that began at `since` takes its next step; `None` where it is over.
pub fn next_step(since: Instant, period: Duration, now: Instant) -> Option<Instant> {
    (0..STEPS).map(|step| since + step_at(step, period)).find(|&at| at > now)
}

fn step_at(step: u32, period: Duration) -> Duration {
    period * (step + 1) / STEPS
}

/// Until when one more region must wait to be withdrawn; `None`: it need not. `out` holds when each region that
/// is still out was withdrawn, if that was within `window`; any order.
pub fn wait_until(out: &mut [Instant], most: usize, window: Duration) -> Option<Instant> {
    out.sort_unstable();
    // Room is made by the withdrawal that leaves only `most - 1` behind it.
    let index = out.len().checked_sub(most)?;
    Some(*out.get(index)? + window)
}

/// A region on its way out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Drain {
    /// When the operator began it, by the wall clock.
    pub since: SystemTime,
    /// When an answer last named the region.
    pub named_until: Instant,
    /// When the last such answer runs out by its TTL.
    pub cached_until: Instant,
    /// What the region reported when the drain began, where it did and that was fresh.
    pub load: Option<f64>,
}

/// The begin of a drain, as it is kept over restarts.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DrainBegin {
    /// By the wall clock, in milliseconds since 1970, as the next.
    pub since_unix_ms: u64,
    /// When the last answer that named the region runs out by its TTL.
    pub cached_until_unix_ms: u64,
    /// As reported at the begin; finite.
    pub load: Option<f64>,
}

/// How far a drain has come.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DrainProgress {
    /// The earliest time at which nobody is sent there any more by an answer from here; `None` while it is still
    /// being answered, for want of other regions. In the past once it is safe.
    pub safe_at: Option<Instant>,
    /// 0 to 1: the part of its clients that may still come, at most, by the age of answers: these run out evenly
    /// over TTL and allowance. 0 decides that it is safe; 1 while the region is still being answered.
    pub may_come: f64,
    /// Its load now over that when the drain began, 0 or more: of clients that have come. `None` where one of the
    /// two is not known. Decides nothing: clients may stay connected for days, and other work may be in it.
    pub load_ratio: Option<f64>,
}

impl Drain {
    /// How far it has come. `answered`: some service still answers with the region. `allowance`: how much longer
    /// than their TTL answers are taken to be used.
    pub fn progress(&self, answered: bool, load: &LoadState, allowance: Duration, now: Instant) -> DrainProgress {
        let safe_at = (!answered).then(|| self.cached_until + allowance);
        let may_come = safe_at.map_or(1.0, |safe_at| self.by_age(safe_at, now));
        DrainProgress { safe_at, may_come, load_ratio: self.load_ratio(load) }
    }

    fn load_ratio(&self, load: &LoadState) -> Option<f64> {
        let fresh = load.last.filter(|_| !load.stale && load.error.is_none() && load.doubt.is_none())?;
        let begin = self.load.filter(|&begin| begin > 0.0)?;
        Some(fresh.load / begin)
    }

    fn by_age(&self, safe_at: Instant, now: Instant) -> f64 {
        let whole = safe_at.saturating_duration_since(self.named_until).as_secs_f64();
        let left = safe_at.saturating_duration_since(now).as_secs_f64();
        if whole > 0.0 { (left / whole).min(1.0) } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::steer::load::feed::Implausible;
    use crate::steer::load::state::LoadFigure;

    const S: Duration = Duration::from_secs(1);

    fn damped_for(falls_s: &[u64]) -> Option<f64> {
        let (damping, began) = (Damping::default(), Instant::now());
        let mut flaps = Flaps::default();
        falls_s.iter().for_each(|&at| flaps.fell(damping, began + Duration::from_secs(at)));
        let last = began + Duration::from_secs(*falls_s.last()?);
        Some(flaps.damped_until(damping)?.duration_since(last).as_secs_f64())
    }

    #[test]
    fn one_fall_is_forgiven_and_two_within_221_s_are_damped() {
        assert_eq!(damped_for(&[0]), None);
        assert_eq!(damped_for(&[0, 222]), None);
        assert!(damped_for(&[0, 220]).is_some_and(|s| s < 1.0));
        // 300 s × log2(2 / 1.6)
        assert!(damped_for(&[0, 0]).is_some_and(|s| (s - 96.6).abs() < 0.1));
    }

    #[test]
    fn whatever_the_past_two_half_lives_without_a_fall_end_it() {
        let many: Vec<u64> = (0..500).map(|n| n * 20).collect();
        assert!(damped_for(&many).is_some_and(|s| (s - 600.0).abs() < 0.1));
    }

    #[test]
    fn a_penalty_halves_with_every_half_life() {
        let (damping, now) = (Damping::default(), Instant::now());
        let mut flaps = Flaps::default();
        assert_eq!(flaps.penalty(damping, now), 0.0);
        flaps.fell(damping, now);
        assert!((flaps.penalty(damping, now + 600 * S) - 0.25).abs() < 1e-9);
    }

    #[test]
    fn a_slow_start_begins_with_a_tenth_and_ends_with_all() {
        let at = |s: u32| (slow_start(s * S, 180 * S) * 10.0).round();
        assert_eq!([0, 19, 20, 89, 90, 179, 180, 9999].map(at), [1.0, 1.0, 2.0, 5.0, 5.0, 9.0, 10.0, 10.0]);
        assert_eq!(slow_start(180 * S, 180 * S), 1.0, "exactly, so that it is seen to be over");
        assert_eq!(slow_start(Duration::ZERO, Duration::ZERO), 1.0);
        // Never more than the line it follows.
        assert!((0..1800).all(|n| {
            let elapsed = Duration::from_millis(n * 100);
            slow_start(elapsed, 180 * S) <= 0.1 + 0.9 * elapsed.as_secs_f64() / 180.0 + 1e-9
        }));
    }

    #[test]
    fn the_next_step_is_when_the_offer_changes() {
        let began = Instant::now();
        let mut now = began;
        let mut offers = vec![slow_start(Duration::ZERO, 180 * S)];
        while let Some(at) = next_step(began, 180 * S, now) {
            now = at;
            offers.push(slow_start(now - began, 180 * S));
        }
        assert_eq!((now - began, offers.len()), (180 * S, 10));
        assert!(offers.windows(2).all(|two| two[1] > two[0]), "{offers:?}");
        assert_eq!(next_step(began, Duration::ZERO, began), None);
    }

    #[test]
    fn one_more_waits_until_fewer_than_most_went_within_the_window() {
        let now = Instant::now();
        let at = |s: u32| now + s * S;
        assert_eq!(wait_until(&mut [], 1, 60 * S), None);
        assert_eq!(wait_until(&mut [at(5)], 2, 60 * S), None);
        assert_eq!(wait_until(&mut [at(9), at(5)], 2, 60 * S), Some(at(65)));
        assert_eq!(wait_until(&mut [at(9), at(5), at(7)], 2, 60 * S), Some(at(67)));
        assert_eq!(wait_until(&mut [at(9)], 1, 60 * S), Some(at(69)));
    }

    #[test]
    fn a_drain_tells_by_the_age_of_answers_who_may_come_and_by_load_who_is_there() {
        let now = Instant::now();
        let (since, cached_until) = (SystemTime::UNIX_EPOCH, now + 30 * S);
        let drain = Drain { since, named_until: now, cached_until, load: Some(200.0) };
        let figure = |load| LoadFigure { load, capacity: None, at: now };
        let fresh = LoadState { last: Some(figure(50.0)), ..LoadState::default() };
        let begun = drain.progress(false, &fresh, 60 * S, now);
        assert_eq!(begun, DrainProgress { safe_at: Some(now + 90 * S), may_come: 1.0, load_ratio: Some(0.25) });
        let later = drain.progress(false, &fresh, 60 * S, now + 45 * S);
        assert_eq!((later.may_come, later.load_ratio), (0.5, Some(0.25)), "neither hides the other");
        for unknown in [
            LoadState::default(),
            LoadState { stale: true, ..fresh.clone() },
            LoadState { error: Some("refused".into()), ..fresh.clone() },
            LoadState { doubt: Some(Implausible::Fell), ..fresh.clone() },
        ] {
            let after = |s: u32| drain.progress(false, &unknown, 60 * S, now + s * S);
            assert_eq!((after(0).may_come, after(0).load_ratio), (1.0, None));
            assert!((after(45).may_come - 0.5).abs() < 1e-9);
            assert_eq!((after(90).may_come, after(5000).may_come), (0.0, 0.0));
        }
        let grown = LoadState { last: Some(figure(900.0)), ..LoadState::default() };
        assert_eq!(drain.progress(false, &grown, 60 * S, now).load_ratio, Some(4.5));
        let idle = Drain { load: Some(0.0), ..drain };
        assert_eq!(idle.progress(false, &fresh, 60 * S, now).load_ratio, None);
        let answered = drain.progress(true, &fresh, 60 * S, now + 5000 * S);
        assert_eq!((answered.safe_at, answered.may_come), (None, 1.0));
    }
}
