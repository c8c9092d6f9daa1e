//! The place of a client: an address in; a place, and the widest prefix that shares it, out.
//!
//! ```text
//!   mmdb files ─▶ database ─▶ tree, record ─┐
//!                                           ├─▶ compile: steps, places ─▶ packed ─▶ Atlas::locate
//!   operator networks ──────────────────────┘                                └────▶ table ─▶ Groups::find
//!   CSV ─▶ build ─▶ mmdb file
//! ```
//!
//! An [`Atlas`] is compiled once per load, only as closely as decisions need ([`Detail`]), and never
//! changes. Queries ask [`Groups`], which touch a few cache lines; no lookup touches a file, and a
//! corrupt one is refused when it is compiled.
//!
//! - [`database`], [`tree`], [`data`], [`record`]: files as they come, and what each vendor calls things
//! - [`steps`], [`places`], [`compile`], [`assemble`]: merging what all of them say
//! - [`refine`]: telling networks apart that databases do not
//! - [`packed`], [`table`]: all places in little memory; what is asked per query
//! - [`centroid`]: where countries are
//! - [`build`]: making a database file from a table of networks

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use crate::model::{Coordinates, CountryCode, Location, Prefix};

mod assemble;
pub mod build;
pub mod centroid;
mod compile;
mod data;
pub mod database;
mod packed;
mod places;
mod record;
mod refine;
mod steps;
mod table;
mod tree;

pub use database::{AtlasError, Database};

/// The demo's database: 127.CC.0.0/16 is in the country with telephone code CC. Built from
/// `geoip/demo.csv` by [`build::build_mmdb`] at [`DEMO_EPOCH`].
pub const DEMO_DATABASE: &[u8] = include_bytes!("../../geoip/demo.mmdb");

/// The build time written in [`DEMO_DATABASE`], in seconds since 1970.
pub const DEMO_EPOCH: u64 = 1_767_225_600;

/// The place of every address.
pub struct Atlas {
    v4: packed::Packed<u32>,
    /// Where addresses stand for IPv4: the number after all places, unless all of IPv4 is one place.
    v6: packed::Packed<u128>,
    places: Arc<places::Places>,
    /// By place, those after `places`: see [`Atlas::refined`].
    refined: Box<[assemble::Refined]>,
    summary: AtlasSummary,
}

/// A distinct place (location and ASN) of its atlas, and of no other. Dense: 0 to
/// [`Atlas::place_count`] - 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PlaceId(pub u32);

impl PlaceId {
    /// Nothing is known: [`Location::default`]. In every atlas.
    pub const UNKNOWN: PlaceId = PlaceId(0);

    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// In [`Groups`]' table of IPv6: ask the table of IPv4. No group has this number.
const MAPPED: PlaceId = PlaceId(table::MAX_PLACES);

/// First and last of the addresses that stand for IPv4 (RFC 4291 section 2.5.5.2).
const MAPPED_RANGE: (u128, u128) = (0xffff << 32, 0xffff_ffff_ffff);

/// The place of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Located {
    pub place: PlaceId,
    /// The widest prefix length around the address within which every address has this same
    /// place: 0 to 32 for IPv4, 0 to 128 for IPv6.
    pub scope: u8,
}

impl Atlas {
    /// Knows nothing: every address is at [`PlaceId::UNKNOWN`], scope 0.
    pub fn empty() -> Atlas {
        let places = Arc::new(places::Collector::new().finish(&[0]));
        let (v4, v6) = (steps::Steps::constant(0), steps::Steps::constant(0));
        assemble::assemble(v4, v6, places, Box::default(), AtlasSummary::default())
    }

    /// Compiles databases and the operator's networks.
    ///
    /// Of several databases the one that tells more closely where a network is comes first
    /// (cities, then countries, then ASNs), then the one named earlier; what it leaves out the
    /// others fill in. Networks win over all databases, whole, the longest prefix first; of two
    /// equal prefixes the first holds. A country whose continent is not said gets its own.
    ///
    /// Fails where a file is not whole, corrupt, says nothing of places, or is beyond the limits:
    /// see [`AtlasError`]. Takes a fifth of a second per million networks.
    pub fn build(databases: &[Database], networks: &[(Prefix, Location)]) -> Result<Atlas, AtlasError> {
        Atlas::build_for(Detail::ALL, databases, networks)
    }

    /// As [`Atlas::build`], but of what the databases say only as much as `detail`: networks that differ
    /// in nothing else are one. What the operator says of networks is kept as it is.
    pub fn build_for(
        detail: Detail,
        databases: &[Database],
        networks: &[(Prefix, Location)],
    ) -> Result<Atlas, AtlasError> {
        compile::compile(databases, networks, detail)
    }

    /// The same addresses at the same locations, but each of these networks told apart from what is
    /// around it: what lies in a network is at places of its own, numbered after the old ones, whose
    /// ids stay. Networks may nest: addresses belong to the longest.
    ///
    /// Starts from what the databases and the operator said: an atlas that was refined before forgets
    /// those networks, and with none given is as it was built. Which network has which place depends
    /// on neither order nor repetition of the networks. A prefix of IPv4-mapped addresses (RFC 4291
    /// section 2.5.5.2) is the IPv4 prefix it stands for; one around all of them leaves IPv4 alone.
    ///
    /// A network makes as many places as there are locations in it, so wide ones make many. Takes some
    /// 0.15 s per three million ranges.
    pub fn refined(&self, networks: &[Prefix]) -> Atlas {
        refine::refine(self, networks)
    }

    /// The longest of the networks this atlas was [refined](Atlas::refined) by that holds the place,
    /// IPv4 where it was given as IPv4-mapped; `None` for places outside all of them.
    pub fn network(&self, place: PlaceId) -> Option<Prefix> {
        self.refined_place(place).map(|refined| refined.network)
    }

    /// The place of an address, without allocating, waiting or locking.
    ///
    /// An IPv4-mapped IPv6 address (RFC 4291 section 2.5.5.2) is looked up as IPv4; its scope
    /// still counts the bits of IPv6, 96 and up.
    pub fn locate(&self, address: IpAddr) -> Located {
        let (place, scope) = match address {
            IpAddr::V4(address) => self.v4.find(address.into()),
            IpAddr::V6(address) => {
                let address = u128::from(address);
                match self.v6.find(address) {
                    (place, _) if place as usize == self.place_count() => {
                        let (place, scope) = self.v4.find(address as u32);
                        (place, 96 + scope)
                    }
                    found => found,
                }
            }
        };
        Located { place: PlaceId(place), scope }
    }

    /// The same addresses, told apart only by the group their place is in: what decides alike is
    /// found in a table as small as the decisions are coarse. `group_of` says each place's group,
    /// below 2^31 - 1; places beyond it are in group 0.
    pub fn grouped(&self, group_of: &[u32]) -> Groups {
        let mapped = self.place_count() as u32;
        let group = |place: u32| match group_of.get(place as usize) {
            Some(&group) => group,
            None if place == mapped => MAPPED.0,
            None => 0,
        };
        Groups { v4: table::Table4::new(&self.v4.steps(group)), v6: table::Table6::new(&self.v6.steps(group)) }
    }

    /// All that is known of a place. Assembles it: for people and planners, not for queries.
    pub fn location(&self, place: PlaceId) -> Location {
        self.places.location(self.unrefined(place))
    }

    /// The place's own coordinates, else the centroid of its country.
    pub fn coordinates(&self, place: PlaceId) -> Option<Coordinates> {
        self.places.coordinates(self.unrefined(place))
    }

    /// The place's network operator (ASN) and country, as far as they are known.
    pub fn operator(&self, place: PlaceId) -> (Option<u32>, Option<CountryCode>) {
        self.places.operator(self.unrefined(place))
    }

    /// All places, the unknown one first.
    pub fn places(&self) -> impl Iterator<Item = PlaceId> + use<> {
        (0..self.place_count() as u32).map(PlaceId)
    }

    /// At least 1: the unknown one.
    pub fn place_count(&self) -> usize {
        self.places.len() + self.refined.len()
    }

    /// The memory that the atlas holds, in bytes.
    pub fn memory_bytes(&self) -> usize {
        let tables = self.v4.memory_bytes() + self.v6.memory_bytes();
        tables + self.places.memory_bytes() + size_of_val(&*self.refined)
    }

    /// What is known of a place is known of this one, which no network tells apart.
    fn unrefined(&self, place: PlaceId) -> u32 {
        self.refined_place(place).map_or(place.0, |refined| refined.base)
    }

    fn refined_place(&self, place: PlaceId) -> Option<&assemble::Refined> {
        self.refined.get(place.index().checked_sub(self.places.len())?)
    }

    pub fn summary(&self) -> &AtlasSummary {
        &self.summary
    }
}

/// The summary: millions of ranges help nobody.
impl fmt::Debug for Atlas {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Atlas").field(&self.summary).finish()
    }
}

/// Addresses by group: see [`Atlas::grouped`].
pub struct Groups {
    v4: table::Table4,
    v6: table::Table6,
}

impl Groups {
    /// The group of an address, and the widest prefix length around it within which every address
    /// is in that group. Touches a few cache lines; treats mapped addresses as [`Atlas::locate`] does.
    pub fn find(&self, address: IpAddr) -> (u32, u8) {
        let Located { place, scope } = find(&self.v4, &self.v6, address);
        (place.0, scope)
    }

    /// Every range of IPv4 addresses by where it begins, ascending from 0, with its group.
    pub fn for_each_v4(&self, visit: impl FnMut(u32, u32)) {
        self.v4.for_each(visit);
    }

    /// The same of IPv6 addresses by their upper 64 bits; `None` for a /64 that is in several groups, and for
    /// the one of IPv4-mapped addresses.
    pub fn for_each_v6(&self, visit: impl FnMut(u64, Option<u32>)) {
        self.v6.for_each(visit);
    }

    /// The memory that the tables hold, in bytes.
    pub fn memory_bytes(&self) -> usize {
        self.v4.memory_bytes() + self.v6.memory_bytes()
    }

    /// The number of ranges of addresses, of both families.
    pub fn ranges(&self) -> usize {
        self.v4.ranges() + self.v6.ranges()
    }
}

impl fmt::Debug for Groups {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Groups").field("ranges", &self.ranges()).finish_non_exhaustive()
    }
}

fn find(v4: &table::Table4, v6: &table::Table6, address: IpAddr) -> Located {
    match address {
        IpAddr::V4(address) => v4.find(address.into()),
        IpAddr::V6(address) => {
            let address = u128::from(address);
            let found = v6.find(address);
            if found.place == MAPPED {
                let found = v4.find(address as u32);
                return Located { scope: 96 + found.scope, ..found };
            }
            found
        }
    }
}

/// The detail in which an atlas tells where clients are. Continents and countries are always told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Detail {
    /// States, provinces.
    pub subdivisions: bool,
    /// Cities and coordinates; without them places are where the middle of their country is.
    pub positions: bool,
    /// Network operators (ASN).
    pub operators: bool,
}

impl Detail {
    /// All that databases say.
    pub const ALL: Detail = Detail { subdivisions: true, positions: true, operators: true };
    /// Continents and countries, and no more.
    pub const COUNTRIES: Detail = Detail { subdivisions: false, positions: false, operators: false };
}

impl Default for Detail {
    fn default() -> Detail {
        Detail::ALL
    }
}

/// The sources that an atlas was made of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AtlasSummary {
    /// The detail in which the databases were read.
    pub detail: Detail,
    /// In the order they were named; may be empty.
    pub databases: Vec<DatabaseSummary>,
    /// Maximal ranges of IPv4 addresses with one place, unknown ones counted.
    pub ranges_v4: usize,
    /// The same of IPv6.
    pub ranges_v6: usize,
    /// The unknown one counted.
    pub places: usize,
}

/// One database of an atlas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatabaseSummary {
    pub path: String,
    /// Such as `GeoLite2-City`.
    pub kind: String,
    /// The time when it was built, in seconds since 1970.
    pub build_epoch: u64,
    /// Networks with a record.
    pub networks: u64,
}

#[cfg(test)]
mod tests;
