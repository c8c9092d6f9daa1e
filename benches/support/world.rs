//! What benchmarks of packets share: a zone of every kind of name, served as in production over a
//! generated City database of 2 million networks, the one `benches/atlas.rs` measures; clients all
//! over it; and queries as resolvers send them.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fastrand::Rng;
use meridian::atlas::{Atlas, Database};
use meridian::control::clock;
use meridian::control::config::{self, Files};
use meridian::model::{Model, Name};
use meridian::query::{Client, Transport};
use meridian::state::{Publisher, Snapshot};

use super::databases;

pub const CLIENTS: usize = 4_096;

/// Where all queries come from.
pub const RESOLVER: Client = Client { address: IpAddr::V4(Ipv4Addr::LOCALHOST), transport: Transport::Udp };

const ZONE: &str = r#"
origin  = "gslb.example.com"
records = """
@         SOA  ns1 hostmaster 1 1h 10m 1w 60
@         NS   ns1
@         NS   ns2
ns1       A    198.51.100.53
ns2       A    203.0.113.53
static    A    192.0.2.80
child     NS   ns1.child
child     NS   ns2.child
ns1.child A    192.0.2.53
ns2.child A    192.0.2.54
$GENERATE 1-10000 host-$ A 192.0.2.1
"""

[region.seoul]
location  = { country = "KR", latitude = 37.57, longitude = 126.98 }
endpoints = [{ address = ["203.0.113.10", "2001:db8:1::10"], weight = 4 }, { address = "203.0.113.11" }]

[region.virginia]
location  = { country = "US", latitude = 39.04, longitude = -77.49 }
endpoints = [{ address = ["203.0.113.20", "2001:db8:2::10"] }]

[region.frankfurt]
location  = { country = "DE", latitude = 50.11, longitude = 8.68 }
endpoints = [{ address = ["203.0.113.30", "2001:db8:3::10"] }]

[region.oregon]
location  = { country = "US", latitude = 45.84, longitude = -119.7 }
endpoints = [{ host = "lb.example.net." }]

[service.www]
policy  = "score"
regions = ["seoul", "virginia", "frankfurt"]
https   = { alpn = ["h2", "h3"] }

[service.geo]
policy  = "geo"
regions = ["seoul", "virginia", "frankfurt"]
geo     = { continent = { AS = ["seoul"], NA = ["virginia"] }, default = ["frankfurt"] }

[service.shares]
policy  = "weighted"
regions = ["seoul", "virginia", "frankfurt"]

[service.host]
policy  = "failover"
regions = ["oregon"]
"#;

/// A snapshot over a database of this many networks, whose file is kept from run to run.
pub fn snapshot(v4: usize, v6: usize) -> Arc<Snapshot> {
    let file = databases::file("city", v4, v6, databases::city_record);
    let city = Database::read(&file).expect("the database");
    let atlas = Atlas::build(&[city], &[]).expect("an atlas");
    Publisher::new(model(), atlas, "", 0, BTreeMap::new(), clock::read()).shared().load_full()
}

/// The same ones every time.
pub fn clients() -> Vec<IpAddr> {
    let mut rng = Rng::with_seed(7);
    (0..CLIENTS).map(|_| databases::v4_address(&mut rng)).collect()
}

/// A query as resolvers send it: with EDNS, and perhaps the client's /24.
pub fn query(name: &str, qtype: u16, client: Option<IpAddr>) -> Vec<u8> {
    let mut packet = vec![0x4d, 0x52, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1];
    packet.extend(Name::parse_absolute(name).expect("a name").as_wire());
    packet.extend(qtype.to_be_bytes());
    packet.extend([0, 1, 0, 0, 41, 0x04, 0xd0, 0, 0, 0, 0]);
    match client {
        Some(IpAddr::V4(client)) => {
            packet.extend([0, 11, 0, 8, 0, 7, 0, 1, 24, 0]);
            packet.extend(&client.octets()[..3]);
        }
        _ => packet.extend([0, 0]),
    }
    packet
}

/// The zone as the only file of a configuration.
struct OneZone;

impl Files for OneZone {
    fn read(&self, path: &Path) -> std::io::Result<String> {
        Ok(if path.ends_with("meridian.toml") { String::new() } else { ZONE.to_owned() })
    }

    fn list(&self, _: &Path) -> std::io::Result<Vec<PathBuf>> {
        Ok(vec!["zones/gslb.example.com.toml".into()])
    }
}

fn model() -> Model {
    let loaded = config::load_from(&OneZone, Path::new("meridian.toml"));
    loaded.unwrap_or_else(|mistakes| panic!("{mistakes:#?}")).model
}
