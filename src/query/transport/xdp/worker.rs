//! One thread and its AF_XDP socket: receives a batch, answers each packet in its frame, sends them.
//!
//! In: packets of one receive queue. Out: replies, through the same queue, to the hardware address they
//! came from. Counts what the UDP threads count, in the same way; an error or a panic costs one batch.

use std::io;
use std::net::SocketAddr;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::headers::{self, Flaw, QueryPacket};
use super::socket::{Packet, XdpSocket};
use crate::query::client::{Client, Transport};
use crate::query::counters::{Counters, DropReason, Event};
use crate::query::transport::{Complaint, Exchange, MAX_UDP_RESPONSE, Responder, pin_this_thread};

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
        let watched_since = R::watches(&batch).then(Instant::now);
        let mut answered = 0;
        // What came while others were answered is told and answered in the same batch.
        while let most @ 1.. = socket.waiting().min(BATCH - answered) {
            R::expect(&batch, socket.packets().take(most).filter_map(headers::message_at_a_glance));
            let done = match watched_since {
                None => socket
                    .answer(most, |packet| answer_one::<R>(&batch, packet, response, *mtu, counters, |_, _, _| {})),
                Some(began) => socket.answer(most, |packet| {
                    answer_one::<R>(&batch, packet, response, *mtu, counters, |asked, packet, response| {
                        let exchange = exchange(asked, packet, response);
                        R::saw(&batch, began.elapsed(), std::iter::once(exchange));
                    })
                }),
            };
            answered += done.received;
            for _ in 0..done.lost {
                counters.add(Event::SendFailed(Transport::Udp));
            }
        }
        let before = received.load(Ordering::Relaxed);
        received.store(before.wrapping_add(answered as u64), Ordering::Relaxed);
        answered
    }
}

/// Answers the packet in its frame. The response is written elsewhere first, and copied: that costs less than
/// a frame of its own would, whose octets are in no cache. In between `watch` is told of the packet and the response.
#[inline]
fn answer_one<R: Responder>(
    batch: &R::Batch<'_>,
    packet: Packet<'_>,
    response: &mut [u8; MAX_UDP_RESPONSE],
    mtu: usize,
    counters: &Counters,
    watch: impl FnOnce(&QueryPacket, &[u8], &[u8]),
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
    let client = Client { address: asked.client(room), transport: Transport::Udp };
    let most = mtu.saturating_sub(headers::overhead(&asked)).min(MAX_UDP_RESPONSE);
    let message = room.get(asked.message.clone()).unwrap_or_default();
    let length = R::answer(batch, message, client, response.get_mut(..most).unwrap_or_default(), counters);
    let response = response.get(..length).unwrap_or_default();
    watch(&asked, room, response);
    if response.is_empty() { 0 } else { headers::reply(room, &asked, response) }
}

fn exchange<'a>(asked: &QueryPacket, packet: &'a [u8], response: &'a [u8]) -> Exchange<'a> {
    Exchange {
        client: SocketAddr::new(asked.client(packet), asked.port),
        server: asked.server(packet),
        transport: Transport::Udp,
        query: packet.get(asked.message.clone()).unwrap_or_default(),
        response,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::counters::CounterSet;
    use crate::query::transport::testing::{Told, Witness, message};
    use crate::query::transport::xdp::socket::testing;

    /// An IPv4 packet with this message and no checksum over UDP.
    fn packet(message: &[u8]) -> Vec<u8> {
        let (datagram, total) = ((8 + message.len()) as u16, (28 + message.len()) as u16);
        let [d0, d1, t0, t1] = [datagram.to_be_bytes(), total.to_be_bytes()].concat()[..] else { unreachable!() };
        let mut ip = [0x45, 0, t0, t1, 0, 0, 0, 0, 64, 17, 0, 0, 192, 0, 2, 1, 192, 0, 2, 53];
        let sum: u32 = ip.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1])).sum();
        let [c0, c1] = (!((sum & 0xffff) + (sum >> 16)) as u16).to_be_bytes();
        (ip[10], ip[11]) = (c0, c1);
        [&[2; 12][..], &[8, 0], &ip, &[0x14, 0xe9, 0, 53, d0, d1, 0, 0], message].concat()
    }

    fn worker(packets: &[Vec<u8>], responder: &Arc<Witness>) -> Worker<Witness> {
        Worker {
            socket: testing::received(packets),
            received: Arc::default(),
            cpu: None,
            mtu: 1500,
            responder: responder.clone(),
            counters: CounterSet::new().register(),
            stop: Arc::default(),
            complaint: Complaint::default(),
        }
    }

    #[test]
    fn who_watches_is_told_of_each_packet_with_its_response() {
        let packets = [packet(&message(7, b"q")), packet(b"short"), packet(&message(8, b"r"))];
        let responder = Arc::new(Witness::watching());
        worker(&packets, &responder).answer_batch(&mut [0; MAX_UDP_RESPONSE]);
        let (client, server) = ("192.0.2.1:5353".parse().expect("it"), "192.0.2.53:53".parse().expect("it"));
        let short = u16::from_be_bytes(*b"sh");
        let saw = |told: &Told| matches!(told, Told::Saw(..));
        let expected = [(7, Some(7)), (short, None), (8, Some(8))].map(|(id, of)| Told::Saw(client, server, id, of));
        assert_eq!(responder.told().into_iter().filter(saw).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn all_packets_of_a_batch_are_told_before_the_first_is_answered() {
        let packets: Vec<Vec<u8>> = (0..70).map(|id| packet(&message(id, b"q"))).collect();
        let responder = Arc::new(Witness::default());
        let mut worker = worker(&packets, &responder);
        let mut response = [0; MAX_UDP_RESPONSE];
        assert_eq!([(); 3].map(|()| worker.answer_batch(&mut response)), [64, 6, 0]);
        let batch =
            |ids: std::ops::Range<u16>| [Told::Expect(ids.clone().collect())].into_iter().chain(ids.map(Told::Answer));
        assert_eq!(responder.told(), batch(0..64).chain(batch(64..70)).collect::<Vec<_>>());
        assert_eq!(worker.received.load(Ordering::Relaxed), 70);
    }
}
