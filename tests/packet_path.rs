//! The packet path allocates nothing, counted by the allocator of this very program, and logs
//! nothing, heard by a subscriber that wants every word.
//!
//! In: a snapshot of every kind of name and policy, and packets of every kind, written by hand and
//! random. Out: not one allocation, event or span while they are answered.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use meridian::query::counters::{CounterSet, Counters};
use meridian::query::{Client, Transport, ahead, answer};
use meridian::state::Snapshot;
use tracing::span::{Attributes, Id, Record};

mod support;

use support::dns::{Ask, Reply};
use support::exchange::{expected, over_udp, udp_socket};
use support::questions::Questions;
use support::server::Server;
use support::zones;

/// Random packets besides those that are written down.
const RANDOM: usize = 5_000;

#[test]
fn the_packet_path_allocates_nothing() {
    let bench = Bench::new();
    let mut out = vec![0; 65_535];
    let mut heard = Heard::default();
    for packet in bench.packets() {
        for client in CLIENTS {
            for counters in &bench.counters {
                let room = if client.transport == Transport::Udp { 1232 } else { 65_535 };
                let before = ALLOCATIONS.get();
                let len = answer(&bench.snapshot, &packet, client, &mut out[..room], counters);
                let allocations = ALLOCATIONS.get() - before;
                assert_eq!(allocations, 0, "while answering {packet:02x?}");
                heard.note(&out[..len]);
            }
        }
    }
    heard.check();
    assert!(bench.set.demand_totals().samples > 1_000, "samples of demand are taken, too");
}

#[test]
fn the_packet_path_says_nothing_to_the_log() {
    let bench = Bench::new();
    let said = Arc::new(AtomicU64::new(0));
    let mut out = vec![0; 65_535];
    let listening = tracing::subscriber::set_default(Listener(said.clone()));
    for packet in bench.packets() {
        for client in CLIENTS {
            answer(&bench.snapshot, &packet, client, &mut out, &bench.counters[0]);
            assert_eq!(said.load(Ordering::Relaxed), 0, "while answering {packet:02x?}");
        }
    }
    // It would have been heard.
    tracing::trace!("a word");
    tracing::trace_span!("a span").in_scope(|| ());
    assert_eq!(said.load(Ordering::Relaxed), 2);
    drop(listening);
}

/// So many names that a batch's are fetched from memory before it is answered; whatever the packets are, that
/// allocates nothing, and every name is answered still.
#[test]
fn names_beyond_caches_are_fetched_ahead() {
    const NAMES: usize = 30_000;
    let record = |n: usize| format!("host-{n} TXT \"{n}{}\"\n", "x".repeat(60));
    let records: String = (0..NAMES).map(record).collect();
    let zone = format!(
        "origin = \"many.example\"\nrecords = '''\n@ SOA ns1 hostmaster 1 1h 10m 1w 60\n@ NS ns1\nns1 A 192.0.2.53\n{records}'''\n"
    );
    let server = Server::start("", &[("many.toml", zone.as_str())]);
    let snapshot = server.snapshot();
    assert!(snapshot.names.outgrows_caches());
    let mut questions = Questions::about(&snapshot.model, 1);
    let packets: Vec<Vec<u8>> = (0..2_000).map(|_| questions.any()).chain([vec![], vec![0; 12]]).collect();
    for batch in packets.chunks(100) {
        let before = ALLOCATIONS.get();
        ahead::fetch(&snapshot, batch.iter().map(Vec::as_slice));
        assert_eq!(ALLOCATIONS.get() - before, 0);
    }
    let client = IpAddr::from([127, 0, 0, 1]);
    let socket = udp_socket(client, server.listening[0]);
    let asked: Vec<Vec<u8>> = (0..40).map(|_| questions.plain()).collect();
    let replies = over_udp(&socket, &asked, &[false; 40]);
    let counters = CounterSet::new().shared();
    for (packet, reply) in asked.iter().zip(&replies) {
        let expected = expected(&snapshot, packet, client, Transport::Udp, &counters);
        assert_eq!((expected.is_empty(), reply), (false, &expected));
    }
}

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

/// The system's allocator, which counts what this thread asks of it.
struct Counting;

// SAFETY: every call goes on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        count();
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn count() {
    // A thread that is ending has no counter any more, and answers no packets.
    let _ = ALLOCATIONS.try_with(|allocations| allocations.set(allocations.get() + 1));
}

/// Over both transports, from both families.
const CLIENTS: [Client; 3] = [
    Client { address: IpAddr::V4(Ipv4Addr::new(127, 82, 0, 1)), transport: Transport::Udp },
    Client { address: IpAddr::V6(Ipv6Addr::LOCALHOST), transport: Transport::Udp },
    Client { address: IpAddr::V4(Ipv4Addr::new(127, 49, 0, 1)), transport: Transport::Tcp },
];

struct Bench {
    snapshot: Arc<Snapshot>,
    set: CounterSet,
    /// A thread's own, and those that TCP shares.
    counters: [Arc<Counters>; 2],
}

impl Bench {
    fn new() -> Bench {
        let server = Server::start("nsid = \"here\"", zones::ALL);
        let set = CounterSet::new();
        let counters = [set.register(), set.shared()];
        Bench { snapshot: server.snapshot(), set, counters }
    }

    fn packets(&self) -> Vec<Vec<u8>> {
        let mut questions = Questions::about(&self.snapshot.model, 1);
        let random = (0..RANDOM).map(|round| if round % 5 == 0 { questions.plain() } else { questions.any() });
        written().into_iter().chain(random).collect()
    }
}

/// Kinds of replies: what is not among them was not tested.
#[derive(Default)]
struct Heard(BTreeSet<&'static str>);

impl Heard {
    fn note(&mut self, reply: &[u8]) {
        let kinds = &mut self.0;
        let mut is = |kind, so: bool| so.then(|| kinds.insert(kind));
        let Some(header) = reply.first_chunk::<12>() else {
            is("silence", true);
            return;
        };
        // Opcodes that hickory-proto does not know come back, and it cannot read them.
        if header[2] >> 3 & 15 != 0 {
            is("NOTIMP", header[3] & 15 == 4);
            return;
        }
        let reply = Reply::read(reply.to_vec());
        let records = [reply.answers(), reply.authority(), reply.additional()].concat();
        let says = |what: &str| records.iter().any(|record| record.contains(what));
        is("truncated", reply.is_truncated());
        is("a wide scope", reply.scope().is_some_and(|scope| scope > 0));
        is("NSID", reply.has_option(3));
        is("TSIG", header[3] & 15 == 9);
        is("HTTPS", says("IN HTTPS"));
        is("CNAME", says("IN CNAME"));
        is("DNAME", says("IN DNAME"));
        is("ANY", says("IN HINFO"));
        is("several regions", reply.answers().iter().filter(|answer| answer.starts_with("multi.")).count() > 1);
        is("a referral", reply.answers().is_empty() && says("IN NS") && !reply.is_authoritative());
        is("NXDOMAIN", reply.rcode() == hickory_proto::op::ResponseCode::NXDomain);
        is("FORMERR", header[3] & 15 == 1);
        is("REFUSED", header[3] & 15 == 5);
        is("BADVERS", u16::from(reply.rcode()) == 16);
    }

    fn check(&self) {
        let kinds = "silence NOTIMP truncated NSID TSIG HTTPS CNAME DNAME ANY NXDOMAIN FORMERR REFUSED BADVERS";
        for kind in kinds.split(' ').chain(["a wide scope", "several regions", "a referral"]) {
            assert!(self.0.contains(kind), "no packet was answered with {kind}");
        }
    }
}

/// Wants every event and span, and counts them.
struct Listener(Arc<AtomicU64>);

impl tracing::Subscriber for Listener {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        self.0.fetch_add(1, Ordering::Relaxed);
        Id::from_u64(1)
    }

    fn event(&self, _: &tracing::Event<'_>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// Services, static data, nothing, referrals, errors.
fn written() -> Vec<Vec<u8>> {
    let mut packets = vec![vec![], vec![0; 11], vec![0xff; 40], vec![0; 12]];
    let steered =
        ["www.steer.test", "hosted.steer.test", "multi.policy.test", "geo.policy.test", "weighted.policy.test"];
    let still = ["www", "alias", "a.moved", "x.toolong", "x.wild", "x.child", "x.many", "missing", "big", "a.b.c.d.e"];
    let still = still.map(|name| format!("{name}.wire.test"));
    for name in steered.into_iter().chain(still.iter().map(String::as_str)) {
        for qtype in ["A", "AAAA", "HTTPS", "TXT", "ANY", "DS", "AXFR", "CNAME"] {
            let ask = Ask::new(name, qtype);
            packets.extend([
                ask.wire(),
                ask.clone().subnet("127.49.0.0/24").option(3, b"").wire(),
                ask.clone().option(8, b"bad").wire(),
                ask.clone().edns(|opt| opt.version = 1).wire(),
                ask.clone().class(3).wire(),
                ask.flags(0x2800).wire(),
            ]);
        }
    }
    packets.push(Ask::new("elsewhere.invalid", "A").wire());
    // Signed with a key that is not known here.
    let tsig = b"\x03key\0\x00\xfa\x00\xff\0\0\0\0\0\x11\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    let mut signed = [&Ask::new("www.wire.test", "A").wire()[..], tsig].concat();
    signed[11] = 1;
    packets.push(signed);
    packets
}

#[test]
fn the_count_is_not_blind() {
    let before = ALLOCATIONS.get();
    drop(std::hint::black_box(Box::new(7)));
    assert_eq!(ALLOCATIONS.get() - before, 2);
}
