//! `meridian services` and `meridian service`: the services of a running server.

use std::fmt::Write as _;

use clap::Args;

use crate::admin::canary::{CanaryStatus, ShiftStatus};
use crate::admin::resources::ServiceDetail;
use crate::admin::status::ServiceRegion;
use crate::model::shown::printable;
use crate::steer::figure::{percent, whole_percent};

use super::list::List;
use super::live::Server;
use super::output::{self, Align, Outcome, Table};
use super::rollback::way;
use super::status::{condition, policy, service_table, ttl};
use super::tag::Tagged;

/// Show a running server's services
#[derive(Args)]
#[command(after_help = "\
Examples:
  meridian services
  meridian services --json | jq '.items[] | {name, condition}'")]
pub struct Services {
    #[command(flatten)]
    list: List,
}

/// Show a service of a running server
#[derive(Args)]
#[command(after_help = "\
Examples:
  meridian service www
  meridian service www.gslb.example.com --json
  meridian switch www green --if-match \"$(meridian service www --etag)\"")]
pub struct Service {
    /// The service: its whole name, or what comes before the origin
    #[arg(value_name = "SERVICE")]
    service: String,
    #[command(flatten)]
    tagged: Tagged,
    #[command(flatten)]
    server: Server,
}

impl Services {
    pub fn run(&self) -> Outcome {
        let table = |services: &[ServiceDetail]| service_table(services.iter().map(|service| &service.status));
        self.list.show_page(&["v1", "services"], "no services", table)
    }
}

impl Service {
    pub fn run(&self) -> Outcome {
        self.tagged.show(&self.server, &["v1", "services", &self.service], render)
    }
}

// Writing to a String cannot fail: what `writeln!` returns is dropped.

fn render(ServiceDetail { status, zone, stages, ecs, https }: &ServiceDetail, tag: &str) -> String {
    let mut text = format!("{}\n", printable(&status.name));
    let mut line = |what: &str, value: &str| {
        let _ = writeln!(text, "  {what:<10} {}", printable(value));
    };
    line("zone", zone);
    line("policy", &policy(status));
    if !stages.is_empty() {
        line("stages", &stages.join(", "));
    }
    if let Some(canary) = &status.canary {
        line("canary", &canary_in_words(canary));
    }
    if let Some(then) = &status.rollback {
        line("rollback", &format!("to {}: meridian rollback {}", way(then), status.name.trim_end_matches('.')));
    }
    line("condition", &condition(status));
    line(
        "TTL",
        &format!("{} now; {} s when calm, {} s near a failover", ttl(status), status.ttl_s, status.failover_ttl_s),
    );
    line("ECS", if *ecs { "believed" } else { "not believed" });
    line("HTTPS", if *https { "answered" } else { "not answered" });
    line("version", tag);
    text.push('\n');
    text.push_str(&region_table(&status.regions));
    text
}

/// `25 % of clients to green; alice shifted it, for 35 min yet: release 7; the file says 1 %`.
fn canary_in_words(CanaryStatus { to, share, file_share, shifted }: &CanaryStatus) -> String {
    let part = format!("{} of clients to {to}", whole_percent(*share));
    let Some(ShiftStatus { by, note, ends_in_s, .. }) = shifted else { return format!("{part}, as the file says") };
    let until = ends_in_s.map_or(String::new(), |left| format!(", for {} yet", output::duration(left)));
    let note = note.as_ref().map_or(String::new(), |note| format!(": {note}"));
    format!("{part}; {by} shifted it{until}{note}; the file says {}", whole_percent(*file_share))
}

pub fn region_table(regions: &[ServiceRegion]) -> String {
    let mut table = Table::new([
        ("region", Align::Left),
        ("state", Align::Left),
        ("places", Align::Right),
        ("share", Align::Right),
    ]);
    for region in regions {
        table.row([
            region.name.clone(),
            region.effective.as_str().to_owned(),
            region.places.map_or("-".to_owned(), |places| places.to_string()),
            region.mean_share.map_or("-".to_owned(), |share| percent(share, 1)),
        ]);
    }
    table.render()
}
