//! What goes wrong in a simulated world, and when: pure functions of the time.

/// Something that goes wrong for a while.
#[derive(Clone, Debug, PartialEq)]
pub struct Incident {
    /// Seconds since the simulation began.
    pub from_s: u64,
    /// From then on all is well again, or begins to be.
    pub until_s: u64,
    pub what: What,
}

/// What it is that goes wrong. Regions and cities by their numbers.
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
    /// Every scrape of its load report fails.
    FeedSilent { region: usize },
    /// The load it reports is multiplied.
    FeedLies { region: usize, factor: f64 },
    /// It reports the same as at the beginning, over and over.
    FeedFrozen { region: usize },
    /// What it reports is so old, and does not say so.
    FeedLate { region: usize, late_s: u64 },
}

/// The part of its capacity a region comes back with.
const COLD: f64 = 0.1;

impl Incident {
    /// When the world is as it was.
    pub fn over_s(&self) -> u64 {
        match self.what {
            What::Dead { cold_s, .. } => self.until_s + cold_s,
            What::FlashCrowd { ramp_s, .. } => self.until_s + ramp_s,
            _ => self.until_s,
        }
    }

    /// Whether it troubles the region itself, rather than what is known of it.
    pub fn region(&self) -> Option<usize> {
        match self.what {
            What::Dead { region, .. } | What::BrownOut { region, .. } | What::Flapping { region, .. } => Some(region),
            _ => None,
        }
    }

    fn lasts(&self, t: u64) -> bool {
        (self.from_s..self.until_s).contains(&t)
    }

    /// Whether the region lives, as far as this goes.
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

    /// What multiplies a city's demand.
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

    /// What it does to a region's load reports now.
    pub fn feed(&self, region: usize, t: u64) -> Option<Feed> {
        let feed = match self.what {
            What::FeedSilent { region: of } if of == region => Feed::Silent,
            What::FeedLies { region: of, factor } if of == region => Feed::Lies { factor },
            What::FeedFrozen { region: of } if of == region => Feed::Frozen { since_s: self.from_s },
            What::FeedLate { region: of, late_s } if of == region => Feed::Late { late_s },
            _ => return None,
        };
        self.lasts(t).then_some(feed)
    }
}

/// What is wrong with a load report.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Feed {
    Silent,
    Lies { factor: f64 },
    Frozen { since_s: u64 },
    Late { late_s: u64 },
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
        let lies = incident(What::FeedLies { region: 2, factor: 0.2 });
        assert_eq!([99, 100, 200].map(|t| lies.feed(2, t)), [None, Some(Feed::Lies { factor: 0.2 }), None]);
        assert_eq!(lies.feed(1, 150), None);
    }
}
