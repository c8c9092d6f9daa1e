//! Reads a query: header, question, and of all other records only OPT and TSIG. Copies nothing.

use crate::model::RecordType;
use crate::model::name::MAX_NAME_OCTETS;

use super::HEADER_OCTETS;
use super::edns::Edns;
use super::tsig::Tsig;

const IN: u16 = 1;

/// A query, as far as it is understood. What is wrong with it is in [`Problem`].
#[derive(Clone, Copy, Debug)]
pub struct Query<'a> {
    pub header: Header,
    /// Present where there is one whole question.
    pub question: Option<Question<'a>>,
    /// Present where there was one well-formed OPT record before anything went wrong.
    pub edns: Option<Edns>,
    /// Present where the query is signed: its last record is a well-formed TSIG.
    pub tsig: Option<Tsig<'a>>,
}

#[derive(Clone, Copy, Debug)]
pub struct Header {
    pub id: [u8; 2],
    pub opcode: u8,
    /// Copied into the response (RFC 1035 section 4.1.1).
    pub recursion_desired: bool,
}

#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// QNAME, QTYPE and QCLASS as they came, to be echoed octet by octet.
    pub wire: &'a [u8],
    pub qtype: RecordType,
    pub qclass: u16,
}

impl Question<'_> {
    pub fn is_class_in(&self) -> bool {
        self.qclass == IN
    }

    /// QNAME, as it came.
    pub fn name(&self) -> &[u8] {
        self.wire.split_last_chunk::<4>().map_or(&[], |(name, _)| name)
    }
}

/// Why a message gets an error, or nothing, instead of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Problem {
    /// Too short for a header: no ID to answer to.
    Short,
    /// QR is set: never answered, lest two servers talk to each other for ever.
    Response,
    /// Does not parse (RFC 1035 section 4.1.1 RCODE 1).
    Malformed,
    /// An opcode other than QUERY.
    Opcode,
    /// An EDNS version above 0 (RFC 6891 section 6.1.3).
    Version,
}

/// Reads a message. The query is filled in as far as it was understood; `Some(problem)` says
/// what kept it from being answered.
pub fn read(packet: &[u8]) -> (Query<'_>, Option<Problem>) {
    let mut query = Query {
        header: Header { id: [0; 2], opcode: 0, recursion_desired: false },
        question: None,
        edns: None,
        tsig: None,
    };
    let Some((header, _)) = packet.split_first_chunk::<HEADER_OCTETS>() else { return (query, Some(Problem::Short)) };
    query.header =
        Header { id: [header[0], header[1]], opcode: header[2] >> 3 & 0x0f, recursion_desired: header[2] & 1 != 0 };
    if header[2] & 0x80 != 0 {
        return (query, Some(Problem::Response));
    }
    if query.header.opcode != 0 {
        return (query, Some(Problem::Opcode));
    }
    let problem = match read_body(packet, header, &mut query) {
        None => Some(Problem::Malformed),
        Some(()) if query.edns.is_some_and(|edns| edns.version != 0) => Some(Problem::Version),
        Some(()) => None,
    };
    (query, problem)
}

fn read_body<'a>(packet: &'a [u8], header: &[u8; HEADER_OCTETS], query: &mut Query<'a>) -> Option<()> {
    let count = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
    // "A DNS message with OPCODE = 0 MUST NOT include a QDCOUNT parameter whose value is greater
    // than 1" (RFC 9619 section 4); and without a question there is nothing to answer.
    if count(4) != 1 {
        return None;
    }
    let body = packet.get(HEADER_OCTETS..)?;
    let question_octets = crate::model::name::wire_len(body)? + 4;
    let (wire, mut rest) = body.split_at_checked(question_octets)?;
    let &[t0, t1, c0, c1] = wire.last_chunk::<4>()?;
    query.question =
        Some(Question { wire, qtype: RecordType(u16::from_be_bytes([t0, t1])), qclass: u16::from_be_bytes([c0, c1]) });
    let others = u32::from(count(6)) + u32::from(count(8));
    for _ in 0..others {
        rest = Extra::read(rest)?.rest;
    }
    for _ in 0..count(10) {
        // "The TSIG RR MUST be the last RR in the additional data section": one that is not, or a
        // second one, is FORMERR (RFC 8945 section 5.1, 5.2).
        if query.tsig.is_some() {
            query.tsig = None;
            return None;
        }
        let owner_at = packet.len() - rest.len();
        let extra = Extra::read(rest)?;
        rest = extra.rest;
        if extra.rtype == RecordType::TSIG {
            query.tsig = Some(Tsig::read(packet, owner_at, extra.class, extra.ttl, extra.rdata)?);
        }
        if extra.rtype == RecordType::OPT {
            // "If a query message with more than one OPT RR is received, a FORMERR MUST be
            // returned"; its owner "MUST be 0 (root domain)" (RFC 6891 section 6.1.1, 6.1.2).
            if query.edns.is_some() || extra.owner != [0] {
                return None;
            }
            // Even a malformed OPT shows that the asker speaks EDNS, and FORMERR says so too.
            let edns = Edns::parse(extra.class, extra.ttl, extra.rdata);
            query.edns = Some(edns.unwrap_or(Edns { udp_payload: extra.class, ..Edns::default() }));
            edns.ok()?;
        }
    }
    rest.is_empty().then_some(())
}

/// A record after the question, of which only OPT and TSIG matter.
struct Extra<'a> {
    owner: &'a [u8],
    rtype: RecordType,
    class: u16,
    ttl: u32,
    rdata: &'a [u8],
    rest: &'a [u8],
}

impl Extra<'_> {
    fn read(wire: &[u8]) -> Option<Extra<'_>> {
        let (owner, after_owner) = wire.split_at_checked(skip_name(wire)?)?;
        let (&[t0, t1, c0, c1, l0, l1, l2, l3, r0, r1], rest) = after_owner.split_first_chunk::<10>()?;
        let (rdata, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes([r0, r1])))?;
        Some(Extra {
            owner,
            rtype: RecordType(u16::from_be_bytes([t0, t1])),
            class: u16::from_be_bytes([c0, c1]),
            ttl: u32::from_be_bytes([l0, l1, l2, l3]),
            rdata,
            rest,
        })
    }
}

/// The length of a name that may end in a pointer (RFC 1035 section 4.1.4), which is not followed.
fn skip_name(wire: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        match *wire.get(at)? {
            0 => return Some(at + 1),
            len @ 1..=63 => at += 1 + usize::from(len),
            0xc0.. => return Some(at + 2),
            _ => return None,
        }
        if at > MAX_NAME_OCTETS {
            return None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn message(counts: [u16; 4], body: &[u8]) -> Vec<u8> {
        let mut wire = vec![0xab, 0xcd, 0x01, 0x00];
        wire.extend(counts.iter().flat_map(|count| count.to_be_bytes()));
        wire.extend_from_slice(body);
        wire
    }

    const QUESTION: &[u8] = b"\x03WwW\x07example\0\0\x01\0\x01";
    const OPT: &[u8] = b"\0\0\x29\x04\xd0\0\0\x80\0\0\0";

    #[test]
    fn a_plain_query_is_read() {
        let wire = message([1, 0, 0, 1], &[QUESTION, OPT].concat());
        let (query, problem) = read(&wire);
        assert_eq!(problem, None);
        let question = query.question.expect("a question");
        assert_eq!(question.name(), b"\x03WwW\x07example\0");
        assert_eq!((question.qtype, question.wire), (RecordType::A, QUESTION));
        assert_eq!(query.edns.map(|edns| (edns.udp_payload, edns.dnssec_ok)), Some((1232, true)));
        assert!(query.header.recursion_desired);
    }

    #[test]
    fn what_does_not_parse_is_malformed() {
        for (counts, body) in [
            ([0, 0, 0, 0], vec![]),
            ([2, 0, 0, 0], [QUESTION, QUESTION].concat()), // RFC 9619
            ([1, 0, 0, 0], vec![]),                        // counts that lie
            ([1, 1, 0, 0], QUESTION.to_vec()),
            ([1, 0, 0, 3], [QUESTION, OPT].concat()),
            ([1, 0, 0, 2], [QUESTION, OPT, OPT].concat()), // RFC 6891 6.1.1
            ([1, 0, 0, 0], b"\xc0\x0c\0\x01\0\x01".to_vec()), // a pointer in QNAME
            ([1, 0, 0, 0], [QUESTION, b"trailing"].concat()),
            ([1, 0, 0, 1], [QUESTION, b"\x01x", OPT].concat()), // OPT's owner is not the root
        ] {
            let wire = message(counts, &body);
            assert_eq!(read(&wire).1, Some(Problem::Malformed), "{counts:?} {body:?}");
        }
    }

    #[test]
    fn rfc8945_5_1_tsig_is_the_last_record_or_malformed() {
        const TSIG: &[u8] = b"\x01k\0\0\xfa\0\xff\0\0\0\0\0\x11\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
        let last = message([1, 0, 0, 2], &[QUESTION, OPT, TSIG].concat());
        let (query, problem) = read(&last);
        assert!(problem.is_none() && query.tsig.is_some() && query.edns.is_some());
        for body in [[QUESTION, TSIG, OPT].concat(), [QUESTION, TSIG, TSIG].concat()] {
            let wire = message([1, 0, 0, 2], &body);
            let (query, problem) = read(&wire);
            assert_eq!((problem, query.tsig.is_some()), (Some(Problem::Malformed), false));
        }
    }

    #[test]
    fn responses_and_scraps_are_told_apart() {
        let mut wire = message([1, 0, 0, 0], QUESTION);
        assert_eq!(read(&wire[..11]).1, Some(Problem::Short));
        wire[2] = 0x80;
        assert_eq!(read(&wire).1, Some(Problem::Response));
        wire[2] = 0x28;
        assert_eq!(read(&wire).1, Some(Problem::Opcode));
    }

    proptest! {
        #[test]
        fn no_octets_make_it_panic(octets in prop::collection::vec(any::<u8>(), 0..600)) {
            read(&octets);
        }

        #[test]
        fn no_body_makes_it_panic(
            counts in prop::array::uniform4(0u16..4),
            body in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            read(&message(counts, &[QUESTION, &body].concat()));
        }
    }
}
