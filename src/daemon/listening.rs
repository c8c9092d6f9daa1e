//! The needs of all of the daemon's listeners: advice where a socket cannot be had, and the word to stop.

use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::{fs, io};

use tokio::sync::watch;
use tracing::warn;

use crate::control::config::AdminSocket;
use crate::model::xdp::XdpInterface;

/// The advice about a socket that could not be had.
pub fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => "; another program has that port, `ss -lnptu` shows which",
        io::ErrorKind::AddrNotAvailable => "; no interface of this machine has that address",
        io::ErrorKind::PermissionDenied => {
            "; ports below 1024 take a privilege: run as root, or give the program CAP_NET_BIND_SERVICE"
        }
        _ => "",
    }
}

/// Waits until the daemon stops.
pub async fn stopped(mut stopping: watch::Receiver<bool>) {
    // An error means that the daemon was dropped: stop as well.
    let _ = stopping.wait_for(|&stopping| stopping).await;
}

/// Listens on a socket of this machine, in the place of one that was left behind.
///
/// # Errors
/// The path is of something else, or cannot be had.
pub fn here(socket: &AdminSocket) -> Result<UnixListener, String> {
    let AdminSocket { path, mode } = socket;
    let listen = || {
        match fs::symlink_metadata(path) {
            Ok(found) if found.file_type().is_socket() => fs::remove_file(path)?,
            Ok(_) => return Err(io::Error::other("something else is there")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let listener = UnixListener::bind(path)?;
        fs::set_permissions(path, fs::Permissions::from_mode(*mode))?;
        Ok(listener)
    };
    listen().map_err(|error| format!("cannot listen on {} for the admin API: {error}", path.display()))
}

/// The interfaces of `listen.xdp`, as they are used beside a setting that must see every query, such as a log, if there is
/// one. What is answered in the kernel nothing else can see: then all comes to the threads.
pub fn interfaces(wanted: &[XdpInterface], sees_all: Option<&str>) -> Vec<XdpInterface> {
    let mut interfaces = wanted.to_vec();
    if let Some(setting) = sees_all {
        for interface in interfaces.iter_mut().filter(|interface| interface.kernel_answers) {
            interface.kernel_answers = false;
            warn!(interface = interface.name, "no answers in the kernel: `{setting}` could not see them");
        }
    }
    interfaces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_answered_in_the_kernel_beside_a_log_of_queries() {
        let wanted = [("eth0", true), ("eth1", false)].map(|(name, kernel_answers)| {
            let queues = crate::model::xdp::Queues::All;
            XdpInterface { name: name.into(), queues, kernel_answers }
        });
        let answers = |log| interfaces(&wanted, log).into_iter().map(|of| of.kernel_answers).collect::<Vec<_>>();
        assert_eq!(answers(None), [true, false]);
        assert_eq!(answers(Some("dnstap")), [false, false]);
    }
}
