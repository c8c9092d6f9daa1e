//! Reads the text of a zone piece by piece, on all cores.
//!
//! ```text
//!   pieces ─▶ threads: each piece as if it began as the first one ended ─▶ in order: did it? ─ no ─▶ read once more
//! ```
//!
//! Out comes what [`super::parse`] makes of the same text, or nothing: where there is a mistake, or a file is included,
//! that one reads it all, and tells all mistakes in their order.

use std::ops::Range;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use super::mistake::MAX_TOLD;
use super::pieces::{Grain, Hashes, may_have_directives, may_include};
use super::reader::{Counts, ReadPiece, Start, Unread, read_piece};
use super::text::{MAX_ZONE_BYTES, MasterText, ZoneRecord};
use crate::control::diagnostic::Diagnostic;
use crate::model::{Name, Ttl};

/// Fewer pieces than this are read by one thread.
const FEW: usize = 16;
/// The longest piece that is tried: as long as an entry may be, and some more.
const LONGEST: usize = 4 << 20;

/// A piece of text as it was read, without its records.
#[derive(Debug)]
pub(super) struct Piece {
    /// Of its text.
    pub hash: u64,
    pub len: usize,
    pub start: Start,
    pub end: Start,
    pub counts: Counts,
    /// The hashes of its owners; in a row those of an owner once.
    pub owners: Box<[u64]>,
    /// There were warnings.
    pub told: bool,
}

impl Piece {
    pub fn of(text: &str, start: &Start, end: Start, read: &ReadPiece, hashes: &Hashes) -> Piece {
        let mut owners: Vec<u64> = Vec::with_capacity(read.records.len());
        let mut last: Option<&Name> = None;
        for ZoneRecord { record, .. } in &read.records {
            if last.is_none_or(|last| last.as_wire() != record.owner.as_wire()) {
                owners.push(hashes.of_name(record.owner.as_wire()));
                last = Some(&record.owner);
            }
        }
        Piece {
            hash: hashes.of(text.as_bytes()),
            len: text.len(),
            start: start.clone(),
            end,
            counts: read.counts,
            owners: owners.into(),
            told: !read.warnings.is_empty(),
        }
    }
}

/// A text without mistakes.
pub(super) struct Whole {
    pub pieces: Vec<Arc<Piece>>,
    /// By piece.
    pub records: Vec<Vec<ZoneRecord>>,
    /// Warnings in the order of the text, fewer than are told.
    pub warnings: Vec<Diagnostic>,
}

/// Reads all of a text. `None` where [`super::parse`] must.
pub(super) fn read_whole(
    text: &MasterText<'_>,
    origin: &Name,
    default_ttl: Option<Ttl>,
    grain: Grain,
    hashes: &Hashes,
) -> Option<Whole> {
    if text.text.len() > MAX_ZONE_BYTES || may_include(text) {
        return None;
    }
    let cuts = grain.cut(text.text);
    let mut ahead = Ahead { text, default_ttl, hashes, cuts: &cuts, read: Vec::new() };
    ahead.read.resize_with(cuts.len(), || None);
    let mut whole = Whole { pieces: Vec::new(), records: Vec::new(), warnings: Vec::new() };
    let (mut start, mut counts, mut at) = (Start::new(origin), Counts::default(), 0);
    while at < cuts.len() {
        if at > 0 {
            ahead.go(at, &start);
        }
        let (piece, read, next) = ahead.take(at, &start)?;
        at = next;
        counts.add(piece.counts);
        start = piece.end.clone();
        whole.pieces.push(Arc::new(piece));
        whole.records.push(read.records);
        whole.warnings.extend(read.warnings);
    }
    (counts.are_within_limits() && whole.warnings.len() < MAX_TOLD).then_some(whole)
}

/// Pieces that were read before it was known how they begin.
struct Ahead<'t> {
    text: &'t MasterText<'t>,
    default_ttl: Option<Ttl>,
    hashes: &'t Hashes,
    cuts: &'t [Range<usize>],
    /// With what they were thought to begin with.
    read: Vec<Option<(Arc<Start>, Guessed)>>,
}

type Guessed = Result<(Piece, ReadPiece), Unread>;

impl Ahead<'_> {
    /// The piece that begins at a cut, and the number of the cut behind it.
    fn take(&mut self, at: usize, start: &Start) -> Option<(Piece, ReadPiece, usize)> {
        let guessed = self.read.get_mut(at)?.take().filter(|(guess, read)| match read {
            Ok((_, read)) => start.has_directives_of(guess) && (!read.leans_on_start || start.is_same_as(guess)),
            Err(_) => false,
        });
        if let Some((_, Ok((piece, read)))) = guessed {
            let end = read.end_after(start);
            return Some((Piece { start: start.clone(), end, ..piece }, read, at + 1));
        }
        let begin = self.cuts.get(at)?.start;
        for (next, cut) in self.cuts.iter().enumerate().skip(at) {
            match self.read_one(begin..cut.end, start) {
                Ok((piece, read)) => return Some((piece, read, next + 1)),
                Err(Unread::Open) if cut.end - begin < LONGEST => {}
                Err(_) => return None,
            }
        }
        None
    }

    fn read_one(&self, range: Range<usize>, start: &Start) -> Guessed {
        read_at(self.text, range, start, self.default_ttl, self.hashes)
    }

    /// Has all threads read from a cut on, up to a piece that may hold directives, as if all began with this.
    fn go(&mut self, at: usize, start: &Start) {
        if self.read.get(at).is_none_or(Option::is_some) {
            return;
        }
        let rest = self.cuts.get(at..).unwrap_or_default();
        let plain = |cut: &&Range<usize>| !may_have_directives(self.text.text.get((*cut).clone()).unwrap_or_default());
        let run = rest.iter().take_while(plain).count();
        let threads = thread::available_parallelism().map_or(1, usize::from);
        if run < FEW || threads == 1 {
            return;
        }
        let (next, start) = (AtomicUsize::new(at), Arc::new(start.clone()));
        let this = &*self;
        let work = || {
            let mut done = Vec::new();
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                let Some(cut) = this.cuts.get(index).filter(|_| index < at + run) else { return done };
                done.push((index, this.read_one(cut.clone(), &start)));
            }
        };
        let done: Vec<Vec<(usize, Guessed)>> = thread::scope(|scope| {
            let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
            let own = work();
            let others = others.into_iter().map(|other| other.join().unwrap_or_else(|panic| resume_unwind(panic)));
            std::iter::once(own).chain(others).collect()
        });
        for (index, read) in done.into_iter().flatten() {
            self.read[index] = Some((start.clone(), read));
        }
    }
}

/// Reads a piece of a text.
pub(super) fn read_at(
    text: &MasterText<'_>,
    range: Range<usize>,
    start: &Start,
    default_ttl: Option<Ttl>,
    hashes: &Hashes,
) -> Result<(Piece, ReadPiece), Unread> {
    text.with_piece(range, |text| {
        let read = read_piece(text, start, default_ttl)?;
        Ok((Piece::of(text.text, start, read.end.clone(), &read, hashes), read))
    })
}
