//! `meridian config`: what may stand in the files, for editors and readers.

use clap::{Args, Subcommand};

use crate::control::config::schema::{self, Which};

use super::output::{self, Outcome};

/// Tell what may stand in the configuration files
#[derive(Args)]
pub struct Config {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    Schema(Schema),
    /// Print the reference of all settings, in Markdown
    #[command(hide = true)]
    Reference,
}

/// Print the JSON Schema of the main file, or of zone files
///
/// For editors: they complete keys, show what each means, and mark what is misspelt. It takes all that
/// `check` takes; some mistakes are seen by `check` alone.
#[derive(Args)]
#[command(after_help = "\
Examples:
  meridian config schema > meridian.schema.json
  meridian config schema --zone > zone.schema.json

The first line of a file tells editors with taplo where it is: #:schema ./meridian.schema.json")]
struct Schema {
    /// The schema of zone files
    #[arg(long)]
    zone: bool,
}

impl Config {
    pub fn run(&self) -> Outcome {
        match &self.action {
            Action::Schema(wanted) => {
                output::print_json(&schema::schema(if wanted.zone { Which::Zone } else { Which::Main }))
            }
            Action::Reference => output::print(&schema::reference::document()),
        }
    }
}
