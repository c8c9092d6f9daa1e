//! Two nodes at one address, by anycast with BIRD and as a pair with keepalived: drained, stopped, cut off, killed, frozen.
//!
//! Runs what a reader runs, `examples/anycast/run.sh` and `examples/pair/run.sh`, in network namespaces that they make, and
//! reads the seconds and the lost queries that they print. Bounds are loose: the machine may be busy with other tests.

use std::path::Path;
use std::process::{Command, Stdio};

#[path = "support/tools.rs"]
#[allow(dead_code)]
mod tools;

use tools::Need;

/// What a fault cost.
#[derive(Debug)]
struct Cost {
    fault: String,
    /// Until the other node has answered.
    after_ms: u64,
    lost: u64,
}

/// Runs an example to its end; `None`, said aloud, where it cannot run here.
fn run(script: &str, programs: &[&str]) -> Option<Vec<Cost>> {
    for program in programs.iter().chain(&["python3", "unshare", "nsenter", "ip"]) {
        tools::find(program)?;
    }
    // The script ends what it has started, also when it is ended.
    let output = Command::new("timeout")
        .args(["--kill-after=20", "300"])
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join(script))
        .env("MERIDIAN", env!("CARGO_BIN_EXE_meridian"))
        .env_remove("MERIDIAN_LOG")
        .stdin(Stdio::null())
        .output()
        .expect("it starts");
    let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    if output.status.code() == Some(NO_NAMESPACES) {
        tools::skip(Need::Namespaces, &format!("no network namespaces here ({})", err.trim()));
        return None;
    }
    println!("{out}");
    assert!(output.status.success(), "{out}\n{err}");
    Some(out.lines().map(cost).collect())
}

/// The exit code of the examples' scripts for it.
const NO_NAMESPACES: i32 = 77;

/// `kill -9:   b answers after  156 ms, 6 of 63 queries lost`
fn cost(line: &str) -> Cost {
    let (fault, rest) = line.split_once(": ").unwrap_or_else(|| panic!("{line}"));
    let numbers: Vec<u64> = rest.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    let [after_ms, lost, _] = numbers[..] else { panic!("{line}") };
    Cost { fault: fault.to_owned(), after_ms, lost }
}

/// Each within so many milliseconds, and so many queries lost at most.
fn hold(costs: &[Cost], bounds: &[(&str, u64, u64)]) {
    assert_eq!(costs.len(), bounds.len(), "{costs:?}");
    for (cost, (fault, after_ms, lost)) in costs.iter().zip(bounds) {
        assert_eq!(cost.fault, *fault);
        assert!(cost.after_ms <= *after_ms && cost.lost <= *lost, "at most {after_ms} ms, {lost} lost: {cost:?}");
    }
}

#[test]
fn anycast_with_bird_loses_nothing_by_a_drain_and_a_moment_by_a_fault() {
    let Some(costs) = run("examples/anycast/run.sh", &["bird", "birdc"]) else { return };
    let bounds = [
        ("meridian node drain", 5_000, 0),
        ("meridian node resume", 5_000, 0),
        ("SIGTERM, with stop_delay", 5_000, 0),
        ("cable cut, without a sign", 3_000, 150),
        ("kill -9", 4_000, 200),
        ("frozen (SIGSTOP)", 4_000, 200),
        ("BIRD gone (kill -9)", 3_000, 150),
    ];
    hold(&costs, &bounds);
}

#[test]
fn a_pair_with_keepalived_loses_next_to_nothing_by_a_drain_and_seconds_by_a_fault() {
    let Some(costs) = run("examples/pair/run.sh", &["keepalived"]) else { return };
    // A query may reach the node that let go of the address an instant before.
    let bounds = [
        ("meridian node drain", 8_000, 5),
        ("meridian node resume", 8_000, 5),
        ("SIGTERM, with stop_delay", 5_000, 5),
        ("cable cut, without a sign", 6_000, 300),
        ("kill -9", 8_000, 400),
        ("frozen (SIGSTOP)", 8_000, 400),
    ];
    hold(&costs, &bounds);
}
