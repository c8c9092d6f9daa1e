//! The endpoints each region hands out now: the eligible ones, in the compact form a query reads.

use crate::model::{Endpoint, EndpointTarget, Model, RegionId};

use super::pick::Identity;
use crate::steer::health::effective::{EffectiveState, RegionState};
use crate::steer::health::verdict::Verdict;

/// Utilisation above which answers live half as long, since the region may soon turn clients away.
pub const BUSY_UTILISATION: f64 = 0.85;

/// Utilisation above which answers live as briefly as near a failure: whoever has to be sent
/// elsewhere should ask again before clients are turned away.
pub const FULL_UTILISATION: f64 = 0.95;

/// One region as a query sees it.
#[derive(Clone, Debug)]
pub struct EndpointSet {
    pub identity: Identity,
    /// Endpoints that may be answered; never empty: with none up those that are unknown, else all of them.
    pub endpoints: Box<[EndpointChoice]>,
    /// The region or one of its endpoints is near a verdict change.
    pub suspect: bool,
    /// Utilisation is above [`BUSY_UTILISATION`].
    pub busy: bool,
    /// Utilisation is above [`FULL_UTILISATION`].
    pub full: bool,
}

#[derive(Clone, Copy, Debug)]
pub struct EndpointChoice {
    /// Into the region's endpoints.
    pub index: u16,
    pub identity: Identity,
    pub weight: f64,
    pub has_ipv4: bool,
    pub has_ipv6: bool,
    pub is_host: bool,
}

/// Every region's endpoint_set, indexed by [`RegionId`].
pub fn endpoint_sets(model: &Model, states: &[RegionState], seed: u64) -> Vec<EndpointSet> {
    model.region_ids().zip(states).map(|(id, state)| endpoint_set(model, id, state, seed)).collect()
}

fn endpoint_set(model: &Model, id: RegionId, state: &RegionState, seed: u64) -> EndpointSet {
    let name = model.qualified_region_name(id);
    let region = model.region(id);
    let choice = |(index, endpoint): (usize, &Endpoint)| endpoint_choice(index, endpoint, &name, seed);
    let verdict = |index: usize| match state.endpoints.get(index).and_then(|seen| seen.verdict) {
        None if region.check.is_some() => Verdict::Unknown,
        verdict => verdict.unwrap_or(Verdict::Up),
    };
    // Those that are up, else those that may be, else all.
    let wanted: [fn(Verdict) -> bool; 3] = [Verdict::serves, |verdict| verdict == Verdict::Unknown, |_| true];
    let those = |wanted: &fn(Verdict) -> bool| -> Box<[EndpointChoice]> {
        region.endpoints.iter().enumerate().filter(|(index, _)| wanted(verdict(*index))).map(choice).collect()
    };
    let endpoints = wanted.iter().map(those).find(|endpoints| !endpoints.is_empty()).unwrap_or_default();
    let endpoint_suspect = state.endpoints.iter().any(|seen| seen.verdict == Some(Verdict::Suspect));
    let used = state.load.last.and_then(|figure| figure.utilisation());
    EndpointSet {
        identity: Identity::of(seed, &name),
        endpoints,
        suspect: matches!(state.effective, EffectiveState::Suspect | EffectiveState::Unknown) || endpoint_suspect,
        busy: used.is_some_and(|used| used > BUSY_UTILISATION),
        full: used.is_some_and(|used| used > FULL_UTILISATION),
    }
}

fn endpoint_choice(index: usize, endpoint: &Endpoint, region: &str, seed: u64) -> EndpointChoice {
    let (has_ipv4, has_ipv6, is_host) = match &endpoint.target {
        EndpointTarget::Addresses(addresses) => {
            (addresses.iter().any(|a| a.is_ipv4()), addresses.iter().any(|a| a.is_ipv6()), false)
        }
        EndpointTarget::Host(_) => (false, false, true),
    };
    EndpointChoice {
        index: index as u16, // the loader refuses more than 64 endpoints in a region
        identity: Identity::of(seed, &format!("{region}/{}", endpoint.label())),
        weight: f64::from(endpoint.weight),
        has_ipv4,
        has_ipv6,
        is_host,
    }
}
