//! News of a running server for `meridian top`: its state as it comes, and its counters now and then.
//!
//! ```text
//!   GET /v1/live, again whenever it breaks off ─┐
//!   GET /v1/status where it does not serve ─────┼─▶ News
//!   GET /metrics, every 2 s ────────────────────┘
//! ```

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Deserialize;
use tokio::sync::mpsc::Sender;
use tokio::time::{sleep, timeout};

use crate::admin::client::{AdminClient, ClientError};
use crate::admin::frames::Frame;
use crate::admin::status::Status;
use crate::control::events::event::Event;

use super::figures::{Figures, Rates};

/// Something new.
#[derive(Clone, Debug)]
pub enum News {
    Status(Arc<Status>),
    Event(Arc<Event>),
    /// `None`: not known yet.
    Rates(Option<Rates>),
    /// The server cannot be asked, and why.
    Lost(String),
}

/// Between two looks at the counters, and at the status where it does not come by itself.
const PERIOD: Duration = Duration::from_secs(2);
/// Between two attempts to reach a server that is away.
const AGAIN: Duration = Duration::from_secs(1);
/// A stream says something every 10 s.
const SILENCE: Duration = Duration::from_secs(25);
/// Events of before that are shown at first.
const EVENTS: &str = "50";

/// Tells news until nobody hears it.
pub async fn feed(server: &AdminClient, news: &Sender<News>) {
    tokio::select! {
        () = states(server, news) => {}
        () = counters(server, news) => {}
    }
}

async fn states(server: &AdminClient, news: &Sender<News>) {
    let mut last = None;
    while !news.is_closed() {
        let error = match follow(server, news, &mut last).await {
            Ok(()) => "it ended the connection".to_owned(),
            // All its streams are taken, or a proxy before it lets none through.
            Err(ClientError::Refused { status: 404 | 405 | 503, .. }) => match look(server, news).await {
                Ok(()) => {
                    sleep(PERIOD).await;
                    continue;
                }
                Err(error) => error.to_string(),
            },
            Err(error) => error.to_string(),
        };
        _ = news.send(News::Lost(error)).await;
        sleep(AGAIN).await;
    }
}

/// Everything as it comes, until the server ends that.
async fn follow(server: &AdminClient, news: &Sender<News>, last: &mut Option<u64>) -> Result<(), ClientError> {
    if last.is_none() {
        let found = server.events(&[("limit", EVENTS)]).await?;
        *last = Some(found.last_id);
        for event in found.events {
            _ = news.send(News::Event(Arc::new(event))).await;
        }
    }
    let mut stream = server.live(*last).await?;
    loop {
        let silent = |_| server.not_ours(format!("it said nothing for {} s", SILENCE.as_secs()));
        let Some(frame) = timeout(SILENCE, stream.next()).await.map_err(silent)?? else { return Ok(()) };
        *last = frame.id.or(*last);
        // What is not understood is of another version.
        if let Some(told) = understood(&frame)
            && news.send(told).await.is_err()
        {
            return Ok(());
        }
    }
}

fn understood(frame: &Frame) -> Option<News> {
    match &*frame.event {
        "status" => serde_json::from_str(&frame.data).ok().map(|status| News::Status(Arc::new(status))),
        "event" => serde_json::from_str(&frame.data).ok().map(|event| News::Event(Arc::new(event))),
        _ => None,
    }
}

/// The status once.
async fn look(server: &AdminClient, news: &Sender<News>) -> Result<(), ClientError> {
    let status = server.status().await?;
    let status = Status::deserialize(status).map_err(|error| server.not_ours(error.to_string()))?;
    _ = news.send(News::Status(Arc::new(status))).await;
    Ok(())
}

async fn counters(server: &AdminClient, news: &Sender<News>) {
    let mut before: Option<(Instant, Figures)> = None;
    while !news.is_closed() {
        let now = server.text(&["metrics"]).await.ok().map(|text| (Instant::now(), Figures::read(&text)));
        let rates = match (&before, &now) {
            (Some((then, before)), Some((at, figures))) => figures.since(before, at.duration_since(*then)),
            _ => None,
        };
        _ = news.send(News::Rates(rates)).await;
        before = now;
        sleep(PERIOD).await;
    }
}
