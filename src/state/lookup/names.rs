//! Every name that is served, in one table: found by the hash of the lower-cased wire name.
//!
//! Made once per load; a query then reads. What is found is an entry, with all answers that are prebuilt for the name;
//! its node has the records that entries are made from.

use crate::model::{Model, Name, ServiceId};
use crate::wire::name::LowerName;

use super::index::{Hashing, Index, NameHash};
use super::link::{Built, Depths};
use super::nodes::{Node, NodeId, Nodes};
use super::patch::{self, Parts, Patched};
use super::prebuilt::{NameEntry, Prebuilt};

/// All names of all zones.
#[derive(Debug, Default)]
pub struct NameTable {
    nodes: Nodes,
    /// Names to entries.
    index: Index,
    prebuilt: Prebuilt,
    depths: Depths,
}

/// Equality of octets, sixteen at a step and the last sixteen once more: of lengths like these quicker than a call.
#[inline]
fn are_same(one: &[u8], other: &[u8]) -> bool {
    const STEP: usize = 16;
    if one.len() != other.len() {
        return false;
    }
    let (Some(last), Some(others)) = (one.last_chunk::<STEP>(), other.last_chunk::<STEP>()) else {
        return one == other;
    };
    let ((steps, _), (other_steps, _)) = (one.as_chunks::<STEP>(), other.as_chunks::<STEP>());
    last == others && steps.iter().zip(other_steps).all(|(step, other)| step == other)
}

/// The place where a name was found.
#[derive(Clone, Copy, Debug)]
pub enum NameMatch<T> {
    /// The name itself is in the table.
    Exact(T),
    /// It is not; the closest encloser is, and this is how many of the name's octets are in front.
    Below { encloser: T, prefix_octets: usize },
    /// No zone here holds it.
    Outside,
}

impl<T> NameMatch<T> {
    /// The same of what is made of the name that was found.
    #[inline(always)]
    pub fn map<U>(self, of: impl FnOnce(T) -> U) -> NameMatch<U> {
        match self {
            NameMatch::Exact(name) => NameMatch::Exact(of(name)),
            NameMatch::Below { encloser, prefix_octets } => NameMatch::Below { encloser: of(encloser), prefix_octets },
            NameMatch::Outside => NameMatch::Outside,
        }
    }
}

impl NameTable {
    pub fn build(model: &Model) -> NameTable {
        let built = Built::new(model);
        let (prebuilt, places) = Prebuilt::build(&built.nodes, &built.found());
        let Built { nodes, mut index, depths } = built;
        index.finish(|id| places[id as usize]);
        NameTable { nodes, index, prebuilt, depths }
    }

    /// The table of the names of `model`, by what differs from `before` and its table; from nothing where that is more
    /// than a few names.
    pub fn after(earlier: &NameTable, before: &Model, model: &Model) -> NameTable {
        let NameTable { nodes, index, prebuilt, depths } = earlier;
        match patch::after(Parts { nodes, index, prebuilt, depths: *depths }, before, model) {
            Some(Patched { nodes, index, prebuilt, depths }) => NameTable { nodes, index, prebuilt, depths },
            None => NameTable::build(model),
        }
    }

    /// Tells whether one was made from the other, so that most entries are the same memory.
    pub fn shares_entries_with(&self, other: &NameTable) -> bool {
        self.prebuilt.shares_with(&other.prebuilt)
    }

    /// All names as nodes, with what they lead to.
    pub fn nodes(&self) -> &Nodes {
        &self.nodes
    }

    pub fn node(&self, id: NodeId) -> Node<'_> {
        self.nodes.node(id)
    }

    /// Every name in lower-cased wire form with its node, in the order they were made in.
    pub fn iter(&self) -> impl Iterator<Item = (Box<[u8]>, NodeId)> {
        // The parent's half of a delegation has the name of another node, which is the one that is found.
        let mut name = LowerName::new();
        let mut is_found = move |id, wire: &[u8]| {
            name.read(wire);
            matches!(self.find(&name), NameMatch::Exact(found) if found == id)
        };
        let named = self.nodes.iter().map(|(id, node)| (Box::from(node.name().as_wire()), id));
        named.filter(move |(name, id)| is_found(*id, name))
    }

    /// The number of names.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// Finds a name.
    pub fn find(&self, name: &LowerName) -> NameMatch<NodeId> {
        self.find_entry(name).map(|entry| entry.node())
    }

    /// Finds a name, with what is prebuilt for it.
    #[inline]
    pub fn find_entry(&self, name: &LowerName) -> NameMatch<NameEntry<'_>> {
        let labels = name.labels();
        if labels <= self.depths.deepest
            && let Some(entry) = self.entry_of(name.as_wire(), NameHash::new(name))
        {
            return NameMatch::Exact(entry);
        }
        self.find_encloser(name)
    }

    /// From the top down: below an origin every name exists down to the closest encloser, so the first
    /// that is missing ends the search. Nobody's many labels cost more than the deepest name has.
    fn find_encloser(&self, name: &LowerName) -> NameMatch<NameEntry<'_>> {
        let (fewest, most) = self.depths.origins;
        let above = name.labels().min(self.depths.deepest + 1);
        if fewest >= above {
            return NameMatch::Outside;
        }
        let mut found = NameMatch::Outside;
        let mut hashing = Hashing::new(name);
        for labels in fewest..above {
            let prefix_octets = name.start_of_last(labels);
            match self.entry_of(name.last(labels), hashing.from(prefix_octets)) {
                Some(encloser) => found = NameMatch::Below { encloser, prefix_octets },
                None if labels < most && matches!(found, NameMatch::Outside) => {}
                None => break,
            }
        }
        found
    }

    /// The entry of a whole name in lower case.
    #[inline]
    fn entry_of(&self, wire: &[u8], hash: NameHash) -> Option<NameEntry<'_>> {
        self.index.find(hash, |at| self.prebuilt.entry(at).filter(|entry| are_same(entry.name(), wire)))
    }

    /// Tells whether names are so many that most of what is asked lies in no cache of a core.
    pub fn outgrows_caches(&self) -> bool {
        const CACHE: usize = 2 << 20;
        self.index.memory_bytes() + self.prebuilt.memory_bytes_of_entries() > CACHE
    }

    /// Has the processor fetch where the search for a name with this hash begins.
    #[inline]
    pub fn fetch_index(&self, hash: NameHash) {
        self.index.fetch(hash);
    }

    /// Has it fetch what is prebuilt for a name with this hash, where there seems to be one.
    #[inline]
    pub fn fetch_entry(&self, hash: NameHash) {
        if let Some(at) = self.index.find(hash, Some) {
            self.prebuilt.fetch(at);
        }
    }

    /// The prebuilt answers of entries.
    #[inline]
    pub fn prebuilt(&self) -> &Prebuilt {
        &self.prebuilt
    }

    /// The service at a name, for tools that know it by text.
    pub fn service_at(&self, name: &Name) -> Option<ServiceId> {
        match self.find(&LowerName::of(name)) {
            NameMatch::Exact(id) => self.node(id).service(),
            NameMatch::Below { encloser, .. } => self.node(self.node(encloser).wildcard()?).service(),
            NameMatch::Outside => None,
        }
    }
}
