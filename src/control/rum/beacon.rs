//! The body that a browser reports with: `{"token": "…", "samples": [{"region": "seoul@gslb.example", "ms": 41.5}]}`.

use serde::Deserialize;

/// Octets of a report at most.
pub const MAX_OCTETS: usize = 8 * 1024;
/// Times in a report at most; a plan asks for a few.
const MAX_SAMPLES: usize = 32;

/// A report as it came: nothing in it is to be believed yet.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Beacon {
    pub token: String,
    pub samples: Vec<Sample>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sample {
    /// Qualified, as the plan named it.
    pub region: String,
    /// Finite.
    pub ms: f64,
}

/// Reads a report.
///
/// # Errors
/// What is wrong with it, for whoever writes a script of their own.
pub fn parse(body: &[u8]) -> Result<Beacon, String> {
    let beacon: Beacon = serde_json::from_slice(body).map_err(|error| format!("not a report: {error}"))?;
    if beacon.samples.len() > MAX_SAMPLES {
        return Err(format!("{} samples, of at most {MAX_SAMPLES}", beacon.samples.len()));
    }
    let mut regions: Vec<&str> = beacon.samples.iter().map(|sample| sample.region.as_str()).collect();
    regions.sort_unstable();
    if regions.windows(2).any(|pair| matches!(pair, [one, other] if one == other)) {
        return Err("a region is there twice".to_owned());
    }
    Ok(beacon)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_a_token_and_a_time_per_region() {
        let beacon = parse(br#"{"token":"t","samples":[{"region":"a@z","ms":1},{"region":"b@z","ms":2.5}]}"#);
        let beacon = beacon.expect("a report");
        assert_eq!((beacon.token.as_str(), beacon.samples.len(), beacon.samples[1].ms), ("t", 2, 2.5));
        let many = vec![r#"{"region":"a","ms":1}"#; 33].join(",");
        for wrong in [
            "",
            "{}",
            "[]",
            "null",
            r#"{"token":"t"}"#,
            r#"{"token":1,"samples":[]}"#,
            r#"{"token":"t","samples":[{"region":"a","ms":"1"}]}"#,
            r#"{"token":"t","samples":[{"region":"a","ms":NaN}]}"#,
            r#"{"token":"t","samples":[{"region":"a","ms":1e999}]}"#,
            r#"{"token":"t","samples":[{"region":"a","ms":1,"x":2}]}"#,
            r#"{"token":"t","samples":[{"region":"a","ms":1},{"region":"a","ms":1}]}"#,
            r#"{"token":"t","samples":[]} x"#,
            &format!(r#"{{"token":"t","samples":[{many}]}}"#),
        ] {
            assert!(parse(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }
}
