//! Reads the text of a zone once more, where little of it has changed.
//!
//! ```text
//!   pieces as before ─────▶ not read, but where they hold records of an owner that others have, too
//!   others, read ─▶ owners ─▶ those that these may matter to ─▶ checked with the names around ─▶ nodes that are others
//! ```
//!
//! Comes in: a text, and what is [`Known`] of an earlier one with its nodes. Goes out: what reading and checking all of
//! it would make, or nothing, and then all of it must be read: where there is a mistake, where much has changed, or
//! where a change reaches far.
//!
//! A rule about one name looks at that name's records and at the names that these lead to. So where a name comes or
//! goes, all whose records lead to it, or to a place that it stands beside, are checked again (`touched`). Names that
//! warnings were told of are always checked again: they are told with the lines they are on now.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

use super::check::{Checked, Part, ZoneFacts, check_nodes};
use super::mistake::MAX_TOLD;
use super::pieces::{Grain, Hashes, HashesOf, may_include};
use super::reader::{Counts, Start, Unread};
use super::targets::ServiceOwner;
use super::text::{MAX_ZONE_BYTES, MasterText, Strictness, ZoneRecord};
use super::touched::{Change, Touched, around, labels_of};
use super::whole::{Piece, read_at};
use crate::control::diagnostic::{Diagnostic, SourceFile, Span};
use crate::model::{Name, Record, Ttl, ZoneNode, ZoneNodes};

/// One part in so many of a text may be other than before.
const PART: usize = 8;
/// So many octets may, however short the text is.
const FEW_OCTETS: usize = 1 << 15;
/// So many names are checked again, and as many looked at for these.
const MOST_NAMES: usize = 4_000;

/// A text of a zone as it was read, without its records.
#[derive(Debug)]
pub struct Known {
    pub(super) grain: Grain,
    pub(super) facts: KnownFacts,
    pub(super) hashes: Hashes,
    pub(super) pieces: Vec<Arc<Piece>>,
    /// The owners that something was told of.
    pub(super) told: Vec<Name>,
    /// There are, or were, delegations.
    pub(super) has_cuts: bool,
}

/// The facts that a text was read by; by others it may mean something else.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct KnownFacts {
    origin: Box<[u8]>,
    default_ttl: Option<Ttl>,
    strictness: Strictness,
    /// Name, hosts, whether there are addresses, and HTTPS records.
    services: Vec<(Name, Vec<Name>, bool, bool)>,
}

impl KnownFacts {
    pub fn of(facts: &ZoneFacts<'_>, default_ttl: Option<Ttl>) -> KnownFacts {
        let service = |service: &ServiceOwner| {
            let hosts = service.hosts.iter().map(|(host, _)| host.clone()).collect();
            (service.name.clone(), hosts, service.has_addresses, service.https)
        };
        KnownFacts {
            origin: facts.origin.as_wire().into(),
            default_ttl,
            strictness: facts.strictness,
            services: facts.services.iter().map(service).collect(),
        }
    }
}

/// What a text was made into before.
#[derive(Clone, Copy)]
pub struct Before<'k> {
    pub known: &'k Known,
    pub nodes: &'k ZoneNodes,
}

/// A text that was read once more.
pub(super) struct Again {
    pub nodes: ZoneNodes,
    pub of_text: Vec<Diagnostic>,
    pub of_zone: Vec<Diagnostic>,
    pub known: Known,
}

/// Reads a text by what is known of an earlier one, of the same zone and by the same facts.
pub(super) fn read_again(
    text: &MasterText<'_>,
    facts: &ZoneFacts<'_>,
    default_ttl: Option<Ttl>,
    before: Before<'_>,
) -> Option<Again> {
    if text.text.len() > MAX_ZONE_BYTES || may_include(text) {
        return None;
    }
    let known = before.known;
    let mut walk = Walk::new(text, default_ttl, known);
    let mut hashes = walk.pieces(facts.origin)?;
    hashes.extend(known.told.iter().chain([facts.origin]).map(|name| known.hashes.of_name(name.as_wire())));
    walk.read_holders(&hashes, true)?;
    let (touched, mut names) = {
        let changes = changes(&walk, facts.origin, before.nodes, &hashes);
        let touched = Touched::by(&changes, facts, before.nodes, known.has_cuts)?;
        (touched, changes.into_keys().collect::<HashSet<Name>>())
    };
    let others: Vec<Name> = touched.names.into_iter().filter(|name| !names.contains(name)).collect();
    walk.read_holders(&others.iter().map(|name| known.hashes.of_name(name.as_wire())).collect(), false)?;
    names.extend(others);
    if names.len() > MOST_NAMES {
        return None;
    }
    let part = Part { names: &names, glue_names: touched.glue_names };
    let Checked { nodes, diagnostics: of_zone, told, has_cuts, .. } = check_part(&walk, facts, before.nodes, part)?;
    let nodes = replaced(before.nodes, &nodes, &names, facts.origin)?;
    let of_text: Vec<Diagnostic> = walk.warnings.into_values().flatten().collect();
    let mut counts = Counts::default();
    walk.places.iter().for_each(|(piece, _)| counts.add(piece.counts));
    if !counts.are_within_limits() || of_text.len() >= MAX_TOLD {
        return None;
    }
    let pieces = walk.places.into_iter().map(|(piece, _)| piece).collect();
    let has_cuts = has_cuts || known.has_cuts;
    let (facts, hashes) = (known.facts.clone(), known.hashes.clone());
    let known = Known { grain: known.grain, facts, hashes, pieces, told, has_cuts };
    Some(Again { nodes, of_text, of_zone, known })
}

/// Checks these names among those around them.
fn check_part(walk: &Walk<'_>, facts: &ZoneFacts<'_>, before: &ZoneNodes, part: Part<'_>) -> Option<Checked> {
    let records: Vec<&ZoneRecord> = walk.read.values().flatten().collect();
    let elsewhere = SourceFile::new("", "");
    let beside = around(&records, part.names, facts, before, MOST_NAMES)?;
    let beside = stand_ins(&beside, facts.origin, &elsewhere);
    let checked = check_nodes(facts, records.into_iter().chain(&beside), Some(part));
    let is_known = |span: &Span| !Arc::ptr_eq(&span.file, &elsewhere);
    let has_places = |told: &Diagnostic| {
        told.span.as_ref().is_none_or(is_known) && told.related.iter().all(|(span, _)| is_known(span))
    };
    (checked.is_divisible && checked.diagnostics.iter().all(has_places)).then_some(checked)
}

/// The names that have one of these hashes, as they were and as they are.
fn changes<'w>(
    walk: &'w Walk<'_>,
    origin: &Name,
    before: &'w ZoneNodes,
    hashes: &HashesOf,
) -> HashMap<Name, Change<'w>> {
    let mut changes: HashMap<Name, Change<'w>> = HashMap::new();
    let known = &walk.known.hashes;
    let mut gone = hashes.clone();
    for record in walk.read.values().flatten() {
        let owner = &record.record.owner;
        let change = match changes.get_mut(owner) {
            Some(change) => change,
            None => {
                gone.remove(&known.of_name(owner.as_wire()));
                let labels = labels_of(owner, origin);
                let was = labels.and_then(|labels| before.find(labels).ok()).map(|at| before.at(before.places()[at]));
                changes.entry(owner.clone()).or_insert(Change { was, is: Vec::new() })
            }
        };
        change.is.push(record);
    }
    if !gone.is_empty() {
        let mut wire = Vec::new();
        for node in before.iter() {
            wire.clear();
            wire.extend_from_slice(node.labels());
            wire.extend_from_slice(origin.as_wire());
            if gone.contains(&known.of_name(&wire)) {
                changes.insert(node.name(origin), Change { was: Some(node), is: Vec::new() });
            }
        }
    }
    changes
}

/// Records of names that are not checked themselves.
fn stand_ins(nodes: &[ZoneNode<'_>], origin: &Name, elsewhere: &Arc<SourceFile>) -> Vec<ZoneRecord> {
    let mut records = Vec::new();
    for node in nodes {
        let owner = node.name(origin);
        for set in node.sets() {
            records.extend(set.rdatas().map(|rdata| {
                let record = Record { owner: owner.clone(), rtype: set.rtype, ttl: set.ttl, rdata: rdata.into() };
                ZoneRecord { record, span: Span::new(elsewhere, 0..0), ttl_stated: true }
            }));
        }
    }
    records
}

/// The nodes of before with those of these names for what they are now.
fn replaced(before: &ZoneNodes, now: &ZoneNodes, names: &HashSet<Name>, origin: &Name) -> Option<ZoneNodes> {
    let mut changes: Vec<(&[u8], Option<ZoneNode<'_>>)> = Vec::new();
    for name in names {
        let labels = labels_of(name, origin)?;
        let of = |nodes: &'_ ZoneNodes| nodes.find(labels).ok().and_then(|at| nodes.places().get(at).copied());
        match (of(before), of(now)) {
            (None, None) => {}
            (Some(was), Some(is)) if before.at(was).has_records_of(&now.at(is)) => {}
            (_, is) => changes.push((labels, is.map(|is| now.at(is)))),
        }
    }
    if changes.is_empty() {
        return Some(before.clone());
    }
    before.replaced(changes.into_iter())
}

/// The pieces of a text, of which some are read.
struct Walk<'t> {
    text: &'t MasterText<'t>,
    default_ttl: Option<Ttl>,
    known: &'t Known,
    /// With where they are.
    places: Vec<(Arc<Piece>, Range<usize>)>,
    /// Records of owners that were looked for, by place and by the round they were looked for in.
    read: BTreeMap<(usize, bool), Vec<ZoneRecord>>,
    /// By place.
    warnings: BTreeMap<usize, Vec<Diagnostic>>,
}

impl<'t> Walk<'t> {
    fn new(text: &'t MasterText<'t>, default_ttl: Option<Ttl>, known: &'t Known) -> Walk<'t> {
        Walk { text, default_ttl, known, places: Vec::new(), read: BTreeMap::new(), warnings: BTreeMap::new() }
    }

    /// Finds the pieces that were there, in the same order, and reads the others. Gives the hashes of the owners in
    /// pieces that came or are gone.
    fn pieces(&mut self, origin: &Name) -> Option<HashesOf> {
        let known = self.known;
        let by_hash: HashMap<u64, Vec<usize>> = {
            let mut by_hash: HashMap<u64, Vec<usize>> = HashMap::with_capacity(known.pieces.len());
            known.pieces.iter().enumerate().for_each(|(at, piece)| by_hash.entry(piece.hash).or_default().push(at));
            by_hash
        };
        let cuts = known.grain.cut(self.text.text);
        let (mut start, mut at, mut behind, mut fresh) = (Start::new(origin), 0, 0, 0);
        let mut hashes = HashesOf::default();
        let mut are_there = vec![false; known.pieces.len()];
        while at < cuts.len() {
            let begin = cuts.get(at)?.start;
            let mut found = None;
            while found.is_none() {
                let end = cuts.get(at)?.end;
                let text = self.text.text.get(begin..end)?;
                let hash = known.hashes.of(text.as_bytes());
                let same = by_hash.get(&hash).into_iter().flatten().copied().find(|&same| {
                    let piece = &known.pieces[same];
                    same >= behind && piece.len == text.len() && piece.start.is_same_as(&start)
                });
                found = match same {
                    Some(same) => {
                        (behind, are_there[same]) = (same + 1, true);
                        Some(known.pieces[same].clone())
                    }
                    None => {
                        fresh += text.len();
                        if fresh > FEW_OCTETS.max(self.text.text.len() / PART) {
                            return None;
                        }
                        self.fresh(begin..end, &start, &mut hashes)?
                    }
                };
                at += 1;
                if let Some(piece) = &found {
                    start = piece.end.clone();
                    self.places.push((piece.clone(), begin..end));
                }
            }
        }
        let gone = known.pieces.iter().zip(are_there).filter(|(_, is_there)| !is_there);
        gone.for_each(|(piece, _)| hashes.extend(&piece.owners));
        Some(hashes)
    }

    /// Reads a piece that was not there. `Some(None)` where it ends inside parentheses.
    fn fresh(&mut self, range: Range<usize>, start: &Start, hashes: &mut HashesOf) -> Option<Option<Arc<Piece>>> {
        match read_at(self.text, range, start, self.default_ttl, &self.known.hashes) {
            Ok((piece, read)) => {
                hashes.extend(&piece.owners);
                self.read.insert((self.places.len(), true), read.records);
                self.warnings.insert(self.places.len(), read.warnings);
                Some(Some(Arc::new(piece)))
            }
            Err(Unread::Open) => Some(None),
            Err(Unread::Mistaken) => None,
        }
    }

    /// Reads the records of these owners, wherever they are; and pieces that were warned of, in the first round.
    fn read_holders(&mut self, hashes: &HashesOf, first: bool) -> Option<()> {
        if hashes.is_empty() && !first {
            return Some(());
        }
        let (mut octets, sieve) = (0, Sieve::of(hashes));
        for (at, (piece, range)) in self.places.iter().enumerate() {
            // Of pieces that were not there all records are read.
            if first && self.read.contains_key(&(at, true)) {
                continue;
            }
            let holds = piece.owners.iter().any(|owner| sieve.lets_through(*owner) && hashes.contains(owner));
            if !(holds || first && piece.told) {
                continue;
            }
            octets += range.len();
            if octets > FEW_OCTETS.max(self.text.text.len() / PART) {
                return None;
            }
            let read = read_at(self.text, range.clone(), &piece.start, self.default_ttl, &self.known.hashes);
            let (_, mut read) = read.ok()?;
            read.records.retain(|of| hashes.contains(&self.known.hashes.of_name(of.record.owner.as_wire())));
            self.read.insert((at, first), read.records);
            if first && piece.told {
                self.warnings.insert(at, read.warnings);
            }
        }
        Some(())
    }
}

/// Holds most hashes back that are not among some few, by a bit each.
struct Sieve([u64; 64]);

impl Sieve {
    fn of(hashes: &HashesOf) -> Sieve {
        let mut bits = [0; 64];
        for hash in hashes {
            let (word, bit) = Sieve::place(*hash);
            bits[word] |= bit;
        }
        Sieve(bits)
    }

    fn lets_through(&self, hash: u64) -> bool {
        let (word, bit) = Sieve::place(hash);
        self.0[word] & bit != 0
    }

    /// Below 64, and one bit.
    fn place(hash: u64) -> (usize, u64) {
        ((hash >> 58) as usize, 1 << (hash >> 52 & 63))
    }
}
