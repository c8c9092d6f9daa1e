//! Reads a query: header, question, and of all other records only OPT and TSIG. Copies nothing but the
//! name, in lower case.
//!
//! ```text
//!   header ─▶ question ─┬─ nothing more, or OPT alone: parse_usual ─▶ Query
//!                       └─ whatever else: parse, every record ──────▶ Query, or Rejected
//! ```

use std::num::NonZeroU16;

use crate::model::RecordType;
use crate::model::name::MAX_NAME_OCTETS;

use super::edns::{Edns, Flaw};
use super::name::LowerName;
use super::tsig::Tsig;
use super::{CLASS_IN, HEADER_OCTETS};

/// A well-formed query with one question.
#[derive(Clone, Copy, Debug)]
pub struct Query<'p> {
    /// Header and question as they came: the response begins with them.
    pub asked: &'p [u8],
    pub qtype: RecordType,
    pub qclass: u16,
    pub edns: Option<Edns<'p>>,
    /// The offset in the packet of its last record, a TSIG, where the query is signed.
    tsig_at: Option<NonZeroU16>,
}

impl Query<'_> {
    #[inline(always)]
    pub fn is_signed(&self) -> bool {
        self.tsig_at.is_some()
    }

    /// The signature of this query, which was read from `packet`.
    #[cold]
    pub fn tsig<'p>(&self, packet: &'p [u8]) -> Option<Tsig<'p>> {
        let at = usize::from(self.tsig_at?.get());
        Extra::read(packet.get(at..)?)?.tsig(packet, at)
    }

    #[inline(always)]
    pub fn is_class_in(&self) -> bool {
        self.qclass == CLASS_IN
    }

    /// Tells whether QNAME, which is `name` in lower case, came in lower case.
    #[inline(always)]
    pub fn is_lower(&self, name: &LowerName) -> bool {
        self.asked.get(HEADER_OCTETS..).is_some_and(|question| question.starts_with(name.as_wire()))
    }
}

/// A message that gets an error or nothing.
#[derive(Clone, Copy, Debug)]
pub struct Rejected<'p> {
    pub problem: Problem,
    /// The header, as far as there is one, with the question where one was understood.
    pub asked: &'p [u8],
    /// Of the first OPT record before anything went wrong, wherever it stood: "If an OPT record is present in a
    /// received request, compliant responders MUST include an OPT record" (RFC 6891 section 6.1.1).
    pub edns: Option<Edns<'p>>,
}

/// The reason why a message gets an error, or nothing, instead of an answer.
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

/// Reads a query as nearly all are: one question, and no record but OPT. QNAME goes into `name`. `None` for
/// anything else, which is for [`parse`].
#[inline(always)]
pub fn parse_usual<'p>(packet: &'p [u8], name: &mut LowerName) -> Option<Query<'p>> {
    let &[_, _, flags, _, ref counts @ ..] = packet.first_chunk::<HEADER_OCTETS>()?;
    let others = u64::from_be_bytes(*counts) ^ ONE_QUESTION;
    if flags & NO_QUERY != 0 || others > ONE_ADDITIONAL {
        return None;
    }
    let (query, rest) = read_question(packet, name)?;
    match others {
        0 => rest.is_empty().then_some(query),
        _ => Some(Query { edns: Some(Edns::read_alone(rest)?), ..query }),
    }
}

/// Reads any message; QNAME goes into `name`, which is no name any more where there is none.
#[cold]
pub fn parse<'p>(packet: &'p [u8], name: &mut LowerName) -> Result<Query<'p>, Rejected<'p>> {
    let rejected = |problem, asked, edns| Err(Rejected { problem, asked, edns });
    let Some(header) = packet.first_chunk::<HEADER_OCTETS>() else { return rejected(Problem::Short, packet, None) };
    let &[_, _, flags, _, q0, q1, ..] = header;
    if flags & NO_QUERY != 0 {
        return match flags & QR {
            0 => read_other_opcode(packet, header),
            _ => rejected(Problem::Response, header, None),
        };
    }
    // "A DNS message with OPCODE = 0 MUST NOT include a QDCOUNT parameter whose value is greater
    // than 1" (RFC 9619 section 4); and without a question there is nothing to answer.
    let question = if [q0, q1] == [0, 1] { read_question(packet, name) } else { None };
    let Some((query, rest)) = question else {
        return rejected(Problem::Malformed, header, Others::of_any(packet).0.edns);
    };
    let mut others = Others::default();
    let read = others.read(packet, rest);
    let Others { edns, tsig_at, is_new_version } = others;
    match read {
        Some(()) if !is_new_version => Ok(Query { edns, tsig_at, ..query }),
        Some(()) => rejected(Problem::Version, query.asked, edns),
        None => rejected(Problem::Malformed, query.asked, edns),
    }
}

/// A request of another kind. Most are made up like queries (RFC 6895 section 2), so an OPT record is looked
/// for; one that reads otherwise is no worse for it.
fn read_other_opcode<'p>(packet: &'p [u8], header: &'p [u8]) -> Result<Query<'p>, Rejected<'p>> {
    let (Others { edns, is_new_version, .. }, read) = Others::of_any(packet);
    // "If a responder does not implement the VERSION level of the request, then it MUST respond with
    // RCODE=BADVERS" (RFC 6891 section 6.1.3).
    let problem = if read.is_some() && is_new_version { Problem::Version } else { Problem::Opcode };
    Err(Rejected { problem, asked: header, edns })
}

/// All counts of a header: one question and nothing more.
const ONE_QUESTION: u64 = 1 << 48;
/// The counts behind that of questions: one additional record and nothing more.
const ONE_ADDITIONAL: u64 = 1;
/// QTYPE and QCLASS.
const TYPE_AND_CLASS_OCTETS: usize = 4;
/// In the third octet of a header.
const QR: u8 = 0x80;
/// The same, and all opcodes but QUERY.
const NO_QUERY: u8 = 0xf8;

/// Reads the question, and gives what comes behind it.
#[inline(always)]
fn read_question<'p>(packet: &'p [u8], name: &mut LowerName) -> Option<(Query<'p>, &'p [u8])> {
    let name_end = HEADER_OCTETS + name.read(packet.get(HEADER_OCTETS..)?)?;
    let (asked, rest) = packet.split_at_checked(name_end + TYPE_AND_CLASS_OCTETS)?;
    let &[t0, t1, c0, c1] = asked.last_chunk::<TYPE_AND_CLASS_OCTETS>()?;
    let (qtype, qclass) = (RecordType(u16::from_be_bytes([t0, t1])), u16::from_be_bytes([c0, c1]));
    Some((Query { asked, qtype, qclass, edns: None, tsig_at: None }, rest))
}

/// The facts that records behind the question say.
#[derive(Default)]
struct Others<'p> {
    edns: Option<Edns<'p>>,
    tsig_at: Option<NonZeroU16>,
    /// Of EDNS.
    is_new_version: bool,
}

impl<'p> Others<'p> {
    /// Reads what the records of a message say, however many questions are in front of them, as far as it can be read.
    fn of_any(packet: &'p [u8]) -> (Others<'p>, Option<()>) {
        let mut others = Others::default();
        let read = skip_questions(packet).and_then(|rest| others.read(packet, rest));
        (others, read)
    }

    /// Reads records up to the end of the packet. `None` where anything is malformed.
    fn read(&mut self, packet: &'p [u8], mut rest: &'p [u8]) -> Option<()> {
        let &[.., a0, a1, n0, n1, d0, d1] = packet.first_chunk::<HEADER_OCTETS>()?;
        let before = [[a0, a1], [n0, n1]].map(|count| u32::from(u16::from_be_bytes(count)));
        for _ in 0..before.iter().sum() {
            let extra = Extra::read(rest)?;
            rest = extra.rest;
            // OPT belongs into the additional section (RFC 6891 section 6.1.1). So does TSIG: "in any other
            // position" it is FORMERR (RFC 8945 section 5.2).
            match extra.rtype {
                RecordType::OPT => {
                    self.read_opt(&extra);
                    return None;
                }
                RecordType::TSIG => return None,
                _ => {}
            }
        }
        for _ in 0..u16::from_be_bytes([d0, d1]) {
            // "The TSIG RR MUST be the last RR in the additional data section": one that is not, or a
            // second one, is FORMERR (RFC 8945 section 5.1, 5.2).
            if self.tsig_at.is_some() {
                return None;
            }
            let at = packet.len() - rest.len();
            let extra = Extra::read(rest)?;
            rest = extra.rest;
            match extra.rtype {
                RecordType::TSIG => {
                    extra.tsig(packet, at)?;
                    self.tsig_at = NonZeroU16::new(u16::try_from(at).ok()?);
                }
                RecordType::OPT => self.read_opt(&extra)?,
                _ => {}
            }
        }
        rest.is_empty().then_some(())
    }

    fn read_opt(&mut self, record: &Extra<'p>) -> Option<()> {
        // "If a query message with more than one OPT RR is received, a FORMERR MUST be
        // returned" (RFC 6891 section 6.1.1).
        if self.edns.is_some() {
            return None;
        }
        // Even a flawed OPT shows that the asker speaks EDNS, and the error says so too.
        let dnssec_ok = record.ttl[2] & 0x80 != 0;
        let bare = Edns { udp_payload: record.class, dnssec_ok, ..Edns::default() };
        let read = Edns::read(record.class, record.ttl, record.rdata);
        self.edns = Some(*read.as_ref().unwrap_or(&bare));
        self.is_new_version = read == Err(Flaw::Version);
        // Its owner "MUST be 0 (root domain)" (RFC 6891 section 6.1.2).
        (read != Err(Flaw::Malformed) && record.owner == [0]).then_some(())
    }
}

/// A record after the question, of which only OPT and TSIG matter.
struct Extra<'p> {
    owner: &'p [u8],
    rtype: RecordType,
    class: u16,
    ttl: [u8; 4],
    rdata: &'p [u8],
    rest: &'p [u8],
}

impl<'p> Extra<'p> {
    fn read(wire: &'p [u8]) -> Option<Extra<'p>> {
        let (owner, after_owner) = wire.split_at_checked(skip_name(wire)?)?;
        let (&[t0, t1, c0, c1, l0, l1, l2, l3, r0, r1], rest) = after_owner.split_first_chunk::<10>()?;
        let (rdata, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes([r0, r1])))?;
        Some(Extra {
            owner,
            rtype: RecordType(u16::from_be_bytes([t0, t1])),
            class: u16::from_be_bytes([c0, c1]),
            ttl: [l0, l1, l2, l3],
            rdata,
            rest,
        })
    }

    /// This record, which is at `at` of the message, as a TSIG. `None` where it is malformed.
    fn tsig(&self, message: &'p [u8], at: usize) -> Option<Tsig<'p>> {
        Tsig::read(message, at, self.class, u32::from_be_bytes(self.ttl), self.rdata)
    }
}

/// The octets behind the questions of a message. `None` where they do not fit the packet.
fn skip_questions(packet: &[u8]) -> Option<&[u8]> {
    let (&[_, _, _, _, q0, q1, ..], mut rest) = packet.split_first_chunk::<HEADER_OCTETS>()?;
    for _ in 0..u16::from_be_bytes([q0, q1]) {
        rest = rest.get(skip_name(rest)? + TYPE_AND_CLASS_OCTETS..)?;
    }
    Some(rest)
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

    fn read(packet: &[u8]) -> Result<Query<'_>, Rejected<'_>> {
        parse(packet, &mut LowerName::new())
    }

    fn problem(packet: &[u8]) -> Option<Problem> {
        read(packet).err().map(|rejected| rejected.problem)
    }

    #[test]
    fn a_plain_query_is_read() {
        let (wire, mut name) = (message([1, 0, 0, 1], &[QUESTION, OPT].concat()), LowerName::new());
        let query = parse_usual(&wire, &mut name).expect("a query");
        assert_eq!((name.as_wire(), query.is_lower(&name)), (&b"\x03www\x07example\0"[..], false));
        assert_eq!((query.qtype, query.is_class_in(), &query.asked[HEADER_OCTETS..]), (RecordType::A, true, QUESTION));
        assert_eq!(query.edns.map(|edns| (edns.udp_payload, edns.dnssec_ok)), Some((1232, true)));
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
            ([1, 1, 0, 0], [QUESTION, OPT].concat()),           // OPT in the answer section
            ([1, 0, 1, 0], [QUESTION, OPT].concat()),           // or in the authority section
        ] {
            let wire = message(counts, &body);
            assert_eq!(problem(&wire), Some(Problem::Malformed), "{counts:?} {body:?}");
        }
    }

    #[test]
    fn what_is_rejected_still_says_what_was_understood() {
        let twice = message([1, 0, 0, 2], &[QUESTION, OPT, OPT].concat());
        let rejected = read(&twice).expect_err("two OPT records");
        assert_eq!((rejected.asked, rejected.edns.is_some()), (&twice[..HEADER_OCTETS + QUESTION.len()], true));
        let new = message([1, 0, 0, 1], &[QUESTION, b"\0\0\x29\x04\xd0\0\x01\x80\0\0\0"].concat());
        let rejected = read(&new).expect_err("version 1");
        assert_eq!((rejected.problem, rejected.edns.map(|edns| edns.dnssec_ok)), (Problem::Version, Some(true)));
        for (counts, body) in [
            ([0, 0, 0, 1], OPT.to_vec()),
            ([2, 0, 0, 1], [QUESTION, b"\xc0\x0c\0\x01\0\x01", OPT].concat()),
            ([1, 1, 0, 0], [QUESTION, OPT].concat()),
            ([1, 0, 0, 1], [QUESTION, b"\x01x", OPT].concat()),
        ] {
            let wire = message(counts, &body);
            let edns = read(&wire).expect_err("FORMERR").edns;
            assert_eq!(edns.map(|edns| (edns.udp_payload, edns.dnssec_ok)), Some((1232, true)), "{counts:?}");
        }
        let scrap = message([1, 0, 0, 0], b"\x03ab");
        assert_eq!(read(&scrap).expect_err("no name").asked, &scrap[..HEADER_OCTETS]);
    }

    #[test]
    fn rfc8945_5_1_tsig_is_the_last_record_or_malformed() {
        const TSIG: &[u8] = b"\x01k\0\0\xfa\0\xff\0\0\0\0\0\x11\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
        let last = message([1, 0, 0, 2], &[QUESTION, OPT, TSIG].concat());
        let query = read(&last).expect("a signed query");
        assert!(query.is_signed() && query.tsig(&last).is_some() && query.edns.is_some());
        for body in [[QUESTION, TSIG, OPT].concat(), [QUESTION, TSIG, TSIG].concat()] {
            assert_eq!(problem(&message([1, 0, 0, 2], &body)), Some(Problem::Malformed));
        }
    }

    #[test]
    fn responses_and_scraps_are_told_apart() {
        let mut wire = message([1, 0, 0, 0], QUESTION);
        assert_eq!(problem(&wire[..11]), Some(Problem::Short));
        wire[2] = 0x80;
        assert_eq!(problem(&wire), Some(Problem::Response));
        wire[2] = 0x28;
        assert_eq!(problem(&wire), Some(Problem::Opcode));
        wire.truncate(20); // whatever its format is
        assert_eq!(problem(&wire), Some(Problem::Opcode));
    }

    proptest! {
        #[test]
        fn no_octets_make_it_panic(octets in prop::collection::vec(any::<u8>(), 0..600)) {
            let _ = read(&octets);
        }

        #[test]
        fn no_body_makes_it_panic(
            counts in prop::array::uniform4(0u16..4),
            body in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            let _ = read(&message(counts, &[QUESTION, &body].concat()));
        }

        #[test]
        fn a_usual_query_is_read_as_any_other(
            additional in 0u16..2,
            options in prop::collection::vec(prop_oneof![
                Just(&b"\0\x08\0\x07\0\x01\x18\0\x01\x02\x03"[..]), Just(&b"\0\x08\0\x06\0\x01\x10\0\x01\x02"[..]),
                Just(&b"\0\x08\0\x04\0\x03\0\0"[..]), Just(&b"\0\x08\0\x04\0\x01\x18\0"[..]),
                Just(&b"\0\x03\0\0"[..]), Just(&b"\0\x0a\0\x02ab"[..]), Just(&b"\0"[..])], 0..3),
            flip in prop::option::weighted(0.5, (0usize..60, any::<u8>())),
        ) {
            let options = options.concat();
            let mut wire = message([1, 0, 0, additional], &[QUESTION, OPT, &options].concat());
            let length_at = HEADER_OCTETS + QUESTION.len() + OPT.len() - 1;
            wire[length_at] = options.len() as u8;
            if let Some((at, octet)) = flip
                && at >= HEADER_OCTETS
                && let Some(place) = wire.get_mut(at)
            {
                *place ^= octet;
            }
            let mut names = [LowerName::new(), LowerName::new()];
            let [first, second] = &mut names;
            let (usual, any) = (parse_usual(&wire, first), parse(&wire, second));
            if let Some(usual) = usual {
                prop_assert_eq!(format!("{usual:?}"), format!("{:?}", any.expect("the same query")));
                prop_assert_eq!(names[0].as_wire(), names[1].as_wire());
            } else if let Ok(query) = any {
                prop_assert!(flip.is_some(), "{query:?} is usual");
            }
        }
    }
}
