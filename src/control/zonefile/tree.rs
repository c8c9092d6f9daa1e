//! A zone's names in canonical order (RFC 4034 section 6.1), for the check.
//!
//! Each name has a key of octets whose plain order is the canonical one and in which an ancestor
//! is a prefix: so names sort without allocating per comparison, and those below a name stand
//! right after it.

use crate::model::{Name, RecordType};

use super::text::ZoneRecord;

/// Nodes that hold records, in canonical order; all at or below the origin.
pub(super) struct Tree<'r> {
    origin: &'r Name,
    nodes: Vec<Node<'r>>,
}

/// An owner and its records.
pub(super) struct Node<'r> {
    pub name: &'r Name,
    key: Box<[u8]>,
    /// By type, then as written; at least one.
    pub records: Vec<&'r ZoneRecord>,
}

impl<'r> Node<'r> {
    /// The first record of this type.
    pub fn first(&self, rtype: RecordType) -> Option<&'r ZoneRecord> {
        let at = self.records.partition_point(|record| record.record.rtype < rtype);
        self.records.get(at).filter(|record| record.record.rtype == rtype).copied()
    }

    pub fn sets(&self) -> impl Iterator<Item = &[&'r ZoneRecord]> {
        self.records.chunk_by(|a, b| a.record.rtype == b.record.rtype)
    }

    pub fn has_addresses(&self) -> bool {
        self.first(RecordType::A).or_else(|| self.first(RecordType::AAAA)).is_some()
    }
}

impl<'r> Tree<'r> {
    /// `records` are at or below `origin`.
    pub fn new(origin: &'r Name, records: impl Iterator<Item = &'r ZoneRecord>) -> Tree<'r> {
        let mut keyed: Vec<_> = records.map(|record| (key(&record.record.owner), record)).collect();
        keyed.sort_by(|(a, left), (b, right)| a.cmp(b).then(left.record.rtype.cmp(&right.record.rtype)));
        let mut nodes: Vec<Node<'r>> = Vec::new();
        for (key, record) in keyed {
            match nodes.last_mut() {
                Some(node) if node.key == key => node.records.push(record),
                _ => nodes.push(Node { name: &record.record.owner, key, records: vec![record] }),
            }
        }
        Tree { origin, nodes }
    }

    pub fn nodes(&self) -> &[Node<'r>] {
        &self.nodes
    }

    /// All nodes with their [`Tree::cover`], in one pass.
    pub fn nodes_covered(&self) -> impl Iterator<Item = (&Node<'r>, Option<&Node<'r>>)> {
        let mut cover: Option<&Node<'r>> = None;
        self.nodes.iter().map(move |node| {
            cover = cover.filter(|cover| node.key.starts_with(&cover.key));
            let above = cover;
            let is_cut = self.is_cut(node);
            if cover.is_none() && (is_cut || node.first(RecordType::DNAME).is_some()) {
                cover = Some(node);
            }
            (node, above.or(Some(node).filter(|_| is_cut)))
        })
    }

    pub fn find(&self, name: &Name) -> Option<&Node<'r>> {
        self.find_key(&key(name))
    }

    /// Tells whether the name holds records, or one below it does (RFC 4592 section 2.2.2).
    pub fn contains(&self, name: &Name) -> bool {
        self.exists(&key(name))
    }

    /// The records that answer for `name`: its own, or a wildcard's (RFC 4592 section 3.3.1).
    pub fn answering(&self, name: &Name) -> Option<&Node<'r>> {
        let key = key(name);
        if self.exists(&key) {
            return self.find_key(&key);
        }
        let encloser = ancestors(&key).filter(|ancestor| self.exists(ancestor)).last()?;
        self.find_key(&[encloser, b"*\0"].concat())
    }

    /// The topmost delegation at or above `name`, or DNAME above it: what answers in its stead.
    pub fn cover(&self, name: &Name) -> Option<&Node<'r>> {
        let key = key(name);
        let apex = self.origin.label_count();
        let mut above = ancestors(&key).skip(apex).filter_map(|ancestor| self.find_key(ancestor));
        above
            .find(|node| self.is_cut(node) || node.first(RecordType::DNAME).is_some())
            .or_else(|| self.find_key(&key).filter(|node| self.is_cut(node)))
    }

    /// Tells whether the node delegates: NS records below the apex.
    pub fn is_cut(&self, node: &Node<'_>) -> bool {
        node.name != self.origin && node.first(RecordType::NS).is_some()
    }

    fn find_key(&self, key: &[u8]) -> Option<&Node<'r>> {
        let at = self.nodes.binary_search_by(|node| node.key[..].cmp(key)).ok()?;
        self.nodes.get(at)
    }

    /// Tells whether there is a node at this key or below it (an empty non-terminal).
    fn exists(&self, key: &[u8]) -> bool {
        let at = self.nodes.partition_point(|node| &node.key[..] < key);
        self.nodes.get(at).is_some_and(|node| node.key.starts_with(key))
    }
}

/// Labels from the right in lower case, each ended by 0; 0 and 1 inside are escaped with 1.
fn key(name: &Name) -> Box<[u8]> {
    let labels: Vec<&[u8]> = name.labels().collect();
    let mut key = Vec::with_capacity(name.as_wire().len());
    for label in labels.into_iter().rev() {
        for octet in label {
            match octet.to_ascii_lowercase() {
                low @ (0 | 1) => key.extend([1, low + 1]),
                octet => key.push(octet),
            }
        }
        key.push(0);
    }
    key.into()
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
            for (node, cover) in tree.nodes_covered() {
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
