//! The lines of the log about changes: how loudly each is told, and how many at once.

use tracing::{debug, error, info, warn};

use crate::steer::policy::eligible::ServiceCondition;

use super::event::{Cause, Change, RegionChange, ServiceChange, Severity};

/// So many regions are told of at once, and so many services; the rest is in the history alone.
const MOST_REGIONS: usize = 100;
const MOST_SERVICES: usize = 20;
/// A reload, and this server's reach by each family.
const MOST_OTHERS: usize = 3;

/// Tells changes of one snapshot.
pub fn tell(changes: &[Change]) {
    let (mut regions, mut services, mut others) = (0, 0, 0);
    for change in changes {
        let (told, most) = match change {
            Change::Region(_) => (&mut regions, MOST_REGIONS),
            Change::Service(_) => (&mut services, MOST_SERVICES),
            Change::Reload(_) | Change::Server(_) | Change::Node(_) => (&mut others, MOST_OTHERS),
            Change::Switch(_) => (&mut services, MOST_SERVICES),
        };
        *told += 1;
        if *told <= most {
            tell_one(change);
        }
    }
    let (regions, services) = (regions.saturating_sub(MOST_REGIONS), services.saturating_sub(MOST_SERVICES));
    if regions + services > 0 {
        warn!(regions, services, "and as many more have changed at once: see `meridian events`");
    }
}

fn tell_one(change: &Change) {
    let (service, more) = match change {
        Change::Region(RegionChange { services, services_in_all, .. }) => {
            let more = services_in_all.checked_sub(services.len()).filter(|more| *more > 0);
            (Some(services.join(" ")), more)
        }
        _ => (None, None),
    };
    let (service, advice) = (service.as_deref(), advice(change));
    match change.severity() {
        Severity::Error => error!(service, more, "{change}{advice}"),
        Severity::Warning => warn!(service, more, "{change}{advice}"),
        Severity::Info if passes(change) => debug!(service, more, "{change}"),
        Severity::Info => info!(service, more, "{change}{advice}"),
    }
}

fn advice(change: &Change) -> &'static str {
    match change {
        Change::Region(RegionChange { cause: Cause::Held, .. }) => {
            "; `meridian region down` takes it out, `auto` believes its probes"
        }
        Change::Region(RegionChange { cause: Cause::Damped, .. }) => "; `meridian region auto` forgives it",
        _ => "",
    }
}

/// Nobody's trouble: it passes with the first probes.
fn passes(change: &Change) -> bool {
    use ServiceCondition::{Normal, Unproven};
    let Change::Service(ServiceChange { before: Some(before), after: Some(after), .. }) = change else { return false };
    *after == Unproven || (*before, *after) == (Unproven, Normal)
}
