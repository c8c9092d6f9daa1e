//! Live state as server-sent events (`GET /v1/live`): the status whenever it is another one, and events as they come.
//!
//! ```text
//!   snapshot, events ─▶ feed, once a second ─▶ a few frames ─▶ body ─▶ client
//! ```
//!
//! A stream's client that does not read is dropped once its frames are full; nobody waits for it.

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
use tokio::sync::{OwnedSemaphorePermit, mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::control::events::history::Wanted;

use super::lasting::{Lasting, Lasts};
use super::nodes::whole_status;
use super::problem::Problem;
use super::request::{Api, Shared};
use super::streams::{MOST_STREAMS, Told};

/// Frames that wait for a client to read.
const FRAMES: usize = 16;
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
    let stream = Stream { after: said.unwrap_or_else(|| *api.context.events.news().borrow()), told: None };
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
}

async fn feed(api: Arc<Api>, mut stream: Stream, frames: mpsc::Sender<Bytes>, _held: (OwnedSemaphorePermit, Lasts)) {
    let mut ticks = interval(PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut ending = api.context.places.ending();
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = frames.closed() => return,
            () = ended(&mut ending) => return,
        }
        let news = stream.events(&api).into_iter().chain(stream.status(&api).await);
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
