//! Any octets as what etcd answers: no panic, revisions in order and each told once, short errors, and a watch that
//! says the same however its octets are cut.
//!
//! The first octet picks the kind of answer, or the length of a watch's pieces; the rest is the answer.

#![no_main]

use libfuzzer_sys::fuzz_target;
use meridian::control::cluster::etcd::fault::{Fault, read_fault};
use meridian::control::cluster::etcd::message;
use meridian::control::cluster::etcd::stream::{Heard, Reader};
use meridian::control::cluster::store::{Change, Entry, Outcome};
use meridian_fuzz::pick;

/// The first revision that a watch asks for.
const FROM: i64 = 5;

fuzz_target!(|data: &[u8]| {
    let Some((pick, body)) = pick(data) else { return };
    match pick % 16 {
        0 => match message::read_listing(body) {
            Ok(listing) => {
                assert!(listing.revision > 0 && listing.entries.is_sorted_by_key(|entry| &entry.key));
                listing.entries.iter().for_each(sensible);
            }
            Err(why) => short(&why),
        },
        1 => match message::read_outcome(body, 2) {
            Ok(Outcome::Done(revision)) => assert!(revision > 0),
            Ok(Outcome::Refused { found, revision }) => {
                assert!(revision > 0 && found.len() == 2);
                found.iter().flatten().for_each(sensible);
            }
            Err(why) => short(&why),
        },
        2 => {
            let _ = message::read_grant(body).map(|lease| assert_ne!(lease.0, 0)).map_err(|why| short(&why));
            let _ = message::read_keep_alive(body).map_err(|fault| told(&fault));
            let _ = message::read_status(body).map(|status| short(&status.version)).map_err(|why| short(&why));
            let _ = message::read_alarms(body).map_err(|why| short(&why));
            let _ = message::read_token(body).map_err(|why| short(&why));
        }
        3 => [200, 400, 404, 503].into_iter().for_each(|status| told(&read_fault(status, body))),
        piece => assert_eq!(heard(body, body.len().max(1)), heard(body, piece - 3), "cut otherwise"),
    }
});

/// All that a watch says, up to its end.
fn heard(body: &[u8], piece: usize) -> Vec<Result<Heard, String>> {
    let (mut reader, mut all) = (Reader::new(FROM), Vec::new());
    let mut next = FROM;
    for piece in body.chunks(piece) {
        reader.take(piece).expect("shorter than the longest line");
        while let Some(heard) = reader.read().transpose() {
            if let Ok(Heard::Changes(changes)) = &heard {
                assert!(changes.first().is_some_and(|first| first.revision() >= next));
                assert!(changes.is_sorted_by_key(Change::revision));
                next = changes.last().map_or(next, |last| last.revision() + 1);
                assert_eq!(reader.next_revision(), next);
            }
            let ends = !matches!(heard, Ok(Heard::Created | Heard::Nothing | Heard::Changes(_)));
            let _ = heard.as_ref().map_err(|why| short(why));
            all.push(heard);
            if ends {
                return all;
            }
        }
    }
    all
}

fn sensible(entry: &Entry) {
    assert!(entry.created > 0 && entry.modified >= entry.created);
}

fn told(fault: &Fault) {
    if let Fault::NotDone(why) | Fault::Unknown(why) | Fault::Refused(why) | Fault::Token(why) = fault {
        short(why);
    }
}

/// Errors are lines of a log.
fn short(why: &str) {
    assert!(why.len() < 2048 && !why.contains(char::is_control), "{why}");
}
