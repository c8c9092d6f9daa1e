//! Many packets at once over one socket, and what ought to come back.
//!
//! In: packets whose IDs differ, as [`super::questions`] numbers them. Out: the reply to each, or
//! none; and beside it what the engine says in this very process.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use meridian::control::clock;
use meridian::control::reload::prepare;
use meridian::query::counters::Counters;
use meridian::query::{Client, Transport, answer};
use meridian::state::{Publisher, Snapshot};
use meridian::wire::name::LowerName;
use meridian::wire::query::parse;
use socket2::{Domain, Socket, Type};

use super::server::MainFile;

/// The longest wait for replies from loopback, on a machine that is busy with other tests.
const PATIENCE: Duration = Duration::from_secs(5);

/// What the engine answers in this process; empty where it stays silent.
pub fn expected(snapshot: &Snapshot, packet: &[u8], from: IpAddr, over: Transport, counters: &Counters) -> Vec<u8> {
    let mut out = vec![0; if over == Transport::Udp { 1_232 } else { 65_535 }];
    let len = answer(snapshot, packet, Client { address: from, transport: over }, &mut out, counters);
    out.truncate(len);
    out
}

/// The snapshot that a server in another process begins with, from the same main file.
pub fn snapshot_of(main_file: &Path) -> Arc<Snapshot> {
    let prepared =
        prepare(&MainFile(main_file.to_owned())).unwrap_or_else(|mistakes| panic!("{}", mistakes.join("\n")));
    let config = &prepared.loaded.config;
    let (nsid, seed) = (config.nsid.clone().unwrap_or_default(), config.seed);
    let overrides = Default::default();
    let publisher = Publisher::new(prepared.loaded.model, prepared.atlas, &nsid, seed, overrides, clock::read());
    publisher.shared().load_full()
}

/// Why the replies over UDP and over TCP to a packet are not what they should be: the same octets,
/// but where the one over TCP is longer than what the asker takes over UDP. `None`: all is well.
pub fn differ(packet: &[u8], udp: &[u8], tcp: &[u8]) -> Option<&'static str> {
    if udp == tcp {
        return None;
    }
    let mut name = LowerName::new();
    let (edns, is_signed) = match parse(packet, &mut name) {
        Ok(query) => (query.edns, query.is_signed()),
        Err(rejected) => (rejected.edns, false),
    };
    let limit = Client { address: IpAddr::from([0; 4]), transport: Transport::Udp }.limit(edns.as_ref());
    if tcp.len() <= limit {
        return Some("they differ, though both fit");
    }
    // With TSIG there may be no room even for an error: see `answer`.
    let Some((header, rest)) = udp.split_first_chunk::<12>() else {
        return (!is_signed).then_some("nothing over UDP");
    };
    let truncated = header[2] & 2 != 0;
    let records = [6, 8].iter().any(|&count| header[count] != 0 || header[count + 1] != 0);
    match () {
        () if udp.len() > limit => Some("longer over UDP than the asker takes"),
        () if truncated && records => Some("records beside TC"),
        // Fewer records; the same otherwise.
        () if header[..2] != tcp[..2] || header[3] != tcp[3] => Some("ID or RCODE differ"),
        () if !truncated && rest.len() + 12 >= tcp.len() => Some("neither truncated nor shorter"),
        () => None,
    }
}

/// Sends all packets from a connected socket, at most some dozens at once, and gives the reply to
/// each. `silent` says which get none: their replies, should they come with those of another batch,
/// fail that one.
pub fn over_udp(socket: &UdpSocket, packets: &[Vec<u8>], silent: &[bool]) -> Vec<Vec<u8>> {
    socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    for packet in packets {
        socket.send(packet).expect("send");
    }
    let id = |packet: &[u8]| packet.first_chunk::<2>().copied();
    let mut numbers: HashMap<[u8; 2], usize> =
        (0..packets.len()).filter(|&n| !silent[n]).map(|n| (id(&packets[n]).expect("an ID"), n)).collect();
    let mut replies = vec![Vec::new(); packets.len()];
    let mut buffer = vec![0; 65_535];
    while !numbers.is_empty() {
        let len = socket.recv(&mut buffer).unwrap_or_else(|error| {
            let lost: Vec<_> = numbers.values().map(|&number| &packets[number]).collect();
            panic!("no reply over UDP: {error}: {lost:02x?}")
        });
        let reply = &buffer[..len];
        let number = id(reply).and_then(|id| numbers.remove(&id));
        let number = number.unwrap_or_else(|| panic!("a reply that nobody waits for: {reply:02x?}"));
        replies[number] = reply.to_vec();
    }
    replies
}

/// A UDP socket at an address of this machine that hears `server` alone.
pub fn udp_socket(from: IpAddr, server: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind((from, 0)).expect("a UDP socket");
    socket.connect(server).expect("connect");
    socket
}

/// Sends all packets down one connection from an address of this machine, then closes that half,
/// and gives the replies, in order, until the server closes.
pub fn over_tcp(from: IpAddr, server: SocketAddr, packets: &[&[u8]]) -> Vec<Vec<u8>> {
    let mut stream = tcp_stream(from, server);
    let sent: Vec<u8> =
        packets.iter().flat_map(|packet| [&(packet.len() as u16).to_be_bytes()[..], packet].concat()).collect();
    // The server may have closed by now: what it said before is there to be read.
    let _ = stream.write_all(&sent);
    let _ = stream.shutdown(std::net::Shutdown::Write);
    let mut received = Vec::new();
    let _ = stream.read_to_end(&mut received);
    let (mut replies, mut rest) = (Vec::new(), &received[..]);
    while let Some((length, after)) = rest.split_first_chunk::<2>() {
        let (reply, after) = after.split_at(usize::from(u16::from_be_bytes(*length)));
        replies.push(reply.to_vec());
        rest = after;
    }
    replies
}

fn tcp_stream(from: IpAddr, server: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::for_address(server), Type::STREAM, None).expect("a TCP socket");
    socket.bind(&SocketAddr::new(from, 0).into()).expect("an address of this machine");
    socket.connect_timeout(&server.into(), PATIENCE).expect("connect");
    socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    socket.into()
}
