//! Cuts master-file text into entries, and entries into tokens (RFC 1035 section 5.1).
//!
//! An entry is a line, or several held together by parentheses; comments, blanks and the
//! parentheses themselves are gone. Escapes are left in the tokens: `\.` means another thing in a
//! name than in a string. One pass; an unclosed parenthesis costs at most
//! [`MAX_ENTRY_BYTES`] more.

use std::ops::Range;

use super::mistake::Mistake;

/// The longest entry. RDATA of 65,535 octets, all written as `\DDD`, takes a quarter of it.
const MAX_ENTRY_BYTES: usize = 1 << 20;

/// One entry: at least one token.
#[derive(Debug)]
pub(super) struct Entry<'t> {
    pub tokens: Vec<Token<'t>>,
    /// Its line begins with a blank: the owner is that of the entry before.
    pub starts_blank: bool,
}

/// A word or a quoted string.
#[derive(Clone, Debug)]
pub(super) struct Token<'t> {
    /// Without the quotes, escapes as written.
    pub text: &'t str,
    /// With the quotes.
    pub range: Range<usize>,
    pub quoted: bool,
}

impl Entry<'_> {
    pub fn range(&self) -> Range<usize> {
        match (self.tokens.first(), self.tokens.last()) {
            (Some(first), Some(last)) => first.range.start..last.range.end,
            _ => 0..0,
        }
    }
}

/// Yields entries; after a mistake it goes on with the entry that follows.
pub(super) struct Lexer<'t> {
    text: &'t str,
    at: usize,
    /// A parenthesis was not closed up to the end of the text, or for too long.
    ends_open: bool,
}

impl<'t> Lexer<'t> {
    pub fn new(text: &'t str) -> Lexer<'t> {
        let byte_order_mark = if text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
        Lexer { text, at: byte_order_mark, ends_open: false }
    }

    /// Tells whether a parenthesis was met that nothing closes.
    pub fn ends_open(&self) -> bool {
        self.ends_open
    }

    fn byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn skip_line(&mut self) {
        let rest = &self.text.as_bytes()[self.at..];
        self.at += rest.iter().position(|&b| b == b'\n').unwrap_or(rest.len());
    }

    /// The entry that starts on this line; `Ok(None)` where the line holds none.
    fn entry(&mut self) -> Result<Option<Entry<'t>>, Mistake> {
        let start = self.at;
        let mut entry = Entry { tokens: Vec::new(), starts_blank: matches!(self.byte(), Some(b' ' | b'\t')) };
        let mut open: Vec<usize> = Vec::new();
        let mut mistake = None;
        while let Some(byte) = self.byte() {
            // Only a comment in parentheses counts: any other ends its entry.
            if self.at - start > MAX_ENTRY_BYTES && byte != b'\n' {
                return Err(self.too_long(start, &open));
            }
            match byte {
                b'\n' => {
                    self.at += 1;
                    if open.is_empty() {
                        break;
                    }
                }
                b' ' | b'\t' | b'\r' => self.at += 1,
                b';' => self.skip_line(),
                b'(' => {
                    open.push(self.at);
                    self.at += 1;
                }
                b')' => {
                    if open.pop().is_none() {
                        let found = Mistake::new(self.at..self.at + 1, "`)` without its `(`", "closes nothing");
                        mistake.get_or_insert(found);
                    }
                    self.at += 1;
                }
                b'"' => match self.quoted() {
                    Ok(token) => entry.tokens.push(token),
                    Err(found) => _ = mistake.get_or_insert(found),
                },
                _ => entry.tokens.push(self.word()),
            }
        }
        if let Some(&parenthesis) = open.first() {
            return Err(self.unclosed(parenthesis));
        }
        match mistake {
            Some(mistake) => Err(mistake),
            None => Ok((!entry.tokens.is_empty()).then_some(entry)),
        }
    }

    fn word(&mut self) -> Token<'t> {
        let start = self.at;
        while let Some(byte) = self.byte() {
            match byte {
                b' ' | b'\t' | b'\r' | b'\n' | b';' | b'(' | b')' | b'"' => break,
                b'\\' => self.skip_escape(),
                _ => self.at += 1,
            }
        }
        Token { text: &self.text[start..self.at], range: start..self.at, quoted: false }
    }

    /// A quoted string; it ends on its line.
    fn quoted(&mut self) -> Result<Token<'t>, Mistake> {
        let start = self.at;
        self.at += 1;
        while let Some(byte) = self.byte() {
            match byte {
                b'"' => {
                    self.at += 1;
                    let text = &self.text[start + 1..self.at - 1];
                    return Ok(Token { text, range: start..self.at, quoted: true });
                }
                b'\n' => break,
                b'\\' => self.skip_escape(),
                _ => self.at += 1,
            }
        }
        Err(Mistake::new(start..start + 1, "a quoted string is not closed", "no closing `\"` on this line"))
    }

    /// Past the backslash and what it escapes; a line's end cannot be escaped.
    fn skip_escape(&mut self) {
        self.at += 1;
        if !matches!(self.byte(), None | Some(b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    /// The lines after the one with the parenthesis are read on their own: most are sound.
    fn unclosed(&mut self, parenthesis: usize) -> Mistake {
        self.at = parenthesis;
        self.ends_open = true;
        self.skip_line();
        Mistake::new(parenthesis..parenthesis + 1, "`(` without its `)`", "never closed")
    }

    fn too_long(&mut self, start: usize, open: &[usize]) -> Mistake {
        if let Some(&parenthesis) = open.first() {
            return self.unclosed(parenthesis);
        }
        self.at = start;
        self.skip_line();
        Mistake::new(start..start, "an entry is longer than 1 MiB", "starts here")
    }
}

impl<'t> Iterator for Lexer<'t> {
    type Item = Result<Entry<'t>, Mistake>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.at < self.text.len() {
            if let Some(item) = self.entry().transpose() {
                return Some(item);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<Vec<String>> {
        Lexer::new(text)
            .map(|entry| match entry {
                Ok(entry) => entry.tokens.iter().map(|token| token.text.to_string()).collect(),
                Err(mistake) => vec![format!("! {} @{}", mistake.message, mistake.range.start)],
            })
            .collect()
    }

    #[test]
    fn rfc1035_5_1_lines_comments_and_parentheses() {
        assert_eq!(words("a b ; c\n\n ; only\nd"), [vec!["a", "b"], vec!["d"]]);
        assert_eq!(words("a (b ; x )\r\n c\n) d\r\ne"), [vec!["a", "b", "c", "d"], vec!["e"]]);
        assert_eq!(words("a ((b)\n(c)) d"), [vec!["a", "b", "c", "d"]]);
        assert_eq!(words("a(b)c"), [vec!["a", "b", "c"]]);
        assert!(words("").is_empty() && words("\n \t\r\n;").is_empty());
    }

    #[test]
    fn rfc1035_5_1_quotes_and_escapes_hide_what_is_special() {
        assert_eq!(words(r#"a "b;(\" c" d\;\ e"f""#), [vec!["a", r#"b;(\" c"#, r"d\;\ e", "f"]]);
        assert_eq!(words("a \"\"\nb"), [vec!["a", ""], vec!["b"]]);
        assert_eq!(words("a\\\nb\\"), [vec!["a\\"], vec!["b\\"]]);
        assert_eq!(words("a\\é é"), [vec!["a\\é", "é"]]);
    }

    #[test]
    fn a_blank_start_is_seen() {
        let blanks: Vec<_> = Lexer::new("a\n b\n\tc\n(\n d )").map(|e| e.expect("sound").starts_blank).collect();
        assert_eq!(blanks, [false, true, true, false]);
    }

    #[test]
    fn reading_goes_on_after_a_mistake() {
        assert_eq!(words("a \"b\nc"), [vec!["! a quoted string is not closed @2"], vec!["c"]]);
        assert_eq!(words("a )\nc"), [vec!["! `)` without its `(` @2"], vec!["c"]]);
        assert_eq!(words("a (b\nc\n"), [vec!["! `(` without its `)` @2"], vec!["c"]]);
        assert_eq!(words("a ( \"b\n c )\nd"), [vec!["! a quoted string is not closed @4"], vec!["d"]]);
    }

    #[test]
    fn an_endless_entry_is_cut() {
        let long = "x ".repeat(MAX_ENTRY_BYTES);
        assert_eq!(words(&format!("{long}\nb")), [vec!["! an entry is longer than 1 MiB @0"], vec!["b"]]);
        let open = format!("a (\n{}", "b c\n".repeat(MAX_ENTRY_BYTES));
        assert_eq!(words(&open)[..2], [vec!["! `(` without its `)` @2"], vec!["b", "c"]]);
    }
}
