//! Answers that depend on the client: A, AAAA and HTTPS of a service, or the CNAME of the chosen
//! region's host.

use std::net::IpAddr;

use crate::model::{Endpoint, EndpointTarget, Name, RecordType, RegionId, ServiceId};
use crate::state::Snapshot;
use crate::state::lookup::endpoints::RECORD_HEAD;
use crate::steer::decide::{Decision, Family, Seen, decide, endpoint_in};
use crate::wire::records::{Full, Owner, Records, Section};

use super::question::Question;

/// A service's answer, as far as it was written.
pub enum Served<'a> {
    /// Records of the chosen region were written.
    Records,
    /// A CNAME to the chosen region's host was written.
    Host(Target<'a>),
    /// The chosen region has no address of this family, which holds for so many seconds at most.
    Nothing { longest: u32 },
    /// The name's static records should answer instead. Whatever is not among them holds for so many seconds
    /// at most.
    NotHere { longest: u32 },
}

const NOT_HERE: Served<'static> = Served::NotHere { longest: u32::MAX };

/// The target of a CNAME.
pub struct Target<'a> {
    pub name: &'a Name,
    /// The offset where it stands in the response.
    pub offset: usize,
}

/// Writes a service's answer, for the name that stands at `owner`, and narrows `scope` to what it is for.
pub fn answer<'a>(
    question: &Question<'a>,
    id: ServiceId,
    owner: Owner<'static>,
    scope: &mut u8,
    response: &mut Records<'_>,
) -> Result<Served<'a>, Full> {
    let snapshot = question.snapshot;
    let Some(service) = snapshot.model.services.get(id.index()) else { return Ok(NOT_HERE) };
    let qtype = question.query.qtype;
    let seen = question.seen(service.ecs);
    let Some(decision) = decide(&snapshot.view(), id, seen) else { return Ok(NOT_HERE) };
    let offers = snapshot.plan.services.get(id.index()).map(|plan| plan.offers).unwrap_or_default();
    let ttl = decision.ttl.as_secs();
    let mut narrow = || {
        if matches!(seen, Seen::Subnet(_)) {
            *scope = decision.scope.max(*scope);
        }
    };
    let endpoints = &snapshot.model.region(decision.region).endpoints;
    if let Some(Endpoint { target: EndpointTarget::Host(name), .. }) = endpoints.get(usize::from(decision.endpoint)) {
        narrow();
        // An alias stands for every type at its name (RFC 1034 section 3.6.2).
        let offset = response.with_name(Section::Answer, owner, RecordType::CNAME, ttl, name.as_wire())?;
        question.count_served(id, decision.region, ttl);
        return Ok(Served::Host(Target { name, offset }));
    }
    let https_record = snapshot.endpoints.https(id);
    if !matches!((qtype, https_record), (RecordType::A | RecordType::AAAA, _) | (RecordType::HTTPS, Some(_))) {
        if !offers.hosts {
            return Ok(NOT_HERE);
        }
        narrow(); // others get the CNAME of their region, and so may this client later
        return Ok(Served::NotHere { longest: ttl });
    }
    // First, so that it holds for an answer that turns out too long and is truncated, too.
    narrow();
    let chosen = Chosen { snapshot, decision: &decision, owner };
    let written = match (qtype, https_record) {
        (RecordType::A, _) => chosen.addresses(Family::Ipv4, response)?,
        (RecordType::HTTPS, Some(record)) => chosen.https(record, response)?,
        _ => chosen.addresses(Family::Ipv6, response)?,
    };
    // NODATA counts, too: else regions without IPv6 would seem to have fewer clients.
    question.count_served(id, decision.region, ttl);
    if written {
        return Ok(Served::Records);
    }
    // The region has no address of this family. Another region's would split the client's
    // families over two places, so this is NODATA; where another region has some, it must not
    // outlive the choice of this one.
    let elsewhere = if qtype == RecordType::A { offers.ipv4 } else { offers.ipv6 };
    Ok(Served::Nothing { longest: if elsewhere || offers.hosts { ttl } else { u32::MAX } })
}

/// A decision about to be written.
struct Chosen<'a> {
    snapshot: &'a Snapshot,
    decision: &'a Decision,
    /// The place where the service's name stands in the response.
    owner: Owner<'static>,
}

impl<'a> Chosen<'a> {
    /// The address records of the endpoint chosen for a family; of several regions, as many regions as
    /// fit. False where there is none.
    fn addresses(&self, family: Family, response: &mut Records<'_>) -> Result<bool, Full> {
        let mut written = false;
        for index in 0..self.decision.regions.as_slice().len() {
            let mark = response.mark();
            match self.addresses_of(index, family, response) {
                Ok(some) => written |= some,
                // The foremost region must be there whole, or else the client asks again over TCP.
                Err(Full) if written => {
                    response.rewind(mark);
                    break;
                }
                Err(Full) => return Err(Full),
            }
        }
        Ok(written)
    }

    fn addresses_of(&self, index: usize, family: Family, response: &mut Records<'_>) -> Result<bool, Full> {
        let (ttl, owner) = (self.decision.ttl.as_secs(), self.owner);
        let mut written = false;
        for address in self.of_region(index, family) {
            match address {
                IpAddr::V4(v4) => response.plain(Section::Answer, owner, RecordType::A, ttl, &v4.octets())?,
                IpAddr::V6(v6) => response.plain(Section::Answer, owner, RecordType::AAAA, ttl, &v6.octets())?,
            };
            written = true;
        }
        Ok(written)
    }

    /// One HTTPS record in ServiceMode for the same name (RFC 9460 section 2): its hints are the very
    /// addresses A and AAAA answer, so no client follows one to another region.
    fn https(&self, record: &[u8], response: &mut Records<'_>) -> Result<bool, Full> {
        const IPV4_HINT: u16 = 4;
        const IPV6_HINT: u16 = 6;
        let length_at =
            response.record_head(Section::Answer, self.owner, RecordType::HTTPS, self.decision.ttl.as_secs())?;
        response.put(record.get(RECORD_HEAD..).unwrap_or_default())?;
        self.hints(IPV4_HINT, Family::Ipv4, response)?;
        self.hints(IPV6_HINT, Family::Ipv6, response)?;
        response.close(length_at)?;
        Ok(true)
    }

    /// The addresses of a family in all regions of the decision, if there are any.
    fn hints(&self, key: u16, family: Family, response: &mut Records<'_>) -> Result<(), Full> {
        let mut value = None;
        for index in 0..self.decision.regions.as_slice().len() {
            for address in self.of_region(index, family) {
                if value.is_none() {
                    response.put_all(key.to_be_bytes())?;
                    value = Some(response.open()?);
                }
                match address {
                    IpAddr::V4(v4) => response.put_all(v4.octets())?,
                    IpAddr::V6(v6) => response.put_all(v6.octets())?,
                }
            }
        }
        match value {
            Some(value) => response.close(value).map(|_| ()),
            None => Ok(()),
        }
    }

    /// The addresses of a family in one of the decision's regions, but for those that an earlier region
    /// has as well.
    fn of_region(&self, index: usize, family: Family) -> impl Iterator<Item = IpAddr> + use<'a> {
        let (snapshot, decision) = (self.snapshot, self.decision);
        let regions = decision.regions.as_slice();
        let of = move |region: RegionId| Chosen::addresses_in(snapshot, decision, region, family);
        let own = regions.get(index).map(|region| of(*region)).unwrap_or_default();
        let before = regions.get(..index).unwrap_or_default();
        let is_new = move |address: &IpAddr| !before.iter().any(|region| of(*region).contains(address));
        own.iter().copied().filter(move |address| address.is_ipv4() == (family == Family::Ipv4) && is_new(address))
    }

    /// All addresses of the endpoint that a region's clients of this family get; of both families.
    fn addresses_in(snapshot: &'a Snapshot, decision: &Decision, region: RegionId, family: Family) -> &'a [IpAddr] {
        let endpoint = endpoint_in(&snapshot.view(), decision, region, family);
        let endpoints = &snapshot.model.region(region).endpoints;
        match endpoint.and_then(|index| endpoints.get(usize::from(index))).map(|endpoint| &endpoint.target) {
            Some(EndpointTarget::Addresses(addresses)) => addresses,
            _ => &[],
        }
    }
}
