//! Zones, and the whole of what is configured.

use std::collections::BTreeSet;

use super::{
    Dependencies, Dependency, Location, Name, Prefix, RecordType, Reference, Region, RegionId, RrSet, Service,
    ServiceId, Steering, VoteRule, ZoneId, ZoneNodes,
};

/// Everything configured that answers depend on. Ids index the vectors; names are resolved.
#[derive(Clone, Debug, Default)]
pub struct Model {
    /// Origins are unique.
    pub zones: Vec<Zone>,
    pub regions: Vec<Region>,
    pub services: Vec<Service>,
    /// Which regions serve only while others do.
    pub dependencies: Dependencies,
    /// The operator's own networks; these win over databases, longest prefix first.
    pub networks: Vec<(Prefix, Location)>,
    /// The location where clients count as being whose own location is not known; has coordinates. `None`:
    /// equally far from all regions.
    pub default_location: Option<Location>,
    pub steering: Steering,
    /// What tells whether this server is cut off; may be empty.
    pub references: Vec<Reference>,
    /// How the verdicts of several nodes become one; means nothing to one alone.
    pub vote: VoteRule,
}

/// The static part of one zone.
#[derive(Clone, Debug)]
pub struct Zone {
    pub origin: Name,
    /// Nodes in canonical order, each with its RRsets; the apex has SOA and NS.
    pub nodes: ZoneNodes,
}

impl Zone {
    pub fn rrset(&self, owner: &Name, rtype: RecordType) -> Option<RrSet<'_>> {
        if !owner.is_at_or_below(&self.origin) {
            return None;
        }
        let labels = owner.as_wire().get(..owner.as_wire().len() - self.origin.as_wire().len())?;
        let found = self.nodes.find(labels).ok()?;
        self.nodes.at(*self.nodes.places().get(found)?).set(rtype)
    }
}

impl Model {
    pub fn zone(&self, id: ZoneId) -> &Zone {
        &self.zones[id.index()]
    }

    pub fn region(&self, id: RegionId) -> &Region {
        &self.regions[id.index()]
    }

    pub fn service(&self, id: ServiceId) -> &Service {
        &self.services[id.index()]
    }

    pub fn region_ids(&self) -> impl Iterator<Item = RegionId> + use<> {
        // The loader refuses more than 1,024 regions, so an index always fits.
        (0..self.regions.len()).map(|index| RegionId(index as u16))
    }

    pub fn service_ids(&self) -> impl Iterator<Item = ServiceId> + use<> {
        (0..self.services.len()).map(|index| ServiceId(index as u32))
    }

    /// The networks that services' rules and lists name, in ascending order, each once: clients in
    /// them must be told apart from those around.
    pub fn named_networks(&self) -> Vec<Prefix> {
        let named: BTreeSet<Prefix> = self.services.iter().flat_map(|service| service.policies.networks()).collect();
        named.into_iter().collect()
    }

    /// `seoul@gslb.example.com`.
    pub fn qualified_region_name(&self, id: RegionId) -> String {
        let region = self.region(id);
        region.qualified_name(&self.zone(region.zone).origin)
    }

    /// The key that finds this service whatever other zones hold: its name in lower case, without a dot at
    /// the end. Switches are stored under it.
    pub fn service_key(&self, id: ServiceId) -> String {
        let name = self.service(id).name.to_lowercase().to_string();
        name.strip_suffix('.').unwrap_or(&name).to_owned()
    }

    /// The name of what a region depends on: a region's qualified name, or a service's key.
    pub fn dependency_name(&self, on: Dependency) -> String {
        match on {
            Dependency::Region(id) => self.qualified_region_name(id),
            Dependency::Service(id) => self.service_key(id),
        }
    }

    /// Services an operator may mean by `name`: the whole name, or what comes before the origin.
    /// More than one where several zones have a service so called.
    pub fn find_services(&self, name: &str) -> Vec<ServiceId> {
        let wanted = name.to_ascii_lowercase();
        let wanted = wanted.strip_suffix('.').unwrap_or(&wanted);
        let is_meant = |id: &ServiceId| {
            let key = self.service_key(*id);
            let origin = self.zone(self.service(*id).zone).origin.to_lowercase().to_string();
            let within = key.strip_suffix(origin.strip_suffix('.').unwrap_or(&origin));
            key == wanted || within.and_then(|within| within.strip_suffix('.')) == Some(wanted)
        };
        self.service_ids().filter(is_meant).collect()
    }

    /// Regions an operator may mean by `name`: the qualified name, or a bare name. More than
    /// one where several zones have a region so called.
    pub fn find_regions(&self, name: &str) -> Vec<RegionId> {
        self.region_ids()
            .filter(|&id| *self.region(id).name == *name || self.qualified_region_name(id).eq_ignore_ascii_case(name))
            .collect()
    }
}
