//! A batch of datagrams, received and sent with one system call each.
//!
//! In: a bound UDP socket. Out: packets to answer, and the answers on their way, each from the
//! address that was asked. All unsafe code of the transports is here.
//!
//! ```text
//!    recvmmsg ─▶ slots[i].packet ─▶ answer ─▶ slots[i].reply ─▶ sendmmsg
//!                slots[i].peer, .control ────────────────────────┘
//! ```

use std::alloc::{self, Layout};
use std::io;
use std::mem::{self, offset_of};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd};
use std::ptr::{self, NonNull};

use libc::{c_int, c_void, in_pktinfo, in6_pktinfo, iovec, mmsghdr, msghdr, sockaddr_in, sockaddr_in6};

use super::MAX_UDP_RESPONSE;

/// How many datagrams one system call moves at most. Beyond 32 the cost of the call itself
/// no longer shows, while the buffers leave the second-level cache.
pub(super) const BATCH: usize = 32;

/// Longer datagrams are cut, and marked so. Queries take some hundred octets; cookies, padding
/// (RFC 8467) and TSIG stay far below this.
pub(super) const MAX_UDP_QUERY: usize = 4096;

/// The buffers for up to [`BATCH`] datagrams and the headers that describe them to the kernel.
pub(super) struct Datagrams {
    /// [`BATCH`] slots, allocated here and freed on drop. The headers point into them, so they are
    /// reached by raw pointers alone.
    slots: NonNull<Slot>,
    incoming: [mmsghdr; BATCH],
    outgoing: [mmsghdr; BATCH],
    /// How many of `incoming` hold a datagram.
    received: usize,
    /// How many of `outgoing` hold a reply.
    queued: usize,
}

/// One datagram that came in.
pub(super) struct Received<'a> {
    pub(super) packet: &'a [u8],
    pub(super) peer: SocketAddr,
    /// The datagram was longer than [`MAX_UDP_QUERY`]; `packet` is its start.
    pub(super) cut: bool,
}

/// What became of a batch of replies.
#[derive(Debug, Default)]
pub(super) struct Sent {
    pub(super) failed: usize,
    /// The last error, where some failed.
    pub(super) error: Option<io::Error>,
}

impl Datagrams {
    pub(super) fn new() -> Datagrams {
        // SAFETY: the layout's size is not zero.
        let slots = unsafe { alloc::alloc_zeroed(SLOTS) };
        let Some(slots) = NonNull::new(slots.cast::<Slot>()) else { alloc::handle_alloc_error(SLOTS) };
        // SAFETY: a `mmsghdr` of zeros is valid: null pointers and lengths of 0.
        let (incoming, outgoing) = unsafe { mem::zeroed() };
        let mut datagrams = Datagrams { slots, incoming, outgoing, received: 0, queued: 0 };
        for index in 0..BATCH {
            datagrams.arm(index);
        }
        datagrams
    }

    /// Waits for a datagram, takes all that are there, up to [`BATCH`]. Replies not sent are forgotten.
    ///
    /// Waits as long as the socket's read timeout says (then `WouldBlock`).
    pub(super) fn receive(&mut self, socket: &impl AsFd) -> io::Result<()> {
        // The kernel wrote lengths and flags only where it put a datagram.
        for index in 0..mem::take(&mut self.received) {
            self.arm(index);
        }
        let fd = socket.as_fd().as_raw_fd();
        // SAFETY: the descriptor is open while `socket` is borrowed, and each of the BATCH headers
        // was armed: it points to buffers of the lengths it says, which live as long as `self`.
        let count = unsafe {
            libc::recvmmsg(fd, self.incoming.as_mut_ptr(), BATCH as u32, libc::MSG_WAITFORONE, ptr::null_mut())
        };
        self.received = usize::try_from(count).map_err(|_| io::Error::last_os_error())?.min(BATCH);
        Ok(())
    }

    /// Hands each received datagram, with room for [`MAX_UDP_RESPONSE`] octets, to `answer`, and
    /// queues as many octets as it returns as the reply; none for 0 or more than there is room for.
    pub(super) fn answer(&mut self, mut answer: impl FnMut(Received<'_>, &mut [u8]) -> usize) {
        self.queued = 0;
        for index in 0..self.received {
            let slot = self.slot(index);
            let header = &self.incoming[index];
            // SAFETY: the kernel wrote the peer's address into this slot.
            let Some(peer) = (unsafe { read_peer(&raw const (*slot).peer) }) else { continue };
            // SAFETY: the slot is in our allocation, initialized (zeroed or written by the kernel), and no
            // other reference to its `packet` or `reply` exists; the two do not overlap.
            let (packet, reply) = unsafe { (&(*slot).packet, &mut (*slot).reply) };
            let packet = packet.get(..header.msg_len as usize).unwrap_or(packet);
            let cut = header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0;
            let length = answer(Received { packet, peer, cut }, reply);
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
        let mut sent = Sent::default();
        let mut next = 0;
        while next < queued {
            let waiting = &mut self.outgoing[next..queued];
            // SAFETY: the descriptor is open while `socket` is borrowed; each header was filled by
            // `queue` since the last `receive` and points into slots that live as long as `self`.
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

    fn slot(&self, index: usize) -> *mut Slot {
        assert!(index < BATCH);
        // SAFETY: the index was checked, so the result stays inside the allocation.
        unsafe { self.slots.as_ptr().add(index) }
    }

    /// Makes a header ready to receive into its slot.
    fn arm(&mut self, index: usize) {
        let slot = self.slot(index);
        // SAFETY: the slot is in our allocation; only addresses are taken, and the iovec is written.
        let header = unsafe {
            (*slot).received = iovec { iov_base: (&raw mut (*slot).packet).cast(), iov_len: MAX_UDP_QUERY };
            message_header(
                &raw mut (*slot).peer,
                size_of::<Peer>(),
                &raw mut (*slot).received,
                &raw mut (*slot).control,
            )
        };
        self.incoming[index] = mmsghdr { msg_hdr: header, msg_len: 0 };
    }

    /// Makes the next outgoing header send `length` octets of a slot's reply to the slot's peer.
    fn queue(&mut self, index: usize, length: usize) {
        let slot = self.slot(index);
        let asked = &self.incoming[index].msg_hdr;
        // SAFETY: the slot is in our allocation; only addresses are taken, and the iovec is written.
        let mut header = unsafe {
            (*slot).sent = iovec { iov_base: (&raw mut (*slot).reply).cast(), iov_len: length };
            let peer_length = asked.msg_namelen as usize;
            message_header(&raw mut (*slot).peer, peer_length, &raw mut (*slot).sent, &raw mut (*slot).control)
        };
        header.msg_controllen = asked.msg_controllen;
        // SAFETY: the control data is what the kernel wrote when it received this slot's datagram.
        unsafe { reply_from_asked_address(&header) };
        self.outgoing[self.queued] = mmsghdr { msg_hdr: header, msg_len: 0 };
        self.queued += 1;
    }
}

impl Drop for Datagrams {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with this layout; `Slot` has nothing to drop.
        unsafe { alloc::dealloc(self.slots.as_ptr().cast(), SLOTS) };
    }
}

/// What one datagram needs: plain data, for which all zeros are valid.
#[repr(C)]
struct Slot {
    peer: Peer,
    control: Control,
    received: iovec,
    sent: iovec,
    packet: [u8; MAX_UDP_QUERY],
    reply: [u8; MAX_UDP_RESPONSE],
}

const SLOTS: Layout = Layout::new::<[Slot; BATCH]>();

/// Room for either family's socket address. They share where the family stands.
#[repr(C)]
union Peer {
    v4: sockaddr_in,
    v6: sockaddr_in6,
}

const _: () = assert!(offset_of!(sockaddr_in, sin_family) == 0 && offset_of!(sockaddr_in6, sin6_family) == 0);

/// Room for one control message: on wildcard binds, the address a query was sent to.
#[repr(C, align(8))]
struct Control([u8; 64]);

fn message_header(peer: *mut Peer, peer_length: usize, data: *mut iovec, control: *mut Control) -> msghdr {
    // SAFETY: a `msghdr` of zeros is valid. (It has private padding fields on some C libraries.)
    let mut header: msghdr = unsafe { mem::zeroed() };
    header.msg_name = peer.cast::<c_void>();
    header.msg_namelen = peer_length as u32;
    header.msg_iov = data;
    header.msg_iovlen = 1;
    header.msg_control = control.cast::<c_void>();
    header.msg_controllen = size_of::<Control>();
    header
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
unsafe fn reply_from_asked_address(header: &msghdr) {
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

/// Asks the kernel to say with each datagram which address it was sent to.
pub(super) fn report_asked_address(socket: &impl AsFd, address: IpAddr) -> io::Result<()> {
    match address {
        IpAddr::V4(_) => set_option(socket, libc::IPPROTO_IP, libc::IP_PKTINFO, 1),
        IpAddr::V6(_) => set_option(socket, libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, 1),
    }
}

/// Makes the kernel believe no ICMP message about path MTUs, which anyone can forge to have
/// responses sent in fragments and then replaced (RFC 9715 section 3.1 and appendix C).
pub(super) fn ignore_path_mtu(socket: &impl AsFd, address: IpAddr) -> io::Result<()> {
    match address {
        IpAddr::V4(_) => set_option(socket, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_OMIT),
        IpAddr::V6(_) => set_option(socket, libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, libc::IPV6_PMTUDISC_OMIT),
    }
}

fn set_option(socket: &impl AsFd, level: c_int, name: c_int, value: c_int) -> io::Result<()> {
    let length = size_of::<c_int>() as libc::socklen_t;
    // SAFETY: the descriptor is open while `socket` is borrowed; the kernel reads `length` octets of `value`.
    let result =
        unsafe { libc::setsockopt(socket.as_fd().as_raw_fd(), level, name, (&raw const value).cast(), length) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_reply_that_cannot_be_sent_costs_no_other() {
        let server = UdpSocket::bind("127.0.0.1:0").expect("bind");
        let client = UdpSocket::bind("127.0.0.1:0").expect("bind");
        client.connect(server.local_addr().expect("address")).expect("connect");
        client.set_read_timeout(Some(Duration::from_secs(5))).expect("timeout");
        for body in [b"a", b"b", b"c", b"d"] {
            client.send(body).expect("send");
        }
        let mut datagrams = Datagrams::new();
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
    fn a_reply_longer_than_its_room_is_not_sent() {
        let server = UdpSocket::bind("127.0.0.1:0").expect("bind");
        server.send_to(b"x", server.local_addr().expect("address")).expect("send");
        let mut datagrams = Datagrams::new();
        datagrams.receive(&server).expect("a batch");
        datagrams.answer(|_, _| MAX_UDP_RESPONSE + 1);
        assert_eq!(datagrams.queued, 0);
    }
}
