//! The records that make up an answer: data with the addresses that go with it, a referral, or the SOA of
//! a negative answer.

use crate::model::RecordType;
use crate::wire::records::{Full, Owner, Records, Section};

use super::nodes::{Node, NodeId, NodeSet, Nodes};

/// An RRset, and as many of the addresses that go with it as fit (RFC 1034 section 4.3.2 step 6).
pub fn data(nodes: &Nodes, set: &NodeSet<'_>, owner: Owner<'_>, into: &mut Records<'_>) -> Result<(), Full> {
    into.set(Section::Answer, owner, &set.records)?;
    let _as_far_as_they_fit = all_addresses(nodes, set, into);
    Ok(())
}

/// The same with all of the addresses, or nothing that is of use.
pub fn whole_data(nodes: &Nodes, set: &NodeSet<'_>, owner: Owner<'_>, into: &mut Records<'_>) -> Result<(), Full> {
    into.set(Section::Answer, owner, &set.records)?;
    all_addresses(nodes, set, into)
}

/// NS of a zone cut with its glue. Without the glue a resolver cannot go on, so what does not fit is
/// truncation (RFC 9471 section 3.1).
pub fn referral(nodes: &Nodes, cut: Node<'_>, into: &mut Records<'_>) -> Result<(), Full> {
    let Some(ns) = cut.set(RecordType::NS) else { return Ok(()) };
    into.set(Section::Authority, Owner::Name(cut.name().as_wire()), &ns.records)?;
    all_addresses(nodes, &ns, into)
}

/// The SOA of a node's zone, for so many seconds at most: "The TTL of this record is set from the
/// minimum of the MINIMUM field of the SOA record and the TTL of the SOA itself" (RFC 2308 section
/// 3), and resolvers keep the answer that long.
pub fn negative(node: Node<'_>, ttl: u32, into: &mut Records<'_>) -> Result<(), Full> {
    let Some(soa) = node.negative_soa() else { return Ok(()) };
    let ttl = soa.ttl.as_secs().min(ttl);
    for rdata in soa.rdatas() {
        into.encoded(Section::Authority, Owner::Name(node.origin()), soa.rtype, ttl, rdata)?;
    }
    Ok(())
}

fn all_addresses(nodes: &Nodes, set: &NodeSet<'_>, into: &mut Records<'_>) -> Result<(), Full> {
    set.additional.iter().try_for_each(|(_, id)| addresses(nodes, *id, into))
}

fn addresses(nodes: &Nodes, id: NodeId, into: &mut Records<'_>) -> Result<(), Full> {
    let node = nodes.node(id);
    let name = node.name();
    let mut sets = [RecordType::A, RecordType::AAAA].into_iter().filter_map(|rtype| node.set(rtype));
    sets.try_for_each(|set| into.set(Section::Additional, Owner::Name(name.as_wire()), &set.records))
}
