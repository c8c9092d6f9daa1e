//! The number of connections that may be open, in all and from one network, and which of them yields to a newcomer.
//!
//! In: the address of a client that connects. Out: a [`StreamPlace`], given back when dropped, and which limit was met,
//! if one was. Nobody is turned away at a limit: the connection that has waited longest without a whole message
//! closes. So clients that open connections and ask nothing shut out each other, and not those who ask.
//!
//! One gate for all threads. Its lock is taken when connections come and go, never for a message.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::model::Prefix;
use crate::query::counters::TcpLimit;

use super::super::client_network;
use super::limits::TcpLimits;

/// Counts the connections that are open, and says which one closes for another.
pub struct Gate {
    limits: TcpLimits,
    began: Instant,
    /// Written with `seats` locked, read by anyone.
    open: AtomicUsize,
    seats: Mutex<Seats>,
}

/// A connection's place; given back when dropped.
pub struct StreamPlace {
    gate: Arc<Gate>,
    number: u64,
    waiting_since: Arc<AtomicU64>,
    yielded: Option<oneshot::Receiver<()>>,
}

impl Gate {
    pub fn new(limits: TcpLimits) -> Gate {
        Gate { limits, began: Instant::now(), open: AtomicUsize::new(0), seats: Mutex::default() }
    }

    /// Takes a place. Where a limit is met, another connection is told to yield, and its place is free from now on.
    pub fn enter(self: &Arc<Gate>, peer: IpAddr) -> (StreamPlace, Option<TcpLimit>) {
        let groups = groups(peer);
        let mut seats = self.lock();
        let mut met = None;
        for group in groups.into_iter().flatten() {
            let (most, limit) = self.most(group);
            while seats.held(group) >= most.max(1) && seats.yield_one(group) {
                met = Some(limit);
            }
        }
        let waiting_since = Arc::new(AtomicU64::new(self.millis(Instant::now())));
        let (leave, yielded) = oneshot::channel();
        let number = seats.take(groups, waiting_since.clone(), leave);
        self.open.store(seats.by_number.len(), Ordering::Relaxed);
        (StreamPlace { gate: self.clone(), number, waiting_since, yielded: Some(yielded) }, met)
    }

    /// The number of open connections.
    pub fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// The number of connections a group may have, and what that limit is called.
    fn most(&self, group: Group) -> (usize, TcpLimit) {
        let TcpLimits { connections, connections_per_network, .. } = self.limits;
        match group {
            Group::All => (connections, TcpLimit::Total),
            Group::Network(_) => (connections_per_network, TcpLimit::Network),
            Group::Site(_) => (connections_per_network.saturating_mul(NETWORKS_PER_SITE), TcpLimit::Network),
        }
    }

    fn millis(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.began).as_millis()).unwrap_or(u64::MAX)
    }

    fn lock(&self) -> MutexGuard<'_, Seats> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl StreamPlace {
    /// The last whole message has been answered, and the next one is waited for since `at`.
    pub fn waits_since(&self, at: Instant) {
        self.waiting_since.store(self.gate.millis(at), Ordering::Relaxed);
    }

    /// Completes when the connection is to close for another. Asked for once.
    pub fn yielded(&mut self) -> impl Future<Output = ()> + use<> {
        let yielded = self.yielded.take();
        async move {
            match yielded {
                // An error means that the place was given back: nobody listens then.
                Some(yielded) => drop(yielded.await),
                None => std::future::pending().await,
            }
        }
    }
}

impl Drop for StreamPlace {
    fn drop(&mut self) {
        let mut seats = self.gate.lock();
        drop(seats.leave(self.number)); // nothing where it yielded
        self.gate.open.store(seats.by_number.len(), Ordering::Relaxed);
    }
}

/// A /48 is a site (RFC 6177), of which a customer may have all 256 networks of 56 bits: it gets as much as this many.
const NETWORKS_PER_SITE: usize = 4;

/// The clients whose connections are counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Group {
    All,
    /// A /24 or /56.
    Network(Prefix),
    /// A /48.
    Site(Prefix),
}

/// The groups a client is in, the narrowest first: whoever takes too much yields before others do.
fn groups(peer: IpAddr) -> Groups {
    let site = peer.is_ipv6().then(|| Group::Site(Prefix::containing(peer, 48)));
    [Some(Group::Network(client_network(peer))), site, Some(Group::All)]
}

type Groups = [Option<Group>; 3];

/// The places that are taken.
#[derive(Default)]
struct Seats {
    by_number: HashMap<u64, Seat>,
    /// Of each group with connections: since when each one waits, as far as is known here, and its number.
    waiting: HashMap<Group, BTreeSet<(u64, u64)>>,
    next: u64,
}

struct Seat {
    groups: Groups,
    /// The connection's own word: in milliseconds since the gate was made.
    waiting_since: Arc<AtomicU64>,
    /// The time that `waiting` says; at most `waiting_since`.
    listed_since: u64,
    leave: oneshot::Sender<()>,
}

impl Seats {
    fn held(&self, group: Group) -> usize {
        self.waiting.get(&group).map_or(0, BTreeSet::len)
    }

    fn take(&mut self, groups: Groups, waiting_since: Arc<AtomicU64>, leave: oneshot::Sender<()>) -> u64 {
        let number = self.next;
        self.next += 1;
        let listed_since = waiting_since.load(Ordering::Relaxed);
        self.seat(number, Seat { groups, waiting_since, listed_since, leave });
        number
    }

    fn seat(&mut self, number: u64, seat: Seat) {
        for group in seat.groups.into_iter().flatten() {
            self.waiting.entry(group).or_default().insert((seat.listed_since, number));
        }
        self.by_number.insert(number, seat);
    }

    fn leave(&mut self, number: u64) -> Option<Seat> {
        let seat = self.by_number.remove(&number)?;
        for group in seat.groups.into_iter().flatten() {
            if let Some(waiting) = self.waiting.get_mut(&group) {
                waiting.remove(&(seat.listed_since, number));
                if waiting.is_empty() {
                    self.waiting.remove(&group);
                }
            }
        }
        Some(seat)
    }

    /// Frees the place of the group's connection that has waited longest. False where the group has none.
    ///
    /// Connections that asked since they were listed are listed anew on the way: at most once for each of their
    /// messages, so that messages need not touch the list.
    fn yield_one(&mut self, group: Group) -> bool {
        loop {
            let Some(&(_, number)) = self.waiting.get(&group).and_then(BTreeSet::first) else { return false };
            let Some(mut seat) = self.leave(number) else { return false };
            let since = seat.waiting_since.load(Ordering::Relaxed);
            if since <= seat.listed_since {
                let _ = seat.leave.send(()); // an error means that it is closing already
                return true;
            }
            seat.listed_since = since;
            self.seat(number, seat);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn gate(connections: usize, connections_per_network: usize) -> Arc<Gate> {
        Arc::new(Gate::new(TcpLimits { connections, connections_per_network, ..TcpLimits::default() }))
    }

    fn has_yielded(place: &mut StreamPlace) -> bool {
        place.yielded.as_mut().is_some_and(|yielded| yielded.try_recv().is_ok())
    }

    #[test]
    fn a_network_gets_its_places_back() {
        let gate = gate(1000, 2);
        let client = IpAddr::from([127, 0, 0, 1]);
        for _ in 0..3 {
            let places = [gate.enter(client), gate.enter(client)];
            assert!(places.iter().all(|(_, met)| met.is_none()));
            assert_eq!(gate.enter(client).1, Some(TcpLimit::Network));
        }
        assert_eq!(gate.open(), 0);
        let seats = gate.lock();
        assert!(seats.waiting.is_empty() && seats.by_number.is_empty());
    }

    #[test]
    fn ipv6_networks_are_56_bits_long_and_sites_48() {
        let gate = gate(1000, 1);
        let enter = |text: &str| gate.enter(text.parse().expect("address"));
        let (mut first, _) = enter("2001:db8:0:1::1");
        let (_second, met) = enter("2001:db8:0:ff::1");
        assert_eq!(met, Some(TcpLimit::Network), "the same /56");
        assert!(has_yielded(&mut first));
        let others = ["2001:db8:0:100::1", "2001:db8:0:200::1", "2001:db8:0:300::1"].map(enter);
        assert!(others.iter().all(|(_, met)| met.is_none()), "other /56");
        assert_eq!(enter("2001:db8:0:400::1").1, Some(TcpLimit::Network), "four networks' worth for a /48");
        assert_eq!(enter("2001:db8:1::1").1, None, "another /48");
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_waited_longest_without_a_whole_message_yields() {
        let gate = gate(3, 50);
        let mut places = Vec::new();
        for site in 1..=3 {
            places.push(gate.enter(IpAddr::from([192, 0, site, 1])).0);
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        places[0].waits_since(Instant::now());
        let (_newcomer, met) = gate.enter(IpAddr::from([192, 0, 9, 1]));
        assert_eq!(met, Some(TcpLimit::Total));
        assert_eq!([0, 1, 2].map(|index| has_yielded(&mut places[index])), [false, true, false]);
        assert_eq!(gate.open(), 3);
        drop(places.remove(1));
        assert_eq!(gate.open(), 3, "its place was given away already");
    }

    #[test]
    fn a_network_beyond_its_share_yields_before_others_do() {
        let gate = gate(3, 2);
        let mut bystander = gate.enter(IpAddr::from([192, 0, 2, 1])).0;
        let mut greedy = [1, 2].map(|host| gate.enter(IpAddr::from([198, 51, 100, host])).0);
        assert_eq!(gate.enter(IpAddr::from([198, 51, 100, 3])).1, Some(TcpLimit::Network));
        assert!(has_yielded(&mut greedy[0]) && !has_yielded(&mut bystander));
    }
}
