//! DNS over TCP (RFC 7766): length-prefixed messages, many per connection, answered in order.
//!
//! In: addresses to listen on and [`TcpLimits`]. Out: responses, each behind its length.
//!
//! ```text
//!    thread:  accept ─▶ Gate: in all and of this network, who ─▶ one task per connection:
//!                       yields at a limit?
//!                       wait for octets ─▶ answer whole messages ─▶ write ─┐
//!                            ▲ idle, slow message: close       slow reader: close
//!                            └─────────────────────────────────────────────┘
//! ```
//!
//! Every thread has its own listener of each address (`SO_REUSEPORT`), its own connections, clock
//! and counters: threads share nothing but the [`Responder`] and the gate, which is passed once per
//! connection. The conversation itself, and its limits, are [`super::stream`]'s, as for any stream.

use std::io;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::query::client::{Client, Transport};
use crate::query::counters::{CounterSet, Event};

use super::stream::{Connection, ConnectionContext, Gate};
use super::{Complaint, Responder};

#[cfg(test)]
mod tests;

pub use super::stream::TcpLimits;

/// Sockets that listen, on which nothing is accepted yet.
#[derive(Debug)]
pub struct TcpServer {
    /// For each thread a listener of each address.
    threads: Vec<Vec<Socket>>,
    addresses: Vec<SocketAddr>,
}

impl TcpServer {
    /// Listens on each address, once for each of `threads`, so that every error shows before
    /// anything starts.
    ///
    /// With port 0 the system picks one. IPv6 sockets take IPv6 alone (`IPV6_V6ONLY`).
    /// Fails with the address in the message, usually because another server has the port.
    pub fn bind(addresses: &[SocketAddr], threads: NonZeroUsize) -> io::Result<TcpServer> {
        TcpServer::bind_or_take(addresses, threads, &mut Vec::new())
    }

    /// [`TcpServer::bind`], but where an address has listeners among those `handed` over by another process, all of these
    /// are taken, with the connections that wait in them, whatever number of threads is set.
    pub fn bind_or_take(
        addresses: &[SocketAddr],
        threads: NonZeroUsize,
        handed: &mut Vec<Socket>,
    ) -> io::Result<TcpServer> {
        let mut server = TcpServer { threads: (0..threads.get()).map(|_| Vec::new()).collect(), addresses: Vec::new() };
        for &address in addresses {
            let taken = super::take_bound(handed, address);
            for listener in &taken {
                listener.set_nonblocking(true)?;
                listener.set_tcp_nodelay(true)?;
            }
            let bound = taken.first().and_then(|socket| socket.local_addr().ok()?.as_socket());
            let (listeners, address) = match bound {
                Some(bound) => (taken, bound),
                None => listen(address, threads).map_err(|error| {
                    io::Error::new(error.kind(), format!("cannot listen on TCP {address}: {error}"))
                })?,
            };
            server.addresses.push(address);
            if server.threads.len() < listeners.len() {
                server.threads.resize_with(listeners.len(), Vec::new);
            }
            server.threads.iter_mut().zip(listeners).for_each(|(thread, listener)| thread.push(listener));
        }
        Ok(server)
    }

    /// The addresses bound, in the order asked for, with the port the system picked for port 0.
    pub fn local_addrs(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Starts to answer. The nth thread runs on the nth of `cpus` alone, beginning again after the
    /// last; without any, wherever the system puts it. Fails where a thread cannot be started.
    pub fn start<R: Responder>(
        self,
        responder: &Arc<R>,
        counters: &CounterSet,
        limits: &TcpLimits,
        cpus: &[usize],
    ) -> io::Result<Running> {
        let gate = Arc::new(Gate::new(limits.clone()));
        let listeners = self.threads.iter().flatten().map(Socket::try_clone).collect::<io::Result<_>>()?;
        let (leaving, closing) = (watch::Sender::new(false), watch::Sender::new(false));
        let mut running = Running { listeners, leaving, closing, threads: Vec::new() };
        let mut cpus = cpus.iter().copied().cycle();
        for (number, listeners) in self.threads.into_iter().enumerate() {
            let shared = Arc::new(ConnectionContext {
                responder: responder.clone(),
                counters: counters.register(),
                limits: limits.clone(),
                gate: gate.clone(),
            });
            let ends = Ends { leaving: running.leaving.subscribe(), closing: running.closing.subscribe() };
            let cpu = cpus.next();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
            let thread = thread::Builder::new().name(format!("tcp-{number}")).spawn(move || {
                cpu.into_iter().for_each(super::pin_this_thread);
                if let Err(error) = runtime.block_on(serve(listeners, shared, ends)) {
                    tracing::error!("TCP ended: {error}");
                }
            })?;
            running.threads.push(thread);
        }
        Ok(running)
    }
}

/// Threads at work. Dropping it closes idle connections at once, gives the others [`GRACE`] to take
/// their responses, and waits until all have ended.
#[derive(Debug)]
pub struct Running {
    /// To be handed to another process.
    listeners: Vec<Socket>,
    leaving: watch::Sender<bool>,
    closing: watch::Sender<bool>,
    threads: Vec<JoinHandle<()>>,
}

impl Running {
    pub fn listeners(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.listeners.iter().map(|listener| listener.as_fd())
    }

    /// Accepts no more connections, and answers those there are until their clients have closed them, or for so long.
    /// Those that wait to be accepted are lost, unless another process has the listeners.
    pub fn leave(mut self, patience: Duration) {
        self.listeners.clear();
        self.leaving.send_replace(true);
        let until = std::time::Instant::now() + patience;
        while std::time::Instant::now() < until && self.threads.iter().any(|thread| !thread.is_finished()) {
            thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // A listener that is held here would still let clients connect.
        self.listeners.clear();
        self.closing.send_replace(true);
        for thread in self.threads.drain(..) {
            // A thread that panicked has said so already.
            let _ = thread.join();
        }
    }
}

/// The time that responses under way may take when the server stops.
pub const GRACE: Duration = Duration::from_secs(1);

/// The time to accept nothing after an error that would come back at once, such as EMFILE.
const BACKOFF: Duration = Duration::from_millis(100);

/// Connections the kernel holds until they are accepted. It lowers this to `net.core.somaxconn`.
const BACKLOG: i32 = 1024;

/// The words to end, as every acceptor hears them.
#[derive(Clone)]
struct Ends {
    /// Nobody new is let in.
    leaving: watch::Receiver<bool>,
    /// Connections are closed.
    closing: watch::Receiver<bool>,
}

/// One thread's work: answers until `closing` changes and the last connection has ended. Fails where
/// the runtime does not take a listener.
async fn serve<R: Responder>(listeners: Vec<Socket>, shared: Arc<ConnectionContext<R>>, ends: Ends) -> io::Result<()> {
    let mut acceptors = JoinSet::new();
    for listener in listeners {
        let listener = TcpListener::from_std(listener.into())?;
        acceptors.spawn(accept(listener, shared.clone(), ends.clone()));
    }
    while acceptors.join_next().await.is_some() {}
    Ok(())
}

/// Lets connections in until the server stops. Owns them: they end with it.
async fn accept<R: Responder>(
    listener: TcpListener,
    shared: Arc<ConnectionContext<R>>,
    Ends { mut leaving, mut closing }: Ends,
) {
    let mut connections = JoinSet::new();
    let mut complaint = Complaint::default();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    if admit(stream, peer, &shared, &closing, &mut connections) == Crowd::Full {
                        // Those let in are read before they may have to yield in their turn.
                        tokio::task::yield_now().await;
                    }
                }
                Err(error) if is_routine(&error) => {}
                Err(error) => {
                    shared.counters.add(Event::SocketError(Transport::Tcp));
                    complaint.say("accepting TCP connections failed, still trying", &error);
                    sleep(BACKOFF).await;
                }
            },
            Some(ended) = connections.join_next() => {
                if ended.is_err_and(|error| error.is_panic()) {
                    shared.counters.add(Event::Panicked);
                }
            }
            _ = closing.changed() => break,
            Ok(()) = leaving.changed() => break,
        }
    }
    drop(listener);
    if *leaving.borrow() {
        tokio::select! {
            () = async { while connections.join_next().await.is_some() {} } => return,
            _ = closing.wait_for(|closing| *closing) => {}
        }
    }
    let _ = timeout(GRACE, async { while connections.join_next().await.is_some() {} }).await;
}

/// Starts a connection's task. Where a limit is met, another one is told to yield, and it says so.
fn admit<R: Responder>(
    stream: TcpStream,
    peer: SocketAddr,
    shared: &Arc<ConnectionContext<R>>,
    closing: &watch::Receiver<bool>,
    connections: &mut JoinSet<()>,
) -> Crowd {
    let (place, met) = shared.gate.enter(peer.ip());
    shared.counters.add(Event::TcpAccepted);
    met.into_iter().for_each(|limit| shared.counters.add(Event::TcpYielded(limit)));
    let client = Client { address: peer.ip(), transport: Transport::Tcp };
    let server = stream.local_addr();
    let connection = Connection::new(stream, client, shared.clone(), place);
    let connection = match server {
        Ok(server) => connection.between(peer, server),
        Err(_) => connection, // it has ended already
    };
    connections.spawn(connection.run(closing.clone()));
    if met.is_some() { Crowd::Full } else { Crowd::HasRoom }
}

/// The room that a newcomer found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Crowd {
    HasRoom,
    /// Another connection had to yield.
    Full,
}

/// Tells whether accepting failed for one connection alone (accept(2): such errors are already its own).
fn is_routine(error: &io::Error) -> bool {
    use io::ErrorKind as Kind;
    matches!(
        error.kind(),
        Kind::ConnectionAborted
            | Kind::ConnectionReset
            | Kind::ConnectionRefused
            | Kind::Interrupted
            | Kind::HostUnreachable
            | Kind::NetworkUnreachable
            | Kind::TimedOut
    )
}

/// One listener per thread, and the address they have.
fn listen(address: SocketAddr, threads: NonZeroUsize) -> io::Result<(Vec<Socket>, SocketAddr)> {
    // The first is bound before SO_REUSEPORT is set: alone it would let a second server of
    // the same user share the port, and the two would silently split the clients.
    let first = new_socket(address)?;
    first.bind(&SockAddr::from(address))?;
    let address = first.local_addr()?.as_socket().unwrap_or(address);
    let mut listeners = vec![first];
    if threads.get() > 1 {
        for first in &listeners {
            first.set_reuse_port(true)?;
        }
    }
    for _ in 1..threads.get() {
        let socket = new_socket(address)?;
        socket.set_reuse_port(true)?;
        socket.bind(&SockAddr::from(address))?;
        listeners.push(socket);
    }
    for listener in &listeners {
        listener.listen(BACKLOG)?;
    }
    Ok((listeners, address))
}

fn new_socket(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // A restart must not wait for the old process's closed connections to time out.
    socket.set_reuse_address(true)?;
    // Connections inherit it. Responses are whole writes, so nothing is gained by waiting for more.
    socket.set_tcp_nodelay(true)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}
