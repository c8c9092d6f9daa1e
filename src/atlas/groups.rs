//! Addresses by the group that their place is in: what queries ask.
//!
//! Every range of addresses and its group come in; an address's group, and how widely that holds, goes out.

use std::fmt;
use std::net::IpAddr;

use super::located::{Located, PlaceId};
use super::steps::Steps;
use super::table::{MAX_PLACES, Table4, Table6};

/// Addresses by group: see [`Atlas::grouped`](super::Atlas::grouped).
pub struct Groups {
    v4: Table4,
    v6: Table6,
}

impl Groups {
    /// Every range by its group, which is below 2^31 - 1; in IPv6, [`MAPPED`] where IPv4 is to be asked.
    pub(super) fn new(v4: &Steps<u32>, v6: &Steps<u128>) -> Groups {
        Groups { v4: Table4::new(v4), v6: Table6::new(v6) }
    }

    /// The group of an address, and the widest prefix length around it within which every address
    /// is in that group. Touches a few cache lines; treats mapped addresses as
    /// [`Atlas::locate`](super::Atlas::locate) does.
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

fn find(v4: &Table4, v6: &Table6, address: IpAddr) -> Located {
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

/// In [`Groups`]' table of IPv6: ask the table of IPv4. No group has this number.
pub const MAPPED: PlaceId = PlaceId(MAX_PLACES);
