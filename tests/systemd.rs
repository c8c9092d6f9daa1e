//! The units of `examples/systemd`, by systemd's own tools: that they are well formed, and how much the service may do.

mod support;

use std::process::Command;

use support::tools::present;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/systemd");

/// What it said, and whether it was content.
fn run(command: &mut Command) -> (bool, String) {
    let out = command.output().expect("it runs");
    (out.status.success(), String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr))
}

#[test]
fn the_service_may_do_little() {
    let Some(analyze) = present("systemd-analyze") else { return };
    let security = |unit: &str| {
        run(Command::new(&analyze).args(["security", "--offline=true", "--threshold=15", "--no-pager", unit]))
    };
    let (content, said) = security(&format!("{FOLDER}/meridian.service"));
    assert!(content, "{said}");

    let folder = tempfile::tempdir().expect("a folder");
    let all = folder.path().join("meridian.service");
    std::fs::write(&all, "[Service]\nExecStart=/bin/true\n").expect("written");
    let (content, said) = security(all.to_str().expect("UTF-8"));
    assert!(!content, "one that may do everything is found out: {said}");
}

#[test]
fn the_units_are_well_formed() {
    let Some(analyze) = present("systemd-analyze") else { return };
    let folder = tempfile::tempdir().expect("a folder");
    for unit in ["meridian.service", "meridian.socket"] {
        let text = std::fs::read_to_string(format!("{FOLDER}/{unit}")).expect("a unit");
        let text = text.replace("/usr/bin/meridian", env!("CARGO_BIN_EXE_meridian"));
        std::fs::write(folder.path().join(unit), text).expect("written");
    }
    for unit in ["meridian.service", "meridian.socket"] {
        let path = folder.path().join(unit);
        let (content, said) = run(Command::new(&analyze).args(["verify", "--man=no"]).arg(&path));
        assert!(content && !said.contains(unit), "{unit}: {said}");
    }
}
