//! Names to answers, as far as a configuration decides: a hash table, an entry per name, and the answers that are the
//! same for everybody.
//!
//! ```text
//!   head     version │ generation │ hash table: place, mask │ reloads
//!   entry    length, flags, service │ for A, AAAA: an answer or a row │ 48 octets of the name;
//!            a second block has the other 16 of a longer one
//!   answer   counts, flags, length, sum, region, TTL │ octets, in up to three more blocks
//!   buckets  eight times: tag of the hash, entry
//! ```
//!
//! An answer numbered 0 is none: the question is passed on. A service's entry has none here: see
//! [`super::services`].

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use crate::model::{RecordType, ServiceId};
use crate::state::configured::Configured;
use crate::state::{NodeId, Snapshot};

use super::answers::{Area, Kept};
use super::block::Block;
use super::question::Questioner;

/// Names in an image, services first: more are hardly hot.
const MAX_NAMES: usize = 10_000;
/// Octets of a name, in the wire's form. Longer ones are hardly hot.
const MAX_NAME_OCTETS: usize = 64;
/// Of them in the entry itself.
const ENTRY_NAME_OCTETS: usize = 48;
const SLOTS: usize = 8;
pub const FAMILIES: [RecordType; 2] = [RecordType::A, RecordType::AAAA];
/// Whoever asks for what all are answered alike.
pub const ANYBODY: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

/// The names of a configuration.
#[derive(Debug)]
pub struct NameImage {
    /// The configuration it was made from.
    pub of: Arc<Configured>,
    pub blocks: Vec<Block>,
    pub services: Vec<ServiceName>,
    /// Names in it.
    pub names: usize,
    pub passed: Passed,
}

/// A name that is steered.
#[derive(Debug)]
pub struct ServiceName {
    /// In the wire's form, in lower case.
    pub name: Box<[u8]>,
    pub id: ServiceId,
    /// The block of its entry.
    pub entry: u32,
}

/// The number of names that are not in an image, and why.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Passed {
    /// Longer than an entry takes.
    pub long: usize,
    /// Beyond the limits of the image.
    pub beyond: usize,
}

impl NameImage {
    /// Asks for every answer there is but those of services; some microseconds for each.
    pub fn new(snapshot: &Snapshot, questioner: &mut Questioner) -> NameImage {
        let mut area = Area::new(0);
        area.blocks.push(Block::ZERO); // the head
        let (mut entries, mut services, mut passed) = (Vec::new(), Vec::new(), Passed::default());
        for (name, service) in in_order(snapshot) {
            if name.len() > MAX_NAME_OCTETS {
                passed.long += 1;
                continue;
            }
            if entries.len() >= MAX_NAMES {
                passed.beyond += 1;
                continue;
            }
            if let Some(id) = service {
                let entry = append_entry(&mut area, &name, service, [0; 2]);
                services.push(ServiceName { name: name.clone(), id, entry });
                entries.push((name, entry));
                continue;
            }
            let answers = FAMILIES.map(|qtype| {
                let records = questioner.ask(snapshot, &name, qtype, ANYBODY);
                records.map_or(0, |records| area.keep(&Kept { records, region: 0, ttl: 0 }))
            });
            if answers != [0; 2] {
                let entry = append_entry(&mut area, &name, None, answers);
                entries.push((name, entry));
            }
        }
        let (table, left_out) = hash_table(&entries);
        passed.beyond += left_out;
        let mut blocks = area.blocks;
        let (table_at, mask) = (blocks.len() as u32, (table.len() as u32).saturating_sub(1));
        blocks.extend(table);
        if let Some(head) = blocks.first_mut() {
            head.put_u32(16, table_at);
            head.put_u32(20, mask);
            head.put_u32(24, u32::from(snapshot.reloads as u16)); // its low bits, as samples have them
        }
        NameImage { of: snapshot.configured.clone(), blocks, services, names: entries.len() - left_out, passed }
    }
}

/// All names that may be answered here with their services, those that have one first, and otherwise in the order they
/// were made in.
fn in_order(snapshot: &Snapshot) -> Vec<(Box<[u8]>, Option<ServiceId>)> {
    let may_be = |(name, id): (Box<[u8]>, NodeId)| {
        let node = snapshot.names.node(id);
        let service = node.service();
        let is_passed_on = node.cut().is_some() || (service.is_none() && node.set(RecordType::CNAME).is_some());
        (!is_passed_on).then_some((name, service))
    };
    let (mut services, others): (Vec<_>, Vec<_>) =
        snapshot.names.iter().filter_map(may_be).partition(|(_, service)| service.is_some());
    services.extend(others);
    services
}

fn append_entry(area: &mut Area, name: &[u8], service: Option<ServiceId>, answers: [u32; 2]) -> u32 {
    let number = area.next();
    let mut block = Block::ZERO;
    block.put(0, &[name.len() as u8, 0]); // at most MAX_NAME_OCTETS; flags are a service's
    block.put_u32(4, service.map_or(0, |id| id.0));
    block.put_u32(8, answers[0]);
    block.put_u32(12, answers[1]);
    let (first, others) = name.split_at(name.len().min(ENTRY_NAME_OCTETS));
    block.put(16, first);
    area.blocks.push(block);
    if !others.is_empty() {
        let mut block = Block::ZERO;
        block.put(0, others);
        area.blocks.push(block);
    }
    number
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
    fn names_of_one_bucket_find_places_or_are_left_out() {
        let entries: Vec<(Box<[u8]>, u32)> = (0..10_000u32).map(|n| (n.to_be_bytes().into(), n + 1)).collect();
        let (table, left_out) = hash_table(&entries);
        assert_eq!(table.len(), 8192);
        assert!(left_out < 5, "{left_out}");
    }
}
