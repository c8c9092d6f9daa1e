//! A batch of datagrams, received and sent with one system call each.
//!
//! In: a bound UDP socket. Out: packets to answer, and the answers on their way, each from the
//! address that was asked.
//!
//! ```text
//!    recvmmsg ─▶ packets[i] ─▶ answer ─▶ replies, one behind the other ─▶ sendmmsg
//!                slots[i]: peer, asked address ───────────────────────────┘
//! ```
//!
//! What the kernel reads per datagram (headers, addresses, replies) lies close together: a batch
//! of it stays in the first-level cache.

use std::alloc::{self, Layout};
use std::io;
use std::mem::{self, offset_of};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, AsRawFd};
use std::ptr::{self, NonNull};
use std::slice;

use libc::{c_int, c_void, in_pktinfo, in6_pktinfo, iovec, mmsghdr, sockaddr_in, sockaddr_in6};

use super::MAX_UDP_RESPONSE;

/// Longer datagrams are cut, and marked so. Queries take some hundred octets; cookies, padding
/// (RFC 8467) and TSIG stay far below this.
pub(super) const MAX_UDP_QUERY: usize = 4096;

/// The most datagrams in one batch: what `UIO_MAXIOV` lets `recvmmsg` take is more than is useful.
pub(super) const MAX_BATCH: usize = 1024;

/// The buffers for a batch of datagrams and the headers that describe them to the kernel.
///
/// The headers point into the other members, and the kernel writes there: those are reached by
/// raw pointers alone.
pub(super) struct Datagrams {
    slots: Memory<DatagramSlot>,
    packets: Memory<Packet>,
    replies: Memory<ReplyRoom>,
    incoming: Box<[mmsghdr]>,
    outgoing: Box<[mmsghdr]>,
    /// The number of octets of control data that may come with a datagram: 0 where the asked address is known.
    control_length: usize,
    /// The number of `incoming` that hold a datagram.
    received: usize,
    /// The number of `outgoing` that hold a reply.
    queued: usize,
    /// The number of octets of `replies` that are taken.
    replied: usize,
    /// The number of `outgoing` that were sent, or tried to be, since the last receive.
    sent: usize,
}

/// One datagram that came in.
pub(super) struct Received<'a> {
    pub(super) packet: &'a [u8],
    pub(super) peer: SocketAddr,
    /// The datagram was longer than [`MAX_UDP_QUERY`]; `packet` is its start.
    pub(super) cut: bool,
}

/// One datagram that came in, and what became of it.
pub(super) struct Answered<'a> {
    pub(super) packet: &'a [u8],
    pub(super) peer: SocketAddr,
    /// The address it was sent to; `None`: the one the socket is bound to.
    pub(super) asked: Option<IpAddr>,
    /// Empty: there is none.
    pub(super) reply: &'a [u8],
}

/// The fate of a batch of replies.
#[derive(Debug, Default)]
pub(super) struct Sent {
    pub(super) failed: usize,
    /// The last error, where some failed.
    pub(super) error: Option<io::Error>,
}

/// The addresses that a socket is asked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AskedAddresses {
    /// The one it is bound to: replies leave from there by themselves.
    One,
    /// Any of the machine's: each datagram comes with the address it was sent to
    /// (see [`super::options::report_asked_address`]).
    Any,
}

impl Datagrams {
    /// Room for `batch` datagrams, at most [`MAX_BATCH`].
    pub(super) fn new(batch: NonZeroUsize, asked: AskedAddresses) -> Datagrams {
        let batch = batch.get().min(MAX_BATCH);
        // SAFETY: all three are plain data for which zeros are valid.
        let (slots, packets, replies) = unsafe { (Memory::new(batch), Memory::new(batch), Memory::new(batch)) };
        // SAFETY: a `mmsghdr` of zeros is valid: null pointers and lengths of 0.
        let headers = || (0..batch).map(|_| unsafe { mem::zeroed::<mmsghdr>() }).collect();
        let control_length = if asked == AskedAddresses::Any { size_of::<Control>() } else { 0 };
        let (incoming, outgoing) = (headers(), headers());
        let mut datagrams = Datagrams {
            slots,
            packets,
            replies,
            incoming,
            outgoing,
            control_length,
            received: 0,
            queued: 0,
            replied: 0,
            sent: 0,
        };
        (0..batch).for_each(|index| datagrams.point(index));
        datagrams
    }

    /// Waits for a datagram, takes all that are there, up to a batch. Replies not sent are forgotten.
    ///
    /// Once the socket has been shut down, what is left comes without waiting, then nothing.
    pub(super) fn receive(&mut self, socket: &impl AsFd) -> io::Result<()> {
        self.sent = 0;
        // The kernel wrote lengths only where it put a datagram.
        for index in 0..mem::take(&mut self.received) {
            self.arm(index);
        }
        let (fd, room) = (socket.as_fd().as_raw_fd(), self.incoming.len());
        // SAFETY: the descriptor is open while `socket` is borrowed, and each header is armed:
        // it points to buffers of the lengths it says, which live as long as `self`.
        let count = unsafe {
            libc::recvmmsg(fd, self.incoming.as_mut_ptr(), room as u32, libc::MSG_WAITFORONE, ptr::null_mut())
        };
        self.received = usize::try_from(count).map_err(|_| io::Error::last_os_error())?.min(room);
        Ok(())
    }

    /// How many the last [`Datagrams::receive`] brought.
    pub(super) fn received(&self) -> usize {
        self.received
    }

    /// The datagrams received, cut as they may be.
    pub(super) fn packets(&self) -> impl Iterator<Item = &[u8]> + Clone {
        (0..self.received).map(|index| {
            // SAFETY: initialized (zeroed, or written by the kernel), and nobody writes to it while `self` is borrowed.
            let packet = unsafe { &(*self.packets.at(index)).octets };
            packet.get(..self.incoming[index].msg_len as usize).unwrap_or(packet)
        })
    }

    /// Hands each received datagram, with room for [`MAX_UDP_RESPONSE`] octets, to `answer`, and
    /// queues as many octets as it returns as the reply; none for 0 or more than there is room for.
    pub(super) fn answer(&mut self, mut answer: impl FnMut(Received<'_>, &mut [u8]) -> usize) {
        self.queued = 0;
        self.replied = 0;
        for index in 0..self.received {
            let header = &self.incoming[index];
            // Of a socket that was shut down comes nothing, from nobody.
            if header.msg_hdr.msg_namelen == 0 {
                continue;
            }
            // SAFETY: the kernel wrote the peer's address into this slot.
            let Some(peer) = (unsafe { read_peer(&raw const (*self.slots.at(index)).peer) }) else { continue };
            // SAFETY: initialized (zeroed, or written by the kernel), and no other reference to it exists.
            let packet = unsafe { &(*self.packets.at(index)).octets };
            let packet = packet.get(..header.msg_len as usize).unwrap_or(packet);
            let cut = header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0;
            let length = answer(Received { packet, peer, cut }, self.reply_room());
            if (1..=MAX_UDP_RESPONSE).contains(&length) {
                self.queue(index, length);
            }
        }
    }

    /// Sends all queued replies. One that cannot be sent costs no other; a full send buffer, past
    /// the socket's write timeout, costs all that are left.
    pub(super) fn send(&mut self, socket: &impl AsFd) -> Sent {
        let fd = socket.as_fd().as_raw_fd();
        let queued = mem::take(&mut self.queued);
        self.sent = queued;
        let mut sent = Sent::default();
        let mut next = 0;
        while next < queued {
            let waiting = &mut self.outgoing[next..queued];
            // SAFETY: the descriptor is open while `socket` is borrowed; each header was filled by
            // `queue` since the last `receive` and points into memory that lives as long as `self`.
            let count = unsafe { libc::sendmmsg(fd, waiting.as_mut_ptr(), waiting.len() as u32, 0) };
            // sendmmsg(2): an error is returned only where the first message failed.
            match usize::try_from(count) {
                Ok(count) if count > 0 => next += count,
                _ => {
                    let error = io::Error::last_os_error();
                    match error.kind() {
                        io::ErrorKind::Interrupted => continue,
                        io::ErrorKind::WouldBlock => {
                            sent.failed += queued - next;
                            next = queued;
                        }
                        _ => {
                            sent.failed += 1;
                            next += 1;
                        }
                    }
                    sent.error = Some(error);
                }
            }
        }
        sent
    }

    /// The datagrams received, with the replies that [`Datagrams::send`] sent.
    pub(super) fn answered(&self) -> impl Iterator<Item = Answered<'_>> + Clone {
        // Replies are in the order of what they answer.
        let mut replies = self.outgoing.iter().take(self.sent).peekable();
        (0..self.received).zip(self.packets()).filter_map(move |(index, packet)| {
            let (slot, header) = (self.slots.at(index), &self.incoming[index].msg_hdr);
            if header.msg_namelen == 0 {
                return None;
            }
            // SAFETY: the kernel wrote the peer's address into this slot.
            let peer = unsafe { read_peer(&raw const (*slot).peer) }?;
            // SAFETY: an address is taken, and not read.
            let own = unsafe { (&raw mut (*slot).peer).cast::<c_void>() };
            let reply = replies.next_if(|reply| reply.msg_hdr.msg_name == own).map(|_| {
                // SAFETY: `queue` pointed it at octets of `replies`, which live and stay as long as `self` is borrowed.
                unsafe { slice::from_raw_parts((*slot).sent.iov_base.cast::<u8>(), (*slot).sent.iov_len) }
            });
            // SAFETY: its control data is what the kernel wrote, but for an interface that is not told any more.
            let asked = if self.control_length > 0 { unsafe { asked_address(header) } } else { None };
            Some(Answered { packet, peer, asked, reply: reply.unwrap_or_default() })
        })
    }

    /// The room where the next reply goes.
    fn reply_room(&mut self) -> &mut [u8] {
        assert!(self.queued < self.incoming.len() && self.replied <= self.queued * REPLY_STRIDE);
        // SAFETY: by the assertion there are MAX_UDP_RESPONSE octets from here to the end of the memory.
        // They are initialized, and nothing else refers to them: queued replies end before.
        unsafe { slice::from_raw_parts_mut(self.replies.at(0).cast::<u8>().add(self.replied), MAX_UDP_RESPONSE) }
    }

    /// Points the headers at their slot's memory, once and for all, and makes the first ready.
    fn point(&mut self, index: usize) {
        let slot = self.slots.at(index);
        // SAFETY: the slot is in our memory; but for the iovec that is written, only addresses are taken.
        let (peer, received, sent, control) = unsafe {
            (*slot).received = iovec { iov_base: self.packets.at(index).cast(), iov_len: MAX_UDP_QUERY };
            (&raw mut (*slot).peer, &raw mut (*slot).received, &raw mut (*slot).sent, &raw mut (*slot).control)
        };
        for (header, data) in [(&mut self.incoming[index], received), (&mut self.outgoing[index], sent)] {
            header.msg_hdr.msg_name = peer.cast::<c_void>();
            header.msg_hdr.msg_iov = data;
            header.msg_hdr.msg_iovlen = 1;
            header.msg_hdr.msg_control = if self.control_length > 0 { control.cast() } else { ptr::null_mut() };
        }
        self.arm(index);
    }

    /// Makes a header ready to receive again: the kernel replaces these lengths.
    fn arm(&mut self, index: usize) {
        let header = &mut self.incoming[index].msg_hdr;
        header.msg_namelen = size_of::<Peer>() as u32;
        header.msg_controllen = self.control_length as _;
    }

    /// Makes the next outgoing header send the `length` octets in [`Datagrams::reply_room`] to the
    /// peer of the `index`th datagram.
    fn queue(&mut self, index: usize, length: usize) {
        let slot = self.slots.at(index);
        let asked = &self.incoming[index].msg_hdr;
        // SAFETY: the slot is in our memory, and the replies' memory goes on from here.
        unsafe {
            let reply = self.replies.at(0).cast::<u8>().add(self.replied);
            (*slot).sent = iovec { iov_base: reply.cast(), iov_len: length };
        }
        let header = &mut self.outgoing[self.queued].msg_hdr;
        // SAFETY: only addresses are taken.
        (header.msg_name, header.msg_iov) = unsafe { ((&raw mut (*slot).peer).cast(), &raw mut (*slot).sent) };
        header.msg_namelen = asked.msg_namelen;
        if self.control_length > 0 {
            header.msg_control = asked.msg_control;
            header.msg_controllen = asked.msg_controllen;
            // SAFETY: the control data is what the kernel wrote when it received this slot's datagram.
            unsafe { reply_from_asked_address(header) };
        }
        self.queued += 1;
        self.replied += length.next_multiple_of(CACHE_LINE);
    }
}

/// The memory in which the kernel is told of, and tells of, one datagram: plain data, for which all zeros are valid.
#[repr(C, align(64))]
struct DatagramSlot {
    received: iovec,
    sent: iovec,
    peer: Peer,
    control: Control,
}

/// One query. A cache line longer than needed: were they 4,096 octets apart, the beginnings of
/// all would compete for the same few places of the first-level cache.
#[repr(C, align(64))]
struct Packet {
    octets: [u8; MAX_UDP_QUERY],
    _apart: [u8; CACHE_LINE],
}

/// The room that one reply takes at most.
#[repr(C, align(64))]
struct ReplyRoom([u8; REPLY_STRIDE]);

const CACHE_LINE: usize = 64;
const REPLY_STRIDE: usize = MAX_UDP_RESPONSE.next_multiple_of(CACHE_LINE);

/// Room for either family's socket address. They share where the family stands.
#[repr(C)]
union Peer {
    v4: sockaddr_in,
    v6: sockaddr_in6,
}

const _: () = assert!(offset_of!(sockaddr_in, sin_family) == 0 && offset_of!(sockaddr_in6, sin6_family) == 0);

/// Room for one control message: on wildcard binds, the address a query was sent to.
#[repr(C, align(8))]
struct Control([u8; 40]);

const _: () = assert!(
    // SAFETY: computes a length.
    unsafe { libc::CMSG_SPACE(size_of::<in6_pktinfo>() as u32) as usize } <= size_of::<Control>()
);

/// Values in memory of their own, which are used through raw pointers.
struct Memory<T> {
    first: NonNull<T>,
    count: usize,
}

// SAFETY: it owns its memory, as a box does.
unsafe impl<T: Send> Send for Memory<T> {}

impl<T> Memory<T> {
    /// # Safety
    /// `T` has a size, is valid as zeros, and has nothing to drop.
    unsafe fn new(count: usize) -> Memory<T> {
        let layout = Memory::<T>::layout(count);
        // SAFETY: the layout's size is not zero.
        let first = unsafe { alloc::alloc_zeroed(layout) };
        let Some(first) = NonNull::new(first.cast::<T>()) else { alloc::handle_alloc_error(layout) };
        Memory { first, count }
    }

    fn layout(count: usize) -> Layout {
        Layout::array::<T>(count.clamp(1, MAX_BATCH)).unwrap_or(Layout::new::<T>())
    }

    fn at(&self, index: usize) -> *mut T {
        assert!(index < self.count);
        // SAFETY: the index was checked, so the result stays inside the allocation.
        unsafe { self.first.as_ptr().add(index) }
    }
}

impl<T> Drop for Memory<T> {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with this layout, and `T` has nothing to drop.
        unsafe { alloc::dealloc(self.first.as_ptr().cast(), Memory::<T>::layout(self.count)) };
    }
}

/// `None` for what is no Internet address.
///
/// # Safety
/// `peer` points to an initialized `Peer`.
unsafe fn read_peer(peer: *const Peer) -> Option<SocketAddr> {
    // SAFETY: both variants are plain data, valid for any bits, and begin with the family.
    let (v4, v6) = unsafe { (&(*peer).v4, &(*peer).v6) };
    match c_int::from(v4.sin_family) {
        libc::AF_INET => {
            let address = Ipv4Addr::from(v4.sin_addr.s_addr.to_ne_bytes());
            Some((IpAddr::V4(address), u16::from_be(v4.sin_port)).into())
        }
        libc::AF_INET6 => {
            let address = Ipv6Addr::from(v6.sin6_addr.s6_addr);
            Some((IpAddr::V6(address), u16::from_be(v6.sin6_port)).into())
        }
        _ => None,
    }
}

/// Turns the control data that came with a query into that of its reply: the address asked becomes
/// the source. The interface is left to routing, except where a link-local address needs it.
///
/// # Safety
/// `msg_control` points to `msg_controllen` octets of control data as the kernel wrote them.
unsafe fn reply_from_asked_address(header: &libc::msghdr) {
    // SAFETY: CMSG_FIRSTHDR checks that a header fits; the kernel wrote the data that belongs to its
    // type behind it. Reads and writes are unaligned ones, so alignment does not matter.
    unsafe {
        let control = libc::CMSG_FIRSTHDR(header);
        if control.is_null() {
            return;
        }
        match ((*control).cmsg_level, (*control).cmsg_type) {
            (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                let data = libc::CMSG_DATA(control).cast::<in_pktinfo>();
                let asked = data.read_unaligned();
                data.write_unaligned(in_pktinfo { ipi_ifindex: 0, ..asked });
            }
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                let data = libc::CMSG_DATA(control).cast::<in6_pktinfo>();
                let asked = data.read_unaligned();
                if !Ipv6Addr::from(asked.ipi6_addr.s6_addr).is_unicast_link_local() {
                    data.write_unaligned(in6_pktinfo { ipi6_ifindex: 0, ..asked });
                }
            }
            _ => {}
        }
    }
}

/// The address that a datagram was sent to.
///
/// # Safety
/// `msg_control` points to `msg_controllen` octets of control data as the kernel wrote them.
unsafe fn asked_address(header: &libc::msghdr) -> Option<IpAddr> {
    // SAFETY: as in `reply_from_asked_address`.
    unsafe {
        let control = libc::CMSG_FIRSTHDR(header);
        if control.is_null() {
            return None;
        }
        match ((*control).cmsg_level, (*control).cmsg_type) {
            (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                let asked = libc::CMSG_DATA(control).cast::<in_pktinfo>().read_unaligned();
                Some(Ipv4Addr::from(asked.ipi_addr.s_addr.to_ne_bytes()).into())
            }
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                let asked = libc::CMSG_DATA(control).cast::<in6_pktinfo>().read_unaligned();
                Some(Ipv6Addr::from(asked.ipi6_addr.s6_addr).into())
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::time::Duration;

    use super::*;

    const BATCH: NonZeroUsize = NonZeroUsize::new(4).expect("not 0");

    #[test]
    fn a_reply_that_cannot_be_sent_costs_no_other() {
        let server = UdpSocket::bind("127.0.0.1:0").expect("bind");
        let client = UdpSocket::bind("127.0.0.1:0").expect("bind");
        client.connect(server.local_addr().expect("address")).expect("connect");
        client.set_read_timeout(Some(Duration::from_secs(5))).expect("timeout");
        for body in [b"a", b"b", b"c", b"d"] {
            client.send(body).expect("send");
        }
        let mut datagrams = Datagrams::new(BATCH, AskedAddresses::One);
        datagrams.receive(&server).expect("a batch");
        datagrams.answer(|received, out| {
            out[..received.packet.len()].copy_from_slice(received.packet);
            received.packet.len()
        });
        for refused in [0, 2] {
            datagrams.outgoing[refused].msg_hdr.msg_namelen = 1;
        }
        let sent = datagrams.send(&server);
        assert_eq!((sent.failed, sent.error.map(|error| error.kind())), (2, Some(io::ErrorKind::InvalidInput)));
        for body in [b"b", b"d"] {
            let mut buffer = [0; 9];
            let length = client.recv(&mut buffer).expect("a reply");
            assert_eq!(&buffer[..length], body);
        }
    }

    #[test]
    fn what_was_answered_is_there_with_its_replies_until_the_next_batch() {
        let server = UdpSocket::bind("127.0.0.1:0").expect("bind");
        let client = UdpSocket::bind("127.0.0.1:0").expect("bind");
        for body in [b"a", b"b", b"c"] {
            client.send_to(body, server.local_addr().expect("address")).expect("send");
        }
        let mut datagrams = Datagrams::new(BATCH, AskedAddresses::One);
        datagrams.receive(&server).expect("a batch");
        datagrams.answer(|received, out| {
            out[..2].copy_from_slice(&[received.packet[0], b'!']);
            if received.packet == b"b" { 0 } else { 2 }
        });
        datagrams.send(&server);
        let peer = client.local_addr().expect("address");
        assert!(datagrams.answered().all(|one| one.peer == peer && one.asked.is_none()));
        let answered: Vec<_> = datagrams.answered().map(|one| (one.packet, one.reply)).collect();
        assert_eq!(answered, [(&b"a"[..], &b"a!"[..]), (b"b", b""), (b"c", b"c!")]);
        client.send_to(b"d", server.local_addr().expect("address")).expect("send");
        datagrams.receive(&server).expect("a batch");
        assert_eq!(
            datagrams.answered().map(|one| (one.packet, one.reply)).collect::<Vec<_>>(),
            [(&b"d"[..], &b""[..])]
        );
    }

    #[test]
    fn a_reply_longer_than_its_room_is_not_sent() {
        let server = UdpSocket::bind("127.0.0.1:0").expect("bind");
        server.send_to(b"x", server.local_addr().expect("address")).expect("send");
        let mut datagrams = Datagrams::new(BATCH, AskedAddresses::One);
        datagrams.receive(&server).expect("a batch");
        datagrams.answer(|_, _| MAX_UDP_RESPONSE + 1);
        assert_eq!(datagrams.queued, 0);
    }
}
