//! Text from outside as it may be shown: on terminals, in log lines, on pages, in replies.
//!
//! Two things are done to it. Passwords and tokens in URLs are left out, since error messages quote what is wrong and
//! travel further than the files they quote. And control characters become escapes, since a feed must not be able to
//! clear an operator's screen, forge a line of the log or turn text around.

use std::borrow::Cow;
use std::ops::Range;

/// Stands where a secret was.
const HIDDEN: &str = "***";

/// Keys whose values are secrets, where a part of the key, in lower case, is one of these.
const SECRET_PARTS: [&str; 8] = ["token", "secret", "passw", "apikey", "api_key", "api-key", "credential", "signature"];
/// And where all of it is.
const SECRET_WORDS: [&str; 7] = ["key", "sig", "pwd", "pass", "auth", "access_key", "session"];

/// What stands before an `@` without being a user's name and password.
const ADDRESSES: [&str; 5] = ["mailto:", "sip:", "sips:", "xmpp:", "acct:"];

/// [`without_secrets`] and [`printable`].
pub fn shown(text: &str) -> Cow<'_, str> {
    match without_secrets(text) {
        Cow::Borrowed(text) => printable(text),
        Cow::Owned(text) => Cow::Owned(printable(&text).into_owned()),
    }
}

/// One line without characters that do something instead of being seen: control characters, line ends included, and
/// those that change the direction of writing. They become escapes such as `\n` and `\u{1b}`.
pub fn printable(text: &str) -> Cow<'_, str> {
    escaped(text, |c| !is_seen(c))
}

/// [`printable`] for text of several lines: line ends and tabs stay.
pub fn printable_lines(text: &str) -> Cow<'_, str> {
    escaped(text, |c| !matches!(c, '\n' | '\t') && !is_seen(c))
}

fn escaped(text: &str, harmful: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.chars().any(&harmful) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if harmful(c) { safe.extend(c.escape_default()) } else { safe.push(c) }
    }
    Cow::Owned(safe)
}

/// Whether a character is seen as what it is. U+200C and U+200D are letters' business in several scripts, and stay.
pub fn is_seen(c: char) -> bool {
    let unseen = matches!(c,
        '\u{61c}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}');
    !unseen && !c.is_control()
}

/// The text with `***` for users and passwords in URLs, and for values of a query that look like tokens. URLs may be
/// mistaken ones: rather too much is hidden than too little.
pub fn without_secrets(text: &str) -> Cow<'_, str> {
    let secrets = secrets(text, false);
    if secrets.is_empty() {
        return Cow::Borrowed(text);
    }
    let (mut safe, mut at) = (String::with_capacity(text.len()), 0);
    for secret in secrets {
        safe.push_str(&text[at..secret.start]);
        safe.push_str(HIDDEN);
        at = secret.end;
    }
    safe.push_str(&text[at..]);
    Cow::Owned(safe)
}

/// A file's text with an asterisk for each octet of a secret, so that places in it stay the same; also for
/// values of keys such as `token`. `None` where it holds none.
pub fn masked(text: &str) -> Option<String> {
    let secrets = secrets(text, true);
    if secrets.is_empty() {
        return None;
    }
    let (mut safe, mut at) = (String::with_capacity(text.len()), 0);
    for secret in secrets {
        safe.push_str(&text[at..secret.start]);
        safe.extend(std::iter::repeat_n('*', secret.len()));
        at = secret.end;
    }
    safe.push_str(&text[at..]);
    Some(safe)
}

/// In order, and apart from each other. `keys`: also the values of keys of a TOML file.
fn secrets(text: &str, keys: bool) -> Vec<Range<usize>> {
    let mut found: Vec<Range<usize>> = Vec::new();
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        let mut of_line = Vec::new();
        if line.contains('@') {
            users(line, &mut of_line);
        }
        if line.contains(['?', '&']) {
            query_values(line, &mut of_line);
        }
        if keys && line.contains('=') {
            of_line.extend(key_value(line));
        }
        of_line.sort_by_key(|range| range.start);
        for range in of_line.into_iter().filter(|range| !range.is_empty()) {
            let range = start + range.start..start + range.end;
            match found.last_mut() {
                Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
                _ => found.push(range),
            }
        }
        start += line.len();
    }
    found
}

fn ends_text(c: char) -> bool {
    matches!(c, '"' | '\'' | '`' | '<' | '>' | '\n' | '\r')
}

/// Where users and passwords stand, with an `@` behind them.
fn users(line: &str, found: &mut Vec<Range<usize>>) {
    let mut at = 0;
    for quoted in line.split_inclusive(ends_text) {
        let mut from = 0;
        while let Some(begin) = quoted[from..].find("://").map(|begin| from + begin + 3) {
            let end = user_end(&quoted[begin..]).map_or(begin, |end| begin + end);
            found.push(at + begin..at + end);
            from = end;
        }
        // Without `://`, as in a URL whose beginning was forgotten.
        let mut word_at = at;
        for word in quoted.split_inclusive(char::is_whitespace) {
            if let Some((before, _)) = word.rsplit_once('@')
                && before.contains(':')
                && !word.contains("://")
                && !ADDRESSES.iter().any(|address| before.contains(address))
            {
                found.push(word_at..word_at + before.len());
            }
            word_at += word.len();
        }
        at += quoted.len();
    }
}

/// How long the user and password are after `://`, up to their `@`; `None` where there are none.
///
/// An authority ends at `/`, `?` or `#` (RFC 3986 section 3.2), which a password may hold by mistake. Then what follows
/// the colon is no port, or there is an `@` further on.
fn user_end(rest: &str) -> Option<usize> {
    let word = &rest[..rest.find(char::is_whitespace).unwrap_or(rest.len())];
    let authority = &word[..word.find(['/', '?', '#']).unwrap_or(word.len())];
    if let Some(end) = authority.rfind('@') {
        return Some(end);
    }
    let (_, port) = authority.rsplit_once(':').filter(|_| !authority.starts_with('['))?;
    let whole =
        if port.bytes().all(|b| b.is_ascii_digit()) { &word[..word.find('?').unwrap_or(word.len())] } else { rest };
    whole.rfind('@')
}

/// `?token=…`, `&key=…`: the values.
fn query_values(line: &str, found: &mut Vec<Range<usize>>) {
    for (begin, _) in line.match_indices(['?', '&']) {
        let rest = &line[begin + 1..];
        let end =
            rest.find(|c: char| ends_text(c) || c.is_whitespace() || matches!(c, '&' | '#')).unwrap_or(rest.len());
        if let Some((key, value)) = rest[..end].split_once('=')
            && is_secret(key)
        {
            let value_at = begin + 1 + key.len() + 1;
            found.push(value_at..value_at + value.len());
        }
    }
}

/// `token = "…"`, in a TOML file: what is between the quotes.
fn key_value(line: &str) -> Option<Range<usize>> {
    let (key, value) = line.split_once('=')?;
    let name = key.trim().rsplit('.').next().unwrap_or_default().trim_matches(['"', '\'', ' ']);
    let quote = value.trim_start().chars().next().filter(|c| matches!(c, '"' | '\''))?;
    if !is_secret(name) || name.to_ascii_lowercase().ends_with("file") {
        return None;
    }
    let begin = key.len() + 1 + value.find(quote)? + 1;
    let end = line.rfind(quote).filter(|&end| end > begin).unwrap_or(line.trim_end().len());
    Some(begin..end.max(begin))
}

fn is_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    SECRET_WORDS.contains(&key.as_str()) || SECRET_PARTS.iter().any(|part| key.contains(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_and_passwords_are_left_out_also_of_mistaken_urls() {
        for (text, safe) in [
            (
                "found the string \"http://admin:hunter2@10.0.0.1:84o4/\", expected",
                "found the string \"http://***@10.0.0.1:84o4/\", expected",
            ),
            ("http://u:p@ss@host/x", "http://***@host/x"),
            ("http://u:pa/ss@host/x", "http://***@host/x"),
            ("http://u:pa ss@host/x", "http://***@host/x"),
            ("http://u:12/34@host/x", "http://***@host/x"),
            ("`u:pw@host` is no URL", "`***@host` is no URL"),
            ("http:/u:pw@host", "***@host"),
            ("http://token@host", "http://***@host"),
            ("two: http://a:b@c and https://d:e@f", "two: http://***@c and https://***@f"),
            ("https://host/x?user=1&api_key=abc&x=y#z", "https://host/x?user=1&api_key=***&x=y#z"),
            ("https://host/x?Token=abc", "https://host/x?Token=***"),
        ] {
            assert_eq!(without_secrets(text), safe);
        }
    }

    #[test]
    fn what_is_no_secret_stays() {
        for text in [
            "seoul@gslb.example.com: down",
            "http://10.0.0.1:8404/stats;csv",
            "http://host/@user and seoul@gslb.example",
            "http://[2001:db8::1]:80/a@b",
            "zones/a.toml:2:1: unknown key",
            "@ SOA ns1 hostmaster 1 1h 10m 1w 60",
            "rua=mailto:dmarc@example.com",
            "https://host/x?page=2&sort=up",
        ] {
            assert_eq!(without_secrets(text), text);
        }
    }

    #[test]
    fn files_are_masked_octet_by_octet() {
        let text = "url = \"http://ü:p@h:x/\"\nadmin.token = \"s3cret\"\ntoken_file = \"a\"\npassword = 'x";
        let safe = masked(text).expect("secrets");
        assert_eq!(safe, "url = \"http://****@h:x/\"\nadmin.token = \"******\"\ntoken_file = \"a\"\npassword = '*");
        assert_eq!(safe.len(), text.len());
        assert_eq!(masked("ttl = \"5m\"\n"), None);
    }

    #[test]
    fn nothing_can_be_done_to_a_terminal() {
        assert_eq!(printable("a\u{1b}[2Jb\nc\u{9b}d\u{202e}e"), "a\\u{1b}[2Jb\\nc\\u{9b}d\\u{202e}e");
        assert_eq!(printable_lines("a\n\u{7f}b\r"), "a\n\\u{7f}b\\r");
        for text in ["são paulo, 서울, 100 %", "\u{645}\u{6cc}\u{200c}\u{62e}"] {
            assert!(matches!(printable(text), Cow::Borrowed(_)), "{text}");
        }
        assert_eq!(shown("\u{7}http://u:p@h"), "\\u{7}http://***@h");
    }
}
