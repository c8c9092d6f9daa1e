//! The parser's input and output: text, what it includes, records with their places;
//! and how much of each at most.

use std::ops::Range;
use std::sync::Arc;

use crate::control::diagnostic::{Diagnostic, SourceFile, Span};
use crate::model::Record;

/// The most text one zone may hold: its file, all it includes and all it generates.
pub const MAX_ZONE_BYTES: usize = 64 << 20;
/// The depth to which `$INCLUDE` may nest.
pub const MAX_INCLUDE_DEPTH: usize = 8;
/// The most records one `$GENERATE` may make: a /16, or all ports.
pub const MAX_GENERATED: u64 = 65_536;
/// The most records all `$GENERATE`s of one zone may make: four times that.
pub const MAX_GENERATED_IN_ALL: u64 = 262_144;
/// The most records one zone may hold.
pub const MAX_RECORDS: usize = 2_000_000;
/// The most memory the records of one zone may take, in octets, as estimated while they are read. Two
/// million records of usual length take this.
pub const MAX_ZONE_MEMORY: usize = 1 << 30;

/// The outcome of [`super::parse`]. The records are usable only where no diagnostic is an error.
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
    /// True where the entry itself names the TTL.
    pub ttl_stated: bool,
}

/// Text of a master file: a whole file, or a piece of a TOML file.
#[derive(Clone, Copy)]
pub struct MasterText<'a> {
    /// The file that spans point into.
    pub file: &'a Arc<SourceFile>,
    pub text: &'a str,
    /// From a range in `text` to the range in `file.text`.
    pub locate: &'a (dyn Fn(Range<usize>) -> Range<usize> + Sync),
}

impl<'a> MasterText<'a> {
    /// All of `file`.
    pub fn whole(file: &'a Arc<SourceFile>) -> MasterText<'a> {
        MasterText { file, text: &file.text, locate: &|range| range }
    }

    /// Runs `of` with a piece of the text, whose places in the file stay right.
    pub(super) fn with_piece<T>(&self, piece: Range<usize>, of: impl FnOnce(&MasterText<'_>) -> T) -> T {
        let locate = |range: Range<usize>| (self.locate)(range.start + piece.start..range.end + piece.start);
        let text = self.text.get(piece.clone()).unwrap_or_default();
        of(&MasterText { file: self.file, text, locate: &locate })
    }

    pub(super) fn span(&self, range: Range<usize>) -> Span {
        Span::new(self.file, (self.locate)(range))
    }
}

/// The treatment of zones that break rules whose breach other servers put up with. Such are missing glue,
/// TTLs that differ within an RRset, records that are outside the zone or below a delegation, and the like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Strictness {
    /// Each breach is an error.
    #[default]
    Strict,
    /// Each is a warning, and the zone is read as the RFCs say it then is: the lowest TTL of an RRset
    /// (RFC 2181 section 5.2), records that can never be answered left out.
    Lenient,
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
