//! `meridian region`: what the operator says of regions, to a running server.

use clap::{Args, Subcommand};

use crate::steer::health::effective::Override;

use super::drain::{self, Waiting};
use super::live::Server;
use super::output::{self, Outcome};
use super::status;
use crate::admin::heartbeat::HeartbeatBody;

/// See the regions of a running server, or say what holds for one
#[derive(Args)]
#[command(after_help = "\
Examples:
  meridian region list
  meridian region drain frankfurt            no new clients; those it has may finish
  meridian region drain frankfurt --wait     and wait until resolvers have forgotten it
  meridian region down seoul@gslb.example    not answered, whatever its probes say
  meridian region auto frankfurt             the probes decide again
  meridian region heartbeat frankfurt        all is well, says whoever runs this every few seconds

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
    /// Send the heartbeat that its `check.push` waits for
    Heartbeat {
        #[command(flatten)]
        target: Target,
        /// Of this endpoint alone: one of its addresses, or its host name
        #[arg(long, value_name = "ENDPOINT")]
        endpoint: Option<String>,
        /// Say that it is unhealthy, and why
        #[arg(long, value_name = "MESSAGE")]
        unhealthy: Option<String>,
    },
}

#[derive(Args)]
struct Target {
    /// The region: NAME, or NAME@ZONE
    #[arg(value_name = "REGION")]
    region: String,
    /// At this node of a cluster alone, while etcd is away: all take it up when etcd is back
    #[arg(long)]
    here: bool,
}

impl Region {
    pub fn run(&self) -> Outcome {
        let (target, said) = match &self.action {
            Action::List => return self.list(),
            Action::Drain { target, waiting } => return drain::run(&self.server, &target.region, waiting, target.here),
            Action::Heartbeat { target, endpoint, unhealthy } => {
                let (endpoint, healthy) = (endpoint.clone(), Some(unhealthy.is_none()));
                let body = HeartbeatBody { endpoint, healthy, message: unhealthy.clone() };
                return self.heartbeat(&target.region, &body);
            }
            Action::Up(target) => (target, Override::Up),
            Action::Down(target) => (target, Override::Down),
            Action::Auto(target) => (target, Override::Auto),
        };
        let Target { region, here } = target;
        let done = self.server.ask(async |server| server.say(region, said, *here).await)?;
        output::print(&drain::led_to(&done))
    }

    fn heartbeat(&self, region: &str, body: &HeartbeatBody) -> Outcome {
        let taken = self.server.ask(async |server| server.heartbeat(region, body).await)?;
        let (health, endpoints) = (if taken.healthy { "healthy" } else { "unhealthy" }, taken.endpoints.join(", "));
        output::print(&format!(
            "{}: heard as {health}: {endpoints}. The next must come within {} s.\n",
            taken.region, taken.max_age_s
        ))
    }

    fn list(&self) -> Outcome {
        output::print(&status::region_table(&status::of(&self.server)?.1.regions))
    }
}
