//! Where lines go: a file, standard output, or both. Whoever hands lines over never waits.
//!
//! In: lines, through a bounded queue. Out: the same, written by a thread of its own. What cannot be written is lost and
//! counted; the log says when that begins and when it is over.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use tracing::{error, info};

use crate::control::atomic_file::make_directory;
use crate::control::config::QueryLog;
use crate::control::jobs::priority::be_nice;
use crate::control::rotated_file::RotatedFile;
use crate::query::counters::{Counters, Event, Loss, QuerySink};

/// What waits to be written at most, in pieces of some 64 KiB.
const MOST_PIECES: usize = 128;

/// Whole lines, and how many they are.
#[derive(Debug, Default)]
pub struct Lines {
    pub text: Vec<u8>,
    pub number: u64,
}

/// The end where lines go in. The thread ends when this goes, after all of them.
#[derive(Debug)]
pub struct Sink {
    queue: SyncSender<Lines>,
    counters: Arc<Counters>,
}

impl Sink {
    /// Starts the thread that writes.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(settings: &QueryLog, counters: Arc<Counters>) -> io::Result<(Sink, JoinHandle<()>)> {
        let (queue, lines) = mpsc::sync_channel(MOST_PIECES);
        let places = Places { file: settings.file.clone(), stdout: settings.stdout };
        let counting = counters.clone();
        let write = move || {
            be_nice();
            write_all(&lines, &places, &counting);
        };
        let thread = thread::Builder::new().name("query-log-disk".into()).spawn(write)?;
        Ok((Sink { queue, counters }, thread))
    }

    /// Has lines written, or counts them as lost where too many wait.
    pub fn write(&self, lines: Lines) {
        let number = lines.number;
        if number > 0 && self.queue.try_send(lines).is_err() {
            self.counters.add_many(Event::Unrecorded(QuerySink::QueryLog, Loss::Write), number);
        }
    }
}

/// The places where every line goes.
struct Places {
    file: Option<RotatedFile>,
    stdout: bool,
}

impl Places {
    fn write(&self, text: &[u8]) -> Result<(), String> {
        if let Some(file) = &self.file {
            append(file, text).map_err(|error| format!("cannot write {}: {error}", file.path.display()))?;
        }
        if self.stdout {
            let mut stdout = io::stdout().lock();
            stdout
                .write_all(text)
                .and_then(|()| stdout.flush())
                .map_err(|error| format!("cannot write to standard output: {error}"))?;
        }
        Ok(())
    }
}

fn append(file: &RotatedFile, text: &[u8]) -> io::Result<()> {
    match file.append(text) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            make_directory(file.path.parent().unwrap_or(&file.path))?;
            file.append(text).map(drop)
        }
        done => done.map(drop),
    }
}

fn write_all(queue: &Receiver<Lines>, places: &Places, counters: &Counters) {
    let mut failing: Option<(Instant, u64)> = None;
    while let Ok(Lines { text, number }) = queue.recv() {
        match places.write(&text) {
            Ok(()) => {
                counters.add_many(Event::Recorded(QuerySink::QueryLog), number);
                if let Some((since, lost)) = failing.take() {
                    info!(for_s = since.elapsed().as_secs(), lost, "the query log is written again");
                }
            }
            Err(error) => {
                counters.add_many(Event::Unrecorded(QuerySink::QueryLog, Loss::Write), number);
                match &mut failing {
                    Some((_, lost)) => *lost = lost.saturating_add(number),
                    None => {
                        error!("the query log: {error}; lines are lost, and answers go on");
                        failing = Some((Instant::now(), number));
                    }
                }
            }
        }
    }
}
