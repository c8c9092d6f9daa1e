//! What it costs to have more of something (names, zones, services, regions, networks), and what change costs then.
//! One size per process, since memory is a process's; the script beside it runs many of them side by side and makes
//! tables and a chart.
//!
//! ```text
//! growth make DIR AXIS=N…      writes a configuration of that size, the same for the same size
//! growth point DIR QUERIES     loads it, says what that took, then obeys lines on its standard input
//! ```
//!
//! A point is served twice, as a whole and by its parts. It prints figures as `name value`, then a line `done`, and
//! waits for an order; each is answered in the same way:
//!
//! - `answer N`, `udp N`: a round of queries through [`answer`], or through sockets
//! - `swap`: an operator takes a region away or gives it back
//! - `verdict`: a probe takes a region down, each time another, until nobody is sent there; then all work that follows
//!   from it
//! - `reload`: a configuration that is loaded already is put in place
//! - `edit`: one record of one file is another, and everything is reloaded; how long that takes until files are read,
//!   until the next snapshot, and in CPU time
//! - `regroup`: other networks than before have measured round trips; the CPU time of the writer, and of the jobs beside it
//! - `latency N`: one question after the other, first in peace, then while snapshots are made and swapped on the very
//!   core that answers
//! - `waits RATE`: questions at a fixed rate, in peace and during swaps every 100 ms
//!
//! Alone, as `cargo test --benches` runs it, it tries everything once at its smallest.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::hint::black_box;
use std::io::BufRead;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use fastrand::Rng;
use meridian::atlas::Atlas;
use meridian::control::clock;
use meridian::control::config::{Loaded, Loader};
use meridian::control::databases::MadeOf;
use meridian::control::jobs::JobThread;
use meridian::control::memory;
use meridian::control::reload::{ConfigSource, Reprepared, prepare_again};
use meridian::model::{Model, Prefix};
use meridian::query::counters::{CounterSet, Counters};
use meridian::query::transport::Responder;
use meridian::query::transport::udp::{self, UdpServer, UdpSettings};
use meridian::query::{Client, Transport, answer};
use meridian::state::{EndpointNews, News, Publisher, Replacement, SharedSnapshot, Snapshot, Urgency};
use meridian::steer::haste::Haste;
use meridian::steer::health::effective::Override;
use meridian::steer::health::verdict::Verdict;
use meridian::steer::kept::Clock;
use meridian::steer::latency::rtt::{ClientGroup, Estimate, Measured};
use tokio::runtime::{Builder, Runtime};

#[allow(dead_code)] // the other benchmarks need more of it
#[path = "support/databases.rs"]
mod databases;
#[path = "support/open_loop.rs"]
mod open_loop;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["make", folder, ref sizes @ ..] => make(Path::new(folder), &Size::read(sizes)),
        ["point", folder, queries] => obey(Path::new(folder), queries, std::io::stdin().lock()),
        _ => everything_once(),
    }
}

fn everything_once() {
    const ORDERS: &str =
        "answer 100\nudp 100\nlatency 100\nwaits 1000\nswap\nverdict\nverdict\nreload\nedit\nedit\nregroup\n";
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("growth-once");
    for queries in ["names", "services"] {
        make(&folder, &Size::read(&["names=10", "zones=2", "services=3", "regions=2", "networks=500"]));
        obey(&folder, queries, ORDERS.as_bytes());
    }
}

/// How much of everything there is.
struct Size {
    names: usize,
    zones: usize,
    services: usize,
    /// How many of the services are decided unlike any other; the rest share one way.
    kinds: usize,
    regions: usize,
    networks: usize,
    /// Records stand in files of their own, not in the zones' TOML.
    apart: bool,
}

impl Size {
    fn read(arguments: &[&str]) -> Size {
        let mut size =
            Size { names: 10_000, zones: 1, services: 10, kinds: 1, regions: 5, networks: 200_000, apart: false };
        for argument in arguments {
            let (axis, number) = argument.split_once('=').expect("AXIS=N");
            let number = number.parse().expect("a number");
            match axis {
                "names" => size.names = number,
                "zones" => size.zones = number,
                "services" => size.services = number,
                "kinds" => (size.services, size.kinds, size.regions) = (number, number, 16),
                "regions" => size.regions = number,
                "networks" => size.networks = number,
                "apart" => (size.names, size.apart) = (number, true),
                _ => panic!("no such axis: {axis}"),
            }
        }
        size
    }
}

// ---------------------------------------------------------------------------------------------
// Files of a size

fn make(folder: &Path, size: &Size) {
    let _ = std::fs::remove_dir_all(folder); // it may not be there
    std::fs::create_dir_all(folder.join("zones")).expect("a folder");
    let database = databases::file("city", size.networks * 3 / 4, size.networks / 4, databases::city_record);
    let main = format!("listen.admin = \"off\"\ngeoip = [{:?}]\n", database.to_str().expect("UTF-8"));
    std::fs::write(folder.join("meridian.toml"), main).expect("written");
    std::fs::write(folder.join("size"), format!("{} {} {}", size.names, size.zones, size.services)).expect("written");
    for zone in 0..size.zones {
        let (text, records) = zone_text(zone, size);
        std::fs::write(folder.join(format!("zones/z{zone:05}.toml")), text).expect("written");
        if let Some(records) = records {
            std::fs::write(folder.join(format!("zones/z{zone:05}.zone")), records).expect("written");
        }
    }
}

/// Names are dealt out over all zones; regions and services are the first zone's. With the records' own file, if any.
fn zone_text(zone: usize, size: &Size) -> (String, Option<String>) {
    let mut records = String::from("@ SOA ns1 hostmaster 1 1h 10m 1w 60\n@ NS ns1\nns1 A 198.51.100.53\n");
    for name in (zone..size.names).step_by(size.zones) {
        let _ = writeln!(records, "h{name:07} A 192.0.2.{}", name % 250 + 1); // a String takes everything
    }
    let head = format!("origin = \"z{zone:05}.growth.test\"\n");
    let (mut text, records) = match size.apart {
        true => (format!("{head}records_file = \"z{zone:05}.zone\"\n"), Some(records)),
        false => (format!("{head}records = \"\"\"\n{records}\"\"\"\n"), None),
    };
    if zone == 0 {
        steered(&mut text, size);
    }
    (text, records)
}

fn steered(text: &mut String, size: &Size) {
    let mut rng = Rng::with_seed(8);
    for region in 0..size.regions {
        let (latitude, longitude) = (rng.f64() * 100.0 - 50.0, rng.f64() * 360.0 - 180.0);
        let _ = writeln!(
            text,
            "[region.r{region}]\nlocation = {{ country = \"US\", latitude = {latitude:.2}, longitude = {longitude:.2} }}\n\
             capacity = 1000\nendpoints = [{{ address = [\"203.0.113.{region}\", \"2001:db8::{region}\"] }}]\n\
             check.tcp = {{ port = 443 }}\nslow_start = \"0s\""
        );
    }
    let regions: Vec<String> = (0..size.regions).map(|region| format!("r{region}")).collect();
    for service in 0..size.services {
        let latency = 0.5 + (service % size.kinds) as f64 * 1e-5;
        let _ = writeln!(
            text,
            "[service.s{service:05}]\nregions = {regions:?}\nweights = {{ latency = {latency:.5}, load = 0.3, cost = 0.2 }}"
        );
    }
}

// ---------------------------------------------------------------------------------------------
// One size, measured

/// Swaps while questions come at a fixed rate are so far apart.
const SWAP_EVERY: Duration = Duration::from_millis(100);
/// A round of questions at a fixed rate.
const ROUND: Duration = Duration::from_secs(1);
/// Far enough between verdicts that nothing damps them.
const BETWEEN_VERDICTS: Duration = Duration::from_secs(3_600);
/// Services asked whether they answer with a region, clients of each that had it, and tries to find those.
const ASKED_SERVICES: usize = 64;
const ASKED_CLIENTS: usize = 4;
const TRIES: usize = 5_000;
/// Networks with measured round trips.
const MEASURED: usize = 1_000;

/// The files, with what the server keeps of them from one load to the next.
struct Files {
    main: MainFile,
    made_of: Option<MadeOf>,
}

impl Files {
    fn load(&mut self) -> (Model, Option<Atlas>) {
        let prepared = prepare_again(&self.main, self.made_of.as_ref());
        let prepared = prepared.unwrap_or_else(|mistakes| panic!("{}", mistakes.join("\n")));
        let Reprepared { loaded: Loaded { model, .. }, atlas, following } = prepared;
        self.made_of = following.made_of().cloned();
        (model, atlas)
    }
}

struct MainFile(Loader);

impl ConfigSource for MainFile {
    fn load(&self) -> Result<Loaded, Vec<String>> {
        self.0.load().map_err(|mistakes| mistakes.iter().map(|mistake| mistake.to_string()).collect())
    }
}

/// A server of this size, in parts.
struct Point {
    folder: PathBuf,
    files: Files,
    writer: Writer,
    shared: SharedSnapshot,
    counters: CounterSet,
    own: Arc<Counters>,
    questions: Questions,
    edits: u32,
    regroups: u64,
    /// The region that was taken down last.
    lost: usize,
}

fn obey(folder: &Path, queries: &str, orders: impl BufRead) {
    memory::keep_large_blocks_apart();
    let mut point = Point::load(folder, queries);
    println!("done");
    for order in orders.lines() {
        let order = order.expect("a line");
        let (order, number) = order.split_once(' ').unwrap_or((&order, "0"));
        let count = number.parse().expect("a number");
        match order {
            "answer" => say("answer_ns", point.answer(count)),
            "udp" => say("udp_ns", point.udp(count)),
            "latency" => point.latency(count),
            "waits" => point.waits(count),
            "swap" => say("swap_ms", point.writer.swap()),
            "verdict" => point.verdict(),
            "reload" => say("reload_ms", point.reload()),
            "edit" => point.edit(),
            "regroup" => point.regroup(),
            _ => panic!("no such order: {order}"),
        }
        println!("done");
    }
}

impl Point {
    /// As the server does at its start, with how long each part takes.
    fn load(folder: &Path, queries: &str) -> Point {
        let began = Instant::now();
        let mut files = Files { main: MainFile(Loader::new(&folder.join("meridian.toml"))), made_of: None };
        let (model, atlas) = files.load();
        let atlas = atlas.expect("the first one is made");
        say("files_ms", ms(began));
        let publishing = Instant::now();
        let mut publisher = Publisher::new(model, atlas, "", 0, BTreeMap::new(), clock::read());
        publisher.leave_work();
        say("publish_ms", ms(publishing));
        say("load_ms", ms(began));
        say("load_cpu_ms", process_ns() as f64 / 1e6);
        memory::give_back();
        say("rss_mb", megabytes("VmRSS"));
        say("peak_mb", megabytes("VmHWM"));
        let mut writer = Writer { publisher, swaps: 0, ahead: Duration::ZERO };
        writer.catch_up();
        writer.probe_all(Verdict::Up);
        let (counters, shared) = (CounterSet::new(), writer.publisher.shared());
        let (own, questions) = (counters.register(), Questions::about(folder, queries));
        let folder = folder.to_owned();
        Point { folder, files, writer, shared, counters, own, questions, edits: 0, regroups: 0, lost: 0 }
    }

    /// CPU nanoseconds per answer over so many random questions, without those it takes to put a
    /// question together.
    fn answer(&mut self, count: u32) -> f64 {
        let client = Client { address: Ipv4Addr::LOCALHOST.into(), transport: Transport::Udp };
        let mut out = [0; 1232];
        // As at some rate of queries, of which few are sampled.
        self.counters.drain_demand(Duration::from_millis(50), |_| ());
        let mut questions = self.questions.clone();
        let snapshot = self.shared.load();
        let began = cpu_ns();
        for _ in 0..count {
            black_box(questions.next());
        }
        let asking = cpu_ns() - began;
        let began = cpu_ns();
        for _ in 0..count {
            let len = answer(&snapshot, self.questions.next(), client, &mut out, &self.own);
            assert!(len > 12 && out[7] > 0, "an answer with records");
        }
        (cpu_ns() - began).saturating_sub(asking) as f64 / f64::from(count)
    }

    /// CPU nanoseconds per answer of the thread that answers over UDP, sockets and all. As many are
    /// under way at once as keep it busy.
    fn udp(&mut self, count: u32) -> f64 {
        const UNDER_WAY: u32 = 200;
        let (running, to) = self.serve();
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        socket.connect(to).expect("connected");
        socket.set_read_timeout(Some(Duration::from_millis(200))).expect("a timeout");
        let mut reply = [0; 1232];
        let thread = udp_thread();
        let began = thread_ns(&thread);
        let (mut sent, mut received) = (0, 0);
        while received < count {
            while sent < count && sent - received < UNDER_WAY {
                socket.send(self.questions.next()).expect("sent");
                sent += 1;
            }
            match socket.recv(&mut reply) {
                Ok(_) => received += 1,
                Err(_) => break, // some may be lost on a busy machine
            }
        }
        let spent = thread_ns(&thread) - began;
        running.stop();
        assert!(received > count / 2, "{received} of {count} answered");
        spent as f64 / f64::from(received)
    }

    /// One thread that answers over UDP, and where.
    fn serve(&self) -> (udp::Running, SocketAddr) {
        let any = "127.0.0.1:0".parse().expect("an address");
        let server = UdpServer::bind(&[any], &UdpSettings::new(NonZeroUsize::MIN)).expect("bind");
        let to = server.local_addrs()[0];
        let responder = Arc::new(FromShared(self.shared.clone()));
        (server.start(&responder, &self.counters).expect("a thread"), to)
    }

    /// [`Point::serve`] with its thread on a core of its own, and this one on another.
    fn serve_apart(&self) -> (udp::Running, SocketAddr) {
        let (running, to) = self.serve();
        let thread = udp_thread().file_name().and_then(|id| id.to_str()?.parse().ok()).expect("its number");
        pin(thread, ANSWERING);
        pin(0, ASKING);
        (running, to)
    }

    /// Says how long questions wait for their answers, asked one by one over UDP of a thread that has a core
    /// to itself; then while that core makes one snapshot after the other.
    fn latency(&mut self, count: u32) {
        let (running, to) = self.serve_apart();
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        socket.connect(to).expect("connected");
        socket.set_read_timeout(Some(Duration::from_secs(1))).expect("a timeout");
        ask_one_by_one("calm", &socket, &mut self.questions, count);
        let questions = &mut self.questions;
        self.writer.swapping(Duration::ZERO, || ask_one_by_one("publishing", &socket, questions, count));
        running.stop();
        pin_nowhere();
    }

    /// Says how long questions wait that come at a rate per second whatever becomes of the answers, for a round in
    /// peace and for one with swaps on the core that answers.
    fn waits(&mut self, rate: u32) {
        let (running, to) = self.serve_apart();
        let questions = &mut self.questions;
        let mut ask = || open_loop::ask(to, rate, ROUND, |query| query.extend(questions.next()));
        say_waits("calm", &ask());
        let swaps = self.writer.swaps;
        say_waits("swapping", &self.writer.swapping(SWAP_EVERY, ask));
        say("swapping_swaps", f64::from(self.writer.swaps - swaps));
        running.stop();
        pin_nowhere();
    }

    /// Takes the next region that somebody is sent to down by a probe and brings it back. Says the milliseconds until no
    /// service that is asked answers with it any more, and those of CPU until all work that follows is done.
    fn verdict(&mut self) {
        if self.writer.swaps % 2 == 1 {
            self.writer.swap();
        }
        let regions = self.shared.load().model.regions.len();
        let next = (1..=regions).map(|step| (self.lost + step) % regions);
        let mut asked = next.map(|region| (region, self.clients_of(region)));
        let (region, had) = asked.find(|(_, had)| !had.is_empty()).expect("somebody is sent somewhere");
        self.lost = region;
        let (began, spent) = (Instant::now(), process_ns());
        self.writer.probe_and_publish(region, Verdict::Down);
        let mut took = ms(began);
        if self.some_have(&had, region) {
            self.writer.catch_up();
            took = ms(began);
            assert!(!self.some_have(&had, region), "a region is answered that is down");
        }
        say("verdict_ms", took);
        self.writer.catch_up();
        say("plan_ms", (process_ns() - spent) as f64 / 1e6);
        self.writer.ahead += BETWEEN_VERDICTS;
        self.writer.probe_and_publish(region, Verdict::Up);
        self.writer.catch_up();
        self.writer.ahead += BETWEEN_VERDICTS;
        assert!(self.some_have(&had, region), "it is answered again");
    }

    /// Questions that are answered with a region, of several services.
    fn clients_of(&self, region: usize) -> Vec<Vec<u8>> {
        let mut rng = Rng::with_seed(11);
        let services = self.writer.publisher.shared().load().model.services.len();
        let asked = (0..services).step_by(services.div_ceil(ASKED_SERVICES));
        let of_service = |service: usize| {
            let tries = (0..TRIES).filter_map(|_| match databases::v4_address(&mut rng) {
                IpAddr::V4(client) => Some(question(&format!("s{service:05}"), client)),
                IpAddr::V6(_) => None,
            });
            let had: Vec<Vec<u8>> =
                tries.filter(|question| self.answers_with(question, address_of(region))).take(ASKED_CLIENTS).collect();
            had
        };
        asked.flat_map(of_service).collect()
    }

    fn some_have(&self, questions: &[Vec<u8>], region: usize) -> bool {
        questions.iter().any(|question| self.answers_with(question, address_of(region)))
    }

    fn answers_with(&self, question: &[u8], address: [u8; 4]) -> bool {
        let client = Client { address: Ipv4Addr::LOCALHOST.into(), transport: Transport::Udp };
        let mut out = [0; 1232];
        let len = answer(&self.shared.load(), question, client, &mut out, &self.own);
        assert!(len > 12 && out[7] > 0, "an answer with records");
        out[12..len].windows(4).any(|octets| octets == address)
    }

    /// Milliseconds it takes to put a configuration in place that is loaded already.
    fn reload(&mut self) -> f64 {
        let (model, atlas) = self.files.load();
        let now = Instant::now();
        self.writer.replace(model, atlas);
        let took = ms(now);
        self.writer.rest();
        took
    }

    /// Has another address in one record of one file, and reloads. Says how long that takes, and the memory after it.
    fn edit(&mut self) {
        let address = |edits: u32| [192, 0, 2, (edits % 250) as u8 + 1];
        let line = |address: [u8; 4]| format!("\nh0000000 A {}\n", Ipv4Addr::from(address));
        let apart = self.folder.join("zones/z00000.zone");
        let file = if apart.exists() { apart } else { self.folder.join("zones/z00000.toml") };
        let before = address(self.edits);
        self.edits += 1;
        let after = address(self.edits);
        let text = std::fs::read_to_string(&file).expect("the zone");
        assert!(text.contains(&line(before)));
        std::fs::write(&file, text.replacen(&line(before), &line(after), 1)).expect("written");
        drop(text);
        let (now, spent) = (Instant::now(), process_ns());
        let (model, atlas) = self.files.load();
        say("edit_files_ms", ms(now));
        self.writer.replace(model, atlas);
        say("edit_ms", ms(now));
        say("edit_cpu_ms", (process_ns() - spent) as f64 / 1e6);
        self.writer.rest();
        say("edited_mb", megabytes("VmRSS"));
        assert!(self.answers_with(&question("h0000000", Ipv4Addr::LOCALHOST), after), "what the file says now");
    }

    /// Has round trips measured of other networks than before. Says the milliseconds of CPU until answers go by them: of the
    /// writer, and of the jobs that make what it publishes.
    fn regroup(&mut self) {
        self.regroups += 1;
        let mut rng = Rng::with_seed(self.regroups);
        let estimates = (0..MEASURED).map(|_| {
            let network = Prefix::containing(databases::v4_address(&mut rng), 24);
            (ClientGroup::Network(network), "r0@z00000.growth.test", Estimate::given(rng.f64() * 200.0 + 1.0))
        });
        let measured = Arc::new(Measured::of(estimates.collect::<Vec<_>>()));
        let (began, mut of_jobs) = (cpu_ns(), 0);
        if self.writer.publisher.apply(News::Measured(measured), self.writer.clock()) == Urgency::Now {
            self.writer.publisher.publish(self.writer.clock());
        }
        while let Some(job) = self.writer.publisher.next_job(self.writer.clock().now(), Haste::Unhurried) {
            let begun = cpu_ns();
            let done = job.run();
            of_jobs += cpu_ns() - begun;
            if self.writer.publisher.apply(News::Done(done), self.writer.clock()) == Urgency::Now {
                self.writer.publisher.publish(self.writer.clock());
            }
        }
        say("regroup_ms", (cpu_ns() - began - of_jobs) as f64 / 1e6);
        say("regroup_job_ms", of_jobs as f64 / 1e6);
        assert_eq!(self.shared.load().measured.len(), MEASURED, "answers go by what was measured");
    }
}

fn address_of(region: usize) -> [u8; 4] {
    [203, 0, 113, region as u8] // as the configuration has it; there are 64 at most
}

/// The publisher, and those who bring it news.
struct Writer {
    publisher: Publisher,
    /// Odd: the first region is down by an operator's word.
    swaps: u32,
    /// Its clock is ahead by so much.
    ahead: Duration,
}

impl Writer {
    fn clock(&self) -> Clock {
        let now = clock::read();
        Clock::new(now.now() + self.ahead, now.unix_ms() + self.ahead.as_millis() as u64)
    }

    /// Does what the server leaves for after a snapshot, all of it.
    fn catch_up(&mut self) {
        let now = self.clock();
        while let Some(job) = self.publisher.next_job(now.now(), Haste::Unhurried) {
            if self.publisher.apply(News::Done(job.run()), self.clock()) == Urgency::Now {
                self.publisher.publish(self.clock());
            }
        }
    }

    /// [`Writer::catch_up`] as the server's writer does: with its thread for jobs, which also lets go of what was published
    /// before.
    fn catch_up_beside(&mut self, jobs: &mut JobThread, retired: &mut Vec<Arc<Snapshot>>, runtime: &Runtime) {
        let shared = self.publisher.shared();
        while let Some(job) = self.publisher.next_job(self.clock().now(), Haste::Unhurried) {
            jobs.begin(job, 1.0);
            let done = runtime.block_on(jobs.back());
            if self.publisher.apply(News::Done(done), self.clock()) == Urgency::Now {
                retired.push(shared.load_full());
                self.publisher.publish(self.clock());
            }
            let unheld = |snapshot: &mut Arc<Snapshot>| Arc::strong_count(snapshot) == 1;
            retired.extract_if(.., unheld).for_each(|snapshot| jobs.let_go(snapshot));
        }
    }

    /// Milliseconds from a word on a region to the next snapshot in place.
    fn swap(&mut self) -> f64 {
        let took = self.publish_swap();
        self.catch_up();
        took
    }

    fn publish_swap(&mut self) -> f64 {
        let now = Instant::now();
        self.swaps += 1;
        let said = if self.swaps % 2 == 1 { Override::Down } else { Override::Auto };
        self.publisher.apply(News::set_override("r0@z00000.growth.test", said), self.clock());
        self.publisher.publish(self.clock());
        ms(now)
    }

    /// Swaps on the core that answers, as often, while something else is done; its thread for jobs is on that core, too. In
    /// the end the region is as it was.
    fn swapping<T>(&mut self, every: Duration, meanwhile: impl FnOnce() -> T) -> T {
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                pin(0, ANSWERING);
                let runtime = Builder::new_current_thread().enable_time().build().expect("a runtime");
                let mut jobs = JobThread::start(Arc::default()).expect("a thread");
                let (mut next, mut retired) = (Instant::now(), Vec::new());
                while !over.load(Ordering::Relaxed) || self.swaps % 2 == 1 {
                    retired.push(self.publisher.shared().load_full());
                    self.publish_swap();
                    self.catch_up_beside(&mut jobs, &mut retired, &runtime);
                    next += every;
                    std::thread::sleep(next.saturating_duration_since(Instant::now()));
                }
            });
            let done = meanwhile();
            over.store(true, Ordering::Relaxed);
            done
        })
    }

    /// The same finding of all probes, all that follows included.
    fn probe_all(&mut self, verdict: Verdict) {
        let regions = self.publisher.shared().load().model.regions.len();
        (0..regions).for_each(|region| self.probe(region, verdict));
        self.publisher.publish(self.clock());
        self.catch_up();
    }

    fn probe_and_publish(&mut self, region: usize, verdict: Verdict) {
        self.probe(region, verdict);
        self.publisher.publish(self.clock());
    }

    fn probe(&mut self, region: usize, verdict: Verdict) {
        let model = self.publisher.shared().load().model.clone();
        let id = *model.find_regions(&format!("r{region}")).first().expect("a region");
        let region = model.region(id);
        for endpoint in &region.endpoints {
            for probed in region.probes_of(endpoint) {
                let (region, endpoint) = (model.qualified_region_name(id), endpoint.label());
                let news =
                    EndpointNews { probe: probed.id, ..EndpointNews::of_only_probe(&region, &endpoint, verdict) };
                self.publisher.apply(News::Probe(news), self.clock());
            }
        }
    }

    fn replace(&mut self, model: Model, atlas: Option<Atlas>) {
        let replacement = Replacement { model, atlas, nsid: String::new(), seed: 0 };
        self.publisher.apply(News::Reload(Box::new(replacement)), self.clock());
        self.publisher.publish(self.clock());
    }

    /// What the server does after a reload.
    fn rest(&mut self) {
        self.catch_up();
        memory::give_back();
    }
}

fn say_waits(when: &str, waits: &open_loop::Waits) {
    for (what, part) in [("p50", 0.5), ("p99", 0.99), ("p999", 0.999), ("max", 1.0)] {
        say(&format!("{when}_{what}_us"), waits.quantile_us(part));
    }
    say(&format!("{when}_lost"), waits.lost as f64);
}

/// The core of the thread that answers, and that of whoever asks.
const ANSWERING: usize = 0;
const ASKING: usize = 1;

/// Lets this thread run on any core again.
fn pin_nowhere() {
    pin_to(0, 0..libc::CPU_SETSIZE as usize);
}

fn ask_one_by_one(when: &str, socket: &UdpSocket, questions: &mut Questions, count: u32) {
    let mut reply = [0; 1232];
    let mut waits: Vec<f64> = (0..count)
        .map(|_| {
            let asked = Instant::now();
            socket.send(questions.next()).expect("sent");
            socket.recv(&mut reply).expect("a reply");
            asked.elapsed().as_secs_f64() * 1e6
        })
        .collect();
    waits.sort_by(f64::total_cmp);
    for (what, part) in [("p50", 0.5), ("p99", 0.99), ("p999", 0.999), ("max", 1.0)] {
        say(&format!("{when}_{what}_us"), waits[((waits.len() - 1) as f64 * part) as usize]);
    }
}

/// Keeps a thread, 0 for this one, on one core; where there are fewer, it stays where it is.
fn pin(thread: i32, core: usize) {
    pin_to(thread, core..core + 1);
}

fn pin_to(thread: i32, cores: std::ops::Range<usize>) {
    // SAFETY: an all-zero set is an empty one, and all calls get it whole, with its size.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        cores.for_each(|core| libc::CPU_SET(core, &mut set));
        libc::sched_setaffinity(thread, size_of::<libc::cpu_set_t>(), &set);
    }
}

/// Answers from whatever snapshot is current when a batch begins, as the server does.
struct FromShared(SharedSnapshot);

impl Responder for FromShared {
    type Batch<'a> = arc_swap::Guard<Arc<Snapshot>>;

    fn begin(&self) -> Self::Batch<'_> {
        self.0.load()
    }

    fn expect<'p>(batch: &Self::Batch<'_>, packets: impl Iterator<Item = &'p [u8]>) {
        meridian::query::ahead::fetch(batch, packets);
    }

    fn answer(batch: &Self::Batch<'_>, packet: &[u8], client: Client, out: &mut [u8], counters: &Counters) -> usize {
        answer(batch, packet, client, out, counters)
    }
}

// ---------------------------------------------------------------------------------------------
// Questions

/// Random questions about names that are there, put together in place.
#[derive(Clone)]
struct Questions {
    rng: Rng,
    packet: Vec<u8>,
    /// Names are numbered below this.
    names: u32,
    zones: u32,
    about: About,
}

#[derive(Clone, Copy, PartialEq)]
enum About {
    /// The A record of any name in any zone.
    Names,
    /// The A record of any service, for clients all over, by ECS.
    Services,
}

/// Where the name, its zone and the client stand in a packet.
const NAME_AT: usize = 12 + 2;

impl Questions {
    fn about(folder: &Path, queries: &str) -> Questions {
        let size = std::fs::read_to_string(folder.join("size")).expect("the size");
        let size: Vec<u32> = size.split(' ').map(|number| number.parse().expect("a number")).collect();
        let (about, names, zones, name) = match queries {
            "names" => (About::Names, size[0], size[1], "h0000000"),
            _ => (About::Services, size[2], 1, "s00000"),
        };
        let packet = question(name, Ipv4Addr::LOCALHOST);
        Questions { rng: Rng::with_seed(7), packet, names, zones, about }
    }

    fn next(&mut self) -> &[u8] {
        let number = self.rng.u32(..self.names);
        let digits = if self.about == About::Names { 7 } else { 5 };
        decimal(&mut self.packet[NAME_AT..NAME_AT + digits], number);
        if self.about == About::Names {
            decimal(&mut self.packet[NAME_AT + digits + 2..][..5], number % self.zones);
        }
        if let IpAddr::V4(client) = databases::v4_address(&mut self.rng) {
            let at = self.packet.len() - 3;
            self.packet[at..].copy_from_slice(&client.octets()[..3]);
        }
        &self.packet
    }
}

/// For the A record of a name in the first zone, for clients of a /24.
fn question(name: &str, client: Ipv4Addr) -> Vec<u8> {
    let mut packet = vec![0x4d, 0x52, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1, name.len() as u8];
    packet.extend(name.as_bytes());
    packet.extend(b"\x06z00000\x06growth\x04test\0\x00\x01\x00\x01");
    packet.extend([0, 0, 41, 0x04, 0xd0, 0, 0, 0, 0, 0, 11, 0, 8, 0, 7, 0, 1, 24, 0]);
    packet.extend(&client.octets()[..3]);
    packet
}

fn decimal(digits: &mut [u8], mut number: u32) {
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

// ---------------------------------------------------------------------------------------------
// Clocks and scales

fn say(what: &str, figure: f64) {
    println!("{what} {figure:.2}");
}

fn ms(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e3
}

/// CPU time of this thread.
fn cpu_ns() -> u64 {
    clock_ns(libc::CLOCK_THREAD_CPUTIME_ID)
}

/// CPU time of all threads.
fn process_ns() -> u64 {
    clock_ns(libc::CLOCK_PROCESS_CPUTIME_ID)
}

fn clock_ns(clock: libc::clockid_t) -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes the one struct it is given, which outlives the call.
    unsafe { libc::clock_gettime(clock, &mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// The thread that answers over UDP, which names itself once it runs.
fn udp_thread() -> PathBuf {
    let is_udp = |task: &PathBuf| std::fs::read_to_string(task.join("comm")).is_ok_and(|name| name.starts_with("udp"));
    loop {
        let tasks = std::fs::read_dir("/proc/self/task").expect("Linux").flatten();
        match tasks.map(|entry| entry.path()).find(is_udp) {
            Some(task) => return task,
            None => std::thread::yield_now(),
        }
    }
}

/// CPU time of a thread.
fn thread_ns(task: &Path) -> u64 {
    let times = std::fs::read_to_string(task.join("schedstat")).expect("its times");
    times.split(' ').next().and_then(|ns| ns.parse().ok()).expect("nanoseconds")
}

/// Of this process, in megabytes.
fn megabytes(what: &str) -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find(|line| line.starts_with(what)).expect("a line of it");
    let kib: f64 = line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).expect("a number");
    kib * 1024.0 / 1e6
}
