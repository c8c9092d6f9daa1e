//! Tokens: who may report times. Handed out with a plan, given back with the times, once.
//!
//! `base64url(expiry ‖ nonce ‖ HMAC-SHA256(key, expiry ‖ nonce ‖ the client's network))`: nothing is
//! kept of a token until it is spent. It holds for minutes, and only for clients of the /24 or /48 it
//! was handed to, so a report costs a round trip from an address that answers, and a token that was
//! copied is of no use elsewhere. Every node with the same key takes it.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};
use tracing::warn;

use super::store::client_network;
use crate::control::atomic_file::AtomicFile;
use crate::control::bounded_file;
use crate::control::troubles::{StateName, TroubleKind, Troubles};

/// The time that a token holds. Pages that measure take some ten seconds.
pub const LIFE_S: u64 = 300;
/// The difference that the clocks of nodes may have.
const SKEW_S: u64 = 60;
/// Spent tokens remembered at most, twice over: some 16 octets each, and more than the listener takes
/// within [`LIFE_S`] at its default rate.
const MAX_SPENT: usize = 200_000;
/// A key that was written by hand has at least this many characters.
pub const LEAST_KEY: usize = 32;

const EXPIRY: usize = 8;
const NONCE: usize = 12;
const TAG: usize = 32;
const WHOLE: usize = EXPIRY + NONCE + TAG;

/// Signs tokens, and knows its own.
pub struct Signer {
    key: hmac::Key,
    random: SystemRandom,
}

/// The reason why a token is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Not one of ours, or of another network.
    Forged,
    Expired,
    /// Used already.
    Spent,
    /// Too many were used within minutes to know about this one.
    Full,
}

/// A token that holds, and was not looked up among those that are spent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Valid {
    nonce: [u8; NONCE],
}

impl Signer {
    pub fn new(secret: &[u8]) -> Signer {
        Signer { key: hmac::Key::new(hmac::HMAC_SHA256, secret), random: SystemRandom::new() }
    }

    /// A token for a client. `None` where the system has no random numbers.
    pub fn token(&self, client: IpAddr, now: u64) -> Option<String> {
        let mut nonce = [0; NONCE];
        self.random.fill(&mut nonce).ok()?;
        let expiry = now.saturating_add(LIFE_S).to_be_bytes();
        let tag = hmac::sign(&self.key, &signed(&expiry, &nonce, client));
        Some(URL_SAFE_NO_PAD.encode([&expiry[..], &nonce, tag.as_ref()].concat()))
    }

    /// Tells whether a token holds for a client now.
    pub fn check(&self, token: &str, client: IpAddr, now: u64) -> Result<Valid, Refused> {
        let mut octets = [0; WHOLE];
        let decoded = URL_SAFE_NO_PAD.decode_slice(token, &mut octets).map_err(|_| Refused::Forged)?;
        let (Some((expiry, rest)), WHOLE) = (octets.split_first_chunk::<EXPIRY>(), decoded) else {
            return Err(Refused::Forged);
        };
        let (nonce, tag) = rest.split_first_chunk::<NONCE>().ok_or(Refused::Forged)?;
        // Compares in constant time.
        hmac::verify(&self.key, &signed(expiry, nonce, client), tag).map_err(|_| Refused::Forged)?;
        let expiry = u64::from_be_bytes(*expiry);
        // One that holds for too long is from before a clock was set back.
        if now > expiry || expiry > now.saturating_add(LIFE_S + SKEW_S) {
            return Err(Refused::Expired);
        }
        Ok(Valid { nonce: *nonce })
    }
}

/// The octets that are signed: fields of fixed length, so that no two tokens are signed alike.
fn signed(expiry: &[u8; EXPIRY], nonce: &[u8; NONCE], client: IpAddr) -> Vec<u8> {
    let network = match client_network(client).address() {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    };
    [b"meridian rum 1".as_slice(), expiry, nonce, &network.octets()].concat()
}

/// Tokens that were used, as long as they could be used again: in two generations.
#[derive(Debug, Default)]
pub struct Spent {
    young: HashSet<[u8; NONCE]>,
    old: HashSet<[u8; NONCE]>,
    /// The time when the young ones began.
    since: u64,
}

impl Spent {
    /// Uses up a token.
    pub fn spend(&mut self, token: Valid, now: u64) -> Result<(), Refused> {
        // A clock that was set back forgets nothing.
        if now.saturating_sub(self.since) >= LIFE_S + SKEW_S {
            self.old = std::mem::take(&mut self.young);
            self.since = now;
        }
        if self.old.contains(&token.nonce) || self.young.contains(&token.nonce) {
            return Err(Refused::Spent);
        }
        if self.young.len() >= MAX_SPENT {
            return Err(Refused::Full);
        }
        self.young.insert(token.nonce);
        Ok(())
    }
}

/// The secret in a file that the operator named, so that several nodes have the same.
///
/// # Errors
/// What is wrong with it, for people.
pub fn read_secret(path: &Path) -> Result<Vec<u8>, String> {
    let secret = bounded_file::read_secret(path, "the RUM key", LEAST_KEY)?;
    if let Some(warning) = &secret.warning {
        warn!("{warning}");
    }
    Ok(secret.text.into_bytes())
}

/// The secret kept in the state directory, made there at first. One that can be neither read nor made is made for this
/// run alone, and told: what browsers hold then is refused once, after the next restart, for [`LIFE_S`] at most.
///
/// # Errors
/// The system has no random numbers.
pub fn own_secret(state: &Path, troubles: &Troubles) -> Result<Vec<u8>, String> {
    let path = state.join(StateName::RumKey.as_str());
    let told = |kind, error: &str| troubles.begin(StateName::RumKey, kind, error, FOR_THIS_RUN);
    match fs::metadata(&path) {
        // What an older version left on a full disk. It never was a key.
        Ok(metadata) if metadata.len() == 0 => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        _ => match read_secret(&path) {
            Ok(secret) => return Ok(secret),
            Err(error) => {
                told(TroubleKind::Unreadable, &error);
                return random();
            }
        },
    }
    let secret = random()?;
    let text = [secret.as_slice(), b"\n"].concat();
    match AtomicFile::new(path, MAX_KEY).private().replace(&text) {
        Ok(()) => troubles.end(StateName::RumKey, TroubleKind::Unwritable),
        Err(error) => told(TroubleKind::Unwritable, &error.to_string()),
    }
    Ok(secret)
}

const FOR_THIS_RUN: &str =
    "a key of this run alone signs browsers' tokens; those it signed are refused after a restart";
/// In octets.
const MAX_KEY: u64 = 4096;

fn random() -> Result<Vec<u8>, String> {
    let mut random = [0; 32];
    SystemRandom::new().fill(&mut random).map_err(|_| "the system has no random numbers".to_owned())?;
    Ok(URL_SAFE_NO_PAD.encode(random).into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_790_000_000;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn a_token_holds_for_its_network_and_its_minutes() {
        let signer = Signer::new(b"0123456789abcdef0123456789abcdef");
        let token = signer.token(ip("192.0.2.1"), NOW).expect("a token");
        let check = |client, now| signer.check(&token, ip(client), now).err();
        assert_eq!(check("192.0.2.200", NOW), None);
        assert_eq!(check("::ffff:192.0.2.200", NOW + LIFE_S), None);
        assert_eq!(check("192.0.3.1", NOW), Some(Refused::Forged));
        assert_eq!(check("::192.0.2.1", NOW), Some(Refused::Forged));
        assert_eq!(check("192.0.2.1", NOW + LIFE_S + 1), Some(Refused::Expired));
        assert_eq!(check("192.0.2.1", NOW - SKEW_S - 1), Some(Refused::Expired), "handed out later than now");
        let token = signer.token(ip("2001:db8:0:1200::1"), NOW).expect("a token");
        let check = |client| signer.check(&token, ip(client), NOW).err();
        assert_eq!([check("2001:db8:0:ffff::2"), check("2001:db8:1:1200::1")], [None, Some(Refused::Forged)]);
    }

    #[test]
    fn no_octet_of_a_token_can_be_changed() {
        let signer = Signer::new(b"0123456789abcdef0123456789abcdef");
        let token = signer.token(ip("192.0.2.1"), NOW).expect("a token");
        let octets = URL_SAFE_NO_PAD.decode(&token).expect("ours");
        for at in 0..octets.len() {
            let mut changed = octets.clone();
            changed[at] ^= 1;
            assert!(signer.check(&URL_SAFE_NO_PAD.encode(changed), ip("192.0.2.1"), NOW).is_err(), "octet {at}");
        }
        for wrong in ["", "AAAA", &token[1..], &format!("{token}A"), &format!("{token}=="), &token.repeat(100), "ü"] {
            assert_eq!(signer.check(wrong, ip("192.0.2.1"), NOW), Err(Refused::Forged), "{wrong}");
        }
        let other = Signer::new(b"another secret of thirty-two oct");
        assert_eq!(other.check(&token, ip("192.0.2.1"), NOW), Err(Refused::Forged));
    }

    #[test]
    fn a_token_is_spent_once_for_as_long_as_it_holds() {
        let mut spent = Spent::default();
        let valid = |n: u32| {
            let mut nonce = [0; NONCE];
            nonce[..4].copy_from_slice(&n.to_be_bytes());
            Valid { nonce }
        };
        assert_eq!(spent.spend(valid(1), NOW), Ok(()));
        assert_eq!(spent.spend(valid(2), NOW + LIFE_S), Ok(()));
        for later in [0, LIFE_S] {
            assert_eq!(spent.spend(valid(1), NOW + later), Err(Refused::Spent));
        }
        assert_eq!(spent.spend(valid(2), NOW + LIFE_S + SKEW_S), Err(Refused::Spent), "in the old generation");
        assert_eq!(spent.spend(valid(1), NOW + 5 * LIFE_S), Ok(()), "expired long since");
        let full = (10..=10 + MAX_SPENT as u32).map(|n| spent.spend(valid(n), NOW + 5 * LIFE_S)).last();
        assert_eq!(full, Some(Err(Refused::Full)));
    }

    #[test]
    fn a_secret_is_made_once_and_only_its_owner_reads_it() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().expect("a directory");
        let state = directory.path().join("state");
        let (troubles, key) = (Troubles::default(), state.join("rum.key"));
        let own = || own_secret(&state, &troubles).expect("a secret");
        let first = own();
        assert_eq!(own(), first);
        let mode = fs::metadata(&key).expect("there").permissions().mode();
        assert_eq!((mode & 0o777, first.len() >= LEAST_KEY), (0o600, true));
        assert!(troubles.all().is_empty());
        assert!(read_secret(&state.join("gone")).is_err());
    }

    /// As a write into a full disk leaves it.
    #[test]
    fn an_empty_key_is_made_anew() {
        let directory = tempfile::tempdir().expect("a directory");
        let (troubles, key) = (Troubles::default(), directory.path().join("rum.key"));
        fs::write(&key, "").expect("written");
        let secret = own_secret(directory.path(), &troubles).expect("a secret");
        assert_eq!(read_secret(&key).expect("kept"), secret);
        assert!(troubles.all().is_empty());
    }

    #[test]
    fn a_key_that_cannot_be_kept_or_read_is_of_this_run_alone_and_told() {
        let directory = tempfile::tempdir().expect("a directory");
        let (troubles, key) = (Troubles::default(), directory.path().join("rum.key"));
        fs::write(&key, "short\n").expect("written");
        let own = || own_secret(directory.path(), &troubles).expect("a secret");
        assert!(own().len() >= LEAST_KEY && troubles.has(StateName::RumKey, TroubleKind::Unreadable));
        assert_eq!(fs::read_to_string(&key).expect("there"), "short\n", "it is the operator's to mend");
        fs::remove_file(&key).expect("removed");
        fs::create_dir(directory.path().join("rum.key.new")).expect("in the way");
        assert_ne!(own(), own());
        assert!(!key.exists() && troubles.has(StateName::RumKey, TroubleKind::Unwritable));
    }
}
