//! `[steering]` of the main file: what keeps steering calm. A [`Value`] comes in, a [`Steering`] goes out.

use std::time::Duration;

use super::reader::{Table, Value};
use crate::model::{Damping, MaxWithdrawn, Most, Steering};

const SECOND: Duration = Duration::from_secs(1);
const MOST_DETOUR: Duration = Duration::from_secs(10);
const HOUR: Duration = Duration::from_secs(3_600);

/// Reads the table.
pub fn read(value: Value<'_>) -> Option<Steering> {
    let defaults = Steering::default();
    value.table("`[steering]`", |table| {
        Some(Steering {
            damping: table.or("damping", defaults.damping, |v| or_off(v, DAMPING, damping)),
            max_withdrawn: table.or("max_withdrawn", defaults.max_withdrawn, |v| or_off(v, WITHDRAWN, max_withdrawn)),
            drain_allowance: table
                .or("drain_allowance", defaults.drain_allowance, |v| v.duration(Duration::ZERO..=HOUR)),
            max_detour: table.or("max_detour", defaults.max_detour, max_detour),
            planning_cpu: table.or("planning_cpu", defaults.planning_cpu, |v| {
                v.number("0.05 to 1", |part| (0.05..=1.0).contains(&part))
            }),
        })
    })
}

const DAMPING: &str = "a table such as { half_life = \"5m\", limit = 1.6 }, or \"off\"";
const WITHDRAWN: &str = "a table such as { share = 0.5, window = \"1m\" }, or \"off\"";

/// `None` in the inner option: turned off.
fn or_off<'a, T>(value: Value<'a>, expected: &str, read: impl FnOnce(&Table<'a>) -> Option<T>) -> Option<Option<T>> {
    if value.as_str() == Some("off") {
        return Some(None);
    }
    value.table_like(format!("`{}`", value.name), expected, read).map(Some)
}

/// 0 turns it off.
fn max_detour(value: Value<'_>) -> Option<Option<Duration>> {
    value.duration(Duration::ZERO..=MOST_DETOUR).map(|most| (!most.is_zero()).then_some(most))
}

fn damping(table: &Table<'_>) -> Option<Damping> {
    let defaults = Damping::default();
    Some(Damping {
        half_life: table.or("half_life", defaults.half_life, |v| v.duration(SECOND..=HOUR)),
        limit: table.or("limit", defaults.limit, |v| v.number("0.1 to 100", |n| (0.1..=100.0).contains(&n))),
    })
}

fn max_withdrawn(table: &Table<'_>) -> Option<MaxWithdrawn> {
    let window = table.or("window", MaxWithdrawn::default().window, |v| v.duration(SECOND..=HOUR));
    let key = table.one_of(&["regions", "share"])?;
    let regions = match key.name {
        "regions" => key.small(1..=1_024).map(Most::Regions),
        _ => key.number("above 0, up to 1", |n| n > 0.0 && n <= 1.0).map(Most::Share),
    };
    Some(MaxWithdrawn { regions: regions?, window })
}
