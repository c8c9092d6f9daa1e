//! What operators said of regions, kept over restarts: `overrides.json` in the state directory.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::steer::health::stability::DrainBegin;
use crate::steer::health::standing::Override;

use super::keep;

/// Largest file written and read back: some 1,000 regions with the longest names, all of them drained.
const MAX_BYTES: u64 = 8 << 20;

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

/// What is kept: all by qualified region name, `seoul@gslb.example.com`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Kept {
    /// All but `auto`.
    pub overrides: BTreeMap<String, Override>,
    /// How drains began; of some or all regions that are drained.
    pub drains: BTreeMap<String, DrainBegin>,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    version: u32,
    overrides: BTreeMap<String, Override>,
    /// Left out where there are none, as in files that were written before there was such a thing.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    drains: BTreeMap<String, DrainBegin>,
}

const VERSION: u32 = 1;

impl OverrideStore {
    /// In this state directory, which is made when something is first kept.
    pub fn new(state_directory: &Path) -> OverrideStore {
        OverrideStore { path: state_directory.join("overrides.json") }
    }

    /// All that was kept; nothing where nothing was kept yet.
    pub fn load(&self) -> Result<Kept, StoreError> {
        let size = match fs::metadata(&self.path) {
            // A pipe would keep its reader waiting for ever.
            Ok(metadata) if !metadata.is_file() => return Err(self.corrupt("it is not a regular file".into())),
            Ok(metadata) => metadata.len(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Kept::default()),
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
        Ok(Kept { overrides: stored.overrides, drains: stored.drains })
    }

    /// Keeps exactly this. When it returns, all of it survives a crash of the machine.
    pub fn save(&self, kept: &Kept) -> Result<(), StoreError> {
        let Kept { overrides, drains } = kept.clone();
        let stored = Stored { version: VERSION, overrides, drains };
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

    fn kept(said: &[(&str, Override)]) -> Kept {
        let overrides = said.iter().map(|&(name, said)| (name.to_owned(), said)).collect();
        Kept { overrides, drains: BTreeMap::new() }
    }

    #[test]
    fn what_was_kept_comes_back() {
        let directory = tempfile::tempdir().expect("a directory");
        let store = OverrideStore::new(&directory.path().join("made/when/needed"));
        assert_eq!(store.load().expect("nothing yet"), Kept::default());
        let mut said = kept(&[("seoul@gslb.example", Override::Drain)]);
        store.save(&said).expect("kept");
        assert_eq!(store.load().expect("back"), said);
        let begin = DrainBegin { since_unix_ms: 1, cached_until_unix_ms: u64::MAX, load: Some(0.1) };
        said.drains.insert("seoul@gslb.example".into(), begin);
        store.save(&said).expect("kept");
        assert_eq!(store.load().expect("back"), said);
        store.save(&Kept::default()).expect("kept");
        assert_eq!(store.load().expect("back"), Kept::default());
    }

    #[test]
    fn files_from_before_drains_were_kept_are_read_and_those_without_drains_are_written_so() {
        let directory = tempfile::tempdir().expect("a directory");
        let store = OverrideStore::new(directory.path());
        let file = directory.path().join("overrides.json");
        let text = "{\"version\":1,\"overrides\":{\"a\":\"drain\"}}";
        fs::write(&file, text).expect("written");
        let read = store.load().expect("read");
        assert_eq!(read, kept(&[("a", Override::Drain)]));
        store.save(&read).expect("kept");
        let written = fs::read_to_string(&file).expect("there");
        assert_eq!(written.split_whitespace().collect::<String>(), text);
    }

    #[test]
    fn a_leftover_of_a_crash_is_not_read() {
        let directory = tempfile::tempdir().expect("a directory");
        let store = OverrideStore::new(directory.path());
        let said = kept(&[("seoul@gslb.example", Override::Down)]);
        store.save(&said).expect("kept");
        fs::write(directory.path().join("overrides.json.new"), "{\"vers").expect("half a file");
        assert_eq!(store.load().expect("the old text"), said);
    }

    #[test]
    fn what_could_not_be_read_back_is_not_written() {
        let directory = tempfile::tempdir().expect("a directory");
        let store = OverrideStore::new(directory.path());
        let name = "x".repeat(2000);
        let many = |count: usize| {
            let names = || (0..count).map(|n| format!("{name}{n}"));
            let begin = DrainBegin { since_unix_ms: 1 << 41, cached_until_unix_ms: 1 << 41, load: Some(1.0 / 3.0) };
            Kept {
                overrides: names().map(|name| (name, Override::Drain)).collect(),
                drains: names().map(|name| (name, begin)).collect(),
            }
        };
        store.save(&many(1024)).expect("as many regions as there may be");
        assert_eq!(store.load().expect("back").drains.len(), 1024);
        assert!(matches!(store.save(&many(4096)), Err(StoreError::TooMany { .. })));
        assert_eq!(store.load().expect("the old ones").overrides.len(), 1024);
    }

    #[test]
    fn what_is_not_ours_is_refused_with_its_path() {
        let directory = tempfile::tempdir().expect("a directory");
        let store = OverrideStore::new(directory.path());
        for text in [
            "",
            "{",
            "{\"version\":2,\"overrides\":{}}",
            "{\"version\":1,\"overrides\":{\"a\":\"sideways\"}}",
            "{\"version\":1,\"overrides\":{},\"drains\":{\"a\":{\"since_unix_ms\":-1}}}",
        ] {
            fs::write(directory.path().join("overrides.json"), text).expect("written");
            let error = store.load().expect_err(text).to_string();
            assert!(error.contains("overrides.json") && error.contains("move it away"), "{error}");
        }
    }
}
