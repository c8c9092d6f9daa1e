//! Load reports as JSON documents, and what readers of other JSON share.

use std::time::SystemTime;

use serde_json::Value;

use crate::control::probe::outcome::excerpt;
use crate::model::{HealthPlace, JsonTime};

use super::health::HealthSample;
use super::{LoadError, LoadSample, figure, time};

/// Reads the numbers the pointers (RFC 6901) lead to.
///
/// Fails where the body is not one JSON document, a pointer leads nowhere or to something other
/// than a number, the load is negative or the capacity not above 0. A capacity or time that was
/// asked for and is not there is an error too: a mistyped pointer is not to go unnoticed.
pub(super) fn read(
    body: &[u8],
    load: &str,
    capacity: Option<&str>,
    time: Option<&JsonTime>,
    now: SystemTime,
) -> Result<LoadSample, LoadError> {
    let document = document(body)?;
    let amount = number(&document, load)?;
    let capacity = match capacity {
        Some(pointer) => Some((pointer, number(&document, pointer)?)),
        None => None,
    };
    let at = match time {
        Some(JsonTime::Age(pointer)) => Some(time::of_age(pointer, number(&document, pointer)?, now)?),
        Some(JsonTime::Timestamp(pointer)) => Some(time::of_json(pointer, lookup(&document, pointer)?, now)?),
        None => None,
    };
    Ok(LoadSample { at, ..figure::sample((load, amount), capacity)? })
}

/// Reads the shares that the pointers lead to. One that is asked for and not there is an error.
pub(super) fn health(body: &[u8], place: &HealthPlace) -> Result<HealthSample, LoadError> {
    let HealthPlace::Pointers { up, errors } = place else { return Err(LoadError::Missing("up_share".into())) };
    let document = document(body)?;
    let share = |pointer: &Option<String>| pointer.as_ref().map(|to| number(&document, to)).transpose();
    let (up_share, error_share) = (share(up)?, share(errors)?);
    HealthSample::of_shares(up.as_deref().zip(up_share), errors.as_deref().zip(error_share))
}

/// The body, if it is JSON, nested at most 128 deep.
pub(super) fn document(body: &[u8]) -> Result<Value, LoadError> {
    let not_json =
        |error: serde_json::Error| LoadError::Unreadable { expected: "JSON", why: excerpt(&error.to_string()) };
    serde_json::from_slice(body).map_err(not_json)
}

/// The number a pointer leads to.
pub(super) fn number(document: &Value, pointer: &str) -> Result<f64, LoadError> {
    let value = lookup(document, pointer)?;
    let not_a_number = || LoadError::NotANumber { what: excerpt(pointer), got: excerpt(&value.to_string()) };
    value.as_f64().ok_or_else(not_a_number)
}

fn lookup<'a>(document: &'a Value, pointer: &str) -> Result<&'a Value, LoadError> {
    document.pointer(pointer).ok_or_else(|| LoadError::Missing(excerpt(pointer)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::load_report::Errors;
    use proptest::prelude::*;
    use std::time::{Duration, UNIX_EPOCH};

    fn parse_json(body: &[u8], load: &str, capacity: Option<&str>) -> Result<LoadSample, LoadError> {
        read(body, load, capacity, None, UNIX_EPOCH)
    }

    #[test]
    fn age_and_timestamp_say_when_the_figure_is_of() {
        let now = UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        let at =
            |body: &str, time: JsonTime| read(body.as_bytes(), "/load", None, Some(&time), now).map(|sample| sample.at);
        let ago = |seconds| Ok(Some(now - Duration::from_secs(seconds)));
        let (age, stamp) = (JsonTime::Age("/age".into()), JsonTime::Timestamp("/at".into()));
        assert_eq!(at(r#"{"load": 1, "age": 120}"#, age.clone()), ago(120));
        assert_eq!(at(r#"{"load": 1, "at": "2001-09-09T01:45:40Z"}"#, stamp.clone()), ago(60));
        assert_eq!(at(r#"{"load": 1, "at": 999999990}"#, stamp.clone()), ago(10));
        assert!(matches!(at(r#"{"load": 1, "age": -1}"#, age.clone()), Err(LoadError::NotATime { .. })));
        assert!(matches!(at(r#"{"load": 1, "at": 1000003600}"#, stamp), Err(LoadError::Future { ahead_s: 3600 })));
        assert_eq!(at(r#"{"load": 1}"#, age), Err(LoadError::Missing("/age".into())));
    }

    #[test]
    fn rfc6901_pointers_lead_to_load_and_capacity() {
        let body = br#"{"load": 12.5, "limits": {"a/b": [0, 400]}}"#;
        let sample = parse_json(body, "/load", Some("/limits/a~1b/1"));
        assert_eq!(sample, Ok(LoadSample { load: 12.5, capacity: Some(400.0), at: None }));
        assert_eq!(parse_json(body, "/load", None), Ok(LoadSample { load: 12.5, capacity: None, at: None }));
        assert_eq!(parse_json(b"0", "", None), Ok(LoadSample { load: 0.0, capacity: None, at: None }));
    }

    #[test]
    fn shares_of_servers_and_errors_are_read_by_their_pointers() {
        let pointers = |up: &str, errors: Option<&str>| {
            let place = HealthPlace::Pointers { up: Some(up.into()), errors: errors.map(str::to_owned) };
            health(br#"{"load": 5, "up": 0.75, "bad": {"share": 0.01}, "lie": 1.01}"#, &place)
        };
        let both = pointers("/up", Some("/bad/share")).map(|health| health.told(None).up.zip(Some(health.errors)));
        assert_eq!(both, Ok(Some((0.75, Errors::Share(0.01)))));
        assert_eq!(pointers("/up", None).map(|health| health.errors), Ok(Errors::Unknown));
        assert_eq!(pointers("/none", None), Err(LoadError::Missing("/none".into())));
        assert!(matches!(pointers("/lie", None), Err(LoadError::Absurd { .. })));
    }

    #[test]
    fn what_is_missing_or_no_number_is_an_error_never_zero() {
        let body = br#"{"load": null, "text": "5", "good": 1}"#;
        assert!(matches!(parse_json(body, "/load", None), Err(LoadError::NotANumber { .. })));
        assert!(matches!(parse_json(body, "/text", None), Err(LoadError::NotANumber { .. })));
        assert_eq!(parse_json(body, "/none", None), Err(LoadError::Missing("/none".into())));
        assert_eq!(parse_json(body, "/good", Some("/none")), Err(LoadError::Missing("/none".into())));
        for body in [&b""[..], b"{", b"{\"load\":1", b"NaN", b"\xff", b"1 2", b"1e999", &[b'['; 10_000]] {
            assert!(matches!(parse_json(body, "", None), Err(LoadError::Unreadable { .. })), "{body:.20?}");
        }
    }

    #[test]
    fn a_lying_feed_is_refused() {
        for load in ["-1", "-0.001", "1e16", "1e300"] {
            assert!(matches!(parse_json(load.as_bytes(), "", None), Err(LoadError::Absurd { .. })), "{load}");
        }
        for capacity in ["0", "-5", "1e16"] {
            let body = format!("[1, {capacity}]");
            assert!(matches!(parse_json(body.as_bytes(), "/0", Some("/1")), Err(LoadError::Absurd { .. })), "{body}");
        }
    }

    proptest! {
        #[test]
        fn any_octets_give_a_true_sample_or_an_error(
            body in proptest::collection::vec(any::<u8>(), 0..100), pointer in "[/~0-9a-z]{0,10}",
        ) {
            if let Ok(sample) = parse_json(&body, &pointer, Some(&pointer)) {
                prop_assert!(sample.load.is_finite() && sample.load >= 0.0);
            }
        }

        #[test]
        fn any_numbers_give_a_true_sample_or_an_error(load: f64, capacity: f64) {
            let body = serde_json::json!([load, capacity]).to_string();
            match parse_json(body.as_bytes(), "/0", Some("/1")) {
                Ok(sample) => prop_assert!(sample.load >= 0.0 && sample.capacity.is_some_and(|c| c > 0.0)),
                Err(_) => prop_assert!(!((0.0..=figure::MOST).contains(&load) && capacity > 0.0 && capacity <= figure::MOST)),
            }
        }
    }
}
