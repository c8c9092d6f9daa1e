//! A compiled atlas: an address in; its place, and what is known of that, out.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use super::groups::{Groups, MAPPED};
use super::layers::{ASK_V4, Layers, SILENT};
use super::located::{Located, PlaceId};
use super::packed::Packed;
use super::places::Places;
use super::sources::AtlasSummary;
use super::steps::Steps;
use crate::model::{Coordinates, CountryCode, Location, Prefix};

/// The place of every address.
pub struct Atlas {
    /// As it was built; shared with all that were refined from it.
    pub(super) tables: Arc<Tables>,
    pub(super) places: Arc<Places>,
    over: Over,
    summary: AtlasSummary,
}

/// The places of addresses as databases and operators have them.
pub struct Tables {
    pub v4: Packed<u32>,
    /// Where addresses stand for IPv4: the number after all places, unless all of IPv4 is one place.
    pub v6: Packed<u128>,
}

/// The places of networks that are told apart: see [`Atlas::refined`].
pub struct Over {
    pub v4: Steps<u32>,
    pub v6: Steps<u128>,
    /// By place, those after the places of the tables.
    pub refined: Box<[Refined]>,
}

impl Atlas {
    /// One that tells no networks apart.
    pub(super) fn of(tables: Arc<Tables>, places: Arc<Places>, summary: AtlasSummary) -> Atlas {
        let over = Over { v4: Steps::constant(SILENT), v6: Steps::constant(SILENT), refined: Box::default() };
        Atlas { tables, places, over, summary }
    }

    /// The same tables with this over them.
    pub(super) fn with(&self, over: Over) -> Atlas {
        let (tables, places, summary) = (self.tables.clone(), self.places.clone(), self.summary.clone());
        let mut atlas = Atlas { tables, places, over, summary };
        let (ranges_v4, ranges_v6, places) = (atlas.v4().len(), atlas.v6().len(), atlas.place_count());
        atlas.summary = AtlasSummary { ranges_v4, ranges_v6, places, ..atlas.summary };
        atlas
    }

    fn v4(&self) -> Layers<'_, u32> {
        Layers { base: &self.tables.v4, over: &self.over.v4, mapped: self.places.len() as u32 }
    }

    fn v6(&self) -> Layers<'_, u128> {
        Layers { base: &self.tables.v6, over: &self.over.v6, mapped: self.places.len() as u32 }
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
            IpAddr::V4(address) => self.v4().find(address.into()),
            IpAddr::V6(address) => {
                let address = u128::from(address);
                match self.v6().find(address) {
                    (ASK_V4, _) => {
                        let (place, scope) = self.v4().find(address as u32);
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
        let group = |place: u32| match group_of.get(place as usize) {
            Some(&group) => group,
            None if place == ASK_V4 => MAPPED.0,
            None => 0,
        };
        Groups::new(&self.v4().steps(group), &self.v6().steps(group))
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
        self.places.len() + self.over.refined.len()
    }

    /// The lowest IPv4 address of each of these places; `None` where it has none. Reads all ranges: never on the
    /// packet path.
    pub fn examples(&self, places: &[PlaceId]) -> Vec<Option<Ipv4Addr>> {
        let mut numbers = vec![0_u32; self.place_count()];
        for (number, place) in (1..).zip(places) {
            if let Some(known) = numbers.get_mut(place.index()) {
                *known = number;
            }
        }
        let mut found = vec![None; places.len()];
        let wanted = self.v4().steps(|place| numbers.get(place as usize).copied().unwrap_or(0));
        for &(start, number) in wanted.ranges() {
            if let Some(slot) = (number as usize).checked_sub(1).and_then(|index| found.get_mut(index)) {
                slot.get_or_insert(Ipv4Addr::from(start));
            }
        }
        found
    }

    /// The memory that the atlas holds, in bytes.
    pub fn memory_bytes(&self) -> usize {
        let tables = self.tables.v4.memory_bytes() + self.tables.v6.memory_bytes();
        let over = size_of_val(self.over.v4.ranges()) + size_of_val(self.over.v6.ranges());
        tables + self.places.memory_bytes() + over + size_of_val(&*self.over.refined)
    }

    /// What is known of a place is known of this one, which no network tells apart.
    pub(super) fn unrefined(&self, place: PlaceId) -> u32 {
        self.refined_place(place).map_or(place.0, |refined| refined.base)
    }

    fn refined_place(&self, place: PlaceId) -> Option<&Refined> {
        self.over.refined.get(place.index().checked_sub(self.places.len())?)
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

/// A place inside a network.
#[derive(Clone, Copy, Debug)]
pub struct Refined {
    /// Its number without the network.
    pub base: u32,
    /// The longest that holds it.
    pub network: Prefix,
}
