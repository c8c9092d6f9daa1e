//! What an atlas costs at the size of the databases that are sold: memory, build, lookups; whole, and by
//! country alone.
//!
//! Generates, from a fixed seed, a City database of 2 million networks (1.5 million of IPv4, half
//! a million of IPv6, 80,000 locations) and an ASN database of half a million, keeps them under
//! target/tmp, and prints:
//!
//! ```text
//! cargo bench --bench atlas
//! ```

use std::hint::black_box;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Instant;

use fastrand::Rng;
use meridian::atlas::{Atlas, Database, Detail, PlaceId};
use meridian::model::Prefix;

#[path = "support/databases.rs"]
mod databases;

use databases::{asn_record, city_record, v4_address, v6_address};

fn main() {
    // `cargo test --benches`, which says no `--bench`, only wants to know that this runs.
    let small = !std::env::args().any(|argument| argument == "--bench");
    let scale = if small { 1000 } else { 1 };
    let city = databases::file("city", 1_500_000 / scale, 500_000 / scale, city_record);
    let asn = databases::file("asn", 400_000 / scale, 100_000 / scale, asn_record);
    measure("City, by country alone", &[&city], Detail::COUNTRIES, small);
    measure("City", &[&city], Detail::ALL, small);
    measure("City and ASN", &[&city, &asn], Detail::ALL, small);
}

fn measure(title: &str, files: &[&PathBuf], detail: Detail, small: bool) {
    let start = Instant::now();
    let databases: Vec<Database> = files.iter().map(|path| Database::read(path).expect("a file")).collect();
    let read = start.elapsed();
    let atlas = Atlas::build_for(detail, &databases, &[]).expect("an atlas");
    let build = start.elapsed();
    let summary = atlas.summary();
    println!("{title}");
    println!("  networks        {:>12}", summary.databases.iter().map(|database| database.networks).sum::<u64>());
    println!("  ranges          {:>12} IPv4, {} IPv6", summary.ranges_v4, summary.ranges_v6);
    println!("  places          {:>12}", summary.places);
    println!("  read and build  {:>12.3} s, {:.3} of it to read", build.as_secs_f64(), read.as_secs_f64());
    println!("  memory          {:>12.1} MB", atlas.memory_bytes() as f64 / 1e6);
    grouped(&atlas);
    let rounds = if small { 1 } else { 5 };
    let mut rng = Rng::with_seed(7);
    refined(&atlas, if small { 200 } else { 20_000 }, &mut rng);
    lookups("IPv4, random", &atlas, &addresses(|| v4_address(&mut rng)), rounds);
    lookups("IPv6, random", &atlas, &addresses(|| v6_address(&mut rng)), rounds);
    let few: Vec<IpAddr> = (0..512).map(|_| v4_address(&mut rng)).collect();
    lookups("IPv4, 512 clients", &atlas, &addresses(|| few[rng.usize(..few.len())]), rounds);
    let few: Vec<IpAddr> = (0..512).map(|_| v6_address(&mut rng)).collect();
    lookups("IPv6, 512 clients", &atlas, &addresses(|| few[rng.usize(..few.len())]), rounds);
}

/// What queries are answered from: continents, and places as they are sent to the nearest of eight regions.
fn grouped(atlas: &Atlas) {
    let by_continent = |place| atlas.location(place).continent.map_or(0, |continent| continent as u32 + 1);
    let by_eighth = |place| atlas.coordinates(place).map_or(0, |at| 1 + ((at.longitude() + 180.0) / 45.01) as u32);
    let groupings: [(&str, &dyn Fn(PlaceId) -> u32); 2] = [("continent", &by_continent), ("longitude", &by_eighth)];
    for (title, group) in groupings {
        let groups: Vec<u32> = atlas.places().map(group).collect();
        let start = Instant::now();
        let grouped = atlas.grouped(&groups);
        let (took, memory) = (start.elapsed().as_secs_f64() * 1e3, grouped.memory_bytes() as f64 / 1e6);
        println!("  by {title:<12} {:>12} ranges, {memory:.1} MB, {took:.0} ms", grouped.ranges());
    }
}

/// Tells this many networks apart, a quarter of them of IPv6.
fn refined(atlas: &Atlas, count: usize, rng: &mut Rng) {
    let network = |number: usize| match number % 4 {
        0 => Prefix::containing(v6_address(rng), rng.u8(32..=64)),
        _ => Prefix::containing(v4_address(rng), rng.u8(12..=28)),
    };
    let networks: Vec<Prefix> = (0..count).map(network).collect();
    let start = Instant::now();
    let refined = atlas.refined(&networks);
    let took = start.elapsed();
    println!("  refined by      {:>12} networks: {:.2} s", networks.len(), took.as_secs_f64());
    println!("                  {:>12} places, {:.1} MB", refined.place_count(), refined.memory_bytes() as f64 / 1e6);
}

/// Far more than caches hold, so that each lookup finds its memory cold.
fn addresses(mut next: impl FnMut() -> IpAddr) -> Vec<IpAddr> {
    (0..200_000).map(|_| next()).collect()
}

/// Nanoseconds per lookup: alone, when each waits for the one before, and in a stream, when the
/// processor overlaps them as it does over a batch of packets.
fn lookups(title: &str, atlas: &Atlas, addresses: &[IpAddr], rounds: usize) {
    let alone = nanoseconds(addresses, rounds, |at, previous| {
        // Always 0, but the processor must know `previous` before it can go on.
        let found = atlas.locate(addresses[at + (previous >> 31) as usize]);
        found.place.0 ^ u32::from(found.scope)
    });
    let stream = nanoseconds(addresses, rounds, |at, previous| previous ^ atlas.locate(addresses[at]).place.0);
    println!("  {title:<18}{alone:>10.1} ns alone, {stream:.1} ns in a stream");
}

fn nanoseconds(addresses: &[IpAddr], rounds: usize, lookup: impl Fn(usize, u32) -> u32) -> f64 {
    let start = Instant::now();
    let mut previous = 0;
    for _ in 0..rounds {
        previous = (0..addresses.len()).fold(previous, |previous, at| lookup(at, previous));
    }
    black_box(previous);
    start.elapsed().as_nanos() as f64 / (rounds * addresses.len()) as f64
}
