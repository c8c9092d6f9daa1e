//! The eBPF objects in the repository are those of the sources beside them: by digest always, and by compiling
//! anew where clang of the same major version is installed.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

mod support;

use support::tools::{self, Need};

/// Folders of programs, each with its own `compile` and `digests`.
const FOLDERS: [&str; 2] = ["src/query/transport/xdp/bpf", "src/query/kernel/bpf"];

/// What programs and their maps consist of, as sections of an object. The rest is for people who debug them.
const SECTIONS: [&str; 4] = ["xdp", ".text", ".maps", "license"];

fn folder_at(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

#[test]
fn no_source_was_edited_without_compiling_it() {
    FOLDERS.iter().for_each(|path| matches_digests(path));
}

fn matches_digests(path: &str) {
    let sources = folder_at(path);
    let noted = fs::read_to_string(sources.join("digests")).expect("digests");
    let mut noted: Vec<(String, String)> = noted
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_once("  "))
        .map(|(digest, file)| (file.to_owned(), digest.to_owned()))
        .collect();
    noted.sort();
    let mut found: Vec<(String, String)> =
        files(&sources).into_iter().map(|path| (name(&path), digest(&fs::read(&path).expect("a file")))).collect();
    found.sort();
    assert_eq!(found, noted, "run {path}/compile, and commit what it makes");
}

#[test]
fn objects_are_compiled_from_their_sources() {
    let (Some(clang), Some(_)) = (tools::find("clang"), tools::find("llvm-strip")) else { return };
    let version = Command::new(clang).arg("-dumpversion").output().expect("clang runs");
    let version = String::from_utf8_lossy(&version.stdout);
    let major = version.split('.').next().unwrap_or_default();
    FOLDERS.iter().for_each(|path| matches_sources(&folder_at(path), major));
}

fn matches_sources(sources: &Path, major: &str) {
    let noted = fs::read_to_string(sources.join("digests")).expect("digests");
    if !noted.contains(&format!("# clang {major}\n")) {
        return tools::skip(Need::Clang, &format!("clang {major} is here, another compiled the objects"));
    }
    let folder = tempfile::tempdir().expect("a folder");
    let output = Command::new(sources.join("compile")).arg(folder.path()).output().expect("bash");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let objects: Vec<PathBuf> = files(sources).into_iter().filter(|path| name(path).ends_with(".o")).collect();
    assert!(!objects.is_empty());
    for object in objects {
        let (committed, made) =
            (fs::read(&object).expect("ours"), fs::read(folder.path().join(name(&object))).expect("new"));
        for section in SECTIONS {
            let committed = contents(&committed, section).expect("a section");
            assert!(
                contents(&made, section) == Some(committed),
                "{}: {section} differs: run `compile`",
                object.display()
            );
        }
    }
}

/// Sources and objects.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    entries.filter(|path| name(path).contains(".bpf.")).collect()
}

fn name(path: &Path) -> String {
    path.file_name().expect("a name").to_string_lossy().into_owned()
}

fn digest(octets: &[u8]) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, octets);
    digest.as_ref().iter().fold(String::new(), |mut text, octet| {
        write!(text, "{octet:02x}").expect("text");
        text
    })
}

/// What a section of a 64-bit little-endian ELF file holds.
fn contents<'a>(file: &'a [u8], section: &str) -> Option<&'a [u8]> {
    let number = |at: usize, octets: usize| -> Option<usize> {
        let field = file.get(at..at + octets)?;
        Some(field.iter().rev().fold(0, |number, octet| number << 8 | usize::from(*octet)))
    };
    let (table, size, count, names) = (number(0x28, 8)?, number(0x3a, 2)?, number(0x3c, 2)?, number(0x3e, 2)?);
    let names = number(table + names * size + 0x18, 8)?;
    (0..count).map(|index| table + index * size).find_map(|header| {
        let name = file.get(names + number(header, 4)?..)?;
        let found = name.strip_prefix(section.as_bytes())?.first() == Some(&0);
        let (offset, length) = (number(header + 0x18, 8)?, number(header + 0x20, 8)?);
        if found { file.get(offset..offset + length) } else { None }
    })
}
