//! The client of etcd against real members: ended, paused, started again, full, slow, and with keys to their doors.
//!
//! What stands between the two, or only says that it is etcd, is a listener of the test's own.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use fastrand::Rng;
use meridian::control::cluster::etcd::{Etcd, EtcdSettings, Watch};
use meridian::control::cluster::memory::MemoryStore;
use meridian::control::cluster::store::{
    Change, Condition, LeaseId, Listing, Operation, Outcome, Revision, StoreError, Transaction,
};
use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

mod support;

use support::etcd::{EtcdCluster, until_well};

const PATIENCE: Duration = Duration::from_secs(20);

fn settings(endpoints: Vec<String>) -> EtcdSettings {
    EtcdSettings { endpoints, ..EtcdSettings::default() }
}

fn put(key: &str, value: &str) -> Operation {
    Operation::Put { key: key.into(), value: value.into(), lease: None }
}

fn puts(entries: &[(&str, &str)]) -> Transaction {
    let operations = entries.iter().map(|(key, value)| put(key, value)).collect();
    Transaction { conditions: vec![], operations }
}

/// A client of members that have come up.
async fn ready(cluster: &EtcdCluster) -> Etcd {
    let etcd = Etcd::new(settings(cluster.endpoints()));
    until_well(async || etcd.list("").await).await;
    etcd
}

fn is_away<T>(result: &Result<T, StoreError>) -> bool {
    matches!(result, Err(StoreError::Away(_)))
}

fn keys(listing: &Listing) -> Vec<&str> {
    listing.entries.iter().map(|entry| entry.key.as_str()).collect()
}

async fn next(watch: &mut Watch) -> Result<Vec<Change>, StoreError> {
    timeout(PATIENCE, watch.next()).await.expect("something is heard")
}

/// What etcd is told that this client never says.
async fn admin(cluster: &EtcdCluster, path: &str, body: Value) -> Value {
    let _ = rustls::crypto::ring::default_provider().install_default(); // another test may have
    let url = format!("{}/v3/{path}", cluster.endpoints()[0]);
    let response = reqwest::Client::new().post(url).json(&body).send().await.expect("an answer");
    assert_eq!(response.status(), 200, "{path}");
    serde_json::from_slice(&response.bytes().await.expect("a body")).expect("JSON")
}

#[tokio::test]
async fn one_member_does_all_that_is_asked() {
    let Some(cluster) = EtcdCluster::start(1, &[]) else { return };
    let etcd = ready(&cluster).await;
    let before = etcd.list("a/").await.expect("a listing");
    assert!(before.entries.is_empty() && before.store != 0);
    let mut watch = etcd.watch("a/", before.revision + 1).await.expect("a watch");
    let done = etcd.commit(&puts(&[("a/1", "x"), ("a/2", ""), ("b", "other")])).await.expect("done");
    assert_eq!(done, Outcome::Done(before.revision + 1));
    let heard = next(&mut watch).await.expect("changes");
    let listing = etcd.list("a/").await.expect("a listing");
    assert_eq!(
        (keys(&listing), listing.revision, listing.store),
        (vec!["a/1", "a/2"], before.revision + 1, before.store)
    );
    assert_eq!(heard, listing.entries.iter().cloned().map(Change::Put).collect::<Vec<_>>());
    let absent = |key: &str| Condition::Absent(key.into());
    let refused = Transaction { conditions: vec![absent("a/3"), absent("a/1")], operations: vec![put("a/3", "")] };
    let found = vec![None, Some(listing.entries[0].clone())];
    assert_eq!(etcd.commit(&refused).await, Ok(Outcome::Refused { found, revision: listing.revision }));
    let big = vec![7; 2 * 1024 * 1024];
    let too_large = Operation::Put { key: "a/big".into(), value: big, lease: None };
    let too_large = Transaction { conditions: vec![], operations: vec![too_large] };
    assert!(matches!(etcd.commit(&too_large).await, Err(StoreError::Refused(_))));
    let health = etcd.health();
    assert_eq!(health.endpoint.as_ref(), cluster.endpoints().first());
    assert!(health.version.is_some_and(|version| version.starts_with("3.")) && health.away_for.is_none());
    assert_eq!(etcd.alarms().await, Ok(vec![]));
}

#[tokio::test]
async fn leases_end_by_themselves_and_by_hand_and_live_as_long_as_they_are_told() {
    let Some(cluster) = EtcdCluster::start(1, &[]) else { return };
    let etcd = ready(&cluster).await;
    let under = |key: &str, lease| Operation::Put { key: key.into(), value: vec![], lease: Some(lease) };
    let short = etcd.grant(Duration::from_millis(1500)).await.expect("a lease");
    let kept = etcd.grant(Duration::from_secs(2)).await.expect("a lease");
    let revoked = etcd.grant(Duration::from_secs(60)).await.expect("a lease");
    let operations =
        vec![under("short/1", short), under("short/2", short), under("kept", kept), under("revoked", revoked)];
    let Ok(Outcome::Done(put)) = etcd.commit(&Transaction { conditions: vec![], operations }).await else {
        panic!("not put")
    };
    let mut watch = etcd.watch("", put + 1).await.expect("a watch");
    assert_eq!(etcd.revoke(revoked).await, Ok(()));
    assert_eq!(etcd.revoke(revoked).await, Err(StoreError::LeaseOver));
    assert_eq!(etcd.keep_alive(revoked).await, Err(StoreError::LeaseOver));
    let again = Transaction { conditions: vec![], operations: vec![under("again", revoked)] };
    assert_eq!(etcd.commit(&again).await, Err(StoreError::LeaseOver));
    let deleted = |key: &str, revision| Change::Deleted { key: key.into(), revision };
    assert_eq!(next(&mut watch).await, Ok(vec![deleted("revoked", put + 1)]));
    let over = async {
        loop {
            etcd.keep_alive(kept).await.expect("kept alive");
            sleep(Duration::from_millis(300)).await;
        }
    };
    tokio::select! {
        heard = next(&mut watch) => {
            assert_eq!(heard, Ok(vec![deleted("short/1", put + 2), deleted("short/2", put + 2)]));
        }
        () = over => {}
    }
    assert_eq!(etcd.keep_alive(short).await, Err(StoreError::LeaseOver));
    assert_eq!(keys(&etcd.list("").await.expect("a listing")), ["kept"]);
}

#[tokio::test]
async fn any_two_of_three_members_are_enough() {
    let Some(mut cluster) = EtcdCluster::start(3, &[]) else { return };
    let etcd = ready(&cluster).await;
    until_well(async || etcd.commit(&puts(&[("a", "1")])).await).await;
    let first = cluster.endpoints().iter().position(|url| Some(url) == etcd.health().endpoint.as_ref());
    let first = first.expect("one that answers");
    cluster.pause(first);
    // Sent, and no answer: it is not sent again, and it took as long as it may.
    let begin = Instant::now();
    assert!(is_away(&etcd.commit(&puts(&[("a", "2")])).await));
    assert!(begin.elapsed() < Duration::from_secs(3), "{:?}", begin.elapsed());
    until_well(async || etcd.commit(&puts(&[("a", "3")])).await).await;
    assert_ne!(etcd.health().endpoint.as_ref(), cluster.endpoints().get(first));
    cluster.resume(first);
    let answering = cluster.endpoints().iter().position(|url| Some(url) == etcd.health().endpoint.as_ref());
    let answering = answering.expect("one that answers");
    cluster.kill(answering);
    until_well(async || etcd.commit(&puts(&[("a", "4")])).await).await;
    let last = until_well(async || etcd.list("").await).await;
    assert_eq!((last.entries.len(), last.entries[0].value.as_slice()), (1, &b"4"[..]));
    cluster.kill_all();
    assert!(is_away(&etcd.list("").await));
    let health = etcd.health();
    assert!(health.endpoint.is_none() && health.away_for.is_some() && health.last_error.is_some(), "{health:?}");
    // One alone has no quorum: it says so, or nothing.
    cluster.start_member(0);
    sleep(Duration::from_secs(1)).await;
    assert!(is_away(&etcd.list("").await));
    cluster.start_member(1);
    cluster.start_member(2);
    assert_eq!(until_well(async || etcd.list("").await).await, last);
    assert!(etcd.health().away_for.is_none());
}

#[tokio::test]
async fn a_watch_ends_with_its_member_and_the_next_one_misses_nothing() {
    let Some(mut cluster) = EtcdCluster::start(1, &[]) else { return };
    let idle = Duration::from_secs(1);
    let etcd = Etcd::new(EtcdSettings { watch_idle: idle, ..settings(cluster.endpoints()) });
    until_well(async || etcd.list("").await).await;
    let mut watch = etcd.watch("a", 2).await.expect("a watch");
    etcd.commit(&puts(&[("a", "1")])).await.expect("done");
    assert_eq!(next(&mut watch).await.expect("changes").len(), 1);
    cluster.pause(0);
    assert!(is_away(&next(&mut watch).await), "silence ends it");
    assert_eq!(watch.next_revision(), 3);
    cluster.resume(0);
    let mut watch = until_well(async || etcd.watch("a", 3).await).await;
    cluster.kill(0);
    assert!(is_away(&next(&mut watch).await));
    assert!(is_away(&etcd.watch("a", 3).await));
    cluster.start_member(0);
    until_well(async || etcd.commit(&puts(&[("a", "2"), ("ab", "2"), ("b", "2")])).await).await;
    until_well(async || etcd.commit(&puts(&[("a", "3")])).await).await;
    let mut watch = etcd.watch("a", 3).await.expect("a watch");
    let mut heard = Vec::new();
    while heard.len() < 3 {
        heard.extend(next(&mut watch).await.expect("changes"));
    }
    assert_eq!(
        heard.iter().map(|change| (change.key(), change.revision())).collect::<Vec<_>>(),
        [("a", 3), ("ab", 3), ("a", 4)]
    );
}

#[tokio::test]
async fn a_member_that_is_cut_off_ends_its_watches() {
    let Some(mut cluster) = EtcdCluster::start(3, &[]) else { return };
    let etcd = ready(&cluster).await;
    let mut watch = until_well(async || etcd.watch("a", 1).await).await;
    let serving = cluster.endpoints().iter().position(|url| Some(url) == etcd.health().endpoint.as_ref());
    let serving = serving.expect("one that answers");
    for other in (0..3).filter(|&other| other != serving) {
        cluster.kill(other);
    }
    // Long before it were taken for silent.
    assert!(is_away(&next(&mut watch).await));
}

#[tokio::test]
async fn changes_that_are_compacted_are_not_told() {
    let Some(cluster) = EtcdCluster::start(1, &[]) else { return };
    let etcd = ready(&cluster).await;
    for value in ["1", "2", "3"] {
        etcd.commit(&puts(&[("a", value)])).await.expect("done");
    }
    admin(&cluster, "kv/compaction", json!({ "revision": "4" })).await;
    assert_eq!(etcd.watch("a", 2).await.err().or(compacted(&etcd, 2).await), Some(StoreError::Compacted(2)));
    let mut watch = etcd.watch("a", 5).await.expect("a watch");
    etcd.commit(&puts(&[("a", "4")])).await.expect("done");
    assert_eq!(next(&mut watch).await.map(|changes| changes[0].revision()), Ok(5));
}

/// etcd may say first that the watch is there, and then that it is compacted.
async fn compacted(etcd: &Etcd, from: Revision) -> Option<StoreError> {
    let mut watch = etcd.watch("a", from).await.ok()?;
    next(&mut watch).await.err()
}

#[tokio::test]
async fn a_full_store_refuses_writes_and_still_reads_and_keeps_leases() {
    let Some(cluster) = EtcdCluster::start(1, &["--quota-backend-bytes=1000000"]) else { return };
    let etcd = ready(&cluster).await;
    let lease = etcd.grant(Duration::from_secs(60)).await.expect("a lease");
    let large = "x".repeat(200_000);
    let mut refused = None;
    for number in 0..20 {
        if let Err(error) = etcd.commit(&puts(&[(&format!("a{number}"), &large)])).await {
            refused = Some(error);
            break;
        }
    }
    assert!(matches!(&refused, Some(StoreError::Refused(why)) if why.contains("space")), "{refused:?}");
    assert!(matches!(etcd.commit(&puts(&[("small", "")])).await, Err(StoreError::Refused(_))));
    assert!(matches!(etcd.grant(Duration::from_secs(60)).await, Err(StoreError::Refused(_))));
    assert_eq!(etcd.keep_alive(lease).await, Ok(()));
    let delete = Transaction { conditions: vec![], operations: vec![Operation::Delete { key: "a0".into() }] };
    assert!(matches!(etcd.commit(&delete).await, Ok(Outcome::Done(_))));
    assert!(etcd.list("").await.is_ok() && etcd.health().away_for.is_none());
    assert_eq!(etcd.alarms().await, Ok(vec!["NOSPACE".to_owned()]));
}

#[tokio::test]
async fn the_store_in_memory_says_what_a_real_one_says() {
    let Some(cluster) = EtcdCluster::start(1, &[]) else { return };
    let etcd = ready(&cluster).await;
    let (mut memory, mut chance) =
        (MemoryStore::new(etcd.list("").await.expect("a listing").store), Rng::with_seed(11));
    let now = Duration::ZERO;
    // In memory → in etcd. Their numbers are each store's own.
    let mut leases: BTreeMap<LeaseId, LeaseId> = BTreeMap::new();
    for step in 0..400 {
        match chance.u8(..20) {
            0 | 1 => {
                let ttl = Duration::from_secs(600);
                let lease = memory.grant(ttl, now).expect("a lease");
                leases.insert(lease, etcd.grant(ttl).await.expect("a lease"));
            }
            2 => {
                // Of those that were once there: also twice.
                let Some((&lease, &real)) = leases.iter().nth(chance.usize(..leases.len().max(1))) else { continue };
                assert_eq!(memory.keep_alive(lease, now), etcd.keep_alive(real).await, "{step}");
                assert_eq!(memory.revoke(lease), etcd.revoke(real).await, "{step}");
            }
            _ => {
                let transaction = random_transaction(&mut chance, &memory, &leases);
                let expected = memory.commit(transaction.clone());
                let real = etcd.commit(&translated(transaction.clone(), &leases)).await;
                assert_eq!(expected, real, "{step}: {transaction:?}");
            }
        }
        let prefix = ["", "k", "k1", "zz"][chance.usize(..4)];
        assert_eq!(memory.list(prefix), etcd.list(prefix).await, "{step}");
    }
    for (prefix, since) in [("", 1), ("k1", 1), ("k", memory.revision() / 2)] {
        let expected = memory.changes_since(prefix, since).expect("changes");
        assert!(!expected.is_empty());
        let (mut watch, mut heard) = (etcd.watch(prefix, since + 1).await.expect("a watch"), Vec::new());
        while heard.len() < expected.len() {
            heard.extend(next(&mut watch).await.expect("changes"));
        }
        assert_eq!(heard, expected);
    }
}

fn random_transaction(chance: &mut Rng, memory: &MemoryStore, leases: &BTreeMap<LeaseId, LeaseId>) -> Transaction {
    let key = |chance: &mut Rng| format!("k{}", chance.u8(..24));
    let listing = memory.list("").expect("a listing");
    let mut conditions = Vec::new();
    for _ in 0..chance.usize(..3) {
        let key = key(chance);
        let entry = listing.entries.iter().find(|entry| entry.key == key);
        let (created, modified) = entry.map_or((0, 0), |entry| (entry.created, entry.modified));
        let off = i64::from(chance.u8(..6) == 0);
        conditions.push(match (chance.u8(..3), entry) {
            (0, Some(_)) => Condition::Created(key, created + off),
            (1, Some(_)) => Condition::Unmodified(key, modified + off),
            _ => Condition::Absent(key),
        });
    }
    let mut operations: BTreeMap<String, Operation> = BTreeMap::new();
    for _ in 0..chance.usize(..6) {
        let key = key(chance);
        let lease = leases.keys().nth(chance.usize(..leases.len() * 2 + 1)).copied();
        let value = chance.u32(..).to_string().into_bytes();
        let operation = match chance.u8(..3) {
            0 => Operation::Delete { key: key.clone() },
            _ => Operation::Put { key: key.clone(), value, lease },
        };
        operations.insert(key, operation);
    }
    let mut operations: Vec<Operation> = operations.into_values().collect();
    chance.shuffle(&mut operations);
    Transaction { conditions, operations }
}

fn translated(mut transaction: Transaction, leases: &BTreeMap<LeaseId, LeaseId>) -> Transaction {
    for operation in &mut transaction.operations {
        if let Operation::Put { lease: Some(lease), .. } = operation {
            *lease = leases[lease];
        }
    }
    transaction
}

// ---------------------------------------------------------------------------------------------
// Listeners that are no etcd

/// Answers each request, told by its path, and counts them.
struct Fake {
    url: String,
    asked: Arc<Mutex<Vec<String>>>,
    serving: JoinHandle<()>,
}

enum Answer {
    Says(u16, String),
    /// Reads, and never answers.
    Nothing,
    /// Closes in the middle of it.
    Half,
}

impl Fake {
    async fn start(answer: impl Fn(&str) -> Answer + Send + Sync + 'static) -> Fake {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (seen, answer) = (asked.clone(), Arc::new(answer));
        let serving = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.expect("a client");
                tokio::spawn(exchange(stream, answer.clone(), seen.clone()));
            }
        });
        Fake { url, asked, serving }
    }

    fn asked(&self, path: &str) -> usize {
        self.asked.lock().expect("seen").iter().filter(|asked| asked.as_str() == path).count()
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn exchange(mut stream: TcpStream, answer: Arc<impl Fn(&str) -> Answer>, seen: Arc<Mutex<Vec<String>>>) {
    let (mut got, mut octets) = (Vec::new(), vec![0; 65536]);
    loop {
        let text = String::from_utf8_lossy(&got).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .to_ascii_lowercase()
                .split("content-length: ")
                .nth(1)
                .and_then(|rest| rest.lines().next()?.parse().ok());
            if length <= Some(body.len()) {
                break;
            }
        }
        let Ok(length @ 1..) = stream.read(&mut octets).await else { return };
        got.extend_from_slice(&octets[..length]);
    }
    let text = String::from_utf8_lossy(&got).into_owned();
    let path = text.split(' ').nth(1).unwrap_or_default().to_owned();
    seen.lock().expect("seen").push(path.clone());
    let reply = match answer(&path) {
        Answer::Nothing => return sleep(Duration::from_secs(60)).await,
        Answer::Half => "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"header\":{".to_owned(),
        Answer::Says(status, body) => {
            format!("HTTP/1.1 {status} A\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len())
        }
    };
    let _ = stream.write_all(reply.as_bytes()).await; // the client may have gone
}

const STATUS: &str = r#"{"header":{"revision":"1"},"version":"3.9.9","leader":"1"}"#;
const EMPTY: &str = r#"{"header":{"revision":"5","cluster_id":"9"}}"#;

fn says(status: u16, body: impl Into<String>) -> Answer {
    Answer::Says(status, body.into())
}

/// A well-behaved member but for one path.
async fn but_for(path: &'static str, answer: impl Fn() -> Answer + Send + Sync + 'static) -> Fake {
    Fake::start(move |asked| match asked {
        asked if asked == path => answer(),
        "/v3/maintenance/status" => says(200, STATUS),
        _ => says(200, EMPTY),
    })
    .await
}

#[tokio::test]
async fn a_reading_is_asked_of_the_next_one_and_a_transaction_that_was_sent_is_not() {
    for answer in [
        || Answer::Nothing,
        || Answer::Half,
        || says(200, "hello"),
        || says(200, "{}"),
        || says(502, "<html>Bad gateway</html>"),
        || says(503, r#"{"error":"etcdserver: request timed out","code":14}"#),
    ] {
        let timeout = Duration::from_millis(400);
        let (bad, good) = (but_for("/v3/kv/range", answer).await, but_for("-", || Answer::Nothing).await);
        let etcd = Etcd::new(EtcdSettings { timeout, ..settings(vec![bad.url.clone(), good.url.clone()]) });
        assert_eq!(etcd.list("").await.map(|listing| (listing.revision, listing.store)), Ok((5, 9)));
        assert_eq!((bad.asked("/v3/kv/range"), good.asked("/v3/kv/range")), (1, 1));
        assert_eq!(etcd.health().endpoint.as_ref(), Some(&good.url));
        let bad = but_for("/v3/kv/txn", answer).await;
        let etcd = Etcd::new(EtcdSettings { timeout, ..settings(vec![bad.url.clone(), good.url.clone()]) });
        let away = etcd.commit(&puts(&[("a", "")])).await;
        assert!(is_away(&away), "{away:?}");
        assert_eq!((bad.asked("/v3/kv/txn"), good.asked("/v3/kv/txn")), (1, 0));
    }
}

#[tokio::test]
async fn a_transaction_that_was_not_sent_or_that_nobody_took_up_goes_to_the_next_one() {
    let no_leader = || says(503, r#"{"error":"etcdserver: no leader","message":"etcdserver: no leader","code":14}"#);
    let done = || says(200, r#"{"header":{"revision":"6"},"succeeded":true}"#);
    let leaderless = but_for("/v3/maintenance/status", || says(200, r#"{"version":"3.4.23"}"#)).await;
    let losing = but_for("/v3/kv/txn", no_leader).await;
    let good = but_for("/v3/kv/txn", done).await;
    let gone = {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        format!("http://{}", listener.local_addr().expect("an address"))
    };
    let endpoints = vec![gone, leaderless.url.clone(), losing.url.clone(), good.url.clone()];
    let etcd = Etcd::new(settings(endpoints));
    assert_eq!(etcd.commit(&puts(&[("a", "")])).await, Ok(Outcome::Done(6)));
    assert_eq!((leaderless.asked("/v3/kv/txn"), losing.asked("/v3/kv/txn"), good.asked("/v3/kv/txn")), (0, 1, 1));
    assert_eq!(etcd.commit(&puts(&[("a", "")])).await, Ok(Outcome::Done(6)));
    assert_eq!((losing.asked("/v3/kv/txn"), good.asked("/v3/kv/txn")), (1, 2), "the last good one first");
    assert_eq!(good.asked("/v3/maintenance/status"), 1);
    assert_eq!(etcd.health().version.as_deref(), Some("3.9.9"));
}

#[tokio::test]
async fn gateways_of_old_are_found_once() {
    let old = Fake::start(|path| match path {
        "/v3alpha/maintenance/status" => says(200, STATUS),
        "/v3alpha/kv/lease/revoke" => says(200, "{}"),
        "/v3alpha/kv/range" => says(200, EMPTY),
        _ => says(404, "404 page not found\n"),
    })
    .await;
    let etcd = Etcd::new(settings(vec![format!("{}/", old.url)]));
    for _ in 0..3 {
        assert!(etcd.list("").await.is_ok());
        assert_eq!(etcd.revoke(LeaseId(1)).await, Ok(()));
    }
    assert_eq!((old.asked("/v3/maintenance/status"), old.asked("/v3beta/maintenance/status")), (1, 1));
    let none = Fake::start(|_| says(404, "404 page not found\n")).await;
    let etcd = Etcd::new(settings(vec![none.url.clone()]));
    assert!(matches!(etcd.list("").await, Err(StoreError::Away(why)) if why.contains("gateway")));
    assert!(is_away(&Etcd::new(settings(vec![])).list("").await));
    assert!(is_away(&Etcd::new(settings(vec!["no URL".into()])).list("").await));
}

#[tokio::test]
async fn an_answer_without_end_is_cut_off() {
    let endless = but_for("/v3/kv/range", || says(200, " ".repeat(17 * 1024 * 1024))).await;
    let etcd = Etcd::new(EtcdSettings { timeout: PATIENCE, ..settings(vec![endless.url.clone()]) });
    assert!(matches!(etcd.list("").await, Err(StoreError::Away(why)) if why.contains("16 MiB")));
    let endless = but_for("/v3/watch", || says(200, " ".repeat(17 * 1024 * 1024))).await;
    let etcd = Etcd::new(EtcdSettings { timeout: PATIENCE, ..settings(vec![endless.url.clone()]) });
    assert!(matches!(etcd.watch("", 1).await, Err(StoreError::Away(why)) if why.contains("16 MiB")));
}

/// Passes octets on, each piece of an answer after this many milliseconds.
async fn slow_proxy(to: SocketAddr, delay_ms: Arc<AtomicUsize>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        loop {
            let (client, _) = listener.accept().await.expect("a client");
            let Ok(server) = TcpStream::connect(to).await else { continue };
            let (mut from_client, mut to_client) = client.into_split();
            let (mut from_server, mut to_server) = server.into_split();
            tokio::spawn(async move { tokio::io::copy(&mut from_client, &mut to_server).await });
            let delay_ms = delay_ms.clone();
            tokio::spawn(async move {
                let mut octets = vec![0; 65536];
                while let Ok(length @ 1..) = from_server.read(&mut octets).await {
                    sleep(Duration::from_millis(delay_ms.load(Ordering::Relaxed) as u64)).await;
                    if to_client.write_all(&octets[..length]).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}

#[tokio::test]
async fn a_slow_etcd_costs_its_time_and_no_more() {
    let Some(cluster) = EtcdCluster::start(1, &[]) else { return };
    let direct = ready(&cluster).await;
    let delay_ms = Arc::new(AtomicUsize::new(0));
    let to = cluster.endpoints()[0].trim_start_matches("http://").parse().expect("an address");
    let slow = slow_proxy(to, delay_ms.clone()).await;
    let etcd = Etcd::new(settings(vec![format!("http://{slow}")]));
    assert!(etcd.list("").await.is_ok());
    delay_ms.store(2500, Ordering::Relaxed);
    let begin = Instant::now();
    let (listed, committed) = (etcd.list("").await, etcd.commit(&puts(&[("a", "took")])).await);
    let took = begin.elapsed();
    assert!(is_away(&listed) && is_away(&committed));
    assert!((Duration::from_secs(3)..Duration::from_secs(6)).contains(&took), "{took:?}");
    delay_ms.store(0, Ordering::Relaxed);
    until_well(async || etcd.list("").await).await;
    assert!(direct.list("").await.is_ok());
}

// ---------------------------------------------------------------------------------------------
// Doors with keys

/// An authority, and files with what it signed.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    folder: tempfile::TempDir,
}

impl Authority {
    fn new() -> Authority {
        let mut params = CertificateParams::new(vec![]).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "authority");
        let key = KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("a certificate");
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("ca.pem"), certificate.pem()).expect("written");
        Authority { issuer: Issuer::new(params, key), folder }
    }

    /// Writes NAME.pem and NAME.key.
    fn sign(&self, name: &str) {
        let mut params = CertificateParams::new(vec!["127.0.0.1".into(), "localhost".into()]).expect("parameters");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        std::fs::write(self.file(&format!("{name}.pem")), certificate.pem()).expect("written");
        std::fs::write(self.file(&format!("{name}.key")), key.serialize_pem()).expect("written");
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

#[tokio::test]
async fn only_who_has_the_right_certificates_gets_in() {
    let (ours, others) = (Authority::new(), Authority::new());
    ours.sign("server");
    ours.sign("client");
    others.sign("client");
    let option = |name: &str, file: &str| format!("--{name}={}", ours.file(file).display());
    let (cert, key, ca) =
        (option("cert-file", "server.pem"), option("key-file", "server.key"), option("trusted-ca-file", "ca.pem"));
    let options = [cert.as_str(), &key, &ca, "--client-cert-auth"];
    let Some(cluster) = EtcdCluster::start_as("https", 1, &options) else { return };
    let with = |ca: &Authority, client: Option<&Authority>| {
        Etcd::new(EtcdSettings {
            ca_file: Some(ca.file("ca.pem")),
            certificate_file: client.map(|client| client.file("client.pem")),
            key_file: client.map(|client| client.file("client.key")),
            ..settings(cluster.endpoints())
        })
    };
    let etcd = with(&ours, Some(&ours));
    until_well(async || etcd.list("").await).await;
    let mut watch = etcd.watch("a", 2).await.expect("a watch");
    assert_eq!(etcd.commit(&puts(&[("a", "")])).await, Ok(Outcome::Done(2)));
    assert_eq!(next(&mut watch).await.map(|changes| changes.len()), Ok(1));
    for (ca, client) in [(&others, Some(&ours)), (&ours, None), (&ours, Some(&others))] {
        let refused = with(ca, client).list("").await;
        assert!(is_away(&refused), "{refused:?}");
    }
    let no_ca = Etcd::new(EtcdSettings { ca_file: Some(ours.file("none.pem")), ..settings(cluster.endpoints()) });
    assert!(matches!(no_ca.list("").await, Err(StoreError::Away(why)) if why.contains("none.pem")));
}

#[tokio::test]
async fn certificates_that_were_replaced_are_read_anew() {
    let (ours, others) = (Authority::new(), Authority::new());
    ours.sign("server");
    let option = |name: &str, file: &str| format!("--{name}={}", ours.file(file).display());
    let options = [option("cert-file", "server.pem"), option("key-file", "server.key")];
    let Some(cluster) = EtcdCluster::start_as("https", 1, &[&options[0], &options[1]]) else { return };
    let ca_file = ours.file("believed.pem");
    std::fs::copy(others.file("ca.pem"), &ca_file).expect("copied");
    let etcd = Etcd::new(EtcdSettings { ca_file: Some(ca_file.clone()), ..settings(cluster.endpoints()) });
    assert!(is_away(&etcd.list("").await));
    std::fs::copy(ours.file("ca.pem"), &ca_file).expect("copied");
    let begin = Instant::now();
    until_well(async || etcd.list("").await).await;
    assert!(begin.elapsed() > Duration::from_secs(5), "files are not read at each failure");
}

#[tokio::test]
async fn a_user_has_a_token_that_is_renewed_and_no_more_than_its_role() {
    let Some(mut cluster) = EtcdCluster::start(1, &[]) else { return };
    ready(&cluster).await;
    for (path, body) in [
        ("auth/user/add", json!({ "name": "root", "password": "of-root" })),
        ("auth/user/add", json!({ "name": "meridian", "password": "of-meridian" })),
        ("auth/role/add", json!({ "name": "root" })),
        ("auth/role/add", json!({ "name": "node" })),
        (
            "auth/role/grant",
            json!({ "name": "node", "perm": { "permType": "READWRITE", "key": "bS8=", "range_end": "bTA=" } }),
        ),
        ("auth/user/grant", json!({ "user": "root", "role": "root" })),
        ("auth/user/grant", json!({ "user": "meridian", "role": "node" })),
        ("auth/enable", json!({})),
    ] {
        admin(&cluster, path, body).await;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let etcd = user(&cluster, folder.path(), Some(("meridian", "of-meridian")));
    until_well(async || etcd.list("m/").await).await;
    assert!(matches!(etcd.commit(&puts(&[("m/a", "")])).await, Ok(Outcome::Done(_))));
    assert!(matches!(etcd.commit(&puts(&[("other", "")])).await, Err(StoreError::Refused(_))));
    assert!(matches!(etcd.list("").await, Err(StoreError::Refused(_))));
    assert!(matches!(etcd.watch("", 1).await, Err(StoreError::Refused(_))));
    assert!(etcd.watch("m/", 1).await.is_ok());
    assert!(etcd.health().away_for.is_none(), "a refusal is an answer");
    // A member that was started again knows no token of before.
    cluster.kill(0);
    cluster.start_member(0);
    let mut watch = until_well(async || etcd.watch("m/", 2).await).await;
    assert_eq!(next(&mut watch).await.map(|changes| changes.len()), Ok(1));
    assert!(etcd.list("m/").await.is_ok());
    let lease = etcd.grant(Duration::from_secs(60)).await.expect("a lease");
    assert_eq!((etcd.keep_alive(lease).await, etcd.revoke(lease).await), (Ok(()), Ok(())));
    for other in [Some(("meridian", "wrong")), None] {
        let refused = user(&cluster, folder.path(), other).list("m/").await;
        assert!(matches!(refused, Err(StoreError::Refused(_))), "{refused:?}");
    }
}

fn user(cluster: &EtcdCluster, folder: &Path, user: Option<(&str, &str)>) -> Etcd {
    let password_file = user.map(|(_, password)| {
        let path = folder.join(password);
        std::fs::write(&path, format!("{password}\n")).expect("written");
        path
    });
    let user = user.map(|(name, _)| name.to_owned());
    Etcd::new(EtcdSettings { user, password_file, ..settings(cluster.endpoints()) })
}
