//! A real resolver in between: unbound follows the parent zone's delegation to Meridian, sends the
//! client's network along, and shares answers as widely as their scope says.
//!
//! A delegation names no port, so both servers listen on port 53 of loopback addresses of their
//! own: where that takes a right this process has not, or unbound is not installed, the test is skipped.
//!
//! ```text
//!   client ─▶ unbound ─┬▶ 127.53.N.1  zone example: gslb.example NS ns1.gslb.example
//!                      └▶ 127.53.N.2  zone gslb.example: Meridian, with ECS
//! ```

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::time::Duration;

use hickory_proto::op::ResponseCode;
use meridian::query::counters::Event;

mod support;

use support::dns::{self, Ask, Reply};
use support::server::{Server, wait_until};
use support::tools::{self, Need, Running};

const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// `PARENT` and `CHILD` stand for the servers' addresses.
const PARENT_ZONE: &str = r#"
origin = "example"
records = """
@        SOA ns1 hostmaster 1 1h 10m 1w 60
@        NS  ns1
ns1      A   PARENT
gslb     NS  ns1.gslb
ns1.gslb A   CHILD
"""
"#;

const CHILD_ZONE: &str = r#"
origin = "gslb.example"
records = """
@     SOA   ns1 hostmaster 1 1h 10m 1w 60
@     NS    ns1
ns1   A     CHILD
alias CNAME www
"""

[region.seoul]
location  = { country = "KR", latitude = 37.57, longitude = 126.98 }
endpoints = [{ address = ["203.0.113.82", "2001:db8:82::1"] }]

[region.frankfurt]
location  = { country = "DE", latitude = 50.11, longitude = 8.68 }
endpoints = [{ address = ["203.0.113.49", "2001:db8:49::1"] }]

[service.www]
policy  = "score"
regions = ["seoul", "frankfurt"]
"#;

/// Parent, Meridian and the resolver between them and us.
struct Lab {
    resolver: SocketAddr,
    meridian: Server,
    _parent: Server,
    _unbound: Running,
}

impl Lab {
    fn start() -> Option<Lab> {
        let unbound = tools::find("unbound")?;
        // Another run of this test on this machine has another number.
        let third = (std::process::id() % 250 + 1) as u8;
        let [parent, child] = [1, 2].map(|last| Ipv4Addr::new(127, 53, third, last));
        if !may_listen(parent) {
            tools::skip(Need::Port53, "port 53 of loopback addresses takes a right that this process has not");
            return None;
        }
        let filled = |zone: &str| zone.replace("PARENT", &parent.to_string()).replace("CHILD", &child.to_string());
        let at = |address| format!("{address}:53");
        let above = Server::start_at(&[&at(parent)], "", &[("example.toml", &filled(PARENT_ZONE))]);
        let meridian = Server::start_at(&[&at(child)], "", &[("gslb.example.toml", &filled(CHILD_ZONE))]);
        let resolver = SocketAddr::new(LOCAL, tools::free_port(LOCAL));
        let config = configure(meridian.folder(), resolver, parent, child);
        let log = meridian.folder().join("unbound.log");
        let mut running = Running::start(&unbound, &["-d", "-c", &config], &log);
        wait_until("unbound answers", Duration::from_secs(10), || {
            assert!(!running.has_ended(), "{}", std::fs::read_to_string(&log).unwrap_or_default());
            let ready = dns::exchange_udp(resolver, &Ask::new("example", "SOA").wire(), Duration::from_millis(500));
            ready.is_some_and(|octets| Reply::read(octets).answers().len() == 1)
        });
        Some(Lab { resolver, meridian, _parent: above, _unbound: running })
    }

    /// What the resolver says to a client in this network.
    fn ask(&self, name: &str, qtype: &str, subnet: &str) -> Reply {
        let reply = dns::udp(self.resolver, &Ask::new(name, qtype).subnet(subnet));
        assert_eq!(reply.rcode(), ResponseCode::NoError, "{name} {qtype} for {subnet}");
        reply
    }

    /// Queries that have reached Meridian with the client's network.
    fn seen(&self) -> u64 {
        self.meridian.count(Event::Ecs)
    }
}

fn may_listen(address: Ipv4Addr) -> bool {
    match UdpSocket::bind((address, 53)) {
        Ok(_) => true,
        Err(error) if error.kind() == ErrorKind::PermissionDenied => false,
        Err(error) => panic!("{address}:53: {error}"),
    }
}

/// Writes unbound's configuration; gives its path.
fn configure(folder: &Path, resolver: SocketAddr, parent: Ipv4Addr, child: Ipv4Addr) -> String {
    let (address, port, here) = (resolver.ip(), resolver.port(), folder.display());
    let text = format!(
        r#"
server:
  interface: {address}@{port}
  access-control: 127.0.0.0/8 allow
  do-not-query-localhost: no
  username: ""
  chroot: ""
  directory: "{here}"
  pidfile: "{here}/unbound.pid"
  use-syslog: no
  do-daemonize: no
  do-ip6: no
  num-threads: 1
  module-config: "subnetcache iterator"
  send-client-subnet: {child}
  max-client-subnet-ipv4: 24
  max-client-subnet-ipv6: 56
  qname-minimisation: yes
  use-caps-for-id: yes
  harden-below-nxdomain: yes
remote-control:
  control-enable: no
stub-zone:
  name: "example"
  stub-addr: {parent}
  stub-prime: no
"#
    );
    let path = folder.join("unbound.conf");
    std::fs::write(&path, text).expect("a file");
    path.display().to_string()
}

#[test]
fn unbound_resolves_through_the_delegation_and_caches_by_scope() {
    let Some(lab) = Lab::start() else { return };
    let before = lab.seen();
    let korea = lab.ask("www.gslb.example", "A", "127.82.5.0/24");
    assert_eq!((korea.data(), korea.scope()), (vec!["203.0.113.82".to_owned()], Some(16)));
    let first = lab.seen();
    assert!(first > before, "the client's network came along");

    // RFC 7871 section 7.3.1: another network of the same /16 shares the answer ...
    assert_eq!(lab.ask("www.gslb.example", "A", "127.82.77.0/24").data(), ["203.0.113.82"]);
    assert_eq!(lab.seen(), first, "answered from the resolver's cache");

    // ... and one outside it does not.
    assert_eq!(lab.ask("www.gslb.example", "A", "127.49.5.0/24").data(), ["203.0.113.49"]);
    assert_eq!(lab.seen(), first + 1);
    assert_eq!(lab.ask("www.gslb.example", "A", "127.82.5.0/24").data(), ["203.0.113.82"]);
    assert_eq!(lab.ask("www.gslb.example", "A", "127.49.9.0/24").data(), ["203.0.113.49"]);
    assert_eq!(lab.seen(), first + 1, "both are in the cache, apart");

    for (subnet, region) in [("127.82.5.0/24", "2001:db8:82::1"), ("127.49.5.0/24", "2001:db8:49::1")] {
        assert_eq!(lab.ask("www.gslb.example", "AAAA", subnet).data(), [region]);
        let alias = lab.ask("alias.gslb.example", "AAAA", subnet);
        assert_eq!(alias.answers().len(), 2);
        assert!(alias.data().contains(&region.to_owned()), "{:?}", alias.data());
    }
    let missing = dns::udp(lab.resolver, &Ask::new("missing.gslb.example", "A"));
    assert_eq!(missing.rcode(), ResponseCode::NXDomain);
    let no_data = dns::udp(lab.resolver, &Ask::new("alias.gslb.example", "TXT"));
    assert_eq!((no_data.rcode(), no_data.answers().len()), (ResponseCode::NoError, 1));
}
