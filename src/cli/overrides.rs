//! `meridian overrides`: what operators said of a running server's regions.

use clap::Args;

use crate::admin::resources::OverrideRow;
use crate::steer::figure::percent;

use super::list::List;
use super::output::{Align, Outcome, Table, duration};

/// Show the overrides that hold, and how far drains have come
#[derive(Args)]
#[command(after_help = "\
Examples:
  meridian overrides
  meridian overrides --json | jq -r '.items[].region'     which to say `meridian region auto` of")]
pub struct Overrides {
    #[command(flatten)]
    list: List,
}

impl Overrides {
    pub fn run(&self) -> Outcome {
        self.list.show_page(&["v1", "overrides"], "no overrides: the probes decide", |overrides: &[OverrideRow]| {
            let mut table = Table::new([
                ("region", Align::Left),
                ("override", Align::Left),
                ("state", Align::Left),
                ("probes say", Align::Left),
                ("may still come", Align::Right),
                ("safe", Align::Left),
            ]);
            for row in overrides {
                let drain = row.drain.as_ref();
                let safe = drain.map(|drain| match drain.safe_in_s {
                    _ if drain.safe => "yes".to_owned(),
                    Some(seconds) => format!("in {}", duration(seconds)),
                    None => "no: still answered".to_owned(),
                });
                table.row([
                    row.region.clone(),
                    row.operator_override.as_str().to_owned(),
                    row.state.to_string(),
                    row.verdict.clone(),
                    drain.map_or(String::new(), |drain| percent(drain.may_come, 0)),
                    safe.unwrap_or_default(),
                ]);
            }
            table.render()
        })
    }
}
