//! Begins and ends a response: question first, then records by [`Records`], then OPT and TSIG, and
//! last the header. What does not fit is an error the caller answers with TC.

use std::ops::{Deref, DerefMut};

use super::records::Written;
pub use super::records::{Full, Owner, QUESTION_OWNER, Records, Section};

use super::edns::ResponseOpt;
use super::query::{Header, Question};
use super::tsig::Tsig;
use super::{HEADER_OCTETS, Rcode};

/// A response being written.
pub struct Response<'o>(Records<'o>);

impl<'o> Response<'o> {
    /// Begins a response within `limit` octets, of which `reserved` are kept for OPT and TSIG. `None`
    /// where not even header and question fit.
    pub fn begin(
        out: &'o mut [u8],
        question: Option<&Question<'_>>,
        limit: usize,
        reserved: usize,
    ) -> Option<Response<'o>> {
        let limit = limit.min(out.len()).checked_sub(reserved)?;
        Records::begin(out, question.map_or(&[], |question| question.wire), limit).map(Response)
    }

    /// Writes the header, and what comes last if it is to be there: OPT, then TSIG. Gives the
    /// length of the whole message.
    pub fn finish(
        self,
        header: Header,
        rcode: Rcode,
        authoritative: bool,
        opt: Option<&ResponseOpt<'_>>,
        tsig: Option<&Tsig<'_>>,
    ) -> usize {
        let Written { out, len, question_end, counts, truncated, .. } = self.0.end();
        let flags = 0x80
            | header.opcode << 3
            | u8::from(authoritative) << 2
            | u8::from(truncated) << 1
            | u8::from(header.recursion_desired);
        let questions = u16::from(question_end > HEADER_OCTETS);
        let additional = counts[2] + u16::from(opt.is_some()) + u16::from(tsig.is_some());
        let mut end = len;
        if let Some(opt) = opt {
            end += opt.octets();
            if let Some(place) = out.get_mut(len..end) {
                opt.write(place);
            }
        }
        if let Some(tsig) = tsig {
            let begin = end;
            end += tsig.octets();
            if let Some(place) = out.get_mut(begin..end) {
                tsig.write(place);
            }
        }
        let Some(head) = out.first_chunk_mut::<HEADER_OCTETS>() else { return 0 };
        let [id0, id1] = header.id;
        head[..4].copy_from_slice(&[id0, id1, flags, rcode as u8 & 0x0f]);
        let counts = [questions, counts[0], counts[1], additional];
        for (place, count) in head[4..].chunks_exact_mut(2).zip(counts) {
            place.copy_from_slice(&count.to_be_bytes());
        }
        end
    }
}

impl<'o> Deref for Response<'o> {
    type Target = Records<'o>;

    fn deref(&self) -> &Records<'o> {
        &self.0
    }
}

impl<'o> DerefMut for Response<'o> {
    fn deref_mut(&mut self) -> &mut Records<'o> {
        &mut self.0
    }
}
