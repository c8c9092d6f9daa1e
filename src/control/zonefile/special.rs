//! Fields that only one or two types have: gateways, host identities, address prefixes, port maps,
//! and identifiers with marks between their digits.
//!
//! Each has a reader, from tokens to wire form, and a length: how many octets of wire form it is.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::fields::{Fields, not_a, number};
use super::mistake::Mistake;
use crate::model::RecordType;
use crate::model::name::wire_len;

/// IANA "Certificate Types" (RFC 4398 section 2.1).
const CERTIFICATE_TYPES: [(&str, u16); 10] = [
    ("PKIX", 1),
    ("SPKI", 2),
    ("PGP", 3),
    ("IPKIX", 4),
    ("ISPKI", 5),
    ("IPGP", 6),
    ("ACPKIX", 7),
    ("IACPKIX", 8),
    ("URI", 253),
    ("OID", 254),
];

/// Protocols as they are named in WKS records (RFC 1010), with their numbers.
const PROTOCOLS: [(&str, u16); 6] = [("icmp", 1), ("igmp", 2), ("ggp", 3), ("tcp", 6), ("egp", 8), ("udp", 17)];

/// Services as they are named in WKS records, with their ports. Others are written as numbers.
const SERVICES: [(&str, u16); 35] = [
    ("echo", 7),
    ("discard", 9),
    ("systat", 11),
    ("daytime", 13),
    ("netstat", 15),
    ("qotd", 17),
    ("chargen", 19),
    ("ftp-data", 20),
    ("ftp", 21),
    ("ssh", 22),
    ("telnet", 23),
    ("smtp", 25),
    ("time", 37),
    ("nameserver", 42),
    ("nicname", 43),
    ("whois", 43),
    ("domain", 53),
    ("bootps", 67),
    ("bootpc", 68),
    ("tftp", 69),
    ("gopher", 70),
    ("finger", 79),
    ("http", 80),
    ("kerberos", 88),
    ("hostnames", 101),
    ("pop2", 109),
    ("pop3", 110),
    ("sunrpc", 111),
    ("auth", 113),
    ("nntp", 119),
    ("ntp", 123),
    ("imap", 143),
    ("snmp", 161),
    ("bgp", 179),
    ("https", 443),
];

/// IANA "DSYNC: Location of Synchronization Endpoints" (RFC 9859 section 6.2).
const SCHEMES: [(&str, u16); 1] = [("NOTIFY", 1)];

/// The bits of an APL item beside its length: negation (RFC 3123 section 4).
const NEGATED: u8 = 0x80;
/// The bit of an AMTRELAY record's type octet that says whether discovery is optional (RFC 8777 section 4.2.2).
const DISCOVERY_OPTIONAL: u8 = 0x80;

pub(super) fn certificate_type(fields: &mut Fields<'_, '_>, what: &str) -> Result<u16, Mistake> {
    fields.code(what, &CERTIFICATE_TYPES, u16::MAX)
}

pub(super) fn scheme(fields: &mut Fields<'_, '_>, what: &str) -> Result<u8, Mistake> {
    fields.code(what, &SCHEMES, u8::MAX.into()).map(|code| code as u8)
}

/// A record type's mnemonic, or `TYPEnnn`.
pub(super) fn record_type(fields: &mut Fields<'_, '_>, what: &str) -> Result<u16, Mistake> {
    let token = fields.expect(what, "a record type such as `CDS`")?;
    match token.text.parse::<RecordType>() {
        Ok(rtype) if !token.quoted => Ok(rtype.0),
        _ => Err(not_a(token, what, "expected a mnemonic such as `CDS`, or `TYPEnnn`")),
    }
}

/// Pairs of hexadecimal digits with `-` between them: `00-00-5e-00-53-2a` (RFC 7043 sections 3.2 and 4.2).
pub(super) fn eui(fields: &mut Fields<'_, '_>, what: &str, octets: usize, wire: &mut Vec<u8>) -> Result<(), Mistake> {
    let token = fields.expect(what, "pairs of hexadecimal digits with `-` between them")?;
    let pair = |text: &str| (text.len() == 2).then(|| hex_number(text)).flatten();
    let read: Option<Vec<u16>> = token.text.split('-').map(pair).collect();
    match read.filter(|read| read.len() == octets && !token.quoted) {
        Some(read) => wire.extend(read.iter().map(|&octet| octet as u8)),
        None => return Err(not_a(token, what, format!("expected {octets} pairs such as `00-00-5e-00-53-2a`"))),
    }
    Ok(())
}

/// Four groups of hexadecimal digits: `0014:4fff:ff20:ee64` (RFC 6742 sections 2.1.2 and 2.3.2).
pub(super) fn four_groups(fields: &mut Fields<'_, '_>, what: &str, wire: &mut Vec<u8>) -> Result<(), Mistake> {
    let token = fields.expect(what, "four groups of hexadecimal digits")?;
    let read: Option<Vec<u16>> = token.text.split(':').map(hex_number).collect();
    match read.filter(|read| read.len() == 4 && !token.quoted) {
        Some(read) => wire.extend(read.iter().flat_map(|group| group.to_be_bytes())),
        None => return Err(not_a(token, what, "expected four groups such as `0014:4fff:ff20:ee64`")),
    }
    Ok(())
}

/// One to four hexadecimal digits.
fn hex_number(text: &str) -> Option<u16> {
    let digits = (1..=4).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    digits.then(|| u16::from_str_radix(text, 16).ok()).flatten()
}

/// `0x` and hexadecimal digits, with dots anywhere between them (RFC 1706 section 6).
pub(super) fn nsap(fields: &mut Fields<'_, '_>, what: &str, wire: &mut Vec<u8>) -> Result<(), Mistake> {
    let token = fields.expect(what, "`0x` and hexadecimal digits")?;
    let digits = token.text.get(..2).filter(|head| head.eq_ignore_ascii_case("0x")).map(|_| &token.text[2..]);
    let digits: String = digits.unwrap_or_default().chars().filter(|&digit| digit != '.').collect();
    let Some(octets) = hex_octets(&digits).filter(|octets| !octets.is_empty() && !token.quoted) else {
        return Err(not_a(token, what, "expected `0x` and pairs of hexadecimal digits such as `0x47.0005`"));
    };
    wire.extend(octets);
    Ok(())
}

fn hex_octets(digits: &str) -> Option<Vec<u8>> {
    let pair = |pair: &[u8]| match pair {
        [high, low] => Some((char::from(*high).to_digit(16)? << 4 | char::from(*low).to_digit(16)?) as u8),
        _ => None,
    };
    digits.as_bytes().chunks(2).map(pair).collect()
}

/// Gateway type, algorithm and gateway of an IPSECKEY record (RFC 4025 section 3.1).
pub(super) fn gateway(fields: &mut Fields<'_, '_>, wire: &mut Vec<u8>) -> Result<(), Mistake> {
    let kind = fields.number("gateway type", 3)? as u8;
    let algorithm = fields.number("algorithm", u8::MAX.into())? as u8;
    wire.extend([kind, algorithm]);
    far_end(fields, "gateway", kind, wire)
}

pub(super) fn gateway_len(wire: &[u8]) -> Option<usize> {
    Some(2 + far_end_len(*wire.first()?, wire.get(2..)?)?)
}

/// Discovery bit, type and relay of an AMTRELAY record (RFC 8777 section 4.3).
pub(super) fn relay(fields: &mut Fields<'_, '_>, wire: &mut Vec<u8>) -> Result<(), Mistake> {
    let optional = fields.number("discovery bit", 1)? == 1;
    let kind = fields.number("relay type", 3)? as u8;
    wire.push(kind | if optional { DISCOVERY_OPTIONAL } else { 0 });
    far_end(fields, "relay", kind, wire)
}

pub(super) fn relay_len(wire: &[u8]) -> Option<usize> {
    let (kind, rest) = wire.split_first()?;
    Some(1 + far_end_len(kind & !DISCOVERY_OPTIONAL, rest)?)
}

/// Nothing, an address or a name, as its type says.
fn far_end(fields: &mut Fields<'_, '_>, what: &str, kind: u8, wire: &mut Vec<u8>) -> Result<(), Mistake> {
    match kind {
        0 => {
            let token = fields.expect(what, "`.`")?;
            if token.text != "." {
                return Err(not_a(token, what, "expected `.`: type 0 is none"));
            }
        }
        1 => wire.extend(fields.ipv4()?.octets()),
        2 => wire.extend(fields.ipv6()?.octets()),
        _ => wire.extend(fields.name(what)?.as_wire()),
    }
    Ok(())
}

fn far_end_len(kind: u8, wire: &[u8]) -> Option<usize> {
    match kind {
        0 => Some(0),
        1 => Some(4),
        2 => Some(16),
        3 => wire_len(wire),
        _ => None,
    }
}

/// Algorithm, identity tag and public key of a HIP record (RFC 8005 section 6): the key is one token,
/// since names may follow.
pub(super) fn host_identity(fields: &mut Fields<'_, '_>, wire: &mut Vec<u8>) -> Result<(), Mistake> {
    let algorithm = fields.number("public key algorithm", u8::MAX.into())? as u8;
    let token = fields.expect("host identity tag", "hexadecimal digits")?;
    let tag = hex_octets(token.text).filter(|tag| !tag.is_empty() && tag.len() <= usize::from(u8::MAX));
    let tag = tag.ok_or_else(|| not_a(token, "host identity tag", "expected pairs of hexadecimal digits"))?;
    let token = fields.expect("public key", "base64")?;
    let key = STANDARD.decode(token.text).ok().filter(|key| !key.is_empty());
    let key = key.ok_or_else(|| not_a(token, "public key", "expected base64 in one piece"))?;
    let key_len = u16::try_from(key.len()).map_err(|_| not_a(token, "public key", "at most 65,535 octets fit"))?;
    wire.extend([tag.len() as u8, algorithm]);
    wire.extend(key_len.to_be_bytes());
    wire.extend(tag);
    wire.extend(key);
    Ok(())
}

pub(super) fn host_identity_len(wire: &[u8]) -> Option<usize> {
    let &[tag, _, key0, key1] = wire.first_chunk()?;
    let key = u16::from_be_bytes([key0, key1]);
    (tag > 0 && key > 0).then_some(4 + usize::from(tag) + usize::from(key))
}

/// `1:192.0.2.0/24 !2:2001:db8::/32` (RFC 3123 section 5). There may be none.
pub(super) fn prefixes(fields: &mut Fields<'_, '_>, wire: &mut Vec<u8>) -> Result<(), Mistake> {
    while let Some(token) = fields.take() {
        let item = prefix(token.text).filter(|_| !token.quoted);
        wire.extend(item.ok_or_else(|| not_a(token, "address prefix", "expected one such as `1:192.0.2.0/24`"))?);
    }
    Ok(())
}

fn prefix(text: &str) -> Option<Vec<u8>> {
    let (negated, text) = text.strip_prefix('!').map_or((0, text), |text| (NEGATED, text));
    let (family, prefix) = text.split_once(':')?;
    let (address, bits) = prefix.split_once('/')?;
    let (octets, max): (Vec<u8>, u32) = match (family, address.parse().ok()?) {
        ("1", IpAddr::V4(address)) => (Ipv4Addr::octets(&address).into(), 32),
        ("2", IpAddr::V6(address)) => (Ipv6Addr::octets(&address).into(), 128),
        _ => return None,
    };
    let bits = number(bits, max)? as u8;
    // "trailing zero octets [...] MUST be omitted" (section 4).
    let len = octets.iter().rposition(|&octet| octet != 0).map_or(0, |last| last + 1);
    let head = [0, if max == 32 { 1 } else { 2 }, bits, negated | len as u8];
    Some(head.iter().chain(&octets[..len]).copied().collect())
}

/// All of `wire`, if it is prefixes.
pub(super) fn prefixes_len(wire: &[u8]) -> Option<usize> {
    let mut rest = wire;
    while !rest.is_empty() {
        let (&[family0, family1, bits, length], after) = rest.split_first_chunk::<4>()?;
        let len = length & !NEGATED;
        let address = after.get(..usize::from(len))?;
        let (max_len, max_bits) = match u16::from_be_bytes([family0, family1]) {
            1 => (4, 32),
            2 => (16, 128),
            _ => (u8::MAX, u8::MAX),
        };
        if len > max_len || bits > max_bits || address.last() == Some(&0) {
            return None;
        }
        rest = &after[address.len()..];
    }
    Some(wire.len())
}

/// A protocol and its ports, as a bit each (RFC 1035 section 3.4.2).
pub(super) fn port_map(fields: &mut Fields<'_, '_>, wire: &mut Vec<u8>) -> Result<(), Mistake> {
    wire.push(fields.code("protocol", &PROTOCOLS, u8::MAX.into())? as u8);
    let mut map: Vec<u8> = Vec::new();
    while fields.peek().is_some() {
        let port = usize::from(fields.code("service", &SERVICES, u16::MAX)?);
        if map.len() <= port / 8 {
            map.resize(port / 8 + 1, 0);
        }
        map[port / 8] |= 0x80 >> (port % 8);
    }
    wire.extend(map);
    Ok(())
}

/// All of `wire`, if it is a protocol and a bit map of at most 65,536 ports.
pub(super) fn port_map_len(wire: &[u8]) -> Option<usize> {
    (1..=1 + 8_192).contains(&wire.len()).then_some(wire.len())
}
