//! Work that takes as long as a plan: done one at a time, away from the threads that serve sockets.

use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use tokio::sync::Semaphore;

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
    pub async fn work<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Problem> {
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
