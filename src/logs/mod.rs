//! What is written down of queries: the query log, and dnstap. Off unless the main file says otherwise.
//!
//! ```text
//!   transport ─▶ Responder::saw() ─▶ Tap ─▶ bounded queue ─┬─▶ query_log: line ─▶ bounded queue ─▶ file, standard output
//!                                    sampled               └─▶ dnstap: frames ─▶ socket
//! ```
//!
//! In: what was asked and answered, by whoever answers. Out: lines and frames. Nothing here can hold up an answer: whatever
//! is slow has a thread and a bounded queue of its own, and what does not fit is lost and counted.
//!
//! - [`tap`]: what the threads that answer do, and the queue
//! - [`query_log`]: lines of JSON, made by [`mod@line`] and written by [`sink`]
//! - [`dnstap`]: the messages themselves, for other programs

pub mod dnstap;
pub mod line;
pub mod query_log;
pub mod sink;
pub mod tap;

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::control::config::Config;
use crate::query::counters::CounterSet;
use crate::query::transport::Exchange;
use crate::state::Snapshot;

use tap::Tap;

/// The logs that are on.
#[derive(Debug, Default)]
pub struct Taps {
    query_log: Option<Tap>,
    dnstap: Option<Tap>,
}

/// The threads that write. They end when the [`Taps`] are gone.
#[derive(Debug, Default)]
pub struct Writers(Vec<JoinHandle<()>>);

impl Taps {
    /// Starts what the settings ask for; `None`: nothing.
    ///
    /// # Errors
    /// A thread cannot be started.
    pub fn start(config: &Config, counters: &CounterSet) -> io::Result<(Option<Taps>, Writers)> {
        let (mut taps, mut writers) = (Taps::default(), Writers::default());
        if let Some(settings) = &config.query_log {
            taps.query_log = Some(query_log::start(settings, &counters.shared(), &mut writers.0)?);
        }
        if let Some(settings) = &config.dnstap {
            let (tap, writer) = dnstap::start(settings, config.nsid.as_deref(), counters.shared())?;
            taps.dnstap = Some(tap);
            writers.0.push(writer);
        }
        let is_on = taps.query_log.is_some() || taps.dnstap.is_some();
        Ok((is_on.then_some(taps), writers))
    }

    /// Takes what was asked and answered from a snapshot. Never waits.
    pub fn saw<'e>(
        &self,
        snapshot: &Arc<Snapshot>,
        took: Duration,
        exchanges: impl Iterator<Item = Exchange<'e>> + Clone,
    ) {
        if let Some(tap) = &self.query_log {
            tap.offer(Some(snapshot), took, exchanges.clone());
        }
        if let Some(tap) = &self.dnstap {
            tap.offer(None, took, exchanges);
        }
    }
}

impl Writers {
    /// Waits until all have written what was taken, but no longer than `most`: a disk may hang.
    pub fn finish(self, most: Duration) {
        let until = Instant::now() + most;
        for writer in self.0 {
            while !writer.is_finished() && Instant::now() < until {
                std::thread::sleep(Duration::from_millis(5));
            }
            if writer.is_finished() {
                let _ = writer.join(); // a thread that panicked has said so
            }
        }
    }
}
