//! Any octets as a GeoIP database: refused, or an atlas that says of the networks what maxminddb's own lookup
//! says, and the same throughout each scope.

#![no_main]

use std::net::IpAddr;

use libfuzzer_sys::fuzz_target;
use maxminddb::{Reader, WithinOptions, path};
use meridian::atlas::{Atlas, Database, Detail};
use meridian::model::{CountryCode, Location, Prefix};

/// As many networks are compared, and as many steps taken to find them.
const COMPARED: usize = 64;

fuzz_target!(|bytes: &[u8]| {
    let database = Database { path: "fuzz.mmdb".into(), bytes: bytes.to_vec() };
    let build = |detail| Atlas::build_for(detail, std::slice::from_ref(&database), &[]);
    let (Ok(close), Ok(coarse)) = (build(Detail::ALL), build(Detail::COUNTRIES)) else { return };
    let reader = Reader::from_source(bytes).expect("what made an atlas is a database");
    let mut addresses: Vec<IpAddr> =
        ["127.82.0.1", "255.255.255.255", "::1", "2001:db8::1"].iter().filter_map(|text| text.parse().ok()).collect();
    let networks = reader.networks(WithinOptions::default()).into_iter().flatten();
    for network in networks.take(COMPARED).filter_map(|found| found.ok()?.network().ok()) {
        addresses.extend([network.network(), network.broadcast()]);
    }
    for address in addresses {
        let found = close.locate(address);
        if !is_ipv4_alias(bytes, &reader, address) {
            compare(&reader, address, &close.location(found.place));
        }
        let there = Prefix::containing(address, found.scope);
        for end in [there.address(), there.last()] {
            assert_eq!(close.locate(end).place, found.place, "{end} in {there}");
        }
        let coarsely = coarse.location(coarse.locate(address).place);
        assert_eq!(coarsely.country, close.location(found.place).country, "{address}");
    }
});

/// Whether an IPv6 address stands below a branch that leads to the node of IPv4 (`::/96`): an atlas leaves such
/// aliases out wherever they are, and maxminddb follows them.
fn is_ipv4_alias(bytes: &[u8], reader: &Reader<&[u8]>, address: IpAddr) -> bool {
    let IpAddr::V6(address) = address else { return false };
    let (nodes, bits) = (reader.metadata().node_count as usize, usize::from(reader.metadata().record_size));
    let next = |node: usize, right: usize| {
        let at = node * bits / 4;
        let mut octets = [0; 8];
        octets[..bits / 4].copy_from_slice(&bytes[at..at + bits / 4]);
        let node = u64::from_be_bytes(octets) as usize;
        match (bits, right) {
            (28, 0) => node >> 40 | (node >> 36 & 0xf) << 24,
            (28, _) => node >> 8 & 0xff_ffff | (node >> 32 & 0xf) << 24,
            (_, side) => node >> (64 - bits * (side + 1)) & ((1 << bits) - 1),
        }
    };
    let walk = |address: u128, steps: u32| {
        let step =
            |node: &usize, depth: u32| (*node < nodes).then(|| next(*node, (address >> (127 - depth) & 1) as usize));
        let mut path = vec![0];
        path.extend((0..steps).scan(0, |node, depth| step(node, depth).inspect(|&to| *node = to)));
        path
    };
    let ipv4 = walk(0, 96);
    ipv4.len() == 97 && ipv4[96] < nodes && walk(address.into(), 128).contains(&ipv4[96])
}

/// What the layout of GeoIP2 says, where it is well-formed and said once: other vendors' keys may say more.
fn compare(reader: &Reader<&[u8]>, address: IpAddr, location: &Location) {
    // Where databases keep IPv4, and mapped addresses, which an atlas looks up as the IPv4 they are.
    if matches!(address, IpAddr::V6(v6) if v6.segments()[..5] == [0; 5]) {
        return;
    }
    let Ok(found) = reader.lookup(address) else { return };
    let Ok(Some(record)) = found.decode::<serde_json::Value>() else { return };
    let others = ["country_code", "country_iso_code", "countryCode", "asn", "as_number", "traits"];
    if others.iter().any(|key| record.get(key).is_some()) {
        return;
    }
    let code: Result<Option<String>, _> = found.decode_path(&path!["country", "iso_code"]);
    if let Ok(Some(Ok(code))) = code.map(|code| code.map(|code| code.parse::<CountryCode>())) {
        assert_eq!(location.country, Some(code), "{address}: {record}");
    }
    let asn: Result<Option<u32>, _> = found.decode_path(&path!["autonomous_system_number"]);
    if let Ok(Some(asn)) = asn
        && asn > 0
    {
        assert_eq!(location.asn, Some(asn), "{address}: {record}");
    }
}
