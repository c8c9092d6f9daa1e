//! Programs that others wrote: found where installed, started on loopback, ended by their id.
//!
//! A test that needs one, or a right, says so and passes where it is missing, unless
//! `MERIDIAN_TEST_REQUIRE_TOOLS` is set, as it is in CI: then it fails. What a machine cannot have is
//! named in `MERIDIAN_TEST_WITHOUT`, words of [`Need`] with spaces between them.

use std::ffi::OsStr;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Where the program is; without it the test is skipped.
pub fn find(name: &str) -> Option<PathBuf> {
    let found = present(name);
    if found.is_none() {
        skip(Need::Program, &format!("{name} is not installed"));
    }
    found
}

/// Where the program is, if it is. Servers are often outside a user's PATH.
pub fn present(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let beside = ["/usr/sbin", "/usr/local/sbin", "/sbin"].map(PathBuf::from);
    std::env::split_paths(&path).chain(beside).map(|folder| folder.join(name)).find(|file| file.is_file())
}

/// What `dig +short` says to a client at an address of this machine, line by line.
pub fn dig_short(dig: &Path, client: IpAddr, server: SocketAddr, name: &str, qtype: &str) -> Vec<String> {
    let output = Command::new(dig)
        .args(["+short", "+tries=1", "+time=5", "+norec", "-b", &client.to_string()])
        .args([&format!("@{}", server.ip()), "-p", &server.port().to_string(), name, qtype])
        .output()
        .expect("dig runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
}

/// What a test may need and a machine may lack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// A program that is to be installed: nothing excuses it.
    Program,
    /// The right to make network namespaces and interfaces.
    Namespaces,
    /// The right to load eBPF programs.
    Ebpf,
    /// The right to listen on port 53.
    Port53,
    /// MaxMind's test databases.
    Maxmind,
    /// The clang that compiled the committed objects.
    Clang,
    /// A kit of conformance checks.
    Kit,
    /// NSD's zone checker: its package starts a server, so it is never installed.
    Nsd,
    /// The right to stop a thread of another process.
    Ptrace,
    /// A systemd that starts as the first process of namespaces.
    Systemd,
}

impl Need {
    /// The word for it in `MERIDIAN_TEST_WITHOUT`; `None`: it cannot be excused.
    fn word(self) -> Option<&'static str> {
        match self {
            Need::Program => None,
            Need::Namespaces => Some("namespaces"),
            Need::Ebpf => Some("ebpf"),
            Need::Port53 => Some("port53"),
            Need::Maxmind => Some("maxmind"),
            Need::Clang => Some("clang"),
            Need::Kit => Some("kit"),
            Need::Nsd => Some("nsd"),
            Need::Ptrace => Some("ptrace"),
            Need::Systemd => Some("systemd"),
        }
    }
}

/// Says aloud that a test cannot run here; fails where it must. No test is skipped in another way.
pub fn skip(need: Need, why: &str) {
    println!("skipped: {why}");
    let required = std::env::var_os("MERIDIAN_TEST_REQUIRE_TOOLS").is_some();
    let without = std::env::var("MERIDIAN_TEST_WITHOUT").unwrap_or_default();
    assert!(may_skip(need, required, &without), "{why}, and MERIDIAN_TEST_WITHOUT does not name it ({need:?})");
}

/// `without`: what this machine is known to lack.
pub fn may_skip(need: Need, required: bool, without: &str) -> bool {
    !required || need.word().is_some_and(|word| without.split_whitespace().any(|named| named == word))
}

/// A program under way; killed, by its id, when this goes.
pub struct Running(Child);

impl Running {
    /// Starts a program in the foreground; what it says goes to `log`.
    pub fn start<A: AsRef<OsStr>>(program: &Path, arguments: &[A], log: &Path) -> Running {
        let log = std::fs::File::create(log).expect("a log file");
        let child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", program.display()));
        Running(child)
    }

    pub fn id(&self) -> u32 {
        self.0.id()
    }

    /// Whether it has ended by itself, which says that it could not start.
    pub fn has_ended(&mut self) -> bool {
        self.0.try_wait().is_ok_and(|status| status.is_some())
    }

    /// Ends it at once.
    pub fn kill(&mut self) {
        let _ = self.0.kill(); // it may have ended by itself
        let _ = self.0.wait();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A TCP port of this address that is free now.
pub fn free_port(address: IpAddr) -> u16 {
    let listener = TcpListener::bind(SocketAddr::new(address, 0)).expect("a free port");
    listener.local_addr().expect("an address").port()
}
