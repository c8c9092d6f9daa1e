//! Push checks: heartbeats that must arrive, each from an endpoint or someone beside it.
//!
//! ```text
//!   POST /v1/regions/NAME/heartbeat ─▶ Heartbeats ─▶ asked every interval: is the last one young, and of good health?
//! ```
//!
//! In: heartbeats as they come. Out: outcomes like those of any probe. One of which nothing was heard yet is not judged
//! before `max_age` has passed: nobody loses for a restart of this server.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::outcome::{ProbeError, Timings, excerpt};
use super::report::EndpointKey;

/// The last heartbeat of each endpoint; bounded by the endpoints of the model.
#[derive(Debug, Default)]
pub struct Heartbeats {
    last: Mutex<HashMap<EndpointKey, Heartbeat>>,
}

#[derive(Clone, Debug)]
struct Heartbeat {
    at: Instant,
    /// The error is what the endpoint says of itself.
    health: Result<(), String>,
}

impl Heartbeats {
    /// Takes a heartbeat of now. It must be of an endpoint of the model with a push check. An error is the reason for
    /// which the endpoint is unhealthy, which may be empty.
    pub fn take(&self, key: EndpointKey, health: Result<(), &str>) {
        let health = health.map_err(excerpt);
        self.lock().insert(key, Heartbeat { at: Instant::now(), health });
    }

    /// Forgets those of endpoints that are gone.
    pub(super) fn keep(&self, is_known: impl Fn(&EndpointKey) -> bool) {
        self.lock().retain(|key, _| is_known(key));
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<EndpointKey, Heartbeat>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The heartbeats of one endpoint.
#[derive(Clone)]
pub(super) struct Pulse {
    heartbeats: Arc<Heartbeats>,
    key: EndpointKey,
    /// Since when a heartbeat could have come.
    since: Instant,
}

impl Pulse {
    pub(super) fn of(heartbeats: &Arc<Heartbeats>, key: &EndpointKey) -> Pulse {
        Pulse { heartbeats: heartbeats.clone(), key: key.clone(), since: Instant::now() }
    }

    /// The outcome of a probe that asks now.
    pub(super) fn judge(&self, max_age: Duration) -> Result<Timings, ProbeError> {
        let last = self.heartbeats.lock().get(&self.key).cloned();
        match last {
            None if self.since.elapsed() <= max_age => Err(ProbeError::NotYet),
            None => Err(ProbeError::Answer("no heartbeat yet".into())),
            Some(Heartbeat { at, .. }) if at.elapsed() > max_age => {
                let (age, max_age) = (at.elapsed().as_secs(), max_age.as_secs_f64());
                Err(ProbeError::Answer(format!("no heartbeat for {age} s; max_age is {max_age} s")))
            }
            Some(Heartbeat { health: Ok(()), .. }) => Ok(Timings::default()),
            Some(Heartbeat { health: Err(why), .. }) => {
                let why = if why.is_empty() { why } else { format!(": {why}") };
                Err(ProbeError::Answer(format!("its heartbeat says that it is unhealthy{why}")))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX_AGE: Duration = Duration::from_secs(30);

    fn said(pulse: &Pulse) -> String {
        pulse.judge(MAX_AGE).map_or_else(|error| error.to_string(), |_| "ok".to_owned())
    }

    #[tokio::test(start_paused = true)]
    async fn a_heartbeat_holds_for_its_time_and_none_at_all_is_not_judged_before() {
        let heartbeats = Arc::new(Heartbeats::default());
        let key = |endpoint: &str| EndpointKey::only("seoul@gslb.example", endpoint);
        let (pulse, other) = (Pulse::of(&heartbeats, &key("192.0.2.1")), Pulse::of(&heartbeats, &key("192.0.2.2")));
        let wait = tokio::time::advance;
        assert_eq!(pulse.judge(MAX_AGE), Err(ProbeError::NotYet));
        heartbeats.take(key("192.0.2.1"), Ok(()));
        wait(MAX_AGE).await;
        assert_eq!((said(&pulse).as_str(), other.judge(MAX_AGE)), ("ok", Err(ProbeError::NotYet)));
        wait(Duration::from_secs(4)).await;
        assert_eq!(said(&pulse), "no heartbeat for 34 s; max_age is 30 s");
        assert_eq!(said(&other), "no heartbeat yet");
        heartbeats.take(key("192.0.2.1"), Err("disk full"));
        heartbeats.take(key("192.0.2.2"), Err(""));
        assert_eq!(said(&pulse), "its heartbeat says that it is unhealthy: disk full");
        assert_eq!(said(&other), "its heartbeat says that it is unhealthy");
        heartbeats.take(key("192.0.2.1"), Ok(()));
        assert_eq!(said(&pulse), "ok");
        heartbeats.keep(|key| &*key.endpoint == "192.0.2.2");
        assert_eq!((said(&pulse).as_str(), heartbeats.lock().len()), ("no heartbeat yet", 1));
        heartbeats.take(key("192.0.2.1"), Err(&"x".repeat(100_000)));
        assert!(said(&pulse).len() < 300, "bounded");
    }
}
