//! The last step of every atlas: tables of places, packed, with IPv4 inside IPv6 as it must be.

use std::sync::Arc;

use super::lookup::{Atlas, Tables};
use super::packed::Packed;
use super::places::Places;
use super::sources::AtlasSummary;
use super::steps::{MAPPED_RANGE, Steps};

/// An atlas of these places. What IPv6 says for addresses that stand for IPv4 does not matter. Of the
/// summary, what the atlas was made of is kept, and what it has come to is counted.
pub fn assemble(v4: Steps<u32>, mut v6: Steps<u128>, places: Arc<Places>, summary: AtlasSummary) -> Atlas {
    let (first, last) = MAPPED_RANGE;
    v6.set(first, last, mapped(&v4, places.len() as u32)); // as many as places are bounded to
    let packed_v4 = Packed::new(&v4);
    drop(v4);
    let v6 = Packed::new(&v6);
    let summary = AtlasSummary { ranges_v4: packed_v4.len(), ranges_v6: v6.len(), places: places.len(), ..summary };
    Atlas::of(Arc::new(Tables { v4: packed_v4, v6 }), places, summary)
}

/// What the table of IPv6 says for `::ffff:0:0/96` (RFC 4291 section 2.5.5.2): the one place of
/// all IPv4, else the number after all places: that IPv4 must be asked. So no scope around it is wider
/// than it is true.
fn mapped(v4: &Steps<u32>, after_all: u32) -> u32 {
    match v4.ranges() {
        &[(_, place)] => place,
        _ => after_all,
    }
}
