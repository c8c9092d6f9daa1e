//! The one place where both clocks are read together, for those who take time as an argument.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::steer::kept::Clock;

/// Now, by both clocks.
pub fn read() -> Clock {
    let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Clock::new(Instant::now(), unix.as_millis() as u64)
}
