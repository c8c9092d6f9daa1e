//! The log of `serve` and `demo`: lines on standard error, coloured on a terminal alone.

use tracing_subscriber::fmt;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use super::arguments::LogLevel;
use super::output::{self, Failure, Outcome};

/// The environment's word on it, where the command line has none.
const VARIABLE: &str = "MERIDIAN_LOG";

/// Starts the log. `said` is the command line's word, `usual` what holds without any.
pub fn start(said: Option<LogLevel>, usual: &str) -> Outcome {
    let level = match said {
        Some(level) => level,
        None => match std::env::var(VARIABLE) {
            Ok(text) if !text.is_empty() => {
                text.parse().map_err(|error| Failure::new(format!("{VARIABLE}={text}: {error}")))?
            }
            _ => usual.parse().map_err(Failure::new)?,
        },
    };
    // A reader of the log that went away is no reason to end: complaining of it would panic.
    let lines =
        fmt::layer().with_writer(std::io::stderr).with_ansi(output::color_on_stderr()).log_internal_errors(false);
    // An error means that a log was started before: then that one stays.
    let _ = tracing_subscriber::registry().with(lines).with(level.0).try_init();
    Ok(())
}
