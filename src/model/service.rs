//! Services: names that are steered across regions.

use std::collections::BTreeMap;

use super::{Continent, CountryCode, Name, RegionId, Ttl, ZoneId};

/// Indexes `Model::services` of the model (and the snapshot) it came from, and no other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceId(pub u32);

impl ServiceId {
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// A name whose A, AAAA and HTTPS answers are chosen per client.
#[derive(Clone, Debug)]
pub struct Service {
    pub name: Name,
    pub zone: ZoneId,
    pub policy: Policy,
    /// Regions it may be answered with, as ordered in the file; at least one, none twice.
    pub regions: Vec<RegionId>,
    /// Relative shares of `regions` under [`Policy::Weighted`]; as long as `regions`, none
    /// negative. All zero means all alike.
    pub region_weights: Vec<f64>,
    /// Whom [`Policy::Geo`] sends where; empty under other policies. Names only `regions`.
    pub geo: GeoRules,
    pub weights: Weights,
    /// When calm. Default 30 s.
    pub ttl: Ttl,
    /// Near a verdict change and after one; at most `ttl`. Default 5 s.
    pub failover_ttl: Ttl,
    /// Whether EDNS Client Subnet is believed (RFC 7871). Default true.
    pub ecs: bool,
    /// Present where HTTPS records (RFC 9460) are answered besides addresses.
    pub https: Option<HttpsHint>,
}

/// How a service picks among its eligible regions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Policy {
    /// Lowest sum of latency, priced load and cost, in milliseconds.
    Score,
    /// The first eligible region in the order of the file.
    Failover,
    /// Shares by weight, the same client in the same region.
    Weighted,
    /// The first eligible region of those the operator lists for the client's place.
    Geo,
}

/// The lists of the `geo` policy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct GeoRules {
    /// Regions in the order they are tried; none of the lists is empty.
    pub rules: BTreeMap<GeoPlace, Vec<RegionId>>,
    /// Tried after a rule's, and for clients no rule fits. May be empty.
    pub default: Vec<RegionId>,
}

/// What a rule of the `geo` policy can name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum GeoPlace {
    Asn(u32),
    /// ISO 3166-2: the country, and the code's part after it.
    Subdivision(CountryCode, Box<str>),
    Country(CountryCode),
    Continent(Continent),
}

impl Policy {
    pub const ALL: [Policy; 4] = [Policy::Score, Policy::Failover, Policy::Weighted, Policy::Geo];

    pub fn as_str(self) -> &'static str {
        match self {
            Policy::Score => "score",
            Policy::Failover => "failover",
            Policy::Weighted => "weighted",
            Policy::Geo => "geo",
        }
    }
}

/// What the three terms of a score count for. With the defaults a score is in plain
/// milliseconds of round-trip time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Weights {
    /// 0 to 100. Default 0.5.
    pub latency: f64,
    /// 0 to 100. Default 0.3.
    pub load: f64,
    /// 0 to 100. Default 0.2.
    pub cost: f64,
}

impl Default for Weights {
    fn default() -> Weights {
        Weights { latency: 0.5, load: 0.3, cost: 0.2 }
    }
}

/// What a service's HTTPS records say besides the chosen region's addresses (RFC 9460).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpsHint {
    /// ALPN protocol ids, such as `h2` and `h3`; 1 to 255 octets each; may be empty.
    pub alpn: Vec<String>,
    /// `None`: 443.
    pub port: Option<u16>,
}
