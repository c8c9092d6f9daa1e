//! Every transport says the same: what comes back over UDP and TCP sockets is, octet for octet, what
//! the engine says in this process, for thousands of random questions from clients all over.
//!
//! ```text
//! MERIDIAN_TEST_QUESTIONS=100000 cargo test --release --test transports
//! ```

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;

use meridian::query::Transport;
use meridian::query::counters::{CounterSet, Counters};
use meridian::state::Snapshot;

mod support;

use support::exchange::{differ, expected, over_tcp, over_udp, udp_socket};
use support::questions::{MOST_OCTETS, Questions};
use support::server::Server;
use support::zones;

/// Asked without being told how many; a second or two in a debug build.
const QUESTIONS: usize = 8_000;
/// Asked at once: less than any socket's buffer.
const BATCH: usize = 40;

#[test]
fn sockets_answer_octet_for_octet_what_the_engine_does() {
    let listen: &[&str] = if has_ipv6() { &["127.0.0.1:0", "[::1]:0"] } else { &["127.0.0.1:0"] };
    let settings = "nsid = \"here\"\nlimits.tcp_per_network = 1000";
    let server = Server::start_at(listen, settings, zones::ALL);
    let mut questions = Questions::about(&server.snapshot().model, 4);
    let mut asker = Asker { server: &server, counters: CounterSet::new().shared(), tally: Tally::default() };
    let clients: Vec<(UdpSocket, IpAddr, SocketAddr)> = clients(&server.listening);
    let count = std::env::var("MERIDIAN_TEST_QUESTIONS").map_or(QUESTIONS, |count| count.parse().expect("a number"));
    for round in 0..count.div_ceil(BATCH) {
        let (socket, from, to) = &clients[round % clients.len()];
        let packets: Vec<Vec<u8>> =
            (0..BATCH).map(|_| if round % 4 == 0 { questions.plain() } else { questions.any() }).collect();
        asker.compare(&packets, socket, *from, *to);
    }
    asker.tally.check(count);
}

/// One socket each; the demo's database knows where most of them are.
fn clients(servers: &[SocketAddr]) -> Vec<(UdpSocket, IpAddr, SocketAddr)> {
    let client = |from: IpAddr| {
        let server = *servers.iter().find(|server| server.is_ipv4() == from.is_ipv4())?;
        Some((udp_socket(from, server), from, server))
    };
    let v4 = [1, 7, 20, 33, 44, 49, 55, 61, 81, 82, 86, 91].map(|code| IpAddr::from([127, code, 64, 9]));
    let v6 = [IpAddr::V6(Ipv6Addr::LOCALHOST); 3];
    v4.into_iter().chain(v6).filter_map(client).collect()
}

fn has_ipv6() -> bool {
    UdpSocket::bind("[::1]:0").is_ok()
}

struct Asker<'a> {
    server: &'a Server,
    counters: Arc<Counters>,
    tally: Tally,
}

impl Asker<'_> {
    fn compare(&mut self, packets: &[Vec<u8>], socket: &UdpSocket, from: IpAddr, to: SocketAddr) {
        let before = self.server.snapshot();
        let silent = |over| -> Vec<bool> {
            packets.iter().map(|packet| self.expected(&before, packet, from, over).is_empty()).collect()
        };
        let udp = over_udp(socket, packets, &silent(Transport::Udp));
        let tcp = self.tcp(packets, &silent(Transport::Tcp), from, to);
        let after = self.server.snapshot();
        for ((packet, udp), tcp) in packets.iter().zip(&udp).zip(&tcp) {
            self.hold(&[&before, &after], packet, from, Transport::Udp, udp);
            self.hold(&[&before, &after], packet, from, Transport::Tcp, tcp);
            // Plans are made now and then: the two may have been answered on either side of one.
            if before.generation == after.generation
                && let Some(how) = differ(packet, udp, tcp)
            {
                panic!("UDP and TCP: {how}\nquestion {packet:02x?}\nUDP {udp:02x?}\nTCP {tcp:02x?}");
            }
            self.tally.count(udp, tcp);
        }
    }

    /// All that get replies down one connection; then each that gets none at the end of one of its
    /// own, after a question that does, so that its silence is heard.
    fn tcp(&self, packets: &[Vec<u8>], silent: &[bool], from: IpAddr, to: SocketAddr) -> Vec<Vec<u8>> {
        let answered: Vec<usize> = (0..packets.len()).filter(|&number| !silent[number]).collect();
        let sent: Vec<&[u8]> = answered.iter().map(|&number| &packets[number][..]).collect();
        let received = over_tcp(from, to, &sent);
        assert_eq!(received.len(), sent.len(), "replies over TCP");
        let mut replies = vec![Vec::new(); packets.len()];
        answered.iter().zip(received).for_each(|(&number, reply)| replies[number] = reply);
        let (Some(&good), Some(bad)) = (sent.first(), silent.iter().position(|&silent| silent)) else { return replies };
        let received = over_tcp(from, to, &[good, &packets[bad], good]);
        assert_eq!(received.len(), 1, "a reply to {:02x?}, or the connection went on after it", packets[bad]);
        replies
    }

    fn hold(&self, snapshots: &[&Arc<Snapshot>], packet: &[u8], from: IpAddr, over: Transport, reply: &[u8]) {
        let mut fits = snapshots.iter().map(|snapshot| self.expected(snapshot, packet, from, over));
        if !fits.any(|expected| expected == reply) {
            let expected = self.expected(snapshots[0], packet, from, over);
            panic!("{over:?} from {from}\nquestion {packet:02x?}\nexpected {expected:02x?}\nreceived {reply:02x?}");
        }
    }

    fn expected(&self, snapshot: &Snapshot, packet: &[u8], from: IpAddr, over: Transport) -> Vec<u8> {
        expected(snapshot, packet, from, over, &self.counters)
    }
}

/// What came back: the comparison is worth no more than what it went over.
#[derive(Default)]
struct Tally {
    silent: usize,
    truncated: usize,
    with_records: usize,
    with_opt: usize,
    by_rcode: BTreeMap<u8, usize>,
}

impl Tally {
    fn count(&mut self, udp: &[u8], tcp: &[u8]) {
        self.silent += usize::from(udp.is_empty());
        let Some(header) = tcp.first_chunk::<12>() else { return };
        self.truncated += usize::from(udp.get(2).is_some_and(|flags| flags & 2 != 0));
        self.with_records += usize::from(header[7] > 0);
        self.with_opt += usize::from(header[11] > 0);
        *self.by_rcode.entry(header[3] & 15).or_default() += 1;
    }

    fn check(&self, asked: usize) {
        println!(
            "{asked} questions: {} with answers, {} truncated over UDP, {} with additional records, {} silences; by RCODE {:?}",
            self.with_records, self.truncated, self.with_opt, self.silent, self.by_rcode
        );
        assert!(self.with_records > asked / 4 && self.silent > asked / 200 && self.truncated > asked / 200);
        // NOERROR FORMERR NXDOMAIN NOTIMP REFUSED YXDOMAIN? NOTAUTH; BADVERS shows as 0.
        for rcode in [0, 1, 3, 4, 5, 9] {
            assert!(self.by_rcode.contains_key(&rcode), "no RCODE {rcode}");
        }
    }
}

#[test]
fn the_same_seed_asks_the_same_questions() {
    let server = Server::start("", zones::ALL);
    let model = &server.snapshot().model;
    let (mut one, mut other) = (Questions::about(model, 1), Questions::about(model, 1));
    for _ in 0..1_000 {
        let packet = one.any();
        assert_eq!(packet, other.any());
        assert_eq!(one.plain(), other.plain());
        assert!(packet.len() <= MOST_OCTETS);
    }
}
