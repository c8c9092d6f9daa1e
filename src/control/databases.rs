//! Databases of where clients are: each is read and judged, and a bad one costs no more than itself.
//!
//! ```text
//!   files ─▶ read ─▶ Atlas ─▶ Found: file ──▶ copies in the state directory
//!              └─ one is bad ─▶ its copy ─▶ else nothing, where that may be ─▶ else refused
//! ```
//!
//! [`load`] makes an atlas of what can be had, [`Copies`] keeps the last good contents of every file, and
//! [`DatabaseReport`] is what operators are told. When to read again is left to [`super::reload`].

use std::ffi::CString;
use std::fs::{self, File};
use std::io::{self, Read};
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use tracing::{error, warn};

use crate::atlas::{Atlas, AtlasError, Database, Detail};
use crate::model::{Location, Prefix};

use super::atomic_file::{AtomicFile, checksum};
use super::config::Stamp;

/// How a database stands, for operators.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatabaseReport {
    /// As configured.
    pub path: PathBuf,
    pub serves: Serves,
    /// What the atlas calls that which serves; `None` where nothing does.
    pub read_as: Option<String>,
    /// Why its file is not used, or not any more.
    pub error: Option<String>,
    /// Why there is no copy of what was read last.
    pub copy_error: Option<String>,
    /// When its file was last read, well or not.
    pub tried_at: SystemTime,
    /// When its file was last read and taken; `None`: not since the start.
    pub taken_at: Option<SystemTime>,
    /// How often its file was taken since the start.
    pub generation: u64,
    /// How often in a row its file was found bad.
    pub failures: u32,
}

/// What answers go by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Serves {
    /// The file as it was when it was last looked at.
    File,
    /// The copy of its last good contents.
    Copy,
    /// What was read of the file before it went bad.
    Before,
    Nothing,
}

impl Serves {
    pub const ALL: [Serves; 4] = [Serves::File, Serves::Copy, Serves::Before, Serves::Nothing];

    pub fn as_str(self) -> &'static str {
        match self {
            Serves::File => "file",
            Serves::Copy => "copy",
            Serves::Before => "before",
            Serves::Nothing => "nothing",
        }
    }
}

/// What one reading found of one database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    pub path: PathBuf,
    /// Never [`Serves::Before`].
    pub serves: Serves,
    pub read_as: Option<String>,
    pub error: Option<String>,
}

impl Found {
    /// Says in the log what is wrong and what is done about it.
    pub fn tell(&self) {
        let Some(why) = &self.error else { return };
        match (self.serves, &self.read_as) {
            (Serves::Copy, Some(copy)) => error!("{why}; its last good contents, kept in {copy}, are used instead"),
            _ => error!("{why}; there is no good copy of it: answering WITHOUT it, as if it knew of no client"),
        }
    }
}

/// What may stand in for a database whose file is bad.
pub struct StandIns<'a> {
    pub copies: Option<&'a Copies>,
    /// Whether answers may go on without it, where there is no good copy either.
    pub may_miss: &'a dyn Fn(&Path) -> bool,
}

/// What a reading has come to.
pub struct Loading {
    pub atlas: Atlas,
    /// One per configured database, in the order of the configuration.
    pub found: Vec<Found>,
    /// Files that were taken, to be handed to [`Copies::keep`].
    pub taken: Vec<(PathBuf, Database)>,
}

/// The things that an atlas is made of. Where they are the same, so is the atlas.
#[derive(Clone, Debug, PartialEq)]
pub struct MadeOf {
    files: Vec<(PathBuf, Stamp)>,
    detail: Detail,
    networks: Vec<(Prefix, Location)>,
}

impl MadeOf {
    /// Take this *before* reading the files. `None` where a file is missing, or was written so lately that another
    /// write may leave no mark.
    pub fn now(
        paths: &[PathBuf],
        stamp: &dyn Fn(&Path) -> Option<Stamp>,
        detail: Detail,
        networks: &[(Prefix, Location)],
    ) -> Option<MadeOf> {
        let files = paths.iter().map(|path| Some((path.clone(), stamp(path)?))).collect::<Option<_>>()?;
        Some(MadeOf { files, detail, networks: networks.to_vec() })
    }
}

/// A database without which there is no atlas.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct Refused {
    /// As configured; `None` where it is none of the configured ones.
    pub path: Option<PathBuf>,
    pub why: String,
}

/// Reads the databases at `paths`, and makes an atlas of them, of `embedded` ones and of the operator's networks.
///
/// # Errors
/// A database is bad, and nothing may stand in for it.
pub fn load(
    paths: &[PathBuf],
    read: &dyn Fn(&Path) -> Result<Database, AtlasError>,
    embedded: Vec<Database>,
    stand_ins: &StandIns<'_>,
    detail: Detail,
    networks: &[(Prefix, Location)],
) -> Result<Loading, Refused> {
    let mut gathered = Gathered { stand_ins, found: Vec::new(), owners: Vec::new(), databases: Vec::new() };
    for (index, path) in paths.iter().enumerate() {
        gathered.found.push(Found { path: path.clone(), serves: Serves::File, read_as: None, error: None });
        match read(path) {
            Ok(database) => gathered.push(Some(index), database),
            Err(error) => gathered.stand_in(index, error.to_string(), None)?,
        }
    }
    embedded.into_iter().for_each(|database| gathered.push(None, database));
    loop {
        match Atlas::build_for(detail, &gathered.databases, networks) {
            Ok(atlas) => return Ok(gathered.finish(atlas)),
            // Each turn takes a file or a copy away: there are as many turns as those at most.
            Err(error) => gathered.without(&error)?,
        }
    }
}

struct Gathered<'a> {
    stand_ins: &'a StandIns<'a>,
    found: Vec<Found>,
    /// Which of `found` each of `databases` is for; `None`: embedded.
    owners: Vec<Option<usize>>,
    databases: Vec<Database>,
}

impl Gathered<'_> {
    fn push(&mut self, owner: Option<usize>, database: Database) {
        self.owners.push(owner);
        self.databases.push(database);
    }

    /// Takes away the database that the atlas could not be made of.
    fn without(&mut self, error: &AtlasError) -> Result<(), Refused> {
        let at = self.databases.iter().position(|database| database.path == error.path());
        match at.and_then(|at| Some((at, self.owners[at]?))) {
            Some((at, owner)) => self.stand_in(owner, error.to_string(), Some(at)),
            None => Err(Refused { path: None, why: error.to_string() }),
        }
    }

    /// Puts the copy in the place of a bad file, or nothing in the place of a bad copy. `at`: where it is among the
    /// databases; `None`: it would be the next one.
    fn stand_in(&mut self, owner: usize, why: String, at: Option<usize>) -> Result<(), Refused> {
        let found = &mut self.found[owner];
        let copy =
            self.stand_ins.copies.filter(|_| found.serves == Serves::File).and_then(|copies| copies.read(&found.path));
        found.serves = if copy.is_some() { Serves::Copy } else { Serves::Nothing };
        // What is wrong with a copy is no news to who has to mend the file.
        let why = found.error.get_or_insert(why).clone();
        match (copy, at) {
            (None, _) if !(self.stand_ins.may_miss)(&found.path) => {
                return Err(Refused { path: Some(found.path.clone()), why });
            }
            (Some(copy), Some(at)) => self.databases[at] = copy,
            (Some(copy), None) => self.push(Some(owner), copy),
            (None, Some(at)) => {
                self.databases.remove(at);
                self.owners.remove(at);
            }
            (None, None) => {}
        }
        Ok(())
    }

    fn finish(mut self, atlas: Atlas) -> Loading {
        let mut taken = Vec::new();
        for (owner, database) in self.owners.into_iter().zip(self.databases) {
            let Some(found) = owner.and_then(|owner| self.found.get_mut(owner)) else { continue };
            found.read_as = Some(database.path.clone());
            if found.serves == Serves::File {
                taken.push((found.path.clone(), database));
            }
        }
        Loading { atlas, found: self.found, taken }
    }
}

/// The reports after a reading that was taken.
pub fn reports(before: &[DatabaseReport], found: Vec<Found>, now: SystemTime) -> Vec<DatabaseReport> {
    let follow = |found: Found| {
        let before = before.iter().find(|report| report.path == found.path);
        let taken = found.serves == Serves::File;
        DatabaseReport {
            tried_at: now,
            taken_at: if taken { Some(now) } else { before.and_then(|before| before.taken_at) },
            generation: before.map_or(0, |before| before.generation) + u64::from(taken),
            failures: if taken { 0 } else { before.map_or(0, |before| before.failures).saturating_add(1) },
            copy_error: before.and_then(|before| before.copy_error.clone()),
            path: found.path,
            serves: found.serves,
            read_as: found.read_as,
            error: found.error,
        }
    };
    found.into_iter().map(follow).collect()
}

/// Notes that a file was found bad while what serves goes on serving.
pub fn note_refused(reports: &mut [DatabaseReport], refused: &Refused, now: SystemTime) {
    for report in reports.iter_mut().filter(|report| Some(&report.path) == refused.path.as_ref()) {
        report.tried_at = now;
        report.failures = report.failures.saturating_add(1);
        report.error = Some(refused.why.clone());
        if report.serves == Serves::File {
            report.serves = Serves::Before;
        }
    }
}

/// Copies of the last good contents of databases, in the state directory: for a start whose files are bad.
///
/// They are copies and no links, since many tools overwrite a file in place. What is written are the very octets that
/// an atlas was made of, so a copy was good when it was made.
#[derive(Clone, Debug)]
pub struct Copies {
    state: PathBuf,
}

/// Octets of all copies together at most: twice the largest database sold. While one is replaced, its old octets are
/// there beside its new ones.
const MAX_COPIES_BYTES: u64 = 4 << 30;
/// What a copy leaves free on the file system at least, beside as much as its own length.
const LEFT_FREE_BYTES: u64 = 64 << 20;

impl Copies {
    pub fn new(state: &Path) -> Copies {
        Copies { state: state.to_owned() }
    }

    fn directory(&self) -> PathBuf {
        self.state.join("databases")
    }

    /// The copy of a database: its file's name for people, and a mark of its whole path.
    pub fn path_of(&self, database: &Path) -> PathBuf {
        let whole = std::path::absolute(database).unwrap_or_else(|_| database.to_owned());
        let mark = checksum(&[whole.as_os_str().as_bytes()]);
        let mark: String = mark.as_ref().iter().take(8).map(|octet| format!("{octet:02x}")).collect();
        let name: String = database
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .chars()
            .filter(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))
            .take(64)
            .collect();
        self.directory().join(format!("{name}-{mark}.mmdb"))
    }

    fn read(&self, database: &Path) -> Option<Database> {
        Database::read(&self.path_of(database)).ok()
    }

    /// Keeps what was taken, and removes copies of what is not configured any more. Blocks: as long as writing and
    /// syncing that many octets takes. Without a state directory nothing is kept.
    ///
    /// Returns for each database taken why there is no copy of it, or `None` where there is.
    pub fn keep(&self, taken: Vec<(PathBuf, Database)>, configured: &[PathBuf]) -> Vec<(PathBuf, Option<String>)> {
        if !self.state.is_dir() {
            let why = || Some(format!("there is no state directory {}", self.state.display()));
            return taken.into_iter().map(|(path, _)| (path, why())).collect();
        }
        let wanted: Vec<PathBuf> = configured.iter().map(|path| self.path_of(path)).collect();
        self.remove_all_but(&wanted);
        let mut kept = Vec::new();
        for (path, database) in taken {
            let error = self.keep_one(&path, &database, &wanted).err();
            if let Some(error) = &error {
                warn!("no copy of {} is kept, so that a start could not do without it: {error}", path.display());
            }
            kept.push((path, error));
        }
        kept
    }

    fn keep_one(&self, path: &Path, database: &Database, wanted: &[PathBuf]) -> Result<(), String> {
        let copy = self.path_of(path);
        let bytes = database.bytes.len() as u64;
        if is_same(&copy, &database.bytes).unwrap_or(false) {
            return Ok(());
        }
        let length = |path: &PathBuf| fs::metadata(path).map_or(0, |metadata| metadata.len());
        let others: u64 = wanted.iter().filter(|other| **other != copy).map(length).sum();
        if others + bytes > MAX_COPIES_BYTES {
            return Err(format!("copies of databases may have {MAX_COPIES_BYTES} octets together"));
        }
        let free = free_bytes(&self.state).map_err(|error| error.to_string())?;
        if free < 2 * bytes + LEFT_FREE_BYTES {
            return Err(format!("it has {bytes} octets, and only {free} are free in {}", self.state.display()));
        }
        AtomicFile::new(copy, MAX_COPIES_BYTES).replace(&database.bytes).map_err(|error| error.to_string())
    }

    /// Also what a crash left half written.
    fn remove_all_but(&self, wanted: &[PathBuf]) {
        let Ok(entries) = fs::read_dir(self.directory()) else { return };
        for path in entries.flatten().map(|entry| entry.path()) {
            let ours = path.file_name().is_some_and(|name| {
                let name = name.to_string_lossy();
                name.ends_with(".mmdb") || name.ends_with(".mmdb.new")
            });
            if ours && !wanted.contains(&path) {
                // What cannot be removed is found again next time.
                let _ = fs::remove_file(&path);
            }
        }
    }
}

/// Whether a file holds just these octets.
fn is_same(path: &Path, octets: &[u8]) -> io::Result<bool> {
    if fs::metadata(path)?.len() != octets.len() as u64 {
        return Ok(false);
    }
    let mut file = File::open(path)?;
    let mut chunk = vec![0; 1 << 20];
    for expected in octets.chunks(chunk.len()) {
        let chunk = &mut chunk[..expected.len()];
        file.read_exact(chunk)?;
        if chunk != expected {
            return Ok(false);
        }
    }
    Ok(true)
}

/// What this process may still write to the file system that a directory is on.
fn free_bytes(directory: &Path) -> io::Result<u64> {
    let path = CString::new(directory.as_os_str().as_bytes())?;
    let mut system = MaybeUninit::<libc::statvfs>::uninit();
    // SAFETY: the path ends with a zero and the struct has room for what is written; both outlive the call.
    if unsafe { libc::statvfs(path.as_ptr(), system.as_mut_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call succeeded, so all of it was written.
    let system = unsafe { system.assume_init() };
    Ok(system.f_bavail.saturating_mul(system.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::atlas::DEMO_DATABASE;

    fn made() -> (tempfile::TempDir, PathBuf, Copies) {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("a.mmdb");
        fs::write(&path, DEMO_DATABASE).expect("written");
        fs::create_dir(directory.path().join("state")).expect("made");
        let copies = Copies::new(&directory.path().join("state"));
        (directory, path, copies)
    }

    fn load_with(paths: &[PathBuf], copies: Option<&Copies>, may_miss: bool) -> Result<Loading, Refused> {
        let stand_ins = StandIns { copies, may_miss: &|_| may_miss };
        load(paths, &|path| Database::read(path), Vec::new(), &stand_ins, Detail::ALL, &[])
    }

    #[test]
    fn a_bad_file_is_stood_in_for_by_its_copy_then_by_nothing() {
        let (_directory, path, copies) = made();
        let paths = [path.clone()];
        let Loading { atlas, found, taken } = load_with(&paths, Some(&copies), false).expect("good");
        let places = atlas.place_count();
        assert_eq!((found[0].serves, &found[0].error), (Serves::File, &None));
        assert_eq!(copies.keep(taken, &paths), [(path.clone(), None)]);
        for bad in [&DEMO_DATABASE[..5_000], b"", b"not a database"] {
            fs::write(&path, bad).expect("overwritten in place");
            let Loading { atlas, found, taken } = load_with(&paths, Some(&copies), false).expect("the copy");
            assert_eq!((atlas.place_count(), found[0].serves, taken.len()), (places, Serves::Copy, 0));
            assert!(found[0].error.as_ref().is_some_and(|why| why.contains("a.mmdb")), "{found:?}");
        }
        fs::remove_file(&path).expect("gone");
        assert_eq!(load_with(&paths, Some(&copies), false).expect("the copy").found[0].serves, Serves::Copy);
        fs::write(copies.path_of(&path), "a bad copy").expect("written");
        let Loading { atlas, found, .. } = load_with(&paths, Some(&copies), true).expect("nothing");
        assert_eq!((atlas.place_count(), found[0].serves, &found[0].read_as), (1, Serves::Nothing, &None));
        assert!(found[0].error.as_ref().is_some_and(|why| why.contains("cannot read")), "of the file: {found:?}");
        let refused = load_with(&paths, Some(&copies), false).err().expect("refused");
        assert_eq!(refused.path, Some(path));
        assert!(load_with(&paths, None, false).is_err());
    }

    #[test]
    fn one_bad_database_costs_none_of_the_others() {
        let (directory, good, copies) = made();
        let bad = directory.path().join("bad.mmdb");
        fs::write(&bad, "bad").expect("written");
        for paths in [[good.clone(), bad.clone()], [bad.clone(), good.clone()]] {
            let Loading { atlas, found, taken } = load_with(&paths, Some(&copies), true).expect("one of two");
            assert!(atlas.place_count() > 1);
            assert_eq!(taken.iter().map(|(path, _)| path).collect::<Vec<_>>(), [&good]);
            let serves = |path| found.iter().find(|found| found.path == path).map(|found| found.serves);
            assert_eq!((serves(good.clone()), serves(bad.clone())), (Some(Serves::File), Some(Serves::Nothing)));
        }
    }

    #[test]
    fn copies_are_only_of_what_is_configured_and_only_where_there_is_a_state_directory() {
        let (directory, path, copies) = made();
        let other = directory.path().join("other/a.mmdb");
        let paths = [path.clone(), other.clone()];
        let database = || Database { path: "x".into(), bytes: DEMO_DATABASE.to_vec() };
        copies.keep(vec![(path.clone(), database()), (other.clone(), database())], &paths);
        let kept = || fs::read_dir(directory.path().join("state/databases")).expect("made").count();
        assert_eq!(kept(), 2, "files of one name in two directories are two");
        let before = fs::metadata(copies.path_of(&path)).and_then(|metadata| metadata.modified()).expect("there");
        copies.keep(vec![(path.clone(), database())], &paths[..1]);
        assert_eq!(kept(), 1);
        let after = fs::metadata(copies.path_of(&path)).and_then(|metadata| metadata.modified()).expect("there");
        assert_eq!(before, after, "what is the same is not written again");
        fs::remove_dir_all(directory.path().join("state")).expect("gone");
        let kept = copies.keep(vec![(path, database())], &paths);
        assert!(kept[0].1.as_ref().is_some_and(|why| why.contains("no state directory")), "{kept:?}");
        assert!(!directory.path().join("state").exists());
    }

    #[test]
    fn reports_count_what_was_taken_and_what_failed() {
        let now = SystemTime::UNIX_EPOCH;
        let found = |serves, error: Option<&str>| {
            vec![Found { path: "a".into(), serves, read_as: None, error: error.map(str::to_owned) }]
        };
        let mut told = reports(&[], found(Serves::File, None), now);
        assert_eq!((told[0].generation, told[0].failures, told[0].taken_at), (1, 0, Some(now)));
        for failures in 1..=2 {
            note_refused(&mut told, &Refused { path: Some("a".into()), why: "bad".into() }, now);
            assert_eq!((told[0].serves, told[0].failures, told[0].generation), (Serves::Before, failures, 1));
        }
        let told = reports(&told, found(Serves::Copy, Some("bad")), now);
        assert_eq!((told[0].serves, told[0].failures, told[0].generation), (Serves::Copy, 3, 1));
        let told = reports(&told, found(Serves::File, None), now);
        assert_eq!((told[0].failures, told[0].generation, &told[0].error), (0, 2, &None));
    }
}
