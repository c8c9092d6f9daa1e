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

use crate::model::RecordType;

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

    /// The times that sampled messages took, over all blocks.
    pub fn times(&self) -> AnswerTimes {
        let mut sum = AnswerTimes::default();
        self.lock().iter().for_each(|block| block.times.add_to(&mut sum));
        sum
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
    times: Times,
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
        let cells = std::array::from_fn(|_| AtomicU64::new(0));
        Counters { cells, times: Times::default(), demand: Ring::new(), writers }
    }

    /// Counts the time that messages were here: from when they were received until their answers had been sent. Only of a
    /// block that one thread counts in.
    pub fn took(&self, time: Duration, messages: u64) {
        self.times.add(time, messages);
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

/// The times that messages are here are told apart by, in seconds: each is a bucket's greatest.
pub const TIME_BOUNDS_S: [f64; 12] =
    [10e-6, 25e-6, 50e-6, 100e-6, 250e-6, 500e-6, 1e-3, 2.5e-3, 5e-3, 10e-3, 25e-3, 100e-3];

/// The times of messages, sampled.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct AnswerTimes {
    /// Messages by [`TIME_BOUNDS_S`], the last those that took longer than all of them.
    pub buckets: [u64; TIME_BOUNDS_S.len() + 1],
    /// Their times added up, in seconds.
    pub sum_s: f64,
}

/// [`AnswerTimes`] of one thread.
#[derive(Debug, Default)]
struct Times {
    buckets: [AtomicU64; TIME_BOUNDS_S.len() + 1],
    sum_ns: AtomicU64,
}

impl Times {
    /// There is one writer: nothing is lost between a load and its store.
    fn add(&self, time: Duration, messages: u64) {
        let seconds = time.as_secs_f64();
        let bucket = TIME_BOUNDS_S.iter().position(|&bound| seconds <= bound).unwrap_or(TIME_BOUNDS_S.len());
        let ns = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX).saturating_mul(messages);
        for (cell, more) in [(&self.buckets[bucket], messages), (&self.sum_ns, ns)] {
            cell.store(cell.load(Ordering::Relaxed).wrapping_add(more), Ordering::Relaxed);
        }
    }

    fn add_to(&self, sum: &mut AnswerTimes) {
        for (sum, bucket) in sum.buckets.iter_mut().zip(&self.buckets) {
            *sum = sum.wrapping_add(bucket.load(Ordering::Relaxed));
        }
        sum.sum_s += self.sum_ns.load(Ordering::Relaxed) as f64 / 1e9;
    }
}

/// The events that are counted. The transports count what concerns sockets, the engine what is inside packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// A message was handed to the engine. Counted by the transport.
    Query(Transport),
    /// A response left the engine with this RCODE, extended by EDNS (RFC 6895 section 2.3), to a question of this type.
    /// 0 to 15 and BADVERS (16) have a counter each; all others share one.
    Response(Transport, QueryTypeGroup, u16),
    /// A response had TC set.
    Truncated,
    /// One of these because its network has had as many responses as it may: it is empty.
    RateTruncated,
    /// A packet got no response.
    Dropped(DropReason),
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
    /// A query and its response went into a log.
    Recorded(QuerySink),
    /// They should have, and did not.
    Unrecorded(QuerySink, Loss),
    /// The reader of dnstap was reached.
    DnstapConnected,
    /// And lost.
    DnstapLost,
}

/// A log of queries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum QuerySink {
    QueryLog,
    Dnstap,
}

/// The reason why a query is in no log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Loss {
    /// There were more in a second than are to be written.
    Rate,
    /// The log did not keep up.
    Queue,
    /// It could not be written.
    Write,
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
    /// Its network has had as many responses as it may (see [`super::transport::rate`]).
    Rate,
}

/// Types asked for, as operators watch them: those that are asked for often, and all others together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum QueryTypeGroup {
    A,
    Ns,
    Cname,
    Soa,
    Ptr,
    Mx,
    Txt,
    Aaaa,
    Srv,
    Naptr,
    Ds,
    Dnskey,
    Svcb,
    Https,
    Any,
    Caa,
    Other,
    /// There was no question that could be read.
    None,
}

impl QueryTypeGroup {
    /// All of them, with their names.
    pub const ALL: [(QueryTypeGroup, &str); 18] = [
        (QueryTypeGroup::A, "A"),
        (QueryTypeGroup::Ns, "NS"),
        (QueryTypeGroup::Cname, "CNAME"),
        (QueryTypeGroup::Soa, "SOA"),
        (QueryTypeGroup::Ptr, "PTR"),
        (QueryTypeGroup::Mx, "MX"),
        (QueryTypeGroup::Txt, "TXT"),
        (QueryTypeGroup::Aaaa, "AAAA"),
        (QueryTypeGroup::Srv, "SRV"),
        (QueryTypeGroup::Naptr, "NAPTR"),
        (QueryTypeGroup::Ds, "DS"),
        (QueryTypeGroup::Dnskey, "DNSKEY"),
        (QueryTypeGroup::Svcb, "SVCB"),
        (QueryTypeGroup::Https, "HTTPS"),
        (QueryTypeGroup::Any, "ANY"),
        (QueryTypeGroup::Caa, "CAA"),
        (QueryTypeGroup::Other, "other"),
        (QueryTypeGroup::None, "none"),
    ];

    #[inline(always)]
    pub fn of(qtype: RecordType) -> QueryTypeGroup {
        GROUPS.get(usize::from(qtype.0)).copied().unwrap_or(QueryTypeGroup::Other)
    }
}

/// By type; those beyond are others.
static GROUPS: [QueryTypeGroup; RecordType::CAA.0 as usize + 1] = {
    let mut groups = [QueryTypeGroup::Other; RecordType::CAA.0 as usize + 1];
    groups[RecordType::A.0 as usize] = QueryTypeGroup::A;
    groups[RecordType::NS.0 as usize] = QueryTypeGroup::Ns;
    groups[RecordType::CNAME.0 as usize] = QueryTypeGroup::Cname;
    groups[RecordType::SOA.0 as usize] = QueryTypeGroup::Soa;
    groups[RecordType::PTR.0 as usize] = QueryTypeGroup::Ptr;
    groups[RecordType::MX.0 as usize] = QueryTypeGroup::Mx;
    groups[RecordType::TXT.0 as usize] = QueryTypeGroup::Txt;
    groups[RecordType::AAAA.0 as usize] = QueryTypeGroup::Aaaa;
    groups[RecordType::SRV.0 as usize] = QueryTypeGroup::Srv;
    groups[RecordType::NAPTR.0 as usize] = QueryTypeGroup::Naptr;
    groups[RecordType::DS.0 as usize] = QueryTypeGroup::Ds;
    groups[RecordType::DNSKEY.0 as usize] = QueryTypeGroup::Dnskey;
    groups[RecordType::SVCB.0 as usize] = QueryTypeGroup::Svcb;
    groups[RecordType::HTTPS.0 as usize] = QueryTypeGroup::Https;
    groups[RecordType::ANY.0 as usize] = QueryTypeGroup::Any;
    groups[RecordType::CAA.0 as usize] = QueryTypeGroup::Caa;
    groups
};

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
    /// Every event there is a counter for, in a fixed order; RCODE 17 stands for all without their own.
    pub fn all() -> impl Iterator<Item = Event> {
        let queries = TRANSPORTS.map(Event::Query);
        queries.into_iter().chain(Event::responses()).chain(PLAIN_EVENTS)
    }

    /// Every kind of response there is a counter for.
    pub fn responses() -> impl Iterator<Item = Event> {
        let of_type =
            |transport, (group, _)| (0..=OTHER_RCODE).map(move |rcode| Event::Response(transport, group, rcode));
        let of_transport =
            move |transport| QueryTypeGroup::ALL.into_iter().flat_map(move |group| of_type(transport, group));
        TRANSPORTS.into_iter().flat_map(of_transport)
    }

    const COUNT: usize = TRANSPORTS.len() + RESPONSES + PLAIN_EVENTS.len();

    /// The index of the event's counter: its place in [`Event::all`].
    #[inline(always)]
    const fn index(self) -> usize {
        const AFTER_RESPONSES: usize = TRANSPORTS.len() + RESPONSES;
        match self {
            Event::Query(transport) => transport as usize,
            Event::Response(transport, group, rcode) => {
                let of_group = transport as usize * QueryTypeGroup::ALL.len() + group as usize;
                let rcode = if rcode > OTHER_RCODE { OTHER_RCODE } else { rcode };
                TRANSPORTS.len() + of_group * RCODES + rcode as usize
            }
            Event::Truncated => AFTER_RESPONSES,
            Event::Dropped(reason) => AFTER_RESPONSES + 1 + reason as usize,
            Event::Ecs => AFTER_RESPONSES + 8,
            Event::TcpAccepted => AFTER_RESPONSES + 9,
            Event::TcpYielded(limit) => AFTER_RESPONSES + 10 + limit as usize,
            Event::TcpTimeout(wait) => AFTER_RESPONSES + 12 + wait as usize,
            Event::SendFailed(transport) => AFTER_RESPONSES + 15 + transport as usize,
            Event::SocketError(transport) => AFTER_RESPONSES + 17 + transport as usize,
            Event::Panicked => AFTER_RESPONSES + 19,
            Event::Recorded(sink) => AFTER_RESPONSES + 20 + sink as usize,
            Event::Unrecorded(sink, loss) => AFTER_RESPONSES + 22 + 3 * sink as usize + loss as usize,
            Event::DnstapConnected => AFTER_RESPONSES + 28,
            Event::DnstapLost => AFTER_RESPONSES + 29,
            Event::RateTruncated => AFTER_RESPONSES + 30,
        }
    }
}

/// Stands for all RCODEs above BADVERS.
pub const OTHER_RCODE: u16 = 17;
const RCODES: usize = OTHER_RCODE as usize + 1;
const TRANSPORTS: [Transport; 2] = [Transport::Udp, Transport::Tcp];
const RESPONSES: usize = TRANSPORTS.len() * QueryTypeGroup::ALL.len() * RCODES;

/// The events after the responses, in the order of [`Event::index`].
const PLAIN_EVENTS: [Event; 31] = [
    Event::Truncated,
    Event::Dropped(DropReason::Response),
    Event::Dropped(DropReason::Short),
    Event::Dropped(DropReason::SourcePort),
    Event::Dropped(DropReason::Long),
    Event::Dropped(DropReason::Header),
    Event::Dropped(DropReason::Checksum),
    Event::Dropped(DropReason::Rate),
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
    Event::Recorded(QuerySink::QueryLog),
    Event::Recorded(QuerySink::Dnstap),
    Event::Unrecorded(QuerySink::QueryLog, Loss::Rate),
    Event::Unrecorded(QuerySink::QueryLog, Loss::Queue),
    Event::Unrecorded(QuerySink::QueryLog, Loss::Write),
    Event::Unrecorded(QuerySink::Dnstap, Loss::Rate),
    Event::Unrecorded(QuerySink::Dnstap, Loss::Queue),
    Event::Unrecorded(QuerySink::Dnstap, Loss::Write),
    Event::DnstapConnected,
    Event::DnstapLost,
    Event::RateTruncated,
];

/// The sums at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Totals([u64; Event::COUNT]);

impl Totals {
    /// The number of times `event` happened since the start.
    pub fn get(&self, event: Event) -> u64 {
        self.0.get(event.index()).copied().unwrap_or(0)
    }

    /// The number of responses with this RCODE.
    pub fn responses(&self, rcode: u16) -> u64 {
        self.sum(|_, of| of == rcode.min(OTHER_RCODE))
    }

    /// The number of responses to questions of this type.
    pub fn questions(&self, group: QueryTypeGroup) -> u64 {
        self.sum(|of, _| of == group)
    }

    fn sum(&self, is_meant: impl Fn(QueryTypeGroup, u16) -> bool) -> u64 {
        let is_meant = |event: &Event| matches!(*event, Event::Response(_, group, rcode) if is_meant(group, rcode));
        Event::responses().filter(is_meant).fold(0, |sum, event| sum.wrapping_add(self.get(event)))
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
            counters.add(Event::Response(Transport::Tcp, QueryTypeGroup::Txt, rcode));
        }
        let total = set.total();
        assert_eq!((total.responses(16), total.responses(17), total.responses(0)), (1, 3, 0));
        assert_eq!((total.questions(QueryTypeGroup::Txt), total.questions(QueryTypeGroup::A)), (4, 0));
    }

    #[test]
    fn types_have_the_counters_of_their_names() {
        for (group, name) in QueryTypeGroup::ALL {
            let qtype = name.parse::<RecordType>();
            assert_eq!(qtype.map_or(group, QueryTypeGroup::of), group, "{name}");
        }
        for other in [0, 10, 99, 252, 256, 258, u16::MAX] {
            assert_eq!(QueryTypeGroup::of(RecordType(other)), QueryTypeGroup::Other, "{other}");
        }
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
