//! The house rules, held here so that nobody has to remember them.
//!
//! In: the files of this repository. Out: one failing test per broken rule, which names every
//! place, the rule, and its reason. The rules are those of ARCHITECTURE.md.
//!
//! Rules look at [`code_of`] a file: its text without comments, strings and `#[cfg(test)]` items,
//! line for line.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};
use std::process::Command;
use std::{env, fs};

#[test]
fn imports_go_one_way() {
    hold(
        "Imports go one way: model ← {wire, atlas} ← steer ← state ← {query, control} ← {admin, simulate} ← daemon ← demo ← cli ← \
         main, and query and control never import each other. So each part can be read, tested and replaced without what uses it.",
        sources().iter().flat_map(wrong_imports),
    );
}

#[test]
fn libraries_stay_where_they_belong() {
    hold(
        "Some libraries and calls stay out of some folders. What answers a packet or decides must not wait, fail, log or \
         ask for the time or for chance: these are arguments, so that explain and the tests run the same code.",
        sources().iter().flat_map(misplaced_libraries),
    );
}

#[test]
fn every_file_has_a_head() {
    hold(
        "Every file begins with a `//!` head: what this part answers, what comes in, what goes out. Someone opens it at night.",
        sources().iter().filter(|source| !source.text.starts_with("//! ")).map(|source| source.path.clone()),
    );
}

#[test]
fn nothing_panics_on_purpose() {
    hold(
        "No unwrap, expect or panic outside tests: an input nobody thought of must cost its own packet or file, not the \
         server. Return an error; where it truly cannot happen, add it to MAY_PANIC with the reason.",
        sources().iter().flat_map(panics),
    );
}

#[test]
fn functions_stay_short() {
    hold(
        "Functions are at most 60 lines, better under 30: split where a new idea begins. LONG_FUNCTIONS lists the exceptions; \
         its numbers only shrink.",
        sources().iter().flat_map(long_functions).chain(stale_long_functions(&sources())),
    );
}

#[test]
fn the_top_level_holds_what_was_agreed() {
    let entries = top_level_entries();
    hold(
        "The top level is the first thing a stranger sees: only what was agreed on (TOP_LEVEL) is there.",
        entries.iter().filter(|entry| !belongs_at_the_top(entry)).cloned(),
    );
}

#[test]
fn links_in_the_documents_lead_somewhere() {
    let documents = files_below(Path::new(ROOT), "md");
    hold(
        "A relative link in a document points at a file that exists: a dead link costs every reader.",
        documents.iter().flat_map(|path| dead_links(path, &fs::read_to_string(path).expect("a readable document"))),
    );
}

// ---------------------------------------------------------------------------------------------
// What the rules say

/// The planes and how high they stand: a plane imports only lower ones.
const PLANES: &[(&str, u8)] = &[
    ("model", 0),
    ("wire", 1),
    ("atlas", 1),
    ("steer", 2),
    ("state", 3),
    ("query", 4),
    ("control", 4),
    ("admin", 5),
    ("simulate", 5),
    ("daemon", 6),
    ("demo", 7),
    ("cli", 8),
    ("main", 9),
];

/// Folders, what must not appear in them (but in the folders excepted), and why.
struct Ban {
    folders: &'static [&'static str],
    except: &'static [&'static str],
    words: &'static [&'static str],
    why: &'static str,
}

const BANS: &[Ban] = &[
    Ban {
        folders: &["src/model", "src/wire", "src/atlas", "src/steer", "src/state"],
        except: &[],
        words: &["tokio", "tokio_rustls", "rustls", "hyper", "hyper_util", "reqwest", "axum"],
        why: "this part is free of async and of the network",
    },
    Ban {
        folders: &["src/query"],
        except: &["src/query/transport", "src/query/kernel/keeper.rs", "src/query/kernel/attach.rs"],
        words: &["tokio", "tokio_rustls", "rustls", "hickory_proto", "hickory_server", "tracing", "std::fs"],
        why: "the engine turns bytes into bytes; sockets, and what waits, live in query/transport",
    },
    Ban {
        folders: &["src/model", "src/wire", "src/steer", "src/state", "src/query"],
        except: &["src/query/transport", "src/query/kernel/keeper.rs"],
        words: &["Instant::now", "SystemTime::now", "fastrand"],
        why: "time and chance are arguments",
    },
    Ban {
        folders: &["src/model", "src/wire", "src/steer"],
        except: &[],
        words: &["std::fs"],
        why: "this part does no I/O",
    },
];

/// What ends the process or the thread.
const PANICS: &[&str] = &[".unwrap()", ".expect(", "panic!", "todo!", "unimplemented!", "unreachable!"];

/// Files that may hold one of [`PANICS`] this many times: (path, word, times, why it cannot happen).
const MAY_PANIC: &[(&str, &str, usize, &str)] = &[];

const MAX_FUNCTION_LINES: usize = 60;

/// Functions longer than [`MAX_FUNCTION_LINES`]: (path, name, lines now, why one piece reads better).
const LONG_FUNCTIONS: &[(&str, &str, usize, &str)] = &[];

const TOP_LEVEL: &[&str] = &[
    ".ci",
    ".gitignore",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "Cargo.lock",
    "Cargo.toml",
    "README.md",
    "benches",
    "clippy.toml",
    "deny.toml",
    "docs",
    "examples",
    "fuzz",
    "geoip",
    "rustfmt.toml",
    "src",
    "tests",
    "zones",
];

fn belongs_at_the_top(entry: &str) -> bool {
    TOP_LEVEL.contains(&entry) || entry.starts_with("LICENSE-")
}

// ---------------------------------------------------------------------------------------------
// How they are checked

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

fn hold(rule: &str, broken: impl IntoIterator<Item = String>) {
    let broken: Vec<String> = broken.into_iter().collect();
    assert!(broken.is_empty(), "\n{rule}\nBroken here:\n  {}\n", broken.join("\n  "));
}

/// A file under src/.
struct Source {
    /// From the top of the repository, with `/`.
    path: String,
    text: String,
    code: String,
}

impl Source {
    fn new(path: &str, text: &str) -> Source {
        Source { path: path.to_owned(), text: text.to_owned(), code: code_of(text).0 }
    }

    /// The names of the modules this file is in, from the crate's root: `["query", "counters"]`.
    fn module(&self) -> Vec<&str> {
        let path = self.path.trim_start_matches("src/").trim_end_matches(".rs");
        let mut names: Vec<&str> = path.split('/').collect();
        if names.last() == Some(&"mod") || path == "lib" {
            names.pop();
        }
        names
    }

    fn at(&self, offset: usize, what: &str) -> String {
        let line = self.code[..offset].matches('\n').count() + 1;
        format!("{}:{line}: {what}", self.path)
    }
}

/// All files under src/ but those that only tests see.
fn sources() -> Vec<Source> {
    let mut test_modules = BTreeSet::new();
    let mut found = Vec::new();
    for path in files_below(&Path::new(ROOT).join("src"), "rs") {
        let text = fs::read_to_string(&path).expect("a readable source file");
        let folder = if path.ends_with("mod.rs") || path.ends_with("lib.rs") || path.ends_with("main.rs") {
            path.parent().expect("a folder").to_owned()
        } else {
            path.with_extension("")
        };
        for name in code_of(&text).1 {
            test_modules.insert(folder.join(&name).with_extension("rs"));
            test_modules.insert(folder.join(&name).join("mod.rs"));
        }
        found.push((path, text));
    }
    found.retain(|(path, _)| !test_modules.contains(path));
    found.iter().map(|(path, text)| Source::new(&from_root(path), text)).collect()
}

fn from_root(path: &Path) -> String {
    let parts = path.strip_prefix(ROOT).unwrap_or(path).components();
    parts.map(|part| part.as_os_str().to_string_lossy()).collect::<Vec<_>>().join("/")
}

fn files_below(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a readable folder") {
        let path = entry.expect("a readable entry").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() && !["target", ".git", "node_modules"].contains(&name.as_str()) {
            found.extend(files_below(&path, extension));
        } else if path.extension().is_some_and(|found| found == extension) {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn wrong_imports(source: &Source) -> Vec<String> {
    let module = source.module();
    // lib.rs itself names all modules and imports nothing.
    let Some(from) = module.first().copied() else { return Vec::new() };
    let mut wrong = Vec::new();
    for (offset, to) in imported_planes(source) {
        if to == from {
            continue;
        }
        match (height(from), height(&to)) {
            (Some(from_height), Some(to_height)) if to_height < from_height => {}
            (Some(_), Some(_)) => wrong.push(source.at(offset, &format!("{from} imports {to}"))),
            _ => wrong.push(source.at(offset, &format!("{from} or {to} has no place in PLANES: give it one"))),
        }
    }
    wrong
}

fn height(plane: &str) -> Option<u8> {
    PLANES.iter().find(|(name, _)| *name == plane).map(|(_, height)| *height)
}

/// The planes a file reaches into, by `crate::`, `meridian::` or a chain of `super::`, with where.
fn imported_planes(source: &Source) -> Vec<(usize, String)> {
    let code = &source.code;
    let module = source.module();
    let mut found = Vec::new();
    for root in ["crate::", "meridian::"] {
        for offset in path_starts(code, root) {
            found.extend(first_names(&code[offset + root.len()..]).into_iter().map(|name| (offset, name)));
        }
    }
    for offset in path_starts(code, "super::") {
        let rest = &code[offset..];
        let supers = rest.split("::").take_while(|part| *part == "super").count();
        // Only a chain that climbs to the root leaves the plane.
        if supers >= module.len() {
            found.extend(first_names(&rest[supers * "super::".len()..]).into_iter().map(|name| (offset, name)));
        }
    }
    // Type and function names at the root are no planes; modules are lower case and stand before `::`,
    // `;`, `,`, `}` or ` as`.
    found.retain(|(_, name)| name.starts_with(|c: char| c.is_ascii_lowercase()) && name != "self");
    found
}

/// `a` of `a::b`; `a` and `c` of `{a::b, c}`.
fn first_names(path: &str) -> Vec<String> {
    let Some(group) = path.strip_prefix('{') else { return vec![identifier(path).to_owned()] };
    let mut names = Vec::new();
    let mut depth = 0;
    let mut at_start = true;
    for (offset, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => at_start = true,
            c if at_start && !c.is_whitespace() => {
                names.push(identifier(&group[offset..]).to_owned());
                at_start = false;
            }
            _ => {}
        }
    }
    names
}

fn identifier(text: &str) -> &str {
    &text[..text.find(|c: char| !is_word(c)).unwrap_or(text.len())]
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Where `word` stands with no identifier right before or behind it.
fn words(code: &str, word: &str) -> Vec<usize> {
    let (open_start, open_end) = (word.starts_with(is_word), word.ends_with(is_word));
    code.match_indices(word)
        .map(|(offset, _)| offset)
        .filter(|&offset| !open_start || !code[..offset].ends_with(is_word))
        .filter(|&offset| !open_end || !code[offset + word.len()..].starts_with(is_word))
        .collect()
}

/// Where a path begins with `word`.
fn path_starts(code: &str, word: &str) -> Vec<usize> {
    words(code, word).into_iter().filter(|&offset| !code[..offset].ends_with(':')).collect()
}

fn misplaced_libraries(source: &Source) -> Vec<String> {
    let lies_in = |folders: &[&str]| folders.iter().any(|folder| source.path.starts_with(folder));
    let mut misplaced = Vec::new();
    for ban in BANS.iter().filter(|ban| lies_in(ban.folders) && !lies_in(ban.except)) {
        for word in ban.words {
            for offset in uses(&source.code, word) {
                misplaced.push(source.at(offset, &format!("{word}: {}", ban.why)));
            }
        }
    }
    misplaced
}

/// Where a library (`tokio`) or one of its items (`Instant::now`, however it is reached) is used.
/// Our own names that happen to be alike do not count.
fn uses(code: &str, word: &str) -> Vec<usize> {
    if word.contains("::") {
        return words(code, word);
    }
    let in_path = |&offset: &usize| {
        let behind = &code[offset + word.len()..];
        behind.starts_with("::") || behind.starts_with(';')
    };
    path_starts(code, word).into_iter().filter(in_path).collect()
}

fn panics(source: &Source) -> Vec<String> {
    let mut found = Vec::new();
    for word in PANICS {
        let mut places = words(&source.code, word);
        places.retain(|&offset| !passes_on_its_error(&source.code[offset..]));
        let allowed = MAY_PANIC.iter().find(|(path, allowed, ..)| *path == source.path && allowed == word);
        if places.len() != allowed.map_or(0, |(_, _, times, _)| *times) {
            found.extend(places.iter().map(|&offset| source.at(offset, word)));
        }
    }
    found
}

/// Whether a call that begins here ends in `?`: then it is an `expect` of our own, such as a
/// parser's, and no panic.
fn passes_on_its_error(code: &str) -> bool {
    let Some(arguments) = code.strip_prefix(".expect") else { return false };
    group_end(arguments).is_some_and(|end| arguments[end..].starts_with('?'))
}

fn long_functions(source: &Source) -> Vec<String> {
    let mut long = Vec::new();
    for (offset, name, lines) in functions(&source.code) {
        let allowed = LONG_FUNCTIONS.iter().find(|(path, listed, ..)| *path == source.path && *listed == name);
        if lines > allowed.map_or(MAX_FUNCTION_LINES, |(_, _, lines, _)| *lines) {
            long.push(source.at(offset, &format!("fn {name} has {lines} lines")));
        }
    }
    long
}

/// Entries of [`LONG_FUNCTIONS`] that could be lower, or are not needed any more.
fn stale_long_functions(sources: &[Source]) -> Vec<String> {
    let lines_of = |path: &str, name: &str| {
        let source = sources.iter().find(|source| source.path == path)?;
        functions(&source.code).into_iter().filter(|(_, found, _)| found == name).map(|(_, _, lines)| lines).max()
    };
    let mut stale = Vec::new();
    for (path, name, listed, _) in LONG_FUNCTIONS {
        match lines_of(path, name) {
            Some(lines) if lines == *listed && lines > MAX_FUNCTION_LINES => {}
            Some(lines) if lines > *listed => {} // said by long_functions
            Some(lines) => stale.push(format!("{path}: fn {name} has {lines} lines now: lower or remove its entry")),
            None => stale.push(format!("{path}: fn {name} is gone: remove its entry")),
        }
    }
    stale
}

/// Functions with a body: where, name, lines from `fn` to the closing brace.
fn functions(code: &str) -> Vec<(usize, String, usize)> {
    let mut found = Vec::new();
    for offset in words(code, "fn ") {
        let name = identifier(&code[offset + 3..]);
        let Some(end) = item_end(&code[offset..]) else { continue };
        let item = &code[offset..offset + end];
        if !name.is_empty() && item.ends_with('}') {
            found.push((offset, name.to_owned(), item.matches('\n').count() + 1));
        }
    }
    found
}

/// Where the item that begins here ends: behind its `;` or its block.
fn item_end(code: &str) -> Option<usize> {
    let mut offset = 0;
    loop {
        let rest = &code[offset..];
        let next = rest.find([';', '(', '[', '{'])?;
        if rest[next..].starts_with(';') {
            return Some(offset + next + 1);
        }
        offset += next + group_end(&rest[next..])?;
        if rest[next..].starts_with('{') {
            return Some(offset);
        }
    }
}

/// Where the bracket that opens here is closed.
fn group_end(code: &str) -> Option<usize> {
    let mut depth = 0usize;
    for (offset, c) in code.char_indices() {
        match c {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth = depth.checked_sub(1)?,
            _ => {}
        }
        if depth == 0 {
            return Some(offset + c.len_utf8());
        }
    }
    None
}

/// A file's text with comments, the insides of literals, and items for tests replaced by blanks,
/// and the names of modules in files of their own that only tests see.
fn code_of(text: &str) -> (String, Vec<String>) {
    let mut code = without_comments_and_literals(text);
    let mut modules = Vec::new();
    while let Some(start) = ["#[cfg(test)]", "#[cfg(all(test"].iter().filter_map(|mark| code.find(mark)).min() {
        let mut item = start;
        while code[item..].starts_with("#[") {
            let attribute = code[item..].find(']').map_or(code.len(), |end| item + end + 1);
            item = code.len() - code[attribute..].trim_start().len();
        }
        let end = item_end(&code[item..]).map_or(code.len(), |end| item + end);
        if let Some(module) = code[item..end].strip_suffix(';').and_then(|item| item.rsplit_once("mod ")) {
            modules.push(module.1.to_owned());
        }
        let blank: String = code[start..end].chars().map(|c| if c == '\n' { '\n' } else { ' ' }).collect();
        code.replace_range(start..end, &blank);
    }
    (code, modules)
}

fn without_comments_and_literals(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let (length, keep) = match first {
            '/' if rest.starts_with("//") => (rest.find('\n').unwrap_or(rest.len()), false),
            '/' if rest.starts_with("/*") => (block_comment(rest), false),
            '"' => (string(rest), false),
            'r' if !code.ends_with(is_word) || code.ends_with(['b', 'c']) => match raw_string(rest) {
                Some(length) => (length, false),
                None => (1, true),
            },
            '\'' => match character(rest) {
                Some(length) => (length, false),
                None => (1, true),
            },
            other => (other.len_utf8(), true),
        };
        let (taken, left) = rest.split_at(length);
        code.extend(taken.chars().map(|c| if keep || c == '\n' { c } else { ' ' }));
        rest = left;
    }
    code
}

fn block_comment(text: &str) -> usize {
    let mut depth = 0;
    let mut offset = 0;
    while offset < text.len() {
        let rest = &text[offset..];
        if rest.starts_with("/*") {
            depth += 1;
            offset += 2;
        } else if rest.starts_with("*/") {
            depth -= 1;
            offset += 2;
            if depth == 0 {
                return offset;
            }
        } else {
            offset += rest.chars().next().map_or(1, char::len_utf8);
        }
    }
    text.len()
}

fn string(text: &str) -> usize {
    let mut escaped = false;
    for (offset, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return offset + 1,
            _ => {}
        }
    }
    text.len()
}

/// The length of `r"…"` or `r#"…"#`; `None` for what merely begins with r.
fn raw_string(text: &str) -> Option<usize> {
    let hashes = text[1..].len() - text[1..].trim_start_matches('#').len();
    let inside = text[1 + hashes..].strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    Some(inside.find(&end).map_or(text.len(), |at| 1 + hashes + 1 + at + end.len()))
}

/// The length of `'c'` or `'\…'`; `None` for a lifetime.
fn character(text: &str) -> Option<usize> {
    let mut inside = text.char_indices().skip(1);
    let (_, first) = inside.next()?;
    if first == '\\' {
        let (_, escaped) = inside.next()?;
        let from = 2 + escaped.len_utf8();
        return text[from..].find('\'').map(|end| from + end + 1);
    }
    inside.next().filter(|(_, c)| *c == '\'').map(|(offset, _)| offset + 1)
}

/// What git tracks at the top; without git, what is there but the build's folders.
fn top_level_entries() -> BTreeSet<String> {
    let tracked = Command::new("git").args(["ls-files"]).current_dir(ROOT).output();
    if let Ok(output) = tracked
        && output.status.success()
    {
        let listed = String::from_utf8_lossy(&output.stdout).into_owned();
        return listed.lines().filter_map(|path| path.split('/').next()).map(str::to_owned).collect();
    }
    let entries = fs::read_dir(ROOT).expect("the repository").map(|entry| entry.expect("an entry").file_name());
    entries.map(|name| name.to_string_lossy().into_owned()).filter(|name| name != "target" && name != ".git").collect()
}

fn dead_links(document: &Path, text: &str) -> Vec<String> {
    let mut dead = Vec::new();
    let mut in_code = false;
    for (number, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        }
        if in_code {
            continue;
        }
        for target in line.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = target.split(['#', ' ']).next().unwrap_or_default();
            if !file.is_empty() && !target.contains(':') && !leads_to_a_file(document, file) {
                dead.push(format!("{}:{}: {target}", from_root(document), number + 1));
            }
        }
    }
    dead
}

/// Whether the file is there, inside the repository: elsewhere only this machine has it.
fn leads_to_a_file(document: &Path, file: &str) -> bool {
    let target = document.parent().unwrap_or(Path::new(ROOT)).join(file);
    let mut inside = PathBuf::new();
    for part in target.components() {
        match part {
            Component::ParentDir => drop(inside.pop()),
            part => inside.push(part),
        }
    }
    inside.starts_with(ROOT) && inside.exists()
}

// ---------------------------------------------------------------------------------------------
// The rules can fail

#[test]
fn wrong_imports_are_seen_in_every_spelling() {
    let wrong = |path: &str, text: &str| wrong_imports(&Source::new(path, text));
    for (path, text) in [
        ("src/model/zone.rs", "use crate::atlas::Atlas;"),
        ("src/query/transport/udp.rs", "use super::super::super::control::reload;"),
        ("src/query/mod.rs", "use super::control::{self, reload};"),
        ("src/query/mod.rs", "use crate::{\n    model::Name,\n    control::{zonefile, config},\n};"),
        ("src/control/mod.rs", "fn f() { crate::query::answer(); }"),
        ("src/daemon.rs", "use crate::cli;"),
        ("src/atlas/mod.rs", "pub(in crate::steer) struct X;"),
        ("src/newcomer.rs", "use crate::model;"),
    ] {
        assert_eq!(wrong(path, text).len(), 1, "{path}: {text}");
    }
    for (path, text) in [
        ("src/query/transport/udp.rs", "use super::super::control;"),
        ("src/query/mod.rs", "use crate::model::{Name, Zone};\nuse crate::query::wire;"),
        ("src/main.rs", "fn main() { meridian::cli::run(); }"),
        ("src/lib.rs", "pub mod control;"),
        ("src/model/zone.rs", "// use crate::control\nconst X: &str = \"crate::control\";"),
        ("src/model/zone.rs", "#[cfg(test)]\nmod tests { use crate::control::x; }"),
        ("src/steer/mod.rs", "macro_rules! m { () => { $crate::model::Name } }"),
    ] {
        assert_eq!(wrong(path, text), Vec::<String>::new(), "{path}: {text}");
    }
}

#[test]
fn misplaced_libraries_are_seen() {
    let misplaced = |path: &str, text: &str| misplaced_libraries(&Source::new(path, text)).len();
    assert_eq!(misplaced("src/query/answer.rs", "use tokio::net::UdpSocket;"), 1);
    assert_eq!(misplaced("src/query/transport/tcp.rs", "use tokio::net::UdpSocket;"), 0);
    assert_eq!(misplaced("src/steer/plan.rs", "let now = Instant::now();"), 1);
    assert_eq!(misplaced("src/steer/plan.rs", "let now = std::time::Instant::now();"), 1);
    assert_eq!(misplaced("src/query/answer.rs", "tracing::info!(\"x\");"), 1);
    assert_eq!(misplaced("src/query/answer.rs", "let tracing = hickory_tokio::x;"), 0);
    assert_eq!(misplaced("src/model/zone.rs", "use std::fs;"), 1);
}

#[test]
fn panics_are_seen_outside_tests_alone() {
    let code = "fn f() { x.unwrap(); y.expect(\"z\"); todo!(); x.unwrap_or(0); core_panic!(); }";
    assert_eq!(panics(&Source::new("src/x.rs", code)).len(), 3);
    let own = "fn f() { fields.expect(a, g(b))?; fields.expect(c); }";
    assert_eq!(panics(&Source::new("src/x.rs", own)).len(), 1);
    let tests = "#[cfg(test)]\n#[allow(x)]\nmod tests { fn f() { x.unwrap(); } }\nfn g() { h.unwrap() }";
    assert_eq!(panics(&Source::new("src/x.rs", tests)), ["src/x.rs:4: .unwrap()"]);
}

#[test]
fn functions_are_measured_from_fn_to_brace() {
    let body = "    x();\n".repeat(MAX_FUNCTION_LINES - 2);
    let fits = format!("fn fits(a: [u8; 4]) -> impl Fn() {{\n{body}}}\n");
    let long = format!("trait T {{\n fn declared(a: [u8; 2]);\n fn long() {{\n{body}    \"}}\";\n    '}}';\n}}\n}}\n");
    assert_eq!(long_functions(&Source::new("src/x.rs", &fits)), Vec::<String>::new());
    assert_eq!(long_functions(&Source::new("src/x.rs", &long)), ["src/x.rs:3: fn long has 62 lines"]);
}

#[test]
fn comments_and_literals_are_no_code() {
    let text = "a /* b /* c */ d */ e \"f\\\"g\" r#\"h\"i\"# 'j' '\\'' '\\u{1}' &'k l b\"m\" br\"n\" // o\np r'";
    let code: String = code_of(text).0.split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(code, "a e &'k l b b p r'");
    assert_eq!(code_of("#[cfg(test)]\npub(crate) mod helper;\nfn x() {}").1, ["helper"]);
}

#[test]
fn dead_links_are_seen() {
    let document = Path::new(ROOT).join("docs.md");
    let text =
        "[a](Cargo.toml) [b](Cargo.toml#x) [c](https://x/y) [d](#e)\n[f](gone.md)\n```\n[g](gone)\n```\n[h](../x)";
    assert_eq!(dead_links(&document, text), ["docs.md:2: gone.md", "docs.md:6: ../x"]);
}

#[test]
fn strangers_at_the_top_are_seen() {
    assert!(belongs_at_the_top("LICENSE-MIT") && belongs_at_the_top("src"));
    assert!(!belongs_at_the_top("notes.txt") && !belongs_at_the_top("scripts"));
}
