//! One packet's journey, sans I/O. Allocates nothing, takes no lock, reads no clock and logs nothing.
//!
//! ```text
//!   wire::query::parse ─▶ look up ─┬─ prebuilt: fast path, copied ─┬─▶ wire::response::finish
//!                                  └─ else: full path, written ────┘
//! ```

use std::cell::RefCell;

use crate::model::RecordType;
use crate::state::Snapshot;
use crate::state::lookup::names::NameMatch;
use crate::state::lookup::prebuilt::NameEntry;
use crate::wire::edns::{Edns, ResponseOpt};
use crate::wire::name::LowerName;
use crate::wire::query::{Problem, Query, Rejected, parse, parse_usual};
use crate::wire::records::Records;
use crate::wire::response::{Body, finish, room};
use crate::wire::tsig::Tsig;
use crate::wire::{HEADER_OCTETS, Rcode};

use super::client::{Client, Transport};
use super::counters::{Counters, DropReason, Event, QueryTypeGroup};
use super::question::Question;
use super::{fast_path, full_path};

/// Writes the response to `packet` into `out` and gives its length; 0 means to stay silent.
///
/// `out` should hold 1,232 octets for UDP and 65,535 for TCP; a shorter one only makes
/// truncation likelier.
pub fn answer(snapshot: &Snapshot, packet: &[u8], client: Client, out: &mut [u8], counters: &Counters) -> usize {
    NAME.with(|name| {
        if let Ok(mut name) = name.try_borrow_mut()
            && let Some(query) = parse_usual(packet, &mut name)
        {
            let question = Question { snapshot, query, client: &client, counters };
            return answer_question(Paths::Both, question, packet, &mut name, out);
        }
        answer_in_full(snapshot, packet, client, out, counters)
    })
}

thread_local! {
    /// The thread's room for the name it reads, which need not be cleared for each packet.
    static NAME: RefCell<LowerName> = const { RefCell::new(LowerName::new()) };
}

/// As [`answer`], but by the full path alone: for what is unusual, and for tests that compare the two.
#[cold]
pub fn answer_in_full(
    snapshot: &Snapshot,
    packet: &[u8],
    client: Client,
    out: &mut [u8],
    counters: &Counters,
) -> usize {
    let mut name = LowerName::new();
    match parse(packet, &mut name) {
        Ok(query) => {
            let question = Question { snapshot, query, client: &client, counters };
            answer_question(Paths::Full, question, packet, &mut name, out)
        }
        Err(rejected) => reject(&rejected, &client, out, counters),
    }
}

/// Writes an empty response that tells the asker to come again over TCP (TC; RFC 2181 section 9); 0 where `packet` is
/// no query, or a signed one.
#[cold]
pub fn truncated(packet: &[u8], client: Client, out: &mut [u8], counters: &Counters) -> usize {
    let mut name = LowerName::new();
    let Some(query) = parse(packet, &mut name).ok().filter(|query| !query.is_signed()) else { return 0 };
    let qtype = QueryTypeGroup::of(query.qtype);
    counters.add(Event::Truncated);
    let bare = Bare { rcode: Rcode::NoError, truncated: true, qtype, asked: query.asked };
    write_bare(bare, query.edns.as_ref(), None, &client, out, counters)
}

/// The paths that may be taken.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Paths {
    Both,
    Full,
}

/// Answers a question for `name`, which came in `packet`.
#[inline(always)]
fn answer_question(paths: Paths, question: Question<'_>, packet: &[u8], name: &mut LowerName, out: &mut [u8]) -> usize {
    let Question { snapshot, query, client, counters } = question;
    count_subnet(&query, counters);
    if let Some(rcode) = refusal(&query) {
        return refuse_question(rcode, question, packet, out);
    }
    let opt = query.edns.as_ref().map(|edns| ResponseOpt::of_answer(edns, &snapshot.nsid));
    let Some(room) = room(out, client.limit(query.edns.as_ref()), opt.as_ref(), None) else { return 0 };
    let found = snapshot.names.find_entry(name);
    if paths == Paths::Both
        && let Some(body) = fast_path::answer(&question, name, found, out, room)
    {
        return conclude(&body, &question, opt, out);
    }
    write_in_full(question, name, found, opt, out, room)
}

#[inline(never)]
fn write_in_full(
    question: Question<'_>,
    name: &mut LowerName,
    found: NameMatch<NameEntry<'_>>,
    opt: Option<ResponseOpt<'_>>,
    out: &mut [u8],
    room: usize,
) -> usize {
    match full_path::answer(&question, name, found, out, room) {
        Some(body) => conclude(&body, &question, opt, out),
        None => 0, // a buffer too small for the question: the transport's mistake
    }
}

/// Counts a response and finishes it.
#[inline(always)]
fn conclude(body: &Body, question: &Question<'_>, opt: Option<ResponseOpt<'_>>, out: &mut [u8]) -> usize {
    let Question { query, client, counters, .. } = question;
    count_response(client.transport, QueryTypeGroup::of(query.qtype), body.rcode, counters);
    if body.truncated {
        counters.add(Event::Truncated);
    }
    finish(out, body, opt.as_ref(), None)
}

/// The error that a well-formed query gets for what it asks, if it gets one.
#[inline(always)]
fn refusal(query: &Query<'_>) -> Option<Rcode> {
    // "If a non-forwarding server does not recognize the key or algorithm used by the client [...]
    // the server MUST generate an error response with RCODE 9 (NOTAUTH) and TSIG ERROR 17 (BADKEY)"
    // (RFC 8945 section 5.2.1): there are no keys here.
    if query.is_signed() {
        return Some(Rcode::NotAuth);
    }
    // Transfers are not offered (RFC 5936 section 4.2 forbids AXFR over UDP anyhow).
    let is_transfer = matches!(query.qtype, RecordType::AXFR | RecordType::IXFR);
    (!query.is_class_in() || is_transfer).then_some(Rcode::Refused)
}

#[cold]
fn refuse_question(rcode: Rcode, question: Question<'_>, packet: &[u8], out: &mut [u8]) -> usize {
    let Question { query, client, counters, .. } = question;
    let refusal = Bare { rcode, truncated: false, qtype: QueryTypeGroup::of(query.qtype), asked: query.asked };
    write_bare(refusal, query.edns.as_ref(), query.tsig(packet), client, out, counters)
}

/// Answers what is no query, or none that is understood.
#[cold]
fn reject(rejected: &Rejected<'_>, client: &Client, out: &mut [u8], counters: &Counters) -> usize {
    let rcode = match rejected.problem {
        Problem::Short => return silent(counters, DropReason::Short),
        Problem::Response => return silent(counters, DropReason::Response),
        Problem::Malformed => Rcode::FormErr,
        Problem::Opcode => Rcode::NotImp,
        Problem::Version => Rcode::BadVers,
    };
    let refusal = Bare { rcode, truncated: false, qtype: QueryTypeGroup::None, asked: rejected.asked };
    write_bare(refusal, rejected.edns.as_ref(), None, client, out, counters)
}

/// A response without records, and what it is for.
struct Bare<'p> {
    rcode: Rcode,
    truncated: bool,
    qtype: QueryTypeGroup,
    /// Header and question.
    asked: &'p [u8],
}

/// Writes a response with OPT where the asker speaks EDNS (RFC 6891 section 7), and nothing else.
#[cold]
fn write_bare(
    Bare { rcode, truncated, qtype, asked }: Bare<'_>,
    edns: Option<&Edns<'_>>,
    tsig: Option<Tsig<'_>>,
    client: &Client,
    out: &mut [u8],
    counters: &Counters,
) -> usize {
    let opt = edns.map(ResponseOpt::of_error);
    // With the longest of names a TSIG record may not fit 512 octets: such a query gets no response.
    let room = room(out, client.limit(edns), opt.as_ref(), tsig.as_ref());
    let Some(records) = room.and_then(|room| Records::begin(out, asked, room)) else { return 0 };
    let body = Body {
        end: records.end().len,
        has_question: asked.len() > HEADER_OCTETS,
        counts: [0; 3],
        rcode,
        authoritative: false,
        truncated,
        scope: 0,
    };
    count_response(client.transport, qtype, rcode, counters);
    finish(out, &body, opt.as_ref(), tsig.as_ref())
}

fn silent(counters: &Counters, reason: DropReason) -> usize {
    counters.add(Event::Dropped(reason));
    0
}

#[inline(always)]
fn count_subnet(query: &Query<'_>, counters: &Counters) {
    if query.edns.is_some_and(|edns| edns.subnet.is_some()) {
        counters.add(Event::Ecs);
    }
}

#[inline(always)]
fn count_response(transport: Transport, asked: QueryTypeGroup, rcode: Rcode, counters: &Counters) {
    counters.add(Event::Response(transport, asked, rcode as u16));
}
