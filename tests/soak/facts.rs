//! What may be answered at a moment, as those know who change it, and what was answered that may not be.
//!
//! Whoever asks takes a [`View`] before and after: only what was wrong all the while is wrong. Time is counted in turns
//! that this process got: where the machine is busy with something else, promises wait with it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::world::{self, FIRST, PROBED, REGIONS};

/// A region that dies is out of the answers after two probes at 300 ms that take 400 ms at most: 1.1 s, and what
/// a busy machine takes beside.
pub const PROMISE: Duration = Duration::from_secs(3);
/// An operator's word holds when it is confirmed.
pub const AT_ONCE: Duration = Duration::ZERO;
/// So many queries may be lost over UDP by the kernel: one in so many, and a few.
const LOST_OF: u64 = 100_000;
const LOST_AT_LEAST: u64 = 3;
const MOST_FAULTS: usize = 20;
const TURN: Duration = Duration::from_millis(10);

pub struct Facts {
    state: Mutex<State>,
    faults: Mutex<Vec<String>>,
    turns: Arc<AtomicU64>,
    pub counts: Counts,
}

#[derive(Default)]
pub struct Counts {
    pub udp: AtomicU64,
    pub tcp: AtomicU64,
    pub lost_udp: AtomicU64,
    pub lost_tcp: AtomicU64,
    pub reloads: AtomicU64,
    pub refused: AtomicU64,
    pub deaths: AtomicU64,
    pub words: AtomicU64,
    pub databases: AtomicU64,
    /// Answers that only say that a region is not in them while it is out.
    pub without: AtomicU64,
    /// By region.
    pub answered: [AtomicU64; REGIONS],
}

struct State {
    /// Since when a region must not be answered any more, and which time this is.
    out: BTreeMap<usize, (Duration, u64)>,
    outs: u64,
    editions: RangeInclusive<u32>,
}

/// What may be answered at a moment.
pub struct View {
    /// Regions that must not be, each with which time it is that they are out.
    banned: Vec<(usize, u64)>,
    /// From the one that has been confirmed to the latest that was tried.
    pub editions: RangeInclusive<u32>,
}

impl Facts {
    pub fn new() -> Facts {
        let turns = Arc::new(AtomicU64::new(0));
        let counted = Arc::downgrade(&turns);
        std::thread::spawn(move || {
            while let Some(turns) = counted.upgrade() {
                turns.fetch_add(1, Ordering::SeqCst);
                drop(turns);
                std::thread::sleep(TURN);
            }
        });
        let state = State { out: BTreeMap::new(), outs: 0, editions: FIRST..=FIRST };
        Facts { state: Mutex::new(state), faults: Mutex::default(), turns, counts: Counts::default() }
    }

    pub fn view(&self) -> View {
        let (now, state) = (self.now(), self.state());
        let banned = state.out.iter().filter(|(_, (from, _))| *from <= now);
        View { banned: banned.map(|(region, (_, time))| (*region, *time)).collect(), editions: state.editions.clone() }
    }

    /// A region must not be answered any more from so long after now.
    pub fn goes(&self, region: usize, within: Duration) {
        let from = self.now() + within;
        let mut state = self.state();
        state.outs += 1;
        let time = state.outs;
        state.out.insert(region, (from, time));
    }

    pub fn may_be_back(&self, region: usize) {
        self.state().out.remove(&region);
    }

    /// Waits for so many turns' time, or until it is over.
    pub fn wait(&self, length: Duration, is_over: impl Fn() -> bool) {
        let until = self.now() + length;
        while self.now() < until && !is_over() {
            std::thread::sleep(TURN);
        }
    }

    pub fn tried(&self, edition: u32) {
        let mut state = self.state();
        state.editions = *state.editions.start()..=edition;
    }

    pub fn confirmed(&self, edition: u32) {
        self.state().editions = edition..=edition;
    }

    pub fn blame(&self, fault: String) {
        let mut faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
        if faults.len() < MOST_FAULTS {
            println!("{fault}");
            faults.push(fault);
        }
    }

    pub fn is_bad(&self) -> bool {
        !self.faults.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// Blames addresses in one answer that may not be there, or not beside each other. Gives their regions.
    pub fn judge_addresses(
        &self,
        what: &str,
        before: &View,
        addresses: &[IpAddr],
        most: usize,
    ) -> Vec<(usize, Option<u32>)> {
        let after = self.view();
        let mut regions: Vec<(usize, Option<u32>)> = Vec::new();
        for &address in addresses {
            let Some(found) = world::region_of(address) else {
                self.blame(format!("{what}: {address} is of no region"));
                continue;
            };
            regions.push(found);
            if let Some((_, time)) = before.banned.iter().find(|(region, _)| *region == found.0)
                && after.banned.contains(&(found.0, *time))
            {
                self.blame(format!("{what}: {address}, of {}, which is out", world::name_of(found.0)));
            }
            let may_be = *before.editions.start()..=*after.editions.end();
            if found.1.is_some_and(|number| !world::is_of_one(number, may_be.clone())) {
                self.blame(format!("{what}: {address} is of no edition of {may_be:?}"));
            }
        }
        regions.sort_unstable();
        regions.dedup();
        if regions.is_empty() || regions.len() > most {
            self.blame(format!("{what}: {addresses:?} are of {} regions and editions", regions.len()));
        }
        regions.iter().for_each(|(region, _)| _ = self.counts.answered[*region].fetch_add(1, Ordering::Relaxed));
        if !before.banned.is_empty() {
            self.counts.without.fetch_add(1, Ordering::Relaxed);
        }
        regions
    }

    pub fn summary(&self) -> String {
        let counts = &self.counts;
        let number = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let answered: Vec<u64> = counts.answered.iter().map(number).collect();
        format!(
            "{} answers over UDP ({} lost), {} over TCP ({} lost), {} while a region was out; {} reloads, {} refused; {} deaths, \
             {} words, {} databases; by region {answered:?}",
            number(&counts.udp),
            number(&counts.lost_udp),
            number(&counts.tcp),
            number(&counts.lost_tcp),
            number(&counts.without),
            number(&counts.reloads),
            number(&counts.refused),
            number(&counts.deaths),
            number(&counts.words),
            number(&counts.databases),
        )
    }

    /// Tells whether there was something to go wrong of each kind.
    pub fn all_has_happened(&self) -> bool {
        let counts = &self.counts;
        let busy = [&counts.udp, &counts.tcp, &counts.without];
        let changes = [&counts.reloads, &counts.refused, &counts.deaths, &counts.words, &counts.databases];
        let number = |count: &&AtomicU64| count.load(Ordering::SeqCst);
        busy.iter().all(|count| number(count) > 50) && changes.iter().all(|count| number(count) > 0)
    }

    /// Nothing was wrong, though there was something to go wrong.
    pub fn judge(&self) {
        let faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
        assert!(faults.is_empty(), "{}\n{}", faults.join("\n"), self.summary());
        assert!(self.all_has_happened(), "{}", self.summary());
        assert_eq!(self.counts.lost_tcp.load(Ordering::SeqCst), 0, "lost over TCP");
        let lost = self.counts.lost_udp.load(Ordering::SeqCst);
        let most = LOST_AT_LEAST + self.counts.udp.load(Ordering::SeqCst) / LOST_OF;
        assert!(lost <= most, "{lost} lost over UDP");
    }

    /// How often each of the regions that tell their load has been answered.
    pub fn answered(&self) -> [u64; PROBED] {
        std::array::from_fn(|region| self.counts.answered[region].load(Ordering::SeqCst))
    }

    fn now(&self) -> Duration {
        TURN * u32::try_from(self.turns.load(Ordering::SeqCst)).expect("no year passes")
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
