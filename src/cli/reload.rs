//! `meridian reload`: a running server loads its files afresh.

use std::fmt::Write as _;

use clap::Args;

use crate::control::reload::Reloaded;

use super::live::Server;
use super::output::{self, Failure, Outcome, count};

/// Have a running server load its files afresh
///
/// Whole or not at all: with any mistake in the files it keeps serving what it had, and the mistakes are
/// shown here. `meridian check` shows them with excerpts, and beforehand. What would lose every zone, database,
/// network or listener is refused likewise, unless forced.
#[derive(Args)]
#[command(after_help = "\
Examples:
  meridian check -c /etc/meridian/meridian.toml && meridian reload
  meridian reload --admin 127.0.0.1:8054 --token-file /etc/meridian/admin.token

SIGHUP does the same, with the outcome in the log, and never forces.")]
pub struct Reload {
    /// Take it even if all zones, databases, networks or listeners are gone, or a database is bad
    #[arg(long)]
    force: bool,
    /// Print the answer as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: Server,
}

impl Reload {
    pub fn run(&self) -> Outcome {
        let json = self.server.ask(async |server| server.reload(self.force).await)?;
        if self.json {
            return output::print_json(&json);
        }
        let reloaded: Reloaded = serde_json::from_value(json)
            .map_err(|error| Failure::new(format!("reloaded, but the server is of another version: {error}")))?;
        output::print(&render(&reloaded))
    }
}

fn render(reloaded: &Reloaded) -> String {
    let mut text = format!(
        "reloaded: {}, {}, {}, {}\n",
        count(reloaded.zones, "zone"),
        count(reloaded.regions, "region"),
        count(reloaded.services, "service"),
        count(reloaded.places, "place"),
    );
    for warning in &reloaded.warnings {
        let _ = writeln!(text, "warning: {warning}"); // a String takes all
    }
    for setting in &reloaded.needs_restart {
        let _ = writeln!(text, "warning: `{setting}` was changed: that takes a restart");
    }
    text
}
