//! A service's canary as it is shown: its part of clients, who said so, and what a rollback would lead to.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::control::clock;
use crate::control::writer::ServiceWay;
use crate::model::{ServiceId, Weight};
use crate::state::Snapshot;
use crate::state::memory::switches::{Facts, Shift, Switch, SwitchTo, active, active_canary, canary_of};

/// The part of a service's clients that is sent elsewhere, before all others.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CanaryStatus {
    /// The stage, the group or the regions that these clients are sent to.
    pub to: String,
    /// The part of clients in force, 0 to 1.
    pub share: f64,
    /// The part that the zone file says.
    pub file_share: f64,
    /// The operator's word that holds instead of the file's; `None`: there is none.
    pub shifted: Option<ShiftStatus>,
}

/// An operator's word on a canary.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "CanaryShiftStatus")]
pub struct ShiftStatus {
    /// Who said so: as in the record of changes.
    pub by: String,
    pub at_unix_s: u64,
    /// For people.
    pub note: Option<String>,
    /// When it ends by itself, in seconds from now; `None`: never.
    pub ends_in_s: Option<f64>,
}

/// The way that a service's clients are sent, as far as operators have a say in it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "ServiceWay")]
pub struct WayStatus {
    /// `None`: it has no stages.
    pub stage: Option<String>,
    /// The part of clients that the canary gets, 0 to 1; `None`: it has no canary.
    pub canary: Option<f64>,
}

/// The way that a service's clients are sent, as far as operators have a say in it.
pub fn way_of(snapshot: &Snapshot, id: ServiceId) -> ServiceWay {
    let policies = &snapshot.model.service(id).policies;
    let switched = snapshot.plan.services.get(id.index()).map(|plan| plan.switched).unwrap_or_default();
    let stage = policies.active_stage(switched.stage).map(|stage| policies.group(stage).name.to_string());
    ServiceWay { stage, canary: policies.canary_share().map(|in_file| switched.canary.unwrap_or(in_file)) }
}

impl From<ServiceWay> for WayStatus {
    fn from(ServiceWay { stage, canary }: ServiceWay) -> WayStatus {
        WayStatus { stage, canary: canary.map(Weight::get) }
    }
}

/// The canary of a service; `None`: it has none.
pub fn canary(snapshot: &Snapshot, id: ServiceId) -> Option<CanaryStatus> {
    let (model, service) = (&snapshot.model, snapshot.model.service(id));
    let file_share = service.policies.canary_share()?;
    let held = snapshot.plan.services.get(id.index())?.switched.canary;
    let said = held.and_then(|_| said_of(snapshot, id)?.canary.as_ref());
    Some(CanaryStatus {
        to: canary_of(model, service)?,
        share: held.unwrap_or(file_share).get(),
        file_share: file_share.get(),
        shifted: said.map(|shift| shift_status(shift, unix_ms())),
    })
}

/// The way that a rollback of a service would lead to; `None`: there is nothing to take back.
pub fn rollback(snapshot: &Snapshot, id: ServiceId) -> Option<WayStatus> {
    let (model, service) = (&snapshot.model, snapshot.model.service(id));
    let (said, unix_ms) = (said_of(snapshot, id)?, unix_ms());
    let facts = Facts { model, states: &snapshot.states, unix_ms };
    let then = facts.next(id, Some(said), &SwitchTo::Undo, true).ok()?;
    let canary = |of: Option<&Switch>| active_canary(model, service, of, unix_ms).map(Weight::get);
    let way = |of: Option<&Switch>| WayStatus { stage: active(service, of), canary: canary(of) };
    Some(way(then.as_ref())).filter(|then| *then != way(Some(said)))
}

fn said_of(snapshot: &Snapshot, id: ServiceId) -> Option<&Switch> {
    // Most servers have none, and a name costs something.
    (!snapshot.switches.is_empty()).then(|| snapshot.switches.get(&snapshot.model.service_key(id)))?
}

fn shift_status(shift: &Shift, unix_ms: u64) -> ShiftStatus {
    let left_ms = shift.until_unix_ms.map(|until| until.saturating_sub(unix_ms));
    ShiftStatus {
        by: shift.by.clone(),
        at_unix_s: shift.said_unix_ms / 1_000,
        note: shift.note.clone(),
        ends_in_s: left_ms.map(|left| Duration::from_millis(left).as_secs_f64()),
    }
}

fn unix_ms() -> u64 {
    clock::read().unix_ms()
}
