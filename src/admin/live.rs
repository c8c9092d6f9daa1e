//! Live state as server-sent events (`GET /v1/live`): the status whenever it is another one, events as they come, and how
//! far drains have come, once a second.
//!
//! ```text
//!   snapshot, events, drains ─▶ feed, once a second ─▶ a few frames ─▶ body ─▶ client
//! ```
//!
//! Nobody waits for a client that does not read. While something waits for it, it is told no status, which would only be
//! older when it is read: so one status and a few frames of events are all that is kept for it. It is dropped once its
//! frames are full, or after a while. When it comes back it says which event it heard last, and hears what it missed.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use hyper::body::Frame;
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::control::events::history::Wanted;

use super::lasting::{Lasting, Lasts};
use super::nodes::whole_status;
use super::problem::Problem;
use super::request::{Api, Shared};
use super::status::{DrainStatus, drains};
use super::streams::{MOST_STREAMS, Told};

/// Frames that wait for a client to read.
const FRAMES: usize = 16;
/// A client that has not read all there is for so long is taken for one that reads no more.
const PATIENCE: Duration = Duration::from_secs(10);
/// Whatever happens, a stream is told no more often.
const PERIOD: Duration = Duration::from_secs(1);
/// A status is told anew after this, though nothing but ages has changed.
const ANYWAY: Duration = Duration::from_secs(10);
/// Events told at once; the others follow a period later.
const MOST_EVENTS: usize = 100;

pub async fn get_live(
    State(api): Shared,
    Extension(lasting): Extension<Lasting>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let none_left =
        || Problem::new(StatusCode::SERVICE_UNAVAILABLE, format!("{MOST_STREAMS} live streams are open: close one"));
    let seat = api.streams.seats.clone().try_acquire_owned().map_err(|_| none_left())?;
    let said = headers.get("last-event-id").and_then(|id| id.to_str().ok()?.parse::<u64>().ok());
    let stream = Stream {
        after: said.unwrap_or_else(|| *api.context.events.news().borrow()),
        told: None,
        drains: BTreeMap::new(),
    };
    let (sender, frames) = mpsc::channel(FRAMES);
    tokio::spawn(feed(api, stream, sender, (seat, lasting.begin())));
    let headers = [(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-store")];
    Ok((headers, Body::new(Frames(frames))).into_response())
}

/// How far a stream has come.
struct Stream {
    /// The last event that was told.
    after: u64,
    /// The last status that was.
    told: Option<(Instant, u64)>,
    /// The drains that were told last, by qualified region name.
    drains: BTreeMap<String, DrainStatus>,
}

/// How far the drain of a region has come.
#[derive(Serialize)]
struct DrainNews<'a> {
    /// Qualified.
    region: &'a str,
    /// `None`: it drains no more.
    drain: Option<&'a DrainStatus>,
}

async fn feed(api: Arc<Api>, mut stream: Stream, frames: mpsc::Sender<Bytes>, _held: (OwnedSemaphorePermit, Lasts)) {
    let mut ticks = interval(PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut ending = api.context.places.ending();
    let mut behind: Option<Instant> = None;
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = frames.closed() => return,
            () = ended(&mut ending) => return,
        }
        behind = if frames.capacity() == FRAMES { None } else { behind.or(Some(Instant::now())) };
        if behind.is_some_and(|since| since.elapsed() >= PATIENCE) {
            return;
        }
        let status = if behind.is_none() { stream.status(&api).await } else { None };
        let news = stream.events(&api).into_iter().chain(status).chain(stream.drains(&api));
        for frame in news {
            if frames.try_send(frame).is_err() {
                return; // the client does not read, or has gone
            }
        }
    }
}

async fn ended(ending: &mut watch::Receiver<bool>) {
    _ = ending.wait_for(|ending| *ending).await;
}

impl Stream {
    /// Events that came since.
    fn events(&mut self, api: &Api) -> Option<Bytes> {
        if *api.context.events.news().borrow() <= self.after {
            return None;
        }
        let wanted = Wanted { since: None, after: Some(self.after), region: None, limit: MOST_EVENTS };
        let found = api.context.events.find(&wanted).events;
        self.after = found.last()?.id;
        let told = found.iter().filter_map(|event| {
            let data = serde_json::to_string(event).ok()?;
            Some(format!("event: event\nid: {}\ndata: {data}\n\n", event.id))
        });
        Some(told.collect::<String>().into())
    }

    /// How far drains have come, where that is farther than before.
    fn drains(&mut self, api: &Api) -> Option<Bytes> {
        let now = drains(&api.context.shared.load(), std::time::Instant::now());
        let frames = drain_frames(&self.drains, &now);
        self.drains = now;
        frames
    }

    /// The status, where it is another one or the last one is old.
    async fn status(&mut self, api: &Arc<Api>) -> Option<Bytes> {
        let generation = api.context.shared.load().generation;
        if self.told.is_some_and(|(at, told)| told == generation && at.elapsed() < ANYWAY) {
            return None;
        }
        let told = latest(api).await?;
        self.told = Some((Instant::now(), told.generation));
        Some(told.frame)
    }
}

/// Frames of drains that are others than those told before.
fn drain_frames(before: &BTreeMap<String, DrainStatus>, now: &BTreeMap<String, DrainStatus>) -> Option<Bytes> {
    let over = before.keys().filter(|region| !now.contains_key(*region)).map(|region| (region, None));
    let others = now.iter().filter(|(region, drain)| before.get(*region) != Some(drain));
    let news = over.chain(others.map(|(region, drain)| (region, Some(drain))));
    let frames: String = news
        .filter_map(|(region, drain)| {
            let data = serde_json::to_string(&DrainNews { region, drain }).ok()?;
            Some(format!("event: drain\ndata: {data}\n\n"))
        })
        .collect();
    (!frames.is_empty()).then(|| frames.into())
}

/// The status as of within a period: made once for all streams.
async fn latest(api: &Arc<Api>) -> Option<Told> {
    let mut latest = api.streams.latest.lock().await;
    if let Some(told) = latest.as_ref().filter(|told| told.at.elapsed() < PERIOD / 2) {
        return Some(told.clone());
    }
    let status = whole_status(api).await.ok()?;
    let data = serde_json::to_string(&status).ok()?;
    let frame = format!("event: status\ndata: {data}\n\n").into();
    let told = Told { at: Instant::now(), generation: status.generation, frame };
    *latest = Some(told.clone());
    Some(told)
}

/// A body of frames as they come.
struct Frames(mpsc::Receiver<Bytes>);

impl hyper::body::Body for Frames {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::convert::Infallible>>> {
        self.0.poll_recv(cx).map(|frame| frame.map(|octets| Ok(Frame::data(octets))))
    }
}
