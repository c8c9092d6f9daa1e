//! What this process gives up for good, lest who takes it over has more than answers: files are written in its own
//! places alone ([`files`]), no other program is run, and no system call is made that a server has no need of ([`calls`]).
//!
//! ```text
//!   configuration read ─▶ files, before there are threads ─▶ sockets, privileges ─▶ calls, on all threads ─▶ answering
//! ```
//!
//! What the kernel does not know is done without, and said.

mod calls;
mod files;
mod needs;

use tracing::{info, warn};

use crate::control::config::Config;

use needs::Needs;

/// A process that can no longer write where it has no business to. What is in force, in words.
#[derive(Debug)]
pub struct Confinement {
    needs: Needs,
    files: String,
}

impl Confinement {
    /// Binds the calling thread and all that it starts later to the places it may write. `None`: not wanted.
    ///
    /// Call it before there are threads.
    pub fn begin(config: &Config) -> Option<Confinement> {
        let Some(needs) = Needs::of(config) else {
            warn!("not confined: `confinement` is off");
            return None;
        };
        // What is not there cannot be named. An error is told by whoever is first to write there.
        _ = std::fs::create_dir_all(&config.state);
        let files = match files::confine(&needs) {
            Ok(said) => said,
            Err(error) => {
                warn!("files are written wherever this user may: {error}");
                "unconfined".to_owned()
            }
        };
        Some(Confinement { needs, files })
    }

    /// Refuses what is left to all threads, once what takes privileges has been opened; and says what is in force.
    pub fn complete(self) {
        let calls = match calls::refuse(&self.needs) {
            Ok(count) => format!("{count} refused"),
            Err(error) => {
                warn!("all system calls are open to this process: {error}");
                "unconfined".to_owned()
            }
        };
        let programs = if self.needs.programs { "the operator's, under the same bounds" } else { "none" };
        info!(files = self.files, programs, system_calls = calls, "confined");
    }
}
