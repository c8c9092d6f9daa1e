//! Durations as operators write them: `5s`, `500ms`, `1m30s`.

use std::time::Duration;

const UNITS: [(&str, u64); 4] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000)];

/// Reads numbers with units `ms`, `s`, `m`, `h`, which add up.
///
/// `None` for anything else, a number without a unit, an empty text and what no `u64` of
/// milliseconds holds.
pub fn parse(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut total_ms: u64 = 0;
    while !rest.is_empty() {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let number: u64 = rest.get(..digits)?.parse().ok()?;
        rest = rest.get(digits..)?;
        let letters = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_alphabetic()).len();
        let (_, unit_ms) = UNITS.into_iter().find(|(unit, _)| Some(*unit) == rest.get(..letters))?;
        total_ms = total_ms.checked_add(number.checked_mul(unit_ms)?)?;
        rest = rest.get(letters..)?;
    }
    (!text.is_empty()).then(|| Duration::from_millis(total_ms))
}

/// The duration in the largest unit that leaves no rest.
pub fn show(duration: Duration) -> String {
    let ms = duration.as_millis();
    let fits = UNITS.iter().rev().find(|(_, unit_ms)| ms > 0 && ms.is_multiple_of(u128::from(*unit_ms)));
    let (unit, unit_ms) = fits.unwrap_or(&UNITS[0]);
    format!("{}{unit}", ms / u128::from(*unit_ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_add_up() {
        for (text, ms) in [("0s", 0), ("5s", 5_000), ("500ms", 500), ("1m30s", 90_000), ("1h", 3_600_000)] {
            assert_eq!(parse(text), Some(Duration::from_millis(ms)), "{text}");
        }
    }

    #[test]
    fn refuses_what_is_no_duration() {
        for text in ["", "5", "s", "5 s", "5x", "-1s", "1.5s", "1h30", "99999999999999999999s", "18446744073709551615h"]
        {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn shows_the_largest_whole_unit() {
        for text in ["1h", "90s", "100ms", "0ms", "1500ms"] {
            assert_eq!(parse(text).map(show).as_deref(), Some(text));
        }
    }
}
