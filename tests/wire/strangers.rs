//! Packets nobody would send, and readers we did not write.

use std::process::Command;
use std::time::Duration;

use meridian::query::counters::CounterSet;
use meridian::query::{Client, Transport, answer};

use crate::server;
use crate::support::dns::{Ask, exchange_udp};
use crate::support::tools::{self, Need};

/// Questions that lead everywhere.
fn seeds() -> Vec<Vec<u8>> {
    let names = [
        "www.wire.test",
        "loop1.wire.test",
        "a.moved.wire.test",
        "host.many.wire.test",
        "big.wire.test",
        "x.wild.wire.test",
        "www.steer.test",
        "hosted.steer.test",
        "apex.test",
        "ghost.*.example",
        "elsewhere.invalid",
    ];
    let types = ["A", "AAAA", "NS", "DS", "ANY", "HTTPS", "TXT"];
    let asks = names.iter().flat_map(|name| types.iter().map(move |qtype| Ask::new(name, qtype)));
    asks.flat_map(|ask| [ask.wire(), ask.clone().payload(4096).wire(), ask.subnet("127.82.0.0/24").wire()]).collect()
}

fn mutated(seed: &[u8], chance: &mut fastrand::Rng) -> Vec<u8> {
    let mut packet = seed.to_vec();
    for _ in 0..chance.usize(1..6) {
        let at = chance.usize(..packet.len().max(1));
        match chance.u8(..6) {
            0 => packet.truncate(at),
            1 => packet.push(chance.u8(..)),
            2 => packet.insert(at.min(packet.len()), chance.u8(..)),
            3 if at < packet.len() => packet[at] ^= 1 << chance.u8(..8),
            4 if at < packet.len() => packet[at] = *chance.choice([0, 1, 63, 64, 0xc0, 0xff].iter()).unwrap_or(&0),
            _ if at < packet.len() => packet[at] = chance.u8(..),
            _ => {}
        }
    }
    packet
}

#[test]
fn a_hundred_thousand_strange_packets_do_no_harm() {
    let snapshot = server().snapshot();
    let (counters, seeds) = (CounterSet::new().shared(), seeds());
    let mut chance = fastrand::Rng::with_seed(20_260_101);
    let mut out = vec![0; 65_535];
    let mut answered = 0;
    for round in 0..100_000 {
        let packet = if round % 10 == 0 {
            (0..chance.usize(..600)).map(|_| chance.u8(..)).collect()
        } else {
            let seed = chance.usize(..seeds.len());
            mutated(&seeds[seed], &mut chance)
        };
        let (transport, room) = *chance
            .choice([(Transport::Udp, 1232), (Transport::Tcp, 65_535), (Transport::Udp, 100)].iter())
            .expect("one of them");
        let client = Client { address: [127, 82, 0, 1].into(), transport };
        let len = answer(&snapshot, &packet, client, &mut out[..room], &counters);
        assert!(len <= room, "{packet:02x?}");
        if packet.len() < 12 || packet[2] & 0x80 != 0 {
            assert_eq!(len, 0, "answered a scrap or a response: {packet:02x?}");
        }
        if len > 0 {
            answered += 1;
            assert_eq!((&out[..2], out[2] & 0x80), (&packet[..2], 0x80), "{packet:02x?}");
        }
    }
    assert!(answered > 10_000, "{answered}");
}

#[test]
fn the_server_still_answers_after_strange_packets() {
    let mut chance = fastrand::Rng::with_seed(9);
    for seed in seeds() {
        let _ = exchange_udp(server().dns, &mutated(&seed, &mut chance), Duration::from_millis(1));
    }
    assert_eq!(server().query("www.wire.test", "A").answers().len(), 2);
}

/// What dig makes of a reply: warnings and all.
fn dig(arguments: &[&str]) -> Option<String> {
    let program = tools::find("dig")?;
    let at = server().dns;
    let output = Command::new(program)
        .args([&format!("@{}", at.ip()), "-p", &at.port().to_string(), "+tries=1", "+time=5", "+norec"])
        .args(arguments)
        .output()
        .expect("dig runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}");
    for complaint in ["WARNING", "malformed", "extra bytes", ";; BAD", "parse error"] {
        assert!(!text.contains(complaint), "{arguments:?}: {text}");
    }
    Some(text)
}

#[test]
fn dig_reads_every_kind_of_reply() {
    for (arguments, said) in [
        (&["www.wire.test", "A"][..], "192.0.2.80"),
        (&["a.moved.wire.test", "A"], "DNAME\ttarget.wire.test."),
        (&["host.many.wire.test", "A"], "ADDITIONAL: 27"),
        (&["host.many.wire.test", "A", "+noedns", "+ignore"], "flags: qr tc;"),
        (&["child.wire.test", "DS"], "12345 13 2 0001020304"),
        (&["missing.wire.test", "A"], "status: NXDOMAIN"),
        (&["big.wire.test", "TXT"], "0123456789abcdef-150"),
        (&["www.steer.test", "HTTPS"], "alpn=\"h2,h3\""),
        (&["www.steer.test", "A", "+subnet=127.82.0.0/24"], "CLIENT-SUBNET: 127.82.0.0/24/16"),
        (&["www.wire.test", "A", "+nsid"], "(\"here\")"),
        (&["www.wire.test", "A", "+edns=1", "+noednsneg"], "status: BADVERS"),
        (&["www.wire.test", "A", "+tcp"], "192.0.2.81"),
    ] {
        let Some(text) = dig(arguments) else { return };
        assert!(text.contains(said), "{said} in {arguments:?}: {text}");
    }
}

/// Runs a kit of conformance checks against this server, where there is one.
///
/// `MERIDIAN_TEST_CONFORMANCE` names a program that takes host, port and zone, and says by its
/// exit code whether all went well.
#[test]
fn a_conformance_kit_finds_nothing() {
    let Some(kit) = std::env::var_os("MERIDIAN_TEST_CONFORMANCE") else {
        return tools::skip(Need::Kit, "MERIDIAN_TEST_CONFORMANCE names no program");
    };
    let at = server().dns;
    let output = Command::new(kit)
        .args([&at.ip().to_string(), &at.port().to_string(), "wire.test"])
        .args(["--big", "big.wire.test", "--ent", "y.ent.wire.test", "--cname", "alias.wire.test"])
        .args(["--strict", "--require", "ecs,nsid"])
        .output()
        .expect("the kit runs");
    let said = String::from_utf8_lossy(&output.stdout);
    println!("{said}");
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
}
