//! What every route needs: the state it is served from, bodies within limits, the replies of writer and reloader.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use serde::de::DeserializeOwned;
use tokio::sync::{mpsc, oneshot};

use super::context::Context;
use super::problem::Problem;
use super::shares::ShareCounts;
use super::workbench::Workbench;

/// The largest request body, in octets: an override takes 20.
const MAX_BODY: usize = 64 * 1024;
/// A body must have arrived within this.
const BODY: Duration = Duration::from_secs(5);
/// The writer answers in milliseconds; after this long something is wrong with it.
pub const WRITER: Duration = Duration::from_secs(10);

/// What all routes are served from.
pub struct Api {
    pub context: Arc<Context>,
    pub counts: ShareCounts,
    pub workbench: Workbench,
}

pub type Shared = State<Arc<Api>>;

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
    octets(request, MAX_BODY, BODY).await
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
