//! Tells in the log of networks that had as many responses as they may.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior};
use tracing::{info, warn};

use crate::query::counters::{CounterSet, DropReason, Event, Totals};
use crate::query::transport::rate::RateLimiter;

/// The time between two looks.
const PERIOD: Duration = Duration::from_secs(10);
/// The time between two lines while it lasts.
const AGAIN: Duration = Duration::from_secs(300);

/// Looks at the counters for as long as the server runs.
pub async fn tell_of_limits(rate: Arc<RateLimiter>, counters: Arc<CounterSet>) {
    let mut ticks = tokio::time::interval(PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut counted = beyond(&counters.total());
    // When it was last said, with the messages since then.
    let mut said: Option<(Instant, u64)> = None;
    loop {
        ticks.tick().await;
        let now = beyond(&counters.total());
        let more = now.wrapping_sub(std::mem::replace(&mut counted, now));
        match &mut said {
            Some((since, sum)) if more > 0 && since.elapsed() < AGAIN => *sum += more,
            Some((_, sum)) if more == 0 => {
                info!(messages = *sum, "networks are within `limits.udp_per_network` again");
                said = None;
            }
            _ if more > 0 => {
                let network = rate.last_beyond().map(|network| network.to_string()).unwrap_or_default();
                let sum = said.map_or(more, |(_, sum)| sum + more);
                warn!(
                    messages = sum,
                    network, "messages got no answer over UDP: above `limits.udp_per_network`, this network last"
                );
                said = Some((Instant::now(), 0));
            }
            _ => {}
        }
    }
}

/// Messages so far that got nothing, or an empty response.
fn beyond(totals: &Totals) -> u64 {
    totals.get(Event::Dropped(DropReason::Rate)).wrapping_add(totals.get(Event::RateTruncated))
}
