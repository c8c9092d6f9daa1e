//! What would follow from changes nobody has made, and the demand it is worked out from.
//!
//! Either takes as long as a plan, so one is worked out at a time, away from the threads that serve
//! sockets. Nothing is changed by asking.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use tokio::sync::Semaphore;

use crate::control::what_if::outcome::Outcome;
use crate::control::what_if::placed::Placed;
use crate::control::what_if::{Change, World, what_if};
use crate::state::Snapshot;

use super::api::{Shared, json};
use super::problem::Problem;

/// Whoever asks is not kept waiting longer. Below the life of a connection.
const PATIENCE: Duration = Duration::from_secs(50);

/// Lets one question be worked out at a time.
pub struct Workbench(Arc<Semaphore>);

impl Default for Workbench {
    fn default() -> Workbench {
        Workbench(Arc::new(Semaphore::new(1)))
    }
}

impl Workbench {
    async fn work<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Problem> {
        let late = || Problem::unavailable(format!("not worked out within {} s: ask again later", PATIENCE.as_secs()));
        let whole = async {
            let place = self.0.clone().acquire_owned().await;
            let place = place.map_err(|_| Problem::unavailable("the server is stopping"))?;
            // The place is held until the work is done, also where nobody waits for it any more.
            let done = tokio::task::spawn_blocking(move || {
                let _place = place;
                work()
            });
            done.await.map_err(|error| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))
        };
        tokio::time::timeout(PATIENCE, whole).await.map_err(|_| late())?
    }
}

pub async fn get_demand(State(api): Shared) -> Result<Json<Placed>, Problem> {
    let snapshot: Arc<Snapshot> = api.context.shared.load_full();
    api.workbench.work(move || World::of(snapshot).placed()).await.map(Json)
}

pub async fn post_what_if(State(api): Shared, request: Request) -> Result<Json<Outcome>, Problem> {
    let change: Change = json(request).await?;
    let snapshot: Arc<Snapshot> = api.context.shared.load_full();
    let outcome = api.workbench.work(move || what_if(&snapshot, &change, Instant::now())).await?;
    outcome.map(Json).map_err(|mistakes| Problem::bad_request("that cannot be worked out").details(mistakes))
}
