//! Names that are asked for next, fetched into the processor's caches while the packets before are answered.
//!
//! A lookup waits for memory twice, for the index and for the name; of a hundred thousand names most lie in no
//! cache. A whole batch of packets is there at once, so the waits of all overlap: what one receive call gave, what is
//! in an AF_XDP ring, or the messages that one read of a TCP connection completed.

use crate::state::Snapshot;
use crate::state::lookup::index::NameHash;
use crate::wire::HEADER_OCTETS;
use crate::wire::name::LowerName;

/// Packets looked at in one go.
const MOST: usize = 64;

/// Fetches what the first packets ask for, where names are too many to be in caches anyway. One packet alone has
/// nothing to overlap with. No packet has to be well-formed, and nothing is counted or answered.
pub fn fetch<'p>(snapshot: &Snapshot, mut packets: impl Iterator<Item = &'p [u8]>) {
    let names = &snapshot.names;
    if !names.outgrows_caches() {
        return;
    }
    let (Some(first), Some(second)) = (packets.next(), packets.next()) else { return };
    let packets = [first, second].into_iter().chain(packets);
    let mut name = LowerName::new();
    let mut hashes: [Option<NameHash>; MOST] = [None; MOST];
    for (hash, packet) in hashes.iter_mut().zip(packets) {
        let read = packet.get(HEADER_OCTETS..).and_then(|question| name.read(question));
        *hash = read.map(|_| NameHash::new(&name));
        hash.iter().for_each(|hash| names.fetch_index(*hash));
    }
    hashes.into_iter().flatten().for_each(|hash| names.fetch_entry(hash));
}
