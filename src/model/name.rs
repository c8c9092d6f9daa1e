//! Domain names in uncompressed wire form (RFC 1035 section 3.1).
//!
//! A [`Name`] keeps the case it was written with and compares without it (RFC 4343).

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};

/// The longest name in octets, with its root label (RFC 1035 section 2.3.4).
pub const MAX_NAME_OCTETS: usize = 255;
/// The longest label in octets (RFC 1035 section 2.3.4).
pub const MAX_LABEL_OCTETS: usize = 63;

/// An absolute domain name: 1 to 255 octets, labels of 1 to 63 octets, then the root label.
#[derive(Clone)]
pub struct Name(Box<[u8]>);

/// The reason why a text or a run of octets is not a domain name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    #[error("the name is empty")]
    Empty,
    #[error("an empty label (two dots in a row, or a dot in front)")]
    EmptyLabel,
    #[error("a label is longer than 63 octets")]
    LabelTooLong,
    #[error("the name is longer than 255 octets")]
    NameTooLong,
    #[error("an escape is not `\\DDD` with DDD in 000 to 255, nor `\\` and a character")]
    BadEscape,
    #[error("the octets are not an uncompressed name")]
    NotWire,
}

impl Name {
    /// The root, `.`.
    pub fn root() -> Name {
        Name(Box::new([0]))
    }

    /// Reads presentation form. A text without a trailing dot is relative to `origin`;
    /// `@` alone is `origin` itself (RFC 1035 section 5.1).
    pub fn parse(text: &str, origin: &Name) -> Result<Name, NameError> {
        Name::parse_bytes(text.as_bytes(), origin)
    }

    /// Reads presentation form as absolute, with or without the trailing dot.
    pub fn parse_absolute(text: &str) -> Result<Name, NameError> {
        if text == "@" {
            return Err(NameError::NotWire);
        }
        Name::parse_bytes(text.as_bytes(), &Name::root())
    }

    /// As [`Name::parse`], for text that need not be UTF-8.
    pub fn parse_bytes(text: &[u8], origin: &Name) -> Result<Name, NameError> {
        match text {
            b"" => return Err(NameError::Empty),
            b"@" => return Ok(origin.clone()),
            b"." => return Ok(Name::root()),
            _ => {}
        }
        // To the octet, but for escapes: names are read by the million.
        let tail = if text.ends_with(b".") { 0 } else { origin.0.len() };
        let mut wire = Vec::with_capacity(text.len() + 1 + tail);
        let mut label_start = 0;
        wire.push(0);
        let mut at = 0;
        let mut absolute = false;
        while at < text.len() {
            match text[at] {
                b'.' => {
                    close_label(&mut wire, label_start)?;
                    at += 1;
                    if at == text.len() {
                        absolute = true;
                    } else {
                        label_start = wire.len();
                        wire.push(0);
                    }
                }
                b'\\' => {
                    let (octet, used) = unescape(&text[at..]).ok_or(NameError::BadEscape)?;
                    wire.push(octet);
                    at += used;
                }
                octet => {
                    wire.push(octet);
                    at += 1;
                }
            }
            if wire.len() > MAX_NAME_OCTETS + 1 {
                return Err(NameError::NameTooLong);
            }
        }
        if absolute {
            wire.push(0);
        } else {
            close_label(&mut wire, label_start)?;
            wire.extend_from_slice(&origin.0);
        }
        if wire.len() > MAX_NAME_OCTETS {
            return Err(NameError::NameTooLong);
        }
        Ok(Name(wire.into()))
    }

    /// Takes uncompressed wire octets, which must be one whole name and nothing more.
    pub fn from_wire(wire: &[u8]) -> Result<Name, NameError> {
        match wire_len(wire) {
            Some(len) if len == wire.len() => Ok(Name(wire.into())),
            _ => Err(NameError::NotWire),
        }
    }

    /// The wire octets, with the root label.
    pub fn as_wire(&self) -> &[u8] {
        &self.0
    }

    pub fn is_root(&self) -> bool {
        self.0.len() == 1
    }

    pub fn is_wildcard(&self) -> bool {
        self.0.starts_with(&[1, b'*'])
    }

    /// The labels from the leftmost to the one before the root.
    pub fn labels(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = &self.0[..];
        std::iter::from_fn(move || {
            let len = usize::from(rest[0]);
            if len == 0 {
                return None;
            }
            let label = &rest[1..=len];
            rest = &rest[1 + len..];
            Some(label)
        })
    }

    pub fn label_count(&self) -> usize {
        self.labels().count()
    }

    /// The name without its leftmost label; `None` for the root.
    pub fn parent(&self) -> Option<Name> {
        let len = usize::from(self.0[0]);
        (len != 0).then(|| Name(self.0[1 + len..].into()))
    }

    /// Tells whether `self` is `ancestor` or below it, ignoring case.
    pub fn is_at_or_below(&self, ancestor: &Name) -> bool {
        let Some(cut) = self.0.len().checked_sub(ancestor.0.len()) else { return false };
        self.0[cut..].eq_ignore_ascii_case(&ancestor.0) && self.label_boundary(cut)
    }

    /// A name with `label` in front. Fails where label or name become too long.
    pub fn prepend(&self, label: &[u8]) -> Result<Name, NameError> {
        if label.is_empty() {
            return Err(NameError::EmptyLabel);
        }
        if label.len() > MAX_LABEL_OCTETS {
            return Err(NameError::LabelTooLong);
        }
        if self.0.len() + label.len() + 1 > MAX_NAME_OCTETS {
            return Err(NameError::NameTooLong);
        }
        let mut wire = Vec::with_capacity(self.0.len() + label.len() + 1);
        wire.push(label.len() as u8);
        wire.extend_from_slice(label);
        wire.extend_from_slice(&self.0);
        Ok(Name(wire.into()))
    }

    /// The same name with ASCII letters in lower case: the canonical form of RFC 4034
    /// section 6.2, and the key of every table of names here.
    pub fn to_lowercase(&self) -> Name {
        Name(self.0.to_ascii_lowercase().into())
    }

    /// The text relative to `origin` (`@` for the origin itself), or absolute outside it.
    pub fn relative_to(&self, origin: &Name) -> String {
        if self == origin {
            return "@".into();
        }
        let text = self.to_string();
        if origin.is_root() || !self.is_at_or_below(origin) {
            return text;
        }
        let tail = origin.to_string();
        text[..text.len() - tail.len() - 1].to_string()
    }

    fn label_boundary(&self, cut: usize) -> bool {
        let mut at = 0;
        while at < cut {
            at += 1 + usize::from(self.0[at]);
        }
        at == cut
    }
}

/// The length of the uncompressed name `wire` starts with, root label included.
///
/// `None` where it runs past the end, past 255 octets, or holds a pointer.
pub fn wire_len(wire: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        let len = usize::from(*wire.get(at)?);
        if len > MAX_LABEL_OCTETS {
            return None;
        }
        at += 1 + len;
        if at > MAX_NAME_OCTETS {
            return None;
        }
        if len == 0 {
            return Some(at);
        }
    }
}

/// Reads one escape, `\DDD` or `\X` (RFC 1035 section 5.1): the octet and how long the
/// escape was. `None` where it is cut short or above 255.
pub fn unescape(text: &[u8]) -> Option<(u8, usize)> {
    let first = *text.get(1)?;
    if !first.is_ascii_digit() {
        return Some((first, 2));
    }
    let digits = text.get(1..4)?;
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let value = digits.iter().fold(0u16, |sum, d| sum * 10 + u16::from(d - b'0'));
    Some((u8::try_from(value).ok()?, 4))
}

fn close_label(wire: &mut [u8], start: usize) -> Result<(), NameError> {
    let len = wire.len() - start - 1;
    match len {
        0 => Err(NameError::EmptyLabel),
        1..=MAX_LABEL_OCTETS => {
            wire[start] = len as u8;
            Ok(())
        }
        _ => Err(NameError::LabelTooLong),
    }
}

impl PartialEq for Name {
    fn eq(&self, other: &Name) -> bool {
        // Length octets are below 64, so they never look like letters.
        self.0.eq_ignore_ascii_case(&other.0)
    }
}

impl Eq for Name {}

impl Hash for Name {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let mut lower = [0; MAX_NAME_OCTETS];
        let lower = &mut lower[..self.0.len()];
        lower.copy_from_slice(&self.0);
        lower.make_ascii_lowercase();
        lower.hash(state);
    }
}

impl PartialOrd for Name {
    fn partial_cmp(&self, other: &Name) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Canonical order: by label from the right, ignoring case (RFC 4034 section 6.1).
impl Ord for Name {
    fn cmp(&self, other: &Name) -> Ordering {
        canonical_order(&self.0, &other.0)
    }
}

/// The canonical order of two names, or of the labels of two names before the same origin, each with its length.
pub fn canonical_order(a: &[u8], b: &[u8]) -> Ordering {
    let (mine, theirs) = (LabelStarts::of(a), LabelStarts::of(b));
    for (x, y) in mine.iter().rev().zip(theirs.iter().rev()) {
        let order = lower_label(a, *x).cmp(lower_label(b, *y));
        if order != Ordering::Equal {
            return order;
        }
    }
    mine.len().cmp(&theirs.len())
}

/// The offsets where the labels of a name begin, without allocating: names are compared by the million.
struct LabelStarts {
    starts: [u8; MAX_LABELS],
    count: usize,
}

/// Labels of one octet, each with its length, before the root.
const MAX_LABELS: usize = MAX_NAME_OCTETS / 2;

impl LabelStarts {
    fn of(wire: &[u8]) -> LabelStarts {
        let mut found = LabelStarts { starts: [0; MAX_LABELS], count: 0 };
        let mut at = 0;
        while let Some(&length) = wire.get(at)
            && length != 0
            && found.count < MAX_LABELS
        {
            found.starts[found.count] = at as u8;
            found.count += 1;
            at += 1 + usize::from(length);
        }
        found
    }
}

impl std::ops::Deref for LabelStarts {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.starts[..self.count]
    }
}

fn lower_label(wire: &[u8], start: u8) -> impl Iterator<Item = u8> + '_ {
    let start = usize::from(start);
    wire[start + 1..=start + usize::from(wire[start])].iter().map(u8::to_ascii_lowercase)
}

/// Absolute presentation form, with the trailing dot and escapes of RFC 1035 section 5.1.
impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_root() {
            return f.pad(".");
        }
        let mut text = String::with_capacity(self.0.len());
        for label in self.labels() {
            for &octet in label {
                match octet {
                    b'.' | b'\\' | b'"' | b';' | b'(' | b')' | b'@' | b'$' => {
                        text.push('\\');
                        text.push(char::from(octet));
                    }
                    0x21..=0x7e => text.push(char::from(octet)),
                    _ => text.push_str(&format!("\\{octet:03}")),
                }
            }
            text.push('.');
        }
        f.pad(&text)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Name({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::parse_absolute(text).expect("a name")
    }

    #[test]
    fn rfc1035_5_1_relative_absolute_and_origin() {
        let origin = name("example.com");
        assert_eq!(Name::parse("www", &origin), Ok(name("www.example.com.")));
        assert_eq!(Name::parse("www.", &origin), Ok(name("www.")));
        assert_eq!(Name::parse("@", &origin), Ok(origin.clone()));
        assert_eq!(Name::parse(".", &origin), Ok(Name::root()));
        assert_eq!(name("www.example.com").relative_to(&origin), "www");
        assert_eq!(origin.relative_to(&origin), "@");
    }

    #[test]
    fn rfc1035_5_1_escapes_round_trip() {
        let tricky = name(r#"a\.b\065\\\000\"x.example"#);
        assert_eq!(tricky.labels().next(), Some(&b"a.bA\\\0\"x"[..]));
        assert_eq!(name(&tricky.to_string()), tricky);
        for text in [r"a\", r"a\2", r"a\256", r"a\25x"] {
            assert_eq!(Name::parse_absolute(text), Err(NameError::BadEscape), "{text}");
        }
    }

    #[test]
    fn rfc1035_2_3_4_limits() {
        assert!(Name::parse_absolute(&"a".repeat(63)).is_ok());
        assert_eq!(Name::parse_absolute(&"a".repeat(64)), Err(NameError::LabelTooLong));
        let long = format!("{}.", "a".repeat(49)).repeat(5);
        assert!(Name::parse_absolute(&format!("{long}abc")).is_ok()); // 5*50 + 4 + 1 = 255
        assert_eq!(Name::parse_absolute(&format!("{long}abcd")), Err(NameError::NameTooLong));
        for text in ["a..b", ".a", ""] {
            assert!(Name::parse_absolute(text).is_err(), "{text}");
        }
    }

    #[test]
    fn rfc4343_case_is_kept_and_ignored() {
        let mixed = name("WwW.ExAmple");
        assert_eq!(mixed, name("www.example"));
        assert_eq!(mixed.to_string(), "WwW.ExAmple.");
        assert!(mixed.is_at_or_below(&name("EXAMPLE")));
        assert!(!name("notexample").is_at_or_below(&name("example")));
    }

    #[test]
    fn rfc4034_6_1_canonical_order() {
        let sorted =
            ["example", "a.example", "yljkjljk.a.example", "Z.a.example", "zABC.a.EXAMPLE", "z.example", "*.z.example"];
        for pair in sorted.windows(2) {
            assert!(name(pair[0]) < name(pair[1]), "{pair:?}");
        }
    }

    #[test]
    fn wire_must_be_one_whole_uncompressed_name() {
        assert!(Name::from_wire(b"\x01a\0").is_ok());
        for wire in [&b"\x01a"[..], b"\x01a\0x", b"\xc0\x0c", b"", b"\x40aaaa\0"] {
            assert_eq!(Name::from_wire(wire), Err(NameError::NotWire), "{wire:?}");
        }
    }
}
