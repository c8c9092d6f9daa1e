//! A soak: the real server for minutes or hours while everything about it changes, and every answer held to what may be
//! answered at that moment.
//!
//! ```text
//!   plan of troubles ─▶ files, reloads, databases, regions that die, operators' words ─▶ the server
//!                 └───▶ facts: what may be answered now                                    │
//!                         └──▶ judged by ◀── askers over UDP and TCP ◀── answers ──────────┘
//! ```
//!
//! `cargo test` runs it for some seconds. `MERIDIAN_SOAK_MINUTES=30 cargo test --release --test soak` runs it for half an
//! hour, and holds the server's memory, descriptors and threads to what they were after the first fifth.
//!
//! - [`world`]: the configuration, and which region an address is of
//! - [`facts`]: what may be answered, and what was answered that may not be
//! - [`regions`]: endpoints on loopback that serve, hang, fail and come back
//! - [`changes`]: what is done to the server
//! - [`asking`]: what clients ask, and what must hold of the answers
//! - [`process`]: the server, its log and what it takes

mod asking;
mod changes;
mod facts;
mod process;
mod regions;
mod world;

#[path = "../../benches/support/databases.rs"]
#[allow(dead_code)]
mod databases;
#[path = "../support/mod.rs"]
mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use facts::Facts;
use process::{Process, Taken};
use regions::Endpoints;

/// Where no minutes are asked for.
const SHORT: Duration = Duration::from_secs(9);
/// From here on growth can be told from a start that is not over.
const TELLING: Duration = Duration::from_secs(120);
/// Until everything that was broken is whole again, on a machine busy with other tests.
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn all_that_changes_loses_no_query_gives_no_mixed_answer_and_leaves_nothing_behind() {
    let length = asked_for();
    let folder = tempfile::tempdir().expect("a folder");
    let endpoints = Arc::new(Endpoints::start());
    world::write(folder.path(), endpoints.port);
    let mut server = Process::start(folder.path());
    let facts = Arc::new(Facts::new());
    let over = Arc::new(AtomicBool::new(false));
    let threads: Vec<JoinHandle<()>> = changes::start(&server, &endpoints, &facts, &over)
        .into_iter()
        .chain(asking::start(server.dns, &facts, &over))
        .collect();
    let taken = watch(&server, length, &facts);
    over.store(true, Ordering::SeqCst);
    for thread in threads {
        thread.join().expect("it ends, and without a panic");
    }
    // The first plan is made from some demand, which takes longer than a short run.
    changes::everything_is_whole(&server, &facts, length >= TELLING, PATIENCE);
    server.stop();
    println!("{}", facts.summary());
    facts.judge();
    judge_growth(&taken, length);
    let log = server.log();
    let unexpected = process::unexpected(&log);
    assert!(unexpected.is_empty(), "in the log, and nothing provoked it:\n{}", unexpected.join("\n"));
}

fn asked_for() -> Duration {
    let minutes = std::env::var("MERIDIAN_SOAK_MINUTES").ok();
    minutes.map_or(SHORT, |minutes| Duration::from_secs_f64(60.0 * minutes.parse::<f64>().expect("minutes")))
}

/// What the server takes, again and again until the end. Ends early where something is wrong, and late where a busy
/// machine has not come to all that is to happen.
fn watch(server: &Process, length: Duration, facts: &Facts) -> Vec<Taken> {
    let (began, mut taken) = (Instant::now(), Vec::new());
    let mut told = 0;
    let goes_on = || began.elapsed() < length || !facts.all_has_happened() && began.elapsed() < length + PATIENCE;
    while goes_on() && !facts.is_bad() {
        taken.push(server.taken());
        let minutes = began.elapsed().as_secs() / 60;
        if minutes > told {
            told = minutes;
            println!("{minutes} min: {:?}; {}", taken[taken.len() - 1], facts.summary());
        }
        std::thread::sleep((length / 60).min(Duration::from_secs(2)));
    }
    taken
}

/// What is taken in the last fifth against the second: a start is over by then.
fn judge_growth(taken: &[Taken], length: Duration) {
    let fifth = taken.len() / 5;
    let (early, late) = (&taken[fifth..2 * fifth], &taken[taken.len() - fifth..]);
    let median = |of: &[Taken]| {
        let mut megabytes: Vec<f64> = of.iter().map(|taken| taken.memory_mb).collect();
        megabytes.sort_by(f64::total_cmp);
        megabytes[megabytes.len() / 2]
    };
    // Connections and loads under way come and go: what is left between them must be the same.
    let least = |of: &[Taken], what: fn(&Taken) -> usize| of.iter().map(what).min().unwrap_or_default();
    let (memory, files, threads) =
        ((median(early), median(late)), |of| least(of, |of| of.files), |of| least(of, |of| of.threads));
    println!(
        "memory {:.1} → {:.1} MB, files {} → {}, threads {} → {}",
        memory.0,
        memory.1,
        files(early),
        files(late),
        threads(early),
        threads(late)
    );
    let (more_mb, more) = if length < TELLING { (100.0, 20) } else { (memory.0 * 0.1 + 4.0, 4) };
    assert!(memory.1 <= memory.0 + more_mb, "memory grows: {memory:?} MB");
    assert!(files(late) <= files(early) + more, "files stay open: {} → {}", files(early), files(late));
    assert!(threads(late) <= threads(early) + more, "threads stay: {} → {}", threads(early), threads(late));
}
