//! The end that sends messages to other nodes. Connections are kept and used again; what an address does costs only
//! those who ask it.

use std::collections::HashMap;
use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HOST};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};
use rustls::CertificateError;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;
use tracing::debug;

use crate::control::cluster::settings::{PeerSettings, is_name};
use crate::control::probe::outcome::{chain, excerpt};
use crate::model::shown::printable;

use super::fault::{PeerError, PeerFault};
use super::message::{self, Envelope, MOST_OCTETS, MOST_REFUSAL, Octets32, digest_of, hex, is_kind, unhex};
use super::proof::Prover;

/// Shorter than a server waits: none is used at the moment it closes.
const IDLE: Duration = Duration::from_secs(45);
/// Idle connections to one node, and in all.
const MOST_IDLE: usize = 4;
const MOST_IDLE_IN_ALL: usize = 1024;

/// What sends messages of this node.
pub struct PeerClient {
    cluster: String,
    node: String,
    prover: Prover,
    idle: Mutex<HashMap<Whom, Vec<Idle>>>,
}

/// An address, and the node that is to be there.
type Whom = (SocketAddr, String);

struct Idle {
    since: Instant,
    connection: Connection,
}

struct Connection {
    sender: SendRequest<Full<Bytes>>,
    driver: JoinHandle<()>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// A message as it goes out, and how its reply is known.
struct Outgoing {
    request: Request<Full<Bytes>>,
    seal: Option<(Arc<hmac::Key>, Octets32)>,
}

impl PeerClient {
    /// # Errors
    /// The token or certificates cannot be used.
    pub fn new(settings: &PeerSettings, cluster: &str, node: &str) -> Result<PeerClient, String> {
        let prover = Prover::new(settings)?;
        Ok(PeerClient { cluster: cluster.to_owned(), node: node.to_owned(), prover, idle: Mutex::default() })
    }

    /// Sends a message to the node `to` at an address and port, and waits for its reply.
    ///
    /// Sent once: a message whose connection broke off while it was under way may have been taken.
    ///
    /// # Errors
    /// There is no reply; the text names the node and says why.
    pub async fn send(
        &self,
        address: &str,
        to: &str,
        kind: &str,
        body: Vec<u8>,
        within: Duration,
    ) -> Result<Vec<u8>, PeerError> {
        let told = |why| {
            let [to, address] = [to, address].map(|text| printable(&excerpt(text)).into_owned());
            PeerError { to, address, why }
        };
        let sending = self.exchange(address, to, kind, Bytes::from(body));
        timeout(within, sending).await.unwrap_or(Err(PeerFault::Late(within))).map_err(told)
    }

    async fn exchange(&self, address: &str, to: &str, kind: &str, body: Bytes) -> Result<Vec<u8>, PeerFault> {
        let unsendable = |why: String| PeerFault::Unsendable(why);
        if !is_kind(kind) || !is_name(to) {
            return Err(unsendable(format!("no message of kind `{kind}` can be sent to a node so called")));
        }
        let address = address.parse::<SocketAddr>().map_err(|_| unsendable("not an address and port".into()))?;
        if body.len() > MOST_OCTETS {
            return Err(PeerFault::TooLong);
        }
        let Outgoing { mut request, seal } = self.outgoing(address, to, kind, body).await?;
        let whom = (address, to.to_owned());
        while let Some(mut connection) = self.take(&whom) {
            match connection.ask(request).await {
                Ok(response) => return self.read(response, seal, whom, connection).await,
                Err(Unasked::Unsent(unsent)) => request = *unsent,
                Err(Unasked::Broken(why)) => return Err(why),
            }
        }
        let mut connection = self.connect(address, to).await?;
        match connection.ask(request).await {
            Ok(response) => self.read(response, seal, whom, connection).await,
            Err(Unasked::Unsent(_)) => Err(PeerFault::Unreachable("the connection was closed at once".into())),
            Err(Unasked::Broken(why)) => Err(why),
        }
    }

    async fn outgoing(&self, at: SocketAddr, to: &str, kind: &str, body: Bytes) -> Result<Outgoing, PeerFault> {
        let (cluster, from) = (self.cluster.as_str(), self.node.as_str());
        let mut request = Request::post(format!("{}{kind}", message::PATH))
            .header(HOST, at.to_string())
            .header(CONTENT_LENGTH, body.len())
            .header(message::CLUSTER, cluster)
            .header(message::FROM, from)
            .header(message::TO, to);
        let mut seal = None;
        if let Prover::Token(token) = &self.prover {
            let digest = digest_of(&body).await.map_err(PeerFault::Unsendable)?;
            let nonce = nonce()?;
            let key = token.current().await;
            let signature = Envelope { cluster, from, to, kind, nonce: &nonce, digest }.signature(&key);
            request = request
                .header(message::NONCE, nonce)
                .header(message::DIGEST, hex(&digest))
                .header(message::SIGNATURE, hex(&signature));
            seal = Some((key, signature));
        }
        let request = request.body(Full::new(body)).map_err(|error| PeerFault::Unsendable(error.to_string()))?;
        Ok(Outgoing { request, seal })
    }

    async fn connect(&self, address: SocketAddr, to: &str) -> Result<Connection, PeerFault> {
        let unreachable = |error: io::Error| PeerFault::Unreachable(in_words(&error));
        let stream = TcpStream::connect(address).await.map_err(unreachable)?;
        stream.set_nodelay(true).map_err(unreachable)?;
        let Prover::Certificates(tls) = &self.prover else { return start(stream).await };
        let name = ServerName::try_from(to.to_owned());
        let name = name.map_err(|_| PeerFault::Unsendable("no certificate can be of a node so called".into()))?;
        let connector = TlsConnector::from(tls.current().await.client.clone());
        start(connector.connect(name, stream).await.map_err(|error| broken(&error, to, ""))?).await
    }

    /// The reply, where it is one; the connection may be used again.
    async fn read(
        &self,
        response: Response<Incoming>,
        seal: Option<(Arc<hmac::Key>, Octets32)>,
        whom: Whom,
        connection: Connection,
    ) -> Result<Vec<u8>, PeerFault> {
        let (status, signature) = (response.status(), response.headers().get(message::SIGNATURE).cloned());
        let body = Limited::new(response.into_body(), MOST_OCTETS).collect().await;
        let body = body.map_err(|error| match error.is::<LengthLimitError>() {
            true => PeerFault::TooLong,
            false => broken(&*error, &whom.1, TAKEN),
        })?;
        let body = body.to_bytes();
        self.keep(whom, connection);
        if let Some((key, sent)) = seal
            && status != StatusCode::UNAUTHORIZED
        {
            let signature = signature.as_ref().and_then(|value| unhex(value.to_str().ok()?));
            let Some(signature) = signature else {
                let why = format!("answers as no node of a cluster with a token does (HTTP {})", status.as_u16());
                return Err(PeerFault::Misunderstood(why));
            };
            let digest = digest_of(&body).await.map_err(PeerFault::Misunderstood)?;
            let signed = message::signed_reply(&sent, status.as_u16(), &digest);
            if hmac::verify(&key, &signed, &signature).is_err() {
                return Err(PeerFault::Unproven("its reply is not signed with this node's token".into()));
            }
        }
        judged(status, body, matches!(self.prover, Prover::Token(_)))
    }

    /// A connection that is still open, the last used one first.
    fn take(&self, whom: &Whom) -> Option<Connection> {
        let mut idle = self.lock();
        let connections = idle.get_mut(whom)?;
        while let Some(Idle { since, connection }) = connections.pop() {
            if since.elapsed() < IDLE && !connection.sender.is_closed() {
                return Some(connection);
            }
        }
        idle.remove(whom);
        None
    }

    fn keep(&self, whom: Whom, connection: Connection) {
        if connection.sender.is_closed() {
            return;
        }
        let mut idle = self.lock();
        idle.retain(|_, connections| {
            connections.retain(|idle| idle.since.elapsed() < IDLE && !idle.connection.sender.is_closed());
            !connections.is_empty()
        });
        if idle.values().map(Vec::len).sum::<usize>() >= MOST_IDLE_IN_ALL {
            return;
        }
        let connections = idle.entry(whom).or_default();
        if connections.len() < MOST_IDLE {
            connections.push(Idle { since: Instant::now(), connection });
        }
    }

    /// Nothing is left half done where a holder panics.
    fn lock(&self) -> MutexGuard<'_, HashMap<Whom, Vec<Idle>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn nonce() -> Result<String, PeerFault> {
    let mut octets = [0; 32];
    let drawn = SystemRandom::new().fill(&mut octets);
    drawn.map_err(|_| PeerFault::Unsendable("the system has no random numbers".into()))?;
    Ok(hex(&octets))
}

/// A request that got no response.
enum Unasked {
    /// Nothing of it was sent: it may be sent elsewhere.
    Unsent(Box<Request<Full<Bytes>>>),
    Broken(PeerFault),
}

impl Connection {
    async fn ask(&mut self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, Unasked> {
        if self.sender.ready().await.is_err() {
            return Err(Unasked::Unsent(Box::new(request)));
        }
        let to = request.headers().get(message::TO).cloned();
        self.sender.try_send_request(request).await.map_err(|mut error| match error.take_message() {
            Some(unsent) => Unasked::Unsent(Box::new(unsent)),
            None => {
                let to = to.as_ref().and_then(|to| to.to_str().ok()).unwrap_or_default();
                Unasked::Broken(broken(&error.into_error(), to, TAKEN))
            }
        })
    }
}

async fn start(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> Result<Connection, PeerFault> {
    let started = http1::handshake(TokioIo::new(stream)).await;
    let (sender, connection) = started.map_err(|error| PeerFault::Unreachable(chain(&error)))?;
    let driver = tokio::spawn(async move {
        if let Err(error) = connection.await {
            debug!("a connection to another node ended: {}", chain(&error));
        }
    });
    Ok(Connection { sender, driver })
}

/// What an answer means that is the node's own.
fn judged(status: StatusCode, body: Bytes, by_token: bool) -> Result<Vec<u8>, PeerFault> {
    if status == StatusCode::OK {
        return Ok(body.into());
    }
    let text = String::from_utf8_lossy(body.get(..MOST_REFUSAL).unwrap_or(&body));
    let text = printable(&text).into_owned();
    Err(match status {
        StatusCode::CONFLICT => PeerFault::Refused(text),
        StatusCode::MISDIRECTED_REQUEST => PeerFault::Elsewhere(text),
        StatusCode::UNAUTHORIZED if by_token => PeerFault::Unproven("the token differs".into()),
        StatusCode::FORBIDDEN => PeerFault::Unproven(format!("refuses this node: {text}")),
        StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT | StatusCode::REQUEST_TIMEOUT => {
            PeerFault::Busy(text)
        }
        _ => PeerFault::Misunderstood(format!("{text} (HTTP {})", status.as_u16())),
    })
}

const TAKEN: &str = "the connection broke off, the message may have been taken: ";

/// A connection that could not be made, or broke off `after` something; TLS may be the reason.
fn broken(error: &(dyn Error + 'static), to: &str, after: &str) -> PeerFault {
    if error.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_parse) {
        return PeerFault::Misunderstood(format!("does not answer as a node does: {}", chain(error)));
    }
    match tls_error(error) {
        Some(rustls::Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        )) => PeerFault::Unproven(format!("its certificate is not one of {to} (no such DNS name in it)")),
        Some(rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature)) => {
            PeerFault::Unproven("its certificate does not lead to this node's `ca`".into())
        }
        Some(rustls::Error::InvalidCertificate(why)) => {
            PeerFault::Unproven(format!("its certificate cannot be trusted: {why}"))
        }
        Some(rustls::Error::AlertReceived(alert)) => {
            PeerFault::Unproven(format!("refuses this node's certificate: alert {alert:?}"))
        }
        Some(rustls::Error::InvalidMessage(_)) => PeerFault::Misunderstood("does not speak TLS".into()),
        Some(other) => PeerFault::Unproven(format!("TLS: {other}")),
        None => PeerFault::Unreachable(format!("{after}{}", chain(error))),
    }
}

/// The error of TLS among an error and its causes. An `io::Error` hides the one it is made of from `source`.
fn tls_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<rustls::Error>() {
            return Some(found);
        }
        next = match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    None
}

/// `connection refused` rather than `Connection refused (os error 111)`.
fn in_words(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused
        | io::ErrorKind::ConnectionReset
        | io::ErrorKind::HostUnreachable
        | io::ErrorKind::NetworkUnreachable
        | io::ErrorKind::TimedOut => error.kind().to_string(),
        _ => error.to_string(),
    }
}
