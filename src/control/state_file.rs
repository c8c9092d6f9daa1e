//! The JSON files of the state directory: replaced atomically, proven by a checksum, refused where they are of another
//! version.
//!
//! ```text
//!   {"sha256":"…64 digits…",        of all octets behind this comma
//!     "version": 1,
//!     …the content…
//!   }
//! ```
//!
//! Files without a checksum are taken as they are: those of versions before there was one, and those an operator
//! mended by hand. In and out: a [`Content`]; what cannot be read is an error that says so, and stays where it is.

use std::fmt::Write as _;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::aside;
use super::atomic_file::{AtomicFile, FileError, Patience, checksum};
use super::troubles::{StateName, TroubleKind, Troubles};

/// One file of the state directory, as JSON has it.
///
/// An object that denies unknown fields and has the fields `version` and `sha256`, the latter neither read nor
/// written by it: else a damaged checksum could pass for none.
pub trait Content: Serialize + DeserializeOwned {
    const NAME: StateName;
    /// Anything that changes in its meaning takes the next number.
    const VERSION: u32;
    /// Largest file written and read back.
    const MAX_BYTES: u64;
    /// Whether people may want to read it.
    const INDENTED: bool;
    /// As in "a file of …".
    const OF: &'static str;
    /// As in "move it away to …".
    const WITHOUT: &'static str;
    /// What holds while it cannot be read, in a clause.
    const INSTEAD: &'static str;
    /// What to do where it would be larger than [`Content::MAX_BYTES`]; begins with `: `, or empty.
    const TOO_LARGE: &'static str;

    /// The version that it says it is of.
    fn version(&self) -> u32;
}

/// A file in a state directory. The directory is made when something is first kept.
#[derive(Clone, Debug)]
pub struct StateFile<T> {
    file: AtomicFile,
    content: PhantomData<fn() -> T>,
}

/// Why a state file could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StateFileError {
    #[error("cannot {action} {path}: {error}")]
    Io { action: &'static str, path: PathBuf, error: std::io::Error },
    #[error("{path} is not a file of {of}: {error}; mend it, or move it away to {without}")]
    Corrupt { path: PathBuf, error: String, of: &'static str, without: &'static str },
    #[error("{path} would have {bytes} bytes, more than {max_bytes}{advice}")]
    TooLarge { path: PathBuf, bytes: u64, max_bytes: u64, advice: &'static str },
    #[error("the server is stopping: {0}")]
    Stopped(String),
    /// The file may hold what was not to be kept.
    #[error(
        "{path} could be neither kept ({error}) nor put back: until it can, a restart may take up what was refused"
    )]
    Undecided { path: PathBuf, error: std::io::Error },
    #[error("the disk did not answer in time: {path} is as it was")]
    GivenUp { path: PathBuf },
    /// It was refused too late to be left unwritten.
    #[error("the disk did not answer in time: {path} is put back as soon as it does; a restart before may take it up")]
    Late { path: PathBuf },
    #[error("the disk does not answer: {path} is still being written")]
    Hanging { path: PathBuf },
}

impl<T: Content> StateFile<T> {
    pub fn new(state_directory: &Path) -> StateFile<T> {
        let file = AtomicFile::new(state_directory.join(T::NAME.as_str()), T::MAX_BYTES);
        StateFile { file, content: PhantomData }
    }

    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// What was kept; `None` where nothing was kept yet.
    ///
    /// # Errors
    /// The disk's; or the file is torn, changed, of another version or no such file. It stays as it is.
    pub fn load(&self) -> Result<Option<T>, StateFileError> {
        let read = self.file.read().map_err(|error| match error {
            FileError::TooLarge { bytes, .. } => self.corrupt(format!("it has {bytes} bytes")),
            error => self.refused(error),
        })?;
        let Some(octets) = read else { return Ok(None) };
        check(&octets).map_err(|error| self.corrupt(error.to_owned()))?;
        let content: T = serde_json::from_slice(&octets).map_err(|error| self.corrupt(error.to_string()))?;
        if content.version() != T::VERSION {
            return Err(self.corrupt(format!("version {} is not {}", content.version(), T::VERSION)));
        }
        Ok(Some(content))
    }

    /// [`StateFile::load`] at a start: what is corrupt is set aside, and all that is wrong is told.
    ///
    /// # Errors
    /// As [`StateFile::load`].
    pub fn load_at_start(&self, troubles: &Troubles) -> Result<Option<T>, StateFileError> {
        let loaded = self.load();
        match &loaded {
            Err(StateFileError::Corrupt { error, .. }) => self.set_aside(troubles, error),
            Err(error) => troubles.begin(T::NAME, TroubleKind::Unreadable, &error.to_string(), T::INSTEAD),
            Ok(_) => self.look_aside(troubles),
        }
        loaded
    }

    /// Moves the file out of the way of the next.
    pub fn set_aside(&self, troubles: &Troubles, why: &str) {
        let path = self.path().display();
        match aside::set_aside(self.path()) {
            Ok(_) => {
                troubles.begin(T::NAME, TroubleKind::SetAside, &format!("{path} cannot be used: {why}"), T::INSTEAD);
                self.look_aside(troubles);
            }
            Err(error) => {
                let error = format!("{path} cannot be used: {why}; nor can it be set aside: {error}");
                troubles.begin(T::NAME, TroubleKind::Unreadable, &error, T::INSTEAD);
            }
        }
    }

    /// Tells of what was set aside, for as long as it lies there: nobody need notice at once.
    pub fn look_aside(&self, troubles: &Troubles) {
        match aside::newest_aside(self.path()) {
            Some(aside) => {
                let aside = aside.display();
                let error = format!("{} was not as it was written, and is now {aside}", self.path().display());
                let instead = format!("{}; mend it and put it back, or remove it, then reload", T::INSTEAD);
                troubles.begin(T::NAME, TroubleKind::SetAside, &error, &instead);
            }
            None => troubles.end(T::NAME, TroubleKind::SetAside),
        }
    }

    /// Keeps exactly this. When it returns, all of it survives a crash of the machine.
    ///
    /// # Errors
    /// The disk's, or there is too much of it; what was kept before is still there.
    pub fn save(&self, content: &T) -> Result<(), StateFileError> {
        self.save_unless(content, &Patience::default())
    }

    /// [`StateFile::save`], unless whoever waits for it has given it up in time.
    ///
    /// # Errors
    /// As [`StateFile::save`]; [`StateFileError::Undecided`] where what was kept before may not be there any more.
    pub fn save_unless(&self, content: &T, patience: &Patience) -> Result<(), StateFileError> {
        let sealed = self.seal(content)?;
        // What cannot be read could not be put back.
        let before = self.file.read().map_err(|error| self.refused(error))?;
        match self.file.replace_unless(&sealed, patience) {
            // The rename has happened, and may or may not outlive the machine: what is refused must not hold.
            Err(FileError::Unsynced { path, error }) => Err(match self.file.put_back(before.as_deref()) {
                Ok(()) => StateFileError::Io { action: "sync the directory of", path, error },
                Err(_) => StateFileError::Undecided { path, error },
            }),
            replaced => replaced.map_err(|error| self.refused(error)),
        }
    }

    /// The file's octets with this in it, for [`StateFile::replace`].
    pub fn seal(&self, content: &T) -> Result<Vec<u8>, StateFileError> {
        seal(content, T::INDENTED).map_err(|error| self.corrupt(error.to_string()))
    }

    /// Keeps what was sealed; as [`StateFile::save`].
    pub fn replace(&self, sealed: &[u8]) -> Result<(), StateFileError> {
        self.file.replace(sealed).map_err(|error| self.refused(error))
    }

    /// Whether something could be kept. It is better known at the start than when it must be.
    pub fn prove(&self) -> Result<(), StateFileError> {
        self.file.prove().map_err(|error| self.refused(error))
    }

    fn refused(&self, error: FileError) -> StateFileError {
        match error {
            FileError::Io { action, path, error } => StateFileError::Io { action, path, error },
            FileError::Unsynced { path, error } => StateFileError::Io { action: "sync the directory of", path, error },
            FileError::GivenUp { path } => StateFileError::GivenUp { path },
            FileError::NotAFile { .. } => self.corrupt("it is not a regular file".to_owned()),
            FileError::TooLarge { path, bytes, max_bytes } => {
                StateFileError::TooLarge { path, bytes, max_bytes, advice: T::TOO_LARGE }
            }
        }
    }

    fn corrupt(&self, error: String) -> StateFileError {
        StateFileError::Corrupt { path: self.path().to_owned(), error, of: T::OF, without: T::WITHOUT }
    }
}

impl StateFileError {
    /// The reason alone, without the path and what to do.
    pub fn reason(&self) -> String {
        match self {
            StateFileError::Io { error, .. } | StateFileError::Undecided { error, .. } => error.to_string(),
            StateFileError::Corrupt { error, .. } => error.clone(),
            _ => self.to_string(),
        }
    }
}

const HEAD: &[u8] = b"{\"sha256\":\"";
/// Hexadecimal digits of a SHA-256.
const DIGITS: usize = 64;
/// Behind the digits stand a quote and a comma.
const BODY: usize = HEAD.len() + DIGITS + 2;

fn seal<T: Serialize>(content: &T, indented: bool) -> Result<Vec<u8>, serde_json::Error> {
    let mut octets = [HEAD, &[b'0'; DIGITS], b"\""].concat();
    match indented {
        true => serde_json::to_writer_pretty(&mut octets, content)?,
        false => serde_json::to_writer(&mut octets, content)?,
    }
    // The brace that the content begins with: it goes on the object that HEAD began.
    if let Some(brace) = octets.get_mut(BODY - 1) {
        *brace = b',';
    }
    let digits = digits(octets.get(BODY..).unwrap_or_default());
    if let Some(room) = octets.get_mut(HEAD.len()..HEAD.len() + DIGITS) {
        room.copy_from_slice(digits.as_bytes());
    }
    Ok(octets)
}

/// That octets are as they were sealed, or never were.
fn check(octets: &[u8]) -> Result<(), &'static str> {
    let Some(rest) = octets.strip_prefix(HEAD) else { return Ok(()) };
    let right = rest.get(..DIGITS).zip(octets.get(BODY..)).is_some_and(|(said, body)| said == digits(body).as_bytes());
    if right { Ok(()) } else { Err("its checksum is wrong; if it was changed by hand, take `sha256` out of it too") }
}

fn digits(body: &[u8]) -> String {
    checksum(&[body]).as_ref().iter().fold(String::with_capacity(DIGITS), |mut text, octet| {
        let _ = write!(text, "{octet:02x}"); // writing to a String cannot fail
        text
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use proptest::prelude::*;
    use serde::Deserialize;
    use serde::de::IgnoredAny;

    use super::*;

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Note {
        #[serde(default, skip_serializing, rename = "sha256")]
        _sha256: IgnoredAny,
        version: u32,
        text: String,
    }

    impl Content for Note {
        const NAME: StateName = StateName::Overrides;
        const VERSION: u32 = 2;
        const MAX_BYTES: u64 = 1000;
        const INDENTED: bool = true;
        const OF: &'static str = "notes";
        const WITHOUT: &'static str = "start without";
        const INSTEAD: &'static str = "there are no notes";
        const TOO_LARGE: &'static str = ": say less";

        fn version(&self) -> u32 {
            self.version
        }
    }

    fn note(text: &str) -> Note {
        Note { _sha256: IgnoredAny, version: 2, text: text.to_owned() }
    }

    fn file(directory: &tempfile::TempDir) -> StateFile<Note> {
        StateFile::new(directory.path())
    }

    #[test]
    fn what_was_kept_comes_back_and_is_one_json_object() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = file(&directory);
        assert!(file.load().expect("nothing yet").is_none());
        file.save(&note("hello")).expect("kept");
        assert_eq!(file.load().expect("back"), Some(note("hello")));
        let text = fs::read_to_string(file.path()).expect("there");
        let json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!((&json["version"], &json["text"]), (&2.into(), &"hello".into()));
        assert_eq!(json["sha256"].as_str().map(str::len), Some(DIGITS));
    }

    #[test]
    fn files_of_before_checksums_and_files_mended_by_hand_are_read() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = file(&directory);
        for text in [r#"{"version":2,"text":"old"}"#, "{\n  \"version\": 2,\n  \"text\": \"old\"\n}"] {
            fs::write(file.path(), text).expect("written");
            assert_eq!(file.load().expect("read"), Some(note("old")), "{text}");
        }
    }

    #[test]
    fn a_wrong_version_checksum_or_kind_is_told_and_the_file_stays() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = file(&directory);
        let sealed = |note: &Note| String::from_utf8(file.seal(note).expect("sealed")).expect("text");
        for (text, told) in [
            (sealed(&Note { version: 3, ..note("x") }), "version 3 is not 2"),
            (r#"{"version":1,"text":"x"}"#.to_owned(), "version 1 is not 2"),
            (sealed(&note("hello")).replace("hello", "hallo"), "checksum is wrong; if it was changed by hand"),
            (sealed(&note("hello"))[..50].to_owned(), "checksum is wrong"),
            ("".to_owned(), "EOF"),
            (r#"{"version":2,"text":"x","more":1}"#.to_owned(), "unknown field `more`"),
            (" ".repeat(1001), "it has 1001 bytes"),
        ] {
            fs::write(file.path(), &text).expect("written");
            let error = file.load().expect_err(&text).to_string();
            assert!(error.contains("overrides.json is not a file of notes: ") && error.contains(told), "{error}");
            assert!(error.ends_with("; mend it, or move it away to start without"), "{error}");
            assert_eq!(fs::read_to_string(file.path()).expect("still there"), text);
        }
        fs::remove_file(file.path()).expect("gone");
        fs::create_dir(file.path()).expect("a directory in its place");
        assert_eq!(file.load().expect_err("no file").reason(), "it is not a regular file");
    }

    #[test]
    fn what_is_corrupt_at_a_start_is_set_aside_and_told_until_it_is_gone() {
        let directory = tempfile::tempdir().expect("a directory");
        let (file, troubles) = (file(&directory), Troubles::default());
        fs::write(file.path(), "{half").expect("written");
        file.load_at_start(&troubles).expect_err("corrupt");
        let aside = aside::newest_aside(file.path()).expect("beside");
        assert_eq!(fs::read_to_string(&aside).expect("there"), "{half");
        let told = troubles.all();
        assert_eq!((told.len(), told[0].1), (1, TroubleKind::SetAside));
        assert!(told[0].2.error.contains(&aside.display().to_string()), "{told:?}");
        assert!(told[0].2.instead.starts_with("there are no notes; mend it"), "{told:?}");
        let troubles = Troubles::default();
        assert!(file.load_at_start(&troubles).expect("nothing").is_none());
        assert!(troubles.has(Note::NAME, TroubleKind::SetAside), "also after another start");
        fs::remove_file(&aside).expect("removed");
        file.look_aside(&troubles);
        assert!(troubles.all().is_empty());
    }

    #[test]
    fn a_write_that_fails_leaves_the_old_one() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = file(&directory);
        file.save(&note("old")).expect("kept");
        let error = file.save(&note(&"x".repeat(1000))).expect_err("too large").to_string();
        assert!(error.contains("bytes, more than 1000: say less"), "{error}");
        fs::create_dir(directory.path().join("overrides.json.new")).expect("in the way");
        assert!(matches!(file.save(&note("new")), Err(StateFileError::Io { action: "write", .. })));
        assert_eq!(file.load().expect("the old one"), Some(note("old")));
    }

    proptest! {
        #[test]
        fn what_is_cut_or_changed_is_refused(text in "\\PC{0,40}", indented: bool, at: prop::sample::Index, bit in 0u8..8) {
            let read = |octets: &[u8]| check(octets).is_ok() && serde_json::from_slice::<Note>(octets).is_ok();
            let sealed = seal(&note(&text), indented).expect("sealed");
            prop_assert!(read(&sealed));
            prop_assert!(!read(&sealed[..at.index(sealed.len())]));
            let mut flipped = sealed.clone();
            flipped[at.index(sealed.len())] ^= 1 << bit;
            prop_assert!(!read(&flipped), "{}", String::from_utf8_lossy(&flipped));
        }
    }
}
