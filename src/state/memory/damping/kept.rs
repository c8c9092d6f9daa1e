//! The memory that stability needs of a region, as it is kept over a restart, and back. Times are in
//! milliseconds since 1970.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::steer::health::effective::EffectiveState;
use crate::steer::health::stability::Flaps;
use crate::steer::kept::Clock;

use super::{Damping, Facts, Named, Out};

/// See [`Damping::kept`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct KeptDamping {
    serves: Option<bool>,
    fell: bool,
    serves_since_ms: Option<u64>,
    taken_down_ms: Option<u64>,
    /// After the last fall, and when that was.
    penalty: Option<(f64, u64)>,
    effective: Option<EffectiveState>,
    changed_at_ms: Option<u64>,
    back_since_ms: Option<u64>,
    out: Option<KeptOut>,
    withdrawn_at_ms: Option<u64>,
    released: bool,
    /// The time when an answer last named it, and when the last of those runs out.
    named_ms: Option<(u64, u64)>,
    /// The time when its drain began; the drain itself is kept with the overrides.
    drained_since_ms: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct KeptOut {
    was_back_for_ms: Option<u64>,
    by_operator: bool,
}

/// [`KeptDamping`] as versions 2 and 3 of the file had it: nothing was known of how a region is let back.
#[derive(Deserialize)]
pub struct KeptDamping3 {
    serves: Option<bool>,
    penalty: Option<(f64, u64)>,
    effective: Option<EffectiveState>,
    changed_at_ms: Option<u64>,
    back_since_ms: Option<u64>,
    out: Option<KeptOut>,
    withdrawn_at_ms: Option<u64>,
    released: bool,
    named_ms: Option<(u64, u64)>,
    drained_since_ms: Option<u64>,
}

impl From<KeptDamping3> for KeptDamping {
    fn from(kept: KeptDamping3) -> KeptDamping {
        KeptDamping {
            serves: kept.serves,
            fell: false,
            serves_since_ms: None,
            taken_down_ms: None,
            penalty: kept.penalty,
            effective: kept.effective,
            changed_at_ms: kept.changed_at_ms,
            back_since_ms: kept.back_since_ms,
            out: kept.out,
            withdrawn_at_ms: kept.withdrawn_at_ms,
            released: kept.released,
            named_ms: kept.named_ms,
            drained_since_ms: kept.drained_since_ms,
        }
    }
}

impl Damping {
    /// The memory of the region.
    pub fn kept(&self, region: &str, clock: &Clock) -> KeptDamping {
        let Some(facts) = self.regions.get(region) else { return KeptDamping::default() };
        let ms = |at: Option<Instant>| at.map(|at| clock.kept(at));
        KeptDamping {
            serves: facts.serves,
            fell: facts.fell,
            serves_since_ms: ms(facts.serves_since),
            taken_down_ms: ms(facts.taken_down),
            penalty: facts.flaps.last().map(|(penalty, at)| (penalty, clock.kept(at))),
            effective: facts.effective,
            changed_at_ms: ms(facts.changed_at),
            back_since_ms: ms(facts.back_since),
            out: facts.out.map(Out::kept),
            withdrawn_at_ms: ms(facts.withdrawn_at),
            released: facts.released,
            named_ms: facts.named.map(|named| (clock.kept(named.until), clock.kept(named.cached_until))),
            drained_since_ms: facts.drain.map(|drain| drain.since_ms),
        }
    }

    /// Takes that up. A drain that was restored with the overrides stays; where it is the one that was under way, it is
    /// better known here until when answers named the region. Where not all endpoints of the region are `proven`, how
    /// it stood is left out.
    pub fn restore(&mut self, region: &str, kept: &KeptDamping, proven: bool, clock: &Clock) {
        let known = self.regions.remove(region).unwrap_or_default();
        let named = match known.drain.map(|drain| drain.since_ms) {
            Some(since_ms) if Some(since_ms) != kept.drained_since_ms => known.named,
            _ => kept.named(clock).or(known.named),
        };
        let past = |ms: Option<u64>| clock.instant(ms?).map(|at| at.min(clock.now()));
        let facts = Facts {
            serves: kept.serves.filter(|_| proven),
            fell: kept.fell,
            serves_since: past(kept.serves_since_ms).filter(|_| proven),
            // However long ago that was: nothing but an operator's word, or its probes, lets it back.
            taken_down: kept.taken_down_ms.map(|ms| past(Some(ms)).unwrap_or(clock.now())),
            flaps: kept.flaps(clock),
            effective: kept.effective.filter(|_| proven),
            changed_at: past(kept.changed_at_ms),
            back_since: past(kept.back_since_ms),
            out: kept.out.as_ref().map(KeptOut::restored),
            withdrawn_at: past(kept.withdrawn_at_ms),
            released: kept.released,
            named,
            drain: known.drain,
            joined: false,
        };
        self.regions.insert(region.to_owned(), facts);
    }
}

impl KeptDamping {
    /// Nothing but that its probes took it down; `None` where they did not, or it was let back since.
    pub fn taken_down(&self) -> Option<KeptDamping> {
        let taken_down_ms = Some(self.taken_down_ms?);
        Some(KeptDamping { taken_down_ms, ..KeptDamping::default() })
    }

    fn named(&self, clock: &Clock) -> Option<Named> {
        let (until, cached_until) = self.named_ms?;
        Some(Named { until: clock.instant(until)?.min(clock.now()), cached_until: clock.instant(cached_until)? })
    }

    fn flaps(&self, clock: &Clock) -> Flaps {
        let last = self.penalty.and_then(|(penalty, at)| Some((penalty, clock.instant(at)?.min(clock.now()))));
        last.map_or_else(Flaps::default, |(penalty, at)| Flaps::restored(penalty, at))
    }
}

impl Out {
    fn kept(self) -> KeptOut {
        let ms = |duration: Duration| duration.as_millis() as u64;
        KeptOut { was_back_for_ms: self.was_back_for.map(ms), by_operator: self.by_operator }
    }
}

impl KeptOut {
    fn restored(&self) -> Out {
        Out { was_back_for: self.was_back_for_ms.map(Duration::from_millis), by_operator: self.by_operator }
    }
}

#[cfg(test)]
impl KeptDamping {
    /// One with a value in every place.
    pub fn sample() -> KeptDamping {
        KeptDamping { fell: true, serves_since_ms: Some(9), taken_down_ms: Some(10), ..KeptDamping::sample_of_before() }
    }

    /// One as versions 2 and 3 knew it.
    pub fn sample_of_before() -> KeptDamping {
        KeptDamping {
            serves: Some(false),
            fell: false,
            serves_since_ms: None,
            taken_down_ms: None,
            penalty: Some((1.5, 1)),
            effective: Some(EffectiveState::Drain),
            changed_at_ms: Some(2),
            back_since_ms: Some(3),
            out: Some(KeptOut { was_back_for_ms: Some(8), by_operator: true }),
            withdrawn_at_ms: Some(4),
            released: true,
            named_ms: Some((5, 6)),
            drained_since_ms: Some(7),
        }
    }
}
