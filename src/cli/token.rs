//! `meridian token new`: a token for the admin API, and the lines that let it in.

use clap::{Args, Subcommand};

use crate::control::access::{NewToken, Role};

use super::output::{self, Failure, Outcome};

/// Make tokens for the admin API
#[derive(Args)]
#[command(after_help = "\
Examples:
  meridian token new --name alice --role operate     alice may drain regions, and not reload

The lines go into the file that `admin.tokens_file` names; a reload takes them up.")]
pub struct Token {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Make a token, show it once, and show the lines that let it in
    New {
        /// Who will have it: letters, digits, and any of `._@-`
        #[arg(long)]
        name: String,
        /// What it may do: read, operate (overrides, switches, loads) or admin (reloads, imports, too)
        #[arg(long)]
        role: Role,
    },
}

impl Token {
    pub fn run(&self) -> Outcome {
        let Action::New { name, role } = &self.action;
        let made = NewToken::make(name, *role).map_err(Failure::new)?;
        output::print(&format!(
            "The token, which nobody can show again; in a file of its own, `--token-file` takes it:\n\n{}\n\n\
             For the file that admin.tokens_file names, then `meridian reload`:\n\n{}",
            made.secret, made.lines
        ))
    }
}
