//! `meridian rollback`: the last switch or shift of a service, taken back.

use clap::Args;

use crate::admin::canary::WayStatus;
use crate::admin::switch::{RollbackBody, RolledBack};
use crate::steer::figure::whole_percent;

use super::live::Server;
use super::output::{self, Outcome};
use super::tag::IfMatch;

/// Take back the last switch of a service, or the last shift of its canary
///
/// Whichever was said last, here or at another node, also before a restart. A second rollback takes
/// the first one back.
#[derive(Args)]
#[command(after_help = "\
Examples:
  meridian rollback www
  meridian rollback www --if-match \"$(meridian service www --etag)\"")]
pub struct Rollback {
    /// The service: its whole name, or what comes before the origin
    #[arg(value_name = "SERVICE")]
    service: String,
    /// Go back also to a stage of which no region is up
    #[arg(long)]
    force: bool,
    /// At this node of a cluster alone, while etcd is away: all take it up when etcd is back
    #[arg(long)]
    here: bool,
    #[command(flatten)]
    if_match: IfMatch,
    /// Print the answer as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: Server,
}

impl Rollback {
    pub fn run(&self) -> Outcome {
        let (body, tag) = (RollbackBody { force: self.force, here: self.here }, self.if_match.tag.as_deref());
        let done = self.server.ask(async |server| server.roll_back(&self.service, &body, tag).await)?;
        if self.json { output::print_json(&done) } else { output::print(&in_words(&done)) }
    }
}

fn in_words(RolledBack { service, before, after, cached_for_s }: &RolledBack) -> String {
    if before == after {
        return format!("{service}: {}, as before\n", way(after));
    }
    format!(
        "{service}: back to {}, was {}\n  those who move may keep their answers for {cached_for_s} s yet\n  \
         forth again: meridian rollback {service}\n",
        way(after),
        way(before)
    )
}

/// `stage blue with a canary of 5 %`.
pub fn way(of: &WayStatus) -> String {
    let stage = of.stage.as_ref().map(|stage| format!("stage {stage}"));
    let canary = of.canary.map(|share| format!("a canary of {}", whole_percent(share)));
    stage.into_iter().chain(canary).collect::<Vec<_>>().join(" with ")
}
