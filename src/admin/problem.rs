//! What went wrong, told to whoever asked: a status code and `{"error": "…", "details": ["…"]}`.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::control::cluster::node::SayError;

/// An answer other than what was asked for.
#[derive(Debug)]
pub struct Problem {
    status: StatusCode,
    body: Body,
}

#[derive(Debug, Serialize)]
struct Body {
    error: String,
    /// One line or one mistake each; may be empty.
    details: Vec<String>,
}

impl Problem {
    pub fn new(status: StatusCode, error: impl Into<String>) -> Problem {
        Problem { status, body: Body { error: error.into(), details: Vec::new() } }
    }

    pub fn bad_request(error: impl Into<String>) -> Problem {
        Problem::new(StatusCode::BAD_REQUEST, error)
    }

    /// The other half of the server did not answer: it is stopping, or has far too much to do.
    pub fn unavailable(error: impl Into<String>) -> Problem {
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, error)
    }

    pub fn details(mut self, details: Vec<String>) -> Problem {
        self.body.details = details;
        self
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        (self.status, Json(self.body)).into_response()
    }
}

/// A word that another one overtook is in conflict with that; without the store, none can be said.
pub fn not_shared(error: &SayError) -> StatusCode {
    match error {
        SayError::Overtaken { .. } | SayError::NotHere => StatusCode::CONFLICT,
        SayError::Away(_) | SayError::Unknown(_) | SayError::Refused(_) => StatusCode::SERVICE_UNAVAILABLE,
    }
}
