//! The incidents of a simulated world, and when: pure functions of the time.

/// Something that goes wrong for a while.
#[derive(Clone, Debug, PartialEq)]
pub struct Incident {
    /// Seconds since the simulation began.
    pub from_s: u64,
    /// From then on all is well again, or begins to be.
    pub until_s: u64,
    pub what: What,
}

/// The thing that goes wrong. Regions and cities by their numbers.
#[derive(Clone, Debug, PartialEq)]
pub enum What {
    /// Serves nothing. Comes back cold: at a tenth of its capacity, at all of it `cold_s` later.
    Dead { region: usize, cold_s: u64 },
    /// Goes on at this part of its capacity, and says so.
    BrownOut { region: usize, part: f64 },
    /// Lives for `up_s`, is dead for `down_s`, dead first.
    Flapping { region: usize, up_s: u64, down_s: u64 },
    /// Demand of these cities is multiplied; comes and goes within `ramp_s`.
    FlashCrowd { cities: Vec<usize>, factor: f64, ramp_s: u64 },
    /// Its load reports are wrong; `region` `None`: those of all.
    Feed { region: Option<usize>, trouble: Feed },
}

/// The part of its capacity a region comes back with.
const COLD: f64 = 0.1;

impl Incident {
    /// The time when the world is as it was.
    pub fn over_s(&self) -> u64 {
        match self.what {
            What::Dead { cold_s, .. } => self.until_s + cold_s,
            What::FlashCrowd { ramp_s, .. } => self.until_s + ramp_s,
            _ => self.until_s,
        }
    }

    /// Tells whether it troubles the region itself, rather than what is known of it.
    pub fn region(&self) -> Option<usize> {
        match self.what {
            What::Dead { region, .. } | What::BrownOut { region, .. } | What::Flapping { region, .. } => Some(region),
            _ => None,
        }
    }

    fn lasts(&self, t: u64) -> bool {
        (self.from_s..self.until_s).contains(&t)
    }

    /// Tells whether the region lives, as far as this goes.
    pub fn alive(&self, region: usize, t: u64) -> bool {
        match self.what {
            What::Dead { region: dead, .. } => dead != region || !self.lasts(t),
            What::Flapping { region: flapping, up_s, down_s } if flapping == region && self.lasts(t) => {
                (t - self.from_s) % (up_s + down_s).max(1) >= down_s
            }
            _ => true,
        }
    }

    /// The part of its capacity a region has.
    pub fn capacity(&self, region: usize, t: u64) -> f64 {
        match self.what {
            What::BrownOut { region: browned, part } if browned == region && self.lasts(t) => part,
            What::Dead { region: dead, cold_s } if dead == region && t >= self.until_s && t < self.until_s + cold_s => {
                COLD + (1.0 - COLD) * (t - self.until_s) as f64 / cold_s as f64
            }
            _ => 1.0,
        }
    }

    /// The factor that multiplies a city's demand.
    pub fn demand(&self, city: usize, t: u64) -> f64 {
        match &self.what {
            What::FlashCrowd { cities, factor, ramp_s } if t >= self.from_s && cities.contains(&city) => {
                let ramp = (*ramp_s).max(1) as f64;
                let risen = ((t - self.from_s) as f64 / ramp).min(1.0);
                let fallen = (t.saturating_sub(self.until_s) as f64 / ramp).min(1.0);
                1.0 + (factor - 1.0) * (risen - fallen).max(0.0)
            }
            _ => 1.0,
        }
    }

    /// The trouble it makes for a region's load reports now.
    pub fn feed(&self, region: usize, t: u64) -> Option<Feed> {
        match self.what {
            What::Feed { region: of, trouble } if of.is_none_or(|of| of == region) => self.lasts(t).then_some(trouble),
            _ => None,
        }
    }
}

/// The trouble with a load report.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Feed {
    /// Every scrape fails.
    Silent,
    /// The load is multiplied.
    Lies { factor: f64 },
    /// It says the same as at the beginning, over and over.
    Frozen,
    /// Its figures are so old, and it does not say so.
    Late { late_s: u64 },
    /// No more load than the capacity is said, as by a balancer that counts what it took.
    Capped,
    /// The load is rounded to this part of the capacity.
    Rounded { part: f64 },
    /// The load is this part of the capacity, over and over.
    Constant { part: f64 },
    /// The load is multiplied by what rises from `low` to `high` within the period, and falls back.
    Sawtooth { period_s: u64, low: f64, high: f64 },
    /// The load is multiplied by what goes evenly from `low` to `high` and back within the period.
    Waves { period_s: u64, low: f64, high: f64 },
    /// The capacity is multiplied, the load is not.
    Capacity { factor: f64 },
    /// No capacity is said.
    NoCapacity,
    /// Load and capacity are anything, within three powers of ten.
    Garbage,
}

impl Feed {
    /// The figure it makes of a true one, where that needs no memory of earlier ones.
    pub fn told(self, load: f64, capacity: f64, region: usize, t: u64) -> (f64, f64) {
        match self {
            Feed::Silent => (f64::NAN, f64::NAN),
            Feed::Lies { factor } => (load * factor, capacity),
            Feed::Capped => (load.min(capacity), capacity),
            Feed::Rounded { part } => ((load / (part * capacity)).round() * part * capacity, capacity),
            Feed::Constant { part } => (part * capacity, capacity),
            Feed::Sawtooth { period_s, low, high } => {
                let phase = (t % period_s.max(1)) as f64 / period_s.max(1) as f64;
                (load * (low + (high - low) * phase), capacity)
            }
            Feed::Waves { period_s, low, high } => {
                let turn = std::f64::consts::TAU * (t % period_s.max(1)) as f64 / period_s.max(1) as f64;
                (load * (low + (high - low) * (0.5 - 0.5 * turn.cos())), capacity)
            }
            Feed::Capacity { factor } => (load, capacity * factor),
            Feed::NoCapacity => (load, f64::NAN),
            Feed::Garbage => {
                let mut chance = fastrand::Rng::with_seed(t << 16 | region as u64);
                let mut any = || 10f64.powf(6.0 * chance.f64() - 3.0);
                (load * any(), capacity * any())
            }
            Feed::Frozen | Feed::Late { .. } => (load, capacity),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn incident(what: What) -> Incident {
        Incident { from_s: 100, until_s: 200, what }
    }

    #[test]
    fn a_dead_region_comes_back_cold() {
        let dead = incident(What::Dead { region: 1, cold_s: 100 });
        assert_eq!([99, 100, 199, 200].map(|t| dead.alive(1, t)), [true, false, false, true]);
        assert!(dead.alive(0, 150));
        assert_eq!([99, 200, 250, 300].map(|t| dead.capacity(1, t)), [1.0, 0.1, 0.55, 1.0]);
        assert_eq!((dead.capacity(0, 250), dead.over_s()), (1.0, 300));
    }

    #[test]
    fn a_flapping_region_is_dead_first() {
        let flapping = incident(What::Flapping { region: 0, up_s: 10, down_s: 20 });
        let alive = [99, 100, 119, 120, 129, 130, 200].map(|t| flapping.alive(0, t));
        assert_eq!(alive, [true, false, false, true, true, false, true]);
    }

    #[test]
    fn a_crowd_comes_and_goes() {
        let crowd = incident(What::FlashCrowd { cities: vec![3], factor: 3.0, ramp_s: 10 });
        assert_eq!([99, 100, 105, 110, 200, 205, 210].map(|t| crowd.demand(3, t)), [1.0, 1.0, 2.0, 3.0, 3.0, 2.0, 1.0]);
        assert_eq!(crowd.demand(2, 150), 1.0);
        assert_eq!(crowd.over_s(), 210);
    }

    #[test]
    fn feeds_are_troubled_while_it_lasts() {
        let trouble = Feed::Lies { factor: 0.2 };
        let lies = incident(What::Feed { region: Some(2), trouble });
        assert_eq!([99, 100, 200].map(|t| lies.feed(2, t)), [None, Some(trouble), None]);
        assert_eq!(lies.feed(1, 150), None);
        assert_eq!(incident(What::Feed { region: None, trouble }).feed(1, 150), Some(trouble));
    }

    #[test]
    fn troubles_make_of_a_figure_what_they_say() {
        let told = |trouble: Feed| trouble.told(130.0, 100.0, 0, 25);
        assert_eq!(told(Feed::Capped), (100.0, 100.0));
        assert_eq!(told(Feed::Rounded { part: 0.25 }), (125.0, 100.0));
        assert_eq!(told(Feed::Constant { part: 0.5 }), (50.0, 100.0));
        assert_eq!(told(Feed::Sawtooth { period_s: 100, low: 0.0, high: 2.0 }), (65.0, 100.0));
        assert_eq!(told(Feed::Waves { period_s: 50, low: 0.5, high: 1.5 }), (195.0, 100.0));
        assert_eq!(told(Feed::Capacity { factor: 1.5 }), (130.0, 150.0));
        assert!(told(Feed::NoCapacity).1.is_nan() && told(Feed::Silent).0.is_nan());
        assert_eq!(told(Feed::Garbage), told(Feed::Garbage));
    }
}
