//! The sockets: how packets come in and responses leave, and what a client may take of them.
//!
//! ```text
//!    recvmmsg ─▶ udp ─┐                          ┌─▶ sendmmsg
//!    AF_XDP ───▶ xdp ─┼─▶ Responder::answer() ───┼─▶ AF_XDP
//!    accept ───▶ tcp ─┘                          └─▶ length-prefixed write
//! ```
//!
//! What is inside a packet is the [`Responder`]'s business; here are batches, deadlines and caps.
//!
//! - [`udp`]: threads that answer datagrams in batches; `datagrams` holds its system calls
//! - [`xdp`]: the same past the kernel's stack, where an interface is configured so
//! - [`stream`]: conversations over connections (RFC 7766) and their limits
//! - [`tcp`]: threads that accept connections
//! - [`rate`]: how many responses over UDP one network gets

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use crate::model::Prefix;

use super::client::{Client, Transport};
use super::counters::Counters;

mod datagrams;
mod options;
pub mod rate;
pub mod stream;
pub mod tcp;
pub mod udp;
pub mod xdp;

/// Answers packets.
pub trait Responder: Send + Sync + 'static {
    /// The data that a batch of packets is answered from, such as the loaded snapshot.
    type Batch<'a>
    where
        Self: 'a;

    /// Called once per batch of packets.
    fn begin(&self) -> Self::Batch<'_>;

    /// Told of the packets of a batch before they are answered, so that what they ask for can be fetched from
    /// memory meanwhile.
    fn expect<'p>(_batch: &Self::Batch<'_>, _packets: impl Iterator<Item = &'p [u8]>) {}

    /// Writes the response to `packet` into `out` and returns its length; 0 = stay silent.
    ///
    /// `out` holds [`MAX_UDP_RESPONSE`] octets for UDP and [`MAX_MESSAGE`] for TCP; what is in it
    /// before is garbage. Runs on the packet path: must not block.
    fn answer(batch: &Self::Batch<'_>, packet: &[u8], client: Client, out: &mut [u8], counters: &Counters) -> usize;

    /// Tells whether [`Responder::saw`] is to be told of what this batch asks: asked once per batch.
    fn watches(_batch: &Self::Batch<'_>) -> bool {
        false
    }

    /// Told of what was asked and answered, where the batch is watched. `took`: the time since its messages were
    /// received. Runs on the packet path: must not block.
    fn saw<'e>(_batch: &Self::Batch<'_>, _took: Duration, _exchanges: impl Iterator<Item = Exchange<'e>> + Clone) {}
}

/// A message that came, and what was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exchange<'a> {
    pub client: SocketAddr,
    /// The address that was asked.
    pub server: SocketAddr,
    pub transport: Transport,
    /// Over UDP as much of it as was read.
    pub query: &'a [u8],
    /// Empty: none was given.
    pub response: &'a [u8],
}

/// The largest response over UDP, in octets: fits IPv6's minimum MTU of 1,280 with its headers,
/// so that it is never fragmented (RFC 9715 section 3.2).
pub const MAX_UDP_RESPONSE: usize = 1232;

/// The largest DNS message, in octets (RFC 1035 section 4.2.2).
pub const MAX_MESSAGE: usize = 65_535;

/// Lengths of the networks that share a limit, of IPv4 and of IPv6: what a site of any size has at least.
const CLIENT_NETWORK_LENGTHS: [u8; 2] = [24, 56];

/// The network of a client, as limits have it.
fn client_network(client: IpAddr) -> Prefix {
    let [v4, v6] = CLIENT_NETWORK_LENGTHS;
    Prefix::containing(client, if client.is_ipv4() { v4 } else { v6 })
}

/// Has the calling thread run on one CPU alone, or says in the log that it does not.
fn pin_this_thread(cpu: usize) {
    if let Err(error) = options::pin_this_thread(cpu) {
        let name = std::thread::current().name().unwrap_or_default().to_owned();
        tracing::warn!("`cpus`: thread {name} cannot have CPU {cpu} ({error}), and runs on any");
    }
}

/// Takes the sockets that are bound to an address out of those that another process has handed over; with port 0, to the
/// port that the first of its IP address has.
fn take_bound(handed: &mut Vec<socket2::Socket>, address: std::net::SocketAddr) -> Vec<socket2::Socket> {
    let bound = |socket: &socket2::Socket| socket.local_addr().ok().and_then(|bound| bound.as_socket());
    let fits =
        |of: std::net::SocketAddr| of.ip() == address.ip() && (address.port() == 0 || of.port() == address.port());
    let Some(wanted) = handed.iter().filter_map(bound).find(|of| fits(*of)) else { return Vec::new() };
    handed.extract_if(.., |socket| bound(socket) == Some(wanted)).collect()
}

/// Lets a repeating complaint into the log at most once a second.
#[derive(Debug, Default)]
struct Complaint {
    last: Option<Instant>,
    suppressed: u64,
}

impl Complaint {
    /// Logs what went wrong, with how often it was not said since the last time.
    fn say(&mut self, what: &str, error: &dyn std::fmt::Display) {
        if self.last.is_some_and(|last| last.elapsed() < Duration::from_secs(1)) {
            self.suppressed = self.suppressed.saturating_add(1);
            return;
        }
        tracing::warn!(repeated = self.suppressed, "{what}: {error}");
        *self = Complaint { last: Some(Instant::now()), suppressed: 0 };
    }
}

#[cfg(test)]
pub(crate) mod testing {
    //! A responder that needs no zones.

    use std::net::IpAddr;
    use std::sync::Mutex;

    use super::*;
    use crate::query::counters::{DropReason, Event, QueryTypeGroup};

    /// Answers a message with itself, QR set, and the client's address as text behind it, cut to fit.
    /// After the header `big` asks for a response as large as fits, `boom` for a panic.
    pub struct Echo;

    impl Responder for Echo {
        type Batch<'a> = ();

        fn begin(&self) {}

        fn answer(_: &(), packet: &[u8], client: Client, out: &mut [u8], counters: &Counters) -> usize {
            if packet.len() < 12 {
                counters.add(Event::Dropped(DropReason::Short));
                return 0;
            }
            assert_ne!(&packet[12..], b"boom", "asked to panic");
            let mut response = packet.to_vec();
            response[2] |= 0x80;
            response.extend(client.address.to_string().bytes());
            if &packet[12..] == b"big" {
                response.resize(out.len(), b'.');
            }
            response.truncate(out.len());
            counters.add(Event::Response(client.transport, QueryTypeGroup::None, 0));
            out[..response.len()].copy_from_slice(&response);
            response.len()
        }
    }

    /// Answers as [`Echo`], and keeps what it was told of messages, by their IDs.
    #[derive(Default)]
    pub struct Witness {
        told: Mutex<Vec<Told>>,
        /// It wants to be told of exchanges.
        watches: bool,
    }

    #[derive(Clone, Debug, PartialEq, Eq)]
    pub enum Told {
        /// These are to be answered.
        Expect(Vec<u16>),
        /// This one is.
        Answer(u16),
        /// This was: from, to, and the response's ID; `None`: it got none.
        Saw(SocketAddr, SocketAddr, u16, Option<u16>),
    }

    impl Witness {
        /// One that wants to be told of exchanges.
        pub fn watching() -> Witness {
            Witness { watches: true, ..Witness::default() }
        }

        /// All it was told so far, but for messages expected where there are none.
        pub fn told(&self) -> Vec<Told> {
            self.told.lock().expect("told").iter().filter(|told| **told != Told::Expect(Vec::new())).cloned().collect()
        }

        fn hear(&self, told: Told) {
            self.told.lock().expect("told").push(told);
        }
    }

    impl Responder for Witness {
        type Batch<'a> = &'a Witness;

        fn begin(&self) -> &Witness {
            self
        }

        fn expect<'p>(batch: &&Witness, packets: impl Iterator<Item = &'p [u8]>) {
            batch.hear(Told::Expect(packets.map(id).collect()));
        }

        fn answer(batch: &&Witness, packet: &[u8], client: Client, out: &mut [u8], counters: &Counters) -> usize {
            batch.hear(Told::Answer(id(packet)));
            Echo::answer(&(), packet, client, out, counters)
        }

        fn watches(batch: &&Witness) -> bool {
            batch.watches
        }

        fn saw<'e>(batch: &&Witness, _: Duration, exchanges: impl Iterator<Item = Exchange<'e>> + Clone) {
            for Exchange { client, server, query, response, .. } in exchanges {
                let answer = (!response.is_empty()).then(|| id(response));
                batch.hear(Told::Saw(client, server, id(query), answer));
            }
        }
    }

    fn id(message: &[u8]) -> u16 {
        message.first_chunk().map_or(0, |id| u16::from_be_bytes(*id))
    }

    /// A message of this ID and these octets after its header.
    pub fn message(id: u16, body: &[u8]) -> Vec<u8> {
        [&id.to_be_bytes()[..], &[0; 10], body].concat()
    }

    /// The response of [`Echo`] to [`message`].
    pub fn echoed(id: u16, body: &[u8], client: IpAddr) -> Vec<u8> {
        let mut response = message(id, &[body, client.to_string().as_bytes()].concat());
        response[2] = 0x80;
        response
    }
}
