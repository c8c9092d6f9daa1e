//! One receiver's events, batch after batch: tried until it takes them, less and less often.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::watch;
use tracing::{info, warn};

use super::super::history::{Batch, Events};
use super::kept::Positions;

/// The first wait after a failure; twice as long after each further one, up to the longest. A random half is taken off, so
/// that servers that lost one receiver do not come back at once.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(300);
/// The longest that a receiver may ask to be left alone.
const LONGEST_ASKED: Duration = Duration::from_secs(600);
/// A batch that was refused so often is not tried again: half a minute's worth, as for a proxy that is being set up.
const MOST_REFUSALS: u32 = 5;

/// The way to a receiver.
pub trait Sender: Send + Sync + 'static {
    /// So many events are sent at once at most; above 0.
    fn most(&self) -> usize;

    /// Tries once, within a bounded time.
    fn send(&self, batch: &Batch) -> impl Future<Output = Outcome> + Send;
}

/// How one try ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Delivered,
    /// It will most likely never take these. Says why, without secrets.
    Refused(String),
    /// It may take them later.
    Failed {
        /// Without secrets.
        why: String,
        /// How long the receiver asks to be left alone.
        asked: Option<Duration>,
    },
}

/// What is needed to tell one receiver.
#[derive(Clone)]
pub struct Delivery {
    pub name: String,
    pub events: Arc<Events>,
    pub progress: Arc<Mutex<Progress>>,
    pub positions: Arc<watch::Sender<Positions>>,
}

/// How it goes.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    /// The number of the last event that is done with; 0: none is known to be.
    pub last_delivered_id: u64,
    /// Events that were taken, since the start.
    pub delivered: u64,
    /// Events that were refused for good, since the start.
    pub refused: u64,
    /// Events that fell out of the history untold, of which the receiver was told the number, since the start.
    pub left_out: u64,
    /// Tries in a row that failed; 0: all is well.
    pub failures: u32,
    /// Why the last of them did.
    pub error: Option<String>,
    /// When the first of them did.
    pub failing_since: Option<SystemTime>,
}

/// Tells one receiver, for as long as the server runs.
pub async fn deliver(of: Delivery, sender: Arc<impl Sender>) {
    let (mut news, mut refusals) = (of.events.news(), 0);
    loop {
        news.borrow_and_update();
        let Some(batch) = of.events.next_for(&of.name, sender.most()) else {
            if news.changed().await.is_err() {
                return;
            }
            continue;
        };
        let asked = match sender.send(&batch).await {
            Outcome::Delivered => {
                refusals = 0;
                of.delivered(&batch);
                continue;
            }
            Outcome::Refused(why) => {
                refusals += 1;
                of.failed(why);
                if refusals >= MOST_REFUSALS {
                    refusals = 0;
                    of.progress().refused += batch.events.len() as u64;
                    of.done(&batch);
                }
                None
            }
            Outcome::Failed { why, asked } => {
                refusals = 0;
                of.failed(why);
                asked
            }
        };
        let failures = of.progress().failures;
        tokio::time::sleep(pause(failures, asked, fastrand::f64())).await;
    }
}

/// How long to wait after so many failures, 1 or more; `chance`: 0 to 1.
fn pause(failures: u32, asked: Option<Duration>, chance: f64) -> Duration {
    let doubled = FIRST_PAUSE.saturating_mul(1 << failures.saturating_sub(1).min(20)).min(LONGEST_PAUSE);
    let own = doubled.mul_f64(0.5 + chance / 2.0);
    asked.map_or(own, |asked| asked.min(LONGEST_ASKED).max(own))
}

impl Delivery {
    fn delivered(&self, batch: &Batch) {
        self.done(batch);
        let mut progress = self.progress();
        progress.delivered += batch.events.len() as u64;
        progress.left_out += batch.left_out as u64;
        let failures = std::mem::take(&mut progress.failures);
        (progress.error, progress.failing_since) = (None, None);
        drop(progress);
        if failures > 0 {
            info!(receiver = self.name, failures, left_out = batch.left_out, "events are delivered again");
        }
    }

    fn done(&self, batch: &Batch) {
        let at = self.events.done(&self.name, batch);
        self.progress().last_delivered_id = at;
        self.positions.send_modify(|positions| _ = positions.insert(self.name.clone(), at));
    }

    fn failed(&self, why: String) {
        let mut progress = self.progress();
        if progress.failures == 0 {
            warn!(receiver = self.name, "events cannot be delivered: {why}; tried again until they can be");
            progress.failing_since = Some(SystemTime::now());
        }
        progress.failures = progress.failures.saturating_add(1);
        progress.error = Some(why);
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::time::Instant;

    use super::*;
    use crate::control::events::cursors::Filter;
    use crate::control::events::event::{Change, Event, RegionChange, tests::down};
    use crate::control::events::history::MOST_EVENTS;
    use crate::steer::kept::Clock;

    const NOW_MS: u64 = 1_795_000_000_000;
    type Tries = Mutex<Vec<(tokio::time::Instant, Vec<u64>, usize)>>;

    /// Answers as it is told to, then takes everything.
    #[derive(Default)]
    struct Fake {
        outcomes: Mutex<VecDeque<Outcome>>,
        tries: Tries,
    }

    impl Sender for Fake {
        fn most(&self) -> usize {
            3
        }

        async fn send(&self, batch: &Batch) -> Outcome {
            let ids = batch.events.iter().map(|event| event.id - NOW_MS).collect();
            self.tries.lock().expect("tries").push((tokio::time::Instant::now(), ids, batch.left_out));
            self.outcomes.lock().expect("outcomes").pop_front().unwrap_or(Outcome::Delivered)
        }
    }

    struct World {
        of: Delivery,
        fake: Arc<Fake>,
    }

    impl World {
        fn new(filter: Filter, outcomes: impl IntoIterator<Item = Outcome>) -> World {
            let events = Arc::new(Events::default());
            events.follow("hook", filter, Some(0));
            let (progress, positions) = (Arc::default(), Arc::new(watch::Sender::new(Positions::new())));
            let fake = Fake { outcomes: Mutex::new(outcomes.into_iter().collect()), tries: Tries::default() };
            World { of: Delivery { name: "hook".into(), events, progress, positions }, fake: Arc::new(fake) }
        }

        fn add(&self, regions: &[&str]) {
            let change = |region: &&str| Change::Region(RegionChange { region: region.to_string(), ..down() });
            self.of.events.add(&Clock::new(Instant::now(), NOW_MS), regions.iter().map(change).collect());
        }

        /// Delivers until nothing waits.
        async fn settle(&self) {
            let running = tokio::spawn(deliver(self.of.clone(), self.fake.clone()));
            while self.of.events.waiting_for("hook") != (0, 0) {
                tokio::time::sleep(Duration::from_millis(10)).await; // a failure is a test that never ends
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
            running.abort();
        }

        fn tried(&self) -> Vec<(Vec<u64>, usize)> {
            self.fake.tries.lock().expect("tries").iter().map(|(_, ids, left_out)| (ids.clone(), *left_out)).collect()
        }

        fn progress(&self) -> Progress {
            self.of.progress().clone()
        }
    }

    fn failed(asked: Option<u64>) -> Outcome {
        Outcome::Failed { why: "it answers 500".into(), asked: asked.map(Duration::from_secs) }
    }

    #[tokio::test(start_paused = true)]
    async fn each_event_is_told_once_in_order_and_the_filter_holds() {
        let filter = Filter { regions: vec!["seoul".into()], ..Filter::default() };
        let world = World::new(filter, []);
        world.add(&["seoul@a", "tokyo@a", "seoul@a", "seoul@b", "seoul@a", "oslo@a"]);
        world.settle().await;
        assert_eq!(world.tried(), [(vec![0, 2, 3], 0), (vec![4], 0)]);
        let progress = world.progress();
        assert_eq!((progress.delivered, progress.last_delivered_id), (4, NOW_MS + 5));
        assert_eq!(world.of.positions.borrow().get("hook"), Some(&(NOW_MS + 5)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_is_tried_again_later_each_time_until_it_takes() {
        let world = World::new(Filter::default(), [failed(None), failed(None), failed(None), failed(Some(60))]);
        world.add(&["seoul@a"]);
        world.settle().await;
        let times: Vec<_> = world.fake.tries.lock().expect("tries").iter().map(|(at, ..)| *at).collect();
        let waits: Vec<f64> = times.windows(2).map(|pair| (pair[1] - pair[0]).as_secs_f64()).collect();
        let [first, second, third, asked] = waits[..] else { panic!("{waits:?}") };
        assert!((0.5..=1.01).contains(&first) && (1.0..=2.01).contains(&second) && (2.0..=4.01).contains(&third));
        assert!((60.0..60.1).contains(&asked), "{waits:?}");
        assert_eq!(world.tried().len(), 5);
        let progress = world.progress();
        assert_eq!((progress.delivered, progress.failures, progress.error), (1, 0, None));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_refused_again_and_again_is_counted_and_left_behind() {
        let refused = Outcome::Refused("it answers 400".into());
        let world = World::new(Filter::default(), vec![refused; MOST_REFUSALS as usize]);
        world.add(&["a@a", "b@a", "c@a", "d@a"]);
        world.settle().await;
        let tried = world.tried();
        assert!(tried[..5].iter().all(|(ids, _)| *ids == [0, 1, 2]) && tried[5..] == [(vec![3], 0)], "{tried:?}");
        let progress = world.progress();
        assert_eq!((progress.refused, progress.delivered, progress.failures), (3, 1, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn what_falls_out_of_the_history_is_counted_and_said() {
        let filter = Filter { regions: vec!["seoul".into()], ..Filter::default() };
        let world = World::new(filter, []);
        world.add(&["seoul@a", "tokyo@a", "seoul@a", "seoul@a"]);
        world.add(&vec!["oslo@a"; MOST_EVENTS - 1]);
        assert_eq!(world.of.events.waiting_for("hook"), (1, 2), "those for it alone");
        world.settle().await;
        assert_eq!(world.tried(), [(vec![3], 2)]);
        assert_eq!((world.progress().delivered, world.progress().left_out), (1, 2));
        world.add(&["seoul@a"]);
        world.add(&vec!["oslo@a"; MOST_EVENTS]);
        world.settle().await;
        assert_eq!(world.tried()[1..], [(vec![], 1)], "also where nothing else is to be said");
    }

    #[test]
    fn what_leaves_the_history_while_it_is_told_is_not_left_out() {
        let world = World::new(Filter::default(), []);
        world.add(&["a@a", "b@a"]);
        let batch = world.of.events.next_for("hook", 10).expect("events");
        world.add(&vec!["oslo@a"; MOST_EVENTS]);
        assert_eq!(world.of.events.waiting_for("hook"), (MOST_EVENTS, 2));
        world.of.events.done("hook", &batch);
        assert_eq!(world.of.events.waiting_for("hook"), (MOST_EVENTS, 0));
    }

    #[test]
    fn waits_are_bounded() {
        for (failures, asked, least, most) in [
            (1, None, 0.5, 1.0),
            (4, None, 4.0, 8.0),
            (10_000, None, 150.0, 300.0),
            (1, Some(0), 0.5, 1.0),
            (1, Some(u64::MAX), 600.0, 600.0),
        ] {
            let pauses = [0.0, 1.0].map(|chance| pause(failures, asked.map(Duration::from_secs), chance).as_secs_f64());
            assert_eq!(pauses, [least, most], "{failures}, {asked:?}");
        }
    }

    #[test]
    fn an_event_without_a_receiver_is_nobodys() {
        let events = Events::default();
        assert!(events.next_for("hook", 1).is_none() && events.waiting_for("hook") == (0, 0));
        let event = Event { id: 1, at: jiff::Timestamp::UNIX_EPOCH, change: Change::Region(down()) };
        let batch = Batch::of(vec![Arc::new(event)], 0);
        assert_eq!(events.done("hook", &batch), 1);
    }
}
