//! The headers of a packet: whom a query came from, and its reply written over it.
//!
//! In: a frame as the card received it. Out: where the DNS message is in it and who sent it; later the same
//! frame with the response in it, on its way back to where the query came from:
//!
//! ```text
//!    Ethernet addresses swapped ─ the same VLAN tag ─ IPv4 or IPv6 addresses swapped ─ UDP ports swapped ─ response
//! ```
//!
//! The program in the kernel lets only plain packets through; what it holds back is not expected here, and refused.

use std::mem;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;

/// A query's packet, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueryPacket {
    /// The client's port, which together with its [address](QueryPacket::client) is answered to.
    pub port: u16,
    pub is_ipv6: bool,
    /// The range of the DNS message in the packet.
    pub message: Range<usize>,
    /// The offset where the IP header begins.
    ip: usize,
    /// The sum that both addresses add to checksums, whichever way round.
    addresses: u64,
}

impl QueryPacket {
    /// The client's address. `packet`: the one this was read from; of another it is garbage.
    ///
    /// Not a field: an address of either family that is moved about is stored in parts and loaded whole, which takes as
    /// long as all the rest of reading a packet.
    #[inline]
    pub fn client(&self, packet: &[u8]) -> IpAddr {
        let source = |at: usize| packet.get(self.ip + at..).unwrap_or_default();
        match self.is_ipv6 {
            false => source(IPV4_SOURCE).first_chunk::<4>().copied().unwrap_or_default().into(),
            true => source(IPV6_SOURCE).first_chunk::<16>().copied().unwrap_or_default().into(),
        }
    }
}

impl QueryPacket {
    /// The address that was asked. `packet`: the one this was read from, as it came.
    pub fn server(&self, packet: &[u8]) -> SocketAddr {
        let at = |at: usize| packet.get(at..).unwrap_or_default();
        let port = at(self.message.start.saturating_sub(UDP) + 2).first_chunk().copied().unwrap_or_default();
        let ip: IpAddr = match self.is_ipv6 {
            false => at(self.ip + IPV4_SOURCE + 4).first_chunk::<4>().copied().unwrap_or_default().into(),
            true => at(self.ip + IPV6_SOURCE + 16).first_chunk::<16>().copied().unwrap_or_default().into(),
        };
        SocketAddr::new(ip, u16::from_be_bytes(port))
    }
}

/// The reason why a packet is not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// Not a whole plain UDP packet.
    Header,
    /// It was damaged on its way.
    Checksum,
}

/// Octets in front of the DNS message, at most: Ethernet, VLAN tag, IPv6, UDP.
pub const MAX_HEADERS: usize = ETHERNET + VLAN + IPV6 + UDP;

/// Octets of IP and UDP in front of a message of this packet: what its MTU has to bear besides.
pub fn overhead(asked: &QueryPacket) -> usize {
    asked.message.start - asked.ip
}

/// Reads a packet's headers and verifies its checksums.
#[inline]
pub fn read(packet: &[u8]) -> Result<QueryPacket, Flaw> {
    let (ip, protocol) = match type_at(packet, ETHERNET - 2)? {
        TYPE_VLAN | TYPE_SERVICE_VLAN => (ETHERNET + VLAN, type_at(packet, ETHERNET + VLAN - 2)?),
        protocol => (ETHERNET, protocol),
    };
    let from_ip = packet.get(ip..).ok_or(Flaw::Header)?;
    match protocol {
        TYPE_IPV4 => read_ipv4(from_ip, ip),
        TYPE_IPV6 => read_ipv6(from_ip, ip),
        _ => Err(Flaw::Header),
    }
}

/// The octets where a packet's DNS message should be: to look at early, before [`read`] has judged them.
#[inline]
pub fn message_at_a_glance(packet: &[u8]) -> Option<&[u8]> {
    let (ip, protocol) = match type_at(packet, ETHERNET - 2).ok()? {
        TYPE_VLAN | TYPE_SERVICE_VLAN => (ETHERNET + VLAN, type_at(packet, ETHERNET + VLAN - 2).ok()?),
        protocol => (ETHERNET, protocol),
    };
    packet.get(ip + if protocol == TYPE_IPV6 { IPV6 } else { IPV4 } + UDP..)
}

fn type_at(packet: &[u8], at: usize) -> Result<u16, Flaw> {
    packet.get(at..).and_then(<[u8]>::first_chunk).map(|octets| u16::from_be_bytes(*octets)).ok_or(Flaw::Header)
}

#[inline]
fn read_ipv4(packet: &[u8], ip: usize) -> Result<QueryPacket, Flaw> {
    let (header, rest) = packet.split_first_chunk::<IPV4>().ok_or(Flaw::Header)?;
    let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
    let datagram = length.checked_sub(IPV4).and_then(|length| rest.get(..length)).ok_or(Flaw::Header)?;
    // Version 4 and no options; not a fragment; UDP.
    let fragment = u16::from_be_bytes([header[6], header[7]]) & 0x3fff;
    if header[0] != 0x45 || fragment != 0 || header[9] != PROTOCOL_UDP {
        return Err(Flaw::Header);
    }
    if fold(sum(header)) != 0xffff {
        return Err(Flaw::Checksum);
    }
    let addresses = sum(&header[IPV4_SOURCE..]);
    read_udp(datagram, QueryPacket { port: 0, is_ipv6: false, message: 0..0, ip, addresses }, IPV4)
}

#[inline]
fn read_ipv6(packet: &[u8], ip: usize) -> Result<QueryPacket, Flaw> {
    let (header, rest) = packet.split_first_chunk::<IPV6>().ok_or(Flaw::Header)?;
    let length = usize::from(u16::from_be_bytes([header[4], header[5]]));
    let datagram = rest.get(..length).ok_or(Flaw::Header)?;
    if header[0] >> 4 != 6 || header[6] != PROTOCOL_UDP {
        return Err(Flaw::Header);
    }
    let addresses = sum(&header[IPV6_SOURCE..]);
    read_udp(datagram, QueryPacket { port: 0, is_ipv6: true, message: 0..0, ip, addresses }, IPV6)
}

#[inline]
fn read_udp(datagram: &[u8], asked: QueryPacket, header: usize) -> Result<QueryPacket, Flaw> {
    let (udp, _) = datagram.split_first_chunk::<UDP>().ok_or(Flaw::Header)?;
    let length = usize::from(u16::from_be_bytes([udp[4], udp[5]]));
    if length < UDP {
        return Err(Flaw::Header);
    }
    // What the IP packet holds beyond the datagram is padding.
    let datagram = datagram.get(..length).ok_or(Flaw::Header)?;
    let checksum = u16::from_ne_bytes([udp[6], udp[7]]);
    let pseudo = asked.addresses + pseudo(length);
    let valid = match (checksum, asked.is_ipv6) {
        // "An all zero transmitted checksum value means that the transmitter generated no checksum" (RFC 768).
        (0, false) => true,
        // "IPv6 receivers must discard UDP packets containing a zero checksum" (RFC 8200 section 8.1).
        (0, true) => false,
        // Between virtual machines and containers nobody computes checksums: only the pseudo-header's is there, for
        // a card to go on from. What a packet is due is known no better here, so that one is taken as well.
        _ => fold(pseudo + sum(datagram)) == 0xffff || checksum == fold(pseudo),
    };
    if !valid {
        return Err(Flaw::Checksum);
    }
    let begin = asked.ip + header + UDP;
    Ok(QueryPacket { port: u16::from_be_bytes([udp[0], udp[1]]), message: begin..begin + length - UDP, ..asked })
}

/// Turns the packet in `frame` into the reply with this response, and gives its length; 0 where the frame
/// is too short for it.
#[inline]
pub fn reply(frame: &mut [u8], asked: &QueryPacket, response: &[u8]) -> usize {
    let length = asked.message.start + response.len();
    let (Some(packet), Ok(datagram)) = (frame.get_mut(..length.max(MIN_FRAME)), u16::try_from(UDP + response.len()))
    else {
        return 0;
    };
    let (before, rest) = packet.split_at_mut(asked.message.start);
    let (message, padding) = rest.split_at_mut(response.len());
    message.copy_from_slice(response);
    padding.fill(0);
    let (ethernet, ip) = before.split_at_mut(asked.ip);
    let Some((ip, udp)) = ip.split_last_chunk_mut::<UDP>() else { return 0 };
    if let [to, from, ..] = ethernet.as_chunks_mut::<6>().0 {
        mem::swap(to, from);
    }
    match asked.is_ipv6 {
        false => reply_ipv4(ip, datagram, asked.addresses),
        true => reply_ipv6(ip, datagram),
    }
    reply_udp(udp, datagram, asked.addresses + pseudo(usize::from(datagram)) + sum(response));
    length.max(MIN_FRAME)
}

/// `addresses`: the sum that they add. No sum is of octets that were just written: to read two stores as one word
/// costs more than the rest.
#[inline]
fn reply_ipv4(header: &mut [u8], datagram: u16, addresses: u64) {
    let length = datagram.saturating_add(IPV4 as u16).to_be_bytes();
    // Never to be fragmented on its way, lest a forged fragment take a true one's place (RFC 9715
    // section 3.1); so it needs no identification (RFC 6864 section 4.1).
    let start = [0x45, 0, length[0], length[1], 0, 0, 0x40, 0, HOPS, PROTOCOL_UDP, 0, 0];
    let [c0, c1] = (!fold(sum(&start) + addresses)).to_ne_bytes();
    let [version, length, lifetime, source, destination] = header.as_chunks_mut::<4>().0 else { return };
    *version = [start[0], start[1], start[2], start[3]];
    *length = [start[4], start[5], start[6], start[7]];
    *lifetime = [start[8], start[9], c0, c1];
    mem::swap(source, destination);
}

#[inline]
fn reply_ipv6(header: &mut [u8], datagram: u16) {
    let length = datagram.to_be_bytes();
    let [start, addresses @ ..] = header.as_chunks_mut::<8>().0 else { return };
    *start = [0x60, 0, 0, 0, length[0], length[1], PROTOCOL_UDP, HOPS];
    if let [s0, s1, d0, d1] = addresses {
        mem::swap(s0, d0);
        mem::swap(s1, d1);
    }
}

/// `rest`: the sum of all that the checksum covers besides this header.
#[inline]
fn reply_udp(header: &mut [u8; UDP], datagram: u16, rest: u64) {
    let [s0, s1, d0, d1, ..] = *header;
    let [l0, l1] = datagram.to_be_bytes();
    let checksum = !fold(rest + sum(&[s0, s1, d0, d1, l0, l1]));
    // 0 says that there is none (RFC 768); its other form says the same sum.
    let [c0, c1] = if checksum == 0 { 0xffff } else { checksum }.to_ne_bytes();
    *header = [d0, d1, s0, s1, l0, l1, c0, c1];
}

/// The sum of 16-bit words, as they lie in memory (RFC 1071: the order of octets does not matter, as
/// long as it is the same throughout). What is summed must begin at an even place of the whole.
#[inline]
fn sum(octets: &[u8]) -> u64 {
    let (words, rest) = octets.as_chunks::<4>();
    let last = match *rest {
        [a] => [a, 0, 0, 0],
        [a, b] => [a, b, 0, 0],
        [a, b, c] => [a, b, c, 0],
        _ => [0; 4],
    };
    words.iter().map(|word| u64::from(u32::from_ne_bytes(*word))).sum::<u64>() + u64::from(u32::from_ne_bytes(last))
}

/// The sum that the pseudo-header adds besides the addresses (RFC 768, RFC 8200 section 8.1).
#[inline]
fn pseudo(length: usize) -> u64 {
    u64::from((length as u16).to_be()) + u64::from(u16::from(PROTOCOL_UDP).to_be())
}

/// The one's complement sum of 16 bits.
#[inline]
fn fold(sum: u64) -> u16 {
    let sum = (sum >> 32) + (sum & 0xffff_ffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    sum as u16
}

const ETHERNET: usize = 14;
const VLAN: usize = 4;
const IPV4: usize = 20;
const IPV6: usize = 40;
/// The place of the source address in the IP header; behind it is the destination.
const IPV4_SOURCE: usize = 12;
const IPV6_SOURCE: usize = 8;
const UDP: usize = 8;
/// The shortest Ethernet frame, without its checksum.
const MIN_FRAME: usize = 60;

const TYPE_IPV4: u16 = 0x0800;
const TYPE_IPV6: u16 = 0x86dd;
const TYPE_VLAN: u16 = 0x8100;
const TYPE_SERVICE_VLAN: u16 = 0x88a8;
const PROTOCOL_UDP: u8 = 17;
/// TTL and hop limit of replies, as the kernel sends them.
const HOPS: u8 = 64;

#[cfg(test)]
mod tests;
