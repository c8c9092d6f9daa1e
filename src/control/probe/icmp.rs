//! ICMP checks: an echo request, and the reply to it (RFC 792, RFC 4443 section 4).
//!
//! ```text
//!   ping socket, which the kernel lets certain groups open ─┐
//!   else raw socket, which takes CAP_NET_RAW ───────────────┴─▶ echo request ─▶ the reply with its nonce
//! ```
//!
//! A server has dropped its capabilities: it is left with ping sockets, that is with `net.ipv4.ping_group_range`.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;

use crate::model::{CheckKind, Model};

use super::exchange::insisting;
use super::outcome::{Phase, ProbeError, Timings};
use super::step::{Clock, not_connected};

/// Messages of others before the check gives up: a raw socket hears all that comes from the address.
const MOST_STRAYS: usize = 1_024;
/// The longest message that is looked at, in octets: an IPv4 header with options, and the reply.
const MOST_MESSAGE: usize = 128;
/// The header of an echo message, in octets.
const HEADER: usize = 8;

const NOT_PERMITTED: &str =
    "echo requests are not permitted: let groups send them by the sysctl `net.ipv4.ping_group_range`";

/// The port counts for nothing.
pub(super) async fn ask(address: SocketAddr, clock: Clock) -> Result<Timings, ProbeError> {
    let (socket, raw) = open(address)?;
    let request = Echo::new(address.ip());
    let octets = request.octets();
    let answered = insisting(&socket, &octets, request.reply(&socket, raw));
    match clock.within(Phase::Reply, answered).await?.map_err(not_connected)?.map_err(no_way)? {
        true => Ok(Timings { connect: clock.started.elapsed(), ..Timings::default() }),
        false => Err(ProbeError::Answer(format!("none of {MOST_STRAYS} ICMP messages is the reply"))),
    }
}

/// The reason for which no server started by this user could ask the model's ICMP checks; `None` where it could, or
/// there are none.
pub fn icmp_refusal(model: &Model) -> Option<&'static str> {
    let members = model.regions.iter().filter_map(|region| region.checks.as_ref()).flat_map(|checks| &checks.members);
    let mut checks = members.map(|member| &member.check).chain(model.references.iter().map(|of| &of.check));
    let permitted = || Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::ICMPV4)).is_ok();
    (checks.any(|check| check.kind == CheckKind::Icmp) && !permitted()).then_some(NOT_PERMITTED)
}

/// A socket that hears this address alone, and ICMP errors about it; whether it is a raw one.
fn open(address: SocketAddr) -> Result<(UdpSocket, bool), ProbeError> {
    let (domain, protocol) = match address {
        SocketAddr::V4(_) => (Domain::IPV4, Protocol::ICMPV4),
        SocketAddr::V6(_) => (Domain::IPV6, Protocol::ICMPV6),
    };
    let ping = Socket::new(domain, Type::DGRAM, Some(protocol));
    let (socket, raw) = match ping {
        Err(error) if forbidden(&error) => (Socket::new(domain, Type::RAW, Some(protocol)), true),
        ping => (ping, false),
    };
    let socket = socket.map_err(|error| match forbidden(&error) {
        true => ProbeError::Own(NOT_PERMITTED.into()),
        false => not_connected(error),
    })?;
    let made = || {
        hear_errors(&socket, domain)?;
        socket.set_nonblocking(true)?;
        socket.connect(&address.into())
    };
    made().map_err(not_connected)?;
    // To the runtime all sockets of datagrams are alike.
    UdpSocket::from_std(socket.into()).map(|socket| (socket, raw)).map_err(not_connected)
}

fn forbidden(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EACCES | libc::EPERM))
}

/// Has "unreachable" told at once (ip(7), IP_RECVERR).
fn hear_errors(socket: &Socket, domain: Domain) -> io::Result<()> {
    let (level, name) = match domain {
        Domain::IPV6 => (libc::IPPROTO_IPV6, libc::IPV6_RECVERR),
        _ => (libc::IPPROTO_IP, libc::IP_RECVERR),
    };
    let on: libc::c_int = 1;
    // SAFETY: the option is an int, whose address and size are given; the socket is open.
    let set = unsafe {
        libc::setsockopt(socket.as_raw_fd(), level, name, (&raw const on).cast(), size_of_val(&on) as libc::socklen_t)
    };
    if set == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// An error heard while waiting. A router that prohibits IPv6 packets is told of as EACCES, which here is no fault of
/// this machine.
fn no_way(error: io::Error) -> ProbeError {
    if forbidden(&error) { ProbeError::Unreachable(error.to_string()) } else { not_connected(error) }
}

/// What tells the reply to one request from all else.
struct Echo {
    v6: bool,
    /// Ping sockets put their own in its place.
    id: u16,
    sequence: u16,
    nonce: [u8; 16],
}

impl Echo {
    fn new(address: IpAddr) -> Echo {
        let nonce = fastrand::u128(..).to_be_bytes();
        Echo { v6: address.is_ipv6(), id: fastrand::u16(..), sequence: fastrand::u16(..), nonce }
    }

    fn octets(&self) -> Vec<u8> {
        let [kind, ..] = self.kinds();
        let mut octets = vec![kind, 0, 0, 0];
        octets.extend(self.id.to_be_bytes());
        octets.extend(self.sequence.to_be_bytes());
        octets.extend(self.nonce);
        // Over IPv6 the kernel sums, with the addresses (RFC 3542 section 3.1).
        let sum = if self.v6 { 0 } else { checksum(&octets) };
        octets[2..4].copy_from_slice(&sum.to_be_bytes());
        octets
    }

    /// Whether the reply came, among as many messages as are looked at.
    async fn reply(&self, socket: &UdpSocket, raw: bool) -> io::Result<bool> {
        let mut message = [0; MOST_MESSAGE];
        for _ in 0..MOST_STRAYS {
            let length = socket.recv(&mut message).await?;
            if self.is_answered(&message[..length], raw) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Types of the request and of its reply.
    fn kinds(&self) -> [u8; 2] {
        if self.v6 { [128, 129] } else { [8, 0] }
    }

    /// `raw`: the message came over a raw socket, which over IPv4 hands out the IP header too.
    fn is_answered(&self, message: &[u8], raw: bool) -> bool {
        let header = match message.first() {
            Some(first) if raw && !self.v6 => usize::from(first & 0x0f) * 4,
            _ => 0,
        };
        let Some((head, payload)) = message.get(header..).and_then(|echo| echo.split_first_chunk::<HEADER>()) else {
            return false;
        };
        let [_, kind] = self.kinds();
        let numbers = [self.id.to_be_bytes(), self.sequence.to_be_bytes()].concat();
        head[..2] == [kind, 0]
            && head[6..] == numbers[2..]
            && (!raw || head[4..6] == numbers[..2])
            && payload == self.nonce
    }
}

/// The one's complement of the sum of all 16-bit words (RFC 1071); the length is even.
fn checksum(octets: &[u8]) -> u16 {
    let (words, _) = octets.as_chunks::<2>();
    let sum: u32 = words.iter().map(|word| u32::from(u16::from_be_bytes(*word))).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    !((folded & 0xffff) + (folded >> 16)) as u16
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, Ipv6Addr};
    use std::time::Duration;

    const LOCAL: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];

    #[test]
    fn rfc1071_the_sum_over_a_request_with_its_checksum_is_zero() {
        for _ in 0..1000 {
            assert_eq!(checksum(&Echo::new(LOCAL[0]).octets()), 0);
        }
        assert_eq!(checksum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), !0xddf2, "its section 3");
    }

    #[test]
    fn only_the_reply_with_the_same_sequence_and_nonce_answers_and_over_raw_sockets_the_same_id() {
        for address in LOCAL {
            let request = Echo::new(address);
            let mut reply = request.octets();
            assert!(!request.is_answered(&reply, false), "the request itself, heard on loopback");
            reply[0] = request.kinds()[1];
            assert!(request.is_answered(&reply, false));
            let with_header = |reply: &[u8]| [if address.is_ipv6() { &[][..] } else { &[0x45; 20] }, reply].concat();
            assert!(request.is_answered(&with_header(&reply), true));
            for at in [0, 1, 6, 7, 8, 23] {
                let mut other = reply.clone();
                other[at] ^= 1;
                assert!(!request.is_answered(&other, false), "{at}");
            }
            reply[4] ^= 1;
            assert!(request.is_answered(&reply, false), "a ping socket's own id");
            assert!(!request.is_answered(&with_header(&reply), true));
            for length in 0..reply.len() {
                assert!(!request.is_answered(&reply[..length], false), "{length}");
            }
        }
    }

    #[test]
    fn a_prohibition_that_is_heard_is_no_fault_of_this_machine() {
        let error = no_way(io::Error::from_raw_os_error(libc::EACCES));
        assert!(matches!(error, ProbeError::Unreachable(_)), "{error}");
        let error = no_way(io::Error::from_raw_os_error(libc::EHOSTUNREACH));
        assert!(matches!(error, ProbeError::Unreachable(_)), "{error}");
    }

    #[tokio::test]
    async fn loopback_answers_where_asking_is_permitted_and_else_nobody_is_blamed() {
        for address in LOCAL {
            let outcome = ask((address, 0).into(), Clock::new(Duration::from_secs(10))).await;
            match (outcome, open((address, 0).into())) {
                (Ok(timings), Ok(_)) => assert!(timings.connect > Duration::ZERO && timings.first_byte.is_none()),
                (Err(ProbeError::Own(_)), Err(ProbeError::Own(_))) => {}
                // IPv6 is off here.
                (Err(ProbeError::Connect(_) | ProbeError::Unreachable(_)), _) if address.is_ipv6() => {}
                (outcome, opened) => panic!("{address}: {outcome:?}, {opened:?}"),
            }
        }
    }
}
