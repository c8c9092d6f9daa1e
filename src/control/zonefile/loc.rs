//! LOC records (RFC 1876): `52 22 23.000 N 4 53 32.000 E -2.00m 0.00m 10000m 10m`.
//!
//! Angles are kept in thousandths of an arc second, lengths in centimetres; nothing is a float.

use super::fields::{Fields, not_a, number};
use super::mistake::Mistake;

/// Thousandths of an arc second in a degree.
const DEGREE: u32 = 3_600_000;
/// The equator and the prime meridian on the wire.
const MIDDLE: u32 = 1 << 31;
/// Altitudes count from 100,000 m below the reference spheroid.
const ALTITUDE_BASE_CM: i64 = 10_000_000;
/// Defaults of RFC 1876 section 3: 1 m, 10,000 m, 10 m.
const SIZE_AND_PRECISIONS: [(&str, u8); 3] =
    [("size", 0x12), ("horizontal precision", 0x16), ("vertical precision", 0x13)];
/// 9 × 10⁹ cm, the largest the exponent form can say.
const MAX_LENGTH_CM: i64 = 9_000_000_000;

pub(super) fn read(fields: &mut Fields<'_, '_>, wire: &mut Vec<u8>) -> Result<(), Mistake> {
    let latitude = read_angle(fields, "latitude", 90, ("N", "S"))?;
    let longitude = read_angle(fields, "longitude", 180, ("E", "W"))?;
    let token = fields.expect("altitude", "metres such as `10.00m`")?;
    let altitude = centimetres(token.text)
        .and_then(|cm| u32::try_from(cm + ALTITUDE_BASE_CM).ok())
        .ok_or_else(|| not_a(token, "altitude", "expected metres from -100000.00 to 42849672.95"))?;
    let mut lengths = [0; 3];
    for ((what, default), octet) in SIZE_AND_PRECISIONS.into_iter().zip(&mut lengths) {
        *octet = match fields.take() {
            None => default,
            Some(token) => centimetres(token.text)
                .and_then(exponent_form)
                .ok_or_else(|| not_a(token, what, "expected metres from 0 to 90000000.00"))?,
        };
    }
    wire.push(0); // VERSION
    wire.extend_from_slice(&lengths);
    for value in [latitude, longitude, altitude] {
        wire.extend_from_slice(&value.to_be_bytes());
    }
    Ok(())
}

pub(super) fn is_well_made(wire: &[u8]) -> bool {
    let word = |at: usize| wire.get(at..at + 4).map_or(0, |w| u32::from_be_bytes([w[0], w[1], w[2], w[3]]));
    wire.len() == 16
        && wire[0] == 0
        && wire[1..4].iter().all(|octet| octet >> 4 <= 9 && octet & 15 <= 9)
        && word(4).abs_diff(MIDDLE) <= 90 * DEGREE
        && word(8).abs_diff(MIDDLE) <= 180 * DEGREE
}

/// Degrees, minutes, seconds and a direction; minutes and seconds may be left out.
fn read_angle(fields: &mut Fields<'_, '_>, what: &str, max_degrees: u32, signs: (&str, &str)) -> Result<u32, Mistake> {
    let expected = format!("`{}` or `{}`", signs.0, signs.1);
    let mut range = fields.peek().map_or(0..0, |first| first.range.clone());
    let mut angle = DEGREE * fields.number(what, max_degrees)?;
    for (part, scale) in [("minutes", 60_000), ("seconds", 1), ("direction", 0)] {
        let token = fields.expect(part, &expected)?;
        range.end = token.range.end;
        let north_or_east = token.text.eq_ignore_ascii_case(signs.0);
        if north_or_east || token.text.eq_ignore_ascii_case(signs.1) {
            if angle > max_degrees * DEGREE {
                break;
            }
            return Ok(if north_or_east { MIDDLE + angle } else { MIDDLE - angle });
        }
        let value = match part {
            "minutes" => number(token.text, 59),
            "seconds" => decimal(token.text, 3).and_then(|value| u32::try_from(value).ok()).filter(|&v| v < 60_000),
            _ => return Err(not_a(token, part, format!("expected {expected}"))),
        };
        angle += scale
            * value.ok_or_else(|| {
                not_a(token, &format!("number of {part}"), format!("expected {part} below 60, or {expected}"))
            })?;
    }
    Err(Mistake::new(range, format!("the {what} is too large"), format!("above {max_degrees} degrees")))
}

/// `-12.34m`, the unit may be left out.
fn centimetres(text: &str) -> Option<i64> {
    let metres = text.strip_suffix(['m', 'M']).unwrap_or(text);
    match metres.strip_prefix('-') {
        Some(below) => decimal(below, 2).map(|cm| -cm),
        None => decimal(metres, 2),
    }
}

/// A decimal number times 10^`places`; at most that many digits after the point.
fn decimal(text: &str, places: usize) -> Option<i64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || whole.len() > 10 || fraction.len() > places || !digits(whole) || !digits(fraction) {
        return None;
    }
    format!("{whole}{fraction:0<places$}").parse().ok()
}

/// One digit and a power of ten, in centimetres (RFC 1876 section 2). Further digits are lost.
fn exponent_form(cm: i64) -> Option<u8> {
    let mut mantissa = u64::try_from(cm).ok().filter(|_| cm <= MAX_LENGTH_CM)?;
    let mut exponent = 0;
    while mantissa > 9 {
        mantissa /= 10;
        exponent += 1;
    }
    u8::try_from(mantissa << 4 | exponent).ok()
}
