//! Changes of what operators said of services, between two snapshots: stages, and canaries' parts of clients.
//!
//! What a reload drops is told as well, since nobody has asked for it.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::model::{ServiceId, Switched};
use crate::state::Snapshot;

use super::event::{WayCause, WayChange};

/// So many services are told of in one snapshot: more would push all else out of the history.
const MOST_WAY_CHANGES: usize = 1000;

/// All changes, in the order of the services' names.
pub fn way_changes(before: &Snapshot, after: &Snapshot) -> Vec<WayChange> {
    if Arc::ptr_eq(&before.switches, &after.switches) && before.switches.is_empty() {
        return Vec::new();
    }
    let named: BTreeSet<&String> = before.switches.keys().chain(after.switches.keys()).collect();
    named.into_iter().filter_map(|name| way_change(before, after, name)).take(MOST_WAY_CHANGES).collect()
}

fn way_change(before: &Snapshot, after: &Snapshot, name: &str) -> Option<WayChange> {
    let (was, is) = (Way::of(before, name)?, Way::of(after, name)?);
    let reloaded = !Arc::ptr_eq(&before.model, &after.model);
    let [stage_differs, canary_differs] = match reloaded {
        false => [was.switched.stage != is.switched.stage, was.switched.canary != is.switched.canary],
        true => [
            was.switched.stage.is_some() && is.switched.stage.is_none(),
            was.switched.canary.is_some() && is.switched.canary.is_none(),
        ],
    };
    if !stage_differs && !canary_differs {
        return None;
    }
    let said_anew = before.switches.get(name) != after.switches.get(name);
    let shift = after.switches.get(name).and_then(|switch| switch.canary.as_ref());
    let shift = shift.filter(|_| canary_differs && !reloaded && is.switched.canary.is_some());
    Some(WayChange {
        service: name.to_owned(),
        cause: match (reloaded, said_anew) {
            (true, _) => WayCause::Reload,
            (false, true) => WayCause::Override,
            (false, false) => WayCause::Ended,
        },
        stage: stage_differs.then(|| (was.stage(before), is.stage(after))),
        canary: canary_differs.then(|| (was.share(before), is.share(after))),
        by: shift.map(|shift| shift.by.clone()),
        note: shift.and_then(|shift| shift.note.clone()),
    })
}

/// A service as operators have it.
struct Way {
    id: ServiceId,
    switched: Switched,
}

impl Way {
    /// `None`: there is no such service, which is told elsewhere.
    fn of(snapshot: &Snapshot, name: &str) -> Option<Way> {
        let [id] = *snapshot.model.find_services(name) else { return None };
        Some(Way { id, switched: snapshot.plan.services.get(id.index())?.switched })
    }

    fn stage(&self, snapshot: &Snapshot) -> String {
        let policies = &snapshot.model.service(self.id).policies;
        let stage = policies.active_stage(self.switched.stage);
        stage.map_or("none".into(), |stage| policies.group(stage).name.to_string())
    }

    fn share(&self, snapshot: &Snapshot) -> Option<f64> {
        let in_file = snapshot.model.service(self.id).policies.canary_share()?;
        Some(self.switched.canary.unwrap_or(in_file).get())
    }
}
