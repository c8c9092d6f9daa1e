//! A zone's names in canonical order (RFC 4034 section 6.1), for the check.
//!
//! Each name has a key of octets whose plain order is the canonical one and in which an ancestor
//! is a prefix: so names sort without allocating per comparison, and those below a name stand
//! right after it.

use std::cmp::Ordering;
use std::ops::Range;
use std::panic::resume_unwind;
use std::thread;

use crate::model::name::MAX_NAME_OCTETS;
use crate::model::{Name, RecordType};

use super::text::ZoneRecord;

/// Nodes that hold records, in canonical order; all at or below the origin.
pub(super) struct Tree<'r> {
    origin: &'r Name,
    /// Those of the nodes, one behind the other.
    keys: Vec<u8>,
    /// By node, then by type, then as written.
    records: Vec<&'r ZoneRecord>,
    heads: Vec<Head>,
}

/// Where the parts of a node are.
struct Head {
    key: usize,
    key_end: usize,
    records: usize,
    records_end: usize,
}

/// An owner and its records.
#[derive(Clone, Copy)]
pub(super) struct Node<'t> {
    pub name: &'t Name,
    key: &'t [u8],
    /// By type, then as written; at least one.
    pub records: &'t [&'t ZoneRecord],
}

impl<'t> Node<'t> {
    /// The first record of this type.
    pub fn first(&self, rtype: RecordType) -> Option<&'t ZoneRecord> {
        let at = self.records.partition_point(|record| record.record.rtype < rtype);
        self.records.get(at).filter(|record| record.record.rtype == rtype).copied()
    }

    pub fn sets(&self) -> impl Iterator<Item = &'t [&'t ZoneRecord]> + use<'t> {
        self.records.chunk_by(|a, b| a.record.rtype == b.record.rtype)
    }

    pub fn has_addresses(&self) -> bool {
        self.first(RecordType::A).or_else(|| self.first(RecordType::AAAA)).is_some()
    }
}

/// A record to be sorted.
struct Keyed<'r> {
    /// The first octets of the key behind the origin's: they mostly decide.
    front: u128,
    key: usize,
    key_end: usize,
    record: &'r ZoneRecord,
}

/// Records with their keys, in order once they are sorted.
struct Sorting<'r> {
    /// One behind the other.
    keys: Vec<u8>,
    keyed: Vec<Keyed<'r>>,
}

impl<'r> Sorting<'r> {
    /// Sorts records. Threads each sort a part, and most zones are written in order: then the parts only have to be seen
    /// to stand one behind the other.
    fn in_parts(origin_octets: usize, records: &[&'r ZoneRecord]) -> Sorting<'r> {
        let threads = if records.len() < FEW { 1 } else { thread::available_parallelism().map_or(1, usize::from) };
        let mut rest = records.chunks(records.len().div_ceil(threads).max(1));
        let own = rest.next().unwrap_or_default();
        let (own, others): (Sorting<'r>, Vec<Sorting<'r>>) = thread::scope(|scope| {
            let others: Vec<_> =
                rest.map(|part| scope.spawn(move || Sorting::of(origin_octets, part, part.len()))).collect();
            let own = Sorting::of(origin_octets, own, records.len());
            (own, others.into_iter().map(|other| other.join().unwrap_or_else(|panic| resume_unwind(panic))).collect())
        });
        others.into_iter().fold(own, Sorting::merged)
    }

    /// `room`: for so many records.
    fn of(origin_octets: usize, records: &[&'r ZoneRecord], room: usize) -> Sorting<'r> {
        let mut sorting = Sorting { keys: Vec::with_capacity(room * USUAL_KEY), keyed: Vec::with_capacity(room) };
        let Sorting { keys, keyed } = &mut sorting;
        for &record in records {
            let owner = &record.record.owner;
            let (begin, end) = match keyed.last() {
                Some(last) if last.record.record.owner.as_wire() == owner.as_wire() => (last.key, last.key_end),
                _ => {
                    let begin = keys.len();
                    append_key(owner, keys);
                    (begin, keys.len())
                }
            };
            let own = keys.get(begin + origin_octets..end).unwrap_or_default();
            let mut front = [0; 16];
            let len = own.len().min(front.len());
            front[..len].copy_from_slice(&own[..len]);
            keyed.push(Keyed { front: u128::from_be_bytes(front), key: begin, key_end: end, record });
        }
        sorting.sort();
        sorting
    }

    /// With those of another, which were written behind them.
    fn merged(mut self, other: Sorting<'r>) -> Sorting<'r> {
        let begin = self.keys.len();
        self.keys.extend_from_slice(&other.keys);
        let moved = |keyed| {
            let Keyed { key, key_end, .. } = keyed;
            Keyed { key: key + begin, key_end: key_end + begin, ..keyed }
        };
        self.keyed.extend(other.keyed.into_iter().map(moved));
        self.sort();
        self
    }

    /// By name, then by type, then as written.
    fn sort(&mut self) {
        let keys = &self.keys;
        let key_of = |keyed: &Keyed<'_>| keys.get(keyed.key..keyed.key_end).unwrap_or_default();
        self.keyed.sort_by(|a, b| {
            let by_name = a
                .front
                .cmp(&b.front)
                .then_with(|| if a.key == b.key { Ordering::Equal } else { key_of(a).cmp(key_of(b)) });
            by_name.then(a.record.record.rtype.cmp(&b.record.record.rtype))
        });
    }
}

/// Fewer records than this are sorted by one thread. Tests have few.
const FEW: usize = if cfg!(test) { 2 } else { 20_000 };
/// Octets of most keys.
const USUAL_KEY: usize = 32;

impl<'r> Tree<'r> {
    /// `records` are at or below `origin`.
    pub fn new(origin: &'r Name, records: impl Iterator<Item = &'r ZoneRecord>) -> Tree<'r> {
        let records: Vec<&'r ZoneRecord> = records.collect();
        let Sorting { keys, keyed } = Sorting::in_parts(key(origin).len(), &records);
        drop(records);
        let key_of = |keyed: &Keyed<'_>| keys.get(keyed.key..keyed.key_end).unwrap_or_default();
        let mut heads: Vec<Head> = Vec::with_capacity(keyed.len());
        for (at, this) in keyed.iter().enumerate() {
            match heads.last_mut() {
                Some(head) if head.key == this.key || keys[head.key..head.key_end] == *key_of(this) => {
                    head.records_end = at + 1
                }
                _ => heads.push(Head { key: this.key, key_end: this.key_end, records: at, records_end: at + 1 }),
            }
        }
        let records = keyed.iter().map(|keyed| keyed.record).collect();
        Tree { origin, keys, records, heads }
    }

    pub fn nodes(&self) -> impl Iterator<Item = Node<'_>> {
        self.heads.iter().map(|head| self.node(head))
    }

    fn node(&self, head: &Head) -> Node<'_> {
        let records = &self.records[head.records..head.records_end]; // at least one
        Node { name: &records[0].record.owner, key: self.key(head), records }
    }

    fn key(&self, head: &Head) -> &[u8] {
        &self.keys[head.key..head.key_end]
    }

    /// The nodes in so many parts, about equal, each of which begins with one that has no [`Tree::cover`].
    pub fn parts(&self, parts: usize) -> Vec<Range<usize>> {
        let is_covered = |at: &usize| self.cover(self.node(&self.heads[*at]).name).is_some();
        let begins = (1..parts).map(|part| part * self.heads.len() / parts);
        let begins =
            begins.map(|begin| (begin..self.heads.len()).find(|at| !is_covered(at)).unwrap_or(self.heads.len()));
        let begins: Vec<usize> = std::iter::once(0).chain(begins).chain([self.heads.len()]).collect();
        begins.windows(2).map(|pair| pair[0]..pair[1]).collect()
    }

    /// The number of nodes.
    pub fn len(&self) -> usize {
        self.heads.len()
    }

    /// The nodes of one of [`Tree::parts`] with their [`Tree::cover`], in one pass.
    pub fn nodes_covered(&self, part: Range<usize>) -> impl Iterator<Item = (Node<'_>, Option<Node<'_>>)> {
        let mut cover: Option<Node<'_>> = None;
        self.heads[part].iter().map(|head| self.node(head)).map(move |node| {
            cover = cover.filter(|cover| node.key.starts_with(cover.key));
            let above = cover;
            let is_cut = self.is_cut(&node);
            if cover.is_none() && (is_cut || node.first(RecordType::DNAME).is_some()) {
                cover = Some(node);
            }
            (node, above.or(Some(node).filter(|_| is_cut)))
        })
    }

    pub fn find(&self, name: &Name) -> Option<Node<'_>> {
        self.find_key(&key(name))
    }

    /// Tells whether the name holds records, or one below it does (RFC 4592 section 2.2.2).
    pub fn contains(&self, name: &Name) -> bool {
        self.exists(&key(name))
    }

    /// The records that answer for `name`: its own, or a wildcard's (RFC 4592 section 3.3.1).
    pub fn answering(&self, name: &Name) -> Option<Node<'_>> {
        let key = key(name);
        if self.exists(&key) {
            return self.find_key(&key);
        }
        let encloser = ancestors(&key).filter(|ancestor| self.exists(ancestor)).last()?;
        self.find_key(&[encloser, b"*\0"].concat())
    }

    /// The topmost delegation at or above `name`, or DNAME above it: what answers in its stead.
    pub fn cover(&self, name: &Name) -> Option<Node<'_>> {
        let key = key(name);
        let apex = self.origin.label_count();
        let mut above = ancestors(&key).skip(apex).filter_map(|ancestor| self.find_key(ancestor));
        above
            .find(|node| self.is_cut(node) || node.first(RecordType::DNAME).is_some())
            .or_else(|| self.find_key(&key).filter(|node| self.is_cut(node)))
    }

    /// Tells whether the node delegates: NS records below the apex.
    pub fn is_cut(&self, node: &Node<'_>) -> bool {
        node.first(RecordType::NS).is_some() && node.name != self.origin
    }

    fn find_key(&self, key: &[u8]) -> Option<Node<'_>> {
        let at = self.heads.binary_search_by(|head| self.key(head).cmp(key)).ok()?;
        self.heads.get(at).map(|head| self.node(head))
    }

    /// Tells whether there is a node at this key or below it (an empty non-terminal).
    fn exists(&self, key: &[u8]) -> bool {
        let at = self.heads.partition_point(|head| self.key(head) < key);
        self.heads.get(at).is_some_and(|head| self.key(head).starts_with(key))
    }
}

/// Labels from the right in lower case, each ended by 0; 0 and 1 inside are escaped with 1.
fn key(name: &Name) -> Vec<u8> {
    let mut key = Vec::with_capacity(name.as_wire().len());
    append_key(name, &mut key);
    key
}

fn append_key(name: &Name, key: &mut Vec<u8>) {
    let wire = name.as_wire();
    let (mut starts, mut labels, mut at) = ([0u8; MAX_NAME_OCTETS / 2 + 1], 0, 0);
    while wire[at] != 0 {
        starts[labels] = at as u8;
        labels += 1;
        at += 1 + usize::from(wire[at]);
    }
    for start in starts[..labels].iter().rev().map(|&start| usize::from(start)) {
        for octet in &wire[start + 1..=start + usize::from(wire[start])] {
            match octet.to_ascii_lowercase() {
                low @ (0 | 1) => key.extend([1, low + 1]),
                octet => key.push(octet),
            }
        }
        key.push(0);
    }
}

/// The keys of the names above, from the root's on.
fn ancestors(key: &[u8]) -> impl Iterator<Item = &[u8]> {
    let ends = key.iter().enumerate().filter(|(_, octet)| **octet == 0).map(|(at, _)| at + 1);
    std::iter::once(0).chain(ends).filter(|&end| end < key.len()).map(|end| &key[..end])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::diagnostic::SourceFile;
    use crate::control::zonefile::{MasterText, NoInclude, parse};
    use crate::model::Ttl;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn one_pass_finds_the_cover_of_each_node(zone in "(([ab]\\.){0,3}@? (TXT x|NS x|DNAME x|A 192\\.0\\.2\\.1)\n){0,12}") {
            let origin = Name::parse_absolute("b.").expect("a name");
            let file = SourceFile::new("zone", zone.replace(".@", ".b.").replace(". ", ".b. "));
            let records = parse(MasterText::whole(&file), &origin, Some(Ttl::default()), &mut NoInclude).records;
            let tree = Tree::new(&origin, records.iter().filter(|record| record.record.owner.is_at_or_below(&origin)));
            let parts = tree.parts(3);
            prop_assert!(parts[0].start == 0 && parts.windows(2).all(|pair| pair[0].end == pair[1].start));
            for (node, cover) in parts.into_iter().flat_map(|part| tree.nodes_covered(part)) {
                let expected = tree.cover(node.name);
                prop_assert_eq!(cover.map(|node| node.name), expected.map(|node| node.name), "{}\n{}", node.name, file.text);
            }
        }

        #[test]
        fn rfc4034_6_1_keys_order_as_names(a in "(([ab\\*]|\\\\00[0-3]){1,3}\\.){0,3}", b in "(([abA]|\\\\00[0-3]){1,3}\\.){0,3}") {
            let name = |text: &str| Name::parse_absolute(if text.is_empty() { "." } else { text }).expect("a name");
            let (a, b) = (name(&a), name(&b));
            prop_assert_eq!(key(&a).cmp(&key(&b)), a.cmp(&b));
            prop_assert_eq!(key(&a).starts_with(&key(&b)), a.is_at_or_below(&b));
            prop_assert_eq!(ancestors(&key(&a)).count(), a.label_count());
        }
    }
}
