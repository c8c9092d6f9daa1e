//! The endpoints each region hands out now: the eligible ones, in the compact form a query reads.

use crate::model::{Endpoint, EndpointTarget, Model, Region, RegionId};

use super::pick::Identity;
use crate::steer::health::effective::{EffectiveState, EndpointState, RegionState};
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
    /// Of some endpoint not all addresses are answered, because those of a family are down.
    pub is_partial: bool,
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
    /// It has addresses of the family, and they are answered.
    pub has_ipv4: bool,
    pub has_ipv6: bool,
}

/// Every region's endpoint_set, indexed by [`RegionId`].
pub fn endpoint_sets(model: &Model, states: &[RegionState], seed: u64) -> Vec<EndpointSet> {
    model.region_ids().zip(states).map(|(id, state)| endpoint_set(model, id, state, seed)).collect()
}

fn endpoint_set(model: &Model, id: RegionId, state: &RegionState, seed: u64) -> EndpointSet {
    let name = model.qualified_region_name(id);
    let region = model.region(id);
    let choice = |(index, answered): (usize, Answered)| {
        let endpoint = region.endpoints.get(index)?;
        answered.some().then(|| endpoint_choice(index, endpoint, answered, &name, seed))
    };
    let endpoints: Box<[EndpointChoice]> = answered(region, state).into_iter().enumerate().filter_map(choice).collect();
    let is_partial = |choice: &EndpointChoice| {
        let endpoint = region.endpoints.get(usize::from(choice.index));
        endpoint.is_some_and(|of| of.has_ipv4() != choice.has_ipv4 || of.has_ipv6() != choice.has_ipv6)
    };
    let suspects = |seen: &EndpointState| seen.verdict == Some(Verdict::Suspect) || seen.ipv6 == Some(Verdict::Suspect);
    let used = state.load.last.and_then(|figure| figure.utilisation());
    EndpointSet {
        identity: Identity::of(seed, &name),
        is_partial: endpoints.iter().any(is_partial),
        endpoints,
        suspect: matches!(state.effective, EffectiveState::Suspect | EffectiveState::Unknown)
            || state.endpoints.iter().any(suspects),
        busy: used.is_some_and(|used| used > BUSY_UTILISATION),
        full: used.is_some_and(|used| used > FULL_UTILISATION),
    }
}

/// The parts of an endpoint that are answered.
#[derive(Clone, Copy, Default)]
struct Answered {
    ipv4: bool,
    ipv6: bool,
    host: bool,
}

impl Answered {
    fn some(self) -> bool {
        self.ipv4 || self.ipv6 || self.host
    }
}

/// By endpoint, what of it is answered: of each family those addresses that are up, else those that may be, and so of
/// host names.
///
/// Where nothing of a family is left, there are no records of it while something else of the region serves; but A
/// records there are always, unless host names serve. With nothing left at all, everything is answered.
fn answered(region: &Region, state: &RegionState) -> Vec<Answered> {
    let judged = |verdict: Option<Verdict>| match verdict {
        None if region.is_judged() => Verdict::Unknown,
        verdict => verdict.unwrap_or(Verdict::Up),
    };
    let unknown = EndpointState::default();
    let of = |wanted: fn(&Endpoint) -> bool, verdict: &dyn Fn(&Endpoint, &EndpointState) -> Option<Verdict>| {
        let those = region.endpoints.iter().enumerate().filter(|(_, endpoint)| wanted(endpoint));
        let seen = |index: usize| state.endpoints.get(index).unwrap_or(&unknown);
        Part(those.map(|(index, endpoint)| (index, judged(verdict(endpoint, seen(index))))).collect())
    };
    let main = |_: &Endpoint, seen: &EndpointState| seen.verdict;
    let ipv6_verdict = |of: &Endpoint, seen: &EndpointState| match of.has_both() {
        true if state.ipv6_doubted => Some(Verdict::Up),
        true => seen.ipv6,
        false => seen.verdict,
    };
    let is_host = |endpoint: &Endpoint| matches!(endpoint.target, EndpointTarget::Host(_));
    let (ipv4, ipv6) = (of(Endpoint::has_ipv4, &main), of(Endpoint::has_ipv6, &ipv6_verdict));
    let hosts = of(is_host, &main);
    let (v4_lives, v6_lives, hosts_live) = (ipv4.lives(), ipv6.lives(), hosts.lives());
    let mut all = vec![Answered::default(); region.endpoints.len()];
    let mut mark = |part: &Part, at_last: bool, mark: fn(&mut Answered)| {
        part.answered(at_last).for_each(|index| all.get_mut(index).into_iter().for_each(mark));
    };
    mark(&ipv4, !hosts_live, |answered| answered.ipv4 = true);
    mark(&ipv6, !v4_lives && !hosts_live, |answered| answered.ipv6 = true);
    mark(&hosts, !v4_lives && !v6_lives, |answered| answered.host = true);
    all
}

/// The endpoints that have something of one kind, and what that is worth.
struct Part(Vec<(usize, Verdict)>);

impl Part {
    /// Whether some of it is up or may be.
    fn lives(&self) -> bool {
        self.0.iter().any(|(_, verdict)| *verdict != Verdict::Down)
    }

    /// Those that serve, else those that are not proven, else all where `at_last`.
    fn answered(&self, at_last: bool) -> impl Iterator<Item = usize> {
        let best = self.0.iter().map(|(_, verdict)| tier(*verdict)).max().unwrap_or(0);
        self.0
            .iter()
            .filter(move |(_, verdict)| tier(*verdict) == best && (best > 0 || at_last))
            .map(|(index, _)| *index)
    }
}

fn tier(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::Up | Verdict::Suspect => 2,
        Verdict::Unknown => 1,
        Verdict::Down => 0,
    }
}

fn endpoint_choice(index: usize, endpoint: &Endpoint, answered: Answered, region: &str, seed: u64) -> EndpointChoice {
    EndpointChoice {
        index: index as u16, // the loader refuses more than 64 endpoints in a region
        identity: Identity::of(seed, &format!("{region}/{}", endpoint.label())),
        weight: f64::from(endpoint.weight),
        has_ipv4: answered.ipv4,
        has_ipv6: answered.ipv6,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Check, CheckKind, Layer};
    use crate::steer::testing::World;

    /// Of each endpoint that is answered: its place, A, AAAA.
    fn set(endpoints: &[(&str, Verdict, Option<Verdict>)], doubted: bool) -> Vec<(u16, bool, bool)> {
        let mut world = World::two_coasts(crate::model::Policy::Score);
        let endpoint = |(text, ..): &(&str, Verdict, Option<Verdict>)| {
            let addresses = text.split(' ').map(|address| address.parse().expect("an address")).collect();
            Endpoint { target: EndpointTarget::Addresses(addresses), weight: 1, layer: Layer::default() }
        };
        let region = &mut world.model.regions[0];
        region.checks = Some(Check::new(CheckKind::Tcp { port: 80 }).into());
        region.endpoints = endpoints.iter().map(endpoint).collect();
        let seen = |&(_, verdict, ipv6): &(&str, Verdict, Option<Verdict>)| EndpointState {
            verdict: Some(verdict),
            ipv6,
            ..EndpointState::default()
        };
        let mut state = RegionState { ipv6_doubted: doubted, ..RegionState::unprobed(endpoints.len()) };
        state.endpoints = endpoints.iter().map(seen).collect();
        let set = endpoint_set(&world.model, RegionId(0), &state, 0);
        set.endpoints.iter().map(|choice| (choice.index, choice.has_ipv4, choice.has_ipv6)).collect()
    }

    #[test]
    fn a_family_that_is_lost_costs_its_own_records_alone() {
        use Verdict::{Down, Suspect, Unknown, Up};
        let (one, two) = ("192.0.2.1 2001:db8::1", "192.0.2.2 2001:db8::2");
        assert_eq!(set(&[(one, Up, Some(Down))], false), [(0, true, false)]);
        assert_eq!(set(&[(one, Up, Some(Down))], true), [(0, true, true)], "this server's own IPv6 is in doubt");
        assert_eq!(
            set(&[(one, Up, Some(Down)), (two, Down, Some(Suspect))], false),
            [(0, true, false), (1, false, true)]
        );
        assert_eq!(set(&[(one, Up, Some(Unknown)), (two, Up, Some(Up))], false), [(0, true, false), (1, true, true)]);
        assert_eq!(set(&[(one, Up, Some(Unknown))], false), [(0, true, true)]);
        assert_eq!(set(&[(one, Down, Some(Up))], false), [(0, true, true)], "A records there are always");
        assert_eq!(set(&[(one, Down, Some(Down)), (two, Down, Some(Down))], false), [(0, true, true), (1, true, true)]);
        assert_eq!(set(&[("2001:db8::1", Down, None), ("192.0.2.2", Up, None)], false), [(1, true, false)]);
    }
}
