//! Configurations of other servers, made into Meridian's as far as they map.
//!
//! ```text
//!    gdnsd: config, zones ─▶ vscf ─▶ gdnsd ──┐
//!    Route 53: record sets ────▶ route53 ────┴▶ Draft ─▶ files;  and what was left, line by line
//! ```
//!
//! Nothing is guessed in silence: what has no counterpart here, or another meaning, is a [`left::Left`] with its place.
//! Whoever asked for it writes the files, and has them checked.
//!
//! - [`draft`]: a configuration to be written, and its text
//! - [`left`]: what was not carried over
//! - [`vscf`]: gdnsd's language; [`gdnsd`]: what is said in it
//! - [`route53`]: what `aws route53 list-resource-record-sets` tells

pub mod draft;
pub mod gdnsd;
pub mod left;
pub mod route53;
pub mod vscf;
