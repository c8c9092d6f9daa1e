//! One server in the place of another, `meridian serve --replace`, while clients ask: no query is lost over UDP or TCP, the
//! admin API answers throughout, and what operators said holds. Servers that fail on the way leave the old one at work.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use meridian::admin::client::AdminClient;
use meridian::steer::health::effective::Override;
use serde_json::Value;
use tempfile::TempDir;

mod support;

use support::dns::Ask;
use support::server::wait_until;

const ZONE: &str = r#"origin = "gslb.example"
records = """
@    SOA  ns1 hostmaster 1 1h 10m 1w 60
@    300 NS   ns1
ns1  3600 A    192.0.2.53
"""
[region.seoul]
location  = { country = "KR" }
endpoints = [{ address = "192.0.2.10" }]
[region.frankfurt]
location  = { country = "DE" }
endpoints = [{ address = "192.0.2.20" }]
[service.www]
regions = ["seoul", "frankfurt"]
"#;
const REPLACES: usize = 20;
/// A reply that takes longer is lost.
const PATIENCE: Duration = Duration::from_secs(5);

/// One server's files, and the process that serves them now.
struct Place {
    folder: TempDir,
    child: Child,
    started: usize,
    dns: SocketAddr,
    admin: SocketAddr,
}

impl Place {
    fn new() -> Place {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(folder.path().join("zones")).expect("a folder");
        std::fs::write(folder.path().join("zones/gslb.example.toml"), ZONE).expect("written");
        std::fs::write(folder.path().join("meridian.toml"), settings("")).expect("written");
        let (child, log) = launch(&folder, 0, &[]);
        let (dns, admin) = answering(&log);
        Place { folder, child, started: 1, dns, admin }
    }

    /// Starts another server in the place of the one that runs; returns when that has ended.
    fn replace(&mut self) {
        let (child, log) = launch(&self.folder, self.started, &["--replace"]);
        self.started += 1;
        assert_eq!(answering(&log), (self.dns, self.admin), "the same sockets");
        let mut old = std::mem::replace(&mut self.child, child);
        wait_until("the old one ends", Duration::from_secs(30), || old.try_wait().expect("a child").is_some());
        assert!(old.wait().expect("a child").success());
    }

    /// Starts one that must fail; returns its log.
    fn fail_to_replace(&mut self) -> String {
        let (mut child, log) = launch(&self.folder, self.started, &["--replace"]);
        self.started += 1;
        wait_until("it fails", Duration::from_secs(30), || child.try_wait().expect("a child").is_some());
        assert!(!child.wait().expect("a child").success());
        assert!(self.child.try_wait().expect("a child").is_none(), "the old one goes on");
        read(&log)
    }

    fn log(&self, number: usize) -> String {
        read(&self.folder.path().join(format!("log-{number}")))
    }

    fn client(&self) -> AdminClient {
        AdminClient::new(self.admin, None).expect("a client")
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn settings(more: &str) -> String {
    format!("listen.dns = [\"127.0.0.1:0\"{more}]\nlisten.admin = \"127.0.0.1:0\"\nthreads = 2\n")
}

fn launch(folder: &TempDir, number: usize, arguments: &[&str]) -> (Child, PathBuf) {
    let log = folder.path().join(format!("log-{number}"));
    let file = std::fs::File::create(&log).expect("a log");
    let mut command = Command::new(env!("CARGO_BIN_EXE_meridian"));
    command.arg("serve").args(arguments).arg("--config").arg(folder.path().join("meridian.toml"));
    command.env_remove("MERIDIAN_LOG").env("NO_COLOR", "1").stdin(Stdio::null());
    let child = command.stdout(file.try_clone().expect("a second handle")).stderr(file).spawn().expect("it starts");
    (child, log)
}

fn read(log: &PathBuf) -> String {
    std::fs::read_to_string(log).unwrap_or_default()
}

/// Both addresses, once it answers.
fn answering(log: &PathBuf) -> (SocketAddr, SocketAddr) {
    let mut found = None;
    wait_until("it answers", Duration::from_secs(30), || {
        let text = read(log);
        let line = text.lines().find(|line| line.contains("answering dns=") && line.contains("rum="));
        found = line.map(|line| (between(line, "dns=[", ']'), between(line, "admin=Some(", ')')));
        found.is_some()
    });
    found.expect("it was found")
}

fn between(line: &str, from: &str, to: char) -> SocketAddr {
    let after = line.split(from).nth(1).expect("an address");
    after.split(to).next().expect("an address").parse().expect("an address")
}

/// Clients that ask until they are ended, and count.
struct Load {
    over: Arc<AtomicBool>,
    counts: Arc<Counts>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Counts {
    udp: AtomicU64,
    tcp: AtomicU64,
    lost_udp: AtomicU64,
    lost_tcp: AtomicU64,
}

impl Load {
    fn start(dns: SocketAddr) -> Load {
        let (over, counts) = (Arc::new(AtomicBool::new(false)), Arc::new(Counts::default()));
        let kinds: [fn(SocketAddr, &AtomicBool, &Counts); 5] = [ask_udp, ask_udp, ask_udp, ask_tcp_often, ask_tcp_long];
        let start = |ask: fn(SocketAddr, &AtomicBool, &Counts)| {
            let (over, counts) = (over.clone(), counts.clone());
            std::thread::spawn(move || ask(dns, &over, &counts))
        };
        Load { threads: kinds.into_iter().map(start).collect(), over, counts }
    }

    fn end(self) -> Arc<Counts> {
        self.over.store(true, Ordering::SeqCst);
        self.threads.into_iter().for_each(|thread| thread.join().expect("it ends"));
        self.counts
    }
}

/// Several queries at once, from one port after the other, so that all sockets of the server get some.
fn ask_udp(dns: SocketAddr, over: &AtomicBool, counts: &Counts) {
    const AT_ONCE: u16 = 16;
    let wire = Ask::new("www.gslb.example", "A").wire();
    while !over.load(Ordering::SeqCst) {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        socket.connect(dns).expect("connected");
        socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        for id in 0..AT_ONCE {
            let mut query = wire.clone();
            query[..2].copy_from_slice(&id.to_be_bytes());
            if socket.send(&query).is_err() {
                counts.lost_udp.fetch_add(1, Ordering::SeqCst);
            }
        }
        for _ in 0..AT_ONCE {
            match socket.recv(&mut [0; 512]) {
                Ok(_) => counts.udp.fetch_add(1, Ordering::SeqCst),
                Err(_) => counts.lost_udp.fetch_add(1, Ordering::SeqCst),
            };
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// One query per connection.
fn ask_tcp_often(dns: SocketAddr, over: &AtomicBool, counts: &Counts) {
    while !over.load(Ordering::SeqCst) {
        ask_over_one(dns, 1, counts);
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Connections that last for longer than a replacement.
fn ask_tcp_long(dns: SocketAddr, over: &AtomicBool, counts: &Counts) {
    while !over.load(Ordering::SeqCst) {
        ask_over_one(dns, 100, counts);
    }
}

fn ask_over_one(dns: SocketAddr, queries: usize, counts: &Counts) {
    let wire = Ask::new("www.gslb.example", "A").wire();
    let framed = [&u16::try_from(wire.len()).expect("short").to_be_bytes()[..], &wire].concat();
    let asked = |stream: &mut TcpStream| -> std::io::Result<()> {
        stream.write_all(&framed)?;
        let mut length = [0; 2];
        stream.read_exact(&mut length)?;
        stream.read_exact(&mut vec![0; usize::from(u16::from_be_bytes(length))])
    };
    let stream = TcpStream::connect(dns).and_then(|stream| stream.set_read_timeout(Some(PATIENCE)).map(|()| stream));
    let Ok(mut stream) = stream else {
        counts.lost_tcp.fetch_add(1, Ordering::SeqCst);
        return;
    };
    for _ in 0..queries {
        match asked(&mut stream) {
            Ok(()) => counts.tcp.fetch_add(1, Ordering::SeqCst),
            Err(_) => {
                counts.lost_tcp.fetch_add(1, Ordering::SeqCst);
                return;
            }
        };
        if queries > 1 {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// None is lost of thousands.
fn holds(counts: &Counts) {
    println!("{counts:?}");
    let lost = [&counts.lost_udp, &counts.lost_tcp].map(|count| count.load(Ordering::SeqCst));
    assert_eq!(lost, [0, 0], "lost over UDP and TCP: {counts:?}");
    assert!(counts.udp.load(Ordering::SeqCst) > 100 && counts.tcp.load(Ordering::SeqCst) > 100, "{counts:?}");
}

fn override_of(status: &Value, region: &str) -> String {
    let regions = status["regions"].as_array().expect("regions");
    let found = regions.iter().find(|of| of["name"] == format!("{region}@gslb.example")).expect("the region");
    found["override"].as_str().expect("a word").to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_servers_after_each_other_lose_no_query_and_forget_nothing() {
    let mut place = Place::new();
    let load = Load::start(place.dns);
    place.client().say_of_node(true).await.expect("taken");
    let began = Instant::now();
    for number in 0..REPLACES {
        let (region, word) = (["seoul", "frankfurt"][number % 2], [Override::Drain, Override::Auto][number / 2 % 2]);
        place.client().set_override(region, word).await.expect("the override takes");
        // The admin API is asked all the while: whoever connects meanwhile waits, and is answered.
        let (client, over) = (place.client(), Arc::new(AtomicBool::new(false)));
        let until = over.clone();
        let asking = tokio::spawn(async move {
            while !until.load(Ordering::SeqCst) {
                client.status().await.expect("the admin API answers");
            }
        });
        tokio::task::block_in_place(|| place.replace());
        over.store(true, Ordering::SeqCst);
        asking.await.expect("each was answered");
        let status = place.client().status().await.expect("a status");
        assert_eq!(override_of(&status, region), word.as_str(), "{number}");
        assert_eq!(status["node"]["reasons"][0]["reason"], "drained", "{number}");
    }
    println!("{REPLACES} replacements in {:?}", began.elapsed());
    holds(&tokio::task::block_in_place(|| load.end()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_fails_on_the_way_leaves_the_old_one_at_work() {
    let mut place = Place::new();
    let load = Load::start(place.dns);
    let main = place.folder.path().join("meridian.toml");
    // It has been handed all when it finds out that one more address cannot be had.
    std::fs::write(&main, settings(", \"192.0.2.1:0\"")).expect("written");
    let told = tokio::task::block_in_place(|| place.fail_to_replace());
    assert!(told.contains("192.0.2.1"), "{told}");
    wait_until("the old one knows", Duration::from_secs(10), || place.log(0).contains("this one goes on"));
    place.client().set_override("seoul", Override::Drain).await.expect("the admin API goes on");
    // It never asks.
    std::fs::write(&main, "listen = 7\n").expect("written");
    let told = tokio::task::block_in_place(|| place.fail_to_replace());
    assert!(told.contains("meridian.toml"), "{told}");
    // Nobody is let in beside it.
    std::fs::write(&main, settings("")).expect("written");
    let (mut beside, log) = launch(&place.folder, 90, &[]);
    wait_until("it fails", Duration::from_secs(30), || beside.try_wait().expect("a child").is_some());
    let named = format!("another server, process {}, has the state", place.child.id());
    assert!(read(&log).contains(&named), "{named}: {}", read(&log));
    tokio::task::block_in_place(|| place.replace());
    let status = place.client().status().await.expect("a status");
    assert_eq!(override_of(&status, "seoul"), "drain");
    holds(&tokio::task::block_in_place(|| load.end()));
}

/// As systemd starts it: with sockets from descriptor 3 on, which nobody else could bind.
#[test]
fn sockets_that_systemd_has_opened_are_taken() {
    let (udp, tcp) = loop {
        let udp = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        if let Ok(tcp) = TcpListener::bind(udp.local_addr().expect("an address")) {
            break (udp, tcp);
        }
    };
    let admin = TcpListener::bind("127.0.0.1:0").expect("a port");
    let [dns, admin_at] = [udp.local_addr(), admin.local_addr()].map(|address| address.expect("an address"));
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(folder.path().join("zones")).expect("a folder");
    std::fs::write(folder.path().join("zones/gslb.example.toml"), ZONE).expect("written");
    let main = format!("listen.dns = \"{dns}\"\nlisten.admin = \"{admin_at}\"\nthreads = 2\n");
    std::fs::write(folder.path().join("meridian.toml"), main).expect("written");
    let log = folder.path().join("log");
    let file = std::fs::File::create(&log).expect("a log");
    let mut command = Command::new("sh");
    command.args(["-c", "exec env LISTEN_PID=$$ LISTEN_FDS=3 \"$0\" serve --config \"$1\""]);
    command.arg(env!("CARGO_BIN_EXE_meridian")).arg(folder.path().join("meridian.toml"));
    command.env_remove("MERIDIAN_LOG").env("NO_COLOR", "1").stdin(Stdio::null());
    command.stdout(file.try_clone().expect("a second handle")).stderr(file);
    // Beyond those that they become, so that none is overwritten before it was copied.
    let high = [udp.as_raw_fd(), tcp.as_raw_fd(), admin.as_raw_fd()].map(|descriptor| {
        // SAFETY: numbers alone; the copy is closed with this process.
        unsafe { libc::fcntl(descriptor, libc::F_DUPFD_CLOEXEC, 100) }
    });
    // SAFETY: between fork and exec, only a system call that is safe there.
    unsafe {
        command.pre_exec(move || {
            (3..).zip(high).try_for_each(|(to, from)| match libc::dup2(from, to) {
                -1 => Err(std::io::Error::last_os_error()),
                _ => Ok(()),
            })
        });
    }
    let mut child = command.spawn().expect("it starts");
    assert_eq!(answering(&log), (dns, admin_at), "{}", read(&log));
    let counts = Counts::default();
    ask_over_one(dns, 3, &counts);
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    socket.send_to(&Ask::new("www.gslb.example", "A").wire(), dns).expect("sent");
    assert!(socket.recv(&mut [0; 512]).is_ok(), "{}", read(&log));
    assert_eq!(counts.tcp.load(Ordering::SeqCst), 3, "{counts:?}");
    child.kill().expect("killed");
    child.wait().expect("ended");
}

#[test]
fn without_a_server_to_replace_it_is_a_start_as_any_other() {
    let place = Place::new();
    let folder = tempfile::tempdir().expect("a folder");
    for file in ["meridian.toml", "zones/gslb.example.toml"] {
        std::fs::create_dir_all(folder.path().join("zones")).expect("a folder");
        std::fs::copy(place.folder.path().join(file), folder.path().join(file)).expect("copied");
    }
    let (mut child, log) = launch(&folder, 0, &["--replace"]);
    let (dns, _) = answering(&log);
    assert_ne!(dns, place.dns);
    assert!(read(&log).contains("no server runs there that could be replaced"));
    child.kill().expect("killed");
    child.wait().expect("ended");
}
