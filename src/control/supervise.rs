//! Tasks that go on after a panic: started again, later each time, counted and logged.
//!
//! A panic is a bug; but an endpoint whose probes have ended stays as it was last seen for ever, and nobody notices.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::error;

use super::vitals::{TaskKind, Vitals};

/// Before the first restart; twice as long before each further one.
pub(super) const FIRST_PAUSE: Duration = Duration::from_secs(1);
pub(super) const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// Who has run for this long begins with the first pause again.
const SOUND: Duration = Duration::from_secs(10 * 60);

/// Runs a task until it ends by itself, and ends it where this is dropped.
pub async fn supervise<F>(kind: TaskKind, of: String, vitals: Arc<Vitals>, mut task: impl FnMut() -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let mut pause = FIRST_PAUSE;
    loop {
        let began = Instant::now();
        // A set, because that ends the task when dropped.
        let mut running = JoinSet::new();
        running.spawn(task());
        match running.join_next().await {
            Some(Err(error)) if error.is_panic() => {
                if began.elapsed() >= SOUND {
                    pause = FIRST_PAUSE;
                }
                let (kind, after_s) = (kind.as_str(), pause.as_secs());
                error!(task = kind, of, "a task panicked, which is a bug: it is started again in {after_s} s");
            }
            _ => return,
        }
        tokio::time::sleep(pause).await;
        vitals.restarted(kind);
        pause = LONGEST_PAUSE.min(2 * pause);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_panic_is_followed_by_another_start_later_each_time() {
        let vitals = Arc::new(Vitals::default());
        let (began, mut starts) = (Instant::now(), Vec::new());
        let (told, mut heard) = tokio::sync::mpsc::unbounded_channel();
        let task = move || {
            let told = told.clone();
            async move {
                told.send(began.elapsed().as_secs()).expect("heard");
                let lasting = began.elapsed() > SOUND;
                if (200..300).contains(&began.elapsed().as_secs()) {
                    tokio::time::sleep(SOUND).await;
                }
                assert!(lasting && began.elapsed() > 2 * SOUND, "a test's panic");
            }
        };
        let supervised = supervise(TaskKind::Probes, "seoul".into(), vitals.clone(), task);
        let _ = tokio::time::timeout(Duration::from_secs(860), supervised).await;
        while let Ok(start) = heard.try_recv() {
            starts.push(start);
        }
        assert_eq!(starts[..9], [0, 1, 3, 7, 15, 31, 63, 123, 183]);
        assert_eq!(starts[9..12], [243, 844, 846], "after it has run for long the pause is short again");
        assert_eq!(vitals.restarts(TaskKind::Probes), starts.len() as u64 - 1);
    }

    #[tokio::test]
    async fn an_end_is_an_end() {
        supervise(TaskKind::Demand, String::new(), Arc::default(), || async {}).await;
    }
}
