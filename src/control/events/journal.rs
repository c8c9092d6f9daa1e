//! The file of events: a line of JSON each, appended and synced; when it is full it becomes `events.jsonl.1`, in place of
//! the one before.
//!
//! A line that is torn, as by a kill, or corrupt is left out when it is read; the others hold.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::super::atomic_file::make_directory;
use super::super::troubles::StateName;
use super::event::Event;

/// A file is never larger, in octets: some 8,000 events.
const MOST_OCTETS: u64 = 4 * 1024 * 1024;
/// No event has a longer line, in octets: 8 endpoints and 8 services take a tenth of it.
const MOST_LINE: usize = 64 * 1024;
/// Numbers beyond are no event's: JSON's readers keep integers up to here exact.
pub const MOST_ID: u64 = 1 << 53;

/// The files of one state directory.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    most_octets: u64,
    /// The file may end in half a line.
    torn: bool,
}

/// Events as they were read, oldest first, and how many lines were none.
#[derive(Debug, Default)]
pub struct Kept {
    pub events: Vec<Event>,
    pub skipped: usize,
}

impl Journal {
    pub fn new(directory: &Path) -> Journal {
        Journal { path: directory.join(StateName::Events.as_str()), most_octets: MOST_OCTETS, torn: true }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads both files. Blocks.
    ///
    /// # Errors
    /// As the system says; a file that is not there is none.
    pub fn read(&self) -> io::Result<Kept> {
        // By number: an event whose sync failed may have been written twice.
        let (mut found, mut skipped) = (BTreeMap::new(), 0);
        for path in [self.full(), self.path.clone()] {
            let file = match fs::metadata(&path) {
                // A pipe would keep its reader waiting for ever.
                Ok(metadata) if !metadata.is_file() => return Err(io::Error::other("it is not a regular file")),
                Ok(_) => File::open(&path)?,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            skipped += self.read_lines(file, &mut found)?;
        }
        Ok(Kept { events: found.into_values().collect(), skipped })
    }

    /// The newest lines of a file; the number of those that hold no event.
    fn read_lines(&self, mut file: File, found: &mut BTreeMap<u64, Event>) -> io::Result<usize> {
        let from = file.metadata()?.len().saturating_sub(self.most_octets);
        file.seek(SeekFrom::Start(from))?;
        let (mut reader, mut line, mut skipped) = (BufReader::new(file.take(self.most_octets)), Vec::new(), 0);
        while reader.read_until(b'\n', &mut line)? > 0 {
            match serde_json::from_slice::<Event>(&line) {
                Ok(event) if event.id <= MOST_ID && line.len() <= MOST_LINE => _ = found.insert(event.id, event),
                _ => skipped += usize::from(!line.trim_ascii().is_empty()),
            }
            line.clear();
        }
        Ok(skipped)
    }

    /// Appends events. When this returns they survive a crash of the machine. Blocks.
    ///
    /// # Errors
    /// As the system says; then some or all of them may be in the file, and may be appended again.
    pub fn append(&mut self, events: &[impl AsRef<Event>]) -> io::Result<()> {
        let mut lines = Vec::new();
        for event in events {
            serde_json::to_writer(&mut lines, event.as_ref())?;
            lines.push(b'\n');
        }
        let appended = self.append_lines(&lines);
        self.torn = appended.is_err();
        appended
    }

    fn append_lines(&self, lines: &[u8]) -> io::Result<()> {
        let directory = self.path.parent().unwrap_or(Path::new("."));
        make_directory(directory)?;
        let length = fs::metadata(&self.path).map_or(0, |metadata| metadata.len());
        let is_full = length > 0 && length + lines.len() as u64 >= self.most_octets;
        if is_full {
            fs::rename(&self.path, self.full())?;
        }
        let mut file = File::options().append(true).create(true).open(&self.path)?;
        if self.torn && length > 0 && !is_full {
            file.write_all(b"\n")?;
        }
        file.write_all(lines)?;
        file.sync_data()?;
        // A name is kept by its directory.
        if is_full || length == 0 { File::open(directory)?.sync_all() } else { Ok(()) }
    }

    fn full(&self) -> PathBuf {
        self.path.with_extension("jsonl.1")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use jiff::Timestamp;

    use super::*;
    use crate::control::events::event::{Change, tests};

    fn event(id: u64) -> Arc<Event> {
        Arc::new(Event { id, at: Timestamp::UNIX_EPOCH, change: Change::Region(tests::down()) })
    }

    fn ids(journal: &Journal) -> (Vec<u64>, usize) {
        let Kept { events, skipped } = journal.read().expect("readable");
        (events.iter().map(|event| event.id).collect(), skipped)
    }

    #[test]
    fn torn_and_corrupt_lines_are_left_out_and_the_others_hold() {
        let state = tempfile::tempdir().expect("a directory");
        let mut journal = Journal::new(&state.path().join("made/when/needed"));
        assert_eq!(ids(&journal), (vec![], 0), "no file is no event");
        journal.append(&[event(1), event(2)]).expect("kept");
        let path = journal.path.clone();
        let whole = fs::read(&path).expect("a file");
        let half = whole.len() - 20;
        fs::write(&path, &whole[..half]).expect("torn");
        let mut journal = Journal::new(path.parent().expect("a directory"));
        journal.append(&[event(3)]).expect("kept");
        journal.append(&[event(3), event(4)]).expect("kept, as again after a failed sync");
        assert_eq!(ids(&journal), (vec![1, 3, 4], 1), "a line of its own after the torn one");
        let mut octets = fs::read(&path).expect("a file");
        octets.extend(b"\n\xff\xfe\n{}\n[]\n{\"id\":18446744073709551615}\n");
        octets.extend(serde_json::to_vec(&*event(MOST_ID + 1)).expect("JSON"));
        fs::write(&path, octets).expect("corrupt");
        assert_eq!(ids(&journal), (vec![1, 3, 4], 6));
    }

    #[test]
    fn both_files_are_bounded_and_the_newest_events_stay() {
        let state = tempfile::tempdir().expect("a directory");
        let line = serde_json::to_vec(&*event(1)).expect("JSON").len() as u64 + 1;
        let mut journal = Journal { most_octets: 10 * line, ..Journal::new(state.path()) };
        for id in 1..=95 {
            journal.append(&[event(id)]).expect("kept");
        }
        for path in [journal.path.clone(), journal.full()] {
            assert!(fs::metadata(&path).expect("a file").len() <= journal.most_octets, "{path:?}");
        }
        let (ids, skipped) = ids(&journal);
        assert_eq!((ids.last(), skipped), (Some(&95), 0));
        assert!(ids.len() >= 9 && ids.windows(2).all(|pair| pair[0] + 1 == pair[1]), "{ids:?}");
        assert_eq!(fs::read_dir(state.path()).expect("a directory").count(), 2);
    }

    #[test]
    fn what_is_no_file_is_no_event_and_is_said() {
        let state = tempfile::tempdir().expect("a directory");
        let mut journal = Journal::new(state.path());
        fs::create_dir(&journal.path).expect("a directory in its place");
        assert!(journal.read().is_err() && journal.append(&[event(1)]).is_err());
    }
}
