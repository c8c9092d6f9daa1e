//! A reload that reads only what changed answers as a server that reads everything afresh: zones are edited at random,
//! and after each edit both are asked the same questions, answered octet by octet alike. Mistakes and warnings are the
//! same ones, too.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use fastrand::Rng;
use meridian::atlas::Atlas;
use meridian::control::clock;
use meridian::control::config::{self, Loaded, Loader};
use meridian::control::diagnostic::Diagnostic;
use meridian::model::Name;
use meridian::query::counters::{CounterSet, Counters};
use meridian::query::{Client, Transport, answer, answer_in_full};
use meridian::state::{News, Publisher, Replacement, Snapshot};

const ROUNDS: u64 = 20;
const EDITS: usize = 12;
const NAMES: [&str; 16] = [
    "@", "a", "b", "a.b", "*.b", "c.a.b", "*", "sub", "x.sub", "ns.sub", "y.x.sub", "d", "y.d", "m.n.o", "n.o", "*.n.o",
];
const TYPES: [&str; 9] = ["A", "A", "AAAA", "TXT", "CNAME", "NS", "MX", "SRV", "DNAME"];
const ASKED: [u16; 12] = [1, 28, 16, 5, 2, 15, 33, 39, 6, 43, 255, 46];
const STEERED: &str = r#"
[region.one]
location = { country = "KR" }
endpoints = [{ address = "192.0.2.77" }]
[service.svc]
regions = ["one"]
"#;

/// The records of a zone by name and type.
type Records = BTreeMap<(&'static str, &'static str), BTreeSet<String>>;

/// Files of zones, some with regions, some in parts, maybe one inside another.
struct World {
    folder: tempfile::TempDir,
    rng: Rng,
    origins: Vec<String>,
    zones: Vec<Records>,
    serial: u32,
}

impl World {
    fn new(seed: u64) -> World {
        let mut rng = Rng::with_seed(seed);
        let mut origins: Vec<String> = (0..4).map(|zone| format!("z{zone}.test")).collect();
        if rng.u8(..4) == 0 {
            origins.push("sub.z2.test".into());
        }
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(folder.path().join("zones")).expect("a folder");
        let zones = vec![Records::new(); origins.len()];
        let mut world = World { folder, rng, origins, zones, serial: 1 };
        world.write("meridian.toml", "");
        for zone in 0..world.zones.len() {
            (0..6).for_each(|_| world.edit(zone));
            world.save(zone);
        }
        world
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).expect("written");
    }

    /// Adds a record, or takes a set of them away.
    fn edit(&mut self, zone: usize) {
        let (name, rtype) = (NAMES[self.rng.usize(..NAMES.len())], TYPES[self.rng.usize(..TYPES.len())]);
        let records = &mut self.zones[zone];
        if self.rng.u8(..3) == 0 {
            let keys: Vec<_> = records.keys().copied().collect();
            if let Some(key) = self.rng.choice(&keys) {
                records.remove(key);
            }
            return;
        }
        let target = NAMES[self.rng.usize(..NAMES.len())];
        let number = self.rng.u8(..4);
        let rdata = match rtype {
            "A" => format!("192.0.2.{number}"),
            "AAAA" => format!("2001:db8::{number}"),
            "TXT" => format!("\"text {number}\""),
            "MX" => format!("{number} {target}"),
            "SRV" => format!("{number} 0 80 {target}"),
            _ => target.to_owned(),
        };
        // Mostly what a zone may hold; else it is a mistake, for both.
        if self.rng.u8(..20) > 0 {
            match rtype {
                "CNAME" if name == "@" => return,
                "CNAME" => records.retain(|(of, _), _| *of != name),
                "DNAME" => drop(records.remove(&(name, rtype))),
                _ => drop(records.remove(&(name, "CNAME"))),
            }
        }
        records.entry((name, rtype)).or_default().insert(rdata);
    }

    fn save(&mut self, zone: usize) {
        self.serial += u32::from(self.rng.bool());
        let mut lines = format!("@ SOA ns1 host {} 1h 10m 1w 60\n@ NS ns1\nns1 A 192.0.2.53\n", self.serial);
        for ((name, rtype), rdatas) in &self.zones[zone] {
            for rdata in rdatas {
                writeln!(lines, "{name} {rtype} {rdata}").expect("a string takes everything");
            }
        }
        let origin = &self.origins[zone];
        let head = format!("origin = {origin:?}\nstrict = false\nttl = \"{}s\"\n", 60 + zone);
        let steered = if zone == 0 { STEERED } else { "" };
        let text = match zone {
            1 => {
                let (first, second) =
                    lines.split_at(lines.match_indices('\n').nth(3).map_or(lines.len(), |(at, _)| at + 1));
                self.write("zones/one.records", &format!("{first}$INCLUDE one.more\n"));
                self.write("zones/one.more", second);
                format!("{head}records_file = \"one.records\"\n")
            }
            _ => format!("{head}records = '''\n{lines}'''\n{steered}"),
        };
        self.write(&format!("zones/{zone}.toml"), &text);
    }

    fn questions(&self) -> Vec<Vec<u8>> {
        let mut packets = Vec::new();
        for origin in &self.origins {
            let origin = Name::parse_absolute(origin).expect("a name");
            for name in NAMES.iter().chain(&["ns1", "q.q", "r.b", "s.sub", "B", "A.b"]) {
                let name = Name::parse(name, &origin).expect("a name");
                for qtype in ASKED {
                    let head = [0x4d, 0x52, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
                    packets.push([&head, name.as_wire(), &qtype.to_be_bytes(), &[0, 1]].concat());
                }
            }
        }
        packets
    }
}

fn told(diagnostics: &[Diagnostic]) -> Vec<String> {
    diagnostics.iter().map(ToString::to_string).collect()
}

fn publisher(loaded: Loaded) -> Publisher {
    Publisher::new(loaded.model, Atlas::empty(), "", 0, BTreeMap::new(), clock::read())
}

/// Takes what was loaded up, as a reload does, or first of all. Whether the names' table was made from the one before.
fn take(warm: &mut Option<Publisher>, loaded: Loaded) -> bool {
    let Some(warm) = warm else {
        *warm = Some(publisher(loaded));
        return false;
    };
    let before = warm.shared().load_full();
    replace(warm, loaded);
    warm.shared().load().names.shares_entries_with(&before.names)
}

fn replace(publisher: &mut Publisher, loaded: Loaded) {
    let replacement = Replacement { model: loaded.model, atlas: Some(Atlas::empty()), nsid: String::new(), seed: 0 };
    publisher.apply(News::Reload(Box::new(replacement)), clock::read());
    publisher.publish(clock::read());
}

fn replies(snapshot: &Arc<Snapshot>, question: &[u8], counters: &Counters) -> [Vec<u8>; 2] {
    let client = Client { address: [192, 0, 2, 1].into(), transport: Transport::Udp };
    [answer, answer_in_full].map(|answer| {
        let mut out = vec![0; 1232];
        let length = answer(snapshot, question, client, &mut out, counters);
        out.truncate(length);
        out
    })
}

fn assert_alike(world: &World, warm: &Arc<Snapshot>, cold: &Arc<Snapshot>, counters: &Counters, seed: u64) {
    for (warm, cold) in warm.model.zones.iter().zip(&cold.model.zones) {
        assert_eq!(warm.nodes, cold.nodes, "{seed}: {}", warm.origin);
    }
    assert_eq!(warm.names.len(), cold.names.len(), "{seed}");
    for question in world.questions() {
        let (warm, cold) = (replies(warm, &question, counters), replies(cold, &question, counters));
        let text = String::from_utf8_lossy(&question[12..]).into_owned();
        assert_eq!(warm, cold, "{seed}: {text}");
    }
}

#[test]
fn edited_zones_are_answered_as_if_all_were_read_afresh() {
    let counters = CounterSet::new();
    let own = counters.register();
    let mut taken = 0;
    let mut shared = 0;
    for seed in 0..ROUNDS {
        let mut world = World::new(seed);
        let loader = Loader::new(&world.path("meridian.toml"));
        let mut warm: Option<Publisher> = None;
        for _ in 0..EDITS {
            let zone = world.rng.usize(..world.zones.len());
            (0..=world.rng.usize(..3)).for_each(|_| world.edit(zone));
            world.save(zone);
            let cold = config::load(&world.path("meridian.toml"));
            let (cold, loaded) = match (cold, loader.load()) {
                (Ok(cold), Ok(loaded)) => (cold, loaded),
                (Err(cold), Err(warm)) => {
                    assert_eq!(told(&warm), told(&cold), "{seed}");
                    continue;
                }
                (cold, warm) => panic!("{seed}: {cold:?}\n{warm:?}"),
            };
            assert_eq!((told(&loaded.diagnostics), &loaded.files), (told(&cold.diagnostics), &cold.files), "{seed}");
            shared += u64::from(take(&mut warm, loaded));
            let (warm, cold) = (warm.as_ref().expect("made"), publisher(cold));
            assert_alike(&world, &warm.shared().load_full(), &cold.shared().load_full(), &own, seed);
            taken += 1;
        }
    }
    assert!(taken > ROUNDS as usize * EDITS / 3, "{taken} edits were taken");
    assert!(shared > ROUNDS * EDITS as u64 / 4, "{shared} tables were made from the one before");
}

/// A line of a long zone; some hold several, or belong to those before.
fn a_line(rng: &mut Rng) -> String {
    let (name, target) = (NAMES[rng.usize(..NAMES.len())], NAMES[rng.usize(..NAMES.len())]);
    let (number, host) = (rng.u8(..4), rng.u16(..1_500));
    match rng.u8(..20) {
        0 => format!("{name} NS {target}"),
        1 => format!("{name} MX {number} {target}"),
        2 => format!("{name} CNAME h{host}"),
        3 => format!("{name} TXT ( one ; )\nh1 A \"; (\"\n\t{number} )"),
        4 => format!(" 60 AAAA 2001:db8::{number}"),
        5 => "$ORIGIN sub.long.test.\nin A 192.0.2.9\n$ORIGIN long.test.".into(),
        6 => format!("$GENERATE 1-{} g$ A 192.0.2.$", number + 1),
        7 => format!("; comment {number} ("),
        8 => format!("{name} A 192.0.2.{number}\r"),
        9 => format!("{name} A ( 192.0.2.{number}"),
        10 => format!("{name} A 192.0.2.25{number}4"),
        11 => format!("elsewhere{number}.test. A 192.0.2.{number}"),
        12 => format!("h{host} SRV 0 0 {number} h{number}"),
        _ => format!("h{host} A 192.0.2.{number}"),
    }
}

/// Pieces of a long text are read by themselves: edits stand anywhere in it, also within parentheses and at directives.
#[test]
fn a_long_zone_edited_anywhere_is_answered_as_if_it_were_read_afresh() {
    let counters = CounterSet::new();
    let own = counters.register();
    let (mut taken, mut shared, mut refused) = (0, 0, 0);
    for seed in 0..8 {
        let mut world = World::new(2_000 + seed);
        world.origins = vec!["long.test".into()];
        (0..5).for_each(|zone| drop(std::fs::remove_file(world.path(&format!("zones/{zone}.toml")))));
        let strict = seed % 2 == 0;
        let ttl = ["ttl = 60\n", ""][seed as usize / 2 % 2];
        let head = format!("origin = \"long.test\"\nstrict = {strict}\n{ttl}");
        let is_apart = seed < 4;
        world.write("zones/long.toml", &format!("{head}records_file = \"long.zone\"\n"));
        let mut lines = vec!["@ SOA ns1 host (\n1 ; serial\n 1h 10m 1w 60 )".to_owned()];
        lines.extend(["@ NS ns1", "@ NS ns.other.test.", "ns1 A 192.0.2.53"].map(String::from));
        lines.extend((0..1_400).map(|host| format!("h{host} A 192.0.2.{}", host % 200)));
        let loader = Loader::new(&world.path("meridian.toml"));
        let mut warm: Option<Publisher> = None;
        for edit in 0..20 {
            let before = lines.clone();
            if edit > 0 {
                for _ in 0..=world.rng.usize(..3) {
                    let at = world.rng.usize(..lines.len());
                    match world.rng.u8(..8) {
                        0..3 => drop(lines.remove(at)),
                        3 => lines[at] = lines[at].replace("192.0.2.", "192.0.3."),
                        4 => lines[0] = lines[0].replace("\n1", "\n11"),
                        _ => lines.insert(at, a_line(&mut world.rng)),
                    }
                }
            }
            let text = lines.join("\n") + "\n";
            match is_apart {
                true => world.write("zones/long.zone", &text),
                false => world.write("zones/long.toml", &format!("{head}records = '''\n{text}'''\n{STEERED}")),
            }
            let (cold, loaded) = match (config::load(&world.path("meridian.toml")), loader.load()) {
                (Ok(cold), Ok(loaded)) => (cold, loaded),
                (Err(cold), Err(warm)) => {
                    assert_eq!(told(&warm), told(&cold), "{seed} {edit}");
                    refused += 1;
                    lines = before;
                    continue;
                }
                (cold, warm) => panic!("{seed} {edit}: {cold:?}\n{warm:?}"),
            };
            assert_eq!(told(&loaded.diagnostics), told(&cold.diagnostics), "{seed} {edit}");
            shared += u64::from(take(&mut warm, loaded));
            let (warm, cold) = (warm.as_ref().expect("made"), publisher(cold));
            assert_alike(&world, &warm.shared().load_full(), &cold.shared().load_full(), &own, seed);
            taken += 1;
        }
    }
    assert!(taken > 40 && shared > 25 && refused > 5, "{taken} taken, {shared} shared, {refused} refused");
}

#[test]
fn a_reload_after_little_has_changed_shares_what_did_not() {
    let mut world = World::new(1000);
    world.origins.truncate(4);
    let mut zone = String::from("@ SOA ns1 host 1 1h 10m 1w 60\n@ NS ns1\n@ NS ns.other.test.\nns1 A 192.0.2.53\n");
    for host in 0..3_000 {
        writeln!(zone, "h{host} A 192.0.2.1").expect("a string takes everything");
    }
    let write = |zone: &str| world.write("zones/3.toml", &format!("origin = \"z3.test\"\nrecords = '''\n{zone}'''\n"));
    for other in [0, 1, 2] {
        let records = "@ SOA ns1 host 1 1h 10m 1w 60\n@ NS ns1\n@ NS ns.other.test.\nns1 A 192.0.2.53\n";
        world.write(
            &format!("zones/{other}.toml"),
            &format!("origin = \"z{other}.test\"\nttl = 60\nrecords = '''\n{records}'''\n"),
        );
    }
    let _ = std::fs::remove_file(world.path("zones/4.toml")); // it may not be there
    write(&format!("$TTL 60\n{zone}"));
    let loader = Loader::new(&world.path("meridian.toml"));
    let load = || loader.load().unwrap_or_else(|mistakes| panic!("{:?}", told(&mistakes)));
    let mut publisher = publisher(load());
    let before = publisher.shared().load_full();
    write(&format!("$TTL 60\n{}", zone.replace("h7 A 192.0.2.1\n", "h7 A 192.0.2.2\nnew A 192.0.2.3\n")));
    replace(&mut publisher, load());
    let after = publisher.shared().load_full();
    assert!(after.names.shares_entries_with(&before.names), "entries were built anew");
    let same: Vec<bool> =
        before.model.zones.iter().zip(&after.model.zones).map(|(old, new)| old.nodes.is_same_as(&new.nodes)).collect();
    assert_eq!(same, [true, true, true, false]);
    assert!(after.model.zones[3].nodes.shares_places_with(&before.model.zones[3].nodes));
}
