//! Whether the answer to an HTTP check is as expected. Pure: status and body in, verdict out.

use regex_lite::{Regex, RegexBuilder};
use serde_json::Value;

use crate::model::HttpCheck;

use super::outcome::{ProbeError, excerpt};

/// Octets that a compiled expression may take. Matching takes time by its size times that of the body.
const MOST_PATTERN: usize = 32 * 1024;

/// A regular expression as `body_regex` takes it; the error says why it is none.
pub(crate) fn pattern(text: &str) -> Result<Regex, String> {
    RegexBuilder::new(text).size_limit(MOST_PATTERN).nest_limit(32).build().map_err(|error| excerpt(&error.to_string()))
}

/// Refuses a status outside the check's ranges.
pub(super) fn judge_status(check: &HttpCheck, got: u16) -> Result<(), ProbeError> {
    if check.status.iter().any(|&(low, high)| (low..=high).contains(&got)) {
        return Ok(());
    }
    Err(ProbeError::Status { got, expected: ranges(&check.status) })
}

/// Whether a body must be read at all.
pub(super) fn wants_body(check: &HttpCheck) -> bool {
    check.body.is_some() || check.body_regex.is_some() || !check.json.is_empty()
}

/// Whether the wanted text is in `body` and no more of it needs to be read. `old` octets of
/// it were looked at before.
pub(super) fn seen_enough(check: &HttpCheck, body: &[u8], old: usize) -> bool {
    let Some(text) = &check.body else { return false };
    // The text may straddle what was looked at and what is new.
    let from = old.saturating_sub(text.len());
    check.json.is_empty() && check.body_regex.is_none() && contains(&body[from.min(body.len())..], text.as_bytes())
}

/// Refuses a body without the wanted text, match or JSON values. `pattern`: the check's expression. `whole`: the
/// body ended, rather than the reading of it.
pub(super) fn judge_body(
    check: &HttpCheck,
    pattern: Option<&Regex>,
    body: &[u8],
    whole: bool,
) -> Result<(), ProbeError> {
    if let Some(text) = &check.body
        && !contains(body, text.as_bytes())
    {
        return Err(ProbeError::BodyMissing { expected: excerpt(text), read: body.len() });
    }
    if let Some(pattern) = pattern
        && !pattern.is_match(&String::from_utf8_lossy(body))
    {
        return Err(ProbeError::BodyUnmatched { expected: excerpt(pattern.as_str()), read: body.len() });
    }
    if check.json.is_empty() {
        return Ok(());
    }
    if !whole {
        return Err(ProbeError::NotJson(format!("it is longer than {} octets", check.body_limit)));
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

pub(super) fn contains(haystack: &[u8], needle: &[u8]) -> bool {
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
        assert_eq!(judge_body(&check, None, b"all healthy here", true), Ok(()));
        assert!(judge_body(&check, None, b"all healt", true).is_err());
        assert!(judge_body(&check, None, b"", true).is_err());
        assert!(!seen_enough(&check, b"all healt", 0));
        assert!(seen_enough(&check, b"all healthy", 9));
    }

    #[test]
    fn an_expression_must_match_somewhere_and_octets_that_are_no_text_harm_nothing() {
        let expression = |text: &str| pattern(text).expect("an expression");
        let check = HttpCheck { body_regex: Some("v[0-9]+".into()), ..check() };
        assert!(wants_body(&check) && !seen_enough(&check, b"v1", 0));
        assert_eq!(judge_body(&check, Some(&expression("v[0-9]+")), b"\xff v12", true), Ok(()));
        let error = judge_body(&check, Some(&expression("^v[0-9]+$")), b"w1", false).expect_err("no match");
        assert_eq!(error.to_string(), "the first 2 octets of the body do not match \"^v[0-9]+$\"");
        assert!(pattern("(").is_err());
        assert!(pattern("(a{1000}){1000}").is_err(), "too large");
    }

    #[test]
    fn an_empty_text_is_in_every_body() {
        let check = HttpCheck { body: Some(String::new()), ..check() };
        assert_eq!(judge_body(&check, None, b"", true), Ok(()));
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
            assert_eq!(judge_body(&with(pointer, value), None, body, true), Ok(()), "{pointer}");
        }
        for (pointer, value) in
            [("/status", json!("down")), ("/none", json!(null)), ("/a~1b/0", json!("1")), ("", json!({}))]
        {
            let error = judge_body(&with(pointer, value), None, body, true).expect_err(pointer);
            assert!(matches!(error, ProbeError::JsonMismatch { .. }), "{error}");
        }
    }

    #[test]
    fn what_is_not_json_or_too_long_is_refused() {
        let check = HttpCheck { json: vec![("/a".into(), json!(1))], ..check() };
        for body in ["", "<html>", "{\"a\":1", &"[".repeat(60_000)] {
            assert!(matches!(judge_body(&check, None, body.as_bytes(), true), Err(ProbeError::NotJson(_))));
        }
        assert!(matches!(judge_body(&check, None, br#"{"a":1}"#, false), Err(ProbeError::NotJson(_))));
    }
}
