//! What answers packets: the current snapshot, within what one network may have, and the logs that are told of it.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::Guard;

use crate::logs::Taps;
use crate::query::counters::{Counters, DropReason, Event};
use crate::query::transport::rate::{RateLimiter, Verdict};
use crate::query::transport::{Exchange, Responder};
use crate::query::{Client, Transport};
use crate::state::{SharedSnapshot, Snapshot};

/// Answers from whatever snapshot is current when a batch begins.
pub struct SnapshotResponder {
    pub shared: SharedSnapshot,
    /// `None`: no queries are logged.
    pub taps: Option<Taps>,
    /// `None`: networks have no limit.
    pub rate: Option<Arc<RateLimiter>>,
}

/// What a batch is answered from.
pub struct SnapshotBatch<'a> {
    snapshot: Guard<Arc<Snapshot>>,
    taps: Option<&'a Taps>,
    /// With the time when the batch began.
    rate: Option<(&'a RateLimiter, u64)>,
}

impl Responder for SnapshotResponder {
    type Batch<'a> = SnapshotBatch<'a>;

    fn begin(&self) -> SnapshotBatch<'_> {
        let rate = self.rate.as_deref().map(|rate| (rate, rate.now_us()));
        SnapshotBatch { snapshot: self.shared.load(), taps: self.taps.as_ref(), rate }
    }

    fn expect<'p>(batch: &SnapshotBatch<'_>, packets: impl Iterator<Item = &'p [u8]>) {
        crate::query::ahead::fetch(&batch.snapshot, packets);
    }

    fn answer(batch: &SnapshotBatch<'_>, packet: &[u8], client: Client, out: &mut [u8], counters: &Counters) -> usize {
        if let Some(rate) = batch.rate.filter(|_| client.transport == Transport::Udp)
            && let Some(len) = beyond(rate, packet, client, out, counters)
        {
            return len;
        }
        crate::query::answer(&batch.snapshot, packet, client, out, counters)
    }

    fn watches(batch: &SnapshotBatch<'_>) -> bool {
        batch.taps.is_some()
    }

    #[cold]
    fn saw<'e>(batch: &SnapshotBatch<'_>, took: Duration, exchanges: impl Iterator<Item = Exchange<'e>> + Clone) {
        if let Some(taps) = batch.taps {
            taps.saw(&batch.snapshot, took, exchanges);
        }
    }
}

/// What a network gets that has had as many responses as it may; `None`: it has not.
fn beyond(
    (rate, now_us): (&RateLimiter, u64),
    packet: &[u8],
    client: Client,
    out: &mut [u8],
    counters: &Counters,
) -> Option<usize> {
    let id = packet.first_chunk().map_or(0, |id| u16::from_be_bytes(*id));
    let len = match rate.judge(client.address, now_us, id) {
        Verdict::Answer => return None,
        Verdict::Truncate => crate::query::truncated(packet, client, out, counters),
        Verdict::Silence => 0,
    };
    counters.add(if len > 0 { Event::RateTruncated } else { Event::Dropped(DropReason::Rate) });
    Some(len)
}
