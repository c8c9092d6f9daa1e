//! What a region is good for now: the operator's override, else what the probes say.
//!
//! Where that changes too often or everywhere at once, [`super::stability`] has a word in it.

use std::sync::Arc;
use std::time::Instant;

use super::degraded::Degraded;
use super::stability::Stability;
use super::verdict::Verdict;
use super::vote::{OwnFinding, RegionVote};
use crate::model::ProbeId;
use crate::steer::load::state::LoadState;

/// What an operator says of a region. Beats the verdict and survives restarts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Override {
    /// Believe the probes.
    #[default]
    Auto,
    /// Answer with it whatever the probes say.
    Up,
    /// Do not answer with it.
    Down,
    /// Do not send it new clients; those it has may finish.
    Drain,
}

impl Override {
    pub fn as_str(self) -> &'static str {
        match self {
            Override::Auto => "auto",
            Override::Up => "up",
            Override::Down => "down",
            Override::Drain => "drain",
        }
    }
}

/// A region's effective state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum EffectiveState {
    Up,
    /// Failing, but not yet for long enough to be down: answered, with a short TTL.
    Suspect,
    Drain,
    Down,
    /// Its probes have not proven it either way yet: answered, with a short TTL, where no other region is up.
    Unknown,
}

impl EffectiveState {
    /// Whether new clients may be sent there while others could take them.
    pub fn is_eligible(self) -> bool {
        matches!(self, EffectiveState::Up | EffectiveState::Suspect)
    }

    pub fn as_str(self) -> &'static str {
        match self {
            EffectiveState::Up => "up",
            EffectiveState::Suspect => "suspect",
            EffectiveState::Drain => "drain",
            EffectiveState::Down => "down",
            EffectiveState::Unknown => "unknown",
        }
    }
}

/// Override, else verdict.
pub fn effective_state(verdict: Verdict, operator_override: Override) -> EffectiveState {
    match (operator_override, verdict) {
        (Override::Up, _) | (Override::Auto, Verdict::Up) => EffectiveState::Up,
        (Override::Auto, Verdict::Suspect) => EffectiveState::Suspect,
        (Override::Down, _) | (Override::Auto, Verdict::Down) => EffectiveState::Down,
        (Override::Auto, Verdict::Unknown) => EffectiveState::Unknown,
        (Override::Drain, _) => EffectiveState::Drain,
    }
}

/// A region's verdict from those of its endpoints; `None` is an endpoint that is not probed.
///
/// Up while `min_healthy` endpoints are surely up, suspect while that many are up or were until lately, unknown while
/// those not proven yet could make up that many, else down.
pub fn region_verdict(endpoints: impl IntoIterator<Item = Option<Verdict>>, min_healthy: usize) -> Verdict {
    let (mut up, mut suspect, mut unknown) = (0, 0, 0);
    for verdict in endpoints {
        match verdict {
            Some(Verdict::Up) | None => up += 1,
            Some(Verdict::Suspect) => suspect += 1,
            Some(Verdict::Unknown) => unknown += 1,
            Some(Verdict::Down) => {}
        }
    }
    if up >= min_healthy {
        Verdict::Up
    } else if up + suspect >= min_healthy {
        Verdict::Suspect
    } else if up + suspect + unknown >= min_healthy {
        Verdict::Unknown
    } else {
        Verdict::Down
    }
}

/// Everything the snapshot knows of one region's condition.
#[derive(Clone, Debug)]
pub struct RegionState {
    pub effective: EffectiveState,
    pub verdict: Verdict,
    /// That of its IPv6 addresses, where it has both families; `None` where it has not.
    pub ipv6: Option<Verdict>,
    /// Its IPv6 addresses are answered whatever their probes say: no region's can be reached from here, and that says
    /// more of this server's own network.
    pub ipv6_doubted: bool,
    pub operator_override: Override,
    /// As long as the region's endpoints, in their order.
    pub endpoints: Vec<EndpointState>,
    pub load: LoadState,
    /// Milliseconds, 0 to 250: what its load adds to its score.
    pub price_ms: f64,
    /// The part of new clients it sheds for its load, 0 to 1; at 1 it takes none.
    pub shed: f64,
    /// Its load is at its hard limit, or was and has not fallen well below since.
    pub over_limit: bool,
    /// When it last went down, began to drain or came back; `None`: not since the start.
    pub changed_at: Option<Instant>,
    /// The part of its capacity it offers: 0.01 to 1, less than 1 during a slow start and while it is degraded.
    pub offered: f64,
    /// What makes it worse without taking it down.
    pub degraded: Degraded,
    pub stability: Stability,
    /// The vantages that judge it; `None`: there are no others than this node, or nobody can.
    pub vote: Option<RegionVote>,
}

/// What is known of one endpoint: of its IPv4 addresses, where it has both families.
#[derive(Clone, Debug, Default)]
pub struct EndpointState {
    /// By all of its checks; `None`: not probed.
    pub verdict: Option<Verdict>,
    /// When this verdict was reached.
    pub since: Option<Instant>,
    pub probed_at: Option<Instant>,
    /// What the last probe saw, for people; empty before the first.
    pub last_probe: String,
    /// Time of the last successful probe's connection set-up, in milliseconds.
    pub connect_ms: Option<f64>,
    /// So many probes in a row have failed, while these are not enough to be down; 0 otherwise.
    pub failures: u32,
    /// All of this was found before a restart: no probe has confirmed it since.
    pub restored: bool,
    /// The verdict on its IPv6 addresses, where it has both families; `None` where it has not, or is not probed.
    pub ipv6: Option<Verdict>,
    /// Each of its probes, in the order of the checks, those of IPv6 beside IPv4 after the others of their check.
    pub probes: Vec<(ProbeId, ProbeState)>,
}

/// What is known by one probe of an endpoint, by the vote of all vantages where there are others than this node.
#[derive(Clone, Debug, Default)]
pub struct ProbeState {
    /// `None`: not probed yet.
    pub verdict: Option<Verdict>,
    pub since: Option<Instant>,
    pub probed_at: Option<Instant>,
    pub last_probe: Arc<str>,
    pub connect_ms: Option<f64>,
    pub failures: u32,
    pub restored: bool,
    /// The last probe had an answer of some kind, be it a refusal: the network between is no matter.
    pub heard: bool,
    /// This node's own finding, where vantages voted and all above follows from that.
    pub own: Option<Box<OwnFinding>>,
}

impl ProbeState {
    /// This node's own verdict, and since when.
    pub fn own_verdict(&self) -> (Option<Verdict>, Option<Instant>) {
        self.own.as_ref().map_or((self.verdict, self.since), |own| (own.verdict, own.since))
    }
}

impl RegionState {
    /// A region nobody has looked at yet: up, by no evidence.
    pub fn unprobed(endpoints: usize) -> RegionState {
        RegionState {
            effective: EffectiveState::Up,
            verdict: Verdict::Up,
            ipv6: None,
            ipv6_doubted: false,
            operator_override: Override::Auto,
            endpoints: vec![EndpointState::default(); endpoints],
            load: LoadState::default(),
            price_ms: 0.0,
            shed: 0.0,
            over_limit: false,
            changed_at: None,
            offered: 1.0,
            degraded: Degraded::default(),
            stability: Stability::default(),
            vote: None,
        }
    }

    /// Tells whether it is out for want of an operator's word alone: its probes say that it serves.
    pub fn waits_for_resume(&self) -> bool {
        let out = self.effective == EffectiveState::Down && self.operator_override == Override::Auto;
        out && self.stability.awaits_resume.is_some() && self.verdict.serves()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_override_beats_the_verdict() {
        assert_eq!(effective_state(Verdict::Down, Override::Up), EffectiveState::Up);
        assert_eq!(effective_state(Verdict::Up, Override::Down), EffectiveState::Down);
        assert_eq!(effective_state(Verdict::Up, Override::Drain), EffectiveState::Drain);
        assert_eq!(effective_state(Verdict::Suspect, Override::Auto), EffectiveState::Suspect);
        assert_eq!(effective_state(Verdict::Unknown, Override::Auto), EffectiveState::Unknown);
        assert_eq!(effective_state(Verdict::Unknown, Override::Up), EffectiveState::Up);
        assert!(!EffectiveState::Unknown.is_eligible(), "those that are up come first");
        assert!(!EffectiveState::Drain.is_eligible() && EffectiveState::Suspect.is_eligible());
    }

    #[test]
    fn a_region_is_up_while_min_healthy_endpoints_are() {
        use Verdict::{Down, Suspect, Unknown, Up};
        for (endpoints, min_healthy, expected) in [
            (vec![Some(Up), Some(Down)], 1, Up),
            (vec![Some(Up), Some(Down)], 2, Down),
            (vec![Some(Up), Some(Suspect)], 2, Suspect),
            (vec![Some(Up), Some(Suspect)], 1, Up),
            (vec![Some(Down), Some(Down)], 1, Down),
            (vec![None], 1, Up),
            (vec![Some(Up), Some(Unknown)], 1, Up),
            (vec![Some(Up), Some(Unknown)], 2, Unknown),
            (vec![Some(Down), Some(Unknown)], 1, Unknown),
            (vec![Some(Down), Some(Unknown)], 2, Down),
        ] {
            assert_eq!(region_verdict(endpoints.clone(), min_healthy), expected, "{endpoints:?} {min_healthy}");
        }
    }
}
