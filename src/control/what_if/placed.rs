//! The clients of every service at every spot, and the regions that share them.
//!
//! Comes from a plan and the demand there is; read by [`super::outcome`], and sent to whoever asks a
//! server for its demand. Regions and services are named there, so that another configuration can be
//! held against it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::atlas::PlaceId;
use crate::model::{Coordinates, Model, RegionId, ServiceId};
use crate::state::Snapshot;
use crate::steer::decide::{View, cell_at_place};
use crate::steer::health::effective::{EffectiveState, Override};
use crate::steer::latency::rtt::coordinates;
use crate::steer::latency::rtt::model_rtt;
use crate::steer::latency::sites::Sites;
use crate::steer::plan::Plan;
use crate::steer::plan::table::Table;
use crate::steer::policy::eligible::ServiceCondition;

/// Places counted for services, at most: some 20 MB as JSON.
const MOST_ASKING: usize = 200_000;

/// One moment's clients and regions.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Placed {
    /// Of the snapshot they are answered from.
    pub generation: u64,
    pub counted: Counted,
    /// The way clients are shared out: `planned`, or `by price` and why.
    pub by: String,
    /// True where queries were answered, so that something is known of where clients are. Left out by servers from
    /// before there was such a thing.
    #[serde(default)]
    pub asked: bool,
    /// Services whose places were not counted, for their number.
    pub left_out: usize,
    /// Remarks: what there is to know besides.
    pub notes: Vec<String>,
    pub regions: Vec<PlacedRegion>,
    pub services: Vec<PlacedService>,
    pub clients: Vec<Clients>,
}

/// The kind of thing that amounts are of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Counted {
    /// Demand as estimated, in the unit of the load reports.
    Demand,
    /// No demand is known: each place of the atlas counts as one, for every service.
    Places,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct PlacedRegion {
    /// Qualified.
    pub name: String,
    pub effective: EffectiveState,
    #[serde(rename = "override")]
    pub operator_override: Override,
    /// The sum of its clients.
    pub load: f64,
    /// The load that it can take, as reported or else configured.
    pub capacity: Option<f64>,
    /// As its file says.
    pub configured: Option<f64>,
    /// The load it last reported.
    pub reported: Option<f64>,
    /// 0 to 1: the part of its capacity that is planned with.
    pub used: f64,
    /// Clients may be sent past it by more than `steering.max_detour`: what is known of its load is believed.
    #[serde(default)]
    pub evidence: bool,
    /// 0.1 to 1: less than 1 during a slow start.
    pub offered: f64,
    /// 0 to 1: the part of new clients it sheds.
    pub shed: f64,
    pub over_limit: bool,
    pub price_ms: f64,
    /// Dollars per million requests.
    pub cost: f64,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct PlacedService {
    /// The whole name, as [`Model::service_key`] writes it.
    pub name: String,
    /// Of clients that no rule is for.
    pub condition: ServiceCondition,
    /// By rule, the fences whose regions have run out. Left out by servers from before there was such a thing.
    #[serde(default)]
    pub fences_out: BTreeMap<String, ServiceCondition>,
}

/// Clients of one service in one place.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Clients {
    /// Into the services.
    pub service: usize,
    /// `None`: where they are is not known.
    pub latitude: Option<f64>,
    pub longitude: Option<f64>,
    pub amount: f64,
    /// Empty: nobody answers them.
    pub on: Vec<On>,
}

/// A region that has some of them.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema)]
pub struct On {
    /// Into the regions.
    pub region: usize,
    /// 0 to 1: its part of them.
    pub part: f64,
    pub rtt_ms: f64,
}

impl Clients {
    pub fn at(&self) -> Option<Coordinates> {
        Coordinates::new(self.latitude?, self.longitude?)
    }
}

impl Placed {
    /// Sums up what each region has.
    pub fn add_up(&mut self) {
        self.regions.iter_mut().for_each(|region| region.load = 0.0);
        for clients in &self.clients {
            for on in &clients.on {
                if let Some(region) = self.regions.get_mut(on.region) {
                    region.load += clients.amount * on.part;
                }
            }
        }
    }

    /// The clients of one service alone.
    pub fn only(&mut self, service: &str) {
        let kept = self.services.iter().position(|known| known.name.eq_ignore_ascii_case(service));
        self.clients.retain(|clients| Some(clients.service) == kept);
        self.add_up();
    }
}

/// The places where clients can be, as far as it matters: the sites of the plan, or where it has none, the
/// distinct coordinates of places.
pub struct Spots {
    members: Vec<Vec<PlaceId>>,
    positions: Vec<Option<Coordinates>>,
    sites: Option<Arc<Sites>>,
}

impl Spots {
    pub fn of(snapshot: &Snapshot) -> Spots {
        let mut spots = Spots { members: Vec::new(), positions: Vec::new(), sites: snapshot.plan.sites.clone() };
        if let Some(sites) = &spots.sites {
            spots.positions = sites.ids().map(|site| sites.position(site)).collect();
            spots.members = vec![Vec::new(); spots.positions.len()];
            for (place, site) in snapshot.atlas.places().zip(sites.of_places()) {
                if let Some(members) = spots.members.get_mut(site) {
                    members.push(place);
                }
            }
            return spots;
        }
        let mut known: HashMap<Option<(u64, u64)>, usize> = HashMap::new();
        for place in snapshot.atlas.places() {
            let at = coordinates(&snapshot.model, &snapshot.atlas, place);
            let next = spots.members.len();
            let spot = *known.entry(cell(at, 0.0)).or_insert(next);
            if spot == next {
                spots.members.push(Vec::new());
                spots.positions.push(at);
            }
            spots.members[spot].push(place);
        }
        spots
    }

    pub fn finder(&self) -> Finder {
        let grids = GRIDS.map(|degrees| {
            let mut grid = HashMap::new();
            for (spot, at) in self.positions.iter().enumerate() {
                grid.entry(cell(*at, degrees)).or_insert(spot);
            }
            grid
        });
        Finder { grids }
    }

    /// `None`: it is not known where the spot is.
    pub fn position(&self, spot: usize) -> Option<Coordinates> {
        self.positions.get(spot).copied().flatten()
    }

    /// One of its places.
    pub fn member(&self, spot: usize) -> Option<PlaceId> {
        self.members.get(spot)?.first().copied()
    }

    /// In milliseconds.
    pub fn rtt_ms(&self, model: &Model, spot: usize, region: RegionId) -> f64 {
        match &self.sites {
            Some(sites) => sites.rtt_ms(model, spot, region),
            None => {
                let at = self.positions.get(spot).copied().flatten();
                model_rtt(at, model.region(region).coordinates).ms
            }
        }
    }
}

/// Finds the spot where clients are that another atlas told of.
pub struct Finder {
    grids: [HashMap<Option<(u64, u64)>, usize>; GRIDS.len()],
}

/// The very place first, then the same cell of ever coarser grids, in degrees.
const GRIDS: [f64; 4] = [0.0, 0.25, 2.0, 15.0];

impl Finder {
    /// `None`: nothing is near.
    pub fn find(&self, at: Option<Coordinates>) -> Option<usize> {
        GRIDS.iter().zip(&self.grids).find_map(|(degrees, grid)| grid.get(&cell(at, *degrees))).copied()
    }
}

fn cell(at: Option<Coordinates>, degrees: f64) -> Option<(u64, u64)> {
    let part = |angle: f64| if degrees > 0.0 { (angle / degrees).floor() as i64 as u64 } else { angle.to_bits() };
    at.map(|at| (part(at.latitude()), part(at.longitude())))
}

/// Clients of one service at one spot.
#[derive(Clone, Debug)]
pub struct Asking {
    /// `None`: there is no such service here.
    pub service: Option<ServiceId>,
    /// `None`: nothing here is where they are.
    pub spot: Option<usize>,
    pub amount: f64,
    /// The regions they have been sent to, as parts.
    pub on: Vec<(RegionId, f64)>,
}

/// Each place as one, for every service; and how many services there was no room for.
pub fn every_place(snapshot: &Snapshot, spots: &Spots) -> (Vec<Asking>, usize) {
    let services = (MOST_ASKING / spots.members.len().max(1)).max(1);
    let counted = snapshot.model.service_ids().take(services).flat_map(|service| {
        spots.members.iter().enumerate().map(move |(spot, members)| Asking {
            service: Some(service),
            spot: Some(spot),
            amount: members.len() as f64,
            on: Vec::new(),
        })
    });
    (counted.collect(), snapshot.model.services.len().saturating_sub(services))
}

/// Every service, by its number.
pub fn services(model: &Model, plan: &Plan) -> Vec<PlacedService> {
    let one = |id: ServiceId| {
        let (planned, policies) = (plan.services.get(id.index()), &model.service(id).policies);
        let fences = planned.map(|plan| plan.standing.fences_out.as_slice()).unwrap_or_default();
        PlacedService {
            name: model.service_key(id),
            condition: planned.map_or(ServiceCondition::Normal, |plan| plan.standing.condition),
            fences_out: fences.iter().map(|fence| (policies.rule_name(fence.rule), fence.condition)).collect(),
        }
    };
    model.service_ids().map(one).collect()
}

/// The clients and their regions under the view's plan, in the order of `asking`.
pub fn clients(view: &View<'_>, spots: &Spots, asking: &[Asking]) -> Vec<Clients> {
    let mut known: HashMap<(*const Table, usize), Vec<On>> = HashMap::new();
    let mut one = |asking: &Asking| {
        let at = asking.spot.and_then(|spot| spots.positions.get(spot).copied().flatten());
        let table = asking.service.and_then(|id| Some((id, &view.plan.services.get(id.index())?.table)));
        let on = match (table, asking.spot) {
            (Some((id, table)), Some(spot)) => {
                known.entry((Arc::as_ptr(table), spot)).or_insert_with(|| on(view, id, spots, spot)).clone()
            }
            _ => Vec::new(),
        };
        Clients {
            // Without a service here nobody answers them, so none is looked up.
            service: asking.service.map_or(usize::MAX, |id| id.index()),
            latitude: at.map(|at| at.latitude()),
            longitude: at.map(|at| at.longitude()),
            amount: asking.amount,
            on,
        }
    };
    asking.iter().map(&mut one).collect()
}

/// The regions of a spot: those of its places, all places alike.
fn on(view: &View<'_>, service: ServiceId, spots: &Spots, spot: usize) -> Vec<On> {
    let members = spots.members.get(spot).map(Vec::as_slice).unwrap_or_default();
    let class_of = |place| view.plan.services.get(service.index()).map(|plan| plan.table.class_of(place));
    let mut by_class: HashMap<Option<u32>, (PlaceId, f64)> = HashMap::new();
    for &place in members {
        by_class.entry(class_of(place)).or_insert((place, 0.0)).1 += 1.0 / members.len() as f64;
    }
    let mut parts: HashMap<RegionId, f64> = HashMap::new();
    for (place, part) in by_class.into_values() {
        for (region, fraction) in cell_at_place(view, service, place).iter().flat_map(|cell| cell.fractions()) {
            *parts.entry(region).or_default() += part * fraction;
        }
    }
    let one = |(region, part): (RegionId, f64)| On {
        region: region.index(),
        part,
        rtt_ms: spots.rtt_ms(view.model, spot, region),
    };
    let mut on: Vec<On> = parts.into_iter().map(one).collect();
    on.sort_by_key(|on| on.region);
    on
}
