//! When a figure is of, as a report says it.
//!
//! Out: a [`SystemTime`], not after the reader's own, or why it is none. Two clocks are compared
//! here, the region's and this machine's; how far apart they may be is [`MOST_AHEAD`].

use std::time::{Duration, SystemTime, UNIX_EPOCH};

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
fn rfc3339(text: &str) -> Option<SystemTime> {
    let (date, clock) = text.split_at_checked(10)?;
    let [year, month, day] = fields(date, '-')?;
    let days = days_since_1970(year, month, day)?;
    let (clock, rest) = clock.strip_prefix(['T', 't', ' '])?.split_at_checked(8)?;
    let [hour, minute, second] = fields(clock, ':')?;
    // A leap second is the 60th.
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let (fraction, zone) = fraction(rest)?;
    let seconds = (days * 86_400 + hour * 3_600 + minute * 60 + second) - offset(zone)?;
    UNIX_EPOCH.checked_add(Duration::new(u64::try_from(seconds).ok()?, fraction))
}

/// Three numbers of digits alone: a sign or a space makes none.
fn fields(text: &str, separator: char) -> Option<[i64; 3]> {
    let mut fields = text.split(separator).map(digits);
    let three = [fields.next()??, fields.next()??, fields.next()??];
    fields.next().is_none().then_some(three)
}

fn digits(text: &str) -> Option<i64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

/// `.25Z` is 250,000,000 ns and `Z`. Finer than nanoseconds is cut off.
fn fraction(text: &str) -> Option<(u32, &str)> {
    let Some(rest) = text.strip_prefix('.') else { return Some((0, text)) };
    let end = rest.find(|char: char| !char.is_ascii_digit()).unwrap_or(rest.len());
    let (digits, zone) = rest.split_at_checked(end)?;
    if digits.is_empty() {
        return None;
    }
    let nine: String = digits.chars().chain(std::iter::repeat('0')).take(9).collect();
    Some((nine.parse().ok()?, zone))
}

/// `Z`, `+09:00` or nothing, in seconds east of Greenwich.
fn offset(zone: &str) -> Option<i64> {
    let (sign, rest) = match zone {
        "" | "Z" | "z" => return Some(0),
        _ => match (zone.strip_prefix('+'), zone.strip_prefix('-')) {
            (Some(rest), _) => (1, rest),
            (_, Some(rest)) => (-1, rest),
            _ => return None,
        },
    };
    let (hours, minutes) = rest.split_once(':')?;
    match (hours.len(), minutes.len(), digits(hours)?, digits(minutes)?) {
        (2, 2, hours @ 0..=23, minutes @ 0..=59) => Some(sign * (hours * 3_600 + minutes * 60)),
        _ => None,
    }
}

/// `None` for a day that is none, and before 1970.
fn days_since_1970(year: i64, month: i64, day: i64) -> Option<i64> {
    const BEFORE: [i64; 12] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
    let leap = |year: i64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let leap_days = |year: i64| year / 4 - year / 100 + year / 400;
    let before = *BEFORE.get(usize::try_from(month.checked_sub(1)?).ok()?)?;
    let length = match month {
        2 => 28 + i64::from(leap(year)),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    if !(1970..=9999).contains(&year) || !(1..=length).contains(&day) {
        return None;
    }
    let years = (year - 1970) * 365 + leap_days(year - 1) - leap_days(1969);
    Some(years + before + i64::from(month > 2 && leap(year)) + day - 1)
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
