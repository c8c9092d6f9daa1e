//! A directory for one run: made with it, gone with it.

use std::path::{Path, PathBuf};
use std::{fs, io};

/// Removes its directory when dropped.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
}

/// Names tried before giving up: others may have left theirs after being killed.
const MOST_TRIES: u32 = 16;

impl Scratch {
    /// Makes a directory of our own below the system's directory for temporary files. The error
    /// says where it could not be made.
    pub fn new() -> Result<Scratch, String> {
        let parent = std::env::temp_dir();
        let mut result = Err(io::Error::from(io::ErrorKind::AlreadyExists));
        for _ in 0..MOST_TRIES {
            let path = parent.join(format!("meridian-demo-{:016x}", fastrand::u64(..)));
            result = make(&path);
            match &result {
                Ok(()) => return Ok(Scratch { path }),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(_) => break,
            }
        }
        let why = result.err().map(|error| error.to_string()).unwrap_or_default();
        Err(format!("cannot make a temporary directory in {}: {why}; set TMPDIR to one that exists", parent.display()))
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// For our eyes only. Fails where anything is there already, so nobody can put a link there.
fn make(path: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Nobody is left to tell; the system clears such directories in time.
        let _ = fs::remove_dir_all(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_directory_goes_with_all_that_is_in_it() {
        let (first, second) = (Scratch::new().expect("made"), Scratch::new().expect("made"));
        assert_ne!(first.path(), second.path());
        fs::write(first.path().join("overrides.json"), "{}").expect("written");
        let path = first.path().to_owned();
        drop(first);
        assert!(!path.exists() && second.path().exists());
    }
}
