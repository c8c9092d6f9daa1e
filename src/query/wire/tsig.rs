//! TSIG (RFC 8945) as far as a server without keys needs it: a signed query is told that its key
//! is not known here.

use crate::model::name::wire_len;

/// TSIG ERROR: the key is not known (RFC 8945 section 3).
const BADKEY: u16 = 17;
const TSIG: u16 = 250;
const ANY: u16 = 255;

/// What of a query's TSIG record comes back in the response. All of it points into the query.
#[derive(Clone, Copy, Debug)]
pub struct Tsig<'a> {
    key: &'a [u8],
    algorithm: &'a [u8],
    /// Time signed and fudge.
    time: &'a [u8; 8],
    original_id: &'a [u8; 2],
}

impl<'a> Tsig<'a> {
    /// Reads a record of type TSIG. `None` where it is malformed, or its names are compressed,
    /// which RFC 8945 section 4.2 forbids.
    pub fn read(owner: &'a [u8], class: u16, ttl: u32, rdata: &'a [u8]) -> Option<Tsig<'a>> {
        if class != ANY || ttl != 0 || wire_len(owner)? != owner.len() {
            return None;
        }
        let (algorithm, rest) = rdata.split_at_checked(wire_len(rdata)?)?;
        let (time, rest) = rest.split_first_chunk::<8>()?;
        let (mac_octets, rest) = rest.split_first_chunk::<2>()?;
        let (_mac, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*mac_octets)))?;
        let (original_id, rest) = rest.split_first_chunk::<2>()?;
        let (&[_, _, l0, l1], other) = rest.split_first_chunk::<4>()?;
        let whole = other.len() == usize::from(u16::from_be_bytes([l0, l1]));
        whole.then_some(Tsig { key: owner, algorithm, time, original_id })
    }

    /// Octets of the record in a response.
    pub fn octets(&self) -> usize {
        self.key.len() + 10 + self.rdata_octets()
    }

    /// Writes the unsigned record that says BADKEY (RFC 8945 section 5.2.1) into `out`, which must
    /// be [`Tsig::octets`] long.
    pub fn write(&self, out: &mut [u8]) {
        let rdlength = self.rdata_octets() as u16; // two names and 16 octets
        let parts: [&[u8]; 11] = [
            self.key,
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
        for part in parts {
            if let Some(place) = out.get_mut(at..at + part.len()) {
                place.copy_from_slice(part);
            }
            at += part.len();
        }
    }

    fn rdata_octets(&self) -> usize {
        self.algorithm.len() + 16
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &[u8] = b"\x03key\0";
    const RDATA: &[u8] = b"\x0bhmac-sha256\0\x00\x00\x65\x00\x00\x00\x01\x2c\x00\x02MM\xab\xcd\x00\x00\x00\x00";

    #[test]
    fn rfc8945_5_2_1_the_record_comes_back_unsigned_with_badkey() {
        let tsig = Tsig::read(KEY, 255, 0, RDATA).expect("a TSIG record");
        let mut out = vec![0; tsig.octets()];
        tsig.write(&mut out);
        let rdata = b"\x0bhmac-sha256\0\x00\x00\x65\x00\x00\x00\x01\x2c\x00\x00\xab\xcd\x00\x11\x00\x00";
        let head = [KEY, b"\x00\xfa\x00\xff\0\0\0\0\0", &[rdata.len() as u8]].concat();
        assert_eq!(out, [&head[..], rdata].concat());
    }

    #[test]
    fn rfc8945_4_2_the_malformed_is_told() {
        assert!(Tsig::read(KEY, 1, 0, RDATA).is_none(), "class");
        assert!(Tsig::read(KEY, 255, 1, RDATA).is_none(), "TTL");
        assert!(Tsig::read(b"\xc0\x0c", 255, 0, RDATA).is_none(), "a compressed key name");
        for cut in 0..RDATA.len() {
            assert!(Tsig::read(KEY, 255, 0, &RDATA[..cut]).is_none(), "{cut} octets");
        }
        assert!(Tsig::read(KEY, 255, 0, &[RDATA, b"more"].concat()).is_none());
    }
}
