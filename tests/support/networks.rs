//! A server, three regions and a reference, each on a machine of its own, with a router between them.
//!
//! ```text
//!                     ┌── region 1: 10.1.0.1, fd00:11::1
//!   server ── router ─┼── region 2: 10.2.0.1, fd00:12::1        each answers HTTP on port 80
//!   10.0.0.1          ├── region 3: 10.3.0.1, fd00:13::1
//!   fd00:10::1        └── reference: 10.9.0.1, fd00:19::1
//! ```
//!
//! In: the right to make namespaces. Out: machines whose ways to each other can be cut, and the server's answers, status,
//! events and log. All of it goes with this process.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{AsRawFd, RawFd};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use super::dns::{Ask, Reply};
use super::link::Machine;
use super::server::wait_until;
use super::tools::{self, Need, Running};

/// The number of the reference's network, beside those of the regions.
pub const REFERENCE: u8 = 9;
/// The number of the server's.
pub const SERVER: u8 = 0;

const BINARY: &str = env!("CARGO_BIN_EXE_meridian");
const DNS: &str = "127.0.0.1:5300";
const ADMIN: &str = "127.0.0.1:8053";
const REFERENCES: &str = "health.reference = [\"10.9.0.1:80\", \"[fd00:19::1]:80\"]";
/// For whatever has no time of its own, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// All machines, and what runs on them.
pub struct Networks {
    pub server: Machine,
    pub router: Machine,
    /// Regions 1 to 3, then the reference.
    others: [Machine; 4],
    /// Theirs, by number and family.
    responders: Vec<(u8, Responder)>,
    folder: TempDir,
    running: Option<Running>,
}

/// The addresses of a network's machine.
pub fn ipv4(number: u8) -> String {
    format!("10.{number}.0.1")
}

pub fn ipv6(number: u8) -> String {
    format!("fd00:1{number}::1")
}

impl Networks {
    /// With the server running and all regions found up. `settings` are lines of the main file, `check` is what stands in
    /// the table of `check.http` beside its URL.
    pub fn start(with_references: bool, settings: &str, check: &str) -> Option<Networks> {
        let [server, router, one, two, three, reference] = Machine::several()?;
        let folder = tempfile::tempdir().expect("a folder");
        let others = [one, two, three, reference];
        let mut networks = Networks { server, router, others, responders: Vec::new(), folder, running: None };
        if !networks.lets_the_router_forward() {
            return None;
        }
        networks.cable_all();
        for number in [1, 2, 3, REFERENCE] {
            networks.open(number);
        }
        let references = if with_references { REFERENCES } else { "" };
        networks.write_files(&format!("{references}\n{settings}"), check);
        networks.start_server();
        wait_until("all regions are up in both families", PATIENCE, || {
            let status = networks.status();
            (1..=3).all(|number| {
                let region = region(&status, number);
                region["state"] == "up" && region["ipv6"] == "up"
            })
        });
        Some(networks)
    }

    fn machine(&self, number: u8) -> &Machine {
        let [one, two, three, reference] = &self.others;
        match number {
            SERVER => &self.server,
            1 => one,
            2 => two,
            3 => three,
            REFERENCE => reference,
            _ => panic!("no machine has number {number}"),
        }
    }

    /// Some containers have namespaces and may not set what holds in them.
    fn lets_the_router_forward(&self) -> bool {
        let switches = ["ipv4/ip_forward", "ipv6/conf/all/forwarding"];
        let set = |switch| std::fs::write(format!("/proc/sys/net/{switch}"), "1");
        match self.router.run(move || switches.into_iter().try_for_each(set)) {
            Ok(()) => true,
            Err(error) if matches!(error.kind(), ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem) => {
                tools::skip(Need::Namespaces, &format!("no router in a namespace here ({error})"));
                false
            }
            Err(error) => panic!("no router: {error}"),
        }
    }

    fn cable_all(&self) {
        self.router.ip(&["link", "set", "lo", "up"]);
        for number in [SERVER, 1, 2, 3, REFERENCE] {
            let (machine, port) = (self.machine(number), format!("port{number}"));
            machine.cable("eth0", &self.router, &port);
            let gateways = [format!("10.{number}.0.254"), format!("fd00:1{number}::fe")];
            self.router.ip(&["address", "add", &format!("{}/24", gateways[0]), "dev", &port]);
            self.router.ip(&["address", "add", &format!("{}/64", gateways[1]), "dev", &port, "nodad"]);
            self.router.ip(&["link", "set", &port, "up"]);
            machine.ip(&["link", "set", "lo", "up"]);
            self.plug_in(number);
        }
    }

    /// Brings the interface of a machine up, with its addresses and its ways.
    pub fn plug_in(&self, number: u8) {
        let machine = self.machine(number);
        machine.ip(&["link", "set", "eth0", "up"]);
        machine.ip(&["address", "replace", &format!("{}/24", ipv4(number)), "dev", "eth0"]);
        machine.ip(&["address", "replace", &format!("{}/64", ipv6(number)), "dev", "eth0", "nodad"]);
        machine.ip(&["route", "replace", "default", "via", &format!("10.{number}.0.254")]);
        machine.ip(&["-6", "route", "replace", "default", "via", &format!("fd00:1{number}::fe")]);
    }

    /// Takes it down, and the routes with it.
    pub fn unplug(&self, number: u8) {
        self.machine(number).ip(&["link", "set", "eth0", "down"]);
    }

    /// From now on the router drops in silence what is for that machine.
    pub fn cut(&self, number: u8) {
        self.cut_ipv4(number);
        self.cut_ipv6(number);
    }

    pub fn cut_ipv4(&self, number: u8) {
        self.router.ip(&["route", "add", "blackhole", &format!("{}/32", ipv4(number))]);
    }

    pub fn cut_ipv6(&self, number: u8) {
        self.router.ip(&["-6", "route", "add", "blackhole", &format!("{}/128", ipv6(number))]);
    }

    pub fn heal(&self, number: u8) {
        self.heal_ipv4(number);
        self.heal_ipv6(number);
    }

    pub fn heal_ipv4(&self, number: u8) {
        self.router.ip(&["route", "del", "blackhole", &format!("{}/32", ipv4(number))]);
    }

    pub fn heal_ipv6(&self, number: u8) {
        self.router.ip(&["-6", "route", "del", "blackhole", &format!("{}/128", ipv6(number))]);
    }

    /// The router says of each packet that it leads nowhere (RFC 792; RFC 4443 section 3.1).
    pub fn reject_all(&self) {
        for number in [1, 2, 3, REFERENCE] {
            self.router.ip(&["route", "add", "unreachable", &format!("{}/32", ipv4(number))]);
            self.router.ip(&["-6", "route", "add", "unreachable", &format!("{}/128", ipv6(number))]);
        }
    }

    pub fn accept_all(&self) {
        for number in [1, 2, 3, REFERENCE] {
            self.router.ip(&["route", "del", "unreachable", &format!("{}/32", ipv4(number))]);
            self.router.ip(&["-6", "route", "del", "unreachable", &format!("{}/128", ipv6(number))]);
        }
    }

    /// Lets a machine answer HTTP at both of its addresses.
    pub fn open(&mut self, number: u8) {
        self.open_at(number, &ipv4(number));
        self.open_at(number, &ipv6(number));
    }

    pub fn open_at(&mut self, number: u8, address: &str) {
        let responder = Responder::open(self.machine(number), address.parse().expect("an address"));
        self.responders.push((number, responder));
    }

    /// From now on the machine refuses connections.
    pub fn close(&mut self, number: u8) {
        self.responders.retain(|(of, _)| *of != number);
    }

    pub fn close_at(&mut self, address: &str) {
        let address: IpAddr = address.parse().expect("an address");
        self.responders.retain(|(_, responder)| responder.address != address);
    }

    fn write_files(&self, settings: &str, check: &str) {
        let write = |name: &str, text: &str| std::fs::write(self.folder.path().join(name), text).expect("a file");
        std::fs::create_dir(self.folder.path().join("zones")).expect("a folder");
        let listen = format!("listen = {{ dns = {DNS:?}, admin = {ADMIN:?} }}");
        write("meridian.toml", &format!("{listen}\nthreads = 1\n{settings}\n"));
        let regions = (1..=3).map(|number| {
            format!(
                "[region.r{number}]\nlocation = {{ latitude = 0, longitude = {number} }}\nslow_start = \"0s\"\n\
                 endpoints = [{{ address = [\"{}\", \"{}\"] }}]\n\
                 check.http = {{ url = \"http://{{address}}/\", {check} }}\n",
                ipv4(number),
                ipv6(number)
            )
        });
        let zone = format!(
            "origin = \"gslb.example\"\nrecords = \"\"\"\n@ SOA ns1 hostmaster 1 1h 10m 1w 60\n@ 300 NS ns1\n\
             @ 300 NS ns2.example.net.\nns1 3600 A 192.0.2.53\n\"\"\"\n{}\
             [service.www]\nregions = [\"r1\", \"r2\", \"r3\"]\npolicy = \"failover\"\n",
            regions.collect::<String>()
        );
        write("zones/gslb.example.toml", &zone);
    }

    fn start_server(&mut self) {
        let config = self.folder.path().join("meridian.toml").display().to_string();
        let log = self.folder.path().join("log");
        let running = self.server.run(move || Running::start(Path::new(BINARY), &["serve", "--config", &config], &log));
        self.running = Some(running);
        wait_until("it answers its admin API", PATIENCE, || {
            let running = self.running.as_mut().expect("it was started");
            assert!(!running.has_ended(), "it has ended: {}", self.log());
            self.log().contains("answering")
        });
    }

    /// All that it has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// What a command of `meridian` prints on the server's machine.
    pub fn command(&self, arguments: &[&str]) -> String {
        let arguments: Vec<String> = arguments.iter().map(ToString::to_string).collect();
        self.server.run(move || {
            let mut command = std::process::Command::new(BINARY);
            let output = command.args(&arguments).args(["--admin", ADMIN]).output().expect("it runs");
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            // Degraded and panic are exit statuses of their own.
            assert!(
                matches!(output.status.code(), Some(0 | 3 | 4)),
                "{arguments:?}: {said}{}",
                String::from_utf8_lossy(&output.stderr)
            );
            said
        })
    }

    /// `meridian status --json`.
    pub fn status(&self) -> Value {
        serde_json::from_str(&self.command(&["status", "--json"])).expect("JSON")
    }

    /// `meridian events --json`.
    pub fn events(&self) -> Vec<Value> {
        self.command(&["events", "--json"]).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }

    /// The value of a metric, named with its labels.
    pub fn metric(&self, named: &str) -> f64 {
        let text = self.server.run(|| {
            let mut stream = std::net::TcpStream::connect(ADMIN).expect("the admin API");
            let request = "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
            stream.write_all(request.as_bytes()).expect("asked");
            let mut text = String::new();
            stream.read_to_string(&mut text).expect("an answer");
            text
        });
        let value = text.lines().find_map(|line| line.strip_prefix(named)?.strip_prefix(' ')?.parse().ok());
        value.unwrap_or_else(|| panic!("no {named} in {text}"))
    }

    /// The addresses that clients of `www` get now.
    pub fn answer(&self, qtype: &str) -> Vec<String> {
        let asker = self.asker();
        asker.ask(qtype)
    }

    /// Asks from the server's machine, again and again.
    pub fn asker(&self) -> Asker {
        let socket = self.server.run(|| {
            let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
            socket.connect(DNS).expect("connected");
            socket
        });
        socket.set_read_timeout(Some(Duration::from_secs(5))).expect("a timeout");
        Asker { socket }
    }

    /// Asks for A and AAAA every 100 ms until it is ended.
    pub fn keep_asking(&self) -> Asking {
        let (asker, over) = (self.asker(), Arc::new(AtomicBool::new(false)));
        let until = over.clone();
        let thread = std::thread::spawn(move || {
            let (begun, mut heard): (_, Vec<Heard>) = (Instant::now(), Vec::new());
            while !until.load(Ordering::SeqCst) {
                let answers = (asker.ask("A"), asker.ask("AAAA"));
                if heard.last().is_none_or(|last| last.answers != answers) {
                    heard.push(Heard { from: begun.elapsed(), answers });
                }
                std::thread::sleep(Duration::from_millis(100));
            }
            heard
        });
        Asking { over, thread }
    }
}

/// A region's part of a status.
pub fn region(status: &Value, number: u8) -> Value {
    let name = format!("r{number}@gslb.example");
    let regions = status["regions"].as_array().expect("regions");
    regions.iter().find(|region| region["name"] == *name).expect("a region of this number").clone()
}

/// A client on the server's machine.
pub struct Asker {
    socket: UdpSocket,
}

impl Asker {
    /// The addresses of `www`; a query without an answer fails the test.
    pub fn ask(&self, qtype: &str) -> Vec<String> {
        let ask = Ask::new("www.gslb.example", qtype);
        self.socket.send(&ask.wire()).expect("sent");
        let mut reply = vec![0; 4096];
        let len = self.socket.recv(&mut reply).expect("a reply");
        reply.truncate(len);
        Reply::read(reply).data()
    }
}

/// Answers that followed each other.
#[derive(Debug)]
pub struct Heard {
    /// Since the first query.
    pub from: Duration,
    /// A and AAAA.
    pub answers: (Vec<String>, Vec<String>),
}

/// A client that asks until it is ended.
pub struct Asking {
    over: Arc<AtomicBool>,
    thread: JoinHandle<Vec<Heard>>,
}

impl Asking {
    /// Each answer that was another than the one before.
    pub fn end(self) -> Vec<Heard> {
        self.over.store(true, Ordering::SeqCst);
        self.thread.join().expect("each query was answered")
    }
}

/// A program that answers HTTP at one address; its port refuses once this is gone.
struct Responder {
    address: IpAddr,
    socket: RawFd,
    thread: Option<JoinHandle<()>>,
}

impl Responder {
    fn open(machine: &Machine, address: IpAddr) -> Responder {
        // A socket stays in the namespace where it was made, whoever reads it.
        let listener = machine.run(move || TcpListener::bind(SocketAddr::new(address, 80)).expect("port 80"));
        let socket = listener.as_raw_fd();
        let thread = std::thread::spawn(move || listener.incoming().map_while(Result::ok).for_each(respond));
        Responder { address, socket, thread: Some(thread) }
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        // SAFETY: the thread that owns the socket ends with this call, which wakes it, and not before.
        unsafe { libc::shutdown(self.socket, libc::SHUT_RDWR) };
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn respond(mut stream: std::net::TcpStream) {
    let _ = stream.set_read_timeout(Some(Duration::from_millis(200)));
    let mut request = [0; 1024];
    if stream.read(&mut request).is_ok_and(|len| len > 0) {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok");
    }
}
