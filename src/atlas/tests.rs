//! The atlas against a naive model, and against files that are not what they should be.

use std::net::{IpAddr, Ipv6Addr};

use proptest::prelude::*;

use super::build::build_mmdb;
use super::steps::MAPPED_RANGE;
use super::*;
use crate::model::CountryCode;

const COUNTRIES: [&str; 4] = ["DE", "FR", "KR", "US"];

fn country(code: &str) -> Location {
    let country: Option<CountryCode> = code.parse().ok();
    Location { continent: country.and_then(centroid::continent_of), country, ..Location::default() }
}

fn prefix(text: &str) -> Prefix {
    text.parse().expect("a prefix")
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn of_networks(networks: &[(Prefix, Location)]) -> Atlas {
    Atlas::build(&[], networks).expect("an atlas")
}

fn database(rows: &str) -> Database {
    let csv = format!("{}\n{rows}", build::COLUMNS.join(","));
    Database { path: "test.mmdb".into(), bytes: build_mmdb(&csv, 1).expect("a database") }
}

fn of_database(rows: &str) -> Atlas {
    Atlas::build(&[database(rows)], &[]).expect("an atlas")
}

fn located(atlas: &Atlas, address: &str) -> Location {
    atlas.location(atlas.locate(ip(address)).place)
}

/// The longest prefix that holds the address, by looking at all.
fn naive(networks: &[(Prefix, Location)], address: IpAddr) -> Location {
    let holding = networks.iter().filter(|(prefix, _)| prefix.unmapped().contains(address));
    let longest = holding.max_by_key(|(prefix, _)| prefix.unmapped().len());
    longest.map_or_else(Location::default, |(_, location)| location.clone())
}

#[test]
fn an_empty_atlas_knows_nothing_of_everyone() {
    for atlas in [Atlas::empty(), of_networks(&[])] {
        for address in ["0.0.0.0", "255.255.255.255", "::", "::ffff:192.0.2.1", "2001:db8::1"] {
            assert_eq!(atlas.locate(ip(address)), Located { place: PlaceId::UNKNOWN, scope: 0 }, "{address}");
        }
        assert_eq!(atlas.places().collect::<Vec<_>>(), [PlaceId::UNKNOWN]);
        assert_eq!(atlas.location(PlaceId::UNKNOWN), Location::default());
        assert_eq!(atlas.coordinates(PlaceId::UNKNOWN), None);
    }
}

#[test]
fn a_wide_prefix_with_a_hole_is_not_its_own_scope() {
    let atlas = of_networks(&[(prefix("10.0.0.0/8"), country("DE")), (prefix("10.1.0.0/16"), country("FR"))]);
    assert_eq!(atlas.locate(ip("10.1.2.3")).scope, 16);
    assert_eq!(atlas.locate(ip("10.0.2.3")).scope, 16);
    assert_eq!(atlas.locate(ip("10.2.2.3")).scope, 15);
    assert_eq!(atlas.locate(ip("10.200.2.3")).scope, 9);
    assert_eq!(atlas.locate(ip("11.0.0.0")).scope, 8);
    assert_eq!(atlas.locate(ip("192.0.2.1")).scope, 1);
}

#[test]
fn equal_neighbours_share_a_wide_scope() {
    let atlas = of_database("192.0.2.0/25,,DE,,,,,\n192.0.2.128/25,,DE,,,,,\n192.0.3.0/24,,DE,,,,,\n");
    assert_eq!(atlas.locate(ip("192.0.2.130")).scope, 23);
    assert_eq!(atlas.summary().ranges_v4, 3);
}

#[test]
fn operator_networks_win_wholly_and_longest_first() {
    let database = database("10.0.0.0/8,,DE,,Berlin,52.5,13.4,64500\n2001:db8::/32,,DE,,,,,\n");
    let own = [
        (prefix("10.1.2.0/24"), country("KR")),
        (prefix("10.1.0.0/16"), country("FR")),
        (prefix("2001:db8:1::/48"), country("US")),
        (prefix("::ffff:192.0.2.0/120"), country("US")),
    ];
    let atlas = Atlas::build(&[database], &own).expect("an atlas");
    assert_eq!(located(&atlas, "10.0.0.1").city.as_deref(), Some("Berlin"));
    assert_eq!(located(&atlas, "10.1.0.1"), country("FR"));
    assert_eq!(located(&atlas, "10.1.2.1"), country("KR"));
    assert_eq!(located(&atlas, "2001:db8:1::1"), country("US"));
    assert_eq!(located(&atlas, "2001:db8:2::1"), country("DE"));
    assert_eq!(located(&atlas, "192.0.2.1"), country("US"));
}

#[test]
fn databases_fill_each_other_the_closest_first_whatever_their_order() {
    let files = || {
        [
            database("10.0.0.0/8,,,,,,,64500\n11.0.0.0/8,,,,,,,64500\n"),
            database("10.0.0.0/9,,DE,,,,,\n10.128.0.0/9,,US,,,,,\n12.0.0.0/8,,FR,,,,,\n"),
            database("10.0.0.0/8,,DE,BE,Berlin,52.52,13.4,\n"),
        ]
    };
    let mut reversed = files();
    reversed.reverse();
    for atlas in [Atlas::build(&files(), &[]), Atlas::build(&reversed, &[])] {
        let atlas = atlas.expect("an atlas");
        assert_eq!(located(&atlas, "10.1.1.1").to_string(), "DE-BE Berlin (52.52, 13.40) AS64500");
        assert_eq!(located(&atlas, "10.200.1.1").to_string(), "DE-BE Berlin (52.52, 13.40) AS64500");
        assert_eq!(located(&atlas, "11.1.1.1").to_string(), "AS64500");
        assert_eq!(located(&atlas, "12.1.1.1").to_string(), "FR");
        let place = atlas.locate(ip("12.1.1.1")).place;
        assert_eq!(atlas.coordinates(place), centroid::centroid("FR".parse().expect("a country")));
        // Only what is in use is kept: unknown, Berlin, the bare ASN, France.
        assert_eq!(atlas.place_count(), 4);
    }
}

#[test]
fn rfc4291_2_5_5_2_mapped_addresses_are_looked_up_as_ipv4() {
    let atlas = of_database("192.0.2.0/24,,KR,,,,,\n");
    let mapped = atlas.locate(ip("::ffff:192.0.2.1"));
    assert_eq!(atlas.location(mapped.place), country("KR"));
    assert_eq!(mapped.scope, 96 + 24);
    // Not so the deprecated ones, nor the tree's other ways to the same IPv4 branch.
    for alias in ["::192.0.2.1", "2002:c000:201::1", "2001:0:c000:201::"] {
        assert_eq!(located(&atlas, alias), Location::default(), "{alias}");
    }
    // No scope of unknown IPv6 reaches over the mapped ones.
    assert_eq!(atlas.locate(ip("::1")).scope, 81);
    assert_eq!(atlas.locate(ip("2001:db8::")).scope, 3);
}

#[test]
fn networks_become_places_of_their_own_at_the_same_location() {
    let base = of_networks(&[(prefix("10.0.0.0/8"), country("DE")), (prefix("11.0.0.0/8"), country("FR"))]);
    let names = ["10.1.0.0/16", "10.1.2.0/24", "10.0.0.0/7", "::ffff:192.0.2.0/120", "2001:db8::/33"];
    let atlas = base.refined(&names.map(prefix));
    let network = |address: &str| atlas.network(atlas.locate(ip(address)).place).map(|network| network.to_string());
    for (address, expected, code) in [
        ("10.1.2.3", "10.1.2.0/24", "DE"),
        ("::ffff:10.1.3.3", "10.1.0.0/16", "DE"),
        ("10.200.0.0", "10.0.0.0/7", "DE"),
        ("11.200.0.0", "10.0.0.0/7", "FR"),
        ("192.0.2.7", "192.0.2.0/24", ""),
        ("2001:db8::1", "2001:db8::/33", ""),
    ] {
        assert_eq!(network(address).as_deref(), Some(expected), "{address}");
        assert_eq!(located(&atlas, address), country(code), "{address}");
    }
    for outside in ["12.0.0.0", "2001:db8:8000::", "::ffff:12.0.0.0"] {
        assert_eq!(network(outside), None, "{outside}");
    }
    assert_eq!(atlas.locate(ip("10.1.2.3")).scope, 24);
    assert_eq!(atlas.locate(ip("10.1.3.3")).scope, 24);
    assert_eq!(atlas.locate(ip("::ffff:10.1.128.3")).scope, 96 + 17);
    // Unknown, DE and FR as before; then one place per network and location.
    assert_eq!((base.place_count(), atlas.place_count(), atlas.summary().places), (3, 9, 9));
    assert_eq!(atlas.coordinates(atlas.locate(ip("10.1.2.3")).place), centroid::centroid("DE".parse().expect("DE")));
    assert_eq!(atlas.network(PlaceId(9)), None);
}

#[test]
fn refining_again_starts_from_the_base() {
    let base = of_networks(&[(prefix("10.0.0.0/8"), country("DE")), (prefix("2001:db8::/32"), country("DE"))]);
    let everything = base.refined(&["0.0.0.0/0", "::/0"].map(prefix));
    // Unknown and DE; each in the network of its family. None for what stands for IPv4.
    assert_eq!(everything.place_count(), 6);
    assert_eq!(everything.locate(ip("::")).scope, 81); // not over the IPv4 of all of ::/0
    let once = base.refined(&[prefix("10.9.0.0/16")]);
    let again = everything.refined(&[prefix("10.9.0.0/16"), prefix("10.9.0.0/16")]);
    let back = again.refined(&[]);
    for (one, other) in [(&once, &again), (&base, &back)] {
        assert_eq!((one.summary(), one.place_count()), (other.summary(), other.place_count()));
        for address in ["10.0.0.1", "10.9.0.1", "10.10.0.0", "11.0.0.0", "2001:db8::", "::", "::ffff:10.9.0.1"] {
            assert_eq!(one.locate(ip(address)), other.locate(ip(address)), "{address}");
        }
        for place in one.places() {
            assert_eq!(one.network(place), other.network(place));
            assert_eq!(one.location(place), other.location(place));
        }
    }
}

/// The part of a location that an atlas of this detail keeps.
fn limited(location: Location, detail: Detail) -> Location {
    Location {
        subdivision: location.subdivision.filter(|_| detail.subdivisions),
        city: location.city.filter(|_| detail.positions),
        coordinates: location.coordinates.filter(|_| detail.positions),
        asn: location.asn.filter(|_| detail.operators),
        ..location
    }
}

#[test]
fn less_detail_says_the_same_of_what_it_tells_and_takes_less() {
    let rows = "10.0.0.0/10,,DE,BE,Berlin,52.52,13.4,64500\n10.64.0.0/10,,DE,BE,Potsdam,52.4,13.06,64501\n\
        10.128.0.0/10,,DE,HH,Hamburg,53.55,10.0,64500\n10.192.0.0/10,,FR,,Paris,48.9,2.3,\n2001:db8::/32,,DE,BE,,,,\n\
        11.0.0.0/9,,,,Somewhere,1,2,\n";
    let more =
        "10.0.0.0/8,,US,NY,,,,64502\n11.0.0.0/8,,KR,11,,,,64502\n12.0.0.0/9,,,,,,,64503\n12.128.0.0/9,,KR,,,,,\n";
    let databases = [database(rows), database(more)];
    let own = [(prefix("10.1.0.0/16"), Location { city: Some("Home".into()), ..country("SE") })];
    let whole = Atlas::build(&databases, &own).expect("an atlas");
    let flags = [false, true];
    for (subdivisions, positions, operators) in
        flags.into_iter().flat_map(|a| flags.into_iter().flat_map(move |b| flags.map(|c| (a, b, c))))
    {
        let detail = Detail { subdivisions, positions, operators };
        let atlas = Atlas::build_for(detail, &databases, &own).expect("an atlas");
        assert_eq!(atlas.summary().detail, detail);
        for address in [
            "9.0.0.0",
            "10.0.0.0",
            "10.64.0.0",
            "10.128.0.0",
            "10.192.0.0",
            "11.0.0.0",
            "11.128.0.0",
            "12.0.0.0",
            "12.128.0.0",
            "13.0.0.0",
            "2001:db8::",
            "::ffff:10.0.0.1",
        ] {
            assert_eq!(located(&atlas, address), limited(located(&whole, address), detail), "{address} {detail:?}");
        }
        assert_eq!(located(&atlas, "10.1.2.3").city.as_deref(), Some("Home"));
        assert_eq!(atlas.places().skip(1).filter(|&place| atlas.location(place) == Location::default()).count(), 0);
    }
    let countries = Atlas::build_for(Detail::COUNTRIES, &databases, &own).expect("an atlas");
    assert_eq!(countries.locate(ip("10.100.0.0")).scope, 10); // as far as the network of its own allows
    assert_eq!(countries.locate(ip("10.130.0.0")).scope, 10);
    assert!(countries.summary().ranges_v4 < whole.summary().ranges_v4);
}

#[test]
fn a_database_that_says_nothing_of_places_is_refused() {
    let mut writer = mmdb_writer::Writer::builder("Some-Domain").build();
    let net: mmdb_writer::ipnet::IpNet = "10.0.0.0/8".parse().expect("a network");
    writer.insert_value(net, mmdb_writer::Value::map([("domain", "example.com")])).expect("inserted");
    let bytes = writer.to_bytes().expect("a database");
    let error = Atlas::build(&[Database { path: "domain.mmdb".into(), bytes }], &[]).expect_err("an error");
    assert!(matches!(error, AtlasError::NothingKnown { .. }), "{error}");
}

#[test]
fn what_is_no_database_is_refused_by_name() {
    for bytes in [Vec::new(), b"<html>404</html>".to_vec(), b"\xab\xcd\xefMaxMind.com".to_vec(), vec![0; 100_000]] {
        let database = Database { path: "x.mmdb".into(), bytes };
        let error = Atlas::build(&[database], &[]).expect_err("an error").to_string();
        assert!(error.contains("x.mmdb") && error.contains("fetch it again"), "{error}");
    }
    let missing = Database::read(std::path::Path::new("/nonexistent/x.mmdb")).expect_err("an error");
    assert!(missing.to_string().contains("/nonexistent/x.mmdb"), "{missing}");
    assert!(Database::read(std::path::Path::new("/")).is_err());
}

#[test]
fn a_database_cut_short_anywhere_is_refused() {
    let whole = DEMO_DATABASE;
    for length in (0..whole.len()).step_by(7).chain(whole.len() - 400..whole.len()) {
        let database = Database { path: "cut.mmdb".into(), bytes: whole[..length].to_vec() };
        assert!(Atlas::build(&[database], &[]).is_err(), "{length} of {}", whole.len());
    }
}

#[test]
fn a_database_with_any_byte_wrong_is_refused_or_works() {
    let whole =
        database("10.0.0.0/8,,DE,,Berlin,52.5,13.4,64500\n10.1.0.0/16,,FR,,,,,\n2001:db8::/33,,KR,,,,,\n").bytes;
    for at in 0..whole.len() {
        for wrong in [whole[at] ^ 0x01, whole[at] ^ 0x80, !whole[at]] {
            let mut bytes = whole.clone();
            bytes[at] = wrong;
            if let Ok(atlas) = Atlas::build(&[Database { path: "flipped.mmdb".into(), bytes }], &[]) {
                for address in ["0.0.0.0", "10.1.2.3", "255.255.255.255", "::", "2001:db8::1", "ffff::"] {
                    located(&atlas, address);
                }
            }
        }
    }
}

/// A tree whose nodes lead both ways to the next: 2^31 networks in 200 bytes.
#[test]
fn a_tree_that_names_more_networks_than_it_has_nodes_is_refused() {
    let one = database("0.0.0.0/1,,DE,,,,,\n").bytes;
    let marker = one.windows(14).rposition(|bytes| bytes == b"\xab\xcd\xefMaxMind.com").expect("metadata");
    let value = |metadata: &mut Vec<u8>, key: &str, value: &[u8]| {
        let at = metadata.windows(key.len()).position(|bytes| bytes == key.as_bytes()).expect("a key") + key.len();
        let length = usize::from(metadata[at] & 0x1f);
        metadata.splice(at..=at + length, value.iter().copied());
    };
    let mut metadata = one[marker..].to_vec();
    value(&mut metadata, "ip_version", &[0xa1, 4]);
    value(&mut metadata, "node_count", &[0xc1, 31]);
    value(&mut metadata, "record_size", &[0xa1, 24]);
    let mut bytes: Vec<u8> = (1..=31u8).flat_map(|next| [0, 0, next, 0, 0, next]).collect();
    bytes.extend([0; 16]);
    bytes.extend(metadata);
    let error = Atlas::build(&[Database { path: "bomb.mmdb".into(), bytes }], &[]).expect_err("an error");
    assert!(error.to_string().contains("far more networks"), "{error}");
}

#[test]
fn the_demo_database_knows_the_demo_s_clients() {
    let atlas =
        Atlas::build(&[Database { path: "demo".into(), bytes: DEMO_DATABASE.to_vec() }], &[]).expect("an atlas");
    for (address, expected) in
        [("127.82.0.1", "KR-11 Seoul (37.57, 126.98)"), ("127.1.2.3", "US-DC Washington (38.91, -77.04)")]
    {
        assert_eq!(located(&atlas, address).to_string(), expected);
        assert_eq!(atlas.locate(ip(address)).scope, 16);
    }
    for address in ["127.0.0.1", "127.200.82.1", "192.0.2.1", "::1"] {
        assert_eq!(atlas.locate(ip(address)).place, PlaceId::UNKNOWN, "{address}");
    }
}

/// Enough ranges for many blocks and buckets of the tables.
#[test]
fn a_large_atlas_agrees_with_the_naive_model() {
    let mut rng = fastrand::Rng::with_seed(1);
    let mut networks = Vec::new();
    for number in 0..1500 {
        let v4 = Prefix::containing(IpAddr::V4(rng.u32(..).into()), rng.u8(8..=32));
        let v6 =
            Prefix::containing(IpAddr::V6((0x2400 << 112 | rng.u128(..) >> rng.u32(4..20)).into()), rng.u8(20..=128));
        let elsewhere = Prefix::containing(IpAddr::V6(rng.u128(..).into()), rng.u8(4..=70));
        let place = country(COUNTRIES[number % COUNTRIES.len()]);
        networks.extend([v4, v6, elsewhere].map(|prefix| (prefix, place.clone())));
    }
    networks.sort_by_key(|(prefix, _)| *prefix);
    networks.dedup_by_key(|(prefix, _)| *prefix);
    let atlas = of_networks(&networks);
    for address in interesting(&networks).into_iter().filter(|&address| !is_mapped(address)).step_by(19) {
        let found = atlas.locate(address);
        assert_eq!(atlas.location(found.place), naive(&networks, address), "{address}");
        let block = Prefix::containing(address, found.scope);
        for inside in [block.address(), block.last()] {
            assert_eq!(atlas.locate(inside).place, found.place, "{inside} in {block}");
        }
    }
}

/// Prefixes that nest, repeat countries and end at every kind of boundary.
fn v4_prefix() -> impl Strategy<Value = Prefix> {
    (any::<u32>(), 0..=32u8, prop::bool::weighted(0.7)).prop_map(|(bits, len, crowded)| {
        let bits = if crowded { 0x0a00_0000 | bits & 0x0000_031f } else { bits };
        Prefix::containing(IpAddr::V4(bits.into()), len)
    })
}

fn v6_prefix() -> impl Strategy<Value = Prefix> {
    (any::<u128>(), 0..=128u8, 0..3u8).prop_map(|(bits, len, crowd)| {
        let base = 0x2001_0db8 << 96;
        let bits = match crowd {
            0 => bits,
            1 => base | bits & (0x311 << 64 | 0xf00f),
            _ => base | bits & (1 << 64 | 1 << 63 | 0x3),
        };
        Prefix::containing(IpAddr::V6(bits.into()), len)
    })
}

fn networks(prefixes: impl Strategy<Value = Prefix>) -> impl Strategy<Value = Vec<(Prefix, Location)>> {
    prop::collection::btree_map(prefixes, 0..COUNTRIES.len(), 0..24)
        .prop_map(|map| map.into_iter().map(|(prefix, index)| (prefix, country(COUNTRIES[index]))).collect())
}

fn both_families() -> impl Strategy<Value = Vec<(Prefix, Location)>> {
    let mapped = v4_prefix().prop_map(|v4| match v4.address() {
        IpAddr::V4(address) => Prefix::containing(IpAddr::V6(address.to_ipv6_mapped()), 96 + v4.len()),
        IpAddr::V6(_) => v4,
    });
    let unmapped_once = |networks: Vec<(Prefix, Location)>| {
        let mut seen = std::collections::BTreeSet::new();
        networks.into_iter().filter(|(prefix, _)| seen.insert(prefix.unmapped())).collect()
    };
    networks(prop_oneof![4 => v4_prefix(), 4 => v6_prefix(), 1 => mapped]).prop_map(unmapped_once)
}

/// The addresses at which something may change: around both ends of every prefix.
fn interesting(networks: &[(Prefix, Location)]) -> Vec<IpAddr> {
    let around = |address: IpAddr| match address {
        IpAddr::V4(v4) => [0u32, 1, u32::MAX].map(|by| IpAddr::V4(u32::from(v4).wrapping_add(by).into())),
        IpAddr::V6(v6) => [0u128, 1, u128::MAX].map(|by| IpAddr::V6(u128::from(v6).wrapping_add(by).into())),
    };
    networks.iter().flat_map(|(prefix, _)| [prefix.address(), prefix.last()]).flat_map(around).collect()
}

/// An IPv6 address that stands for IPv4 has the place of that, not of IPv6 prefixes around it.
fn is_mapped(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some())
}

/// Every lookup is right, and its scope is true and the widest that is.
fn check(atlas: &Atlas, networks: &[(Prefix, Location)], extra: &[IpAddr]) -> Result<(), TestCaseError> {
    let mut addresses = interesting(networks);
    addresses.extend(extra);
    addresses.retain(|&address| !is_mapped(address));
    let truth: Vec<Location> = addresses.iter().map(|&address| naive(networks, address)).collect();
    for (address, expected) in addresses.iter().zip(&truth) {
        let found = atlas.locate(*address);
        prop_assert_eq!(&atlas.location(found.place), expected, "at {}", address);
        // Places change only at the ends of prefixes, so the interesting addresses are proof.
        let differs = |len: u8| {
            let block = Prefix::containing(*address, len);
            addresses.iter().zip(&truth).any(|(other, place)| block.contains(*other) && place != expected)
                || block.contains(IpAddr::V6(Ipv6Addr::from(0xffff << 32))) && *expected != Location::default()
        };
        prop_assert!(!differs(found.scope), "{address}/{} is not one place", found.scope);
        if let Some(wider) = found.scope.checked_sub(1) {
            prop_assert!(differs(wider), "{address}/{wider} would do");
        }
    }
    Ok(())
}

fn check_database(networks: &[(Prefix, Location)]) -> Result<(), TestCaseError> {
    let code = |location: &Location| location.country.map_or_else(String::new, |country| country.to_string());
    let rows: String = networks.iter().map(|(prefix, place)| format!("{prefix},,{},,,,,\n", code(place))).collect();
    // A database without any network says nothing, and is refused.
    if rows.is_empty() { Ok(()) } else { check(&of_database(&rows), networks, &[]) }
}

/// Neither in nor around what a database keeps for IPv4 and its aliases.
fn stands_for_ipv6(prefix: &Prefix) -> bool {
    let aliases = ["::/16", "2002::/16", "2001::/32"].map(self::prefix);
    prefix.len() >= 24
        && !aliases.iter().any(|alias| alias.contains(prefix.address()) || prefix.contains(alias.address()))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn ipv4_agrees_with_the_naive_model(
        networks in networks(v4_prefix()),
        extra in prop::collection::vec(any::<u32>().prop_map(|bits| IpAddr::V4(bits.into())), 4),
    ) {
        check(&of_networks(&networks), &networks, &extra)?;
    }

    #[test]
    fn ipv6_agrees_with_the_naive_model(
        networks in networks(v6_prefix()),
        extra in prop::collection::vec(any::<u128>().prop_map(|bits| IpAddr::V6(bits.into())), 4),
    ) {
        check(&of_networks(&networks), &networks, &extra)?;
    }

    #[test]
    fn a_database_says_what_its_ipv4_networks_say(networks in networks(v4_prefix())) {
        check_database(&networks)?;
    }

    #[test]
    fn a_database_says_what_its_ipv6_networks_say(networks in networks(v6_prefix().prop_filter("IPv4", stands_for_ipv6))) {
        check_database(&networks)?;
    }

    /// Telling France from Germany no more is as if France were Germany.
    #[test]
    fn groups_are_as_if_their_places_were_one(
        networks in prop_oneof![networks(v4_prefix()), networks(v6_prefix())],
        extra in prop::collection::vec(any::<u128>(), 4),
    ) {
        let atlas = of_networks(&networks);
        let (germany, france) = (country("DE"), country("FR"));
        let as_germany = |location: &Location| if *location == france { germany.clone() } else { location.clone() };
        let merged: Vec<_> = networks.iter().map(|(prefix, location)| (*prefix, as_germany(location))).collect();
        let merged = of_networks(&merged);
        let mut seen: Vec<Location> = Vec::new();
        let group_of: Vec<u32> = atlas.places().map(|place| {
            let location = as_germany(&atlas.location(place));
            let known = seen.iter().position(|other| *other == location);
            known.unwrap_or_else(|| { seen.push(location); seen.len() - 1 }) as u32
        }).collect();
        let groups = atlas.grouped(&group_of);
        let near = networks.iter().flat_map(|(prefix, _)| [prefix.address(), prefix.last()]);
        let far = extra.iter().flat_map(|&bits| [IpAddr::V6(bits.into()), IpAddr::V4((bits as u32).into())]);
        for address in near.chain(far) {
            let found = merged.locate(address);
            let (group, scope) = groups.find(address);
            prop_assert_eq!(scope, found.scope, "{}", address);
            prop_assert_eq!(&seen[group as usize], &merged.location(found.place), "{}", address);
        }
    }

    /// Location and network are right everywhere, and every scope is true and the widest that is.
    #[test]
    fn refined_places_agree_with_the_naive_model(
        (located, refined_by) in (both_families(), both_families()),
        before in prop::collection::vec(v4_prefix(), 0..3),
        extra in prop::collection::vec(any::<u128>(), 4),
    ) {
        let base = of_networks(&located);
        let names: Vec<Prefix> = refined_by.iter().map(|(prefix, _)| *prefix).collect();
        let atlas = base.refined(&before).refined(&names);
        let truth = |address: IpAddr| {
            let address = address.to_canonical();
            let holding = names.iter().map(|name| name.unmapped()).filter(|name| name.contains(address));
            (naive(&located, address), holding.max_by_key(|name| name.len()))
        };
        let (first, last) = MAPPED_RANGE;
        let everywhere = located.iter().chain(&refined_by).map(|(prefix, location)| (prefix.unmapped(), location.clone()));
        let mut addresses = interesting(&everywhere.collect::<Vec<_>>());
        addresses.extend([first - 1, first, last, last + 1].map(|bits| IpAddr::V6(bits.into())));
        addresses.extend(extra.iter().flat_map(|&bits| [IpAddr::V6(bits.into()), IpAddr::V4((bits as u32).into())]));
        let mapped = |address: &IpAddr| match address {
            IpAddr::V4(v4) => Some(IpAddr::V6(v4.to_ipv6_mapped())),
            IpAddr::V6(_) => None,
        };
        addresses.extend(addresses.iter().filter_map(mapped).collect::<Vec<_>>());
        let truths: Vec<_> = addresses.iter().map(|&address| truth(address)).collect();
        for (address, expected) in addresses.iter().zip(&truths) {
            let found = atlas.locate(*address);
            prop_assert_eq!(&(atlas.location(found.place), atlas.network(found.place)), expected, "at {}", address);
            if expected.1.is_none() {
                prop_assert_eq!(found.place, base.locate(*address).place, "{} keeps its place", address);
            }
            let differs = |len: u8| {
                let block = Prefix::containing(*address, len);
                addresses.iter().zip(&truths).any(|(other, place)| block.contains(*other) && place != expected)
            };
            prop_assert!(!differs(found.scope), "{address}/{} is not one place", found.scope);
            if let Some(wider) = found.scope.checked_sub(1) {
                prop_assert!(differs(wider), "{address}/{wider} would do");
            }
        }
        prop_assert_eq!(atlas.place_count(), atlas.places().count());
    }

    #[test]
    fn any_text_is_a_table_or_has_mistakes(text in "[0-9a-f:./,#\"\r\n A-Z-]{0,80}") {
        let _ = build_mmdb(&text, 1);
        let _ = build_mmdb(&format!("{}\n{text}", build::COLUMNS.join(",")), 1);
    }

    #[test]
    fn the_order_of_networks_does_not_matter(
        (networks, shuffled) in networks(v4_prefix())
            .prop_flat_map(|networks| (Just(networks.clone()), Just(networks).prop_shuffle())),
    ) {
        let (one, other) = (of_networks(&networks), of_networks(&shuffled));
        prop_assert_eq!(one.summary(), other.summary());
        for address in interesting(&networks) {
            prop_assert_eq!(one.locate(address), other.locate(address));
        }
    }
}
