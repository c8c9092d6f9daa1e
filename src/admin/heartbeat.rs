//! Heartbeats that come by themselves: whose they are, and what is said to whoever sent one. What follows from a
//! heartbeat is the prober's.

use std::net::IpAddr;
use std::time::Duration;

use axum::http::StatusCode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::control::probe::{EndpointKey, Heartbeats};
use crate::model::{CheckKind, Endpoint, EndpointTarget, RegionId};
use crate::state::Snapshot;

use super::load::region_named;
use super::problem::Problem;

/// The body that is posted to `/v1/regions/NAME/heartbeat`; none at all says that all endpoints are healthy.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HeartbeatBody {
    /// One of the endpoint's addresses, or its host name. `None`: all endpoints of the region.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// Default true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthy: Option<bool>,
    /// The reason for which it is unhealthy; shown with the outcome, cut to 200 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// A heartbeat that was heard: it counts from the endpoint's next probe on.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct HeartbeatTaken {
    /// Qualified.
    pub region: String,
    /// Whose heartbeat it was, by their first addresses or host names; at least one.
    pub endpoints: Vec<String>,
    pub healthy: bool,
    /// The next must come within this.
    pub max_age_s: f64,
}

/// Takes a heartbeat for the region of that name.
pub fn take(
    heartbeats: &Heartbeats,
    snapshot: &Snapshot,
    name: &str,
    body: &HeartbeatBody,
) -> Result<HeartbeatTaken, Problem> {
    let id = region_named(snapshot, name)?;
    let region = snapshot.model.qualified_region_name(id);
    let max_age = max_age(snapshot, id, &region)?;
    let wanted = |endpoint: &&Endpoint| body.endpoint.as_deref().is_none_or(|said| is_called(endpoint, said));
    let endpoints: Vec<_> = snapshot.model.region(id).endpoints.iter().filter(wanted).map(Endpoint::label).collect();
    if endpoints.is_empty() {
        let said = body.endpoint.as_deref().unwrap_or_default();
        return Err(Problem::new(StatusCode::NOT_FOUND, format!("{region} has no endpoint `{said:.100}`")));
    }
    let healthy = body.healthy.unwrap_or(true);
    let message = body.message.as_deref().unwrap_or_default();
    for endpoint in &endpoints {
        let key = EndpointKey::only(&region, endpoint);
        heartbeats.take(key, if healthy { Ok(()) } else { Err(message) });
    }
    Ok(HeartbeatTaken { region, endpoints, healthy, max_age_s: max_age.as_secs_f64() })
}

/// The region must be one that heartbeats are awaited of: otherwise someone relies on what nobody looks at.
fn max_age(snapshot: &Snapshot, id: RegionId, name: &str) -> Result<Duration, Problem> {
    let checks = &snapshot.model.region(id).checks;
    let kinds = checks.iter().flat_map(|checks| &checks.members).map(|member| &member.check.kind);
    let mut ages = kinds.filter_map(|kind| if let CheckKind::Push { max_age } = kind { Some(*max_age) } else { None });
    match ages.next() {
        Some(first) => Ok(ages.fold(first, Duration::min)),
        None => {
            let why = if checks.is_some() { "its check asks the endpoints" } else { "it has no check" };
            let error = format!("{name} takes no heartbeats: {why}; write `check.push` in its zone file");
            Err(Problem::new(StatusCode::CONFLICT, error))
        }
    }
}

fn is_called(endpoint: &Endpoint, said: &str) -> bool {
    match &endpoint.target {
        EndpointTarget::Addresses(addresses) => said.parse::<IpAddr>().is_ok_and(|said| addresses.contains(&said)),
        EndpointTarget::Host(host) => {
            let host = host.to_string();
            said.trim_end_matches('.').eq_ignore_ascii_case(host.trim_end_matches('.'))
        }
    }
}
