//! `meridian demand` and `meridian flows`: who is where on a running server, and where they are sent.

use std::fmt::Write as _;

use clap::Args;

use crate::control::what_if::flows::{FlowPlace, Flows as FlowsAnswer};
use crate::control::what_if::placed::{Counted, Placed};
use crate::model::shown::printable;
use crate::steer::figure::{percent, rounded};

use super::live::Server;
use super::output::{Align, Outcome, Table};
use super::view::View;

/// Show how much of demand each region and each service has
#[derive(Args)]
#[command(after_help = "\
Examples:
  meridian demand
  meridian demand --json | jq '.regions[] | {name, load, capacity}'")]
pub struct Demand {
    #[command(flatten)]
    view: View,
    #[command(flatten)]
    server: Server,
}

/// Show where clients are, and the regions they are sent to
#[derive(Args)]
#[command(after_help = "\
Examples:
  meridian flows
  meridian flows --service www --places 20
  meridian flows --json | jq '.places[:3]'")]
pub struct Flows {
    /// Of this service alone
    #[arg(long, value_name = "SERVICE")]
    service: Option<String>,
    /// Show at most so many places: those with most clients
    #[arg(long, value_name = "COUNT", default_value_t = 40)]
    places: usize,
    #[command(flatten)]
    view: View,
    #[command(flatten)]
    server: Server,
}

impl Demand {
    pub fn run(&self) -> Outcome {
        self.view.show_as(&self.server, async |server| server.get(&["v1", "demand"], &[]).await, render)
    }
}

impl Flows {
    pub fn run(&self) -> Outcome {
        let query: Vec<_> = self.service.iter().map(|service| ("service", service.as_str())).collect();
        let ask = async |server: &crate::admin::client::AdminClient| server.get(&["v1", "flows"], &query).await;
        self.view.show_as(&self.server, ask, |flows| self.render(flows))
    }

    fn render(&self, flows: &FlowsAnswer) -> String {
        let mut table = Table::new([
            ("place", Align::Left),
            (unit(flows.counted), Align::Right),
            ("of all", Align::Right),
            ("sent to", Align::Left),
            ("to the nearest", Align::Right),
        ]);
        let places = flows.places.iter().take(self.places);
        for place in places {
            table.row([
                place_name(place),
                rounded(place.amount, 0),
                part(place.amount, flows.amount),
                sent_to(flows, place),
                to_the_nearest(place),
            ]);
        }
        let of = flows.service.as_ref().map_or("all services".to_owned(), |service| service.clone());
        let mut text = format!("clients of {}, shared out {}\n\n", printable(&of), printable(&flows.by));
        text.push_str(&table.render());
        let left = flows.places.len().saturating_sub(self.places);
        if left > 0 {
            let _ = writeln!(text, "  and {left} more: --places {}", flows.places.len());
        }
        text + &notes(&flows.notes)
    }
}

// Writing to a String cannot fail: what `writeln!` returns is dropped.

fn notes(notes: &[String]) -> String {
    notes.iter().map(|note| format!("\n  {}\n", printable(note))).collect()
}

fn unit(counted: Counted) -> &'static str {
    match counted {
        Counted::Demand => "demand",
        Counted::Places => "places",
    }
}

fn part(amount: f64, all: f64) -> String {
    if all > 0.0 { percent(amount / all, 1) } else { "-".to_owned() }
}

fn place_name(place: &FlowPlace) -> String {
    match (&place.name, place.latitude, place.longitude) {
        (Some(name), ..) => name.clone(),
        (None, Some(latitude), Some(longitude)) => format!("{}, {}", rounded(latitude, 1), rounded(longitude, 1)),
        _ => "unknown".to_owned(),
    }
}

/// `seoul 80 %, tokyo 20 %`.
fn sent_to(flows: &FlowsAnswer, place: &FlowPlace) -> String {
    let mut by_region: Vec<(usize, f64)> = Vec::new();
    for way in &place.ways {
        match by_region.iter_mut().find(|(region, _)| *region == way.region) {
            Some((_, amount)) => *amount += way.amount,
            None => by_region.push((way.region, way.amount)),
        }
    }
    let told = by_region.iter().map(|(region, amount)| {
        let name = flows.regions.get(*region).map_or("?", |region| region.name.split('@').next().unwrap_or_default());
        if place.amount > 0.0 { format!("{name} {}", percent(amount / place.amount, 0)) } else { name.to_owned() }
    });
    let told: Vec<String> = told.collect();
    if told.is_empty() { "nobody answers".to_owned() } else { told.join(", ") }
}

fn to_the_nearest(place: &FlowPlace) -> String {
    let near = place.ways.iter().filter(|way| way.nearest == Some(way.region));
    part(near.map(|way| way.amount).sum(), place.amount)
}

fn render(placed: &Placed) -> String {
    let all: f64 = placed.clients.iter().map(|clients| clients.amount).sum();
    let answered: f64 = placed.regions.iter().map(|region| region.load).sum();
    let mut regions = Table::new([
        ("region", Align::Left),
        ("state", Align::Left),
        (unit(placed.counted), Align::Right),
        ("of all", Align::Right),
        ("reported", Align::Right),
        ("capacity", Align::Right),
        ("price ms", Align::Right),
    ]);
    for region in &placed.regions {
        let whole = |known: Option<f64>| known.map_or("-".to_owned(), |known| rounded(known, 0));
        regions.row([
            region.name.clone(),
            region.effective.as_str().to_owned(),
            rounded(region.load, 0),
            part(region.load, all),
            whole(region.reported),
            whole(region.capacity),
            rounded(region.price_ms, 1),
        ]);
    }
    let mut services =
        Table::new([("service", Align::Left), ("condition", Align::Left), (unit(placed.counted), Align::Right)]);
    for (index, service) in placed.services.iter().enumerate() {
        let its = placed.clients.iter().filter(|clients| clients.service == index);
        let amount: f64 = its.map(|clients| clients.amount).sum();
        services.row([service.name.clone(), service.condition.as_str().to_owned(), rounded(amount, 0)]);
    }
    let unanswered = all - answered;
    let lost = if unanswered > all * 0.0005 {
        format!("no region has {} of it\n", part(unanswered, all))
    } else {
        String::new()
    };
    format!(
        "{} of {}, shared out {}\n{lost}\n{}\n{}{}",
        unit(placed.counted),
        rounded(all, 0),
        printable(&placed.by),
        regions.render(),
        services.render(),
        notes(&placed.notes)
    )
}
