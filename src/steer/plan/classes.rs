//! Classes of addresses that the recipes of one part all answer alike.
//!
//! Places are many, decisions few: where most of a continent gets one region, its places are one
//! class. Found in a table of merged ranges, small enough to stay in a core's cache, whose prefixes
//! are the widest that are true as ECS scopes.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;
use std::sync::Arc;

use foldhash::fast::RandomState as Folding;

use crate::atlas::{Atlas, Groups, PlaceId};
use crate::steer::choice::pick::mix;

use super::code::{Code, Found};

/// The classes of one part of a plan.
#[derive(Debug)]
pub struct Classes {
    groups: Groups,
    /// By class: a place that is in it, and so is answered as all of it are.
    examples: Box<[PlaceId]>,
    /// By place.
    class_of: Box<[u32]>,
}

impl Classes {
    /// The classes of places whose rows have the same code in each of these columns: those of `former`, which are of this
    /// atlas, if they are the same. `row_of`: of each place; all are in the columns, and rows that are no place's make no
    /// class.
    pub fn of(atlas: &Atlas, columns: &[Vec<Code>], row_of: &[u32], former: &[&Arc<Classes>]) -> Arc<Classes> {
        let mut numbers: HashMap<u64, u32, Folding> = HashMap::default();
        let mut first: Vec<usize> = Vec::new();
        let alike = |a: usize, b: usize| columns.iter().all(|column| column.get(a) == column.get(b));
        let class = |(row, mut hash): (usize, u64)| loop {
            match numbers.entry(hash) {
                Entry::Vacant(entry) => {
                    let next = first.len() as u32; // at most one per place, and those are u32
                    first.push(row);
                    return *entry.insert(next);
                }
                Entry::Occupied(entry) if alike(first[*entry.get() as usize], row) => return *entry.get(),
                Entry::Occupied(_) => hash = mix(hash), // others by chance: the next
            }
        };
        let rows = row_of.iter().max().map_or(1, |&last| last as usize + 1);
        let of_rows: Vec<u32> = hashes(rows, columns).into_iter().enumerate().map(class).collect();
        let class_of: Box<[u32]> = row_of.iter().map(|&row| of_rows[row as usize]).collect();
        let same = former.iter().find(|former| former.class_of == class_of);
        same.map_or_else(|| Arc::new(Classes::of_groups(atlas, class_of)), |same| (*same).clone())
    }

    /// These classes of places; `class_of`: by place, with a place in each.
    pub fn of_groups(atlas: &Atlas, class_of: Box<[u32]>) -> Classes {
        let mut examples = vec![PlaceId::UNKNOWN; class_of.iter().max().map_or(0, |&last| last as usize + 1)];
        for (place, &class) in class_of.iter().enumerate().rev() {
            examples[class as usize] = PlaceId(place as u32); // at last that of the first place
        }
        Classes { groups: atlas.grouped(&class_of), examples: examples.into(), class_of }
    }

    /// The class of an address.
    #[inline]
    pub fn find(&self, address: IpAddr) -> Found {
        let (class, widest) = self.groups.find(address);
        Found { class, widest }
    }

    /// The class of a place.
    #[inline]
    pub fn of_place(&self, place: PlaceId) -> u32 {
        self.class_of.get(place.index()).copied().unwrap_or(0)
    }

    /// A place of each class, in their order.
    pub fn examples(&self) -> &[PlaceId] {
        &self.examples
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

/// A number for each row that follows from its codes, column by column.
fn hashes(rows: usize, columns: &[Vec<Code>]) -> Vec<u64> {
    let mut hashes = vec![0; rows];
    for column in columns {
        for (hash, code) in hashes.iter_mut().zip(column) {
            *hash = mix(*hash ^ u64::from(code.number()));
        }
    }
    hashes
}
