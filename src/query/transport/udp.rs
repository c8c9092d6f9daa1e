//! DNS over UDP: threads that receive a batch of datagrams, answer each and send the replies.
//!
//! In: addresses to listen on. Out: responses, each from the address that was asked, to where its
//! query came from. Every thread has its own socket of the address (`SO_REUSEPORT`): the kernel
//! spreads clients over them, and threads share nothing but the [`Responder`].
//!
//! A failing receive or a panic while answering never ends a thread.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, BorrowedFd};
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::datagrams::{Answered, AskedAddresses, Datagrams, MAX_BATCH, Received};
use super::options::{self, Buffer};
use super::{Complaint, Exchange, Responder};
use crate::query::client::{Client, Transport};
use crate::query::counters::{CounterSet, Counters, DropReason, Event};

/// The settings by which UDP is answered. What the system refuses of it is said in the log, and done without.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UdpSettings {
    /// Threads of each address.
    pub threads: NonZeroUsize,
    /// The first thread of an address runs on the first of these CPUs alone, and so on, beginning
    /// again after the last. Empty: wherever the system puts them.
    pub cpus: Vec<usize>,
    /// Datagrams moved by one system call at most, up to [`MAX_BATCH`].
    pub batch: NonZeroUsize,
    /// The most that the kernel may hold for a socket, in octets. `None`: [`SOCKET_BUFFER`], or as much of it
    /// as the system gives.
    pub receive_buffer: Option<usize>,
    pub send_buffer: Option<usize>,
    /// The time that a thread looks for packets at the interface itself before it sleeps; `None`: not at all.
    pub busy_poll: Option<Duration>,
}

impl UdpSettings {
    /// The defaults, with so many threads.
    pub fn new(threads: NonZeroUsize) -> UdpSettings {
        UdpSettings {
            threads,
            cpus: Vec::new(),
            batch: BATCH,
            receive_buffer: None,
            send_buffer: None,
            busy_poll: None,
        }
    }
}

/// Beyond 32 the cost of the system calls no longer shows.
const BATCH: NonZeroUsize = NonZeroUsize::MIN.saturating_add(31);

/// Some 5,000 queries, the burst of a few ms at full rate.
const SOCKET_BUFFER: usize = 4 << 20;

/// Sockets that are bound and not yet read.
#[derive(Debug)]
pub struct UdpServer {
    sockets: Vec<BoundSocket>,
    addresses: Vec<SocketAddr>,
    batch: NonZeroUsize,
}

#[derive(Debug)]
struct BoundSocket {
    socket: Socket,
    address: SocketAddr,
    /// The CPU that its thread runs on; `None`: any.
    cpu: Option<usize>,
}

impl UdpServer {
    /// Binds sockets to each address, so that every error shows before anything starts.
    ///
    /// With port 0 the system picks one port per address. IPv6 sockets take IPv6 alone
    /// (`IPV6_V6ONLY`), so `0.0.0.0` and `::` go together.
    ///
    /// Fails with the address in the message, usually because another server has the port or
    /// because it is below 1024 and the process may not.
    pub fn bind(addresses: &[SocketAddr], settings: &UdpSettings) -> io::Result<UdpServer> {
        UdpServer::bind_or_take(addresses, settings, &mut Vec::new())
    }

    /// [`UdpServer::bind`], but where an address has sockets among those `handed` over by another process, all of these
    /// are taken, with the datagrams that wait in them, whatever number of threads is set.
    pub fn bind_or_take(
        addresses: &[SocketAddr],
        settings: &UdpSettings,
        handed: &mut Vec<Socket>,
    ) -> io::Result<UdpServer> {
        let batch = settings.batch.min(NonZeroUsize::new(MAX_BATCH).unwrap_or(BATCH));
        let mut server = UdpServer { sockets: Vec::new(), addresses: Vec::new(), batch };
        let mut refused = BTreeSet::new();
        for &address in addresses {
            let taken = super::take_bound(handed, address);
            if !taken.is_empty() {
                server.take(taken, address, settings, &mut refused)?;
                continue;
            }
            let sockets = bind_address(address, settings, &mut refused)
                .map_err(|error| io::Error::new(error.kind(), format!("cannot listen on UDP {address}: {error}")))?;
            server.addresses.extend(sockets.first().map(|first| first.address));
            server.sockets.extend(sockets);
        }
        refused.iter().for_each(|refusal| tracing::warn!("{refusal}"));
        Ok(server)
    }

    fn take(
        &mut self,
        sockets: Vec<Socket>,
        address: SocketAddr,
        settings: &UdpSettings,
        refused: &mut BTreeSet<String>,
    ) -> io::Result<()> {
        sockets.iter().try_for_each(|socket| set_up(socket, address.ip(), settings, refused))?;
        let bound = |socket: &Socket| socket.local_addr().ok().and_then(|bound| bound.as_socket());
        let address = sockets.first().and_then(bound).unwrap_or(address);
        let mut cpus = settings.cpus.iter().copied().cycle();
        self.addresses.push(address);
        self.sockets.extend(sockets.into_iter().map(|socket| BoundSocket { socket, address, cpu: cpus.next() }));
        Ok(())
    }

    /// The addresses bound, in the order asked for, with the port the system picked for port 0.
    pub fn local_addrs(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Starts to answer, one thread per socket. Fails where a thread cannot be started.
    pub fn start<R: Responder>(self, responder: &Arc<R>, counters: &CounterSet) -> io::Result<Running> {
        let mut running = Running { stop: Arc::default(), sockets: Vec::new(), threads: Vec::new() };
        for (number, bound) in self.sockets.into_iter().enumerate() {
            let socket = Arc::new(bound.socket);
            let worker = Worker {
                socket: socket.clone(),
                bound: bound.address,
                asked: if bound.address.ip().is_unspecified() { AskedAddresses::Any } else { AskedAddresses::One },
                batch: self.batch,
                cpu: bound.cpu,
                responder: responder.clone(),
                counters: counters.register(),
                stop: running.stop.clone(),
                receive_complaint: Complaint::default(),
                send_complaint: Complaint::default(),
                batches: 0,
            };
            let thread = thread::Builder::new().name(format!("udp-{number}")).spawn(move || worker.run())?;
            running.sockets.push(socket);
            running.threads.push(thread);
        }
        Ok(running)
    }
}

/// Threads at work. Dropping it stops them and waits until they have, which takes a batch.
#[derive(Debug)]
pub struct Running {
    stop: Arc<AtomicBool>,
    sockets: Vec<Arc<Socket>>,
    threads: Vec<JoinHandle<()>>,
}

impl Running {
    /// Stops all threads after the batch they are at. What waits in the sockets is lost, unless another process has them.
    pub fn stop(self) {}

    /// The sockets, to be handed to another process.
    pub fn sockets(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.sockets.iter().map(|socket| socket.as_fd())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // A timeout on receiving would cost a timer for each sleep.
        options::wake_until_ended(&self.threads);
        for thread in self.threads.drain(..) {
            // A thread that panicked outside answering has said so already.
            let _ = thread.join();
        }
    }
}

/// The time that a reply waits for room in the send buffer: the longest that stopping takes.
const SEND_WAIT: Duration = Duration::from_millis(250);

/// One batch of so many is timed: reading the clock twice costs as much as a tenth of an answer.
const TIMED: u32 = 16;
/// The time that a thread rests after an error that may come back at once.
const BACKOFF: Duration = Duration::from_millis(100);

/// One thread's socket and what it needs to answer.
struct Worker<R> {
    socket: Arc<Socket>,
    bound: SocketAddr,
    asked: AskedAddresses,
    batch: NonZeroUsize,
    cpu: Option<usize>,
    responder: Arc<R>,
    counters: Arc<Counters>,
    stop: Arc<AtomicBool>,
    receive_complaint: Complaint,
    send_complaint: Complaint,
    /// Batches so far.
    batches: u32,
}

impl<R: Responder> Worker<R> {
    fn run(mut self) {
        if let Some(cpu) = self.cpu {
            super::pin_this_thread(cpu);
        }
        while !self.stop.load(Ordering::Relaxed) {
            // The batch in which a panic happened is lost with its buffers; nothing else is touched.
            if panic::catch_unwind(AssertUnwindSafe(|| self.serve())).is_err() {
                self.counters.add(Event::Panicked);
                thread::sleep(BACKOFF);
            }
        }
    }

    fn serve(&mut self) {
        let mut datagrams = Datagrams::new(self.batch, self.asked);
        while !self.stop.load(Ordering::Relaxed) {
            match datagrams.receive(&*self.socket) {
                Ok(()) => self.answer(&mut datagrams),
                Err(error) if is_routine(&error) => {}
                Err(error) => {
                    self.counters.add(Event::SocketError(Transport::Udp));
                    self.receive_complaint.say("receiving over UDP failed, still trying", &error);
                    thread::sleep(BACKOFF);
                }
            }
        }
    }

    fn answer(&mut self, datagrams: &mut Datagrams) {
        self.batches = self.batches.wrapping_add(1);
        let batch = self.responder.begin();
        let (is_timed, is_watched) = (self.batches.is_multiple_of(TIMED), R::watches(&batch));
        let began = (is_timed || is_watched).then(Instant::now);
        let counters = &*self.counters;
        R::expect(&batch, datagrams.packets());
        datagrams.answer(|received, out| answer_one::<R>(&batch, received, out, counters));
        let sent = datagrams.send(&*self.socket);
        for _ in 0..sent.failed {
            counters.add(Event::SendFailed(Transport::Udp));
        }
        if let Some(error) = sent.error {
            self.send_complaint.say("sending over UDP failed", &error);
        }
        let Some(took) = began.map(|began| began.elapsed()) else { return };
        if is_timed {
            counters.took(took, datagrams.received() as u64);
        }
        if is_watched {
            R::saw(&batch, took, datagrams.answered().map(|answered| exchange(answered, self.bound)));
        }
    }
}

fn exchange(answered: Answered<'_>, bound: SocketAddr) -> Exchange<'_> {
    let Answered { packet, peer, asked, reply } = answered;
    let server = SocketAddr::new(asked.unwrap_or(bound.ip()), bound.port());
    Exchange { client: peer, server, transport: Transport::Udp, query: packet, response: reply }
}

fn answer_one<R: Responder>(
    batch: &R::Batch<'_>,
    received: Received<'_>,
    out: &mut [u8],
    counters: &Counters,
) -> usize {
    // A reply to port 0 reaches nobody, or a reflector's victim.
    if received.peer.port() == 0 {
        counters.add(Event::Dropped(DropReason::SourcePort));
        return 0;
    }
    if received.cut {
        counters.add(Event::Dropped(DropReason::Long));
        return 0;
    }
    counters.add(Event::Query(Transport::Udp));
    let client = Client { address: received.peer.ip(), transport: Transport::Udp };
    R::answer(batch, received.packet, client, out, counters)
}

/// Tells whether a receive may fail so on any day: the server stops, a signal came, or an ICMP message
/// about an earlier reply.
fn is_routine(error: &io::Error) -> bool {
    use io::ErrorKind as Kind;
    matches!(
        error.kind(),
        Kind::WouldBlock
            | Kind::TimedOut
            | Kind::Interrupted
            | Kind::ConnectionRefused
            | Kind::HostUnreachable
            | Kind::NetworkUnreachable
    )
}

/// The sockets of one address, at least one. What the system refuses goes into `refused`.
fn bind_address(
    address: SocketAddr,
    settings: &UdpSettings,
    refused: &mut BTreeSet<String>,
) -> io::Result<Vec<BoundSocket>> {
    let mut cpus = settings.cpus.iter().copied().cycle();
    // The first is bound before SO_REUSEPORT is set: alone it would let a second server of
    // the same user share the port, and the two would silently split the clients.
    let first = new_socket(address.ip(), settings, refused)?;
    first.bind(&SockAddr::from(address))?;
    let address = first.local_addr()?.as_socket().unwrap_or(address);
    let mut sockets = vec![BoundSocket { socket: first, address, cpu: cpus.next() }];
    if settings.threads.get() > 1 {
        for bound in &sockets {
            bound.socket.set_reuse_port(true)?;
        }
    }
    for _ in 1..settings.threads.get() {
        let socket = new_socket(address.ip(), settings, refused)?;
        socket.set_reuse_port(true)?;
        socket.bind(&SockAddr::from(address))?;
        sockets.push(BoundSocket { socket, address, cpu: cpus.next() });
    }
    Ok(sockets)
}

fn new_socket(address: IpAddr, settings: &UdpSettings, refused: &mut BTreeSet<String>) -> io::Result<Socket> {
    let domain = if address.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 };
    let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    set_up(&socket, address, settings, refused)?;
    let buffers = [(Buffer::Receive, settings.receive_buffer), (Buffer::Send, settings.send_buffer)];
    refused.extend(buffers.into_iter().filter_map(|(buffer, size)| set_buffer(&socket, buffer, size)));
    Ok(socket)
}

/// Sets what a socket needs, bound or not, but for its buffers: those of another process may be larger than this one may
/// ask for.
fn set_up(socket: &Socket, address: IpAddr, settings: &UdpSettings, refused: &mut BTreeSet<String>) -> io::Result<()> {
    // Whoever opened it may want otherwise: then nobody could wait for a datagram.
    socket.set_nonblocking(false)?;
    if address.is_unspecified() {
        options::report_asked_address(socket, address)?;
    }
    options::never_fragment(socket, address)?;
    // No timeout on receiving: see `Running::drop`.
    socket.set_write_timeout(Some(SEND_WAIT))?;
    if let Some(time) = settings.busy_poll
        && let Err(error) = options::busy_poll(socket, time)
    {
        refused.insert(format!(
            "`udp.busy_poll` is refused: {error}; it takes CAP_NET_ADMIN, or a `net.core.busy_read` as long"
        ));
    }
    Ok(())
}

/// Sets a buffer's size; what to say where an operator's wish is not fulfilled.
fn set_buffer(socket: &Socket, buffer: Buffer, size: Option<usize>) -> Option<String> {
    let (key, limit) = match buffer {
        Buffer::Receive => ("udp.receive_buffer", "net.core.rmem_max"),
        Buffer::Send => ("udp.send_buffer", "net.core.wmem_max"),
    };
    let given = options::set_buffer(socket, buffer, size.unwrap_or(SOCKET_BUFFER));
    let wanted = size?;
    match given {
        Ok(given) if given >= wanted => None,
        Ok(given) => Some(format!(
            "`{key}` is {wanted} octets, and the system gives {given}: raise `{limit}`, or give the program CAP_NET_ADMIN"
        )),
        Err(error) => Some(format!("`{key}` is refused: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::super::MAX_UDP_RESPONSE;
    use super::super::datagrams::MAX_UDP_QUERY;
    use super::super::testing::{Echo, Told, Witness, echoed, message};
    use super::*;

    struct Server {
        running: Running,
        addresses: Vec<SocketAddr>,
        counters: CounterSet,
    }

    fn serve(addresses: &[&str], threads: usize) -> Server {
        let addresses: Vec<SocketAddr> = addresses.iter().map(|text| text.parse().expect("address")).collect();
        let server = UdpServer::bind(&addresses, &settings(threads)).expect("bind");
        let addresses = server.local_addrs().to_vec();
        let counters = CounterSet::new();
        let running = server.start(&Arc::new(Echo), &counters).expect("start");
        Server { running, addresses, counters }
    }

    fn settings(threads: usize) -> UdpSettings {
        UdpSettings::new(NonZeroUsize::new(threads).expect("threads"))
    }

    /// A client at `from`, connected: the kernel gives it only what comes from `to`.
    fn client(from: &str, to: SocketAddr) -> UdpSocket {
        let socket = UdpSocket::bind((from.parse::<IpAddr>().expect("address"), 0)).expect("bind");
        socket.connect(to).expect("connect");
        socket.set_read_timeout(Some(Duration::from_secs(5))).expect("timeout");
        socket
    }

    fn ask(socket: &UdpSocket, message: &[u8]) -> Vec<u8> {
        socket.send(message).expect("send");
        let mut buffer = [0; 4096];
        let length = socket.recv(&mut buffer).expect("a reply");
        buffer[..length].to_vec()
    }

    #[test]
    fn replies_leave_from_the_address_that_was_asked() {
        let server = serve(&["0.0.0.0:0"], 2);
        let port = server.addresses[0].port();
        for asked in ["127.0.0.1", "127.0.0.2", "127.9.8.7"] {
            let socket = client("127.0.0.1", SocketAddr::new(asked.parse().expect("address"), port));
            assert_eq!(ask(&socket, &message(7, b"x")), echoed(7, b"x", "127.0.0.1".parse().expect("address")));
        }
    }

    #[test]
    fn who_watches_is_told_of_both_ends_and_the_response() {
        let listen = ["0.0.0.0:0", "[::]:0"].map(|address| address.parse().expect("address"));
        let (server, counters) = (UdpServer::bind(&listen, &settings(1)).expect("bind"), CounterSet::new());
        let ports = server.local_addrs().iter().map(SocketAddr::port).collect::<Vec<_>>();
        let responder = Arc::new(Witness::watching());
        let running = server.start(&responder, &counters).expect("start");
        let mut expected = Vec::new();
        for (id, asked, from, port) in [(7, "127.9.8.7", "127.0.0.1", ports[0]), (8, "::1", "::1", ports[1])] {
            let asked = SocketAddr::new(asked.parse().expect("address"), port);
            let socket = client(from, asked);
            socket.send(b"short").expect("send");
            ask(&socket, &message(id, b"x"));
            let from = socket.local_addr().expect("address");
            expected.push(Told::Saw(from, asked, u16::from_be_bytes(*b"sh"), None));
            expected.push(Told::Saw(from, asked, id, Some(id)));
        }
        running.stop(); // whoever watches is told after the reply is sent
        let saw = |told: &Told| matches!(told, Told::Saw(..));
        let mut told: Vec<Told> = responder.told().into_iter().filter(saw).collect();
        told.sort_by_key(|told| format!("{told:?}"));
        expected.sort_by_key(|told| format!("{told:?}"));
        assert_eq!(told, expected);
    }

    #[test]
    fn a_batch_over_several_asked_addresses_keeps_them_apart() {
        let server = serve(&["0.0.0.0:0"], 1);
        let port = server.addresses[0].port();
        let sockets: Vec<UdpSocket> =
            (1..=40).map(|host| client("127.0.0.1", SocketAddr::new(IpAddr::from([127, 0, 3, host]), port))).collect();
        for (id, socket) in sockets.iter().enumerate() {
            socket.send(&message(id as u16, b"")).expect("send");
        }
        for (id, socket) in sockets.iter().enumerate() {
            let mut buffer = [0; 512];
            let length = socket.recv(&mut buffer).expect("a reply from the address asked");
            assert_eq!(buffer[..length], echoed(id as u16, b"", IpAddr::from([127, 0, 0, 1])));
        }
    }

    #[test]
    fn both_wildcards_share_a_port_and_v6_answers_v6() {
        let server = serve(&["[::]:0"], 2);
        let port = server.addresses[0].port();
        let v4 = UdpServer::bind(&[SocketAddr::from(([0, 0, 0, 0], port))], &settings(1));
        assert!(v4.is_ok(), "an IPv6 socket leaves IPv4 alone");
        let socket = client("::1", SocketAddr::new("::1".parse().expect("address"), port));
        assert_eq!(ask(&socket, &message(1, b"six")), echoed(1, b"six", "::1".parse().expect("address")));
    }

    #[test]
    fn answers_every_query_of_a_burst() {
        let server = serve(&["127.0.0.1:0"], 2);
        let sockets: Vec<UdpSocket> = (0..5).map(|_| client("127.0.0.1", server.addresses[0])).collect();
        for id in 0..500u16 {
            sockets[usize::from(id) % 5].send(&message(id, b"burst")).expect("send");
        }
        let mut seen = std::collections::BTreeSet::new();
        for n in 0..500 {
            let mut buffer = [0; 512];
            let length = sockets[n % 5].recv(&mut buffer).expect("a reply");
            assert!(length > 12);
            seen.insert(u16::from_be_bytes([buffer[0], buffer[1]]));
        }
        assert_eq!(seen.len(), 500);
        server.running.stop();
        assert_eq!(server.counters.total().get(Event::Query(Transport::Udp)), 500);
    }

    #[test]
    fn empty_short_and_overlong_datagrams_get_no_reply_and_do_no_harm() {
        let server = serve(&["127.0.0.1:0"], 1);
        let socket = client("127.0.0.1", server.addresses[0]);
        for length in [0, 1, 11, 4097, 60_000] {
            socket.send(&vec![0; length]).expect("send");
        }
        assert_eq!(ask(&socket, &message(9, b"")), echoed(9, b"", "127.0.0.1".parse().expect("address")));
        server.running.stop();
        let totals = server.counters.total();
        assert_eq!(totals.get(Event::Dropped(DropReason::Long)), 2);
        assert_eq!(totals.get(Event::Dropped(DropReason::Short)), 3);
    }

    #[test]
    fn the_longest_query_and_the_longest_response_fit() {
        let server = serve(&["127.0.0.1:0"], 1);
        let socket = client("127.0.0.1", server.addresses[0]);
        assert_eq!(ask(&socket, &message(1, b"big")).len(), MAX_UDP_RESPONSE);
        assert_eq!(ask(&socket, &message(2, &[0; MAX_UDP_QUERY - 12])).len(), MAX_UDP_RESPONSE);
    }

    #[test]
    fn a_panic_while_answering_costs_its_batch_alone() {
        let server = serve(&["127.0.0.1:0"], 1);
        let socket = client("127.0.0.1", server.addresses[0]);
        socket.send(&message(1, b"boom")).expect("send");
        while server.counters.total().get(Event::Panicked) == 0 {
            thread::yield_now();
        }
        assert_eq!(ask(&socket, &message(2, b"")), echoed(2, b"", "127.0.0.1".parse().expect("address")));
    }

    #[test]
    fn a_client_that_is_gone_costs_nothing() {
        let server = serve(&["127.0.0.1:0"], 1);
        client("127.0.0.1", server.addresses[0]).send(&message(1, b"gone")).expect("send");
        let socket = client("127.0.0.1", server.addresses[0]);
        assert_eq!(ask(&socket, &message(2, b"")), echoed(2, b"", "127.0.0.1".parse().expect("address")));
    }

    #[test]
    fn a_second_server_on_the_same_port_is_told_so() {
        for threads in [1, 3] {
            let server = serve(&["127.0.0.1:0"], threads);
            let error = UdpServer::bind(&server.addresses, &settings(3)).expect_err("the port is taken");
            assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
            assert!(error.to_string().contains(&server.addresses[0].to_string()), "{error}");
        }
    }

    #[test]
    fn all_threads_of_an_address_share_the_port_picked_for_port_0() {
        let server = UdpServer::bind(&["127.0.0.1:0".parse().expect("address")], &settings(4));
        let server = server.expect("bind");
        assert_eq!(server.local_addrs().len(), 1);
        assert_ne!(server.local_addrs()[0].port(), 0);
        assert_eq!(server.sockets.len(), 4);
        for bound in &server.sockets {
            let local = bound.socket.local_addr().expect("address").as_socket();
            assert_eq!(local, Some(server.local_addrs()[0]));
        }
    }

    #[test]
    fn source_port_0_is_dropped() {
        let set = CounterSet::new();
        let received = Received { packet: &message(1, b""), peer: "127.0.0.1:0".parse().expect("address"), cut: false };
        assert_eq!(answer_one::<Echo>(&(), received, &mut [0; MAX_UDP_RESPONSE], &set.register()), 0);
        assert_eq!(set.total().get(Event::Dropped(DropReason::SourcePort)), 1);
    }

    #[test]
    fn stopping_wakes_threads_that_wait_for_queries() {
        let server = serve(&["127.0.0.1:0", "0.0.0.0:0", "[::1]:0"], 2);
        let socket = client("127.0.0.1", server.addresses[0]);
        ask(&socket, &message(1, b"awake"));
        let began = Instant::now();
        server.running.stop();
        assert!(began.elapsed() < Duration::from_secs(2));
        assert_eq!(server.counters.total().get(Event::Query(Transport::Udp)), 1, "waking is no query");
        assert_eq!(server.counters.total().get(Event::Dropped(DropReason::Short)), 0);
    }

    #[test]
    fn batches_of_any_size_answer_every_query() {
        for batch in [1, 3, 100_000] {
            let settings = UdpSettings { batch: NonZeroUsize::new(batch).expect("a batch"), ..settings(1) };
            let server = UdpServer::bind(&["0.0.0.0:0".parse().expect("address")], &settings).expect("bind");
            let to = SocketAddr::new([127, 0, 0, 1].into(), server.local_addrs()[0].port());
            let socket = client("127.0.0.1", to);
            for id in 0..40 {
                socket.send(&message(id, b"q")).expect("send");
            }
            let _running = server.start(&Arc::new(Echo), &CounterSet::new()).expect("start");
            for id in 0..40 {
                let mut buffer = [0; 512];
                let length = socket.recv(&mut buffer).expect("a reply");
                assert_eq!(buffer[..length], echoed(id, b"q", IpAddr::from([127, 0, 0, 1])));
            }
        }
    }

    #[test]
    fn threads_take_the_cpus_in_turn() {
        let settings = UdpSettings { cpus: vec![5, 7], ..settings(3) };
        let addresses = ["127.0.0.1:0", "127.0.0.1:0"].map(|text| text.parse().expect("address"));
        let server = UdpServer::bind(&addresses, &settings).expect("bind");
        let cpus: Vec<_> = server.sockets.iter().filter_map(|bound| bound.cpu).collect();
        assert_eq!(cpus, [5, 7, 5, 5, 7, 5]);
    }

    #[test]
    fn a_cpu_that_cannot_be_had_stops_no_thread() {
        let settings = UdpSettings { cpus: vec![1023], ..settings(1) };
        let server = UdpServer::bind(&["127.0.0.1:0".parse().expect("address")], &settings).expect("bind");
        let socket = client("127.0.0.1", server.local_addrs()[0]);
        let _running = server.start(&Arc::new(Echo), &CounterSet::new()).expect("start");
        assert_eq!(ask(&socket, &message(1, b"")), echoed(1, b"", IpAddr::from([127, 0, 0, 1])));
    }

    #[test]
    fn a_buffer_that_is_not_given_whole_is_told_with_its_key_and_the_limit_to_raise() {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, None).expect("socket");
        let told = set_buffer(&socket, Buffer::Receive, Some(usize::MAX)).expect("no system gives that");
        assert!(told.contains("`udp.receive_buffer`") && told.contains("net.core.rmem_max"), "{told}");
        assert_eq!(set_buffer(&socket, Buffer::Send, Some(64 << 10)), None);
        assert_eq!(set_buffer(&socket, Buffer::Send, None), None, "the default is no wish");
    }
}
