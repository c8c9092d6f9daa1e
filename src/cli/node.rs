//! `meridian node`: what the operator says of a running server as a whole.

use clap::{Args, Subcommand};

use super::live::Server;
use super::output::{self, Outcome};
use super::ready;

/// Take this node out of what routers announce, or back
#[derive(Args)]
#[command(after_help = "\
Examples:
  meridian node drain            /ready says no, so that routers send clients elsewhere; it answers on
  meridian node resume           back again

What is said holds until the other is said, also over restarts.")]
pub struct Node {
    #[command(subcommand)]
    action: Action,
    /// Print the answer as JSON
    #[arg(long, global = true)]
    json: bool,
    #[command(flatten)]
    server: Server,
}

#[derive(Subcommand)]
enum Action {
    /// Have routers send clients elsewhere; whoever still comes is answered
    Drain,
    /// Let routers send clients here again
    Resume,
}

impl Node {
    pub fn run(&self) -> Outcome {
        let drained = matches!(self.action, Action::Drain);
        let said = self.server.ask(async |server| server.say_of_node(drained).await)?;
        if self.json {
            return output::print_json(&said);
        }
        let before = if said.changed { "" } else { ", as before" };
        let said_of_it = match drained {
            true => format!("this node drains{before}; it answers on. Back: meridian node resume\n"),
            false => format!("this node drains no more{before}\n"),
        };
        output::print(&(said_of_it + &ready::in_words(&said.node)))
    }
}
