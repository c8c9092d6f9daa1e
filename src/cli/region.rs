//! `meridian region`: what the operator says of regions, to a running server.

use clap::{Args, Subcommand};

use crate::steer::health::effective::Override;

use super::drain::{self, Waiting};
use super::live::Server;
use super::output::{self, Outcome};
use super::status;

/// See the regions of a running server, or say what holds for one
#[derive(Args)]
#[command(after_help = "\
Examples:
  meridian region list
  meridian region drain frankfurt            no new clients; those it has may finish
  meridian region drain frankfurt --wait     and wait until resolvers have forgotten it
  meridian region down seoul@gslb.example    not answered, whatever its probes say
  meridian region auto frankfurt             the probes decide again

What is said holds until `auto`, also over restarts. Where several zones have a region of that
name, say which one: REGION@ZONE.")]
pub struct Region {
    #[command(subcommand)]
    action: Action,
    #[command(flatten)]
    server: Server,
}

#[derive(Subcommand)]
enum Action {
    /// Show every region and what is known of it
    List,
    /// Send it no new clients; those it has may finish
    Drain {
        #[command(flatten)]
        target: Target,
        #[command(flatten)]
        waiting: Waiting,
    },
    /// Answer with it whatever the probes say
    Up(Target),
    /// Do not answer with it whatever the probes say
    Down(Target),
    /// Believe the probes again
    Auto(Target),
}

#[derive(Args)]
struct Target {
    /// The region: NAME, or NAME@ZONE
    #[arg(value_name = "REGION")]
    region: String,
}

impl Region {
    pub fn run(&self) -> Outcome {
        let (region, said) = match &self.action {
            Action::List => return self.list(),
            Action::Drain { target, waiting } => return drain::run(&self.server, &target.region, waiting),
            Action::Up(target) => (&target.region, Override::Up),
            Action::Down(target) => (&target.region, Override::Down),
            Action::Auto(target) => (&target.region, Override::Auto),
        };
        let done = self.server.ask(async |server| server.set_override(region, said).await)?;
        output::print(&drain::led_to(&done))
    }

    fn list(&self) -> Outcome {
        output::print(&status::region_table(&status::of(&self.server)?.1.regions))
    }
}
