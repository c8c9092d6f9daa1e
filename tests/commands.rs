//! The command line beside the admin API: every route has a command, every command shows what its route says, exit codes
//! are the same everywhere.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};

use meridian::admin::client::AdminClient;
use meridian::admin::routes;
use serde_json::Value;

mod support;

use support::server::Server;

const ZONE: &str = r#"
origin = "gslb.example"
records = """
@ SOA ns1 hostmaster 7 1h 10m 1w 60
@ NS ns1
ns1 A 192.0.2.53
"""
[region.agent]
location = { country = "KR" }
endpoints = [{ address = "192.0.2.1" }]
check.push = { max_age = "1h" }
load_report.push = {}
capacity = 200
[region.spare]
location = { country = "DE" }
endpoints = [{ address = "192.0.2.3" }]
[service.www]
policy = "score"
regions = ["agent", "spare"]
[service.app]
active = "blue"
[service.app.stage.blue]
regions = ["agent"]
[service.app.stage.green]
regions = ["spare"]
"#;

struct Ran {
    code: Option<i32>,
    out: String,
    err: String,
}

/// Runs the program with words between spaces, and what else it is given.
fn run(admin: &str, words: &str, more: &[&str]) -> Ran {
    let mut command = Command::new(env!("CARGO_BIN_EXE_meridian"));
    command.args(words.split(' ')).args(more).args(["--admin", admin]).stdin(Stdio::null());
    let Output { status, stdout, stderr } = command.output().expect("the program starts");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    let ran = Ran { code: status.code(), out: text(stdout), err: text(stderr) };
    assert!(!ran.err.contains("panicked"), "{words}: {}", ran.err);
    ran
}

impl Ran {
    #[track_caller]
    fn ends(self, code: i32, out: &[&str], err: &[&str]) -> Ran {
        assert_eq!(self.code, Some(code), "\n{}\n{}", self.out, self.err);
        out.iter().for_each(|part| assert!(self.out.contains(part), "`{part}` is not in:\n{}", self.out));
        err.iter().for_each(|part| assert!(self.err.contains(part), "`{part}` is not in:\n{}", self.err));
        self
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {}\n{}", self.out, self.err))
    }
}

/// Every route with the command that asks it.
const COMMANDS: &[(&str, &str)] = &[
    ("GET /v1/openapi.json", "openapi"),
    ("GET /v1/status", "status"),
    ("GET /v1/events", "events"),
    ("GET /v1/live", "live"),
    ("GET /v1/audit", "audit"),
    ("GET /v1/zones", "zones"),
    ("GET /v1/zones/{origin}", "zone gslb.example"),
    ("GET /v1/services", "services"),
    ("GET /v1/services/{name}", "service www"),
    ("GET /v1/regions", "regions"),
    ("GET /v1/regions/{name}", "region show agent"),
    ("GET /v1/endpoints", "endpoints"),
    ("GET /v1/checks", "checks"),
    ("GET /v1/overrides", "overrides"),
    ("GET /v1/plans", "plans"),
    ("GET /v1/explain", "explain www.gslb.example --client 192.0.2.1 --live"),
    ("GET /v1/demand", "demand"),
    ("GET /v1/flows", "flows"),
    ("POST /v1/what-if", "what-if --kill agent"),
    ("POST /v1/regions/{name}/override", "region drain agent"),
    ("POST /v1/services/{name}/switch", "switch app green"),
    ("POST /v1/services/{name}/canary", "canary app 25%"),
    ("POST /v1/services/{name}/rollback", "rollback app"),
    ("POST /v1/regions/{name}/load", "region load agent 20"),
    ("POST /v1/regions/{name}/heartbeat", "region heartbeat agent"),
    ("GET /v1/latency", "latency show"),
    ("POST /v1/latency", "latency import TABLE"),
    ("GET /v1/nodes", "nodes"),
    ("GET /v1/nodes/status", "status --all"),
    ("POST /v1/node/drain", "node drain"),
    ("POST /v1/node/resume", "node resume"),
    ("POST /v1/reload", "reload"),
    ("GET /metrics", "metrics"),
    ("GET /healthz", "health --process"),
    ("GET /readyz", "health"),
    ("GET /ready", "ready"),
];

/// Routes without a command, and why.
const FOR_BROWSERS: &[(&str, &str)] =
    &[("GET /", "the dashboard"), ("GET /page/{file}", "what the dashboard is made of")];

#[test]
fn every_route_has_a_command_that_asks_it() {
    let all: BTreeSet<String> = routes::all().iter().map(|route| format!("{} {}", route.method, route.path)).collect();
    let told: BTreeSet<String> = COMMANDS.iter().chain(FOR_BROWSERS).map(|(route, _)| (*route).to_owned()).collect();
    let lacking: Vec<_> = all.difference(&told).collect();
    assert!(lacking.is_empty(), "routes without a command, here and in src/cli: {lacking:?}");
    let gone: Vec<_> = told.difference(&all).collect();
    assert!(gone.is_empty(), "no such routes: {gone:?}");

    let folder = tempfile::tempdir().expect("a folder");
    let table = folder.path().join("table.csv");
    std::fs::write(&table, "country,region,rtt_ms\nKR,agent,7\n").expect("written");
    let stub = Stub::start();
    for (route, words) in COMMANDS {
        let words = words.replace("TABLE", table.to_str().expect("a path"));
        run(&stub.admin, &words, &[]).ends(1, &[], &["error: nothing is here"]);
        let asked = stub.asked();
        assert!(asked.len() == 1 && is_of(&asked[0], route), "`meridian {words}` asks {asked:?}, not {route}");
    }
}

/// `GET /v1/zones/gslb.example` is of `GET /v1/zones/{origin}`.
fn is_of(asked: &str, route: &str) -> bool {
    let (asked, route): (Vec<_>, Vec<_>) = (asked.split('/').collect(), route.split('/').collect());
    asked.len() == route.len()
        && asked.iter().zip(&route).all(|(asked, route)| asked == route || route.starts_with('{'))
}

/// A server that refuses everything, and remembers what it was asked.
struct Stub {
    admin: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Stub {
    fn start() -> Stub {
        Stub::answering("404 Not Found")
    }

    /// It ends with the process.
    fn answering(status: &'static str) -> Stub {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let admin = listener.local_addr().expect("its address").to_string();
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let notes = asked.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = BufReader::new(stream.expect("a connection"));
                let mut lines = Vec::new();
                let mut line = String::new();
                while stream.read_line(&mut line).expect("a request") > 2 {
                    lines.push(std::mem::take(&mut line));
                }
                let length = |line: &String| line.to_lowercase().strip_prefix("content-length:")?.trim().parse().ok();
                let mut body = vec![0; lines.iter().find_map(length).unwrap_or(0)];
                std::io::Read::read_exact(&mut stream, &mut body).expect("a body");
                let [method, path, _] = lines[0].split(' ').collect::<Vec<_>>()[..] else { panic!("{}", lines[0]) };
                let path = path.split('?').next().expect("a path");
                notes.lock().expect("notes").push(format!("{method} {path}"));
                let body = r#"{"error":"nothing is here","details":[]}"#;
                let length = body.len();
                let head = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n");
                // The client may have gone.
                let _ = stream.get_mut().write_all((head + body).as_bytes());
            }
        });
        Stub { admin, asked }
    }

    /// What it was asked since this was called last.
    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.asked.lock().expect("notes"))
    }
}

#[test]
fn exit_codes_are_the_same_of_every_command() {
    let refusals = [("401 Unauthorized", 6), ("403 Forbidden", 6), ("412 Precondition Failed", 7), ("409 Conflict", 1)];
    for (status, code) in refusals {
        let stub = Stub::answering(status);
        for words in ["status", "zones", "region drain agent", "switch app green", "metrics", "live", "ready", "health"]
        {
            run(&stub.admin, words, &[]).ends(code, &[], &["error: "]);
        }
    }
    // Bound, never listening: nobody else can take the port meanwhile.
    let held = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    held.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("bound");
    let nobody = held.local_addr().expect("an address").as_socket().expect("IPv4").to_string();
    for (route, words) in COMMANDS.iter().filter(|(_, words)| !words.contains("TABLE")) {
        let ran = run(&nobody, words, &[]);
        assert_eq!(ran.code, Some(5), "{route}: {words}: {}", ran.err);
        assert!(ran.err.contains("cannot connect"), "{words}: {}", ran.err);
        let ran = run(&nobody, words, &["--no-such-flag"]);
        assert_eq!(ran.code, Some(2), "{words}: {}", ran.err);
    }
    // What answers there is no meridian.
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let other = listener.local_addr().expect("its address").to_string();
    std::thread::spawn(move || {
        listener.incoming().for_each(|mut of| of.iter_mut().for_each(|of| _ = of.write(b"220 mail\r\n")))
    });
    run(&other, "status", &[]).ends(5, &[], &["does not answer as meridian does"]);
}

#[test]
fn what_is_read_is_a_table_for_people_and_the_routes_own_json() {
    let server = Server::start("", &[("gslb.example.toml", ZONE)]);
    let admin = server.admin.to_string();
    let ask = |words: &str| run(&admin, words, &[]);
    ask("zones").ends(0, &["zone", "serial", "gslb.example.", "7"], &[]);
    ask("zone gslb.example").ends(0, &["gslb.example.: serial 7, ", "2 regions, 2 services", "SOA", "192.0.2.53"], &[]);
    ask("services").ends(0, &["www.gslb.example", "stage blue", "condition"], &[]);
    ask("service app").ends(0, &["policy     stage blue", "stages     blue, green", "version    \"", "share"], &[]);
    ask("regions").ends(0, &["agent@gslb.example", "spare@gslb.example", "state"], &[]);
    ask("region show agent").ends(0, &["override   auto", "capacity 200", "services   ", "push", "version    \""], &[]);
    ask("endpoints").ends(0, &["192.0.2.1", "192.0.2.3", "not probed", "l7"], &[]);
    ask("checks").ends(0, &["push", "agent@gslb.example", "1 unknown"], &[]);
    ask("overrides").ends(0, &["no overrides"], &[]);
    ask("plans").ends(0, &["clients are shared out", "planned load", "www.gslb.example"], &[]);
    ask("demand").ends(0, &["places of", "agent@gslb.example", "www.gslb.example"], &[]);
    ask("flows --service www").ends(0, &["clients of www.gslb.example", "sent to", "to the nearest"], &[]);
    ask("metrics").ends(0, &["# TYPE meridian_queries counter", "# EOF"], &[]);
    ask("health").ends(0, &["the writer lives"], &[]);
    ask("health --process").ends(0, &["alive"], &[]);
    ask("region load agent 50").ends(0, &["agent@gslb.example: load 50 of 200, 25 %."], &[]);
    ask("region load spare 50").ends(1, &[], &["takes no pushed load"]);
    ask("region drain spare").ends(0, &[], &[]);
    ask("overrides").ends(0, &["spare@gslb.example  drain"], &[]);
    ask("audit").ends(0, &["POST /v1/regions/spare/override", "auto", "drain", "done"], &[]);
    ask("zone gslb.exampel").ends(1, &[], &["no zone is called `gslb.exampel`"]);

    let client = AdminClient::new(server.admin, None).expect("a client");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let routes = COMMANDS.iter().filter(|(route, words)| {
        route.starts_with("GET /v1") && !["live", "events", "nodes", "status --all", "openapi"].contains(words)
    });
    for (route, words) in routes {
        let shown = run(&admin, words, &["--json"]).json();
        let path = route.trim_start_matches("GET /").replace("{origin}", "gslb.example");
        let path = path.replace("{name}", words.split(' ').next_back().expect("a word"));
        let query = [("name", "www.gslb.example"), ("client", "192.0.2.1")];
        let query = if words.starts_with("explain") { &query[..] } else { &[] };
        let said = runtime.block_on(client.get(&path.split('/').collect::<Vec<_>>(), query)).expect("an answer");
        assert_eq!(shape(&shown), shape(&said), "{words}");
    }
    assert_eq!(ask("openapi").json()["openapi"], "3.1.0");
}

/// Names and kinds of what is in JSON, whatever the figures.
fn shape(of: &Value) -> String {
    match of {
        Value::Object(fields) => {
            let each = fields.iter().map(|(name, field)| format!("{name}:{}", shape(field)));
            format!("{{{}}}", each.collect::<Vec<_>>().join(","))
        }
        Value::Array(items) => format!("[{}]", items.iter().map(shape).collect::<Vec<_>>().join(",")),
        Value::String(_) => "text".into(),
        Value::Number(_) | Value::Null => "figure".into(),
        Value::Bool(_) => "yes or no".into(),
    }
}

#[test]
fn lists_come_whole_over_many_pages_and_cut_where_that_is_asked() {
    let records: String = (0..2_345).map(|n| format!("h{n:04} A 192.0.2.{}\n", n % 250)).collect();
    let zone = ZONE.replace("ns1 A 192.0.2.53\n", &format!("ns1 A 192.0.2.53\n{records}"));
    let server = Server::start("", &[("gslb.example.toml", &zone)]);
    let admin = server.admin.to_string();
    let whole = run(&admin, "zone gslb.example", &["--json"]).json();
    let owners = |of: &Value| -> Vec<String> {
        let items = of["items"].as_array().expect("items");
        items.iter().filter(|set| set["type"] == "A").map(|set| set["owner"].to_string()).collect()
    };
    assert_eq!(owners(&whole).len(), 2_346);
    assert!(owners(&whole).is_sorted() && whole["next"].is_null());
    let first = run(&admin, "zone gslb.example --limit 1500", &["--json"]).json();
    let next = first["next"].as_str().expect("more").to_owned();
    let rest = run(&admin, "zone gslb.example", &["--json", "--after", &next]).json();
    assert_eq!(first["items"].as_array().map(Vec::len), Some(1_500));
    assert_eq!([owners(&first), owners(&rest)].concat(), owners(&whole));
    run(&admin, "zone gslb.example --limit 2", &[]).ends(0, &["and more: --limit, or --after 'gslb.example. "], &[]);
    run(&admin, "zones --limit 0", &[]).ends(2, &[], &["--limit"]);
}

#[test]
fn a_change_with_if_match_takes_only_while_nobody_came_between() {
    let server = Server::start("", &[("gslb.example.toml", ZONE)]);
    let admin = server.admin.to_string();
    let tag = |words: &str| run(&admin, words, &["--etag"]).ends(0, &[], &[]).out.trim().to_owned();
    let (region, service) = (tag("region show spare"), tag("service app"));
    run(&admin, "region down spare", &["--if-match", &region]).ends(0, &["override down"], &[]);
    let late = ["--if-match", &region];
    run(&admin, "region drain spare", &late).ends(7, &[], &["not as you have seen it: it is `down` now"]);
    run(&admin, "region up spare --json", &late).ends(7, &[], &[]);
    run(&admin, "region show spare", &[]).ends(0, &["override   down"], &[]);
    let json = run(&admin, "region auto spare --json", &["--if-match", &tag("region show spare")]).json();
    assert_eq!((&json["override"], &json["region"]), (&"auto".into(), &"spare@gslb.example".into()));
    let json = run(&admin, "switch app green --json", &["--if-match", &service]).json();
    assert_eq!((&json["stage"], &json["before"]), (&"green".into(), &"blue".into()));
    run(&admin, "switch app blue", &["--if-match", &service]).ends(7, &[], &[]);
    run(&admin, "region show spare --etag --json", &[]).ends(2, &[], &[]);
}

#[test]
fn live_tells_how_it_is_and_what_comes() {
    let server = Server::start("", &[("gslb.example.toml", ZONE)]);
    let mut command = Command::new(env!("CARGO_BIN_EXE_meridian"));
    command.args(["live", "--json", "--admin", &server.admin.to_string()]).stdout(Stdio::piped());
    let mut child = command.spawn().expect("the program starts");
    let mut lines = BufReader::new(child.stdout.take().expect("its output")).lines();
    let mut next = || -> Value { serde_json::from_str(&lines.next().expect("a line").expect("text")).expect("JSON") };
    let first = next();
    assert_eq!((&first["event"], first["data"]["regions"].as_array().map(Vec::len)), (&"status".into(), Some(2)));
    run(&server.admin.to_string(), "region drain spare", &[]).ends(0, &[], &[]);
    let event = std::iter::from_fn(|| Some(next())).find(|line| line["event"] == "event").expect("an event");
    assert_eq!((&event["data"]["region"], &event["data"]["after"]), (&"spare@gslb.example".into(), &"drain".into()));
    interrupt(&child);
    assert_eq!(child.wait().expect("its end").code(), Some(0), "interrupted, it has done what it was asked");
}

#[test]
fn what_is_watched_is_shown_again_until_interrupted() {
    let server = Server::start("", &[("gslb.example.toml", ZONE)]);
    let admin = server.admin.to_string();
    let watched = ["zones", "status", "regions", "region list", "latency show", "events", "audit", "ready", "health"];
    let live = "explain www.gslb.example --client 192.0.2.1 --live";
    for words in watched.into_iter().chain([live]) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_meridian"));
        command.args(words.split(' ')).args(["--json", "--watch=0.1", "--admin", &admin]).stdout(Stdio::piped());
        let mut child = command.spawn().expect("the program starts");
        let lines = BufReader::new(child.stdout.take().expect("its output")).lines();
        let documents: Vec<Value> = lines
            .take(2)
            .map(|line| serde_json::from_str(&line.expect("text")).unwrap_or_else(|error| panic!("{words}: {error}")))
            .collect();
        assert_eq!(shape(&documents[0]), shape(&documents[1]), "{words}");
        interrupt(&child);
        assert_eq!(child.wait().expect("its end").code(), Some(0), "{words}");
    }
    run(&admin, "zones --watch=0", &[]).ends(2, &[], &["expected 0.1 to 86400 seconds"]);
    run(&admin, "events --watch --follow", &[]).ends(2, &[], &["--follow"]);
    run(&admin, "explain www.gslb.example --client 192.0.2.1 --demo --watch", &[]).ends(2, &[], &["--live"]);
    run(&admin, "zone gslb.exampel --watch", &[]).ends(1, &[], &["no zone is called"]);
}

#[test]
fn a_watch_outlives_the_server() {
    let server = Server::start("", &[("gslb.example.toml", ZONE)]);
    let mut command = Command::new(env!("CARGO_BIN_EXE_meridian"));
    command.args(["zones", "--watch=0.1", "--admin", &server.admin.to_string()]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program starts");
    let mut lines = BufReader::new(child.stdout.take().expect("its output")).lines();
    assert!(lines.next().is_some_and(|line| line.expect("text").contains("serial")));
    drop(server);
    let mut said = BufReader::new(child.stderr.take().expect("its errors")).lines();
    // Said twice: it asks again.
    for _ in 0..2 {
        assert!(said.any(|line| line.expect("text").starts_with("error: ")));
    }
    drop(lines);
    drop(said);
    interrupt(&child);
    assert_eq!(child.wait().expect("its end").code(), Some(0));
}

fn interrupt(child: &std::process::Child) {
    let pid = i32::try_from(child.id()).expect("a process id");
    // SAFETY: sends a signal to the child, which has not been waited for.
    assert_eq!(unsafe { libc::kill(pid, libc::SIGINT) }, 0);
}
