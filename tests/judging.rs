//! How probes make verdicts, over real sockets: each family of addresses by itself, and several checks as one.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use meridian::steer::health::effective::EffectiveState;
use meridian::steer::health::verdict::Verdict;

mod support;

use support::server::{Server, wait_until};

const PATIENCE: Duration = Duration::from_secs(20);

/// Something that listens at an address, or does not.
struct Door {
    address: SocketAddr,
    open: Option<Arc<AtomicBool>>,
}

impl Door {
    fn open(ip: IpAddr, port: u16) -> Door {
        let mut door = Door { address: SocketAddr::new(ip, port), open: None };
        door.reopen();
        door
    }

    fn reopen(&mut self) {
        let listener = TcpListener::bind(self.address).expect("an address");
        self.address = listener.local_addr().expect("an address");
        let open = Arc::new(AtomicBool::new(true));
        self.open = Some(open.clone());
        std::thread::spawn(move || {
            listener.incoming().take_while(|_| open.load(Ordering::SeqCst)).for_each(drop);
        });
    }

    /// From now on connections are refused.
    fn close(&mut self) {
        if let Some(open) = self.open.take() {
            open.store(false, Ordering::SeqCst);
            // It notices with the next one that comes.
            let _ = std::net::TcpStream::connect(self.address);
            while std::net::TcpStream::connect(self.address).is_ok() {}
        }
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.close();
    }
}

fn ip(number: u8) -> IpAddr {
    Ipv4Addr::new(127, 88, 1, number).into()
}

/// A zone with these regions and a service `www` that takes the first that is up.
fn zone(regions: &[(&str, String)]) -> String {
    let text = regions.iter().enumerate().map(|(number, (name, text))| {
        format!("[region.{name}]\nlocation = {{ latitude = 0, longitude = {number} }}\nslow_start = \"0s\"\n{text}\n")
    });
    let names: Vec<&str> = regions.iter().map(|(name, _)| *name).collect();
    format!(
        "origin = \"gslb.example\"\nrecords = \"\"\"\n@ SOA ns1 hostmaster 1 1h 10m 1w 60\n@ 300 NS ns1\n\
         @ 300 NS ns2.example.net.\nns1 3600 A 192.0.2.53\n\"\"\"\n{}\
         [service.www]\nregions = {names:?}\npolicy = \"failover\"\n",
        text.collect::<String>()
    )
}

const PACE: &str = "interval = \"100ms\", timeout = \"5s\", fall = 2, rise = 1";

fn verdicts(server: &Server, region: &str) -> (Verdict, Option<Verdict>) {
    let snapshot = server.snapshot();
    let id = snapshot.model.find_regions(region)[0];
    let state = &snapshot.states[id.index()];
    (state.verdict, state.ipv6)
}

#[test]
fn ipv6_that_refuses_costs_its_aaaa_answers_alone_and_ipv4_that_refuses_the_region() {
    let mut v6 = Door::open(Ipv6Addr::LOCALHOST.into(), 0);
    let port = v6.address.port();
    let (mut v4, _other) = (Door::open(ip(1), port), Door::open(ip(2), port));
    let region = |addresses: &str| {
        format!("endpoints = [{{ address = [{addresses}] }}]\ncheck.tcp = {{ port = {port}, {PACE} }}")
    };
    let zone = zone(&[("both", region("\"127.88.1.1\", \"::1\"")), ("spare", region("\"127.88.1.2\""))]);
    let server = Server::start("", &[("gslb.example.toml", &zone)]);
    let asked = |qtype: &str| server.query("www.gslb.example", qtype).data();
    wait_until("both up", PATIENCE, || verdicts(&server, "both") == (Verdict::Up, Some(Verdict::Up)));
    assert_eq!((asked("A"), asked("AAAA")), (vec!["127.88.1.1".to_owned()], vec!["::1".to_owned()]));

    v6.close();
    wait_until("IPv6 down", PATIENCE, || verdicts(&server, "both").1 == Some(Verdict::Down));
    assert_eq!(server.effective("both@gslb.example"), EffectiveState::Up);
    assert_eq!(asked("A"), ["127.88.1.1"]);
    let empty = server.query("www.gslb.example", "AAAA");
    assert!(empty.data().is_empty() && !empty.authority().is_empty(), "NODATA, RFC 2308 section 2.2: {empty:?}");

    v6.reopen();
    wait_until("IPv6 up", PATIENCE, || verdicts(&server, "both").1 == Some(Verdict::Up));
    assert_eq!(asked("AAAA"), ["::1"]);

    v4.close();
    wait_until("IPv4 down", PATIENCE, || server.effective("both@gslb.example") == EffectiveState::Down);
    assert_eq!((asked("A"), asked("AAAA")), (vec!["127.88.1.2".to_owned()], vec![]), "families never disagree");
}

#[test]
fn several_checks_make_one_verdict_and_one_that_is_watched_has_no_say() {
    let (mut one, mut two, mut watched) = (Door::open(ip(3), 0), Door::open(ip(3), 0), Door::open(ip(3), 0));
    let spare = Door::open(ip(4), 0);
    let tcp = |of: &Door| format!("tcp = {{ port = {}, {PACE} }}", of.address.port());
    let checks = format!(
        "check.of = [{{ {} }}, {{ name = \"cache\", {} }}, {{ role = \"watch_only\", {} }}]\ncheck.at_least = 1",
        tcp(&one),
        tcp(&two),
        tcp(&watched)
    );
    let zone = zone(&[
        ("first", format!("endpoints = [{{ address = \"127.88.1.3\" }}]\n{checks}")),
        ("spare", format!("endpoints = [{{ address = \"127.88.1.4\" }}]\ncheck.{}", tcp(&spare))),
    ]);
    let server = Server::start("", &[("gslb.example.toml", &zone)]);
    let seen = |check: &str| {
        let snapshot = server.snapshot();
        let id = snapshot.model.find_regions("first")[0];
        let probes = &snapshot.states[id.index()].endpoints[0].probes;
        probes.iter().find(|(id, _)| *id.check == *check).expect("one so called").1.verdict
    };
    wait_until("all up", PATIENCE, || ["tcp", "cache", "tcp-2"].map(seen) == [Some(Verdict::Up); 3]);
    watched.close();
    wait_until("the watched one down", PATIENCE, || seen("tcp-2") == Some(Verdict::Down));
    one.close();
    wait_until("one of two down", PATIENCE, || seen("tcp") == Some(Verdict::Down));
    assert_eq!(server.effective("first@gslb.example"), EffectiveState::Up);
    assert_eq!(server.query("www.gslb.example", "A").data(), ["127.88.1.3"]);
    two.close();
    wait_until("down", PATIENCE, || server.effective("first@gslb.example") == EffectiveState::Down);
    let snapshot = server.snapshot();
    let id = snapshot.model.find_regions("first")[0];
    let told = snapshot.states[id.index()].endpoints[0].last_probe.clone();
    assert!(told == "tcp: connection refused" || told == "cache: connection refused", "{told}");
    assert_eq!(server.query("www.gslb.example", "A").data(), ["127.88.1.4"]);
}
