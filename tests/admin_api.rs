//! The admin API over real loopback HTTP: every route, what it refuses, and its limits.
//!
//! Most tests drive the API over a publisher and a writer, without DNS sockets; the last ones a
//! whole daemon on files.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use meridian::admin::client::{AdminClient, ClientError};
use meridian::admin::heartbeat::HeartbeatBody;
use meridian::admin::{self, Access, Context, Probing};
use meridian::control::access::{self, NewToken, Role, Tokens};
use meridian::control::audit::Audit;
use meridian::control::clock;
use meridian::control::cluster::handle::{Ask, Asked, ClusterHandle, StatusOf};
use meridian::control::cluster::status::ClusterStatus;
use meridian::control::config::{self, Loaded, RumSettings};
use meridian::control::events::history::Events;
use meridian::control::events::receivers::Receivers;
use meridian::control::node::Node;
use meridian::control::overrides::OverrideStore;
use meridian::control::probe::budget::Budget;
use meridian::control::probe::fault::OwnFaults;
use meridian::control::readiness::Readiness;
use meridian::control::reload::{ConfigSource, LoadStatus, ReloadRequest, Reloaded, prepare};
use meridian::control::rum::{Measurements, unix_now};
use meridian::control::switches::SwitchStore;
use meridian::control::troubles::{StateName, TroubleKind, Troubles};
use meridian::control::vitals::Vitals;
use meridian::control::writer::{Sources, Writer};
use meridian::daemon::Daemon;
use meridian::model::{RegionId, ServiceId};
use meridian::query::Transport;
use meridian::query::counters::{CounterSet, DropReason, Event, QueryTypeGroup};
use meridian::query::demand::Sample;
use meridian::state::{EndpointNews, LoadNews, News, Publisher};
use meridian::steer::health::effective::{EffectiveState, Override};
use meridian::steer::health::verdict::Verdict;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};

const MAIN: &str = r#"
listen.dns = "127.0.0.1:0"
listen.admin = "127.0.0.1:0"
[[network]]
cidr = "10.82.0.0/16"
location = { country = "KR", latitude = 37.57, longitude = 126.98 }
[[network]]
cidr = "10.49.0.0/16"
location = { country = "DE", latitude = 50.11, longitude = 8.68 }
"#;

const ZONE: &str = r#"
origin = "gslb.example"
ttl = "1h"
records = """
@     SOA   ns1 hostmaster 1 1h 10m 1w 60
@     NS    ns1
ns1   A     198.51.100.53
shop  CNAME www
"""
[region.seoul]
location = { country = "KR", latitude = 37.57, longitude = 126.98 }
capacity = 1000
endpoints = [
  { address = ["192.0.2.82", "2001:db8::82"], weight = 4 },
  { address = "192.0.2.83", layer = "l4" },
]
check.tcp = { port = 80 }
load_report.json = { url = "http://127.0.0.1:1/", load = "/load", interval = "10s" }
[region.frankfurt]
location = { country = "DE", latitude = 50.11, longitude = 8.68 }
endpoints = [{ address = "192.0.2.49" }]
[service.www]
regions = ["seoul", "frankfurt"]
ttl = "30s"
[service.plain]
policy = "failover"
regions = ["frankfurt"]
ecs = false
ttl = "90s"
"#;

/// A second zone, whose region shares a name with one of the first.
const OTHER_ZONE: &str = r#"
origin = "other.example"
records = """
@    SOA  ns1 hostmaster 1 1h 10m 1w 60
@    NS   ns1
ns1  A    198.51.100.53
"""
[region.seoul]
location = { country = "KR" }
endpoints = [{ address = "192.0.2.99" }]
load_report.push = { interval = "5s", max_age = "20s", health = {} }
check.push = { max_age = "30s" }
[service.www]
regions = ["seoul"]
"#;

/// An admin API on a port of its own, and the other ends of what it talks to.
struct Fixture {
    address: SocketAddr,
    counters: Arc<CounterSet>,
    load_status: Arc<ArcSwap<LoadStatus>>,
    probing: Probing,
    state: tempfile::TempDir,
    troubles: Arc<Troubles>,
    vitals: Arc<Vitals>,
    node: Arc<Node>,
    access: Arc<Access>,
    audit: Arc<Audit>,
    stop: Option<oneshot::Sender<()>>,
    serving: tokio::task::JoinHandle<std::io::Result<()>>,
    /// Kept, so that the writer hears nothing instead of an end.
    _probes: mpsc::Sender<meridian::control::probe::EndpointReport>,
}

fn loaded(directory: &Path) -> Loaded {
    std::fs::create_dir(directory.join("zones")).expect("a directory");
    std::fs::write(directory.join("meridian.toml"), MAIN).expect("written");
    std::fs::write(directory.join("zones/gslb.example.toml"), ZONE).expect("written");
    std::fs::write(directory.join("zones/other.example.toml"), OTHER_ZONE).expect("written");
    config::load(&directory.join("meridian.toml")).unwrap_or_else(|mistakes| panic!("{mistakes:?}"))
}

impl Fixture {
    async fn start() -> Fixture {
        Fixture::with_token(None).await
    }

    async fn with_token(token: Option<&str>) -> Fixture {
        Fixture::of(token, None).await
    }

    async fn of(token: Option<&str>, cluster: Option<ClusterHandle>) -> Fixture {
        let state = tempfile::tempdir().expect("a directory");
        let Loaded { model, .. } = loaded(state.path());
        let atlas = meridian::atlas::Atlas::build(&[], &model.networks).expect("an atlas");
        let now = clock::read();
        let mut publisher = Publisher::new(model, atlas, "", 0, BTreeMap::new(), now);
        for (endpoint, verdict) in [("192.0.2.82", Verdict::Up), ("192.0.2.83", Verdict::Down)] {
            let news = EndpointNews::of_only_probe("seoul@gslb.example", endpoint, verdict);
            let news = EndpointNews { seen: "<b>seen</b>".into(), connect_ms: Some(1.5), ..news };
            publisher.apply(News::Probe(news), now);
        }
        let outcome = Ok((250.0, None));
        publisher.apply(News::Load(LoadNews { region: "seoul@gslb.example".into(), at: now.now(), outcome }), now);
        publisher.publish(now);
        let shared = publisher.shared();
        let (endpoint_sender, endpoints) = mpsc::channel(1);
        let (load_sender, loads) = mpsc::channel(1);
        let (commands, said) = mpsc::channel(4);
        let store = OverrideStore::new(&state.path().join("state"));
        let (switches, troubles) = (SwitchStore::new(&state.path().join("state")), Arc::new(Troubles::default()));
        let vitals = Arc::new(Vitals::default());
        let writer = Writer::new(publisher, store, switches, troubles.clone()).beating(vitals.clone());
        let events = Arc::new(Events::open(&state.path().join("state"), troubles.clone()));
        let writer = writer.recording(events.clone());
        tokio::spawn(events.clone().keep());
        let receivers = Receivers::new(&state.path().join("state"), events.clone(), troubles.clone(), vitals.clone());
        tokio::spawn(writer.run(Sources { endpoints, loads, commands: said }));
        let (reloads, requests) = mpsc::channel(1);
        tokio::spawn(answer_reloads(requests));
        let counters = Arc::new(CounterSet::new());
        let load_status = Arc::new(ArcSwap::from_pointee(LoadStatus::now(Vec::new(), Vec::new())));
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let probing = Probing {
            budget: Arc::new(Budget::new(12)),
            probe_faults: Arc::new(OwnFaults::new("a probe")),
            scrape_faults: Arc::new(OwnFaults::new("a scrape")),
            reachability: Arc::default(),
        };
        let access = Arc::new(Access { token: token.map(str::to_owned), ..Access::default() });
        let audit = Arc::new(Audit::open(&state.path().join("audited"), troubles.clone()));
        tokio::spawn(audit.clone().keep());
        let readiness = Arc::new(Readiness::new(vitals.clone()));
        let node = Node::open(&state.path().join("state"), readiness, events.clone(), troubles.clone());
        let node = Arc::new(node);
        tokio::spawn(node.clone().keep());
        let context = Context {
            shared,
            counters: counters.clone(),
            answered: Arc::default(),
            commands,
            loads: load_sender,
            heartbeats: Default::default(),
            reloads,
            load_status: load_status.clone(),
            started: now.now(),
            measurements: Arc::new(Measurements::open(
                &RumSettings::default(),
                &state.path().join("state"),
                unix_now(),
                troubles.clone(),
            )),
            troubles: troubles.clone(),
            events,
            receivers,
            vitals: vitals.clone(),
            node: node.clone(),
            access: access.clone(),
            audit: audit.clone(),
            xdp: Default::default(),
            probing: probing.clone(),
            places: Default::default(),
            cluster,
        };
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = tokio::spawn(admin::serve(listener, None, Arc::new(context), async { _ = stopped.await }));
        Fixture {
            address,
            counters,
            load_status,
            probing,
            state,
            troubles,
            vitals,
            node,
            access,
            audit,
            stop: Some(stop),
            serving,
            _probes: endpoint_sender,
        }
    }

    fn client(&self) -> AdminClient {
        AdminClient::new(self.address, None).expect("a client")
    }

    /// Sends these octets and reads to the end.
    async fn raw(&self, request: &str) -> Answer {
        let mut stream = TcpStream::connect(self.address).await.expect("connected");
        // The server may answer, and close, before it has read a body that is too long.
        let _ = stream.write_all(request.as_bytes()).await;
        let mut text = Vec::new();
        let _ = stream.read_to_end(&mut text).await;
        Answer::parse(&String::from_utf8_lossy(&text))
    }

    async fn get(&self, target: &str) -> Answer {
        self.raw(&format!("GET {target} HTTP/1.1\r\nHost: {}\r\n\r\n", self.address)).await
    }

    async fn post(&self, target: &str, headers: &str, body: &str) -> Answer {
        let host = self.address;
        let length = body.len();
        self.raw(&format!("POST {target} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {length}\r\n{headers}\r\n{body}"))
            .await
    }
}

const JSON: &str = "Content-Type: application/json\r\n";

/// Takes the first reload, and finds mistakes in all later ones.
async fn answer_reloads(mut requests: mpsc::Receiver<ReloadRequest>) {
    let taken = Reloaded { zones: 2, regions: 3, services: 3, places: 3, warnings: vec![], needs_restart: vec![] };
    let mut outcome = Ok(taken);
    while let Some(ReloadRequest { reply, .. }) = requests.recv().await {
        let _ = reply.send(outcome);
        outcome = Err(vec!["error: first".to_owned(), "error: second\n  --> zones/a.toml:3:1".to_owned()]);
    }
}

struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn parse(text: &str) -> Answer {
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((text, ""));
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        Answer { status, head: head.to_ascii_lowercase(), body: body.to_owned() }
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    /// The shape every refusal has.
    fn error(&self) -> String {
        let json = self.json();
        assert!(json["details"].is_array() && json["status"] == self.status, "{json}");
        assert_eq!((&json["type"], &json["detail"]), (&json!("about:blank"), &json["error"]), "RFC 9457 section 3.1");
        assert!(self.head.contains("content-type: application/problem+json"), "{}", self.head);
        json["error"].as_str().expect("a text").to_owned()
    }
}

#[tokio::test]
async fn status_shows_everything() {
    let fixture = Fixture::start().await;
    let status = fixture.client().status().await.expect("a status");
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(status["zones"], json!(["gslb.example.", "other.example."]));
    assert_eq!(status["last_load"]["ok"], true);
    assert_eq!(status["atlas"]["places"], 3);
    assert!(status["generation"].as_u64().expect("a number") >= 1 && status["uptime_s"].is_f64());
    let seoul = &status["regions"][0];
    assert_eq!(seoul["name"], "seoul@gslb.example");
    assert_eq!((&seoul["state"], &seoul["verdict"], &seoul["override"]), (&json!("up"), &json!("up"), &json!("auto")));
    assert_eq!(seoul["endpoints"][0]["label"], "192.0.2.82");
    assert_eq!(seoul["endpoints"][0]["weight"], 4);
    assert_eq!(seoul["endpoints"][0]["connect_ms"], 1.5);
    assert_eq!(seoul["endpoints"][0]["last_probe"], "<b>seen</b>");
    assert_eq!(seoul["endpoints"][1]["layer"], "l4");
    assert_eq!(seoul["endpoints"][1]["verdict"], "down");
    assert_eq!((&seoul["load"]["load"], &seoul["load"]["utilisation"]), (&json!(250.0), &json!(0.25)));
    assert_eq!((&seoul["load"]["stale"], &seoul["load"]["heard"]), (&json!(false), &json!("new")));
    assert_eq!((&seoul["load"]["doubt"], &seoul["load"]["reading"]), (&Value::Null, &Value::Null), "nobody asks yet");
    assert!(seoul["load"]["since_s"].is_f64() && seoul["load"]["stale_after_s"].is_f64());
    assert_eq!(status["planning"]["kept_near"], Value::Null);
    let frankfurt = &status["regions"][1];
    assert_eq!(frankfurt["endpoints"][0]["verdict"], Value::Null, "not probed is no verdict");
    assert_eq!(frankfurt["load"]["load"], Value::Null, "never reported is not a load of 0");
    let www = &status["services"][0];
    assert_eq!(
        (&www["name"], &www["condition"], &www["ttl_s"]),
        (&json!("www.gslb.example."), &json!("normal"), &json!(30))
    );
    let places: u64 =
        www["regions"].as_array().expect("rows").iter().map(|r| r["places"].as_u64().expect("counted")).sum();
    assert_eq!(places, 3, "every place has one region that leads");
    let mean: f64 =
        www["regions"].as_array().expect("rows").iter().map(|r| r["mean_share"].as_f64().expect("counted")).sum();
    assert!((mean - 1.0).abs() < 1e-9);
}

#[tokio::test]
async fn resources_are_read_one_by_one_and_page_by_page() {
    let fixture = Fixture::start().await;
    let get = async |target: &str| {
        let answer = fixture.get(target).await;
        assert_eq!(answer.status, 200, "{target}: {}", answer.body);
        answer.json()
    };
    let names = |page: &Value, key: &str| -> Vec<Value> {
        page["items"].as_array().expect("items").iter().map(|item| item[key].clone()).collect()
    };
    let zones = get("/v1/zones").await;
    assert_eq!(names(&zones, "origin"), ["gslb.example.", "other.example."]);
    assert_eq!((&zones["items"][0]["serial"], &zones["items"][0]["regions"]), (&json!(1), &json!(2)));
    assert_eq!((&zones["next"], zones["generation"].is_u64()), (&Value::Null, true));
    let regions = get("/v1/regions").await;
    assert_eq!(names(&regions, "name"), ["frankfurt@gslb.example", "seoul@gslb.example", "seoul@other.example"]);
    let seoul = get("/v1/regions/seoul@gslb.example").await;
    let status = fixture.client().status().await.expect("a status")["regions"][0].clone();
    for same in ["name", "state", "verdict", "price_ms", "override"] {
        assert_eq!(seoul[same], status[same], "{same}");
    }
    assert_eq!((&seoul["capacity"], &seoul["zone"]), (&json!(1000.0), &json!("gslb.example.")));
    assert_eq!((&seoul["checks"][0]["kind"], &seoul["services"]), (&json!("tcp"), &json!(["www.gslb.example"])));
    assert_eq!((&seoul["endpoints"][1]["verdict"], &seoul["load"]["load"]), (&json!("down"), &json!(250.0)));
    let endpoints = get("/v1/endpoints").await;
    assert_eq!(endpoints["items"][1]["addresses"], json!(["192.0.2.82", "2001:db8::82"]));
    assert_eq!(names(&endpoints, "label"), ["192.0.2.49", "192.0.2.82", "192.0.2.83", "192.0.2.99"]);
    let checks = get("/v1/checks").await;
    assert_eq!(names(&checks, "kind"), ["tcp", "push"]);
    assert_eq!(checks["items"][0]["probes"], json!({ "up": 1, "down": 1, "unknown": 1 }));
    let www = get("/v1/services/www.gslb.example").await;
    assert_eq!((&www["condition"], &www["ecs"], &www["stages"]), (&json!("normal"), &json!(true), &json!([])));
    assert_eq!(names(&get("/v1/services").await, "name").len(), 3);
    assert_eq!(get("/v1/overrides").await["items"], json!([]));
    fixture.client().set_override("frankfurt", Override::Drain).await.expect("said");
    let overrides = get("/v1/overrides").await;
    let said = &overrides["items"][0];
    assert_eq!((&said["region"], &said["override"]), (&json!("frankfurt@gslb.example"), &json!("drain")));
    assert!(said["drain"]["since_unix_s"].is_u64(), "{said}");
    let plans = get("/v1/plans?limit=1").await;
    assert_eq!(
        (&plans["planning"]["by"], &plans["regions"][0]["name"]),
        (&json!("price"), &json!("seoul@gslb.example"))
    );
    assert!(plans["planning"]["work"]["cpu_s"].is_f64() && plans["next"] == "plain.gslb.example", "{plans}");
}

#[tokio::test]
async fn records_are_read_page_by_page() {
    let fixture = Fixture::start().await;
    let mut found = Vec::new();
    let mut after = String::new();
    loop {
        let page = fixture.get(&format!("/v1/zones/GSLB.example.?limit=1{after}")).await.json();
        assert_eq!(page["origin"], "gslb.example.");
        found.extend(page["items"].as_array().expect("sets").clone());
        let Some(next) = page["next"].as_str() else { break };
        after = format!("&after={}", next.replace(' ', "%20"));
    }
    let soa = "ns1.gslb.example. hostmaster.gslb.example. 1 3600 600 604800 60";
    let set =
        |owner: &str, kind: &str, data: &str| json!({ "owner": owner, "type": kind, "ttl": 3600, "data": [data] });
    let expected = [
        set("gslb.example.", "NS", "ns1.gslb.example."),
        set("gslb.example.", "SOA", soa),
        set("ns1.gslb.example.", "A", "198.51.100.53"),
        set("shop.gslb.example.", "CNAME", "www.gslb.example."),
    ];
    assert_eq!(found, expected);
    assert_eq!(fixture.get("/v1/zones/gslb.example").await.json()["items"], json!(expected), "all at once");
    assert_eq!(fixture.get("/v1/zones/gslb.example?after=zz.gslb.example.%20A").await.json()["items"], json!([]));
}

#[tokio::test]
async fn resources_that_are_not_there_and_pages_that_cannot_be_are_refused() {
    let fixture = Fixture::start().await;
    for (target, status, why) in [
        ("/v1/zones/nowhere.example", 404, "no zone is called `nowhere.example`"),
        ("/v1/zones/a..b", 404, "no zone is called"),
        ("/v1/services/nothing", 404, "no service is called `nothing`"),
        ("/v1/services/www", 409, "www.gslb.example, www.other.example"),
        ("/v1/regions/atlantis", 404, "no region is called `atlantis`"),
        ("/v1/regions/seoul", 409, "seoul@other.example"),
        ("/v1/regions?limit=0", 400, "expected 1 to 1000"),
        ("/v1/regions?limit=1001", 400, "expected 1 to 1000"),
        ("/v1/regions?limit=x", 400, "limit"),
        ("/v1/zones?page=2", 400, "page"),
        ("/v1/zones/gslb.example?after=x", 400, "`after` is not"),
        ("/v1/zones/gslb.example?after=x.example.%20A", 400, "`after` is not"),
        ("/v1/regions/%ff", 400, "UTF-8"),
    ] {
        let answer = fixture.get(target).await;
        assert!(answer.status == status && answer.error().contains(why), "{target}: {} {}", answer.status, answer.body);
    }
}

#[tokio::test]
async fn explain_shows_the_reasoning_and_the_very_answer() {
    let fixture = Fixture::start().await;
    let client = fixture.client();
    let seoul = client.explain("www.gslb.example", "10.82.1.7", "A", None).await.expect("explained");
    assert_eq!(seoul["explanation"]["chosen"]["region"], "seoul");
    assert_eq!(seoul["explanation"]["client"]["seen_by"], "ecs");
    assert_eq!(seoul["answer"]["rcode"], "NOERROR");
    assert_eq!(seoul["answer"]["answer"], json!(["www.gslb.example. 30 IN A 192.0.2.82"]));
    assert_eq!(seoul["answer"]["scope"], seoul["explanation"]["chosen"]["scope"]);
    let frankfurt = client.explain("WWW.gslb.example.", "10.49.0.0/20", "a", Some("ecs")).await.expect("explained");
    assert_eq!(frankfurt["explanation"]["chosen"]["region"], "frankfurt");
    assert_eq!(frankfurt["answer"]["answer"], json!(["WWW.gslb.example. 30 IN A 192.0.2.49"]));
    let source = client.explain("www.gslb.example", "10.82.1.7", "AAAA", Some("source")).await.expect("explained");
    assert_eq!(source["explanation"]["client"]["seen_by"], "source");
    assert_eq!(source["answer"]["scope"], Value::Null);
    assert_eq!(source["answer"]["answer"], json!(["www.gslb.example. 30 IN AAAA 2001:db8::82"]));
}

/// The reasoning is true only if the packet says the same, whoever asks and however.
#[tokio::test]
async fn explain_and_the_packet_never_disagree() {
    let fixture = Fixture::start().await;
    let client = fixture.client();
    fixture.client().set_override("seoul@gslb.example", Override::Up).await.expect("said");
    let mut chosen = std::collections::BTreeSet::new();
    for index in 0..40u32 {
        let address = std::net::Ipv4Addr::from([10, [82, 49, 1][index as usize % 3], index as u8, index as u8 * 5]);
        let by = ["ecs", "source"][index as usize / 3 % 2];
        let report = client.explain("www.gslb.example", &address.to_string(), "A", Some(by)).await.expect("explained");
        let decided = &report["explanation"]["chosen"];
        let told =
            format!("www.gslb.example. {} IN A {}", decided["ttl_s"], decided["endpoint"].as_str().expect("one"));
        assert_eq!(report["answer"]["answer"], json!([told]), "{address} by {by}");
        assert_eq!(report["answer"]["scope"], decided["scope"], "{address} by {by}");
        chosen.insert(told);
    }
    assert!(chosen.len() > 1, "a test of one answer shows little: {chosen:?}");
}

#[tokio::test]
async fn explain_says_what_is_no_service_and_what_stands_behind_an_alias() {
    let fixture = Fixture::start().await;
    let client = fixture.client();
    let plain = client.explain("ns1.gslb.example", "10.82.1.7", "A", None).await.expect("explained");
    assert_eq!(plain["explanation"], Value::Null);
    assert!(plain["note"].as_str().expect("a note").contains("is no service"), "{plain}");
    assert_eq!(plain["answer"]["answer"], json!(["ns1.gslb.example. 3600 IN A 198.51.100.53"]));
    let alias = client.explain("shop.gslb.example", "10.49.1.7", "A", None).await.expect("explained");
    assert_eq!(alias["explanation"]["chosen"]["region"], "frankfurt");
    assert!(alias["note"].as_str().expect("a note").contains("alias of www.gslb.example."), "{alias}");
    let deaf = client.explain("plain.gslb.example", "10.82.1.7", "A", Some("ecs")).await.expect("explained");
    assert_eq!(deaf["explanation"]["client"]["seen_by"], "source");
    assert!(deaf["note"].as_str().expect("a note").contains("ecs = false"), "{deaf}");
    for (name, why) in [("wwv.gslb.example", "does not exist"), ("www.gslb.exampel", "in none of the zones")] {
        let error = client.explain(name, "10.82.1.7", "A", None).await.expect_err("unknown");
        let ClientError::Refused { status: 404, error, details } = error else { panic!("{error}") };
        assert!(error.contains(why), "{error}");
        assert_eq!(details[0], "did you mean www.gslb.example.?");
    }
    // Nobody's query: the counters of the server stay as they were.
    assert_eq!(fixture.counters.total().responses(0), 0);
}

#[tokio::test]
async fn explain_refuses_what_it_cannot_read() {
    let fixture = Fixture::start().await;
    let wrong = [
        ("name=www.gslb.example", "client"),
        ("client=10.0.0.1", "name"),
        ("name=a..b&client=10.0.0.1", "empty label"),
        ("name=www.gslb.example&client=10.0.0.999", "not an address"),
        ("name=www.gslb.example&client=10.0.0.0/33", "above 32"),
        ("name=www.gslb.example&client=10.0.0.0/x", "not an address"),
        ("name=www.gslb.example&client=::/129", "above 128"),
        ("name=www.gslb.example&client=10.0.0.1&type=QUUX", "not a record type"),
        ("name=www.gslb.example&client=10.0.0.1&by=magic", "`ecs` or `source`"),
        ("name=www.gslb.example&client=10.0.0.0/8&by=source", "without a length"),
    ];
    for (query, expected) in wrong {
        let answer = fixture.get(&format!("/v1/explain?{query}")).await;
        assert_eq!(answer.status, 400, "{query}: {}", answer.body);
        assert!(answer.error().contains(expected), "{query}: {}", answer.body);
    }
    for fine in [
        "client=10.0.0.0/0",
        "client=::/0",
        "client=::ffff:10.82.0.1",
        "client=2001:db8::1&type=ANY",
        "client=1.2.3.4&type=AXFR",
    ] {
        let answer = fixture.get(&format!("/v1/explain?name=www.gslb.example&{fine}")).await;
        assert_eq!(answer.status, 200, "{fine}: {}", answer.body);
    }
}

#[tokio::test]
async fn overrides_take_and_say_what_follows() {
    let fixture = Fixture::start().await;
    let client = fixture.client();
    let said = client.set_override("frankfurt", Override::Drain).await.expect("said");
    assert_eq!(
        (said.region.as_str(), said.effective.as_str(), said.cached_for_s),
        ("frankfurt@gslb.example", "drain", 90)
    );
    assert!(said.follows.iter().any(|line| line.contains("for 90 s")), "{said:?}");
    assert!(said.follows.iter().any(|line| line.contains("plain.gslb.example.: only draining")), "{said:?}");
    let status = client.status().await.expect("a status");
    assert_eq!(status["regions"][1]["state"], "drain");
    assert_eq!(status["services"][1]["condition"], "only_draining");
    let drain = &status["regions"][1]["drain"];
    assert_eq!(
        (&drain["safe_in_s"], &drain["safe"], &drain["may_come"], &drain["load_ratio"]),
        (&Value::Null, &json!(false), &json!(1.0), &Value::Null)
    );
    assert!(drain["since_unix_s"].is_u64() && drain["safe_at_unix_s"].is_null(), "{drain}");
    let seoul = &status["regions"][0];
    assert_eq!((&seoul["offered"], &seoul["held_s"], &seoul["drain"]), (&json!(1.0), &Value::Null, &Value::Null));
    let kept = OverrideStore::new(&fixture.state.path().join("state")).load().expect("kept");
    assert_eq!(kept.overrides, BTreeMap::from([("frankfurt@gslb.example".to_owned(), Override::Drain)]));
    let back = client.set_override("frankfurt@gslb.example", Override::Auto).await.expect("said");
    assert_eq!((back.effective.as_str(), back.cached_for_s), (EffectiveState::Up.as_str(), 0));
}

#[tokio::test]
async fn events_tell_what_changed_and_why() {
    let fixture = Fixture::start().await;
    let client = fixture.client();
    assert!(client.events(&[]).await.expect("events").events.is_empty());
    client.set_override("frankfurt", Override::Drain).await.expect("said");
    client.set_override("frankfurt", Override::Auto).await.expect("said");
    let answer = fixture.get("/v1/events?region=FRANKFURT").await;
    assert_eq!(answer.status, 200);
    let found: Value = serde_json::from_str(&answer.body).expect("JSON");
    let [drained, back] = &found["events"].as_array().expect("events")[..] else { panic!("{found}") };
    let words = |event: &Value| ["kind", "region", "before", "after", "cause", "lifted"].map(|key| event[key].clone());
    let region = "frankfurt@gslb.example";
    assert_eq!(
        words(drained),
        [json!("region"), json!(region), json!("up"), json!("drain"), json!("override"), json!(null)]
    );
    assert_eq!(
        words(back),
        [json!("region"), json!(region), json!("drain"), json!("up"), json!("lifted"), json!("override")]
    );
    assert_eq!(drained["services"], json!(["www.gslb.example", "plain.gslb.example"]));
    let service = client.events(&[]).await.expect("events").events;
    let service = json!(service.iter().map(|event| json!(event)).find(|event| event["kind"] == "service"));
    assert_eq!(
        (&service["service"], &service["before"], &service["after"]),
        (&json!("plain.gslb.example"), &json!("normal"), &json!("only_draining"))
    );
    let (first, last) = (drained["id"].to_string(), found["last_id"].to_string());
    for (query, count, left_out) in [
        (vec![], 4, 0),
        (vec![("since", "3600")], 4, 0),
        (vec![("since", "2999-01-01T00:00:00Z")], 0, 0),
        (vec![("region", "seoul")], 0, 0),
        (vec![("limit", "3")], 3, 1),
        (vec![("after", first.as_str())], 3, 0),
        (vec![("after", last.as_str())], 0, 0),
    ] {
        let found = client.events(&query).await.expect("events");
        assert_eq!((found.events.len(), found.left_out), (count, left_out), "{query:?}");
    }
    for query in ["since=yesterday", "since=-1", "limit=-1", "limit=x", "after=x", "until=now"] {
        assert_eq!(fixture.get(&format!("/v1/events?{query}")).await.status, 400, "{query}");
    }
}

/// The TTL that status shows is the one on the wire, not the one in the file.
#[tokio::test]
async fn status_shows_the_ttl_that_is_answered() {
    let fixture = Fixture::start().await;
    let client = fixture.client();
    let both = async || {
        let status = client.status().await.expect("a status");
        let explained = client.explain("www.gslb.example", "10.82.1.7", "A", None).await.expect("explained");
        let record = explained["answer"]["answer"][0].as_str().expect("a record").to_owned();
        let on_the_wire: u64 = record.split(' ').nth(1).and_then(|ttl| ttl.parse().ok()).expect("a TTL");
        (status["services"][0]["answered_ttl_s"].clone(), on_the_wire)
    };
    assert_eq!(both().await, (json!({ "least": 30, "most": 30 }), 30));
    client.set_override("frankfurt@gslb.example", Override::Drain).await.expect("said");
    assert_eq!(both().await, (json!({ "least": 5, "most": 5 }), 5), "short for a while");
}

#[tokio::test]
async fn overrides_that_cannot_be_are_refused() {
    let fixture = Fixture::start().await;
    let client = fixture.client();
    let status_of = |error: ClientError| match error {
        ClientError::Refused { status, error, .. } => (status, error),
        other => panic!("{other}"),
    };
    let (status, error) = status_of(client.set_override("atlantis", Override::Up).await.expect_err("unknown"));
    assert!(status == 404 && error.contains("frankfurt@gslb.example"), "{status} {error}");
    let (status, error) = status_of(client.set_override("seoul", Override::Up).await.expect_err("ambiguous"));
    assert!(status == 409 && error.contains("seoul@other.example"), "{status} {error}");
    let error = client.set_override("seol", Override::Drain).await.expect_err("unknown").to_string();
    assert!(error.contains("no region is called `seol`: did you mean `seoul`?"), "{error}");
    // A name from outside is one path segment, whatever is in it.
    let (status, _) = status_of(client.set_override("../../v1/reload?x#y", Override::Up).await.expect_err("unknown"));
    assert_eq!(status, 404);
    // Only `auto` may name what is configured no more, where an override of it is still kept.
    let (status, _) = status_of(client.set_override("atlantis", Override::Auto).await.expect_err("nothing kept"));
    assert_eq!(status, 404);
    std::fs::write(fixture.state.path().join("state"), "a file where a directory should be").expect("written");
    let (status, error) = status_of(client.set_override("frankfurt", Override::Down).await.expect_err("not kept"));
    assert!(status == 500 && error.contains("could not be kept"), "{status} {error}");
    let seen = client.status().await.expect("a status");
    assert_eq!(seen["regions"][1]["state"], "up", "what is not kept does not hold");
}

#[tokio::test]
async fn bodies_must_be_small_json_and_say_so() {
    let fixture = Fixture::start().await;
    let target = "/v1/regions/frankfurt/override";
    let fine = r#"{"override":"down"}"#;
    assert_eq!(fixture.post(target, "", fine).await.status, 415);
    assert_eq!(fixture.post(target, "Content-Type: text/plain\r\n", fine).await.status, 415);
    assert_eq!(fixture.post("/v1/reload", "Content-Type: application/x-www-form-urlencoded\r\n", "").await.status, 415);
    for wrong in ["", "{", "[]", r#"{"override":"sideways"}"#, r#"{"override":"up","x":1}"#, r#"{"overide":"up"}"#] {
        let answer = fixture.post(target, JSON, wrong).await;
        assert_eq!(answer.status, 400, "{wrong}");
        answer.error();
    }
    let long = format!(r#"{{"override":"{}"}}"#, "x".repeat(2_000_000));
    assert_eq!(fixture.post(target, JSON, &long).await.status, 413);
    let chunked = format!(
        "POST {target} HTTP/1.1\r\nHost: localhost\r\n{JSON}Transfer-Encoding: chunked\r\n\r\n{}0\r\n\r\n",
        "1000\r\n".to_owned() + &" ".repeat(0x1000) + "\r\n"
    );
    assert_eq!(fixture.raw(&chunked).await.status, 400, "blanks are no JSON");
    assert_eq!(fixture.client().status().await.expect("a status")["regions"][1]["state"], "up");
    assert_eq!(fixture.post(target, "Content-Type: application/json; charset=utf-8\r\n", fine).await.status, 200);
}

const PUSH: &str = "/v1/regions/seoul@other.example/load";

#[tokio::test]
async fn pushed_loads_are_taken_and_shown() {
    let fixture = Fixture::start().await;
    let answer = fixture.post(PUSH, JSON, r#"{"load": 30, "capacity": 40, "age_s": 2}"#).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let expected = json!({
        "region": "seoul@other.example", "load": 30.0, "capacity": 40.0, "utilisation": 0.75,
        "age_s": 2.0, "stale": false, "stale_after_s": 20.0
    });
    assert_eq!(answer.json(), expected);
    let seen = async {
        loop {
            let status = fixture.client().status().await.expect("a status");
            let load = status["regions"][2]["load"].clone();
            if !load["load"].is_null() {
                break load;
            }
        }
    };
    let load = tokio::time::timeout(Duration::from_secs(5), seen).await.expect("published");
    assert_eq!((&load["load"], &load["capacity"], &load["stale"]), (&json!(30.0), &json!(40.0), &json!(false)));
    assert!((2.0..10.0).contains(&load["age_s"].as_f64().expect("an age")), "{load}");
    // Late news is refused, and the newer figure stays.
    let late = fixture.post(PUSH, JSON, r#"{"load": 1, "age_s": 15}"#).await;
    assert!(late.status == 409 && late.error().starts_with("this load is 15.0 s old"), "{}", late.body);
    let old = fixture.post(PUSH, JSON, r#"{"load": 31}"#).await;
    assert_eq!((old.status, &old.json()["capacity"]), (200, &Value::Null));
}

#[tokio::test]
async fn pushed_health_degrades_a_region_and_is_shown_with_its_reason() {
    let fixture = Fixture::start().await;
    let status = fixture.client().status().await.expect("a status");
    assert_eq!((&status["regions"][2]["offered"], &status["regions"][2]["degraded"]), (&json!(1.0), &Value::Null));
    let answer = fixture.post(PUSH, JSON, r#"{"load": 30, "capacity": 40, "healthy": 0.5, "errors": 0.11}"#).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let seen = async {
        loop {
            let status = fixture.client().status().await.expect("a status");
            if !status["regions"][2]["degraded"].is_null() {
                break status["regions"][2].clone();
            }
        }
    };
    let seoul = tokio::time::timeout(Duration::from_secs(5), seen).await.expect("published");
    let degraded = json!({ "offered": 0.8, "why": ["50 % of servers up, 11 % errors"], "withdrawn": false });
    assert_eq!((&seoul["degraded"], &seoul["offered"]), (&degraded, &json!(0.8)));
    let metrics = fixture.get("/metrics").await.body;
    assert!(metrics.contains("meridian_region_degraded_ratio{region=\"seoul@other.example\"} 0.8\n"), "{metrics}");
    let lie = fixture.post(PUSH, JSON, r#"{"load": 31, "errors": 1.5}"#).await;
    assert!(lie.status == 422 && lie.error().contains("`errors` is 1.5, expected 0 to 1"), "{}", lie.body);
}

#[tokio::test]
async fn pushed_loads_that_cannot_be_are_refused() {
    let fixture = Fixture::start().await;
    let region = |name: &str| format!("/v1/regions/{name}/load");
    for (target, status, why) in [
        (region("atlantis"), 404, "no region is called `atlantis`"),
        (region("seoul"), 409, "seoul@gslb.example, seoul@other.example"),
        (region("seoul@gslb.example"), 409, "its load report is fetched; write `load_report.push`"),
        (region("frankfurt"), 409, "it has no load report"),
        (region(&"x".repeat(3000)), 404, "so long a name"),
    ] {
        let answer = fixture.post(&target, JSON, r#"{"load": 1}"#).await;
        assert!(answer.status == status && answer.error().contains(why), "{target}: {} {}", answer.status, answer.body);
    }
    for (body, status, why) in [
        (r#"{"load": -1}"#, 422, "`load` is -1, expected 0 to 1e15"),
        (r#"{"load": 1, "capacity": 0}"#, 422, "`capacity` is 0, expected above 0"),
        (r#"{"load": 1, "at": "4026-01-01T00:00:00Z"}"#, 422, "in the future"),
        (r#"{"load": 1, "at": "soon"}"#, 422, "`at` is soon, expected a time"),
        (r#"{"load": 1, "at": 5, "age_s": 5}"#, 422, "both there"),
        (r#"{"load": NaN}"#, 400, "not as expected"),
        (r#"{"load": "1"}"#, 400, "not as expected"),
        (r#"{"laod": 1}"#, 400, "laod"),
        ("", 400, "not as expected"),
    ] {
        let answer = fixture.post(PUSH, JSON, body).await;
        assert!(answer.status == status && answer.error().contains(why), "{body}: {} {}", answer.status, answer.body);
    }
    assert_eq!(fixture.post(PUSH, "", r#"{"load": 1}"#).await.status, 415);
    let guarded = Fixture::with_token(Some("a secret of sixteen")).await;
    assert_eq!(guarded.post(PUSH, JSON, r#"{"load": 1}"#).await.status, 401);
    let token = format!("{JSON}Authorization: Bearer a secret of sixteen\r\n");
    assert_eq!(guarded.post(PUSH, &token, r#"{"load": 1}"#).await.status, 200);
}

#[tokio::test]
async fn heartbeats_are_taken_where_they_are_awaited_and_refused_elsewhere() {
    let fixture = Fixture::start().await;
    let region = |name: &str| format!("/v1/regions/{name}/heartbeat");
    let here = region("seoul@other.example");
    let taken = |healthy: bool| {
        let endpoints = ["192.0.2.99"];
        json!({ "region": "seoul@other.example", "endpoints": endpoints, "healthy": healthy, "max_age_s": 30.0 })
    };
    for (body, healthy) in [
        ("", true),
        ("{}", true),
        (r#"{"endpoint": "192.0.2.99"}"#, true),
        (r#"{"healthy": false, "message": "disk full"}"#, false),
    ] {
        let answer = fixture.post(&here, JSON, body).await;
        assert_eq!((answer.status, answer.json()), (200, taken(healthy)), "{body}");
    }
    for (target, body, status, why) in [
        (region("atlantis"), "", 404, "no region is called `atlantis`"),
        (region("seoul"), "", 409, "seoul@gslb.example, seoul@other.example"),
        (region("seoul@gslb.example"), "", 409, "its check asks the endpoints; write `check.push`"),
        (region("frankfurt"), "", 409, "it has no check; write `check.push`"),
        (region(&"x".repeat(3000)), "", 404, "so long a name"),
        (here.clone(), r#"{"endpoint": "192.0.2.98"}"#, 404, "seoul@other.example has no endpoint `192.0.2.98`"),
        (here.clone(), r#"{"healthy": "no"}"#, 400, "is not JSON"),
        (here.clone(), r#"{"state": "up"}"#, 400, "state"),
    ] {
        let answer = fixture.post(&target, JSON, body).await;
        assert!(answer.status == status && answer.error().contains(why), "{target}: {} {}", answer.status, answer.body);
    }
    assert_eq!(fixture.post(&here, "", "{}").await.status, 415);
    assert_eq!(fixture.get(&here).await.status, 405);
    let guarded = Fixture::with_token(Some("a secret of sixteen")).await;
    assert_eq!(guarded.post(&here, JSON, "").await.status, 401);
    let body = HeartbeatBody { endpoint: Some("192.0.2.99".into()), healthy: Some(true), message: None };
    let client = fixture.client();
    assert_eq!(client.heartbeat("seoul@other.example", &body).await.expect("heard").endpoints, ["192.0.2.99"]);
}

#[tokio::test]
async fn reloads_are_taken_or_all_mistakes_told() {
    let fixture = Fixture::start().await;
    let client = fixture.client();
    assert_eq!(client.reload(false).await.expect("taken")["zones"], 2);
    let error = client.reload(false).await.expect_err("mistakes").to_string();
    assert!(
        error.contains("still being served") && error.contains("first") && error.contains("zones/a.toml:3:1"),
        "{error}"
    );
    let answer = fixture.post("/v1/reload", JSON, "").await;
    assert_eq!(answer.status, 422);
    assert_eq!(answer.json()["details"].as_array().expect("mistakes").len(), 2);
}

#[tokio::test]
async fn health_and_readiness() {
    let fixture = Fixture::start().await;
    assert_eq!(fixture.get("/healthz").await.body, "alive\n");
    fixture.load_status.store(Arc::new(LoadStatus::now(vec!["bad".into()], Vec::new())));
    let ready = fixture.get("/readyz").await;
    assert_eq!(ready.status, 200, "a failed reload leaves the old configuration served");
    assert_eq!((&ready.json()["ready"], &ready.json()["last_load"]["mistakes"]), (&json!(true), &json!(["bad"])));
    fixture.troubles.begin(
        StateName::Switches,
        TroubleKind::Unreadable,
        "a bad sector",
        "the stages of the files hold",
    );
    let ready = fixture.get("/readyz").await;
    assert_eq!((ready.status, &ready.json()["state_files"][0]["kind"]), (200, &json!("unreadable")));
    let told = "meridian_state_file_trouble{file=\"switches.json\",kind=\"unreadable\"} 1";
    assert!(fixture.get("/metrics").await.body.contains(told));
    let vitals = fixture.vitals.clone();
    let panicking = std::thread::spawn(move || {
        let _told = vitals.on_panic();
        panic!("a test's panic");
    });
    assert!(panicking.join().is_err());
    let ready = fixture.get("/readyz").await;
    assert_eq!((ready.status, &ready.json()["ready"]), (503, &json!(false)));
    assert_eq!(ready.json()["writer"]["pulse"], "failed");
    assert!(fixture.get("/metrics").await.body.contains("meridian_writer_pulse{pulse=\"failed\"} 1"));
    assert_eq!(fixture.get("/healthz").await.status, 200, "it is alive, and answers");
}

#[tokio::test]
async fn a_node_says_whether_it_should_be_announced() {
    let fixture = Fixture::start().await;
    let ready = fixture.get("/ready").await;
    assert_eq!((ready.status, &*ready.body), (200, "ready\n"));
    assert_eq!(fixture.get("/v1/status").await.json()["node"], json!({ "ready": true, "reasons": [] }));
    for (target, changed) in [("drain", true), ("drain", false)] {
        let said = fixture.post(&format!("/v1/node/{target}"), JSON, "").await;
        assert_eq!((said.status, &said.json()["changed"]), (200, &json!(changed)), "{}", said.body);
        assert_eq!((&said.json()["drained"], &said.json()["ready"]), (&json!(true), &json!(false)));
    }
    fixture.node.readiness.set_isolated(Some("2 of 3 nodes are silent".into()));
    let ready = fixture.get("/ready").await;
    assert_eq!(ready.status, 503);
    let lines: Vec<_> = ready.body.lines().collect();
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines[0].starts_with("not ready: an operator drains this node"), "{lines:?}");
    assert!(lines[1].ends_with("2 of 3 nodes are silent"), "{lines:?}");
    let host = fixture.address;
    let request = format!("GET /ready HTTP/1.1\r\nHost: {host}\r\nAccept: application/json\r\n\r\n");
    let ready = fixture.raw(&request).await;
    assert_eq!((ready.status, &ready.json()["reasons"][1]["reason"]), (503, &json!("isolated")));
    assert_eq!(fixture.get("/readyz").await.status, 200, "the writer lives");
    let metrics = fixture.get("/metrics").await.body;
    for told in
        ["meridian_ready 0\n", "meridian_not_ready{reason=\"drained\"} 1", "meridian_not_ready{reason=\"writer\"} 0"]
    {
        assert!(metrics.contains(told), "{told}");
    }
    let summary = fixture.get("/v1/status").await.json()["summary"]["troubles"].to_string();
    assert!(summary.contains("should not be announced: this node is cut off"), "{summary}");
    fixture.node.readiness.set_isolated(None);
    let node = fixture.client().say_of_node(false).await.expect("taken");
    assert!(node.changed && !node.drained && node.node.ready, "{node:?}");
    assert!(fixture.client().ready(Duration::from_secs(5)).await.expect("an answer").ready);
    let events = fixture.get("/v1/events").await.json();
    let told: Vec<_> = events["events"].as_array().expect("a list").iter().filter(|of| of["kind"] == "node").collect();
    assert_eq!(told.iter().map(|of| &of["drained"]).collect::<Vec<_>>(), [&json!(true), &json!(false)]);
    for (headers, body, status) in [(JSON, "{\"for\": 1}", 400), ("", "", 415)] {
        assert_eq!(fixture.post("/v1/node/drain", headers, body).await.status, status);
    }
    assert!(fixture.node.readiness.reasons(1).is_empty(), "what is refused changes nothing");
}

/// A script beside the server, which has no secrets.
#[tokio::test]
async fn readiness_takes_no_token_on_this_machine() {
    let fixture = Fixture::with_token(Some("0123456789abcdef")).await;
    assert_eq!(fixture.get("/ready").await.status, 200);
    assert_eq!(fixture.get("/readyz").await.status, 401);
    assert_eq!(fixture.post("/v1/node/drain", JSON, "").await.status, 401);
    let elsewhere = fixture.raw("GET /ready HTTP/1.1\r\nHost: evil.example\r\n\r\n").await;
    assert_eq!(elsewhere.status, 403);
}

#[tokio::test]
async fn metrics_parse_and_every_one_has_help() {
    let fixture = Fixture::start().await;
    let counters = fixture.counters.register();
    for event in [
        Event::Query(Transport::Udp),
        Event::Query(Transport::Udp),
        Event::Response(Transport::Udp, QueryTypeGroup::Srv, 5),
        Event::Response(Transport::Tcp, QueryTypeGroup::None, 23),
    ] {
        counters.add(event);
    }
    counters.add(Event::Dropped(DropReason::Short));
    counters.answered(|| Sample {
        client: "192.0.2.1".parse().expect("an address"),
        service: ServiceId(0),
        region: RegionId(0),
        ttl: 30,
        weight: 1,
        reloads: 0,
    });
    counters.took(Duration::from_micros(30), 3);
    counters.took(Duration::from_secs(1), 1);
    fixture.probing.probe_faults.happened("Too many open files");
    let answer = fixture.get("/metrics").await;
    assert!(answer.head.contains("content-type: application/openmetrics-text"), "{}", answer.head);
    let metrics = parse_metrics(&answer.body);
    let value = |series: &str| *metrics.get(series).unwrap_or_else(|| panic!("no {series} in\n{}", answer.body));
    assert_eq!(value(r#"meridian_queries_total{transport="udp"}"#), 2.0);
    assert_eq!(value(r#"meridian_queries_total{transport="tcp"}"#), 0.0);
    assert_eq!(value(r#"meridian_responses_total{transport="udp",qtype="SRV",rcode="REFUSED"}"#), 1.0);
    assert_eq!(value(r#"meridian_responses_total{transport="udp",qtype="SRV",rcode="SERVFAIL"}"#), 0.0);
    assert_eq!(value(r#"meridian_responses_total{transport="tcp",qtype="none",rcode="other"}"#), 1.0);
    assert_eq!(value(r#"meridian_questions_total{qtype="SRV"}"#), 1.0);
    assert_eq!(value(r#"meridian_questions_total{qtype="CAA"}"#), 0.0);
    assert_eq!(value(r#"meridian_dropped_total{reason="short"}"#), 1.0);
    assert_eq!(value("meridian_service_answers_total"), 1.0);
    assert_eq!(value(r#"meridian_answers_total{service="other",region="other"}"#), 0.0);
    assert_eq!(value(r#"meridian_answer_seconds_bucket{le="0.000025"}"#), 0.0);
    assert_eq!(value(r#"meridian_answer_seconds_bucket{le="0.00005"}"#), 3.0);
    assert_eq!(value(r#"meridian_answer_seconds_bucket{le="0.1"}"#), 3.0);
    assert_eq!(value(r#"meridian_answer_seconds_bucket{le="+Inf"}"#), 4.0);
    assert_eq!(value("meridian_answer_seconds_count"), 4.0);
    assert!((value("meridian_answer_seconds_sum") - 1.00009).abs() < 1e-9);
    assert_eq!(value(r#"meridian_own_faults_total{of="probe"}"#), 1.0);
    assert_eq!(value(r#"meridian_own_faults_total{of="load_report"}"#), 0.0);
    assert_eq!(value(r#"meridian_probe_connections{of="limit"}"#), 12.0);
    assert_eq!(value("meridian_probes_waiting"), 0.0);
    assert_eq!(value("meridian_probes_delayed_total"), 0.0);
    let status = fixture.get("/v1/status").await.json();
    assert_eq!(status["probing"]["probe_faults"]["count"], 1);
    assert!(status["probing"]["troubles"][0].as_str().expect("a sentence").contains("Too many open files"));
    assert_eq!(value("meridian_demand_samples_total"), 1.0);
    assert_eq!(value(r#"meridian_region_offered_ratio{region="seoul@gslb.example"}"#), 1.0);
    assert_eq!(value(r#"meridian_region_held{region="seoul@gslb.example"}"#), 0.0);
    assert_eq!(value(r#"meridian_region_damped{region="seoul@gslb.example"}"#), 0.0);
    assert_eq!(value(r#"meridian_region_dependency_failed{region="seoul@gslb.example"}"#), 0.0);
    assert_eq!(value(r#"meridian_region_failback_delayed{region="seoul@gslb.example"}"#), 0.0);
    assert_eq!(value(r#"meridian_region_awaits_resume{region="seoul@gslb.example"}"#), 0.0);
    assert_eq!(value("meridian_demand_lost_total"), 0.0);
    assert_eq!(value(r#"meridian_region_state{region="seoul@gslb.example",state="up"}"#), 1.0);
    assert_eq!(value(r#"meridian_region_state{region="seoul@gslb.example",state="down"}"#), 0.0);
    assert_eq!(value(r#"meridian_region_endpoints{region="seoul@gslb.example",verdict="down"}"#), 1.0);
    assert_eq!(value(r#"meridian_region_endpoints{region="frankfurt@gslb.example",verdict="unprobed"}"#), 1.0);
    assert_eq!(value(r#"meridian_region_load{region="seoul@gslb.example"}"#), 250.0);
    assert!(
        !metrics.contains_key(r#"meridian_region_load{region="frankfurt@gslb.example"}"#),
        "never reported is no 0"
    );
    assert_eq!(value(r#"meridian_region_load_heard{region="seoul@gslb.example",heard="new"}"#), 1.0);
    assert_eq!(value(r#"meridian_region_load_heard{region="seoul@gslb.example",heard="stale"}"#), 0.0);
    assert_eq!(value(r#"meridian_region_load_doubt{region="seoul@gslb.example",why="units"}"#), 0.0);
    assert_eq!(value(r#"meridian_services{condition="normal"}"#), 2.0);
    assert_eq!(value(r#"meridian_services{condition="unproven"}"#), 1.0, "the heartbeats of its region are awaited");
    assert_eq!(value("meridian_last_load_success"), 1.0);
    assert_eq!(value("meridian_reloads_total"), 0.0);
    assert!(value("meridian_snapshot_generation") >= 1.0);
}

/// Series and values. Fails on lines that are neither, on families without help or type, and on
/// series that are there twice.
fn parse_metrics(text: &str) -> BTreeMap<String, f64> {
    let mut series = BTreeMap::new();
    let mut family = (String::new(), String::new());
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.last(), Some(&"# EOF"));
    for line in &lines[..lines.len() - 1] {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, help) = help.split_once(' ').expect("a name and a help");
            assert!(name.starts_with("meridian_") && help.len() > 5, "{line}");
            family = (name.to_owned(), String::new());
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').expect("a name and a type");
            assert_eq!(name, family.0);
            family.1 = kind.to_owned();
        } else {
            let (name, value) = line.rsplit_once(' ').expect("a series and a value");
            let suffixes = match family.1.as_str() {
                "counter" => &["_total"][..],
                "histogram" => &["_bucket", "_sum", "_count"],
                _ => &[""],
            };
            let bare = name.split('{').next().expect("a name");
            assert!(suffixes.iter().any(|suffix| bare == format!("{}{suffix}", family.0)), "{line}");
            let value: f64 = value.parse().unwrap_or_else(|_| panic!("{line}"));
            assert!(series.insert(name.to_owned(), value).is_none(), "twice: {line}");
        }
    }
    series
}

#[tokio::test]
async fn the_document_tells_of_what_is_there() {
    let fixture = Fixture::start().await;
    let document = fixture.get("/v1/openapi.json").await;
    assert!(document.head.contains("content-type: application/json"), "{}", document.head);
    let document = document.json();
    assert_eq!(document["openapi"], "3.1.0");
    let usages = fixture.get("/nothing").await.json()["details"].clone();
    let mut count = 0;
    for (path, item) in document["paths"].as_object().expect("paths") {
        for method in item.as_object().expect("an item").keys() {
            if path == "/v1/live" {
                count += 1; // goes on for ever: see its own test
                continue;
            }
            let target = path.replace("{name}", "seoul@gslb.example").replace("{origin}", "gslb.example");
            let answer = match method.as_str() {
                "get" => fixture.get(&target).await,
                _ => fixture.post(&target, "", "").await,
            };
            assert!(answer.status != 405, "{method} {path}");
            assert!(!answer.body.contains("there is nothing here"), "{method} {path}: {}", answer.body);
            let said = &item[method]["responses"];
            let said = said.get(answer.status.to_string()).unwrap_or(&said["default"]);
            let said = &said["content"];
            let media = answer.head.lines().find_map(|line| line.strip_prefix("content-type: ")).unwrap_or_default();
            let media = media.split(';').next().unwrap_or_default();
            assert!(said[media].is_object(), "{method} {path} answers {} as {media}, beside {said}", answer.status);
            count += 1;
        }
    }
    assert_eq!(usages.as_array().expect("a list").len(), count, "{usages}");
}

#[tokio::test]
async fn wrong_paths_and_methods_are_told_apart() {
    let fixture = Fixture::start().await;
    let missing = fixture.get("/v2/status").await;
    assert_eq!(missing.status, 404);
    missing.error();
    let wrong = fixture.post("/v1/status", JSON, "{}").await;
    assert_eq!(wrong.status, 405);
    wrong.error();
    assert!(wrong.head.contains("allow: get"), "{}", wrong.head);
    let wrong = fixture.get("/v1/reload").await;
    assert!(wrong.status == 405 && wrong.head.contains("allow: post"), "{}", wrong.head);
    let head = fixture.raw(&format!("HEAD /v1/status HTTP/1.1\r\nHost: {}\r\n\r\n", fixture.address)).await;
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    for answer in [missing, wrong, head] {
        for header in ["x-content-type-options: nosniff", "content-security-policy: ", "cache-control: no-store"] {
            assert!(answer.head.contains(header), "{header} in {}", answer.head);
        }
    }
}

#[tokio::test]
async fn a_token_is_asked_for() {
    let secret = "correct horse battery staple";
    let fixture = Fixture::with_token(Some(secret)).await;
    for target in ["/v1/status", "/metrics", "/readyz", "/nothing", "//", "/./", "/%2e", "/healthz/../v1/status"] {
        let answer = fixture.get(target).await;
        assert!(answer.status == 401 && answer.head.contains("www-authenticate: bearer"), "{target}: {}", answer.head);
    }
    assert_eq!(fixture.get("/healthz").await.status, 200);
    // The page, which asks for the token, opens without; it holds no data.
    let page = fixture.get("/").await;
    assert!(page.status == 200 && page.body.contains("Admin token") && !page.body.contains("gslb.example@"));
    for target in ["/page/app.js", "/page/app.css", "/page/status.md"] {
        assert_eq!(fixture.get(target).await.status, 200, "{target}");
    }
    for target in ["/page", "/page/../v1/status", "/pages/app.js"] {
        assert_eq!(fixture.get(target).await.status, 401, "{target}");
    }
    for target in ["/page/", "/page/..%2fv1%2fstatus", "/page/nothing"] {
        assert_eq!(fixture.get(target).await.status, 404, "{target}");
    }
    assert_eq!(fixture.post("/", "", "{}").await.status, 401);
    let error = fixture.client().status().await.expect_err("no token").to_string();
    assert!(error.contains("give the admin token"), "{error}");
    let wrong = AdminClient::new(fixture.address, Some("correct horse battery stable".into())).expect("a client");
    assert!(matches!(wrong.status().await, Err(ClientError::Refused { status: 401, .. })));
    let right = AdminClient::new(fixture.address, Some(secret.into())).expect("a client");
    assert!(right.status().await.is_ok());
    assert!(right.set_override("frankfurt", Override::Down).await.is_ok());
    // With a token any name of the host will do: it need not be this machine's.
    let request =
        format!("GET /v1/status HTTP/1.1\r\nHost: gslb1.example:8053\r\nAuthorization: Bearer {secret}\r\n\r\n");
    assert_eq!(fixture.raw(&request).await.status, 200);
}

#[tokio::test]
async fn browsers_on_this_machine_cannot_be_made_to_ask() {
    let fixture = Fixture::start().await;
    let rebound = fixture.raw("GET /v1/status HTTP/1.1\r\nHost: evil.example:8053\r\n\r\n").await;
    assert_eq!(rebound.status, 403);
    assert!(rebound.error().contains("evil.example"));
    assert_eq!(fixture.raw("GET /v1/status HTTP/1.1\r\n\r\n").await.status, 400);
    let target = "/v1/regions/frankfurt/override";
    let body = r#"{"override":"down"}"#;
    for headers in ["Origin: http://evil.example\r\n", "Origin: null\r\n", "Sec-Fetch-Site: cross-site\r\n"] {
        let answer = fixture.post(target, &format!("{JSON}{headers}"), body).await;
        assert_eq!(answer.status, 403, "{headers}");
    }
    assert_eq!(fixture.client().status().await.expect("a status")["regions"][1]["state"], "up");
    let own = format!("{JSON}Origin: http://{}\r\nSec-Fetch-Site: same-origin\r\n", fixture.address);
    assert_eq!(fixture.post(target, &own, body).await.status, 200);
}

#[tokio::test]
async fn what_is_not_http_harms_nobody() {
    let fixture = Fixture::start().await;
    for garbage in ["\r\n\r\n", "\0\0\0\0", "GET / HTTP/9.9\r\n\r\n", "GET\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"]
    {
        let mut stream = TcpStream::connect(fixture.address).await.expect("connected");
        stream.write_all(garbage.as_bytes()).await.expect("sent");
        stream.shutdown().await.expect("shut");
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest).await;
        assert!(!rest.starts_with(b"HTTP/1.1 200"), "{garbage:?}");
    }
    let long = format!("GET /{} HTTP/1.1\r\nHost: localhost\r\n\r\n", "x".repeat(100_000));
    assert!((400..500).contains(&fixture.raw(&long).await.status) || fixture.raw(&long).await.status == 0);
    assert_eq!(fixture.get("/healthz").await.status, 200);
}

#[tokio::test]
async fn those_who_hold_all_places_without_a_whole_request_keep_no_operator_waiting() {
    let unfinished_header = "GET / HTTP/1.1\r\nHost: loc";
    let slow_body =
        "POST /v1/latency HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/csv\r\nContent-Length: 999\r\n\r\nx";
    for said in ["", unfinished_header, slow_body] {
        let fixture = Fixture::start().await;
        let mut held = Vec::new();
        for _ in 0..100 {
            let mut stream = TcpStream::connect(fixture.address).await.expect("connected");
            stream.write_all(said.as_bytes()).await.expect("sent");
            held.push(stream);
        }
        for _ in 0..3 {
            let asked = fixture.get("/healthz");
            let answer = tokio::time::timeout(Duration::from_secs(1), asked).await.expect("answered within a second");
            assert_eq!(answer.status, 200);
        }
        let metrics = parse_metrics(&fixture.get("/metrics").await.body);
        assert!(metrics["meridian_admin_connections_yielded_total"] >= 36.0, "{said}");
        assert_eq!(metrics[r#"meridian_admin_connections{state="working"}"#], 1.0);
    }
}

#[tokio::test]
async fn a_slow_request_is_taken_while_another_address_holds_all_places() {
    let fixture = Fixture::start().await;
    let mut slow = TcpStream::connect(fixture.address).await.expect("connected");
    let head =
        "POST /v1/reload HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{";
    slow.write_all(head.as_bytes()).await.expect("sent");
    let mut held = Vec::new();
    for _ in 0..200 {
        let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
        socket.bind("127.0.0.2:0".parse().expect("an address")).expect("bound");
        let mut stream = socket.connect(fixture.address).await.expect("connected");
        let _ = stream.write_all(b"GET").await;
        held.push(stream);
    }
    slow.write_all(b"}").await.expect("sent");
    let mut answer = String::new();
    slow.read_to_string(&mut answer).await.expect("read");
    assert_eq!(Answer::parse(&answer).status, 200, "{answer}");
}

#[tokio::test]
async fn the_server_stops_when_told() {
    let mut fixture = Fixture::start().await;
    fixture.stop.take().expect("once").send(()).expect("it listens");
    let ended = tokio::time::timeout(Duration::from_secs(3), &mut fixture.serving).await;
    assert!(matches!(ended, Ok(Ok(Ok(())))));
    let error = fixture.client().status().await.expect_err("gone").to_string();
    assert!(error.contains("is `meridian serve` running?") && error.contains("refused"), "{error}");
}

#[tokio::test]
async fn the_client_says_when_something_else_answers() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 1024];
            let _ = stream.read(&mut request).await;
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>").await;
        }
    });
    let error = AdminClient::new(address, None).expect("a client").status().await.expect_err("no JSON").to_string();
    assert!(error.contains("does not answer as meridian does"), "{error}");
}

#[tokio::test]
async fn the_page_allows_nothing_but_itself() {
    let fixture = Fixture::start().await;
    let page = fixture.get("/").await;
    assert_eq!(page.status, 200);
    assert!(page.head.contains("content-type: text/html") && page.body.starts_with("<!doctype html>"), "{}", page.head);
    let policy = page.head.lines().filter(|line| line.starts_with("content-security-policy:")).collect::<Vec<_>>();
    assert_eq!(policy.len(), 1, "{policy:?}");
    assert!(policy[0].contains("default-src 'none'") && !policy[0].contains("unsafe"), "{policy:?}");
    let script = fixture.get("/page/app.js").await;
    assert!(script.head.contains("content-type: text/javascript") && script.head.contains("etag: "), "{}", script.head);
    assert!(!script.head.contains("content-encoding"), "nobody asked for it compressed: {}", script.head);
}

#[tokio::test]
async fn flows_tell_where_clients_are_and_where_they_are_sent() {
    let fixture = Fixture::start().await;
    let all = fixture.get("/v1/flows").await.json();
    let places = all["places"].as_array().expect("places");
    assert!(!places.is_empty() && places.len() <= 300, "{all}");
    let sent: f64 = places
        .iter()
        .flat_map(|place| place["ways"].as_array().expect("ways"))
        .map(|way| way["amount"].as_f64().expect("an amount"))
        .sum();
    assert!((sent - all["amount"].as_f64().expect("an amount")).abs() < 1e-6, "{all}");
    let one = fixture.get("/v1/flows?service=www.gslb.example").await.json();
    assert_eq!(one["service"], "www.gslb.example");
    assert_eq!(fixture.get("/v1/flows?service=nowhere").await.status, 404);
    assert_eq!(fixture.get("/v1/flows?services=www").await.status, 400);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn overrides_that_cannot_be_read_are_told_and_stop_no_answers() {
    let directory = tempfile::tempdir().expect("a directory");
    let _ = loaded(directory.path());
    let zone_file = directory.path().join("zones/gslb.example.toml");
    std::fs::write(&zone_file, without_checks(ZONE)).expect("written");
    let main = directory.path().join("meridian.toml");
    let settings = std::fs::read_to_string(&main).expect("the settings");
    std::fs::write(&main, format!("state = \"state\"\n{settings}")).expect("written");
    std::fs::create_dir(directory.path().join("state")).expect("made");
    let kept = directory.path().join("state/overrides.json");
    std::fs::write(&kept, "\0\0\0\0").expect("written");
    let source = Arc::new(Files(main));
    let prepared = prepare(&*source).unwrap_or_else(|mistakes| panic!("{mistakes:?}"));
    let daemon = Daemon::start(source, prepared).await.unwrap_or_else(|mistakes| panic!("{mistakes:?}"));
    let client = AdminClient::new(daemon.admin.expect("listening"), None).expect("a client");
    let told = client.status().await.expect("a status")["overrides_error"].to_string();
    assert!(told.contains("overrides.json"), "{told}");
    let told = client.status().await.expect("a status")["state_files"][0].clone();
    assert_eq!((&told["file"], &told["kind"]), (&json!("overrides.json"), &json!("set_aside")));
    let aside = std::fs::read_dir(directory.path().join("state")).expect("a directory");
    let aside = aside
        .map(|entry| entry.expect("an entry").path())
        .find(|path| path.display().to_string().contains(".corrupt-"));
    let aside = aside.expect("set aside");
    assert_eq!(std::fs::read_to_string(&aside).expect("there"), "\0\0\0\0");
    assert!(told["error"].as_str().is_some_and(|error| error.contains(&aside.display().to_string())), "{told}");
    let gone = r#"{"version": 1, "overrides": {"frankfurt@gslb.example": "drain", "atlantis@gslb.example": "down"}}"#;
    std::fs::write(&kept, gone).expect("mended");
    let said = client.set_override("atlantis", Override::Auto).await.expect("taken back");
    assert_eq!((said.region.as_str(), said.effective.as_str()), ("atlantis@gslb.example", "not configured"));
    assert!(said.follows[0].contains("no zone has this region any more"), "{said:?}");
    let status = client.status().await.expect("a status");
    assert_eq!((&status["overrides_error"], &status["regions"][1]["state"]), (&Value::Null, &json!("drain")));
    assert_eq!(status["state_files"].as_array().map(Vec::len), Some(1), "for as long as it lies there");
    std::fs::remove_file(aside).expect("removed");
    client.reload(false).await.expect("taken");
    assert_eq!(client.status().await.expect("a status")["state_files"], json!([]));
    daemon.stop().await;
}

/// A zone whose regions are neither probed nor asked for their load.
fn without_checks(zone: &str) -> String {
    zone.lines()
        .filter(|line| !line.starts_with("check") && !line.starts_with("load_report"))
        .map(|line| format!("{line}\n"))
        .collect()
}

/// Files in a directory.
struct Files(std::path::PathBuf);

impl ConfigSource for Files {
    fn load(&self) -> Result<Loaded, Vec<String>> {
        config::load(&self.0).map_err(|mistakes| mistakes.iter().map(ToString::to_string).collect())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_whole_daemon_reloads_by_its_api_and_keeps_the_old_on_mistakes() {
    let directory = tempfile::tempdir().expect("a directory");
    let zone_file = directory.path().join("zones/gslb.example.toml");
    let _ = loaded(directory.path());
    let unchecked = without_checks(ZONE);
    std::fs::write(&zone_file, &unchecked).expect("written");
    let source = Arc::new(Files(directory.path().join("meridian.toml")));
    let prepared = prepare(&*source).unwrap_or_else(|mistakes| panic!("{mistakes:?}"));
    let daemon = Daemon::start(source, prepared).await.unwrap_or_else(|mistakes| panic!("{mistakes:?}"));
    let client = AdminClient::new(daemon.admin.expect("listening"), None).expect("a client");
    std::fs::write(&zone_file, unchecked.replace("weight = 4", "wieght = 4").replace("\"30s\"", "\"30x\""))
        .expect("written");
    let error = client.reload(false).await.expect_err("two mistakes");
    let ClientError::Refused { status: 422, details, .. } = error else { panic!("{error}") };
    for mistake in ["`wieght`", "`ttl` is not a TTL"] {
        assert!(details.iter().any(|told| told.contains(mistake)), "all at once: {mistake} in {details:?}");
    }
    let status = client.status().await.expect("a status");
    assert_eq!((&status["last_load"]["ok"], &status["reloads"]), (&json!(false), &json!(0)));
    let explained = client.explain("www.gslb.example", "10.82.0.1", "A", Some("source")).await.expect("still served");
    assert_eq!(explained["answer"]["rcode"], "NOERROR");
    std::fs::write(&zone_file, unchecked.replace("\"30s\"", "\"20s\"")).expect("written");
    client.reload(false).await.expect("taken");
    let status = client.status().await.expect("a status");
    assert_eq!((&status["last_load"]["ok"], &status["reloads"]), (&json!(true), &json!(1)));
    assert_eq!(status["services"][0]["ttl_s"], 20);
    daemon.stop().await;
}

/// Three nodes, of which one serves another model and one says something at itself alone.
fn of_three_nodes() -> ClusterStatus {
    let node = |name: &str, model: &str, here: Value| {
        json!({ "name": name, "address": "10.0.0.1:8054", "version": "0.1.0", "model": model, "reloads": 0, "ready": true,
            "heard_s": 0.5, "silent_s": if name == "n1" { None } else { Some(0.5) }, "generation": 7, "plan": [12, 4],
            "connects": [], "here": here })
    };
    let here = json!([{ "key": "overrides/seoul@gslb.example", "said": "`drain`", "unix_ms": 0 }]);
    serde_json::from_value(json!({
        "cluster": "prod", "node": "n1", "model": "aaaaaaaa", "role": "follower", "leader": "n3",
        "plan": { "epoch": 12, "number": 4, "node": "n3", "bytes": 9, "made_unix_ms": 0, "age_s": 8.0, "taken": true },
        "etcd": { "there": true, "endpoint": null, "version": null, "away_s": null, "error": null, "revision": 9 },
        "nodes": [node("n1", "aaaaaaaa", json!([])), node("n2", "aaaaaaaa", here), node("n3", "bbbbbbbb", json!([]))],
        "counts": { "writes": 5, "sent_bytes": 100, "received_bytes": 200, "refused_plans": 1, "refused_words": 2 },
    }))
    .expect("a cluster")
}

/// Answers as the cluster's loop does.
async fn answer_cluster(mut asked: Asked) {
    while let Some(ask) = asked.next().await {
        match ask {
            Ask::Sights(reply) => {
                let mut sights = of_three_nodes();
                sights.nodes[1].sees.push(Default::default());
                sights.nodes[1].sees[0].verdict = "down".into();
                _ = reply.send(sights);
            }
            Ask::Statuses(reply) => {
                let of = |node: &str, status| StatusOf { node: node.into(), status };
                let good = br#"{"version": "0.1.0"}"#.to_vec();
                _ = reply.send(vec![
                    of("n2", Ok(good)),
                    of("n3", Err("n3 does not answer".into())),
                    of("n4", Ok(b"<html>".into())),
                ]);
            }
            _ => {}
        }
    }
}

#[tokio::test]
async fn a_server_of_no_cluster_says_so() {
    let fixture = Fixture::start().await;
    for target in ["/v1/nodes", "/v1/nodes/status"] {
        let answer = fixture.get(target).await;
        assert_eq!(answer.status, 404);
        assert!(answer.error().contains("has no `[cluster]`"), "{}", answer.body);
    }
    assert_eq!(fixture.client().status().await.expect("a status")["cluster"], Value::Null);
    assert!(!fixture.get("/metrics").await.body.contains("meridian_cluster"));
}

#[tokio::test]
async fn a_cluster_is_shown_with_what_is_wrong_in_it() {
    let (handle, asked) = ClusterHandle::new();
    asked.show(of_three_nodes());
    tokio::spawn(answer_cluster(asked));
    let fixture = Fixture::of(None, Some(handle)).await;
    let nodes = fixture.client().nodes().await.expect("the nodes");
    assert_eq!((&nodes["leader"], &nodes["nodes"][1]["sees"][0]["verdict"]), (&json!("n3"), &json!("down")));

    let statuses = fixture.client().statuses().await.expect("the statuses");
    assert_eq!((&statuses["cluster"], &statuses["nodes"][0]["node"]), (&json!("prod"), &json!("n1")));
    assert_eq!(statuses["nodes"][0]["status"]["zones"][0], "gslb.example.");
    assert_eq!(statuses["nodes"][1]["status"]["version"], "0.1.0");
    assert_eq!(statuses["nodes"][2], json!({ "node": "n3", "status": null, "error": "n3 does not answer" }));
    assert_eq!(statuses["nodes"][3]["error"], "what it says is no JSON");

    let status = fixture.client().status().await.expect("a status");
    assert_eq!(status["planning"]["of_node"], "n3");
    let troubles = status["summary"]["troubles"].as_array().expect("troubles");
    let of = |node: &str, what: &str| {
        let found = troubles.iter().filter(|trouble| trouble["of"] == node);
        assert!(found.clone().any(|of| of["what"].as_str().is_some_and(|told| told.contains(what))), "{troubles:?}");
    };
    of("n3", "ANOTHER MODEL");
    of("n2", "`drain` of seoul@gslb.example was said here, and holds at this node ALONE");
    let why = fixture.client().explain("www.gslb.example", "10.82.1.7", "A", None).await.expect("explained");
    assert_eq!(why["planning"]["of_node"], "n3");

    let metrics = fixture.get("/metrics").await.body;
    for told in [
        "meridian_cluster_store_up 1\n",
        "meridian_cluster_nodes 3\n",
        "meridian_cluster_role{role=\"follower\"} 1\n",
        "meridian_cluster_role{role=\"leader\"} 0\n",
        "meridian_cluster_plan_epoch 12\n",
        "meridian_cluster_plan_number 4\n",
        "meridian_cluster_plan_age_seconds 8.0\n",
        "meridian_cluster_peer_heard_seconds{node=\"n3\"} 0.5\n",
        "meridian_cluster_words_here 1\n",
        "meridian_cluster_store_writes_total 5\n",
        "meridian_cluster_peer_bytes_total{direction=\"received\"} 200\n",
        "meridian_cluster_refused_total{what=\"word\"} 2\n",
    ] {
        assert!(metrics.contains(told), "{told} is not in:\n{metrics}");
    }
    assert!(!metrics.contains("meridian_cluster_peer_heard_seconds{node=\"n1\"}"), "that is this node");
}

/// Reads from a stream until this has come; fails after ten seconds.
async fn read_until(stream: &mut TcpStream, seen: &mut String, wanted: &str) {
    let reading = async {
        while !seen.contains(wanted) {
            let mut octets = [0; 64 * 1024];
            let count = stream.read(&mut octets).await.expect("read");
            assert!(count > 0, "it ended without {wanted}: {seen}");
            seen.push_str(&String::from_utf8_lossy(&octets[..count]));
        }
    };
    tokio::time::timeout(Duration::from_secs(10), reading).await.unwrap_or_else(|_| panic!("no {wanted} in {seen}"));
}

#[tokio::test]
async fn live_streams_tell_the_status_and_events_and_end_with_the_server() {
    let mut fixture = Fixture::start().await;
    let open = async |headers: &str| {
        let mut stream = TcpStream::connect(fixture.address).await.expect("connected");
        let request = format!("GET /v1/live HTTP/1.1\r\nHost: {}\r\n{headers}\r\n", fixture.address);
        stream.write_all(request.as_bytes()).await.expect("sent");
        stream
    };
    let (mut stream, mut seen) = (open("").await, String::new());
    read_until(&mut stream, &mut seen, "event: status\ndata: {").await;
    assert!(seen.to_ascii_lowercase().contains("content-type: text/event-stream"), "{seen}");
    read_until(&mut stream, &mut seen, "\n\n").await;
    fixture.client().set_override("frankfurt", Override::Drain).await.expect("said");
    read_until(&mut stream, &mut seen, "event: event\nid: ").await;
    read_until(&mut stream, &mut seen, "\"after\":\"drain\"").await;
    read_until(&mut stream, &mut seen, "event: drain\ndata: {\"region\":\"frankfurt@gslb.example\",\"drain\":{").await;
    fixture.client().set_override("frankfurt", Override::Auto).await.expect("said");
    read_until(&mut stream, &mut seen, "{\"region\":\"frankfurt@gslb.example\",\"drain\":null}").await;
    let generation = fixture.client().status().await.expect("a status")["generation"].to_string();
    read_until(&mut stream, &mut seen, &format!("\"generation\":{generation}")).await;
    // Who was away hears what it missed.
    let (mut again, mut missed) = (open("Last-Event-ID: 0\r\n").await, String::new());
    read_until(&mut again, &mut missed, "\"after\":\"drain\"").await;
    let mut others = Vec::new();
    for _ in 0..6 {
        let (mut other, mut seen) = (open("").await, String::new());
        read_until(&mut other, &mut seen, "event: status").await;
        others.push(other);
    }
    let ninth = fixture.get("/v1/live").await;
    assert!(ninth.status == 503 && ninth.error().contains("8 live streams"), "{}", ninth.body);
    drop(others);
    let freed = async {
        loop {
            let (mut other, mut octets) = (open("").await, [0; 64]);
            let count = other.read(&mut octets).await.expect("read");
            if octets[..count].starts_with(b"HTTP/1.1 200") {
                break;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(10), freed).await.expect("who goes makes room");
    fixture.stop.take().expect("once").send(()).expect("it listens");
    let mut rest = Vec::new();
    let ended = tokio::time::timeout(Duration::from_secs(3), stream.read_to_end(&mut rest)).await;
    assert!(matches!(ended, Ok(Ok(_))), "{ended:?}");
    assert!(matches!(tokio::time::timeout(Duration::from_secs(3), &mut fixture.serving).await, Ok(Ok(Ok(())))));
}

/// A fixture with a token of each role.
async fn with_roles() -> (Fixture, [(Role, String); 3]) {
    let fixture = Fixture::start().await;
    let made = Role::ALL.map(|role| (role, NewToken::make(&format!("a-{}", role.as_str()), role).expect("made")));
    let lines: String = made.iter().map(|(_, token)| token.lines.as_str()).collect();
    access::renew(&fixture.access.tokens, Some(Tokens::parse(&lines).expect("tokens")));
    (fixture, made.map(|(role, token)| (role, format!("Authorization: Bearer {}\r\n", token.secret))))
}

#[tokio::test]
async fn roles_say_what_a_token_opens() {
    let (fixture, tokens) = with_roles().await;
    let region = "/v1/regions/seoul@other.example";
    let posts = [
        (Role::Operate, format!("{region}/override"), r#"{"override": "auto"}"#, 200),
        (Role::Operate, format!("{region}/load"), r#"{"load": 1}"#, 200),
        (Role::Operate, format!("{region}/heartbeat"), "", 200),
        (Role::Operate, "/v1/services/www.gslb.example/switch".into(), r#"{"stage": "x"}"#, 409),
        (Role::Operate, "/v1/what-if".into(), r#"{"kill": ["frankfurt"]}"#, 200),
        (Role::Operate, "/v1/node/drain".into(), "", 200),
        (Role::Operate, "/v1/node/resume".into(), "", 200),
        (Role::Admin, "/v1/latency".into(), "[]", 422),
        (Role::Admin, "/v1/reload".into(), "", 200),
    ];
    for (role, token) in &tokens {
        for (needed, target, body, status) in &posts {
            let answer = fixture.post(target, &format!("{JSON}{token}"), body).await;
            let (may, got) = (role >= needed, answer.status);
            assert_eq!(got == 403, !may, "{role:?} {target}: {got} {}", answer.body);
            if may {
                assert!(
                    got == *status || (400..500).contains(&got) && *status != 200,
                    "{role:?} {target}: {got} {}",
                    answer.body
                );
            } else {
                let expected = format!("a-{} has the role `{0}`, and this takes `{}`", role.as_str(), needed.as_str());
                assert_eq!(answer.error(), expected);
            }
        }
        for target in ["/v1/status", "/v1/regions", "/v1/audit", "/metrics", "/v1/openapi.json"] {
            let request = format!("GET {target} HTTP/1.1\r\nHost: gslb1.example\r\n{token}\r\n");
            assert_eq!(fixture.raw(&request).await.status, 200, "{role:?} {target}");
        }
        assert_eq!(fixture.get("/v1/status").await.status, 401, "loopback alone is not enough any more");
    }
    // The document says the same.
    let request = format!("GET /v1/openapi.json HTTP/1.1\r\nHost: localhost\r\n{}\r\n", tokens[0].1);
    let document = fixture.raw(&request).await.json();
    assert_eq!(document["paths"]["/v1/reload"]["post"]["x-role"], "admin");
    assert_eq!(document["paths"]["/v1/what-if"]["post"]["x-role"], "operate");
    assert_eq!(document["paths"]["/v1/status"]["get"]["x-role"], "read");
}

#[tokio::test]
async fn who_asked_for_a_change_is_recorded_whatever_came_of_it() {
    let (fixture, [(_, reader), (_, operator), (_, admin)]) = with_roles().await;
    let said = async |region: &str, token: &str, word: &str| {
        let target = format!("/v1/regions/{region}/override");
        let body = format!("{{\"override\": \"{word}\"}}");
        fixture.post(&target, &format!("{JSON}{token}"), &body).await.status
    };
    assert_eq!(said("frankfurt", &operator, "drain").await, 200);
    assert_eq!(said("frankfurt", &admin, "down").await, 200);
    assert_eq!(said("atlantis", &operator, "up").await, 404);
    assert_eq!(said("frankfurt", &reader, "up").await, 403);
    assert_eq!(fixture.post("/v1/node/drain", &format!("{JSON}{operator}"), "").await.status, 200);
    assert_eq!(fixture.post(PUSH, &format!("{JSON}{operator}"), r#"{"load": 1}"#).await.status, 200);
    let get = async |target: &str| {
        let answer = fixture.raw(&format!("GET {target} HTTP/1.1\r\nHost: x\r\n{reader}\r\n")).await;
        answer.json()
    };
    let found = get("/v1/audit").await;
    let entries = found["entries"].as_array().expect("entries");
    let of = |index: usize, keys: [&str; 5]| keys.map(|key| entries[index][key].clone());
    let what = ["who", "before", "after", "outcome", "status"];
    assert_eq!(of(0, what), [json!("a-operate"), json!("auto"), json!("drain"), json!("done"), json!(200)]);
    assert_eq!(of(1, what), [json!("a-admin"), json!("drain"), json!("down"), json!("done"), json!(200)]);
    assert_eq!(of(2, what), [json!("a-operate"), json!(null), json!(null), json!("rejected"), json!(404)]);
    assert_eq!(of(3, what), [json!("a-read"), json!(null), json!(null), json!("rejected"), json!(403)]);
    assert_eq!(of(4, what), [json!("a-operate"), json!("not drained"), json!("drained"), json!("done"), json!(200)]);
    assert_eq!(entries.len(), 5, "loads and heartbeats come every few seconds, and are no changes by people");
    assert_eq!(
        (&entries[0]["what"], &entries[0]["from"]),
        (&json!("POST /v1/regions/frankfurt/override"), &json!("127.0.0.1"))
    );
    assert_eq!(entries[0]["asked"], r#"{"override": "drain"}"#);
    assert!(entries[2]["why"].as_str().is_some_and(|why| why.contains("no region is called `atlantis`")), "{found}");
    let status = get("/v1/status").await;
    let note = status["summary"]["troubles"].as_array().into_iter().flatten().find(|of| of["of"] == "admin API");
    let note = note.expect("a note");
    let told = "a-read asked for POST /v1/regions/frankfurt/override, which was rejected: a-read has the role";
    assert!(note["level"] == "ok" && note["what"].as_str().is_some_and(|what| what.starts_with(told)), "{note}");
    let rejected = status["rejected"].clone();
    assert_eq!((&rejected["who"], &rejected["id"]), (&json!("a-read"), &entries[3]["id"]));
    assert!(rejected["why"].as_str().is_some_and(|why| why.contains("this takes `operate`")), "{rejected}");
    let after = get(&format!("/v1/audit?after={}&limit=1", entries[1]["id"])).await;
    assert_eq!((&after["entries"][0]["id"], &after["left_out"]), (&entries[2]["id"], &json!(2)));
    let path = fixture.state.path().join("audited/audit.jsonl");
    let written = async {
        while std::fs::read_to_string(&path).unwrap_or_default().matches("\"outcome\"").count() < 5 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), written).await.expect("written");
    assert_eq!(fixture.audit.find(None, 9).last_id, 5);
}

#[tokio::test]
async fn two_operators_do_not_overwrite_each_other_unseen() {
    let (fixture, [_, (_, operator), (_, admin)]) = with_roles().await;
    let tag = async |target: &str| {
        let answer = fixture.raw(&format!("GET {target} HTTP/1.1\r\nHost: x\r\n{admin}\r\n")).await;
        let line = answer.head.lines().find_map(|line| line.strip_prefix("etag: ").map(str::to_owned));
        line.unwrap_or_else(|| panic!("{}", answer.head))
    };
    let say = async |token: &str, condition: &str, word: &str| {
        let body = format!("{{\"override\": \"{word}\"}}");
        fixture.post("/v1/regions/frankfurt/override", &format!("{JSON}{token}{condition}"), &body).await
    };
    let region = "/v1/regions/frankfurt@gslb.example";
    let seen = tag(region).await;
    assert_eq!(seen, tag(region).await);
    assert_eq!(say(&operator, &format!("If-Match: {seen}\r\n"), "drain").await.status, 200);
    let late = say(&admin, &format!("If-Match: {seen}\r\n"), "up").await;
    assert_eq!(late.status, 412);
    let told = late.error();
    assert!(
        told.contains(
            "frankfurt@gslb.example is not as you have seen it: it is `drain` now; a-operate changed it at 20"
        ),
        "{told}"
    );
    let now = tag(region).await;
    assert!(now != seen && late.json()["details"][0] == format!("ETag: {now}"), "{}", late.body);
    let taken = say(&admin, &format!("If-Match: {now}\r\n"), "up").await;
    assert_eq!(taken.status, 200);
    assert!(taken.head.contains(&format!("etag: {}", tag(region).await)), "{}", taken.head);
    assert_eq!(say(&operator, "", "down").await.status, 200, "without a condition as ever");
    assert_eq!(say(&operator, "If-Match: *\r\n", "auto").await.status, 200);
    assert!(tag("/v1/services/www.gslb.example").await.ends_with(".0.\""), "no stage, never switched");
    // What has not changed is not told again.
    let status = tag("/v1/status").await;
    let known =
        format!("GET /v1/status HTTP/1.1\r\nHost: x\r\n{admin}If-None-Match: {}\r\n\r\n", status.replace("w/", "W/"));
    let again = fixture.raw(&known).await;
    assert_eq!((again.status, again.body.as_str()), (304, ""));
}

/// A whole daemon on files, with more settings.
async fn daemon_with(directory: &Path, settings: &str) -> Daemon {
    let _ = loaded(directory);
    std::fs::write(directory.join("zones/gslb.example.toml"), without_checks(ZONE)).expect("written");
    std::fs::write(directory.join("zones/other.example.toml"), without_checks(OTHER_ZONE)).expect("written");
    let main = directory.join("meridian.toml");
    std::fs::write(&main, format!("{settings}\n{MAIN}")).expect("written");
    let source = Arc::new(Files(main));
    let prepared = prepare(&*source).unwrap_or_else(|mistakes| panic!("{mistakes:?}"));
    Daemon::start(source, prepared).await.unwrap_or_else(|mistakes| panic!("{mistakes:?}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_are_read_again_with_a_reload_and_the_socket_of_this_machine_needs_none() {
    use std::os::unix::fs::{FileTypeExt, PermissionsExt};
    let directory = tempfile::tempdir().expect("a directory");
    let (alice, bob) = (NewToken::make("alice", Role::Admin), NewToken::make("bob", Role::Admin));
    let (alice, bob) = (alice.expect("made"), bob.expect("made"));
    let (tokens, socket) = (directory.path().join("tokens.toml"), directory.path().join("admin.sock"));
    std::fs::write(&tokens, &alice.lines).expect("written");
    std::os::unix::net::UnixListener::bind(&socket).expect("left behind by one that was killed");
    let settings = "admin = { tokens_file = \"tokens.toml\", socket = \"admin.sock\", socket_mode = \"660\" }";
    let daemon = daemon_with(directory.path(), settings).await;
    let metadata = std::fs::metadata(&socket).expect("a socket");
    assert!(metadata.file_type().is_socket() && metadata.permissions().mode() & 0o777 == 0o660);
    let by = |token: &str| AdminClient::new(daemon.admin.expect("listening"), Some(token.into())).expect("a client");
    assert!(by(&alice.secret).status().await.is_ok() && by(&bob.secret).status().await.is_err());
    let here = AdminClient::here(&socket, None).expect("a client");
    std::fs::write(&tokens, format!("{}role = \"root\"", bob.lines)).expect("written");
    let error = here.reload(false).await.expect_err("a mistake").to_string();
    assert!(error.contains("tokens.toml") && error.contains("role"), "{error}");
    assert!(by(&alice.secret).status().await.is_ok(), "what was before holds");
    std::fs::write(&tokens, &bob.lines).expect("written");
    here.reload(false).await.expect("taken");
    assert!(by(&alice.secret).status().await.is_err() && by(&bob.secret).status().await.is_ok());
    here.set_override("frankfurt", Override::Drain).await.expect("said");
    let audit = by(&bob.secret).status().await.expect("a status")["rejected"]["who"].clone();
    assert!(audit.as_str().is_some_and(|who| who.starts_with("uid ")), "the reload that failed: {audit}");
    daemon.stop().await;
}

/// What is resident of this process, in MiB.
fn resident_mib() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    let pages: u64 = statm.split(' ').nth(1).and_then(|pages| pages.parse().ok()).expect("a number");
    pages * 4096 / (1 << 20)
}

/// Asks by UDP until it is told to stop: how often, and the longest wait for an answer.
async fn ask_on(dns: SocketAddr, mut stop: oneshot::Receiver<()>) -> (usize, Duration) {
    let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
    socket.connect(dns).await.expect("connected");
    let (mut asked, mut longest) = (0u16, Duration::ZERO);
    while stop.try_recv().is_err() {
        asked += 1;
        let mut query = vec![0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        query[..2].copy_from_slice(&asked.to_be_bytes());
        query.extend_from_slice(b"\x03www\x04gslb\x07example\0\0\x01\0\x01");
        let began = std::time::Instant::now();
        socket.send(&query).await.expect("sent");
        let mut answer = [0; 512];
        let received = tokio::time::timeout(Duration::from_secs(5), socket.recv(&mut answer)).await;
        let length = received.expect("an answer whatever is done to the admin API").expect("received");
        assert!(length > 12 && answer[..2] == asked.to_be_bytes() && answer[3] & 15 == 0 && answer[7] == 1);
        longest = longest.max(began.elapsed());
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    (asked.into(), longest)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_is_done_to_the_admin_api_answers_go_on_and_memory_stays() {
    let directory = tempfile::tempdir().expect("a directory");
    let reader = NewToken::make("reader", Role::Read).expect("made");
    std::fs::write(directory.path().join("tokens.toml"), &reader.lines).expect("written");
    let daemon = daemon_with(directory.path(), "admin.tokens_file = \"tokens.toml\"").await;
    let admin = daemon.admin.expect("listening");
    let (stop, stopped) = oneshot::channel();
    let asking = tokio::spawn(ask_on(daemon.dns[0], stopped));
    let before = resident_mib();
    let bearer = format!("Authorization: Bearer {}\r\n", reader.secret);
    let head = |target: &str, rest: &str| format!("POST {target} HTTP/1.1\r\nHost: x\r\n{rest}\r\n");
    let target = "/v1/regions/seoul/override";
    let whole =
        |body: &str, rest: &str| head(target, &format!("{JSON}Content-Length: {}\r\n{rest}", body.len())) + body;
    let junk = "x".repeat(1 << 20);
    let attacks: Vec<(String, &[u16])> = vec![
        (format!("GET / HTTP/1.1\r\nHost: x\r\nX: {junk}\r\n\r\n"), &[431, 0]),
        (format!("GET /{junk} HTTP/1.1\r\nHost: x\r\n\r\n"), &[400, 414, 431, 0]),
        ("GET / HTTP/1.1\r\nHost: x\r\n".to_owned() + &"A: b\r\n".repeat(2000) + "\r\n", &[431, 0]),
        (whole(&junk, &bearer), &[403, 413, 0]),
        (whole(r#"{"override": "down"}"#, ""), &[401]),
        (whole(r#"{"override": "down"}"#, &bearer), &[403]),
        (whole(r#"{"override": "down"}"#, "Authorization: Bearer meridian_guess\r\n"), &[401]),
        (head(target, &format!("{JSON}{bearer}Content-Length: 99999999999999999999\r\n")), &[400, 0]),
        (
            head(target, &format!("{JSON}{bearer}Transfer-Encoding: chunked\r\n")) + "fffffffffffffffff\r\n",
            &[400, 403, 0],
        ),
        ("\0\x01\x02\x16\x03\x01\r\n\r\n".to_owned(), &[400, 0]),
        (format!("GET /v1/zones?after={} HTTP/1.1\r\nHost: x\r\n{bearer}\r\n", "%00".repeat(2000)), &[200]),
        (format!("GET /v1/regions/{} HTTP/1.1\r\nHost: x\r\n{bearer}\r\n", "%ff".repeat(2000)), &[400]),
    ];
    let send = async |request: &str| {
        let mut stream = TcpStream::connect(admin).await.expect("connected");
        let _ = stream.write_all(request.as_bytes()).await;
        let mut answer = Vec::new();
        let _ = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut answer)).await;
        Answer::parse(&String::from_utf8_lossy(&answer)).status
    };
    for (request, expected) in &attacks {
        for _ in 0..5 {
            let status = send(request).await;
            assert!(expected.contains(&status), "{status} for {:.80}", request);
        }
    }
    // 2,000 connections that send a little and wait, a few of which are let in at a time.
    let slow = async |index: usize| {
        let mut stream = tokio::time::timeout(Duration::from_secs(20), TcpStream::connect(admin)).await.ok()?.ok()?;
        let parts = [
            "",
            "G",
            "GET /v1/status HTTP/1.1\r\nHo",
            "POST /v1/reload HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{",
        ];
        stream.write_all(parts[index % parts.len()].as_bytes()).await.ok()?;
        Some(stream)
    };
    let mut held = Vec::new();
    for round in 0..20 {
        let hundred: Vec<_> = (0..100).map(|index| slow(round * 100 + index)).collect();
        for one in hundred {
            held.extend(one.await);
        }
    }
    assert!(held.len() > 1_900, "{} connected", held.len());
    let request = format!("GET /v1/status HTTP/1.1\r\nHost: x\r\n{bearer}\r\n");
    let asked = tokio::time::timeout(Duration::from_secs(10), send(&request));
    assert_eq!(asked.await.expect("an operator gets in beside them"), 200);
    let grown = resident_mib().saturating_sub(before);
    stop.send(()).expect("it listens");
    let (count, longest) = asking.await.expect("every query was answered");
    println!("{count} queries, the longest waited {longest:?}; {} connections; {grown} MiB more", held.len());
    assert!(count > 50 && longest < Duration::from_secs(2), "{count} queries, {longest:?}");
    assert!(grown < 64, "{grown} MiB");
    assert_eq!(daemon.shared.load().states[0].operator_override, Override::Auto, "nothing of it took");
    drop(held);
    daemon.stop().await;
}
