//! A server whose disk fails, whose process is killed, or whose writer stands still: it answers throughout, keeps what
//! it acknowledged, and says what is wrong.
//!
//! The disk's troubles are those of `support/disk_trouble.c`, preloaded into the server; without a C compiler these
//! tests are skipped aloud.

mod support;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use meridian::admin::client::{AdminClient, ClientError};
use meridian::admin::switch::SwitchBody;
use meridian::steer::health::effective::Override;
use serde_json::{Value, json};
use support::dns::Ask;
use support::exchange::{over_udp, udp_socket};
use support::server::wait_until;
use support::tools::{self, Need};
use tempfile::TempDir;
use tokio::runtime::Runtime;

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
[region.dublin]
location  = { country = "IE" }
endpoints = [{ address = "192.0.2.30" }]
[service.www]
regions = ["seoul", "frankfurt", "dublin"]
[service.api]
active = "blue"
[service.api.stage.blue]
policy = "failover"
regions = ["seoul"]
[service.api.stage.green]
policy = "failover"
regions = ["frankfurt"]
"#;

/// A machine with one server's files.
struct Machine {
    folder: TempDir,
    /// What makes its disk fail.
    shim: Option<PathBuf>,
    runtime: Runtime,
}

/// A server under way; killed when this goes.
struct Process {
    child: Child,
    dns: SocketAddr,
    admin: SocketAddr,
    log: PathBuf,
}

impl Machine {
    fn new(settings: &str) -> Machine {
        let folder = tempfile::tempdir().expect("a folder");
        let main = format!("listen.dns = \"127.0.0.1:0\"\nlisten.admin = \"127.0.0.1:0\"\nthreads = 1\n{settings}\n");
        std::fs::create_dir(folder.path().join("zones")).expect("a folder");
        std::fs::write(folder.path().join("meridian.toml"), main).expect("written");
        std::fs::write(folder.path().join("zones/gslb.example.toml"), ZONE).expect("written");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        Machine { folder, shim: None, runtime }
    }

    /// With a disk that can be made to fail; `None` where that cannot be built.
    fn with_a_bad_disk(settings: &str) -> Option<Machine> {
        let compiler = ["cc", "gcc", "clang"].into_iter().find_map(tools::present);
        let Some(compiler) = compiler else {
            tools::skip(Need::Program, "there is no C compiler");
            return None;
        };
        let mut machine = Machine::new(settings);
        let (source, shim) = ("tests/support/disk_trouble.c", machine.folder.path().join("disk_trouble.so"));
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(source);
        let mut command = Command::new(compiler);
        let built = command.args(["-shared", "-fPIC", "-O1", "-o"]).arg(&shim).arg(source).status();
        if !built.is_ok_and(|status| status.success()) {
            tools::skip(Need::Program, "the disk's troubles cannot be compiled");
            return None;
        }
        machine.shim = Some(shim);
        machine.trouble("ok");
        Some(machine)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// What is wrong with the disk from now on.
    fn trouble(&self, word: &str) {
        std::fs::write(self.path("trouble.new"), word).expect("written");
        std::fs::rename(self.path("trouble.new"), self.path("trouble")).expect("renamed");
    }

    fn start(&self) -> Process {
        self.begin().unwrap_or_else(|log| panic!("it does not start:\n{log}"))
    }

    /// Starts a server; with the log, where it does not.
    fn begin(&self) -> Result<Process, String> {
        let log = self.path("log");
        let mut command = Command::new(env!("CARGO_BIN_EXE_meridian"));
        command.args(["serve", "--config"]).arg(self.path("meridian.toml")).env_remove("MERIDIAN_LOG");
        if let Some(shim) = &self.shim {
            command.env("LD_PRELOAD", shim).env("DISK_TROUBLE", self.path("trouble"));
            command.env("DISK_TROUBLE_BELOW", self.path("state"));
        }
        let out = std::fs::File::create(&log).expect("a log");
        let both = out.try_clone().expect("a second handle");
        let child = command.stdin(Stdio::null()).stdout(both).stderr(out).spawn().expect("it starts");
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut process = Process { child, dns: nowhere, admin: nowhere, log };
        let began = Instant::now();
        loop {
            let log = process.log();
            if let Some((dns, admin)) = listening(&log) {
                (process.dns, process.admin) = (dns, admin);
                return Ok(process);
            }
            if process.child.try_wait().is_ok_and(|ended| ended.is_some()) {
                return Err(process.log());
            }
            assert!(began.elapsed() < Duration::from_secs(60), "neither starts nor ends:\n{log}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn client(&self, process: &Process) -> AdminClient {
        AdminClient::new(process.admin, None).expect("a client")
    }

    fn status(&self, process: &Process) -> Value {
        self.runtime.block_on(self.client(process).status()).expect("a status")
    }

    fn say(&self, process: &Process, region: &str, said: Override) -> Result<(), ClientError> {
        self.runtime.block_on(self.client(process).set_override(region, said)).map(drop)
    }

    fn switch(&self, process: &Process, stage: &str) -> Result<(), ClientError> {
        let body = SwitchBody { stage: Some(stage.into()), force: true, ..SwitchBody::default() };
        self.runtime.block_on(self.client(process).switch("api", &body, None)).map(drop)
    }

    /// `GET /readyz`: the status code and the body.
    fn ready(&self, process: &Process) -> (u16, Value) {
        self.get(process, "/readyz")
    }

    /// `GET /ready`, likewise.
    fn asks_ready(&self, process: &Process) -> (u16, Value) {
        self.get(process, "/ready")
    }

    fn get(&self, process: &Process, path: &str) -> (u16, Value) {
        let (code, body) = self.get_text(process, path);
        (code, serde_json::from_str(&body).expect("JSON"))
    }

    fn get_text(&self, process: &Process, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(process.admin).expect("connected");
        let headers = "Host: localhost\r\nAccept: application/json\r\nConnection: close";
        stream.write_all(format!("GET {path} HTTP/1.1\r\n{headers}\r\n\r\n").as_bytes()).expect("asked");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        let code = head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status code");
        (code, body.to_owned())
    }

    fn kinds(&self, process: &Process) -> Vec<(String, String)> {
        let status = self.status(process);
        let told = status["state_files"].as_array().expect("a list").clone();
        let text = |value: &Value| value.as_str().expect("a text").to_owned();
        told.iter().map(|of| (text(&of["file"]), text(&of["kind"]))).collect()
    }
}

/// The overrides and the active stage that hold.
fn said(status: &Value) -> (BTreeMap<String, String>, String) {
    let regions = status["regions"].as_array().expect("regions").iter();
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let overrides = regions.map(|region| (text(&region["name"]), text(&region["override"]))).collect();
    let service = status["services"].as_array().expect("services").iter().find(|service| service["stage"].is_string());
    (overrides, text(&service.expect("one with stages")["stage"]))
}

/// Both addresses, as the log says them.
fn listening(log: &str) -> Option<(SocketAddr, SocketAddr)> {
    let line = log.lines().find(|line| line.contains("answering") && line.contains("admin="))?;
    let after = |word: &str| {
        let (_, rest) = line.split_once(word)?;
        let address: String = rest.chars().take_while(|&c| c.is_ascii_digit() || c == '.' || c == ':').collect();
        address.parse().ok()
    };
    Some((after("dns=[")?, after("admin=Some(")?))
}

impl Process {
    fn log(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        // Without colours.
        let mut plain = String::new();
        for part in text.split('\x1b') {
            plain.push_str(if plain.is_empty() { part } else { part.split_once('m').map_or("", |(_, rest)| rest) });
        }
        plain
    }

    /// Ends it as `kill -9` does.
    fn kill(mut self) {
        self.end();
    }

    fn end(&mut self) {
        let _ = self.child.kill(); // it may have ended by itself
        let _ = self.child.wait();
    }

    /// Asks this many times, each answered; fails with the first that is lost.
    fn answers(&self, queries: usize) {
        let socket = udp_socket([127, 0, 0, 1].into(), self.dns);
        let wire = Ask::new("www.gslb.example", "A").wire();
        let mut id = 0u16;
        for _ in 0..queries.div_ceil(BATCH) {
            let packets: Vec<Vec<u8>> = (0..BATCH)
                .map(|_| {
                    id = id.wrapping_add(1);
                    let mut packet = wire.clone();
                    packet[..2].copy_from_slice(&id.to_be_bytes());
                    packet
                })
                .collect();
            let replies = over_udp(&socket, &packets, &[false; BATCH]);
            assert!(replies.iter().all(|reply| reply[3] & 15 == 0 && reply[7] > 0), "answers with addresses");
        }
    }
}

/// Queries under way at once.
const BATCH: usize = 40;

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}

/// In each trouble a part of all queries is asked, an operator is refused, and what was said before holds.
fn through_all_troubles(queries: usize) {
    let Some(machine) = Machine::with_a_bad_disk("") else { return };
    let mut process = machine.start();
    machine.say(&process, "seoul", Override::Drain).expect("said");
    let holds = said(&machine.status(&process));
    let troubles =
        [("full", "unwritable"), ("readonly", "unwritable"), ("eio", "unwritable"), ("direio", "unwritable")];
    for (word, kind) in troubles.into_iter().chain([("hung", "hanging")]) {
        machine.trouble(word);
        process.answers(queries / 10);
        let began = Instant::now();
        let refused = machine.say(&process, "frankfurt", Override::Down).expect_err(word).to_string();
        assert!(refused.contains("overrides.json") && began.elapsed() < Duration::from_secs(8), "{word}: {refused}");
        let refused = machine.switch(&process, "green").expect_err(word).to_string();
        assert!(refused.contains("switches.json"), "{word}: {refused}");
        for file in ["overrides.json", "switches.json"] {
            let told = machine.kinds(&process);
            assert!(told.contains(&(file.into(), kind.into())), "{word}: {file}: {told:?}");
        }
        let (code, ready) = machine.ready(&process);
        assert_eq!((code, &ready["ready"]), (200, &json!(true)), "{word}: it answers, and answers follow probes");
        process.answers(queries / 10);
        assert_eq!(said(&machine.status(&process)), holds, "{word}: what is refused does not hold");
        process.kill();
        // Reading works on such disks; on one that hangs, so does starting, but nothing can be proven.
        if word == "hung" {
            machine.trouble("ok");
        }
        process = machine.start();
        assert_eq!(said(&machine.status(&process)), holds, "{word}: nor after a restart");
        process.answers(BATCH);
        machine.trouble("ok");
        machine.say(&process, "frankfurt", Override::Down).expect("said");
        machine.say(&process, "frankfurt", Override::Auto).expect("said");
        machine.switch(&process, "green").expect("switched");
        machine.switch(&process, "blue").expect("switched");
    }
    wait_until("no trouble is left", Duration::from_secs(10), || {
        machine.kinds(&process).iter().all(|(file, _)| file != "overrides.json" && file != "switches.json")
    });
}

#[test]
fn a_disk_in_trouble_stops_no_answers_and_what_was_refused_does_not_hold() {
    through_all_troubles(if at_length() { 100_000 } else { 20_000 });
}

/// True where someone asks for all 500 kills and 100,000 queries, which take minutes.
fn at_length() -> bool {
    std::env::var_os("MERIDIAN_TEST_AT_LENGTH").is_some()
}

/// The server lives on with a disk that hung and answers again.
#[test]
fn what_was_refused_while_the_disk_hung_does_not_hold_later() {
    let Some(machine) = Machine::with_a_bad_disk("") else { return };
    let process = machine.start();
    machine.say(&process, "seoul", Override::Drain).expect("said");
    let holds = said(&machine.status(&process));
    machine.trouble("hung");
    machine.say(&process, "frankfurt", Override::Down).expect_err("the disk hangs");
    machine.trouble("ok");
    wait_until("it answers again", Duration::from_secs(10), || {
        !machine.kinds(&process).iter().any(|(file, _)| file == "overrides.json")
    });
    process.kill();
    let process = machine.start();
    assert_eq!(said(&machine.status(&process)), holds);
}

/// Neither the start nor answers wait for the events of before; they are joined when the disk answers.
#[test]
fn events_that_cannot_be_read_at_the_start_hold_up_nothing_and_are_joined_later() {
    let Some(machine) = Machine::with_a_bad_disk("") else { return };
    let process = machine.start();
    machine.say(&process, "seoul", Override::Drain).expect("said");
    let journal = machine.path("state/events.jsonl");
    let is_on_disk = || std::fs::read_to_string(&journal).is_ok_and(|text| text.contains("\"drain\""));
    wait_until("the event is on disk", Duration::from_secs(20), is_on_disk);
    process.kill();
    machine.trouble("unread");
    let began = Instant::now();
    let process = machine.start();
    assert!(began.elapsed() < Duration::from_secs(4), "it waited {:?}", began.elapsed());
    process.answers(BATCH);
    machine.say(&process, "seoul", Override::Auto).expect("said");
    let is_told = || machine.kinds(&process).contains(&("events.jsonl".into(), "hanging".into()));
    wait_until("the disk is told of", Duration::from_secs(20), is_told);
    let states = || {
        let found = machine.runtime.block_on(machine.client(&process).events(&[("region", "seoul")])).expect("events");
        let ids: Vec<u64> = found.events.iter().map(|event| event.id).collect();
        assert!(ids.is_sorted_by(|a, b| a < b), "{ids:?}");
        found.events.iter().map(|event| json!(event)["after"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(states(), ["up"], "in memory alone");
    machine.trouble("ok");
    wait_until("both are there", Duration::from_secs(10), || states() == ["drain", "up"]);
    wait_until("no trouble is left", Duration::from_secs(10), || machine.kinds(&process).is_empty());
}

#[test]
fn with_a_full_disk_and_browsers_measuring_dns_starts() {
    let Some(machine) = Machine::with_a_bad_disk("listen.rum = \"127.0.0.1:0\"") else { return };
    machine.trouble("full");
    let process = machine.start();
    process.answers(BATCH);
    assert!(machine.kinds(&process).contains(&("rum.key".into(), "unwritable".into())));
    process.kill();
    // What was written in place before.
    std::fs::create_dir_all(machine.path("state")).expect("made");
    std::fs::write(machine.path("state/rum.key"), "").expect("written");
    machine.trouble("ok");
    let process = machine.start();
    assert!(machine.kinds(&process).is_empty(), "{:?}", machine.kinds(&process));
    assert!(std::fs::metadata(machine.path("state/rum.key")).expect("there").len() > 32);
}

#[test]
fn a_query_log_on_a_disk_that_is_full_or_hangs_loses_lines_and_no_answer() {
    let settings = "[query_log]\nfile = \"state/query.jsonl\"\nper_second = 100000";
    let Some(machine) = Machine::with_a_bad_disk(settings) else { return };
    std::fs::create_dir_all(machine.path("state")).expect("made");
    let process = machine.start();
    let lines = || std::fs::read_to_string(machine.path("state/query.jsonl")).unwrap_or_default();
    let metric = |line: &str| {
        let (_, text) = machine.get_text(&process, "/metrics");
        let value = text.lines().find_map(|of| of.strip_prefix(line)?.trim().parse::<u64>().ok());
        value.unwrap_or_else(|| panic!("no {line} in\n{text}"))
    };
    let unwritten = || metric("meridian_query_log_dropped_total{reason=\"write\"} ");
    process.answers(BATCH);
    wait_until("all lines are there", Duration::from_secs(10), || lines().lines().count() == BATCH);

    machine.trouble("full");
    process.answers(10 * BATCH);
    wait_until("lines are given up", Duration::from_secs(10), || unwritten() == 10 * BATCH as u64);
    let kept = lines();
    assert!(kept.lines().count() == BATCH && kept.ends_with('\n'), "what was whole stays so");

    machine.trouble("hung");
    process.answers(10 * BATCH);
    machine.trouble("ok");
    wait_until("the log goes on", Duration::from_secs(20), || {
        process.answers(BATCH);
        lines().lines().count() > 2 * BATCH
    });
    assert!(lines().lines().all(|line| serde_json::from_str::<Value>(line).is_ok()), "no line is half a line");
}

#[test]
fn a_second_server_on_a_state_directory_is_refused_until_the_first_is_gone() {
    let machine = Machine::new("");
    let first = machine.start();
    let log = machine.begin().err().expect("it does not start");
    let named = format!("another server, process {}, has the state directory", first.child.id());
    assert!(log.contains(&named), "{log}");
    first.answers(BATCH);
    first.kill();
    machine.start().answers(BATCH);
}

/// Overrides by region, and the stage of a service.
type Held = (BTreeMap<String, String>, String);

/// Kills a server in the middle of what operators say, over and over: what it acknowledged holds at the next start.
fn killed(times: usize) {
    let machine = Machine::new("");
    let regions = ["seoul", "frankfurt", "dublin"];
    let words = [Override::Drain, Override::Down, Override::Up, Override::Auto];
    let (mut holds, mut cold): (Option<Held>, usize) = (None, 0);
    let mut acknowledged = 0;
    for time in 0..times {
        let process = machine.start();
        let log = process.log();
        cold += usize::from(log.contains("a cold start"));
        let found = said(&machine.status(&process));
        assert!(holds.is_none_or(|holds| holds == found), "kill {time}: {found:?}\n{log}");
        assert_eq!(machine.kinds(&process), [], "kill {time}");
        let mut now = found;
        // Some live for long enough to save what is known, which they do after a second.
        let life = Duration::from_millis(if time % 10 == 0 { 1_050 } else { fastrand::u64(5..150) });
        let id = process.child.id();
        let killer = std::thread::spawn(move || {
            std::thread::sleep(life);
            // SAFETY: a signal to a child that is waited for only after this.
            unsafe { libc::kill(id as i32, libc::SIGKILL) }
        });
        let unknown = loop {
            let (region, word) = (regions[fastrand::usize(..3)], words[fastrand::usize(..4)]);
            let stage = ["blue", "green"][fastrand::usize(..2)];
            let mut next = now.clone();
            let done = match fastrand::bool() {
                true => {
                    next.0.insert(format!("{region}@gslb.example"), word.as_str().to_owned());
                    machine.say(&process, region, word)
                }
                false if now.1 != stage => {
                    next.1 = stage.to_owned();
                    machine.switch(&process, stage)
                }
                false => continue,
            };
            match done {
                Ok(()) => (now, acknowledged) = (next, acknowledged + 1),
                Err(ClientError::Refused { status, .. }) => panic!("refused: {status}"),
                Err(_) => break next,
            }
        };
        killer.join().expect("killed");
        process.kill();
        // What was under way may hold or not; then the next start decides.
        let process = machine.start();
        let found = said(&machine.status(&process));
        assert!(found == now || found == unknown, "kill {time}: {found:?}\n{now:?}\n{unknown:?}");
        holds = Some(found);
        process.kill();
    }
    println!("{times} kills, {acknowledged} acknowledged, none lost; {cold} cold starts");
    assert_eq!(cold, 0, "what is known is whole after every kill");
}

#[test]
fn what_was_acknowledged_survives_kill_9() {
    killed(if at_length() { 500 } else { 12 });
}

/// The thread of this name in a process.
fn thread_of(process: u32, name: &str) -> i32 {
    let tasks = std::fs::read_dir(format!("/proc/{process}/task")).expect("threads");
    let paths = tasks.map(|task| task.expect("a thread").path());
    let named = |path: &PathBuf| std::fs::read_to_string(path.join("comm")).is_ok_and(|comm| comm.trim() == name);
    let found = paths.into_iter().find(named).expect("the thread");
    found.file_name().and_then(|id| id.to_str()).and_then(|id| id.parse().ok()).expect("an id")
}

/// Stops one thread of a child, as a debugger does; it goes on when this goes.
struct Frozen(i32);

impl Frozen {
    fn new(thread: i32) -> Option<Frozen> {
        let none = std::ptr::null_mut::<libc::c_void>();
        // SAFETY: numbers alone; the thread is our child's.
        let seized = unsafe { libc::ptrace(libc::PTRACE_SEIZE, thread, none, none) } == 0;
        // SAFETY: as above.
        let stopped = seized && unsafe { libc::ptrace(libc::PTRACE_INTERRUPT, thread, none, none) } == 0;
        if !stopped {
            tools::skip(Need::Ptrace, "no thread can be stopped here");
            return None;
        }
        // SAFETY: waits for a stop of that one thread.
        unsafe { libc::waitpid(thread, std::ptr::null_mut(), libc::__WALL) };
        Some(Frozen(thread))
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        let none = std::ptr::null_mut::<libc::c_void>();
        // SAFETY: numbers alone.
        if unsafe { libc::ptrace(libc::PTRACE_DETACH, self.0, none, none) } != 0 {
            // It is ending, and its process is not over until the one who stopped it has taken note of that.
            // SAFETY: waits for the end of that one thread.
            unsafe { libc::waitpid(self.0, std::ptr::null_mut(), libc::__WALL) };
        }
    }
}

#[test]
fn a_writer_that_stands_still_is_told_and_answers_go_on_until_the_watchdog_ends_it() {
    let machine = Machine::new("watchdog = \"20s\"");
    let mut process = machine.start();
    assert_eq!(machine.ready(&process).0, 200);
    let Some(frozen) = Frozen::new(thread_of(process.child.id(), "writer")) else { return };
    let took = wait_until("it is told", Duration::from_secs(18), || machine.ready(&process).0 == 503);
    assert!(took >= Duration::from_secs(8), "{took:?}");
    assert_eq!(machine.status(&process)["writer"]["pulse"], "stalled");
    let (code, node) = machine.asks_ready(&process);
    assert_eq!((code, &node["reasons"][0]["reason"]), (503, &json!("writer")), "told by whoever asks");
    let drained = machine.runtime.block_on(machine.client(&process).say_of_node(true)).expect("without the writer");
    assert_eq!(drained.node.reasons.len(), 2);
    machine.runtime.block_on(machine.client(&process).say_of_node(false)).expect("likewise");
    process.answers(1_000);
    wait_until("it is in the log", Duration::from_secs(5), || {
        process.log().contains("the writer has not been heard of")
    });
    drop(frozen);
    wait_until("it is over", Duration::from_secs(10), || machine.ready(&process).0 == 200);
    let frozen = Frozen::new(thread_of(process.child.id(), "writer")).expect("as before");
    let told = "the 20 s of `watchdog`: the process ends";
    wait_until("it is told that the process ends", Duration::from_secs(40), || process.log().contains(told));
    // A debugger is told of a thread's end before the process' parent is.
    drop(frozen);
    wait_until("the process ends", Duration::from_secs(10), || process.child.try_wait().expect("a child").is_some());
}
