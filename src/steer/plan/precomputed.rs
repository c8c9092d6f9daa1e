//! Decisions that are settled before anyone asks: in most cells one region with one endpoint is left,
//! and then whoever asks is answered alike.
//!
//! Made with every plan from the very parts that [`crate::steer::decide`] reads, so that both say the same;
//! what is left to choose is left to it.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use crate::atlas::PlaceId;
use crate::model::{RegionId, Service, ServiceId};

use super::ServicePlan;
use crate::steer::choice::cell::CellTable;
use crate::steer::choice::cell::{Cell, Pick};
use crate::steer::decide::{View, time_to_live};

/// By service, what is settled.
#[derive(Debug, Default)]
pub struct Precomputed {
    services: Box<[PrecomputedService]>,
    /// Of all tables, each table's in the order of its cells.
    cells: Box<[Option<FixedChoice>]>,
}

/// The facts of a service that a query has to know at first.
#[derive(Debug)]
pub struct PrecomputedService {
    table: Arc<CellTable>,
    /// Of its table in [`Precomputed::cells`].
    first: u32,
    /// True where EDNS Client Subnet is believed.
    pub ecs: bool,
    /// True where HTTPS records are answered.
    pub https: bool,
    /// True where some client is answered with a host name, whatever the type.
    pub hosts: bool,
}

/// One region's one endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FixedChoice {
    pub region: RegionId,
    /// Into the region's endpoints.
    pub endpoint: u16,
    /// Seconds.
    pub ttl: u32,
}

/// The facts that a service's choices and their TTLs follow from besides the regions: those alike in it share them.
type Recipe = (*const CellTable, u32, u32, bool, bool);

pub(super) fn recipe(service: &Service, plan: &ServicePlan) -> Recipe {
    let (ttl, failover_ttl) = (service.ttl.as_secs(), service.failover_ttl.as_secs());
    (Arc::as_ptr(&plan.cells), ttl, failover_ttl, plan.aftermath, plan.reduced)
}

impl Precomputed {
    pub fn of(view: &View<'_>) -> Precomputed {
        let (mut cells, mut known): (Vec<Option<FixedChoice>>, HashMap<Recipe, u32>) = Default::default();
        let services = view.model.services.iter().zip(&view.plan.services).map(|(service, plan)| {
            let first = *known.entry(recipe(service, plan)).or_insert_with(|| {
                let first = cells.len() as u32;
                cells.extend(plan.cells.cells().iter().map(|cell| {
                    let (region, endpoint) = only(view, cell)?;
                    let endpoint_set = view.endpoint_sets.get(region.index())?;
                    let ttl = time_to_live(service, plan, cell.condition, endpoint_set).ttl.as_secs();
                    Some(FixedChoice { region, endpoint, ttl })
                }));
                first
            });
            let (ecs, https, hosts) = (service.ecs, service.https.is_some(), plan.offers.hosts);
            PrecomputedService { table: plan.cells.clone(), first, ecs, https, hosts }
        });
        let services = services.collect();
        Precomputed { services, cells: cells.into() }
    }

    #[inline]
    pub fn service(&self, id: ServiceId) -> Option<&PrecomputedService> {
        self.services.get(id.index())
    }

    /// The choice for an address. `None` only for what is not of this view.
    #[inline]
    pub fn find(&self, view: &View<'_>, service: &PrecomputedService, address: IpAddr) -> Option<PrecomputedChoice> {
        let (place, widest) = match service.table.depends_on_place() {
            true => view.plan.classes.as_ref()?.find(address),
            false => (PlaceId::UNKNOWN, 0),
        };
        let cell = self.cells.get((service.first + service.table.cell_index(place)) as usize)?;
        Some(match *cell {
            Some(choice) => PrecomputedChoice::Fixed(choice, widest),
            None => PrecomputedChoice::Open(place, widest),
        })
    }
}

/// The choice for an address: made, or left to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PrecomputedChoice {
    /// The choice, and the widest prefix length within which it is the same: the SCOPE PREFIX-LENGTH
    /// of RFC 7871.
    Fixed(FixedChoice, u8),
    /// It is left to [`decide_for`](crate::steer::decide::decide_for), which takes these.
    Open(PlaceId, u8),
}

/// The region and endpoint that every client of a cell gets.
fn only(view: &View<'_>, cell: &Cell) -> Option<(RegionId, u16)> {
    let Pick::One(region) = cell.pick else { return None };
    let endpoint_set = view.endpoint_sets.get(region.index())?;
    match &*endpoint_set.endpoints {
        // One that lacks a family is left to whoever writes the records: what is prebuilt has both.
        [only] if !endpoint_set.is_partial => Some((region, only.index)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use proptest::prelude::*;

    use super::*;
    use crate::model::Policy;
    use crate::steer::decide::{Seen, decide, decide_for};
    use crate::steer::testing::{World, endpoint};

    #[test]
    fn a_choice_among_endpoints_or_regions_is_not_settled() {
        let settled = |world: &World, address: &str| {
            let planned = world.plan(Instant::now());
            let view = planned.view();
            let settled = Precomputed::of(&view);
            let service = settled.service(ServiceId(0)).expect("a service");
            let found = settled.find(&view, service, address.parse().expect("an address")).expect("a service's");
            matches!(found, PrecomputedChoice::Fixed(..))
        };
        let mut near = World::two_coasts(Policy::Score);
        assert!(settled(&near, "10.0.0.0") && settled(&near, "10.200.0.0"));
        assert!(!settled(&near, "10.5.6.0"), "as near to both");
        near.model.regions[0].endpoints.push(endpoint("192.0.2.200"));
        near.states[0].endpoints.push(Default::default());
        assert!(!settled(&near, "10.0.0.0") && settled(&near, "10.200.0.0"));
        assert!(!settled(&World::two_coasts(Policy::Weighted(Vec::new())), "10.0.0.0"));
    }

    proptest! {
        #[test]
        fn what_is_settled_is_what_is_decided(
            policy in prop_oneof![Just(Policy::Score), Just(Policy::Failover), Just(Policy::Weighted(Vec::new()))],
            prices in prop::array::uniform2(0.0f64..200.0),
            down in prop::option::of(0usize..2),
            aftermath: bool,
            addresses in prop::collection::vec(any::<u16>(), 20),
        ) {
            let mut world = World::two_coasts(policy);
            for (state, price) in world.states.iter_mut().zip(prices) {
                state.price_ms = price;
            }
            let now = Instant::now();
            if let Some(down) = down {
                world.down(down);
                world.states[down].changed_at = aftermath.then_some(now);
            }
            let planned = world.plan(now);
            let view = planned.view();
            let settled = Precomputed::of(&view);
            let service = settled.service(ServiceId(0)).expect("a service");
            for bits in addresses {
                let address = IpAddr::V4((10 << 24 | u32::from(bits) << 8).into());
                let decision = decide(&view, ServiceId(0), Seen::Subnet(address)).expect("a decision");
                match settled.find(&view, service, address).expect("a service's") {
                    PrecomputedChoice::Fixed(choice, scope) => {
                        prop_assert_eq!((choice.region, choice.endpoint), (decision.region, decision.endpoint));
                        prop_assert_eq!((choice.ttl, scope), (decision.ttl.as_secs(), decision.scope));
                        prop_assert_eq!(decision.regions.as_slice(), [choice.region]);
                    }
                    PrecomputedChoice::Open(place, widest) => {
                        let later = decide_for(&view, ServiceId(0), Seen::Subnet(address), (place, widest));
                        prop_assert_eq!(later, Some(decision));
                    }
                }
            }
        }
    }
}
