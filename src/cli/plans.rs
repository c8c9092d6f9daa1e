//! `meridian plans`: the plan in force on a running server.

use clap::Args;

use crate::admin::resources::{PlannedRegion, PlannedService, Plans as Answer};
use crate::admin::status::ServiceRegion;
use crate::model::shown::printable;
use crate::steer::figure::{percent, rounded};

use super::list::{List, more};
use super::output::{Align, Outcome, Table};

/// Show the plan in force: what it expects of each region, and each service's shares
#[derive(Args)]
#[command(after_help = "\
Examples:
  meridian plans
  meridian plans --json | jq .planning")]
pub struct Plans {
    #[command(flatten)]
    list: List,
}

impl Plans {
    pub fn run(&self) -> Outcome {
        self.list.show(&["v1", "plans"], render)
    }
}

fn render(Answer { planning, regions, services }: &Answer) -> String {
    let kept_near = planning.kept_near().map_or(String::new(), |kept| format!("{}\n", printable(&kept)));
    format!(
        "clients are shared out {}\n{kept_near}\n{}\n{}{}",
        printable(&planning.told()),
        region_table(regions),
        service_table(&services.items),
        more(services.next.as_deref())
    )
}

fn region_table(regions: &[PlannedRegion]) -> String {
    let mut table = Table::new([("region", Align::Left), ("planned load", Align::Right), ("price ms", Align::Right)]);
    for region in regions {
        let planned = region.planned_load.map_or("-".to_owned(), |load| rounded(load, 0));
        table.row([region.name.clone(), planned, rounded(region.price_ms, 1)]);
    }
    table.render()
}

fn service_table(services: &[PlannedService]) -> String {
    let mut table = Table::new([("service", Align::Left), ("policy", Align::Left), ("shares of places", Align::Left)]);
    for service in services {
        let share = |region: &ServiceRegion| {
            let share = region.mean_share.map_or("-".to_owned(), |share| percent(share, 0));
            format!("{} {share}", region.name.split('@').next().unwrap_or_default())
        };
        let policy = service.stage.as_ref().map_or(service.policy.clone(), |stage| format!("stage {stage}"));
        table.row([service.name.clone(), policy, service.regions.iter().map(share).collect::<Vec<_>>().join(", ")]);
    }
    table.render()
}
