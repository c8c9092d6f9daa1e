//! What went wrong, told to whoever asked: a status code and a problem (RFC 9457).

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::Serialize;

use crate::control::cluster::node::SayError;

/// The media type of what is answered then.
const MEDIA: HeaderValue = HeaderValue::from_static("application/problem+json");

/// An answer other than what was asked for.
#[derive(Clone, Debug)]
pub struct Problem {
    status: StatusCode,
    error: String,
    details: Vec<String>,
}

/// Beside an answer that is a problem: its sentence, for the record.
#[derive(Clone, Debug)]
pub struct Why(pub String);

/// A problem as it is written.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Problem")]
pub struct Body {
    /// Always `about:blank`: the status says of which kind it is.
    #[serde(rename = "type")]
    kind: &'static str,
    /// The status in words.
    title: &'static str,
    status: u16,
    /// The same as `error`.
    detail: String,
    /// What went wrong, in a sentence.
    error: String,
    /// One line or one mistake each; may be empty.
    details: Vec<String>,
}

impl Problem {
    pub fn new(status: StatusCode, error: impl Into<String>) -> Problem {
        Problem { status, error: error.into(), details: Vec::new() }
    }

    pub fn bad_request(error: impl Into<String>) -> Problem {
        Problem::new(StatusCode::BAD_REQUEST, error)
    }

    /// The other half of the server did not answer: it is stopping, or has far too much to do.
    pub fn unavailable(error: impl Into<String>) -> Problem {
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, error)
    }

    pub fn details(mut self, details: Vec<String>) -> Problem {
        self.details = details;
        self
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let Problem { status, error, details } = self;
        let title = status.canonical_reason().unwrap_or_default();
        let body = Body {
            kind: "about:blank",
            title,
            status: status.as_u16(),
            detail: error.clone(),
            error: error.clone(),
            details,
        };
        // Strings and numbers alone: nothing of it can fail.
        let body = serde_json::to_vec(&body).unwrap_or_default();
        let mut response = (status, [(header::CONTENT_TYPE, MEDIA)], body).into_response();
        response.extensions_mut().insert(Why(error));
        response
    }
}

/// A word that another one overtook is in conflict with that; without the store, none can be said.
pub fn not_shared(error: &SayError) -> StatusCode {
    match error {
        SayError::Overtaken { .. } | SayError::NotHere => StatusCode::CONFLICT,
        SayError::Away(_) | SayError::Unknown(_) | SayError::Refused(_) => StatusCode::SERVICE_UNAVAILABLE,
    }
}
