//! A region's load as it is known now: the last figure, how old it is, and whether it is believed.

use std::time::{Duration, Instant};

use super::feed::{Implausible, Reading};

/// The knowledge of a region's load. A silent feed is stale, never idle.
#[derive(Clone, Debug, Default)]
pub struct LoadState {
    /// The last report that made sense; kept when later ones do not come.
    pub last: Option<LoadFigure>,
    /// True where `last` is too old to act on.
    pub stale: bool,
    /// The age at which it is; `None`: no report is asked for.
    pub stale_after: Option<Duration>,
    /// The reason why the last report gave nothing, or not all that it says.
    pub error: Option<String>,
    /// The reason why its figures are not believed, as they are weighed against what was answered.
    pub doubt: Option<Implausible>,
    /// The reading of its figures; `None`: they were not made sense of yet.
    pub reading: Option<Reading>,
    /// The time when it began to be as [`LoadState::heard`] says.
    pub since: Option<Instant>,
}

/// The standing of a region's load reports: one thing at a time, the gravest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// No report has made sense yet, and the last attempt has failed if there was one.
    Never {
        failing: bool,
    },
    /// The last one is too old to act on.
    Stale,
    /// They come, and are not believed.
    Doubted(Implausible),
    /// The last attempt gave nothing; the report before it is not stale yet.
    Failing,
    /// They come, and were not made sense of yet: for want of answers to hold them against, or of time.
    New,
    Believed,
}

impl Heard {
    pub const WORDS: [&str; 6] = ["never", "stale", "doubted", "failing", "new", "believed"];

    pub fn as_str(self) -> &'static str {
        match self {
            Heard::Never { failing: false } => "never",
            Heard::Stale => "stale",
            Heard::Doubted(_) => "doubted",
            Heard::Never { failing: true } | Heard::Failing => "failing",
            Heard::New => "new",
            Heard::Believed => "believed",
        }
    }
}

impl LoadState {
    pub fn heard(&self) -> Heard {
        match (self.last, self.doubt) {
            (None, _) => Heard::Never { failing: self.error.is_some() },
            (Some(_), _) if self.stale => Heard::Stale,
            (Some(_), Some(doubt)) => Heard::Doubted(doubt),
            (Some(_), None) if self.error.is_some() => Heard::Failing,
            (Some(_), None) if self.reading.is_none() => Heard::New,
            (Some(_), None) => Heard::Believed,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LoadFigure {
    /// 0 or more, in the region's own unit.
    pub load: f64,
    /// As reported, else as configured; above 0.
    pub capacity: Option<f64>,
    /// The time when load and capacity are of, which may be well before they were heard of.
    pub at: Instant,
}

impl LoadFigure {
    /// Load over capacity; `None` where no capacity is known.
    pub fn utilisation(&self) -> Option<f64> {
        self.capacity.map(|capacity| self.load / capacity)
    }
}
