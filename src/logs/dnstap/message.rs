//! What a dnstap frame holds: protobuf, by the schema of dnstap.info, as far as an authoritative server has something to say.

use std::net::IpAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prost::Message as _;

use crate::logs::tap::{TappedBatch, TappedExchange};
use crate::query::client::Transport;

/// Who writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Empty: it has no name.
    pub name: Vec<u8>,
    pub version: Vec<u8>,
}

/// Gives the frames of an exchange: of the query, and of the response, if there was one.
pub fn frames(identity: &Identity, batch: &TappedBatch, exchange: &TappedExchange, mut give: impl FnMut(&[u8])) {
    let received_at = batch.answered_at.checked_sub(batch.took).unwrap_or(batch.answered_at);
    let (client, server) = (exchange.client, exchange.server);
    let (query_time_sec, query_time_nsec) = time(received_at);
    let query = Message {
        kind: MessageType::AuthQuery.into(),
        socket_family: Some(if client.is_ipv4() { SocketFamily::Inet } else { SocketFamily::Inet6 }.into()),
        socket_protocol: Some(match exchange.transport {
            Transport::Udp => SocketProtocol::Udp.into(),
            Transport::Tcp => SocketProtocol::Tcp.into(),
        }),
        query_address: Some(octets(client.ip())),
        response_address: Some(octets(server.ip())),
        query_port: Some(client.port().into()),
        response_port: Some(server.port().into()),
        query_time_sec,
        query_time_nsec,
        ..Message::default()
    };
    let frame = |message| Dnstap {
        identity: (!identity.name.is_empty()).then(|| identity.name.clone()),
        version: Some(identity.version.clone()),
        message: Some(message),
        kind: DnstapType::Message.into(),
    };
    if let Some(response) = &exchange.response {
        let (response_time_sec, response_time_nsec) = time(batch.answered_at);
        let answered = Message {
            kind: MessageType::AuthResponse.into(),
            response_time_sec,
            response_time_nsec,
            response_message: Some(response.to_vec()),
            ..query.clone()
        };
        give(&frame(Message { query_message: Some(exchange.query.to_vec()), ..query }).encode_to_vec());
        give(&frame(answered).encode_to_vec());
    } else {
        give(&frame(Message { query_message: Some(exchange.query.to_vec()), ..query }).encode_to_vec());
    }
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

/// Seconds since 1970, and nanoseconds.
fn time(at: SystemTime) -> (Option<u64>, Option<u32>) {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    (Some(since.as_secs()), Some(since.subsec_nanos()))
}

/// `dnstap.Dnstap`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Dnstap {
    #[prost(bytes = "vec", optional, tag = "1")]
    pub identity: Option<Vec<u8>>,
    #[prost(bytes = "vec", optional, tag = "2")]
    pub version: Option<Vec<u8>>,
    #[prost(message, optional, tag = "14")]
    pub message: Option<Message>,
    #[prost(enumeration = "DnstapType", required, tag = "15")]
    pub kind: i32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum DnstapType {
    Message = 1,
}

/// `dnstap.Message`, without what only resolvers know.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Message {
    #[prost(enumeration = "MessageType", required, tag = "1")]
    pub kind: i32,
    #[prost(enumeration = "SocketFamily", optional, tag = "2")]
    pub socket_family: Option<i32>,
    #[prost(enumeration = "SocketProtocol", optional, tag = "3")]
    pub socket_protocol: Option<i32>,
    /// The client's address: 4 or 16 octets.
    #[prost(bytes = "vec", optional, tag = "4")]
    pub query_address: Option<Vec<u8>>,
    /// The server's.
    #[prost(bytes = "vec", optional, tag = "5")]
    pub response_address: Option<Vec<u8>>,
    #[prost(uint32, optional, tag = "6")]
    pub query_port: Option<u32>,
    #[prost(uint32, optional, tag = "7")]
    pub response_port: Option<u32>,
    #[prost(uint64, optional, tag = "8")]
    pub query_time_sec: Option<u64>,
    #[prost(fixed32, optional, tag = "9")]
    pub query_time_nsec: Option<u32>,
    #[prost(bytes = "vec", optional, tag = "10")]
    pub query_message: Option<Vec<u8>>,
    #[prost(uint64, optional, tag = "12")]
    pub response_time_sec: Option<u64>,
    #[prost(fixed32, optional, tag = "13")]
    pub response_time_nsec: Option<u32>,
    #[prost(bytes = "vec", optional, tag = "14")]
    pub response_message: Option<Vec<u8>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum MessageType {
    AuthQuery = 1,
    AuthResponse = 2,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum SocketFamily {
    Inet = 1,
    Inet6 = 2,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum SocketProtocol {
    Udp = 1,
    Tcp = 2,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logs::tap::TappedBatch;

    #[test]
    fn a_query_over_ipv6_without_a_response_is_one_frame() {
        let identity = Identity { name: Vec::new(), version: b"1".to_vec() };
        let exchange = TappedExchange {
            client: "[2001:db8::1]:5353".parse().expect("an address"),
            server: "[2001:db8::53]:53".parse().expect("an address"),
            transport: Transport::Tcp,
            query: b"query".as_slice().into(),
            response: None,
        };
        let answered_at = UNIX_EPOCH + Duration::new(1_700_000_001, 5);
        let batch = TappedBatch::of(vec![exchange.clone()], answered_at, Duration::from_secs(1));
        let mut all = Vec::new();
        frames(&identity, &batch, &exchange, |frame| all.push(Dnstap::decode(frame).expect("a frame")));
        let [Dnstap { identity: None, message: Some(message), kind: 1, .. }] = &all[..] else { panic!("{all:?}") };
        assert_eq!((message.kind(), message.socket_family()), (MessageType::AuthQuery, SocketFamily::Inet6));
        assert_eq!(message.query_address().len(), 16);
        assert_eq!((message.query_time_sec(), message.query_time_nsec()), (1_700_000_000, 5));
        assert_eq!((message.query_message(), message.response_message.as_ref()), (&b"query"[..], None));
    }
}
