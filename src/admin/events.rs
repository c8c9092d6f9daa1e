//! Events as they are asked for: by time, region and number.

use std::time::Duration;

use axum::Json;
use axum::extract::{Query, State};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::control::clock;
use crate::control::events::event::timestamp;
use crate::control::events::history::{FoundEvents, MOST_EVENTS, Wanted};

use super::problem::Problem;
use super::request::Shared;

/// So many events are told where no limit is asked for.
const LIMIT: usize = 1000;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EventQuery {
    since: Option<String>,
    after: Option<u64>,
    region: Option<String>,
    limit: Option<usize>,
}

pub async fn get_events(
    State(api): Shared,
    query: Result<Query<EventQuery>, axum::extract::rejection::QueryRejection>,
) -> Result<Json<FoundEvents>, Problem> {
    let Query(EventQuery { since, after, region, limit }) =
        query.map_err(|error| Problem::bad_request(error.body_text()))?;
    let since = since
        .map(|text| parse_since(&text, timestamp(clock::read().unix_ms())))
        .transpose()
        .map_err(Problem::bad_request)?;
    let limit = limit.unwrap_or(LIMIT).min(MOST_EVENTS);
    api.context.events.joined().await;
    Ok(Json(api.context.events.find(&Wanted { since, after, region, limit })))
}

/// Seconds before now, or a time.
fn parse_since(text: &str, now: Timestamp) -> Result<Timestamp, String> {
    let ago = text.parse::<f64>().ok().filter(|seconds| *seconds >= 0.0);
    if let Some(ago) = ago.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()) {
        // Longer ago than can be said: everything.
        return Ok(now.checked_sub(ago).unwrap_or(Timestamp::MIN));
    }
    // A space is what `+` becomes in a query.
    text.replace(' ', "+").parse().map_err(|_| {
        format!(
            "since: found `{text}`, expected seconds before now such as 3600, or a time such as 2026-11-21T04:30:00Z"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn since_is_an_age_or_a_time() {
        let now: Timestamp = "2026-11-21T04:30:00Z".parse().expect("a time");
        for (text, expected) in [
            ("0", "2026-11-21T04:30:00Z"),
            ("90.5", "2026-11-21T04:28:29.5Z"),
            ("2026-11-21T04:00:00+09:00", "2026-11-20T19:00:00Z"),
            ("2026-11-21T04:00:00 09:00", "2026-11-20T19:00:00Z"),
        ] {
            assert_eq!(parse_since(text, now), Ok(expected.parse().expect("a time")), "{text}");
        }
        assert_eq!(parse_since("1e18", now), Ok(Timestamp::MIN));
        for text in ["", "-1", "yesterday", "inf", "nan", "2026-11-21", "1e400", "2026-13-01T00:00:00Z"] {
            assert!(parse_since(text, now).is_err(), "{text}");
        }
    }
}
