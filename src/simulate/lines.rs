//! Lines from a stream, and the words in them: bounded, and without a copy per line.

use std::io::{self, Read};

/// Longer lines than this are refused.
pub const MAX_LINE_BYTES: usize = 64 * 1024;

/// A stream's lines, one at a time.
pub struct Lines<R> {
    input: R,
    buffer: Box<[u8]>,
    /// The octets that were read and not yet handed out.
    unread: std::ops::Range<usize>,
    ended: bool,
    number: u64,
}

/// The reason why there is no next line.
#[derive(Debug, thiserror::Error)]
pub enum LineError {
    #[error("longer than {MAX_LINE_BYTES} octets")]
    TooLong,
    #[error("cannot be read: {0}")]
    Read(#[from] io::Error),
}

impl<R: Read> Lines<R> {
    pub fn new(input: R) -> Lines<R> {
        Lines { input, buffer: vec![0; MAX_LINE_BYTES].into(), unread: 0..0, ended: false, number: 0 }
    }

    /// The next line, without its end (`\n` or `\r\n`); `None` at the end of the stream. Waits for
    /// no more than one line.
    pub fn next_line(&mut self) -> Result<Option<&[u8]>, LineError> {
        let mut searched = 0;
        let (line, next) = loop {
            let unread = self.buffer.get(self.unread.clone()).unwrap_or_default();
            let newline = unread.iter().skip(searched).position(|&byte| byte == b'\n').map(|at| at + searched);
            searched = unread.len();
            match newline {
                Some(at) => break (at, at + 1),
                None if self.ended && searched == 0 => return Ok(None),
                None if self.ended => break (searched, searched),
                None => self.read_more()?,
            }
        };
        let start = self.unread.start;
        self.unread.start += next;
        self.number += 1;
        let line = self.buffer.get(start..start + line).unwrap_or_default();
        Ok(Some(line.strip_suffix(b"\r").unwrap_or(line)))
    }

    /// The number of the line handed out last, from 1; 0: none.
    pub fn number(&self) -> u64 {
        self.number
    }

    fn read_more(&mut self) -> Result<(), LineError> {
        if self.unread.end == self.buffer.len() {
            if self.unread.start == 0 {
                self.number += 1;
                return Err(LineError::TooLong);
            }
            self.buffer.copy_within(self.unread.clone(), 0);
            self.unread = 0..self.unread.len();
        }
        let room = self.buffer.get_mut(self.unread.end..).unwrap_or_default();
        match self.input.read(room) {
            Ok(0) => self.ended = true,
            Ok(read) => self.unread.end += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }
}

/// The words of one line, divided by spaces or tabs, from the left. What a word should have been
/// is told in the error.
pub struct Words<'a>(pub &'a [u8]);

impl<'a> Words<'a> {
    /// Empty where there is none any more.
    pub fn word(&mut self) -> &'a [u8] {
        let rest = self.0.trim_ascii_start();
        let end = rest.iter().position(|byte| matches!(byte, b' ' | b'\t')).unwrap_or(rest.len());
        let (word, rest) = rest.split_at(end);
        self.0 = rest;
        word
    }

    /// The rest of the line as one text.
    pub fn rest(&mut self) -> String {
        String::from_utf8_lossy(std::mem::take(&mut self.0).trim_ascii()).into_owned()
    }

    pub fn text(&mut self, what: &str) -> Result<String, String> {
        match self.word() {
            b"" => Err(expected(what, b"")),
            word => Ok(String::from_utf8_lossy(word).into_owned()),
        }
    }

    /// A number from 0, in decimal digits.
    pub fn index(&mut self, what: &str) -> Result<usize, String> {
        let word = self.word();
        let digit = |number: usize, byte: &u8| match byte {
            b'0'..=b'9' => Some(number * 10 + usize::from(byte - b'0')),
            _ => None,
        };
        // Nine digits always fit.
        let number = if (1..=9).contains(&word.len()) { word.iter().try_fold(0, digit) } else { None };
        number.ok_or_else(|| expected(what, word))
    }

    /// Up to 16 hexadecimal digits.
    pub fn hex(&mut self, what: &str) -> Result<u64, String> {
        let word = self.word();
        let digit = |number: u64, byte: &u8| Some(number << 4 | u64::from(char::from(*byte).to_digit(16)?));
        let number = if (1..=16).contains(&word.len()) { word.iter().try_fold(0, digit) } else { None };
        number.ok_or_else(|| expected(what, word))
    }

    /// `0` or `1`.
    pub fn flag(&mut self, what: &str) -> Result<bool, String> {
        match self.word() {
            b"0" => Ok(false),
            b"1" => Ok(true),
            word => Err(expected(what, word)),
        }
    }

    /// Any number, `nan` and `inf` among them.
    pub fn number(&mut self, what: &str) -> Result<f64, String> {
        let word = self.word();
        let parsed = std::str::from_utf8(word).ok().and_then(|text| text.parse().ok());
        parsed.ok_or_else(|| expected(what, word))
    }

    /// A number within these bounds.
    pub fn number_in(&mut self, what: &str, bounds: std::ops::RangeInclusive<f64>) -> Result<f64, String> {
        let before = self.0;
        let number = self.number(what)?;
        let fits = bounds.contains(&number);
        if fits { Ok(number) } else { Err(expected(what, Words(before).word())) }
    }

    /// Nothing but spaces is left.
    pub fn end(&mut self) -> Result<(), String> {
        match self.word() {
            b"" => Ok(()),
            word => Err(format!("`{}` is one word too many", shown(word))),
        }
    }
}

fn expected(what: &str, word: &[u8]) -> String {
    match word {
        b"" => format!("{what} is missing"),
        word => format!("expected {what}, found `{}`", shown(word)),
    }
}

/// A word as it may be shown: cut, and without control characters.
pub fn shown(word: &[u8]) -> String {
    let text = String::from_utf8_lossy(word.get(..word.len().min(40)).unwrap_or_default());
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Hands out one octet at a time.
    struct Slow<'a>(&'a [u8]);

    impl Read for Slow<'_> {
        fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
            let len = room.len().min(1);
            self.0.read(&mut room[..len])
        }
    }

    fn lines(mut lines: Lines<impl Read>) -> Vec<String> {
        let mut all = Vec::new();
        while let Some(line) = lines.next_line().expect("a line") {
            all.push(String::from_utf8(line.to_vec()).expect("text"));
        }
        assert_eq!(lines.number(), all.len() as u64);
        all
    }

    #[test]
    fn lines_come_whole_however_they_are_read() {
        let text = b"one\r\ntwo\n\nfour";
        assert_eq!(lines(Lines::new(&text[..])), ["one", "two", "", "four"]);
        assert_eq!(lines(Lines::new(Slow(text))), ["one", "two", "", "four"]);
        assert_eq!(lines(Lines::new(&b""[..])), [""; 0]);
        let long = "x".repeat(50_000);
        let text = format!("{long}\n{long}\n{long}");
        assert_eq!(lines(Lines::new(text.as_bytes())), [&*long; 3]);
    }

    #[test]
    fn a_line_without_end_is_refused() {
        let endless = vec![b'x'; MAX_LINE_BYTES + 1];
        let mut lines = Lines::new(&endless[..]);
        assert!(matches!(lines.next_line(), Err(LineError::TooLong)));
        assert_eq!(lines.number(), 1);
    }

    #[test]
    fn words_are_what_they_should_be_or_say_so() {
        let mut words = Words(b" Q  17 00ff 1 -2.5 nan\tx y ");
        assert_eq!(words.word(), b"Q");
        assert_eq!(words.index("a"), Ok(17));
        assert_eq!(words.hex("b"), Ok(255));
        assert_eq!(words.flag("c"), Ok(true));
        assert_eq!(words.number("d"), Ok(-2.5));
        assert!(words.number("e").is_ok_and(f64::is_nan));
        assert_eq!(words.rest(), "x y");
        assert_eq!(words.text("a name"), Err("a name is missing".into()));
        assert_eq!(Words(b"12x").index("j"), Err("expected j, found `12x`".into()));
        assert_eq!(Words(b"9999999999").index("j"), Err("expected j, found `9999999999`".into()));
        assert!(Words(b"00112233445566778").hex("key").is_err() && Words(b"+1").hex("key").is_err());
        assert_eq!(Words(b"91").number_in("lat", -90.0..=90.0), Err("expected lat, found `91`".into()));
        assert!(Words(b"nan").number_in("lat", -90.0..=90.0).is_err());
        assert_eq!(Words(b" x").end(), Err("`x` is one word too many".into()));
    }
}
