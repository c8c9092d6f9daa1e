//! The atlas on MaxMind's public test databases: real files in the City, Country and ASN layouts.
//!
//! Set MERIDIAN_TEST_GEOIP to a folder that holds them (`test-data` of
//! <https://github.com/maxmind/MaxMind-DB>); without it these tests are skipped.

use std::net::IpAddr;
use std::path::PathBuf;

use meridian::atlas::{Atlas, Database, Located};
use meridian::model::{Coordinates, Location};

mod support;

use support::tools::{self, Need};

const CITY: &str = "GeoIP2-City-Test.mmdb";
const COUNTRY: &str = "GeoLite2-Country-Test.mmdb";
const ASN: &str = "GeoLite2-ASN-Test.mmdb";

/// `None`, said aloud, where the files are not there.
fn database(name: &str) -> Option<Database> {
    let Some(folder) = std::env::var_os("MERIDIAN_TEST_GEOIP").map(PathBuf::from) else {
        tools::skip(Need::Maxmind, &format!("MERIDIAN_TEST_GEOIP does not say where {name} is"));
        return None;
    };
    Some(Database::read(&folder.join(name)).expect("a readable test database"))
}

fn atlas(names: &[&str]) -> Option<Atlas> {
    let databases: Vec<Database> = names.iter().map(|name| database(name)).collect::<Option<_>>()?;
    Some(Atlas::build(&databases, &[]).expect("an atlas"))
}

fn located(atlas: &Atlas, address: &str) -> (Location, Located) {
    let found = atlas.locate(address.parse().expect("an address"));
    (atlas.location(found.place), found)
}

#[test]
fn known_clients_are_where_they_should_be() {
    let Some(atlas) = atlas(&[CITY]) else { return };
    for (address, country, subdivision, city) in [
        ("81.2.69.160", "GB", "ENG", "London"),
        ("89.160.20.112", "SE", "E", "Linköping"),
        ("2.125.160.216", "GB", "ENG", "Boxford"),
        ("216.160.83.56", "US", "WA", "Milton"),
    ] {
        let (location, _) = located(&atlas, address);
        assert_eq!(location.country, country.parse().ok(), "{address}");
        assert_eq!(location.city.as_deref(), Some(city), "{address}");
        assert_eq!(location.subdivision.as_deref(), Some(subdivision), "{address}");
    }
    assert_eq!(located(&atlas, "81.2.69.160").0.coordinates, Coordinates::new(51.5142, -0.0931));
    assert_eq!(located(&atlas, "::ffff:81.2.69.160").0, located(&atlas, "81.2.69.160").0);
    assert_eq!(located(&atlas, "192.0.2.1").0, Location::default());
}

#[test]
fn city_country_and_asn_files_complete_each_other() {
    let Some(atlas) = atlas(&[ASN, COUNTRY, CITY]) else { return };
    let (location, _) = located(&atlas, "89.160.20.112");
    assert_eq!((location.city.as_deref(), location.asn), (Some("Linköping"), Some(29518)));
    // Only the ASN file knows this one.
    assert_eq!(located(&atlas, "1.128.0.1").0.asn, Some(1221));
    let kinds: Vec<_> = atlas.summary().databases.iter().map(|database| database.kind.as_str()).collect();
    assert_eq!(kinds, ["GeoLite2-ASN", "GeoLite2-Country", "GeoIP2-City"]);
}

#[test]
fn a_country_file_alone_still_gives_coordinates() {
    let Some(atlas) = atlas(&[COUNTRY]) else { return };
    let (location, found) = located(&atlas, "81.2.69.160");
    assert_eq!((location.country, location.coordinates), ("GB".parse().ok(), None));
    assert!((atlas.coordinates(found.place).expect("a centroid").latitude() - 54.0).abs() < 1.0);
}

/// Every network of the file, against `maxminddb`'s own lookups: the place at both its ends, and
/// inside the scope returned.
#[test]
fn every_network_is_found_as_the_file_says() {
    for name in [CITY, COUNTRY, ASN] {
        let (Some(file), Some(atlas)) = (database(name), atlas(&[name])) else { return };
        let reader = maxminddb::Reader::from_source(file.bytes.as_slice()).expect("a reader");
        let mut networks = 0;
        for found in reader.networks(maxminddb::WithinOptions::default()).expect("networks") {
            let network = found.expect("a network").network().expect("a prefix");
            for address in [network.network(), network.broadcast()] {
                let found = atlas.locate(address);
                let code: Option<String> = reader
                    .lookup(address)
                    .and_then(|record| record.decode_path(&maxminddb::path!["country", "iso_code"]))
                    .expect("a record");
                let asn: Option<u32> = reader
                    .lookup(address)
                    .and_then(|record| record.decode_path(&maxminddb::path!["autonomous_system_number"]))
                    .expect("a record");
                let location = atlas.location(found.place);
                if let Some(code) = code {
                    assert_eq!(location.country.map(|country| country.to_string()), Some(code), "{address}");
                }
                assert_eq!(location.asn, asn, "{address}");
                let block = meridian::model::Prefix::containing(address, found.scope);
                for inside in [block.address(), block.last()] {
                    assert_eq!(atlas.locate(inside).place, found.place, "{inside} in {block}");
                }
            }
            networks += 1;
        }
        assert_eq!(atlas.summary().databases[0].networks, networks, "{name}");
    }
}

#[test]
fn a_file_cut_short_anywhere_is_refused() {
    for name in [CITY, COUNTRY, ASN] {
        let Some(file) = database(name) else { return };
        let end = file.bytes.len();
        for length in (0..end).step_by(97).chain(end - 300..end) {
            let cut = Database { path: name.into(), bytes: file.bytes[..length].to_vec() };
            assert!(Atlas::build(&[cut], &[]).is_err(), "{name} cut to {length} of {end}");
        }
    }
}

/// A panic fails the test; nothing catches it.
#[test]
fn a_file_with_wrong_bytes_is_refused_or_works() {
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = move || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random
    };
    for name in [CITY, COUNTRY, ASN] {
        let Some(file) = database(name) else { return };
        let (mut refused, rounds) = (0, 300);
        for _ in 0..rounds {
            let mut bytes = file.bytes.clone();
            for _ in 0..=next() % 4 {
                let at = next() as usize % bytes.len();
                bytes[at] ^= 1 << (next() % 8);
            }
            match Atlas::build(&[Database { path: name.into(), bytes }], &[]) {
                Ok(atlas) => {
                    for _ in 0..16 {
                        let address = IpAddr::V4((next() as u32).into());
                        atlas.location(atlas.locate(address).place);
                    }
                }
                Err(_) => refused += 1,
            }
        }
        assert!(refused > 0 && refused < rounds, "{name}: {refused} of {rounds} refused");
    }
}
