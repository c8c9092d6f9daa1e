//! Durations as operators write them: `5s`, `500ms`, `1m30s`, `50us`.

use std::time::Duration;

/// Each with how many microseconds it has.
const UNITS: [(&str, u64); 5] = [("us", 1), ("ms", 1_000), ("s", 1_000_000), ("m", 60_000_000), ("h", 3_600_000_000)];

/// Reads numbers with units `us`, `ms`, `s`, `m`, `h`, which add up.
///
/// `None` for anything else, a number without a unit, an empty text and what no `u64` of
/// microseconds holds.
pub fn parse(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut total_us: u64 = 0;
    while !rest.is_empty() {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let number: u64 = rest.get(..digits)?.parse().ok()?;
        rest = rest.get(digits..)?;
        let letters = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_alphabetic()).len();
        let (_, unit_us) = UNITS.into_iter().find(|(unit, _)| Some(*unit) == rest.get(..letters))?;
        total_us = total_us.checked_add(number.checked_mul(unit_us)?)?;
        rest = rest.get(letters..)?;
    }
    (!text.is_empty()).then(|| Duration::from_micros(total_us))
}

/// The duration in the largest unit that leaves no rest.
pub fn show(duration: Duration) -> String {
    let us = duration.as_micros();
    if us == 0 {
        return "0ms".to_owned();
    }
    let fits = UNITS.iter().rev().find(|(_, unit_us)| us.is_multiple_of(u128::from(*unit_us)));
    let (unit, unit_us) = fits.unwrap_or(&UNITS[0]);
    format!("{}{unit}", us / u128::from(*unit_us))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_add_up() {
        for (text, ms) in
            [("0s", 0), ("5s", 5_000), ("500ms", 500), ("1m30s", 90_000), ("1000us", 1), ("1h", 3_600_000)]
        {
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
        for text in ["1h", "90s", "100ms", "0ms", "1500ms", "50us", "1001us"] {
            assert_eq!(parse(text).map(show).as_deref(), Some(text));
        }
    }
}
