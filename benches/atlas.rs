//! What an atlas costs at the size of the databases that are sold: memory, build, lookups.
//!
//! Generates, from a fixed seed, a City database of 2 million networks (1.5 million of IPv4, half
//! a million of IPv6, 80,000 locations) and an ASN database of half a million, keeps them under
//! target/tmp, and prints:
//!
//! ```text
//! cargo bench --bench atlas
//! ```

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::time::Instant;

use fastrand::Rng;
use meridian::atlas::{Atlas, Database};
use mmdb_writer::ipnet::IpNet;
use mmdb_writer::{Value, Writer};

const LOCATIONS: u32 = 80_000;
const ASNS: u32 = 70_000;

fn main() {
    // `cargo test --benches`, which says no `--bench`, only wants to know that this runs.
    let small = !std::env::args().any(|argument| argument == "--bench");
    let scale = if small { 1000 } else { 1 };
    let city = database("city", 1_500_000 / scale, 500_000 / scale, city_record);
    let asn = database("asn", 400_000 / scale, 100_000 / scale, asn_record);
    measure("City", &[&city], small);
    measure("City and ASN", &[&city, &asn], small);
}

fn measure(title: &str, files: &[&PathBuf], small: bool) {
    let databases: Vec<Database> = files.iter().map(|path| Database::read(path).expect("a file")).collect();
    let start = Instant::now();
    let atlas = Atlas::build(&databases, &[]).expect("an atlas");
    let build = start.elapsed();
    let summary = atlas.summary();
    println!("{title}");
    println!("  networks        {:>12}", summary.databases.iter().map(|database| database.networks).sum::<u64>());
    println!("  ranges          {:>12} IPv4, {} IPv6", summary.ranges_v4, summary.ranges_v6);
    println!("  places          {:>12}", summary.places);
    println!("  build           {:>12.2} s", build.as_secs_f64());
    println!("  memory          {:>12.1} MB", atlas.memory_bytes() as f64 / 1e6);
    let rounds = if small { 1 } else { 20 };
    let mut rng = Rng::with_seed(7);
    lookups("IPv4, random", &atlas, &addresses(|| v4_address(&mut rng)), rounds);
    lookups("IPv6, random", &atlas, &addresses(|| v6_address(&mut rng)), rounds);
    let few: Vec<IpAddr> = (0..512).map(|_| v4_address(&mut rng)).collect();
    lookups("IPv4, 512 clients", &atlas, &addresses(|| few[rng.usize(..few.len())]), rounds);
    let few: Vec<IpAddr> = (0..512).map(|_| v6_address(&mut rng)).collect();
    lookups("IPv6, 512 clients", &atlas, &addresses(|| few[rng.usize(..few.len())]), rounds);
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

fn v4_address(rng: &mut Rng) -> IpAddr {
    IpAddr::V4(Ipv4Addr::from(rng.u32(0x0100_0000..0xe000_0000)))
}

fn v6_address(rng: &mut Rng) -> IpAddr {
    // Where the generated networks are: see `v6_networks`.
    let registry = V6_REGISTRIES[rng.usize(..V6_REGISTRIES.len())];
    IpAddr::V6(Ipv6Addr::from(registry + (rng.u128(..) & ((1 << 116) - 1))))
}

/// The file of that name, generated where it is not there yet.
fn database(name: &str, v4: usize, v6: usize, record: fn(&mut Rng) -> Value) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("atlas-{name}-{v4}-{v6}.mmdb"));
    if path.exists() {
        return path;
    }
    let mut rng = Rng::with_seed(42);
    let mut writer = Writer::builder(format!("Generated-{name}")).description(&[("en", "generated")]).build();
    let mut value = record(&mut rng);
    for network in v4_networks(v4, &mut rng).into_iter().chain(v6_networks(v6, &mut rng)) {
        // Neighbours are often in one place.
        if rng.u32(..100) < 70 {
            value = record(&mut rng);
        }
        writer.insert_value(network, value.clone()).expect("inserted");
    }
    std::fs::write(&path, writer.to_bytes().expect("a database")).expect("written");
    path
}

/// Ascending, disjoint, of the lengths real databases have, all over the unicast space.
fn v4_networks(count: usize, rng: &mut Rng) -> Vec<IpNet> {
    let lengths = [19, 20, 20, 21, 21, 22, 22, 22, 23, 23, 23, 24, 24, 24, 24, 24, 25, 26, 27, 28, 30, 32];
    let span = u64::from(0xe000_0000_u32 - 0x0100_0000) / count as u64;
    let mut networks = Vec::with_capacity(count);
    let mut cursor = 0x0100_0000_u64;
    while networks.len() < count && cursor < 0xe000_0000 {
        let length = lengths[rng.usize(..lengths.len())];
        let size = 1u64 << (32 - length);
        cursor = cursor.next_multiple_of(size);
        networks.push(IpNet::new(Ipv4Addr::from(cursor as u32).into(), length).expect("a network"));
        cursor += size;
        // Keep pace with the share of the space that is due.
        let due = 0x0100_0000 + span * networks.len() as u64;
        if cursor + 65_536 < due {
            cursor = due;
        }
    }
    networks
}

/// The /12s of the five registries.
const V6_REGISTRIES: [u128; 5] = [0x2400 << 112, 0x2600 << 112, 0x2800 << 112, 0x2a00 << 112, 0x2c00 << 112];

/// Ascending, disjoint, of mixed lengths, some beyond /64, spread over the registries' space in
/// runs: most networks follow the one before, as they do inside an allocation.
fn v6_networks(count: usize, rng: &mut Rng) -> Vec<IpNet> {
    let lengths = [32, 32, 36, 40, 44, 48, 48, 48, 48, 56, 64, 64, 72, 128];
    let each = count / V6_REGISTRIES.len();
    let pace = (1u128 << 116) / each as u128;
    let mut networks = Vec::with_capacity(count);
    for registry in V6_REGISTRIES {
        let mut cursor = registry;
        for number in 0..each as u128 {
            let due = registry + number * pace;
            if cursor < due && rng.u32(..100) < 30 {
                cursor = due >> 96 << 96;
            }
            let length = lengths[rng.usize(..lengths.len())];
            let size = 1u128 << (128 - length);
            cursor = cursor.next_multiple_of(size);
            networks.push(IpNet::new(Ipv6Addr::from(cursor).into(), length).expect("a network"));
            cursor += size;
        }
    }
    networks.sort();
    networks.dedup();
    networks
}

fn city_record(rng: &mut Rng) -> Value {
    // Few cities have most networks.
    let number = (rng.f64().powi(2) * f64::from(LOCATIONS)) as u32;
    let mut rng = Rng::with_seed(u64::from(number));
    let country = ["US", "DE", "FR", "GB", "KR", "JP", "BR", "IN", "AU", "ZA"][rng.usize(..10)];
    let named = |key: &'static str, text: String| Value::map([(key, Value::from(text))]);
    let degrees = |range: f64, rng: &mut Rng| Value::from(((rng.f64() - 0.5) * range * 1e4).round() / 1e4);
    let location = [("latitude", degrees(170.0, &mut rng)), ("longitude", degrees(350.0, &mut rng))];
    Value::map([
        ("city", Value::map([("names", named("en", format!("City of {number}")))])),
        ("country", named("iso_code", country.to_owned())),
        ("location", Value::map(location)),
        ("subdivisions", Value::array([named("iso_code", format!("{:02}", number % 60))])),
    ])
}

fn asn_record(rng: &mut Rng) -> Value {
    Value::map([("autonomous_system_number", Value::from(rng.u32(1..ASNS)))])
}
