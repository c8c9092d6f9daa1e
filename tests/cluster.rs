//! Three servers and three members of etcd, all real: members killed, all of them gone, a server stopped where it is, one
//! started again with nothing to ask, values that make no sense. Questions are asked of every server all the while.
//!
//! What is held against it: each question has an answer that is not empty; each word that was taken holds at all servers;
//! plans' epochs and numbers only grow.
//!
//! Without etcd installed the test says so and passes, unless `MERIDIAN_TEST_REQUIRE_TOOLS` is set.
//! `MERIDIAN_TEST_LONG` has the leader sleep for a minute, measures for another, and has etcd slow and full, a node with
//! another token, one without a way to etcd, and a configuration rolled out node by node.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use meridian::admin::client::AdminClient;
use meridian::admin::switch::{RollbackBody, ShiftBody};
use meridian::control::cluster::etcd::{Etcd, EtcdSettings};
use meridian::control::cluster::store::{Operation, Transaction};
use meridian::steer::health::effective::Override;
use serde_json::Value;
use tempfile::TempDir;
use tokio::time::sleep;

mod support;

use support::dns::{Ask, Reply, exchange_udp};
use support::etcd::EtcdCluster;
use support::tools::{Running, free_port};

const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// Each fault is over by then.
const HEALED: Duration = Duration::from_secs(15);

/// A server in a process of its own.
struct Node {
    name: String,
    folder: TempDir,
    dns: SocketAddr,
    admin: AdminClient,
    process: Option<Running>,
}

impl Node {
    fn start(number: usize, etcd: &[String], health: u16) -> Node {
        let folder = tempfile::tempdir().expect("a folder");
        let (dns, admin, peers) = (free_port(LOCAL), free_port(LOCAL), free_port(LOCAL));
        let name = format!("n{number}");
        let main = format!(
            "listen = {{ dns = [\"127.0.0.1:{dns}\"], admin = \"127.0.0.1:{admin}\" }}\nthreads = 1\nseed = 7\n\
             state = \"state\"\n[cluster]\nname = \"test\"\nnode = \"{name}\"\netcd = {etcd:?}\n\
             peers = {{ listen = \"127.0.0.1:{peers}\", token_file = \"token\" }}\n"
        );
        std::fs::create_dir(folder.path().join("zones")).expect("a folder");
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).expect("a file");
        write("meridian.toml", &main);
        write("token", "a token that all nodes of the test have");
        write("zones/gslb.example.toml", &ZONE.replace("HEALTH", &health.to_string()));
        let admin = SocketAddr::new(LOCAL, admin);
        let admin = AdminClient::new(admin, None).expect("a client");
        let mut node = Node { name, folder, dns: SocketAddr::new(LOCAL, dns), admin, process: None };
        node.run();
        node
    }

    fn run(&mut self) {
        let arguments = ["serve".to_owned(), "--config".into(), self.path("meridian.toml")];
        let log = self.folder.path().join(format!("log{}", fastrand::u32(..)));
        self.process = Some(Running::start(Path::new(env!("CARGO_BIN_EXE_meridian")), &arguments, &log));
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    fn signal(&self, signal: &str) {
        let id = self.id().to_string();
        assert!(Command::new("kill").args([signal, &id]).status().expect("kill runs").success());
    }

    fn id(&self) -> u32 {
        self.process.as_ref().expect("a process").id()
    }

    /// The override that holds at this server.
    async fn holds(&self, region: &str) -> Option<String> {
        let status = self.admin.status().await.ok()?;
        let regions = status["regions"].as_array()?;
        let found = regions.iter().find(|of| of["name"].as_str().is_some_and(|name| name.starts_with(region)))?;
        Some(found["override"].as_str().unwrap_or("auto").to_owned())
    }

    /// The part of clients that a canary gets at this server; `None`: there is none.
    async fn canary(&self) -> Option<f64> {
        self.admin.get(&["v1", "services", "try"], &[]).await.ok()?["canary"]["share"].as_f64()
    }

    fn answers(&self) -> Vec<String> {
        let octets = exchange_udp(self.dns, &Ask::new("www.gslb.example", "A").wire(), Duration::from_secs(1));
        octets.map(|octets| Reply::read(octets).data()).unwrap_or_default()
    }
}

const ZONE: &str = r#"
origin  = "gslb.example"
records = """
@    SOA  ns1 hostmaster 1 1h 10m 1w 60
@    NS   ns1
ns1  A    127.0.0.1
"""
[region.seoul]
location  = { latitude = 37.57, longitude = 126.98 }
endpoints = [{ address = "127.0.0.2" }]
check.http = { url = "http://{address}:HEALTH/", interval = "1s", timeout = "500ms", fall = 2, rise = 2 }
[region.frankfurt]
location  = { latitude = 50.11, longitude = 8.68 }
endpoints = [{ address = "127.0.0.3" }]
check.http = { url = "http://{address}:HEALTH/", interval = "1s", timeout = "500ms", fall = 2, rise = 2 }
[service.www]
policy  = "score"
regions = ["seoul", "frankfurt"]
[service.try]
policy  = "failover"
regions = ["seoul"]
canary  = { regions = ["frankfurt"], share = 0.0 }
"#;

/// A region's health check: answers until it is told not to.
struct Responder {
    well: Arc<AtomicBool>,
}

impl Responder {
    fn start(address: Ipv4Addr, port: u16) -> Responder {
        let listener = TcpListener::bind((address, port)).expect("a port");
        let well = Arc::new(AtomicBool::new(true));
        let answers = well.clone();
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten().filter(|_| answers.load(Ordering::Relaxed)) {
                let _ = stream.set_read_timeout(Some(Duration::from_secs(1)));
                let _ = stream.read(&mut [0; 1024]);
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            }
        });
        Responder { well }
    }
}

/// What stands before a member of etcd, and holds octets back for two seconds while it is to be slow.
fn proxy(endpoint: &str, slow: &Arc<AtomicBool>) -> String {
    let to = endpoint.trim_start_matches("http://").to_owned();
    let listener = TcpListener::bind((LOCAL, 0)).expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let slow = slow.clone();
    std::thread::spawn(move || {
        for from in listener.incoming().flatten() {
            let Ok(to) = TcpStream::connect(&to) else { continue };
            for (from, to) in [(&from, &to), (&to, &from)] {
                let (Ok(from), Ok(to), slow) = (from.try_clone(), to.try_clone(), slow.clone()) else { continue };
                std::thread::spawn(move || carry(from, to, &slow));
            }
        }
    });
    url
}

fn carry(mut from: TcpStream, mut to: TcpStream, slow: &AtomicBool) {
    let mut octets = [0; 16 * 1024];
    while let Ok(count @ 1..) = from.read(&mut octets) {
        if slow.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_secs(2));
        }
        if to.write_all(&octets[..count]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}

/// What was asked of servers while they were meant to answer, and what they did not.
#[derive(Default)]
struct Asked {
    count: AtomicU64,
    failed: Mutex<Vec<String>>,
    stop: AtomicBool,
    /// Not asked now: stopped, or not started yet.
    excused: Mutex<Vec<SocketAddr>>,
}

/// Asks each of them every 30 ms.
fn ask_all(servers: &[SocketAddr]) -> Arc<Asked> {
    let asked = Arc::new(Asked::default());
    for &server in servers {
        let asked = asked.clone();
        std::thread::spawn(move || {
            let query = Ask::new("www.gslb.example", "A").wire();
            let excused = |asked: &Asked| asked.excused.lock().expect("unpoisoned").contains(&server);
            while !asked.stop.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(30));
                if excused(&asked) {
                    continue;
                }
                let reply = exchange_udp(server, &query, Duration::from_secs(2)).map(Reply::read);
                asked.count.fetch_add(1, Ordering::Relaxed);
                if reply.is_none_or(|reply| reply.data().is_empty()) && !excused(&asked) {
                    asked.failed.lock().expect("unpoisoned").push(server.to_string());
                }
            }
        });
    }
    asked
}

/// All that runs.
struct Scene {
    nodes: Vec<Node>,
    etcd: EtcdCluster,
    store: Etcd,
    asked: Arc<Asked>,
    plans: BTreeMap<String, (i64, u64)>,
    seoul: Responder,
    _frankfurt: Responder,
    /// Between servers and etcd, everything is late.
    slow: Arc<AtomicBool>,
    /// The port of health checks.
    health: u16,
}

impl Scene {
    async fn start() -> Option<Scene> {
        let _ = rustls::crypto::ring::default_provider().install_default(); // another test may have
        let etcd = EtcdCluster::start(3, &["--quota-backend-bytes", "33554432"])?;
        let health = free_port(LOCAL);
        let seoul = Responder::start(Ipv4Addr::new(127, 0, 0, 2), health);
        let _frankfurt = Responder::start(Ipv4Addr::new(127, 0, 0, 3), health);
        let slow = Arc::new(AtomicBool::new(false));
        let between: Vec<String> = etcd.endpoints().iter().map(|endpoint| proxy(endpoint, &slow)).collect();
        let nodes: Vec<Node> = (0..3).map(|number| Node::start(number, &between, health)).collect();
        for node in &nodes {
            until("it answers", HEALED, async || !node.answers().is_empty()).await;
        }
        let asked = ask_all(&nodes.iter().map(|node| node.dns).collect::<Vec<_>>());
        let store = Etcd::new(EtcdSettings { endpoints: etcd.endpoints(), ..EtcdSettings::default() });
        let scene = Scene { nodes, etcd, store, asked, plans: BTreeMap::new(), seoul, _frankfurt, slow, health };
        scene.healed("at the start").await;
        Some(scene)
    }

    /// What stands below the cluster's keys that begin so, by the rest of the key; `None`: the store does not answer.
    async fn below(&self, of: &str) -> Option<BTreeMap<String, Value>> {
        let prefix = format!("/meridian/test/{of}");
        let entries = self.store.list(&prefix).await.ok()?.entries;
        let read = |value: &[u8]| serde_json::from_slice(value).unwrap_or_default();
        Some(entries.iter().map(|entry| (entry.key[prefix.len()..].to_owned(), read(&entry.value))).collect())
    }

    /// All are there, under one leader, and say who they are.
    async fn healed(&self, what: &str) {
        let took = until(what, HEALED, async || {
            let (Some(members), leader) = (self.below("nodes/").await, self.leader().await) else { return false };
            members.len() == 3 && members.values().all(|member| member["boot"].is_u64()) && leader.is_some()
        });
        println!("{what}: healed after {:?}", took.await);
    }

    /// The pointer of the plan is never older than it was.
    async fn look_at_plans(&mut self) {
        for (model, plan) in self.below("plan/").await.unwrap_or_default() {
            let (Some(epoch), Some(number)) = (plan["epoch"].as_i64(), plan["number"].as_u64()) else { continue };
            let before = self.plans.insert(model, (epoch, number)).unwrap_or_default();
            assert!(before <= (epoch, number), "{:?} after {before:?}", (epoch, number));
        }
    }

    /// Says something to one node; from when it is taken, all have it within a second or so.
    async fn say(&mut self, to: usize, region: &str, word: Override) -> Duration {
        let begin = Instant::now();
        let reply = self.nodes[to].admin.set_override(region, word).await;
        reply.unwrap_or_else(|error| panic!("{region} {word:?}: {error}"));
        self.assert_holds(region, word, Duration::from_secs(3)).await;
        self.look_at_plans().await;
        begin.elapsed()
    }

    async fn assert_holds(&self, region: &str, word: Override, within: Duration) {
        for node in &self.nodes {
            let what = format!("{region} is {} at {}", word.as_str(), node.name);
            until(&what, within, async || node.holds(region).await.as_deref() == Some(word.as_str())).await;
        }
    }

    /// The canary's part of clients at all nodes.
    async fn assert_canary(&self, share: Option<f64>) {
        for node in &self.nodes {
            let what = format!("a canary of {share:?} at {}", node.name);
            until(&what, Duration::from_secs(3), async || node.canary().await == share).await;
        }
    }

    /// Another zone file for a node.
    async fn rewrite(&self, number: usize, text: &str, by: &str) {
        let (node, file) = (&self.nodes[number], self.nodes[number].path("zones/gslb.example.toml"));
        let zone = std::fs::read_to_string(&file).expect("a zone");
        assert!(zone.contains(text), "{zone}");
        std::fs::write(&file, zone.replace(text, by)).expect("a zone");
        node.admin.reload(false).await.expect("reloaded");
    }

    async fn leader(&self) -> Option<usize> {
        let leaders = self.below("leader/").await?;
        let name = leaders.values().next()?["node"].as_str()?.to_owned();
        self.nodes.iter().position(|node| node.name == name)
    }

    async fn put(&self, key: &str, value: &[u8]) {
        let key = format!("/meridian/test/{key}");
        let put = Operation::Put { key, value: value.to_vec(), lease: None };
        self.store.commit(&Transaction { conditions: vec![], operations: vec![put] }).await.expect("done");
    }

    async fn delete(&self, key: &str) {
        let delete = Operation::Delete { key: format!("/meridian/test/{key}") };
        self.store.commit(&Transaction { conditions: vec![], operations: vec![delete] }).await.expect("done");
    }

    fn excuse(&self, node: usize) {
        self.asked.excused.lock().expect("unpoisoned").push(self.nodes[node].dns);
    }

    fn excuse_nobody(&self) {
        self.asked.excused.lock().expect("unpoisoned").clear();
    }

    fn assert_answered(&self) {
        let failed = self.asked.failed.lock().expect("unpoisoned");
        println!("{} questions, {} without an answer", self.asked.count.load(Ordering::Relaxed), failed.len());
        assert!(failed.is_empty(), "{failed:?}");
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        self.asked.stop.store(true, Ordering::Relaxed);
        if std::thread::panicking() {
            for node in &self.nodes {
                let logs = std::fs::read_dir(node.folder.path()).into_iter().flatten().flatten();
                for log in logs.filter(|file| file.file_name().to_string_lossy().starts_with("log")) {
                    println!("{}:\n{}", node.name, std::fs::read_to_string(log.path()).unwrap_or_default());
                }
            }
        }
    }
}

async fn until(what: &str, limit: Duration, mut holds: impl AsyncFnMut() -> bool) -> Duration {
    let begin = Instant::now();
    while !holds().await {
        assert!(begin.elapsed() < limit, "still not so after {limit:?}: {what}");
        sleep(Duration::from_millis(20)).await;
    }
    begin.elapsed()
}

fn is_long() -> bool {
    std::env::var_os("MERIDIAN_TEST_LONG").is_some()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_servers_keep_their_promises_whatever_fails() {
    let Some(mut scene) = Scene::start().await else { return };
    let took = scene.say(0, "seoul", Override::Drain).await;
    println!("a word held at all servers {took:?} after it was said");
    if is_long() {
        measure(&mut scene).await;
        etcd_is_slow(&mut scene).await;
        a_node_has_another_token(&mut scene).await;
        configurations_are_rolled_out(&mut scene).await;
        a_canary_is_shifted_and_taken_out(&mut scene).await;
        etcd_is_full(&mut scene).await;
        a_node_cannot_speak_with_etcd(&scene).await;
    }
    a_member_of_etcd_dies(&mut scene).await;
    etcd_is_gone_and_a_server_starts(&mut scene).await;
    values_make_no_sense(&mut scene).await;
    the_leader_sleeps(&mut scene).await;
    a_region_dies(&mut scene).await;
    scene.assert_answered();
}

async fn a_member_of_etcd_dies(scene: &mut Scene) {
    scene.etcd.kill(0);
    sleep(Duration::from_secs(3)).await;
    scene.healed("one of three members is dead").await;
    scene.say(1, "frankfurt", Override::Up).await;
    scene.say(2, "seoul", Override::Auto).await;
    scene.etcd.start_member(0);
    scene.healed("the member is back").await;
    scene.assert_answered();
}

async fn etcd_is_gone_and_a_server_starts(scene: &mut Scene) {
    scene.say(0, "seoul", Override::Drain).await;
    scene.etcd.kill_all();
    sleep(Duration::from_secs(5)).await;
    let refused = scene.nodes[0].admin.set_override("seoul", Override::Up).await;
    assert!(refused.is_err_and(|error| error.to_string().contains("--here")));
    scene.excuse(2);
    scene.nodes[2].process = None;
    scene.nodes[2].run();
    let cold = &scene.nodes[2];
    until("it answers without etcd", HEALED, async || !cold.answers().is_empty()).await;
    scene.excuse_nobody();
    scene.assert_holds("seoul", Override::Drain, Duration::from_secs(3)).await;
    scene.assert_holds("frankfurt", Override::Up, Duration::from_secs(1)).await;
    scene.nodes[1].admin.say("frankfurt", Override::Auto, true, None).await.expect("taken here");
    (0..3).for_each(|member| scene.etcd.start_member(member));
    scene.healed("etcd is back").await;
    scene.assert_holds("frankfurt", Override::Auto, Duration::from_secs(5)).await;
    scene.assert_holds("seoul", Override::Drain, Duration::from_secs(1)).await;
    scene.look_at_plans().await;
    scene.assert_answered();
}

async fn values_make_no_sense(scene: &mut Scene) {
    let leaders = scene.below("leader/").await.expect("the store");
    let model = leaders.keys().next().expect("a model").to_owned();
    let keys = ["nodes/n1", "judges/n2", "verdicts/n0/seoul@gslb.example", "overrides/seoul@gslb.example"];
    for key in keys.map(str::to_owned).into_iter().chain([format!("leader/{model}"), format!("plan/{model}")]) {
        scene.put(&key, b"{\"no\": sense").await;
    }
    scene.put("nodes/n0", b"{\"address\":\"127.0.0.1:1\"}").await;
    sleep(Duration::from_secs(2)).await;
    scene.assert_holds("seoul", Override::Drain, Duration::from_secs(1)).await;
    scene.delete(&format!("plan/{model}")).await; // these regions report no load: no plan takes its place
    scene.healed("values of every kind made no sense").await;
    scene.say(1, "seoul", Override::Auto).await;
    scene.assert_answered();
}

async fn the_leader_sleeps(scene: &mut Scene) {
    let (leader, sleeps) = (scene.leader().await.expect("a leader"), if is_long() { 60 } else { 15 });
    scene.excuse(leader);
    scene.nodes[leader].signal("-STOP");
    let awake: Vec<usize> = (0..3).filter(|&node| node != leader).collect();
    let begin = Instant::now();
    until("another leads", HEALED, async || scene.leader().await.is_some_and(|node| node != leader)).await;
    println!("another leads {:?} after the leader fell asleep", begin.elapsed());
    scene.nodes[awake[0]].admin.set_override("frankfurt", Override::Drain).await.expect("taken");
    sleep(Duration::from_secs(sleeps).saturating_sub(begin.elapsed())).await;
    scene.nodes[leader].signal("-CONT");
    let node = &scene.nodes[leader];
    until("it answers again", HEALED, async || !node.answers().is_empty()).await;
    scene.excuse_nobody();
    scene.assert_holds("frankfurt", Override::Drain, Duration::from_secs(5)).await;
    scene.healed("the leader slept").await;
    scene.say(leader, "frankfurt", Override::Auto).await;
    scene.assert_answered();
}

/// Every octet to and from etcd is late by two seconds.
async fn etcd_is_slow(scene: &mut Scene) {
    scene.slow.store(true, Ordering::Relaxed);
    sleep(Duration::from_secs(20)).await;
    let _ = scene.nodes[0].admin.set_override("frankfurt", Override::Up).await; // it may take, or not
    sleep(Duration::from_secs(10)).await;
    scene.slow.store(false, Ordering::Relaxed);
    scene.healed("etcd was slow").await;
    until("words are taken again", HEALED, async || {
        scene.nodes[1].admin.set_override("frankfurt", Override::Auto).await.is_ok()
    })
    .await;
    scene.assert_holds("frankfurt", Override::Auto, Duration::from_secs(3)).await;
    scene.assert_answered();
}

/// Messages between it and the others are refused, both ways; etcd is there for all.
async fn a_node_has_another_token(scene: &mut Scene) {
    let token = |scene: &Scene, text: &str| std::fs::write(scene.nodes[2].path("token"), text).expect("a file");
    token(scene, "another token, which the other nodes do not have");
    sleep(Duration::from_secs(25)).await;
    scene.say(2, "frankfurt", Override::Drain).await;
    scene.say(0, "frankfurt", Override::Auto).await;
    token(scene, "a token that all nodes of the test have");
    scene.healed("a node had another token").await;
    scene.assert_answered();
}

/// One node after the other reads another zone file: each model has a leader for a while.
async fn configurations_are_rolled_out(scene: &mut Scene) {
    for (number, leaders) in [(0, 2), (1, 2), (2, 1)] {
        let (node, file) = (&scene.nodes[number], scene.nodes[number].path("zones/gslb.example.toml"));
        let zone = std::fs::read_to_string(&file).expect("a zone");
        std::fs::write(&file, zone.replace("126.98 }", "126.98 }\ncapacity = 500")).expect("a zone");
        node.admin.reload(false).await.expect("reloaded");
        until("each model has its leader", HEALED, async || {
            scene.below("leader/").await.is_some_and(|leader| leader.len() == leaders)
        })
        .await;
        scene.say(number, "frankfurt", if number == 1 { Override::Auto } else { Override::Up }).await;
    }
    scene.say(0, "frankfurt", Override::Auto).await;
    scene.healed("another configuration was rolled out").await;
    scene.assert_answered();
}

/// A canary is shifted everywhere and rolled back from anywhere. Files without it are rolled out node by node: those that
/// still have it keep the shift, and it is forgotten once none has.
async fn a_canary_is_shifted_and_taken_out(scene: &mut Scene) {
    const CANARY: &str = "canary  = { regions = [\"frankfurt\"], share = 0.0 }\n";
    let shift = ShiftBody { share: Some(1.0), ..ShiftBody::default() };
    scene.nodes[0].admin.shift("try", &shift, None).await.expect("shifted");
    scene.assert_canary(Some(1.0)).await;
    for (number, share) in [(1, 0.0), (2, 1.0)] {
        let back = scene.nodes[number].admin.roll_back("try", &RollbackBody::default(), None).await;
        assert_eq!(back.expect("rolled back").after.canary, Some(share));
        scene.assert_canary(Some(share)).await;
    }
    let says = async |scene: &Scene| {
        let words = scene.below("switches/").await.unwrap_or_default();
        words.get("try.gslb.example").is_some_and(|word| word["said"]["switch"]["canary"].is_object())
    };
    for number in 0..3 {
        assert!(says(scene).await, "node n2 has it still");
        scene.rewrite(number, CANARY, "").await;
        // Longer than it takes to look once.
        sleep(Duration::from_secs(6 * u64::from(number < 2))).await;
        assert_eq!(scene.nodes[number].canary().await, None);
        assert_eq!(scene.nodes[2].canary().await, (number < 2).then_some(1.0));
    }
    until("it is forgotten", HEALED, async || !says(scene).await).await;
    for number in 0..3 {
        scene.rewrite(number, "regions = [\"seoul\"]\n", &format!("regions = [\"seoul\"]\n{CANARY}")).await;
    }
    scene.assert_canary(Some(0.0)).await;
    scene.assert_answered();
}

/// No space is left: words are refused, answers go on; emptied, compacted and disarmed, all is as before.
async fn etcd_is_full(scene: &mut Scene) {
    for number in 0.. {
        let (key, value) = (format!("/fill/{number}"), vec![b'x'; 1 << 20]);
        let put = Operation::Put { key, value, lease: None };
        if scene.store.commit(&Transaction { conditions: vec![], operations: vec![put] }).await.is_err() {
            break;
        }
    }
    sleep(Duration::from_secs(12)).await;
    let refused = scene.nodes[0].admin.set_override("frankfurt", Override::Up).await.expect_err("no space");
    println!("etcd is full: {refused}");
    let endpoints = scene.etcd.endpoints();
    let ask = async |endpoint: &str, path: &str, body: Value| {
        let asked = reqwest::Client::new().post(format!("{endpoint}/v3/{path}")).json(&body).send().await;
        asked.expect("etcd").json::<Value>().await.expect("JSON")
    };
    let end = serde_json::json!({ "key": "L2ZpbGwv", "range_end": "L2ZpbGww" }); // /fill/ to /fill0
    let revision = ask(&endpoints[0], "kv/deleterange", end).await["header"]["revision"].clone();
    ask(&endpoints[0], "kv/compaction", serde_json::json!({ "revision": revision, "physical": true })).await;
    for endpoint in &endpoints {
        ask(endpoint, "maintenance/defragment", serde_json::json!({})).await;
    }
    let alarms = ask(&endpoints[0], "maintenance/alarm", serde_json::json!({ "action": "GET" })).await;
    for alarm in alarms["alarms"].as_array().into_iter().flatten() {
        let body = serde_json::json!({ "action": "DEACTIVATE", "memberID": alarm["memberID"], "alarm": "NOSPACE" });
        ask(&endpoints[0], "maintenance/alarm", body).await;
    }
    scene.healed("etcd was full").await;
    until("words are taken again", HEALED, async || {
        scene.nodes[1].admin.set_override("frankfurt", Override::Auto).await.is_ok()
    })
    .await;
    scene.assert_answered();
}

/// A node that speaks TLS with an etcd that does not answers by itself, and says why it shares nothing.
async fn a_node_cannot_speak_with_etcd(scene: &Scene) {
    let etcd: Vec<String> = scene.etcd.endpoints().iter().map(|url| url.replace("http:", "https:")).collect();
    let node = Node::start(9, &etcd, scene.health);
    until("it answers", HEALED, async || !node.answers().is_empty()).await;
    let refused = node.admin.set_override("seoul", Override::Down).await.expect_err("nobody to share it with");
    println!("TLS with an etcd without: {refused}");
    assert!(refused.to_string().contains("--here"));
    scene.assert_answered();
}

async fn a_region_dies(scene: &mut Scene) {
    let without = |node: &Node| node.answers() == ["127.0.0.3"];
    scene.seoul.well.store(false, Ordering::Relaxed);
    let begin = Instant::now();
    for node in &scene.nodes {
        until("it answers without the dead region", HEALED, async || without(node)).await;
    }
    println!("all servers answered without a dead region after {:?}", begin.elapsed());
    scene.seoul.well.store(true, Ordering::Relaxed);
}

/// Figures for `docs/performance.md`.
async fn measure(scene: &mut Scene) {
    sleep(Duration::from_secs(10)).await;
    let before = (etcd_figures(scene).await, figures(scene));
    sleep(Duration::from_secs(60)).await;
    let after = (etcd_figures(scene).await, figures(scene));
    let leader = scene.leader().await.expect("a leader");
    println!("a minute calm: etcd (puts, client octets in, out) {:?} to {:?}", before.0, after.0);
    for (number, (before, after)) in before.1.iter().zip(&after.1).enumerate() {
        let role = if number == leader { "leader" } else { "follower" };
        println!("a minute calm: {role}: {} ms of CPU, {} KiB", (after.0 - before.0) * 10, after.1);
    }
    scene.say(0, "seoul", Override::Auto).await;
    a_region_dies(scene).await;
    sleep(Duration::from_secs(20)).await;
    println!("20 s with a region that failed and came back: etcd {:?} to {:?}", after.0, etcd_figures(scene).await);
}

/// Ticks of the clock (10 ms) and KiB, of each server.
fn figures(scene: &Scene) -> Vec<(u64, u64)> {
    let figure = |node: &Node| {
        let of = |name: &str| std::fs::read_to_string(format!("/proc/{}/{name}", node.id())).expect("a process");
        let fields = of("stat");
        let fields: Vec<&str> = fields.rsplit(')').next().expect("fields").split_whitespace().collect();
        let ticks = |at: usize| fields[at].parse::<u64>().expect("a number");
        let status = of("status");
        let kib =
            status.lines().find_map(|line| line.strip_prefix("VmRSS:")).and_then(|rest| rest.split_whitespace().next());
        (ticks(11) + ticks(12), kib.expect("a size").parse().expect("a number"))
    };
    scene.nodes.iter().map(figure).collect()
}

/// Puts, and octets from and to clients: of all members.
async fn etcd_figures(scene: &Scene) -> (f64, f64, f64) {
    let mut sums = (0.0, 0.0, 0.0);
    for endpoint in scene.etcd.endpoints() {
        let Ok(response) = reqwest::get(format!("{endpoint}/metrics")).await else { continue };
        let text = response.text().await.expect("text");
        let of = |name: &str| {
            let line = text.lines().find(|line| line.starts_with(name));
            line.and_then(|line| line.split(' ').nth(1)).and_then(|value| value.parse::<f64>().ok()).unwrap_or_default()
        };
        sums.0 = of("etcd_mvcc_put_total").max(of("etcd_debugging_mvcc_put_total")).max(sums.0);
        sums.1 += of("etcd_network_client_grpc_received_bytes_total");
        sums.2 += of("etcd_network_client_grpc_sent_bytes_total");
    }
    sums
}
