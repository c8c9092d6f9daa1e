//! The length of the reply that answers with an RRset, as the server writes it.
//!
//! What is longer than a message is truncated over TCP too: resolvers ask again and again, and never
//! have it.

use crate::model::{Name, OwnedSet, RrSet};
use crate::wire::HEADER_OCTETS;
use crate::wire::edns::OPT_OCTETS;
use crate::wire::records::{Owner, QUESTION_OWNER, Records, Section};

/// The longest message (RFC 1035 section 4.2.2).
const MAX_MESSAGE: usize = u16::MAX as usize;
/// Room for OPT with the longest name server identifier and an IPv6 client subnet.
const OPT_ROOM: usize = OPT_OCTETS + (4 + 128) + (4 + 4 + 16);
/// Octets that records may take together with header and question.
pub(super) const MAX_ANSWER: usize = MAX_MESSAGE - OPT_ROOM;
/// Type, class, TTL, RDLENGTH, and the owner as a pointer.
const RECORD_HEAD: usize = 12;
/// QTYPE and QCLASS.
const QUESTION_TAIL: usize = 4;

/// Octets of the reply that answers with this set, where these are more than [`MAX_ANSWER`].
pub(super) fn too_long_an_answer(owner: &Name, set: &RrSet<'_>) -> Option<usize> {
    written(owner, set, &[], Section::Answer)
}

/// Octets of the referral by this NS set with these addresses of its servers, where these are more than
/// [`MAX_ANSWER`] (RFC 9471 section 3.1: glue that does not fit is truncation).
pub(super) fn too_long_a_referral(cut: &Name, ns: &RrSet<'_>, glue: &[(&Name, OwnedSet)]) -> Option<usize> {
    written(cut, ns, glue, Section::Authority)
}

fn written(owner: &Name, set: &RrSet<'_>, glue: &[(&Name, OwnedSet)], section: Section) -> Option<usize> {
    let sets = std::iter::once((owner, *set)).chain(glue.iter().map(|(name, set)| (*name, set.as_set())));
    // A wildcard answers for longer names than its own, a delegation for all below it.
    let asked = if owner.is_wildcard() || section == Section::Authority { 255 } else { owner.as_wire().len() };
    let longest = |owner: &Name, set: &RrSet<'_>| -> usize {
        set.rdatas().map(|rdata| RECORD_HEAD + owner.as_wire().len() + rdata.len()).sum()
    };
    let begin = HEADER_OCTETS + asked + QUESTION_TAIL;
    let most: usize = begin + sets.clone().map(|(owner, set)| longest(owner, &set)).sum::<usize>();
    if most <= MAX_ANSWER {
        return None; // the usual case: even without compression
    }
    let mut out = vec![0; most];
    let question = [&[0; HEADER_OCTETS], owner.as_wire(), &[0; QUESTION_TAIL]].concat();
    let mut records = Records::begin(&mut out, &question, most)?;
    for (at, (name, set)) in sets.enumerate() {
        let owner = if at == 0 && section == Section::Answer { QUESTION_OWNER } else { Owner::Name(name.as_wire()) };
        let place = if at == 0 { section } else { Section::Additional };
        let _has_room = records.set(place, owner, &set);
    }
    let octets = records.end().len + asked - owner.as_wire().len();
    (octets > MAX_ANSWER).then_some(octets)
}
