//! Events that leave the house: a server and receivers on this machine, who get each event in order, again after a
//! failure and on after a restart; who hangs delays nothing else.

mod support;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use meridian::admin::client::AdminClient;
use meridian::steer::health::effective::Override;
use serde_json::{Value, json};
use support::server::{Server, wait_until};
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
endpoints = [{ address = "192.0.2.82" }]
[region.frankfurt]
location  = { country = "DE" }
endpoints = [{ address = "192.0.2.49" }]
[service.www]
regions = ["seoul", "frankfurt"]
"#;
const SOON: Duration = Duration::from_secs(20);

/// Someone who is told of events.
struct Hook {
    url: String,
    /// What it answers.
    status: Arc<AtomicU16>,
    bodies: Arc<Mutex<Vec<Value>>>,
}

impl Hook {
    fn start() -> Hook {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}/T0/hidden", listener.local_addr().expect("an address"));
        let hook = Hook { url, status: Arc::new(AtomicU16::new(200)), bodies: Arc::default() };
        let (status, bodies) = (hook.status.clone(), hook.bodies.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Some((mut stream, body)) = stream.ok().and_then(request) else { continue };
                let code = status.load(Ordering::Relaxed);
                if code == 200 {
                    bodies.lock().expect("bodies").push(body);
                }
                // Who has gone does not hear it.
                let _ = stream.write_all(format!("HTTP/1.1 {code} So\r\ncontent-length: 0\r\n\r\n").as_bytes());
            }
        });
        hook
    }

    /// `seoul drain` and so on: the regions' states it was told of, in order.
    fn told(&self) -> Vec<String> {
        let bodies = self.bodies.lock().expect("bodies");
        let events = bodies.iter().flat_map(|body| body["events"].as_array().cloned().unwrap_or_default());
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let regions = events.filter(|event| event["kind"] == "region");
        regions
            .map(|event| format!("{} {}", text(&event["region"]).replace("@gslb.example", ""), text(&event["after"])))
            .collect()
    }
}

fn request(mut stream: TcpStream) -> Option<(TcpStream, Value)> {
    let (mut got, mut octets) = (Vec::new(), [0; 4096]);
    loop {
        let length = stream.read(&mut octets).ok().filter(|length| *length > 0)?;
        got.extend_from_slice(&octets[..length]);
        let text = String::from_utf8_lossy(&got);
        let Some((_, body)) = text.split_once("\r\n\r\n") else { continue };
        if let Ok(body) = serde_json::from_str(body) {
            return Some((stream, body));
        }
    }
}

/// A server with its state elsewhere, so that another can go on with it.
fn start(state: &TempDir, hooks: &[(&str, &str)]) -> Server {
    let hooks: String = hooks.iter().map(|(url, more)| hook(url, more)).collect();
    Server::start(&format!("state = {:?}\n{hooks}", state.path()), &[("gslb.example.toml", ZONE)])
}

fn hook(url: &str, more: &str) -> String {
    format!("[[events.webhook]]\nurl = {url:?}\n{more}\n")
}

fn status(server: &Server, runtime: &Runtime) -> Value {
    let client = AdminClient::new(server.admin, None).expect("a client");
    runtime.block_on(client.status()).expect("a status")
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

#[test]
fn events_are_told_in_order_again_after_failures_and_on_after_a_restart() {
    let (state, hook, runtime) = (tempfile::tempdir().expect("a folder"), Hook::start(), runtime());
    let webhook = (hook.url.as_str(), "name = \"on call\"\nregions = [\"seoul\"]");
    let server = start(&state, &[webhook]);
    server.say("frankfurt", Override::Drain);
    server.say("seoul", Override::Drain);
    wait_until("the first event is told", SOON, || hook.told() == ["seoul drain"]);
    hook.status.store(503, Ordering::Relaxed);
    server.say("seoul", Override::Auto);
    let of_hook = || status(&server, &runtime)["webhooks"][0].clone();
    wait_until("a failure is seen", SOON, || of_hook()["failures"].as_u64() > Some(0));
    let failing = of_hook();
    assert_eq!((&failing["name"], &failing["error"]), (&json!("on call"), &json!("it answers 503")), "{failing}");
    assert_eq!((&failing["waiting"], &failing["delivered"]), (&json!(1), &json!(1)), "{failing}");
    assert!(failing["to"].as_str().is_some_and(|to| hook.url.starts_with(to)), "{failing}");
    assert!(!failing.to_string().contains("hidden"), "a path is a secret: {failing}");
    drop(server);
    hook.status.store(200, Ordering::Relaxed);
    let server = start(&state, &[webhook]);
    wait_until("the event of before is told", SOON, || hook.told() == ["seoul drain", "seoul up"]);
    server.say("seoul", Override::Down);
    wait_until("and what comes", SOON, || hook.told() == ["seoul drain", "seoul up", "seoul down"]);
}

#[test]
fn a_receiver_that_hangs_delays_nothing_else_and_a_reload_brings_another() {
    let (state, good, late, runtime) =
        (tempfile::tempdir().expect("a folder"), Hook::start(), Hook::start(), runtime());
    // Nobody accepts, but the kernel connects.
    let hanging = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}/", hanging.local_addr().expect("an address"));
    let server = start(&state, &[(&url, ""), (&good.url, "")]);
    let began = Instant::now();
    server.say("seoul", Override::Drain);
    assert!(server.query("www.gslb.example", "A").data().len() == 1);
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    wait_until("the other one is told", Duration::from_secs(8), || good.told() == ["seoul drain"]);
    let main = server.folder().join("meridian.toml");
    let text = std::fs::read_to_string(&main).expect("read");
    std::fs::write(&main, format!("{text}\n{}", hook(&late.url, ""))).expect("written");
    let client = AdminClient::new(server.admin, None).expect("a client");
    runtime.block_on(client.reload(false)).expect("reloaded");
    server.say("seoul", Override::Auto);
    wait_until("both are told", SOON, || good.told() == ["seoul drain", "seoul up"] && late.told() == ["seoul up"]);
    let status = status(&server, &runtime);
    assert_eq!(status["webhooks"].as_array().map(Vec::len), Some(3), "{}", status["webhooks"]);
}
