//! Growth and decline that all feeds report alike, which may be the feeds' own doing.
//!
//! Clients come and go place by place: where most regions gain or lose the same part within minutes, a counter that
//! swings is as likely as the whole world's clients. A common rise is believed at first: it takes room away from
//! nobody who needs it. A common fall is believed slowly, since the room that it promises may not be there; and after
//! a fall so is the next rise. What is not believed yet is a factor on every feed, and runs out into demand.
//!
//! ```text
//!   gains by region, of the last minutes ─▶ what most share ─▶ believed at once, or
//!                                                           └▶ factor on all feeds ─(an hour)─▶ demand
//! ```

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Gains and losses are compared over so long, in seconds, fading.
const COMPARED_OVER_S: f64 = 100.0;
/// Shared changes of this part are the day's.
const USUAL: f64 = 0.02;
/// The time in which what is held back becomes demand, about, in seconds.
const BELIEVED_AFTER_S: f64 = 3600.0;
/// A common rise is doubted for so long after a common fall, in seconds.
const DOUBTED_S: f64 = 1800.0;
/// A fall of less than this has not happened.
const LEAST_FALL: f64 = 0.05;
/// The most that is held back, either way, as a logarithm.
const MOST_HELD: f64 = 2.0;

/// The memory. Changes are logarithms.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CommonMode {
    /// By region: what its clients' demand has gained lately by reports.
    gained: Vec<f64>,
    /// The excess of what all feeds say over what is believed.
    held: f64,
    /// Since the last common fall or jump, in seconds.
    unsure_s: Option<f64>,
    /// The fall that feeds had together of late.
    fallen: f64,
}

impl CommonMode {
    /// The quotient of what all feeds say and what there is.
    pub fn factor(&self) -> f64 {
        self.held.exp()
    }

    /// Takes what reports have changed, by region, as logarithms; 0: nothing. By what factor all demand is to be
    /// changed for what is not believed of it; 1: all is believed.
    pub fn take_back(&mut self, gains: &[f64], heard: &[bool]) -> f64 {
        self.gained.resize(gains.len(), 0.0);
        self.gained.iter_mut().zip(gains).for_each(|(gained, gain)| *gained += gain);
        let shared = shared(self.gained.iter().zip(heard).filter(|(_, heard)| **heard).map(|(gained, _)| *gained));
        if shared == 0.0 {
            return 1.0;
        }
        let held = match shared > 0.0 {
            false => shared,
            true if self.unsure_s.is_some() => shared,
            true => 0.0,
        };
        if shared < 0.0 {
            self.fallen -= shared;
            if self.fallen > LEAST_FALL {
                self.unsure_s = Some(0.0);
            }
        }
        self.gained.iter_mut().for_each(|gained| *gained -= shared);
        let before = self.held;
        self.held = (self.held + held).clamp(-MOST_HELD, MOST_HELD);
        (before - self.held).exp()
    }

    /// Takes note of who has jumped beyond belief: where most have, their feeds are not to be trusted with a common
    /// rise for a while.
    pub fn note_jumps(&mut self, jumped: impl ExactSizeIterator<Item = bool>) {
        let all = jumped.len();
        if all > 1 && 3 * jumped.filter(|jumped| *jumped).count() >= 2 * all {
            self.unsure_s = Some(0.0);
        }
    }

    /// Time has passed. By what factor all demand is to be changed for what is believed by now.
    pub fn fade(&mut self, elapsed: Duration) -> f64 {
        let elapsed_s = elapsed.as_secs_f64();
        let forgotten = (-elapsed_s / COMPARED_OVER_S).exp();
        self.gained.iter_mut().for_each(|gained| *gained *= forgotten);
        self.fallen *= (-elapsed_s / DOUBTED_S).exp();
        self.unsure_s = self.unsure_s.map(|ago_s| ago_s + elapsed_s).filter(|ago_s| *ago_s < DOUBTED_S);
        let believed = self.held * (1.0 - (-elapsed_s / BELIEVED_AFTER_S).exp());
        self.held -= believed;
        believed.exp()
    }

    /// Regions are numbered anew: what was gained lately is forgotten.
    pub fn renumber(&mut self) {
        self.gained.clear();
    }

    /// As it was kept over a restart, if it makes sense.
    pub fn restored(&self) -> Option<CommonMode> {
        let is_sane = self.held.abs() <= MOST_HELD
            && self.fallen.is_finite()
            && self.unsure_s.is_none_or(|ago_s| (0.0..=DOUBTED_S).contains(&ago_s));
        is_sane.then(|| CommonMode { gained: Vec::new(), ..self.clone() })
    }
}

/// The change that two thirds of them have gained or lost at least, beyond what is usual; 0 where they do not agree, or
/// there is but one.
fn shared(gained: impl Iterator<Item = f64>) -> f64 {
    let mut gained: Vec<f64> = gained.collect();
    if gained.len() < 2 {
        return 0.0;
    }
    gained.sort_by(f64::total_cmp);
    let at = (gained.len() - 1) / 3;
    let (low, high) = (gained[at], gained[gained.len() - 1 - at]);
    if low > USUAL {
        low - USUAL
    } else if high < -USUAL {
        high + USUAL
    } else {
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    /// Demand of four regions after their feeds have said so, each 10 s; all four are heard.
    fn follows(said: impl Fn(u64, usize) -> f64, seconds: u64) -> [f64; 4] {
        let (mut common, mut demand) = (CommonMode::default(), [1.0; 4]);
        for second in (0..seconds).step_by(10) {
            let believed = common.fade(10 * S);
            demand.iter_mut().for_each(|demand| *demand *= believed);
            for region in 0..4 {
                let gain = (said(second, region) / common.factor() / demand[region]).ln();
                demand[region] *= gain.exp();
                let mut gains = [0.0; 4];
                gains[region] = gain;
                let taken_back = common.take_back(&gains, &[true; 4]);
                demand.iter_mut().for_each(|demand| *demand *= taken_back);
            }
        }
        demand
    }

    #[test]
    fn what_one_region_gains_is_believed_and_so_is_a_first_rise_of_all() {
        let crowd = follows(|second, region| if region == 0 { 1.0 + second as f64 / 300.0 } else { 1.0 }, 310);
        assert!((crowd[0] - 2.0).abs() < 0.01 && (crowd[1] - 1.0).abs() < 1e-9, "{crowd:?}");
        let all = follows(|second, _| 1.0 + second as f64 / 300.0, 310);
        assert!(all.iter().all(|demand| (demand - 2.0).abs() < 0.01), "{all:?}");
    }

    #[test]
    fn a_fall_of_all_is_believed_slowly_and_then_so_is_their_rise() {
        let down = |second: u64, _: usize| 1.0 - 0.5 * (second as f64 / 300.0).min(1.0);
        let soon = follows(down, 310);
        assert!(soon.iter().all(|demand| *demand > 0.85), "{soon:?}");
        let late = follows(down, 4 * 3600);
        assert!(late.iter().all(|demand| *demand < 0.55), "{late:?}");
        let waves = |second: u64, _: usize| 1.0 + 0.5 * (second as f64 * std::f64::consts::TAU / 600.0).cos();
        for seconds in (1200..7200).step_by(70) {
            let demand = follows(waves, seconds);
            assert!(demand.iter().all(|demand| (0.8..1.5).contains(demand)), "{seconds}: {demand:?}");
        }
    }

    #[test]
    fn one_region_alone_has_nothing_in_common_with_anybody() {
        let mut common = CommonMode::default();
        assert_eq!(common.take_back(&[-1.0, 0.0], &[true, false]), 1.0);
        assert_eq!(common.take_back(&[], &[]), 1.0);
    }
}
