//! Sixty-four octets of an image, and how figures are put into them: in the machine's own order.

/// Octets of a block: a line of a core's cache.
pub const BLOCK_OCTETS: usize = 64;

/// Blocks of an image, whatever is in it: 16 MiB.
pub const ROOM: usize = 1 << 18;

/// A piece of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C, align(64))]
pub struct Block(pub [u8; BLOCK_OCTETS]);

impl Block {
    pub const ZERO: Block = Block([0; BLOCK_OCTETS]);

    /// Puts octets at an offset; what would lie outside is left out.
    #[inline]
    pub fn put(&mut self, at: usize, octets: &[u8]) {
        let place = self.0.get_mut(at..).unwrap_or_default();
        let fits = place.len().min(octets.len());
        if let (Some(to), Some(from)) = (place.get_mut(..fits), octets.get(..fits)) {
            to.copy_from_slice(from);
        }
    }

    pub fn put_u16(&mut self, at: usize, value: u16) {
        self.put(at, &value.to_ne_bytes());
    }

    pub fn put_u32(&mut self, at: usize, value: u32) {
        self.put(at, &value.to_ne_bytes());
    }

    pub fn put_u64(&mut self, at: usize, value: u64) {
        self.put(at, &value.to_ne_bytes());
    }
}

/// Appends figures of four octets, sixteen to a block; the rest of the last block is zeros.
pub fn append_u32s(blocks: &mut Vec<Block>, values: impl IntoIterator<Item = u32>) {
    for (number, value) in values.into_iter().enumerate() {
        if number % 16 == 0 {
            blocks.push(Block::ZERO);
        }
        if let Some(block) = blocks.last_mut() {
            block.put_u32(number % 16 * 4, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sixteen_figures_fill_a_block() {
        let mut blocks = vec![Block::ZERO];
        append_u32s(&mut blocks, 1..=17);
        assert_eq!(blocks.len(), 3);
        assert_eq!(blocks[1].0[60..], 16u32.to_ne_bytes());
        assert_eq!(blocks[2].0[..8], [17u32.to_ne_bytes(), [0; 4]].concat());
    }

    #[test]
    fn what_lies_outside_is_left_out() {
        let mut block = Block::ZERO;
        block.put(62, &[1, 2, 3]);
        assert_eq!(block.0[61..], [0, 1, 2]);
    }
}
