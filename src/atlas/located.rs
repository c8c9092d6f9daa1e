//! The answer of a lookup: a place by its number, and how widely that holds.

/// A distinct place (location and ASN) of its atlas, and of no other. Dense: 0 to
/// [`Atlas::place_count`](super::Atlas::place_count) - 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PlaceId(pub u32);

impl PlaceId {
    /// Nothing is known: [`Location::default`](crate::model::Location::default). In every atlas.
    pub const UNKNOWN: PlaceId = PlaceId(0);

    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// The place of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Located {
    pub place: PlaceId,
    /// The widest prefix length around the address within which every address has this same
    /// place: 0 to 32 for IPv4, 0 to 128 for IPv6.
    pub scope: u8,
}
