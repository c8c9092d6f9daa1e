//! How long a server's certificate is still valid, read off its DER (RFC 5280 section 4.1).
//!
//! In: a certificate as the server showed it. Out: the end of its validity, or `None` where it has no such form.
//! Nothing else of it is looked at: trust is rustls' affair.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jiff::civil::DateTime;

use crate::model::TlsCheck;

use super::outcome::{ProbeError, Warning};

const DAY: Duration = Duration::from_secs(86_400);

/// What the end of its validity means for a check now: nothing, a warning, or a failure.
pub(super) fn judge_expiry(
    check: &TlsCheck,
    certificate: Option<&[u8]>,
    now: SystemTime,
) -> Result<Option<Warning>, ProbeError> {
    let Some(end) = certificate.and_then(not_after) else { return Ok(None) };
    let left = end.duration_since(now).unwrap_or_default();
    // Whole days: with less than one left, none.
    let days = u32::try_from(left.as_secs() / DAY.as_secs()).unwrap_or(u32::MAX);
    let within = |limit: u32| limit > 0 && left < DAY * limit;
    if within(check.fail_days) {
        let limit = check.fail_days;
        return Err(ProbeError::Tls(format!("the certificate expires in {days} days, `fail_days` is {limit}")));
    }
    Ok(within(check.warn_days).then_some(Warning::Expires { days }))
}

/// The end of the validity: the second time in the fifth field of what is signed.
fn not_after(certificate: &[u8]) -> Option<SystemTime> {
    let (certificate, _) = element(certificate, SEQUENCE)?;
    let (mut signed, _) = element(certificate, SEQUENCE)?;
    // The version is left out of certificates of version 1.
    if let Some((_, rest)) = element(signed, VERSION) {
        signed = rest;
    }
    for tag in [INTEGER, SEQUENCE, SEQUENCE] {
        (_, signed) = element(signed, tag)?;
    }
    let (validity, _) = element(signed, SEQUENCE)?;
    let (_, _, rest) = any_element(validity)?;
    let (tag, time, _) = any_element(rest)?;
    date(tag, std::str::from_utf8(time).ok()?)
}

const INTEGER: u8 = 0x02;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;

/// RFC 5280 section 4.1.2.5: `YYMMDDHHMMSSZ` from 1950 to 2049, else `YYYYMMDDHHMMSSZ`.
fn date(tag: u8, text: &str) -> Option<SystemTime> {
    let digits = text.strip_suffix('Z').filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?;
    let digits = match (tag, digits.len()) {
        (UTC_TIME, 12) if digits < "50" => format!("20{digits}"),
        (UTC_TIME, 12) => format!("19{digits}"),
        (GENERALIZED_TIME, 14) => digits.to_owned(),
        _ => return None,
    };
    let part = |from: usize, to: usize| digits.get(from..to)?.parse::<i8>().ok();
    let year = digits.get(..4)?.parse().ok()?;
    let (month, day, hour) = (part(4, 6)?, part(6, 8)?, part(8, 10)?);
    let at = DateTime::new(year, month, day, hour, part(10, 12)?, part(12, 14)?, 0).ok()?;
    let since_1970 = at.duration_since(DateTime::constant(1970, 1, 1, 0, 0, 0, 0));
    UNIX_EPOCH.checked_add(Duration::try_from(since_1970).ok()?)
}

/// The content of the first element, which must have this tag, and what follows it.
fn element(octets: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (found, content, rest) = any_element(octets)?;
    (found == tag).then_some((content, rest))
}

/// Tag, content and what follows (X.690 section 8.1), of lengths that rustls takes, too.
fn any_element(octets: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = octets.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x83 => {
            let (long, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (long.iter().fold(0, |sum, &octet| sum << 8 | usize::from(octet)), rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};
    use std::sync::LazyLock;

    fn until(year: i32, month: u8, day: u8) -> Vec<u8> {
        let mut params = CertificateParams::new(vec!["www.example.com".into()]).expect("parameters");
        params.not_after = date_time_ymd(year, month, day);
        params.self_signed(&KeyPair::generate().expect("a key")).expect("a certificate").der().to_vec()
    }

    fn since_1970(days: u64) -> SystemTime {
        UNIX_EPOCH + DAY * u32::try_from(days).expect("days")
    }

    #[test]
    fn rfc5280_section_4_1_2_5_both_forms_of_times_are_read() {
        assert_eq!(not_after(&until(2027, 3, 1)), Some(since_1970(20_878)));
        assert_eq!(not_after(&until(2050, 1, 1)), Some(since_1970(29_220)), "GeneralizedTime from 2050 on");
        assert_eq!(date(UTC_TIME, "500101000000Z"), None, "before 1970");
        for wrong in ["", "Z", "2703010000Z", "271301000000Z", "270301000000", "2703010000é0Z"] {
            assert_eq!(date(UTC_TIME, wrong), None, "{wrong}");
        }
    }

    #[test]
    fn days_left_are_nothing_a_warning_or_a_failure() {
        let certificate = until(2027, 3, 1);
        let check = TlsCheck { warn_days: 14, fail_days: 3, ..TlsCheck::default() };
        let left = |days: u64| judge_expiry(&check, Some(&certificate), since_1970(20_878 - days));
        assert_eq!(left(14), Ok(None));
        assert_eq!(left(13), Ok(Some(Warning::Expires { days: 13 })));
        assert_eq!(left(3), Ok(Some(Warning::Expires { days: 3 })));
        let error = left(2).expect_err("too late");
        assert_eq!(error.to_string(), "TLS: the certificate expires in 2 days, `fail_days` is 3");
        let never = TlsCheck { warn_days: 0, fail_days: 0, ..check };
        assert_eq!(judge_expiry(&never, Some(&certificate), since_1970(30_000)), Ok(None));
        assert_eq!(judge_expiry(&never, None, since_1970(0)), Ok(None));
    }

    proptest! {
        #[test]
        fn any_octets_have_an_end_or_none(
            octets in proptest::collection::vec(any::<u8>(), 0..64),
            at in 0usize..600,
            to: u8,
        ) {
            static GOOD: LazyLock<Vec<u8>> = LazyLock::new(|| until(2027, 3, 1));
            let _ = not_after(&octets);
            let mut certificate = GOOD.clone();
            let at = at % certificate.len();
            certificate[at] = to;
            let _ = not_after(&certificate[..]);
            let _ = not_after(&certificate[..at]);
        }
    }
}
