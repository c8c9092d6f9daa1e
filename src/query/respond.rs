//! The name server algorithm of RFC 1034 section 4.3.2 over the snapshot's table of names.
//!
//! Each step finds where a name stands (data, alias, wildcard, zone cut, or nowhere) and writes
//! what that means; an alias into our zones is another step.

use crate::model::RecordType;
use crate::model::name::MAX_NAME_OCTETS;
use crate::state::Snapshot;
use crate::state::names::Found;
use crate::state::nodes::{Node, NodeId};
use crate::state::sections;
use crate::steer::decide::Seen;
use crate::wire::name::LowerName;
use crate::wire::query::Question;
use crate::wire::records::EncodedSet;
use crate::wire::response::{Full, Owner, QUESTION_OWNER, Response, Section};
use crate::wire::{HEADER_OCTETS, Rcode};

use super::counters::Counters;
use super::service;

/// Aliases followed in one response. Longer chains are left to the resolver.
const MAX_ALIASES: usize = 8;
/// TTL of the HINFO that stands for all types (RFC 8482 section 4.2).
const ANY_TTL: u32 = 3600;

/// What was asked, and by whom.
pub struct Asked<'a> {
    pub question: &'a Question<'a>,
    /// Where the query came from.
    pub source: Seen,
    /// The client's network, where the query tells it.
    pub subnet: Option<Seen>,
}

/// What to put into the header and the ECS option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    pub rcode: Rcode,
    /// AA (RFC 1035 section 4.1.1): of the first name in the answer.
    pub authoritative: bool,
    /// SCOPE PREFIX-LENGTH (RFC 7871): the narrowest of what went into the answer.
    pub scope: u8,
}

/// Writes the records that answer the question. Of what happens, services' answers are counted.
pub fn respond(snapshot: &Snapshot, asked: &Asked<'_>, response: &mut Response<'_>, counters: &Counters) -> Outcome {
    let mut walk = Walk {
        snapshot,
        asked,
        counters,
        name: LowerName::new(),
        owner: QUESTION_OWNER,
        aliases: 0,
        owners: [HEADER_OCTETS as u16; MAX_ALIASES + 1],
        outcome: Outcome { rcode: Rcode::NoError, authoritative: true, scope: 0 },
    };
    walk.name.read(asked.question.name()); // one whole name, or it were no question
    loop {
        match walk.step(response) {
            Ok(Step::Again) => {}
            Ok(Step::Done(rcode)) => {
                walk.outcome.rcode = rcode;
                return walk.outcome;
            }
            Err(Full) => {
                response.truncate();
                return walk.outcome;
            }
        }
    }
}

/// What a step came to.
pub(super) enum Step {
    /// An alias was written, and its target is the next name.
    Again,
    Done(Rcode),
}

/// The way from the question's name along its aliases.
pub(super) struct Walk<'a> {
    pub(super) snapshot: &'a Snapshot,
    pub(super) asked: &'a Asked<'a>,
    pub(super) counters: &'a Counters,
    name: LowerName,
    /// Where `name` stands in the response.
    pub(super) owner: Owner<'static>,
    aliases: usize,
    /// Where the names so far stand in the response: the question's, then a target per alias.
    owners: [u16; MAX_ALIASES + 1],
    outcome: Outcome,
}

impl<'a> Walk<'a> {
    fn step(&mut self, response: &mut Response<'_>) -> Result<Step, Full> {
        let names = &self.snapshot.names;
        match names.find(&self.name) {
            Found::Outside if self.aliases > 0 => Ok(Step::Done(Rcode::NoError)),
            Found::Outside => {
                self.outcome.authoritative = false;
                Ok(Step::Done(Rcode::Refused))
            }
            Found::Exact(id) => self.at_name(id, response),
            Found::Below { encloser, prefix_octets } => self.below(names.node(encloser), prefix_octets, response),
        }
    }

    /// The name itself is in the table.
    fn at_name(&mut self, id: NodeId, response: &mut Response<'_>) -> Result<Step, Full> {
        let snapshot = self.snapshot;
        let node = snapshot.names.node(id);
        if self.asked.question.qtype == RecordType::DS {
            // DS belongs to the parent's side of a cut (RFC 4035 section 3.1.4.1).
            if let Some(parent_side) = node.parent_side() {
                let parent_side = snapshot.names.node(parent_side);
                return match parent_side.cut() {
                    // The parent is another's: we serve zones above and below it.
                    Some(cut) if cut != id => self.referral(snapshot.names.node(cut), response),
                    _ => self.data(parent_side, response),
                };
            }
            if node.cut() == Some(id) {
                return self.data(node, response);
            }
        }
        match node.cut() {
            Some(cut) => self.referral(snapshot.names.node(cut), response),
            None => self.data(node, response),
        }
    }

    /// Only the closest encloser is in the table, `prefix` octets into the name.
    fn below(&mut self, encloser: &'a Node, prefix: usize, response: &mut Response<'_>) -> Result<Step, Full> {
        let names = &self.snapshot.names;
        if let Some(cut) = encloser.cut() {
            return self.referral(names.node(cut), response);
        }
        if let Some(dname) = encloser.set(RecordType::DNAME) {
            return self.redirect(encloser, &dname.records, prefix, response);
        }
        match encloser.wildcard() {
            // A wildcard that is a cut delegates nothing (RFC 4592 section 4.2 leaves it
            // undefined; the loader refuses it).
            Some(wildcard) => self.data(names.node(wildcard), response),
            None => self.negative(encloser, Rcode::NxDomain, response),
        }
    }

    /// Authoritative data of the asked type, an alias, or none.
    fn data(&mut self, node: &'a Node, response: &mut Response<'_>) -> Result<Step, Full> {
        let qtype = self.asked.question.qtype;
        if let Some(id) = node.service()
            && let Some(step) = service::answer(self, id, node, response)?
        {
            return Ok(step);
        }
        if let Some(cname) = node.set(RecordType::CNAME)
            && !matches!(qtype, RecordType::CNAME | RecordType::ANY)
        {
            return self.alias(&cname.records, response);
        }
        if qtype == RecordType::ANY && (!node.is_bare() || node.service().is_some()) {
            // One small record stands for all (RFC 8482 section 4.2).
            response.plain(Section::Answer, self.owner, RecordType::HINFO, ANY_TTL, b"\x07RFC8482\0")?;
            return Ok(Step::Done(Rcode::NoError));
        }
        match node.set(qtype) {
            Some(set) => {
                sections::data(self.snapshot.names.nodes(), set, self.owner, response)?;
                Ok(Step::Done(Rcode::NoError))
            }
            None => self.negative(node, Rcode::NoError, response),
        }
    }

    fn alias(&mut self, cname: &EncodedSet, response: &mut Response<'_>) -> Result<Step, Full> {
        let Some(rdata) = cname.rdatas.first() else { return Ok(Step::Done(Rcode::ServFail)) };
        let begin = response.encoded(Section::Answer, self.owner, RecordType::CNAME, cname.ttl, rdata)?;
        Ok(self.follow(&rdata.wire, begin, response))
    }

    /// Goes on with `target`, which stands in the response at `offset`: not where it has been
    /// before, since a loop would say the same records again.
    pub(super) fn follow(&mut self, target: &[u8], offset: usize, response: &Response<'_>) -> Step {
        let visited = self.owners.iter().take(self.aliases + 1).any(|&owner| response.has_name_at(owner, target));
        self.aliases += 1;
        let known = u16::try_from(offset).ok().filter(|offset| *offset < 0x4000 && !visited);
        match (self.name.read(target), known, self.owners.get_mut(self.aliases)) {
            (Some(_), Some(offset), Some(owner)) => {
                *owner = offset;
                self.owner = Owner::At(offset);
                Step::Again
            }
            _ => Step::Done(Rcode::NoError),
        }
    }

    /// DNAME with the CNAME it makes (RFC 6672 section 3.2).
    fn redirect(
        &mut self,
        at: &Node,
        dname: &EncodedSet,
        prefix: usize,
        response: &mut Response<'_>,
    ) -> Result<Step, Full> {
        response.set(Section::Answer, Owner::Name(at.name().as_wire()), dname)?;
        let Some(rdata) = dname.rdatas.first() else { return Ok(Step::Done(Rcode::ServFail)) };
        let mut target = [0; MAX_NAME_OCTETS];
        let len = prefix + rdata.wire.len();
        let Some(place) = target.get_mut(..len) else {
            // "the resulting name is too long": YXDOMAIN (RFC 6672 section 2.2).
            return Ok(Step::Done(Rcode::YxDomain));
        };
        place[..prefix].copy_from_slice(&self.name.as_wire()[..prefix]);
        place[prefix..].copy_from_slice(&rdata.wire);
        let begin = response.with_name(Section::Answer, self.owner, RecordType::CNAME, dname.ttl, place)?;
        if self.asked.question.qtype == RecordType::CNAME {
            return Ok(Step::Done(Rcode::NoError));
        }
        Ok(self.follow(place, begin, response))
    }

    /// What delegates a name.
    fn referral(&mut self, cut: &Node, response: &mut Response<'_>) -> Result<Step, Full> {
        if self.aliases == 0 {
            self.outcome.authoritative = false;
        }
        sections::referral(self.snapshot.names.nodes(), cut, response)?;
        Ok(Step::Done(Rcode::NoError))
    }

    /// NXDOMAIN, or NODATA with [`Rcode::NoError`]: the SOA says how long it holds (RFC 2308).
    pub(super) fn negative(&self, node: &Node, rcode: Rcode, response: &mut Response<'_>) -> Result<Step, Full> {
        self.negative_for(u32::MAX, node, rcode, response)
    }

    /// As [`Walk::negative`], for this many seconds at most.
    pub(super) fn negative_for(
        &self,
        ttl: u32,
        node: &Node,
        rcode: Rcode,
        response: &mut Response<'_>,
    ) -> Result<Step, Full> {
        sections::negative(self.snapshot.names.nodes(), node, ttl, response)?;
        Ok(Step::Done(rcode))
    }

    /// Narrows how widely the answer may be shared.
    pub(super) fn narrow(&mut self, scope: u8) {
        self.outcome.scope = self.outcome.scope.max(scope);
    }
}
