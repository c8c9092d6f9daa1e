//! Whether the answer to an HTTP check is as expected. Pure: status and body in, verdict out.

use serde_json::Value;

use crate::model::HttpCheck;

use super::outcome::{ProbeError, excerpt};

/// How much of a body is read at most, in octets.
pub(super) const MOST_BODY: usize = 64 * 1024;

/// Refuses a status outside the check's ranges.
pub(super) fn judge_status(check: &HttpCheck, got: u16) -> Result<(), ProbeError> {
    if check.status.iter().any(|&(low, high)| (low..=high).contains(&got)) {
        return Ok(());
    }
    Err(ProbeError::Status { got, expected: ranges(&check.status) })
}

/// Whether a body must be read at all.
pub(super) fn wants_body(check: &HttpCheck) -> bool {
    check.body.is_some() || !check.json.is_empty()
}

/// Whether the wanted text is in `body` and no more of it needs to be read. `old` octets of
/// it were looked at before.
pub(super) fn seen_enough(check: &HttpCheck, body: &[u8], old: usize) -> bool {
    let Some(text) = &check.body else { return false };
    // The text may straddle what was looked at and what is new.
    let from = old.saturating_sub(text.len());
    check.json.is_empty() && contains(&body[from.min(body.len())..], text.as_bytes())
}

/// Refuses a body without the wanted text or JSON values. `whole`: the body ended, rather than
/// the reading of it.
pub(super) fn judge_body(check: &HttpCheck, body: &[u8], whole: bool) -> Result<(), ProbeError> {
    if let Some(text) = &check.body
        && !contains(body, text.as_bytes())
    {
        return Err(ProbeError::BodyMissing { expected: excerpt(text), read: body.len() });
    }
    if check.json.is_empty() {
        return Ok(());
    }
    if !whole {
        return Err(ProbeError::NotJson(format!("it is longer than {MOST_BODY} octets")));
    }
    let document: Value = serde_json::from_slice(body).map_err(|e| ProbeError::NotJson(excerpt(&e.to_string())))?;
    check.json.iter().try_for_each(|(pointer, expected)| judge_value(&document, pointer, expected))
}

fn judge_value(document: &Value, pointer: &str, expected: &Value) -> Result<(), ProbeError> {
    let got = document.pointer(pointer);
    if got.is_some_and(|got| same_value(got, expected)) {
        return Ok(());
    }
    Err(ProbeError::JsonMismatch {
        pointer: excerpt(pointer),
        expected: excerpt(&expected.to_string()),
        got: got.map(|got| excerpt(&got.to_string())),
    })
}

/// Equality as JSON has it, where `1` and `1.0` are the same number.
fn same_value(got: &Value, expected: &Value) -> bool {
    match (got, expected) {
        (Value::Number(a), Value::Number(b)) => a == b || a.as_f64() == b.as_f64(),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same_value(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| same_value(a, b)))
        }
        _ => got == expected,
    }
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    needle.is_empty() || haystack.windows(needle.len()).any(|window| window == needle)
}

/// `200-299, 404`.
fn ranges(ranges: &[(u16, u16)]) -> String {
    let range = |&(low, high): &(u16, u16)| if low == high { low.to_string() } else { format!("{low}-{high}") };
    ranges.iter().map(range).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check() -> HttpCheck {
        HttpCheck { status: vec![(200, 299), (404, 404)], ..HttpCheck::new(80) }
    }

    #[test]
    fn status_ranges_are_inclusive() {
        for good in [200, 204, 299, 404] {
            assert_eq!(judge_status(&check(), good), Ok(()));
        }
        for bad in [199, 300, 302, 403, 405, 503] {
            let error = judge_status(&check(), bad).expect_err("outside the ranges");
            assert_eq!(error.to_string(), format!("status {bad}, expected 200-299, 404"));
        }
    }

    #[test]
    fn the_text_may_be_anywhere_and_straddle_reads() {
        let check = HttpCheck { body: Some("healthy".into()), ..check() };
        assert!(wants_body(&check));
        assert_eq!(judge_body(&check, b"all healthy here", true), Ok(()));
        assert!(judge_body(&check, b"all healt", true).is_err());
        assert!(judge_body(&check, b"", true).is_err());
        assert!(!seen_enough(&check, b"all healt", 0));
        assert!(seen_enough(&check, b"all healthy", 9));
    }

    #[test]
    fn an_empty_text_is_in_every_body() {
        let check = HttpCheck { body: Some(String::new()), ..check() };
        assert_eq!(judge_body(&check, b"", true), Ok(()));
    }

    #[test]
    fn rfc6901_pointers_lead_to_values_that_must_be_equal() {
        let body = br#"{"status":"up","a/b":[1.0,{"x":null}]}"#;
        let with = |pointer: &str, value: Value| HttpCheck { json: vec![(pointer.into(), value)], ..check() };
        for (pointer, value) in [
            ("/status", json!("up")),
            ("/a~1b/0", json!(1)),
            ("/a~1b/1/x", json!(null)),
            ("/a~1b", json!([1, {"x": null}])),
        ] {
            assert_eq!(judge_body(&with(pointer, value), body, true), Ok(()), "{pointer}");
        }
        for (pointer, value) in
            [("/status", json!("down")), ("/none", json!(null)), ("/a~1b/0", json!("1")), ("", json!({}))]
        {
            let error = judge_body(&with(pointer, value), body, true).expect_err(pointer);
            assert!(matches!(error, ProbeError::JsonMismatch { .. }), "{error}");
        }
    }

    #[test]
    fn what_is_not_json_or_too_long_is_refused() {
        let check = HttpCheck { json: vec![("/a".into(), json!(1))], ..check() };
        for body in ["", "<html>", "{\"a\":1", &"[".repeat(60_000)] {
            assert!(matches!(judge_body(&check, body.as_bytes(), true), Err(ProbeError::NotJson(_))));
        }
        assert!(matches!(judge_body(&check, br#"{"a":1}"#, false), Err(ProbeError::NotJson(_))));
    }
}
