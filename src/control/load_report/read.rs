//! One body becomes one sample of load, and one of health where that is asked for, by the format that is configured. Pure
//! functions: what the fuzzer runs.

use std::time::SystemTime;

use crate::model::{HealthPlace, LoadFormat, NginxPlusPart};

use super::health::HealthSample;
use super::load_object::Wanted;
use super::{LoadError, LoadSample, envoy, haproxy, json, load_object, nginx, nginx_plus, prometheus};

/// Reads a report. `now` is what its ages and timestamps are held against.
///
/// Counts that only grow ([`LoadFormat::is_counter`]) are given as they are.
///
/// # Errors
/// The body is something else, the figure is not there, or it is one that no load can be.
pub fn read(format: &LoadFormat, body: &[u8], now: SystemTime) -> Result<LoadSample, LoadError> {
    match format {
        LoadFormat::Haproxy { proxy, field } => haproxy::read(text(body)?, proxy, *field),
        LoadFormat::Nginx { field } => nginx::read(text(body)?, *field),
        LoadFormat::NginxPlus { part, field } => nginx_plus::read(body, part, *field),
        LoadFormat::Envoy { cluster, field } => envoy::read(text(body)?, cluster, *field),
        LoadFormat::Prometheus { load, capacity, .. } => prometheus::read(text(body)?, load, capacity.as_ref(), now),
        LoadFormat::Json { load, capacity, time } => json::read(body, load, capacity.as_deref(), time.as_ref(), now),
        LoadFormat::LoadObject { datacenter, resource, capacity } => {
            let wanted = Wanted { datacenter: datacenter.as_deref(), resource: resource.as_deref() };
            load_object::read(text(body)?, wanted, *capacity, now)
        }
    }
}

/// Reads the health in a report, apart from the load: a balancer all of whose servers are down may have none to tell.
///
/// # Errors
/// The body is something else, what is asked for is not there, or a figure is one that cannot be.
pub fn read_health(format: &LoadFormat, place: &HealthPlace, body: &[u8]) -> Result<HealthSample, LoadError> {
    match format {
        LoadFormat::Haproxy { proxy, .. } => {
            let backend = if let HealthPlace::Backend(name) = place { name } else { proxy };
            haproxy::health(text(body)?, backend)
        }
        LoadFormat::NginxPlus { part: NginxPlusPart::Connections, .. }
        | LoadFormat::Nginx { .. }
        | LoadFormat::Prometheus { .. } => Err(LoadError::Missing("health".into())),
        LoadFormat::NginxPlus { part, .. } => nginx_plus::health(body, part),
        LoadFormat::Envoy { cluster, .. } => envoy::health(text(body)?, cluster),
        LoadFormat::Json { .. } => json::health(body, place),
        LoadFormat::LoadObject { datacenter, resource, .. } => {
            let wanted = Wanted { datacenter: datacenter.as_deref(), resource: resource.as_deref() };
            load_object::health(text(body)?, wanted)
        }
    }
}

fn text(body: &[u8]) -> Result<&str, LoadError> {
    let not_text = |error: std::str::Utf8Error| LoadError::Unreadable { expected: "text", why: error.to_string() };
    let text = std::str::from_utf8(body).map_err(not_text)?;
    // A byte order mark is no part of the text.
    Ok(text.strip_prefix('\u{feff}').unwrap_or(text))
}
