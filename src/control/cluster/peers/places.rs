//! Connections of other nodes: at most so many at once, and each with a time until when it must have gone on.
//!
//! Where all places are taken, the connection goes that waits for its client: first those that have proven nothing.
//! Whoever opens connections and is silent so keeps no node out.

use std::collections::HashMap;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

/// Connections at once.
pub const MOST: usize = 256;
/// TLS's handshake and a message's header must be there within this; each later header within this from its first octet.
pub const HEADER: Duration = Duration::from_secs(5);
/// A connection may be idle for so long; the reply must be taken within the same.
pub const IDLE: Duration = Duration::from_secs(60);
/// No connection is used for longer: whoever renews certificates or tokens wants the old ones gone.
pub const LIFE: Duration = Duration::from_secs(600);

/// All places.
#[derive(Default)]
pub struct Places(Mutex<Taken>);

#[derive(Default)]
struct Taken {
    next: u64,
    taken: HashMap<u64, Arc<Pace>>,
}

/// A place, given back where this is dropped.
pub struct Place {
    places: Arc<Places>,
    number: u64,
    pub pace: Arc<Pace>,
}

impl Places {
    /// A place for a newcomer; `None`: all are taken by connections that are being worked for.
    pub fn enter(self: &Arc<Places>) -> Option<Place> {
        let mut all = lock(&self.0);
        if all.taken.len() >= MOST {
            let waiting = all.taken.iter().filter_map(|(number, pace)| Some((pace.waiting()?, *number)));
            let (_, number) = waiting.min()?;
            if let Some(pace) = all.taken.remove(&number) {
                pace.end();
            }
        }
        let (number, pace) = (all.next, Arc::new(Pace::new()));
        all.next += 1;
        all.taken.insert(number, pace.clone());
        Some(Place { places: self.clone(), number, pace })
    }

    #[cfg(test)]
    pub fn taken(&self) -> usize {
        lock(&self.0).taken.len()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        lock(&self.places.0).taken.remove(&self.number);
    }
}

/// How far a connection is, and until when it must have gone on.
pub struct Pace {
    began: Instant,
    state: Mutex<State>,
    changed: Notify,
}

struct State {
    phase: Phase,
    since: Instant,
    until: Instant,
    /// It has brought a message of a node of this cluster.
    proven: bool,
    /// Its place is another's now.
    ended: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Header,
    Working,
    Idle,
}

impl Pace {
    fn new() -> Pace {
        let now = Instant::now();
        let state = State { phase: Phase::Header, since: now, until: now + HEADER, proven: false, ended: false };
        Pace { began: now, state: Mutex::new(state), changed: Notify::new() }
    }

    /// A header has begun, if none had.
    fn reads(&self) {
        if lock(&self.state).phase == Phase::Idle {
            self.set(Phase::Header, HEADER);
        }
    }

    /// A message is being worked on, for so long at most.
    pub fn works(&self, most: Duration) {
        self.set(Phase::Working, most);
    }

    /// Its sender is one of the cluster's nodes.
    pub fn is_proven(&self) {
        lock(&self.state).proven = true;
    }

    /// The reply is there, and may be taken.
    pub fn rests(&self) {
        self.set(Phase::Idle, IDLE);
    }

    /// Tells whether the connection is to end with this reply.
    pub fn is_old(&self) -> bool {
        self.began.elapsed() >= LIFE
    }

    fn set(&self, phase: Phase, most: Duration) {
        let mut state = lock(&self.state);
        let now = Instant::now();
        (state.phase, state.since, state.until) = (phase, now, now + most);
        drop(state);
        self.changed.notify_one();
    }

    fn end(&self) {
        lock(&self.state).ended = true;
        self.changed.notify_one();
    }

    /// Whether it has proven itself, and since when it waits for its client; `None`: it does not.
    fn waiting(&self) -> Option<(bool, Instant)> {
        let state = lock(&self.state);
        (state.phase != Phase::Working).then_some((state.proven, state.since))
    }

    /// Waits until its time is over.
    pub async fn over(&self) {
        loop {
            let (until, ended) = {
                let state = lock(&self.state);
                (state.until, state.ended)
            };
            if ended || Instant::now() >= until {
                return;
            }
            tokio::select! {
                () = sleep_until(until) => {}
                () = self.changed.notified() => {}
            }
        }
    }
}

/// Nothing is left half done where a holder panics.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A stream whose pace changes when a header begins.
pub struct Paced<S> {
    pub stream: S,
    pub pace: Arc<Pace>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Paced<S> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let (this, before) = (self.get_mut(), buffer.filled().len());
        let polled = Pin::new(&mut this.stream).poll_read(context, buffer);
        if buffer.filled().len() > before {
            this.pace.reads();
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Paced<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(context, octets)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_waits_unproven_goes_first_and_who_is_worked_for_stays() {
        let places = Arc::new(Places::default());
        let mut held: Vec<Place> = (0..MOST).map(|_| places.enter().expect("a place")).collect();
        for (at, place) in held.iter().enumerate() {
            if at != 1 {
                place.pace.works(IDLE);
            }
            if at == 0 {
                place.pace.is_proven();
                place.pace.rests();
            }
        }
        let newcomer = places.enter().expect("the place of the unproven one");
        held[1].pace.over().await;
        newcomer.pace.works(IDLE);
        let another = places.enter().expect("the place of the idle one");
        held[0].pace.over().await;
        another.pace.works(IDLE);
        assert!(places.enter().is_none(), "all others are worked for");
        held.truncate(2);
        held.clear();
        drop((newcomer, another));
        assert_eq!(places.taken(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_header_that_begins_late_has_its_own_time() {
        let place = Arc::new(Places::default()).enter().expect("a place");
        place.pace.works(IDLE);
        place.pace.rests();
        let began = Instant::now();
        tokio::time::advance(IDLE / 2).await;
        place.pace.reads();
        place.pace.over().await;
        assert_eq!(began.elapsed().as_secs(), (IDLE / 2 + HEADER).as_secs());
    }
}
