//! How the control plane does, as data: the writer's pulse, and what is wrong with the files of the state directory.
//!
//! Part of `GET /v1/status` and `GET /readyz`. Only the writer decides readiness: without it answers follow nothing any
//! more. A file in trouble is told, and leaves the server ready: nodes must not all go because of one bad disk image.

use std::borrow::Cow;
use std::time::{SystemTime, UNIX_EPOCH};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::control::troubles::Troubles;
use crate::control::vitals::Vitals;

/// How the writer does.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct WriterStatus {
    /// `beating`, `stalled` or `failed`.
    pub pulse: Cow<'static, str>,
    /// Since it was heard of last: a second or so while it beats.
    pub silent_s: f64,
    /// What follows where it does not beat, in a sentence.
    pub trouble: Option<String>,
}

/// Something that is wrong with a file of the state directory.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct FileTrouble {
    /// Its name there, such as `overrides.json`.
    pub file: Cow<'static, str>,
    /// `unreadable`, `set_aside`, `unwritable`, `hanging` or `undecided`.
    pub kind: Cow<'static, str>,
    /// By the wall clock, in seconds since 1970.
    pub since_unix_s: u64,
    pub age_s: f64,
    /// With the file's path.
    pub error: String,
    /// What holds while it lasts.
    pub instead: String,
}

pub fn writer(vitals: &Vitals) -> WriterStatus {
    let pulse = vitals.pulse();
    let silent_s = vitals.silent_for().as_secs_f64();
    WriterStatus { pulse: pulse.as_str().into(), silent_s, trouble: pulse.told() }
}

/// By file.
pub fn files(troubles: &Troubles) -> Vec<FileTrouble> {
    let now = SystemTime::now();
    let told = troubles.all().into_iter().map(|(file, kind, trouble)| FileTrouble {
        file: file.as_str().into(),
        kind: kind.as_str().into(),
        since_unix_s: trouble.since.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs(),
        // A clock set back meanwhile makes it look like now.
        age_s: now.duration_since(trouble.since).unwrap_or_default().as_secs_f64(),
        error: trouble.error,
        instead: trouble.instead,
    });
    told.collect()
}
