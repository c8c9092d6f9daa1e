//! Faults of this machine: what keeps a question from being asked says nothing of who would have answered it.
//!
//! In: the error of a socket, however deep in other errors. Out: whether it is a fault of one's own, and a tally of
//! those, which says so in the log once a minute at most.

use std::error::Error;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tracing::warn;

use super::outcome::chain;

/// The error's text, where it or a cause of it is a fault of this machine.
pub fn own_fault(error: &(dyn Error + 'static)) -> Option<String> {
    let mut next = Some(error);
    while let Some(error) = next {
        let Some(io) = error.downcast_ref::<io::Error>() else {
            next = error.source();
            continue;
        };
        if io.raw_os_error().is_some_and(|code| OWN.contains(&code)) {
            return Some(chain(error));
        }
        // An error that wraps another leaves out that one when asked for its source.
        next = io.get_ref().map(|inner| -> &(dyn Error + 'static) { inner }).or_else(|| error.source());
    }
    None
}

/// What the kernel says where this machine is at its own limits or forbids it to itself: connect(2), socket(2). No
/// route is not among them: an endpoint that cannot be reached from here is not vouched for from here.
const OWN: [i32; 8] = [
    libc::EMFILE,
    libc::ENFILE,
    libc::ENOBUFS,
    libc::ENOMEM,
    // All local ports are taken, or there is no local address of that family.
    libc::EADDRNOTAVAIL,
    libc::EADDRINUSE,
    // Its own firewall or sandbox.
    libc::EPERM,
    libc::EACCES,
];

/// Questions that could not be asked for a fault of this machine.
#[derive(Debug)]
pub struct OwnFaults {
    /// One of them, as the log calls it: `a probe`.
    what: &'static str,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    count: u64,
    last: Option<LastFault>,
    told: Rarely,
}

/// The fault seen last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastFault {
    pub at: Instant,
    pub why: String,
}

impl OwnFaults {
    pub fn new(what: &'static str) -> OwnFaults {
        OwnFaults { what, seen: Mutex::default() }
    }

    pub fn happened(&self, why: &str) {
        let mut seen = self.lock();
        seen.count += 1;
        seen.last = Some(LastFault { at: Instant::now(), why: why.to_owned() });
        if let Some(untold) = seen.told.now(Instant::now()) {
            warn!(
                untold,
                "{} could not be made for a fault of this machine, and counts against nobody: {why}", self.what
            );
        }
    }

    /// How many there were since the start.
    pub fn count(&self) -> u64 {
        self.lock().count
    }

    pub fn last(&self) -> Option<LastFault> {
        self.lock().last.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Lets what repeats into the log once a minute.
#[derive(Debug, Default)]
pub(super) struct Rarely {
    last: Option<Instant>,
    untold: u64,
}

impl Rarely {
    const APART: Duration = Duration::from_secs(60);

    /// Whether to tell of it now: how often it was not told before.
    pub(super) fn now(&mut self, now: Instant) -> Option<u64> {
        if self.last.is_some_and(|last| now.saturating_duration_since(last) < Rarely::APART) {
            self.untold += 1;
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.untold))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_of_this_machine_are_faults_of_its_own_however_deep_and_refusals_are_not() {
        for code in OWN {
            let error = io::Error::from_raw_os_error(code);
            assert!(own_fault(&error).is_some(), "{error}");
            assert!(own_fault(&io::Error::other(io::Error::other(error))).is_some());
        }
        for code in [libc::ECONNREFUSED, libc::ECONNRESET, libc::ETIMEDOUT, libc::EHOSTUNREACH, libc::ENETUNREACH] {
            assert_eq!(own_fault(&io::Error::from_raw_os_error(code)), None);
        }
        assert_eq!(own_fault(&io::Error::other("too many open files")), None, "words are no proof");
    }

    #[test]
    fn faults_are_counted_and_told_once_a_minute() {
        let (mut rarely, start) = (Rarely::default(), Instant::now());
        let at = |s| start + Duration::from_secs(s);
        assert_eq!([0, 1, 59, 60].map(|s| rarely.now(at(s))), [Some(0), None, None, Some(2)]);
        let faults = OwnFaults::new("a probe");
        faults.happened("one");
        faults.happened("two");
        assert_eq!((faults.count(), faults.last().map(|last| last.why)), (2, Some("two".into())));
    }
}
