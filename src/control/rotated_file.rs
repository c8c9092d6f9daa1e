//! A file that grows line by line, and makes room when it is full: then it becomes `FILE.1`, the one before `FILE.2`, and so on.
//!
//! It is opened anew each time, so that whoever moves it away or removes it finds a new one.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Where lines go, and how many are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RotatedFile {
    pub path: PathBuf,
    /// A file is never larger, in octets, unless what is appended at once is.
    pub most_octets: u64,
    /// Full files beside the one that is written.
    pub files: usize,
}

impl RotatedFile {
    /// Appends whole lines, in a new file where they do not fit. `Ok` with the file, for whoever wants it on the disk.
    ///
    /// # Errors
    /// The lines are not written; what was written of them is taken back, as far as the system lets us.
    pub fn append(&self, lines: &[u8]) -> io::Result<File> {
        let length = match fs::metadata(&self.path) {
            // A pipe without a reader would hold us for ever.
            Ok(found) if !found.is_file() => return Err(io::Error::other("it is not a regular file")),
            Ok(found) => found.len(),
            Err(_) => 0,
        };
        if length > 0 && length.saturating_add(lines.len() as u64) > self.most_octets {
            self.rotate()?;
        }
        let mut file = File::options().append(true).create(true).open(&self.path)?;
        let before = file.metadata()?.len();
        if let Err(error) = file.write_all(lines) {
            let _ = file.set_len(before); // half a line is worse than none; where this fails, it stays
            return Err(error);
        }
        Ok(file)
    }

    /// The nth full file, from 1: the higher the older.
    pub fn numbered(&self, number: usize) -> PathBuf {
        numbered(&self.path, number)
    }

    fn rotate(&self) -> io::Result<()> {
        if self.files == 0 {
            return fs::remove_file(&self.path);
        }
        for number in (1..self.files).rev() {
            match fs::rename(self.numbered(number), self.numbered(number + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        fs::rename(&self.path, self.numbered(1))
    }
}

fn numbered(path: &Path, number: usize) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contents(file: &RotatedFile) -> Vec<Option<String>> {
        let others = (1..=file.files + 1).map(|number| file.numbered(number));
        [file.path.clone()].into_iter().chain(others).map(|path| fs::read_to_string(path).ok()).collect()
    }

    #[test]
    fn a_full_file_makes_room_and_the_oldest_goes() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = RotatedFile { path: folder.path().join("q.jsonl"), most_octets: 6, files: 2 };
        for line in ["aa\n", "bb\n", "cc\n", "dd\n", "ee\n", "ff\n", "gg\n"] {
            file.append(line.as_bytes()).expect("appended");
        }
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(contents(&file), [text("gg\n"), text("ee\nff\n"), text("cc\ndd\n"), None]);
        file.append(b"longer than all\n").expect("appended");
        assert_eq!(contents(&file), [text("longer than all\n"), text("gg\n"), text("ee\nff\n"), None]);
        let alone = RotatedFile { files: 0, ..file };
        alone.append(b"x\n").expect("appended");
        assert_eq!(fs::read_to_string(&alone.path).ok(), text("x\n"));
    }

    #[test]
    fn one_that_was_moved_away_is_made_anew_and_what_is_no_file_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = RotatedFile { path: folder.path().join("q"), most_octets: 1_000, files: 1 };
        file.append(b"a\n").expect("appended");
        fs::rename(&file.path, folder.path().join("moved")).expect("moved");
        file.append(b"b\n").expect("appended");
        assert_eq!(fs::read_to_string(&file.path).expect("there"), "b\n");
        fs::remove_file(&file.path).expect("removed");
        fs::create_dir(&file.path).expect("made");
        assert!(file.append(b"c\n").is_err());
    }
}
