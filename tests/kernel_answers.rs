//! The program that answers in the kernel says what `answer()` says, octet by octet, or nothing: for
//! 100,000 random queries, whole and broken, while snapshots change. No answer outlives its snapshot, and none is half
//! of one and half of another.
//!
//! The program runs on packets that come from nowhere (`BPF_PROG_TEST_RUN`), so no interface is needed;
//! but the right to load programs is. Without it these tests say that they are skipped.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use fastrand::Rng;
use meridian::atlas::Atlas;
use meridian::control::clock;
use meridian::model::{Coordinates, CountryCode, Location, Model, Prefix};
use meridian::query::counters::{CounterSet, Event, QueryTypeGroup};
use meridian::query::kernel::KernelAnswers;
use meridian::query::kernel::attach::ANSWER;
use meridian::query::kernel::image::{Image, Update};
use meridian::query::kernel::keeper::{Keeper, Kernel};
use meridian::query::kernel::maps::{Images, KernelMaps};
use meridian::query::transport::xdp::interface::Interface;
use meridian::query::transport::xdp::program::{Mode, Program, STEER};
use meridian::query::{Client, Transport, answer};
use meridian::state::{EndpointNews, LoadNews, News, Publisher, Replacement, Snapshot};
use meridian::steer::health::effective::Override;
use meridian::steer::health::verdict::Verdict;

mod support;

use support::dns::{self, Ask, Reply};
use support::frames::{Flow, SERVER_MAC};
use support::link::Link;
use support::one_zone::OneZone;
use support::server::Server;

const QUERIES: usize = 100_000;
const MOMENTS: usize = 10;
/// Networks of each family, and the places they are at.
const NETWORKS: usize = 20_000;
const PLACES: usize = 300;

const XDP_PASS: u32 = 2;
const XDP_TX: u32 = 3;

const SERVER_V4: &str = "10.200.0.53:53";
const SERVER_V6: &str = "[2001:db8:ffff::53]:53";

const REGIONS: [(&str, &str, f64, f64); 6] = [
    ("seoul", "KR", 37.57, 126.98),
    ("tokyo", "JP", 35.68, 139.69),
    ("frankfurt", "DE", 50.11, 8.68),
    ("virginia", "US", 39.04, -77.49),
    ("saopaulo", "BR", -23.55, -46.63),
    ("sydney", "AU", -33.87, 151.21),
];

/// Beside the regions above: more addresses than one block holds, one family only, shared out, elsewhere.
const ODD_REGIONS: &str = r#"
[region.many]
location  = { country = "DE" }
endpoints = [{ address = ["192.0.2.101", "192.0.2.102", "192.0.2.103", "192.0.2.104", "192.0.2.105", "192.0.2.106", "192.0.2.107", "192.0.2.108", "192.0.2.109", "2001:db8::101", "2001:db8::102", "2001:db8::103", "2001:db8::104"] }]
[region.toomany]
location  = { country = "DE" }
endpoints = [{ address = ["192.0.2.101", "2001:db8::101", "2001:db8::102", "2001:db8::103", "2001:db8::104", "2001:db8::105", "2001:db8::106", "2001:db8::107", "2001:db8::108", "2001:db8::109"] }]
[region.plain]
location  = { country = "JP" }
endpoints = [{ address = "192.0.2.120" }]
[region.shared]
location  = { country = "US" }
endpoints = [{ address = "192.0.2.130" }, { address = "192.0.2.131" }]
[region.rented]
location  = { country = "AU" }
endpoints = [{ host = "lb.Elsewhere.invalid." }]
"#;

const SERVICES: &str = r#"
[service.score]
regions = ["seoul", "tokyo", "frankfurt", "virginia", "saopaulo", "sydney"]
[service.nearest]
policy  = "nearest"
regions = ["seoul", "tokyo", "frankfurt", "virginia", "saopaulo", "sydney"]
[service.blind]
policy  = "nearest"
ecs     = false
regions = ["seoul", "frankfurt", "virginia"]
[service.geo]
policy  = "geo"
regions = ["seoul", "many", "virginia", "sydney"]
geo = { continent = { AS = ["seoul"], EU = ["many"] }, network = { "10.64.0.0/12" = ["sydney"], "2001:db8:8000::/33" = ["seoul"] }, default = ["virginia"] }
[service.odd]
policy  = "nearest"
regions = ["many", "toomany", "plain", "shared", "rented"]
[service.halves]
policy  = "nearest"
regions = ["plain", "seoul"]
[service.everywhere]
policy  = "failover"
regions = ["virginia", "frankfurt"]
[service.large]
policy  = "failover"
regions = ["many"]
[service.weighted]
policy  = "weighted"
regions = { seoul = 3, tokyo = 1 }
[service.several]
policy  = "multi"
answers = 2
regions = ["frankfurt", "virginia"]
[service.fine]
policy  = "geo"
regions = ["seoul", "sydney"]
geo = { network = { "2001:db8:1:2:8000::/65" = ["sydney"], "10.1.2.3/32" = ["sydney"] }, default = ["seoul"] }
[service."*.wild"]
policy  = "nearest"
regions = ["seoul", "frankfurt"]
[service."a-name-of-more-than-48-octets-takes-two-blocks"]
policy  = "nearest"
regions = ["seoul", "frankfurt"]
[service."exactly-sixty-four-octets-with-what-the-wire-adds"]
policy  = "nearest"
regions = ["seoul", "frankfurt"]
[service."this-name-of-sixty-five-octets-is-longer-than-entries"]
policy  = "nearest"
regions = ["seoul", "frankfurt"]
"#;

const RECORDS: &str = r#"
@      SOA   Ns1 Host.Master 1 1h 10m 1w 60
@      NS    ns1
ns1    A     192.0.2.53
static A     192.0.2.80
static AAAA  2001:db8::80
only4  A     192.0.2.81
text   TXT   "nothing of either family"
long   A     192.0.2.1
long   A     192.0.2.2
long   A     192.0.2.3
long   A     192.0.2.4
long   A     192.0.2.5
alias  CNAME score
outer  CNAME elsewhere.invalid.
*.star A     192.0.2.90
child  NS    ns.child
ns.child A   192.0.2.91
x      MX    10 static
"#;

/// Some often. The first twelve are answered in the kernel, now and then at least; the last nine never.
const NAMES: [&str; 30] = [
    "score",
    "nearest",
    "blind",
    "geo",
    "odd",
    "halves",
    "everywhere",
    "large",
    "fine",
    "static",
    "a-name-of-more-than-48-octets-takes-two-blocks",
    "exactly-sixty-four-octets-with-what-the-wire-adds",
    "score",
    "nearest",
    "geo",
    "static",
    "weighted",
    "several",
    "*.wild",
    "",
    "only4",
    "text",
    "long",
    "x",
    "this-name-of-sixty-five-octets-is-longer-than-entries",
    "x.wild",
    "alias",
    "outer",
    "y.star",
    "missing",
];

fn model() -> Model {
    let zone = format!("origin = \"Gslb.example\"\nrecords = '''{RECORDS}'''\n");
    OneZone(zone + &healthy_regions() + ODD_REGIONS + SERVICES).model()
}

fn healthy_regions() -> String {
    let region = |(number, (name, country, latitude, longitude)): (usize, &(&str, &str, f64, f64))| {
        format!(
            "[region.{name}]\nlocation = {{ country = \"{country}\", latitude = {latitude}, longitude = {longitude} }}\n\
             endpoints = [{{ address = [\"192.0.2.{number}\", \"2001:db8::{number}\"] }}]\n\
             check.tcp = {{ port = 80 }}\ncapacity = 100\nload_report.push = {{}}\n"
        )
    };
    REGIONS.iter().enumerate().map(region).collect()
}

/// Networks in 10/8 and 2001:db8/32.
fn networks(rng: &mut Rng) -> Vec<(Prefix, Location)> {
    let countries: Vec<CountryCode> =
        ["KR", "JP", "DE", "US", "BR", "AU"].iter().map(|code| code.parse().expect("a code")).collect();
    let place = |rng: &mut Rng| {
        let country = countries[rng.usize(..countries.len())];
        let centre = meridian::atlas::centroid::centroid(country).expect("a centre");
        Location {
            country: Some(country),
            continent: meridian::atlas::centroid::continent_of(country),
            coordinates: Coordinates::new(centre.latitude() + rng.f64(), centre.longitude() + rng.f64()),
            ..Location::default()
        }
    };
    let places: Vec<Location> = (0..PLACES).map(|_| place(rng)).collect();
    let mut all: HashMap<Prefix, Location> = HashMap::new();
    for _ in 0..NETWORKS {
        let v4 = Prefix::containing(client(true, rng), rng.u8(12..=30));
        let v6 = Prefix::containing(client(false, rng), rng.u8(34..=66));
        for prefix in [v4, v6] {
            all.insert(prefix, places[rng.usize(..PLACES)].clone());
        }
    }
    all.into_iter().collect()
}

/// Mostly where the networks are.
fn client(v4: bool, rng: &mut Rng) -> IpAddr {
    match (v4, rng.u8(..20)) {
        (true, 0) => Ipv4Addr::from(rng.u32(..)).into(),
        (true, 1) => Ipv4Addr::from(0x0a01_0203 ^ rng.u32(..4)).into(),
        (true, _) => Ipv4Addr::from(0x0a00_0000 | rng.u32(..1 << 24)).into(),
        (false, 0) => Ipv6Addr::from(rng.u128(..)).into(),
        (false, 1) => Ipv6Addr::from(0x2001_0db8_0001_0002_u128 << 64 | u128::from(rng.u64(..))).into(),
        (false, 2) => Ipv4Addr::from(rng.u32(..)).to_ipv6_mapped().into(),
        (false, _) => Ipv6Addr::from(0x2001_0db8_u128 << 96 | u128::from(rng.u64(..)) << 32).into(),
    }
}

/// A DNS message that may be asked anywhere.
fn query(rng: &mut Rng) -> Vec<u8> {
    query_for(NAMES[rng.usize(..NAMES.len())], rng)
}

fn query_for(name: &str, rng: &mut Rng) -> Vec<u8> {
    let mut query = vec![rng.u8(..), rng.u8(..), [0, 1][rng.usize(..2)], 0, 0, 1, 0, 0, 0, 0, 0, 0];
    let spelling = rng.u8(..4);
    let whole = if name.is_empty() { "gslb.example".to_owned() } else { format!("{name}.gslb.example") };
    for label in whole.split('.') {
        query.push(label.len() as u8);
        query.extend(label.bytes().map(|octet| match spelling {
            0 => octet.to_ascii_uppercase(),
            1 if rng.bool() => octet.to_ascii_uppercase(),
            _ => octet,
        }));
    }
    let qtype = [1u8, 1, 1, 1, 28, 28, 28, 16, 65, 255][rng.usize(..10)];
    query.extend([0, 0, qtype, 0, if rng.u8(..50) == 0 { 3 } else { 1 }]);
    if rng.u8(..4) != 0 {
        add_opt(&mut query, rng);
    }
    query
}

fn add_opt(query: &mut Vec<u8>, rng: &mut Rng) {
    let mut options = Vec::new();
    if rng.u8(..4) != 0 {
        let v4 = rng.bool();
        let network = Prefix::containing(client(v4, rng), rng.u8(..=if v4 { 32 } else { 70 }));
        let octets = match network.address() {
            IpAddr::V4(v4) => v4.octets().to_vec(),
            IpAddr::V6(v6) => v6.octets().to_vec(),
        };
        let significant = usize::from(network.len()).div_ceil(8);
        options.extend([0, 8, 0, 4 + significant as u8, 0, if v4 { 1 } else { 2 }, network.len(), 0]);
        options.extend(&octets[..significant]);
    }
    match rng.u8(..20) {
        0 => options.extend([0, 3, 0, 0]),
        1 => options.extend([0, 10, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8]),
        _ => {}
    }
    let size = [512u16, 1232, 4096, 100][rng.usize(..4)].to_be_bytes();
    let (version, flags) = ((rng.u8(..50) == 0) as u8, [0, 0, 0x80, 0x40][rng.usize(..4)]);
    query.extend([0, 0, 41, size[0], size[1], 0, version, flags, 0]);
    query.extend((options.len() as u16).to_be_bytes());
    query.extend(options);
    query[11] = 1;
}

/// Breaks some messages: what is left may still be a query, or not.
fn mutate(query: &mut Vec<u8>, rng: &mut Rng) {
    match rng.u8(..24) {
        0..=2 => {
            let at = rng.usize(..query.len());
            query[at] ^= 1 << rng.u8(..8);
        }
        3 => query.truncate(rng.usize(..query.len())),
        4 => query.extend((0..rng.usize(1..30)).map(|_| rng.u8(..)).collect::<Vec<_>>()),
        5 => {
            let at = rng.usize(..12);
            query[at] = rng.u8(..);
        }
        // OPT where it does not belong, twice, or of a name.
        6 => query.swap(11, [7, 9][rng.usize(..2)]),
        7 => {
            query[11] += 1;
            query.extend(b"\0\0\x29\x04\xd0\0\0\0\0\0\0");
        }
        8 => {
            let opt = 12 + name_octets(query) + 4;
            query.splice(opt..opt, *b"\x01x");
        }
        _ => {}
    }
}

/// Of the name asked for.
fn name_octets(query: &[u8]) -> usize {
    let labels = std::iter::successors(Some(12), |&at| Some(at + 1 + usize::from(query[at])));
    labels.take_while(|&at| query[at] != 0).last().map_or(1, |last| last - 12 + 2 + usize::from(query[last]))
}

/// Some packets change on their way: says so. Others of IPv4 have no checksum, which is no damage.
fn damage(packet: &mut [u8], rng: &mut Rng) -> bool {
    match rng.u8(..50) {
        0 => {
            let at = rng.usize(26..packet.len());
            packet[at] ^= 1 << rng.u8(..8);
            true
        }
        1 if packet[12..14] == [8, 0] => {
            packet[40..42].fill(0);
            false
        }
        _ => false,
    }
}

fn flow(rng: &mut Rng) -> Flow {
    let v4 = rng.bool();
    let to: SocketAddr = if v4 { SERVER_V4 } else { SERVER_V6 }.parse().expect("an address");
    let port = if rng.u8(..100) == 0 { 0 } else { rng.u16(1..) };
    Flow::new((client(v4, rng), port).into(), to, (rng.u8(..3) == 0).then(|| rng.u16(..4096)))
}

/// The program as an interface has it, or `None` where it cannot be loaded here.
fn program() -> Option<(Program, KernelMaps)> {
    let mut program = match Program::load(ANSWER, "answer") {
        Ok(program) => program,
        Err(error) => {
            // Only who may not is excused: a program that the verifier refuses is a mistake.
            assert!(error.to_string().contains("Operation not permitted"), "{error}");
            support::tools::skip(support::tools::Need::Ebpf, "eBPF programs cannot be loaded here");
            return None;
        }
    };
    let ours = [SERVER_V4, SERVER_V6].map(|address| address.parse().expect("an address"));
    program.answer_at(&ours.into()).expect("the addresses are taken");
    program.set_hardware_address(SERVER_MAC).expect("the hardware address is taken");
    let maps = KernelMaps::new(&mut program, Mode::Native).expect("the maps are there");
    Some((program, maps))
}

fn publisher(model: &Model, rng: &mut Rng) -> Publisher {
    publisher_of(model, &networks(rng))
}

fn publisher_of(model: &Model, networks: &[(Prefix, Location)]) -> Publisher {
    let now = clock::read();
    let atlas = Atlas::build(&[], networks).expect("an atlas");
    let mut publisher = Publisher::new(model.clone(), atlas, "here", 3, BTreeMap::new(), now);
    publisher.assume_up(now);
    publisher
}

/// Something happens to a region or two.
fn disturb(publisher: &mut Publisher, model: &Model, rng: &mut Rng) {
    let now = clock::read();
    for id in model.region_ids() {
        let region: Arc<str> = model.qualified_region_name(id).into();
        for endpoint in &model.region(id).endpoints {
            for probed in model.region(id).probes_of(endpoint) {
                let verdict = if rng.u8(..5) == 0 { Verdict::Down } else { Verdict::Up };
                let news = EndpointNews::of_only_probe(&region, &endpoint.label(), verdict);
                publisher.apply(News::Probe(EndpointNews { probe: probed.id, ..news }), now);
            }
        }
        publisher.apply(News::Load(LoadNews { region, at: now.now(), outcome: Ok((rng.f64() * 100.0, None)) }), now);
    }
    publisher.publish(now);
}

/// What the server itself says; empty where it stays silent.
struct Oracle {
    counters: Arc<meridian::query::counters::Counters>,
    out: Vec<u8>,
}

impl Oracle {
    fn says(&mut self, snapshot: &Snapshot, query: &[u8], source: IpAddr) -> &[u8] {
        let client = Client { address: source, transport: Transport::Udp };
        let len = answer(snapshot, query, client, &mut self.out, &self.counters);
        &self.out[..len]
    }
}

#[test]
fn it_says_what_the_server_says_or_nothing() {
    let Some(compared) = compare(&model(), &mut Rng::with_seed(44), query) else { return };
    let Compared { answered, by_name } = compared;
    assert!(answered > QUERIES / 5, "{answered}");
    for name in &NAMES[..12] {
        assert!(by_name.get(*name).is_some_and(|&times| times > 50), "{name}: {by_name:?}");
    }
    for name in &NAMES[24..] {
        assert_eq!(by_name.get(*name), None, "only the server answers {name}");
    }
}

/// What the program answered, by name.
struct Compared {
    answered: usize,
    by_name: BTreeMap<String, usize>,
}

/// Holds all that the program says, of questions as `query` makes them, to what the server says.
fn compare(model: &Model, rng: &mut Rng, query: impl Fn(&mut Rng) -> Vec<u8>) -> Option<Compared> {
    let (program, maps) = program()?;
    let mut publisher = publisher(model, rng);
    let shared = publisher.shared();
    let (ours, theirs) = (CounterSet::new(), CounterSet::new());
    let mut oracle = Oracle { counters: theirs.register(), out: vec![0; 1232] };
    let control = maps.control.clone();
    let mut keeper =
        Keeper::new(Kernel { programs: vec![maps], images: Images::with_room().expect("maps") }, ours.register());
    control.switch(true);
    let (mut answered, mut plain, mut out) = (0, 0, vec![0; 4096]);
    let mut by_name: BTreeMap<String, usize> = BTreeMap::new();
    for _ in 0..MOMENTS {
        let snapshot = shared.load_full();
        control.set_generation(snapshot.generation);
        keeper.step(&shared);
        for _ in 0..QUERIES / MOMENTS {
            let (flow, mut query) = (flow(rng), query(rng));
            let whole = query.clone();
            mutate(&mut query, rng);
            plain += usize::from(whole == query);
            let mut packet = flow.packet(&query);
            let damaged = damage(&mut packet, rng);
            let (verdict, len) = program.run(&packet, &mut out).expect("the program runs");
            assert!(verdict == XDP_PASS || !damaged, "answered though damaged: {packet:02x?}");
            if verdict == XDP_PASS {
                assert_eq!(out[..len], packet, "passed on as it came");
                continue;
            }
            assert_eq!(verdict, XDP_TX, "{query:02x?}");
            let expected = flow.back().packet(oracle.says(&snapshot, &query, flow.from.ip()));
            assert_eq!(out[..len], expected, "to {query:02x?} from {}", flow.from);
            answered += 1;
            *by_name.entry(name_in(&query)).or_default() += 1;
        }
        disturb(&mut publisher, model, rng);
    }
    println!("{answered} of {QUERIES} answered, {plain} of them whole: {by_name:?}");
    keeper.stop();
    same_counts(&ours, &theirs, answered);
    Some(Compared { answered, by_name })
}

/// A zone whose services go by each three of the regions, once by score and once by distance: in more ways than one part
/// of a plan has, whose classes of clients are all that the program knows.
fn unlike() -> (Model, Vec<String>) {
    let mut zone = format!("origin = \"gslb.example\"\nrecords = '''{RECORDS}'''\n");
    zone += &healthy_regions();
    let mut names = Vec::new();
    for (first, second, third) in (0..6).flat_map(|a| (0..a).flat_map(move |b| (0..b).map(move |c| (a, b, c)))) {
        let [a, b, c] = [first, second, third].map(|number: usize| REGIONS[number].0);
        for policy in ["score", "nearest"] {
            let name = format!("{policy}{first}{second}{third}");
            zone += &format!("[service.{name}]\npolicy = \"{policy}\"\nregions = [\"{a}\", \"{b}\", \"{c}\"]\n");
            names.push(name);
        }
    }
    (OneZone(zone).model(), names)
}

#[test]
fn of_services_unlike_each_other_some_are_answered_and_all_others_left_to_the_server() {
    let (model, names) = unlike();
    let ask = |rng: &mut Rng| query_for(&names[rng.usize(..names.len())], rng);
    let Some(Compared { answered, by_name }) = compare(&model, &mut Rng::with_seed(49), ask) else { return };
    let often = names.iter().filter(|name| by_name.get(*name).is_some_and(|&times| times > 50)).count();
    assert!((8..names.len()).contains(&often), "{often} of {}: {by_name:?}", names.len());
    assert!(answered > QUERIES / 20, "{answered}");
}

/// Even where the sum of all octets is right without one.
#[test]
fn rfc8200_8_1_without_a_checksum_nothing_is_answered_over_ipv6() {
    let Some((program, maps)) = program() else { return };
    let mut rng = Rng::with_seed(46);
    let model = model();
    let shared = publisher(&model, &mut rng).shared();
    let control = maps.control.clone();
    let kernel = Kernel { programs: vec![maps], images: Images::with_room().expect("maps") };
    let mut keeper = Keeper::new(kernel, CounterSet::new().register());
    control.switch(true);
    control.set_generation(shared.load().generation);
    keeper.step(&shared);
    let from = "[2001:db8:7::1]:5353".parse().expect("an address");
    let flow = Flow::new(from, SERVER_V6.parse().expect("an address"), None);
    let mut query = Ask::new(&format!("{}.gslb.example", NAMES[0]), "A").wire();
    const CHECKSUM_AT: usize = 14 + 40 + 6;
    let packet = (0..=u16::MAX).map(|id| {
        query[..2].copy_from_slice(&id.to_be_bytes());
        flow.packet(&query)
    });
    let mut packet = packet.into_iter().find(|packet| packet[CHECKSUM_AT..][..2] == [0xff, 0xff]).expect("an ID");
    let mut out = vec![0; 4096];
    assert_eq!(program.run(&packet, &mut out).expect("the program runs").0, XDP_TX, "with its checksum");
    packet[CHECKSUM_AT..][..2].fill(0);
    assert_eq!(program.run(&packet, &mut out).expect("the program runs").0, XDP_PASS, "without");
}

/// Whether it is the one that is looked at first or another.
#[test]
fn an_address_that_is_gone_is_answered_no_more() {
    let Some((mut program, maps)) = program() else { return };
    let mut rng = Rng::with_seed(49);
    let model = model();
    let shared = publisher(&model, &mut rng).shared();
    let control = maps.control.clone();
    let kernel = Kernel { programs: vec![maps], images: Images::with_room().expect("maps") };
    let mut keeper = Keeper::new(kernel, CounterSet::new().register());
    control.switch(true);
    control.set_generation(shared.load().generation);
    keeper.step(&shared);
    let addresses: [SocketAddr; 2] = [SERVER_V4, SERVER_V6].map(|address| address.parse().expect("an address"));
    let query = Ask::new("static.gslb.example", "A").wire();
    let packets = ["192.0.2.7:5353", "[2001:db8:7::1]:5353"].map(|from| from.parse().expect("an address"));
    let packets = [0, 1].map(|at| Flow::new(packets[at], addresses[at], None).packet(&query));
    let mut out = vec![0; 4096];
    for there in [&[0, 1][..], &[1], &[0, 1], &[0], &[], &[0]] {
        program.answer_at(&there.iter().map(|&at| addresses[at]).collect()).expect("the addresses are taken");
        for (at, packet) in packets.iter().enumerate() {
            let expected = if there.contains(&at) { XDP_TX } else { XDP_PASS };
            assert_eq!(program.run(packet, &mut out).expect("the program runs").0, expected, "{at} of {there:?}");
        }
    }
}

/// The name asked for, in lower case, without its last two labels.
fn name_in(query: &[u8]) -> String {
    let mut labels = Vec::new();
    let mut at = 12;
    while query[at] != 0 {
        let end = at + 1 + usize::from(query[at]);
        labels.push(String::from_utf8_lossy(&query[at + 1..end]).to_ascii_lowercase());
        at = end;
    }
    labels[..labels.len().saturating_sub(2)].join(".")
}

/// Counters and the weights of samples are those of the very same answers over sockets.
fn same_counts(ours: &CounterSet, theirs: &CounterSet, answered: usize) {
    let (total, expected) = (ours.total(), theirs.total());
    for event in [
        Event::Response(Transport::Udp, QueryTypeGroup::A, 0),
        Event::Response(Transport::Udp, QueryTypeGroup::Aaaa, 0),
        Event::Ecs,
    ] {
        assert_eq!(total.get(event), expected.get(event), "{event:?}");
    }
    assert_eq!(total.get(Event::Query(Transport::Udp)), answered as u64);
    let (ours_demand, theirs_demand) = (ours.demand_totals(), theirs.demand_totals());
    let waiting = theirs_demand.answers - ours_demand.answers;
    assert!(waiting < 100, "{ours_demand:?}, {theirs_demand:?}");
}

#[test]
fn no_answer_is_older_than_the_snapshot() {
    let Some((program, maps)) = program() else { return };
    let mut rng = Rng::with_seed(45);
    let model = model();
    let mut publisher = publisher(&model, &mut rng);
    let shared = publisher.shared();
    let mut oracle = Oracle { counters: CounterSet::new().register(), out: vec![0; 1232] };
    let counters = CounterSet::new().register();
    let images = Images::with_room().expect("maps");
    let kernel = Kernel { programs: vec![maps], images };
    let answers = KernelAnswers::start(kernel, shared.clone(), &publisher.followers(), counters);
    let answers = answers.expect("a thread");
    let mut out = vec![0; 4096];
    let mut ask = |snapshot: &Snapshot, oracle: &mut Oracle, rng: &mut Rng| {
        let (flow, query) = (flow(rng), query(rng));
        let packet = flow.packet(&query);
        let (verdict, len) = program.run(&packet, &mut out).expect("the program runs");
        if verdict == XDP_TX {
            let expected = flow.back().packet(oracle.says(snapshot, &query, flow.from.ip()));
            assert_eq!(out[..len], expected, "stale: to {query:02x?}");
        }
        verdict == XDP_TX
    };
    let mut longest = Duration::ZERO;
    for _ in 0..20 {
        disturb(&mut publisher, &model, &mut rng);
        let (swapped, snapshot) = (Instant::now(), shared.load_full());
        // From the very first packet on: nothing, or what the new snapshot says.
        let mut first = None;
        while first.is_none() && swapped.elapsed() < Duration::from_secs(10) {
            first = ask(&snapshot, &mut oracle, &mut rng).then(|| swapped.elapsed());
        }
        longest = longest.max(first.expect("answers are back"));
        (0..200).for_each(|_| _ = ask(&snapshot, &mut oracle, &mut rng));
    }
    println!("answers are back {longest:?} after a swap, at the latest");
    let snapshot = shared.load_full();
    drop(answers);
    let after = (0..1_000).filter(|_| ask(&snapshot, &mut oracle, &mut rng)).count();
    assert_eq!(after, 0, "switched off");
}

/// Two regions with as many addresses as an answer here may have, or hardly any: what is half the one and half the other
/// shows.
const TWO_STATES: &str = r#"
origin = "gslb.example"
records = """
@     SOA   ns1 hostmaster 1 1h 10m 1w 60
@     NS    ns1
ns1   A     192.0.2.53
"""
[region.first]
location  = { country = "DE" }
endpoints = [{ address = ["192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4", "192.0.2.5", "192.0.2.6", "192.0.2.7", "192.0.2.8", "192.0.2.9"] }]
[region.second]
location  = { country = "JP" }
endpoints = [{ address = ["198.51.100.1", "198.51.100.2", "198.51.100.3", "198.51.100.4", "198.51.100.5", "198.51.100.6", "198.51.100.7", "198.51.100.8", "198.51.100.9"] }]
[service.app]
policy  = "nearest"
regions = ["first", "second"]
"#;

/// The image is written in place, over and over, while programs answer from it, with nothing but its version to tell
/// them: each answer is of one state or of the other.
#[test]
fn no_answer_is_of_two_states() {
    let Some((program, maps)) = program() else { return };
    let mut rng = Rng::with_seed(47);
    let model = OneZone(TWO_STATES.to_owned()).model();
    let mut publisher = publisher_of(&model, &networks(&mut rng)[..100]); // so few that it is not written all the time
    let mut snapshots = vec![publisher.shared().load_full()];
    publisher.apply(News::set_override("first@gslb.example", Override::Down), clock::read());
    publisher.publish(clock::read());
    snapshots.push(publisher.shared().load_full());
    let mut images = [Image::default(), Image::default()];
    let updates: Vec<Update<'_>> = images
        .iter_mut()
        .zip(&snapshots)
        .map(|(image, snapshot)| Update { generation: 1, ..image.update(snapshot).expect("a plan") })
        .collect();
    maps.control.set_generation(1);
    maps.control.switch(true);
    let (done, programs) = (AtomicBool::new(false), [maps]);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut room = Images::with_room().expect("maps");
            for update in updates.iter().cycle().take_while(|_| !done.load(Ordering::Relaxed)) {
                room.put(&programs, update).expect("written");
                (0..1_000).for_each(|_| std::hint::spin_loop());
            }
        });
        let _stop = Stop(&done);
        let (mut seen, mut out, began) = ([0; 2], vec![0; 4096], Instant::now());
        while seen.iter().any(|&times| times < 2_000) {
            assert!(began.elapsed() < Duration::from_secs(120), "{seen:?}");
            let (flow, query) = (flow_to_port(&mut rng), Ask::new("app.gslb.example", "A").wire());
            let (verdict, len) = program.run(&flow.packet(&query), &mut out).expect("the program runs");
            if verdict != XDP_TX {
                continue;
            }
            let mut oracle = Oracle { counters: CounterSet::new().register(), out: vec![0; 1232] };
            let answers = snapshots.iter().map(|of| flow.back().packet(oracle.says(of, &query, flow.from.ip())));
            let state = answers.into_iter().position(|answer| answer == out[..len]);
            seen[state.expect("of one state or the other")] += 1;
        }
        println!("{seen:?} answers in {:?}", began.elapsed());
    });
}

/// Tells a thread to stop, whatever happens.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn flow_to_port(rng: &mut Rng) -> Flow {
    let from = SocketAddr::new(client(true, rng), 5353);
    Flow::new(from, SERVER_V4.parse().expect("an address"), None)
}

/// So many services of one policy, of regions with addresses of both families, but for the last.
fn alike(services: usize) -> Model {
    let mut zone = String::from(
        "origin = \"gslb.example\"\nrecords = \"\"\"\n@ SOA ns1 hostmaster 1 1h 10m 1w 60\n@ NS ns1\nns1 A 192.0.2.53\n",
    );
    (0..services).for_each(|number| zone += &format!("static{number} A 192.0.2.{}\n", number % 250));
    zone += "\"\"\"\n";
    for (number, country) in ["DE", "JP", "US"].into_iter().enumerate() {
        zone += &format!(
            "[region.r{number}]\nlocation = {{ country = \"{country}\" }}\ncapacity = 100\nload_report.push = {{}}\n\
             endpoints = [{{ address = [\"192.0.2.{number}\", \"2001:db8::{number}\"] }}]\n"
        );
    }
    zone += "[region.old]\nlocation = { country = \"BR\" }\nendpoints = [{ address = \"192.0.2.9\" }]\n";
    for number in 0..services {
        let regions = if number == 0 { r#""r0", "r1", "old""# } else { r#""r0", "r1", "r2""# };
        zone += &format!("[service.s{number}]\npolicy = \"nearest\"\nregions = [{regions}]\n");
    }
    OneZone(zone).model()
}

/// No more is asked and written than changes.
#[test]
fn a_swap_costs_what_it_changes() {
    const SERVICES: usize = 300;
    let model = alike(SERVICES);
    let mut rng = Rng::with_seed(48);
    let mut publisher = publisher(&model, &mut rng);
    let shared = publisher.shared();
    let mut image = Image::default();
    let now = clock::read();
    let mut step = |publisher: &mut Publisher, news: Option<News>| {
        news.into_iter().for_each(|news| _ = publisher.apply(news, now));
        publisher.publish(now);
        let (before, snapshot) = (image.asked(), shared.load_full());
        let update = image.update(&snapshot).expect("a plan");
        let wrote = (update.classes.is_some(), update.names.iter().any(|(at, _)| *at == 0), update.services.len());
        let at_once = image.asked() - before;
        let later = image.complete(&snapshot, || true).is_some().then(|| image.asked() - before - at_once);
        (wrote, at_once, later)
    };
    let ((classes, names, services), asked, later) = step(&mut publisher, None);
    assert_eq!((classes, names, services, later), (true, true, SERVICES, Some(1)));
    // Static names with both families; of services each region's addresses once.
    assert!((2 * SERVICES as u64..2 * SERVICES as u64 + 16).contains(&asked), "{asked}");

    assert_eq!(step(&mut publisher, None), ((false, false, 0), 0, None), "nothing happened");
    let report =
        |load| News::Load(LoadNews { region: "r0@gslb.example".into(), at: now.now(), outcome: Ok((load, None)) });
    assert_eq!(step(&mut publisher, Some(report(10.0))), ((false, false, 0), 0, None), "a load that moves nobody");
    // Busy: its answers live half as long, and others are as they were.
    assert_eq!(step(&mut publisher, Some(report(90.0))), ((false, false, SERVICES), 2, None));

    // Other records and nothing else: names are made anew, clients are in the classes that they were in.
    let same = Replacement { model: model.clone(), atlas: None, nsid: "here".to_owned(), seed: 3 };
    let ((classes, names, services), _, later) = step(&mut publisher, Some(News::Reload(Box::new(same))));
    assert_eq!((classes, names, services, later), (false, true, SERVICES, Some(1)));

    // Down: all answers of these services are new ones, but static names and the other half of clients.
    let ((_, names, services), asked, later) =
        step(&mut publisher, Some(News::set_override("r0@gslb.example", Override::Down)));
    assert_eq!((names, services, later), (false, SERVICES, Some(1)));
    assert!(asked <= 12, "{asked}");
}

/// The same with a driver, where network namespaces can be made: a whole server, and its client on the
/// other end of a cable.
#[test]
fn a_server_answers_in_the_kernel_where_it_is_told_to() {
    let Some(link) = Link::new() else { return };
    let server = link.server.run(|| {
        let folder = tempfile::tempdir().expect("a folder");
        let main = "threads = 1\ngeoip = []\n[listen]\ndns = [\"0.0.0.0:53\", \"[::]:53\"]\nadmin = \"127.0.0.1:0\"\n\
                    xdp = [{ interface = \"eth0\", kernel_answers = true }]\n";
        std::fs::write(folder.path().join("meridian.toml"), main).expect("a file");
        std::fs::create_dir(folder.path().join("zones")).expect("a folder");
        std::fs::write(folder.path().join("zones/gslb.example.toml"), SMALL_ZONE).expect("a file");
        Server::start_in(folder)
    });
    // The other end of a virtual cable takes what a program sends back (XDP_TX) only if it has one itself.
    let _taking = link.client.run(|| {
        let mut program = Program::load(STEER, "steer").expect("a program");
        let eth0 = Interface::find("eth0").expect("the client's end");
        (program.attach(eth0.index, Mode::Native).expect("attached"), program)
    });
    let ask = |to: &str, name: &str| {
        let (to, octets): (SocketAddr, _) = (to.parse().expect("an address"), Ask::new(name, "A").wire());
        let reply = link.client.run(move || dns::exchange_udp(to, &octets, Duration::from_secs(5)));
        Reply::read(reply.expect("a reply")).data()
    };
    // The first image may take a moment.
    support::server::wait_until("it is answered in the kernel", Duration::from_secs(10), || {
        let before = server.past_the_sockets();
        ask("10.0.0.1:53", "app.gslb.example") == ["192.0.2.1"] && server.past_the_sockets() == before
    });
    let before = server.past_the_sockets();
    for to in ["10.0.0.1:53", "[fd00::1]:53"] {
        for _ in 0..50 {
            assert_eq!(ask(to, "app.gslb.example"), ["192.0.2.1"], "{to}");
            assert_eq!(ask(to, "WWW.gslb.example"), ["192.0.2.80"], "{to}");
        }
    }
    assert_eq!(server.past_the_sockets(), before, "nothing came to the threads");
    assert_eq!(ask("10.0.0.1:53", "alias.gslb.example"), ["192.0.2.80", "www.gslb.example."]);
    assert_eq!(server.past_the_sockets(), before + 1, "what is not plain did");
    let all = Event::Query(Transport::Udp);
    support::server::wait_until("all are counted", Duration::from_secs(5), || server.count(all) >= before + 201);
}

const SMALL_ZONE: &str = r#"
origin = "gslb.example"
records = """
@     SOA   ns1 hostmaster 1 1h 10m 1w 60
@     NS    ns1
ns1   A     192.0.2.53
www   A     192.0.2.80
alias CNAME www
"""
[region.near]
location = { country = "DE" }
endpoints = [{ address = ["192.0.2.1", "2001:db8::1"] }]
[service.app]
policy = "failover"
regions = ["near"]
"#;
