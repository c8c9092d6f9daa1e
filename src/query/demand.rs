//! The clients and where they were sent: samples of services' answers, taken where they are given, for
//! whoever estimates demand.
//!
//! Each thread that answers writes into a ring of its own, which control empties once a second. A
//! sample stands for all answers since the one before, so that the weights add up to every answer
//! given. At low rates that is each single answer; at high rates control spreads samples so far
//! that a thread takes about [`SAMPLES_PER_SECOND`], and most answers cost one addition and one
//! comparison.
//!
//! ```text
//!    udp thread ─▶ Ring ─┐
//!    udp thread ─▶ Ring ─┼─▶ CounterSet::drain_demand() ─▶ Sample ─▶ places, planner
//!    tcp tasks ──▶ Ring ─┘            │
//!         ▲────── how sparsely ◀──────┘
//! ```
//!
//! Nothing here waits, allocates or reads a clock: a full ring loses weight, and says how much.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::model::{RegionId, ServiceId};

/// Samples that a thread takes in a second, about: the planner needs no more to know thousands of
/// locations within its half-life of minutes, and mapping them costs control about a millisecond.
pub const SAMPLES_PER_SECOND: u64 = 2_000;

/// Samples a ring holds: two seconds' worth, 128 KiB.
pub const CAPACITY: u64 = 4_096;

/// A service's answer to a client, and the answers before it that were not sampled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// The address the answer was decided by: the client's network, or the resolver. IPv4 where it
    /// was IPv4-mapped, which is the same to an atlas.
    pub client: IpAddr,
    /// Of the snapshot the answer came from, like `region`.
    pub service: ServiceId,
    pub region: RegionId,
    /// The time that the answer lives, in seconds.
    pub ttl: u32,
    /// The number of answers it stands for, itself included: 1 or more.
    pub weight: u32,
    /// The low bits of the snapshot's `reloads`: ids mean nothing after another reload.
    pub reloads: u16,
}

/// The fate of all answers, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DemandTotals {
    /// Services' answers.
    pub answers: u64,
    /// Samples taken of them.
    pub samples: u64,
    /// Answers that no sample stands for, since the ring was full.
    pub lost: u64,
}

/// The samples of one thread, or of several that take turns.
#[derive(Debug)]
pub(super) struct Ring {
    /// Services' answers so far. One writer's own, or added to by many.
    answers: AtomicU64,
    /// The answer to sample next, counted as in `answers`.
    next: AtomicU64,
    /// Up to this answer all are sampled or lost.
    accounted: AtomicU64,
    /// Samples ever written.
    written: AtomicU64,
    lost: AtomicU64,
    /// For the next distance between samples.
    random: AtomicU64,
    /// One of many writers is taking a sample.
    busy: AtomicBool,
    control: ControlSide,
    slots: Box<[StoredSample]>,
}

/// The words that control writes: on cache lines of its own, so that reading samples disturbs nobody.
#[derive(Debug)]
#[repr(align(128))]
struct ControlSide {
    /// Samples ever read.
    read: AtomicU64,
    /// Answers per sample, on average: at least 1.
    stride: AtomicU64,
    /// `answers` when the stride was last set.
    seen: AtomicU64,
}

/// A sample in 32 octets.
#[derive(Debug, Default)]
struct StoredSample([AtomicU64; 4]);

impl Ring {
    pub(super) fn new() -> Ring {
        Ring {
            answers: AtomicU64::new(0),
            next: AtomicU64::new(1),
            accounted: AtomicU64::new(0),
            written: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            random: AtomicU64::new(0x9e37_79b9_7f4a_7c15),
            busy: AtomicBool::new(false),
            control: ControlSide { read: AtomicU64::new(0), stride: AtomicU64::new(1), seen: AtomicU64::new(0) },
            slots: (0..CAPACITY).map(|_| StoredSample::default()).collect(),
        }
    }

    /// Counts one answer of the only thread that writes here. `sample` is asked where it is taken;
    /// its weight is of no account.
    #[inline]
    pub(super) fn answered_by_one(&self, sample: impl FnOnce() -> Sample) {
        // No other thread writes here, so nothing is lost between the load and the store.
        let answers = self.answers.load(Ordering::Relaxed).wrapping_add(1);
        self.answers.store(answers, Ordering::Relaxed);
        if answers >= self.next.load(Ordering::Relaxed) {
            self.take(answers, &sample());
        }
    }

    /// The same for any thread. While another takes a sample this one does not wait: its answer
    /// will be in the weight of the next.
    #[inline]
    pub(super) fn answered_by_many(&self, sample: impl FnOnce() -> Sample) {
        let answers = self.answers.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
        if answers >= self.next.load(Ordering::Relaxed) && !self.busy.swap(true, Ordering::Acquire) {
            self.take(self.answers.load(Ordering::Relaxed), &sample());
            self.busy.store(false, Ordering::Release);
        }
    }

    /// Takes a sample that stands for as many answers as its weight says. For the only thread that writes here.
    pub(super) fn sampled_by_one(&self, sample: &Sample) {
        let answers = self.answers.load(Ordering::Relaxed).wrapping_add(u64::from(sample.weight));
        self.answers.store(answers, Ordering::Relaxed);
        self.take(answers, sample);
    }

    /// Counts answers that no sample stands for. For the only thread that writes here.
    pub(super) fn lost_by_one(&self, answers: u64) {
        for counter in [&self.answers, &self.accounted, &self.lost] {
            counter.store(counter.load(Ordering::Relaxed).wrapping_add(answers), Ordering::Relaxed);
        }
    }

    /// Writes a sample that stands for all answers up to `answers`, and says which is next. Only
    /// one thread at a time.
    #[cold]
    fn take(&self, answers: u64, sample: &Sample) {
        let accounted = self.accounted.swap(answers, Ordering::Relaxed);
        let weight = answers.saturating_sub(accounted);
        if weight == 0 {
            return; // another thread's sample has counted this answer
        }
        let written = self.written.load(Ordering::Relaxed);
        // Pairs with the release in `drain`: the slot has been read.
        let unread = written.wrapping_sub(self.control.read.load(Ordering::Acquire));
        match self.slot(written) {
            Some(slot) if unread < CAPACITY => {
                slot.write(&Sample { weight: u32::try_from(weight).unwrap_or(u32::MAX), ..*sample });
                self.written.store(written.wrapping_add(1), Ordering::Release);
            }
            _ => self.lost.store(self.lost.load(Ordering::Relaxed).wrapping_add(weight), Ordering::Relaxed),
        }
        self.next.store(answers.saturating_add(self.distance(unread)), Ordering::Relaxed);
    }

    /// The number of answers until the next sample: the stride on average, and never foreseeable, for
    /// queries come in patterns (A, AAAA, HTTPS, A, …). In the second half of the ring the stride
    /// doubles step by step, so that a burst is thinned out before it is lost.
    fn distance(&self, unread: u64) -> u64 {
        const STEP: u64 = CAPACITY / 32;
        let doublings = unread.saturating_sub(CAPACITY / 2) / STEP;
        let stride = (self.control.stride.load(Ordering::Relaxed) << doublings.min(16)).min(MAX_STRIDE);
        // The generator of Knuth's MMIX; its upper bits are the good ones.
        let random = self.random.load(Ordering::Relaxed);
        let random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.random.store(random, Ordering::Relaxed);
        let below = ((random >> 32) * (2 * stride - 1)) >> 32;
        1 + below
    }

    /// Gives all samples, oldest first, and sets how sparsely to sample. `elapsed`: since the last
    /// time. Only one thread at a time.
    pub(super) fn drain(&self, elapsed: Duration, mut take: impl FnMut(Sample)) {
        let mut read = self.control.read.load(Ordering::Relaxed);
        // Pairs with the release in `take`: the slots have been written.
        let written = self.written.load(Ordering::Acquire);
        while read != written {
            if let Some(slot) = self.slot(read) {
                take(slot.read());
            }
            read = read.wrapping_add(1);
        }
        self.control.read.store(read, Ordering::Release);
        self.set_stride(elapsed);
    }

    fn set_stride(&self, elapsed: Duration) {
        let answers = self.answers.load(Ordering::Relaxed);
        let since = answers.wrapping_sub(self.control.seen.swap(answers, Ordering::Relaxed));
        let wanted = (SAMPLES_PER_SECOND as f64 * elapsed.as_secs_f64()).max(1.0);
        let stride = ((since as f64 / wanted).ceil() as u64).clamp(1, MAX_STRIDE);
        self.control.stride.store(stride, Ordering::Relaxed);
        // When a flood has ended, the next sample must not be where the flood would have had it.
        // Where this meets the writer's own store it is lost, and done again the next time.
        self.next.fetch_min(answers.saturating_add(2 * stride), Ordering::Relaxed);
    }

    pub(super) fn totals(&self) -> DemandTotals {
        DemandTotals {
            answers: self.answers.load(Ordering::Relaxed),
            samples: self.written.load(Ordering::Relaxed),
            lost: self.lost.load(Ordering::Relaxed),
        }
    }

    fn slot(&self, number: u64) -> Option<&StoredSample> {
        self.slots.get((number % CAPACITY) as usize)
    }
}

/// Answers per sample, at most: what no machine outruns, so that nothing overflows.
const MAX_STRIDE: u64 = 1 << 20;

impl StoredSample {
    fn write(&self, sample: &Sample) {
        let client = match sample.client {
            IpAddr::V4(v4) => v4.to_ipv6_mapped(),
            IpAddr::V6(v6) => v6,
        };
        let client = u128::from(client);
        let ids = u64::from(sample.service.0) << 32 | u64::from(sample.region.0) << 16 | u64::from(sample.reloads);
        let figures = u64::from(sample.ttl) << 32 | u64::from(sample.weight);
        for (word, value) in self.0.iter().zip([(client >> 64) as u64, client as u64, ids, figures]) {
            word.store(value, Ordering::Relaxed);
        }
    }

    fn read(&self) -> Sample {
        let [upper, lower, ids, figures] = self.0.each_ref().map(|word| word.load(Ordering::Relaxed));
        Sample {
            client: IpAddr::V6(Ipv6Addr::from(u128::from(upper) << 64 | u128::from(lower))).to_canonical(),
            service: ServiceId((ids >> 32) as u32),
            region: RegionId((ids >> 16) as u16),
            ttl: (figures >> 32) as u32,
            weight: figures as u32,
            reloads: ids as u16,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn sample(number: u32) -> Sample {
        Sample {
            client: IpAddr::V4(number.into()),
            service: ServiceId(number % 3),
            region: RegionId((number % 5) as u16),
            ttl: 30,
            weight: 0,
            reloads: 7,
        }
    }

    fn drained(ring: &Ring) -> Vec<Sample> {
        let mut samples = Vec::new();
        ring.drain(SECOND, |sample| samples.push(sample));
        samples
    }

    fn weight(samples: &[Sample]) -> u64 {
        samples.iter().map(|sample| u64::from(sample.weight)).sum()
    }

    #[test]
    fn at_low_rates_every_answer_is_a_sample() {
        let ring = Ring::new();
        for round in 0..10 {
            let numbers = round * 1_000..round * 1_000 + 1_000;
            numbers.clone().for_each(|number| ring.answered_by_one(|| sample(number)));
            let expected: Vec<Sample> = numbers.map(|number| Sample { weight: 1, ..sample(number) }).collect();
            assert_eq!(drained(&ring), expected);
        }
        assert_eq!(drained(&ring), []);
        assert_eq!(ring.totals(), DemandTotals { answers: 10_000, samples: 10_000, lost: 0 });
    }

    #[test]
    fn of_many_writers_too_while_they_do_not_meet() {
        let ring = Ring::new();
        (0..1_000).for_each(|number| ring.answered_by_many(|| sample(number)));
        let samples = drained(&ring);
        assert_eq!((samples.len(), weight(&samples)), (1_000, 1_000));
    }

    #[test]
    fn a_sample_comes_back_as_it_was() {
        let all_bits = Sample {
            client: "fe80::1:2:3:4".parse().expect("an address"),
            service: ServiceId(u32::MAX),
            region: RegionId(u16::MAX),
            ttl: u32::MAX,
            weight: 1,
            reloads: u16::MAX,
        };
        let mapped = Sample { client: "::ffff:192.0.2.1".parse().expect("an address"), ..all_bits };
        let ring = Ring::new();
        ring.answered_by_one(|| all_bits);
        ring.answered_by_one(|| mapped);
        let unmapped = Sample { client: "192.0.2.1".parse().expect("an address"), ..all_bits };
        assert_eq!(drained(&ring), [all_bits, unmapped]);
    }

    #[test]
    fn at_high_rates_samples_are_few_and_their_weights_add_up() {
        let ring = Ring::new();
        let mut counted = 0;
        for round in 0..5 {
            (0..200_000).for_each(|number| ring.answered_by_one(|| sample(number)));
            let samples = drained(&ring);
            counted += weight(&samples);
            // The first round is a surprise: it is thinned out as the ring fills.
            let expected = if round == 0 { 3_000..4_097 } else { 1_800..2_200 };
            assert!(expected.contains(&samples.len()), "{} samples in round {round}", samples.len());
        }
        let totals = ring.totals();
        assert_eq!(totals.lost, 0);
        let waiting = totals.answers - counted;
        assert!(waiting <= 200, "{waiting} answers wait for their sample");
    }

    /// Queries come as A, AAAA, HTTPS in turn: every kind is sampled as often as it is asked.
    #[test]
    fn patterns_of_queries_do_not_show() {
        let ring = Ring::new();
        let mut by_kind = [0u64; 3];
        for _ in 0..30 {
            (0..60_000).for_each(|number| ring.answered_by_one(|| sample(number)));
            for sample in drained(&ring) {
                by_kind[sample.service.0 as usize] += u64::from(sample.weight);
            }
        }
        for count in by_kind {
            assert!(count.abs_diff(600_000) < 18_000, "{by_kind:?}");
        }
    }

    #[test]
    fn when_a_flood_ends_every_answer_counts_again() {
        let ring = Ring::new();
        for _ in 0..3 {
            (0..1_000_000).for_each(|number| ring.answered_by_one(|| sample(number)));
            drained(&ring);
        }
        drained(&ring);
        // At most two distances of the flood's stride, cut to the calm one's by the drain.
        (0..10).for_each(|number| ring.answered_by_one(|| sample(number)));
        assert!(drained(&ring).len() >= 8);
    }

    #[test]
    fn a_ring_that_nobody_empties_says_what_it_lost() {
        let ring = Ring::new();
        let mut rounds = 0;
        while ring.totals().lost == 0 && rounds < 1_000 {
            (0..100_000).for_each(|number| ring.answered_by_one(|| sample(number)));
            rounds += 1;
        }
        assert!(rounds > 50, "thinned out long before it is lost, not after {rounds} rounds");
        let totals = ring.totals();
        assert_eq!(totals.samples, CAPACITY);
        let samples = drained(&ring);
        let waiting = totals.answers - totals.lost - weight(&samples);
        assert!(waiting <= 2 << 16, "{waiting} answers are neither sampled nor lost");
    }

    /// Several threads at once, and one that reads meanwhile: nothing is torn, and each answer counts
    /// once.
    #[test]
    fn many_writers_lose_nothing() {
        const EACH: u32 = 50_000;
        let ring = Ring::new();
        let running = AtomicU64::new(4);
        let mut samples = Vec::new();
        std::thread::scope(|scope| {
            for thread in 0..4u32 {
                let (ring, running) = (&ring, &running);
                scope.spawn(move || {
                    (0..EACH).for_each(|number| ring.answered_by_many(|| sample(thread << 24 | number)));
                    running.fetch_sub(1, Ordering::Release);
                });
            }
            while running.load(Ordering::Acquire) > 0 {
                ring.drain(Duration::from_millis(1), |sample| samples.push(sample));
            }
        });
        samples.extend(drained(&ring));
        let answers = u64::from(4 * EACH);
        assert_eq!(ring.totals().answers, answers);
        assert_eq!(ring.totals().samples, samples.len() as u64);
        assert!(weight(&samples) + ring.totals().lost <= answers);
        for seen in &samples {
            let IpAddr::V4(client) = seen.client else { panic!("{seen:?}") };
            assert_eq!(*seen, Sample { weight: seen.weight, ..sample(client.into()) });
        }
        assert!(!samples.is_empty(), "the first answer is a sample, whoever gave it");
        // However many still waited for theirs when the threads ended: the next sample has them all.
        while ring.totals().answers < 2 * answers && weight(&samples) + ring.totals().lost < ring.totals().answers {
            ring.answered_by_many(|| sample(0));
            samples.extend(drained(&ring));
        }
        assert_eq!(weight(&samples) + ring.totals().lost, ring.totals().answers);
    }

    #[test]
    fn one_writer_and_one_reader_agree() {
        let ring = Ring::new();
        let done = AtomicBool::new(false);
        let mut samples = Vec::new();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                (0..300_000).for_each(|number| ring.answered_by_one(|| sample(number)));
                done.store(true, Ordering::Release);
            });
            while !done.load(Ordering::Acquire) {
                ring.drain(Duration::from_millis(1), |sample| samples.push(sample));
            }
        });
        samples.extend(drained(&ring));
        let totals = ring.totals();
        assert_eq!(totals.samples, samples.len() as u64);
        assert!(totals.lost + weight(&samples) <= totals.answers);
        assert!(samples.iter().all(|seen| {
            let IpAddr::V4(client) = seen.client else { return false };
            *seen == Sample { weight: seen.weight, ..sample(client.into()) }
        }));
    }
}
