//! The admin socket: connections, and what a client may take of them.
//!
//! Drives hyper itself, since `axum::serve` has no limit on connections or time. A connection
//! carries one request and ends: so one deadline bounds the slow header, the slow body and the
//! slow reader alike; only live streams outlast it ([`super::lasting`]). Under pressure they go sooner: see
//! [`super::places`].

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::response::Response;
use http::Request;
use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tracing::{debug, warn};

use super::guard::{Certified, Peer};
use super::lasting::Lasting;
use super::places::{Place, Places, WatchedBody};

/// The whole header must be there within this.
const HEADER: Duration = Duration::from_secs(5);
/// A connection ends after this, whatever it is doing. Longer than any handler takes.
const CONNECTION: Duration = Duration::from_secs(60);
/// A request's header must fit into this, in octets.
const HEADER_OCTETS: usize = 16 * 1024;
/// How long connections may finish when the server stops.
const GRACE: Duration = Duration::from_secs(1);
/// After a failed accept, such as for lack of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Where clients connect.
pub trait Door: Send + Sync {
    type Arrival: Arrival;

    fn accept(&self) -> impl Future<Output = io::Result<(Self::Arrival, Peer)>> + Send;
}

/// A connection as it comes.
pub trait Arrival: Send + 'static {
    type Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static;

    /// What requests are read from, and who the other end has proven to be.
    fn open(self) -> impl Future<Output = io::Result<(Self::Stream, Option<Certified>)>> + Send;
}

impl Door for TcpListener {
    type Arrival = TcpStream;

    async fn accept(&self) -> io::Result<(TcpStream, Peer)> {
        let (stream, peer) = TcpListener::accept(self).await?;
        Ok((stream, Peer::Address(peer.ip())))
    }
}

impl Door for UnixListener {
    type Arrival = UnixStream;

    async fn accept(&self) -> io::Result<(UnixStream, Peer)> {
        let (stream, _) = UnixListener::accept(self).await?;
        let user = stream.peer_cred()?.uid();
        Ok((stream, Peer::User(user)))
    }
}

impl Arrival for TcpStream {
    type Stream = TcpStream;

    async fn open(self) -> io::Result<(TcpStream, Option<Certified>)> {
        Ok((self, None))
    }
}

impl Arrival for UnixStream {
    type Stream = UnixStream;

    async fn open(self) -> io::Result<(UnixStream, Option<Certified>)> {
        Ok((self, None))
    }
}

/// Serves `router` until `shutdown` completes.
pub async fn run(
    listener: impl Door,
    router: Router,
    places: &Arc<Places>,
    shutdown: impl Future<Output = ()> + Send,
) -> io::Result<()> {
    let mut connections = JoinSet::new();
    tokio::pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            (arrival, peer) = accept_unless_paused(&listener, places) => {
                let entered = tokio::select! {
                    () = &mut shutdown => break,
                    entered = places.enter(peer.place()) => entered,
                };
                connections.spawn(connection((arrival, peer), router.clone(), entered));
            }
        }
    }
    drop(listener);
    places.end();
    // Those still at work then are dropped with the set.
    let _ = tokio::time::timeout(GRACE, async { while connections.join_next().await.is_some() {} }).await;
    Ok(())
}

/// The next connection that comes while nobody wants it to wait.
async fn accept_unless_paused<D: Door>(listener: &D, places: &Places) -> (D::Arrival, Peer) {
    let mut paused = places.pausing();
    loop {
        // An error cannot be: the sender is held here.
        _ = paused.wait_for(|paused| !paused).await;
        tokio::select! {
            biased;
            _ = paused.wait_for(|paused| *paused) => {}
            accepted = accept(listener) => return accepted,
        }
    }
}

/// The next connection, and who it is of.
async fn accept<D: Door>(listener: &D) -> (D::Arrival, Peer) {
    loop {
        match listener.accept().await {
            Ok(accepted) => return accepted,
            Err(error) => {
                warn!("the admin API cannot accept a connection: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn connection(
    (arrival, peer): (impl Arrival, Peer),
    router: Router,
    (place, yielded): (Place, oneshot::Receiver<()>),
) {
    let (place, lasting) = (Arc::new(place), Lasting::default());
    let serving = async {
        let opened = tokio::time::timeout(HEADER, arrival.open()).await;
        let (stream, certified) = opened.map_err(|_| "no handshake in time".to_owned())?.map_err(|e| e.to_string())?;
        serve(stream, (peer, certified), router, place, &lasting).await.map_err(|error| error.to_string())
    };
    tokio::select! {
        ended = serving => {
            if let Err(error) = ended {
                debug!("an admin connection ended: {error}");
            }
        }
        () = deadline(&lasting) => debug!("an admin connection was closed after {} s or more", CONNECTION.as_secs()),
        Ok(()) = yielded => debug!("an admin connection was closed for another"),
    }
}

async fn serve(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    (peer, certified): (Peer, Option<Certified>),
    router: Router,
    place: Arc<Place>,
    lasting: &Lasting,
) -> hyper::Result<()> {
    let service = service_fn(|mut request: Request<Incoming>| {
        request.extensions_mut().insert(peer);
        if let Some(certified) = &certified {
            request.extensions_mut().insert(certified.clone());
        }
        request.extensions_mut().insert(lasting.clone());
        respond(request, router.clone(), place.clone())
    });
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER)
        .max_buf_size(HEADER_OCTETS)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service)
        .await
}

/// When a connection has had its time: an answer that lasts may, and what is left of it then may be read.
async fn deadline(lasting: &Lasting) {
    tokio::select! {
        () = tokio::time::sleep(CONNECTION) => if !lasting.over().await {
            return;
        },
        () = lasting.has_ended() => {}
    }
    tokio::time::sleep(GRACE).await;
}

/// Answers, and keeps the place while the request is worked on.
async fn respond(
    request: Request<Incoming>,
    router: Router,
    place: Arc<Place>,
) -> Result<Response, std::convert::Infallible> {
    if request.body().is_end_stream() && !place.is_whole() {
        // The connection is being closed: nothing may follow from a request that gets no answer.
        std::future::pending::<()>().await;
    }
    let watched = place.clone();
    let request = request.map(|body| WatchedBody::new(body, watched));
    let response = TowerToHyperService::new(router).call(request).await;
    place.is_answered();
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::time::Instant;

    /// The clock jumps ahead whenever everybody waits.
    #[tokio::test(start_paused = true)]
    async fn a_client_that_never_ends_its_header_is_closed() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let router = Router::new().fallback(|| async { "never asked for" });
        let serving = tokio::spawn(async move {
            let places = Arc::new(Places::default());
            listener.set_nonblocking(true).expect("set");
            let listener = TcpListener::from_std(listener).expect("a listener");
            run(listener, router, &places, std::future::pending::<()>()).await
        });
        let begin = Instant::now();
        let mut stream = TcpStream::connect(address).await.expect("connected");
        stream.write_all(b"GET / HTTP/1.1\r\nHost: loc").await.expect("sent");
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer).await; // closed or reset
        assert!(!answer.contains("never asked for"), "{answer}");
        assert!(begin.elapsed() < CONNECTION, "closed for its header, not for its age: {:?}", begin.elapsed());
        serving.abort();
    }
    /// A body that never comes to its end.
    struct Endless;

    impl Body for Endless {
        type Data = bytes::Bytes;
        type Error = std::convert::Infallible;

        fn poll_frame(
            self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<Result<hyper::body::Frame<bytes::Bytes>, Self::Error>>> {
            std::task::Poll::Pending
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_lasts_outlives_the_deadline_and_no_longer() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let minutes = |minutes: u32| {
            axum::routing::get(move |axum::Extension(lasting): axum::Extension<Lasting>| async move {
                let lasts = (minutes > 0).then(|| lasting.begin());
                tokio::spawn(async move {
                    tokio::time::sleep(CONNECTION * minutes).await;
                    drop(lasts);
                });
                Response::new(axum::body::Body::new(Endless))
            })
        };
        let router = Router::new().route("/usual", minutes(0)).route("/lasts", minutes(5));
        tokio::spawn(async move { run(listener, router, &Arc::new(Places::default()), std::future::pending()).await });
        for (path, least) in [("usual", CONNECTION), ("lasts", CONNECTION * 5)] {
            let begin = Instant::now();
            let mut stream = TcpStream::connect(address).await.expect("connected");
            let request = format!("GET /{path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
            stream.write_all(request.as_bytes()).await.expect("sent");
            let mut answer = Vec::new();
            let _ = stream.read_to_end(&mut answer).await; // closed or reset
            assert!(answer.starts_with(b"HTTP/1.1 200"), "{path}");
            let lived = begin.elapsed();
            assert!((least..least + CONNECTION).contains(&lived), "{path}: {lived:?}");
        }
    }
}
