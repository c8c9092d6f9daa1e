//! The regions of a zone as its services know them: by name.

use std::cell::Cell;
use std::collections::BTreeMap;

use crate::control::diagnostic::{Diagnostic, Span};
use crate::model::RegionId;

/// Regions of all zones together at most; a [`crate::model::RegionId`] has 16 bits.
pub const MAX_REGIONS: usize = 1_024;

/// The facts that a zone's services may know of one of its regions.
pub struct KnownRegion<'a> {
    pub name: &'a str,
    /// Its name in the file.
    pub span: Span,
    pub id: RegionId,
    pub has_check: bool,
    /// True where a service uses it.
    pub used: Cell<bool>,
}

/// The regions of a zone by name.
pub type KnownRegions<'a> = BTreeMap<&'a str, KnownRegion<'a>>;

/// The characters that the name of a region or a group is made of.
pub const NAME: &str = "expected 1 to 63 ASCII letters, digits, `-`, `_` and `.`";

/// The mistake, where this cannot be a name: names stand in commands, paths of the API and the state files.
pub fn unfit_name(what: &str, name: &str) -> Option<Diagnostic> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_' || byte == b'.';
    let fit = (1..=63).contains(&name.len()) && name.bytes().all(fits);
    (!fit).then(|| Diagnostic::error(format!("{name:?} cannot be the name of a {what}")))
}
