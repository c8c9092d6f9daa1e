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
    use meridian::query::shortcut::{Asked, Way};
    use meridian::wire::name::LowerName;

    pub fn count(world: &World, packets: &[Vec<u8>], clients: &[IpAddr]) {
        let read = |packet: &Vec<u8>| {
            let mut name = LowerName::new();
            let asked = Asked::read(packet, &mut name).expect("a usual question");
            (asked, name)
        };
        let read: Vec<(Asked, LowerName)> = packets.iter().map(read).collect();
        let ways: Vec<Way<'_>> = read.iter().zip(packets).map(|(read, packet)| way(world, read, packet)).collect();
        stage_parse(packets);
        stage_look_up(&ways);
        stage_locate(world, clients);
        stage_pick(&ways);
        stage_respond(&ways);
    }

    fn way<'a>(world: &'a World, (asked, name): &'a (Asked, LowerName), packet: &'a [u8]) -> Way<'a> {
        Way { snapshot: &world.snapshot, asked, name, packet, client: world::RESOLVER }
    }

    #[inline(never)]
    fn stage_parse(packets: &[Vec<u8>]) {
        for packet in packets {
            let mut name = LowerName::new();
            black_box(Asked::read(black_box(packet), &mut name));
        }
        println!("stage_parse {}", packets.len());
    }

    #[inline(never)]
    fn stage_look_up(ways: &[Way<'_>]) {
        for way in ways {
            black_box(way.snapshot.names.find_spot(black_box(way.name)));
        }
        println!("stage_look_up {}", ways.len());
    }

    #[inline(never)]
    fn stage_locate(world: &World, clients: &[IpAddr]) {
        let classes = world.snapshot.plan.classes.as_ref().expect("classes");
        for client in clients {
            black_box(classes.find(black_box(*client)));
        }
        println!("stage_locate {}", clients.len());
    }

    /// From what was looked up: locates the client, too.
    #[inline(never)]
    fn stage_pick(ways: &[Way<'_>]) {
        let Some(first) = ways.first() else { return };
        let found = first.snapshot.names.find_spot(first.name);
        for way in ways {
            black_box(way.reply(black_box(found)));
        }
        println!("stage_pick {}", ways.len());
    }

    #[inline(never)]
    fn stage_respond(ways: &[Way<'_>]) {
        let Some(first) = ways.first() else { return };
        let reply = first.reply(first.snapshot.names.find_spot(first.name)).expect("a usual question");
        let mut out = [0; 1232];
        for way in ways {
            black_box(way.write(black_box(&reply), &mut out));
        }
        println!("stage_respond {}", ways.len());
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
