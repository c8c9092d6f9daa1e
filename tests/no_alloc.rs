//! The packet path allocates nothing: counted by the allocator of this very program.
//!
//! In: a snapshot and packets of every kind. Out: not one allocation while they are answered.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use meridian::query::counters::CounterSet;
use meridian::query::{Client, Transport, answer};

mod support;

use support::dns::{Ask, Reply};
use support::server::Server;

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

const ZONE: &str = r#"
origin = "gslb.example"
records = """
@         SOA   ns1 hostmaster 1 1h 10m 1w 60
@         NS    ns1
ns1       A     192.0.2.53
www       A     192.0.2.80
alias     CNAME www
moved     DNAME www
*.wild    A     192.0.2.99
child     NS    ns1.child
ns1.child A     192.0.2.54
$GENERATE 1-99 big TXT "0123456789abcdef-$"
"""
[region.seoul]
location  = { country = "KR" }
endpoints = [{ address = ["203.0.113.82", "2001:db8::82"] }, { address = "203.0.113.83" }]
[region.busan]
location  = { country = "KR" }
endpoints = [{ address = ["203.0.113.84", "2001:db8::84"] }]
[region.rented]
location  = { country = "DE" }
endpoints = [{ host = "lb.elsewhere.invalid." }]
[service.app]
policy  = "score"
regions = ["seoul", "busan"]
https   = { alpn = ["h2"] }
[service.hosted]
policy  = "score"
regions = ["seoul", "rented"]
"#;

#[test]
fn the_packet_path_allocates_nothing() {
    let server = Server::start("nsid = \"here\"", &[("gslb.example.toml", ZONE)]);
    let snapshot = server.snapshot();
    let counters = CounterSet::new().shared();
    let mut out = vec![0; 65_535];
    for packet in packets() {
        for (transport, room) in [(Transport::Udp, 1232), (Transport::Tcp, 65_535)] {
            let client = Client { address: [127, 82, 0, 1].into(), transport };
            let before = ALLOCATIONS.get();
            let len = answer(&snapshot, &packet, client, &mut out[..room], &counters);
            let allocations = ALLOCATIONS.get() - before;
            assert_eq!(allocations, 0, "while answering {packet:02x?}");
            if len > 0 {
                Reply::read(out[..len].to_vec());
            }
        }
    }
}

/// Services, static data, nothing, referrals, errors.
fn packets() -> Vec<Vec<u8>> {
    let mut packets = vec![vec![], vec![0; 11], vec![0xff; 40], vec![0; 12]];
    for name in ["app", "hosted", "www", "alias", "x.moved", "x.wild", "x.child", "missing", "big", "a.b.c.d.e"] {
        for qtype in ["A", "AAAA", "HTTPS", "TXT", "ANY", "DS", "AXFR", "CNAME"] {
            let ask = Ask::new(&format!("{name}.gslb.example"), qtype);
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
    let mut signed = [&Ask::new("www.gslb.example", "A").wire()[..], tsig].concat();
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
