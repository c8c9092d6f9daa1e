//! What a running server has given up: seen in the kernel's own words on its threads, in what it still does, and in what
//! programs that it runs can no longer do.

mod support;

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use meridian::admin::client::AdminClient;
use meridian::steer::health::effective::Override;
use support::dns::{Ask, udp};
use support::server::wait_until;
use support::tools::Running;
use support::zones::SEOUL_ALONE;

const BINARY: &str = env!("CARGO_BIN_EXE_meridian");
const PATIENCE: Duration = Duration::from_secs(30);

struct Server {
    folder: tempfile::TempDir,
    running: Running,
    dns: SocketAddr,
    admin: AdminClient,
    runtime: tokio::runtime::Runtime,
}

impl Server {
    fn start(settings: &str, zone: &str) -> Server {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).expect("written");
        std::fs::create_dir(folder.path().join("zones")).expect("a folder");
        write("zones/gslb.example.toml", zone);
        let listen = "listen = { dns = [\"127.0.0.1:0\"], admin = \"127.0.0.1:0\" }\nthreads = 2\n";
        write("meridian.toml", &format!("{listen}{settings}"));
        let (config, log) = (folder.path().join("meridian.toml"), folder.path().join("log"));
        let running = Running::start(Path::new(BINARY), &["serve", "--config", &config.to_string_lossy()], &log);
        let text = || std::fs::read_to_string(&log).unwrap_or_default();
        wait_until("it answers", PATIENCE, || text().contains("confined") && text().contains("answering dns="));
        let said = plain(&text());
        let address = |from: &str, to: char| -> SocketAddr {
            let after = said.split(from).nth(1).expect("an address");
            after.split(to).next().expect("an address").parse().expect("an address")
        };
        let admin = AdminClient::new(address("admin=Some(", ')'), None).expect("a client");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        Server { dns: address("dns=[", ']'), admin, runtime, folder, running }
    }

    fn log(&self) -> String {
        plain(&std::fs::read_to_string(self.folder.path().join("log")).expect("a log"))
    }

    /// A word of /proc/PID/task/TID/status, of each thread.
    fn of_threads(&self, word: &str) -> Vec<String> {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.running.id())).expect("threads");
        let word = format!("{word}:");
        let of = |task: std::io::Result<std::fs::DirEntry>| {
            // A thread may end meanwhile.
            let status = std::fs::read_to_string(task.ok()?.path().join("status")).ok()?;
            status.lines().find_map(|line| Some(line.strip_prefix(&word)?.trim().to_owned()))
        };
        tasks.filter_map(of).collect()
    }

    fn answers(&self) -> Vec<String> {
        udp(self.dns, &Ask::new("www.gslb.example", "A")).data()
    }

    fn signal(&self, signal: i32) {
        // SAFETY: sends a signal to a child that was not waited for.
        assert_eq!(unsafe { libc::kill(self.running.id() as i32, signal) }, 0);
    }
}

/// Without colours.
fn plain(log: &str) -> String {
    let mut text = String::new();
    let mut parts = log.split('\u{1b}');
    text.push_str(parts.next().unwrap_or_default());
    parts.for_each(|part| text.push_str(part.split_once('m').map_or("", |(_, after)| after)));
    text
}

#[test]
fn every_thread_has_given_up_what_no_server_needs_and_the_server_does_its_work() {
    let mut server = Server::start("", SEOUL_ALONE);
    assert!(server.of_threads("Seccomp").iter().all(|mode| mode == "2"), "{:?}", server.of_threads("Seccomp"));
    assert!(server.of_threads("NoNewPrivs").iter().all(|set| set == "1"));
    let log = server.log();
    let line = log.lines().find(|line| line.contains(" confined ")).expect("it is said");
    for said in ["state alone (Landlock ", "programs=\"none\"", " refused\""] {
        assert!(line.contains(said), "{said}: {line}");
    }
    assert_eq!(server.answers(), ["192.0.2.10"]);
    // It keeps what operators say, reads its files anew, and starts threads for it.
    server.runtime.block_on(server.admin.set_override("seoul", Override::Drain)).expect("taken");
    let kept = server.folder.path().join("state");
    assert!(std::fs::read_dir(kept).expect("a folder").count() > 0);
    server.signal(libc::SIGHUP);
    wait_until("it reloads", PATIENCE, || server.log().contains(" reloaded"));
    assert_eq!(server.answers(), ["192.0.2.10"]);
    server.signal(libc::SIGTERM);
    wait_until("it ends", PATIENCE, || server.running.has_ended());
    assert!(!server.log().contains("ERROR"), "{}", server.log());
}

#[test]
fn programs_of_the_operators_run_under_the_same_bounds() {
    let (elsewhere, own) = (place("elsewhere"), place("own"));
    let script = own.path().join("check.sh");
    let (other, mine) = (elsewhere.path().display(), own.path().display());
    let text = format!(
        "#!/bin/sh\necho x > {mine}/ran || exit 1\necho x > {other}/wrote\nunshare -U true && echo x > {mine}/unshared\nexit 0\n"
    );
    std::fs::write(&script, text).expect("a script");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&script, mode).expect("a mode");
    let check = format!("[region.seoul.check.exec]\ncommand = [\"{}\"]\ninterval = \"1s\"\n", script.display());
    let settings = format!("allow_exec = true\nconfinement.writes = [\"{mine}\"]\n");
    let server = Server::start(&settings, &format!("{SEOUL_ALONE}{check}"));
    let state = || server.runtime.block_on(server.admin.status()).expect("status");
    wait_until("the region is up by its check", PATIENCE, || {
        own.path().join("ran").exists() && state()["regions"][0]["state"] == "up"
    });
    assert!(!own.path().join("unshared").exists(), "a system call that is refused");
    let line = server.log();
    assert!(line.contains("the operator's, under the same bounds"), "{line}");
    if line.contains("Landlock") {
        assert!(!elsewhere.path().join("wrote").exists(), "a place that was not named");
    }
}

#[test]
fn a_server_that_is_told_to_is_not_confined_and_says_so() {
    let server = Server::start("confinement = \"off\"", SEOUL_ALONE);
    assert!(server.of_threads("Seccomp").iter().all(|mode| mode == "0"));
    assert!(server.log().contains("not confined: `confinement` is off"));
}

/// Not beneath /tmp, which programs may write.
fn place(name: &str) -> tempfile::TempDir {
    tempfile::Builder::new().prefix(name).tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder")
}
