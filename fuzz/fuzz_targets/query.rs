//! Any octets as a query: no panic, no response to a response, and what is answered parses.
//!
//! `cargo +nightly fuzz run query`

#![no_main]

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::{Arc, LazyLock};

use hickory_proto::op::Message;
use libfuzzer_sys::fuzz_target;
use meridian::atlas::{Atlas, DEMO_DATABASE, Database};
use meridian::control::clock;
use meridian::control::config;
use meridian::query::counters::CounterSet;
use meridian::query::{Client, Transport, answer};
use meridian::state::{Publisher, Snapshot};

static SNAPSHOT: LazyLock<Arc<Snapshot>> = LazyLock::new(|| {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/config/meridian.toml");
    let loaded = config::load(&path).expect("the sample configuration");
    let database = Database { path: "demo".into(), bytes: DEMO_DATABASE.to_vec() };
    let atlas = Atlas::build(&[database], &loaded.model.networks).expect("the demo's database");
    let mut publisher = Publisher::new(loaded.model, atlas, "fuzz", 0, BTreeMap::new(), clock::read());
    publisher.assume_up(clock::read());
    publisher.shared().load_full()
});

fuzz_target!(|packet: &[u8]| {
    let counters = CounterSet::new().shared();
    for (transport, room) in [(Transport::Udp, 1232), (Transport::Tcp, 65_535)] {
        let mut out = vec![0; room];
        let client = Client { address: IpAddr::V4(Ipv4Addr::new(127, 82, 0, 1)), transport };
        let len = answer(&SNAPSHOT, packet, client, &mut out, &counters);
        assert!(len <= out.len());
        if len == 0 {
            continue;
        }
        assert_eq!(packet[2] & 0x80, 0, "a response was answered");
        assert_eq!(out[..2], packet[..2]);
        // Opcodes hickory does not know are echoed, and it cannot read them.
        if packet[2] >> 3 & 0x0f == 0 {
            Message::from_vec(&out[..len]).expect("a response that parses");
        }
    }
});
