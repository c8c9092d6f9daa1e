//! `POST /v1/services/NAME/switch`: another stage for a service. What an operator asks comes in, what
//! became of it goes out.

use axum::extract::Request;
use axum::http::StatusCode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use super::problem::{Problem, not_shared};
use super::request::{Asking, Named, Shared, WRITER, asked, json};
use super::resources::stage_of;
use super::versions::Tagged;
use crate::control::writer::{Command, SwitchError, SwitchOutcome, SwitchRequest};
use crate::state::memory::switches::{Refusal, SwitchTo};

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

pub(super) async fn post_switch(
    api: Shared,
    Named(service): Named,
    request: Request,
) -> Result<Tagged<Switched>, Problem> {
    let asked_by = Asking::of(&request);
    let body: SwitchBody = json(request).await?;
    let to = match (body.stage, body.rollback, body.file) {
        (Some(stage), false, false) => SwitchTo::Stage(stage),
        (None, true, false) => SwitchTo::Rollback,
        (None, false, true) => SwitchTo::File,
        _ => return Err(Problem::bad_request("say one of `stage`, `rollback` and `file`")),
    };
    let _turn = api.versions.turn(WRITER).await?;
    let snapshot = api.context.shared.load_full();
    if let [id] = *snapshot.model.find_services(&service) {
        let before = stage_of(&snapshot, id);
        asked_by.note.before(before);
        api.versions.check(&asked_by.headers, &snapshot.model.service_key(id), before)?;
    }
    let (reply, done) = oneshot::channel();
    let switch = SwitchRequest { service, to, force: body.force, here: body.here };
    let command = Command::Switch { switch, reply };
    let outcome = asked(&api.context.commands, command, done, WRITER).await?.map_err(Problem::from)?;
    let SwitchOutcome { service, stage, before } = outcome;
    asked_by.note.after(&*stage);
    let model = api.context.shared.load_full().model.clone();
    let key = model.find_services(&service).first().map(|id| model.service_key(*id)).unwrap_or_default();
    let tag = api.versions.changed(&key, &asked_by.caller.name, &stage);
    let ttl = model.find_services(&service).first().map_or(0, |id| model.service(*id).ttl.as_secs());
    let cached_for_s = if stage == before { 0 } else { ttl };
    Ok(Tagged(tag, Switched { service, stage, before, cached_for_s }))
}

impl From<SwitchError> for Problem {
    fn from(error: SwitchError) -> Problem {
        let status = match &error {
            SwitchError::Unknown { .. } | SwitchError::Refused(Refusal::UnknownStage { .. }) => StatusCode::NOT_FOUND,
            SwitchError::Ambiguous { .. } | SwitchError::Refused(_) => StatusCode::CONFLICT,
            SwitchError::NotKept(_) => StatusCode::INTERNAL_SERVER_ERROR,
            SwitchError::NotShared(error) => not_shared(error),
        };
        Problem::new(status, error.to_string())
    }
}
