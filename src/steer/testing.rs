//! Small models for tests of steering.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use crate::atlas::Atlas;
use crate::model::{
    Coordinates, Endpoint, EndpointTarget, Layer, Location, Model, Name, Policy, Prefix, Region, RegionId, Service,
    ServiceId, Switched, Zone, ZoneId,
};

use super::choice::endpoint_set::{EndpointSet, endpoint_sets};
use super::decide::{Decision, Seen, View, decide};
use super::explain::{Explanation, explain};
use super::health::effective::{EffectiveState, Override, RegionState};
use super::kept::Clock;
use super::latency::rtt::Measured;
use super::plan::{Inputs, Plan, follow, plan};

/// A service over regions, their states, and clients in networks of their own.
pub struct World {
    pub model: Model,
    pub atlas: Atlas,
    pub states: Vec<RegionState>,
    pub switched: BTreeMap<ServiceId, Switched>,
    pub measured: Arc<Measured>,
}

/// A moment's plan of a [`World`].
pub struct Moment<'a> {
    world: &'a World,
    endpoint_sets: Vec<EndpointSet>,
    pub plan: Plan,
}

pub const SERVICE: ServiceId = ServiceId(0);

/// A moment, by a wall clock that stands still.
pub fn moment(now: Instant) -> Clock {
    Clock::new(now, 1_790_000_000_000)
}

pub fn at(latitude: f64, longitude: f64) -> Coordinates {
    Coordinates::new(latitude, longitude).expect("coordinates")
}

impl World {
    /// A region in the west and one in the east, clients near each, and a few halfway in the western network.
    pub fn two_coasts(policy: Policy) -> World {
        World::new(policy, &[("west", at(0.0, -90.0)), ("east", at(0.0, 90.0))]).clients(&[
            ("10.0.0.0/9", at(0.0, -80.0)),
            ("10.128.0.0/9", at(0.0, 80.0)),
            ("10.5.6.0/26", at(0.0, 0.0)),
        ])
    }

    /// Regions by name and place, under one service in that order, with one endpoint each.
    pub fn new(policy: Policy, regions: &[(&str, Coordinates)]) -> World {
        let origin = Name::parse_absolute("gslb.example").expect("a name");
        let region = |(index, (name, coordinates)): (usize, &(&str, Coordinates))| Region {
            capacity: Some(1000.0),
            ..Region::new(*name, ZoneId(0), *coordinates, vec![endpoint(&format!("192.0.2.{index}"))])
        };
        let regions: Vec<Region> = regions.iter().enumerate().map(region).collect();
        let ids = (0..regions.len()).map(|index| RegionId(index as u16)).collect();
        let service = Service::flat(Name::parse("www", &origin).expect("a name"), ZoneId(0), policy, ids);
        let states = vec![RegionState::unprobed(1); regions.len()];
        let zones = vec![Zone { origin, nodes: Default::default() }];
        World {
            model: Model { zones, regions, services: vec![service], ..Model::default() },
            atlas: Atlas::empty(),
            states,
            switched: BTreeMap::new(),
            measured: Arc::default(),
        }
    }

    /// Clients of this prefix are at these coordinates.
    pub fn clients(mut self, networks: &[(&str, Coordinates)]) -> World {
        let networks: Vec<(Prefix, Location)> = networks
            .iter()
            .map(|(prefix, coordinates)| {
                let location = Location { coordinates: Some(*coordinates), ..Location::default() };
                (prefix.parse().expect("a prefix"), location)
            })
            .collect();
        self.atlas = Atlas::build(&[], &networks).expect("an atlas");
        self
    }

    pub fn service(&mut self) -> &mut Service {
        &mut self.model.services[0]
    }

    /// Takes a region down, by its place in the model.
    pub fn down(&mut self, region: usize) {
        self.states[region].effective = EffectiveState::Down;
    }

    pub fn say(&mut self, region: usize, operator_override: Override) {
        self.states[region].operator_override = operator_override;
        self.states[region].effective =
            super::health::effective::effective_state(self.states[region].verdict, operator_override);
    }

    pub fn plan(&self, now: Instant) -> Moment<'_> {
        Moment {
            world: self,
            endpoint_sets: endpoint_sets(&self.model, &self.states, 0),
            plan: self.plan_after(None, now),
        }
    }

    /// The plan that follows at once from one before it: no table is made anew.
    pub fn follow_after(&self, before: &Plan, now: Instant) -> Moment<'_> {
        let World { model, atlas, states, .. } = self;
        let (switched, measured) = (&self.switched, &self.measured);
        let previous = Some(before);
        let inputs = Inputs { model, atlas, states, measured, switched, seed: 0, planned: None, previous, now };
        Moment {
            world: self,
            endpoint_sets: endpoint_sets(&self.model, &self.states, 0),
            plan: follow(&inputs, Vec::new()),
        }
    }

    /// A plan that may borrow from the one before it.
    pub fn plan_after(&self, previous: Option<&Plan>, now: Instant) -> Plan {
        let World { model, atlas, states, .. } = self;
        let (switched, measured) = (&self.switched, &self.measured);
        plan(&Inputs { model, atlas, states, measured, switched, seed: 0, planned: None, previous, now })
    }
}

impl Moment<'_> {
    pub fn view(&self) -> View<'_> {
        let World { model, atlas, states, .. } = self.world;
        View { model, atlas, states, endpoint_sets: &self.endpoint_sets, plan: &self.plan }
    }

    pub fn decide(&self, seen: Seen) -> Decision {
        decide(&self.view(), SERVICE, seen).expect("a decision")
    }

    pub fn explain(&self, seen: Seen) -> Explanation {
        explain(&self.view(), &self.world.states, SERVICE, seen, Instant::now()).expect("an explanation")
    }

    pub fn by_ecs(&self, address: &str) -> Decision {
        self.decide(Seen::Subnet(address.parse().expect("an address")))
    }

    /// The name of the region an ECS client gets.
    pub fn region_of(&self, address: IpAddr) -> &str {
        &self.world.model.region(self.decide(Seen::Subnet(address)).region).name
    }
}

pub fn endpoint(address: &str) -> Endpoint {
    let target = EndpointTarget::Addresses(vec![address.parse().expect("an address")]);
    Endpoint { target, weight: 1, layer: Layer::L7 }
}
