//! Locations that demand is planned for: sites that lie close together count as one location.
//!
//! Comes from the sites of an atlas, tens of thousands; goes to the planner, a few thousand. The
//! grid they are gathered on is as fine as the number allows.

use std::collections::HashMap;
use std::sync::Arc;

use crate::model::{Model, RegionId};

use super::sites::{SiteKey, Sites};

/// Locations at most.
pub const MOST_LOCATIONS: usize = 4_000;
/// The finest grid, in degrees: some 30 km at the equator.
const FINEST_DEGREES: f64 = 0.25;

/// The locations of some sites.
#[derive(Debug)]
pub struct Locations {
    sites: Arc<Sites>,
    /// By site.
    of_site: Arc<[u32]>,
    count: usize,
    /// By location, then by region, in milliseconds: the mean of its sites.
    rtts_ms: Vec<f64>,
    regions: usize,
}

impl Locations {
    /// At most `most` of them, or one where that is 0. `previous`, made with the same number, lends
    /// its numbering where that still holds.
    pub fn of(sites: &Arc<Sites>, model: &Model, most: usize, previous: Option<&Locations>) -> Locations {
        let (of_site, count) = match previous {
            Some(previous) if previous.numbered_as(sites) => (previous.of_site.clone(), previous.count),
            _ => gathered(sites, most.max(1)),
        };
        let regions = model.regions.len();
        let mut rtts_ms = vec![0.0; count * regions];
        let mut members = vec![0u32; count];
        for (site, &location) in of_site.iter().enumerate() {
            members[location as usize] += 1;
            let sums = &mut rtts_ms[location as usize * regions..][..regions];
            for (sum, region) in sums.iter_mut().zip(model.region_ids()) {
                *sum += sites.rtt_ms(model, site, region);
            }
        }
        for (sums, members) in rtts_ms.chunks_mut(regions.max(1)).zip(&members) {
            sums.iter_mut().for_each(|sum| *sum /= f64::from(*members));
        }
        Locations { sites: sites.clone(), of_site, count, rtts_ms, regions }
    }

    /// The sites that these are the locations of.
    pub fn sites(&self) -> &Arc<Sites> {
        &self.sites
    }

    /// Tells whether they are of these very sites, distances and all.
    pub fn is_of(&self, sites: &Arc<Sites>) -> bool {
        Arc::ptr_eq(&self.sites, sites)
    }

    /// Tells whether they number these sites, whatever the distances.
    pub fn numbered_as(&self, sites: &Sites) -> bool {
        self.sites.numbered_as(sites)
    }

    /// Tells whether both number the same sites alike.
    pub fn same_as(&self, other: &Locations) -> bool {
        Arc::ptr_eq(&self.of_site, &other.of_site)
    }

    pub fn of_site(&self, site: usize) -> Option<usize> {
        self.of_site.get(site).map(|&location| location as usize)
    }

    pub fn len(&self) -> usize {
        self.count
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The round-trip times between a location and the regions of the model these were made for.
    pub fn rtts_ms(&self, location: usize) -> &[f64] {
        self.rtts_ms.get(location * self.regions..(location + 1) * self.regions).unwrap_or_default()
    }

    /// One of [`Locations::rtts_ms`].
    pub fn rtt_ms(&self, location: usize, region: RegionId) -> f64 {
        self.rtts_ms.get(location * self.regions + region.index()).copied().unwrap_or(0.0)
    }
}

/// Each site's location, and how many there are.
fn gathered(sites: &Sites, most: usize) -> (Arc<[u32]>, usize) {
    let mut degrees = 0.0;
    loop {
        let mut numbers: HashMap<SiteKey, u32> = HashMap::new();
        let mut of_site = Vec::with_capacity(sites.ids().len());
        for site in sites.ids() {
            let next = numbers.len() as u32;
            of_site.push(*numbers.entry(sites.key(site, degrees)).or_insert(next));
            if numbers.len() > most {
                break;
            }
        }
        if numbers.len() <= most {
            return (of_site.into(), numbers.len());
        }
        if degrees > 360.0 {
            return (vec![0; sites.ids().len()].into(), 1);
        }
        degrees = if degrees == 0.0 { FINEST_DEGREES } else { degrees * 1.5 };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Policy;
    use crate::steer::testing::{World, at};

    fn sites(world: &World) -> Arc<Sites> {
        world.plan(std::time::Instant::now()).plan.sites.expect("sites")
    }

    #[test]
    fn few_sites_are_locations_of_their_own_and_many_are_gathered() {
        let networks: Vec<(String, _)> =
            (0..60).map(|n| (format!("10.{n}.0.0/16"), at(f64::from(n % 6) * 0.01, f64::from(n / 6) * 20.0))).collect();
        let networks: Vec<(&str, _)> = networks.iter().map(|(network, at)| (network.as_str(), *at)).collect();
        let world = World::new(Policy::Score, &[("zero", at(0.0, 0.0))]).clients(&networks);
        let sites = sites(&world);
        let all = Locations::of(&sites, &world.model, 4_000, None);
        assert_eq!((all.len(), sites.ids().len()), (61, 61), "and nowhere");
        let few = Locations::of(&sites, &world.model, 20, None);
        assert_eq!(few.len(), 11, "ten clusters, and nowhere");
        let region = RegionId(0);
        for site in sites.ids() {
            let location = few.of_site(site).expect("a location");
            let (own, shared) = (sites.rtt_ms(&world.model, site, region), few.rtt_ms(location, region));
            assert!((own - shared).abs() < 0.1, "{own} {shared}");
        }
        assert_eq!(Locations::of(&sites, &world.model, 0, None).len(), 1);
    }
}
