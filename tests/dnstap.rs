//! dnstap as its readers get it: a reader of our own, which knows nothing of how frames are written, and `fstrm_capture`
//! with `dnstap-ldns` where they are installed.
//!
//! In: a running server with `[dnstap]`, questions over UDP and TCP. Out: frames at a Unix socket or a TCP address.

use std::io::{Read, Write};
use std::net::{IpAddr, TcpListener, UdpSocket};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use meridian::query::counters::{Event, QuerySink};

mod support;

use support::dns::{self, Ask};
use support::server::{Server, wait_until};
use support::tools;

const ZONE: &str = r#"
origin = "gslb.example"
records = """
@    SOA  ns1 hostmaster 1 1h 10m 1w 60
@    NS   ns1
ns1  A    192.0.2.53
www  A    192.0.2.80
"""
"#;

const LIMIT: Duration = Duration::from_secs(20);

fn start(to: &str, more: &str) -> Server {
    let settings = format!("nsid = \"fra1\"\n[dnstap]\nto = \"{to}\"\n{more}");
    Server::start(&settings, &[("gslb.example.toml", ZONE)])
}

/// A protobuf message's fields, by number.
#[derive(Debug, Default, PartialEq)]
struct Fields(Vec<(u64, Field)>);

#[derive(Debug, PartialEq)]
enum Field {
    Number(u64),
    Octets(Vec<u8>),
}

impl Fields {
    fn read(mut octets: &[u8]) -> Fields {
        let mut fields = Fields::default();
        while !octets.is_empty() {
            let key = varint(&mut octets);
            let value = match key & 7 {
                0 => Field::Number(varint(&mut octets)),
                2 => {
                    let length = varint(&mut octets) as usize;
                    Field::Octets(take(&mut octets, length).to_vec())
                }
                5 => Field::Number(u32::from_le_bytes(take(&mut octets, 4).try_into().expect("four")).into()),
                other => panic!("wire type {other}"),
            };
            fields.0.push((key >> 3, value));
        }
        fields
    }

    fn number(&self, of: u64) -> Option<u64> {
        self.0.iter().find_map(|(field, value)| match value {
            Field::Number(number) if *field == of => Some(*number),
            _ => None,
        })
    }

    fn octets(&self, of: u64) -> Option<&[u8]> {
        self.0.iter().find_map(|(field, value)| match value {
            Field::Octets(octets) if *field == of => Some(&octets[..]),
            _ => None,
        })
    }
}

fn varint(octets: &mut &[u8]) -> u64 {
    let mut number = 0;
    for shift in (0..).step_by(7) {
        let octet = take(octets, 1)[0];
        number |= u64::from(octet & 0x7f) << shift;
        if octet & 0x80 == 0 {
            break;
        }
    }
    number
}

fn take<'a>(octets: &mut &'a [u8], length: usize) -> &'a [u8] {
    let (taken, rest) = octets.split_at(length);
    *octets = rest;
    taken
}

/// What a reader was told: control frames by their types, data frames by their octets.
#[derive(Debug, PartialEq)]
enum Told {
    Control(u32),
    Data(Vec<u8>),
    Closed,
}

/// Reads one connection as fstrm does: takes what is offered, and says FINISH to STOP. Ends after `frames` data frames,
/// if that is said.
fn read_all(mut stream: impl Read + Write, frames: Option<usize>, told: &mpsc::Sender<Told>) {
    let mut left = frames;
    while left != Some(0) {
        let Some(length) = number(&mut stream) else { break };
        if length > 0 {
            let mut frame = vec![0; length as usize];
            stream.read_exact(&mut frame).expect("a whole frame");
            told.send(Told::Data(frame)).expect("heard");
            left = left.map(|left| left - 1);
            continue;
        }
        let length = number(&mut stream).expect("a length");
        let mut body = vec![0; length as usize];
        stream.read_exact(&mut body).expect("a whole control frame");
        let kind = u32::from_be_bytes(body[..4].try_into().expect("a type"));
        told.send(Told::Control(kind)).expect("heard");
        let field = [&[0, 0, 0, 1, 0, 0, 0, 22][..], b"protobuf:dnstap.Dnstap"].concat();
        if kind == READY || kind == START {
            assert_eq!(body[4..], field);
        }
        match kind {
            READY => {
                let accept = [&[0, 0, 0, 0, 0, 0, 0, 34, 0, 0, 0, 1][..], &field].concat();
                stream.write_all(&accept).expect("written");
            }
            STOP => stream.write_all(&[0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 5]).expect("written"),
            _ => {}
        }
    }
    let _ = told.send(Told::Closed); // the test may have ended
}

const READY: u32 = 4;
const START: u32 = 2;
const STOP: u32 = 3;

fn number(stream: &mut impl Read) -> Option<u32> {
    let mut octets = [0; 4];
    stream.read_exact(&mut octets).ok()?;
    Some(u32::from_be_bytes(octets))
}

fn next(told: &Receiver<Told>) -> Told {
    told.recv_timeout(LIMIT).expect("the reader is told")
}

/// The next frame, as the outer message's fields and the inner one's.
fn next_message(told: &Receiver<Told>) -> (Fields, Fields) {
    let Told::Data(frame) = next(told) else { panic!("no data frame") };
    let outer = Fields::read(&frame);
    let inner = Fields::read(outer.octets(14).expect("a message"));
    (outer, inner)
}

#[test]
fn a_reader_at_a_unix_socket_gets_queries_and_responses_as_they_were() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("dnstap.sock");
    let listener = UnixListener::bind(&path).expect("a socket");
    let (tell, told) = mpsc::channel();
    let reader = std::thread::spawn(move || read_all(listener.accept().expect("a writer").0, None, &tell));
    let server = start(&format!("unix:{}", path.display()), "");
    assert_eq!([next(&told), next(&told)], [Told::Control(READY), Told::Control(START)]);

    let ask = Ask::new("www.gslb.example", "A").subnet("127.82.0.0/24");
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    socket.connect(server.dns).expect("connected");
    socket.set_read_timeout(Some(LIMIT)).expect("a timeout");
    socket.send(&ask.wire()).expect("sent");
    let mut reply = [0; 1232];
    let length = socket.recv(&mut reply).expect("a reply");
    let (outer, query) = next_message(&told);
    assert_eq!((outer.octets(1), outer.number(15)), (Some(&b"fra1"[..]), Some(1)));
    assert_eq!(outer.octets(2), Some(concat!("meridian ", env!("CARGO_PKG_VERSION")).as_bytes()));
    let port = |of: std::net::SocketAddr| Some(u64::from(of.port()));
    for (message, kind) in [(&query, 1), (&next_message(&told).1, 2)] {
        assert_eq!(message.number(1), Some(kind), "AUTH_QUERY, AUTH_RESPONSE");
        assert_eq!((message.number(2), message.number(3)), (Some(1), Some(1)), "INET, UDP");
        let loopback = Some(&[127, 0, 0, 1][..]);
        assert_eq!((message.octets(4), message.octets(5)), (loopback, loopback));
        assert_eq!(message.number(6), port(socket.local_addr().expect("an address")));
        assert_eq!(message.number(7), port(server.dns));
        assert!(message.number(8).is_some_and(|second| second > 1_700_000_000));
        assert!(message.number(9).is_some_and(|ns| ns < 1_000_000_000));
        match kind {
            1 => assert_eq!((message.octets(10), message.octets(14)), (Some(&ask.wire()[..]), None)),
            _ => {
                assert_eq!((message.octets(10), message.octets(14)), (None, Some(&reply[..length])));
                let times = [8, 9, 12, 13].map(|field| message.number(field).expect("a time"));
                assert!(times[..2] <= times[2..], "{times:?}");
            }
        }
    }
    dns::tcp(server.dns, &ask);
    assert_eq!(next_message(&told).1.number(3), Some(2), "TCP");
    assert_eq!(next_message(&told).1.number(1), Some(2));
    drop(server);
    assert_eq!([next(&told), next(&told)], [Told::Control(STOP), Told::Closed]);
    reader.join().expect("the reader ends");
}

#[test]
fn a_reader_that_goes_is_found_again_and_what_came_meanwhile_is_kept() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a socket");
    let address = listener.local_addr().expect("an address");
    let (tell, told) = mpsc::channel();
    let reader = std::thread::spawn(move || {
        read_all(listener.accept().expect("a writer").0, Some(2), &tell);
        read_all(listener.accept().expect("the writer again").0, None, &tell);
    });
    let server = start(&format!("tcp:{address}"), "identity = \"me\"\nversion = \"1\"");
    let ask = |id| dns::udp(server.dns, &Ask { id, ..Ask::new("www.gslb.example", "A") });
    assert_eq!([next(&told), next(&told)], [Told::Control(READY), Told::Control(START)]);
    ask(1);
    assert_eq!(next_message(&told).0.octets(1), Some(&b"me"[..]));
    next_message(&told);
    assert_eq!(next(&told), Told::Closed);
    wait_until("it is missed", LIMIT, || server.count(Event::DnstapLost) == 1);
    ask(2);
    ask(3);
    assert_eq!([next(&told), next(&told)], [Told::Control(READY), Told::Control(START)]);
    for id in [2_u16, 3] {
        let (_, query) = next_message(&told);
        assert_eq!(query.octets(10).map(|octets| octets[..2].to_vec()), Some(id.to_be_bytes().to_vec()));
        next_message(&told);
    }
    wait_until("it is counted", LIMIT, || server.count(Event::Recorded(QuerySink::Dnstap)) == 3);
    assert_eq!(server.count(Event::DnstapConnected), 2);
    drop(server);
    reader.join().expect("the reader ends");
}

#[test]
fn a_reader_that_is_not_there_or_no_reader_costs_no_answer() {
    let folder = tempfile::tempdir().expect("a folder");
    let nowhere = start(&format!("unix:{}/none", folder.path().display()), "");
    assert_eq!(nowhere.query("www.gslb.example", "A").data(), ["192.0.2.80"]);
    drop(nowhere); // it does not wait for one
    let listener = TcpListener::bind("127.0.0.1:0").expect("a socket");
    let address = listener.local_addr().expect("an address");
    let web = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a writer");
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").expect("written");
        let mut said = Vec::new();
        let _ = stream.read_to_end(&mut said); // or an error, where it closed in haste
    });
    let server = start(&format!("tcp:{address}"), "");
    assert_eq!(server.query("www.gslb.example", "A").data(), ["192.0.2.80"]);
    web.join().expect("it was left alone");
    assert_eq!(server.count(Event::DnstapConnected), 0);
}

/// With fstrm's own reader over both kinds of sockets, and what it kept read by two decoders that others wrote.
#[test]
fn real_readers_understand_it() {
    let Some(capture) = tools::find("fstrm_capture") else { return };
    let Some(ldns) = tools::find("dnstap-ldns") else { return };
    let Some(dnstap) = tools::find("dnstap") else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("dnstap.sock").display().to_string();
    let port = tools::free_port(IpAddr::from([127, 0, 0, 1])).to_string();
    let listening = ["-u", &socket].map(str::to_owned).to_vec();
    let over_tcp = ["-a", "127.0.0.1", "-p", &port].map(str::to_owned).to_vec();
    for (number, (listen, to)) in
        [(listening, format!("unix:{socket}")), (over_tcp, format!("tcp:127.0.0.1:{port}"))].into_iter().enumerate()
    {
        let kept = folder.path().join(format!("kept.{number}")).display().to_string();
        let arguments =
            [vec!["-t", "protobuf:dnstap.Dnstap", "-w", &kept].into_iter().map(str::to_owned).collect(), listen];
        let mut running = tools::Running::start(&capture, &arguments.concat(), &folder.path().join("capture.log"));
        let server = start(&to, "");
        wait_until("the reader is there", LIMIT, || {
            assert!(
                !running.has_ended(),
                "{}",
                std::fs::read_to_string(folder.path().join("capture.log")).expect("a log")
            );
            server.count(Event::DnstapConnected) == 1
        });
        server.query("www.gslb.example", "A");
        wait_until("both are told", LIMIT, || server.count(Event::Recorded(QuerySink::Dnstap)) == 2);
        drop(server); // STOP and FINISH
        // SAFETY: a signal to a process of ours that has not been waited for: it writes what it has, and ends.
        unsafe { libc::kill(running.id() as libc::pid_t, libc::SIGTERM) };
        wait_until("it has written", LIMIT, || running.has_ended());
        let quiet = said(&ldns, &["-q", "-r", &kept]);
        // What came over TCP may be told first: over UDP that is when the reply has been sent.
        let mut lines: Vec<&str> = quiet.lines().collect();
        lines.sort_by_key(|line| line.contains("TCP"));
        assert_eq!(lines.len(), 4, "{quiet}");
        for (line, (kind, over)) in lines.iter().zip([("AQ", "UDP"), ("AR", "UDP"), ("AQ", "TCP"), ("AR", "TCP")]) {
            for word in [kind, over, "127.0.0.1", "www.gslb.example.", "IN A"] {
                assert!(line.contains(word), "no {word} in {line}");
            }
        }
        let yaml = said(&dnstap, &["-r", &kept, "-y"]);
        for word in ["AUTH_QUERY", "AUTH_RESPONSE", "identity: \"fra1\"", "192.0.2.80", "socket_protocol: TCP"] {
            assert!(yaml.contains(word), "no {word} in {yaml}");
        }
    }
}

fn said(program: &Path, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().expect("it runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}
