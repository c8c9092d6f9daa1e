//! The words of operators on services: `POST /v1/services/NAME/switch`, `/canary` and `/rollback`. What an operator asks
//! comes in, what became of it goes out.

use axum::extract::Request;
use axum::http::StatusCode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use super::canary::{WayStatus, way_of};
use super::problem::{Problem, not_shared};
use super::request::{Asking, Named, Shared, WRITER, asked, json, json_or_nothing};
use super::versions::Tagged;
use crate::control::clock;
use crate::control::writer::{Command, ServiceWay, SwitchError, SwitchOutcome, SwitchRequest};
use crate::model::Weight;
use crate::state::memory::switches::{Refusal, Shift, SwitchTo};

/// The request: one of `stage`, `rollback` and `file`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SwitchBody {
    /// To this stage.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stage: Option<String>,
    /// To the stage before the last switch.
    pub rollback: bool,
    /// To what the zone file says.
    pub file: bool,
    /// Also to a stage with nothing up.
    pub force: bool,
    /// At this node of a cluster alone.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub here: bool,
}

/// A switch that took. Also what the client reads.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Switched {
    /// The whole name.
    pub service: String,
    /// The stage its clients are sent to now.
    pub stage: String,
    /// The one they were sent to before.
    pub before: String,
    /// Answers that name the stage before may be cached for this long yet, in seconds.
    pub cached_for_s: u32,
}

/// The request: one of `share` and `file`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "CanaryBody")]
pub struct ShiftBody {
    /// The part of clients that the canary gets from now on, 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub share: Option<f64>,
    /// What the zone file says.
    pub file: bool,
    /// For people, 200 characters at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// Until so many seconds have passed; then what the file says holds again. Above 0, a year at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub for_s: Option<f64>,
    /// At this node of a cluster alone.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub here: bool,
}

/// A shift that took. Also what the client reads.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "CanaryShifted")]
pub struct Shifted {
    /// The whole name.
    pub service: String,
    /// The part of clients that its canary gets now, 0 to 1.
    pub share: f64,
    /// The part it got before.
    pub before: f64,
    /// Clients that move may keep their answers for this long yet, in seconds.
    pub cached_for_s: u32,
}

/// The request: anything of it may be left out.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RollbackBody {
    /// Also to a stage with nothing up.
    pub force: bool,
    /// At this node of a cluster alone.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub here: bool,
}

/// A service that was rolled back. Also what the client reads.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct RolledBack {
    /// The whole name.
    pub service: String,
    pub before: WayStatus,
    pub after: WayStatus,
    /// Clients that move may keep their answers for this long yet, in seconds.
    pub cached_for_s: u32,
}

/// The longest note, in characters.
const MOST_NOTE: usize = 200;
/// The longest time that a shift holds for.
const MOST_FOR_S: f64 = 366.0 * 24.0 * 3_600.0;

pub(super) async fn post_switch(
    api: Shared,
    Named(service): Named,
    request: Request,
) -> Result<Tagged<Switched>, Problem> {
    let asking = Asking::of(&request);
    let SwitchBody { stage, rollback, file, force, here } = json(request).await?;
    let to = match (stage, rollback, file) {
        (Some(stage), false, false) => SwitchTo::Stage(stage),
        (None, true, false) => SwitchTo::Rollback,
        (None, false, true) => SwitchTo::File,
        _ => return Err(Problem::bad_request("say one of `stage`, `rollback` and `file`")),
    };
    let done = say(&api, &asking, SwitchRequest { service, to, force, here }).await?;
    Ok(done.map(|SwitchOutcome { service, before, after }, cached_for_s| Switched {
        service,
        stage: after.stage.unwrap_or_default(),
        before: before.stage.unwrap_or_default(),
        cached_for_s,
    }))
}

pub(super) async fn post_canary(
    api: Shared,
    Named(service): Named,
    request: Request,
) -> Result<Tagged<Shifted>, Problem> {
    let asking = Asking::of(&request);
    let body: ShiftBody = json(request).await?;
    let here = body.here;
    let to = shift_to(body, asking.caller.name.to_string())?;
    let done = say(&api, &asking, SwitchRequest { service, to, force: false, here }).await?;
    let share = |way: &ServiceWay| way.canary.map_or(0.0, Weight::get);
    Ok(done.map(|SwitchOutcome { service, before, after }, cached_for_s| Shifted {
        service,
        share: share(&after),
        before: share(&before),
        cached_for_s,
    }))
}

pub(super) async fn post_rollback(
    api: Shared,
    Named(service): Named,
    request: Request,
) -> Result<Tagged<RolledBack>, Problem> {
    let asking = Asking::of(&request);
    let body: Option<RollbackBody> = json_or_nothing(request).await?;
    let RollbackBody { force, here } = body.unwrap_or_default();
    let done = say(&api, &asking, SwitchRequest { service, to: SwitchTo::Undo, force, here }).await?;
    Ok(done.map(|SwitchOutcome { service, before, after }, cached_for_s| RolledBack {
        service,
        before: before.into(),
        after: after.into(),
        cached_for_s,
    }))
}

fn shift_to(body: ShiftBody, by: String) -> Result<SwitchTo, Problem> {
    let ShiftBody { share, file, note, for_s, .. } = body;
    let share = match (share, file) {
        (Some(share), false) => share,
        (None, true) if note.is_none() && for_s.is_none() => return Ok(SwitchTo::CanaryOfFile),
        _ => return Err(Problem::bad_request("say one of `share` and `file`; `note` and `for_s` go with `share`")),
    };
    if note.as_ref().is_some_and(|note| note.chars().count() > MOST_NOTE || note.chars().any(char::is_control)) {
        let error = format!("`note`: expected {MOST_NOTE} characters at most, and none that control terminals");
        return Err(Problem::bad_request(error));
    }
    if for_s.is_some_and(|for_s| !(for_s > 0.0 && for_s <= MOST_FOR_S)) {
        return Err(Problem::bad_request("`for_s`: expected a number of seconds above 0, a year at most"));
    }
    let said_unix_ms = clock::read().unix_ms();
    let until_unix_ms = for_s.map(|for_s| said_unix_ms.saturating_add((for_s * 1e3) as u64));
    Ok(SwitchTo::Canary(Shift { share, of: String::new(), by, said_unix_ms, note, until_unix_ms }))
}

/// A word that took, its version, and how long answers of before may be cached.
struct Said {
    tag: String,
    outcome: SwitchOutcome,
    cached_for_s: u32,
}

impl Said {
    fn map<T>(self, made: impl FnOnce(SwitchOutcome, u32) -> T) -> Tagged<T> {
        Tagged(self.tag, made(self.outcome, self.cached_for_s))
    }
}

/// Has the writer say it, unless somebody came between.
async fn say(api: &Shared, asking: &Asking, switch: SwitchRequest) -> Result<Said, Problem> {
    let _turn = api.versions.turn(WRITER).await?;
    let snapshot = api.context.shared.load_full();
    if let [id] = *snapshot.model.find_services(&switch.service) {
        let before = way_of(&snapshot, id).to_string();
        asking.note.before(&*before);
        api.versions.check(&asking.headers, &snapshot.model.service_key(id), &before)?;
    }
    let (reply, done) = oneshot::channel();
    let command = Command::Switch { switch, reply };
    let outcome = asked(&api.context.commands, command, done, WRITER).await?.map_err(Problem::from)?;
    let after = outcome.after.to_string();
    asking.note.after(&*after);
    let model = api.context.shared.load_full().model.clone();
    let tag = api.versions.changed(&outcome.service, &asking.caller.name, &after);
    let ttl = model.find_services(&outcome.service).first().map_or(0, |id| model.service(*id).ttl.as_secs());
    let cached_for_s = if outcome.after == outcome.before { 0 } else { ttl };
    Ok(Said { tag, outcome, cached_for_s })
}

impl From<SwitchError> for Problem {
    fn from(error: SwitchError) -> Problem {
        let status = match &error {
            SwitchError::Unknown { .. } | SwitchError::Refused(Refusal::UnknownStage { .. }) => StatusCode::NOT_FOUND,
            SwitchError::Refused(Refusal::BadShare { .. }) => StatusCode::BAD_REQUEST,
            SwitchError::Ambiguous { .. } | SwitchError::Refused(_) => StatusCode::CONFLICT,
            SwitchError::NotKept(_) => StatusCode::INTERNAL_SERVER_ERROR,
            SwitchError::NotShared(error) => not_shared(error),
        };
        Problem::new(status, error.to_string())
    }
}
