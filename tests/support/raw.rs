//! Frames put together and taken apart by hand, and packets that ordinary sockets do not send.
//!
//! In: addresses and octets. Out: what another machine would see on the cable.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

use super::frames::checksum;

/// A socket that sends and sees whole frames of one interface.
pub struct RawSocket(OwnedFd);

/// A UDP datagram as it came.
pub struct Seen {
    pub tag: Option<u16>,
    pub message: Vec<u8>,
}

const PATIENCE: Duration = Duration::from_secs(5);
const ETH_P_ALL: u16 = 3;

impl RawSocket {
    /// Opens on an interface of this thread's network namespace.
    pub fn on(interface: &str) -> RawSocket {
        let name = std::ffi::CString::new(interface).expect("a name");
        // SAFETY: plain numbers, and a string that outlives the call; the descriptor is new.
        unsafe {
            let fd = libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, i32::from(ETH_P_ALL.to_be()));
            assert!(fd >= 0, "{}", io::Error::last_os_error());
            let socket = RawSocket(OwnedFd::from_raw_fd(fd));
            let mut address: libc::sockaddr_ll = std::mem::zeroed();
            address.sll_family = libc::AF_PACKET as u16;
            address.sll_protocol = ETH_P_ALL.to_be();
            address.sll_ifindex = libc::if_nametoindex(name.as_ptr()) as i32;
            let bound = libc::bind(fd, (&raw const address).cast(), size_of_val(&address) as u32);
            assert_eq!(bound, 0, "{}", io::Error::last_os_error());
            // The kernel takes VLAN tags off, and tells them beside.
            let on: i32 = 1;
            libc::setsockopt(fd, libc::SOL_PACKET, libc::PACKET_AUXDATA, (&raw const on).cast(), 4);
            let wait = libc::timeval { tv_sec: 5, tv_usec: 0 };
            let length = size_of_val(&wait) as u32;
            libc::setsockopt(fd, libc::SOL_SOCKET, libc::SO_RCVTIMEO, (&raw const wait).cast(), length);
            socket
        }
    }

    pub fn send(&self, frame: &[u8]) {
        // SAFETY: reads as many octets as the frame has.
        let sent = unsafe { libc::send(self.0.as_raw_fd(), frame.as_ptr().cast(), frame.len(), 0) };
        assert_eq!(sent, frame.len() as isize, "{}", io::Error::last_os_error());
    }

    /// The next UDP datagram from this port; fails where none comes.
    pub fn receive_from(&self, port: u16) -> Seen {
        let begin = Instant::now();
        while begin.elapsed() < PATIENCE {
            let (tag, frame) = self.receive();
            let (tag, ip) = match frame.get(12..14) {
                Some([0x81, 0]) => (Some(u16::from_be_bytes([frame[14], frame[15]])), 18),
                _ => (tag, 14),
            };
            let udp = ip + if frame[ip] >> 4 == 6 { 40 } else { 20 };
            if frame.len() >= udp + 8 && frame[udp..udp + 2] == port.to_be_bytes() {
                let length = usize::from(u16::from_be_bytes([frame[udp + 4], frame[udp + 5]]));
                return Seen { tag, message: frame[udp + 8..udp + length].to_vec() };
            }
        }
        panic!("no datagram from port {port}");
    }

    fn receive(&self) -> (Option<u16>, Vec<u8>) {
        let mut frame = vec![0u8; 4096];
        let mut control = [0u64; 8];
        // SAFETY: the header points to buffers of the lengths it says; the control data is read as the kernel
        // wrote it.
        unsafe {
            let mut data = libc::iovec { iov_base: frame.as_mut_ptr().cast(), iov_len: frame.len() };
            let mut header: libc::msghdr = std::mem::zeroed();
            header.msg_iov = &raw mut data;
            header.msg_iovlen = 1;
            header.msg_control = control.as_mut_ptr().cast();
            header.msg_controllen = size_of_val(&control);
            let length = libc::recvmsg(self.0.as_raw_fd(), &raw mut header, 0);
            assert!(length >= 0, "no frame came: {}", io::Error::last_os_error());
            frame.truncate(length as usize);
            let mut tag = None;
            let message = libc::CMSG_FIRSTHDR(&raw const header);
            if !message.is_null() && (*message).cmsg_type == libc::PACKET_AUXDATA {
                let beside = libc::CMSG_DATA(message).cast::<libc::tpacket_auxdata>().read_unaligned();
                if beside.tp_status & libc::TP_STATUS_VLAN_VALID != 0 {
                    tag = Some(beside.tp_vlan_tci);
                }
            }
            (tag, frame)
        }
    }

    /// The frame of a UDP datagram.
    pub fn datagram(
        from_mac: [u8; 6],
        to_mac: [u8; 6],
        tag: Option<u16>,
        (from, from_port): (IpAddr, u16),
        (to, to_port): (IpAddr, u16),
        message: &[u8],
    ) -> Vec<u8> {
        let mut frame = [to_mac, from_mac].concat();
        if let Some(tag) = tag {
            frame.extend([0x81, 0]);
            frame.extend(tag.to_be_bytes());
        }
        let length = ((8 + message.len()) as u16).to_be_bytes();
        let mut pseudo: Vec<u8>;
        match (from, to) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                pseudo = [from.octets(), to.octets()].concat();
                let whole = ((28 + message.len()) as u16).to_be_bytes();
                let mut header = [&[0x45, 0][..], &whole, &[0, 7, 0, 0, 64, 17, 0, 0], &pseudo].concat();
                let sum = checksum(&header);
                header[10..12].copy_from_slice(&sum.to_be_bytes());
                frame.extend([8, 0]);
                frame.extend(header);
            }
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                pseudo = [from.octets(), to.octets()].concat();
                frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
                frame.extend(length);
                frame.extend([17, 64]);
                frame.extend(&pseudo);
            }
            _ => panic!("two families"),
        }
        let mut udp = [from_port.to_be_bytes(), to_port.to_be_bytes(), length, [0, 0]].concat();
        udp.extend(message);
        pseudo.extend([0, 17]);
        pseudo.extend(length);
        pseudo.extend(&udp);
        let sum = checksum(&pseudo);
        udp[6..8].copy_from_slice(&sum.to_be_bytes());
        frame.extend(udp);
        frame
    }

    /// Whether an address answers an ICMP echo request.
    pub fn ping(to: &str) -> bool {
        let to: IpAddr = to.parse().expect("address");
        let (domain, protocol, request) = match to {
            IpAddr::V4(_) => (socket2::Domain::IPV4, socket2::Protocol::ICMPV4, 8),
            IpAddr::V6(_) => (socket2::Domain::IPV6, socket2::Protocol::ICMPV6, 128),
        };
        let socket = socket2::Socket::new(domain, socket2::Type::RAW, Some(protocol)).expect("a raw socket");
        socket.set_read_timeout(Some(Duration::from_secs(2))).expect("timeout");
        socket.connect(&SocketAddr::new(to, 0).into()).expect("connect");
        let mut message = vec![request, 0, 0, 0, 1, 2, 3, 4];
        let sum = checksum(&message);
        message[2..4].copy_from_slice(&sum.to_be_bytes());
        socket.send(&message).expect("send");
        let begin = Instant::now();
        while begin.elapsed() < PATIENCE {
            let mut reply = [std::mem::MaybeUninit::uninit(); 128];
            let Ok(length) = socket.recv(&mut reply) else { return false };
            // SAFETY: that many octets were written.
            let reply: Vec<u8> = reply[..length].iter().map(|octet| unsafe { octet.assume_init() }).collect();
            let reply = if to.is_ipv4() { &reply[20..] } else { &reply[..] };
            if matches!(reply[0], 0 | 129) && reply[4..] == message[4..] {
                return true;
            }
        }
        false
    }

    /// Asks in packets with an IPv4 option (no operation), or an IPv6 extension header (padding).
    pub fn exchange_with_options(to: SocketAddr, message: &[u8]) -> Vec<u8> {
        let any: IpAddr = if to.is_ipv4() { [0; 4].into() } else { [0u8; 16].into() };
        let socket = UdpSocket::bind((any, 0)).expect("bind");
        let (level, name, option): (_, _, &[u8]) = match to {
            SocketAddr::V4(_) => (libc::IPPROTO_IP, libc::IP_OPTIONS, &[1, 1, 1, 1]),
            SocketAddr::V6(_) => (libc::IPPROTO_IPV6, libc::IPV6_DSTOPTS, &[0, 0, 1, 4, 0, 0, 0, 0]),
        };
        // SAFETY: reads as many octets as the option has.
        let set =
            unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, option.as_ptr().cast(), option.len() as u32) };
        assert_eq!(set, 0, "{}", io::Error::last_os_error());
        socket.connect(to).expect("connect");
        socket.set_read_timeout(Some(PATIENCE)).expect("timeout");
        socket.send(message).expect("send");
        let mut reply = vec![0; 4096];
        let length = socket.recv(&mut reply).expect("a reply");
        reply.truncate(length);
        reply
    }
}
