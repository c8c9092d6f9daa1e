//! The ways endpoints fail, each against a real socket: what is said of it, and that the probe ends in time.

use hickory_proto::op::{Message, MessageType};
use socket2::{Domain, SockRef, Socket, Type};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::sleep;

use super::encrypted::{Authority, accept_tls, say_fine, trusting};
use super::*;
use crate::model::{DnsCheck, GrpcCheck, HttpVersion, RecordType};

/// A server that answers each connection in its way.
pub(super) async fn accept<F>(answer: impl Fn(TcpStream) -> F + Send + 'static) -> u16
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind((LOCALHOST, 0)).await.expect("a port");
    let port = listener.local_addr().expect("bound").port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream));
        }
    });
    port
}

/// Reads what was asked, as far as it comes at once.
async fn hear(stream: &mut TcpStream) {
    drop(stream.read(&mut [0; 1_024]).await);
}

/// Ends the connection by RST.
fn reset(stream: TcpStream) {
    SockRef::from(&stream).set_linger(Some(Duration::ZERO)).expect("a socket");
}

/// What is said of a check that fails by itself, with time to spare.
async fn told(kind: CheckKind) -> String {
    let check = Check { timeout: Duration::from_secs(60), ..check(kind) };
    let outcome = timeout(Duration::from_secs(50), ask_local(check)).await.expect("it fails by itself");
    outcome.expect_err("fails").to_string()
}

/// What is said of a check that fails by its timeout of 300 ms, and must end soon after that.
async fn told_late(kind: CheckKind) -> String {
    let check = Check { timeout: Duration::from_millis(300), ..check(kind) };
    let outcome = timeout(Duration::from_secs(20), ask_local(check)).await.expect("bounded by its timeout");
    outcome.expect_err("fails").to_string()
}

fn exchange(port: u16) -> CheckKind {
    CheckKind::TcpExchange(ExchangeCheck { port, send: "PING\r\n".into(), expect: "+PONG".into() })
}

fn dns(port: u16) -> CheckKind {
    let name = Name::parse_absolute("www.example.com").expect("a name");
    CheckKind::Dns(DnsCheck { port, name, rtype: RecordType::A, rcode: 0, wants_answer: true, recursive: false })
}

fn wants_body(port: u16) -> HttpCheck {
    HttpCheck { body: Some("whole".into()), ..http(port) }
}

fn wants_json(port: u16) -> HttpCheck {
    HttpCheck { json: vec![("/status".into(), json!("up"))], ..http(port) }
}

fn grpc(port: u16, tls: Option<TlsCheck>) -> CheckKind {
    CheckKind::Grpc(GrpcCheck { tls, port, service: String::new(), host: None })
}

fn https(port: u16, tls: TlsCheck) -> CheckKind {
    CheckKind::Http(HttpCheck { tls: Some(tls), ..http(port) })
}

/// Every kind that takes a TCP connection, and what it waits for once it has one and nobody speaks.
fn over_tcp(port: u16) -> [(CheckKind, &'static str); 7] {
    let tls = TlsCheck { verify: false, ..TlsCheck::default() };
    let (http2, handshake) = (HttpCheck { version: HttpVersion::Http2, ..http(port) }, "the TLS handshake");
    [
        (CheckKind::Http(http(port)), "the header of the answer"),
        (CheckKind::Http(http2), "the header of the answer"),
        (https(port, tls.clone()), handshake),
        (exchange(port), "the answer"),
        (CheckKind::Tls { port, tls: tls.clone() }, handshake),
        (grpc(port, None), "the header of the answer"),
        (grpc(port, Some(tls)), handshake),
    ]
}

const RESET: &str = "Connection reset by peer (os error 104)";

#[tokio::test]
async fn a_port_nobody_listens_on_refuses_whatever_is_asked() {
    let port = dead_port().await;
    for (kind, _) in over_tcp(port) {
        assert_eq!(told(kind.clone()).await, "connection refused", "{kind:?}");
    }
}

#[tokio::test]
async fn a_black_hole_is_waited_for_as_long_as_the_timeout_says() {
    // Connections that wait to be accepted are as many as may: further ones get no answer.
    let listener = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    listener.bind(&SocketAddr::from((LOCALHOST, 0)).into()).expect("a port");
    listener.listen(0).expect("listens");
    let address = listener.local_addr().expect("bound").as_socket().expect("an address");
    let mut held = Vec::new();
    while let Ok(stream) = std::net::TcpStream::connect_timeout(&address, Duration::from_millis(200)) {
        held.push(stream);
        assert!(held.len() < 100, "the queue is never full");
    }
    for (kind, _) in over_tcp(address.port()).into_iter().chain([(CheckKind::Tcp { port: address.port() }, "")]) {
        let late = "waited 300 ms in all, at last for the TCP connection";
        assert_eq!(told_late(kind.clone()).await, late, "{kind:?}");
    }
}

#[tokio::test]
async fn a_listener_that_says_nothing_is_waited_for_in_the_step_it_leaves_open() {
    let port = accept(|stream| async move {
        let _held = stream;
        std::future::pending().await
    })
    .await;
    for (kind, waits_for) in over_tcp(port) {
        let late = format!("waited 300 ms in all, at last for {waits_for}");
        // Those who speak into the silence wait as those who listen to it.
        assert_eq!(told_late(kind.clone()).await, late, "{kind:?}");
    }
}

#[tokio::test]
async fn a_head_or_a_body_that_trickles_is_cut_off_by_the_timeout() {
    let trickle = |head: &'static str| {
        accept(move |mut stream| async move {
            hear(&mut stream).await;
            drop(stream.write_all(head.as_bytes()).await);
            while stream.write_all(b"x").await.is_ok() {
                sleep(Duration::from_millis(200)).await;
            }
        })
    };
    let port = trickle("HTTP/1.1 200 OK\r\nx-slow: ").await;
    let late = "waited 300 ms in all, at last for the header of the answer";
    assert_eq!(told_late(CheckKind::Http(http(port))).await, late);
    let port = trickle("HTTP/1.1 200 OK\r\n\r\n").await;
    for kind in [wants_body(port), wants_json(port)] {
        assert_eq!(told_late(CheckKind::Http(kind)).await, "waited 300 ms in all, at last for the body of the answer");
    }
    let port = trickle("+PON").await;
    assert_eq!(told_late(exchange(port)).await, "waited 300 ms in all, at last for the answer");
}

#[tokio::test]
async fn an_endless_body_is_no_json_and_holds_no_text() {
    let (server, _requests) = serve(Reply::Endless("HTTP/1.1 200 OK\r\n\r\n".into())).await;
    let port = server.port();
    let error = told(CheckKind::Http(wants_json(port))).await;
    assert_eq!(error, "the body is not JSON: it is longer than 65536 octets");
    let error = told(CheckKind::Http(wants_body(port))).await;
    assert_eq!(error, "the first 65536 octets of the body do not contain \"whole\"");
}

#[tokio::test]
async fn another_status_and_json_that_is_none_are_told() {
    for (reply, text) in [
        (status(503, r#"{"status":"up"}"#), "status 503, expected 200-399"),
        (ok(r#"{"status":"up""#), "the body is not JSON: EOF while parsing an object at line 1 column 14"),
        (ok("<html>up"), "the body is not JSON: expected value at line 1 column 1"),
        (ok("\u{feff}"), "the body is not JSON: expected value at line 1 column 1"),
        (ok(""), "the body is not JSON: EOF while parsing a value at line 1 column 0"),
        (ok("{}"), "JSON at `/status` is missing, expected \"up\""),
        (ok(r#"{"status":["up"]}"#), "JSON at `/status` is [\"up\"], expected \"up\""),
    ] {
        let (server, _requests) = serve(reply).await;
        assert_eq!(told(CheckKind::Http(wants_json(server.port()))).await, text);
    }
}

#[tokio::test]
async fn certificates_that_have_expired_or_are_not_valid_yet_or_for_another_name_are_told() {
    let authority = Authority::new("servers");
    let made = |name: &str| rcgen::CertificateParams::new(vec![name.into()]).expect("parameters");
    let day = Duration::from_secs(86_400);
    let mut expired = made("www.example.com");
    (expired.not_before, expired.not_after) = ((SystemTime::now() - 9 * day).into(), (SystemTime::now() - day).into());
    let mut early = made("www.example.com");
    early.not_before = (SystemTime::now() + day).into();
    for (params, text) in [
        (expired, "TLS: invalid peer certificate: certificate expired"),
        (early, "TLS: invalid peer certificate: certificate not valid yet"),
        (
            made("other.example.com"),
            "TLS: invalid peer certificate: certificate not valid for name \"www.example.com\"",
        ),
    ] {
        let port = accept_tls(authority.serve(&params, None, rustls::ALL_VERSIONS), say_fine).await;
        let tls = || trusting(&authority, None);
        for kind in [CheckKind::Tls { port, tls: tls() }, https(port, tls()), grpc(port, Some(tls()))] {
            let error = told(kind).await;
            assert!(error.starts_with(text), "{error}");
        }
    }
}

#[tokio::test]
async fn a_server_that_closes_its_half_at_once_and_reads_on_fails_every_kind() {
    let port = accept(|mut stream| async move {
        stream.shutdown().await.expect("half closed");
        while let Ok(1..) = stream.read(&mut [0; 1_024]).await {}
    })
    .await;
    for (kind, _) in over_tcp(port) {
        let error = told(kind.clone()).await;
        let expected = match &kind {
            CheckKind::TcpExchange(_) => "the connection ended, and its 0 octets do not contain \"+PONG\"",
            CheckKind::Http(http) if http.tls.is_none() => "not a whole HTTP answer: ",
            CheckKind::Grpc(grpc) if grpc.tls.is_none() => "not a whole HTTP answer: ",
            _ => "TLS: tls handshake eof",
        };
        assert!(error.starts_with(expected), "{kind:?}: {error}");
    }
}

#[tokio::test]
async fn a_reset_in_the_exchange_is_no_failure_to_connect() {
    let at_once = accept(|mut stream| async move {
        hear(&mut stream).await;
        reset(stream);
    });
    let at_once = at_once.await;
    for (kind, _) in over_tcp(at_once) {
        let error = told(kind.clone()).await;
        let expected = match &kind {
            CheckKind::TcpExchange(_) => "the connection broke off: ",
            CheckKind::Http(http) if http.tls.is_none() => "not a whole HTTP answer: ",
            CheckKind::Grpc(grpc) if grpc.tls.is_none() => "not a whole HTTP answer: ",
            _ => "TLS: ",
        };
        // By HTTP/2 whoever writes may notice first.
        let reset = error.contains(RESET) || error.contains("broken pipe");
        assert!(error.starts_with(expected) && reset, "{kind:?}: {error}");
    }
    let midway = accept(|mut stream| async move {
        hear(&mut stream).await;
        stream.write_all(b"+PO").await.expect("sent");
        reset(stream);
    });
    assert_eq!(told(exchange(midway.await)).await, format!("the connection broke off: {RESET}"));
}

#[tokio::test]
async fn a_reset_within_the_body_is_no_whole_answer_where_the_body_is_looked_at() {
    let port = accept(|mut stream| async move {
        hear(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\nhalf").await.expect("sent");
        reset(stream);
    })
    .await;
    for kind in [wants_body(port), wants_json(port)] {
        let error = told(CheckKind::Http(kind)).await;
        assert!(error.starts_with("not a whole HTTP answer: ") && error.contains(RESET), "{error}");
    }
}

/// A name server whose responses over UDP are truncated, and whose TCP connections are answered in some way.
async fn truncating<F>(over_tcp: impl Fn(TcpStream) -> F + Send + 'static) -> u16
where
    F: Future<Output = ()> + Send + 'static,
{
    let port = accept(over_tcp).await;
    let socket = UdpSocket::bind((LOCALHOST, port)).await.expect("the same port");
    tokio::spawn(async move {
        let mut asked = [0; 512];
        while let Ok((length, from)) = socket.recv_from(&mut asked).await {
            let mut message = Message::from_vec(&asked[..length]).expect("a question");
            message.metadata.message_type = MessageType::Response;
            message.metadata.truncation = true;
            drop(socket.send_to(&message.to_vec().expect("a response"), from).await);
        }
    });
    port
}

#[tokio::test]
async fn dns_over_tcp_that_ends_early_is_reset_or_hangs_is_told() {
    let ends = truncating(|mut stream| async move {
        hear(&mut stream).await;
        drop(stream.write_all(&[0, 99, 1, 2]).await);
    });
    assert_eq!(told(dns(ends.await)).await, "the connection ended before the whole answer");
    let resets = truncating(|mut stream| async move {
        hear(&mut stream).await;
        reset(stream);
    });
    assert_eq!(told(dns(resets.await)).await, format!("the connection broke off: {RESET}"));
    let hangs = truncating(|stream| async move {
        let _held = stream;
        std::future::pending().await
    });
    assert_eq!(told_late(dns(hangs.await)).await, "waited 300 ms in all, at last for the answer");
}
