//! One step of a probe: bounded by the deadline of the whole probe, its errors told apart.
//!
//! In: the errors of sockets and libraries. Out: whether the endpoint failed, or this machine.

use std::error::Error;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::Instant;

use super::fault::own_fault;
use super::outcome::{Phase, ProbeError, chain};

/// When a probe began and how long all of it may take.
#[derive(Clone, Copy)]
pub(super) struct Clock {
    pub started: Instant,
    pub timeout: Duration,
}

impl Clock {
    pub(super) fn new(timeout: Duration) -> Clock {
        Clock { started: Instant::now(), timeout }
    }

    /// The work's result, or a timeout of this phase.
    pub(super) async fn within<T>(&self, phase: Phase, work: impl Future<Output = T>) -> Result<T, ProbeError> {
        let late = ProbeError::Timeout { phase, after: self.timeout };
        tokio::time::timeout_at(self.started + self.timeout, work).await.map_err(|_| late)
    }
}

/// A new TCP connection, and how long it took.
pub(super) async fn connect(address: SocketAddr, clock: Clock) -> Result<(TcpStream, Duration), ProbeError> {
    let began = Instant::now();
    let stream = clock.within(Phase::Connect, TcpStream::connect(address)).await?.map_err(not_connected)?;
    Ok((stream, began.elapsed()))
}

/// A fault of this machine, or else as `other` says.
pub(super) fn own_or<E: Error + 'static>(error: &E, other: impl FnOnce(&E) -> ProbeError) -> ProbeError {
    own_fault(error).map_or_else(|| other(error), ProbeError::Own)
}

/// The system's resolver does not say that it could open no file or socket: but then nobody else here can.
pub(super) fn not_resolved(error: io::Error) -> ProbeError {
    if let Err(ours) = std::net::UdpSocket::bind((std::net::Ipv4Addr::UNSPECIFIED, 0))
        && let Some(fault) = own_fault(&ours)
    {
        return ProbeError::Own(fault);
    }
    own_or(&error, |error| ProbeError::Dns(chain(error)))
}

/// Whether this machine knows a way to the address. Nothing is sent: connecting a datagram socket asks its own routing
/// table alone (connect(2)).
pub(super) fn has_route(address: SocketAddr) -> bool {
    let any: std::net::IpAddr = match address.is_ipv4() {
        true => std::net::Ipv4Addr::UNSPECIFIED.into(),
        false => std::net::Ipv6Addr::UNSPECIFIED.into(),
    };
    let port = if address.port() == 0 { 9 } else { address.port() };
    let asked = std::net::UdpSocket::bind((any, 0)).and_then(|socket| socket.connect((address.ip(), port)));
    !asked.is_err_and(|error| {
        matches!(error.kind(), io::ErrorKind::NetworkUnreachable | io::ErrorKind::HostUnreachable)
            || error.raw_os_error() == Some(libc::EAFNOSUPPORT)
    })
}

pub(super) fn not_connected(error: io::Error) -> ProbeError {
    own_or(&error, refused_or_so)
}

/// An error of a connection that had come about.
pub(super) fn broken_off(error: io::Error) -> ProbeError {
    own_or(&error, |error| match error.kind() {
        io::ErrorKind::UnexpectedEof => ProbeError::Answer("the connection ended before the whole answer".into()),
        _ => ProbeError::Answer(format!("the connection broke off: {error}")),
    })
}

/// An error of an HTTP exchange over a connection that had come about.
pub(super) fn not_http(error: hyper::Error) -> ProbeError {
    own_or(&error, |error| ProbeError::Protocol(chain(error)))
}

fn refused_or_so(error: &io::Error) -> ProbeError {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => ProbeError::Refused,
        io::ErrorKind::NetworkUnreachable | io::ErrorKind::HostUnreachable => {
            ProbeError::Unreachable(error.to_string())
        }
        _ => ProbeError::Connect(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::sleep;

    #[tokio::test(start_paused = true)]
    async fn one_deadline_holds_for_all_steps_together() {
        let clock = Clock::new(Duration::from_millis(150));
        let step = Duration::from_millis(100);
        assert_eq!(clock.within(Phase::Connect, sleep(step)).await, Ok(()));
        let late = ProbeError::Timeout { phase: Phase::Header, after: clock.timeout };
        assert_eq!(clock.within(Phase::Header, sleep(step)).await, Err(late));
    }

    #[test]
    fn an_address_without_a_route_fails_and_says_so() {
        let error = not_connected(io::Error::from_raw_os_error(libc::ENETUNREACH));
        assert!(error.to_string().starts_with("no route to the endpoint: "), "{error}");
        assert_eq!(not_connected(io::Error::from_raw_os_error(libc::ECONNREFUSED)), ProbeError::Refused);
        assert!(matches!(not_connected(io::Error::from_raw_os_error(libc::ETIMEDOUT)), ProbeError::Connect(_)));
    }

    #[test]
    fn a_connection_that_ends_midway_is_no_connection_that_did_not_come_about() {
        let error = broken_off(io::Error::from_raw_os_error(libc::ECONNRESET)).to_string();
        assert!(error.starts_with("the connection broke off: "), "{error}");
        let error = broken_off(io::ErrorKind::UnexpectedEof.into()).to_string();
        assert_eq!(error, "the connection ended before the whole answer");
        assert!(matches!(broken_off(io::Error::from_raw_os_error(libc::ENOBUFS)), ProbeError::Own(_)));
    }

    #[test]
    fn a_machine_at_its_own_limits_blames_no_endpoint() {
        for code in [libc::EMFILE, libc::ENFILE, libc::ENOBUFS, libc::ENOMEM, libc::EADDRNOTAVAIL, libc::EPERM] {
            assert!(matches!(not_connected(io::Error::from_raw_os_error(code)), ProbeError::Own(_)), "{code}");
        }
    }
}
