//! Services: names that are steered across regions.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use super::{GroupId, Name, Policy, PolicyTree, RegionId, Ttl, ZoneId};

/// A name whose A, AAAA and HTTPS answers are chosen per client.
#[derive(Clone, Debug, PartialEq)]
pub struct Service {
    pub name: Name,
    pub zone: ZoneId,
    /// The way it picks among its regions.
    pub policies: PolicyTree,
    /// Every region that some client may be answered with, as ordered in the file; at least one,
    /// none twice.
    pub regions: Vec<RegionId>,
    pub weights: Weights,
    /// Milliseconds that count as added to the round-trip time of a region, -1000 to 1000. Names
    /// only `regions`.
    pub bias_ms: BTreeMap<RegionId, i16>,
    /// When calm. Default 30 s.
    pub ttl: Ttl,
    /// Near a verdict change and after one; at most `ttl`. Default 5 s.
    pub failover_ttl: Ttl,
    /// True where EDNS Client Subnet is believed (RFC 7871). Default true.
    pub ecs: bool,
    /// Present where HTTPS records (RFC 9460) are answered besides addresses.
    pub https: Option<HttpsHint>,
}

impl Service {
    /// A service with one policy over these regions, and all else by default.
    pub fn flat(name: Name, zone: ZoneId, policy: Policy, regions: Vec<RegionId>) -> Service {
        Service {
            name,
            zone,
            policies: PolicyTree::flat(policy, &regions),
            regions,
            weights: Weights::default(),
            bias_ms: BTreeMap::new(),
            ttl: Ttl::saturating(30),
            failover_ttl: Ttl::saturating(5),
            ecs: true,
            https: None,
        }
    }

    /// The regions that clients may get now: all, but for those of stages that are not active.
    pub fn regions_in_use(&self, switched_to: Option<GroupId>) -> Cow<'_, [RegionId]> {
        if self.policies.stages().is_none() {
            return Cow::Borrowed(&self.regions);
        }
        let below = |group| self.policies.regions_below(group, switched_to);
        let used: BTreeSet<RegionId> = self.policies.entries().flat_map(below).collect();
        Cow::Owned(self.regions.iter().copied().filter(|region| used.contains(region)).collect())
    }

    /// The milliseconds that count as added to the round-trip time of a region, in milliseconds.
    pub fn bias_ms(&self, region: RegionId) -> f64 {
        self.bias_ms.get(&region).map_or(0.0, |&ms| f64::from(ms))
    }
}

/// The weights of the three terms of a score. With the defaults a score is in plain
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

/// The parameters a service's HTTPS records say besides the chosen region's addresses (RFC 9460).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpsHint {
    /// ALPN protocol ids, such as `h2` and `h3`; 1 to 255 octets each; may be empty.
    pub alpn: Vec<String>,
    /// `None`: 443.
    pub port: Option<u16>,
}
