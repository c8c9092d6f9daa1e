//! Files that must survive a crash: written whole beside the old one, synced, and renamed over it, so that a crash
//! at any moment leaves the old or the new octets and never half of them.
//!
//! Octets in and out; what they mean is left to [`StateFile`](super::state_file::StateFile) and
//! [`WarmStore`](super::warm::WarmStore).

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use ring::digest::{Context, Digest, SHA256};

/// A file that is only ever replaced whole.
#[derive(Clone, Debug)]
pub struct AtomicFile {
    path: PathBuf,
    max_bytes: u64,
}

/// Why a file could not be read or replaced.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    #[error("cannot {action} {path}: {error}")]
    Io { action: &'static str, path: PathBuf, error: io::Error },
    #[error("{path} is not a regular file")]
    NotAFile { path: PathBuf },
    #[error("{path} has, or would have, {bytes} octets, more than {max_bytes}")]
    TooLarge { path: PathBuf, bytes: u64, max_bytes: u64 },
}

impl AtomicFile {
    /// Neither read nor written beyond `max_bytes`.
    pub fn new(path: PathBuf, max_bytes: u64) -> AtomicFile {
        AtomicFile { path, max_bytes }
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
    /// As the system says, or there are too many octets; the old ones are still there.
    pub fn replace(&self, octets: &[u8]) -> Result<(), FileError> {
        self.fits(octets.len() as u64)?;
        self.write(octets).map_err(|error| self.io("write", error))
    }

    /// Whether the file could be replaced, found out by writing beside it.
    pub fn prove(&self) -> Result<(), FileError> {
        let fresh = self.fresh();
        fs::create_dir_all(self.directory())
            .and_then(|()| File::create(&fresh))
            .and_then(|_| fs::remove_file(&fresh))
            .map_err(|error| self.io("write", error))
    }

    fn write(&self, octets: &[u8]) -> io::Result<()> {
        fs::create_dir_all(self.directory())?;
        let fresh = self.fresh();
        let mut file = File::create(&fresh)?;
        file.write_all(octets)?;
        file.sync_all()?;
        fs::rename(&fresh, &self.path)?;
        File::open(self.directory())?.sync_all() // the rename itself
    }

    fn directory(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new("."))
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
    fn what_is_no_file_or_too_large_is_not_read() {
        let directory = tempfile::tempdir().expect("a directory");
        assert!(matches!(AtomicFile::new(directory.path().into(), 10).read(), Err(FileError::NotAFile { .. })));
        let file = AtomicFile::new(directory.path().join("file"), 10);
        fs::write(file.path(), [0; 11]).expect("written");
        assert!(matches!(file.read(), Err(FileError::TooLarge { bytes: 11, .. })));
    }
}
