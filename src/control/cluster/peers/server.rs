//! The end that takes messages of other nodes, and sends replies.
//!
//! A message is judged by its header before its body is read: proof first, then whether it is for this node. A body that
//! is not taken is read and dropped, so that the sender reads why instead of that its connection is reset.

use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, HeaderMap, HeaderValue};
use http::request::Parts;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use ring::hmac;
use rustls::pki_types::CertificateDer;
use socket2::{Domain, Socket, Type};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsAcceptor;
use tracing::{debug, warn};

use crate::control::cluster::settings::{PeerSettings, is_name};
use crate::control::probe::outcome::{chain, excerpt};
use crate::model::shown;

use super::message::{self, Envelope, MOST_OCTETS, MOST_REFUSAL, Octets32, digest_of, is_kind, unhex};
use super::places::{Pace, Paced, Place, Places};
use super::proof::{Prover, is_of};

/// A body must be there within this.
const BODY: Duration = Duration::from_secs(30);
/// A message is handled within this.
const HANDLING: Duration = Duration::from_secs(10);
/// A body that is not taken is read for so long.
const DROPPING: Duration = Duration::from_secs(5);
/// The longest that anything of a message takes, with something to spare for files that are read anew.
const WORK: Duration = Duration::from_secs(30 + 10 + 5 + 5);
/// Octets of all bodies that are being read or handled.
const MOST_IN_MEMORY: usize = 64 * 1024 * 1024;
/// A header must fit into this, in octets.
const HEADER_OCTETS: usize = 16 * 1024;
/// After a failed accept, such as for lack of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Unproven messages are told in the log so often at most.
const TOLD_EVERY: Duration = Duration::from_secs(10);
/// A client that was refused by TLS may read why for so long.
const LINGERING: Duration = Duration::from_secs(1);

/// A message of another node, which has proven that it is `from`.
#[derive(Debug)]
pub struct Received {
    pub from: String,
    pub kind: String,
    /// Counts against the room for bodies for as long as any part of it is held.
    pub body: Bytes,
    /// The reply, or a refusal in words. Nobody waits for longer than 10 s.
    pub reply: oneshot::Sender<Result<Vec<u8>, String>>,
}

/// The octets that a body of a kind may have; `None`: there is no such kind.
pub type Limits = fn(&str) -> Option<usize>;

/// The listening socket, and this node's proof.
pub struct PeerServer {
    listener: TcpListener,
    prover: Arc<Prover>,
}

impl PeerServer {
    /// # Errors
    /// The address cannot be had, or the token or certificates cannot be used.
    pub fn bind(settings: &PeerSettings) -> Result<PeerServer, String> {
        let prover = Arc::new(Prover::new(settings)?);
        let at = settings.listen;
        let failed =
            |error: io::Error| format!("cannot listen for other nodes on {at} (cluster.peers.listen): {error}");
        Ok(PeerServer { listener: listen(at).map_err(failed)?, prover })
    }

    /// # Errors
    /// As the system says.
    pub fn local_address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Takes messages until this is dropped. May be run again after that.
    ///
    /// # Errors
    /// The listener cannot be driven.
    pub async fn run(
        &self,
        cluster: &str,
        node: &str,
        limits: Limits,
        received: mpsc::Sender<Received>,
    ) -> io::Result<()> {
        let listener = tokio::net::TcpListener::from_std(self.listener.try_clone()?)?;
        let (cluster, node, prover) = (cluster.to_owned(), node.to_owned(), self.prover.clone());
        let memory = Arc::new(Semaphore::new(MOST_IN_MEMORY));
        let desk = Arc::new(Desk { cluster, node, prover, limits, received, memory, told: Mutex::default() });
        let (places, mut connections) = (Arc::new(Places::default()), JoinSet::new());
        loop {
            tokio::select! {
                Some(_) = connections.join_next(), if !connections.is_empty() => {}
                accepted = listener.accept() => match accepted {
                    Ok((stream, peer)) => match places.enter() {
                        Some(place) => drop(connections.spawn(connection(desk.clone(), stream, peer, place))),
                        None => desk.tell(peer, "a connection was closed: all are busy"),
                    },
                    Err(error) => {
                        warn!("cannot accept a connection of another node: {error}");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                }
            }
        }
    }
}

/// Beside a server that is about to be replaced, too: both take connections until it ends.
fn listen(at: SocketAddr) -> io::Result<TcpListener> {
    const WAITING: i32 = 128;
    let socket = Socket::new(Domain::for_address(at), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&at.into())?;
    socket.listen(WAITING)?;
    Ok(socket.into())
}

async fn connection(desk: Arc<Desk>, stream: TcpStream, peer: SocketAddr, place: Place) {
    // Replies are short, and waited for.
    let _ = stream.set_nodelay(true);
    tokio::select! {
        () = place.pace.over() => debug!("a connection of {peer} was closed: it took too long"),
        () = encrypted_or_not(&desk, stream, peer, &place.pace) => {}
    }
}

async fn encrypted_or_not(desk: &Arc<Desk>, stream: TcpStream, peer: SocketAddr, pace: &Arc<Pace>) {
    let Prover::Certificates(tls) = &*desk.prover else {
        return converse(desk, stream, peer, None, pace).await;
    };
    let acceptor = TlsAcceptor::from(tls.current().await.server.clone());
    match acceptor.accept(stream).into_fallible().await {
        Ok(stream) => {
            let shown = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
            let certificate = shown.map(|certificate| certificate.clone().into_owned());
            converse(desk, stream, peer, certificate, pace).await;
        }
        Err((error, mut stream)) => {
            desk.tell(peer, &format!("its TLS handshake failed: {}", chain(&error)));
            // What it has sent is read: otherwise its system drops the alert that says why.
            let _ = stream.shutdown().await;
            let _ = timeout(LINGERING, drop_all(stream)).await;
        }
    }
}

async fn drop_all(mut stream: TcpStream) {
    let mut octets = [0; 4096];
    while stream.read(&mut octets).await.is_ok_and(|read| read > 0) {}
}

async fn converse(
    desk: &Arc<Desk>,
    stream: impl AsyncRead + AsyncWrite + Unpin,
    peer: SocketAddr,
    certificate: Option<CertificateDer<'static>>,
    pace: &Arc<Pace>,
) {
    let certificate = certificate.as_ref();
    let service = service_fn(|request| respond(desk, request, peer, certificate, pace));
    let stream = TokioIo::new(Paced { stream, pace: pace.clone() });
    let serving = http1::Builder::new().max_buf_size(HEADER_OCTETS).half_close(false).serve_connection(stream, service);
    if let Err(error) = serving.await {
        debug!("a connection of {peer} ended: {}", chain(&error));
    }
}

async fn respond(
    desk: &Desk,
    request: Request<Incoming>,
    peer: SocketAddr,
    certificate: Option<&CertificateDer<'_>>,
    pace: &Pace,
) -> Result<Response<Full<Bytes>>, Infallible> {
    pace.works(WORK);
    let (head, mut body) = request.into_parts();
    let (seal, outcome) = match desk.proven(&head, certificate).await {
        Ok((claim, seal)) => {
            pace.is_proven();
            (seal, desk.exchange(claim, &head, &mut body).await)
        }
        Err(refusal) => {
            desk.tell(peer, &refusal.1);
            (None, Err(refusal))
        }
    };
    let (status, reply) = match outcome {
        Ok(reply) => (StatusCode::OK, Bytes::from(reply)),
        Err(Refusal(status, why)) => (status, Bytes::from(why)),
    };
    if status != StatusCode::OK {
        let _ = timeout(DROPPING, drop_body(&mut body)).await;
    }
    let response = sealed(status, reply, seal, pace.is_old()).await;
    pace.rests();
    Ok(response)
}

/// Longer than any message is no message.
async fn drop_body(body: &mut Incoming) {
    let mut dropped = 0;
    while dropped <= 2 * MOST_OCTETS {
        match body.frame().await {
            Some(Ok(frame)) => dropped += frame.data_ref().map_or(0, Bytes::len),
            _ => return,
        }
    }
}

/// The key that signs the reply, and the signature of its message.
type Seal = Option<(Arc<hmac::Key>, Octets32)>;

async fn sealed(status: StatusCode, reply: Bytes, seal: Seal, is_last: bool) -> Response<Full<Bytes>> {
    let digest = digest_of(&reply).await;
    let mut response = Response::new(Full::new(reply));
    *response.status_mut() = status;
    if let (Some((key, message)), Ok(digest)) = (seal, digest) {
        let signature = hmac::sign(&key, &message::signed_reply(&message, status.as_u16(), &digest));
        let digits: String = signature.as_ref().iter().map(|octet| format!("{octet:02x}")).collect();
        if let Ok(value) = HeaderValue::from_str(&digits) {
            response.headers_mut().insert(message::SIGNATURE, value);
        }
    }
    if is_last {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// An answer other than a reply.
struct Refusal(StatusCode, String);

fn refusal<T>(status: StatusCode, why: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal(status, why.into()))
}

/// The header of a message: what it says of itself.
struct Claim {
    cluster: String,
    from: String,
    to: String,
    kind: String,
    /// Of the body, where it is signed.
    digest: Option<Octets32>,
}

impl Claim {
    fn read(head: &Parts) -> Result<Claim, Refusal> {
        let kind = head.uri.path().strip_prefix(message::PATH).filter(|kind| is_kind(kind));
        let Some(kind) = kind else { return refusal(StatusCode::NOT_FOUND, "there is nothing here") };
        if head.method != Method::POST {
            return refusal(StatusCode::METHOD_NOT_ALLOWED, "messages of nodes are POSTed");
        }
        let name = |key| text(&head.headers, key).filter(|name| is_name(name)).map(str::to_owned);
        match (name(message::CLUSTER), name(message::FROM), name(message::TO)) {
            (Some(cluster), Some(from), Some(to)) => {
                Ok(Claim { cluster, from, to, kind: kind.to_owned(), digest: None })
            }
            _ => refusal(StatusCode::BAD_REQUEST, "the message does not say from whom to whom it is"),
        }
    }
}

fn text<'a>(headers: &'a HeaderMap, key: &str) -> Option<&'a str> {
    headers.get(key)?.to_str().ok()
}

/// All that messages are judged by, and where they go.
struct Desk {
    cluster: String,
    node: String,
    prover: Arc<Prover>,
    limits: Limits,
    received: mpsc::Sender<Received>,
    memory: Arc<Semaphore>,
    /// When something was last told.
    told: Mutex<Option<Instant>>,
}

impl Desk {
    /// The message's claim, where its sender has proven that it is who it says.
    async fn proven(&self, head: &Parts, certificate: Option<&CertificateDer<'_>>) -> Result<(Claim, Seal), Refusal> {
        let mut claim = Claim::read(head)?;
        match &*self.prover {
            Prover::Token(token) => {
                let unsigned = "the message is not signed with a token";
                let header = |key| text(&head.headers, key);
                let digits = |key| header(key).and_then(unhex);
                let signed = (header(message::NONCE), digits(message::DIGEST), digits(message::SIGNATURE));
                let (Some(nonce), Some(digest), Some(signature)) = signed else {
                    return refusal(StatusCode::UNAUTHORIZED, unsigned);
                };
                let key = token.current().await;
                let Claim { cluster, from, to, kind, .. } = &claim;
                if !(Envelope { cluster, from, to, kind, nonce, digest }).is_signed(&key, &signature) {
                    let why = format!("the token of the node that says it is {from} differs from this node's");
                    return refusal(StatusCode::UNAUTHORIZED, why);
                }
                claim.digest = Some(digest);
                Ok((claim, Some((key, signature))))
            }
            Prover::Certificates(_) if certificate.is_some_and(|found| is_of(found, &claim.from)) => Ok((claim, None)),
            Prover::Certificates(_) => {
                let why = format!("its certificate is not one of {} (no such DNS name in it)", claim.from);
                refusal(StatusCode::FORBIDDEN, why)
            }
        }
    }

    /// The reply to a message of another node of this cluster.
    async fn exchange(&self, claim: Claim, head: &Parts, body: &mut Incoming) -> Result<Vec<u8>, Refusal> {
        let Desk { cluster, node, limits, .. } = self;
        if claim.cluster != *cluster {
            return refusal(StatusCode::MISDIRECTED_REQUEST, format!("is of cluster `{cluster}`"));
        }
        if claim.to != *node {
            return refusal(StatusCode::MISDIRECTED_REQUEST, format!("is called {node}, not {}", claim.to));
        }
        let Some(most) = limits(&claim.kind) else {
            return refusal(StatusCode::NOT_FOUND, format!("does not know messages of kind `{}`", claim.kind));
        };
        let length = text(&head.headers, CONTENT_LENGTH.as_str()).and_then(|length| length.parse::<usize>().ok());
        let Some(length) = length else { return refusal(StatusCode::LENGTH_REQUIRED, "needs the length of a message") };
        let most = most.min(MOST_OCTETS);
        if length > most {
            let why = format!("takes messages of kind `{}` up to {most} octets, not {length}", claim.kind);
            return refusal(StatusCode::PAYLOAD_TOO_LARGE, why);
        }
        let body = self.read_body(body, length).await?;
        if let Some(digest) = claim.digest
            && digest_of(&body).await != Ok(digest)
        {
            return refusal(StatusCode::BAD_REQUEST, "the body is not the one that was signed");
        }
        self.handled(claim, body).await
    }

    async fn read_body(&self, body: &mut Incoming, length: usize) -> Result<Bytes, Refusal> {
        let permits = u32::try_from(length).unwrap_or(u32::MAX);
        let Ok(place) = self.memory.clone().try_acquire_many_owned(permits) else {
            return refusal(StatusCode::SERVICE_UNAVAILABLE, "has no room for the message now");
        };
        let reading = async {
            let mut octets = Vec::with_capacity(length);
            while let Some(frame) = body.frame().await {
                let frame = frame.map_err(|error| chain(&error))?;
                octets.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data));
            }
            Ok(octets)
        };
        match timeout(BODY, reading).await {
            Ok(Ok(octets)) => Ok(Bytes::from_owner(Placed { octets, _place: place })),
            Ok(Err::<_, String>(error)) => refusal(StatusCode::BAD_REQUEST, format!("the body broke off: {error}")),
            Err(_) => refusal(StatusCode::REQUEST_TIMEOUT, format!("waited {BODY:?} for the message's body")),
        }
    }

    async fn handled(&self, Claim { from, kind, .. }: Claim, body: Bytes) -> Result<Vec<u8>, Refusal> {
        let (reply, replied) = oneshot::channel();
        let received = Received { from, kind: kind.clone(), body, reply };
        let handling = async {
            self.received.send(received).await.ok()?;
            replied.await.ok()
        };
        match timeout(HANDLING, handling).await {
            Ok(Some(Ok(reply))) if reply.len() > MOST_OCTETS => {
                refusal(StatusCode::INTERNAL_SERVER_ERROR, format!("its reply of {} octets is too long", reply.len()))
            }
            Ok(Some(Ok(reply))) => Ok(reply),
            Ok(Some(Err(mut why))) => {
                why.truncate(why.floor_char_boundary(MOST_REFUSAL));
                refusal(StatusCode::CONFLICT, why)
            }
            Ok(None) => refusal(StatusCode::SERVICE_UNAVAILABLE, format!("does not handle `{kind}` now")),
            Err(_) => refusal(StatusCode::GATEWAY_TIMEOUT, format!("did not handle `{kind}` within {HANDLING:?}")),
        }
    }

    /// Tells of who is not let in, now and then.
    fn tell(&self, peer: SocketAddr, why: &str) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.is_none_or(|told| told.elapsed() >= TOLD_EVERY) {
            *told = Some(Instant::now());
            warn!("a node at {peer} is not let in: {}", shown::printable(&excerpt(why)));
        }
    }
}

/// A body, and its place among those in memory.
struct Placed {
    octets: Vec<u8>,
    _place: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Placed {
    fn as_ref(&self) -> &[u8] {
        &self.octets
    }
}
