//! gRPC checks: `grpc.health.v1.Health/Check` over HTTP/2, plain or with TLS.
//!
//! Both messages are one field each, so they are written and read here: a string `service` in the request, an enum
//! `status` in the response (the gRPC Health Checking Protocol).

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use crate::model::GrpcCheck;

use super::encrypt::{Encrypted, Encryption};
use super::http::host_header;
use super::http2;
use super::outcome::{Phase, ProbeError, Timings, excerpt};
use super::step::{Clock, connect, not_http};

/// The longest response that is read, in octets; a usual one has seven.
const MOST_RESPONSE: usize = 4_096;

/// One gRPC check, with all that can be prepared.
pub(super) struct GrpcQuestion {
    check: GrpcCheck,
    encryption: Option<Encryption>,
}

impl GrpcQuestion {
    pub(super) fn new(check: &GrpcCheck) -> GrpcQuestion {
        let encryption = check.tls.as_ref().map(|tls| Encryption::new(tls, &[b"h2"]));
        GrpcQuestion { check: check.clone(), encryption }
    }

    /// `called`: the authority where the check does not say.
    pub(super) async fn ask(&self, address: SocketAddr, called: &str, clock: Clock) -> Result<Timings, ProbeError> {
        let (stream, connect) = connect(address, clock).await?;
        let host = host_header(self.check.host.as_deref(), called, self.check.port, self.check.tls.is_some());
        let Some(encryption) = &self.encryption else {
            let first_byte = Some(self.exchange(stream, "http", &host, clock).await?);
            return Ok(Timings { connect, first_byte, ..Timings::default() });
        };
        let Encrypted { stream, took, warning } = encryption.start(stream, &host, clock).await?;
        let first_byte = Some(self.exchange(stream, "https", &host, clock).await?);
        Ok(Timings { connect, tls: Some(took), first_byte, warning, ..Timings::default() })
    }

    async fn exchange<S>(&self, stream: S, scheme: &str, host: &str, clock: Clock) -> Result<Duration, ProbeError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let request = request(&self.check.service, scheme, host)?;
        let began = Instant::now();
        let mut connection = http2::open(stream, clock).await?;
        let response = clock.within(Phase::Header, connection.sender.send_request(request)).await?.map_err(not_http)?;
        let first_byte = began.elapsed();
        judge(response, clock).await?;
        Ok(first_byte)
    }
}

fn request(service: &str, scheme: &str, host: &str) -> Result<Request<Full<Bytes>>, ProbeError> {
    Request::post(format!("{scheme}://{host}/grpc.health.v1.Health/Check"))
        .header(header::CONTENT_TYPE, "application/grpc")
        .header(header::TE, "trailers")
        .header(header::USER_AGENT, concat!("meridian-probe/", env!("CARGO_PKG_VERSION")))
        .body(Full::new(framed(&encode(service))))
        .map_err(|error| ProbeError::Check(error.to_string()))
}

async fn judge(response: Response<Incoming>, clock: Clock) -> Result<(), ProbeError> {
    let (head, mut incoming) = response.into_parts();
    if head.status != StatusCode::OK {
        return Err(ProbeError::Status { got: head.status.as_u16(), expected: "200".into() });
    }
    // A response without a message has its trailers in the header.
    let (mut message, mut trailers) = (Vec::new(), head.headers);
    while let Some(frame) = clock.within(Phase::Body, incoming.frame()).await? {
        let frame = match frame.map_err(not_http)?.into_data() {
            Ok(data) if message.len() + data.len() > MOST_RESPONSE => {
                return Err(ProbeError::Answer(format!("the response is longer than {MOST_RESPONSE} octets")));
            }
            Ok(data) => {
                message.extend_from_slice(&data);
                continue;
            }
            Err(frame) => frame,
        };
        if let Ok(last) = frame.into_trailers() {
            trailers = last;
        }
    }
    judge_status(&trailers)?;
    judge_message(&message)
}

/// The status of the call itself: not whether the service is well, but whether it said so.
fn judge_status(trailers: &HeaderMap) -> Result<(), ProbeError> {
    let text = |name| trailers.get(name).map(|value| excerpt(&String::from_utf8_lossy(value.as_bytes())));
    match text("grpc-status").as_deref() {
        Some("0") => Ok(()),
        None => Err(ProbeError::Answer("not a gRPC response: it has no `grpc-status`".into())),
        Some(status) => {
            let name = match status {
                "5" => " (NOT_FOUND: the server does not know this service)",
                "12" => " (UNIMPLEMENTED: the server has no health service)",
                "14" => " (UNAVAILABLE)",
                "16" => " (UNAUTHENTICATED)",
                _ => "",
            };
            let said = text("grpc-message").map_or_else(String::new, |said| format!(": {said}"));
            Err(ProbeError::Answer(format!("grpc-status {status}{name}{said}")))
        }
    }
}

fn judge_message(framed: &[u8]) -> Result<(), ProbeError> {
    let payload = match framed.split_first_chunk::<5>() {
        Some(([0, length @ ..], payload)) if u32::from_be_bytes(*length) as usize == payload.len() => Some(payload),
        _ => None,
    };
    let status = payload.and_then(decode).ok_or_else(|| ProbeError::Answer("not a health response".into()))?;
    let name = match status {
        1 => return Ok(()),
        0 => "UNKNOWN".to_owned(),
        2 => "NOT_SERVING".to_owned(),
        3 => "SERVICE_UNKNOWN".to_owned(),
        other => other.to_string(),
    };
    Err(ProbeError::Answer(format!("health status {name}, expected SERVING")))
}

/// A message with its prefix: not compressed, and its length.
fn framed(message: &[u8]) -> Bytes {
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    [&[0][..], &length.to_be_bytes(), message].concat().into()
}

/// Field 1, a string of up to 255 octets; left out where it is empty.
fn encode(service: &str) -> Vec<u8> {
    let length = u8::try_from(service.len()).unwrap_or(u8::MAX);
    match length {
        0 => Vec::new(),
        1..=0x7f => [&[0x0a, length], service.as_bytes()].concat(),
        _ => [&[0x0a, length, 1], service.as_bytes()].concat(),
    }
}

/// Field 1, a number: 0 where it is left out. Other fields are stepped over; `None` where it is no such message.
fn decode(mut message: &[u8]) -> Option<u64> {
    let mut status = 0;
    while !message.is_empty() {
        let key = number(&mut message)?;
        let skip = match key & 7 {
            0 => {
                let value = number(&mut message)?;
                status = if key >> 3 == 1 { value } else { status };
                0
            }
            1 => 8,
            2 => usize::try_from(number(&mut message)?).ok()?,
            5 => 4,
            _ => return None,
        };
        message = message.get(skip..)?;
    }
    Some(status)
}

/// A varint: seven bits per octet, the lowest first, up to ten octets.
fn number(message: &mut &[u8]) -> Option<u64> {
    let mut sum = 0;
    for shift in (0..70).step_by(7) {
        let (&octet, rest) = message.split_first()?;
        *message = rest;
        sum |= u64::from(octet & 0x7f).checked_shl(shift).unwrap_or(0);
        if octet < 0x80 {
            return Some(sum);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_status_is_field_one_and_other_fields_are_stepped_over() {
        assert_eq!(decode(&[]), Some(0));
        assert_eq!(decode(&[0x08, 1]), Some(1));
        assert_eq!(decode(&[0x12, 2, b'h', b'i', 0x08, 0x80, 1, 0x1d, 0, 0, 0, 0]), Some(128));
        for wrong in [&[0x08][..], &[0x12, 5, 1], &[0x0b], &[0xff; 11]] {
            assert_eq!(decode(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn the_service_is_field_one_with_its_length() {
        assert!(encode("").is_empty());
        assert_eq!(encode("a"), [0x0a, 1, b'a']);
        assert_eq!(encode(&"a".repeat(200))[..3], [0x0a, 0xc8, 1]);
        assert_eq!(framed(b"ab")[..], [0, 0, 0, 0, 2, b'a', b'b']);
    }

    proptest! {
        #[test]
        fn any_octets_are_a_verdict(octets in proptest::collection::vec(any::<u8>(), 0..40)) {
            let _ = decode(&octets);
            let _ = judge_message(&octets);
        }
    }
}
