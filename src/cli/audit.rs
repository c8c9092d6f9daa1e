//! `meridian audit`: who asked a running server for which change, and what came of it.

use clap::Args;

use crate::admin::client::AdminClient;
use crate::control::audit::{Entry, FoundEntries, Outcome as Came};

use super::live::Server;
use super::output::{Align, Outcome, Table};
use super::view::View;

/// Show who asked for changes, and what came of it
#[derive(Args)]
#[command(after_help = "\
Examples:
  meridian audit
  meridian audit --limit 20
  meridian audit --json | jq '.entries[] | select(.outcome == \"rejected\")'

The last 500 are remembered; audit.jsonl in the state directory has more.")]
pub struct Audit {
    /// Those after this number alone
    #[arg(long, value_name = "ID")]
    after: Option<u64>,
    /// Show at most so many: the newest, or the oldest of those after a number
    #[arg(long, value_name = "COUNT", default_value_t = 500)]
    limit: usize,
    #[command(flatten)]
    view: View,
    #[command(flatten)]
    server: Server,
}

impl Audit {
    pub fn run(&self) -> Outcome {
        let (limit, after) = (self.limit.to_string(), self.after.map(|after| after.to_string()));
        let mut query = vec![("limit", limit.as_str())];
        query.extend(after.as_deref().map(|after| ("after", after)));
        let ask = async |server: &AdminClient| server.get(&["v1", "audit"], &query).await;
        self.view.show_as(&self.server, ask, render)
    }
}

fn render(found: &FoundEntries) -> String {
    if found.entries.is_empty() {
        return "no changes were asked for\n".to_owned();
    }
    let mut table = Table::new([
        ("id", Align::Right),
        ("at", Align::Left),
        ("who", Align::Left),
        ("from", Align::Left),
        ("what", Align::Left),
        ("before", Align::Left),
        ("after", Align::Left),
        ("outcome", Align::Left),
    ]);
    for entry in &found.entries {
        let known = |of: &Option<String>| of.as_deref().unwrap_or("-").to_owned();
        table.row([
            entry.id.to_string(),
            entry.at.clone(),
            entry.who.clone(),
            entry.from.clone(),
            entry.what.clone(),
            known(&entry.before),
            known(&entry.after),
            outcome(entry),
        ]);
    }
    let left = found.left_out;
    let more =
        if left > 0 { format!("  {left} others are left out: see --limit and --after\n") } else { String::new() };
    table.render() + &more
}

fn outcome(entry: &Entry) -> String {
    let word = match entry.outcome {
        Came::Done => "done",
        Came::Rejected => "rejected",
        Came::Unknown => "unknown",
    };
    entry.why.as_ref().map_or(word.to_owned(), |why| format!("{word}: {why}"))
}
