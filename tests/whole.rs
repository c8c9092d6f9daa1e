//! Everything the two tiers can do together, for real: `examples/whole/run.sh`, all of its steps.
//!
//! In: root, HAProxy, nginx with its stream module, keepalived, etcd and small tools. Out: what the script asserts, a step at a time,
//! and that nothing of it is left. The script lives in namespaces of its own; each figure it prints is in the failure's message.
//!
//! ```text
//!   clients ─▶ two Meridian nodes ─▶ a region's address ─▶ a pair of HAProxy | nginx stream ─▶ four servers
//!                    ▲   probes, load reports ──────────────────┘      events ─▶ hook ─▶ HAProxy
//! ```

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

#[path = "support/tools.rs"]
#[allow(dead_code)]
mod tools;

use tools::{Need, Running};

const BINARY: &str = env!("CARGO_BIN_EXE_meridian");
/// It takes 90 s where nothing else runs; a hang ends here.
const LONGEST: Duration = Duration::from_secs(300);
const PROGRAMS: [&str; 12] = [
    "haproxy",
    "nginx",
    "keepalived",
    "etcd",
    "curl",
    "dig",
    "openssl",
    "python3",
    "ip",
    "nsenter",
    "unshare",
    "setpriv",
];
/// Debian's libnginx-mod-stream; elsewhere it may be built in.
const STREAM_MODULE: &str = "/usr/lib/nginx/modules/ngx_stream_module.so";

#[test]
fn both_tiers_do_together_what_the_example_says() {
    let Some(requests) = requests() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let log = folder.path().join("log");
    let mut script = start(folder.path(), &log, requests);
    let began = Instant::now();
    while !script.has_ended() {
        assert!(began.elapsed() < LONGEST, "it hangs: {}", said(&log));
        sleep(Duration::from_millis(100));
    }
    let said = said(&log);
    assert!(said.contains("\nall of it is so: "), "{said}");
    println!("{said}");
    let left: Vec<PathBuf> =
        fs::read_dir(folder.path()).expect("a folder").map(|of| of.expect("a file").path()).collect();
    assert_eq!(left, [log], "its own folder is gone");
}

/// By way of `env`, for the script's own settings.
fn start(folder: &Path, log: &Path, requests: &str) -> Running {
    let settings = [format!("MERIDIAN={BINARY}"), format!("TMPDIR={}", folder.display())];
    let script = example("run.sh").display().to_string();
    let words = [&settings[0], &settings[1], "bash", &script, "--requests", requests];
    Running::start(Path::new("/usr/bin/env"), &words, log)
}

fn said(log: &Path) -> String {
    fs::read_to_string(log).expect("what it said")
}

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/whole").join(name)
}

/// Of each of the runs under load; `None`, said aloud, where something is lacking.
fn requests() -> Option<&'static str> {
    if !may_make_a_world() {
        tools::skip(Need::Namespaces, "no namespaces of networks, processes and mounts here, or no router in them");
        return None;
    }
    if !PROGRAMS.iter().all(|program| tools::find(program).is_some()) {
        return None;
    }
    let built_in = Command::new(tools::present("nginx").expect("found above")).arg("-V").output().expect("nginx runs");
    if !Path::new(STREAM_MODULE).exists() && !String::from_utf8_lossy(&built_in.stderr).contains("--with-stream ") {
        tools::skip(Need::Program, &format!("nginx's stream module, {STREAM_MODULE}, is not installed"));
        return None;
    }
    let at_length = std::env::var_os("MERIDIAN_TEST_AT_LENGTH").is_some();
    Some(if at_length { "100000" } else { "20000" })
}

/// What the script does first, in small. Root in a container may have less.
fn may_make_a_world() -> bool {
    let router = "mount -t tmpfs tmpfs /run && echo 1 >/proc/sys/net/ipv4/ip_forward && echo 1 >/proc/sys/net/ipv4/ip_nonlocal_bind";
    let spaces = ["--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"];
    let tried = Command::new("unshare").args(spaces).args(["sh", "-c", router]).output();
    tried.is_ok_and(|ended| ended.status.success())
}

/// The page's examples in these languages are pieces of the files that run.
#[test]
fn the_documents_examples_are_those_that_run() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/two-tiers.md");
    let page = fs::read_to_string(page).expect("docs/two-tiers.md");
    let files = [
        ("haproxy", "haproxy.cfg"),
        ("nginx", "nginx.conf"),
        ("keepalived", "keepalived.conf"),
        ("toml", "zones/gslb.example.toml"),
    ];
    let mut looked_at = 0;
    for (language, file) in files {
        let runs = words_of(&fs::read_to_string(example(file)).expect("a file of the example"));
        for line in fenced(&page, language) {
            assert!(runs.contains(&line), "docs/two-tiers.md says `{line}`, which is not in {file}");
            looked_at += 1;
        }
    }
    assert!(looked_at > 30, "{looked_at} lines");
}

/// Lines of code blocks in a language, one space between words, without comments.
fn fenced(page: &str, language: &str) -> Vec<String> {
    let blocks = page.split("```").skip(1).step_by(2);
    let of_language = blocks.filter_map(|block| block.strip_prefix(language)?.strip_prefix('\n'));
    of_language.flat_map(words_of).collect()
}

fn words_of(text: &str) -> Vec<String> {
    let code =
        |line: &str| line.split(" # ").next().unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ");
    text.lines().map(code).filter(|line| !line.is_empty() && !line.starts_with('#')).collect()
}
