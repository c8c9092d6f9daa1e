//! Cuts the text of a zone into pieces that can be read one by one, or be left unread where they were read before.
//!
//! ```text
//!   text ─ cut where lines look so ─▶ pieces ─▶ each with the hash of its octets
//! ```
//!
//! Where to cut is told by the octets around each place alone. So a text that was changed somewhere is cut elsewhere in
//! the same way, and most of its pieces are those of before. Each piece begins with an owner in the first column: whose
//! record a piece begins with is never told by the one before. Whether a place is inside parentheses is not looked at
//! here: whoever reads a piece sees that it ends open, and reads on.

use std::hash::BuildHasher;
use std::ops::Range;

use foldhash::fast::RandomState as Folding;

use super::text::MasterText;
use crate::model::name::MAX_NAME_OCTETS;

/// How long pieces are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Grain {
    /// The fewest octets.
    pub least: usize,
    /// Then, of so many lines, one is cut at. A power of two.
    pub lines: u64,
}

impl Grain {
    /// About 8 KiB: some hundred records, read in a fifth of a millisecond.
    pub const USUAL: Grain = Grain { least: 4096, lines: 128 };

    /// The pieces of a text, in order and without gaps.
    pub fn cut(self, text: &str) -> Vec<Range<usize>> {
        let octets = text.as_bytes();
        let mut pieces = Vec::with_capacity(octets.len() / self.least + 1);
        let (mut begin, mut at) = (0, self.least);
        while let Some(line) = next_line(octets, at) {
            if begins_with_owner(&octets[line..]) && line_mark(&octets[line..]).is_multiple_of(self.lines) {
                pieces.push(begin..line);
                begin = line;
                at = line + self.least;
            } else {
                at = line + 1;
            }
        }
        pieces.push(begin..octets.len());
        pieces
    }
}

/// The first line that begins at `at` or behind.
fn next_line(octets: &[u8], at: usize) -> Option<usize> {
    let from = at.checked_sub(1)?;
    let end = octets.get(from..)?.iter().position(|&octet| octet == b'\n')?;
    Some(from + end + 1).filter(|&line| line < octets.len())
}

/// Octets that begin an owner and can begin nothing else.
fn begins_with_owner(line: &[u8]) -> bool {
    line.first().is_some_and(|first| first.is_ascii_alphanumeric() || matches!(first, b'@' | b'*' | b'_'))
}

/// A number that lines share only where they begin alike.
fn line_mark(line: &[u8]) -> u64 {
    let mut front = [0; 16];
    let len = line.len().min(front.len());
    front[..len].copy_from_slice(&line[..len]);
    let product = (u128::from_le_bytes(front) ^ 0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835)
        .wrapping_mul(0x2360_ed05_1fc6_5da4_4385_df64_9fcc_f645);
    (product >> 96) as u64
}

/// Tells whether a line of this text may be a directive.
pub(super) fn may_have_directives(text: &str) -> bool {
    text.starts_with(['$', '\u{feff}']) || text.match_indices('$').any(|(at, _)| text[..at].ends_with('\n'))
}

/// Tells whether a line of this text may include a file.
pub(super) fn may_include(text: &MasterText<'_>) -> bool {
    const WORD: &[u8] = b"$INCLUDE";
    let octets = text.text.as_bytes();
    let is_it = |at: usize| octets.get(at..at + WORD.len()).is_some_and(|word| word.eq_ignore_ascii_case(WORD));
    text.text.match_indices('$').any(|(at, _)| is_it(at))
}

/// Hashes that are told apart.
pub(super) type HashesOf = std::collections::HashSet<u64, Folding>;

/// Hashes octets and names, otherwise in each process.
#[derive(Clone, Debug)]
pub(super) struct Hashes {
    folding: Folding,
}

impl Hashes {
    pub fn new() -> Hashes {
        Hashes { folding: Folding::default() }
    }

    pub fn of(&self, octets: &[u8]) -> u64 {
        self.folding.hash_one(octets)
    }

    /// The hash of a name in any case.
    pub fn of_name(&self, wire: &[u8]) -> u64 {
        let mut lower = [0; MAX_NAME_OCTETS];
        let Some(lower) = lower.get_mut(..wire.len()) else { return 0 };
        lower.copy_from_slice(wire);
        lower.make_ascii_lowercase();
        self.of(lower)
    }
}
