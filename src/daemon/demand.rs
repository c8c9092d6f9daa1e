//! Carries what was answered from the packet path to the planner: samples of addresses in, answers
//! per service, place and region out, once a second.
//!
//! Stands here since the query plane and the writer do not know each other. Where clients are is
//! looked up outside both: no thread that answers, and not the writer either, waits for it.
//!
//! An address counts once per life of its answers, however often it asks: a resolver holds one answer, and whoever
//! digs every second is no crowd.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};

use crate::control::answered::Answered;
use crate::control::writer::Command;
use crate::model::{RegionId, ServiceId};
use crate::query::counters::CounterSet;
use crate::query::demand::Sample;
use crate::state::{SharedSnapshot, Snapshot};
use crate::steer::planner::demand::DemandSample;

/// The time between two looks: far shorter than an empty ring takes to fill.
const PERIOD: Duration = Duration::from_secs(1);

/// Addresses and services whose answers are remembered, at most: 12 octets each.
const MOST_HOLDERS: usize = 1 << 16;
/// The part of an answer's life after which its address counts again: samples come up to a second late, and a
/// resolver may ask shortly before the end.
const HELD_PART: f64 = 0.8;

/// Where samples come from, and where they go.
#[derive(Clone)]
pub struct Carrier {
    pub shared: SharedSnapshot,
    pub counters: Arc<CounterSet>,
    pub answered: Arc<Answered>,
    pub commands: mpsc::Sender<Command>,
}

/// Carries samples until the writer has gone.
pub async fn carry(carrier: Carrier) {
    let Carrier { shared, counters, answered, commands } = carrier;
    let mut ticks = tokio::time::interval(PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut holders = Holders::new();
    let mut last = Instant::now();
    let began = last;
    loop {
        ticks.tick().await;
        let now = Instant::now();
        let of = shared.load_full();
        let elapsed = now - std::mem::replace(&mut last, now);
        let mut given: HashMap<(ServiceId, RegionId), u64> = HashMap::new();
        let samples = located(&of, &counters, elapsed, |sample| {
            *given.entry((sample.service, sample.region)).or_default() += u64::from(sample.weight);
            holders.is_new(sample, now - began)
        });
        answered.add(&of, &given);
        // While the writer makes a large plan this waits: then the rings thin their samples out.
        if !samples.is_empty() && commands.send(Command::Demand { of, samples }).await.is_err() {
            return;
        }
    }
}

/// Addresses that hold an answer, by service: a table of fixed size, in which a newcomer takes the place of another
/// where their hashes meet. That one may count twice; none is missed for it.
struct Holders {
    slots: Box<[Holder]>,
    hasher: RandomState,
}

#[derive(Clone, Copy, Default)]
struct Holder {
    /// Of address and service.
    tag: u32,
    region: u16,
    reloads: u16,
    /// The time when its answer is over, in tenths of a second since the start; 0: there is none.
    until: u32,
}

impl Holders {
    fn new() -> Holders {
        Holders { slots: vec![Holder::default(); MOST_HOLDERS].into(), hasher: RandomState::new() }
    }

    /// Takes note of an answer, `now` after the start; whether its address held none with this region.
    fn is_new(&mut self, sample: &Sample, now: Duration) -> bool {
        let hash = self.hasher.hash_one((sample.client, sample.service.0));
        let tenths = |duration: Duration| u32::try_from(duration.as_millis() / 100).unwrap_or(u32::MAX);
        let (region, reloads, tag) = (sample.region.0, sample.reloads, (hash >> 32) as u32);
        let life = Duration::from_secs(u64::from(sample.ttl)).mul_f64(HELD_PART);
        let Some(slot) = self.slots.get_mut(hash as usize % MOST_HOLDERS) else { return true };
        let held = slot.until > tenths(now) && (slot.tag, slot.region, slot.reloads) == (tag, region, reloads);
        if !held {
            *slot = Holder { tag, region, reloads, until: tenths(now.saturating_add(life)) };
        }
        !held
    }
}

/// The answers since the last time, in the order of services, places and regions; only what `counts`. Answers
/// from before the snapshot's last reload are left out: their ids mean something else now.
fn located(
    snapshot: &Snapshot,
    counters: &CounterSet,
    elapsed: Duration,
    mut counts: impl FnMut(&Sample) -> bool,
) -> Vec<DemandSample> {
    let mut weights = BTreeMap::new();
    counters.drain_demand(elapsed, |sample| {
        if sample.reloads == snapshot.reloads as u16 && counts(&sample) {
            let place = snapshot.atlas.locate(sample.client).place;
            let answers = f64::from(sample.weight);
            let sums = weights.entry((sample.service, place, sample.region)).or_insert((0.0, 0.0));
            *sums = (sums.0 + answers, sums.1 + answers * f64::from(sample.ttl));
        }
    });
    let sample = |((service, place, region), (answers, weight)): (_, (f64, f64))| {
        let ttl_s = (weight / answers) as f32;
        (weight > 0.0).then_some(DemandSample { service, place, region, weight: weight as f32, ttl_s })
    };
    weights.into_iter().filter_map(sample).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap as Map;

    use super::*;
    use crate::model::Policy;
    use crate::state::Publisher;
    use crate::steer::testing::{World, at, moment};

    fn publisher() -> Publisher {
        let world = World::new(Policy::Score, &[("west", at(0.0, -90.0)), ("east", at(0.0, 90.0))])
            .clients(&[("10.0.0.0/9", at(0.0, -80.0)), ("10.128.0.0/9", at(0.0, 80.0))]);
        Publisher::new(world.model, world.atlas, "", 0, Map::new(), moment(std::time::Instant::now()))
    }

    fn answer(client: &str, region: u16, ttl: u32, reloads: u16) -> Sample {
        let client = client.parse().expect("an address");
        Sample { client, service: ServiceId(0), region: RegionId(region), ttl, weight: 1, reloads }
    }

    #[test]
    fn answers_add_up_by_place_and_region_over_all_threads() {
        let snapshot = publisher().shared().load_full();
        let counters = CounterSet::new();
        let (one, other) = (counters.register(), counters.shared());
        one.answered(|| answer("10.0.0.1", 0, 30, 0));
        one.answered(|| answer("10.1.2.3", 0, 5, 0));
        other.answered(|| answer("::ffff:10.2.0.1", 0, 5, 0));
        other.answered(|| answer("10.200.0.1", 1, 30, 0));
        other.answered(|| answer("10.200.0.1", 1, 0, 0)); // a life of nothing covers nobody
        let place = |address: &str| snapshot.atlas.locate(address.parse().expect("an address")).place;
        let sample = |address: &str, region, weight, ttl_s| DemandSample {
            service: ServiceId(0),
            place: place(address),
            region: RegionId(region),
            weight,
            ttl_s,
        };
        let samples = located(&snapshot, &counters, PERIOD, |_| true);
        assert_eq!(samples, [sample("10.0.0.1", 0, 40.0, 40.0 / 3.0), sample("10.200.0.1", 1, 30.0, 15.0)]);
        assert_eq!(located(&snapshot, &counters, PERIOD, |_| true), []);
    }

    #[test]
    fn answers_from_before_a_reload_are_left_out() {
        let snapshot = publisher().shared().load_full();
        let counters = CounterSet::new();
        counters.shared().answered(|| answer("10.0.0.1", 0, 30, 1));
        assert_eq!(located(&snapshot, &counters, PERIOD, |_| true), []);
    }

    #[test]
    fn an_address_counts_once_while_it_holds_an_answer() {
        let (mut holders, second) = (Holders::new(), Duration::from_secs);
        let mut counted = |client: &str, region: u16, ttl: u32, at: u64| {
            holders.is_new(&answer(client, region, ttl, 0), second(1000 + at))
        };
        assert!(counted("10.0.0.1", 0, 30, 0));
        assert!((1..24).all(|at| !counted("10.0.0.1", 0, 30, at)), "dug every second");
        assert!(counted("10.0.0.1", 0, 30, 24) && !counted("10.0.0.1", 0, 30, 30));
        assert!(counted("10.0.0.1", 1, 5, 31), "it has moved");
        assert!(!counted("10.0.0.1", 1, 5, 34) && counted("10.0.0.1", 1, 5, 36));
        assert!(counted("10.0.0.2", 1, 5, 36), "another address");
        let known = (0..10_000u32).filter(|n| !counted(&format!("192.0.{}.{}", n / 256 % 256, n % 256), 0, 30, 40));
        assert!(known.count() < 3, "as good as none is missed");
        assert!(counted("10.0.0.9", 0, 0, 50) && counted("10.0.0.9", 0, 0, 50), "what nobody may keep is not held");
    }

    #[tokio::test(start_paused = true)]
    async fn samples_arrive_every_second_until_the_writer_has_gone() {
        let counters = Arc::new(CounterSet::new());
        let (commands, mut writer) = mpsc::channel(1);
        let shared = publisher().shared();
        let answered = Arc::<Answered>::default();
        let carrier =
            Carrier { shared: shared.clone(), counters: counters.clone(), answered: answered.clone(), commands };
        let carrying = tokio::spawn(carry(carrier));
        for client in ["10.0.0.1", "10.0.0.2"] {
            counters.shared().answered(|| answer(client, 0, 30, 0));
            let Some(Command::Demand { of, samples }) = writer.recv().await else { panic!("no samples") };
            assert!(Arc::ptr_eq(&of, &shared.load_full()));
            assert_eq!(samples.len(), 1);
        }
        assert_eq!(answered.counts().pairs.into_values().collect::<Vec<u64>>(), [2]);
        drop(writer);
        counters.shared().answered(|| answer("10.0.0.3", 0, 30, 0));
        carrying.await.expect("it ends");
    }
}
