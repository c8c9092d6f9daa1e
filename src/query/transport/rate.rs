//! How many responses over UDP one network gets a second, so that whoever forges sources gains nothing by this server.
//!
//! In: a client's address, the time and what its message says of itself. Out: a [`Verdict`]. A network is a /24 or a
//! /56. It may have a second's worth at once, and then one each time that `1 s / per_second` has passed (the generic
//! cell rate algorithm: one number per network, the time when all that it had is paid for). What is beyond goes without
//! a response, but for one in so many: that one is empty and truncated, and a resolver that is real comes again over
//! TCP, where sources are proven.
//!
//! One table for all threads, without a lock. Threads that meet in a place may lose a count, and a network whose place
//! others took begins anew: both let a little more through, and neither holds up anybody.

use std::hash::BuildHasher;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use foldhash::fast::RandomState;

use crate::model::{Prefix, ResponseRate};

use super::{CLIENT_NETWORK_LENGTHS, client_network};

/// Networks that are kept apart in one place of the table: as many as a cache line holds.
const WAYS: usize = 4;
/// Places: 1 MiB for 65,536 networks, where those that idle make room.
const SETS: usize = 1 << 14;
const US_PER_SECOND: u64 = 1_000_000;

/// What becomes of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Answer,
    /// An empty response that says "come by TCP".
    Truncate,
    Silence,
}

/// The limit, and what networks had.
#[derive(Debug)]
pub struct RateLimiter {
    settings: ResponseRate,
    /// Between two responses, in microseconds.
    interval_us: u64,
    began: Instant,
    hasher: RandomState,
    sets: Box<[Set]>,
    /// The network that was last above the limit, as [`key`] has it; 0: none was.
    last: AtomicU64,
}

#[derive(Debug, Default)]
#[repr(align(64))]
struct Set([Way; WAYS]);

#[derive(Debug, Default)]
struct Way {
    /// 0: nobody's.
    key: AtomicU64,
    /// When all that it had is paid for, in microseconds since the table began.
    paid_at_us: AtomicU64,
}

impl RateLimiter {
    pub fn new(settings: ResponseRate) -> RateLimiter {
        RateLimiter {
            interval_us: (US_PER_SECOND / u64::from(settings.per_second.max(1))).max(1),
            settings,
            began: Instant::now(),
            hasher: RandomState::default(),
            sets: std::iter::repeat_with(Set::default).take(SETS).collect(),
            last: AtomicU64::new(0),
        }
    }

    /// The time as [`RateLimiter::judge`] takes it, in microseconds.
    pub fn now_us(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// Counts a message from `client` and says what becomes of it. `id` is its own, by which those that are truncated
    /// are picked: a resolver's are random.
    #[inline]
    pub fn judge(&self, client: IpAddr, now_us: u64, id: u16) -> Verdict {
        let key = key(client);
        let hash = self.hasher.hash_one(key);
        let Some(set) = self.sets.get(hash as usize % SETS) else { return Verdict::Answer };
        let paid_at_us = match set.0.iter().find(|way| way.key.load(Ordering::Relaxed) == key) {
            Some(way) => &way.paid_at_us,
            None => set.give(key),
        };
        let before = paid_at_us.load(Ordering::Relaxed).max(now_us);
        if before <= now_us.saturating_add(US_PER_SECOND) {
            paid_at_us.store(before + self.interval_us, Ordering::Relaxed);
            return Verdict::Answer;
        }
        self.beyond(client, key, id)
    }

    #[cold]
    fn beyond(&self, client: IpAddr, key: u64, id: u16) -> Verdict {
        if self.settings.trusted.iter().any(|network| network.contains(client)) {
            return Verdict::Answer;
        }
        self.last.store(key, Ordering::Relaxed);
        match self.settings.truncated_one_in {
            0 => Verdict::Silence,
            one_in if u32::from(id).is_multiple_of(one_in) => Verdict::Truncate,
            _ => Verdict::Silence,
        }
    }

    /// The network that was last above the limit.
    pub fn last_beyond(&self) -> Option<Prefix> {
        network(self.last.load(Ordering::Relaxed))
    }
}

impl Set {
    /// Gives the place of the network that was paid first to another: one that is above its limit is paid last.
    fn give(&self, key: u64) -> &AtomicU64 {
        let [first, others @ ..] = &self.0;
        let paid = |way: &Way| way.paid_at_us.load(Ordering::Relaxed);
        let way = others.iter().fold(first, |least, way| if paid(way) < paid(least) { way } else { least });
        way.paid_at_us.store(0, Ordering::Relaxed);
        way.key.store(key, Ordering::Relaxed);
        &way.paid_at_us
    }
}

/// The bits of an IPv4 and of an IPv6 address that do not tell networks apart.
const HOST_BITS: [u8; 2] = [32 - CLIENT_NETWORK_LENGTHS[0], 128 - CLIENT_NETWORK_LENGTHS[1]];

/// Marks the networks of IPv6.
const V6: u64 = 1 << 63;
/// Marks that there is a network.
const ANY: u64 = 1 << 62;

/// A number for the client's network, never 0.
fn key(client: IpAddr) -> u64 {
    match client {
        IpAddr::V4(address) => ANY | u64::from(u32::from(address) >> HOST_BITS[0]),
        IpAddr::V6(address) => ANY | V6 | (u128::from(address) >> HOST_BITS[1]) as u64,
    }
}

fn network(key: u64) -> Option<Prefix> {
    let bits = key & !(ANY | V6);
    match (key & ANY, key & V6) {
        (0, _) => None,
        (_, 0) => Some(client_network(IpAddr::V4(((bits as u32) << HOST_BITS[0]).into()))),
        _ => Some(client_network(IpAddr::V6((u128::from(bits) << HOST_BITS[1]).into()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START_US: u64 = 5_000_000;

    fn rate(per_second: u32, truncated_one_in: u32) -> RateLimiter {
        let trusted = vec!["198.51.100.0/24".parse().expect("a network")];
        RateLimiter::new(ResponseRate { per_second, truncated_one_in, trusted })
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    /// How many of `messages`, `apart_us` from each other, are answered.
    fn answered(rate: &RateLimiter, client: &str, messages: u64, apart_us: u64) -> u64 {
        let judged = |n: u64| rate.judge(ip(client), START_US + n * apart_us, 1) == Verdict::Answer;
        (0..messages).filter(|&n| judged(n)).count() as u64
    }

    #[test]
    fn a_network_gets_a_seconds_worth_at_once_and_then_as_many_as_are_its_own() {
        let rate = rate(100, 0);
        // 10 s at 1,000 a second.
        let given = answered(&rate, "192.0.2.1", 10_000, 1_000);
        assert!((1_095..=1_105).contains(&given), "{given}");
        assert_eq!(answered(&rate, "192.0.3.1", 1_000, 10_000), 1_000, "a neighbour at its limit");
        assert_eq!(rate.last_beyond().map(|network| network.to_string()).as_deref(), Some("192.0.2.0/24"));
    }

    #[test]
    fn addresses_of_one_network_share_and_others_do_not() {
        for (one, same, other) in
            [("192.0.2.1", "192.0.2.255", "192.0.3.1"), ("2001:db8::1", "2001:db8:0:ff::", "2001:db8:0:100::")]
        {
            let rate = rate(10, 0);
            answered(&rate, one, 100, 0);
            assert_eq!(rate.judge(ip(same), START_US, 1), Verdict::Silence, "{same}");
            assert_eq!(rate.judge(ip(other), START_US, 1), Verdict::Answer, "{other}");
        }
    }

    #[test]
    fn of_those_beyond_one_in_so_many_is_truncated() {
        for (one_in, truncated) in [(0, 0), (1, 1_000), (2, 500), (4, 250)] {
            let rate = rate(1, one_in);
            answered(&rate, "192.0.2.1", 10, 0);
            let of = (0..1_000).filter(|&id| rate.judge(ip("192.0.2.1"), START_US, id) == Verdict::Truncate);
            assert_eq!(of.count(), truncated, "one in {one_in}");
        }
    }

    #[test]
    fn trusted_networks_have_no_limit() {
        assert_eq!(answered(&rate(1, 0), "198.51.100.7", 1_000, 0), 1_000);
    }

    #[test]
    fn a_flood_of_other_networks_does_not_give_a_victim_more() {
        let rate = rate(100, 0);
        let mut given = 0;
        for n in 0..400_000u32 {
            let now_us = START_US + u64::from(n);
            rate.judge(IpAddr::V4((0x0b00_0000 + (n << 8)).into()), now_us, 1);
            given += u32::from(n % 4 == 0 && rate.judge(ip("192.0.2.1"), now_us, 1) == Verdict::Answer);
        }
        // 0.4 s: what is had at once, and 40.
        assert!((130..=150).contains(&given), "{given}");
    }

    #[test]
    fn a_network_is_named_as_it_was_counted() {
        for (client, network_of) in
            [("203.0.113.9", "203.0.113.0/24"), ("2001:db8:aa:bbcc::1", "2001:db8:aa:bb00::/56")]
        {
            assert_eq!(network(key(ip(client))).map(|network| network.to_string()).as_deref(), Some(network_of));
        }
        assert_eq!(network(0), None);
        assert_ne!(key(ip("0.0.0.0")), key(ip("::")));
    }
}
