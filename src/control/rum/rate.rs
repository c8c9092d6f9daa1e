//! The rates at which strangers may ask: token buckets, one for each network and one for all.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Instant;

use crate::model::Prefix;

use super::store::{allocation, client_network};

/// Networks told apart at most, some 60 octets each. Beyond it those that are new share one bucket.
const MAX_NETWORKS: usize = 50_000;
/// Networks of one allocation told apart at most. Beyond it those that are new share the allocation's bucket.
const MAX_NETWORKS_OF_ALLOCATION: u32 = 2_500;
/// A bucket holds this many seconds' worth.
const BURST_S: f64 = 4.0;

#[derive(Debug)]
pub struct Rates {
    per_network: f64,
    in_all: f64,
    /// By network; by allocation for those of which no more are told apart.
    buckets: HashMap<Prefix, Bucket>,
    /// By allocation, how many of its networks have a bucket.
    told_apart: HashMap<Prefix, u32>,
    others: Bucket,
    all: Bucket,
}

/// The limit that was met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TooOften {
    Network,
    All,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    level: f64,
    at: Instant,
}

impl Rates {
    /// Requests per second, of one network and of all.
    pub fn new(per_network: f64, in_all: f64, now: Instant) -> Rates {
        Rates {
            per_network,
            in_all,
            buckets: HashMap::new(),
            told_apart: HashMap::new(),
            others: Bucket { level: per_network * BURST_S, at: now },
            all: Bucket { level: in_all * BURST_S, at: now },
        }
    }

    /// Takes one request of a client into account, or says why not. A network that asks too often
    /// takes nothing from the others.
    pub fn take(&mut self, client: IpAddr, now: Instant) -> Result<(), TooOften> {
        let rate = self.per_network;
        if !self.bucket(client, now).take(rate, now) {
            return Err(TooOften::Network);
        }
        if self.all.take(self.in_all, now) { Ok(()) } else { Err(TooOften::All) }
    }

    fn bucket(&mut self, client: IpAddr, now: Instant) -> &mut Bucket {
        let (mut key, allocation) = (client_network(client), allocation(client));
        if !self.buckets.contains_key(&key) {
            if self.buckets.len() >= MAX_NETWORKS {
                self.forget_the_idle(now);
            }
            let told_apart = self.told_apart.get(&allocation).copied().unwrap_or(0);
            match told_apart {
                MAX_NETWORKS_OF_ALLOCATION.. => key = allocation,
                _ if self.buckets.len() < MAX_NETWORKS => _ = self.told_apart.insert(allocation, told_apart + 1),
                _ => return &mut self.others,
            }
        }
        let fresh = Bucket { level: self.per_network * BURST_S, at: now };
        self.buckets.entry(key).or_insert(fresh)
    }

    fn forget_the_idle(&mut self, now: Instant) {
        let rate = self.per_network;
        self.buckets.retain(|_, bucket| !bucket.is_full(rate, now));
        self.told_apart.clear();
        for network in self.buckets.keys() {
            *self.told_apart.entry(allocation(network.address())).or_default() += 1;
        }
    }
}

impl Bucket {
    fn take(&mut self, rate: f64, now: Instant) -> bool {
        self.level = self.filled(rate, now);
        self.at = self.at.max(now);
        let enough = self.level >= 1.0;
        self.level -= f64::from(u8::from(enough));
        enough
    }

    fn filled(&self, rate: f64, now: Instant) -> f64 {
        let since = now.saturating_duration_since(self.at).as_secs_f64();
        (self.level + since * rate).min((rate * BURST_S).max(1.0))
    }

    fn is_full(&self, rate: f64, now: Instant) -> bool {
        self.filled(rate, now) >= (rate * BURST_S).max(1.0)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn client(n: u32) -> IpAddr {
        IpAddr::V4((n << 8).into())
    }

    fn taken(rates: &mut Rates, n: u32, times: usize, now: Instant) -> usize {
        (0..times).filter(|_| rates.take(client(n), now).is_ok()).count()
    }

    #[test]
    fn a_network_has_its_burst_and_then_its_rate() {
        let now = Instant::now();
        let mut rates = Rates::new(2.0, 1000.0, now);
        assert_eq!(taken(&mut rates, 1, 100, now), 8);
        assert_eq!(taken(&mut rates, 2, 100, now), 8, "another has its own");
        assert_eq!(taken(&mut rates, 1, 100, now + Duration::from_secs(1)), 2);
        assert_eq!(taken(&mut rates, 1, 100, now + Duration::from_secs(3600)), 8);
        assert_eq!(taken(&mut rates, 1, 1, now), 0, "time does not go back");
    }

    #[test]
    fn all_together_have_a_limit_that_a_flood_from_one_does_not_use_up() {
        let now = Instant::now();
        let mut rates = Rates::new(2.0, 5.0, now);
        assert_eq!(taken(&mut rates, 1, 10_000, now), 8);
        assert_eq!(taken(&mut rates, 2, 8, now), 8);
        assert_eq!(taken(&mut rates, 3, 8, now), 4);
        assert_eq!(rates.take(client(4), now), Err(TooOften::All));
    }

    #[test]
    fn networks_beyond_the_table_share_a_bucket_until_others_are_idle() {
        let now = Instant::now();
        let mut rates = Rates::new(2.0, 1e9, now);
        for n in 0..MAX_NETWORKS as u32 {
            assert!(rates.take(client(n), now).is_ok());
        }
        let shared = (0..20).filter(|&n| rates.take(client(1_000_000 + n), now).is_ok()).count();
        assert_eq!((shared, rates.buckets.len()), (8, MAX_NETWORKS));
        let later = now + Duration::from_secs(10);
        assert_eq!(taken(&mut rates, 2_000_000, 100, later), 8);
        assert_eq!(rates.buckets.len(), 1);
    }

    #[test]
    fn one_allocation_does_not_take_the_table_from_all_others() {
        let now = Instant::now();
        let mut rates = Rates::new(2.0, 1e9, now);
        let site = |n: u16| IpAddr::from([0x2001, 0xdb8, n, 0, 0, 0, 0, 1]);
        let taken_by_sites = (0..u16::MAX).filter(|&n| rates.take(site(n), now).is_ok()).count();
        assert_eq!(taken_by_sites, MAX_NETWORKS_OF_ALLOCATION as usize + 8, "one bucket for the rest of them");
        assert_eq!(taken(&mut rates, 1, 100, now), 8, "a stranger has its own");
    }
}
