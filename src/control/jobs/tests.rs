//! Jobs on their thread: measured, rested for, and survived.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

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
    let cpu = move || *cpu.lock().expect("the time");
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
    let mut jobs = JobThread::start_with(vitals.clone(), run, || Duration::ZERO).expect("a thread");
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

#[test]
fn the_thread_is_nice_and_knows_its_own_time() {
    let nice = || unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) };
    let before = nice();
    thread::scope(|scope| {
        scope.spawn(|| {
            be_nice();
            assert_eq!(nice(), (before + NICER_BY).min(19));
            let (began, mut sum) = (thread_cpu(), 0_u64);
            while thread_cpu() < began + Duration::from_millis(1) {
                sum = std::hint::black_box(sum + 1); // a failure is a test that never ends
            }
        });
    });
    assert_eq!(nice(), before, "others are as they were");
}
