//! How many instructions one packet takes, by kind of query: exact where nanoseconds on a busy
//! machine are not. Run by the script beside it, under callgrind:
//!
//! ```text
//! benches/instructions            these sources
//! benches/instructions COMMIT     the same of an earlier commit, side by side
//! ```
//!
//! Each kind is a function of its own, so that callgrind tells them apart. Alone it says only how many
//! queries of each it answered.

use std::hint::black_box;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use meridian::query::answer;
use meridian::query::counters::{CounterSet, Counters};
use meridian::state::Snapshot;

#[allow(dead_code)] // the other benchmarks need more of it
#[path = "support/databases.rs"]
mod databases;
#[allow(dead_code)]
#[path = "support/world.rs"]
mod world;

const A: u16 = 1;
const AAAA: u16 = 28;
const HTTPS: u16 = 65;

fn main() {
    let small = std::env::args().any(|argument| argument == "--test") || cfg!(debug_assertions);
    let scale = if small { 1000 } else { 10 };
    let counters = CounterSet::new();
    let world = World { snapshot: world::snapshot(1_500_000 / scale, 500_000 / scale), counters: counters.register() };
    let clients = world::clients();
    let ask = |name: &str, qtype, subnet: bool| -> Vec<Vec<u8>> {
        let name = format!("{name}.gslb.example.com");
        clients.iter().map(|&client: &IpAddr| world::query(&name, qtype, subnet.then_some(client))).collect()
    };
    // A first round of any kind: what happens once is not a packet's.
    world.answer_all(&ask("www", A, true));
    // As at 200,000 queries per second and thread, so many of which are sampled.
    counters.drain_demand(Duration::from_millis(20), |_| ());
    score_a(&world, &ask("www", A, true));
    score_a_no_subnet(&world, &ask("www", A, false));
    score_aaaa(&world, &ask("www", AAAA, true));
    score_https(&world, &ask("www", HTTPS, true));
    geo_a(&world, &ask("geo", A, true));
    weighted_a(&world, &ask("shares", A, true));
    failover_host_a(&world, &ask("host", A, true));
    static_a(&world, &ask("static", A, false));
    nxdomain(&world, &ask("nowhere", A, false));
    referral(&world, &ask("host.child", A, false));
    stages::count(&world, &ask("geo", A, true), &clients);
}

struct World {
    snapshot: Arc<Snapshot>,
    counters: Arc<Counters>,
}

impl World {
    #[inline(always)]
    fn answer_all(&self, packets: &[Vec<u8>]) {
        let mut out = [0; 1232];
        for packet in packets {
            let len = answer(&self.snapshot, black_box(packet), world::RESOLVER, &mut out, &self.counters);
            assert!(len > 12, "a reply");
        }
    }
}

// Stages begin: the parts of a service's answer, each alone.
mod stages {
    use super::*;
    use meridian::query::fast_path::{FastQuery, Reply};
    use meridian::query::question::Question;
    use meridian::wire::edns::ResponseOpt;
    use meridian::wire::name::LowerName;
    use meridian::wire::query::{Query, parse_usual};
    use meridian::wire::response::{finish, room};

    pub fn count(world: &World, packets: &[Vec<u8>], clients: &[IpAddr]) {
        let read = |packet| {
            let mut name = LowerName::new();
            let query = parse_usual(packet, &mut name).expect("a query");
            (query, name)
        };
        let read: Vec<(Query<'_>, LowerName)> = packets.iter().map(|packet| read(packet)).collect();
        stage_parse(packets);
        stage_look_up(world, &read);
        stage_locate(world, clients);
        stage_pick(world, &read);
        stage_respond(world, &read);
    }

    fn question<'a>(world: &'a World, query: &Query<'a>) -> Question<'a> {
        Question { snapshot: &world.snapshot, query: *query, client: &world::RESOLVER, counters: &world.counters }
    }

    #[inline(never)]
    fn stage_parse(packets: &[Vec<u8>]) {
        for packet in packets {
            let mut name = LowerName::new();
            let _ = black_box(parse_usual(black_box(packet), &mut name));
        }
        println!("stage_parse {}", packets.len());
    }

    #[inline(never)]
    fn stage_look_up(world: &World, read: &[(Query<'_>, LowerName)]) {
        for (_, name) in read {
            black_box(world.snapshot.names.find_entry(black_box(name)));
        }
        println!("stage_look_up {}", read.len());
    }

    #[inline(never)]
    fn stage_locate(world: &World, clients: &[IpAddr]) {
        let classes = world.snapshot.plan.classes().expect("classes");
        for client in clients {
            black_box(classes.find(black_box(*client)));
        }
        println!("stage_locate {}", clients.len());
    }

    /// From what was looked up: locates the client, too.
    #[inline(never)]
    fn stage_pick(world: &World, read: &[(Query<'_>, LowerName)]) {
        let Some((_, first)) = read.first() else { return };
        let found = world.snapshot.names.find_entry(first);
        for (query, name) in read {
            black_box(FastQuery { question: &question(world, query), name }.reply(black_box(found)));
        }
        println!("stage_pick {}", read.len());
    }

    #[inline(never)]
    fn stage_respond(world: &World, read: &[(Query<'_>, LowerName)]) {
        let Some((query, name)) = read.first() else { return };
        let question = question(world, query);
        let found = world.snapshot.names.find_entry(name);
        let reply = FastQuery { question: &question, name }.reply(found).expect("a usual question");
        let mut out = [0; 1232];
        for (query, name) in read {
            black_box(respond(query, name, black_box(&reply), &mut out));
        }
        println!("stage_respond {}", read.len());
    }

    #[inline(always)]
    fn respond(query: &Query<'_>, name: &LowerName, reply: &Reply<'_>, out: &mut [u8]) -> Option<usize> {
        let opt = query.edns.as_ref().map(|edns| ResponseOpt::of_answer(edns, &[]));
        let room = room(out, world::RESOLVER.limit(query.edns.as_ref()), opt.as_ref(), None)?;
        let body = reply.write(query.asked, name, out, room)?;
        Some(finish(out, &body, opt.as_ref(), None))
    }
}
// Stages end.

macro_rules! kinds {
    ($($kind:ident)*) => { $(
        #[inline(never)]
        fn $kind(world: &World, packets: &[Vec<u8>]) {
            world.answer_all(packets);
            println!("{} {}", stringify!($kind), packets.len());
        }
    )* };
}

kinds! {
    score_a score_a_no_subnet score_aaaa score_https geo_a weighted_a failover_host_a static_a nxdomain referral
}
