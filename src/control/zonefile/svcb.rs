//! SvcParams of SVCB and HTTPS records (RFC 9460): `alpn=h2,h3 port=8443 key65000="x"`.
//!
//! Values have two layers of escapes: first those of a character-string, then, in lists, `\,`
//! and `\\` (RFC 9460 appendix A.1). On the wire keys ascend and none comes twice.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::ops::Range;

use super::fields::{Fields, decode_base64, number, unescaped};
use super::mistake::{Mistake, shown};
use crate::control::diagnostic::nearest;

const MANDATORY: u16 = 0;
const ALPN: u16 = 1;
const NO_DEFAULT_ALPN: u16 = 2;
const PORT: u16 = 3;
const IPV4HINT: u16 = 4;
const ECH: u16 = 5;
const IPV6HINT: u16 = 6;
const DOHPATH: u16 = 7;
const OHTTP: u16 = 8;
const TLS_SUPPORTED_GROUPS: u16 = 9;
/// "Reserved ("Invalid key")" (RFC 9460 section 14.3.2).
const INVALID: u16 = u16::MAX;

/// Registered names (IANA "Service Parameter Keys").
const KEYS: [(&str, u16); 10] = [
    ("mandatory", MANDATORY),
    ("alpn", ALPN),
    ("no-default-alpn", NO_DEFAULT_ALPN),
    ("port", PORT),
    ("ipv4hint", IPV4HINT),
    ("ech", ECH),
    ("ipv6hint", IPV6HINT),
    ("dohpath", DOHPATH),
    ("ohttp", OHTTP),
    ("tls-supported-groups", TLS_SUPPORTED_GROUPS),
];

/// Reads the parameters that are left, after priority and target in `wire`.
pub(super) fn read(fields: &mut Fields<'_, '_>, wire: &mut Vec<u8>) -> Result<(), Mistake> {
    let alias_mode = wire.starts_with(&[0, 0]);
    let mut params: Vec<Param> = Vec::new();
    while let Some(param) = read_param(fields)? {
        if alias_mode && params.is_empty() {
            let label = "clients ignore it (RFC 9460 section 2.4.2)";
            fields.warn(Mistake::warning(param.range.clone(), "a parameter in AliasMode (priority 0)", label));
        }
        params.push(param);
    }
    params.sort_by_key(|param| param.key);
    for pair in params.windows(2) {
        if let [first, second] = pair
            && first.key == second.key
        {
            let message = format!("the parameter {} is given twice", key_name(second.key));
            return Err(Mistake::new(second.range.clone(), message, "the second"));
        }
    }
    check_together(&params)?;
    for param in &params {
        let len = u16::try_from(param.value.len())
            .map_err(|_| Mistake::new(param.range.clone(), "the value is too long", "at most 65,535 octets fit"))?;
        wire.extend_from_slice(&param.key.to_be_bytes());
        wire.extend_from_slice(&len.to_be_bytes());
        wire.extend_from_slice(&param.value);
    }
    Ok(())
}

/// Refuses SvcParams in wire form that are wrong, and says what is.
pub(super) fn sense(mut wire: &[u8]) -> Result<(), String> {
    let mut keys: Vec<u16> = Vec::new();
    let mut mandatory: &[u8] = &[];
    while !wire.is_empty() {
        let (key, value) = split_param(&mut wire).ok_or("a parameter is cut short")?;
        // RFC 9460 section 2.2: "SvcParamKeys SHALL appear in increasing numeric order".
        if keys.last().is_some_and(|&last| last >= key) {
            return Err(format!("{} is out of order or given twice", key_name(key)));
        }
        if let Some(fault) = value_fault(key, value) {
            return Err(format!("{}: {fault}", key_name(key)));
        }
        if key == MANDATORY {
            mandatory = value;
        }
        keys.push(key);
    }
    match together_fault(&keys, mandatory) {
        Some((_, fault)) => Err(fault),
        None => Ok(()),
    }
}

struct Param {
    key: u16,
    value: Vec<u8>,
    range: Range<usize>,
}

fn split_param<'w>(wire: &mut &'w [u8]) -> Option<(u16, &'w [u8])> {
    let (head, rest) = wire.split_first_chunk::<4>()?;
    let value = rest.get(..usize::from(u16::from_be_bytes([head[2], head[3]])))?;
    *wire = &rest[value.len()..];
    Some((u16::from_be_bytes([head[0], head[1]]), value))
}

/// `key`, `key=value` or `key="value"`.
fn read_param(fields: &mut Fields<'_, '_>) -> Result<Option<Param>, Mistake> {
    let Some(token) = fields.take() else { return Ok(None) };
    if token.quoted {
        let label = "expected `key=value`; quotes are around values only";
        return Err(Mistake::new(token.range.clone(), "a string where a parameter belongs", label));
    }
    let (key_text, value_text) = match token.text.split_once('=') {
        Some((key, value)) => (key, Some(value)),
        None => (token.text, None),
    };
    let key_range = token.range.start..token.range.start + key_text.len();
    let key = read_key(key_text, key_range)?;
    let mut range = token.range.clone();
    let mut value_token = token.clone();
    value_token.text = value_text.unwrap_or_default();
    value_token.range.start = token.range.end - value_token.text.len();
    // The lexer ends a word at a quote: `alpn="h2,h3"` comes as `alpn=` and, touching it, `"h2,h3"`.
    if value_text == Some("")
        && let Some(next) = fields.peek().filter(|next| next.quoted && next.range.start == token.range.end)
    {
        range.end = next.range.end;
        value_token = next.clone();
        fields.take();
    }
    let octets = unescaped(&value_token)?;
    let refuse = |fault: String| {
        let message = format!("{} is not a value of {}", shown(value_token.text), key_name(key));
        Mistake::new(range.clone(), message, fault)
    };
    let generic = key_text.get(..3).is_some_and(|head| head.eq_ignore_ascii_case("key")) && !is_registered(key_text);
    let value = if generic { octets.into_owned() } else { encode(key, &octets).map_err(refuse)? };
    match value_fault(key, &value) {
        Some(fault) => Err(refuse(fault.into())),
        None => Ok(Some(Param { key, value, range })),
    }
}

fn is_registered(text: &str) -> bool {
    KEYS.iter().any(|(name, _)| name.eq_ignore_ascii_case(text))
}

fn read_key(text: &str, range: Range<usize>) -> Result<u16, Mistake> {
    key_code(text).ok_or_else(|| {
        let mistake = Mistake::new(
            range,
            format!("{} is not a service parameter", shown(text)),
            "expected a registered name, or `key` and a number from 0 to 65534",
        );
        match nearest(text, KEYS.map(|(name, _)| name)) {
            Some(near) => mistake.help(format!("did you mean `{near}`?")),
            None => mistake,
        }
    })
}

fn key_code(text: &str) -> Option<u16> {
    if let Some((_, code)) = KEYS.iter().find(|(name, _)| name.eq_ignore_ascii_case(text)) {
        return Some(*code);
    }
    let digits = text.get(..3).filter(|head| head.eq_ignore_ascii_case("key")).and_then(|_| text.get(3..))?;
    // RFC 9460 section 2.1: no leading zeros.
    if digits.len() > 1 && digits.starts_with('0') {
        return None;
    }
    number(digits, u32::from(INVALID) - 1).and_then(|code| u16::try_from(code).ok())
}

fn key_name(code: u16) -> String {
    match KEYS.iter().find(|(_, known)| *known == code) {
        Some((name, _)) => (*name).to_string(),
        None => format!("key{code}"),
    }
}

/// From a value's text, its first layer of escapes undone, to its wire form.
fn encode(key: u16, text: &[u8]) -> Result<Vec<u8>, String> {
    let plain = || std::str::from_utf8(text).map_err(|_| "expected ASCII text".to_string());
    match key {
        MANDATORY => {
            let mut keys = Vec::new();
            for item in plain()?.split(',') {
                keys.push(key_code(item).ok_or_else(|| format!("{} is not a parameter's name", shown(item)))?);
            }
            keys.sort_unstable();
            Ok(keys.iter().flat_map(|key| key.to_be_bytes()).collect())
        }
        ALPN => {
            let mut wire = Vec::with_capacity(text.len() + 1);
            for item in split_list(text)? {
                wire.push(u8::try_from(item.len()).map_err(|_| "a protocol is longer than 255 octets")?);
                wire.extend_from_slice(&item);
            }
            Ok(wire)
        }
        PORT => {
            let port = number(plain()?, u16::MAX.into()).ok_or("expected a port from 0 to 65535")?;
            Ok((port as u16).to_be_bytes().into())
        }
        IPV4HINT => list(plain()?, "an IPv4 address", |item| item.parse().ok().map(|ip: Ipv4Addr| ip.octets().into())),
        IPV6HINT => list(plain()?, "an IPv6 address", |item| item.parse().ok().map(|ip: Ipv6Addr| ip.octets().into())),
        TLS_SUPPORTED_GROUPS => list(plain()?, "a number from 0 to 65535", |item| {
            number(item, u16::MAX.into()).map(|group| (group as u16).to_be_bytes().into())
        }),
        ECH => decode_base64(plain()?).map_err(|why| format!("not base64: {why}")),
        _ => Ok(text.to_vec()),
    }
}

fn list(text: &str, expected: &str, item: impl Fn(&str) -> Option<Vec<u8>>) -> Result<Vec<u8>, String> {
    let mut wire = Vec::new();
    for part in text.split(',') {
        wire.extend(item(part).ok_or_else(|| format!("{} is not {expected}", shown(part)))?);
    }
    Ok(wire)
}

/// A comma-separated list in which `\,` and `\\` stand for themselves (RFC 9460 appendix A.1).
fn split_list(text: &[u8]) -> Result<Vec<Vec<u8>>, String> {
    let mut items = vec![Vec::new()];
    let mut octets = text.iter();
    while let Some(&octet) = octets.next() {
        let octet = match octet {
            b',' => {
                items.push(Vec::new());
                continue;
            }
            b'\\' => {
                *octets.next().filter(|next| matches!(next, b',' | b'\\')).ok_or("expected `\\\\,` or `\\\\\\\\`")?
            }
            other => other,
        };
        if let Some(item) = items.last_mut() {
            item.push(octet);
        }
    }
    Ok(items)
}

/// The fault of one value in wire form.
fn value_fault(key: u16, value: &[u8]) -> Option<&'static str> {
    let fault = |wrong: bool, text| wrong.then_some(text);
    match key {
        MANDATORY => mandatory_fault(value),
        ALPN => fault(!is_alpn_list(value), "expected protocols of 1 to 255 octets"),
        NO_DEFAULT_ALPN | OHTTP => fault(!value.is_empty(), "takes no value"),
        PORT => fault(value.len() != 2, "expected two octets"),
        IPV4HINT => fault(value.is_empty() || !value.len().is_multiple_of(4), "expected IPv4 addresses"),
        IPV6HINT => fault(value.is_empty() || !value.len().is_multiple_of(16), "expected IPv6 addresses"),
        ECH => fault(value.is_empty(), "expected an ECHConfigList"),
        // RFC 9461 section 5: a relative URI template, in UTF-8, with the variable `dns`.
        DOHPATH => {
            let sound = std::str::from_utf8(value).is_ok_and(|path| path.starts_with('/') && path.contains("dns}"));
            fault(!sound, "expected a template such as `/dns-query{?dns}`")
        }
        TLS_SUPPORTED_GROUPS => fault(value.is_empty() || !value.len().is_multiple_of(2), "expected groups"),
        INVALID => Some("this key is reserved"),
        _ => None,
    }
}

/// RFC 9460 section 8: ascending, none twice, never `mandatory` itself, not empty.
fn mandatory_fault(value: &[u8]) -> Option<&'static str> {
    let keys: Vec<&[u8]> = value.chunks(2).collect();
    if value.is_empty() || !value.len().is_multiple_of(2) {
        Some("expected a list of parameters")
    } else if keys.contains(&&[0, 0][..]) {
        Some("`mandatory` does not name itself")
    } else if keys.windows(2).any(|pair| pair[0] >= pair[1]) {
        Some("names a parameter twice")
    } else {
        None
    }
}

fn is_alpn_list(mut value: &[u8]) -> bool {
    let any = !value.is_empty();
    while let Some((&len, rest)) = value.split_first() {
        match rest.get(usize::from(len)..) {
            Some(rest) if len > 0 => value = rest,
            _ => return false,
        }
    }
    any
}

fn check_together(params: &[Param]) -> Result<(), Mistake> {
    let keys: Vec<u16> = params.iter().map(|param| param.key).collect();
    let mandatory = params.iter().find(|param| param.key == MANDATORY).map_or(&[][..], |param| &param.value);
    let Some((key, fault)) = together_fault(&keys, mandatory) else { return Ok(()) };
    let range = params.iter().find(|param| param.key == key).map_or(0..0, |param| param.range.clone());
    Err(Mistake::new(range, "the parameters contradict each other", fault))
}

/// The key that is wrong in the company of the others, and why.
fn together_fault(keys: &[u16], mandatory: &[u8]) -> Option<(u16, String)> {
    // RFC 9460 section 7.1.1: "When "no-default-alpn" is specified in an RR, "alpn" must also be specified".
    if keys.contains(&NO_DEFAULT_ALPN) && !keys.contains(&ALPN) {
        return Some((NO_DEFAULT_ALPN, "no-default-alpn needs alpn".into()));
    }
    // RFC 9460 section 8: every key of the list must be there.
    mandatory
        .chunks_exact(2)
        .map(|key| u16::from_be_bytes([key[0], key[1]]))
        .find(|key| !keys.contains(key))
        .map(|key| (MANDATORY, format!("{} is mandatory but not given", key_name(key))))
}
