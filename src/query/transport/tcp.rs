//! DNS over TCP (RFC 7766): length-prefixed messages, many per connection, answered in order.
//!
//! In: addresses to listen on and [`TcpLimits`]. Out: responses, each behind its length.
//!
//! ```text
//!    accept ─▶ Gate: room in all? for this network? ─▶ one task per connection:
//!              wait for octets ─▶ take whole messages ─▶ answer ─▶ write ─┐
//!                   ▲ idle, slow message: close        slow reader: close │
//!                   └─────────────────────────────────────────────────────┘
//! ```
//!
//! A connection reads nothing while its client does not take its responses, and holds large
//! buffers only while there is something in them.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::{Client, Complaint, MAX_MESSAGE, Responder, Transport};
use crate::model::Prefix;
use crate::query::counters::{Counters, Event, TcpLimit, TcpWait};

/// How much of the server TCP clients may take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TcpLimits {
    /// Open at once, in all. More are closed at once.
    pub connections: usize,
    /// Open at once from one /24 (IPv4) or /56 (IPv6), so that no single site takes all.
    pub connections_per_network: usize,
    /// How long a connection may wait for its next query. Shrinks linearly to `idle_min` while the
    /// open connections go from half of `connections` to all.
    pub idle: Duration,
    pub idle_min: Duration,
    /// From a message's first octet to its last, however steadily it drips.
    pub message: Duration,
    /// From the first octet of a write to the last, as slow as the client reads.
    pub write: Duration,
    /// How many responses are collected for one write.
    pub responses_per_write: usize,
}

impl Default for TcpLimits {
    fn default() -> TcpLimits {
        TcpLimits {
            connections: 1000,
            connections_per_network: 50,
            idle: Duration::from_secs(10),
            idle_min: Duration::from_secs(1),
            message: Duration::from_secs(5),
            write: Duration::from_secs(5),
            responses_per_write: 64,
        }
    }
}

impl TcpLimits {
    /// How long a connection may be idle while `open` connections are open.
    fn idle_at(&self, open: usize) -> Duration {
        let half = self.connections / 2;
        let pressure = open.saturating_sub(half) as f64 / (self.connections - half).max(1) as f64;
        self.idle.saturating_sub(self.idle.saturating_sub(self.idle_min).mul_f64(pressure.min(1.0)))
    }
}

/// Sockets that listen and accept nothing yet.
#[derive(Debug)]
pub struct TcpServer {
    listeners: Vec<Socket>,
    addresses: Vec<SocketAddr>,
}

impl TcpServer {
    /// Listens on each address, so that every error shows before anything starts.
    ///
    /// With port 0 the system picks one. IPv6 sockets take IPv6 alone (`IPV6_V6ONLY`).
    /// Fails with the address in the message, usually because another server has the port.
    pub fn bind(addresses: &[SocketAddr]) -> io::Result<TcpServer> {
        let mut server = TcpServer { listeners: Vec::new(), addresses: Vec::new() };
        for &address in addresses {
            let listener = listen(address)
                .map_err(|error| io::Error::new(error.kind(), format!("cannot listen on TCP {address}: {error}")))?;
            server.addresses.push(listener.local_addr()?.as_socket().unwrap_or(address));
            server.listeners.push(listener);
        }
        Ok(server)
    }

    /// The addresses bound, in the order asked for, with the port the system picked for port 0.
    pub fn local_addrs(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Answers until `shutdown` completes; then idle connections are closed at once and the others
    /// get [`GRACE`] to take their responses. Dropping the future closes all at once.
    ///
    /// `counters` is a block that many threads may count in (`CounterSet::shared`). Fails where the
    /// runtime does not take a listener.
    pub async fn serve<R: Responder>(
        self,
        responder: Arc<R>,
        counters: Arc<Counters>,
        limits: TcpLimits,
        shutdown: impl Future<Output = ()>,
    ) -> io::Result<()> {
        let (closing, _) = watch::channel(false);
        let gate = Gate { limits: limits.clone(), places: Mutex::default() };
        let shared = Arc::new(Shared { responder, counters, limits, gate: Arc::new(gate) });
        let mut acceptors = JoinSet::new();
        for listener in self.listeners {
            let listener = TcpListener::from_std(listener.into())?;
            acceptors.spawn(accept(listener, shared.clone(), closing.subscribe()));
        }
        shutdown.await;
        closing.send_replace(true);
        while acceptors.join_next().await.is_some() {}
        Ok(())
    }
}

/// How long responses under way may take when the server stops.
pub const GRACE: Duration = Duration::from_secs(1);

/// How long to accept nothing after an error that would come back at once, such as EMFILE.
const BACKOFF: Duration = Duration::from_millis(100);

/// Connections the kernel holds until they are accepted. It lowers this to `net.core.somaxconn`.
const BACKLOG: i32 = 1024;

/// What an open connection may keep of its buffers while nothing is in them, in octets.
const KEPT: usize = 1024;

/// Responses are written once they are this many octets together: with the largest message on
/// top, what a client that does not read makes us hold.
const WRITE_SIZE: usize = 16 * 1024;

/// What is read from a connection at once, in octets.
const READ_SIZE: usize = 16 * 1024;

/// What all connections of a server use.
struct Shared<R> {
    responder: Arc<R>,
    counters: Arc<Counters>,
    limits: TcpLimits,
    gate: Arc<Gate>,
}

/// Lets connections in until the server stops. Owns them: they end with it.
async fn accept<R: Responder>(listener: TcpListener, shared: Arc<Shared<R>>, mut closing: watch::Receiver<bool>) {
    let mut connections = JoinSet::new();
    let mut complaint = Complaint::default();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => admit(stream, peer.ip(), &shared, &closing, &mut connections),
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
        }
    }
    drop(listener);
    let _ = timeout(GRACE, async { while connections.join_next().await.is_some() {} }).await;
}

/// Starts a connection's task, or closes the connection where a limit is met.
fn admit<R: Responder>(
    stream: TcpStream,
    peer: IpAddr,
    shared: &Arc<Shared<R>>,
    closing: &watch::Receiver<bool>,
    connections: &mut JoinSet<()>,
) {
    let place = match shared.gate.enter(peer) {
        Ok(place) => place,
        Err(limit) => return shared.counters.add(Event::TcpRefused(limit)),
    };
    shared.counters.add(Event::TcpAccepted);
    // Best effort: responses are whole writes, so there is nothing to gain from waiting for more.
    let _ = stream.set_nodelay(true);
    let connection = Connection {
        stream,
        client: Client { address: peer, transport: Transport::Tcp },
        shared: shared.clone(),
        closing: closing.clone(),
        received: Vec::new(),
        waiting_for_rest_since: None,
        responses: Vec::new(),
        _place: place,
    };
    connections.spawn(connection.run());
}

/// One client's connection.
struct Connection<R> {
    stream: TcpStream,
    client: Client,
    shared: Arc<Shared<R>>,
    closing: watch::Receiver<bool>,
    /// What came and is not answered yet; empty or the start of a message while we wait.
    received: Vec<u8>,
    /// Since when we wait for the rest of the message in `received`; the time its client took to
    /// read earlier responses does not count.
    waiting_for_rest_since: Option<Instant>,
    /// Responses with their lengths, ready to be written.
    responses: Vec<u8>,
    _place: Place,
}

/// Why a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// The client closed it, or its half of it, or it broke.
    Client,
    /// It took too long.
    Late(TcpWait),
    /// It sent what deserves no response.
    Refused,
    /// The server stops.
    Stopping,
}

impl<R: Responder> Connection<R> {
    async fn run(mut self) {
        if let Err(End::Late(wait)) = self.converse().await {
            self.shared.counters.add(Event::TcpTimeout(wait));
        }
    }

    /// Answers what comes until there is a reason to end.
    async fn converse(&mut self) -> Result<(), End> {
        loop {
            self.readable().await?;
            self.read()?;
            loop {
                let answered = self.answer();
                self.write().await?;
                if answered? == Answered::AllThereWas {
                    break;
                }
            }
            shrink(&mut self.received);
        }
    }

    /// Waits for octets, as long as the client may take.
    async fn readable(&mut self) -> Result<(), End> {
        let idle_since = Instant::now();
        if !self.received.is_empty() {
            self.waiting_for_rest_since.get_or_insert(idle_since);
        }
        loop {
            let limits = &self.shared.limits;
            let (deadline, wait) = match self.waiting_for_rest_since {
                Some(since) => (since + limits.message, TcpWait::Message),
                None => (idle_since + limits.idle_at(self.shared.gate.open()), TcpWait::Idle),
            };
            let now = Instant::now();
            if now >= deadline {
                return Err(End::Late(wait));
            }
            // The idle time shrinks under pressure, so look again before it can have run out.
            let look_again = deadline.min(now + limits.idle_min.max(Duration::from_millis(10)));
            tokio::select! {
                biased;
                ready = self.stream.readable() => return ready.map_err(|_| End::Client),
                _ = self.closing.changed() => return Err(End::Stopping),
                () = sleep_until(look_again) => {}
            }
        }
    }

    /// Takes what is there, at most [`READ_SIZE`] octets; nothing is there now and then.
    fn read(&mut self) -> Result<(), End> {
        SCRATCH.with_borrow_mut(|scratch| {
            let room = scratch.get_mut(..READ_SIZE).ok_or(End::Client)?;
            match self.stream.try_read(room) {
                Ok(0) => Err(End::Client),
                Ok(count) => {
                    self.received.extend_from_slice(room.get(..count).unwrap_or_default());
                    Ok(())
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
                Err(_) => Err(End::Client),
            }
        })
    }

    /// Answers whole messages, as many as one write should carry. Fails after the first that gets
    /// no response; the responses before it are kept.
    fn answer(&mut self) -> Result<Answered, End> {
        let Shared { responder, counters, limits, .. } = &*self.shared;
        let batch = responder.begin();
        let mut taken = 0;
        let mut answered = Answered::Some;
        for _ in 0..limits.responses_per_write.max(1) {
            let Some(message) = first_message(self.received.get(taken..).unwrap_or_default()) else {
                answered = Answered::AllThereWas;
                break;
            };
            taken += PREFIX + message.len();
            counters.add(Event::Query(Transport::Tcp));
            if !append_response::<R>(&batch, message, self.client, counters, &mut self.responses) {
                return Err(End::Refused);
            }
            if self.responses.len() >= WRITE_SIZE {
                break;
            }
        }
        if taken > 0 {
            self.received.drain(..taken);
            self.waiting_for_rest_since = None;
        }
        Ok(answered)
    }

    async fn write(&mut self) -> Result<(), End> {
        if self.responses.is_empty() {
            return Ok(());
        }
        match timeout(self.shared.limits.write, self.stream.write_all(&self.responses)).await {
            Ok(Ok(())) => {}
            failed => {
                self.shared.counters.add(Event::SendFailed(Transport::Tcp));
                return Err(if failed.is_err() { End::Late(TcpWait::Write) } else { End::Client });
            }
        }
        self.responses.clear();
        shrink(&mut self.responses);
        Ok(())
    }
}

/// How far answering came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answered {
    /// No whole message is left.
    AllThereWas,
    /// There may be more.
    Some,
}

/// The octets of a length prefix (RFC 1035 section 4.2.2).
const PREFIX: usize = 2;

thread_local! {
    /// Where a thread reads and where it answers before it knows how much: connections hold no
    /// large buffer of their own. Never held over an await.
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; MAX_MESSAGE].into());
}

/// The first message in what came, without its length; `None` until all of it is there.
fn first_message(received: &[u8]) -> Option<&[u8]> {
    let (prefix, rest) = received.split_first_chunk::<PREFIX>()?;
    rest.get(..usize::from(u16::from_be_bytes(*prefix)))
}

/// Whether there was a response.
fn append_response<R: Responder>(
    batch: &R::Batch<'_>,
    message: &[u8],
    client: Client,
    counters: &Counters,
    responses: &mut Vec<u8>,
) -> bool {
    SCRATCH.with_borrow_mut(|out| {
        let length = R::answer(batch, message, client, out, counters);
        let (Ok(prefix @ 1..), Some(response)) = (u16::try_from(length), out.get(..length)) else { return false };
        // RFC 7766 section 8: length and message go out in one write.
        responses.extend_from_slice(&prefix.to_be_bytes());
        responses.extend_from_slice(response);
        true
    })
}

/// Gives memory back before a wait.
fn shrink(buffer: &mut Vec<u8>) {
    if buffer.capacity() > KEPT {
        buffer.shrink_to(KEPT);
    }
}

/// Counts the connections that are open, in all and by network.
struct Gate {
    limits: TcpLimits,
    places: Mutex<Places>,
}

#[derive(Default)]
struct Places {
    open: usize,
    /// Networks with open connections: at most as many as `open`.
    by_network: HashMap<Prefix, usize>,
}

/// A connection's place; given back when dropped.
struct Place {
    gate: Arc<Gate>,
    network: Prefix,
}

impl Gate {
    fn enter(self: &Arc<Gate>, peer: IpAddr) -> Result<Place, TcpLimit> {
        let network = Prefix::containing(peer, if peer.is_ipv4() { 24 } else { 56 });
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        if places.open >= self.limits.connections {
            return Err(TcpLimit::Total);
        }
        let in_network = places.by_network.get(&network).copied().unwrap_or(0);
        if in_network >= self.limits.connections_per_network {
            return Err(TcpLimit::Network);
        }
        places.by_network.insert(network, in_network + 1);
        places.open += 1;
        Ok(Place { gate: self.clone(), network })
    }

    fn open(&self) -> usize {
        self.places.lock().unwrap_or_else(PoisonError::into_inner).open
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut places = self.gate.places.lock().unwrap_or_else(PoisonError::into_inner);
        places.open = places.open.saturating_sub(1);
        match places.by_network.get_mut(&self.network) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(places.by_network.remove(&self.network)),
        }
    }
}

/// Whether accepting failed for one connection alone (accept(2): such errors are already its own).
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

fn listen(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // A restart must not wait for the old process's closed connections to time out.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SockAddr::from(address))?;
    socket.listen(BACKLOG)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;
    use tokio::net::TcpSocket;
    use tokio::sync::oneshot;
    use tokio::task::JoinHandle;

    use super::super::testing::{Echo, echoed, message};
    use super::*;
    use crate::query::counters::CounterSet;

    struct Server {
        address: SocketAddr,
        counters: CounterSet,
        shutdown: oneshot::Sender<()>,
        task: JoinHandle<io::Result<()>>,
    }

    fn serve(limits: TcpLimits) -> Server {
        serve_at("127.0.0.1:0", limits)
    }

    fn serve_at(address: &str, limits: TcpLimits) -> Server {
        let server = TcpServer::bind(&[address.parse().expect("address")]).expect("bind");
        let address = server.local_addrs()[0];
        let counters = CounterSet::new();
        let (shutdown, stopped) = oneshot::channel();
        let task = tokio::spawn(server.serve(Arc::new(Echo), counters.shared(), limits, async {
            let _ = stopped.await;
        }));
        Server { address, counters, shutdown, task }
    }

    const LOCALHOST: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    async fn connect(server: &Server) -> TcpStream {
        TcpStream::connect(server.address).await.expect("connect")
    }

    async fn connect_from(from: [u8; 4], server: &Server) -> TcpStream {
        let socket = TcpSocket::new_v4().expect("socket");
        socket.bind(SocketAddr::from((from, 0))).expect("bind");
        socket.connect(server.address).await.expect("connect")
    }

    /// A message behind its length.
    fn framed(message: &[u8]) -> Vec<u8> {
        [&(message.len() as u16).to_be_bytes(), message].concat()
    }

    async fn receive(stream: &mut TcpStream) -> Vec<u8> {
        let length = stream.read_u16().await.expect("a length");
        let mut response = vec![0; usize::from(length)];
        stream.read_exact(&mut response).await.expect("a response");
        response
    }

    async fn ask(stream: &mut TcpStream, id: u16) {
        stream.write_all(&framed(&message(id, b"q"))).await.expect("send");
        assert_eq!(receive(stream).await[..2], id.to_be_bytes());
    }

    /// Whether the server has closed the connection, after nothing more was sent.
    async fn is_closed(stream: &mut TcpStream) -> bool {
        !matches!(stream.read(&mut [0; 16]).await, Ok(count) if count > 0)
    }

    #[tokio::test]
    async fn rfc7766_section_6_2_1_1_pipelined_queries_split_anywhere_are_all_answered_in_order() {
        let server = serve(TcpLimits::default());
        let (mut reader, mut writer) = connect(&server).await.into_split();
        let sender = tokio::spawn(async move {
            for id in 0..100u16 {
                for octet in framed(&message(id, b"pipelined")) {
                    writer.write_all(&[octet]).await.expect("send");
                }
            }
            writer
        });
        for id in 0..100u16 {
            let expected = framed(&echoed(id, b"pipelined", LOCALHOST));
            let mut response = vec![0; expected.len()];
            reader.read_exact(&mut response).await.expect("a response");
            assert_eq!(response, expected);
        }
        sender.await.expect("sender");
        assert_eq!(server.counters.total().get(Event::Query(Transport::Tcp)), 100);
    }

    #[tokio::test]
    async fn many_queries_in_one_write_are_all_answered_in_order() {
        let server = serve(TcpLimits::default());
        let mut stream = connect(&server).await;
        let queries: Vec<u8> = (0..1000).flat_map(|id| framed(&message(id, b"at once"))).collect();
        stream.write_all(&queries).await.expect("send");
        for id in 0..1000 {
            assert_eq!(receive(&mut stream).await, echoed(id, b"at once", LOCALHOST));
        }
    }

    #[tokio::test]
    async fn rfc7766_section_6_2_3_a_half_closed_client_gets_its_responses_then_the_end() {
        let server = serve(TcpLimits::default());
        let mut stream = connect(&server).await;
        let mut queries: Vec<u8> = (0..200).flat_map(|id| framed(&message(id, b""))).collect();
        queries.extend([0, 99, 1, 2, 3]);
        stream.write_all(&queries).await.expect("send");
        stream.shutdown().await.expect("half-close");
        for id in 0..200 {
            assert_eq!(receive(&mut stream).await, echoed(id, b"", LOCALHOST));
        }
        assert!(is_closed(&mut stream).await);
    }

    #[tokio::test]
    async fn the_largest_message_and_the_largest_response_pass() {
        let server = serve(TcpLimits::default());
        let mut stream = connect(&server).await;
        stream.write_all(&framed(&message(1, b"big"))).await.expect("send");
        assert_eq!(receive(&mut stream).await.len(), MAX_MESSAGE);
        let body = vec![7; MAX_MESSAGE - 12 - "127.0.0.1".len()];
        stream.write_all(&framed(&message(2, &body))).await.expect("send");
        assert_eq!(receive(&mut stream).await, echoed(2, &body, LOCALHOST));
    }

    #[tokio::test]
    async fn a_message_too_short_for_a_header_closes_after_the_responses_before_it() {
        for length in [0, 1, 11] {
            let server = serve(TcpLimits::default());
            let mut stream = connect(&server).await;
            let queries = [framed(&message(1, b"")), framed(&vec![0; length])].concat();
            stream.write_all(&queries).await.expect("send");
            assert_eq!(receive(&mut stream).await, echoed(1, b"", LOCALHOST));
            assert!(is_closed(&mut stream).await);
        }
    }

    #[tokio::test]
    async fn a_panic_while_answering_costs_its_connection_alone() {
        let server = serve(TcpLimits::default());
        let (mut bystander, mut stream) = (connect(&server).await, connect(&server).await);
        stream.write_all(&framed(&message(1, b"boom"))).await.expect("send");
        assert!(is_closed(&mut stream).await);
        ask(&mut bystander, 2).await;
        assert_eq!(server.counters.total().get(Event::Panicked), 1);
    }

    #[tokio::test]
    async fn connections_beyond_the_total_are_closed_at_once_until_one_ends() {
        let server = serve(TcpLimits { connections: 3, ..TcpLimits::default() });
        let mut open = Vec::new();
        for id in 0..3 {
            let mut stream = connect(&server).await;
            ask(&mut stream, id).await;
            open.push(stream);
        }
        assert!(is_closed(&mut connect(&server).await).await);
        assert_eq!(server.counters.total().get(Event::TcpRefused(TcpLimit::Total)), 1);
        for stream in &mut open {
            ask(stream, 9).await;
        }
        let mut ended = open.remove(0);
        ended.shutdown().await.expect("close");
        assert!(is_closed(&mut ended).await);
        ask(&mut connect(&server).await, 4).await;
        assert_eq!(server.counters.total().get(Event::TcpAccepted), 4);
    }

    #[tokio::test]
    async fn connections_beyond_a_networks_share_are_closed_and_other_networks_are_not() {
        let server = serve(TcpLimits { connections_per_network: 2, ..TcpLimits::default() });
        let mut first = connect_from([127, 1, 2, 3], &server).await;
        let mut second = connect_from([127, 1, 2, 200], &server).await;
        ask(&mut first, 1).await;
        ask(&mut second, 2).await;
        assert!(is_closed(&mut connect_from([127, 1, 2, 9], &server).await).await);
        ask(&mut connect_from([127, 1, 3, 3], &server).await, 3).await;
        assert_eq!(server.counters.total().get(Event::TcpRefused(TcpLimit::Network)), 1);
    }

    #[tokio::test]
    async fn v6_clients_are_answered_and_counted_by_56() {
        let server = serve_at("[::1]:0", TcpLimits::default());
        let mut stream = connect(&server).await;
        stream.write_all(&framed(&message(6, b""))).await.expect("send");
        assert_eq!(receive(&mut stream).await, echoed(6, b"", "::1".parse().expect("address")));
        let gate = Arc::new(Gate {
            limits: TcpLimits { connections_per_network: 1, ..TcpLimits::default() },
            places: Mutex::default(),
        });
        let enter = |text: &str| gate.enter(text.parse().expect("address"));
        let _first = enter("2001:db8:0:1::1").expect("the first");
        assert_eq!(enter("2001:db8:0:ff::1").err(), Some(TcpLimit::Network), "the same /56");
        assert!(enter("2001:db8:0:100::1").is_ok(), "another /56");
    }

    #[test]
    fn a_network_gets_its_places_back() {
        let limits = TcpLimits { connections_per_network: 2, ..TcpLimits::default() };
        let gate = Arc::new(Gate { limits, places: Mutex::default() });
        for _ in 0..3 {
            let places = [gate.enter(LOCALHOST), gate.enter(LOCALHOST)];
            assert!(places.iter().all(Result::is_ok));
            assert_eq!(gate.enter(LOCALHOST).err(), Some(TcpLimit::Network));
        }
        assert_eq!(gate.open(), 0);
        assert!(gate.places.lock().expect("a lock").by_network.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_connection_is_closed_after_the_idle_time() {
        let server = serve(TcpLimits::default());
        let mut stream = connect(&server).await;
        ask(&mut stream, 1).await;
        let began = Instant::now();
        assert!(is_closed(&mut stream).await);
        assert_eq!(began.elapsed().as_secs(), 10);
        assert_eq!(server.counters.total().get(Event::TcpTimeout(TcpWait::Idle)), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn idle_connections_go_sooner_once_others_crowd_in() {
        let server = serve(TcpLimits { connections: 4, ..TcpLimits::default() });
        let mut stream = connect(&server).await;
        ask(&mut stream, 1).await;
        let began = Instant::now();
        let mut crowd = Vec::new();
        for id in 0..3 {
            crowd.push(connect(&server).await);
            ask(&mut crowd[id], id as u16).await;
        }
        assert!(is_closed(&mut stream).await);
        assert_eq!(began.elapsed().as_secs(), 1);
    }

    #[test]
    fn the_idle_time_shrinks_linearly_from_half_full_to_full() {
        let limits = TcpLimits::default();
        let ms = |open| limits.idle_at(open).as_millis();
        assert_eq!([ms(0), ms(500), ms(750), ms(1000), ms(9999)], [10_000, 10_000, 5_500, 1_000, 1_000]);
        let none = TcpLimits { connections: 0, ..TcpLimits::default() };
        assert_eq!(none.idle_at(0), Duration::from_secs(10));
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_must_arrive_in_time_however_steadily_it_drips() {
        let server = serve(TcpLimits::default());
        let mut stream = connect(&server).await;
        ask(&mut stream, 1).await;
        let began = Instant::now();
        // The clock is paused, the kernel's is not: it would wait with what it could send together.
        stream.set_nodelay(true).expect("an option");
        let (mut reader, mut writer) = stream.split();
        let drip = async {
            loop {
                if writer.write_all(&[9]).await.is_err() {
                    std::future::pending::<()>().await;
                }
                sleep(Duration::from_millis(500)).await;
            }
        };
        let mut end = [0; 16];
        let closed = async { !matches!(reader.read(&mut end).await, Ok(count) if count > 0) };
        tokio::select! { closed = closed => assert!(closed), () = drip => {} }
        assert_eq!(began.elapsed().as_secs(), 5);
        assert_eq!(server.counters.total().get(Event::TcpTimeout(TcpWait::Message)), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_never_reads_stalls_itself_alone_and_is_closed() {
        let server = serve(TcpLimits::default());
        let mut deaf = connect(&server).await;
        let began = Instant::now();
        let flood = framed(&message(1, b"big")).repeat(100);
        let pour = async {
            while deaf.write_all(&flood).await.is_ok() {}
            began.elapsed()
        };
        let others = async {
            let mut stream = connect(&server).await;
            for id in 0..50 {
                ask(&mut stream, id).await;
            }
            assert!(began.elapsed() < Duration::from_secs(5));
        };
        let (closed_after, ()) = tokio::join!(pour, others);
        assert!((5..=7).contains(&closed_after.as_secs()), "{closed_after:?}");
        assert_eq!(server.counters.total().get(Event::TcpTimeout(TcpWait::Write)), 1);
    }

    #[tokio::test]
    async fn stopping_closes_idle_connections_at_once_and_frees_the_port() {
        let server = serve(TcpLimits::default());
        let mut stream = connect(&server).await;
        ask(&mut stream, 1).await;
        server.shutdown.send(()).expect("still serving");
        assert!(timeout(GRACE / 2, is_closed(&mut stream)).await.expect("at once"));
        timeout(GRACE / 2, server.task).await.expect("in time").expect("joined").expect("served");
        TcpServer::bind(&[server.address]).expect("the port is free");
    }

    #[tokio::test(start_paused = true)]
    async fn stopping_waits_a_grace_time_for_a_client_that_does_not_read() {
        let server = serve(TcpLimits::default());
        let mut deaf = connect(&server).await;
        let flood = framed(&message(1, b"big")).repeat(1000);
        let _ = timeout(Duration::from_millis(100), deaf.write_all(&flood)).await;
        let began = Instant::now();
        server.shutdown.send(()).expect("still serving");
        server.task.await.expect("joined").expect("served");
        assert!(began.elapsed() <= GRACE + Duration::from_millis(10));
    }

    #[tokio::test]
    async fn a_taken_port_is_told_with_its_address() {
        let server = serve(TcpLimits::default());
        let error = TcpServer::bind(&[server.address]).expect_err("taken");
        assert!(error.to_string().contains(&format!("cannot listen on TCP {}", server.address)), "{error}");
    }
}
