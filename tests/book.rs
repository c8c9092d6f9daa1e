//! The documents as a book: each page is listed, and what the tutorial has people type makes what it says.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use meridian::control::config;
use tempfile::TempDir;

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs")
}

#[test]
fn every_page_is_in_the_summary_once() {
    let summary = fs::read_to_string(docs().join("SUMMARY.md")).expect("a summary");
    let listed: Vec<String> =
        summary.split("](").skip(1).filter_map(|rest| Some(rest.split(')').next()?.to_owned())).collect();
    let pages: BTreeSet<String> = fs::read_dir(docs())
        .expect("pages")
        .map(|entry| entry.expect("a page").file_name().to_string_lossy().into_owned())
        .filter(|name| name.ends_with(".md") && name != "SUMMARY.md")
        .collect();
    assert_eq!(listed.iter().cloned().collect::<BTreeSet<_>>(), pages);
    assert_eq!(listed.len(), pages.len(), "a page is listed twice");
}

#[test]
fn the_tutorials_configuration_is_made_and_taken() {
    let tutorial = fs::read_to_string(docs().join("tutorial.md")).expect("a tutorial");
    let folder = TempDir::new().expect("a folder");
    let mut run = 0;
    for command in ["init", "check", "delegation"] {
        let begin = format!("$ meridian {command} ");
        for line in tutorial.lines().filter_map(|line| line.strip_prefix(&*begin)) {
            let mut meridian = Command::new(env!("CARGO_BIN_EXE_meridian"));
            let output = meridian.arg(command).args(line.split_whitespace()).current_dir(folder.path()).output();
            let output = output.expect("meridian runs");
            assert!(output.status.success(), "{command} {line}: {}", String::from_utf8_lossy(&output.stderr));
            run += 1;
        }
    }
    assert_eq!(run, 3);
}

/// The recipes, each behind two regions.
#[test]
fn the_cookbooks_recipes_are_taken() {
    let cookbook = fs::read_to_string(docs().join("cookbook.md")).expect("a cookbook");
    let recipes: Vec<&str> = cookbook.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(recipes.len() >= 5, "only {} recipes", recipes.len());
    for recipe in recipes {
        let folder = TempDir::new().expect("a folder");
        fs::create_dir(folder.path().join("zones")).expect("made");
        let region = |name: &str, last: u8| {
            format!(
                "[region.{name}]\nlocation = {{ country = \"DE\" }}\nendpoints = [{{ address = \"192.0.2.{last}\" }}]\n"
            )
        };
        let zone = format!(
            "origin = \"z.example\"\nrecords = '''@ SOA ns1 h 1 1h 10m 1w 60\n@ NS ns1\nns1 A 192.0.2.53'''\n{}{}{recipe}",
            region("fra", 1),
            region("sin", 2)
        );
        fs::write(folder.path().join("zones/z.toml"), zone).expect("written");
        let main = folder.path().join("meridian.toml");
        fs::write(&main, "").expect("written");
        if let Err(diagnostics) = config::load(&main) {
            panic!("{recipe}\n{}", diagnostics.iter().map(|each| each.render(false)).collect::<String>());
        }
    }
}
