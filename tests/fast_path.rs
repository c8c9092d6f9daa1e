//! The fast path copies what the full path would have written: 300,000 packets of every kind, in
//! three states of health, answered both ways, octet by octet and count by count. And whoever sends OPT
//! gets OPT (RFC 6891 section 6.1.1), whatever else is in the packet.

use std::time::Duration;

use fastrand::Rng;
use hickory_proto::op::Message;
use meridian::query::counters::{CounterSet, Counters};
use meridian::query::demand::Sample;
use meridian::query::{Client, answer, answer_in_full};
use meridian::state::Snapshot;

mod support;

use support::packets::{packet, snapshots};

const PACKETS: usize = 100_000;

type Answer = fn(&Snapshot, &[u8], Client, &mut [u8], &Counters) -> usize;

/// One way of answering, and what it counts.
struct Road {
    answer: Answer,
    set: CounterSet,
    out: Vec<u8>,
}

impl Road {
    fn new(answer: Answer) -> Road {
        Road { answer, set: CounterSet::new(), out: vec![0; 65_535] }
    }

    fn samples(&self) -> Vec<Sample> {
        let mut samples = Vec::new();
        self.set.drain_demand(Duration::from_secs(1), |sample| samples.push(sample));
        samples
    }
}

#[test]
fn both_paths_lead_to_the_same_octets() {
    for (seed, snapshot) in (1..).zip(snapshots()) {
        let mut rng = Rng::with_seed(seed);
        let [mut short, mut long] = [Road::new(answer), Road::new(answer_in_full)];
        let counters = [short.set.register(), long.set.register()];
        for number in 0..PACKETS {
            let asked = packet(&mut rng);
            let lengths = [(&mut short, &counters[0]), (&mut long, &counters[1])].map(|(way, counters)| {
                (way.answer)(&snapshot, &asked.octets, asked.client, &mut way.out[..asked.room], counters)
            });
            let [short, long] = [&short.out[..lengths[0]], &long.out[..lengths[1]]];
            assert!(short == long, "{number}: {:02x?}\n{short:02x?}\n{long:02x?}", asked.octets);
            if let Some(has_opt) = asked.has_opt.filter(|_| !long.is_empty()) {
                assert_eq!(has_edns(long), has_opt, "{number}: {:02x?}\n{long:02x?}", asked.octets);
            }
        }
        assert_eq!(short.set.total(), long.set.total());
        assert_eq!(short.set.demand_totals(), long.set.demand_totals());
        assert_eq!(short.samples(), long.samples());
    }
}

/// As hickory-proto reads it, so that it does not matter who wrote it.
fn has_edns(reply: &[u8]) -> bool {
    Message::from_vec(reply).expect("a reply that decodes").edns.is_some()
}
