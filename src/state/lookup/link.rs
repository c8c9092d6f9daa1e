//! Makes the nodes of all names, and links them: empty non-terminals, wildcards, zone cuts, and the addresses that go
//! with records.
//!
//! In: a model. Out: [`Nodes`], and the [`Index`] that finds them. Each link is made for one node, so that a table of
//! names that differ in little can be made from an earlier one.

use std::collections::HashMap;

use crate::model::name::wire_len;
use crate::model::{Model, Name, RecordType, RrSet, Ttl, Zone};
use crate::wire::name::LowerName;

use super::index::{Hashing, Index, NameHash};
use super::nodes::{BARE, Links, NONE, NodeId, NodeName, Nodes, Slot, ZoneTop};

/// Nodes as they are made, and how their names are found.
#[derive(Debug, Default)]
pub(super) struct Built {
    pub nodes: Nodes,
    /// Names to nodes.
    pub index: Index,
    pub depths: Depths,
}

/// The depths at which names are looked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Depths {
    /// The number of labels of the longest name.
    pub deepest: usize,
    /// The numbers of labels of origins: the fewest, and the most.
    pub origins: (usize, usize),
}

impl Default for Depths {
    fn default() -> Depths {
        Depths { deepest: 0, origins: (usize::MAX, 0) }
    }
}

/// Origins in lower-cased wire form, with the indexes of their zones.
pub(super) type Origins = HashMap<Box<[u8]>, u32>;

/// Nodes that links are made between, however they are found.
pub(super) trait Linked {
    fn nodes(&self) -> &Nodes;

    fn nodes_mut(&mut self) -> &mut Nodes;

    /// The node of a name in lower case.
    fn known(&self, wire: &[u8], hash: NameHash) -> Option<NodeId>;

    /// Takes up a node whose name was not known.
    fn insert(&mut self, name: &[u8], hash: NameHash, labels: usize, slot: Slot) -> NodeId;

    fn known_name(&self, name: &LowerName) -> Option<NodeId> {
        self.known(name.as_wire(), NameHash::new(name))
    }

    /// The node of a name at or below the origin of its zone, made with its empty non-terminals if need be. `None`
    /// where the name is outside.
    fn ensure(&mut self, zone: u32, name: &LowerName) -> Option<NodeId> {
        let top = self.nodes().zones.get(zone as usize)?;
        let (origin, apex) = (top.origin.clone(), top.labels);
        if name.labels() < apex || name.last(apex) != &*origin {
            return None;
        }
        let mut made = None;
        for labels in (apex..=name.labels()).rev() {
            let wire = name.last(labels);
            let hash = Hashing::new(name).from(name.start_of_last(labels));
            if let Some(id) = self.known(wire, hash) {
                if labels == apex {
                    self.claim(id, zone);
                }
                return Some(made.unwrap_or(id));
            }
            let before = wire.get(..wire.len() - origin.len()).unwrap_or_default();
            let place = self.nodes_mut().keep_bare(before);
            let id = self.insert(wire, hash, labels, Slot { zone, place, links: NONE });
            made.get_or_insert(id);
        }
        made
    }

    /// Whichever zone comes first makes the node of an apex; it is that of the zone whose apex it is.
    fn claim(&mut self, id: NodeId, zone: u32) {
        let nodes = self.nodes_mut();
        let is_own = nodes.slots.get(id.0 as usize).is_some_and(|slot| slot.zone == zone);
        if !is_own {
            let place = nodes.keep_bare(&[]);
            if let Some(slot) = nodes.slots.get_mut(id.0 as usize) {
                (slot.zone, slot.place) = (zone, place);
            }
        }
    }

    /// Links the name that a wildcard is below to it.
    fn link_wildcard(&mut self, id: NodeId) -> Option<NodeId> {
        let node = self.nodes().node(id);
        let first = node.labels().first().or(node.origin().first());
        if first != Some(&1) {
            return None; // the usual case: no label of one octet
        }
        let name = node.name();
        let parent = name.as_wire().strip_prefix(b"\x01*")?;
        let mut lower = LowerName::new();
        lower.read(parent)?;
        let parent = self.known_name(&lower)?;
        self.nodes_mut().links_mut(parent).wildcard = id.0;
        Some(parent)
    }

    /// The cut nearest to the apex wins: what is below it belongs to another zone.
    fn link_cut(&mut self, id: NodeId) {
        let node = self.nodes().node(id);
        let Some(top) = self.nodes().zones.get(node.zone()).filter(|top| top.has_cuts || top.has_nested) else {
            return;
        };
        let mut name = LowerName::new();
        name.read(node.name().as_wire());
        let mut hashing = Hashing::new(&name);
        let cut = (top.labels + 1..=name.labels()).find_map(|labels| {
            let id = self.known(name.last(labels), hashing.from(name.start_of_last(labels)))?;
            self.nodes().node(id).set(RecordType::NS).map(|_| id)
        });
        if let Some(cut) = cut {
            self.nodes_mut().links_mut(id).cut = cut.0;
        }
    }

    /// Links the addresses that go with a node's records.
    fn link_additional(&mut self, id: NodeId) {
        let node = self.nodes().node(id);
        let zone = node.zone();
        let mut name = LowerName::new();
        let mut additional: Vec<(RecordType, NodeId)> = Vec::new();
        for set in node.sets() {
            for target in additional_targets(&set.records) {
                let found = name.read(target).and_then(|_| self.known_name(&name));
                let Some(found) = found.filter(|&found| has_addresses_in(self.nodes(), found, zone)) else { continue };
                let link = (set.records.rtype, found);
                if !additional.contains(&link) {
                    additional.push(link);
                }
            }
        }
        if !additional.is_empty() || node.has_additional() {
            self.nodes_mut().links_mut(id).additional = additional.into();
        }
    }
}

fn has_addresses_in(nodes: &Nodes, id: NodeId, zone: usize) -> bool {
    let node = nodes.node(id);
    node.zone() == zone && [RecordType::A, RecordType::AAAA].iter().any(|&rtype| node.set(rtype).is_some())
}

impl Linked for Built {
    fn nodes(&self) -> &Nodes {
        &self.nodes
    }

    fn nodes_mut(&mut self) -> &mut Nodes {
        &mut self.nodes
    }

    fn known(&self, wire: &[u8], hash: NameHash) -> Option<NodeId> {
        let is = |id: &u32| {
            let node = self.nodes.node(NodeId(*id));
            let (labels, origin) = (node.labels(), node.origin());
            wire.len() == labels.len() + origin.len() && wire.starts_with(labels) && wire.ends_with(origin)
        };
        self.index.find(hash, |id| Some(id).filter(is)).map(NodeId)
    }

    fn insert(&mut self, _: &[u8], hash: NameHash, labels: usize, slot: Slot) -> NodeId {
        let id = self.nodes.push(slot);
        self.index.insert(hash, id.0);
        self.depths.deepest = self.depths.deepest.max(labels);
        id
    }
}

/// Nodes that are not in the index yet, while the processor fetches where they go: a million names are put in at random,
/// and one by one each would wait for memory.
#[derive(Default)]
struct Ahead(Vec<(NameHash, NodeId)>);

impl Ahead {
    /// As many as memory is asked for at once.
    const MOST: usize = 16;

    /// Tells whether they are enough.
    fn push(&mut self, hash: NameHash, id: NodeId) -> bool {
        self.0.push((hash, id));
        self.0.len() >= Ahead::MOST
    }

    fn insert_into(&mut self, index: &mut Index) {
        self.0.drain(..).for_each(|(hash, id)| index.insert(hash, id.0));
    }
}

impl Built {
    /// Makes the nodes of all zones and services.
    pub fn new(model: &Model) -> Built {
        let names: usize = model.zones.iter().map(|zone| zone.nodes.len()).sum();
        let mut built = Built { index: Index::with_room_for(names + model.services.len()), ..Built::default() };
        built.nodes.slots.reserve(names);
        let origins = origins_of(model);
        for zone in &model.zones {
            let top = ZoneTop::new(zone);
            built.depths.origins = (built.depths.origins.0.min(top.labels), built.depths.origins.1.max(top.labels));
            built.nodes.zones.push(top);
        }
        mark_nested(&mut built.nodes.zones, &origins);
        for zone in 0..model.zones.len() as u32 {
            built.add_zone(zone, &origins);
        }
        built.join_nested_zones(&origins);
        built.add_services(model);
        for id in (0..built.nodes.slots.len() as u32).map(NodeId) {
            built.link_wildcard(id);
            built.link_cut(id);
        }
        for at in 0..built.nodes.pointing.len() {
            built.link_additional(NodeId(built.nodes.pointing[at]));
        }
        built
    }

    /// The nodes that are found by their names: all but the parent's halves of delegations.
    pub fn found(&self) -> Vec<NodeId> {
        let halves: Vec<u32> =
            self.nodes.links.iter().map(|links| links.parent_side).filter(|&id| id != NONE).collect();
        let halves: std::collections::HashSet<u32> = halves.into_iter().collect();
        (0..self.nodes.slots.len() as u32).filter(|id| !halves.contains(id)).map(NodeId).collect()
    }

    fn add_zone(&mut self, zone: u32, origins: &Origins) {
        let Some(top) = self.nodes.zones.get(zone as usize) else { return };
        let (nodes, origin, has_nested) = (top.nodes.clone(), top.origin.clone(), top.has_nested);
        let mut name = LowerName::new();
        name.read(&origin);
        let apex = self.ensure(zone, &name);
        let (mut above, mut ahead): (Vec<u8>, _) = (Vec::new(), Ahead::default());
        for &place in nodes.places() {
            let node = nodes.at(place);
            let labels = node.labels();
            let wire = NodeName::of(labels, &origin);
            if has_nested {
                // Where a child zone is served here too, its names are its own; only the delegation to it stays.
                match holder(wire.as_wire(), origins) {
                    Some((inner, _)) if inner == zone => {}
                    Some((_, true)) => {
                        self.add_parent_side(zone, wire.as_wire(), Some(place));
                        continue;
                    }
                    _ => continue,
                }
            }
            name.read(wire.as_wire());
            let id = match apex {
                Some(apex) if labels.is_empty() => apex,
                // In canonical order what is above a name comes before it, so it cannot be known yet.
                _ if !has_nested => {
                    let hash = NameHash::new(&name);
                    self.index.fetch(hash);
                    let id = self.nodes.push(Slot { zone, place, links: NONE });
                    self.depths.deepest = self.depths.deepest.max(name.labels());
                    if ahead.push(hash, id) {
                        ahead.insert_into(&mut self.index);
                    }
                    id
                }
                _ => match self.ensure(zone, &name) {
                    Some(id) => id,
                    None => continue,
                },
            };
            self.nodes.set_place(id, place);
            let parent = labels.split_first().and_then(|(&len, rest)| rest.get(usize::from(len)..)).unwrap_or_default();
            if !parent.is_empty() && parent != above {
                above = parent.to_vec();
                let labels_above = name.labels() - 1;
                ahead.insert_into(&mut self.index);
                let mut upper = LowerName::new();
                upper.read(name.last(labels_above));
                self.ensure(zone, &upper);
            }
        }
        ahead.insert_into(&mut self.index);
    }

    /// Keeps the parent's half of a delegation to a zone that is served here too.
    fn add_parent_side(&mut self, zone: u32, name: &[u8], place: Option<u32>) {
        let Some(top) = self.nodes.zones.get(zone as usize) else { return };
        let before = name.get(..name.len().saturating_sub(top.origin.len())).unwrap_or_default();
        let bare = self.nodes.keep_bare(before);
        let half = self.nodes.push(Slot { zone, place: bare, links: NONE });
        if let Some(place) = place {
            self.nodes.set_place(half, place);
        }
        // The child's apex may not be there yet.
        let mut lower = LowerName::new();
        let apex = lower.read(name).and_then(|_| self.ensure(zone, &lower));
        if let Some(apex) = apex {
            self.nodes.links_mut(apex).parent_side = half.0;
        }
    }

    /// Names between a zone and one nested in it exist, though they may hold nothing. So does the
    /// parent's side of the nested apex: questions for DS are the parent's, whether it delegates or not.
    fn join_nested_zones(&mut self, origins: &Origins) {
        for zone in 0..self.nodes.zones.len() as u32 {
            let origin = self.nodes.zones[zone as usize].origin.clone();
            let above = origin.split_first().and_then(|(&len, rest)| rest.get(usize::from(len)..));
            let Some(above) = above.filter(|above| !above.is_empty()) else { continue };
            let Some((outer, _)) = holder(above, origins) else { continue };
            let mut name = LowerName::new();
            name.read(above);
            self.ensure(outer, &name);
            name.read(&origin);
            let Some(apex) = self.ensure(zone, &name) else { continue };
            if self.nodes.node(apex).parent_side().is_none() {
                self.add_parent_side(outer, &origin, None);
            }
        }
    }

    fn add_services(&mut self, model: &Model) {
        for id in model.service_ids() {
            let service = model.service(id);
            if let Some(node) = self.ensure(service.zone.0, &LowerName::of(&service.name)) {
                self.nodes.links_mut(node).service = id.0;
            }
        }
    }
}

impl Nodes {
    pub(super) fn push(&mut self, slot: Slot) -> NodeId {
        self.slots.push(slot);
        NodeId((self.slots.len() - 1) as u32) // 64 MiB of text per zone cannot make 2^32 names
    }

    /// Keeps the labels of a name without records.
    fn keep_bare(&mut self, labels: &[u8]) -> u32 {
        let place = self.bare.len() as u32 | BARE;
        self.bare.push(labels.len() as u8); // part of a name
        self.bare.extend_from_slice(labels);
        place
    }

    /// The records of a node are at this place of its zone from now on.
    pub(super) fn set_place(&mut self, id: NodeId, place: u32) {
        let Some(slot) = self.slots.get_mut(id.0 as usize) else { return };
        slot.place = place;
        let Some(top) = self.zones.get_mut(slot.zone as usize) else { return };
        let node = top.nodes.at(place);
        let (mut points, mut cuts) = (false, false);
        for set in node.sets() {
            points |= target_at(set.rtype).is_some();
            cuts |= set.rtype == RecordType::NS && !node.labels().is_empty();
        }
        top.has_cuts |= cuts;
        if points && self.pointing.last().is_none_or(|&last| last < id.0) {
            self.pointing.push(id.0);
        } else if points && let Err(at) = self.pointing.binary_search(&id.0) {
            self.pointing.insert(at, id.0);
        }
    }

    /// A node that had records has none any more.
    pub(super) fn clear_place(&mut self, id: NodeId, labels: &[u8]) {
        let place = self.keep_bare(labels);
        if let Some(slot) = self.slots.get_mut(id.0 as usize) {
            slot.place = place;
        }
    }

    pub(super) fn links_mut(&mut self, id: NodeId) -> &mut Links {
        let slot = &mut self.slots[id.0 as usize]; // ids come from these nodes alone
        if slot.links == NONE {
            slot.links = self.links.len() as u32;
            self.links.push(Links::none());
        }
        &mut self.links[slot.links as usize]
    }
}

impl ZoneTop {
    pub fn new(zone: &Zone) -> ZoneTop {
        ZoneTop {
            origin: zone.origin.to_lowercase().as_wire().into(),
            labels: zone.origin.label_count(),
            nodes: zone.nodes.clone(),
            negative_ttl: negative_ttl(zone),
            has_nested: false,
            has_cuts: false,
        }
    }
}

/// The origins of all zones.
fn origins_of(model: &Model) -> Origins {
    let wire = |name: &Name| name.to_lowercase().as_wire().into();
    model.zones.iter().zip(0..).map(|(zone, index)| (wire(&zone.origin), index)).collect()
}

fn mark_nested(zones: &mut [ZoneTop], origins: &Origins) {
    for index in 0..zones.len() {
        let origin = zones[index].origin.clone();
        for above in suffixes(&origin).skip(1) {
            if let Some(&outer) = origins.get(above) {
                zones[outer as usize].has_nested = true;
            }
        }
    }
}

/// A name and those it ends in, the longest first.
fn suffixes(wire: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut next = Some(wire);
    std::iter::from_fn(move || {
        let this = next?;
        next = match this.split_first() {
            Some((&len, rest)) if len != 0 => rest.get(usize::from(len)..),
            _ => None,
        };
        Some(this)
    })
}

/// The zone with the longest origin that a name is at or below, and whether it is that origin.
fn holder(name: &[u8], origins: &Origins) -> Option<(u32, bool)> {
    suffixes(name).find_map(|suffix| Some((*origins.get(suffix)?, suffix.len() == name.len())))
}

/// The offset in RDATA of a name whose addresses help whoever gets the record: RFC 1035 section 3.3 (NS, MX), RFC 2782
/// (SRV), RFC 9460 section 4.1 (SVCB, HTTPS).
fn target_at(rtype: RecordType) -> Option<usize> {
    match rtype {
        RecordType::NS => Some(0),
        RecordType::MX | RecordType::SVCB | RecordType::HTTPS => Some(2),
        RecordType::SRV => Some(6),
        _ => None,
    }
}

/// The names in an RRset whose addresses help.
pub(super) fn additional_targets<'z>(set: &RrSet<'z>) -> impl Iterator<Item = &'z [u8]> + use<'z> {
    let at = target_at(set.rtype);
    let target = move |rdata: &'z [u8]| {
        let rest = rdata.get(at?..)?;
        rest.get(..wire_len(rest)?)
    };
    let rdatas = at.map(|_| set.rdatas()).into_iter().flatten();
    rdatas.filter_map(target)
}

fn negative_ttl(zone: &Zone) -> Ttl {
    let soa = zone.nodes.apex().and_then(|apex| apex.set(RecordType::SOA));
    let minimum = soa.and_then(|soa| soa.rdatas().next()?.last_chunk::<4>().copied()).map(u32::from_be_bytes);
    soa.map_or(Ttl::default(), |soa| soa.ttl.min(Ttl::saturating(minimum.unwrap_or(u32::MAX))))
}
