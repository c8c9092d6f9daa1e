//! The estimate of demand as it is kept over a restart: services and regions by what
//! [`Names`](crate::steer::kept::Names) says of their old ids, sites by what they are.

use std::collections::HashMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::steer::kept::{Ids, SiteFinder, sound};
use crate::steer::latency::sites::{SiteKey, Sites};
use crate::steer::planner::profile::Profile;
use crate::steer::planner::profile::kept::KeptProfile;

use super::{Answered, Demand, Flow, LEAST_ALIVE, LIFE_PARTS, MOST_FLOWS};

/// See [`Demand::kept`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct KeptDemand {
    flows: Vec<KeptFlow>,
    /// The sites by which flows number theirs.
    sites: Vec<SiteKey>,
    profile: KeptProfile,
    assumed: Option<f64>,
    given: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct KeptFlow {
    service: u32,
    site: u32,
    lived: f64,
    counted: f64,
    weight: Option<f64>,
    usual: f64,
    answered: Vec<KeptAnswered>,
}

/// In half the precision of the rest: there are several of them per flow, and they are replaced within minutes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct KeptAnswered {
    region: u16,
    parts: [f32; LIFE_PARTS],
    life_s: f32,
}

/// No amount of demand, in whatever unit, is above this, and no number of resolvers.
const MOST: f64 = 1e18;
/// The mean of less than this part of its time says nothing.
const LEAST_COUNTED: f64 = 1e-6;
/// TTLs are no longer: RFC 2181 section 8.
const MOST_LIFE_S: f64 = 2_147_483_648.0;
/// A server that was killed has given answers that are not in what it kept: so long after that, as many are taken to
/// live as did, and only then to run out.
const UNSAVED: Duration = Duration::from_secs(30);
/// The most of their lives by which answers fade: some always tell where clients were, until those ask again.
const MOST_FADED: f64 = 0.5;

impl Demand {
    /// The estimate as plain data, of these sites.
    pub fn kept(&self, sites: &Sites) -> KeptDemand {
        let (mut keys, mut numbers) = (Vec::new(), HashMap::new());
        let mut number = |site: u32| {
            *numbers.entry(site).or_insert_with(|| {
                keys.push(sites.key(site as usize, 0.0));
                keys.len() as u32 - 1
            })
        };
        let flow = |flow: &Flow| KeptFlow {
            service: flow.service.0,
            site: number(flow.site),
            lived: flow.lived,
            counted: flow.counted,
            weight: flow.weight,
            usual: flow.usual,
            answered: flow.answered.iter().map(Answered::kept).collect(),
        };
        KeptDemand {
            flows: self.flows.iter().map(flow).collect(),
            sites: keys,
            profile: self.profile.kept(),
            assumed: self.assumed,
            given: self.given,
        }
    }

    /// The estimate as it was, with services, sites and regions of now; what is gone is left out. `elapsed`: since it
    /// last faded. Whose reports are believed is to be said anew.
    pub fn restored(kept: &KeptDemand, ids: &Ids, finder: &SiteFinder, elapsed: Duration) -> Demand {
        let mut demand = Demand {
            profile: Profile::restored(&kept.profile),
            assumed: kept.assumed.and_then(|assumed| sound(assumed, 0.0..=MOST)),
            given: kept.given,
            restarted_s: Some(0.0),
            ..Demand::default()
        };
        let faded_s = elapsed.saturating_sub(UNSAVED).as_secs_f64();
        let sites: Vec<Option<u32>> = kept.sites.iter().map(|key| finder.find(key)).collect();
        for kept in kept.flows.iter().take(MOST_FLOWS) {
            let site = sites.get(kept.site as usize).copied().flatten();
            if let Some(mut flow) = site.and_then(|site| kept.restored(site, ids)) {
                flow.fade(faded_s.min(MOST_FADED * flow.life_s()), false);
                demand.add(flow);
            }
        }
        demand
    }

    /// Adds a flow. Where sites of old have become one, so do their clients.
    fn add(&mut self, flow: Flow) {
        let next = self.flows.len();
        let at = *self.index.entry((flow.service, flow.site)).or_insert(next);
        match self.flows.get_mut(at) {
            None => self.flows.push(flow),
            Some(known) => {
                known.lived += flow.lived;
                known.answered.extend(flow.answered);
            }
        }
    }
}

impl KeptDemand {
    /// The number of flows it tells of: of a service's clients at a site.
    pub fn len(&self) -> usize {
        self.flows.len()
    }

    pub fn is_empty(&self) -> bool {
        self.flows.is_empty()
    }
}

impl KeptFlow {
    /// `None`: its service is gone, or it makes no sense.
    fn restored(&self, site: u32, ids: &Ids) -> Option<Flow> {
        let weight = match self.weight {
            Some(weight) => Some(sound(weight, 0.0..=MOST)?),
            None => None,
        };
        let counted = sound(self.counted, LEAST_COUNTED..=1.0);
        Some(Flow {
            service: ids.service(self.service)?,
            site,
            lived: counted.map_or(Some(0.0), |_| sound(self.lived, 0.0..=MOST))?,
            counted: counted.unwrap_or(0.0),
            weight,
            usual: sound(self.usual, 0.0..=MOST)?,
            answered: self.answered.iter().filter_map(|answered| answered.restored(ids)).collect(),
        })
    }
}

impl Answered {
    fn kept(&self) -> KeptAnswered {
        KeptAnswered { region: self.region.0, parts: self.parts.map(|part| part as f32), life_s: self.life_s as f32 }
    }
}

impl KeptAnswered {
    /// `None`: its region is gone, or it makes no sense.
    fn restored(&self, ids: &Ids) -> Option<Answered> {
        let mut parts = [0.0; LIFE_PARTS];
        for (part, &kept) in parts.iter_mut().zip(&self.parts) {
            *part = sound(f64::from(kept), 0.0..=MOST)?;
        }
        let life_s = sound(f64::from(self.life_s), f64::from(f32::MIN_POSITIVE)..=MOST_LIFE_S)?;
        let answered = Answered { region: ids.region(self.region)?, parts, life_s };
        (answered.alive() > LEAST_ALIVE).then_some(answered)
    }
}

#[cfg(test)]
impl KeptDemand {
    /// One with a value in every place.
    pub fn sample() -> KeptDemand {
        let answered = vec![KeptAnswered { region: 0, parts: [1.0, 2.0, 3.0, 4.0], life_s: 5.0 }];
        let (weight, usual) = (Some(8.0), 9.0);
        let flow = KeptFlow { service: 1, site: 0, lived: 6.0, counted: 0.7, weight, usual, answered };
        KeptDemand {
            flows: vec![flow],
            sites: vec![SiteKey::sample()],
            profile: KeptProfile::sample(),
            assumed: Some(10.0),
            given: true,
        }
    }

    /// As much as there may be, on three regions each.
    pub fn largest() -> KeptDemand {
        let mut largest = KeptDemand::sample();
        let on = |region: u16| KeptAnswered { region, ..largest.flows[0].answered[0].clone() };
        let answered = [0, 200, 1000].map(on).into();
        let flow = KeptFlow { answered, service: 9_999, ..largest.flows[0].clone() };
        largest.flows = (0..MOST_FLOWS as u32).map(|site| KeptFlow { site, ..flow.clone() }).collect();
        largest.sites = vec![SiteKey::sample(); MOST_FLOWS];
        largest
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Instant;

    use super::*;
    use crate::model::{Policy, RegionId, ServiceId};
    use crate::steer::kept::Names;
    use crate::steer::planner::demand::OnRegion;
    use crate::steer::testing::{World, at};

    const S: Duration = Duration::from_secs(1);
    const TTL_S: f64 = 300.0;

    /// Clients of one site, and regions in this order.
    struct SitedWorld {
        world: World,
        sites: Arc<Sites>,
    }

    impl SitedWorld {
        fn new(regions: [&str; 2]) -> SitedWorld {
            let regions = regions.map(|name| (name, at(0.0, if name == "west" { -90.0 } else { 90.0 })));
            let world = World::new(Policy::Score, &regions).clients(&[("10.0.0.0/16", at(0.0, 0.0))]);
            let sites = world.plan(Instant::now()).plan.sites.expect("sites");
            SitedWorld { world, sites }
        }

        fn site(&self) -> u32 {
            let place = self.world.atlas.locate("10.0.0.1".parse().expect("an address")).place;
            self.sites.of_place(place).expect("a site") as u32
        }

        /// 600 answers at a time, three quarters of them in the first region, and 2 of demand for each.
        fn known(&self) -> Demand {
            let mut demand = Demand::default();
            for _ in 0..3000 {
                demand.fade(S, |_| None);
                self.ask(&mut demand);
            }
            demand.set_level(&[Some(900.0), Some(300.0)]);
            demand
        }

        /// What a second brings.
        fn ask(&self, demand: &mut Demand) {
            demand.count(ServiceId(0), self.site(), RegionId(0), 1.5 * TTL_S, TTL_S);
            demand.count(ServiceId(0), self.site(), RegionId(1), 0.5 * TTL_S, TTL_S);
        }

        fn restarted(&self, demand: &Demand, to: &SitedWorld, elapsed: Duration) -> Demand {
            let kept = demand.kept(&self.sites);
            let ids = Names::of(&self.world.model).ids(&to.world.model);
            Demand::restored(&kept, &ids, &SiteFinder::of(&to.sites), elapsed)
        }
    }

    fn near(one: f64, other: f64) -> bool {
        (one - other).abs() < 0.01 * other
    }

    fn alive(demand: &Demand) -> f64 {
        demand.flows.iter().map(Flow::alive).sum()
    }

    #[test]
    fn clients_are_where_they_were_however_long_it_took() {
        let (place, other) = (SitedWorld::new(["west", "east"]), SitedWorld::new(["east", "west"]));
        let before = place.known();
        let on = before.on_regions(2);
        assert!(near(on[0].demand, 900.0) && near(on[1].demand, 300.0), "{on:?}");
        for (to, first, second) in [(&place, 0, 1), (&other, 1, 0)] {
            for elapsed in [S, 30 * S, 60 * S, 900 * S] {
                let after = place.restarted(&before, to, elapsed).on_regions(2);
                let same =
                    |is: OnRegion, was: OnRegion| near(is.demand, was.demand) && near(is.resolvers, was.resolvers);
                assert!(same(after[first], on[0]) && same(after[second], on[1]), "{after:?}");
            }
        }
    }

    #[test]
    fn answers_run_out_meanwhile_by_half_at_most_and_not_what_may_have_been_given_since_the_save() {
        let place = SitedWorld::new(["west", "east"]);
        let before = place.known();
        let left = |elapsed| alive(&place.restarted(&before, &place, elapsed)) / alive(&before);
        assert!(near(left(S), 1.0) && near(left(30 * S), 1.0), "{} {}", left(S), left(30 * S));
        assert!((0.7..0.9).contains(&left(90 * S)), "{}", left(90 * S));
        assert!((0.45..0.6).contains(&left(180 * S)) && left(180 * S) == left(900 * S), "{}", left(180 * S));
    }

    #[test]
    fn those_who_ask_again_at_once_or_bit_by_bit_are_as_many_as_there_were() {
        let place = SitedWorld::new(["west", "east"]);
        let before = place.known();
        let all = |demand: &Demand| demand.on_regions(2).iter().map(|on| on.demand).sum::<f64>();
        for (at_once, elapsed) in [(1, 2 * S), (1, 31 * S), (300, 900 * S)] {
            let mut demand = place.restarted(&before, &place, elapsed);
            for second in 0..900 {
                let times = if second % at_once == 0 { at_once } else { 0 };
                (0..times).for_each(|_| place.ask(&mut demand));
                demand.fade(S, |_| None);
                let now = all(&demand);
                // All have asked again after one life, and in whatever order, little changes then.
                let most = if f64::from(second) < 0.9 * TTL_S { 1e-3 } else { 130.0 };
                assert!((now - 1200.0).abs() < most, "{elapsed:?}, {second} s: {now}");
            }
        }
    }

    #[test]
    fn what_makes_no_sense_is_left_out() {
        let place = SitedWorld::new(["west", "east"]);
        let mut kept = place.known().kept(&place.sites);
        let ids = Names::of(&place.world.model).ids(&place.world.model);
        let restored = |kept: &KeptDemand| Demand::restored(kept, &ids, &SiteFinder::of(&place.sites), S);
        assert_eq!(restored(&kept).flows.len(), 1);
        kept.flows[0].answered[0].parts[0] = f32::NAN;
        kept.flows[0].answered[1].life_s = 0.0;
        let without = restored(&kept);
        assert_eq!(without.on_regions(2), [OnRegion::default(); 2]);
        for wrong in [f64::NAN, f64::INFINITY, -1.0, 1e300] {
            let flow = |change: &dyn Fn(&mut KeptFlow)| {
                let mut kept = kept.clone();
                change(&mut kept.flows[0]);
                restored(&kept).flows.len()
            };
            assert_eq!(flow(&|flow| flow.weight = Some(wrong)), 0);
            assert_eq!(flow(&|flow| flow.lived = wrong), 0);
            assert_eq!(flow(&|flow| flow.usual = wrong), 0);
            assert_eq!(flow(&|flow| flow.site = 9), 0);
            assert_eq!(flow(&|flow| flow.service = 9), 0);
            assert_eq!(flow(&|flow| flow.counted = wrong), 1, "counted anew");
        }
    }
}
