//! `meridian ready`: should routers send clients to this node? For the scripts of BIRD, ExaBGP and keepalived.

use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};

use crate::admin::client::AdminClient;
use crate::admin::node::NodeStatus;
use crate::control::config::duration;

use super::live::Server;
use super::output::{Failure, Outcome};
use super::view::{View, understood};

/// Tell by the exit status whether this node should be announced
#[derive(Args)]
#[command(after_help = "\
Exit status: 0 it should be announced, 1 it should not, 5 no server answers.

Examples:
  meridian ready
  meridian ready --within 200ms || ip address del 192.0.2.53/32 dev anycast
  curl -fs http://127.0.0.1:8053/ready")]
pub struct Ready {
    #[command(flatten)]
    view: View,
    /// How long to wait for the server, such as 200ms; whatever does not answer by then is not ready
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = within)]
    within: Duration,
    #[command(flatten)]
    server: Server,
}

fn within(text: &str) -> Result<Duration, String> {
    let range = Duration::from_millis(1)..=Duration::from_secs(60);
    duration::parse(text).filter(|within| range.contains(within)).ok_or_else(|| "expected 1ms to 60s".to_owned())
}

impl Ready {
    pub fn run(&self) -> Outcome {
        let ask = async |server: &AdminClient| Ok(json!(server.ready(self.within).await?));
        let answer = self.view.show(&self.server, ask, |node| Ok(in_words(&understood(node)?)))?;
        let is_ready = |node: &Value| node["ready"] == true;
        if answer.as_ref().is_none_or(is_ready) { Ok(()) } else { Err(Failure::told()) }
    }
}

/// A line per reason.
pub fn in_words(node: &NodeStatus) -> String {
    match node.ready {
        true => "ready\n".to_owned(),
        false => node.reasons.iter().map(|of| format!("not ready: {}\n", of.why)).collect(),
    }
}
