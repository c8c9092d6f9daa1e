//! The estimate of demand as it is kept over a restart: services and regions by what
//! [`Names`](crate::steer::kept::Names) says of their old ids, sites by what they are.

use std::collections::HashMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::steer::kept::{Ids, SiteFinder, sound};
use crate::steer::profile::Profile;
use crate::steer::profile::kept::KeptProfile;
use crate::steer::sites::{SiteKey, Sites};

use super::{Answered, Demand, Flow, LEAST_ALIVE, LIFE_PARTS, MOST_FLOWS};

/// See [`Demand::kept`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct KeptDemand {
    flows: Vec<KeptFlow>,
    /// What flows number their sites by.
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
/// The most of their lives by which answers fade while nobody counts.
///
/// A server that was down is asked again by all whose answers ran out meanwhile; one that was killed has given
/// answers that are not in what it kept. In between, half of them are known where they are, too few or too many by
/// half at worst until the rest is counted.
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
            ..Demand::default()
        };
        let sites: Vec<Option<u32>> = kept.sites.iter().map(|key| finder.find(key)).collect();
        for kept in kept.flows.iter().take(MOST_FLOWS) {
            let site = sites.get(kept.site as usize).copied().flatten();
            if let Some(mut flow) = site.and_then(|site| kept.restored(site, ids)) {
                flow.fade(elapsed.as_secs_f64().min(MOST_FADED * flow.life_s()));
                demand.add(flow);
            }
        }
        demand
    }

    /// Where sites of old have become one, so do their clients.
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
    /// How many services' clients at how many sites it tells of.
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
        KeptAnswered {
            region: self.region.0,
            parts: self.parts.map(|part| part as f32),
            life_s: self.life_s as f32,
        }
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
