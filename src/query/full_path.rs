//! The full path: the name server algorithm of RFC 1034 section 4.3.2 over the snapshot's table of names.
//!
//! Each step takes where a name stands (data, alias, wildcard, zone cut, or nowhere) and writes
//! what that means; an alias into our zones is another step.

use crate::model::name::MAX_NAME_OCTETS;
use crate::model::{RecordType, RrSet};
use crate::state::lookup::names::NameMatch;
use crate::state::lookup::nodes::{Node, NodeId, Nodes};
use crate::state::lookup::prebuilt::NameEntry;
use crate::state::lookup::sections;
use crate::wire::name::LowerName;
use crate::wire::records::{Full, Owner, QUESTION_OWNER, Records, Section};
use crate::wire::response::Body;
use crate::wire::{HEADER_OCTETS, Rcode};

use super::question::Question;
use super::service::{self, Served};

/// Aliases followed in one response. Longer chains are left to the resolver.
const MAX_ALIASES: usize = 8;
/// TTL of the HINFO that stands for all types (RFC 8482 section 4.2).
const ANY_TTL: u32 = 3600;
/// Types that are asked of an alias itself, since they may stand beside its CNAME: RRSIG, NSEC and KEY (RFC 4035
/// section 2.5), and of older signed zones SIG, KEY and NXT (RFC 2181 section 10.1).
const BESIDE_CNAME: [RecordType; 5] =
    [RecordType::RRSIG, RecordType::NSEC, RecordType(25), RecordType(24), RecordType(30)];

/// Writes the records that answer a question for `name`, which was found so, into the first `room` octets
/// of `out`. Afterwards `name` is the last name of the answer. `None` where not even the question fits.
pub fn answer(
    question: &Question<'_>,
    name: &mut LowerName,
    found: NameMatch<NameEntry<'_>>,
    out: &mut [u8],
    room: usize,
) -> Option<Body> {
    let mut records = Records::begin(out, question.query.asked, room)?;
    let (rcode, authoritative, scope) = respond(question, name, found, &mut records);
    let records = records.end();
    let (end, counts, truncated) = (records.len, records.counts, records.truncated);
    Some(Body { end, has_question: true, counts, rcode, authoritative, truncated, scope })
}

/// Writes the records, and gives RCODE, AA and scope.
fn respond(
    question: &Question<'_>,
    name: &mut LowerName,
    found: NameMatch<NameEntry<'_>>,
    response: &mut Records<'_>,
) -> (Rcode, bool, u8) {
    let mut found = found.map(|entry| entry.node());
    let mut walk = Walk {
        question,
        nodes: question.snapshot.names.nodes(),
        name,
        owner: QUESTION_OWNER,
        aliases: 0,
        owners: [HEADER_OCTETS as u16; MAX_ALIASES + 1],
        authoritative: true,
        scope: 0,
    };
    loop {
        let rcode = match walk.step(found, response) {
            Ok(Step::Again) => {
                found = question.snapshot.names.find(walk.name);
                continue;
            }
            Ok(Step::Done(rcode)) => rcode,
            Err(Full) => {
                response.truncate();
                Rcode::NoError
            }
        };
        return (rcode, walk.authoritative, walk.scope);
    }
}

/// The result of a step.
enum Step {
    /// An alias was written, and its target is the next name.
    Again,
    Done(Rcode),
}

/// The way from the question's name along its aliases.
struct Walk<'a> {
    question: &'a Question<'a>,
    nodes: &'a Nodes,
    name: &'a mut LowerName,
    /// The place where `name` stands in the response.
    owner: Owner<'static>,
    aliases: usize,
    /// The places where the names so far stand in the response: the question's, then a target per alias.
    owners: [u16; MAX_ALIASES + 1],
    authoritative: bool,
    /// The narrowest of what was written.
    scope: u8,
}

impl<'a> Walk<'a> {
    fn step(&mut self, found: NameMatch<NodeId>, response: &mut Records<'_>) -> Result<Step, Full> {
        match found {
            NameMatch::Outside if self.aliases > 0 => Ok(Step::Done(Rcode::NoError)),
            NameMatch::Outside => {
                self.authoritative = false;
                Ok(Step::Done(Rcode::Refused))
            }
            NameMatch::Exact(id) => self.at_name(id, response),
            NameMatch::Below { encloser, prefix_octets } => {
                self.below(self.nodes.node(encloser), prefix_octets, response)
            }
        }
    }

    /// The name itself is in the table.
    fn at_name(&mut self, id: NodeId, response: &mut Records<'_>) -> Result<Step, Full> {
        let nodes = self.nodes;
        let node = nodes.node(id);
        if self.question.query.qtype == RecordType::DS {
            // DS belongs to the parent's side of a cut (RFC 4035 section 3.1.4.1).
            if let Some(parent_side) = node.parent_side() {
                let parent_side = nodes.node(parent_side);
                return match parent_side.cut() {
                    // The parent is another's: we serve zones above and below it.
                    Some(cut) if cut != id => self.referral(nodes.node(cut), response),
                    _ => self.data(parent_side, response),
                };
            }
            if node.cut() == Some(id) {
                return self.data(node, response);
            }
        }
        match node.cut() {
            Some(cut) => self.referral(nodes.node(cut), response),
            None => self.data(node, response),
        }
    }

    /// Only the closest encloser is in the table, `prefix` octets into the name.
    fn below(&mut self, encloser: Node<'a>, prefix: usize, response: &mut Records<'_>) -> Result<Step, Full> {
        let nodes = self.nodes;
        if let Some(cut) = encloser.cut() {
            return self.referral(nodes.node(cut), response);
        }
        if let Some(dname) = encloser.set(RecordType::DNAME) {
            return self.redirect(encloser, &dname.records, prefix, response);
        }
        match encloser.wildcard() {
            // A wildcard that is a cut delegates nothing (RFC 4592 section 4.2 leaves it
            // undefined; the loader refuses it).
            Some(wildcard) => self.data(nodes.node(wildcard), response),
            None => self.negative(encloser, Rcode::NxDomain, response),
        }
    }

    /// Authoritative data of the asked type, an alias, or none.
    fn data(&mut self, node: Node<'a>, response: &mut Records<'_>) -> Result<Step, Full> {
        let qtype = self.question.query.qtype;
        if BESIDE_CNAME.contains(&qtype) {
            return self.own_data(u32::MAX, node, response);
        }
        let mut longest = u32::MAX;
        if let Some(id) = node.service() {
            match service::answer(self.question, id, self.owner, &mut self.scope, response)? {
                Served::Records => return Ok(Step::Done(Rcode::NoError)),
                Served::Nothing { longest } => return self.negative_for(longest, node, Rcode::NoError, response),
                Served::Host(_) if is_of_cname(qtype) => return Ok(Step::Done(Rcode::NoError)),
                Served::Host(target) => return Ok(self.follow(target.name.as_wire(), target.offset, response)),
                Served::NotHere { longest: of_choice } => longest = of_choice,
            }
        }
        if let Some(cname) = node.set(RecordType::CNAME) {
            return self.alias(&cname.records, response);
        }
        if qtype == RecordType::ANY && (!node.is_bare() || node.service().is_some()) {
            // One small record stands for all "if there is no CNAME present" (RFC 8482 section 4.2).
            let ttl = ANY_TTL.min(longest);
            response.plain(Section::Answer, self.owner, RecordType::HINFO, ttl, b"\x07RFC8482\0")?;
            return Ok(Step::Done(Rcode::NoError));
        }
        self.own_data(longest, node, response)
    }

    /// The name's own records of the asked type; or NODATA, for so many seconds at most.
    fn own_data(&mut self, longest: u32, node: Node<'a>, response: &mut Records<'_>) -> Result<Step, Full> {
        match node.set(self.question.query.qtype) {
            Some(set) => {
                sections::data(self.nodes, &set, self.owner, response)?;
                Ok(Step::Done(Rcode::NoError))
            }
            None => self.negative_for(longest, node, Rcode::NoError, response),
        }
    }

    fn alias(&mut self, cname: &RrSet<'_>, response: &mut Records<'_>) -> Result<Step, Full> {
        let Some(rdata) = cname.rdatas().next() else { return Ok(Step::Done(Rcode::ServFail)) };
        let begin = response.encoded(Section::Answer, self.owner, RecordType::CNAME, cname.ttl.as_secs(), rdata)?;
        if is_of_cname(self.question.query.qtype) {
            return Ok(Step::Done(Rcode::NoError));
        }
        Ok(self.follow(rdata, begin, response))
    }

    /// Goes on with `target`, which stands in the response at `offset`: not where it has been
    /// before, since a loop would say the same records again.
    fn follow(&mut self, target: &[u8], offset: usize, response: &Records<'_>) -> Step {
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
        at: Node<'_>,
        dname: &RrSet<'_>,
        prefix: usize,
        response: &mut Records<'_>,
    ) -> Result<Step, Full> {
        response.set(Section::Answer, Owner::Name(at.name().as_wire()), dname)?;
        let Some(rdata) = dname.rdatas().next() else { return Ok(Step::Done(Rcode::ServFail)) };
        let mut target = [0; MAX_NAME_OCTETS];
        let len = prefix + rdata.len();
        let Some(place) = target.get_mut(..len) else {
            // "the resulting name is too long": YXDOMAIN (RFC 6672 section 2.2).
            return Ok(Step::Done(Rcode::YxDomain));
        };
        place[..prefix].copy_from_slice(&self.name.as_wire()[..prefix]);
        place[prefix..].copy_from_slice(rdata);
        let begin = response.with_name(Section::Answer, self.owner, RecordType::CNAME, dname.ttl.as_secs(), place)?;
        if is_of_cname(self.question.query.qtype) {
            return Ok(Step::Done(Rcode::NoError));
        }
        Ok(self.follow(place, begin, response))
    }

    /// Writes what delegates a name.
    fn referral(&mut self, cut: Node<'_>, response: &mut Records<'_>) -> Result<Step, Full> {
        if self.aliases == 0 {
            self.authoritative = false;
        }
        sections::referral(self.nodes, cut, response)?;
        Ok(Step::Done(Rcode::NoError))
    }

    /// NXDOMAIN, or NODATA with [`Rcode::NoError`]: the SOA says how long it holds (RFC 2308).
    fn negative(&self, node: Node<'_>, rcode: Rcode, response: &mut Records<'_>) -> Result<Step, Full> {
        self.negative_for(u32::MAX, node, rcode, response)
    }

    /// As [`Walk::negative`], for this many seconds at most.
    fn negative_for(&self, ttl: u32, node: Node<'_>, rcode: Rcode, response: &mut Records<'_>) -> Result<Step, Full> {
        sections::negative(node, ttl, response)?;
        Ok(Step::Done(rcode))
    }
}

/// Tells whether a CNAME is the answer to this type: only where "QTYPE doesn't match CNAME" is it followed (RFC 1034
/// section 4.3.2 step 3a), and ANY matches all.
fn is_of_cname(qtype: RecordType) -> bool {
    matches!(qtype, RecordType::CNAME | RecordType::ANY)
}
