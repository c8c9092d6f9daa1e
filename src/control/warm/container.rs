//! The file of a warm restart, from outside: a header that says what it is and how old, and a checksum over everything.
//!
//! ```text
//!   octets  0     8         12             20       28        60
//!           magic  version   saved at, ms   length   SHA-256   body
//! ```
//!
//! Numbers are little-endian; the time is in milliseconds since 1970. The checksum is of all else. Octets in, or an error
//! that says what is wrong with them; whether the body makes sense is left to whoever reads it.

use std::ops::RangeInclusive;

use crate::control::atomic_file::checksum;

const MAGIC: &[u8; 8] = b"MERIDIAN";
const CHECKSUM: std::ops::Range<usize> = 28..60;
const BODY: usize = CHECKSUM.end;

/// What was in a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opened<'a> {
    /// One of those that can be read.
    pub version: u32,
    pub saved_at_ms: u64,
    pub body: &'a [u8],
}

/// Why octets are no container that can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    #[error("it is not such a file")]
    NotOurs,
    #[error("it is of version {found}, and this program's is {ours}")]
    Version { found: u32, ours: u32 },
    #[error("it is cut off, or something is behind its end: {found} octets instead of {said}")]
    Length { found: u64, said: u64 },
    #[error("it is corrupt: the checksum is wrong")]
    Checksum,
}

/// A container's octets.
pub fn seal(version: u32, saved_at_ms: u64, body: &[u8]) -> Vec<u8> {
    let mut octets = Vec::with_capacity(BODY + body.len());
    octets.extend_from_slice(MAGIC);
    octets.extend_from_slice(&version.to_le_bytes());
    octets.extend_from_slice(&saved_at_ms.to_le_bytes());
    octets.extend_from_slice(&(body.len() as u64).to_le_bytes());
    let checksum = checksum(&[&octets, body]);
    octets.extend_from_slice(checksum.as_ref());
    octets.extend_from_slice(body);
    octets
}

/// Takes a container of one of these versions apart, once all of it has proven right.
///
/// # Errors
/// What is wrong with it; [`Unusable::Version`] after an upgrade, the others after a crash of the disk or by somebody's hand.
pub fn open(octets: &[u8], versions: RangeInclusive<u32>) -> Result<Opened<'_>, Unusable> {
    let header = octets.get(..CHECKSUM.start).filter(|header| header.starts_with(MAGIC)).ok_or(Unusable::NotOurs)?;
    let version = u32::from_le_bytes(part(header, 8).ok_or(Unusable::NotOurs)?);
    if !versions.contains(&version) {
        return Err(Unusable::Version { found: version, ours: *versions.end() });
    }
    let saved_at_ms = u64::from_le_bytes(part(header, 12).ok_or(Unusable::NotOurs)?);
    let said = u64::from_le_bytes(part(header, 20).ok_or(Unusable::NotOurs)?);
    let body = octets.get(BODY..).unwrap_or_default();
    if body.len() as u64 != said {
        return Err(Unusable::Length { found: body.len() as u64, said });
    }
    let right = octets.get(CHECKSUM).is_some_and(|found| found == checksum(&[header, body]).as_ref());
    if right { Ok(Opened { version, saved_at_ms, body }) } else { Err(Unusable::Checksum) }
}

fn part<const N: usize>(header: &[u8], from: usize) -> Option<[u8; N]> {
    header.get(from..from + N)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_was_sealed_is_there_again() {
        for body in [&b""[..], b"x", &[0; 1000]] {
            let octets = seal(7, 1_790_000_000_000, body);
            assert_eq!(open(&octets, 7..=7), Ok(Opened { version: 7, saved_at_ms: 1_790_000_000_000, body }));
        }
    }

    #[test]
    fn what_is_wrong_is_told() {
        let sealed = seal(7, 5, b"body");
        assert_eq!(open(b"", 7..=7), Err(Unusable::NotOurs));
        assert_eq!(open(b"{\"version\":1,\"overrides\":{}, \"more\":\"text\"}", 7..=7), Err(Unusable::NotOurs));
        assert_eq!(open(&sealed, 8..=8), Err(Unusable::Version { found: 7, ours: 8 }));
        assert_eq!(open(&sealed, 2..=6), Err(Unusable::Version { found: 7, ours: 6 }));
        assert!(open(&sealed, 6..=8).is_ok_and(|opened| opened.version == 7));
        assert_eq!(open(&sealed[..BODY + 3], 7..=7), Err(Unusable::Length { found: 3, said: 4 }));
        let longer = [&sealed[..], b"!"].concat();
        assert_eq!(open(&longer, 7..=7), Err(Unusable::Length { found: 5, said: 4 }));
        let mut older = sealed.clone();
        older[12] = 4;
        assert_eq!(open(&older, 7..=7), Err(Unusable::Checksum), "its age is part of what is proven");
    }

    proptest! {
        #[test]
        fn what_is_cut_or_changed_is_refused(
            body in prop::collection::vec(any::<u8>(), 0..300), saved_at_ms: u64, at: prop::sample::Index, bit in 0u8..8,
        ) {
            let sealed = seal(1, saved_at_ms, &body);
            prop_assert_eq!(open(&sealed, 1..=1), Ok(Opened { version: 1, saved_at_ms, body: &body }));
            prop_assert!(open(&sealed[..at.index(sealed.len())], 1..=1).is_err());
            let mut flipped = sealed.clone();
            flipped[at.index(sealed.len())] ^= 1 << bit;
            prop_assert!(open(&flipped, 1..=1).is_err());
        }

        #[test]
        fn any_octets_are_refused_without_a_panic(octets in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(open(&octets, 1..=1).is_err());
            let ours = [&MAGIC[..], &1u32.to_le_bytes(), &octets].concat();
            prop_assert!(open(&ours, 1..=1).is_err());
        }
    }
}
