//! What the targets share: the world of the tests, asked by whatever octets the fuzzer comes up with, and
//! the few lines that each of them would have of its own otherwise.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

use meridian::model::Model;

use one_zone::OneZone;

#[path = "../../tests/support/dns.rs"]
#[allow(dead_code)]
pub mod dns;
#[path = "../../tests/support/frames.rs"]
pub mod frames;
#[path = "../../tests/support/one_zone.rs"]
#[allow(dead_code)]
pub mod one_zone;
#[path = "../../tests/support/packets.rs"]
#[allow(dead_code)]
pub mod packets;

/// Takes the first octet off: it picks what is not in the input itself, such as a format or a client.
pub fn pick(data: &[u8]) -> Option<(usize, &[u8])> {
    data.split_first().map(|(&first, rest)| (usize::from(first), rest))
}

/// A client for each number, in places that the demo's database tells apart.
pub fn client(number: usize) -> IpAddr {
    match number % 8 {
        0 => Ipv4Addr::LOCALHOST.into(),
        1 => Ipv4Addr::new(127, 82, 0, 1).into(),
        2 => Ipv4Addr::new(127, 49, 3, 4).into(),
        3 => Ipv4Addr::new(10, 1, 2, 3).into(),
        4 => Ipv6Addr::new(0x2001, 0xdb8, 0x4900, 1, 0, 0, 0, 1).into(),
        5 => Ipv6Addr::new(0x2001, 0xdb8, 0x8200, 1, 0, 0, 0, 1).into(),
        6 => Ipv4Addr::new(127, 1, 0, 1).to_ipv6_mapped().into(),
        _ => Ipv6Addr::LOCALHOST.into(),
    }
}

/// Whether zone text may become so much that all of the time goes there: each of these can make 65,536 records, or
/// repeat a file.
pub fn multiplies(text: &str) -> bool {
    let times = |directive: &str| text.to_ascii_uppercase().matches(directive).count();
    let included = times("$INCLUDE");
    times("$GENERATE") * (1 + included) > 5 || included > 2
}

/// A folder for files that come and go with every input: in memory, where the system has such a place.
pub fn scratch() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    let made = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    made.expect("a temporary folder")
}

/// What operators and browsers ask: regions that are told their load, that browsers measure, and a service with
/// stages. A model, as the loader makes it of [`MEASURED_ZONE`].
pub fn measured_model() -> Model {
    let loaded = OneZone(MEASURED_ZONE.to_owned()).load();
    loaded.unwrap_or_else(|mistakes| panic!("{mistakes:?}")).model
}

pub const MEASURED_ZONE: &str = r#"
origin = "gslb.example"
records = """
@    SOA  ns1 hostmaster 1 1h 10m 1w 60
@    NS   ns1
ns1  A    198.51.100.53
"""
[region.seoul]
location = { country = "KR", latitude = 37.57, longitude = 126.98 }
endpoints = [{ address = "192.0.2.82" }]
capacity = 100
load_report.push = { interval = "10s" }
rum.url = "http://127.0.0.1:1/rum/v1/pixel?seoul"
[region.frankfurt]
location = { country = "DE", latitude = 50.11, longitude = 8.68 }
endpoints = [{ address = "192.0.2.49" }]
rum.url = "http://127.0.0.1:1/rum/v1/pixel"
[service.www]
regions = ["seoul", "frankfurt"]
[service.shop]
active = "blue"
[service.shop.stage.blue]
regions = ["seoul"]
[service.shop.stage.green]
regions = ["frankfurt"]
"#;
