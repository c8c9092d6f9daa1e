//! Every name of all zones as a node: its records, its service, and the nodes it leads to.
//!
//! Comes from the model's zones and services. Names that exist only because something is below them (empty
//! non-terminals, RFC 4592 section 2.2.2) have nodes too, so a name's closest encloser is the longest suffix that has
//! one.
//!
//! Records and names are those of the model: a node is a place among its zone's, and most lead nowhere else. How
//! nodes are made is in [`super::link`].

use std::sync::Arc;

use crate::model::name::MAX_NAME_OCTETS;
use crate::model::{RecordType, RrSet, ServiceId, Ttl, ZoneNode, ZoneNodes};

/// Indexes the nodes it came from, and no other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeId(pub(super) u32);

/// The nodes of all names, and the zones they are in.
#[derive(Clone, Debug, Default)]
pub struct Nodes {
    pub(super) slots: Vec<Slot>,
    pub(super) links: Vec<Links>,
    /// Labels of names without records, each name's behind its length.
    pub(super) bare: Vec<u8>,
    pub(super) zones: Vec<ZoneTop>,
    /// Nodes with records that name others, whose addresses go with them, in ascending order.
    pub(super) pointing: Vec<u32>,
    /// Slots of names that are gone.
    pub(super) dead: usize,
}

/// The facts that a query needs of a zone besides its nodes.
#[derive(Clone, Debug)]
pub(super) struct ZoneTop {
    /// In lower case.
    pub origin: Arc<[u8]>,
    pub labels: usize,
    pub nodes: ZoneNodes,
    /// The TTL of negative answers: the lesser of that of the SOA and its MINIMUM (RFC 2308 section 3).
    pub negative_ttl: Ttl,
    /// Origins of other zones are below this one.
    pub has_nested: bool,
    /// There are NS records below the apex.
    pub has_cuts: bool,
}

/// One name.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slot {
    /// [`NONE`]: there is no such name any more.
    pub zone: u32,
    /// Among the nodes of its zone; with [`BARE`], among names without records.
    pub place: u32,
    /// Among the links of all; [`NONE`]: it leads nowhere.
    pub links: u32,
}

/// No node, service, entry or template.
pub(super) const NONE: u32 = u32::MAX;
/// Marks the place of a name without records. Records of a zone are within 1 GiB.
pub(super) const BARE: u32 = 1 << 31;

/// The nodes that a name leads to, and its service; [`NONE`] where there is none.
#[derive(Clone, Debug)]
pub(super) struct Links {
    pub service: u32,
    pub wildcard: u32,
    pub cut: u32,
    pub parent_side: u32,
    /// By type, in the order of the sets.
    pub additional: Arc<[(RecordType, NodeId)]>,
}

/// One name, as it is read.
#[derive(Clone, Copy, Debug)]
pub struct Node<'t> {
    nodes: &'t Nodes,
    slot: Slot,
}

/// An RRset of a node.
#[derive(Clone, Copy, Debug)]
pub struct NodeSet<'t> {
    pub records: RrSet<'t>,
    /// Nodes whose addresses go into the additional section (RFC 1034 section 4.3.2 step 6), each with this set's type.
    pub additional: &'t [(RecordType, NodeId)],
}

/// A name in wire form, in lower case.
#[derive(Clone, Copy, Debug)]
pub struct NodeName {
    octets: [u8; MAX_NAME_OCTETS],
    len: usize,
}

impl Nodes {
    #[inline]
    pub fn node(&self, id: NodeId) -> Node<'_> {
        Node { nodes: self, slot: self.slots[id.0 as usize] } // ids come from these nodes alone
    }

    /// All nodes in the order of their ids.
    pub fn iter(&self) -> impl Iterator<Item = (NodeId, Node<'_>)> {
        let all = (0..).map(NodeId).zip(&self.slots);
        all.filter(|(_, slot)| slot.zone != NONE).map(|(id, &slot)| (id, Node { nodes: self, slot }))
    }

    pub fn len(&self) -> usize {
        self.slots.len() - self.dead
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The octets taken beside the model's.
    pub fn memory_bytes(&self) -> usize {
        let additional: usize = self.links.iter().map(|links| size_of_val(&*links.additional)).sum();
        size_of_val(&*self.slots) + size_of_val(&*self.links) + self.bare.len() + additional
    }
}

impl<'t> Node<'t> {
    /// The name.
    pub fn name(&self) -> NodeName {
        NodeName::of(self.labels(), self.origin())
    }

    /// The labels of the name before its zone's origin, each with its length.
    pub(super) fn labels(&self) -> &'t [u8] {
        if self.is_bare() {
            let rest = self.nodes.bare.get((self.slot.place & !BARE) as usize..).unwrap_or_default();
            return rest.split_first().and_then(|(&len, rest)| rest.get(..usize::from(len))).unwrap_or_default();
        }
        self.records().map_or(&[], |node| node.labels())
    }

    #[inline]
    fn top(&self) -> Option<&'t ZoneTop> {
        self.nodes.zones.get(self.slot.zone as usize)
    }

    #[inline]
    fn records(&self) -> Option<ZoneNode<'t>> {
        if self.is_bare() {
            return None;
        }
        Some(self.top()?.nodes.at(self.slot.place))
    }

    #[inline]
    fn links(&self) -> Option<&'t Links> {
        self.nodes.links.get(self.slot.links as usize)
    }

    /// The index of its zone among the model's.
    pub(super) fn zone(&self) -> usize {
        self.slot.zone as usize
    }

    /// The wire octets of the origin of its zone, in lower case.
    pub fn origin(&self) -> &'t [u8] {
        self.top().map_or(&[0], |zone| &zone.origin)
    }

    /// The SOA that proves a negative answer for names in its zone, with the TTL of such an answer.
    pub fn negative_soa(&self) -> Option<RrSet<'t>> {
        let zone = self.top()?;
        let soa = zone.nodes.apex()?.set(RecordType::SOA)?;
        Some(soa.with_ttl(zone.negative_ttl))
    }

    pub(super) fn sets(&self) -> impl Iterator<Item = NodeSet<'t>> + use<'t> {
        let this = *self;
        self.records().into_iter().flat_map(|node| node.sets()).map(move |records| this.with_additional(records))
    }

    #[inline]
    pub fn set(&self, rtype: RecordType) -> Option<NodeSet<'t>> {
        let records = self.records()?.set(rtype)?;
        Some(self.with_additional(records))
    }

    #[inline]
    fn with_additional(&self, records: RrSet<'t>) -> NodeSet<'t> {
        let additional = self.links().map_or(&[][..], |links| &links.additional);
        if additional.is_empty() {
            return NodeSet { records, additional };
        }
        let is_other = |(rtype, _): &(RecordType, NodeId)| *rtype != records.rtype;
        let first = additional.iter().position(|entry| !is_other(entry)).unwrap_or(additional.len());
        let own = additional.get(first..).unwrap_or_default();
        let count = own.iter().position(is_other).unwrap_or(own.len());
        NodeSet { records, additional: own.get(..count).unwrap_or_default() }
    }

    pub(super) fn has_additional(&self) -> bool {
        self.links().is_some_and(|links| !links.additional.is_empty())
    }

    /// Tells whether there are no static records here.
    #[inline]
    pub fn is_bare(&self) -> bool {
        self.slot.place & BARE != 0
    }

    pub fn service(&self) -> Option<ServiceId> {
        Some(self.links()?.service).filter(|&id| id != NONE).map(ServiceId)
    }

    /// The `*` below this name (RFC 4592 section 2.1.1).
    pub fn wildcard(&self) -> Option<NodeId> {
        some(self.links()?.wildcard)
    }

    /// The zone cut at or above this name: its data is another zone's, or glue.
    pub fn cut(&self) -> Option<NodeId> {
        some(self.links()?.cut)
    }

    /// For an apex whose parent zone is served here too: the delegation there, which holds DS.
    pub fn parent_side(&self) -> Option<NodeId> {
        some(self.links()?.parent_side)
    }
}

fn some(id: u32) -> Option<NodeId> {
    Some(NodeId(id)).filter(|id| id.0 != NONE)
}

impl Links {
    pub fn none() -> Links {
        Links { service: NONE, wildcard: NONE, cut: NONE, parent_side: NONE, additional: Arc::default() }
    }
}

impl NodeName {
    /// Of labels and origin together, as they are.
    pub(super) fn of(labels: &[u8], origin: &[u8]) -> NodeName {
        let mut name = NodeName { octets: [0; MAX_NAME_OCTETS], len: labels.len() + origin.len() };
        match name.octets.get_mut(..labels.len() + origin.len()) {
            Some(place) => {
                let (front, back) = place.split_at_mut(labels.len());
                front.copy_from_slice(labels);
                back.copy_from_slice(origin);
            }
            None => name.len = 1, // there is no such name
        }
        name
    }

    pub fn as_wire(&self) -> &[u8] {
        &self.octets[..self.len]
    }
}
