//! The command line: what people type becomes a call into the rest, and its outcome an exit code ([`exit`]).
//!
//! One file per subcommand:
//!
//! - [`demo`], [`serve`]: a server in this process
//! - [`check`], [`delegation`], [`geoip`], [`import`], [`init`]: files, without a server
//! - [`mod@simulate`]: neither, or a scenario's file
//! - [`explain`], [`explain_diff`]: files, or a running server
//! - [`what_if`]: a running server, and files beside it
//! - [`status`] and its [`all_nodes`], [`events`], [`follow`], [`audit`], [`health`], [`ready`], [`nodes`]: a running server, at a glance
//! - [`top`]: the same on a terminal, as it comes
//! - [`zones`], [`services`], [`regions`], [`endpoints`], [`overrides`], [`plans`], [`demand`], [`latency`], [`raw`]: what it has
//! - [`region`] and its [`drain`], [`switch`], [`canary`], [`rollback`], [`node`], [`reload`]: what is said to it
//! - [`config`], [`token`], [`completions`], [`man`]: none of these
//! - [`view`], [`list`], [`tag`]: how what is read of a server is shown
//! - [`arguments`], [`source`], [`live`], [`log`], [`heard`], [`verdict`], [`output`], [`exit`]: what several of them share

mod all_nodes;
mod arguments;
mod audit;
mod canary;
mod check;
mod completions;
mod config;
mod delegation;
mod demand;
mod demo;
mod drain;
mod endpoints;
mod events;
mod exit;
mod explain;
mod explain_diff;
mod follow;
mod geoip;
mod health;
mod heard;
mod import;
mod init;
mod latency;
mod list;
mod live;
mod log;
mod man;
mod node;
mod nodes;
mod output;
mod overrides;
mod plans;
mod raw;
mod ready;
mod region;
mod regions;
mod reload;
mod rollback;
mod serve;
mod services;
mod simulate;
mod source;
mod status;
mod switch;
mod tag;
mod token;
mod top;
mod verdict;
mod view;
mod what_if;
mod zones;

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use arguments::LogLevel;
use exit::EXIT_STATUS;
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
#[command(name = "meridian", version, max_term_width = 100, after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{EXIT_STATUS}"))]
struct Cli {
    /// What goes to the log: error, warn, info, debug, trace, or off
    ///
    /// Parts of the program may differ: info,meridian::control::probe=debug. Default: the
    /// environment's MERIDIAN_LOG, else `log.level` of the main file, else info, and error for the demo.
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
    Config(config::Config),
    Explain(explain::Explain),
    Status(status::Status),
    Events(events::Events),
    Live(follow::Live),
    Top(top::Top),
    Zones(zones::Zones),
    Zone(zones::Zone),
    Services(services::Services),
    Service(services::Service),
    Switch(switch::Switch),
    Canary(canary::Canary),
    Rollback(rollback::Rollback),
    Regions(regions::Regions),
    Region(region::Region),
    Endpoints(endpoints::Endpoints),
    Checks(endpoints::Checks),
    Overrides(overrides::Overrides),
    Plans(plans::Plans),
    Demand(demand::Demand),
    Flows(demand::Flows),
    Latency(latency::Latency),
    WhatIf(what_if::WhatIf),
    Reload(reload::Reload),
    Audit(audit::Audit),
    Node(node::Node),
    Nodes(nodes::Nodes),
    Ready(ready::Ready),
    Health(health::Health),
    Metrics(raw::Metrics),
    Openapi(raw::OpenApi),
    Token(token::Token),
    Geoip(geoip::Geoip),
    Simulate(simulate::Simulate),
    Delegation(delegation::Delegation),
    Completions(completions::Completions),
    #[command(hide = true)]
    Man(man::Man),
    Import(import::Import),
    Init(init::Init),
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
            Command::Config(command) => command.run(),
            Command::Explain(command) => command.run(),
            Command::Status(command) => command.run(),
            Command::Events(command) => command.run(),
            Command::Live(command) => command.run(),
            Command::Top(command) => command.run(),
            Command::Zones(command) => command.run(),
            Command::Zone(command) => command.run(),
            Command::Services(command) => command.run(),
            Command::Service(command) => command.run(),
            Command::Switch(command) => command.run(),
            Command::Canary(command) => command.run(),
            Command::Rollback(command) => command.run(),
            Command::Regions(command) => command.run(),
            Command::Region(command) => command.run(),
            Command::Endpoints(command) => command.run(),
            Command::Checks(command) => command.run(),
            Command::Overrides(command) => command.run(),
            Command::Plans(command) => command.run(),
            Command::Demand(command) => command.run(),
            Command::Flows(command) => command.run(),
            Command::Latency(command) => command.run(),
            Command::WhatIf(command) => command.run(),
            Command::Reload(command) => command.run(),
            Command::Audit(command) => command.run(),
            Command::Node(command) => command.run(),
            Command::Nodes(command) => command.run(),
            Command::Ready(command) => command.run(),
            Command::Health(command) => command.run(),
            Command::Metrics(command) => command.run(),
            Command::Openapi(command) => command.run(),
            Command::Token(command) => command.run(),
            Command::Geoip(command) => command.run(),
            Command::Simulate(command) => command.run(),
            Command::Delegation(command) => command.run(),
            Command::Completions(command) => command.run(Cli::command()),
            Command::Man(command) => command.run(Cli::command()),
            Command::Import(command) => command.run(),
            Command::Init(command) => command.run(),
        }
    }
}
