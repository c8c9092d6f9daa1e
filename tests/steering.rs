//! What steering promises, on the wire of random worlds: the real loader, the single publisher and
//! `query::answer`, over a generated City database with the demo's beside it.
//!
//! A world is a zone of regions with mixed families, prices and verdicts, some down, some drained,
//! under services of every policy. The promises:
//!
//! - inside the scope an answer carries, everyone gets that answer, with that lifetime
//! - A, AAAA and HTTPS of a service name one region
//! - a region that is lost moves its own clients only
//! - files in another order, with more in them, answer as before; so does another node
//! - shares are those that were configured
//!
//! `MERIDIAN_TEST_NETWORKS` says how large the database is (3,000 networks unless told).

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use fastrand::Rng;
use meridian::atlas::{Atlas, DEMO_DATABASE, Database};
use meridian::control::clock;
use meridian::control::config::{self, Files};
use meridian::model::{Location, Model, Prefix};
use meridian::query::counters::CounterSet;
use meridian::query::{Client, Transport, answer};
use meridian::state::{self, EndpointNews, LoadNews, Publisher, Replacement, Snapshot};
use meridian::steer::health::effective::Override;
use meridian::steer::health::verdict::Verdict;
use meridian::steer::kept::Clock;
use meridian::steer::policy::eligible::ServiceCondition;

#[allow(dead_code)] // benchmarks need more of it
#[path = "../benches/support/databases.rs"]
mod databases;
mod support;

use support::dns::{Ask, Reply, subnet_option};

const WORLDS: u64 = 6;

/// A region as a zone file writes it.
#[derive(Clone)]
struct Region {
    name: String,
    text: String,
    /// First addresses or host names, as the publisher knows endpoints.
    labels: Vec<String>,
}

/// Regions in the order of their file, and the services over them.
#[derive(Clone)]
struct World {
    regions: Vec<Region>,
    /// What has been heard of them: probes, loads, overrides.
    news: Vec<News>,
}

#[derive(Clone)]
enum News {
    Probe(String, String, Verdict),
    Load(String, f64),
    Said(String, Override),
}

const SERVICES: [&str; 4] = ["scored.gslb.test", "shared.gslb.test", "ordered.gslb.test", "listed.gslb.test"];

impl World {
    fn random(rng: &mut Rng) -> World {
        let count = rng.usize(2..7);
        let regions: Vec<Region> = (0..count).map(|number| Region::random(number, rng)).collect();
        let mut news = Vec::new();
        for region in &regions {
            let name = format!("{}@gslb.test", region.name);
            for label in &region.labels {
                let verdict = [Verdict::Up, Verdict::Up, Verdict::Up, Verdict::Suspect, Verdict::Down][rng.usize(..5)];
                news.push(News::Probe(name.clone(), label.clone(), verdict));
            }
            for _ in 0..rng.usize(..6) {
                news.push(News::Load(name.clone(), rng.f64() * 250.0));
            }
            if rng.u8(..6) == 0 {
                news.push(News::Said(name, [Override::Drain, Override::Down, Override::Up][rng.usize(..3)]));
            }
        }
        World { regions, news }
    }

    fn model(&self) -> Model {
        load(&[("gslb.test.toml", &self.zone())])
    }

    fn zone(&self) -> String {
        let mut zone = String::from(HEAD);
        self.regions.iter().for_each(|region| zone += &region.text);
        let mut names: Vec<&str> = self.regions.iter().map(|region| &*region.name).collect();
        let list = |names: &[&str]| format!("[\"{}\"]", names.join("\", \""));
        zone += &format!("[service.scored]\nregions = {}\nhttps = {{}}\n", list(&names));
        // The order says who is first, whatever order the file has them in.
        names.sort();
        zone += &format!("[service.ordered]\npolicy = \"failover\"\nregions = {}\nhttps = {{}}\n", list(&names));
        let (first, last) = (names[0], names[names.len() - 1]);
        zone += &format!("[service.listed]\npolicy = \"geo\"\nregions = {}\nhttps = {{}}\n", list(&names));
        zone += &format!("geo.country = {{ KR = [\"{first}\"], US = [\"{last}\", \"{first}\"] }}\n");
        zone += &format!("geo.continent = {{ EU = [\"{last}\"] }}\n");
        let shares: Vec<String> = names.iter().map(|name| format!("{name} = {}", name.len() + 1)).collect();
        zone +=
            &format!("[service.shared]\npolicy = \"weighted\"\nregions = {{ {} }}\nhttps = {{}}\n", shares.join(", "));
        zone
    }

    fn publisher(&self) -> Publisher {
        let now = clock::read();
        let mut publisher = Publisher::new(self.model(), atlas(), "", 7, BTreeMap::new(), now);
        publisher.assume_up(now);
        self.news.iter().for_each(|news| news.tell(&mut publisher, now));
        publisher.publish(now);
        publisher
    }
}

impl Region {
    fn random(number: usize, rng: &mut Rng) -> Region {
        let (v4, v6) = (|n| format!("192.0.2.{}", number * 16 + n), |n| format!("2001:db8::{number:x}{n:x}"));
        let (mut texts, mut labels) = (Vec::new(), Vec::new());
        for n in 0..rng.usize(1..4) {
            let addresses = match rng.u8(..8) {
                0 | 1 => vec![v4(n)],
                2 => vec![v6(n)],
                3 if n == 0 => {
                    let host = format!("lb-{number}.elsewhere.invalid.");
                    texts.push(format!("{{ host = \"{host}\" }}"));
                    labels.push(host);
                    continue;
                }
                _ => vec![v4(n), v6(n)],
            };
            texts.push(format!("{{ address = {addresses:?}, weight = {} }}", rng.u8(1..5)));
            labels.push(addresses[0].clone());
        }
        let name = format!("region{number}");
        // Near one another as often as not, so that clients are shared out.
        let (latitude, longitude) = if rng.bool() {
            (rng.f64() * 6.0 + 34.0, rng.f64() * 10.0 + 126.0)
        } else {
            (rng.f64() * 160.0 - 80.0, rng.f64() * 360.0 - 180.0)
        };
        let text = format!(
            "[region.{name}]\nlocation = {{ country = \"KR\", latitude = {latitude:.3}, longitude = {longitude:.3} }}\n\
             capacity = 100\ncost = {:.2}\nmin_healthy = {}\nendpoints = [{}]\ncheck.tcp = {{ port = 80 }}\n\
             load_report.json = {{ url = \"http://127.0.0.1:9/load\", load = \"/load\" }}\n\n",
            rng.f64() * 3.0,
            rng.usize(1..=labels.len()),
            texts.join(", "),
        );
        Region { name, text, labels }
    }
}

impl News {
    fn tell(&self, publisher: &mut Publisher, now: Clock) {
        match self {
            News::Probe(region, endpoint, verdict) => {
                let news = EndpointNews::of_only_probe(region, endpoint, *verdict);
                publisher.apply(state::News::Probe(news), now);
            }
            News::Load(region, load) => {
                publisher.apply(
                    state::News::Load(LoadNews {
                        region: region.as_str().into(),
                        at: now.now(),
                        outcome: Ok((*load, None)),
                    }),
                    now,
                );
            }
            News::Said(region, said) => _ = publisher.apply(state::News::set_override(region, *said), now),
        }
    }
}

const HEAD: &str = r#"origin = "gslb.test"
records = """
@    SOA ns1 hostmaster 1 1h 10m 1w 300
@    NS  ns1
ns1  A   192.0.2.253
"""
"#;

const UNRELATED: &str = r#"origin = "aaa.test"
records = """
@    SOA ns1 hostmaster 1 1h 10m 1w 300
@    NS  ns1
ns1  A   192.0.2.253
"""
[region.region0]
location = { country = "ZA" }
endpoints = [{ address = "198.51.100.1" }]
[region.another]
location = { country = "KR" }
endpoints = [{ address = "198.51.100.2" }]
[service.scored]
regions = ["another", "region0"]
"#;

/// Zone files that exist only here.
struct Memory(BTreeMap<PathBuf, String>);

impl Files for Memory {
    fn read(&self, path: &Path) -> std::io::Result<String> {
        self.0.get(path).cloned().ok_or_else(|| std::io::ErrorKind::NotFound.into())
    }

    fn list(&self, path: &Path) -> std::io::Result<Vec<PathBuf>> {
        Ok(self.0.keys().filter(|file| file.parent() == Some(path)).cloned().collect())
    }
}

fn load(zones: &[(&str, &str)]) -> Model {
    let mut files = BTreeMap::from([(PathBuf::from("meridian.toml"), String::new())]);
    files.extend(zones.iter().map(|(name, text)| (Path::new("zones").join(name), (*text).to_owned())));
    let loaded = config::load_from(&Memory(files), Path::new("meridian.toml"));
    loaded.unwrap_or_else(|mistakes| panic!("{mistakes:#?}\n{zones:?}")).model
}

/// The generated database, the demo's, and a few networks of an operator's own.
fn atlas() -> Atlas {
    static CITY: OnceLock<Vec<u8>> = OnceLock::new();
    let city = CITY.get_or_init(|| {
        let networks = std::env::var("MERIDIAN_TEST_NETWORKS").map_or(3_000, |n| n.parse().expect("a number"));
        databases::database("city", networks * 3 / 4, networks / 4, databases::city_record)
    });
    let database = |path: &str, bytes: &[u8]| Database { path: path.into(), bytes: bytes.to_vec() };
    let own = |prefix: &str, country: &str| {
        let location = Location { country: country.parse().ok(), ..Location::default() };
        (prefix.parse::<Prefix>().expect("a prefix"), location)
    };
    let networks = [own("10.0.0.0/8", "KR"), own("10.1.2.128/26", "DE"), own("2a00::/20", "JP"), own("::/1", "BR")];
    Atlas::build(&[database("city.mmdb", city), database("demo.mmdb", DEMO_DATABASE)], &networks).expect("an atlas")
}

/// Any client: of both families, mapped ones, near what is known and far from it.
fn client(rng: &mut Rng) -> IpAddr {
    match rng.u8(..10) {
        0 => Ipv4Addr::from([127, rng.u8(..), rng.u8(..), rng.u8(..)]).into(),
        1 => Ipv4Addr::from([10, rng.u8(..3), rng.u8(..4), rng.u8(..)]).into(),
        2 => Ipv6Addr::from(rng.u128(..)).into(),
        3 => Ipv4Addr::from(rng.u32(..)).to_ipv6_mapped().into(),
        4..7 => databases::v6_address(rng),
        _ => databases::v4_address(rng),
    }
}

/// A client's network as a resolver tells it: of any length from 0 on.
fn asked_for(rng: &mut Rng) -> Prefix {
    let address = client(rng);
    let longest = longest(address);
    let common = if longest == 32 { 24 } else { 56 };
    Prefix::containing(address, if rng.bool() { common } else { rng.u8(..=longest) })
}

fn longest(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

/// The first, the last, and any addresses of a prefix.
fn inside(prefix: Prefix, rng: &mut Rng) -> Vec<IpAddr> {
    let mut addresses = vec![prefix.address(), prefix.last()];
    addresses.extend((0..4).map(|_| match (prefix.address(), prefix.last()) {
        (IpAddr::V4(first), IpAddr::V4(last)) => IpAddr::V4(rng.u32(u32::from(first)..=last.into()).into()),
        (IpAddr::V6(first), IpAddr::V6(last)) => IpAddr::V6(rng.u128(u128::from(first)..=last.into()).into()),
        _ => unreachable!("a prefix of two families"),
    }));
    addresses
}

fn ask(snapshot: &Snapshot, name: &str, qtype: &str, subnet: Prefix) -> Reply {
    let ask = Ask::new(name, qtype).option(8, &subnet_option(subnet.address(), subnet.len()));
    reply(snapshot, &ask, Ipv4Addr::LOCALHOST.into())
}

fn reply(snapshot: &Snapshot, ask: &Ask, source: IpAddr) -> Reply {
    static COUNTERS: OnceLock<CounterSet> = OnceLock::new();
    let mut out = [0; 1232];
    let client = Client { address: source, transport: Transport::Udp };
    let len = answer(snapshot, &ask.wire(), client, &mut out, &COUNTERS.get_or_init(CounterSet::new).shared());
    Reply::read(out[..len].to_vec())
}

/// All that a client is told and how long it holds.
fn told(reply: &Reply) -> (Vec<String>, Vec<String>) {
    (reply.answers_in_order(), reply.authority())
}

#[test]
fn rfc7871_7_3_1_inside_every_scope_everyone_is_told_the_same() {
    let mut scopes = BTreeSet::new();
    for seed in 0..WORLDS {
        let mut rng = Rng::with_seed(seed);
        let snapshot = World::random(&mut rng).publisher().shared().load_full();
        for _ in 0..100 {
            let asked = asked_for(&mut rng);
            for (name, qtype) in
                SERVICES.iter().flat_map(|name| ["A", "AAAA", "HTTPS", "TXT"].map(|qtype| (*name, qtype)))
            {
                let first = ask(&snapshot, name, qtype, asked);
                let scope = first.scope().expect("a scope");
                if asked.len() == 0 {
                    assert_eq!(scope, 0, "RFC 7871 section 7.2.1: what was not told cannot be shared by");
                    continue;
                }
                scopes.insert(scope);
                let shared = Prefix::containing(asked.address(), scope);
                for address in inside(shared, &mut rng) {
                    let other = ask(&snapshot, name, qtype, Prefix::containing(address, longest(address)));
                    let context = format!("world {seed}, {name} {qtype}: {address} in {shared}, asked as {asked}");
                    assert_eq!(told(&other), told(&first), "{context}");
                    // Scopes that overlap are one: no answer is nested in another's scope.
                    assert_eq!(other.scope(), Some(scope), "{context}");
                }
            }
        }
    }
    assert!(scopes.len() > 10, "narrow and wide ones were met: {scopes:?}");
}

/// The region an answer is of, by the numbers in its addresses or the name of its balancer.
fn region_of(reply: &Reply) -> Option<usize> {
    let record = reply.answers_in_order().into_iter().next()?;
    let data = record.split_whitespace().skip(4).collect::<Vec<_>>().join(" ");
    let after = |mark: &str| data.split(mark).nth(1).map(|rest| rest.to_owned());
    let number = |text: String| text.chars().take_while(char::is_ascii_digit).collect::<String>().parse::<usize>();
    if let Some(host) = after("lb-") {
        return number(host).ok();
    }
    if let Some(octet) = after("192.0.2.") {
        return number(octet).ok().map(|octet| octet / 16);
    }
    // 2001:db8::RN, R the region and N the endpoint; a leading 0 is not written.
    let last = after("2001:db8::")?.chars().take_while(char::is_ascii_hexdigit).collect::<String>();
    usize::from_str_radix(&last, 16).ok().map(|bits| bits >> 4)
}

#[test]
fn addresses_of_both_families_and_hints_are_of_one_region() {
    let mut without = 0;
    for seed in 100..100 + WORLDS {
        let mut rng = Rng::with_seed(seed);
        let snapshot = World::random(&mut rng).publisher().shared().load_full();
        for _ in 0..150 {
            let asked = asked_for(&mut rng);
            for name in SERVICES {
                let replies = ["A", "AAAA", "HTTPS"].map(|qtype| ask(&snapshot, name, qtype, asked));
                let regions: BTreeSet<usize> = replies.iter().filter_map(region_of).collect();
                assert!(regions.len() == 1, "world {seed}, {name} for {asked}: {regions:?}");
                without += replies[..2].iter().filter(|reply| reply.answers().is_empty()).count();
                hints_are_the_addresses(&replies);
                let scopes: BTreeSet<_> = replies.iter().map(Reply::scope).collect();
                assert_eq!(scopes.len(), 1, "world {seed}, {name} for {asked}: {scopes:?}");
            }
        }
    }
    assert!(without > 0, "a region without a family was met");
}

fn hints_are_the_addresses([a, aaaa, https]: &[Reply; 3]) {
    let https = https.data().join(" ");
    if !https.contains("hint=") {
        return; // an alias
    }
    for (reply, hint) in [(a, "ipv4hint="), (aaaa, "ipv6hint=")] {
        let hinted: Vec<&str> = https.split(hint).nth(1).map_or(Vec::new(), |rest| {
            rest.split_whitespace()
                .next()
                .map_or(Vec::new(), |list| list.split(',').filter(|hint| !hint.is_empty()).collect())
        });
        assert_eq!(reply.data(), hinted, "{https}");
    }
}

#[test]
fn a_lost_region_moves_its_own_clients_only() {
    for seed in 200..200 + WORLDS {
        let mut rng = Rng::with_seed(seed);
        let world = World::random(&mut rng);
        let mut publisher = world.publisher();
        let before = publisher.shared().load_full();
        let lost = rng.usize(..world.regions.len());
        publisher.apply(state::News::set_override(format!("region{lost}@gslb.test"), Override::Down), clock::read());
        publisher.publish(clock::read());
        let after = publisher.shared().load_full();
        let normal = |snapshot: &Snapshot| {
            snapshot.plan.services.iter().all(|plan| plan.standing.condition == ServiceCondition::Normal)
        };
        if !normal(&before) || !normal(&after) {
            continue; // without a healthy region everyone moves
        }
        for _ in 0..200 {
            let asked = asked_for(&mut rng);
            for name in SERVICES {
                let of = |snapshot: &Snapshot| region_of(&ask(snapshot, name, "HTTPS", asked)).expect("a region");
                let (had, has) = (of(&before), of(&after));
                assert_ne!(has, lost);
                assert!(had == has || had == lost, "world {seed}, {name} for {asked}: {had} to {has}, {lost} is lost");
            }
        }
    }
}

#[test]
fn files_in_another_order_and_with_more_in_them_answer_as_before() {
    for seed in 300..300 + WORLDS {
        let mut rng = Rng::with_seed(seed);
        let world = World::random(&mut rng);
        let mut publisher = world.publisher();
        let before = publisher.shared().load_full();
        let mut turned = world.clone();
        rng.shuffle(&mut turned.regions);
        // A zone before ours, with regions of the same names: every id is another one.
        let model = with_unrelated(&turned);
        let replacement = Replacement { model, atlas: Some(atlas()), nsid: String::new(), seed: 7 };
        publisher.apply(state::News::Reload(Box::new(replacement)), clock::read());
        publisher.publish(clock::read());
        // How widely an answer may be shared may narrow: classes are those of all services.
        let answers = |octets, asked| without_scope(octets, asked);
        assert_same(&before, &publisher.shared().load_full(), &mut rng, &format!("world {seed}"), answers);
    }
}

/// A reply whose last option is ECS, with SCOPE PREFIX-LENGTH 0 (RFC 7871 section 6).
fn without_scope(mut octets: Vec<u8>, asked: Prefix) -> Vec<u8> {
    let scope_at = octets.len() - usize::from(asked.len()).div_ceil(8) - 1;
    octets[scope_at] = 0;
    octets
}

fn with_unrelated(world: &World) -> Model {
    let ours = world.model();
    let both = load(&[("a.toml", UNRELATED), ("b.toml", &world.zone())]);
    assert!(both.regions.len() == ours.regions.len() + 2 && both.services.len() == ours.services.len() + 1);
    both
}

#[test]
fn nodes_with_the_same_files_and_news_answer_alike() {
    for seed in 400..400 + WORLDS {
        let mut rng = Rng::with_seed(seed);
        let world = World::random(&mut rng);
        let one = world.publisher().shared().load_full();
        // The other hears of regions in another order, and of each region in the same.
        let mut news = world.news.clone();
        news.sort_by_key(|news| match news {
            News::Said(region, _) | News::Probe(region, ..) | News::Load(region, _) => {
                std::cmp::Reverse(region.clone())
            }
        });
        let other = World { news, ..world }.publisher().shared().load_full();
        assert_same_answers(&one, &other, &mut rng, &format!("world {seed}"));
    }
}

fn assert_same_answers(one: &Arc<Snapshot>, other: &Arc<Snapshot>, rng: &mut Rng, context: &str) {
    assert_same(one, other, rng, context, |octets, _| octets);
}

fn assert_same(
    one: &Arc<Snapshot>,
    other: &Arc<Snapshot>,
    rng: &mut Rng,
    context: &str,
    what: impl Fn(Vec<u8>, Prefix) -> Vec<u8>,
) {
    for _ in 0..150 {
        let asked = asked_for(rng);
        for (name, qtype) in SERVICES.iter().flat_map(|name| ["A", "AAAA", "HTTPS"].map(|qtype| (*name, qtype))) {
            let reply_of = |snapshot: &Snapshot| ask(snapshot, name, qtype, asked);
            let what = |snapshot: &Snapshot| what(reply_of(snapshot).octets, asked);
            assert_eq!(what(one), what(other), "{context}: {name} {qtype} for {asked}");
        }
        // The same without a subnet, where the source decides.
        let source = client(rng);
        let plain = |snapshot: &Snapshot| reply(snapshot, &Ask::new("scored.gslb.test", "A"), source).octets;
        assert_eq!(plain(one), plain(other), "{context}: from {source}");
    }
}

#[test]
fn clients_are_shared_out_by_the_weights_of_regions_and_endpoints() {
    let zone = format!(
        "{HEAD}[region.region0]\nlocation = {{ country = \"KR\" }}\nendpoints = [\
         {{ address = \"192.0.2.1\", weight = 3 }}, {{ address = \"192.0.2.2\", weight = 1 }}]\n\
         [region.region1]\nlocation = {{ country = \"KR\" }}\nendpoints = [{{ address = \"192.0.2.17\" }}]\n\
         [service.shared]\npolicy = \"weighted\"\nregions = {{ region0 = 4, region1 = 6 }}\n"
    );
    let publisher =
        Publisher::new(load(&[("gslb.test.toml", &zone)]), Atlas::empty(), "", 7, BTreeMap::new(), clock::read());
    let snapshot = publisher.shared().load_full();
    let mut rng = Rng::with_seed(9);
    const CLIENTS: u32 = 20_000;
    let mut shares: BTreeMap<String, u32> = BTreeMap::new();
    for _ in 0..CLIENTS {
        let asked = Prefix::containing(databases::v4_address(&mut rng), 24);
        *shares.entry(ask(&snapshot, "shared.gslb.test", "A", asked).data().remove(0)).or_default() += 1;
    }
    for (address, share) in [("192.0.2.1", 0.3), ("192.0.2.2", 0.1), ("192.0.2.17", 0.6)] {
        let measured = f64::from(shares[address]) / f64::from(CLIENTS);
        // Four standard deviations.
        assert!((measured - share).abs() < 4.0 * (share * (1.0 - share) / f64::from(CLIENTS)).sqrt(), "{shares:?}");
    }
}
