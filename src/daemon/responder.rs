//! What answers packets: the current snapshot, and the logs that are told of it.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::Guard;

use crate::logs::Taps;
use crate::query::Client;
use crate::query::counters::Counters;
use crate::query::transport::{Exchange, Responder};
use crate::state::{SharedSnapshot, Snapshot};

/// Answers from whatever snapshot is current when a batch begins.
pub struct SnapshotResponder {
    pub shared: SharedSnapshot,
    /// `None`: no queries are logged.
    pub taps: Option<Taps>,
}

/// What a batch is answered from.
pub struct SnapshotBatch<'a> {
    snapshot: Guard<Arc<Snapshot>>,
    taps: Option<&'a Taps>,
}

impl Responder for SnapshotResponder {
    type Batch<'a> = SnapshotBatch<'a>;

    fn begin(&self) -> SnapshotBatch<'_> {
        SnapshotBatch { snapshot: self.shared.load(), taps: self.taps.as_ref() }
    }

    fn expect<'p>(batch: &SnapshotBatch<'_>, packets: impl Iterator<Item = &'p [u8]>) {
        crate::query::ahead::fetch(&batch.snapshot, packets);
    }

    fn answer(batch: &SnapshotBatch<'_>, packet: &[u8], client: Client, out: &mut [u8], counters: &Counters) -> usize {
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
