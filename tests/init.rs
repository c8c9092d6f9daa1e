//! A first configuration, made by flags: `check` takes it, and nothing is overwritten.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

fn init(folder: &Path, flags: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_meridian"));
    command.arg("init").args(flags).args(["--out", "made"]).current_dir(folder).stdin(Stdio::null());
    command.output().expect("meridian runs")
}

fn text(octets: &[u8]) -> String {
    String::from_utf8_lossy(octets).into_owned()
}

const WHOLE: &[&str] = &[
    "--zone",
    "gslb.example.com.",
    "--ns",
    "ns1=192.0.2.53",
    "--ns",
    "ns2=2001:db8::53",
    "--region",
    "fra=203.0.113.10,50.11,8.68",
    "--region",
    "sin=203.0.113.20,2001:db8::20,1.35,103.99",
    "--yes",
];

#[test]
fn what_flags_make_is_taken_by_check() {
    let database = concat!(env!("CARGO_MANIFEST_DIR"), "/geoip/demo.mmdb");
    let sets: [&[&str]; 5] = [
        WHOLE,
        &["--zone", "EXAMPLE.org", "--ns", "ns.example.net.", "--region", "a=192.0.2.1"],
        &[
            "--zone",
            "x.y.z.example",
            "--ns",
            "ns1=192.0.2.53",
            "--region",
            "one.two=192.0.2.1,-33.9,18.4",
            "--geoip",
            database,
        ],
        &["--zone", "gslb.example", "--ns", "ns1.gslb.example.=192.0.2.53", "--region", "v6=2001:db8::1"],
        &["--zone", "gslb.example", "--ns", "ns1.gslb.example=192.0.2.53", "--region", "v6=2001:db8::1"],
    ];
    for flags in sets {
        let folder = TempDir::new().expect("a folder");
        let output = init(folder.path(), flags);
        assert!(output.status.success(), "{flags:?}: {}", text(&output.stderr));
        let said = text(&output.stdout);
        assert!(said.contains("meridian serve --config made/meridian.toml") && said.contains("IN\tNS\t"), "{said}");
        assert!(!said.contains("example.gslb.example"), "whole names are whole: {said}");
        let main = folder.path().join("made/meridian.toml").display().to_string();
        let checked =
            Command::new(env!("CARGO_BIN_EXE_meridian")).args(["check", "--config", &main]).output().expect("it runs");
        assert!(checked.status.success(), "{flags:?}: {}", text(&checked.stdout));
    }
}

#[test]
fn nothing_is_overwritten_and_nothing_wrong_is_written() {
    let folder = TempDir::new().expect("a folder");
    assert!(init(folder.path(), WHOLE).status.success());
    let again = init(folder.path(), WHOLE);
    assert_eq!(again.status.code(), Some(1));
    assert!(text(&again.stderr).contains("is there already"), "{}", text(&again.stderr));
    for (flags, told, code) in [
        (&["--zone", "a.example"][..], "not said: --ns, --region", 2),
        (&["--zone", "../x", "--ns", "n=192.0.2.1", "--region", "a=192.0.2.1"][..], "is no zone", 1),
        (&["--zone", "a.example", "--ns", "ns1", "--region", "a=192.0.2.1"][..], "ns1.a.example.", 1),
        (&["--zone", "a.example", "--ns", "n=192.0.2.1", "--region", "a b=192.0.2.1"][..], "a b", 1),
        (
            &["--zone", "a.example", "--ns", "n=192.0.2.1", "--region", "a=192.0.2.1,95,0"][..],
            "expected such as fra=",
            2,
        ),
        (&["--zone", "a.example", "--ns", "n=x", "--region", "a=192.0.2.1"][..], "`x` is no address", 2),
    ] {
        let folder = TempDir::new().expect("a folder");
        let output = init(folder.path(), flags);
        assert_eq!(output.status.code(), Some(code), "{flags:?}: {}", text(&output.stderr));
        assert!(text(&output.stderr).contains(told), "{flags:?}: {}", text(&output.stderr));
        assert!(!folder.path().join("made").exists(), "{flags:?}");
    }
}
