//! `GET /v1/flows`: where clients are and where they are sent, for a map.
//!
//! Takes as long as a plan, so one is worked out at a time: see [`super::workbench`]. What was just worked out is
//! told again: see [`super::kept_flows`].

use std::sync::Arc;
use std::time::Instant;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::control::what_if::World;
use crate::model::{Model, ServiceId};
use crate::state::Snapshot;

use super::kept_flows::Kept;
use super::problem::Problem;
use super::request::Shared;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FlowQuery {
    service: Option<String>,
}

pub async fn get_flows(
    State(api): Shared,
    query: Result<Query<FlowQuery>, QueryRejection>,
) -> Result<Response, Problem> {
    let Query(FlowQuery { service }) = query.map_err(|error| Problem::bad_request(error.body_text()))?;
    let snapshot: Arc<Snapshot> = api.context.shared.load_full();
    let service = service.map(|name| find(&snapshot.model, &name)).transpose()?;
    let worker = api.clone();
    let flows = api.workbench.work(move || {
        // Looked up once it is its turn: whoever came before may have asked the same.
        let (at, reloads) = (Instant::now(), snapshot.reloads);
        worker.flows.find(service, reloads, at).unwrap_or_else(|| {
            let flows = Arc::new(World::of(snapshot).flows(service));
            worker.flows.keep(service, Kept { at: Instant::now(), took: at.elapsed(), reloads, flows: flows.clone() });
            flows
        })
    });
    flows.await.map(|flows| Json(&*flows).into_response())
}

fn find(model: &Model, name: &str) -> Result<ServiceId, Problem> {
    match *model.find_services(name) {
        [id] => Ok(id),
        [] => Err(Problem::new(StatusCode::NOT_FOUND, format!("no service is called `{name}`"))),
        _ => {
            Err(Problem::new(StatusCode::CONFLICT, format!("several services are called `{name}`: say its whole name")))
        }
    }
}
