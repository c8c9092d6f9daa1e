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
        compare(&reader, address, &close.location(found.place));
        let there = Prefix::containing(address, found.scope);
        for end in [there.address(), there.last()] {
            assert_eq!(close.locate(end).place, found.place, "{end} in {there}");
        }
        let coarsely = coarse.location(coarse.locate(address).place);
        assert_eq!(coarsely.country, close.location(found.place).country, "{address}");
    }
});

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
