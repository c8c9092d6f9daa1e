//! TCP and UDP checks that send octets and wait for others: `PING`, `+PONG`.
//!
//! ```text
//!   TCP: connect ─▶ send ─▶ read until the expected octets, the end, or MOST_REPLY
//!   UDP:            send ─▶ one datagram, which holds them; sent again while none comes
//! ```

use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::pin;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UdpSocket;
use tokio::time::{Instant, timeout};

use crate::model::ExchangeCheck;

use super::judge::contains;
use super::outcome::{Phase, ProbeError, Timings, excerpt};
use super::step::{Clock, broken_off, connect, not_connected};

/// So much of a reply is looked at, in octets.
const MOST_REPLY: usize = 4_096;

/// A connection is made, the octets are sent, and the expected ones come back.
pub(super) async fn over_tcp(check: &ExchangeCheck, address: SocketAddr, clock: Clock) -> Result<Timings, ProbeError> {
    let (mut stream, connect) = connect(address, clock).await?;
    let began = Instant::now();
    clock.within(Phase::Reply, stream.write_all(&check.send)).await?.map_err(broken_off)?;
    let (mut reply, mut first_byte) = (Vec::new(), None);
    while !contains(&reply, &check.expect) {
        let room = (MOST_REPLY - reply.len()) as u64;
        let read = clock.within(Phase::Reply, (&mut stream).take(room).read_buf(&mut reply)).await?;
        match read.map_err(broken_off)? {
            0 if room == 0 => return Err(other_reply(&check.expect, &reply, "the first")),
            0 => return Err(other_reply(&check.expect, &reply, "the connection ended, and its")),
            _ => first_byte = first_byte.or(Some(began.elapsed())),
        }
    }
    Ok(Timings { connect, first_byte, ..Timings::default() })
}

/// The octets are sent in one datagram, and the first that comes back holds the expected ones.
pub(super) async fn over_udp(check: &ExchangeCheck, address: SocketAddr, clock: Clock) -> Result<Timings, ProbeError> {
    let began = Instant::now();
    let socket = udp_to(address).await.map_err(not_connected)?;
    let mut reply = vec![0; MOST_REPLY];
    let heard = insisting(&socket, &check.send, socket.recv(&mut reply));
    let length = clock.within(Phase::Reply, heard).await?.map_err(not_connected)?.map_err(not_connected)?;
    reply.truncate(length);
    if !contains(&reply, &check.expect) {
        return Err(other_reply(&check.expect, &reply, "the datagram's"));
    }
    Ok(Timings { connect: began.elapsed(), first_byte: Some(began.elapsed()), ..Timings::default() })
}

/// From a datagram to the same once more, where nothing was heard; twice as long each further time. An answer to the
/// second comes before an endpoint at `fall` 3 is in doubt ([`patience`](super::schedule::patience)).
pub(super) const AGAIN: Duration = Duration::from_millis(250);

/// What is heard, while the octets are sent again and again.
///
/// One lost datagram would be a failed probe: over TCP the kernel repeats what is lost, here nobody else does.
///
/// # Errors
/// Those of sending.
pub(super) async fn insisting<T>(socket: &UdpSocket, octets: &[u8], heard: impl Future<Output = T>) -> io::Result<T> {
    let (mut heard, mut wait) = (pin!(heard), AGAIN);
    loop {
        socket.send(octets).await?;
        if let Ok(heard) = timeout(wait, &mut heard).await {
            return Ok(heard);
        }
        wait *= 2;
    }
}

/// A new socket that hears this address alone, and its ICMP errors.
pub(super) async fn udp_to(address: SocketAddr) -> io::Result<UdpSocket> {
    let any: SocketAddr = match address {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(address).await?;
    Ok(socket)
}

fn other_reply(expected: &[u8], reply: &[u8], of: &str) -> ProbeError {
    let shown = |octets: &[u8]| excerpt(&octets.escape_ascii().to_string());
    let length = reply.len();
    let seen = if reply.is_empty() { String::new() } else { format!(": \"{}\"", shown(reply)) };
    ProbeError::Answer(format!("{of} {length} octets do not contain \"{}\"{seen}", shown(expected)))
}
