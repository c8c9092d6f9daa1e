//! `meridian endpoints` and `meridian checks`: what a running server probes, and what it saw.

use clap::Args;

use crate::admin::resources::{CheckRow, EndpointRow};
use crate::steer::figure::rounded;

use super::list::List;
use super::output::{Align, Outcome, Table, duration};

/// Show all regions' endpoints, with what probes saw of them
#[derive(Args)]
#[command(after_help = "\
Examples:
  meridian endpoints
  meridian endpoints --json | jq '.items[] | select(.verdict != \"up\")'")]
pub struct Endpoints {
    #[command(flatten)]
    list: List,
}

/// Show all regions' checks, with how their probes go
#[derive(Args)]
#[command(after_help = "\
Examples:
  meridian checks
  meridian checks --json | jq '.items[] | {region, kind, probes}'")]
pub struct Checks {
    #[command(flatten)]
    list: List,
}

impl Endpoints {
    pub fn run(&self) -> Outcome {
        self.list.show_page(&["v1", "endpoints"], "no endpoints", |endpoints: &[EndpointRow]| {
            let mut table = Table::new([
                ("region", Align::Left),
                ("endpoint", Align::Left),
                ("layer", Align::Left),
                ("weight", Align::Right),
                ("verdict", Align::Left),
                ("for", Align::Right),
                ("connect ms", Align::Right),
                ("last probe", Align::Left),
            ]);
            for EndpointRow { region, addresses, status } in endpoints {
                let label = if addresses.len() > 1 { addresses.join(" ") } else { status.label.clone() };
                table.row([
                    region.clone(),
                    label,
                    status.layer.to_string(),
                    status.weight.to_string(),
                    status.verdict.as_deref().unwrap_or("not probed").to_owned(),
                    status.since_s.map_or("-".to_owned(), duration),
                    status.connect_ms.map_or("-".to_owned(), |ms| rounded(ms, 1)),
                    status.last_probe.clone(),
                ]);
            }
            table.render()
        })
    }
}

impl Checks {
    pub fn run(&self) -> Outcome {
        self.list.show_page(&["v1", "checks"], "no checks: nothing is probed", check_table)
    }
}

pub fn check_table(checks: &[CheckRow]) -> String {
    let mut table = Table::new([
        ("region", Align::Left),
        ("check", Align::Left),
        ("role", Align::Left),
        ("every", Align::Right),
        ("timeout", Align::Right),
        ("fall", Align::Right),
        ("rise", Align::Right),
        ("probes", Align::Left),
    ]);
    for check in checks {
        let probes = check.probes.iter().map(|(verdict, count)| format!("{count} {verdict}"));
        let name = if check.name.is_empty() { String::new() } else { format!(" ({})", check.name) };
        table.row([
            check.region.clone(),
            format!("{}{name}", check.kind),
            check.role.to_string(),
            format!("{} s", check.interval_s),
            format!("{} s", check.timeout_s),
            check.fall.to_string(),
            check.rise.to_string(),
            probes.collect::<Vec<_>>().join(", "),
        ]);
    }
    table.render()
}
