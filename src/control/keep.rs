//! Files that must survive a restart: written whole beside the old one, synced, and renamed over it,
//! so that a crash at any moment leaves the old or the new text and never half of one.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Replaces a file, making its directory where there is none. When this returns, the text survives a
/// crash of the machine.
///
/// # Errors
/// As the system says; the old text is still there.
pub fn replace(path: &Path, text: &[u8]) -> io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(directory)?;
    let fresh = fresh(path);
    let mut file = File::create(&fresh)?;
    file.write_all(text)?;
    file.sync_all()?;
    fs::rename(&fresh, path)?;
    File::open(directory)?.sync_all() // the rename itself
}

/// What is written first.
pub fn fresh(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    path.with_file_name(name)
}
