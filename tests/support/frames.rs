//! UDP packets as they come from cards: Ethernet, a VLAN tag perhaps, IPv4 or IPv6, checksums.

use std::net::{IpAddr, SocketAddr};

pub const CLIENT_MAC: [u8; 6] = [2, 0, 0, 0, 0, 0xc];
pub const SERVER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 0x5];

/// Who sends a packet to whom.
#[derive(Clone, Copy, Debug)]
pub struct Flow {
    pub from: SocketAddr,
    pub to: SocketAddr,
    pub from_mac: [u8; 6],
    pub to_mac: [u8; 6],
    pub vlan: Option<u16>,
    /// TTL or hop limit, and the octets of the header that tell no more than "IPv4, plain": IPv4's
    /// identification and flags.
    pub ttl: u8,
    pub flags: [u8; 4],
}

impl Flow {
    /// A client's, on its way.
    pub fn new(from: SocketAddr, to: SocketAddr, vlan: Option<u16>) -> Flow {
        Flow { from, to, from_mac: CLIENT_MAC, to_mac: SERVER_MAC, vlan, ttl: 57, flags: [0, 1, 0, 0] }
    }

    /// The way back, as a server should send it: TTL 64, don't fragment (RFC 9715).
    pub fn back(self) -> Flow {
        let Flow { from, to, from_mac, to_mac, vlan, .. } = self;
        let flags = [0, 0, 0x40, 0];
        Flow { from: to, to: from, from_mac: to_mac, to_mac: from_mac, vlan, ttl: 64, flags }
    }

    /// The packet with this UDP payload.
    pub fn packet(&self, payload: &[u8]) -> Vec<u8> {
        let mut packet = [self.to_mac, self.from_mac].concat();
        if let Some(tag) = self.vlan {
            packet.extend([0x81, 0]);
            packet.extend(tag.to_be_bytes());
        }
        let length = (8 + payload.len()) as u16;
        let mut addresses = Vec::new();
        match (self.from.ip(), self.to.ip()) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                addresses.extend(from.octets().into_iter().chain(to.octets()));
                let fixed = [&[0x45, 0][..], &(length + 20).to_be_bytes(), &self.flags, &[self.ttl, 17, 0, 0]].concat();
                let mut header = [&fixed[..], &addresses].concat();
                let sum = checksum(&header);
                header[10..12].copy_from_slice(&sum.to_be_bytes());
                packet.extend([8, 0]);
                packet.extend(header);
            }
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                addresses.extend(from.octets().into_iter().chain(to.octets()));
                packet.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
                packet.extend(length.to_be_bytes());
                packet.extend([17, self.ttl]);
                packet.extend(&addresses);
            }
            _ => panic!("one family"),
        }
        let ports = [self.from.port().to_be_bytes(), self.to.port().to_be_bytes()].concat();
        let pseudo = [&addresses[..], &[0, 17], &length.to_be_bytes(), &ports, &length.to_be_bytes(), payload].concat();
        let sum = match checksum(&pseudo) {
            0 => 0xffff,
            sum => sum,
        };
        packet.extend(ports);
        packet.extend(length.to_be_bytes());
        packet.extend(sum.to_be_bytes());
        packet.extend(payload);
        packet
    }
}

/// RFC 1071 section 4.1, word by word in network order.
pub fn checksum(octets: &[u8]) -> u16 {
    let mut sum: u32 = 0;
    for pair in octets.chunks(2) {
        sum += u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0));
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}
