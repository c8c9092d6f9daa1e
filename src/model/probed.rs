//! The probes of an endpoint: of which addresses, by which of its region's checks.
//!
//! How their verdicts make one is in [`crate::steer::health::combine`], and what families mean in
//! [`crate::steer::health::family`].

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use super::{Check, CheckRole, Endpoint, EndpointTarget, MemberCheck, Region};

/// The addresses of an endpoint that are judged together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum AddressPart {
    /// All of them where they are of one family, those of IPv4 where they are of both; or its host name.
    #[default]
    Main,
    /// Those of IPv6, beside others of IPv4.
    Ipv6,
}

/// One of the probes of an endpoint: of which addresses, by which check.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProbeId {
    pub part: AddressPart,
    /// [`MemberCheck::name`].
    pub check: Arc<str>,
}

impl Default for ProbeId {
    fn default() -> ProbeId {
        ProbeId { part: AddressPart::Main, check: "".into() }
    }
}

impl ProbeId {
    /// Reads what its `Display` wrote.
    pub fn parse(text: &str) -> ProbeId {
        let (part, check) = match text.strip_prefix(IPV6) {
            Some(rest) => (AddressPart::Ipv6, rest.strip_prefix(' ').unwrap_or(rest)),
            None => (AddressPart::Main, text),
        };
        ProbeId { part, check: check.into() }
    }
}

/// Names of checks are in lower case: none is called so.
const IPV6: &str = "IPv6";

/// Nothing for the only probe of an endpoint; else `IPv6`, `cache`, `IPv6 cache`.
impl fmt::Display for ProbeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.part, &*self.check) {
            (AddressPart::Main, check) => f.write_str(check),
            (AddressPart::Ipv6, "") => f.write_str(IPV6),
            (AddressPart::Ipv6, check) => write!(f, "{IPV6} {check}"),
        }
    }
}

impl Endpoint {
    /// The parts that are judged apart, [`AddressPart::Main`] first.
    pub fn parts(&self) -> &'static [AddressPart] {
        match self.has_both() {
            true => &[AddressPart::Main, AddressPart::Ipv6],
            false => &[AddressPart::Main],
        }
    }

    /// What is asked of one of its parts.
    pub fn target_of(&self, part: AddressPart) -> EndpointTarget {
        match &self.target {
            EndpointTarget::Addresses(addresses) if self.has_both() => {
                let of_part = |address: &&IpAddr| address.is_ipv6() == (part == AddressPart::Ipv6);
                EndpointTarget::Addresses(addresses.iter().filter(of_part).copied().collect())
            }
            whole => whole.clone(),
        }
    }

    pub fn has_ipv4(&self) -> bool {
        matches!(&self.target, EndpointTarget::Addresses(addresses) if addresses.iter().any(IpAddr::is_ipv4))
    }

    pub fn has_ipv6(&self) -> bool {
        matches!(&self.target, EndpointTarget::Addresses(addresses) if addresses.iter().any(IpAddr::is_ipv6))
    }

    /// Whether its IPv6 addresses are judged apart from its IPv4 ones.
    pub fn has_both(&self) -> bool {
        self.has_ipv4() && self.has_ipv6()
    }
}

/// One probe of one endpoint.
pub struct Probed<'a> {
    pub id: ProbeId,
    pub member: &'a MemberCheck,
}

impl Region {
    /// The check that stands for all where only one can be told of; `None`: it is not checked.
    pub fn check(&self) -> Option<&Check> {
        Some(&self.checks.as_ref()?.foremost()?.check)
    }

    /// Whether some check has a say in what its endpoints are worth.
    pub fn is_judged(&self) -> bool {
        self.checks.iter().flat_map(|checks| &checks.members).any(|member| member.role != CheckRole::WatchOnly)
    }

    /// All probes of one of its endpoints; none where it is not checked.
    pub fn probes_of<'a>(&'a self, endpoint: &Endpoint) -> impl Iterator<Item = Probed<'a>> + use<'a> {
        let parts = endpoint.parts();
        self.checks.iter().flat_map(|checks| &checks.members).flat_map(move |member| {
            parts.iter().map(move |&part| Probed { id: ProbeId { part, check: member.name.clone() }, member })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probe_is_known_by_its_text() {
        for (part, check) in [
            (AddressPart::Main, ""),
            (AddressPart::Ipv6, ""),
            (AddressPart::Main, "cache"),
            (AddressPart::Ipv6, "http 2"),
        ] {
            let id = ProbeId { part, check: check.into() };
            assert_eq!(ProbeId::parse(&id.to_string()), id, "{id}");
        }
    }

    #[test]
    fn families_are_judged_apart_only_where_there_are_both() {
        let parts = |addresses: &[&str]| {
            let addresses = addresses.iter().map(|text| text.parse().expect("an address")).collect();
            let endpoint =
                Endpoint { target: EndpointTarget::Addresses(addresses), weight: 1, layer: Default::default() };
            endpoint.parts()
        };
        assert_eq!(parts(&["192.0.2.1", "192.0.2.2"]), [AddressPart::Main]);
        assert_eq!(parts(&["2001:db8::1"]), [AddressPart::Main]);
        assert_eq!(parts(&["2001:db8::1", "192.0.2.1"]), [AddressPart::Main, AddressPart::Ipv6]);
    }
}
