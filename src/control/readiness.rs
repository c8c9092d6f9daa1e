//! Tells whether routers should send clients to this node, and if not, why.
//!
//! ```text
//!   operator: drain, resume ─┐
//!   cluster: isolated ───────┤
//!   the last signal ─────────┼─▶ Readiness ─▶ /ready, `meridian ready`, status, metrics
//!   the writer's beats ──────┤
//!   zones of the snapshot ───┘
//! ```
//!
//! Computed by whoever asks, from single stores: nobody waits for the writer, which may be what stands still. A node
//! that answers in panic, or whose disk is in trouble, stays ready: such things happen to all nodes at once, and an
//! address that nobody announces answers nobody.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwapOption;

use super::vitals::{Pulse, Vitals};

/// All that decides whether this node is to be announced.
#[derive(Debug, Default)]
pub struct Readiness {
    vitals: Arc<Vitals>,
    drained: AtomicBool,
    stopping: AtomicBool,
    isolated: ArcSwapOption<String>,
}

/// One reason why it is not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotReady {
    /// The server is about to end.
    Stopping,
    /// An operator's word.
    Drained,
    /// It hears nothing of the other nodes, and why that is thought.
    Isolated(String),
    /// Nothing was heard of the writer for [`super::vitals::STALLED`], or it failed; in a sentence.
    Writer(String),
    /// There is nothing that it could answer.
    NoZone,
}

impl Readiness {
    pub fn new(vitals: Arc<Vitals>) -> Readiness {
        Readiness { vitals, ..Readiness::default() }
    }

    /// Everything that keeps it from being ready, while it serves so many zones; empty: it is.
    pub fn reasons(&self, zones: usize) -> Vec<NotReady> {
        let isolated = self.isolated.load_full();
        let all = [
            self.is_stopping().then_some(NotReady::Stopping),
            self.is_drained().then_some(NotReady::Drained),
            isolated.map(|why| NotReady::Isolated(why.as_ref().clone())),
            self.writer(),
            (zones == 0).then_some(NotReady::NoZone),
        ];
        all.into_iter().flatten().collect()
    }

    fn writer(&self) -> Option<NotReady> {
        match self.vitals.pulse() {
            Pulse::Beating => None,
            pulse @ (Pulse::Stalled(_) | Pulse::Failed(_)) => pulse.told().map(NotReady::Writer),
        }
    }

    pub fn is_drained(&self) -> bool {
        self.drained.load(Ordering::Relaxed)
    }

    /// Takes the operator's word; tells whether it is another one than before.
    pub fn set_drained(&self, drained: bool) -> bool {
        self.drained.swap(drained, Ordering::Relaxed) != drained
    }

    /// Takes what is known of the other nodes: why this one is cut off from them; `None`: it is not.
    pub fn set_isolated(&self, why: Option<String>) {
        self.isolated.store(why.map(Arc::new));
    }

    /// From now on it is about to end, for good.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }
}

impl NotReady {
    pub const WORDS: [&str; 5] = ["stopping", "drained", "isolated", "writer", "no_zone"];

    /// For machines: one of [`NotReady::WORDS`].
    pub fn word(&self) -> &'static str {
        let [stopping, drained, isolated, writer, no_zone] = NotReady::WORDS;
        match self {
            NotReady::Stopping => stopping,
            NotReady::Drained => drained,
            NotReady::Isolated(_) => isolated,
            NotReady::Writer(_) => writer,
            NotReady::NoZone => no_zone,
        }
    }

    /// For people: a clause without a full stop.
    pub fn told(&self) -> String {
        match self {
            NotReady::Stopping => "the server is stopping".to_owned(),
            NotReady::Drained => "an operator drains this node: `meridian node resume` ends that".to_owned(),
            NotReady::Isolated(why) => format!("this node is cut off from the others: {why}"),
            NotReady::Writer(why) => why.clone(),
            NotReady::NoZone => "no zone is loaded".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(readiness: &Readiness, zones: usize) -> Vec<&'static str> {
        readiness.reasons(zones).iter().map(NotReady::word).collect()
    }

    #[test]
    fn each_reason_comes_and_goes_by_itself() {
        let readiness = Readiness::default();
        assert_eq!(readiness.reasons(1), []);
        assert!(readiness.set_drained(true) && !readiness.set_drained(true));
        readiness.set_isolated(Some("2 of 3 nodes are silent".to_owned()));
        assert_eq!(words(&readiness, 0), ["drained", "isolated", "no_zone"]);
        assert!(readiness.reasons(1)[1].told().ends_with("from the others: 2 of 3 nodes are silent"));
        assert!(readiness.set_drained(false));
        assert_eq!(words(&readiness, 1), ["isolated"]);
        readiness.set_isolated(None);
        assert_eq!(readiness.reasons(1), []);
        readiness.stop();
        assert_eq!(words(&readiness, 1), ["stopping"]);
    }

    #[test]
    fn a_writer_that_is_gone_is_told_by_whoever_asks() {
        let vitals = Arc::new(Vitals::default());
        let readiness = Readiness::new(vitals.clone());
        let panicking = std::thread::spawn(move || {
            let _told = vitals.on_panic();
            panic!("a test's panic");
        });
        assert!(panicking.join().is_err());
        assert_eq!(words(&readiness, 1), ["writer"]);
    }
}
