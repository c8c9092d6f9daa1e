//! Any octets, in any pieces, from a client over TCP, who reads in any pieces: each whole message gets its
//! response behind its length, in order, until one that deserves none; then the server is done.
//!
//! The first octet picks how the stream is cut. What is expected is framed anew, by twenty lines.

#![no_main]

use std::io;
use std::pin::Pin;
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll};

use libfuzzer_sys::fuzz_target;
use meridian::query::counters::{CounterSet, Counters};
use meridian::query::transport::stream::{Connection, ConnectionContext, Gate, TcpLimits};
use meridian::query::transport::{MAX_MESSAGE, Responder};
use meridian::query::{Client, Transport, answer};
use meridian::state::Snapshot;
use meridian_fuzz::{client, packets, pick};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::watch;

static SNAPSHOT: LazyLock<Arc<Snapshot>> = LazyLock::new(|| packets::snapshots().remove(0));

struct Engine;

impl Responder for Engine {
    type Batch<'a> = ();

    fn begin(&self) {}

    fn answer(_: &(), packet: &[u8], client: Client, out: &mut [u8], counters: &Counters) -> usize {
        answer(&SNAPSHOT, packet, client, out, counters)
    }
}

/// A client who sends and reads a few octets at a time, and has others wait now and then.
struct Cut<'a> {
    rest: &'a [u8],
    received: Vec<u8>,
    chance: fastrand::Rng,
    most: usize,
}

impl Cut<'_> {
    fn waits(&mut self, cx: &mut Context<'_>) -> bool {
        let waits = self.chance.u8(..4) == 0;
        if waits {
            cx.waker().wake_by_ref();
        }
        waits
    }
}

impl AsyncRead for &mut Cut<'_> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.waits(cx) {
            return Poll::Pending;
        }
        let most = self.most.min(buffer.remaining()).min(self.rest.len());
        let (now, rest) = self.rest.split_at(if most == 0 { 0 } else { self.chance.usize(1..=most) });
        buffer.put_slice(now);
        self.rest = rest;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for &mut Cut<'_> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        if self.waits(cx) {
            return Poll::Pending;
        }
        let most = self.most.min(octets.len());
        let taken = if most == 0 { 0 } else { self.chance.usize(1..=most) };
        self.received.extend_from_slice(&octets[..taken]);
        Poll::Ready(Ok(taken))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.waits(cx) { Poll::Pending } else { Poll::Ready(Ok(())) }
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((chosen, sent)) = pick(data) else { return };
    let client = Client { address: client(chosen), transport: Transport::Tcp };
    let chance = fastrand::Rng::with_seed(chosen as u64);
    let mut stream = Cut { rest: sent, received: Vec::new(), chance, most: [1, 3, 40, 1_000][chosen % 4] };
    let counters = CounterSet::new();
    // Its timers never ring: time stands still while something can be done.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime").block_on(async {
        let limits = TcpLimits { responses_per_write: 1 + chosen % 5, ..TcpLimits::default() };
        let gate = Arc::new(Gate::new(limits.clone()));
        let (place, yielded) = gate.enter(client.address);
        assert!(yielded.is_none(), "the first has a place of its own");
        let shared = ConnectionContext {
            responder: Arc::new(Engine),
            counters: counters.register(),
            limits,
            gate: gate.clone(),
        };
        let closing = watch::Sender::new(false);
        Connection::new(&mut stream, client, Arc::new(shared), place).run(closing.subscribe()).await;
        assert_eq!(gate.open(), 0, "the place is given back");
    });
    assert!(stream.received == expected(sent, client), "{:02x?}", stream.received);
});

fn expected(mut sent: &[u8], client: Client) -> Vec<u8> {
    let (counters, mut out, mut all) = (CounterSet::new().shared(), vec![0; MAX_MESSAGE], Vec::new());
    while let Some((length, rest)) = sent.split_first_chunk::<2>() {
        let Some((message, rest)) = rest.split_at_checked(u16::from_be_bytes(*length).into()) else { break };
        let length = answer(&SNAPSHOT, message, client, &mut out, &counters);
        if length == 0 {
            break;
        }
        all.extend((length as u16).to_be_bytes());
        all.extend(&out[..length]);
        sent = rest;
    }
    all
}
