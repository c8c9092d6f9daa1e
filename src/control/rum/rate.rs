//! How often strangers may ask: token buckets, one for each network and one for all.

use std::collections::HashMap;
use std::time::Instant;

use crate::model::Prefix;

/// Networks told apart at most, some 60 octets each. Beyond it those that are new share one bucket.
const MAX_NETWORKS: usize = 50_000;
/// A bucket holds this many seconds' worth.
const BURST_S: f64 = 4.0;

#[derive(Debug)]
pub struct Rates {
    per_network: f64,
    in_all: f64,
    networks: HashMap<Prefix, Bucket>,
    others: Bucket,
    all: Bucket,
}

/// Which limit was met.
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
            networks: HashMap::new(),
            others: Bucket { level: per_network * BURST_S, at: now },
            all: Bucket { level: in_all * BURST_S, at: now },
        }
    }

    /// Takes one request of a network into account, or says why not. A network that asks too often
    /// takes nothing from the others.
    pub fn take(&mut self, network: Prefix, now: Instant) -> Result<(), TooOften> {
        if self.networks.len() >= MAX_NETWORKS && !self.networks.contains_key(&network) {
            let rate = self.per_network;
            self.networks.retain(|_, bucket| !bucket.is_full(rate, now));
        }
        let room = self.networks.len() < MAX_NETWORKS;
        let fresh = Bucket { level: self.per_network * BURST_S, at: now };
        let bucket = match self.networks.get_mut(&network) {
            Some(bucket) => bucket,
            None if room => self.networks.entry(network).or_insert(fresh),
            None => &mut self.others,
        };
        if !bucket.take(self.per_network, now) {
            return Err(TooOften::Network);
        }
        if self.all.take(self.in_all, now) { Ok(()) } else { Err(TooOften::All) }
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
    use std::net::IpAddr;
    use std::time::Duration;

    use super::*;

    fn network(n: u32) -> Prefix {
        Prefix::containing(IpAddr::V4((n << 8).into()), 24)
    }

    fn taken(rates: &mut Rates, n: u32, times: usize, now: Instant) -> usize {
        (0..times).filter(|_| rates.take(network(n), now).is_ok()).count()
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
        assert_eq!(rates.take(network(4), now), Err(TooOften::All));
    }

    #[test]
    fn networks_beyond_the_table_share_a_bucket_until_others_are_idle() {
        let now = Instant::now();
        let mut rates = Rates::new(2.0, 1e9, now);
        for n in 0..MAX_NETWORKS as u32 {
            assert!(rates.take(network(n), now).is_ok());
        }
        let shared = (0..20).filter(|&n| rates.take(network(1_000_000 + n), now).is_ok()).count();
        assert_eq!((shared, rates.networks.len()), (8, MAX_NETWORKS));
        let later = now + Duration::from_secs(10);
        assert_eq!(taken(&mut rates, 2_000_000, 100, later), 8);
        assert_eq!(rates.networks.len(), 1);
    }
}
