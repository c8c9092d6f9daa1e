//! What operators said of regions, kept over restarts: `overrides.json` in the state directory.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::steer::standing::Override;

use super::keep;

/// Largest file written and read back: some 1,000 regions with the longest names.
const MAX_BYTES: u64 = 4 << 20;

/// The file of overrides in a state directory.
#[derive(Clone, Debug)]
pub struct OverrideStore {
    path: PathBuf,
}

/// Why overrides could not be read or kept.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("cannot {action} {path}: {error}")]
    Io { action: &'static str, path: PathBuf, error: io::Error },
    #[error(
        "{path} is not a file of overrides: {error}; mend it, or move it away to start with every region on `auto`"
    )]
    Corrupt { path: PathBuf, error: String },
    #[error("{path} would have {bytes} bytes, more than {MAX_BYTES}: take overrides of regions that are gone back")]
    TooMany { path: PathBuf, bytes: usize },
    #[error("the server is stopping: {0}")]
    Stopped(String),
}

#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    version: u32,
    /// By qualified region name, `seoul@gslb.example.com`.
    overrides: BTreeMap<String, Override>,
}

const VERSION: u32 = 1;

impl OverrideStore {
    /// In this state directory, which is made when something is first kept.
    pub fn new(state_directory: &Path) -> OverrideStore {
        OverrideStore { path: state_directory.join("overrides.json") }
    }

    /// All overrides kept; none where nothing was kept yet.
    pub fn load(&self) -> Result<BTreeMap<String, Override>, StoreError> {
        let size = match fs::metadata(&self.path) {
            // A pipe would keep its reader waiting for ever.
            Ok(metadata) if !metadata.is_file() => return Err(self.corrupt("it is not a regular file".into())),
            Ok(metadata) => metadata.len(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
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
        Ok(stored.overrides)
    }

    /// Keeps exactly these. When this returns, they survive a crash of the machine.
    pub fn save(&self, overrides: &BTreeMap<String, Override>) -> Result<(), StoreError> {
        let stored = Stored { version: VERSION, overrides: overrides.clone() };
        let text = serde_json::to_vec_pretty(&stored).map_err(|error| self.corrupt(error.to_string()))?;
        if text.len() as u64 > MAX_BYTES {
            return Err(StoreError::TooMany { path: self.path.clone(), bytes: text.len() });
        }
        keep::replace(&self.path, &text).map_err(|error| self.io("write", error))
    }

    /// Whether overrides could be kept. It is better known at the start than when a region must be drained.
    pub fn prove(&self) -> Result<(), StoreError> {
        let directory = self.path.parent().unwrap_or(Path::new("."));
        let fresh = keep::fresh(&self.path);
        fs::create_dir_all(directory)
            .and_then(|()| File::create(&fresh))
            .and_then(|_| fs::remove_file(&fresh))
            .map_err(|error| self.io("write", error))
    }

    fn io(&self, action: &'static str, error: io::Error) -> StoreError {
        StoreError::Io { action, path: self.path.clone(), error }
    }

    fn corrupt(&self, error: String) -> StoreError {
        StoreError::Corrupt { path: self.path.clone(), error }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_kept_comes_back() {
        let directory = tempfile::tempdir().expect("a directory");
        let store = OverrideStore::new(&directory.path().join("made/when/needed"));
        assert!(store.load().expect("nothing yet").is_empty());
        let said = BTreeMap::from([("seoul@gslb.example".to_owned(), Override::Drain)]);
        store.save(&said).expect("kept");
        assert_eq!(store.load().expect("back"), said);
        store.save(&BTreeMap::new()).expect("kept");
        assert!(store.load().expect("back").is_empty());
    }

    #[test]
    fn a_leftover_of_a_crash_is_not_read() {
        let directory = tempfile::tempdir().expect("a directory");
        let store = OverrideStore::new(directory.path());
        let said = BTreeMap::from([("seoul@gslb.example".to_owned(), Override::Down)]);
        store.save(&said).expect("kept");
        fs::write(directory.path().join("overrides.json.new"), "{\"vers").expect("half a file");
        assert_eq!(store.load().expect("the old text"), said);
    }

    #[test]
    fn what_could_not_be_read_back_is_not_written() {
        let directory = tempfile::tempdir().expect("a directory");
        let store = OverrideStore::new(directory.path());
        let name = "x".repeat(2000);
        let many = |count: usize| (0..count).map(|n| (format!("{name}{n}"), Override::Down)).collect();
        store.save(&many(1024)).expect("as many regions as there may be");
        assert_eq!(store.load().expect("back").len(), 1024);
        assert!(matches!(store.save(&many(4096)), Err(StoreError::TooMany { .. })));
        assert_eq!(store.load().expect("the old ones").len(), 1024);
    }

    #[test]
    fn what_is_not_ours_is_refused_with_its_path() {
        let directory = tempfile::tempdir().expect("a directory");
        let store = OverrideStore::new(directory.path());
        for text in ["", "{", "{\"version\":2,\"overrides\":{}}", "{\"version\":1,\"overrides\":{\"a\":\"sideways\"}}"]
        {
            fs::write(directory.path().join("overrides.json"), text).expect("written");
            let error = store.load().expect_err(text).to_string();
            assert!(error.contains("overrides.json") && error.contains("move it away"), "{error}");
        }
    }
}
