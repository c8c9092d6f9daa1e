//! The records of a zone, set aside while the rest of its TOML is parsed: they may be nearly all of a file.
//!
//! ```text
//!   origin = "a.test"                        origin = "a.test"
//!   records = """                            records = """"""   ─ parser ─▶ the records put back,
//!   @ SOA …            ─ text set aside ─▶   [region.r0]                    places as they are in the file
//!   """
//!   [region.r0]
//! ```
//!
//! Only where the parser would make the same of all of it: the text stands between three quotes, without an escape, a
//! carriage return or an octet that no text may hold, and the parser finds the root's `records` in that very place.
//! Where it finds anything else there, or any mistake, the file is parsed as it is.

use std::borrow::Cow;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// The key whose text may be long.
const KEY: &str = "records";
/// Shorter texts are parsed with the rest.
const LONG: usize = 1 << 14;
/// The quotes on each side, in octets.
const QUOTES: usize = 3;

/// A text that is taken out of a file.
#[derive(Clone, Copy, Debug)]
pub(super) struct SetAside<'f> {
    /// The value of the string.
    text: &'f str,
    pub gap: Gap,
}

/// The octets of a file that are not in what is parsed of it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Gap {
    /// Behind the quotes in front.
    begin: usize,
    octets: usize,
}

impl<'f> SetAside<'f> {
    /// The records in this file, where they are long.
    pub fn of(file: &'f str) -> Option<SetAside<'f>> {
        SetAside::of_length(LONG, file)
    }

    fn of_length(least: usize, file: &'f str) -> Option<SetAside<'f>> {
        if file.len() < least {
            return None;
        }
        let (begin, quotes) = beginning(file)?;
        let behind = file.get(begin..)?;
        let octets = match quotes {
            Quotes::Double => length::<b'"', b'\\'>(behind.as_bytes())?,
            Quotes::Single => length::<b'\'', b'\''>(behind.as_bytes())?,
        };
        let text = behind.get(..octets).filter(|text| text.len() >= least)?;
        // A newline right behind the quotes is not part of the string.
        Some(SetAside { text: text.strip_prefix('\n').unwrap_or(text), gap: Gap { begin, octets } })
    }

    /// The file without the text.
    pub fn rest(&self, file: &str) -> String {
        let Gap { begin, octets } = self.gap;
        [file.get(..begin), file.get(begin + octets..)].into_iter().flatten().collect()
    }

    /// The document of a file, from the rest of it. `None` where all of the file must be parsed.
    pub fn parse<'d>(&self, rest: &'d str) -> Option<Spanned<DeTable<'d>>>
    where
        'f: 'd,
    {
        let mut document = DeTable::parse(rest).ok()?;
        let value = document.get_mut().get_mut(KEY)?;
        let is_there = value.span() == (self.gap.begin - QUOTES..self.gap.begin + QUOTES);
        if !is_there || value.get_ref().as_str() != Some("") {
            return None;
        }
        *value.get_mut() = DeValue::String(Cow::Borrowed(self.text));
        Some(document)
    }
}

impl Gap {
    /// The range of the file that a range of what was parsed is.
    pub fn in_file(self, range: Range<usize>) -> Range<usize> {
        let place = |at: usize| if at > self.begin { at + self.octets } else { at };
        place(range.start)..place(range.end)
    }
}

enum Quotes {
    /// Where a backslash begins an escape.
    Double,
    Single,
}

/// The place behind the quotes that the key's text begins with.
fn beginning(file: &str) -> Option<(usize, Quotes)> {
    let mut end = 0;
    file.split_inclusive('\n').find_map(|line| {
        end += line.len();
        let rest = line.strip_prefix(KEY)?.trim_start_matches([' ', '\t']).strip_prefix('=')?;
        let rest = rest.trim_start_matches([' ', '\t']);
        let (behind, quotes) = match (rest.strip_prefix("\"\"\""), rest.strip_prefix("'''")) {
            (Some(behind), _) => (behind, Quotes::Double),
            (_, Some(behind)) => (behind, Quotes::Single),
            _ => return None,
        };
        Some((end - behind.len(), quotes))
    })
}

/// The octets before three quotes. `None` where there are none, or more; where the text has an octet that stands for
/// something else, or for nothing.
fn length<const QUOTE: u8, const ESCAPE: u8>(octets: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        let rest = octets.get(at..)?;
        let plain = plain(rest, |octet| {
            octet == QUOTE || octet == ESCAPE || octet == 0x7f || octet < b' ' && octet != b'\n' && octet != b'\t'
        });
        let quotes = rest.get(plain..)?.iter().take_while(|&&octet| octet == QUOTE).count();
        match quotes {
            1 | 2 => at += plain + quotes,
            QUOTES => return Some(at + plain),
            _ => return None,
        }
    }
}

/// The number of octets before the first odd one.
fn plain(octets: &[u8], is_odd: impl Fn(u8) -> bool) -> usize {
    const BLOCK: usize = 64;
    let (blocks, _) = octets.as_chunks::<BLOCK>();
    // All of a block are looked at, so that many are at once.
    let has_odd = |block: &&[u8; BLOCK]| block.iter().fold(false, |odd, &octet| odd | is_odd(octet));
    let before = blocks.iter().take_while(|block| !has_odd(block)).count() * BLOCK;
    let rest = octets.get(before..).unwrap_or_default();
    before + rest.iter().take_while(|&&octet| !is_odd(octet)).count()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Keys with their places and values, of a document and of the tables in it.
    fn told(value: &DeValue<'_>, gap: Gap, into: &mut Vec<String>) {
        let at = |range| gap.in_file(range);
        match value {
            DeValue::Table(table) => table.iter().for_each(|(key, value)| {
                into.push(format!("{}@{:?}={:?}", key.get_ref(), at(key.span()), at(value.span())));
                told(value.get_ref(), gap, into);
            }),
            DeValue::Array(items) => items.iter().for_each(|item| {
                into.push(format!("{:?}", at(item.span())));
                told(item.get_ref(), gap, into);
            }),
            DeValue::String(text) => into.push(text.to_string()),
            other => into.push(format!("{other:?}")),
        }
    }

    /// The document as all of the file says, and as parts of it do, where they may.
    fn both(file: &str) -> (Option<Vec<String>>, Option<Vec<String>>) {
        let all = |document: Spanned<DeTable<'_>>, gap| {
            let mut all = Vec::new();
            told(&DeValue::Table(document.into_inner()), gap, &mut all);
            all
        };
        let whole = DeTable::parse(file).ok().map(|document| all(document, Gap::default()));
        let parts = SetAside::of_length(1, file).and_then(|aside| {
            let rest = aside.rest(file);
            aside.parse(&rest).map(|document| all(document, aside.gap))
        });
        (whole, parts)
    }

    const LONG_ENOUGH: &str =
        "@ SOA ns1 h 1 1h 10m 1w 60 ; é\n\t@ TXT 'a' \"b\" \"\"\nwww A 192.0.2.1\nwww AAAA 2001:db8::1\n";

    #[test]
    fn a_text_between_three_quotes_is_set_aside() {
        let single = LONG_ENOUGH.replace('\'', "");
        for file in [
            format!("origin = \"a\"\nrecords = \"\"\"\n{LONG_ENOUGH}\"\"\"\n[region.a]\nb = 'c'\n"),
            format!("records\t=\"\"\"{LONG_ENOUGH}\"\"\" # all\nttl = 5"),
            format!("records = '''\n\\\\ {single}'''\n\n[service.\"a.b\"]\nregions = ['x']"),
            format!("records = \"\"\"\"quoted\"{LONG_ENOUGH}\"\"\""),
        ] {
            let (whole, parts) = both(&file);
            assert!(parts.is_some(), "{file}");
            assert_eq!(whole, parts, "{file}");
        }
    }

    #[test]
    fn what_may_mean_something_else_is_parsed_as_it_is() {
        let records = format!("records = \"\"\"\n{LONG_ENOUGH}\"\"\"\n");
        for file in [
            records.replace('é', "\\u00e9"),
            records.replace('é', "\u{1}"),
            records.replace('é', "\u{7f}"),
            records.replace('\n', "\r\n"),
            records.replace("1\n\"\"\"", "1\"\"\"\""),
            records.trim_end_matches("\"\"\"\n").to_owned(),
            format!("[zone]\n{records}"),
            format!("records = ''\n[zone]\n{records}"),
            format!("a = '''\n{records}'''\n"),
            format!("a = '''\n{records}'''\nrecords = \"\"\"\n@ NS ns1\n\"\"\"\n"),
            format!("{records}{records}"),
            format!("{records}ttl = \n"),
            format!("records = \"{}\"", "a ".repeat(40)),
            "ttl = 60\n".to_owned(),
        ] {
            assert_eq!(both(&file).1, None, "{file}");
        }
    }

    proptest! {
        /// Whatever stands where: where the text is set aside, the document is that of the whole file.
        #[test]
        fn the_document_is_that_of_the_whole_file(pieces in proptest::collection::vec(
            prop_oneof![
                Just("records = "), Just("\nrecords = \"\"\""), Just("\nrecords='''"), Just("\"\"\""), Just("'''"), Just("\""),
                Just("'"), Just("\n"), Just("\r\n"), Just("\\"), Just("é"), Just("\u{7f}"), Just("[a]\n"), Just("ttl = 5\n"),
                Just("# "), Just(LONG_ENOUGH), Just("{ b = 1 }"), Just("[1, 2]"), Just("\na.records = "),
            ],
            0..12,
        )) {
            let file = pieces.concat();
            let (whole, parts) = both(&file);
            if parts.is_some() {
                prop_assert_eq!(whole, parts);
            }
        }
    }
}
