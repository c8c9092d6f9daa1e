//! Any body, path and query to the admin API, before the real writer: an answer that is meant and is JSON where
//! it should be; never an error of the server's own; and an override or a switch that was acknowledged is on
//! disk.
//!
//! The first octet picks the content type; the first line is method and target, the rest is the body.

#![no_main]

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use axum::body::{Body, to_bytes};
use axum::http::Request;
use libfuzzer_sys::fuzz_target;
use meridian::admin::{Context, Probing, routes};
use meridian::atlas::Atlas;
use meridian::control::audit::Audit;
use meridian::control::clock;
use meridian::control::config::RumSettings;
use meridian::control::events::history::Events;
use meridian::control::events::receivers::Receivers;
use meridian::control::node::Node;
use meridian::control::overrides::OverrideStore;
use meridian::control::probe::EndpointReport;
use meridian::control::probe::budget::Budget;
use meridian::control::probe::fault::OwnFaults;
use meridian::control::readiness::Readiness;
use meridian::control::reload::{LoadStatus, ReloadRequest};
use meridian::control::rum::{Measurements, unix_now};
use meridian::control::switches::SwitchStore;
use meridian::control::troubles::Troubles;
use meridian::control::vitals::Vitals;
use meridian::control::writer::{Sources, Writer};
use meridian::query::counters::CounterSet;
use meridian::state::Publisher;
use meridian_fuzz::{measured_model, pick, scratch};
use serde_json::Value;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tower_service::Service;

const TYPES: [&str; 4] = ["application/json", "application/json; charset=utf-8", "text/csv", "text/plain"];
const STATUSES: [u16; 10] = [200, 400, 401, 403, 404, 405, 409, 413, 415, 422];

struct Fixture {
    runtime: Runtime,
    router: axum::Router,
    folder: tempfile::TempDir,
    _probes: mpsc::Sender<EndpointReport>,
}

thread_local! {
    static FIXTURE: RefCell<Fixture> = RefCell::new(Fixture::start());
}

impl Fixture {
    fn start() -> Fixture {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        let folder = scratch();
        let mut publisher = Publisher::new(measured_model(), Atlas::empty(), "", 0, BTreeMap::new(), clock::read());
        publisher.assume_up(clock::read());
        let shared = publisher.shared();
        let (probes, endpoints) = mpsc::channel(1);
        let (load_sender, loads) = mpsc::channel(64);
        let (commands, said) = mpsc::channel(64);
        let stores = (OverrideStore::new(folder.path()), SwitchStore::new(folder.path()));
        let (troubles, vitals) = (Arc::<Troubles>::default(), Arc::<Vitals>::default());
        let events = Arc::new(Events::default());
        let receivers = Receivers::new(folder.path(), events.clone(), troubles.clone(), vitals.clone());
        let writer = Writer::new(publisher, stores.0, stores.1, troubles.clone());
        let writer = writer.recording(events.clone());
        runtime.spawn(writer.beating(vitals.clone()).run(Sources { endpoints, loads, commands: said }));
        let (reloads, mut requests) = mpsc::channel::<ReloadRequest>(1);
        runtime.spawn(async move {
            while let Some(ReloadRequest { reply, .. }) = requests.recv().await {
                let _ = reply.send(Err(vec!["error: a mistake".to_owned()]));
            }
        });
        let status = LoadStatus::now(Vec::new(), Vec::new());
        let measurements = Measurements::open(&RumSettings::default(), folder.path(), unix_now(), troubles.clone());
        let readiness = Arc::new(Readiness::new(vitals.clone()));
        let audit = Arc::new(Audit::open(folder.path(), troubles.clone()));
        let node = Node::open(folder.path(), readiness, events.clone(), troubles.clone());
        let router = routes::router(Arc::new(Context {
            shared,
            counters: Arc::new(CounterSet::new()),
            answered: Arc::default(),
            commands,
            loads: load_sender,
            heartbeats: Default::default(),
            reloads,
            load_status: Arc::new(Arc::new(status).into()),
            started: Instant::now(),
            measurements: Arc::new(measurements),
            troubles,
            vitals,
            events,
            receivers,
            xdp: Default::default(),
            probing: Probing {
                budget: Arc::new(Budget::new(12)),
                probe_faults: Arc::new(OwnFaults::new("a probe")),
                scrape_faults: Arc::new(OwnFaults::new("a scrape")),
                reachability: Arc::default(),
            },
            places: Default::default(),
            node: Arc::new(node),
            cluster: None,
            access: Default::default(),
            audit,
        }));
        Fixture { runtime, router, folder, _probes: probes }
    }

    fn ask(&mut self, request: Request<Body>) -> (u16, String, Vec<u8>) {
        self.runtime.block_on(async {
            let Ok(answer) = self.router.call(request).await;
            let kind = answer.headers().get("content-type").and_then(|kind| kind.to_str().ok());
            let (status, kind) = (answer.status().as_u16(), kind.unwrap_or_default().to_owned());
            (status, kind, to_bytes(answer.into_body(), usize::MAX).await.expect("a body").to_vec())
        })
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((chosen, text)) = pick(data) else { return };
    let end = text.iter().position(|&octet| octet == b'\n').unwrap_or(text.len());
    let (line, body) = (&text[..end], text.get(end + 1..).unwrap_or_default());
    let Some((method, target)) = std::str::from_utf8(line).ok().and_then(|line| line.split_once(' ')) else { return };
    let request = Request::builder().method(method).uri(target).header("host", "localhost");
    let request = request.header("content-type", TYPES[chosen % TYPES.len()]).body(Body::from(body.to_vec()));
    let Ok(request) = request else { return };
    FIXTURE.with_borrow_mut(|fixture| {
        let path = request.uri().path().to_owned();
        if path == "/v1/live" {
            return; // goes on for ever
        }
        let (status, kind, body) = fixture.ask(request);
        let stalled = status == 503 && path == "/readyz"; // the writer runs only while something is asked
        assert!(stalled || STATUSES.contains(&status), "{status}: {}", String::from_utf8_lossy(&body));
        let json = kind.ends_with("json").then(|| serde_json::from_slice::<Value>(&body).expect("JSON"));
        match json {
            Some(json) if status == 200 => is_kept(fixture, &path, &json),
            Some(_) if stalled => {}
            Some(json) => assert!(json["error"].is_string() && json["details"].is_array(), "{json}"),
            None => {}
        }
    });
});

/// "An override that was acknowledged is on disk."
fn is_kept(fixture: &Fixture, path: &str, said: &Value) {
    if path.ends_with("/override") {
        let kept = OverrideStore::new(fixture.folder.path()).load().expect("overrides").overrides;
        let kept = said["region"].as_str().and_then(|region| kept.get(region)).map(|said| serde_json::json!(said));
        assert_eq!(kept.unwrap_or("auto".into()), said["override"]);
    }
    if path.ends_with("/switch") {
        let kept = SwitchStore::new(fixture.folder.path()).load().expect("switches");
        let service = said["service"].as_str().unwrap_or_default().trim_end_matches('.');
        let kept = kept.iter().find(|(name, _)| name.trim_end_matches('.') == service);
        let stage = kept.and_then(|(_, kept)| kept.stage.as_deref());
        assert_eq!(stage.unwrap_or("blue"), said["stage"]);
    }
}
