//! Networks that lose packets, under the watch's own clock: which probes fail, and what is taken down by that.

use std::sync::atomic::{AtomicU32, Ordering};

use fastrand::Rng;
use tokio::time::Instant;

use super::*;
use crate::control::probe::exchange::AGAIN;
use crate::control::probe::watch::{Memory, Shared, Watched, watch};

const MS: Duration = Duration::from_millis(1);
const DAY: Duration = Duration::from_secs(24 * 3600);
const TIMEOUT: Duration = Duration::from_secs(2);
/// From a request to its answer.
const ROUND_TRIP: Duration = Duration::from_millis(20);

/// How long something takes in which packets are lost, `None` where longer than anybody waits.
type Took = fn(&mut Rng, f64) -> Option<Duration>;

/// One packet and the answer to it, sent again after these times.
fn exchange(chance: &mut Rng, loss: f64, again: &[u32]) -> Option<Duration> {
    let lost = |chance: &mut Rng| chance.f64() < loss;
    let mut sent = std::iter::once(0).chain(again.iter().copied());
    let heard = sent.find(|_| !lost(chance) && !lost(chance))?;
    Some(heard * MS + ROUND_TRIP)
}

/// The kernel sends a SYN again after 1 and 3 s (RFC 6298 section 2).
fn connect(chance: &mut Rng, loss: f64) -> Option<Duration> {
    exchange(chance, loss, &[1_000, 3_000])
}

/// And data after 200 ms and the round trip, twice that, and so on.
fn http(chance: &mut Rng, loss: f64) -> Option<Duration> {
    Some(connect(chance, loss)? + exchange(chance, loss, &[220, 660, 1_540])?)
}

fn datagrams(chance: &mut Rng, loss: f64) -> Option<Duration> {
    let again = AGAIN.as_millis() as u32;
    exchange(chance, loss, &[again, 3 * again, 7 * again])
}

/// One endpoint at interval 5 s, fall 3.
pub(super) fn endpoint(region: &str, number: usize, first_wait: Duration) -> Watched {
    Watched {
        key: EndpointKey::only(region, &format!("192.0.2.{number}")),
        target: EndpointTarget::Addresses(Vec::new()),
        interval: 5_000 * MS,
        fall: 3,
        grace: Duration::ZERO,
        timeout: TIMEOUT,
        connections: 1,
        first_wait,
    }
}

/// What a watch needs, for an endpoint of which nothing is known.
pub(super) fn shared(sink: &mpsc::Sender<EndpointReport>) -> Shared {
    Shared {
        memory: Arc::new(Mutex::new(Memory::new(History::new(3, 3)))),
        budget: Arc::new(Budget::new(10_000)),
        faults: Arc::new(OwnFaults::new("a probe")),
        reachability: Arc::default(),
        sink: sink.clone(),
        probed: tokio::sync::watch::Sender::new(false),
    }
}

/// What became of endpoints that were never ill.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Seen {
    probes: u32,
    doubts: u32,
    /// Reports that found one down.
    downs: u32,
}

/// Watches endpoints for so long, while each packet is lost by this chance.
async fn watched(endpoints: usize, lasts: Duration, took: Took, loss: f64, seed: u64) -> Seen {
    fastrand::seed(seed);
    let (sink, mut reports) = mpsc::channel(1_000);
    let (asked, ends) = (Arc::new(AtomicU32::new(0)), Instant::now() + lasts);
    let mut tasks = JoinSet::new();
    for number in 0..endpoints {
        let first_wait = 200 * MS * number as u32 / endpoints as u32;
        let (watched, shared) = (endpoint("seoul@gslb.example", number, first_wait), shared(&sink));
        let (asked, mut chance) = (asked.clone(), Rng::with_seed(seed ^ (number as u64) << 32));
        tasks.spawn(watch(watched, shared, move || {
            asked.fetch_add(1, Ordering::Relaxed);
            let took = took(&mut chance, loss);
            async move {
                let in_time = took.filter(|&took| took < TIMEOUT);
                tokio::time::sleep(in_time.unwrap_or(TIMEOUT)).await;
                let late = ProbeError::Timeout { phase: Phase::Connect, after: TIMEOUT };
                in_time.map(|total| Timings { total, ..Timings::default() }).ok_or(late)
            }
        }));
    }
    drop(sink);
    let mut seen = Seen::default();
    while let Ok(Some(report)) = tokio::time::timeout_at(ends, reports.recv()).await {
        match report.verdict {
            Verdict::Up => {}
            Verdict::Down => seen.downs += 1,
            Verdict::Suspect | Verdict::Unknown => seen.doubts += 1,
        }
    }
    Seen { probes: asked.load(Ordering::Relaxed), ..seen }
}

#[tokio::test(start_paused = true)]
async fn one_packet_in_a_hundred_lost_takes_nothing_down() {
    for (kind, took) in [connect as Took, http, datagrams].into_iter().enumerate() {
        let seen = watched(10, DAY / 4, took, 0.01, kind as u64).await;
        assert!(seen.probes > 40_000, "{kind}: {seen:?}");
        assert_eq!(seen.downs, 0, "{kind}: {seen:?}");
        // Nor is it asked much more often than its interval says.
        assert!(seen.probes < 50_000, "{kind}: {seen:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn half_of_all_packets_lost_does() {
    assert!(watched(10, DAY / 24, connect, 0.5, 1).await.downs > 0);
}

#[tokio::test]
async fn a_datagram_that_was_lost_is_sent_again() {
    let server = tokio::net::UdpSocket::bind((LOCALHOST, 0)).await.expect("a port");
    let port = server.local_addr().expect("bound").port();
    tokio::spawn(async move {
        let mut datagram = [0; 64];
        // The first is as good as lost.
        server.recv_from(&mut datagram).await.expect("a datagram");
        let (length, from) = server.recv_from(&mut datagram).await.expect("another");
        server.send_to(&datagram[..length], from).await.expect("sent");
    });
    let exchange = ExchangeCheck { port, send: b"PING".to_vec(), expect: b"PING".to_vec() };
    let check = Check { timeout: Duration::from_secs(60), ..check(CheckKind::Udp(exchange)) };
    let took = ask_local(check).await.expect("an answer").total;
    assert!(took >= AGAIN, "{took:?}");
}
