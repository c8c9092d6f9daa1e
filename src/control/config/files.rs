//! Reading the files a configuration consists of.
//!
//! [`Files`] is where text comes from: [`Disk`], or anything a test or the demo embeds.
//! [`Sources`] adds what every reading needs: size limit, paths as the operator names them, the
//! list of all that was read, and the fence around `$INCLUDE`.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fs::Metadata;
use std::hash::BuildHasher;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
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

    /// The facts by which a file is seen to be as it was, unread. `None` where there are none, or where it was written
    /// so lately that another write may leave them alike.
    fn stamp(&self, _path: &Path) -> Option<Stamp> {
        None
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

    fn of(metadata: &Metadata) -> Option<Stamp> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
        let latest = i64::try_from(now.checked_sub(Stamp::YOUNG)?.as_secs()).ok()?;
        let is_young = metadata.mtime() >= latest || metadata.ctime() >= latest;
        (!is_young).then(|| Stamp {
            device: metadata.dev(),
            inode: metadata.ino(),
            octets: metadata.len(),
            written: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        })
    }
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

/// Tells texts apart: 128 bits, no two alike by chance. Whoever may write a zone file gains nothing by two that are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Digest(u64, u64);

impl Digest {
    fn of(text: &str) -> Digest {
        let [a, b] = [1, 2].map(|seed| FixedState::with_seed(seed).hash_one(text.as_bytes()));
        Digest(a, b)
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
        Stamp::of(&std::fs::metadata(path).ok()?)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        std::fs::read_dir(path)?.map(|entry| entry.map(|entry| entry.path())).collect()
    }
}

/// The files of one loading.
pub struct Sources<'a> {
    files: &'a dyn Files,
    /// The directory of the configuration file; `$INCLUDE` stays below it.
    root: PathBuf,
    /// The paths that were read, and as which.
    read: RefCell<HashMap<PathBuf, usize>>,
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
        let (read, programs, looked_at) = (RefCell::default(), Cell::new(false), RefCell::default());
        Sources { files, root, read, programs, reads: None, looked_at }
    }

    /// The same, noting how files were when they were read.
    pub fn noting(self) -> Sources<'a> {
        Sources { reads: Some(RefCell::default()), ..self }
    }

    /// The files that were read since this was asked last.
    pub fn take_reads(&self) -> Vec<ReadFile> {
        self.reads.as_ref().map(RefCell::take).unwrap_or_default()
    }

    /// The file, if it is as it was when it was read; noted as one that was read again.
    pub fn unchanged(&self, file: &ReadFile) -> Option<ReadFile> {
        self.note(&file.path);
        let stamp = self.files.stamp(&file.path);
        if stamp.is_some() && stamp == file.stamp {
            return Some(file.clone());
        }
        let text = self.text(&file.path, file.strictness).ok()?;
        let digest = Digest::of(&text);
        if digest == file.digest {
            return Some(ReadFile { stamp, ..file.clone() });
        }
        let (path, strictness) = (file.path.clone(), file.strictness);
        *self.looked_at.borrow_mut() = Some(LookedAt { path, strictness, stamp, digest, text });
        None
    }

    /// Noted even if it cannot be read: what is watched for changes includes what must appear.
    fn note(&self, path: &Path) {
        let next = self.read.borrow().len();
        self.read.borrow_mut().entry(path.to_owned()).or_insert(next);
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
        self.note(path);
        let is_it = |looked_at: &mut LookedAt| *looked_at.path == *path && looked_at.strictness == strictness;
        let (stamp, digest, text) = match self.looked_at.borrow_mut().take_if(is_it) {
            Some(LookedAt { stamp, digest, text, .. }) => (stamp, Some(digest), text),
            None => {
                let stamp = self.reads.as_ref().and_then(|_| self.files.stamp(path));
                let text = self.text(path, strictness);
                (stamp, None, text.map_err(|error| format!("cannot read {}: {error}", path.display()))?)
            }
        };
        if text.len() as u64 > MAX_FILE_BYTES {
            return Err(format!("cannot read {}: {}", path.display(), bounded_file::too_large(MAX_FILE_BYTES)));
        }
        if let Some(reads) = &self.reads {
            let digest = digest.unwrap_or_else(|| Digest::of(&text));
            reads.borrow_mut().push(ReadFile { path: path.into(), strictness, stamp, digest });
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

    pub fn list(&self, directory: &Path) -> io::Result<Vec<PathBuf>> {
        self.files.list(directory)
    }

    /// Everything read so far, in that order.
    pub fn into_read(self) -> Vec<PathBuf> {
        let mut read: Vec<_> = self.read.into_inner().into_iter().collect();
        read.sort_by_key(|(_, order)| *order);
        read.into_iter().map(|(path, _)| path).collect()
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
    fn a_file_above_64_mib_is_refused() {
        let path = tempfile::NamedTempFile::new().expect("file");
        path.as_file().set_len(MAX_FILE_BYTES + 1).expect("sparse");
        assert_eq!(Disk.read(path.path()).expect_err("refused").kind(), io::ErrorKind::FileTooLarge);
    }
}
