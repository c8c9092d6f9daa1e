//! Events that the server said are on disk outlive it, however often it is killed while more come.

mod support;

use std::collections::BTreeSet;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use meridian::admin::client::AdminClient;
use support::server::wait_until;
use support::tools::Running;
use tempfile::TempDir;
use tokio::runtime::Runtime;

const BINARY: &str = env!("CARGO_BIN_EXE_meridian");
const PATIENCE: Duration = Duration::from_secs(20);
const KEPT: &str = "127.88.2.1";

/// A server's files, and a region whose port opens and closes.
struct Flapping {
    folder: TempDir,
    region: SocketAddr,
    runtime: Runtime,
}

impl Flapping {
    fn new() -> Flapping {
        let folder = tempfile::tempdir().expect("a folder");
        let region = TcpListener::bind((KEPT, 0)).expect("a port").local_addr().expect("an address");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let main =
            "listen.dns = \"127.0.0.1:0\"\nlisten.admin = \"127.0.0.1:0\"\nthreads = 1\nsteering.damping = \"off\"\n";
        let zone = format!(
            "origin = \"gslb.example\"\nrecords = \"\"\"\n@ SOA ns1 hostmaster 1 1h 10m 1w 60\n@ 300 NS ns1\n\
             ns1 3600 A 192.0.2.53\n\"\"\"\n[region.seoul]\nlocation = {{ country = \"KR\" }}\n\
             endpoints = [{{ address = \"{KEPT}\" }}]\n\
             check.tcp = {{ port = {}, interval = \"100ms\", fall = 1, rise = 1 }}\n\
             [service.www]\nregions = [\"seoul\"]\n",
            region.port()
        );
        std::fs::create_dir(folder.path().join("zones")).expect("a folder");
        std::fs::write(folder.path().join("meridian.toml"), main).expect("written");
        std::fs::write(folder.path().join("zones/gslb.example.toml"), zone).expect("written");
        Flapping { folder, region, runtime }
    }

    /// A new process on the same files, and its admin API.
    fn start(&self) -> (Running, SocketAddr) {
        let (config, log) = (self.folder.path().join("meridian.toml"), self.folder.path().join("log"));
        let arguments = ["serve".to_owned(), "--config".to_owned(), config.display().to_string()];
        let mut running = Running::start(Path::new(BINARY), &arguments, &log);
        let mut admin = None;
        wait_until("it answers", PATIENCE, || {
            let text = std::fs::read_to_string(&log).unwrap_or_default();
            assert!(!running.has_ended(), "it has ended: {text}");
            admin = admin_address(&text);
            admin.is_some()
        });
        (running, admin.expect("an address"))
    }

    /// The numbers of all events on disk by what the server says, as far as it can be asked.
    fn acknowledged(&self, admin: SocketAddr) -> BTreeSet<u64> {
        let client = AdminClient::new(admin, None).expect("a client");
        let found = self.runtime.block_on(client.events(&[("limit", "10000")])).expect("events");
        found.events.iter().map(|event| event.id).filter(|id| *id <= found.on_disk_id).collect()
    }

    /// What `meridian events` shows.
    fn shown(admin: SocketAddr) -> Vec<u64> {
        let admin = admin.to_string();
        let arguments = ["events", "--json", "--limit", "10000", "--admin", &admin];
        let output = Command::new(BINARY).args(arguments).output().expect("it runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let lines = String::from_utf8(output.stdout).expect("UTF-8");
        let events = lines.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON"));
        events.map(|event| event["id"].as_u64().expect("a number")).collect()
    }

    /// Opens and closes the region's port for so long, and asks all the while what is on disk.
    fn flap(&self, admin: SocketAddr, lasting: Duration) -> BTreeSet<u64> {
        let (began, mut open, mut acknowledged) = (Instant::now(), None, BTreeSet::new());
        while began.elapsed() < lasting {
            // Connections wait in its queue: to accept them is not needed.
            open = match open {
                None => Some(TcpListener::bind(self.region).expect("the port")),
                Some(_) => None,
            };
            std::thread::sleep(Duration::from_millis(120));
            acknowledged.extend(self.acknowledged(admin));
        }
        acknowledged
    }
}

/// The admin API's address, as the log says it.
fn admin_address(log: &str) -> Option<SocketAddr> {
    let mut plain = String::new();
    for part in log.split('\x1b') {
        plain.push_str(if plain.is_empty() { part } else { part.split_once('m').map_or("", |(_, rest)| rest) });
    }
    let line = plain.lines().find(|line| line.contains("answering"))?;
    let (_, rest) = line.split_once("admin=Some(")?;
    rest.split_once(')')?.0.parse().ok()
}

#[test]
fn no_event_that_was_said_to_be_on_disk_is_lost_by_a_kill() {
    let times: u64 = if std::env::var_os("MERIDIAN_TEST_AT_LENGTH").is_some() { 100 } else { 20 };
    let flapping = Flapping::new();
    let mut acknowledged = BTreeSet::new();
    for time in 0..times {
        let (mut running, admin) = flapping.start();
        // At another moment of its work each time.
        acknowledged.extend(flapping.flap(admin, Duration::from_millis(250 + 37 * time % 300)));
        running.kill();
        let (_running, admin) = flapping.start();
        let shown = Flapping::shown(admin);
        assert!(shown.is_sorted_by(|one, next| one < next), "numbers grow: {shown:?}");
        let shown: BTreeSet<u64> = shown.into_iter().collect();
        let lost: Vec<_> = acknowledged.difference(&shown).collect();
        assert!(lost.is_empty(), "kill {time}: {lost:?} of {} are gone", acknowledged.len());
    }
    println!("{times} kills, {} events on disk", acknowledged.len());
    assert!(acknowledged.len() as u64 >= times, "something happened each time: {acknowledged:?}");
}
