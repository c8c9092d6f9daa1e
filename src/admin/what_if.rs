//! What would follow from changes nobody has made, and the demand it is worked out from.
//!
//! Either takes as long as a plan, so one is worked out at a time: see [`super::workbench`]. Nothing is changed by
//! asking.

use std::sync::Arc;
use std::time::Instant;

use axum::Json;
use axum::extract::{Request, State};

use crate::control::what_if::outcome::Outcome;
use crate::control::what_if::placed::Placed;
use crate::control::what_if::{Change, World, what_if};
use crate::state::Snapshot;

use super::problem::Problem;
use super::request::{Shared, json};

pub async fn get_demand(State(api): Shared) -> Result<Json<Placed>, Problem> {
    let snapshot: Arc<Snapshot> = api.context.shared.load_full();
    api.workbench.work(move || World::of(snapshot).placed()).await.map(Json)
}

pub async fn post_what_if(State(api): Shared, request: Request) -> Result<Json<Outcome>, Problem> {
    let change: Change = json(request).await?;
    let snapshot: Arc<Snapshot> = api.context.shared.load_full();
    let outcome = api.workbench.work(move || what_if(&snapshot, &change, Instant::now())).await?;
    outcome.map(Json).map_err(|mistakes| Problem::bad_request("that cannot be worked out").details(mistakes))
}
