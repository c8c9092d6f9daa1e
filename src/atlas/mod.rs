//! The place of a client: an address in; a place, and the widest prefix that shares it, out.
//!
//! ```text
//!   mmdb files ─▶ database ─▶ tree, record ─┐
//!                                           ├─▶ compile: steps, places ─▶ packed ─▶ Atlas::locate
//!   operator networks ──────────────────────┘                                └────▶ table ─▶ Groups::find
//!   CSV ─▶ build ─▶ mmdb file
//! ```
//!
//! An [`Atlas`] is compiled once per load, only as closely as decisions need ([`Detail`]), and never
//! changes. Queries ask [`Groups`], which touch a few cache lines; no lookup touches a file, and a
//! corrupt one is refused when it is compiled.
//!
//! - [`database`], [`tree`], [`data`], [`record`]: files as they come, and what each vendor calls things
//! - [`steps`], [`places`], [`compile`], [`assemble`]: merging what all of them say
//! - [`refine`], [`layers`]: telling networks apart that databases do not
//! - [`packed`], [`lookup`]: all places in little memory, and the [`Atlas`] itself
//! - [`table`], [`groups`]: what is asked per query
//! - [`sources`], [`located`]: the words of both sides, what goes in and what comes out
//! - [`centroid`]: where countries are
//! - [`build`]: making a database file from a table of networks

use std::sync::Arc;

use crate::model::{Location, Prefix};

mod assemble;
pub mod build;
pub mod centroid;
mod compile;
mod data;
pub mod database;
mod groups;
mod layers;
mod located;
mod lookup;
mod packed;
mod places;
mod record;
mod refine;
mod sources;
mod steps;
mod table;
mod tree;

pub use database::{AtlasError, Database};
pub use groups::Groups;
pub use located::{Located, PlaceId};
pub use lookup::Atlas;
pub use sources::{AtlasSummary, DatabaseSummary, Detail};

/// The demo's database: 127.CC.0.0/16 is in the country with telephone code CC. Built from
/// `geoip/demo.csv` by [`build::build_mmdb`] at [`DEMO_EPOCH`].
pub const DEMO_DATABASE: &[u8] = include_bytes!("../../geoip/demo.mmdb");

/// The build time written in [`DEMO_DATABASE`], in seconds since 1970.
pub const DEMO_EPOCH: u64 = 1_767_225_600;

impl Atlas {
    /// Knows nothing: every address is at [`PlaceId::UNKNOWN`], scope 0.
    pub fn empty() -> Atlas {
        let places = Arc::new(places::Collector::new().finish(&[0]));
        let (v4, v6) = (steps::Steps::constant(0), steps::Steps::constant(0));
        assemble::assemble(v4, v6, places, AtlasSummary::default())
    }

    /// Compiles databases and the operator's networks.
    ///
    /// Of several databases the one that tells more closely where a network is comes first
    /// (cities, then countries, then ASNs), then the one named earlier; what it leaves out the
    /// others fill in. Networks win over all databases, whole, the longest prefix first; of two
    /// equal prefixes the first holds. A country whose continent is not said gets its own.
    ///
    /// Fails where a file is not whole, corrupt, says nothing of places, or is beyond the limits:
    /// see [`AtlasError`]. Takes a fifth of a second per million networks.
    pub fn build(databases: &[Database], networks: &[(Prefix, Location)]) -> Result<Atlas, AtlasError> {
        Atlas::build_for(Detail::ALL, databases, networks)
    }

    /// As [`Atlas::build`], but of what the databases say only as much as `detail`: networks that differ
    /// in nothing else are one. What the operator says of networks is kept as it is.
    pub fn build_for(
        detail: Detail,
        databases: &[Database],
        networks: &[(Prefix, Location)],
    ) -> Result<Atlas, AtlasError> {
        compile::compile(databases, networks, detail)
    }

    /// The same addresses at the same locations, but each of these networks told apart from what is
    /// around it: what lies in a network is at places of its own, numbered after the old ones, whose
    /// ids stay. Networks may nest: addresses belong to the longest.
    ///
    /// Starts from what the databases and the operator said: an atlas that was refined before forgets
    /// those networks, and with none given is as it was built. Which network has which place depends
    /// on neither order nor repetition of the networks. A prefix of IPv4-mapped addresses (RFC 4291
    /// section 2.5.5.2) is the IPv4 prefix it stands for; one around all of them leaves IPv4 alone.
    ///
    /// A network makes as many places as there are locations in it, so wide ones make many. Takes some
    /// milliseconds, as long as most ranges lie in no network: tables are shared with the atlas as it was built.
    pub fn refined(&self, networks: &[Prefix]) -> Atlas {
        refine::refine(self, networks)
    }
}

#[cfg(test)]
mod tests;
