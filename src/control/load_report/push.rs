//! A load report that comes by itself: `{"load": 120, "capacity": 200, "age_s": 1.5, "healthy": 0.75, "errors": 0.01}`.

use std::time::SystemTime;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use crate::steer::health::degraded::BalancerHealth;

use super::health::HealthSample;
use super::{LoadError, LoadSample, figure, time};

/// The body that is posted to `/v1/regions/NAME/load`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PushedLoad {
    /// In the region's own unit.
    load: f64,
    /// The load that the region could bear now, in the same unit.
    capacity: Option<f64>,
    /// The time that both are of: RFC 3339, or seconds or milliseconds since 1970.
    at: Option<Value>,
    /// Or how old they are, in seconds. Neither: as of now.
    age_s: Option<f64>,
    /// The part of the region's servers that are up, 0 to 1.
    healthy: Option<f64>,
    /// The part of answers lately that were errors of the servers, 0 to 1.
    errors: Option<f64>,
    /// Nothing behind it answers any more. Default false.
    #[serde(default)]
    down: bool,
}

impl PushedLoad {
    /// The sample that is believed of it.
    ///
    /// # Errors
    /// A number no load, capacity or age can be, a time that is none or lies in the future, or
    /// both `at` and `age_s`.
    pub fn sample(&self, now: SystemTime) -> Result<LoadSample, LoadError> {
        let at = match (&self.at, self.age_s) {
            (Some(at), None) => time::of_json("at", at, now)?,
            (None, Some(age_s)) => time::of_age("age_s", age_s, now)?,
            (None, None) => now,
            (Some(_), Some(_)) => {
                let why = "`at` and `age_s` are both there".to_owned();
                return Err(LoadError::Unreadable { expected: "one time", why });
            }
        };
        let capacity = self.capacity.map(|capacity| ("capacity", capacity));
        Ok(LoadSample { at: Some(at), ..figure::sample(("load", self.load), capacity)? })
    }
}

impl PushedLoad {
    /// The health that is believed of it; `None`: it says nothing of that.
    ///
    /// # Errors
    /// A number that is no part of a whole.
    pub fn health(&self) -> Result<Option<BalancerHealth>, LoadError> {
        if self.healthy.is_none() && self.errors.is_none() && !self.down {
            return Ok(None);
        }
        let shares = [("healthy", self.healthy), ("errors", self.errors)].map(|(name, share)| Some((name, share?)));
        let sample = HealthSample { down: self.down, ..HealthSample::of_shares(shares[0], shares[1])? };
        Ok(Some(sample.told(self.errors)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, UNIX_EPOCH};

    fn now() -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_000_000_000)
    }

    fn sample(body: &str) -> Result<LoadSample, LoadError> {
        serde_json::from_str::<PushedLoad>(body).expect("a body").sample(now())
    }

    #[test]
    fn load_capacity_and_time_are_taken() {
        let ago = |seconds| Some(now() - Duration::from_secs(seconds));
        for (body, capacity, at) in [
            (r#"{"load": 120}"#, None, ago(0)),
            (r#"{"load": 120, "capacity": 200, "age_s": 3}"#, Some(200.0), ago(3)),
            (r#"{"load": 120, "capacity": null, "at": "2001-09-09T01:46:30Z"}"#, None, ago(10)),
            (r#"{"load": 120, "at": 999999980}"#, None, ago(20)),
        ] {
            assert_eq!(sample(body), Ok(LoadSample { load: 120.0, capacity, at }), "{body}");
        }
    }

    #[test]
    fn health_is_taken_where_it_is_told() {
        let health = |body: &str| serde_json::from_str::<PushedLoad>(body).expect("a body").health();
        assert_eq!(health(r#"{"load": 1}"#), Ok(None));
        let told = BalancerHealth { up: Some(0.75), errors: Some(0.01), ..BalancerHealth::default() };
        assert_eq!(health(r#"{"load": 1, "healthy": 0.75, "errors": 0.01}"#), Ok(Some(told)));
        assert_eq!(health(r#"{"load": 1, "down": true}"#).map(|said| said.is_some_and(|said| said.down)), Ok(true));
        for lie in [r#"{"load": 1, "healthy": 1.1}"#, r#"{"load": 1, "errors": -0.1}"#] {
            assert!(health(lie).is_err(), "{lie}");
        }
    }

    #[test]
    fn lies_are_refused() {
        for body in [
            r#"{"load": -1}"#,
            r#"{"load": 1e16}"#,
            r#"{"load": 1, "capacity": 0}"#,
            r#"{"load": 1, "age_s": -1}"#,
            r#"{"load": 1, "at": "soon"}"#,
            r#"{"load": 1, "at": 1000000061}"#,
            r#"{"load": 1, "at": 999999999, "age_s": 1}"#,
        ] {
            assert!(sample(body).is_err(), "{body}");
        }
        for body in ["{}", "[]", "5", r#"{"load": "5"}"#, r#"{"load": null}"#, r#"{"load": 1, "lode": 2}"#] {
            assert!(serde_json::from_str::<PushedLoad>(body).is_err(), "{body}");
        }
    }
}
