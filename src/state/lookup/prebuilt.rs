//! Prebuilt answers: what most queries get is put together when the snapshot is built, and copied.
//!
//! ```text
//!   name ─▶ Index ─▶ NameEntry: flags, name, by type: octets ────────────▶ behind the question
//!                      └─▶ Template: referral or SOA ─▶ pointers moved ──▶ behind the question
//!   endpoint ─▶ EndpointRecords: A, AAAA ─▶ TTL filled in ───────────────▶ behind the question
//! ```
//!
//! An entry is a name with all of it in one piece of memory, so that a lookup waits for memory once more
//! after the index. What is made here is what [`crate::wire::records`] would write at that moment, to the
//! octet; where a question is out of the ordinary (spelled in upper case, or a name next to one the
//! records mention) pointers would differ, and nothing here is used: [`Template::fits`] tells.

use crate::model::{RecordType, ServiceId};
use crate::wire::HEADER_OCTETS;
use crate::wire::name::LowerName;
use crate::wire::records::{EncodedSet, Full, MAX_SUFFIXES, QUESTION_OWNER, Records};

use super::huge_pages;
use super::nodes::{Node, NodeId, Nodes};
use super::prefetch::prefetch;
use super::sections;

/// Longer answers than this are not kept: over UDP they would be truncated anyway.
const MAX_OCTETS: usize = 1_100;
/// The octets behind QNAME.
const TYPE_AND_CLASS: [u8; 4] = [0; 4];
/// Spots begin at multiples of this, so that 32 bits number 32 GiB of them.
const ALIGNMENT: usize = 8;
/// No service, wildcard or template.
const NONE: u32 = u32::MAX;

/// All entries and templates of a table of names.
#[derive(Debug, Default)]
pub struct Prebuilt {
    entries: Box<[u8]>,
    templates: Box<[Template]>,
}

/// A name with its prebuilt answers.
///
/// ```text
///   octets   0     4        8         12        16      17     18       20
///            node  service  wildcard  template  length  flags  answers  name  answer…
///   answer   type  octets  answers  additional  records…
/// ```
#[derive(Clone, Copy, Debug)]
pub struct NameEntry<'t> {
    head: &'t [u8; HEAD],
    rest: &'t [u8],
}

const HEAD: usize = 20;
const ANSWER_HEAD: usize = 8;

/// The records that answer a question, in one piece.
#[derive(Clone, Copy, Debug)]
pub struct PrebuiltAnswer<'t> {
    pub octets: &'t [u8],
    /// The number of records in the answer and in the additional section.
    pub answers: u16,
    pub additional: u16,
    /// Holds names, whose compression depends on the spelling: only for this very question in lower case.
    pub is_case_sensitive: bool,
}

/// Marks [`PrebuiltAnswer::is_case_sensitive`] in the length of an answer.
const CASE_SENSITIVE: u16 = 1 << 15;

/// Properties of a name besides its answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flags(u8);

impl Flags {
    /// At or below a zone cut: its template is the referral.
    pub const CUT: Flags = Flags(1);
    /// It stands for another name.
    pub const ALIAS: Flags = Flags(2);
    /// A DNAME: names below are somewhere else.
    pub const DNAME: Flags = Flags(4);

    #[inline]
    pub fn has(self, other: Flags) -> bool {
        self.0 & other.0 != 0
    }
}

impl<'t> NameEntry<'t> {
    fn at(entries: &'t [u8], at: u32) -> Option<NameEntry<'t>> {
        let (head, rest) = entries.get(at as usize * ALIGNMENT..)?.split_first_chunk()?;
        Some(NameEntry { head, rest })
    }

    /// The name in lower case.
    #[inline]
    pub fn name(&self) -> &'t [u8] {
        self.rest.get(..usize::from(self.head[16])).unwrap_or_default()
    }

    #[inline]
    pub fn node(&self) -> NodeId {
        NodeId(self.word::<0>())
    }

    #[inline]
    pub fn flags(&self) -> Flags {
        Flags(self.head[17])
    }

    #[inline]
    pub fn service(&self) -> Option<ServiceId> {
        Some(ServiceId(self.word::<4>())).filter(|id| id.0 != NONE)
    }

    /// The answer to a type; `None` where there is none, or none is prebuilt.
    #[inline(always)]
    pub fn answer(&self, rtype: RecordType) -> AtType<'t> {
        let mut rest = self.rest.get(usize::from(self.head[16])..).unwrap_or_default();
        let [_, _, c0, c1] = *self.head.last_chunk::<4>().unwrap_or(&[0; 4]);
        for _ in 0..u16::from_le_bytes([c0, c1]) {
            let Some((&[t0, t1, o0, o1, a0, a1, d0, d1], after)) = rest.split_first_chunk::<ANSWER_HEAD>() else {
                break;
            };
            let length = u16::from_le_bytes([o0, o1]);
            let Some((octets, after)) = after.split_at_checked(usize::from(length & !CASE_SENSITIVE)) else { break };
            if [t0, t1] == rtype.0.to_le_bytes() {
                let (answers, additional) = (u16::from_le_bytes([a0, a1]), u16::from_le_bytes([d0, d1]));
                if answers == 0 {
                    return AtType::Unbuilt;
                }
                return AtType::Prebuilt(PrebuiltAnswer {
                    octets,
                    answers,
                    additional,
                    is_case_sensitive: length & CASE_SENSITIVE != 0,
                });
            }
            rest = after;
        }
        AtType::Nothing
    }

    #[inline]
    fn word<const AT: usize>(&self) -> u32 {
        let word = self.head.get(AT..).and_then(|rest| rest.first_chunk());
        word.map_or(NONE, |word| u32::from_le_bytes(*word))
    }
}

/// The records of a type at a name.
#[derive(Clone, Copy, Debug)]
pub enum AtType<'t> {
    Prebuilt(PrebuiltAnswer<'t>),
    /// Records that have to be written.
    Unbuilt,
    Nothing,
}

impl Prebuilt {
    /// Builds all of it. Gives, by [`NodeId`], where the entries of those found by their names are.
    pub(super) fn build(nodes: &Nodes, found: &[NodeId]) -> (Prebuilt, Vec<u32>) {
        let mut build = Build { nodes, templates: Vec::new(), negatives: Vec::new(), referrals: Default::default() };
        let mut entries = Vec::new();
        let mut places = vec![NONE; nodes.len()];
        for &id in found {
            places[id.0 as usize] = (entries.len() / ALIGNMENT) as u32;
            build.entry(id, &mut entries);
            entries.resize(entries.len().next_multiple_of(ALIGNMENT), 0);
        }
        for &id in found {
            let (at, wildcard) = (places[id.0 as usize], nodes.node(id).wildcard());
            if let Some(wildcard) = wildcard
                && let Some(place) = entries.get_mut(at as usize * ALIGNMENT + 8..).and_then(|rest| rest.get_mut(..4))
            {
                place.copy_from_slice(&places[wildcard.0 as usize].to_le_bytes());
            }
        }
        let prebuilt = Prebuilt { entries: entries.into(), templates: build.templates.into() };
        huge_pages::gather(&prebuilt.entries);
        (prebuilt, places)
    }

    #[inline]
    pub fn entry(&self, at: u32) -> Option<NameEntry<'_>> {
        NameEntry::at(&self.entries, at)
    }

    /// Has the processor fetch an entry: the two lines that most fit in.
    #[inline]
    pub(super) fn fetch(&self, at: u32) {
        const LINE: usize = 64;
        let at = at as usize * ALIGNMENT;
        let rest = self.entries.get(at..).unwrap_or_default();
        [rest.first(), rest.get(LINE)].into_iter().flatten().for_each(|octet| prefetch(octet));
    }

    /// The `*` below a name (RFC 4592 section 2.1.1).
    #[inline]
    pub fn wildcard(&self, of: &NameEntry<'_>) -> Option<NameEntry<'_>> {
        match of.word::<8>() {
            NONE => None,
            at => self.entry(at),
        }
    }

    /// The referral of a name at or below a cut; of any other name what proves that it has no data.
    #[inline]
    pub fn template(&self, of: &NameEntry<'_>) -> Option<&Template> {
        self.templates.get(of.word::<12>() as usize)
    }

    pub(super) fn memory_bytes_of_entries(&self) -> usize {
        self.entries.len()
    }

    pub fn memory_bytes(&self) -> usize {
        let of = |template: &Template| size_of_val(template) + template.octets.len() + 2 * template.pointers.len();
        self.entries.len() + self.templates.iter().map(of).sum::<usize>()
    }
}

struct Build<'n> {
    nodes: &'n Nodes,
    templates: Vec<Template>,
    /// By zone.
    negatives: Vec<Option<u32>>,
    /// By cut.
    referrals: std::collections::HashMap<u32, u32>,
}

impl Build<'_> {
    fn entry(&mut self, id: NodeId, into: &mut Vec<u8>) {
        let node = self.nodes.node(id);
        let name = LowerName::of(node.name());
        let flags = [
            (node.cut().is_some(), Flags::CUT),
            (node.set(RecordType::CNAME).is_some(), Flags::ALIAS),
            (node.set(RecordType::DNAME).is_some(), Flags::DNAME),
        ];
        let flags = flags.iter().filter(|(is, _)| *is).fold(0, |all, (_, flag)| all | flag.0);
        let template = self.template_of(node);
        let sets = if node.cut().is_some() { &[] } else { node.sets() };
        for word in [id.0, node.service().map_or(NONE, |id| id.0), NONE, template] {
            into.extend(word.to_le_bytes());
        }
        into.extend([name.as_wire().len() as u8, flags]);
        into.extend((sets.len() as u16).to_le_bytes()); // a type each
        into.extend(name.as_wire());
        for set in sets {
            let written =
                composed(name.as_wire(), |records| sections::whole_data(self.nodes, set, QUESTION_OWNER, records));
            let written = written.filter(|written| written.octets.len() <= MAX_OCTETS).unwrap_or_default();
            let names = set.records.rdatas.iter().any(|rdata| !rdata.names.is_empty()) || !set.additional.is_empty();
            let length = written.octets.len() as u16 | if names { CASE_SENSITIVE } else { 0 };
            let [answers, _, additional] = written.counts;
            into.extend([set.records.rtype.0, length, answers, additional].into_iter().flat_map(u16::to_le_bytes));
            into.extend(written.octets);
        }
    }

    fn template_of(&mut self, node: &Node) -> u32 {
        let known = match node.cut() {
            Some(cut) => self.referrals.get(&cut.0).copied(),
            None => self.negatives.get(node.zone()).copied().flatten(),
        };
        known.unwrap_or_else(|| self.new_template(node))
    }

    fn new_template(&mut self, node: &Node) -> u32 {
        let nodes = self.nodes;
        let made = match node.cut().map(|cut| nodes.node(cut)) {
            Some(cut) => {
                let mentioned = mentioned(cut.set(RecordType::NS).map(|set| &set.records));
                let below = LowerName::of(cut.name());
                Template::make(&below, &mentioned, |records| sections::referral(nodes, cut, records))
            }
            None => {
                let mentioned = mentioned(nodes.negative_soa(node));
                let mut below = LowerName::new();
                below.read(nodes.origin(node));
                Template::make(&below, &mentioned, |records| sections::negative(nodes, node, u32::MAX, records))
            }
        };
        let number = match made {
            Some(template) => {
                self.templates.push(template);
                self.templates.len() as u32 - 1 // at most one per node
            }
            None => NONE,
        };
        match node.cut() {
            Some(cut) => {
                self.referrals.insert(cut.0, number);
            }
            None => {
                let zone = node.zone();
                self.negatives.resize(self.negatives.len().max(zone + 1), None);
                self.negatives[zone] = Some(number);
            }
        }
        number
    }
}

/// Records that go with every name below one, but for their pointers.
#[derive(Debug)]
pub struct Template {
    /// As they stand behind a question for the name itself.
    pub octets: Box<[u8]>,
    /// The offsets of pointers in `octets`: they move with the length of the question.
    pub pointers: Box<[u16]>,
    /// Records by [`Section`](crate::wire::records::Section).
    pub counts: [u16; 3],
    /// The numbers of labels and octets of the name.
    labels: usize,
    name_octets: usize,
    /// The number of ends of names that writing these records remembers besides the question's.
    suffixes: usize,
    /// Labels next below the name that the records mention, with their lengths: a question that is at
    /// or below one would be pointed at.
    near: Box<[u8]>,
}

impl Template {
    /// Of a name, with all names that are mentioned, in lower case.
    fn make(
        below: &LowerName,
        mentioned: &[LowerName],
        write: impl Fn(&mut Records<'_>) -> Result<(), Full>,
    ) -> Option<Template> {
        let (labels, name_octets) = (below.labels(), below.as_wire().len());
        let written = composed(below.as_wire(), &write)?;
        // What moves is seen where the question is longer.
        const LONGER: u16 = 2;
        let moved = composed(&[b"\x01\0", below.as_wire()].concat(), &write)?;
        let pointers = pointers_moved_by(LONGER, &written.octets, &moved.octets)?;
        let is_below = |name: &&LowerName| name.labels() > labels && name.last(labels) == below.as_wire();
        let near = mentioned.iter().filter(is_below).flat_map(|name| name.label_before(labels).to_vec());
        Some(Template {
            octets: written.octets.into(),
            pointers: pointers.into(),
            counts: written.counts,
            labels,
            name_octets,
            suffixes: written.suffixes.checked_sub(labels)?,
            near: near.collect(),
        })
    }

    /// Tells whether the records are those of a question for this name, which is in lower case, and at or
    /// below the template's.
    #[inline(always)]
    pub fn fits(&self, question: &LowerName) -> bool {
        let label = question.label_before(self.labels);
        let mut rest = &*self.near;
        while let Some(&len) = rest.first()
            && let Some((near, after)) = rest.split_at_checked(1 + usize::from(len))
        {
            if near == label {
                return false;
            }
            rest = after;
        }
        question.labels() + self.suffixes <= MAX_SUFFIXES
    }

    /// The octets by which pointers lead further than in `octets` for a question for a name of so many octets.
    #[inline]
    pub fn moved_by(&self, name_octets: usize) -> u16 {
        name_octets.saturating_sub(self.name_octets) as u16
    }
}

/// The names in an RRset's RDATA. Those of glue are among them.
fn mentioned(set: Option<&EncodedSet>) -> Vec<LowerName> {
    let rdatas = set.into_iter().flat_map(|set| &set.rdatas);
    let names = rdatas.flat_map(|rdata| rdata.names.iter().filter_map(|&at| rdata.wire.get(usize::from(at)..)));
    let read = |wire| {
        let mut name = LowerName::new();
        name.read(wire).map(|_| name)
    };
    names.filter_map(read).collect()
}

#[derive(Default)]
struct Composed {
    octets: Vec<u8>,
    counts: [u16; 3],
    suffixes: usize,
}

/// The records that are written behind a question for this name.
fn composed(name: &[u8], write: impl Fn(&mut Records<'_>) -> Result<(), Full>) -> Option<Composed> {
    let mut out = [0; HEADER_OCTETS + 259 + MAX_OCTETS + 1];
    let asked = [&[0; HEADER_OCTETS], name, &TYPE_AND_CLASS].concat();
    let limit = asked.len() + MAX_OCTETS;
    let mut records = Records::begin(&mut out, &asked, limit)?;
    write(&mut records).ok()?;
    let written = records.end();
    let octets = written.out.get(written.question_end..written.len)?.to_vec();
    Some(Composed { octets, counts: written.counts, suffixes: written.suffixes })
}

/// The offsets of the pointers that lead so much further in `after` than in `before`. `None` where anything
/// else differs.
fn pointers_moved_by(octets: u16, before: &[u8], after: &[u8]) -> Option<Vec<u16>> {
    let mut pointers = Vec::new();
    let mut at = 0;
    while at < before.len().max(after.len()) {
        let pair = |of: &[u8]| of.get(at..at + 2).and_then(|pair| pair.try_into().ok()).map(u16::from_be_bytes);
        match (pair(before), pair(after)) {
            (Some(old), Some(new)) if old != new && old >= 0xc000 && new == old + octets => {
                pointers.push(at as u16);
                at += 2;
            }
            _ if before.get(at) == after.get(at) => at += 1,
            _ => return None,
        }
    }
    Some(pointers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Name;
    use crate::wire::records::{Owner, Section};

    fn lower(text: &str) -> LowerName {
        LowerName::of(&Name::parse_absolute(text).expect("a name"))
    }

    /// NS of `child.example`, one inside and one beside it.
    fn referral(records: &mut Records<'_>) -> Result<(), Full> {
        for target in [&b"\x03ns1\x05child\x07example\0"[..], b"\x03ns2\x07example\0"] {
            let owner = Owner::Name(b"\x05child\x07example\0");
            records.with_name(Section::Authority, owner, RecordType::NS, 60, target)?;
        }
        Ok(())
    }

    fn template() -> Template {
        let mentioned = [lower("ns1.child.example"), lower("ns2.example")];
        Template::make(&lower("child.example"), &mentioned, referral).expect("a template")
    }

    #[test]
    fn rfc1035_4_1_4_a_template_is_what_would_be_written() {
        let template = template();
        assert_eq!((template.counts, template.pointers.len()), ([0, 2, 0], 4));
        for question in ["child.example", "host.child.example", "a.b.c.a-long-label.child.example", "ns2.child.example"]
        {
            let name = lower(question);
            assert!(template.fits(&name), "{question}");
            let mut octets = template.octets.to_vec();
            for at in template.pointers.iter().map(|&at| usize::from(at)) {
                let pointer =
                    u16::from_be_bytes([octets[at], octets[at + 1]]) + template.moved_by(name.as_wire().len());
                octets[at..at + 2].copy_from_slice(&pointer.to_be_bytes());
            }
            assert_eq!(octets, composed(name.as_wire(), referral).expect("records").octets, "{question}");
        }
    }

    #[test]
    fn a_question_that_records_would_point_at_fits_no_template() {
        let template = template();
        for question in ["ns1.child.example", "host.ns1.child.example"] {
            assert!(!template.fits(&lower(question)), "{question}");
        }
        let many_labels = format!("{}child.example", "x.".repeat(MAX_SUFFIXES));
        assert!(!template.fits(&lower(&many_labels)), "more ends of names than are remembered");
    }

    #[test]
    fn only_pointers_may_move() {
        assert_eq!(pointers_moved_by(2, b"ab\xc0\xfe\xc0\x0cz", b"ab\xc1\x00\xc0\x0ez"), Some(vec![2, 4]));
        assert_eq!(pointers_moved_by(2, b"same", b"same"), Some(vec![]));
        for (before, after) in
            [(&b"ab"[..], &b"ac"[..]), (b"ab", b"abc"), (b"\xc0\x0c", b"\xc0\x0d"), (b"\x00\x0c", b"\x00\x0e")]
        {
            assert_eq!(pointers_moved_by(2, before, after), None, "{before:?}");
        }
    }
}
