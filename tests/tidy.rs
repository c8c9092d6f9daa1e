//! The house rules, held here so that nobody has to remember them.
//!
//! In: the files of this repository. Out: one failing test per broken rule, which names every
//! place, the rule, and its reason. The rules are those of ARCHITECTURE.md.
//!
//! Rules look at a file as `syn` parses it, without `#[cfg(test)]` items.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;
use std::{env, fs};

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use quote::ToTokens;
use syn::visit::Visit;

#[path = "support/tools.rs"]
#[allow(dead_code)]
mod tools;

#[test]
fn imports_go_one_way() {
    hold(
        "Imports go one way: model ← {wire, atlas} ← steer ← state ← {query, control} ← {admin, simulate} ← logs ← daemon ← demo ← cli ← \
         main, and query and control never import each other. So each part can be read, tested and replaced without what uses it.",
        sources().iter().flat_map(wrong_imports),
    );
}

#[test]
fn files_are_in_no_circle() {
    hold(
        "No file reaches itself by what it imports: so each can be read after those it imports, and none needs all.",
        circles(sources()).iter().map(|circle| circle.join(", ")),
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
        sources().iter().flat_map(long_functions).chain(stale_long_functions(sources())),
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

#[test]
fn tests_are_skipped_in_one_way() {
    let root = Path::new(ROOT);
    let files = files_below(&root.join("tests"), "rs").into_iter().chain(files_below(&root.join("src"), "rs"));
    hold(
        "A test that cannot run somewhere says so by `skip` of tests/support/tools.rs, and no test ends early or is ignored in \
         another way: there MERIDIAN_TEST_REQUIRE_TOOLS makes it fail, and what a machine lacks is named.",
        files
            .flat_map(|path| own_skips(&from_root(&path), &fs::read_to_string(&path).expect("a readable source file"))),
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
    ("logs", 6),
    ("daemon", 7),
    ("demo", 8),
    ("cli", 9),
    ("main", 10),
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
    Ban {
        folders: &["src/wire", "src/steer", "src/query"],
        except: &["src/query/transport", "src/query/kernel", "src/query/counters.rs"],
        words: &["sync::Mutex", "sync::RwLock", "sync::Condvar"],
        why: "no packet waits for another",
    },
];

/// What ends the process or the thread, and its words.
const PANICS: &[(&str, &[&str])] = &[
    (".unwrap()", &[".", "unwrap", "(", ")"]),
    (".expect(", &[".", "expect", "("]),
    ("panic!", &["panic", "!"]),
    ("todo!", &["todo", "!"]),
    ("unimplemented!", &["unimplemented", "!"]),
    ("unreachable!", &["unreachable", "!"]),
];

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

/// A file under src/, parsed; what only tests see is left out.
struct Source {
    /// From the top of the repository, with `/`.
    path: String,
    text: String,
    /// The words of its code in order, each with its line: identifiers, and punctuation octet by octet.
    words: Vec<(String, usize)>,
    code: Code,
}

impl Source {
    fn new(path: &str, text: &str) -> Source {
        let mut file = syn::parse_file(text).unwrap_or_else(|error| panic!("{path} is no Rust: {error}"));
        let mut code = Code::default();
        drop_tests(&mut file.items, &mut code.test_modules);
        code.visit_file(&file);
        file.attrs.clear();
        file.items.retain(|item| !matches!(item, syn::Item::Use(_)));
        let mut words = Vec::new();
        words_of(file.into_token_stream(), &mut words);
        code.paths.extend(paths_in(&words));
        Source { path: path.to_owned(), text: text.to_owned(), words, code }
    }

    /// The names of the modules this file is in, from the crate's root: `["query", "counters"]`.
    fn module(&self) -> Vec<String> {
        let path = self.path.trim_start_matches("src/").trim_end_matches(".rs");
        let mut names: Vec<String> = path.split('/').map(str::to_owned).collect();
        if names.last().is_some_and(|last| last == "mod") || path == "lib" {
            names.pop();
        }
        names
    }

    fn at(&self, line: usize, what: &str) -> String {
        format!("{}:{line}: {what}", self.path)
    }

    /// The lines on which these words stand one after the other.
    fn lines_with(&self, wanted: &[&str]) -> Vec<usize> {
        let starts = self.words.windows(wanted.len().max(1));
        let same = |window: &&[(String, usize)]| window.iter().zip(wanted).all(|((word, _), wanted)| word == wanted);
        starts.filter(same).map(|window| window[0].1).collect()
    }
}

/// What is read off a file's syntax.
#[derive(Default)]
struct Code {
    /// Paths in its code, each with its line.
    paths: Vec<(Vec<String>, usize)>,
    /// Modules that may see items of it, by `pub(in …)`.
    shown_to: Vec<(Vec<String>, usize)>,
    /// Those that it passes on to others by `pub use`.
    passed_on: Vec<Vec<String>>,
    /// Lines with an `expect` of our own, such as a parser's: its error is passed on by `?`.
    own_expects: Vec<usize>,
    /// Name, first line, lines.
    functions: Vec<(String, usize, usize)>,
    /// Modules in files of their own that only tests see.
    test_modules: Vec<String>,
}

impl Code {
    fn function(&mut self, signature: &syn::Signature, block: &syn::Block) {
        let (first, last) = (signature.fn_token.span.start().line, block.brace_token.span.close().end().line);
        self.functions.push((signature.ident.to_string(), first, last + 1 - first));
    }
}

impl<'ast> Visit<'ast> for Code {
    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        let line = item.use_token.span.start().line;
        let passes_on = !matches!(item.vis, syn::Visibility::Inherited);
        flatten(&item.tree, &mut Vec::new(), &mut |path| {
            self.paths.push((path.clone(), line));
            self.passed_on.extend(passes_on.then_some(path));
        });
    }

    fn visit_visibility(&mut self, visibility: &'ast syn::Visibility) {
        if let syn::Visibility::Restricted(restricted) = visibility {
            let parts = restricted.path.segments.iter().map(|part| part.ident.to_string());
            self.shown_to.push((parts.collect(), restricted.pub_token.span.start().line));
        }
    }

    fn visit_expr_try(&mut self, tried: &'ast syn::ExprTry) {
        if let syn::Expr::MethodCall(call) = &*tried.expr
            && call.method == "expect"
        {
            self.own_expects.push(call.method.span().start().line);
        }
        syn::visit::visit_expr_try(self, tried);
    }

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.function(&item.sig, &item.block);
        syn::visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.function(&item.sig, &item.block);
        syn::visit::visit_impl_item_fn(self, item);
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        if let Some(block) = &item.default {
            self.function(&item.sig, block);
        }
        syn::visit::visit_trait_item_fn(self, item);
    }
}

/// All paths of a `use`, each with its parts.
fn flatten(tree: &syn::UseTree, before: &mut Vec<String>, found: &mut impl FnMut(Vec<String>)) {
    let mut whole = |last: Option<String>| found(before.iter().cloned().chain(last).collect());
    match tree {
        syn::UseTree::Path(path) => {
            before.push(path.ident.to_string());
            flatten(&path.tree, before, found);
            before.pop();
        }
        syn::UseTree::Name(name) if name.ident == "self" => whole(None),
        syn::UseTree::Name(name) => whole(Some(name.ident.to_string())),
        syn::UseTree::Rename(rename) => whole(Some(rename.ident.to_string())),
        syn::UseTree::Glob(_) => whole(None),
        syn::UseTree::Group(group) => group.items.iter().for_each(|tree| flatten(tree, before, found)),
    }
}

/// Leaves out items for tests alone, and tells which of them are modules in files of their own.
fn drop_tests(items: &mut Vec<syn::Item>, modules: &mut Vec<String>) {
    items.retain_mut(|item| {
        let is_test = attributes(item).iter().any(|attribute| {
            let text = attribute.meta.to_token_stream().to_string().replace(' ', "");
            text.starts_with("cfg(test") || text.starts_with("cfg(all(test")
        });
        match item {
            syn::Item::Mod(module) if is_test && module.content.is_none() => modules.push(module.ident.to_string()),
            syn::Item::Mod(module) if !is_test => {
                if let Some((_, items)) = &mut module.content {
                    drop_tests(items, modules);
                }
            }
            _ => {}
        }
        !is_test
    });
}

fn attributes(item: &syn::Item) -> &[syn::Attribute] {
    match item {
        syn::Item::Const(of) => &of.attrs,
        syn::Item::Enum(of) => &of.attrs,
        syn::Item::Fn(of) => &of.attrs,
        syn::Item::Impl(of) => &of.attrs,
        syn::Item::Macro(of) => &of.attrs,
        syn::Item::Mod(of) => &of.attrs,
        syn::Item::Static(of) => &of.attrs,
        syn::Item::Struct(of) => &of.attrs,
        syn::Item::Trait(of) => &of.attrs,
        syn::Item::Type(of) => &of.attrs,
        syn::Item::Use(of) => &of.attrs,
        _ => &[],
    }
}

/// The words of code, also of what stands in macros. Literals count as nothing, `$crate` as no word.
fn words_of(tokens: TokenStream, words: &mut Vec<(String, usize)>) {
    for token in tokens {
        match token {
            TokenTree::Ident(word) => words.push((word.to_string(), word.span().start().line)),
            TokenTree::Punct(mark) => words.push((mark.as_char().to_string(), mark.span().start().line)),
            TokenTree::Literal(_) => {}
            TokenTree::Group(group) => {
                let (open, close) = match group.delimiter() {
                    Delimiter::Parenthesis => ("(", ")"),
                    Delimiter::Brace => ("{", "}"),
                    Delimiter::Bracket => ("[", "]"),
                    Delimiter::None => ("", ""),
                };
                words.push((open.to_owned(), group.span_open().start().line));
                words_of(group.stream(), words);
                words.push((close.to_owned(), group.span_close().start().line));
            }
        }
    }
}

/// Paths of two parts and more outside `use`, wherever they stand.
fn paths_in(words: &[(String, usize)]) -> Vec<(Vec<String>, usize)> {
    let is_name =
        |at: usize| words.get(at).is_some_and(|(word, _)| word.starts_with(|c: char| c.is_alphabetic() || c == '_'));
    let is = |at: usize, wanted: &str| words.get(at).is_some_and(|(word, _)| word == wanted);
    let mut found = Vec::new();
    let mut at = 0;
    while at < words.len() {
        let begins = is_name(at) && !(at > 0 && (is(at - 1, ":") || is(at - 1, "$") || is(at - 1, "in")));
        if !begins {
            at += 1;
            continue;
        }
        let (mut parts, line) = (vec![words[at].0.clone()], words[at].1);
        at += 1;
        while is(at, ":") && is(at + 1, ":") && is_name(at + 2) {
            parts.push(words[at + 2].0.clone());
            at += 3;
        }
        if parts.len() > 1 {
            found.push((parts, line));
        }
    }
    found
}

/// All files under src/ but those that only tests see.
fn sources() -> &'static [Source] {
    static SOURCES: LazyLock<Vec<Source>> = LazyLock::new(read_sources);
    &SOURCES
}

fn read_sources() -> Vec<Source> {
    let mut test_modules = BTreeSet::new();
    let mut found = Vec::new();
    for path in files_below(&Path::new(ROOT).join("src"), "rs") {
        let text = fs::read_to_string(&path).expect("a readable source file");
        let source = Source::new(&from_root(&path), &text);
        let folder = if path.ends_with("mod.rs") || path.ends_with("lib.rs") || path.ends_with("main.rs") {
            path.parent().expect("a folder").to_owned()
        } else {
            path.with_extension("")
        };
        for name in &source.code.test_modules {
            test_modules.insert(folder.join(name).with_extension("rs"));
            test_modules.insert(folder.join(name).join("mod.rs"));
        }
        found.push((path, source));
    }
    found.retain(|(path, _)| !test_modules.contains(path));
    found.into_iter().map(|(_, source)| source).collect()
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

/// Where a path leads, from the crate's root; `None`: out of the crate, or to something of its own.
fn absolute(module: &[String], path: &[String]) -> Option<Vec<String>> {
    let supers = path.iter().take_while(|part| *part == "super").count();
    match path.first()?.as_str() {
        "crate" | "meridian" => Some(path[1..].to_vec()),
        "super" => Some(module[..module.len().checked_sub(supers)?].iter().chain(&path[supers..]).cloned().collect()),
        "self" => Some(module.iter().chain(&path[1..]).cloned().collect()),
        _ => None,
    }
}

fn wrong_imports(source: &Source) -> Vec<String> {
    let module = source.module();
    // lib.rs itself names all modules and imports nothing.
    let Some(from) = module.first() else { return Vec::new() };
    let mut wrong = BTreeSet::new();
    for (path, line) in source.code.paths.iter().chain(&source.code.shown_to) {
        let Some(to) = absolute(&module, path).and_then(|path| path.into_iter().next()) else { continue };
        // Types and functions at the root are no planes.
        if to == *from || !to.starts_with(|c: char| c.is_ascii_lowercase()) {
            continue;
        }
        match (height(from), height(&to)) {
            (Some(from_height), Some(to_height)) if to_height < from_height => {}
            (Some(_), Some(_)) => drop(wrong.insert(source.at(*line, &format!("{from} imports {to}")))),
            _ => drop(wrong.insert(source.at(*line, &format!("{from} or {to} has no place in PLANES: give it one")))),
        }
    }
    wrong.into_iter().collect()
}

fn height(plane: &str) -> Option<u8> {
    PLANES.iter().find(|(name, _)| *name == plane).map(|(_, height)| *height)
}

/// Files that reach each other by their imports: each circle with its files in order.
fn circles(sources: &[Source]) -> Vec<Vec<String>> {
    let modules: BTreeMap<Vec<String>, usize> =
        sources.iter().enumerate().map(|(at, source)| (source.module(), at)).collect();
    let reexports: BTreeMap<(usize, String), Vec<String>> = sources.iter().enumerate().flat_map(reexported).collect();
    let file_of = |path: &[String]| {
        let (length, at) = (1..=path.len()).rev().find_map(|length| Some((length, *modules.get(&path[..length])?)))?;
        let further = path.get(length).and_then(|name| reexports.get(&(at, name.clone())));
        let leads = further.and_then(|to| (1..=to.len()).rev().find_map(|length| modules.get(&to[..length])));
        Some(leads.copied().unwrap_or(at))
    };
    let mut reached: Vec<BTreeSet<usize>> = sources
        .iter()
        .enumerate()
        .map(|(at, source)| {
            let module = source.module();
            let absolute = |path: &[String]| absolute(&module, path).or_else(|| below(&module, path, &modules));
            let imported =
                source.code.paths.iter().map(|(path, _)| path).filter(|path| !source.code.passed_on.contains(path));
            let imported = imported.filter_map(|path| file_of(&absolute(path)?));
            imported.filter(|to| *to != at).collect()
        })
        .collect();
    loop {
        let before: usize = reached.iter().map(BTreeSet::len).sum();
        for at in 0..reached.len() {
            let further: Vec<usize> = reached[at].iter().flat_map(|to| reached[*to].iter().copied()).collect();
            reached[at].extend(further);
        }
        if reached.iter().map(BTreeSet::len).sum::<usize>() == before {
            break;
        }
    }
    let circle = |at: usize| -> Vec<String> {
        let mates = (0..reached.len()).filter(|to| reached[at].contains(to) && reached[*to].contains(&at));
        mates.map(|mate| sources[mate].module().join("::")).collect()
    };
    let circles: BTreeSet<Vec<String>> = (0..reached.len()).map(circle).filter(|circle| !circle.is_empty()).collect();
    circles.into_iter().collect()
}

/// A path that begins with a module below this one.
fn below(module: &[String], path: &[String], modules: &BTreeMap<Vec<String>, usize>) -> Option<Vec<String>> {
    let whole: Vec<String> = module.iter().chain(path).cloned().collect();
    modules.contains_key(&whole[..=module.len()]).then_some(whole)
}

/// What a file passes on of others by `pub use`: the name, and where it leads.
fn reexported((at, source): (usize, &Source)) -> Vec<((usize, String), Vec<String>)> {
    let module = source.module();
    let own = |path: &[String]| match absolute(&module, path) {
        Some(path) => path,
        None => module.iter().chain(path).cloned().collect(),
    };
    let passed = source.code.passed_on.iter().filter_map(|path| Some(((at, path.last()?.clone()), own(path))));
    passed.collect()
}

fn misplaced_libraries(source: &Source) -> Vec<String> {
    let lies_in = |folders: &[&str]| folders.iter().any(|folder| source.path.starts_with(folder));
    let mut misplaced = Vec::new();
    for ban in BANS.iter().filter(|ban| lies_in(ban.folders) && !lies_in(ban.except)) {
        for word in ban.words {
            let banned: Vec<&str> = word.split("::").collect();
            let holds = |path: &[String]| match banned[..] {
                // A library of that name, and not something of ours that is called so.
                [library] => path.first().is_some_and(|first| first == library),
                _ => path.windows(banned.len()).any(|window| window.iter().zip(&banned).all(|(a, b)| a == b)),
            };
            let lines: BTreeSet<usize> =
                source.code.paths.iter().filter(|(path, _)| holds(path)).map(|(_, line)| *line).collect();
            misplaced.extend(lines.into_iter().map(|line| source.at(line, &format!("{word}: {}", ban.why))));
        }
    }
    misplaced
}

fn panics(source: &Source) -> Vec<String> {
    let mut found = Vec::new();
    for (word, parts) in PANICS {
        let mut lines = source.lines_with(parts);
        if *word == ".expect(" {
            for own in &source.code.own_expects {
                lines.iter().position(|line| line == own).map(|at| lines.remove(at));
            }
        }
        let allowed = MAY_PANIC.iter().find(|(path, allowed, ..)| *path == source.path && allowed == word);
        if lines.len() != allowed.map_or(0, |(_, _, times, _)| *times) {
            found.extend(lines.iter().map(|line| source.at(*line, word)));
        }
    }
    found
}

fn long_functions(source: &Source) -> Vec<String> {
    let mut long = Vec::new();
    for (name, line, lines) in &source.code.functions {
        let allowed = LONG_FUNCTIONS.iter().find(|(path, listed, ..)| *path == source.path && listed == name);
        if *lines > allowed.map_or(MAX_FUNCTION_LINES, |(_, _, lines, _)| *lines) {
            long.push(source.at(*line, &format!("fn {name} has {lines} lines")));
        }
    }
    long
}

/// Entries of [`LONG_FUNCTIONS`] that could be lower, or are not needed any more.
fn stale_long_functions(sources: &[Source]) -> Vec<String> {
    let lines_of = |path: &str, name: &str| {
        let source = sources.iter().find(|source| source.path == path)?;
        source.code.functions.iter().filter(|(found, ..)| found == name).map(|(_, _, lines)| *lines).max()
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

/// Skips that do not go through `skip`.
fn own_skips(path: &str, text: &str) -> Vec<String> {
    // This file speaks of them, and the other is the one way.
    if ["tests/tidy.rs", "tests/support/tools.rs"].contains(&path) {
        return Vec::new();
    }
    let file = syn::parse_file(text).unwrap_or_else(|error| panic!("{path} is no Rust: {error}"));
    let mut skips = Skips::default();
    skips.visit_file(&file);
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with("//")) {
        if line.contains("\"skipped") || line.contains("\"MERIDIAN_TEST_REQUIRE_TOOLS\"") {
            skips.found.push((number + 1, "a skip of its own"));
        }
    }
    skips.found.iter().map(|(line, what)| format!("{path}:{line}: {what}")).collect()
}

/// Tests that are ignored, or end early but by `let … else { return }`, which whoever has nothing to give
/// has told, or by `return tools::skip(…)`.
#[derive(Default)]
struct Skips {
    in_test: bool,
    found: Vec<(usize, &'static str)>,
}

impl<'ast> Visit<'ast> for Skips {
    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        let has = |name: &str| {
            item.attrs.iter().any(|attribute| attribute.path().segments.last().is_some_and(|last| last.ident == name))
        };
        if has("ignore") {
            self.found.push((item.sig.fn_token.span.start().line, "an ignored test"));
        }
        let outside = std::mem::replace(&mut self.in_test, has("test"));
        syn::visit::visit_item_fn(self, item);
        self.in_test = outside;
    }

    fn visit_local(&mut self, local: &'ast syn::Local) {
        if let Some(init) = &local.init {
            self.visit_expr(&init.expr);
        }
    }

    fn visit_expr_return(&mut self, returned: &'ast syn::ExprReturn) {
        let says = returned.expr.as_ref().is_some_and(|said| said.to_token_stream().to_string().contains("skip"));
        if self.in_test && !says {
            self.found.push((returned.return_token.span.start().line, "an early end of a test"));
        }
    }

    // What returns there ends no test.
    fn visit_expr_closure(&mut self, _: &'ast syn::ExprClosure) {}
    fn visit_expr_async(&mut self, _: &'ast syn::ExprAsync) {}
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
    assert_eq!(misplaced("src/steer/plan.rs", "fn f() { let now = Instant::now(); }"), 1);
    assert_eq!(misplaced("src/steer/plan.rs", "fn f() { let now = std::time::Instant::now(); }"), 1);
    assert_eq!(misplaced("src/query/answer.rs", "tracing::info!(\"x\");"), 1);
    assert_eq!(misplaced("src/query/answer.rs", "fn f() { let tracing = hickory_tokio::x; }"), 0);
    assert_eq!(misplaced("src/model/zone.rs", "use std::fs;"), 1);
    assert_eq!(misplaced("src/query/answer.rs", "use std::sync::{Arc, Mutex};"), 1);
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
    let text = "fn a() { /* b.unwrap() */ c(\"d.unwrap()\", r#\"todo!()\"#, '\\''); } // panic!()\n";
    assert_eq!(panics(&Source::new("src/x.rs", text)), Vec::<String>::new());
    let tests = Source::new("src/x.rs", "#[cfg(test)]\npub(crate) mod helper;\nfn x() {}");
    assert_eq!(tests.code.test_modules, ["helper"]);
}

#[test]
fn circles_are_seen_through_reexports() {
    let files = [
        ("src/a/mod.rs", "pub mod b;\npub mod c;\npub use b::B;"),
        ("src/a/b.rs", "use super::c::C;\npub struct B;"),
        ("src/a/c.rs", "fn f() { crate::a::B; }"),
        ("src/d.rs", "use crate::a::{B, c};"),
    ];
    let sources: Vec<Source> = files.iter().map(|(path, text)| Source::new(path, text)).collect();
    assert_eq!(circles(&sources), [["a::b", "a::c"]]);
}

#[test]
fn dead_links_are_seen() {
    let document = Path::new(ROOT).join("docs.md");
    let text =
        "[a](Cargo.toml) [b](Cargo.toml#x) [c](https://x/y) [d](#e)\n[f](gone.md)\n```\n[g](gone)\n```\n[h](../x)";
    assert_eq!(dead_links(&document, text), ["docs.md:2: gone.md", "docs.md:6: ../x"]);
}

#[test]
fn skips_of_other_kinds_are_seen() {
    let skips = |text: &str| own_skips("tests/x.rs", text).len();
    assert_eq!(skips("#[test]\n#[ignore]\nfn f() {}"), 1);
    assert_eq!(skips("#[tokio::test]\nasync fn f() { if x { return; } }"), 1);
    assert_eq!(skips("fn f() { println!(\"skipped: {why}\"); }"), 1);
    assert_eq!(skips("#[test]\nfn f() { let Some(x) = y() else { return }; }"), 0);
    assert_eq!(skips("#[test]\nfn f() { if x { return tools::skip(Need::Kit, \"why\"); } }"), 0);
    assert_eq!(skips("fn f() { return; }\n#[test]\nfn g() { h(|| return); }"), 0);
}

#[test]
fn only_what_is_named_may_be_lacking_where_tools_are_required() {
    use tools::{Need, may_skip};
    assert!(may_skip(Need::Program, false, "") && may_skip(Need::Ebpf, false, ""));
    assert!(may_skip(Need::Ebpf, true, "kit ebpf") && may_skip(Need::Kit, true, "kit"));
    assert!(!may_skip(Need::Ebpf, true, "") && !may_skip(Need::Ebpf, true, "ebpfs kit"));
    assert!(!may_skip(Need::Program, true, "program Program ebpf"));
}

#[test]
fn strangers_at_the_top_are_seen() {
    assert!(belongs_at_the_top("LICENSE-MIT") && belongs_at_the_top("src"));
    assert!(!belongs_at_the_top("notes.txt") && !belongs_at_the_top("scripts"));
}
