//! The threads' end of a log: takes samples of what was asked and answered, copies them, and puts them into a queue.
//!
//! In: the exchanges of a batch. Out: the same, owned, at the other end of the queue. The queue holds [`MOST_OCTETS`] at
//! most; where its reader does not keep up, what comes is lost, and counted. No thread that answers waits.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, RecvError, RecvTimeoutError, SyncSender, TryRecvError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::query::client::Transport;
use crate::query::counters::{Counters, Event, Loss, QuerySink};
use crate::query::transport::Exchange;
use crate::state::Snapshot;

/// The memory that exchanges may take while they wait, in octets: some 20,000 usual ones.
pub const MOST_OCTETS: usize = 8 << 20;
/// Batches that may wait: at low rates each is one exchange.
const MOST_BATCHES: usize = 8_192;
/// What an exchange takes beside its messages, about.
const OVERHEAD: usize = 192;

/// Which exchanges are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sampling {
    /// One in so many on average, by chance: 1 is all of them.
    pub one_in: u32,
    /// So many in a second at most; `None`: no limit.
    pub per_second: Option<u32>,
}

/// The end where exchanges go in.
#[derive(Debug)]
pub struct Tap {
    sampling: Sampling,
    allowance: Allowance,
    queue: SyncSender<TappedBatch>,
    waiting: Arc<AtomicUsize>,
    sink: QuerySink,
    counters: Arc<Counters>,
}

/// The end where they come out.
#[derive(Debug)]
pub struct Tapped {
    queue: Receiver<TappedBatch>,
    waiting: Arc<AtomicUsize>,
}

/// Exchanges of one batch.
#[derive(Debug)]
pub struct TappedBatch {
    /// The snapshot that they were answered from, where the log asks for it.
    pub snapshot: Option<Arc<Snapshot>>,
    pub answered_at: SystemTime,
    /// From when they were received until they were answered.
    pub took: Duration,
    pub exchanges: Vec<TappedExchange>,
    octets: usize,
}

/// A message that came, and what was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TappedExchange {
    pub client: SocketAddr,
    pub server: SocketAddr,
    pub transport: Transport,
    pub query: Box<[u8]>,
    /// `None`: it got no response.
    pub response: Option<Box<[u8]>>,
}

/// Both ends of a queue for a sink.
pub fn queue(sampling: Sampling, sink: QuerySink, counters: Arc<Counters>) -> (Tap, Tapped) {
    let (sender, receiver) = mpsc::sync_channel(MOST_BATCHES);
    let waiting = Arc::new(AtomicUsize::new(0));
    let tapped = Tapped { queue: receiver, waiting: waiting.clone() };
    (Tap { sampling, allowance: Allowance::default(), queue: sender, waiting, sink, counters }, tapped)
}

impl Tap {
    /// Takes a sample of exchanges.
    pub fn offer<'e>(
        &self,
        snapshot: Option<&Arc<Snapshot>>,
        took: Duration,
        exchanges: impl Iterator<Item = Exchange<'e>>,
    ) {
        let mut sample = exchanges.filter(|_| self.sampling.one_in <= 1 || fastrand::u32(..self.sampling.one_in) == 0);
        let Some(first) = sample.next() else { return };
        let answered_at = SystemTime::now();
        let second = answered_at.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let mut over_rate = 0;
        let exchanges: Vec<TappedExchange> = [first]
            .into_iter()
            .chain(sample)
            .filter(|_| {
                let takes = self.sampling.per_second.is_none_or(|most| self.allowance.take(second as u32, most));
                over_rate += u64::from(!takes);
                takes
            })
            .map(TappedExchange::of)
            .collect();
        self.lost(Loss::Rate, over_rate);
        if exchanges.is_empty() {
            return;
        }
        self.send(TappedBatch { snapshot: snapshot.cloned(), ..TappedBatch::of(exchanges, answered_at, took) });
    }

    fn send(&self, batch: TappedBatch) {
        let (octets, exchanges) = (batch.octets, batch.exchanges.len() as u64);
        let before = self.waiting.fetch_add(octets, Ordering::Relaxed);
        if before + octets > MOST_OCTETS || self.queue.try_send(batch).is_err() {
            self.waiting.fetch_sub(octets, Ordering::Relaxed);
            self.lost(Loss::Queue, exchanges);
        }
    }

    fn lost(&self, loss: Loss, exchanges: u64) {
        if exchanges > 0 {
            self.counters.add_many(Event::Unrecorded(self.sink, loss), exchanges);
        }
    }
}

impl TappedBatch {
    /// Without a snapshot.
    pub fn of(exchanges: Vec<TappedExchange>, answered_at: SystemTime, took: Duration) -> TappedBatch {
        let octets = exchanges.iter().map(TappedExchange::octets).sum();
        TappedBatch { snapshot: None, answered_at, took, exchanges, octets }
    }
}

impl TappedExchange {
    fn of(exchange: Exchange<'_>) -> TappedExchange {
        let Exchange { client, server, transport, query, response } = exchange;
        let response = (!response.is_empty()).then(|| response.into());
        TappedExchange { client, server, transport, query: query.into(), response }
    }

    fn octets(&self) -> usize {
        self.query.len() + self.response.as_ref().map_or(0, |response| response.len()) + OVERHEAD
    }
}

impl Tapped {
    /// The next batch, once there is one.
    ///
    /// # Errors
    /// There will be none any more.
    pub fn next(&self) -> Result<TappedBatch, RecvError> {
        self.queue.recv().map(|batch| self.took(batch))
    }

    /// The same, but waits for so long at most.
    ///
    /// # Errors
    /// None has come, or there will be none any more.
    pub fn next_within(&self, most: Duration) -> Result<TappedBatch, RecvTimeoutError> {
        self.queue.recv_timeout(most).map(|batch| self.took(batch))
    }

    /// The next batch, if it is there.
    ///
    /// # Errors
    /// It is not, or there will be none any more.
    pub fn next_now(&self) -> Result<TappedBatch, TryRecvError> {
        self.queue.try_recv().map(|batch| self.took(batch))
    }

    /// Tells whether nothing can come any more: also where something still waits.
    pub fn has_ended(&self) -> bool {
        Arc::strong_count(&self.waiting) == 1
    }

    fn took(&self, batch: TappedBatch) -> TappedBatch {
        self.waiting.fetch_sub(batch.octets, Ordering::Relaxed);
        batch
    }
}

/// How many were taken in the second that is now, for all threads together: the second in the upper half, the number in
/// the lower.
#[derive(Debug, Default)]
struct Allowance(AtomicU64);

impl Allowance {
    /// Takes one, of `most` in a second.
    fn take(&self, second: u32, most: u32) -> bool {
        let taken = |word: u64| if (word >> 32) as u32 == second { word as u32 } else { 0 };
        let next = |word| (taken(word) < most).then(|| u64::from(second) << 32 | u64::from(taken(word) + 1));
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::counters::CounterSet;

    fn tap(sampling: Sampling) -> (Tap, Tapped, CounterSet) {
        let counters = CounterSet::new();
        let (tap, tapped) = queue(sampling, QuerySink::QueryLog, counters.shared());
        (tap, tapped, counters)
    }

    const ALL: Sampling = Sampling { one_in: 1, per_second: None };

    fn exchange(query: &[u8]) -> Exchange<'_> {
        let (client, server) = (SocketAddr::from(([192, 0, 2, 1], 5353)), SocketAddr::from(([192, 0, 2, 53], 53)));
        Exchange { client, server, transport: Transport::Udp, query, response: &[] }
    }

    fn lost(counters: &CounterSet, loss: Loss) -> u64 {
        counters.total().get(Event::Unrecorded(QuerySink::QueryLog, loss))
    }

    #[test]
    fn what_goes_in_comes_out_batch_by_batch() {
        let (tap, tapped, counters) = tap(ALL);
        tap.offer(None, Duration::from_micros(5), [exchange(b"a"), exchange(b"b")].into_iter());
        tap.offer(None, Duration::ZERO, [].into_iter());
        let batch = tapped.next_now().expect("a batch");
        let queries: Vec<&[u8]> = batch.exchanges.iter().map(|one| &*one.query).collect();
        assert_eq!((queries, batch.took), (vec![&b"a"[..], b"b"], Duration::from_micros(5)));
        assert_eq!(batch.exchanges[0].response, None);
        assert!(tapped.next_now().is_err(), "nothing is no batch");
        drop(tap);
        assert_eq!(tapped.next().err(), Some(RecvError));
        assert_eq!([Loss::Rate, Loss::Queue].map(|loss| lost(&counters, loss)), [0, 0]);
    }

    #[test]
    fn a_reader_that_does_not_read_costs_what_comes_and_no_more_memory() {
        let (tap, tapped, counters) = tap(ALL);
        let long = vec![0; 60_000];
        (0..1_000).for_each(|_| tap.offer(None, Duration::ZERO, [exchange(&long)].into_iter()));
        let kept = (MOST_OCTETS / (60_000 + OVERHEAD)) as u64;
        assert_eq!(lost(&counters, Loss::Queue), 1_000 - kept);
        assert!(tap.waiting.load(Ordering::Relaxed) <= MOST_OCTETS);
        for _ in 0..kept {
            tapped.next_now().expect("a batch");
        }
        assert_eq!(tap.waiting.load(Ordering::Relaxed), 0);
        (0..MOST_BATCHES + 3).for_each(|_| tap.offer(None, Duration::ZERO, [exchange(b"")].into_iter()));
        assert_eq!(lost(&counters, Loss::Queue), 1_000 - kept + 3, "small ones are bounded in number");
        drop(tapped);
        tap.offer(None, Duration::ZERO, [exchange(b"")].into_iter());
        assert_eq!(lost(&counters, Loss::Queue), 1_000 - kept + 4, "a reader that is gone");
    }

    #[test]
    fn one_in_many_is_taken_by_chance() {
        let (tap, tapped, _) = tap(Sampling { one_in: 10, per_second: None });
        fastrand::seed(7);
        (0..1_000).for_each(|_| tap.offer(None, Duration::ZERO, [exchange(b"q"); 10].into_iter()));
        let mut taken = 0;
        while let Ok(batch) = tapped.next_now() {
            taken += batch.exchanges.len();
        }
        assert!((800..1_200).contains(&taken), "{taken} of 10,000");
    }

    #[test]
    fn each_second_has_its_allowance_and_the_rest_is_counted() {
        let allowance = Allowance::default();
        let taken = |second| (0..10).filter(|_| allowance.take(second, 4)).count();
        assert_eq!([taken(100), taken(100), taken(101), taken(u32::MAX)], [4, 0, 4, 4]);
        let (tap, tapped, counters) = tap(Sampling { one_in: 1, per_second: Some(3) });
        tap.offer(None, Duration::ZERO, [exchange(b"q"); 100].into_iter());
        let batch = tapped.next_now().expect("a batch");
        // Another second may begin in between.
        assert!(batch.exchanges.len() == 3, "{}", batch.exchanges.len());
        assert_eq!(lost(&counters, Loss::Rate), 97);
    }
}
