//! The form of a message between nodes: its headers, and the octets that a token signs.
//!
//! A signature is over a digest of the body, not the body: so a message without a right one is refused before its body
//! is read. It is over a number of that message alone too: no reply to another one can be taken for its own.

use bytes::Bytes;
use ring::digest::{SHA256, digest};
use ring::hmac;

/// Octets of a message's body, and of a reply, at most.
pub const MOST_OCTETS: usize = 32 * 1024 * 1024;
/// Octets of a refusal that are told.
pub const MOST_REFUSAL: usize = 1024;
/// The path of a message, before its kind.
pub const PATH: &str = "/cluster/v1/";

pub const CLUSTER: &str = "meridian-cluster";
pub const FROM: &str = "meridian-from";
pub const TO: &str = "meridian-to";
pub const NONCE: &str = "meridian-nonce";
pub const DIGEST: &str = "meridian-digest";
pub const SIGNATURE: &str = "meridian-signature";

/// SHA-256, and HMAC with it.
pub type Octets32 = [u8; 32];

/// Larger bodies are digested beside what serves sockets: 32 MiB take some tens of milliseconds.
const LARGE: usize = 256 * 1024;

/// All that a signature of a message is over.
#[derive(Clone, Copy, Debug)]
pub struct Envelope<'a> {
    pub cluster: &'a str,
    pub from: &'a str,
    pub to: &'a str,
    pub kind: &'a str,
    /// 64 hexadecimal digits drawn at random: another one in each message.
    pub nonce: &'a str,
    /// Of the body.
    pub digest: Octets32,
}

impl Envelope<'_> {
    pub fn signature(&self, key: &hmac::Key) -> Octets32 {
        octets(hmac::sign(key, &self.signed()).as_ref())
    }

    pub fn is_signed(&self, key: &hmac::Key, signature: &Octets32) -> bool {
        hmac::verify(key, &self.signed(), signature).is_ok()
    }

    fn signed(&self) -> Vec<u8> {
        let Envelope { cluster, from, to, kind, nonce, digest } = self;
        let texts = [cluster, from, to, kind, nonce].map(|text| text.as_bytes());
        joined("meridian message 1", &[&texts[..], &[&digest[..]]].concat())
    }
}

/// The octets that the signature of a reply is over: the message's signature, the HTTP status and the body's digest.
pub fn signed_reply(to: &Octets32, status: u16, digest: &Octets32) -> Vec<u8> {
    joined("meridian reply 1", &[to, &status.to_be_bytes(), digest])
}

/// Each part after its length, so that no two lists of parts are the same octets.
fn joined(what: &str, parts: &[&[u8]]) -> Vec<u8> {
    let mut all = what.as_bytes().to_vec();
    for part in parts {
        all.extend((part.len() as u64).to_be_bytes());
        all.extend(*part);
    }
    all
}

/// The digest of a body.
///
/// # Errors
/// The runtime is ending.
pub async fn digest_of(body: &Bytes) -> Result<Octets32, String> {
    if body.len() <= LARGE {
        return Ok(octets(digest(&SHA256, body).as_ref()));
    }
    let body = body.clone();
    let digesting = tokio::task::spawn_blocking(move || octets(digest(&SHA256, &body).as_ref()));
    digesting.await.map_err(|error| error.to_string())
}

/// 1 to 16 lower-case letters and `_`.
pub fn is_kind(text: &str) -> bool {
    (1..=16).contains(&text.len()) && text.bytes().all(|octet| octet.is_ascii_lowercase() || octet == b'_')
}

pub fn hex(octets: &Octets32) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

/// 64 hexadecimal digits in lower case.
pub fn unhex(text: &str) -> Option<Octets32> {
    let digit = |octet: u8| match octet {
        b'0'..=b'9' => Some(octet - b'0'),
        b'a'..=b'f' => Some(octet - b'a' + 10),
        _ => None,
    };
    let mut octets = [0; 32];
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else { return None };
    if pairs.len() != octets.len() {
        return None;
    }
    for (octet, [high, low]) in octets.iter_mut().zip(pairs) {
        *octet = digit(*high)? << 4 | digit(*low)?;
    }
    Some(octets)
}

/// Of 32 octets; ring's SHA-256 has no other length.
fn octets(found: &[u8]) -> Octets32 {
    let mut octets = [0; 32];
    octets.iter_mut().zip(found).for_each(|(to, from)| *to = *from);
    octets
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_part_of_a_message_is_signed() {
        let key = hmac::Key::new(hmac::HMAC_SHA256, b"0123456789abcdef");
        let message =
            Envelope { cluster: "prod", from: "fra1", to: "ber1", kind: "demand", nonce: "77", digest: [7; 32] };
        let signature = message.signature(&key);
        assert!(message.is_signed(&key, &signature));
        for other in [
            Envelope { cluster: "test", ..message },
            Envelope { from: "fra2", ..message },
            Envelope { to: "ber2", ..message },
            Envelope { kind: "plan", ..message },
            Envelope { nonce: "78", ..message },
            Envelope { digest: [8; 32], ..message },
            Envelope { cluster: "prodf", from: "ra1", ..message },
        ] {
            assert!(!other.is_signed(&key, &signature), "{other:?}");
        }
        assert!(!message.is_signed(&hmac::Key::new(hmac::HMAC_SHA256, b"0123456789abcdeg"), &signature));
    }

    #[test]
    fn kinds_are_short_words_and_digests_have_64_digits() {
        for (text, fits) in [("plan", true), ("a_b", true), ("abcdefghijklmnopq", false), ("", false), ("Plan", false)]
        {
            assert_eq!(is_kind(text), fits, "{text}");
        }
        assert_eq!(unhex(&hex(&[0xa5; 32])), Some([0xa5; 32]));
        for wrong in [String::new(), hex(&[0; 32])[1..].to_owned(), "G".repeat(64), "0".repeat(66), "A".repeat(64)] {
            assert_eq!(unhex(&wrong), None, "{wrong}");
        }
    }
}
