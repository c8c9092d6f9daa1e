//! The sources that an atlas is made of: how closely they are read, and which they were.

/// The detail in which an atlas tells where clients are. Continents and countries are always told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Detail {
    /// States, provinces.
    pub subdivisions: bool,
    /// Cities and coordinates; without them places are where the middle of their country is.
    pub positions: bool,
    /// Network operators (ASN).
    pub operators: bool,
}

impl Detail {
    /// All that databases say.
    pub const ALL: Detail = Detail { subdivisions: true, positions: true, operators: true };
    /// Continents and countries, and no more.
    pub const COUNTRIES: Detail = Detail { subdivisions: false, positions: false, operators: false };
}

impl Default for Detail {
    fn default() -> Detail {
        Detail::ALL
    }
}

/// The sources that an atlas was made of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AtlasSummary {
    /// The detail in which the databases were read.
    pub detail: Detail,
    /// In the order they were named; may be empty.
    pub databases: Vec<DatabaseSummary>,
    /// Maximal ranges of IPv4 addresses with one place, unknown ones counted.
    pub ranges_v4: usize,
    /// The same of IPv6.
    pub ranges_v6: usize,
    /// The unknown one counted.
    pub places: usize,
}

/// One database of an atlas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatabaseSummary {
    pub path: String,
    /// Such as `GeoLite2-City`.
    pub kind: String,
    /// The time when it was built, in seconds since 1970.
    pub build_epoch: u64,
    /// Networks with a record.
    pub networks: u64,
}
