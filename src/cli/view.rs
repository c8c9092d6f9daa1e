//! What is read of a running server, as people or scripts want to see it: once, or again and again.
//!
//! ```text
//!   ask ─▶ the API's JSON ─┬─▶ --json: as it is ─┬─▶ once
//!                          └─▶ a table ──────────┴─▶ --watch: a screen, or document after document
//! ```

use std::io::{self, IsTerminal};
use std::time::Duration;

use clap::Args;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::admin::client::{AdminClient, ClientError};
use crate::control::clock;
use crate::control::events::event::timestamp;
use crate::model::shown::printable_lines;

use super::live::Server;
use super::output::{self, Failure, Outcome};

/// How an answer is shown.
#[derive(Args, Clone, Copy, Debug)]
pub struct View {
    /// Print the whole answer as JSON
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    watch: Watch,
}

/// How often.
#[derive(Args, Clone, Copy, Debug)]
pub struct Watch {
    /// Show it again every so many seconds, until interrupted; with --json, one document per line
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, require_equals = true, default_missing_value = "2", value_parser = seconds)]
    watch: Option<Duration>,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().filter(|seconds| (0.1..=86_400.0).contains(seconds));
    seconds.map(Duration::from_secs_f64).ok_or_else(|| "expected 0.1 to 86400 seconds, such as --watch=5".to_owned())
}

impl View {
    /// Asks, and shows the answer; `text` makes of it what people read. Tells the answer that was shown, unless it was
    /// watched until somebody interrupted that.
    pub fn show(
        &self,
        server: &Server,
        ask: impl AsyncFn(&AdminClient) -> Result<Value, ClientError>,
        text: impl Fn(&Value) -> Outcome<String>,
    ) -> Outcome<Option<Value>> {
        if self.watch.is_asked() {
            let page = async |server: &AdminClient| self.page(&ask(server).await?, &text);
            return self.watch.run(server, page).map(|()| None);
        }
        let answer = server.ask(ask)?;
        output::print_styled(&self.page(&answer, text)?)?;
        Ok(Some(answer))
    }

    /// The same with an answer of a type that is known.
    pub fn show_as<T: DeserializeOwned>(
        &self,
        server: &Server,
        ask: impl AsyncFn(&AdminClient) -> Result<Value, ClientError>,
        text: impl Fn(&T) -> String,
    ) -> Outcome {
        self.show(server, ask, |answer| Ok(text(&understood(answer)?))).map(drop)
    }

    /// An answer as it is printed, harmless to terminals.
    pub fn page(&self, answer: &Value, text: impl FnOnce(&Value) -> Outcome<String>) -> Outcome<String> {
        if self.json {
            let one_line = self.watch.is_asked() && !io::stdout().is_terminal();
            return output::json_text(answer, one_line);
        }
        Ok(printable_lines(&text(answer)?).into_owned())
    }

    pub fn is_watched(&self) -> bool {
        self.watch.is_asked()
    }
}

impl Watch {
    pub fn is_asked(self) -> bool {
        self.watch.is_some()
    }

    /// Prints what `page` makes, once or again and again until interrupted. It must be harmless to terminals.
    ///
    /// # Errors
    /// The first page cannot be made. A later one is told of, and tried again.
    pub fn run(self, server: &Server, page: impl AsyncFn(&AdminClient) -> Outcome<String>) -> Outcome {
        match self.watch {
            Some(period) => server.with(async |server| again(period, server, page).await),
            None => output::print_styled(&server.with(page)?),
        }
    }
}

async fn again(period: Duration, server: &AdminClient, page: impl AsyncFn(&AdminClient) -> Outcome<String>) -> Outcome {
    let on_terminal = io::stdout().is_terminal();
    let mut interrupted = std::pin::pin!(tokio::signal::ctrl_c());
    let mut is_first = true;
    loop {
        let made = tokio::select! {
            made = page(server) => made,
            _ = &mut interrupted => return Ok(()),
        };
        let text = match made {
            Ok(text) => text,
            Err(failure) if is_first => return Err(failure),
            // It may be restarting: what was asked is still wanted.
            Err(failure) if on_terminal => failure.text(),
            Err(failure) => {
                failure.tell();
                String::new()
            }
        };
        is_first = false;
        let size = ratatui::crossterm::terminal::size().unwrap_or((80, 24));
        let text = if on_terminal { screen(&text, period, size) } else { text };
        if !output::print_styled_on(&text)? {
            return Ok(()); // nobody reads it any more
        }
        tokio::select! {
            () = tokio::time::sleep(period) => {}
            _ = &mut interrupted => return Ok(()),
        }
    }
}

/// A page on an empty screen, below the time; what has no room there is left out, and that is said.
fn screen(text: &str, period: Duration, (columns, rows): (u16, u16)) -> String {
    const CLEAR: &str = "\x1b[H\x1b[2J";
    let (columns, rows) = (usize::from(columns), usize::from(rows).saturating_sub(4));
    let mut lines: Vec<String> = text.lines().map(|line| line.chars().take(columns).collect()).collect();
    if lines.len() > rows {
        let left = lines.len() - rows;
        lines.truncate(rows);
        lines.push(format!("… and {} more", output::count(left, "line")));
    }
    let text = lines.join("\n") + "\n";
    format!(
        "{CLEAR}{:.0}, every {} s, until Ctrl-C\n\n{text}",
        timestamp(clock::read().unix_ms()),
        period.as_secs_f64()
    )
}

/// An answer as it is understood.
pub fn understood<T: DeserializeOwned>(answer: &Value) -> Outcome<T> {
    T::deserialize(answer)
        .map_err(|error| Failure::new(format!("the server's answer is of another version of meridian: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_screen_holds_what_it_has_room_for() {
        let shown = screen(&"0123456789\n".repeat(9), Duration::from_secs(2), (5, 9));
        let lines: Vec<&str> = shown.lines().skip(2).collect();
        assert_eq!(lines, ["01234", "01234", "01234", "01234", "01234", "… and 4 lines more"]);
        assert!(shown.starts_with("\x1b[H\x1b[2J") && shown.contains(", every 2 s, until Ctrl-C\n"), "{shown:?}");
    }

    #[test]
    fn periods_are_seconds_within_reason() {
        assert_eq!(seconds("0.5"), Ok(Duration::from_millis(500)));
        for text in ["", "0", "-1", "nan", "1e9", "2s"] {
            assert!(seconds(text).is_err(), "{text}");
        }
    }
}
