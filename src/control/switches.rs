//! Which stages operators switched services to, and what they shifted canaries to, kept over restarts: `switches.json` in
//! the state directory.

use std::path::Path;

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use super::atomic_file::Patience;
use super::state_file::{Content, StateFile, StateFileError};
use super::troubles::{StateName, Troubles};
use crate::state::memory::switches::Switches;

/// The file of switches in a state directory.
#[derive(Clone, Debug)]
pub struct SwitchStore {
    file: StateFile<Stored>,
}

/// Why switches could not be read or kept.
pub type SwitchStoreError = StateFileError;

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    /// [`StateFile`]'s.
    #[serde(default, skip_serializing, rename = "sha256")]
    _sha256: IgnoredAny,
    version: u32,
    switches: Switches,
}

impl Content for Stored {
    const NAME: StateName = StateName::Switches;
    const VERSION: u32 = 1;
    /// All services there may be, with long names and two notes each.
    const MAX_BYTES: u64 = 32 << 20;
    const INDENTED: bool = true;
    const OF: &'static str = "switches";
    const WITHOUT: &'static str = "start on the stages and canaries of the files";
    const INSTEAD: &'static str = "services are on the stages and canaries of their files, but for what was said since";
    const TOO_LARGE: &'static str = "";

    fn version(&self) -> u32 {
        self.version
    }
}

impl SwitchStore {
    pub fn new(state_directory: &Path) -> SwitchStore {
        SwitchStore { file: StateFile::new(state_directory) }
    }

    /// All that was kept; nothing where nothing was kept yet.
    pub fn load(&self) -> Result<Switches, SwitchStoreError> {
        Ok(self.file.load()?.map(|stored| stored.switches).unwrap_or_default())
    }

    /// [`SwitchStore::load`] at a start: what is corrupt is set aside, and all that is wrong is told.
    pub fn load_at_start(&self, troubles: &Troubles) -> Result<Switches, SwitchStoreError> {
        Ok(self.file.load_at_start(troubles)?.map(|stored| stored.switches).unwrap_or_default())
    }

    /// Keeps exactly these. When it returns, they survive a crash of the machine.
    pub fn save(&self, switches: &Switches) -> Result<(), SwitchStoreError> {
        self.save_unless(switches, &Patience::default())
    }

    /// [`SwitchStore::save`], unless whoever waits for it has given it up in time.
    pub fn save_unless(&self, switches: &Switches, patience: &Patience) -> Result<(), SwitchStoreError> {
        let stored = Stored { _sha256: IgnoredAny, version: Stored::VERSION, switches: switches.clone() };
        self.file.save_unless(&stored, patience)
    }

    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// Tells of a file that was set aside, for as long as it lies there.
    pub fn look_aside(&self, troubles: &Troubles) {
        self.file.look_aside(troubles);
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::state::memory::switches::{Last, Shift, Switch};

    fn green() -> Switch {
        Switch { stage: Some("green".into()), before: Some("blue".into()), ..Switch::default() }
    }

    #[test]
    fn what_was_kept_comes_back() {
        let directory = tempfile::tempdir().expect("a directory");
        let store = SwitchStore::new(&directory.path().join("made/when/needed"));
        assert!(store.load().expect("nothing yet").is_empty());
        let part = |share, note: Option<&str>, until_unix_ms| Shift {
            share,
            of: "green".into(),
            by: "alice".into(),
            said_unix_ms: 1_795_000_000_000,
            note: note.map(str::to_owned),
            until_unix_ms,
        };
        let both = Switch {
            canary: Some(part(0.25, Some("release 7"), None)),
            canary_before: Some(part(0.05, None, Some(1_795_000_060_000))),
            last: Last::Canary,
            ..green()
        };
        let switches = Switches::from([("www.gslb.example".to_owned(), both)]);
        store.save(&switches).expect("kept");
        assert_eq!(store.load().expect("back"), switches);
        store.save(&Switches::new()).expect("kept");
        assert!(store.load().expect("back").is_empty());
    }

    #[test]
    fn files_from_before_checksums_are_read() {
        let directory = tempfile::tempdir().expect("a directory");
        let text = "{\"version\":1,\"switches\":{\"www\":{\"stage\":\"green\",\"before\":\"blue\"}}}";
        fs::write(directory.path().join("switches.json"), text).expect("written");
        let read = SwitchStore::new(directory.path()).load().expect("read");
        assert_eq!(read, Switches::from([("www".to_owned(), green())]));
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
