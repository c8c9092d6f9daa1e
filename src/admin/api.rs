//! Routes: what is taken from requests, and whom they are handed to.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{Path, Query, Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router, middleware};
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use crate::control::load_report::PushedLoad;
use crate::control::reload::{ReloadRequest, Reloaded};
use crate::control::rum::Imported;
use crate::control::rum::import::{self, Format};
use crate::control::writer::{Command, OverrideError, OverrideOutcome};
use crate::model::{Name, RecordType, ServiceId};
use crate::state::Snapshot;
use crate::steer::health::effective::{EffectiveState, Override};
use crate::steer::policy::eligible::ServiceCondition;

use super::cluster;
use super::context::Context;
use super::events::get_events;
use super::explain::{AskedBy, ExplainError, ExplainReport, explain_client};
use super::guard::{ALIVE, PAGE, READY, guard};
use super::heartbeat::{self, HeartbeatBody, HeartbeatTaken};
use super::latency::{self, LatencyReport, Wanted};
use super::load::{self, LoadTaken};
use super::node::{get_node_ready, post_drain, post_resume};
use super::nodes::{get_nodes, get_statuses, whole_status};
use super::problem::{Problem, not_shared};
use super::request::{Api, Shared, WRITER, asked, content_type, json, json_or_nothing, octets};
use super::shares::ShareCounts;
use super::status::{self, Status};
use super::switch::post_switch;
use super::wellbeing::{self, FileTrouble, WriterStatus};
use super::what_if::{get_demand, post_what_if};
use super::workbench::Workbench;
use super::{metrics, page};

/// A table of measurements within this.
const TABLE: Duration = Duration::from_secs(30);
/// A reload that takes longer goes on, but nobody is kept waiting. Below the life of a connection.
const RELOAD: Duration = Duration::from_secs(50);
/// The longest region name taken, in octets: a label, `@` and an origin with every octet escaped.
const MAX_REGION: usize = 2048;

/// All routes, behind the guard.
pub fn router(context: Arc<Context>) -> Router {
    let token = Arc::new(context.token.clone());
    let api = Arc::new(Api { context, counts: ShareCounts::default(), workbench: Workbench::default() });
    Router::new()
        .route(PAGE, get(page::page))
        .route("/v1/status", get(get_status))
        .route("/v1/events", get(get_events))
        .route("/v1/explain", get(get_explain))
        .route("/v1/regions/{name}/override", post(post_override))
        .route("/v1/services/{name}/switch", post(post_switch))
        .route("/v1/latency", get(get_latency).post(post_latency))
        .route("/v1/regions/{name}/load", post(post_load))
        .route("/v1/regions/{name}/heartbeat", post(post_heartbeat))
        .route("/v1/demand", get(get_demand))
        .route("/v1/what-if", post(post_what_if))
        .route("/v1/nodes", get(get_nodes))
        .route("/v1/nodes/status", get(get_statuses))
        .route("/v1/node/drain", post(post_drain))
        .route("/v1/node/resume", post(post_resume))
        .route("/v1/reload", post(post_reload))
        .route("/metrics", get(get_metrics))
        .route(ALIVE, get(|| async { "alive\n" }))
        .route("/readyz", get(get_ready))
        .route(READY, get(get_node_ready))
        .fallback(|| async { Problem::new(StatusCode::NOT_FOUND, "there is nothing here").details(routes()) })
        .method_not_allowed_fallback(|| async {
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, "that cannot be done here").details(routes())
        })
        .layer(middleware::from_fn_with_state(token, guard))
        .with_state(api)
}

fn routes() -> Vec<String> {
    [
        "GET /",
        "GET /v1/status",
        "GET /v1/events[?since=SECONDS or TIME][&region=NAME][&after=ID][&limit=COUNT]",
        "GET /v1/explain?name=NAME&client=ADDRESS[&type=TYPE][&by=ecs|source]",
        "POST /v1/regions/NAME/override {\"override\": \"up|down|drain|auto\"}",
        "POST /v1/services/NAME/switch {\"stage\": \"STAGE\"} or {\"rollback\": true} or {\"file\": true}",
        "GET /v1/latency[?region=NAME][&network=NETWORK][&country=CODE][&limit=COUNT]",
        "POST /v1/latency[?replace=true] (a table as text/csv or application/json)",
        "POST /v1/regions/NAME/load {\"load\": 120[, \"capacity\": 200][, \"at\": \"2026-11-21T04:30:00Z\" | \"age_s\": 1.5]}",
        "POST /v1/regions/NAME/heartbeat [{[\"endpoint\": \"192.0.2.1\"][, \"healthy\": false][, \"message\": \"disk full\"]}]",
        "GET /v1/demand",
        "POST /v1/what-if {[\"kill\": [NAME]][, \"drain\": [NAME]][, \"up\": [NAME]][, \"capacity\": {NAME: 5000}][, \"demand\": 1.5]}",
        "GET /v1/nodes",
        "GET /v1/nodes/status",
        "POST /v1/node/drain",
        "POST /v1/node/resume",
        "POST /v1/reload [{\"force\": true}]",
        "GET /metrics",
        "GET /healthz",
        "GET /readyz",
        "GET /ready",
    ]
    .map(str::to_owned)
    .into()
}

async fn get_status(State(api): Shared) -> Result<Json<Status>, Problem> {
    whole_status(&api).await.map(Json)
}

#[derive(Deserialize)]
struct ExplainQuery {
    name: String,
    client: String,
    #[serde(rename = "type")]
    qtype: Option<String>,
    by: Option<String>,
}

async fn get_explain(
    State(api): Shared,
    query: Result<Query<ExplainQuery>, axum::extract::rejection::QueryRejection>,
) -> Result<Json<ExplainReport>, Problem> {
    let Query(asked) = query.map_err(|error| Problem::bad_request(error.body_text()).details(routes()))?;
    let name = Name::parse_absolute(&asked.name)
        .map_err(|error| Problem::bad_request(format!("`{}` is not a domain name: {error}", asked.name)))?;
    let qtype = asked.qtype.as_deref().unwrap_or("A");
    let qtype: RecordType =
        qtype.parse().map_err(|error| Problem::bad_request(format!("`{qtype}` is {error}, such as A or TYPE65")))?;
    let client = AskedBy::parse(&asked.client, asked.by.as_deref()).map_err(Problem::bad_request)?;
    let snapshot = api.context.shared.load_full();
    let mut report = explain_client(&snapshot, &name, qtype, client, Instant::now()).map_err(Problem::from)?;
    report.planning.of_node = cluster::cluster(&api.context).as_ref().and_then(cluster::planned_by);
    Ok(Json(report))
}

impl From<ExplainError> for Problem {
    fn from(error: ExplainError) -> Problem {
        let text = error.to_string();
        match error {
            ExplainError::Unknown { nearest, .. } => {
                let nearest = nearest.into_iter().map(|name| format!("did you mean {name}?")).collect();
                Problem::new(StatusCode::NOT_FOUND, text).details(nearest)
            }
            ExplainError::Undecodable(_) => Problem::new(StatusCode::INTERNAL_SERVER_ERROR, text),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OverrideBody {
    #[serde(rename = "override")]
    operator_override: Override,
    /// At this node of a cluster alone.
    #[serde(default)]
    here: bool,
}

/// An override that took, and what follows from it. Also what the client reads.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct OverrideReply {
    /// Qualified.
    pub region: String,
    #[serde(rename = "override")]
    pub operator_override: Override,
    /// What the region is good for now, such as `up`; or `not configured`.
    #[serde(rename = "state")]
    pub effective: String,
    /// Answers that name the region may be cached for this long yet, in seconds: the longest TTL
    /// of its services. 0 where it stays in use.
    pub cached_for_s: u32,
    /// What follows, in sentences for people.
    pub follows: Vec<String>,
}

async fn post_override(
    State(api): Shared,
    Path(region): Path<String>,
    request: Request,
) -> Result<Json<OverrideReply>, Problem> {
    let OverrideBody { operator_override, here } = json(request).await?;
    if region.len() > MAX_REGION {
        return Err(Problem::new(StatusCode::NOT_FOUND, "no region has so long a name"));
    }
    let (reply, done) = oneshot::channel();
    let command = Command::SetOverride { region, operator_override, here, reply };
    let outcome = asked(&api.context.commands, command, done, WRITER).await?.map_err(Problem::from)?;
    let snapshot = api.context.shared.load_full();
    Ok(Json(what_follows(&snapshot, outcome, operator_override)))
}

impl From<OverrideError> for Problem {
    fn from(error: OverrideError) -> Problem {
        let status = match &error {
            OverrideError::Unknown(_) => StatusCode::NOT_FOUND,
            OverrideError::Ambiguous { .. } => StatusCode::CONFLICT,
            OverrideError::NotKept(_) => StatusCode::INTERNAL_SERVER_ERROR,
            OverrideError::NotShared(error) => not_shared(error),
        };
        Problem::new(status, error.to_string())
    }
}

fn what_follows(snapshot: &Snapshot, outcome: OverrideOutcome, operator_override: Override) -> OverrideReply {
    let OverrideOutcome { region, effective } = outcome;
    let Some(effective) = effective else {
        let follows =
            vec!["no zone has this region any more; its override was still kept, and is forgotten".to_owned()];
        return OverrideReply {
            region,
            operator_override,
            effective: "not configured".to_owned(),
            cached_for_s: 0,
            follows,
        };
    };
    let id = snapshot.model.find_regions(&region).first().copied();
    let of_region =
        |id_of_service: &ServiceId| id.is_some_and(|id| snapshot.model.service(*id_of_service).regions.contains(&id));
    let services: Vec<ServiceId> = snapshot.model.service_ids().filter(of_region).collect();
    let longest = services.iter().map(|&id| snapshot.model.service(id).ttl.as_secs()).max().unwrap_or(0);
    let cached_for_s = if effective.is_eligible() { 0 } else { longest };
    let mut follows = vec![in_words(effective, operator_override, longest)];
    if operator_override != Override::Auto {
        follows.push("this holds, also over restarts, until the override is `auto` again".to_owned());
    }
    follows.extend(services.iter().flat_map(|&id| shaky(snapshot, id)));
    OverrideReply { region, operator_override, effective: effective.as_str().to_owned(), cached_for_s, follows }
}

fn in_words(effective: EffectiveState, operator_override: Override, longest: u32) -> String {
    match (effective, operator_override) {
        (EffectiveState::Up | EffectiveState::Suspect, Override::Auto) => {
            "clients are sent there as its probes say".into()
        }
        (EffectiveState::Unknown, _) => {
            "its probes have not proven it yet: clients are sent there where no other region is up".into()
        }
        (EffectiveState::Down, Override::Auto) => "its probes say it is down: no clients are sent there".into(),
        (EffectiveState::Up | EffectiveState::Suspect, _) => "clients are sent there whatever its probes say".into(),
        (EffectiveState::Drain, _) => {
            format!("no new clients are sent there; resolvers may hold answers that name it for {longest} s yet")
        }
        (EffectiveState::Down, _) => {
            format!("clients are no longer sent there; resolvers may hold answers that name it for {longest} s yet")
        }
    }
}

/// What to say of a service, and of its fences, where they do not stand on eligible regions.
fn shaky(snapshot: &Snapshot, id: ServiceId) -> Vec<String> {
    let service = snapshot.model.service(id);
    let Some(plan) = snapshot.plan.services.get(id.index()) else { return Vec::new() };
    let own = condition_follows(plan.standing.condition).map(|text| format!("{}: {text}", service.name));
    let fences = plan.standing.fences_out.iter().filter_map(|fence| {
        let rule = service.policies.rule_name(fence.rule);
        Some(format!("{}, for the clients of {rule} alone: {}", service.name, condition_follows(fence.condition)?))
    });
    own.into_iter().chain(fences).collect()
}

fn condition_follows(condition: ServiceCondition) -> Option<&'static str> {
    match condition {
        ServiceCondition::Normal => None,
        ServiceCondition::Full => Some("all regions are above their limits, so these are not heeded"),
        ServiceCondition::Unproven => Some("no region is proven up yet, so those that may be are answered"),
        ServiceCondition::Panic => Some("all regions are down by their probes, so all are answered"),
        ServiceCondition::OnlyDraining => Some("only draining regions are left, so these are answered"),
        ServiceCondition::AllWithdrawn => {
            Some("every region is withdrawn; all are answered, since no answer would be an outage")
        }
    }
}

async fn post_load(
    State(api): Shared,
    Path(region): Path<String>,
    request: Request,
) -> Result<Json<LoadTaken>, Problem> {
    let pushed: PushedLoad = json(request).await?;
    if region.len() > MAX_REGION {
        return Err(Problem::new(StatusCode::NOT_FOUND, "no region has so long a name"));
    }
    let (update, taken) = load::take(&api.context.shared.load_full(), &region, &pushed)?;
    match tokio::time::timeout(WRITER, api.context.loads.send(update)).await {
        Ok(Ok(())) => Ok(Json(taken)),
        Ok(Err(_)) => Err(Problem::unavailable("the server is stopping")),
        Err(_) => Err(Problem::unavailable("the server has too many reports to take: this one was dropped")),
    }
}

async fn post_heartbeat(
    State(api): Shared,
    Path(region): Path<String>,
    request: Request,
) -> Result<Json<HeartbeatTaken>, Problem> {
    let body = json_or_nothing::<Option<HeartbeatBody>>(request).await?.unwrap_or_default();
    if region.len() > MAX_REGION {
        return Err(Problem::new(StatusCode::NOT_FOUND, "no region has so long a name"));
    }
    heartbeat::take(&api.context.heartbeats, &api.context.shared.load_full(), &region, &body).map(Json)
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ReloadBody {
    #[serde(default)]
    force: bool,
}

async fn post_reload(State(api): Shared, request: Request) -> Result<Json<Reloaded>, Problem> {
    let ReloadBody { force } = json_or_nothing::<Option<ReloadBody>>(request).await?.unwrap_or_default();
    let (reply, done) = oneshot::channel();
    let outcome = asked(&api.context.reloads, ReloadRequest { force, reply }, done, RELOAD).await?;
    outcome.map(Json).map_err(|mistakes| {
        let error = "not reloaded: the old configuration is still being served";
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, error).details(mistakes)
    })
}

/// Sorting many figures takes a while: not on a thread that serves sockets.
async fn get_latency(
    State(api): Shared,
    query: Result<Query<Wanted>, axum::extract::rejection::QueryRejection>,
) -> Result<Json<LatencyReport>, Problem> {
    let Query(wanted) = query.map_err(|error| Problem::bad_request(error.body_text()).details(routes()))?;
    let report = tokio::task::spawn_blocking(move || {
        latency::report(&api.context.measurements, &api.context.shared.load_full(), &wanted)
    });
    let report = report.await.map_err(|error| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
    report.map(Json).map_err(Problem::bad_request)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ImportQuery {
    #[serde(default)]
    replace: bool,
}

async fn post_latency(
    State(api): Shared,
    query: Result<Query<ImportQuery>, axum::extract::rejection::QueryRejection>,
    request: Request,
) -> Result<Json<Imported>, Problem> {
    let Query(ImportQuery { replace }) =
        query.map_err(|error| Problem::bad_request(error.body_text()).details(routes()))?;
    let format = match content_type(&request).as_str() {
        "text/csv" => Format::Csv,
        "application/json" => Format::Json,
        _ => {
            let why = "`Content-Type: text/csv` or `application/json` is needed";
            return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, why));
        }
    };
    let body = octets(request, import::MAX_OCTETS, TABLE).await?;
    let imported = tokio::task::spawn_blocking(move || {
        let text = std::str::from_utf8(&body).map_err(|_| vec!["the table is not UTF-8 text".to_owned()])?;
        api.context.measurements.import(text, format, replace, &api.context.shared.load_full().model)
    });
    let imported =
        imported.await.map_err(|error| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
    imported.map(Json).map_err(|mistakes| {
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "not imported: the table has mistakes").details(mistakes)
    })
}

async fn get_metrics(State(api): Shared) -> Result<Response, Problem> {
    match metrics::text(&api.context) {
        Ok(text) => Ok(([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response()),
        Err(error) => Err(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())),
    }
}

#[derive(Serialize)]
struct Ready {
    ready: bool,
    generation: u64,
    writer: WriterStatus,
    state_files: Vec<FileTrouble>,
    last_load: status::LastLoad,
    /// Those that are bad, and what serves instead.
    bad_databases: Vec<status::DatabaseStatus>,
}

/// The API opens when answers begin, so whoever gets here is being answered; without a writer that lives, by what was
/// known before. A reload that failed, a bad database or a file in trouble is told, and leaves the server ready.
async fn get_ready(State(api): Shared) -> (StatusCode, Json<Ready>) {
    let context = &api.context;
    let writer = wellbeing::writer(&context.vitals);
    let ready = writer.trouble.is_none();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let snapshot = context.shared.load_full();
    let mut bad_databases = status::databases(context, &snapshot);
    bad_databases.retain(|database| database.error.is_some());
    let (state_files, last_load) = (wellbeing::files(&context.troubles), status::last_load(context));
    let generation = snapshot.generation;
    (status, Json(Ready { ready, generation, writer, state_files, last_load, bad_databases }))
}
