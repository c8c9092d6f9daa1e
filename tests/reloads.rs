//! Databases that go bad while serving or before a start, reloads that would lose everything, and files that are
//! watched: what is answered, and what `/readyz`, the status and the metrics say of it.

mod support;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use meridian::admin::client::{AdminClient, ClientError};
use meridian::atlas::DEMO_DATABASE;
use meridian::control::databases::Copies;
use meridian::control::reload::prepare_to_serve;
use meridian::daemon::Daemon;
use serde_json::Value;
use support::server::MainFile;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const SETTINGS: &str = "listen = { dns = \"127.0.0.1:0\", admin = \"127.0.0.1:0\" }\nthreads = 1\n";
const ZONE: &str = r#"
origin = "gslb.example"
records = """
@    SOA  ns1 hostmaster 1 1h 10m 1w 60
@    NS   ns1
ns1  A    198.51.100.53
"""
[region.seoul]
location = { country = "KR" }
endpoints = [{ address = "192.0.2.82" }]
[region.frankfurt]
location = { country = "DE" }
endpoints = [{ address = "192.0.2.49" }]
[service.www]
regions = ["seoul", "frankfurt"]
policy = "nearest"
"#;

/// Where a configuration is, and what starts from it.
struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new(settings: &str) -> Place {
        let place = Place { folder: tempfile::tempdir().expect("a folder") };
        std::fs::create_dir(place.path("zones")).expect("a folder");
        place.write("zones/gslb.example.toml", ZONE);
        place.write("a.mmdb", DEMO_DATABASE);
        place.configure(settings);
        place
    }

    fn configure(&self, settings: &str) {
        self.write("meridian.toml", format!("{SETTINGS}{settings}\n"));
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        std::fs::write(self.path(name), content).expect("written");
    }

    async fn try_start(&self) -> Result<Running, Vec<String>> {
        let source = Arc::new(MainFile(self.path("meridian.toml")));
        let prepared = prepare_to_serve(&*source)?;
        let daemon = Daemon::start(source, prepared).await?;
        let admin = daemon.admin.expect("listening");
        Ok(Running { daemon, admin, client: AdminClient::new(admin, None).expect("a client") })
    }

    async fn start(&self) -> Running {
        self.try_start().await.unwrap_or_else(|mistakes| panic!("{mistakes:?}"))
    }

    fn copy(&self) -> PathBuf {
        Copies::new(&self.path("state")).path_of(&self.path("a.mmdb"))
    }

    async fn copied(&self) {
        let copy = self.copy();
        until("a copy is kept", async || std::fs::read(&copy).is_ok_and(|octets| octets == DEMO_DATABASE)).await;
    }
}

struct Running {
    daemon: Daemon,
    admin: SocketAddr,
    client: AdminClient,
}

impl Running {
    async fn get(&self, target: &str) -> String {
        let mut stream = TcpStream::connect(self.admin).await.expect("connected");
        let request = format!("GET {target} HTTP/1.1\r\nHost: {}\r\n\r\n", self.admin);
        stream.write_all(request.as_bytes()).await.expect("sent");
        let mut text = String::new();
        stream.read_to_string(&mut text).await.expect("an answer");
        text
    }

    async fn database(&self) -> Value {
        self.client.status().await.expect("a status")["atlas"]["databases"][0].clone()
    }

    /// The region that a client in Germany is sent to first.
    async fn answer_to_a_german(&self) -> String {
        let told = self.client.explain("www.gslb.example", "127.49.0.1", "A", Some("source")).await.expect("explained");
        told["answer"].to_string()
    }

    async fn places(&self) -> u64 {
        self.client.status().await.expect("a status")["atlas"]["places"].as_u64().expect("a number")
    }
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), waiting).await.unwrap_or_else(|_| panic!("still not so: {what}"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_goes_bad_while_serving_is_told_everywhere_and_its_copy_serves() {
    let place = Place::new("geoip = \"a.mmdb\"");
    let server = place.start().await;
    place.copied().await;
    let good = server.database().await;
    assert_eq!((&good["serves"], &good["error"], &good["generation"]), (&"file".into(), &Value::Null, &1.into()));
    let (places, answer) = (server.places().await, server.answer_to_a_german().await);
    assert!(answer.contains("192.0.2.49"), "{answer}");
    place.write("a.mmdb", &DEMO_DATABASE[..5_000]); // overwritten in place
    until("the bad file is found", async || server.database().await["error"].is_string()).await;
    let bad = server.database().await;
    assert_eq!((&bad["serves"], &bad["generation"]), (&"copy".into(), &1.into()), "{bad}");
    assert_eq!((server.places().await, server.answer_to_a_german().await), (places, answer));
    let ready = server.get("/readyz").await;
    assert!(ready.starts_with("HTTP/1.1 200") && ready.contains("a.mmdb is not a whole MaxMind database"), "{ready}");
    let metrics = server.get("/metrics").await;
    let labels = format!("{{database=\"{}\"", place.path("a.mmdb").display());
    for row in [
        format!("meridian_database_ok{labels}}} 0"),
        format!("meridian_database_serves{labels},serves=\"copy\"}} 1"),
        format!("meridian_database_serves{labels},serves=\"file\"}} 0"),
        format!("meridian_database_generation{labels}}} 1"),
    ] {
        assert!(metrics.contains(&row), "{row} is not in\n{metrics}");
    }
    assert_eq!(std::fs::read(place.copy()).expect("there"), DEMO_DATABASE, "a copy is of good contents alone");
    place.write("a.mmdb", DEMO_DATABASE);
    until("the good file is found", async || server.database().await["error"].is_null()).await;
    assert_eq!(server.database().await["generation"], 2);
    assert!(server.get("/readyz").await.contains("\"bad_databases\":[]"));
    server.daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_with_a_corrupt_database_takes_the_copy_or_goes_without_unless_it_is_required() {
    let place = Place::new("geoip = \"a.mmdb\"");
    let server = place.start().await;
    place.copied().await;
    let (places, answer) = (server.places().await, server.answer_to_a_german().await);
    server.daemon.stop().await;
    place.write("a.mmdb", "corrupt");
    for settings in ["geoip = \"a.mmdb\"", "geoip = \"a.mmdb\"\ngeoip_required = true"] {
        place.configure(settings);
        let server = place.start().await;
        assert_eq!((server.places().await, server.answer_to_a_german().await), (places, answer.clone()));
        assert_eq!(server.database().await["serves"], "copy");
        server.daemon.stop().await;
    }
    std::fs::remove_file(place.copy()).expect("gone");
    let mistakes = place.try_start().await.err().expect("required");
    assert!(mistakes[0].contains("a.mmdb is not a whole MaxMind database"), "{mistakes:?}");
    place.configure("geoip = \"a.mmdb\"");
    let server = place.start().await;
    assert_eq!(server.places().await, 1);
    assert_eq!(server.database().await["serves"], "nothing");
    assert!(server.answer_to_a_german().await.contains("192.0.2."), "answers go on");
    // What is done without does not hold up other changes, and comes in when it is good.
    place.write("zones/gslb.example.toml", ZONE.replace("192.0.2.49", "192.0.2.50"));
    let told = server.client.reload(false).await.expect("taken");
    assert!(told["warnings"].to_string().contains("a.mmdb"), "{told}");
    place.write("a.mmdb", DEMO_DATABASE);
    until("the good file is found", async || server.database().await["error"].is_null()).await;
    assert!(server.answer_to_a_german().await.contains("192.0.2.50"));
    server.daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_with_a_database_that_is_bad_and_has_no_copy_is_refused_unless_forced() {
    let place = Place::new("geoip = \"a.mmdb\"");
    let server = place.start().await;
    place.copied().await;
    place.write("b.mmdb", "corrupt");
    place.configure("geoip = [\"a.mmdb\", \"b.mmdb\"]");
    let refused = refused(server.client.reload(false).await);
    assert!(refused[0].contains("b.mmdb is not a whole"), "{refused:?}");
    server.client.reload(true).await.expect("forced");
    let status = server.client.status().await.expect("a status");
    let serves: Vec<&Value> = (0..2).map(|at| &status["atlas"]["databases"][at]["serves"]).collect();
    assert_eq!(serves, ["file", "nothing"]);
    server.daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_that_loses_everything_is_refused_unless_forced() {
    let place = Place::new("geoip = \"a.mmdb\"\n[[network]]\ncidr = \"10.0.0.0/8\"\nlocation = { country = \"KR\" }");
    let server = place.start().await;
    place.write("meridian.toml", "");
    let by_signal = server.daemon.reload().await.expect_err("SIGHUP never forces");
    let by_api = refused(server.client.reload(false).await);
    for lost in [&by_signal, &by_api] {
        for what in ["database", "network", "DNS listener"] {
            let expected = format!("every {what} there is would be lost");
            assert!(lost.iter().any(|lost| lost.contains(&expected)), "{what}: {lost:?}");
        }
    }
    assert!(server.answer_to_a_german().await.contains("192.0.2.49"), "the old configuration serves");
    place.configure("geoip = \"a.mmdb\"\nzones = \"other\"");
    std::fs::create_dir(place.path("other")).expect("a folder");
    place.write("other/other.toml", ZONE.replace("gslb.example", "other.example"));
    let lost = refused(server.client.reload(false).await);
    assert!(lost.iter().any(|lost| lost.contains("every zone there is")), "{lost:?}");
    assert_eq!(server.client.reload(true).await.expect("forced")["zones"], 1);
    assert_eq!(server.client.status().await.expect("a status")["zones"][0], "other.example.");
    server.daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watched_files_that_change_are_loaded_and_bad_ones_change_nothing() {
    let place = Place::new("reload = \"watch\"\ngeoip = \"a.mmdb\"");
    let zone = ZONE.replace("ns1  A    198.51.100.53", "ns1  A    198.51.100.53\n$INCLUDE more.zone");
    place.write("zones/more.zone", "www2 A 192.0.2.7\n");
    place.write("zones/gslb.example.toml", &zone);
    let server = place.start().await;
    let reloads = async || server.client.status().await.expect("a status")["reloads"].as_u64().expect("a number");
    // By rename, as editors do.
    place.write("zones/fresh", zone.replace("192.0.2.49", "192.0.2.50"));
    std::fs::rename(place.path("zones/fresh"), place.path("zones/gslb.example.toml")).expect("renamed");
    until("the zone is loaded", async || server.answer_to_a_german().await.contains("192.0.2.50")).await;
    // A mistake is told, and the old zone served.
    place.write("zones/gslb.example.toml", zone.replace("192.0.2.49", "no address"));
    until("the mistake is told", async || {
        server.client.status().await.expect("a status")["last_load"]["mistakes"]
            .to_string()
            .contains("gslb.example.toml:")
    })
    .await;
    assert!(server.answer_to_a_german().await.contains("192.0.2.50"));
    place.write("zones/gslb.example.toml", &zone);
    until("the zone is loaded", async || server.answer_to_a_german().await.contains("192.0.2.49")).await;
    // What a zone includes, and zones that come and go.
    let before = reloads().await;
    place.write("zones/more.zone", "www2 A 192.0.2.8\nwww3 A 192.0.2.9\n");
    until("the included file is loaded", async || reloads().await > before).await;
    let zones = async || server.client.status().await.expect("a status")["zones"].as_array().map_or(0, Vec::len);
    place.write("zones/other.toml", ZONE.replace("gslb.example", "other.example"));
    until("the new zone is there", async || zones().await == 2).await;
    std::fs::remove_file(place.path("zones/other.toml")).expect("gone");
    until("the zone is gone", async || zones().await == 1).await;
    // An empty main file is refused, as ever; and so is watching, once that is taken back.
    place.write("meridian.toml", "");
    until("the loss is told", async || {
        server.client.status().await.expect("a status")["last_load"]["mistakes"].to_string().contains("would be lost")
    })
    .await;
    place.configure("geoip = \"a.mmdb\"");
    until("that is loaded", async || server.client.status().await.expect("a status")["last_load"]["ok"] == true).await;
    let before = reloads().await;
    place.write("zones/gslb.example.toml", zone.replace("192.0.2.49", "192.0.2.51"));
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(reloads().await, before, "off unless it is wanted");
    server.daemon.stop().await;
}

fn refused(outcome: Result<Value, ClientError>) -> Vec<String> {
    match outcome {
        Err(ClientError::Refused { status: 422, details, .. }) => details,
        other => panic!("{other:?}"),
    }
}

/// A start that finds no state directory makes none for copies alone.
#[test]
fn offline_commands_keep_no_copies() {
    let place = Place::new("geoip = \"a.mmdb\"");
    let ran = std::process::Command::new(env!("CARGO_BIN_EXE_meridian"))
        .args(["check", "--config"])
        .arg(place.path("meridian.toml"))
        .output()
        .expect("it runs");
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stdout));
    assert!(!Path::new(&place.path("state")).exists());
}
