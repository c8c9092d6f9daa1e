//! dnstap: every query and response that is taken, as octets with its circumstances, to another program over a socket.
//!
//! In: exchanges out of the tap's queue. Out: two frames each, AUTH_QUERY and AUTH_RESPONSE, to a reader that listens at a
//! Unix socket or a TCP address. A reader that goes away is tried again, less and less often; meanwhile the tap's queue
//! fills, and what does not fit is lost and counted.
//!
//! - [`frame_streams`]: how frames go over a connection
//! - [`message`]: what is in them

pub mod frame_streams;
pub mod message;

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, TryRecvError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tracing::{info, warn};

use crate::control::config::{Dnstap, DnstapReader};
use crate::control::jobs::priority::be_nice;
use crate::query::counters::{Counters, Event, Loss, QuerySink};

use frame_streams::Writer;
use message::Identity;

use super::tap::{self, Sampling, Tap, Tapped, TappedBatch};

/// The longest wait for a reader: to connect, to say its part of the handshake, to take what is written.
const PATIENCE: Duration = Duration::from_secs(5);
/// The same when the server stops.
const LAST_PATIENCE: Duration = Duration::from_millis(500);
/// How often a quiet connection is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// From one attempt to the next: doubled each time, up to the second.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(30));
/// A connection that lasted so long was a good one: the next attempt comes soon.
const LASTED: Duration = Duration::from_secs(10);
/// Frames are written once they are so many octets together, or nothing waits.
const WRITTEN_OCTETS: usize = 64 << 10;

/// Starts the thread that writes. `nsid`: the server's name, where it has one.
///
/// # Errors
/// It cannot be started.
pub fn start(settings: &Dnstap, nsid: Option<&str>, counters: Arc<Counters>) -> io::Result<(Tap, JoinHandle<()>)> {
    let sampling = Sampling { one_in: settings.one_in, per_second: None };
    let (tap, tapped) = tap::queue(sampling, QuerySink::Dnstap, counters.clone());
    let name = settings.identity.clone().or(nsid.map(str::to_owned)).unwrap_or_else(host_name);
    let version = settings.version.clone().unwrap_or_else(|| format!("meridian {}", env!("CARGO_PKG_VERSION")));
    let identity = Identity { name: name.into_bytes(), version: version.into_bytes() };
    let teller = Teller { reader: settings.to.clone(), identity, counters };
    let run = move || {
        be_nice();
        teller.run(&tapped);
    };
    Ok((tap, thread::Builder::new().name("dnstap".into()).spawn(run)?))
}

/// Empty where the system does not say. Not read from /proc, which may be hidden.
fn host_name() -> String {
    let mut name = [0_u8; 256];
    // SAFETY: the call writes at most as many octets as it is told there are, into memory that outlives it.
    let known = unsafe { libc::gethostname(name.as_mut_ptr().cast(), name.len()) } == 0;
    let name = name.split(|octet| *octet == 0).next().filter(|_| known).unwrap_or_default();
    String::from_utf8_lossy(name).into_owned()
}

/// The thread that writes.
struct Teller {
    reader: DnstapReader,
    identity: Identity,
    counters: Arc<Counters>,
}

/// The reason why a connection ended.
enum End {
    /// There is nothing to tell any more.
    Stopped,
    Lost(io::Error),
}

impl Teller {
    /// Connects, tells, and connects again, until nothing can come any more.
    fn run(&self, tapped: &Tapped) {
        let mut backoff = BACKOFF.0;
        let mut told = false;
        loop {
            let began = Instant::now();
            let error = match Connection::open(&self.reader).and_then(Writer::begin) {
                Ok(writer) => {
                    info!(reader = %shown(&self.reader), "dnstap: connected");
                    self.counters.add(Event::DnstapConnected);
                    told = false;
                    let end = self.tell(writer, tapped);
                    self.counters.add(Event::DnstapLost);
                    match end {
                        End::Stopped => return,
                        End::Lost(error) => error,
                    }
                }
                Err(error) => error,
            };
            if !std::mem::replace(&mut told, true) {
                warn!(reader = %shown(&self.reader), "dnstap: {error}; tried again, and answers go on");
            }
            backoff = if began.elapsed() >= LASTED { BACKOFF.0 } else { backoff };
            if !wait(tapped, backoff) {
                return;
            }
            backoff = (backoff * 2).min(BACKOFF.1);
        }
    }

    fn tell(&self, mut writer: Writer<Connection>, tapped: &Tapped) -> End {
        loop {
            match tapped.next_within(LOOK) {
                Ok(batch) => {
                    if let Err(error) = self.write(&mut writer, batch, tapped) {
                        return End::Lost(error);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {
                    if let Err(error) = writer.inner().look() {
                        return End::Lost(error);
                    }
                }
                Err(RecvTimeoutError::Disconnected) => {
                    // A reader that has gone by now has had all there was.
                    let _ = writer.inner().be_patient(LAST_PATIENCE).and_then(|()| writer.finish());
                    return End::Stopped;
                }
            }
        }
    }

    /// Writes a batch, and those that have come meanwhile.
    fn write(&self, writer: &mut Writer<Connection>, mut batch: TappedBatch, tapped: &Tapped) -> io::Result<()> {
        let (mut frames, mut exchanges) = (Vec::new(), 0);
        loop {
            for exchange in &batch.exchanges {
                message::frames(&self.identity, &batch, exchange, |frame| frame_streams::frame(&mut frames, frame));
                exchanges += 1;
            }
            if frames.len() >= WRITTEN_OCTETS {
                break;
            }
            match tapped.next_now() {
                Ok(next) => batch = next,
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => break,
            }
        }
        let written = writer.write(&frames);
        let event = match written {
            Ok(()) => Event::Recorded(QuerySink::Dnstap),
            Err(_) => Event::Unrecorded(QuerySink::Dnstap, Loss::Write),
        };
        self.counters.add_many(event, exchanges);
        written
    }
}

/// Waits before the next attempt, while exchanges wait in the queue as far as there is room; false where none can come
/// any more.
fn wait(tapped: &Tapped, time: Duration) -> bool {
    let until = Instant::now() + time;
    while Instant::now() < until {
        if tapped.has_ended() {
            return false;
        }
        thread::sleep(Duration::from_millis(50).min(time));
    }
    true
}

fn shown(reader: &DnstapReader) -> String {
    match reader {
        DnstapReader::Unix(path) => format!("unix:{}", path.display()),
        DnstapReader::Tcp(address) => format!("tcp:{address}"),
    }
}

/// A connection to a reader.
#[derive(Debug)]
pub enum Connection {
    Unix(UnixStream),
    Tcp(TcpStream),
}

impl Connection {
    fn open(reader: &DnstapReader) -> io::Result<Connection> {
        let connection = match reader {
            DnstapReader::Unix(path) => Connection::Unix(UnixStream::connect(path)?),
            DnstapReader::Tcp(address) => {
                let stream = TcpStream::connect_timeout(address, PATIENCE)?;
                stream.set_nodelay(true)?; // frames are gathered already
                Connection::Tcp(stream)
            }
        };
        connection.be_patient(PATIENCE)?;
        Ok(connection)
    }

    /// Sets the longest wait for the reader.
    fn be_patient(&self, time: Duration) -> io::Result<()> {
        match self {
            Connection::Unix(stream) => {
                stream.set_read_timeout(Some(time))?;
                stream.set_write_timeout(Some(time))
            }
            Connection::Tcp(stream) => {
                stream.set_read_timeout(Some(time))?;
                stream.set_write_timeout(Some(time))
            }
        }
    }

    fn set_nonblocking(&self, is_it: bool) -> io::Result<()> {
        match self {
            Connection::Unix(stream) => stream.set_nonblocking(is_it),
            Connection::Tcp(stream) => stream.set_nonblocking(is_it),
        }
    }

    /// Finds out whether the reader has gone: it has nothing to say before it is told to stop.
    fn look(&mut self) -> io::Result<()> {
        self.set_nonblocking(true)?;
        let found = match self.read(&mut [0; 1]) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(error),
            Ok(0) => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the reader has closed the connection")),
            Ok(_) => Err(io::Error::new(io::ErrorKind::InvalidData, "the reader wants no more")),
        };
        self.set_nonblocking(false)?;
        found
    }
}

impl Read for Connection {
    fn read(&mut self, octets: &mut [u8]) -> io::Result<usize> {
        match self {
            Connection::Unix(stream) => stream.read(octets),
            Connection::Tcp(stream) => stream.read(octets),
        }
    }
}

impl Write for Connection {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        match self {
            Connection::Unix(stream) => stream.write(octets),
            Connection::Tcp(stream) => stream.write(octets),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Connection::Unix(stream) => stream.flush(),
            Connection::Tcp(stream) => stream.flush(),
        }
    }
}
