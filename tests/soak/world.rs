//! The configuration of the soak, at any edition, and which region an address is of.
//!
//! All zones have the edition as their serial and in their records, so that an answer tells which files it is from:
//!
//! - `gslb.example`: services decided each in another way, over regions that are probed and tell their load
//! - `open.example`: a service with two IPv4 addresses and an IPv6 address per region, other ones at each edition;
//!   nothing is probed, and operators take regions away
//! - `notes0.example`, `notes1.example`: records that are always edited together

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use crate::databases;

/// Regions that tell their load. The last is not probed, and so always up: no service is ever without one.
pub const PROBED: usize = 4;
/// Regions that are not. The last is never touched.
pub const OPEN: usize = 3;
pub const REGIONS: usize = PROBED + OPEN;
/// Of the first edition.
pub const FIRST: u32 = 1;
/// In files that must never be taken: beyond all editions.
pub const POISON: u32 = 4_000_000_000;
/// What is asked about in `gslb.example`, and the most regions in one answer.
pub const SERVICES: [(&str, usize); 8] =
    [("near", 1), ("cheap", 1), ("idle", 1), ("some", 1), ("order", 1), ("shares", 1), ("lists", 1), ("several", 2)];
/// Of answers with addresses.
pub const TTLS: std::ops::RangeInclusive<u32> = 5..=30;
/// So many addresses of `open.example` before they come again.
const OPEN_EDITIONS: u32 = 250;

pub fn write(folder: &Path, port: u16) {
    std::fs::create_dir(folder.join("zones")).expect("a folder");
    std::fs::write(folder.join("meridian.toml"), main(FIRST)).expect("written");
    std::fs::write(folder.join("geo.mmdb"), database(0)).expect("written");
    for (name, text) in zones(FIRST, port) {
        std::fs::write(folder.join("zones").join(name), text).expect("written");
    }
}

/// One of two databases.
pub fn database(which: u32) -> Vec<u8> {
    let networks = if cfg!(debug_assertions) { 1_000 } else { 20_000 } + which as usize * 50;
    databases::database("soak", networks * 3 / 4, networks / 4, databases::city_record)
}

pub fn main(edition: u32) -> String {
    format!(
        "# edition {edition}\nlisten = {{ dns = \"127.0.0.1:0\", admin = \"127.0.0.1:0\" }}\nthreads = 2\n\
         geoip = [\"geo.mmdb\"]\nsteering.max_withdrawn = {{ share = 0.75, window = \"1s\" }}\n\
         steering.damping = {{ half_life = \"1s\" }}\n"
    )
}

/// File names and texts.
pub fn zones(edition: u32, port: u16) -> Vec<(String, String)> {
    let notes = (0..2).map(|number| (format!("notes{number}.example.toml"), notes(number, edition)));
    let steered = [("gslb.example.toml", gslb(edition, port)), ("open.example.toml", open(edition))];
    steered.into_iter().map(|(name, text)| (name.to_owned(), text)).chain(notes).collect()
}

fn head(origin: &str, edition: u32) -> String {
    format!(
        "origin = \"{origin}\"\nrecords = \"\"\"\n@ SOA ns1 hostmaster {edition} 1h 10m 1w 60\n@ NS ns1\n@ NS ns2\n\
         ns1 A 192.0.2.53\nns2 A 198.51.100.53\n"
    )
}

fn notes(number: u32, edition: u32) -> String {
    let mut text = head(&format!("notes{number}.example"), edition);
    let _ = writeln!(text, "pair TXT \"a={edition}\"\npair TXT \"b={edition}\"\none TXT \"{edition}\"");
    let _ = writeln!(text, "at CNAME t-{edition}\nt-{edition} TXT \"{edition}\"\n\"\"\"");
    text
}

fn gslb(edition: u32, port: u16) -> String {
    let mut text = head("gslb.example", edition) + "\"\"\"\n";
    let places = [(39.0, -77.5, "US"), (50.1, 8.7, "DE"), (37.6, 127.0, "KR"), (-23.5, -46.6, "BR")];
    for (region, (latitude, longitude, country)) in places.into_iter().enumerate() {
        let address = probed_address(region);
        let pace = "interval = \"300ms\", timeout = \"400ms\", fall = 2, rise = 2";
        let check = match region {
            2 => format!("check.tcp = {{ port = {port}, {pace} }}\nslow_start = \"2s\""),
            3 => String::new(),
            _ => format!("check.http = {{ url = \"http://{{address}}:{port}/health\", {pace} }}\nslow_start = \"2s\""),
        };
        let _ = writeln!(
            text,
            "[region.r{region}]\nlocation = {{ country = \"{country}\", latitude = {latitude}, longitude = {longitude} }}\n\
             endpoints = [{{ address = \"{address}\" }}]\ncost = {region}\n{check}\n\
             load_report.json = {{ url = \"http://{{address}}:{port}/load\", load = \"/load\", capacity = \"/capacity\", \
             interval = \"500ms\", timeout = \"400ms\" }}"
        );
    }
    // Another weight at each edition: plans are made anew.
    let latency = 0.5 + f64::from(edition % 7) * 0.01;
    let all = "[\"r0\", \"r1\", \"r2\", \"r3\"]";
    let _ = write!(
        text,
        "[service.near]\npolicy = \"nearest\"\nregions = {all}\n\
         [service.cheap]\nregions = {all}\nweights = {{ latency = {latency}, load = 0.1, cost = 5 }}\n\
         [service.idle]\nregions = {all}\nweights = {{ latency = {latency}, load = 2, cost = 0 }}\n\
         [service.some]\nregions = [\"r1\", \"r3\"]\nweights = {{ latency = 0.3, load = 0.3, cost = 0.1 }}\n\
         [service.order]\npolicy = \"failover\"\nregions = {all}\n\
         [service.shares]\npolicy = \"weighted\"\nregions = {{ r0 = 3, r1 = 2, r2 = 2, r3 = 1 }}\n\
         [service.lists]\npolicy = \"geo\"\nregions = {all}\ngeo = {{ default = [\"r2\", \"r3\"], country = {{ US = [\"r0\"], DE = [\"r1\"] }} }}\n\
         [service.several]\npolicy = \"multi\"\nregions = {all}\nanswers = 2\n"
    );
    text
}

fn open(edition: u32) -> String {
    let mut text = head("open.example", edition) + "\"\"\"\n";
    for (region, country) in ["US", "DE", "KR"].into_iter().enumerate() {
        let number = edition % OPEN_EDITIONS;
        let _ = writeln!(
            text,
            "[region.o{region}]\nlocation = {{ country = \"{country}\" }}\n\
             endpoints = [{{ address = [\"10.{region}.{number}.1\", \"10.{region}.{number}.2\", \"2001:db8:{region}:{number}::1\"] }}]"
        );
    }
    text + "[service.www]\npolicy = \"weighted\"\nregions = { o0 = 5, o1 = 3, o2 = 2 }\n"
}

pub fn probed_address(region: usize) -> Ipv4Addr {
    Ipv4Addr::new(127, 41 + region as u8, 0, 1)
}

/// The region that an address is of, as all regions are numbered, and its edition where it has one.
pub fn region_of(address: IpAddr) -> Option<(usize, Option<u32>)> {
    match address {
        IpAddr::V4(v4) => match v4.octets() {
            [127, number, 0, 1] => {
                (0..PROBED).find(|region| 41 + *region == usize::from(number)).map(|region| (region, None))
            }
            [10, region, edition, 1 | 2] => open_region(region.into(), edition.into()),
            _ => None,
        },
        IpAddr::V6(v6) => match v6.segments() {
            // Decimal digits in the file.
            [0x2001, 0xdb8, region, edition, 0, 0, 0, 1] => open_region(region, format!("{edition:x}").parse().ok()?),
            _ => None,
        },
    }
}

fn open_region(region: u16, edition: u32) -> Option<(usize, Option<u32>)> {
    (usize::from(region) < OPEN).then_some((PROBED + usize::from(region), Some(edition)))
}

/// Tells whether an address of `open.example` may be of one of these editions.
pub fn is_of_one(number: u32, editions: std::ops::RangeInclusive<u32>) -> bool {
    editions.into_iter().any(|edition| edition % OPEN_EDITIONS == number)
}

/// The name that operators know a region by.
pub fn name_of(region: usize) -> String {
    match region.checked_sub(PROBED) {
        None => format!("r{region}@gslb.example"),
        Some(open) => format!("o{open}@open.example"),
    }
}
