//! What is made of files, and made anew where they have changed: secrets and certificates are replaced while they are
//! in use.
//!
//! Files are looked at when they are needed, at most every [`AGAIN`], beside what waits for sockets. With files that
//! cannot be used, the earlier ones stay in use, and the log says so.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, timeout};
use tracing::{info, warn};

use super::bounded_file;

/// Files are not looked at more often.
const AGAIN: Duration = Duration::from_secs(10);
/// The disk may hang: the earlier ones do meanwhile.
const PATIENCE: Duration = Duration::from_secs(2);

/// Certificates with all that lead to them, in octets of PEM.
const MOST_PEM: u64 = 1024 * 1024;

/// What is made of files, as they are now.
#[derive(Debug)]
pub struct Renewed<T> {
    files: Vec<PathBuf>,
    reading: Reading<T>,
    state: Mutex<State<T>>,
}

/// How files are read, and what is made of their texts. The error is for people, with the file's name.
#[derive(Debug)]
pub struct Reading<T> {
    pub read: fn(&[PathBuf]) -> Result<Vec<String>, String>,
    pub make: fn(&[String]) -> Result<T, String>,
}

/// What is made of certificates and keys. `of` says whose they are.
///
/// # Errors
/// As [`Renewed::new`]; the text says whose they are and names all files.
pub fn certificates<T: Send + Sync + 'static>(
    of: &str,
    files: Vec<PathBuf>,
    make: fn(&[String]) -> Result<T, String>,
) -> Result<Renewed<T>, String> {
    let shown = names(&files);
    Renewed::new(files, Reading { read: read_pem, make })
        .map_err(|error| format!("certificates of {of} ({shown}): {error}"))
}

fn names(files: &[PathBuf]) -> String {
    files.iter().map(|file| file.display().to_string()).collect::<Vec<_>>().join(", ")
}

fn read_pem(files: &[PathBuf]) -> Result<Vec<String>, String> {
    files.iter().map(|file| read_pem_file(file)).collect()
}

/// One file of certificates or a key.
pub fn read_pem_file(file: &Path) -> Result<String, String> {
    bounded_file::read_text(file, MOST_PEM).map_err(|error| format!("cannot read {}: {error}", file.display()))
}

impl<T> Clone for Reading<T> {
    fn clone(&self) -> Reading<T> {
        *self
    }
}

impl<T> Copy for Reading<T> {}

#[derive(Debug)]
struct State<T> {
    made: Arc<T>,
    texts: Vec<String>,
    looked: Instant,
    /// Told once.
    trouble: Option<String>,
}

impl<T: Send + Sync + 'static> Renewed<T> {
    /// # Errors
    /// The files cannot be read or used.
    pub fn new(files: Vec<PathBuf>, reading: Reading<T>) -> Result<Renewed<T>, String> {
        let texts = (reading.read)(&files)?;
        let made = Arc::new((reading.make)(&texts)?);
        // A time that is not due: these were just read.
        let state = State { made, texts, looked: Instant::now(), trouble: None };
        Ok(Renewed { files, reading, state: Mutex::new(state) })
    }

    /// As of [`AGAIN`] ago or later.
    pub async fn current(&self) -> Arc<T> {
        let before = match self.due() {
            Ok(texts) => texts,
            Err(made) => return made,
        };
        let (files, reading) = (self.files.clone(), self.reading);
        let looking = tokio::task::spawn_blocking(move || {
            let texts = (reading.read)(&files)?;
            if texts == before {
                return Ok(None);
            }
            (reading.make)(&texts).map(|made| Some((texts, made)))
        });
        let found = match timeout(PATIENCE, looking).await {
            Ok(Ok(found)) => found,
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(format!("reading {} takes too long", self.shown())),
        };
        self.take(found)
    }

    /// The texts to compare with, for the one who is to look; for all others what there is.
    fn due(&self) -> Result<Vec<String>, Arc<T>> {
        let mut state = self.lock();
        if state.looked.elapsed() < AGAIN {
            return Err(state.made.clone());
        }
        state.looked = Instant::now();
        Ok(state.texts.clone())
    }

    fn take(&self, found: Result<Option<(Vec<String>, T)>, String>) -> Arc<T> {
        let mut state = self.lock();
        match found {
            Ok(Some((texts, made))) => {
                (state.texts, state.made, state.trouble) = (texts, Arc::new(made), None);
                info!("in use from now on: what {} holds", self.shown());
            }
            Ok(None) => state.trouble = None,
            Err(error) => {
                if state.trouble.as_ref() != Some(&error) {
                    warn!("{error}: what was read before is still in use");
                }
                state.trouble = Some(error);
            }
        }
        state.made.clone()
    }

    fn shown(&self) -> String {
        names(&self.files)
    }

    /// Nothing is left half done where a holder panics.
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[tokio::test(start_paused = true)]
    async fn files_are_read_anew_after_a_while_and_bad_ones_change_nothing() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        fs::write(file.path(), "1").expect("written");
        let read = |files: &[PathBuf]| {
            files.iter().map(|file| fs::read_to_string(file).map_err(|error| error.to_string())).collect()
        };
        let make = |texts: &[String]| texts[0].parse::<u32>().map_err(|error| error.to_string());
        let renewed = Renewed::new(vec![file.path().to_owned()], Reading { read, make }).expect("read");
        for (text, soon, later) in [("2", 1, 2), ("three", 2, 2), ("3", 2, 3)] {
            fs::write(file.path(), text).expect("written");
            assert_eq!(*renewed.current().await, soon, "{text}");
            tokio::time::advance(AGAIN).await;
            assert_eq!(*renewed.current().await, later, "{text}");
        }
    }
}
