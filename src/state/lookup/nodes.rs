//! Every name of all zones as a node: its records, its service, and the nodes it leads to.
//!
//! Comes from the model's zones and services, once per load. Names that exist only because something
//! is below them (empty non-terminals, RFC 4592 section 2.2.2) have nodes too, so a name's closest
//! encloser is the longest suffix that has one.

use std::collections::HashMap;

use crate::model::{Model, Name, RecordType, RrSet, ServiceId, Zone};
use crate::wire::name::LowerName;
use crate::wire::records::{EncodedRdata, EncodedSet};

use super::index::{Hashing, Index, NameHash};

/// Indexes the nodes it came from, and no other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeId(pub(super) u32);

/// The nodes of all names, and the zones they are in.
#[derive(Debug, Default)]
pub struct Nodes {
    nodes: Vec<Node>,
    zones: Vec<ZoneTop>,
}

/// The facts that a query needs of a zone besides its nodes.
#[derive(Debug)]
struct ZoneTop {
    origin: Box<[u8]>,
    /// SOA with the TTL of negative answers: the lesser of its own and MINIMUM (RFC 2308 section 3).
    negative_soa: Option<EncodedSet>,
}

/// One name.
#[derive(Debug)]
pub struct Node {
    zone: u32,
    name: Name,
    sets: Box<[NodeSet]>,
    service: Option<ServiceId>,
    /// The `*` below this name (RFC 4592 section 2.1.1).
    wildcard: Option<NodeId>,
    /// The zone cut at or above this name: its data is another zone's, or glue.
    cut: Option<NodeId>,
    /// For an apex whose parent zone is served here too: the delegation there, which holds DS.
    parent_side: Option<NodeId>,
}

/// An RRset of a node.
#[derive(Debug)]
pub struct NodeSet {
    pub records: EncodedSet,
    /// Nodes whose addresses go into the additional section (RFC 1034 section 4.3.2 step 6).
    pub additional: Box<[NodeId]>,
}

/// Nodes as they are made, and how their names are found.
pub(super) struct Built {
    pub nodes: Nodes,
    /// Names to nodes.
    pub index: Index,
    /// The number of labels of the longest name.
    pub deepest: usize,
    /// The numbers of labels of origins: the fewest, and the most.
    pub origins: (usize, usize),
}

impl Nodes {
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0 as usize] // ids come from these nodes alone
    }

    /// All nodes in the order they were made in, which is that of their ids.
    pub fn iter(&self) -> impl Iterator<Item = (NodeId, &Node)> {
        (0..).map(NodeId).zip(&self.nodes)
    }

    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// The SOA that proves a negative answer for names in this node's zone.
    pub fn negative_soa(&self, node: &Node) -> Option<&EncodedSet> {
        self.zones.get(node.zone as usize)?.negative_soa.as_ref()
    }

    /// The wire octets of the origin of this node's zone, in lower case.
    pub fn origin(&self, node: &Node) -> &[u8] {
        self.zones.get(node.zone as usize).map_or(&[0], |zone| &zone.origin)
    }
}

impl Built {
    /// Makes the nodes of all zones and services.
    pub fn new(model: &Model) -> Built {
        let (nodes, index) = (Nodes::default(), Index::default());
        let mut built = Built { nodes, index, deepest: 0, origins: (usize::MAX, 0) };
        let origins = model.zones.iter().enumerate().map(|(index, zone)| (zone.origin.clone(), index as u32)).collect();
        for (index, zone) in model.zones.iter().enumerate() {
            built.nodes.zones.push(ZoneTop {
                origin: zone.origin.to_lowercase().as_wire().into(),
                negative_soa: negative_soa(zone),
            });
            let labels = zone.origin.label_count();
            built.origins = (built.origins.0.min(labels), built.origins.1.max(labels));
            built.add_zone(index as u32, model, &origins);
        }
        built.join_nested_zones(model, &origins);
        built.add_services(model);
        built.link_wildcards();
        built.link_cuts();
        built.link_additional();
        built
    }

    /// The nodes that are found by their names: all but the parent's halves of delegations.
    pub fn found(&self) -> Vec<NodeId> {
        let is_found = |node: &Node| self.known_name(&LowerName::of(&node.name));
        self.nodes.iter().filter(|(id, node)| is_found(node) == Some(*id)).map(|(id, _)| id).collect()
    }

    fn add_zone(&mut self, index: u32, model: &Model, origins: &HashMap<Name, u32>) {
        let zone = &model.zones[index as usize];
        self.ensure(index, zone, &zone.origin);
        for (name, sets) in &zone.nodes {
            // Where a child zone is served here too, its names are its own; only the delegation
            // to it stays.
            let Some((inner, at_origin)) = holder(name, origins) else { continue };
            if inner == index {
                let id = self.ensure(index, zone, name);
                self.nodes.nodes[id.0 as usize].sets = node_sets(sets);
            } else if at_origin {
                self.add_parent_side(index, model, name, sets);
            }
        }
    }

    /// Keeps the parent's half of a delegation to a zone that is served here too.
    fn add_parent_side(&mut self, zone: u32, model: &Model, name: &Name, sets: &[RrSet]) {
        let delegation = self.push(Node { sets: node_sets(sets), ..Node::empty(zone, name) });
        // The child's apex may not be there yet: whichever zone comes first makes the node, and
        // `ensure` gives it to the zone whose apex it is.
        let apex = self.ensure(zone, &model.zones[zone as usize], name);
        self.nodes.nodes[apex.0 as usize].parent_side = Some(delegation);
    }

    /// The node of a name, made with its empty non-terminals if need be.
    fn ensure(&mut self, zone: u32, of: &Zone, name: &Name) -> NodeId {
        let lower = LowerName::of(name);
        let hash = NameHash::new(&lower);
        if let Some(id) = self.known(lower.as_wire(), hash) {
            if of.origin == *name {
                self.nodes.nodes[id.0 as usize].zone = zone;
            }
            return id;
        }
        let id = self.push(Node::empty(zone, name));
        self.index.insert(hash, id.0);
        self.deepest = self.deepest.max(lower.labels());
        if *name != of.origin
            && let Some(parent) = name.parent()
        {
            self.ensure(zone, of, &parent);
        }
        id
    }

    /// The node of a name, while nodes are made.
    fn known(&self, wire: &[u8], hash: NameHash) -> Option<NodeId> {
        let is = |id: &u32| self.nodes.nodes[*id as usize].name.as_wire().eq_ignore_ascii_case(wire);
        self.index.find(hash, |id| Some(id).filter(is)).map(NodeId)
    }

    fn known_name(&self, name: &LowerName) -> Option<NodeId> {
        self.known(name.as_wire(), NameHash::new(name))
    }

    /// Names between a zone and one nested in it exist, though they may hold nothing. So does the
    /// parent's side of the nested apex: questions for DS are the parent's, whether it delegates or not.
    fn join_nested_zones(&mut self, model: &Model, origins: &HashMap<Name, u32>) {
        for (index, zone) in model.zones.iter().enumerate() {
            let Some(above) = zone.origin.parent() else { continue };
            let Some((outer, _)) = holder(&above, origins) else { continue };
            self.ensure(outer, &model.zones[outer as usize], &above);
            let apex = self.ensure(index as u32, zone, &zone.origin);
            if self.nodes.node(apex).parent_side.is_none() {
                self.add_parent_side(outer, model, &zone.origin, &[]);
            }
        }
    }

    fn push(&mut self, node: Node) -> NodeId {
        self.nodes.nodes.push(node);
        NodeId((self.nodes.len() - 1) as u32) // 64 MiB of zone text cannot make 2^32 names
    }

    fn add_services(&mut self, model: &Model) {
        for id in model.service_ids() {
            let service = model.service(id);
            let node = self.ensure(service.zone.0, model.zone(service.zone), &service.name);
            self.nodes.nodes[node.0 as usize].service = Some(id);
        }
    }

    fn link_wildcards(&mut self) {
        for index in 0..self.nodes.len() {
            let name = &self.nodes.nodes[index].name;
            if !name.is_wildcard() {
                continue;
            }
            let parent = name.parent().and_then(|parent| self.known_name(&LowerName::of(&parent)));
            if let Some(parent) = parent {
                self.nodes.nodes[parent.0 as usize].wildcard = Some(NodeId(index as u32));
            }
        }
    }

    fn link_cuts(&mut self) {
        for index in 0..self.nodes.len() {
            let zone = self.nodes.nodes[index].zone as usize;
            let mut origin = LowerName::new();
            origin.read(&self.nodes.zones[zone].origin);
            let name = LowerName::of(&self.nodes.nodes[index].name);
            let mut hashing = Hashing::new(&name);
            // The cut nearest to the apex wins: what is below it belongs to another zone.
            let cut = (origin.labels() + 1..=name.labels()).find_map(|labels| {
                let id = self.known(name.last(labels), hashing.from(name.start_of_last(labels)))?;
                self.nodes.node(id).set(RecordType::NS).map(|_| id)
            });
            self.nodes.nodes[index].cut = cut;
        }
    }

    fn link_additional(&mut self) {
        for index in 0..self.nodes.len() {
            let zone = self.nodes.nodes[index].zone;
            for set in 0..self.nodes.nodes[index].sets.len() {
                let targets = additional_targets(&self.nodes.nodes[index].sets[set].records);
                let mut name = LowerName::new();
                let mut in_zone = |target: &[u8]| {
                    name.read(target)?;
                    let id = self.known_name(&name)?;
                    let node = self.nodes.node(id);
                    let has_address = [RecordType::A, RecordType::AAAA].iter().any(|t| node.set(*t).is_some());
                    (node.zone == zone && has_address).then_some(id)
                };
                let mut additional: Vec<NodeId> = Vec::new();
                for id in targets.iter().filter_map(|target| in_zone(target)) {
                    if !additional.contains(&id) {
                        additional.push(id);
                    }
                }
                self.nodes.nodes[index].sets[set].additional = additional.into();
            }
        }
    }
}

impl Node {
    fn empty(zone: u32, name: &Name) -> Node {
        Node {
            zone,
            name: name.clone(),
            sets: Box::default(),
            service: None,
            wildcard: None,
            cut: None,
            parent_side: None,
        }
    }

    pub fn name(&self) -> &Name {
        &self.name
    }

    /// The index of its zone among the model's.
    pub(super) fn zone(&self) -> usize {
        self.zone as usize
    }

    pub(super) fn sets(&self) -> &[NodeSet] {
        &self.sets
    }

    pub fn set(&self, rtype: RecordType) -> Option<&NodeSet> {
        self.sets.iter().find(|set| set.records.rtype == rtype)
    }

    /// Tells whether there are no static records here.
    pub fn is_bare(&self) -> bool {
        self.sets.is_empty()
    }

    pub fn service(&self) -> Option<ServiceId> {
        self.service
    }

    pub fn wildcard(&self) -> Option<NodeId> {
        self.wildcard
    }

    pub fn cut(&self) -> Option<NodeId> {
        self.cut
    }

    pub fn parent_side(&self) -> Option<NodeId> {
        self.parent_side
    }
}

/// The zone with the longest origin that `name` is at or below, and whether it is that origin.
fn holder(name: &Name, origins: &HashMap<Name, u32>) -> Option<(u32, bool)> {
    if let Some(&zone) = origins.get(name) {
        return Some((zone, true));
    }
    let mut above = name.parent();
    while let Some(name) = above {
        if let Some(&zone) = origins.get(&name) {
            return Some((zone, false));
        }
        above = name.parent();
    }
    None
}

/// The sets of a node, without links to others.
fn node_sets(sets: &[RrSet]) -> Box<[NodeSet]> {
    sets.iter().map(|set| NodeSet { records: encode(set), additional: Box::default() }).collect()
}

/// An RRset as messages hold it.
pub fn encode(set: &RrSet) -> EncodedSet {
    EncodedSet {
        rtype: set.rtype,
        ttl: set.ttl.as_secs(),
        rdatas: set
            .rdatas
            .iter()
            .map(|wire| EncodedRdata { wire: wire.clone(), names: compressible_names(set.rtype, wire).into() })
            .collect(),
    }
}

/// The offsets where names begin in the RDATA of the types of RFC 1035, the only ones whose names may be
/// compressed (RFC 3597 section 4).
fn compressible_names(rtype: RecordType, rdata: &[u8]) -> Vec<u16> {
    match rtype {
        RecordType::NS | RecordType::CNAME | RecordType::PTR => vec![0],
        RecordType::MX => vec![2],
        RecordType::SOA => match crate::model::name::wire_len(rdata) {
            Some(mname) => vec![0, mname as u16],
            None => vec![],
        },
        _ => vec![],
    }
}

/// Names whose addresses help whoever gets this RRset: RFC 1035 section 3.3 (NS, MX), RFC 2782
/// (SRV), RFC 9460 section 4.1 (SVCB, HTTPS).
fn additional_targets(set: &EncodedSet) -> Vec<Box<[u8]>> {
    let at = match set.rtype {
        RecordType::NS => 0,
        RecordType::MX | RecordType::SVCB | RecordType::HTTPS => 2,
        RecordType::SRV => 6,
        _ => return Vec::new(),
    };
    let target = |rdata: &EncodedRdata| {
        let rest = rdata.wire.get(at..)?;
        rest.get(..crate::model::name::wire_len(rest)?).map(Box::from)
    };
    set.rdatas.iter().filter_map(target).collect()
}

fn negative_soa(zone: &Zone) -> Option<EncodedSet> {
    let soa = zone.rrset(&zone.origin, RecordType::SOA)?;
    let rdata = soa.rdatas.first()?;
    let minimum = rdata.last_chunk::<4>().map(|octets| u32::from_be_bytes(*octets))?;
    let encoded = encode(soa);
    Some(EncodedSet { ttl: encoded.ttl.min(minimum), ..encoded })
}
