//! How far each receiver has come, kept over restarts: `receivers.json` in the state directory.

use std::collections::BTreeMap;
use std::path::Path;

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use crate::control::state_file::{Content, StateFile, StateFileError};
use crate::control::troubles::{StateName, Troubles};

/// By receiver, the number of the last event that is done with.
pub type Positions = BTreeMap<String, u64>;

/// The file in a state directory.
#[derive(Clone, Debug)]
pub struct CursorStore(StateFile<Stored>);

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    /// [`StateFile`]'s.
    #[serde(default, skip_serializing, rename = "sha256")]
    _sha256: IgnoredAny,
    version: u32,
    done_with: Positions,
}

impl Content for Stored {
    const NAME: StateName = StateName::Receivers;
    const VERSION: u32 = 1;
    /// All receivers there may be, with long names.
    const MAX_BYTES: u64 = 64 << 10;
    const INDENTED: bool = true;
    const OF: &'static str = "receivers of events";
    const WITHOUT: &'static str = "tell them only what comes";
    const INSTEAD: &'static str = "receivers are told of events since the start alone";
    const TOO_LARGE: &'static str = "";

    fn version(&self) -> u32 {
        self.version
    }
}

impl CursorStore {
    pub fn new(state_directory: &Path) -> CursorStore {
        CursorStore(StateFile::new(state_directory))
    }

    /// All that was kept: nothing where nothing was, or it cannot be read, which is told. Blocks.
    pub fn load_at_start(&self, troubles: &Troubles) -> Positions {
        self.0.load_at_start(troubles).ok().flatten().map(|stored| stored.done_with).unwrap_or_default()
    }

    /// Keeps exactly these. Blocks.
    ///
    /// # Errors
    /// As [`StateFile::save`].
    pub fn save(&self, done_with: Positions) -> Result<(), StateFileError> {
        self.0.save(&Stored { _sha256: IgnoredAny, version: Stored::VERSION, done_with })
    }
}
