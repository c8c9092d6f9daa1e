//! Host names to addresses by the system's resolver, bounded.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Lookups at once. The system resolver blocks a thread for each, for up to half a minute after
/// nobody waits for it any more, and the runtime has 512 such threads.
const MOST_LOOKUPS: usize = 64;

/// The system's resolver behind a limit; clones share the limit.
#[derive(Clone)]
pub struct Resolver {
    permits: Arc<Semaphore>,
}

impl Default for Resolver {
    fn default() -> Resolver {
        Resolver { permits: Arc::new(Semaphore::new(MOST_LOOKUPS)) }
    }
}

impl Resolver {
    /// Waits until a thread is free for one more lookup.
    pub async fn turn(&self) -> io::Result<Turn> {
        self.permits.clone().acquire_owned().await.map(|_permit| Turn { _permit }).map_err(io::Error::other)
    }

    /// The addresses of `host` with `port`, as the system orders them; may be empty. Errors are
    /// those of the resolver.
    pub async fn lookup(&self, host: String, port: u16) -> io::Result<Vec<SocketAddr>> {
        self.turn().await?.lookup(host, port).await
    }
}

/// A thread's time for one lookup.
pub struct Turn {
    _permit: OwnedSemaphorePermit,
}

impl Turn {
    /// As [`Resolver::lookup`].
    pub async fn lookup(self, host: String, port: u16) -> io::Result<Vec<SocketAddr>> {
        // A task of its own, so that the permit is held until the thread is free, even where
        // the caller has given up.
        let lookup = tokio::spawn(async move {
            let addresses = tokio::net::lookup_host((host, port)).await.map(Iterator::collect);
            drop(self);
            addresses
        });
        lookup.await.map_err(io::Error::other)?
    }
}
