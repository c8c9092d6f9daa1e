//! The time that a figure is of, as a report says it.
//!
//! Out: a [`SystemTime`], not after the reader's own, or why it is none. Two clocks are compared
//! here, the region's and this machine's; how far apart they may be is [`MOST_AHEAD`].

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jiff::SignedDuration;
use jiff::civil::{DateTime, Time};
use serde_json::Value;

use crate::control::probe::outcome::excerpt;

use super::LoadError;

/// A figure may seem to come from so far in the future: clocks differ. It counts as of now.
const MOST_AHEAD: Duration = Duration::from_secs(60);
/// No age or timestamp is beyond: some 3,000 years in seconds, until 5138 in milliseconds.
const MOST_SECONDS: f64 = 1e11;

const A_TIME: &str = "a time such as \"2026-11-21T04:30:00Z\", or seconds since 1970";
const AN_AGE: &str = "an age in seconds, 0 to 1e11";

/// The time itself, unless it lies in the future.
pub(super) fn past(at: SystemTime, now: SystemTime) -> Result<SystemTime, LoadError> {
    match at.duration_since(now) {
        Ok(ahead) if ahead > MOST_AHEAD => Err(LoadError::Future { ahead_s: ahead.as_secs() }),
        Ok(_) => Ok(now),
        Err(_) => Ok(at),
    }
}

/// RFC 3339, or XML Schema's `dateTime`: the zone may be missing, and is UTC then.
pub(super) fn of_text(what: &str, text: &str, now: SystemTime) -> Result<SystemTime, LoadError> {
    let not_a_time = || LoadError::NotATime { what: excerpt(what), got: excerpt(text), expected: A_TIME };
    past(rfc3339(text.trim()).ok_or_else(not_a_time)?, now)
}

/// A time as text, or as seconds or milliseconds since 1970.
pub(super) fn of_json(what: &str, value: &Value, now: SystemTime) -> Result<SystemTime, LoadError> {
    if let Value::String(text) = value {
        return of_text(what, text, now);
    }
    let not_a_time = || LoadError::NotATime { what: excerpt(what), got: excerpt(&value.to_string()), expected: A_TIME };
    let number = value.as_f64().ok_or_else(not_a_time)?;
    let seconds = if number > MOST_SECONDS { number / 1e3 } else { number };
    past(since_1970(seconds).ok_or_else(not_a_time)?, now)
}

/// The time so many seconds ago.
pub(super) fn of_age(what: &str, age_s: f64, now: SystemTime) -> Result<SystemTime, LoadError> {
    let no_age = || LoadError::NotATime { what: excerpt(what), got: age_s.to_string(), expected: AN_AGE };
    if !(0.0..=MOST_SECONDS).contains(&age_s) {
        return Err(no_age());
    }
    let age = Duration::try_from_secs_f64(age_s).map_err(|_| no_age())?;
    // So old that this machine's clock cannot say it: as old as it can.
    Ok(now.checked_sub(age).unwrap_or(UNIX_EPOCH))
}

/// `None` for what is before 1970 or no number of seconds.
pub(super) fn since_1970(seconds: f64) -> Option<SystemTime> {
    if !(0.0..=MOST_SECONDS).contains(&seconds) {
        return None;
    }
    UNIX_EPOCH.checked_add(Duration::try_from_secs_f64(seconds).ok()?)
}

/// `2026-11-21T04:30:00.25+09:00`; from 1970 on.
///
/// jiff knows the calendar and reads more forms than RFC 3339 has, so the form is looked at first. Finer than
/// nanoseconds is cut off.
fn rfc3339(text: &str) -> Option<SystemTime> {
    let (clock, rest) = text.split_at_checked(FORM.len())?;
    let digits = |rest: &str| rest.find(|char: char| !char.is_ascii_digit()).unwrap_or(rest.len());
    let (fraction, zone) = match rest.strip_prefix('.') {
        Some(rest) => rest.split_at_checked(digits(rest))?,
        None => ("0", rest),
    };
    if !has_form(clock, FORM) {
        return None;
    }
    let local: DateTime = format!("{clock}.{fraction:.9}").parse().ok()?;
    // A leap second is the 60th; jiff takes it for the 59th.
    let leap = SignedDuration::from_secs(i64::from(clock.ends_with("60")));
    let since_1970 = local.duration_since(EPOCH).checked_add(leap)?.checked_sub(offset(zone)?)?;
    UNIX_EPOCH.checked_add(Duration::try_from(since_1970).ok()?)
}

const EPOCH: DateTime = DateTime::constant(1970, 1, 1, 0, 0, 0, 0);
const FORM: &str = "0000-00-00T00:00:00";

/// `Z`, `+09:00` or nothing: how far east of Greenwich.
fn offset(zone: &str) -> Option<SignedDuration> {
    if matches!(zone, "" | "Z" | "z") {
        return Some(SignedDuration::ZERO);
    }
    let (sign, time) = zone.split_at_checked(1)?;
    if !has_form(time, "00:00") {
        return None;
    }
    let east = time.parse::<Time>().ok()?.duration_since(Time::midnight());
    match sign {
        "+" => Some(east),
        "-" => Some(-east),
        _ => None,
    }
}

/// Digits where the form has 0, and all else as the form has it; a `T` may be `t` or a space.
fn has_form(text: &str, form: &str) -> bool {
    let fits = |(byte, form): (u8, u8)| match form {
        b'0' => byte.is_ascii_digit(),
        b'T' => matches!(byte, b'T' | b't' | b' '),
        form => byte == form,
    };
    text.len() == form.len() && text.bytes().zip(form.bytes()).all(fits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn seconds(text: &str) -> Option<f64> {
        rfc3339(text).map(|at| at.duration_since(UNIX_EPOCH).expect("after 1970").as_secs_f64())
    }

    #[test]
    fn rfc3339_and_xsd_times_are_read() {
        // The values are GNU date's.
        for (text, expected) in [
            ("1970-01-01T00:00:00Z", 0.0),
            ("2015-05-01T19:38:53.188Z", 1_430_509_133.188),
            ("2024-02-29T23:59:59Z", 1_709_251_199.0),
            ("2000-03-01 00:00:00", 951_868_800.0),
            ("2026-11-21T04:30:00+09:00", 1_795_203_000.0),
            ("2026-11-21t04:30:00.5-05:30", 1_795_255_200.5),
            ("2016-12-31T23:59:60Z", 1_483_228_800.0),
            ("2016-12-31T23:59:60.5Z", 1_483_228_800.5),
            ("2015-05-01T19:38:53.188000000999Z", 1_430_509_133.188),
            ("2026-11-21T04:30:00-00:00", 1_795_235_400.0),
            ("9999-12-31T23:59:59Z", 253_402_300_799.0),
        ] {
            assert_eq!(seconds(text), Some(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_time_is_none() {
        for text in [
            "",
            "now",
            "2018-2-1T0:3:1Z",
            "2023-02-29T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-00-01T00:00:00Z",
            "2026-01-00T00:00:00Z",
            "1969-12-31T23:59:59Z",
            "1970-01-01T00:00:00+00:01",
            "2026-01-01T24:00:00Z",
            "2026-01-01T00:60:00Z",
            "2026-01-01T00:00:61Z",
            "2026-01-01T00:00:00.Z",
            "2026-01-01T00:00:00+9:00",
            "2026-01-01T00:00:00+09:60",
            "2026-01-01T00:00:00 UTC",
            "2026-01-01T00:00:00+24:00",
            "2026-01-01T00:00:00+0900",
            "2026-01-01T00:00:00+09",
            "2026-01-01T00:00:00,5Z",
            "2026-01-01T00:00:00[UTC]",
            "2026-01-01T00:00:00Z[UTC]",
            "2026-01-01T00:00Z",
            "20260101T000000Z",
            "2026-01-01",
            "+026-01-01T00:00:00Z",
            "2026-01-01T00:00:00é",
            "2026-01-0é",
        ] {
            assert_eq!(seconds(text), None, "{text}");
        }
    }

    #[test]
    fn a_little_in_the_future_is_now_and_more_is_refused() {
        let now = since_1970(1e9).expect("a time");
        let of = |value: serde_json::Value| of_json("/at", &value, now);
        assert_eq!(of(json!(1e9 + 60.0)), Ok(now));
        assert_eq!(of(json!(1e9 + 61.0)), Err(LoadError::Future { ahead_s: 61 }));
        assert_eq!(of(json!(1e9 - 120.0)), Ok(now - Duration::from_secs(120)));
        // Milliseconds.
        assert_eq!(of(json!(999_999_998_500_i64)), Ok(now - Duration::from_millis(1_500)));
        assert_eq!(of(json!("2001-09-09T01:46:40Z")), Ok(now));
        for value in [json!(null), json!("soon"), json!(-1), json!(1e300), json!([1]), json!(true)] {
            assert!(matches!(of(value.clone()), Err(LoadError::NotATime { .. })), "{value}");
        }
    }

    #[test]
    fn ages_are_seconds_and_never_negative() {
        let now = since_1970(1e9).expect("a time");
        assert_eq!(of_age("/age", 0.0, now), Ok(now));
        assert_eq!(of_age("/age", 2.5, now), Ok(now - Duration::from_millis(2_500)));
        for age in [-0.1, f64::NAN, f64::INFINITY, 1e12] {
            assert!(matches!(of_age("/age", age, now), Err(LoadError::NotATime { .. })), "{age}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_time_or_none(text in "\\PC{0,40}", near in "20[0-9]{2}-[0-9]{2}-[0-9]{2}T[0-9:.+Zé-]{0,20}") {
            let _ = (rfc3339(&text), rfc3339(&near));
        }
    }
}
