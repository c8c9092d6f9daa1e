//! Reading the files a configuration consists of.
//!
//! [`Files`] is where text comes from: [`Disk`], or anything a test or the demo embeds.
//! [`Sources`] adds what every reading needs: size limit, paths as the operator names them, the
//! list of all that was read, and the fence around `$INCLUDE`.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fs::Metadata;
use std::hash::{BuildHasher, Hash, Hasher};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::panic::resume_unwind;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use foldhash::quality::FixedState;

use super::reader::Value;
use crate::control::bounded_file;
use crate::control::diagnostic::SourceFile;
use crate::control::zonefile::{self, Strictness};

/// The largest file that is read, 64 MiB: a zone of about a million records.
pub const MAX_FILE_BYTES: u64 = 64 * 1024 * 1024;

/// The source of files.
pub trait Files {
    /// The text of a file. `InvalidData` where it is not UTF-8, with the offset in the message.
    fn read(&self, path: &Path) -> io::Result<String>;

    /// The octets of a file, whether they are UTF-8 or not.
    fn read_octets(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.read(path).map(String::into_bytes)
    }

    /// The facts by which a file is seen to be as it was, unread. `None` where there are none.
    fn stamp(&self, _path: &Path) -> Option<Stamp> {
        None
    }

    /// Those of many files, in their order.
    fn stamps(&self, paths: &[&Path]) -> Vec<Option<Stamp>> {
        paths.iter().map(|path| self.stamp(path)).collect()
    }

    /// The paths of what a directory holds, in any order, each beginning with `path`.
    fn list(&self, path: &Path) -> io::Result<Vec<PathBuf>>;
}

/// A file as the system tells of it: whoever writes or replaces it changes this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    device: u64,
    inode: u64,
    octets: u64,
    /// Of the octets, and of the rest: seconds and nanoseconds.
    written: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    #[cfg(test)]
    pub fn numbered(octets: u64) -> Stamp {
        Stamp { device: 0, inode: 0, octets, written: (0, 0), changed: (0, 0) }
    }

    /// Files this young may be written again within the same tick of the file system's clock.
    const YOUNG: Duration = Duration::from_secs(2);

    pub fn of(metadata: &Metadata) -> Stamp {
        Stamp {
            device: metadata.dev(),
            inode: metadata.ino(),
            octets: metadata.len(),
            written: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// The same, unless the file was written so lately that another write may leave it alike.
    pub fn settled(self) -> Option<Stamp> {
        self.settled_at(SystemTime::now())
    }

    /// [`Stamp::settled`] of one that was asked for at this time or later, and is judged later still.
    fn settled_at(self, asked: SystemTime) -> Option<Stamp> {
        let asked = asked.duration_since(UNIX_EPOCH).ok()?;
        let latest = i64::try_from(asked.checked_sub(Stamp::YOUNG)?.as_secs()).ok()?;
        (self.written.0 < latest && self.changed.0 < latest).then_some(self)
    }

    /// Device and inode, length, and when the octets were written.
    pub fn facts(&self) -> ((u64, u64), u64, (i64, i64)) {
        ((self.device, self.inode), self.octets, self.written)
    }
}

/// All that a load went by, as it was just before.
#[derive(Clone, Debug)]
pub struct Facts {
    /// Of the files that were read or looked for, in the order of [`Loaded::files`](super::Loaded::files).
    pub files: Vec<Option<Stamp>>,
    /// Of the directory of zones, with a mark of the zone files in it.
    pub zones: Option<(Stamp, u64)>,
}

/// A mark of the names of zone files, in their order.
pub fn mark_of(names: &[PathBuf]) -> u64 {
    let mut hasher = FixedState::with_seed(0).build_hasher();
    names.iter().for_each(|name| name.as_os_str().hash(&mut hasher));
    hasher.finish()
}

/// A file that was read.
#[derive(Clone, Debug)]
pub struct ReadFile {
    path: Arc<Path>,
    strictness: Strictness,
    /// As it was just before.
    stamp: Option<Stamp>,
    digest: Digest,
}

impl ReadFile {
    pub fn path(&self) -> Arc<Path> {
        self.path.clone()
    }

    pub fn has_stamp_of(&self, other: &ReadFile) -> bool {
        self.stamp == other.stamp
    }
}

/// Tells texts apart: 128 bits, no two alike by chance. Whoever may write a zone file gains nothing by two that are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Digest(u64, u64);

impl Digest {
    fn of(text: &str) -> Digest {
        /// What a core has at hand while it is read twice.
        const BLOCK: usize = 1 << 14;
        let [mut a, mut b] = [1, 2].map(|seed| FixedState::with_seed(seed).build_hasher());
        for block in text.as_bytes().chunks(BLOCK) {
            a.write(block);
            b.write(block);
        }
        a.write_usize(text.len());
        b.write_usize(text.len());
        Digest(a.finish(), b.finish())
    }
}

/// A file that was looked at and found to be another than before.
struct LookedAt {
    path: Arc<Path>,
    strictness: Strictness,
    stamp: Option<Stamp>,
    digest: Digest,
    text: String,
}

/// The file system.
#[derive(Clone, Copy, Debug)]
pub struct Disk;

impl Files for Disk {
    fn read(&self, path: &Path) -> io::Result<String> {
        bounded_file::read_text(path, MAX_FILE_BYTES)
    }

    fn read_octets(&self, path: &Path) -> io::Result<Vec<u8>> {
        bounded_file::read(path, MAX_FILE_BYTES)
    }

    fn stamp(&self, path: &Path) -> Option<Stamp> {
        Some(Stamp::of(&std::fs::metadata(path).ok()?))
    }

    fn stamps(&self, paths: &[&Path]) -> Vec<Option<Stamp>> {
        /// Fewer files than this are asked for by one thread.
        const FEW: usize = if cfg!(test) { 2 } else { 1_000 };
        /// More threads do not help: they ask for names in the same directories.
        const MOST_THREADS: usize = 4;
        let threads = thread::available_parallelism().map_or(1, usize::from).min(MOST_THREADS);
        let stamps = |paths: &[&Path]| paths.iter().map(|path| self.stamp(path)).collect::<Vec<_>>();
        if paths.len() < FEW || threads == 1 {
            return stamps(paths);
        }
        thread::scope(|scope| {
            let each = paths.chunks(paths.len().div_ceil(threads)).map(|paths| scope.spawn(move || stamps(paths)));
            let each: Vec<_> = each.collect();
            each.into_iter().flat_map(|part| part.join().unwrap_or_else(|panic| resume_unwind(panic))).collect()
        })
    }

    fn list(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        std::fs::read_dir(path)?.map(|entry| entry.map(|entry| entry.path())).collect()
    }
}

/// Paths with the order they were read in, and how they were just before.
type ReadPaths = HashMap<Arc<Path>, (usize, Option<Stamp>), FixedState>;

/// The files of one loading.
pub struct Sources<'a> {
    files: &'a dyn Files,
    began: SystemTime,
    /// The directory of the configuration file; `$INCLUDE` stays below it.
    root: PathBuf,
    read: RefCell<ReadPaths>,
    /// The directory that was listed.
    zones: Cell<Option<(Stamp, u64)>>,
    /// As the main file says, which is read first.
    programs: Cell<bool>,
    /// What was read since [`Sources::take_reads`]; `None`: that is not noted.
    reads: Option<RefCell<Vec<ReadFile>>>,
    /// The last one: it is read at once.
    looked_at: RefCell<Option<LookedAt>>,
}

impl<'a> Sources<'a> {
    pub fn new(files: &'a dyn Files, config: &Path) -> Sources<'a> {
        let root = config.parent().unwrap_or(Path::new("")).to_owned();
        let (read, zones, programs, looked_at) = Default::default();
        let began = SystemTime::now();
        Sources { files, began, root, read, zones, programs, reads: None, looked_at }
    }

    /// The same, noting how files were when they were read.
    pub fn noting(self) -> Sources<'a> {
        Sources { reads: Some(RefCell::default()), ..self }
    }

    /// The files that were read since this was asked last.
    pub fn take_reads(&self) -> Vec<ReadFile> {
        self.reads.as_ref().map(RefCell::take).unwrap_or_default()
    }

    /// Files as they are now, in their order.
    pub fn stamps<'f>(&self, files: impl Iterator<Item = &'f ReadFile>) -> Vec<Option<Stamp>> {
        let paths: Vec<&Path> = files.map(|file| &*file.path).collect();
        self.read.borrow_mut().reserve(paths.len());
        self.files.stamps(&paths)
    }

    /// The file with this stamp, if it is as it was when it was read; noted as one that was read again.
    pub fn unchanged(&self, file: &ReadFile, now: Option<Stamp>) -> Option<ReadFile> {
        self.note(&file.path, now);
        if now.is_some() && now == file.stamp {
            return Some(file.clone());
        }
        let stamp = self.settled(now);
        let text = self.text(&file.path, file.strictness).ok()?;
        let digest = Digest::of(&text);
        if digest == file.digest {
            return Some(ReadFile { stamp, ..file.clone() });
        }
        let (path, strictness) = (file.path.clone(), file.strictness);
        *self.looked_at.borrow_mut() = Some(LookedAt { path, strictness, stamp, digest, text });
        None
    }

    /// As it was judged when the load began: what was written while it went on is young, however long that took.
    fn settled(&self, stamp: Option<Stamp>) -> Option<Stamp> {
        stamp.and_then(|stamp| stamp.settled_at(self.began))
    }

    /// Noted even if it cannot be read: what is watched for changes includes what must appear.
    fn note(&self, path: &Arc<Path>, stamp: Option<Stamp>) {
        let mut read = self.read.borrow_mut();
        let next = read.len();
        read.entry(path.clone()).or_insert((next, stamp));
    }

    fn text(&self, path: &Path, strictness: Strictness) -> io::Result<String> {
        match strictness {
            Strictness::Strict => self.files.read(path),
            Strictness::Lenient => self.files.read_octets(path).map(|octets| escaped(&octets)),
        }
    }

    /// Zone files may name programs to run from now on.
    pub fn let_run_programs(&self) {
        self.programs.set(true);
    }

    /// Whether zone files may name programs to run. Whoever may write a zone file may not by that run programs.
    pub fn may_run_programs(&self) -> bool {
        self.programs.get()
    }

    /// A path as written in the configuration file.
    pub fn resolve(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    /// Reads a file and notes that it was read. The error says why not, in a line.
    pub fn open(&self, path: &Path) -> Result<Arc<SourceFile>, String> {
        self.open_as(path, Strictness::Strict)
    }

    fn open_as(&self, path: &Path, strictness: Strictness) -> Result<Arc<SourceFile>, String> {
        let is_it = |looked_at: &mut LookedAt| *looked_at.path == *path && looked_at.strictness == strictness;
        let (path, stamp, digest, text) = match self.looked_at.borrow_mut().take_if(is_it) {
            Some(LookedAt { path, stamp, digest, text, .. }) => (path, stamp, Some(digest), text),
            None => {
                let (path, stamp) = (Arc::from(path), self.reads.as_ref().and_then(|_| self.files.stamp(path)));
                self.note(&path, stamp);
                let text = self.text(&path, strictness);
                let text = text.map_err(|error| format!("cannot read {}: {error}", path.display()))?;
                (path, self.settled(stamp), None, text)
            }
        };
        if text.len() as u64 > MAX_FILE_BYTES {
            return Err(format!("cannot read {}: {}", path.display(), bounded_file::too_large(MAX_FILE_BYTES)));
        }
        if let Some(reads) = &self.reads {
            let digest = digest.unwrap_or_else(|| Digest::of(&text));
            reads.borrow_mut().push(ReadFile { path: path.clone(), strictness, stamp, digest });
        }
        Ok(SourceFile::new(path.display().to_string(), text))
    }

    /// Reads a file named in another one, relative to that one's directory. It must stay below
    /// the configuration's directory.
    pub fn open_beside(
        &self,
        path: &str,
        from: &SourceFile,
        strictness: Strictness,
    ) -> Result<Arc<SourceFile>, String> {
        let path = normal(&beside(path, from));
        if !self.is_inside(&path) {
            return Err(format!(
                "{} is outside the directory of the configuration ({})",
                path.display(),
                if self.root.as_os_str().is_empty() { Path::new(".") } else { &self.root }.display()
            ));
        }
        self.open_as(&path, strictness)
    }

    /// The zone files of a directory, in the order of their names.
    pub fn list(&self, directory: &Path, is_one: impl Fn(&Path) -> bool) -> io::Result<Vec<PathBuf>> {
        let stamp = self.reads.as_ref().and_then(|_| self.files.stamp(directory));
        let mut paths = self.files.list(directory)?;
        paths.retain(|path| is_one(path));
        // All of them begin alike, so that this is their order part by part, too.
        paths.sort_unstable_by(|a, b| a.as_os_str().cmp(b.as_os_str()));
        self.zones.set(stamp.map(|stamp| (stamp, mark_of(&paths))));
        Ok(paths)
    }

    /// Everything read so far, in that order, with the facts where files are noted.
    pub fn into_read(self) -> (Vec<PathBuf>, Option<Facts>) {
        let mut read: Vec<_> = self.read.into_inner().into_iter().collect();
        read.sort_unstable_by_key(|(_, (order, _))| *order);
        let files = read.iter().map(|(_, (_, stamp))| *stamp).collect();
        let facts = self.reads.map(|_| Facts { files, zones: self.zones.get() });
        (read.into_iter().map(|(path, _)| path.to_path_buf()).collect(), facts)
    }

    /// By the words of the path alone: a symbolic link the operator put there may lead anywhere.
    fn is_inside(&self, path: &Path) -> bool {
        let root = normal(&self.root);
        match (path.is_absolute(), root.is_absolute()) {
            (true, false) => std::path::absolute(if root.as_os_str().is_empty() { Path::new(".") } else { &root })
                .is_ok_and(|root| path.starts_with(normal(&root))),
            _ if root.as_os_str().is_empty() => path.is_relative() && !path.starts_with(".."),
            _ => path.starts_with(root),
        }
    }
}

/// The files with the records of one zone.
#[derive(Clone, Copy)]
pub struct RecordFiles<'s> {
    pub sources: &'s Sources<'s>,
    /// [`Strictness::Lenient`]: octets that are no UTF-8 are taken as they are, as if written `\DDD`.
    pub strictness: Strictness,
}

impl RecordFiles<'_> {
    pub fn open(&self, path: &str, from: &SourceFile) -> Result<Arc<SourceFile>, String> {
        self.sources.open_beside(path, from, self.strictness)
    }
}

impl zonefile::Include for RecordFiles<'_> {
    fn read(&mut self, path: &str, from: &SourceFile) -> Result<Arc<SourceFile>, String> {
        self.open(path, from)
    }
}

/// Text of any octets: those that are no UTF-8 as the escapes of RFC 1035 section 5.1, which mean the same
/// in names and strings, and nothing in comments.
fn escaped(octets: &[u8]) -> String {
    let mut text = String::with_capacity(octets.len());
    for chunk in octets.utf8_chunks() {
        text.push_str(chunk.valid());
        for octet in chunk.invalid() {
            let backslashes = text.bytes().rev().take_while(|&byte| byte == b'\\').count();
            // Behind a lone backslash the octet is escaped already.
            text.push_str(if backslashes % 2 == 0 { "\\" } else { "" });
            text.push_str(&format!("{octet:03}"));
        }
    }
    text
}

/// A path as written in `from`.
pub fn beside(path: &str, from: &SourceFile) -> PathBuf {
    Path::new(&from.path).parent().unwrap_or(Path::new("")).join(path)
}

/// The path without `.` and, as far as names go before them, without `..`.
fn normal(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir if matches!(out.components().next_back(), Some(Component::Normal(_))) => {
                out.pop();
            }
            Component::ParentDir if out.has_root() => {}
            part => out.push(part),
        }
    }
    out
}

/// A path, relative to the main file's directory.
pub fn path(value: Value<'_>, sources: &Sources<'_>) -> Option<PathBuf> {
    value.text("a path", |text| if text.is_empty() { Err("the path is empty") } else { Ok(sources.resolve(text)) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inside(config: &str, from: &str, path: &str) -> bool {
        let sources = Sources::new(&Disk, Path::new(config));
        sources.is_inside(&normal(&beside(path, &SourceFile::new(from, ""))))
    }

    #[test]
    fn includes_stay_below_the_configuration() {
        for (config, from, path) in [
            ("meridian.toml", "zones/a.toml", "b.zone"),
            ("meridian.toml", "zones/a.toml", "../shared/b.zone"),
            ("./meridian.toml", "./zones/a.toml", "b.zone"),
            ("../etc/meridian.toml", "../etc/zones/a.toml", "b.zone"),
            ("/etc/m/meridian.toml", "/etc/m/zones/a.toml", "/etc/m/shared/b"),
        ] {
            assert!(inside(config, from, path), "{config} {path}");
        }
        for (config, from, path) in [
            ("meridian.toml", "zones/a.toml", "../../b"),
            ("meridian.toml", "zones/a.toml", "/etc/passwd"),
            ("../etc/meridian.toml", "../etc/zones/a.toml", "../../b"),
            ("/etc/m/meridian.toml", "/etc/m/zones/a.toml", "../../m2/b"),
            ("/etc/m/meridian.toml", "/etc/m/zones/a.toml", "../../../../../etc/passwd"),
            ("/etc/m/meridian.toml", "/etc/m/zones/a.toml", "x/../../../mm"),
        ] {
            assert!(!inside(config, from, path), "{config} {path}");
        }
    }

    #[test]
    fn facts_of_many_files_are_in_their_order() {
        let folder = tempfile::tempdir().expect("a folder");
        let paths: Vec<PathBuf> = (0..9).map(|name| folder.path().join(name.to_string())).collect();
        for (length, path) in paths.iter().enumerate().filter(|(length, _)| *length != 4) {
            std::fs::write(path, "x".repeat(length)).expect("written");
        }
        let stamps = Disk.stamps(&paths.iter().map(PathBuf::as_path).collect::<Vec<_>>());
        let lengths: Vec<_> = stamps.iter().map(|stamp| stamp.as_ref().map(|stamp| stamp.octets)).collect();
        assert_eq!(lengths, [0, 1, 2, 3, 9, 5, 6, 7, 8].map(|length| (length != 9).then_some(length)));
        assert_eq!(stamps, paths.iter().map(|path| Disk.stamp(path)).collect::<Vec<_>>());
        assert_eq!(stamps[1].and_then(Stamp::settled), None, "it may be written again within the same tick");
    }

    #[test]
    fn a_file_is_young_by_when_it_was_asked_for() {
        let stamp = Stamp { written: (100, 0), ..Stamp::numbered(1) };
        let at = |seconds| stamp.settled_at(UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!((at(101), at(102), at(103)), (None, None, Some(stamp)));
        let loading = Sources { began: UNIX_EPOCH + Duration::from_secs(101), ..Sources::new(&Disk, Path::new("m")) };
        assert_eq!(loading.settled(Some(stamp)), None, "however long the load took since");
    }

    #[test]
    fn a_file_above_64_mib_is_refused() {
        let path = tempfile::NamedTempFile::new().expect("file");
        path.as_file().set_len(MAX_FILE_BYTES + 1).expect("sparse");
        assert_eq!(Disk.read(path.path()).expect_err("refused").kind(), io::ErrorKind::FileTooLarge);
    }
}
