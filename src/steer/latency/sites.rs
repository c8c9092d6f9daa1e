//! The sites of an atlas' places, each once, and how far the regions are from there.
//!
//! Comes from a model, its atlas and the measurements; read by every plan made of them. Places
//! number hundreds of thousands, since each network operator in a city makes one; the positions are
//! a fraction of that, and no news of regions moves them. So distances are computed once, not with
//! every plan.
//!
//! A site is a position and the measured groups its clients are in: two operators' clients in one
//! city are two sites as soon as one of them is measured.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState as Folding;
use serde::{Deserialize, Serialize};

use crate::atlas::{Atlas, PlaceId};
use crate::model::{Coordinates, Model, RegionId};

use crate::steer::choice::pick::{Identity, mix};

use super::rtt::{ClientGroup, ClientPlace, Latency};

/// Round-trip times kept, at most: 8 octets each, 64 MiB. Those of further regions are computed
/// whenever they are asked for.
const MOST_KEPT: usize = 8 << 20;

/// The distinct sites of an atlas's places, and how far regions are from them.
#[derive(Debug, Default)]
pub struct Sites {
    numbering: Arc<Numbering>,
    latency: Arc<Latency>,
    /// Site by site, in milliseconds, those that `columns` names.
    rtts_ms: Box<[f64]>,
    /// By [`RegionId`]: its place in a site's row; `None` where none are kept.
    columns: Box<[Option<u16>]>,
    /// The length of a row.
    kept: usize,
}

/// See [`Sites::key`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SiteKey {
    at: Option<(u64, u64)>,
    groups: [Option<ClientGroup>; 3],
}

impl SiteKey {
    /// The position alone, whatever is measured of the clients there.
    pub fn position(self) -> SiteKey {
        SiteKey { groups: [None; 3], ..self }
    }

    /// A number that stands for the key, the same in every process of this version: two keys of millions share one by
    /// chance of one in a million.
    pub fn number(self) -> u64 {
        let groups = match self.groups {
            [None, None, None] => 0,
            groups => Identity::of(0, &format!("{groups:?}")).number(),
        };
        let at = self.at.map_or([0; 2], |(latitude, longitude)| [latitude, longitude]);
        at.iter().fold(mix(groups), |hash, &part| mix(hash ^ part))
    }
}

/// The site of each place.
#[derive(Debug, Default)]
struct Numbering {
    sites: Vec<ClientPlace>,
    by_place: Vec<u32>,
}

impl Sites {
    /// `previous`, of the same atlas and a model that [steers alike](Model::steers_as), is given back where nothing was
    /// measured since, and lends the numbers of its sites where the same groups are measured as before.
    ///
    /// `None` where no service of the model asks how far anything is.
    pub fn of_services(
        model: &Model,
        atlas: &Atlas,
        latency: &Arc<Latency>,
        previous: Option<&Arc<Sites>>,
    ) -> Option<Arc<Sites>> {
        let measuring = || model.services.iter().filter(|service| service.policies.measures());
        measuring().next()?;
        let numbering = match previous {
            Some(previous) if Arc::ptr_eq(&previous.latency, latency) => return Some(previous.clone()),
            Some(previous) if previous.latency.measured().same_groups(latency.measured()) => previous.numbering.clone(),
            _ => Arc::new(Numbering::of(model, atlas, latency)),
        };
        let (rtts_ms, columns) = Default::default();
        let mut sites = Sites { numbering, latency: latency.clone(), rtts_ms, columns, kept: 0 };
        sites.keep(model, measuring().flat_map(|service| service.regions.iter().copied()));
        Some(Arc::new(sites))
    }

    /// Computes the round trips to these regions, as many as there is room for.
    fn keep(&mut self, model: &Model, regions: impl Iterator<Item = RegionId>) {
        let count = self.numbering.sites.len();
        let most = MOST_KEPT / count.max(1);
        let mut is_kept = vec![false; model.regions.len()];
        let first_seen = |id: &RegionId| is_kept.get_mut(id.index()).is_some_and(|kept| !std::mem::replace(kept, true));
        let kept: Vec<RegionId> = regions.filter(first_seen).take(most).collect();
        let mut rtts_ms = Vec::with_capacity(count * kept.len());
        for site in &self.numbering.sites {
            self.latency.append_ms(model, site, &kept, &mut rtts_ms);
        }
        let mut columns = vec![None; model.regions.len()];
        for (column, id) in (0..).zip(&kept) {
            columns[id.index()] = Some(column);
        }
        (self.rtts_ms, self.columns, self.kept) = (rtts_ms.into(), columns.into(), kept.len());
    }

    /// Tells whether both number the same sites of the same places: what is known by site in one holds in
    /// the other, though regions may be nearer or further there.
    pub fn numbered_as(&self, other: &Sites) -> bool {
        Arc::ptr_eq(&self.numbering, &other.numbering)
    }

    /// All sites, to be asked about.
    pub fn ids(&self) -> std::ops::Range<usize> {
        0..self.numbering.sites.len()
    }

    /// A key that two sites share which lie in one cell of a grid of this many degrees, above 0; at 0,
    /// no two sites do. On a coarse grid, measured groups are not told apart.
    pub fn key(&self, site: usize, degrees: f64) -> SiteKey {
        const COARSE: f64 = 1.0;
        let Some(client) = self.numbering.sites.get(site) else { return SiteKey { at: None, groups: [None; 3] } };
        let at = client.at.map(|at| {
            let cell =
                |angle: f64| if degrees > 0.0 { (angle / degrees).floor() as i64 as u64 } else { angle.to_bits() };
            (cell(at.latitude()), cell(at.longitude()))
        });
        SiteKey { at, groups: if degrees < COARSE { client.groups } else { [None; 3] } }
    }

    /// The longitude of a site, in degrees east; `None`: not known.
    pub fn longitude(&self, site: usize) -> Option<f64> {
        Some(self.numbering.sites.get(site)?.at?.longitude())
    }

    /// The site of a place.
    pub fn of_place(&self, place: PlaceId) -> Option<usize> {
        self.numbering.by_place.get(place.index()).map(|&site| site as usize)
    }

    /// The site of each place, in the order of their ids.
    pub fn of_places(&self) -> impl Iterator<Item = usize> {
        self.numbering.by_place.iter().map(|&site| site as usize)
    }

    /// The position of a site; `None`: not known.
    pub fn position(&self, site: usize) -> Option<Coordinates> {
        self.numbering.sites.get(site)?.at
    }

    /// The round-trip time between a site and a region of the model these are of, in milliseconds.
    #[inline]
    pub fn rtt_ms(&self, model: &Model, site: usize, region: RegionId) -> f64 {
        if let Some(&Some(column)) = self.columns.get(region.index())
            && let Some(&ms) = self.rtts_ms.get(site * self.kept + usize::from(column))
        {
            return ms;
        }
        const NOWHERE: ClientPlace = ClientPlace { at: None, groups: [None; 3] };
        let client = self.numbering.sites.get(site).unwrap_or(&NOWHERE);
        self.latency.rtts(model, client, &[region]).first().map_or(f64::INFINITY, |rtt| rtt.ms)
    }
}

#[cfg(test)]
impl SiteKey {
    /// One with a value in every place.
    pub fn sample() -> SiteKey {
        let group = |text: &str| text.parse().ok();
        SiteKey {
            at: Some((37.57f64.to_bits(), 126.98f64.to_bits())),
            groups: [group("10.0.0.0/8"), group("AS64500 in KR"), group("KR")],
        }
    }
}

impl Numbering {
    fn of(model: &Model, atlas: &Atlas, latency: &Latency) -> Numbering {
        let mut numbering = Numbering::default();
        let mut known: HashMap<_, usize, Folding> = HashMap::default();
        for place in atlas.places() {
            let client = ClientPlace::of(model, atlas, place, latency.measured());
            let at = client.at.map(|at| (at.latitude().to_bits(), at.longitude().to_bits()));
            let site = *known.entry((at, client.groups)).or_insert_with(|| {
                numbering.sites.push(client);
                numbering.sites.len() - 1
            });
            numbering.by_place.push(site as u32); // at most one per place, and those are u32
        }
        numbering
    }
}
