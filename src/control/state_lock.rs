//! One server per state directory: two would write over each other what operators were told is kept.
//!
//! Held by flock(2), so that it ends with the process however that ends. Both the directory and a file in it are
//! locked: the file names the holder, and is all that NFS can lock; the directory can be locked on a full disk, too.

use std::fs::{self, File, TryLockError};
use std::io::{self, Seek, Write};
use std::path::{Path, PathBuf};

use super::atomic_file::make_directory;
use super::troubles::{StateName, TroubleKind, Troubles};

/// A state directory that is this server's alone, as long as this is there.
#[derive(Debug)]
pub struct StateLock {
    held: Vec<File>,
}

/// Another server has it.
#[derive(Debug, thiserror::Error)]
#[error("another server{} has the state directory {directory}: stop it, or give this one a `state` of its own",
    .process.map(|process| format!(", process {process},")).unwrap_or_default())]
pub struct Held {
    pub directory: PathBuf,
    /// `None` where that could not be read.
    pub process: Option<u32>,
}

impl StateLock {
    /// Takes a state directory, and makes it where there is none.
    ///
    /// Where nothing can be locked the server goes without, and that is told: a disk in trouble stops no answers.
    ///
    /// # Errors
    /// Another server has it.
    pub fn take(directory: &Path, troubles: &Troubles) -> Result<StateLock, Held> {
        let file = directory.join(StateName::Lock.as_str());
        let open = || File::options().read(true).write(true).create(true).truncate(false).open(&file);
        let _ = make_directory(directory); // why not, opening it tells
        let (mut held, mut why) = (Vec::new(), None);
        for opened in [File::open(directory), open()] {
            match opened.map_err(TryLockError::Error).and_then(|file| file.try_lock().map(|()| file)) {
                Ok(file) => held.push(file),
                Err(TryLockError::WouldBlock) => {
                    return Err(Held { directory: directory.to_owned(), process: holder(&file) });
                }
                Err(TryLockError::Error(error)) => why = Some(error),
            }
        }
        // The name alone is lost where that fails.
        let _ = held.last().filter(|_| why.is_none()).map(sign);
        if let (true, Some(error)) = (held.is_empty(), why) {
            let error = format!("cannot lock {}: {error}", directory.display());
            troubles.begin(StateName::Lock, TroubleKind::Unwritable, &error, "nothing keeps another server out of it");
        }
        Ok(StateLock { held })
    }
}

impl StateLock {
    /// The lock of another process, which it has handed over: as long as either has it, nobody else does (flock(2)).
    pub fn handed(held: Vec<File>) -> StateLock {
        StateLock { held }
    }

    /// Writes down that it is this process'.
    pub fn sign(&self) {
        // The name alone is lost where that fails. A directory refuses it.
        self.held.iter().for_each(|file| _ = sign(file));
    }

    /// What holds it, to be handed over.
    pub fn files(&self) -> &[File] {
        &self.held
    }
}

/// Writes down whose it is.
fn sign(mut file: &File) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())
}

fn holder(file: &Path) -> Option<u32> {
    fs::read_to_string(file).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_at_a_time_and_the_holder_is_named() {
        let directory = tempfile::tempdir().expect("a directory");
        let (state, troubles) = (directory.path().join("made/when/needed"), Troubles::default());
        let first = StateLock::take(&state, &troubles).expect("free");
        let told = StateLock::take(&state, &troubles).expect_err("held").to_string();
        let named =
            format!("another server, process {}, has the state directory {}", std::process::id(), state.display());
        assert!(told.starts_with(&named), "{told}");
        drop(first);
        StateLock::take(&state, &troubles).expect("free again");
        assert!(troubles.all().is_empty());
    }

    #[test]
    fn a_directory_in_which_nothing_can_be_made_is_locked_all_the_same() {
        let directory = tempfile::tempdir().expect("a directory");
        let troubles = Troubles::default();
        fs::create_dir(directory.path().join("lock")).expect("in the way of the file");
        let _first = StateLock::take(directory.path(), &troubles).expect("free");
        let told = StateLock::take(directory.path(), &troubles).expect_err("held").to_string();
        assert!(told.starts_with("another server has the state directory"), "{told}");
        assert!(troubles.all().is_empty());
    }

    #[test]
    fn where_nothing_can_be_locked_the_server_goes_without() {
        let directory = tempfile::tempdir().expect("a directory");
        let (file, troubles) = (directory.path().join("file"), Troubles::default());
        fs::write(&file, "in the way").expect("written");
        StateLock::take(&file.join("state"), &troubles).expect("nobody has it");
        assert!(troubles.has(StateName::Lock, TroubleKind::Unwritable));
    }
}
