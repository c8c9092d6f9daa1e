//! Arguments that several commands take.

use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;
use tracing_subscriber::filter::Targets;

use crate::control::config::logs::levels;

/// Where the configuration is.
#[derive(Args, Clone, Debug)]
pub struct ConfigFile {
    /// The main configuration file; zones and databases are found from there
    #[arg(long, short, value_name = "FILE", default_value = DEFAULT_CONFIG)]
    pub config: PathBuf,
}

/// The main file where none is named.
pub const DEFAULT_CONFIG: &str = "/etc/meridian/meridian.toml";

/// `info`, or `info,meridian::control::probe=debug`.
#[derive(Clone, Debug)]
pub struct LogLevel(pub Targets);

impl FromStr for LogLevel {
    type Err = String;

    fn from_str(text: &str) -> Result<LogLevel, String> {
        levels(text).map(LogLevel)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_levels_are_words_or_parts_with_words() {
        for text in ["info", "OFF", "warn,meridian::control=debug", "meridian=trace"] {
            assert!(text.parse::<LogLevel>().is_ok(), "{text}");
        }
        for text in ["", "loud", "info,", "meridian=", "meridian::control", "info,x=loud"] {
            assert!(text.parse::<LogLevel>().is_err(), "{text}");
        }
    }
}
