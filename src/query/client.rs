//! The sender of a packet, and the transport it came by.

use std::net::IpAddr;

use crate::wire::edns::{Edns, MIN_UDP_PAYLOAD, UDP_PAYLOAD};

/// The sender of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client {
    pub address: IpAddr,
    pub transport: Transport,
}

/// The transport a packet came by. TCP has proven its source address, UDP has not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    Udp,
    Tcp,
}

impl Client {
    /// Octets that a response may have: over UDP as many as the asker takes, within those that no network
    /// fragments.
    #[inline(always)]
    pub fn limit(&self, edns: Option<&Edns<'_>>) -> usize {
        usize::from(match (self.transport, edns) {
            (Transport::Tcp, _) => u16::MAX,
            (Transport::Udp, None) => MIN_UDP_PAYLOAD,
            (Transport::Udp, Some(edns)) => edns.udp_payload.clamp(MIN_UDP_PAYLOAD, UDP_PAYLOAD),
        })
    }
}
