//! Which stages operators switched services to, kept over restarts: `switches.json` in the state
//! directory.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::keep;
use crate::state::memory::switches::Switches;

/// Largest file written and read back: all services there may be, with long names.
const MAX_BYTES: u64 = 8 << 20;
const VERSION: u32 = 1;

/// The file of switches in a state directory.
#[derive(Clone, Debug)]
pub struct SwitchStore {
    path: PathBuf,
}

/// Why switches could not be read or kept.
#[derive(Debug, thiserror::Error)]
pub enum SwitchStoreError {
    #[error("cannot {action} {path}: {error}")]
    Io { action: &'static str, path: PathBuf, error: io::Error },
    #[error("{path} is not a file of switches: {error}; mend it, or move it away to start on the stages of the files")]
    Corrupt { path: PathBuf, error: String },
    #[error("{path} would have {bytes} bytes, more than {MAX_BYTES}")]
    TooMany { path: PathBuf, bytes: usize },
    #[error("the server is stopping: {0}")]
    Stopped(String),
}

#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    version: u32,
    switches: Switches,
}

impl SwitchStore {
    pub fn new(state_directory: &Path) -> SwitchStore {
        SwitchStore { path: state_directory.join("switches.json") }
    }

    /// All that was kept; nothing where nothing was kept yet.
    pub fn load(&self) -> Result<Switches, SwitchStoreError> {
        let size = match fs::metadata(&self.path) {
            // A pipe would keep its reader waiting for ever.
            Ok(metadata) if !metadata.is_file() => return Err(self.corrupt("it is not a regular file".into())),
            Ok(metadata) => metadata.len(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Switches::new()),
            Err(error) => return Err(self.io("read", error)),
        };
        if size > MAX_BYTES {
            return Err(self.corrupt(format!("it has {size} bytes")));
        }
        let text = fs::read(&self.path).map_err(|error| self.io("read", error))?;
        let stored: Stored = serde_json::from_slice(&text).map_err(|error| self.corrupt(error.to_string()))?;
        if stored.version != VERSION {
            return Err(self.corrupt(format!("version {} is not {VERSION}", stored.version)));
        }
        Ok(stored.switches)
    }

    /// Keeps exactly these. When it returns, they survive a crash of the machine.
    pub fn save(&self, switches: &Switches) -> Result<(), SwitchStoreError> {
        let stored = Stored { version: VERSION, switches: switches.clone() };
        let text = serde_json::to_vec_pretty(&stored).map_err(|error| self.corrupt(error.to_string()))?;
        if text.len() as u64 > MAX_BYTES {
            return Err(SwitchStoreError::TooMany { path: self.path.clone(), bytes: text.len() });
        }
        keep::replace(&self.path, &text).map_err(|error| self.io("write", error))
    }

    fn io(&self, action: &'static str, error: io::Error) -> SwitchStoreError {
        SwitchStoreError::Io { action, path: self.path.clone(), error }
    }

    fn corrupt(&self, error: String) -> SwitchStoreError {
        SwitchStoreError::Corrupt { path: self.path.clone(), error }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::memory::switches::Switch;

    #[test]
    fn what_was_kept_comes_back() {
        let directory = tempfile::tempdir().expect("a directory");
        let store = SwitchStore::new(&directory.path().join("made/when/needed"));
        assert!(store.load().expect("nothing yet").is_empty());
        let green = Switch { stage: "green".into(), before: "blue".into() };
        let switches = Switches::from([("www.gslb.example".to_owned(), green)]);
        store.save(&switches).expect("kept");
        assert_eq!(store.load().expect("back"), switches);
        store.save(&Switches::new()).expect("kept");
        assert!(store.load().expect("back").is_empty());
    }

    #[test]
    fn what_is_not_ours_is_refused_with_its_path() {
        let directory = tempfile::tempdir().expect("a directory");
        let store = SwitchStore::new(directory.path());
        for text in ["", "{", "{\"version\":2,\"switches\":{}}", "{\"version\":1,\"switches\":{\"a\":\"green\"}}"] {
            fs::write(directory.path().join("switches.json"), text).expect("written");
            let error = store.load().expect_err(text).to_string();
            assert!(error.contains("switches.json") && error.contains("move it away"), "{error}");
        }
    }
}
