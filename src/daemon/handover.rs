//! One server in the place of another, with its sockets: `meridian serve --replace`.
//!
//! ```text
//!   new: loads all files ─▶ "replace 1" ─▶ old: pauses the admin API, keeps what is known
//!   new: opens the state, with sockets and lock ◀─ each descriptor, then "." ─┘
//!   new: answers ─▶ "R" ─▶ old: reads no more, finishes its TCP connections, ends
//! ```
//!
//! Over a Unix socket in the state directory, between processes of one user or root. UDP datagrams and TCP connections
//! that wait are in the kernel's sockets, which both processes have for a moment: so none is lost. Until "R" the old
//! one answers; where the new one ends before, it goes on as if nothing had been.

use std::fs;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use socket2::{Socket, Type};
use tokio::net::UnixListener;

use crate::control::config::Listen;

/// The name of the socket in the state directory.
const NAME: &str = "replace.sock";
const HELLO: &[u8; 10] = b"replace 1\n";
/// Before the text of why not.
const REFUSED: u8 = b'!';
/// Behind the last descriptor.
const END: u8 = b'.';
const READY: u8 = b'R';
/// The longest that the other one may take for one word, while it keeps what is known or reads it.
const PATIENCE: Duration = Duration::from_secs(30);
/// After an accept that failed.
const PAUSE: Duration = Duration::from_secs(1);
/// The longest from its sockets to its first answer: first probes, a large warm start.
const START: Duration = Duration::from_secs(120);

/// More than 64 addresses with a socket of each kind for every core take.
const MOST_ACTIVATED: u32 = 16_384;

/// What a descriptor is, as the octet that goes with it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Udp,
    Tcp,
    Admin,
    Rum,
    Lock,
}

/// The place where a running server hears of the next.
pub struct Handover(UnixListener);

/// A server that wants this one's place, and may have it.
pub struct Successor(UnixStream);

/// What a server was handed; nothing, where it replaces nobody.
#[derive(Debug, Default)]
pub struct Handed {
    pub udp: Vec<Socket>,
    pub tcp: Vec<Socket>,
    pub admin: Option<Socket>,
    pub rum: Option<Socket>,
    pub lock: Vec<fs::File>,
}

impl Handover {
    /// Whoever holds the state directory's lock may call this: a socket of that name is of nobody who lives.
    pub fn listen(state: &Path) -> io::Result<Handover> {
        let path = state.join(NAME);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(&path)?;
        // Who connects before this is asked for its user all the same.
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
        Ok(Handover(listener))
    }

    /// The next server that comes and may have this one's place.
    pub async fn next(&self) -> Successor {
        loop {
            let stream = match self.0.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!("cannot hear who wants to replace this server: {error}");
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            };
            let greeted = tokio::task::spawn_blocking(|| Successor::greet(stream.into_std()?)).await;
            match greeted.unwrap_or_else(|error| Err(io::Error::other(error))) {
                Ok(successor) => return successor,
                Err(error) => tracing::warn!("somebody wants to replace this server, and may not: {error}"),
            }
        }
    }
}

impl Successor {
    /// Hears it out, if it may speak.
    fn greet(mut stream: UnixStream) -> io::Result<Successor> {
        stream.set_nonblocking(false)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        may_take(&stream)?;
        let mut hello = [0; HELLO.len()];
        stream.read_exact(&mut hello)?;
        if hello == *HELLO { Ok(Successor(stream)) } else { Err(io::Error::other("it is of another version")) }
    }

    /// Hands all of these over; `Ok` once it answers by itself. Blocks.
    ///
    /// # Errors
    /// It has ended, or takes too long: what was handed over is this server's as before.
    pub fn hand(mut self, all: &[(Kind, OwnedFd)]) -> io::Result<()> {
        for (kind, descriptor) in all {
            send(&self.0, kind.octet(), descriptor.as_fd())?;
        }
        self.0.write_all(&[END])?;
        self.0.set_read_timeout(Some(START))?;
        let mut ready = [0];
        self.0.read_exact(&mut ready)?;
        if ready == [READY] { Ok(()) } else { Err(io::ErrorKind::InvalidData.into()) }
    }

    pub fn refuse(mut self, why: &str) {
        // It finds out by the end, too.
        let _ = self.0.write_all(&[&[REFUSED], why.as_bytes()].concat());
    }
}

impl Handed {
    /// Asks the server that has the state directory for its place; `None`: there is none. Blocks.
    ///
    /// # Errors
    /// It does not give it, and goes on.
    pub fn ask(state: &Path) -> Result<Option<(Handed, Old)>, String> {
        let path = state.join(NAME);
        let failed = |error: io::Error| format!("the running server does not hand its place over: {error}");
        let mut stream = match UnixStream::connect(&path) {
            Ok(stream) => stream,
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
                return Ok(None);
            }
            Err(error) => return Err(failed(error)),
        };
        stream.set_read_timeout(Some(PATIENCE)).map_err(failed)?;
        stream.set_write_timeout(Some(PATIENCE)).map_err(failed)?;
        may_take(&stream).map_err(failed)?;
        stream.write_all(HELLO).map_err(failed)?;
        let mut handed = Handed::default();
        loop {
            match receive(&stream).map_err(failed)? {
                (octet, Some(descriptor)) => handed.take(octet, descriptor).map_err(failed)?,
                (END, None) => return Ok(Some((handed, Old(stream)))),
                (REFUSED, None) => {
                    let mut why = String::new();
                    stream.take(1024).read_to_string(&mut why).map_err(failed)?;
                    return Err(failed(io::Error::other(why)));
                }
                (_, None) => return Err(failed(io::ErrorKind::InvalidData.into())),
            }
        }
    }

    /// The sockets that systemd has opened for this process, a `.socket` unit's; nothing, where it has not
    /// (sd_listen_fds(3)).
    pub fn activated(listen: &Listen) -> Handed {
        /// The first of them, as agreed on.
        const FIRST: RawFd = 3;
        let number = |name| std::env::var(name).ok()?.parse::<u32>().ok();
        let mut handed = Handed::default();
        if number("LISTEN_PID") != Some(std::process::id()) {
            return handed;
        }
        let count = number("LISTEN_FDS").unwrap_or(0).min(MOST_ACTIVATED);
        for descriptor in (FIRST..).take(count as usize) {
            // SAFETY: the call takes numbers alone; it fails where nothing is open there.
            if unsafe { libc::fcntl(descriptor, libc::F_SETFD, libc::FD_CLOEXEC) } != 0 {
                continue;
            }
            // SAFETY: it is open, and by the agreement this process' own; nobody else in it has opened one before.
            let socket = Socket::from(unsafe { OwnedFd::from_raw_fd(descriptor) });
            let address = socket.local_addr().ok().and_then(|bound| bound.as_socket());
            match socket.r#type() {
                Ok(Type::DGRAM) => handed.udp.push(socket),
                _ if address.is_some() && address == listen.admin => handed.admin = Some(socket),
                _ if address.is_some() && address == listen.rum => handed.rum = Some(socket),
                _ => handed.tcp.push(socket),
            }
        }
        handed
    }

    fn take(&mut self, octet: u8, descriptor: OwnedFd) -> io::Result<()> {
        match Kind::of(octet) {
            Some(Kind::Udp) => self.udp.push(descriptor.into()),
            Some(Kind::Tcp) => self.tcp.push(descriptor.into()),
            Some(Kind::Admin) => self.admin = Some(descriptor.into()),
            Some(Kind::Rum) => self.rum = Some(descriptor.into()),
            Some(Kind::Lock) => self.lock.push(descriptor.into()),
            None => return Err(io::ErrorKind::InvalidData.into()),
        }
        Ok(())
    }

    /// The listener that was handed over for an address, where it is of that address; with port 0, of any port.
    pub fn listener(socket: Option<Socket>, address: SocketAddr) -> Option<TcpListener> {
        let bound = socket.as_ref()?.local_addr().ok()?.as_socket()?;
        let fits = bound.ip() == address.ip() && (address.port() == 0 || bound.port() == address.port());
        socket.filter(|_| fits).map(TcpListener::from)
    }
}

/// The server that is being replaced. It goes on where this is dropped.
#[derive(Debug)]
pub struct Old(UnixStream);

impl Old {
    /// This one answers: the old one may end.
    pub fn may_end(mut self) -> io::Result<()> {
        self.0.write_all(&[READY])
    }
}

impl Kind {
    fn octet(self) -> u8 {
        match self {
            Kind::Udp => b'u',
            Kind::Tcp => b't',
            Kind::Admin => b'a',
            Kind::Rum => b'r',
            Kind::Lock => b'l',
        }
    }

    fn of(octet: u8) -> Option<Kind> {
        [Kind::Udp, Kind::Tcp, Kind::Admin, Kind::Rum, Kind::Lock].into_iter().find(|kind| kind.octet() == octet)
    }
}

/// That the other end is a process of this user, or of root.
fn may_take(stream: &UnixStream) -> io::Result<()> {
    let mut peer = libc::ucred { pid: 0, uid: u32::MAX, gid: u32::MAX };
    let mut length = mem::size_of_val(&peer) as libc::socklen_t;
    // SAFETY: the call writes no more than `length` octets into the one struct, which outlives it.
    let asked = unsafe {
        let peer = (&raw mut peer).cast();
        libc::getsockopt(stream.as_raw_fd(), libc::SOL_SOCKET, libc::SO_PEERCRED, peer, &mut length)
    };
    if asked != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: no arguments.
    let ours = unsafe { libc::geteuid() };
    match peer.uid == ours || peer.uid == 0 {
        true => Ok(()),
        false => Err(io::Error::other(format!("process {} is of user {}, this one of {ours}", peer.pid, peer.uid))),
    }
}

/// Room for one descriptor's control message, aligned as its header.
#[repr(C, align(8))]
struct Control([u8; CONTROL]);
// SAFETY: computes a number.
const CONTROL: usize = unsafe { libc::CMSG_SPACE(mem::size_of::<libc::c_int>() as u32) } as usize;

/// Sends one octet with a descriptor (SCM_RIGHTS, unix(7)).
fn send(stream: &UnixStream, octet: u8, descriptor: BorrowedFd<'_>) -> io::Result<()> {
    let (octets, mut control) = ([octet], Control([0; CONTROL]));
    let mut part = IoSlice::new(&octets);
    // SAFETY: the header is valid as zeros. All that it points to outlives the call; the control buffer has room for one
    // header and descriptor, which is what the macros write to.
    let sent = unsafe {
        let mut message: libc::msghdr = mem::zeroed();
        message.msg_iov = (&raw mut part).cast();
        message.msg_iovlen = 1;
        message.msg_control = control.0.as_mut_ptr().cast();
        message.msg_controllen = CONTROL;
        let header = libc::CMSG_FIRSTHDR(&message);
        (*header).cmsg_level = libc::SOL_SOCKET;
        (*header).cmsg_type = libc::SCM_RIGHTS;
        (*header).cmsg_len = libc::CMSG_LEN(mem::size_of::<libc::c_int>() as u32) as usize;
        libc::CMSG_DATA(header).cast::<libc::c_int>().write_unaligned(descriptor.as_raw_fd());
        libc::sendmsg(stream.as_fd().as_raw_fd(), &message, libc::MSG_NOSIGNAL)
    };
    if sent == 1 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Receives one octet, and the descriptor that came with it.
fn receive(stream: &UnixStream) -> io::Result<(u8, Option<OwnedFd>)> {
    let (mut octets, mut control) = ([0], Control([0; CONTROL]));
    let mut part = IoSliceMut::new(&mut octets);
    // SAFETY: as in `send`; the kernel writes within the lengths given. A descriptor that it made is owned by nobody else.
    let (received, descriptor) = unsafe {
        let mut message: libc::msghdr = mem::zeroed();
        message.msg_iov = (&raw mut part).cast();
        message.msg_iovlen = 1;
        message.msg_control = control.0.as_mut_ptr().cast();
        message.msg_controllen = CONTROL;
        let received = libc::recvmsg(stream.as_raw_fd(), &mut message, libc::MSG_CMSG_CLOEXEC);
        let header = if received == 1 { libc::CMSG_FIRSTHDR(&message) } else { std::ptr::null_mut() };
        let is_rights = !header.is_null()
            && (*header).cmsg_level == libc::SOL_SOCKET
            && (*header).cmsg_type == libc::SCM_RIGHTS
            && (*header).cmsg_len == libc::CMSG_LEN(mem::size_of::<libc::c_int>() as u32) as usize;
        let descriptor =
            is_rights.then(|| OwnedFd::from_raw_fd(libc::CMSG_DATA(header).cast::<libc::c_int>().read_unaligned()));
        (received, descriptor)
    };
    match received {
        1 => Ok((octets[0], descriptor)),
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Both ends of a handover, in one process.
    #[tokio::test]
    async fn what_is_handed_over_is_the_socket_itself() {
        let directory = tempfile::tempdir().expect("a directory");
        let handover = Handover::listen(directory.path()).expect("a socket");
        let mode = fs::metadata(directory.path().join(NAME)).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let state = directory.path().to_owned();
        let asking = tokio::task::spawn_blocking(move || Handed::ask(&state));
        let successor = handover.next().await;
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let all = vec![(Kind::Tcp, OwnedFd::from(listener))];
        let handing = tokio::task::spawn_blocking(move || successor.hand(&all));
        let (mut handed, old) = asking.await.expect("asked").expect("given").expect("there is one");
        assert_eq!(handed.tcp.pop().and_then(|socket| socket.local_addr().ok()?.as_socket()), Some(address));
        old.may_end().expect("told");
        handing.await.expect("ended").expect("it may end");
    }

    #[tokio::test]
    async fn who_refuses_says_why_and_who_goes_away_takes_nothing() {
        let directory = tempfile::tempdir().expect("a directory");
        assert!(Handed::ask(directory.path()).expect("nobody").is_none());
        let handover = Handover::listen(directory.path()).expect("a socket");
        let state = directory.path().to_owned();
        let ask = || {
            let state = state.clone();
            tokio::task::spawn_blocking(move || Handed::ask(&state))
        };
        let asking = ask();
        handover.next().await.refuse("not today");
        let told = asking.await.expect("asked").expect_err("refused");
        assert!(told.ends_with("does not hand its place over: not today"), "{told}");
        let asking = ask();
        let successor = handover.next().await;
        let handing = tokio::task::spawn_blocking(move || successor.hand(&[]));
        drop(asking.await.expect("asked").expect("given"));
        assert!(handing.await.expect("ended").is_err(), "it has not come to answer");
    }
}
