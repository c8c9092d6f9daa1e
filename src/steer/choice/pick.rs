//! One client's choice among weighted candidates, by weighted rendezvous hashing.
//!
//! The winner is the candidate with the greatest `-w / ln h(key, candidate)`, `h` uniform in
//! (0, 1). So each candidate wins a share of keys in proportion to its weight, the order of
//! candidates is irrelevant, the same key finds the same winner, and a candidate that leaves
//! moves only the keys it had. All nodes share the seed, so all answer alike.

use std::net::IpAddr;

use crate::model::Prefix;

/// A stable 64-bit identity of a region, an endpoint or a group: the same on every node and in every run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Identity(u64);

impl Identity {
    /// The identity of `name` under the deployment's seed.
    pub fn of(seed: u64, name: &str) -> Identity {
        // FNV-1a over the name, then a finaliser: short names differ in few bits.
        let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325 ^ mix(seed), |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        Identity(mix(hash))
    }

    /// The identity as it may be kept.
    pub fn number(self) -> u64 {
        self.0
    }

    /// The same identity inside of the group `parent`. A choice there is made anew: who wins it does not follow from
    /// who won among the groups beside `parent`.
    pub fn within(self, parent: Identity) -> Identity {
        Identity(mix(self.0 ^ mix(parent.0)))
    }
}

/// The bits a client is hashed by: a prefix (with ECS) or a resolver's address (without).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientKey(u64);

/// Clients this near share an answer where shares are split: an ECS answer is never wider then.
pub const NETWORK_BITS_IPV4: u8 = 24;
/// As [`NETWORK_BITS_IPV4`], for IPv6.
pub const NETWORK_BITS_IPV6: u8 = 48;

impl ClientKey {
    /// The key of the first `len` bits of `address`.
    #[inline]
    pub fn of(address: IpAddr, len: u8) -> ClientKey {
        let bits = match Prefix::containing(address, len).address() {
            IpAddr::V4(v4) => u128::from(u32::from(v4)) | 0xffff << 32, // as IPv4-mapped IPv6
            IpAddr::V6(v6) => u128::from(v6),
        };
        let folded = mix(bits as u64) ^ mix((bits >> 64) as u64 ^ 0x9e37_79b9_7f4a_7c15).rotate_left(32);
        ClientKey(mix(folded))
    }

    /// The key of the network that `address` is in.
    #[inline]
    pub fn of_network(address: IpAddr) -> ClientKey {
        ClientKey::of(address, if address.is_ipv4() { NETWORK_BITS_IPV4 } else { NETWORK_BITS_IPV6 })
    }

    /// Tells whether this is among the part `share`, 0 to 1, of keys. Who is in a smaller part is in every
    /// larger one of the same salt.
    pub fn is_in_cohort(self, salt: Identity, share: f64) -> bool {
        uniform(self, salt) < share
    }

    /// A key from raw bits, for simulations and tests.
    pub fn from_bits(bits: u64) -> ClientKey {
        ClientKey(bits)
    }
}

/// The winner's index among `candidates` (identity and weight). `None` where there is none
/// with a weight above zero.
pub fn rendezvous(key: ClientKey, candidates: impl IntoIterator<Item = (Identity, f64)>) -> Option<usize> {
    let mut best: Option<(Claim, usize)> = None;
    for (index, (identity, weight)) in candidates.into_iter().enumerate() {
        if weight.is_nan() || weight <= 0.0 {
            continue;
        }
        let claim = Claim::of(key, identity, weight);
        if best.is_none_or(|(most, _)| claim.beats(&most)) {
            best = Some((claim, index));
        }
    }
    best.map(|(_, index)| index)
}

/// A candidate's claim against the others: the one that reaches furthest wins.
#[derive(Clone, Copy, Debug)]
pub struct Claim {
    weight: f64,
    chance: f64,
    identity: Identity,
}

impl Claim {
    /// A candidate's claim to a client. The weight is above 0.
    #[inline]
    pub fn of(key: ClientKey, identity: Identity, weight: f64) -> Claim {
        Claim { weight, chance: uniform(key, identity), identity }
    }

    /// Equal reach is settled by identity, so that the order of candidates never matters.
    #[inline]
    pub fn beats(&self, other: &Claim) -> bool {
        // Reach grows with weight and with chance: who has more of both wins without logarithms.
        if self.weight >= other.weight && self.chance > other.chance {
            return true;
        }
        if self.weight <= other.weight && self.chance < other.chance {
            return false;
        }
        // Logarithms take longer than all else here, and bounds of theirs mostly tell.
        self.surely_beats(other) || (!other.surely_beats(self) && self.beats_by_logarithms(other))
    }

    /// By 2 (1 - c) / (1 + c) <= -ln c <= (1 - c) (1 + c) / 2c for chances from 0 to 1: true where the least that the
    /// reach can be is above the most that the other's can be, by more than is lost to rounding.
    #[inline]
    fn surely_beats(&self, other: &Claim) -> bool {
        const CLEARLY: f64 = 4.0 - 1e-9;
        let (chance, others) = (self.chance, other.chance);
        CLEARLY * self.weight * chance * (1.0 - others)
            > other.weight * (1.0 + others) * (1.0 - chance) * (1.0 + chance)
    }

    #[cold]
    #[inline(never)] // or both logarithms are taken beforehand
    fn beats_by_logarithms(&self, other: &Claim) -> bool {
        (self.reach(), self.identity) > (other.reach(), other.identity)
    }

    pub fn reach(&self) -> f64 {
        self.weight / -self.chance.ln()
    }
}

/// A number strictly between 0 and 1 from a key and an identity.
#[inline]
fn uniform(key: ClientKey, identity: Identity) -> f64 {
    let bits = mix(key.0 ^ identity.0.rotate_left(17)) >> 11; // 53 bits
    (bits as f64 + 0.5) / (1u64 << 53) as f64
}

/// The finaliser of SplitMix64 (Steele, Lea, Flood 2014): every input bit reaches every output bit.
#[inline]
pub fn mix(bits: u64) -> u64 {
    let bits = bits.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn regions(count: usize) -> Vec<Identity> {
        (0..count).map(|i| Identity::of(0, &format!("region{i}"))).collect()
    }

    fn winner(key: ClientKey, candidates: &[(Identity, f64)]) -> Option<Identity> {
        rendezvous(key, candidates.iter().copied()).map(|index| candidates[index].0)
    }

    #[test]
    fn shares_follow_the_weights() {
        let candidates: Vec<_> = regions(3).into_iter().zip([5.0, 3.0, 2.0]).collect();
        let mut won = [0u32; 3];
        for bits in 0..100_000u32 {
            let key = ClientKey::of(IpAddr::V4((bits << 8).into()), 24);
            won[rendezvous(key, candidates.iter().copied()).expect("a winner")] += 1;
        }
        for (won, share) in won.into_iter().zip([0.5, 0.3, 0.2]) {
            assert!((f64::from(won) / 100_000.0 - share).abs() < 0.01, "{won} for {share}");
        }
    }

    #[test]
    fn nothing_wins_without_weight() {
        let candidates: Vec<_> = regions(3).into_iter().zip([0.0, -1.0, f64::NAN]).collect();
        assert_eq!(rendezvous(ClientKey::from_bits(1), candidates), None);
        assert_eq!(rendezvous(ClientKey::from_bits(1), []), None);
    }

    #[test]
    fn keys_know_only_the_prefix() {
        let of = |text: &str, len| ClientKey::of(text.parse().expect("ip"), len);
        assert_eq!(of("192.0.2.1", 24), of("192.0.2.254", 24));
        assert_ne!(of("192.0.2.1", 24), of("192.0.3.1", 24));
        assert_ne!(of("192.0.2.1", 32), of("192.0.2.2", 32));
        assert_eq!(of("2001:db8:1:2::3", 48), of("2001:db8:1:ffff::", 48));
        assert_ne!(of("2001:db8:1::", 48), of("2001:db8:2::", 48));
    }

    proptest! {
        #[test]
        fn who_wins_without_logarithms_wins_by_them(bits: u64, weights in prop::array::uniform2(0.001f64..10.0), alike: bool) {
            let ids = regions(2);
            let claim = |at: usize| Claim::of(ClientKey::from_bits(bits), ids[at], weights[if alike { 0 } else { at }]);
            let (one, other) = (claim(0), claim(1));
            prop_assert_eq!(one.beats(&other), (one.reach(), ids[0]) > (other.reach(), ids[1]));
            prop_assert_eq!(one.beats(&other), !other.beats(&one));
            prop_assert!(!one.beats(&one));
        }

        #[test]
        fn the_order_of_candidates_is_irrelevant(
            bits: u64,
            weights in prop::collection::vec(0.001f64..100.0, 1..8),
            turn in 0usize..8,
        ) {
            let candidates: Vec<_> = regions(weights.len()).into_iter().zip(weights).collect();
            let mut turned = candidates.clone();
            turned.rotate_left(turn % candidates.len());
            let mut reversed = candidates.clone();
            reversed.reverse();
            let first = winner(ClientKey::from_bits(bits), &candidates);
            prop_assert_eq!(first, winner(ClientKey::from_bits(bits), &turned));
            prop_assert_eq!(first, winner(ClientKey::from_bits(bits), &reversed));
        }

        #[test]
        fn a_lost_candidate_moves_only_its_own_keys(
            bits: u64,
            weights in prop::collection::vec(0.001f64..100.0, 2..8),
            lost in 0usize..8,
        ) {
            let candidates: Vec<_> = regions(weights.len()).into_iter().zip(weights).collect();
            let lost = lost % candidates.len();
            let mut left = candidates.clone();
            left.remove(lost);
            let before = winner(ClientKey::from_bits(bits), &candidates);
            let after = winner(ClientKey::from_bits(bits), &left);
            prop_assert!(before == after || before == Some(candidates[lost].0));
        }
    }
}
