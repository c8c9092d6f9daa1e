//! `$GENERATE range owner [TTL] [class] type rdata` (BIND 9 reference manual, "Master File Extension").
//!
//! For each value of the range the template becomes a line of a master file. In it `$` is the
//! value and `${offset,width,base}` the value plus offset, padded with zeros to width, in base
//! `d` (decimal), `o`, `x`, `X`, or `n`, `N`: nibbles from the least on, with dots between. `$$`
//! and `\$` are a plain dollar sign. RDATA of several fields may stand in one pair of quotes.

use std::ops::Range;

use super::fields::{Fields, number};
use super::lexer::Token;
use super::mistake::{Mistake, shown};
use super::text::MAX_GENERATED;

/// The widest padding: no name is longer.
const MAX_WIDTH: usize = 255;

/// One directive.
#[derive(Debug)]
pub(super) struct Template {
    first: u32,
    last: u32,
    step: u32,
    pieces: Vec<Piece>,
    /// From the owner to the end: where mistakes in what is generated are shown.
    pub range: Range<usize>,
}

#[derive(Debug, PartialEq)]
enum Piece {
    Text(String),
    Value { offset: i64, width: usize, base: u8 },
}

impl Template {
    pub fn read(fields: &mut Fields<'_, '_>) -> Result<Template, Mistake> {
        let (first, last, step) = read_range(fields.expect("range", "a range such as `1-254`")?)?;
        let owner = fields.expect("owner", "an owner such as `host-$`")?;
        let mut pieces = Vec::new();
        read_pieces(owner, &mut pieces)?;
        let mut range = owner.range.clone();
        let (mut before, mut type_seen, mut rdata_next) = (None::<&Token<'_>>, false, false);
        while let Some(token) = fields.take() {
            // `alpn=` and `"h2"` must touch again.
            let space = if before.is_some_and(|before| before.range.end == token.range.start) { "" } else { " " };
            // A single quoted text after the type holds all RDATA fields.
            let whole_rdata = token.quoted && rdata_next && fields.peek().is_none();
            let quote = if token.quoted && !whole_rdata { "\"" } else { "" };
            pieces.push(Piece::Text(format!("{space}{quote}")));
            read_pieces(token, &mut pieces)?;
            pieces.push(Piece::Text(quote.into()));
            range.end = token.range.end;
            rdata_next = !type_seen && is_type(token);
            type_seen |= rdata_next;
            before = Some(token);
        }
        Ok(Template { first, last, step, pieces, range })
    }

    /// The number of values.
    pub fn count(&self) -> u64 {
        u64::from((self.last - self.first) / self.step) + 1
    }

    pub fn values(&self) -> impl Iterator<Item = u32> + use<> {
        (self.first..=self.last).step_by(self.step as usize)
    }

    /// The line for one value.
    pub fn line(&self, value: u32) -> Result<String, Mistake> {
        let mut line = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => line.push_str(text),
                Piece::Value { offset, width, base } => {
                    let shifted = u32::try_from(i64::from(value) + offset).map_err(|_| {
                        let label = format!("{value} with the offset {offset} is below 0 or above {}", u32::MAX);
                        Mistake::new(self.range.clone(), "an offset leads out of range", label)
                    })?;
                    line.push_str(&written(shifted, *width, *base));
                }
            }
        }
        Ok(line)
    }
}

fn is_type(token: &Token<'_>) -> bool {
    !token.quoted && token.text.parse::<crate::model::RecordType>().is_ok()
}

/// `start-stop` or `start-stop/step`.
fn read_range(token: &Token<'_>) -> Result<(u32, u32, u32), Mistake> {
    let refuse = |label: String| {
        Mistake::new(token.range.clone(), format!("{} is not a range to generate", shown(token.text)), label)
    };
    let parse = || {
        let (range, step) = token.text.split_once('/').unwrap_or((token.text, "1"));
        let (first, last) = range.split_once('-')?;
        let number = |text| number(text, i32::MAX as u32);
        Some((number(first)?, number(last)?, number(step)?))
    };
    let (first, last, step) = parse().ok_or_else(|| refuse("expected start-stop or start-stop/step".into()))?;
    if first > last || step == 0 {
        return Err(refuse("expected a start not above the stop, and a step above 0".into()));
    }
    let count = u64::from((last - first) / step) + 1;
    if count > MAX_GENERATED {
        return Err(refuse(format!("{count} records, at most {MAX_GENERATED} are generated")));
    }
    Ok((first, last, step))
}

fn read_pieces(token: &Token<'_>, pieces: &mut Vec<Piece>) -> Result<(), Mistake> {
    let text = token.text;
    let inside = token.range.start + usize::from(token.quoted);
    let mut plain = String::new();
    let mut at = 0;
    while let Some(next) = text[at..].chars().next() {
        let rest = &text[at + next.len_utf8()..];
        at += next.len_utf8();
        match next {
            '\\' => {
                plain.push('\\');
                if let Some(escaped) = rest.chars().next() {
                    plain.push(escaped);
                    at += escaped.len_utf8();
                }
            }
            '$' if rest.starts_with('$') => {
                plain.push_str("\\$");
                at += 1;
            }
            '$' => {
                let modifier = rest.strip_prefix('{').map(|rest| rest.split_once('}').map_or(rest, |(inner, _)| inner));
                let taken = modifier.map_or(0, |modifier| (modifier.len() + 2).min(rest.len()));
                let range = inside + at - 1..inside + at + taken;
                let closed = modifier.is_none() || rest[..taken].ends_with('}');
                let piece = modifier.map_or(Some(Piece::Value { offset: 0, width: 0, base: b'd' }), read_modifier);
                let piece = piece.filter(|_| closed).ok_or_else(|| {
                    let label =
                        "expected `${offset}`, `${offset,width}` or `${offset,width,base}`, base one of d o x X n N";
                    Mistake::new(range, "a bad `$GENERATE` modifier", label)
                })?;
                pieces.push(Piece::Text(std::mem::take(&mut plain)));
                pieces.push(piece);
                at += taken;
            }
            other => plain.push(other),
        }
    }
    pieces.push(Piece::Text(plain));
    Ok(())
}

/// Reads what stands between the braces.
fn read_modifier(text: &str) -> Option<Piece> {
    let mut parts = text.split(',');
    let offset: i32 = parts.next()?.parse().ok()?;
    let width = parts.next().map_or(Some(0), |width| number(width, MAX_WIDTH as u32))?;
    let base = match parts.next().unwrap_or("d").as_bytes() {
        [base @ (b'd' | b'o' | b'x' | b'X' | b'n' | b'N')] => *base,
        _ => return None,
    };
    parts.next().is_none().then_some(Piece::Value { offset: offset.into(), width: width as usize, base })
}

fn written(value: u32, width: usize, base: u8) -> String {
    match base {
        b'o' => format!("{value:0width$o}"),
        b'x' => format!("{value:0width$x}"),
        b'X' => format!("{value:0width$X}"),
        b'n' | b'N' => nibbles(value, width, base == b'N'),
        _ => format!("{value:0width$}"),
    }
}

/// Hexadecimal digits from the least significant on, dots between; `width` counts the dots too.
fn nibbles(mut value: u32, width: usize, upper: bool) -> String {
    let mut text = String::new();
    loop {
        let digit = char::from_digit(value & 15, 16).unwrap_or('0');
        text.push(if upper { digit.to_ascii_uppercase() } else { digit });
        value >>= 4;
        if value == 0 && text.len() >= width {
            return text;
        }
        text.push('.');
        if value == 0 && text.len() >= width {
            return text;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::zonefile::fields::Origin;
    use crate::model::Name;

    fn lines(text: &str) -> Result<Vec<String>, String> {
        let entry = super::super::lexer::Lexer::new(text).next().expect("an entry").expect("sound");
        let (origin, mut warnings) = (Origin::new(Name::root()), Vec::new());
        let mut fields = Fields::new(&entry.tokens, 0, &origin, &mut warnings);
        let told = |mistake: Mistake| format!("{}: {} ({})", mistake.range.start, mistake.message, mistake.label);
        let template = Template::read(&mut fields).map_err(told)?;
        template.values().map(|value| template.line(value).map_err(told)).collect()
    }

    #[test]
    fn bind_generate_values() {
        for (template, expected) in [
            ("1-3 h$ A 10.0.0.$", &["h1 A 10.0.0.1", "h2 A 10.0.0.2", "h3 A 10.0.0.3"][..]),
            ("0-4/2 $ A 10.0.0.${-0}", &["0 A 10.0.0.0", "2 A 10.0.0.2", "4 A 10.0.0.4"]),
            ("9-10 ${1,3,d} A 1.2.3.$", &["010 A 1.2.3.9", "011 A 1.2.3.10"]),
            ("26-26 ${0,3,x}${0,0,X}${0,0,o} A a", &["01a1A32 A a"]),
            ("26-26 ${0,0,n}-${0,7,N}-${0,4,n} A a", &["a.1-A.1.0.0-a.1. A a"]),
            (r"1-1 a$$\$$ A a", &[r"a\$\$1 A a"]),
            (r#"1-1 $ MX "10 mail$""#, &["1 MX 10 mail1"]),
            (r#"1-1 $ TXT "a $" b"#, &[r#"1 TXT "a 1" b"#]),
            (r#"1-1 $ 60 IN HTTPS 1 . alpn="h2""#, &[r#"1 60 IN HTTPS 1 . alpn="h2""#]),
        ] {
            assert_eq!(
                lines(template).as_deref(),
                Ok(&expected.iter().map(ToString::to_string).collect::<Vec<_>>()[..])
            );
        }
    }

    #[test]
    fn bad_ranges_and_modifiers_are_refused() {
        for (template, expected) in [
            ("1 a A b", "0: `1` is not a range"),
            ("2-1 a A b", "0: `2-1` is not a range"),
            ("1-2/0 a A b", "0: `1-2/0` is not a range"),
            ("-1-2 a A b", "0: `-1-2` is not a range"),
            ("0-2147483648 a A b", "0: `0-2147483648` is not a range"),
            ("0-65536 a A b", "0: `0-65536` is not a range to generate (65537 records, at most 65536"),
            ("1-2 a${x} A b", "5: a bad `$GENERATE` modifier"),
            ("1-2 a${1,2,q} A b", "5: a bad `$GENERATE` modifier"),
            ("1-2 a${1,256} A b", "5: a bad `$GENERATE` modifier"),
            ("1-2 a${1 A b", "5: a bad `$GENERATE` modifier"),
            ("1-2 a${-2} A b", "4: an offset leads out of range (1 with"),
            ("1-2", "0: the owner is missing"),
        ] {
            let found = lines(template).expect_err("refused");
            assert!(found.starts_with(expected) || found.contains(&expected[3..]), "{template}: {found}");
        }
    }
}
