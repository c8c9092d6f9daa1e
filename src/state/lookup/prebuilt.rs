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

use std::panic::resume_unwind;
use std::sync::Arc;
use std::thread;

use crate::model::name::wire_len;
use crate::model::zone_nodes::Layers;
use crate::model::{RecordType, RrSet, ServiceId};
use crate::wire::HEADER_OCTETS;
use crate::wire::name::LowerName;
use crate::wire::records::{Full, MAX_SUFFIXES, QUESTION_OWNER, Records, Written, compressible_names};

use super::huge_pages;
use super::nodes::{NONE, Node, NodeId, Nodes};
use super::prefetch::prefetch;
use super::sections;

/// Longer answers than this are not kept: over UDP they would be truncated anyway.
const MAX_OCTETS: usize = 1_100;
/// The octets behind QNAME.
const TYPE_AND_CLASS: [u8; 4] = [0; 4];
/// Spots begin at multiples of this, so that 32 bits number 32 GiB of them.
const ALIGNMENT: usize = 8;
/// An entry with an address or two.
const USUAL_OCTETS: usize = 96;
/// Fewer names than this are built by one thread. Tests have few.
const FEW: usize = if cfg!(test) { 2 } else { 20_000 };
/// More threads than this do not build names: memory is what they wait for.
const MOST_THREADS: usize = 4;

/// All entries and templates of a table of names.
#[derive(Clone, Debug, Default)]
pub struct Prebuilt {
    entries: Layers,
    templates: Vec<Template>,
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
    #[inline(always)]
    fn at(entries: &'t Layers, at: u32) -> Option<NameEntry<'t>> {
        let (head, rest) = entries.from(at as usize * ALIGNMENT).split_first_chunk()?;
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

    pub(super) fn template_number(&self) -> u32 {
        self.word::<12>()
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
        let mut prebuilt = Prebuilt::default();
        let numbers = prebuilt.make_templates(nodes, found);
        let mut places = vec![NONE; nodes.slots.len()];
        let (mut entries, each) = in_parts(nodes, found, &numbers).unwrap_or_else(|| {
            let mut entries = Vec::with_capacity(found.len() * USUAL_OCTETS);
            let mut appender = Appender::new(nodes);
            let each = found.iter().map(|&id| appender.append(id, numbers.of(nodes.node(id)), &mut entries)).collect();
            (entries.into(), each)
        });
        for (id, place) in found.iter().zip(each) {
            places[id.0 as usize] = place;
        }
        if let Some(entries) = Arc::get_mut(&mut entries) {
            for (id, wildcard) in nodes.iter().filter_map(|(id, node)| Some((id, node.wildcard()?))) {
                put_wildcard(entries, places[id.0 as usize], places[wildcard.0 as usize]);
            }
        }
        prebuilt.entries = Layers::new(entries);
        (prebuilt, places)
    }

    /// Makes the templates of all zones and cuts. Gives their numbers.
    fn make_templates(&mut self, nodes: &Nodes, found: &[NodeId]) -> Numbers {
        let mut numbers = Numbers { negatives: vec![NONE; nodes.zones.len()], referrals: Default::default() };
        for &id in found {
            let node = nodes.node(id);
            match node.cut() {
                Some(cut) => _ = numbers.referrals.entry(cut.0).or_insert_with(|| self.keep(Template::of(nodes, node))),
                None => {
                    if let Some(number) = numbers.negatives.get_mut(node.zone()).filter(|number| **number == NONE) {
                        *number = self.keep(Template::of(nodes, node));
                    }
                }
            }
        }
        numbers
    }

    fn keep(&mut self, template: Option<Template>) -> u32 {
        let Some(template) = template else { return NONE };
        self.templates.push(template);
        self.templates.len() as u32 - 1 // at most one per node
    }

    /// Makes a template anew in its place, or one that was not there. Gives its number; `None` where there would be
    /// nothing at a number that entries lead to.
    pub(super) fn renew_template(&mut self, nodes: &Nodes, node: Node<'_>, number: Option<u32>) -> Option<u32> {
        let template = Template::of(nodes, node);
        match number.and_then(|number| Some((number, self.templates.get_mut(number as usize)?))) {
            Some((number, place)) => {
                *place = template?;
                Some(number)
            }
            None => Some(self.keep(template)),
        }
    }

    /// Tells whether most entries are the same memory.
    pub(super) fn shares_with(&self, other: &Prebuilt) -> bool {
        self.entries.shares_with(&other.entries)
    }

    /// The place behind all entries.
    pub(super) fn end(&self) -> u32 {
        (self.entries.len().0 / ALIGNMENT) as u32
    }

    /// The same with more entries behind those that there are. `None` where so many were added since the first that
    /// all had better be made anew.
    pub(super) fn with_entries(self, entries: &[u8]) -> Option<Prebuilt> {
        const FEW_OCTETS: usize = 1 << 20;
        let (total, added) = self.entries.len();
        if added + entries.len() > FEW_OCTETS.max(total / 8) {
            return None;
        }
        Some(Prebuilt { entries: self.entries.with(entries), ..self })
    }

    #[inline]
    pub fn entry(&self, at: u32) -> Option<NameEntry<'_>> {
        NameEntry::at(&self.entries, at)
    }

    /// Has the processor fetch an entry: the two lines that most fit in.
    #[inline]
    pub(super) fn fetch(&self, at: u32) {
        const LINE: usize = 64;
        let rest = self.entries.from(at as usize * ALIGNMENT);
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
        self.entries.len().0
    }

    pub fn memory_bytes(&self) -> usize {
        let of = |template: &Template| size_of_val(template) + template.octets.len() + 2 * template.pointers.len();
        self.entries.len().0 + self.templates.iter().map(of).sum::<usize>()
    }
}

/// Templates by what they are for.
#[derive(Debug, Default)]
struct Numbers {
    /// By zone.
    negatives: Vec<u32>,
    /// By cut.
    referrals: std::collections::HashMap<u32, u32>,
}

impl Numbers {
    fn of(&self, node: Node<'_>) -> u32 {
        let number = match node.cut() {
            Some(cut) => self.referrals.get(&cut.0),
            None => self.negatives.get(node.zone()),
        };
        number.copied().unwrap_or(NONE)
    }
}

/// The entries of nodes in this order, made by several threads, and where each is. `None` where one thread does, or where
/// they are longer than was thought.
fn in_parts(nodes: &Nodes, found: &[NodeId], numbers: &Numbers) -> Option<(Arc<[u8]>, Vec<u32>)> {
    let threads = thread::available_parallelism().map_or(1, usize::from).min(MOST_THREADS);
    if found.len() < FEW || threads == 1 {
        return None;
    }
    let parts: Vec<&[NodeId]> = found.chunks(found.len().div_ceil(threads)).collect();
    let rooms: Vec<usize> = thread::scope(|scope| {
        let room = |ids: &[NodeId]| ids.iter().map(|&id| most_octets(nodes.node(id))).sum::<usize>();
        let each: Vec<_> = parts.iter().map(|ids| scope.spawn(move || room(ids))).collect();
        each.into_iter().map(|room| room.join().unwrap_or_else(|panic| resume_unwind(panic))).collect()
    });
    let mut entries = huge_pages::zeroed(rooms.iter().sum());
    let (mut rest, mut begin) = (Arc::get_mut(&mut entries)?, 0);
    let places: Vec<Option<Vec<u32>>> = thread::scope(|scope| {
        let each = parts.iter().zip(&rooms).map(|(ids, &room)| {
            let (own, from) = (rest.split_off_mut(..room).unwrap_or_default(), begin);
            begin += room / ALIGNMENT;
            scope.spawn(move || fill(nodes, ids, numbers, from as u32, own))
        });
        let each: Vec<_> = each.collect();
        each.into_iter().map(|part| part.join().unwrap_or_else(|panic| resume_unwind(panic))).collect()
    });
    let places = places.into_iter().collect::<Option<Vec<_>>>()?.concat();
    Some((entries, places))
}

/// Puts the entries of these nodes in their room, which begins at this place. Gives where each is.
fn fill(nodes: &Nodes, ids: &[NodeId], numbers: &Numbers, begin: u32, mut room: &mut [u8]) -> Option<Vec<u32>> {
    let (mut appender, mut entry) = (Appender::new(nodes), Vec::new());
    let (mut places, mut at) = (Vec::with_capacity(ids.len()), begin);
    for &id in ids {
        entry.clear();
        appender.append(id, numbers.of(nodes.node(id)), &mut entry);
        room.split_off_mut(..entry.len())?.copy_from_slice(&entry);
        places.push(at);
        at += (entry.len() / ALIGNMENT) as u32;
    }
    Some(places)
}

/// The most octets of an entry: exactly so many where its records name nobody.
fn most_octets(node: Node<'_>) -> usize {
    /// An owner that the question has; type, class, TTL, and the length of RDATA.
    const RECORD_HEAD: usize = 12;
    let answer = |set: super::nodes::NodeSet<'_>| match set.additional.is_empty() {
        true => set.records.rdatas().map(|rdata| RECORD_HEAD + rdata.len()).sum::<usize>().min(MAX_OCTETS),
        false => MAX_OCTETS,
    };
    let answers = node.sets().filter(|_| node.cut().is_none()).map(|set| ANSWER_HEAD + answer(set)).sum::<usize>();
    (HEAD + node.labels().len() + node.origin().len() + answers).next_multiple_of(ALIGNMENT)
}

/// Makes entries, one by one.
pub(super) struct Appender<'n> {
    nodes: &'n Nodes,
    scratch: Scratch,
}

impl Appender<'_> {
    pub fn new(nodes: &Nodes) -> Appender<'_> {
        Appender { nodes, scratch: Scratch::new() }
    }

    /// Appends the entry of a node, without the place of its wildcard. Gives where it is.
    pub fn append(&mut self, id: NodeId, template: u32, into: &mut Vec<u8>) -> u32 {
        let at = into.len() / ALIGNMENT;
        append_entry(self.nodes, id, template, &mut self.scratch, into);
        at as u32
    }
}

/// Appends the entry of a node, with another number than its wildcard's place.
fn append_entry(nodes: &Nodes, id: NodeId, template: u32, scratch: &mut Scratch, into: &mut Vec<u8>) {
    let node = nodes.node(id);
    let name = node.name();
    let is_cut = node.cut().is_some();
    let begin = into.len();
    for word in [id.0, node.service().map_or(NONE, |id| id.0), NONE, template] {
        into.extend(word.to_le_bytes());
    }
    into.extend([name.as_wire().len() as u8, if is_cut { Flags::CUT.0 } else { 0 }, 0, 0]);
    into.extend_from_slice(name.as_wire());
    let (mut count, mut flags) = (0u16, 0);
    for set in node.sets() {
        match set.records.rtype {
            RecordType::CNAME => flags |= Flags::ALIAS.0,
            RecordType::DNAME => flags |= Flags::DNAME.0,
            _ => {}
        }
        if !is_cut {
            count = count.saturating_add(1); // a type each
            append_answer(nodes, &set, name.as_wire(), scratch, into);
        }
    }
    into[begin + 17] |= flags;
    into[begin + 18..begin + HEAD].copy_from_slice(&count.to_le_bytes());
    into.resize(into.len().next_multiple_of(ALIGNMENT), 0);
}

fn append_answer(
    nodes: &Nodes,
    set: &super::nodes::NodeSet<'_>,
    name: &[u8],
    scratch: &mut Scratch,
    into: &mut Vec<u8>,
) {
    let written = scratch.compose(name, |records| sections::whole_data(nodes, set, QUESTION_OWNER, records));
    let (octets, counts, _) = written.filter(|(octets, ..)| octets.len() <= MAX_OCTETS).unwrap_or_default();
    let (_, names) = compressible_names(set.records.rtype);
    let is_case_sensitive = names > 0 || !set.additional.is_empty();
    let length = octets.len() as u16 | if is_case_sensitive { CASE_SENSITIVE } else { 0 };
    let [answers, _, additional] = counts;
    into.extend([set.records.rtype.0, length, answers, additional].into_iter().flat_map(u16::to_le_bytes));
    into.extend_from_slice(octets);
}

/// Has the entry at this place lead to that of its wildcard.
pub(super) fn put_wildcard(entries: &mut [u8], at: u32, wildcard: u32) {
    if let Some(place) = entries.get_mut(at as usize * ALIGNMENT + 8..).and_then(|rest| rest.get_mut(..4)) {
        place.copy_from_slice(&wildcard.to_le_bytes());
    }
}

/// Records that go with every name below one, but for their pointers.
#[derive(Clone, Debug)]
pub struct Template {
    /// As they stand behind a question for the name itself.
    pub octets: Arc<[u8]>,
    /// The offsets of pointers in `octets`: they move with the length of the question.
    pub pointers: Arc<[u16]>,
    /// Records by [`Section`](crate::wire::records::Section).
    pub counts: [u16; 3],
    /// The numbers of labels and octets of the name.
    labels: usize,
    name_octets: usize,
    /// The number of ends of names that writing these records remembers besides the question's.
    suffixes: usize,
    /// Labels next below the name that the records mention, with their lengths: a question that is at
    /// or below one would be pointed at.
    near: Arc<[u8]>,
}

impl Template {
    /// The referral of a node at or below a cut; of any other the proof that it has no data.
    fn of(nodes: &Nodes, node: Node<'_>) -> Option<Template> {
        if let Some(cut) = node.cut().map(|cut| nodes.node(cut)) {
            let mut below = LowerName::new();
            below.read(cut.name().as_wire());
            let mentioned = mentioned(cut.set(RecordType::NS).map(|set| set.records));
            return Template::make(&below, &mentioned, |records| sections::referral(nodes, cut, records));
        }
        let mut below = LowerName::new();
        below.read(node.origin());
        Template::make(&below, &mentioned(node.negative_soa()), |records| sections::negative(node, u32::MAX, records))
    }

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
fn mentioned(set: Option<RrSet<'_>>) -> Vec<LowerName> {
    let mut mentioned = Vec::new();
    for (set, rdata) in set.iter().flat_map(|set| set.rdatas().map(move |rdata| (set, rdata))) {
        let (first, names) = compressible_names(set.rtype);
        let mut rest = rdata.get(first..).unwrap_or_default();
        for _ in 0..names {
            let mut name = LowerName::new();
            let Some(after) = wire_len(rest).filter(|_| name.read(rest).is_some()).and_then(|len| rest.get(len..))
            else {
                break;
            };
            mentioned.push(name);
            rest = after;
        }
    }
    mentioned
}

#[derive(Default)]
struct Composed {
    octets: Vec<u8>,
    counts: [u16; 3],
    suffixes: usize,
}

/// The records that are written behind a question for this name.
fn composed(name: &[u8], write: impl Fn(&mut Records<'_>) -> Result<(), Full>) -> Option<Composed> {
    let mut scratch = Scratch::new();
    let (octets, counts, suffixes) = scratch.compose(name, write)?;
    Some(Composed { octets: octets.to_vec(), counts, suffixes })
}

/// Room to write records in.
struct Scratch(Box<[u8; HEADER_OCTETS + 259 + MAX_OCTETS + 1]>);

impl Scratch {
    fn new() -> Scratch {
        Scratch(Box::new([0; HEADER_OCTETS + 259 + MAX_OCTETS + 1]))
    }

    /// The records that are written behind a question for this name, their counts, and how many ends of names were
    /// remembered.
    fn compose(
        &mut self,
        name: &[u8],
        write: impl Fn(&mut Records<'_>) -> Result<(), Full>,
    ) -> Option<(&[u8], [u16; 3], usize)> {
        let mut asked = [0; HEADER_OCTETS + 259];
        let asked = asked.get_mut(..HEADER_OCTETS + name.len() + TYPE_AND_CLASS.len())?;
        asked.get_mut(HEADER_OCTETS..HEADER_OCTETS + name.len())?.copy_from_slice(name);
        let limit = asked.len() + MAX_OCTETS;
        let mut records = Records::begin(&mut *self.0, asked, limit)?;
        write(&mut records).ok()?;
        let Written { out, len, question_end, counts, suffixes, .. } = records.end();
        let out: &[u8] = out;
        Some((out.get(question_end..len)?, counts, suffixes))
    }
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
    use crate::model::{Model, Name, OwnedSet, Ttl, Zone, ZoneNodesBuilder};
    use crate::state::lookup::link::Built;
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

    /// Addresses, names that lead to some, a delegation with glue, a wildcard, and more text than is kept.
    fn nodes() -> Built {
        let mut builder = ZoneNodesBuilder::default();
        let mut push = |labels: &[u8], sets: &[(RecordType, &[&[u8]])]| {
            let set = |(rtype, rdatas): &(RecordType, &[&[u8]])| {
                let mut set = OwnedSet::default();
                set.begin(*rtype, Ttl::saturating(60));
                rdatas.iter().for_each(|rdata| set.push(rdata));
                set
            };
            let sets: Vec<OwnedSet> = sets.iter().map(set).collect();
            builder.push(labels, sets.iter().map(OwnedSet::as_set));
        };
        let soa = [&b"\x03ns1\x07example\0\x01h\x07example\0"[..], &[0; 20]].concat();
        let long = [&[250][..], &[b'x'; 250]].concat();
        push(b"", &[(RecordType::NS, &[b"\x03ns1\x07example\0"]), (RecordType::SOA, &[&soa])]);
        push(b"\x05child", &[(RecordType::NS, &[b"\x03ns2\x05child\x07example\0"])]);
        push(b"\x03ns2\x05child", &[(RecordType::A, &[&[192, 0, 2, 2]])]);
        push(b"\x04mail", &[(RecordType::MX, &[b"\0\x05\x03ns1\x07example\0", b"\0\x09\x01m\x05other\0"])]);
        push(b"\x03ns1", &[(RecordType::A, &[&[192, 0, 2, 1], &[192, 0, 2, 9]]), (RecordType::AAAA, &[&[1; 16]])]);
        push(
            b"\x01t",
            &[(RecordType::TXT, &[&long, &[&long[..], b"\x01y"].concat(), b"\x01z", &[&long[..], &long].concat()])],
        );
        push(b"\x01*\x01w", &[(RecordType::CNAME, &[b"\x03ns1\x07example\0"])]);
        let zone = Zone { origin: Name::parse_absolute("example").expect("a name"), nodes: builder.finish() };
        Built::new(&Model { zones: vec![zone], ..Model::default() })
    }

    #[test]
    fn entries_made_by_several_threads_are_those_of_one() {
        let Built { nodes, .. } = &nodes();
        let found: Vec<NodeId> = nodes.iter().map(|(id, _)| id).collect();
        let numbers = Prebuilt::default().make_templates(nodes, &found);
        let mut appender = Appender::new(nodes);
        let in_parts = in_parts(nodes, &found, &numbers);
        if thread::available_parallelism().is_ok_and(|threads| threads.get() > 1) {
            assert!(in_parts.is_some(), "no entry is longer than was thought");
        }
        let (entries, places) = in_parts.unwrap_or_default();
        for (&id, place) in found.iter().zip(places) {
            let mut alone = Vec::new();
            appender.append(id, numbers.of(nodes.node(id)), &mut alone);
            let begin = place as usize * ALIGNMENT;
            assert_eq!(entries.get(begin..begin + alone.len()), Some(&alone[..]), "{id:?}");
            let most = most_octets(nodes.node(id));
            let has_names = nodes.node(id).sets().any(|set| compressible_names(set.records.rtype).1 > 0);
            assert!(most == alone.len() || has_names && most > alone.len() || most > MAX_OCTETS, "{id:?}: {most}");
        }
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
