//! Time to live: seconds a resolver may cache a record.

use std::fmt;

/// A TTL in seconds, within `0..=2^31-1` (RFC 2181 section 8).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ttl(u32);

impl Ttl {
    /// The largest TTL there is: the top bit must be zero (RFC 2181 section 8).
    pub const MAX: Ttl = Ttl(i32::MAX as u32);

    /// A TTL of this many seconds; `None` above [`Ttl::MAX`].
    pub const fn from_secs(secs: u32) -> Option<Ttl> {
        if secs <= Ttl::MAX.0 { Some(Ttl(secs)) } else { None }
    }

    /// A TTL of this many seconds, cut down to [`Ttl::MAX`].
    pub const fn saturating(secs: u32) -> Ttl {
        if secs <= Ttl::MAX.0 { Ttl(secs) } else { Ttl::MAX }
    }

    pub const fn as_secs(self) -> u32 {
        self.0
    }

    /// Reads `30`, `90s`, `1h`, `1h30m`, `2d`, `1w`: digits are seconds, units add up.
    ///
    /// Returns `None` for anything else, an empty text and a sum above [`Ttl::MAX`].
    pub fn parse(text: &str) -> Option<Ttl> {
        let mut total: u64 = 0;
        let mut digits: Option<u64> = None;
        let mut seen_unit = false;
        for byte in text.bytes() {
            if byte.is_ascii_digit() {
                let value = digits.unwrap_or(0) * 10 + u64::from(byte - b'0');
                if value > u64::from(Ttl::MAX.0) {
                    return None;
                }
                digits = Some(value);
                continue;
            }
            let unit: u64 = match byte.to_ascii_lowercase() {
                b's' => 1,
                b'm' => 60,
                b'h' => 3_600,
                b'd' => 86_400,
                b'w' => 604_800,
                _ => return None,
            };
            total += digits.take()? * unit;
            seen_unit = true;
            if total > u64::from(Ttl::MAX.0) {
                return None;
            }
        }
        match digits {
            Some(_) if seen_unit => None, // "1h30": 30 of what?
            Some(secs) => Ttl::from_secs(u32::try_from(secs).ok()?),
            None if seen_unit => Ttl::from_secs(u32::try_from(total).ok()?),
            None => None,
        }
    }
}

impl fmt::Display for Ttl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_seconds_and_units() {
        for (text, secs) in [("0", 0), ("30", 30), ("90s", 90), ("1h30m", 5400), ("2D", 172_800), ("1w", 604_800)] {
            assert_eq!(Ttl::parse(text).map(Ttl::as_secs), Some(secs), "{text}");
        }
    }

    #[test]
    fn refuses_what_is_not_a_ttl() {
        for text in ["", "h", "1x", "1h30", "-1", "2147483648", "99999999999999999999w", "1 h"] {
            assert_eq!(Ttl::parse(text), None, "{text}");
        }
        assert_eq!(Ttl::parse("2147483647"), Some(Ttl::MAX));
    }
}
