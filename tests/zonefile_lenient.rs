//! Zones that others load, served: `strict = false` and its records in, answers on the wire out.
//!
//! And what is just short enough for a message, answered whole.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::Arc;

use meridian::control::config;
use meridian::query::Transport;
use meridian::query::counters::CounterSet;
use meridian::state::Snapshot;

mod support;

use support::dns::{Ask, Reply};
use support::exchange::{expected, snapshot_of};

/// The comment and the string are Latin-1.
const ZONE: &[u8] = b"$TTL 60 ; caf\xe9
@ SOA ns1 host 1 2 3 4 5
@ NS ns1
@ NS gone
ns1 A 192.0.2.1
ttl 50 A 192.0.2.1
ttl 20 A 192.0.2.2
text TXT \"caf\xe9\"
elsewhere.test. A 192.0.2.66
sub NS ns.sub
sub TXT occluded
sub DS 1 13 1 0000000000000000000000000000000000000000
x.sub TXT occluded
x.sub CNAME occluded.sub
y.x.sub NS deeper.test.
d DNAME target
x.d A 192.0.2.66
x.target A 192.0.2.3
ds DS 1 13 1 0000000000000000000000000000000000000000
@ DS 1 13 1 0000000000000000000000000000000000000000
*.w NS deeper.test.
*.w TXT wild
";

fn write(directory: &Path, strict: bool, records: &[u8]) -> std::path::PathBuf {
    std::fs::create_dir_all(directory.join("zones")).expect("made");
    std::fs::write(directory.join("zones/a.zone"), records).expect("written");
    let zone = format!("origin = \"lenient.test\"\nstrict = {strict}\nrecords_file = \"a.zone\"\n");
    std::fs::write(directory.join("zones/a.toml"), zone).expect("written");
    let main = directory.join("meridian.toml");
    std::fs::write(&main, format!("nsid = \"{}\"\n", "n".repeat(128))).expect("written");
    main
}

fn ask(snapshot: &Snapshot, ask: &Ask) -> Reply {
    let counters = CounterSet::new().register();
    let from = IpAddr::V4(Ipv4Addr::LOCALHOST);
    Reply::read(expected(snapshot, &ask.wire(), from, Transport::Tcp, &counters))
}

fn lenient() -> (tempfile::TempDir, Arc<Snapshot>) {
    let directory = tempfile::tempdir().expect("a directory");
    let snapshot = snapshot_of(&write(directory.path(), false, ZONE));
    (directory, snapshot)
}

#[test]
fn rfc1034_4_2_1_what_is_below_a_delegation_is_never_answered() {
    let (_directory, snapshot) = lenient();
    for (name, qtype) in
        [("sub", "TXT"), ("x.sub", "TXT"), ("x.sub", "CNAME"), ("y.x.sub", "NS"), ("y.x.sub", "A"), ("any.sub", "A")]
    {
        let reply = ask(&snapshot, &Ask::new(&format!("{name}.lenient.test"), qtype));
        assert_eq!(reply.answers(), Vec::<String>::new(), "{name} {qtype}");
        assert!(!reply.is_authoritative(), "{name} {qtype}");
        let authority = reply.authority();
        assert!(authority.len() == 1 && authority[0].contains("ns.sub.lenient.test"), "{name} {qtype}: {authority:?}");
    }
    let ds = ask(&snapshot, &Ask::new("sub.lenient.test", "DS"));
    assert!(ds.is_authoritative() && ds.answers().len() == 1, "{:?}", ds.answers());
}

#[test]
fn rfc2181_5_2_the_lowest_ttl_is_that_of_all() {
    let (_directory, snapshot) = lenient();
    let reply = ask(&snapshot, &Ask::new("ttl.lenient.test", "A"));
    assert_eq!((reply.answers().len(), reply.ttl()), (2, Some(20)));
    assert!(reply.answers().iter().all(|answer| answer.contains(" 20 ")), "{:?}", reply.answers());
}

#[test]
fn rfc6672_2_4_below_a_dname_only_the_dname_answers() {
    let (_directory, snapshot) = lenient();
    let answers = ask(&snapshot, &Ask::new("x.d.lenient.test", "A")).answers().join("\n");
    assert!(answers.contains("DNAME") && answers.contains("192.0.2.3") && !answers.contains("192.0.2.66"), "{answers}");
}

#[test]
fn what_is_left_out_is_not_there() {
    let (_directory, snapshot) = lenient();
    let wild = ask(&snapshot, &Ask::new("any.w.lenient.test", "TXT"));
    assert!(wild.answers().is_empty(), "a wildcard's data stood beside its NS: {:?}", wild.answers());
    assert_eq!(ask(&snapshot, &Ask::new("lenient.test", "DS")).answers(), Vec::<String>::new());
    assert_eq!(ask(&snapshot, &Ask::new("ds.lenient.test", "DS")).answers().len(), 1);
    let text = ask(&snapshot, &Ask::new("text.lenient.test", "TXT"));
    assert_eq!(text.data().len(), 1);
}

#[test]
fn octets_that_are_no_utf8_are_answered_as_they_are() {
    let (_directory, snapshot) = lenient();
    let counters = CounterSet::new().register();
    let from = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let packet = Ask::new("text.lenient.test", "TXT").wire();
    let octets = expected(&snapshot, &packet, from, Transport::Tcp, &counters);
    assert!(octets.windows(5).any(|window| window == b"\x04caf\xe9"), "{octets:02x?}");
}

#[test]
fn strictly_the_same_zone_is_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    let found = config::load(&write(directory.path(), true, ZONE)).expect_err("refused");
    assert!(found.iter().any(|each| each.to_string().contains("not UTF-8")), "{found:?}");
    let utf8: Vec<u8> = ZONE.iter().map(|&octet| octet & 0x7f).collect();
    let found = config::load(&write(directory.path(), true, &utf8)).expect_err("refused");
    assert_eq!(found.iter().filter(|each| each.is_error()).count(), 13, "{found:#?}");
}

/// The largest RRset that is taken arrives, whatever the OPT record beside it holds.
#[test]
fn what_just_fits_is_answered_whole() {
    let apex = "$TTL 60\n@ SOA ns1 host 1 2 3 4 5\n@ NS ns1\n@ NS x.test.\nns1 A 192.0.2.1\n";
    let zone = |records: usize| {
        let record = |n: usize| format!("a MX 1 mail-{n:04}.x.test.\n");
        format!("{apex}{}", (0..records).map(record).collect::<String>())
    };
    let directory = tempfile::tempdir().expect("a directory");
    let takes = |records: usize| config::load(&write(directory.path(), true, zone(records).as_bytes())).is_ok();
    let (mut fits, mut too_many) = (1_000, 4_000);
    assert!(takes(fits) && !takes(too_many));
    while too_many - fits > 1 {
        let middle = (fits + too_many) / 2;
        if takes(middle) { fits = middle } else { too_many = middle }
    }
    let snapshot = snapshot_of(&write(directory.path(), true, zone(fits).as_bytes()));
    let subnet = "2001:db8:1:2:3:4:5:6/128";
    let reply = ask(&snapshot, &Ask::new("a.lenient.test", "MX").subnet(subnet).option(3, &[]));
    assert!(!reply.is_truncated() && reply.answers().len() == fits, "{fits}");
}
