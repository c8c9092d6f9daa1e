//! The flows that were worked out last, so that several open pages cost no more than one.
//!
//! The longer they took, the longer they are told again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::control::what_if::flows::Flows;
use crate::model::ServiceId;

/// What is younger is told again.
const FRESH: Duration = Duration::from_secs(3);
/// And what is younger than so many times what it took: at most a tenth of one processor works on this.
const FRESH_TIMES: u32 = 10;
/// So many services' flows are kept.
const MOST_KEPT: usize = 16;

/// The flows that were worked out last, by service.
#[derive(Default)]
pub struct KeptFlows(Mutex<HashMap<Option<ServiceId>, Kept>>);

pub struct Kept {
    /// When it was done.
    pub at: Instant,
    pub took: Duration,
    /// Numbers of services mean nothing after another reload.
    pub reloads: u64,
    pub flows: Arc<Flows>,
}

impl Kept {
    fn is_fresh(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.at) < FRESH.max(self.took * FRESH_TIMES)
    }
}

impl KeptFlows {
    /// Those of this service, or of all, where they are fresh.
    pub fn find(&self, service: Option<ServiceId>, reloads: u64, now: Instant) -> Option<Arc<Flows>> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = known.get(&service)?;
        let fresh = kept.reloads == reloads && kept.is_fresh(now);
        fresh.then(|| kept.flows.clone())
    }

    pub fn keep(&self, service: Option<ServiceId>, kept: Kept) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, old| old.is_fresh(kept.at));
        if known.len() < MOST_KEPT {
            known.insert(service, kept);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::what_if::World;
    use crate::control::what_if::tests::planned;

    #[test]
    fn what_took_long_is_told_for_long_and_never_after_a_reload() {
        let flows = Arc::new(World::of(planned().0.shared().load_full()).flows(None));
        let (kept, start, s) = (KeptFlows::default(), Instant::now(), Duration::from_secs);
        kept.keep(None, Kept { at: start, took: s(2), reloads: 1, flows: flows.clone() });
        kept.keep(Some(ServiceId(0)), Kept { at: start, took: s(0), reloads: 1, flows });
        assert!(kept.find(None, 1, start + s(19)).is_some() && kept.find(None, 1, start + s(20)).is_none());
        assert!(kept.find(None, 2, start).is_none());
        let of_one = |at| kept.find(Some(ServiceId(0)), 1, at).is_some();
        assert!(of_one(start + s(2)) && !of_one(start + s(3)));
    }
}
