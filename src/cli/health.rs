//! `meridian health`: does the server live, and does its writer? For supervisors.

use std::fmt::Write as _;

use clap::Args;
use serde_json::{Value, json};

use crate::admin::api::Ready;
use crate::admin::client::AdminClient;

use super::live::Server;
use super::output::{Failure, Outcome};
use super::view::{View, understood};

/// Tell by the exit status whether a running server and its writer live
///
/// Not to be mixed up with `meridian ready`, which tells whether routers should send clients there.
#[derive(Args)]
#[command(after_help = "\
Examples:
  meridian health
  meridian health --process          the process alone, which takes no token
  meridian health --json | jq .writer")]
pub struct Health {
    /// Ask of the process alone
    #[arg(long, conflicts_with = "json")]
    process: bool,
    #[command(flatten)]
    view: View,
    #[command(flatten)]
    server: Server,
}

impl Health {
    pub fn run(&self) -> Outcome {
        if self.process {
            let ask = async |server: &AdminClient| Ok(json!(server.text(&["healthz"]).await?));
            return self.view.show_as(&self.server, ask, String::clone);
        }
        let ask = async |server: &AdminClient| Ok(json!(server.writer().await?));
        let answer = self.view.show(&self.server, ask, |ready| Ok(in_words(&understood(ready)?)))?;
        let is_well = |ready: &Value| ready["ready"] == true;
        if answer.as_ref().is_none_or(is_well) { Ok(()) } else { Err(Failure::told()) }
    }
}

// Writing to a String cannot fail: what `writeln!` returns is dropped.

fn in_words(ready: &Ready) -> String {
    let mut text = match (&ready.writer.trouble, ready.ready) {
        (None, true) => "the writer lives\n".to_owned(),
        (trouble, is_well) => {
            let word = if is_well { "the writer lives" } else { "the writer does NOT live" };
            let trouble = trouble.as_deref().unwrap_or(&ready.writer.pulse);
            format!("{word}: {trouble}\n")
        }
    };
    for file in &ready.state_files {
        let _ = writeln!(text, "note: {}: {}; {}", file.file, file.error, file.instead);
    }
    for mistake in &ready.last_load.mistakes {
        let _ = writeln!(text, "note: the last reload was refused: {mistake}");
    }
    for database in &ready.bad_databases {
        let why = database.error.as_deref().unwrap_or("bad");
        let _ = writeln!(text, "note: the database {}: {why}", database.path);
    }
    text
}
