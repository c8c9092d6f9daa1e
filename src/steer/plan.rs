//! The plan: for each service and each place clients can be in, the regions that share them.
//!
//! Comes from the model, the atlas and the regions' states; goes to the packet path as a table.
//! Rebuilt whenever a standing or a price changes, off the query path.
//!
//! **Tiers.** A place's regions are ranked by score and cut into tiers: the best and all within
//! [`TIER_MS`] of it, then the best of the rest and all within that of it, and so on. Clients
//! share the first tier that has an eligible region, by `exp(-S / 5 ms)`. The cut is made over
//! *all* regions of the service, whatever their health, so a region that is lost moves only its
//! own clients: within a tier the others keep theirs (rendezvous), and a tier that is lost as a
//! whole had no other clients.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::atlas::{Atlas, PlaceId};
use crate::model::{Coordinates, Model, Policy, RegionId, Service, ServiceId};

use super::handout::Handout;
use super::score::{Score, model_rtt, score};
use super::standing::{RegionState, Standing};

/// Regions whose scores are further apart than this do not share a place's clients: the share
/// of the worse would be below e^-4, 1.8 %.
pub const TIER_MS: f64 = 20.0;
/// How soft the choice within a tier is: a region this much worse gets 1/e of the share.
const SOFTNESS_MS: f64 = 5.0;
/// After a region of a service went down, began to drain or came back, answers stay short-lived
/// for this long.
pub const AFTERMATH: Duration = Duration::from_secs(300);

/// Shares of every service, indexed by [`ServiceId`].
#[derive(Clone, Debug, Default)]
pub struct Plan {
    pub services: Vec<ServicePlan>,
}

#[derive(Clone, Debug)]
pub struct ServicePlan {
    /// Shared with earlier plans while nothing that decides them has changed.
    pub cells: Arc<CellTable>,
    pub footing: Footing,
    /// A region of the service changed within [`AFTERMATH`].
    pub aftermath: bool,
    /// Some region of the service is down or draining.
    pub reduced: bool,
}

/// Which cell each place is in.
#[derive(Debug, Default)]
pub struct CellTable {
    cells: Vec<Cell>,
    /// By [`PlaceId`]; empty where the service ignores location and has one cell.
    by_place: Vec<u32>,
}

/// The regions that share the clients of some places; at least one.
#[derive(Clone, Debug, PartialEq)]
pub struct Cell {
    pub shares: Box<[Share]>,
}

/// A region and its relative weight, above 0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Share {
    pub region: RegionId,
    pub weight: f64,
}

/// What a service stands on when regions are picked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Footing {
    /// Some region is eligible.
    Firm,
    /// All are down by their probes: all are answered as if up, since the prober may be what is
    /// broken, and an empty answer helps nobody.
    Panic,
    /// All are drained or down: those draining still serve.
    OnlyDraining,
    /// The operator has taken all of them down. Still answered: a name without addresses would be
    /// cached as such.
    AllWithdrawn,
}

impl CellTable {
    /// The cell of a place, and whether the place mattered at all.
    pub fn cell(&self, place: PlaceId) -> Option<&Cell> {
        let index = match self.by_place.get(place.0 as usize) {
            Some(&index) => index as usize,
            None => 0,
        };
        self.cells.get(index)
    }

    pub fn depends_on_place(&self) -> bool {
        !self.by_place.is_empty()
    }
}

/// The plan for the regions' present states. `previous`, of the same model and atlas, lends what
/// need not be computed again.
pub fn plan(
    model: &Model,
    atlas: &Atlas,
    states: &[RegionState],
    previous: Option<(&Plan, &[RegionState])>,
    now: Instant,
) -> Plan {
    let services = model
        .service_ids()
        .map(|id| {
            let service = model.service(id);
            let reusable = previous.and_then(|(plan, old)| {
                let same = service.regions.iter().all(|r| decides_alike(old.get(r.index()), states.get(r.index())));
                if same { plan.services.get(id.index()) } else { None }
            });
            let (eligible, footing) = candidates(service, states);
            let cells = match reusable {
                Some(before) => before.cells.clone(),
                None => Arc::new(cell_table(model, atlas, id, states, &eligible)),
            };
            ServicePlan {
                cells,
                footing,
                aftermath: aftermath(service, states, now),
                reduced: reduced(service, states),
            }
        })
        .collect();
    Plan { services }
}

/// When the plan's TTLs next change by the passing of time alone.
pub fn next_expiry(states: &[RegionState], now: Instant) -> Option<Instant> {
    states.iter().filter_map(|state| Some(state.changed_at? + AFTERMATH)).filter(|&at| at > now).min()
}

fn decides_alike(old: Option<&RegionState>, new: Option<&RegionState>) -> bool {
    match (old, new) {
        // Suspect counts as up here; which of the two it is shows in handouts and TTLs.
        (Some(old), Some(new)) => {
            let class = |s: Standing| if s.is_eligible() { Standing::Up } else { s };
            class(old.standing) == class(new.standing) && old.price_ms == new.price_ms && old.said == new.said
        }
        _ => false,
    }
}

fn aftermath(service: &Service, states: &[RegionState], now: Instant) -> bool {
    let recent = |at: Instant| now.saturating_duration_since(at) < AFTERMATH;
    service.regions.iter().filter_map(|r| states.get(r.index())?.changed_at).any(recent)
}

fn reduced(service: &Service, states: &[RegionState]) -> bool {
    service.regions.iter().filter_map(|r| states.get(r.index())).any(|state| !state.standing.is_eligible())
}

/// The regions that may be answered now, as a flag per region of the service: never all false.
pub fn candidates(service: &Service, states: &[RegionState]) -> (Vec<bool>, Footing) {
    use super::standing::Override;
    let standing = |r: &RegionId| states.get(r.index()).map_or(Standing::Up, |state| state.standing);
    let said = |r: &RegionId| states.get(r.index()).map_or(Override::Auto, |state| state.said);
    let flags = |wanted: &dyn Fn(&RegionId) -> bool| service.regions.iter().map(wanted).collect::<Vec<bool>>();
    let rungs = [
        (Footing::Firm, flags(&|r| standing(r).is_eligible())),
        (Footing::Panic, flags(&|r| said(r) == Override::Auto)),
        (Footing::OnlyDraining, flags(&|r| standing(r) == Standing::Drain)),
    ];
    for (footing, eligible) in rungs {
        if eligible.contains(&true) {
            return (eligible, footing);
        }
    }
    (vec![true; service.regions.len()], Footing::AllWithdrawn)
}

/// The score of each region of the service, in its order, for clients at `place`.
pub fn scores(model: &Model, service: &Service, states: &[RegionState], at: Option<Coordinates>) -> Vec<Score> {
    let one = |&id: &RegionId| {
        let region = model.region(id);
        let price_ms = states.get(id.index()).map_or(0.0, |state| state.price_ms);
        score(service.weights, model_rtt(at, region.coordinates), price_ms, region.cost)
    };
    service.regions.iter().map(one).collect()
}

/// Each region's tier, from 0, in the order of `totals`.
pub fn tiers(totals: &[f64]) -> Vec<u32> {
    let mut order: Vec<usize> = (0..totals.len()).collect();
    order.sort_by(|&a, &b| totals[a].total_cmp(&totals[b]));
    let mut tiers = vec![0; totals.len()];
    let mut tier = 0;
    let mut best = f64::NEG_INFINITY;
    for index in order {
        if best == f64::NEG_INFINITY {
            best = totals[index];
        } else if totals[index] - best > TIER_MS {
            tier += 1;
            best = totals[index];
        }
        tiers[index] = tier;
    }
    tiers
}

/// The shares of a place by score: the eligible regions of the first tier that has one.
pub fn shares_by_score(service: &Service, totals: &[f64], eligible: &[bool]) -> Cell {
    let tiers = tiers(totals);
    let of_eligible = |(index, tier): (usize, &u32)| eligible[index].then_some(*tier);
    let first = tiers.iter().enumerate().filter_map(of_eligible).min().unwrap_or(0);
    let in_tier = |index: &usize| tiers[*index] == first;
    let best = (0..totals.len()).filter(in_tier).map(|index| totals[index]).fold(f64::INFINITY, f64::min);
    let shares = (0..totals.len())
        .filter(in_tier)
        .filter(|&index| eligible[index])
        .map(|index| Share { region: service.regions[index], weight: (-(totals[index] - best) / SOFTNESS_MS).exp() })
        .collect();
    Cell { shares }
}

fn cell_table(model: &Model, atlas: &Atlas, id: ServiceId, states: &[RegionState], eligible: &[bool]) -> CellTable {
    let service = model.service(id);
    match service.policy {
        Policy::Failover => one_cell(first_eligible(service, eligible)),
        Policy::Weighted => one_cell(shares_by_weight(service, eligible)),
        Policy::Score => {
            let mut table = CellTable::default();
            // One cell per region for the many places that are not split; the few others after.
            let mut whole = vec![None; model.regions.len()];
            for place in atlas.places() {
                let scores = scores(model, service, states, atlas.coordinates(place));
                let totals: Vec<f64> = scores.iter().map(|s| s.total_ms).collect();
                let cell = shares_by_score(service, &totals, eligible);
                let index = match &*cell.shares {
                    [only] => *whole[only.region.index()].get_or_insert_with(|| push(&mut table.cells, cell.clone())),
                    _ => push(&mut table.cells, cell),
                };
                table.by_place.push(index);
            }
            table
        }
    }
}

fn push(cells: &mut Vec<Cell>, cell: Cell) -> u32 {
    cells.push(cell);
    (cells.len() - 1) as u32 // at most one per place, and those are u32
}

fn one_cell(cell: Cell) -> CellTable {
    CellTable { cells: vec![cell], by_place: Vec::new() }
}

/// `failover`: the first eligible region in the order of the file has all clients.
fn first_eligible(service: &Service, eligible: &[bool]) -> Cell {
    let first = eligible.iter().position(|&yes| yes).unwrap_or(0);
    Cell { shares: Box::new([Share { region: service.regions[first], weight: 1.0 }]) }
}

/// `weighted`: shares by the configured weights; all alike where none of the eligible has any.
fn shares_by_weight(service: &Service, eligible: &[bool]) -> Cell {
    let of = |weigh: &dyn Fn(usize) -> f64| -> Box<[Share]> {
        let regions = service.regions.iter().enumerate().filter(|(index, _)| eligible[*index]);
        let shares = regions.map(|(index, &region)| Share { region, weight: weigh(index) });
        shares.filter(|share| share.weight > 0.0).collect()
    };
    let shares = of(&|index| service.region_weights.get(index).copied().unwrap_or(1.0));
    Cell { shares: if shares.is_empty() { of(&|_| 1.0) } else { shares } }
}

impl Cell {
    /// Each region's part of the cell's clients, 0 to 1, summing to 1.
    pub fn fractions(&self) -> impl Iterator<Item = (RegionId, f64)> {
        let sum: f64 = self.shares.iter().map(|share| share.weight).sum();
        self.shares.iter().map(move |share| (share.region, share.weight / sum))
    }

    /// Whether which client asks can matter: for its region, or for the endpoint within it.
    pub fn is_keyed(&self, handouts: &[Handout]) -> bool {
        match &*self.shares {
            [only] => handouts.get(only.region.index()).is_some_and(|handout| handout.endpoints.len() > 1),
            _ => true,
        }
    }
}
