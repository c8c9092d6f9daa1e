//! What every route needs: the state it is served from, bodies within limits, the replies of writer and reloader.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::extract::{FromRequestParts, Path, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use serde::de::DeserializeOwned;
use tokio::sync::{mpsc, oneshot};

use super::context::Context;
use super::guard::Caller;
use super::kept_flows::KeptFlows;
use super::note::Note;
use super::problem::Problem;
use super::shares::ShareCounts;
use super::streams::Streams;
use super::versions::Versions;
use super::workbench::Workbench;

/// The largest request body, in octets: an override takes 20.
const MAX_BODY: usize = 64 * 1024;
/// A body must have arrived within this.
const BODY: Duration = Duration::from_secs(5);
/// The longest name taken, in octets: a label, `@` and an origin with every octet escaped.
const MAX_NAME: usize = 2048;
/// The writer answers in milliseconds; after this long something is wrong with it.
pub const WRITER: Duration = Duration::from_secs(10);

/// What all routes are served from.
pub struct Api {
    pub context: Arc<Context>,
    pub counts: ShareCounts,
    pub workbench: Workbench,
    pub flows: KeptFlows,
    pub streams: Streams,
    pub versions: Versions,
}

impl Api {
    pub fn new(context: Arc<Context>) -> Api {
        let process = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64;
        Api {
            context,
            counts: ShareCounts::default(),
            workbench: Workbench::default(),
            flows: KeptFlows::default(),
            streams: Streams::default(),
            versions: Versions::new(process),
        }
    }
}

pub type Shared = State<Arc<Api>>;

/// The part of a path that names something: of up to [`MAX_NAME`] octets.
pub struct Named(pub String);

impl<S: Send + Sync> FromRequestParts<S> for Named {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Named, Problem> {
        let Path(name) = Path::<String>::from_request_parts(parts, state)
            .await
            .map_err(|error| Problem::bad_request(error.body_text()))?;
        if name.len() > MAX_NAME {
            return Err(Problem::new(StatusCode::NOT_FOUND, "nothing has so long a name"));
        }
        Ok(Named(name))
    }
}

/// Who asks for a change, on which terms, and what is noted of it.
pub struct Asking {
    pub caller: Caller,
    pub headers: HeaderMap,
    pub note: Note,
}

impl Asking {
    pub fn of(request: &Request) -> Asking {
        let caller = request.extensions().get().cloned().unwrap_or_else(Caller::nobody);
        Asking { caller, headers: request.headers().clone(), note: Note::of(request) }
    }
}

/// Asks the writer or the reloader, and waits for its reply.
pub async fn asked<Q, R>(
    to: &mpsc::Sender<Q>,
    question: Q,
    reply: oneshot::Receiver<R>,
    patience: Duration,
) -> Result<R, Problem> {
    let whole = async {
        to.send(question).await.map_err(|_| Problem::unavailable("the server is stopping"))?;
        reply.await.map_err(|_| Problem::unavailable("the server is stopping"))
    };
    match tokio::time::timeout(patience, whole).await {
        Ok(outcome) => outcome,
        Err(_) => Err(Problem::new(
            StatusCode::GATEWAY_TIMEOUT,
            format!("not done within {} s; it may still be: see /v1/status", patience.as_secs()),
        )),
    }
}

/// The request's body, which must be JSON and say so: a form of another site cannot.
pub async fn json<T: DeserializeOwned>(request: Request) -> Result<T, Problem> {
    let body = body(request).await?;
    serde_json::from_slice(&body).map_err(|error| Problem::bad_request(format!("the body is not as expected: {error}")))
}

/// As [`json`], with an empty body for `null`.
pub async fn json_or_nothing<T: DeserializeOwned>(request: Request) -> Result<T, Problem> {
    let body = body(request).await?;
    let body: &[u8] = if body.is_empty() { b"null" } else { &body };
    serde_json::from_slice(body).map_err(|error| Problem::bad_request(format!("the body is not JSON: {error}")))
}

async fn body(request: Request) -> Result<axum::body::Bytes, Problem> {
    if content_type(&request) != "application/json" {
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "`Content-Type: application/json` is needed"));
    }
    let note = Note::of(&request);
    let body = octets(request, MAX_BODY, BODY).await?;
    note.asked(&body);
    Ok(body)
}

/// The media type, in lower case; empty where none is said.
pub fn content_type(request: &Request) -> String {
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

pub async fn octets(request: Request, most: usize, patience: Duration) -> Result<axum::body::Bytes, Problem> {
    let too_large =
        || Problem::new(StatusCode::PAYLOAD_TOO_LARGE, format!("the body is longer than {most} octets, or broke off"));
    match tokio::time::timeout(patience, axum::body::to_bytes(request.into_body(), most)).await {
        Ok(Ok(body)) => Ok(body),
        Ok(Err(_)) => Err(too_large()),
        Err(_) => Err(Problem::new(
            StatusCode::REQUEST_TIMEOUT,
            format!("the body did not arrive within {} s", patience.as_secs()),
        )),
    }
}
