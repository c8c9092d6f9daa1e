//! Tells systemd that the server is ready, alive or stopping: sd_notify(3), one datagram each.
//!
//! Without `NOTIFY_SOCKET` in the environment nobody listens, and nothing is told.

use std::ffi::OsStr;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use tracing::warn;

/// Longer than an end takes once answers have stopped.
const ENDING: Duration = Duration::from_secs(30);

/// Whoever started the server, if it is systemd.
#[derive(Debug, Default)]
pub struct Systemd {
    socket: Option<(UnixDatagram, SocketAddr)>,
    /// How often it wants to hear that the server is alive, halved, so that one late time is none too many.
    period: Option<Duration>,
}

impl Systemd {
    /// As this process' environment says.
    pub fn here() -> Systemd {
        let variable = |name| std::env::var_os(name);
        let Some(path) = variable("NOTIFY_SOCKET") else { return Systemd::default() };
        let number = |name| variable(name)?.to_str()?.parse::<u64>().ok();
        let meant = variable("WATCHDOG_PID").is_none() || number("WATCHDOG_PID") == Some(u64::from(std::process::id()));
        let period = number("WATCHDOG_USEC").filter(|&period| meant && period > 0).map(Duration::from_micros);
        Systemd::new(&path, period)
    }

    fn new(path: &OsStr, period: Option<Duration>) -> Systemd {
        let address = match path.as_bytes() {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
            _ => SocketAddr::from_pathname(path),
        };
        let socket = address.and_then(|address| {
            let socket = UnixDatagram::unbound()?;
            // Whoever does not read must not hold up the watchdog.
            socket.set_nonblocking(true)?;
            Ok((socket, address))
        });
        match socket {
            Ok(socket) => Systemd { socket: Some(socket), period: period.map(|period| period / 2) },
            Err(error) => {
                warn!("cannot tell systemd anything: {error}");
                Systemd::default()
            }
        }
    }

    /// Within which time [`Systemd::alive`] is to be called again; `None`: nobody waits for it.
    pub fn period(&self) -> Option<Duration> {
        self.period
    }

    pub fn ready(&self) {
        self.tell("READY=1");
    }

    pub fn alive(&self) {
        if self.period.is_some() {
            self.tell("WATCHDOG=1");
        }
    }

    /// It stops, and answers on for so long before it does: systemd waits for that, and as long as ending may take.
    pub fn stopping_for(&self, delay: Duration) {
        match delay.is_zero() {
            true => self.tell("STOPPING=1"),
            false => self.tell(&format!("STOPPING=1\nEXTEND_TIMEOUT_USEC={}", (delay + ENDING).as_micros())),
        }
    }

    fn tell(&self, state: &str) {
        if let Some((socket, address)) = &self.socket {
            // It hears the next one, or finds out by itself.
            let _ = socket.send_to_addr(state.as_bytes(), address);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_state_is_a_datagram_by_path_and_by_abstract_name() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("notify");
        let name = format!("meridian-test-{}", std::process::id());
        let abstracted = SocketAddr::from_abstract_name(&name).expect("an address");
        for (listening, told) in [
            (UnixDatagram::bind(&path).expect("a socket"), path.as_os_str().to_owned()),
            (UnixDatagram::bind_addr(&abstracted).expect("a socket"), format!("@{name}").into()),
        ] {
            let systemd = Systemd::new(&told, Some(Duration::from_secs(30)));
            assert_eq!(systemd.period(), Some(Duration::from_secs(15)));
            systemd.ready();
            systemd.alive();
            systemd.stopping_for(Duration::ZERO);
            systemd.stopping_for(Duration::from_secs(5));
            Systemd::new(&told, None).alive();
            listening.set_nonblocking(true).expect("set");
            let mut heard = Vec::new();
            let mut buffer = [0; 64];
            while let Ok(length) = listening.recv(&mut buffer) {
                heard.push(String::from_utf8_lossy(&buffer[..length]).into_owned());
            }
            assert_eq!(heard, ["READY=1", "WATCHDOG=1", "STOPPING=1", "STOPPING=1\nEXTEND_TIMEOUT_USEC=35000000"]);
        }
        Systemd::default().ready();
    }
}
