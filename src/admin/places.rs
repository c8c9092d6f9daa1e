//! The places for connections to the admin API, and who gives one up for a newcomer.
//!
//! In: the address of whoever connects, and how far its request has come. Out: a [`Place`], given back when dropped.
//! Where all places are taken, a connection that waits for its client closes: of the address that holds most of
//! those, the one that has waited longest. So unfinished headers, slow bodies, silent connections and clients that
//! do not read shut out each other. A request that is there as a whole is always answered.

use std::cmp::Reverse;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::sync::{Notify, oneshot, watch};
use tokio::time::{Instant, timeout};

/// Connections at once. Operators, a scraper and a few open status pages need a dozen.
const MOST: usize = 64;
/// No connection yields sooner: what came with it must have been read, also on a busy machine. Bounds how many
/// are let in per second, to 6,400.
const LEAST_WAIT: Duration = Duration::from_millis(10);

/// The places that are taken.
#[derive(Default)]
pub struct Places {
    seats: Mutex<Seats>,
    freed: Notify,
    paused: watch::Sender<bool>,
    ending: watch::Sender<bool>,
}

/// What an operator sees of the places.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PlaceCounts {
    /// Connections that wait for their clients.
    pub waiting: usize,
    /// Those whose request is being answered.
    pub working: usize,
    /// Closed for a newcomer, since the start.
    pub yielded: u64,
}

/// A connection's place; given back when dropped.
pub struct Place {
    places: Arc<Places>,
    number: u64,
}

impl Places {
    /// Takes a place, and waits for one only while all are at work. With it comes what completes when the
    /// connection is to close for another.
    pub async fn enter(self: &Arc<Places>, peer: IpAddr) -> (Place, oneshot::Receiver<()>) {
        loop {
            let (leave, yielded) = oneshot::channel();
            if let Some(number) = self.lock().take(peer, leave, Instant::now()) {
                return (Place { places: self.clone(), number }, yielded);
            }
            // An error means that somebody may have waited long enough by now.
            let _ = timeout(LEAST_WAIT, self.freed.notified()).await;
        }
    }

    /// From now on, or until it is called with false, nobody new is let in: they wait to be accepted, here or by a process
    /// that has the listener, too.
    pub fn pause(&self, paused: bool) {
        self.paused.send_replace(paused);
    }

    pub fn pausing(&self) -> watch::Receiver<bool> {
        self.paused.subscribe()
    }

    /// The server stops: answers that last are to end.
    pub fn end(&self) {
        self.ending.send_replace(true);
    }

    pub fn ending(&self) -> watch::Receiver<bool> {
        self.ending.subscribe()
    }

    pub fn counts(&self) -> PlaceCounts {
        let seats = self.lock();
        let working = seats.taken.iter().filter(|seat| seat.waiting_since.is_none()).count();
        PlaceCounts { waiting: seats.taken.len() - working, working, yielded: seats.yielded }
    }

    fn lock(&self) -> MutexGuard<'_, Seats> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// The request is there as a whole: it will be answered. False where the place was given away just before.
    pub fn is_whole(&self) -> bool {
        self.set_waiting(None)
    }

    /// The answer is made, and the client has to take it.
    pub fn is_answered(&self) {
        self.set_waiting(Some(Instant::now()));
    }

    fn set_waiting(&self, since: Option<Instant>) -> bool {
        let mut seats = self.places.lock();
        let ours = seats.taken.iter_mut().find(|seat| seat.number == self.number);
        ours.is_some_and(|seat| {
            seat.waiting_since = since;
            true
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.lock().taken.retain(|seat| seat.number != self.number);
        self.places.freed.notify_one();
    }
}

#[derive(Default)]
struct Seats {
    taken: Vec<Seat>,
    next: u64,
    yielded: u64,
}

struct Seat {
    number: u64,
    peer: IpAddr,
    /// Since when its client is waited for; `None` while its request is worked on.
    waiting_since: Option<Instant>,
    leave: oneshot::Sender<()>,
}

impl Seats {
    /// The number of a new seat; `None` where there is no room, nor anybody to yield yet.
    fn take(&mut self, peer: IpAddr, leave: oneshot::Sender<()>, now: Instant) -> Option<u64> {
        if self.taken.len() >= MOST {
            let yielding = self.taken.swap_remove(self.yielding(now)?);
            let _ = yielding.leave.send(()); // an error means that it is closing already
            self.yielded += 1;
        }
        let number = self.next;
        self.next += 1;
        self.taken.push(Seat { number, peer, waiting_since: Some(now), leave });
        Some(number)
    }

    /// The connection to close; `None` while it has not had [`LEAST_WAIT`], or none waits for its client.
    fn yielding(&self, now: Instant) -> Option<usize> {
        let of_peer = |peer| self.taken.iter().filter(|seat| seat.peer == peer && seat.waiting_since.is_some()).count();
        let waiting =
            self.taken.iter().enumerate().filter_map(|(index, seat)| Some((index, seat, seat.waiting_since?)));
        let first = waiting.min_by_key(|&(_, seat, since)| (Reverse(of_peer(seat.peer)), since, seat.number));
        first.filter(|&(_, _, since)| now.duration_since(since) >= LEAST_WAIT).map(|(index, ..)| index)
    }
}

/// A request's body, which tells the place when all of it has come.
pub struct WatchedBody {
    body: Incoming,
    place: Arc<Place>,
}

impl WatchedBody {
    pub fn new(body: Incoming, place: Arc<Place>) -> WatchedBody {
        WatchedBody { body, place }
    }
}

impl Body for WatchedBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        // Where the place was given away, nothing may follow from the request any more: the connection ends here.
        if (frame.is_none() || self.body.is_end_stream()) && !self.place.is_whole() {
            return Poll::Pending;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPERATOR: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const OTHER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(198, 51, 100, 1));

    async fn fill(places: &Arc<Places>, count: usize) -> Vec<(Place, oneshot::Receiver<()>)> {
        let mut taken = Vec::new();
        for _ in 0..count {
            taken.push(places.enter(OTHER).await);
        }
        taken
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_waited_longest_yields_and_whole_requests_do_not() {
        let places = Arc::new(Places::default());
        let mut taken = fill(&places, MOST).await;
        assert!(taken[0].0.is_whole());
        tokio::time::advance(LEAST_WAIT).await;
        let _newcomer = places.enter(OTHER).await;
        assert!(taken[0].1.try_recv().is_err() && taken[1].1.try_recv().is_ok());
        assert!(!taken[1].0.is_whole(), "too late");
        assert_eq!(places.counts(), PlaceCounts { waiting: MOST - 1, working: 1, yielded: 1 });
        drop(taken);
        assert_eq!(places.counts().waiting, 1, "one that yielded takes nobody else's place with it");
    }

    #[tokio::test(start_paused = true)]
    async fn the_address_that_holds_most_yields_first() {
        let places = Arc::new(Places::default());
        let mut slow = places.enter(OPERATOR).await;
        let _taken = fill(&places, MOST - 1).await;
        tokio::time::advance(LEAST_WAIT).await;
        let _more = fill(&places, MOST).await;
        assert!(slow.1.try_recv().is_err(), "the operator's slow request is not the attackers' to end");
    }

    #[tokio::test(start_paused = true)]
    async fn newcomers_wait_while_all_are_at_work_and_those_who_do_not_read_yield() {
        let places = Arc::new(Places::default());
        let taken = fill(&places, MOST).await;
        assert!(taken.iter().all(|(place, _)| place.is_whole()));
        assert!(timeout(Duration::from_secs(10), places.enter(OPERATOR)).await.is_err());
        taken[7].0.is_answered();
        timeout(2 * LEAST_WAIT, places.enter(OPERATOR)).await.expect("a place of one that only has to read");
    }
}
