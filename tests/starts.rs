//! How soon a server answers after its start, and with which regions: beside endpoints that hang, that fail their first
//! probe, and after a crash. Each server is a process of its own, killed as a crash would.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use meridian::admin::client::AdminClient;
use meridian::control::warm::{Part, WarmStore};
use meridian::state::memory::kept::Kept;
use meridian::steer::health::verdict::Verdict;
use tempfile::TempDir;

mod support;

use support::dns::{self, Ask};
use support::server::wait_until;

const PATIENCE: Duration = Duration::from_secs(20);
/// Of every check: whoever waited for it would be late.
const TIMEOUT: Duration = Duration::from_secs(20);

/// What an endpoint does.
const WELL: u8 = 0;
const ILL: u8 = 1;
const HUNG: u8 = 2;

/// An endpoint at an address of its own.
struct Endpoint {
    does: Arc<AtomicU8>,
    address: SocketAddr,
}

impl Endpoint {
    fn start(number: u8, does: u8) -> Endpoint {
        let does = Arc::new(AtomicU8::new(does));
        let listener = TcpListener::bind((Ipv4Addr::new(127, 88, 0, number), 0)).expect("an address");
        let address = listener.local_addr().expect("an address");
        let doing = does.clone();
        std::thread::spawn(move || {
            let mut hung = Vec::new();
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { return };
                let status = match doing.load(Ordering::SeqCst) {
                    WELL => "200 OK",
                    ILL => "503 Service Unavailable",
                    _ => {
                        hung.push(stream);
                        continue;
                    }
                };
                // A client that has gone is none of our business.
                let _ = stream.read(&mut [0; 1024]);
                let _ = write!(stream, "HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            }
        });
        Endpoint { does, address }
    }

    fn set(&self, does: u8) {
        self.does.store(does, Ordering::SeqCst);
    }
}

/// A region `r1`, `r2`, … for each of these, all in the service `www`, which answers with all that it may.
fn zone(endpoints: &[Endpoint], check: &str) -> String {
    let regions = endpoints.iter().enumerate().map(|(index, endpoint)| {
        let (name, ip, port) = (index + 1, endpoint.address.ip(), endpoint.address.port());
        format!(
            "[region.r{name}]\nlocation = {{ latitude = 0, longitude = {name} }}\n\
             endpoints = [{{ address = \"{ip}\" }}]\n\
             check.http = {{ url = \"http://{{address}}:{port}/\", timeout = \"{}s\", {check} }}\n",
            TIMEOUT.as_secs()
        )
    });
    let names: Vec<String> = (1..=endpoints.len()).map(|name| format!("r{name}")).collect();
    format!(
        "origin = \"gslb.example\"\nrecords = \"\"\"\n@ SOA ns1 hostmaster 1 1h 10m 1w 60\n@ 300 NS ns1\n\
         @ 300 NS ns2.example.net.\nns1 3600 A 192.0.2.53\nns1 3600 AAAA 2001:db8::53\n\"\"\"\n{}\
         [service.www]\nregions = {names:?}\npolicy = \"multi\"\nanswers = 8\n",
        regions.collect::<String>()
    )
}

fn files(zone: &str) -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let listen = "listen.dns = [\"127.0.0.1:0\"]\nlisten.admin = \"127.0.0.1:0\"\nthreads = 1\n";
    std::fs::create_dir(folder.path().join("zones")).expect("a folder");
    std::fs::write(folder.path().join("meridian.toml"), listen).expect("written");
    std::fs::write(folder.path().join("zones/gslb.example.toml"), zone).expect("written");
    folder
}

/// A server as a process, which is killed with the test.
struct Server {
    child: Child,
    dns: SocketAddr,
    admin: SocketAddr,
    /// From its start to its first answer.
    took: Duration,
    /// What that named.
    first: Vec<String>,
}

impl Server {
    fn start(folder: &TempDir) -> Server {
        let began = Instant::now();
        let mut child = Command::new(env!("CARGO_BIN_EXE_meridian"))
            .args(["serve", "--config"])
            .arg(folder.path().join("meridian.toml"))
            .env_remove("MERIDIAN_LOG")
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts");
        let mut log = BufReader::new(child.stderr.take().expect("its log"));
        let mut line = String::new();
        while !line.contains("answering dns=") {
            line.clear();
            assert!(log.read_line(&mut line).expect("a log") > 0, "it ended");
        }
        let between = |from: &str, to: char| -> SocketAddr {
            let after = line.split(from).nth(1).expect("an address");
            after.split(to).next().expect("an address").parse().expect("an address")
        };
        let (dns, admin) = (between("dns=[", ']'), between("admin=Some(", ')'));
        let first = dns::udp(dns, &Ask::new("www.gslb.example", "A")).data();
        let took = began.elapsed();
        // A log that nobody reads would stop the server.
        std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        Server { child, dns, admin, took, first }
    }

    fn answer(&self) -> Vec<String> {
        dns::udp(self.dns, &Ask::new("www.gslb.example", "A")).data()
    }

    /// Of a region: its state, its endpoint's verdict, and whether that is from before the restart.
    fn region(&self, name: &str) -> (String, String, bool) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let client = AdminClient::new(self.admin, None).expect("a client of the admin API");
        let status = runtime.block_on(client.status()).expect("a status");
        let regions = status["regions"].as_array().expect("regions").clone();
        let region = regions.iter().find(|region| region["name"] == format!("{name}@gslb.example")).expect("a region");
        let endpoint = &region["endpoints"][0];
        let text = |value: &serde_json::Value| value.as_str().unwrap_or("none").to_owned();
        (text(&region["state"]), text(&endpoint["verdict"]), endpoint["restored"] == true)
    }

    /// What the command line prints of it.
    fn says(&self, arguments: &[&str]) -> String {
        let mut command = Command::new(env!("CARGO_BIN_EXE_meridian"));
        let output = command.args(arguments).args(["--admin", &self.admin.to_string()]).output().expect("it runs");
        String::from_utf8(output.stdout).expect("UTF-8")
    }

    fn kill(mut self) {
        // SIGKILL: it can save nothing.
        self.child.kill().expect("killed");
        self.child.wait().expect("ended");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a server that starts now would know of regions.
fn kept(folder: &TempDir) -> Option<Kept> {
    let unix = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    let kept = WarmStore::new(&folder.path().join("state")).load(Part::Health, unix.as_millis() as u64);
    kept.ok().flatten().map(|(kept, _)| kept)
}

/// Whether a server that starts now would know that of all endpoints of the region.
fn is_kept_as(folder: &TempDir, region: &str, verdict: Verdict) -> bool {
    let Some(kept) = kept(folder) else { return false };
    let region = kept.regions.iter().find(|kept| kept.name == region).expect("the region");
    region.endpoints.iter().all(|endpoint| endpoint.verdict == verdict)
}

fn named(regions: &[u8]) -> Vec<String> {
    let mut names: Vec<String> = regions.iter().map(|number| IpAddr::from([127, 88, 0, *number]).to_string()).collect();
    names.sort();
    names
}

fn sorted(mut data: Vec<String>) -> Vec<String> {
    data.sort();
    data
}

#[test]
fn a_start_beside_a_hung_endpoint_waits_a_second_and_the_next_not_at_all() {
    let endpoints: Vec<Endpoint> =
        (1..=5).map(|number| Endpoint::start(number, if number == 3 { HUNG } else { WELL })).collect();
    let folder = files(&zone(&endpoints, "interval = \"1s\""));
    let server = Server::start(&folder);
    let cold = server.took;
    assert!(cold < TIMEOUT / 2, "{cold:?}");
    assert_eq!(sorted(server.first.clone()), named(&[1, 2, 4, 5]), "what is not proven comes after those up");
    assert_eq!(server.region("r3"), ("unknown".into(), "none".into(), false));
    wait_until("its verdicts are kept", PATIENCE, || folder.path().join("state/health.kept").exists());
    server.kill();
    // The fastest of some: other tests take the machine's time.
    let mut warm = Duration::MAX;
    for _ in 0..3 {
        let server = Server::start(&folder);
        warm = warm.min(server.took);
        assert_eq!(sorted(server.first.clone()), named(&[1, 2, 4, 5]));
        server.kill();
    }
    eprintln!("beside a hung endpoint: cold {cold:.3?}, warm {warm:.3?}");
    assert!(warm < cold, "cold {cold:?}, warm {warm:?}");
}

#[test]
fn one_failed_probe_of_most_regions_at_a_start_takes_none_of_them_out() {
    let endpoints: Vec<Endpoint> =
        (1..=5).map(|number| Endpoint::start(number, if number == 5 { WELL } else { ILL })).collect();
    // The next probe comes after the first answer, and finds all well.
    let folder = files(&zone(&endpoints, "interval = \"60s\""));
    let server = Server::start(&folder);
    assert_eq!(sorted(server.first.clone()), named(&[1, 2, 3, 4, 5]));
    endpoints.iter().for_each(|endpoint| endpoint.set(WELL));
    let mut answers = 0;
    wait_until("all are up", PATIENCE, || {
        assert_eq!(sorted(server.answer()), named(&[1, 2, 3, 4, 5]), "after {answers} answers");
        answers += 1;
        (1..=5).all(|number| server.region(&format!("r{number}")).0 == "up")
    });
}

#[test]
fn a_region_that_went_down_right_before_a_crash_is_down_at_the_next_first_answer() {
    let endpoints: Vec<Endpoint> = (1..=3).map(|number| Endpoint::start(number, WELL)).collect();
    let folder = files(&zone(&endpoints, "interval = \"200ms\", fall = 2, rise = 100"));
    let server = Server::start(&folder);
    assert_eq!(sorted(server.first.clone()), named(&[1, 2, 3]));
    wait_until("a whole save has been", PATIENCE, || folder.path().join("state/steering.kept").exists());
    endpoints[1].set(ILL);
    wait_until("it is answered no more", PATIENCE, || sorted(server.answer()) == named(&[1, 3]));
    // The next whole save is half a minute off.
    let is_kept = || is_kept_as(&folder, "r2@gslb.example", Verdict::Down);
    let after = wait_until("that is kept", PATIENCE, is_kept);
    server.kill();
    eprintln!("kept {after:.3?} after the first answer without it");
    // A server that knew nothing would find it well.
    endpoints[1].set(WELL);
    let server = Server::start(&folder);
    assert_eq!(sorted(server.first.clone()), named(&[1, 3]));
    assert_eq!(server.region("r2").0, "down");
    // Whose verdicts nobody confirms are marked.
    server.kill();
    endpoints.iter().for_each(|endpoint| endpoint.set(HUNG));
    let server = Server::start(&folder);
    eprintln!("all known and all hung: warm {:.3?}", server.took);
    assert_eq!(server.region("r1"), ("up".into(), "up".into(), true));
    assert_eq!(server.region("r2"), ("down".into(), "down".into(), true));
    let status = server.says(&["status"]);
    assert!(status.contains("127.88.0.1 up as of ") && status.contains(" ago, before the restart: ok"), "{status}");
    let explained = server.says(&["explain", "www.gslb.example", "--client", "192.0.2.1", "--live"]);
    assert!(explained.contains("up, by probes of before the restart"), "{explained}");
}

#[test]
fn a_region_that_awaits_an_operator_goes_on_to_over_a_crash_until_one_says_so() {
    let endpoints: Vec<Endpoint> = (1..=2).map(|number| Endpoint::start(number, WELL)).collect();
    let zone = zone(&endpoints, "interval = \"200ms\", fall = 2, rise = 2");
    let folder = files(&zone.replace("[region.r2]\n", "[region.r2]\nresume = \"manual\"\nslow_start = \"0s\"\n"));
    let server = Server::start(&folder);
    assert_eq!(sorted(server.first.clone()), named(&[1, 2]));
    endpoints[1].set(ILL);
    wait_until("it is answered no more", PATIENCE, || sorted(server.answer()) == named(&[1]));
    endpoints[1].set(WELL);
    wait_until("its probes say up", PATIENCE, || server.region("r2").1 == "up");
    assert_eq!((server.region("r2").0.as_str(), sorted(server.answer())), ("down", named(&[1])));
    let status = server.says(&["status"]);
    assert!(status.starts_with("DEGRADED for ") && status.contains("down, awaits resume: "), "{status}");
    assert!(status.contains("`meridian region auto r2@gslb.example` lets it back"), "{status}");
    let explained = server.says(&["explain", "www.gslb.example", "--client", "192.0.2.1", "--live"]);
    assert!(explained.contains("it awaits resume"), "{explained}");
    let events = server.says(&["events"]);
    assert!(events.contains("r2@gslb.example down: awaits resume: its probes say up again"), "{events}");
    wait_until("that is kept", PATIENCE, || is_kept_as(&folder, "r2@gslb.example", Verdict::Up));
    server.kill();

    let server = Server::start(&folder);
    assert_eq!(sorted(server.first.clone()), named(&[1]));
    wait_until("its probes say up again", PATIENCE, || server.region("r2") == ("down".into(), "up".into(), false));
    assert_eq!(sorted(server.answer()), named(&[1]));
    server.says(&["region", "auto", "r2"]);
    wait_until("it is answered", PATIENCE, || sorted(server.answer()) == named(&[1, 2]));
    let events = server.says(&["events"]);
    assert!(events.contains("r2@gslb.example up, was down: an operator lets it back"), "{events}");
    let resumed = || kept(&folder).is_some_and(|kept| kept.taken_down().regions.is_empty());
    wait_until("that is kept", PATIENCE, resumed);
    server.kill();
    assert_eq!(sorted(Server::start(&folder).first.clone()), named(&[1, 2]));
}

#[test]
fn a_region_goes_and_comes_with_the_service_that_it_depends_on() {
    let endpoints: Vec<Endpoint> = (1..=3).map(|number| Endpoint::start(number, WELL)).collect();
    let zone = zone(&endpoints, "interval = \"200ms\", fall = 2, rise = 2");
    let zone = zone.replace("[region.r2]\n", "[region.r2]\nslow_start = \"0s\"\ndepends_on = [\"db\"]\n");
    let folder = files(&format!("{zone}[service.db]\nregions = [\"r3\"]\n"));
    let server = Server::start(&folder);
    assert_eq!(sorted(server.first.clone()), named(&[1, 2, 3]));
    endpoints[2].set(ILL);
    wait_until("neither is answered", PATIENCE, || sorted(server.answer()) == named(&[1]));
    let why = "down: depends on db.gslb.example, which has no region up";
    assert_eq!(server.region("r2"), ("down".into(), "up".into(), false), "its own endpoint is well");
    for command in [&["status"][..], &["events"], &["explain", "www.gslb.example", "--client", "192.0.2.1", "--live"]] {
        let said = server.says(command);
        assert!(said.contains(why), "{said}");
    }
    endpoints[2].set(WELL);
    wait_until("both are back", PATIENCE, || sorted(server.answer()) == named(&[1, 2, 3]));
    let events = server.says(&["events"]);
    assert!(events.contains("r2@gslb.example up, was down: all that it depends on serves"), "{events}");
}

#[test]
fn two_thousand_endpoints_that_hang_or_do_not_are_no_reason_to_wait() {
    // All addresses of 127.0.0.0/8 are this machine's: one listener stands for all that are well. Where nobody listens
    // to what the queue of connections takes in, a probe over HTTP hangs.
    let well = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).expect("a port");
    let hung = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).expect("a port");
    let port = |listener: &TcpListener| listener.local_addr().expect("an address").port();
    let (well_port, hung_port) = (port(&well), port(&hung));
    std::thread::spawn(move || well.incoming().for_each(drop));
    let region = |number: usize| {
        let address = |n: usize| format!("{{ address = \"127.89.{number}.{n}\" }}");
        let addresses: Vec<String> = (1..=40).map(address).collect();
        let check = match number % 10 {
            0 => format!("http = {{ url = \"http://{{address}}:{hung_port}/\", timeout = \"20s\" }}"),
            _ => format!("tcp = {{ port = {well_port} }}"),
        };
        format!(
            "[region.r{number}]\nlocation = {{ latitude = 0, longitude = {number} }}\nendpoints = [{}]\n\
             check.{check}\n",
            addresses.join(", "),
        )
    };
    let regions: String = (1..=50).map(region).collect();
    let names: Vec<String> = (1..=50).map(|number| format!("r{number}")).collect();
    let listed = format!("{regions}[service.www]\nregions = {names:?}");
    let folder = files(&zone(&[], "").replace("[service.www]\nregions = []", &listed));
    let server = Server::start(&folder);
    eprintln!("2,000 endpoints, a tenth hung: cold {:.3?}", server.took);
    assert!(server.took < TIMEOUT / 2, "{:?}", server.took);
    assert!(!server.first.is_empty());
    wait_until("its verdicts are kept", PATIENCE, || folder.path().join("state/health.kept").exists());
    server.kill();
    eprintln!("2,000 endpoints: warm {:.3?}", Server::start(&folder).took);
}
