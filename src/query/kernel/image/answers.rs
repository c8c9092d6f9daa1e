//! Answers as they are kept in blocks: those that are alike once.

use std::collections::HashMap;
use std::sync::Arc;

use super::block::{BLOCK_OCTETS, Block, ROOM};
use super::question::Records;

/// Octets of the records of an answer: so that with the longest name and OPT it takes no more than
/// the 512 that any client accepts, and four blocks.
const MAX_ANSWER_OCTETS: usize = ANSWER_BLOCK_OCTETS + 3 * BLOCK_OCTETS;
const ANSWER_HEAD_OCTETS: usize = 16;
const ANSWER_BLOCK_OCTETS: usize = BLOCK_OCTETS - ANSWER_HEAD_OCTETS;

/// Flags of an answer. Only for a question in lower case.
const LOWER_CASE: u8 = 1;
/// For DO, too.
const ANY_DO: u8 = 2;

/// Blocks from a number on.
#[derive(Debug, Default)]
pub struct Area {
    first: usize,
    pub blocks: Vec<Block>,
    /// By where its records are, which are held here, its region and its TTL.
    answers: HashMap<(usize, u16, u32), (u32, Arc<Records>)>,
}

/// An answer, with what samples of demand say of it.
#[derive(Clone, Debug)]
pub struct Kept {
    /// Answers with the same pointer are alike: whoever asks gives one for those with the same octets.
    pub records: Arc<Records>,
    pub region: u16,
    pub ttl: u32,
}

impl Area {
    pub fn new(first: usize) -> Area {
        Area { first, ..Area::default() }
    }

    /// The number of the next block.
    pub fn next(&self) -> u32 {
        (self.first + self.blocks.len()) as u32
    }

    pub fn has_room(&self, blocks: usize) -> bool {
        self.first + self.blocks.len() + blocks <= ROOM
    }

    /// The number of an answer; 0 where it is too long or there is no room.
    pub fn keep(&mut self, kept: &Kept) -> u32 {
        let key = (Arc::as_ptr(&kept.records).addr(), kept.region, kept.ttl);
        if let Some((number, _)) = self.answers.get(&key) {
            return *number;
        }
        let octets = &kept.records.octets;
        let blocks = 1 + octets.len().saturating_sub(ANSWER_BLOCK_OCTETS).div_ceil(BLOCK_OCTETS);
        if octets.is_empty() || octets.len() > MAX_ANSWER_OCTETS || !self.has_room(blocks) {
            return 0;
        }
        let number = self.next();
        let (first, others) = octets.split_at(octets.len().min(ANSWER_BLOCK_OCTETS));
        self.blocks.push(first_block(kept, first));
        for octets in others.chunks(BLOCK_OCTETS) {
            let mut block = Block::ZERO;
            block.put(0, octets);
            self.blocks.push(block);
        }
        self.answers.insert(key, (number, kept.records.clone()));
        number
    }
}

fn first_block(kept: &Kept, octets: &[u8]) -> Block {
    let Records { counts, octets: all, any_do, any_case } = &*kept.records;
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
    fn answers_that_are_alike_are_kept_once_and_never_beyond_the_room() {
        let kept = |length, region| {
            let records = Records { counts: [1, 0, 0], octets: vec![7; length], any_do: true, any_case: true };
            Kept { records: Arc::new(records), region, ttl: 30 }
        };
        let mut area = Area::new(ROOM - 5);
        let longest = kept(240, 1);
        assert_eq!([area.keep(&longest), area.keep(&longest)], [ROOM as u32 - 5; 2]);
        assert_eq!([area.keep(&kept(241, 1)), area.keep(&kept(49, 2))], [0, 0], "too long, no room");
        assert_eq!(area.keep(&kept(48, 2)), ROOM as u32 - 1);
    }
}
