//! A table of names made from an earlier one: what did not change is shared, and what did is made anew.
//!
//! ```text
//!   two models ─▶ names whose records differ ─▶ nodes, links ─▶ names that lead to these ─▶ entries, templates
//! ```
//!
//! Comes in: the earlier table, its model, and the model that follows. Goes out: a table that answers as one would that
//! is made from the latter alone, or nothing: where origins or services differ, zones are nested in one another, a
//! delegation comes or goes above other names, or much has changed at once.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use crate::model::name::canonical_order;
use crate::model::{Model, RecordType, Zone, ZoneNodes};
use crate::wire::name::LowerName;

use super::index::{Index, NameHash};
use super::link::{Depths, Linked, additional_targets};
use super::nodes::{NONE, NodeId, NodeName, Nodes, Slot, ZoneTop};
use super::prebuilt::{Appender, Flags, NameEntry, Prebuilt, put_wildcard};

/// A part of all names, one in so many, that may change before all had better be made anew.
const PART: usize = 16;
/// So many may change however few there are.
const FEW: usize = 1_000;

/// So many places are compared together.
const BLOCK: usize = 256;

/// A name whose records differ.
struct Change {
    zone: u32,
    /// Before the origin.
    labels: Box<[u8]>,
    before: Option<u32>,
    after: Option<u32>,
}

/// The parts of a table of names.
#[derive(Clone, Copy)]
pub(super) struct Parts<'e> {
    pub nodes: &'e Nodes,
    pub index: &'e Index,
    pub prebuilt: &'e Prebuilt,
    pub depths: Depths,
}

/// The parts of the table that follows.
pub(super) struct Patched {
    pub nodes: Nodes,
    pub index: Index,
    pub prebuilt: Prebuilt,
    pub depths: Depths,
}

/// The table of the names of `model`, made from that of the names of `before`.
pub(super) fn after(earlier: Parts<'_>, before: &Model, model: &Model) -> Option<Patched> {
    if !have_same_frame(before, model) {
        return None;
    }
    let changes = changes(earlier, before, model)?;
    let mut patch = Patch::new(earlier, model);
    patch.take(before, model, &changes)?;
    patch.drop_names(model, &changes);
    patch.link(&changes);
    patch.finish()
}

/// Tells whether zones and services are where they were.
fn have_same_frame(before: &Model, model: &Model) -> bool {
    let zones = before.zones.len() == model.zones.len()
        && before.zones.iter().zip(&model.zones).all(|(old, new)| old.origin == new.origin);
    let services = before.services.len() == model.services.len()
        && before.services.iter().zip(&model.services).all(|(old, new)| old.zone == new.zone && old.name == new.name);
    zones && services
}

/// The names whose records differ, few enough and in zones that stand for themselves.
fn changes(earlier: Parts<'_>, before: &Model, model: &Model) -> Option<Vec<Change>> {
    let most = FEW.max(earlier.nodes.len() / PART);
    let mut changes = Vec::new();
    for (index, (old, new)) in before.zones.iter().zip(&model.zones).enumerate() {
        if old.nodes.is_same_as(&new.nodes) {
            continue;
        }
        let top = earlier.nodes.zones.get(index)?;
        let is_outside = |other: &Zone| other.origin == new.origin || !new.origin.is_at_or_below(&other.origin);
        let is_nested = !model.zones.iter().all(is_outside);
        if top.has_nested || is_nested {
            return None;
        }
        append_changes(index as u32, old, new, most, &mut changes)?;
    }
    Some(changes)
}

fn append_changes(zone: u32, old: &Zone, new: &Zone, most: usize, into: &mut Vec<Change>) -> Option<()> {
    let are_shared = new.nodes.shares_places_with(&old.nodes);
    let (before, after) = (old.nodes.places(), new.nodes.places());
    let labels = |nodes: &ZoneNodes, place: u32| Box::from(nodes.at(place).labels());
    let (mut i, mut j) = (0_usize, 0);
    loop {
        if are_shared && i.is_multiple_of(BLOCK) {
            let alike = alike_in_front(&before[i..], &after[j..]);
            (i, j) = (i + alike, j + alike);
        }
        let (a, b) = (before.get(i).copied(), after.get(j).copied());
        let order = match (a, b) {
            (None, None) => return Some(()),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(a), Some(b)) if are_shared && a == b => Ordering::Equal,
            (Some(a), Some(b)) => canonical_order(old.nodes.at(a).labels(), new.nodes.at(b).labels()),
        };
        i += usize::from(order != Ordering::Greater);
        j += usize::from(order != Ordering::Less);
        let change = match (order, a, b) {
            (Ordering::Equal, a, b) if are_shared && a == b => continue,
            (Ordering::Less, Some(a), _) => {
                Change { zone, labels: labels(&old.nodes, a), before: Some(a), after: None }
            }
            (Ordering::Greater, _, Some(b)) => {
                Change { zone, labels: labels(&new.nodes, b), before: None, after: b.into() }
            }
            (_, a, Some(b)) => Change { zone, labels: labels(&new.nodes, b), before: a, after: Some(b) },
            _ => return None,
        };
        if into.len() >= most {
            return None;
        }
        into.push(change);
    }
}

/// The number of places in front that are the same in both: in whole blocks, most of which are.
fn alike_in_front(before: &[u32], after: &[u32]) -> usize {
    let blocks = before.chunks_exact(BLOCK).zip(after.chunks_exact(BLOCK));
    blocks.take_while(|(before, after)| before == after).count() * BLOCK
}

struct Patch<'e> {
    earlier: &'e Prebuilt,
    nodes: Nodes,
    index: Index,
    depths: Depths,
    /// Names that were not there, and their nodes.
    fresh: HashMap<Box<[u8]>, NodeId>,
    /// The nodes whose entries are made anew.
    touched: BTreeSet<u32>,
}

impl Linked for Patch<'_> {
    fn nodes(&self) -> &Nodes {
        &self.nodes
    }

    fn nodes_mut(&mut self) -> &mut Nodes {
        &mut self.nodes
    }

    fn known(&self, wire: &[u8], hash: NameHash) -> Option<NodeId> {
        let found = self.entry_of(wire, hash).map(|(_, entry)| entry.node());
        found.or_else(|| self.fresh.get(wire).copied())
    }

    fn insert(&mut self, name: &[u8], _: NameHash, labels: usize, slot: Slot) -> NodeId {
        let id = self.nodes.push(slot);
        self.fresh.insert(name.into(), id);
        self.touched.insert(id.0);
        self.depths.deepest = self.depths.deepest.max(labels);
        id
    }
}

impl<'e> Patch<'e> {
    fn new(earlier: Parts<'e>, model: &Model) -> Patch<'e> {
        let mut nodes = earlier.nodes.clone();
        for (top, zone) in
            nodes.zones.iter_mut().zip(&model.zones).filter(|(top, zone)| !top.nodes.is_same_as(&zone.nodes))
        {
            *top = ZoneTop { has_nested: top.has_nested, has_cuts: top.has_cuts, ..ZoneTop::new(zone) };
        }
        Patch {
            earlier: earlier.prebuilt,
            nodes,
            index: earlier.index.clone(),
            depths: earlier.depths,
            fresh: HashMap::new(),
            touched: BTreeSet::new(),
        }
    }

    /// The earlier entry of a name, and where it is.
    fn entry_of(&self, wire: &[u8], hash: NameHash) -> Option<(u32, NameEntry<'e>)> {
        let earlier = self.earlier;
        self.index.find(hash, |at| Some((at, earlier.entry(at).filter(|entry| entry.name() == wire)?)))
    }

    fn name_of(&self, id: NodeId) -> LowerName {
        let mut name = LowerName::new();
        name.read(self.nodes.node(id).name().as_wire());
        name
    }

    fn name_in(&self, zone: u32, labels: &[u8]) -> Option<LowerName> {
        let mut name = LowerName::new();
        name.read(NodeName::of(labels, &self.nodes.zones.get(zone as usize)?.origin).as_wire())?;
        Some(name)
    }

    /// Gives every changed name its records, or none.
    fn take(&mut self, before: &Model, model: &Model, changes: &[Change]) -> Option<()> {
        for change in changes {
            let (old, new) = (before.zones.get(change.zone as usize)?, model.zones.get(change.zone as usize)?);
            let delegates = |nodes: &ZoneNodes, place: Option<u32>| {
                place.is_some_and(|place| nodes.at(place).set(RecordType::NS).is_some())
            };
            let comes_or_goes = delegates(&old.nodes, change.before) != delegates(&new.nodes, change.after);
            let name = self.name_in(change.zone, &change.labels)?;
            if comes_or_goes && (has_below(&old.nodes, &change.labels) || has_below(&new.nodes, &change.labels)) {
                return None;
            }
            if comes_or_goes && model.services.iter().any(|service| is_below(&LowerName::of(&service.name), &name)) {
                return None;
            }
            match change.after {
                Some(place) => {
                    let id = self.ensure(change.zone, &name)?;
                    self.nodes.set_place(id, place);
                    self.touched.insert(id.0);
                }
                None if change.labels.is_empty() => return None,
                None => {
                    let id = self.known_name(&name)?;
                    self.nodes.clear_place(id, &change.labels);
                    self.touched.insert(id.0);
                }
            }
        }
        Some(())
    }

    /// Takes out names that hold nothing and have nothing below.
    fn drop_names(&mut self, model: &Model, changes: &[Change]) {
        let gone: Vec<&Change> = changes.iter().filter(|change| change.after.is_none()).collect();
        if gone.is_empty() {
            return;
        }
        let mut needed: HashSet<Box<[u8]>> = HashSet::new();
        for service in &model.services {
            let name = LowerName::of(&service.name);
            needed.extend((0..=name.labels()).map(|labels| Box::from(name.last(labels))));
        }
        for change in gone {
            let Some(zone) = model.zones.get(change.zone as usize) else { continue };
            let mut labels = &*change.labels;
            while !labels.is_empty() && self.drop_name(change.zone, &zone.nodes, labels, &needed) {
                labels = labels.split_first().and_then(|(&len, rest)| rest.get(usize::from(len)..)).unwrap_or_default();
            }
        }
    }

    /// Takes out a name. False where it stays.
    fn drop_name(&mut self, zone: u32, nodes: &ZoneNodes, labels: &[u8], needed: &HashSet<Box<[u8]>>) -> bool {
        let Some(name) = self.name_in(zone, labels) else { return false };
        let Some(id) = self.known_name(&name) else { return false };
        if !self.nodes.node(id).is_bare() || has_below(nodes, labels) || needed.contains(name.as_wire()) {
            return false;
        }
        if name.as_wire().starts_with(b"\x01*")
            && let Some(parent) = self.link_wildcard(id)
        {
            self.nodes.links_mut(parent).wildcard = NONE;
            self.touched.insert(parent.0);
        }
        let hash = NameHash::new(&name);
        match self.entry_of(name.as_wire(), hash) {
            Some((at, _)) => self.index.change(hash, at, None),
            None => _ = self.fresh.remove(name.as_wire()),
        }
        if let Some(slot) = self.nodes.slots.get_mut(id.0 as usize) {
            slot.zone = NONE;
            self.nodes.dead += 1;
        }
        self.touched.remove(&id.0);
        true
    }

    /// Links what changed, and finds all else that leads there.
    fn link(&mut self, changes: &[Change]) {
        for id in self.touched.iter().copied().map(NodeId).collect::<Vec<_>>() {
            if self.nodes.node(id).cut().is_some() {
                self.nodes.links_mut(id).cut = NONE;
            }
        }
        for id in self.touched.iter().copied().map(NodeId).collect::<Vec<_>>() {
            self.link_cut(id);
            self.link_additional(id);
        }
        let changed: HashSet<(u32, &[u8])> = changes.iter().map(|change| (change.zone, &*change.labels)).collect();
        let zones: HashSet<u32> = changes.iter().map(|change| change.zone).collect();
        for id in self.nodes.pointing.clone().into_iter().map(NodeId) {
            if zones.contains(&(self.nodes.node(id).zone() as u32)) && self.points_to(id, &changed) {
                self.link_additional(id);
                self.touched.insert(id.0);
            }
        }
        // An entry says where that of its wildcard is.
        let mut open: Vec<u32> = self.touched.iter().copied().collect();
        while let Some(id) = open.pop() {
            if let Some(parent) = self.link_wildcard(NodeId(id))
                && self.touched.insert(parent.0)
            {
                open.push(parent.0);
            }
        }
    }

    fn points_to(&self, id: NodeId, changed: &HashSet<(u32, &[u8])>) -> bool {
        let node = self.nodes.node(id);
        let is_changed = |target: &[u8]| {
            let lower = target.to_ascii_lowercase();
            lower.strip_suffix(node.origin()).is_some_and(|labels| changed.contains(&(node.zone() as u32, labels)))
        };
        node.sets().any(|set| additional_targets(&set.records).any(is_changed))
    }

    /// Makes templates and entries, and has names lead there. `None` where all had better be made anew.
    fn finish(mut self) -> Option<Patched> {
        let mut prebuilt = self.earlier.clone();
        let touched: Vec<NodeId> = self.touched.iter().copied().map(NodeId).collect();
        let mut numbers: BTreeMap<u32, u32> = BTreeMap::new();
        for &id in &touched {
            let node = self.nodes.node(id);
            let is_cut = node.cut() == Some(id);
            let is_apex = node.cut().is_none() && node.labels().is_empty();
            if !is_cut && !is_apex {
                continue;
            }
            let name = self.name_of(id);
            let before = self.entry_of(name.as_wire(), NameHash::new(&name)).map(|(_, entry)| entry);
            let before =
                before.filter(|entry| entry.flags().has(Flags::CUT) == is_cut).map(|entry| entry.template_number());
            numbers.insert(id.0, prebuilt.renew_template(&self.nodes, node, before)?);
        }
        let begin = prebuilt.end();
        let (mut entries, mut places) = (Vec::new(), BTreeMap::new());
        let mut appender = Appender::new(&self.nodes);
        for &id in &touched {
            let number = self.template_number(id, &numbers)?;
            places.insert(id.0, begin + appender.append(id, number, &mut entries));
        }
        for &id in &touched {
            let Some(wildcard) = self.nodes.node(id).wildcard() else { continue };
            let place = match places.get(&wildcard.0) {
                Some(&place) => place,
                None => self.place_of(wildcard)?,
            };
            put_wildcard(&mut entries, places.get(&id.0)? - begin, place);
        }
        for &id in &touched {
            let (name, place) = (self.name_of(id), *places.get(&id.0)?);
            let hash = NameHash::new(&name);
            match self.entry_of(name.as_wire(), hash) {
                Some((at, _)) => self.index.change(hash, at, Some(place)),
                None => self.index.insert(hash, place),
            }
        }
        let prebuilt = prebuilt.with_entries(&entries)?;
        if self.nodes.dead > FEW.max(self.nodes.slots.len() / PART) {
            return None;
        }
        Some(Patched { nodes: self.nodes, index: self.index, prebuilt, depths: self.depths })
    }

    /// The number of the template that a node's entry has.
    fn template_number(&self, id: NodeId, renewed: &BTreeMap<u32, u32>) -> Option<u32> {
        let node = self.nodes.node(id);
        let of = match node.cut() {
            Some(cut) => cut,
            None => self.known_name(&self.name_in(node.zone() as u32, &[])?)?,
        };
        if let Some(&number) = renewed.get(&of.0) {
            return Some(number);
        }
        let name = self.name_of(of);
        self.entry_of(name.as_wire(), NameHash::new(&name)).map(|(_, entry)| entry.template_number())
    }

    fn place_of(&self, id: NodeId) -> Option<u32> {
        let name = self.name_of(id);
        self.entry_of(name.as_wire(), NameHash::new(&name)).map(|(at, _)| at)
    }
}

/// Tells whether a zone has names below this one: in canonical order they follow it.
fn has_below(nodes: &ZoneNodes, labels: &[u8]) -> bool {
    let next = match nodes.find(labels) {
        Ok(at) => at + 1,
        Err(at) => at,
    };
    let below = nodes.places().get(next).map(|&place| nodes.at(place).labels());
    below.is_some_and(|below| below.len() > labels.len() && is_suffix(below, labels))
}

/// Tells whether labels end in these, as labels.
fn is_suffix(labels: &[u8], end: &[u8]) -> bool {
    let mut rest = labels;
    while rest.len() > end.len() {
        rest = rest.split_first().and_then(|(&len, rest)| rest.get(usize::from(len)..)).unwrap_or_default();
    }
    rest == end
}

fn is_below(name: &LowerName, above: &LowerName) -> bool {
    name.labels() > above.labels() && name.last(above.labels()) == above.as_wire()
}
