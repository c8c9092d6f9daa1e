//! Queries that pass the kernel's stack by (`listen.xdp`): a whole server and a client, each in a network namespace
//! of its own, with a cable between them. Where namespaces cannot be made (no root), tests say so and pass.

use std::io::Read;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use meridian::model::xdp::{Queues, XdpInterface};
use meridian::query::counters::{CounterSet, Counters, DropReason, Event};
use meridian::query::kernel::KernelSetup;
use meridian::query::transport::Responder;
use meridian::query::transport::xdp::XdpServer;
use meridian::query::{Client, Transport};

mod support;

use support::dns::{self, Ask, Reply};
use support::link::{CLIENT, CLIENT_MAC, Link, Machine, SERVER, SERVER_MAC};
use support::raw::RawSocket;
use support::server::{Server, wait_until};
use support::tools::Running;

const ZONE: &str = r#"
origin = "gslb.example"
records = """
@         SOA   ns1 hostmaster 1 1h 10m 1w 60
@         NS    ns1
ns1       A     192.0.2.53
www       A     192.0.2.80
www       AAAA  2001:db8::80
large     TXT   "a text of some length, said again and again, so that it does not fit into what is asked for"
large     TXT   "a text of some length, said again and again, so that it does not fit into 512 octets either"
large     TXT   "a text of some length, said again and again, one two three four five six seven eight nine ten"
large     TXT   "a text of some length, said again and again, ten nine eight seven six five four three two one"
large     TXT   "a text of some length, said again and again, and this is the last of them, at last it is done"
large     TXT   "or is it? a text of some length, said again and again, and this is the last of them, at last"
alias     CNAME www
*.wild    A     192.0.2.99
child     NS    ns1.child
ns1.child A     192.0.2.54
"""

[region.near]
location = { country = "DE" }
endpoints = [{ address = ["192.0.2.1", "2001:db8::1"] }]

[region.far]
location = { country = "BR" }
endpoints = [{ address = ["192.0.2.2", "2001:db8::2"] }]

[service.app]
policy = "geo"
regions = ["near", "far"]
geo = { default = ["near"], network = { "10.0.0.0/8" = ["far"], "198.51.100.0/24" = ["far"] } }
"#;

/// The main file: listens at all addresses on port 53.
fn main_file(folder: &Path, listen: &str, xdp: &str) {
    let main =
        format!("listen = {{ dns = {listen}, admin = \"127.0.0.1:0\", xdp = {xdp} }}\nthreads = 1\ngeoip = []\n");
    std::fs::write(folder.join("meridian.toml"), main).expect("a file");
    std::fs::create_dir(folder.join("zones")).expect("a folder");
    std::fs::write(folder.join("zones/gslb.example.toml"), ZONE).expect("a file");
}

const EVERYWHERE: &str = r#"["0.0.0.0:53", "[::]:53"]"#;
const ETH0: &str = r#"[{ interface = "eth0" }]"#;

/// A server on this machine.
fn serve(machine: &Machine, listen: &'static str, xdp: &'static str) -> Server {
    machine.run(move || {
        let folder = tempfile::tempdir().expect("a folder");
        main_file(folder.path(), listen, xdp);
        Server::start_in(folder)
    })
}

/// What the client gets for octets it sends to an address of the server.
fn exchange(link: &Link, to: &str, octets: Vec<u8>) -> Option<Vec<u8>> {
    let to: SocketAddr = to.parse().expect("address");
    link.client.run(move || dns::exchange_udp(to, &octets, Duration::from_secs(2)))
}

fn ask(link: &Link, to: &str, ask: &Ask) -> Reply {
    Reply::read(exchange(link, to, ask.wire()).expect("a reply"))
}

#[test]
fn queries_are_answered_past_the_sockets_over_ipv4_and_ipv6() {
    let Some(link) = Link::new() else { return };
    let server = serve(&link.server, EVERYWHERE, ETH0);
    for (count, to) in (1..).zip(["10.0.0.1:53", "[fd00::1]:53"]) {
        let reply = ask(&link, to, &Ask::new("www.gslb.example", "AAAA"));
        assert_eq!(reply.data(), ["2001:db8::80"]);
        assert_eq!(server.past_the_sockets(), count, "{to}");
    }
    // The client's own address decides, as it does over sockets.
    assert_eq!(ask(&link, "10.0.0.1:53", &Ask::new("app.gslb.example", "A")).data(), ["192.0.2.2"]);
    assert_eq!(ask(&link, "[fd00::1]:53", &Ask::new("app.gslb.example", "A")).data(), ["192.0.2.1"]);
    assert_eq!(server.count(Event::Query(Transport::Udp)), 4);
    assert_eq!(server.demand().answers, 2);
}

#[test]
fn what_is_no_plain_query_to_us_goes_to_the_kernel() {
    let Some(link) = Link::new() else { return };
    let server = serve(&link.server, EVERYWHERE, ETH0);
    let www = Ask::new("www.gslb.example", "A");
    // TCP; and with it ARP and neighbour discovery, which found the way.
    for to in SERVER {
        let (to, asked) = (SocketAddr::new(to.parse().expect("address"), 53), www.clone());
        assert_eq!(link.client.run(move || dns::tcp(to, &asked)).data(), ["192.0.2.80"]);
    }
    // ICMP.
    for to in SERVER {
        assert!(link.client.run(move || RawSocket::ping(to)), "{to} answers echo requests");
    }
    // Other ports.
    for at in SERVER {
        let other =
            link.server.run(move || UdpSocket::bind((at.parse::<IpAddr>().expect("address"), 5300)).expect("bind"));
        let to = other.local_addr().expect("address");
        link.client.run(move || dns::exchange_udp(to, b"hello", Duration::from_millis(1)));
        other.set_read_timeout(Some(Duration::from_secs(2))).expect("timeout");
        assert_eq!(other.recv(&mut [0; 9]).expect("a datagram"), 5, "{at}");
    }
    // Fragments: a query padded beyond the MTU (RFC 7830).
    for to in ["10.0.0.1:53", "[fd00::1]:53"] {
        assert_eq!(ask(&link, to, &www.clone().option(12, &[0; 2000])).data(), ["192.0.2.80"], "{to}");
    }
    // Options of IPv4, extension headers of IPv6.
    for to in ["10.0.0.1:53", "[fd00::1]:53"] {
        let (to, octets): (SocketAddr, _) = (to.parse().expect("address"), www.wire());
        let reply = link.client.run(move || RawSocket::exchange_with_options(to, &octets));
        assert_eq!(Reply::read(reply).data(), ["192.0.2.80"], "{to}");
    }
    assert_eq!(server.past_the_sockets(), 0, "all of these went through sockets");
    ask(&link, "10.0.0.1:53", &www);
    assert_eq!(server.past_the_sockets(), 1);
}

/// Of each family, half of what MERIDIAN_TEST_QUESTIONS asks for.
#[test]
fn replies_are_as_the_sockets_give_them_octet_for_octet() {
    let Some(link) = Link::new() else { return };
    let past = serve(&link.server, EVERYWHERE, ETH0);
    let _sockets = serve(&link.server, r#"["0.0.0.0:5353", "[::]:5353"]"#, "[]");
    let each = std::env::var("MERIDIAN_TEST_QUESTIONS").map_or(2_000, |count| count.parse().expect("a number")) / 2;
    let answered = link.client.run(move || {
        let random = fastrand::Rng::with_seed(7);
        let queries = Random(random);
        let mut answered = 0;
        for (client, server) in CLIENT.iter().zip(SERVER) {
            let connect = |port: u16| {
                let socket = UdpSocket::bind((client.parse::<IpAddr>().expect("address"), 0)).expect("bind");
                socket.connect((server.parse::<IpAddr>().expect("address"), port)).expect("connect");
                socket.set_read_timeout(Some(Duration::from_secs(5))).expect("timeout");
                socket
            };
            let ways = [connect(53), connect(5353)];
            for query in queries.clone().take(each) {
                let [past, sockets] = ways.each_ref().map(|socket| {
                    socket.send(&query).expect("send");
                    let mut reply = vec![0; 4096];
                    let length = socket.recv(&mut reply).unwrap_or_else(|error| panic!("{error}: {query:02x?}"));
                    reply.truncate(length);
                    reply
                });
                assert_eq!(past, sockets, "{query:02x?}");
                answered += 1;
            }
        }
        answered
    });
    assert_eq!(answered, 2 * each);
    assert_eq!(past.past_the_sockets(), answered as u64);
}

/// Queries of all kinds, those that do not parse among them, but none that gets no response.
#[derive(Clone)]
struct Random(fastrand::Rng);

impl Iterator for Random {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        let rng = &mut self.0;
        let names = ["www", "app", "APP", "alias", "large", "a.wild", "deep.child", "none", "a.none", ""];
        let name = match names[rng.usize(..names.len())] {
            "" => "gslb.example".to_owned(),
            "deep.child" if rng.bool() => "elsewhere.test".to_owned(),
            name => format!("{name}.gslb.example"),
        };
        let qtype = ["A", "AAAA", "TXT", "SOA", "NS", "ANY", "HTTPS"][rng.usize(..7)];
        let mut ask = Ask::new(&name, qtype);
        ask.id = rng.u16(..);
        if rng.bool() {
            ask = ask.payload([0, 512, 700, 1232, 4096][rng.usize(..5)]);
        }
        if rng.bool() {
            ask = ask.subnet(["198.51.100.0/24", "203.0.113.0/24", "2001:db8::/48"][rng.usize(..3)]);
        }
        if rng.u8(..8) == 0 {
            ask = ask.option(12, &vec![0; rng.usize(..900)]);
        }
        let mut wire = ask.wire();
        if rng.u8(..4) == 0 {
            let at = rng.usize(3..wire.len());
            wire[at] ^= 1 << rng.u8(..8);
        }
        Some(wire)
    }
}

#[test]
fn a_vlan_tag_is_kept_in_the_reply() {
    let Some(link) = Link::new() else { return };
    let server = serve(&link.server, EVERYWHERE, ETH0);
    let query = Ask::new("www.gslb.example", "A").wire();
    for (family, tag) in [(0, Some(7)), (1, Some(7)), (0, None)] {
        let (from, to): (IpAddr, IpAddr) =
            (CLIENT[family].parse().expect("address"), SERVER[family].parse().expect("address"));
        let query = query.clone();
        let reply = link.client.run(move || {
            let socket = RawSocket::on("eth0");
            socket.send(&RawSocket::datagram(CLIENT_MAC, SERVER_MAC, tag, (from, 5353), (to, 53), &query));
            socket.receive_from(53)
        });
        assert_eq!(reply.tag, tag, "{to}");
        assert_eq!(Reply::read(reply.message).data(), ["192.0.2.80"]);
    }
    assert_eq!(server.past_the_sockets(), 3);
}

#[test]
fn frames_to_others_and_damaged_ones_are_not_answered() {
    let Some(link) = Link::new() else { return };
    let server = serve(&link.server, EVERYWHERE, ETH0);
    link.server.ip(&["link", "set", "eth0", "promisc", "on"]);
    let query = Ask::new("www.gslb.example", "A").wire();
    link.client.run(move || {
        let socket = RawSocket::on("eth0");
        let from = ("10.0.0.2".parse().expect("address"), 5353);
        let to = ("10.0.0.1".parse().expect("address"), 53);
        let good = RawSocket::datagram(CLIENT_MAC, SERVER_MAC, None, from, to, &query);
        let mut to_another = good.clone();
        to_another[5] = 9;
        let mut damaged = good.clone();
        *damaged.last_mut().expect("an octet") ^= 1;
        let (port_0, loopback) = ((from.0, 0), ("127.0.0.1".parse().expect("address"), 5353));
        let from_port_0 = RawSocket::datagram(CLIENT_MAC, SERVER_MAC, None, port_0, to, &query);
        let from_loopback = RawSocket::datagram(CLIENT_MAC, SERVER_MAC, None, loopback, to, &query);
        for frame in [to_another, damaged, from_port_0, from_loopback, good] {
            socket.send(&frame);
        }
        assert_eq!(Reply::read(socket.receive_from(53).message).data(), ["192.0.2.80"]);
    });
    assert_eq!(server.past_the_sockets(), 3, "the damaged one, that from port 0, and the good one");
    assert_eq!(server.count(Event::Dropped(DropReason::Checksum)), 1);
    assert_eq!(server.count(Event::Dropped(DropReason::SourcePort)), 1);
}

#[test]
fn where_the_driver_cannot_the_kernels_stack_does() {
    let Some(link) = Link::new() else { return };
    // Larger than veth can have with a program in the driver.
    for machine in [&link.server, &link.client] {
        machine.ip(&["link", "set", "eth0", "mtu", "9000"]);
    }
    let server = serve(&link.server, EVERYWHERE, ETH0);
    assert!(link.server.ip(&["link", "show", "eth0"]).contains("xdpgeneric"));
    for to in ["10.0.0.1:53", "[fd00::1]:53"] {
        assert_eq!(ask(&link, to, &Ask::new("www.gslb.example", "A")).data(), ["192.0.2.80"]);
    }
    assert_eq!(server.past_the_sockets(), 2);
}

#[test]
fn an_interface_that_is_not_there_leaves_the_sockets() {
    let server = {
        let folder = tempfile::tempdir().expect("a folder");
        main_file(folder.path(), r#"["127.0.0.1:0"]"#, r#"[{ interface = "none0" }]"#);
        Server::start_in(folder)
    };
    assert_eq!(server.query("www.gslb.example", "A").data(), ["192.0.2.80"]);
    assert_eq!(server.past_the_sockets(), 0);
}

#[test]
fn addresses_that_come_and_go_are_followed() {
    let Some(link) = Link::new() else { return };
    let server = serve(&link.server, EVERYWHERE, ETH0);
    let www = Ask::new("www.gslb.example", "A");
    link.client.ip(&["route", "add", "10.9.0.1/32", "via", SERVER[0]]);
    link.server.ip(&["address", "add", "10.9.0.1/32", "dev", "lo"]);
    wait_until("the new address is answered past the sockets", Duration::from_secs(10), || {
        let before = server.past_the_sockets();
        // Answered all the time: at first by the sockets.
        assert_eq!(ask(&link, "10.9.0.1:53", &www).data(), ["192.0.2.80"]);
        server.past_the_sockets() > before
    });
    link.server.ip(&["address", "del", "10.9.0.1/32", "dev", "lo"]);
    wait_until("the address that went is not answered", Duration::from_secs(10), || {
        let octets = www.wire();
        let to: SocketAddr = "10.9.0.1:53".parse().expect("address");
        link.client.run(move || dns::exchange_udp(to, &octets, Duration::from_millis(100))).is_none()
    });
}

#[test]
fn a_killed_server_leaves_nothing_behind_and_a_running_one_has_no_privileges() {
    let Some(link) = Link::new() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    main_file(folder.path(), EVERYWHERE, ETH0);
    let path = folder.path().to_owned();
    let mut server = link.server.run(move || {
        let arguments = ["serve", "--config", path.join("meridian.toml").to_str().expect("a path")].map(str::to_owned);
        Running::start(Path::new(env!("CARGO_BIN_EXE_meridian")), &arguments, &path.join("log"))
    });
    let log = || std::fs::read_to_string(folder.path().join("log")).unwrap_or_default();
    wait_until("it answers", Duration::from_secs(20), || log().contains("answering"));
    assert!(link.server.ip(&["link", "show", "eth0"]).contains("xdp"), "{}", log());
    assert_eq!(ask(&link, "10.0.0.1:53", &Ask::new("www.gslb.example", "A")).data(), ["192.0.2.80"]);
    // What takes effect later works without privileges.
    link.server.ip(&["address", "add", "10.0.0.9/24", "dev", "eth0"]);
    let tasks = std::fs::read_dir(format!("/proc/{}/task", server.id())).expect("threads");
    for task in tasks {
        let mut status = String::new();
        let path = task.expect("a thread").path().join("status");
        std::fs::File::open(path).and_then(|mut file| file.read_to_string(&mut status)).expect("its status");
        let capabilities = status.lines().find_map(|line| line.strip_prefix("CapPrm:")).expect("capabilities");
        // CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH.
        assert_eq!(u64::from_str_radix(capabilities.trim(), 16).expect("hexadecimal") & !0b110, 0, "{status}");
    }
    std::thread::sleep(Duration::from_millis(2_500));
    assert!(!log().contains("left to the sockets"), "{}", log());
    server.kill();
    wait_until("the program is gone", Duration::from_secs(5), || {
        !link.server.ip(&["link", "show", "eth0"]).contains("xdp")
    });
}

#[test]
fn a_second_server_is_told_and_serves_by_its_sockets() {
    let Some(link) = Link::new() else { return };
    let first = serve(&link.server, EVERYWHERE, ETH0);
    let second = serve(&link.server, r#"["0.0.0.0:5353"]"#, ETH0);
    for (to, past) in [("10.0.0.1:53", 1), ("10.0.0.1:5353", 1)] {
        assert_eq!(ask(&link, to, &Ask::new("www.gslb.example", "A")).data(), ["192.0.2.80"]);
        assert_eq!((first.past_the_sockets(), second.past_the_sockets()), (past, 0));
    }
    drop(first);
    assert!(!link.server.ip(&["link", "show", "eth0"]).contains("xdp"), "it leaves with its server");
}

/// Gives a message back with QR set; is silent to one that has it, and panics at `boom`.
struct Mirror;

impl Responder for Mirror {
    type Batch<'a> = ();

    fn begin(&self) {}

    fn answer(_: &(), packet: &[u8], _: Client, out: &mut [u8], _: &Counters) -> usize {
        assert_ne!(packet, b"boom", "asked to panic");
        if packet[2] & 0x80 != 0 {
            return 0;
        }
        out[..packet.len()].copy_from_slice(packet);
        out[2] |= 0x80;
        packet.len()
    }
}

#[test]
fn frames_go_round_and_a_panic_costs_one_packet() {
    let Some(link) = Link::new() else { return };
    let (counters, running) = link.server.run(|| {
        let interface = XdpInterface { name: "eth0".into(), queues: Queues::All, kernel_answers: false };
        let server =
            XdpServer::open(&[interface], &["10.0.0.1:53".parse().expect("address")], &mut KernelSetup::default());
        let counters = CounterSet::new();
        let running = server.start(&Arc::new(Mirror), &counters, &[]).expect("threads");
        (counters, running)
    });
    link.client.run(|| {
        let socket = UdpSocket::bind("10.0.0.2:0").expect("bind");
        socket.connect("10.0.0.1:53").expect("connect");
        socket.set_read_timeout(Some(Duration::from_secs(5))).expect("timeout");
        let exchange = |message: &[u8]| {
            socket.send(message).expect("send");
            socket.recv(&mut [0; 99]).expect("a reply")
        };
        exchange(b"hello");
        // More than there are frames, answered and not.
        for _ in 0..200 {
            (0..25).for_each(|_| drop(socket.send(b"hi\x80 there")));
            assert_eq!((0..25).map(|_| exchange(b"hello")).sum::<usize>(), 125);
        }
        (0..3).for_each(|_| drop(socket.send(b"boom")));
        assert_eq!(exchange(b"hello"), 5);
    });
    let totals = counters.total();
    assert_eq!(totals.get(Event::Panicked), 3);
    assert_eq!(totals.get(Event::Query(Transport::Udp)), 1 + 200 * 50 + 3 + 1);
    drop(running);
    assert!(!link.server.ip(&["link", "show", "eth0"]).contains("xdp"), "it leaves with its threads");
}
