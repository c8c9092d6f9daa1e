//! Which version of a word an operator has seen: so that two who change the same never overwrite each other unseen.
//!
//! An answer's ETag names the version of what it shows (RFC 9110 section 8.8.3). A change with `If-Match` is made only
//! where that is still the version in force (section 13.1.1); else the asker is told who changed it, and when.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Json;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use serde::Serialize;
use tokio::sync::MutexGuard as Turn;

use crate::control::clock;
use crate::control::events::event::timestamp;

use super::problem::Problem;

/// The versions of words on regions and services since the start.
pub struct Versions {
    /// Held while one is checked and changed.
    turn: tokio::sync::Mutex<()>,
    known: Mutex<HashMap<String, Last>>,
    /// Tells tags of this process from those of another.
    process: u64,
}

/// The last change by this API.
struct Last {
    number: u64,
    who: String,
    at: Timestamp,
}

impl Versions {
    pub fn new(process: u64) -> Versions {
        Versions { turn: Default::default(), known: Mutex::default(), process }
    }

    /// From its return until it is dropped nobody else changes a word by this API.
    ///
    /// # Errors
    /// Others have kept the turn for so long.
    pub async fn turn(&self, patience: Duration) -> Result<Turn<'_, ()>, Problem> {
        let late = |_| Problem::unavailable("not done: other changes are under way, and take long; ask again later");
        tokio::time::timeout(patience, self.turn.lock()).await.map_err(late)
    }

    /// The tag of what `key` is now. What other nodes say, or files, shows in `value` alone.
    pub fn tag(&self, key: &str, value: &str) -> String {
        let number = self.known().get(key).map_or(0, |last| last.number);
        let value: String = value.chars().filter(|c| c.is_ascii_alphanumeric() || "._-".contains(*c)).collect();
        format!("\"{:x}.{number}.{value}\"", self.process)
    }

    /// Refuses a change of something that is not any more as its asker has seen it.
    pub fn check(&self, headers: &HeaderMap, key: &str, value: &str) -> Result<(), Problem> {
        let tag = self.tag(key, value);
        let mut wanted = headers.get_all(header::IF_MATCH).iter().peekable();
        if wanted.peek().is_none() {
            return Ok(());
        }
        let fits = |of: &str| of == "*" || of == tag;
        if wanted.any(|line| line.to_str().is_ok_and(|line| line.split(',').any(|of| fits(of.trim())))) {
            return Ok(());
        }
        let known = self.known();
        let by = match known.get(key) {
            Some(Last { who, at, .. }) => format!("{who} changed it at {at:.0}"),
            None => "it was changed before this server started, by another node, or by a file".to_owned(),
        };
        let error = format!("{key} is not as you have seen it: it is `{value}` now; {by}");
        Err(Problem::new(StatusCode::PRECONDITION_FAILED, error).details(vec![format!("ETag: {tag}")]))
    }

    /// Notes a change that was made; its new tag.
    pub fn changed(&self, key: &str, who: &str, value: &str) -> String {
        let mut known = self.known();
        let number = known.get(key).map_or(0, |last| last.number) + 1;
        let at = timestamp(clock::read().unix_ms());
        known.insert(key.to_owned(), Last { number, who: who.to_owned(), at });
        drop(known);
        self.tag(key, value)
    }

    /// The tag of what is the same but for ages.
    pub fn weak_tag(&self, generation: u64) -> String {
        format!("W/\"{:x}.{generation}\"", self.process)
    }

    fn known(&self) -> MutexGuard<'_, HashMap<String, Last>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An answer with its tag.
pub struct Tagged<T>(pub String, pub T);

impl<T: Serialize> IntoResponse for Tagged<T> {
    fn into_response(self) -> Response {
        ([(header::ETAG, self.0)], Json(self.1)).into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_takes_only_where_nothing_came_between() {
        let versions = Versions::new(7);
        let asks = |tag: &str, value: &str| {
            let headers = HeaderMap::from_iter([(header::IF_MATCH, tag.parse().expect("a value"))]);
            versions.check(&headers, "seoul", value).map_err(|problem| problem.into_response().status().as_u16())
        };
        let seen = versions.tag("seoul", "auto");
        assert!(versions.check(&HeaderMap::new(), "seoul", "down").is_ok(), "who does not ask is not refused");
        assert_eq!((asks(&seen, "auto"), asks("*", "auto")), (Ok(()), Ok(())));
        assert_eq!(asks(&format!("\"x\", {seen}"), "auto"), Ok(()));
        assert_eq!(asks(&seen, "down"), Err(412), "another node said something");
        // RFC 9110 section 13.1.1 takes the strong comparison.
        assert_eq!(asks(&format!("W/{seen}"), "auto"), Err(412));
        versions.changed("seoul", "alice", "auto");
        assert_eq!(asks(&seen, "auto"), Err(412), "there and back is a change, too");
        assert_eq!(asks(&versions.tag("seoul", "auto"), "auto"), Ok(()));
        assert_ne!(Versions::new(8).tag("seoul", "auto"), seen, "another process counts anew");
    }
}
