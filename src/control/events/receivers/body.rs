//! What receivers are told: events as the admin API has them, or a text for people. Pure.

use std::fmt::Write as _;

use serde::Serialize;

use crate::control::events::event::Event;
use crate::control::events::history::Batch;
use crate::model::shown::printable;

#[derive(Serialize)]
struct Generic<'a> {
    /// Oldest first.
    events: Vec<&'a Event>,
    /// So many more fell out of the history before these.
    left_out: usize,
}

#[derive(Serialize)]
struct Slack {
    text: String,
}

/// `{"events": […], "left_out": 0}`.
pub fn generic(batch: &Batch) -> Vec<u8> {
    let events = batch.events.iter().map(|event| &**event).collect();
    to_json(&Generic { events, left_out: batch.left_out })
}

/// `{"text": "…"}`, a line for each event, with `&`, `<` and `>` escaped as Slack asks for.
pub fn slack(batch: &Batch) -> Vec<u8> {
    let mut text = String::new();
    if batch.left_out > 0 {
        let _ = writeln!(text, "({} events before these are left out)", batch.left_out);
    }
    for event in &batch.events {
        let (at, severity) = (event.at, event.change.severity().as_str());
        let _ = writeln!(text, "{at:.0} {severity}: {}", printable(&event.change.to_string()));
    }
    let text = text.trim_end().replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    to_json(&Slack { text })
}

/// The numbers of the first and the last event, so that who has seen both of them has seen all between.
pub fn name(batch: &Batch) -> String {
    let id = |event: Option<&std::sync::Arc<Event>>| event.map_or(0, |event| event.id);
    format!("{}-{}", id(batch.events.first()), id(batch.events.last()))
}

fn to_json(value: &impl Serialize) -> Vec<u8> {
    // An error cannot be: no map has a key that is no text.
    serde_json::to_vec(value).unwrap_or_default()
}
