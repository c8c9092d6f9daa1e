//! The fast path: usual questions answered from records that are prebuilt, copied and not written.
//!
//! It takes names that are what they are in one step. Everything else is left to [`super::full_path`], and
//! so is what does not fit; both give the same octets, which `tests/fast_path.rs` holds them to.

use crate::model::{RecordType, ServiceId};
use crate::state::lookup::endpoints::{A_OCTETS, AAAA_OCTETS, Part, RDLENGTH_AT, RECORD_HEAD, TTL_AT};
use crate::state::lookup::names::NameMatch;
use crate::state::lookup::prebuilt::{AtType, Flags, NameEntry, Template};
use crate::steer::decide::{Seen, decide_for};
use crate::steer::plan::precomputed::{FixedChoice, PrecomputedChoice, PrecomputedService};
use crate::wire::Rcode;
use crate::wire::name::LowerName;
use crate::wire::response::Body;

use super::question::Question;

/// Writes the answer to a question for `name`, which was found so, into the first `room` octets of `out`.
/// `None` where this is not the path for it; then nothing has been counted.
#[inline(always)]
pub fn answer(
    question: &Question<'_>,
    name: &LowerName,
    found: NameMatch<NameEntry<'_>>,
    out: &mut [u8],
    room: usize,
) -> Option<Body> {
    let reply = FastQuery { question, name }.reply(found)?;
    let body = reply.write(question.query.asked, name, out, room)?;
    if let Some((service, FixedChoice { region, ttl, .. })) = reply.served {
        question.count_served(service, region, ttl);
    }
    Some(body)
}

/// The answer to a question, as runs of records.
pub struct Reply<'s> {
    /// Two runs of records, as they are kept.
    records: &'s [u8],
    more: &'s [u8],
    /// By section.
    counts: [u16; 3],
    /// The fields to be filled in.
    open: Open<'s>,
    rcode: Rcode,
    authoritative: bool,
    /// SCOPE PREFIX-LENGTH (RFC 7871).
    scope: u8,
    served: Option<(ServiceId, FixedChoice)>,
}

/// The records of a type at a name.
enum Data<'s> {
    Reply(Reply<'s>),
    /// No record.
    Nothing,
}

/// The fields still open in records.
enum Open<'s> {
    Nothing,
    /// The TTL of each, which has so many octets.
    Ttl(u32, usize),
    /// TTL and RDLENGTH of the only one.
    TtlAndLength(u32),
    Pointers(&'s Template),
}

/// A question on the fast path.
pub struct FastQuery<'a> {
    pub question: &'a Question<'a>,
    /// QNAME.
    pub name: &'a LowerName,
}

impl<'a> FastQuery<'a> {
    /// The records to write, for a name that was found so.
    #[inline(always)]
    pub fn reply(&self, found: NameMatch<NameEntry<'a>>) -> Option<Reply<'a>> {
        let (entry, is_its_name, rcode) = match found {
            NameMatch::Exact(entry) => (entry, true, Rcode::NoError),
            NameMatch::Below { encloser, .. } if encloser.flags().has(Flags::CUT) => (encloser, false, Rcode::NoError),
            NameMatch::Below { encloser, .. } if encloser.flags().has(Flags::DNAME) => return None,
            NameMatch::Below { encloser, .. } => match self.question.snapshot.names.prebuilt().wildcard(&encloser) {
                Some(wildcard) if wildcard.flags().has(Flags::CUT) => return None,
                Some(wildcard) => (wildcard, false, Rcode::NoError),
                None => (encloser, false, Rcode::NxDomain),
            },
            NameMatch::Outside => return None,
        };
        let is_ours = !entry.flags().has(Flags::CUT);
        if is_ours && rcode == Rcode::NoError {
            match self.data(&entry, is_its_name)? {
                Data::Reply(reply) => return Some(reply),
                Data::Nothing => {}
            }
        }
        // DS is the parent's to answer, and for ANY there may be something.
        if matches!(self.question.query.qtype, RecordType::DS | RecordType::ANY) {
            return None;
        }
        // A referral, NXDOMAIN or NODATA.
        let template = self.question.snapshot.names.prebuilt().template(&entry)?;
        if !self.is_lower() || !template.fits(self.name) {
            return None;
        }
        let reply = Reply::new(&template.octets, template.counts, Open::Pointers(template));
        Some(Reply { rcode, authoritative: is_ours, ..reply })
    }

    /// The data that an entry has for the question, which is for its name, or else for one that it stands for.
    #[inline(always)]
    fn data(&self, entry: &NameEntry<'a>, is_its_name: bool) -> Option<Data<'a>> {
        if entry.flags().has(Flags::ALIAS) {
            return None;
        }
        if let Some(id) = entry.service() {
            let service = self.question.snapshot.precomputed.service(id)?;
            if service.hosts {
                return None;
            }
            let is_https = self.question.query.qtype == RecordType::HTTPS && service.https;
            if is_https || matches!(self.question.query.qtype, RecordType::A | RecordType::AAAA) {
                return self.service(id, service).map(Data::Reply);
            }
        }
        match entry.answer(self.question.query.qtype) {
            AtType::Prebuilt(answer) if !answer.is_case_sensitive || (is_its_name && self.is_lower()) => {
                let counts = [answer.answers, 0, answer.additional];
                Some(Data::Reply(Reply::new(answer.octets, counts, Open::Nothing)))
            }
            AtType::Nothing => Some(Data::Nothing),
            _ => None,
        }
    }

    /// The records of the one endpoint that this client gets of a service.
    #[inline(always)]
    fn service(&self, id: ServiceId, service: &PrecomputedService) -> Option<Reply<'a>> {
        let (view, endpoints) = (self.question.snapshot.view(), &self.question.snapshot.endpoints);
        let seen = self.question.seen(service.ecs);
        let (choice, scope, is_settled) = match self.question.snapshot.precomputed.find(service, seen.address())? {
            PrecomputedChoice::Fixed(choice, scope) => (choice, scope, true),
            PrecomputedChoice::Open(found) => {
                let decision = decide_for(&view, id, seen, found)?;
                let [region] = *decision.regions.as_slice() else { return None };
                // Of what is prebuilt, not all is answered.
                if view.endpoint_sets.get(region.index())?.is_partial {
                    return None;
                }
                (
                    FixedChoice { region, endpoint: decision.endpoint, ttl: decision.ttl.as_secs() },
                    decision.scope,
                    false,
                )
            }
        };
        // Without addresses of a family, another endpoint may have some.
        let part = |part| Some(endpoints.part(choice.region, choice.endpoint, part)).filter(|part| !part.is_empty());
        let of_addresses = |records: &'a [u8], each| {
            Reply::new(records, [(records.len() / each) as u16, 0, 0], Open::Ttl(choice.ttl, each))
        };
        let mut reply = match self.question.query.qtype {
            RecordType::A => of_addresses(part(Part::A)?, A_OCTETS),
            RecordType::AAAA => of_addresses(part(Part::Aaaa)?, AAAA_OCTETS),
            RecordType::HTTPS => {
                let more = part(Part::Hints)?;
                if !is_settled {
                    part(Part::A).and(part(Part::Aaaa))?;
                }
                let record = Reply::new(endpoints.https(id)?, [1, 0, 0], Open::TtlAndLength(choice.ttl));
                Reply { more, ..record }
            }
            _ => return None,
        };
        reply.scope = if matches!(seen, Seen::Subnet(_)) { scope } else { 0 };
        reply.served = Some((id, choice));
        Some(reply)
    }

    /// Tells whether the question is spelled as names are kept.
    #[inline(always)]
    fn is_lower(&self) -> bool {
        self.question.query.is_lower(self.name)
    }
}

impl<'s> Reply<'s> {
    /// An answer, the same for everybody.
    #[inline(always)]
    fn new(records: &'s [u8], counts: [u16; 3], open: Open<'s>) -> Reply<'s> {
        Reply { records, more: &[], counts, open, rcode: Rcode::NoError, authoritative: true, scope: 0, served: None }
    }

    /// Writes header, question and records within `room` octets. `None` where they do not fit.
    #[inline(always)]
    pub fn write(&self, asked: &[u8], name: &LowerName, out: &mut [u8], room: usize) -> Option<Body> {
        let end = asked.len() + self.records.len() + self.more.len();
        if end > room {
            return None;
        }
        let (question, records) = out.get_mut(..end)?.split_at_mut_checked(asked.len())?;
        question.copy_from_slice(asked);
        self.write_records(records, name.as_wire().len());
        let Reply { counts, rcode, authoritative, scope, .. } = *self;
        Some(Body { end, has_question: true, counts, rcode, authoritative, truncated: false, scope })
    }

    /// Writes the records behind a question for a name of so many octets.
    #[inline(always)]
    fn write_records(&self, place: &mut [u8], name_octets: usize) {
        let Some((first, more)) = place.split_at_mut_checked(self.records.len()) else { return };
        first.copy_from_slice(self.records);
        match self.open {
            Open::Nothing => {}
            Open::Ttl(ttl, each) => {
                first.chunks_exact_mut(each).for_each(|record| put(record, TTL_AT, ttl.to_be_bytes()));
            }
            Open::TtlAndLength(ttl) => {
                let rdlength = (self.records.len() + more.len()).saturating_sub(RECORD_HEAD) as u16;
                more.copy_from_slice(self.more);
                put(first, TTL_AT, ttl.to_be_bytes());
                put(first, RDLENGTH_AT, rdlength.to_be_bytes());
            }
            Open::Pointers(template) => {
                let further = template.moved_by(name_octets);
                for &at in &*template.pointers {
                    if let Some(pointer) = first.get_mut(usize::from(at)..).and_then(|rest| rest.first_chunk_mut()) {
                        *pointer = (u16::from_be_bytes(*pointer) + further).to_be_bytes();
                    }
                }
            }
        }
    }
}

#[inline]
fn put<const N: usize>(record: &mut [u8], at: usize, octets: [u8; N]) {
    if let Some(place) = record.get_mut(at..).and_then(|rest| rest.first_chunk_mut()) {
        *place = octets;
    }
}
