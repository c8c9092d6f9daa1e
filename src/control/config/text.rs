//! The place in a file where a piece of a TOML string stands.
//!
//! A string's decoded text and its raw token come in; out come byte ranges of the file for byte
//! ranges of the text, so that a mistake in zone records is marked where the operator wrote it,
//! whatever quotes, escapes and trimmed newlines lie between.

use std::ops::Range;

/// Maps offsets in a decoded string to offsets in its file.
#[derive(Debug)]
pub struct StringPlaces {
    /// In order of `decoded`; the first at 0 unless the string is empty.
    runs: Vec<Run>,
    /// The token in the file, quotes included.
    token: Range<usize>,
    /// The offset where the end of the text stands.
    end: usize,
}

/// A stretch of text that stands verbatim in the file, or one escape.
#[derive(Debug)]
struct Run {
    /// Offset in the text.
    decoded: usize,
    /// The offset where that stands in the file.
    raw: usize,
    /// The escape's length in the file; `None`: verbatim.
    escape: Option<usize>,
}

impl StringPlaces {
    /// `token` is where the string stands in `file`, quotes included; `text` is what it decodes to.
    pub fn new(file: &str, token: Range<usize>, text: &str) -> StringPlaces {
        let raw = file.get(token.clone()).unwrap_or("");
        StringPlaces::walk(raw, &token, text).unwrap_or(StringPlaces { runs: Vec::new(), end: token.start, token })
    }

    /// The range where a range of the text stands. The whole token, where text and token do not match.
    pub fn locate(&self, range: Range<usize>) -> Range<usize> {
        if self.runs.is_empty() && self.end == self.token.start {
            return self.token.clone();
        }
        let start = self.start_of(range.start);
        let end = if range.is_empty() { start } else { self.end_of(range.end) };
        start..end.max(start)
    }

    fn start_of(&self, offset: usize) -> usize {
        match self.run_at(offset) {
            Some(Run { raw, escape: Some(_), .. }) => *raw,
            Some(run) => (run.raw + (offset - run.decoded)).min(self.end),
            None => self.end,
        }
    }

    /// The place after the byte before `offset`.
    fn end_of(&self, offset: usize) -> usize {
        match self.run_at(offset.saturating_sub(1)) {
            Some(Run { raw, escape: Some(len), .. }) => raw + len,
            Some(run) => (run.raw + (offset - run.decoded)).min(self.end),
            None => self.end,
        }
    }

    fn run_at(&self, offset: usize) -> Option<&Run> {
        self.runs[..self.runs.partition_point(|run| run.decoded <= offset)].last()
    }

    /// Reads token and text side by side; `None` where they do not match.
    fn walk(raw: &str, token: &Range<usize>, text: &str) -> Option<StringPlaces> {
        let (body, body_at, escapes) = body(raw)?;
        // Text that is the very memory of the file stands for itself.
        let is_verbatim = std::ptr::eq(body, text) || body == text && !(escapes && body.contains('\\'));
        if is_verbatim && !text.is_empty() {
            // The usual case, and then nothing has to be looked at octet by octet.
            let begin = token.start + body_at;
            let whole = Run { decoded: 0, raw: begin, escape: None };
            return Some(StringPlaces { runs: vec![whole], token: token.clone(), end: begin + body.len() });
        }
        let mut runs = Vec::new();
        let (mut at, mut decoded) = (0, 0);
        let mut verbatim = false;
        while at < body.len() {
            let rest = &body[at..];
            let length = if escapes { escape_len(rest) } else { None };
            let place = token.start + body_at + at;
            match length {
                Some(Escape::Trimmed(len)) => {
                    at += len;
                    verbatim = false;
                }
                Some(Escape::Char(len)) => {
                    runs.push(Run { decoded, raw: place, escape: Some(len) });
                    at += len;
                    decoded += text.get(decoded..)?.chars().next()?.len_utf8();
                    verbatim = false;
                }
                None => {
                    let next = rest.chars().next()?;
                    if text.get(decoded..)?.chars().next()? != next {
                        return None;
                    }
                    if !verbatim {
                        runs.push(Run { decoded, raw: place, escape: None });
                        verbatim = true;
                    }
                    at += next.len_utf8();
                    decoded += next.len_utf8();
                }
            }
        }
        let end = token.start + body_at + body.len();
        (decoded == text.len()).then_some(StringPlaces { runs, token: token.clone(), end })
    }
}

enum Escape {
    /// Stands for one character; its length in the file.
    Char(usize),
    /// A backslash at the end of a line, with the white space after it: stands for nothing.
    Trimmed(usize),
}

/// The escape `rest` begins with, if it does.
fn escape_len(rest: &str) -> Option<Escape> {
    let after = rest.strip_prefix('\\')?;
    let digits = match after.as_bytes().first()? {
        b'x' => 2,
        b'u' => 4,
        b'U' => 8,
        b' ' | b'\t' | b'\r' | b'\n' => {
            return Some(Escape::Trimmed(rest.len() - after.trim_start_matches([' ', '\t', '\r', '\n']).len()));
        }
        _ => 0,
    };
    after.get(..=digits).map(|_| Escape::Char(2 + digits))
}

/// The text between the quotes, how far into the token, and whether backslashes are escapes.
/// A newline right after three quotes is not part of the string.
fn body(raw: &str) -> Option<(&str, usize, bool)> {
    for (quotes, escapes) in [("\"\"\"", true), ("'''", false), ("\"", true), ("'", false)] {
        let Some(inner) = raw.strip_prefix(quotes).and_then(|rest| rest.strip_suffix(quotes)) else { continue };
        let mut skipped = 0;
        if quotes.len() == 3 {
            skipped = if inner.starts_with("\r\n") { 2 } else { usize::from(inner.starts_with('\n')) };
        }
        return Some((&inner[skipped..], quotes.len() + skipped, escapes));
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use toml::de::{DeTable, DeValue};

    use super::*;

    /// The string under `records`, its token's place, and where each of `parts` of it stands.
    fn located(file: &str, part: &str) -> Range<usize> {
        let (document, errors) = DeTable::parse_recoverable(file);
        assert_eq!(errors, []);
        let value = &document.get_ref()["records"];
        let DeValue::String(text) = value.get_ref() else { panic!("a string") };
        let at = text.find(part).expect("part of the text");
        StringPlaces::new(file, value.span(), text).locate(at..at + part.len())
    }

    #[test]
    fn text_in_any_quotes_is_found_where_it_stands() {
        for file in [
            "records = '''\n@ A x\n@ NS ns1\n'''",
            "records = \"\"\"\n@ A x\n@ NS ns1\n\"\"\"",
            "records = \"\"\"@ A x\n@ NS ns1\"\"\"",
            "a = 1\r\nrecords = \"\"\"\r\n@ A x\r\n@ NS ns1\r\n\"\"\"\r\n",
            "records = '@ A é @ NS ns1'",
            "records = \"@ A é\\n@ NS ns1\"",
            "records = \"\"\"\n@ A \\\"é\\\\\\u00e9\\U000000e9\\t\\\n    \n  @ NS ns1\"\"\"",
            "records = \"\"\"\\\n   @ NS ns1\\\n\n\"\"\"",
        ] {
            let range = located(file, "@ NS ns1");
            assert_eq!(&file[range], "@ NS ns1", "{file}");
        }
    }

    #[test]
    fn an_escape_is_marked_whole() {
        let file = "records = \"a\\u00e9\\tb\"";
        assert_eq!(&file[located(file, "é")], "\\u00e9");
        assert_eq!(&file[located(file, "é\t")], "\\u00e9\\t");
        assert_eq!(&file[located(file, "aé")], "a\\u00e9");
        assert_eq!(&file[located(file, "\tb")], "\\tb");
    }

    #[test]
    fn the_end_and_what_lies_beyond_are_at_the_closing_quotes() {
        let places = StringPlaces::new("r = 'abc'", 4..9, "abc");
        assert_eq!(places.locate(3..3), 8..8);
        assert_eq!(places.locate(1..99), 6..8);
        assert_eq!(StringPlaces::new("r = ''", 4..6, "").locate(0..0), 5..5);
    }

    #[test]
    fn what_does_not_match_is_the_whole_token() {
        for (file, token, text) in [("r = 'abc'", 4..9, "abd"), ("r = 'abc'", 4..99, "abc"), ("r = abc", 4..7, "abc")] {
            assert_eq!(StringPlaces::new(file, token.clone(), text).locate(1..2), token);
        }
    }

    proptest! {
        /// Every character that stands for itself is found as itself.
        #[test]
        fn any_basic_string(pieces in proptest::collection::vec(
            prop_oneof!["[a-zé@ \n]{1,5}", Just("\\n".to_owned()), Just("\\u00e9".to_owned()), Just("\\\n \n ".to_owned()), Just("\\\"".to_owned())],
            0..20,
        )) {
            let file = format!("records = \"\"\"{}\"\"\"", pieces.concat());
            let (document, errors) = DeTable::parse_recoverable(&file);
            prop_assert!(errors.is_empty());
            let value = &document.get_ref()["records"];
            let text = value.get_ref().as_str().expect("string");
            let places = StringPlaces::new(&file, value.span(), text);
            for (at, char) in text.char_indices() {
                let range = places.locate(at..at + char.len_utf8());
                prop_assert!(file[range.clone()] == *char.to_string() || file[range.clone()].starts_with('\\'), "{char:?} {range:?}");
            }
        }
    }
}
