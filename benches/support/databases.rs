//! Databases of any size, generated from a fixed seed: networks of the lengths and in the runs that
//! real ones have, disjoint, ascending; 80,000 cities, a few of which have most networks.
//!
//! In: how many networks. Out: a MaxMind-format file, the same octets whenever asked for.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use fastrand::Rng;
use mmdb_writer::ipnet::IpNet;
use mmdb_writer::{Value, Writer};

const LOCATIONS: u32 = 80_000;
const ASNS: u32 = 70_000;

/// The file of [`database`], generated where it is not there yet.
pub fn file(name: &str, v4: usize, v6: usize, record: fn(&mut Rng) -> Value) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("atlas-{name}-{v4}-{v6}.mmdb"));
    if !path.exists() {
        std::fs::write(&path, database(name, v4, v6, record)).expect("written");
    }
    path
}

/// A database with this many networks of each family, and what `record` says of each.
pub fn database(name: &str, v4: usize, v6: usize, record: fn(&mut Rng) -> Value) -> Vec<u8> {
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
    writer.to_bytes().expect("a database")
}

/// An address in the unicast space.
pub fn v4_address(rng: &mut Rng) -> IpAddr {
    IpAddr::V4(Ipv4Addr::from(rng.u32(0x0100_0000..0xe000_0000)))
}

/// An address near the generated networks.
pub fn v6_address(rng: &mut Rng) -> IpAddr {
    // Where the generated networks are: see `v6_networks`.
    let registry = V6_REGISTRIES[rng.usize(..V6_REGISTRIES.len())];
    IpAddr::V6(Ipv6Addr::from(registry + (rng.u128(..) & ((1 << 116) - 1))))
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

/// What a City database says of one network.
pub fn city_record(rng: &mut Rng) -> Value {
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

/// What an ASN database says of one network.
pub fn asn_record(rng: &mut Rng) -> Value {
    Value::map([("autonomous_system_number", Value::from(rng.u32(1..ASNS)))])
}
