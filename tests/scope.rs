//! Scopes are true (RFC 7871): within any scope returned, no address gets a different answer while the
//! snapshot stands. Over as many networks as a country's database has, IPv4 and IPv6, under every policy,
//! nested, with rules, canaries and several answers, while plans change.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use fastrand::Rng;
use meridian::atlas::Atlas;
use meridian::control::clock;
use meridian::model::{Coordinates, CountryCode, Location, Model, Prefix, RegionId, ServiceId};
use meridian::state::{EndpointNews, LoadNews, News, Publisher, Snapshot};
use meridian::steer::decide::{Decision, Family, Seen, decide, endpoint_in};
use meridian::steer::health::verdict::Verdict;
use meridian::steer::kept::Clock;

mod support;

use support::one_zone::OneZone;

/// Networks of each family.
const NETWORKS: usize = 70_000;
/// Distinct places they are at.
const PLACES: usize = 3_000;
/// Addresses asked about per family, service and moment.
const ASKED: usize = 300;
/// Other addresses tried within each scope.
const TRIED: usize = 6;
const MOMENTS: usize = 12;

const REGIONS: [(&str, &str, f64, f64); 6] = [
    ("seoul", "KR", 37.57, 126.98),
    ("tokyo", "JP", 35.68, 139.69),
    ("frankfurt", "DE", 50.11, 8.68),
    ("virginia", "US", 39.04, -77.49),
    ("saopaulo", "BR", -23.55, -46.63),
    ("sydney", "AU", -33.87, 151.21),
];

const SERVICES: &str = r#"
[service.score]
regions = ["seoul", "tokyo", "frankfurt", "virginia", "saopaulo", "sydney"]

[service.nearest]
policy  = "nearest"
regions = ["seoul", "tokyo", "frankfurt", "virginia", "saopaulo", "sydney"]
bias    = { tokyo = "-8ms" }

[service.nested]
policy  = "geo"
regions = ["asia", "west", "sydney"]
geo = { continent = { AS = ["asia"] }, network = { "10.64.0.0/12" = ["sydney"], "2001:db8:8000::/33" = ["asia"] }, asn = { 64500 = ["west"] }, default = ["west"] }
[service.nested.group.asia]
policy  = "weighted"
regions = { seoul = 3, tokyo = 1 }
[service.nested.group.west]
policy  = "failover"
regions = ["close", "sydney"]
[service.nested.group.close]
regions = ["frankfurt", "virginia", "saopaulo"]

[service.several]
policy  = "multi"
answers = 2
regions = ["near", "seoul", "sydney"]
[service.several.group.near]
policy  = "nearest"
regions = ["frankfurt", "virginia"]

[service.ruled]
policy  = "nearest"
regions = ["frankfurt", "virginia", "seoul"]
canary  = { regions = ["tokyo"], share = 0.2 }
[[service.ruled.rule]]
clients = { network = ["10.16.0.0/13", "10.20.1.0/25", "2001:db8:4000::/36"], country = ["BR"] }
regions = ["saopaulo"]
fence   = true
[[service.ruled.rule]]
clients = { continent = ["OC"], network = ["10.20.0.0/15"] }
policy  = "sticky"
regions = ["sydney", "seoul"]

[service.staged]
active = "blue"
[service.staged.stage.blue]
policy  = "latency"
regions = ["seoul", "frankfurt"]
[service.staged.stage.green]
regions = ["tokyo", "virginia"]

[service.everywhere]
policy  = "failover"
regions = ["virginia", "frankfurt"]
"#;

fn model() -> Model {
    let mut zone =
        "origin = \"gslb.example\"\nrecords = '''@ SOA ns1 h 1 1h 10m 1w 60\n@ NS ns1\nns1 A 192.0.2.53\n'''\n"
            .to_owned();
    for (number, (name, country, latitude, longitude)) in REGIONS.iter().enumerate() {
        zone += &format!(
            "[region.{name}]\nlocation = {{ country = \"{country}\", latitude = {latitude}, longitude = {longitude} }}\n\
             endpoints = [{{ address = [\"192.0.2.{number}\", \"2001:db8::{number}\"] }}, {{ address = \"198.51.100.{number}\" }}]\n\
             check.tcp = {{ port = 80 }}\ncapacity = 100\nshed = {{ low = 0.5, high = 0.9 }}\nload_report.push = {{}}\n"
        );
    }
    OneZone(zone + SERVICES).model()
}

/// Networks in 10/8 and 2001:db8/32, so dense that many lie in one another.
fn networks(rng: &mut Rng) -> Vec<(Prefix, Location)> {
    let countries: Vec<CountryCode> =
        ["KR", "JP", "DE", "US", "BR", "AU", "IN", "ZA"].iter().map(|code| code.parse().expect("a code")).collect();
    let place = |rng: &mut Rng| {
        let country = countries[rng.usize(..countries.len())];
        let centre = meridian::atlas::centroid::centroid(country).expect("a centre");
        let near = |middle: f64, rng: &mut Rng| (middle + rng.f64() * 10.0 - 5.0).clamp(-89.0, 89.0);
        Location {
            country: Some(country),
            continent: meridian::atlas::centroid::continent_of(country),
            coordinates: Coordinates::new(near(centre.latitude(), rng), centre.longitude() + rng.f64()),
            asn: Some(64_500 + rng.u32(..4)),
            ..Location::default()
        }
    };
    let places: Vec<Location> = (0..PLACES).map(|_| place(rng)).collect();
    let mut all: HashMap<Prefix, Location> = HashMap::new();
    for _ in 0..NETWORKS {
        let v4 = Prefix::containing(client_v4(rng), rng.u8(12..=29));
        let v6 = Prefix::containing(client_v6(rng), rng.u8(34..=60));
        for prefix in [v4, v6] {
            all.insert(prefix, places[rng.usize(..PLACES)].clone());
        }
    }
    all.into_iter().collect()
}

fn client_v4(rng: &mut Rng) -> IpAddr {
    Ipv4Addr::from(0x0a00_0000 | rng.u32(..1 << 24)).into()
}

fn client_v6(rng: &mut Rng) -> IpAddr {
    Ipv6Addr::from(0x2001_0db8_u128 << 96 | u128::from(rng.u64(..)) << 32).into()
}

/// Somewhere in a prefix.
fn inside(prefix: Prefix, rng: &mut Rng) -> IpAddr {
    match prefix.address() {
        IpAddr::V4(v4) => {
            let host = u32::MAX.checked_shr(u32::from(prefix.len())).unwrap_or(0);
            Ipv4Addr::from(u32::from(v4) | rng.u32(..) & host).into()
        }
        IpAddr::V6(v6) => {
            let host = u128::MAX.checked_shr(u32::from(prefix.len())).unwrap_or(0);
            Ipv6Addr::from(u128::from(v6) | rng.u128(..) & host).into()
        }
    }
}

/// All that an answer is made of.
type Answer = (Vec<RegionId>, Vec<Option<u16>>, u32, u8);

fn answer(snapshot: &Snapshot, service: ServiceId, client: IpAddr) -> Answer {
    let decision: Decision = decide(&snapshot.view(), service, Seen::Subnet(client)).expect("a decision");
    let regions = decision.regions.as_slice().to_vec();
    let of = |family| regions.iter().map(move |region| (region, family));
    let endpoints = of(Family::Ipv4).chain(of(Family::Ipv6));
    let endpoints = endpoints.map(|(region, family)| endpoint_in(&snapshot.view(), &decision, *region, family));
    let endpoints = endpoints.chain([Some(decision.endpoint)]).collect();
    (regions, endpoints, decision.ttl.as_secs(), decision.scope)
}

/// Something happens to a region or two.
fn disturb(publisher: &mut Publisher, model: &Model, rng: &mut Rng, now: Clock) {
    for id in model.region_ids() {
        let region: Arc<str> = model.qualified_region_name(id).into();
        for endpoint in &model.region(id).endpoints {
            for probed in model.region(id).probes_of(endpoint) {
                let verdict = if rng.u8(..3) == 0 { Verdict::Down } else { Verdict::Up };
                let news = EndpointNews::of_only_probe(&region, &endpoint.label(), verdict);
                publisher.apply(News::Probe(EndpointNews { probe: probed.id, ..news }), now);
            }
        }
        publisher.apply(News::Load(LoadNews { region, at: now.now(), outcome: Ok((rng.f64() * 100.0, None)) }), now);
    }
    publisher.publish(now);
}

#[test]
fn rfc7871_within_a_scope_no_address_gets_another_answer() {
    let mut rng = Rng::with_seed(71);
    let model = model();
    let now = clock::read();
    let atlas = Atlas::build(&[], &networks(&mut rng)).expect("an atlas");
    let mut publisher = Publisher::new(model.clone(), atlas, "", 3, BTreeMap::new(), now);
    publisher.assume_up(now);
    let (mut widest, mut narrowest, mut regions) = ([128u8; 2], [0u8; 2], BTreeMap::new());
    for moment in 0..MOMENTS {
        let snapshot = publisher.shared().load_full();
        for service in model.service_ids() {
            for n in 0..2 * ASKED {
                let client = if n < ASKED { client_v4(&mut rng) } else { client_v6(&mut rng) };
                let family = usize::from(n >= ASKED);
                let said = answer(&snapshot, service, client);
                let scope = Prefix::containing(client, said.3);
                for _ in 0..TRIED {
                    let other = inside(scope, &mut rng);
                    let name = &model.service(service).name;
                    assert_eq!(
                        said,
                        answer(&snapshot, service, other),
                        "{name} at {moment}: {client} and {other} in {scope}"
                    );
                }
                widest[family] = widest[family].min(said.3);
                narrowest[family] = narrowest[family].max(said.3);
                *regions.entry((service, said.0[0])).or_insert(0) += 1;
            }
        }
        disturb(&mut publisher, &model, &mut rng, now);
    }
    // Had all been answered alike, nothing would have been tested.
    assert!(widest[0] < 24 && widest[1] < 48, "{widest:?}");
    assert!(narrowest[0] > 24 && narrowest[1] > 48, "{narrowest:?}");
    assert!(regions.len() > 25, "{}", regions.len());
}
