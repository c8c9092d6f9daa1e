//! The reply of [`answer()`] to a plain question, taken apart into the records behind the question. They
//! are the same whoever asks it in whatever spelling and with whatever options, or else it is said.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;

use crate::model::RecordType;
use crate::query::answer::answer;
use crate::query::client::{Client, Transport};
use crate::query::counters::{CounterSet, Counters};
use crate::query::transport::MAX_UDP_RESPONSE;
use crate::state::Snapshot;
use crate::wire::HEADER_OCTETS;

/// QR and AA, RCODE NOERROR, nothing truncated: of a query with all flags clear.
const FLAGS: [u8; 2] = [0x84, 0];
/// The octets that OPT without options takes in a response.
const OPT_OCTETS: usize = 11;
/// An OPT record that says 1,232 octets, version 0, DO.
const OPT_DO: [u8; OPT_OCTETS] = [0, 0, 41, 4, 208, 0, 0, 0x80, 0, 0, 0];

/// An answer without header, question and OPT.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Records {
    /// Records in the answer, authority and additional sections, OPT left out.
    pub counts: [u8; 3],
    /// As they stand behind the question, whose name is at octet 12.
    pub octets: Vec<u8>,
    /// The same with DO set.
    pub any_do: bool,
    /// The same however the question spells its name. Else: for one in lower case.
    pub any_case: bool,
}

/// Asks questions of a snapshot. What it counts counts for nothing.
#[derive(Debug)]
pub struct Questioner {
    counters: Arc<Counters>,
    out: Vec<u8>,
    /// The number of questions asked so far.
    pub asked: u64,
    /// Answers given before.
    known: HashSet<Arc<Records>>,
}

/// Answers that are remembered: tens of megabytes at most.
const MOST_KNOWN: usize = 100_000;

impl Default for Questioner {
    fn default() -> Questioner {
        Questioner {
            counters: CounterSet::new().register(),
            out: vec![0; MAX_UDP_RESPONSE],
            asked: 0,
            known: HashSet::new(),
        }
    }
}

impl Questioner {
    /// The answer to a source address, where it is a plain one: authoritative, NOERROR, whole.
    /// Those that are alike are mostly one. `lower`: a wire name in lower case.
    pub fn ask(
        &mut self,
        snapshot: &Snapshot,
        lower: &[u8],
        qtype: RecordType,
        source: IpAddr,
    ) -> Option<Arc<Records>> {
        self.asked += 1;
        let plain = self.records(snapshot, lower, qtype, source, &[])?;
        let with_do = self.records(snapshot, lower, qtype, source, &OPT_DO)?;
        // Address records have no names in them that could be compressed: only where there is
        // something else can the spelling of the question matter.
        let any_case = plain.0[1] == 0 && plain.0[2] == 0;
        let records = Records { any_do: with_do == plain, any_case, counts: plain.0, octets: plain.1 };
        if let Some(known) = self.known.get(&records) {
            return Some(known.clone());
        }
        if self.known.len() >= MOST_KNOWN {
            self.known.clear();
        }
        let records = Arc::new(records);
        self.known.insert(records.clone());
        Some(records)
    }

    fn records(
        &mut self,
        snapshot: &Snapshot,
        name: &[u8],
        qtype: RecordType,
        source: IpAddr,
        opt: &[u8],
    ) -> Option<([u8; 3], Vec<u8>)> {
        let [t0, t1] = qtype.0.to_be_bytes();
        let additional = u8::from(!opt.is_empty());
        let mut query = vec![0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, additional];
        query.extend_from_slice(name);
        query.extend_from_slice(&[t0, t1, 0, 1]);
        let question_end = query.len();
        query.extend_from_slice(opt);
        let client = Client { address: source, transport: Transport::Udp };
        let len = answer(snapshot, &query, client, &mut self.out, &self.counters);
        let response = self.out.get(..len)?;
        let (head, _) = response.split_first_chunk::<HEADER_OCTETS>()?;
        // Counts of 256 or more do not fit an image anyway.
        let &[_, _, f0, f1, _, _, 0, answers, 0, authorities, 0, additionals] = head else { return None };
        let octets = response.get(question_end..len.checked_sub(opt.len())?)?;
        let counts = [answers, authorities, additionals.checked_sub(additional)?];
        ([f0, f1] == FLAGS).then(|| (counts, octets.to_vec()))
    }
}
