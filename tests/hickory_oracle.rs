//! hickory-server as a second opinion: one static zone, served by Meridian and by hickory-server's in-memory zone
//! handler in this very process, both asked over UDP and TCP of loopback for every name and type there is.
//!
//! In: [`ZONE`] as Meridian's loader reads it, record by record. Out: RCODE, AA, the answer and the authority section
//! of both, and the glue of referrals. Where they differ, [`KNOWN`] says which RFC decides and who is right; a
//! difference that is not listed fails, and so does a line of the list that no question needs any more.

mod support;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::Record;
use hickory_proto::serialize::binary::{BinDecodable, BinDecoder};
use hickory_server::Server as Hickory;
use hickory_server::store::in_memory::InMemoryZoneHandler;
use hickory_server::zone_handler::{AxfrPolicy, Catalog, ZoneHandler, ZoneType};
use meridian::model::{Model, Name, RecordType};
use tokio::net::{TcpListener, UdpSocket};
use tokio::runtime::Runtime;

use support::dns::{self, Ask, Reply};
use support::server::Server;

const ZONE: &str = r#"
origin = "oracle.test"
strict = false
records = '''
$TTL 1h
@         SOA   ns1 hostmaster 1 1h 10m 1w 60
@         NS    ns1
@         NS    ns2
@         MX    10 mail
@         TXT   "apex"
ns1       A     192.0.2.53
ns1       AAAA  2001:db8::53
ns2       A     192.0.2.54
mail      A     192.0.2.25
mail      AAAA  2001:db8::25
www       A     192.0.2.80
www       A     192.0.2.81
www       AAAA  2001:db8::80
MiXed     A     192.0.2.82
text      TXT   "a" "b c"
$GENERATE 1-20 long TXT "0123456789abcdef-$"
$GENERATE 1-90 huge TXT "0123456789abcdef-$"
mx        MX    10 mail
mx        MX    20 mail.elsewhere.invalid.
_sip._udp SRV   0 5 5060 www
odd       HINFO "PC" "Linux"
odd       CAA   0 issue "ca.example"
odd       TLSA  3 1 1 000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f
odd       SSHFP 4 2 000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f
odd       NAPTR 10 100 "S" "SIP+D2U" "" _sip._udp
odd       TYPE65280 \# 2 abcd
web       HTTPS 1 . alpn=h2
ptr       PTR   www
alias     CNAME www
alias2    CNAME alias
outside   CNAME www.elsewhere.invalid.
dangling  CNAME missing
into      CNAME host.child
loop1     CNAME loop2
loop2     CNAME loop1
moved     DNAME target
a.target  A     192.0.2.70
gone      DNAME elsewhere.invalid.
child     NS    ns1.child
child     NS    ns.elsewhere.invalid.
child     DS    12345 13 2 000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f
ns1.child A     192.0.2.100
ns1.child AAAA  2001:db8::100
far       NS    ns.elsewhere.invalid.
x.y.ent   A     192.0.2.60
*.wild    A     192.0.2.99
*.wild    MX    10 mail
there.wild TXT  "exact"
x.gap.wild A    192.0.2.98
*.points  CNAME www
'''
"#;

/// Below the zone but the last, which are not.
const NAMES: [&str; 54] = [
    "oracle.test",
    "ns1.oracle.test",
    "mail.oracle.test",
    "www.oracle.test",
    "below.www.oracle.test",
    "mixed.oracle.test",
    "WwW.OrAcLe.tEsT",
    "MIXED.ORACLE.TEST",
    "text.oracle.test",
    "long.oracle.test",
    "huge.oracle.test",
    "mx.oracle.test",
    "_sip._udp.oracle.test",
    "_udp.oracle.test",
    "odd.oracle.test",
    "web.oracle.test",
    "ptr.oracle.test",
    "alias.oracle.test",
    "ALIAS2.oracle.test",
    "below.alias.oracle.test",
    "outside.oracle.test",
    "dangling.oracle.test",
    "into.oracle.test",
    "loop1.oracle.test",
    "loop2.oracle.test",
    "moved.oracle.test",
    "a.moved.oracle.test",
    "b.moved.oracle.test",
    "gone.oracle.test",
    "x.y.gone.oracle.test",
    "target.oracle.test",
    "a.target.oracle.test",
    "child.oracle.test",
    "host.child.oracle.test",
    "a.b.child.oracle.test",
    "ns1.child.oracle.test",
    "far.oracle.test",
    "host.far.oracle.test",
    "ent.oracle.test",
    "y.ent.oracle.test",
    "x.y.ent.oracle.test",
    "z.ent.oracle.test",
    "wild.oracle.test",
    "*.wild.oracle.test",
    "any.wild.oracle.test",
    "a.b.wild.oracle.test",
    "there.wild.oracle.test",
    "below.there.wild.oracle.test",
    "gap.wild.oracle.test",
    "below.gap.wild.oracle.test",
    "any.points.oracle.test",
    "missing.oracle.test",
    "elsewhere.invalid",
    "test",
];

const TYPES: [&str; 23] = [
    "A",
    "AAAA",
    "NS",
    "CNAME",
    "SOA",
    "PTR",
    "HINFO",
    "MX",
    "TXT",
    "SRV",
    "NAPTR",
    "DNAME",
    "DS",
    "RRSIG",
    "NSEC",
    "DNSKEY",
    "TLSA",
    "SSHFP",
    "CAA",
    "HTTPS",
    "TYPE65280",
    "TYPE25",
    "ANY",
];

/// What hickory-server does otherwise everywhere: the RFC's word, and its reply as the RFC has it, given name and type.
struct Habit {
    rule: &'static str,
    mend: fn(&str, &str, &mut View),
}

const HABITS: [Habit; 4] = [
    Habit {
        rule: "RFC 2308 section 3: the SOA of a negative answer has the lesser of its TTL and MINIMUM. Meridian is right.",
        mend: |_, _, theirs| {
            for line in theirs.authority.iter_mut().filter(|line| line.starts_with("oracle.test. 3600 in soa ")) {
                *line = line.replacen("3600", "60", 1);
            }
        },
    },
    Habit {
        rule: "RFC 1034 section 4.3.2 has nothing go into the authority section of an answer; the zone's NS beside its SOA \
               is an offer. Both are right.",
        mend: |_, qtype, theirs| {
            if qtype == "SOA" {
                theirs.authority.retain(|line| !line.starts_with("oracle.test. 3600 in ns "));
            }
        },
    },
    Habit {
        rule: "RFC 1034 section 4.3.2 step 3b and RFC 2181 section 6.1: a referral is not authoritative, and has its NS in the \
               authority section, also when NS is asked for. Meridian is right.",
        mend: |name, qtype, theirs| {
            let cut = ["child.oracle.test", "far.oracle.test"].into_iter().find(|cut| name.ends_with(cut));
            if cut.is_some_and(|cut| qtype != "DS" || cut != name) {
                theirs.authoritative = false;
                theirs.authority.append(&mut theirs.answers);
            }
        },
    },
    Habit {
        rule: "RFC 9471 section 3.1: all glue for name servers inside the zone they serve comes with a referral. Meridian is \
               right.",
        mend: |name, _, theirs| {
            if !theirs.authoritative && name.ends_with("child.oracle.test") {
                theirs.additional = ["a 192.0.2.100", "aaaa 2001:db8::100"]
                    .map(|address| format!("ns1.child.oracle.test. 3600 in {address}"))
                    .to_vec();
            }
        },
    },
];

/// A difference at some names. The first that covers a question is the one for it.
struct Known {
    /// Without the zone's; none: all.
    names: &'static [&'static str],
    /// None: all.
    types: &'static [&'static str],
    /// The RFC that decides, what it says, and who does so.
    rule: &'static str,
    /// Whether Meridian does so.
    ours: fn(&View) -> bool,
}

const KNOWN: [Known; 10] = [
    Known {
        names: &["alias", "alias2", "dangling", "into", "loop1", "loop2", "any.points"],
        types: &["ANY"],
        rule: "RFC 1034 section 4.3.2 step 3a: a CNAME is followed where \"QTYPE doesn't match CNAME\", and ANY matches all. \
               Meridian is right.",
        ours: |ours| ours.is_answer(&["cname"]),
    },
    Known {
        names: &["a.moved", "b.moved", "x.y.gone"],
        types: &[],
        rule: "RFC 6672 section 3.2: a DNAME above the name is answered, with the CNAME it makes. Meridian is right.",
        ours: |ours| ["dname", "cname"].iter().all(|rtype| ours.answers.iter().any(|line| is_of(rtype, line))),
    },
    Known {
        names: &["there.wild", "below.there.wild", "gap.wild", "below.gap.wild"],
        types: &["A", "MX"],
        rule: "RFC 4592 section 3.3.1: only the wildcard at the closest encloser stands for a name, and none for a name that \
               exists, with or without records. Meridian is right.",
        ours: |ours| ours.answers.is_empty() && ours.has_soa(),
    },
    Known {
        names: &["below.there.wild", "gap.wild", "below.gap.wild"],
        types: &["ANY"],
        rule: "The same for ANY.",
        ours: |ours| ours.answers.is_empty() && ours.has_soa(),
    },
    Known {
        names: &[],
        types: &["ANY"],
        rule: "RFC 8482 section 4.1 allows any one RRset, section 4.2 one HINFO. Both are right.",
        ours: |ours| ours.is_answer(&["hinfo"]),
    },
    Known {
        names: &["alias", "alias2", "outside", "dangling", "into", "loop1", "loop2", "any.points"],
        types: &["RRSIG", "NSEC", "TYPE25"],
        rule: "RFC 4035 section 2.5: RRSIG, NSEC and KEY may stand beside a CNAME, so they are its owner's. Meridian is right.",
        ours: View::is_nodata,
    },
    Known {
        names: &["alias", "alias2", "any.points"],
        types: NOT_OF_WWW,
        rule: "RFC 2308 section 2.2: NODATA behind an alias has the SOA, or it is not cached. Meridian is right.",
        ours: |ours| ours.rcode == ResponseCode::NoError && ours.has_soa(),
    },
    Known {
        names: &["dangling"],
        types: &[],
        rule: "RFC 6604 section 3: the RCODE is that of the last name of the chain, and RFC 2308 section 2.1 wants its SOA. \
               Meridian is right.",
        ours: |ours| ours.rcode == ResponseCode::NXDomain && ours.has_soa() && ours.is_answer(&["cname"]),
    },
    Known {
        names: &["into"],
        types: &[],
        rule: "RFC 1034 section 4.3.2 step 3b: NS of a cut behind an alias go into the authority section. Meridian is right.",
        ours: |ours| ours.is_answer(&["cname"]) && ours.authority.iter().all(|line| is_of("ns", line)),
    },
    Known {
        names: &["any.wild", "a.b.wild"],
        types: &[],
        rule: "RFC 4592 section 2.2.1: a name that a wildcard stands for exists, so it lacks a type and is not NXDOMAIN. \
               Meridian is right.",
        ours: View::is_nodata,
    },
];

/// Of an OPT record without options.
const OPT_OCTETS: usize = 11;

/// What `www` has not.
const NOT_OF_WWW: &[&str] = &[
    "NS",
    "SOA",
    "PTR",
    "HINFO",
    "MX",
    "TXT",
    "SRV",
    "NAPTR",
    "DNAME",
    "DS",
    "DNSKEY",
    "TLSA",
    "SSHFP",
    "CAA",
    "HTTPS",
    "TYPE65280",
];

#[test]
fn both_servers_answer_alike_but_where_an_rfc_tells_them_apart() {
    let both = Both::start();
    let (mut met, mut mended, mut news) = ([0; KNOWN.len()], [0; HABITS.len()], Vec::new());
    for (name, qtype) in NAMES.into_iter().flat_map(|name| TYPES.map(|qtype| (name, qtype))) {
        let ask = Ask::new(name, qtype);
        both.meridian.ask(&ask); // over UDP and TCP alike
        let [mut ours, mut theirs] = [both.meridian.dns, both.hickory].map(|server| view(&resolve(server, &ask)));
        if ours.authoritative {
            (ours.additional, theirs.additional) = Default::default();
        }
        for (habit, times) in HABITS.iter().zip(&mut mended) {
            let before = theirs.clone();
            (habit.mend)(&name.to_ascii_lowercase(), qtype, &mut theirs);
            *times += usize::from(theirs != before);
        }
        if ours == theirs {
            continue;
        }
        match KNOWN.iter().position(|known| known.covers(name, qtype)) {
            Some(number) if (KNOWN[number].ours)(&ours) => met[number] += 1,
            _ => news.push(format!("{name} {qtype}\n  Meridian {ours:?}\n  hickory  {theirs:?}")),
        }
    }
    assert!(news.is_empty(), "{} differences that are not known:\n{}", news.len(), news.join("\n"));
    let rules = HABITS.iter().map(|habit| habit.rule).chain(KNOWN.iter().map(|known| known.rule));
    for (rule, times) in rules.zip(mended.into_iter().chain(met)) {
        assert!(times > 0, "no difference any more: {rule}");
    }
}

/// What fits a size is sent over UDP, and what does not is truncated. Two things are known. Meridian sends no more than
/// 1,232 octets whatever is asked for, as RFC 9715 section 3.2 recommends against fragments; hickory-server does. And
/// hickory-server fills a truncated reply up until OPT has no room, against RFC 6891 section 6.1.1.
#[test]
fn both_servers_keep_to_the_askers_size() {
    let both = Both::start();
    for name in ["www", "long", "huge", "alias", "missing", "host.child"] {
        for size in [None, Some(0), Some(512), Some(900), Some(1232), Some(4096)] {
            let ask = Ask::new(&format!("{name}.oracle.test"), "TXT");
            let ask = size.map_or(ask.clone(), |size| ask.payload(size));
            let [ours, theirs] = [both.meridian.dns, both.hickory].map(|server| dns::udp(server, &ask));
            let limit = usize::from(size.unwrap_or(0).max(512));
            assert!(ours.octets.len() <= limit.min(1232) && theirs.octets.len() <= limit, "{name} {size:?}");
            let is_cut_short = ours.is_truncated() && limit > 1232;
            assert_eq!(ours.is_truncated(), theirs.is_truncated() || is_cut_short, "{name} {size:?}");
            assert_eq!(ours.message.edns.is_some(), size.is_some(), "{name} {size:?}");
            let has_no_room = theirs.is_truncated() && theirs.octets.len() + OPT_OCTETS > limit;
            assert_eq!(theirs.message.edns.is_some(), size.is_some() && !has_no_room, "{name} {size:?}");
        }
    }
}

impl Known {
    fn covers(&self, name: &str, qtype: &str) -> bool {
        let name = name.to_ascii_lowercase();
        let first = name.strip_suffix("oracle.test").map_or(&name[..], |first| first.trim_end_matches('.'));
        (self.names.is_empty() || self.names.contains(&first)) && (self.types.is_empty() || self.types.contains(&qtype))
    }
}

/// What of a reply is compared.
#[derive(Clone, Debug, PartialEq, Eq)]
struct View {
    rcode: ResponseCode,
    authoritative: bool,
    answers: Vec<String>,
    authority: Vec<String>,
    /// Compared in referrals, which are of no use without glue (RFC 9471 section 3.1). Elsewhere it is an offer (RFC
    /// 1034 section 4.3.2 step 6), and two servers may offer different things.
    additional: Vec<String>,
}

impl View {
    /// An answer of one record of each of these types, in lower case.
    fn is_answer(&self, types: &[&str]) -> bool {
        let is_there = |rtype: &&str| self.answers.iter().any(|line| is_of(rtype, line));
        self.authoritative && self.answers.len() == types.len() && types.iter().all(is_there)
    }

    fn is_nodata(&self) -> bool {
        self.rcode == ResponseCode::NoError && self.answers.is_empty() && self.has_soa()
    }

    /// As a negative answer has it.
    fn has_soa(&self) -> bool {
        matches!(&self.authority[..], [soa] if soa.starts_with("oracle.test. 60 in soa "))
    }
}

fn is_of(rtype: &str, line: &str) -> bool {
    line.split(' ').nth(3) == Some(rtype)
}

/// As resolvers ask: over UDP, and over TCP what is truncated.
fn resolve(server: SocketAddr, ask: &Ask) -> Reply {
    let over_udp = dns::udp(server, ask);
    if over_udp.is_truncated() { dns::tcp(server, ask) } else { over_udp }
}

fn view(reply: &Reply) -> View {
    let small = |lines: Vec<String>| -> Vec<String> {
        let mut lines: Vec<String> = lines.iter().map(|line| line.to_ascii_lowercase()).collect();
        lines.sort();
        lines
    };
    View {
        rcode: reply.rcode(),
        authoritative: reply.is_authoritative(),
        answers: small(reply.answers()),
        authority: small(reply.authority()),
        additional: small(reply.additional()),
    }
}

/// The two servers, with the same records.
struct Both {
    meridian: Server,
    hickory: SocketAddr,
    _runtime: Runtime,
}

impl Both {
    fn start() -> Both {
        let meridian = Server::start("limits.tcp_per_network = 1000", &[("oracle.test.toml", ZONE)]);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let hickory = runtime.block_on(serve(handler(&meridian.snapshot().model)));
        Both { meridian, hickory, _runtime: runtime }
    }
}

/// The zone as hickory-server keeps it.
fn handler(model: &Model) -> InMemoryZoneHandler {
    let [zone] = &model.zones[..] else { panic!("one zone") };
    let origin = read_name(&zone.origin);
    let mut handler: InMemoryZoneHandler = InMemoryZoneHandler::empty(origin, ZoneType::Primary, AxfrPolicy::Deny);
    for node in zone.nodes.iter() {
        let owner = &node.name(&zone.origin);
        for set in node.sets() {
            for rdata in set.rdatas() {
                let record = record(owner, set.rtype, set.ttl.as_secs(), rdata);
                assert!(handler.upsert_mut(record, 1), "{owner} {} is taken", set.rtype);
            }
        }
    }
    handler
}

fn read_name(name: &Name) -> hickory_proto::rr::Name {
    hickory_proto::rr::Name::from_bytes(name.as_wire()).expect("a name")
}

/// A record as hickory-proto reads it from a message.
fn record(owner: &Name, rtype: RecordType, ttl: u32, rdata: &[u8]) -> Record {
    let head = [&rtype.0.to_be_bytes()[..], &[0, 1], &ttl.to_be_bytes(), &(rdata.len() as u16).to_be_bytes()].concat();
    let wire = [owner.as_wire(), &head, rdata].concat();
    Record::read(&mut BinDecoder::new(&wire)).expect("a record")
}

/// Serves it at a port of loopback, over UDP and TCP, for as long as the runtime lives.
async fn serve(handler: InMemoryZoneHandler) -> SocketAddr {
    let mut catalog = Catalog::new();
    catalog.upsert(handler.origin().clone(), vec![Arc::new(handler)]);
    let mut server = Hickory::new(catalog);
    // The same port for both: one of the first few that are free for UDP is free for TCP.
    for _ in 0..100 {
        let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a UDP socket");
        let address = udp.local_addr().expect("an address");
        let Ok(tcp) = TcpListener::bind(address).await else { continue };
        server.register_socket(udp);
        server.register_listener(tcp, Duration::from_secs(60), 64);
        tokio::spawn(async move { server.block_until_done().await });
        return address;
    }
    panic!("no port that is free for UDP and TCP");
}
