//! The query log: each query that is taken as a line of JSON, with the answer and the reason for it.
//!
//! In: exchanges out of the tap's queue. Out: lines, to the [`Sink`] in a thread of its own. Making lines never waits for a
//! disk: so snapshots are held for as long as it takes to explain by them, however long the disk hangs.

use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use crate::control::config::QueryLog;
use crate::control::jobs::priority::be_nice;
use crate::query::counters::{Counters, QuerySink};

use super::line::{Line, Shown};
use super::sink::{Lines, Sink};
use super::tap::{self, Sampling, Tap, Tapped, TappedBatch};

/// Lines are handed to the sink once they are so many octets together, or nothing waits.
const HANDED_OCTETS: usize = 64 << 10;

/// Starts the threads of the log, which are added to `writers`.
///
/// # Errors
/// A thread cannot be started.
pub fn start(settings: &QueryLog, counters: &Arc<Counters>, writers: &mut Vec<JoinHandle<()>>) -> io::Result<Tap> {
    let QueryLog { one_in, per_second, .. } = *settings;
    let sampling = Sampling { one_in, per_second: Some(per_second) };
    let (tap, tapped) = tap::queue(sampling, QuerySink::QueryLog, counters.clone());
    let (sink, writer) = Sink::start(settings, counters.clone())?;
    writers.push(writer);
    let shown = Shown { clients: settings.clients, one_in };
    let maker = move || {
        be_nice();
        make_lines(&tapped, shown, &sink);
    };
    writers.push(thread::Builder::new().name("query-log".into()).spawn(maker)?);
    Ok(tap)
}

/// Makes lines of what comes, until nothing can come any more.
fn make_lines(tapped: &Tapped, shown: Shown, sink: &Sink) {
    while let Ok(mut batch) = tapped.next() {
        let mut lines = Lines::default();
        loop {
            add(&mut lines, &batch, shown);
            drop(batch);
            if lines.text.len() >= HANDED_OCTETS {
                sink.write(std::mem::take(&mut lines));
            }
            match tapped.next_now() {
                Ok(next) => batch = next,
                Err(_) => break,
            }
        }
        sink.write(lines);
    }
}

fn add(lines: &mut Lines, batch: &TappedBatch, shown: Shown) {
    for exchange in &batch.exchanges {
        let line = Line::of(batch, exchange, shown);
        // Numbers and texts alone: this cannot fail, and half a line would be no line.
        let before = lines.text.len();
        match serde_json::to_writer(&mut lines.text, &line) {
            Ok(()) => {
                lines.text.push(b'\n');
                lines.number += 1;
            }
            Err(_) => lines.text.truncate(before),
        }
    }
}
