//! Decisions that are settled before anyone asks: for most clients one region with one endpoint is left,
//! and then whoever asks is answered alike.
//!
//! Made with every snapshot from the very parts that [`crate::steer::decide`] reads, so that both say the same;
//! what is left to choose is left to it. A few octets for each service and region: news of a region makes it anew.

use std::net::IpAddr;
use std::sync::Arc;

use crate::model::{RegionId, ServiceId};

use super::code::{Answer, Found};
use super::table::{Follows, Table};
use crate::steer::choice::endpoint_set::EndpointSet;
use crate::steer::decide::{Span, View, span_of, time_to_live};
use crate::steer::policy::eligible::{EligibilityTier, ServiceCondition};

/// By service and by region, what is settled.
#[derive(Debug, Default)]
pub struct Precomputed {
    services: Box<[PrecomputedService]>,
    regions: Box<[PrecomputedRegion]>,
}

/// The facts of a service that a query has to know at first.
#[derive(Debug)]
pub struct PrecomputedService {
    table: Arc<Table>,
    /// In seconds, by [`Span`].
    ttls: [u32; Span::COUNT],
    follows: Follows,
    /// True where EDNS Client Subnet is believed.
    pub ecs: bool,
    /// True where HTTPS records are answered.
    pub https: bool,
    /// True where some client is answered with a host name, whatever the type.
    pub hosts: bool,
}

/// The facts of a region that an answer with it alone follows from.
#[derive(Clone, Copy, Debug)]
struct PrecomputedRegion {
    /// Into its endpoints: the only one that is handed out; `None` where there are several, or it lacks a family that
    /// it is configured with.
    endpoint: Option<u16>,
    span: Span,
    /// As long as its services have regions that are up, it is answered.
    eligible: bool,
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

impl Precomputed {
    pub fn of(view: &View<'_>) -> Precomputed {
        let services = view.model.services.iter().zip(&view.plan.services).map(|(service, plan)| {
            let ttl = |span| time_to_live(service, plan, ServiceCondition::Normal, span).ttl.as_secs();
            PrecomputedService {
                table: plan.table.clone(),
                ttls: Span::ALL.map(ttl),
                follows: plan.follows,
                ecs: service.ecs,
                https: service.https.is_some(),
                hosts: plan.offers.hosts,
            }
        });
        let regions = view.endpoint_sets.iter().zip(view.states).map(|(endpoint_set, state)| PrecomputedRegion {
            endpoint: only(endpoint_set),
            span: span_of(endpoint_set),
            eligible: EligibilityTier::of(state) == EligibilityTier::Eligible,
        });
        Precomputed { services: services.collect(), regions: regions.collect() }
    }

    #[inline]
    pub fn service(&self, id: ServiceId) -> Option<&PrecomputedService> {
        self.services.get(id.index())
    }

    /// The choice for an address. `None` only for what is not of this view.
    #[inline]
    pub fn find(&self, service: &PrecomputedService, address: IpAddr) -> Option<PrecomputedChoice> {
        let found = service.table.find(address);
        if let Answer::One(region) = service.table.code(found.class)?.read()
            && let Some(facts) = self.regions.get(region.index())
            && let Some(endpoint) = facts.endpoint
            && (service.follows == Follows::All || (service.follows == Follows::Eligible && facts.eligible))
        {
            let ttl = service.ttls[facts.span as usize];
            return Some(PrecomputedChoice::Fixed(FixedChoice { region, endpoint, ttl }, found.widest));
        }
        Some(PrecomputedChoice::Open(found))
    }
}

/// The choice for an address: made, or left to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PrecomputedChoice {
    /// The choice, and the widest prefix length within which it is the same: the SCOPE PREFIX-LENGTH
    /// of RFC 7871.
    Fixed(FixedChoice, u8),
    /// It is left to [`decide_for`](crate::steer::decide::decide_for), which takes this.
    Open(Found),
}

/// The endpoint that every client of a region gets.
fn only(endpoint_set: &EndpointSet) -> Option<u16> {
    match &*endpoint_set.endpoints {
        // One that lacks a family is left to whoever writes the records: what is prebuilt has both.
        [only] if !endpoint_set.is_partial => Some(only.index),
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
            let found = settled.find(service, address.parse().expect("an address")).expect("a service's");
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
                match settled.find(service, address).expect("a service's") {
                    PrecomputedChoice::Fixed(choice, scope) => {
                        prop_assert_eq!((choice.region, choice.endpoint), (decision.region, decision.endpoint));
                        prop_assert_eq!((choice.ttl, scope), (decision.ttl.as_secs(), decision.scope));
                        prop_assert_eq!(decision.regions.as_slice(), [choice.region]);
                    }
                    PrecomputedChoice::Open(found) => {
                        let later = decide_for(&view, ServiceId(0), Seen::Subnet(address), found);
                        prop_assert_eq!(later, Some(decision));
                    }
                }
            }
        }
    }
}
