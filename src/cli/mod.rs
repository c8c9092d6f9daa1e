//! The command line: what people type becomes a call into the rest, and its outcome an exit code.
//!
//! Exit codes: 0 it is done, 1 it failed (why is on standard error), 2 the command was mistyped
//! (or, for a simulation, its input).
//!
//! One file per subcommand:
//!
//! - [`demo`], [`serve`]: a server in this process
//! - [`check`], [`delegation`], [`geoip`]: files, without a server
//! - [`mod@simulate`]: neither, or a scenario's file
//! - [`explain`], [`explain_diff`]: files, or a running server
//! - [`what_if`]: a running server, and files beside it
//! - [`status`] and its [`all_nodes`], [`events`], [`region`] and its [`drain`], [`switch`], [`latency`], [`reload`],
//!   [`node`], [`nodes`], [`ready`]: a running server
//! - [`arguments`], [`source`], [`live`], [`log`], [`heard`], [`verdict`], [`output`]: what several of them share

mod all_nodes;
mod arguments;
mod check;
mod delegation;
mod demo;
mod drain;
mod events;
mod explain;
mod explain_diff;
mod geoip;
mod heard;
mod latency;
mod live;
mod log;
mod node;
mod nodes;
mod output;
mod ready;
mod region;
mod reload;
mod serve;
mod simulate;
mod source;
mod status;
mod switch;
mod verdict;
mod what_if;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use arguments::LogLevel;
use output::Outcome;

/// Runs the program with the arguments it was given.
pub fn run() -> ExitCode {
    // rustls takes whichever provider the process names first. An error says that one is there.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let cli = Cli::parse();
    match cli.command.unwrap_or_default().run(cli.log) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            failure.tell();
            failure.exit_code()
        }
    }
}

/// An authoritative DNS server that answers each client with the region it should use now.
#[derive(Parser)]
#[command(name = "meridian", version, max_term_width = 100, after_help = EXAMPLES)]
struct Cli {
    /// What goes to the log: error, warn, info, debug, trace, or off
    ///
    /// Parts of the program may differ: info,meridian::control::probe=debug. Default: the
    /// environment's MERIDIAN_LOG, else info, and error for the demo.
    #[arg(long, global = true, value_name = "LEVEL")]
    log: Option<LogLevel>,
    #[command(subcommand)]
    command: Option<Command>,
}

const EXAMPLES: &str = "\
Examples:
  meridian                                       the demo: five regions on this machine
  meridian check --config meridian.toml          every mistake in the files, at once
  meridian serve --config meridian.toml          answer
  meridian explain www.gslb.example --client 127.82.0.1 --demo
                                                 why this client gets that region
  meridian region drain frankfurt                send it no new clients

Without a command: the demo. `meridian help COMMAND` tells more of each.";

#[derive(Subcommand)]
enum Command {
    Demo(demo::Demo),
    Serve(serve::Serve),
    Check(check::Check),
    Explain(explain::Explain),
    Status(status::Status),
    Events(events::Events),
    Region(region::Region),
    Switch(switch::Switch),
    Node(node::Node),
    Nodes(nodes::Nodes),
    Ready(ready::Ready),
    Latency(latency::Latency),
    WhatIf(what_if::WhatIf),
    Reload(reload::Reload),
    Geoip(geoip::Geoip),
    Simulate(simulate::Simulate),
    Delegation(delegation::Delegation),
}

impl Default for Command {
    fn default() -> Command {
        Command::Demo(demo::Demo::default())
    }
}

impl Command {
    fn run(self, log: Option<LogLevel>) -> Outcome {
        match self {
            Command::Demo(command) => command.run(log),
            Command::Serve(command) => command.run(log),
            Command::Check(command) => command.run(),
            Command::Explain(command) => command.run(),
            Command::Status(command) => command.run(),
            Command::Events(command) => command.run(),
            Command::Region(command) => command.run(),
            Command::Switch(command) => command.run(),
            Command::Node(command) => command.run(),
            Command::Nodes(command) => command.run(),
            Command::Ready(command) => command.run(),
            Command::Latency(command) => command.run(),
            Command::WhatIf(command) => command.run(),
            Command::Reload(command) => command.run(),
            Command::Geoip(command) => command.run(),
            Command::Simulate(command) => command.run(),
            Command::Delegation(command) => command.run(),
        }
    }
}
