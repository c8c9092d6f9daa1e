//! DNS checks: one question over UDP, and over TCP where the answer is truncated (RFC 7766 section 5).

use std::net::SocketAddr;
use std::time::Duration;

use hickory_proto::op::{Message, MessageType, Query};
use hickory_proto::rr::{Name, RecordType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UdpSocket;
use tokio::time::Instant;

use crate::model::DnsCheck;

use super::exchange::{insisting, udp_to};
use super::outcome::{Phase, ProbeError, Timings, excerpt};
use super::step::{Clock, broken_off, connect, not_connected};

/// The largest response over UDP without EDNS is 512 octets (RFC 1035 section 4.2.1); some send more.
const MOST_DATAGRAM: usize = 4_096;
/// Datagrams that are no response to the question, such as forged ones, before the check gives up.
const MOST_STRAYS: usize = 32;

pub(super) async fn ask(check: &DnsCheck, address: SocketAddr, clock: Clock) -> Result<Timings, ProbeError> {
    let asked = question(check)?;
    let octets = asked.to_vec().map_err(|error| ProbeError::Check(error.to_string()))?;
    let began = Instant::now();
    let response = over_udp(&asked, &octets, address, clock).await?;
    let first_byte = Some(began.elapsed());
    let (response, connect) = match response.metadata.truncation {
        true => over_tcp(&asked, &octets, address, clock).await?,
        false => (response, began.elapsed()),
    };
    judge(check, &response)?;
    Ok(Timings { connect, first_byte, ..Timings::default() })
}

fn question(check: &DnsCheck) -> Result<Message, ProbeError> {
    let name = Name::from_labels(check.name.labels()).map_err(|error| ProbeError::Check(error.to_string()))?;
    let mut message = Message::query();
    message.metadata.recursion_desired = check.recursive;
    message.add_query(Query::query(name, RecordType::from(check.rtype.0)));
    Ok(message)
}

async fn over_udp(asked: &Message, octets: &[u8], address: SocketAddr, clock: Clock) -> Result<Message, ProbeError> {
    let socket = udp_to(address).await.map_err(not_connected)?;
    let heard = insisting(&socket, octets, first_response(asked, &socket));
    clock.within(Phase::Reply, heard).await?.map_err(not_connected)?
}

async fn first_response(asked: &Message, socket: &UdpSocket) -> Result<Message, ProbeError> {
    let mut datagram = vec![0; MOST_DATAGRAM];
    let mut stray = None;
    for _ in 0..MOST_STRAYS {
        let length = socket.recv(&mut datagram).await.map_err(not_connected)?;
        match response(asked, &datagram[..length]) {
            Ok(response) => return Ok(response),
            Err(error) => stray = Some(error),
        }
    }
    Err(stray.unwrap_or_else(|| ProbeError::Answer(NO_RESPONSE.into())))
}

/// The response, and how long the connection took.
async fn over_tcp(
    asked: &Message,
    octets: &[u8],
    address: SocketAddr,
    clock: Clock,
) -> Result<(Message, Duration), ProbeError> {
    let (mut stream, took) = connect(address, clock).await?;
    let length = u16::try_from(octets.len()).map_err(|error| ProbeError::Check(error.to_string()))?;
    let framed = [&length.to_be_bytes(), octets].concat();
    clock.within(Phase::Reply, stream.write_all(&framed)).await?.map_err(broken_off)?;
    let length = clock.within(Phase::Reply, stream.read_u16()).await?.map_err(broken_off)?;
    let mut message = vec![0; usize::from(length)];
    clock.within(Phase::Reply, stream.read_exact(&mut message)).await?.map_err(broken_off)?;
    Ok((response(asked, &message)?, took))
}

const NO_RESPONSE: &str = "what came back is no response to the question";

/// The message, where it responds to what was asked: the same id and question (RFC 5452 section 9.1). An error may
/// leave out the question.
fn response(asked: &Message, octets: &[u8]) -> Result<Message, ProbeError> {
    let message = Message::from_vec(octets)
        .map_err(|error| ProbeError::Answer(format!("not a DNS message: {}", excerpt(&error.to_string()))))?;
    let responds = message.metadata.id == asked.metadata.id && message.metadata.message_type == MessageType::Response;
    match responds && (message.queries.is_empty() || message.queries == asked.queries) {
        true => Ok(message),
        false => Err(ProbeError::Answer(NO_RESPONSE.into())),
    }
}

fn judge(check: &DnsCheck, response: &Message) -> Result<(), ProbeError> {
    let rcode = u16::from(response.metadata.response_code);
    if rcode != check.rcode {
        let (got, expected) = (rcode_name(rcode), rcode_name(check.rcode));
        return Err(ProbeError::Answer(format!("rcode {got}, expected {expected}")));
    }
    if check.wants_answer && response.answers.is_empty() {
        let authority = if response.metadata.authoritative { "" } else { ", and it is not authoritative" };
        return Err(ProbeError::Answer(format!("{} without an answer{authority}", rcode_name(rcode))));
    }
    Ok(())
}

fn rcode_name(rcode: u16) -> String {
    let known = DnsCheck::RCODES.iter().find(|(_, code)| *code == rcode);
    known.map_or_else(|| rcode.to_string(), |(name, _)| (*name).to_owned())
}
