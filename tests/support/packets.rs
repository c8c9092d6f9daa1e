//! Packets of every kind over a configuration of every kind: what a differential test of the packet
//! path asks.
//!
//! [`snapshots`] are what is asked, in several states of health; [`packets`] are the questions, the
//! same ones every time for a seed: well-formed ones of all that resolvers send, and the same with
//! octets changed.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fastrand::Rng;
use meridian::atlas::{Atlas, DEMO_DATABASE, Database};
use meridian::control::clock;
use meridian::control::config::{self, Files};
use meridian::model::{AddressPart, ProbeId};
use meridian::query::{Client, Transport};
use meridian::state::{EndpointNews, LoadNews, News, Publisher, Snapshot};
use meridian::steer::health::effective::Override;
use meridian::steer::health::verdict::Verdict;
use meridian::steer::kept::Clock;

use super::dns::{Ask, Opt, subnet_option};

const MAIN: &str = r#"
nsid = "here"
[[network]]
cidr = "2001:db8:4900::/40"
location = { country = "DE" }
[[network]]
cidr = "2001:db8:8200::/40"
location = { country = "KR" }
[[network]]
cidr = "10.0.0.0/8"
location = { country = "US" }
"#;

const ZONE: &str = r#"
origin = "gslb.Example"
strict = false # for its loop of aliases
records = '''
@           SOA   NS1 hostmaster 1 1h 10m 1w 60
@           NS    ns1
@           NS    ns2.elsewhere.test.
@           MX    10 Mail
@           TXT   "a" "b"
ns1         A     192.0.2.53
ns1         AAAA  2001:db8::53
mail        A     192.0.2.25
www         A     192.0.2.80
www         A     192.0.2.81
www         AAAA  2001:db8::80
MiXed       A     192.0.2.82
MiXed       MX    5 mail
alias       CNAME www
alias2      CNAME alias
aliassvc    CNAME app
loop        CNAME loop2
loop2       CNAME loop
out         CNAME x.elsewhere.test.
moved       DNAME www
*.wild      A     192.0.2.99
*.wild      MX    5 mail
x.sub.wild  TXT   "below"
*.walias    CNAME app
deep.a.b.c  A     192.0.2.7
child       NS    ns1.child
child       NS    Ns2.child
child       NS    ns1
child       DS    1 8 2 0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20
ns1.child   A     192.0.2.54
ns2.child   A     192.0.2.55
ns2.child   AAAA  2001:db8::55
far         NS    ns.elsewhere.test.
_http._tcp  SRV   0 0 80 www
_dns        SVCB  1 www alpn=h2
text        TYPE65280 \# 2 abcd
app         TXT   "beside the service"
$GENERATE 1-60 big A 192.0.2.$
$GENERATE 1-60 long TXT "0123456789abcdef0123456789abcdef-$"
$GENERATE 1-12 many NS ns$.many
$GENERATE 1-12 ns$.many A 192.0.2.$
'''
[region.seoul]
location  = { country = "KR" }
capacity  = 100
load_report.push = { interval = "10s" }
endpoints = [{ address = ["203.0.113.82", "2001:db8::82"], weight = 4 }, { address = "203.0.113.83" }]
[region.busan]
location  = { country = "KR" }
capacity  = 100
load_report.push = { interval = "10s" }
endpoints = [{ address = ["203.0.113.84", "2001:db8::84", "203.0.113.85"] }]
check.tcp = { port = 9 }
[region.berlin]
location  = { country = "DE" }
endpoints = [{ address = ["203.0.113.49", "2001:db8::49"] }]
check.tcp = { port = 9 }
[region.paris]
location  = { country = "FR" }
endpoints = [{ address = "203.0.113.33" }]
[region.rented]
location  = { country = "US" }
endpoints = [{ host = "lb.elsewhere.invalid." }]
[region.nested]
location  = { country = "US" }
endpoints = [{ host = "app" }]
[service.app]
policy  = "score"
regions = ["seoul", "busan", "berlin", "paris"]
https   = { alpn = ["h2", "h3"], port = 8443 }
[service.plain]
policy  = "score"
regions = ["busan", "berlin"]
ttl     = "1h"
[service.geo]
policy  = "geo"
regions = ["busan", "berlin", "paris"]
geo     = { continent = { AS = ["busan"], NA = ["paris"] }, default = ["berlin"] }
[service."*.tenant"]
policy  = "geo"
regions = ["busan", "berlin", "paris"]
geo     = { continent = { AS = ["busan"], NA = ["paris"] }, default = ["berlin"] }
[service.shares]
policy  = "weighted"
regions = ["busan", "berlin", "paris"]
[service.first]
policy  = "failover"
regions = ["berlin", "paris"]
ecs     = false
[service.solo]
policy  = "failover"
regions = ["paris", "berlin"]
[service.hosted]
policy  = "score"
regions = ["seoul", "rented"]
[service.inner]
policy  = "failover"
regions = ["nested"]
[service.several]
policy  = "multi"
regions = ["seoul", "busan", "berlin"]
"#;

/// Between it and the zone above there is a name that holds nothing.
const NESTED: &str = r#"
origin = "zone.in.gslb.example"
records = '''
@    SOA  ns.elsewhere.test. root.gslb.example. 1 1h 10m 1w 3600
@    NS   ns.elsewhere.test.
www  A    192.0.2.90
'''
"#;

/// Names that packets begin from, below the zone above.
const NAMES: [&str; 61] = [
    "",
    "ns1",
    "mail",
    "www",
    "mixed",
    "alias",
    "alias2",
    "aliassvc",
    "loop",
    "loop2",
    "out",
    "moved",
    "x.moved",
    "wild",
    "x.wild",
    "a.b.wild",
    "sub.wild",
    "x.sub.wild",
    "y.sub.wild",
    "*.wild",
    "x.walias",
    "a.b.c",
    "deep.a.b.c",
    "x.deep.a.b.c",
    "child",
    "ns1.child",
    "ns2.child",
    "x.child",
    "x.ns1.child",
    "far",
    "x.far",
    "_http._tcp",
    "_tcp",
    "_dns",
    "text",
    "app",
    "plain",
    "geo",
    "x.geo",
    "a.tenant",
    "tenant",
    "a.b.tenant",
    "shares",
    "first",
    "solo",
    "hosted",
    "inner",
    "several",
    "big",
    "long",
    "many",
    "x.many",
    "ns3.many",
    "zone.in",
    "in",
    "x.in",
    "www.zone.in",
    "nowhere.zone.in",
    "nowhere",
    "hostmaster",
    "x.hostmaster",
];

const QTYPES: [u16; 18] = [1, 1, 1, 28, 28, 65, 2, 5, 6, 15, 16, 33, 43, 46, 47, 64, 255, 252];

struct Texts;

impl Files for Texts {
    fn read(&self, path: &Path) -> io::Result<String> {
        match path.to_str() {
            Some("meridian.toml") => Ok(MAIN.to_owned()),
            Some("zones/a.toml") => Ok(ZONE.to_owned()),
            Some("zones/b.toml") => Ok(NESTED.to_owned()),
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn list(&self, _: &Path) -> io::Result<Vec<PathBuf>> {
        Ok(vec!["zones/a.toml".into(), "zones/b.toml".into()])
    }
}

/// What makes the snapshots, when nothing has happened yet.
pub fn publisher(now: Clock) -> Publisher {
    let loaded = config::load_from(&Texts, Path::new("meridian.toml"));
    let model = loaded
        .unwrap_or_else(|mistakes| panic!("{}", mistakes.iter().map(|mistake| mistake.to_string()).collect::<String>()))
        .model;
    let demo = Database { path: "demo.mmdb".into(), bytes: DEMO_DATABASE.to_vec() };
    let atlas = Atlas::build(&[demo], &model.networks).expect("an atlas");
    Publisher::new(model, atlas, "here", 0, BTreeMap::new(), now)
}

/// Calm; one region loaded, another withdrawn and a third without IPv6; nothing left.
pub fn snapshots() -> Vec<Arc<Snapshot>> {
    let now = clock::read();
    let mut publisher = publisher(now);
    publisher.assume_up(now);
    let calm = publisher.shared().load_full();
    publisher.apply(
        News::Load(LoadNews { region: "busan@gslb.example".into(), at: now.now(), outcome: Ok((90.0, None)) }),
        now,
    );
    publisher.apply(News::set_override("berlin@gslb.example", Override::Drain), now);
    let ipv6 = ProbeId { part: AddressPart::Ipv6, ..ProbeId::default() };
    let refused = EndpointNews::of_only_probe("busan@gslb.example", "203.0.113.84", Verdict::Down);
    publisher.apply(News::Probe(EndpointNews { probe: ipv6, ..refused }), now);
    publisher.publish(now);
    let busy = publisher.shared().load_full();
    for region in ["seoul", "busan", "berlin", "paris", "rented", "nested"] {
        publisher.apply(News::set_override(format!("{region}@gslb.example"), Override::Down), now);
    }
    publisher.publish(now);
    vec![calm, busy, publisher.shared().load_full()]
}

/// One packet, who sends it, and how much room there is for the reply.
pub struct Packet {
    pub octets: Vec<u8>,
    /// Whether there is an OPT record in it, in whatever section; `None` where octets were changed at random.
    pub has_opt: Option<bool>,
    pub client: Client,
    pub room: usize,
}

/// The next packet.
pub fn packet(rng: &mut Rng) -> Packet {
    let (mut octets, has_opt) = question(rng);
    let is_damaged = rng.u8(..8) == 0;
    if is_damaged {
        for _ in 0..rng.u8(1..3) {
            damage(&mut octets, rng);
        }
    }
    let transport = if rng.u8(..8) == 0 { Transport::Tcp } else { Transport::Udp };
    let room = match (transport, rng.u8(..16)) {
        (_, 0) => rng.usize(..600),
        (Transport::Udp, _) => 1232,
        (Transport::Tcp, _) => 65_535,
    };
    let has_opt = (!is_damaged).then_some(has_opt);
    Packet { octets, has_opt, client: Client { address: address(rng), transport }, room }
}

/// And whether there is an OPT record in it.
fn question(rng: &mut Rng) -> (Vec<u8>, bool) {
    let mut ask = Ask::new(&name(rng), "A");
    ask.id = rng.u16(..);
    let flags = if rng.u8(..8) == 0 { 7 } else { 4 };
    ask.flags = [0, 0x0100, 0x0120, 0x0010, 0x0200, 0x2800, 0x8000][rng.usize(..flags)];
    ask.qtype = if rng.u8(..16) == 0 { rng.u16(..300) } else { QTYPES[rng.usize(..QTYPES.len())] };
    if rng.u8(..64) == 0 {
        ask.qclass = [3, 255, 0][rng.usize(..3)];
    }
    if rng.u8(..4) == 0 {
        let mut octets = ask.wire();
        if rng.u8(..16) == 0 {
            reshape(&mut octets, ask.name.len(), rng);
        }
        return (octets, false);
    }
    let payload = [0, 400, 512, 700, 1232, 1232, 1232, 4096, 65_535][rng.usize(..9)];
    let dnssec_ok = rng.bool();
    let version = u8::from(rng.u8(..64) == 0);
    let mut ask = ask.edns(|opt| (opt.payload, opt.dnssec_ok, opt.version) = (payload, dnssec_ok, version));
    for _ in 0..[0, 1, 1, 1, 1, 2, 3][rng.usize(..7)] {
        let (code, data) = option(rng);
        ask = ask.option(code, &data);
    }
    let (mut octets, question) = (ask.wire(), ask.name.len() + 4);
    match rng.u8(..64) {
        0 => (octets[11], octets[7]) = (0, 1), // OPT in the answer section
        1 => (octets[11], octets[9]) = (0, 1), // or in the authority section
        2 => {
            octets[11] = 2;
            octets.extend(ask.edns.as_ref().map(Opt::wire).unwrap_or_default());
        }
        3 => drop(octets.splice(12 + question..12 + question, *b"\x01x")), // OPT of a name
        4..8 => reshape(&mut octets, ask.name.len(), rng),
        _ => {}
    }
    (octets, true)
}

/// No question, two of them, or another opcode.
fn reshape(octets: &mut Vec<u8>, name_octets: usize, rng: &mut Rng) {
    let behind = 12 + name_octets + 4;
    match rng.u8(..3) {
        0 => {
            octets[5] = 0;
            octets.drain(12..behind);
        }
        1 => {
            octets[5] = 2;
            let second = if rng.bool() { octets[12..behind].to_vec() } else { b"\xc0\x0c\0\x01\0\x01".to_vec() };
            octets.splice(behind..behind, second);
        }
        _ => octets[2] = octets[2] & 0x07 | rng.u8(..16) << 3,
    }
}

fn option(rng: &mut Rng) -> (u16, Vec<u8>) {
    match rng.u8(..16) {
        0 => (3, vec![]),
        1 => (10, vec![7; 8]),
        2 => (12, vec![0; rng.usize(..40)]),
        3 => (8, vec![0, 3, 8, 0, 1]),
        4 => (8, (0..rng.usize(..12)).map(|_| rng.u8(..4)).collect()),
        _ => {
            let address = address(rng);
            let most = if address.is_ipv4() { 32 } else { 128 };
            let usual = if address.is_ipv4() { 24 } else { 48 };
            let length = if rng.u8(..3) == 0 { rng.u8(..=most) } else { usual };
            let prefix = meridian::model::Prefix::containing(address, length);
            (8, subnet_option(prefix.address(), length))
        }
    }
}

/// Near the places that are told apart, or anywhere.
fn address(rng: &mut Rng) -> IpAddr {
    let code = [1, 33, 49, 55, 61, 81, 82, 86][rng.usize(..8)];
    let v4 = Ipv4Addr::new(127, code, rng.u8(..), rng.u8(..));
    let v6 =
        (u128::from([0x2001_0db8_4900u64, 0x2001_0db8_8200][rng.usize(..2)]) << 80) | u128::from(rng.u64(..)) << 16;
    match rng.u8(..8) {
        0 => IpAddr::V4(rng.u32(..).into()),
        1 => IpAddr::V6(v6.into()),
        2 => IpAddr::V6(rng.u128(..).into()),
        3 => IpAddr::V6(v4.to_ipv6_mapped()),
        4 => IpAddr::V6(Ipv6Addr::LOCALHOST),
        _ => IpAddr::V4(v4),
    }
}

fn name(rng: &mut Rng) -> String {
    let origin = match rng.u8(..40) {
        0 => "example",
        1 => "elsewhere.test",
        2 => "",
        _ => "gslb.example",
    };
    let first = NAMES[rng.usize(..NAMES.len())];
    let mut labels: Vec<&str> = [first, origin].into_iter().filter(|part| !part.is_empty()).collect();
    if rng.u8(..12) == 0 {
        labels.insert(0, NAMES[rng.usize(1..NAMES.len())]);
    }
    let deep = "x.".repeat(if rng.u8(..24) == 0 { rng.usize(..100) } else { 0 });
    let name = match (labels.is_empty(), deep.is_empty()) {
        (true, false) => deep,
        _ => format!("{deep}{}.", labels.join(".")),
    };
    if rng.u8(..6) > 0 {
        return name;
    }
    let spell = |c: char| if rng.bool() { c.to_ascii_uppercase() } else { c };
    name.chars().map(spell).collect()
}

fn damage(octets: &mut Vec<u8>, rng: &mut Rng) {
    let at = rng.usize(..octets.len().max(1));
    match rng.u8(..8) {
        0 => octets.truncate(at),
        1 => octets.push(rng.u8(..)),
        2 => octets.insert(at, rng.u8(..)),
        3 if at < octets.len() => drop(octets.remove(at)),
        4 if at < octets.len() => octets[at] = rng.u8(..),
        5 if octets.len() > 12 => octets[rng.usize(2..12)] ^= 1 << rng.u8(..8),
        _ if at < octets.len() => octets[at] ^= 1 << rng.u8(..8),
        _ => {}
    }
}
