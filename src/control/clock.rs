//! The one place where both clocks are read together, for those who take time as an argument; and where a time is waited
//! for that may not be set.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::steer::kept::Clock;

/// Now, by both clocks.
pub fn read() -> Clock {
    let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Clock::new(Instant::now(), unix.as_millis() as u64)
}

/// Waits until then; for ever where there is no such time.
pub async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
