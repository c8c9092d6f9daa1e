//! Says in the log when what regions report of their load is doubted, stale, failing or never comes, when it is
//! believed again, and when clients are kept near for want of believed loads.
//!
//! Each begins and ends with one line. Feeds flap: at most one begin per region and minute is told, and how many
//! were not.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use tracing::{info, warn};

use crate::model::RegionId;
use crate::state::Snapshot;
use crate::steer::figure::percent;
use crate::steer::load::feed::Implausible;
use crate::steer::load::state::{Heard, LoadState};

/// From one begin that is told of a region to the next.
const LEAST_APART: Duration = Duration::from_secs(60);
/// A region that never reported is told of once it should have, and not sooner than this.
const LEAST_SILENCE: Duration = Duration::from_secs(100);
/// So many regions are told of at once, and of the others how many they are.
const MOST_TOLD: usize = 20;

/// What was told.
#[derive(Default)]
pub struct FeedLog {
    /// By qualified region name.
    regions: HashMap<String, ToldCondition<Trouble>>,
    /// Clients kept near.
    kept: ToldCondition<()>,
}

/// Why a region's reports tell nothing, as far as that makes a difference to an operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trouble {
    Never,
    Stale,
    Failing,
    /// It rose or fell for no known reason.
    Jumped,
    /// It rises and falls again and again.
    Restless,
    Doubted(Implausible),
}

/// Something that begins and ends, as it was told.
#[derive(Debug)]
struct ToldCondition<T> {
    /// `None`: all is well.
    told: Option<T>,
    told_at: Option<Instant>,
    /// As it was when last looked at.
    seen: Option<T>,
    /// It has begun so often since then without being told.
    untold: u32,
}

impl<T> Default for ToldCondition<T> {
    fn default() -> ToldCondition<T> {
        ToldCondition { told: None, told_at: None, seen: None, untold: 0 }
    }
}

/// For the log: a change of what is so.
#[derive(Debug, PartialEq)]
enum Turn<T> {
    Begun {
        what: T,
        /// How often it began in between, and was not told; `None`: never.
        untold: Option<u32>,
    },
    Ended {
        was: T,
        lasted: Duration,
    },
}

impl<T: Copy + PartialEq> ToldCondition<T> {
    /// Takes what is so now; what is to be told of it.
    fn look(&mut self, now_is: Option<T>, now: Instant) -> Option<Turn<T>> {
        let is_new = std::mem::replace(&mut self.seen, now_is) != now_is;
        if now_is == self.told {
            return None;
        }
        let since = self.told_at.map(|at| now.saturating_duration_since(at));
        match (now_is, self.told) {
            (Some(_), _) if since.is_some_and(|since| since < LEAST_APART) => {
                self.untold = self.untold.saturating_add(u32::from(is_new));
                None
            }
            (Some(what), _) => {
                // One that is told late is none that was not told.
                let untold = std::mem::take(&mut self.untold).saturating_sub(u32::from(!is_new));
                (self.told, self.told_at) = (now_is, Some(now));
                Some(Turn::Begun { what, untold: (untold > 0).then_some(untold) })
            }
            (None, Some(was)) => {
                self.told = None;
                Some(Turn::Ended { was, lasted: since.unwrap_or_default() })
            }
            (None, None) => None,
        }
    }
}

impl FeedLog {
    /// Tells what has begun and ended by this snapshot.
    pub fn tell(&mut self, snapshot: &Snapshot, now: Instant) {
        let news = self.news(snapshot, now);
        for (id, news) in news.iter().take(MOST_TOLD) {
            tell_region(snapshot, *id, news, now);
        }
        if let Some(more @ 1..) = news.len().checked_sub(MOST_TOLD) {
            warn!(regions = more, "the load reports of as many more regions are not believed, or are again");
        }
        self.tell_kept(snapshot, now);
    }

    fn news(&mut self, snapshot: &Snapshot, now: Instant) -> Vec<(RegionId, Turn<Trouble>)> {
        let model = &snapshot.model;
        let mut before = std::mem::take(&mut self.regions);
        let mut news = Vec::new();
        for (id, state) in model.region_ids().zip(&snapshot.states) {
            if model.region(id).load_report.is_none() {
                continue; // told of no more, should it have been
            }
            let name = model.qualified_region_name(id);
            let mut told = before.remove(&name).unwrap_or_default();
            news.extend(told.look(trouble(&state.load, now), now).map(|news| (id, news)));
            self.regions.insert(name, told);
        }
        news
    }

    fn tell_kept(&mut self, snapshot: &Snapshot, now: Instant) {
        // Without a plan, as just after a reload, nobody knows who would be sent where.
        let Some(planned) = snapshot.plan.planned() else { return };
        let kept = &planned.kept_near;
        let names = kept.regions.iter().map(|id| snapshot.model.qualified_region_name(*id));
        match self.kept.look((kept.places > 0).then_some(()), now) {
            Some(Turn::Begun { untold, .. }) => warn!(
                untold,
                places = kept.places,
                of_demand = percent(kept.part, 1),
                regions = names.take(MOST_TOLD).collect::<Vec<_>>().join(", "),
                "clients are kept near: the load of these regions is not believed, so nobody is sent farther than \
                 `steering.max_detour` for it"
            ),
            Some(Turn::Ended { lasted, .. }) => info!(for_s = lasted.as_secs(), "clients are kept near no more"),
            None => {}
        }
    }
}

fn trouble(load: &LoadState, now: Instant) -> Option<Trouble> {
    let silent = load.since.map(|at| now.saturating_duration_since(at));
    let due = load.stale_after.unwrap_or_default().max(LEAST_SILENCE);
    match load.heard() {
        Heard::Never { failing: true } | Heard::Failing => Some(Trouble::Failing),
        Heard::Never { failing: false } => silent.is_some_and(|silent| silent >= due).then_some(Trouble::Never),
        Heard::Stale => Some(Trouble::Stale),
        Heard::Doubted(Implausible::Fell | Implausible::Rose) => Some(Trouble::Jumped),
        Heard::Doubted(doubt) => Some(Trouble::Doubted(doubt)),
        Heard::Believed if load.reading.is_some_and(|reading| reading.restless) => Some(Trouble::Restless),
        Heard::New | Heard::Believed => None,
    }
}

fn tell_region(snapshot: &Snapshot, id: RegionId, news: &Turn<Trouble>, now: Instant) {
    let region = snapshot.model.qualified_region_name(id);
    let Some(load) = snapshot.states.get(id.index()).map(|state| &state.load) else { return };
    let (figure, capacity) = (load.last.map(|last| last.load), load.last.and_then(|last| last.capacity));
    let error = load.error.as_deref();
    match *news {
        Turn::Begun { what: Trouble::Never, .. } => {
            warn!(%region, "no load report has ever come: a part of the configured capacity is planned with");
        }
        Turn::Begun { what: Trouble::Failing, untold } => {
            warn!(%region, untold, error, "load reports fail: the last figure holds until it is stale");
        }
        Turn::Begun { what: Trouble::Stale, untold } => {
            let age_s = load.last.map(|last| now.saturating_duration_since(last.at).as_secs());
            warn!(%region, untold, age_s, error, "load reports are stale: less and less of the capacity is planned with");
        }
        Turn::Begun { what: Trouble::Restless, untold } => {
            warn!(%region, untold, load = figure, capacity, "load reports swing: they count in the mean of 20 min");
        }
        Turn::Begun { untold, .. } => {
            let doubt = load.doubt.map(|doubt| doubt.to_string()).unwrap_or_default();
            let cure = load.doubt.and_then(Implausible::cure);
            warn!(%region, untold, load = figure, capacity, error, cure, "load reports are {doubt}");
        }
        Turn::Ended { was, lasted } => {
            let again = match was {
                Trouble::Jumped | Trouble::Doubted(_) => "are believed again",
                Trouble::Restless => "are calm again",
                Trouble::Never => "come",
                Trouble::Stale | Trouble::Failing => "come again",
            };
            info!(%region, for_s = lasted.as_secs(), load = figure, capacity, "load reports {again}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{LoadReport, Policy};
    use crate::state::{LoadNews, News, Publisher};
    use crate::steer::testing::{World, moment};

    const S: Duration = Duration::from_secs(1);

    #[test]
    fn one_begin_a_minute_is_told_and_how_many_were_not() {
        let began = Instant::now();
        let mut told = ToldCondition::default();
        let mut look = |second: u32, now_is: Option<char>| told.look(now_is, began + second * S);
        assert_eq!(look(0, None), None, "nothing at start");
        assert_eq!(look(1, Some('a')), Some(Turn::Begun { what: 'a', untold: None }));
        assert_eq!(look(2, Some('a')), None, "once");
        assert_eq!(look(5, None), Some(Turn::Ended { was: 'a', lasted: 4 * S }));
        for second in (10..60).step_by(10) {
            assert_eq!(look(second, Some('a')), None, "{second}");
            assert_eq!(look(second + 5, None), None, "nothing was told that could end");
        }
        assert_eq!(look(70, Some('a')), Some(Turn::Begun { what: 'a', untold: Some(5) }));
        assert_eq!(look(80, Some('b')), None, "another reason, and too soon");
        assert_eq!(look(130, Some('b')), Some(Turn::Begun { what: 'b', untold: None }), "it lasts, and is told late");
        assert_eq!(look(131, None), Some(Turn::Ended { was: 'b', lasted: S }));
    }

    /// What is told of the first of two regions that report every 10 s, each second for `seconds`; `load`: what
    /// comes from it.
    fn told(seconds: u64, load: impl Fn(u64) -> Option<Result<f64, &'static str>>) -> Vec<(u64, Turn<Trouble>)> {
        let mut world = World::two_coasts(Policy::Score);
        for region in &mut world.model.regions {
            region.load_report = Some(LoadReport::pushed(10 * S));
        }
        let began = Instant::now();
        let mut publisher = Publisher::new(world.model, world.atlas, "", 0, Default::default(), moment(began));
        let (mut log, mut found) = (FeedLog::default(), Vec::new());
        for second in 0..seconds {
            let now = began + Duration::from_secs(second);
            for (region, load) in [("west@gslb.example", load(second)), ("east@gslb.example", Some(Ok(50.0)))] {
                if let Some(outcome) = load.filter(|_| second % 10 == 1) {
                    let outcome = outcome.map(|load| (load, None)).map_err(str::to_owned);
                    publisher.apply(News::Load(LoadNews { region: region.into(), at: now, outcome }), moment(now));
                }
            }
            publisher.publish(moment(now));
            let news = log.news(&publisher.shared().load(), now);
            found.extend(news.into_iter().map(|(id, news)| (second, assert_first(id, news))));
        }
        found
    }

    fn assert_first(id: RegionId, news: Turn<Trouble>) -> Turn<Trouble> {
        assert_eq!(id, RegionId(0), "the other one is well: {news:?}");
        news
    }

    fn begun(what: Trouble) -> Turn<Trouble> {
        Turn::Begun { what, untold: None }
    }

    #[test]
    fn reports_that_come_are_not_told_of_and_those_that_never_do_are_once() {
        assert_eq!(told(200, |_| Some(Ok(50.0))), []);
        let late = told(200, |second| (second > 150).then_some(Ok(50.0)));
        let came = Turn::Ended { was: Trouble::Never, lasted: 51 * S };
        assert_eq!(late, [(100, begun(Trouble::Never)), (151, came)]);
    }

    #[test]
    fn failing_stale_and_back_are_told_apart() {
        let told = told(300, |second| match second {
            0..50 => Some(Ok(50.0)),
            50..120 => Some(Err("refused")),
            _ => Some(Ok(60.0)),
        });
        assert_eq!(told[0], (51, begun(Trouble::Failing)));
        assert_eq!(told[1], (111, begun(Trouble::Stale)), "a minute after what was told before");
        assert_eq!(told[2], (121, Turn::Ended { was: Trouble::Stale, lasted: 10 * S }));
        assert_eq!(told.len(), 3, "{told:?}");
    }

    #[test]
    fn a_load_beyond_reason_is_told_with_its_cure() {
        let told = told(100, |second| Some(Ok(if second > 50 { 1e9 } else { 50.0 })));
        assert_eq!(told, [(51, begun(Trouble::Doubted(Implausible::Units)))]);
        assert!(Implausible::Units.cure().is_some_and(|cure| cure.contains("per cent")));
    }
}
