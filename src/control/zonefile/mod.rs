//! RFC 1035 master files: text in, records with their places out, then the zone made of them.
//!
//! ```text
//!   text ─ lexer ─▶ entries ─ reader ─▶ records ─ check ─▶ nodes of model::Zone
//!                     (directives, owner, TTL, class)     │
//!                          └ rdata, svcb, loc             └ every mistake as a Diagnostic
//! ```
//!
//! [`parse()`] knows syntax, [`check()`] knows what a zone may hold. Both go on after a mistake, so
//! that one run finds all of them. Files are read by whoever implements [`Include`].
//!
//! Accepted beyond RFC 1035: `$TTL` (RFC 2308 section 4), TTL units (`1h30m`), `$GENERATE` (as
//! BIND has it), `TYPEnnn` and `\# length hex` (RFC 3597). Class is IN.
//!
//! In the order text meets them:
//!
//! - [`text`]: what goes in and comes out, and how much of it at most
//! - [`mistake`]: what went wrong at a range of the text, and the cap on how many are told
//! - [`lexer`]: text → entries of tokens; parentheses, quotes, comments
//! - [`reader`]: entries → records; directives, includes, owners, TTLs; [`generate`]: `$GENERATE`
//! - [`fields`]: tokens → numbers, names, strings
//! - [`rdata`]: one table of all types' fields, for text and for wire; [`svcb`], [`loc`], [`special`]: the odd ones
//! - [`check`](mod@check): the zone as a whole; for it, [`tree`]: its names in canonical order, [`targets`]: where they
//!   lead, [`size`]: whether answers fit

mod text;

mod mistake;

mod lexer;

mod generate;
mod reader;

mod fields;
mod loc;
mod rdata;
mod special;
mod svcb;

mod pieces;
mod whole;

mod check;
mod size;
mod targets;
mod tree;

mod again;
mod touched;
mod zone;

pub use again::{Before, Known};
pub use check::check;
pub use reader::parse;
pub use targets::ServiceOwner;
pub use text::{
    Include, MAX_GENERATED, MAX_GENERATED_IN_ALL, MAX_INCLUDE_DEPTH, MAX_RECORDS, MAX_ZONE_BYTES, MAX_ZONE_MEMORY,
    MasterText, NoInclude, Parsed, Strictness, ZoneRecord,
};
pub use zone::{ZoneRead, ZoneText, read_zone};

#[cfg(test)]
mod tests;
