//! The query log as an operator reads it: what was asked over the wire, line by line.
//!
//! In: a running server with `[query_log]`, questions over UDP and TCP. Out: JSON in a file.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use meridian::query::counters::{Event, Loss, QuerySink};
use meridian::steer::health::effective::Override;
use serde_json::{Value, json};

mod support;

use support::dns::{self, Ask};
use support::server::{Server, wait_until};

const ZONE: &str = r#"
origin = "gslb.example"
records = """
@     SOA    ns1 hostmaster 1 1h 10m 1w 60
@     NS     ns1
ns1   A      192.0.2.53
alias CNAME  www
"""
[region.seoul]
location  = { country = "KR" }
endpoints = [{ address = "203.0.113.82" }]
[region.paris]
location  = { country = "FR" }
endpoints = [{ address = "203.0.113.33" }]
[service.www]
policy  = "score"
regions = ["seoul", "paris"]
"#;

const LIMIT: Duration = Duration::from_secs(20);
const KOREAN: &str = "127.82.0.0/24";

fn start(settings: &str) -> Server {
    Server::start(settings, &[("gslb.example.toml", ZONE)])
}

/// The lines of the log, once there are as many.
fn lines(server: &Server, number: usize) -> Vec<Value> {
    let path = server.folder().join("logs/query.jsonl");
    wait_until("as many lines", LIMIT, || text(&path).lines().count() >= number);
    let text = text(&path);
    assert!(text.ends_with('\n'));
    let lines: Vec<Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect();
    assert_eq!(lines.len(), number, "{text}");
    lines
}

fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

#[test]
fn a_line_says_who_asked_for_what_what_was_answered_and_why() {
    let server = start("[query_log]\nfile = \"logs/query.jsonl\"");
    let reply = dns::udp(server.dns, &Ask::new("WWW.gslb.example", "A").subnet(KOREAN));
    let [line] = &lines(&server, 1)[..] else { unreachable!() };
    let expected = json!({
        "transport": "udp", "client": "127.0.0.1", "ecs": KOREAN, "name": "www.gslb.example.", "type": "A",
        "rcode": "NOERROR", "octets": reply.octets.len(), "answers": 1, "ttl_s": reply.ttl(), "scope": reply.scope(),
        "service": "www.gslb.example.", "regions": ["seoul"], "endpoint": "203.0.113.82", "one_in": 1,
    });
    for (field, value) in expected.as_object().expect("an object") {
        assert_eq!(&line[field], value, "{field} of {line}");
    }
    let reason = &line["reason"];
    assert_eq!((&reason["seen_by"], &reason["policy"]), (&json!("ecs"), &json!("score")), "{line}");
    assert_eq!((&reason["condition"], &reason["scope"]), (&json!("normal"), &json!("place")), "{line}");
    assert!(reason["location"].as_str().is_some_and(|of| of.contains("KR")) && reason["ttl"].is_string(), "{line}");
    assert_eq!(reason["passed_over"], Value::Null, "the nearest was answered");
    let time: jiff::Timestamp = line["time"].as_str().expect("a time").parse().expect("RFC 3339");
    let age = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_secs() as i64 - time.as_second();
    assert!((0..60).contains(&age), "{age} s ago");
    assert!(line["took_us"].is_u64() && line["generation"].as_u64().is_some_and(|number| number > 0));
}

#[test]
fn a_nearer_region_that_is_passed_over_is_named_with_the_reason() {
    let server = start("[query_log]\nfile = \"logs/query.jsonl\"");
    server.say("seoul", Override::Down);
    wait_until("Koreans go to Paris", LIMIT, || server.steered("www.gslb.example", "A", KOREAN) == ["203.0.113.33"]);
    let path = server.folder().join("logs/query.jsonl");
    wait_until("it is written", LIMIT, || text(&path).contains("203.0.113.33"));
    let last = text(&path).lines().last().map(str::to_owned).expect("a line");
    let line: Value = serde_json::from_str(&last).expect("JSON");
    assert_eq!(line["regions"], json!(["paris"]), "{line}");
    assert_eq!(line["reason"]["passed_over"], json!([{ "region": "seoul", "why": "down by override" }]), "{line}");
}

#[test]
fn whatever_comes_is_a_line_and_clients_are_cut_to_their_networks() {
    let server = start("[query_log]\nfile = \"logs/query.jsonl\"\nclients = \"network\"");
    dns::tcp(server.dns, &Ask::new("alias.gslb.example", "AAAA").subnet("127.82.3.4/32"));
    dns::udp(server.dns, &Ask::new("nowhere.gslb.example", "TXT"));
    dns::udp(server.dns, &Ask::new("other.example", "A"));
    dns::exchange_udp(server.dns, &[0x12, 0x34, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0], Duration::from_secs(5))
        .expect("an error");
    dns::exchange_udp(server.dns, &[0x12, 0x34, 0x80, 0], Duration::from_millis(1));
    let mut lines = lines(&server, 5);
    lines.sort_by_key(|line| line["time"].as_str().map(str::to_owned));
    let of = |field: &str| lines.iter().map(|line| line[field].clone()).collect::<Vec<_>>();
    assert!(of("client").iter().all(|client| *client == "127.0.0.0/24"), "{lines:#?}");
    assert_eq!(of("transport"), ["tcp", "udp", "udp", "udp", "udp"]);
    let none = Value::Null;
    let rcodes = [json!("NOERROR"), json!("NXDOMAIN"), json!("REFUSED"), json!("FORMERR"), none.clone()];
    assert_eq!(of("rcode"), rcodes);
    assert_eq!(of("type"), [json!("AAAA"), json!("TXT"), json!("A"), none.clone(), none.clone()]);
    assert_eq!(of("ecs"), [json!("127.82.3.0/24"), none.clone(), none.clone(), none.clone(), none.clone()]);
    let alias = &lines[0];
    assert_eq!((&alias["service"], &alias["regions"]), (&json!("www.gslb.example."), &json!(["seoul"])), "{alias}");
    assert_eq!(of("service")[1..], [none.clone(), none.clone(), none.clone(), none]);
    assert_eq!(lines[4]["octets"], 0);
}

#[test]
fn a_file_that_cannot_be_written_costs_lines_and_no_answers() {
    let server = start("[query_log]\nfile = \"logs/query.jsonl\"");
    let path = server.folder().join("logs/query.jsonl");
    fs::create_dir_all(&path).expect("a folder in its place");
    let lost = || server.count(Event::Unrecorded(QuerySink::QueryLog, Loss::Write));
    for number in 1..=3 {
        assert_eq!(server.steered("www.gslb.example", "A", KOREAN), ["203.0.113.82"]);
        wait_until("it is counted", LIMIT, || lost() == number);
    }
    fs::remove_dir(&path).expect("removed");
    server.steered("www.gslb.example", "A", KOREAN);
    assert_eq!(lines(&server, 1).len(), 1);
    wait_until("it is counted", LIMIT, || server.count(Event::Recorded(QuerySink::QueryLog)) == 1);
    assert_eq!(lost(), 3);
}

#[test]
fn a_limit_of_lines_in_a_second_holds_and_the_rest_is_counted() {
    let server = start("[query_log]\nfile = \"logs/query.jsonl\"\nper_second = 1");
    for _ in 0..50 {
        server.steered("www.gslb.example", "A", KOREAN);
    }
    let count = |event| server.count(event);
    let both =
        || (count(Event::Recorded(QuerySink::QueryLog)), count(Event::Unrecorded(QuerySink::QueryLog, Loss::Rate)));
    wait_until("all are counted", LIMIT, || both().0 + both().1 == 50);
    let path = server.folder().join("logs/query.jsonl");
    assert_eq!(text(&path).lines().count() as u64, both().0);
    assert!(both().0 >= 1 && both().1 >= 1, "{:?}", both());
}

#[test]
fn what_was_taken_is_written_before_the_server_ends() {
    let kept = tempfile::tempdir().expect("a folder");
    let written = kept.path().join("query.jsonl");
    let server = start(&format!("[query_log]\nfile = {written:?}"));
    for _ in 0..20 {
        dns::udp(server.dns, &Ask::new("www.gslb.example", "A"));
    }
    drop(server);
    assert_eq!(text(&written).lines().count(), 20);
}

#[test]
fn nothing_is_written_unless_it_is_asked_for() {
    let server = start("");
    dns::udp(server.dns, &Ask::new("www.gslb.example", "A"));
    assert!(!server.folder().join("logs").exists());
    assert_eq!(server.count(Event::Recorded(QuerySink::QueryLog)), 0);
}
