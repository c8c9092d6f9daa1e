//! Names to answers: a hash table, an entry per name, and for services whose answers differ a row
//! that has an answer for each class.
//!
//! ```text
//!   head     generation │ class image │ hash table: mask │ reloads
//!   buckets  eight times: tag of the hash, entry
//!   entry    length, flags, service │ for A, AAAA: an answer or a row │ 48 octets of the name;
//!            a second block has the other 16 of a longer one
//!   row      by class: an answer; sixteen to a block
//!   answer   counts, flags, length, sum, region, TTL │ octets, in up to three more blocks
//! ```
//!
//! An answer numbered 0 is none: the question is passed on. Answers and rows that are alike are kept
//! once, so that ten thousand names of one policy take little more than their entries.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use crate::model::{EndpointTarget, RecordType, RegionId, ServiceId};
use crate::state::lookup::nodes::Node;
use crate::state::{NodeId, Snapshot};
use crate::steer::decide::{Decision, ScopeReason, Seen, decide};
use crate::steer::plan::ServicePlan;
use crate::steer::plan::table::{Code, Table};

use super::block::{BLOCK_OCTETS, Block, append_u32s};
use super::classes::ClassImage;
use super::question::{Questioner, Records};

/// Names in an image, services first: more would take seconds to renew.
const MAX_NAMES: usize = 10_000;
/// 32 MiB.
const MAX_BLOCKS: usize = 1 << 19;
/// Octets of a name, in the wire's form. Longer ones are hardly hot.
const MAX_NAME_OCTETS: usize = 64;
/// Of them in the entry itself.
const ENTRY_NAME_OCTETS: usize = 48;
/// Octets of the records of an answer: so that with the longest name and OPT it takes no more than
/// the 512 that any client accepts, and four blocks.
const MAX_ANSWER_OCTETS: usize = ANSWER_BLOCK_OCTETS + 3 * BLOCK_OCTETS;
const ANSWER_HEAD_OCTETS: usize = 16;
const ANSWER_BLOCK_OCTETS: usize = BLOCK_OCTETS - ANSWER_HEAD_OCTETS;
const SLOTS: usize = 8;
const FAMILIES: [RecordType; 2] = [RecordType::A, RecordType::AAAA];

/// Flags of an entry. A service's answer, which is sampled.
const SERVICE: u8 = 1;
/// It heeds ECS.
const ECS: u8 = 2;
/// A is answered from a row, by class.
const ROW_A: u8 = 4;
/// The same of AAAA.
const ROW_AAAA: u8 = 8;

/// Flags of an answer. Only for a question in lower case.
const LOWER_CASE: u8 = 1;
/// For DO, too.
const ANY_DO: u8 = 2;

/// The names of a snapshot.
#[derive(Debug)]
pub struct NameImage {
    pub generation: u64,
    pub blocks: Vec<Block>,
    pub names: usize,
    pub passed: Passed,
}

/// The number of names that are not in an image, and why, of those that have something to be answered there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Passed {
    /// Longer than an entry takes.
    pub long: usize,
    /// Beyond the limits of the image.
    pub beyond: usize,
}

impl NameImage {
    /// Asks for every answer there is; some microseconds for each that differs.
    ///
    /// `classes`: of the same snapshot.
    pub fn new(snapshot: &Snapshot, classes: &ClassImage) -> NameImage {
        let mut build = Build::new(snapshot, classes);
        let mut entries: Vec<(Box<[u8]>, u32)> = Vec::new();
        let mut passed = Passed::default();
        for (name, id) in in_order(snapshot) {
            let Some(entry) = build.entry(&name, &snapshot.names.node(id)) else { continue };
            if name.len() > MAX_NAME_OCTETS {
                passed.long += 1;
            } else if entries.len() >= MAX_NAMES || build.blocks.len() >= MAX_BLOCKS {
                passed.beyond += 1;
            } else {
                let at = build.append_entry(&name, entry);
                entries.push((name, at));
            }
        }
        let (table, left_out) = hash_table(&entries);
        passed.beyond += left_out;
        let mut image = NameImage {
            generation: snapshot.generation,
            blocks: build.blocks,
            names: entries.len() - left_out,
            passed,
        };
        let table_at = image.blocks.len() as u32;
        let mask = (table.len() as u32).saturating_sub(1);
        image.blocks.extend(table);
        if let Some(head) = image.blocks.first_mut() {
            head.put_u64(0, snapshot.generation);
            head.put_u64(8, classes.id);
            head.put_u32(16, table_at);
            head.put_u32(20, mask);
            head.put_u32(24, u32::from(snapshot.reloads as u16)); // its low bits, as samples have them
        }
        image
    }
}

/// All names, services first, and otherwise in the same order while no reload comes.
fn in_order(snapshot: &Snapshot) -> Vec<(Box<[u8]>, NodeId)> {
    let (mut services, others): (Vec<_>, Vec<_>) =
        snapshot.names.iter().partition(|(_, id)| snapshot.names.node(*id).service().is_some());
    services.extend(others);
    services
}

/// The answers to questions for a name.
struct Entry {
    flags: u8,
    service: u32,
    /// By family: an answer, or a row where the flags say so; 0: passed on.
    answers: [u32; 2],
}

/// An answer as it is kept, and so known again.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Kept {
    records: Records,
    region: u16,
    ttl: u32,
}

struct Build<'a> {
    snapshot: &'a Snapshot,
    classes: &'a ClassImage,
    questioner: Questioner,
    blocks: Vec<Block>,
    answers: HashMap<Kept, u32>,
    /// By table, and answers by cell.
    rows: HashMap<(*const Table, Vec<u32>), u32>,
    tables: HashMap<*const Table, Arc<ByClass>>,
}

/// A table of cells, by class.
struct ByClass {
    /// The cell of each class.
    cells: Vec<u32>,
    /// Of each cell: an address in it, if there is one.
    examples: Vec<Option<IpAddr>>,
}

impl<'a> Build<'a> {
    fn new(snapshot: &'a Snapshot, classes: &'a ClassImage) -> Build<'a> {
        Build {
            snapshot,
            classes,
            questioner: Questioner::new(),
            blocks: vec![Block::ZERO], // the head
            answers: HashMap::new(),
            rows: HashMap::new(),
            tables: HashMap::new(),
        }
    }

    /// `None` where nothing of the name can be answered.
    fn entry(&mut self, name: &[u8], node: &Node<'_>) -> Option<Entry> {
        if node.cut().is_some() {
            return None;
        }
        let entry = match node.service() {
            Some(id) => self.service(name, id)?,
            None if node.set(RecordType::CNAME).is_some() => return None,
            None => Entry { flags: 0, service: 0, answers: FAMILIES.map(|qtype| self.fixed(name, qtype)) },
        };
        (entry.answers != [0, 0]).then_some(entry)
    }

    /// The answer for everybody.
    fn fixed(&mut self, name: &[u8], qtype: RecordType) -> u32 {
        let anybody = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        let records = self.questioner.ask(self.snapshot, name, qtype, anybody);
        records.map_or(0, |records| self.keep(Kept { records, region: 0, ttl: 0 }))
    }

    fn service(&mut self, name: &[u8], id: ServiceId) -> Option<Entry> {
        let snapshot = self.snapshot;
        let plan = snapshot.plan.services.get(id.index())?;
        let heeds_ecs = if snapshot.model.services.get(id.index())?.ecs { ECS } else { 0 };
        let mut flags = SERVICE | heeds_ecs;
        let answers = if let Some(classes) = plan.table.classes() {
            if !Arc::ptr_eq(classes, &self.classes.of) {
                return None; // of another part: the sockets answer
            }
            flags |= ROW_A | ROW_AAAA;
            let by_class = self.by_class(plan);
            FAMILIES.map(|qtype| self.row(name, id, qtype, &plan.table, &by_class))
        } else {
            let anybody = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
            FAMILIES.map(|qtype| self.of_service(name, id, qtype, anybody))
        };
        Some(Entry { flags, service: id.0, answers })
    }

    /// Codes that do not hold, and those left open, have no example: what they come to is worked out for whoever asks.
    fn by_class(&mut self, plan: &ServicePlan) -> Arc<ByClass> {
        let classes = self.classes;
        let make = || {
            let mut numbers: HashMap<Code, u32> = HashMap::new();
            let mut number = |code: &Code| {
                let next = numbers.len() as u32;
                *numbers.entry(*code).or_insert(next)
            };
            let cells: Vec<u32> = plan.table.codes().iter().map(&mut number).collect();
            let mut examples = vec![None; numbers.len()];
            for ((&cell, example), code) in cells.iter().zip(&classes.examples).zip(plan.table.codes()) {
                if let Some(place) = examples.get_mut(cell as usize)
                    && plan.holds(*code)
                {
                    *place = place.or(*example);
                }
            }
            Arc::new(ByClass { cells, examples })
        };
        self.tables.entry(Arc::as_ptr(&plan.table)).or_insert_with(make).clone()
    }

    /// The row of a service's answers; 0 where it has none.
    fn row(&mut self, name: &[u8], id: ServiceId, qtype: RecordType, table: &Arc<Table>, by_class: &ByClass) -> u32 {
        let of_cell = |example: &Option<IpAddr>| example.map_or(0, |example| self.of_service(name, id, qtype, example));
        let answers: Vec<u32> = by_class.examples.iter().map(of_cell).collect();
        let key = (Arc::as_ptr(table), answers);
        if let Some(&row) = self.rows.get(&key) {
            return row;
        }
        let fits = self.blocks.len() + by_class.cells.len() / 16 < MAX_BLOCKS;
        if !fits || key.1.iter().all(|&answer| answer == 0) {
            return 0;
        }
        let row = self.blocks.len() as u32;
        let answer_of = |&cell: &u32| key.1.get(cell as usize).copied().unwrap_or(0);
        append_u32s(&mut self.blocks, by_class.cells.iter().map(answer_of));
        self.rows.insert(key, row);
        row
    }

    /// The answer of a service for this client and all that are in a cell with it; 0 where they differ.
    fn of_service(&mut self, name: &[u8], id: ServiceId, qtype: RecordType, client: IpAddr) -> u32 {
        let snapshot = self.snapshot;
        let Some(decision) = decide(&snapshot.view(), id, Seen::Source(client)) else { return 0 };
        if !is_for_all(snapshot, &decision) {
            return 0;
        }
        let Some(records) = self.questioner.ask(snapshot, name, qtype, client) else { return 0 };
        let RegionId(region) = decision.region;
        self.keep(Kept { records, region, ttl: decision.ttl.as_secs() })
    }

    fn keep(&mut self, kept: Kept) -> u32 {
        if let Some(&number) = self.answers.get(&kept) {
            return number;
        }
        let octets = &kept.records.octets;
        if octets.len() > MAX_ANSWER_OCTETS || self.blocks.len() >= MAX_BLOCKS {
            return 0;
        }
        let number = self.blocks.len() as u32;
        let (first, others) = octets.split_at(octets.len().min(ANSWER_BLOCK_OCTETS));
        self.blocks.push(first_block(&kept, first));
        for octets in others.chunks(BLOCK_OCTETS) {
            let mut block = Block::ZERO;
            block.put(0, octets);
            self.blocks.push(block);
        }
        self.answers.insert(kept, number);
        number
    }

    fn append_entry(&mut self, name: &[u8], entry: Entry) -> u32 {
        let number = self.blocks.len() as u32;
        let mut block = Block::ZERO;
        block.put(0, &[name.len() as u8, entry.flags]); // at most MAX_NAME_OCTETS
        block.put_u32(4, entry.service);
        block.put_u32(8, entry.answers[0]);
        block.put_u32(12, entry.answers[1]);
        let (first, others) = name.split_at(name.len().min(ENTRY_NAME_OCTETS));
        block.put(16, first);
        self.blocks.push(block);
        if !others.is_empty() {
            let mut block = Block::ZERO;
            block.put(0, others);
            self.blocks.push(block);
        }
        number
    }
}

/// Tells whether every client of the place is answered so: one region, one endpoint, which has addresses.
fn is_for_all(snapshot: &Snapshot, decision: &Decision) -> bool {
    let region = snapshot.model.region(decision.region);
    let endpoint = region.endpoints.get(usize::from(decision.endpoint));
    decision.scope_reason != ScopeReason::Split
        && decision.regions.as_slice().len() == 1
        && endpoint.is_some_and(|endpoint| matches!(endpoint.target, EndpointTarget::Addresses(_)))
}

fn first_block(kept: &Kept, octets: &[u8]) -> Block {
    let Records { counts, octets: all, any_do, any_case } = &kept.records;
    let flags = if *any_case { 0 } else { LOWER_CASE } | if *any_do { ANY_DO } else { 0 };
    let mut block = Block::ZERO;
    block.put(0, counts);
    block.put(3, &[flags]);
    block.put_u16(4, all.len() as u16); // at most MAX_ANSWER_OCTETS
    block.put_u16(6, sum(all));
    block.put_u16(8, kept.region);
    block.put_u32(12, kept.ttl);
    block.put(ANSWER_HEAD_OCTETS, octets);
    block
}

/// The one's complement sum of octets that begin at an even place (RFC 1071), in the machine's order.
fn sum(octets: &[u8]) -> u16 {
    let word = |pair: &[u8]| u32::from(u16::from_ne_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
    let mut sum: u32 = octets.chunks(2).map(word).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// The buckets, a power of two of them, and how many names found no place: those whose hash is too
/// like another's. `entries`: names and where their entries are.
fn hash_table(entries: &[(Box<[u8]>, u32)]) -> (Vec<Block>, usize) {
    let buckets = (entries.len() / 2).next_power_of_two();
    let mut table: Vec<Vec<(u32, u32)>> = vec![Vec::new(); buckets];
    let mut tags = HashSet::new();
    let mut left_out = 0;
    for (name, entry) in entries {
        let hash = hash(name);
        let tag = (hash >> 32) as u32;
        match table.get_mut(hash as usize & (buckets - 1)) {
            Some(bucket) if bucket.len() < SLOTS && tags.insert((hash as u32 & (buckets as u32 - 1), tag)) => {
                bucket.push((tag, *entry));
            }
            _ => left_out += 1,
        }
    }
    (table.iter().map(|bucket| bucket_block(bucket)).collect(), left_out)
}

fn bucket_block(bucket: &[(u32, u32)]) -> Block {
    let mut block = Block::ZERO;
    for (slot, &(tag, entry)) in bucket.iter().enumerate() {
        block.put_u32(4 * slot, tag);
        block.put_u32(32 + 4 * slot, entry);
    }
    block
}

/// Of a name of at most [`MAX_NAME_OCTETS`], eight octets at a step, zeros behind it. Names that are
/// hashed are those of the zones, which nobody chooses to make them collide but their owner.
fn hash(name: &[u8]) -> u64 {
    let mix = |hash: u64, octets: &[u8]| {
        let mut word = [0; 8];
        word[..octets.len()].copy_from_slice(octets);
        let mixed = (hash ^ u64::from_ne_bytes(word)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        mixed ^ mixed >> 32
    };
    name.chunks(8).fold(0, mix)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc1071_sums_pairs_of_octets() {
        assert_eq!(sum(&[]), 0);
        assert_eq!(sum(&[0xff; 6]), 0xffff);
        assert_eq!(sum(&[1, 2, 3]).to_ne_bytes(), [4, 2]);
    }

    #[test]
    fn names_of_one_bucket_find_places_or_are_left_out() {
        let entries: Vec<(Box<[u8]>, u32)> = (0..10_000u32).map(|n| (n.to_be_bytes().into(), n + 1)).collect();
        let (table, left_out) = hash_table(&entries);
        assert_eq!(table.len(), 8192);
        assert!(left_out < 5, "{left_out}");
    }
}
