//! What operators said of regions, kept over restarts: `overrides.json` in the state directory.

use std::collections::BTreeMap;
use std::path::Path;

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use crate::steer::health::effective::Override;
use crate::steer::health::stability::DrainBegin;

use super::atomic_file::Patience;
use super::state_file::{Content, StateFile, StateFileError};
use super::troubles::{StateName, Troubles};

/// The file of overrides in a state directory.
#[derive(Clone, Debug)]
pub struct OverrideStore {
    file: StateFile<Stored>,
}

/// Why overrides could not be read or kept.
pub type StoreError = StateFileError;

/// What is kept: all by qualified region name, `seoul@gslb.example.com`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Kept {
    /// All but `auto`.
    pub overrides: BTreeMap<String, Override>,
    /// How drains began; of some or all regions that are drained.
    pub drains: BTreeMap<String, DrainBegin>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    /// [`StateFile`]'s.
    #[serde(default, skip_serializing, rename = "sha256")]
    _sha256: IgnoredAny,
    version: u32,
    overrides: BTreeMap<String, Override>,
    /// Left out where there are none, as in files that were written before there was such a thing.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    drains: BTreeMap<String, DrainBegin>,
}

impl From<Stored> for Kept {
    fn from(Stored { overrides, drains, .. }: Stored) -> Kept {
        Kept { overrides, drains }
    }
}

impl Content for Stored {
    const NAME: StateName = StateName::Overrides;
    const VERSION: u32 = 1;
    /// Some 1,000 regions with the longest names, all of them drained.
    const MAX_BYTES: u64 = 8 << 20;
    const INDENTED: bool = true;
    const OF: &'static str = "overrides";
    const WITHOUT: &'static str = "start with every region on `auto`";
    const INSTEAD: &'static str =
        "what operators said of regions before does not hold: all are on `auto`, but for what was said since";
    const TOO_LARGE: &'static str = ": take overrides of regions that are gone back";

    fn version(&self) -> u32 {
        self.version
    }
}

impl OverrideStore {
    /// In this state directory, which is made when something is first kept.
    pub fn new(state_directory: &Path) -> OverrideStore {
        OverrideStore { file: StateFile::new(state_directory) }
    }

    /// All that was kept; nothing where nothing was kept yet.
    pub fn load(&self) -> Result<Kept, StoreError> {
        Ok(self.file.load()?.map(Kept::from).unwrap_or_default())
    }

    /// [`OverrideStore::load`] at a start: what is corrupt is set aside, and all that is wrong is told.
    pub fn load_at_start(&self, troubles: &Troubles) -> Result<Kept, StoreError> {
        Ok(self.file.load_at_start(troubles)?.map(Kept::from).unwrap_or_default())
    }

    /// Keeps exactly this. When it returns, all of it survives a crash of the machine.
    pub fn save(&self, kept: &Kept) -> Result<(), StoreError> {
        self.save_unless(kept, &Patience::default())
    }

    /// [`OverrideStore::save`], unless whoever waits for it has given it up in time.
    pub fn save_unless(&self, kept: &Kept, patience: &Patience) -> Result<(), StoreError> {
        let Kept { overrides, drains } = kept.clone();
        let stored = Stored { _sha256: IgnoredAny, version: Stored::VERSION, overrides, drains };
        self.file.save_unless(&stored, patience)
    }

    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// Tells of a file that was set aside, for as long as it lies there.
    pub fn look_aside(&self, troubles: &Troubles) {
        self.file.look_aside(troubles);
    }

    /// Whether overrides could be kept. It is better known at the start than when a region must be drained.
    pub fn prove(&self) -> Result<(), StoreError> {
        self.file.prove()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

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
    fn files_from_before_drains_and_checksums_are_read_and_those_without_drains_are_written_so() {
        let directory = tempfile::tempdir().expect("a directory");
        let store = OverrideStore::new(directory.path());
        let file = directory.path().join("overrides.json");
        let text = "{\"version\":1,\"overrides\":{\"a\":\"drain\"}}";
        fs::write(&file, text).expect("written");
        let read = store.load().expect("read");
        assert_eq!(read, kept(&[("a", Override::Drain)]));
        store.save(&read).expect("kept");
        let mut written: serde_json::Value = serde_json::from_slice(&fs::read(&file).expect("there")).expect("JSON");
        assert!(written.as_object_mut().and_then(|fields| fields.remove("sha256")).is_some());
        assert_eq!(written, serde_json::from_str::<serde_json::Value>(text).expect("JSON"));
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
        assert!(matches!(store.save(&many(4096)), Err(StoreError::TooLarge { .. })));
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
