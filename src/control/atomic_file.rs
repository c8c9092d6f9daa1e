//! Files that must survive a crash: written whole beside the old one, synced, and renamed over it, so that a crash
//! at any moment leaves the old or the new octets and never half of them.
//!
//! Octets in and out; what they mean is left to [`StateFile`](super::state_file::StateFile) and
//! [`WarmStore`](super::warm::WarmStore).

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use ring::digest::{Context, Digest, SHA256};

/// A file that is only ever replaced whole.
#[derive(Clone, Debug)]
pub struct AtomicFile {
    path: PathBuf,
    max_bytes: u64,
    /// For its owner's eyes alone.
    private: bool,
}

/// How long somebody waits for a file to be replaced: until it is given up, or cannot be taken back any more.
#[derive(Clone, Debug, Default)]
pub struct Patience(Arc<AtomicU8>);

/// Why a file could not be read or replaced.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    #[error("cannot {action} {path}: {error}")]
    Io { action: &'static str, path: PathBuf, error: io::Error },
    /// The new octets are in place, and may be lost where the machine fails.
    #[error("cannot sync the directory of {path}: {error}")]
    Unsynced { path: PathBuf, error: io::Error },
    /// Whoever asked for it has given it up; the old octets are still there.
    #[error("the disk did not answer in time: {path} is as it was")]
    GivenUp { path: PathBuf },
    #[error("{path} is not a regular file")]
    NotAFile { path: PathBuf },
    #[error("{path} has, or would have, {bytes} octets, more than {max_bytes}")]
    TooLarge { path: PathBuf, bytes: u64, max_bytes: u64 },
}

impl AtomicFile {
    /// Neither read nor written beyond `max_bytes`.
    pub fn new(path: PathBuf, max_bytes: u64) -> AtomicFile {
        AtomicFile { path, max_bytes, private: false }
    }

    /// Read and written by nobody but its owner.
    pub fn private(self) -> AtomicFile {
        AtomicFile { private: true, ..self }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// All octets; `None` where there is no such file.
    pub fn read(&self) -> Result<Option<Vec<u8>>, FileError> {
        match fs::metadata(&self.path) {
            // A pipe would keep its reader waiting for ever.
            Ok(metadata) if !metadata.is_file() => return Err(FileError::NotAFile { path: self.path.clone() }),
            Ok(metadata) => self.fits(metadata.len())?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(self.io("read", error)),
        }
        fs::read(&self.path).map(Some).map_err(|error| self.io("read", error))
    }

    /// Replaces the file, making its directory where there is none. When this returns, the octets survive a crash of
    /// the machine.
    ///
    /// # Errors
    /// As the system says, or there are too many octets; the old ones are still there, but for
    /// [`FileError::Unsynced`].
    pub fn replace(&self, octets: &[u8]) -> Result<(), FileError> {
        self.replace_unless(octets, &Patience::default())
    }

    /// [`AtomicFile::replace`], unless whoever waits for it has given it up before the old octets are touched.
    pub fn replace_unless(&self, octets: &[u8], patience: &Patience) -> Result<(), FileError> {
        self.fits(octets.len() as u64)?;
        let fresh = self.fresh();
        if let Err(error) = self.write_beside(&fresh, octets) {
            // Half a file would take the room that a full disk lacks.
            let _ = fs::remove_file(&fresh);
            return Err(self.io("write", error));
        }
        if !patience.begin() {
            let _ = fs::remove_file(&fresh);
            return Err(FileError::GivenUp { path: self.path.clone() });
        }
        if let Err(error) = fs::rename(&fresh, &self.path) {
            let _ = fs::remove_file(&fresh);
            return Err(self.io("write", error));
        }
        self.sync_directory()
    }

    /// Has the octets of before again, or no file where there were none. They may be lost where the machine fails.
    ///
    /// # Errors
    /// As the system says; then the file is what it was made last.
    pub fn put_back(&self, octets: Option<&[u8]>) -> Result<(), FileError> {
        let put_back = match octets {
            Some(octets) => self.replace(octets),
            None => match fs::remove_file(&self.path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(self.io("remove", error)),
                _ => self.sync_directory(),
            },
        };
        match put_back {
            Err(FileError::Unsynced { .. }) => Ok(()),
            put_back => put_back,
        }
    }

    /// Whether the file could be replaced, found out by writing beside it.
    pub fn prove(&self) -> Result<(), FileError> {
        let fresh = self.fresh();
        make_directory(self.directory())
            .and_then(|()| File::create(&fresh))
            .and_then(|_| fs::remove_file(&fresh))
            .map_err(|error| self.io("write", error))
    }

    fn write_beside(&self, fresh: &Path, octets: &[u8]) -> io::Result<()> {
        make_directory(self.directory())?;
        let mut options = File::options();
        options.write(true).create(true).truncate(true);
        if self.private {
            options.mode(0o600);
        }
        let mut file = options.open(fresh)?;
        file.write_all(octets)?;
        file.sync_all()
    }

    /// A rename is kept by its directory.
    fn sync_directory(&self) -> Result<(), FileError> {
        let synced = File::open(self.directory()).and_then(|directory| directory.sync_all());
        synced.map_err(|error| FileError::Unsynced { path: self.path.clone(), error })
    }

    fn directory(&self) -> &Path {
        above(&self.path)
    }

    /// The file that is written first.
    fn fresh(&self) -> PathBuf {
        let mut name = self.path.file_name().unwrap_or_default().to_owned();
        name.push(".new");
        self.path.with_file_name(name)
    }

    fn fits(&self, bytes: u64) -> Result<(), FileError> {
        let max_bytes = self.max_bytes;
        if bytes <= max_bytes { Ok(()) } else { Err(FileError::TooLarge { path: self.path.clone(), bytes, max_bytes }) }
    }

    fn io(&self, action: &'static str, error: io::Error) -> FileError {
        FileError::Io { action, path: self.path.clone(), error }
    }
}

impl Patience {
    const BEGUN: u8 = 1;
    const GIVEN_UP: u8 = 2;

    /// Gives up. False where it is too late: the file is being replaced at this moment, or has been.
    pub fn give_up(&self) -> bool {
        self.first_to(Patience::GIVEN_UP)
    }

    fn begin(&self) -> bool {
        self.first_to(Patience::BEGUN)
    }

    fn first_to(&self, next: u8) -> bool {
        self.0.compare_exchange(0, next, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }
}

/// Makes a directory, and those above it, so that all of them survive a crash of the machine.
pub fn make_directory(directory: &Path) -> io::Result<()> {
    let missing = |path: &&Path| !path.as_os_str().is_empty() && !path.exists();
    let made: Vec<&Path> = directory.ancestors().take_while(missing).collect();
    fs::create_dir_all(directory)?;
    // A directory is an entry of the one above it: from the top down.
    for directory in made.into_iter().rev() {
        File::open(above(directory))?.sync_all()?;
    }
    Ok(())
}

/// The directory that something is in.
fn above(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) => Path::new("."),
        None => path,
    }
}

/// The checksum of parts that follow each other: SHA-256.
pub fn checksum(parts: &[&[u8]]) -> Digest {
    let mut context = Context::new(&SHA256);
    for part in parts {
        context.update(part);
    }
    context.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_that_fails_leaves_the_old_octets() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = AtomicFile::new(directory.path().join("made/when/needed"), 10);
        assert!(file.read().expect("nothing yet").is_none());
        file.prove().expect("it could be written");
        assert!(file.read().expect("nothing yet").is_none());
        file.replace(b"old").expect("written");
        assert!(matches!(file.replace(&[0; 11]), Err(FileError::TooLarge { bytes: 11, max_bytes: 10, .. })));
        assert_eq!(file.read().expect("there").as_deref(), Some(&b"old"[..]));
        let in_the_way = directory.path().join("made/when/needed.new");
        fs::create_dir(&in_the_way).expect("a directory");
        for refused in [file.replace(b"new"), file.prove()] {
            assert!(matches!(refused, Err(FileError::Io { action: "write", .. })));
            assert_eq!(file.read().expect("there").as_deref(), Some(&b"old"[..]));
        }
        fs::remove_dir(&in_the_way).expect("gone");
        fs::write(&in_the_way, "half of wh").expect("a leftover of a crash");
        assert_eq!(file.read().expect("there").as_deref(), Some(&b"old"[..]));
        file.replace(b"new").expect("written");
        assert_eq!(file.read().expect("there").as_deref(), Some(&b"new"[..]));
    }

    #[test]
    fn what_was_given_up_in_time_is_not_written_and_leaves_nothing_behind() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = AtomicFile::new(directory.path().join("file"), 10);
        file.replace(b"old").expect("written");
        let patience = Patience::default();
        assert!(patience.give_up());
        assert!(matches!(file.replace_unless(b"new", &patience), Err(FileError::GivenUp { .. })));
        assert_eq!(file.read().expect("there").as_deref(), Some(&b"old"[..]));
        assert_eq!(fs::read_dir(directory.path()).expect("a directory").count(), 1);
        let patience = Patience::default();
        file.replace_unless(b"new", &patience).expect("written");
        assert!(!patience.give_up(), "too late");
    }

    #[test]
    fn what_was_there_before_can_be_had_back_and_nothing_too() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = AtomicFile::new(directory.path().join("file"), 10).private();
        file.replace(b"new").expect("written");
        file.put_back(Some(b"old")).expect("back");
        assert_eq!(file.read().expect("there").as_deref(), Some(&b"old"[..]));
        for _ in 0..2 {
            file.put_back(None).expect("gone");
            assert!(file.read().expect("nothing").is_none());
        }
    }

    #[test]
    fn directories_are_made_from_the_top_down() {
        let directory = tempfile::tempdir().expect("a directory");
        let deep = directory.path().join("a/b/c");
        for _ in 0..2 {
            make_directory(&deep).expect("made");
            assert!(deep.is_dir());
        }
        assert_eq!(
            [above(Path::new("a")), above(Path::new("a/b")), above(Path::new("/"))],
            [".", "a", "/"].map(Path::new)
        );
    }

    #[test]
    fn what_is_no_file_or_too_large_is_not_read() {
        let directory = tempfile::tempdir().expect("a directory");
        assert!(matches!(AtomicFile::new(directory.path().into(), 10).read(), Err(FileError::NotAFile { .. })));
        let file = AtomicFile::new(directory.path().join("file"), 10);
        fs::write(file.path(), [0; 11]).expect("written");
        assert!(matches!(file.read(), Err(FileError::TooLarge { bytes: 11, .. })));
    }
}
