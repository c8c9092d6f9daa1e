//! Streams of a running server whose clients do not read: they are cut off, hold nobody up, and hear later what they missed.

mod support;

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use meridian::steer::health::effective::Override;
use socket2::{Domain, Socket, Type};
use support::server::Server;

/// So many that a status is larger than what sockets keep for a reader that takes little at a time.
const REGIONS: usize = 900;
/// What is given up on takes as long as that, and the rest of a second.
const CUT_OFF: Duration = Duration::from_secs(10);
/// On a machine busy with other tests.
const LATEST: Duration = Duration::from_secs(60);

fn zone() -> String {
    let mut zone = "origin = \"gslb.example\"\nrecords = \"\"\"\n@ SOA ns1 hostmaster 1 1h 10m 1w 60\n@ NS ns1\n\
                    ns1 A 192.0.2.53\n\"\"\"\n"
        .to_owned();
    for number in 0..REGIONS {
        let (high, low) = (number / 200, number % 200 + 1);
        let at = format!("[region.r{number}]\nlocation = {{ country = \"DE\" }}\n");
        writeln!(zone, "{at}endpoints = [{{ address = \"198.18.{high}.{low}\" }}]").expect("a String takes all");
    }
    zone + "[service.www]\npolicy = \"failover\"\nregions = [\"r0\", \"r1\"]\n"
}

/// Asks for the stream, by a socket that holds as little as may be.
fn stream(admin: SocketAddr, headers: &str, small: bool) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    if small {
        socket.set_recv_buffer_size(4_096).expect("a small buffer");
    }
    socket.connect(&admin.into()).expect("connected");
    let mut stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(LATEST)).expect("a limit");
    write!(stream, "GET /v1/live HTTP/1.1\r\nHost: {admin}\r\n{headers}\r\n").expect("sent");
    stream
}

/// Reads on until this has come.
fn read_until(stream: &mut TcpStream, seen: &mut String, wanted: &str) {
    let (until, mut octets) = (Instant::now() + LATEST, vec![0; 1 << 16]);
    while !seen.contains(wanted) {
        assert!(Instant::now() < until, "no {wanted}");
        let count = stream.read(&mut octets).expect("the stream goes on");
        assert!(count > 0, "it ended before {wanted}");
        seen.push_str(&String::from_utf8_lossy(&octets[..count]));
    }
}

#[test]
fn who_does_not_read_is_cut_off_holds_nobody_up_and_hears_later_what_it_missed() {
    let server = Server::start("", &[("gslb.example.toml", &zone())]);
    let mut slow = stream(server.admin, "Last-Event-ID: 0\r\n", true);
    let mut other = stream(server.admin, "", false);
    let mut heard = String::new();
    read_until(&mut other, &mut heard, "event: status");
    // A status and an event each second, and somebody who reads them all the while.
    let began = Instant::now();
    let (mut said, mut latest) = (0, Duration::ZERO);
    while began.elapsed() < CUT_OFF + Duration::from_secs(3) {
        let word = if said % 2 == 0 { Override::Drain } else { Override::Auto };
        server.say("r0", word);
        let at = Instant::now();
        heard.clear();
        read_until(&mut other, &mut heard, "event: event");
        latest = latest.max(at.elapsed());
        said += 1;
    }
    assert!(said >= 5, "{said}");
    println!("{said} events, the last of them heard by the other after {latest:?} at most");
    // Its seat is free again: it was one of eight.
    let mut seats: Vec<TcpStream> = (0..7).map(|_| stream(server.admin, "", false)).collect();
    for seat in &mut seats {
        read_until(seat, &mut String::new(), "HTTP/1.1 200");
    }
    drop(seats);
    // What was kept for it: what sockets hold, and no status for each second. Then the end.
    let mut rest = Vec::new();
    let ended = slow.read_to_end(&mut rest);
    let told = String::from_utf8_lossy(&rest).into_owned();
    let statuses = told.matches("event: status").count();
    println!("kept for it: {} octets, {statuses} statuses begun", rest.len());
    // Of 680 kB each: sockets hold some 3 MB.
    assert!(statuses <= 7, "{statuses} statuses of {said}");
    assert!(ended.is_ok(), "{ended:?}");
    // It comes back, and hears what it missed.
    let mut again = stream(server.admin, "Last-Event-ID: 0\r\n", false);
    let mut missed = String::new();
    while missed.matches("event: event").count() < said {
        let wanted = missed.matches("\n\n").count();
        let before = missed.len();
        let mut more = String::new();
        read_until(&mut again, &mut more, "\n\n");
        missed.push_str(&more);
        assert!(missed.len() > before, "{wanted}");
    }
}
