//! HTTP checks: one request over a new connection, by HTTP/1.1 or HTTP/2, and the verdict on its answer.
//!
//! ```text
//!   connect ─▶ TLS ─▶ request ─▶ header ─▶ body ─▶ judge
//! ```
//!
//! Redirects are not followed: a 3xx is a status like any other.

use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, Response, Uri, header};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use regex_lite::Regex;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::model::{HttpCheck, HttpMethod, HttpVersion};

use super::encrypt::{Encrypted, Encryption};
use super::http2;
use super::judge::{judge_body, judge_status, pattern, seen_enough, wants_body};
use super::outcome::{Phase, ProbeError, Timings};
use super::step::{Clock, connect, not_http};

/// The longest header of an answer, in octets; hyper's least is 8,192.
const MOST_HEADER: usize = 64 * 1024;

/// One HTTP check, with all that can be prepared.
pub(super) struct HttpQuestion {
    check: HttpCheck,
    encryption: Option<Encryption>,
    /// The error is that of an unusable expression.
    pattern: Option<Result<Regex, String>>,
}

impl HttpQuestion {
    pub(super) fn new(check: &HttpCheck) -> HttpQuestion {
        let encryption = check.tls.as_ref().map(|tls| Encryption::new(tls, &[protocol(check.version)]));
        HttpQuestion { encryption, pattern: check.body_regex.as_deref().map(pattern), check: check.clone() }
    }

    /// `called`: what stands in the Host header where the check does not say.
    pub(super) async fn ask(&self, address: SocketAddr, called: &str, clock: Clock) -> Result<Timings, ProbeError> {
        let (stream, connect) = connect(address, clock).await?;
        let host = host_header(self.check.host.as_deref(), called, self.check.port, self.check.tls.is_some());
        let Some(encryption) = &self.encryption else {
            let first_byte = Some(self.exchange(stream, &host, clock).await?);
            return Ok(Timings { connect, first_byte, ..Timings::default() });
        };
        // Boxed: most of what a probe takes, where there is TLS.
        let encrypted = Box::pin(self.over_tls(encryption, stream, &host, clock)).await?;
        Ok(Timings { connect, ..encrypted })
    }

    /// The timings are without the connection's.
    async fn over_tls(
        &self,
        encryption: &Encryption,
        stream: TcpStream,
        host: &str,
        clock: Clock,
    ) -> Result<Timings, ProbeError> {
        let Encrypted { stream, took, warning } = encryption.start(stream, host, clock).await?;
        if self.check.version == HttpVersion::Http2 && stream.get_ref().1.alpn_protocol().is_none() {
            return Err(ProbeError::Tls("the server does not take up HTTP/2 (h2) by ALPN".into()));
        }
        let first_byte = Some(self.exchange(stream, host, clock).await?);
        Ok(Timings { tls: Some(took), first_byte, warning, ..Timings::default() })
    }

    /// Sends the request and judges the answer. Returns the time from the request to its header.
    async fn exchange<S>(&self, stream: S, host: &str, clock: Clock) -> Result<Duration, ProbeError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        match self.check.version {
            HttpVersion::Http1 => self.over_http1(stream, host, clock).await,
            HttpVersion::Http2 => Box::pin(self.over_http2(stream, host, clock)).await,
        }
    }

    async fn over_http2<S>(&self, stream: S, host: &str, clock: Clock) -> Result<Duration, ProbeError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let began = Instant::now();
        let request = request(&self.check, host)?;
        let mut connection = http2::open(stream, clock).await?;
        let response = clock.within(Phase::Header, connection.sender.send_request(request)).await?.map_err(not_http)?;
        let first_byte = began.elapsed();
        self.judge(response, clock).await.map(|()| first_byte)
    }

    async fn over_http1<S>(&self, stream: S, host: &str, clock: Clock) -> Result<Duration, ProbeError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let began = Instant::now();
        let request = request(&self.check, host)?;
        let handshake = http1::Builder::new().max_buf_size(MOST_HEADER).handshake(TokioIo::new(stream));
        let (mut sender, connection) = handshake.await.map_err(not_http)?;
        let answer = async {
            let response = clock.within(Phase::Header, sender.send_request(request)).await?.map_err(not_http)?;
            let first_byte = began.elapsed();
            self.judge(response, clock).await.map(|()| first_byte)
        };
        let mut answer = pin!(answer);
        // The connection moves the octets. Where it ends first, what it has read is still there.
        tokio::select! {
            biased;
            outcome = &mut answer => outcome,
            _ = connection => answer.await,
        }
    }

    async fn judge(&self, response: Response<Incoming>, clock: Clock) -> Result<(), ProbeError> {
        let check = &self.check;
        judge_status(check, response.status().as_u16())?;
        if !wants_body(check) {
            return Ok(());
        }
        let pattern = self.pattern.as_ref().map(Result::as_ref).transpose();
        let pattern = pattern.map_err(|error| ProbeError::Check(error.clone()))?;
        let mut incoming = response.into_body();
        let mut body = Vec::new();
        while let Some(frame) = clock.within(Phase::Body, incoming.frame()).await? {
            let Ok(data) = frame.map_err(not_http)?.into_data() else { continue };
            let (old, room) = (body.len(), check.body_limit - body.len());
            body.extend_from_slice(&data[..data.len().min(room)]);
            if seen_enough(check, &body, old) {
                return Ok(());
            }
            if data.len() > room {
                return judge_body(check, pattern, &body, false);
            }
        }
        judge_body(check, pattern, &body, true)
    }
}

fn request(check: &HttpCheck, host: &str) -> Result<Request<Empty<Bytes>>, ProbeError> {
    let not_askable = |error: http::Error| ProbeError::Check(error.to_string());
    let uri = Uri::builder().path_and_query(check.path.as_str());
    let request = Request::builder().method(method(check.method));
    let request = match check.version {
        HttpVersion::Http1 => {
            let uri = uri.build().map_err(not_askable)?;
            request.uri(uri).header(header::HOST, host).header(header::CONNECTION, "close")
        }
        // It has `:authority` instead of Host, and connections of its own (RFC 9113 sections 8.2.2, 8.3.1).
        HttpVersion::Http2 => {
            let scheme = if check.tls.is_some() { "https" } else { "http" };
            request.uri(uri.scheme(scheme).authority(host).build().map_err(not_askable)?)
        }
    };
    let mut request = request
        .header(header::USER_AGENT, concat!("meridian-probe/", env!("CARGO_PKG_VERSION")))
        .header(header::ACCEPT, "*/*")
        .body(Empty::new())
        .map_err(not_askable)?;
    for (name, value) in &check.headers {
        let name = HeaderName::try_from(name).map_err(|error| not_askable(error.into()))?;
        let value = HeaderValue::try_from(value).map_err(|error| not_askable(error.into()))?;
        // Instead of a usual one of that name.
        request.headers_mut().insert(name, value);
    }
    Ok(request)
}

/// As ALPN calls it (RFC 7301 section 6, RFC 9113 section 3.2).
fn protocol(version: HttpVersion) -> &'static [u8] {
    match version {
        HttpVersion::Http1 => b"http/1.1",
        HttpVersion::Http2 => b"h2",
    }
}

fn method(method: HttpMethod) -> Method {
    match method {
        HttpMethod::Get => Method::GET,
        HttpMethod::Head => Method::HEAD,
        HttpMethod::Options => Method::OPTIONS,
        HttpMethod::Post => Method::POST,
    }
}

/// The configured Host, else what the endpoint is called, with the port where it is not the
/// scheme's own (RFC 9110 section 7.2).
pub(super) fn host_header(configured: Option<&str>, called: &str, port: u16, encrypted: bool) -> String {
    let usual_port = if encrypted { 443 } else { 80 };
    match configured {
        Some(host) => host.to_owned(),
        None if port == usual_port => called.to_owned(),
        None => format!("{called}:{port}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::probe::encrypt::bracketed;

    #[test]
    fn rfc9110_section_7_2_host_has_the_port_unless_it_is_the_usual_one() {
        let v6 = bracketed("2001:db8::1".parse().expect("an address"));
        assert_eq!(host_header(None, &v6, 80, false), "[2001:db8::1]");
        assert_eq!(host_header(None, "192.0.2.1", 443, true), "192.0.2.1");
        assert_eq!(host_header(None, "192.0.2.1", 443, false), "192.0.2.1:443");
        assert_eq!(host_header(None, &v6, 8080, false), "[2001:db8::1]:8080");
        assert_eq!(host_header(Some("www.example"), &v6, 8080, false), "www.example");
    }
}
