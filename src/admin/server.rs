//! The admin socket: connections, and what a client may take of them.
//!
//! Drives hyper itself, since `axum::serve` has no limit on connections or time. A connection
//! carries one request and ends: so one deadline bounds the slow header, the slow body and the
//! slow reader alike. Under pressure they go sooner: see [`super::places`].

use std::io;
use std::net::IpAddr;
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
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tracing::{debug, warn};

use super::guard::Peer;
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

/// Serves `router` until `shutdown` completes.
pub async fn run(
    listener: std::net::TcpListener,
    router: Router,
    places: &Arc<Places>,
    shutdown: impl Future<Output = ()> + Send,
) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = TcpListener::from_std(listener)?;
    let mut connections = JoinSet::new();
    tokio::pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            (stream, peer) = accept_unless_paused(&listener, places) => {
                let entered = tokio::select! {
                    () = &mut shutdown => break,
                    entered = places.enter(peer) => entered,
                };
                connections.spawn(connection((stream, peer), router.clone(), entered));
            }
        }
    }
    drop(listener);
    // Those still at work then are dropped with the set.
    let _ = tokio::time::timeout(GRACE, async { while connections.join_next().await.is_some() {} }).await;
    Ok(())
}

/// The next connection that comes while nobody wants it to wait.
async fn accept_unless_paused(listener: &TcpListener, places: &Places) -> (TcpStream, IpAddr) {
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
async fn accept(listener: &TcpListener) -> (TcpStream, IpAddr) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => return (stream, peer.ip()),
            Err(error) => {
                warn!("the admin API cannot accept a connection: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn connection(
    (stream, peer): (TcpStream, IpAddr),
    router: Router,
    (place, yielded): (Place, oneshot::Receiver<()>),
) {
    let place = Arc::new(place);
    let service = service_fn(|mut request: Request<Incoming>| {
        request.extensions_mut().insert(Peer(peer));
        respond(request, router.clone(), place.clone())
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER)
        .max_buf_size(HEADER_OCTETS)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        ended = tokio::time::timeout(CONNECTION, serving) => match ended {
            Ok(Ok(())) => {}
            Ok(Err(error)) => debug!("an admin connection ended: {error}"),
            Err(_) => debug!("an admin connection was closed after {} s", CONNECTION.as_secs()),
        },
        Ok(()) = yielded => debug!("an admin connection was closed for another"),
    }
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
}
