//! One thread and its AF_XDP socket: receives a batch, answers each packet in its frame, sends them.
//!
//! In: packets of one receive queue. Out: replies, through the same queue, to the hardware address they
//! came from. Counts what the UDP threads count, in the same way; an error or a panic costs one batch.

use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use super::headers::{self, Flaw};
use super::socket::{Packet, XdpSocket};
use crate::query::client::{Client, Transport};
use crate::query::counters::{Counters, DropReason, Event};
use crate::query::transport::{Complaint, MAX_UDP_RESPONSE, Responder, pin_this_thread};

/// Packets answered before they are sent: few enough to stay in the first-level cache with what they
/// are answered from, many enough that the system call between batches does not show.
const BATCH: usize = 64;

/// The time that a thread waits in one system call: the longest that stopping takes.
const WAIT: Duration = Duration::from_millis(250);

/// The time that a thread rests after an error that may come back at once.
const BACKOFF: Duration = Duration::from_millis(100);

/// The means that one thread needs to answer.
pub(super) struct Worker<R> {
    pub(super) socket: XdpSocket,
    /// Packets received, which only this thread counts.
    pub(super) received: Arc<AtomicU64>,
    /// The CPU that the thread runs on; `None`: any.
    pub(super) cpu: Option<usize>,
    /// Octets that an IP packet may have on this interface.
    pub(super) mtu: usize,
    pub(super) responder: Arc<R>,
    pub(super) counters: Arc<Counters>,
    pub(super) stop: Arc<AtomicBool>,
    pub(super) complaint: Complaint,
}

impl<R: Responder> Worker<R> {
    pub(super) fn run(mut self) {
        if let Some(cpu) = self.cpu {
            pin_this_thread(cpu);
        }
        while !self.stop.load(Ordering::Relaxed) {
            // The packet at which a panic happened is lost; nothing else is touched.
            if panic::catch_unwind(AssertUnwindSafe(|| self.serve())).is_err() {
                self.counters.add(Event::Panicked);
                thread::sleep(BACKOFF);
            }
        }
    }

    fn serve(&mut self) {
        let mut response = [0; MAX_UDP_RESPONSE];
        while !self.stop.load(Ordering::Relaxed) {
            let done = match self.answer_batch(&mut response) {
                0 => self.socket.wait(WAIT),
                _ => self.socket.flush(),
            };
            match done {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                    self.counters.add(Event::SocketError(Transport::Udp));
                    self.complaint.say("AF_XDP failed, still trying", &error);
                    thread::sleep(BACKOFF);
                }
                _ => {}
            }
        }
    }

    /// Answers what there is to answer, and says how many packets that was.
    fn answer_batch(&mut self, response: &mut [u8; MAX_UDP_RESPONSE]) -> usize {
        let Worker { socket, received, responder, counters, mtu, .. } = self;
        let batch = responder.begin();
        let done = socket.answer(BATCH, |packet| answer_one::<R>(&batch, packet, response, *mtu, counters));
        let before = received.load(Ordering::Relaxed);
        received.store(before.wrapping_add(done.received as u64), Ordering::Relaxed);
        for _ in 0..done.lost {
            counters.add(Event::SendFailed(Transport::Udp));
        }
        done.received
    }
}

/// Answers the packet in its frame. The response is written elsewhere first, and copied: that costs less than
/// a frame of its own would, whose octets are in no cache.
#[inline]
fn answer_one<R: Responder>(
    batch: &R::Batch<'_>,
    packet: Packet<'_>,
    response: &mut [u8; MAX_UDP_RESPONSE],
    mtu: usize,
    counters: &Counters,
) -> usize {
    let Packet { room, length } = packet;
    let asked = match headers::read(room.get(..length).unwrap_or_default()) {
        Ok(asked) => asked,
        Err(flaw) => return dropped(counters, flaw),
    };
    // A reply to port 0 reaches nobody, or a reflector's victim.
    if asked.port == 0 {
        counters.add(Event::Dropped(DropReason::SourcePort));
        return 0;
    }
    counters.add(Event::Query(Transport::Udp));
    let client = Client { address: asked.client, transport: Transport::Udp };
    let most = mtu.saturating_sub(headers::overhead(&asked)).min(MAX_UDP_RESPONSE);
    let message = room.get(asked.message.clone()).unwrap_or_default();
    let length = R::answer(batch, message, client, response.get_mut(..most).unwrap_or_default(), counters);
    match response.get(..length) {
        Some(response) if length > 0 => headers::reply(room, &asked, response),
        _ => 0,
    }
}

#[cold]
fn dropped(counters: &Counters, flaw: Flaw) -> usize {
    counters.add(Event::Dropped(match flaw {
        Flaw::Header => DropReason::Header,
        Flaw::Checksum => DropReason::Checksum,
    }));
    0
}
