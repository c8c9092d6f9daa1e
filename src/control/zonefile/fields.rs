//! The fields of an entry, taken token by token: numbers, names, addresses, strings, base64.
//!
//! Each says what is missing or wrong at the exact token. Numbers of plain 32 bits and less come
//! out as they are; all else comes out in wire form or as a type of the model.

use std::borrow::Cow;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::ops::Range;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::lexer::Token;
use super::mistake::{Mistake, shown};
use crate::control::diagnostic::nearest;
use crate::model::name::unescape;
use crate::model::{Name, NameError, Ttl};

/// The longest character-string (RFC 1035 section 3.3).
const MAX_STRING: usize = u8::MAX as usize;

/// The longest text of a name without escapes: 255 octets (RFC 1035 section 3.1) without the first length and
/// the root.
const MAX_NAME_TEXT: usize = 253;

/// The tokens of an entry's RDATA, taken one by one.
pub(super) struct Fields<'e, 't> {
    tokens: &'e [Token<'t>],
    at: usize,
    /// The offset where the entry ends: what is missing is missing there.
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

    /// The number of fields taken so far.
    pub fn taken(&self) -> usize {
        self.at
    }

    pub fn warn(&mut self, warning: Mistake) {
        self.warnings.push(warning);
    }

    /// From the token at index `from` to the last one taken.
    pub fn range_since(&self, from: usize) -> Range<usize> {
        match self.tokens.get(from..self.at) {
            Some([first, .., last]) => first.range.start..last.range.end,
            Some([only]) => only.range.clone(),
            _ => self.end..self.end,
        }
    }

    /// The place where something is missing: right after the last token.
    pub fn end(&self) -> Range<usize> {
        self.end..self.end
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

    pub fn seconds(&mut self, what: &str) -> Result<u32, Mistake> {
        let token = self.expect(what, "a time such as `1h`")?;
        // Plain numbers may use all 32 bits; the units stop at the largest TTL.
        let value = number(token.text, u32::MAX).or_else(|| Ttl::parse(token.text).map(Ttl::as_secs));
        value.filter(|_| !token.quoted).ok_or_else(|| not_a(token, what, "expected a time such as `3600` or `1h30m`"))
    }

    pub fn name(&mut self, what: &str) -> Result<Name, Mistake> {
        let token = self.expect(what, "a domain name")?;
        read_name(token, self.origin, self.warnings)
    }

    pub fn ipv4(&mut self) -> Result<Ipv4Addr, Mistake> {
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

    pub fn ipv6(&mut self) -> Result<Ipv6Addr, Mistake> {
        let token = self.expect("address", "an IPv6 address")?;
        token.text.parse().map_err(|_| {
            let mistake = not_a(token, "IPv6 address", "expected an address such as `2001:db8::1`");
            if token.text.parse::<Ipv4Addr>().is_ok() { mistake.help("IPv4 addresses are of type A") } else { mistake }
        })
    }

    /// One character-string with its length octet.
    pub fn string(&mut self, what: &str, wire: &mut Vec<u8>) -> Result<(), Mistake> {
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

    pub fn tag(&mut self, what: &str, wire: &mut Vec<u8>) -> Result<(), Mistake> {
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

    pub fn text(&mut self, what: &str, may_be_empty: bool, wire: &mut Vec<u8>) -> Result<(), Mistake> {
        let token = self.expect(what, "a quoted string")?;
        let octets = unescaped(token)?;
        if octets.is_empty() && !may_be_empty {
            return Err(Mistake::new(token.range.clone(), format!("the {what} is empty"), "expected some text"));
        }
        wire.extend_from_slice(&octets);
        Ok(())
    }

    /// All tokens left, as one run of hexadecimal digits in pairs; at least one pair.
    pub fn hex(&mut self, what: &str) -> Result<Vec<u8>, Mistake> {
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

    /// One name after the other, to the end; there may be none.
    pub fn names(&mut self, what: &str, wire: &mut Vec<u8>) -> Result<(), Mistake> {
        // Each may be much longer than its text: what is too much is noticed at once.
        while self.peek().is_some() && wire.len() <= usize::from(u16::MAX) {
            wire.extend_from_slice(self.name(what)?.as_wire());
        }
        self.at = if wire.len() > usize::from(u16::MAX) { self.tokens.len() } else { self.at };
        Ok(())
    }

    /// All tokens left, as one base64 text; at least one octet.
    pub fn base64(&mut self, what: &str) -> Result<Vec<u8>, Mistake> {
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

    pub fn algorithm(&mut self, what: &str) -> Result<u8, Mistake> {
        // IANA "DNS Security Algorithm Numbers".
        const MNEMONICS: [(&str, u16); 17] = [
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
            ("INDIRECT", 252),
            ("PRIVATEDNS", 253),
            ("PRIVATEOID", 254),
        ];
        self.code(what, &MNEMONICS, u8::MAX.into()).map(|code| code as u8)
    }

    /// A number up to `max`, or one of these names for it, in any case.
    pub fn code(&mut self, what: &str, names: &[(&'static str, u16)], max: u16) -> Result<u16, Mistake> {
        let example = names.last().map_or("", |(name, _)| name);
        let token = self.expect(what, &format!("a number, or a name such as `{example}`"))?;
        let named = names.iter().find(|(name, _)| name.eq_ignore_ascii_case(token.text)).map(|(_, code)| *code);
        let code = named.or_else(|| number(token.text, max.into()).map(|code| code as u16));
        code.filter(|_| !token.quoted).ok_or_else(|| {
            let mistake =
                not_a(token, what, format!("expected a number from 0 to {max} or a name such as `{example}`"));
            match nearest(token.text, names.iter().map(|(name, _)| *name)) {
                Some(near) => mistake.help(format!("did you mean `{near}`?")),
                None => mistake,
            }
        })
    }
}

/// The name that relative names are relative to.
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

    /// Tells whether `text` is relative and yet ends in this origin: `www.example.com` in `example.com`.
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
    if token.text.contains('\\')
        && let Some(octets) = too_long_as_text(&name)
    {
        let label = format!("{octets} characters with its escapes, more than {MAX_NAME_TEXT}");
        warnings.push(
            Mistake::warning(token.range.clone(), "a name is longer as text than names without escapes can be", label)
                .help("it is answered; tools that expect names of usual length may cut or refuse it"),
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

/// The length of a name's text, where it is more than [`MAX_NAME_TEXT`]: each octet may take four characters.
fn too_long_as_text(name: &Name) -> Option<usize> {
    let length = name.to_string().trim_end_matches('.').len();
    (length > MAX_NAME_TEXT).then_some(length)
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
