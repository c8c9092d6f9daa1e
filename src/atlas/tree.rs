//! The search tree of a database: what networks lead to, in the order of addresses.
//!
//! Nodes of two records each. A record below `node_count` is a node, one equal to it is empty, one
//! above it says where data stands. The file's octets come in; records go out. Walking the tree, and
//! bounding the walk, is left to `database`.

/// The tree, and what a record must be to lead somewhere.
pub struct Tree<'a> {
    /// The nodes and the separator after them, so that eight octets can be read of every node.
    bytes: &'a [u8],
    pub node_count: usize,
    /// 24, 28 or 32; a node has twice as many.
    record_bits: usize,
}

/// Zero bytes between the tree and the data.
const SEPARATOR_BYTES: usize = 16;

impl<'a> Tree<'a> {
    /// The tree and the data section of a file with so many nodes, which `reader` has found to be
    /// a database. Fails where the tree reaches beyond the file or no separator follows it.
    pub fn of(bytes: &'a [u8], node_count: usize, record_bits: usize) -> Result<(Tree<'a>, &'a [u8]), &'static str> {
        let end = node_count.checked_mul(record_bits / 4).ok_or("the tree reaches beyond the file")?;
        let (tree, data) = bytes.split_at_checked(end + SEPARATOR_BYTES).ok_or("the tree reaches beyond the file")?;
        if tree[end..].iter().any(|&byte| byte != 0) {
            return Err("no separator follows the tree");
        }
        Ok((Tree { bytes: tree, node_count, record_bits }, data))
    }

    /// The left (0) and right (1) records of a node; `node < node_count`.
    pub fn records(&self, node: usize) -> (usize, usize) {
        let octets = self.bytes[node * (self.record_bits / 4)..].first_chunk().copied().unwrap_or_default();
        let node = u64::from_be_bytes(octets) as usize;
        match self.record_bits {
            24 => (node >> 40, node >> 16 & 0xff_ffff),
            // The octet in the middle holds the upper four bits of both.
            28 => (node >> 40 | (node >> 36 & 0xf) << 24, node >> 8 & 0xff_ffff | (node >> 32 & 0xf) << 24),
            _ => (node >> 32, node & 0xffff_ffff),
        }
    }

    /// Where in the data section a record's data stands, if it is one of data.
    pub fn data_at(&self, record: usize) -> Option<usize> {
        record.checked_sub(self.node_count + SEPARATOR_BYTES)
    }

    /// The record of `::/96`, or of the wider network that holds it.
    pub fn ipv4_root(&self) -> usize {
        let mut record = 0;
        for _ in 0..96 {
            if record >= self.node_count {
                break;
            }
            record = self.records(record).0;
        }
        record
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_of_all_sizes_are_read() {
        for (bits, node) in [
            (24, &[0x12, 0x34, 0x56, 0x65, 0x43, 0x21][..]),
            (28, &[0x12, 0x34, 0x56, 0x78, 0x65, 0x43, 0x21]),
            (32, &[0x12, 0x34, 0x56, 0x78, 0x87, 0x65, 0x43, 0x21]),
        ] {
            let bytes = [&vec![0; node.len()][..], node, &[0; 16], &[7]].concat();
            let (tree, data) = Tree::of(&bytes, 2, bits).expect("a tree");
            let expected = match bits {
                24 => (0x12_3456, 0x65_4321),
                28 => (0x712_3456, 0x865_4321),
                _ => (0x1234_5678, 0x8765_4321),
            };
            assert_eq!((tree.records(0), tree.records(1)), ((0, 0), expected));
            assert_eq!(data, [7]);
            assert!(Tree::of(&bytes, 5, bits).is_err());
            assert!(Tree::of(&bytes, 1, bits).is_err());
        }
    }
}
