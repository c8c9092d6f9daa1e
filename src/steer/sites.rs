//! Where the places of an atlas are, each position once, and how far the regions are from there.
//!
//! Comes from a model and its atlas; read by every plan made of them. Places number hundreds of
//! thousands, since each network operator in a city makes one; the positions are a fraction of
//! that, and no news of regions moves them. So distances are computed once, not with every plan.

use std::collections::HashMap;

use crate::atlas::{Atlas, PlaceId};
use crate::model::{Coordinates, Model, Policy, RegionId};

use super::plan::coordinates;
use super::score::model_rtt;

/// Round-trip times kept, at most: 8 octets each, 64 MiB. Those of further regions are computed
/// whenever they are asked for.
const MOST_KEPT: usize = 8 << 20;

/// The distinct positions of an atlas's places. `None` among them: not known.
#[derive(Debug, Default)]
pub struct Sites {
    at: Vec<Option<Coordinates>>,
    by_place: Vec<u32>,
    /// By [`RegionId`], from each site in milliseconds; empty where none are kept.
    rtts_ms: Vec<Box<[f64]>>,
}

/// See [`Sites::key`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SiteKey(Option<(u64, u64)>);

impl Sites {
    /// `None` where no service of the model asks how far anything is.
    pub fn of_services(model: &Model, atlas: &Atlas) -> Option<Sites> {
        let by_score = || model.services.iter().filter(|service| service.policy == Policy::Score);
        by_score().next()?;
        let mut sites = Sites::of_places_in(model, atlas);
        sites.rtts_ms.resize_with(model.regions.len(), Box::default);
        let mut room = MOST_KEPT;
        for id in by_score().flat_map(|service| service.regions.iter()) {
            let Some(kept) = sites.rtts_ms.get_mut(id.index()) else { continue };
            if kept.is_empty() && room >= sites.at.len() {
                room -= sites.at.len();
                let region = model.region(*id).coordinates;
                *kept = sites.at.iter().map(|&at| model_rtt(at, region).ms).collect();
            }
        }
        Some(sites)
    }

    fn of_places_in(model: &Model, atlas: &Atlas) -> Sites {
        let mut sites = Sites::default();
        let mut known = HashMap::new();
        for place in atlas.places() {
            let at = coordinates(model, atlas, place);
            let site =
                *known.entry(at.map(|at| (at.latitude().to_bits(), at.longitude().to_bits()))).or_insert_with(|| {
                    sites.at.push(at);
                    sites.at.len() - 1
                });
            sites.by_place.push(site as u32); // at most one per place, and those are u32
        }
        sites
    }

    /// All sites, to be asked about.
    pub fn ids(&self) -> std::ops::Range<usize> {
        0..self.at.len()
    }

    /// What two sites share that lie in one cell of a grid of this many degrees, above 0; at 0,
    /// no two sites do.
    pub fn key(&self, site: usize, degrees: f64) -> SiteKey {
        let at = self.at.get(site).copied().flatten();
        SiteKey(at.map(|at| {
            let cell =
                |angle: f64| if degrees > 0.0 { (angle / degrees).floor() as i64 as u64 } else { angle.to_bits() };
            (cell(at.latitude()), cell(at.longitude()))
        }))
    }

    /// The site of a place.
    pub fn of_place(&self, place: PlaceId) -> Option<usize> {
        self.by_place.get(place.index()).map(|&site| site as usize)
    }

    /// The site of each place, in the order of their ids.
    pub fn of_places(&self) -> impl Iterator<Item = usize> {
        self.by_place.iter().map(|&site| site as usize)
    }

    /// The round-trip time between a site and a region of the model these are of, in milliseconds.
    pub fn rtt_ms(&self, model: &Model, site: usize, region: RegionId) -> f64 {
        match self.rtts_ms.get(region.index()).and_then(|kept| kept.get(site)) {
            Some(&ms) => ms,
            None => model_rtt(self.at.get(site).copied().flatten(), model.region(region).coordinates).ms,
        }
    }
}
