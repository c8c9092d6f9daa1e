//! An HTTP/2 connection for one request of one probe (RFC 9113).
//!
//! In: a stream, plain or encrypted. Out: a sender of requests, and the tasks that move its octets, which end with it.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use hyper::body::Body;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper::rt::Executor;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinSet;

use super::outcome::{Phase, ProbeError};
use super::step::{Clock, not_http};

/// The longest header of an answer, in octets.
const MOST_HEADER: u32 = 16 * 1024;
/// Octets of an answer that may come before they are looked at: the least a connection can have (RFC 9113 section 6.9.2).
const WINDOW: u32 = 65_535;

/// An open connection.
pub(super) struct Connection<B> {
    pub sender: SendRequest<B>,
    _tasks: Arc<Mutex<JoinSet<()>>>,
}

/// Opens a connection by prior knowledge: the client speaks first (RFC 9113 section 3.3).
pub(super) async fn open<S, B>(stream: S, clock: Clock) -> Result<Connection<B>, ProbeError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    B: Body<Data: Send, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Unpin + Send + 'static,
{
    let owner = Arc::new(Mutex::new(JoinSet::new()));
    let tasks = Tasks(Arc::downgrade(&owner));
    let handshake = Builder::new(tasks.clone())
        .max_header_list_size(MOST_HEADER)
        .max_concurrent_reset_streams(1)
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .handshake(TokioIo::new(stream));
    let (sender, connection) = clock.within(Phase::Header, handshake).await?.map_err(not_http)?;
    tasks.execute(async move { _ = connection.await });
    Ok(Connection { sender, _tasks: owner })
}

/// The tasks of one connection. They start more, so they must not keep the set.
#[derive(Clone)]
struct Tasks(Weak<Mutex<JoinSet<()>>>);

impl<F> Executor<F> for Tasks
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, task: F) {
        if let Some(tasks) = self.0.upgrade() {
            tasks.lock().unwrap_or_else(PoisonError::into_inner).spawn(task);
        }
    }
}
