//! `meridian region`: what the operator says of regions, to a running server.

use clap::{Args, Subcommand};
use serde_json::json;

use crate::admin::heartbeat::HeartbeatBody;
use crate::admin::load::LoadTaken;
use crate::model::shown::printable;
use crate::steer::figure::{percent, rounded};
use crate::steer::health::effective::Override;

use super::drain::{self, Waiting};
use super::live::Server;
use super::output::{self, Outcome};
use super::tag::IfMatch;
use super::view::{View, understood};
use super::{regions, status};

/// See the regions of a running server, or say what holds for one
#[derive(Args)]
#[command(after_help = "\
Examples:
  meridian region list
  meridian region show seoul                 all that is known of one
  meridian region drain frankfurt            no new clients; those it has may finish
  meridian region drain frankfurt --wait     and wait until resolvers have forgotten it
  meridian region down seoul@gslb.example    not answered, whatever its probes say
  meridian region down seoul --if-match \"$(meridian region show seoul --etag)\"
                                             unless somebody said something meanwhile
  meridian region auto frankfurt             the probes decide again
  meridian region load seoul 120 --capacity 200
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
    List(View),
    /// Show a region: its state, endpoints, checks and load
    Show(regions::Show),
    /// Send it no new clients; those it has may finish
    Drain {
        #[command(flatten)]
        target: Target,
        #[command(flatten)]
        waiting: Waiting,
    },
    /// Answer with it whatever the probes say
    Up(Said),
    /// Do not answer with it whatever the probes say
    Down(Said),
    /// Believe the probes again
    Auto(Said),
    /// Report its load, which its `load_report.push` waits for
    Load(Load),
    /// Send the heartbeat that its `check.push` waits for
    Heartbeat(Heartbeat),
}

#[derive(Args)]
struct Target {
    /// The region: NAME, or NAME@ZONE
    #[arg(value_name = "REGION")]
    region: String,
    /// At this node of a cluster alone, while etcd is away: all take it up when etcd is back
    #[arg(long)]
    here: bool,
    #[command(flatten)]
    if_match: IfMatch,
}

#[derive(Args)]
struct Said {
    #[command(flatten)]
    target: Target,
    /// Print the answer as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct Load {
    /// The region: NAME, or NAME@ZONE
    #[arg(value_name = "REGION")]
    region: String,
    /// Its load, in its own unit
    #[arg(value_name = "LOAD")]
    load: f64,
    /// The load it could bear now, in the same unit
    #[arg(long, value_name = "CAPACITY")]
    capacity: Option<f64>,
    /// The time both are of, such as 2026-11-21T04:30:00Z
    #[arg(long, value_name = "TIME", conflicts_with = "age")]
    at: Option<String>,
    /// Or how old they are, in seconds
    #[arg(long, value_name = "SECONDS")]
    age: Option<f64>,
    /// The part of its servers that are up, 0 to 1
    #[arg(long, value_name = "PART")]
    healthy: Option<f64>,
    /// The part of answers lately that were errors, 0 to 1
    #[arg(long, value_name = "PART")]
    errors: Option<f64>,
    /// Nothing behind it answers any more
    #[arg(long)]
    down: bool,
    /// Print the answer as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct Heartbeat {
    /// The region: NAME, or NAME@ZONE
    #[arg(value_name = "REGION")]
    region: String,
    /// Of this endpoint alone: one of its addresses, or its host name
    #[arg(long, value_name = "ENDPOINT")]
    endpoint: Option<String>,
    /// Say that it is unhealthy, and why
    #[arg(long, value_name = "MESSAGE")]
    unhealthy: Option<String>,
    /// Print the answer as JSON
    #[arg(long)]
    json: bool,
}

impl Region {
    pub fn run(&self) -> Outcome {
        match &self.action {
            Action::List(view) => view.show_as(
                &self.server,
                async |server| server.status().await,
                |status: &crate::admin::status::Status| status::region_table(&status.regions),
            ),
            Action::Show(show) => show.run(&self.server),
            Action::Drain { target: Target { region, here, if_match }, waiting } => {
                drain::run(&self.server, region, waiting, (*here, if_match.tag.as_deref()))
            }
            Action::Up(said) => said.run(&self.server, Override::Up),
            Action::Down(said) => said.run(&self.server, Override::Down),
            Action::Auto(said) => said.run(&self.server, Override::Auto),
            Action::Load(load) => load.run(&self.server),
            Action::Heartbeat(heartbeat) => heartbeat.run(&self.server),
        }
    }
}

impl Said {
    fn run(&self, server: &Server, said: Override) -> Outcome {
        let Target { region, here, if_match } = &self.target;
        let done = server.ask(async |server| server.say(region, said, *here, if_match.tag.as_deref()).await)?;
        if self.json { output::print_json(&done) } else { output::print(&drain::led_to(&done)) }
    }
}

impl Load {
    fn run(&self, server: &Server) -> Outcome {
        let mut body = json!({ "load": self.load });
        let figures =
            [("capacity", self.capacity), ("age_s", self.age), ("healthy", self.healthy), ("errors", self.errors)];
        for (name, figure) in figures.into_iter().filter_map(|(name, figure)| Some((name, figure?))) {
            body[name] = figure.into();
        }
        if let Some(at) = &self.at {
            body["at"] = at.as_str().into();
        }
        if self.down {
            body["down"] = true.into();
        }
        let answer = server.ask(async |server| server.report_load(&self.region, &body).await)?;
        if self.json {
            return output::print_json(&answer);
        }
        let LoadTaken { region, load, capacity, utilisation, stale_after_s, .. } = understood(&answer)?;
        let of = capacity.map_or(String::new(), |capacity| format!(" of {}", rounded(capacity, 0)));
        let used = utilisation.map_or(String::new(), |used| format!(", {}", percent(used, 0)));
        let (region, load, within) = (printable(&region), rounded(load, 0), rounded(stale_after_s, 0));
        output::print(&format!("{region}: load {load}{of}{used}. The next must come within {within} s.\n"))
    }
}

impl Heartbeat {
    fn run(&self, server: &Server) -> Outcome {
        let (endpoint, healthy) = (self.endpoint.clone(), Some(self.unhealthy.is_none()));
        let body = HeartbeatBody { endpoint, healthy, message: self.unhealthy.clone() };
        let taken = server.ask(async |server| server.heartbeat(&self.region, &body).await)?;
        if self.json {
            return output::print_json(&taken);
        }
        let (health, endpoints) = (if taken.healthy { "healthy" } else { "unhealthy" }, taken.endpoints.join(", "));
        output::print(&format!(
            "{}: heard as {health}: {endpoints}. The next must come within {} s.\n",
            taken.region, taken.max_age_s
        ))
    }
}
