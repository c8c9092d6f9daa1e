//! Between the guard and a route: whether its caller may, and the record of who asked for a change. `GET /v1/audit`.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::control::access::Role;
use crate::control::audit::{Entry, FoundEntries, Outcome};
use crate::control::clock;
use crate::control::events::event::timestamp;

use super::guard::{Caller, Peer};
use super::note::{Note, Noted};
use super::problem::{Problem, Why};
use super::request::{Api, Shared};

/// So many entries are told where no limit is asked for, and at most.
const LIMIT: usize = 500;
/// The longest path recorded, in characters.
const MOST_PATH: usize = 500;

/// What a route asks of its callers.
#[derive(Clone)]
pub struct Terms {
    pub api: Arc<Api>,
    pub role: Role,
    /// It changes something, and who asks is recorded.
    pub changes: bool,
}

/// Lets a request through to its route, or tells why not.
pub async fn permit(State(terms): State<Terms>, mut request: Request, next: Next) -> Response {
    let Terms { api, role, changes } = terms;
    let caller = request.extensions().get::<Caller>().cloned().unwrap_or_else(Caller::nobody);
    if !changes {
        return if caller.role >= role { next.run(request).await } else { refused(&caller, role).into_response() };
    }
    let from = request.extensions().get::<Peer>().map_or_else(String::new, ToString::to_string);
    let path: String = request.uri().path().chars().take(MOST_PATH).collect();
    let (note, what) = (Note::default(), format!("{} {path}", request.method()));
    request.extensions_mut().insert(note.clone());
    // A change is recorded though its asker has gone.
    let done = tokio::spawn(async move {
        let response =
            if caller.role >= role { next.run(request).await } else { refused(&caller, role).into_response() };
        let entry = entry(&caller, (from, what), note.taken(), &response);
        api.context.audit.add(entry, timestamp(clock::read().unix_ms()));
        response
    });
    let failed = |error: tokio::task::JoinError| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string());
    done.await.unwrap_or_else(|error| failed(error).into_response())
}

fn refused(caller: &Caller, role: Role) -> Problem {
    let error = format!("{} has the role `{}`, and this takes `{}`", caller.name, caller.role.as_str(), role.as_str());
    Problem::new(StatusCode::FORBIDDEN, error)
}

fn entry(caller: &Caller, (from, what): (String, String), noted: Noted, response: &Response) -> Entry {
    let status = response.status();
    let outcome = match status {
        status if status.is_success() => Outcome::Done,
        StatusCode::GATEWAY_TIMEOUT => Outcome::Unknown,
        _ => Outcome::Rejected,
    };
    let Noted { asked, before, after } = noted;
    Entry {
        // Both are given by the record.
        id: 0,
        at: String::new(),
        who: caller.name.to_string(),
        role: caller.role.as_str().to_owned(),
        from,
        what,
        asked,
        before,
        after,
        outcome,
        status: status.as_u16(),
        why: response.extensions().get::<Why>().map(|Why(why)| why.clone()),
    }
}

/// Which entries are asked for.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AuditQuery {
    /// Those with greater numbers alone.
    after: Option<u64>,
    /// At most so many: the newest, or the oldest of those after a number. Default, and at most, 500.
    limit: Option<usize>,
}

pub async fn get_audit(
    State(api): Shared,
    query: Result<Query<AuditQuery>, QueryRejection>,
) -> Result<Json<FoundEntries>, Problem> {
    let Query(AuditQuery { after, limit }) = query.map_err(|error| Problem::bad_request(error.body_text()))?;
    Ok(Json(api.context.audit.find(after, limit.unwrap_or(LIMIT).min(LIMIT))))
}
