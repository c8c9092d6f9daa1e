//! Jobs on their thread: measured, rested for, survived, and helped where others leave them nothing.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;

use super::*;
use crate::state::News;
use crate::state::publisher::testing::{planned, probe};
use crate::steer::health::verdict::Verdict;
use crate::steer::testing::moment;

const S: Duration = Duration::from_secs(1);

/// A publisher whose work is left, and of which a plan is due.
fn lost() -> Publisher {
    let now = Instant::now();
    let mut publisher = planned(now);
    publisher.leave_work();
    probe(&mut publisher, "east", Verdict::Down, now);
    publisher.publish(moment(now));
    publisher
}

fn job(publisher: &mut Publisher) -> Job {
    publisher.next_job(Instant::now(), Haste::Unhurried).expect("a plan is due")
}

#[tokio::test]
async fn the_cpu_time_of_jobs_is_rested_for() {
    let (taken, mut publisher) = (Arc::new(Mutex::new(5 * S)), lost());
    let cpu = taken.clone();
    let run = move |job: Job| {
        *taken.lock().expect("the time") += 3 * S;
        job.run()
    };
    let (vitals, began) = (Arc::<Vitals>::default(), Instant::now());
    let cpu = ThreadClock::as_if_alone(move || *cpu.lock().expect("the time"));
    let mut jobs = JobThread::start_with(vitals.clone(), run, cpu).expect("a thread");
    assert_eq!((jobs.may_begin(began), jobs.look_at()), (Some(Haste::Unhurried), None));
    jobs.begin(job(&mut publisher), 0.3);
    assert_eq!((jobs.may_begin(began), jobs.look_at()), (None, None), "one at a time");
    let done = jobs.back().await;
    let now = Instant::now();
    assert_eq!(jobs.may_begin(now), Some(Haste::Pressing));
    let rests = jobs.look_at().expect("a rest") - began;
    assert!(rests >= 10 * S && rests <= 10 * S + (now - began), "{rests:?}");
    assert_eq!(jobs.may_begin(began + rests), Some(Haste::Unhurried));
    publisher.apply(News::Done(done), moment(now));
    publisher.publish(moment(now));
    while let Some(tables) = publisher.next_job(now, Haste::Unhurried) {
        publisher.apply(News::Done(tables.run()), moment(now));
    }
    publisher.publish(moment(now));
    jobs.tell(&publisher);
    let figures = vitals.jobs();
    let [(_, tally), ..] = figures.tallies();
    assert_eq!((figures.cpu(), tally.taken, figures.lag(now + 90 * S)), (3 * S, 1, Duration::ZERO));
}

#[tokio::test]
async fn a_panic_costs_its_job_alone_and_is_waited_for_longer_each_time() {
    let (panics, vitals, mut publisher) = (Arc::new(AtomicBool::new(true)), Arc::<Vitals>::default(), lost());
    let panicking = panics.clone();
    let run = move |job: Job| {
        assert!(!panicking.load(Ordering::Relaxed), "a test's panic");
        job.run()
    };
    let cpu = ThreadClock::as_if_alone(|| Duration::ZERO);
    let mut jobs = JobThread::start_with(vitals.clone(), run, cpu).expect("a thread");
    for (times, pause) in [(1, 1), (2, 2), (3, 4)] {
        jobs.begin(job(&mut publisher), 1.0);
        let (done, now) = (jobs.back().await, Instant::now());
        assert!(done.is_failed());
        publisher.apply(News::Done(done), moment(now));
        assert_eq!((jobs.may_begin(now), vitals.restarts(TaskKind::Job)), (None, times));
        let after = jobs.look_at().expect("a pause") - now;
        assert!(after > (pause - 1) * S && after <= pause * S, "{after:?}");
    }
    panics.store(false, Ordering::Relaxed);
    jobs.begin(job(&mut publisher), 1.0);
    let done = jobs.back().await;
    assert!(!done.is_failed());
    assert_eq!(jobs.may_begin(Instant::now()), Some(Haste::Unhurried), "that is over");
}

fn is_idle() -> bool {
    // SAFETY: the call takes and returns numbers alone; 0 is the calling thread.
    unsafe { libc::sched_getscheduler(0) == libc::SCHED_IDLE }
}

fn given_up(vitals: &Vitals) -> u64 {
    vitals.jobs().tallies().iter().map(|(_, tally)| tally.given_up).sum()
}

/// Has the next job done: whether it was given up.
async fn is_given_up(jobs: &mut JobThread, publisher: &mut Publisher, vitals: &Vitals) -> bool {
    let (before, now) = (given_up(vitals), Instant::now());
    jobs.begin(job(publisher), 0.3);
    let done = jobs.back().await;
    publisher.apply(News::Done(done), moment(now));
    publisher.publish(moment(now));
    jobs.tell(publisher);
    given_up(vitals) > before
}

#[tokio::test(start_paused = true)]
async fn a_job_that_gets_no_cpu_time_is_given_up_and_a_nice_thread_does_it() {
    let (open, gate) = std::sync::mpsc::channel::<()>();
    let (gate, by_idle, taken) = (Mutex::new(gate), Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(S)));
    let (seen, cpu) = (by_idle.clone(), taken.clone());
    let run = move |job: Job| {
        seen.lock().expect("the list").push(is_idle());
        if is_idle() {
            let _ = gate.lock().expect("the gate").recv(); // an error: it stays open
            *taken.lock().expect("the time") += 2 * S;
        }
        job.run()
    };
    let (vitals, mut publisher) = (Arc::<Vitals>::default(), lost());
    let cpu = move |_| *cpu.lock().expect("the time");
    let mut jobs = JobThread::start_with(vitals.clone(), run, cpu).expect("a thread");
    let by_idle = || std::mem::take(&mut *by_idle.lock().expect("the list"));

    let began = now();
    assert!(is_given_up(&mut jobs, &mut publisher, &vitals).await);
    assert!(now() - began >= S && (vitals.restarts(TaskKind::Job), given_up(&vitals)) == (0, 1), "no panic");
    assert!(jobs.may_begin(Instant::now()) == Some(Haste::Unhurried), "at once anew");
    assert!(!is_given_up(&mut jobs, &mut publisher, &vitals).await);
    assert_eq!((by_idle(), vitals.jobs().cpu()), (vec![true, false], Duration::ZERO));

    tokio::time::advance(10 * NICE_FOR).await;
    probe(&mut publisher, "east", Verdict::Up, Instant::now());
    publisher.publish(moment(Instant::now()));
    assert!(!is_given_up(&mut jobs, &mut publisher, &vitals).await);
    assert_eq!(by_idle(), [false], "no second one is left behind");

    drop(open);
    while vitals.jobs().cpu() == Duration::ZERO {
        let back = tokio::time::timeout(S, jobs.back()).await; // a failure is a test that never ends
        assert!(back.is_err(), "it was begun anew long ago");
    }
    assert_eq!(vitals.jobs().cpu(), 2 * S);
    tokio::time::resume(); // a paused clock does not wait for threads
    assert!(!is_given_up(&mut jobs, &mut publisher, &vitals).await);
    assert_eq!(by_idle(), [true], "as before");
}

#[tokio::test(start_paused = true)]
async fn a_job_that_gets_some_cpu_time_is_waited_for() {
    let reads = Arc::new(AtomicU32::new(0));
    let read = reads.clone();
    let run = move |job: Job| {
        while read.load(Ordering::Relaxed) < 20 {
            thread::sleep(Duration::from_millis(1)); // a failure is a test that never ends
        }
        job.run()
    };
    // A quarter of a core: it is looked at every second.
    let cpu = move |_| reads.fetch_add(1, Ordering::Relaxed) * S / 4;
    let (vitals, mut publisher, began) = (Arc::<Vitals>::default(), lost(), now());
    let mut jobs = JobThread::start_with(vitals.clone(), run, cpu).expect("a thread");
    assert!(!is_given_up(&mut jobs, &mut publisher, &vitals).await);
    assert!(now() - began > 15 * S);
}

#[tokio::test]
async fn snapshots_are_let_go_on_the_thread_and_few_wait_for_a_job() {
    let (open, gate) = std::sync::mpsc::channel::<()>();
    let gate = Mutex::new(gate);
    let run = move |job: Job| {
        let _ = gate.lock().expect("the gate").recv(); // an error: it is open
        job.run()
    };
    let (vitals, mut publisher) = (Arc::<Vitals>::default(), lost());
    let cpu = ThreadClock::as_if_alone(|| Duration::ZERO);
    let mut jobs = JobThread::start_with(vitals, run, cpu).expect("a thread");
    jobs.begin(job(&mut publisher), 0.3);
    let old: Vec<_> = (0..4)
        .map(|_| {
            let before = publisher.shared().load_full();
            publisher.publish(moment(Instant::now()));
            let seen = Arc::downgrade(&before);
            jobs.let_go(before);
            seen
        })
        .collect();
    let held = || old.iter().filter(|snapshot| snapshot.strong_count() > 0).count();
    assert_eq!(held(), 2, "the others at once, by who brought them");
    drop(open);
    let done = jobs.back().await;
    while held() > 0 {
        thread::sleep(Duration::from_millis(1)); // a failure is a test that never ends
    }
    assert!(!done.is_failed());
}

fn is_ours(core: usize) -> bool {
    // SAFETY: an all-zero set is an empty one, and the call writes no more than its size.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &mut set) == 0 && libc::CPU_ISSET(core, &set)
    }
}

fn stay_on(core: usize) {
    // SAFETY: an all-zero set is an empty one, and the call reads no more than its size.
    let done = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(core, &mut set);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set)
    };
    assert_eq!(done, 0, "core {core} is ours");
}

/// Every core is kept busy for the while; by nice threads, so that other tests hardly notice, but the idle one does.
#[tokio::test]
async fn a_plan_comes_while_all_cores_are_busy() {
    const COST: Duration = Duration::from_millis(100);
    let run = |job: Job| {
        let (began, mut sum) = (ThreadClock::OWN.read(), 0_u64);
        while ThreadClock::OWN.read() < began + COST {
            sum = std::hint::black_box(sum + 1);
        }
        job.run()
    };
    let (over, began) = (Arc::new(AtomicBool::new(false)), Instant::now());
    let keep_busy = |core: usize| {
        let over = over.clone();
        thread::spawn(move || {
            priority::be_nice();
            stay_on(core);
            while !over.load(Ordering::Relaxed) && began.elapsed() < 120 * S {}
        })
    };
    let busy: Vec<_> = (0..libc::CPU_SETSIZE as usize).filter(|core| is_ours(*core)).map(keep_busy).collect();
    let (vitals, mut publisher) = (Arc::<Vitals>::default(), lost());
    let mut jobs = JobThread::start_with(vitals.clone(), run, ThreadClock::read).expect("a thread");
    let due = publisher.unheeded_since();
    assert!(due.is_some());
    while publisher.unheeded_since() == due {
        is_given_up(&mut jobs, &mut publisher, &vitals).await;
    }
    over.store(true, Ordering::Relaxed);
    busy.into_iter().for_each(|thread| thread.join().expect("it ends"));
    assert!(began.elapsed() < 60 * S && given_up(&vitals) == 1, "{:?}, {}", began.elapsed(), given_up(&vitals));
}
