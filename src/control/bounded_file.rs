//! Files that people name: configuration, zones, keys and tokens. Read whole, if they are regular files of a bounded
//! length.
//!
//! A pipe nobody writes to or an endless device in the place of a file must neither hang whoever reads it nor take all
//! memory.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// The largest secret read, in octets: far more than anybody types.
const MAX_SECRET_BYTES: u64 = 4096;

/// What a file holds.
///
/// # Errors
/// As the system says; `InvalidInput`: it is no regular file; `FileTooLarge`: it has more than `max_bytes` octets.
pub fn read(path: &Path, max_bytes: u64) -> io::Result<Vec<u8>> {
    read_open(&open(path)?, max_bytes)
}

/// [`read`], for text.
///
/// # Errors
/// As [`read`]; `InvalidData`: it is not UTF-8, with the offset in the message.
pub fn read_text(path: &Path, max_bytes: u64) -> io::Result<String> {
    text(read(path, max_bytes)?)
}

/// A secret from a file of its own.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret {
    /// Without the white space around it.
    pub text: String,
    /// That others may read it, where they may, and what to do about it.
    pub warning: Option<String>,
}

/// Reads a secret of at least `least` octets. `what` is what messages call it, such as `the admin token`.
///
/// # Errors
/// What is wrong with the file, for people.
pub fn read_secret(path: &Path, what: &str, least: usize) -> Result<Secret, String> {
    let shown = path.display();
    let unreadable = |error: io::Error| format!("cannot read {what} in {shown}: {error}");
    let file = open(path).map_err(unreadable)?;
    let text = read_open(&file, MAX_SECRET_BYTES).and_then(text).map_err(unreadable)?;
    let text = text.trim();
    if text.len() < least {
        return Err(format!("{what} in {shown} is shorter than {least} characters"));
    }
    let mode = file.metadata().map_err(unreadable)?.permissions().mode() & 0o777;
    let warning = (mode & 0o077 != 0).then(|| {
        format!("{what} in {shown} can be used by other users of this machine (mode {mode:04o}): chmod 600 {shown}")
    });
    Ok(Secret { text: text.to_owned(), warning })
}

/// Opens a regular file without waiting.
fn open(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    Ok(file)
}

fn read_open(file: &File, max_bytes: u64) -> io::Result<Vec<u8>> {
    // As long as it says it is, and room to see that it ends there.
    let length = file.metadata()?.len().min(max_bytes);
    let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or_default() + 64);
    // One more than allowed, so that a file that grows meanwhile is still refused.
    file.take(max_bytes + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > max_bytes {
        return Err(too_large(max_bytes));
    }
    Ok(bytes)
}

pub fn too_large(max_bytes: u64) -> io::Error {
    let (number, unit) = match max_bytes {
        mib if mib >= 1 << 20 => (mib >> 20, "MiB"),
        kib => (kib >> 10, "KiB"),
    };
    io::Error::new(io::ErrorKind::FileTooLarge, format!("larger than {number} {unit}"))
}

fn text(bytes: Vec<u8>) -> io::Result<String> {
    String::from_utf8(bytes).map_err(|error| not_utf8(error.as_bytes(), error.utf8_error().valid_up_to()))
}

fn not_utf8(bytes: &[u8], offset: usize) -> io::Error {
    let line = bytes[..offset.min(bytes.len())].iter().filter(|&&byte| byte == b'\n').count() + 1;
    let found = bytes.get(offset).copied().unwrap_or_default();
    let message = format!("not UTF-8: byte 0x{found:02x} at offset {offset}, line {line}");
    io::Error::new(io::ErrorKind::InvalidData, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, Permissions};

    #[test]
    fn what_is_no_file_is_refused_and_not_waited_for() {
        let directory = tempfile::tempdir().expect("a directory");
        let pipe = directory.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().expect("mkfifo").success());
        for path in [&pipe, Path::new("/dev/zero"), directory.path()] {
            for error in [
                read(path, 10).expect_err("refused").to_string(),
                read_secret(path, "the token", 16).err().expect("refused"),
            ] {
                assert!(error.contains("not a regular file"), "{error}");
            }
        }
        assert_eq!(
            crate::atlas::Database::read(&pipe).err().map(|error| error.path().to_owned()).as_deref(),
            pipe.to_str()
        );
    }

    #[test]
    fn files_have_a_largest_length() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        file.as_file().set_len(4097).expect("sparse");
        assert_eq!(read(file.path(), 4097).expect("read").len(), 4097);
        assert_eq!(read(file.path(), 4096).expect_err("refused").to_string(), "larger than 4 KiB");
        let error = read_secret(file.path(), "the token", 16).err().expect("refused");
        assert!(error.contains("larger than 4 KiB"), "{error}");
    }

    #[test]
    fn what_is_not_utf8_is_refused_with_its_offset() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        fs::write(file.path(), b"ab\nc\xff").expect("written");
        let error = read_text(file.path(), 10).expect_err("refused").to_string();
        assert_eq!(error, "not UTF-8: byte 0xff at offset 4, line 2");
    }

    #[test]
    fn a_secret_that_others_may_read_is_warned_of() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        fs::write(file.path(), "  0123456789abcdef\n").expect("written");
        for (mode, warned) in [(0o600, false), (0o400, false), (0o640, true), (0o604, true), (0o644, true)] {
            fs::set_permissions(file.path(), Permissions::from_mode(mode)).expect("set");
            let secret = read_secret(file.path(), "the token", 16).expect("read");
            assert_eq!((secret.text.as_str(), secret.warning.is_some()), ("0123456789abcdef", warned), "{mode:o}");
        }
        assert!(read_secret(file.path(), "the token", 17).is_err());
    }
}
