//! A watch's lines, as they come in pieces, into changes of whole revisions.
//!
//! In: octets, cut anywhere. Out: changes in the order of revisions, all of a revision at once. No line and no batch is
//! longer than 16 MiB.

use serde::Deserialize;
use serde_json::Value;

use crate::control::cluster::store::{Change, Revision};

use super::fault::{Fault, clipped, read_fault};
use super::message::{Event, Line, Unread, number, parse};

/// The longest line, and batch of lines that belong together, in octets.
pub const MOST_BATCH: usize = 16 * 1024 * 1024;

/// What a line of a watch says.
#[derive(Debug, PartialEq, Eq)]
pub enum Heard {
    /// The watch is there.
    Created,
    /// Nothing happened, or only a part of a batch is there yet.
    Nothing,
    /// All changes of one or several revisions, at least one change.
    Changes(Vec<Change>),
    /// The watch ended since changes it asked for are compacted.
    Compacted,
    /// The watch ended.
    Ended(Fault),
}

/// The reader of one watch.
#[derive(Debug)]
pub struct Reader {
    octets: Vec<u8>,
    /// Octets before this one hold no end of a line.
    searched: usize,
    /// Of a batch in parts, those that came.
    changes: Vec<Change>,
    /// The lengths of their lines.
    length: usize,
    /// Revisions before this one are done with.
    next: Revision,
}

impl Reader {
    /// For a watch that begins with this revision.
    pub fn new(from: Revision) -> Reader {
        Reader { octets: Vec::new(), searched: 0, changes: Vec::new(), length: 0, next: from }
    }

    /// The revision that a further watch begins with.
    pub fn next_revision(&self) -> Revision {
        self.next
    }

    /// Takes octets as they came; [`Reader::read`] then says what is whole.
    ///
    /// # Errors
    /// A line is too long.
    pub fn take(&mut self, octets: &[u8]) -> Result<(), Unread> {
        if self.octets.len() + octets.len() > MOST_BATCH {
            return Err(format!("a line of its watch is longer than {} MiB", MOST_BATCH >> 20));
        }
        self.octets.extend_from_slice(octets);
        Ok(())
    }

    /// The next whole line; `None`: more octets are needed.
    ///
    /// # Errors
    /// It makes no sense.
    pub fn read(&mut self) -> Result<Option<Heard>, Unread> {
        let unsearched = self.octets.get(self.searched..).unwrap_or_default();
        let Some(end) = unsearched.iter().position(|&octet| octet == b'\n') else {
            self.searched = self.octets.len();
            return Ok(None);
        };
        let rest = self.octets.split_off(self.searched + end + 1);
        let line = std::mem::replace(&mut self.octets, rest);
        self.searched = 0;
        if line.trim_ascii().is_empty() {
            return Ok(Some(Heard::Nothing));
        }
        self.line(&line).map(Some)
    }

    fn line(&mut self, line: &[u8]) -> Result<Heard, Unread> {
        let Line { result, error }: Line<WatchResponse> = parse(line)?;
        if error.is_some() {
            return Ok(Heard::Ended(read_fault(200, line)));
        }
        let response = result.ok_or("a line without a result")?;
        if response.compact_revision > 0 {
            return Ok(Heard::Compacted);
        }
        if response.canceled {
            return Ok(Heard::Ended(ended(&response.cancel_reason)));
        }
        if response.created {
            return Ok(Heard::Created);
        }
        self.events(response, line.len())
    }

    fn events(&mut self, response: WatchResponse, length: usize) -> Result<Heard, Unread> {
        self.length += length;
        if self.length > MOST_BATCH {
            return Err(format!("changes of one moment are longer than {} MiB", MOST_BATCH >> 20));
        }
        for event in response.events {
            if let Some(change) = event.change()? {
                self.changes.push(change);
            }
        }
        if response.fragment {
            return Ok(Heard::Nothing);
        }
        self.length = 0;
        let changes = std::mem::take(&mut self.changes);
        let Some(last) = changes.last().map(Change::revision) else { return Ok(Heard::Nothing) };
        if changes.first().is_some_and(|first| first.revision() < self.next) {
            // Half of a revision was passed on: only reading all anew mends that.
            return Ok(Heard::Compacted);
        }
        if !changes.is_sorted_by_key(Change::revision) {
            return Err("changes out of order".into());
        }
        self.next = last.checked_add(1).ok_or("a revision past all numbers")?;
        Ok(Heard::Changes(changes))
    }
}

fn ended(reason: &Value) -> Fault {
    let reason = reason.as_str().unwrap_or_default();
    if reason.contains("permission denied") || reason.contains("auth token") {
        return Fault::Token(clipped(reason));
    }
    Fault::Unknown(format!("it ended the watch: {}", clipped(reason)))
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct WatchResponse {
    created: bool,
    canceled: bool,
    cancel_reason: Value,
    fragment: bool,
    #[serde(deserialize_with = "number")]
    compact_revision: i64,
    events: Vec<Event>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::cluster::store::Entry;

    fn put(revision: Revision) -> String {
        format!(r#"{{"kv":{{"key":"YQ==","value":"dg==","create_revision":"1","mod_revision":"{revision}"}}}}"#)
    }

    fn delete(revision: Revision) -> String {
        format!(r#"{{"type":"DELETE","kv":{{"key":"YQ==","mod_revision":"{revision}"}}}}"#)
    }

    fn events(events: &[String], more: &str) -> String {
        format!("{{\"result\":{{\"events\":[{}]{more}}}}}\n", events.join(","))
    }

    fn changed(modified: Revision) -> Change {
        Change::Put(Entry { key: "a".into(), value: b"v".into(), created: 1, modified })
    }

    fn all(reader: &mut Reader, text: &str) -> Vec<Result<Heard, Unread>> {
        reader.take(text.as_bytes()).expect("short");
        std::iter::from_fn(|| reader.read().transpose()).collect()
    }

    #[test]
    fn lines_come_in_pieces() {
        let text = format!(
            "{{\"result\":{{\"header\":{{\"revision\":\"9\"}},\"created\":true}}}}\n\n{}{{\"result\":{{\"header\":{{\"revision\":\"9\"}}}}}}\n",
            events(&[put(4), delete(4), put(6)], "")
        );
        let deleted = Change::Deleted { key: "a".into(), revision: 4 };
        let expected = [
            Ok(Heard::Created),
            Ok(Heard::Nothing),
            Ok(Heard::Changes(vec![changed(4), deleted, changed(6)])),
            Ok(Heard::Nothing),
        ];
        let mut reader = Reader::new(4);
        assert_eq!(all(&mut reader, &text), expected);
        let mut by_octet = Reader::new(4);
        let heard = |octet: u8| all(&mut by_octet, &char::from(octet).to_string());
        assert_eq!(text.bytes().flat_map(heard).collect::<Vec<_>>(), expected);
        assert_eq!((reader.next_revision(), by_octet.next_revision()), (7, 7));
    }

    #[test]
    fn parts_of_a_batch_are_put_together() {
        let mut reader = Reader::new(2);
        assert_eq!(all(&mut reader, &events(&[put(2)], r#","fragment":true"#)), [Ok(Heard::Nothing)]);
        assert_eq!(reader.next_revision(), 2);
        assert_eq!(all(&mut reader, &events(&[put(2)], "")), [Ok(Heard::Changes(vec![changed(2), changed(2)]))]);
    }

    #[test]
    fn a_revision_that_comes_in_halves_or_again_means_to_read_all_anew() {
        let mut reader = Reader::new(2);
        assert_eq!(all(&mut reader, &events(&[put(2)], "")), [Ok(Heard::Changes(vec![changed(2)]))]);
        assert_eq!(all(&mut reader, &events(&[put(2)], "")), [Ok(Heard::Compacted)]);
    }

    #[test]
    fn the_end_of_a_watch_has_its_reason() {
        let ended = |result: &str| all(&mut Reader::new(1), &format!("{{\"result\":{{\"canceled\":true{result}}}}}\n"));
        assert_eq!(ended(r#","compact_revision":"2""#), [Ok(Heard::Compacted)]);
        let denied = Fault::Token("etcdserver: permission denied".into());
        assert_eq!(
            ended(r#","created":true,"cancel_reason":"etcdserver: permission denied""#),
            [Ok(Heard::Ended(denied))]
        );
        assert_eq!(ended(""), [Ok(Heard::Ended(Fault::Unknown("it ended the watch: ".into())))]);
        let error = "{\"error\":{\"grpc_code\":14,\"message\":\"etcdserver: no leader\"}}\n";
        let no_leader = Fault::NotDone("etcdserver: no leader".into());
        assert_eq!(all(&mut Reader::new(1), error), [Ok(Heard::Ended(no_leader))]);
    }

    #[test]
    fn nonsense_is_an_error() {
        for line in [
            "x\n".to_owned(),
            "{}\n".into(),
            "{\"result\":{\"events\":[{}]}}\n".into(),
            events(&[put(3), put(2)], ""),
            events(&[put(0)], ""),
            events(&[put(i64::MAX)], ""),
            events(&[delete(-1)], ""),
            events(&[delete(3).replace("DELETE", "MERGE")], ""),
        ] {
            assert!(matches!(all(&mut Reader::new(1), &line)[..], [Err(_)]), "{line}");
        }
    }

    #[test]
    fn a_line_and_a_batch_in_parts_have_a_longest_length() {
        let mut reader = Reader::new(1);
        assert_eq!(reader.take(&vec![b'x'; MOST_BATCH]), Ok(()));
        assert_eq!(reader.read(), Ok(None));
        assert!(reader.take(b"x").is_err());
        let mut reader = Reader::new(1);
        let part = events(&[], &format!(r#","fragment":true,"x":"{}""#, "x".repeat(MOST_BATCH / 2)));
        assert_eq!(all(&mut reader, &part), [Ok(Heard::Nothing)]);
        assert!(matches!(all(&mut reader, &part)[..], [Err(_)]));
    }
}
