//! `meridian events`: what changed on a running server, when and why.

use std::fmt::Write as _;
use std::time::Duration;

use clap::Args;
use jiff::Timestamp;

use crate::admin::client::{AdminClient, ClientError};
use crate::control::config::duration;
use crate::control::events::event::{Change, Event};
use crate::control::events::history::FoundEvents;
use crate::model::shown::printable;

use super::live::Server;
use super::output::{self, Outcome};
use super::view::Watch;

/// The time between two questions to the server.
const POLL: Duration = Duration::from_secs(1);

/// Show what changed on a running server: regions and services, when and why
#[derive(Args)]
#[command(after_help = "\
Examples:
  meridian events --since 1h
  meridian events --region seoul --follow
  meridian events --since 2026-11-21T04:30:00Z --json | jq 'select(.after == \"down\")'")]
pub struct Events {
    /// Not before: a duration before now such as 1h or 90s, or a time such as 2026-11-21T04:30:00Z
    #[arg(long, value_name = "WHEN", value_parser = parse_since)]
    since: Option<String>,
    /// Of this region alone: NAME, or NAME@ZONE
    #[arg(long)]
    region: Option<String>,
    /// Show at most so many: the newest
    #[arg(long, default_value_t = 1000)]
    limit: usize,
    /// Print JSON, one object per line
    #[arg(long)]
    json: bool,
    /// Go on with what comes, until interrupted
    #[arg(long, conflicts_with = "watch")]
    follow: bool,
    #[command(flatten)]
    watch: Watch,
    #[command(flatten)]
    server: Server,
}

/// What the server takes: seconds, or a time.
fn parse_since(text: &str) -> Result<String, String> {
    match (duration::parse(text), text.parse::<Timestamp>()) {
        (Some(ago), _) => Ok(ago.as_secs_f64().to_string()),
        (None, Ok(at)) => Ok(at.to_string()),
        (None, Err(_)) => Err("expected a duration such as 1h, or a time such as 2026-11-21T04:30:00Z".to_owned()),
    }
}

impl Events {
    pub fn run(&self) -> Outcome {
        let limit = self.limit.to_string();
        let mut query = vec![("limit", limit.as_str())];
        query.extend(self.region.as_deref().map(|region| ("region", region)));
        let first: Vec<_> = query.iter().copied().chain(self.since.as_deref().map(|since| ("since", since))).collect();
        if self.watch.is_asked() {
            return self.watch.run(&self.server, async |server| self.page(&server.events(&first).await?));
        }
        let found = self.server.ask(async |server| server.events(&first).await)?;
        let mut reader_is_there = self.show(&found)?;
        if !self.follow && found.left_out > 0 && !self.json {
            return output::print(&format!("  {} older ones are left out: see --limit\n", found.left_out));
        }
        let mut last = found.last_id;
        while self.follow && reader_is_there {
            let found = self.server.ask(async |server| next(server, &query, last).await)?;
            reader_is_there = self.show(&found)?;
            // Where some are left out they are the newest, and come next.
            last = match found.events.last() {
                Some(event) if found.left_out > 0 => event.id,
                _ => found.last_id.max(last),
            };
        }
        Ok(())
    }

    /// All of them at once.
    fn page(&self, found: &FoundEvents) -> Outcome<String> {
        if self.json { output::json_text(found, true) } else { Ok(render(&found.events)) }
    }

    /// Prints events; tells whether anybody reads them.
    fn show(&self, found: &FoundEvents) -> Outcome<bool> {
        if found.events.is_empty() {
            return Ok(true);
        }
        if self.json { output::print_json_lines(&found.events) } else { output::print_on(&render(&found.events)) }
    }
}

/// Events after this number, once a moment has passed.
async fn next(server: &AdminClient, query: &[(&str, &str)], last: u64) -> Result<FoundEvents, ClientError> {
    tokio::time::sleep(POLL).await;
    let last = last.to_string();
    let query: Vec<_> = query.iter().copied().chain([("after", last.as_str())]).collect();
    server.events(&query).await
}

// Writing to a String cannot fail: what `writeln!` returns is dropped.

/// A line for each event.
pub fn render(events: &[Event]) -> String {
    let mut text = String::new();
    for Event { at, change, .. } in events {
        let _ = write!(text, "{at:.3}  {}", printable(&change.to_string()));
        if let Change::Region(region) = change
            && let Some(first) = region.services.first()
        {
            let more = region.services_in_all.saturating_sub(1);
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            let _ = write!(text, "  (for {}{more})", printable(first));
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn since_is_a_duration_or_a_time() {
        for (text, sent) in [
            ("1h", "3600"),
            ("500ms", "0.5"),
            ("2026-11-21T04:30:00Z", "2026-11-21T04:30:00Z"),
            ("2026-11-21T04:30:00+09:00", "2026-11-20T19:30:00Z"),
        ] {
            assert_eq!(parse_since(text).as_deref(), Ok(sent));
        }
        for text in ["", "1", "yesterday", "-1h", "2026-11-21"] {
            assert!(parse_since(text).is_err(), "{text}");
        }
    }

    #[test]
    fn nothing_an_endpoint_said_does_anything_to_a_terminal() {
        let json = serde_json::json!({
            "id": 7, "at": "2026-11-21T04:30:00Z", "kind": "region", "region": "seoul@gslb.example", "before": "suspect",
            "after": "down", "cause": "probes", "override": "auto", "endpoints": 1, "endpoints_down": 1,
            "probes": [{ "endpoint": "192.0.2.1", "verdict": "down", "last_probe": "\u{1b}[2J\nx", "age_s": 0.1,
                "connect_ms": null }],
            "services": ["www.gslb.example"], "services_in_all": 3,
        });
        let event: Event = serde_json::from_value(json).expect("an event");
        assert_eq!(
            render(&[event]),
            "2026-11-21T04:30:00.000Z  region seoul@gslb.example down: 1 of 1 endpoint; last: \\u{1b}[2J\\nx  \
             (for www.gslb.example and 2 more)\n"
        );
    }
}
