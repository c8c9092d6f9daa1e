//! What is depended on, held to deny.toml: licences, crates that are banned, versions beside each other, and where
//! crates come from. `cargo deny check` reads the same file; this needs no tool and no network.
//!
//! In: `cargo metadata` of what is built for the platform that deny.toml names. Out: every crate that breaks a rule, and
//! every entry that no crate needs any more. Advisories are known to `cargo deny` alone: see .ci/run.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

#[test]
fn dependencies_are_those_that_deny_toml_allows() {
    let rules: Rules = toml::from_str(&fs::read_to_string(Path::new(ROOT).join("deny.toml")).expect("deny.toml"))
        .unwrap_or_else(|error| panic!("deny.toml: {error}"));
    let crates = crates(&rules.graph.targets[0]);
    assert!(crates.iter().any(|one| one.name == "ring"), "{} crates, and rustls' provider is not there", crates.len());
    let broken = broken(&rules, &crates);
    assert!(broken.is_empty(), "\nHeld by deny.toml. Broken here:\n  {}\n", broken.join("\n  "));
}

/// What is read of deny.toml; the rest is for `cargo deny`.
#[derive(serde::Deserialize)]
struct Rules {
    graph: Graph,
    licenses: Licenses,
    bans: Bans,
}

#[derive(serde::Deserialize)]
struct Graph {
    targets: Vec<String>,
}

#[derive(serde::Deserialize)]
struct Licenses {
    allow: Vec<String>,
}

#[derive(serde::Deserialize)]
struct Bans {
    deny: Vec<Entry>,
    skip: Vec<Entry>,
}

#[derive(serde::Deserialize)]
struct Entry {
    /// A name, or a name and the first parts of a version: `syn@2`.
    #[serde(rename = "crate")]
    spec: String,
    reason: String,
}

impl Entry {
    fn is_for(&self, one: &Crate) -> bool {
        let (name, version) = self.spec.split_once('@').unwrap_or((&self.spec, ""));
        let begins = one.version.strip_prefix(version).is_some_and(|rest| version.is_empty() || rest.starts_with('.'));
        name == one.name && begins
    }
}

struct Crate {
    name: String,
    version: String,
    /// An SPDX expression.
    license: String,
    /// `None`: this repository.
    source: Option<String>,
}

fn crates(target: &str) -> Vec<Crate> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--locked", "--offline", "--format-version", "1", "--filter-platform", target])
        .current_dir(ROOT)
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let text = |package: &Value, key: &str| package[key].as_str().map(str::to_owned);
    let packages = metadata["packages"].as_array().expect("packages").iter();
    packages
        .map(|package| Crate {
            name: text(package, "name").expect("a name"),
            version: text(package, "version").expect("a version"),
            license: text(package, "license").unwrap_or_default(),
            source: text(package, "source"),
        })
        .collect()
}

fn broken(rules: &Rules, crates: &[Crate]) -> Vec<String> {
    let mut broken = Vec::new();
    let allowed: BTreeSet<&str> = rules.licenses.allow.iter().map(String::as_str).collect();
    let mut by_name: BTreeMap<&str, Vec<&Crate>> = BTreeMap::new();
    for one in crates {
        let Crate { name, version, license, source } = one;
        if !may_be_used(license, &allowed) {
            broken.push(format!("{name} {version}: the licence is `{license}`"));
        }
        if source.as_ref().is_some_and(|source| source != "registry+https://github.com/rust-lang/crates.io-index") {
            broken.push(format!("{name} {version}: it comes from {source:?}, not from crates.io"));
        }
        for entry in rules.bans.deny.iter().filter(|entry| entry.is_for(one)) {
            broken.push(format!("{name} {version} is banned: {}", entry.reason));
        }
        by_name.entry(name).or_default().push(one);
    }
    for versions in by_name.values().filter(|versions| versions.len() > 1) {
        let left: Vec<_> =
            versions.iter().filter(|one| !rules.bans.skip.iter().any(|entry| entry.is_for(one))).collect();
        if left.len() != 1 {
            let all: Vec<&str> = versions.iter().map(|one| one.version.as_str()).collect();
            broken.push(format!("{} is there in several versions: {}", versions[0].name, all.join(", ")));
        }
    }
    for entry in &rules.bans.skip {
        let twice = by_name.values().any(|versions| versions.len() > 1 && versions.iter().any(|one| entry.is_for(one)));
        if !twice {
            broken.push(format!("{} in `skip` is not needed any more ({})", entry.spec, entry.reason));
        }
    }
    for license in &allowed {
        let others: BTreeSet<&str> = allowed.iter().copied().filter(|other| other != license).collect();
        if !crates.iter().any(|one| may_be_used(&one.license, &allowed) && !may_be_used(&one.license, &others)) {
            broken.push(format!("{license} in `allow` is not needed any more"));
        }
    }
    broken
}

/// Whether an SPDX expression can be met by licences that are allowed. `/` is how `OR` was written before.
fn may_be_used(expression: &str, allowed: &BTreeSet<&str>) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut rest = words.as_slice();
    let met = either(&mut rest, allowed);
    met == Some(true) && rest.is_empty()
}

/// `a OR b …`; `None` where it makes no sense. AND binds closer (SPDX annex D.4.5).
fn either(words: &mut &[&str], allowed: &BTreeSet<&str>) -> Option<bool> {
    let mut met = both(words, allowed)?;
    while let ["OR", rest @ ..] = *words {
        *words = rest;
        met |= both(words, allowed)?;
    }
    Some(met)
}

fn both(words: &mut &[&str], allowed: &BTreeSet<&str>) -> Option<bool> {
    let mut met = one(words, allowed)?;
    while let ["AND", rest @ ..] = *words {
        *words = rest;
        met &= one(words, allowed)?;
    }
    Some(met)
}

fn one(words: &mut &[&str], allowed: &BTreeSet<&str>) -> Option<bool> {
    match **words {
        ["(", ..] => {
            *words = &words[1..];
            let met = either(words, allowed)?;
            let [")", rest @ ..] = *words else { return None };
            *words = rest;
            Some(met)
        }
        [license, "WITH", exception, ..] => {
            *words = &words[3..];
            Some(allowed.contains(format!("{license} WITH {exception}").as_str()))
        }
        [license, ..] if !matches!(license, "OR" | "AND" | ")") => {
            *words = &words[1..];
            Some(allowed.contains(license))
        }
        _ => None,
    }
}

// ---------------------------------------------------------------------------------------------
// The rules can fail

#[test]
fn expressions_are_met_by_what_is_allowed_alone() {
    let allowed = BTreeSet::from(["MIT", "ISC", "Unicode-3.0"]);
    for met in ["MIT", "MIT OR GPL-3.0", "GPL-3.0/MIT", "(GPL-3.0 OR MIT) AND Unicode-3.0", "X OR MIT AND ISC"] {
        assert!(may_be_used(met, &allowed), "{met}");
    }
    for unmet in ["", "GPL-3.0", "MIT AND GPL-3.0", "MIT WITH x", "(MIT", "MIT)", "MIT ISC", "OR", "X OR MIT AND Y"] {
        assert!(!may_be_used(unmet, &allowed), "{unmet}");
    }
}

#[test]
fn strangers_among_crates_are_seen() {
    let rules: Rules = toml::from_str(
        r#"
graph.targets = ["x"]
licenses.allow = ["MIT", "ISC"]
bans.deny = [{ crate = "banned", reason = "so" }]
bans.skip = [{ crate = "old@1.2", reason = "held" }, { crate = "gone@1", reason = "held" }]
"#,
    )
    .expect("rules");
    let one = |name: &str, version: &str, license: &str, source: &str| {
        let source = format!("{source}+https://github.com/rust-lang/crates.io-index");
        Crate { name: name.into(), version: version.into(), license: license.into(), source: Some(source) }
    };
    let crates = [
        one("fine", "1.0.0", "MIT", "registry"),
        one("banned", "1.0.0", "MIT", "registry"),
        one("free", "1.0.0", "GPL-3.0", "registry"),
        one("odd", "1.0.0", "MIT", "git"),
        one("old", "1.2.3", "MIT", "registry"),
        one("old", "2.0.0", "MIT", "registry"),
        one("twice", "1.0.0", "MIT", "registry"),
        one("twice", "2.0.0", "MIT", "registry"),
    ];
    let told = broken(&rules, &crates).join("\n");
    let expected =
        ["banned 1.0.0 is banned: so", "free 1.0.0: the licence", "odd 1.0.0: it comes from", "twice is there"];
    let stale = ["gone@1 in `skip` is not needed", "ISC in `allow` is not needed"];
    for text in expected.iter().chain(&stale) {
        assert!(told.contains(text), "{text}: {told}");
    }
    assert_eq!(told.lines().count(), 6, "{told}");
}
