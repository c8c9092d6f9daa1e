//! Files that are not as they were written, moved out of the way as `NAME.corrupt-MILLISECONDS` for whoever wants to
//! look: never over one another, and a few at most.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use tracing::warn;

/// Those of one file that are kept: the oldest goes first. One may have 64 MiB.
const MOST: usize = 3;

/// Moves a file out of the way, and says where it is.
///
/// # Errors
/// It cannot be moved, and is where it was.
pub fn set_aside(path: &Path) -> io::Result<PathBuf> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let names = (since.as_millis()..).map(|milliseconds| named(path, &milliseconds.to_string()));
    let aside = names.into_iter().find(|aside| !aside.exists()).unwrap_or_else(|| named(path, "0"));
    fs::rename(path, &aside)?;
    if let Some(directory) = path.parent() {
        // Not more than a courtesy: after a crash of the machine it is moved again.
        let _ = File::open(directory).and_then(|directory| directory.sync_all());
    }
    let all = all_aside(path);
    for oldest in all.iter().take(all.len().saturating_sub(MOST)) {
        match fs::remove_file(oldest) {
            Ok(()) => warn!("{} was removed: there are newer ones", oldest.display()),
            Err(error) => warn!("cannot remove {}: {error}", oldest.display()),
        }
    }
    Ok(aside)
}

/// The newest of this file that still lies there.
pub fn newest_aside(path: &Path) -> Option<PathBuf> {
    all_aside(path).pop()
}

/// The oldest first.
fn all_aside(path: &Path) -> Vec<PathBuf> {
    let begin = named(path, "");
    let begin = begin.file_name().unwrap_or_default().as_encoded_bytes();
    let Some(entries) = path.parent().and_then(|directory| fs::read_dir(directory).ok()) else { return Vec::new() };
    let is_aside = |path: &PathBuf| path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(begin));
    let mut found: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).filter(is_aside).collect();
    found.sort();
    found
}

fn named(path: &Path, milliseconds: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".corrupt-");
    name.push(milliseconds);
    path.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_are_kept_and_none_is_written_over() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("file");
        fs::write(directory.path().join("file.new"), "another").expect("written");
        assert_eq!(newest_aside(&path), None);
        let texts = ["a", "b", "c", "d", "e"];
        for text in texts {
            fs::write(&path, text).expect("written");
            let aside = set_aside(&path).expect("moved");
            assert!(!path.exists() && newest_aside(&path) == Some(aside), "{text}");
        }
        let left: Vec<String> = all_aside(&path).iter().map(|path| fs::read_to_string(path).expect("there")).collect();
        assert_eq!(left, texts[2..]);
        assert!(set_aside(&path).is_err(), "nothing is there");
    }
}
