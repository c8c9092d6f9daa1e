//! What one packet costs, part by part and whole, without sockets: parse, look up, locate, pick, respond,
//! and `answer()` for each kind of reply.
//!
//! The snapshot is made as in production: see `support/world.rs`. Each sample asks for 4,096 random clients in turn, once each: more
//! than the nearest caches hold. Prints:
//!
//! ```text
//! cargo bench --bench answer
//! ```

use std::cell::Cell;
use std::hint::black_box;
use std::net::IpAddr;
use std::sync::{Arc, LazyLock};

use divan::Bencher;
use fastrand::Rng;
use meridian::model::{Name, Prefix};
use meridian::query::answer;
use meridian::query::counters::{CounterSet, Counters};
use meridian::query::fast_path::FastQuery;
use meridian::query::question::Question;
use meridian::state::Snapshot;
use meridian::steer::decide::{Seen, decide};
use meridian::wire::edns::ResponseOpt;
use meridian::wire::name::LowerName;
use meridian::wire::query::{Query, parse_usual};
use meridian::wire::response::{finish, room};

#[allow(dead_code)] // the other benchmarks need more of it
#[path = "support/databases.rs"]
mod databases;
#[allow(dead_code)]
#[path = "support/world.rs"]
mod world;

use world::{CLIENTS, RESOLVER};

const A: u16 = 1;

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
        World {
            snapshot: world::snapshot(1_500_000 / scale, 500_000 / scale),
            counters: CounterSet::new().shared(),
            clients: world::clients(),
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
        let packet = |address| world::query(name, A, subnet.then_some(address));
        self.bench(bencher, packet, |packet| {
            let mut out = out.borrow_mut();
            let len = answer(&self.snapshot, black_box(packet), RESOLVER, &mut *out, &self.counters);
            assert!(len > 12, "a reply");
            black_box(&out[..len]);
        });
    }
}

#[divan::bench(sample_count = 50, sample_size = CLIENTS as u32)]
fn a_parse(bencher: Bencher) {
    WORLD.bench(bencher, ask_geo, |packet| {
        let mut name = LowerName::new();
        let _ = black_box(parse_usual(black_box(packet), &mut name));
    });
}

#[divan::bench(sample_count = 50, sample_size = CLIENTS as u32)]
fn b_look_up(bencher: Bencher) {
    // Any of 10,000 names, since one alone would be warm.
    let mut rng = Rng::with_seed(8);
    let names = (0..CLIENTS).map(|_| LowerName::of(&name(&format!("host-{}", rng.u32(1..=10_000)))));
    let (names, next): (Vec<LowerName>, _) = (names.collect(), Cell::new(0));
    bencher.bench_local(|| {
        let at = next.replace((next.get() + 1) % CLIENTS);
        black_box(WORLD.snapshot.names.find_entry(black_box(&names[at])));
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
    let classes = WORLD.snapshot.plan.classes().expect("classes");
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

/// With locating the client.
#[divan::bench(sample_count = 50, sample_size = CLIENTS as u32)]
fn d_pick_what_is_settled(bencher: Bencher) {
    WORLD.bench(bencher, Step::of, |Step { query, name }| {
        let found = WORLD.snapshot.names.find_entry(name);
        black_box(FastQuery { question: &question(query), name }.reply(found).expect("a usual question"));
    });
}

#[divan::bench(sample_count = 50, sample_size = CLIENTS as u32)]
fn e_respond(bencher: Bencher) {
    let out = std::cell::RefCell::new([0; 1232]);
    let Step { query, name } = Step::of(WORLD.clients[0]);
    let found = WORLD.snapshot.names.find_entry(&name);
    let question = question(&query);
    let reply = FastQuery { question: &question, name: &name }.reply(found).expect("a usual question");
    WORLD.bench(bencher, Step::of, |Step { query, name }| {
        let out = &mut *out.borrow_mut();
        let opt = query.edns.as_ref().map(|edns| ResponseOpt::of_answer(edns, &[]));
        let room = room(out, RESOLVER.limit(query.edns.as_ref()), opt.as_ref(), None).expect("room");
        let body = black_box(&reply).write(query.asked, name, out, room).expect("it fits");
        black_box(finish(out, &body, opt.as_ref(), None));
    });
}

#[divan::bench(sample_count = 50, sample_size = CLIENTS as u32)]
fn f_answer_a_service_with_a_subnet(bencher: Bencher) {
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

/// A usual question, read; its packet is never given back.
struct Step {
    query: Query<'static>,
    name: LowerName,
}

impl Step {
    fn of(client: IpAddr) -> Step {
        let mut name = LowerName::new();
        Step { query: parse_usual(ask_geo(client).leak(), &mut name).expect("a query"), name }
    }
}

fn question<'a>(query: &Query<'a>) -> Question<'a> {
    Question { snapshot: &WORLD.snapshot, query: *query, client: &RESOLVER, counters: &WORLD.counters }
}

fn ask_geo(client: IpAddr) -> Vec<u8> {
    world::query("geo.gslb.example.com", A, Some(client))
}

fn name(label: &str) -> Name {
    Name::parse_absolute(&format!("{label}.gslb.example.com")).expect("a name")
}
