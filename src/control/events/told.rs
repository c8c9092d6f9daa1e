//! The lines of the log about changes: how loudly each is told, and how many at once.

use tracing::{debug, error, info, warn};

use crate::steer::health::effective::EffectiveState;
use crate::steer::policy::eligible::ServiceCondition;

use super::event::{Cause, Change, RegionChange, ServiceChange};

/// So many regions are told of at once, and so many services; the rest is in the history alone.
const MOST_REGIONS: usize = 100;
const MOST_SERVICES: usize = 20;

/// Tells changes of one snapshot.
pub fn tell(changes: &[Change]) {
    let (mut regions, mut services) = (0, 0);
    for change in changes {
        let (told, most) = match change {
            Change::Region(_) => (&mut regions, MOST_REGIONS),
            Change::Service(_) => (&mut services, MOST_SERVICES),
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
    match change {
        Change::Region(RegionChange { cause, after, services, services_in_all, .. }) => {
            let service = services.join(" ");
            let more = services_in_all.checked_sub(services.len()).filter(|more| *more > 0);
            match (cause, after) {
                (Cause::Held, _) => {
                    error!(service, more, "{change}; `meridian region down` takes it out, `auto` believes its probes")
                }
                (Cause::Damped, _) => warn!(service, more, "{change}; `meridian region auto` forgives it"),
                (Cause::AwaitsResume | Cause::Delayed, _) => warn!(service, more, "{change}"),
                (Cause::Override, _) => info!(service, more, "{change}"),
                (_, EffectiveState::Down) => warn!(service, more, "{change}"),
                _ => info!(service, more, "{change}"),
            }
        }
        Change::Service(ServiceChange { before, after, .. }) => match after {
            ServiceCondition::Panic | ServiceCondition::AllWithdrawn => error!("{change}"),
            ServiceCondition::OnlyDraining | ServiceCondition::Full => warn!("{change}"),
            // Nobody's trouble: it passes with the first probes.
            ServiceCondition::Unproven => debug!("{change}"),
            ServiceCondition::Normal if *before == ServiceCondition::Unproven => debug!("{change}"),
            ServiceCondition::Normal => info!("{change}"),
        },
    }
}
