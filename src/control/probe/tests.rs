//! Probes against real sockets on loopback: what each kind of answer comes to, and what a
//! reload keeps.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use serde_json::json;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::timeout;

use super::*;
use crate::model::{
    CheckKind, Checks, Coordinates, Endpoint, ExchangeCheck, HttpCheck, HttpMethod, Layer, Name, Region, TlsCheck,
    Zone, ZoneId,
};

// The house rules look at all that is not marked so.
#[cfg(test)]
mod encrypted;
#[cfg(test)]
mod failures;
#[cfg(test)]
mod heartbeats;
#[cfg(test)]
mod http2;
#[cfg(test)]
mod loss;
#[cfg(test)]
mod pace;

const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// How a test server answers each connection.
#[derive(Clone)]
enum Reply {
    /// These octets, then the connection ends.
    Text(String),
    /// These octets, then more of the body for ever.
    Endless(String),
    /// These octets, then silence.
    Stalled(String),
    /// The connection ends without a word.
    Nothing,
}

fn ok(body: &str) -> Reply {
    status(200, body)
}

fn status(status: u16, body: &str) -> Reply {
    Reply::Text(format!("HTTP/1.1 {status} Said\r\ncontent-length: {}\r\n\r\n{body}", body.len()))
}

async fn respond<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, reply: Reply) -> String {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(octet) => request.push(octet),
            Err(_) => break,
        }
    }
    match reply {
        Reply::Nothing => {}
        Reply::Text(text) => drop(stream.write_all(text.as_bytes()).await),
        Reply::Endless(text) => {
            let mut result = stream.write_all(text.as_bytes()).await;
            while result.is_ok() {
                result = stream.write_all(&[b'x'; 1024]).await;
            }
        }
        Reply::Stalled(text) => {
            drop(stream.write_all(text.as_bytes()).await);
            std::future::pending::<()>().await;
        }
    }
    drop(stream.shutdown().await);
    String::from_utf8_lossy(&request).into_owned()
}

/// A server on a port of its own, and the requests it gets.
async fn serve(reply: Reply) -> (SocketAddr, mpsc::Receiver<String>) {
    let listener = TcpListener::bind((LOCALHOST, 0)).await.expect("a port");
    let address = listener.local_addr().expect("bound");
    let (sender, requests) = mpsc::channel(1000);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (sender, reply) = (sender.clone(), reply.clone());
            tokio::spawn(async move { sender.try_send(respond(stream, reply).await) });
        }
    });
    (address, requests)
}

/// A port nobody listens on.
async fn dead_port() -> u16 {
    let listener = TcpListener::bind((LOCALHOST, 0)).await.expect("a port");
    listener.local_addr().expect("bound").port()
}

fn http(port: u16) -> HttpCheck {
    HttpCheck { path: "/health?deep=1".into(), ..HttpCheck::new(port) }
}

fn check(kind: CheckKind) -> Check {
    let second = Duration::from_secs(1);
    Check { interval: second, timeout: 10 * second, ..Check::new(kind) }
}

/// As [`check`], for checks that are to time out.
fn hasty(kind: CheckKind) -> Check {
    Check { timeout: Duration::from_millis(150), ..check(kind) }
}

fn addresses(addresses: &[&str]) -> EndpointTarget {
    EndpointTarget::Addresses(addresses.iter().map(|a| a.parse().expect("an address")).collect())
}

async fn ask(target: EndpointTarget, check: Check) -> Result<Timings, ProbeError> {
    question(target, &check).ask().await
}

fn question(target: EndpointTarget, check: &Check) -> Arc<Question> {
    let key = EndpointKey::only("seoul@gslb.example", "127.0.0.1");
    Arc::new(Question::new(target, check, Resolver::default(), Pulse::of(&Default::default(), &key)))
}

async fn ask_local(check: Check) -> Result<Timings, ProbeError> {
    ask(addresses(&["127.0.0.1"]), check).await
}

async fn ask_reply(reply: Reply) -> Result<Timings, ProbeError> {
    let (server, _requests) = serve(reply).await;
    ask_local(hasty(CheckKind::Http(http(server.port())))).await
}

mod http_checks {
    use super::*;

    #[tokio::test]
    async fn a_good_answer_is_a_success_with_timings() {
        let (server, mut requests) = serve(ok("fine")).await;
        let timings = ask_local(check(CheckKind::Http(http(server.port())))).await.expect("healthy");
        assert!(timings.first_byte.is_some() && timings.tls.is_none() && timings.dns.is_none());
        assert!(timings.total >= timings.connect + timings.first_byte.unwrap_or_default());
        let request = requests.recv().await.expect("a request");
        assert!(request.starts_with("GET /health?deep=1 HTTP/1.1\r\n"), "{request}");
        assert!(request.contains(&format!("\r\nhost: 127.0.0.1:{}\r\n", server.port())), "{request}");
    }

    #[tokio::test]
    async fn method_and_header_fields_are_sent_as_configured() {
        let (server, mut requests) = serve(ok("")).await;
        let headers = vec![("X-Probe".into(), "1".into()), ("User-Agent".into(), "other".into())];
        let kind = HttpCheck { method: HttpMethod::Head, headers, ..http(server.port()) };
        ask_local(check(CheckKind::Http(kind))).await.expect("healthy");
        let request = requests.recv().await.expect("a request");
        assert!(request.starts_with("HEAD /health?deep=1 HTTP/1.1\r\n"), "{request}");
        assert!(request.contains("\r\nx-probe: 1\r\n") && request.contains("\r\nuser-agent: other\r\n"), "{request}");
        assert!(!request.contains("meridian-probe"), "{request}");
    }

    #[tokio::test]
    async fn an_expression_is_looked_for_within_the_limit_and_no_further() {
        for (body, limit, healthy) in
            [("now v12", 100, true), ("now w12", 100, false), ("now v12", 6, true), ("now v12", 5, false)]
        {
            let (server, _requests) = serve(ok(body)).await;
            let kind = HttpCheck { body_regex: Some("v[0-9]".into()), body_limit: limit, ..http(server.port()) };
            assert_eq!(ask_local(check(CheckKind::Http(kind))).await.is_ok(), healthy, "{body} {limit}");
        }
        let endless = Reply::Endless("HTTP/1.1 200 Said\r\n\r\n".into());
        let (server, _requests) = serve(endless).await;
        let kind = HttpCheck { body_regex: Some("y$".into()), body_limit: 9, ..http(server.port()) };
        let error = ask_local(check(CheckKind::Http(kind))).await.expect_err("no match");
        assert_eq!(error.to_string(), "the first 9 octets of the body do not match \"y$\"");
    }

    #[tokio::test]
    async fn the_configured_host_is_sent_to_the_endpoints_own_address() {
        let (server, mut requests) = serve(ok("")).await;
        let kind = HttpCheck { host: Some("www.example.com".into()), ..http(server.port()) };
        ask_local(check(CheckKind::Http(kind))).await.expect("healthy");
        let request = requests.recv().await.expect("a request");
        assert!(request.contains("\r\nhost: www.example.com\r\n"), "{request}");
    }

    #[tokio::test]
    async fn the_status_decides_and_redirects_are_not_followed() {
        assert!(ask_reply(status(302, "")).await.is_ok());
        for bad in [404, 500, 503] {
            let expected = ProbeError::Status { got: bad, expected: "200-399".into() };
            assert_eq!(ask_reply(status(bad, "sorry")).await, Err(expected));
        }
    }

    #[tokio::test]
    async fn refused_is_refused() {
        let port = dead_port().await;
        assert_eq!(ask_local(check(CheckKind::Http(http(port)))).await, Err(ProbeError::Refused));
        assert_eq!(ask_local(check(CheckKind::Tcp { port })).await, Err(ProbeError::Refused));
    }

    #[tokio::test]
    async fn silence_times_out_in_the_phase_it_began() {
        let timed_out = |phase| Err(ProbeError::Timeout { phase, after: Duration::from_millis(150) });
        assert_eq!(ask_reply(Reply::Stalled(String::new())).await, timed_out(Phase::Header));
        assert_eq!(ask_reply(Reply::Stalled("HTTP/1.1 200 OK\r\nslow:".into())).await, timed_out(Phase::Header));
        let (server, _requests) =
            serve(Reply::Stalled("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf".into())).await;
        let kind = HttpCheck { body: Some("whole".into()), ..http(server.port()) };
        assert_eq!(ask_local(hasty(CheckKind::Http(kind))).await, timed_out(Phase::Body));
    }

    #[tokio::test]
    async fn what_is_not_http_is_a_protocol_error() {
        let long_header = format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "y".repeat(200_000));
        let many_headers = format!("HTTP/1.1 200 OK\r\n{}\r\n", "a: b\r\n".repeat(2000));
        let garbage = [
            "SSH-2.0-OpenSSH_9.6\r\n\r\n",
            "\0\u{1}\u{2}\r\n\r\n",
            "HTTP/1.1 banana\r\n\r\n",
            "HTTP/1.1 20",
            &long_header,
            &many_headers,
        ];
        for text in garbage {
            let outcome = ask_reply(Reply::Text(text.into())).await;
            assert!(matches!(outcome, Err(ProbeError::Protocol(_))), "{text:.40}: {outcome:?}");
        }
        let outcome = ask_reply(Reply::Nothing).await;
        assert!(matches!(outcome, Err(ProbeError::Protocol(_))), "{outcome:?}");
    }

    #[tokio::test]
    async fn a_body_cut_short_is_not_a_whole_answer() {
        let (server, _requests) = serve(Reply::Text("HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\nhalf".into())).await;
        let kind = HttpCheck { body: Some("whole".into()), ..http(server.port()) };
        let outcome = ask_local(check(CheckKind::Http(kind))).await;
        assert!(matches!(outcome, Err(ProbeError::Protocol(_))), "{outcome:?}");
    }

    #[tokio::test]
    async fn an_endless_body_is_read_up_to_the_limit() {
        let endless = Reply::Endless("HTTP/1.1 200 OK\r\n\r\n".into());
        let (server, _requests) = serve(endless).await;
        assert!(ask_local(check(CheckKind::Http(http(server.port())))).await.is_ok());
        let kind = HttpCheck { body: Some("healthy".into()), ..http(server.port()) };
        let missing = ProbeError::BodyMissing { expected: "healthy".into(), read: HttpCheck::BODY_LIMIT };
        assert_eq!(ask_local(check(CheckKind::Http(kind))).await, Err(missing));
    }

    #[tokio::test]
    async fn text_within_64_kib_counts_and_beyond_does_not() {
        for (padding, healthy) in
            [(HttpCheck::BODY_LIMIT - 7, true), (HttpCheck::BODY_LIMIT - 6, false), (100_000, false)]
        {
            let (server, _requests) = serve(ok(&format!("{}healthy!", "x".repeat(padding)))).await;
            let kind = HttpCheck { body: Some("healthy".into()), ..http(server.port()) };
            assert_eq!(ask_local(check(CheckKind::Http(kind))).await.is_ok(), healthy, "{padding}");
        }
    }

    #[tokio::test]
    async fn json_values_must_be_as_expected() {
        for (body, healthy) in [(r#"{"status":"healthy"}"#, true), (r#"{"status":"ill"}"#, false), ("{", false)] {
            let (server, _requests) = serve(ok(body)).await;
            let kind = HttpCheck { json: vec![("/status".into(), json!("healthy"))], ..http(server.port()) };
            assert_eq!(ask_local(check(CheckKind::Http(kind))).await.is_ok(), healthy, "{body}");
        }
    }

    #[tokio::test]
    async fn a_path_that_cannot_be_asked_is_an_error() {
        let kind = HttpCheck { path: "/a b".into(), ..http(serve(ok("")).await.0.port()) };
        assert!(matches!(ask_local(check(CheckKind::Http(kind))).await, Err(ProbeError::Check(_))));
    }
}

mod addresses {
    use super::*;

    #[tokio::test]
    async fn a_tcp_check_wants_a_connection_and_no_more() {
        let (server, _requests) = serve(Reply::Nothing).await;
        let timings = ask_local(check(CheckKind::Tcp { port: server.port() })).await.expect("accepts");
        assert_eq!((timings.tls, timings.first_byte), (None, None));
    }

    #[tokio::test]
    async fn every_address_must_answer() {
        let (server, _requests) = serve(ok("")).await;
        let outcome =
            ask(super::addresses(&["127.0.0.1", "127.0.0.2"]), check(CheckKind::Tcp { port: server.port() })).await;
        let refused = ProbeError::At { address: IpAddr::from([127, 0, 0, 2]), error: Box::new(ProbeError::Refused) };
        assert_eq!(outcome, Err(refused));
        let twice = ask(super::addresses(&["127.0.0.1", "127.0.0.1"]), check(CheckKind::Tcp { port: server.port() }));
        assert!(twice.await.is_ok());
    }

    #[tokio::test]
    async fn a_host_is_resolved_and_is_its_own_host_header() {
        let (server, mut requests) = serve(ok("")).await;
        let target = EndpointTarget::Host(Name::parse_absolute("localhost").expect("a name"));
        match ask(target, check(CheckKind::Http(http(server.port())))).await {
            Ok(timings) => {
                assert!(timings.dns.is_some());
                let request = requests.recv().await.expect("a request");
                assert!(request.contains(&format!("\r\nhost: localhost:{}\r\n", server.port())), "{request}");
            }
            // Where localhost is ::1 first, this server does not listen.
            Err(error) => assert_eq!(error, ProbeError::Refused),
        }
    }

    #[tokio::test]
    async fn rfc6761_invalid_names_do_not_resolve() {
        let target = EndpointTarget::Host(Name::parse_absolute("balancer.invalid").expect("a name"));
        let outcome = ask(target, check(CheckKind::Tcp { port: 80 })).await;
        assert!(
            matches!(outcome, Err(ProbeError::Dns(_) | ProbeError::Timeout { phase: Phase::Dns, .. })),
            "{outcome:?}"
        );
    }
}

mod exchanges {
    use super::*;
    use tokio::net::UdpSocket;

    fn exchange(port: u16, send: &str, expect: &str) -> ExchangeCheck {
        ExchangeCheck { port, send: send.into(), expect: expect.into() }
    }

    /// A server that reads `PING` and a line's end before it replies.
    async fn pinged(reply: Reply) -> u16 {
        let listener = TcpListener::bind((LOCALHOST, 0)).await.expect("a port");
        let port = listener.local_addr().expect("bound").port();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut ping = [0; 6];
                stream.read_exact(&mut ping).await.expect("six octets");
                assert_eq!(&ping, b"PING\r\n");
                // The line's end that ends the request for `respond` is never sent: its reply comes at once.
                tokio::spawn(respond(tokio::io::join(&b"\r\n\r\n"[..], stream), reply.clone()));
            }
        });
        port
    }

    async fn ping(reply: Reply) -> Result<Timings, ProbeError> {
        let exchange = exchange(pinged(reply).await, "PING\r\n", "+PONG");
        ask_local(hasty(CheckKind::TcpExchange(exchange))).await
    }

    #[tokio::test]
    async fn the_expected_octets_may_stand_anywhere_in_the_reply() {
        let timings = ping(Reply::Stalled("hello, +PONG!".into())).await.expect("healthy");
        assert!(timings.first_byte.is_some());
        assert!(ping(Reply::Text("+PONG".into())).await.is_ok());
    }

    #[tokio::test]
    async fn each_way_to_fail_is_told() {
        let said = |outcome: Result<Timings, ProbeError>| outcome.expect_err("fails").to_string();
        assert_eq!(
            said(ping(Reply::Text("-LOADING\r\n".into())).await),
            r#"the connection ended, and its 10 octets do not contain "+PONG": "-LOADING\r\n""#
        );
        assert_eq!(
            said(ping(Reply::Nothing).await),
            r#"the connection ended, and its 0 octets do not contain "+PONG""#
        );
        let endless = said(ping(Reply::Endless(String::new())).await);
        assert!(endless.starts_with(r#"the first 4096 octets do not contain "+PONG": "xxx"#), "{endless}");
        let late = ProbeError::Timeout { phase: Phase::Reply, after: Duration::from_millis(150) };
        assert_eq!(ping(Reply::Stalled("+PON".into())).await, Err(late));
        let dead = exchange(dead_port().await, "", "a");
        assert_eq!(ask_local(check(CheckKind::TcpExchange(dead))).await, Err(ProbeError::Refused));
    }

    #[tokio::test]
    async fn a_banner_is_waited_for_without_sending() {
        let listener = TcpListener::bind((LOCALHOST, 0)).await.expect("a port");
        let port = listener.local_addr().expect("bound").port();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("a probe");
            stream.write_all(b"220 mail.example ESMTP\r\n").await.expect("sent");
            std::future::pending::<()>().await;
        });
        ask_local(check(CheckKind::TcpExchange(exchange(port, "", "220 ")))).await.expect("healthy");
    }

    #[tokio::test]
    async fn a_datagram_is_answered_by_the_expected_octets() {
        let server = UdpSocket::bind((LOCALHOST, 0)).await.expect("a port");
        let port = server.local_addr().expect("bound").port();
        tokio::spawn(async move {
            let mut asked = [0; 100];
            while let Ok((length, from)) = server.recv_from(&mut asked).await {
                if asked[..length] != *b"silence" {
                    drop(server.send_to(&[b"echo ", &asked[..length]].concat(), from).await);
                }
            }
        });
        let udp = |send: &str, expect: &str| CheckKind::Udp(exchange(port, send, expect));
        ask_local(check(udp("a", "echo a"))).await.expect("healthy");
        ask_local(check(udp("a", ""))).await.expect("any datagram will do");
        let other = ask_local(check(udp("a", "b"))).await.expect_err("another answer");
        assert_eq!(other.to_string(), r#"the datagram's 6 octets do not contain "b": "echo a""#);
        let late = ProbeError::Timeout { phase: Phase::Reply, after: Duration::from_millis(150) };
        assert_eq!(ask_local(hasty(udp("silence", ""))).await, Err(late));
    }

    #[tokio::test]
    async fn a_closed_udp_port_refuses() {
        let socket = UdpSocket::bind((LOCALHOST, 0)).await.expect("a port");
        let port = socket.local_addr().expect("bound").port();
        drop(socket);
        assert_eq!(ask_local(check(CheckKind::Udp(exchange(port, "a", "")))).await, Err(ProbeError::Refused));
    }
}

mod dns_checks {
    use super::*;
    use crate::model::{DnsCheck, RecordType};
    use hickory_proto::op::{Message, MessageType, ResponseCode};
    use hickory_proto::rr::rdata::A;
    use hickory_proto::rr::{RData, Record};
    use tokio::net::UdpSocket;

    /// A name server on one port of UDP and TCP, whose responses are what is made of the question.
    async fn serve(over_udp: fn(Message) -> Vec<u8>, over_tcp: fn(Message) -> Vec<u8>) -> u16 {
        let listener = TcpListener::bind((LOCALHOST, 0)).await.expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let socket = UdpSocket::bind((LOCALHOST, port)).await.expect("the same port");
        tokio::spawn(async move {
            let mut asked = [0; 512];
            while let Ok((length, from)) = socket.recv_from(&mut asked).await {
                // A stray one comes first.
                drop(socket.send_to(b"stray", from).await);
                let response = over_udp(Message::from_vec(&asked[..length]).expect("a question"));
                drop(socket.send_to(&response, from).await);
            }
        });
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut asked = vec![0; usize::from(stream.read_u16().await.expect("a length"))];
                stream.read_exact(&mut asked).await.expect("a question");
                let response = over_tcp(Message::from_vec(&asked).expect("a question"));
                stream.write_u16(response.len() as u16).await.expect("sent");
                stream.write_all(&response).await.expect("sent");
            }
        });
        port
    }

    fn says(mut message: Message, rcode: ResponseCode, answer: bool) -> Vec<u8> {
        message.metadata.message_type = MessageType::Response;
        message.metadata.response_code = rcode;
        message.metadata.authoritative = !message.metadata.recursion_desired;
        if answer {
            let name = message.queries[0].name().clone();
            message.add_answer(Record::from_rdata(name, 60, RData::A(A::new(192, 0, 2, 1))));
        }
        message.to_vec().expect("a response")
    }

    fn good(message: Message) -> Vec<u8> {
        says(message, ResponseCode::NoError, true)
    }

    fn truncated(mut message: Message) -> Vec<u8> {
        message.metadata.truncation = true;
        says(message, ResponseCode::NoError, false)
    }

    fn question(port: u16) -> DnsCheck {
        let name = Name::parse_absolute("www.example.com").expect("a name");
        DnsCheck { port, name, rtype: RecordType::A, rcode: 0, wants_answer: true, recursive: false }
    }

    async fn ask_dns(check: DnsCheck) -> Result<Timings, ProbeError> {
        ask_local(super::check(CheckKind::Dns(check))).await
    }

    #[tokio::test]
    async fn an_answer_over_udp_is_a_success_and_strays_are_passed_over() {
        let port = serve(good, |_| panic!("not truncated")).await;
        assert!(ask_dns(question(port)).await.expect("healthy").first_byte.is_some());
    }

    #[tokio::test]
    async fn rfc7766_section_5_a_truncated_response_is_asked_for_over_tcp() {
        assert!(ask_dns(question(serve(truncated, good).await)).await.is_ok());
        let failed = serve(truncated, |message| says(message, ResponseCode::ServFail, false)).await;
        assert_eq!(ask_dns(question(failed)).await.expect_err("fails").to_string(), "rcode SERVFAIL, expected NOERROR");
    }

    #[tokio::test]
    async fn rcode_and_answer_are_as_expected_or_told() {
        let missing = serve(|message| says(message, ResponseCode::NXDomain, false), good).await;
        assert!(ask_dns(DnsCheck { rcode: 3, wants_answer: false, ..question(missing) }).await.is_ok());
        let error = ask_dns(question(missing)).await.expect_err("fails").to_string();
        assert_eq!(error, "rcode NXDOMAIN, expected NOERROR");
        let empty = serve(|message| says(message, ResponseCode::NoError, false), good).await;
        let error = ask_dns(question(empty)).await.expect_err("fails").to_string();
        assert_eq!(error, "NOERROR without an answer");
        let error = ask_dns(DnsCheck { recursive: true, ..question(empty) }).await.expect_err("fails").to_string();
        assert_eq!(error, "NOERROR without an answer, and it is not authoritative");
    }

    #[tokio::test]
    async fn responses_to_other_questions_and_silence_are_waited_out_and_a_closed_port_refuses() {
        let other = |mut message: Message| {
            message.metadata.id ^= 1;
            good(message)
        };
        let port = serve(other, good).await;
        let late = ProbeError::Timeout { phase: Phase::Reply, after: Duration::from_millis(150) };
        assert_eq!(ask_local(hasty(CheckKind::Dns(question(port)))).await, Err(late));
        let socket = UdpSocket::bind((LOCALHOST, 0)).await.expect("a port");
        let closed = socket.local_addr().expect("bound").port();
        drop(socket);
        assert_eq!(ask_dns(question(closed)).await, Err(ProbeError::Refused));
    }
}

mod grpc_checks {
    use super::*;
    use crate::model::GrpcCheck;
    use ::http::{HeaderMap, Request, Response};
    use bytes::Bytes;
    use http_body_util::{BodyExt, Full};
    use hyper::body::Incoming;
    use hyper::service::service_fn;
    use hyper_util::rt::{TokioExecutor, TokioIo};

    /// The octets of a body, and the status in its trailers.
    type Said = (&'static [u8], &'static str);

    const SERVING: Said = (&[0, 0, 0, 0, 2, 0x08, 1], "0");

    /// A gRPC server that expects to be asked for `shop.Cart`.
    async fn serve_grpc(said: Said) -> u16 {
        let listener = TcpListener::bind((LOCALHOST, 0)).await.expect("a port");
        let port = listener.local_addr().expect("bound").port();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let service = service_fn(move |request: Request<Incoming>| async move {
                    assert_eq!(request.uri().path(), "/grpc.health.v1.Health/Check");
                    assert_eq!(request.headers()["te"], "trailers");
                    let asked = request.into_body().collect().await.expect("a request").to_bytes();
                    assert_eq!(&asked[..], b"\0\0\0\0\x0b\x0a\x09shop.Cart");
                    let mut trailers = HeaderMap::new();
                    trailers.insert("grpc-status", said.1.parse().expect("a status"));
                    let body = Full::new(Bytes::from_static(said.0)).with_trailers(async { Some(Ok(trailers)) });
                    Ok::<_, std::convert::Infallible>(Response::new(body))
                });
                let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                tokio::spawn(server.serve_connection(TokioIo::new(stream), service));
            }
        });
        port
    }

    fn grpc(port: u16) -> CheckKind {
        CheckKind::Grpc(GrpcCheck { tls: None, port, service: "shop.Cart".into(), host: None })
    }

    #[tokio::test]
    async fn serving_is_a_success() {
        let timings = ask_local(check(grpc(serve_grpc(SERVING).await))).await.expect("healthy");
        assert!(timings.first_byte.is_some());
    }

    #[tokio::test]
    async fn each_way_to_fail_is_told() {
        for (said, text) in [
            ((&[0, 0, 0, 0, 2, 0x08, 2][..], "0"), "health status NOT_SERVING, expected SERVING"),
            ((&[0, 0, 0, 0, 0], "0"), "health status UNKNOWN, expected SERVING"),
            ((b"", "5"), "grpc-status 5 (NOT_FOUND: the server does not know this service)"),
            ((b"", "12"), "grpc-status 12 (UNIMPLEMENTED: the server has no health service)"),
            ((b"", "0"), "not a health response"),
            ((&[1, 0, 0, 0, 2, 0x08, 1], "0"), "not a health response"),
            ((&[0; 5_000], "0"), "the response is longer than 4096 octets"),
        ] {
            let error = ask_local(check(grpc(serve_grpc(said).await))).await.expect_err(text);
            assert_eq!(error.to_string(), text);
        }
        assert_eq!(ask_local(check(grpc(dead_port().await))).await, Err(ProbeError::Refused));
    }

    #[tokio::test]
    async fn a_server_of_http_1_and_one_that_says_nothing_fail() {
        let (server, _requests) = serve(ok("")).await;
        let error = ask_local(hasty(grpc(server.port()))).await.expect_err("no HTTP/2");
        assert!(matches!(error, ProbeError::Protocol(_) | ProbeError::Timeout { .. }), "{error}");
        let (server, _requests) = serve(Reply::Stalled(String::new())).await;
        let outcome = ask_local(hasty(grpc(server.port()))).await;
        assert!(matches!(outcome, Err(ProbeError::Timeout { phase: Phase::Header, .. })), "{outcome:?}");
    }
}

mod exec_checks {
    use super::*;
    use crate::model::ExecCheck;

    fn shell(script: &str) -> CheckKind {
        let arguments = vec!["-c".into(), script.into(), "check".into(), "{address}".into()];
        CheckKind::Exec(ExecCheck { program: "/bin/sh".into(), arguments })
    }

    #[tokio::test]
    async fn exit_status_0_is_a_success_and_the_address_is_told() {
        let script =
            r#"test "$MERIDIAN_ADDRESS" = 127.0.0.1 && test "$1" = 127.0.0.1 && test -z "$HOME$CARGO_PKG_NAME""#;
        ask_local(check(shell(script))).await.expect("healthy");
    }

    #[tokio::test]
    async fn another_status_fails_with_what_the_program_said_first() {
        for (script, text) in [
            ("echo no orders for an hour; echo x >&2; exit 2", "exit status: 2: no orders for an hour"),
            ("echo lost >&2; exit 1", "exit status: 1: lost"),
            ("exit 3", "exit status: 3"),
        ] {
            assert_eq!(ask_local(check(shell(script))).await.expect_err(text).to_string(), text);
        }
        let killed = ask_local(check(shell("kill -9 $$"))).await.expect_err("killed").to_string();
        assert!(killed.starts_with("signal: 9"), "{killed}");
    }

    #[tokio::test]
    async fn much_output_is_read_to_the_end_and_little_is_kept() {
        let script =
            "i=0; while [ $i -lt 3000 ]; do echo 0123456789012345678901234567890123456789; i=$((i+1)); done; exit 1";
        let error = ask_local(check(shell(script))).await.expect_err("fails").to_string();
        assert!(error.starts_with("exit status: 1: 0123456789") && error.chars().count() < 250, "{error}");
    }

    #[tokio::test]
    async fn a_program_that_is_late_is_killed_with_those_it_started() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let script = format!("sleep 1000 & echo $! > {}; wait", file.path().display());
        let late = ProbeError::Timeout { phase: Phase::Exit, after: Duration::from_secs(2) };
        let check = Check { timeout: Duration::from_secs(2), ..check(shell(&script)) };
        assert_eq!(ask_local(check).await, Err(late));
        let started: i32 = std::fs::read_to_string(file.path()).expect("its id").trim().parse().expect("an id");
        // Whoever takes over orphans may be slow to bury it: a zombie has an empty command line.
        let gone = || std::fs::read(format!("/proc/{started}/cmdline")).map_or(true, |line| line.is_empty());
        let ends = async {
            while !gone() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(Duration::from_secs(30), ends).await.expect("killed");
    }

    #[tokio::test]
    async fn a_program_that_leaves_another_behind_has_ended() {
        let begun = std::time::Instant::now();
        ask_local(check(shell("sleep 5 & exit 0"))).await.expect("healthy");
        assert!(begun.elapsed() < Duration::from_secs(5));
    }

    #[tokio::test]
    async fn a_program_that_cannot_be_run_blames_no_endpoint() {
        let missing = ExecCheck { program: "/nonexistent/check".into(), arguments: Vec::new() };
        let outcome = ask_local(check(CheckKind::Exec(missing))).await;
        assert!(matches!(outcome, Err(ProbeError::Own(_))), "{outcome:?}");
    }
}

mod tls_checks {
    use super::*;
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
    use rustls::HandshakeKind;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
    use tokio_rustls::TlsAcceptor;

    /// A server whose certificate is for `www.example.com`, by a private authority; with the
    /// authority's certificate as PEM.
    async fn serve_tls() -> (SocketAddr, String) {
        let (address, ca_pem, _) = serve_tls_counting().await;
        (address, ca_pem)
    }

    /// As [`serve_tls`], with the kind of each handshake.
    async fn serve_tls_counting() -> (SocketAddr, String, mpsc::Receiver<Option<HandshakeKind>>) {
        let mut params = CertificateParams::new(vec![]).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca_key = KeyPair::generate().expect("a key");
        let ca_pem = params.self_signed(&ca_key).expect("a certificate").pem();
        let issuer = Issuer::new(params, ca_key);
        let key = KeyPair::generate().expect("a key");
        let leaf = CertificateParams::new(vec!["www.example.com".into()]).expect("parameters");
        let leaf = leaf.signed_by(&key, &issuer).expect("a certificate");
        let (address, handshakes) = serve_certificate(leaf.der().clone(), &key).await;
        (address, ca_pem, handshakes)
    }

    async fn serve_certificate(
        certificate: CertificateDer<'static>,
        key: &KeyPair,
    ) -> (SocketAddr, mpsc::Receiver<Option<HandshakeKind>>) {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .expect("a usable certificate");
        let listener = TcpListener::bind((LOCALHOST, 0)).await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let (sender, handshakes) = mpsc::channel(10);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, sender) = (acceptor.clone(), sender.clone());
                tokio::spawn(async move {
                    if let Ok(stream) = acceptor.accept(stream).await {
                        let _ = sender.try_send(stream.get_ref().1.handshake_kind());
                        respond(stream, ok("secret")).await;
                    }
                });
            }
        });
        (address, handshakes)
    }

    fn https(port: u16, server_name: Option<&str>, verify: bool, ca_pem: Option<&str>) -> Check {
        let tls = TlsCheck {
            server_name: server_name.map(Into::into),
            verify,
            ca_pem: ca_pem.map(Into::into),
            ..TlsCheck::default()
        };
        check(CheckKind::Http(HttpCheck { tls: Some(tls), body: Some("secret".into()), ..http(port) }))
    }

    #[tokio::test]
    async fn a_certificate_by_the_given_authority_for_the_right_name_passes() {
        let (server, ca) = serve_tls().await;
        let timings = ask_local(https(server.port(), Some("www.example.com"), true, Some(&ca))).await.expect("healthy");
        assert!(timings.tls.is_some());
    }

    #[tokio::test]
    async fn a_handshake_alone_is_a_check_and_a_certificate_near_its_end_is_warned_of_or_fails() {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(vec!["www.example.com".into()]).expect("parameters");
        params.is_ca = IsCa::ExplicitNoCa;
        params.not_after = (SystemTime::now() + Duration::from_secs(10 * 86_400 + 3_600)).into();
        let certificate = params.self_signed(&key).expect("a certificate");
        let (server, _handshakes) = serve_certificate(certificate.der().clone(), &key).await;
        let ask = |warn_days, fail_days| {
            let (server_name, ca_pem) = (Some("www.example.com".into()), Some(certificate.pem()));
            let tls = TlsCheck { server_name, ca_pem, warn_days, fail_days, ..TlsCheck::default() };
            ask_local(check(CheckKind::Tls { port: server.port(), tls }))
        };
        let timings = ask(10, 0).await.expect("healthy");
        assert!(timings.tls.is_some() && timings.first_byte.is_none() && timings.warning.is_none());
        let warned = ask(11, 10).await.expect("healthy").to_string();
        assert!(
            warned.starts_with("ok in ") && warned.ends_with(" ms, but the certificate expires in 10 days"),
            "{warned}"
        );
        let failed = ask(11, 11).await.expect_err("too near its end").to_string();
        assert_eq!(failed, "TLS: the certificate expires in 10 days, `fail_days` is 11");
    }

    #[tokio::test]
    async fn of_several_addresses_the_warning_of_any_is_told() {
        let (server, ca) = serve_tls().await;
        let tls = TlsCheck { server_name: Some("www.example.com".into()), ca_pem: Some(ca), ..TlsCheck::default() };
        let tls = TlsCheck { warn_days: u32::MAX, ..tls };
        let kind = CheckKind::Tls { port: server.port(), tls };
        let timings = ask(super::addresses(&["127.0.0.1", "127.0.0.1"]), check(kind)).await.expect("healthy");
        assert!(timings.warning.is_some());
    }

    #[tokio::test]
    async fn the_host_is_the_name_where_none_is_given() {
        let (server, ca) = serve_tls().await;
        let mut check = https(server.port(), None, true, Some(&ca));
        if let CheckKind::Http(http) = &mut check.kind {
            http.host = Some("www.example.com:8443".into());
        }
        assert!(ask_local(check).await.is_ok());
    }

    #[tokio::test]
    async fn a_wrong_name_or_an_unknown_authority_fails_and_the_error_says_which() {
        let (server, ca) = serve_tls().await;
        let port = server.port();
        let other = ask_local(https(port, Some("other.example.com"), true, Some(&ca))).await.expect_err("wrong name");
        assert!(other.to_string().contains("other.example.com"), "{other}");
        let bare = ask_local(https(port, None, true, Some(&ca))).await.expect_err("an address is not its name");
        assert!(matches!(bare, ProbeError::Tls(_)), "{bare}");
        let untrusted = ask_local(https(port, Some("www.example.com"), true, None)).await.expect_err("unknown");
        assert!(untrusted.to_string().contains("UnknownIssuer"), "{untrusted}");
    }

    #[tokio::test]
    async fn a_self_signed_certificate_that_is_an_authority_names_the_cure() {
        for (is_ca, good) in [(IsCa::Ca(BasicConstraints::Unconstrained), false), (IsCa::ExplicitNoCa, true)] {
            let mut params = CertificateParams::new(vec!["www.example.com".into()]).expect("parameters");
            params.is_ca = is_ca;
            let key = KeyPair::generate().expect("a key");
            let certificate = params.self_signed(&key).expect("a certificate");
            let (server, _) = serve_certificate(certificate.der().clone(), &key).await;
            let check = https(server.port(), Some("www.example.com"), true, Some(&certificate.pem()));
            match ask_local(check).await {
                Ok(_) => assert!(good),
                Err(error) => assert!(!good && error.to_string().contains("CA:FALSE"), "{error}"),
            }
        }
    }

    #[tokio::test]
    async fn every_probe_sees_the_certificate_again() {
        let (server, ca, mut handshakes) = serve_tls_counting().await;
        let check = https(server.port(), Some("www.example.com"), true, Some(&ca));
        let question = super::question(super::addresses(&["127.0.0.1"]), &check);
        for _ in 0..2 {
            question.clone().ask().await.expect("healthy");
            assert_eq!(handshakes.recv().await, Some(Some(HandshakeKind::Full)));
        }
    }

    #[tokio::test]
    async fn unverified_takes_any_certificate() {
        let (server, _) = serve_tls().await;
        assert!(ask_local(https(server.port(), None, false, None)).await.is_ok());
    }

    #[tokio::test]
    async fn a_server_that_speaks_plain_http_fails() {
        let listener = TcpListener::bind((LOCALHOST, 0)).await.expect("a port");
        let port = listener.local_addr().expect("bound").port();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                drop(stream.write_all(b"HTTP/1.1 400 Bad\r\n\r\n").await);
            }
        });
        let error = ask_local(https(port, None, false, None)).await.expect_err("not TLS");
        assert!(matches!(error, ProbeError::Tls(_)), "{error}");
    }

    #[tokio::test]
    async fn trusted_certificates_that_cannot_be_read_fail_every_probe() {
        let (server, _) = serve_tls().await;
        let error = ask_local(https(server.port(), None, true, Some("no pem"))).await.expect_err("no trust");
        assert_eq!(error.to_string(), "TLS: the trusted certificates' file holds none");
    }

    #[tokio::test]
    async fn a_name_no_certificate_could_have_is_an_error_of_the_check() {
        let (server, _) = serve_tls().await;
        let outcome = ask_local(https(server.port(), Some("not a name"), true, None)).await;
        assert!(matches!(outcome, Err(ProbeError::Check(_))), "{outcome:?}");
    }

    #[tokio::test]
    async fn silence_in_the_handshake_is_a_timeout_of_tls() {
        let listener = TcpListener::bind((LOCALHOST, 0)).await.expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let check = Check { timeout: Duration::from_millis(100), ..https(port, None, false, None) };
        let outcome = ask_local(check).await;
        assert!(matches!(outcome, Err(ProbeError::Timeout { phase: Phase::Tls, .. })), "{outcome:?}");
    }
}

mod reloads {
    use super::*;
    use crate::atlas::Atlas;
    use crate::state::{EndpointNews, News, Publisher};
    use crate::steer::testing::moment;

    /// One region `seoul` in zone `gslb.example` with these endpoints.
    pub(super) fn model(endpoints: &[&str], check: Option<Check>) -> Model {
        let endpoint = |address: &&str| Endpoint { target: super::addresses(&[address]), weight: 1, layer: Layer::L7 };
        let endpoints = endpoints.iter().map(endpoint).collect();
        let at = Coordinates::new(37.57, 126.98).expect("on the globe");
        let region = Region { checks: check.map(Checks::from), ..Region::new("seoul", ZoneId(0), at, endpoints) };
        let origin = Name::parse_absolute("gslb.example").expect("a name");
        let zone = Zone { origin, nodes: Default::default() };
        Model { zones: vec![zone], regions: vec![region], ..Model::default() }
    }

    fn every(interval_ms: u64, port: u16) -> Option<Check> {
        Some(Check { interval: Duration::from_millis(interval_ms), ..check(CheckKind::Tcp { port }) })
    }

    pub(super) async fn next(reports: &mut mpsc::Receiver<EndpointReport>) -> EndpointReport {
        timeout(Duration::from_secs(5), reports.recv()).await.expect("a report in time").expect("a prober")
    }

    #[tokio::test]
    async fn the_first_round_ends_with_a_report_of_each_endpoint() {
        let (server, _requests) = serve(Reply::Nothing).await;
        let (sink, mut reports) = mpsc::channel(10);
        let mut prober = Prober::new(sink, ProbeLimits::default());
        prober.first_round().await; // Nothing to wait for.
        prober.configure(&model(&["127.0.0.1", "127.0.0.2"], every(60_000, server.port())));
        timeout(Duration::from_secs(5), prober.first_round()).await.expect("bounded");
        let mut seen: Vec<_> = std::iter::from_fn(|| reports.try_recv().ok())
            .map(|report| {
                (report.key.region.to_string(), report.key.endpoint.to_string(), report.verdict, report.streak)
            })
            .collect();
        seen.sort_by(|a, b| a.1.cmp(&b.1));
        let region = || "seoul@gslb.example".to_string();
        assert_eq!(
            seen,
            [(region(), "127.0.0.1".into(), Verdict::Up, 1), (region(), "127.0.0.2".into(), Verdict::Unknown, 1)]
        );
    }

    #[tokio::test]
    async fn a_region_without_a_check_is_not_probed() {
        let (sink, mut reports) = mpsc::channel(10);
        let mut prober = Prober::new(sink, ProbeLimits::default());
        prober.configure(&model(&["127.0.0.1"], None));
        prober.first_round().await;
        assert!(reports.try_recv().is_err());
    }

    #[tokio::test]
    async fn an_unchanged_check_goes_on_and_a_new_pace_keeps_the_history() {
        let (server, _requests) = serve(Reply::Nothing).await;
        let (sink, mut reports) = mpsc::channel(10);
        let mut prober = Prober::new(sink, ProbeLimits::default());
        prober.configure(&model(&["127.0.0.1"], every(100, server.port())));
        let first = next(&mut reports).await;
        let watch = |prober: &Prober| prober.slots.values().next().expect("a slot").probed.clone();
        let old = watch(&prober);
        prober.configure(&model(&["127.0.0.1"], every(100, server.port())));
        assert!(watch(&prober).same_channel(&old), "the same task goes on");
        let second = next(&mut reports).await;
        assert_eq!((second.streak, second.since), (2, first.since));
        prober.configure(&model(&["127.0.0.1"], every(101, server.port())));
        assert!(!watch(&prober).same_channel(&old), "a new task");
        prober.first_round().await;
        let third = next(&mut reports).await;
        assert!(third.streak >= 3 && third.since == first.since, "{third:?}");
    }

    /// A model's regions as a warm start publishes them, last probed so many seconds ago.
    fn before_a_restart(model: Model, verdict: Verdict, ago_s: u64) -> (Arc<Snapshot>, std::time::Instant) {
        let now = std::time::Instant::now() + Duration::from_secs(3600);
        let probed = now - Duration::from_secs(ago_s);
        let mut publisher = Publisher::new(model, Atlas::empty(), "", 0, Default::default(), moment(probed));
        let news = EndpointNews::of_only_probe("seoul@gslb.example", "127.0.0.1", verdict);
        publisher.apply(News::Probe(news), moment(probed));
        publisher.publish(moment(now));
        (publisher.shared().load_full(), now)
    }

    #[tokio::test]
    async fn after_a_restart_the_first_probe_goes_on_from_what_was_found_lately_and_is_not_awaited() {
        let (server, _requests) = serve(Reply::Nothing).await;
        let (alive, dead) = (server.port(), dead_port().await);
        for (before, ago_s, port, after) in [
            (Verdict::Up, 1, alive, Verdict::Up),
            (Verdict::Up, 1, dead, Verdict::Suspect),
            (Verdict::Up, 3600, dead, Verdict::Unknown),
            (Verdict::Down, 1, alive, Verdict::Down),
            (Verdict::Down, 3600, alive, Verdict::Down),
        ] {
            let (sink, mut reports) = mpsc::channel(10);
            let mut prober = Prober::new(sink, ProbeLimits::default());
            let model = model(&["127.0.0.1"], every(60_000, port));
            let (snapshot, now) = before_a_restart(model.clone(), before, ago_s);
            prober.resume(&snapshot, now);
            prober.configure(&model);
            timeout(Duration::ZERO, prober.first_round()).await.expect("it is known already");
            assert_eq!(next(&mut reports).await.verdict, after, "{before} {ago_s} s ago");
        }
    }

    #[tokio::test]
    async fn another_question_starts_anew() {
        let (server, _requests) = serve(Reply::Nothing).await;
        let (sink, mut reports) = mpsc::channel(10);
        let mut prober = Prober::new(sink, ProbeLimits::default());
        prober.configure(&model(&["127.0.0.1"], every(60_000, server.port())));
        assert_eq!(next(&mut reports).await.verdict, Verdict::Up);
        prober.configure(&model(&["127.0.0.1"], every(60_000, dead_port().await)));
        let report = next(&mut reports).await;
        assert_eq!((report.verdict, report.streak, report.outcome), (Verdict::Unknown, 1, Err(ProbeError::Refused)));
    }

    #[tokio::test]
    async fn endpoints_that_are_gone_are_asked_no_more() {
        let (sink, mut reports) = mpsc::channel(10);
        let mut prober = Prober::new(sink, ProbeLimits::default());
        prober.configure(&model(&["127.0.0.1", "127.0.0.2"], every(100, dead_port().await)));
        prober.first_round().await;
        prober.configure(&model(&[], None));
        prober.first_round().await;
        // The sender in the prober is the last one once the watches are gone.
        let Prober { sink, slots, .. } = prober;
        assert!(slots.is_empty());
        drop(sink);
        timeout(Duration::from_secs(5), async { while reports.recv().await.is_some() {} }).await.expect("all stop");
    }

    #[tokio::test]
    async fn dropping_the_prober_stops_every_probe() {
        let (sink, mut reports) = mpsc::channel(10);
        let mut prober = Prober::new(sink, ProbeLimits::default());
        prober.configure(&model(&["127.0.0.1"], every(100, dead_port().await)));
        let round = prober.first_round();
        drop(prober);
        timeout(Duration::from_secs(5), round).await.expect("nothing is left to wait for");
        timeout(Duration::from_secs(5), async { while reports.recv().await.is_some() {} }).await.expect("all stop");
    }

    #[tokio::test]
    async fn one_connection_at_a_time_still_probes_everything() {
        let (server, _requests) = serve(Reply::Nothing).await;
        let (sink, mut reports) = mpsc::channel(10);
        let mut prober = Prober::new(sink, ProbeLimits { concurrency: 1 });
        prober.configure(&model(&["127.0.0.1", "127.0.0.2", "127.0.0.3"], every(60_000, server.port())));
        timeout(Duration::from_secs(5), prober.first_round()).await.expect("bounded");
        assert_eq!(std::iter::from_fn(|| reports.try_recv().ok()).count(), 3);
    }
}

mod cut_off {
    use super::*;
    use crate::model::Reference;

    /// A region that refuses, and a reference that answers or does not.
    #[tokio::test]
    async fn while_no_reference_answers_verdicts_stay_and_then_failures_count_again() {
        let (listener, dead) =
            (tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("an address"), dead_port().await);
        let reference = listener.local_addr().expect("an address");
        let check = Check { interval: Duration::from_millis(100), ..check(CheckKind::Tcp { port: reference.port() }) };
        let at = Coordinates::new(37.57, 126.98).expect("on the globe");
        let endpoint = Endpoint { target: addresses(&["127.0.0.1"]), weight: 1, layer: Layer::L7 };
        let region = |port| {
            let check = Check { kind: CheckKind::Tcp { port }, ..check.clone() };
            Region { checks: Some(check.into()), ..Region::new("seoul", ZoneId(0), at, vec![endpoint.clone()]) }
        };
        let model = |port| Model {
            zones: vec![Zone {
                origin: Name::parse_absolute("gslb.example").expect("a name"),
                nodes: Default::default(),
            }],
            regions: vec![region(port)],
            references: vec![Reference {
                address: LOCALHOST,
                check: Check::new(CheckKind::Tcp { port: reference.port() }),
            }],
            ..Model::default()
        };
        let (sink, mut reports) = mpsc::channel(1000);
        let mut prober = Prober::new(sink, ProbeLimits { concurrency: 8 });
        prober.configure(&model(reference.port()));
        let first = timeout(Duration::from_secs(5), reports.recv()).await.expect("in time").expect("a report");
        assert_eq!(first.verdict, Verdict::Up);
        // The reference and the region are the same door: nobody can tell which of the two went.
        drop(listener);
        let until = tokio::time::Instant::now() + Duration::from_millis(1500);
        while let Ok(report) = tokio::time::timeout_at(until, reports.recv()).await {
            let report = report.expect("a prober");
            assert!(report.outcome.is_ok(), "a failure counted: {report:?}");
        }
        let cut_off = prober.reachability().cut_off();
        assert!(matches!(&cut_off[..], [of] if !of.ipv6 && of.why.contains("connection refused")), "{cut_off:?}");
        let _back = tokio::net::TcpListener::bind(reference).await.expect("the port again");
        while !prober.reachability().cut_off().is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await; // a failure is a test that never ends
        }
        prober.configure(&model(dead));
        let judged = async {
            loop {
                let report = reports.recv().await.expect("a prober");
                if report.verdict == Verdict::Down {
                    return;
                }
            }
        };
        timeout(Duration::from_secs(10), judged).await.expect("down by its own failures");
    }
}
