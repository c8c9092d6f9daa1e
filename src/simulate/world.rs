//! The world of a simulation: its regions and the locations of its clients, which become a model
//! with one service by score, and an atlas with one network per location.

use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use crate::atlas::{Atlas, AtlasError};
use crate::model::name::NameError;
use crate::model::{
    Check, CheckKind, Coordinates, CountryCode, Endpoint, LoadReport, Location, Model, Name, Policy, Prefix, Region,
    RegionId, Service, ServiceId, Ttl, Weights, Zone, ZoneId,
};

/// Regions of one world, at most.
pub const MAX_REGIONS: usize = 64;
/// Locations of one world, at most.
pub const MAX_LOCATIONS: usize = 100_000;

/// The subject of a simulation: a service of a model. Its regions are the world's, in the service's order.
#[derive(Clone, Debug)]
pub struct Deployment {
    pub model: Model,
    pub service: ServiceId,
}

const ORIGIN: &str = "simulation.example";

/// A region as a simulation names it.
#[derive(Clone, Debug)]
pub struct Site {
    /// Any text. Regions are told apart by number: names may repeat.
    pub name: String,
    pub at: Coordinates,
    /// Dollars per million requests; 0 or more.
    pub cost: f64,
    /// In the unit of its load reports; above 0.
    pub capacity: f64,
}

/// A place clients are in.
#[derive(Clone, Debug)]
pub struct ClientLocation {
    pub country: Option<CountryCode>,
    pub at: Coordinates,
    pub name: String,
}

/// The facts known before the clock starts.
#[derive(Clone, Debug)]
pub struct World {
    pub regions: Vec<Site>,
    pub locations: Vec<ClientLocation>,
    /// When calm.
    pub ttl: Ttl,
    /// Near a verdict change and after one; cut to `ttl`.
    pub failover_ttl: Ttl,
    pub weights: Weights,
    /// Of everything that is drawn by chance, and of the hash that picks.
    pub seed: u64,
}

/// The world cannot be simulated.
#[derive(Debug, thiserror::Error)]
pub enum WorldError {
    #[error("there is no region: at least one `REGION` comes before `START`")]
    NoRegions,
    #[error("there is no location: at least one `LOC` comes before `START`")]
    NoLocations,
    #[error("more than {MAX_REGIONS} regions")]
    TooManyRegions,
    #[error("more than {MAX_LOCATIONS} locations")]
    TooManyLocations,
    #[error(transparent)]
    Atlas(#[from] AtlasError),
    #[error(transparent)]
    Name(#[from] NameError),
}

impl Default for World {
    fn default() -> World {
        World {
            regions: Vec::new(),
            locations: Vec::new(),
            ttl: Ttl::saturating(30),
            failover_ttl: Ttl::saturating(5),
            weights: Weights::default(),
            seed: 0,
        }
    }
}

impl World {
    pub(super) fn check(&self) -> Result<(), WorldError> {
        match (self.regions.len(), self.locations.len()) {
            (0, _) => Err(WorldError::NoRegions),
            (_, 0) => Err(WorldError::NoLocations),
            (regions, _) if regions > MAX_REGIONS => Err(WorldError::TooManyRegions),
            (_, locations) if locations > MAX_LOCATIONS => Err(WorldError::TooManyLocations),
            _ => Ok(()),
        }
    }

    /// One zone, all regions, one service by score over them.
    pub fn deployment(&self) -> Result<Deployment, WorldError> {
        Ok(Deployment { model: self.model()?, service: ServiceId(0) })
    }

    fn model(&self) -> Result<Model, NameError> {
        let origin = Name::parse_absolute(ORIGIN)?;
        let regions = (0..self.regions.len()).map(|index| self.region(index)).collect();
        let ids = (0..self.regions.len()).map(|index| RegionId(index as u16)).collect();
        let service = Service {
            weights: self.weights,
            ttl: self.ttl,
            failover_ttl: self.ttl.min(self.failover_ttl),
            ..Service::flat(Name::parse("www", &origin)?, ZoneId(0), Policy::Score, ids)
        };
        let zones = vec![Zone { origin, nodes: Default::default() }];
        Ok(Model { zones, regions, services: vec![service], ..Model::default() })
    }

    fn region(&self, index: usize) -> Region {
        let site = &self.regions[index];
        let repeated = self.regions[..index].iter().any(|other| other.name == site.name);
        let name = if repeated { format!("{}#{index}", site.name) } else { site.name.clone() };
        Region {
            location: Location { coordinates: Some(site.at), ..Location::default() },
            capacity: Some(site.capacity),
            cost: site.cost,
            checks: Some(check().into()),
            load_report: Some(load_report()),
            ..Region::new(name, ZoneId(0), site.at, vec![Endpoint::at(endpoint_address(index))])
        }
    }

    /// Every location in a network of its own, and nothing else anywhere.
    pub(super) fn atlas(&self) -> Result<Atlas, AtlasError> {
        let network = |(index, place): (usize, &ClientLocation)| (network_of(index), location_of(index, place));
        let networks: Vec<(Prefix, Location)> = self.locations.iter().enumerate().map(network).collect();
        // Each is told apart as a measured network is.
        let prefixes: Vec<Prefix> = networks.iter().map(|(prefix, _)| *prefix).collect();
        Ok(Atlas::build(&[], &networks)?.refined(&prefixes))
    }
}

/// A client's address at a location: the first of its network.
pub(super) fn address_of(location: usize) -> IpAddr {
    // fd00:LLLL:LLLL::, with the location's number in the middle.
    IpAddr::V6(Ipv6Addr::from((0xfd00_u128 << 112) | ((location as u128 & 0xffff_ffff) << 80)))
}

pub(super) fn network_of(location: usize) -> Prefix {
    Prefix::containing(address_of(location), 48)
}

fn location_of(index: usize, place: &ClientLocation) -> Location {
    Location {
        country: place.country,
        city: Some(place.name.as_str().into()),
        coordinates: Some(place.at),
        // Keeps locations apart that are alike otherwise.
        asn: u32::try_from(index + 1).ok(),
        ..Location::default()
    }
}

/// Documentation addresses, one per region: nothing is ever sent there.
fn endpoint_address(region: usize) -> IpAddr {
    IpAddr::V6(Ipv6Addr::from((0x2001_0db8_u128 << 96) | (region as u128 + 1)))
}

/// The defaults of a zone file's check.
pub(super) fn check() -> Check {
    Check::new(CheckKind::Tcp { port: 443 })
}

/// As often as a zone file's load report by default. It comes from whoever drives the simulation.
fn load_report() -> LoadReport {
    LoadReport::pushed(Duration::from_secs(10))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn world(locations: usize) -> World {
        let at = Coordinates::new(1.0, 2.0).expect("coordinates");
        let region = Site { name: "a".into(), at, cost: 0.5, capacity: 10.0 };
        let place = ClientLocation { country: "KR".parse().ok(), at, name: "Seoul".into() };
        World { regions: vec![region.clone(), region], locations: vec![place; locations], ..World::default() }
    }

    #[test]
    fn locations_alike_in_everything_are_places_of_their_own() {
        let atlas = world(70_000).atlas().expect("an atlas");
        assert!(atlas.place_count() > 70_000);
        let places = [0, 1, 65_535, 65_536, 69_999].map(|location| atlas.locate(address_of(location)).place);
        let asns = places.map(|place| atlas.location(place).asn);
        assert_eq!(asns, [1, 2, 65_536, 65_537, 70_000].map(Some));
        assert_eq!(atlas.locate(address_of(70_000)).place, crate::atlas::PlaceId::UNKNOWN);
    }

    #[test]
    fn names_that_repeat_are_told_apart() {
        let model = world(1).model().expect("a model");
        let names: Vec<&str> = model.regions.iter().map(|region| &*region.name).collect();
        assert_eq!(names, ["a", "a#1"]);
    }

    #[test]
    fn the_failover_ttl_is_5_s_or_the_ttl() {
        for (ttl, failover) in [(30, 5), (5, 5), (2, 2), (0, 0)] {
            let model = World { ttl: Ttl::saturating(ttl), ..world(1) }.model().expect("a model");
            assert_eq!(model.services[0].failover_ttl.as_secs(), failover);
        }
    }

    #[test]
    fn a_world_without_regions_or_locations_or_with_too_many_is_refused() {
        assert!(world(1).check().is_ok());
        assert!(matches!(world(0).check(), Err(WorldError::NoLocations)));
        assert!(matches!(World { regions: Vec::new(), ..world(1) }.check(), Err(WorldError::NoRegions)));
        let mut many = world(1);
        many.regions = vec![many.regions[0].clone(); MAX_REGIONS + 1];
        assert!(matches!(many.check(), Err(WorldError::TooManyRegions)));
        assert!(matches!(world(MAX_LOCATIONS + 1).check(), Err(WorldError::TooManyLocations)));
    }
}
