//! EDNS(0) (RFC 6891) with Client Subnet (RFC 7871) and the name server identifier (RFC 5001).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::model::Prefix;

use super::Rcode;

/// The UDP size this server takes, as told in every OPT (RFC 6891 section 6.2.3; the value is
/// that of RFC 9715 section 3.2 against fragments).
pub const UDP_PAYLOAD: u16 = 1232;
/// A size below this counts as this (RFC 6891 section 6.2.3); also the limit without EDNS.
pub const MIN_UDP_PAYLOAD: u16 = 512;

/// Octets of an OPT record without options.
pub const OPT_OCTETS: usize = 11;

/// The type OPT, in one octet.
const OPT: u8 = 41;
/// The option of RFC 5001.
const NSID: u16 = 3;
/// The option of RFC 7871.
const CLIENT_SUBNET: u16 = 8;
/// Octets in front of an option's data.
const OPTION_HEAD: usize = 4;
/// The offset at which a Client Subnet option with its head has the lower octet of the family, and the SCOPE
/// PREFIX-LENGTH.
const FAMILY_AT: usize = OPTION_HEAD + 1;
const SCOPE_AT: usize = OPTION_HEAD + 3;
/// The lower octet of the family.
const IPV4: u8 = 1;

/// A query's OPT record, of version 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Edns<'p> {
    pub udp_payload: u16,
    /// DNSSEC OK: copied into the response (RFC 3225 section 3).
    pub dnssec_ok: bool,
    pub subnet: Option<ClientSubnet<'p>>,
    pub wants_nsid: bool,
}

/// A Client Subnet option, well-formed, of a family there is: as it came, to be sent back with its scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientSubnet<'p>(&'p [u8]);

/// The reason why an OPT record gets an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// A malformed option or option list: FORMERR.
    Malformed,
    /// A version above 0: BADVERS (RFC 6891 section 6.1.3).
    Version,
}

impl<'p> Edns<'p> {
    /// Reads what is a well-formed OPT record of version 0 and nothing more: all that most queries have
    /// behind the question.
    #[inline(always)]
    pub fn read_alone(record: &'p [u8]) -> Option<Edns<'p>> {
        let (&[0, 0, OPT, p0, p1, t0, t1, t2, t3, l0, l1], options) = record.split_first_chunk::<OPT_OCTETS>()? else {
            return None;
        };
        if usize::from(u16::from_be_bytes([l0, l1])) != options.len() {
            return None;
        }
        Edns::read(u16::from_be_bytes([p0, p1]), [t0, t1, t2, t3], options).ok()
    }

    /// Reads an OPT record from the fields it gives another meaning, and its options.
    #[inline(always)]
    pub fn read(class: u16, ttl: [u8; 4], options: &'p [u8]) -> Result<Edns<'p>, Flaw> {
        let [_, version, flags, _] = ttl;
        if version != 0 {
            return Err(Flaw::Version); // whatever the options are: theirs may be another format
        }
        let mut edns = Edns { udp_payload: class, dnssec_ok: flags & 0x80 != 0, subnet: None, wants_nsid: false };
        let mut rest = options;
        let mut has_subnet = false;
        while !rest.is_empty() {
            let (code, option, after) = split_option(rest).ok_or(Flaw::Malformed)?;
            rest = after;
            match code {
                CLIENT_SUBNET if has_subnet => return Err(Flaw::Malformed),
                CLIENT_SUBNET => {
                    has_subnet = true;
                    edns.subnet = ClientSubnet::read(option)?;
                }
                NSID => edns.wants_nsid = true,
                _ => {} // "Any OPTION-CODE values not understood MUST be ignored" (RFC 6891 6.1.2)
            }
        }
        Ok(edns)
    }
}

impl<'p> ClientSubnet<'p> {
    /// Reads an option with its head (RFC 7871 section 6). `None` for a family that is not known here:
    /// such an option is as good as absent.
    #[inline(always)]
    fn read(option: &'p [u8]) -> Result<Option<ClientSubnet<'p>>, Flaw> {
        // By far the most are /24s; anything else has time.
        match option {
            [_, _, _, _, 0, 1, 24, 0, _, _, _] => Ok(Some(ClientSubnet(option))),
            _ => ClientSubnet::read_any(option),
        }
    }

    fn read_any(option: &'p [u8]) -> Result<Option<ClientSubnet<'p>>, Flaw> {
        let (&[_, _, _, _, f0, f1, source_bits, scope], significant) =
            option.split_first_chunk::<8>().ok_or(Flaw::Malformed)?;
        let bits = match u16::from_be_bytes([f0, f1]) {
            1 => 32,
            2 => 128,
            _ => return Ok(None),
        };
        // "SCOPE PREFIX-LENGTH: In queries, it MUST be set to 0."
        if source_bits > bits || scope != 0 || significant.len() != usize::from(source_bits).div_ceil(8) {
            return Err(Flaw::Malformed);
        }
        let subnet = ClientSubnet(option);
        // "trailing bits beyond SOURCE PREFIX-LENGTH MUST be 0"
        Prefix::new(subnet.address(), source_bits).map_err(|_| Flaw::Malformed)?;
        Ok(Some(subnet))
    }

    /// The network's first address; `None` for a SOURCE PREFIX-LENGTH of 0, which "means that the client does
    /// not want its network used" (RFC 7871 section 7.1.2).
    #[inline(always)]
    pub fn network(self) -> Option<IpAddr> {
        (self.0.len() > SCOPE_AT + 1).then(|| self.address())
    }

    /// The network as it came, of whatever length.
    pub fn prefix(self) -> Prefix {
        Prefix::containing(self.address(), self.0.get(SCOPE_AT - 1).copied().unwrap_or_default())
    }

    #[inline(always)]
    fn address(self) -> IpAddr {
        match self.0 {
            &[_, _, _, _, _, IPV4, _, _, a, b, c] => IpAddr::V4([a, b, c, 0].into()),
            [_, _, _, _, _, IPV4, _, _, significant @ ..] => IpAddr::V4(Ipv4Addr::from(padded(significant))),
            option => IpAddr::V6(Ipv6Addr::from(padded(option.get(SCOPE_AT + 1..).unwrap_or_default()))),
        }
    }

    /// Bits of the family's addresses.
    #[inline(always)]
    fn bits(self) -> u8 {
        if self.0.get(FAMILY_AT) == Some(&IPV4) { 32 } else { 128 }
    }
}

/// The OPT record of a response.
#[derive(Clone, Copy, Debug)]
pub struct ResponseOpt<'a> {
    dnssec_ok: bool,
    /// The query's option, sent back with the scope of the answer.
    subnet: Option<ClientSubnet<'a>>,
    /// Empty: not sent.
    nsid: &'a [u8],
    /// Of the whole record.
    octets: usize,
}

impl<'a> ResponseOpt<'a> {
    /// The record of an answer: with all options that the query asks for.
    #[inline(always)]
    pub fn of_answer(edns: &Edns<'a>, nsid: &'a [u8]) -> ResponseOpt<'a> {
        let nsid = if edns.wants_nsid { nsid } else { &[] };
        let nsid_octets = if nsid.is_empty() { 0 } else { OPTION_HEAD + nsid.len() };
        let octets = OPT_OCTETS + nsid_octets + edns.subnet.map_or(0, |subnet| subnet.0.len());
        ResponseOpt { dnssec_ok: edns.dnssec_ok, subnet: edns.subnet, nsid, octets }
    }

    /// The record of an error: without options.
    pub fn of_error(edns: &Edns<'_>) -> ResponseOpt<'a> {
        ResponseOpt { dnssec_ok: edns.dnssec_ok, subnet: None, nsid: &[], octets: OPT_OCTETS }
    }

    /// Octets of the whole record.
    #[inline(always)]
    pub fn octets(&self) -> usize {
        self.octets
    }

    /// Writes the record into `place`, which is [`ResponseOpt::octets`] long.
    ///
    /// `scope`: SCOPE PREFIX-LENGTH of the answer.
    #[inline(always)]
    pub fn write(&self, rcode: Rcode, scope: u8, place: &mut [u8]) {
        let Some((head, mut options)) = place.split_first_chunk_mut::<OPT_OCTETS>() else { return };
        let [u0, u1] = UDP_PAYLOAD.to_be_bytes();
        let [l0, l1] = (options.len() as u16).to_be_bytes();
        *head = [0, 0, OPT, u0, u1, rcode.extended(), 0, u8::from(self.dnssec_ok) << 7, 0, l0, l1];
        if let Some(subnet) = self.subnet {
            let Some((option, rest)) = options.split_at_mut_checked(subnet.0.len()) else { return };
            option.copy_from_slice(subnet.0);
            if let Some(place) = option.get_mut(SCOPE_AT) {
                *place = scope.min(subnet.bits());
            }
            options = rest;
        }
        if !self.nsid.is_empty() {
            write_option(NSID, self.nsid, options);
        }
    }
}

/// Writes an option into a place that is as long.
fn write_option(code: u16, data: &[u8], place: &mut [u8]) {
    let Some((head, place)) = place.split_first_chunk_mut::<OPTION_HEAD>() else { return };
    let ([c0, c1], [l0, l1]) = (code.to_be_bytes(), (data.len() as u16).to_be_bytes());
    *head = [c0, c1, l0, l1];
    if place.len() == data.len() {
        place.copy_from_slice(data);
    }
}

/// The first option of a list, as its code and all its octets, and the rest of the list.
#[inline(always)]
fn split_option(list: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let &[c0, c1, l0, l1] = list.first_chunk::<OPTION_HEAD>()?;
    let (option, rest) = list.split_at_checked(OPTION_HEAD + usize::from(u16::from_be_bytes([l0, l1])))?;
    Some((u16::from_be_bytes([c0, c1]), option, rest))
}

fn padded<const N: usize>(octets: &[u8]) -> [u8; N] {
    let mut all = [0; N];
    for (to, from) in all.iter_mut().zip(octets) {
        *to = *from;
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subnet(data: &[u8]) -> Result<Option<String>, Flaw> {
        let option = [&[0, 8, 0, data.len() as u8], data].concat();
        let both = [ClientSubnet::read(&option), ClientSubnet::read_any(&option)];
        assert_eq!(both[0], both[1], "the usual option is read like any");
        Ok(both[0]?.map(|subnet| format!("{}/{}", subnet.address(), subnet.0[SCOPE_AT - 1])))
    }

    #[test]
    fn rfc7871_6_reads_both_families() {
        assert_eq!(subnet(&[0, 1, 24, 0, 192, 0, 2]), Ok(Some("192.0.2.0/24".into())));
        assert_eq!(subnet(&[0, 1, 0, 0]), Ok(Some("0.0.0.0/0".into())));
        assert_eq!(subnet(&[0, 2, 20, 0, 0x20, 0x01, 0]), Ok(Some("2001::/20".into())));
        assert_eq!(subnet(&[0, 3, 8, 0, 1]), Ok(None));
    }

    #[test]
    fn rfc7871_6_refuses_the_malformed() {
        for data in [
            &[0, 1, 24][..],               // cut short
            &[0, 1, 33, 0, 1, 2, 3, 4, 5], // too long a prefix
            &[0, 1, 24, 24, 1, 2, 3],      // scope in a query
            &[0, 1, 24, 0, 1, 2],          // too few octets
            &[0, 1, 24, 0, 1, 2, 3, 4],    // too many
            &[0, 1, 20, 0, 1, 2, 0xff],    // bits beyond the prefix
            &[],
        ] {
            assert_eq!(subnet(data), Err(Flaw::Malformed), "{data:?}");
        }
    }

    #[test]
    fn rfc6891_6_1_2_option_lists_must_fit() {
        assert!(Edns::read(1232, [0; 4], &[0, 100, 0, 40, 1]).is_err());
        assert!(Edns::read(1232, [0; 4], &[0, 100, 0]).is_err());
        assert!(Edns::read(1232, [0; 4], &[0, 100, 0, 1, 1]).is_ok());
        let two = [0, 8, 0, 4, 0, 1, 0, 0, 0, 8, 0, 4, 0, 1, 0, 0];
        assert!(Edns::read(1232, [0; 4], &two).is_err());
    }

    #[test]
    fn rfc7871_7_2_1_the_option_comes_back_with_the_scope() {
        for (data, scope, written) in [
            (&[0, 1, 20, 0, 192, 0, 0x20][..], 17, [0, 1, 20, 17, 192, 0, 0x20].as_slice()),
            (&[0, 1, 32, 0, 192, 0, 2, 1], 48, &[0, 1, 32, 32, 192, 0, 2, 1]), // no longer than the family's addresses
            (&[0, 2, 20, 0, 0x20, 0x01, 0], 48, &[0, 2, 20, 48, 0x20, 0x01, 0]),
        ] {
            let options = [&[0, 3, 0, 0, 0, 8, 0, data.len() as u8], data].concat();
            let edns = Edns::read(512, [0, 0, 0x80, 0], &options).expect("an OPT record");
            let opt = ResponseOpt::of_answer(&edns, b"id");
            let mut place = vec![0; opt.octets()];
            opt.write(Rcode::BadVers, scope, &mut place);
            let length = 4 + written.len() as u8 + 6;
            let head = [0, 0, 41, 4, 208, 1, 0, 0x80, 0, 0, length, 0, 8, 0, written.len() as u8];
            assert_eq!(place, [&head[..], written, b"\0\x03\0\x02id"].concat());
            assert_eq!(ResponseOpt::of_error(&edns).octets(), OPT_OCTETS);
        }
    }
}
