//! `meridian live`: the state of a running server and its events, as they come.

use clap::Args;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::admin::client::AdminClient;
use crate::admin::frames::Frame;
use crate::admin::status::Status;
use crate::admin::summary::{Level, Summary};
use crate::control::events::event::Event;

use super::events;
use super::live::Server;
use super::output::{self, Outcome};
use super::verdict;

/// Follow a running server: how it is whenever that changes, and events as they come
///
/// Goes on until interrupted, or until the server ends the stream: then the exit status is 5.
#[derive(Args)]
#[command(after_help = "\
Examples:
  meridian live
  meridian live --after 42               with events from number 43 on, as far as they are remembered
  meridian live --json | jq 'select(.event == \"event\") | .data'

With --json each line is an object: `event` is `status`, `event` or `drain`, `data` what GET /v1/status or
GET /v1/events says of it, or how far the drain of a region has come.")]
pub struct Live {
    /// Also the events after this number
    #[arg(long, value_name = "ID")]
    after: Option<u64>,
    /// Print JSON, one object per line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: Server,
}

impl Live {
    pub fn run(&self) -> Outcome {
        self.server.with(async |server| self.follow(server).await)
    }

    async fn follow(&self, server: &AdminClient) -> Outcome {
        let mut told = Told::default();
        let mut stream = server.live(self.after).await?;
        let mut interrupted = std::pin::pin!(tokio::signal::ctrl_c());
        loop {
            let frame = tokio::select! {
                frame = stream.next() => frame?,
                _ = &mut interrupted => return Ok(()),
            };
            let Some(frame) = frame else {
                return Err(server.not_ours("it ended the stream".to_owned()).into());
            };
            if !self.tell(&mut told, &frame)? {
                return Ok(());
            }
        }
    }

    /// Prints a frame; tells whether anybody reads it.
    fn tell(&self, told: &mut Told, frame: &Frame) -> Outcome<bool> {
        let Ok(data) = serde_json::from_str::<Value>(&frame.data) else { return Ok(true) };
        if self.json {
            return output::print_json_lines(&[json!({ "event": frame.event, "id": frame.id, "data": data })]);
        }
        match &*frame.event {
            "event" => Event::deserialize(data).map_or(Ok(true), |event| output::print_on(&events::render(&[event]))),
            "status" => Status::deserialize(data).map_or(Ok(true), |status| told.news(&status)),
            _ => Ok(true),
        }
    }
}

/// What was said last of how the server is.
#[derive(Default)]
struct Told {
    troubles: Option<Vec<(Level, String)>>,
}

impl Told {
    /// Says how it is where that is another thing than before.
    fn news(&mut self, status: &Status) -> Outcome<bool> {
        let summary: Summary = status.summary.clone().unwrap_or_default();
        let now: Vec<(Level, String)> = summary.troubles.iter().map(|of| (of.level, of.of.to_string())).collect();
        if self.troubles.as_ref() == Some(&now) {
            return Ok(true);
        }
        self.troubles = Some(now);
        output::print_on(&verdict::summed_up(&summary))
    }
}
