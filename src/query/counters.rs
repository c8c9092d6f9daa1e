//! The events of packets, in numbers: counted where it happens, added up where it is shown.
//!
//! Every thread that answers owns a block of counters and is its only writer, so counting is a
//! plain load and store without a lock or a shared cache line. Readers add up all blocks whenever
//! they like; they may see one packet's events half counted.
//!
//! ```text
//!    udp thread ─▶ Counters ─┐
//!    udp thread ─▶ Counters ─┼─▶ CounterSet::total() ─▶ Totals ─▶ metrics, API
//!    tcp thread ─▶ Counters ─┘
//! ```
//!
//! Beside them a block keeps samples of services' answers: see [`super::demand`].

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::client::Transport;
use super::demand::{DemandTotals, Ring, Sample};

/// All counters of the process: one block per thread that answers, and one for whoever else counts.
#[derive(Debug)]
pub struct CounterSet {
    /// Bounded by the threads ever started; a stopped thread's counts stay in the total.
    blocks: Mutex<Vec<Arc<Counters>>>,
    shared: Arc<Counters>,
    /// Held by whoever empties the rings.
    draining: Mutex<()>,
}

impl CounterSet {
    pub fn new() -> CounterSet {
        let shared = Arc::new(Counters::new(Writers::Many));
        CounterSet { blocks: Mutex::new(vec![shared.clone()]), shared, draining: Mutex::new(()) }
    }

    /// A new block for one thread. Only that thread may count in it.
    pub fn register(&self) -> Arc<Counters> {
        let block = Arc::new(Counters::new(Writers::One));
        self.lock().push(block.clone());
        block
    }

    /// The block that any thread may count in, a little slower.
    pub fn shared(&self) -> Arc<Counters> {
        self.shared.clone()
    }

    /// The sum over all blocks. Each number only ever grows.
    pub fn total(&self) -> Totals {
        let mut totals = Totals::default();
        for block in self.lock().iter() {
            for (sum, cell) in totals.0.iter_mut().zip(&block.cells) {
                *sum = sum.wrapping_add(cell.load(Ordering::Relaxed));
            }
        }
        totals
    }

    /// Gives all samples of answers since the last time, the oldest of each thread first, and sets
    /// how sparsely each thread takes them from now on. Meant to be called once a second; `elapsed`
    /// says how long ago it was the last time.
    pub fn drain_demand(&self, elapsed: Duration, mut take: impl FnMut(Sample)) {
        let _alone = self.draining.lock().unwrap_or_else(PoisonError::into_inner);
        let blocks = self.lock().clone();
        blocks.iter().for_each(|block| block.demand.drain(elapsed, &mut take));
    }

    /// The fate of services' answers, over all blocks.
    pub fn demand_totals(&self) -> DemandTotals {
        let mut totals = DemandTotals::default();
        for block in self.lock().iter() {
            let DemandTotals { answers, samples, lost } = block.demand.totals();
            totals.answers = totals.answers.wrapping_add(answers);
            totals.samples = totals.samples.wrapping_add(samples);
            totals.lost = totals.lost.wrapping_add(lost);
        }
        totals
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Arc<Counters>>> {
        self.blocks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for CounterSet {
    fn default() -> CounterSet {
        CounterSet::new()
    }
}

/// One block of counters. Aligned so that no two threads write to one cache line.
#[derive(Debug)]
#[repr(align(128))]
pub struct Counters {
    cells: [AtomicU64; Event::COUNT],
    demand: Ring,
    writers: Writers,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Writers {
    One,
    Many,
}

impl Counters {
    fn new(writers: Writers) -> Counters {
        Counters { cells: std::array::from_fn(|_| AtomicU64::new(0)), demand: Ring::new(), writers }
    }

    /// Counts one event.
    #[inline]
    pub fn add(&self, event: Event) {
        let Some(cell) = self.cells.get(event.index()) else { return };
        match self.writers {
            // No other thread writes here, so nothing is lost between the load and the store.
            Writers::One => cell.store(cell.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed),
            Writers::Many => {
                cell.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Counts an event so many times. Not for the packet path.
    pub fn add_many(&self, event: Event, times: u64) {
        if let Some(cell) = self.cells.get(event.index()) {
            cell.fetch_add(times, Ordering::Relaxed);
        }
    }

    /// Takes a sample of answers that were given elsewhere: as many as its weight. Only of a block that one
    /// thread counts in.
    pub fn sampled(&self, sample: &Sample) {
        self.demand.sampled_by_one(sample);
    }

    /// As many of a service's answers were given elsewhere, and no sample stands for them. Only of a block that
    /// one thread counts in.
    pub fn lost(&self, answers: u64) {
        self.demand.lost_by_one(answers);
    }

    /// Counts one answer of a service. `sample` is asked only now and then: see [`super::demand`].
    #[inline]
    pub fn answered(&self, sample: impl FnOnce() -> Sample) {
        match self.writers {
            Writers::One => self.demand.answered_by_one(sample),
            Writers::Many => self.demand.answered_by_many(sample),
        }
    }
}

/// The events that are counted. The transports count what concerns sockets, the engine what is inside packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// A message was handed to the engine. Counted by the transport.
    Query(Transport),
    /// A response left the engine with this RCODE, extended by EDNS (RFC 6895 section 2.3).
    /// 0 to 15 and BADVERS (16) have a counter each; all others share one.
    Response(u16),
    /// A response had TC set.
    Truncated,
    /// A packet got no response.
    Dropped(DropReason),
    /// The type that a well-formed question asked for.
    QueryType(QueryTypeGroup),
    /// A query carried an ECS option (RFC 7871).
    Ecs,
    /// A TCP connection was let in.
    TcpAccepted,
    /// A TCP connection was closed to let another in.
    TcpYielded(TcpLimit),
    /// A TCP connection was closed for being slow.
    TcpTimeout(TcpWait),
    /// A response could not be sent.
    SendFailed(Transport),
    /// Receiving or accepting failed for a reason that is no client's doing.
    SocketError(Transport),
    /// Answering panicked: a bug. The packets of that batch were lost.
    Panicked,
}

/// The reason why a packet got no response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DropReason {
    /// QR was set: answering responses makes loops.
    Response,
    /// Shorter than a DNS header.
    Short,
    /// From source port 0, where nobody listens.
    SourcePort,
    /// A datagram longer than any query (see `MAX_UDP_QUERY` in the transport).
    Long,
    /// Past the sockets: the headers are not those of a whole UDP packet.
    Header,
    /// Past the sockets: a checksum is wrong.
    Checksum,
}

/// Types asked for, grouped as operators watch them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum QueryTypeGroup {
    A,
    Aaaa,
    Https,
    Other,
}

/// The limit that a TCP connection met.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TcpLimit {
    /// On all connections.
    Total,
    /// On the connections of one /24, /56 or /48.
    Network,
}

/// The wait that a TCP client made too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TcpWait {
    /// Its next query.
    Idle,
    /// The rest of a query.
    Message,
    /// Reading its responses.
    Write,
}

impl Event {
    /// Every event there is a counter for, in a fixed order; `Response(17)` stands for all
    /// RCODEs without their own.
    pub fn all() -> impl Iterator<Item = Event> {
        let queries = [Event::Query(Transport::Udp), Event::Query(Transport::Tcp)];
        queries.into_iter().chain((0..=OTHER_RCODE).map(Event::Response)).chain(PLAIN_EVENTS)
    }

    const COUNT: usize = 2 + RCODES + PLAIN_EVENTS.len();

    /// The index of the event's counter: its place in [`Event::all`].
    const fn index(self) -> usize {
        const AFTER_RCODES: usize = 2 + RCODES;
        match self {
            Event::Query(transport) => transport as usize,
            Event::Response(rcode) => 2 + (if rcode > OTHER_RCODE { OTHER_RCODE } else { rcode }) as usize,
            Event::Truncated => AFTER_RCODES,
            Event::Dropped(reason) => AFTER_RCODES + 1 + reason as usize,
            Event::QueryType(group) => AFTER_RCODES + 7 + group as usize,
            Event::Ecs => AFTER_RCODES + 11,
            Event::TcpAccepted => AFTER_RCODES + 12,
            Event::TcpYielded(limit) => AFTER_RCODES + 13 + limit as usize,
            Event::TcpTimeout(wait) => AFTER_RCODES + 15 + wait as usize,
            Event::SendFailed(transport) => AFTER_RCODES + 18 + transport as usize,
            Event::SocketError(transport) => AFTER_RCODES + 20 + transport as usize,
            Event::Panicked => AFTER_RCODES + 22,
        }
    }
}

/// Stands for all RCODEs above BADVERS.
const OTHER_RCODE: u16 = 17;
const RCODES: usize = OTHER_RCODE as usize + 1;

/// The events after the RCODEs, in the order of [`Event::index`].
const PLAIN_EVENTS: [Event; 23] = [
    Event::Truncated,
    Event::Dropped(DropReason::Response),
    Event::Dropped(DropReason::Short),
    Event::Dropped(DropReason::SourcePort),
    Event::Dropped(DropReason::Long),
    Event::Dropped(DropReason::Header),
    Event::Dropped(DropReason::Checksum),
    Event::QueryType(QueryTypeGroup::A),
    Event::QueryType(QueryTypeGroup::Aaaa),
    Event::QueryType(QueryTypeGroup::Https),
    Event::QueryType(QueryTypeGroup::Other),
    Event::Ecs,
    Event::TcpAccepted,
    Event::TcpYielded(TcpLimit::Total),
    Event::TcpYielded(TcpLimit::Network),
    Event::TcpTimeout(TcpWait::Idle),
    Event::TcpTimeout(TcpWait::Message),
    Event::TcpTimeout(TcpWait::Write),
    Event::SendFailed(Transport::Udp),
    Event::SendFailed(Transport::Tcp),
    Event::SocketError(Transport::Udp),
    Event::SocketError(Transport::Tcp),
    Event::Panicked,
];

/// The sums at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Totals([u64; Event::COUNT]);

impl Totals {
    /// The number of times `event` happened since the start.
    pub fn get(&self, event: Event) -> u64 {
        self.0.get(event.index()).copied().unwrap_or(0)
    }
}

impl Default for Totals {
    fn default() -> Totals {
        Totals([0; Event::COUNT])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_has_its_own_counter() {
        let indices: Vec<usize> = Event::all().map(Event::index).collect();
        assert_eq!(indices, (0..Event::COUNT).collect::<Vec<_>>());
    }

    #[test]
    fn unknown_rcodes_share_one_counter() {
        let set = CounterSet::new();
        let counters = set.register();
        for rcode in [16, 17, 23, u16::MAX] {
            counters.add(Event::Response(rcode));
        }
        assert_eq!(set.total().get(Event::Response(16)), 1);
        assert_eq!(set.total().get(Event::Response(17)), 3);
    }

    #[test]
    fn totals_add_up_all_threads_living_or_gone() {
        let set = CounterSet::new();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                let own = set.register();
                let shared = set.shared();
                scope.spawn(move || {
                    for _ in 0..10_000 {
                        own.add(Event::Query(Transport::Udp));
                        shared.add(Event::Query(Transport::Tcp));
                    }
                });
            }
        });
        assert_eq!(set.total().get(Event::Query(Transport::Udp)), 40_000);
        assert_eq!(set.total().get(Event::Query(Transport::Tcp)), 40_000);
    }
}
