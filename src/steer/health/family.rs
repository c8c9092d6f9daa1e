//! IPv4 and IPv6 judged apart: what a region is worth to the many, what its AAAA records are worth, and when this server
//! had better doubt its own IPv6.

use crate::model::{AddressPart, Endpoint, ProbeId, Region};

use super::effective::{EndpointState, ProbeState, RegionState, region_verdict};
use super::verdict::Verdict;

/// A region's verdict and, where it has addresses of both families, that of its IPv6 ones, from those of its endpoints in
/// their order.
///
/// Clients without IPv6 are the many: where there are IPv4 addresses, one of them must serve. IPv6 beside them is judged
/// for itself: what it lacks costs its AAAA records alone.
pub fn region_verdicts(region: &Region, endpoints: &[EndpointState]) -> (Verdict, Option<Verdict>) {
    let judged = |verdict: Option<Verdict>| match verdict {
        None if region.is_judged() => Some(Verdict::Unknown),
        verdict => verdict,
    };
    let pairs = || region.endpoints.iter().zip(endpoints);
    let whole = region_verdict(pairs().map(|(_, seen)| judged(seen.verdict)), region.min_healthy);
    let ipv4: Vec<_> = pairs().filter(|(of, _)| of.has_ipv4()).map(|(_, seen)| judged(seen.verdict)).collect();
    let ipv6 = pairs().filter(|(of, _)| of.has_ipv6());
    let ipv6: Vec<_> = ipv6.map(|(of, seen)| judged(if of.has_both() { seen.ipv6 } else { seen.verdict })).collect();
    let has_hosts = pairs().any(|(of, _)| !of.has_ipv4() && !of.has_ipv6());
    if ipv4.is_empty() {
        return (whole, None);
    }
    let by_ipv4 = if has_hosts { Verdict::Up } else { region_verdict(ipv4, 1) };
    let verdict = if by_ipv4.goodness() < whole.goodness() { by_ipv4 } else { whole };
    (verdict, (!ipv6.is_empty()).then(|| region_verdict(ipv6, 1)))
}

/// Whether no IPv6 address of any region can be reached, and not one of them has said so much as no: then it is more
/// likely that this server's own IPv6 is cut off. Regions and their states, in one order.
pub fn is_ipv6_doubtful<'a>(regions: impl Iterator<Item = (&'a Region, &'a RegionState)> + Clone) -> bool {
    let endpoints = regions.flat_map(|(region, state)| region.endpoints.iter().zip(&state.endpoints));
    let mut probes = endpoints.flat_map(|(of, seen)| seen.probes.iter().filter(|(id, _)| asks_ipv6(of, id)));
    // Endpoints do not fall all at once: while one is down, those that fail need not be so yet.
    let fails = |seen: &ProbeState| matches!(seen.verdict, Some(Verdict::Down | Verdict::Suspect)) && !seen.heard;
    let is_any_down = probes.clone().any(|(_, seen)| seen.verdict == Some(Verdict::Down));
    is_any_down && probes.all(|(_, seen)| fails(seen))
}

fn asks_ipv6(endpoint: &Endpoint, probe: &ProbeId) -> bool {
    probe.part == AddressPart::Ipv6 || endpoint.has_ipv6() && !endpoint.has_ipv4()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Check, CheckKind, Coordinates, EndpointTarget, Layer, ZoneId};
    use Verdict::{Down, Suspect, Unknown, Up};

    /// A region of endpoints with these addresses, separated by spaces.
    fn region(endpoints: &[&str]) -> Region {
        let endpoint = |text: &&str| {
            let addresses = text.split(' ').map(|address| address.parse().expect("an address")).collect();
            Endpoint { target: EndpointTarget::Addresses(addresses), weight: 1, layer: Layer::default() }
        };
        let at = Coordinates::new(0.0, 0.0).expect("coordinates");
        let mut region = Region::new("seoul", ZoneId(0), at, endpoints.iter().map(endpoint).collect());
        region.checks = Some(Check::new(CheckKind::Tcp { port: 80 }).into());
        region
    }

    fn seen(verdict: Verdict, ipv6: Option<Verdict>, heard: bool) -> EndpointState {
        let probe = |part, verdict| {
            let id = ProbeId { part, ..ProbeId::default() };
            (id, ProbeState { verdict: Some(verdict), heard, ..ProbeState::default() })
        };
        let probes = [(AddressPart::Main, Some(verdict)), (AddressPart::Ipv6, ipv6)];
        let probes = probes.into_iter().filter_map(|(part, verdict)| Some(probe(part, verdict?))).collect();
        EndpointState { verdict: Some(verdict), ipv6, probes, ..EndpointState::default() }
    }

    #[test]
    fn ipv6_that_is_lost_costs_a_region_nothing_else_and_ipv4_that_is_lost_costs_it_all() {
        let both = region(&["192.0.2.1 2001:db8::1", "192.0.2.2 2001:db8::2"]);
        let verdicts =
            |of: [(Verdict, Verdict); 2]| region_verdicts(&both, &of.map(|(ipv4, ipv6)| seen(ipv4, Some(ipv6), true)));
        assert_eq!(verdicts([(Up, Down), (Up, Down)]), (Up, Some(Down)));
        assert_eq!(verdicts([(Up, Down), (Down, Up)]), (Up, Some(Up)));
        assert_eq!(verdicts([(Down, Up), (Down, Up)]), (Down, Some(Up)));
        assert_eq!(verdicts([(Suspect, Unknown), (Down, Down)]), (Suspect, Some(Unknown)));
    }

    #[test]
    fn a_region_with_ipv4_needs_one_that_serves_and_one_without_is_judged_by_ipv6() {
        let mixed = region(&["192.0.2.1", "2001:db8::2"]);
        let verdicts = |ipv4, ipv6| region_verdicts(&mixed, &[seen(ipv4, None, true), seen(ipv6, None, true)]);
        assert_eq!(verdicts(Down, Up), (Down, Some(Up)), "clients without IPv6 would get nothing");
        assert_eq!(verdicts(Up, Down), (Up, Some(Down)));
        let only = region(&["2001:db8::1"]);
        assert_eq!(region_verdicts(&only, &[seen(Down, None, true)]), (Down, None));
    }

    #[test]
    fn ipv6_is_doubted_where_all_of_it_is_silent_and_not_where_somebody_refuses() {
        let (both, only) = (region(&["192.0.2.1 2001:db8::1"]), region(&["2001:db8::9"]));
        let doubtful = |of: &[(&Region, EndpointState)]| {
            let states: Vec<RegionState> = of
                .iter()
                .map(|(_, seen)| RegionState { endpoints: vec![seen.clone()], ..RegionState::unprobed(1) })
                .collect();
            is_ipv6_doubtful(of.iter().map(|(region, _)| *region).zip(&states))
        };
        let silent = || (&both, seen(Up, Some(Down), false));
        assert!(doubtful(&[silent(), silent()]));
        assert!(!doubtful(&[silent(), (&both, seen(Up, Some(Down), true))]), "one refuses");
        assert!(!doubtful(&[silent(), (&both, seen(Up, Some(Up), true))]));
        assert!(!doubtful(&[silent(), (&only, seen(Up, None, true))]), "one without IPv4 answers");
        assert!(doubtful(&[silent(), (&only, seen(Down, None, false))]));
        assert!(
            doubtful(&[silent(), (&both, seen(Up, Some(Suspect), false))]),
            "it fails as well, and is not down yet"
        );
        assert!(!doubtful(&[(&both, seen(Up, Some(Suspect), false))]), "nothing is lost that could be doubted");
        let v4 = region(&["192.0.2.1"]);
        assert!(!doubtful(&[(&v4, seen(Down, None, false))]), "there is no IPv6 to doubt");
    }
}
