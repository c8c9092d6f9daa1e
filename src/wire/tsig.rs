//! TSIG (RFC 8945) as far as a server without keys needs it: a signed query is told that its key
//! is not known here.

use crate::model::name::{MAX_NAME_OCTETS, wire_len};

/// TSIG ERROR: the key is not known (RFC 8945 section 3).
const BADKEY: u16 = 17;
const TSIG: u16 = 250;
const ANY: u16 = 255;

/// The parts of a query's TSIG record that come back in the response. All of it points into the query.
#[derive(Clone, Copy, Debug)]
pub struct Tsig<'a> {
    key: KeyName<'a>,
    algorithm: &'a [u8],
    /// Time signed and fudge.
    time: &'a [u8; 8],
    original_id: &'a [u8; 2],
}

impl<'a> Tsig<'a> {
    /// Reads a record of type TSIG whose owner begins at `owner_at` of `message`. `None` where it
    /// is malformed, or the algorithm's name is compressed: names in RDATA of types newer than
    /// RFC 1035 never are (RFC 3597 section 4). The owner may be, and some clients do it.
    pub fn read(message: &'a [u8], owner_at: usize, class: u16, ttl: u32, rdata: &'a [u8]) -> Option<Tsig<'a>> {
        if class != ANY || ttl != 0 {
            return None;
        }
        let key = KeyName::read(message, owner_at)?;
        let (algorithm, rest) = rdata.split_at_checked(wire_len(rdata)?)?;
        let (time, rest) = rest.split_first_chunk::<8>()?;
        let (mac_octets, rest) = rest.split_first_chunk::<2>()?;
        let (_mac, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*mac_octets)))?;
        let (original_id, rest) = rest.split_first_chunk::<2>()?;
        let (&[_, _, l0, l1], other) = rest.split_first_chunk::<4>()?;
        let whole = other.len() == usize::from(u16::from_be_bytes([l0, l1]));
        whole.then_some(Tsig { key, algorithm, time, original_id })
    }

    /// Octets of the record in a response.
    pub fn octets(&self) -> usize {
        self.key.octets + 10 + self.rdata_octets()
    }

    /// Writes the unsigned record that says BADKEY (RFC 8945 section 5.2.1) into `out`, which must
    /// be [`Tsig::octets`] long.
    pub fn write(&self, out: &mut [u8]) {
        let rdlength = self.rdata_octets() as u16; // two names and 16 octets
        let parts: [&[u8]; 10] = [
            &TSIG.to_be_bytes(),
            &ANY.to_be_bytes(),
            &[0; 4], // TTL
            &rdlength.to_be_bytes(),
            self.algorithm,
            self.time,
            &[0; 2], // no MAC: there is no key to make one with
            self.original_id,
            &BADKEY.to_be_bytes(),
            &[0; 2], // no other data
        ];
        let mut at = 0;
        let mut put = |part: &[u8]| {
            if let Some(place) = out.get_mut(at..at + part.len()) {
                place.copy_from_slice(part);
            }
            at += part.len();
        };
        labels(self.key.message, self.key.at, &mut put);
        parts.into_iter().for_each(put);
    }

    fn rdata_octets(&self) -> usize {
        self.algorithm.len() + 16
    }
}

/// The key's name, where it stands in the query.
#[derive(Clone, Copy, Debug)]
struct KeyName<'a> {
    message: &'a [u8],
    at: usize,
    /// Without compression.
    octets: usize,
}

impl<'a> KeyName<'a> {
    fn read(message: &'a [u8], at: usize) -> Option<KeyName<'a>> {
        Some(KeyName { message, at, octets: labels(message, at, |_| {})? })
    }
}

/// Gives each label, with its length and the root's, of the name at `at`, which may be compressed
/// (RFC 1035 section 4.1.4), and how long it is without. `None` where it is malformed.
fn labels(message: &[u8], mut at: usize, mut take: impl FnMut(&[u8])) -> Option<usize> {
    // Pointers lead to "a prior occurrence", so that following them ends.
    let mut bound = at;
    let mut octets = 1;
    while octets <= MAX_NAME_OCTETS {
        match *message.get(at)? {
            0 => {
                take(&[0]);
                return Some(octets);
            }
            len @ 1..=63 => {
                let end = at + 1 + usize::from(len);
                take(message.get(at..end)?);
                octets += end - at;
                at = end;
            }
            high @ 0xc0.. => {
                at = usize::from(high & 0x3f) << 8 | usize::from(*message.get(at + 1)?);
                if at >= bound {
                    return None;
                }
                bound = at;
            }
            _ => return None,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &[u8] = b"\x03key\0";
    const RDATA: &[u8] = b"\x0bhmac-sha256\0\x00\x00\x65\x00\x00\x00\x01\x2c\x00\x02MM\xab\xcd\x00\x00\x00\x00";

    #[test]
    fn rfc8945_5_2_1_the_record_comes_back_unsigned_with_badkey() {
        let tsig = Tsig::read(KEY, 0, 255, 0, RDATA).expect("a TSIG record");
        let mut out = vec![0; tsig.octets()];
        tsig.write(&mut out);
        let rdata = b"\x0bhmac-sha256\0\x00\x00\x65\x00\x00\x00\x01\x2c\x00\x00\xab\xcd\x00\x11\x00\x00";
        let head = [KEY, b"\x00\xfa\x00\xff\0\0\0\0\0", &[rdata.len() as u8]].concat();
        assert_eq!(out, [&head[..], rdata].concat());
    }

    #[test]
    fn rfc8945_4_2_the_malformed_is_told() {
        assert!(Tsig::read(KEY, 0, 1, 0, RDATA).is_none(), "class");
        assert!(Tsig::read(KEY, 0, 255, 1, RDATA).is_none(), "TTL");
        let compressed = [b"\xc0\x0c", &RDATA[13..]].concat();
        assert!(Tsig::read(KEY, 0, 255, 0, &compressed).is_none(), "a compressed algorithm");
        for cut in 0..RDATA.len() {
            assert!(Tsig::read(KEY, 0, 255, 0, &RDATA[..cut]).is_none(), "{cut} octets");
        }
        assert!(Tsig::read(KEY, 0, 255, 0, &[RDATA, b"more"].concat()).is_none());
    }
    #[test]
    fn a_compressed_key_name_is_read_and_comes_back_whole() {
        let message = b"\x07Example\0\x03key\xc0\0\xc0\x09";
        for at in [9, 15] {
            let tsig = Tsig::read(message, at, 255, 0, RDATA).expect("a TSIG record");
            let mut out = vec![0; tsig.octets()];
            tsig.write(&mut out);
            assert!(out.starts_with(b"\x03key\x07Example\0\0\xfa\0\xff"), "{out:?}");
            assert_eq!(out.len(), 13 + 10 + 29);
        }
    }

    #[test]
    fn rfc1035_4_1_4_pointers_lead_backwards_to_a_name() {
        for (message, at) in [
            (&b"\xc0\0"[..], 0),       // itself
            (b"\xc0\x02\x03key\0", 0), // forwards
            (b"\x01a\xc0\0", 0),       // in a circle
            (b"\0\xc0", 1),            // cut short
            (b"\x40a\0", 0),           // neither a label nor a pointer
            (b"\x01", 0),
            (b"", 0),
        ] {
            assert!(Tsig::read(message, at, 255, 0, RDATA).is_none(), "{message:?}");
        }
        let long = [&b"\x3f".repeat(64 * 4)[..], b"\0"].concat();
        assert!(Tsig::read(&long, 0, 255, 0, RDATA).is_none(), "longer than 255 octets");
    }
}
