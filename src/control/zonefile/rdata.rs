//! RDATA: from presentation form to wire form, and whether wire form is well made.
//!
//! One table, [`layout`], says which fields each type has. Reading text walks it over tokens,
//! checking the generic form of RFC 3597 (`\# length hex`) walks it over octets; so both accept
//! the same. Rules that span fields are in [`sense`].

use std::borrow::Cow;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::ops::Range;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::lexer::Token;
use super::mistake::{Mistake, shown};
use super::{loc, svcb};
use crate::control::diagnostic::nearest;
use crate::model::name::{unescape, wire_len};
use crate::model::{Name, NameError, RecordType, Ttl};

/// The most octets RDLENGTH can say.
const MAX_RDATA: usize = u16::MAX as usize;
/// The longest character-string (RFC 1035 section 3.3).
const MAX_STRING: usize = u8::MAX as usize;

/// Reads all that is left of the entry as RDATA of this type.
pub(super) fn read(rtype: RecordType, fields: &mut Fields<'_, '_>) -> Result<Vec<u8>, Mistake> {
    if fields.peek().is_some_and(|token| !token.quoted && token.text == "\\#") {
        return read_generic(rtype, fields);
    }
    let Some(layout) = layout(rtype) else { return Err(no_text_form(rtype, fields)) };
    let mut wire = Vec::with_capacity(16);
    let mut places = Vec::with_capacity(layout.len());
    for field in layout {
        let from = fields.at;
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
        RecordType::TXT | RecordType::SPF => layout!["text" Strings],
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
        }
        Ok(())
    }
}

impl Kind {
    /// How many octets of `wire`, from its front, are this field; `None` where it is malformed.
    fn wire_len(&self, wire: &[u8]) -> Option<usize> {
        let len = match self {
            Kind::U8 | Kind::Algorithm => 1,
            Kind::U16 => 2,
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
            Kind::Hex | Kind::Base64 | Kind::Text(false) if wire.is_empty() => return None,
            Kind::Hex | Kind::Base64 | Kind::Text(_) => wire.len(),
            Kind::SvcParams => wire.len(), // its rules are in `sense`
            Kind::Location => loc::is_well_made(wire).then_some(wire.len())?,
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
    fields.at += 1;
    let length_at = fields.at;
    let length = fields.number("length", MAX_RDATA as u32)? as usize;
    let wire = if length == 0 && fields.peek().is_none() { Vec::new() } else { fields.hex("RDATA")? };
    if wire.len() != length {
        let label =
            format!("says {length}, but {} follow{}", octets(wire.len()), if wire.len() == 1 { "s" } else { "" });
        return Err(Mistake::new(fields.range_since_to(length_at, length_at + 1), "the length is wrong", label));
    }
    let range = fields.range_since(length_at + 1);
    let Some(layout) = layout(rtype) else { return Ok(wire) };
    // "if the RR type is known, the RDATA is checked as if it had been read in its own form"
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
    let range = fields.peek().map_or(fields.end..fields.end, |token| token.range.clone());
    Mistake::new(range, format!("{rtype} has no text form here"), "expected `\\# length hex` (RFC 3597)")
}

/// What relative names are relative to.
#[derive(Clone)]
pub(super) struct Origin {
    pub name: Name,
    /// Its text without the last dot.
    text: String,
}

impl Origin {
    pub fn new(name: Name) -> Origin {
        let text = name.to_string();
        Origin { text: text.trim_end_matches('.').to_string(), name }
    }

    /// Whether `text` is relative and yet ends in this origin: `www.example.com` in `example.com`.
    fn is_repeated_by(&self, text: &str) -> bool {
        let (text, origin) = (text.as_bytes(), self.text.as_bytes());
        let Some(cut) = text.len().checked_sub(origin.len()) else { return false };
        origin.contains(&b'.') && text[cut..].eq_ignore_ascii_case(origin) && (cut == 0 || text[cut - 1] == b'.')
    }
}

/// A name as a token has it, with warnings about what is probably not meant.
pub(super) fn read_name(token: &Token<'_>, origin: &Origin, warnings: &mut Vec<Mistake>) -> Result<Name, Mistake> {
    let refuse =
        |label: String| Mistake::new(token.range.clone(), format!("{} is not a domain name", shown(token.text)), label);
    if token.quoted {
        return Err(refuse("names are not quoted".into()));
    }
    let name = Name::parse(token.text, &origin.name).map_err(|error| match error {
        NameError::NameTooLong if !token.text.ends_with('.') => {
            refuse(format!("{error}, with the origin {}", origin.name))
        }
        _ => refuse(error.to_string()),
    })?;
    if !token.text.is_ascii() {
        warnings.push(
            Mistake::warning(token.range.clone(), "a name has characters outside ASCII", "taken as UTF-8 octets")
                .help("resolvers ask for internationalised names in their `xn--` form"),
        );
    }
    if origin.is_repeated_by(token.text) {
        let label = format!("is {name}");
        warnings.push(
            Mistake::warning(token.range.clone(), "a relative name ends in the origin", label)
                .help("end it with a dot to make it absolute"),
        );
    }
    Ok(name)
}

/// The tokens of an entry's RDATA, taken one by one.
pub(super) struct Fields<'e, 't> {
    tokens: &'e [Token<'t>],
    at: usize,
    /// Where the entry ends: what is missing is missing there.
    end: usize,
    origin: &'e Origin,
    warnings: &'e mut Vec<Mistake>,
}

impl<'e, 't> Fields<'e, 't> {
    /// `end` is where the token before these ends.
    pub fn new(tokens: &'e [Token<'t>], end: usize, origin: &'e Origin, warnings: &'e mut Vec<Mistake>) -> Self {
        let end = tokens.last().map_or(end, |token| token.range.end);
        Fields { tokens, at: 0, end, origin, warnings }
    }

    pub fn peek(&self) -> Option<&'e Token<'t>> {
        self.tokens.get(self.at)
    }

    pub fn take(&mut self) -> Option<&'e Token<'t>> {
        let token = self.tokens.get(self.at)?;
        self.at += 1;
        Some(token)
    }

    /// The next token; `expected` says what is missing where there is none.
    pub fn expect(&mut self, what: &str, expected: &str) -> Result<&'e Token<'t>, Mistake> {
        let end = self.end;
        self.take().ok_or_else(|| {
            Mistake::new(end..end, format!("the {what} is missing"), format!("expected {expected} here"))
        })
    }

    pub fn warn(&mut self, warning: Mistake) {
        self.warnings.push(warning);
    }

    /// From the token at index `from` to the last one taken.
    fn range_since(&self, from: usize) -> Range<usize> {
        self.range_since_to(from, self.at)
    }

    fn range_since_to(&self, from: usize, to: usize) -> Range<usize> {
        match self.tokens.get(from..to) {
            Some([first, .., last]) => first.range.start..last.range.end,
            Some([only]) => only.range.clone(),
            _ => self.end..self.end,
        }
    }

    /// Nothing may be left; `what` took all it needs.
    pub fn finish(&self, what: impl std::fmt::Display) -> Result<(), Mistake> {
        match self.peek() {
            None => Ok(()),
            Some(token) => {
                let message = format!("{} is more than {what} takes", shown(token.text));
                Err(Mistake::new(token.range.clone(), message, "expected the end of the entry"))
            }
        }
    }

    pub fn number(&mut self, what: &str, max: u32) -> Result<u32, Mistake> {
        let expected = format!("a number from 0 to {max}");
        let token = self.expect(what, &expected)?;
        number(token.text, max)
            .filter(|_| !token.quoted)
            .ok_or_else(|| not_a(token, what, format!("expected {expected}")))
    }

    fn seconds(&mut self, what: &str) -> Result<u32, Mistake> {
        let token = self.expect(what, "a time such as `1h`")?;
        // Plain numbers may use all 32 bits; the units stop at the largest TTL.
        let value = number(token.text, u32::MAX).or_else(|| Ttl::parse(token.text).map(Ttl::as_secs));
        value.filter(|_| !token.quoted).ok_or_else(|| not_a(token, what, "expected a time such as `3600` or `1h30m`"))
    }

    pub fn name(&mut self, what: &str) -> Result<Name, Mistake> {
        let token = self.expect(what, "a domain name")?;
        read_name(token, self.origin, self.warnings)
    }

    fn ipv4(&mut self) -> Result<Ipv4Addr, Mistake> {
        let token = self.expect("address", "an IPv4 address")?;
        token.text.parse().map_err(|_| {
            let mistake = not_a(token, "IPv4 address", "expected four numbers such as `192.0.2.1`");
            if token.text.parse::<Ipv6Addr>().is_ok() {
                mistake.help("IPv6 addresses are of type AAAA")
            } else {
                mistake
            }
        })
    }

    fn ipv6(&mut self) -> Result<Ipv6Addr, Mistake> {
        let token = self.expect("address", "an IPv6 address")?;
        token.text.parse().map_err(|_| {
            let mistake = not_a(token, "IPv6 address", "expected an address such as `2001:db8::1`");
            if token.text.parse::<Ipv4Addr>().is_ok() { mistake.help("IPv4 addresses are of type A") } else { mistake }
        })
    }

    /// One character-string with its length octet.
    fn string(&mut self, what: &str, wire: &mut Vec<u8>) -> Result<(), Mistake> {
        let token = self.expect(what, "a string")?;
        let octets = unescaped(token)?;
        let Ok(len) = u8::try_from(octets.len()) else {
            let label = format!("{} octets, at most {MAX_STRING} fit", octets.len());
            return Err(Mistake::new(token.range.clone(), format!("a string of the {what} is too long"), label)
                .help("split it into several strings: \"first part\" \"second part\""));
        };
        wire.push(len);
        wire.extend_from_slice(&octets);
        Ok(())
    }

    fn tag(&mut self, what: &str, wire: &mut Vec<u8>) -> Result<(), Mistake> {
        const KNOWN: [&str; 7] =
            ["issue", "issuewild", "iodef", "issuemail", "issuevmc", "contactemail", "contactphone"];
        let token = self.expect(what, "`issue`, `issuewild`, `iodef` or another tag")?;
        let tag = token.text.as_bytes();
        let len = u8::try_from(tag.len()).ok().filter(|&len| len > 0 && tag.iter().all(u8::is_ascii_alphanumeric));
        let len = len.ok_or_else(|| not_a(token, what, "expected letters and digits (RFC 8659 section 4.1)"))?;
        if !KNOWN.iter().any(|known| known.eq_ignore_ascii_case(token.text))
            && let Some(near) = nearest(token.text, KNOWN)
        {
            let message = format!("{} is not a registered CAA tag", shown(token.text));
            self.warn(Mistake::warning(token.range.clone(), message, "").help(format!("did you mean `{near}`?")));
        }
        wire.push(len);
        wire.extend_from_slice(tag);
        Ok(())
    }

    fn text(&mut self, what: &str, may_be_empty: bool, wire: &mut Vec<u8>) -> Result<(), Mistake> {
        let token = self.expect(what, "a quoted string")?;
        let octets = unescaped(token)?;
        if octets.is_empty() && !may_be_empty {
            return Err(Mistake::new(token.range.clone(), format!("the {what} is empty"), "expected some text"));
        }
        wire.extend_from_slice(&octets);
        Ok(())
    }

    /// All tokens left, as one run of hexadecimal digits in pairs; at least one pair.
    fn hex(&mut self, what: &str) -> Result<Vec<u8>, Mistake> {
        let first = self.at;
        self.expect(what, "hexadecimal digits")?;
        self.at = first;
        let mut octets = Vec::new();
        let mut high: Option<u8> = None;
        while let Some(token) = self.take() {
            for (index, byte) in token.text.bytes().enumerate() {
                let Some(digit) = char::from(byte).to_digit(16).filter(|_| !token.quoted) else {
                    let start = token.range.start + index;
                    let range = if byte.is_ascii() && !token.quoted { start..start + 1 } else { token.range.clone() };
                    return Err(Mistake::new(range, format!("the {what} is not hexadecimal"), "expected 0-9 or a-f"));
                };
                match high.take() {
                    None => high = Some(digit as u8),
                    Some(high) => octets.push(high << 4 | digit as u8),
                }
            }
        }
        if high.is_some() || octets.is_empty() {
            let label = if high.is_some() { "an odd number of digits" } else { "empty" };
            return Err(Mistake::new(self.range_since(first), format!("the {what} is not hexadecimal"), label));
        }
        Ok(octets)
    }

    /// All tokens left, as one base64 text; at least one octet.
    fn base64(&mut self, what: &str) -> Result<Vec<u8>, Mistake> {
        let first = self.at;
        self.expect(what, "base64")?;
        self.at = first;
        let mut text = String::new();
        while let Some(token) = self.take() {
            text.push_str(token.text);
        }
        decode_base64(&text)
            .map_err(|why| Mistake::new(self.range_since(first), format!("the {what} is not base64"), why))
    }

    fn algorithm(&mut self, what: &str) -> Result<u8, Mistake> {
        // IANA "DNS Security Algorithm Numbers".
        const MNEMONICS: [(&str, u8); 14] = [
            ("DELETE", 0),
            ("RSAMD5", 1),
            ("DH", 2),
            ("DSA", 3),
            ("RSASHA1", 5),
            ("NSEC3DSA", 6),
            ("NSEC3RSASHA1", 7),
            ("RSASHA256", 8),
            ("RSASHA512", 10),
            ("ECCGOST", 12),
            ("ECDSAP256SHA256", 13),
            ("ECDSAP384SHA384", 14),
            ("ED25519", 15),
            ("ED448", 16),
        ];
        let token = self.expect(what, "an algorithm such as `13`")?;
        let mnemonic = MNEMONICS.iter().find(|(name, _)| name.eq_ignore_ascii_case(token.text)).map(|(_, code)| *code);
        mnemonic.or_else(|| number(token.text, 255).map(|code| code as u8)).ok_or_else(|| {
            let mistake = not_a(token, what, "expected a number from 0 to 255 or a name such as `ECDSAP256SHA256`");
            match nearest(token.text, MNEMONICS.map(|(name, _)| name)) {
                Some(near) => mistake.help(format!("did you mean `{near}`?")),
                None => mistake,
            }
        })
    }
}

fn octets(count: usize) -> String {
    if count == 1 { "1 octet".into() } else { format!("{count} octets") }
}

/// "`x` is not a …".
pub(super) fn not_a(token: &Token<'_>, what: &str, label: impl Into<String>) -> Mistake {
    let article = if what.starts_with(['a', 'e', 'i', 'o', 'I']) { "an" } else { "a" };
    Mistake::new(token.range.clone(), format!("{} is not {article} {what}", shown(token.text)), label)
}

/// Decimal digits and nothing else, up to `max`.
pub(super) fn number(text: &str, max: u32) -> Option<u32> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|&value| digits && value <= max)
}

/// The octets of a string, its escapes undone (RFC 1035 section 5.1). UTF-8 is taken as it is.
pub(super) fn unescaped<'t>(token: &Token<'t>) -> Result<Cow<'t, [u8]>, Mistake> {
    let text = token.text.as_bytes();
    if !text.contains(&b'\\') {
        return Ok(text.into());
    }
    let mut octets = Vec::with_capacity(text.len());
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        if byte != b'\\' {
            octets.push(byte);
            at += 1;
            continue;
        }
        let Some((octet, used)) = unescape(&text[at..]) else {
            let start = token.range.start + usize::from(token.quoted) + at;
            let digits = text[at + 1..].iter().take(3).take_while(|byte| byte.is_ascii_digit()).count();
            return Err(Mistake::new(
                start..start + 1 + digits,
                "a bad escape",
                "expected `\\` and three digits from 000 to 255, or `\\` and another character",
            ));
        };
        octets.push(octet);
        at += used;
    }
    Ok(octets.into())
}

/// `Err` says what is wrong with it.
pub(super) fn decode_base64(text: &str) -> Result<Vec<u8>, String> {
    match STANDARD.decode(text) {
        Ok(octets) if octets.is_empty() => Err("empty".into()),
        Ok(octets) => Ok(octets),
        Err(error) => Err(error.to_string().to_lowercase()),
    }
}
