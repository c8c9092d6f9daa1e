//! Answers that depend on who asks: A, AAAA and HTTPS of a service, or the CNAME of the chosen
//! region's host.

use std::net::IpAddr;

use crate::model::{Endpoint, EndpointTarget, RecordType, RegionId, ServiceId};
use crate::state::Snapshot;
use crate::state::endpoints::RECORD_HEAD;
use crate::state::nodes::Node;
use crate::steer::decide::{Decision, Family, Seen, decide, endpoint_in};
use crate::wire::Rcode;
use crate::wire::response::{Full, Response, Section};

use super::demand::Sample;
use super::respond::{Step, Walk};

/// Writes a service's answer. `None` where its static records should answer instead.
pub(super) fn answer(
    walk: &mut Walk<'_>,
    id: ServiceId,
    node: &Node,
    response: &mut Response<'_>,
) -> Result<Option<Step>, Full> {
    let snapshot = walk.snapshot;
    let Some(service) = snapshot.model.services.get(id.index()) else { return Ok(None) };
    let qtype = walk.asked.question.qtype;
    let believed = walk.asked.subnet.filter(|_| service.ecs);
    let seen = believed.unwrap_or(walk.asked.source);
    let Some(decision) = decide(&snapshot.view(), id, seen) else { return Ok(None) };
    let offers = snapshot.plan.services.get(id.index()).map(|plan| plan.offers).unwrap_or_default();
    let region = snapshot.model.region(decision.region);
    let ttl = decision.ttl.as_secs();
    if let Some(Endpoint { target: EndpointTarget::Host(host), .. }) =
        region.endpoints.get(usize::from(decision.endpoint))
    {
        narrow(walk, believed, &decision);
        // An alias stands for every type at its name (RFC 1034 section 3.6.2).
        let begin = response.with_name(Section::Answer, walk.owner, RecordType::CNAME, ttl, host.as_wire())?;
        count(walk, id, seen, &decision);
        let done = matches!(qtype, RecordType::CNAME | RecordType::ANY);
        return Ok(Some(if done { Step::Done(Rcode::NoError) } else { walk.follow(host.as_wire(), begin, response) }));
    }
    let https_record = snapshot.endpoints.https(id);
    if !matches!((qtype, https_record), (RecordType::A | RecordType::AAAA, _) | (RecordType::HTTPS, Some(_))) {
        if offers.hosts {
            narrow(walk, believed, &decision); // others get the CNAME of their region
        }
        return Ok(None);
    }
    // First, so that it holds for an answer that turns out too long and is truncated, too.
    narrow(walk, believed, &decision);
    let written = match (qtype, https_record) {
        (RecordType::A, _) => addresses(walk, &decision, Family::Ipv4, response)?,
        (RecordType::HTTPS, Some(record)) => https(walk, &decision, record, response)?,
        _ => addresses(walk, &decision, Family::Ipv6, response)?,
    };
    // NODATA counts, too: else regions without IPv6 would seem to have fewer clients.
    count(walk, id, seen, &decision);
    if written {
        return Ok(Some(Step::Done(Rcode::NoError)));
    }
    // The region has no address of this family. Another region's would split the client's
    // families over two places, so this is NODATA; where another region has some, it must not
    // outlive the choice of this one.
    let elsewhere = if qtype == RecordType::A { offers.ipv4 } else { offers.ipv6 };
    let longest = if elsewhere || offers.hosts { ttl } else { u32::MAX };
    walk.negative_for(longest, node, Rcode::NoError, response).map(Some)
}

/// Counts an answer that was given: which clients were sent where.
fn count(walk: &Walk<'_>, service: ServiceId, seen: Seen, decision: &Decision) {
    walk.counters.answered(|| Sample {
        client: seen.address(),
        service,
        region: decision.region,
        ttl: decision.ttl.as_secs(),
        weight: 1,
        reloads: walk.snapshot.reloads as u16, // its low bits
    });
}

fn narrow(walk: &mut Walk<'_>, believed: Option<Seen>, decision: &Decision) {
    if believed.is_some() {
        walk.narrow(decision.scope);
    }
}

/// The address records of the endpoint chosen for a family; of several regions, as many regions as
/// fit. False where there is none.
fn addresses(walk: &Walk<'_>, decision: &Decision, family: Family, response: &mut Response<'_>) -> Result<bool, Full> {
    let mut written = false;
    for index in 0..decision.regions.as_slice().len() {
        let mark = response.mark();
        match addresses_of(walk, decision, index, family, response) {
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

fn addresses_of(
    walk: &Walk<'_>,
    decision: &Decision,
    index: usize,
    family: Family,
    response: &mut Response<'_>,
) -> Result<bool, Full> {
    let (ttl, owner) = (decision.ttl.as_secs(), walk.owner);
    let mut written = false;
    for address in of_region(walk, decision, index, family) {
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
fn https(walk: &Walk<'_>, decision: &Decision, record: &[u8], response: &mut Response<'_>) -> Result<bool, Full> {
    const IPV4_HINT: u16 = 4;
    const IPV6_HINT: u16 = 6;
    let length_at = response.record_head(Section::Answer, walk.owner, RecordType::HTTPS, decision.ttl.as_secs())?;
    response.put(record.get(RECORD_HEAD..).unwrap_or_default())?;
    hints(walk, decision, IPV4_HINT, Family::Ipv4, response)?;
    hints(walk, decision, IPV6_HINT, Family::Ipv6, response)?;
    response.close(length_at)?;
    Ok(true)
}

/// The addresses of a family in all regions of the decision, if there are any.
fn hints(
    walk: &Walk<'_>,
    decision: &Decision,
    key: u16,
    family: Family,
    response: &mut Response<'_>,
) -> Result<(), Full> {
    let mut value = None;
    for index in 0..decision.regions.as_slice().len() {
        for address in of_region(walk, decision, index, family) {
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
fn of_region(walk: &Walk<'_>, decision: &Decision, index: usize, family: Family) -> impl Iterator<Item = IpAddr> {
    let regions = decision.regions.as_slice();
    let of = move |region: RegionId| chosen_addresses(walk.snapshot, decision, region, family);
    let own = regions.get(index).map(|region| of(*region)).unwrap_or_default();
    let before = regions.get(..index).unwrap_or_default();
    let is_new = move |address: &IpAddr| !before.iter().any(|region| of(*region).contains(address));
    own.iter().copied().filter(move |address| address.is_ipv4() == (family == Family::Ipv4) && is_new(address))
}

/// All addresses of the endpoint that a region's clients of this family get; of both families.
fn chosen_addresses<'a>(snapshot: &'a Snapshot, decision: &Decision, region: RegionId, family: Family) -> &'a [IpAddr] {
    let endpoint = endpoint_in(&snapshot.view(), decision, region, family);
    let endpoints = &snapshot.model.region(region).endpoints;
    match endpoint.and_then(|index| endpoints.get(usize::from(index))).map(|endpoint| &endpoint.target) {
        Some(EndpointTarget::Addresses(addresses)) => addresses,
        _ => &[],
    }
}
