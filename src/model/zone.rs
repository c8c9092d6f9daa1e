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

    /// Tells whether another steers just as this one does, with the same ids of regions and services: what was worked out
    /// of one, over the same atlas, holds under the other. Static records, and zones without either, may differ.
    pub fn steers_as(&self, other: &Model) -> bool {
        if std::ptr::eq(self, other) {
            return true;
        }
        // Without those that decide nothing: networks are in the atlas, and by references and votes verdicts are believed.
        let Model {
            zones: _,
            regions,
            services,
            dependencies,
            networks: _,
            default_location,
            steering,
            references: _,
            vote: _,
        } = self;
        let same_zone = |a: ZoneId, b: ZoneId| self.zone(a).origin == other.zone(b).origin;
        let same_region = |(a, b): (&Region, &Region)| {
            same_zone(a.zone, b.zone) && (a == b || a.zone != b.zone && Region { zone: b.zone, ..a.clone() } == *b)
        };
        let same_service = |(a, b): (&Service, &Service)| {
            same_zone(a.zone, b.zone) && (a == b || a.zone != b.zone && Service { zone: b.zone, ..a.clone() } == *b)
        };
        let as_many = regions.len() == other.regions.len() && services.len() == other.services.len();
        as_many
            && (dependencies, default_location, steering)
                == (&other.dependencies, &other.default_location, &other.steering)
            && regions.iter().zip(&other.regions).all(same_region)
            && services.iter().zip(&other.services).all(same_service)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Coordinates, Endpoint, Policy, Ttl};

    fn zone(origin: &str) -> Zone {
        Zone { origin: Name::parse_absolute(origin).expect("a name"), nodes: Default::default() }
    }

    fn model() -> Model {
        let at = Coordinates::new(1.0, 2.0).expect("coordinates");
        let endpoint = Endpoint::at("192.0.2.1".parse().expect("an address"));
        let region = |name: &str| Region::new(name, ZoneId(0), at, vec![endpoint.clone()]);
        let zone = zone("gslb.example");
        let name = Name::parse("www", &zone.origin).expect("a name");
        let ids = vec![RegionId(0), RegionId(1)];
        Model {
            services: vec![Service::flat(name, ZoneId(0), Policy::Score, ids)],
            zones: vec![zone],
            regions: vec![region("east"), region("west")],
            ..Model::default()
        }
    }

    #[test]
    fn other_zones_and_numbers_of_zones_steer_alike() {
        let before = model();
        assert!(before.steers_as(&before) && before.steers_as(&before.clone()));
        let mut after = before.clone();
        after.zones.insert(0, zone("a.example"));
        assert!(!before.steers_as(&after), "regions and services are another zone's");
        after.regions.iter_mut().for_each(|region| region.zone = ZoneId(1));
        assert!(!before.steers_as(&after));
        after.services[0].zone = ZoneId(1);
        assert!(before.steers_as(&after) && after.steers_as(&before));
    }

    #[test]
    fn whatever_may_decide_is_compared() {
        let same = |change: &dyn Fn(&mut Model)| {
            let mut after = model();
            change(&mut after);
            model().steers_as(&after) || after.steers_as(&model())
        };
        assert!(same(&|_| ()));
        assert!(!same(&|model| model.regions.swap(0, 1)));
        assert!(!same(&|model| drop(model.regions.pop())));
        assert!(!same(&|model| model.regions[1].cost = 1.0));
        assert!(!same(&|model| model.regions[1].capacity = Some(5.0)));
        assert!(!same(&|model| model.regions[0].endpoints[0].weight += 1));
        assert!(!same(&|model| model.services[0].ttl = Ttl::saturating(7)));
        assert!(!same(&|model| model.services[0].weights.load = 0.9));
        assert!(!same(&|model| _ = model.services[0].bias_ms.insert(RegionId(0), 5)));
        assert!(!same(&|model| model.services.clear()));
        assert!(!same(&|model| model.default_location = Some(Location::default())));
        assert!(!same(&|model| model.zones[0] = zone("other.example")));
    }
}
