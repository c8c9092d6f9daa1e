//! `meridian regions` and `meridian region show`: the regions of a running server.

use std::fmt::Write as _;

use clap::Args;

use crate::admin::resources::RegionDetail;
use crate::model::shown::printable;
use crate::steer::figure::rounded;

use super::endpoints::check_table;
use super::list::List;
use super::live::Server;
use super::output::{Align, Outcome, Table, duration};
use super::status::{effective, region_table, used};
use super::tag::Tagged;

/// Show a running server's regions
#[derive(Args)]
#[command(after_help = "\
Examples:
  meridian regions
  meridian regions --json | jq -r '.items[] | select(.state == \"down\") | .name'
  meridian region show seoul             all that is known of one")]
pub struct Regions {
    #[command(flatten)]
    list: List,
}

/// What `region show` takes.
#[derive(Args)]
pub struct Show {
    /// The region: NAME, or NAME@ZONE
    #[arg(value_name = "REGION")]
    region: String,
    #[command(flatten)]
    tagged: Tagged,
}

impl Regions {
    pub fn run(&self) -> Outcome {
        let table = |regions: &[RegionDetail]| region_table(regions.iter().map(|region| &region.status));
        self.list.show_page(&["v1", "regions"], "no regions", table)
    }
}

impl Show {
    pub fn run(&self, server: &Server) -> Outcome {
        self.tagged.show(server, &["v1", "regions", &self.region], render)
    }
}

// Writing to a String cannot fail: what `writeln!` returns is dropped.

fn render(region: &RegionDetail, tag: &str) -> String {
    let (status, load) = (&region.status, &region.status.load);
    let whole = |known: Option<f64>| known.map_or("unknown".to_owned(), |known| rounded(known, 0));
    let capacity = region.capacity.map_or("unlimited".to_owned(), |capacity| rounded(capacity, 0));
    let mut text = format!("{}\n", printable(&status.name));
    let mut line = |what: &str, value: &str| {
        let _ = writeln!(text, "  {what:<10} {}", printable(value));
    };
    line("state", &effective(status));
    line("override", status.operator_override.as_str());
    let changed = status.changed_s.map_or("not since the start".to_owned(), |ago| format!("{} ago", duration(ago)));
    line("changed", &changed);
    line("location", &format!("{} at {}, {}", status.location, region.latitude, region.longitude));
    if load.configured {
        line("load", &format!("{} of {}, {}", whole(load.load), whole(load.capacity), used(load)));
    } else {
        line("load", "not reported");
    }
    line(
        "planned",
        &format!("{}; one client more costs {} ms", whole(status.planned_load), rounded(status.price_ms, 1)),
    );
    line(
        "configured",
        &format!("capacity {capacity}, cost {}, up from {} endpoints on", region.cost, region.min_healthy),
    );
    line("services", &region.services.join(", "));
    line("version", tag);
    let _ = write!(text, "\n{}", endpoint_table(region));
    if !region.checks.is_empty() {
        let _ = write!(text, "\n{}", check_table(&region.checks));
    }
    text
}

fn endpoint_table(region: &RegionDetail) -> String {
    let mut table = Table::new([
        ("endpoint", Align::Left),
        ("verdict", Align::Left),
        ("for", Align::Right),
        ("weight", Align::Right),
        ("last probe", Align::Left),
    ]);
    for endpoint in &region.status.endpoints {
        table.row([
            endpoint.label.clone(),
            endpoint.verdict.as_deref().unwrap_or("not probed").to_owned(),
            endpoint.since_s.map_or("-".to_owned(), duration),
            endpoint.weight.to_string(),
            endpoint.last_probe.clone(),
        ]);
    }
    table.render()
}
