//! The state that a simulated server keeps for a warm restart: the server's own file, through the server's own code, by
//! virtual time.

use std::path::Path;
use std::time::Duration;

use crate::control::warm::{PERIOD, Part, WarmStart, WarmStore};
use crate::state::Publisher;
use crate::steer::kept::Clock;

/// The time when it is kept, and where.
pub(super) struct Keeping {
    store: WarmStore,
    next: Option<Duration>,
    failing: bool,
    /// To be told to whoever plays.
    notices: Vec<String>,
}

impl Keeping {
    pub(super) fn new(state: &Path) -> Keeping {
        Keeping { store: WarmStore::new(state), next: None, failing: false, notices: Vec::new() }
    }

    /// Tells whether what was kept is still to be taken up.
    pub(super) fn is_to_start(&self) -> bool {
        self.next.is_none()
    }

    /// Takes up what was kept. Whether there was something to take up.
    pub(super) fn start(&mut self, publisher: &mut Publisher, time: Duration, now: Clock) -> bool {
        self.next = Some(time + PERIOD);
        let start = self.store.restore(publisher, now);
        if !matches!(start, WarmStart::First) {
            self.notices.push(start.to_string());
        }
        matches!(start, WarmStart::Warm { .. })
    }

    /// Keeps what is known, where that is due. Tells when it begins to fail.
    pub(super) fn keep(&mut self, publisher: &Publisher, time: Duration, now: &Clock) {
        if self.next.is_none_or(|next| time < next) {
            return;
        }
        self.next = Some(time + PERIOD);
        let outcome = self.store.save(Part::Whole, &publisher.kept(now), now.unix_ms());
        match &outcome {
            Err(error) if !self.failing => self.notices.push(error.to_string()),
            _ => {}
        }
        self.failing = outcome.is_err();
    }

    pub(super) fn take_notices(&mut self) -> Vec<String> {
        std::mem::take(&mut self.notices)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::model::Coordinates;
    use crate::simulate::{ClientLocation, Simulation, Site, World};

    const LOCATIONS: usize = 24;
    const RESOLVERS: u64 = 25;
    /// The wall clock at first, in seconds since 1970.
    const BEGAN: u64 = 1_790_000_000;

    /// Two regions of 1,000 each, one beside most clients, and 1,500 of demand.
    fn world(names: [&str; 2]) -> World {
        let at = |latitude, longitude| Coordinates::new(latitude, longitude).expect("coordinates");
        let region = |name: &str| {
            let longitude = if name == "seoul" { 127.0 } else { 8.0 };
            Site { name: name.into(), at: at(40.0, longitude), cost: 0.5, capacity: 1000.0 }
        };
        let place = |n: usize| {
            let longitude = if n < 20 { 80.0 + 4.0 * n as f64 } else { n as f64 };
            ClientLocation { country: None, at: at(30.0, longitude), name: format!("place {n}") }
        };
        let locations = (0..LOCATIONS).map(place).collect();
        World { regions: names.map(region).into(), locations, seed: 3, ..World::default() }
    }

    /// A simulation with resolvers that keep answers, whose clients follow them.
    struct Played {
        simulation: Simulation,
        names: [&'static str; 2],
        /// Seconds since [`BEGAN`] at virtual time 0.
        from: u64,
        /// Of the whole world, in the unit of the loads.
        demand: f64,
        /// By location and resolver: region, and until when.
        cached: Vec<Option<(usize, u64)>>,
        alive: [bool; 2],
    }

    impl Played {
        fn start(names: [&'static str; 2], state: Option<&Path>, from: u64) -> Played {
            let mut simulation = Simulation::start(&world(names)).expect("a simulation");
            if let Some(state) = state {
                simulation.keep_in(state, Duration::from_secs(BEGAN + from));
            }
            let cached = vec![None; LOCATIONS * RESOLVERS as usize];
            Played { simulation, names, from, demand: 1500.0, cached, alive: [true; 2] }
        }

        /// As the one before left its resolvers and regions, which nobody restarted.
        fn after(before: Played, state: Option<&Path>, from: u64) -> Played {
            let Played { names, demand, cached, alive, .. } = before;
            Played { demand, cached, alive, ..Played::start(names, state, from) }
        }

        fn second(&mut self, t: u64) {
            self.simulation.set_time(Duration::from_secs(t - self.from));
            (0..2).for_each(|region| self.simulation.set_alive(region, self.alive[region]));
            if t.is_multiple_of(10) {
                (0..2).for_each(|region| self.simulation.report_load(region, self.load(region), Some(1000.0)));
            }
            for (n, cached) in self.cached.iter_mut().enumerate() {
                if cached.is_none_or(|(_, until)| until <= t) {
                    let answer = self.simulation.query(n / RESOLVERS as usize, key(n), true).expect("an answer");
                    *cached = Some((answer.region, t + u64::from(answer.ttl_s)));
                }
            }
            self.simulation.end_second();
        }

        fn load(&self, region: usize) -> f64 {
            let each = self.demand / self.cached.len() as f64;
            self.cached.iter().flatten().filter(|(of, _)| *of == region).count() as f64 * each
        }

        fn play(&mut self, seconds: std::ops::Range<u64>) {
            seconds.for_each(|t| self.second(t));
        }

        /// Names of the regions, with the TTLs, that everybody would be told.
        fn answers(&mut self) -> Vec<(&'static str, u32)> {
            let ask = |n: usize| {
                let answer = self.simulation.glance(n / RESOLVERS as usize, key(n), true).expect("an answer");
                (self.names[answer.region], answer.ttl_s)
            };
            (0..self.cached.len()).map(ask).collect()
        }
    }

    fn key(n: usize) -> u64 {
        (n as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }

    fn alike(before: &[(&str, u32)], after: &[(&str, u32)]) -> f64 {
        let same = before.iter().zip(after).filter(|((before, _), (after, _))| before == after).count();
        same as f64 / before.len() as f64
    }

    const STOPPED: u64 = 900;
    const PORTS: [&str; 2] = ["seoul", "frankfurt"];

    /// Plays until it is stopped without a word, and again from `gap` later on: what was answered last, and the parts
    /// of it that are answered alike at once and at the end of the ten minutes after, each minute.
    fn restarted(state: Option<&Path>, gap: u64) -> (Vec<(&'static str, u32)>, Vec<f64>) {
        let mut played = Played::start(PORTS, state, 0);
        played.play(0..STOPPED);
        let before = played.answers();
        let from = STOPPED + gap;
        let mut played = Played::after(played, state, from);
        let mut parts = vec![alike(&before, &played.answers())];
        for minute in 0..10 {
            played.play(from + 60 * minute..from + 60 * (minute + 1));
            parts.push(alike(&before, &played.answers()));
        }
        (before, parts)
    }

    #[test]
    fn a_restart_moves_nobody_at_once_nor_in_the_ten_minutes_after() {
        for gap in [1, 20, 120, 800] {
            let state = tempfile::tempdir().expect("a directory");
            let (before, parts) = restarted(Some(state.path()), gap);
            let near = before.iter().filter(|(region, _)| *region == "seoul").count() as f64 / before.len() as f64;
            assert!((0.5..0.7).contains(&near), "its plan splits: {near}");
            assert!(parts.iter().all(|part| *part >= 0.99), "{gap} s: {parts:?}");
        }
        let (_, forgetful) = restarted(None, 20);
        assert!(forgetful.iter().any(|part| *part < 0.9), "or there is nothing to keep: {forgetful:?}");
    }

    #[test]
    fn a_restart_is_no_change() {
        let state = tempfile::tempdir().expect("a directory");
        let mut played = Played::start(PORTS, Some(state.path()), 0);
        played.demand = 700.0; // so that no region is nearly full, which shows in TTLs
        played.play(0..STOPPED);
        let before = played.answers();
        let mut played = Played::after(played, Some(state.path()), STOPPED + 5);
        assert!(played.answers() == before, "TTLs and all");
        assert!(before.iter().all(|(_, ttl_s)| *ttl_s == 30));
        let states = &played.simulation.snapshot().states;
        assert!(states.iter().all(|state| state.changed_at.is_none() && state.offered == 1.0));
        assert!(states.iter().all(|state| state.load.last.is_some() && state.price_ms >= 0.0));
        let notices = played.simulation.take_notices();
        assert!(notices.len() == 1 && notices[0].starts_with("a warm start: took up 2 regions"), "{notices:?}");
    }

    #[test]
    fn a_dead_region_stays_down_until_its_probes_say_otherwise_and_then_starts_slowly() {
        let state = tempfile::tempdir().expect("a directory");
        let mut played = Played::start(PORTS, Some(state.path()), 0);
        played.demand = 700.0; // that the other region has room for
        played.play(0..300);
        played.alive[0] = false;
        played.play(300..400);
        let mut played = Played::after(played, Some(state.path()), 410);
        let all = |played: &mut Played, told: (&str, u32)| played.answers().into_iter().all(|answer| answer == told);
        // It fell at 301 to 307, and 300 s after that is told by the wall clock.
        played.play(410..600);
        assert!(all(&mut played, ("frankfurt", 5)), "the aftermath goes on");
        played.play(600..610);
        assert!(all(&mut played, ("frankfurt", 15)), "and ends in time");
        played.alive[0] = true;
        let mut played = Played::after(played, Some(state.path()), 612);
        assert!(all(&mut played, ("frankfurt", 15)), "one success proves nothing");
        played.play(612..630);
        let offered = |played: &Played| played.simulation.snapshot().states[0].offered;
        assert!((0.05..0.25).contains(&offered(&played)), "{}", offered(&played));
        // And its slow start goes on over another restart.
        played.play(630..720);
        let before = offered(&played);
        let mut played = Played::after(played, Some(state.path()), 721);
        played.second(721);
        let after = offered(&played);
        assert!(before > 0.4 && (before - 0.01..=before + 0.11).contains(&after), "{before} {after}");
    }

    #[test]
    fn a_region_that_died_meanwhile_is_answered_no_more_than_at_any_death() {
        for (gap, most_s) in [(2, 7), (60, 3)] {
            let state = tempfile::tempdir().expect("a directory");
            let mut played = Played::start(PORTS, Some(state.path()), 0);
            played.play(0..300);
            played.alive[0] = false;
            let mut played = Played::after(played, Some(state.path()), 300 + gap);
            let names_it = |played: &mut Played| played.answers().iter().any(|(region, _)| *region == "seoul");
            let named = (0..20).filter(|second| {
                played.second(300 + gap + second);
                names_it(&mut played)
            });
            let named = named.count() as u64;
            assert!(named <= most_s, "{gap} s later: {named}");
        }
    }

    #[test]
    fn what_is_reported_in_the_first_second_is_newer_than_what_was_kept() {
        let state = tempfile::tempdir().expect("a directory");
        Played::start(PORTS, Some(state.path()), 0).play(0..100);
        let mut played = Played::start(PORTS, Some(state.path()), 105);
        played.simulation.set_time(Duration::ZERO);
        played.simulation.report_load(0, 123.0, Some(456.0));
        played.answers();
        let load = played.simulation.snapshot().states[0].load.clone();
        assert_eq!(load.last.map(|figure| (figure.load, figure.capacity)), Some((123.0, Some(456.0))));
        assert!(!load.stale && played.simulation.snapshot().states[1].load.last.is_some());
    }

    #[test]
    fn regions_may_be_renumbered_meanwhile() {
        let state = tempfile::tempdir().expect("a directory");
        let mut played = Played::start(PORTS, Some(state.path()), 0);
        played.play(0..STOPPED);
        let before = played.answers();
        let mut played = Played::start(["frankfurt", "seoul"], Some(state.path()), STOPPED + 5);
        let alike = alike(&before, &played.answers());
        assert!(alike >= 0.99, "{alike}");
        let loads = |played: &Played| {
            let snapshot = played.simulation.snapshot();
            let load = |name: &str| {
                let id = snapshot.model.region_ids().find(|&id| &*snapshot.model.region(id).name == name).expect("it");
                snapshot.states[id.index()].load.last.map(|figure| figure.load)
            };
            (load("seoul").expect("a load"), load("frankfurt").expect("a load"))
        };
        let (near, far) = loads(&played);
        assert!(near > far && far > 0.0, "{near} {far}");
    }

    #[test]
    fn what_cannot_be_used_makes_a_cold_start_and_is_told() {
        let state = tempfile::tempdir().expect("a directory");
        let file = state.path().join("steering.kept");
        let start = |from: u64| {
            let mut played = Played::start(PORTS, Some(state.path()), from);
            assert!(played.answers().iter().all(|(region, _)| ["seoul", "frankfurt"].contains(region)));
            played.simulation.take_notices().join("\n")
        };
        assert_eq!(start(0), "", "a first start");
        Played::start(PORTS, Some(state.path()), 0).play(0..40);
        let whole = fs::read(&file).expect("kept");
        assert!(start(40).starts_with("a warm start"), "{}", start(40));
        for (from, told) in [(30 + 901, "is 901 s old"), (30 + 90_000, "is 90000 s old")] {
            assert!(start(from).starts_with("a cold start") && start(from).contains(told), "{}", start(from));
        }
        let mut corrupt = whole.clone();
        let middle = corrupt.len() / 2;
        corrupt[middle] ^= 1;
        for (octets, told) in [(&corrupt[..], "checksum"), (&whole[..middle], "cut off"), (&b""[..], "not such a file")]
        {
            fs::write(&file, octets).expect("written");
            assert!(start(40).starts_with("a cold start") && start(40).contains(told), "{}", start(40));
        }
        // The next save mends it.
        Played::start(PORTS, Some(state.path()), 50).play(50..90);
        assert!(start(95).starts_with("a warm start"));
    }

    #[test]
    fn a_directory_nobody_may_write_to_is_told_once() {
        let state = tempfile::tempdir().expect("a directory");
        let file = state.path().join("file");
        fs::write(&file, "in the way").expect("written");
        let mut played = Played::start(PORTS, Some(&file), 0);
        played.play(0..120);
        let notices = played.simulation.take_notices();
        assert_eq!(notices.iter().filter(|notice| notice.starts_with("cannot write")).count(), 1, "{notices:?}");
    }
}
