//! The built program, as people and scripts run it: what it prints, where, and its exit code.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::UdpSocket;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
/// Without regions' checks: nothing is probed. The loader warns of that.
const ZONE: &str = r#"origin = "gslb.example"
records = """
@    SOA  ns1 hostmaster 1 1h 10m 1w 60
@    300 NS   ns1
@    300 NS   ns2.example.net.
ns1  3600 A    192.0.2.53
ns1  3600 AAAA 2001:db8::53
"""
[region.seoul]
location  = { country = "KR", latitude = 37.57, longitude = 126.98 }
endpoints = [{ address = ["192.0.2.10", "2001:db8::10"] }]
[region.frankfurt]
location  = { country = "DE", latitude = 50.11, longitude = 8.68 }
endpoints = [{ address = "192.0.2.20" }]
[service.www]
regions = ["seoul", "frankfurt"]
"#;

struct Ran {
    code: Option<i32>,
    out: String,
    err: String,
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_meridian"));
    command.args(arguments).env_remove("MERIDIAN_LOG").current_dir(ROOT).stdin(Stdio::null());
    command
}

fn run(arguments: &[&str]) -> Ran {
    let Output { status, stdout, stderr } = command(arguments).output().expect("the program starts");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    let ran = Ran { code: status.code(), out: text(stdout), err: text(stderr) };
    assert!(!ran.err.contains("panicked"), "{arguments:?}: {}", ran.err);
    ran
}

impl Ran {
    /// Everything asked for is there, and the exit code is this.
    #[track_caller]
    fn ends(self, code: i32, out: &[&str], err: &[&str]) -> Ran {
        assert_eq!(self.code, Some(code), "\n{}\n{}", self.out, self.err);
        for part in out {
            assert!(self.out.contains(part), "`{part}` is not in:\n{}", self.out);
        }
        for part in err {
            assert!(self.err.contains(part), "`{part}` is not in:\n{}", self.err);
        }
        self
    }
}

/// A configuration on disk.
struct Files {
    directory: TempDir,
}

impl Files {
    fn new(main: &str, zone: &str) -> Files {
        let files = Files { directory: tempfile::tempdir().expect("a directory") };
        files.write("meridian.toml", main);
        files.write("zones/gslb.example.toml", zone);
        files
    }

    fn with_demo_database() -> Files {
        let database = Path::new(ROOT).join("geoip/demo.mmdb");
        Files::new(&format!("geoip = [{:?}]\n", database), ZONE)
    }

    fn write(&self, path: &str, text: impl AsRef<[u8]>) {
        let path = self.directory.path().join(path);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        fs::write(path, text).expect("written");
    }

    fn path(&self, path: &str) -> String {
        self.directory.path().join(path).display().to_string()
    }

    fn config(&self) -> String {
        self.path("meridian.toml")
    }
}

#[test]
fn help_says_enough_of_every_command() {
    run(&["--help"]).ends(0, &["demo", "serve", "check", "explain", "geoip", "delegation", "Examples:"], &[]);
    run(&["--version"]).ends(0, &[env!("CARGO_PKG_VERSION")], &[]);
    for command in [
        "demo",
        "serve",
        "check",
        "explain",
        "status",
        "events",
        "region",
        "node",
        "nodes",
        "ready",
        "reload",
        "delegation",
    ] {
        let help = run(&[command, "--help"]).ends(0, &["Usage: meridian", "Example"], &[]);
        assert!(help.out.lines().all(|line| line.chars().count() <= 120), "{}", help.out);
    }
    for command in ["lookup", "build"] {
        run(&["geoip", command, "--help"]).ends(0, &["Usage: meridian geoip", "Example"], &[]);
    }
}

#[test]
fn what_is_mistyped_ends_with_2_and_a_hint() {
    for arguments in [
        &["chekc"][..],
        &["check", "--confg", "x"],
        &["explain"],
        &["explain", "www.gslb.example"],
        &["explain", "www.gslb.example", "--client", "127.82.0.1", "--type", "NOTYPE"],
        &["explain", "www.gslb.example", "--client", "127.82.0.1", "--demo", "--live"],
        &["geoip", "lookup", "127.82.0.999"],
        &["geoip", "lookup"],
        &["region", "drain"],
        &["region", "drain", "seoul", "--timeout", "1m"],
        &["region", "drain", "seoul", "--wait", "--timeout", "60"],
        &["region", "destroy", "seoul"],
        &["demo", "--dns", "5300"],
        &["demo", "--admin", "0.0.0.0:8053"],
        &["status", "--admin", "https://127.0.0.1"],
        &["serve", "--log", "loud"],
        &["ready", "--within", "2m"],
        &["node", "up"],
        &["what-if", "--demand", "-1"],
        &["what-if", "--demand", "0"],
        &["what-if", "--demand", "1001"],
        &["what-if", "--demand", "nan"],
    ] {
        run(arguments).ends(2, &[], &["error:", "--help"]);
    }
}

#[test]
fn check_of_good_files_sums_them_up() {
    let files = Files::with_demo_database();
    run(&["check", "--config", &files.config()]).ends(
        0,
        &["1 zone, 5 records, 2 regions, 1 service, 88 places from 1 database: ok, with 1 warning"],
        &[],
    );
    run(&["check", "-c", "examples/demo/meridian.toml"]).ends(0, &["5 regions, 1 service", ": ok\n"], &[]);
    run(&["check", "-c", "examples/config/meridian.toml"]).ends(0, &[": ok"], &[]);
}

#[test]
fn check_shows_every_mistake_of_all_files_with_its_excerpt() {
    let files =
        Files::new("listn.dns = [\"127.0.0.1:53\"]\n", &ZONE.replace("regions = [\"seoul\"", "regions = [\"soul\""));
    let config = files.config();
    let ran = run(&["check", "--config", &config]);
    ran.ends(
        1,
        &["meridian.toml:1:1", "listn", "gslb.example.toml:16:12", "soul", "seoul", "2 errors, 2 warnings"],
        &[],
    );
}

#[test]
fn check_reads_what_serve_would_read() {
    let files = Files::new("geoip = [\"gone.mmdb\", \"torn.mmdb\"]\nadmin.token_file = \"token\"\n", ZONE);
    files.write("torn.mmdb", &fs::read(Path::new(ROOT).join("geoip/demo.mmdb")).expect("the database")[..5_000]);
    files.write("token", "short");
    files.write("state/overrides.json", "{\"version\":1,");
    let ran = run(&["check", "--config", &files.config()]);
    ran.ends(1, &["gone.mmdb", "torn.mmdb", "overrides.json", "shorter than 16", "4 errors, 1 warning"], &[]);
}

#[test]
fn check_warns_of_what_is_odd_and_ends_well() {
    let files = Files::new("", ZONE);
    files.write("state/overrides.json", "{\"version\":1,\"overrides\":{\"tokyo@gslb.example\":\"drain\"}}");
    run(&["check", "--config", &files.config()]).ends(
        0,
        &["tokyo", "all are answered alike", ": ok, with 3 warnings"],
        &[],
    );
}

#[test]
fn check_warns_of_echo_requests_that_a_server_of_this_user_could_not_send() {
    let files = Files::new("", &ZONE.replace("[region.frankfurt]", "check.icmp = {}\n[region.frankfurt]"));
    let ping = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::DGRAM, Some(socket2::Protocol::ICMPV4));
    let ran = run(&["check", "--config", &files.config()]).ends(0, &[": ok, with "], &[]);
    let warned = ran.out.contains("`check.icmp` cannot be asked by this user: ")
        && ran.out.contains("net.ipv4.ping_group_range");
    assert_eq!(warned, ping.is_err(), "{}", ran.out);
}

#[test]
fn a_missing_configuration_is_said_by_every_command_that_needs_one() {
    for arguments in [
        &["serve"][..],
        &["explain", "www.gslb.example", "--client", "127.82.0.1"],
        &["geoip", "lookup", "127.82.0.1"],
        &["delegation", "gslb.example"],
    ] {
        let arguments = [arguments, &["--config", "/nonexistent/meridian.toml"]].concat();
        run(&arguments).ends(1, &[], &["cannot read /nonexistent/meridian.toml"]);
    }
    run(&["check", "--config", "/nonexistent/meridian.toml"]).ends(1, &["cannot read /nonexistent/meridian.toml"], &[]);
}

#[test]
fn explain_shows_the_reasoning_and_the_answer() {
    let files = Files::with_demo_database();
    let config = files.config();
    let explain = |more: &[&str]| run(&[&["explain", "www.gslb.example", "--config", &config], more].concat());
    explain(&["--client", "127.82.0.1"]).ends(
        0,
        &[
            "127.82.0.0",
            "Seoul",
            "region     seoul",
            "100.0 %",
            "a better tier",
            "TTL        30 s: all is calm",
            "192.0.2.10",
        ],
        &[],
    );
    explain(&["--client", "127.49.0.1", "--by-source"]).ends(0, &["region     frankfurt", "scope      not said"], &[]);
    explain(&["--client", "127.82.0.1", "--type", "AAAA"]).ends(0, &["2001:db8::10"], &[]);
    let json = explain(&["--client", "127.82.0.1", "--json"]).ends(0, &[], &[]).out;
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(json["explanation"]["chosen"]["region"], "seoul");
}

#[test]
fn explain_keeps_to_the_overrides_in_the_state_directory() {
    let files = Files::with_demo_database();
    files.write("state/overrides.json", "{\"version\":1,\"overrides\":{\"seoul@gslb.example\":\"drain\"}}");
    let config = files.config();
    let ran = run(&["explain", "www.gslb.example", "--config", &config, "--client", "127.82.0.1"]);
    ran.ends(0, &["draining by override", "region     frankfurt"], &[]);
}

#[test]
fn explain_needs_no_file_for_the_demo() {
    let ran = run(&["explain", "www.gslb.example", "--client", "127.55.0.1", "--demo"]);
    ran.ends(0, &["region     saopaulo", "127.200.55.1", "scope      /15", "all is calm"], &[]);
}

#[test]
fn explain_refuses_what_it_cannot_explain() {
    let explain = |name, client| run(&["explain", name, "--client", client, "--demo"]);
    explain("ww.gslb.example", "127.82.0.1").ends(1, &[], &["does not exist", "www.gslb.example"]);
    explain("www.example.com", "127.82.0.1").ends(1, &[], &["in none of the zones"]);
    explain("www..example", "127.82.0.1").ends(1, &[], &["not a name"]);
    explain("www.gslb.example", "korea").ends(1, &[], &["`korea` is not an address"]);
    explain("www.gslb.example", "127.82.0.0/33").ends(1, &[], &["above 32"]);
    explain("ns1.gslb.example", "127.82.0.1").ends(0, &["note", "127.0.0.1"], &[]);
}

#[test]
fn explain_diff_tells_what_changes_between_files_and_moments() {
    let (files, other) = (Files::with_demo_database(), Files::with_demo_database());
    let dearer = ZONE.replace("[service.www]\n", "[service.www]\nbias = { seoul = \"300ms\" }\n");
    other.write("zones/gslb.example.toml", dearer);
    let (config, other) = (files.config(), other.config());
    let explain = |more: &[&str]| run(&[&["explain", "www.gslb.example", "--config", &config], more].concat());
    let client = ["--client", "127.82.0.1"];
    let diff = |diff: &str| explain(&[&client[..], &["--diff", diff]].concat());
    diff(&config).ends(0, &["the same"], &[]);
    diff(&other).ends(1, &["chosen region", "frankfurt", "region seoul: bias ms", "300"], &[]);
    files.write("before.json", explain(&[&client[..], &["--json"]].concat()).ends(0, &[], &[]).out);
    diff(&files.path("before.json")).ends(0, &["the same"], &[]);
    let json = explain(&["--client", "127.82.0.1", "--diff", &other, "--json"]).ends(1, &[], &[]).out;
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert!(json.as_array().is_some_and(|all| all.iter().any(|one| one["term"] == "chosen region")), "{json}");

    explain(&["--diff", &config]).ends(0, &["0.0 % of places would move"], &[]);
    explain(&["--diff", &other]).ends(1, &["of places would move", "seoul@gslb.example  frankfurt@gslb.example"], &[]);
    explain(&["--diff", &files.path("before.json")]).ends(2, &[], &["say which with --client"]);
    files.write("other.json", "{}");
    diff(&files.path("other.json")).ends(1, &[], &["is JSON, but no explanation"]);
    diff("/nonexistent").ends(1, &[], &["cannot read /nonexistent"]);
    run(&["explain", "api.gslb.example", "--config", &config, "--diff", &other]).ends(1, &[], &["is no service"]);
    run(&["explain", "www.gslb.example", "--config", &config]).ends(2, &[], &["--client"]);
}

#[test]
fn what_if_tells_who_would_move_and_moves_nobody() {
    let files = Files::with_demo_database();
    let main = fs::read_to_string(files.path("meridian.toml")).expect("a file");
    files.write("meridian.toml", format!("{ANY_PORT}{main}"));
    let server = Server::start(&files);
    let what_if = |more: &[&str]| run(&[&["what-if", "--admin", &server.admin], more].concat());
    what_if(&["--kill", "seoul"]).ends(
        0,
        &["of places would move", "no demand is known", "up → down", "seoul@gslb.example  frankfurt@gslb.example"],
        &[],
    );
    what_if(&["--kill", "seoul", "--kill", "frankfurt"]).ends(0, &["www.gslb.example: panic, now normal"], &[]);
    let json = what_if(&["--drain", "seoul", "--json"]).ends(0, &[], &[]).out;
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert!(json["moved_ratio"].as_f64().is_some_and(|part| (0.1..0.9).contains(&part)), "{json}");
    run(&["region", "list", "--admin", &server.admin]).ends(0, &["seoul@gslb.example      up"], &[]);

    what_if(&["--kill", "seuol"]).ends(1, &[], &["did you mean `seoul`?"]);
    what_if(&[]).ends(2, &[], &["nothing is asked"]);
    what_if(&["--capacity", "seoul"]).ends(2, &[], &["such as seoul=5000"]);
    what_if(&["--demand", "-1"]).ends(2, &[], &[]);
    what_if(&["--demand", "0"]).ends(2, &[], &["expected a number above 0"]);

    let new = Files::with_demo_database();
    new.write("zones/gslb.example.toml", ZONE.replace("regions = [\"seoul\", \"frankfurt\"]", "regions = [\"seoul\"]"));
    what_if(&["--config", &new.config()]).ends(0, &["frankfurt@gslb.example  seoul@gslb.example"], &[]);
    what_if(&["--config", &files.config()]).ends(0, &["0.0 % of places would move"], &[]);
    what_if(&["--config", &new.config(), "--kill", "atlantis"]).ends(1, &[], &["`atlantis`; there are: seoul@"]);
    let live = ["explain", "www.gslb.example", "--live", "--admin", &server.admin, "--diff", &new.config()];
    run(&live).ends(1, &["of places would move"], &[]);
}

#[test]
fn geoip_lookup_tells_where_an_address_is() {
    run(&["geoip", "lookup", "127.82.7.7", "127.0.0.1", "--demo"]).ends(
        0,
        &["127.82.0.0/16", "AS KR 11 Seoul", "37.5665 126.9780", "unknown"],
        &[],
    );
    let json = run(&["geoip", "lookup", "127.49.0.1", "--json", "--database", "geoip/demo.mmdb"]).ends(0, &[], &[]).out;
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!((&json[0]["country"], &json[0]["city"]), (&"DE".into(), &"Berlin".into()));
    run(&["geoip", "lookup", "127.49.0.1", "--database", "Cargo.toml"]).ends(1, &[], &["Cargo.toml is not a whole"]);
}

#[test]
fn geoip_build_makes_the_committed_database() {
    let files = Files::new("", ZONE);
    let out = files.path("demo.mmdb");
    run(&["geoip", "build", "geoip/demo.csv", &out, "--build-epoch", "1767225600"]).ends(0, &["87 places"], &[]);
    let committed = fs::read(Path::new(ROOT).join("geoip/demo.mmdb")).expect("the database");
    assert!(fs::read(&out).expect("the file built") == committed, "geoip/demo.mmdb is not built from geoip/demo.csv");
}

#[test]
fn geoip_build_shows_all_mistakes_and_keeps_the_old_file() {
    let files = Files::new("", ZONE);
    let header = "network,continent,country,subdivision,city,latitude,longitude,asn\n";
    files
        .write("bad.csv", format!("{header}192.0.2.0/24,,KR,,,37.5,,\n192.0.2.0/33,,DE,,,,,\n10.0.0.0/8,,XXX,,,,,0\n"));
    files.write("empty.csv", header);
    files.write("binary.csv", [0xff, 0xfe]);
    files.write("out.mmdb", "the old file");
    let out = files.path("out.mmdb");
    let build = |table: &str| run(&["geoip", "build", &files.path(table), &out]);
    build("bad.csv").ends(1, &[], &["line 2, longitude", "line 3, network", "line 4, country", "line 4, asn"]);
    build("empty.csv").ends(1, &[], &["empty.csv"]);
    build("binary.csv").ends(1, &[], &["binary.csv"]);
    build("gone.csv").ends(1, &[], &["gone.csv"]);
    files.write("good.csv", format!("{header}192.0.2.0/24,,KR,,,,,\n"));
    run(&["geoip", "build", &files.path("good.csv"), &files.path("no/such/out.mmdb")]).ends(
        1,
        &[],
        &["no/such/out.mmdb"],
    );
    fs::create_dir(files.path("a-directory")).expect("made");
    run(&["geoip", "build", &files.path("good.csv"), &files.path("a-directory")]).ends(1, &[], &["a-directory"]);
    assert_eq!(fs::read_to_string(&out).expect("there"), "the old file");
    let left: Vec<_> = fs::read_dir(files.directory.path()).expect("listed").flatten().map(|e| e.file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().contains(".new")), "{left:?}");
    build("good.csv").ends(0, &["1 networks, 1 place"], &[]);
}

#[test]
fn delegation_prints_what_the_parent_needs_and_no_more() {
    let files = Files::new("", ZONE);
    // That its address is known here makes no glue of it.
    let records = "@ SOA ns2 h 1 1h 10m 1w 60\n@ NS ns2\n@ NS ns1.gslb.example.\nns2 A 192.0.2.54\n";
    files.write("zones/example.net.toml", format!("origin = \"example.net\"\nrecords = \"\"\"\n{records}\"\"\"\n"));
    let config = files.config();
    let ran = run(&["delegation", "GSLB.example.", "--config", &config]).ends(0, &["the zone example.", "No DS"], &[]);
    let records: Vec<_> = ran.out.lines().filter(|line| !line.starts_with(';')).collect();
    assert_eq!(
        records,
        [
            "gslb.example.\t300\tIN\tNS\tns1.gslb.example.",
            "gslb.example.\t300\tIN\tNS\tns2.example.net.",
            "ns1.gslb.example.\t3600\tIN\tA\t192.0.2.53",
            "ns1.gslb.example.\t3600\tIN\tAAAA\t2001:db8::53",
        ]
    );
    run(&["delegation", "glsb.example", "--config", &config]).ends(1, &[], &["did you mean gslb.example"]);
    run(&["delegation", "a..b", "--config", &config]).ends(1, &[], &["not a name"]);
}

#[test]
fn a_server_that_is_not_there_is_said_so() {
    // Bound, never listening: nobody else can take the port meanwhile.
    let held = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    held.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("bound");
    let admin = held.local_addr().expect("an address").as_socket().expect("IPv4").to_string();
    for arguments in [
        &["status"][..],
        &["region", "list"],
        &["region", "drain", "seoul"],
        &["reload"],
        &["explain", "www.gslb.example", "--client", "127.82.0.1", "--live"],
    ] {
        let arguments = [arguments, &["--admin", &admin]].concat();
        run(&arguments).ends(5, &[], &["cannot connect", &admin, "running"]);
    }
    let arguments = ["status", "--admin", &admin, "--token-file", "/nonexistent/token"];
    run(&arguments).ends(1, &[], &["/nonexistent/token"]);
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let mut child = command(&["explain", "www.gslb.example", "--client", "127.82.0.1", "--demo", "--json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// A server that ends with the test.
struct Server {
    child: Child,
    /// `None`: nobody reads it any more.
    log: Option<BufReader<std::process::ChildStderr>>,
    admin: String,
}

impl Server {
    fn start(files: &Files) -> Server {
        let mut server = Server::launch(files);
        server.ready();
        server
    }

    /// Without waiting for anything.
    fn launch(files: &Files) -> Server {
        let mut child = command(&["serve", "--config", &files.config()])
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let log = BufReader::new(child.stderr.take().expect("its log"));
        Server { child, log: Some(log), admin: String::new() }
    }

    /// Waits until it answers.
    fn ready(&mut self) {
        let line = self.log_until("answering");
        let after = line.split("admin=Some(").nth(1).expect("the admin address");
        self.admin = after.split(')').next().unwrap_or_default().to_owned();
    }

    /// The next line of the log with this in it.
    fn log_until(&mut self, what: &str) -> String {
        let mut line = String::new();
        let log = self.log.as_mut().expect("a log");
        while log.read_line(&mut line).expect("a log") > 0 {
            if line.contains(what) {
                return line;
            }
            line.clear();
        }
        panic!("the log ended without `{what}`");
    }

    fn signal(&self, signal: i32) {
        let pid = i32::try_from(self.child.id()).expect("a process id");
        // SAFETY: sends a signal to the child, which has not been waited for.
        assert_eq!(unsafe { libc::kill(pid, signal) }, 0);
    }

    /// Waits for its end.
    fn end(&mut self) -> Option<i32> {
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                return status.code();
            }
            assert!(began.elapsed() < Duration::from_secs(10), "it does not end");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const ANY_PORT: &str = "listen.dns = [\"127.0.0.1:0\"]\nlisten.admin = \"127.0.0.1:0\"\n";

#[test]
fn serve_answers_reloads_whole_or_not_at_all_and_stops() {
    let files = Files::new(ANY_PORT, ZONE);
    let mut server = Server::start(&files);
    let admin = server.admin.clone();
    run(&["status", "--admin", &admin]).ends(0, &["OK\n", "gslb.example", "seoul", "frankfurt"], &[]);
    run(&["explain", "www.gslb.example", "--client", "192.0.2.1", "--live", "--admin", &admin]).ends(
        0,
        &["policy score", "authoritative"],
        &[],
    );
    run(&["explain", "ww.gslb.example", "--client", "192.0.2.1", "--live", "--admin", &admin]).ends(
        1,
        &[],
        &["does not exist"],
    );
    run(&["reload", "--admin", &admin]).ends(0, &["reloaded: 1 zone, 2 regions, 1 service"], &[]);

    files.write("zones/gslb.example.toml", "origin = 7\n");
    run(&["reload", "--admin", &admin]).ends(1, &[], &["gslb.example.toml:1:"]);
    run(&["status", "--admin", &admin]).ends(3, &["DEGRADED for", "was refused", "gslb.example.toml:1:", "seoul"], &[]);
    server.signal(libc::SIGHUP);
    server.log_until("not reloaded");
    files.write("zones/gslb.example.toml", ZONE.replace("[service.www]", "[service.api]"));
    server.signal(libc::SIGHUP);
    server.log_until("reloaded");
    run(&["status", "--admin", &admin]).ends(0, &["api.gslb.example"], &[]);

    server.signal(libc::SIGTERM);
    assert_eq!(server.end(), Some(0));
}

#[test]
fn an_override_survives_kill_9() {
    let files = Files::new(ANY_PORT, ZONE);
    let mut server = Server::start(&files);
    let admin = server.admin.clone();
    run(&["region", "drain", "seoul", "--admin", &admin]).ends(0, &["override drain, now drain"], &[]);
    run(&["region", "drain", "tokyo", "--admin", &admin]).ends(1, &[], &["tokyo", "seoul@gslb.example"]);
    server.signal(libc::SIGKILL);
    server.end();
    let server = Server::start(&files);
    let list = run(&["region", "list", "--admin", &server.admin]).ends(0, &[], &[]).out;
    let seoul = list.lines().find(|line| line.contains("seoul")).expect("a line");
    assert!(seoul.contains("drain"), "{list}");
    run(&["region", "auto", "seoul", "--admin", &server.admin]).ends(0, &["override auto, now up"], &[]);
}

#[test]
fn a_node_is_drained_over_kill_9_and_says_so_by_the_exit_status() {
    let files = Files::new(ANY_PORT, ZONE);
    let mut server = Server::start(&files);
    let admin = server.admin.clone();
    run(&["ready", "--admin", &admin]).ends(0, &["ready\n"], &[]);
    run(&["node", "drain", "--admin", &admin]).ends(0, &["this node drains; ", "meridian node resume"], &[]);
    run(&["ready", "--admin", &admin]).ends(1, &["not ready: an operator drains"], &[]);
    server.signal(libc::SIGKILL);
    server.end();
    run(&["ready", "--admin", &admin]).ends(5, &[], &["cannot connect"]);
    let server = Server::start(&files);
    let admin = server.admin.clone();
    run(&["ready", "--json", "--admin", &admin]).ends(1, &["\"ready\": false", "\"reason\": \"drained\""], &[]);
    run(&["status", "--admin", &admin]).ends(0, &["OK", "should not be announced: an operator drains"], &[]);
    run(&["node", "resume", "--admin", &admin]).ends(0, &["this node drains no more\nready\n"], &[]);
    run(&["node", "resume", "--admin", &admin]).ends(0, &["no more, as before"], &[]);
    run(&["events", "--admin", &admin]).ends(0, &["this node drains: an operator", "this node drains no more"], &[]);
    // Frozen: the system takes the connection, and nobody answers.
    server.signal(libc::SIGSTOP);
    run(&["ready", "--within", "300ms", "--admin", &admin]).ends(5, &[], &["does not answer"]);
    server.signal(libc::SIGCONT);
}

#[test]
fn a_server_that_stops_says_so_first_and_answers_on_until_it_is_told_again() {
    let files = Files::new(&format!("{ANY_PORT}stop_delay = \"5m\"\n"), ZONE);
    let mut server = Server::start(&files);
    server.signal(libc::SIGTERM);
    server.log_until("/ready says no");
    let admin = server.admin.clone();
    run(&["ready", "--admin", &admin]).ends(1, &["not ready: the server is stopping"], &[]);
    run(&["explain", "www.gslb.example", "--client", "192.0.2.1", "--live", "--admin", &admin]).ends(
        0,
        &["policy"],
        &[],
    );
    server.signal(libc::SIGINT);
    assert_eq!(server.end(), Some(0));
    files.write("meridian.toml", format!("{ANY_PORT}stop_delay = \"300ms\"\n"));
    let mut server = Server::start(&files);
    let began = Instant::now();
    server.signal(libc::SIGTERM);
    assert_eq!(server.end(), Some(0));
    assert!(began.elapsed() >= Duration::from_millis(300), "{:?}", began.elapsed());
}

#[test]
fn events_are_shown_followed_and_survive_kill_9() {
    let files = Files::new(ANY_PORT, ZONE);
    let mut server = Server::start(&files);
    let admin = server.admin.clone();
    run(&["region", "drain", "seoul", "--admin", &admin]).ends(0, &[], &[]);
    let line = server.log_until("region seoul@gslb.example drain");
    assert!(line.contains("INFO") && line.contains("www.gslb.example"), "{line}");
    let drained = "region seoul@gslb.example drain, was up: override drain";
    run(&["events", "--since", "1h", "--admin", &admin]).ends(0, &[drained, "(for www.gslb.example"], &[]);
    let json = run(&["events", "--region", "seoul", "--json", "--admin", &admin]).ends(0, &[], &[]).out;
    assert!(json.lines().count() == 1 && json.starts_with("{\"id\":"), "{json}");
    let none = run(&["events", "--region", "frankfurt", "--admin", &admin]).ends(0, &[], &[]);
    assert_eq!(none.out, "");
    run(&["events", "--since", "yesterday", "--admin", &admin]).ends(2, &[], &["a duration such as 1h"]);

    let mut following =
        command(&["events", "--follow", "--admin", &admin]).stdout(Stdio::piped()).spawn().expect("starts");
    let mut lines = BufReader::new(following.stdout.take().expect("its output")).lines();
    let mut next = || lines.next().expect("a line").expect("a line");
    assert!(next().contains(drained));
    run(&["region", "auto", "seoul", "--admin", &admin]).ends(0, &[], &[]);
    let lifted = next();
    assert!(lifted.contains("region seoul@gslb.example up, was drain: no override any more"), "{lifted}");
    following.kill().expect("killed");
    following.wait().expect("ended");

    wait_for_file(&files.path("state/events.jsonl"));
    let began = Instant::now();
    while fs::read_to_string(files.path("state/events.jsonl")).is_ok_and(|text| text.lines().count() < 2) {
        assert!(began.elapsed() < Duration::from_secs(20), "not on disk");
        std::thread::sleep(Duration::from_millis(10));
    }
    server.signal(libc::SIGKILL);
    server.end();
    let server = Server::start(&files);
    run(&["events", "--admin", &server.admin]).ends(0, &[drained, "no override any more"], &[]);
}

/// Waits until there is such a file with something in it.
fn wait_for_file(path: &str) {
    let began = Instant::now();
    while !fs::metadata(path).is_ok_and(|metadata| metadata.len() > 0) {
        assert!(began.elapsed() < Duration::from_secs(20), "there is no {path}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn what_was_known_survives_kill_9_and_an_orderly_stop() {
    let files = Files::new(ANY_PORT, ZONE);
    let kept = files.path("state/steering.kept");
    let mut server = Server::launch(&files);
    let line = server.log_until("answering");
    assert!(line.contains("answering"), "a first start says nothing of what was kept: {line}");
    wait_for_file(&kept);
    server.signal(libc::SIGKILL);
    server.end();

    let mut server = Server::launch(&files);
    let told = server.log_until("start");
    assert!(told.contains("INFO") && told.contains("a warm start: took up 2 regions"), "{told}");
    server.ready();
    fs::remove_file(&kept).expect("it was there");
    server.signal(libc::SIGTERM);
    assert_eq!(server.end(), Some(0));

    let mut octets = fs::read(&kept).expect("kept when it stopped");
    *octets.last_mut().expect("an octet") ^= 1;
    fs::write(&kept, octets).expect("written");
    let mut server = Server::launch(&files);
    let told = server.log_until("start");
    // No region has a check: nothing has changed that had to be kept at once.
    assert!(told.contains("WARN") && told.contains("a cold start") && told.contains("checksum"), "{told}");
    server.ready();
}

/// What a service's row of `meridian status` says of its stage.
fn stage_of(server: &Server) -> String {
    let status = run(&["status", "--admin", &server.admin]).ends(0, &[], &[]).out;
    let row = status.lines().find(|line| line.contains("www.gslb.example")).expect("a row").to_owned();
    row.split("stage ").nth(1).expect("a stage").split("  ").next().expect("its name").to_owned()
}

#[test]
fn a_canary_is_shifted_by_the_command_over_kill_9_and_reloads_until_the_file_has_it_no_more() {
    let canary = |of: &str| format!("regions = [\"seoul\"]\n{of}");
    let zone = |of: &str| ZONE.replace("regions = [\"seoul\", \"frankfurt\"]\n", &canary(of));
    let small = "canary = { regions = [\"frankfurt\"], share = 0.0 }\n";
    let files = Files::new(ANY_PORT, &zone(small));
    let mut server = Server::start(&files);
    let say = |server: &Server, words: &[&str]| run(&[words, &["--admin", &server.admin]].concat());
    let answer = |server: &Server| {
        let admin = server.admin.clone();
        run(&["explain", "www.gslb.example", "--client", "127.82.0.1", "--live", "--admin", &admin])
    };
    answer(&server).ends(0, &["192.0.2.10"], &[]);
    say(&server, &["canary", "www", "25"]).ends(2, &[], &["25% or 0.25"]);
    say(&server, &["rollback", "www"]).ends(1, &[], &["nothing to go back to", "www"]);
    let tag = say(&server, &["service", "www", "--etag"]).ends(0, &[], &[]).out.trim().to_owned();
    let first = ["canary", "www", "25%", "--note", "release 7", "--for", "1h", "--if-match", &tag];
    say(&server, &first).ends(0, &["25 % of clients, was 0 %", "meridian rollback www"], &[]);
    say(&server, &first).ends(7, &[], &["not as you have seen it"]);
    say(&server, &["canary", "www", "100%"]).ends(0, &["100 % of clients, was 25 %"], &[]);
    answer(&server).ends(0, &["192.0.2.20", "an operator shifted it; the file says 0 %"], &[]);
    server.signal(libc::SIGKILL);
    server.end();
    let mut server = Server::start(&files);
    answer(&server).ends(0, &["192.0.2.20"], &[]);
    say(&server, &["service", "www"]).ends(
        0,
        &["100 % of clients to frankfurt; local shifted it", "to a canary of 25 %"],
        &[],
    );
    say(&server, &["rollback", "www"]).ends(0, &["back to a canary of 25 %, was a canary of 100 %"], &[]);
    say(&server, &["status"]).ends(0, &["canary 25 %, shifted"], &[]);
    say(&server, &["service", "www"]).ends(0, &["release 7", "for 60 min yet"], &[]);
    say(&server, &["reload"]).ends(0, &[], &[]);
    say(&server, &["service", "www"]).ends(0, &["25 % of clients"], &[]);
    // The canary is taken out, and comes back later: with its own figure.
    files.write("zones/gslb.example.toml", zone(""));
    say(&server, &["reload"]).ends(0, &[], &[]);
    say(&server, &["events"]).ends(0, &["canary none, was 25 %", "the files are others"], &[]);
    say(&server, &["canary", "www", "5%"]).ends(1, &[], &["`www.gslb.example` has no canary"]);
    files.write("zones/gslb.example.toml", zone(small));
    say(&server, &["reload"]).ends(0, &[], &[]);
    say(&server, &["service", "www"]).ends(0, &["0 % of clients to frankfurt, as the file says"], &[]);
    say(&server, &["canary", "www", "5%"]).ends(0, &[], &[]);
    say(&server, &["canary", "www", "--file"]).ends(0, &["0 % of clients, was 5 %"], &[]);
    say(&server, &["audit", "--json"]).ends(0, &["\"before\": \"canary 5 %\"", "\"after\": \"canary 0 %\""], &[]);
    server.signal(libc::SIGTERM);
    server.end();
}

#[test]
fn a_switch_survives_kill_9_and_is_rolled_back_with_one_command() {
    let stages = "active = \"blue\"\n[service.www.stage.blue]\nregions = [\"seoul\"]\n\
                  [service.www.stage.green]\nregions = [\"frankfurt\"]\n";
    let zone = ZONE.replace("regions = [\"seoul\", \"frankfurt\"]\n", stages);
    let files = Files::new(ANY_PORT, &zone);
    let mut server = Server::start(&files);
    assert_eq!(stage_of(&server), "blue");
    let switch =
        |server: &Server, arguments: &[&str]| run(&[&["switch", "www", "--admin", &server.admin], arguments].concat());
    switch(&server, &["grey"]).ends(1, &[], &["no stage `grey`", "blue, green"]);
    switch(&server, &["--rollback"]).ends(1, &[], &["was not switched"]);
    switch(&server, &[]).ends(2, &[], &["STAGE"]);
    run(&["region", "down", "frankfurt", "--admin", &server.admin]).ends(0, &[], &[]);
    switch(&server, &["green"]).ends(1, &[], &["no region of stage `green` is up: frankfurt is down"]);
    run(&["region", "auto", "frankfurt", "--admin", &server.admin]).ends(0, &[], &[]);
    switch(&server, &["green"]).ends(0, &["switched from stage blue to green", "--rollback"], &[]);
    let admin = server.admin.clone();
    let arguments = ["explain", "www.gslb.example", "--client", "127.82.0.1", "--live", "--admin", &admin];
    run(&arguments).ends(0, &["192.0.2.20"], &[]);
    server.signal(libc::SIGKILL);
    server.end();
    let server = Server::start(&files);
    assert_eq!(stage_of(&server), "green, switched");
    switch(&server, &["--rollback"]).ends(0, &["switched from stage green to blue"], &[]);
    switch(&server, &["--rollback"]).ends(0, &["switched from stage blue to green"], &[]);
    switch(&server, &["--file"]).ends(0, &["switched from stage green to blue"], &[]);
    assert_eq!(stage_of(&server), "blue");
    run(&["switch", "api", "green", "--admin", &server.admin]).ends(1, &[], &["no service is called `api`"]);
}

#[test]
fn a_drain_is_waited_for_until_it_is_safe() {
    let main = format!("{ANY_PORT}steering.drain_allowance = \"500ms\"\n");
    let files = Files::new(&main, &ZONE.replace("[service.www]", "[service.www]\nttl = 1"));
    let mut server = Server::start(&files);
    let admin = server.admin.clone();
    let began = Instant::now();
    run(&["region", "drain", "seoul", "--wait", "--admin", &admin]).ends(
        0,
        &[
            "override drain, now drain",
            "that may still come: at most",
            "; safe in",
            "safe: no answer sends clients there any more",
        ],
        &[],
    );
    assert!(
        began.elapsed() >= Duration::from_millis(1_500),
        "the last answer lives for 1 s, and 0.5 s are allowed for"
    );
    run(&["status", "--admin", &admin]).ends(0, &["drain, safe"], &[]);

    // A restart does not forget when it began.
    let since = |admin: &str| {
        let status = run(&["status", "--json", "--admin", admin]).ends(0, &[], &[]).out;
        let status: serde_json::Value = serde_json::from_str(&status).expect("JSON");
        let regions = status["regions"].as_array().expect("regions").clone();
        let seoul = regions.into_iter().find(|region| region["name"] == "seoul@gslb.example").expect("seoul");
        (seoul["drain"]["since_unix_s"].as_u64().expect("a time"), seoul["drain"]["safe"].clone())
    };
    let before = since(&admin);
    std::thread::sleep(Duration::from_millis(1_100));
    server.signal(libc::SIGKILL);
    server.end();
    let server = Server::start(&files);
    let admin = server.admin.clone();
    assert_eq!((since(&admin), &before.1), (before.clone(), &true.into()));

    // What is still answered is not safe, however long it drains.
    run(&["region", "drain", "frankfurt", "--wait", "--timeout", "1200ms", "--admin", &admin]).ends(
        1,
        &["frankfurt", "still answered"],
        &["not safe after 1200ms", "goes on draining"],
    );
    let json = run(&["region", "drain", "seoul", "--wait", "--timeout", "50ms", "--json", "--admin", &admin]);
    let lines: Vec<serde_json::Value> =
        json.ends(1, &[], &["not safe"]).out.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!((&lines[0]["override"], &lines[0]["region"]), (&"drain".into(), &"seoul@gslb.example".into()));
    assert_eq!((&lines[1]["safe"], &lines[1]["may_come"]), (&false.into(), &1.0.into()));
    assert!(lines[1]["safe_at_unix_s"].is_null() && lines[1]["load_ratio"].is_null(), "{lines:?}");
    run(&["region", "auto", "frankfurt", "--admin", &admin]).ends(0, &["now up"], &[]);
    run(&["region", "list", "--admin", &admin]).ends(0, &["drain, safe"], &[]);
}

#[test]
fn a_log_that_nobody_reads_any_more_stops_nothing() {
    let files = Files::new(ANY_PORT, ZONE);
    let mut server = Server::start(&files);
    server.log = None;
    for _ in 0..3 {
        run(&["reload", "--admin", &server.admin]).ends(0, &["reloaded"], &[]);
    }
    server.signal(libc::SIGTERM);
    assert_eq!(server.end(), Some(0));
}

#[test]
fn serve_refuses_bad_files_and_ports_in_use() {
    let files = Files::new(ANY_PORT, "origin = 7\n");
    run(&["serve", "--config", &files.config()]).ends(1, &[], &["gslb.example.toml:1:10", "error:"]);
    let taken = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let files = Files::new(&format!("listen.dns = [\"{address}\"]\nlisten.admin = \"off\"\n"), ZONE);
    run(&["serve", "--config", &files.config()]).ends(1, &[], &[&address, "another program has that port"]);
}

#[test]
fn a_named_pipe_is_refused_and_not_waited_for() {
    let files = Files::new("geoip = [\"pipe.mmdb\"]\n", ZONE);
    let pipe = |path: &str| {
        let made = Command::new("mkfifo").arg(files.path(path)).status().expect("mkfifo runs");
        assert!(made.success());
    };
    pipe("pipe.mmdb");
    run(&["check", "--config", &files.config()]).ends(1, &["pipe.mmdb: not a regular file"], &[]);
    pipe("zones/pipe.toml");
    run(&["check", "--config", &files.config()]).ends(1, &["pipe.toml: not a regular file"], &[]);
}

#[test]
fn a_factor_of_demand_that_cannot_be_is_said_to_be_wrong_and_no_unknown_option() {
    run(&["what-if", "--demand", "-1"]).ends(2, &[], &["'-1'", "expected a number above 0, 1000 at most"]);
}

#[test]
fn a_token_or_key_that_is_no_file_is_refused_and_not_waited_for() {
    for (main, what) in [
        ("admin.token_file = \"/dev/zero\"\n", "the admin token in /dev/zero: not a regular file"),
        (
            "listen.rum = \"127.0.0.1:0\"\nrum.key_file = \"/dev/zero\"\n",
            "the RUM key in /dev/zero: not a regular file",
        ),
    ] {
        let files = Files::new(&format!("{ANY_PORT}{main}"), ZONE);
        run(&["check", "--config", &files.config()]).ends(1, &[what], &[]);
        run(&["serve", "--config", &files.config()]).ends(1, &[], &[what]);
    }
    let asked = run(&["status", "--token-file", "/dev/zero"]);
    asked.ends(1, &[], &["cannot read the admin token in /dev/zero: not a regular file"]);
}

#[test]
fn a_token_file_that_others_can_read_is_warned_of() {
    use std::os::unix::fs::PermissionsExt;
    let files = Files::new("admin.token_file = \"token\"\n", ZONE);
    files.write("token", "0123456789abcdef\n");
    let mode = |mode| fs::set_permissions(files.path("token"), fs::Permissions::from_mode(mode)).expect("set");
    mode(0o644);
    run(&["check", "--config", &files.config()]).ends(0, &["(mode 0644): chmod 600"], &[]);
    mode(0o600);
    let out = run(&["check", "--config", &files.config()]).ends(0, &[], &[]).out;
    assert!(!out.contains("chmod"), "{out}");
}

#[test]
fn no_password_of_a_mistaken_url_is_shown() {
    let url = "url = \"http://admin:hunter2@10.0.0.1:84o4/\", load = \"/load\"";
    let zone = ZONE.replace("[region.seoul]", &format!("[region.seoul]\nload_report.json = {{ {url} }}"));
    assert!(zone.contains("hunter2"));
    let files = Files::new("", &zone);
    let ran = run(&["check", "--config", &files.config()]).ends(1, &["@10.0.0.1:84o4/"], &[]);
    let served = run(&["serve", "--config", &files.config()]).ends(1, &[], &["@10.0.0.1:84o4/"]);
    for text in [&ran.out, &ran.err, &served.out, &served.err] {
        assert!(!text.contains("hunter2"), "{text}");
    }
}

#[test]
fn a_state_directory_that_cannot_be_written_is_said_at_the_start() {
    let files = Files::new(&format!("{ANY_PORT}state = \"taken/state\"\n"), ZONE);
    std::os::unix::fs::symlink(files.path("gone/deeper"), files.path("taken")).expect("a link");
    let mut child = command(&["serve", "--config", &files.config()]).stderr(Stdio::piped()).spawn().expect("started");
    let log = BufReader::new(child.stderr.take().expect("its log"));
    let mut server = Server { child, log: Some(log), admin: String::new() };
    server.log_until("overrides would be refused");
    server.log_until("answering");
}

#[test]
fn help_has_no_word_on_a_line_of_its_own() {
    for arguments in [&["region", "--help"][..], &["geoip", "build", "--help"]] {
        let help = run(arguments).ends(0, &[], &[]).out;
        let cut = help.lines().find(|line| !line.is_empty() && !line.starts_with(' ') && !line.trim().contains(' '));
        assert!(cut.is_none_or(|line| line.ends_with(':') || line.ends_with('.')), "{cut:?} in {help}");
    }
}

/// The etcd of this cluster is not there, which needs none.
#[test]
fn a_node_whose_etcd_is_away_says_so_and_takes_words_of_its_own() {
    use std::os::unix::fs::PermissionsExt;
    let peers = std::net::TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a port");
    let cluster = format!(
        "{ANY_PORT}[cluster]\nname = \"prod\"\nnode = \"n1\"\netcd = \"http://127.0.0.1:1\"\n\
         peers = {{ listen = \"{peers}\", token_file = \"peers.token\" }}\n"
    );
    let files = Files::new(&cluster, ZONE);
    files.write("peers.token", "a secret of sixteen octets or more");
    fs::set_permissions(files.path("peers.token"), fs::Permissions::from_mode(0o600)).expect("set");
    let server = Server::start(&files);
    let ask = |arguments: &[&str]| run(&[arguments, &["--admin", &server.admin]].concat());
    let begin = Instant::now();
    while ask(&["status"]).code != Some(3) {
        assert!(begin.elapsed() < Duration::from_secs(20), "still well: {}", ask(&["status"]).out);
    }
    let short = "cluster prod: 1 node, nobody leads, no plan yet; etcd AWAY\n";
    ask(&["nodes"]).ends(3, &["DEGRADED", "etcd", "does not answer: ", short, "etcd AWAY for ", "this node"], &[]);
    ask(&["status"]).ends(3, &["DEGRADED", "answers go on by what is known", short], &[]);
    let nodes: serde_json::Value = serde_json::from_str(&ask(&["nodes", "--json"]).out).expect("JSON");
    assert_eq!((&nodes["etcd"]["there"], &nodes["nodes"][0]["name"]), (&false.into(), &"n1".into()));
    ask(&["status", "--all"]).ends(3, &["cluster prod: 1 node\n", "n1", "DEGRADED"], &[]);

    ask(&["region", "drain", "frankfurt"]).ends(1, &[], &["with --here it holds at this node alone"]);
    ask(&["region", "drain", "frankfurt", "--here"]).ends(0, &["frankfurt"], &[]);
    let begin = Instant::now();
    let alone = "`drain` of frankfurt@gslb.example was said here, and holds at this node ALONE";
    while !ask(&["status"]).out.contains(alone) {
        assert!(begin.elapsed() < Duration::from_secs(20), "{}", ask(&["status"]).out);
    }
    ask(&["nodes"]).ends(3, &[alone, "overrides/frankfurt@gslb.example `drain`"], &[]);
}

#[test]
fn a_server_of_no_cluster_has_no_nodes_to_show() {
    let files = Files::new(ANY_PORT, ZONE);
    let server = Server::start(&files);
    for command in [&["nodes"][..], &["status", "--all"]] {
        run(&[command, &["--admin", &server.admin]].concat()).ends(1, &[], &["has no `[cluster]`"]);
    }
}
