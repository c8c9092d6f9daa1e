//! What is taken from requests, and whom they are handed to: the routes that have no file of their own.

use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::{Query, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
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
use super::explain::{AskedBy, ExplainError, ExplainReport, explain_client};
use super::heartbeat::{self, HeartbeatBody, HeartbeatTaken};
use super::latency::{self, LatencyReport, Wanted};
use super::load::{self, LoadTaken};
use super::metrics;
use super::nodes::whole_status;
use super::note::Note;
use super::problem::{Problem, not_shared};
use super::request::{Asking, Named, Shared, WRITER, asked, content_type, json, json_or_nothing, octets};
use super::resources::override_of;
use super::status;
use super::versions::Tagged;
use super::wellbeing::{self, FileTrouble, WriterStatus};

/// A table of measurements within this.
const TABLE: Duration = Duration::from_secs(30);
/// A reload that takes longer goes on, but nobody is kept waiting. Below the life of a connection.
const RELOAD: Duration = Duration::from_secs(50);

/// The tag is that of the snapshot: where it is the asker's, nothing but ages has changed.
pub(super) async fn get_status(State(api): Shared, headers: HeaderMap) -> Result<Response, Problem> {
    let tag = |generation: u64| api.versions.weak_tag(generation);
    let now = tag(api.context.shared.load().generation);
    if headers.get(header::IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == now.as_bytes()) {
        return Ok((StatusCode::NOT_MODIFIED, [(header::ETAG, now)]).into_response());
    }
    let status = whole_status(&api).await?;
    Ok(Tagged(tag(status.generation), status).into_response())
}

#[derive(Deserialize, JsonSchema)]
pub(super) struct ExplainQuery {
    name: String,
    client: String,
    #[serde(rename = "type")]
    qtype: Option<String>,
    by: Option<String>,
}

pub(super) async fn get_explain(
    State(api): Shared,
    query: Result<Query<ExplainQuery>, axum::extract::rejection::QueryRejection>,
) -> Result<Json<ExplainReport>, Problem> {
    let Query(asked) = query.map_err(|error| Problem::bad_request(error.body_text()))?;
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

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct OverrideBody {
    #[serde(rename = "override")]
    operator_override: Override,
    /// At this node of a cluster alone.
    #[serde(default)]
    here: bool,
}

/// An override that took, and what follows from it. Also what the client reads.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
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

pub(super) async fn post_override(
    State(api): Shared,
    Named(region): Named,
    request: Request,
) -> Result<Tagged<OverrideReply>, Problem> {
    let asked_by = Asking::of(&request);
    let OverrideBody { operator_override, here } = json(request).await?;
    let _turn = api.versions.turn(WRITER).await?;
    let snapshot = api.context.shared.load_full();
    if let [id] = *snapshot.model.find_regions(&region) {
        let before = override_of(&snapshot, id);
        asked_by.note.before(before);
        api.versions.check(&asked_by.headers, &snapshot.model.qualified_region_name(id), before)?;
    }
    let (reply, done) = oneshot::channel();
    let command = Command::SetOverride { region, operator_override, here, reply };
    let outcome = asked(&api.context.commands, command, done, WRITER).await?.map_err(Problem::from)?;
    let tag = api.versions.changed(&outcome.region, &asked_by.caller.name, operator_override.as_str());
    asked_by.note.after(operator_override.as_str());
    let snapshot = api.context.shared.load_full();
    Ok(Tagged(tag, what_follows(&snapshot, outcome, operator_override)))
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

pub(super) async fn post_load(
    State(api): Shared,
    Named(region): Named,
    request: Request,
) -> Result<Json<LoadTaken>, Problem> {
    let pushed: PushedLoad = json(request).await?;
    let (update, taken) = load::take(&api.context.shared.load_full(), &region, &pushed)?;
    match tokio::time::timeout(WRITER, api.context.loads.send(update)).await {
        Ok(Ok(())) => Ok(Json(taken)),
        Ok(Err(_)) => Err(Problem::unavailable("the server is stopping")),
        Err(_) => Err(Problem::unavailable("the server has too many reports to take: this one was dropped")),
    }
}

pub(super) async fn post_heartbeat(
    State(api): Shared,
    Named(region): Named,
    request: Request,
) -> Result<Json<HeartbeatTaken>, Problem> {
    let body = json_or_nothing::<Option<HeartbeatBody>>(request).await?.unwrap_or_default();
    heartbeat::take(&api.context.heartbeats, &api.context.shared.load_full(), &region, &body).map(Json)
}

#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ReloadBody {
    #[serde(default)]
    force: bool,
}

pub(super) async fn post_reload(State(api): Shared, request: Request) -> Result<Json<Reloaded>, Problem> {
    let note = Note::of(&request);
    let ReloadBody { force } = json_or_nothing::<Option<ReloadBody>>(request).await?.unwrap_or_default();
    let (reply, done) = oneshot::channel();
    let outcome = asked(&api.context.reloads, ReloadRequest { force, reply }, done, RELOAD).await?;
    if let Ok(Reloaded { zones, regions, services, .. }) = &outcome {
        note.after(format!("{zones} zones, {regions} regions, {services} services"));
    }
    outcome.map(Json).map_err(|mistakes| {
        let error = "not reloaded: the old configuration is still being served";
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, error).details(mistakes)
    })
}

/// Sorting many figures takes a while: not on a thread that serves sockets.
pub(super) async fn get_latency(
    State(api): Shared,
    query: Result<Query<Wanted>, axum::extract::rejection::QueryRejection>,
) -> Result<Json<LatencyReport>, Problem> {
    let Query(wanted) = query.map_err(|error| Problem::bad_request(error.body_text()))?;
    let report = tokio::task::spawn_blocking(move || {
        latency::report(&api.context.measurements, &api.context.shared.load_full(), &wanted)
    });
    let report = report.await.map_err(|error| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
    report.map(Json).map_err(Problem::bad_request)
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ImportQuery {
    #[serde(default)]
    replace: bool,
}

pub(super) async fn post_latency(
    State(api): Shared,
    query: Result<Query<ImportQuery>, axum::extract::rejection::QueryRejection>,
    request: Request,
) -> Result<Json<Imported>, Problem> {
    let Query(ImportQuery { replace }) = query.map_err(|error| Problem::bad_request(error.body_text()))?;
    let format = match content_type(&request).as_str() {
        "text/csv" => Format::Csv,
        "application/json" => Format::Json,
        _ => {
            let why = "`Content-Type: text/csv` or `application/json` is needed";
            return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, why));
        }
    };
    let note = Note::of(&request);
    let body = octets(request, import::MAX_OCTETS, TABLE).await?;
    note.asked(format!("a table of {} octets{}", body.len(), if replace { ", replace" } else { "" }).as_bytes());
    let imported = tokio::task::spawn_blocking(move || {
        let text = std::str::from_utf8(&body).map_err(|_| vec!["the table is not UTF-8 text".to_owned()])?;
        api.context.measurements.import(text, format, replace, &api.context.shared.load_full().model)
    });
    let imported =
        imported.await.map_err(|error| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
    if let Ok(Imported { figures, in_all }) = &imported {
        note.after(format!("{figures} figures imported, {in_all} in all"));
    }
    imported.map(Json).map_err(|mistakes| {
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "not imported: the table has mistakes").details(mistakes)
    })
}

pub(super) async fn get_metrics(State(api): Shared) -> Result<Response, Problem> {
    match metrics::text(&api.context) {
        Ok(text) => Ok(([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response()),
        Err(error) => Err(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())),
    }
}

/// How the writer is, and what it has to do with. Also what the client reads.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Ready {
    pub ready: bool,
    pub generation: u64,
    pub writer: WriterStatus,
    pub state_files: Vec<FileTrouble>,
    pub last_load: status::LastLoad,
    /// Those that are bad, and what serves instead.
    pub bad_databases: Vec<status::DatabaseStatus>,
}

/// The API opens when answers begin, so whoever gets here is being answered; without a writer that lives, by what was
/// known before. A reload that failed, a bad database or a file in trouble is told, and leaves the server ready.
pub(super) async fn get_ready(State(api): Shared) -> (StatusCode, Json<Ready>) {
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
