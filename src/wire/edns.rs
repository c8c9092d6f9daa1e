//! EDNS(0) (RFC 6891) with Client Subnet (RFC 7871) and the name server identifier (RFC 5001).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::model::Prefix;

/// The UDP size this server takes, as told in every OPT (RFC 6891 section 6.2.3; the value is
/// that of RFC 9715 section 3.2 against fragments).
pub const UDP_PAYLOAD: u16 = 1232;
/// A size below this counts as this (RFC 6891 section 6.2.3); also the limit without EDNS.
pub const MIN_UDP_PAYLOAD: u16 = 512;

/// Octets of an OPT record without options.
pub const OPT_OCTETS: usize = 11;

/// The option of RFC 5001.
pub const NSID: u16 = 3;
/// The option of RFC 7871.
pub const CLIENT_SUBNET: u16 = 8;

/// What a query's OPT record says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Edns {
    pub udp_payload: u16,
    pub version: u8,
    /// DNSSEC OK: copied into the response (RFC 3225 section 3).
    pub dnssec_ok: bool,
    pub subnet: Option<ClientSubnet>,
    pub wants_nsid: bool,
}

/// A Client Subnet option, well-formed, of a family there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientSubnet {
    /// SOURCE PREFIX-LENGTH as its length.
    pub prefix: Prefix,
}

/// A malformed option or option list: FORMERR.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

impl Edns {
    /// Reads an OPT record from the fields it gives another meaning, and its options.
    pub fn parse(class: u16, ttl: u32, options: &[u8]) -> Result<Edns, Malformed> {
        let [_, version, flags, _] = ttl.to_be_bytes();
        let mut edns =
            Edns { udp_payload: class, version, dnssec_ok: flags & 0x80 != 0, subnet: None, wants_nsid: false };
        if version != 0 {
            return Ok(edns); // BADVERS whatever the options are; theirs may be another format
        }
        let mut rest = options;
        let mut subnets = 0;
        while !rest.is_empty() {
            let (code, data, after) = split_option(rest).ok_or(Malformed)?;
            rest = after;
            match code {
                CLIENT_SUBNET => {
                    subnets += 1;
                    edns.subnet = ClientSubnet::parse(data)?;
                }
                NSID => edns.wants_nsid = true,
                _ => {} // "Any OPTION-CODE values not understood MUST be ignored" (RFC 6891 6.1.2)
            }
        }
        if subnets > 1 { Err(Malformed) } else { Ok(edns) }
    }
}

impl ClientSubnet {
    /// Reads the option's data (RFC 7871 section 6). `None` for a family that is not known here:
    /// such an option is as good as absent.
    pub fn parse(data: &[u8]) -> Result<Option<ClientSubnet>, Malformed> {
        let (&[f0, f1, source, scope], address) = data.split_first_chunk::<4>().ok_or(Malformed)?;
        let bits = match u16::from_be_bytes([f0, f1]) {
            1 => 32,
            2 => 128,
            _ => return Ok(None),
        };
        // "SCOPE PREFIX-LENGTH: In queries, it MUST be set to 0."
        if source > bits || scope != 0 || address.len() != usize::from(source).div_ceil(8) {
            return Err(Malformed);
        }
        let address = if bits == 32 {
            let padded = address.iter().fold(0, |all, octet| all << 8 | u32::from(*octet));
            IpAddr::V4(Ipv4Addr::from_bits(padded << (8 * (4 - address.len() as u32)).min(31)))
        } else {
            IpAddr::V6(Ipv6Addr::from(padded::<16>(address)))
        };
        // "trailing bits beyond SOURCE PREFIX-LENGTH MUST be 0"
        let prefix = Prefix::new(address, source).map_err(|_| Malformed)?;
        Ok(Some(ClientSubnet { prefix }))
    }

    /// Octets of the option in a response, with its header.
    fn octets(self) -> usize {
        8 + usize::from(self.prefix.len()).div_ceil(8)
    }
}

/// The OPT record of a response.
#[derive(Clone, Copy, Debug)]
pub struct ResponseOpt<'a> {
    pub dnssec_ok: bool,
    /// Upper eight bits of the RCODE (RFC 6891 section 6.1.3).
    pub extended_rcode: u8,
    /// The query's option and the SCOPE PREFIX-LENGTH to answer with.
    pub subnet: Option<(ClientSubnet, u8)>,
    /// Sent where the query asked for it; empty is not sent.
    pub nsid: &'a [u8],
}

impl ResponseOpt<'_> {
    /// Octets of the whole record.
    pub fn octets(&self) -> usize {
        let nsid = if self.nsid.is_empty() { 0 } else { 4 + self.nsid.len() };
        11 + nsid + self.subnet.map_or(0, |(subnet, _)| subnet.octets())
    }

    /// Writes the record into `out`, which must be [`ResponseOpt::octets`] long.
    pub fn write(&self, out: &mut [u8]) {
        let (mut at, out_octets) = (0, out.len());
        let mut put = |octets: &[u8]| {
            if let Some(place) = out.get_mut(at..at + octets.len()) {
                place.copy_from_slice(octets);
            }
            at += octets.len();
        };
        let [u0, u1] = UDP_PAYLOAD.to_be_bytes();
        let [r0, r1] = (out_octets.saturating_sub(11) as u16).to_be_bytes();
        let flags = if self.dnssec_ok { 0x80 } else { 0 };
        put(&[0, 0, 41, u0, u1, self.extended_rcode, 0, flags, 0, r0, r1]);
        if let Some((subnet, scope)) = self.subnet {
            let [c0, c1] = CLIENT_SUBNET.to_be_bytes();
            let (source, significant) = (subnet.prefix.len(), subnet.octets() - 8);
            let octets = 4 + significant as u8; // 20 at most
            match subnet.prefix.address() {
                IpAddr::V4(v4) => {
                    put(&[c0, c1, 0, octets, 0, 1, source, scope.min(32)]);
                    put(&v4.octets()[..significant]);
                }
                IpAddr::V6(v6) => {
                    put(&[c0, c1, 0, octets, 0, 2, source, scope.min(128)]);
                    put(&v6.octets()[..significant]);
                }
            }
        }
        if !self.nsid.is_empty() {
            put(&NSID.to_be_bytes());
            put(&(self.nsid.len() as u16).to_be_bytes());
            put(self.nsid);
        }
    }
}

/// The first option of a list, as code and data, and the rest of the list.
pub fn split_option(list: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let (&[c0, c1, l0, l1], rest) = list.split_first_chunk::<4>()?;
    let (data, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes([l0, l1])))?;
    Some((u16::from_be_bytes([c0, c1]), data, rest))
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

    fn subnet(data: &[u8]) -> Result<Option<String>, Malformed> {
        Ok(ClientSubnet::parse(data)?.map(|subnet| subnet.prefix.to_string()))
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
            assert_eq!(subnet(data), Err(Malformed), "{data:?}");
        }
    }

    #[test]
    fn rfc6891_6_1_2_option_lists_must_fit() {
        assert!(Edns::parse(1232, 0, &[0, 100, 0, 40, 1]).is_err());
        assert!(Edns::parse(1232, 0, &[0, 100, 0]).is_err());
        assert!(Edns::parse(1232, 0, &[0, 100, 0, 1, 1]).is_ok());
        let two = [0, 8, 0, 4, 0, 1, 0, 0, 0, 8, 0, 4, 0, 1, 0, 0];
        assert!(Edns::parse(1232, 0, &two).is_err());
    }
}
