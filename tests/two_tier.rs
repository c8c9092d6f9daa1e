//! The whole way, for real: a query, the region's balancer, a backend's reply; and what comes back
//! from the balancers as health and load.
//!
//! Runs the configuration of `examples/two-tier` with real HAProxy and nginx, on ports of its own.
//! Where one of them is not installed the tests say so and pass, unless
//! `MERIDIAN_TEST_REQUIRE_TOOLS` is set.
//!
//! ```text
//!   dig ─▶ Meridian ─▶ region's address ─▶ HAProxy, L7 | nginx stream, L4 ─▶ two backends each
//!             ▲   probes, load reports ─────────┘
//! ```

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use meridian::steer::health::effective::{EffectiveState, Override};

mod support;

use support::server::{Server, wait_until};
use support::tools::{self, Running};

const KOREAN: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 82, 0, 1));
const GERMAN: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 49, 0, 1));
/// The balancers' addresses, as the example has them.
const SEOUL: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 201, 82, 1));
const FRANKFURT: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 201, 49, 1));

/// What `nginx.conf` loads (Debian: libnginx-mod-stream).
const STREAM_MODULE: &str = "/usr/lib/nginx/modules/ngx_stream_module.so";

/// The example checks each second, and two failures are a region's end.
const FALL: Duration = Duration::from_secs(4);
/// For everything else, on a machine busy with other tests.
const PATIENCE: Duration = Duration::from_secs(10);

/// The example, running.
struct TwoTier {
    server: Server,
    seoul: Running,
    port: u16,
    programs: Programs,
    /// Ended last.
    _frankfurt: Running,
    _backends: Running,
}

struct Programs {
    haproxy: PathBuf,
    nginx: PathBuf,
}

impl TwoTier {
    /// `None`, said aloud, where a program is missing.
    fn start() -> Option<TwoTier> {
        let programs = Programs { haproxy: tools::find("haproxy")?, nginx: tools::find("nginx")? };
        if !Path::new(STREAM_MODULE).exists() {
            tools::skip(tools::Need::Program, &format!("nginx's stream module, {STREAM_MODULE}, is not installed"));
            return None;
        }
        let folder = tempfile::tempdir().expect("a temporary folder");
        let port = copy_example(folder.path());
        let backends = programs.nginx(folder.path(), "backends.conf");
        let frankfurt = programs.nginx(folder.path(), "nginx.conf");
        let seoul = programs.haproxy(folder.path());
        for balancer in [SEOUL, FRANKFURT] {
            wait_until("both balancers reach a backend", PATIENCE, || {
                get(balancer, port, "/health").is_some_and(|reply| reply.starts_with("HTTP/1.1 200"))
            });
        }
        let server = Server::start_in(folder);
        Some(TwoTier { server, seoul, port, programs, _frankfurt: frankfurt, _backends: backends })
    }

    /// Where a client is sent.
    fn region_of(&self, client: IpAddr) -> IpAddr {
        let answer = self.server.answer_for(client, "www.gslb.example", "A");
        answer.first().and_then(|line| line.parse().ok()).unwrap_or_else(|| panic!("no address in {answer:?}"))
    }

    /// What a client gets that goes where it was sent.
    fn visit(&self, client: IpAddr) -> String {
        get(self.region_of(client), self.port, "/").expect("a reply")
    }
}

impl Programs {
    fn haproxy(&self, folder: &Path) -> Running {
        let config = folder.join("haproxy.cfg").display().to_string();
        Running::start(&self.haproxy, &["-db", "-f", &config], &folder.join("haproxy.log"))
    }

    /// In one process, so that ending it ends all of it.
    fn nginx(&self, folder: &Path, config: &str) -> Running {
        let (prefix, config) = (folder.display().to_string(), folder.join(config).display().to_string());
        let alone = "daemon off; master_process off;";
        let log = folder.join(format!("{}.log", Path::new(&config).file_stem().expect("a name").display()));
        Running::start(&self.nginx, &["-p", &prefix, "-c", &config, "-g", alone], &log)
    }
}

/// Copies the example with ports that are free here; gives the balancers' port.
fn copy_example(folder: &Path) -> u16 {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/two-tier");
    let (port, statistics) = (tools::free_port(SEOUL), tools::free_port(SEOUL));
    let backend = tools::free_port(Ipv4Addr::new(127, 201, 82, 11).into());
    std::fs::create_dir(folder.join("zones")).expect("a folder");
    for name in ["haproxy.cfg", "nginx.conf", "backends.conf", "meridian.toml", "zones/gslb.example.toml"] {
        let text = std::fs::read_to_string(example.join(name)).expect("a file of the example");
        let text = text
            .replace(":8080", &format!(":{port}"))
            .replace(":8404", &format!(":{statistics}"))
            .replace(":9000", &format!(":{backend}"))
            .replace("127.201.0.1:5301", "127.0.0.1:0")
            .replace("127.201.0.1:8054", "127.0.0.1:0");
        std::fs::write(folder.join(name), text).expect("a file");
    }
    port
}

fn connect(address: IpAddr, port: u16) -> Option<TcpStream> {
    let stream = TcpStream::connect_timeout(&(address, port).into(), PATIENCE).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    Some(stream)
}

/// A whole HTTP reply; `None` where there is none.
fn get(address: IpAddr, port: u16, path: &str) -> Option<String> {
    let mut stream = connect(address, port)?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: www.gslb.example\r\nConnection: close\r\n\r\n").ok()?;
    let mut reply = String::new();
    stream.read_to_string(&mut reply).ok()?;
    (!reply.is_empty()).then_some(reply)
}

#[test]
fn a_query_leads_through_the_regions_balancer_to_a_backends_reply() {
    let Some(example) = TwoTier::start() else { return };
    assert_eq!((example.region_of(KOREAN), example.region_of(GERMAN)), (SEOUL, FRANKFURT));
    let replies: Vec<String> = (0..4).map(|_| example.visit(KOREAN)).collect();
    for backend in ["hello from seoul, backend one", "hello from seoul, backend two"] {
        assert!(replies.iter().any(|reply| reply.contains(backend)), "{backend}: {replies:?}");
    }
    assert!(example.visit(GERMAN).contains("hello from frankfurt, backend"));
}

#[test]
fn haproxys_sessions_come_back_as_load() {
    let Some(example) = TwoTier::start() else { return };
    let held: Vec<TcpStream> = (0..7).map(|_| connect(SEOUL, example.port).expect("a connection")).collect();
    wait_until("7 sessions are the load", PATIENCE, || example.server.load("seoul") == Some(7.0));
    let snapshot = example.server.snapshot();
    let seoul = *snapshot.model.find_regions("seoul").first().expect("seoul");
    let load = &snapshot.states[seoul.index()].load;
    assert_eq!(load.last.and_then(|figure| figure.capacity), Some(100.0), "the frontend's maxconn");
    assert!(!load.stale && load.error.is_none());
    drop(held);
    wait_until("no session is left", PATIENCE, || example.server.load("seoul") == Some(0.0));
}

#[test]
fn a_stopped_balancer_loses_its_clients_in_time_and_gets_them_back() {
    let Some(mut example) = TwoTier::start() else { return };
    assert_eq!(example.region_of(KOREAN), SEOUL);
    example.seoul.kill();
    let took = wait_until("its clients are sent elsewhere", FALL, || example.region_of(KOREAN) == FRANKFURT);
    println!("a stopped balancer's clients were sent elsewhere after {took:?}");
    assert!(example.visit(KOREAN).contains("hello from frankfurt"));
    assert_eq!(example.server.query("www.gslb.example", "A").ttl(), Some(5));
    assert_eq!(example.server.effective("seoul"), EffectiveState::Down);
    example.seoul = example.programs.haproxy(example.server.folder());
    wait_until("its clients come back", PATIENCE, || example.region_of(KOREAN) == SEOUL);
}

#[test]
fn a_drained_region_gets_no_new_clients_and_finishes_with_those_it_has() {
    let Some(example) = TwoTier::start() else { return };
    for (client, region, name, other) in [(KOREAN, SEOUL, "seoul", FRANKFURT), (GERMAN, FRANKFURT, "frankfurt", SEOUL)]
    {
        assert_eq!(example.region_of(client), region);
        let mut open = connect(region, example.port).expect("a connection");
        open.write_all(b"GET / HTTP/1.1\r\nHost: www.gslb.example\r\n").expect("half a request");
        example.server.say(name, Override::Drain);
        assert_eq!(example.region_of(client), other, "the very next answer");
        assert_eq!(example.server.effective(name), EffectiveState::Drain);
        open.write_all(b"Connection: close\r\n\r\n").expect("the other half");
        let mut reply = String::new();
        open.read_to_string(&mut reply).expect("a reply");
        assert!(reply.contains(&format!("hello from {name}, backend")), "{reply}");
        example.server.say(name, Override::Auto);
        assert_eq!(example.region_of(client), region);
    }
}
