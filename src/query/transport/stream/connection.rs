//! One client's connection, from its first octet to the reason it ends.
//!
//! ```text
//!    read ─▶ whole messages? ─▶ answer into the thread's output ─▶ write
//!              │ the rest is kept, in time or late                  │ what does not go at once is kept,
//!              ▼                                                    ▼ and nothing read until it is gone
//! ```
//!
//! Reading and answering go through buffers that the connections of a thread share, so that an idle
//! connection, or one whose messages come whole, holds none.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::mem;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::sync::watch;
use tokio::time::{Instant, Sleep, sleep_until, timeout};

use crate::query::client::Client;
use crate::query::counters::{Counters, Event, TcpWait};
use crate::query::transport::{Exchange, MAX_MESSAGE, Responder};

use super::gate::{Gate, StreamPlace};
use super::limits::TcpLimits;

/// One client's connection, over whatever stream.
pub struct Connection<S, R> {
    stream: S,
    client: Client,
    /// The client's end and ours, for whoever watches.
    ends: Option<(SocketAddr, SocketAddr)>,
    shared: Arc<ConnectionContext<R>>,
    /// The octets that came and are not answered yet; empty or the start of a message while we wait.
    received: Vec<u8>,
    /// Since when we wait for the rest of the message in `received`; the time its client took to
    /// read earlier responses does not count.
    waiting_for_rest_since: Option<Instant>,
    /// Responses with their lengths that did not go at once.
    unsent: Vec<u8>,
    /// The stream may hold some that it took.
    unflushed: bool,
    /// The last wait for octets ended with a whole message.
    asked: bool,
    place: StreamPlace,
}

/// The means that all connections of a thread use.
pub struct ConnectionContext<R> {
    pub responder: Arc<R>,
    pub counters: Arc<Counters>,
    pub limits: TcpLimits,
    pub gate: Arc<Gate>,
}

/// The reason why a connection ends.
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

/// The point to which answering came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answered {
    /// No whole message is left.
    AllThereWas,
    /// There may be more in `received`.
    Some,
    /// Up to a message that gets no response: the end.
    UpToRefused,
}

impl<S: AsyncRead + AsyncWrite + Unpin, R: Responder> Connection<S, R> {
    pub fn new(stream: S, client: Client, shared: Arc<ConnectionContext<R>>, place: StreamPlace) -> Connection<S, R> {
        Connection {
            stream,
            client,
            ends: None,
            shared,
            received: Vec::new(),
            waiting_for_rest_since: None,
            unsent: Vec::new(),
            unflushed: false,
            asked: false,
            place,
        }
    }

    /// The same with its ends known: the client's and ours. Nobody watches one whose ends are not.
    pub fn between(self, client: SocketAddr, server: SocketAddr) -> Connection<S, R> {
        Connection { ends: Some((client, server)), ..self }
    }

    pub async fn run(mut self, closing: watch::Receiver<bool>) {
        let yielded = self.place.yielded();
        let ended = tokio::select! {
            biased;
            ended = self.converse(closing) => ended,
            () = yielded => return, // counted with the newcomer
        };
        if let Err(End::Late(wait)) = ended {
            self.shared.counters.add(Event::TcpTimeout(wait));
        }
    }

    /// Answers what comes until there is a reason to end.
    async fn converse(&mut self, mut closing: watch::Receiver<bool>) -> Result<(), End> {
        let (observer, closing) = (closing.clone(), pin!(closing.changed()));
        let alarm = pin!(sleep_until(Instant::now() + self.look_again()));
        let mut interruptions = Interruptions { alarm, closing, observer, armed: false };
        loop {
            let mut answered = self.exchange(&mut interruptions).await?;
            loop {
                self.write_rest().await?;
                match answered {
                    Answered::AllThereWas => break,
                    Answered::Some => answered = WORK.with_borrow_mut(|work| self.answer_received(&mut work.output))?,
                    Answered::UpToRefused => return Err(End::Refused),
                }
            }
        }
    }

    /// Waits for octets, as long as the client may take, answers the messages they complete, and
    /// sends what goes at once.
    async fn exchange(&mut self, interruptions: &mut Interruptions<'_, impl Future>) -> Result<Answered, End> {
        let mut idle_since = None;
        poll_fn(|cx| {
            let read = WORK.with_borrow_mut(|work| {
                let mut input = ReadBuf::new(&mut work.input);
                match Pin::new(&mut self.stream).poll_read(cx, &mut input)? {
                    Poll::Ready(()) => Poll::Ready(Ok(self.take(input.filled(), &mut work.output))),
                    Poll::Pending => Poll::Pending::<io::Result<_>>,
                }
            });
            match read {
                Poll::Ready(Ok(answered)) => Poll::Ready(answered),
                Poll::Ready(Err(_)) => Poll::Ready(Err(End::Client)),
                Poll::Pending => self.interrupted(interruptions, &mut idle_since, cx).map(Err),
            }
        })
        .await
    }

    /// Tells whether waiting for octets is over though none came. `idle_since` is set by the first call of a wait.
    fn interrupted(
        &mut self,
        interruptions: &mut Interruptions<'_, impl Future>,
        idle_since: &mut Option<Instant>,
        cx: &mut Context<'_>,
    ) -> Poll<End> {
        let began = idle_since.is_none();
        let idle_since = *idle_since.get_or_insert_with(Instant::now);
        if !self.received.is_empty() {
            self.waiting_for_rest_since.get_or_insert(idle_since);
        }
        if mem::take(&mut self.asked) {
            self.place.waits_since(idle_since);
        }
        let (deadline, _) = self.deadline(idle_since);
        if deadline < interruptions.alarm.deadline() {
            interruptions.alarm.as_mut().reset(deadline);
        } else if began && interruptions.are_quiet() {
            return Poll::Pending;
        }
        interruptions.armed = true;
        loop {
            if interruptions.closing.as_mut().poll(cx).is_ready() {
                return Poll::Ready(End::Stopping);
            }
            std::task::ready!(interruptions.alarm.as_mut().poll(cx));
            let (now, (deadline, wait)) = (Instant::now(), self.deadline(idle_since));
            if now >= deadline {
                return Poll::Ready(End::Late(wait));
            }
            interruptions.alarm.as_mut().reset(deadline.min(now + self.look_again()));
        }
    }

    /// Until when the client may take, and for what.
    fn deadline(&self, idle_since: Instant) -> (Instant, TcpWait) {
        let ConnectionContext { limits, gate, .. } = &*self.shared;
        match self.waiting_for_rest_since {
            Some(since) => (since + limits.message_at(gate.open()), TcpWait::Message),
            None => (idle_since + limits.idle_at(gate.open()), TcpWait::Idle),
        }
    }

    /// Times shrink under pressure, so look again before they can have run out.
    fn look_again(&self) -> Duration {
        let TcpLimits { idle_min, message_min, .. } = self.shared.limits;
        idle_min.min(message_min).max(Duration::from_millis(10))
    }

    /// Takes what came, which is nothing where the client has closed.
    fn take(&mut self, came: &[u8], output: &mut [u8]) -> Result<Answered, End> {
        if came.is_empty() {
            return Err(End::Client);
        }
        if !self.received.is_empty() {
            self.received.extend_from_slice(came);
            return self.answer_received(output);
        }
        let (taken, answered) = self.answer(came, output)?;
        self.received.extend_from_slice(came.get(taken..).unwrap_or_default());
        Ok(answered)
    }

    /// Answers what was kept.
    fn answer_received(&mut self, output: &mut [u8]) -> Result<Answered, End> {
        let mut received = mem::take(&mut self.received);
        let (taken, answered) = self.answer(&received, output)?;
        received.drain(..taken);
        if received.capacity() > KEPT {
            received.shrink_to(KEPT);
        }
        self.received = received;
        Ok(answered)
    }

    /// Answers whole messages, as many as one write should carry, and writes. Also says how many
    /// octets they were.
    fn answer(&mut self, messages: &[u8], output: &mut [u8]) -> Result<(usize, Answered), End> {
        let ConnectionContext { responder, counters, limits, .. } = &*self.shared;
        let batch = responder.begin();
        let watched_since = R::watches(&batch).then(std::time::Instant::now);
        let (mut taken, mut written, mut answered) = (0, 0, Answered::Some);
        let most = limits.responses_per_write.max(1);
        R::expect(&batch, whole_messages(messages).take(most));
        for _ in 0..most {
            let Some(message) = first_message(messages.get(taken..).unwrap_or_default()) else {
                answered = Answered::AllThereWas;
                break;
            };
            taken += PREFIX + message.len();
            counters.add(Event::Query(self.client.transport));
            let room = output.get_mut(written..).unwrap_or_default();
            let length = framed(room, |out| R::answer(&batch, message, self.client, out, counters));
            if length == 0 {
                answered = Answered::UpToRefused;
                break;
            }
            written += length;
            if written >= WRITE_SIZE {
                break;
            }
        }
        if let (Some(since), Some(ends)) = (watched_since, self.ends) {
            let (messages, output) = (messages.get(..taken).unwrap_or_default(), output.get(..written));
            let all = exchanges(ends, self.client, messages, output.unwrap_or_default());
            R::saw(&batch, since.elapsed(), all);
        }
        drop(batch);
        if taken > 0 {
            self.waiting_for_rest_since = None;
            self.asked = true;
        }
        self.write(output.get(..written).unwrap_or_default())?;
        Ok((taken, answered))
    }

    /// Writes what goes at once, and keeps the rest.
    fn write(&mut self, responses: &[u8]) -> Result<(), End> {
        if responses.is_empty() {
            return Ok(());
        }
        // Whoever waits for the rest asks again, and is woken then.
        let mut cx = Context::from_waker(Waker::noop());
        let written = match Pin::new(&mut self.stream).poll_write(&mut cx, responses) {
            Poll::Ready(Ok(count)) => count,
            Poll::Pending => 0,
            Poll::Ready(Err(_)) => return Err(self.broken()),
        };
        self.unsent.extend_from_slice(responses.get(written..).unwrap_or_default());
        match Pin::new(&mut self.stream).poll_flush(&mut cx) {
            Poll::Ready(Ok(())) => self.unflushed = false,
            Poll::Pending => self.unflushed = true,
            Poll::Ready(Err(_)) => return Err(self.broken()),
        }
        Ok(())
    }

    /// Waits until the client has taken what did not go at once.
    async fn write_rest(&mut self) -> Result<(), End> {
        if self.unsent.is_empty() && !self.unflushed {
            return Ok(());
        }
        let (unsent, stream) = (mem::take(&mut self.unsent), &mut self.stream);
        let write = async {
            stream.write_all(&unsent).await?;
            stream.flush().await
        };
        match timeout(self.shared.limits.write, write).await {
            Ok(Ok(())) => {
                self.unflushed = false;
                Ok(())
            }
            Ok(Err(_)) => Err(self.broken()),
            Err(_) => {
                self.broken();
                Err(End::Late(TcpWait::Write))
            }
        }
    }

    /// Counts responses that cannot be sent any more.
    fn broken(&self) -> End {
        self.shared.counters.add(Event::SendFailed(self.client.transport));
        End::Client
    }
}

/// The events that end a wait for octets though none come. Both stay armed while octets come and go: setting
/// a timer for every message would cost as much as answering it.
struct Interruptions<'a, C> {
    alarm: Pin<&'a mut Sleep>,
    closing: Pin<&'a mut C>,
    /// Sees without waiting whether the server stops.
    observer: watch::Receiver<bool>,
    /// True where both have been asked to wake this task.
    armed: bool,
}

impl<C> Interruptions<'_, C> {
    /// Tells whether both will wake this task, and neither has: a wake-up that came together with octets
    /// does not come again.
    fn are_quiet(&self) -> bool {
        self.armed && !self.alarm.is_elapsed() && matches!(self.observer.has_changed(), Ok(false))
    }
}

/// The octets that an open connection may keep of its buffer while nothing is in it.
const KEPT: usize = 1024;

/// Responses are written once they are this many octets together: with the largest message on
/// top, what a client that does not read makes us hold.
const WRITE_SIZE: usize = 16 * 1024;

/// The octets that are read from a connection at once.
const READ_SIZE: usize = 16 * 1024;

/// The octets of a length prefix (RFC 1035 section 4.2.2).
const PREFIX: usize = 2;

/// The buffers where a thread reads, and where it answers.
struct Work {
    input: Box<[u8]>,
    output: Box<[u8]>,
}

thread_local! {
    /// Never held over an await.
    static WORK: RefCell<Work> = RefCell::new(Work {
        input: vec![0; READ_SIZE].into(),
        output: vec![0; WRITE_SIZE + PREFIX + MAX_MESSAGE].into(),
    });
}

/// The first message in what came, without its length; `None` until all of it is there.
fn first_message(received: &[u8]) -> Option<&[u8]> {
    let (prefix, rest) = received.split_first_chunk::<PREFIX>()?;
    rest.get(..usize::from(u16::from_be_bytes(*prefix)))
}

/// Messages with their responses; the last may have none.
fn exchanges<'a>(
    (peer, server): (SocketAddr, SocketAddr),
    client: Client,
    messages: &'a [u8],
    responses: &'a [u8],
) -> impl Iterator<Item = Exchange<'a>> + Clone {
    let mut responses = whole_messages(responses);
    whole_messages(messages).map(move |query| {
        let response = responses.next().unwrap_or_default();
        Exchange { client: peer, server, transport: client.transport, query, response }
    })
}

/// All messages that came whole, in their order.
fn whole_messages(mut received: &[u8]) -> impl Iterator<Item = &[u8]> + Clone {
    std::iter::from_fn(move || {
        let message = first_message(received)?;
        received = received.get(PREFIX + message.len()..)?;
        Some(message)
    })
}

/// Puts a response behind its length: RFC 7766 section 8 wants both in one write. Returns how many
/// octets that makes; 0 where `answer` gives no response.
fn framed(room: &mut [u8], answer: impl FnOnce(&mut [u8]) -> usize) -> usize {
    let Some((prefix, rest)) = room.split_first_chunk_mut::<PREFIX>() else { return 0 };
    let Some(out) = rest.get_mut(..MAX_MESSAGE) else { return 0 };
    match u16::try_from(answer(out)) {
        Ok(length @ 1..) => {
            *prefix = length.to_be_bytes();
            PREFIX + usize::from(length)
        }
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use tokio::io::AsyncReadExt;

    use super::*;
    use crate::query::client::Transport;
    use crate::query::counters::CounterSet;
    use crate::query::transport::testing::{Echo, Told, Witness, echoed, message};

    /// A stream of memory, which takes some dozen octets until they are read.
    #[tokio::test]
    async fn rfc7766_a_conversation_needs_a_stream_and_nothing_of_tcp() {
        let (limits, counters) = (TcpLimits::default(), CounterSet::new());
        let gate = Arc::new(Gate::new(limits.clone()));
        let client = Client { address: IpAddr::from([127, 0, 0, 1]), transport: Transport::Tcp };
        let (place, _) = gate.enter(client.address);
        let shared =
            Arc::new(ConnectionContext { responder: Arc::new(Echo), counters: counters.register(), limits, gate });
        let (mut ours, theirs) = tokio::io::duplex(50);
        let stopping = watch::Sender::new(false);
        let conversation = tokio::spawn(Connection::new(theirs, client, shared, place).run(stopping.subscribe()));
        for id in 0..20 {
            let asked = message(id, b"some words");
            let framed = [&(asked.len() as u16).to_be_bytes(), &asked[..]].concat();
            ours.write_all(&framed).await.expect("written");
            let length = ours.read_u16().await.expect("a length");
            let mut response = vec![0; usize::from(length)];
            ours.read_exact(&mut response).await.expect("a response");
            assert_eq!(response, echoed(id, b"some words", client.address));
        }
        drop(ours);
        conversation.await.expect("ended");
        assert_eq!(counters.total().get(Event::SendFailed(Transport::Tcp)), 0);
    }

    #[tokio::test]
    async fn who_watches_is_told_of_each_message_with_its_response() {
        let limits = TcpLimits::default();
        let gate = Arc::new(Gate::new(limits.clone()));
        let ends = ["192.0.2.1:5353", "192.0.2.53:53"].map(|end| end.parse::<SocketAddr>().expect("an address"));
        let client = Client { address: ends[0].ip(), transport: Transport::Tcp };
        let (place, _) = gate.enter(client.address);
        let (responder, counters) = (Arc::new(Witness::watching()), CounterSet::new().register());
        let shared = Arc::new(ConnectionContext { responder: responder.clone(), counters, limits, gate });
        let (mut ours, theirs) = tokio::io::duplex(4096);
        for asked in [message(1, b"a"), message(2, b"b"), b"short".to_vec()] {
            ours.write_all(&[&(asked.len() as u16).to_be_bytes(), &asked[..]].concat()).await.expect("written");
        }
        let stopping = watch::Sender::new(false);
        let connection = Connection::new(theirs, client, shared, place).between(ends[0], ends[1]);
        connection.run(stopping.subscribe()).await; // until what gets no response
        let saw = |told: &Told| matches!(told, Told::Saw(..));
        let told: Vec<Told> = responder.told().into_iter().filter(saw).collect();
        let short = u16::from_be_bytes(*b"sh");
        let expected = [(1, Some(1)), (2, Some(2)), (short, None)].map(|(id, of)| Told::Saw(ends[0], ends[1], id, of));
        assert_eq!(told, expected);
    }

    #[tokio::test]
    async fn whole_messages_of_one_read_are_told_before_the_first_is_answered() {
        let limits = TcpLimits { responses_per_write: 3, ..TcpLimits::default() };
        let gate = Arc::new(Gate::new(limits.clone()));
        let client = Client { address: IpAddr::from([127, 0, 0, 1]), transport: Transport::Tcp };
        let (place, _) = gate.enter(client.address);
        let (responder, counters) = (Arc::new(Witness::default()), CounterSet::new().register());
        let shared = Arc::new(ConnectionContext { responder: responder.clone(), counters, limits, gate });
        let (mut ours, theirs) = tokio::io::duplex(4096);
        let framed = |id| {
            let asked = message(id, b"");
            [&(asked.len() as u16).to_be_bytes(), &asked[..]].concat()
        };
        let mut came: Vec<u8> = (1..=5).flat_map(framed).collect();
        let rest = came.split_off(came.len() - 1);
        ours.write_all(&came).await.expect("written");
        let stopping = watch::Sender::new(false);
        let conversation = tokio::spawn(Connection::new(theirs, client, shared, place).run(stopping.subscribe()));
        for _ in 1..=4 {
            let length = ours.read_u16().await.expect("a length");
            ours.read_exact(&mut vec![0; usize::from(length)]).await.expect("a response");
        }
        ours.write_all(&rest).await.expect("written");
        ours.shutdown().await.expect("shut down");
        conversation.await.expect("ended");
        let (expects, answers) = (|ids: &[u16]| Told::Expect(ids.to_vec()), Told::Answer);
        let told = [expects(&[1, 2, 3]), answers(1), answers(2), answers(3), expects(&[4]), answers(4)];
        assert_eq!(responder.told()[..6], told);
        assert_eq!(responder.told()[6..], [expects(&[5]), answers(5)], "once it is whole");
    }
}
