//! Writes records as they stand in a message: names compressed (RFC 1035 section 4.1.4) against those
//! already written, the zone's case kept in RDATA, never past a limit.
//!
//! Used twice: when a snapshot is built, for the prebuilt answers (`state::prebuilt`), and by queries
//! for what is not prebuilt. So both are alike to the octet.

use crate::model::name::wire_len;
use crate::model::{RecordType, RrSet};

use super::HEADER_OCTETS;

/// Suffixes remembered for compression. Bounds the work per name, whatever a zone holds.
pub const MAX_SUFFIXES: usize = 32;
/// Pointers reach this far (RFC 1035 section 4.1.4).
const POINTER_REACH: usize = 0x4000;

/// No room left for what was to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// The section that a record goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    Answer = 0,
    Authority = 1,
    Additional = 2,
}

/// The owner of a record.
#[derive(Clone, Copy, Debug)]
pub enum Owner<'a> {
    /// A name that stands in the message at this offset.
    At(u16),
    /// A name in uncompressed wire form; compressed without regard to case.
    Name(&'a [u8]),
}

/// The question's name stands right behind the header.
pub const QUESTION_OWNER: Owner<'static> = Owner::At(HEADER_OCTETS as u16);

/// A message's records being written.
pub struct Records<'o> {
    out: &'o mut [u8],
    len: usize,
    limit: usize,
    question_end: usize,
    counts: [u16; 3],
    /// Empty until the first name is written; then those of the question come first.
    suffixes: [Suffix; MAX_SUFFIXES],
    suffix_count: usize,
    truncated: bool,
}

/// Records that are written.
pub struct Written<'o> {
    pub out: &'o mut [u8],
    /// Of the message up to here.
    pub len: usize,
    /// The offset where the question ends and the records begin.
    pub question_end: usize,
    /// By [`Section`].
    pub counts: [u16; 3],
    pub truncated: bool,
    /// The number of ends of names that were remembered, at most [`MAX_SUFFIXES`].
    pub suffixes: usize,
}

/// The end of a name in the message, to be pointed at.
#[derive(Clone, Copy, Default)]
struct Suffix {
    offset: u16,
    /// Its length without compression: names of other lengths are not this one.
    octets: u16,
}

/// A state to come back to.
#[derive(Clone, Copy)]
pub struct Mark {
    len: usize,
    counts: [u16; 3],
    suffix_count: usize,
}

impl<'o> Records<'o> {
    /// Begins behind a query's header and its question (QNAME in one piece, QTYPE and QCLASS), or behind
    /// the header alone, within `limit` octets. `None` where not even these fit.
    pub fn begin(out: &'o mut [u8], asked: &[u8], limit: usize) -> Option<Records<'o>> {
        let limit = limit.min(out.len());
        let question_end = asked.len();
        if question_end > limit {
            return None;
        }
        out.get_mut(..question_end)?.copy_from_slice(asked);
        Some(Records {
            out,
            len: question_end,
            limit,
            question_end,
            counts: [0; 3],
            suffixes: [Suffix::default(); MAX_SUFFIXES],
            suffix_count: 0,
            truncated: false,
        })
    }

    /// The facts to be known of the records to write what comes before and after them.
    pub fn end(self) -> Written<'o> {
        let Records { out, len, question_end, counts, truncated, suffix_count, .. } = self;
        Written { out, len, question_end, counts, truncated, suffixes: suffix_count }
    }

    pub fn mark(&self) -> Mark {
        Mark { len: self.len, counts: self.counts, suffix_count: self.suffix_count }
    }

    pub fn rewind(&mut self, mark: Mark) {
        self.len = mark.len;
        self.counts = mark.counts;
        self.suffix_count = mark.suffix_count;
    }

    /// Drops all records and sets TC: the asker should come again over TCP (RFC 2181 section 9).
    pub fn truncate(&mut self) {
        self.len = self.question_end;
        self.counts = [0; 3];
        self.suffix_count = 0;
        self.truncated = true;
    }

    pub fn is_truncated(&self) -> bool {
        self.truncated
    }

    /// Tells whether the name that stands at an offset is `wire`, ignoring case.
    pub fn has_name_at(&self, offset: u16, wire: &[u8]) -> bool {
        self.stands_at(offset, wire, Case::Ignore)
    }

    /// Writes an RRset whole, or nothing of it.
    pub fn set(&mut self, section: Section, owner: Owner<'_>, set: &RrSet<'_>) -> Result<(), Full> {
        let mark = self.mark();
        for rdata in set.rdatas() {
            if let Err(full) = self.encoded(section, owner, set.rtype, set.ttl.as_secs(), rdata) {
                self.rewind(mark);
                return Err(full);
            }
        }
        Ok(())
    }

    /// Writes a record with RDATA that may hold names to compress. Gives where the RDATA begins.
    pub fn encoded(
        &mut self,
        section: Section,
        owner: Owner<'_>,
        rtype: RecordType,
        ttl: u32,
        rdata: &[u8],
    ) -> Result<usize, Full> {
        let length_at = self.record_head(section, owner, rtype, ttl)?;
        let (first, names) = compressible_names(rtype);
        let (before, mut rest) = rdata.split_at_checked(first).unwrap_or((rdata, &[]));
        self.put(before)?;
        for _ in 0..names {
            let Some((name, after)) = wire_len(rest).and_then(|len| rest.split_at_checked(len)) else { break };
            self.name(name, Case::Keep)?;
            rest = after;
        }
        self.put(rest)?;
        self.close(length_at)
    }

    /// Writes a record with plain RDATA. Gives where the RDATA begins.
    pub fn plain(
        &mut self,
        section: Section,
        owner: Owner<'_>,
        rtype: RecordType,
        ttl: u32,
        rdata: &[u8],
    ) -> Result<usize, Full> {
        let length_at = self.record_head(section, owner, rtype, ttl)?;
        self.put(rdata)?;
        self.close(length_at)
    }

    /// Writes a record whose RDATA is one name that may be compressed. Gives where it begins.
    pub fn with_name(
        &mut self,
        section: Section,
        owner: Owner<'_>,
        rtype: RecordType,
        ttl: u32,
        name: &[u8],
    ) -> Result<usize, Full> {
        let length_at = self.record_head(section, owner, rtype, ttl)?;
        self.name(name, Case::Keep)?;
        self.close(length_at)
    }

    /// Begins a record whose RDATA follows by [`Records::put`] and ends by [`Records::close`],
    /// which takes what this gives.
    pub fn record_head(
        &mut self,
        section: Section,
        owner: Owner<'_>,
        rtype: RecordType,
        ttl: u32,
    ) -> Result<usize, Full> {
        let [p0, p1] = match owner {
            Owner::At(offset) => (0xc000 | offset).to_be_bytes(),
            Owner::Name(_) => [0; 2],
        };
        let ([t0, t1], [s0, s1, s2, s3]) = (rtype.0.to_be_bytes(), ttl.to_be_bytes());
        match owner {
            Owner::At(_) => self.put_all([p0, p1, t0, t1, 0, 1, s0, s1, s2, s3, 0, 0])?, // class IN
            Owner::Name(wire) => {
                self.name(wire, Case::Ignore)?;
                self.put_all([t0, t1, 0, 1, s0, s1, s2, s3, 0, 0])?;
            }
        }
        self.counts[section as usize] = self.counts[section as usize].saturating_add(1);
        Ok(self.len - 2)
    }

    /// Begins what has its length in front, in two octets, and ends by [`Records::close`], which
    /// takes what this gives.
    pub fn open(&mut self) -> Result<usize, Full> {
        self.put_all([0, 0])?;
        Ok(self.len - 2)
    }

    /// Ends what [`Records::record_head`] or [`Records::open`] began: fills in its length.
    pub fn close(&mut self, length_at: usize) -> Result<usize, Full> {
        let begin = length_at + 2;
        let rdlength = u16::try_from(self.len - begin).map_err(|_| Full)?;
        self.out.get_mut(length_at..begin).ok_or(Full)?.copy_from_slice(&rdlength.to_be_bytes());
        Ok(begin)
    }

    /// Appends octets.
    pub fn put(&mut self, octets: &[u8]) -> Result<(), Full> {
        let end = self.len + octets.len();
        if end > self.limit {
            return Err(Full);
        }
        self.out.get_mut(self.len..end).ok_or(Full)?.copy_from_slice(octets);
        self.len = end;
        Ok(())
    }

    /// Appends octets of a number known beforehand, without a call.
    #[inline]
    pub fn put_all<const N: usize>(&mut self, octets: [u8; N]) -> Result<(), Full> {
        let end = self.len + N;
        if end > self.limit {
            return Err(Full);
        }
        let place = self.out.get_mut(self.len..end).and_then(<[u8]>::first_chunk_mut).ok_or(Full)?;
        *place = octets;
        self.len = end;
        Ok(())
    }

    /// Writes a name, compressed against the suffixes in the message.
    fn name(&mut self, wire: &[u8], case: Case) -> Result<(), Full> {
        if self.suffix_count == 0 {
            self.remember_question();
        }
        let mut at = 0;
        while let Some(&len) = wire.get(at)
            && len != 0
        {
            let suffix = &wire[at..];
            let octets = suffix.len() as u16; // a name's: at most 255
            let mut known = self.suffixes[..self.suffix_count].iter().filter(|known| known.octets == octets);
            if let Some(&Suffix { offset, .. }) = known.find(|known| self.stands_at(known.offset, suffix, case)) {
                let begin = self.len;
                self.put(&wire[..at])?;
                self.put_all((0xc000 | offset).to_be_bytes())?;
                self.remember_labels(begin, begin + at, wire.len());
                return Ok(());
            }
            at += 1 + usize::from(len);
        }
        let begin = self.len;
        self.put(wire)?;
        self.remember_labels(begin, begin + at, wire.len());
        Ok(())
    }

    /// Not before it is needed: most answers have no name but the question's.
    fn remember_question(&mut self) {
        // Without QTYPE and QCLASS.
        if let Some(octets) = self.question_end.checked_sub(HEADER_OCTETS + 4) {
            self.remember_labels(HEADER_OCTETS, HEADER_OCTETS + octets - 1, octets);
        }
    }

    /// Remembers every label that begins in `from..to` as the suffix that begins there. The first
    /// has so many octets without compression.
    fn remember_labels(&mut self, from: usize, to: usize, octets: usize) {
        let mut at = from;
        while at < to && at < POINTER_REACH && self.suffix_count < MAX_SUFFIXES {
            let octets = (octets + from).saturating_sub(at) as u16;
            self.suffixes[self.suffix_count] = Suffix { offset: at as u16, octets };
            self.suffix_count += 1;
            at += 1 + usize::from(self.out.get(at).copied().unwrap_or(0));
        }
    }

    /// Tells whether the name at `offset` of the message is `wire`.
    fn stands_at(&self, offset: u16, wire: &[u8], case: Case) -> bool {
        let mut at = usize::from(offset);
        // Mostly it stands there in one piece and in the same spelling: then one comparison shows it.
        if self.out.get(at..at + wire.len()).is_some_and(|here| here == wire) {
            return true;
        }
        let mut rest = wire;
        loop {
            let Some(&len) = self.out.get(at) else { return false };
            if len >= 0xc0 {
                // Only names written here are remembered, so pointers lead strictly backwards.
                let Some(&low) = self.out.get(at + 1) else { return false };
                at = usize::from(len & 0x3f) << 8 | usize::from(low);
                continue;
            }
            let octets = 1 + usize::from(len);
            let (Some(here), Some((there, after))) = (self.out.get(at..at + octets), rest.split_at_checked(octets))
            else {
                return false;
            };
            let same = match case {
                Case::Keep => here == there,
                Case::Ignore => here.eq_ignore_ascii_case(there),
            };
            if !same {
                return false;
            }
            if len == 0 {
                return true;
            }
            at += octets;
            rest = after;
        }
    }
}

/// The offset where names begin in the RDATA of the types of RFC 1035, the only ones whose names may be compressed
/// (RFC 3597 section 4), and how many names follow one another there.
#[inline]
pub fn compressible_names(rtype: RecordType) -> (usize, usize) {
    match rtype {
        RecordType::NS | RecordType::CNAME | RecordType::PTR => (0, 1),
        RecordType::MX => (2, 1),
        RecordType::SOA => (0, 2),
        _ => (0, 0),
    }
}

/// The rule on whether a pointer may stand for a name that differs in case.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Case {
    /// For names in RDATA: a zone's spelling is kept, however the question spells it.
    Keep,
    /// For owners.
    Ignore,
}
