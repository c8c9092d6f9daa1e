//! `meridian switch`: another stage for a service of a running server, and back.

use clap::Args;

use crate::admin::switch::{SwitchBody, Switched};

use super::live::Server;
use super::output::{self, Outcome};
use super::tag::IfMatch;

/// Switch a service to another of its stages, such as from blue to green
///
/// A stage without any region that is up is refused, unless it is forced. What was switched holds, also
/// over restarts, until the next switch.
#[derive(Args)]
#[command(after_help = "\
Examples:
  meridian switch www green                  from now on, answers are of stage green
  meridian switch www --rollback             back to the stage before
  meridian switch www --file                 to the stage that the zone file says is active")]
pub struct Switch {
    /// The service: its whole name, or what comes before the origin
    #[arg(value_name = "SERVICE")]
    service: String,
    /// The stage to switch to
    #[arg(value_name = "STAGE", required_unless_present_any = ["rollback", "file"], conflicts_with_all = ["rollback", "file"])]
    stage: Option<String>,
    /// Go back to the stage before the last switch
    #[arg(long, conflicts_with = "file")]
    rollback: bool,
    /// Go to the stage that the zone file says is active
    #[arg(long)]
    file: bool,
    /// Switch also where no region of the stage is up
    #[arg(long)]
    force: bool,
    /// Switch at this node of a cluster alone, while etcd is away: all take it up when etcd is back
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

impl Switch {
    pub fn run(&self) -> Outcome {
        let (rollback, file, force, here) = (self.rollback, self.file, self.force, self.here);
        let body = SwitchBody { stage: self.stage.clone(), rollback, file, force, here };
        let tag = self.if_match.tag.as_deref();
        let done = self.server.ask(async |server| server.switch(&self.service, &body, tag).await)?;
        if self.json { output::print_json(&done) } else { output::print(&in_words(&done)) }
    }
}

fn in_words(done: &Switched) -> String {
    let Switched { service, stage, before, cached_for_s } = done;
    if stage == before {
        return format!("{service}: on stage {stage}, as before\n");
    }
    format!(
        "{service}: switched from stage {before} to {stage}\n  \
         resolvers may hold answers of stage {before} for {cached_for_s} s yet\n  \
         back: meridian switch {service} --rollback\n"
    )
}
