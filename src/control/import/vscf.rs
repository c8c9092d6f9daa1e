//! gdnsd's configuration language: text comes in, a tree of values with their places goes out.
//!
//! Hashes `{ key => value }`, arrays `[ a, b ]` and strings; `#` and `;` begin comments; `$include{path}` stands for a
//! value, or merges a file into a hash. Commas may be left out, `=` is `=>`. (gdnsd.config(5), "Low-level syntax")

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::control::config::Files;

/// Nesting of values, and of included files.
const MAX_DEPTH: usize = 64;
const MAX_INCLUDED: usize = 8;
/// Octets of all files together.
const MAX_OCTETS: usize = 16 << 20;
/// Files of all.
const MAX_FILES: usize = 1_000;

/// Where something begins: lines and columns from 1, columns in octets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub file: Arc<str>,
    pub line: usize,
    pub column: usize,
}

/// A value and where it begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Value {
    pub at: Place,
    pub kind: Kind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    Text(String),
    Array(Vec<Value>),
    /// In the order of the file, no key twice.
    Hash(Vec<Entry>),
}

/// A key, where it stands, and its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub key: String,
    pub at: Place,
    pub value: Value,
}

impl Value {
    pub fn text(&self) -> Option<&str> {
        match &self.kind {
            Kind::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The entries of a hash; none of anything else.
    pub fn entries(&self) -> &[Entry] {
        match &self.kind {
            Kind::Hash(entries) => entries,
            _ => &[],
        }
    }

    pub fn get(&self, key: &str) -> Option<&Value> {
        self.entries().iter().find(|entry| entry.key == key).map(|entry| &entry.value)
    }

    /// The items of an array, or the value itself: "anywhere an array is allowed, a single value is".
    pub fn items(&self) -> &[Value] {
        match &self.kind {
            Kind::Array(items) => items,
            _ => std::slice::from_ref(self),
        }
    }

    pub fn is_true(&self) -> bool {
        self.text().is_some_and(|text| text.eq_ignore_ascii_case("true"))
    }
}

/// Reads a file and all that it includes.
///
/// # Errors
/// The first mistake, as `file:line:column: why`.
pub fn read(files: &dyn Files, path: &Path) -> Result<Value, String> {
    let mut budget = Budget { octets: MAX_OCTETS, files: MAX_FILES };
    read_file(files, path, 0, &mut budget)
}

struct Budget {
    octets: usize,
    files: usize,
}

fn read_file(files: &dyn Files, path: &Path, depth: usize, budget: &mut Budget) -> Result<Value, String> {
    let shown = path.display();
    if depth > MAX_INCLUDED {
        return Err(format!("{shown}: files include each other more than {MAX_INCLUDED} deep"));
    }
    let text = files.read(path).map_err(|error| format!("cannot read {shown}: {error}"))?;
    let left = (budget.octets.checked_sub(text.len())).zip(budget.files.checked_sub(1));
    let (octets, left) = left.ok_or_else(|| format!("{shown}: more than {MAX_OCTETS} octets or {MAX_FILES} files"))?;
    *budget = Budget { octets, files: left };
    let ends = text.bytes().enumerate().filter(|(_, octet)| *octet == b'\n').map(|(at, _)| at + 1);
    let lines = std::iter::once(0).chain(ends).collect();
    let (text, name) = (text.as_bytes(), shown.to_string().into());
    Reader { text, at: 0, path, name, files, depth, budget, lines }.document()
}

struct Reader<'a> {
    text: &'a [u8],
    at: usize,
    path: &'a Path,
    name: Arc<str>,
    files: &'a dyn Files,
    depth: usize,
    budget: &'a mut Budget,
    /// Where lines begin.
    lines: Vec<usize>,
}

impl Reader<'_> {
    /// A hash without braces, or an array with its brackets.
    fn document(&mut self) -> Result<Value, String> {
        self.skip_space();
        let at = self.place();
        if self.peek() == Some(b'[') {
            let value = self.value(0)?;
            self.skip_space();
            return if self.peek().is_none() { Ok(value) } else { self.wrong("expected the end of the file") };
        }
        Ok(Value { at, kind: Kind::Hash(self.hash(None, 0)?) })
    }

    fn value(&mut self, depth: usize) -> Result<Value, String> {
        if depth > MAX_DEPTH {
            return self.wrong(&format!("nested more than {MAX_DEPTH} deep"));
        }
        let at = self.place();
        let kind = match self.peek() {
            Some(b'{') => {
                self.at += 1;
                Kind::Hash(self.hash(Some(b'}'), depth + 1)?)
            }
            Some(b'[') => {
                self.at += 1;
                Kind::Array(self.array(depth + 1)?)
            }
            Some(b'$') => {
                let mut paths = self.include()?;
                return match (paths.pop(), paths.is_empty()) {
                    (Some(path), true) => read_file(self.files, &path, self.depth + 1, self.budget),
                    _ => self.wrong("one file must be included as a value"),
                };
            }
            _ => Kind::Text(self.string()?),
        };
        Ok(Value { at, kind })
    }

    fn array(&mut self, depth: usize) -> Result<Vec<Value>, String> {
        let mut items = Vec::new();
        loop {
            self.skip_space();
            match self.peek() {
                Some(b']') => {
                    self.at += 1;
                    return Ok(items);
                }
                None => return self.wrong("an array has no end: expected `]`"),
                _ => items.push(self.value(depth)?),
            }
            self.skip_comma();
        }
    }

    /// Until `end`, or the end of the file.
    fn hash(&mut self, end: Option<u8>, depth: usize) -> Result<Vec<Entry>, String> {
        let (mut entries, mut keys) = (Vec::new(), HashSet::new());
        loop {
            self.skip_space();
            let at = self.place();
            match self.peek() {
                found if found == end => {
                    self.at += usize::from(end.is_some());
                    return Ok(entries);
                }
                None => return self.wrong("a hash has no end: expected `}`"),
                Some(b'$') => {
                    for path in self.include()? {
                        let merged = read_file(self.files, &path, self.depth + 1, self.budget)?;
                        let Kind::Hash(merged) = merged.kind else { return self.wrong("an included file is no hash") };
                        for entry in merged {
                            self.add(entry, &mut entries, &mut keys)?;
                        }
                    }
                }
                _ => {
                    let key = self.string()?;
                    self.skip_space();
                    if self.peek() != Some(b'=') {
                        return self.wrong("expected `=>` after a key");
                    }
                    self.at += 1;
                    self.at += usize::from(self.peek() == Some(b'>'));
                    self.skip_space();
                    let value = self.value(depth)?;
                    self.add(Entry { key, at, value }, &mut entries, &mut keys)?;
                }
            }
            self.skip_comma();
        }
    }

    fn add(&self, entry: Entry, entries: &mut Vec<Entry>, keys: &mut HashSet<String>) -> Result<(), String> {
        if !keys.insert(entry.key.clone()) {
            return Err(told(&entry.at, &format!("the key {:?} is there twice", entry.key)));
        }
        entries.push(entry);
        Ok(())
    }

    /// The files that an `$include{…}` names.
    fn include(&mut self) -> Result<Vec<PathBuf>, String> {
        const WORD: &[u8] = b"$include{";
        if !self.text[self.at..].starts_with(WORD) {
            return self.wrong("expected `$include{`");
        }
        self.at += WORD.len();
        self.skip_space();
        let named = self.string()?;
        self.skip_space();
        if self.peek() != Some(b'}') {
            return self.wrong("expected `}` after the path");
        }
        self.at += 1;
        let path = self.path.parent().unwrap_or(Path::new("")).join(&named);
        if named.contains(['?', '[']) || path.parent().is_some_and(|folder| folder.to_string_lossy().contains('*')) {
            return self.wrong("of patterns, only `*` in the file's name is understood");
        }
        let pattern = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if pattern.contains('*') {
            let found = self.listed(path.parent().unwrap_or(Path::new("")), &pattern)?;
            return if found.is_empty() { self.wrong("no file is called so") } else { Ok(found) };
        }
        // A directory stands for all its files.
        match self.files.list(&path) {
            Ok(_) => self.listed(&path, "*"),
            Err(_) => Ok(vec![path]),
        }
    }

    /// The files of a directory whose names fit, in order; hidden ones never do.
    fn listed(&self, folder: &Path, pattern: &str) -> Result<Vec<PathBuf>, String> {
        let fits = |path: &PathBuf| {
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            !name.starts_with('.') && matches(pattern, &name)
        };
        match self.files.list(folder) {
            Ok(mut paths) => {
                paths.retain(fits);
                paths.sort();
                Ok(paths)
            }
            Err(error) => self.wrong(&format!("cannot list {}: {error}", folder.display())),
        }
    }

    /// Quoted or not. What it holds beyond UTF-8 is replaced.
    fn string(&mut self) -> Result<String, String> {
        let quoted = self.peek() == Some(b'"');
        self.at += usize::from(quoted);
        let (begin, mut octets) = (self.at, Vec::new());
        loop {
            match self.peek() {
                Some(b'"') if quoted => {
                    self.at += 1;
                    break;
                }
                None if quoted => return self.wrong("a string has no end: expected `\"`"),
                Some(b'\\') => octets.push(self.escaped()?),
                Some(octet) if quoted || is_plain(octet) => {
                    octets.push(octet);
                    self.at += 1;
                }
                _ if self.at > begin => break,
                _ => return self.wrong("expected a string, `{` or `[`"),
            }
        }
        Ok(String::from_utf8_lossy(&octets).into_owned())
    }

    /// Behind a backslash: three digits of an octet, or the octet itself.
    fn escaped(&mut self) -> Result<u8, String> {
        let rest = &self.text[self.at + 1..];
        match rest.first() {
            Some(digit) if digit.is_ascii_digit() => {
                let digits = rest.get(..3).and_then(|digits| std::str::from_utf8(digits).ok());
                let Some(octet) = digits.and_then(|digits| digits.parse::<u8>().ok()) else {
                    return self.wrong("expected three digits up to 255 after `\\`");
                };
                self.at += 4;
                Ok(octet)
            }
            Some(octet) => {
                self.at += 2;
                Ok(*octet)
            }
            None => self.wrong("nothing after `\\`"),
        }
    }

    fn skip_space(&mut self) {
        while let Some(octet) = self.peek() {
            match octet {
                b'#' | b';' => {
                    while self.peek().is_some_and(|octet| octet != b'\n') {
                        self.at += 1;
                    }
                }
                octet if octet.is_ascii_whitespace() => self.at += 1,
                _ => return,
            }
        }
    }

    fn skip_comma(&mut self) {
        self.skip_space();
        self.at += usize::from(self.peek() == Some(b','));
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn place(&self) -> Place {
        let line = self.lines.partition_point(|begin| *begin <= self.at);
        let begin = line.checked_sub(1).and_then(|line| self.lines.get(line)).copied().unwrap_or_default();
        Place { file: self.name.clone(), line, column: self.at - begin + 1 }
    }

    fn wrong<T>(&self, why: &str) -> Result<T, String> {
        Err(told(&self.place(), why))
    }
}

/// Tells whether a name fits a pattern in which `*` stands for any text.
fn matches(pattern: &str, name: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else { return pattern == name };
    let Some(mut name) = name.strip_prefix(first) else { return false };
    let mut parts: Vec<&str> = rest.split('*').collect();
    let last = parts.pop().unwrap_or_default();
    for part in parts {
        match name.find(part) {
            Some(at) => name = &name[at + part.len()..],
            None => return false,
        }
    }
    name.ends_with(last)
}

fn told(at: &Place, why: &str) -> String {
    format!("{}:{}:{}: {why}", at.file, at.line, at.column)
}

fn is_plain(octet: u8) -> bool {
    !octet.is_ascii_whitespace() && !b"][}{;#,\"=\\".contains(&octet)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::io;

    use proptest::prelude::*;

    use super::*;

    #[derive(Default)]
    struct Memory(BTreeMap<PathBuf, String>);

    impl Files for Memory {
        fn read(&self, path: &Path) -> io::Result<String> {
            self.0.get(path).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
        }

        fn list(&self, folder: &Path) -> io::Result<Vec<PathBuf>> {
            let inside: Vec<_> = self.0.keys().filter(|path| path.parent() == Some(folder)).cloned().collect();
            if inside.is_empty() { Err(io::ErrorKind::NotFound.into()) } else { Ok(inside) }
        }
    }

    fn files(files: &[(&str, &str)]) -> Memory {
        Memory(files.iter().map(|(path, text)| (PathBuf::from(path), (*text).to_owned())).collect())
    }

    fn read_text(text: &str) -> Result<Value, String> {
        read(&files(&[("config", text)]), Path::new("config"))
    }

    /// As JSON, without the places.
    fn plain(value: &Value) -> serde_json::Value {
        match &value.kind {
            Kind::Text(text) => text.as_str().into(),
            Kind::Array(items) => items.iter().map(plain).collect(),
            Kind::Hash(entries) => entries.iter().map(|entry| (entry.key.clone(), plain(&entry.value))).collect(),
        }
    }

    #[test]
    fn one_meaning_in_every_spelling() {
        let wanted = serde_json::json!({ "options": { "listen": ["192.0.2.1", "192.0.2.2"], "a b": "x\"y" } });
        for text in [
            "options = { listen = [ 192.0.2.1, 192.0.2.2 ], \"a b\" = \"x\\\"y\" }",
            "\"options\" => {\n # one\n listen => [ 192.0.2.1 192.0.2.2 ] ; two\n a\\ b => x\\034y }",
            "options={listen=[192.0.2.1 192.0.2.2]a\\032b=x\\\"y}",
        ] {
            assert_eq!(plain(&read_text(text).expect(text)), wanted, "{text}");
        }
    }

    #[test]
    fn files_are_included_as_values_and_merged() {
        let disk = files(&[
            ("etc/config", "plugins => { $include{p.d} $include{q.d/m*a} a => $include{ \"one\" } }"),
            ("etc/p.d/x", "b => { c => d }"),
            ("etc/p.d/.hidden", "{"),
            ("etc/q.d/meta", "c => e"),
            ("etc/q.d/multi", "c => f"),
            ("etc/one", "[ 1, 2 ]"),
        ]);
        let read = read(&disk, Path::new("etc/config")).expect("read");
        assert_eq!(plain(&read), serde_json::json!({ "plugins": { "b": { "c": "d" }, "c": "e", "a": ["1", "2"] } }));
        assert_eq!(read.get("plugins").and_then(|p| p.get("b")).map(|b| &*b.at.file), Some("etc/p.d/x"));
    }

    #[test]
    fn mistakes_are_told_with_file_line_and_column() {
        for (text, told) in [
            ("a => {\n  b => [ 1, 2", "config:2:14: an array has no end"),
            ("a => { b => 1", "config:1:14: a hash has no end"),
            ("a => 1\na => 2", "config:2:1: the key \"a\" is there twice"),
            ("a 1", "config:1:3: expected `=>`"),
            ("a => \"x", "config:1:8: a string has no end"),
            ("a => \\999", "config:1:6: expected three digits"),
            ("a => }", "config:1:6: expected a string"),
            ("a => $include{gone}", "cannot read gone"),
            ("$include{config}", "more than 8 deep"),
        ] {
            let error = read_text(text).expect_err(text);
            assert!(error.contains(told), "{text}: {error}");
        }
        let deep = format!("a => {}", "[".repeat(100_000));
        assert!(read_text(&deep).expect_err("too deep").contains("nested more than 64 deep"));
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "([a-z0-9{}\\[\\]=>,;#\"\\\\$ \n]|\\$include\\{x\\}|é){0,200}") {
            let disk = files(&[("config", &text), ("x", "y => z")]);
            let _ = read(&disk, Path::new("config"));
        }
    }
}
