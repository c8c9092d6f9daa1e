//! The needs of all of the daemon's listeners: advice where a socket cannot be had, and the word to stop.

use std::io;

use tokio::sync::watch;

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
