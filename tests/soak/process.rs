//! The server as a process of its own: its log, and what it takes of memory, descriptors and threads.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::support::server::wait_until;

/// What follows from what is done here, on warnings and errors of the log.
const PROVOKED: [&str; 10] = [
    "an endpoint changed: ",
    "load reports ",
    "events::told: region ",
    "some endpoints have not answered their first probe",
    // The one that is always up.
    "has regions that are never checked",
    // Files that are bad on purpose.
    "not reloaded: the old configuration is still being served",
    "bad.example.toml:",
    "notes1.example.toml:",
    "meridian.toml:1:10: wrong type for `listen`",
    "geo.mmdb",
];

pub struct Process {
    child: Child,
    log: PathBuf,
    pub dns: SocketAddr,
    pub admin: SocketAddr,
}

/// What a process takes at a moment.
#[derive(Clone, Copy, Debug)]
pub struct Taken {
    pub memory_mb: f64,
    pub files: usize,
    pub threads: usize,
}

impl Process {
    pub fn start(folder: &Path) -> Process {
        let log = folder.join("log");
        let file = std::fs::File::create(&log).expect("a log");
        let program = std::env::var_os("MERIDIAN_SOAK_PROGRAM");
        let mut command = Command::new(program.unwrap_or(env!("CARGO_BIN_EXE_meridian").into()));
        command.arg("serve").arg("--config").arg(folder.join("meridian.toml"));
        command.env_remove("MERIDIAN_LOG").env("NO_COLOR", "1").stdin(Stdio::null());
        let child = command.stdout(file.try_clone().expect("a second handle")).stderr(file).spawn().expect("it starts");
        let none = SocketAddr::from(([0; 4], 0));
        let mut process = Process { child, log, dns: none, admin: none };
        wait_until("it answers", Duration::from_secs(60), || process.find_addresses());
        process
    }

    fn find_addresses(&mut self) -> bool {
        let text = self.log();
        let Some(line) = text.lines().find(|line| line.contains("answering dns=") && line.contains("rum=")) else {
            return false;
        };
        (self.dns, self.admin) = (between(line, "dns=[", ']'), between(line, "admin=Some(", ')'));
        true
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    pub fn folder(&self) -> &Path {
        self.log.parent().expect("a folder")
    }

    pub fn taken(&self) -> Taken {
        let proc = PathBuf::from(format!("/proc/{}", self.id()));
        let status = std::fs::read_to_string(proc.join("status")).expect("it runs");
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("a line of it");
        let kib: f64 = line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).expect("a number");
        let entries = |folder: &str| std::fs::read_dir(proc.join(folder)).expect("it runs").count();
        Taken { memory_mb: kib * 1024.0 / 1e6, files: entries("fd"), threads: entries("task") }
    }

    /// By SIGTERM, as a supervisor does; it ends well, and soon.
    pub fn stop(&mut self) {
        signal(self.id(), "-TERM");
        wait_until("it stops", Duration::from_secs(30), || self.child.try_wait().expect("a child").is_some());
        assert!(self.child.wait().expect("a child").success(), "{}", self.log());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill(); // it may have ended by itself
        let _ = self.child.wait();
    }
}

pub fn signal(process: u32, which: &str) {
    let status = Command::new("kill").arg(which).arg(process.to_string()).status();
    assert!(status.is_ok_and(|status| status.success()), "it runs");
}

/// Lines that nothing done here explains: panics, and warnings and errors of any other kind.
pub fn unexpected(log: &str) -> Vec<&str> {
    let is_grave = |line: &str| line.contains(" WARN ") || line.contains("ERROR ");
    let is_provoked = |line: &str| PROVOKED.iter().any(|words| line.contains(words));
    log.lines().filter(|line| line.contains("panicked") || is_grave(line) && !is_provoked(line)).collect()
}

fn between(line: &str, from: &str, to: char) -> SocketAddr {
    let after = line.split(from).nth(1).expect("an address");
    after.split(to).next().expect("an address").parse().expect("an address")
}
