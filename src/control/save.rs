//! Saves that somebody waits for, but not for ever: one at a time per file, each on another thread.
//!
//! ```text
//!   begin ─▶ ended within PATIENCE ─▶ kept, or refused and as before
//!        └─▶ give_up: refused ─▶ goes on by itself ─▶ went through all the same: `due` ─▶ rewrite what holds
//! ```
//!
//! While one that was given up is still under way, the next is refused at once: the disk does not answer. What
//! is wrong is told to [`Troubles`]. What is written is the caller's; this knows only how it ends.

use std::future::pending;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;

use super::atomic_file::Patience;
use super::state_file::StateFileError;
use super::troubles::{StateName, TroubleKind, Troubles};

/// How long a disk may take. A healthy one takes milliseconds; an operator who drains a region wants to know soon.
pub const PATIENCE: Duration = Duration::from_secs(5);
/// Until what holds is written again where that failed.
const AGAIN: Duration = Duration::from_secs(5);

/// The saves of one file.
pub struct Saves {
    name: StateName,
    path: PathBuf,
    troubles: Arc<Troubles>,
    /// What nobody waits for any more.
    late: Option<Late>,
    /// The file may hold what was refused: what holds is to be written then.
    rewrite_at: Option<Instant>,
}

/// One that is waited for.
pub struct Save {
    job: Job,
    patience: Patience,
    until: Instant,
}

type Job = JoinHandle<Result<(), StateFileError>>;

struct Late {
    job: Job,
    /// It writes what holds; else what was refused.
    rewrites: bool,
}

impl Saves {
    pub fn new(name: StateName, path: PathBuf, troubles: Arc<Troubles>) -> Saves {
        Saves { name, path, troubles, late: None, rewrite_at: None }
    }

    /// Begins one.
    ///
    /// # Errors
    /// The disk has not ended the one before.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn begin(&self, work: impl FnOnce(&Patience) -> Outcome + Send + 'static) -> Result<Save, StateFileError> {
        if self.late.is_some() {
            return Err(StateFileError::Hanging { path: self.path.clone() });
        }
        let patience = Patience::default();
        let theirs = patience.clone();
        let job = tokio::task::spawn_blocking(move || work(&theirs));
        Ok(Save { job, patience, until: Instant::now() + PATIENCE })
    }

    /// Takes note of how one has ended.
    pub fn ended(&mut self, outcome: Outcome) -> Outcome {
        match &outcome {
            Ok(()) => {
                self.rewrite_at = None;
                for kind in [TroubleKind::Unwritable, TroubleKind::Undecided, TroubleKind::Hanging] {
                    self.troubles.end(self.name, kind);
                }
            }
            Err(error @ (StateFileError::Undecided { .. } | StateFileError::Late { .. })) => {
                self.rewrite_at = Some(Instant::now() + AGAIN);
                let instead =
                    "what holds is written again until it takes; a restart before may take up what was refused";
                self.troubles.begin(self.name, TroubleKind::Undecided, &error.to_string(), instead);
            }
            Err(error) => self.troubles.begin(self.name, TroubleKind::Unwritable, &error.to_string(), REFUSED),
        }
        outcome
    }

    /// Waits for this one no longer.
    pub fn give_up(&mut self, save: Save) -> StateFileError {
        let path = self.path.clone();
        let error = match save.patience.give_up() {
            true => StateFileError::GivenUp { path },
            false => StateFileError::Late { path },
        };
        let told = format!("the disk has not answered for {} s: {}", PATIENCE.as_secs(), self.path.display());
        self.troubles.begin(self.name, TroubleKind::Hanging, &told, REFUSED);
        self.late = Some(Late { job: save.job, rewrites: false });
        error
    }

    /// Whether what holds is being written by itself at this moment.
    pub fn is_rewriting(&self) -> bool {
        self.late.as_ref().is_some_and(|late| late.rewrites)
    }

    /// When [`Saves::rewrite`] is to be called; `None`: not, or not while the disk hangs.
    pub fn due(&self) -> Option<Instant> {
        self.rewrite_at.filter(|_| self.late.is_none())
    }

    /// Writes what holds. Nobody waits for it.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn rewrite(&mut self, work: impl FnOnce(&Patience) -> Outcome + Send + 'static) {
        let job = tokio::task::spawn_blocking(move || work(&Patience::default()));
        self.late = Some(Late { job, rewrites: true });
    }

    /// Waits for the end of what nobody waits for, for ever where there is none. Nothing is lost where this is
    /// dropped while it waits.
    pub async fn late(&mut self) {
        let Some(Late { job, rewrites }) = &mut self.late else { return pending().await };
        let (outcome, rewrites) = (joined(job.await), *rewrites);
        self.late = None;
        match outcome {
            // Refused, and written all the same: at once, before a restart takes it up.
            Ok(()) if !rewrites => {
                self.troubles.end(self.name, TroubleKind::Hanging);
                _ = self.ended(Err(StateFileError::Late { path: self.path.clone() }));
                self.rewrite_at = Some(Instant::now());
            }
            Err(StateFileError::GivenUp { .. }) => self.troubles.end(self.name, TroubleKind::Hanging),
            outcome => {
                self.troubles.end(self.name, TroubleKind::Hanging);
                // Until a rewrite takes.
                self.rewrite_at = self.rewrite_at.map(|_| Instant::now() + AGAIN);
                _ = self.ended(outcome);
            }
        }
    }
}

/// How a save ended.
pub type Outcome = Result<(), StateFileError>;

const REFUSED: &str = "nothing new can be kept in it, and is refused; what was kept before holds";

impl Save {
    /// Waits for its end; `None` when patience has run out. Nothing is lost where this is dropped while it waits.
    pub async fn end(&mut self) -> Option<Outcome> {
        tokio::select! {
            biased;
            outcome = &mut self.job => Some(joined(outcome)),
            () = tokio::time::sleep_until(self.until.into()) => None,
        }
    }
}

fn joined(outcome: Result<Outcome, tokio::task::JoinError>) -> Outcome {
    outcome.unwrap_or_else(|error| Err(StateFileError::Stopped(error.to_string())))
}

/// Waits for a job that nothing else waits for, and tells if the disk takes long over it. `None`: the runtime
/// is shutting down.
pub async fn told_if_slow<T>(mut job: JoinHandle<T>, name: StateName, troubles: &Troubles) -> Option<T> {
    let done = match tokio::time::timeout(PATIENCE, &mut job).await {
        Ok(done) => done,
        Err(_) => {
            tell_hanging(name, troubles);
            job.await
        }
    };
    troubles.end(name, TroubleKind::Hanging);
    done.ok()
}

/// Tells that the disk takes too long over a file that no operator waits for.
pub fn tell_hanging(name: StateName, troubles: &Troubles) {
    let told = format!("the disk has not answered for {} s: {}", PATIENCE.as_secs(), name.as_str());
    troubles.begin(name, TroubleKind::Hanging, &told, "a restart goes by what was kept before");
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    fn saves() -> (Saves, Arc<Troubles>) {
        let troubles = Arc::new(Troubles::default());
        (Saves::new(StateName::Overrides, "overrides.json".into(), troubles.clone()), troubles)
    }

    fn kinds(troubles: &Troubles) -> Vec<TroubleKind> {
        troubles.all().into_iter().map(|(_, kind, _)| kind).collect()
    }

    /// A save that lasts until it is let go, and then goes through or not.
    fn hung(saves: &Saves) -> (Save, mpsc::Sender<Outcome>) {
        let (go, gone) = mpsc::channel();
        let work = move |_: &Patience| gone.recv().expect("let go");
        (saves.begin(work).expect("begun"), go)
    }

    #[tokio::test]
    async fn one_that_went_through_though_it_was_refused_is_written_over() {
        let (mut saves, troubles) = saves();
        let (mut save, go) = hung(&saves);
        save.until = Instant::now();
        assert!(save.end().await.is_none(), "patience has run out");
        saves.give_up(save);
        assert!(saves.begin(|_| Ok(())).is_err(), "one at a time");
        assert_eq!(kinds(&troubles), [TroubleKind::Hanging]);
        go.send(Ok(())).expect("let go");
        saves.late().await;
        assert_eq!(kinds(&troubles), [TroubleKind::Undecided]);
        assert!(saves.due().is_some_and(|due| due <= Instant::now()), "at once");
        saves.rewrite(|_| Err(StateFileError::Stopped("no room".into())));
        assert!(saves.due().is_none() && saves.is_rewriting(), "not while it is under way");
        saves.late().await;
        assert!(saves.due().is_some_and(|due| due > Instant::now()), "later");
        saves.rewrite(|_| Ok(()));
        saves.late().await;
        assert!(saves.due().is_none() && kinds(&troubles).is_empty(), "{troubles:?}");
    }

    #[tokio::test]
    async fn one_that_was_given_up_in_time_leaves_nothing_to_do() {
        let (mut saves, troubles) = saves();
        let (save, go) = hung(&saves);
        assert!(matches!(saves.give_up(save), StateFileError::GivenUp { .. }));
        go.send(Err(StateFileError::GivenUp { path: "overrides.json".into() })).expect("let go");
        saves.late().await;
        assert!(saves.due().is_none() && saves.late.is_none() && kinds(&troubles).is_empty(), "{troubles:?}");
        let mut save = saves.begin(|_| Ok(())).expect("begun");
        let outcome = save.end().await.expect("in time");
        assert!(saves.ended(outcome).is_ok());
    }

    #[tokio::test]
    async fn a_failure_is_told_until_one_takes() {
        let (mut saves, troubles) = saves();
        for failed in [true, true, false] {
            let outcome = if failed { Err(StateFileError::Stopped("no room".into())) } else { Ok(()) };
            assert_eq!(saves.ended(outcome).is_err(), failed);
            assert_eq!(kinds(&troubles).len(), usize::from(failed));
        }
        let undecided = std::io::Error::other("EIO");
        let _ = saves.ended(Err(StateFileError::Undecided { path: "overrides.json".into(), error: undecided }));
        assert!(saves.due().is_some() && kinds(&troubles) == [TroubleKind::Undecided]);
    }
}
