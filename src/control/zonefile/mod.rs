//! RFC 1035 master files: text in, records with their places out, then the zone made of them.
//!
//! ```text
//!   text ─ lexer ─▶ entries ─ reader ─▶ records ─ check ─▶ nodes of model::Zone
//!                     (directives, owner, TTL, class)     │
//!                          └ rdata, svcb, loc             └ every mistake as a Diagnostic
//! ```
//!
//! [`parse`] knows syntax, [`check()`] knows what a zone may hold. Both go on after a mistake, so
//! that one run finds all of them. Files are read by whoever implements [`Include`].
//!
//! Accepted beyond RFC 1035: `$TTL` (RFC 2308 section 4), TTL units (`1h30m`), `$GENERATE` (as
//! BIND has it), `TYPEnnn` and `\# length hex` (RFC 3597). Class is IN.
//!
//! In the order text meets them:
//!
//! - [`mistake`]: what went wrong at a range of the text, and the cap on how many are told
//! - [`lexer`]: text → entries of tokens; parentheses, quotes, comments
//! - [`reader`]: entries → records; directives, includes, owners, TTLs; [`generate`]: `$GENERATE`
//! - [`fields`]: tokens → numbers, names, strings
//! - [`rdata`]: one table of all types' fields, for text and for wire; [`svcb`], [`loc`]: the odd ones
//! - [`check`](mod@check): the zone as a whole; [`tree`]: its names in canonical order, for the check

use std::ops::Range;
use std::sync::Arc;

use super::diagnostic::{Diagnostic, SourceFile, Span};
use crate::model::{Name, Record, Ttl};

mod mistake;

mod lexer;

mod generate;
mod reader;

mod fields;
mod loc;
mod rdata;
mod svcb;

mod check;
mod tree;

pub use check::{ServiceOwner, check};

/// The most text one zone may hold: its file, all it includes and all it generates.
pub const MAX_ZONE_BYTES: usize = 64 << 20;
/// How deep `$INCLUDE` may nest.
pub const MAX_INCLUDE_DEPTH: usize = 8;
/// The most records one `$GENERATE` may make: a /16, or all ports.
pub const MAX_GENERATED: u64 = 65_536;

/// Reads the records of a master file, in the order they are written.
///
/// A record that states no TTL gets that of `$TTL`, else `default_ttl`, else the last one
/// stated, else the SOA's minimum. `origin` is what relative names are relative to until
/// `$ORIGIN` says otherwise.
pub fn parse(text: MasterText<'_>, origin: &Name, default_ttl: Option<Ttl>, include: &mut dyn Include) -> Parsed {
    reader::read(&text, origin, default_ttl, include)
}

/// What [`parse`] found. The records are usable only where no diagnostic is an error.
#[derive(Debug, Default)]
pub struct Parsed {
    pub records: Vec<ZoneRecord>,
    /// In the order of the text. Capped; a last one says so.
    pub diagnostics: Vec<Diagnostic>,
}

/// A record and where it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZoneRecord {
    pub record: Record,
    /// From the entry's first token to its last; for `$GENERATE`, its template.
    pub span: Span,
    /// Whether the entry itself names the TTL.
    pub ttl_stated: bool,
}

/// Text of a master file: a whole file, or a piece of a TOML file.
#[derive(Clone, Copy)]
pub struct MasterText<'a> {
    /// What spans point into.
    pub file: &'a Arc<SourceFile>,
    pub text: &'a str,
    /// From a range in `text` to the range in `file.text`.
    pub locate: &'a dyn Fn(Range<usize>) -> Range<usize>,
}

impl<'a> MasterText<'a> {
    /// All of `file`.
    pub fn whole(file: &'a Arc<SourceFile>) -> MasterText<'a> {
        MasterText { file, text: &file.text, locate: &|range| range }
    }

    fn span(&self, range: Range<usize>) -> Span {
        Span::new(self.file, (self.locate)(range))
    }
}

/// Reads an included file.
pub trait Include {
    /// `path` as written in `$INCLUDE`, by the file `from`. The file's own `path` tells files
    /// apart: give the same file the same one. `Err` says why not, and is shown at the directive.
    fn read(&mut self, path: &str, from: &SourceFile) -> Result<Arc<SourceFile>, String>;
}

/// Refuses every `$INCLUDE`.
pub struct NoInclude;

impl Include for NoInclude {
    fn read(&mut self, _path: &str, _from: &SourceFile) -> Result<Arc<SourceFile>, String> {
        Err("files cannot be included here".into())
    }
}

#[cfg(test)]
mod tests;
