//! What it costs one server to probe thousands of endpoints, how evenly it does, and how soon it notices those that
//! die, with half of the others hung: a real process against addresses of 127.0.0.0/8 that are answered from here.
//!
//! ```text
//! cargo bench --bench health -- tcp               CPU, memory and the spread of probes
//! cargo bench --bench health -- http
//! cargo bench --bench health -- http --hung       half of the endpoints never answer; 100 of the others die
//!   --targets N   endpoints, five to a region; 5,000     --seconds S   how long the CPU is watched; 60
//! ```
//!
//! What answers is this process: its CPU is not counted, but the kernel does its part of a connection over loopback
//! in the name of whoever connects. `perf record -g -p` the id that is printed tells what dominates.

use std::collections::{BTreeMap, HashSet};
use std::fmt::Write as _;
use std::io::{BufRead, BufReader};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Endpoints of a region.
const PER_REGION: usize = 5;
/// Regions of a service.
const PER_SERVICE: usize = 10;
/// So many die, half of them by closing what they accept, half by falling silent.
const MOST_DYING: usize = 100;
/// How wide the buckets are in which starts of probes are counted.
const BUCKET: Duration = Duration::from_millis(100);
/// The promise: interval 5 s, fall 3.
const FAILOVER: Duration = Duration::from_secs(7);

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let mut run = Run { kind: "tcp".into(), hung: false, targets: 5_000, seconds: 60 };
    if !words.iter().any(|word| word == "--bench") {
        run = Run { kind: "http".into(), hung: true, targets: 50, seconds: 2 };
    }
    let mut words = words.into_iter().filter(|word| word != "--bench");
    let number = |text: Option<String>| text.and_then(|text| text.parse().ok()).expect("a whole number");
    while let Some(word) = words.next() {
        match word.as_str() {
            "tcp" | "http" => run.kind = word,
            "--hung" => run.hung = true,
            "--targets" => run.targets = number(words.next()),
            "--seconds" => run.seconds = number(words.next()) as u64,
            _ => panic!("no such word: {word}"),
        }
    }
    assert!(run.kind == "http" || !run.hung, "the kernel accepts connections for those that hang: say http");
    run.play();
}

struct Run {
    kind: String,
    hung: bool,
    targets: usize,
    seconds: u64,
}

impl Run {
    fn play(&self) {
        let responder = Responder::start(self);
        let folder = tempfile::tempdir().expect("a temporary folder");
        write_files(folder.path(), self, responder.port);
        let server = Server::start(folder.path());
        println!("{} endpoints by {}, process {}", self.targets, self.kind, server.child.id());
        let begun = Instant::now();
        responder.wait_for(self.targets, Duration::from_secs(30));
        println!("first probes of all after {:.2} s", begun.elapsed().as_secs_f64());
        std::thread::sleep(Duration::from_secs(self.seconds.min(15)));
        println!("starts in {BUCKET:?}, from the first: {}", responder.spread(begun, Instant::now()));
        self.calm(&server, &responder);
        self.reload(&server, &responder);
        if self.hung {
            self.die(&server, &responder);
        }
    }

    fn calm(&self, server: &Server, responder: &Responder) {
        let (from, before) = (Instant::now(), server.cpu_s());
        std::thread::sleep(Duration::from_secs(self.seconds));
        let (wall_s, cpu_s) = (from.elapsed().as_secs_f64(), server.cpu_s() - before);
        println!("CPU {:.1} % of a core over {wall_s:.0} s", 100.0 * cpu_s / wall_s);
        println!("memory {} MB, at most {} MB", server.memory_mb("VmRSS:"), server.memory_mb("VmHWM:"));
        println!("starts in {BUCKET:?}, calm: {}", responder.spread(from, Instant::now()));
    }

    /// The same files again.
    fn reload(&self, server: &Server, responder: &Responder) {
        let from = Instant::now();
        server.hang_up();
        std::thread::sleep(Duration::from_secs(self.seconds.min(10)));
        println!("starts in {BUCKET:?}, after a reload: {}", responder.spread(from, Instant::now()));
    }

    fn die(&self, server: &Server, responder: &Responder) {
        // No region whole: each keeps one that answers.
        let good: Vec<usize> = (0..self.targets).filter(|&number| mode_of(number, true) == Mode::Good).collect();
        let dying: Vec<usize> = good.into_iter().step_by(2).take(MOST_DYING).collect();
        server.changes();
        let died = Instant::now();
        for (index, &number) in dying.iter().enumerate() {
            responder.set(number, if index % 2 == 0 { Mode::Closing } else { Mode::Hung });
        }
        std::thread::sleep(FAILOVER + Duration::from_secs(3));
        let mut downs: BTreeMap<String, Instant> = BTreeMap::new();
        let mut others = HashSet::new();
        let addresses: HashSet<String> = dying.iter().map(|&number| address_of(number).to_string()).collect();
        for (at, endpoint, verdict) in server.changes() {
            match (addresses.contains(&endpoint), verdict.as_str()) {
                (true, "down") => _ = downs.entry(endpoint).or_insert(at),
                (true, _) => {}
                (false, _) => _ = others.insert(format!("{endpoint} {verdict}")),
            }
        }
        let mut took: Vec<Duration> = downs.values().map(|&at| at - died).collect();
        took.sort();
        let in_time = took.iter().filter(|&&took| took <= FAILOVER).count();
        println!("{in_time} of {} that died are down within {FAILOVER:?}", dying.len());
        if let (Some(median), Some(last)) = (took.get(took.len() / 2), took.last()) {
            println!("down after {:.2} s (median), {:.2} s (last)", median.as_secs_f64(), last.as_secs_f64());
        }
        println!("changes of others meanwhile: {} {others:?}", others.len());
        // Silence is known by what came before: twenty seconds' worth of answers.
        let is_known = self.seconds >= 20;
        assert!(!is_known || in_time == dying.len() && others.is_empty(), "verdicts were late or false");
    }
}

// ---------------------------------------------------------------------------------------------
// The server

struct Server {
    child: Child,
    /// What its log has said of endpoints: when, which, and its verdict.
    changes: Arc<Mutex<Vec<(Instant, String, String)>>>,
}

impl Server {
    fn start(folder: &Path) -> Server {
        let mut command = Command::new(env!("CARGO_BIN_EXE_meridian"));
        command.arg("serve").arg("--config").arg(folder.join("meridian.toml")).arg("--log").arg("info");
        let mut child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().expect("a server");
        let changes: Arc<Mutex<Vec<_>>> = Arc::default();
        let (log, into) = (child.stderr.take().expect("its log"), changes.clone());
        std::thread::spawn(move || {
            for line in BufReader::new(log).lines().map_while(Result::ok) {
                match change(&line) {
                    Some((endpoint, verdict)) => locked(&into).push((Instant::now(), endpoint, verdict)),
                    None if line.contains("WARN") || line.contains("ERROR") => eprintln!("{line}"),
                    None => {}
                }
            }
        });
        Server { child, changes }
    }

    /// Those since it was last asked.
    fn changes(&self) -> Vec<(Instant, String, String)> {
        std::mem::take(&mut locked(&self.changes))
    }

    /// User and system time, from fields 14 and 15 of proc(5)'s stat, in hundredths of a second.
    fn cpu_s(&self) -> f64 {
        let text = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).expect("it runs");
        let (_, fields) = text.rsplit_once(')').expect("a name");
        fields.split_whitespace().skip(11).take(2).map(|field| field.parse::<f64>().expect("a number")).sum::<f64>()
            / 100.0
    }

    fn memory_mb(&self, field: &str) -> u64 {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("it runs");
        let line = text.lines().find(|line| line.starts_with(field)).expect("a field");
        line.split_whitespace().nth(1).and_then(|kb| kb.parse::<u64>().ok()).expect("kB") / 1024
    }

    fn hang_up(&self) {
        let status = Command::new("kill").arg("-HUP").arg(self.child.id().to_string()).status();
        assert!(status.is_ok_and(|status| status.success()), "it runs");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill(); // it may have ended by itself
        let _ = self.child.wait();
    }
}

/// The endpoint and its verdict, of a line that tells of a change.
fn change(line: &str) -> Option<(String, String)> {
    let field = |name: &str| {
        let (_, rest) = line.split_once(name)?;
        rest.split_whitespace().next().map(|word| word.trim_matches('"').to_owned())
    };
    if line.contains("an endpoint changed") { field("endpoint=").zip(field("verdict=")) } else { None }
}

fn write_files(folder: &Path, run: &Run, port: u16) {
    std::fs::create_dir(folder.join("zones")).expect("a folder");
    let main = "listen = { dns = [\"127.0.0.1:0\"], admin = \"off\" }\nthreads = 1\ngeoip = [\"demo.mmdb\"]\n";
    std::fs::write(folder.join("meridian.toml"), main).expect("written");
    std::fs::write(folder.join("demo.mmdb"), meridian::atlas::DEMO_DATABASE).expect("written");
    std::fs::write(folder.join("zones/gslb.example.toml"), zone_text(run, port)).expect("written");
}

fn zone_text(run: &Run, port: u16) -> String {
    let mut text = "origin = \"gslb.example\"\nrecords = \"\"\"\n@ SOA ns1 hostmaster 1 1h 10m 1w 60\n@ NS ns1\n\
                    ns1 A 198.51.100.53\n\"\"\"\n"
        .to_owned();
    let mut chance = fastrand::Rng::with_seed(5);
    let numbers: Vec<usize> = (0..run.targets).collect();
    let regions: Vec<&[usize]> = numbers.chunks(PER_REGION).collect();
    for (region, endpoints) in regions.iter().enumerate() {
        let addresses: Vec<String> =
            endpoints.iter().map(|&number| format!("{{ address = \"{}\" }}", address_of(number))).collect();
        let (latitude, longitude) = (chance.f64() * 100.0 - 50.0, chance.f64() * 360.0 - 180.0);
        let check = match run.kind.as_str() {
            "http" => format!("check.http = {{ url = \"http://{{address}}:{port}/health\" }}"),
            _ => format!("check.tcp = {{ port = {port} }}"),
        };
        let _ = writeln!(
            text,
            "[region.r{region}]\nlocation = {{ country = \"US\", latitude = {latitude:.2}, longitude = {longitude:.2} }}\n\
             endpoints = [{}]\n{check}",
            addresses.join(", "),
        );
    }
    let names: Vec<String> = (0..regions.len()).map(|region| format!("r{region}")).collect();
    for (service, names) in names.chunks(PER_SERVICE).enumerate() {
        let _ = writeln!(text, "[service.s{service}]\nregions = {names:?}");
    }
    text
}

// ---------------------------------------------------------------------------------------------
// What is probed

/// What becomes of a connection to an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Mode {
    Good,
    /// It is accepted, and nothing ever said.
    Hung,
    /// It is accepted and reset.
    Closing,
}

fn mode_of(number: usize, hung: bool) -> Mode {
    if hung && number % 2 == 1 { Mode::Hung } else { Mode::Good }
}

/// Away from 127.0.0.0/16, which others use.
fn address_of(number: usize) -> IpAddr {
    let [high, low] = ((number / 250) as u16).to_be_bytes();
    Ipv4Addr::new(127, high + 1, low, (number % 250) as u8 + 1).into()
}

fn number_of(address: SocketAddr) -> Option<usize> {
    let IpAddr::V4(address) = address.ip() else { return None };
    let [_, high, low, last] = address.octets();
    let hundreds = usize::from(u16::from_be_bytes([high.checked_sub(1)?, low]));
    Some(hundreds * 250 + usize::from(last.checked_sub(1)?))
}

struct Responder {
    port: u16,
    modes: Arc<Vec<AtomicU8>>,
    /// When each connection came, and to which endpoint.
    starts: Arc<Mutex<Vec<(Instant, usize)>>>,
}

impl Responder {
    fn start(run: &Run) -> Responder {
        let listener = listener();
        let port = listener.local_addr().expect("an address").port();
        let mode = |number| AtomicU8::new(mode_of(number, run.hung) as u8);
        let modes: Arc<Vec<AtomicU8>> = Arc::new((0..run.targets).map(mode).collect());
        let starts: Arc<Mutex<Vec<_>>> = Arc::default();
        let (of, into, speaks) = (modes.clone(), starts.clone(), run.kind == "http");
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async move {
                let listener = TcpListener::from_std(listener).expect("a listener");
                loop {
                    let Ok((stream, _)) = listener.accept().await else { continue };
                    let Some(number) = stream.local_addr().ok().and_then(number_of) else { continue };
                    let Some(mode) = of.get(number).map(|mode| mode.load(Ordering::Relaxed)) else { continue };
                    locked(&into).push((Instant::now(), number));
                    if mode == Mode::Closing as u8 {
                        let _ = stream.set_zero_linger(); // closed either way
                    } else if mode == Mode::Hung as u8 || speaks {
                        tokio::spawn(attend(stream, mode == Mode::Good as u8));
                    }
                }
            });
        });
        Responder { port, modes, starts }
    }

    fn set(&self, number: usize, mode: Mode) {
        self.modes[number].store(mode as u8, Ordering::Relaxed);
    }

    /// Until so many have been asked.
    fn wait_for(&self, targets: usize, limit: Duration) {
        let begun = Instant::now();
        let asked = || locked(&self.starts).iter().map(|(_, number)| *number).collect::<HashSet<_>>().len();
        while asked() < targets {
            assert!(begun.elapsed() < limit, "only {} of {targets} were asked", asked());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// How many probes began in each bucket of a time.
    fn spread(&self, from: Instant, until: Instant) -> String {
        let mut buckets = vec![0_u32; ((until - from).as_millis() / BUCKET.as_millis()) as usize];
        for (at, _) in locked(&self.starts).iter().filter(|(at, _)| *at >= from) {
            let index = ((*at - from).as_millis() / BUCKET.as_millis()) as usize;
            if let Some(bucket) = buckets.get_mut(index) {
                *bucket += 1;
            }
        }
        let mean = f64::from(buckets.iter().sum::<u32>()) / buckets.len().max(1) as f64;
        let most = buckets.iter().max().copied().unwrap_or_default();
        let per_s = mean / BUCKET.as_secs_f64();
        format!("{mean:.0} in the mean ({per_s:.0} a second), at most {most}, {:.1} times", f64::from(most) / mean)
    }
}

async fn attend(mut stream: TcpStream, answers: bool) {
    let (mut request, mut chunk) = (Vec::new(), [0; 1024]);
    while let Ok(length @ 1..) = stream.read(&mut chunk).await {
        request.extend_from_slice(&chunk[..length]);
        if answers && request.ends_with(b"\r\n\r\n") {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await; // it may have gone
            request.clear();
        }
    }
}

/// On a free port of every address, with room for all that come at once.
fn listener() -> std::net::TcpListener {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)).into()).expect("a port");
    socket.listen(65_535).expect("it listens");
    socket.set_nonblocking(true).expect("it does not block");
    socket.into()
}

fn locked<T>(what: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    what.lock().unwrap_or_else(PoisonError::into_inner)
}
