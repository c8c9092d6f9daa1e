//! Typed reading of TOML, where every mistake is reported and none stops the reading.
//!
//! A [`SourceFile`] comes in; [`read_document`] hands its root [`Table`] to a closure, which asks
//! for keys and turns [`Value`]s into types. A value that is wrong is reported with its span and
//! read as `None`. What a table holds that nobody asked for is reported as an unknown key.
//!
//! ```text
//!    text ─▶ toml's recovering parser ─▶ Table::get ─▶ Value::integer, duration, choice, …
//!               │ syntax errors              │ unknown, missing keys   │ wrong types and values
//!               └────────────────────────────┴─────▶ FileMistakes ◀────┘
//! ```
//!
//! What the keys mean is left to the modules beside this one.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::fmt::Display;
use std::ops::{Range, RangeInclusive};
use std::sync::Arc;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::duration;
use super::set_aside::{Gap, SetAside};
use crate::control::diagnostic::{Diagnostic, SourceFile, Span, nearest};
use crate::model::Ttl;

/// Mistakes reported per file, and as many warnings; the rest are counted. A file of garbage has millions
/// of mistakes, and a right one of 10,000 services may deserve as many warnings.
const MAX_REPORTED: usize = 1_000;
/// Mistakes kept per file, of which the first are reported. They are not found in the order of
/// the file, so some more are kept than reported.
const MAX_KEPT: usize = 10_000;
/// Files above this size are told only their first syntax error.
const MAX_RECOVERED_BYTES: usize = 1024 * 1024;

/// Reads a whole file: `read` gets its root table. Returns what it made, and all mistakes, in
/// the order of the file.
pub fn read_document<T>(
    file: &Arc<SourceFile>,
    what: &str,
    read: impl FnOnce(&Table<'_>) -> T,
) -> (T, Vec<Diagnostic>) {
    let aside = SetAside::of(&file.text);
    let rest = aside.map(|aside| aside.rest(&file.text)).unwrap_or_default();
    let (document, mut errors, gap) = match aside.and_then(|aside| Some((aside.parse(&rest)?, aside.gap))) {
        Some((document, gap)) => (document, Vec::new(), gap),
        None => {
            let (document, errors) = parse(&file.text);
            (document, errors, Gap::default())
        }
    };
    let headers = if errors.is_empty() { Headers::of("") } else { Headers::of(&file.text) };
    drop_inside_duplicates(&file.text, &headers, &mut errors);
    let syntax: Vec<_> = errors.iter().take(MAX_KEPT).map(|error| syntax_error(file, &headers, error)).collect();
    let untold = Untold { errors: Cell::new(errors.len() - syntax.len()), ..Untold::default() };
    drop(errors);
    let broken = syntax.iter().filter_map(|error| Some(error.span.as_ref()?.range.clone())).collect();
    let report = FileMistakes { file: file.clone(), gap, broken, found: RefCell::default(), untold };
    let root = Table::new(&report, what.to_owned(), document.get_ref(), 0..0);
    let made = read(&root);
    root.report_unknown_keys();
    (made, merge(syntax, report))
}

/// The mistakes of one file, as they are found.
pub struct FileMistakes {
    file: Arc<SourceFile>,
    /// Between the file and what was parsed of it.
    gap: Gap,
    /// The ranges where the TOML itself is broken: what seems missing may stand in such a part.
    broken: Vec<Range<usize>>,
    found: RefCell<Vec<Diagnostic>>,
    untold: Untold,
}

/// The number of warnings kept, and how many more there were of each kind than are kept.
#[derive(Default)]
struct Untold {
    errors: Cell<usize>,
    warnings: Cell<usize>,
    kept_warnings: Cell<usize>,
}

impl FileMistakes {
    pub fn push(&self, diagnostic: Diagnostic) {
        let full = if diagnostic.is_error() { self.is_full() } else { self.is_full_of_warnings() };
        if !full {
            self.found.borrow_mut().push(diagnostic);
        }
    }

    /// Tells whether another mistake would be one too many. Counts it if so.
    fn is_full(&self) -> bool {
        let errors = self.found.borrow().len() - self.untold.kept_warnings.get();
        let full = errors >= MAX_KEPT;
        self.untold.errors.set(self.untold.errors.get() + usize::from(full));
        full
    }

    /// The same for warnings, which never keep a mistake from being told.
    fn is_full_of_warnings(&self) -> bool {
        let Untold { warnings, kept_warnings, .. } = &self.untold;
        let full = kept_warnings.get() >= MAX_REPORTED;
        let count = if full { warnings } else { kept_warnings };
        count.set(count.get() + 1);
        full
    }

    /// Reports something missing, unless broken TOML may be the reason.
    pub fn push_missing(&self, diagnostic: Diagnostic) {
        if !self.is_broken() {
            self.push(diagnostic);
        }
    }

    /// Tells whether there are syntax errors.
    pub fn is_broken(&self) -> bool {
        !self.broken.is_empty()
    }

    pub fn file(&self) -> &Arc<SourceFile> {
        &self.file
    }

    /// The place in the file of what was parsed.
    pub fn span(&self, range: Range<usize>) -> Span {
        Span::new(&self.file, self.gap.in_file(range))
    }
}

/// A TOML table with a fixed set of keys.
pub struct Table<'a> {
    report: &'a FileMistakes,
    /// The name that messages call it by, such as ``region `seoul` ``.
    pub what: String,
    entries: &'a DeTable<'a>,
    /// Its header, or the whole of an inline table.
    header: Range<usize>,
    asked: RefCell<Vec<&'static str>>,
}

impl<'a> Table<'a> {
    fn new(report: &'a FileMistakes, what: String, entries: &'a DeTable<'a>, header: Range<usize>) -> Table<'a> {
        Table { report, what, entries, header, asked: RefCell::default() }
    }

    pub fn report(&self) -> &'a FileMistakes {
        self.report
    }

    /// The table's header.
    pub fn span(&self) -> Span {
        self.report.span(self.header.clone())
    }

    /// The value of a key, if it is there. Asking makes the key a known one.
    pub fn get(&self, key: &'static str) -> Option<Value<'a>> {
        let mut asked = self.asked.borrow_mut();
        if !asked.contains(&key) {
            asked.push(key);
        }
        let (key, value) = self.entries.get_key_value(key)?;
        Some(Value { report: self.report, name: key.get_ref(), value })
    }

    /// The value of a key that must be there; `example` shows how to write it.
    pub fn require(&self, key: &'static str, example: &str) -> Option<Value<'a>> {
        let value = self.get(key);
        if value.is_none() {
            let missing = Diagnostic::error(format!("`{key}` is missing in {}", self.what));
            self.report.push_missing(missing.at(self.span(), format!("expected a key like {example}")));
        }
        value
    }

    /// `read` of the key's value, or `default` where the key is missing or wrong. A wrong one is
    /// reported, and the default then never used: nothing is loaded.
    pub fn or<T>(&self, key: &'static str, default: T, read: impl FnOnce(Value<'a>) -> Option<T>) -> T {
        self.get(key).and_then(read).unwrap_or(default)
    }

    /// The one of `keys` that is there. Reports none and more than one.
    pub fn one_of(&self, keys: &[&'static str]) -> Option<Value<'a>> {
        let present: Vec<_> = keys.iter().filter_map(|key| self.get(key)).collect();
        let names = list(keys.iter().map(|key| format!("`{key}`")));
        match present.as_slice() {
            [] => {
                let missing = Diagnostic::error(format!("{names} is missing in {}", self.what));
                let missing = missing.at(self.span(), format!("expected {names}"));
                self.report.push_missing(missing);
            }
            [first, second, ..] => self.report.push(
                Diagnostic::error(format!("`{}` and `{}` cannot both stand in {}", first.name, second.name, self.what))
                    .at(second.span(), format!("expected {names}, only one"))
                    .related(first.span(), "the other one"),
            ),
            [_] => {}
        }
        present.first().copied()
    }

    fn report_unknown_keys(&self) {
        let asked = self.asked.borrow();
        for entry in entries(self.report, self.entries) {
            if asked.contains(&entry.value.name) || self.report.is_full() {
                continue;
            }
            let mut unknown = Diagnostic::error(format!("unknown key `{}` in {}", entry.value.name, self.what))
                .at(entry.span(), "not known here");
            unknown = match nearest(entry.value.name, asked.iter().copied()) {
                Some(key) => unknown.help(format!("did you mean `{key}`?")),
                None if entry.value.is_table() => unknown.help(DOTS),
                None => unknown.help(format!("known here: {}", list(asked.iter().map(|key| format!("`{key}`"))))),
            };
            self.report.push(unknown);
        }
    }
}

/// `[service.www.apps]` is the table `apps` in `www`, which is hardly ever meant.
const DOTS: &str = "a dot begins a table inside the table; a name with dots is written in quotes, such as \"a.b\"";

/// A key and its value in a table whose keys are names the operator chose.
#[derive(Clone)]
pub struct Entry<'a> {
    key: Range<usize>,
    /// Named by its key.
    pub value: Value<'a>,
}

impl Entry<'_> {
    /// The key alone.
    pub fn span(&self) -> Span {
        self.value.report.span(self.key.clone())
    }
}

/// A TOML value, and the key it stands under.
#[derive(Clone, Copy)]
pub struct Value<'a> {
    report: &'a FileMistakes,
    /// The key; in an array, the array's key.
    pub name: &'a str,
    value: &'a Spanned<DeValue<'a>>,
}

impl<'a> Value<'a> {
    pub fn span(&self) -> Span {
        self.report.span(self.value.span())
    }

    pub fn report(&self) -> &'a FileMistakes {
        self.report
    }

    /// Reports that this value will not do: `message` in a line, `label` at the mark.
    pub fn error<T>(&self, message: impl Into<String>, label: impl Into<String>) -> Option<T> {
        self.report.push(Diagnostic::error(message).at(self.span(), label));
        None
    }

    /// Reports a value of the right type that is not what it must be.
    pub fn unfit<T>(&self, expected: &str) -> Option<T> {
        self.error(format!("`{}` is out of range", self.name), format!("found {}, expected {expected}", self.found()))
    }

    fn wrong_type<T>(&self, expected: &str) -> Option<T> {
        let label = format!("found {}, expected {expected}", self.found());
        self.error(format!("wrong type for `{}`", self.name), label)
    }

    /// The value that stands there, in words: `the integer 5`, `an array`.
    fn found(&self) -> String {
        match self.value.get_ref() {
            DeValue::String(text) if text.chars().count() <= 40 => format!("the string {:?}", &**text),
            DeValue::String(_) => "a string".into(),
            DeValue::Integer(digits) => format!("the integer {digits}"),
            DeValue::Float(digits) => format!("the number {digits}"),
            DeValue::Boolean(value) => format!("the boolean {value}"),
            DeValue::Datetime(value) => format!("the date {value}"),
            DeValue::Array(_) => "an array".into(),
            DeValue::Table(_) => "a table".into(),
        }
    }

    /// Tells whether this is a table, where something simpler could stand too.
    pub fn is_table(&self) -> bool {
        self.value.get_ref().is_table()
    }

    fn is_array(&self) -> bool {
        self.value.get_ref().is_array()
    }

    /// Tells whether this is a table with that key, whatever its value.
    pub fn has(&self, key: &str) -> bool {
        self.value.get_ref().as_table().is_some_and(|table| table.contains_key(key))
    }

    /// Tells whether this is an array or a table that holds nothing.
    pub fn is_empty(&self) -> bool {
        match self.value.get_ref() {
            DeValue::Array(items) => items.is_empty(),
            DeValue::Table(entries) => entries.is_empty(),
            _ => false,
        }
    }

    /// The text, if it is a string; nothing is reported.
    pub fn as_str(&self) -> Option<&'a str> {
        self.value.get_ref().as_str()
    }

    /// Tells whether a syntax error lies in the value: a string may have lost its end, and have
    /// swallowed the rest of the file.
    pub fn is_broken(&self) -> bool {
        let value = self.value.span();
        self.report.broken.iter().any(|error| value.start <= error.start && error.start <= value.end)
    }

    /// A string; `expected` says which, such as `a path`.
    pub fn string(&self, expected: &str) -> Option<&'a str> {
        self.as_str().or_else(|| self.wrong_type(expected))
    }

    /// A string that `read` makes something of, or says why not.
    pub fn text<T, E: Display>(&self, expected: &str, read: impl FnOnce(&str) -> Result<T, E>) -> Option<T> {
        match read(self.string(expected)?) {
            Ok(made) => Some(made),
            Err(error) => {
                let label = format!("found {}, expected {expected}", self.found());
                self.error(format!("`{}`: {error}", self.name), label)
            }
        }
    }

    /// One of a few words.
    pub fn choice<T: Copy>(&self, choices: &[(&str, T)]) -> Option<T> {
        let expected = list(choices.iter().map(|(word, _)| format!("{word:?}")));
        let found = self.string(&expected)?;
        if let Some((_, choice)) = choices.iter().find(|(word, _)| *word == found) {
            return Some(*choice);
        }
        let mut unknown = Diagnostic::error(format!("`{}` cannot be {found:?}", self.name))
            .at(self.span(), format!("expected {expected}"));
        if let Some(word) = nearest(found, choices.iter().map(|(word, _)| *word)) {
            unknown = unknown.help(format!("did you mean {word:?}?"));
        }
        self.report.push(unknown);
        None
    }

    pub fn boolean(&self) -> Option<bool> {
        self.value.get_ref().as_bool().or_else(|| self.wrong_type("true or false"))
    }

    /// A whole number within `range`.
    pub fn integer(&self, range: RangeInclusive<u64>) -> Option<u64> {
        let expected = format!("a whole number from {} to {}", range.start(), range.end());
        let DeValue::Integer(digits) = self.value.get_ref() else { return self.wrong_type(&expected) };
        match u64::from_str_radix(digits.as_str(), digits.radix()) {
            Ok(number) if range.contains(&number) => Some(number),
            _ => self.unfit(&expected),
        }
    }

    /// [`Value::integer`] for the width the range fits.
    pub fn small<T: TryFrom<u64>>(&self, range: RangeInclusive<u64>) -> Option<T> {
        self.integer(range).and_then(|number| T::try_from(number).ok())
    }

    /// A finite number, whole or not, that `fits`; `expected` says which ones do.
    pub fn number(&self, expected: &str, fits: impl FnOnce(f64) -> bool) -> Option<f64> {
        let number = match self.value.get_ref() {
            DeValue::Float(digits) => digits.as_str().parse().ok(),
            DeValue::Integer(digits) => {
                i64::from_str_radix(digits.as_str(), digits.radix()).ok().map(|whole| whole as f64)
            }
            _ => return self.wrong_type(expected),
        };
        match number {
            Some(number) if f64::is_finite(number) && fits(number) => Some(number),
            _ => self.unfit(expected),
        }
    }

    /// A duration such as `"5s"`, within `range`.
    pub fn duration(&self, range: RangeInclusive<Duration>) -> Option<Duration> {
        let bounds = format!("{} to {}", duration::show(*range.start()), duration::show(*range.end()));
        let expected = format!("a duration such as \"5s\", {bounds}");
        match duration::parse(self.string(&expected)?) {
            Some(found) if range.contains(&found) => Some(found),
            Some(_) => self.unfit(&bounds),
            None => self.error(
                format!("`{}` is not a duration", self.name),
                format!("found {}, expected a duration such as \"5s\", \"500ms\" or \"1m\"", self.found()),
            ),
        }
    }

    /// A TTL: `"5m"`, `"1h30m"`, or whole seconds.
    pub fn ttl(&self) -> Option<Ttl> {
        const EXPECTED: &str = "a TTL such as \"30s\", \"5m\" or 300 (seconds), up to 2147483647";
        let ttl = match self.value.get_ref() {
            DeValue::String(text) => Ttl::parse(text),
            DeValue::Integer(digits) => {
                u32::from_str_radix(digits.as_str(), digits.radix()).ok().and_then(Ttl::from_secs)
            }
            _ => return self.wrong_type(EXPECTED),
        };
        let label = || format!("found {}, expected {EXPECTED}", self.found());
        ttl.or_else(|| self.error(format!("`{}` is not a TTL", self.name), label()))
    }

    /// The items of an array, `expected` at most `max` of them.
    pub fn array(&self, expected: &str, max: usize) -> Option<Vec<Value<'a>>> {
        let Some(items) = self.value.get_ref().as_array() else { return self.wrong_type(expected) };
        if items.len() > max {
            let label = format!("found {}, expected at most {max}", items.len());
            return self.error(format!("`{}` has too many items", self.name), label);
        }
        Some(items.iter().map(|value| Value { report: self.report, name: self.name, value }).collect())
    }

    /// The items of an array, or the value itself where it is no array.
    pub fn one_or_many(&self, expected: &str, max: usize) -> Option<Vec<Value<'a>>> {
        if self.is_array() { self.array(expected, max) } else { Some(vec![*self]) }
    }

    /// A table with known keys. `what` is what messages call it; keys that `read` does not ask
    /// for are reported.
    pub fn table<T>(&self, what: impl Into<String>, read: impl FnOnce(&Table<'a>) -> Option<T>) -> Option<T> {
        self.table_like(what, "a table", read)
    }

    /// [`Value::table`], where something simpler is often written; `expected` says how it is done.
    pub fn table_like<T>(
        &self,
        what: impl Into<String>,
        expected: &str,
        read: impl FnOnce(&Table<'a>) -> Option<T>,
    ) -> Option<T> {
        let what = what.into();
        let Some(entries) = self.value.get_ref().as_table() else { return self.wrong_type(expected) };
        let table = Table::new(self.report, what, entries, self.value.span());
        let made = read(&table);
        table.report_unknown_keys();
        made
    }

    /// A table whose keys are names, in the order of the file; `expected` says what it is.
    pub fn entries(&self, expected: &str) -> Option<Vec<Entry<'a>>> {
        match self.value.get_ref().as_table() {
            Some(table) => Some(entries(self.report, table)),
            None => self.wrong_type(expected),
        }
    }

    /// The value as JSON. Dates have no counterpart there.
    pub fn json(&self) -> Option<serde_json::Value> {
        use serde_json::Value as Json;
        match self.value.get_ref() {
            DeValue::String(text) => Some(Json::String(text.to_string())),
            DeValue::Boolean(value) => Some(Json::Bool(*value)),
            DeValue::Integer(digits) => match i64::from_str_radix(digits.as_str(), digits.radix()) {
                Ok(number) => Some(number.into()),
                Err(_) => self.unfit("a whole number of 64 bits"),
            },
            DeValue::Float(_) => self.number("a finite number", |_| true).map(Json::from),
            DeValue::Array(_) => self.array("an array", 1_000)?.iter().map(Value::json).collect(),
            DeValue::Table(_) => self
                .entries("a table")?
                .iter()
                .map(|entry| Some((entry.value.name.to_owned(), entry.value.json()?)))
                .collect(),
            DeValue::Datetime(_) => self.wrong_type("a value that JSON knows"),
        }
    }
}

/// The entries of a table in the order of the file.
fn entries<'a>(report: &'a FileMistakes, table: &'a DeTable<'a>) -> Vec<Entry<'a>> {
    let mut entries: Vec<_> = table
        .iter()
        .map(|(key, value)| Entry { key: key.span(), value: Value { report, name: key.get_ref(), value } })
        .collect();
    entries.sort_by_key(|entry| entry.key.start);
    entries
}

/// `a, b or c`.
pub fn list(items: impl IntoIterator<Item = String>) -> String {
    let mut items: Vec<_> = items.into_iter().collect();
    match items.pop() {
        Some(last) if !items.is_empty() => format!("{} or {last}", items.join(", ")),
        last => last.unwrap_or_else(|| "nothing".into()),
    }
}

/// The document, as far as it is understood, and the syntax errors. Of a large file only the
/// first: the parser keeps them all, some two hundred octets for each octet of garbage.
fn parse(text: &str) -> (Spanned<DeTable<'_>>, Vec<toml::de::Error>) {
    if text.len() <= MAX_RECOVERED_BYTES {
        return DeTable::parse_recoverable(text);
    }
    match DeTable::parse(text) {
        Ok(document) => (document, Vec::new()),
        Err(error) => (Spanned::new(0..0, DeTable::new()), vec![error]),
    }
}

/// The parser's words for a key or a table that is there twice.
const DUPLICATE: &str = "duplicate key";
/// The beginning of its words where the second of two would add to the first.
const EXTENDS: &str = "cannot extend";

/// The lines that begin tables, in the order of the file: where each begins, and the table's name.
struct Headers<'a> {
    lines: Vec<(usize, &'a str)>,
    /// By name: the first.
    first: HashMap<&'a str, usize>,
}

impl<'a> Headers<'a> {
    fn of(text: &'a str) -> Headers<'a> {
        let (mut lines, mut first, mut at) = (Vec::new(), HashMap::new(), 0);
        for line in text.split_inclusive('\n') {
            if let Some(name) = header_name(line) {
                lines.push((at, name));
                first.entry(name).or_insert(at);
            }
            at += line.len();
        }
        Headers { lines, first }
    }

    /// The table that the place is in, or that begins there.
    fn before(&self, at: usize) -> Option<(usize, &'a str)> {
        let after = self.lines.partition_point(|(begin, _)| *begin <= at);
        self.lines[..after].last().copied()
    }
}

fn header_name(line: &str) -> Option<&str> {
    let name = line.trim_start().strip_prefix('[')?;
    Some(name[..name.find(']')?].trim())
}

/// Leaves out what is inside a table that is there twice: it is there twice for that reason.
fn drop_inside_duplicates(text: &str, headers: &Headers<'_>, errors: &mut Vec<toml::de::Error>) {
    let (mut places, mut names) = (HashSet::new(), HashSet::new());
    errors.retain(|error| {
        let at = error.span().map_or(0, |span| span.start.min(text.len()));
        let follows = error.message() == DUPLICATE || error.message().starts_with(EXTENDS);
        let Some((header_at, header)) = headers.before(at).filter(|_| follows) else { return true };
        let above = header.match_indices('.').any(|(end, _)| names.contains(&header[..end]));
        let is_header = !text[header_at..at].contains('\n');
        if above || (!is_header && places.contains(&header_at)) {
            return false;
        }
        if is_header {
            places.insert(header_at);
            names.insert(header);
        }
        true
    });
}

/// That a key or a table is there twice, and where it is first.
fn duplicate(file: &Arc<SourceFile>, headers: &Headers<'_>, range: Range<usize>) -> Diagnostic {
    let at_header = |(at, _): &(usize, &str)| !file.text[*at..range.start.max(*at)].contains('\n');
    let Some((begin, name)) = headers.before(range.start).filter(at_header) else {
        let key = file.text.get(range.clone()).unwrap_or_default();
        let twice = Diagnostic::error(format!("the key `{key}` is there twice"));
        return twice.at(Span::new(file, range), "again here");
    };
    let twice = Diagnostic::error(format!("the table `[{name}]` is there twice"));
    let twice = twice.at(Span::new(file, range), "again here");
    match headers.first.get(name).filter(|first| **first < begin) {
        Some(&first) => {
            let line = file.text[first..].lines().next().unwrap_or_default();
            twice.related(Span::new(file, first..first + line.len()), "first here")
        }
        None => twice,
    }
}

fn syntax_error(file: &Arc<SourceFile>, headers: &Headers<'_>, error: &toml::de::Error) -> Diagnostic {
    let range = error.span().unwrap_or(0..0);
    if error.message() == DUPLICATE {
        return duplicate(file, headers, range);
    }
    let mut diagnostic = Diagnostic::error("this is not TOML").at(Span::new(file, range), error.message());
    if error.message().contains("escape") {
        diagnostic =
            diagnostic.help("in '''…''' backslashes stand for themselves; in \"…\" and \"\"\"…\"\"\" write \\\\");
    }
    diagnostic
}

/// All mistakes in the order of the file. What was found on a line with a syntax error is left
/// out: it is about what the parser guessed there.
fn merge(syntax: Vec<Diagnostic>, report: FileMistakes) -> Vec<Diagnostic> {
    let mut found = report.found.into_inner();
    if !syntax.is_empty() {
        let line_ends: Vec<usize> = report.file.text.match_indices('\n').map(|(at, _)| at).collect();
        let line = |diagnostic: &Diagnostic| line_ends.partition_point(|&end| end < start(diagnostic));
        let broken: HashSet<_> = syntax.iter().map(line).collect();
        found.retain(|diagnostic| !broken.contains(&line(diagnostic)));
    }
    found.extend(syntax);
    found.sort_by_key(start);
    let errors = found.iter().filter(|diagnostic| diagnostic.is_error()).count();
    let more = errors.saturating_sub(MAX_REPORTED) + report.untold.errors.get();
    if more > 0 {
        let mut told = 0;
        found.retain(|diagnostic| {
            told += usize::from(diagnostic.is_error());
            told <= MAX_REPORTED
        });
        found.push(Diagnostic::error(format!("and {more} more mistakes in the same file")));
    }
    let warnings = report.untold.warnings.get();
    if warnings > 0 {
        found.push(Diagnostic::warning(format!("and {warnings} more warnings in the same file")));
    }
    found
}

fn start(diagnostic: &Diagnostic) -> usize {
    diagnostic.span.as_ref().map_or(0, |span| span.range.start)
}
