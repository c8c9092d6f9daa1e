//! RDATA: from presentation form to wire form, and whether wire form is well made.
//!
//! One table, [`layout`], says which fields each type has. Reading text walks it over tokens,
//! checking the generic form of RFC 3597 (`\# length hex`) walks it over octets: so both accept
//! the same. Rules that span fields are in [`sense`], fields of one type alone in [`special`].

use std::borrow::Cow;

use super::fields::Fields;
use super::mistake::Mistake;
use super::{loc, special, svcb};
use crate::model::name::wire_len;
use crate::model::{Name, RecordType};

/// The most octets RDLENGTH can say.
const MAX_RDATA: usize = u16::MAX as usize;

/// Reads all that is left of the entry as RDATA of this type.
pub(super) fn read(rtype: RecordType, fields: &mut Fields<'_, '_>) -> Result<Vec<u8>, Mistake> {
    if fields.peek().is_some_and(|token| !token.quoted && token.text == "\\#") {
        return read_generic(rtype, fields);
    }
    let Some(layout) = layout(rtype) else { return Err(no_text_form(rtype, fields)) };
    let mut wire = Vec::with_capacity(16);
    let mut places = Vec::with_capacity(layout.len());
    for field in layout {
        let from = fields.taken();
        field.read(fields, &mut wire)?;
        places.push(fields.range_since(from));
    }
    fields.finish(format_args!("a record of type {rtype}"))?;
    if wire.len() > MAX_RDATA {
        let label = format!("{} octets, at most {MAX_RDATA} fit", wire.len());
        return Err(Mistake::new(fields.range_since(0), format!("the {rtype} record is too long"), label));
    }
    sense(rtype, &wire).map_err(|Senseless { field, label }| {
        let what = layout.get(field).map_or("RDATA", |field| field.what);
        let range = places.get(field).cloned().unwrap_or_else(|| fields.range_since(0));
        Mistake::new(range, format!("the {what} of this {rtype} record makes no sense"), label)
    })?;
    Ok(wire)
}

/// Octets that equal for equal RDATA: names in them in lower case (RFC 4034 section 6.2).
pub(super) fn canonical(rtype: RecordType, rdata: &[u8]) -> Cow<'_, [u8]> {
    let Some(layout) = layout(rtype) else { return rdata.into() };
    if !layout.iter().any(|field| matches!(field.kind, Kind::Name)) {
        return rdata.into();
    }
    let mut lower = rdata.to_vec();
    let mut at = 0;
    for field in layout {
        let Some(len) = field.kind.wire_len(&rdata[at..]) else { break };
        if matches!(field.kind, Kind::Name) {
            lower[at..at + len].make_ascii_lowercase();
        }
        at += len;
    }
    lower.into()
}

/// The first name in RDATA of this type, such as an MX record's exchange.
pub(super) fn first_name(rtype: RecordType, rdata: &[u8]) -> Option<Name> {
    let mut at = 0;
    for field in layout(rtype)? {
        let rest = rdata.get(at..)?;
        let len = field.kind.wire_len(rest)?;
        if matches!(field.kind, Kind::Name) {
            return Name::from_wire(rest.get(..len)?).ok();
        }
        at += len;
    }
    None
}

/// A field of RDATA: what it is called in messages, and how it is written.
struct Field {
    what: &'static str,
    kind: Kind,
}

enum Kind {
    U8,
    U16,
    U32,
    /// Seconds in 32 bits, TTL units allowed.
    Seconds,
    Name,
    Ipv4,
    Ipv6,
    /// One character-string.
    String,
    /// One or more character-strings, to the end.
    Strings,
    /// A CAA property's name: a length octet, then letters and digits (RFC 8659 section 4.1).
    Tag,
    /// One string without a length octet, to the end; `true` where it may be empty.
    Text(bool),
    /// Octets to the end, at least one.
    Hex,
    Base64,
    /// A DNSSEC algorithm, by number or mnemonic (RFC 4034 appendix A.1).
    Algorithm,
    SvcParams,
    Location,
    /// One character-string, or nothing.
    OptionalString,
    /// As `Base64`, or nothing.
    OptionalBase64,
    /// Names to the end; there may be none.
    Names,
    /// So many octets, a `-` between each two.
    Eui(usize),
    /// 64 bits in four groups.
    FourGroups,
    Nsap,
    CertificateType,
    /// A record type's number.
    Type,
    /// A DSYNC record's scheme.
    Scheme,
    /// An IPSECKEY record's gateway type, algorithm and gateway.
    Gateway,
    /// An AMTRELAY record's discovery bit, relay type and relay.
    Relay,
    /// A HIP record's algorithm, tag and key.
    HostIdentity,
    /// APL items to the end.
    Prefixes,
    /// A WKS record's protocol and ports, to the end.
    PortMap,
}

macro_rules! layout {
    ($($what:literal $kind:expr),* $(,)?) => { Some(&[$(Field { what: $what, kind: $kind }),*]) };
}

/// The fields of each type that has a presentation form here.
fn layout(rtype: RecordType) -> Option<&'static [Field]> {
    use Kind::*;
    match rtype {
        RecordType::A => layout!["address" Ipv4],
        RecordType::AAAA => layout!["address" Ipv6],
        RecordType::NS => layout!["name server" Name],
        RecordType::CNAME | RecordType::DNAME | RecordType::PTR => layout!["target" Name],
        RecordType::SOA => layout![
            "primary name server" Name, "mailbox" Name, "serial" U32,
            "refresh" Seconds, "retry" Seconds, "expire" Seconds, "minimum" Seconds,
        ],
        RecordType::MX => layout!["preference" U16, "exchange" Name],
        RecordType::TXT
        | RecordType::SPF
        | RecordType::AVC
        | RecordType::RESINFO
        | RecordType::NINFO
        | RecordType::WALLET => {
            layout!["text" Strings]
        }
        RecordType::HINFO => layout!["CPU" String, "operating system" String],
        RecordType::SRV => layout!["priority" U16, "weight" U16, "port" U16, "target" Name],
        RecordType::NAPTR => layout![
            "order" U16, "preference" U16, "flags" String, "services" String, "regexp" String, "replacement" Name,
        ],
        RecordType::CAA => layout!["flags octet" U8, "tag" Tag, "value" Text(true)],
        RecordType::URI => layout!["priority" U16, "weight" U16, "target" Text(false)],
        RecordType::TLSA | RecordType::SMIMEA => {
            layout!["certificate usage" U8, "selector" U8, "matching type" U8, "certificate data" Hex]
        }
        RecordType::SSHFP => layout!["algorithm" U8, "fingerprint type" U8, "fingerprint" Hex],
        RecordType::DS | RecordType::CDS => {
            layout!["key tag" U16, "algorithm" Algorithm, "digest type" U8, "digest" Hex]
        }
        RecordType::DNSKEY | RecordType::CDNSKEY => {
            layout!["flags" U16, "protocol" U8, "algorithm" Algorithm, "public key" Base64]
        }
        RecordType::OPENPGPKEY => layout!["public key" Base64],
        RecordType::ZONEMD => layout!["serial" U32, "scheme" U8, "hash algorithm" U8, "digest" Hex],
        RecordType::LOC => layout!["location" Location],
        RecordType::SVCB | RecordType::HTTPS => layout!["priority" U16, "target" Name, "parameters" SvcParams],
        _ => seldom_seen_layout(rtype),
    }
}

fn seldom_seen_layout(rtype: RecordType) -> Option<&'static [Field]> {
    use Kind::*;
    match rtype {
        RecordType::MB | RecordType::MG | RecordType::MR => layout!["mailbox" Name],
        RecordType::NSAP_PTR => layout!["target" Name],
        RecordType::MINFO => layout!["responsible mailbox" Name, "error mailbox" Name],
        RecordType::RP => layout!["mailbox" Name, "name of the TXT record" Name],
        RecordType::AFSDB => layout!["subtype" U16, "host" Name],
        RecordType::RT => layout!["preference" U16, "intermediate host" Name],
        RecordType::KX => layout!["preference" U16, "exchanger" Name],
        RecordType::LP => layout!["preference" U16, "locator name" Name],
        RecordType::PX => layout!["preference" U16, "RFC 822 domain" Name, "X.400 domain" Name],
        RecordType::TALINK => layout!["previous name" Name, "next name" Name],
        RecordType::X25 => layout!["PSDN address" String],
        RecordType::ISDN => layout!["ISDN address" String, "subaddress" OptionalString],
        RecordType::GPOS => layout!["longitude" String, "latitude" String, "altitude" String],
        RecordType::NSAP => layout!["NSAP address" Nsap],
        RecordType::WKS => layout!["address" Ipv4, "ports" PortMap],
        RecordType::APL => layout!["address prefixes" Prefixes],
        RecordType::CERT => {
            layout!["certificate type" CertificateType, "key tag" U16, "algorithm" Algorithm, "certificate" Base64]
        }
        RecordType::EID | RecordType::NIMLOC => layout!["address" Hex],
        RecordType::HHIT | RecordType::BRID => layout!["identity" Base64],
        RecordType::DHCID => layout!["identifier" Base64],
        RecordType::IPSECKEY => layout!["precedence" U8, "gateway" Gateway, "public key" OptionalBase64],
        RecordType::AMTRELAY => layout!["precedence" U8, "relay" Relay],
        RecordType::HIP => layout!["host identity" HostIdentity, "rendezvous server" Names],
        RecordType::NID => layout!["preference" U16, "node identifier" FourGroups],
        RecordType::L32 => layout!["preference" U16, "locator" Ipv4],
        RecordType::L64 => layout!["preference" U16, "locator" FourGroups],
        RecordType::EUI48 => layout!["address" Eui(6)],
        RecordType::EUI64 => layout!["address" Eui(8)],
        RecordType::DSYNC => layout!["record type" Type, "scheme" Scheme, "port" U16, "target" Name],
        RecordType::KEY | RecordType::RKEY => {
            layout!["flags" U16, "protocol" U8, "algorithm" Algorithm, "public key" OptionalBase64]
        }
        _ => None,
    }
}

impl Field {
    fn read(&self, fields: &mut Fields<'_, '_>, wire: &mut Vec<u8>) -> Result<(), Mistake> {
        let what = self.what;
        match self.kind {
            Kind::U8 => wire.push(fields.number(what, u8::MAX.into())? as u8),
            Kind::U16 => wire.extend_from_slice(&(fields.number(what, u16::MAX.into())? as u16).to_be_bytes()),
            Kind::U32 => wire.extend_from_slice(&fields.number(what, u32::MAX)?.to_be_bytes()),
            Kind::Seconds => wire.extend_from_slice(&fields.seconds(what)?.to_be_bytes()),
            Kind::Name => {
                let name = fields.name(what)?;
                wire.extend_from_slice(name.as_wire());
            }
            Kind::Ipv4 => wire.extend_from_slice(&fields.ipv4()?.octets()),
            Kind::Ipv6 => wire.extend_from_slice(&fields.ipv6()?.octets()),
            Kind::String => fields.string(what, wire)?,
            Kind::Strings => {
                fields.string(what, wire)?;
                while fields.peek().is_some() {
                    fields.string(what, wire)?;
                }
            }
            Kind::Tag => fields.tag(what, wire)?,
            Kind::Text(may_be_empty) => fields.text(what, may_be_empty, wire)?,
            Kind::Hex => wire.extend(fields.hex(what)?),
            Kind::Base64 => wire.extend(fields.base64(what)?),
            Kind::Algorithm => wire.push(fields.algorithm(what)?),
            Kind::SvcParams => svcb::read(fields, wire)?,
            Kind::Location => loc::read(fields, wire)?,
            Kind::OptionalString if fields.peek().is_none() => {}
            Kind::OptionalString => fields.string(what, wire)?,
            Kind::OptionalBase64 if fields.peek().is_none() => {}
            Kind::OptionalBase64 => wire.extend(fields.base64(what)?),
            Kind::Names => fields.names(what, wire)?,
            Kind::Eui(octets) => special::eui(fields, what, octets, wire)?,
            Kind::FourGroups => special::four_groups(fields, what, wire)?,
            Kind::Nsap => special::nsap(fields, what, wire)?,
            Kind::CertificateType => wire.extend(special::certificate_type(fields, what)?.to_be_bytes()),
            Kind::Type => wire.extend(special::record_type(fields, what)?.to_be_bytes()),
            Kind::Scheme => wire.push(special::scheme(fields, what)?),
            Kind::Gateway => special::gateway(fields, wire)?,
            Kind::Relay => special::relay(fields, wire)?,
            Kind::HostIdentity => special::host_identity(fields, wire)?,
            Kind::Prefixes => special::prefixes(fields, wire)?,
            Kind::PortMap => special::port_map(fields, wire)?,
        }
        Ok(())
    }
}

impl Kind {
    /// The number of octets of `wire`, from its front, that are this field; `None` where it is malformed.
    fn wire_len(&self, wire: &[u8]) -> Option<usize> {
        let len = match self {
            Kind::U8 | Kind::Algorithm | Kind::Scheme => 1,
            Kind::U16 | Kind::CertificateType | Kind::Type => 2,
            Kind::U32 | Kind::Seconds | Kind::Ipv4 => 4,
            Kind::Ipv6 => 16,
            Kind::Name => wire_len(wire)?,
            Kind::String => 1 + usize::from(*wire.first()?),
            Kind::Strings => {
                let mut at = 1 + usize::from(*wire.first()?);
                while let Some(&len) = wire.get(at) {
                    at += 1 + usize::from(len);
                }
                at
            }
            Kind::Tag => {
                let len = usize::from(*wire.first()?);
                let tag = wire.get(1..=len)?;
                (len > 0 && tag.iter().all(u8::is_ascii_alphanumeric)).then_some(1 + len)?
            }
            Kind::Hex | Kind::Base64 | Kind::Nsap | Kind::Text(false) if wire.is_empty() => return None,
            Kind::Hex | Kind::Base64 | Kind::Nsap | Kind::Text(_) => wire.len(),
            Kind::SvcParams => wire.len(), // its rules are in `sense`
            Kind::Location => loc::is_well_made(wire).then_some(wire.len())?,
            Kind::OptionalString => wire.first().map_or(0, |&len| 1 + usize::from(len)),
            Kind::OptionalBase64 => wire.len(),
            Kind::Names => {
                let mut at = 0;
                while at < wire.len() {
                    at += wire_len(wire.get(at..)?)?;
                }
                at
            }
            Kind::Eui(octets) => *octets,
            Kind::FourGroups => 8,
            Kind::Gateway => special::gateway_len(wire)?,
            Kind::Relay => special::relay_len(wire)?,
            Kind::HostIdentity => special::host_identity_len(wire)?,
            Kind::Prefixes => special::prefixes_len(wire)?,
            Kind::PortMap => special::port_map_len(wire)?,
        };
        (len <= wire.len()).then_some(len)
    }
}

/// A field whose value contradicts another, or means nothing.
pub(super) struct Senseless {
    /// Its index in the layout.
    pub field: usize,
    pub label: String,
}

/// Rules beyond the form of single fields, on RDATA that has the form of its type.
fn sense(rtype: RecordType, wire: &[u8]) -> Result<(), Senseless> {
    let byte = |at: usize| wire.get(at).copied().unwrap_or(0);
    let digest = |field, fixed: usize, expected: Option<usize>| match expected {
        Some(len) if wire.len() != fixed + len => {
            Err(Senseless { field, label: format!("{}; its type has {len}", octets(wire.len().saturating_sub(fixed))) })
        }
        _ => Ok(()),
    };
    match rtype {
        // IANA "DS RR Type Digest Algorithms".
        RecordType::DS | RecordType::CDS => {
            digest(3, 4, [None, Some(20), Some(32), Some(32), Some(48)].get(usize::from(byte(3))).copied().flatten())
        }
        // RFC 4255 section 3.1.2 and RFC 6594 section 3.2.
        RecordType::SSHFP => digest(2, 2, [None, Some(20), Some(32)].get(usize::from(byte(1))).copied().flatten()),
        // RFC 6698 section 2.1.3: SHA-256 and SHA-512.
        RecordType::TLSA | RecordType::SMIMEA => {
            digest(3, 3, [None, Some(32), Some(64)].get(usize::from(byte(2))).copied().flatten())
        }
        // RFC 1183 section 3.1: "a DNIC (four digits) plus the PSDN address", digits only.
        RecordType::X25 if wire.len() < 5 || !wire.iter().skip(1).all(u8::is_ascii_digit) => {
            Err(Senseless { field: 0, label: "expected four digits or more (RFC 1183 section 3.1)".into() })
        }
        // RFC 4025 section 2.4: algorithm 0 says "that no key is present".
        RecordType::IPSECKEY => {
            let has_key = wire.get(1..).and_then(special::gateway_len).is_some_and(|len| wire.len() > 1 + len);
            match (byte(2), has_key) {
                (0, true) => Err(Senseless { field: 2, label: "algorithm 0 has none (RFC 4025 section 2.4)".into() }),
                (1.., false) => Err(Senseless { field: 2, label: "missing: only algorithm 0 has none".into() }),
                _ => Ok(()),
            }
        }
        // RFC 4034 section 2.1.2: "The Protocol Field MUST have value 3".
        RecordType::DNSKEY | RecordType::CDNSKEY if byte(2) != 3 => {
            Err(Senseless { field: 1, label: "must be 3 (RFC 4034 section 2.1.2)".into() })
        }
        RecordType::SVCB | RecordType::HTTPS => {
            let target = wire.get(2..).and_then(wire_len).unwrap_or(0);
            svcb::sense(wire.get(2 + target..).unwrap_or_default()).map_err(|label| Senseless { field: 2, label })
        }
        _ => Ok(()),
    }
}

/// `\# length hex…` (RFC 3597 section 5).
fn read_generic(rtype: RecordType, fields: &mut Fields<'_, '_>) -> Result<Vec<u8>, Mistake> {
    fields.take();
    let length_at = fields.taken();
    let length = fields.number("length", MAX_RDATA as u32)? as usize;
    let length_range = fields.range_since(length_at);
    let wire = if length == 0 && fields.peek().is_none() { Vec::new() } else { fields.hex("RDATA")? };
    if wire.len() != length {
        let label =
            format!("says {length}, but {} follow{}", octets(wire.len()), if wire.len() == 1 { "s" } else { "" });
        return Err(Mistake::new(length_range, "the length is wrong", label));
    }
    let range = fields.range_since(length_at + 1);
    let Some(layout) = layout(rtype) else { return Ok(wire) };
    // Of a known type, it must be what the type's own form would have made.
    let mut at = 0;
    for field in layout {
        match field.kind.wire_len(&wire[at..]) {
            Some(len) => at += len,
            None => {
                let label = format!("octet {at}: no {} there", field.what);
                return Err(Mistake::new(range, format!("these octets are not {rtype} RDATA"), label));
            }
        }
    }
    if at != wire.len() {
        let label = format!("{} too many", octets(wire.len() - at));
        return Err(Mistake::new(range, format!("these octets are not {rtype} RDATA"), label));
    }
    sense(rtype, &wire)
        .map_err(|senseless| Mistake::new(range, format!("these octets are not {rtype} RDATA"), senseless.label))?;
    Ok(wire)
}

fn no_text_form(rtype: RecordType, fields: &Fields<'_, '_>) -> Mistake {
    let range = fields.peek().map_or(fields.end(), |token| token.range.clone());
    Mistake::new(range, format!("{rtype} has no text form here"), "expected `\\# length hex` (RFC 3597)")
}

fn octets(count: usize) -> String {
    if count == 1 { "1 octet".into() } else { format!("{count} octets") }
}
