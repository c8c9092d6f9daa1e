//! What is made of the commands' own help: completions of shells, manual pages, and the list in docs/cli.md.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

mod support;

use support::tools::{self, Need};

fn meridian(arguments: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_meridian"));
    let Output { status, stdout, stderr } = command.args(arguments).output().expect("the program starts");
    assert!(status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&stderr));
    String::from_utf8(stdout).expect("UTF-8")
}

/// All commands, as `region drain`, by what help shows of each.
fn commands() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut left = vec![Vec::<String>::new()];
    while let Some(words) = left.pop() {
        let mut arguments: Vec<&str> = words.iter().map(String::as_str).collect();
        arguments.push("--help");
        let help = meridian(&arguments);
        let below = help.split("\nCommands:\n").nth(1).and_then(|rest| rest.split("\n\n").next()).unwrap_or_default();
        for line in below.lines().filter(|line| line.starts_with("  ") && !line.starts_with("   ")) {
            let name = line.split_whitespace().next().expect("a name");
            if name != "help" {
                let words: Vec<String> = words.iter().cloned().chain([name.to_owned()]).collect();
                found.insert(words.join(" "));
                left.push(words);
            }
        }
    }
    assert!(found.len() > 40 && found.contains("region drain"), "{found:?}");
    found
}

#[test]
fn each_shell_has_completions_that_know_every_command() {
    for shell in ["bash", "zsh", "fish"] {
        let script = meridian(&["completions", shell]);
        for command in commands() {
            let last = command.split(' ').next_back().expect("a word");
            assert!(script.contains(last), "{shell}: {command}");
        }
        assert!(script.contains("--token-file") || script.contains("token-file"), "{shell}");
        parses(shell, &script);
    }
    let refused = Command::new(env!("CARGO_BIN_EXE_meridian")).args(["completions", "tcsh"]).output();
    assert_eq!(refused.expect("the program starts").status.code(), Some(2));
}

/// The shell reads the script without running it, where it is installed; bash is everywhere.
fn parses(shell: &str, script: &str) {
    let Some(program) = tools::present(shell) else {
        assert_ne!(shell, "bash", "is not installed");
        return;
    };
    let flag = if shell == "fish" { "--no-execute" } else { "-n" };
    let mut child = Command::new(program)
        .arg(flag)
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{shell}: {error}"));
    child.stdin.take().expect("its input").write_all(script.as_bytes()).expect("read");
    let Output { status, stderr, .. } = child.wait_with_output().expect("its end");
    assert!(status.success() && stderr.is_empty(), "{shell}: {}", String::from_utf8_lossy(&stderr));
}

/// The list follows this, up to the end of the document.
const LIST: &str = "## All commands\n\n";

#[test]
fn the_document_lists_every_command_as_help_tells_it() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/cli.md");
    let document = fs::read_to_string(&path).expect("the document");
    let (before, list) = document.split_once(LIST).expect("its list");
    let mut wanted = "| command | does |\n|---|---|\n".to_owned();
    for command in commands() {
        let words: Vec<&str> = command.split(' ').chain(["-h"]).collect();
        let help = meridian(&words);
        let about = help.lines().take_while(|line| !line.is_empty()).collect::<Vec<_>>().join(" ");
        wanted.push_str(&format!("| `meridian {command}` | {about} |\n"));
    }
    if std::env::var_os("MERIDIAN_TEST_WRITE_DOCS").is_some() {
        fs::write(&path, format!("{before}{LIST}{wanted}")).expect("written");
    } else {
        assert_eq!(list, wanted, "docs/cli.md: write it anew with MERIDIAN_TEST_WRITE_DOCS=1 and this test");
    }
}

#[test]
fn every_command_has_a_manual_page() {
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("man1");
    meridian(&["man", "--out", out.to_str().expect("a path")]);
    let written: BTreeSet<String> = fs::read_dir(&out)
        .expect("listed")
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8"))
        .collect();
    let wanted = commands().into_iter().map(|command| format!("meridian-{}.1", command.replace(' ', "-")));
    let wanted: BTreeSet<String> = wanted.chain(["meridian.1".to_owned()]).collect();
    assert_eq!(written, wanted);
    for name in &written {
        let page = fs::read_to_string(out.join(name)).expect("a page");
        let title = name.trim_end_matches(".1");
        assert!(page.contains(&format!("\n.TH {title} 1 ")), "{name}: {page}");
        for heading in [".SH NAME\n", ".SH SYNOPSIS\n", ".SH DESCRIPTION\n"] {
            assert!(page.contains(heading), "{name}: {heading}");
        }
    }
    let main = meridian(&["man"]);
    assert!(main.contains(".SH \"EXIT STATUS\"") && main.contains("somebody changed it meanwhile"), "{main}");
}

#[test]
fn manual_pages_have_no_faults() {
    let Some(groff) = tools::present("groff") else {
        return tools::skip(Need::Program, "groff is not installed");
    };
    let folder = tempfile::tempdir().expect("a folder");
    meridian(&["man", "--out", folder.path().to_str().expect("a path")]);
    for entry in fs::read_dir(folder.path()).expect("listed") {
        let page = entry.expect("an entry").path();
        let (complaints, text) = typeset(&groff, &page);
        assert_eq!(complaints, "", "{}", page.display());
        assert!(text.contains("SYNOPSIS") && !text.contains("\\&"), "{}: {text}", page.display());
    }
}

fn typeset(groff: &Path, page: &Path) -> (String, String) {
    let Output { stdout, stderr, .. } =
        Command::new(groff).args(["-man", "-Tutf8", "-ww", "-P-cbou"]).arg(page).output().expect("groff starts");
    (String::from_utf8_lossy(&stderr).into_owned(), String::from_utf8_lossy(&stdout).into_owned())
}
