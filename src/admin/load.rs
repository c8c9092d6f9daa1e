//! Load reports that come by themselves: whose they are, whether they are believed, and what is
//! said to whoever pushed one. What follows from a load is the writer's.

use std::time::{Duration, Instant, SystemTime};

use axum::http::StatusCode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::control::find_region::unknown_region;
use crate::control::load_report::{LoadUpdate, PushedLoad};
use crate::model::{LoadReport, LoadSource, RegionId};
use crate::state::Snapshot;

use super::problem::Problem;

/// A report that is on its way to the writer: from the next snapshot on, within a second or so, it
/// counts.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct LoadTaken {
    /// Qualified.
    pub region: String,
    pub load: f64,
    /// As pushed, else as configured.
    pub capacity: Option<f64>,
    /// Load over capacity.
    pub utilisation: Option<f64>,
    pub age_s: f64,
    /// Too old to act on already.
    pub stale: bool,
    /// The age at which it is; push again before.
    pub stale_after_s: f64,
}

/// Makes an update of what was pushed for the region of that name.
pub fn take(snapshot: &Snapshot, name: &str, pushed: &PushedLoad) -> Result<(LoadUpdate, LoadTaken), Problem> {
    let id = region_named(snapshot, name)?;
    let qualified = snapshot.model.qualified_region_name(id);
    let report = pushed_report(snapshot, id, &qualified)?;
    let now = SystemTime::now();
    let unbelieved =
        |error| Problem::new(StatusCode::UNPROCESSABLE_ENTITY, format!("the load is not believed: {error}"));
    let (sample, health) = (pushed.sample(now).map_err(unbelieved)?, pushed.health().map_err(unbelieved)?);
    let at = sample.at.unwrap_or(now);
    let age = now.duration_since(at).unwrap_or_default();
    refuse_older(snapshot, id, age)?;
    let capacity = sample.capacity.or(snapshot.model.region(id).capacity);
    let observed = snapshot.states.get(id.index()).and_then(|state| state.load.stale_after);
    let stale_after = observed.unwrap_or(report.max_age);
    let taken = LoadTaken {
        region: qualified.clone(),
        load: sample.load,
        capacity,
        utilisation: capacity.map(|capacity| sample.load / capacity),
        age_s: age.as_secs_f64(),
        stale: age >= stale_after,
        stale_after_s: stale_after.as_secs_f64(),
    };
    Ok((LoadUpdate { region: qualified.into(), at, outcome: Ok(sample), health: health.map(Ok) }, taken))
}

pub(super) fn region_named(snapshot: &Snapshot, name: &str) -> Result<RegionId, Problem> {
    match *snapshot.model.find_regions(name) {
        [id] => Ok(id),
        [] => Err(Problem::new(StatusCode::NOT_FOUND, unknown_region(&snapshot.model, name))),
        ref several => {
            let names: Vec<_> = several.iter().map(|id| snapshot.model.qualified_region_name(*id)).collect();
            let error = format!("several zones have a region `{name}`: say which of {}", names.join(", "));
            Err(Problem::new(StatusCode::CONFLICT, error))
        }
    }
}

/// The region's load report, which must be one that is pushed: two sources of one figure would
/// contradict each other.
fn pushed_report<'a>(snapshot: &'a Snapshot, id: RegionId, name: &str) -> Result<&'a LoadReport, Problem> {
    let why = match &snapshot.model.region(id).load_report {
        Some(report) if matches!(report.source, LoadSource::Pushed) => return Ok(report),
        Some(_) => "its load report is fetched",
        None => "it has no load report",
    };
    let error = format!("{name} takes no pushed load: {why}; write `load_report.push` in its zone file");
    Err(Problem::new(StatusCode::CONFLICT, error))
}

/// Late news must not undo newer one.
fn refuse_older(snapshot: &Snapshot, id: RegionId, age: Duration) -> Result<(), Problem> {
    let last = snapshot.states.get(id.index()).and_then(|state| state.load.last);
    let Some(known) = last.map(|figure| Instant::now().saturating_duration_since(figure.at)) else { return Ok(()) };
    // Less apart than a clock's reading and the next: the same figure again.
    if age <= known + Duration::from_millis(10) {
        return Ok(());
    }
    let (age, known) = (age.as_secs_f64(), known.as_secs_f64());
    Err(Problem::new(
        StatusCode::CONFLICT,
        format!("this load is {age:.1} s old, and one of {known:.1} s ago is known"),
    ))
}
