//! The answer to "what is wrong?": one word, since when, and each trouble in a sentence, the worst first.
//!
//! Whoever is woken at night reads this first. [`super::diagnosis`] makes it of all the rest.

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What is wrong, in short.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Summary {
    pub state: Level,
    /// For how long at least one trouble of that level has lasted without a break of all; `None`: not known, or ok.
    pub since_s: Option<f64>,
    /// The worst first, those that have lasted longest first among alike; notes last.
    pub troubles: Vec<Trouble>,
}

/// How bad it is. The greater the worse.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// All is as it should be. Of a trouble: worth knowing, and nobody's fault, such as an override.
    #[default]
    Ok,
    /// Clients are served well, but not by everything that should, or not by all that is known.
    Degraded,
    /// Some clients are answered with what is not known to serve, or answers follow nothing any more.
    Panic,
}

impl Level {
    pub fn as_str(self) -> &'static str {
        match self {
            Level::Ok => "ok",
            Level::Degraded => "degraded",
            Level::Panic => "panic",
        }
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Trouble {
    pub level: Level,
    /// A region, a service, a file; or the server itself.
    pub of: Cow<'static, str>,
    /// In a sentence without its subject: `down: 2 of 2 endpoints; last: connection refused`.
    pub what: String,
    /// How long it has lasted; `None`: not known.
    pub since_s: Option<f64>,
    /// When it ends by itself, from now; `None`: nobody knows.
    pub until_s: Option<f64>,
}
