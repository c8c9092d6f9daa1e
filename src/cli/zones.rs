//! `meridian zones` and `meridian zone`: what a running server serves, and a zone's records.

use clap::Args;

use crate::admin::resources::{ZoneDetail, ZoneRow};
use crate::model::shown::printable;

use super::list::{List, more};
use super::output::{Align, Outcome, Table, count};

/// Show a running server's zones
#[derive(Args)]
#[command(after_help = "\
Examples:
  meridian zones
  meridian zones --json | jq -r '.items[].origin'")]
pub struct Zones {
    #[command(flatten)]
    list: List,
}

/// Show a zone of a running server with its records
///
/// Set by set in canonical order. What services answer is not there: it is worked out for each query.
#[derive(Args)]
#[command(after_help = "\
Examples:
  meridian zone gslb.example.com
  meridian zone gslb.example.com --limit 20
  meridian zone gslb.example.com --json | jq '.items[] | select(.type == \"NS\")'")]
pub struct Zone {
    /// The zone, by its origin
    #[arg(value_name = "ORIGIN")]
    origin: String,
    #[command(flatten)]
    list: List,
}

impl Zones {
    pub fn run(&self) -> Outcome {
        self.list.show_page(&["v1", "zones"], "no zones", |zones: &[ZoneRow]| {
            let columns = [("zone", Align::Left), ("serial", Align::Right), ("names", Align::Right)];
            let [zone, serial, names] = columns;
            let mut table = Table::new([zone, serial, names, ("regions", Align::Right), ("services", Align::Right)]);
            for zone in zones {
                table.row([
                    zone.origin.clone(),
                    serial_of(zone),
                    zone.names.to_string(),
                    zone.regions.to_string(),
                    zone.services.to_string(),
                ]);
            }
            table.render()
        })
    }
}

impl Zone {
    pub fn run(&self) -> Outcome {
        self.list.show(&["v1", "zones", &self.origin], render)
    }
}

fn serial_of(zone: &ZoneRow) -> String {
    zone.serial.map_or("-".to_owned(), |serial| serial.to_string())
}

fn render(ZoneDetail { zone, records }: &ZoneDetail) -> String {
    let mut table =
        Table::new([("owner", Align::Left), ("TTL", Align::Right), ("type", Align::Left), ("data", Align::Left)]);
    for set in &records.items {
        for data in &set.data {
            table.row([set.owner.clone(), set.ttl.to_string(), set.rtype.clone(), data.clone()]);
        }
    }
    let (names, regions) = (count(zone.names, "name"), count(zone.regions, "region"));
    format!(
        "{}: serial {}, {names}, {regions}, {}\n\n{}{}",
        printable(&zone.origin),
        serial_of(zone),
        count(zone.services, "service"),
        table.render(),
        more(records.next.as_deref())
    )
}
