//! A zone from its text: read and checked as a whole, or by what changed since it was read last.

use std::sync::Arc;

use super::again::{Again, Before, Known, KnownFacts, read_again};
use super::check::{Checked, ZoneFacts, check_nodes};
use super::pieces::{Grain, Hashes};
use super::reader::parse;
use super::targets::ServiceOwner;
use super::text::{Include, MasterText, Parsed, Strictness, ZoneRecord};
use super::whole::{Whole, read_whole};
use crate::control::diagnostic::{Diagnostic, Span};
use crate::model::{Name, Ttl, ZoneNodes};

/// Shorter texts are read at once.
const SMALL: usize = 1 << 14;

/// The text of a zone, and all that it is read and checked by.
#[derive(Clone, Copy)]
pub struct ZoneText<'a> {
    pub text: MasterText<'a>,
    pub origin: &'a Name,
    /// Where mistakes are shown that have no record.
    pub origin_span: &'a Span,
    pub default_ttl: Option<Ttl>,
    pub services: &'a [ServiceOwner],
    pub strictness: Strictness,
}

/// A zone as it was read. Where a diagnostic is an error, the nodes are not to be used.
#[derive(Debug)]
pub struct ZoneRead {
    pub nodes: ZoneNodes,
    /// Told of single entries, and of the zone as a whole.
    pub of_text: Vec<Diagnostic>,
    pub of_zone: Vec<Diagnostic>,
    /// For the next time, where that can be of use.
    pub known: Option<Arc<Known>>,
}

/// Reads and checks a zone: the same, whatever is known of it from before.
pub fn read_zone(zone: &ZoneText<'_>, include: &mut dyn Include, before: Option<Before<'_>>) -> ZoneRead {
    read_in(Grain::USUAL, zone, include, before)
}

fn read_in(grain: Grain, zone: &ZoneText<'_>, include: &mut dyn Include, before: Option<Before<'_>>) -> ZoneRead {
    let &ZoneText { ref text, origin, origin_span, default_ttl, services, strictness } = zone;
    let facts = ZoneFacts { origin, origin_span, services, strictness };
    let is_small = text.text.len() < SMALL.min(4 * grain.least);
    let known_facts = || KnownFacts::of(&facts, default_ttl);
    if let Some(before) = before.filter(|before| !is_small && before.known.facts == known_facts())
        && let Some(Again { nodes, of_text, of_zone, known }) = read_again(text, &facts, default_ttl, before)
    {
        return ZoneRead { nodes, of_text, of_zone, known: Some(Arc::new(known)) };
    }
    let hashes = Hashes::new();
    let whole = if is_small { None } else { read_whole(text, origin, default_ttl, grain, &hashes) };
    let Some(Whole { pieces, records, warnings: of_text }) = whole else {
        let Parsed { records, diagnostics: of_text } = parse(*text, origin, default_ttl, include);
        let Checked { nodes, diagnostics: of_zone, .. } = check_nodes(&facts, records.iter(), None);
        return ZoneRead { nodes, of_text, of_zone, known: None };
    };
    let checked = check_nodes(&facts, records.iter().flatten(), None);
    let Checked { nodes, diagnostics: of_zone, told, is_divisible, has_cuts } = checked;
    let_go(records);
    let known = || Known { grain, facts: known_facts(), hashes, pieces, told, has_cuts };
    ZoneRead { nodes, of_text, of_zone, known: is_divisible.then(known).map(Arc::new) }
}

/// Gives back the memory of records: of many beside all that follows, since each has some of its own.
fn let_go(records: Vec<Vec<ZoneRecord>>) {
    const MANY_PIECES: usize = 256;
    if records.len() >= MANY_PIECES {
        // Where there is no thread to be had, they are dropped here.
        let _ = std::thread::Builder::new().name("let-go".to_owned()).spawn(move || drop(records));
    }
}

#[cfg(test)]
mod tests;
