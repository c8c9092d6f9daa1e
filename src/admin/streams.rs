//! What all live streams share: how many there may be, and the status told last.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{Mutex, Semaphore};
use tokio::time::Instant;

/// Streams at once: a few open pages. Each holds a place for a connection.
pub const MOST_STREAMS: usize = 8;

/// What all streams share.
pub struct Streams {
    pub seats: Arc<Semaphore>,
    pub latest: Mutex<Option<Told>>,
}

/// A status as it was told.
#[derive(Clone)]
pub struct Told {
    pub at: Instant,
    pub generation: u64,
    pub frame: Bytes,
}

impl Default for Streams {
    fn default() -> Streams {
        Streams { seats: Arc::new(Semaphore::new(MOST_STREAMS)), latest: Mutex::default() }
    }
}
