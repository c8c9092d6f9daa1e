//! HTTP/2 checks, and gRPC with TLS, against real servers of hyper on loopback.

use std::convert::Infallible;

use ::http::{HeaderMap, Request, Response};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http2::Builder;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ALL_VERSIONS;
use tokio::net::TcpStream;

use super::encrypted::{Authority, accept_tls, say_fine, trusting};
use super::*;
use crate::model::{GrpcCheck, HttpVersion};

/// The answer names what was asked; a path that is a number is answered by that status.
async fn echo(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let uri = request.uri();
    let status = uri.path().trim_start_matches('/').parse().unwrap_or(200);
    let header =
        |name| request.headers().get(name).map_or("none", |value: &::http::HeaderValue| value.to_str().expect("text"));
    let authority = uri.authority().expect(":authority");
    let (method, host, connection, probe) = (request.method(), header("host"), header("connection"), header("x-probe"));
    let said = format!("{method} {uri} of {authority}; host {host}, connection {connection}, x-probe {probe}; {{");
    let response = Response::builder().status(status).header("x-said", said.clone());
    let body = if uri.path() == "/json" { r#"{"status":"up"}"#.to_owned() } else { said };
    Ok(response.body(Full::new(body.into())).expect("a response"))
}

async fn serve_http2(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
    let served = Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service_fn(echo));
    drop(served.await);
}

/// Whose connections are HTTP/2 at once.
async fn plain() -> u16 {
    failures::accept(|stream: TcpStream| serve_http2(stream)).await
}

fn http2(port: u16) -> HttpCheck {
    HttpCheck { version: HttpVersion::Http2, ..http(port) }
}

async fn failing(kind: HttpCheck) -> String {
    ask_local(check(CheckKind::Http(kind))).await.expect_err("fails").to_string()
}

#[tokio::test]
async fn rfc9113_section_3_3_plain_http_2_is_spoken_at_once_and_all_else_is_as_with_1_1() {
    let port = plain().await;
    let body = |text: &str| HttpCheck { body: Some(text.into()), ..http2(port) };
    let said = format!("GET http://127.0.0.1:{port}/health?deep=1 of 127.0.0.1:{port}; host none, connection none");
    let timings = ask_local(check(CheckKind::Http(body(&said)))).await.expect("healthy");
    assert!(timings.first_byte.is_some() && timings.tls.is_none());
    let headers = vec![("X-Probe".into(), "1".into())];
    let said = "POST http://www.example.com/health?deep=1 of www.example.com; host none, connection none, x-probe 1;";
    let post = HttpCheck { method: HttpMethod::Post, host: Some("www.example.com".into()), headers, ..body(said) };
    ask_local(check(CheckKind::Http(post))).await.expect("healthy");
    let head = HttpCheck { method: HttpMethod::Head, ..http2(port) };
    ask_local(check(CheckKind::Http(head))).await.expect("healthy");
    assert_eq!(failing(HttpCheck { path: "/503".into(), ..http2(port) }).await, "status 503, expected 200-399");
    let missing = failing(body("other")).await;
    assert!(missing.ends_with("octets of the body do not contain \"other\""), "{missing}");
    let json =
        |status| HttpCheck { json: vec![("/status".into(), json!(status))], path: "/json".into(), ..http2(port) };
    ask_local(check(CheckKind::Http(json("up")))).await.expect("healthy");
    assert_eq!(failing(json("down")).await, r#"JSON at `/status` is "up", expected "down""#);
}

#[tokio::test]
async fn a_port_that_speaks_http_1_or_nothing_fails_and_says_so() {
    let (server, _requests) = serve(ok("HTTP/2 is not spoken here")).await;
    let outcome = ask_local(hasty(CheckKind::Http(http2(server.port())))).await.expect_err("no HTTP/2");
    assert!(matches!(outcome, ProbeError::Protocol(_) | ProbeError::Timeout { .. }), "{outcome}");
    let (server, _requests) = serve(Reply::Stalled(String::new())).await;
    let late = ProbeError::Timeout { phase: Phase::Header, after: Duration::from_millis(150) };
    assert_eq!(ask_local(hasty(CheckKind::Http(http2(server.port())))).await, Err(late));
}

#[tokio::test]
async fn rfc9113_section_3_2_over_tls_it_must_be_negotiated() {
    let authority = Authority::new("servers");
    let https =
        |port| HttpCheck { tls: Some(trusting(&authority, None)), host: Some("www.example.com".into()), ..http2(port) };
    let with = |protocols: &[&[u8]]| {
        let mut config = authority.server(None, ALL_VERSIONS);
        config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        config
    };
    let port = accept_tls(with(&[b"h2", b"http/1.1"]), serve_http2).await;
    let said = Some("GET https://www.example.com/health?deep=1 of www.example.com;".to_owned());
    let timings = ask_local(check(CheckKind::Http(HttpCheck { body: said, ..https(port) }))).await.expect("healthy");
    assert!(timings.tls.is_some());
    let without = accept_tls(with(&[]), say_fine).await;
    assert_eq!(failing(https(without)).await, "TLS: the server does not take up HTTP/2 (h2) by ALPN");
    let other = accept_tls(with(&[b"http/1.1"]), say_fine).await;
    assert_eq!(failing(https(other)).await, "TLS: received fatal alert: NoApplicationProtocol");
}

/// SERVING, whoever is asked for.
async fn healthy(
    request: Request<Incoming>,
) -> Result<Response<impl hyper::body::Body<Data = Bytes, Error = Infallible>>, Infallible> {
    assert_eq!(request.uri().to_string(), "https://www.example.com/grpc.health.v1.Health/Check");
    drop(request.into_body().collect().await);
    let trailers = HeaderMap::from_iter([("grpc-status".parse().expect("a name"), "0".parse().expect("a value"))]);
    let serving = Bytes::from_static(&[0, 0, 0, 0, 2, 0x08, 1]);
    Ok(Response::new(Full::new(serving).with_trailers(async { Some(Ok(trailers)) })))
}

#[tokio::test]
async fn grpc_with_tls_asks_the_server_whose_certificate_it_trusts_and_no_other() {
    let (authority, other) = (Authority::new("servers"), Authority::new("others"));
    let mut config = authority.server(Some(&authority), ALL_VERSIONS);
    config.alpn_protocols = vec![b"h2".to_vec()];
    let port = accept_tls(config, |stream| async move {
        let served = Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service_fn(healthy));
        drop(served.await);
    })
    .await;
    let ask = |tls| {
        let host = Some("www.example.com".into());
        ask_local(check(CheckKind::Grpc(GrpcCheck { tls: Some(tls), port, service: String::new(), host })))
    };
    let timings = ask(trusting(&authority, Some(authority.client()))).await.expect("healthy");
    assert!(timings.tls.is_some() && timings.first_byte.is_some());
    let untrusted = ask(trusting(&other, Some(authority.client()))).await.expect_err("not trusted").to_string();
    assert_eq!(untrusted, "TLS: invalid peer certificate: UnknownIssuer");
    let unknown = ask(trusting(&authority, None)).await.expect_err("not let in").to_string();
    assert!(unknown.ends_with("received fatal alert: CertificateRequired"), "{unknown}");
}
