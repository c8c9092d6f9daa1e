//! `meridian metrics` and `meridian openapi`: what a running server tells programs, as it is.

use clap::Args;

use crate::admin::client::AdminClient;
use crate::model::shown::printable_lines;

use super::live::Server;
use super::output::{self, Outcome};
use super::view::Watch;

/// Print a running server's metrics, as OpenMetrics
#[derive(Args)]
#[command(after_help = "\
Examples:
  meridian metrics | grep ^meridian_responses_total
  meridian metrics --admin unix:/run/meridian/admin.sock")]
pub struct Metrics {
    #[command(flatten)]
    watch: Watch,
    #[command(flatten)]
    server: Server,
}

/// Print the description of a running server's admin API: OpenAPI 3.1, as JSON
#[derive(Args)]
#[command(after_help = "\
Examples:
  meridian openapi > meridian.openapi.json
  meridian openapi | jq '.paths | keys'")]
pub struct OpenApi {
    #[command(flatten)]
    server: Server,
}

impl Metrics {
    pub fn run(&self) -> Outcome {
        let page = async |server: &AdminClient| Ok(printable_lines(&server.text(&["metrics"]).await?).into_owned());
        self.watch.run(&self.server, page)
    }
}

impl OpenApi {
    pub fn run(&self) -> Outcome {
        output::print_json(&self.server.ask(async |server| server.get(&["v1", "openapi.json"], &[]).await)?)
    }
}
