//! The records of a zone, in one piece of memory: what the zone's text says, kept once, in wire form.
//!
//! ```text
//!   places   of nodes in canonical order ─┐
//!   node     labels │ octets of all sets │ the name before the origin, in lower case │ set…
//!   set      type │ TTL │ octets of all RDATA │ RDLENGTH, RDATA…
//! ```
//!
//! The model, the tables that queries read, and all tools read the same octets. A zone made from an earlier one
//! keeps the octets of that one, and has what changed in a second, small piece.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use super::name::canonical_order;
use super::{Name, RecordType, Ttl};

/// Nodes in canonical order, each with its RRsets. Copies share the octets.
#[derive(Clone, Default)]
pub struct ZoneNodes {
    octets: Layers,
    places: Arc<[u32]>,
}

/// Octets in two pieces that are numbered as one: the first may be shared with others that go on elsewhere.
#[derive(Clone, Debug, Default)]
pub struct Layers {
    base: Arc<[u8]>,
    more: Arc<[u8]>,
}

/// An owner and its RRsets.
#[derive(Clone, Copy)]
pub struct ZoneNode<'z> {
    /// The labels of its name before the origin, each with its length, in lower case; none at the apex.
    labels: &'z [u8],
    sets: &'z [u8],
}

/// Records of one owner and type, alike in TTL (RFC 2181 section 5.2).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct RrSet<'z> {
    pub rtype: RecordType,
    pub ttl: Ttl,
    rdatas: &'z [u8],
}

/// The RDATA of a set in turn: uncompressed wire form; at least one, none twice.
#[derive(Clone, Copy, Debug)]
pub struct Rdatas<'z>(&'z [u8]);

/// An RRset in memory of its own.
#[derive(Clone, Debug, Default)]
pub struct OwnedSet {
    rtype: u16,
    ttl: Ttl,
    rdatas: Vec<u8>,
}

/// Zone nodes while they are put together, in canonical order.
#[derive(Debug, Default)]
pub struct ZoneNodesBuilder {
    octets: Vec<u8>,
    places: Vec<u32>,
}

const NODE_HEAD: usize = 5;
const SET_HEAD: usize = 10;

impl Layers {
    /// A single piece.
    pub fn new(octets: Arc<[u8]>) -> Layers {
        Layers { base: octets, more: Arc::default() }
    }

    /// The same octets, and others behind them.
    pub fn with(&self, more: &[u8]) -> Layers {
        Layers { base: self.base.clone(), more: [&self.more, more].concat().into() }
    }

    /// From this place to the end of its piece; nothing behind all of them.
    #[inline(always)]
    pub fn from(&self, at: usize) -> &[u8] {
        if at < self.base.len() {
            return &self.base[at..];
        }
        self.more.get(at - self.base.len()..).unwrap_or_default()
    }

    /// The number of octets, and how many of them are in the second piece.
    pub fn len(&self) -> (usize, usize) {
        (self.base.len() + self.more.len(), self.more.len())
    }

    /// Tells whether the octets at a place that both have are the same.
    pub fn shares_with(&self, other: &Layers) -> bool {
        Arc::ptr_eq(&self.base, &other.base)
            && (self.more.starts_with(&other.more) || other.more.starts_with(&self.more))
    }
}

impl ZoneNodes {
    /// The number of nodes.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = ZoneNode<'_>> {
        self.places.iter().map(|&place| self.at(place))
    }

    /// Where nodes are, in canonical order.
    pub fn places(&self) -> &[u32] {
        &self.places
    }

    /// The node at one of [`ZoneNodes::places`].
    #[inline]
    pub fn at(&self, place: u32) -> ZoneNode<'_> {
        ZoneNode::read(self.octets.from(place as usize))
    }

    /// The node of the origin.
    pub fn apex(&self) -> Option<ZoneNode<'_>> {
        self.iter().next().filter(|node| node.labels.is_empty())
    }

    /// The node whose name has these labels before the origin, in any case; else where it would be among all.
    pub fn find(&self, labels: &[u8]) -> Result<usize, usize> {
        self.places.binary_search_by(|&place| canonical_order(self.at(place).labels, labels))
    }

    /// The number of records.
    pub fn record_count(&self) -> usize {
        self.iter().flat_map(|node| node.sets()).map(|set| set.rdatas().count()).sum()
    }

    /// Tells whether both are the same memory: then both say the same.
    pub fn is_same_as(&self, other: &ZoneNodes) -> bool {
        Arc::ptr_eq(&self.places, &other.places) && self.octets.shares_with(&other.octets)
    }

    /// Tells whether nodes at the same place are the same ones in both.
    pub fn shares_places_with(&self, other: &ZoneNodes) -> bool {
        self.octets.shares_with(&other.octets)
    }

    /// The octets that are taken.
    pub fn memory_bytes(&self) -> usize {
        self.octets.len().0 + size_of_val(&*self.places)
    }
}

impl<'z> ZoneNode<'z> {
    #[inline]
    fn read(octets: &'z [u8]) -> ZoneNode<'z> {
        let Some((&[labels, s0, s1, s2, s3], rest)) = octets.split_first_chunk::<NODE_HEAD>() else {
            return ZoneNode { labels: &[], sets: &[] };
        };
        let (labels, rest) = rest.split_at_checked(usize::from(labels)).unwrap_or_default();
        let sets = u32::from_le_bytes([s0, s1, s2, s3]) as usize;
        ZoneNode { labels, sets: rest.get(..sets).unwrap_or_default() }
    }

    /// The labels of its name before the origin, each with its length, in lower case; none at the apex.
    #[inline]
    pub fn labels(&self) -> &'z [u8] {
        self.labels
    }

    /// The whole name, of a node in the zone of this origin.
    pub fn name(&self, origin: &Name) -> Name {
        Name::from_wire(&[self.labels, &origin.as_wire().to_ascii_lowercase()].concat())
            .unwrap_or_else(|_| Name::root())
    }

    #[inline]
    pub fn sets(&self) -> impl Iterator<Item = RrSet<'z>> + use<'z> {
        let mut rest = self.sets;
        std::iter::from_fn(move || {
            let (set, after) = RrSet::read(rest)?;
            rest = after;
            Some(set)
        })
    }

    #[inline]
    pub fn set(&self, rtype: RecordType) -> Option<RrSet<'z>> {
        self.sets().find(|set| set.rtype == rtype)
    }

    /// Tells whether both have the same records.
    pub fn has_records_of(&self, other: &ZoneNode<'_>) -> bool {
        self.sets == other.sets
    }
}

impl fmt::Debug for ZoneNode<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Name::from_wire(&[self.labels, &[0]].concat()).unwrap_or_else(|_| Name::root());
        f.debug_map().entry(&name, &self.sets().collect::<Vec<_>>()).finish()
    }
}

impl fmt::Debug for ZoneNodes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl PartialEq for ZoneNodes {
    fn eq(&self, other: &ZoneNodes) -> bool {
        let alike = |(a, b): (ZoneNode<'_>, ZoneNode<'_>)| a.labels == b.labels && a.sets == b.sets;
        self.len() == other.len() && self.iter().zip(other.iter()).all(alike)
    }
}

impl<'z> RrSet<'z> {
    #[inline]
    fn read(octets: &'z [u8]) -> Option<(RrSet<'z>, &'z [u8])> {
        let (&[r0, r1, t0, t1, t2, t3, l0, l1, l2, l3], rest) = octets.split_first_chunk::<SET_HEAD>()?;
        let length = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
        let (rdatas, after) = rest.split_at_checked(length)?;
        let rtype = RecordType(u16::from_le_bytes([r0, r1]));
        let ttl = Ttl::saturating(u32::from_le_bytes([t0, t1, t2, t3]));
        Some((RrSet { rtype, ttl, rdatas }, after))
    }

    #[must_use]
    pub fn with_ttl(self, ttl: Ttl) -> RrSet<'z> {
        RrSet { ttl, ..self }
    }

    #[inline]
    pub fn rdatas(&self) -> Rdatas<'z> {
        Rdatas(self.rdatas)
    }
}

impl fmt::Debug for RrSet<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} ", self.rtype, self.ttl)?;
        f.debug_list().entries(self.rdatas()).finish()
    }
}

impl<'z> Iterator for Rdatas<'z> {
    type Item = &'z [u8];

    #[inline]
    fn next(&mut self) -> Option<&'z [u8]> {
        let (&length, rest) = self.0.split_first_chunk()?;
        let (rdata, after) = rest.split_at_checked(usize::from(u16::from_le_bytes(length)))?;
        self.0 = after;
        Some(rdata)
    }
}

impl OwnedSet {
    /// Becomes an empty set of this type.
    pub fn begin(&mut self, rtype: RecordType, ttl: Ttl) {
        (self.rtype, self.ttl) = (rtype.0, ttl);
        self.rdatas.clear();
    }

    /// Appends RDATA of at most 65,535 octets.
    pub fn push(&mut self, rdata: &[u8]) {
        self.rdatas.extend((rdata.len() as u16).to_le_bytes());
        self.rdatas.extend_from_slice(rdata);
    }

    pub fn as_set(&self) -> RrSet<'_> {
        RrSet { rtype: RecordType(self.rtype), ttl: self.ttl, rdatas: &self.rdatas }
    }
}

impl ZoneNodesBuilder {
    /// Appends a node whose name has these labels before the origin. Nodes without sets are left out.
    pub fn push<'s>(&mut self, labels: &[u8], sets: impl Iterator<Item = RrSet<'s>>) {
        let begin = self.octets.len();
        self.octets.push(labels.len() as u8); // part of a name
        self.octets.extend([0; 4]);
        self.octets.extend(labels.iter().map(u8::to_ascii_lowercase));
        let from = self.octets.len();
        for RrSet { rtype, ttl, rdatas } in sets {
            self.octets.extend(rtype.0.to_le_bytes());
            self.octets.extend(ttl.as_secs().to_le_bytes());
            self.octets.extend((rdatas.len() as u32).to_le_bytes()); // a zone's records are within 1 GiB
            self.octets.extend_from_slice(rdatas);
        }
        let length = self.octets.len() - from;
        if length == 0 {
            return self.octets.truncate(begin);
        }
        self.octets[begin + 1..begin + NODE_HEAD].copy_from_slice(&(length as u32).to_le_bytes());
        self.places.push(begin as u32);
    }

    /// Appends nodes that stand behind all of these.
    pub fn append(&mut self, other: ZoneNodesBuilder) {
        if self.octets.is_empty() {
            return *self = other;
        }
        let begin = self.octets.len() as u32; // a zone's records are within 1 GiB
        self.octets.extend_from_slice(&other.octets);
        self.places.extend(other.places.iter().map(|place| begin + place));
    }

    pub fn finish(self) -> ZoneNodes {
        ZoneNodes { octets: Layers::new(self.octets.into()), places: self.places.into() }
    }
}

/// Nodes of a zone that take the place of others: by labels before the origin.
impl ZoneNodes {
    /// The same zone with these nodes for those of the same names, in any order; a name without a node is gone.
    /// `None` where so much has changed that all had better be put together anew.
    pub fn replaced<'n>(&self, changes: impl Iterator<Item = (&'n [u8], Option<ZoneNode<'n>>)>) -> Option<ZoneNodes> {
        let (total, in_more) = self.octets.len();
        let mut builder = ZoneNodesBuilder::default();
        let mut places: Vec<(usize, Ordering, u32)> = Vec::new();
        for (labels, node) in changes {
            let place = (total + builder.octets.len()) as u32;
            let before = builder.places.len();
            if let Some(node) = node {
                builder.push(labels, node.sets());
            }
            let is_there = builder.places.len() > before;
            match self.find(labels) {
                Ok(at) => places.push((at, Ordering::Equal, if is_there { place } else { u32::MAX })),
                Err(at) if is_there => places.push((at, Ordering::Less, place)),
                Err(_) => {}
            }
        }
        if in_more + builder.octets.len() > MOST_IN_MORE.max(total / 8) {
            return None;
        }
        let octets = self.octets.with(&builder.octets);
        // New names between the same two are in canonical order among themselves.
        let labels_at = |place: u32| match place {
            u32::MAX => &[][..],
            place => ZoneNode::read(octets.from(place as usize)).labels,
        };
        places
            .sort_by(|a, b| (a.0, a.1).cmp(&(b.0, b.1)).then_with(|| canonical_order(labels_at(a.2), labels_at(b.2))));
        let mut all = Vec::with_capacity(self.places.len() + places.len());
        let mut from = 0;
        for (at, is, place) in places {
            all.extend_from_slice(&self.places[from..at.max(from)]);
            from = at.max(from) + usize::from(is == Ordering::Equal);
            all.extend(Some(place).filter(|&place| place != u32::MAX));
        }
        all.extend_from_slice(&self.places[from.min(self.places.len())..]);
        Some(ZoneNodes { octets, places: all.into() })
    }
}

/// So many octets of changes are kept beside any zone, however small.
const MOST_IN_MORE: usize = 1 << 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(text: &str) -> Vec<u8> {
        if text == "@" {
            return Vec::new();
        }
        let wire = Name::parse_absolute(text).expect("a name").as_wire().to_vec();
        wire[..wire.len() - 1].to_vec()
    }

    fn set(octet: u8) -> OwnedSet {
        let mut set = OwnedSet::default();
        set.begin(RecordType::A, Ttl::saturating(octet.into()));
        set.push(&[192, 0, 2, octet]);
        set.push(&[192, 0, 3, octet]);
        set
    }

    fn zone(nodes: &[(&str, u8)]) -> ZoneNodes {
        let mut builder = ZoneNodesBuilder::default();
        for (name, octet) in nodes {
            builder.push(&labels(name), [set(*octet).as_set()].into_iter());
        }
        builder.finish()
    }

    #[test]
    fn nodes_are_read_as_they_were_put_in() {
        let zone = zone(&[("@", 1), ("A.b", 2), ("z.b", 3)]);
        assert_eq!((zone.len(), zone.record_count()), (3, 6));
        let found = zone.find(&labels("a.B")).expect("a node");
        let node = zone.at(zone.places()[found]);
        let origin = Name::parse_absolute("Example").expect("a name");
        assert_eq!(node.name(&origin).to_string(), "a.b.example.");
        let set = node.set(RecordType::A).expect("a set");
        assert_eq!(set.rdatas().collect::<Vec<_>>(), [[192, 0, 2, 2], [192, 0, 3, 2]]);
        assert_eq!((set.ttl.as_secs(), node.set(RecordType::AAAA)), (2, None));
        assert_eq!(zone.find(&labels("b")), Err(1));
    }

    #[test]
    fn replaced_nodes_are_as_if_put_in_at_first() {
        let before = zone(&[("@", 1), ("b", 2), ("d", 3), ("f", 4)]);
        let new = zone(&[("a", 9), ("c", 8), ("cc", 7), ("d", 6), ("g", 5)]);
        let mut changes: Vec<_> = new.iter().map(|node| (node.labels(), Some(node))).collect();
        let gone = [labels("b"), labels("never")];
        changes.extend(gone.iter().map(|labels| (&labels[..], None)));
        changes.rotate_left(3);
        let after = before.replaced(changes.into_iter()).expect("little has changed");
        assert_eq!(after, zone(&[("@", 1), ("a", 9), ("c", 8), ("cc", 7), ("d", 6), ("f", 4), ("g", 5)]));
        assert!(after.shares_places_with(&before) && !after.is_same_as(&before));
    }
}
