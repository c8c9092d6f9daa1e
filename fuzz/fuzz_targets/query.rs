//! Any octets as a query over a world of aliases, cuts, wildcards and services: no panic, no response to a
//! response, and in every reply the ID, the opcode and the question that came, no more octets than the asker
//! takes, and what hickory-proto can read. The fast path and the full path say and count the same.
//!
//! The first octet picks the client, the transport and the state of health.

#![no_main]

use std::sync::{Arc, LazyLock};

use hickory_proto::op::Message;
use libfuzzer_sys::fuzz_target;
use meridian::query::counters::{CounterSet, Event};
use meridian::query::{Client, Transport, answer, answer_in_full};
use meridian::state::Snapshot;
use meridian::wire::name::LowerName;
use meridian::wire::query::parse;
use meridian_fuzz::{client, packets, pick};

static SNAPSHOTS: LazyLock<Vec<Arc<Snapshot>>> = LazyLock::new(packets::snapshots);

fuzz_target!(|data: &[u8]| {
    let Some((chosen, packet)) = pick(data) else { return };
    let transport = if chosen & 8 == 0 { Transport::Udp } else { Transport::Tcp };
    let client = Client { address: client(chosen), transport };
    let snapshot = &SNAPSHOTS[(chosen >> 4) % SNAPSHOTS.len()];
    let room = if transport == Transport::Udp { 1_232 } else { 65_535 };
    let (sets, mut outs) = ([CounterSet::new(), CounterSet::new()], [vec![0; room], vec![0xff; room]]);
    let fast = answer(snapshot, packet, client, &mut outs[0], &sets[0].shared());
    let full = answer_in_full(snapshot, packet, client, &mut outs[1], &sets[1].shared());
    let [fast, full] = [&outs[0][..fast], &outs[1][..full]];
    assert!(fast == full, "fast {fast:02x?}\nfull {full:02x?}");
    for event in Event::all() {
        assert_eq!(sets[0].total().get(event), sets[1].total().get(event), "{event:?}");
    }
    check(packet, client, fast);
});

fn check(packet: &[u8], client: Client, reply: &[u8]) {
    let mut name = LowerName::new();
    let read = parse(packet, &mut name);
    let (asked, edns) = match &read {
        Ok(query) => (query.asked, query.edns),
        Err(rejected) => (rejected.asked, rejected.edns),
    };
    assert!(reply.len() <= client.limit(edns.as_ref()), "{} octets", reply.len());
    if reply.is_empty() {
        let may_be_silent = packet.len() < 12 || packet[2] & 0x80 != 0 || read.is_ok_and(|query| query.is_signed());
        return assert!(may_be_silent, "a query without a response");
    }
    assert_eq!(packet[2] & 0x80, 0, "a response was answered");
    assert_eq!(reply[..2], packet[..2], "the ID");
    assert_eq!(reply[2] & 0xf8, packet[2] & 0x78 | 0x80, "QR and opcode");
    assert_eq!(reply.get(12..asked.len().max(12)), asked.get(12..), "the question");
    assert_eq!(u16::from_be_bytes([reply[4], reply[5]]), u16::from(asked.len() > 12), "the number of questions");
    let is_truncated = reply[2] & 2 != 0;
    assert!(!is_truncated || reply[6..10] == [0; 4], "records beside TC");
    // Opcodes that hickory does not know are echoed, and it cannot read them.
    if packet[2] >> 3 & 0x0f == 0 {
        Message::from_vec(reply).expect("a response that parses");
    }
}
