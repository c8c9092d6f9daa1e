//! Finishes a response: what comes last, OPT and TSIG, and then the header.

use super::edns::ResponseOpt;
use super::tsig::Tsig;
use super::{HEADER_OCTETS, Rcode};

/// A response up to its last record, with what its header will say.
#[derive(Clone, Copy, Debug)]
pub struct Body {
    /// Octets of header, question and records.
    pub end: usize,
    pub has_question: bool,
    /// Records in the answer, authority and additional sections.
    pub counts: [u16; 3],
    pub rcode: Rcode,
    /// AA (RFC 1035 section 4.1.1): of the first name in the answer.
    pub authoritative: bool,
    /// TC (RFC 2181 section 9).
    pub truncated: bool,
    /// SCOPE PREFIX-LENGTH (RFC 7871): the narrowest of what went into the answer.
    pub scope: u8,
}

/// Octets that records may take behind the question and in front of OPT and TSIG: of `limit` and of those
/// there are in all. `None` where there are not enough for OPT and TSIG.
#[inline(always)]
pub fn room(out: &[u8], limit: usize, opt: Option<&ResponseOpt<'_>>, tsig: Option<&Tsig<'_>>) -> Option<usize> {
    let reserved = opt.map_or(0, ResponseOpt::octets) + tsig.map_or(0, Tsig::octets);
    limit.min(out.len()).checked_sub(reserved)
}

/// Finishes the response that begins with a query's header. Gives the length of the whole, which [`room`]
/// has made sure is there.
#[inline(always)]
pub fn finish(out: &mut [u8], body: &Body, opt: Option<&ResponseOpt<'_>>, tsig: Option<&Tsig<'_>>) -> usize {
    let Some((message, mut rest)) = out.split_at_mut_checked(body.end) else { return 0 };
    let Some(head) = message.first_chunk_mut::<HEADER_OCTETS>() else { return 0 };
    let [answers, authorities, additionals] = body.counts;
    let additionals = additionals + u16::from(opt.is_some()) + u16::from(tsig.is_some());
    // Opcode and RD are the query's.
    head[2] = 0x80 | head[2] & 0x79 | u8::from(body.authoritative) << 2 | u8::from(body.truncated) << 1;
    head[3] = body.rcode.low_bits();
    let ([a0, a1], [n0, n1], [d0, d1]) = (answers.to_be_bytes(), authorities.to_be_bytes(), additionals.to_be_bytes());
    head[4..].copy_from_slice(&[0, u8::from(body.has_question), a0, a1, n0, n1, d0, d1]);
    let mut length = body.end;
    if let Some(opt) = opt {
        let Some((place, after)) = rest.split_at_mut_checked(opt.octets()) else { return 0 };
        opt.write(body.rcode, body.scope, place);
        length += place.len();
        rest = after;
    }
    if let Some(tsig) = tsig {
        let Some(place) = rest.get_mut(..tsig.octets()) else { return 0 };
        tsig.write(place);
        length += place.len();
    }
    length
}
