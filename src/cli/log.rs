//! The log of `serve` and `demo`: lines on standard error, for people or as JSON, coloured on a terminal alone.

use tracing_subscriber::fmt;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::registry::Registry;
use tracing_subscriber::util::SubscriberInitExt;

use crate::control::config::{Log, LogFormat};

use super::arguments::LogLevel;
use super::output::{self, Failure, Outcome};

/// The environment's word on it, where the command line has none.
const VARIABLE: &str = "MERIDIAN_LOG";

/// Starts the log. `said` is the command line's word on the level; then comes the environment's, then that of the settings,
/// and `usual` is what holds without any.
pub fn start(said: Option<LogLevel>, settings: Log, usual: &str) -> Outcome {
    let level = match said {
        Some(level) => level.0,
        None => match (std::env::var(VARIABLE), settings.level) {
            (Ok(text), _) if !text.is_empty() => {
                text.parse::<LogLevel>().map_err(|error| Failure::new(format!("{VARIABLE}={text}: {error}")))?.0
            }
            (_, Some(level)) => level,
            (_, None) => usual.parse::<LogLevel>().map_err(Failure::new)?.0,
        },
    };
    let lines = lines(settings.format.unwrap_or(LogFormat::Text), std::io::stderr);
    // An error means that a log was started before: then that one stays.
    let _ = tracing_subscriber::registry().with(lines).with(level).try_init();
    Ok(())
}

/// What makes lines of what happens.
fn lines<W>(format: LogFormat, writer: W) -> Box<dyn Layer<Registry> + Send + Sync>
where
    W: for<'w> fmt::MakeWriter<'w> + Send + Sync + 'static,
{
    // A reader of the log that went away is no reason to end: complaining of it would panic.
    let lines = fmt::layer().with_writer(writer).log_internal_errors(false);
    match format {
        LogFormat::Text => lines.with_ansi(output::color_on_stderr()).boxed(),
        // Fields beside the message, as collectors of logs have it.
        LogFormat::Json => lines.json().flatten_event(true).with_current_span(false).with_span_list(false).boxed(),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};
    use std::sync::{Arc, Mutex};

    use tracing::{info, warn};

    use super::*;

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Write for Kept {
        fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("kept").write(octets)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn each_line_is_one_json_object_whatever_is_said() {
        let kept = Kept::default();
        let held = kept.clone();
        let subscriber = tracing_subscriber::registry().with(lines(LogFormat::Json, move || held.clone()));
        tracing::subscriber::with_default(subscriber, || {
            info!(region = "a\"b", age_s = 1.5, ok = true, "two\nlines");
            warn!(error = %io::Error::other("\u{1b}[31mred"), "it \u{7} rings");
        });
        let text = String::from_utf8(kept.0.lock().expect("kept").clone()).expect("UTF-8");
        let lines: Vec<serde_json::Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
            .collect();
        let [first, second] = &lines[..] else { panic!("{text}") };
        assert!(first["timestamp"].as_str().is_some_and(|at| at.ends_with('Z')), "{first}");
        assert_eq!((&first["level"], &second["level"]), (&"INFO".into(), &"WARN".into()));
        assert_eq!((&first["message"], &second["message"]), (&"two\nlines".into(), &"it \u{7} rings".into()));
        assert_eq!((&first["region"], &first["age_s"], &first["ok"]), (&"a\"b".into(), &1.5.into(), &true.into()));
        assert_eq!(second["error"], "\u{1b}[31mred");
        assert!(lines.iter().all(|line| line["target"] == module_path!()), "{text}");
    }
}
