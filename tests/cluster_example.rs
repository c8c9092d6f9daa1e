//! Three nodes and a real etcd, as `examples/cluster/run.sh --check` has them: what the script asserts, a step at a time, and
//! that nothing of it is left.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

#[path = "support/tools.rs"]
#[allow(dead_code)]
mod tools;

use tools::{Running, find};

const BINARY: &str = env!("CARGO_BIN_EXE_meridian");
/// It takes a minute where nothing else runs; a hang ends here.
const LONGEST: Duration = Duration::from_secs(300);

#[test]
fn three_nodes_do_together_what_the_example_says() {
    let Some(_programs) = programs() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let log = folder.path().join("log");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/cluster/run.sh").display().to_string();
    let settings = [format!("MERIDIAN={BINARY}"), format!("TMPDIR={}", folder.path().display())];
    let words = [&settings[0], &settings[1], "bash", &script, "--check"];
    let mut script = Running::start(Path::new("/usr/bin/env"), &words, &log);
    let began = Instant::now();
    let said = || fs::read_to_string(&log).expect("what it said");
    while !script.has_ended() {
        assert!(began.elapsed() < LONGEST, "it hangs: {}", said());
        sleep(Duration::from_millis(100));
    }
    assert!(said().ends_with("all of it is so\n"), "{}", said());
    println!("{}", said());
    let left: Vec<PathBuf> =
        fs::read_dir(folder.path()).expect("a folder").map(|of| of.expect("a file").path()).collect();
    assert_eq!(left, [log], "its own folder is gone");
}

/// Those it takes; `None`, said aloud, where one is missing.
fn programs() -> Option<Vec<PathBuf>> {
    ["bash", "etcd", "dig", "setpriv"].into_iter().map(find).collect()
}
