//! Zone files in, a running server out: the daemon in this process, on a port of its own, with
//! its files in a folder that goes with it.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use meridian::admin::client::AdminClient;
use meridian::control::config::{self, Loaded};
use meridian::control::reload::{ConfigSource, prepare_to_serve};
use meridian::daemon::Daemon;
use meridian::query::counters::Event;
use meridian::query::demand::DemandTotals;
use meridian::state::Snapshot;
use meridian::steer::health::effective::{EffectiveState, Override};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::dns::{self, Ask, Reply};
use super::tools;

/// A running server; it stops when this goes.
pub struct Server {
    /// Where it answers first of all.
    pub dns: SocketAddr,
    /// All addresses it answers at, in the order asked for.
    pub listening: Vec<SocketAddr>,
    pub admin: SocketAddr,
    /// Where browsers report, if the main file says so.
    pub rum: Option<SocketAddr>,
    folder: TempDir,
    daemon: Option<Daemon>,
    runtime: Runtime,
}

/// The main file at a path.
pub struct MainFile(pub PathBuf);

impl ConfigSource for MainFile {
    fn load(&self) -> Result<Loaded, Vec<String>> {
        config::load(&self.0)
            .map_err(|diagnostics| diagnostics.iter().map(|diagnostic| diagnostic.to_string()).collect())
    }
}

impl Server {
    /// Starts on a free port of 127.0.0.1. `settings` are lines of the main file; zones are file
    /// names, such as `gslb.example.toml`, and their texts. Clients are where the demo's database
    /// says: 127.CC.0.0/16 in the country with telephone code CC.
    pub fn start(settings: &str, zones: &[(&str, &str)]) -> Server {
        Server::start_at(&["127.0.0.1:0"], settings, zones)
    }

    /// Starts on these addresses, at least one.
    pub fn start_at(listen: &[&str], settings: &str, zones: &[(&str, &str)]) -> Server {
        let folder = tempfile::tempdir().expect("a temporary folder");
        write_files(folder.path(), listen, settings, zones);
        Server::start_in(folder)
    }

    /// Starts from the `meridian.toml` of a folder, which must turn the admin API on.
    pub fn start_in(folder: TempDir) -> Server {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
        let source = MainFile(folder.path().join("meridian.toml"));
        let prepared = prepare_to_serve(&source).unwrap_or_else(|mistakes| panic!("{}", mistakes.join("\n")));
        let daemon = runtime
            .block_on(Daemon::start(Arc::new(source), prepared))
            .unwrap_or_else(|mistakes| panic!("{}", mistakes.join("\n")));
        let listening = daemon.dns.clone();
        let dns = *listening.first().expect("an address");
        let admin = daemon.admin.expect("an address of the admin API");
        let rum = daemon.rum;
        Server { dns, listening, admin, rum, folder, daemon: Some(daemon), runtime }
    }

    /// Asks over UDP and over TCP; fails where the two differ though neither is truncated.
    pub fn ask(&self, ask: &Ask) -> Reply {
        let (udp, tcp) = (dns::udp(self.dns, ask), dns::tcp(self.dns, ask));
        if !udp.is_truncated() {
            assert_eq!(udp.octets, tcp.octets, "UDP and TCP differ");
        }
        udp
    }

    /// [`Server::ask`] for a plain query.
    pub fn query(&self, name: &str, qtype: &str) -> Reply {
        self.ask(&Ask::new(name, qtype))
    }

    /// The answers' data for a client at an address of this machine, asked by dig where it is
    /// installed.
    pub fn answer_for(&self, client: IpAddr, name: &str, qtype: &str) -> Vec<String> {
        match tools::present("dig") {
            Some(dig) => tools::dig_short(&dig, client, self.dns, name, qtype),
            None => dns::udp_from(client, self.dns, &Ask::new(name, qtype)).data(),
        }
    }

    /// The answers' data for a client whose network the query tells.
    pub fn steered(&self, name: &str, qtype: &str, subnet: &str) -> Vec<String> {
        dns::udp(self.dns, &Ask::new(name, qtype).subnet(subnet)).data()
    }

    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.daemon().shared.load_full()
    }

    /// Where a region stands, by its bare name.
    pub fn effective(&self, region: &str) -> EffectiveState {
        let snapshot = self.snapshot();
        let id = *snapshot.model.find_regions(region).first().expect("a region of this name");
        snapshot.states[id.index()].effective
    }

    /// The load last reported for a region, by its bare name.
    pub fn load(&self, region: &str) -> Option<f64> {
        let snapshot = self.snapshot();
        let id = *snapshot.model.find_regions(region).first().expect("a region of this name");
        snapshot.states[id.index()].load.last.map(|figure| figure.load)
    }

    /// Says something of a region, over the admin API, as `meridian region drain NAME` does.
    pub fn say(&self, region: &str, operator_override: Override) {
        let client = AdminClient::new(self.admin, None).expect("a client of the admin API");
        self.runtime.block_on(client.set_override(region, operator_override)).expect("the override takes");
    }

    /// How often something has happened to packets.
    pub fn count(&self, event: Event) -> u64 {
        self.daemon().counters.total().get(event)
    }

    /// What became of services' answers.
    pub fn demand(&self) -> DemandTotals {
        self.daemon().counters.demand_totals()
    }

    /// Packets that came past the kernel's stack.
    pub fn past_the_sockets(&self) -> u64 {
        self.daemon().xdp.tallies().map(|tally| tally.received).sum()
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn daemon(&self) -> &Daemon {
        self.daemon.as_ref().expect("a server that runs")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(daemon) = self.daemon.take() {
            self.runtime.block_on(daemon.stop());
        }
    }
}

/// Waits until `holds`, and says how long that took; fails after `limit`.
pub fn wait_until(what: &str, limit: Duration, mut holds: impl FnMut() -> bool) -> Duration {
    let begin = Instant::now();
    while !holds() {
        assert!(begin.elapsed() < limit, "still not so after {limit:?}: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
    begin.elapsed()
}

fn write_files(folder: &Path, listen: &[&str], settings: &str, zones: &[(&str, &str)]) {
    let main = format!(
        "listen = {{ dns = {listen:?}, admin = \"127.0.0.1:0\" }}\nthreads = 1\ngeoip = [\"demo.mmdb\"]\n{settings}\n"
    );
    let write = |name: &str, content: &[u8]| std::fs::write(folder.join(name), content).expect("a file");
    std::fs::create_dir(folder.join("zones")).expect("a folder");
    write("meridian.toml", main.as_bytes());
    write("demo.mmdb", meridian::atlas::DEMO_DATABASE);
    for (name, text) in zones {
        write(&format!("zones/{name}"), text.as_bytes());
    }
}
