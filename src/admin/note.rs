//! What is noted of a request while it is worked on, for the record of changes.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::extract::Request;

/// The longest text kept of what was asked, in octets.
const MOST: usize = 1000;

/// Notes of one request. Copies share them.
#[derive(Clone, Default)]
pub struct Note(Arc<Mutex<Noted>>);

/// What was noted.
#[derive(Clone, Default)]
pub struct Noted {
    /// The body, cut.
    pub asked: Option<String>,
    /// What held before.
    pub before: Option<String>,
    /// What holds now.
    pub after: Option<String>,
}

impl Note {
    /// Of this request; one that nobody reads where nothing is recorded.
    pub fn of(request: &Request) -> Note {
        request.extensions().get().cloned().unwrap_or_default()
    }

    pub fn asked(&self, body: &[u8]) {
        let text = String::from_utf8_lossy(body.get(..MOST).unwrap_or(body)).into_owned();
        self.lock().asked = (!text.is_empty()).then_some(text);
    }

    pub fn before(&self, text: impl Into<String>) {
        self.lock().before = Some(text.into());
    }

    pub fn after(&self, text: impl Into<String>) {
        self.lock().after = Some(text.into());
    }

    pub fn taken(&self) -> Noted {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Noted> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
