//! Every name that is served, in one table: found by the hash of the lower-cased wire name.
//!
//! Comes from the model's zones and services, once per load; a query then reads. Names that exist
//! only because something is below them (empty non-terminals, RFC 4592 section 2.2.2) stand in
//! the table too, so a name's closest encloser is the longest suffix that is in it.

use std::collections::{BTreeMap, HashMap};

use crate::model::{Model, Name, RecordType, RrSet, ServiceId, Zone};

use super::index::{Hashing, Index, LowerName, NameHash};
use super::ready::{Ready, Spot};

/// Indexes the table it came from, and no other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeId(pub(super) u32);

/// All names of all zones.
#[derive(Debug, Default)]
pub struct NameTable {
    nodes: Vec<Node>,
    /// To nodes while they are made, then to spots.
    index: Index,
    zones: Vec<ZoneTop>,
    ready: Ready,
    /// How many labels the longest name has.
    deepest: usize,
    /// How many labels origins have: the fewest, and the most.
    origins: (usize, usize),
}

/// What a query needs of a zone besides its nodes.
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
    sets: Box<[EncodedSet]>,
    service: Option<ServiceId>,
    /// The `*` below this name (RFC 4592 section 2.1.1).
    wildcard: Option<NodeId>,
    /// The zone cut at or above this name: its data is another zone's, or glue.
    cut: Option<NodeId>,
    /// For an apex whose parent zone is served here too: the delegation there, which holds DS.
    parent_side: Option<NodeId>,
}

/// An RRset ready to be copied.
#[derive(Debug)]
pub struct EncodedSet {
    pub rtype: RecordType,
    pub ttl: u32,
    pub rdatas: Box<[EncodedRdata]>,
    /// Nodes whose addresses go into the additional section (RFC 1034 section 4.3.2 step 6).
    pub additional: Box<[NodeId]>,
}

#[derive(Debug)]
pub struct EncodedRdata {
    pub wire: Box<[u8]>,
    /// Where names that may be compressed begin in `wire` (RFC 3597 section 4); ascending.
    pub names: Box<[u16]>,
}

/// What a name was found to be.
#[derive(Clone, Copy, Debug)]
pub enum Found<T> {
    /// The name itself is in the table.
    Exact(T),
    /// It is not; the closest encloser is, and this is how many of the name's octets are in front.
    Below { encloser: T, prefix_octets: usize },
    /// No zone here holds it.
    Outside,
}

impl NameTable {
    pub fn build(model: &Model) -> NameTable {
        let mut table = NameTable { origins: (usize::MAX, 0), ..NameTable::default() };
        let origins = model.zones.iter().enumerate().map(|(index, zone)| (zone.origin.clone(), index as u32)).collect();
        for (index, zone) in model.zones.iter().enumerate() {
            table.zones.push(ZoneTop {
                origin: zone.origin.to_lowercase().as_wire().into(),
                negative_soa: negative_soa(zone),
            });
            let labels = zone.origin.label_count();
            table.origins = (table.origins.0.min(labels), table.origins.1.max(labels));
            table.add_zone(index as u32, model, &origins);
        }
        table.join_nested_zones(model, &origins);
        table.add_services(model);
        table.link_wildcards();
        table.link_cuts();
        table.link_additional();
        table.make_ready();
        table
    }

    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0 as usize] // ids come from this table alone
    }

    /// Every name in lower-cased wire form with its node, in the order they were made in.
    pub fn iter(&self) -> impl Iterator<Item = (Box<[u8]>, NodeId)> {
        let found = |node: &Node| match self.find(&LowerName::of(&node.name)) {
            Found::Exact(id) => Some((node.name.to_lowercase().as_wire().into(), id)),
            _ => None,
        };
        // The parent's half of a delegation has the name of another node, which is the one that is found.
        let is_itself = move |(index, node): (usize, &Node)| found(node).filter(|(_, id)| id.0 as usize == index);
        self.nodes.iter().enumerate().filter_map(is_itself)
    }

    /// How many names there are.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// Finds a name.
    pub fn find(&self, name: &LowerName) -> Found<NodeId> {
        match self.find_spot(name) {
            Found::Exact(spot) => Found::Exact(spot.node()),
            Found::Below { encloser, prefix_octets } => Found::Below { encloser: encloser.node(), prefix_octets },
            Found::Outside => Found::Outside,
        }
    }

    /// Finds a name, with what is ready for it.
    #[inline]
    pub fn find_spot(&self, name: &LowerName) -> Found<Spot<'_>> {
        let labels = name.labels();
        if labels <= self.deepest
            && let Some(spot) = self.spot_of(name.as_wire(), name.hash())
        {
            return Found::Exact(spot);
        }
        self.find_encloser(name)
    }

    /// From the top down: below an origin every name exists down to the closest encloser, so the first
    /// that is missing ends the search. Nobody's many labels cost more than the deepest name has.
    fn find_encloser(&self, name: &LowerName) -> Found<Spot<'_>> {
        let (fewest, most) = self.origins;
        let above = name.labels().min(self.deepest + 1);
        if fewest >= above {
            return Found::Outside;
        }
        let mut found = Found::Outside;
        let mut hashing = Hashing::of(name);
        for labels in fewest..above {
            let prefix_octets = name.start_of_last(labels);
            match self.spot_of(name.last(labels), hashing.from(prefix_octets)) {
                Some(encloser) => found = Found::Below { encloser, prefix_octets },
                None if labels < most && matches!(found, Found::Outside) => {}
                None => break,
            }
        }
        found
    }

    /// The spot of a whole name in lower case.
    #[inline]
    fn spot_of(&self, wire: &[u8], hash: NameHash) -> Option<Spot<'_>> {
        self.index.find(hash, |at| self.ready.spot(at).filter(|spot| spot.name() == wire))
    }

    /// Whether names are so many that most of what is asked lies in no cache of a core.
    pub fn outgrows_caches(&self) -> bool {
        const CACHE: usize = 2 << 20;
        self.index.memory_bytes() + self.ready.memory_bytes_of_spots() > CACHE
    }

    /// Has the processor fetch where the search for a name with this hash begins.
    #[inline]
    pub fn fetch_index(&self, hash: NameHash) {
        self.index.fetch(hash);
    }

    /// Has it fetch what is ready for a name with this hash, where there seems to be one.
    #[inline]
    pub fn fetch_spot(&self, hash: NameHash) {
        if let Some(at) = self.index.find(hash, Some) {
            self.ready.fetch(at);
        }
    }

    /// What is ready for spots.
    #[inline]
    pub fn ready(&self) -> &Ready {
        &self.ready
    }

    /// The SOA that proves a negative answer for names in this node's zone.
    pub fn negative_soa(&self, node: &Node) -> Option<&EncodedSet> {
        self.zones.get(node.zone as usize)?.negative_soa.as_ref()
    }

    /// The wire octets of the origin of this node's zone, in lower case.
    pub fn origin(&self, node: &Node) -> &[u8] {
        self.zones.get(node.zone as usize).map_or(&[0], |zone| &zone.origin)
    }

    /// The service at a name, for tools that know it by text.
    pub fn service_at(&self, name: &Name) -> Option<ServiceId> {
        match self.find(&LowerName::of(name)) {
            Found::Exact(id) => self.node(id).service,
            Found::Below { encloser, .. } => self.node(self.node(encloser).wildcard?).service,
            Found::Outside => None,
        }
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
                self.nodes[id.0 as usize].sets = sets.iter().map(encode).collect();
            } else if at_origin {
                self.add_parent_side(index, model, name, sets);
            }
        }
    }

    /// Keeps the parent's half of a delegation to a zone that is served here too.
    fn add_parent_side(&mut self, zone: u32, model: &Model, name: &Name, sets: &[RrSet]) {
        let delegation = self.push(Node { sets: sets.iter().map(encode).collect(), ..Node::empty(zone, name) });
        // The child's apex may not be there yet: whichever zone comes first makes the node, and
        // `ensure` gives it to the zone whose apex it is.
        let apex = self.ensure(zone, &model.zones[zone as usize], name);
        self.nodes[apex.0 as usize].parent_side = Some(delegation);
    }

    /// The node of a name, made with its empty non-terminals if need be.
    fn ensure(&mut self, zone: u32, of: &Zone, name: &Name) -> NodeId {
        let lower = LowerName::of(name);
        let hash = lower.hash();
        if let Some(id) = self.known(lower.as_wire(), hash) {
            if of.origin == *name {
                self.nodes[id.0 as usize].zone = zone;
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
        let is = |id: &u32| self.nodes[*id as usize].name.as_wire().eq_ignore_ascii_case(wire);
        self.index.find(hash, |id| Some(id).filter(is)).map(NodeId)
    }

    fn known_name(&self, name: &LowerName) -> Option<NodeId> {
        self.known(name.as_wire(), name.hash())
    }

    /// Names between a zone and one nested in it exist, though they may hold nothing. So does the
    /// parent's side of the nested apex: questions for DS are the parent's, whether it delegates or not.
    fn join_nested_zones(&mut self, model: &Model, origins: &HashMap<Name, u32>) {
        for (index, zone) in model.zones.iter().enumerate() {
            let Some(above) = zone.origin.parent() else { continue };
            let Some((outer, _)) = holder(&above, origins) else { continue };
            self.ensure(outer, &model.zones[outer as usize], &above);
            let apex = self.ensure(index as u32, zone, &zone.origin);
            if self.node(apex).parent_side.is_none() {
                self.add_parent_side(outer, model, &zone.origin, &[]);
            }
        }
    }

    fn push(&mut self, node: Node) -> NodeId {
        self.nodes.push(node);
        NodeId((self.nodes.len() - 1) as u32) // 64 MiB of zone text cannot make 2^32 names
    }

    fn add_services(&mut self, model: &Model) {
        for id in model.service_ids() {
            let service = model.service(id);
            let node = self.ensure(service.zone.0, model.zone(service.zone), &service.name);
            self.nodes[node.0 as usize].service = Some(id);
        }
    }

    fn link_wildcards(&mut self) {
        for index in 0..self.nodes.len() {
            let name = &self.nodes[index].name;
            if !name.is_wildcard() {
                continue;
            }
            let parent = name.parent().and_then(|parent| self.known_name(&LowerName::of(&parent)));
            if let Some(parent) = parent {
                self.nodes[parent.0 as usize].wildcard = Some(NodeId(index as u32));
            }
        }
    }

    fn link_cuts(&mut self) {
        for index in 0..self.nodes.len() {
            let zone = self.nodes[index].zone as usize;
            let mut origin = LowerName::new();
            origin.read(&self.zones[zone].origin);
            let name = LowerName::of(&self.nodes[index].name);
            let mut hashing = Hashing::of(&name);
            // The cut nearest to the apex wins: what is below it belongs to another zone.
            let cut = (origin.labels() + 1..=name.labels()).find_map(|labels| {
                let id = self.known(name.last(labels), hashing.from(name.start_of_last(labels)))?;
                self.node(id).set(RecordType::NS).map(|_| id)
            });
            self.nodes[index].cut = cut;
        }
    }

    fn link_additional(&mut self) {
        for index in 0..self.nodes.len() {
            let zone = self.nodes[index].zone;
            for set in 0..self.nodes[index].sets.len() {
                let targets = additional_targets(&self.nodes[index].sets[set]);
                let mut name = LowerName::new();
                let mut in_zone = |target: &[u8]| {
                    name.read(target)?;
                    let id = self.known_name(&name)?;
                    let node = self.node(id);
                    let has_address = [RecordType::A, RecordType::AAAA].iter().any(|t| node.set(*t).is_some());
                    (node.zone == zone && has_address).then_some(id)
                };
                let mut additional: Vec<NodeId> = Vec::new();
                for id in targets.iter().filter_map(|target| in_zone(target)) {
                    if !additional.contains(&id) {
                        additional.push(id);
                    }
                }
                self.nodes[index].sets[set].additional = additional.into();
            }
        }
    }

    /// From here on names are found by their spots.
    fn make_ready(&mut self) {
        let is_found = |id: &NodeId| self.known_name(&LowerName::of(self.node(*id).name())) == Some(*id);
        let found: Vec<NodeId> = (0..self.nodes.len() as u32).map(NodeId).filter(is_found).collect();
        let (ready, places) = Ready::build(self, &found);
        self.ready = ready;
        self.index.finish(|id| places[id as usize]);
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

    /// Which of the model's zones it is in.
    pub(super) fn zone(&self) -> usize {
        self.zone as usize
    }

    pub(super) fn sets(&self) -> &[EncodedSet] {
        &self.sets
    }

    pub fn set(&self, rtype: RecordType) -> Option<&EncodedSet> {
        self.sets.iter().find(|set| set.rtype == rtype)
    }

    /// Whether there are no static records here.
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

fn encode(set: &RrSet) -> EncodedSet {
    EncodedSet {
        rtype: set.rtype,
        ttl: set.ttl.as_secs(),
        rdatas: set
            .rdatas
            .iter()
            .map(|wire| EncodedRdata { wire: wire.clone(), names: compressible_names(set.rtype, wire).into() })
            .collect(),
        additional: Box::default(),
    }
}

/// Where names begin in the RDATA of the types of RFC 1035, the only ones whose names may be
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

/// Groups records into RRsets, for tests and generators.
pub fn group(records: Vec<crate::model::Record>) -> BTreeMap<Name, Vec<RrSet>> {
    let mut nodes: BTreeMap<Name, Vec<RrSet>> = BTreeMap::new();
    for record in records {
        let sets = nodes.entry(record.owner).or_default();
        match sets.iter_mut().find(|set| set.rtype == record.rtype) {
            Some(set) => set.rdatas.push(record.rdata),
            None => sets.push(RrSet { rtype: record.rtype, ttl: record.ttl, rdatas: vec![record.rdata] }),
        }
    }
    nodes
}
