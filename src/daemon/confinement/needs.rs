//! What a confined server still needs, as its configuration has it.

use std::io;
use std::path::{Path, PathBuf};

use crate::control::config::Config;

/// What a server needs beyond the usual.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Needs {
    /// Directories and files that may be written.
    pub(super) writes: Vec<PathBuf>,
    /// Programs of the operator's (`allow_exec`): they are under the same bounds.
    pub(super) programs: bool,
    /// Interfaces that pass the stack by, and eBPF maps (`listen.xdp`).
    pub(super) xdp: bool,
}

impl Needs {
    /// `None`: it is to be bound by nothing.
    pub(super) fn of(config: &Config) -> Option<Needs> {
        let own = config.confinement.as_ref()?;
        let socket = config.admin_socket.as_ref().map(|socket| &socket.path);
        let log = config.query_log.as_ref().and_then(|log| Some(&log.file.as_ref()?.path));
        // What is made there is made and removed in its directory.
        let beside = [socket, log].into_iter().flatten().filter_map(|path| path.parent().map(Path::to_path_buf));
        let mut writes: Vec<PathBuf> = [config.state.clone()].into_iter().chain(beside).collect();
        writes.extend(own.writes.iter().cloned());
        if config.allow_exec {
            writes.extend(["/dev/null", "/tmp", "/var/tmp"].map(PathBuf::from));
        }
        Some(Needs { writes, programs: config.allow_exec, xdp: !config.listen.xdp.is_empty() })
    }
}

/// Not among what this machine's kernel can do.
pub(super) fn unknown(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, format!("this kernel has no {what}"))
}
