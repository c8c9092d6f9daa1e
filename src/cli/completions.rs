//! `meridian completions`: what a shell needs to complete commands and flags.

use clap::{Args, Command, ValueEnum};
use clap_complete::Shell;

use super::output::{self, Outcome};

/// Print the completions of a shell
#[derive(Args)]
#[command(after_help = "\
Examples:
  meridian completions bash > /etc/bash_completion.d/meridian
  meridian completions zsh > /usr/local/share/zsh/site-functions/_meridian
  meridian completions fish > ~/.config/fish/completions/meridian.fish")]
pub struct Completions {
    /// The shell
    #[arg(value_enum, value_name = "SHELL")]
    shell: Known,
}

#[derive(Clone, Copy, ValueEnum)]
enum Known {
    Bash,
    Zsh,
    Fish,
}

impl Completions {
    /// `program`: all commands there are.
    pub fn run(&self, mut program: Command) -> Outcome {
        let shell = match self.shell {
            Known::Bash => Shell::Bash,
            Known::Zsh => Shell::Zsh,
            Known::Fish => Shell::Fish,
        };
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut program, "meridian", &mut script);
        output::print(&String::from_utf8_lossy(&script))
    }
}
