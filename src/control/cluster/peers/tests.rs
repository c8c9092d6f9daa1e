//! Two nodes over real sockets, and those that are none: each is told what an operator can act on.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use ring::hmac;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;

use super::message::{Envelope, Octets32, hex};
use super::{MOST_OCTETS, PeerClient, PeerFault, PeerServer, Received};
use crate::control::cluster::settings::{PeerSettings, Proof};
use crate::control::probe::tls::{Trust, client_config};

const TOKEN: &str = "correct horse battery staple";
const OTHER_TOKEN: &str = "incorrect horse battery staple";
/// Far longer than a loaded machine takes.
const LONG: Duration = Duration::from_secs(100);

fn limits(kind: &str) -> Option<usize> {
    match kind {
        "echo" | "silent" | "hold" | "lost" => Some(usize::MAX),
        "refuse" | "long" => Some(10),
        _ => None,
    }
}

fn settings(proof: Proof) -> PeerSettings {
    let address = SocketAddr::from(([127, 0, 0, 1], 0));
    PeerSettings { listen: address, address, proof }
}

/// Files of tokens and certificates.
struct Files(TempDir);

impl Files {
    fn new() -> Files {
        Files(tempfile::tempdir().expect("a directory"))
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, text).expect("written");
        path
    }

    fn token(&self, name: &str, token: &str) -> Proof {
        Proof::Token { file: self.write(name, token) }
    }

    /// What a certificate of `names` and those that it leads to are proven by; `ca` is what is trusted.
    fn certificates(&self, file: &str, by: &Authority, names: &[&str], ca: &Authority) -> Proof {
        let (certificate, key) = by.signed(names);
        Proof::Certificates {
            ca: self.write(&format!("{file}.ca"), &ca.pem),
            certificate: self.write(&format!("{file}.pem"), &certificate),
            key: self.write(&format!("{file}.key"), &key),
        }
    }
}

struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    fn new() -> Authority {
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let pem = params.self_signed(&key).expect("signed").pem();
        Authority { issuer: Issuer::new(params, key), pem }
    }

    fn signed(&self, names: &[&str]) -> (String, String) {
        let names = names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let params = CertificateParams::new(names).expect("parameters");
        let key = KeyPair::generate().expect("a key");
        (params.signed_by(&key, &self.issuer).expect("signed").pem(), key.serialize_pem())
    }
}

/// A node of cluster `prod`, until it is dropped.
struct Node {
    address: SocketAddr,
    handled: Arc<AtomicUsize>,
    _tasks: JoinSet<()>,
}

impl Node {
    fn start(name: &'static str, proof: Proof) -> Node {
        let server = PeerServer::bind(&settings(proof)).expect("bound");
        let address = server.local_address().expect("an address");
        let (sender, receiver) = mpsc::channel(16);
        let (mut tasks, handled) = (JoinSet::new(), Arc::new(AtomicUsize::new(0)));
        tasks.spawn(handle(receiver, handled.clone()));
        tasks.spawn(async move {
            let _ = server.run("prod", name, limits, sender).await;
        });
        Node { address, handled, _tasks: tasks }
    }

    fn at(&self) -> String {
        self.address.to_string()
    }

    fn handled(&self) -> usize {
        self.handled.load(Ordering::SeqCst)
    }
}

async fn handle(mut receiver: mpsc::Receiver<Received>, handled: Arc<AtomicUsize>) {
    let (mut held, mut unanswered) = (Vec::new(), Vec::new());
    while let Some(Received { from, kind, body, reply }) = receiver.recv().await {
        handled.fetch_add(1, Ordering::SeqCst);
        let _ = match kind.as_str() {
            "refuse" => reply.send(Err(format!("not {from}'s\u{1b} turn"))),
            "long" => reply.send(Ok(vec![0; MOST_OCTETS + 1])),
            "silent" => {
                unanswered.push(reply);
                Ok(())
            }
            "lost" => Ok(()),
            "hold" => {
                held.push(body);
                reply.send(Ok(Vec::new()))
            }
            _ => reply.send(Ok([from.as_bytes(), b": ", &body].concat())),
        };
    }
}

fn client(node: &str, proof: Proof) -> PeerClient {
    PeerClient::new(&settings(proof), "prod", node).expect("a client")
}

/// What goes wrong with a message to `ber1`, in words after the node's name and address.
async fn wrong(client: &PeerClient, at: &str, kind: &str, body: Vec<u8>) -> String {
    let error = client.send(at, "ber1", kind, body, LONG).await.expect_err("no reply");
    let text = error.to_string();
    text.strip_prefix(&format!("node ber1 at {at}: ")).unwrap_or_else(|| panic!("{text}")).to_owned()
}

#[tokio::test]
async fn a_message_has_a_reply_or_a_refusal() {
    let files = Files::new();
    let node = Node::start("ber1", files.token("b", TOKEN));
    let client = client("fra1", files.token("f", &format!("{TOKEN}\n")));
    for length in [0, 1, 1 << 20, MOST_OCTETS - 6] {
        let body: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
        let reply = client.send(&node.at(), "ber1", "echo", body.clone(), LONG).await.expect("a reply");
        assert!(reply == [b"fra1: ", &body[..]].concat(), "{length}");
    }
    assert_eq!(wrong(&client, &node.at(), "refuse", Vec::new()).await, "refused: not fra1's\\u{1b} turn");
    let unknown = wrong(&client, &node.at(), "gossip", Vec::new()).await;
    assert_eq!(unknown, "does not know messages of kind `gossip` (HTTP 404)");
    let large = wrong(&client, &node.at(), "refuse", vec![0; 1 << 20]).await;
    assert_eq!(large, "takes messages of kind `refuse` up to 10 octets, not 1048576 (HTTP 413)");
    let long = wrong(&client, &node.at(), "long", Vec::new()).await;
    assert_eq!(long, "its reply of 33554433 octets is too long (HTTP 500)");
    assert_eq!(wrong(&client, &node.at(), "lost", Vec::new()).await, "does not handle `lost` now");
    assert_eq!(wrong(&client, &node.at(), "echo", vec![0; MOST_OCTETS + 1]).await, "more than 32 MiB");
    assert!(wrong(&client, "localhost:1", "echo", Vec::new()).await.contains("not an address and port"));
    assert!(wrong(&client, &node.at(), "Echo", Vec::new()).await.contains("kind `Echo`"));
}

#[tokio::test]
async fn who_has_another_token_name_or_cluster_is_told_so() {
    let files = Files::new();
    let node = Node::start("ber1", files.token("b", TOKEN));
    let stranger = client("fra1", files.token("s", OTHER_TOKEN));
    assert_eq!(wrong(&stranger, &node.at(), "echo", vec![1; MOST_OCTETS]).await, "the token differs");
    let client = client("fra1", files.token("f", TOKEN));
    let error = client.send(&node.at(), "ber2", "echo", Vec::new(), LONG).await.expect_err("another node");
    assert_eq!(error.why, PeerFault::Elsewhere("is called ber1, not ber2".into()));
    let other = PeerClient::new(&settings(files.token("o", TOKEN)), "test", "fra1").expect("a client");
    assert_eq!(wrong(&other, &node.at(), "echo", Vec::new()).await, "is of cluster `prod`");
    assert_eq!(node.handled(), 0, "none of them came through");
    let free = TcpListener::bind("127.0.0.1:0").await.expect("a port").local_addr().expect("an address");
    assert_eq!(wrong(&client, &free.to_string(), "echo", Vec::new()).await, "connection refused");
}

#[test]
fn a_token_below_16_octets_is_refused() {
    let files = Files::new();
    let short = PeerClient::new(&settings(files.token("t", "fifteen octets!\n")), "prod", "fra1");
    assert!(short.err().expect("refused").contains("shorter than 16"));
    let none = Proof::Token { file: Path::new("/nowhere/token").into() };
    assert!(PeerServer::bind(&settings(none)).err().expect("refused").contains("/nowhere/token"));
}

#[tokio::test(start_paused = true)]
async fn a_new_token_is_taken_within_ten_seconds() {
    let files = Files::new();
    let node = Node::start("ber1", files.token("b", TOKEN));
    let before = client("fra1", files.token("f", TOKEN));
    files.token("b", OTHER_TOKEN);
    files.token("f", OTHER_TOKEN);
    let after = client("fra1", files.token("f", OTHER_TOKEN));
    assert_eq!(wrong(&after, &node.at(), "echo", Vec::new()).await, "the token differs");
    tokio::time::advance(Duration::from_secs(10)).await;
    for client in [after, before] {
        client.send(&node.at(), "ber1", "echo", Vec::new(), LONG).await.expect("a reply");
    }
}

/// Counts connections that it passes on, until it is dropped.
struct Counter {
    at: String,
    accepted: Arc<AtomicUsize>,
    _task: JoinSet<()>,
}

impl Counter {
    async fn before(node: SocketAddr) -> Counter {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let at = listener.local_addr().expect("an address").to_string();
        let (accepted, mut task) = (Arc::new(AtomicUsize::new(0)), JoinSet::new());
        let counted = accepted.clone();
        task.spawn(async move {
            let mut passing = JoinSet::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                let number = counted.fetch_add(1, Ordering::SeqCst);
                passing.spawn(async move {
                    let mut to = TcpStream::connect(node).await.expect("connected");
                    match number {
                        // The second one ends with its first message.
                        1 => drop(stream.read(&mut [0; 10]).await),
                        _ => drop(tokio::io::copy_bidirectional(&mut stream, &mut to).await),
                    }
                });
            }
        });
        Counter { at, accepted, _task: task }
    }
}

#[tokio::test]
async fn connections_are_used_again_and_nothing_is_sent_twice() {
    let files = Files::new();
    let node = Node::start("ber1", files.token("b", TOKEN));
    let counter = Counter::before(node.address).await;
    let client = client("fra1", files.token("f", TOKEN));
    for _ in 0..3 {
        client.send(&counter.at, "ber1", "echo", vec![0; 100_000], LONG).await.expect("a reply");
    }
    assert_eq!(counter.accepted.load(Ordering::SeqCst), 1);
    // At the same time as another it has one of its own, and this breaks off.
    let silent = client.send(&counter.at, "ber1", "silent", Vec::new(), LONG);
    let broken = async {
        while node.handled() < 4 {
            tokio::task::yield_now().await;
        }
        wrong(&client, &counter.at, "echo", Vec::new()).await
    };
    tokio::select! {
        reply = silent => panic!("{reply:?}"),
        broken = broken => assert!(broken.starts_with("the connection broke off, the message may have"), "{broken}"),
    }
    assert_eq!((counter.accepted.load(Ordering::SeqCst), node.handled()), (2, 4));
    client.send(&counter.at, "ber1", "echo", Vec::new(), LONG).await.expect("a reply");
}

#[tokio::test]
async fn an_address_that_does_not_answer_costs_only_its_own_caller() {
    let files = Files::new();
    let node = Node::start("ber1", files.token("b", TOKEN));
    let mute = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let mute_at = mute.local_addr().expect("an address").to_string();
    let client = client("fra1", files.token("f", TOKEN));
    let waiting = client.send(&mute_at, "ber1", "echo", Vec::new(), LONG);
    let others = async {
        for _ in 0..10 {
            client.send(&node.at(), "ber1", "echo", Vec::new(), LONG).await.expect("a reply");
        }
    };
    tokio::select! {
        biased;
        reply = waiting => panic!("{reply:?}"),
        () = others => {}
    }
    let late = client.send(&mute_at, "ber1", "echo", Vec::new(), Duration::from_millis(5)).await;
    assert_eq!(late.expect_err("late").to_string(), format!("node ber1 at {mute_at}: no reply within 5ms"));
}

#[tokio::test]
async fn a_handler_that_never_answers_is_waited_for_ten_seconds() {
    let files = Files::new();
    let node = Node::start("ber1", files.token("b", TOKEN));
    let client = client("fra1", files.token("f", TOKEN));
    let hour = Duration::from_secs(3600);
    let at = node.at();
    let sending = client.send(&at, "ber1", "silent", Vec::new(), hour);
    let meanwhile = async {
        while node.handled() == 0 {
            tokio::task::yield_now().await;
        }
        // From here on, time is all that passes.
        tokio::time::pause();
        std::future::pending::<()>().await
    };
    let error = tokio::select! {
        error = sending => error.expect_err("no reply"),
        () = meanwhile => panic!("it never ends"),
    };
    assert_eq!(error.why, PeerFault::Busy("did not handle `silent` within 10s".into()));
}

#[tokio::test]
async fn bodies_in_memory_have_a_bound() {
    let files = Files::new();
    let node = Node::start("ber1", files.token("b", TOKEN));
    let client = client("fra1", files.token("f", TOKEN));
    for _ in 0..2 {
        client.send(&node.at(), "ber1", "hold", vec![0; MOST_OCTETS], LONG).await.expect("held");
    }
    assert_eq!(wrong(&client, &node.at(), "echo", vec![0; 1]).await, "has no room for the message now");
    client.send(&node.at(), "ber1", "echo", Vec::new(), LONG).await.expect("nothing takes no room");
}

/// A message's header, signed, with what is said of its body.
fn header(token: &str, body: &[u8], length: usize) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, body);
    let digest: Octets32 = digest.as_ref().try_into().expect("32 octets");
    let key = hmac::Key::new(hmac::HMAC_SHA256, token.as_bytes());
    let message = Envelope { cluster: "prod", from: "fra1", to: "ber1", kind: "echo", nonce: "1", digest };
    format!(
        "POST /cluster/v1/echo HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\nmeridian-cluster: prod\r\n\
         meridian-from: fra1\r\nmeridian-to: ber1\r\nmeridian-nonce: 1\r\nmeridian-digest: {}\r\n\
         meridian-signature: {}\r\n\r\n",
        hex(&digest),
        hex(&message.signature(&key)),
    )
}

/// All that a node says to these octets until it closes, and how long that takes.
async fn said(node: &Node, octets: &[u8]) -> (String, Duration) {
    let began = Instant::now();
    let mut stream = TcpStream::connect(node.address).await.expect("connected");
    stream.write_all(octets).await.expect("sent");
    let mut said = Vec::new();
    let _ = stream.read_to_end(&mut said).await; // closed or reset
    (String::from_utf8_lossy(&said).into_owned(), began.elapsed())
}

#[tokio::test(start_paused = true)]
async fn slow_headers_slow_bodies_and_idle_connections_end() {
    let files = Files::new();
    let node = Node::start("ber1", files.token("b", TOKEN));
    for begun in [&b""[..], b"POST /cluster/v1/echo HTTP/1.1\r\nmeridian-"] {
        let (said, after) = said(&node, begun).await;
        assert_eq!((said.as_str(), after.as_secs()), ("", 5));
    }
    let (answer, after) = said(&node, (header(TOKEN, b"whole", 5) + "who").as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 408") && answer.contains("waited 30s"), "{answer}");
    assert!((30..100).contains(&after.as_secs()), "{after:?}");
    let (answer, after) = said(&node, (header(TOKEN, b"whole", 5) + "whole").as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("fra1: whole"), "{answer}");
    assert_eq!(after.as_secs(), 60);
}

#[tokio::test]
async fn garbage_and_forgeries_reach_no_handler() {
    let files = Files::new();
    let node = Node::start("ber1", files.token("b", TOKEN));
    let unsigned = header(TOKEN, b"", 0).replace("meridian-signature", "x-signature");
    for (request, expected) in [
        ("\0\u{1}garbage\r\n\r\n".to_owned(), "400"),
        ("GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".into(), "404"),
        ("POST /cluster/v1/a-b HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".into(), "404"),
        ("GET /cluster/v1/echo HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".into(), "405"),
        ("POST /cluster/v1/echo HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".into(), "400"),
        (closing(&unsigned), "401"),
        (closing(&header(OTHER_TOKEN, b"", 0)), "401"),
        (closing(&header(TOKEN, b"other", 5)) + "whole", "400"),
        (closing(&header(TOKEN, b"", 0).replace("from: fra1", "from: fra2")), "401"),
        (closing(&header(TOKEN, b"", 0).replace("from: fra1", "from: fra/1")), "400"),
        (
            closing(&header(TOKEN, b"", 0).replace("content-length: 0", "transfer-encoding: chunked")) + "0\r\n\r\n",
            "411",
        ),
        (closing(&header(TOKEN, b"", 0).replace("host: x", &format!("host: {}", "x".repeat(100_000)))), "431"),
    ] {
        let (answer, _) = said(&node, request.as_bytes()).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {expected}")), "{request:.200}: {answer}");
    }
    assert_eq!(node.handled(), 0);
    assert!(said(&node, closing(&header(TOKEN, b"", 0)).as_bytes()).await.0.starts_with("HTTP/1.1 200"));
}

fn closing(header: &str) -> String {
    header.replace("host: x\r\n", "host: x\r\nconnection: close\r\n")
}

#[tokio::test]
async fn three_hundred_silent_connections_keep_no_node_out() {
    let files = Files::new();
    let node = Node::start("ber1", files.token("b", TOKEN));
    let client = client("fra1", files.token("f", TOKEN));
    client.send(&node.at(), "ber1", "echo", Vec::new(), LONG).await.expect("before");
    let mut silent = Vec::new();
    for _ in 0..300 {
        silent.push(TcpStream::connect(node.address).await.expect("connected"));
    }
    client.send(&node.at(), "ber1", "echo", Vec::new(), LONG).await.expect("meanwhile");
    // Those that came first have gone for those that came last.
    for stream in silent.iter_mut().take(44) {
        let ended = tokio::time::timeout(LONG, stream.read(&mut [0; 1])).await.expect("it ends");
        assert!(matches!(ended, Ok(0) | Err(_)), "{ended:?}");
    }
}

#[tokio::test]
async fn certificates_prove_both_ends() {
    let (files, authority, other) = (Files::new(), Authority::new(), Authority::new());
    let proof = |file: &str, names: &[&str]| files.certificates(file, &authority, names, &authority);
    let node = Node::start("ber1", proof("b", &["ber1", "ber1.example.com"]));
    let right = client("fra1", proof("f", &["fra1"]));
    let reply = right.send(&node.at(), "ber1", "echo", b"hello".to_vec(), LONG).await.expect("a reply");
    assert_eq!(reply, b"fra1: hello");
    let handled = node.handled();
    let misnamed = right.send(&node.at(), "ber2", "echo", Vec::new(), LONG).await.expect_err("another node");
    assert!(misnamed.why.to_string().contains("its certificate is not one of ber2"), "{misnamed}");
    for (name, of, expected) in [
        (
            "a client that says it is another",
            proof("g", &["fra2"]),
            "refuses this node: its certificate is not one of fra1",
        ),
        (
            "a client of another CA",
            files.certificates("o", &other, &["fra1"], &authority),
            "refuses this node's certificate",
        ),
        (
            "a server of another CA",
            files.certificates("p", &authority, &["fra1"], &other),
            "does not lead to this node's `ca`",
        ),
        ("a client without TLS", files.token("t", TOKEN), "does not answer as a node does"),
    ] {
        let found = wrong(&client("fra1", of), &node.at(), "echo", vec![0; 1 << 20]).await;
        assert!(found.contains(expected), "{name}: {found}");
    }
    assert!(said_without_certificate(&node, &authority).await.contains("CertificateRequired"));
    let plain = Node::start("ber1", files.token("t", TOKEN));
    assert_eq!(wrong(&right, &plain.at(), "echo", Vec::new()).await, "does not speak TLS");
    assert_eq!((node.handled(), plain.handled()), (handled, 0), "none of them came through");
}

/// The error of a client that trusts the node, and shows it nothing.
async fn said_without_certificate(node: &Node, authority: &Authority) -> String {
    let connector = TlsConnector::from(Arc::new(client_config(Trust::Pem(&authority.pem)).expect("usable")));
    let stream = TcpStream::connect(node.address).await.expect("connected");
    let mut stream = connector.connect("ber1".try_into().expect("a name"), stream).await.expect("its own half");
    let _ = stream.write_all(closing(&header(TOKEN, b"", 0)).as_bytes()).await;
    stream.read_to_end(&mut Vec::new()).await.expect_err("an alert").to_string()
}

#[tokio::test(start_paused = true)]
async fn renewed_certificates_are_taken_within_ten_seconds() {
    let (files, old, new) = (Files::new(), Authority::new(), Authority::new());
    let node = Node::start("ber1", files.certificates("b", &old, &["ber1"], &old));
    let client = client("fra1", files.certificates("f", &new, &["fra1"], &new));
    assert!(wrong(&client, &node.at(), "echo", Vec::new()).await.contains("does not lead to"));
    files.certificates("b", &new, &["ber1"], &new);
    tokio::time::advance(Duration::from_secs(10)).await;
    client.send(&node.at(), "ber1", "echo", Vec::new(), LONG).await.expect("a reply");
}
