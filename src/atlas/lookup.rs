//! A compiled atlas: an address in; its place, and what is known of that, out.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use super::groups::{Groups, MAPPED};
use super::located::{Located, PlaceId};
use super::packed::Packed;
use super::places::Places;
use super::sources::AtlasSummary;
use crate::model::{Coordinates, CountryCode, Location, Prefix};

/// The place of every address.
pub struct Atlas {
    pub(super) v4: Packed<u32>,
    /// Where addresses stand for IPv4: the number after all places, unless all of IPv4 is one place.
    pub(super) v6: Packed<u128>,
    pub(super) places: Arc<Places>,
    /// By place, those after `places`: see [`Atlas::refined`].
    pub(super) refined: Box<[Refined]>,
    pub(super) summary: AtlasSummary,
}

impl Atlas {
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
        Groups::new(&self.v4.steps(group), &self.v6.steps(group))
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
        let wanted = self.v4.steps(|place| numbers.get(place as usize).copied().unwrap_or(0));
        for &(start, number) in wanted.ranges() {
            if let Some(slot) = (number as usize).checked_sub(1).and_then(|index| found.get_mut(index)) {
                slot.get_or_insert(Ipv4Addr::from(start));
            }
        }
        found
    }

    /// The memory that the atlas holds, in bytes.
    pub fn memory_bytes(&self) -> usize {
        let tables = self.v4.memory_bytes() + self.v6.memory_bytes();
        tables + self.places.memory_bytes() + size_of_val(&*self.refined)
    }

    /// What is known of a place is known of this one, which no network tells apart.
    pub(super) fn unrefined(&self, place: PlaceId) -> u32 {
        self.refined_place(place).map_or(place.0, |refined| refined.base)
    }

    fn refined_place(&self, place: PlaceId) -> Option<&Refined> {
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

/// A place inside a network.
#[derive(Clone, Copy, Debug)]
pub struct Refined {
    /// Its number without the network.
    pub base: u32,
    /// The longest that holds it.
    pub network: Prefix,
}
