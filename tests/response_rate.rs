//! `limits.udp_per_network`: what a network gets over UDP that asks more than it may, on the wire.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use hickory_proto::op::ResponseCode;
use meridian::query::counters::{DropReason, Event};

mod support;

use support::dns::{self, Ask, Reply};
use support::server::Server;
use support::zones;

const WAIT: Duration = Duration::from_millis(300);

/// Asks so many times from an address, by IDs in a row from 0: the responses that come.
fn flood(server: &Server, from: &str, ask: &Ask, times: u16) -> Vec<Reply> {
    let with_id = |id: u16| Ask { id, ..ask.clone() }.wire();
    burst(server, from, (0..times).map(with_id).collect())
}

/// Sends all at once: the responses that come.
fn burst(server: &Server, from: &str, messages: Vec<Vec<u8>>) -> Vec<Reply> {
    let from: IpAddr = from.parse().expect("an address");
    let socket = UdpSocket::bind(SocketAddr::new(from, 0)).expect("a socket");
    socket.set_read_timeout(Some(WAIT)).expect("a timeout");
    for message in &messages {
        socket.send_to(message, server.dns).expect("sent");
    }
    let mut octets = [0; 4_096];
    std::iter::from_fn(|| socket.recv(&mut octets).ok().map(|len| Reply::read(octets[..len].to_vec()))).collect()
}

#[test]
fn a_network_above_its_limit_gets_truncated_responses_and_silence_while_others_are_answered() {
    // So few that what is had again while the test runs does not count.
    let settings = "limits.udp_per_network = 5\nlimits.udp_truncated = 2\nlimits.udp_trusted = \"127.9.9.0/24\"";
    let server = Server::start(settings, &[("gslb.example.toml", zones::SEOUL_ALONE)]);
    let ask = Ask::new("www.gslb.example", "A").edns(|_| {});

    let replies = flood(&server, "127.49.1.1", &ask, 200);
    let (cut, whole): (Vec<&Reply>, Vec<&Reply>) = replies.iter().partition(|reply| reply.is_truncated());
    // A second's worth, the one that is due, and what the time of the test adds.
    assert!((5..=40).contains(&whole.len()), "{} whole", whole.len());
    // Every other one of the rest.
    let rest = 200 - whole.len();
    assert!((rest / 2 - 10..=rest / 2 + 10).contains(&cut.len()), "{} of {rest} are truncated", cut.len());
    for reply in &cut {
        // TC and no record: "come by TCP" (RFC 2181 section 9), with OPT since the query had it (RFC 6891 section 7).
        assert!(reply.answers().is_empty() && reply.authority().is_empty(), "{reply:?}");
        assert!(reply.octets.len() <= ask.wire().len() + 11, "no more than what was asked: {}", reply.octets.len());
    }
    assert_eq!(server.count(Event::RateTruncated), cut.len() as u64);
    assert_eq!(server.count(Event::Dropped(DropReason::Rate)), (rest - cut.len()) as u64);

    // An address of the same network is above it, too; over TCP it is answered, and others are anyway.
    assert!(flood(&server, "127.49.1.200", &ask, 21).iter().filter(|reply| !reply.is_truncated()).count() < 10);
    let tcp = dns::exchange_tcp(server.dns, &[&ask.wire()], 1);
    assert_eq!(tcp.len(), 1);
    assert!(!Reply::read(tcp[0].clone()).is_truncated());
    let other = flood(&server, "127.49.2.1", &ask, 3);
    assert!(other.len() == 3 && other.iter().all(|reply| !reply.is_truncated()), "{other:?}");
    let trusted = flood(&server, "127.9.9.9", &ask, 100);
    assert!(trusted.len() == 100 && trusted.iter().all(|reply| !reply.is_truncated()), "{}", trusted.len());
}

#[test]
fn what_is_no_query_never_gets_a_truncated_response() {
    let server = Server::start(
        "limits.udp_per_network = 1\nlimits.udp_truncated = 1",
        &[("gslb.example.toml", zones::SEOUL_ALONE)],
    );
    let query = Ask::new("www.gslb.example", "A").wire();
    let response = Ask::new("www.gslb.example", "A").flags(0x8000).wire();
    let mut messages = vec![query.clone(); 20];
    messages.extend([0, 1, 11, 12, 17].map(|length| query[..length].to_vec()));
    messages.push(response);
    let replies = burst(&server, "127.49.1.1", messages);
    assert!(replies.iter().all(|reply| reply.rcode() == ResponseCode::NoError), "{replies:?}");
    assert!(server.count(Event::RateTruncated) <= 20);
    // Four of the five that are no query, and the response.
    assert!(server.count(Event::Dropped(DropReason::Rate)) >= 5, "{}", server.count(Event::Dropped(DropReason::Rate)));
}

#[test]
fn without_the_setting_there_is_no_limit() {
    let server = Server::start("", &[("gslb.example.toml", zones::SEOUL_ALONE)]);
    let replies = flood(&server, "127.49.1.1", &Ask::new("www.gslb.example", "A"), 200);
    assert_eq!(replies.iter().filter(|reply| !reply.is_truncated()).count(), 200);
}
