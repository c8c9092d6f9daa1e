//! Classes of addresses that every service answers alike.
//!
//! Places are many, decisions few: where most of a continent gets one region, its places are one
//! class. Found in a table of merged ranges, small enough to stay in a core's cache, whose prefixes
//! are the widest that are true as ECS scopes.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use crate::atlas::{Atlas, Groups, PlaceId};

use crate::steer::choice::cell::CellTable;

/// The classes of one plan.
#[derive(Debug)]
pub struct Classes {
    groups: Groups,
    /// By class: a place that is in it, and so is answered as all of it are.
    examples: Vec<PlaceId>,
    /// The tables the classes were made for.
    tables: Vec<Arc<CellTable>>,
}

impl Classes {
    /// The classes of places that are in the same cell of each of these tables.
    ///
    /// `previous` is given back where it was made for the same tables, of the same atlas.
    pub fn of(atlas: &Atlas, tables: Vec<Arc<CellTable>>, previous: Option<&Arc<Classes>>) -> Arc<Classes> {
        if let Some(previous) = previous
            && previous.tables.len() == tables.len()
            && previous.tables.iter().zip(&tables).all(|(old, new)| Arc::ptr_eq(old, new))
        {
            return previous.clone();
        }
        let mut class_of = vec![0; atlas.place_count()];
        for table in &tables {
            refine(&mut class_of, table);
        }
        let mut examples = Vec::new();
        for (place, &class) in class_of.iter().enumerate() {
            if class as usize == examples.len() {
                examples.push(PlaceId(place as u32));
            }
        }
        Arc::new(Classes { groups: atlas.grouped(&class_of), examples, tables })
    }

    /// A place that is answered as this address is, and the widest prefix length around the
    /// address within which every address is.
    pub fn find(&self, address: IpAddr) -> (PlaceId, u8) {
        let (class, scope) = self.groups.find(address);
        (self.examples.get(class as usize).copied().unwrap_or(PlaceId::UNKNOWN), scope)
    }

    /// Every range of IPv4 addresses by where it begins, ascending from 0, with its class, below
    /// [`Classes::len`].
    pub fn for_each_v4(&self, visit: impl FnMut(u32, u32)) {
        self.groups.for_each_v4(visit);
    }

    /// The same of IPv6 addresses by their upper 64 bits; `None` for a /64 of several classes, and for the one of
    /// IPv4-mapped addresses.
    pub fn for_each_v6(&self, visit: impl FnMut(u64, Option<u32>)) {
        self.groups.for_each_v6(visit);
    }

    /// A place that is answered as all of a class are; the unknown one for a class there is not.
    pub fn example(&self, class: usize) -> PlaceId {
        self.examples.get(class).copied().unwrap_or(PlaceId::UNKNOWN)
    }

    /// At least 1.
    pub fn len(&self) -> usize {
        self.examples.len()
    }

    pub fn is_empty(&self) -> bool {
        self.examples.is_empty()
    }

    /// The number of ranges of addresses.
    pub fn ranges(&self) -> usize {
        self.groups.ranges()
    }
}

/// Splits classes whose places are in different cells of the table. Classes are numbered in the
/// order in which places first show them.
fn refine(class_of: &mut [u32], table: &CellTable) {
    let mut numbers: HashMap<(u32, u32), u32> = HashMap::new();
    for (place, class) in class_of.iter_mut().enumerate() {
        let next = numbers.len() as u32;
        *class = *numbers.entry((*class, table.cell_index(PlaceId(place as u32)))).or_insert(next);
    }
}
