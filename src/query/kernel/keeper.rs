//! Keeps the program that answers by itself in step with the snapshots, and brings what it counted to
//! the counters.
//!
//! ```text
//!   Publisher ─▶ before the swap: the images there are answer nothing any more
//!             └▶ after it: the thread here makes new ones, beside the packet path
//!   thread ─▶ every 100 ms: counts and samples to the process's own
//! ```
//!
//! Between a swap and the next image everything goes to the sockets, as long as it takes to write what has
//! changed: no answer is older than the snapshot.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle, Thread};
use std::time::{Duration, Instant};

use tracing::{debug, info, warn};

use crate::query::client::Transport;
use crate::query::counters::{Counters, Event, QueryTypeGroup};
use crate::query::demand::SAMPLES_PER_SECOND;
use crate::state::memory::followers::{Follower, Followers};
use crate::state::{SharedSnapshot, Snapshot};
use crate::wire::Rcode;

use super::image::{Image, Passed};
use super::maps::{Control, Counted, Images, KernelMaps};

/// Programs that answer plain questions themselves, and room for what they answer from.
pub struct Kernel {
    pub programs: Vec<KernelMaps>,
    pub images: Images,
}

/// The interval at which counts and samples are fetched.
const FETCH: Duration = Duration::from_millis(100);

/// Answers in the kernel, until this goes.
#[derive(Debug)]
pub struct KernelAnswers {
    stopping: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl KernelAnswers {
    /// Lets programs answer from whatever snapshot is current. `counters`: of the thread this starts.
    pub fn start(
        kernel: Kernel,
        shared: SharedSnapshot,
        followers: &Followers,
        counters: Arc<Counters>,
    ) -> io::Result<KernelAnswers> {
        let stopping = Arc::new(AtomicBool::new(false));
        let mut keeper = Keeper::new(kernel, counters);
        let controls = keeper.controls();
        let stop = stopping.clone();
        let current = shared.clone();
        let thread = thread::Builder::new().name("kernel answers".into()).spawn(move || {
            while !stop.load(Ordering::Acquire) {
                keeper.step(&current);
                thread::park_timeout(FETCH);
            }
            keeper.stop();
        })?;
        let woken = thread.thread().clone();
        followers.add(Arc::new(Invalidator { controls: controls.clone(), woken }));
        // A publisher that came before has told a later one.
        let generation = shared.load().generation;
        controls.iter().for_each(|control| control.set_first_generation(generation));
        controls.iter().for_each(|control| control.switch(true));
        Ok(KernelAnswers { stopping, thread: Some(thread) })
    }
}

impl Drop for KernelAnswers {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            let _ = thread.join(); // a panic there has been told by itself
        }
    }
}

/// Told by the publisher.
struct Invalidator {
    controls: Vec<Arc<Control>>,
    woken: Thread,
}

impl Follower for Invalidator {
    fn before(&self, generation: u64) {
        self.controls.iter().for_each(|control| control.set_generation(generation));
    }

    fn after(&self) {
        self.woken.unpark();
    }
}

/// The work of the thread; without a thread in tests.
pub struct Keeper {
    programs: Vec<KernelMaps>,
    counters: Arc<Counters>,
    images: Images,
    /// As it is in them.
    image: Image,
    generation: Option<u64>,
    passed: Passed,
    fetched: Vec<Counted>,
    fetched_at: Instant,
    failing: bool,
}

impl Keeper {
    pub fn new(kernel: Kernel, counters: Arc<Counters>) -> Keeper {
        let Kernel { programs, images } = kernel;
        Keeper {
            fetched: vec![Counted::default(); programs.len()],
            programs,
            counters,
            images,
            image: Image::default(),
            generation: None,
            passed: Passed::default(),
            fetched_at: Instant::now(),
            failing: false,
        }
    }

    pub fn controls(&self) -> Vec<Arc<Control>> {
        self.programs.iter().map(|program| program.control.clone()).collect()
    }

    /// Makes images of the current snapshot if there are none, and fetches what was counted if it is time.
    pub fn step(&mut self, shared: &SharedSnapshot) {
        let snapshot = shared.load_full();
        if self.generation != Some(snapshot.generation) {
            self.renew(&snapshot, shared);
        }
        let elapsed = self.fetched_at.elapsed();
        if elapsed >= FETCH {
            self.fetched_at = Instant::now();
            self.fetch(elapsed);
        }
    }

    fn renew(&mut self, snapshot: &Snapshot, shared: &SharedSnapshot) {
        let begin = Instant::now();
        // Before it is tried: what fails is tried again with the next snapshot, not all the time.
        self.generation = Some(snapshot.generation);
        match self.put(snapshot, shared) {
            Ok(back) => {
                self.failing = false;
                let (names, generation) = (self.image.names(), snapshot.generation);
                let back = back.saturating_duration_since(begin);
                debug!(names, generation, ?back, complete = ?begin.elapsed(), "answers in the kernel");
            }
            Err(error) => {
                self.image = Image::default(); // nobody knows what is in there
                if !std::mem::replace(&mut self.failing, true) {
                    warn!("no answers in the kernel until this works: {error}");
                }
            }
        }
    }

    /// First what names share, which is had at once, then what is each name's own. Gives the time between.
    fn put(&mut self, snapshot: &Snapshot, shared: &SharedSnapshot) -> io::Result<Instant> {
        let Keeper { programs, images, image, .. } = self;
        let Some(update) = image.update(snapshot) else { return Ok(Instant::now()) };
        images.put(programs, &update)?;
        let back = Instant::now();
        let is_current = || shared.load().generation == snapshot.generation;
        if let Some(update) = image.complete(snapshot, is_current) {
            images.put(programs, &update)?;
        }
        let passed = image.passed();
        self.say_passed(passed);
        Ok(back)
    }

    /// The number of questions asked so far to have answers: for tests.
    pub fn asked(&self) -> u64 {
        self.image.asked()
    }

    fn say_passed(&mut self, passed: Passed) {
        if passed != self.passed && passed != Passed::default() {
            let Passed { long, beyond } = passed;
            info!(long, beyond, "names that are not answered in the kernel, but by the sockets as before");
        }
        self.passed = passed;
    }

    /// Brings counts and samples to the counters.
    pub fn fetch(&mut self, elapsed: Duration) {
        let Keeper { programs, counters, fetched, .. } = self;
        for (program, before) in programs.iter_mut().zip(fetched) {
            program.output.drain(|sample| counters.sampled(&sample));
            let Ok(now) = program.output.counted() else { continue };
            count(counters, before, &now);
            let per_second = now.services.wrapping_sub(before.services) as f64 / elapsed.as_secs_f64().max(0.001);
            program.control.set_stride((per_second / SAMPLES_PER_SECOND as f64).ceil() as u32);
            *before = now;
        }
    }

    /// Answers nothing any more, and brings the last counts.
    pub fn stop(&mut self) {
        self.programs.iter().for_each(|program| program.control.switch(false));
        self.fetch(FETCH);
    }
}

/// The same events that the sockets' threads count.
fn count(counters: &Counters, before: &Counted, now: &Counted) {
    let (a, aaaa) = (now.a.wrapping_sub(before.a), now.aaaa.wrapping_sub(before.aaaa));
    let both = a.wrapping_add(aaaa);
    counters.add_many(Event::Query(Transport::Udp), both);
    for (group, answers) in [(QueryTypeGroup::A, a), (QueryTypeGroup::Aaaa, aaaa)] {
        counters.add_many(Event::Response(Transport::Udp, group, Rcode::NoError as u16), answers);
    }
    counters.add_many(Event::Ecs, now.subnets.wrapping_sub(before.subnets));
    counters.lost(now.lost.wrapping_sub(before.lost));
}
