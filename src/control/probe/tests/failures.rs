//! The ways endpoints fail, each against a real socket: what is said of it, and that the probe ends in time.

use socket2::SockRef;
use tokio::net::TcpStream;

use super::*;
use crate::model::{DnsCheck, RecordType};

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

/// What is said of the failure of a check with a timeout of 400 ms, which must end soon after that.
async fn told(kind: CheckKind) -> String {
    let check = Check { timeout: Duration::from_millis(400), ..check(kind) };
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

fn wants_body(port: u16) -> CheckKind {
    CheckKind::Http(HttpCheck { body: Some("whole".into()), ..http(port) })
}

const RESET: &str = "Connection reset by peer (os error 104)";

#[tokio::test]
async fn a_reset_in_the_exchange_is_no_failure_to_connect() {
    let at_once = accept(|mut stream| async move {
        hear(&mut stream).await;
        reset(stream);
    });
    assert_eq!(told(exchange(at_once.await)).await, format!("the connection broke off: {RESET}"));
    let midway = accept(|mut stream| async move {
        hear(&mut stream).await;
        stream.write_all(b"+PO").await.expect("sent");
        reset(stream);
    });
    assert_eq!(told(exchange(midway.await)).await, format!("the connection broke off: {RESET}"));
}
