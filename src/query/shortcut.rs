//! The usual questions, answered from what is ready: copied, not written.
//!
//! One plain question, with or without EDNS and a client's network, for a name that is what it is in one
//! step. Everything else is left to [`super::respond`], and so is what does not fit; both give the same
//! octets, which `tests/shortcuts.rs` holds them to.

use std::net::IpAddr;

use crate::model::{Prefix, RecordType, ServiceId};
use crate::state::Snapshot;
use crate::state::endpoints::{A_OCTETS, AAAA_OCTETS, Part, RDLENGTH_AT, RECORD_HEAD, TTL_AT};
use crate::state::names::Found;
use crate::state::ready::{self, Flags, Spot, Template};
use crate::steer::decide::{Seen, decide_for};
use crate::steer::settled::{self, Choice, SettledService};
use crate::wire::edns::{CLIENT_SUBNET, ClientSubnet, Edns, NSID, OPT_OCTETS, UDP_PAYLOAD, split_option};
use crate::wire::name::LowerName;
use crate::wire::query::{Header, Query, Question};
use crate::wire::{HEADER_OCTETS, Rcode};

use super::answer::{count_question, count_response, limit};
use super::counters::Counters;
use super::demand::Sample;
use super::transport::Client;

const CLASS_IN: u16 = 1;
const OPT: u8 = 41;
/// Where a Client Subnet option with its head has the SCOPE PREFIX-LENGTH.
const SCOPE_AT: usize = 7;

/// Writes the response into `out` and gives its length; `None` where this is not the way to answer,
/// and nothing has been counted.
#[inline(always)]
pub fn answer(way: &Way<'_>, out: &mut [u8], counters: &Counters) -> Option<usize> {
    let reply = way.reply(way.snapshot.names.find_spot(way.name))?;
    let length = way.write(&reply, out)?;
    count_question(way.asked.qtype, way.asked.subnet.is_some(), counters);
    if let Some((service, choice)) = reply.served {
        counters.answered(|| way.sample(service, choice));
    }
    count_response(reply.rcode, false, counters);
    Some(length)
}

/// A usual question.
pub struct Asked {
    qtype: RecordType,
    question_end: usize,
    opt: Option<Opt>,
    /// Of the OPT record.
    subnet: Option<Subnet>,
}

/// An OPT record without a fault, of version 0.
#[derive(Clone, Copy)]
struct Opt {
    udp_payload: u16,
    dnssec_ok: bool,
}

/// A Client Subnet option without a fault, of a family there is.
#[derive(Clone, Copy)]
struct Subnet {
    /// Where the option is in the packet, and how long it is with its head.
    at: usize,
    octets: usize,
    source_bits: u8,
    address: IpAddr,
}

impl Asked {
    /// `None` for what is not usual; else the name asked for is in `name`.
    #[inline(always)]
    pub fn read(packet: &[u8], name: &mut LowerName) -> Option<Asked> {
        let &[_, _, flags, _, ref counts @ ..] = packet.first_chunk::<HEADER_OCTETS>()?;
        // QR, and all opcodes but QUERY.
        if flags & 0xf8 != 0 {
            return None;
        }
        let has_opt = match u64::from_be_bytes(*counts) {
            0x0001_0000_0000_0000 => false,
            0x0001_0000_0000_0001 => true,
            _ => return None,
        };
        let name_end = HEADER_OCTETS + name.read(packet.get(HEADER_OCTETS..)?)?;
        let (&[t0, t1, c0, c1], rest) = packet.get(name_end..)?.split_first_chunk()?;
        let qtype = RecordType(u16::from_be_bytes([t0, t1]));
        let is_usual = !matches!(qtype, RecordType::DS | RecordType::ANY | RecordType::AXFR | RecordType::IXFR);
        if u16::from_be_bytes([c0, c1]) != CLASS_IN || !is_usual {
            return None;
        }
        let mut asked = Asked { qtype, question_end: name_end + 4, opt: None, subnet: None };
        if has_opt {
            asked.read_opt(rest)?;
        } else if !rest.is_empty() {
            return None;
        }
        Some(asked)
    }

    /// Reads the rest of a packet, an OPT record.
    #[inline(always)]
    fn read_opt(&mut self, rest: &[u8]) -> Option<()> {
        let (&[0, 0, OPT, p0, p1, _, 0, flags, _, l0, l1], mut options) = rest.split_first_chunk::<OPT_OCTETS>()?
        else {
            return None;
        };
        if usize::from(u16::from_be_bytes([l0, l1])) != options.len() {
            return None;
        }
        self.opt = Some(Opt { udp_payload: u16::from_be_bytes([p0, p1]), dnssec_ok: flags & 0x80 != 0 });
        let end = self.question_end + rest.len();
        while !options.is_empty() {
            let (code, data, after) = split_option(options)?;
            match code {
                CLIENT_SUBNET if self.subnet.is_none() => {
                    self.subnet = Some(Subnet::read(data, end - options.len())?);
                }
                CLIENT_SUBNET | NSID => return None,
                _ => {} // "Any OPTION-CODE values not understood MUST be ignored" (RFC 6891 6.1.2)
            }
            options = after;
        }
        Some(())
    }

    /// The same as any query, of the packet it was read from: what is in it need not be read again.
    pub(super) fn query<'p>(&self, packet: &'p [u8]) -> Option<(Query<'p>, Question<'p>)> {
        let &[id0, id1, flags, ..] = packet.first_chunk::<HEADER_OCTETS>()?;
        let header = Header { id: [id0, id1], opcode: 0, recursion_desired: flags & 1 != 0 };
        let wire = packet.get(HEADER_OCTETS..self.question_end)?;
        let question = Question { wire, qtype: self.qtype, qclass: CLASS_IN };
        let subnet = match self.subnet {
            Some(subnet) => Some(ClientSubnet { prefix: Prefix::new(subnet.address, subnet.source_bits).ok()? }),
            None => None,
        };
        let edns =
            self.opt.map(|Opt { udp_payload, dnssec_ok }| Edns { udp_payload, dnssec_ok, subnet, ..Edns::default() });
        Some((Query { header, question: Some(question), edns, tsig: None }, question))
    }

    fn opt_octets(&self) -> usize {
        match self.opt {
            Some(_) => OPT_OCTETS + self.subnet.map_or(0, |subnet| subnet.octets),
            None => 0,
        }
    }
}

impl Subnet {
    /// Reads the data of the option that is here in its packet.
    #[inline(always)]
    fn read(data: &[u8], at: usize) -> Option<Subnet> {
        let octets = 4 + data.len();
        // By far the most are /24s; anything else has time.
        if let &[0, 1, 24, 0, a, b, c] = data {
            return Some(Subnet { at, octets, source_bits: 24, address: IpAddr::V4([a, b, c, 0].into()) });
        }
        let prefix = ClientSubnet::parse(data).ok()??.prefix;
        Some(Subnet { at, octets, source_bits: prefix.len(), address: prefix.address() })
    }
}

/// What a question comes to.
pub struct Reply<'s> {
    /// Two runs of records, as they are kept.
    records: &'s [u8],
    more: &'s [u8],
    /// By section.
    counts: [u16; 3],
    /// What is to be filled in.
    open: Open<'s>,
    rcode: Rcode,
    authoritative: bool,
    /// SCOPE PREFIX-LENGTH (RFC 7871).
    scope: u8,
    served: Option<(ServiceId, Choice)>,
}

/// What a name has of a type.
enum Data<'s> {
    Reply(Reply<'s>),
    /// No record.
    Nothing,
}

/// What is still open in records.
enum Open<'s> {
    Nothing,
    /// The TTL of each, which has so many octets.
    Ttl(u32, usize),
    /// TTL and RDLENGTH of the only one.
    TtlAndLength(u32),
    Pointers(&'s Template),
}

/// From a question to its reply.
pub struct Way<'a> {
    pub snapshot: &'a Snapshot,
    pub asked: &'a Asked,
    /// Of the question.
    pub name: &'a LowerName,
    pub packet: &'a [u8],
    pub client: Client,
}

impl<'a> Way<'a> {
    /// What to write, of a name that was found so.
    #[inline(always)]
    pub fn reply(&self, found: Found<Spot<'a>>) -> Option<Reply<'a>> {
        let (spot, is_its_name, rcode) = match found {
            Found::Exact(spot) => (spot, true, Rcode::NoError),
            Found::Below { encloser, .. } if encloser.flags().has(Flags::CUT) => (encloser, false, Rcode::NoError),
            Found::Below { encloser, .. } if encloser.flags().has(Flags::DNAME) => return None,
            Found::Below { encloser, .. } => match self.snapshot.names.ready().wildcard(&encloser) {
                Some(wildcard) if wildcard.flags().has(Flags::CUT) => return None,
                Some(wildcard) => (wildcard, false, Rcode::NoError),
                None => (encloser, false, Rcode::NxDomain),
            },
            Found::Outside => return None,
        };
        let is_ours = !spot.flags().has(Flags::CUT);
        if is_ours && rcode == Rcode::NoError {
            match self.data(&spot, is_its_name)? {
                Data::Reply(reply) => return Some(reply),
                Data::Nothing => {}
            }
        }
        // A referral, NXDOMAIN or NODATA.
        let template = self.snapshot.names.ready().template(&spot)?;
        if !self.is_lower() || !template.fits(self.name) {
            return None;
        }
        let reply = Reply::of(&template.octets, template.counts, Open::Pointers(template));
        Some(Reply { rcode, authoritative: is_ours, ..reply })
    }

    /// What a spot has for the question, which is for its name, or else for one that it stands for.
    #[inline(always)]
    fn data(&self, spot: &Spot<'a>, is_its_name: bool) -> Option<Data<'a>> {
        if spot.flags().has(Flags::ALIAS) {
            return None;
        }
        if let Some(id) = spot.service() {
            let service = self.snapshot.settled.service(id)?;
            if service.hosts {
                return None;
            }
            let is_https = self.asked.qtype == RecordType::HTTPS && service.https;
            if is_https || matches!(self.asked.qtype, RecordType::A | RecordType::AAAA) {
                return self.service(id, service).map(Data::Reply);
            }
        }
        match spot.answer(self.asked.qtype) {
            ready::Found::Ready(answer) if !answer.is_spelled || (is_its_name && self.is_lower()) => {
                let counts = [answer.answers, 0, answer.additional];
                Some(Data::Reply(Reply::of(answer.octets, counts, Open::Nothing)))
            }
            ready::Found::Nothing => Some(Data::Nothing),
            _ => None,
        }
    }

    /// The records of the one endpoint that this client gets of a service.
    #[inline(always)]
    fn service(&self, id: ServiceId, service: &SettledService) -> Option<Reply<'a>> {
        let (view, endpoints) = (self.snapshot.view(), &self.snapshot.endpoints);
        let seen = self.seen(service.ecs);
        let (choice, scope, is_settled) = match self.snapshot.settled.find(&view, service, seen.address())? {
            settled::Found::Settled(choice, scope) => (choice, scope, true),
            settled::Found::Open(place, widest) => {
                let decision = decide_for(&view, id, seen, (place, widest))?;
                let [region] = *decision.regions.as_slice() else { return None };
                (Choice { region, endpoint: decision.endpoint, ttl: decision.ttl.as_secs() }, decision.scope, false)
            }
        };
        let part = |part| endpoints.part(choice.region, choice.endpoint, part);
        let of_addresses = |records: &'a [u8], each| {
            Reply::of(records, [(records.len() / each) as u16, 0, 0], Open::Ttl(choice.ttl, each))
        };
        // Without addresses of a family, another endpoint may have some.
        let lacks = |of| part(of).is_empty();
        let mut reply = match self.asked.qtype {
            RecordType::A if !lacks(Part::A) => of_addresses(part(Part::A), A_OCTETS),
            RecordType::AAAA if !lacks(Part::Aaaa) => of_addresses(part(Part::Aaaa), AAAA_OCTETS),
            RecordType::HTTPS if !lacks(Part::Hints) && (is_settled || !(lacks(Part::A) || lacks(Part::Aaaa))) => {
                let record = Reply::of(endpoints.https(id)?, [1, 0, 0], Open::TtlAndLength(choice.ttl));
                Reply { more: part(Part::Hints), ..record }
            }
            _ => return None,
        };
        reply.scope = if matches!(seen, Seen::Subnet(_)) { scope } else { 0 };
        reply.served = Some((id, choice));
        Some(reply)
    }

    /// Whom the answer is for: the network that the query tells, where it tells one and it is believed.
    #[inline]
    fn seen(&self, ecs: bool) -> Seen {
        match self.asked.subnet {
            // "A SOURCE PREFIX-LENGTH of 0 means that the client does not want its network used"
            // (RFC 7871 section 7.1.2).
            Some(subnet) if ecs && subnet.source_bits > 0 => Seen::Subnet(subnet.address),
            _ => Seen::Source(self.client.address),
        }
    }

    /// Whether the question is spelled as names are kept.
    #[inline]
    fn is_lower(&self) -> bool {
        self.packet.get(HEADER_OCTETS..).is_some_and(|body| body.starts_with(self.name.as_wire()))
    }

    #[cold]
    fn sample(&self, service: ServiceId, choice: Choice) -> Sample {
        let ecs = self.snapshot.settled.service(service).is_some_and(|service| service.ecs);
        Sample {
            client: self.seen(ecs).address(),
            service,
            region: choice.region,
            ttl: choice.ttl,
            weight: 1,
            reloads: self.snapshot.reloads as u16, // its low bits
        }
    }

    /// Writes header, question, records, OPT, and gives the length. `None` where they do not fit.
    #[inline]
    pub fn write(&self, reply: &Reply<'_>, out: &mut [u8]) -> Option<usize> {
        let opt = self.asked.opt.as_ref();
        let question_end = self.asked.question_end;
        let octets = reply.records.len() + reply.more.len();
        let end = question_end + octets + self.asked.opt_octets();
        if end > limit(self.client, opt.map(|opt| opt.udp_payload)) {
            return None;
        }
        let (question, rest) = out.get_mut(..end)?.split_at_mut_checked(question_end)?;
        question.copy_from_slice(self.packet.get(..question_end)?);
        let (records, opt_place) = rest.split_at_mut_checked(octets)?;
        reply.write(records, self.name.as_wire().len());
        if let Some(opt) = opt {
            self.write_opt(opt, reply.scope, opt_place);
        }
        let head = question.first_chunk_mut::<HEADER_OCTETS>()?;
        let [answers, authority, additional] = reply.counts;
        let [d0, d1] = (additional + u16::from(opt.is_some())).to_be_bytes();
        head[2] = 0x80 | u8::from(reply.authoritative) << 2 | head[2] & 1;
        head[3] = reply.rcode as u8;
        let ([a0, a1], [n0, n1]) = (answers.to_be_bytes(), authority.to_be_bytes());
        head[4..].copy_from_slice(&[0, 1, a0, a1, n0, n1, d0, d1]);
        Some(end)
    }

    /// Writes the response's OPT record: the query's option comes back with the scope.
    #[inline]
    fn write_opt(&self, opt: &Opt, scope: u8, place: &mut [u8]) {
        let Some((head, option)) = place.split_first_chunk_mut::<OPT_OCTETS>() else { return };
        let [u0, u1] = UDP_PAYLOAD.to_be_bytes();
        let [l0, l1] = (option.len() as u16).to_be_bytes();
        *head = [0, 0, OPT, u0, u1, 0, 0, u8::from(opt.dnssec_ok) << 7, 0, l0, l1];
        let Some(subnet) = self.asked.subnet else { return };
        if let Some(asked) = self.packet.get(subnet.at..subnet.at + option.len()) {
            option.copy_from_slice(asked);
        }
        let bits = if subnet.address.is_ipv4() { 32 } else { 128 };
        put(option, SCOPE_AT, [scope.min(bits)]);
    }
}

impl<'s> Reply<'s> {
    /// An answer, the same for everybody.
    #[inline(always)]
    fn of(records: &'s [u8], counts: [u16; 3], open: Open<'s>) -> Reply<'s> {
        Reply { records, more: &[], counts, open, rcode: Rcode::NoError, authoritative: true, scope: 0, served: None }
    }

    /// Writes the records behind a question for a name of so many octets.
    #[inline]
    fn write(&self, place: &mut [u8], name_octets: usize) {
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
                for &at in &template.pointers {
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
