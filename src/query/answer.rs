//! One packet's journey, sans I/O: parse, answer, encode. Allocates nothing, takes no lock, reads
//! no clock and logs nothing.

use crate::model::RecordType;
use crate::state::Snapshot;
use crate::steer::decide::Seen;
use crate::wire::Rcode;
use crate::wire::edns::{MIN_UDP_PAYLOAD, ResponseOpt, UDP_PAYLOAD};
use crate::wire::name::LowerName;
use crate::wire::query::{Problem, Query, Question, read};
use crate::wire::response::Response;
use crate::wire::tsig::Tsig;

use super::counters::{Counters, DropReason, Event, QueryTypeGroup};
use super::respond::{Asked, Outcome, respond};
use super::shortcut::{self, Way};
use super::transport::{Client, Transport};

/// Writes the response to `packet` into `out` and gives its length; 0 means to stay silent.
///
/// `out` should hold 1,232 octets for UDP and 65,535 for TCP; a shorter one only makes
/// truncation likelier.
pub fn answer(snapshot: &Snapshot, packet: &[u8], client: Client, out: &mut [u8], counters: &Counters) -> usize {
    let mut name = LowerName::new();
    let Some(asked) = shortcut::Asked::read(packet, &mut name) else {
        return answer_at_length(snapshot, packet, client, out, counters);
    };
    let way = Way { snapshot, asked: &asked, name: &name, packet, client };
    if let Some(length) = shortcut::answer(&way, out, counters) {
        return length;
    }
    match asked.query(packet) {
        Some((query, question)) => answer_question(snapshot, &query, &question, client, out, counters),
        None => answer_at_length(snapshot, packet, client, out, counters),
    }
}

/// As [`answer`], but nothing is copied that could be written: for tests that compare the two.
pub fn answer_at_length(
    snapshot: &Snapshot,
    packet: &[u8],
    client: Client,
    out: &mut [u8],
    counters: &Counters,
) -> usize {
    let (query, problem) = read(packet);
    let refusal = match problem {
        Some(Problem::Short) => return silent(counters, DropReason::Short),
        Some(Problem::Response) => return silent(counters, DropReason::Response),
        Some(Problem::Malformed) => Some(Rcode::FormErr),
        Some(Problem::Opcode) => Some(Rcode::NotImp),
        Some(Problem::Version) => Some(Rcode::BadVers),
        None => None,
    };
    match (refusal, query.question) {
        (None, Some(question)) => answer_question(snapshot, &query, &question, client, out, counters),
        (refusal, _) => refuse(&query, refusal.unwrap_or(Rcode::FormErr), client, out, counters),
    }
}

fn answer_question(
    snapshot: &Snapshot,
    query: &Query<'_>,
    question: &Question<'_>,
    client: Client,
    out: &mut [u8],
    counters: &Counters,
) -> usize {
    count_question(question.qtype, query.edns.is_some_and(|edns| edns.subnet.is_some()), counters);
    // "If a non-forwarding server does not recognize the key or algorithm used by the client [...]
    // the server MUST generate an error response with RCODE 9 (NOTAUTH) and TSIG ERROR 17 (BADKEY)"
    // (RFC 8945 section 5.2.1): there are no keys here.
    if query.tsig.is_some() {
        return refuse(query, Rcode::NotAuth, client, out, counters);
    }
    // Transfers are not offered (RFC 5936 section 4.2 forbids AXFR over UDP anyhow).
    if !question.is_class_in() || matches!(question.qtype, RecordType::AXFR | RecordType::IXFR) {
        return refuse(query, Rcode::Refused, client, out, counters);
    }
    let nsid = match query.edns {
        Some(edns) if edns.wants_nsid => &snapshot.nsid[..],
        _ => &[],
    };
    let subnet = query.edns.and_then(|edns| edns.subnet);
    let mut opt = query.edns.map(|edns| ResponseOpt {
        dnssec_ok: edns.dnssec_ok,
        extended_rcode: 0,
        subnet: subnet.map(|subnet| (subnet, 0)),
        nsid,
    });
    let reserved = opt.as_ref().map_or(0, ResponseOpt::octets);
    let Some(mut response) =
        Response::begin(out, Some(question), limit(client, query.edns.map(|edns| edns.udp_payload)), reserved)
    else {
        return 0; // a buffer too small for a header: the transport's mistake
    };
    let asked = Asked {
        question,
        source: Seen::Source(client.address),
        // "A SOURCE PREFIX-LENGTH of 0 means that the client does not want its network used"
        // (RFC 7871 section 7.1.2): then the resolver's address is all there is.
        subnet: subnet.filter(|subnet| subnet.prefix.len() > 0).map(|subnet| Seen::Subnet(subnet.prefix.address())),
    };
    let Outcome { rcode, authoritative, scope } = respond(snapshot, &asked, &mut response, counters);
    if let Some(ResponseOpt { subnet: Some((_, answered)), .. }) = &mut opt {
        *answered = scope;
    }
    count_response(rcode, response.is_truncated(), counters);
    response.finish(query.header, rcode, authoritative, opt.as_ref(), None)
}

/// An error, with OPT where the asker speaks EDNS (RFC 6891 section 7), and nothing else.
fn refuse(query: &Query<'_>, rcode: Rcode, client: Client, out: &mut [u8], counters: &Counters) -> usize {
    let opt = query.edns.map(|edns| ResponseOpt {
        dnssec_ok: edns.dnssec_ok,
        extended_rcode: (rcode as u16 >> 4) as u8,
        subnet: None,
        nsid: &[],
    });
    let tsig = query.tsig.filter(|_| rcode == Rcode::NotAuth);
    let reserved = opt.as_ref().map_or(0, ResponseOpt::octets) + tsig.as_ref().map_or(0, Tsig::octets);
    let limit = limit(client, query.edns.map(|edns| edns.udp_payload));
    // With the longest of names a TSIG record may not fit 512 octets: such a query gets no response.
    let Some(response) = Response::begin(out, query.question.as_ref(), limit, reserved) else { return 0 };
    count_response(rcode, false, counters);
    response.finish(query.header, rcode, false, opt.as_ref(), tsig.as_ref())
}

/// How long a response may be: over UDP what the asker takes, within what does not fragment.
/// `udp_payload` is what the asker says in EDNS.
pub(super) fn limit(client: Client, udp_payload: Option<u16>) -> usize {
    let octets = match (client.transport, udp_payload) {
        (Transport::Tcp, _) => u16::MAX,
        (Transport::Udp, None) => MIN_UDP_PAYLOAD,
        (Transport::Udp, Some(udp_payload)) => udp_payload.clamp(MIN_UDP_PAYLOAD, UDP_PAYLOAD),
    };
    usize::from(octets)
}

fn silent(counters: &Counters, reason: DropReason) -> usize {
    counters.add(Event::Dropped(reason));
    0
}

pub(super) fn count_question(qtype: RecordType, has_subnet: bool, counters: &Counters) {
    counters.add(Event::QueryType(match qtype {
        RecordType::A => QueryTypeGroup::A,
        RecordType::AAAA => QueryTypeGroup::Aaaa,
        RecordType::HTTPS => QueryTypeGroup::Https,
        _ => QueryTypeGroup::Other,
    }));
    if has_subnet {
        counters.add(Event::Ecs);
    }
}

pub(super) fn count_response(rcode: Rcode, truncated: bool, counters: &Counters) {
    counters.add(Event::Response(rcode as u16));
    if truncated {
        counters.add(Event::Truncated);
    }
}
