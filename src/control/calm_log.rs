//! Says in the log when a region is held, damped or starts slowly, and when that ends: each is a reason why answers
//! are not what the probes alone would make them.

use std::time::Instant;

use tracing::{error, info, warn};

use crate::state::Snapshot;
use crate::steer::standing::RegionState;

/// Tells what differs between two snapshots, region by region.
pub fn tell_changes(before: &Snapshot, after: &Snapshot, now: Instant) {
    // A reload renumbers; what holds on over it was told before.
    if !std::sync::Arc::ptr_eq(&before.model, &after.model) {
        return;
    }
    for (id, (old, new)) in after.model.region_ids().zip(before.states.iter().zip(&after.states)) {
        let region = || after.model.qualified_region_name(id);
        tell_held(region, old, new, now);
        tell_damped(region, old, new, now);
        let (was_back, back) = (old.stability.back_since, new.stability.back_since);
        if back.is_some() && back != was_back && new.offered < 1.0 {
            info!(region = %region(), "a region is back: it starts slowly");
        }
    }
}

fn tell_held(region: impl Fn() -> String, old: &RegionState, new: &RegionState, now: Instant) {
    match (old.stability.held_until, new.stability.held_until) {
        (None, Some(until)) => error!(
            region = %region(),
            for_s = seconds(until, now),
            "HELD: its probes say down, but too many regions of its zone have gone at once; it is still answered. \
             Are the probes right? `meridian region down` takes it out, `auto` believes its probes"
        ),
        (Some(_), None) => warn!(region = %region(), standing = new.standing.as_str(), "a region is held no more"),
        _ => {}
    }
}

fn tell_damped(region: impl Fn() -> String, old: &RegionState, new: &RegionState, now: Instant) {
    match (old.stability.damped_until, new.stability.damped_until) {
        (None, Some(until)) => warn!(
            region = %region(),
            for_s = seconds(until, now),
            "damped: its probes say up, but it has gone down too often; `meridian region auto` forgives it"
        ),
        (Some(_), None) => info!(region = %region(), standing = new.standing.as_str(), "a region is damped no more"),
        _ => {}
    }
}

fn seconds(until: Instant, now: Instant) -> u64 {
    until.saturating_duration_since(now).as_secs()
}
