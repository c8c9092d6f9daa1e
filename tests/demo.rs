//! The demo as people meet it: ten countries, a region that breaks and comes back, a drain.
//!
//! Everything runs in this process on ports nobody uses, probed more often than in the real demo.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::rdata::opt::{EdnsCode, EdnsOption};
use hickory_proto::rr::{RData, RecordType};
use meridian::admin::client::AdminClient;
use meridian::demo::{Demo, Options};
use meridian::steer::health::effective::Override;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Between probes: a verdict takes `fall` 3 or `rise` 2 of them.
const INTERVAL: Duration = Duration::from_millis(200);

const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Telephone code of the country, and the regions a person expects.
const COUNTRIES: [(u8, &str); 12] = [
    (82, "seoul"),     // Korea
    (81, "seoul"),     // Japan
    (86, "seoul"),     // China
    (1, "virginia"),   // United States
    (49, "frankfurt"), // Germany
    (33, "frankfurt"), // France
    (44, "frankfurt"), // United Kingdom
    (20, "frankfurt"), // Egypt
    (55, "saopaulo"),  // Brazil
    (54, "saopaulo"),  // Argentina
    (61, "sydney"),    // Australia
    (64, "sydney"),    // New Zealand
];

async fn demo() -> Demo {
    let any = SocketAddr::new(LOCALHOST, 0);
    let options = Options { dns: any, admin: any, region_port: 0, interval: Some(INTERVAL) };
    Demo::start(options).await.expect("a demo on free ports")
}

/// A response, as far as these tests look.
#[derive(Debug, PartialEq)]
struct Seen {
    addresses: Vec<Ipv4Addr>,
    ttl: u32,
    scope: Option<u8>,
    rcode: ResponseCode,
}

/// Asks for an A record from this source, perhaps with a client subnet /24.
async fn ask(server: SocketAddr, name: &str, source: Ipv4Addr, subnet: Option<Ipv4Addr>) -> Seen {
    let name = name.to_owned();
    let asked = tokio::task::spawn_blocking(move || exchange(server, &query(&name, subnet), source));
    let message = Message::from_vec(&asked.await.expect("asked")).expect("a DNS message");
    let scope = message.edns.as_ref().and_then(|edns| match edns.option(EdnsCode::Subnet) {
        Some(EdnsOption::Subnet(subnet)) => Some(subnet.scope_prefix()),
        _ => None,
    });
    let addresses = message.answers.iter().filter_map(|record| match &record.data {
        RData::A(address) => Some(address.0),
        _ => None,
    });
    Seen {
        addresses: addresses.collect(),
        ttl: message.answers.first().map_or(0, |record| record.ttl),
        scope,
        rcode: message.metadata.response_code,
    }
}

fn exchange(server: SocketAddr, packet: &[u8], source: Ipv4Addr) -> Vec<u8> {
    let socket = UdpSocket::bind((source, 0)).expect("an address of 127.0.0.0/8");
    socket.set_read_timeout(Some(Duration::from_secs(5))).expect("a timeout");
    socket.send_to(packet, server).expect("sent");
    let mut buffer = [0; 1500];
    let (length, from) = socket.recv_from(&mut buffer).expect("a response");
    assert_eq!(from, server, "from the address that was asked");
    buffer[..length].to_vec()
}

fn query(name: &str, subnet: Option<Ipv4Addr>) -> Vec<u8> {
    let mut packet = vec![0x12, 0x34, 0, 0, 0, 1, 0, 0, 0, 0, 0, u8::from(subnet.is_some())];
    for label in name.split('.') {
        packet.push(u8::try_from(label.len()).expect("a label"));
        packet.extend_from_slice(label.as_bytes());
    }
    packet.push(0);
    packet.extend_from_slice(&u16::from(RecordType::A).to_be_bytes());
    packet.extend_from_slice(&[0, 1]);
    if let Some(subnet) = subnet {
        let [a, b, c, _] = subnet.octets();
        packet.extend_from_slice(&[0, 0, 41, 0x04, 0xd0, 0, 0, 0, 0, 0, 11, 0, 8, 0, 7, 0, 1, 24, 0, a, b, c]);
    }
    packet
}

fn region_address(demo: &Demo, region: &str) -> Ipv4Addr {
    match demo.balancers.iter().find(|balancer| balancer.name == region).expect(region).address.ip() {
        IpAddr::V4(address) => address,
        IpAddr::V6(_) => panic!("the demo's regions have IPv4 addresses"),
    }
}

/// The body of an HTTP response, by hand: one request, one connection.
async fn http(demo: &Demo, region: &str, request: &str) -> String {
    let address = demo.balancers.iter().find(|balancer| balancer.name == region).expect(region).address;
    let mut stream = tokio::net::TcpStream::connect(address).await.expect("connected");
    let text = format!("{request} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(text.as_bytes()).await.expect("sent");
    let mut response = String::new();
    stream.read_to_string(&mut response).await.expect("a response");
    response
}

/// Asks as a client in Korea until the answer is as wanted.
async fn until(demo: &Demo, patience: Duration, wanted: impl Fn(&Seen) -> bool) -> (Duration, Seen) {
    let began = Instant::now();
    loop {
        let seen = ask(demo.daemon.dns[0], "www.gslb.example", Ipv4Addr::new(127, 82, 0, 1), None).await;
        if wanted(&seen) {
            return (began.elapsed(), seen);
        }
        assert!(began.elapsed() < patience, "still {seen:?} after {patience:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_country_gets_the_region_a_person_expects() {
    let demo = demo().await;
    let server = demo.daemon.dns[0];
    for (code, region) in COUNTRIES {
        let expected = region_address(&demo, region);
        let client = Ipv4Addr::new(127, code, 0, 1);
        let by_source = ask(server, "www.gslb.example", client, None).await;
        assert_eq!(
            (by_source.addresses, by_source.ttl, by_source.scope),
            (vec![expected], 30, None),
            "{code} by source"
        );
        let resolver = Ipv4Addr::new(127, 0, 0, 1);
        let by_ecs = ask(server, "www.gslb.example", resolver, Some(client)).await;
        assert_eq!(by_ecs.addresses, [expected], "{code} by ECS");
        // RFC 7871 section 7.2.1: the whole country is one network of the table, or part of a wider one.
        assert!(by_ecs.scope.is_some_and(|scope| (8..=16).contains(&scope)), "{code}: {by_ecs:?}");
    }
    demo.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_zone_has_things_to_look_at() {
    let demo = demo().await;
    let (server, client) = (demo.daemon.dns[0], Ipv4Addr::new(127, 49, 0, 1));
    let frankfurt = region_address(&demo, "frankfurt");
    assert_eq!(ask(server, "docs.gslb.example", client, None).await.addresses, [frankfurt], "through a CNAME");
    assert_eq!(ask(server, "ns1.gslb.example", client, None).await.addresses, [Ipv4Addr::LOCALHOST]);
    assert_eq!(ask(server, "nowhere.gslb.example", client, None).await.rcode, ResponseCode::NXDomain);
    assert_eq!(ask(server, "www.example.com", client, None).await.rcode, ResponseCode::Refused);
    demo.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_region_loses_its_clients_and_gets_them_back() {
    let demo = demo().await;
    let seoul = region_address(&demo, "seoul");
    let response = http(&demo, "seoul", "POST /break").await;
    assert!(response.contains("fails its health check"), "{response}");
    assert!(http(&demo, "seoul", "GET /health").await.starts_with("HTTP/1.1 503"));
    assert!(http(&demo, "seoul", "GET /").await.ends_with("hello from seoul\n"), "clients it has still reach it");
    // Fall 3: one probe within an interval, the next two within a second each at most.
    let (_, moved) = until(&demo, Duration::from_secs(4), |seen| seen.addresses != [seoul]).await;
    assert_eq!((moved.addresses.len(), moved.ttl), (1, 5), "{moved:?}");
    let others = ["virginia", "frankfurt", "saopaulo", "sydney"].map(|region| region_address(&demo, region));
    assert!(others.contains(&moved.addresses[0]));

    http(&demo, "seoul", "POST /repair").await;
    let (_, back) = until(&demo, Duration::from_secs(4), |seen| seen.addresses == [seoul]).await;
    assert_eq!(back.ttl, 5, "the aftermath of 300 s");
    demo.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_set_by_hand_is_reported() {
    let demo = demo().await;
    assert!(http(&demo, "sydney", "POST /load/9900").await.contains("a load of 9900 of 10000"));
    assert!(http(&demo, "sydney", "GET /load").await.contains("\"load\":9900"));
    for wrong in ["/load/-1", "/load/x", "/load/4294967296", "/load/"] {
        let response = http(&demo, "sydney", &format!("POST {wrong}")).await;
        assert!(response.starts_with("HTTP/1.1 4"), "{wrong}: {response}");
    }
    let began = Instant::now();
    let utilisation = || {
        let snapshot = demo.daemon.shared.load();
        let id = snapshot.model.find_regions("sydney")[0];
        snapshot.states[id.index()].load.last.and_then(|figure| figure.utilisation())
    };
    while utilisation() != Some(0.99) {
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", utilisation());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    demo.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_by_the_admin_api_moves_new_clients_and_reload_keeps_it() {
    let demo = demo().await;
    let seoul = region_address(&demo, "seoul");
    let admin = AdminClient::new(demo.daemon.admin.expect("an admin API"), None).expect("a client");
    let said = admin.set_override("seoul", Override::Drain).await.expect("said");
    assert_eq!((said.region.as_str(), said.effective.as_str()), ("seoul@gslb.example", "drain"));
    let drained = ask(demo.daemon.dns[0], "www.gslb.example", Ipv4Addr::new(127, 82, 0, 1), None).await;
    assert_ne!(drained.addresses, [seoul]);
    admin.reload(false).await.expect("the embedded files load again");
    let reloaded = ask(demo.daemon.dns[0], "www.gslb.example", Ipv4Addr::new(127, 82, 0, 1), None).await;
    assert_eq!(reloaded.addresses, drained.addresses);
    admin.set_override("seoul", Override::Auto).await.expect("said");
    until(&demo, Duration::from_secs(2), |seen| seen.addresses == [seoul]).await;
    demo.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_in_use_is_named() {
    let demo = demo().await;
    let any = SocketAddr::new(LOCALHOST, 0);
    let taken = demo.balancers[0].address;
    let options = Options { dns: any, admin: any, region_port: taken.port(), interval: None };
    let mistakes = Demo::start(options).await.err().expect("the port is taken");
    assert!(mistakes[0].contains(&taken.to_string()) && mistakes[0].contains("seoul"), "{mistakes:?}");

    let dns = demo.daemon.dns[0];
    let options = Options { dns, admin: any, region_port: 0, interval: None };
    let mistakes = Demo::start(options).await.err().expect("the port is taken");
    assert!(mistakes[0].contains(&dns.to_string()), "{mistakes:?}");

    let admin = demo.daemon.admin.expect("an admin API");
    let options = Options { dns: any, admin, region_port: 0, interval: None };
    let mistakes = Demo::start(options).await.err().expect("the port is taken");
    assert!(mistakes[0].contains(&admin.to_string()), "{mistakes:?}");
    demo.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stopping_ends_and_leaves_no_socket() {
    let demo = demo().await;
    let (dns, region) = (demo.daemon.dns[0], demo.balancers[0].address);
    let began = Instant::now();
    demo.stop().await;
    assert!(began.elapsed() < Duration::from_millis(1_800), "{:?}", began.elapsed());
    UdpSocket::bind(dns).expect("the DNS port is free again");
    std::net::TcpListener::bind(region).expect("the region's port is free again");
}
