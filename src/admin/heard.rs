//! How a region's load reports stand, as data: in `GET /v1/status` and in each explanation.
//!
//! In: [`HeardRow`], as the server explains it. Out: the form that is read back too, by the command line.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::steer::explain::{HeardRow, ReadingRow};

/// How a region's load reports stand. All of it is left out by servers from before there was such a thing.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Heard {
    /// `believed`, `doubted`, `stale`, `failing`, `new`: not made sense of yet, or `never`.
    pub heard: Option<Cow<'static, str>>,
    /// For how long that has been so.
    pub since_s: Option<f64>,
    /// Why its figures are not believed.
    pub doubt: Option<String>,
    /// What to look for then, where that is known.
    pub cure: Option<Cow<'static, str>>,
    /// Why the last report gave nothing, or not all that it says.
    pub error: Option<String>,
    /// `None`: not made sense of yet.
    pub reading: Option<Reading>,
}

/// How a region's figures are read: [`ReadingRow`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Reading {
    pub unit: f64,
    pub others: f64,
    pub gain: f64,
    pub jumped_s: Option<f64>,
    pub capacity: Option<f64>,
    #[serde(default)]
    pub restless: bool,
}

impl From<HeardRow> for Heard {
    fn from(HeardRow { heard, since_s, doubt, cure, error, reading }: HeardRow) -> Heard {
        let (heard, cure, reading) = (Some(heard.into()), cure.map(Cow::from), reading.map(Reading::from));
        Heard { heard, since_s, doubt, cure, error, reading }
    }
}

impl From<ReadingRow> for Reading {
    fn from(ReadingRow { unit, others, gain, jumped_s, capacity, restless }: ReadingRow) -> Reading {
        Reading { unit, others, gain, jumped_s, capacity, restless }
    }
}
