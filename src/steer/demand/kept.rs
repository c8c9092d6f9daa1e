//! The estimate of demand as it is kept over a restart: services and regions by what
//! [`Names`](crate::steer::kept::Names) says of their old ids, sites by what they are.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::model::{Model, RegionId};
use crate::steer::kept::{Ids, SiteFinder, sound};
use crate::steer::sites::{SiteKey, Sites};

use super::{Demand, Flow, MOST_CORRECTION, MOST_FLOWS, MOST_GROWTH, Rhythm};

/// See [`Demand::kept`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct KeptDemand {
    flows: Vec<KeptFlow>,
    /// What flows number their sites by.
    sites: Vec<SiteKey>,
    scale: f64,
    peak: f64,
    surprises: Vec<f64>,
    heard: Vec<bool>,
    ever_heard: Vec<bool>,
    /// By hour; `None`: nothing was heard of it.
    growth: Vec<Option<f64>>,
    steps: u32,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct KeptFlow {
    service: u32,
    site: u32,
    coverage: f64,
    correction: f64,
    answered: Vec<(u16, f64)>,
    compared: f64,
    held: f64,
}

/// No amount of demand, in whatever unit, is above this.
const MOST: f64 = 1e18;

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
            coverage: flow.coverage,
            correction: flow.correction,
            answered: flow.answered.iter().map(|&(region, weight)| (region.0, weight)).collect(),
            compared: flow.compared,
            held: flow.held,
        };
        let growth = |(growth, known): (&f64, &bool)| known.then_some(*growth);
        KeptDemand {
            flows: self.flows.iter().map(flow).collect(),
            sites: keys,
            scale: self.scale,
            peak: self.peak,
            surprises: self.surprises.clone(),
            heard: self.heard.clone(),
            ever_heard: self.ever_heard.clone(),
            growth: self.rhythm.growth.iter().zip(&self.rhythm.known).map(growth).collect(),
            steps: self.rhythm.steps,
        }
    }

    /// The estimate as it was, with services, sites and regions of now; what is gone is left out.
    pub fn restored(kept: &KeptDemand, model: &Model, ids: &Ids, finder: &SiteFinder) -> Demand {
        let by_region = |flags: &[bool]| ids.by_region(flags, model, false);
        let mut demand = Demand {
            scale: sound(kept.scale, 0.0..=MOST).unwrap_or(0.0),
            peak: sound(kept.peak, 0.0..=MOST).unwrap_or(0.0),
            surprises: ids.by_region(&kept.surprises, model, 0.0),
            heard: by_region(&kept.heard),
            ever_heard: by_region(&kept.ever_heard),
            rhythm: kept.rhythm(),
            ..Demand::default()
        };
        demand.surprises.iter_mut().filter(|surprise| !surprise.is_finite()).for_each(|surprise| *surprise = 0.0);
        let sites: Vec<Option<u32>> = kept.sites.iter().map(|key| finder.find(key)).collect();
        for kept in kept.flows.iter().take(MOST_FLOWS) {
            let site = sites.get(kept.site as usize).copied().flatten();
            let restored = site.and_then(|site| kept.restored(site, ids));
            if let Some(flow) = restored {
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
            Some(known) => known.coverage += flow.coverage,
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

    fn rhythm(&self) -> Rhythm {
        let mut rhythm = Rhythm { steps: self.steps, ..Rhythm::default() };
        for (hour, growth) in self.growth.iter().enumerate().take(rhythm.growth.len()) {
            if let Some(growth) = growth.and_then(|growth| sound(growth, -MOST_GROWTH..=MOST_GROWTH)) {
                (rhythm.growth[hour], rhythm.known[hour]) = (growth, true);
            }
        }
        rhythm
    }
}

impl KeptFlow {
    /// `None`: its service is gone, or it makes no sense.
    fn restored(&self, site: u32, ids: &Ids) -> Option<Flow> {
        let answered = |&(old, weight): &(u16, f64)| Some((ids.region(old)?, sound(weight, f64::MIN_POSITIVE..=MOST)?));
        let answered: Vec<(RegionId, f64)> = self.answered.iter().filter_map(answered).collect();
        Some(Flow {
            service: ids.service(self.service)?,
            site,
            coverage: sound(self.coverage, 0.0..=MOST)?,
            correction: sound(self.correction, 1.0 / MOST_CORRECTION..=MOST_CORRECTION)?,
            answered,
            compared: sound(self.compared, 0.0..=MOST)?,
            held: sound(self.held, 0.0..=MOST)?,
        })
    }
}

#[cfg(test)]
impl KeptDemand {
    /// One with a value in every place.
    pub fn sample() -> KeptDemand {
        let answered = vec![(0, 1.0)];
        let flow = KeptFlow { service: 1, site: 0, coverage: 2.0, correction: 3.0, answered, compared: 4.0, held: 5.0 };
        KeptDemand {
            flows: vec![flow],
            sites: vec![SiteKey::sample()],
            scale: 6.0,
            peak: 7.0,
            surprises: vec![8.0],
            heard: vec![true],
            ever_heard: vec![false],
            growth: vec![Some(9.0), None],
            steps: 10,
        }
    }

    /// As much as there may be, on three regions each.
    pub fn largest() -> KeptDemand {
        let mut largest = KeptDemand::sample();
        let answered = vec![(0, 0.1), (200, 0.2), (1000, 0.7)];
        let flow = KeptFlow { answered, service: 9_999, ..largest.flows[0].clone() };
        largest.flows = (0..MOST_FLOWS as u32).map(|site| KeptFlow { site, ..flow.clone() }).collect();
        largest.sites = vec![SiteKey::sample(); MOST_FLOWS];
        largest
    }
}
