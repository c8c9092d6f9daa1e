//! Addresses to classes, as ranges in blocks behind an index by upper bits.
//!
//! ```text
//!   head   v4: index, shift, ranges │ v6: index, shift, buckets, ranges
//!   index  by bucket: first and last block whose ranges may hold an address; eight to a block
//!   v4     eight starts (the last: where the next block begins) │ seven classes │ how many
//!   v6     five starts of upper halves (as above) │ four classes │ how many
//! ```
//!
//! A bucket holds the addresses with the same upper bits. Those of IPv6 go by the upper bits within
//! 2000::/3, with one bucket before and one behind it. A /64 that has several classes has [`PASS`].

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use crate::steer::plan::classes::Classes;

use super::block::Block;

/// Not to be answered here: the class of a /64 whose addresses differ.
pub const PASS: u32 = u32::MAX;
/// Added to a block's number of ranges where there is no block behind it.
const LAST: u32 = 0x100;
/// Most upper bits that an index goes by: 2 MiB of it.
const MAX_INDEX_BITS: u32 = 18;
const V4_RANGES: usize = 7;
const V6_RANGES: usize = 4;
/// The upper half of 2000::, and how many such halves are in 2000::/3, as bits.
const UNICAST: u64 = 1 << 61;
const UNICAST_BITS: u32 = 61;

/// The classes of a snapshot.
#[derive(Debug)]
pub struct ClassImage {
    pub blocks: Vec<Block>,
    /// By class: an address in it; `None` where no address is, or none that is answered here.
    pub examples: Vec<Option<IpAddr>>,
    /// The classes it was made from.
    pub of: Arc<Classes>,
}

impl ClassImage {
    /// Takes time in proportion to the number of ranges: tens of milliseconds for a million.
    pub fn new(of: &Arc<Classes>) -> ClassImage {
        let mut examples = vec![None; of.len()];
        let mut example = |class: u32, address: IpAddr| {
            if let Some(example) = examples.get_mut(class as usize) {
                example.get_or_insert(address);
            }
        };
        // Room for all in one family: what is not touched takes no memory.
        let (mut v4, mut v6) = (Vec::with_capacity(of.ranges()), Vec::with_capacity(of.ranges()));
        of.for_each_v4(|start, class| {
            example(class, IpAddr::V4(start.into()));
            v4.push((start, class));
        });
        of.for_each_v6(|start, class| {
            let class = class.unwrap_or(PASS);
            example(class, IpAddr::V6(Ipv6Addr::from(u128::from(start) << 64)));
            v6.push((start, class));
        });
        let mut blocks = Vec::with_capacity(v4.len().div_ceil(V4_RANGES) + v6.len().div_ceil(V6_RANGES) + 1);
        blocks.push(Block::ZERO);
        let mut head = Block::ZERO;
        for (at, figure) in layout_v4(&v4, &mut blocks).into_iter().chain(layout_v6(&v6, &mut blocks)).enumerate() {
            head.put_u32(4 * at, figure);
        }
        if let Some(first) = blocks.first_mut() {
            *first = head;
        }
        ClassImage { blocks, examples, of: of.clone() }
    }
}

/// The block where the index begins, the width of buckets in bits, and the block where the ranges begin.
fn layout_v4(ranges: &[(u32, u32)], blocks: &mut Vec<Block>) -> [u32; 3] {
    let count = ranges.len().div_ceil(V4_RANGES);
    let bits = index_bits(count);
    let shift = 32 - bits;
    let firsts: Vec<u64> = ranges.iter().step_by(V4_RANGES).map(|range| u64::from(range.0)).collect();
    let index_at = blocks.len() as u32;
    let bounds = (0..1u64 << bits).map(|bucket| (bucket << shift, ((bucket + 1) << shift) - 1));
    append_index(blocks, &firsts, bounds);
    let ranges_at = blocks.len() as u32;
    for (number, some) in ranges.chunks(V4_RANGES).enumerate() {
        let mut block = Block::ZERO;
        for (at, &(start, class)) in some.iter().enumerate() {
            block.put_u32(4 * at, start);
            block.put_u32(32 + 4 * at, class);
        }
        let next = firsts.get(number + 1);
        block.put_u32(4 * some.len(), next.map_or(0, |&next| next as u32));
        block.put_u32(60, some.len() as u32 | if next.is_none() { LAST } else { 0 });
        blocks.push(block);
    }
    [index_at, shift, ranges_at]
}

/// As [`layout_v4`], and the number of the bucket behind 2000::/3 before the last figure.
fn layout_v6(ranges: &[(u64, u32)], blocks: &mut Vec<Block>) -> [u32; 4] {
    let count = ranges.len().div_ceil(V6_RANGES);
    let bits = index_bits(count);
    let shift = UNICAST_BITS - bits;
    let firsts: Vec<u64> = ranges.iter().step_by(V6_RANGES).map(|range| range.0).collect();
    let index_at = blocks.len() as u32;
    let inside = (0..1u64 << bits).map(|bucket| (UNICAST + (bucket << shift), UNICAST + ((bucket + 1) << shift) - 1));
    let bounds = [(0, UNICAST - 1)].into_iter().chain(inside).chain([(2 * UNICAST, u64::MAX)]);
    append_index(blocks, &firsts, bounds);
    let ranges_at = blocks.len() as u32;
    for (number, some) in ranges.chunks(V6_RANGES).enumerate() {
        let mut block = Block::ZERO;
        for (at, &(start, class)) in some.iter().enumerate() {
            block.put_u64(8 * at, start);
            block.put_u32(40 + 4 * at, class);
        }
        let next = firsts.get(number + 1);
        block.put_u64(8 * some.len(), next.copied().unwrap_or(0));
        block.put_u32(60, some.len() as u32 | if next.is_none() { LAST } else { 0 });
        blocks.push(block);
    }
    [index_at, shift, (1 << bits) + 1, ranges_at]
}

/// About as many buckets as blocks.
fn index_bits(blocks: usize) -> u32 {
    (blocks.max(1).ilog2() + 1).min(MAX_INDEX_BITS)
}

/// For every bucket, given by its first and last key, the first and the last block that may hold a key
/// of it. `firsts`: the first start of every block; like buckets, ascending.
fn append_index(blocks: &mut Vec<Block>, firsts: &[u64], buckets: impl Iterator<Item = (u64, u64)>) {
    let mut block = 0;
    let mut block_of = |key: u64| {
        while firsts.get(block + 1).is_some_and(|&next| next <= key) {
            block += 1;
        }
        block as u32
    };
    let figures = buckets.flat_map(|(first, last)| [block_of(first), block_of(last)]);
    super::block::append_u32s(blocks, figures);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bucket_knows_the_blocks_of_its_addresses() {
        let ranges: Vec<(u32, u32)> = (0..1000u32).map(|n| (n * 4_000_000, n)).collect();
        let mut blocks = Vec::new();
        let [index_at, shift, ranges_at] = layout_v4(&ranges, &mut blocks);
        assert_eq!(ranges_at as usize + 1000usize.div_ceil(V4_RANGES), blocks.len());
        let figure = |block: u32, at: usize| {
            let octets = blocks[block as usize].0;
            u32::from_ne_bytes([octets[at], octets[at + 1], octets[at + 2], octets[at + 3]])
        };
        for key in (0..=u32::MAX).step_by(999_983) {
            let bucket = key >> shift;
            let at = (bucket % 8 * 8) as usize;
            let (first, last) = (figure(index_at + bucket / 8, at), figure(index_at + bucket / 8, at + 4));
            let block = (ranges.partition_point(|range| range.0 <= key) - 1) / V4_RANGES;
            assert!((first..=last).contains(&(block as u32)), "{key}: {first}..={last}, {block}");
        }
    }
}
