//! Who is told of events elsewhere, and how that goes: in `GET /v1/status`.

use std::time::UNIX_EPOCH;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::control::events::receivers::{ReceiverState, Receivers};

/// How one receiver of events does.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ReceiverStatus {
    pub name: String,
    /// Where events go: `scheme://host`, as the rest of a URL is a secret; or a program.
    pub to: String,
    /// The number of the last event that is done with, told or not for it; 0: none is known to be.
    pub last_delivered_id: u64,
    /// Events that it is still to be told of.
    pub waiting: usize,
    /// Since the start: events that it took, refused for good, and those that fell out of the history untold.
    pub delivered: u64,
    pub refused: u64,
    pub left_out: u64,
    /// Tries in a row that failed; 0: all is well.
    pub failures: u32,
    /// Why the last of them did.
    pub error: Option<String>,
    /// When the first of them did, by the wall clock, in seconds since 1970.
    pub failing_since_unix_s: Option<u64>,
}

/// By name: webhooks, or commands.
pub fn receivers(receivers: &Receivers, commands: bool) -> Vec<ReceiverStatus> {
    receivers.states().into_iter().filter(|state| state.is_command == commands).map(status).collect()
}

fn status(ReceiverState { name, to, waiting, left_out, progress, .. }: ReceiverState) -> ReceiverStatus {
    ReceiverStatus {
        name,
        to,
        last_delivered_id: progress.last_delivered_id,
        waiting,
        delivered: progress.delivered,
        refused: progress.refused,
        left_out: progress.left_out + left_out as u64,
        failures: progress.failures,
        error: progress.error,
        failing_since_unix_s: progress
            .failing_since
            .map(|since| since.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()),
    }
}
