//! A flood of queries, and what is known of it after: every answer counted, none waited for, and
//! no more memory than before.
//!
//! In: a running server on loopback, resolvers that ask as fast as they are answered. Out: counters
//! of its packet path.

use std::net::UdpSocket;
use std::time::{Duration, Instant};

mod support;

use support::dns::{self, Ask};
use support::server::{Server, wait_until};

const ZONE: &str = r#"
origin = "gslb.example"
records = """
@    SOA  ns1 hostmaster 1 1h 10m 1w 60
@    NS   ns1
ns1  A    192.0.2.53
"""
[region.seoul]
location  = { country = "KR" }
endpoints = [{ address = "203.0.113.82" }]
[region.paris]
location  = { country = "FR" }
endpoints = [{ address = "203.0.113.33" }]
[service.www]
policy  = "score"
regions = ["seoul", "paris"]
"#;

/// How long each flood lasts: twice as long as it is between two drains.
const FLOOD: Duration = Duration::from_secs(2);
/// What allocators and other tests' threads may add without anything growing, in octets.
const SLACK: u64 = 8 << 20;

#[test]
fn a_flood_is_counted_to_the_last_answer_and_leaves_nothing_behind() {
    let server = Server::start("", &[("gslb.example.toml", ZONE)]);
    let first = flood(&server);
    let before = resident_octets();
    let answered = first + flood(&server);
    assert_eq!(server.demand().answers, answered);
    dns::tcp(server.dns, &Ask::new("www.gslb.example", "A"));
    let totals = server.demand();
    assert_eq!(totals.answers, answered + 1);
    assert_eq!(totals.lost, 0, "{totals:?}");
    // About 2,000 a second, and the surprise of each flood's beginning.
    assert!((1_000..20_000).contains(&totals.samples), "{totals:?}");
    let grown = resident_octets().saturating_sub(before);
    assert!(grown < SLACK, "the second flood left {grown} octets behind");
    wait_until("each answer is a sample again", Duration::from_secs(10), || {
        let before = server.demand().samples;
        (0..20).for_each(|_| drop(dns::udp(server.dns, &Ask::new("www.gslb.example", "A"))));
        server.demand().samples == before + 20
    });
}

/// Asks from many networks, a few dozen queries in flight, and gives how many answers came.
fn flood(server: &Server) -> u64 {
    const IN_FLIGHT: usize = 32;
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    socket.connect(server.dns).expect("connected");
    socket.set_read_timeout(Some(Duration::from_secs(5))).expect("a timeout");
    let country = |code: u8| {
        let subnet = |third: u8| Ask::new("www.gslb.example", "A").subnet(&format!("127.{code}.{third}.0/24")).wire();
        (0..=255).map(subnet).collect::<Vec<_>>()
    };
    let packets: Vec<Vec<u8>> = [82, 33, 49, 1].into_iter().flat_map(country).collect();
    let (begin, mut answers, mut reply) = (Instant::now(), 0, [0; 1232]);
    for batch in packets.chunks(IN_FLIGHT).cycle() {
        if begin.elapsed() > FLOOD {
            break;
        }
        for packet in batch {
            socket.send(packet).expect("sent");
        }
        // None is lost: so few fit the sockets' buffers.
        for _ in batch {
            socket.recv(&mut reply).expect("an answer");
            answers += 1;
        }
    }
    answers
}

/// What this process has in memory.
fn resident_octets() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    let pages: u64 = statm.split(' ').nth(1).and_then(|pages| pages.parse().ok()).expect("pages");
    pages * 4096
}
