//! `GET /ready`: should routers send clients to this node? And `POST /v1/node/drain` and `/v1/node/resume`.
//!
//! Not to be mixed up with `/readyz`, which asks whether the writer lives. Answered from single stores, whatever the
//! writer does: those who ask are the health checks of BIRD, ExaBGP and keepalived.

use std::borrow::Cow;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::context::Context;
use super::note::Note;
use super::problem::Problem;
use super::request::{Api, Shared, json_or_nothing};
use crate::control::readiness::NotReady;

/// What is said of this node. Also what the client reads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NodeStatus {
    /// It should be announced.
    pub ready: bool,
    /// Why it should not; empty where it should.
    pub reasons: Vec<Reason>,
}

/// One reason against a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Reason {
    /// `stopping`, `drained`, `isolated`, `writer` or `no_zone`.
    pub reason: Cow<'static, str>,
    /// In a clause, for people.
    pub why: String,
}

/// A word on this node that took. Also what the client reads.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct NodeSaid {
    pub drained: bool,
    /// It was another word before.
    pub changed: bool,
    #[serde(flatten)]
    pub node: NodeStatus,
}

pub fn node(context: &Context) -> NodeStatus {
    let zones = context.shared.load().model.zones.len();
    let reasons = context.node.readiness.reasons(zones);
    let reasons: Vec<Reason> = reasons.iter().map(Reason::of).collect();
    NodeStatus { ready: reasons.is_empty(), reasons }
}

impl Reason {
    fn of(of: &NotReady) -> Reason {
        Reason { reason: of.word().into(), why: of.told() }
    }
}

/// One line per reason; as JSON where that is asked for.
pub(super) async fn get_node_ready(State(api): Shared, headers: HeaderMap) -> Response {
    let node = node(&api.context);
    let code = if node.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let wanted = headers.get(header::ACCEPT).and_then(|wanted| wanted.to_str().ok()).unwrap_or_default();
    if wanted.contains("application/json") {
        return (code, Json(node)).into_response();
    }
    let lines = node.reasons.iter().map(|of| format!("not ready: {}\n", of.why)).collect::<String>();
    (code, if node.ready { "ready\n".to_owned() } else { lines }).into_response()
}

pub(super) async fn post_drain(State(api): Shared, request: Request) -> Result<Json<NodeSaid>, Problem> {
    say(&api, request, true).await
}

pub(super) async fn post_resume(State(api): Shared, request: Request) -> Result<Json<NodeSaid>, Problem> {
    say(&api, request, false).await
}

#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NoBody {}

async fn say(api: &Arc<Api>, request: Request, drained: bool) -> Result<Json<NodeSaid>, Problem> {
    let note = Note::of(&request);
    json_or_nothing::<Option<NoBody>>(request).await?;
    let said = api.context.node.say(drained).await;
    let changed = said.map_err(|why| {
        let holds = if drained { "the node drains" } else { "the node drains no more" };
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, format!("{holds}, but a restart may forget it: {why}"))
    })?;
    let word = |drained| if drained { "drained" } else { "not drained" };
    note.before(word(drained != changed));
    note.after(word(drained));
    Ok(Json(NodeSaid { drained, changed, node: node(&api.context) }))
}
