//! What one packet costs, part by part and whole, without sockets: parse, look up, locate, decide,
//! and `answer()` for each kind of reply.
//!
//! The snapshot is made as in production, over a generated City database of 2 million networks, the
//! one `benches/atlas.rs` measures. Each sample asks for 4,096 random clients in turn, once each: more
//! than the nearest caches hold. Prints:
//!
//! ```text
//! cargo bench --bench answer
//! ```

use std::cell::Cell;
use std::collections::BTreeMap;
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};
use std::time::Instant;

use divan::Bencher;
use fastrand::Rng;
use meridian::atlas::{Atlas, Database};
use meridian::control::config::{self, Files};
use meridian::model::{Model, Name, Prefix};
use meridian::query::counters::{CounterSet, Counters};
use meridian::query::wire::query::{Problem, read};
use meridian::query::{Client, Transport, answer};
use meridian::state::{Publisher, Snapshot};
use meridian::steer::decide::{Seen, decide};

#[allow(dead_code)] // the other benchmark needs more of it
#[path = "support/databases.rs"]
mod databases;

const CLIENTS: usize = 4_096;

const ZONE: &str = r#"
origin  = "gslb.example.com"
records = """
@         SOA  ns1 hostmaster 1 1h 10m 1w 60
@         NS   ns1
@         NS   ns2
ns1       A    198.51.100.53
ns2       A    203.0.113.53
static    A    192.0.2.80
child     NS   ns1.child
child     NS   ns2.child
ns1.child A    192.0.2.53
ns2.child A    192.0.2.54
$GENERATE 1-10000 host-$ A 192.0.2.1
"""

[region.seoul]
location  = { country = "KR", latitude = 37.57, longitude = 126.98 }
endpoints = [{ address = ["203.0.113.10", "2001:db8:1::10"], weight = 4 }, { address = "203.0.113.11" }]

[region.virginia]
location  = { country = "US", latitude = 39.04, longitude = -77.49 }
endpoints = [{ address = ["203.0.113.20", "2001:db8:2::10"] }]

[region.frankfurt]
location  = { country = "DE", latitude = 50.11, longitude = 8.68 }
endpoints = [{ address = ["203.0.113.30", "2001:db8:3::10"] }]

[service.www]
policy  = "score"
regions = ["seoul", "virginia", "frankfurt"]
"#;

fn main() {
    LazyLock::force(&WORLD); // not within the first measurement
    divan::main();
}

static WORLD: LazyLock<World> = LazyLock::new(World::new);

struct World {
    snapshot: Arc<Snapshot>,
    counters: Arc<Counters>,
    clients: Vec<IpAddr>,
}

impl World {
    fn new() -> World {
        // `cargo test --benches`, which says no `--bench`, only wants to know that this runs.
        let small = !std::env::args().any(|argument| argument == "--bench");
        let scale = if small { 1000 } else { 1 };
        let city = databases::database("city", 1_500_000 / scale, 500_000 / scale, databases::city_record);
        let atlas = Atlas::build(&[Database { path: "city.mmdb".into(), bytes: city }], &[]).expect("an atlas");
        let publisher = Publisher::new(model(), atlas, "", 0, BTreeMap::new(), Instant::now());
        let mut rng = Rng::with_seed(7);
        World {
            snapshot: publisher.shared().load_full(),
            counters: CounterSet::new().shared(),
            clients: (0..CLIENTS).map(|_| databases::v4_address(&mut rng)).collect(),
        }
    }

    /// Measures `each` on what `of` makes of every client, in turn.
    fn bench<T>(&self, bencher: Bencher, of: impl Fn(IpAddr) -> T, each: impl Fn(&T)) {
        let items: Vec<T> = self.clients.iter().map(|&client| of(client)).collect();
        let next = Cell::new(0);
        bencher.bench_local(|| {
            let at = next.replace((next.get() + 1) % CLIENTS);
            each(&items[at]);
        });
    }

    /// Measures the whole of `answer()`, to a name asked with or without the client's network.
    fn answers(&self, bencher: Bencher, name: &str, subnet: bool) {
        let out = std::cell::RefCell::new([0; 1232]);
        let client = Client { address: Ipv4Addr::LOCALHOST.into(), transport: Transport::Udp };
        let packet = |address| query(name, subnet.then_some(address));
        self.bench(bencher, packet, |packet| {
            let mut out = out.borrow_mut();
            let len = answer(&self.snapshot, black_box(packet), client, &mut *out, &self.counters);
            assert!(len > 12, "a reply");
            black_box(&out[..len]);
        });
    }
}

#[divan::bench(sample_count = 50, sample_size = CLIENTS as u32)]
fn a_parse(bencher: Bencher) {
    let packet = |client| query("www.gslb.example.com", Some(client));
    WORLD.bench(bencher, packet, |packet| {
        let (query, problem) = read(black_box(packet));
        assert!(!matches!(problem, Some(Problem::Malformed)));
        black_box(query.question);
    });
}

#[divan::bench(sample_count = 50, sample_size = CLIENTS as u32)]
fn b_look_up(bencher: Bencher) {
    // Any of 10,000 names, since one alone would be warm.
    let mut rng = Rng::with_seed(8);
    let names: Vec<Name> = (0..CLIENTS).map(|_| name(&format!("host-{}", rng.u32(1..=10_000)))).collect();
    let next = Cell::new(0);
    bencher.bench_local(|| {
        let at = next.replace((next.get() + 1) % CLIENTS);
        black_box(WORLD.snapshot.names.find(black_box(names[at].as_wire())));
    });
}

#[divan::bench(sample_count = 50, sample_size = CLIENTS as u32)]
fn c_locate_a_place(bencher: Bencher) {
    let locate = |client: &IpAddr| {
        black_box(WORLD.snapshot.atlas.locate(black_box(*client)));
    };
    WORLD.bench(bencher, |client| client, locate);
}

#[divan::bench(sample_count = 50, sample_size = CLIENTS as u32)]
fn c_locate_a_class(bencher: Bencher) {
    let classes = WORLD.snapshot.plan.classes.as_ref().expect("classes");
    let find = |client: &IpAddr| {
        black_box(classes.find(black_box(*client)));
    };
    WORLD.bench(bencher, |client| client, find);
}

#[divan::bench(sample_count = 50, sample_size = CLIENTS as u32)]
fn d_locate_and_decide(bencher: Bencher) {
    let snapshot = &WORLD.snapshot;
    let service = snapshot.model.service_ids().next().expect("a service");
    let seen = |client| Seen::Subnet(Prefix::containing(client, 24).address());
    WORLD.bench(bencher, seen, |&seen| {
        black_box(decide(&snapshot.view(), service, black_box(seen)).expect("a decision"));
    });
}

#[divan::bench(sample_count = 50, sample_size = CLIENTS as u32)]
fn e_answer_a_service_with_a_subnet(bencher: Bencher) {
    WORLD.answers(bencher, "www.gslb.example.com", true);
}

#[divan::bench(sample_count = 50, sample_size = CLIENTS as u32)]
fn f_answer_a_static_name(bencher: Bencher) {
    WORLD.answers(bencher, "static.gslb.example.com", false);
}

#[divan::bench(sample_count = 50, sample_size = CLIENTS as u32)]
fn g_answer_nxdomain(bencher: Bencher) {
    WORLD.answers(bencher, "nowhere.gslb.example.com", false);
}

#[divan::bench(sample_count = 50, sample_size = CLIENTS as u32)]
fn h_answer_a_referral(bencher: Bencher) {
    WORLD.answers(bencher, "host.child.gslb.example.com", false);
}

fn name(label: &str) -> Name {
    Name::parse_absolute(&format!("{label}.gslb.example.com")).expect("a name")
}

/// A query for A as resolvers send it: with EDNS, and perhaps the client's /24.
fn query(name: &str, client: Option<IpAddr>) -> Vec<u8> {
    let mut packet = vec![0x4d, 0x52, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1];
    packet.extend(Name::parse_absolute(name).expect("a name").as_wire());
    packet.extend([0, 1, 0, 1, 0, 0, 41, 0x04, 0xd0, 0, 0, 0, 0]);
    match client {
        Some(IpAddr::V4(client)) => {
            packet.extend([0, 11, 0, 8, 0, 7, 0, 1, 24, 0]);
            packet.extend(&client.octets()[..3]);
        }
        _ => packet.extend([0, 0]),
    }
    packet
}

/// The zone as the only file of a configuration.
struct OneZone;

impl Files for OneZone {
    fn read(&self, path: &Path) -> std::io::Result<String> {
        Ok(if path.ends_with("meridian.toml") { String::new() } else { ZONE.to_owned() })
    }

    fn list(&self, _: &Path) -> std::io::Result<Vec<PathBuf>> {
        Ok(vec!["zones/gslb.example.com.toml".into()])
    }
}

fn model() -> Model {
    let loaded = config::load_from(&OneZone, Path::new("meridian.toml"));
    loaded.unwrap_or_else(|mistakes| panic!("{mistakes:#?}")).model
}
