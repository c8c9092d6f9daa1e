//! How bad it is: the first lines of `status` and `nodes`, and their exit codes.

use std::fmt::Write as _;

use crate::admin::summary::{Level, Summary, Trouble};
use crate::model::shown::printable;

use super::exit::Exit;
use super::output::{self, Failure, Outcome, duration};

/// The outcome of a command that has shown how bad it is.
pub fn ends(state: Level) -> Outcome {
    match state {
        Level::Panic => Err(Failure::told_with(Exit::Panic)),
        Level::Degraded => Err(Failure::told_with(Exit::Degraded)),
        Level::Ok => Ok(()),
    }
}

// Writing to a String cannot fail: what `writeln!` returns is dropped.

/// The word, since when, and each trouble.
pub fn summed_up(summary: &Summary) -> String {
    /// Beyond these, `--json` tells all.
    const MOST: usize = 40;
    let of_level = summary.troubles.iter().filter(|trouble| trouble.level == summary.state);
    let mut text = summary.state.as_str().to_uppercase();
    let _ = match summary.since_s {
        Some(since) => write!(text, " for {}", duration(since)),
        None => Ok(()),
    };
    let _ = match summary.state {
        Level::Ok => writeln!(text),
        _ => writeln!(text, ": {}", output::count(of_level.count(), "trouble")),
    };
    for trouble in summary.troubles.iter().take(MOST) {
        let _ = writeln!(text, "  {}", printable(&told(trouble)));
    }
    if summary.troubles.len() > MOST {
        let _ = writeln!(text, "  and {} more: see --json", summary.troubles.len() - MOST);
    }
    text.push('\n');
    text
}

/// `panic     www.gslb.example, for 12 s: PANIC: …; for 42 s yet`.
fn told(Trouble { level, of, what, since_s, until_s }: &Trouble) -> String {
    let level = if *level == Level::Ok { "note" } else { level.as_str() };
    let since = since_s.map_or(String::new(), |since| format!(", for {}", duration(since)));
    let until = until_s.map_or(String::new(), |until| format!("; for {} yet", duration(until)));
    format!("{level:<8}  {of}{since}: {what}{until}")
}
